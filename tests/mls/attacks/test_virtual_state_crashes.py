"""Attacks on a virtual client by crashes, and by carriers that bring things in the wrong order.

A device stores what a call returned and then sends. It can stop at any point of that and begin again with what it
stored. Whatever it does then, nothing may be used twice that others saw, and nobody may wait for what nobody sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mls import group as front, snapshot
from mls.commit import NewLeaf
from mls.errors import CallerError, MlsError, PeerError, StaleError
from mls.proposals import Add, ReInit, Update
from mls.registries import MLS10, GroupId, KeyPackageRef
from mls.virtual import client as vc, devices, stored
from mls.virtual.announcements import Keys, SignatureKey, Welcomed, Withdrawn
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.emulation import Emulation
from mls.virtual.errors import MissingKeyError, UnknownPackageError
from mls.virtual.operations import OperationType
from mls.virtual.settings import Settings
from mls.virtual.stock import make_batch, make_reserved
from tests.mls.refusals import refused
from tests.mls.virtual.household import DERIVED, Device, Household, offer
from tests.validation import breaks

DID_NOT_RAISE = pytest.fail.Exception
FIRST, SECOND, THIRD = "device0", "device1", "device2"
A, B = b"group", b"other"


def talking(count: int = 2, **options: Any) -> Household:
    home = Household(count, **options)
    for name in home.names:
        for _ in range(16):
            home[name].env.provider.random(1)  # past the draws that its KeyPackage was made of
    for group_id in (A, B):
        home.create(FIRST, group_id)
        home.invite(FIRST, group_id, "anna")
    return home


def restarted(device: Device) -> Emulation:
    return stored.decode(stored.encode(device.emulation), device.env.provider, device.emulation.group)


# Crashes

Act = Callable[[Household, Device], tuple[Emulation, bytes, bytes]]
"""What an act returns that is to be stored, and of its leaf: the key, and what is sealed to siblings."""


def _leaf(home: Household, emulation: Emulation, leaf: Any) -> tuple[Emulation, bytes, bytes]:
    info = derivation_info_of(leaf.extensions, home.settings.numbers)
    assert info is not None
    return emulation, leaf.encryption_key, info.ciphertext


def committing(home: Household, device: Device) -> tuple[Emulation, bytes, bytes]:
    acted = vc.commit(device.emulation, device.groups[A], device.env, force_path=True)
    return _leaf(home, acted.emulation, acted.commit.group.own_leaf_node)


def updating(home: Household, device: Device) -> tuple[Emulation, bytes, bytes]:
    proposed = vc.propose_update(device.emulation, device.groups[A], device.env)
    (item,) = proposed.group.proposals.values()
    assert isinstance(item.proposal, Update)
    return _leaf(home, proposed.emulation, item.proposal.leaf_node)


def creating(home: Household, device: Device) -> tuple[Emulation, bytes, bytes]:
    made = vc.create(device.emulation, device.env, home.parameters, GroupId(b"new"), offer())
    return _leaf(home, made.emulation, made.group.own_leaf_node)


def entering(home: Household, device: Device) -> tuple[Emulation, bytes, bytes]:
    plain = offer()
    entered = vc.join_externally(
        device.emulation,
        device.env,
        home.parameters,
        front.group_info(home.others[A]["anna"]),
        credential=plain.credential,
        capabilities=plain.capabilities,
        remove=device.groups[A].own_leaf,
    )
    return _leaf(home, entered.emulation, entered.joined.group.own_leaf_node)


def uploading(home: Household, device: Device) -> tuple[Emulation, bytes, bytes]:
    batch = make_batch(device.emulation, device.env, [offer()])
    (package,) = batch.released(announced=True)
    return _leaf(home, batch.emulation, package.leaf_node)


ACTS: list[Act] = [committing, updating, creating, entering, uploading]


@pytest.mark.parametrize("act", ACTS)
def test_what_was_stored_and_perhaps_sent_is_not_done_again_with_the_same_keys(act: Act) -> None:
    """After a crash between storing and sending nobody knows whether it was sent. The next try is another one."""
    home = talking(settings=DERIVED)
    device = home[FIRST]
    seen = set()
    for _ in range(3):
        device.emulation, key, ciphertext = act(home, device)
        device.emulation = restarted(device)
        seen.add((key, ciphertext))
    assert len({key for key, _ in seen}) == len(seen) == 3


@pytest.mark.parametrize("act", [committing, updating, creating, uploading])
def test_what_was_not_stored_can_be_done_again(act: Act) -> None:
    """After a crash before storing nothing was sent. But for a commit from outside, it would even be the same leaf."""
    home = talking(settings=DERIVED)
    device = home[FIRST]
    _, key, ciphertext = act(home, device)
    device.emulation = restarted(device)
    assert act(home, device)[1:] == (key, ciphertext)


def test_a_commit_among_devices_can_be_stored_as_a_group_and_adopted_after_a_restart() -> None:
    """Two acts are in flight: the commit of the devices, and a conversation's that was made after it."""
    home = talking()
    first, second = home[FIRST], home[SECOND]
    made = devices.commit(first.emulation, first.env, derive=True)
    first.emulation = made.emulation
    acted = vc.commit(first.emulation, first.groups[A], first.env, force_path=True)
    first.emulation = acted.emulation
    first.emulation = restarted(first)
    first.emulation = devices.adopt(first.emulation, made)
    second.emulation = devices.receive(second.emulation, second.env, made.commit.message).emulation
    home.spread(A, acted.commit.message, by=FIRST)
    first.groups[A] = acted.commit.group
    home.agree()
    home.commit(FIRST, A, force_path=True)
    home.agree()


def test_a_crash_after_adopting_and_before_storing_is_no_harm() -> None:
    home = talking()
    first = home[FIRST]
    made = devices.commit(first.emulation, first.env, derive=True)
    first.emulation = restarted(first)
    one = devices.adopt(made.emulation, made)
    other = devices.adopt(made.emulation, made)
    assert stored.encode(one) == stored.encode(other)


@pytest.mark.parametrize("which", ["group", "rest"])
def test_storage_that_was_written_half_is_noticed(which: str) -> None:
    """One is of before a commit among the devices, the other of after it. What is derived then, nobody can follow."""
    home = talking()
    first = home[FIRST]
    old = first.emulation
    home.commit_devices(SECOND, derive=True)
    new = first.emulation
    group, rest = (old, new) if which == "group" else (new, old)
    with pytest.raises(CallerError):
        stored.decode(stored.encode(rest), first.env.provider, group.group)


# Orders


def rotations(home: Household, count: int) -> list[vc.Acted]:
    """What a removal asks for: a new leaf in every conversation."""
    device = home[FIRST]
    made = []
    for number in range(count):
        group_id = b"%d" % number
        home.create(FIRST, group_id)
    for number in range(count):
        acted = vc.commit(device.emulation, device.groups[b"%d" % number], device.env, force_path=True)
        device.emulation, device.groups[b"%d" % number] = acted.emulation, acted.commit.group
        made.append(acted)
    return made


@pytest.mark.slow
def test_conversations_are_read_in_any_order() -> None:
    """Each has its own mailbox. A device rotates them one by one, a sibling that was away reads them as they come."""
    home = talking(settings=DERIVED)
    second = home[SECOND]
    for acted in reversed(rotations(home, 40)):
        group_id = acted.commit.group.group_id
        got = vc.receive(second.emulation, second.groups[group_id], second.env, acted.commit.message)
        second.emulation, second.groups[group_id] = got.emulation, got.event.group


def test_a_sibling_that_did_much_is_not_taken_for_a_liar() -> None:
    """`PeerError` means never. With the operations between it could be followed, and they may be on their way."""
    home = talking(settings=Settings(max_forward=4))
    first, second = home[FIRST], home[SECOND]
    for _ in range(5):
        first.emulation, _ = first.emulation.take(OperationType.LEAF_NODE, A)
    first.emulation, operation = first.emulation.take(OperationType.LEAF_NODE, A)
    with pytest.raises(StaleError):
        second.emulation.follow(
            operation.epoch_id, operation.leaf, OperationType.LEAF_NODE, operation.generation, operation.context
        )


def test_keys_that_come_after_their_use() -> None:
    home = talking()
    first, second = home[FIRST], home[SECOND]
    first.emulation, public = first.emulation.drawn_key(first.env, 1)
    private = first.emulation.keys[public].private
    acted = vc.commit(first.emulation, first.groups[A], first.env, new=NewLeaf(signature_private=private))
    first.emulation = acted.emulation
    with pytest.raises(MissingKeyError):
        vc.receive(second.emulation, second.groups[A], second.env, acted.commit.message)
    home.announce(FIRST, [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
    home.spread(A, acted.commit.message, by=FIRST)
    first.groups[A] = acted.commit.group
    home.agree()


def test_a_welcome_after_the_withdrawal_is_not_taken() -> None:
    home = talking()
    batch = home.upload(FIRST)
    (info,) = batch.announcement.upload.key_packages
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env, b"x"), home.env, proposals=[Add(batch.released(announced=True)[0])])
    assert sent.welcome is not None
    home.announce(SECOND, [Withdrawn((info.reference,))])
    home[SECOND].emulation = home[SECOND].emulation.without([info.reference])
    for name in home.names:
        with pytest.raises(UnknownPackageError):
            home.follow(name, Welcomed(sent.welcome))


def test_reading_what_came_late_does_not_take_a_device_back() -> None:
    """`receive_on` reads in the earlier epoch, and the device stays in the present one."""
    home = talking(3)
    first, second = home[FIRST], home[SECOND]
    earlier = first.emulation.head
    told = devices.say(second.emulation, second.env, b"\xff late")
    second.emulation = told.emulation
    home.remove_device(THIRD, by=FIRST)
    present = first.emulation.head.newest
    heard = devices.receive_on(first.emulation, earlier, first.env, told.message)
    assert heard.head.newest == earlier.newest
    first.emulation = heard.emulation
    batch = make_batch(first.emulation, first.env, [offer()])
    assert batch.announcement.upload.epoch_id == present


# What was told twice, and what a removed device says late


def test_a_removed_device_says_nothing_after_its_removal() -> None:
    home = talking(3)
    gone = home.remove_device(THIRD, by=FIRST)
    told = devices.announce(gone.emulation, gone.env, Withdrawn(()))
    with pytest.raises(MlsError):
        devices.receive(home[FIRST].emulation, home[FIRST].env, told.message)


def test_a_conversation_s_groups_and_the_emulation_are_restored_together() -> None:
    """Everything through bytes and back, in the midst of an Update that waits and a commit that was not adopted."""
    home = talking()
    first = home[FIRST]
    proposed = vc.propose_update(first.emulation, first.groups[A], first.env)
    first.emulation, first.groups[A] = proposed.emulation, proposed.group
    home.spread(A, proposed.message, by=FIRST)
    for name in home.names:
        device = home[name]
        device.emulation = restarted(device).pruned(device.groups.values(), since=device.emulation.head.newest)
        for group_id, group in device.groups.items():
            data = snapshot.encode(group)
            device.groups[group_id] = snapshot.decode(device.env.provider, group.parameters, data)
    home.other_commit("anna", A)
    home.commit(SECOND, A, force_path=True)
    home.agree()


# What comes again


def test_a_welcome_that_comes_again_says_so() -> None:
    """A server can send it as often as it likes, and it leads to the conversation's first epoch with all keys unused.

    Whoever names the groups that the device is in is safe (`known_groups`), and who does not is told (`again`).
    """
    home = talking()
    batch = home.upload(FIRST)
    anna = home.person("anna")
    sent = front.commit(anna.create(home.env, b"x"), home.env, proposals=[Add(batch.released(announced=True)[0])])
    assert sent.welcome is not None
    first = home[FIRST]
    joined = vc.join(first.emulation, first.env, home.parameters, sent.welcome)
    assert not joined.again
    with pytest.raises(PeerError, match=r"VAL-12\.4\.3\.1-7"):
        vc.join(joined.emulation, first.env, home.parameters, sent.welcome, known_groups={b"x"})
    assert vc.join(joined.emulation, first.env, home.parameters, sent.welcome).again


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="one device can say of so many KeyPackages that they are withdrawn that those which are get forgotten",
)
def test_what_was_withdrawn_is_not_forgotten_for_names_that_nobody_knows() -> None:
    """Then a targeted message that comes again brings a KeyPackage back, and its Welcome opens."""
    home = talking(settings=Settings(max_packages=4))
    first, second = home[FIRST], home[SECOND]
    made = make_reserved(first.emulation, first.env, offer())
    message = devices.tell(first.emulation, first.env, second.emulation.group.own_leaf, made.told)
    second.emulation = devices.receive(second.emulation, second.env, message).emulation
    second.emulation = second.emulation.without([made.told.reference])
    home.announce(FIRST, [Withdrawn(tuple([KeyPackageRef(bytes([number]) * 32) for number in range(4)]))])
    second.emulation = devices.receive(second.emulation, second.env, message).emulation
    assert made.told.reference not in second.emulation.stock


@breaks("VC-5-4")
def test_the_emulation_group_does_not_end() -> None:
    """After a ReInit no device could be added or removed, and none could say anything."""
    home = talking()
    group = home[SECOND].emulation.group
    reinit = ReInit(GroupId(b"next"), MLS10, 1, group.public.context.extensions)
    second, first = home[SECOND], home[FIRST]
    with pytest.raises(CallerError, match="does not continue"):
        devices.commit(second.emulation, second.env, proposals=[reinit])
    made = front.commit(group, second.env, proposals=[reinit])
    refused("VC-5-4", lambda: devices.receive(first.emulation, first.env, made.message))
    home.commit_devices(SECOND, force_path=True)
