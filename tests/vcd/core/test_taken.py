"""Groups of different kinds that have one id: none takes the place of another one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from mls.registries import GroupId, KeyPackageRef
from tests.vcd.core.branches import release
from tests.vcd.core.company import step
from tests.vcd.core.homes import link
from tests.vcd.core.people import TEA, accounts, card, friends, intent, invite, open_talk, together
from tests.vcd.core.talking import heard, say
from tests.vcd.core.test_invitations import stranger
from tests.vcd.core.village import Village
from vcd.core import devices, events, inputs, invitations
from vcd.core.errors import Misuse
from vcd.core.payloads import Invite, unpack
from vcd.core.policy import Mode
from vcd.core.siblings import SendsTold, Told, WelcomeAnswered
from vcd.core.topics import TopicSecret
from vcd.core.turn import Turn

APP = GroupId(b"app")


def rules(village: Village, name: str) -> list[str]:
    return [rule for rule, _ in village.devices[name].refused]


def details(village: Village, name: str) -> list[str]:
    return [detail for _, detail in village.devices[name].refused]


def in_sends(village: Village, name: str) -> bool:
    """Whether it is in a conversation of send groups, and in nothing else of that id."""
    state = village.state(name)
    talk = state.talks[TEA]
    assert (talk.mode is Mode.DIMLS) == (talk.sends is not None)
    return talk.mode is Mode.DIMLS and TEA in state.sessions and TEA not in state.strands


@pytest.mark.parametrize("known", [True, False])
def test_no_invitation_takes_the_place_of_a_conversation_of_send_groups(known: bool) -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", mode=Mode.DIMLS)
    stranger(village, "cleo")
    if known:
        village.do("ben", inputs.AddContact(card=card(village, "cleo"), petname="cleo"))
    before = village.state("ben")
    told = len(village.told("ben", events.Invited))
    village.do("cleo", inputs.Open(conversation=TEA))
    invite(village, "cleo", "ben")
    village.wait(minutes=2)
    assert "invite-taken" in rules(village, "ben")
    assert in_sends(village, "ben")
    assert village.state("ben").talks[TEA].sends == before.talks[TEA].sends
    assert TEA not in village.state("ben").invitations
    assert len(village.told("ben", events.Invited)) == told
    say(village, "anna", "still here")
    say(village, "ben", "me too")
    village.wait(minutes=1)
    assert heard(village, "ben") == heard(village, "anna") == ["still here", "me too"]


def test_what_another_device_accepted_does_not_either() -> None:
    """The phone was called into a conversation of send groups, of the id of another one that waits for an answer."""
    village = friends("anna", "ben")
    link(village, "ben", "phone")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    assert TEA in village.state("phone").invitations
    village.lost = lambda _frame, name: name == "ben"
    open_talk(village, "anna", mode=Mode.DIMLS)
    invite(village, "anna", "ben", name="a call")
    village.wait(seconds=30)
    assert in_sends(village, "phone")
    newest = village.state("phone").emulation.head.newest  # type: ignore[union-attr]
    told = Told(
        device=village.state("ben").me.device, epoch=village.state("phone").strands[home(village)].head, newest=newest
    )
    record = WelcomeAnswered(group_id=TEA, accept=True)
    step(village, "phone", lambda turn: invitations.on_answered(turn, told, record))
    assert "invite-taken" in rules(village, "phone")
    assert in_sends(village, "phone")


def home(village: Village) -> GroupId:
    found = village.state("phone").home
    assert found is not None
    return GroupId(found)


def test_a_device_that_came_later_is_invited_to_what_the_account_had_left() -> None:
    """It was told of that conversation, and has never been in it."""
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben")
    village.do("ben", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(hours=2)
    link(village, "ben", "phone")
    assert TEA in village.state("phone").talks
    assert TEA not in village.state("phone").strands
    invite(village, "anna", "ben", name="again")
    village.wait(minutes=5)
    assert together(village, "anna", "ben", "phone")


@pytest.mark.parametrize("ours", [True, False])
def test_what_another_device_opens_is_more_than_a_call_of_somebody_else(ours: bool) -> None:
    """The phone hears of a call first, of somebody who was told the id; or it had opened a conversation itself."""
    village = friends("anna", "ben")
    link(village, "ben", "phone")
    at_home = village.state("phone").topics[home(village)]
    village.lost = lambda frame, name: name == "phone" and frame.topic in at_home
    village.do("ben", inputs.Open(conversation=TEA))
    if ours:
        village.do("phone", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    else:
        open_talk(village, "anna", mode=Mode.DIMLS)
        invite(village, "anna", "ben")
    assert in_sends(village, "phone")
    release(village)
    village.wait(minutes=5)
    assert together(village, "ben")
    assert in_sends(village, "phone") == ours
    if not ours:
        assert together(village, "ben", "phone")
        assert TEA not in village.state("phone").sessions
        say(village, "phone", "tea")
        village.wait(minutes=2)
        assert heard(village, "ben") == ["tea"]


def test_nobody_calls_us_into_a_conversation_of_the_id_of_an_app_s_group() -> None:
    village = friends("anna", "ben")
    village.do("ben", inputs.RawCreate(group=TEA))
    open_talk(village, "anna", mode=Mode.DIMLS)
    invite(village, "anna", "ben")
    assert "call-taken" in details(village, "ben")
    assert TEA not in village.state("ben").talks
    with pytest.raises(Misuse, match="app's group"):
        village.do("ben", inputs.Open(conversation=TEA, mode=Mode.DIMLS))


# ---------------------------------------------------------------- somebody who was told the id, and was first


@pytest.mark.parametrize("answer", [None, True, False])
def test_no_call_that_waits_for_an_answer_keeps_us_out_of_where_a_contact_invites_us(answer: bool | None) -> None:
    """Mallory, whom Ben does not know, has heard the id of a conversation before Ben is brought into it."""
    village = friends("anna", "ben")
    stranger(village, "mallory")
    village.do("mallory", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(village, "mallory", "ben")
    assert village.told("ben", events.Invited)[-1].asks
    if answer is not None:
        village.do("ben", inputs.Answer(conversation=TEA, accept=answer))
    open_talk(village, "anna")
    invite(village, "anna", "ben")
    village.wait(minutes=2)
    if answer:  # a conversation that the user wants to be in stays, until it is over
        assert TEA not in village.state("ben").strands
        village.do("ben", inputs.Depart(intent=intent("bye"), conversation=TEA))
        village.wait(minutes=2)
    assert together(village, "anna", "ben")
    assert TEA not in village.state("ben").sessions
    say(village, "anna", "tea")
    village.wait(minutes=1)
    assert heard(village, "ben") == ["tea"]


def test_a_contact_who_calls_first_keeps_us_out_only_for_as_long_as_we_stay() -> None:
    village = friends("anna", "ben", "mallory")
    village.part(["anna"], ["mallory", "ben"])
    village.do("mallory", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(village, "mallory", "ben")
    village.wait(minutes=1)
    assert in_sends(village, "ben")
    village.part(["mallory"], ["anna", "ben"])
    open_talk(village, "anna")
    invite(village, "anna", "ben")
    village.wait(minutes=2)
    assert in_sends(village, "ben")
    village.do("ben", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(minutes=2)
    assert together(village, "anna", "ben")


@pytest.mark.parametrize("first", [True, False])
def test_of_two_strangers_who_invite_by_one_id_the_second_is_asked_of_when_the_first_is_declined(first: bool) -> None:
    village = friends("ben")
    for name in ("anna", "mallory"):
        stranger(village, name)
        village.do(name, inputs.Open(conversation=TEA))
    invite(village, "mallory", "ben")
    invite(village, "anna", "ben")
    assert [each.by for each in village.told("ben", events.Invited)] == [village.own("mallory")]
    village.do("ben", inputs.Answer(conversation=TEA, accept=first))
    village.wait(minutes=20)
    if first:
        assert together(village, "mallory", "ben")
        return
    assert [each.by for each in village.told("ben", events.Invited)] == [village.own("mallory"), village.own("anna")]
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=2)
    assert together(village, "anna", "ben")


@pytest.mark.parametrize("first", ["anna", "carla"])
def test_strangers_who_invite_into_one_conversation_apart_bring_us_to_where_it_stands(first: str) -> None:
    village = friends("anna", "carla")
    open_talk(village, "anna", "carla")
    village.account("ben")
    for name in ("anna", "carla"):
        village.do(name, inputs.AddContact(card=card(village, "ben"), petname="ben"))
    village.part(["anna"], ["carla"], ["ben"])
    for name in ("anna", "carla"):
        invite(village, name, "ben")
    second = {"anna": "carla", "carla": "anna"}[first]
    village.part([first, "ben"], [second])
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=2)
    assert [each.by for each in village.told("ben", events.Invited)] == [village.own(first)]
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=20)
    assert together(village, "anna", "carla", "ben")


def turn_of(village: Village, name: str) -> Turn:
    return Turn(village.state(name), village.now, village.devices[name].provider)


def rivals(*devices: str) -> Village:
    """Two strangers invite by one id. Ben's devices hear them in this order; the phone, if it is there, in another."""
    village = friends("ben")
    for name in devices:
        link(village, "ben", name)
    for name in ("anna", "mallory"):
        stranger(village, name)
        village.do(name, inputs.Open(conversation=TEA))
    late = {("anna", "ben"), ("mallory", "phone")}
    village.lost = lambda frame, name: (frame.by, name) in late
    invite(village, "mallory", "ben")
    invite(village, "anna", "ben")
    release(village)
    return village


def test_who_is_asked_of_in_vain_keeps_nobody_waiting() -> None:
    """The KeyPackage was withdrawn while the user thought about it."""
    village = rivals()
    device = village.devices["ben"]
    held = device.state.invitations[TEA]
    turn = turn_of(village, "ben")
    payload = unpack(held.payload)
    assert isinstance(payload, Invite)
    reference = invitations._open(turn, payload).reference
    device.state = replace(device.state, emulation=turn.emulation.without([KeyPackageRef(reference)]))
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    assert [each.code for each in village.told("ben", events.Warned)][-1:] == ["invitation-over"]
    assert [each.by for each in village.told("ben", events.Invited)] == [village.own("mallory"), village.own("anna")]


def test_who_is_blocked_keeps_nobody_waiting() -> None:
    village = rivals()
    village.do("ben", inputs.Block(account=village.own("mallory"), blocked=True))
    assert [each.by for each in village.told("ben", events.Invited)] == [village.own("mallory"), village.own("anna")]
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=2)
    assert together(village, "anna", "ben")


def test_an_invitation_that_gives_way_keeps_nobody_waiting() -> None:
    village = rivals()
    turn = turn_of(village, "ben")
    held = turn.state.invitations[TEA]
    for number in range(turn.state.config.max_invitations):
        other = GroupId(b"other %d" % number)
        invitations._put(turn, other, replace(held, group_id=other, since=held.since + 1))
    assert TEA not in turn.state.invitations
    assert len(turn.again) == 1


def test_all_devices_accept_the_invitation_that_the_user_was_asked_of() -> None:
    village = rivals("phone")
    asked = [village.told(name, events.Invited)[-1].by for name in ("ben", "phone")]
    assert asked == [village.own("mallory"), village.own("anna")]
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=5)
    assert together(village, "mallory", "ben", "phone")
    say(village, "mallory", "hello")
    village.wait(minutes=1)
    assert heard(village, "ben") == heard(village, "phone") == ["hello"]


# ---------------------------------------------------------------- back into what we left


def left(*contacts: str) -> Village:
    """Ben has left where Anna and Mallory are, whom he knows from there; these are contacts of his."""
    village = friends("anna", "ben", "mallory")
    open_talk(village, "anna", "ben", "mallory")
    village.do("ben", inputs.Depart(intent=intent("bye"), conversation=TEA))
    village.wait(hours=1)
    assert village.state("ben").strands[TEA].over
    for name in {"anna", "mallory"} - {*contacts}:
        village.do("ben", inputs.RemoveContact(account=village.own(name)))
    return village


def test_nobody_who_is_blocked_brings_us_back_into_what_we_left() -> None:
    village = left("anna", "mallory")
    village.do("ben", inputs.Block(account=village.own("mallory"), blocked=True))
    invite(village, "mallory", "ben", name="back")
    village.wait(minutes=5)
    assert "invite-blocked" in rules(village, "ben")
    assert village.state("ben").strands[TEA].over


@pytest.mark.parametrize("accept", [True, False])
def test_a_stranger_brings_us_back_into_what_we_left_only_if_we_want_that(accept: bool) -> None:
    village = left("anna")
    link(village, "ben", "phone")
    invite(village, "mallory", "ben", name="back")
    village.wait(minutes=1)
    for name in ("ben", "phone"):
        assert village.told(name, events.Invited)[-1].asks
    assert village.state("ben").strands[TEA].over
    village.do("ben", inputs.Answer(conversation=TEA, accept=accept))
    village.wait(minutes=10)
    assert TEA not in village.state("ben").invitations
    assert TEA not in village.state("phone").invitations
    if accept:
        assert together(village, "anna", "ben", "mallory", "phone")
    else:
        assert village.state("ben").strands[TEA].over
        assert village.own("ben") not in accounts(village, "anna")


def test_a_contact_brings_us_back_into_what_we_left() -> None:
    village = left("anna")
    invite(village, "anna", "ben", name="back")
    village.wait(minutes=5)
    assert together(village, "anna", "ben", "mallory")


def test_a_call_of_a_stranger_is_not_answered_in_the_place_of_the_invitation_that_we_were_asked_of() -> None:
    village = friends("ben")
    for name, mode in (("anna", Mode.DEMLS), ("mallory", Mode.DIMLS)):
        stranger(village, name)
        village.do(name, inputs.Open(conversation=TEA, mode=mode))
        invite(village, name, "ben")
    assert "invite-taken" in rules(village, "ben")
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=2)
    assert together(village, "anna", "ben")


@pytest.mark.parametrize("known", [True, False])
def test_nobody_leads_a_call_elsewhere_by_another_call_of_that_id(known: bool) -> None:
    """Mallory says that the topic is another one now, before Anna's devices let us in."""
    village = friends("anna", "ben")
    stranger(village, "mallory")
    if known:
        village.do("ben", inputs.AddContact(card=card(village, "mallory"), petname="mallory"))
    village.lost = lambda _frame, name: name == "anna"
    village.do("anna", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(village, "anna", "ben")
    before = village.state("ben").talks[TEA].sends
    assert before is not None
    assert before.by == village.own("anna")
    village.do("mallory", inputs.Open(conversation=TEA, mode=Mode.DIMLS))
    invite(village, "mallory", "ben")
    assert village.state("ben").talks[TEA].sends == before
    release(village)
    village.wait(minutes=2)
    say(village, "anna", "here")
    village.wait(minutes=1)
    assert heard(village, "ben") == ["here"]


def test_another_device_cannot_tell_of_calls_without_number() -> None:
    """It may be a thief's. Of each a device asks to be let in, and tells the others."""
    village = friends("ben", max_conversations=4)
    link(village, "ben", "phone")
    for number in range(10):
        record = SendsTold(
            group_id=GroupId(b"%d" % number), by=village.own("ben"), topic=TopicSecret(bytes(32)), number=0, accept=True
        )
        step(village, "phone", partial(devices.tell, record=record))
    village.deliver()
    assert len(village.state("ben").talks) == 4
