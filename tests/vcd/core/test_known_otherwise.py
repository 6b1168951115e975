"""Devices of one account that hear of people and of their invitations in different orders come in alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.vcd.core.branches import release
from tests.vcd.core.homes import link
from tests.vcd.core.people import TEA, card, friends, invite, open_talk, together
from tests.vcd.core.test_invitations import inboxes
from tests.vcd.core.test_known_later import MILK, MODES, inside, invited, stranger
from tests.vcd.core.village import Village
from vcd.core import inputs, siblings
from vcd.core.names import AccountId, TopicId
from vcd.core.policy import Mode

BOTH = ("ben", "phone")


def two(*, contact: bool = False) -> tuple[Village, AccountId]:
    """Ben has two devices. Anna has his card."""
    village = friends("ben")
    link(village, "ben", "phone")
    anna = stranger(village, "anna")
    if contact:
        village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
        village.wait(minutes=1)
    return village, anna


def calls(village: Village, mode: Mode) -> None:
    village.do("anna", inputs.Open(conversation=TEA, mode=mode))
    invite(village, "anna", "ben")
    village.wait(minutes=1)


def unheard(village: Village, topics: Sequence[TopicId] | set[TopicId]) -> None:
    village.lost = lambda frame, name: name == "phone" and frame.topic in topics


def home_of(village: Village) -> Sequence[TopicId]:
    state = village.state("phone")
    assert state.home is not None
    return state.topics[state.home]


def alike(village: Village, mode: Mode) -> bool:
    """Whether both are in, and nothing is left over."""
    states = [village.state(name) for name in BOTH]
    there = mode is Mode.DIMLS or together(village, "anna", *BOTH)
    return there and all(inside(village, name) for name in BOTH) and not any(each.waiting.items for each in states)


@pytest.mark.parametrize("mode", MODES)
def test_who_hears_of_an_unblocking_after_the_invitation_comes_in(mode: Mode) -> None:
    village, anna = two(contact=True)
    village.do("ben", inputs.Block(account=anna, blocked=True))
    village.wait(minutes=1)
    unheard(village, home_of(village))
    village.do("ben", inputs.Block(account=anna, blocked=False))
    calls(village, mode)
    release(village)
    village.wait(minutes=15)
    assert alike(village, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("blocked", [True, False])
def test_who_hears_first_that_somebody_is_no_contact_any_more_comes_in(mode: Mode, blocked: bool) -> None:
    """The phone was off. What they were invited to goes on."""
    village, anna = two(contact=True)
    unheard(village, inboxes(village, "phone"))
    calls(village, mode)
    village.do("ben", inputs.Block(account=anna, blocked=True) if blocked else inputs.RemoveContact(account=anna))
    release(village)
    village.wait(minutes=15)
    assert alike(village, mode)
    assert (TEA, True) not in invited(village, "phone")


def test_a_welcome_that_is_on_its_way_is_waited_for_before_anybody_is_brought_in() -> None:
    """Or the account comes in twice, and all members follow two commits more (seed 2179)."""
    village, _ = two(contact=True)
    unheard(village, inboxes(village, "phone"))
    calls(village, Mode.DEMLS)
    village.wait(minutes=7)
    release(village)
    village.wait(hours=1)
    assert alike(village, Mode.DEMLS)
    assert not any(
        each.data[:2] == bytes([siblings.MARK, siblings.CameBack.RECORD_TAG])
        for name in BOTH
        for each in village.state(name).household.said.values()
    )
    assert not any(step.moved for step in village.state("phone").strands[TEA].graph.steps.values())


@pytest.mark.parametrize("mode", MODES)
def test_who_hears_last_that_somebody_is_no_contact_any_more_takes_the_others_along(mode: Mode) -> None:
    village, anna = two(contact=True)
    unheard(village, home_of(village))
    village.do("ben", inputs.RemoveContact(account=anna))
    calls(village, mode)
    release(village)
    village.wait(minutes=15)
    assert alike(village, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("late", [False, True])
def test_a_device_that_asks_of_contacts_too_asks_no_more_when_another_one_is_in(mode: Mode, late: bool) -> None:
    village, _ = two(contact=not late)
    device = village.devices["ben"]
    device.state = replace(device.state, config=replace(device.state.config, accept_contacts=False))
    calls(village, mode)
    if late:
        village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.wait(minutes=15)
    assert alike(village, mode)


@pytest.mark.parametrize("mode", MODES)
def test_who_let_go_of_an_invitation_is_brought_to_where_the_user_accepts_it(mode: Mode) -> None:
    """They were blocked by mistake, which the phone hears before the invitation."""
    village, anna = two()
    unheard(village, inboxes(village, "phone"))
    calls(village, mode)
    for blocked in (True, False):
        village.do("ben", inputs.Block(account=anna, blocked=blocked))
    release(village)
    village.do("phone", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=15)
    assert alike(village, mode)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("unblocked", [True, False])
def test_who_is_accepted_on_one_device_and_blocked_on_another_one_at_once(mode: Mode, unblocked: bool) -> None:
    village, anna = two()
    calls(village, mode)
    village.part(["ben"], ["phone"], ["anna"])
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.do("phone", inputs.Block(account=anna, blocked=True))
    if unblocked:
        village.do("phone", inputs.Block(account=anna, blocked=False))
    village.heal()
    village.wait(minutes=15)
    assert alike(village, mode)


def test_who_is_declined_on_one_device_and_added_on_another_one_at_once() -> None:
    """A call: nobody was told that it was declined."""
    village, _ = two()
    calls(village, Mode.DIMLS)
    village.part(["ben"], ["phone"], ["anna"])
    village.do("ben", inputs.Answer(conversation=TEA, accept=False))
    village.do("phone", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.heal()
    village.wait(minutes=15)
    assert alike(village, Mode.DIMLS)


@pytest.mark.parametrize("mode", MODES)
def test_to_block_somebody_lets_what_they_ask_go(mode: Mode) -> None:
    village, anna = two()
    calls(village, mode)
    assert invited(village, "ben") == invited(village, "phone") == [(TEA, True)]
    village.do("ben", inputs.Block(account=anna, blocked=True))
    village.wait(minutes=1)
    for name in BOTH:
        assert TEA not in village.state(name).talks
        assert TEA not in village.state(name).invitations


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("on", BOTH)
@pytest.mark.parametrize("added", [True, False])
def test_a_device_that_is_linked_while_the_user_is_asked_comes_in_too(mode: Mode, on: str, added: bool) -> None:
    village = friends("ben")
    stranger(village, "anna")
    calls(village, mode)
    link(village, "ben", "phone")
    answer = inputs.Answer(conversation=TEA, accept=True)
    village.do(on, inputs.AddContact(card=card(village, "anna"), petname="Anna") if added else answer)
    village.wait(minutes=15)
    assert alike(village, mode)
    if mode is Mode.DIMLS:
        assert TEA in village.state("phone").sessions


@pytest.mark.parametrize("added", ["anna", "carla"])
@pytest.mark.parametrize("on", BOTH)
def test_whichever_of_two_who_invite_becomes_a_contact_all_devices_come_in(added: str, on: str) -> None:
    """Strangers bring us into one conversation apart. Each of our devices asks of the one that it heard first."""
    village = friends("anna", "carla", "other")
    open_talk(village, "anna", "carla")
    village.account("ben")
    link(village, "ben", "phone")
    for name in ("anna", "carla"):
        village.do(name, inputs.AddContact(card=card(village, "ben"), petname="ben"))
    village.wait(minutes=5)
    village.part(["anna"], ["carla"], [*BOTH])
    for name in ("anna", "carla"):
        invite(village, name, "ben")
    late = {("anna", "phone"), ("carla", "ben")}
    box = inboxes(village, "ben")
    village.lost = lambda frame, name: (frame.by, name) in late and frame.topic in box
    village.heal()
    release(village)
    village.wait(minutes=2)
    village.do(on, inputs.AddContact(card=card(village, added), petname=added))
    village.wait(hours=1)
    assert alike(village, Mode.DEMLS)
    assert together(village, "anna", "carla", *BOTH)


def test_of_what_there_is_no_room_for_nobody_hears_that_we_came_in() -> None:
    village = friends("ben", max_conversations=1)
    stranger(village, "anna")
    village.do("ben", inputs.Open(conversation=MILK))
    calls(village, Mode.DEMLS)
    village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.wait(minutes=1)
    assert invited(village, "ben") == [(TEA, True)]
    assert not inside(village, "ben")


def test_an_answer_that_was_heard_when_we_had_left_takes_all_devices_along_when_we_are_invited_again() -> None:
    """The user declined on the phone, and accepted elsewhere, where that was not heard."""
    village, _ = two()
    calls(village, Mode.DEMLS)
    village.part(["ben"], ["phone", "anna"])
    village.do("phone", inputs.Answer(conversation=TEA, accept=False))
    village.wait(minutes=5)
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.heal()
    village.wait(hours=1)
    invite(village, "anna", "ben", name="again")
    village.wait(hours=1)
    assert alike(village, Mode.DEMLS)
