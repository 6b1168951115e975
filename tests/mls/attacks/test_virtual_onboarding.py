"""Attacks on a virtual client where a device comes in: what the newcomer believes, and what the way there shows.

Who adds a device gives it everything, so a liar among the devices can give it nothing true at all. What counts is that
secrets reach the newcomer alone and late enough, that no carrier keeps it out, and that nothing it is told makes it do
something twice, or for ever.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from mls import group as front
from mls.codec import Reader, decode_exactly, u32
from mls.errors import CallerError, PeerError, StaleError
from mls.proposals import Add
from mls.registries import GroupId
from mls.state import Group
from mls.virtual import client as vc, devices, onboarding, stored
from mls.virtual.announcements import Keys, SignatureKey
from mls.virtual.companion import Companion
from mls.virtual.onboarding import Admission, Handed, Onboarded, Waiting, admit, onboard, take_up
from mls.virtual.operations import OperationType
from mls.virtual.settings import LIMITS, Settings
from mls.virtual.stock import make_reserved
from mls.virtual.transfer import NewEmulatorClientState
from tests.mls.virtual.household import DERIVED, Device, Household, offer
from tests.mls.virtual.test_onboarding import admitted

FIRST, SECOND, NEW, LATER = "device0", "device1", "device2", "device3"
A, B = b"group", b"other"


def talking(count: int = 2, **options: Any) -> Household:
    home = Household(count, **options)
    for name in home.names:
        for _ in range(16):
            home[name].env.provider.random(1)  # past the draws that its KeyPackage was made of
    for group_id in (A, B):
        home.create(FIRST, group_id)
        home.invite(FIRST, group_id, "anna")
        home.commit(FIRST, group_id, force_path=True)
    return home


def admission_of(home: Household, name: str = NEW, **options: Any) -> tuple[Admission, Any]:
    package = home.package(name)
    device = home[FIRST]
    handed = [Handed(group) for group in device.groups.values()]
    return admit(device.emulation, device.env, package.key_package, conversations=handed, **options), package


def taken(home: Household, admission: Admission, package: Any, name: str = NEW, **options: Any) -> Onboarded:
    given: dict[str, Any] = {"trees": admission.trees, **options}
    own = home._device_parameters()
    return onboard(home._env(name), own, home.parameters, admission.welcome(final=True), [package], **given)


# What shows


def secrets_of(home: Household) -> list[bytes]:
    emulation = home[FIRST].emulation
    found = [key.private.raw for _, key in emulation.keys.items()]
    found += [operation.secret.raw for _, operation in emulation.operations.items()]
    found += [group.secrets.init.raw for group in home[FIRST].groups.values()]
    return found


@pytest.mark.parametrize("part", ["admission", "made", "commit"])
def test_an_admission_shows_no_secret(part: str) -> None:
    """One line in a log, and the account is open to who reads it."""
    home = talking()
    admission, _ = admission_of(home)
    parts: dict[str, object] = {"admission": admission, "made": admission.made, "commit": admission.made.commit}
    text = repr(parts[part])
    for secret in secrets_of(home):
        assert repr(secret)[2:-1] not in text


@pytest.mark.parametrize("name", ["welcome", "group_info"])
def test_what_is_kept_back_is_not_to_be_had_by_another_way(name: str) -> None:
    """`made` is to be stored, sent and adopted like any other, and from any other the Welcome is taken from there."""
    home = talking()
    admission, _ = admission_of(home)
    with pytest.raises(CallerError, match="may still lose"):
        admission.welcome(final=False)
    assert getattr(admission.made.commit, name) is None


def test_what_travels_in_the_open_has_no_secret() -> None:
    """The commit, the trees, and a GroupInfo that is made for the public afterwards."""
    home = talking()
    admission, _ = admission_of(home)
    adopted = devices.adopt(admission.made.emulation, admission.made)
    public = [
        admission.made.commit.message,
        *admission.trees.values(),
        front.group_info(adopted.group),
        admission.welcome(final=True),
    ]
    for data in public:
        for secret in secrets_of(home):
            assert secret not in data


def test_errors_show_no_secret() -> None:
    """Whatever a newcomer cannot use: what it says of it is short, and has nothing of it."""
    home = talking()
    admission, package = admission_of(home)
    for group_id in (A, B):
        trees = {**admission.trees, GroupId(group_id): b"\x00"}
        new = taken(home, admission, package, trees=trees)
        assert [each.group_id for each in new.waiting] == [group_id]
        for secret in secrets_of(home):
            assert repr(secret)[2:-1] not in repr(new.waiting)


def test_what_is_handed_over_shows_no_secret() -> None:
    home = talking()
    first = home[FIRST]
    home.upload(SECOND)
    handed = [onboarding._hand_over(first.emulation, Handed(group)) for group in first.groups.values()]
    state, companion = onboarding._told(onboarding._with_their_keys(first.emulation, []), handed, [])
    text = repr(state) + repr(companion) + repr(handed)
    for secret in secrets_of(home):
        assert repr(secret)[2:-1] not in text


@pytest.mark.parametrize("how", ["to all", "to one"])
def test_what_was_heard_shows_no_secret(how: str) -> None:
    home = talking()
    first, second = home[FIRST], home[SECOND]
    first.emulation, public = first.emulation.drawn_key(first.env, 1)
    private = first.emulation.keys[public].private
    if how == "to all":
        told = Keys((SignatureKey(cipher_suite=1, public=public, private=private),))
        message, secret = devices.announce(first.emulation, first.env, told).message, private.raw
    else:
        reserved = make_reserved(first.emulation, first.env, offer())
        to = second.emulation.group.own_leaf
        message, secret = devices.tell(first.emulation, first.env, to, reserved.told), reserved.told.seed.raw
    heard = devices.receive(second.emulation, second.env, message)
    assert repr(secret)[2:-1] not in repr(heard)


# Coming in twice


def test_who_waits_for_a_tree_does_not_begin_anew() -> None:
    """It is taken up by the device as it is by then, from what was stored of it."""
    home = talking(settings=DERIVED)
    admission, package = admission_of(home)
    first = taken(home, admission, package, trees={A: admission.trees[GroupId(A)]})
    (kept,) = first.waiting
    assert kept.group_id == B
    waiting = decode_exactly(kept.encode(), Waiting.decode)
    emulation, _ = first.emulation.take(OperationType.LEAF_NODE, A)
    assert take_up(emulation, home.env, home.parameters, waiting, admission.trees[GroupId(A)]) is None
    handed = take_up(emulation, home.env, home.parameters, waiting, admission.trees[GroupId(B)])
    assert handed is not None
    assert handed.group.authenticator == home[FIRST].groups[B].authenticator
    with pytest.raises(CallerError, match="damaged"):
        Waiting.decode(Reader(kept.encode()[:-9]))


def test_a_carrier_of_trees_does_not_keep_a_device_out() -> None:
    """Trees are public and travel apart. PeerError means never, and here the next carrier may have the right one."""
    home = talking()
    admission, package = admission_of(home)
    trees = {**admission.trees, GroupId(A): admission.trees[GroupId(B)]}
    new = taken(home, admission, package, trees=trees)
    assert {each.group.group_id for each in new.conversations} == {B}
    assert [each.group_id for each in new.waiting] == [A]


# What a newcomer is told


def told(change: Callable[[NewEmulatorClientState, Companion], tuple[NewEmulatorClientState, Companion]]) -> Any:
    """A device that gives a new one another state than its own."""
    honest = onboarding._told

    def lied(*arguments: Any) -> tuple[NewEmulatorClientState, Companion]:
        return change(*honest(*arguments))

    return mock.patch.object(onboarding, "_told", lied)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_forward", 0xFFFF_FFFF),
        ("keep", 0xFFFF_FFFF),
        *((name, 0) for name in LIMITS if name not in ("max_leaves", "max_forward", "keep")),
    ],
)
def test_limits_that_are_none_are_refused(name: str, value: int) -> None:
    """With `max_forward` of four billions, one announcement keeps a device busy for hours."""
    told = bytearray(Settings().encode())
    at = 8 + 4 * list(LIMITS).index(name)  # behind the version, five choices and the length of the limits
    told[at : at + 4] = u32(value)
    with pytest.raises(PeerError):
        decode_exactly(bytes(told), Settings.decode)


def test_the_epoch_that_begins_does_not_follow_itself() -> None:
    """Who made the commit knows that epoch's name, and can make the Welcome's GroupInfo after it."""
    home = talking()
    admission, package = admission_of(home)
    coming = devices.adopt(admission.made.emulation, admission.made).head.newest
    state, companion = onboarding._told(home[FIRST].emulation, [], [])
    new = taken(home, admission, package).emulation
    try:
        emulation = onboarding._with_state(new, home.env, state, replace(companion, newest=coming))
    except PeerError:
        return
    line = list(itertools.islice(emulation.lineage(coming), 100))
    assert len(line) == len(set(line))


def test_state_and_companion_agree_on_the_newest_epoch() -> None:
    """Without what is before its own epoch, it lets leaves go back wherever they like."""
    home = talking()
    with (
        told(lambda state, companion: (state, replace(companion, newest=b"n" * 32))),
        pytest.raises(PeerError),
    ):
        admitted(home, FIRST, NEW)


def test_signature_keys_in_a_state_belong_together() -> None:
    """An announcement is checked (VC-6.4-15). A key that is in the ring by a false name stays there."""
    home = talking()

    def swap(state: NewEmulatorClientState, companion: Companion) -> tuple[NewEmulatorClientState, Companion]:
        one, other, *rest = state.signing_keys
        swapped = (replace(one, private=other.private), replace(other, private=one.private), *rest)
        return replace(state, signing_keys=swapped, groups=()), replace(companion, conversations=())

    with told(swap), pytest.raises(PeerError):
        admitted(home, FIRST, NEW)


def test_epochs_of_a_bare_state_have_an_order() -> None:
    """As another implementation hands it over. Those who were there refuse what this device follows."""
    home = talking()
    first = home[FIRST]
    home.commit_devices(FIRST, derive=True)
    newer, older = itertools.islice(first.emulation.lineage(first.emulation.head.newest), 2)
    admission, package = admission_of(home)
    state, _ = onboarding._told(first.emulation, [], [])
    fresh = front.join_informed(home._env(NEW), home._device_parameters(), admission.welcome(final=True), [package])
    new = onboarding._with_state(devices.start(home.settings, fresh.group), home.env, state, None)
    for emulation in (first.emulation, new):
        with pytest.raises(PeerError, match=r"VC-6\.2-3"):
            emulation.check_order(newer, older)


def test_a_state_of_more_than_there_is_room_for_still_leaves_a_way_on() -> None:
    """A device at its limit hands over what it has; the new one prunes like any other."""
    home = talking(settings=Settings(max_epochs=4))
    while len(home[FIRST].emulation.epochs) < 3:
        home.commit_devices(FIRST, derive=True)
    admitted(home, FIRST, NEW)
    assert len(home[NEW].emulation.epochs) == 4
    for name in home.names:
        home[name].emulation = home[name].emulation.pruned(
            home[name].groups.values(), since=home[name].emulation.head.newest
        )
    home.commit_devices(SECOND, derive=True)
    home.commit(SECOND, A, force_path=True)
    home.agree()


# Who comes, and who goes


def test_two_newcomers_in_one_commit() -> None:
    home = talking()
    other = home.package(LATER)
    admission, package = admission_of(home, proposals=[Add(other.key_package)])
    first = home[FIRST]
    first.emulation = devices.adopt(admission.made.emulation, admission.made)
    home._to_devices(FIRST, admission.made.commit.message)
    for name, secrets in ((NEW, package), (LATER, other)):
        new = taken(home, admission, secrets, name)
        groups: dict[bytes, Group] = {each.group.group_id: each.group for each in new.conversations}
        home.devices[name] = Device(name, home._env(name), new.emulation, groups)
    home.agree()
    for name in (NEW, LATER):
        with pytest.raises(CallerError, match="no member"):
            home.say(name, A)
    home.commit(SECOND, A, force_path=True)
    home.agree()
    for name in home.names:
        home.say(name, A)
        home.commit(name, A, force_path=True)
        home.agree()


def test_a_newcomer_that_is_removed_at_once_derives_nothing_more() -> None:
    """It was handed everything up to its own epoch, and from the next one on it follows nothing."""
    home = talking()
    admitted(home, FIRST, NEW)
    gone = home.remove_device(NEW, by=FIRST)
    acted = home.commit(SECOND, A, force_path=True)
    with pytest.raises(StaleError):
        vc.receive(gone.emulation, gone.groups[A], gone.env, acted.commit.message)
    home.say(SECOND, A)


def test_a_newcomer_reads_what_was_said_since_the_commit_that_added_it() -> None:
    """Conversations and devices went on; it reads all of it with what it was handed."""
    home = talking()
    admission, package = admission_of(home)
    first = home[FIRST]
    since = [(A, vc.seal(first.emulation, first.groups[A], first.env, b"before the commit was accepted").message)]
    first.emulation = devices.adopt(admission.made.emulation, admission.made)
    home._to_devices(FIRST, admission.made.commit.message)
    start = len(home.wire)
    home.other_say("anna", A)
    home.commit(SECOND, A, force_path=True)
    home.say(SECOND, A)
    home.commit_devices(SECOND, derive=True)
    after = home.commit(SECOND, A, force_path=True).commit
    new = taken(home, admission, package)
    (group,) = [each.group for each in new.conversations if each.group.group_id == A]
    emulation = new.emulation
    for _, message in since:
        assert vc.receive(emulation, group, home.env, message).ours
    for message in home.wire[start:-1]:
        got = vc.receive(emulation, group, home.env, message)
        emulation, group = got.emulation, got.event.group
    with pytest.raises(StaleError):  # made in an epoch of the devices that it did not hear of yet
        vc.receive(emulation, group, home.env, home.wire[-1])
    assert group.epoch + 1 == after.group.epoch


def test_what_a_newcomer_was_handed_survives_a_restart() -> None:
    home = talking()
    admitted(home, FIRST, NEW)
    device = home[NEW]
    data = stored.encode(device.emulation)
    again = stored.decode(data, device.env.provider, device.emulation.group)
    assert stored.encode(again) == data
    device.emulation = again
    home.commit(SECOND, A, force_path=True)
    home.say(NEW, A)
    home.agree()


def test_an_add_that_loses_leaves_nothing_behind() -> None:
    """The Welcome was kept back. The device that did the adding goes on with the rival, the other way is closed."""
    home = talking()
    start = home[FIRST].emulation.head
    admission, _ = admission_of(home)
    home[FIRST].emulation = admission.made.emulation
    rival = devices.commit(home[SECOND].emulation, home[SECOND].env, derive=True)
    home[SECOND].emulation = devices.adopt(rival.emulation, rival)
    first = home[FIRST]
    assert first.emulation.head.newest == start.newest
    first.emulation = devices.receive(first.emulation, first.env, rival.commit.message).emulation
    home.agree()
    home.commit(FIRST, A, force_path=True)
    home.agree()


def test_a_stranger_s_welcome_leads_to_the_stranger() -> None:
    """Whoever has a device's KeyPackage can add it to something. It sees among whom it is; no more."""
    home = talking()
    stranger = Household(1, seed="stranger")
    package = home.package(NEW)
    admission = admit(stranger[FIRST].emulation, stranger[FIRST].env, package.key_package)
    new = taken(home, admission, package)
    ours = {leaf.signature_key for _, leaf in home[FIRST].emulation.group.members}
    theirs = {leaf.signature_key for _, leaf in new.emulation.group.members}
    assert package.key_package.leaf_node.signature_key in theirs
    assert new.emulation.head.newest not in home[FIRST].emulation.epochs
    assert theirs - ours
    assert not new.conversations


def test_what_join_gives_besides_shows_no_secret() -> None:
    """The extensions of the GroupInfo come out with the group, for whoever asked for them."""
    home = talking()
    admission, package = admission_of(home)
    own = home._device_parameters()
    joined = front.join_informed(home._env(NEW), own, admission.welcome(final=True), [package])
    text = repr(joined)
    for secret in secrets_of(home):
        assert repr(secret)[2:-1] not in text
