"""Devices that cannot follow any more, and how they come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as mls
from mls.external import external_pub_extension
from mls.secrets import ExternalSecret
from tests.vcd.core.astray import changed, known, lose, lost, told
from tests.vcd.core.branches import (
    TEA,
    commit,
    finals,
    heads,
    member,
    payload_of,
    release,
    remove,
    sent,
    talk,
    tea,
    withhold,
)
from tests.vcd.core.company import act, step
from tests.vcd.core.talking import say
from tests.vcd.core.village import Village
from vcd.core import comeback, desync, following, inputs, node, retention, steps, strand as strands, summaries, voting
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.names import EpochId, FrameId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, Digest, Door, Plea, Post, Want, Way
from vcd.core.policy import DAY, MINUTE, Policy, Who
from vcd.core.sights import Recovery
from vcd.core.state import Acceptance
from vcd.core.strand import Membership
from vcd.core.turn import Turn

FRAME = FrameId(bytes(32))
ALL = ("anna", "ben", "cleo")


# ---------------------------------------------------------------- coming back


def test_a_device_that_lost_a_commit_for_good_comes_back_by_itself_and_all_agree() -> None:
    village = lost()
    village.wait(minutes=30)
    strand = tea(village, "cleo")
    assert strand.here is not None
    assert strand.membership is Membership.IN
    assert finals(village, *ALL) == heads(village, *ALL)
    assert len(heads(village, *ALL)) == 1
    assert told(village, "cleo") == [(False, False), (False, True)]
    assert known(village, "cleo") == Recovery()


def test_a_device_whose_clock_is_half_an_hour_behind_is_heard_when_it_asks() -> None:
    village = talk(*ALL)
    lose(village, "cleo")
    withheld = village.lost
    village.lost = lambda frame, name: (
        withheld(frame, name) or (frame.by == "cleo" and frame.expires <= village.now + 30 * MINUTE)
    )
    village.wait(minutes=30)
    assert tea(village, "cleo").here is not None
    assert len(heads(village, *ALL)) == 1


def test_who_comes_back_is_the_member_that_it_was() -> None:
    village = talk(*ALL)
    before = member(village, "anna", "cleo")
    lose(village, "cleo")
    village.wait(minutes=40)
    assert member(village, "anna", "cleo").incarnation == before.incarnation
    assert len(tea(village, "anna").graph.members(tea(village, "anna").head)) == 3


def test_messages_flow_again_both_ways() -> None:
    village = lost()
    village.wait(minutes=30)
    for name in ("cleo", "anna"):
        village.do(name, inputs.Say(conversation=TEA, nonce=name.encode().ljust(16), data=name.encode()))
    village.wait(seconds=30)
    for name in ALL:
        assert {b"cleo", b"anna"} <= set(village.said(name))


def test_what_only_did_not_arrive_yet_is_asked_for_and_nobody_comes_back_from_outside() -> None:
    village = talk(*ALL)
    child = lose(village, "cleo")
    village.wait(minutes=9)
    assert tea(village, "cleo").here is None
    release(village)
    assert tea(village, "cleo").membership is Membership.IN
    assert told(village, "cleo") == [(False, False), (False, True)]
    village.wait(minutes=10)
    assert heads(village, *ALL) == finals(village, *ALL) == {child}
    assert known(village, "cleo") == Recovery()
    assert not list(sent(village, Door))


def test_a_head_that_was_dropped_before_it_won_is_come_back_to() -> None:
    village = talk(*ALL)
    head = commit(village, "anna")
    village.wait(minutes=1)

    def win(turn: Turn) -> None:
        before = turn.strand(TEA)
        turn.put(strands.dropped(before, head), graph=True)
        desync.moved(turn, before, turn.strand(TEA))

    act(village, "cleo", win)
    assert tea(village, "cleo").here is None
    village.wait(minutes=30)
    assert len(heads(village, *ALL)) == 1
    assert tea(village, "cleo").here is not None


def test_who_was_removed_does_not_come_back_by_itself() -> None:
    village = talk(*ALL)
    remove(village, "anna", "cleo")
    village.wait(hours=5)
    assert voting.own(village.state("cleo"), tea(village, "cleo")) is None
    assert not [want for _, want in sent(village, Want) if want.plea is not None]
    with pytest.raises(Misuse, match="invite"):
        village.do("cleo", inputs.ComeBack(group=TEA))


def test_who_follows_has_nothing_to_come_back_to() -> None:
    village = talk(*ALL)
    with pytest.raises(Misuse, match="follows"):
        village.do("cleo", inputs.ComeBack(group=TEA))


def test_nothing_is_tried_while_nobody_is_connected() -> None:
    village = lost()
    village.do("cleo", inputs.Online(online=False))
    before = known(village, "cleo").tries
    village.wait(hours=3)
    assert known(village, "cleo").tries == before


def test_tries_are_rarer_and_rarer_and_then_the_user_is_asked() -> None:
    village = lost()
    village.lost = lambda frame, name: name != frame.by  # nobody hears anything any more
    village.wait(days=3)
    pleas = [frame for frame, want in sent(village, Want) if want.plea is not None]
    assert len(pleas) == desync.TRIES - desync.PATIENT
    assert told(village, "cleo")[-1] == (True, False)
    assert len(told(village, "cleo")) == 2
    village.do("cleo", inputs.ComeBack(group=TEA))
    assert len([frame for frame, want in sent(village, Want) if want.plea is not None]) > len(pleas)


def test_an_invitation_that_was_not_accepted_is_not_come_back_to() -> None:
    village = talk(*ALL)
    talk_ = village.state("cleo").talks[TEA]
    step(village, "cleo", lambda turn: turn.put_talk(replace(talk_, acceptance=Acceptance.ASKS)))
    lose(village, "cleo")
    village.wait(hours=2)
    assert known(village, "cleo").tries == 0


def test_where_nobody_may_come_back_from_outside_the_user_is_asked() -> None:
    village = lost(policy=Policy(come_back=Who.NOBODY))
    village.wait(hours=2)
    assert tea(village, "cleo").here is None
    assert (True, False) in told(village, "cleo")
    assert ("policy-join", "") not in village.devices["anna"].refused  # it did not even try


def test_the_home_comes_first() -> None:
    village = lost()
    state = village.state("cleo")
    assert state.home is not None
    home = state.strands[state.home]
    away = replace(home, standing=replace(home.standing, head=EpochId(b"x" * 32)))
    strand = tea(village, "cleo")

    def may(turn: Turn) -> bool:
        turn.state = replace(turn.state, strands=turn.state.strands.set(home.group_id, away))
        found = desync._may(turn, strand)
        turn.state = state
        return found

    assert not step(village, "cleo", may)
    assert step(village, "cleo", lambda turn: desync._may(turn, strand))


# ---------------------------------------------------------------- nobody is made to


def test_a_head_that_one_member_signs_and_nobody_votes_for_makes_nobody_come_back() -> None:
    village = talk(*ALL)
    withhold(village, lambda each: isinstance(each, Commit), "ben", "cleo")
    child = commit(village, "anna", heard=False)
    header = tea(village, "anna").signed[child]
    digest = Digest(final=tea(village, "anna").final, head=child, steps=(header,))
    village.lost = lambda frame, name: frame.by == "anna" or name == "anna"
    act(village, "cleo", lambda turn: summaries.on_digest(turn, TEA, digest, FRAME))
    village.wait(hours=5)
    strand = tea(village, "cleo")
    assert child in strand.graph.steps
    assert strand.here is not None
    assert strand.head != child
    assert not told(village, "cleo")


def test_its_authors_own_vote_does_not_make_a_head_count() -> None:
    village = talk(*ALL)
    withhold(village, lambda each: isinstance(each, Commit), "ben", "cleo")
    commit(village, "anna", heard=False)
    village.deliver()
    village.wait(minutes=5)  # anna votes for what she made, and the others hear it
    assert heads(village, "ben", "cleo") == {tea(village, "cleo").graph.anchor.epoch}
    assert tea(village, "cleo").here is not None


def test_a_message_of_an_epoch_far_ahead_proves_nothing() -> None:
    village = talk(*ALL)
    secret = tea(village, "anna").trunk
    assert secret is not None
    post = Post(epoch=EpochId(b"x" * 32), message=b"\x00\x01\x00\x02")
    step(village, "anna", lambda turn: turn.publish(secret, post))
    village.deliver()
    village.wait(hours=5)
    assert tea(village, "cleo").membership is Membership.IN
    assert not told(village, "cleo")


def test_a_door_that_nobody_asked_for_is_not_opened() -> None:
    village = talk(*ALL)
    before = tea(village, "cleo")
    door = Door(key=b"k" * 32, kem_output=b"", sealed=b"")
    act(village, "cleo", lambda turn: desync.on_door(turn, TEA, door, FRAME))
    assert tea(village, "cleo") == before


# ---------------------------------------------------------------- who is answered


def plea_of(village: Village) -> Plea:
    found: list[Plea] = [want.plea for _, want in sent(village, Want) if want.plea is not None]
    return found[-1]


def begged() -> tuple[Village, Plea]:
    village = lost()
    withhold(village, lambda each: isinstance(each, Commit | Door), "cleo")
    village.wait(minutes=10)
    return village, plea_of(village)


def test_a_plea_is_heard_if_its_member_signed_it() -> None:
    village, plea = begged()
    anna = tea(village, "anna")
    assert desync.hears(anna, plea)
    assert not desync.hears(anna, replace(plea, signature=bytes(64)))
    assert not desync.hears(anna, replace(plea, key=b"k" * 32))
    other = member(village, "anna", "ben").incarnation
    assert not desync.hears(anna, replace(plea, member=other))


def test_who_is_no_member_any_more_is_not_shown_the_way() -> None:
    village, plea = begged()
    remove(village, "anna", "cleo")
    assert not desync.hears(tea(village, "anna"), plea)


def test_only_who_asked_can_read_the_answer() -> None:
    village, plea = begged()
    doors = [door for _, door in sent(village, Door)]
    assert doors
    infos = mls.group_info(tea(village, "anna").kept[tea(village, "anna").head].group, with_tree=True)
    names = [
        node_.credential.encode() for _, node_ in tea(village, "anna").kept[tea(village, "anna").head].group.members
    ]
    for door in doors:
        assert all(name not in door.sealed for name in names)
        assert len(door.sealed) > len(infos)
    before = tea(village, "ben")
    act(village, "ben", lambda turn: desync.on_door(turn, TEA, doors[0], FRAME))
    assert tea(village, "ben").graph == before.graph
    assert plea.key in [door.key for door in doors]


def test_a_plea_with_a_key_that_is_none_is_not_answered() -> None:
    village, plea = begged()
    strand = tea(village, "cleo")
    near = comeback.nearest(strand)
    assert near is not None
    group = strand.kept[near].group
    bad = replace(plea, key=b"short")
    content = desync._content(TEA, bad.member, bad.at, bad.key)
    signed = replace(bad, signature=group.suite.sign_with_label(group.signature_key, b"vcd plea", content))
    assert desync.hears(tea(village, "anna"), signed)
    assert step(village, "anna", lambda turn: desync.opened(turn, turn.strand(TEA), signed)) is None


def test_one_member_answers_and_the_others_see_that_it_did() -> None:
    village = lost(people=("anna", "ben", "cleo", "dora"))
    village.wait(minutes=20)
    assert len(list(sent(village, Door))) == 1


# ---------------------------------------------------------------- ways that lie


def test_an_old_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    village = talk(*ALL)
    anna = tea(village, "anna")
    here = anna.here
    assert here is not None
    old = Way(
        epoch=anna.head,
        group_info=mls.group_info(here.group, with_tree=True),
        lineage=summaries.lineage(anna),
        topic=here.topic.raw,
    )
    lose(village, "cleo")
    changed(monkeypatch, lambda _: old)
    village.wait(minutes=40)
    assert tea(village, "cleo").here is None
    assert "door-stale" in [rule for rule, _ in village.devices["cleo"].refused]
    monkeypatch.undo()
    village.wait(hours=3)
    assert tea(village, "cleo").here is not None


def test_a_group_info_of_another_epoch_under_the_heads_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    village = talk(*ALL)
    here = tea(village, "anna").here
    assert here is not None
    info = mls.group_info(here.group, with_tree=True)
    lose(village, "cleo")
    changed(monkeypatch, lambda way: replace(way, group_info=info))
    village.wait(minutes=40)
    assert tea(village, "cleo").here is None
    assert "door-epoch" in [rule for rule, _ in village.devices["cleo"].refused]


def test_a_group_info_of_another_epoch_is_refused_too_where_the_head_is_where_the_graph_begins() -> None:
    village = lost()

    def final(turn: Turn) -> None:
        now = turn.strand(TEA)
        after = retention.rebased(replace(now, standing=replace(now.standing, final=now.head)), turn.state.book.own)
        anchor = replace(after.graph.anchor, tag=b"that of another epoch")
        turn.put(replace(after, graph=replace(after.graph, anchor=anchor)))

    step(village, "cleo", final)
    village.wait(minutes=30)
    assert tea(village, "cleo").here is None
    assert "door-epoch" in [rule for rule, _ in village.devices["cleo"].refused]


@pytest.mark.parametrize("what", ["no tree", "nonsense", "another group"])
def test_a_way_that_is_none_is_refused(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    village = talk(*ALL)
    lose(village, "cleo")
    here = tea(village, "anna").here
    assert here is not None
    state = village.state("anna")
    assert state.home is not None
    home = state.strands[state.home].here
    assert home is not None
    infos = {
        "no tree": mls.group_info(here.group, with_tree=False),
        "nonsense": b"nonsense",
        "another group": mls.group_info(home.group, with_tree=True),
    }
    changed(monkeypatch, lambda way: replace(way, group_info=infos[what]))
    before = tea(village, "cleo")
    village.wait(minutes=40)
    assert set(tea(village, "cleo").kept) == set(before.kept)
    assert [rule for rule, _ in village.devices["cleo"].refused]


def test_where_nobody_follows_is_left_again_and_who_showed_it_is_not_believed_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A member shows a GroupInfo with a key of its own, so that nobody else can follow who comes back by it."""
    village = lost(people=("anna", "ben", "cleo", "dora"))
    here = tea(village, "anna").here
    assert here is not None
    poisoned = mls.group_info(
        here.group,
        extensions=(external_pub_extension(here.group.suite, ExternalSecret(bytes(32))),),
        external_join=False,
        with_tree=True,
    )
    changed(monkeypatch, lambda way: replace(way, group_info=poisoned))
    village.wait(minutes=15)
    false = tea(village, "cleo").head
    assert tea(village, "cleo").here is not None
    assert known(village, "cleo").entered == false
    monkeypatch.undo()
    village.wait(hours=3)
    assert heads(village, "anna", "ben", "cleo", "dora") == {tea(village, "anna").head}
    assert tea(village, "cleo").here is not None
    assert not tea(village, "cleo").graph.is_ancestor(false, tea(village, "cleo").head)


FOUR = ("anna", "ben", "cleo", "dora")


def unheard(window: int) -> Village:
    """Cleo came back by an epoch that nobody hears of."""
    village = talk(*FOUR, policy=Policy(window=window))
    lose(village, "cleo")
    before = village.lost
    village.lost = lambda frame, name: (
        before(frame, name) or (frame.by == "cleo" and not isinstance(payload_of(village, frame), Want))
    )
    village.wait(minutes=15)
    assert known(village, "cleo").entered == tea(village, "cleo").head
    return village


def overtaken(window: int) -> Village:
    """The same, and a rival of that epoch has won."""
    village = unheard(window)
    entered = tea(village, "cleo").head
    while tea(village, "cleo").head == entered:
        commit(village, "anna")
        village.wait(seconds=30)
    assert tea(village, "cleo").membership is Membership.LOST
    village.lost = lambda _frame, _name: False
    return village


@pytest.mark.parametrize("window", [MINUTE, DAY])
def test_who_came_back_beside_a_rival_that_won_comes_back_once_more(window: int) -> None:
    village = overtaken(window)
    village.wait(hours=1)
    assert tea(village, "cleo").here is not None
    assert heads(village, *FOUR) == finals(village, *FOUR) == {tea(village, "anna").head}
    assert not known(village, "cleo").distrusted


def test_however_long_nobody_follows_the_way_back_keys_of_before_go_with_their_window() -> None:
    village = unheard(MINUTE)
    strand = tea(village, "cleo")
    assert set(strand.kept) == {strand.head}
    village.lost = lambda _frame, _name: False
    village.deliver()
    village.wait(hours=2)
    assert set(tea(village, "cleo").kept) == {tea(village, "cleo").head}


def test_who_has_no_key_of_a_group_any_more_comes_back_by_what_the_graph_says() -> None:
    village = talk(*ALL, policy=Policy(window=MINUTE))
    lose(village, "cleo")
    before = village.lost
    village.lost = lambda frame, name: before(frame, name) or isinstance(payload_of(village, frame), Door)
    village.wait(hours=2)
    assert tea(village, "cleo").membership is Membership.LOST
    assert not tea(village, "cleo").kept
    assert not told(village, "cleo")[-1][0]
    village.lost = before
    village.wait(hours=2)
    assert tea(village, "cleo").here is not None
    assert len(heads(village, *ALL)) == 1


def beside() -> tuple[Village, EpochId]:
    """Cleo came back past an epoch on which two branches begin. Emil is alone on the other one, and has spoken there.

    Ben's wins, as it removes somebody; who is away, so that nothing becomes final.
    """
    village = talk("anna", "emil", "ben", "cleo", "dora", policy=Policy(remove=Who.EVERYBODY))
    village.down("dora")
    parent = lose(village, "cleo")
    way = {parent}
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in way, "cleo")
    village.part(["anna", "emil"], ["ben", "cleo"])
    side = commit(village, "anna")
    say(village, "emil", "on the side")
    way.add(remove(village, "ben", "dora", heard=False))
    village.part(["anna", "ben", "cleo"], ["emil"])
    village.deliver()
    village.wait(minutes=15)
    strand = tea(village, "cleo")
    assert heads(village, "anna", "ben", "cleo") == {strand.head}
    assert all(strand.went_past(each) and not strand.entered(each) for each in way)
    assert strand.graph.steps[side].parent == parent
    assert not village.said("cleo")
    return village, side


def test_nothing_waits_for_a_branch_that_begins_where_this_device_came_past() -> None:
    village, _ = beside()
    assert not village.state("cleo").waiting.items
    village.heal()
    village.wait(minutes=5)
    assert village.said("cleo") == [b"on the side"]
    assert not village.state("cleo").waiting.items


def test_what_was_said_on_such_a_branch_is_asked_for_if_it_wins() -> None:
    village, side = beside()
    remove(village, "emil", "ben")
    village.heal()
    village.wait(hours=1)
    strand = tea(village, "cleo")
    assert heads(village, "anna", "emil", "cleo") == {strand.head}
    assert strand.graph.is_ancestor(side, strand.head)
    assert strand.here is not None
    assert village.said("cleo") == [b"on the side"]
    assert not village.state("cleo").waiting.items


def test_a_header_that_has_a_commit_stand_on_such_a_branch_has_no_message_given_up() -> None:
    """The message comes before the commit, which says where that stands."""
    village, side = beside()
    withhold(village, lambda each: isinstance(each, Commit), "cleo")
    epoch, strand = commit(village, "anna"), tea(village, "ben")
    me, here = voting.own(village.state("ben"), strand), strand.here
    assert me is not None
    assert here is not None
    step_ = Step(epoch=epoch, parent=side, author=me, tag=b"t" * 32)
    said = steps.signed(here.group.suite, here.group.signature_key, step_)
    act(village, "cleo", lambda turn: following.on_header(turn, turn.strand(TEA), said))
    assert tea(village, "cleo").graph.steps[epoch].parent == side
    say(village, "anna", "on the head")
    assert not village.said("cleo")
    release(village)
    village.wait(minutes=1)
    assert b"on the head" in village.said("cleo")


@pytest.mark.parametrize("welcome", [True, False])
def test_a_branch_that_begins_where_we_came_in_is_waited_for_if_a_welcome_leads_there(welcome: bool) -> None:
    """Where another device of ours came back, and this one came past it, it does not follow any more."""
    village, side = beside()
    strand, me = tea(village, "cleo"), member(village, "cleo", "cleo")
    there = strand.graph.steps[strand.graph.steps[side].parent]
    came = replace(there, adds=(me,)) if welcome else replace(there, moved=((me.incarnation, 9),))
    graph = replace(strand.graph, steps=strand.graph.steps.set(came.epoch, came))
    turn = Turn(village.state("cleo"), village.now, village.devices["cleo"].provider)
    assert following.unreachable(turn, replace(strand, graph=graph), Post(epoch=side, message=b"")) is not welcome


# ---------------------------------------------------------------- duties


def test_the_same_question_twice_in_one_step_is_one() -> None:
    village = lost()
    assert (Duty.DESYNC, TEA) in village.state("cleo").duties
    device = village.devices["cleo"]
    outcome = node.step(device.state, inputs.Tick(), village.now, device.provider)
    assert outcome.state.sights[TEA].recovery.tries <= 1


def test_an_epoch_that_nobody_followed_leaves_nothing_behind_but_its_header() -> None:
    village = talk(*ALL)
    village.part(["anna"], ["ben", "cleo"])
    child = commit(village, "anna")
    commit(village, "anna")
    strand = strands.stood(strands.without_branch(tea(village, "anna"), child))
    assert child in strand.graph.steps
    assert strand.head == strand.final
    assert set(strand.kept) == set(tea(village, "anna").kept) - set(tea(village, "anna").graph.steps)
    assert not strand.bodies
