"""Accounts of several devices that come back from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.commit import NewLeaf
from tests.vcd.core.branches import (
    TEA as CHAT,
    bring,
    commit,
    finals,
    heads,
    member,
    payload_of,
    release,
    sent,
    tea,
    withhold,
)
from tests.vcd.core.company import act, show_up, step
from tests.vcd.core.homes import device, home, link, remove, restore
from tests.vcd.core.village import Frame, Village
from vcd.core import (
    acting,
    desync,
    events,
    flow,
    following,
    founding,
    inputs,
    leaves,
    leaving,
    ourselves,
    retention,
    rotation,
    summaries,
    voting,
)
from vcd.core.duties import Duty
from vcd.core.names import EpochId, FrameId, IntentId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, Digest, Door, Lineage, Votes
from vcd.core.policy import MINUTE, Policy, Who
from vcd.core.strand import Membership, at_rest, dropped
from vcd.core.turn import Turn

INTENT = IntentId(b"remove somebody!")
ALL = ("anna", "ben", "laptop", "phone")


def chat(policy: Policy | None = None) -> Village:
    """Anna, Ben, and an account of two devices."""
    village = Village()
    village.account("anna")
    village.do("anna", inputs.Open(conversation=CHAT, policy=policy))
    bring(village, "anna", "ben")
    bring(village, "anna", "laptop")
    village.wait(minutes=1)
    link(village, "laptop", "phone")
    village.wait(minutes=1)
    assert len(heads(village, *ALL)) == 1
    assert all(tea(village, name).here is not None for name in ALL)
    return village


def lose(village: Village, *people: str) -> EpochId:
    lost: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in lost, *people)
    lost.append(commit(village, "anna", heard=False))
    village.deliver()
    return lost[0]


def hear_what_is_final(village: Village, name: str) -> None:
    """Headers and votes, without the commits."""
    [proof] = [each for each in tea(village, "anna").proofs.values() if each.anchor.epoch == tea(village, name).final]
    step(village, name, lambda turn: flow.deliver(turn, CHAT, proof, FrameId(bytes(32))))


def test_one_device_votes_for_the_account() -> None:
    village = chat()
    voters = [name for name in ("laptop", "phone") if voting.votes_here(village.state(name), tea(village, name))]
    assert voters == ["laptop"]  # the senior one
    before = len(village.log)
    commit(village, "phone")
    village.wait(minutes=1)
    by = {frame.by for frame, _ in sent(village, Votes, before) if frame.topic in _topics(village)}
    assert by == {"anna", "ben", "laptop"}
    assert finals(village, *ALL) == heads(village, *ALL)


def test_a_header_that_comes_before_its_commit_does_not_keep_a_device_from_following() -> None:
    """Another device of the account voted, so all is final for the phone as soon as it hears of it."""
    village = chat()
    village.down("phone")
    before = len(village.log)
    commit(village, "ben")
    commit(village, "anna")
    village.do("ben", inputs.Say(conversation=CHAT, nonce=bytes(16), data=b"said there"))
    village.wait(minutes=2)
    assert finals(village, "anna", "ben", "laptop") == heads(village, "anna", "ben", "laptop")
    [proof] = [
        each for each in tea(village, "anna").proofs.values() if each.anchor.epoch == tea(village, "phone").final
    ]
    village.devices["phone"].up = True

    def hear(turn: Turn) -> None:
        flow.deliver(turn, CHAT, proof, FrameId(bytes(32)))

    step(village, "phone", hear)
    assert tea(village, "phone").final == tea(village, "anna").final
    assert tea(village, "phone").here is None
    village.deliver()
    village.wait(minutes=5)
    assert not any(each.signed.step.moved for _, each in sent(village, Commit, before))
    assert finals(village, *ALL) == heads(village, *ALL) == {tea(village, "phone").graph.anchor.epoch}
    assert not village.told("phone", events.OutOfSync)
    assert village.said("phone") == [b"said there"]


def test_commits_that_nobody_has_any_more_keep_the_graph_for_as_long_as_keys_last() -> None:
    village = chat(policy=Policy(come_back=Who.NOBODY))
    gone: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in gone, "phone")
    gone.append(commit(village, "anna", heard=False))
    village.deliver()
    village.wait(minutes=1)
    hear_what_is_final(village, "phone")
    phone = tea(village, "phone")
    assert phone.final == gone[0] != phone.graph.anchor.epoch
    assert phone.here is None
    village.wait(days=2)
    phone = tea(village, "phone")
    assert phone.final == phone.graph.anchor.epoch
    assert not phone.graph.steps
    assert not phone.kept


def test_what_a_device_came_past_is_neither_waited_nor_asked_for() -> None:
    """Ben is away, so nothing becomes final, and the commit that was lost goes on being known by its header."""
    village = chat()
    bring(village, "anna", "cleo")
    village.wait(minutes=1)
    show_up(village, CHAT, "cleo")
    village.wait(minutes=1)
    village.down("ben")
    lost = lose(village, "laptop", "phone")
    village.do("anna", inputs.Say(conversation=CHAT, nonce=bytes(16), data=b"said there"))
    village.wait(minutes=1)
    assert all(village.state(name).waiting.items for name in ("laptop", "phone"))
    village.wait(minutes=30)
    for name in ("laptop", "phone"):
        strand = tea(village, name)
        assert strand.here is not None
        assert strand.final != strand.head
        assert strand.graph.is_ancestor(lost, strand.head)
        assert summaries.missing(strand) == ()
        assert village.said(name).count(b"said there") == 1
    release(village)
    for name in ("laptop", "phone"):
        assert not village.state(name).waiting.items


def test_an_account_that_shut_out_a_device_comes_back_with_a_key_that_it_never_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    village = chat()
    tablet = link(village, "laptop", "tablet")
    monkeypatch.setattr(rotation, "_rotate", lambda _turn, removal, _names: removal)  # nothing else replaces the leaf
    monkeypatch.setattr(leaves, "replace_due", lambda _turn: None)
    remove(village, "laptop", tablet)
    village.wait(minutes=1)
    old = tea(village, "laptop").here
    lost = lose(village, "laptop", "phone")
    village.wait(hours=1)
    now = tea(village, "laptop").here
    assert old is not None
    assert now is not None
    assert not tea(village, "laptop").entered(lost)
    assert len(heads(village, *ALL)) == 1
    assert now.group.own_leaf_node.signature_key != old.group.own_leaf_node.signature_key


def test_who_comes_back_acts_under_the_list_that_its_leaf_shows() -> None:
    """Else a commit that showed that list on another branch would strike it, and every further try."""
    village = chat()
    remove(village, "laptop", link(village, "laptop", "tablet"))
    village.wait(minutes=10)
    edition = village.state("laptop").book.edition
    assert edition is not None
    before = set(tea(village, "anna").graph.steps)
    lose(village, "laptop", "phone")
    found: dict[EpochId, Step] = {}
    for _ in range(60):
        village.wait(minutes=1)
        strand = tea(village, "anna")
        found |= {each: strand.graph.steps[each] for each in strand.graph.steps if each not in before}
    [back] = [each for each in found.values() if each.moved]
    assert back.under == edition.head.version > 0


def asleep_at_a_removal() -> Village:
    """While the phone is down a tablet is shut out, and the leaf that the account has since never reaches the phone."""
    village = chat()
    tablet = link(village, "laptop", "tablet")
    account = member(village, "anna", "laptop").incarnation

    def missed(frame: Frame, name: str) -> bool:
        said = payload_of(village, frame)
        return name == "phone" and isinstance(said, Commit) and said.signed.step.author == account

    village.lost = missed
    village.down("phone")
    remove(village, "laptop", tablet)
    village.wait(minutes=1)
    return village


def test_who_missed_the_leaf_by_which_its_account_shut_somebody_out_comes_back_with_that_leafs_key() -> None:
    village = asleep_at_a_removal()
    village.restart("phone")
    until_lost(village, "phone")
    here = tea(village, "laptop").here
    assert here is not None
    new = here.group.own_leaf_node.signature_key
    assert all(each.group.own_leaf_node.signature_key != new for each in tea(village, "phone").kept.values())
    village.wait(minutes=30)
    assert tea(village, "phone").here is not None
    assert len(heads(village, *ALL)) == 1


def until_lost(village: Village, name: str) -> None:
    for _ in range(90):
        village.wait(seconds=20)
        if tea(village, name).here is None:
            return
    pytest.fail("it follows")


def _topics(village: Village) -> set[bytes]:
    return {each.keys.name for each in village.state("anna").joined.values() if each.group_id == CHAT}


def test_a_device_that_takes_over_the_voting_waits_until_the_votes_of_before_have_reached_it() -> None:
    village = chat()
    before = home(village, "phone")
    members = tuple(each for each in before.graph.anchor.members if bytes(each.account) == device(village, "phone"))
    anchor = replace(before.graph.anchor, members=members, epoch=EpochId(b"later".ljust(32)))
    now = replace(before.standing, head=anchor.epoch, final=anchor.epoch)
    after = replace(before, graph=type(before.graph)(anchor=anchor), standing=now)

    def gone(turn: Turn) -> tuple[bool, bool]:
        turn.state = replace(turn.state, strands=turn.state.strands.set(after.group_id, after))
        strand = turn.strand(CHAT)
        was = voting.votes_here(turn.state, strand)
        voting.moved(turn, before, after)
        at = turn.state.duties[(Duty.VOTE, b"")]
        assert at == turn.now + turn.state.config.digest_every
        waits = voting.votes_here(turn.state, strand)
        turn.not_due(Duty.VOTE, b"")
        ready = voting.votes_here(turn.state, strand)
        turn.state = village.state("phone")
        assert was
        return waits, ready

    assert step(village, "phone", gone) == (False, True)


def test_a_device_with_an_old_disk_does_not_vote() -> None:
    village = chat()
    state = founding.restored(village.state("laptop"))
    assert voting.votes_here(village.state("laptop"), tea(village, "laptop"))
    assert not voting.votes_here(state, state.strands[CHAT])
    assert not voting.votes_here(state, home(village, "laptop"))


def test_one_device_brings_the_account_back_and_the_others_come_along() -> None:
    village = chat()
    lose(village, "laptop", "phone")
    village.wait(minutes=30)
    assert len(heads(village, *ALL)) == 1
    for name in ("laptop", "phone"):
        strand = tea(village, name)
        assert strand.here is not None
        assert strand.membership is Membership.IN
    backs = [said for _, said in sent(village, Commit) if said.signed.step.moved]
    assert len({each.signed.step.epoch for each in backs}) == 1
    village.wait(minutes=5)
    assert finals(village, *ALL) == heads(village, *ALL)


def finish(village: Village, *names: str) -> None:
    """Where these stand is final for them, as if all had voted for it and that had been seen."""

    def final(turn: Turn) -> None:
        now = turn.strand(CHAT)
        turn.put(retention.rebased(replace(now, standing=replace(now.standing, final=now.head)), turn.state.book.own))

    for name in names:
        step(village, name, final)


def test_the_others_come_along_too_where_the_head_is_final_and_nothing_is_known_of_how_it_came_about() -> None:
    village = chat()
    lose(village, "laptop", "phone")
    until_lost(village, "laptop")
    until_lost(village, "phone")
    finish(village, *ALL)
    assert not tea(village, "phone").graph.steps
    village.wait(minutes=30)
    assert len(heads(village, *ALL)) == 1
    assert all(tea(village, name).here is not None for name in ALL)
    backs = [said for _, said in sent(village, Commit) if said.signed.step.moved]
    assert len({each.signed.step.epoch for each in backs}) == 1


def test_a_header_from_outside_can_be_checked_by_who_cannot_follow_though_the_leaf_has_a_new_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    village = chat()
    tablet = link(village, "laptop", "tablet")
    monkeypatch.setattr(rotation, "_rotate", lambda _turn, removal, _names: removal)  # nothing else replaces the leaf
    monkeypatch.setattr(leaves, "replace_due", lambda _turn: None)
    remove(village, "laptop", tablet)
    village.wait(minutes=1)
    lost = lose(village, "laptop", "phone")
    before = village.state("ben")
    while not (backs := [said.signed for _, said in sent(village, Commit) if said.signed.step.moved]):
        before = village.state("ben")
        village.wait(seconds=30)
    back = backs[0]
    assert back.step.parent == lost
    assert back.step.keys
    gone = dropped(before.strands[CHAT], lost)
    village.devices["ben"].state = replace(before, strands=before.strands.set(CHAT, gone))
    step(village, "ben", lambda turn: following.on_header(turn, turn.strand(CHAT), back))
    assert tea(village, "ben").graph.has(back.step.epoch)
    forged = replace(back, step=replace(back.step, epoch=EpochId(bytes(32)), keys=((back.step.author, b"another"),)))
    step(village, "ben", lambda turn: following.on_header(turn, turn.strand(CHAT), forged))
    assert not tea(village, "ben").graph.has(forged.step.epoch)


def test_who_follows_again_is_shown_at_once_how_that_became_final_of_which_it_missed_the_votes() -> None:
    village = chat()
    withhold(village, lambda each: isinstance(each, Commit | Votes | Digest | Lineage | Door), "phone")
    lost = commit(village, "anna")
    header = tea(village, "anna").signed[lost]
    village.wait(minutes=1)
    assert finals(village, "anna", "ben", "laptop") == {lost}
    ballots = [each for _, said in sent(village, Votes) for each in said.ballots if each.ballot.child == lost]
    prevotes = [each for each in ballots if each.ballot.round == 0]
    step(village, "phone", lambda turn: summaries.learn(turn, CHAT, (header,), prevotes))
    assert heads(village, "phone") == {lost} != finals(village, "phone")
    missed = [frame.id for kind in (Commit, Votes, Digest) for frame, _ in sent(village, kind)]
    village.lost = lambda frame, name: name == "phone" and frame.id in missed
    for _ in range(20):
        village.wait(seconds=30)
        if tea(village, "phone").here is not None:
            break
    village.wait(minutes=1)
    assert tea(village, "phone").here is not None
    assert finals(village, *ALL) == heads(village, *ALL)


def test_who_is_lost_before_what_is_final_for_all_others_shows_where_it_is_and_is_told_how_that_came_about() -> None:
    village = chat()
    withhold(village, lambda each: isinstance(each, Commit | Votes | Digest | Lineage), "phone")
    lost = [commit(village, "anna"), commit(village, "anna")]
    village.wait(minutes=1)
    assert finals(village, "anna", "ben", "laptop") == {lost[1]}
    missed = [frame.id for kind in (Commit, Votes, Digest) for frame, _ in sent(village, kind)]
    village.lost = lambda frame, name: name == "phone" and frame.id in missed

    def behind(turn: Turn) -> None:
        now = turn.strand(CHAT)
        turn.put(at_rest(replace(now, membership=Membership.LOST), now.head))
        turn.due(Duty.DESYNC, CHAT, turn.now)

    step(village, "phone", behind)
    assert not tea(village, "phone").graph.steps
    village.wait(minutes=5)
    assert len(heads(village, *ALL)) == 1
    assert tea(village, "phone").here is not None


def test_the_key_of_a_leaf_outlives_what_is_kept_of_the_conversation_so_the_account_can_ask_for_the_way_back() -> None:
    village = chat(Policy(window=MINUTE))
    lose(village, "laptop", "phone")
    before = village.lost
    village.lost = lambda frame, name: before(frame, name) or isinstance(payload_of(village, frame), Door)
    village.wait(hours=1)
    assert not tea(village, "laptop").kept
    assert member(village, "laptop", "laptop").key in step(village, "laptop", lambda turn: set(leaves._named(turn)))
    village.lost = before
    village.wait(hours=3)
    assert len(heads(village, *ALL)) == 1
    assert all(tea(village, name).here is not None for name in ALL)


def without_keys(village: Village) -> bytes:
    """The phone has nothing of the conversation any more, nor the key of its leaf there, and misses a commit."""
    withhold(village, lambda each: isinstance(each, Commit), "phone")
    commit(village, "anna")
    key: bytes = member(village, "phone", "laptop").key

    def forget(turn: Turn) -> None:
        turn.use(turn.emulation.without_keys([key]))
        strand = turn.strand(CHAT)
        for epoch in sorted(strand.kept):
            strand = dropped(strand, epoch)
        turn.put(strand, graph=True)

    step(village, "phone", forget)
    village.wait(minutes=5)
    assert key not in turn_keys(village)
    release(village)
    return key


def turn_keys(village: Village) -> set[bytes]:
    return step(village, "phone", lambda turn: {*turn.emulation.keys})


def test_votes_that_wait_for_a_header_count_when_it_comes_with_a_commit_that_cannot_be_followed() -> None:
    village = chat()
    without_keys(village)
    assert finals(village, "phone") == finals(village, "anna")
    assert tea(village, "phone").membership is Membership.LOST


def test_a_device_that_lacks_the_key_to_ask_for_the_way_back_gets_it_from_the_others_of_its_account() -> None:
    """So it is with an old disk: nobody can open what it told the others itself, be it the key of a leaf."""
    village = chat()
    key = without_keys(village)
    village.wait(minutes=30)
    assert key in turn_keys(village)
    assert tea(village, "phone").here is not None
    assert len(heads(village, *ALL)) == 1


def test_a_device_with_an_older_key_gets_the_newer_one_where_nobody_can_check_the_older_one_any_more() -> None:
    """An old disk, from before an epoch of the home that this device began, in which it gave the leaf another key."""
    village = chat()
    backup = village.state("laptop")
    act(village, "laptop", lambda turn: acting.commit(turn, turn.home, force_path=True, derive=True))
    village.wait(minutes=1)
    act(village, "laptop", renew)
    village.wait(minutes=5)
    assert heads(village, *ALL) == finals(village, *ALL)
    key = member(village, "phone", "laptop").key
    restore(village, "laptop", backup)
    village.wait(hours=1)
    assert tea(village, "laptop").here is not None
    assert len(heads(village, *ALL)) == 1
    assert key in step(village, "laptop", lambda turn: {*turn.emulation.keys})


def test_a_device_is_helped_by_its_own_account() -> None:
    village = chat()
    village.lost = lambda frame, name: name == "phone" and frame.topic in _topics(village)
    commit(village, "anna")
    village.wait(minutes=1)
    village.lost = lambda _frame, _name: False
    village.down("anna")
    village.down("ben")
    village.wait(minutes=20)
    assert heads(village, "laptop", "phone") == {tea(village, "laptop").head}
    assert tea(village, "phone").here is not None


def test_a_sibling_that_is_about_to_is_waited_for() -> None:
    village = chat()
    lose(village, "laptop", "phone")
    for _ in range(60):
        if tea(village, "phone").here is None:
            break
        village.wait(seconds=30)
    village.now += 1
    step(village, "phone", lambda turn: desync.sibling_tries(turn, CHAT))
    due = village.state("phone").duties[(Duty.DESYNC, CHAT)]
    assert due == village.now + village.config.desync_after


def renew(turn: Turn) -> None:
    """A new key for our leaf, which is no KeyPackage's."""
    credential, private = ourselves.new_leaf(turn)
    leaf = NewLeaf(credential=credential, signature_private=private)
    acting.commit(turn, turn.strand(CHAT), force_path=True, leaf=leaf)


def home_goes_on(village: Village) -> None:
    act(village, "laptop", lambda turn: acting.commit(turn, turn.home, force_path=True, derive=True))
    village.wait(minutes=5)


def linked_while_lost() -> Village:
    """The laptop cannot follow the conversation, and lets in a phone, which so is told nothing of it."""
    village = Village()
    village.account("anna")
    village.do("anna", inputs.Open(conversation=CHAT))
    for name in ("ben", "laptop"):
        bring(village, "anna", name)
    village.wait(minutes=1)
    act(village, "laptop", renew)
    home_goes_on(village)
    lose(village, "laptop")
    before = village.lost
    village.lost = lambda frame, name: before(frame, name) or isinstance(payload_of(village, frame), Door)
    village.wait(minutes=15)
    assert tea(village, "laptop").here is None
    link(village, "laptop", "phone")
    assert CHAT not in village.state("phone").strands
    village.lost = before
    return village


def test_who_cannot_follow_any_more_wants_to_leave_and_a_sibling_that_is_past_that_epoch_does_it() -> None:
    village = chat()
    village.part(["anna", "ben", "laptop"], ["phone"])
    village.do("phone", inputs.Depart(intent=INTENT, conversation=CHAT))
    decided = tea(village, "phone").head
    lost = commit(village, "anna")
    village.wait(minutes=1)
    assert not tea(village, "laptop").graph.has(decided)
    withhold(
        village,
        lambda each: isinstance(each, Door) or (isinstance(each, Commit) and each.signed.step.epoch == lost),
        "phone",
    )
    village.heal()
    village.wait(hours=3)
    assert len(tea(village, "anna").graph.members(tea(village, "anna").final)) == 2
    assert [each.stands for each in village.told("phone", events.IntentFate)] == [True]
    assert leaving.away(village.state("phone"), tea(village, "phone"))
    assert not village.told("phone", events.Gone)
    village.wait(days=2)
    assert not [each for each, _ in village.state("phone").duties if each is Duty.INTENT]
    village.lost = lambda *_: False
    village.wait(days=1)
    assert village.told("phone", events.Gone) == [events.Gone(conversation=CHAT, removed=False)]
    assert not village.state("phone").intents


def test_a_device_linked_while_the_account_was_lost_learns_who_is_who_when_it_came_back() -> None:
    village = linked_while_lost()
    village.wait(hours=1)
    laptop, phone = tea(village, "laptop"), tea(village, "phone")
    assert phone.head == laptop.head
    assert phone.graph.members(phone.head) == laptop.graph.members(laptop.head)
    child = commit(village, "phone")
    village.wait(minutes=5)
    assert heads(village, *ALL) == finals(village, *ALL) == {child}


def test_a_device_linked_while_the_account_was_lost_asks_for_the_key_that_it_has_dropped() -> None:
    village = linked_while_lost()
    before = village.lost
    village.lost = lambda frame, name: before(frame, name) or isinstance(payload_of(village, frame), Door)
    key = member(village, "laptop", "laptop").key
    home_goes_on(village)
    assert key not in turn_keys(village)
    village.lost = before
    village.wait(hours=1)
    laptop, phone = tea(village, "laptop"), tea(village, "phone")
    assert member(village, "laptop", "laptop").key == key
    assert phone.here is not None
    assert phone.head == laptop.head
    assert key in turn_keys(village)


def test_a_commit_that_comes_before_what_it_rests_on_is_followed_when_that_comes() -> None:
    village = chat()
    village.lost = lambda frame, name: name == "phone" and frame.topic not in _topics(village)
    step(village, "laptop", lambda turn: acting.commit(turn, turn.home, force_path=True, derive=True))
    village.deliver()
    epoch = commit(village, "laptop")
    village.wait(minutes=1)
    assert finals(village, "anna", "ben", "laptop") == {epoch}
    assert tea(village, "phone").here is not None
    village.lost = lambda _frame, _name: False
    village.deliver()
    assert heads(village, "phone") == finals(village, "phone") == {epoch}
    assert tea(village, "phone").here is not None
