"""Groups whose lead is gone: who is voted for, and what of a lead's decisions is final."""

from __future__ import annotations

from dataclasses import replace

from mls.proposals import Remove
from mls.registries import LeafIndex
from tests.vcd.core.branches import release, withhold
from tests.vcd.core.company import act, step
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
from vcd.core import acting, desync, inputs, kinds, lead
from vcd.core.names import EpochId
from vcd.core.ordering.graph import Member
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Decision, Nomination
from vcd.core.policy import HOUR, Mode, Policy, Who, of_group
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


def test_who_is_not_connected_does_not_look_again_and_again_whether_the_lead_is_gone() -> None:
    v = village("anna", "ben", "cleo", "dave")
    v.down("anna")
    before = strand(v, "ben").head
    commit(v, "cleo")
    since = v.state("ben").talks[TEA].lead.waits
    assert since is not None
    v.wait(seconds=(since[1] + 24 * HOUR - v.state("ben").clock.awake) // 1000 - 1)
    v.now += 999
    v.step("ben", inputs.Online(online=False))
    v.wait(minutes=5, most=200)
    assert not any(each.voter == member(v, "ben") for each in nominations(v))
    v.step("ben", inputs.Online(online=True))
    v.wait(minutes=10)
    assert strand(v, "ben").head == strand(v, "dave").head != before


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


def test_a_lead_that_removed_a_member_meanwhile_still_knows_what_that_one_signed_before() -> None:
    v, removed = _left_behind()
    v.heal()
    v.wait(hours=1)
    assert leads(v, "anna") == member(v, "ben")
    assert len(heads(v)) == 1
    assert removed not in heads(v)
    assert strand(v, "anna").here is not None


def test_who_comes_back_from_outside_stands_there_when_the_one_who_leads_there_has_decided_on_it() -> None:
    v, _ = _left_behind()
    theirs = strand(v, "ben").head
    withhold(v, lambda payload: isinstance(payload, Decision) and payload.parent == theirs, "anna")
    v.heal()
    v.wait(minutes=5)
    came = strand(v, "anna").graph.children(theirs)
    assert len(came) == 1
    assert came[0] in strand(v, "anna").kept
    assert strand(v, "anna").head == theirs
    release(v)
    assert strand(v, "anna").graph.is_ancestor(came[0], strand(v, "anna").head)
    v.wait(hours=1)
    assert len(heads(v)) == 1


def test_a_lead_that_cannot_follow_its_successor_knows_that_it_leads_and_comes_back_to_where_that_went_on() -> None:
    v, _ = _left_behind()
    for name in ("ben", "cleo"):
        commit(v, name)
    v.heal()
    v.wait(hours=1)
    assert len(heads(v)) == 1
    assert strand(v, "anna").here is not None


def test_who_comes_back_by_the_users_consent_stands_where_the_others_do_whoever_led_on_the_way() -> None:
    """Whom a policy named that it never saw it cannot know, nor what that one decided."""
    v, _ = _left_behind()
    cleo = member(v, "cleo")

    def name_cleo(turn: Turn) -> None:
        here = turn.strand(TEA).kept[turn.strand(TEA).head].group
        acting.commit(turn, turn.strand(TEA), proposals=[kinds.policy_change(here, replace(of_group(here), lead=cleo))])

    act(v, "ben", name_cleo)
    commit(v, "cleo")
    v.heal()
    v.wait(hours=12)
    assert strand(v, "anna").here is None
    act(v, "anna", lambda turn: desync.come_back(turn, inputs.ComeBack(group=TEA)))
    v.wait(hours=1)
    assert len(heads(v)) == 1
    assert leads(v, "anna") == leads(v, "ben")


def _left_behind() -> tuple[Village, EpochId]:
    """A lead that was cut off, and removed somebody alone; the others have another lead since."""
    v = village("anna", "ben", "cleo", policy=Policy(mode=Mode.LEAD, window=HOUR, change=Who.EVERYBODY))
    v.part(["anna"], ["ben", "cleo"])
    leaf = LeafIndex(next(each.leaf for each in _members(v) if each.account == v.own("cleo")))
    removed = act(v, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), proposals=[Remove(leaf)])[0].step.epoch)
    commit(v, "cleo")
    v.wait(hours=26)
    assert set(strand(v, "anna").kept) == {removed}
    return v, removed


def _members(v: Village) -> tuple[Member, ...]:
    mine = strand(v, "anna")
    return mine.graph.members(mine.head)


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
        return lead.pending(turn, ahead, member(v, "ben"), ahead.graph.path(other, ahead.final))

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


def test_members_whom_the_lead_removed_stand_by_that_so_that_it_is_final() -> None:
    """They are two of three, and could have voted for another lead."""
    v = village("anna", "ben", "cleo")
    for _ in range(2):
        act(v, "anna", dismiss)
    assert len(strand(v, "anna").graph.members(strand(v, "anna").head)) == 1
    assert strand(v, "anna").final != strand(v, "anna").head
    v.wait(minutes=1)
    assert strand(v, "anna").final == strand(v, "anna").head


def dismiss(turn: Turn) -> None:
    """The junior member is removed."""
    last = turn.strand(TEA).graph.members(turn.strand(TEA).head)[-1]
    acting.commit(turn, turn.strand(TEA), proposals=[Remove(LeafIndex(last.leaf))])


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


def test_who_is_removed_votes_for_that_so_that_a_lead_who_is_left_alone_stands_on_what_is_final() -> None:
    v = village("anna", "ben", "cleo")
    commit(v, "ben")

    def alone(turn: Turn) -> None:
        head = turn.strand(TEA).head
        leaves = [each.leaf for each in turn.strand(TEA).graph.members(head) if each.incarnation != member(v, "anna")]
        acting.commit(turn, turn.strand(TEA), proposals=[Remove(LeafIndex(leaf)) for leaf in leaves], force_path=True)

    act(v, "anna", alone)
    v.wait(minutes=1)
    assert len(strand(v, "anna").graph.members(strand(v, "anna").head)) == 1
    assert strand(v, "anna").final == strand(v, "anna").head
