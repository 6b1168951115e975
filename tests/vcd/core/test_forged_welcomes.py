"""Welcomes into commits that the policy forbids: who can look at the commit does, and nobody votes for it unseen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mls.proposals import Add, Proposal, Remove
from mls.registries import LeafIndex
from tests.vcd.core.branches import TEA, member, payload_of, remove, tea
from tests.vcd.core.company import act, package
from tests.vcd.core.people import friends, invite, open_talk
from tests.vcd.core.village import Village
from vcd.core import acting, events, introductions, kinds
from vcd.core.names import EpochId
from vcd.core.payloads import Commit
from vcd.core.policy import Mode, Policy, Who, of_group, usual
from vcd.core.strand import Membership
from vcd.core.topics import TopicSecret

if TYPE_CHECKING:
    from vcd.core.turn import Turn

STRICT = replace(usual(Mode.DEMLS), remove=Who.ADMINS, add=Who.ADMINS, change=Who.ADMINS)


def strict(*people: str, policy: Policy = STRICT) -> Village:
    village = friends(*people)
    open_talk(village, *people, policy=policy)
    village.wait(minutes=30)
    return village


def forbidden(
    village: Village, by: str, gone: Sequence[str], back: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> EpochId:
    """A member's commit that no policy allows it: it takes out some, and brings in some, as the new admin."""
    fresh = {name: package(village, name) for name in back}
    cards = {name: village.state(by).book.known(village.own(name)).card for name in back}

    def bring(turn: Turn) -> None:
        at = turn.strand(TEA)
        assert at.here is not None
        change = kinds.policy_change(at.here.group, replace(of_group(at.here.group), admins=(village.own(by),)))
        out: list[Proposal] = [Remove(LeafIndex(member(village, by, name).leaf)) for name in gone]
        proposals = [*out, *[Add(fresh[name]) for name in back], change]
        said, made = acting.commit(turn, at, proposals=proposals, force_path=True)
        for name in back:
            card = cards[name]
            assert card is not None
            introductions.send(turn, at, said, made.commit, card, "", TopicSecret(b"r" * 32))

    with monkeypatch.context() as patched:
        patched.setattr(acting, "check", lambda *_: None)
        act(village, by, bring)
    return tea(village, by).head


@pytest.mark.parametrize("people", [("anna", "ben"), ("anna", "ben", "cleo", "dora")])
def test_nobody_comes_in_by_a_commit_that_is_forbidden(
    people: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    village = strict(*people, "mallory")
    before = tea(village, "anna")
    made = forbidden(village, "mallory", people, people[1:], monkeypatch)
    village.wait(minutes=10)
    for name in people:
        found = tea(village, name)
        assert (found.head, found.final, found.membership) == (before.head, before.final, Membership.IN)
        assert made not in found.kept
        assert not village.told(name, events.Gone)
        if name != "anna":
            assert "invite-elsewhere" in {rule for rule, _ in village.devices[name].refused}


def test_nobody_comes_in_by_what_stands_on_a_commit_that_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    village = strict("anna", "ben", "cleo", "mallory")
    before = tea(village, "anna")
    first = forbidden(village, "mallory", ("anna", "ben"), (), monkeypatch)
    second = forbidden(village, "mallory", (), ("ben",), monkeypatch)
    village.wait(minutes=10)
    for name in ("anna", "ben", "cleo"):
        found = tea(village, name)
        assert (found.head, found.final, found.membership) == (before.head, before.final, Membership.IN)
        assert first not in found.past, name
        assert second not in found.kept, name


def test_who_comes_in_by_a_commit_unseen_does_not_vote_for_it_as_who_they_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ben had kept nothing that he could have looked at the commit with."""
    village = strict("anna", "ben", "cleo", "mallory")
    before, old = tea(village, "anna"), member(village, "anna", "ben").incarnation
    monkeypatch.setattr(introductions, "ahead", lambda *_: None)
    village.lost = lambda frame, name: name == "ben" and isinstance(payload_of(village, frame), Commit)
    made = forbidden(village, "mallory", ("anna", "ben", "cleo"), ("ben",), monkeypatch)
    village.wait(minutes=10)
    assert made in tea(village, "ben").kept
    for name in ("anna", "cleo"):
        found = tea(village, name)
        assert (found.head, found.membership) == (before.head, Membership.IN)
        assert old not in (found.ballots.voters.find(made) or ())


@pytest.mark.parametrize("others", [("ben",), ("ben", "cleo")])
@pytest.mark.parametrize("days", [2, 40])
def test_who_was_away_while_they_were_removed_and_invited_again_comes_in(others: tuple[str, ...], days: int) -> None:
    """After the longer while no log has the commit any more. That it may be allowed shows in its header."""
    village = friends("anna", *others)
    open_talk(village, "anna", *others, policy=replace(usual(Mode.DEMLS), remove=Who.EVERYBODY))
    village.wait(minutes=30)
    village.down("anna")
    remove(village, "ben", "anna")
    village.wait(days=days)
    invite(village, "ben", "anna")
    village.wait(minutes=10)
    village.restart("anna")
    village.wait(days=1)
    anna, ben = tea(village, "anna"), tea(village, "ben")
    assert anna.membership is Membership.IN
    assert (anna.head, anna.final) == (ben.head, ben.final)
    assert anna.here is not None


@pytest.mark.parametrize("founder", ["anna", "ben"])
def test_who_was_away_comes_in_and_votes_while_a_third_one_is_lost(founder: str) -> None:
    """No log has the commit that took anna out, and nobody is there who could vouch for it."""
    village = friends("anna", "ben", "cleo")
    others = [name for name in ("anna", "ben", "cleo") if name != founder]
    open_talk(village, founder, *others, policy=replace(usual(Mode.DEMLS), remove=Who.EVERYBODY))
    village.wait(minutes=30)
    village.down("anna")
    village.down("cleo")
    remove(village, "ben", "anna")
    village.wait(days=40)
    invite(village, "ben", "anna")
    village.wait(minutes=10)
    village.restart("anna")
    village.wait(days=1)
    remove(village, "ben", "cleo")
    village.wait(days=1)
    anna, ben = tea(village, "anna"), tea(village, "ben")
    assert anna.membership is Membership.IN
    assert anna.head == anna.final == ben.head == ben.final
    assert anna.here is not None


def test_a_policy_that_was_changed_without_the_right_to_keeps_who_was_there_from_coming_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """All may remove and add, and a member makes itself the admin as it does."""
    village = strict("anna", "ben", "mallory", policy=replace(STRICT, remove=Who.EVERYBODY, add=Who.EVERYBODY))
    before = tea(village, "ben")
    village.lost = lambda frame, name: name == "ben" and isinstance(payload_of(village, frame), Commit)
    made = forbidden(village, "mallory", ("ben",), ("ben",), monkeypatch)
    village.wait(minutes=10)
    assert (tea(village, "ben").head, made in tea(village, "ben").kept) == (before.head, False)
