"""Who is made a contact after they invited us: by the user here, or on another device, whose word comes late."""

from __future__ import annotations

import pytest

from mls.registries import GroupId
from tests.vcd.core.homes import link
from tests.vcd.core.people import TEA, accounts, card, friends, intent, invite, together
from tests.vcd.core.village import Village
from vcd.core import events, inputs, invitations
from vcd.core.names import AccountId
from vcd.core.policy import Mode
from vcd.core.state import Acceptance
from vcd.core.turn import Turn

MILK = GroupId(b"milk")
MODES = (Mode.DEMLS, Mode.DIMLS)


def stranger(village: Village, name: str, to: str = "ben") -> AccountId:
    """Somebody who has a card of ours, and whom we do not know."""
    village.account(name)
    village.do(name, inputs.AddContact(card=card(village, to), petname=to))
    return village.own(name)


def invited(village: Village, name: str) -> list[tuple[GroupId, bool]]:
    return [(each.conversation, each.asks) for each in village.told(name, events.Invited)]


def inside(village: Village, name: str, group: GroupId = TEA) -> bool:
    """Whether a device is in it, and the user is asked of nothing."""
    state = village.state(name)
    talk = state.talks.find(group)
    there = group in state.strands or group in state.sessions
    return there and talk is not None and talk.acceptance is Acceptance.YES and group not in state.invitations


@pytest.mark.parametrize("mode", MODES)
def test_who_becomes_a_contact_waits_for_no_answer(mode: Mode) -> None:
    village = friends("ben")
    for name, group in (("anna", TEA), ("mallory", MILK)):
        stranger(village, name)
        village.do(name, inputs.Open(conversation=group, mode=mode))
        invite(village, name, "ben", group)
    assert invited(village, "ben") == [(TEA, True), (MILK, True)]
    village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.wait(minutes=1)
    assert invited(village, "ben") == [(TEA, True), (MILK, True), (TEA, False)]
    assert inside(village, "ben")
    assert not inside(village, "ben", MILK)  # that one is a stranger as before
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))  # the user was quick, and it is no mistake
    village.do("ben", inputs.Answer(conversation=MILK, accept=False))


@pytest.mark.parametrize("mode", MODES)
def test_a_device_that_hears_of_the_contact_after_the_invitation_comes_in_as_the_others_do(mode: Mode) -> None:
    village = friends("ben")
    link(village, "ben", "phone")
    anna = stranger(village, "anna")
    own = {topic for topic, each in village.state("phone").joined.items() if not each.inbox}
    village.lost = lambda frame, name: name == "phone" and frame.topic in own
    village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.do("anna", inputs.Open(conversation=TEA, mode=mode))
    invite(village, "anna", "ben")
    assert invited(village, "ben") == [(TEA, False)]
    assert invited(village, "phone") == [(TEA, True)]
    village.lost = lambda frame, name: False
    village.deliver()
    village.wait(minutes=2)
    assert invited(village, "phone") == [(TEA, True), (TEA, False)]
    assert inside(village, "ben")
    assert inside(village, "phone")
    if mode is Mode.DEMLS:
        assert together(village, "anna", "ben", "phone")
        assert accounts(village, "phone") == {anna, village.own("ben")}


@pytest.mark.parametrize("mode", MODES)
def test_a_device_that_asks_of_contacts_too_goes_on_asking(mode: Mode) -> None:
    village = friends("ben", accept_contacts=False)
    stranger(village, "anna")
    village.do("anna", inputs.Open(conversation=TEA, mode=mode))
    invite(village, "anna", "ben")
    village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.wait(minutes=1)
    assert invited(village, "ben") == [(TEA, True)]
    assert not inside(village, "ben")
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    village.wait(minutes=1)
    assert inside(village, "ben")


def test_who_may_be_somebody_shut_out_is_asked_of_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told twice of one question, and it can be answered still."""
    village = friends("ben")
    stranger(village, "anna")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    asked = village.state("ben").invitations[TEA]

    def shut_out(turn: Turn, found: invitations._Opened) -> bool:
        return True

    monkeypatch.setattr(invitations, "_shut_out", shut_out)
    village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.wait(minutes=1)
    assert invited(village, "ben") == [(TEA, True)]
    assert village.state("ben").invitations[TEA] == asked
    assert not village.state("ben").waiting.items
    village.do("ben", inputs.Answer(conversation=TEA, accept=True))
    assert inside(village, "ben")


def test_two_invitations_into_one_conversation_are_both_over_when_their_author_is_known() -> None:
    village = friends("ben")
    stranger(village, "anna")
    village.do("anna", inputs.Open(conversation=TEA))
    invite(village, "anna", "ben")
    village.do("anna", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    village.do("ben", inputs.AddContact(card=card(village, "anna"), petname="Anna"))
    village.wait(minutes=5)
    assert together(village, "anna", "ben")
    assert not village.state("ben").waiting.items
    assert not village.state("ben").invitations
