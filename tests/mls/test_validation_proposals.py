"""RFC 9420 §8.4 and §12.1: proposals that are wrong by themselves, whatever stands beside them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.codec import opaque, u16, u64
from mls.framing import Sender
from mls.leaf_node import LeafNode
from mls.proposals import (
    Add,
    ExternalInit,
    ExternalSender,
    GroupContextExtensions,
    PreSharedKey,
    Proposal,
    ReInit,
    Remove,
    Update,
    external_senders_extension,
)
from mls.provider import OwnPath, PendingUpdate
from mls.psk import ExternalPskId, ResumptionPskId
from mls.registries import ContentType, GroupId, LeafIndex, SenderType
from tests.mls.clients import Party, Psks, client, party
from tests.mls.frankenstein import (
    Raw,
    as_public,
    authenticated,
    external_init,
    forge_commit,
    own_update,
    proposed,
    spoken,
)
from tests.mls.refusals import A, B, C, accepts, refused, refuses
from tests.validation import breaks

STRANGER = client("stranger")
NONCE = bytes(range(32))
KNOWN = Psks({b"known": b"a key"})


def refuses_proposal(rule: str, party_: Party, bad: Any, good: Any, *, send: bool = True) -> None:
    """Neither sent, nor taken alone, nor taken in a commit."""
    env = party_.env
    if send:
        refused(rule, lambda: front.propose(party_[A], env, bad))
        refused(rule, lambda: front.commit(party_[A], env, proposals=[bad]))
        front.commit(party_[A], env, proposals=[good])
    refuses(rule, party_, A, *[proposed(party_[B], env, each) for each in (bad, good)])
    commits = [forge_commit(party_[B], env, party_.clients[B], [each]).message for each in (bad, good)]
    refuses(rule, party_, A, *commits)


# §8.4


@breaks("VAL-8.4-1")
@pytest.mark.parametrize("kind", [b"\x00", b"\x04", b"\x02\x00", b"\x02\x04"])
def test_an_unknown_kind_of_pre_shared_key(kind: bytes) -> None:
    party_ = party(2, psks=KNOWN)
    rest = opaque(b"known") + (b"" if len(kind) == 1 else u64(0)) + opaque(NONCE)
    bad = Raw(kind + rest, type=4)
    good = PreSharedKey(ExternalPskId(b"known", NONCE))
    refuses_proposal("VAL-8.4-1", party_, bad, good, send=False)


# §12.1


@breaks("VAL-12.1-1")
@pytest.mark.parametrize("kind", [0, 11, 0x0A0A, 0xFFFF])
def test_an_unknown_proposal_type(kind: int) -> None:
    party_ = party(2)
    env = party_.env
    bad, good = Raw(b"", type=kind), Add(STRANGER.package(env).key_package)
    refuses("VAL-12.1-1", party_, A, *[proposed(party_[B], env, each) for each in (bad, good)])
    listed = forge_commit(party_[B], env, party_.clients[B], listed=[bad])
    refuses("VAL-12.1-1", party_, A, listed.message, forge_commit(party_[B], env, party_.clients[B]).message)


@breaks("VAL-12.1.2-1")
@pytest.mark.parametrize("source", [1, 3])
def test_an_update_with_a_leaf_from_elsewhere(source: int) -> None:
    party_ = party(2)
    env = party_.env
    bad = own_update(party_[B], party_.clients[B], env, source=source)
    good = own_update(party_[B], party_.clients[B], env)
    refuses("VAL-12.1.2-1", party_, A, *[proposed(party_[B], env, each) for each in (bad, good)])
    refused("VAL-12.1.2-1", lambda: front.propose(party_[B], env, bad))


class Sibling:
    """Shares our leaf, and can or cannot say what the other device did."""

    def __init__(self, update: PendingUpdate | None = None) -> None:
        self.update = update

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None:
        return None

    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None:
        return self.update


@breaks("VAL-12.1.2-3")
def test_an_update_of_our_leaf_that_is_not_ours() -> None:
    """Another device with our signature key, or a thief, replaces our leaf by one that we cannot use."""
    party_ = party(3)
    env = party_.env
    suite = party_[A].suite
    private, public = suite.generate_key_pair(env.provider.random)
    update = own_update(party_[A], party_.clients[A], env, encryption_key=public)
    message = proposed(party_[A], env, update)
    party_.groups[A] = front.receive(party_[A], env, message, own=Sibling()).group
    accepts(party_, C, message)
    items = list(party_[C].proposals.values())
    commit = forge_commit(party_[C], env, party_.clients[C], items).message
    refuses("VAL-12.1.2-3", party_, A, commit, forge_commit(party_[C], env, party_.clients[C]).message)
    for wrong in ((party_[A].private[0], party_[A].signature_key), (private, party_.clients[B].signer)):
        refuses("VAL-12.1.2-3", party_, A, commit, spoken(party_[B], env), own=Sibling(PendingUpdate(*wrong)))
    known = Sibling(PendingUpdate(private, party_[A].signature_key))
    assert front.receive(party_[A], env, commit, own=known).group.own_leaf_node == update.leaf_node


@breaks("VAL-12.1.3-1")
@pytest.mark.parametrize("leaf", [3, 4, 0xFFFF_FFFF])
def test_a_remove_of_nobody(leaf: int) -> None:
    party_ = party(3)
    refuses_proposal("VAL-12.1.3-1", party_, Remove(LeafIndex(leaf)), Remove(LeafIndex(2)))


@breaks("VAL-12.1.4-1")
@pytest.mark.parametrize("nonce", [b"", NONCE[:-1], NONCE + b"\x00"])
def test_a_pre_shared_key_with_another_size_of_nonce(nonce: bytes) -> None:
    party_ = party(2, psks=KNOWN)
    bad, good = [PreSharedKey(ExternalPskId(b"known", each)) for each in (nonce, NONCE)]
    refuses_proposal("VAL-12.1.4-1", party_, bad, good)


@breaks("VAL-12.1.4-2")
@pytest.mark.parametrize("usage", [2, 3])
def test_a_founding_pre_shared_key_in_an_existing_group(usage: int) -> None:
    party_ = party(2)
    group = party_[A]
    bad, good = [PreSharedKey(ResumptionPskId(each, group.group_id, group.epoch, NONCE)) for each in (usage, 1)]
    refuses_proposal("VAL-12.1.4-2", party_, bad, good)


@breaks("VAL-12.1.4-2")
def test_a_founding_pre_shared_key_of_the_other_usage() -> None:
    """A branch is founded by a branch key alone."""
    party_ = party(2)
    group = party_[A]
    psk = ResumptionPskId(2, group.group_id, group.epoch, NONCE)
    fresh = party_.clients[A].create(party_.env, b"new")
    refused(
        "VAL-12.1.4-2",
        lambda: front.commit(fresh, party_.env, proposals=[PreSharedKey(psk)], founding=(3, group)),
    )
    front.commit(fresh, party_.env, proposals=[PreSharedKey(psk)], founding=(2, group))


@breaks("VAL-12.1.5-1")
def test_a_reinit_to_a_lower_version() -> None:
    party_ = party(2)
    bad, good = [ReInit(GroupId(b"new"), version, 1, ()) for version in (0, 1)]
    refuses_proposal("VAL-12.1.5-1", party_, bad, good)
    refuses_proposal("VAL-12.1.5-1", party_, bad, replace(good, version=2))


# §12.1.8


SENDER = ExternalSender(party(1)[A].suite.scheme.public_key(STRANGER.signer), STRANGER.credential)
OPEN = (external_senders_extension((SENDER,)),)


def from_outside(party_: Party, proposal: object, *, index: int | None = 0) -> bytes:
    kind = Sender(SenderType.NEW_MEMBER_PROPOSAL) if index is None else Sender(SenderType.EXTERNAL, index)
    content = authenticated(
        party_[A], ContentType.PROPOSAL, proposal, wire_format=1, sender=kind, signer=STRANGER.signer
    )
    return as_public(party_[A], content)


def may_propose(party_: Party) -> list[Proposal]:
    package = STRANGER.package(party_.env).key_package
    return [
        Add(package),
        Remove(LeafIndex(1)),
        PreSharedKey(ExternalPskId(b"known", NONCE)),
        ReInit(GroupId(b"new"), 1, 1, ()),
        GroupContextExtensions(OPEN),
    ]


@breaks("VAL-12.1.8-1")
def test_what_an_external_sender_may_not_propose() -> None:
    party_ = party(2, extensions=OPEN)
    env = party_.env
    init, _ = external_init(party_[A], env)
    update: Update = own_update(party_[B], party_.clients[B], env)
    for bad in (update, init, ExternalInit(b"")):
        refuses("VAL-12.1.8-1", party_, A, from_outside(party_, bad), from_outside(party_, Remove(LeafIndex(1))))
    for good in may_propose(party_):
        accepts(party_, A, from_outside(party_, good))


@breaks("VAL-12.1.8-2")
def test_what_a_newcomer_may_not_propose() -> None:
    party_ = party(2, extensions=OPEN)
    add, *others = may_propose(party_)
    for bad in others:
        refuses("VAL-12.1.8-2", party_, A, from_outside(party_, bad, index=None), from_outside(party_, add, index=None))


@breaks("VAL-12.1.8.1-1")
@pytest.mark.parametrize("index", [1, 0xFFFF_FFFF])
def test_an_external_sender_who_is_not_in_the_list(index: int) -> None:
    party_ = party(2, extensions=OPEN)
    remove = Remove(LeafIndex(1))
    refuses("VAL-12.1.8.1-1", party_, A, from_outside(party_, remove, index=index), from_outside(party_, remove))


@breaks("VAL-12.1.8.1-1")
def test_an_external_sender_where_there_is_no_list() -> None:
    party_ = party(2)
    refuses("VAL-12.1.8.1-1", party_, A, from_outside(party_, Remove(LeafIndex(1))))


# §12.2, of what is wrong alone already


@breaks("VAL-12.2-9")
def test_an_external_init_that_is_proposed() -> None:
    party_ = party(2)
    init, _ = external_init(party_[A], party_.env)
    refuses("VAL-12.2-9", party_, A, proposed(party_[B], party_.env, init))
    refused("VAL-12.2-9", lambda: front.propose(party_[A], party_.env, init))


def test_an_unknown_proposal_is_read_as_far_as_its_type() -> None:
    party_ = party(2)
    error = refuses("VAL-12.1-1", party_, A, proposed(party_[B], party_.env, Raw(u16(7), type=0x1A1A)))
    assert "6682" in error.detail
