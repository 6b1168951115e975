"""How a device goes, and what it can do after that (`vcd.core.rotation`, `leaves`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from mls.errors import MlsError
from mls.persistent import PMap
from mls.provider import Environment
from mls.virtual import client
from mls.virtual.announcements import Announcement, Progress
from mls.virtual.emulation import Emulation
from mls.virtual.removal import Fingerprint, Removal
from tests.vcd.core.company import gather
from tests.vcd.core.homes import (
    TEA,
    appoint,
    couple,
    delegates,
    device,
    devices_of,
    fates,
    here,
    home,
    link,
    listed,
    remove,
    restore,
    root,
    say,
    tea,
    trio,
)
from tests.vcd.core.people import friends, open_talk
from tests.vcd.core.village import Village
from vcd.core import devices, events, inputs, leaves, listing, rotation as rotation_room, siblings, voting
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.identity import RecoverySeed, root_key
from vcd.core.errors import Misuse
from vcd.core.founding import new_account
from vcd.core.names import DeviceId, GroupId, IntentId
from vcd.core.policy import Mode
from vcd.core.state import State
from vcd.core.strand import Membership
from vcd.core.turn import Turn


def gone_from(village: Village, name: str, old: State) -> None:
    """That device is nowhere any more, as far as this one knows."""
    shut_out = old.me.device
    assert shut_out not in devices_of(village, name) | listed(village, name)
    assert village.state(name).rotation is None


def test_a_removed_device_is_shut_out_of_everything() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    old = village.state(tablet)
    leaf = tea(village, laptop).own_leaf_node
    stock = set(emulation(village, laptop).stock)
    intent = remove(village, laptop, tablet)
    village.wait(minutes=5)
    assert fates(village, laptop, intent) == [True]
    for name in (laptop, phone):
        gone_from(village, name, old)
        now = tea(village, name).own_leaf_node
        assert now.encryption_key != leaf.encryption_key
        assert now.signature_key != leaf.signature_key
        shown = head_of(now.credential)
        assert shown is not None
        assert shown.revoked == shown.version
        assert not stock & set(emulation(village, name).stock)
        assert emulation(village, name).stock
    assert village.state(laptop).household.signing != old.household.signing
    assert village.state(phone).household.signing == village.state(laptop).household.signing


def test_a_removal_becomes_complete_where_only_the_removed_device_could_have_spoken() -> None:
    """The laptop was set back: it had a part in the epoch that the leaf comes from, and must not act in it any more."""
    village = Village()
    laptop, phone = couple(village)
    village.down(phone)
    restore(village, laptop, village.state(laptop))
    village.wait(minutes=5)
    intent = remove(village, laptop, phone)
    village.wait(minutes=10)
    assert fates(village, laptop, intent) == [True]
    village.world.ledger.require_unique_nonces()


def test_a_removal_does_not_wait_for_a_conversation_that_the_account_was_removed_from() -> None:
    village = friends("ben", "laptop")
    phone = link(village, "laptop", "phone")
    open_talk(village, "ben", "laptop", group=TEA)
    village.down(phone)
    village.part(["laptop"])
    village.do("ben", inputs.Remove(intent=IntentId(b"r"), conversation=TEA, account=village.own("laptop")))
    intent = remove(village, "laptop", phone)
    village.heal()
    assert village.state("laptop").strands[TEA].membership is Membership.OUT
    village.wait(minutes=10)
    assert fates(village, "laptop", intent) == [True]


def test_what_is_said_afterwards_a_removed_device_cannot_read() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    old = village.state(tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    assert old.emulation is not None
    for name in (laptop, phone):
        group = tea(village, name)
        sent = client.seal(emulation(village, name), group, _env(village, name), b"secret")
        for kept in old.strands[TEA].kept.values():
            with pytest.raises(MlsError):
                client.receive(old.emulation, kept.group, _env(village, tablet), sent.message)
    assert {kept.topic.raw for kept in old.strands[TEA].kept.values()}  # it may still carry frames of that topic


def emulation(village: Village, name: str) -> Emulation:
    found = village.state(name).emulation
    assert found is not None
    return found


def _turn(village: Village, name: str) -> Turn:
    return Turn(village.state(name), village.now, village.devices[name].provider)


def _env(village: Village, name: str) -> Environment:
    return _turn(village, name).env


def test_an_app_is_told_how_far_a_removal_is() -> None:
    village = Village()
    laptop, _, tablet = trio(village)
    for number in range(3):
        village.do(laptop, inputs.Open(conversation=GroupId(b"more" + bytes([number]) + bytes(11))))
    village.wait(minutes=1)
    shut_out = device(village, tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    told = village.told(laptop, events.Removing)
    assert [each.complete for each in told] == [False] * (len(told) - 1) + [True]
    assert {each.devices for each in told} == {(shut_out,)}
    assert told[0].rotated == 0
    assert told[0].conversations == 4
    assert told[-1].rotated == 4
    assert [each.rotated for each in told] == sorted(each.rotated for each in told)


def test_conversations_have_no_key_in_common_after_a_removal_either() -> None:
    """Each of them is signed for with a key that no other one has."""
    village = Village()
    laptop, phone, tablet = trio(village)
    several = [TEA, *[GroupId(b"more" + bytes([number]) + bytes(11)) for number in range(3)]]
    for group_id in several[1:]:
        village.do(laptop, inputs.Open(conversation=group_id))
    village.wait(minutes=1)
    before = {each: tea(village, laptop, each) for each in several}
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    for name in (laptop, phone):
        assert village.state(name).rotation is None
        after = {each: tea(village, name, each) for each in several}
        keys = [each.own_leaf_node.signature_key for each in after.values()]
        assert len({*keys, *[each.own_leaf_node.signature_key for each in before.values()]}) == 2 * len(several)
        assert [after[each].epoch - before[each].epoch for each in several] == [1] * len(several)


def test_those_who_stay_carry_on_if_the_device_that_began_goes_to_sleep() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    old = village.state(tablet)
    for number in range(5):
        village.do(laptop, inputs.Open(conversation=GroupId(b"more" + bytes([number]) + bytes(11))))
    village.wait(minutes=1)
    remove(village, laptop, tablet)
    village.wait(seconds=1)
    village.down(laptop)
    village.wait(minutes=10)
    rotation = village.state(phone).rotation
    assert rotation is not None
    assert rotation.rotated == rotation.conversations == 6
    village.devices[laptop].up = True
    village.restart(laptop)
    village.wait(minutes=10)
    for name in (laptop, phone):
        gone_from(village, name, old)


def test_conversations_are_shared_out_and_none_is_done_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    names = [GroupId(b"more" + bytes([number]) + bytes(11)) for number in range(8)]
    for name in names:
        village.do(laptop, inputs.Open(conversation=name))
    village.wait(minutes=1)
    before = {name: tea(village, laptop, name).epoch for name in names}
    topics = {name for name, each in village.state(laptop).joined.items() if each.group_id in names}
    village.log = [frame for frame in village.log if frame.topic not in topics]
    monkeypatch.setattr(voting, "touched", lambda *_: None)  # so that commits are all that is sent there
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    assert {name: tea(village, laptop, name).epoch - before[name] for name in names} == dict.fromkeys(names, 1)
    by = {frame.by for frame in village.log if frame.topic in topics}
    assert by == {laptop, phone}


def test_a_removal_that_lost_at_home_is_made_again() -> None:
    """Only who is in the home has it, and the branch that wins has the device still: so it is removed there as well."""
    village = Village()
    laptop, phone, tablet = trio(village)
    old = village.state(tablet)
    village.part([laptop], [phone, tablet])
    remove(village, laptop, tablet)
    village.wait(minutes=1)
    assert device(village, tablet) in devices_of(village, phone)
    for number in range(4):
        village.do(
            phone,
            inputs.Refresh(intent=IntentId(b"refresh" + bytes([number])), conversation=home(village, phone).group_id),
        )
        village.wait(minutes=1)
    village.heal()
    village.wait(minutes=20)
    assert home(village, laptop).head == home(village, phone).head
    for name in (laptop, phone):
        gone_from(village, name, old)
    assert tea(village, laptop).epoch_id == tea(village, phone).epoch_id


def test_two_removals_at_once_become_one() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    box = link(village, laptop, "box")
    old, older = village.state(tablet), village.state(box)
    village.down(tablet)
    village.down(box)  # two thieves: neither votes for anything
    first, second = remove(village, laptop, tablet), remove(village, laptop, box)
    village.wait(minutes=10)
    assert fates(village, laptop, first) == fates(village, laptop, second) == [True]
    for name in (laptop, phone):
        gone_from(village, name, old)
        gone_from(village, name, older)


def test_a_device_that_was_removed_forgets_the_account() -> None:
    village = Village()
    laptop, _, tablet = trio(village)
    old = village.state(tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=10)
    now = village.state(tablet)
    assert now.home is None
    assert now.emulation is None
    assert now.book.own is None
    assert not now.strands
    assert not now.talks
    assert not now.joined
    assert not now.unsent
    assert now.me.device != old.me.device
    assert [each.code for each in village.told(tablet, events.Warned)] == ["device-removed", "account-forgotten"]
    assert village.devices[tablet].topics == set()


def test_a_removal_that_loses_makes_no_device_forget_anything() -> None:
    """On a branch that is not final, or that is void, it may be a stolen device that says so."""
    village = Village()
    laptop, phone, tablet = trio(village)
    village.part([laptop], [phone, tablet])
    remove(village, laptop, tablet)
    village.wait(minutes=1)
    # The tablet hears of it, and what would make it final is not there: the phone has not voted.
    village.part([laptop, tablet], [phone])
    village.deliver()
    village.wait(minutes=5)
    assert village.state(tablet).home is not None
    assert village.state(tablet).household.gone
    assert [each.code for each in village.told(tablet, events.Warned)] == ["device-removed"]


def test_an_ordinary_device_removes_nobody() -> None:
    village = Village()
    _, phone, tablet = trio(village)
    with pytest.raises(Misuse) as refused:
        remove(village, phone, tablet)
    assert refused.value.code == "not-delegate"
    assert village.state(phone).rotation is None


def test_a_delegate_is_removed_with_the_recovery_phrase_alone() -> None:
    village = Village()
    provider = village.world("laptop")
    seed = RecoverySeed(b"s" * 32)
    village.move_in("laptop", provider, new_account(provider, seed, "laptop", village.now, village.config))
    village.do("laptop", inputs.Open(conversation=TEA))
    phone, tablet = link(village, "laptop", "phone"), link(village, "laptop", "tablet")
    shut_out = device(village, "laptop")
    root, _ = root_key(provider.suite(1), seed)
    with pytest.raises(Misuse):
        village.do(phone, inputs.RemoveDevice(intent=IntentId(b"one"), device=shut_out))
    village.do(phone, inputs.RemoveDevice(intent=IntentId(b"two"), device=shut_out, root=root))
    village.wait(minutes=5)
    assert devices_of(village, tablet) == {device(village, phone), device(village, tablet)} == listed(village, phone)
    edition = listing.of_group(here(village, phone).group)
    assert edition.head.authority.term > 0
    assert [each.device for each in edition.devices.delegates] == [device(village, phone)]
    assert village.state(phone).household.delegate is not None
    assert village.state(tablet).household.delegate is None
    box = link(village, phone, "box")
    assert devices_of(village, box) == devices_of(village, phone)


def test_nobody_removes_the_device_that_he_holds() -> None:
    village = Village()
    laptop, _ = couple(village)
    with pytest.raises(Misuse) as refused:
        remove(village, laptop, laptop)
    assert refused.value.code == "own-device"
    with pytest.raises(Misuse) as refused:
        village.do(laptop, inputs.RemoveDevice(intent=IntentId(b"x"), device=type(device(village, laptop))(bytes(16))))
    assert refused.value.code == "no-such-device"


def test_a_removal_asked_for_twice_is_one() -> None:
    village = Village()
    laptop, _, tablet = trio(village)
    shut_out = device(village, tablet)
    command = inputs.RemoveDevice(intent=IntentId(b"once"), device=shut_out)
    village.do(laptop, command)
    before = home(village, laptop).head
    village.do(laptop, command)
    assert home(village, laptop).head == before


def test_the_removed_device_learns_nothing_of_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    heard: list[DeviceId] = []
    really = rotation_room.heard

    def listening(turn: Turn, told: siblings.Told, announcement: Progress) -> None:
        heard.append(turn.state.me.device)
        really(turn, told, announcement)

    monkeypatch.setattr(rotation_room, "heard", listening)
    shut_out = device(village, tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    assert device(village, phone) in heard
    assert shut_out not in heard


def test_who_follows_the_commit_knows_enough_to_carry_on(monkeypatch: pytest.MonkeyPatch) -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    monkeypatch.setattr(rotation_room, "_announce", lambda *_: None)  # the laptop never says how far it is
    monkeypatch.setattr(rotation_room, "_rotate", lambda _turn, removal, _names: removal)
    remove(village, laptop, tablet)
    village.wait(seconds=2)
    rotation = village.state(phone).rotation
    assert rotation is not None
    assert not Removal.decode(rotation.removal).complete
    village.down(laptop)
    monkeypatch.undo()
    leaf = tea(village, phone).own_leaf_node
    village.wait(minutes=5)
    assert tea(village, phone).own_leaf_node.signature_key != leaf.signature_key


def test_progress_that_a_removed_device_announces_is_not_believed() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    remove(village, laptop, tablet)
    rotation = village.state(laptop).rotation
    assert rotation is not None
    removal = Removal.decode(rotation.removal)
    assert removal.devices == {Fingerprint(device(village, tablet))}
    turn = _turn(village, phone)
    old = next(name for name, each in turn.state.household.rosters.items() if device(village, tablet) in each.names)
    lie = replace(removal, uploads=frozenset({b"nowhere"}))
    before = turn.state
    told = siblings.Told(device=device(village, laptop), epoch=home(village, phone).final, newest=old)
    rotation_room.heard(turn, told, Progress(lie.encode()))
    assert turn.state is before


def test_a_removal_is_complete_also_if_the_home_went_on_before_it_was_final() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    box = link(village, laptop, "box")
    village.down(box)  # so that nothing becomes final
    old = village.state(tablet)
    remove(village, laptop, tablet)
    village.wait(minutes=1)
    village.do(phone, inputs.Refresh(intent=IntentId(b"on"), conversation=home(village, phone).group_id))
    village.wait(minutes=1)
    assert village.state(laptop).rotation is not None
    village.restart(box)
    village.wait(minutes=5)
    for name in (laptop, phone, box):
        gone_from(village, name, old)


def test_a_conversation_that_is_opened_during_a_removal_is_rotated_too() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    village.part([laptop], [phone, tablet])
    late = GroupId(b"late" + bytes(12))
    village.do(phone, inputs.Open(conversation=late))
    village.wait(seconds=1)
    remove(village, laptop, tablet)
    village.wait(seconds=1)
    village.heal()
    village.wait(minutes=10)
    for name in (laptop, phone):
        assert village.state(name).rotation is None
        roster = village.state(name).household.rosters
        for group_id in (TEA, late):
            made_in = leaves.made_in(_turn(village, name), tea(village, name, group_id))
            assert made_in is not None
            assert roster[made_in].names == devices_of(village, name)


def test_messages_flow_on_while_devices_come_and_go() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    for number in range(3):
        for name in (laptop, phone, tablet):
            say(village, name, f"{name} {number}".encode())
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    say(village, phone, b"alone at last")
    assert village.said(laptop) == village.said(phone)
    assert village.said(laptop)[-1] == b"alone at last"
    assert b"alone at last" not in village.said(tablet)


def test_while_the_lead_is_away_a_removal_adds_no_commit_to_one_that_waits() -> None:
    village = Village()
    gather(village, TEA, Mode.LEAD, "anna", "laptop")
    link(village, "laptop", "phone")
    link(village, "laptop", "tablet")
    village.down("anna")
    head = village.state("laptop").strands[TEA].head
    intent = remove(village, "laptop", "tablet")
    village.wait(hours=3)
    strand = village.state("laptop").strands[TEA]
    assert strand.head == head
    assert len(strand.graph.children(head)) == 1
    village.devices["anna"].up = True
    village.deliver()
    village.wait(minutes=5)
    assert fates(village, "laptop", intent) == [True]
    (now,) = {village.state(name).strands[TEA].head for name in ("anna", "laptop", "phone")}
    assert now != head


def test_a_new_device_leaves_a_removal_alone_that_was_complete_before_it_came() -> None:
    """It hears of it all the same, as it cannot have heard it before."""
    village = Village()
    laptop, phone = couple(village)
    remove(village, laptop, phone)
    village.wait(minutes=5)
    box = link(village, laptop, "box")
    village.wait(minutes=5)
    assert village.state(box).rotation is None
    assert not village.told(box, events.Removing)


def test_who_hears_of_a_removal_after_everybody_else_takes_its_new_keys_for_new() -> None:
    village = Village()
    laptop, phone = couple(village)
    told: list[Progress] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "announce", _noting(told))
        remove(village, laptop, phone)
        village.wait(days=15)  # what was before it is forgotten
    village.do(laptop, inputs.Refresh(intent=IntentId(b"on"), conversation=home(village, laptop).group_id))
    village.wait(minutes=5)
    box = link(village, laptop, "box")
    turn = _turn(village, box)
    devices.keep(turn, done=PMap())
    newest = turn.emulation.head.newest
    by = siblings.Told(device=device(village, laptop), epoch=home(village, laptop).head, newest=newest)
    rotation_room.heard(turn, by, told[-1])
    assert turn.state.rotation is None  # there is nothing to do


def _noting(told: list[Progress]) -> Callable[[Turn, Announcement], None]:
    really = devices.announce

    def announce(turn: Turn, announcement: Announcement) -> None:
        if isinstance(announcement, Progress):
            told.append(announcement)
        really(turn, announcement)

    return announce


@pytest.mark.parametrize("seed", range(1, 5))
def test_a_removal_ends_if_the_recovery_phrase_made_that_device_a_delegate_meanwhile(seed: int) -> None:
    """Nobody but who has the phrase can remove it then. The home may also have had the removal for good before."""
    village = Village(seed)
    delegates(village, "laptop", "phone")
    village.do("laptop", inputs.Open(conversation=TEA))
    link(village, "laptop", "tablet")
    village.part(["laptop"], ["phone", "tablet"])
    intent = remove(village, "laptop", "tablet")
    appoint(village, "phone", "laptop", "phone", "tablet")
    village.wait(seconds=90)
    village.heal()
    village.down("phone")  # the home waits for its vote
    village.wait(minutes=5)
    drawn = len(emulation(village, "laptop").keys)
    village.wait(minutes=30)
    assert len(emulation(village, "laptop").keys) <= drawn  # nothing is made and withdrawn again and again
    village.restart("phone")
    village.wait(minutes=5)
    stays = device(village, "tablet") in devices_of(village, "phone")
    assert fates(village, "laptop", intent) == [not stays]
    staying = ("laptop", "phone", "tablet") if stays else ("laptop", "phone")
    for name in staying:
        assert village.state(name).rotation is None
        assert devices_of(village, name) == {device(village, each) for each in staying}
        say(village, name, name.encode())
    village.wait(minutes=30)
    for name in staying:
        assert {each.encode() for each in staying} <= set(village.said(name))
    if stays:
        again = IntentId(b"with the phrase")
        command = inputs.RemoveDevice(intent=again, device=device(village, "tablet"), root=root(village, "laptop"))
        village.do("laptop", command)
        village.wait(minutes=10)
        assert fates(village, "laptop", again) == [True]
        assert (
            devices_of(village, "phone")
            == listed(village, "phone")
            == {device(village, "laptop"), device(village, "phone")}
        )
