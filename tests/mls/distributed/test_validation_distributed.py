"""DiMLS §4.1: what the owner of a send group may do to those who follow it, rule by rule.

Alice is the liar: she has every key of her send group and breaks one rule. Bob or Carol refuse it by its number, are
what they were before, and take the same commit without the fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from mls import group as mls
from mls.codec import decode_exactly, u64
from mls.components.dictionary import Dictionary
from mls.distributed import session as front, stored
from mls.distributed.errors import EpochName
from mls.distributed.mode import leaf_extension
from mls.distributed.send_group import psk_id
from mls.errors import GroupEndedError
from mls.leaf_node import LeafNode
from mls.proposals import Add, GroupContextExtensions, LeafReplacement, PreSharedKey, Proposal, Remove
from mls.psk import ExternalPskId, PreSharedKeyId, ResumptionPskId
from mls.registries import Epoch, GroupId, LeafIndex, ProposalRef
from mls.secrets import ExternalSecret
from mls.suite import Suite
from tests.mls.clients import party
from tests.mls.distributed.people import PARAMETERS, Wire, group_id, offer, person, wire
from tests.mls.frankenstein import PathSurgery, external_init, forge_commit, forge_leaf, forge_package
from tests.mls.refusals import refused, refuses as refuses_in_group
from tests.validation import breaks

ALICE, BOB, CAROL, DAVE = map(group_id, ("alice", "bob", "carol", "dave"))
NUMBERS = PARAMETERS.components.numbers


def forged(
    wire_: Wire, by: str, proposals: Sequence[Proposal] = (), *, leaf: dict[str, Any] | None = None, **options: Any
) -> bytes:
    """A commit of `by` in its send group with these proposals, whatever they are."""
    session = wire_[by]
    env = replace(wire_.env, psks=session.known)
    fields = {"extensions": session.own.owner_leaf.extensions, **(leaf or {})}
    made = forge_commit(session.own.group, env, person(by), proposals, path=PathSurgery(leaf=fields), **options)
    return made.message


def refuses(rule: str, wire_: Wire, to: str, bad: bytes, good: bytes | None = None) -> None:
    session = wire_[to]
    before = stored.encode(session)
    refused(rule, lambda: front.receive(session, wire_.env, bad))
    assert stored.encode(session) == before
    if good is not None:
        assert isinstance(front.receive(session, wire_.env, good), front.Followed)


def named(wire_: Wire, name: EpochName) -> PreSharedKey:
    return keyed(wire_, ExternalPskId(psk_id(name), wire_.env.provider.random(32)))


def keyed(wire_: Wire, psk: PreSharedKeyId) -> PreSharedKey:
    return PreSharedKey(replace(psk, nonce=wire_.env.provider.random(32)))


def taking(wire_: Wire, by: str, member: GroupId, epoch: int) -> list[Proposal]:
    """An import as it should be."""
    session = wire_[by]
    kept = session.groups[member].epochs[epoch]
    leaf = LeafReplacement(session.own.places[member], kept.leaf)
    return [named(wire_, EpochName(member, Epoch(epoch))), leaf]


# Who speaks


@breaks("DIMLS-4.1-1")
def test_somebody_else_speaks_in_a_send_group() -> None:
    wire_ = wire(3)
    foreign = wire_["bob"].others[ALICE].group
    _, message = mls.seal(foreign, wire_.env, b"listen to me")
    refuses("DIMLS-4.1-1", wire_, "carol", message)
    refuses("DIMLS-4.1-1", wire_, "alice", message)
    _, message = mls.seal(wire_["alice"].own.group, wire_.env, b"listen to me")
    assert isinstance(front.receive(wire_["carol"], wire_.env, message), front.Heard)


@breaks("DIMLS-4.1-1")
def test_somebody_else_commits_or_proposes_in_a_send_group() -> None:
    wire_ = wire(3)
    foreign = wire_["bob"].others[ALICE].group
    _, message, _ = mls.propose(foreign, wire_.env, Remove(wire_["alice"].own.places[CAROL]))
    refuses("DIMLS-4.1-1", wire_, "carol", message)
    extensions = {"extensions": foreign.own_leaf_node.extensions}
    commit = forge_commit(foreign, wire_.env, person("bob"), path=PathSurgery(leaf=extensions))
    refuses("DIMLS-4.1-1", wire_, "carol", commit.message, forged(wire_, "alice"))


@breaks("DIMLS-4.1-1")
def test_a_stranger_joins_by_external_commit() -> None:
    wire_ = wire(3)
    group = wire_["alice"].own.group
    open_ = replace(group, secrets=replace(group.secrets, external=ExternalSecret(bytes(32))))  # nobody has one
    proposal, init = external_init(open_, wire_.env)
    surgery = PathSurgery(leaf={"extensions": (leaf_extension(NUMBERS, DAVE),)})
    bad = forge_commit(group, wire_.env, person("dave"), [proposal], path=surgery, external=init)
    refuses("DIMLS-4.1-1", wire_, "carol", bad.message, forged(wire_, "alice"))


# What stands in a commit


@breaks("DIMLS-4.1.1-1")
def test_a_proposal_alone() -> None:
    wire_ = wire(3)
    _, message, _ = mls.propose(wire_["alice"].own.group, wire_.env, Remove(wire_["alice"].own.places[CAROL]))
    refuses("DIMLS-4.1.1-1", wire_, "bob", message, forged(wire_, "alice"))


@breaks("DIMLS-4.1.1-2")
def test_a_proposal_by_name() -> None:
    wire_ = wire(3)
    removal = Remove(wire_["alice"].own.places[CAROL])
    bad = forged(wire_, "alice", [removal], listed=[ProposalRef(bytes(32))])
    refuses("DIMLS-4.1.1-2", wire_, "bob", bad, forged(wire_, "alice", [removal]))


@breaks("DIMLS-4.1.1-3")
def test_an_operation_that_send_groups_do_not_have() -> None:
    wire_ = wire(3)
    extensions = wire_["alice"].own.group.public.context.extensions
    bad = forged(wire_, "alice", [GroupContextExtensions(extensions)])
    refuses("DIMLS-4.1.1-3", wire_, "bob", bad, forged(wire_, "alice"))


# Pre-shared keys


@breaks("DIMLS-4.1.1.2-1")
@pytest.mark.parametrize(
    "psk",
    [
        ExternalPskId(b"8 bytes.", b""),
        ExternalPskId(u64(1) + ALICE, b""),
        ExternalPskId(u64(1) + b"somewhere else", b""),
        ResumptionPskId(1, ALICE, Epoch(1), b""),
    ],
    ids=["short", "own", "nobody", "resumption"],
)
def test_a_key_that_is_of_no_other_member(psk: PreSharedKeyId) -> None:
    wire_ = wire(3)

    session = wire_["alice"]
    fields = {"extensions": session.own.owner_leaf.extensions}
    bad = forge_commit(
        session.own.group, wire_.env, person("alice"), [keyed(wire_, psk)], path=PathSurgery(leaf=fields)
    )
    refuses("DIMLS-4.1.1.2-1", wire_, "carol", bad.message, forged(wire_, "alice", taking(wire_, "alice", BOB, 1)))


@breaks("DIMLS-4.1.1.2-2")
def test_two_epochs_of_one_member() -> None:
    wire_ = wire(3)
    wire_.update("bob")
    wire_.flush()
    good = taking(wire_, "alice", BOB, 2)
    bad = [taking(wire_, "alice", BOB, 1)[0], *good]
    refuses("DIMLS-4.1.1.2-2", wire_, "carol", forged(wire_, "alice", bad), forged(wire_, "alice", good))


@breaks("DIMLS-4.1.1.2-3")
@pytest.mark.parametrize("again", [1, 2])
def test_an_epoch_that_is_not_newer(again: int) -> None:
    wire_ = wire(3)
    wire_.update("bob")
    wire_.flush()
    old = taking(wire_, "alice", BOB, again)
    before = wire_["alice"]
    wire_.commit("alice")
    wire_.update("bob")
    wire_.flush()
    session = wire_["alice"]
    kept = {**before.others[BOB].epochs, **session.others[BOB].epochs}
    source = replace(session.others[BOB], epochs=kept)
    wire_.members["alice"].session = replace(session, others={**session.others, BOB: source})
    bad = forged(wire_, "alice", old)
    refuses("DIMLS-4.1.1.2-3", wire_, "carol", bad, forged(wire_, "alice", taking(wire_, "alice", BOB, 3)))


# Leaves


@breaks("DIMLS-4.1.2-1")
def test_a_leaf_replaced_in_an_ordinary_group() -> None:
    party_ = party(3, parameters=PARAMETERS, capabilities=person("alice").capabilities)
    first, second, third = party_.names
    leaf = forge_leaf(party_.clients[second], *_fresh(party_.env), source=3, group_id=b"group", leaf_index=1)
    bad = forge_commit(party_[first], party_.env, party_.clients[first], [LeafReplacement(LeafIndex(1), leaf)])
    good = forge_commit(party_[first], party_.env, party_.clients[first])
    refuses_in_group("DIMLS-4.1.2-1", party_, third, bad.message, good.message)


def _fresh(env: Any) -> list[bytes]:
    return [Suite(1).generate_key_pair(env.provider.random)[1]]


def refuses_replacement(rule: str, wire_: Wire, index: int, leaf: LeafNode) -> None:
    """Asked of the group value itself, which knows no other send groups."""
    group = wire_["carol"].others[ALICE].group
    bad = forged(wire_, "alice", [LeafReplacement(LeafIndex(index), leaf)])
    refused(rule, lambda: mls.receive(group, wire_.env, bad))
    mls.receive(group, wire_.env, forged(wire_, "alice"))


@breaks("DIMLS-4.1.2-2")
@pytest.mark.parametrize("index", [0, 3])
def test_the_owners_leaf_or_a_blank_one_replaced(index: int) -> None:
    wire_ = wire(3)
    refuses_replacement("DIMLS-4.1.2-2", wire_, index, wire_["bob"].own.owner_leaf)


@breaks("DIMLS-4.1.2-3")
def test_a_leaf_of_a_key_package_in_place_of_another() -> None:
    wire_ = wire(3)
    package = offer(wire_.env, "bob")
    place = wire_["alice"].own.places[BOB]
    refuses_replacement("DIMLS-4.1.2-3", wire_, place, package.key_package.leaf_node)


@breaks("DIMLS-4.1.2-4")
def test_an_epoch_without_its_leaf() -> None:
    wire_ = wire(3)
    good = taking(wire_, "alice", BOB, 1)
    refuses("DIMLS-4.1.2-4", wire_, "carol", forged(wire_, "alice", good[:1]), forged(wire_, "alice", good))


@breaks("DIMLS-4.1.2-5")
def test_a_leaf_without_its_epoch() -> None:
    wire_ = wire(3)
    good = taking(wire_, "alice", BOB, 1)
    refuses("DIMLS-4.1.2-5", wire_, "carol", forged(wire_, "alice", good[1:]), forged(wire_, "alice", good))


@breaks("DIMLS-4.1.2-6")
def test_a_leaf_of_another_epoch() -> None:
    wire_ = wire(3)
    wire_.update("bob")
    wire_.flush()
    old, new = taking(wire_, "alice", BOB, 1), taking(wire_, "alice", BOB, 2)
    refuses("DIMLS-4.1.2-6", wire_, "carol", forged(wire_, "alice", [new[0], old[1]]), forged(wire_, "alice", new))
    refuses("DIMLS-4.1.2-6", wire_, "bob", forged(wire_, "alice", [new[0], old[1]]), forged(wire_, "alice", new))


@breaks("DIMLS-4.1.2-6")
def test_a_leaf_of_another_member() -> None:
    wire_ = wire(4)
    places = wire_["alice"].own.places
    good = taking(wire_, "alice", BOB, 1)
    wrong = LeafReplacement(places[BOB], wire_["carol"].own.owner_leaf)
    refuses("DIMLS-4.1.2-6", wire_, "dave", forged(wire_, "alice", [good[0], wrong]), forged(wire_, "alice", good))


@breaks("DIMLS-4.1.2-6")
def test_a_leaf_that_was_made_to_name_another_send_group() -> None:
    """Bob helps Alice to hide him under another name."""
    wire_ = wire(3)
    good = taking(wire_, "alice", BOB, 1)
    place = wire_["alice"].own.places[BOB]
    renamed = forge_leaf(
        person("bob"),
        *_fresh(wire_.env),
        source=3,
        group_id=b"elsewhere",
        extensions=(leaf_extension(NUMBERS, GroupId(b"elsewhere")),),
    )
    bad = [good[0], LeafReplacement(place, renamed)]
    refuses("DIMLS-4.1.2-6", wire_, "carol", forged(wire_, "alice", bad), forged(wire_, "alice", good))


@breaks("DIMLS-4.2.1-6")
def test_the_owner_renames_its_send_group() -> None:
    wire_ = wire(3)
    bad = forged(wire_, "alice", leaf={"extensions": (leaf_extension(NUMBERS, DAVE),)})
    refuses("DIMLS-4.2.1-6", wire_, "carol", bad, forged(wire_, "alice"))


# Membership


@breaks("DIMLS-4.2.1-5")
def test_a_newcomer_who_names_no_send_group() -> None:
    wire_ = wire(3)
    named_ = leaf_extension(NUMBERS, DAVE)
    silent = replace(named_, data=decode_exactly(named_.data, Dictionary.decode).without(NUMBERS.dimls).encode())
    bad = forge_package(person("dave"), wire_.env, leaf_extensions=(silent,))
    good = offer(wire_.env, "dave")
    adds = [[Add(each.key_package)] for each in (bad, good)]
    refuses("DIMLS-4.2.1-5", wire_, "carol", forged(wire_, "alice", adds[0]), forged(wire_, "alice", adds[1]))


@breaks("DIMLS-4.2.1-7")
def test_a_newcomer_with_the_name_of_a_member() -> None:
    wire_ = wire(3)
    bad = forge_package(person("dave"), wire_.env, leaf_extensions=(leaf_extension(NUMBERS, BOB),))
    good = offer(wire_.env, "dave")
    adds = [[Add(each.key_package)] for each in (bad, good)]
    refuses("DIMLS-4.2.1-7", wire_, "carol", forged(wire_, "alice", adds[0]), forged(wire_, "alice", adds[1]))


def test_a_blank_leaf_is_neither_removed_nor_replaced() -> None:
    wire_ = wire(3)
    good = taking(wire_, "alice", BOB, 1)
    bad = [good[0], LeafReplacement(LeafIndex(3), wire_["bob"].own.owner_leaf)]
    refuses("DIMLS-4.1.2-4", wire_, "carol", forged(wire_, "alice", bad), forged(wire_, "alice", good))
    refuses("VAL-12.1.3-1", wire_, "carol", forged(wire_, "alice", [Remove(LeafIndex(3))]), forged(wire_, "alice"))


@breaks("DIMLS-4.2.1-10")
def test_a_newcomer_in_the_name_of_somebody_who_is_known() -> None:
    """Dave is in Bob's send group and not yet in Alice's, and it is a puppet whom she adds in his name."""
    wire_ = wire(3)
    wire_.commit("bob", add=[offer(wire_.env, "dave").key_package])
    wire_.flush()
    fake = forge_package(person("puppet"), wire_.env, leaf_extensions=(leaf_extension(NUMBERS, DAVE),))
    adds = [[Add(each.key_package)] for each in (fake, offer(wire_.env, "dave"))]
    refuses("DIMLS-4.2.1-10", wire_, "carol", forged(wire_, "alice", adds[0]), forged(wire_, "alice", adds[1]))


@breaks("DIMLS-5-2")
@pytest.mark.parametrize("at_once", [False, True])
def test_an_owner_who_adds_again_whom_it_removed(at_once: bool) -> None:
    wire_ = wire(4)
    again, other = [Add(offer(wire_.env, name).key_package) for name in ("dave", "erin")]
    gone: list[Proposal] = [Remove(wire_["alice"].own.places[DAVE])] if at_once else []
    if not at_once:
        wire_.commit("alice", remove=[DAVE])
        wire_.flush()
    bad = forged(wire_, "alice", [*gone, again])
    refuses("DIMLS-5-2", wire_, "carol", bad, forged(wire_, "alice", [*gone, other]))


@breaks("DIMLS-5-2")
def test_who_came_later_learns_of_removals_from_the_welcome() -> None:
    wire_ = wire(4)
    wire_.commit("alice", remove=[DAVE])
    wire_.flush()
    wire_.add("alice", "erin")
    wire_.flush()
    again, other = [Add(offer(wire_.env, name).key_package) for name in ("dave", "frank")]
    refuses("DIMLS-5-2", wire_, "erin", forged(wire_, "alice", [again]), forged(wire_, "alice", [other]))


@breaks("DIMLS-5-1")
def test_a_removal_that_is_taken_up_and_not_followed() -> None:
    """Bob removes Dave; Alice takes that epoch up and keeps Dave."""
    wire_ = wire(4)
    wire_.commit("bob", remove=[DAVE])
    wire_.flush()
    good = [Remove(wire_["alice"].own.places[DAVE]), *taking(wire_, "alice", BOB, 2)]
    refuses("DIMLS-5-1", wire_, "carol", forged(wire_, "alice", good[1:]), forged(wire_, "alice", good))
    with pytest.raises(GroupEndedError):
        front.receive(wire_["dave"], wire_.env, wire_.say("bob", b"without dave"))
