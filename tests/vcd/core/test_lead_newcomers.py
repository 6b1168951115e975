"""Newcomers to a group with a lead that are told a while later who was there before.

Another device of the account has brought them in, and the words in which it says so come one after the other.
"""

from __future__ import annotations

from mls.virtual import client
from tests.vcd.core.company import act, add, package
from tests.vcd.core.led import TEA, commit, leads, member, strand, village
from tests.vcd.core.people import together
from tests.vcd.core.village import Village
from vcd.core import conversations, kinds, summaries
from vcd.core.payloads import Lineage
from vcd.core.policy import HOUR, Mode, Policy
from vcd.core.turn import Turn


def untold(v: Village, name: str) -> Lineage:
    """Anna brings somebody in, who does not know yet who was there before; gives what tells that."""
    v.account(name)
    welcome = add(v, "anna", TEA, package(v, name))

    def enter(turn: Turn) -> None:
        joined = client.join(turn.emulation, turn.env, kinds.parameters_of(Mode.LEAD), welcome)
        turn.change(emulation=joined.emulation)
        conversations.enter(turn, joined.group)

    told = summaries.lineage(strand(v, "anna"))
    act(v, name, enter)
    assert summaries.provisional(strand(v, name))
    return told


def tell(v: Village, name: str, told: Lineage) -> None:
    act(v, name, lambda turn: summaries.take(turn, TEA, told))


def test_a_newcomer_that_is_told_later_who_was_there_follows_whoever_leads() -> None:
    """Until then all who are there have names of its own making, the lead too."""
    v = village("anna", "ben")
    told = untold(v, "cleo")
    tell(v, "cleo", told)
    assert leads(v, "cleo") == member(v, "anna")
    commit(v, "ben")
    assert together(v, "anna", "ben", "cleo")


def test_what_is_decided_before_a_newcomer_knows_who_was_there_waits() -> None:
    v = village("anna", "ben")
    told = untold(v, "cleo")
    commit(v, "ben")
    commit(v, "ben")
    assert strand(v, "cleo").head != strand(v, "ben").head
    tell(v, "cleo", told)
    assert together(v, "anna", "ben", "cleo")
    assert not v.state("cleo").waiting.items


def test_whom_members_vote_for_before_a_newcomer_knows_who_they_are_leads_for_it_too() -> None:
    v = village("anna", "ben", "dora", "eve", policy=Policy(mode=Mode.LEAD, succeed_after=HOUR))
    told = untold(v, "cleo")
    v.down("anna")
    commit(v, "ben")
    v.wait(hours=2)
    assert leads(v, "ben") == member(v, "ben")
    tell(v, "cleo", told)
    assert together(v, "ben", "dora", "eve", "cleo")


def test_a_newcomer_that_is_told_later_what_is_final_takes_no_more_for_final() -> None:
    v = village("anna", "ben", "dora")
    told = untold(v, "cleo")
    assert told.anchor.epoch == strand(v, "anna").final != strand(v, "anna").head
    tell(v, "cleo", told)
    assert strand(v, "cleo").final == told.anchor.epoch
    v.wait(minutes=2)
    assert strand(v, "cleo").final == strand(v, "anna").final == strand(v, "anna").head


def test_votes_that_come_before_a_newcomer_knows_who_was_there_count_later() -> None:
    v = village("anna", "ben", "dora")
    told = untold(v, "cleo")
    v.wait(minutes=2)
    tell(v, "cleo", told)
    assert strand(v, "cleo").final == strand(v, "anna").final == strand(v, "anna").head
    assert not v.state("cleo").waiting.items
