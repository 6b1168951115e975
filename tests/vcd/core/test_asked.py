"""Invitations that wait for the user's answer while we come into that conversation in another way."""

from __future__ import annotations

import pytest

from tests.vcd.core.people import TEA, befriend, card, friends, intent, invite, open_talk, strand, together
from tests.vcd.core.village import Village
from vcd.core import events, inputs

ASKED = "mallory"
"""Ben does not know her, so he is asked when she invites him."""


def company() -> Village:
    village = friends("ben", "cleo")
    village.account(ASKED)
    village.do(ASKED, inputs.AddContact(card=card(village, "ben"), petname="ben"))
    befriend(village, ASKED, "cleo")
    return village


def invited_twice(*order: str) -> Village:
    """A conversation of mallory and cleo splits, and each of them brings ben in. He hears them in this order."""
    village = company()
    open_talk(village, ASKED, "cleo")
    village.part([ASKED], ["cleo"], ["ben"])
    for name in (ASKED, "cleo"):
        invite(village, name, "ben")
    for name in order:
        village.lost = lambda frame, whom, heard=name: whom == "ben" and frame.by != heard  # type: ignore[misc]
        village.heal()
    village.lost = lambda _frame, _name: False
    village.deliver()
    return village


def test_who_is_asked_and_brought_in_by_a_contact_meanwhile_is_asked_no_more() -> None:
    village = invited_twice(ASKED, "cleo")
    assert [(each.by, each.asks) for each in village.told("ben", events.Invited)] == [
        (village.own(ASKED), True),
        (village.own("cleo"), False),
    ]
    assert not village.state("ben").invitations
    village.wait(minutes=10)
    assert together(village, "ben", "cleo", ASKED)
    assert not village.told("ben", events.OutOfSync)


def test_in_which_order_invitations_come_makes_no_difference_to_the_branches_that_can_be_followed() -> None:
    one, other = invited_twice(ASKED, "cleo"), invited_twice("cleo", ASKED)
    first, second = strand(one, "ben"), strand(other, "ben")
    assert len(first.kept) == 2
    assert set(first.kept) == set(second.kept)
    assert set(first.graph.steps) == set(second.graph.steps)
    assert first.standing == second.standing


@pytest.mark.parametrize("accept", [True, False])
def test_who_answers_when_they_are_in_stays_where_they_are(accept: bool) -> None:
    village = invited_twice(ASKED, "cleo")
    village.wait(minutes=10)
    village.do("cleo", inputs.Say(conversation=TEA, nonce=b"c" * 16, data=b"tea at five?"))
    village.do("ben", inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    village.wait(minutes=2)
    before = strand(village, "ben")
    seen = village.state("ben").talks[TEA].seen
    assert before.final == before.head
    village.do("ben", inputs.Answer(conversation=TEA, accept=accept))
    village.wait(minutes=2)
    assert strand(village, "ben").standing == before.standing
    assert village.state("ben").talks[TEA].seen == seen
    assert village.said("ben") == [b"tea at five?"]
    assert together(village, "ben", "cleo", ASKED)


@pytest.mark.parametrize("accept", [True, False])
@pytest.mark.parametrize(
    ("host", "guest", "rule"), [("ben", "cleo", "invite-lost"), ("cleo", "ben", "invite-elsewhere")]
)
def test_an_invitation_that_waits_leads_nobody_out_of_another_conversation_of_that_name(
    host: str, guest: str, rule: str, accept: bool
) -> None:
    """Ben opens that one himself, or a contact brings him in, before he answers."""
    village = company()
    village.do(ASKED, inputs.Open(conversation=TEA))
    invite(village, ASKED, "ben")
    assert TEA in village.state("ben").invitations
    village.do(host, inputs.Open(conversation=TEA))
    invite(village, host, guest)
    village.wait(minutes=1)
    before = strand(village, "ben")
    village.do("ben", inputs.Answer(conversation=TEA, accept=accept))
    assert not village.state("ben").invitations
    assert strand(village, "ben").standing == before.standing
    assert rule in [each for each, _ in village.devices["ben"].refused]
    village.wait(minutes=5)
    assert together(village, "ben", "cleo")
