"""Coming back where nobody can prove the way: people are asked."""

from __future__ import annotations

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
)
from tests.vcd.core.company import show_up, step
from tests.vcd.core.homes import link
from tests.vcd.core.village import Village
from vcd.core import comeback, inputs, retention, strand as strands, summaries
from vcd.core.errors import Refused
from vcd.core.names import EpochId, FrameId
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Way
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
    village.wait(hours=12)
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
