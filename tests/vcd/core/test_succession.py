"""Groups whose lead is gone: who is voted for, and what of a lead's decisions is final."""

from __future__ import annotations

from dataclasses import replace

from tests.vcd.core.company import step
from tests.vcd.core.led import (
    TEA,
    commit,
    give,
    heads,
    leads,
    member,
    payloads,
    said,
    strand,
    village,
    vote,
)
from tests.vcd.core.village import Village
from vcd.core import lead
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Nomination
from vcd.core.policy import Mode, Policy
from vcd.core.record import encode
from vcd.core.turn import Turn

# ---------------------------------------------------------------- when the lead is gone


def nominations(v: Village) -> list[Nomination]:
    return payloads(v, Nomination)


def test_when_the_lead_is_gone_the_next_one_is_voted_for_and_commits_go_on() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.down("anna")
    before = strand(v, "ben").head
    commit(v, "cleo")
    v.wait(hours=23)
    assert strand(v, "cleo").head == before
    v.wait(hours=2)
    heirs = {strand(v, name).head for name in ("ben", "cleo", "dave")}
    assert len(heirs) == 1
    assert before not in heirs
    assert leads(v, "dave") == member(v, "ben")
    after = commit(v, "dave")
    assert strand(v, "ben").head == strand(v, "cleo").head == after


def test_a_lead_that_comes_back_follows_its_successor() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.down("anna")
    commit(v, "cleo")
    v.wait(hours=26)
    v.devices["anna"].up = True
    v.deliver()
    assert len(heads(v)) == 1
    assert leads(v, "anna") == member(v, "ben")


def test_what_a_lead_decided_that_was_cut_off_gives_way_to_the_successor() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.part(["anna"], ["ben", "cleo", "dave"])
    commit(v, "cleo")
    alone = commit(v, "anna")
    assert strand(v, "anna").head == alone
    assert strand(v, "anna").final != alone
    v.wait(hours=26)
    v.heal()
    assert len(heads(v)) == 1
    assert alone not in strand(v, "anna").graph.path(strand(v, "anna").head)


def test_a_minority_elects_nobody() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.down("anna")
    v.part(["ben", "cleo"], ["dave"])
    before = strand(v, "ben").head
    commit(v, "ben")
    v.wait(days=5)
    assert strand(v, "ben").head == strand(v, "cleo").head == before
    v.heal()
    v.wait(days=2)
    assert strand(v, "ben").head == strand(v, "cleo").head == strand(v, "dave").head != before


def test_where_the_policy_says_so_nobody_succeeds() -> None:
    v = village("anna", "ben", "cleo", policy=Policy(mode=Mode.LEAD, succeed_after=0))
    v.down("anna")
    before = strand(v, "ben").head
    commit(v, "ben")
    v.wait(days=5)
    assert strand(v, "ben").head == before


def test_split_votes_are_followed_by_another_round() -> None:
    v = village("anna", "ben", "cleo", "dave", "emil")
    v.down("anna")
    v.part(["ben", "cleo"], ["dave", "emil"])
    for name in ("ben", "dave"):
        commit(v, name)
    before = strand(v, "ben").head
    v.wait(days=2)
    assert {each.round for each in nominations(v)} == {0}
    v.heal()
    v.wait(days=1)
    here = {strand(v, name).head for name in ("ben", "cleo", "dave", "emil")}
    assert len(here) == 1
    assert before not in here
    assert {each.round for each in nominations(v)} == {0, 1}


def test_when_nobody_was_elected_and_the_lead_comes_back_its_choice_becomes_final() -> None:
    v = village("anna", "ben", "cleo", "dave", "emil")
    v.down("anna")
    v.part(["anna", "ben", "cleo"], ["dave", "emil"])
    for name in ("ben", "dave"):
        commit(v, name)
    before = strand(v, "ben").head
    v.wait(days=2)
    v.devices["anna"].up = True
    v.part(["anna", "ben", "cleo", "dave", "emil"])
    v.deliver()
    decided = strand(v, "anna").head
    assert decided != before
    v.wait(hours=2)
    assert heads(v) == {decided}
    votes = [each for each in nominations(v) if each.round == 1]
    assert {each.candidate for each in votes} == {member(v, "anna")}
    assert strand(v, "emil").final == decided


def test_a_vote_is_for_one_candidate_and_signed_by_the_voter() -> None:
    v = village("anna", "ben", "cleo", "dave")
    own = strand(v, "ben")
    group = own.kept[own.head].group

    def ballot(candidate: str, voter: str, signer: str, round_: int = 0) -> Nomination:
        key = strand(v, signer).kept[own.head].group.signature_key
        made = Nomination(
            epoch=own.head, round=round_, candidate=member(v, candidate), voter=member(v, voter), signature=b""
        )
        signature = group.suite.sign_with_label(key, b"vcd nomination", TEA + encode(made))
        return replace(made, signature=signature)

    give(v, "dave", ballot("ben", "ben", "ben"))
    give(v, "dave", ballot("cleo", "ben", "ben"))
    give(v, "dave", ballot("ben", "cleo", "ben"))
    give(v, "dave", ballot("ben", "anna", "anna"))
    give(v, "dave", ballot("ben", "ben", "ben", lead.MAX_ROUNDS))
    assert [each.voter for each in said(v, "dave").nominations[own.head]] == [member(v, "ben")]
    assert [rule for rule, _ in v.devices["dave"].refused] == [
        "nomination-twice",
        "nomination-signature",
        "nomination-member",
        "nomination-twice",
    ]


def test_who_votes_for_another_lead_does_not_vote_for_a_commit_there() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.down("anna")
    v.part(["ben"], ["cleo", "dave"])
    commit(v, "ben")
    v.wait(days=2)
    head = strand(v, "ben").head
    other = strand(v, "ben").graph.children(head)[0]

    def pending(turn: Turn) -> tuple[Ballot, ...]:
        mine = turn.strand(TEA)
        ahead = replace(mine, standing=replace(mine.standing, head=other))
        return lead.pending(turn, ahead, member(v, "ben"))

    assert all(each.parent != head for each in step(v, "ben", pending))
    talk = v.state("ben").talks[TEA]
    plain = replace(talk, lead=replace(talk.lead, nominations=talk.lead.nominations.discard(head)))
    step(v, "ben", lambda turn: turn.put_talk(plain))
    assert any(each.parent == head for each in step(v, "ben", pending))


# ---------------------------------------------------------------- what is final


def test_of_two_members_a_decision_is_final_at_once() -> None:
    v = village("anna", "ben")
    decided = commit(v, "ben")
    assert strand(v, "ben").final == strand(v, "anna").final == decided


def test_a_decision_is_final_when_too_few_are_left_to_vote_for_a_successor() -> None:
    v = village("anna", "ben", "cleo", "dave")
    before = strand(v, "dave").head
    decided = commit(v, "ben")
    assert strand(v, "dave").final == before
    vote(v, "dave", "cleo", before, decided)
    assert strand(v, "dave").final == decided  # two of four may still vote, which is no majority


def test_a_vote_for_a_later_step_is_one_for_those_before() -> None:
    v = village("anna", "ben", "cleo", "dave")
    before = strand(v, "dave").head
    first, second = commit(v, "ben"), commit(v, "cleo")
    assert strand(v, "dave").final == before
    vote(v, "dave", "cleo", first, second)
    assert strand(v, "dave").final == second


def test_where_nobody_succeeds_every_decision_is_final() -> None:
    v = village("anna", "ben", "cleo", policy=Policy(mode=Mode.LEAD, succeed_after=0))
    decided = commit(v, "ben")
    assert {strand(v, name).final for name in v.devices} == {decided}


def test_a_successors_decision_is_final() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.down("anna")
    commit(v, "cleo")
    v.wait(hours=26)
    assert strand(v, "dave").final == strand(v, "dave").head
