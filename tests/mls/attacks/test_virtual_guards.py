"""Attacks on the reuse guards of a virtual client: who might draw the guard of another device, and what guards tell.

Two devices that share a leaf and meet on one key are kept apart by the guard alone. So no two devices may ever draw
from one class for one epoch of a conversation, however the emulation group has changed since its leaf was made.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from unittest import mock

import pytest

from mls.codec import decode_exactly, u32
from mls.errors import CallerError, PeerError
from mls.group import ApplicationMessage
from mls.proposals import Remove
from mls.state import Group
from mls.virtual import client as vc, onboarding
from mls.virtual.conversation import guard_of
from mls.virtual.settings import Settings
from tests.mls.virtual.household import Device, Household
from tests.mls.virtual.test_onboarding import admitted

FIRST, SECOND, THIRD, FOURTH = "device0", "device1", "device2", "device3"
A = b"group"


def talking(count: int) -> Household:
    home = Household(count)
    home.create(FIRST)
    home.invite(FIRST, A, "anna")
    return home


def guards(home: Household, device: Device, group: Group, count: int) -> set[bytes]:
    """What a device would use for one and the same key."""
    found = set()
    for _ in range(count):
        sealed = vc.seal(device.emulation, group, device.env, b"x")
        event = vc.receive(device.emulation, group, device.env, sealed.message).event
        assert isinstance(event, ApplicationMessage)
        assert event.sealing.generation == 0
        found.add(event.sealing.reuse_guard)
    return found


def test_no_two_devices_draw_one_guard() -> None:
    """In a conversation that is bound to an epoch long past, whatever became of the tree since."""
    home = talking(3)
    home.commit(SECOND, A, force_path=True)
    group = home[FIRST].groups[A]
    for name in (FOURTH, "device4"):
        home.add_device(name)
    drawn = [guards(home, home[name], group, 40) for name in (FIRST, SECOND, THIRD)]
    for one, other in itertools.combinations(drawn, 2):
        assert not one & other
    guard = guard_of(home[FIRST].emulation, group)
    assert guard is not None
    assert guard.leaf_count == 4  # not 8, which the emulation group has by now


def test_who_came_to_the_place_of_a_removed_device_draws_nothing() -> None:
    """Its leaf is that of the removed device, whose messages may still be on their way."""
    home = talking(3)
    home.commit(SECOND, A, force_path=True)
    home[THIRD].groups = dict(home[FIRST].groups)
    gone = home.remove_device(THIRD, by=FIRST)
    admitted(home, FIRST, FOURTH)
    late = home[FOURTH]
    assert late.emulation.group.own_leaf == gone.emulation.group.own_leaf
    group = late.groups[A]
    for act in (
        lambda: vc.seal(late.emulation, group, late.env, b"x"),
        lambda: vc.commit(late.emulation, group, late.env, force_path=True),
        lambda: vc.propose_update(late.emulation, group, late.env),
    ):
        with pytest.raises(CallerError, match="no member"):
            act()
    acted = vc.commit(late.emulation, group, late.env, force_path=True, encrypt=False)
    late.emulation = acted.emulation
    home.spread(A, acted.commit.message, by=FOURTH)
    late.groups[A] = acted.commit.group
    home.agree()
    for got in home.say(FOURTH, A).values():
        assert got.author is not None
        assert got.author.leaf == late.emulation.group.own_leaf


def test_a_device_that_comes_back_draws_nothing_by_its_old_place() -> None:
    """The same device in the same leaf, with what it is handed and not with what it had."""
    home = talking(3)
    home.commit(SECOND, A, force_path=True)
    home.remove_device(THIRD, by=FIRST)
    admitted(home, FIRST, THIRD)
    back = home[THIRD]
    with pytest.raises(CallerError, match="no member"):
        vc.seal(back.emulation, back.groups[A], back.env, b"x")


def test_late_messages_are_attributed_by_their_own_epoch() -> None:
    home = talking(2)
    home.commit(FIRST, A, force_path=True)
    before = {name: home[name].groups[A] for name in home.names}
    sealed = vc.seal(home[SECOND].emulation, before[SECOND], home[SECOND].env, b"late")
    home.add_device(THIRD)
    home.commit_devices(FIRST, proposals=[Remove(home[THIRD].emulation.group.own_leaf)])
    del home.devices[THIRD]
    home.commit(FIRST, A, force_path=True)
    first = home[FIRST]
    got = vc.receive(first.emulation, before[FIRST], first.env, sealed.message)
    assert got.author is not None
    assert got.author.leaf == home[SECOND].emulation.group.own_leaf
    assert not got.echo


def test_guards_of_one_key_show_no_class_to_who_knows_the_key() -> None:
    """A member sees nonce and guard. The last bits, which hold the device before the permutation, are spread evenly."""
    home = talking(2)
    home.commit(FIRST, A, force_path=True)
    group = home[FIRST].groups[A]
    for name in home.names:
        odd = sum(guard[-1] & 1 for guard in guards(home, home[name], group, 200))
        assert 60 < odd < 140


# A device that is lied to when it comes


def test_the_epochs_that_a_new_device_is_told_of_have_a_first_one() -> None:
    """Whoever followed a circle of them back would never end."""
    home = talking(2)
    home.commit_devices(FIRST, derive=True)
    told = onboarding._told

    def lied(*arguments: object) -> object:
        state, companion = told(*arguments)  # type: ignore[arg-type]
        circle = tuple([replace(part, parent=part.epoch_id) for part in companion.epochs])
        return state, replace(companion, epochs=circle)

    with mock.patch.object(onboarding, "_told", lied), pytest.raises(PeerError, match=r"VC-5\.1-42"):
        admitted(home, FIRST, THIRD)


def test_the_limits_that_a_new_device_is_told_are_within_reason() -> None:
    """They come with the Welcome. A leaf that names generation 2^32 - 1 would keep the device busy for hours."""
    said = Settings().encode()
    at = said.index(u32(Settings().max_forward))
    with pytest.raises(PeerError, match="VC-5-3"):
        decode_exactly(said[:at] + b"\xff" * 4 + said[at + 4 :], Settings.decode)
