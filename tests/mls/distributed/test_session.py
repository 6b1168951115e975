"""DiMLS by example: what each call promises, what heals when, who reads what, and what is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mls import group as mls
from mls.distributed import session as front, stored
from mls.distributed.errors import AwaitedError, EpochName, LostEpochError, StrangerError
from mls.distributed.mode import leaf_extension, with_send_groups
from mls.distributed.retention import Lag, lags
from mls.distributed.stored import SessionSnapshot
from mls.distributed.values import Followed, Heard, Session, Settings
from mls.errors import (
    CallerError,
    GroupEndedError,
    MlsError,
    OwnMessageError,
    PastEpochError,
    PeerError,
    ReplayError,
    WrongGroupError,
)
from mls.parameters import Parameters
from mls.registries import Epoch, GroupId
from tests.mls.clients import environment
from tests.mls.distributed.people import (
    DGROUP,
    NAMES,
    PARAMETERS,
    create,
    group_id,
    identity,
    name_of,
    offer,
    person,
    wire,
)
from tests.mls.frankenstein import forge_package

ALICE, BOB, CAROL, DAVE = map(group_id, NAMES[:4])
NUMBERS = PARAMETERS.components.numbers


def entered(name: GroupId, epoch: int) -> EpochName:
    return EpochName(name, Epoch(epoch))


# Update, commit, protect


def test_everybody_reads_everybody() -> None:
    wire_ = wire(4)
    for name in NAMES[:4]:
        wire_.say(name, b"I am " + name.encode())
    wire_.flush()
    for name in NAMES[:4]:
        heard = sorted(wire_.members[name].heard)
        assert heard == [(other, b"I am " + other.encode()) for other in sorted(NAMES[:4]) if other != name]


def test_a_commit_takes_up_the_newest_epoch_of_everybody_once() -> None:
    wire_ = wire(3)
    wire_.update("bob")
    wire_.update("bob")
    wire_.flush()
    sent = wire_.commit("alice")
    assert sent.taken == (entered(BOB, 3), entered(CAROL, 1))
    wire_.flush()
    assert wire_["alice"].own.leaf(wire_["alice"].own.places[BOB]) == wire_["bob"].own.owner_leaf
    assert wire_.commit("alice").taken == ()
    wire_.flush()
    wire_.agree()


def test_an_update_takes_up_nothing_and_every_commit_is_one() -> None:
    wire_ = wire(3)
    before = wire_["alice"].own.owner_leaf
    assert wire_.update("alice").taken == ()
    middle = wire_["alice"].own.owner_leaf
    wire_.commit("alice")
    assert len({leaf.encryption_key for leaf in (before, middle, wire_["alice"].own.owner_leaf)}) == 3


def test_nobody_waits_to_speak_and_no_two_commits_collide() -> None:
    wire_ = wire(4)
    for name in NAMES[:4]:
        wire_.commit(name)
        wire_.say(name, name.encode())
    wire_.flush()
    wire_.agree()
    assert all(len(wire_.members[name].heard) == 3 for name in NAMES[:4])


def test_what_depends_on_another_epoch_names_it() -> None:
    wire_ = wire(3)
    update = wire_.update("bob").message
    wire_.parcels.clear()
    wire_.members["alice"].session = front.receive(wire_["alice"], wire_.env, update).session
    wire_.parcels.clear()
    commit = wire_.commit("alice").message
    said = wire_.say("alice", b"after it")
    carol = wire_["carol"]
    with pytest.raises(AwaitedError) as caught:
        front.receive(carol, wire_.env, commit)
    assert caught.value.needs == (entered(BOB, 2),)
    with pytest.raises(AwaitedError) as caught:
        front.receive(carol, wire_.env, said)
    assert caught.value.needs == (entered(ALICE, 2),)
    for message in (update, commit):
        carol = front.receive(carol, wire_.env, message).session
    event = front.receive(carol, wire_.env, said)
    assert isinstance(event, Heard)
    assert (event.owner, event.epoch, event.data, event.dropped) == (ALICE, 2, b"after it", False)


def test_repetitions_echoes_and_others_are_told_apart() -> None:
    wire_ = wire(3)
    said, commit = wire_.say("alice", b"once"), wire_.commit("alice").message
    wire_.flush()
    bob, env = wire_["bob"], wire_.env

    def raises(error: type[MlsError], action: Callable[[], object]) -> None:
        with pytest.raises(error):
            action()

    raises(ReplayError, lambda: front.receive(bob, env, said))
    raises(PastEpochError, lambda: front.receive(bob, env, commit))
    raises(PastEpochError, lambda: front.receive(wire_["alice"], env, commit))
    raises(OwnMessageError, lambda: front.receive(wire_["alice"], env, wire_.say("alice", b"echo")))
    other = create(env, "dave", [offer(env, "bob")])
    raises(StrangerError, lambda: front.receive(bob, env, front.seal(other.session, env, b"who?")[1]))
    raises(PeerError, lambda: front.receive(bob, env, other.welcome or b""))


def test_late_messages_are_read_for_as_many_epochs_as_are_kept() -> None:
    wire_ = wire(2, settings=Settings(late_epochs=2))
    messages = []
    for number in range(4):
        messages.append(wire_.say("alice", b"%d" % number))
        wire_.parcels.pop()
        wire_.update("alice")
    wire_.flush()
    bob = wire_["bob"]
    assert len(bob.others[ALICE].retired) == 2
    for message in messages[:2]:
        with pytest.raises(PastEpochError):
            front.receive(bob, wire_.env, message)
    for message, text in ((messages[3], b"3"), (messages[2], b"2")):
        event = front.receive(bob, wire_.env, message)
        assert isinstance(event, Heard)
        assert event.data == text
        bob = event.session
        with pytest.raises(ReplayError):
            front.receive(bob, wire_.env, message)


def test_authenticated_data_and_new_credentials_go_with_a_commit() -> None:
    wire_ = wire(2)
    fresh = person("bob anew")
    leaf = front.NewLeaf(signature_private=fresh.signer)
    sent = wire_.commit("bob", leaf=leaf, authenticated_data=b"look")
    event = front.receive(wire_["alice"], wire_.env, sent.message)
    assert isinstance(event, Followed)
    assert event.authenticated_data == b"look"
    wire_.flush()
    wire_.commit("alice")
    wire_.flush()
    assert (
        wire_["alice"].own.leaf(wire_["alice"].own.places[BOB]).signature_key
        == sent.session.own.owner_leaf.signature_key
    )
    wire_.agree()
    with pytest.raises(PeerError):
        front.commit(wire_["bob"], wire_.env, leaf=front.NewLeaf(extensions=wire_["alice"].own.owner_leaf.extensions))


# Healing


def test_bobs_old_key_does_not_read_what_alice_does_after_taking_up_his_update() -> None:
    """Somebody copied all that Bob had. Bob updates; as soon as Alice has taken that up, the copy is blind to her."""
    wire_ = wire(3)
    stolen = wire_["bob"]
    wire_.update("bob")
    wire_.flush()
    before = wire_.update("alice").message
    still = front.receive(stolen, wire_.env, before)
    wire_.flush()
    healing = wire_.commit("alice").message
    said = wire_.say("alice", b"healed")
    wire_.flush()
    for copy in (stolen, still.session):
        with pytest.raises((AwaitedError, PeerError)):
            front.receive(copy, wire_.env, said)
    # Not even with the pre-shared key in hand: the path is sealed to a leaf whose key it does not have.
    env = replace(wire_.env, psks=wire_["carol"].known)
    with pytest.raises(PeerError) as caught:
        mls.receive(still.session.others[ALICE].group, env, healing)
    assert caught.value.check == "VAL-12.1.2-3"
    assert wire_.members["bob"].heard[-1] == ("alice", b"healed")


def test_the_new_leaf_alone_does_not_follow_either() -> None:
    """The other half: who has Bob's leaf keys but not the epoch's pre-shared key gets another epoch than Alice."""
    wire_ = wire(3)
    wire_.update("bob")
    wire_.flush()
    sent = wire_.commit("alice")
    bob = wire_["bob"]
    wrong = {**bob.own.epochs, 2: replace(bob.own.epochs[2], psk=bob.others[CAROL].epochs[1].psk)}
    without = replace(bob, own=replace(bob.own, epochs=wrong))
    with pytest.raises(PeerError) as caught:
        front.receive(without, wire_.env, sent.message)
    assert caught.value.check == "VAL-12.4.2-10"
    front.receive(bob, wire_.env, sent.message)


def test_keys_are_kept_until_everybody_has_committed_newer_ones() -> None:
    wire_ = wire(3)
    for _ in range(3):
        wire_.update("bob")
    wire_.flush()
    assert [each for each in wire_["bob"].own.epochs if each > 1] == [2, 3, 4]
    wire_.commit("alice")
    wire_.flush()
    assert {2, 3, 4} <= set(wire_["bob"].own.epochs)
    assert lags(wire_["bob"])[0] == Lag(member=CAROL, taken=Epoch(0), behind=4)
    wire_.commit("carol")
    wire_.flush()
    for name in NAMES[:3]:
        assert 4 not in wire_[name].groups[BOB].epochs
        assert not wire_[name].groups[BOB].epochs
    assert [lag.behind for lag in lags(wire_["bob"])] == [0, 0]


def test_what_is_kept_is_bounded_and_who_needs_more_is_lost() -> None:
    wire_ = wire(3, settings=Settings(kept_epochs=2))
    for _ in range(2):
        wire_.update("bob")
    late = [parcel for parcel in wire_.parcels if parcel.to == "alice"]
    wire_.members["alice"].session = front.receive(wire_["alice"], wire_.env, late[0].message).session
    sent = wire_.commit("alice")
    for _ in range(3):
        wire_.update("bob")
    for parcel in wire_.parcels:
        if parcel.to == "carol" and parcel.message != sent.message:
            wire_.deliver(parcel)
    assert list(wire_["carol"].others[BOB].epochs) == [5, 6]
    with pytest.raises(LostEpochError) as caught:
        front.receive(wire_["carol"], wire_.env, sent.message)
    assert caught.value.lost == entered(BOB, 2)


# Members


def test_a_newcomer_is_added_by_everybody() -> None:
    wire_ = wire(3)
    wire_.add("alice", "dave")
    wire_.flush()
    assert list(wire_["bob"].invited) == [DAVE]
    assert wire_["dave"].unjoined == {BOB, CAROL}
    wire_.settle()
    wire_.agree()
    for name in NAMES[:4]:
        wire_.say(name, name.encode())
    wire_.flush()
    assert all(len(wire_.members[name].heard) == 3 for name in NAMES[:4])


def test_a_newcomer_who_cannot_be_added_stops_nobody() -> None:
    """Mallory's KeyPackage has the key of Alice's leaf in Bob's tree; Alice's own tree has another, and she adds it."""
    wire_ = wire(3)
    mallory = group_id("mallory")
    copied = wire_["bob"].own.leaf(wire_["bob"].own.places[ALICE]).encryption_key
    twin = forge_package(
        person("mallory"), wire_.env, leaf_key=copied, leaf_extensions=(leaf_extension(NUMBERS, mallory),)
    )
    dave = offer(wire_.env, "dave")
    wire_.commit("alice", take=False, add=[twin.key_package, dave.key_package])
    wire_.flush()
    sent = front.update(wire_["bob"], wire_.env)
    assert (sent.added, sent.waiting) == ((DAVE,), (mallory,))
    assert list(sent.session.invited) == [mallory]
    assert front.decline(sent.session, mallory).invited == {}
    healed = front.commit(sent.session, wire_.env, remove=[ALICE])
    assert (healed.added, healed.waiting) == ((mallory,), ())


def test_no_more_newcomers_wait_than_settings_say() -> None:
    wire_ = wire(2, settings=Settings(max_invited=1))
    wire_.commit("alice", add=[offer(wire_.env, name).key_package for name in ("carol", "dave")])
    wire_.flush()
    assert list(wire_["bob"].invited) == [CAROL]
    assert wire_["bob"].missing == (DAVE,)


def test_a_removal_spreads_and_the_removed_read_nothing_new() -> None:
    wire_ = wire(4)
    sent = wire_.commit("alice", remove=[DAVE])
    assert sent.removed == (DAVE,)
    wire_.flush()
    event = wire_.members["dave"].events[-1]
    assert isinstance(event, Followed)
    assert event.dismissed
    assert wire_["dave"].left == (ALICE,)
    assert wire_["bob"].leaving == (DAVE,)
    wire_.say("alice", b"among us")
    wire_.say("dave", b"still here")
    wire_.flush()
    heard = wire_.members["bob"].events[-1]
    assert isinstance(heard, Heard)
    assert heard.dropped
    for name in (*NAMES[:3], *NAMES[:3]):
        wire_.commit(name)
        wire_.flush()
    assert sorted(map(name_of, wire_["dave"].left)) == ["alice", "bob", "carol"]
    assert [text for _, text in wire_.members["dave"].heard] == []
    for name in NAMES[:3]:
        assert DAVE in wire_[name].forgotten
        assert DAVE not in wire_[name].others
        with pytest.raises(WrongGroupError):
            front.receive(wire_[name], wire_.env, wire_.say("dave", b"anybody?"))
        with pytest.raises(GroupEndedError):
            front.receive(wire_["dave"], wire_.env, wire_.say(name, b"nobody"))
    with pytest.raises(CallerError, match="new DGroup"):
        front.commit(wire_["alice"], wire_.env, add=[offer(wire_.env, "dave").key_package])


def test_a_removed_member_is_followed_while_somebody_may_take_it_up() -> None:
    """Carol has not heard that Alice removed Bob, and takes up one more of his epochs: Alice can follow her."""
    wire_ = wire(3)
    wire_.commit("alice", remove=[BOB])
    wire_.parcels = [parcel for parcel in wire_.parcels if parcel.to != "carol"]
    wire_.update("bob")
    wire_.flush()
    assert BOB in wire_["alice"].dropped
    assert BOB in wire_["alice"].others
    assert wire_.commit("carol").taken == (entered(ALICE, 1), entered(BOB, 2))
    wire_.flush()
    assert wire_["alice"].others[CAROL].group.epoch == 2


def test_forgetting_a_removed_member_is_final() -> None:
    wire_ = wire(3)
    with pytest.raises(CallerError, match="removal first"):
        front.forget(wire_["alice"], BOB)
    wire_.commit("alice", remove=[BOB])
    wire_.parcels = [parcel for parcel in wire_.parcels if parcel.to != "carol"]
    wire_.update("bob")
    taken = [parcel for parcel in wire_.parcels if parcel.to == "carol"][-1]
    wire_.deliver(taken)
    alice = front.forget(wire_["alice"], BOB)
    assert BOB not in alice.others
    with pytest.raises(LostEpochError):
        front.receive(alice, wire_.env, wire_.commit("carol").message)


def test_of_two_who_remove_each_other_the_first_who_is_heard_stays() -> None:
    wire_ = wire(4)
    wire_.commit("alice", remove=[BOB])
    wire_.commit("bob", remove=[ALICE])
    wire_.flush()
    wire_.settle(["alice", "carol", "dave"])
    wire_.agree(["alice", "carol", "dave"])
    assert set(wire_["carol"].own.places) == {ALICE, CAROL, DAVE}


def test_if_they_are_heard_in_different_orders_both_are_gone() -> None:
    wire_ = wire(4)
    wire_.commit("alice", remove=[BOB])
    wire_.commit("bob", remove=[ALICE])
    wire_.parcels.sort(key=lambda parcel: mls.peek(parcel.message).group_id == ALICE and parcel.to == "dave")
    wire_.flush()
    wire_.settle(["carol", "dave"])
    wire_.agree(["carol", "dave"])
    assert set(wire_["carol"].own.places) == {CAROL, DAVE}


def test_what_a_removed_member_says_of_others_does_not_count() -> None:
    wire_ = wire(4)
    wire_.commit("alice", remove=[BOB])
    wire_.flush()
    wire_.commit("bob", remove=[CAROL])
    wire_.flush()
    assert CAROL not in wire_["dave"].dropped
    wire_.settle(["alice", "carol", "dave"])
    wire_.agree(["alice", "carol", "dave"])


def test_who_comes_through_a_member_removed_meanwhile_learns_of_it_from_the_welcome() -> None:
    """Carol brings Dave and is removed by Alice, before Dave is in anybody else's send group."""
    wire_ = wire(3)
    wire_.add("carol", "dave")
    to_bob = [parcel for parcel in wire_.parcels if parcel.to in {"bob", "dave"}]
    for parcel in to_bob:
        wire_.parcels.remove(parcel)
        wire_.deliver(parcel)
    wire_.commit("alice", remove=[CAROL])
    wire_.flush()
    wire_.settle(["alice", "bob", "dave"])
    wire_.agree(["alice", "bob", "dave"])
    assert CAROL in wire_["dave"].dropped


def test_a_newcomer_is_told_of_removals_by_the_welcome() -> None:
    wire_ = wire(3)
    package = offer(wire_.env, "dave")
    dave = create(wire_.env, "dave", [offer(wire_.env, name) for name in NAMES[:3]]).session
    sent = front.commit(wire_["alice"], wire_.env, remove=[CAROL], add=[package.key_package])
    joined = front.join(dave, wire_.env, sent.welcome or b"", [package])
    assert joined.removed == (CAROL,)
    assert joined.session.leaving == (CAROL,)


def test_who_changes_its_signature_key_keeps_its_name() -> None:
    """Bob has a new key and Dave comes after: with a KeyPackage of Bob's that has the new key and the old name."""
    wire_ = wire(3)
    renewed = {**identity(person("bob")), "signature_private": person("bob anew").signer}
    wire_.commit("bob", leaf=front.NewLeaf(signature_private=renewed["signature_private"]))
    wire_.flush()
    wire_.settle()
    env = wire_.env
    package = offer(env, "dave")
    bobs = front.offer(env, PARAMETERS, 1, DGROUP, **renewed, group_id=BOB)
    others = {name: offer(env, name) for name in ("alice", "carol")}
    dave = create(env, "dave", [*others.values(), bobs])
    without = create(env, "dave", list(others.values()))
    sent = wire_.commit("alice", add=[package.key_package])
    wire_.flush()
    with pytest.raises(StrangerError):
        front.join(without.session, env, sent.welcome or b"", [package])
    joined = front.join(dave.session, env, sent.welcome or b"", [package])
    assert joined.session.others[ALICE].members == {ALICE, BOB, CAROL, DAVE}
    for name, used in {**others, "bob": bobs}.items():
        heard = front.join(wire_[name], env, dave.welcome or b"", [used])
        assert heard.session.others[DAVE].members == {ALICE, BOB, CAROL, DAVE}


# Mistakes, and what is stored


def test_mistakes_of_the_program() -> None:
    wire_ = wire(2)
    env, alice = wire_.env, wire_["alice"]
    for gone in (ALICE, DAVE):
        with pytest.raises(CallerError, match="no other member"):
            front.commit(alice, env, remove=[gone])
    bob, dave = offer(env, "bob").key_package, offer(env, "dave").key_package
    for add in ([bob], [dave, dave]):
        with pytest.raises(CallerError, match="is or was a member"):
            front.commit(alice, env, add=add)
    plain = Parameters(components=PARAMETERS.components)
    with pytest.raises(CallerError, match="with_send_groups"):
        front.create(env, plain, 1, DGROUP, **identity(person("dave")), packages=[])
    for wrong in ({"kept_epochs": 0}, {"late_epochs": -1}, {"max_invited": -1}):
        with pytest.raises(CallerError, match="too low"):
            Settings(**wrong)
    assert with_send_groups(Parameters()).modes == PARAMETERS.modes


def test_a_session_goes_through_its_stored_form() -> None:
    wire_ = wire(4)
    wire_.commit("alice", remove=[DAVE])
    wire_.update("bob")
    wire_.commit("bob", add=[offer(wire_.env, "erin").key_package])
    wire_.say("carol", b"late")
    wire_.flush()
    wire_.commit("carol")
    for name in NAMES[:4]:
        wire_.restart(name)
    wire_.flush()
    wire_.agree(["alice", "bob", "carol"])
    saved = stored.encode(wire_["alice"])
    assert repr(saved) == f"<SessionSnapshot {len(saved.raw)} bytes>"
    assert wire_["alice"].own.group.signature_key.raw.hex() not in repr(wire_["alice"])
    provider = wire_.env.provider
    with pytest.raises(CallerError, match="version 9"):
        stored.decode(provider, PARAMETERS, SessionSnapshot(b"\x00\x09" + saved.raw[2:]))
    for damaged in (saved.raw[:-1], saved.raw + b"\x00", b"", saved.raw[:40]):
        with pytest.raises(CallerError, match="damaged"):
            stored.decode(provider, PARAMETERS, SessionSnapshot(damaged))


def test_no_call_changes_its_session() -> None:
    wire_ = wire(3)
    alice: Session = wire_["alice"]
    before = stored.encode(alice)
    env = environment("pure")
    front.commit(alice, env)
    front.commit(alice, env, remove=[BOB], add=[offer(env, "dave").key_package])
    front.seal(alice, env, b"said")
    front.receive(alice, env, front.seal(wire_["bob"], env, b"heard")[1])
    front.receive(alice, env, front.commit(wire_["bob"], env).message)
    assert stored.encode(alice) == before
