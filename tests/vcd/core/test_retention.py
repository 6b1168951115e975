"""Keys that are deleted on time, and not before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mls.persistent import PMap
from tests.vcd.core.branches import TEA, commit, finals, heads, payload_of, remove, sent, talk, tea, withhold
from tests.vcd.core.company import act, step
from tests.vcd.core.talking import say
from tests.vcd.core.village import Village
from vcd.core import acting, flow, following, partitions, retention
from vcd.core.inputs import Depart, Online, Slept
from vcd.core.names import EpochId, FrameId, Incarnation, IntentId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, Digest, Payload, Post, SignedStep, Votes
from vcd.core.policy import DAY, HOUR, MINUTE, Policy
from vcd.core.sights import Sight
from vcd.core.strand import Membership, Strand, with_step
from vcd.core.turn import Turn
from vcd.core.waiting import Need

SHORT = Policy(window=10 * MINUTE)


def undecided(people: tuple[str, ...] = ("anna", "ben"), **config: Any) -> Village:
    """A conversation in which the others hear of nothing any more, so that nothing becomes final."""
    village = talk(*people, policy=SHORT, **config)
    village.part([people[0]], list(people[1:]))
    return village


def test_an_epoch_keeps_its_keys_for_its_window_and_no_longer() -> None:
    village = undecided()
    old, new = tea(village, "anna").head, commit(village, "anna")
    village.wait(minutes=9)
    assert old in tea(village, "anna").kept
    village.wait(minutes=2)
    strand = tea(village, "anna")
    assert set(strand.kept) == {new}
    assert old in strand.past
    assert strand.entered(old)


def test_time_asleep_does_not_count() -> None:
    village = undecided()
    old = tea(village, "anna").head
    commit(village, "anna")
    village.now += 8 * HOUR
    village.do("anna", Slept(milliseconds=8 * HOUR))
    village.wait(minutes=9)
    assert old in tea(village, "anna").kept
    village.wait(minutes=3)
    assert old not in tea(village, "anna").kept


def test_time_without_anybody_connected_does_not_count() -> None:
    village = undecided()
    old = tea(village, "anna").head
    commit(village, "anna")
    village.do("anna", Online(online=False))
    village.wait(hours=8)
    assert old in tea(village, "anna").kept
    village.do("anna", Online(online=True))
    village.wait(minutes=30)
    assert old not in tea(village, "anna").kept


def test_the_head_is_never_dropped() -> None:
    village = undecided()
    head = commit(village, "anna")
    village.wait(days=30)
    assert set(tea(village, "anna").kept) == {head}
    assert tea(village, "anna").kept[head].left_at is None


def test_headers_and_votes_outlive_keys_until_something_is_final() -> None:
    village = undecided()
    first = commit(village, "anna")
    second = commit(village, "anna")
    village.wait(hours=1)
    strand = tea(village, "anna")
    assert set(strand.kept) == {second}
    assert {first, second} == set(strand.graph.steps) == set(strand.signed)
    assert strand.votes
    assert not strand.bodies  # nobody who misses a commit can be helped without its parent


def test_what_is_final_deletes_headers_votes_and_commits_of_before() -> None:
    village = talk("anna", "ben")
    old = tea(village, "anna").head
    child = commit(village, "anna")
    village.wait(seconds=10)
    strand = tea(village, "anna")
    assert strand.graph.anchor.epoch == strand.final == child
    assert not strand.graph.steps
    assert not strand.signed
    assert not strand.votes
    assert not strand.bodies
    assert not strand.ballots.at(old)


def test_before_and_beside_what_is_final_everything_is_settled() -> None:
    village = talk("anna", "ben", "cleo")
    old = tea(village, "anna").head
    child = commit(village, "anna")
    village.wait(seconds=10)
    strand = tea(village, "anna")
    assert strand.kept[old].settled
    assert not strand.kept[old].group.signature_key.raw
    assert not strand.kept[child].settled


def test_where_it_stands_does_not_change_by_forgetting_what_was_before() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna", "ben"], ["cleo"])
    commit(village, "anna")
    commit(village, "ben")
    before = tea(village, "anna")
    final = replace(before, standing=replace(before.standing, final=before.graph.path(before.head)[0]))
    after = retention.rebased(final, village.own("anna"))
    assert after.head == before.head
    assert after.graph.members(after.head) == before.graph.members(before.head)
    assert after.graph.number(after.head) == before.graph.number(before.head)


def test_an_epoch_that_lost_can_be_head_again_and_has_its_window_anew() -> None:
    village = undecided()
    commit(village, "anna")
    strand = tea(village, "anna")
    old = strand.final
    assert strand.kept[old].left_at is not None
    back = replace(strand, standing=replace(strand.standing, head=old))
    assert retention._left(back, 1000).kept[old].left_at is None


def test_a_split_network_makes_windows_longer_and_a_whole_one_makes_them_short_again() -> None:
    village = undecided()
    old = tea(village, "anna").head
    commit(village, "anna")
    suspect = lambda turn: turn.change(sights=turn.state.sights.set(TEA, Sight(suspected=turn.awake)))
    step(village, "anna", suspect)
    village.wait(hours=5)
    assert old in tea(village, "anna").kept
    step(village, "anna", lambda turn: partitions._agreed(turn, TEA))
    village.wait(minutes=1)
    assert old not in tea(village, "anna").kept


def test_a_suspicion_makes_no_window_longer_than_it_may() -> None:
    village = undecided(split_most=HOUR)
    old = tea(village, "anna").head
    commit(village, "anna")
    step(village, "anna", lambda turn: turn.change(sights=turn.state.sights.set(TEA, Sight(suspected=turn.awake))))
    village.wait(hours=2)
    assert old not in tea(village, "anna").kept


def test_there_is_a_limit_to_the_keys_of_one_group() -> None:
    village = talk("anna", "ben", max_kept=8)
    for _ in range(20):
        commit(village, "anna")
    strand = tea(village, "ben")
    assert len(strand.kept) == 8
    assert strand.here is not None
    assert len(strand.graph.steps) == 20


def test_the_branches_of_whoever_makes_the_most_of_them_give_way_first() -> None:
    village = talk("anna", "ben", "cleo", max_kept=10)
    start = tea(village, "cleo").head
    honest = commit(village, "ben", heard=False)
    for number in range(12):  # anna commits on one epoch again and again, as no honest device would

        def again(turn: object, number: int = number) -> None:
            strand: Strand = turn.strand(TEA)  # type: ignore[attr-defined]
            at = replace(strand, standing=replace(strand.standing, head=start))
            acting.commit(turn, at, force_path=True)  # type: ignore[arg-type]

        step(village, "anna", again)
    village.deliver()
    strand = tea(village, "cleo")
    assert len(strand.kept) == 10
    assert start in strand.kept  # on the path to the head: rivals are followed there
    assert honest in strand.kept
    assert strand.here is not None


def test_a_device_that_cannot_follow_keeps_of_its_home_what_it_stands_on_and_nothing_to_follow_with() -> None:
    village = undecided(("anna", "ben", "cleo"))
    strand = tea(village, "cleo")
    lost = replace(strand, standing=replace(strand.standing, head=strand.head))
    child = commit(village, "ben", heard=False)
    header = tea(village, "ben").signed[child]
    graph = lost.graph.with_step(header.step)
    lost = replace(lost, graph=graph, standing=replace(lost.standing, head=child))
    assert lost.here is None
    assert retention._nearest(lost) is None
    assert strand.head not in retention._without(lost, strand.head).kept
    lost = replace(lost, home=True)
    assert retention._nearest(lost) == strand.head
    after = retention._without(lost, strand.head)
    assert after.kept[strand.head].settled
    assert not after.kept[strand.head].group.private


def test_the_topic_of_what_is_final_outlives_its_keys() -> None:
    village = undecided()
    trunk = tea(village, "anna").trunk
    commit(village, "anna")
    village.wait(days=2)
    strand = tea(village, "anna")
    assert strand.final not in strand.kept
    assert strand.trunk == trunk
    assert trunk in [each.secret for each in village.state("anna").joined.values() if each.until is None]


def test_a_message_of_an_epoch_whose_window_is_over_is_late_and_not_waited_for() -> None:
    village = undecided()
    commit(village, "anna")
    village.wait(minutes=20)
    late = commit(village, "ben")  # on the epoch that anna has dropped
    village.heal()
    strand = tea(village, "anna")
    assert late in strand.graph.steps  # its header counts all the same, if somebody votes for it
    assert late not in strand.kept
    assert not [each for each in village.state("anna").waiting.items.values() if each.payload.find(late) >= 0]


def test_windows_of_a_day_and_a_week_are_what_policies_say() -> None:
    village = talk("anna")
    state = village.state("anna")
    assert state.home is not None
    home, conversation = state.strands[state.home], state.strands[TEA]
    spans = step(village, "anna", lambda turn: (retention.window(turn, home), retention.window(turn, conversation)))
    assert spans == (7 * DAY, DAY)


@pytest.mark.parametrize("people", [("anna",), ("anna", "ben")])
def test_nothing_is_looked_at_again_when_only_the_head_is_left(people: tuple[str, ...]) -> None:
    village = talk(*people, policy=SHORT)
    village.wait(hours=2)
    assert finals(village, *people) == {tea(village, "anna").head}
    for name in people:
        assert not [key for key in village.state(name).duties if key[0].name == "RETAIN" and key[1] == TEA]


# ---------------------------------------------------------------- what can never be read


def given(village: Village, name: str, payload: Payload, mark: bytes) -> None:
    act(village, name, lambda turn: flow.deliver(turn, TEA, payload, FrameId(mark)))


def test_what_others_do_after_we_are_out_for_good_is_neither_kept_nor_waited_for() -> None:
    village = talk("anna", "ben", "cleo", "dora", "emil")
    remove(village, "anna", "emil", heard=False)
    old = Post(epoch=EpochId(b"of an epoch that never comes"), message=b"m")
    given(village, "emil", old, b"waits")
    village.wait(minutes=1)
    assert tea(village, "emil").final == tea(village, "anna").final
    assert not village.state("emil").waiting.items
    before = len(village.log)
    commit(village, "ben")
    commit(village, "cleo")
    village.wait(minutes=1)
    later = [payload for kind in (Commit, Votes) for _, payload in sent(village, kind, before)]
    assert len(later) > 2
    summary = Digest(
        final=tea(village, "emil").final,
        head=tea(village, "emil").final,
        steps=tuple(each.signed for each in later if isinstance(each, Commit)),
    )
    for number, payload in enumerate([*later, summary]):
        given(village, "emil", payload, b"%d" % number)
    first = next(each.signed for each in later if isinstance(each, Commit))
    act(village, "emil", lambda turn: turn.put(with_step(turn.strand(TEA), first), graph=True))  # known since before
    strand = tea(village, "emil")
    assert strand.final == strand.head
    assert not strand.graph.steps
    assert not village.state("emil").waiting.items


def test_a_branch_that_we_were_brought_in_on_is_not_forgotten_while_it_may_win() -> None:
    strand = tea(talk("anna", "ben"), "ben")
    out = replace(strand, membership=Membership.OUT)
    assert not out.over
    assert replace(out, kept=PMap()).over


def test_messages_of_a_branch_that_lost_go_when_as_much_is_final_beside_it() -> None:
    village = talk("anna", "ben", "cleo")
    withhold(village, lambda payload: isinstance(payload, Commit), "cleo")
    village.part(["anna"], ["ben", "cleo"])
    sides = {commit(village, name) for name in ("anna", "ben")}
    for name in ("anna", "ben"):
        say(village, name, f"on the side of {name}")
    village.heal()
    [lost] = sides - heads(village, "anna")
    withhold(village, lambda payload: isinstance(payload, Commit) and payload.signed.step.epoch == lost, "cleo")
    village.deliver()
    assert village.state("cleo").waiting.items
    village.wait(minutes=2)
    assert finals(village, "cleo") == finals(village, "anna")
    assert not village.state("cleo").waiting.items
    given(village, "cleo", next(post for _, post in sent(village, Post) if post.epoch == lost), b"again")
    assert not village.state("cleo").waiting.items
    assert sorted(village.said("cleo")) == [b"on the side of anna", b"on the side of ben"]


def apart(window: int, minutes: int) -> Village:
    """Cleo was on a branch of its own for so long; the others hear of that, and it hears nothing more."""
    village = talk("anna", "ben", "cleo", policy=Policy(window=window), split_most=MINUTE)
    village.part(["anna", "ben"], ["cleo"])
    commit(village, "anna")
    commit(village, "cleo")
    say(village, "cleo", "on a branch")
    commit(village, "cleo")
    village.wait(minutes=minutes)
    return village


def test_nothing_waits_for_a_branch_whose_beginning_has_no_keys_here_any_more() -> None:
    village = apart(10 * MINUTE, 20)
    withhold(village, lambda _: True, "cleo")
    village.heal()
    village.wait(minutes=5)
    for name in ("anna", "ben"):
        assert tea(village, name).final != tea(village, name).head  # that branch may win yet
        assert tea(village, name).graph.has(tea(village, "cleo").head)
        assert not village.state(name).waiting.items
    village.lost = lambda _frame, _name: False
    village.heal()
    village.wait(minutes=10)
    assert len(heads(village, "anna", "ben", "cleo")) == 1
    assert "on a branch" in [said.decode() for said in village.said("anna")]


def test_what_waits_for_a_branch_goes_with_the_keys_of_its_beginning() -> None:
    village = apart(HOUR, 15)
    village.lost = lambda frame, name: (
        name == "cleo" or (name == "anna" and isinstance(payload_of(village, frame), Commit))
    )
    village.heal()
    village.wait(minutes=5)
    assert village.state("anna").waiting.items
    village.wait(hours=1)
    assert tea(village, "anna").final != tea(village, "anna").head
    assert not village.state("anna").waiting.items


def test_what_waits_for_a_branch_on_which_we_are_brought_in_stays() -> None:
    village = undecided(("anna", "ben", "cleo"))
    strand, head = tea(village, "anna"), commit(village, "anna")
    village.wait(minutes=11)
    ours = next(each for each in strand.graph.members(strand.head) if each.account == village.own("anna"))
    new = replace(ours, incarnation=Incarnation(bytes(16)), leaf=7, since=9)
    names = [EpochId(bytes([each]) * 32) for each in range(2)]
    for name, adds, stays in zip(names, ((), (new,)), (False, True), strict=True):
        beside = Step(epoch=name, parent=strand.head, author=ours.incarnation, adds=adds)
        now = with_step(tea(village, "anna"), SignedStep(step=beside, signature=b""))
        turn = Turn(village.state("anna"), village.now, village.devices["anna"].provider)
        assert now.head == head
        assert following.unreachable(turn, now, Post(epoch=name, message=b"")) is not stays


def test_a_commit_does_not_wait_for_proposals_of_an_epoch_that_is_settled() -> None:
    village = talk("anna", "ben", "cleo", "dora")
    parent = tea(village, "cleo").head
    withhold(village, lambda payload: isinstance(payload, Post), "cleo")
    village.do("anna", Depart(intent=IntentId(bytes(16)), conversation=TEA))
    village.wait(minutes=1)
    needs = [each.needs for each in village.state("cleo").waiting.items.values()]
    assert (Need.PROPOSAL, parent) in needs
    village.wait(hours=1)
    assert finals(village, "cleo") == finals(village, "ben") == heads(village, "ben", "cleo")
    assert not village.state("cleo").waiting.items
