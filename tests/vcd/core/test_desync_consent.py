"""Coming back where nobody can prove the way: people are asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from mls import group as mls
from mls.persistent import PMap
from tests.vcd.core.astray import lose, told
from tests.vcd.core.branches import (
    TEA,
    bring,
    commit,
    finals,
    heads,
    member,
    remove,
    talk,
    tea,
    withhold,
)
from tests.vcd.core.company import show_up, step
from tests.vcd.core.homes import link
from tests.vcd.core.village import Village
from vcd.core import apart, comeback, inputs, retention, strand as strands, summaries, voting
from vcd.core.errors import Misuse, Refused
from vcd.core.names import EpochId, FrameId
from vcd.core.ordering.choice import counted
from vcd.core.ordering.graph import Graph, Step
from vcd.core.ordering.votes import Ballot, Ballots
from vcd.core.payloads import Commit, Plea, Want, Way
from vcd.core.policy import MINUTE, Policy
from vcd.core.strand import Membership
from vcd.core.turn import Turn

FRAME = FrameId(bytes(32))
ALL = ("anna", "ben", "cleo")


def strangers(village: Village) -> Way:
    """A way whose beginning cleo never heard of: everything before is final and forgotten."""
    anna = tea(village, "anna")
    here = anna.here
    assert here is not None
    return Way(
        epoch=anna.head,
        group_info=mls.group_info(here.group, with_tree=True),
        lineage=summaries.lineage(anna),
        topic=here.topic.raw,
    )


def finish(village: Village, *people: str) -> None:
    """What these devices stand on is final for them, as if everybody had voted for it."""

    def final(turn: Turn) -> None:
        now = turn.strand(TEA)
        turn.put(retention.rebased(replace(now, standing=replace(now.standing, final=now.head)), turn.state.book.own))

    for name in people:
        step(village, name, final)


def asleep(*, proven: bool = False) -> Village:
    """Cleo was away for so long that no frame of that time is left, and mostly no proof of what became final."""
    village = talk(*ALL)
    lose(village, "cleo")
    village.wait(minutes=9)
    village.part(["anna", "ben"], ["cleo"])
    finish(village, "anna", "ben")
    commit(village, "anna")
    finish(village, "anna", "ben")
    village.log = []
    commit(village, "ben")
    for name in ("anna", "ben"):
        device = village.devices[name]
        forgetful = tea(village, name) if proven else replace(tea(village, name), proofs=PMap())
        device.state = replace(device.state, strands=device.state.strands.set(TEA, forgetful))
    village.heal()
    return village


def test_who_slept_while_epochs_became_final_is_shown_how_and_needs_no_consent() -> None:
    village = asleep(proven=True)
    village.wait(hours=3)
    assert tea(village, "cleo").here is not None
    assert heads(village, *ALL) == {tea(village, "anna").head}


def test_a_way_that_cannot_be_proven_is_taken_only_with_consent() -> None:
    village = asleep()
    village.wait(hours=3)
    assert tea(village, "cleo").here is None
    assert (True, False) in told(village, "cleo")
    village.do("cleo", inputs.ComeBack(group=TEA))
    village.wait(hours=2)
    assert tea(village, "cleo").here is not None
    assert heads(village, *ALL) == {tea(village, "anna").head}


def test_with_consent_too_we_have_to_be_a_member_there() -> None:
    village = asleep()
    way = strangers(village)
    stranger = tuple(replace(each, account=type(each.account)(b"x" * 32)) for each in way.lineage.anchor.members)
    lying = replace(way, lineage=replace(way.lineage, anchor=replace(way.lineage.anchor, members=stranger)))
    with pytest.raises(Refused, match="no member"):
        comeback.anchored_anew(village.state("cleo"), tea(village, "cleo"), lying)


def test_what_was_kept_of_before_follows_nothing_after_that() -> None:
    village = asleep()
    after = comeback.anchored_anew(village.state("cleo"), tea(village, "cleo"), strangers(village))
    assert set(after.kept) == set(tea(village, "cleo").kept)
    assert all(kept.settled for kept in after.kept.values())


def test_among_two_nobody_can_vote_for_what_the_other_did_so_the_user_is_asked() -> None:
    village = talk("anna", "cleo")
    child = lose(village, "cleo")
    village.wait(hours=3)
    assert tea(village, "cleo").here is not None
    assert tea(village, "cleo").head != child
    assert told(village, "cleo") == [(True, False)]
    village.do("cleo", inputs.ComeBack(group=TEA))
    village.wait(hours=1)
    assert heads(village, "anna", "cleo") == finals(village, "anna", "cleo")
    assert tea(village, "cleo").here is not None
    assert told(village, "cleo")[-1] == (False, True)


def test_who_is_left_alone_with_one_who_stands_elsewhere_is_asked_though_nothing_can_be_followed_any_more() -> None:
    village = talk("anna", "cleo", "dora", policy=Policy(window=MINUTE))
    village.down("dora")
    village.part(["anna"], ["cleo"])
    theirs, ours = remove(village, "anna", "dora"), commit(village, "cleo")
    village.wait(hours=1)
    assert set(tea(village, "cleo").kept) == {ours}
    village.heal()
    village.wait(minutes=5)
    assert theirs in tea(village, "cleo").graph.steps
    assert heads(village, "cleo") == {ours}
    assert told(village, "cleo") == [(True, False)]
    assert not told(village, "anna")
    village.do("cleo", inputs.ComeBack(group=TEA))
    village.wait(hours=1)
    (head,) = heads(village, "anna", "cleo")
    assert tea(village, "cleo").graph.anchor.epoch == head
    assert tea(village, "cleo").here is not None
    assert told(village, "cleo")[1:] == [(False, True)]


def test_who_is_lost_where_nobody_else_can_vote_for_what_was_done_since_is_asked_before_long() -> None:
    village = Village()
    village.account("anna")
    village.do("anna", inputs.Open(conversation=TEA))
    bring(village, "anna", "laptop")
    village.wait(minutes=1)
    show_up(village, TEA, "laptop")
    link(village, "laptop", "phone")
    village.wait(minutes=1)
    child = lose(village, "phone")
    header = tea(village, "anna").signed[child]
    step(village, "phone", lambda turn: summaries.learn(turn, TEA, (header,), ()))
    village.wait(minutes=1)
    assert finals(village, "anna", "laptop", "phone") == {child}
    village.down("laptop")  # which votes for the account
    further = commit(village, "anna")
    village.wait(hours=1)
    assert heads(village, "phone") == finals(village, "phone") == {child}
    assert told(village, "phone") == [(False, False), (True, False)]
    village.do("phone", inputs.ComeBack(group=TEA))
    village.wait(minutes=10)
    assert tea(village, "phone").here is not None
    assert tea(village, "anna").graph.is_ancestor(further, tea(village, "phone").head)
    assert len(heads(village, "anna", "phone")) == 1


def test_where_a_third_member_may_still_vote_for_what_was_done_since_nobody_is_asked_so_soon() -> None:
    village = talk(*ALL)
    child = lose(village, "cleo")
    village.wait(minutes=9)
    assert heads(village, "cleo") == {child}
    village.down("ben")
    commit(village, "anna")
    village.wait(hours=1)
    assert heads(village, "cleo") == {child}
    assert (True, False) not in told(village, "cleo")


def parted(*alone: str, window: int = MINUTE) -> Village:
    """Each of them has committed where it hears nobody, for longer than the window, and they hear each other again."""
    village = talk(*ALL, policy=Policy(window=window))
    for each in ALL:
        if each not in alone:
            village.down(each)
    village.part(*([each] for each in alone))
    for each in alone:
        commit(village, each)
    village.wait(hours=1)
    assert all(set(tea(village, each).kept) == heads(village, each) for each in alone)
    village.heal()
    return village


def consent(village: Village, *alone: str) -> list[str]:
    """Who was asked, and says yes."""
    asked = [each for each in alone if told(village, each)[-1:] == [(True, False)]]
    for each in asked:
        village.do(each, inputs.ComeBack(group=TEA))
    return asked


def test_two_who_stand_apart_are_asked_also_if_the_third_is_away() -> None:
    village = parted("anna", "cleo")
    village.wait(minutes=50)
    assert len(heads(village, "anna", "cleo")) == 2
    assert consent(village, "anna", "cleo") == []  # the third may just come
    village.wait(minutes=30)
    assert len(consent(village, "anna", "cleo")) == 1
    village.wait(hours=1)
    assert len(heads(village, "anna", "cleo")) == 1
    assert all(tea(village, each).here is not None for each in ("anna", "cleo"))
    village.restart("ben")
    village.wait(hours=1)
    assert heads(village, *ALL) == finals(village, *ALL)
    assert len(heads(village, *ALL)) == 1


def test_three_of_whom_each_stands_apart_come_together_with_the_consent_of_one() -> None:
    village = parted(*ALL)
    assert len(heads(village, *ALL)) == 3
    village.wait(minutes=80)
    asked = [each for each in ALL if told(village, each)[-1:] == [(True, False)]]
    assert len(asked) == 2
    village.do(asked[0], inputs.ComeBack(group=TEA))
    village.wait(hours=2)
    assert heads(village, *ALL) == finals(village, *ALL)
    assert len(heads(village, *ALL)) == 1


def test_two_of_three_who_say_yes_at_once_do_not_change_places() -> None:
    """One of them is let into the branch of the other one, which loses to its own: it would not stand there."""
    village = parted(*ALL)
    village.wait(minutes=80)
    asked = [each for each in ALL if told(village, each)[-1:] == [(True, False)]]
    assert len(asked) == 2
    for each in asked:
        village.step(each, inputs.ComeBack(group=TEA))
    village.deliver()
    village.wait(hours=2)
    assert heads(village, *ALL) == finals(village, *ALL)
    assert len(heads(village, *ALL)) == 1


def test_who_is_followed_by_a_third_after_all_is_not_asked_any_more() -> None:
    village = parted("anna", "cleo")
    village.wait(minutes=80)
    (asked,) = (each for each in ("anna", "cleo") if told(village, each)[-1:] == [(True, False)])
    (other,) = {"anna", "cleo"} - {asked}
    ours, theirs = (tea(village, each).head for each in (asked, other))
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch == theirs, "ben")
    village.down(other)
    village.restart("ben")
    village.wait(hours=1)
    assert heads(village, asked, "ben") == {ours}
    assert told(village, asked) == [(True, False), (False, True)]
    with pytest.raises(Misuse, match="follows"):
        village.do(asked, inputs.ComeBack(group=TEA))


def test_who_says_yes_just_then_does_not_vouch_for_what_loses_to_what_a_third_followed() -> None:
    """The other one shows the way, as it knows nothing of that yet, or does not want to."""
    village = parted("anna", "cleo")
    village.wait(minutes=80)
    (asked,) = (each for each in ("anna", "cleo") if told(village, each)[-1:] == [(True, False)])
    (other,) = {"anna", "cleo"} - {asked}
    ours, theirs = (tea(village, each).head for each in (asked, other))
    withhold(village, lambda each: not isinstance(each, Want | Plea), other)
    vote = Ballot(
        voter=member(village, asked, "ben").incarnation,
        parent=tea(village, asked).graph.anchor.epoch,
        round=0,
        child=ours,
    )

    def hear(turn: Turn) -> None:
        now = turn.strand(TEA)
        turn.put(replace(now, ballots=now.ballots.with_ballot(vote)), graph=True)

    step(village, asked, hear)
    village.do(asked, inputs.ComeBack(group=TEA))
    village.wait(minutes=5)
    assert heads(village, other) == {theirs}
    assert heads(village, asked) == {ours}
    assert not tea(village, asked).graph.children(theirs)
    assert told(village, asked) == [(True, False), (False, True)]


def test_who_was_followed_only_by_somebody_they_brought_in_there_is_asked() -> None:
    """Whom the other one has never seen vouches for nothing there, so that one would not yield either."""
    village = talk(*ALL, policy=Policy(window=MINUTE))
    village.down("ben")
    village.account("dora")
    village.part(["anna", "dora"], ["cleo"])
    bring(village, "anna", "dora")
    village.wait(minutes=1)
    commit(village, "dora")
    village.wait(minutes=2)
    commit(village, "cleo")
    village.wait(hours=1)
    village.heal()
    village.wait(hours=2)
    assert consent(village, "anna", "cleo", "dora") == ["anna"]
    village.wait(hours=1)
    assert len(heads(village, "anna", "cleo")) == 1
    assert tea(village, "anna").here is not None


def test_who_was_followed_only_by_one_who_lies_is_asked() -> None:
    village = parted("anna", "cleo")
    village.wait(minutes=80)
    asked = next(each for each in ("anna", "cleo") if told(village, each)[-1:] == [(True, False)])
    found, ben = tea(village, asked), member(village, asked, "ben").incarnation
    me, parent = voting.own(village.state(asked), found), found.graph.anchor.epoch
    assert me is not None
    first = apart.of_more(found, me)
    assert first is not None
    voted = found.ballots.with_ballot(Ballot(voter=ben, parent=parent, round=2, child=found.head))
    assert apart.of_more(replace(found, ballots=voted), me) is None
    twice = voted.with_ballot(Ballot(voter=ben, parent=parent, round=2, child=first))
    assert apart.of_more(replace(found, ballots=twice), me) == first


def test_of_headers_without_end_some_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    village = parted("anna", "cleo")
    found, weighed = tea(village, "anna"), list[int]()
    me, other = (voting.own(village.state(each), tea(village, each)) for each in ("anna", "cleo"))
    assert me is not None
    assert other is not None
    graph, parent = found.graph, found.graph.anchor.epoch
    for number in range(3 * apart.MOST):
        graph = graph.with_step(Step(epoch=EpochId(number.to_bytes(32, "big")), parent=parent, author=other))

    def counting(graph: Graph, ballots: Ballots, followed: Iterable[EpochId]) -> frozenset[EpochId]:
        several = list(followed)
        weighed.append(len(several))
        return counted(graph, ballots, several)

    monkeypatch.setattr(apart, "counted", counting)
    apart.of_more(replace(found, graph=graph), me)
    assert weighed == [1 + apart.MOST]


def test_removals_without_end_beside_a_long_row_are_weighed_quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    village = parted("anna", "cleo")
    found, looks = tea(village, "anna"), list[EpochId]()
    me, other = (voting.own(village.state(each), tea(village, each)) for each in ("anna", "cleo"))
    assert me is not None
    assert other is not None
    graph, begin, at, ours = found.graph, found.graph.anchor.epoch, found.head, list[EpochId]()
    for number in range(100):
        ours.append(EpochId(b"o" * 28 + number.to_bytes(4, "big")))
        graph, at = graph.with_step(Step(epoch=ours[-1], parent=at, author=me)), ours[-1]
    for number in range(apart.MOST):
        epoch = EpochId(bytes(28) + number.to_bytes(4, "big"))
        graph = graph.with_step(Step(epoch=epoch, parent=begin, author=other, removes=(me,)))
    parent = Graph.parent

    def looking(graph: Graph, epoch: EpochId) -> EpochId | None:
        looks.append(epoch)
        return parent(graph, epoch)

    monkeypatch.setattr(Graph, "parent", looking)
    apart.of_more(replace(found, graph=graph, past=found.past.update(dict.fromkeys(ours, 1))), me)
    assert len(looks) < 50 * (apart.MOST + len(ours))


def test_who_was_followed_by_a_third_is_not_asked_for_what_another_one_did() -> None:
    village = talk(*ALL, "dora", "emil", policy=Policy(window=MINUTE))
    village.down("dora")
    village.down("emil")
    village.part(["anna", "ben"], ["cleo"])
    ours, theirs = commit(village, "anna"), commit(village, "cleo")
    village.wait(hours=1)
    village.down("ben")
    village.heal()
    village.wait(hours=6)
    assert theirs in tea(village, "anna").graph.steps
    assert told(village, "anna") == []
    assert tea(village, "anna").head != ours
    assert heads(village, "anna") == heads(village, "cleo")
    assert all(tea(village, each).graph.is_ancestor(ours, tea(village, each).head) for each in ("anna", "cleo"))


def test_nobody_is_asked_to_go_where_they_were_removed() -> None:
    village = talk(*ALL, policy=Policy(window=MINUTE))
    village.down("ben")
    village.part(["anna"], ["cleo"])
    removal, ours = remove(village, "anna", "cleo"), commit(village, "cleo")
    village.wait(hours=1)
    village.heal()
    village.wait(hours=6)
    assert removal in tea(village, "cleo").graph.steps
    assert heads(village, "cleo") == {ours}
    assert told(village, "cleo") == []


def test_nobody_is_asked_to_go_where_one_was_removed_who_stands_with_them() -> None:
    village = talk(*ALL, "dora", policy=Policy(window=MINUTE))
    village.down("dora")
    village.part(["anna"], ["ben", "cleo"])
    removal, ours = remove(village, "anna", "ben"), commit(village, "ben")
    village.wait(hours=1)
    village.heal()
    village.wait(hours=12)
    assert removal in tea(village, "cleo").graph.steps
    assert tea(village, "cleo").graph.is_ancestor(ours, tea(village, "cleo").head)
    assert told(village, "cleo") == []


def test_nobody_is_asked_as_long_as_the_commit_could_be_followed_and_a_third_may_come() -> None:
    village = talk(*ALL)
    village.down("ben")
    village.part(["anna"], ["cleo"])
    made = [commit(village, each, heard=False) for each in ("anna", "cleo")]
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in made, "anna", "cleo")
    village.heal()
    village.wait(hours=6)
    assert all(set(made) <= set(tea(village, each).graph.steps) for each in ("anna", "cleo"))
    assert len(heads(village, "anna", "cleo")) == 2
    assert told(village, "anna") == told(village, "cleo") == []


def removed_apart() -> tuple[Village, EpochId, EpochId]:
    """Anna removes cleo apart from the others, who hear of it when nobody can follow it any more, and have gone on."""
    village = talk(*ALL, policy=Policy(window=MINUTE))
    village.part(["anna"], ["ben", "cleo"])
    removal = remove(village, "anna", "cleo")
    commit(village, "ben")
    village.wait(minutes=5)
    theirs = commit(village, "cleo")
    village.wait(hours=1)
    village.heal()
    village.wait(minutes=5)
    assert removal in tea(village, "ben").graph.steps
    assert heads(village, "ben", "cleo") == {theirs}
    assert theirs in tea(village, "anna").standing.void
    assert tea(village, "anna").membership is Membership.LOST
    return village, removal, theirs


def test_who_alone_followed_a_removal_comes_back_with_consent_to_what_it_strikes() -> None:
    village, removal, theirs = removed_apart()
    village.wait(minutes=30)
    assert heads(village, "anna") != {theirs}
    assert told(village, "anna") == [(False, False), (True, False)]
    village.do("anna", inputs.ComeBack(group=TEA))
    village.wait(minutes=1)
    assert tea(village, "anna").membership is Membership.IN
    assert not tea(village, "anna").entered(removal)
    assert heads(village, "anna") == heads(village, "ben")
    assert tea(village, "ben").entered(theirs)


def test_a_way_to_what_stands_on_something_struck_leads_there_only_if_that_is_let_go() -> None:
    """Nobody but its author voted for it, so it does not count here, and is not void itself."""
    village, removal, _ = removed_apart()
    village.wait(hours=12)
    village.down("cleo")
    newest = commit(village, "ben")
    village.wait(minutes=1)
    assert newest not in tea(village, "anna").standing.void
    village.do("anna", inputs.ComeBack(group=TEA))
    village.wait(minutes=1)
    assert tea(village, "anna").membership is Membership.IN
    assert not tea(village, "anna").entered(removal)
    assert tea(village, "anna").graph.is_ancestor(newest, tea(village, "anna").head)


def test_whom_it_removed_is_removed_anew_there() -> None:
    village, _, _ = removed_apart()
    village.wait(hours=12)
    village.do("anna", inputs.ComeBack(group=TEA))
    village.wait(hours=1)
    (head,) = heads(village, "anna", "ben") | finals(village, "anna", "ben")
    there = {each.account for each in tea(village, "ben").graph.members(head)}
    assert there == {village.own("anna"), village.own("ben")}


def test_a_removal_that_somebody_else_voted_for_is_held_to_with_consent_too() -> None:
    village, removal, theirs = removed_apart()
    mine = tea(village, "anna")
    vote = Ballot(
        voter=member(village, "anna", "ben").incarnation, parent=mine.graph.anchor.epoch, round=2, child=removal
    )
    held = strands.stood(replace(mine, ballots=mine.ballots.with_ballot(vote)))
    assert theirs in strands.let_go(held).standing.void
    assert theirs not in strands.let_go(mine).standing.void


def test_what_can_still_be_followed_is_not_let_go() -> None:
    village = talk(*ALL)
    village.part(["anna"], ["ben", "cleo"])
    removal = remove(village, "anna", "cleo")
    commit(village, "ben")
    village.wait(minutes=5)
    commit(village, "cleo", heard=False)
    headers = tuple(tea(village, "cleo").signed.values())
    step(village, "anna", lambda turn: summaries.learn(turn, TEA, headers, ()))
    mine = tea(village, "anna")
    assert mine.entered(removal)
    assert strands.let_go(mine) == mine
