"""What devices of one account tell each other, and what their home's branches mean (`vcd.core.devices`, `leaves`)."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from mls import group as mls
from mls.proposals import Add, Remove
from mls.virtual.announcements import Wanted
from mls.virtual.conversation import Author
from tests.vcd.core.homes import (
    TEA,
    ask,
    blank,
    couple,
    device,
    devices_of,
    handed,
    here,
    home,
    link,
    refresh_home,
    remove,
    say,
    take_up,
    tea,
    trio,
)
from tests.vcd.core.village import Frame, Village
from vcd.core import acting, devices, founding, inputs, leaves, listing, siblings
from vcd.core.accounts.identity import AccountKey
from vcd.core.config import Config
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.household import NOWHERE
from vcd.core.names import DeviceId, EpochId, GroupId, IntentId
from vcd.core.payloads import Post
from vcd.core.policy import DAY
from vcd.core.turn import Turn

OTHER = GroupId(b"other" + bytes(11))


def turn_of(village: Village, name: str) -> Turn:
    return Turn(village.state(name), village.now, village.devices[name].provider)


# ---------------------------------------------------------------- telling


def test_a_conversation_that_one_device_opens_is_every_device_s() -> None:
    village = Village()
    laptop, phone = couple(village)
    village.do(phone, inputs.Open(conversation=OTHER))
    assert tea(village, laptop, OTHER).epoch_id == tea(village, phone, OTHER).epoch_id
    say(village, laptop, b"hello", OTHER)
    say(village, phone, b"hello yourself", OTHER)
    assert village.said(laptop) == village.said(phone) == [b"hello", b"hello yourself"]


def test_with_one_device_nothing_is_said_and_nothing_is_lost() -> None:
    village = Village()
    village.account("laptop")
    before = len(village.log)
    village.do("laptop", inputs.Open(conversation=OTHER))
    assert all(frame.topic != _topic(village, "laptop") for frame in village.log[before:])
    phone = link(village, "laptop", "phone")
    assert OTHER in village.state(phone).strands


def _topic(village: Village, name: str) -> bytes:
    state = village.state(name)
    return next(key for key, joined in state.joined.items() if joined.secret.raw == here(village, name).topic.raw)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_said_in_any_order_is_understood(seed: int) -> None:
    """A conversation may be told of before the signature key that its leaf has."""
    village = Village(seed)
    laptop, phone = couple(village)
    late: list[Frame] = []

    def lost(frame: Frame, name: str) -> bool:
        if name == laptop and frame.by == phone and frame not in late:
            late.append(frame)
        return name == laptop and frame in late

    village.lost = lost
    village.do(phone, inputs.Open(conversation=OTHER))
    assert len(late) > 1
    for frame in reversed(late):
        village.step(laptop, inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))
    assert OTHER in village.state(laptop).strands
    assert not village.state(laptop).household.held


def test_what_was_said_on_a_branch_of_the_home_that_lost_is_said_again() -> None:
    """Both branches tell of something; whichever loses, everybody knows both in the end."""
    village = Village()
    laptop, phone, tablet = trio(village)
    village.part([laptop], [phone, tablet])
    mine, theirs = GroupId(b"mine" + bytes(12)), GroupId(b"theirs" + bytes(10))
    refresh_home(village, laptop, 0)
    village.wait(seconds=1)
    village.do(laptop, inputs.Open(conversation=mine))
    refresh_home(village, phone, 0)
    village.wait(seconds=1)
    village.do(phone, inputs.Open(conversation=theirs))
    assert home(village, laptop).head != home(village, phone).head
    village.heal()
    village.wait(minutes=2)
    assert len({home(village, name).head for name in (laptop, phone, tablet)}) == 1
    for name in (laptop, phone, tablet):
        assert {mine, theirs} <= set(village.state(name).strands)
        assert tea(village, name, mine).epoch_id == tea(village, laptop, mine).epoch_id


def test_what_is_certain_to_be_heard_is_kept_no_longer() -> None:
    village = Village()
    laptop, phone = couple(village)
    village.do(laptop, inputs.Open(conversation=OTHER))
    assert village.state(laptop).household.said
    for number in range(2):
        refresh_home(village, phone, number)
        village.wait(minutes=2)
    strand = home(village, laptop)
    assert strand.final == strand.head
    assert not village.state(laptop).household.said


def test_what_may_have_to_be_said_again_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "MAX_SAID", 3)
    village = Village()
    village.account("laptop")
    turn = turn_of(village, "laptop")
    for number in range(5):
        devices.announce(turn, Wanted((GroupId(bytes([number])),)))
    assert len(turn.state.household.said) == 3
    assert turn.state.household.numbered == 5 + village.state("laptop").household.numbered


def test_what_cannot_be_said_yet_is_said_when_it_can() -> None:
    village = Village()
    laptop, phone = couple(village)
    turn = turn_of(village, laptop)
    devices.keep(turn, listening=True)
    devices.announce(turn, Wanted((TEA,)))
    assert [each.epoch for each in turn.state.household.said.values()][-1] == NOWHERE
    devices.keep(turn, listening=False)
    village.devices[laptop].state = turn.state
    refresh_home(village, phone, 0)
    village.wait(minutes=1)
    assert TEA in village.state(phone).household.wanted or not village.state(laptop).household.said


def test_records_are_read_strictly() -> None:
    record = siblings.Here(device=DeviceId(bytes(16)))
    data = siblings.pack(record)
    assert siblings.unpack(data) == record
    for bad in (b"", b"\x00", b"\x81" + data[1:], data[:-1], data + b"\x00", bytes([siblings.MARK, 0x7F])):
        with pytest.raises(Malformed):
            siblings.unpack(bad)


def test_every_record_has_somebody_who_takes_it() -> None:
    assert set(get_args(siblings.Sibling)) == set(siblings.handlers())


def test_an_account_key_that_is_not_what_it_says_is_refused() -> None:
    village = Village()
    laptop, phone = couple(village)
    turn = turn_of(village, phone)
    told = siblings.Told(
        device=device(village, laptop), epoch=home(village, phone).head, newest=here(village, phone).newest
    )
    record = siblings.NewAccountKey(public=b"p" * 32, private=AccountKey(b"s" * 32))
    before = turn.state
    with pytest.raises(Refused):
        devices.on_account_key(turn, told, record)
    assert turn.state is before


def test_a_sibling_cannot_fill_the_table_of_account_keys() -> None:
    village = Village()
    laptop, phone = couple(village)
    turn = turn_of(village, phone)
    scheme = turn.provider.suite(1).scheme
    told = siblings.Told(
        device=device(village, laptop), epoch=home(village, phone).head, newest=here(village, phone).newest
    )
    for _ in range(40):
        private, public = scheme.generate(turn.provider.random)
        devices.on_account_key(turn, told, siblings.NewAccountKey(public=public, private=AccountKey(private.raw)))
    assert len(turn.state.household.account_keys) == devices.MAX_ACCOUNT_KEYS
    assert turn.state.household.signing == village.state(laptop).household.signing


# ---------------------------------------------------------------- who is who


def test_devices_know_which_of_them_acted() -> None:
    village = Village()
    laptop, phone = couple(village)
    turn = turn_of(village, laptop)
    newest = here(village, laptop).newest
    for name in (laptop, phone):
        leaf = here(village, name).group.own_leaf
        assert devices.device_of(turn, Author(newest, leaf)) == device(village, name)
    assert devices.device_of(turn, Author(b"never", here(village, laptop).group.own_leaf)) is None


def test_who_had_a_part_in_an_epoch_is_known_after_it_is_over() -> None:
    village = Village()
    laptop, _, tablet = trio(village)
    shut_out, old = device(village, tablet), here(village, laptop).newest
    leaf = here(village, tablet).group.own_leaf
    remove(village, laptop, tablet)
    village.wait(minutes=5)
    turn = turn_of(village, laptop)
    assert devices.device_of(turn, Author(old, leaf)) == shut_out


# ---------------------------------------------------------------- leaves, and epochs that lost


def test_the_leaf_of_every_conversation_is_replaced_for_a_new_device() -> None:
    village = Village()
    laptop, phone = couple(village)
    names = [GroupId(b"more" + bytes([number]) + bytes(11)) for number in range(4)]
    for name in names:
        village.do(laptop, inputs.Open(conversation=name))
    village.wait(minutes=1)
    tablet = link(village, laptop, "tablet")
    for name in (*names, TEA):
        for each in (laptop, phone, tablet):
            group = tea(village, each, name)
            assert leaves.able(turn_of(village, each), group)
            assert not leaves.due(turn_of(village, each), group)


def test_another_device_replaces_leaves_if_the_one_that_let_it_in_sleeps() -> None:
    village = Village()
    laptop, phone = couple(village)
    package = blank(village, laptop, "tablet")
    ask(village, laptop, "tablet", package)
    village.wait(seconds=30)
    assert handed(village, laptop, "tablet")
    village.down(laptop)
    take_up(village, laptop, "tablet", package)
    village.wait(minutes=5)
    say(village, "tablet", b"here I am")
    assert village.said(phone)[-1] == b"here I am"


def test_a_device_that_cannot_speak_asks_and_is_answered() -> None:
    village = Village()
    laptop, phone = couple(village)
    turn = turn_of(village, laptop)
    leaves.wanted(turn, [TEA, GroupId(b"unknown")], here(village, laptop).newest)
    assert set(turn.state.household.wanted) == {TEA}
    assert not leaves.due(turn, tea(village, laptop))  # its leaf is from that epoch already
    refresh_home(village, phone, 0)
    village.wait(minutes=1)
    assert tea(village, phone).epoch_id == tea(village, laptop).epoch_id


def test_a_conversation_opened_on_a_branch_that_lost_reaches_those_who_were_not_there() -> None:
    """Its leaf comes from a derivation epoch that the others never had: they are told enough to follow, and no more."""
    village = Village()
    laptop, phone, tablet = trio(village)
    box = blank(village, laptop, "box")
    village.part([laptop], [phone, tablet])
    village.devices["box"].group = 1
    # The laptop's branch begins a derivation epoch, by a device that comes in there.
    ask(village, laptop, "box", box)
    village.wait(seconds=3)
    lost = here(village, laptop).newest
    mine = GroupId(b"mine" + bytes(12))
    village.do(laptop, inputs.Open(conversation=mine))
    # The others' branch removes nobody and adds nobody; it wins or loses by its tag, so both cases are looked at.
    for number in range(3):
        refresh_home(village, phone, number)
        village.wait(seconds=10)
    village.heal()
    village.wait(minutes=15)
    heads = {home(village, name).head for name in (laptop, phone, tablet)}
    assert len(heads) == 1
    for name in (laptop, phone, tablet):
        group = tea(village, name, mine)
        assert group.epoch_id == tea(village, laptop, mine).epoch_id
        present = set(village.state(name).emulation.lineage(here(village, name).newest))  # type: ignore[union-attr]
        assert leaves.made_in(turn_of(village, name), group) in present
        if lost not in present:
            assert leaves.made_in(turn_of(village, name), group) != lost


def test_epochs_that_nobody_needs_are_forgotten() -> None:
    village = Village(config=replace(Config(), packages=2, package_life=2 * DAY))
    laptop, phone = couple(village)
    for number in range(3):
        tablet = link(village, laptop, f"tablet{number}")
        remove(village, laptop, tablet)
        village.wait(minutes=5)
    begun = here(village, laptop).newest
    assert len(village.state(laptop).household.rosters) >= 7
    village.wait(days=9)  # the home's window, and that of conversations
    refresh_home(village, laptop, 0)
    village.wait(minutes=2)
    for name in (laptop, phone):
        state = village.state(name)
        assert state.emulation is not None
        assert set(state.emulation.epochs) == set(state.household.rosters) == {begun}


def test_a_sleeping_device_holds_up_what_it_may_have_acted_in() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    old = here(village, tablet).newest
    link(village, laptop, "box")
    village.wait(days=9)  # epochs before the head are kept for late messages no more
    turn = turn_of(village, phone)
    newest = here(village, phone).newest
    assert set(leaves.in_use(turn)) == {newest}
    asleep = turn.state.household.heard.set(device(village, tablet), old)
    devices.keep(turn, heard=asleep)
    assert set(leaves.in_use(turn)) == {newest, old}
    devices.keep(turn, heard=asleep.discard(device(village, tablet)))
    assert set(leaves.in_use(turn)) == {newest, old}  # it came in with that one
    devices.keep(turn, heard=asleep)
    leaves.prune(turn)
    assert old in turn.emulation.epochs
    devices.note_heard(turn, device(village, tablet), newest)
    assert set(leaves.in_use(turn)) == {newest}
    devices.note_heard(turn, device(village, tablet), old)  # late
    assert set(leaves.in_use(turn)) == {newest}


# ---------------------------------------------------------------- the rules of the home


def test_who_comes_in_is_on_the_list_and_who_goes_is_not() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    turn = turn_of(village, phone)
    leaf = here(village, tablet).group.own_leaf
    with pytest.raises(Refused) as refused:
        acting.commit(turn, turn.home, proposals=[Remove(leaf)])
    assert refused.value.rule == "removal-unlisted"
    package = blank(village, laptop, "thief")
    turn = turn_of(village, phone)
    with pytest.raises(Refused) as refused:
        acting.commit(turn, turn.home, proposals=[Add(package.key_package)])
    assert refused.value.rule == "device-unlisted"


def test_nobody_commits_what_another_device_proposes_in_the_home() -> None:
    """Else a stolen device would have others remove each other, or make all of their commits ones to refuse."""
    village = Village()
    laptop, phone, tablet = trio(village)
    turn = turn_of(village, tablet)
    group = here(village, tablet).group
    leaf = here(village, laptop).group.own_leaf
    _, message, _ = mls.propose(group, turn.home_env, Remove(leaf))
    turn.publish(here(village, tablet).topic, Post(epoch=EpochId(group.epoch_id), message=message))
    village.devices[tablet].state = turn.state
    for effect in turn.effects:
        village._run(village.devices[tablet], effect)
    village.deliver()
    assert here(village, phone).group.proposals
    before = home(village, phone).head
    refresh_home(village, phone, 0)
    assert home(village, phone).head != before
    village.wait(minutes=3)
    assert len(devices_of(village, phone)) == 3
    assert home(village, laptop).head == home(village, phone).head
    assert not here(village, phone).group.proposals


def test_what_a_removed_device_said_late_is_not_done() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    village.part([laptop, phone], [tablet])
    shut_out = device(village, tablet)
    village.do(tablet, inputs.Open(conversation=OTHER))  # in an epoch in which it still is
    remove(village, laptop, tablet)
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=2)
    for name in (laptop, phone):
        assert OTHER not in village.state(name).strands
        assert {each.device for each in village.state(name).household.held} == {shut_out}


def test_one_device_does_not_push_out_what_another_one_said() -> None:
    village = Village()
    laptop, phone, tablet = trio(village)
    turn = turn_of(village, laptop)
    newest = here(village, laptop).newest
    first = siblings.Told(device=device(village, phone), epoch=home(village, laptop).head, newest=newest)
    flood = replace(first, device=device(village, tablet))
    devices._hold(turn, first, b"\x01\x03", village.now)
    for _ in range(devices.MAX_HELD + 5):
        devices._hold(turn, flood, b"\x01\x03", village.now)
    held = turn.state.household.held
    assert len(held) == devices.MAX_HELD
    assert held[0].device == device(village, phone)


def test_a_list_that_no_delegate_signed_is_refused() -> None:
    village = Village()
    _, phone = couple(village)
    turn = turn_of(village, phone)
    edition = listing.of_group(here(village, phone).group)
    head = replace(edition.head, number=edition.head.number + 1, previous=edition.head.digest)
    forged = replace(edition, head=head, devices=replace(edition.devices, version=edition.version + 1))
    with pytest.raises(Refused):
        acting.commit(turn, turn.home, proposals=[listing.update(forged)])


def test_commands_of_a_device_without_an_account_are_refused() -> None:
    village = Village()
    provider = village.world("blank")
    village.move_in("blank", provider, founding.blank(provider, "blank"))
    with pytest.raises(Misuse) as refused:
        village.do("blank", inputs.RemoveDevice(intent=IntentId(b"x"), device=DeviceId(bytes(16))))
    assert refused.value.code == "no-account"
