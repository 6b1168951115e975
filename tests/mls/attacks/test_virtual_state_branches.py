"""Attacks on a virtual client by branches of its emulation group: who returns to what was, and what was forgotten.

Hardly any device lies here. Two commit at once among the devices, one of the two loses, perhaps wins again, and
messages of the time between come late. Whoever keeps the rules of docs/virtual.md must neither do anything twice nor
refuse for good what another one did in good faith.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from mls import group as front
from mls.commit import NewLeaf
from mls.errors import CallerError, PeerError, StaleError
from mls.proposals import Add
from mls.registries import GroupId
from mls.virtual import client as vc, devices
from mls.virtual.announcements import Created, Keys, LostEpoch, Operations, SignatureKey
from mls.virtual.devices import DeviceCommit
from mls.virtual.emulation import Emulation, Head
from mls.virtual.errors import MissingKeyError
from mls.virtual.operations import OperationType
from mls.virtual.settings import Settings
from mls.virtual.stock import make_batch, make_reserved
from tests.mls.virtual.household import DERIVED, Device, Household, offer

DID_NOT_RAISE = pytest.fail.Exception
FIRST, SECOND, THIRD = "device0", "device1", "device2"
A, B = b"group", b"other"


def talking(count: int = 3, **options: Any) -> Household:
    home = Household(count, **options)
    for name in home.names:
        for _ in range(16):
            home[name].env.provider.random(1)  # past the draws that its KeyPackage was made of
    home.create(FIRST)
    home.invite(FIRST, A, "anna")
    return home


@dataclass
class Fork:
    """Two commits on one epoch of the emulation group, made and not adopted by anybody."""

    home: Household
    start: dict[str, Head]
    made: dict[str, DeviceCommit]

    @classmethod
    def of(cls, home: Household, **options: Any) -> Fork:
        start = {name: home[name].emulation.head for name in home.names}
        made = {}
        for name in (FIRST, SECOND):
            device = home[name]
            made[name] = devices.commit(device.emulation, device.env, **options)
            device.emulation = made[name].emulation
        return cls(home, start, made)

    def enter(self, name: str, by: str) -> None:
        """The branch of that commit, from where both began."""
        device = self.home[name]
        at = device.emulation.on(self.start[name])
        if name == by:
            device.emulation = devices.adopt(at, self.made[by])
        else:
            device.emulation = devices.receive(at, device.env, self.made[by].commit.message).emulation


def newer_leaf(device: Device) -> vc.Acted:
    return vc.commit(device.emulation, device.groups[A], device.env, force_path=True)


# Adopting late


def test_a_commit_that_wins_after_all_has_the_ancestors_that_it_was_made_on() -> None:
    """docs/virtual.md: adopt a commit when it is accepted. `adopt` takes the present value, it says itself.

    The device then believes that its own epoch came after the rival. When the rival's branch wins in the end, it
    refuses what everybody else takes.
    """
    home = talking()
    fork = Fork.of(home, derive=True)
    for name in home.names:
        fork.enter(name, SECOND)
    rivals = {name: home[name].emulation.head for name in home.names}
    for name in (SECOND, THIRD):
        fork.enter(name, FIRST)
    first = home[FIRST]
    first.emulation = devices.adopt(first.emulation, fork.made[FIRST])
    home.commit(FIRST, A, force_path=True)
    home.agree()
    for name in home.names:
        home[name].emulation = home[name].emulation.on(rivals[name])
    home.commit(SECOND, A, force_path=True)
    home.agree()


def test_a_commit_that_wins_after_all_derives_in_its_own_branch() -> None:
    """What the device makes from then on, nobody on its branch can follow."""
    home = talking(2)
    first, second = home[FIRST], home[SECOND]
    made = devices.commit(first.emulation, first.env, force_path=True)
    rival = devices.commit(second.emulation, second.env, derive=True)
    first.emulation = devices.receive(made.emulation, first.env, rival.commit.message).emulation
    first.emulation = devices.adopt(first.emulation, made)
    second.emulation = devices.receive(rival.emulation, second.env, made.commit.message).emulation
    home.commit(FIRST, A, force_path=True)
    home.agree()


def test_a_commit_is_adopted_once() -> None:
    """One that begins an epoch to derive in cannot be adopted twice. Any other can, hours later."""
    home = talking(2)
    made = home.commit_devices(FIRST, force_path=True)
    device = home[FIRST]
    said = devices.say(device.emulation, device.env, b"\xff once")
    with pytest.raises(CallerError):
        devices.adopt(said.emulation, made)


# Entering again


def test_an_epoch_that_was_pruned_is_not_entered_again() -> None:
    """Two leaves with one key, two init secrets sealed alike: all that operations are counted for."""
    home = talking(settings=DERIVED)
    device = home[FIRST]
    fork = Fork.of(home, derive=True)
    plain = offer()

    def rejoined() -> bytes:
        entered = vc.join_externally(
            device.emulation,
            device.env,
            home.parameters,
            front.group_info(home.others[A]["anna"]),
            credential=plain.credential,
            capabilities=plain.capabilities,
            remove=device.groups[A].own_leaf,
        )
        device.emulation = entered.emulation
        return entered.joined.group.own_leaf_node.encryption_key

    fork.enter(FIRST, SECOND)
    once = rejoined()  # it loses, as many do
    fork.enter(FIRST, FIRST)
    lost = set(device.emulation.epochs) - set(device.emulation.lineage(device.emulation.head.newest))
    since = fork.start[FIRST].newest
    device.emulation = device.emulation.pruned(device.groups.values(), since=since, drop=lost)
    fork.enter(FIRST, SECOND)
    with pytest.raises(CallerError, match="was no member"):
        rejoined()
    made = devices.commit(device.emulation, device.env, derive=True)
    device.emulation = devices.adopt(made.emulation, made)
    assert rejoined() != once


def test_an_epoch_that_is_kept_is_not_entered_again() -> None:
    home = talking()
    fork = Fork.of(home, derive=True)
    fork.enter(FIRST, SECOND)
    fork.enter(FIRST, FIRST)
    with pytest.raises(CallerError, match="entered before"):
        fork.enter(FIRST, SECOND)


# What is pruned while it is on its way


def prune(home: Household, name: str) -> None:
    """To the letter of docs/virtual.md: of the present epoch, no other device was heard yet."""
    device = home[name]
    present = list(device.emulation.lineage(device.emulation.head.newest))
    device.emulation = device.emulation.pruned(device.groups.values(), since=present[1])


def test_a_commit_made_before_the_last_epoch_is_followed_after_pruning() -> None:
    """Commits of conversations and of the emulation group come by different ways. The conversation is lost for good."""
    home = talking(2)
    home.commit_devices(FIRST, derive=True)
    second = home[SECOND]
    acted = newer_leaf(second)
    second.emulation = acted.emulation
    home.commit_devices(FIRST, derive=True)
    prune(home, FIRST)
    first = home[FIRST]
    got = vc.receive(first.emulation, first.groups[A], first.env, acted.commit.message)
    assert got.event.group.epoch == acted.commit.group.epoch


def test_an_upload_made_before_the_last_epoch_is_heard_after_pruning() -> None:
    home = talking(2)
    home.commit_devices(FIRST, derive=True)
    second = home[SECOND]
    batch = make_batch(second.emulation, second.env, [offer()])
    second.emulation = batch.emulation
    home.commit_devices(FIRST, derive=True)
    prune(home, FIRST)
    home.announce(SECOND, [batch.announcement])
    assert set(home[FIRST].emulation.stock) == set(second.emulation.stock)


def test_a_late_announcement_is_heard_after_pruning() -> None:
    """Its sender had not seen the commit. Without the key it announces, a conversation cannot be followed."""
    home = talking(2)
    home.commit_devices(FIRST, derive=True)
    first, second = home[FIRST], home[SECOND]
    earlier = first.emulation.head
    second.emulation, public = second.emulation.drawn_key(second.env, 1)
    key = SignatureKey(cipher_suite=1, public=public, private=second.emulation.keys[public].private)
    told = devices.announce(second.emulation, second.env, Keys((key,)))
    second.emulation = told.emulation
    home.commit_devices(FIRST, derive=True)
    prune(home, FIRST)
    present = first.emulation.head
    heard = devices.receive(first.emulation.on(earlier), first.env, told.message)
    assert public in heard.emulation.on(present).keys


def test_what_was_told_of_a_lost_epoch_waits_for_its_commit() -> None:
    home = talking()
    second, third = home[SECOND], home[THIRD]
    fork = Fork.of(home, derive=True)
    fork.enter(SECOND, SECOND)
    acted = newer_leaf(second)
    second.emulation = acted.emulation
    lost = told_of(second.emulation)
    for name in home.names:
        fork.enter(name, FIRST)
    home.announce(SECOND, lost)
    prune(home, THIRD)
    vc.receive(third.emulation, third.groups[A], third.env, acted.commit.message)


@pytest.mark.xfail(
    strict=True,
    raises=MissingKeyError,
    reason="a signature key that one conversation stops using is dropped, though a sibling just used it for another",
)
def test_a_key_is_kept_that_another_device_just_used_again() -> None:
    home = talking(2)
    first, second = home[FIRST], home[SECOND]
    shared = second.groups[A].signature_key
    made = vc.create(second.emulation, second.env, home.parameters, GroupId(B), offer(signature_private=shared))
    second.emulation = made.emulation
    prune(home, FIRST)  # sees that the key is in use
    first.emulation, public = first.emulation.drawn_key(first.env, 1)
    private = first.emulation.keys[public].private
    home.announce(FIRST, [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    home.commit(FIRST, A, new=NewLeaf(signature_private=private))
    prune(home, FIRST)  # and that it is not any more
    (created,) = [each for each in made.announcements if isinstance(each, Created)]
    vc.follow_creation(first.emulation, first.env, home.parameters, created)


def test_a_device_is_removed_though_it_filled_the_table_of_epochs() -> None:
    """An epoch and an upload, again and again. The Remove begins an epoch, for which there is no room."""
    home = talking(settings=Settings(max_epochs=6))
    while len(home[FIRST].emulation.epochs) < 6:
        home.commit_devices(THIRD, derive=True)
        home.upload(THIRD)
        for name in home.names:
            prune(home, name)
    home.remove_device(THIRD, by=FIRST)
    home.agree()


# Epochs that lost


def told_of(emulation: Emulation) -> list[LostEpoch | Operations]:
    """What a device that was there tells those that were not."""
    epoch = emulation.newest
    told: dict[str, Any] = {
        "cipher_suite": epoch.suite.cipher_suite,
        "epoch_id": epoch.epoch_id,
        "number": epoch.number,
        "leaf_count": epoch.leaf_count,
        "encryption_key": epoch.encryption_key,
        "generation_id": epoch.generation_id,
        "reuse_guard": epoch.reuse_guard,
        "parent": emulation.epochs[epoch.epoch_id].parent,
    }
    lost = LostEpoch(**{each.name: told[each.name] for each in fields(LostEpoch)})
    made = [each for key, each in emulation.operations.items() if key.epoch_id == epoch.epoch_id]
    return [lost, Operations(tuple(made))] if made else [lost]


def test_what_came_of_a_lost_epoch_is_followed_by_who_never_was_there() -> None:
    """That is what the announcement is for. In whatever order it is heard; and who was not there does not send."""
    for order in (1, -1):
        home = talking()
        fork = Fork.of(home, derive=True)
        fork.enter(SECOND, SECOND)
        acted = newer_leaf(home[SECOND])
        home[SECOND].emulation = acted.emulation
        lost = told_of(home[SECOND].emulation)
        for name in home.names:
            fork.enter(name, FIRST)
        home.announce(SECOND, lost[::order])
        home.spread(A, acted.commit.message, by=SECOND)
        home[SECOND].groups[A] = acted.commit.group
        home.agree()
        home.say(SECOND, A)
        with pytest.raises(CallerError, match="no member"):
            home.say(THIRD, A)
        home.commit(SECOND, A, force_path=True)
        home.agree()
        home.say(THIRD, A)


def test_a_batch_of_a_lost_epoch_is_heard_on_the_branch_that_won() -> None:
    home = talking()
    fork = Fork.of(home, derive=True)
    fork.enter(SECOND, SECOND)
    second = home[SECOND]
    after, operation = second.emulation.take(OperationType.KEY_PACKAGE)
    del after
    batch = make_batch(second.emulation, second.env, [offer()])
    second.emulation = batch.emulation
    lost = told_of(second.emulation)
    for name in home.names:
        fork.enter(name, FIRST)
    home.announce(SECOND, [*lost, Operations((operation,)), batch.announcement])
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env, B), home.env, proposals=[Add(batch.released(announced=True)[0])])
    assert sent.welcome is not None
    for name in home.names:
        device = home[name]
        joined = vc.join(device.emulation, device.env, home.parameters, sent.welcome)
        assert joined.group.authenticator == sent.group.authenticator


def test_a_leaf_does_not_go_back_on_a_branch_that_is_known_from_hearsay() -> None:
    """Devices that were there refuse, those that heard of it follow: from then on they are in different epochs."""
    home = talking()
    second, third = home[SECOND], home[THIRD]
    fork = Fork.of(home, derive=True)
    fork.enter(SECOND, SECOND)
    (older,) = told_of(second.emulation)
    made = devices.commit(second.emulation, second.env, derive=True)
    second.emulation = devices.adopt(made.emulation, made)
    (newer,) = told_of(second.emulation)
    for name in home.names:
        fork.enter(name, FIRST)
    home.announce(SECOND, [older, newer])
    assert isinstance(older, LostEpoch)
    assert isinstance(newer, LostEpoch)
    for device in (second, third):
        with pytest.raises(PeerError, match=r"VC-6\.2-3"):
            device.emulation.check_order(newer.epoch_id, older.epoch_id)


@pytest.mark.parametrize("around", [1, 2])
def test_epochs_that_lost_do_not_go_in_a_circle(around: int) -> None:
    """One or two announcements. The next leaf that names such an epoch keeps each device busy until it is killed."""
    home = talking()
    (true,) = told_of(home[SECOND].emulation)
    assert isinstance(true, LostEpoch)
    names = [bytes([number]) * len(true.epoch_id) for number in range(around)]
    for number, name in enumerate(names):
        told = replace(true, epoch_id=name, parent=names[number - 1])
        try:
            home.announce(SECOND, [told])
        except PeerError:
            return
    line = list(itertools.islice(home[THIRD].emulation.lineage(names[0]), 100))
    assert len(line) == len(set(line))


def test_who_comes_back_from_outside_does_not_go_back() -> None:
    """It could not follow a commit, as the devices' own was still to come, and thought that it was lost.

    Everybody else takes its commit. Its siblings must not, and are out of the conversation.
    """
    home = talking(settings=DERIVED)
    first, second = home[FIRST], home[SECOND]
    behind = second.emulation
    home.commit_devices(FIRST, derive=True)
    second.emulation = behind
    before = second.groups.pop(A)
    home.commit(FIRST, A, force_path=True)
    plain = offer()
    try:
        entered = vc.join_externally(
            second.emulation,
            second.env,
            home.parameters,
            front.group_info(home.others[A]["anna"]),
            credential=plain.credential,
            capabilities=plain.capabilities,
            remove=before.own_leaf,
            prior=before,
        )
    except (CallerError, StaleError):
        return
    assert front.receive(home.others[A]["anna"], home.env, entered.joined.message).group.ended is None
    try:
        got = vc.receive(first.emulation, first.groups[A], first.env, entered.joined.message)
    except PeerError:
        got = None
    assert got is not None
    assert got.event.group.ended is None


def test_old_keys_are_dropped_whatever_is_in_stock() -> None:
    """A reserved KeyPackage may wait for years. Its signature key comes of its seed, so it needs none of the ring."""
    home = talking(2)
    first = home[FIRST]
    first.emulation = make_reserved(first.emulation, first.env, offer()).emulation
    old = first.groups[A].own_leaf_node.signature_key
    first.emulation, public = first.emulation.drawn_key(first.env, 1)
    private = first.emulation.keys[public].private
    home.announce(FIRST, [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    home.commit(FIRST, A, new=NewLeaf(signature_private=private))
    prune(home, FIRST)
    assert set(first.emulation.keys) == {public}
    assert old != public
