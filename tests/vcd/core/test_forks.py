"""Forks, rewinds and recovery that went wrong elsewhere, and attacks on them: none of it happens here.

Many of these names are those of bugs that other programs had (Marmot, XMTP, Phoenix, OpenMLS, Matrix).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from mls.proposals import Remove
from mls.registries import LeafIndex
from tests.vcd.core.branches import (
    TEA,
    bring,
    commit,
    finals,
    heads,
    release,
    remove,
    sent,
    talk,
    tea,
    withhold,
)
from tests.vcd.core.company import act, step
from tests.vcd.core.village import Village
from vcd.core import acting, events, following, inputs, steps, voting
from vcd.core.errors import Refused
from vcd.core.names import EpochId
from vcd.core.payloads import Commit, Door, Votes, Want
from vcd.core.policy import DAY, MINUTE, Policy, Who
from vcd.core.strand import Membership, dropped
from vcd.core.turn import Turn

ALL = ("anna", "ben", "cleo")
SHORT = Policy(window=10 * MINUTE)


def at(village: Village, name: str, epoch: EpochId, *, whom: str | None = None) -> EpochId:
    """A commit that no honest device makes: on an epoch that is not the head."""

    def make(turn: Turn) -> EpochId:
        strand = turn.strand(TEA)
        elsewhere = replace(strand, standing=replace(strand.standing, head=epoch))
        turn.put(elsewhere)
        proposals = []
        if whom is not None:
            account = village.own(whom)
            leaf = next(each.leaf for each in strand.graph.members(epoch) if each.account == account)
            proposals.append(Remove(LeafIndex(leaf)))
        said, _ = acting.commit(turn, elsewhere, proposals=proposals, force_path=True)
        return said.step.epoch

    return step(village, name, make)


def together(village: Village, *people: str) -> bool:
    return len(heads(village, *people)) == 1 and all(tea(village, name).here is not None for name in people)


def say(village: Village, name: str, text: bytes) -> None:
    village.do(name, inputs.Say(conversation=TEA, nonce=text.ljust(16, b"."), data=text))


# ---------------------------------------------------------------- attacks


def test_a_rival_that_was_withheld_and_is_shown_to_half_the_group_moves_nobody_who_has_the_votes() -> None:
    people = ("anna", "ben", "cleo", "dora", "mallory")
    village = talk(*people, policy=SHORT)
    start = tea(village, "anna").head
    village.part(["mallory"], ["anna", "ben", "cleo", "dora"])
    rivals = [at(village, "mallory", start) for _ in range(8)]  # one of them has a high tag
    honest = commit(village, "anna")
    village.wait(minutes=9, seconds=30)
    assert all(start in tea(village, name).kept for name in people)
    wins = [
        each
        for each in rivals
        if tea(village, "mallory").graph.steps[each].tag > tea(village, "anna").graph.steps[honest].tag
    ]
    assert wins  # or there is nothing to test with this seed
    village.lost = lambda frame, name: frame.by == "mallory" and name in ("cleo", "dora")
    village.heal()
    assert heads(village, "anna", "ben") == heads(village, "cleo", "dora") == {honest}
    village.wait(minutes=3)  # the window is over for those who have not heard of it
    village.wait(hours=4)
    assert together(village, "anna", "ben", "cleo", "dora")
    for name in ("anna", "ben", "cleo", "dora"):
        say(village, name, name.encode())
    village.wait(minutes=5)
    for name in ("anna", "ben", "cleo", "dora"):
        assert {b"anna", b"ben", b"cleo", b"dora"} <= set(village.said(name))


def test_a_header_that_a_member_signed_under_the_name_of_anothers_commit_gives_way_to_that_commit() -> None:
    village = talk(*ALL, "mallory")
    start = tea(village, "cleo").head
    withhold(village, lambda payload: isinstance(payload, Commit), "cleo")
    child = commit(village, "anna", heard=False)
    honest = tea(village, "anna").signed[child]
    mallory, group = voting.own(village.state("mallory"), tea(village, "mallory")), tea(village, "mallory").kept[start]
    assert mallory is not None
    lie = replace(honest.step, author=mallory, removes=(honest.step.author,), tag=b"\xff" * 32)
    signed = steps.signed(group.group.suite, group.group.signature_key, lie)
    act(village, "cleo", lambda turn: following.on_header(turn, turn.strand(TEA), signed))
    assert tea(village, "cleo").graph.steps[child] == lie
    release(village)
    village.wait(minutes=1)
    assert together(village, *ALL, "mallory")
    assert tea(village, "cleo").graph.members(child) == tea(village, "anna").graph.members(child)
    assert finals(village, *ALL, "mallory") == {child}


def test_a_sleeping_device_wakes_after_the_window() -> None:
    village = talk(*ALL, policy=SHORT)
    village.down("cleo")
    for _ in range(7):
        commit(village, "anna")
        village.wait(hours=2)
        commit(village, "ben")
    say(village, "anna", b"are you there?")
    village.wait(days=3)
    village.restart("cleo")
    village.do("cleo", inputs.Slept(milliseconds=4 * DAY))
    village.wait(minutes=5)
    assert together(village, *ALL)
    assert finals(village, *ALL) == heads(village, *ALL)
    assert b"are you there?" in village.said("cleo")
    assert not list(sent(village, Door))  # it followed, commit by commit


def test_a_sleeping_device_that_was_on_a_losing_branch_wakes_after_the_window() -> None:
    village = talk(*ALL, policy=SHORT)
    village.part(["cleo"], ["anna", "ben"])
    commit(village, "cleo")
    commit(village, "anna")
    commit(village, "ben")
    village.wait(hours=1)  # the parent's keys are gone on both sides
    assert all(len(tea(village, name).kept) == 1 for name in ALL)
    village.heal()
    village.wait(hours=6)
    assert together(village, *ALL)
    assert finals(village, *ALL) == heads(village, *ALL)


def test_two_removals_rotate_topics_apart_and_the_branches_find_each_other_again() -> None:
    people = ("anna", "ben", "cleo", "dora", "eve")
    village = talk(*people)
    village.part(["anna", "dora"], ["ben", "cleo", "eve"])
    trunk = tea(village, "anna").trunk
    one = remove(village, "anna", "eve")
    assert tea(village, "anna").head == one
    assert tea(village, "anna").kept[one].topic != trunk  # nobody on the other side knows that one
    commit(village, "ben")
    village.wait(minutes=2)
    village.heal()
    village.wait(minutes=10)
    assert heads(village, "anna", "ben", "cleo", "dora") == {tea(village, "anna").head}
    assert together(village, "anna", "ben", "cleo", "dora")
    account = village.own("eve")
    assert account not in {each.account for each in tea(village, "ben").graph.members(tea(village, "ben").head)}


def test_two_admins_remove_each_others_friends_at_once_and_both_removals_are_heard_of() -> None:
    people = ("anna", "ben", "cleo", "dora")
    village = Village(3)
    for name in people:
        village.account(name)
    admins = tuple(sorted(village.own(name) for name in ("anna", "ben")))
    village.do("anna", inputs.Open(conversation=TEA, policy=Policy(admins=admins)))
    for guest in people[1:]:
        bring(village, "anna", guest)
    village.wait(minutes=1)
    village.part(["anna", "cleo"], ["ben", "dora"])
    one, other = remove(village, "anna", "dora"), remove(village, "ben", "cleo")
    topics = {tea(village, "anna").kept[one].topic.raw, tea(village, "ben").kept[other].topic.raw}
    assert len(topics) == 2
    village.heal()
    for name in ("anna", "ben"):
        assert {one, other} <= set(tea(village, name).graph.steps)
    assert together(village, "anna", "ben")


def test_the_removed_member_forks_earlier_than_its_removal() -> None:
    people = ("anna", "ben", "mallory")
    village = talk(*people)
    start = tea(village, "anna").head
    village.part(["mallory"], ["anna", "ben"])
    commit(village, "ben")
    gone = remove(village, "anna", "mallory")
    forks = [at(village, "mallory", start) for _ in range(4)]
    village.heal()
    village.wait(minutes=2)
    for name in ("anna", "ben"):
        strand = tea(village, name)
        assert strand.graph.is_ancestor(gone, strand.head) or strand.final == strand.head
        assert not any(each == strand.head for each in forks)
        assert village.own("mallory") not in {each.account for each in strand.graph.members(strand.head)}
    assert together(village, "anna", "ben")


def test_a_member_that_commits_on_one_epoch_without_end_fills_nobodys_disk() -> None:
    village = talk("anna", "ben", "mallory", max_commits_each=4)
    start = tea(village, "anna").head
    for _ in range(12):
        at(village, "mallory", start)
    village.deliver()
    followed = [each for each in tea(village, "anna").kept if each in tea(village, "anna").graph.steps]
    assert len(followed) <= 4
    assert ("commits-each", "") in village.devices["anna"].refused


# ---------------------------------------------------------------- what went wrong elsewhere


def test_past_epoch_rival_dropped() -> None:
    """A rival of an epoch that was left already is followed, and wins if the rule says so."""
    village = talk(*ALL)
    start = tea(village, "anna").head
    for _ in range(3):
        commit(village, "anna")
    rival = at(village, "ben", start)
    village.deliver()
    for name in ALL:
        assert rival in tea(village, name).kept
        assert rival in tea(village, name).graph.steps
    assert together(village, *ALL)


def test_own_commit_cannot_be_reprocessed_after_restart() -> None:
    """What a commit of our own began was stored with it, so it is never read again from the wire."""
    village = talk(*ALL)
    village.part(["anna"], ["ben", "cleo"])
    own = commit(village, "anna")
    village.restart("anna")
    frames = [frame for frame, said in sent(village, Commit) if said.signed.step.epoch == own]
    for frame in frames:
        village.step("anna", inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))
    assert own in tea(village, "anna").kept
    rival = commit(village, "ben")
    village.heal()
    assert {own, rival} <= set(tea(village, "anna").kept)
    assert together(village, *ALL)


def test_arrival_order() -> None:
    """In whatever order commits come, all stand on the same one."""
    found = set()
    for order in permutations(range(3)):
        village = talk("anna", "ben", "cleo", "dora")
        village.part(["anna"], ["ben"], ["cleo"], ["dora"])
        epochs = [commit(village, name) for name in ALL]
        frames = [frame for frame, said in sent(village, Commit) if said.signed.step.epoch in epochs]
        for place in order:
            frame = frames[place]
            village.step("dora", inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))
        found.add(tea(village, "dora").head)
    assert len(found) == 1


def test_a_commit_on_a_commit_that_has_not_arrived() -> None:
    village = talk("anna", "ben")
    village.part(["anna"], ["ben"])
    chain = [commit(village, "anna") for _ in range(4)]
    frames = {said.signed.step.epoch: frame for frame, said in sent(village, Commit)}
    for epoch in reversed(chain):
        frame = frames[epoch]
        village.step("ben", inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))
    assert tea(village, "ben").head == chain[-1]


def test_a_tree_hash_is_not_a_state_identity() -> None:
    """Two epochs of one number whose commits have no path have one tree, and are two epochs."""
    village = talk(*ALL)
    village.part(["anna"], ["ben", "cleo"])
    commit(village, "anna")
    commit(village, "ben")
    village.heal()
    strand = tea(village, "cleo")
    rivals = [strand.kept[each] for each in strand.graph.children(strand.graph.anchor.epoch)]
    assert len(rivals) == 2
    assert len({each.group.epoch for each in rivals}) == 1
    assert len({each.group.epoch_id for each in rivals}) == 2


def test_more_than_5_commits_catch_up_evicts_secrets_before_delivery() -> None:
    """Who was away reads what was said in every epoch that it comes through."""
    village = talk(*ALL)
    village.down("cleo")
    texts = []
    for number in range(12):
        texts.append(f"text {number}".encode())
        say(village, "anna", texts[-1])
        commit(village, "ben")
    village.wait(minutes=1)
    village.restart("cleo")
    village.wait(minutes=1)
    assert [each for each in village.said("cleo") if each in texts] == texts
    assert together(village, *ALL)


def test_recovered_clients_still_forked() -> None:
    """Who came back counts as back only when somebody else follows where it is."""
    village = talk(*ALL)
    lost: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in lost, "cleo")
    lost.append(commit(village, "anna", heard=False))
    village.deliver()
    village.wait(minutes=40)
    assert together(village, *ALL)
    assert tea(village, "cleo").membership is Membership.IN
    assert village.state("cleo").sights[TEA].recovery.entered is None
    assert finals(village, *ALL) == heads(village, *ALL)


def test_false_positives_after_removal() -> None:
    """Who was removed is not out of sync, and nobody brings it back."""
    village = talk(*ALL)
    remove(village, "anna", "cleo")
    village.wait(days=1)
    assert not village.told("cleo", events.OutOfSync)
    assert together(village, "anna", "ben")
    assert not [want for _, want in sent(village, Want) if want.plea is not None]


def test_members_added_only_on_the_losing_branch_hear_of_the_winner() -> None:
    village = talk("anna", "ben", "cleo")
    village.account("dora")
    village.part(["anna", "dora"], ["ben", "cleo"])
    bring(village, "anna", "dora")
    commit(village, "ben")
    village.heal()
    strand = tea(village, "dora")
    others = tea(village, "ben")
    assert set(others.graph.steps) == set(strand.graph.steps)


def test_merge_before_the_relay_acknowledged_it_forks_the_sender() -> None:
    """A commit that nobody hears of is one branch like others: its author comes to where all are."""
    village = talk(*ALL)
    village.part(["anna"], ["ben", "cleo"])
    commit(village, "anna")
    village.wait(hours=1)
    commit(village, "ben")
    village.heal()
    village.wait(minutes=1)
    assert together(village, *ALL)


def test_a_lone_member_does_not_decide_for_the_others() -> None:
    village = talk(*ALL)
    village.part(["anna"], ["ben", "cleo"])
    before = tea(village, "anna").final
    commit(village, "anna")
    village.wait(days=10)
    assert tea(village, "anna").final == before


def test_what_is_final_does_not_change_when_a_rival_with_a_higher_tag_comes_late() -> None:
    village = talk(*ALL, policy=Policy(window=DAY))
    start = tea(village, "anna").head
    village.part(["cleo"], ["anna", "ben"])
    rivals = [at(village, "cleo", start) for _ in range(8)]
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in rivals, "anna", "ben")
    village.part()
    child = commit(village, "anna")
    # Cleo is made to stand with the others, as if it had lost its own commits, and votes like them.
    strand = tea(village, "cleo")
    honest = replace(
        strand,
        kept=strand.kept.changed([each for each in rivals if each in strand.kept], {}),
        standing=replace(strand.standing, head=child),
    )
    step(village, "cleo", lambda turn: turn.put(honest, graph=True))
    village.wait(minutes=1)
    assert finals(village, "anna", "ben") == {child}
    release(village)
    village.wait(minutes=5)
    assert finals(village, "anna", "ben") == {child}
    assert heads(village, "anna", "ben") == {child}
    for name in ("anna", "ben"):
        assert not [each for each in rivals if each in tea(village, name).kept]


def test_votes_that_come_before_anything_else_make_nothing_final_that_is_not_known() -> None:
    village = talk(*ALL)
    withhold(village, lambda each: isinstance(each, Commit), "cleo")
    child = commit(village, "anna", heard=False)
    village.deliver()
    village.wait(minutes=1)
    assert tea(village, "cleo").final != child
    release(village)
    village.wait(minutes=1)
    assert finals(village, *ALL) == {child}


def test_nobody_votes_for_what_it_cannot_follow() -> None:
    village = talk(*ALL)
    lost: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in lost, "cleo")
    lost.append(commit(village, "anna", heard=False))
    village.deliver()
    village.wait(minutes=9)
    assert tea(village, "cleo").head == lost[0]
    me = voting.own(village.state("cleo"), tea(village, "cleo"))
    cast = [said.ballot for _, votes in sent(village, Votes) for said in votes.ballots]
    assert not [each for each in cast if each.voter == me and each.child == lost[0]]


@pytest.mark.parametrize("hours", [1, 30, 24 * 14])
def test_a_network_that_was_split_for_long_is_one_group_again(hours: int) -> None:
    village = talk("anna", "ben", "cleo", "dora")
    village.part(["anna", "ben"], ["cleo", "dora"])
    for name in ("anna", "cleo", "ben", "dora"):
        commit(village, name)
        say(village, name, name.encode())
    village.wait(hours=hours)
    village.heal()
    village.wait(hours=6)
    people = ("anna", "ben", "cleo", "dora")
    assert together(village, *people)
    assert finals(village, *people) == heads(village, *people)


def test_the_same_history_gives_the_same_bytes() -> None:
    def run() -> list[bytes]:
        village = talk(*ALL)
        village.part(["anna"], ["ben", "cleo"])
        commit(village, "anna")
        commit(village, "ben")
        village.heal()
        village.wait(minutes=30)
        return [frame.payload for frame in village.log]

    assert run() == run()


def test_a_member_that_is_not_there_delays_finality_and_not_messages() -> None:
    village = talk(*ALL)
    village.down("cleo")
    before = tea(village, "anna").final
    commit(village, "anna")
    say(village, "anna", b"hello")
    village.wait(days=2)
    assert tea(village, "anna").final == before
    assert b"hello" in village.said("ben")


def test_who_was_alone_for_longer_than_keys_last_goes_where_the_others_voted() -> None:
    """Nobody can follow the branch that it made any more, whichever tag is the greater."""
    greater = set()
    for seed in range(6):
        village = talk("anna", "ben", "cleo", seed=seed, policy=SHORT)
        village.part(["anna"], ["ben", "cleo"])
        alone, others = commit(village, "anna"), commit(village, "ben")
        tags = {each: tea(village, name).graph.steps[each].tag for name, each in (("anna", alone), ("ben", others))}
        greater.add(tags[alone] > tags[others])
        village.wait(hours=8)
        assert all(len(tea(village, name).kept) == 1 for name in ("anna", "ben", "cleo"))
        village.heal()
        village.wait(hours=8)
        assert len(heads(village, "anna", "ben", "cleo")) == 1
        assert finals(village, "anna", "ben", "cleo") == heads(village, "anna", "ben", "cleo")
    assert greater == {False, True}


def bound_beside_a_removal() -> tuple[Village, EpochId]:
    """Cleo removes ben beside what anna did and voted for with him, of which all hear: there the group stands."""
    village = talk(*ALL, policy=Policy(remove=Who.EVERYBODY))
    village.part(["cleo"], ["anna", "ben"])
    remove(village, "cleo", "ben", heard=False)
    bound = commit(village, "anna")
    village.wait(seconds=30)
    withhold(village, lambda payload: isinstance(payload, Votes), "anna", "ben")  # what cleo says now
    village.heal()
    assert heads(village, "anna", "ben") == {bound}
    assert finals(village, "anna", "ben") != {bound}
    return village, bound


def test_who_was_removed_beside_the_head_makes_no_commits_there_without_end() -> None:
    village, bound = bound_beside_a_removal()
    with pytest.raises(Refused, match="commit-void"):
        commit(village, "ben")
    assert tea(village, "ben").graph.children(bound) == ()
    release(village)
    village.wait(minutes=5)
    assert len(heads(village, *ALL)) == 1


def test_who_was_removed_by_somebody_junior_removes_them_in_turn() -> None:
    village, bound = bound_beside_a_removal()
    made = remove(village, "ben", "cleo")
    assert tea(village, "ben").head == made
    assert tea(village, "ben").graph.parent(made) == bound


def test_what_all_have_dropped_is_where_nobody_stands() -> None:
    village = talk("anna", "ben")
    parent = tea(village, "anna").head
    several = [at(village, "ben", parent) for _ in range(3)]
    village.deliver()
    first = tea(village, "anna").head
    assert first in several

    def drop(turn: Turn) -> None:
        turn.put(dropped(turn.strand(TEA), first), graph=True)

    for name in ("anna", "ben"):
        step(village, name, drop)
    assert together(village, "anna", "ben")
    assert tea(village, "anna").head != first
    village.wait(minutes=5)
    assert finals(village, "anna", "ben") == heads(village, "anna", "ben")


def test_where_somebody_still_stands_who_dropped_it_comes_back_to() -> None:
    village = talk(*ALL)
    parent = tea(village, "anna").head
    several = [at(village, "ben", parent) for _ in range(2)]
    village.deliver()
    first = tea(village, "anna").head
    assert first in several
    step(village, "anna", lambda turn: turn.put(dropped(turn.strand(TEA), first), graph=True))
    assert tea(village, "anna").head not in (first, parent)
    village.part(["ben", "cleo"])
    village.wait(seconds=30)
    village.heal()
    village.wait(minutes=30)
    assert together(village, *ALL)
    assert finals(village, *ALL) == heads(village, *ALL)
