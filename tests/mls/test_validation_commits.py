"""RFC 9420 §12.4: commits whose list is right, and whose path or confirmation is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mls import group as front
from mls.codec import opaque
from mls.leaf_node import LeafNode
from mls.proposals import Add, ExternalInit, GroupContextExtensions, Remove
from mls.provider import OwnPath, PathSupply, PendingUpdate
from mls.registries import ContentType, LeafIndex, ProposalRef
from mls.secrets import HpkePrivateKey, InitSecret, PathSecret
from mls.tree.path import UpdatePathNode
from tests.mls.clients import Party, client, party
from tests.mls.frankenstein import (
    PathSurgery,
    Raw,
    as_private,
    authenticated,
    external_init,
    flipped,
    forge_commit,
    own_update,
    proposed,
)
from tests.mls.frankenstein_welcome import forge_info, forge_welcome, info_of
from tests.mls.refusals import A, B, C, D, accepts, refused, refuses, refuses_to_enter, small_tree
from tests.validation import breaks

STRANGER = client("stranger")
Nodes = tuple[UpdatePathNode, ...]


def refuses_path(rule: str, party_: Party, to: str, surgery: PathSurgery) -> None:
    commits = [forge_commit(party_[B], party_.env, party_.clients[B], path=path).message for path in (surgery, True)]
    refuses(rule, party_, to, *commits)


@breaks("VAL-12.4-1")
@pytest.mark.parametrize("kind", [0, 3, 255])
def test_an_entry_that_is_neither_proposal_nor_reference(kind: int) -> None:
    party_ = party(2)
    body = Raw(opaque(bytes([kind]) + opaque(b"x")) + b"\x00")
    bad = authenticated(party_[B], ContentType.COMMIT, body, tag=bytes(32))
    good = forge_commit(party_[B], party_.env, party_.clients[B])
    refuses("VAL-12.4-1", party_, A, as_private(party_[B], party_.env, bad), good.message)


@breaks("VAL-12.4.2-2")
@pytest.mark.parametrize("kind", ["nothing", "remove", "extensions", "update"])
def test_a_commit_that_must_have_a_path(kind: str) -> None:
    party_ = party(4)
    env = party_.env
    if kind == "update":
        message = proposed(party_[D], env, own_update(party_[D], party_.clients[D], env))
        for name in (A, B):
            accepts(party_, name, message)
        items = list(party_[B].proposals.values())
    else:
        items = {"nothing": [], "remove": [Remove(LeafIndex(3))], "extensions": [GroupContextExtensions(())]}[kind]  # type: ignore[assignment]
    commits = [forge_commit(party_[B], env, party_.clients[B], items, path=path).message for path in (False, True)]
    refuses("VAL-12.4.2-2", party_, A, *commits)


def test_a_commit_that_needs_no_path() -> None:
    party_ = party(2)
    add = Add(STRANGER.package(party_.env).key_package)
    accepts(party_, A, forge_commit(party_[B], party_.env, party_.clients[B], [add], path=False).message)


@breaks("VAL-12.4.2-3")
@pytest.mark.parametrize("source", [1, 2])
def test_a_path_with_a_leaf_from_elsewhere(source: int) -> None:
    party_ = party(3)
    refuses_path("VAL-12.4.2-3", party_, A, PathSurgery(leaf={"source": source}))
    init, secret = external_init(party_[A], party_.env)
    commits = [
        forge_commit(party_[A], party_.env, STRANGER, [init], external=secret, path=path).message
        for path in (PathSurgery(leaf={"source": source}), True)
    ]
    refuses("VAL-12.4.2-3", party_, A, *commits)


@breaks("VAL-12.4.2-4")
def test_a_path_with_a_key_that_is_in_the_tree() -> None:
    """C sees the node above A and B only from outside; its key was used there before."""
    party_ = party(4, shape="full")
    tree = party_[A].public.tree
    old = tree.cell(1).value
    other = tree.cell(5).value
    assert old is not None
    assert other is not None
    for key in (old.encryption_key, other.encryption_key, party_[D].own_leaf_node.encryption_key):
        refuses_path("VAL-12.4.2-4", party_, C, PathSurgery(public=lambda keys: [key, *keys[1:]]))  # noqa: B023 - used at once


@breaks("VAL-12.4.2-4")
def test_a_path_whose_leaf_has_a_key_that_is_in_the_tree() -> None:
    party_ = party(4, shape="full")
    tree = party_[A].public.tree
    above = tree.cell(1).value  # the commit blanks and replaces this node, so the key would be free again
    assert above is not None
    for key in (above.encryption_key, party_[D].own_leaf_node.encryption_key):
        refuses_path("VAL-12.4.2-4", party_, C, PathSurgery(leaf={"encryption_key": key}))


@breaks("VAL-12.4.2-5")
def test_a_path_with_another_number_of_nodes() -> None:
    party_ = party(4, shape="full")
    for change in (lambda nodes: nodes[:-1], lambda nodes: (*nodes, nodes[-1]), lambda nodes: ()):
        refuses_path("VAL-12.4.2-5", party_, A, PathSurgery(nodes=change))


def sealed_as(change: Callable[[list[bytes]], list[bytes]], at: int) -> Callable[[Nodes], Nodes]:
    """The ciphertexts of one node, changed."""

    def changed(nodes: Nodes) -> Nodes:
        node = nodes[at]
        entries = [opaque(enc) + opaque(text) for enc, text in map(node.ciphertext, range(node.count))]
        return (*nodes[:at], replace(node, sealed=b"".join(change(entries))), *nodes[at + 1 :])

    return changed


@breaks("VAL-12.4.2-6")
@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("change", [lambda each: each[:-1], lambda each: [*each, each[-1]]])
def test_a_path_node_with_another_number_of_ciphertexts(at: int, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Of either node, whether or not one of its ciphertexts is for us."""
    for name in (A, C):
        refuses_path("VAL-12.4.2-6", party(4), name, PathSurgery(nodes=sealed_as(change, at)))


@breaks("VAL-12.4.2-6")
def test_a_path_node_with_a_ciphertext_for_a_newcomer() -> None:
    """§7.6: who is added by the commit has no entry; its Welcome has the secret."""
    party_ = party(3)
    env = party_.env
    add = Add(STRANGER.package(env).key_package)
    surgery = PathSurgery(nodes=sealed_as(lambda each: [*each, each[-1]], 1))
    commits = [forge_commit(party_[B], env, party_.clients[B], [add], path=path).message for path in (surgery, True)]
    refuses("VAL-12.4.2-6", party_, A, *commits)


class Sibling:
    """Shares our leaf; knows what the other device did, or does not."""

    def __init__(self, path: OwnPath | None) -> None:
        self.path = path

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        return self.path

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        return None


@breaks("VAL-12.4.2-7")
def test_a_path_secret_for_a_node_whose_key_we_never_got() -> None:
    """A Welcome without the path secret leaves a hole that shows in a later commit."""
    party_ = party(3)
    env = party_.env
    package = STRANGER.package(env)
    forged = forge_commit(party_[C], env, party_.clients[C], [Add(package.key_package)])
    for name in (A, B):
        accepts(party_, name, forged.message)
    info = info_of(forged, party_.clients[C], 2)
    secret = forged.path_secrets[5]
    for given in (None, secret):
        welcome = forge_welcome(env, info, package, path_secret=given)
        party_.groups[D] = STRANGER.join(env, welcome, [package])
        commit = forge_commit(party_[A], env, party_.clients[A]).message
        if given is None:
            refuses("VAL-12.4.2-7", party_, D, commit)
        else:
            accepts(party_, D, commit)


@breaks("VAL-12.4.2-8")
@pytest.mark.parametrize(
    "change",
    [lambda each: [flipped(each[0]), *each[1:]], lambda each: [b"\x01\x00\x00", *each[1:]], lambda each: each[::-1]],
)
def test_a_path_secret_that_does_not_decrypt(change: Callable[[list[bytes]], list[bytes]]) -> None:
    party_ = party(4)
    refuses_path("VAL-12.4.2-8", party_, C, PathSurgery(nodes=sealed_as(change, 1)))


@breaks("VAL-12.4.2-8")
@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_path_secret_of_another_size(size: int) -> None:
    """Only the lowest one can be: the others are derived. Everything that follows from it is as it should be."""
    party_ = party(4)
    refuses_path("VAL-12.4.2-8", party_, A, PathSurgery(first=size))


@breaks("VAL-12.4.2-9")
@pytest.mark.parametrize("at", [0, 1])
def test_a_path_key_that_does_not_follow_from_its_secret(at: int) -> None:
    party_ = party(4)
    env = party_.env
    _, key = party_[A].suite.generate_key_pair(env.provider.random)
    refuses_path("VAL-12.4.2-9", party_, A, PathSurgery(public=lambda keys: [*keys[:at], key, *keys[at + 1 :]]))


def own_commit(party_: Party) -> tuple[bytes, OwnPath]:
    """A commit of A's leaf that another device made, with what that device would tell us."""
    suite = party_[A].suite
    random = party_.env.provider.random
    private, public = suite.generate_key_pair(random)
    secret = PathSecret(random(suite.hash_size))
    supply = PathSupply(leaf_private=private, leaf_public=public, path_secret=secret)
    sent = front.commit(party_[A], party_.env, supply=supply)
    return sent.message, OwnPath(leaf_private=private, path_secret=secret)


@breaks("VAL-12.4.2-9")
def test_a_commit_of_our_own_leaf_whose_keys_are_not_those_that_we_derive() -> None:
    party_ = party(3)
    message, path = own_commit(party_)
    other: HpkePrivateKey = party_[B].private[2]
    group = party_[A]
    for wrong in (replace(path, leaf_private=other), replace(path, path_secret=PathSecret(bytes(32)))):
        refused("VAL-12.4.2-9", lambda: front.receive(group, party_.env, message, own=Sibling(wrong)))  # noqa: B023 - used at once
    after = front.receive(group, party_.env, message, own=Sibling(path)).group
    assert accepts(party_, B, message).group.authenticator == after.authenticator


@breaks("VAL-12.4.2-10")
@pytest.mark.parametrize("spoil", [flipped, lambda tag: b"", lambda tag: tag[:-1], lambda tag: bytes(32)])
def test_a_confirmation_tag(spoil: Callable[[bytes], bytes]) -> None:
    party_ = party(3)
    env = party_.env
    add = Add(STRANGER.package(env).key_package)
    for path in (True, False):
        for encrypt in (True, False):
            commits = [
                forge_commit(party_[B], env, party_.clients[B], [add], path=path, encrypt=encrypt, tag=tag).message
                for tag in (spoil, lambda tag: tag)
            ]
            refuses("VAL-12.4.2-10", party_, A, *commits)
    init, secret = external_init(party_[A], env)
    commits = [
        forge_commit(party_[A], env, STRANGER, [init], external=secret, tag=tag).message
        for tag in (spoil, lambda tag: tag)
    ]
    refuses("VAL-12.4.2-10", party_, A, *commits)


@breaks("VAL-12.4.2-10")
def test_an_external_commit_under_another_init_secret() -> None:
    party_ = party(3)
    init, _ = external_init(party_[A], party_.env)
    bad = forge_commit(party_[A], party_.env, STRANGER, [init], external=InitSecret(bytes(32)))
    refuses("VAL-12.4.2-10", party_, A, bad.message)


# §8.3 and §12.4.3.2


@breaks("VAL-8.3-1")
@pytest.mark.parametrize("kem_output", [b"", bytes(31), bytes(32), bytes(33)])
def test_an_external_init_that_does_not_decapsulate(kem_output: bytes) -> None:
    party_ = party(3)
    good, secret = external_init(party_[A], party_.env)
    commits = [
        forge_commit(party_[A], party_.env, STRANGER, [each], external=secret).message
        for each in (ExternalInit(kem_output), good)
    ]
    refuses("VAL-8.3-1", party_, A, *commits)


@breaks("VAL-8.3-1")
@pytest.mark.parametrize("public", [b"", bytes(31), bytes(32)])
def test_an_external_public_key_that_is_none(public: bytes) -> None:
    env = party(1).env
    tree = small_tree(env, STRANGER.package(env))
    infos = [
        forge_info(env, tree, client(A), external_pub=each).message for each in (lambda _: public, lambda key: key)
    ]
    refuses_to_enter("VAL-8.3-1", env, client("another"), *infos)


@breaks("VAL-12.4.3.2-1")
def test_a_group_info_without_an_external_public_key() -> None:
    party_ = party(2)
    infos = [front.group_info(party_[A], external_join=each) for each in (False, True)]
    refuses_to_enter("VAL-12.4.3.2-1", party_.env, STRANGER, *infos)


@breaks("VAL-12.4.3.2-2")
@pytest.mark.parametrize("known", [True, False])
def test_an_external_commit_that_refers_to_a_proposal(known: bool) -> None:
    """Whether or not we have the proposal."""
    party_ = party(3)
    env = party_.env
    message = proposed(party_[B], env, Remove(LeafIndex(2)))
    waiting = accepts(party_, A, message).group.proposals
    reference = next(iter(waiting)) if known else ProposalRef(bytes(32))
    init, secret = external_init(party_[A], env)
    bad = forge_commit(party_[A], env, STRANGER, [init], listed=[init, reference], external=secret)
    good = forge_commit(party_[A], env, STRANGER, [init], external=secret)
    refuses("VAL-12.4.3.2-2", party_, A, bad.message, good.message)


@breaks("VAL-12.4.3.2-3")
def test_an_external_commit_without_a_path() -> None:
    """There is no leaf then whose key could have signed it."""
    party_ = party(2)
    init, secret = external_init(party_[A], party_.env)
    commits = [
        forge_commit(party_[A], party_.env, STRANGER, [init], path=path, external=secret).message
        for path in (False, True)
    ]
    refuses("VAL-12.4.3.2-3", party_, B, *commits)
