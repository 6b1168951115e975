"""Attacks on a virtual client by whoever carries its messages: held back, turned around, brought again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.commit import Committed
from mls.components.last_resort import mark
from mls.errors import MlsError, PastEpochError, PeerError, ReplayError, StaleError, WrongGroupError
from mls.framing import encode_message
from mls.key_package import KeyPackage
from mls.proposals import Add
from mls.registries import GroupId, WireFormat
from mls.virtual import client as vc, devices
from mls.virtual.announcements import Created, Welcomed, Withdrawn
from mls.virtual.errors import UnknownPackageError
from mls.virtual.stock import make_batch, make_reserved
from mls.welcome import decode_welcome
from tests.mls.virtual.household import Device, Household, offer

DID_NOT_RAISE = pytest.fail.Exception
FIRST, SECOND, THIRD = "device0", "device1", "device2"


def invited(home: Household, package: KeyPackage, group_id: bytes = b"group", name: str = "anna") -> Committed:
    """Somebody adds the virtual client to a conversation of their own."""
    sent = front.commit(home.person(name).create(home.env, group_id), home.env, proposals=[Add(package)])
    assert sent.welcome is not None
    return sent


def join(home: Household, device: Device, sent: Committed, **options: object) -> vc.Joined:
    assert sent.welcome is not None
    return vc.join(device.emulation, device.env, home.parameters, sent.welcome, **options)  # type: ignore[arg-type]


def heard(device: Device, message: bytes) -> None:
    device.emulation = devices.receive(device.emulation, device.env, message).emulation


# KeyPackages that are over


def reserved(home: Household) -> tuple[KeyPackage, bytes]:
    """A KeyPackage for two of the devices, and the message by which the second was told."""
    first, second = home[FIRST], home[SECOND]
    made = make_reserved(first.emulation, first.env, offer())
    first.emulation = made.emulation
    message = devices.tell(first.emulation, first.env, second.emulation.group.own_leaf, made.told)
    heard(second, message)
    return made.package, message


def test_a_reserved_key_package_that_was_used_is_not_brought_back() -> None:
    """The seed was deleted so that nobody could open that Welcome again. Carriers kept both messages."""
    home = Household(3)
    package, told = reserved(home)
    sent = invited(home, package)
    second = home[SECOND]
    joined = join(home, second, sent)
    second.emulation = joined.emulation.without([joined.reference])
    with pytest.raises(UnknownPackageError):
        join(home, second, sent)
    heard(second, told)
    with pytest.raises(UnknownPackageError):
        join(home, second, sent)


def test_a_reserved_key_package_that_was_withdrawn_is_not_brought_back() -> None:
    home = Household(3)
    package, told = reserved(home)
    reference = package.reference(home[FIRST].env.suite(1))
    home.announce(FIRST, [Withdrawn((reference,))])
    second = home[SECOND]
    heard(second, told)
    with pytest.raises(StaleError):
        join(home, second, invited(home, package))


def test_a_withdrawal_that_overtakes_the_upload_holds() -> None:
    """A device is about to be removed, and its KeyPackages are withdrawn first. One sibling hears it the other way."""
    home = Household(3)
    leaving, remover, late = home[THIRD], home[FIRST], home[SECOND]
    batch = make_batch(leaving.emulation, leaving.env, [offer()])
    uploaded = devices.announce(batch.emulation, leaving.env, batch.announcement)
    heard(remover, uploaded.message)
    references = tuple([info.reference for info in batch.announcement.upload.key_packages])
    withdrawn = devices.announce(remover.emulation, remover.env, Withdrawn(references))
    heard(late, withdrawn.message)
    heard(late, uploaded.message)
    (package,) = batch.released(announced=True)
    with pytest.raises(StaleError):
        join(home, late, invited(home, package))


def test_who_withdraws_a_key_package_does_not_take_its_welcome_either() -> None:
    home = Household(2)
    (package,) = home.upload(FIRST).released(announced=True)
    home.announce(SECOND, [Withdrawn((package.reference(home[FIRST].env.suite(1)),))])
    for name in (FIRST, SECOND):
        with pytest.raises(UnknownPackageError):
            join(home, home[name], invited(home, package))


def test_two_welcomes_to_one_key_package_in_different_order() -> None:
    """Whoever fetched the KeyPackage can do it. Neither device can follow the other into its conversation."""
    home = Household(2)
    (package,) = home.upload(FIRST).released(announced=True)
    ours = invited(home, package, b"ours")
    theirs = invited(home, package, b"theirs", "ben")
    joined = {}
    for name, sent in ((FIRST, ours), (SECOND, theirs)):
        joined[name] = join(home, home[name], sent)
        home[name].emulation = joined[name].emulation
    for name, other in ((FIRST, SECOND), (SECOND, FIRST)):
        for announcement in joined[other].announcements:
            assert isinstance(announcement, Welcomed)
            home.follow(name, announcement)


def test_a_welcome_that_comes_again_is_known_for_it() -> None:
    """It may have to be taken again, on another branch; it is over when somebody says that the KeyPackage is."""
    home = Household(2)
    (package,) = home.upload(FIRST).released(announced=True)
    sent = invited(home, package)
    for name in home.names:
        device = home[name]
        first = join(home, device, sent)
        assert not first.again
        device.emulation = first.emulation
        assert join(home, device, sent).again
        device.emulation = device.emulation.without([first.reference])
        with pytest.raises(UnknownPackageError):
            join(home, device, sent)


def test_a_welcome_before_its_upload_waits() -> None:
    home = Household(2)
    maker, other = home[FIRST], home[SECOND]
    batch = make_batch(maker.emulation, maker.env, [offer()])
    told = devices.announce(batch.emulation, maker.env, batch.announcement)
    sent = invited(home, batch.released(announced=True)[0])
    with pytest.raises(UnknownPackageError):
        join(home, other, sent)
    heard(other, told.message)
    assert join(home, other, sent).group.epoch == 1


def test_the_welcome_of_a_last_resort_comes_again() -> None:
    """Its key is kept on purpose, so who holds the conversation has to say so, or begins it from the start."""
    home = Household(2)
    (package,) = home.upload(FIRST, offer(extensions=mark(()))).released(announced=True)
    sent = invited(home, package)
    device = home[FIRST]
    joined = join(home, device, sent)
    device.emulation = joined.emulation
    with pytest.raises(PeerError, match=r"VAL-12\.4\.3\.1-7"):
        join(home, device, sent, known_groups={joined.group.group_id})


@pytest.mark.parametrize("keep", [0, 1])
def test_a_carrier_may_take_entries_out_of_a_welcome_and_add_some(keep: int) -> None:
    """Nothing protects the list. An entry under another name opens nothing and uses up nothing."""
    home = Household(2)
    batch = home.upload(FIRST, offer(), offer())
    one, other = batch.released(announced=True)
    sent = invited(home, one)
    assert sent.welcome is not None
    welcome = decode_welcome(sent.welcome)
    (entry,) = welcome.secrets
    renamed = replace(entry, new_member=other.reference(home[FIRST].env.suite(1)))
    changed = replace(welcome, secrets=(entry, renamed) if keep else (renamed,))
    device = home[SECOND]
    message = encode_message(WireFormat.WELCOME, changed.encode())
    if keep:
        vc.join(device.emulation, device.env, home.parameters, message)
    else:
        with pytest.raises(PeerError, match=r"VAL-12\.4\.3\.1-2"):
            vc.join(device.emulation, device.env, home.parameters, message)
    assert join(home, device, sent).group.epoch == 1


# Conversations


def test_what_is_told_of_a_creation_is_followed_once() -> None:
    home = Household(2)
    maker, other = home[FIRST], home[SECOND]
    made = vc.create(maker.emulation, maker.env, home.parameters, GroupId(b"group"), offer())
    maker.emulation = made.emulation
    home.announce(FIRST, made.announcements)
    told = made.announcements[-1]
    assert isinstance(told, Created)
    for device in (maker, other):
        with pytest.raises(StaleError):
            vc.follow_creation(device.emulation, device.env, home.parameters, told)


def test_messages_of_a_conversation_come_again_as_often_as_somebody_likes() -> None:
    """Our own leaf's keys are kept for rivals on one generation. It shows: same generation, same guard."""
    home = Household(2)
    home.create(FIRST)
    sealed = vc.seal(home[FIRST].emulation, home[FIRST].groups[b"group"], home[FIRST].env, b"once")
    other = home[SECOND]
    seen = set()
    for _ in range(3):
        got = vc.receive(other.emulation, other.groups[b"group"], other.env, sealed.message)
        other.groups[b"group"] = got.event.group
        assert isinstance(got.event, front.ApplicationMessage)
        seen.add((got.event.sealing.generation, got.event.sealing.reuse_guard))
    assert len(seen) == 1


def test_messages_do_not_pass_from_one_conversation_or_epoch_to_another() -> None:
    home = Household(2)
    home.create(FIRST, b"one")
    home.create(FIRST, b"two")
    first, other = home[FIRST], home[SECOND]
    acted = vc.commit(first.emulation, first.groups[b"one"], first.env, force_path=True)
    with pytest.raises(WrongGroupError):
        vc.receive(other.emulation, other.groups[b"two"], other.env, acted.commit.message)
    home.commit(SECOND, b"one", force_path=True)
    with pytest.raises(PastEpochError):
        vc.receive(other.emulation, other.groups[b"one"], other.env, acted.commit.message)
    home.agree()


def test_announcements_do_not_pass_from_one_epoch_to_another() -> None:
    home = Household(2)
    first, second = home[FIRST], home[SECOND]
    batch = make_batch(first.emulation, first.env, [offer()])
    told = devices.announce(batch.emulation, first.env, batch.announcement)
    first.emulation = told.emulation
    home.commit_devices(FIRST, derive=True)
    with pytest.raises(PastEpochError):
        heard(second, told.message)
    home.announce(FIRST, [batch.announcement])
    with pytest.raises(MlsError):
        heard(second, told.message)


def test_announcements_come_once() -> None:
    home = Household(2)
    first, second = home[FIRST], home[SECOND]
    batch = make_batch(first.emulation, first.env, [offer()])
    told = devices.announce(batch.emulation, first.env, batch.announcement)
    heard(second, told.message)
    with pytest.raises(ReplayError):
        heard(second, told.message)
