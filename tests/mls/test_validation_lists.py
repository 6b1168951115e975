"""RFC 9420 §12.2: proposals that are right one by one, and wrong in one commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mls import group as front
from mls.codec import opaque
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import RequiredCapabilities, default_capabilities
from mls.proposals import KINDS, Add, GroupContextExtensions, Kind, PreSharedKey, Proposal, ReInit, Remove, Update
from mls.psk import ExternalPskId
from mls.registries import GroupId, LeafIndex, ProposalRef
from mls.validation import Proposed
from tests.mls.clients import Party, Psks, client, party
from tests.mls.frankenstein import (
    Raw,
    external_init,
    forge_commit,
    forge_package,
    own_update,
    proposed,
)
from tests.mls.refusals import A, B, C, D, accepts, refused, refuses
from tests.validation import breaks

STRANGER = client("stranger")
NONCE = bytes(range(32))
KNOWN = Psks({b"known": b"a key", b"other": b"another key"})
REINIT = ReInit(GroupId(b"new"), 1, 1, ())


def refuses_list(rule: str, party_: Party, bad: Sequence[Proposal], good: Sequence[Proposal]) -> None:
    """Neither committed by us, nor taken from others."""
    env = party_.env
    refused(rule, lambda: front.commit(party_[A], env, proposals=bad))
    front.commit(party_[A], env, proposals=good)
    commits = [forge_commit(party_[B], env, party_.clients[B], each).message for each in (bad, good)]
    refuses(rule, party_, C, *commits)


def waiting(party_: Party, by: str, proposal: Proposal) -> Proposed:
    """The proposal, sent by one member and kept by all others."""
    message = proposed(party_[by], party_.env, proposal)
    group = party_[by]
    # the proposer keeps it too, without the private key that nobody needs here
    item = None
    for name in party_.names:
        if name == by:
            continue
        accepts(party_, name, message)
        item = list(party_[name].proposals.values())[-1]
    assert item is not None
    assert item.reference is not None
    keys, _ = group.keys.next_key(group.suite, group.own_leaf, 0)
    kept = {**group.proposals, ProposalRef(item.reference): item}
    party_.groups[by] = replace(group, keys=keys, proposals=kept)
    return item


def update(party_: Party, name: str) -> Update:
    return own_update(party_[name], party_.clients[name], party_.env)


def package(party_: Party, who: str = "stranger", **fields: Any) -> KeyPackageSecrets:
    return forge_package(client(who), party_.env, **fields)


def refuses_references(
    rule: str, party_: Party, by: str, to: str, bad: Sequence[Proposed], good: Sequence[Proposed]
) -> None:
    env = party_.env
    references = [ProposalRef(item.reference) for item in bad if item.reference is not None]
    refused(rule, lambda: front.commit(party_[by], env, references=references))
    commits = [forge_commit(party_[by], env, party_.clients[by], each).message for each in (bad, good)]
    refuses(rule, party_, to, *commits)


@breaks("VAL-12.2-1")
def test_an_update_by_the_committer() -> None:
    party_ = party(3)
    env = party_.env
    bad = [update(party_, B)]
    commits = [forge_commit(party_[B], env, party_.clients[B], each).message for each in (bad, [])]
    refuses("VAL-12.2-1", party_, A, *commits)
    refused("VAL-12.2-1", lambda: front.commit(party_[A], env, proposals=[update(party_, A)]))
    item = waiting(party_, B, update(party_, B))
    refuses_references("VAL-12.2-1", party_, B, A, [item], [])


@breaks("VAL-12.2-2")
def test_a_remove_of_the_committer() -> None:
    party_ = party(3)
    env = party_.env
    commits = [forge_commit(party_[B], env, party_.clients[B], [Remove(LeafIndex(leaf))]).message for leaf in (1, 2)]
    refuses("VAL-12.2-2", party_, A, *commits)
    refused("VAL-12.2-2", lambda: front.commit(party_[A], env, proposals=[Remove(LeafIndex(0))]))
    item = waiting(party_, A, Remove(LeafIndex(1)))
    refuses_references("VAL-12.2-2", party_, B, A, [item], [])


@breaks("VAL-12.2-3")
def test_two_removes_of_one_leaf() -> None:
    party_ = party(4)
    twice = [Remove(LeafIndex(3)), Remove(LeafIndex(3))]
    refuses_list("VAL-12.2-3", party_, twice, twice[:1])


@breaks("VAL-12.2-3")
@pytest.mark.parametrize("first", ["update", "remove"])
def test_an_update_and_a_remove_of_one_leaf(first: str) -> None:
    party_ = party(4)
    both = [waiting(party_, D, update(party_, D)), waiting(party_, C, Remove(LeafIndex(3)))]
    if first == "remove":
        both.reverse()
    refuses_references("VAL-12.2-3", party_, B, A, both, both[:1])


@breaks("VAL-12.2-3")
def test_two_updates_of_one_leaf() -> None:
    party_ = party(4)
    both = [waiting(party_, D, update(party_, D)) for _ in range(2)]
    refuses_references("VAL-12.2-3", party_, B, A, both, both[1:])


@breaks("VAL-12.2-4")
def test_two_adds_of_one_client() -> None:
    party_ = party(3)
    both = [Add(package(party_).key_package) for _ in range(2)]
    refuses_list("VAL-12.2-4", party_, both, both[:1])


@breaks("VAL-12.2-5")
def test_an_add_of_a_member() -> None:
    party_ = party(4)
    again = Add(package(party_, D).key_package)
    refuses_list("VAL-12.2-5", party_, [again], [again, Remove(LeafIndex(3))])
    refuses_list("VAL-12.2-5", party_, [again, Remove(LeafIndex(2))], [Remove(LeafIndex(3)), again])


@breaks("VAL-12.2-6")
def test_one_pre_shared_key_twice() -> None:
    party_ = party(3, psks=KNOWN)
    psk = PreSharedKey(ExternalPskId(b"known", NONCE))
    others = [PreSharedKey(ExternalPskId(b"known", NONCE[::-1])), PreSharedKey(ExternalPskId(b"other", NONCE))]
    refuses_list("VAL-12.2-6", party_, [psk, *others, psk], [psk, *others])


@breaks("VAL-8.4-2")
@pytest.mark.slow
def test_more_pre_shared_keys_than_16_bits_can_count() -> None:
    party_ = party(3, psks=KNOWN)
    env = party_.env

    def many(count: int) -> list[Proposal]:
        return [PreSharedKey(ExternalPskId(b"known", at.to_bytes(32, "big"))) for at in range(count)]

    bad = forge_commit(party_[B], env, party_.clients[B], listed=many(0x1_0000))
    good = forge_commit(party_[B], env, party_.clients[B], many(3))
    refuses("VAL-8.4-2", party_, A, bad.message, good.message)


@breaks("VAL-12.2-7")
def test_two_replacements_of_the_extensions() -> None:
    party_ = party(3)
    both = [GroupContextExtensions(()), GroupContextExtensions((RequiredCapabilities().extension(),))]
    refuses_list("VAL-12.2-7", party_, both, both[1:])
    refuses_list("VAL-12.2-7", party_, [both[0], both[0]], both[:1])


@breaks("VAL-12.2-8")
@pytest.mark.parametrize("first", [True, False])
def test_a_reinit_beside_something_else(first: bool) -> None:
    party_ = party(4)
    both: list[Proposal] = [REINIT, Remove(LeafIndex(3))]
    refuses_list("VAL-12.2-8", party_, both if first else both[::-1], [REINIT])
    refuses_list("VAL-12.2-8", party_, [REINIT, REINIT], [REINIT])


@breaks("VAL-12.2-9")
def test_an_external_init_in_a_member_s_commit() -> None:
    party_ = party(3)
    init, _ = external_init(party_[A], party_.env)
    refuses_list("VAL-12.2-9", party_, [init], [])


class Custom(Raw):
    """A proposal of a type that an extension brought."""


CUSTOM = 0xF00D
ABLE = default_capabilities(proposals=(CUSTOM,))


@pytest.fixture
def custom(monkeypatch: pytest.MonkeyPatch) -> Proposal:
    monkeypatch.setitem(KINDS, CUSTOM, Kind(lambda reader: Custom(opaque(reader.opaque()), type=CUSTOM)))
    return Custom(opaque(b"do it"), type=CUSTOM)


@breaks("VAL-12.2-10")
def test_a_proposal_type_that_a_member_does_not_support(custom: Proposal) -> None:
    able, unable = party(3, capabilities=ABLE), party(3)
    refuses_list("VAL-12.2-10", unable, [custom], [])
    front.commit(able[A], able.env, proposals=[custom])
    accepts(able, C, forge_commit(able[B], able.env, able.clients[B], [custom]).message)


@breaks("VAL-12.2-10")
def test_only_those_who_process_the_commit_have_to_support_a_type(custom: Proposal) -> None:
    """Who is added or removed by it does not."""
    party_ = party(4, capabilities=ABLE)
    party_.commit(A, joining=[(STRANGER, STRANGER.package(party_.env))])
    gone = Remove(party_.leaf("stranger"))
    newcomer = Add(package(party_, "newcomer").key_package)
    refuses_list("VAL-12.2-10", party_, [custom, newcomer], [custom, newcomer, gone])


# External commits


def refuses_external_list(
    rule: str, party_: Party, bad: Sequence[Any], good: Sequence[Any], *, by: str = "stranger"
) -> None:
    """Lists of an external commit, without the ExternalInit that every good one has."""
    env = party_.env
    init, secret = external_init(party_[A], env)
    who = party_.clients.get(by) or client(by)
    lists = [[init if item is INIT else item for item in each] for each in (bad, good)]
    commits = [forge_commit(party_[A], env, who, each, external=secret).message for each in lists]
    refuses(rule, party_, A, *commits)


INIT = object()


@breaks("VAL-12.2-11")
def test_an_external_commit_with_no_external_init_or_two() -> None:
    party_ = party(3)
    second, _ = external_init(party_[A], party_.env)
    refuses_external_list("VAL-12.2-11", party_, [], [INIT])
    refuses_external_list("VAL-12.2-11", party_, [Remove(LeafIndex(2))], [INIT, Remove(LeafIndex(2))], by=C)
    refuses_external_list("VAL-12.2-11", party_, [INIT, second], [INIT])
    refuses_external_list("VAL-12.2-11", party_, [INIT, INIT], [INIT])


@breaks("VAL-12.2-12")
@pytest.mark.parametrize("kind", ["add", "update", "extensions", "reinit", "custom"])
def test_what_an_external_commit_may_not_have(kind: str, custom: Proposal) -> None:
    party_ = party(3, capabilities=ABLE, psks=KNOWN)
    extra = {
        "add": Add(package(party_, "newcomer", capabilities=ABLE).key_package),
        "update": own_update(party_[A], party_.clients[A], party_.env),
        "extensions": GroupContextExtensions(()),
        "reinit": REINIT,
        "custom": custom,
    }[kind]
    psk = PreSharedKey(ExternalPskId(b"known", NONCE))
    able = client("stranger", capabilities=ABLE)
    party_.clients["stranger"] = able
    refuses_external_list("VAL-12.2-12", party_, [INIT, extra, psk], [INIT, psk])


@breaks("VAL-12.2-13")
def test_an_external_commit_that_removes_two() -> None:
    party_ = party(4)
    both = [INIT, Remove(LeafIndex(2)), Remove(LeafIndex(3))]
    refuses_external_list("VAL-12.2-13", party_, both, both[:2], by=C)


def test_an_external_commit_may_replace_the_first_leaf() -> None:
    """Its sender has no index, and none is taken for index 0."""
    party_ = party(3)
    init, secret = external_init(party_[B], party_.env)
    commit = forge_commit(party_[B], party_.env, party_.clients[A], [init, Remove(LeafIndex(0))], external=secret)
    assert accepts(party_, C, commit.message).committer == 0  # type: ignore[union-attr]


# What waits, and what we make of it


def test_an_add_of_a_member_waits_for_the_member_s_remove() -> None:
    """Each is right alone: whichever arrives first, a commit of both is taken, and our own takes both."""
    for order in (True, False):
        party_ = party(4)
        both: list[Proposal] = [Add(package(party_, D).key_package), Remove(LeafIndex(3))]
        for each in both if order else both[::-1]:
            waiting(party_, B, each)
        items = list(party_[A].proposals.values())
        forged = forge_commit(party_[C], party_.env, party_.clients[C], items)
        assert accepts(party_.copy(party_.env), A, forged.message).group.public.tree.member_count == 4
        sent = front.commit(party_[A], party_.env)
        assert sent.added == (3,)
        assert sent.group.public.tree.member_count == 4


def test_our_commit_leaves_out_what_does_not_fit() -> None:
    """An insider cannot keep us from committing by proposing what is right only beside something else."""
    party_ = party(5)
    waiting(party_, B, Add(package(party_, D).key_package))
    waiting(party_, C, GroupContextExtensions((RequiredCapabilities(proposals=(CUSTOM,)).extension(),)))
    good = waiting(party_, D, Remove(LeafIndex(4)))
    sent = front.commit(party_[A], party_.env)
    assert sent.added == ()
    assert sent.group.public.context.extensions == ()
    assert sent.group.public.tree.leaf(4) is None
    assert accepts(party_, B, sent.message).plan.removed == (4,)  # type: ignore[union-attr]
    assert good.reference is not None
