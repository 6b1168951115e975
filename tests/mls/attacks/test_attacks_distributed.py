"""Attacks on send groups: copied keys, borrowed names, signatures turned over, and what never gets deleted.

Carol is the liar where there is one. Everybody gets the same bytes from her, unless the test says otherwise: what is
shown is not that an owner can tell two members two things, which docs/threat-model.md grants.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from mls.commit import Committed, create_commit
from mls.distributed import session as front, stored
from mls.distributed.errors import AwaitedError, EpochName, StrangerError
from mls.distributed.mode import OWNER, removals_extension, send_group_of
from mls.distributed.send_group import exported_psk, psk_id
from mls.distributed.values import Event, Session, Settings
from mls.errors import CallerError, MlsError, PeerError, StaleError
from mls.key_package import KeyPackage
from mls.leaf_node import Lifetime
from mls.proposals import Add, LeafReplacement, PreSharedKey, Proposal, Remove
from mls.provider import PathSupply
from mls.psk import ExternalPskId
from mls.registries import Epoch, GroupId
from mls.secrets import PathSecret
from mls.tree.path import UpdatePathNode
from tests.mls.attacks.turned import turned_over
from tests.mls.clients import NOW, environment
from tests.mls.distributed.people import (
    DGROUP,
    PARAMETERS,
    Member,
    Wire,
    create,
    followed,
    group_id,
    identity,
    offer,
    person,
    wire,
)
from tests.mls.frankenstein import PathSurgery, as_private, forge_commit

ALICE, BOB, CAROL, DAVE, ERIN = map(group_id, ("alice", "bob", "carol", "dave", "erin"))
NUMBERS = PARAMETERS.components.numbers
DID_NOT_RAISE = pytest.fail.Exception


def hears(wire_: Wire, name: str, message: bytes) -> Event:
    event = front.receive(wire_[name], wire_.env, message)
    wire_.members[name].session = event.session
    return event


def commits(wire_: Wire, name: str, to: Sequence[str], **options: Any) -> front.Sent:
    """A commit that reaches these at once, and the others never or later."""
    sent = front.commit(wire_[name], wire_.env, **options)
    wire_.members[name].session = sent.session
    for other in to:
        hears(wire_, other, sent.message)
    return sent


def by_hand(wire_: Wire, session: Session, proposals: Sequence[Proposal], **options: Any) -> tuple[Committed, Session]:
    """A commit in its own send group by somebody who asks no rule of send groups."""
    env = replace(wire_.env, psks=session.known)
    made = create_commit(session.own.group, env, proposals=proposals, **options)
    return made, replace(session, own=replace(session.own, group=made.group))


def in_the_name_of(wire_: Wire, name: GroupId, who: str) -> KeyPackage:
    """A KeyPackage of somebody that names another's send group."""
    return front.offer(wire_.env, PARAMETERS, 1, DGROUP, **identity(person(who)), group_id=name).key_package


def opened(count: int, cipher_suite: int = 1, **instead: KeyPackage) -> Wire:
    """A DGroup as it starts; Carol puts these KeyPackages in the place of those that she was given."""
    env = environment("attacks")
    made = Wire(env)
    packages = {name: offer(env, name, cipher_suite) for name in ("alice", "bob", "carol", "dave")[:count]}
    welcomes = {}
    for name, own in packages.items():
        others = [each for other, each in packages.items() if other != name]
        if name == "carol":
            others = [
                replace(each, key_package=instead[other]) if other in instead else each
                for other, each in packages.items()
                if other != name
            ]
        sent = create(env, name, others, cipher_suite=cipher_suite)
        made.members[name] = Member(sent.session, [own])
        welcomes[name] = sent.welcome
    for name in packages:
        for other, welcome in welcomes.items():
            if other == name or ("carol" in (name, other) and instead):
                continue
            assert welcome is not None
            made.members[name].session = front.join(made[name], env, welcome, made.members[name].packages).session
    if instead:
        assert welcomes["carol"] is not None
        made.parcels = []
        bob = front.join(made["bob"], env, welcomes["carol"], made.members["bob"].packages).session
        made.members["bob"].session = bob
    return made


# Stopping others


def test_a_copied_key_stops_nobody_s_commits() -> None:
    """Nobody proves that they have a leaf's private key: Carol's new leaf has Bob's public key."""
    wire_ = wire(3)
    wire_.update("bob")
    wire_.flush()
    copied = wire_["carol"].others[BOB].owner_leaf.encryption_key
    own = wire_["carol"].own.group
    supply = PathSupply(leaf_private=own.private[0], leaf_public=copied, path_secret=PathSecret(bytes(32)))
    made, _ = by_hand(wire_, wire_["carol"], [], supply=supply)
    hears(wire_, "alice", made.message)
    assert front.update(wire_["alice"], wire_.env).taken == ()
    sent = commits(wire_, "alice", ["bob"])
    assert sent.taken == (EpochName(BOB, Epoch(2)),)
    assert sent.left_out == (EpochName(CAROL, Epoch(2)),)
    wire_.update("bob")
    wire_.flush()
    assert front.commit(wire_["alice"], wire_.env).left_out == ()


@pytest.mark.xfail(
    strict=True,
    raises=StaleError,
    reason="distributed: a path sealed wrongly to Bob alone locks him out of everybody who takes it up; no way back",
)
def test_a_path_that_one_member_cannot_open_costs_him_only_its_maker() -> None:
    wire_ = wire(3)
    liar = wire_["carol"]

    def spoiled(nodes: tuple[UpdatePathNode, ...]) -> tuple[UpdatePathNode, ...]:
        last = nodes[-1]
        return (*nodes[:-1], replace(last, sealed=last.sealed[:-1] + bytes([last.sealed[-1] ^ 1])))

    path = PathSurgery(leaf={"extensions": liar.own.owner_leaf.extensions}, nodes=spoiled)
    bad = forge_commit(liar.own.group, replace(wire_.env, psks=liar.known), person("carol"), path=path)
    hears(wire_, "alice", bad.message)
    with pytest.raises(PeerError, match=r"VAL-12\.4\.2-8"):
        front.receive(wire_["bob"], wire_.env, bad.message)
    assert isinstance(hears(wire_, "bob", commits(wire_, "alice", ()).message), front.Followed)


def test_a_follower_cannot_commit_in_the_owner_s_name() -> None:
    """Carol turns the signature of Alice's commit over. Bob follows that one, and never reads Alice again."""
    wire_ = opened(3, 2)
    sent = front.update(wire_["alice"], wire_.env)
    seen = wire_["carol"].others[group_id("alice", 2)].group
    rival = as_private(replace(seen, own_leaf=OWNER), wire_.env, turned_over(seen, wire_.env, sent.message))
    with pytest.raises(MlsError):
        front.receive(wire_["bob"], wire_.env, rival)


# Names


def test_a_send_group_in_which_a_member_is_somebody_else() -> None:
    """Alice was never in Carol's send group, but Bob finds her name in it and takes it up: DIMLS-5-1 goes by names."""
    fake = in_the_name_of(Wire(environment("puppet")), ALICE, "puppet")
    with pytest.raises(MlsError):
        opened(3, alice=fake)


def test_a_newcomer_is_the_same_person_in_whatever_order_the_adds_arrive() -> None:
    """Alice adds Erin; Carol hurries to add a puppet under Erin's name. Nobody takes it for Erin, first or last."""
    wire_ = wire(4)
    real, fake = offer(wire_.env, "erin").key_package, in_the_name_of(wire_, ERIN, "puppet")
    ours = commits(wire_, "alice", ["dave"], add=[real])
    theirs, _ = by_hand(wire_, wire_["carol"], [Add(fake)])
    with pytest.raises(StrangerError):
        hears(wire_, "bob", theirs.message)
    with pytest.raises(PeerError, match=r"DIMLS-4\.2\.1-10"):
        hears(wire_, "dave", theirs.message)
    hears(wire_, "bob", ours.message)
    with pytest.raises(PeerError, match=r"DIMLS-4\.2\.1-10"):
        hears(wire_, "bob", theirs.message)
    found = []
    for name in ("bob", "dave"):
        own = front.commit(wire_[name], wire_.env).session.own
        found.append(own.leaf(own.places[ERIN]).credential if ERIN in own.places else None)
    assert found == [person("erin").credential] * 2


def test_a_welcome_that_contradicts_itself() -> None:
    """All others see Dave, who did nothing but join, remove Bob. `Joined` does not tell Dave either."""
    wire_ = wire(3)
    package = offer(wire_.env, "dave")
    says = (removals_extension(NUMBERS, [BOB]),)
    made, _ = by_hand(wire_, wire_["carol"], [Add(package.key_package)], group_info_extensions=says)
    dave = create(wire_.env, "dave", [offer(wire_.env, name) for name in ("alice", "bob", "carol")]).session
    assert made.welcome is not None
    with pytest.raises(MlsError):
        front.join(dave, wire_.env, made.welcome, [package])


def test_a_key_package_that_a_peer_used_in_another_dgroup() -> None:
    """Bob has offers for two DGroups. Carol is in both and takes the wrong one: that is bytes that break a rule."""
    wire_ = wire(3)
    elsewhere = front.offer(wire_.env, PARAMETERS, 1, b"bob elsewhere", **identity(person("bob")))
    swap: list[Proposal] = [Remove(wire_["carol"].own.places[BOB]), Add(elsewhere.key_package)]
    made, _ = by_hand(wire_, wire_["carol"], swap)
    bob = wire_["bob"]
    fresh = replace(bob, others={ALICE: bob.others[ALICE]})
    assert made.welcome is not None
    with pytest.raises(PeerError):
        front.join(fresh, wire_.env, made.welcome, [elsewhere])


# Members who come and go


def test_a_removed_member_brought_back_by_a_liar_locks_nobody_out() -> None:
    """All have removed Bob. Alice has heard so from everybody and forgets him; Erin's commit to Dave is late.

    Carol adds Bob again and takes up an epoch of his. Dave can follow and takes that up in turn; Alice cannot.
    """
    wire_ = wire(5)
    env = wire_.env
    commits(wire_, "dave", ["alice", "carol", "erin"], remove=[BOB])
    commits(wire_, "alice", ["carol", "erin", "dave"])
    liar = wire_["carol"]
    sent = front.commit(liar, env)
    liar = replace(sent.session, others=liar.others)
    commits(wire_, "erin", ["alice"])  # and not yet to Dave
    for name in ("dave", "alice"):
        hears(wire_, name, sent.message)
    commits(wire_, "dave", ["alice"])
    assert BOB in wire_["alice"].forgotten
    assert BOB in wire_["dave"].others

    again, liar = by_hand(wire_, liar, [Add(in_the_name_of(wire_, BOB, "bob"))])
    fresh = front.update(wire_["bob"], env)
    liar = replace(front.receive(liar, env, fresh.message).session, own=liar.own)
    hears(wire_, "dave", fresh.message)
    key = PreSharedKey(ExternalPskId(psk_id(EpochName(BOB, Epoch(2))), env.provider.random(32)))
    leaf = LeafReplacement(again.added[0], liar.others[BOB].epochs[2].leaf)
    taking, _ = by_hand(wire_, liar, [key, leaf])
    refused = []
    for name, message in product(("dave", "alice"), (again.message, taking.message)):
        try:
            hears(wire_, name, message)
        except MlsError as refusal:
            refused.append((name, type(refusal)))
    assert {kind for name, kind in refused if name == "dave"} <= {PeerError, AwaitedError}
    assert isinstance(hears(wire_, "alice", commits(wire_, "dave", ()).message), front.Followed)


def test_a_newcomer_whose_key_package_expired_on_the_way_ends_no_healing() -> None:
    """Alice commits before it expires and Bob after. From then on Alice never takes up Bob, and he keeps every key."""
    wire_ = wire(3)
    short = Lifetime(NOW // 1000 - 3600, NOW // 1000 + 60)
    brief = {**identity(person("puppet")), "lifetime": short}
    puppet = front.offer(wire_.env, PARAMETERS, 1, DGROUP, **brief)
    assert send_group_of(NUMBERS, puppet.key_package.leaf_node) == group_id("puppet")
    wire_.commit("carol", add=[puppet.key_package])
    wire_.flush()
    wire_.commit("alice")
    wire_.flush()
    wire_.env = replace(wire_.env, now=NOW + 3600_000)
    taken: set[GroupId] = set()
    for _ in range(3):
        for name in ("bob", "carol", "alice"):
            sent = wire_.commit(name)
            wire_.flush()
            if name == "alice":
                taken |= {each.group_id for each in sent.taken}
    assert CAROL in taken
    assert BOB in taken
    late = front.offer(wire_.env, PARAMETERS, 1, DGROUP, **{**brief, **identity(person("erin")), "lifetime": short})
    with pytest.raises(PeerError, match=r"VAL-7\.3-5"):  # nobody is the first to add an expired one
        front.commit(wire_["alice"], wire_.env, add=[late.key_package])


def test_a_late_message_of_the_epoch_that_removed_us() -> None:
    wire_ = wire(3)
    said = wire_.say("alice", b"before")
    gone = wire_.commit("alice", remove=[BOB])
    in_order = hears(wire_.copy(), "bob", said)
    assert isinstance(in_order, front.Heard)
    assert followed(hears(wire_, "bob", gone.message)).dismissed
    assert wire_["bob"].others[ALICE].retired
    found = _or_none(lambda: hears(wire_, "bob", said))
    assert isinstance(found, front.Heard)


def _or_none(call: Callable[[], Event]) -> Event | None:
    try:
        return call()
    except StaleError:
        return None


# Growth, and what is not deleted


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="distributed: `dropped` has a name for every puppet that ever came and went, in all sessions, for good",
)
def test_puppets_that_come_and_go_leave_a_bounded_trace() -> None:
    wire_ = wire(3, settings=Settings(max_invited=8))
    sizes = []
    for turn in range(4):
        puppets = [f"puppet {turn} {number}" for number in range(8)]
        names = [group_id(name) for name in puppets]
        wire_.commit("carol", add=[offer(wire_.env, name).key_package for name in puppets])
        wire_.flush()
        wire_.commit("carol", remove=names)
        wire_.flush()
        assert not wire_["alice"].invited
        sizes.append(len(wire_["alice"].dropped))
    assert sizes[-1] <= 8


@pytest.mark.xfail(
    strict=True,
    raises=StaleError,
    reason="distributed: an owner's flood pushes out the epoch that an honest commit on its way takes up",
)
def test_a_flood_by_one_owner_loses_no_third_member() -> None:
    """Alice takes up Carol's first update; Bob hears 16 more of Carol's before he hears Alice. Usually it is 1024."""
    wire_ = wire(3, settings=Settings(kept_epochs=16))
    first = commits(wire_, "carol", ["alice", "bob"])
    assert first.session.own.group.epoch == 2
    sent = commits(wire_, "alice", [])
    for _ in range(17):
        commits(wire_, "carol", ["bob"])
    assert isinstance(hears(wire_, "bob", sent.message), front.Followed)


def test_who_wants_to_keep_as_little_as_can_be_keeps_one_epoch() -> None:
    with pytest.raises(CallerError, match="too low"):
        Settings(kept_epochs=0)
    wire_ = wire(3, settings=Settings(kept_epochs=1))
    for _ in range(4):
        wire_.update("bob")
    wire_.flush()
    assert list(wire_["alice"].others[BOB].epochs) == [5]


def test_a_key_that_everybody_took_up_cannot_be_exported_again() -> None:
    """All have taken up Bob's epoch and its PSK is deleted (§5), but whoever steals Alice's device derives it anew."""
    wire_ = wire(3)
    wire_.update("bob")
    wire_.flush()
    psk = wire_["alice"].others[BOB].epochs[2].psk
    for name in ("alice", "carol"):
        wire_.commit(name)
        wire_.flush()
    stolen = wire_["alice"].others[BOB]
    assert stolen.epochs == {}
    found = exported_psk(stolen.group) if stolen.group.secrets.exporter.raw else None
    assert found != psk


def test_old_leaf_keys_are_nowhere_once_everybody_has_newer_ones() -> None:
    """A thief of all that is stored then: none of the keys that Bob's earlier leaves had, in any send group."""
    wire_ = wire(3)
    old = []
    for _ in range(3):
        wire_.update("bob")
        wire_.flush()
        old.append(wire_["bob"].own.group.private[0].raw)
    saved = stored.encode(wire_["bob"]).raw
    assert all(key in saved for key in old)
    for _ in range(2):
        for name in ("alice", "carol", "bob"):
            wire_.commit(name)
            wire_.flush()
    saved = stored.encode(wire_["bob"]).raw
    assert not any(key in saved for key in old)
    text = repr(wire_["bob"])
    assert all(repr(group.group.secrets.init.raw)[2:-1] not in text for group in wire_["bob"].groups.values())


def test_two_members_and_one() -> None:
    """They remove each other at once; each goes on alone, is stored, and takes in somebody new."""
    wire_ = wire(2)
    ours = wire_.commit("alice", remove=[BOB])
    theirs = wire_.commit("bob", remove=[ALICE])
    for name, message in (("alice", theirs.message), ("bob", ours.message)):
        with pytest.raises(StaleError):
            front.receive(wire_[name], wire_.env, message)
        wire_.restart(name)
        assert wire_[name].own.epochs == {}
    wire_.parcels.clear()
    wire_.commit("alice")
    wire_.say("alice", b"nobody hears")
    wire_.add("alice", "dave")
    wire_.flush()
    wire_.settle(["alice", "dave"])
    wire_.agree(["alice", "dave"])


def test_damaged_sessions_are_the_program_s_own_affair() -> None:
    wire_ = wire(3)
    wire_.update("bob")
    wire_.commit("alice", remove=[CAROL])
    wire_.flush()
    saved = stored.encode(wire_["bob"]).raw
    for at in range(0, len(saved), 97):
        for damaged in (saved[:at], saved[:at] + bytes([saved[at] ^ 0x41]) + saved[at + 1 :]):
            try:
                stored.decode(wire_.env.provider, PARAMETERS, stored.SessionSnapshot(damaged))
            except CallerError:
                continue
