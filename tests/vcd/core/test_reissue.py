"""Removals that lost are made again, by whoever saw them."""

from __future__ import annotations

from dataclasses import replace

from tests.vcd.core.people import (
    TEA,
    accounts,
    final_accounts,
    friends,
    intent,
    invite,
    members,
    open_talk,
    strand,
    together,
)
from tests.vcd.core.village import Village
from vcd.core import inputs, reissue
from vcd.core.duties import Duty
from vcd.core.policy import Policy, Who
from vcd.core.turn import Turn

FREE = Policy(remove=Who.EVERYBODY)
PEOPLE = ("anna", "ben", "cleo", "dora", "emil")


def out(village: Village, by: str, who: str) -> None:
    village.do(by, inputs.Remove(intent=intent(f"{by}: {who} out"), conversation=TEA, account=village.own(who)))


def rivals(seed: int) -> tuple[Village, str, str]:
    """Ben removes dora and cleo removes emil, each before a part of the others; who lost, and whom they removed."""
    village = friends(*PEOPLE, seed=seed)
    open_talk(village, *PEOPLE, policy=FREE)
    village.part(["anna", "ben"], ["cleo"], ["dora"], ["emil"])
    out(village, "ben", "dora")
    out(village, "cleo", "emil")
    village.part(["anna", "ben", "cleo"])
    village.deliver()
    lost = "ben" if village.own("dora") in accounts(village, "anna") else "cleo"
    return village, lost, "dora" if lost == "ben" else "emil"


def test_a_removal_that_lost_is_made_again_by_its_own_author() -> None:
    seen = set()
    for seed in range(4):
        village, lost, who = rivals(seed)
        seen.add(lost)
        assert village.own(who) in accounts(village, "anna")
        village.heal()
        village.wait(minutes=5)
        assert together(village, "anna", "ben", "cleo")
        assert final_accounts(village, "anna") == {village.own(name) for name in ("anna", "ben", "cleo")}
        assert intent(f"{lost}: {who} out") not in village.state(lost).intents
    assert seen == {"ben", "cleo"}


def test_a_removal_that_lost_is_owed_by_the_lowest_leaf_if_its_author_is_gone() -> None:
    for seed in range(4):
        village, lost, who = rivals(seed)
        village.down(lost)
        village.wait(minutes=5)
        assert village.own(who) not in accounts(village, "anna")
        found = strand(village, "anna")
        graph = found.graph
        step = next(
            graph.steps[each]
            for each in graph.path(found.head)
            if any(
                member.account == village.own(who) and member.incarnation in graph.steps[each].removes
                for member in graph.members(graph.steps[each].parent)
            )
        )
        author = next(each for each in graph.members(found.head) if each.incarnation == step.author)
        assert author.account == village.own("anna")


def test_the_next_leaf_does_it_if_the_lowest_one_is_gone_too() -> None:
    village, lost, who = rivals(0)
    other = "cleo" if lost == "ben" else "ben"
    village.down(lost)
    village.down("anna")
    village.wait(minutes=5)
    assert village.own(who) not in accounts(village, other)


def test_nothing_is_owed_by_those_whom_the_rules_do_not_let_remove() -> None:
    village = friends(*PEOPLE)
    admins = tuple(sorted(village.own(name) for name in ("ben", "cleo")))
    open_talk(village, *PEOPLE, policy=Policy(admins=admins))
    village.part(["dora", "ben"], ["cleo"], ["anna"], ["emil"])
    out(village, "ben", "anna")
    out(village, "cleo", "emil")
    village.part(["dora", "ben", "cleo"])
    village.deliver()
    owes = "cleo" if village.own("anna") in accounts(village, "dora") else "ben"
    assert (Duty.REISSUE, TEA) in village.state(owes).duties
    assert (Duty.REISSUE, TEA) not in village.state("dora").duties


def test_who_was_added_again_since_stays() -> None:
    """A new incarnation: the removal was of another one."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben", "cleo", policy=FREE)
    [old] = [each for each in members(village, "anna") if each.account == village.own("cleo")]
    out(village, "anna", "cleo")
    village.wait(minutes=2)
    invite(village, "anna", "cleo", name="in again")
    village.wait(minutes=2)
    assert village.own("cleo") in final_accounts(village, "ben")
    device = village.devices["ben"]
    [new] = [each for each in members(village, "ben") if each.account == village.own("cleo")]
    for owed, due in ((old, False), (new, True)):
        turn = Turn(device.state, village.now, device.provider)
        turn.put_talk(replace(turn.talk(TEA), owed=(owed.incarnation,)))
        reissue.touched(turn, TEA)
        assert ((Duty.REISSUE, TEA) in turn.state.duties) == due


def test_what_is_owed_is_remembered_when_the_branch_that_lost_is_dropped() -> None:
    village, lost, who = rivals(0)
    village.down(lost)  # without its vote, and the targets', nothing becomes final
    device = village.devices["anna"]
    before = strand(village, "anna")
    after = replace(before, standing=replace(before.standing, final=before.head))
    graph, _ = before.graph.rebased(before.head)
    after = replace(after, graph=graph)
    turn = Turn(device.state, village.now, device.provider)
    turn.put(after)
    reissue.moved(turn, before, after)
    reissue.touched(turn, TEA)
    whose = {each.incarnation: each.account for each in after.graph.members(after.head)}
    assert [whose[each] for each in turn.state.talks[TEA].owed] == [village.own(who)]
    assert (Duty.REISSUE, TEA) in turn.state.duties


def removed_meanwhile(policy: Policy, given: inputs.Command) -> Village:
    """Cleo does something, and emil removes dora after it; anna has removed cleo beside that. Emil is not there."""
    village = friends(*PEOPLE)
    open_talk(village, *PEOPLE, policy=policy)
    village.part(["anna", "ben"], ["cleo", "emil"], ["dora"])
    out(village, "anna", "cleo")
    village.do("cleo", given)
    out(village, "emil", "dora")
    assert village.own("dora") not in accounts(village, "cleo")
    village.down("cleo")
    village.heal()
    village.down("emil")
    return village


def test_what_is_void_only_because_of_what_it_stands_on_is_owed() -> None:
    village = removed_meanwhile(FREE, inputs.Refresh(intent=intent("fresh"), conversation=TEA))
    found = strand(village, "anna")
    assert any(found.graph.steps[each].removes for each in found.standing.void)
    village.wait(minutes=5)
    assert accounts(village, "anna") == {village.own(name) for name in ("anna", "ben", "emil")}


def test_what_stands_on_a_void_change_of_the_rules_is_owed_only_if_the_rules_that_count_allow_it() -> None:
    """Else whoever is to go could let others do what they may not."""
    village = friends(*PEOPLE)
    admins = tuple(sorted(village.own(name) for name in ("anna", "ben", "cleo")))
    rules = Policy(admins=admins)
    given = inputs.ChangePolicy(intent=intent("free"), conversation=TEA, policy=replace(rules, remove=Who.EVERYBODY))
    village = removed_meanwhile(rules, given)
    village.wait(minutes=15)
    assert accounts(village, "anna") == {village.own(name) for name in ("anna", "ben", "dora", "emil")}


def test_what_somebody_did_beside_its_own_removal_is_not_owed() -> None:
    """Not even when that removal is final, and what was void beside it is dropped."""
    village = friends(*PEOPLE)
    open_talk(village, *PEOPLE, policy=FREE)
    village.part(["anna", "ben", "emil"], ["cleo"], ["dora"])
    out(village, "anna", "cleo")
    out(village, "cleo", "dora")
    village.heal()
    village.wait(minutes=10)
    stay = {village.own(name) for name in ("anna", "ben", "dora", "emil")}
    assert accounts(village, "anna") == final_accounts(village, "anna") == stay
