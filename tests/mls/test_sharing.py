"""Coming into a group that our leaf is in already, because another device made the group or joined it from outside.

One device acts and another follows from what the first can hand on. Both must hold the same value in the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from mls import group as front
from mls.errors import (
    FutureEpochError,
    MissingProposalsError,
    MissingPskError,
    MlsError,
    PastEpochError,
    PeerError,
    StaleError,
    UnderivedError,
    WrongGroupError,
)
from mls.framing import encode_message
from mls.group import ExternallyJoined
from mls.leaf_node import Extension, default_capabilities
from mls.parameters import Parameters
from mls.proposals import SelfRemove
from mls.provider import Creation, Environment, OwnPath, PathSupply
from mls.registries import (
    GroupId,
    LeafIndex,
    ProposalType,
    WireFormat,
)
from mls.schedule import GroupContext, confirmation_tag, derive_epoch
from mls.secrets import EpochSecret, HpkePrivateKey, InitSecret, PathSecret, SignaturePrivateKey
from mls.state import Group
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import sign_group_info, tree_extension
from tests.mls.clients import (
    DEFAULT,
    PUBLIC,
    Client,
    Party,
    Psks,
    check_private_keys,
    client,
    environment,
    party,
    snapshot,
)
from tests.mls.components.company import COLOR, OFFER, company, demand, someone, updated
from tests.mls.frankenstein import external_init, flipped, forge_commit, forge_leaf
from tests.mls.refusals import A, B, C, refused
from tests.mls.siblings import APPLICATION_ID, Founder, Sibling
from tests.mls.suite_variants import GROUP_SUITES
from tests.validation import breaks

# ---------------------------------------------------------------- making a group


def founded(suite: int = 1, parameters: Parameters = DEFAULT) -> tuple[Environment, Group, Founder]:
    """A group that one device made, and the other device."""
    env = environment()
    founder = client("founder", suite, parameters=parameters)
    secret = EpochSecret(env.provider.random(env.suite(suite).hash_size))
    key = env.suite(suite).generate_key_pair(env.provider.random)
    group = founder.create(
        env, leaf_key=key, epoch_secret=secret, leaf_extensions=(APPLICATION_ID,), extensions=(APPLICATION_ID,)
    )
    creation = Creation(leaf_private=key[0], epoch_secret=secret, signature_private=founder.signer)
    return env, group, Founder(creation)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_a_group_that_the_other_device_made(suite: int, bare: bool) -> None:
    env, group, founder = founded(suite)
    info = front.group_info(group, with_tree=not bare, external_join=bare)
    tree = group.public.tree.encode() if bare else None
    followed = front.follow_creation(env, DEFAULT, info, founder, tree=tree)
    assert snapshot(followed) == snapshot(group)
    assert founder.asked == (group.own_leaf_node, suite)
    ours = Party(env, {"founder": client("founder", suite)}, {"founder": followed})
    ours.add("founder", "anna")
    ours.say("anna", b"hello")


def described(group: Group, signer: SignaturePrivateKey, secret: EpochSecret, **changes: Any) -> bytes:
    """A GroupInfo of what the group would be with these changes, under a tag that fits it."""
    old = group.public.context
    tree: RatchetTree = changes.get("tree", group.public.tree)
    transcript = changes.get("transcript", b"")
    context = GroupContext.of(
        old.cipher_suite, old.group_id, changes.get("epoch", 0), tree.hash, transcript, old.extensions
    )
    confirmation = derive_epoch(group.suite, secret).secrets.confirmation
    tag = changes.get("tag", lambda made: made)(confirmation_tag(group.suite, confirmation, transcript))
    info = sign_group_info(group.suite, signer, 0, context, tag, (tree_extension(tree),))
    return encode_message(WireFormat.GROUP_INFO, info.encoded)


def refuses_creation(rule: str, **changes: Any) -> None:
    env, group, founder = founded()
    assert founder.creation is not None
    secret = founder.creation.epoch_secret
    bad, good = (described(group, group.signature_key, secret, **each) for each in (changes, {}))
    refused(rule, lambda: front.follow_creation(env, DEFAULT, bad, founder))
    assert snapshot(front.follow_creation(env, DEFAULT, good, founder)) == snapshot(group)


@breaks("VAL-11-1")
@pytest.mark.parametrize("epoch", [1, 2**63 - 1])
def test_a_made_group_at_another_epoch(epoch: int) -> None:
    refuses_creation("VAL-11-1", epoch=epoch)


@breaks("VAL-11-2")
def test_a_made_group_with_a_transcript() -> None:
    refuses_creation("VAL-11-2", transcript=bytes(32))


@breaks("VAL-11-3")
def test_a_made_group_with_two_members() -> None:
    env, group, _ = founded()
    other = client("other").package(env).key_package.leaf_node
    refuses_creation("VAL-11-3", tree=RatchetTree.of_values(group.suite, [group.own_leaf_node, None, other]))


@breaks("VAL-11-4")
@pytest.mark.parametrize("source", [2, 3])
def test_a_made_group_with_a_leaf_of_another_source(source: int) -> None:
    _, group, _ = founded()
    leaf = forge_leaf(
        client("founder"),
        group.own_leaf_node.encryption_key,
        source=source,
        group_id=group.group_id,
        extensions=(APPLICATION_ID,),
    )
    refuses_creation("VAL-11-4", tree=RatchetTree.of_values(group.suite, [leaf]))


@breaks("VAL-11-5")
def test_a_made_group_with_other_keys() -> None:
    env, group, founder = founded()
    info = front.group_info(group)
    assert founder.creation is not None
    key, _ = group.suite.generate_key_pair(env.provider.random)
    for wrong in ({"leaf_private": key}, {"signature_private": client("thief").signer}):
        liar = Founder(replace(founder.creation, **wrong))
        refused("VAL-11-5", partial(front.follow_creation, env, DEFAULT, info, liar))
    front.follow_creation(env, DEFAULT, info, founder)


@breaks("VAL-11-6")
@pytest.mark.parametrize("spoil", [flipped, lambda tag: b"", lambda tag: tag[:-1]])
def test_the_confirmation_tag_of_a_made_group(spoil: Callable[[bytes], bytes]) -> None:
    refuses_creation("VAL-11-6", tag=spoil)


@breaks("VAL-11-6")
def test_another_epoch_secret() -> None:
    env, group, founder = founded()
    assert founder.creation is not None
    liar = Founder(replace(founder.creation, epoch_secret=EpochSecret(bytes(32))))
    refused("VAL-11-6", lambda: front.follow_creation(env, DEFAULT, front.group_info(group), liar))


def test_a_made_group_that_cannot_be_derived() -> None:
    env, group, _ = founded()
    with pytest.raises(UnderivedError):
        front.follow_creation(env, DEFAULT, front.group_info(group), Founder(None))


@breaks("VAL-12.4.3.1-7")
def test_a_made_group_that_we_are_in() -> None:
    env, group, founder = founded()
    info = front.group_info(group)
    refused(
        "VAL-12.4.3.1-7",
        lambda: front.follow_creation(env, DEFAULT, info, founder, known_groups={group.group_id}),
    )
    front.follow_creation(env, DEFAULT, info, founder, known_groups={b"another"})


@breaks("VAL-13.4-3")
def test_a_made_group_with_an_extension_that_is_unknown_here() -> None:
    env = environment()
    founder = client("founder", capabilities=default_capabilities(extensions=(0xF0F0,)))
    unknown = Extension(0xF0F0, b"")
    key = env.suite(1).generate_key_pair(env.provider.random)
    secret = EpochSecret(bytes(32))
    group = founder.create(env, leaf_key=key, epoch_secret=secret, extensions=(unknown,))
    own = Founder(Creation(leaf_private=key[0], epoch_secret=secret, signature_private=founder.signer))
    info = front.group_info(group)
    refused("VAL-13.4-3", lambda: front.follow_creation(env, DEFAULT, info, own))
    front.follow_creation(env, replace(DEFAULT, extensions=frozenset({0xF0F0})), info, own)


def test_every_cut_and_flipped_bit_of_what_describes_a_made_group() -> None:
    env, group, founder = founded()
    good, tree = front.group_info(group), group.public.tree.encode()
    for at in range(len(good)):
        for bad in (good[:at], good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]):
            with pytest.raises((PeerError, StaleError)):
                front.follow_creation(env, DEFAULT, bad, founder, tree=tree)


# ---------------------------------------------------------------- joining by external commit


@dataclass
class Entry:
    """One device's external commit, and what it hands on."""

    env: Environment
    parameters: Parameters
    info: bytes
    joined: ExternallyJoined
    path: OwnPath

    def follow(self, path: OwnPath | None, **options: Any) -> Group:
        sibling = Sibling(path)
        group = front.follow_external(
            self.env,
            options.pop("parameters", self.parameters),
            options.pop("info", self.info),
            options.pop("message", self.joined.message),
            sibling,
            **options,
        )
        assert sibling.asked == (self.joined.group.own_leaf_node.encryption_key, True)
        return group


def enter(ours: Party, someone: Client, *, tree: bool = True, **options: Any) -> Entry:
    """`someone`'s first device joins; the members hear of it."""
    env, suite = ours.env, ours.suite
    info = front.group_info(ours[A], with_tree=tree)
    private, public = suite.generate_key_pair(env.provider.random)
    secret = PathSecret(env.provider.random(suite.hash_size))
    joined = someone.join_externally(
        env,
        info,
        supply=PathSupply(leaf_private=private, leaf_public=public, path_secret=secret),
        leaf_extensions=options.pop("leaf_extensions", (APPLICATION_ID,)),
        tree=None if tree else ours[A].public.tree.encode(),
        **options,
    )
    path = OwnPath(
        leaf_private=private,
        path_secret=secret,
        external_init=joined.external_init,
        signature_private=someone.signer,
    )
    return Entry(env, someone.parameters, info, joined, path)


@pytest.mark.parametrize("shape", ["flat", "full"])
@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_an_entry_of_the_other_device(suite: int, shape: Any) -> None:
    ours = party(4, suite, shape=shape)
    anna = client("anna", suite)
    entry = enter(ours, anna)
    followed = entry.follow(entry.path)
    assert snapshot(followed) == snapshot(entry.joined.group)
    check_private_keys(followed)
    ours.deliver(entry.joined.message, by="anna")
    ours.clients["anna"], ours.groups["anna"] = anna, followed
    ours.agree()
    ours.say("anna", b"from the second device")
    ours.commit("anna")
    ours.commit(B)


def test_an_entry_with_the_tree_beside_it() -> None:
    ours = party(3)
    entry = enter(ours, client("anna"), tree=False)
    tree = ours[A].public.tree.encode()
    assert snapshot(entry.follow(entry.path, tree=tree)) == snapshot(entry.joined.group)


def test_an_entry_in_the_place_of_an_old_self() -> None:
    """This device lost its group, or never had it: the leaf was another one's."""
    ours = party(4, shape="full")
    entry = enter(ours, ours.clients[B], remove=LeafIndex(1))
    followed = entry.follow(entry.path)
    assert snapshot(followed) == snapshot(entry.joined.group)
    assert len(followed.members) == 4


def test_an_entry_with_pre_shared_keys_and_data() -> None:
    ours = party(3, psks=Psks({b"psk": b"shared"}))
    psk = front.external_psk(ours[A], ours.env, b"psk").psk
    entry = enter(ours, client("anna"), psks=[psk], authenticated_data=b"a note")
    assert snapshot(entry.follow(entry.path)) == snapshot(entry.joined.group)
    without = replace(entry, env=environment())
    with pytest.raises(MissingPskError):
        without.follow(entry.path)


def test_an_entry_that_lets_others_go() -> None:
    able = default_capabilities(proposals=(ProposalType.SELF_REMOVE,))
    ours = party(4, capabilities=able)
    wish = ours.propose(C, SelfRemove())
    entry = enter(ours, client("anna", capabilities=able), self_removes=[wish])
    followed = entry.follow(entry.path, self_removes=[wish])
    assert snapshot(followed) == snapshot(entry.joined.group)
    assert len(followed.members) == 4
    with pytest.raises(MissingProposalsError) as missing:
        entry.follow(entry.path)
    assert len(missing.value.references) == 1


def test_an_entry_that_cannot_be_derived() -> None:
    """Neither at all nor in part: without the init secret or the signature key the device would be deaf or mute."""
    entry = enter(party(3), client("anna"))
    for path in (None, replace(entry.path, external_init=None), replace(entry.path, signature_private=None)):
        with pytest.raises(UnderivedError):
            entry.follow(path)
    entry.follow(entry.path)


@breaks("VAL-12.4.2-9")
def test_an_entry_whose_keys_are_not_those_that_we_derive() -> None:
    ours = party(3)
    entry = enter(ours, client("anna"))
    other: HpkePrivateKey = ours[B].private[2]
    for wrong in (
        replace(entry.path, leaf_private=other),
        replace(entry.path, path_secret=PathSecret(bytes(32))),
        replace(entry.path, signature_private=client("thief").signer),
    ):
        refused("VAL-12.4.2-9", partial(entry.follow, wrong))
    entry.follow(entry.path)


def test_an_entry_that_changes_the_group_s_data() -> None:
    ours = company(2, extensions=demand(data={COLOR: b"sea"}))
    entry = enter(ours, someone("anna"), leaf_extensions=OFFER, app_data=[updated(COLOR, b"green")])
    followed = entry.follow(entry.path)
    assert snapshot(followed) == snapshot(entry.joined.group)
    assert followed.public.context.dictionary.find(COLOR) == b"seagreen"
    refused("EXT-4.7-2", lambda: entry.follow(entry.path, parameters=DEFAULT))


@breaks("VAL-12.4.2-10")
def test_an_entry_under_another_init_secret() -> None:
    entry = enter(party(3), client("anna"))
    wrong = replace(entry.path, external_init=InitSecret(bytes(32)))
    refused("VAL-12.4.2-10", lambda: entry.follow(wrong))
    entry.follow(entry.path)


def test_an_entry_into_another_epoch_or_group() -> None:
    ours = party(3)
    early = front.group_info(ours[A])
    ours.commit(B)
    entry = enter(ours, client("anna"))
    ours.commit(B)
    late = front.group_info(ours[A])
    elsewhere = front.group_info(client(A).create(ours.env, b"elsewhere"))
    for info, error in ((early, FutureEpochError), (late, PastEpochError), (elsewhere, WrongGroupError)):
        with pytest.raises(error):
            entry.follow(entry.path, info=info)
    entry.follow(entry.path)


@breaks("VAL-12.4.3.1-7")
def test_an_entry_into_a_group_that_we_are_in() -> None:
    entry = enter(party(3), client("anna"))
    refused("VAL-12.4.3.1-7", lambda: entry.follow(entry.path, known_groups={b"group"}))
    entry.follow(entry.path, known_groups={b"another"})


@breaks("VAL-12.4.3.2-4")
def test_an_entry_that_is_none() -> None:
    """A member's commit, and what is no commit at all."""
    ours = party(3, parameters=PUBLIC)
    entry = enter(ours, client("anna", parameters=PUBLIC))
    _, proposal, _ = front.propose_update(ours[B], ours.env)
    for message in (front.commit(ours[B], ours.env).message, proposal):
        refused("VAL-12.4.3.2-4", partial(entry.follow, entry.path, message=message))
    entry.follow(entry.path)


@breaks("VAL-12.4.3.2-3")
def test_an_entry_without_a_path() -> None:
    ours = party(3)
    anna = client("anna")
    entry = enter(ours, anna)
    init, secret = external_init(ours[A], ours.env)
    bad = forge_commit(ours[A], ours.env, anna, [init], path=False, external=secret)
    refused("VAL-12.4.3.2-3", lambda: entry.follow(entry.path, message=bad.message))
    entry.follow(entry.path)


@breaks("VAL-6.1-1")
def test_an_entry_with_another_signature() -> None:
    ours = party(3)
    anna = client("anna")
    entry = enter(ours, anna)
    init, secret = external_init(ours[A], ours.env)
    bad = forge_commit(ours[A], ours.env, anna, [init], external=secret, signature=flipped)
    refused("VAL-6.1-1", lambda: entry.follow(entry.path, message=bad.message))
    entry.follow(entry.path)


def test_every_cut_and_flipped_bit_of_an_entry() -> None:
    """Whatever is wrong with what was handed on, it is refused as somebody else's fault, or as not fitting."""
    ours = party(3)
    tree = ours[A].public.tree.encode()
    entry = enter(ours, client("anna"))
    for given in ("info", "message"):
        good = entry.info if given == "info" else entry.joined.message
        for at in range(0, len(good), 11):
            for bad in (good[:at], good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]):
                with pytest.raises((PeerError, StaleError)):
                    entry.follow(entry.path, tree=tree, **{given: bad})


# ---------------------------------------------------------------- errors


def test_what_a_failed_operation_used_up() -> None:
    error = MlsError("refused")
    assert error.consumed is None
    error.consumed = GroupId(b"the next value")
    assert (MlsError.consumed, error.consumed) == (None, b"the next value")
