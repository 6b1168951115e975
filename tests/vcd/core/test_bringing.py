"""Devices that another device of their account brings into a conversation, as they could not take up the Welcome."""

from __future__ import annotations

from functools import partial

import pytest

from mls.virtual.announcements import JoinedExternally
from tests.vcd.core.branches import sent
from tests.vcd.core.company import act, step
from tests.vcd.core.homes import device, devices_of, home, link, trio
from tests.vcd.core.people import (
    TEA,
    accounts,
    fates,
    friends,
    intent,
    invite,
    members,
    open_talk,
    strand,
    together,
)
from tests.vcd.core.talking import heard, refresh, say
from tests.vcd.core.village import Village
from vcd.core import bringing, comeback, devices, events, inputs, labels, list_keys, siblings, stock, summaries, voting
from vcd.core.duties import Duty
from vcd.core.errors import Refused
from vcd.core.names import DeviceId, EpochId, GroupId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, SignedStep
from vcd.core.policy import MINUTE, Mode, Policy, Who
from vcd.core.siblings import CameBack, Inside, Lacking
from vcd.core.state import Acceptance, State
from vcd.core.strand import Membership
from vcd.core.turn import Turn
from vcd.core.values import replace

CAKE = GroupId(b"cake")


def taken_up_by(
    village: Village,
    *those: str,
    acts: bool = True,
    policy: Policy | None = None,
    mode: Mode = Mode.DEMLS,
    before: bool = False,
) -> Village:
    """Bob, who may not remove anybody, invites Anna, and these of her devices take that up.

    Apart from them her laptop has withdrawn the KeyPackage. It votes for the account. Carol, who may remove people, is
    away, unless she leads. `before`: Anna was in it once, and Carol took her out.
    """
    for name in ("phone", "tablet"):
        link(village, "laptop", name)
    open_talk(village, "carol", "bob", *(["laptop"] if before else []), policy=policy, mode=mode)
    village.wait(minutes=2)
    if before:
        command = inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("laptop"))
        village.do("carol", command)
        village.wait(minutes=15)
    rest = [each for each in ("laptop", "phone", "tablet") if each not in those]
    if mode is Mode.LEAD:
        village.part([*those, "bob", "carol"], rest)
    else:
        village.part([*those, "bob"], rest, ["carol"])
    invite(village, "bob", "laptop", name="x")
    village.wait(seconds=1)
    if acts:
        refresh(village, those[0])
    act(village, rest[0], stock.revoke_all)
    village.wait(seconds=1)
    assert all(strand(village, name).membership is Membership.IN for name in those)
    for name in rest:
        found = village.state(name).strands.find(TEA)
        assert found is None if not before else found is not None and found.over
    return village


def anna(policy: Policy | None = None, *, acts: bool = True, mode: Mode = Mode.DEMLS, before: bool = False) -> Village:
    village = friends("laptop", "bob", "carol")
    return taken_up_by(village, "phone", acts=acts, policy=policy, mode=mode, before=before)


EVERYBODY = ("laptop", "phone", "tablet", "bob", "carol")


def from_outside(village: Village) -> int:
    return len({said.signed.step.epoch for _, said in sent(village, Commit) if said.signed.step.moved})


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.EC1, Mode.EC2, Mode.LEAD])
def test_who_took_up_a_welcome_and_acted_brings_in_those_who_could_not(mode: Mode, before: bool) -> None:
    village = anna(mode=mode, before=before)
    village.heal()
    village.wait(minutes=15)
    assert together(village, *EVERYBODY)
    assert len(members(village, "carol")) == 3  # she is in it once
    assert from_outside(village) == 1
    assert strand(village, "carol").final == strand(village, "carol").head
    assert fates(village, "bob")[intent("x")].stands
    if before:  # its app has heard that it was out
        assert village.own("laptop") in village.told("laptop", events.MembersChanged)[-1].came
    for name in EVERYBODY:
        say(village, name, f"tea, says {name}")
    village.wait(minutes=1)
    for name in EVERYBODY:
        assert sorted(heard(village, name)) == sorted(f"tea, says {each}" for each in EVERYBODY)


def test_of_several_who_are_in_it_one_brings_in_the_others() -> None:
    village = taken_up_by(friends("laptop", "bob", "carol"), "phone", "tablet")
    village.heal()
    village.wait(minutes=15)
    assert together(village, *EVERYBODY)
    assert from_outside(village) == 1
    assert not any(duty is Duty.HOME and each.endswith(TEA) for duty, each in village.state("tablet").duties)


def test_if_nobody_has_acted_whoever_invited_us_brings_the_account_in_anew() -> None:
    village = anna(acts=False)
    village.down("phone")
    village.heal()
    village.wait(hours=2)  # until one comes that is not withdrawn
    assert together(village, "laptop", "tablet", "bob", "carol")
    village.restart("phone")
    village.deliver()
    village.wait(minutes=15)
    assert together(village, *EVERYBODY)
    assert len(members(village, "carol")) == 3
    assert from_outside(village) == 0


def test_a_member_who_acts_is_not_added_twice_though_nobody_can_bring_in_the_others() -> None:
    village = anna(Policy(come_back=Who.NOBODY))
    village.heal()
    village.wait(minutes=15)
    assert len(members(village, "carol")) == 3
    assert together(village, "phone", "bob", "carol")
    assert TEA not in village.state("laptop").strands
    assert ("bring-forbidden", "") in village.devices["phone"].refused
    assert (Duty.HOME, devices.BRING + TEA) not in village.state("phone").duties


def test_what_brings_them_in_may_lose() -> None:
    """Then they know of it all the same, and come back to where the conversation stands."""
    village = anna()
    village.part(["laptop", "phone", "tablet"], ["bob", "carol"])
    village.wait(minutes=15)
    assert from_outside(village) == 1
    assert together(village, "laptop", "phone", "tablet")
    for number in range(3):
        refresh(village, "carol" if number % 2 else "bob")
    village.heal()
    village.wait(minutes=40)
    assert together(village, *EVERYBODY)
    assert len(members(village, "carol")) == 3
    assert strand(village, "carol").final == strand(village, "carol").head


# ---------------------------------------------------------------- each step


def told(village: Village, name: str, kind: type[Inside | Lacking]) -> list[Inside | Lacking]:
    """What a device has told the others, as far as that is kept."""
    said = [each.data for _, each in village.state(name).household.said.items() if each.data[0] >= siblings.MARK]
    return [found for found in map(siblings.unpack, said) if isinstance(found, kind)]


def family() -> Village:
    """An account of three devices, which are in one conversation and declined another one."""
    village = friends("laptop")
    for name in ("phone", "tablet"):
        link(village, "laptop", name)
    village.do("laptop", inputs.Open(conversation=TEA))
    village.do("laptop", inputs.Open(conversation=CAKE))
    village.wait(minutes=1)
    for name in ("laptop", "phone", "tablet"):
        step(village, name, lambda turn: turn.put_talk(replace(turn.talk(CAKE), acceptance=Acceptance.NO)))
    return village


def from_phone(village: Village) -> siblings.Told:
    strand = home(village, "laptop")
    return siblings.Told(device=village.state("phone").me.device, epoch=strand.head, newest=b"")


def due(state: State, subject: bytes) -> int | None:
    return state.duties.find((Duty.HOME, subject))


def test_devices_say_where_they_are_as_the_user_wants_it_and_once() -> None:
    village = family()
    for name in ("phone", "tablet"):
        step(village, name, bringing.compare)
    village.wait(minutes=5)
    assert told(village, "phone", Inside) == [Inside(group_ids=(TEA,))]
    assert told(village, "tablet", Inside) == []


def test_who_cannot_speak_says_so_later() -> None:
    village = family()
    step(village, "phone", lambda turn: devices.keep(turn, listening=True))
    step(village, "phone", bringing.say)
    assert told(village, "phone", Inside) == []
    assert due(village.state("phone"), devices.INSIDE) == village.now + 2 * MINUTE


def test_who_has_come_in_meanwhile_does_not_ask() -> None:
    village = family()
    record = Inside(group_ids=(TEA, GroupId(b"soup"), GroupId(b"stew")))
    step(village, "laptop", lambda turn: bringing.on_inside(turn, from_phone(village), record))
    found = village.state("laptop")
    assert due(found, devices.LACKING + TEA) is None
    assert due(found, devices.LACKING + b"soup") == due(found, devices.LACKING + b"stew") == village.now + 2 * MINUTE
    village.do("laptop", inputs.Open(conversation=GroupId(b"soup")))
    village.wait(minutes=3)
    assert told(village, "laptop", Lacking) == [Lacking(group_id=GroupId(b"stew"))]
    assert all(due(village.state(each), devices.BRING + b"stew") is None for each in ("phone", "tablet"))


def test_who_may_not_be_out_for_good_waits_with_asking() -> None:
    village = family()
    step(village, "laptop", lambda turn: turn.put(replace(turn.strand(TEA), membership=Membership.OUT)))
    step(village, "laptop", lambda turn: bringing.lack(turn, TEA))
    assert told(village, "laptop", Lacking) == []
    assert due(village.state("laptop"), devices.LACKING + TEA) == village.now + 60 * MINUTE


def test_to_where_we_were_before_we_were_removed_for_good_nobody_leads_us_back() -> None:
    """Another device of ours that has not heard of it yet may have come back there."""
    village = friends("laptop", "bob", "carol")
    link(village, "laptop", "phone")
    open_talk(village, "carol", "bob", "laptop")
    village.wait(minutes=2)
    old = strand(village, "laptop")
    assert old.here is not None
    me = voting.own(village.state("laptop"), old)
    assert me is not None
    village.do("carol", inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("laptop")))
    village.wait(minutes=15)
    now = strand(village, "laptop")
    assert now.over
    there = Step(epoch=EpochId(b"y" * 32), parent=old.head, author=me)
    record = CameBack(group_id=TEA, lineage=summaries.lineage(old), signed=SignedStep(step=there, signature=b""))
    with pytest.raises(Refused, match="invite-lost"):
        step(village, "laptop", lambda turn: comeback.on_came_back(turn, from_phone(village), record))
    came = JoinedExternally(group_info=comeback.way_to(old, old.here).group_info, tree=None, commit=b"")
    step(village, "laptop", lambda turn: bringing.along(turn, from_phone(village), came))
    assert strand(village, "laptop") == now


def test_if_one_asks_the_others_need_not() -> None:
    village = family()
    record = Lacking(group_id=GroupId(b"soup"))

    def hear(turn: Turn) -> None:
        bringing.on_inside(turn, from_phone(village), Inside(group_ids=(record.group_id,)))
        bringing.on_lacking(turn, from_phone(village), record)

    step(village, "laptop", hear)
    assert due(village.state("laptop"), devices.LACKING + b"soup") is None


@pytest.mark.parametrize("why", ["offline", "declined", "gone"])
def test_nobody_is_brought_in_where_that_cannot_be(why: str) -> None:
    village = anna()

    def ask(turn: Turn) -> None:
        if why == "offline":
            turn.change(clock=replace(turn.state.clock, online=False))
        elif why == "declined":
            turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.NO))
        else:
            turn.change(strands=turn.state.strands.discard(TEA))
        bringing.bring(turn, TEA)

    step(village, "phone", ask)
    assert from_outside(village) == 0
    later = due(village.state("phone"), devices.BRING + TEA)
    assert later == (village.now + 2 * MINUTE if why == "offline" else None)


def test_beside_ones_own_removal_nobody_is_brought_in(monkeypatch: pytest.MonkeyPatch) -> None:
    village = anna()
    monkeypatch.setattr("vcd.core.comeback.futile", lambda *_: True)
    step(village, "phone", lambda turn: bringing.bring(turn, TEA))
    assert from_outside(village) == 0
    assert due(village.state("phone"), devices.BRING + TEA) == village.now + 60 * MINUTE
    monkeypatch.undo()
    step(village, "phone", lambda turn: bringing.bring(turn, TEA))
    assert from_outside(village) == 1
    assert voting.own(village.state("phone"), strand(village, "phone")) is not None
    assert village.own("phone") in accounts(village, "phone")


# ---------------------------------------------------------------- thieves


def test_a_thief_who_names_conversations_without_number_has_the_others_ask_for_few_at_a_time() -> None:
    """And what others of them have still to hear is not pushed out by that."""
    village = family()
    village.part(["laptop", "phone"])
    village.do("laptop", inputs.Label(what=TEA, text="five o'clock"))
    for batch in range(6):
        record = Inside(group_ids=tuple(GroupId(b"%d of %d" % (each, batch)) for each in range(1000)))
        act(village, "phone", partial(devices.tell, record=record))
    due_ = [subject for _, subject in village.state("laptop").duties if subject.startswith(devices.LACKING)]
    assert len(due_) == village.state("laptop").config.max_conversations
    asked = dict.fromkeys(("laptop", "phone"), 0)
    for _ in range(40):
        before = {name: len(told(village, name, Lacking)) for name in asked}
        village.wait(minutes=2)
        for name in asked:
            assert len(told(village, name, Lacking)) - before[name] <= bringing.AT_ONCE
    village.heal()
    village.wait(minutes=1)
    assert labels.text(village.state("tablet"), TEA) == "five o'clock"


def test_a_thief_who_lacks_a_conversation_all_the_time_is_brought_in_once_in_a_while() -> None:
    """Each time is a commit, which all members follow."""
    village = friends("laptop", "bob")
    link(village, "laptop", "phone")
    open_talk(village, "bob", "laptop")
    village.wait(minutes=2)
    for _ in range(120):
        act(village, "phone", partial(devices.tell, record=Lacking(group_id=TEA)))
        village.wait(seconds=10)
    assert 1 <= from_outside(village) <= 3
    assert together(village, "laptop", "phone", "bob")
    assert len(members(village, "bob")) == 2


def test_who_was_removed_is_not_brought_in_and_brings_nobody_in() -> None:
    """The phone is removed while it is cut off, and says all that it can in the epochs that it had."""
    village = friends("laptop", "bob")
    for name in ("phone", "tablet"):
        link(village, "laptop", name)
    open_talk(village, "bob", "laptop")
    village.wait(minutes=2)
    village.part(["phone"])
    gone = village.state("phone").me.device
    for record in (Lacking(group_id=TEA), Inside(group_ids=(TEA, CAKE)), siblings.Replied(key=b"key")):
        step(village, "phone", partial(devices.tell, record=record))
    village.do("laptop", inputs.RemoveDevice(intent=intent("phone goes"), device=gone))
    village.wait(minutes=10)
    village.heal()
    village.wait(minutes=30)
    assert from_outside(village) == 0
    for name in ("laptop", "tablet"):
        assert gone not in devices_of(village, name)
        assert told(village, name, Lacking) == told(village, name, Inside) == []
    assert together(village, "laptop", "tablet", "bob")
    say(village, "bob", "without it")
    village.wait(minutes=1)
    assert "without it" in heard(village, "tablet")
    assert "without it" not in heard(village, "phone")


def test_a_thief_who_says_that_we_came_back_far_ahead_keeps_nobody_out_for_good() -> None:
    """Where we are said to stand is taken on trust, and no invitation leads there."""
    village = friends("laptop", "bob", "carol")
    link(village, "laptop", "phone")
    open_talk(village, "carol", "bob", "laptop")
    village.wait(minutes=2)
    old = strand(village, "laptop")
    me = voting.own(village.state("laptop"), old)
    assert me is not None
    village.do("carol", inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("laptop")))
    village.wait(minutes=15)
    lineage = summaries.lineage(old)
    ahead = replace(lineage.anchor, epoch=EpochId(b"z" * 32), number=1 << 40)
    there = SignedStep(step=Step(epoch=EpochId(b"y" * 32), parent=ahead.epoch, author=me), signature=b"")
    record = CameBack(group_id=TEA, lineage=replace(lineage, anchor=ahead, steps=(), ballots=()), signed=there)
    act(village, "phone", partial(devices.tell, record=record))
    assert strand(village, "laptop").membership is Membership.LOST
    village.do("laptop", inputs.RemoveDevice(intent=intent("phone goes"), device=village.state("phone").me.device))
    village.wait(hours=1)
    invite(village, "carol", "laptop", name="again")
    village.wait(minutes=10)
    assert together(village, "laptop", "bob", "carol")
    say(village, "laptop", "here again")
    village.wait(minutes=1)
    assert heard(village, "bob") == ["here again"]


def test_for_a_key_each_device_is_asked_in_turn_and_not_at_each_word_that_is_heard() -> None:
    village = Village()
    laptop, phone, tablet = (device(village, name) for name in trio(village))
    key = b"k" * 32

    def ask(turn: Turn) -> list[DeviceId]:
        for _ in range(3):
            comeback.ask_siblings(turn, key, tablet)
        return [record.device for _, record in list_keys.asked_for(turn, key)]

    assert step(village, "phone", ask) == [tablet]
    assert step(village, "phone", lambda turn: list(list_keys.asked_for(turn, b"another key" * 3))) == []
    village.now += village.config.desync_after
    assert step(village, "phone", ask) == [tablet, laptop]
    village.now += village.config.desync_after
    assert step(village, "phone", ask) == [laptop, tablet]
    assert phone not in {laptop, tablet}
