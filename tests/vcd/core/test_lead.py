"""Groups with a lead: who chooses, what is adopted when, and who has no say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as mls
from mls.proposals import Remove
from mls.registries import LeafIndex
from tests.vcd.core import homes
from tests.vcd.core.branches import release, withhold
from tests.vcd.core.company import act, step
from tests.vcd.core.led import (
    TEA,
    commit,
    forged,
    give,
    heads,
    leads,
    member,
    payloads,
    refresh,
    said,
    strand,
    village,
)
from tests.vcd.core.people import friends, intent, invite, open_talk, together
from tests.vcd.core.village import Frame, Village
from vcd.core import acting, founding, inputs, keys, kinds, lead, leaves
from vcd.core.config import Config
from vcd.core.errors import Refused
from vcd.core.events import Warned
from vcd.core.names import DeviceId, EpochId, GroupId
from vcd.core.payloads import Commit, Decision, Votes
from vcd.core.policy import Mode, of_group
from vcd.core.reign import undecided
from vcd.core.strand import dropped
from vcd.core.turn import Turn

# ---------------------------------------------------------------- choosing


def test_of_two_commits_at_once_the_lead_chooses_one_and_all_follow_it() -> None:
    v = village()
    for name in ("ben", "cleo"):
        step(v, name, refresh)
    v.deliver()
    assert len(heads(v)) == 1
    parent = strand(v, "anna").graph.parent(strand(v, "anna").head)
    assert parent is not None
    assert len(strand(v, "anna").graph.children(parent)) == 2


def test_the_senior_member_leads_until_the_policy_names_another() -> None:
    v = village()
    assert leads(v, "cleo") == member(v, "anna")
    ben = member(v, "ben")

    def name_ben(turn: Turn) -> None:
        here = turn.strand(TEA).kept[turn.strand(TEA).head].group
        acting.commit(turn, turn.strand(TEA), proposals=[kinds.policy_change(here, replace(of_group(here), lead=ben))])

    act(v, "anna", name_ben)
    assert {leads(v, name) for name in v.devices} == {ben}
    v.down("anna")
    decided = commit(v, "cleo")
    assert strand(v, "ben").head == strand(v, "cleo").head == decided


def test_a_commit_of_our_own_is_not_adopted_before_it_was_decided_on() -> None:
    v = village()
    before = strand(v, "ben").head
    own = step(v, "ben", refresh)
    assert strand(v, "ben").head == before
    assert undecided(strand(v, "ben")) == (own,)
    assert own in strand(v, "ben").kept
    v.deliver()
    assert strand(v, "ben").head == own


def test_the_lead_waits_for_nobody() -> None:
    v = village()
    own = step(v, "anna", refresh)
    assert strand(v, "anna").head == own


def test_while_the_lead_is_away_commits_wait_and_messages_flow() -> None:
    v = village()
    v.down("anna")
    before = strand(v, "ben").head
    commit(v, "ben")
    assert strand(v, "ben").head == strand(v, "cleo").head == before

    sealed = step(v, "ben", lambda turn: keys.seal(turn, turn.strand(TEA), b"still here"))
    assert sealed.epoch == before
    opened = step(v, "cleo", lambda turn: keys.open_on(turn, turn.strand(TEA), before, sealed.message))
    assert isinstance(opened.event, mls.ApplicationMessage)
    assert opened.event.data == b"still here"


def test_a_decision_may_come_before_the_commit() -> None:
    v = village()
    frames: list[Frame] = []

    def late(frame: Frame, name: str) -> bool:
        return name == "cleo" and frame in frames

    v.lost = late
    count = len(v.log)
    step(v, "ben", refresh)
    frames += v.log[count:]
    v.deliver()
    assert strand(v, "cleo").head != strand(v, "ben").head
    frames.clear()
    v.deliver()
    assert len(heads(v)) == 1


def test_a_decision_on_an_epoch_that_is_not_known_yet_waits_for_it() -> None:
    v = village()
    held: list[Frame] = []
    v.lost = lambda frame, name: name == "cleo" and frame in held
    count = len(v.log)
    first = step(v, "ben", refresh)
    held += v.log[count:]
    v.deliver()
    second = commit(v, "ben")
    assert strand(v, "ben").head == second
    held.clear()
    v.deliver()
    assert strand(v, "cleo").head == second
    assert strand(v, "cleo").graph.parent(second) == first
    assert not v.state("cleo").waiting.items


def test_what_was_decided_is_the_same_after_a_restart() -> None:
    v = village()
    step(v, "ben", refresh)
    kept = v.state("anna")
    v.deliver()
    decided = strand(v, "anna").head
    v.restart("anna")
    assert strand(v, "anna").head == decided
    assert len(said(v, "anna").decisions[strand(v, "anna").graph.parent(decided) or EpochId(b"")]) == 1
    assert kept.talks[TEA].lead.decisions != said(v, "anna").decisions


def test_only_one_device_of_the_lead_signs() -> None:
    v = village()
    device = v.devices["anna"]
    device.state = replace(device.state, me=replace(device.state.me, device=DeviceId(bytes(16))))
    before = strand(v, "anna").head
    commit(v, "ben")
    assert heads(v) == {before}
    assert not [each for each in payloads(v, Decision) if each.parent == before]


def test_decisions_do_not_tell_the_devices_of_the_lead() -> None:
    v = village()
    commit(v, "ben")
    device = v.state("anna").me.device
    found = payloads(v, Decision)
    assert found
    assert all(each.device != device for each in found)
    assert lead.named(TEA, device) != lead.named(GroupId(b"coffee"), device)


def test_another_device_of_the_lead_commits_and_waits_like_everybody() -> None:
    v = village("anna", "ben")
    v.wait(seconds=10)
    phone = homes.link(v, "anna", "phone")
    v.wait(minutes=5)
    before = strand(v, phone).head
    own = step(v, phone, refresh)
    assert strand(v, phone).head == before
    v.deliver()
    assert heads(v) == {own}
    by = {each.device for each in payloads(v, Decision)}
    assert by == {lead.named(TEA, v.state("anna").me.device)}


def test_two_devices_that_commit_at_once_are_not_taken_for_one_lie() -> None:
    v = village("anna", "ben")
    v.wait(seconds=10)
    phone = homes.link(v, "anna", "phone")
    v.wait(minutes=5)
    for name in ("anna", phone):
        step(v, name, refresh)
    v.deliver()
    v.wait(minutes=1)
    assert len(heads(v)) == 1
    assert not v.told("ben", Warned)


def test_with_an_old_disk_the_lead_says_nothing_that_it_may_have_said_otherwise() -> None:
    v = village("anna", "ben")
    old, before = v.state("anna"), strand(v, "anna").head
    first, second = step(v, "ben", refresh), step(v, "ben", refresh)
    v.deliver()
    decided = strand(v, "ben").head
    v.devices["anna"].state = founding.restored(old)
    other = next(each for each in payloads(v, Commit) if each.signed.step.epoch in {first, second} - {decided})
    give(v, "anna", other)
    assert strand(v, "anna").head == before
    homes.restore(v, "anna", old)
    v.wait(minutes=10)
    assert heads(v) == {strand(v, "ben").head}
    parents = {each.signed.step.epoch: each.signed.step.parent for each in payloads(v, Commit)}
    assert parents[strand(v, "anna").head] == decided  # with a leaf that it may speak with again
    assert not v.told("ben", Warned)


def test_with_an_old_disk_the_lead_decides_on_what_waited_once_it_is_back() -> None:
    """Somebody else gave its account a leaf that it can speak with, so nothing more happens in the conversation."""
    v = village("anna", "ben")
    v.wait(seconds=10)
    phone = homes.link(v, "anna", "phone")
    v.wait(minutes=5)
    old = v.state("anna")
    v.down("anna")
    waits = step(v, phone, refresh)
    v.deliver()
    homes.restore(v, "anna", old)
    assert undecided(strand(v, "anna")) == (waits,)
    v.wait(minutes=20)
    assert any(each.child == waits for each in payloads(v, Decision))
    assert len(heads(v)) == 1


def test_nobody_is_brought_in_before_the_lead_has_decided() -> None:
    v = friends("anna", "ben", "cleo")
    open_talk(v, "anna", "ben", mode=Mode.LEAD)
    v.down("anna")
    invite(v, "ben", "cleo")
    v.wait(minutes=10)
    assert TEA not in v.state("cleo").strands
    assert len(said(v, "ben").welcomes) == 1
    v.devices["anna"].up = True
    v.deliver()
    v.wait(minutes=5)
    assert together(v, "anna", "ben", "cleo")
    assert not said(v, "ben").welcomes


def test_an_invitation_may_come_before_the_decision_by_which_we_were_removed() -> None:
    """Then what the lead decided on the way back is said where only those speak who stayed."""
    v = friends("anna", "ben")
    open_talk(v, "anna", "ben", mode=Mode.LEAD)
    withhold(v, lambda payload: isinstance(payload, Decision), "ben")
    v.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=v.own("ben")))
    v.wait(seconds=1)
    invite(v, "anna", "ben", name="in again")
    back = strand(v, "anna").head
    assert back in strand(v, "ben").kept
    assert strand(v, "ben").head != back
    release(v)
    assert together(v, "anna", "ben")


def away(mode: Mode) -> tuple[Village, EpochId]:
    """Cleo was removed and brought in again, and her phone, which was away, has heard all but the Welcome."""
    v = friends("anna", "ben", "cleo")
    homes.link(v, "cleo", "phone")
    open_talk(v, "anna", "ben", "cleo", mode=mode)
    v.wait(minutes=1)
    v.lost = lambda _frame, name: name == "phone"
    v.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=v.own("cleo")))
    invite(v, "anna", "cleo", name="in again")
    back = strand(v, "anna").graph.number(strand(v, "anna").head)
    commit(v, "ben")
    v.wait(minutes=1)
    assert strand(v, "anna").graph.number(strand(v, "anna").final) > back
    inboxes = {name for name, each in v.state("phone").joined.items() if each.inbox}
    v.lost = lambda frame, name: name == "phone" and frame.topic in inboxes
    v.deliver()
    assert strand(v, "phone").here is None
    return v, strand(v, "anna").final


@pytest.mark.parametrize("mode", [Mode.LEAD, Mode.DEMLS])
def test_an_invitation_may_come_after_what_was_done_since_is_final(mode: Mode) -> None:
    """Whoever was away hears in any order what became of it, and what is final for them stays so."""
    v, final = away(mode)
    assert strand(v, "phone").final == final
    v.lost = lambda _frame, _name: False
    v.deliver()
    assert heads(v) == {final}
    assert {strand(v, name).final for name in v.devices} == {final}
    assert strand(v, "phone").graph.anchor.epoch == final


def test_who_came_back_past_an_invitation_is_not_led_back_by_it() -> None:
    """What was decided since would not be said again."""
    v, _ = away(Mode.LEAD)
    v.wait(minutes=10)
    final = strand(v, "phone").final
    assert heads(v) == {final}
    act(v, "phone", lambda turn: turn.put(dropped(turn.strand(TEA), turn.strand(TEA).head)))
    commit(v, "ben")
    assert strand(v, "phone").here is None
    v.lost = lambda _frame, _name: False
    v.deliver()
    assert strand(v, "phone").final == final
    assert "invite-lost" in [rule for rule, _ in v.devices["phone"].refused]
    v.wait(minutes=10)
    assert len(heads(v)) == 1
    assert strand(v, "phone").here is not None


def test_who_is_brought_in_by_somebody_who_is_behind_goes_on_from_what_is_final_here() -> None:
    v = friends("anna", "ben", "cleo", "dora")
    open_talk(v, *v.devices, mode=Mode.LEAD)
    v.wait(minutes=1)
    withhold(v, lambda payload: isinstance(payload, Votes), "anna")
    v.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=v.own("cleo")))
    v.wait(minutes=1)
    out = strand(v, "cleo").final
    assert out == strand(v, "anna").head != strand(v, "anna").final
    invite(v, "anna", "cleo", name="in again")
    assert strand(v, "cleo").final == out
    assert together(v, *v.devices)
    release(v)
    v.wait(minutes=2)
    assert together(v, *v.devices)
    assert len({strand(v, name).final for name in v.devices}) == 1


def test_a_newcomer_stands_where_it_came_in_whoever_led_before() -> None:
    v = friends("anna", "ben", "cleo")
    open_talk(v, "anna", "ben", mode=Mode.LEAD)
    ben = member(v, "ben")

    def name_ben(turn: Turn) -> None:
        here = turn.strand(TEA).kept[turn.strand(TEA).head].group
        acting.commit(turn, turn.strand(TEA), proposals=[kinds.policy_change(here, replace(of_group(here), lead=ben))])

    act(v, "anna", name_ben)
    invite(v, "anna", "cleo")
    v.wait(minutes=2)
    assert together(v, "anna", "ben", "cleo")
    assert leads(v, "cleo") == ben
    assert {strand(v, name).final for name in v.devices} == heads(v)


def came_back() -> Village:
    """Ben's way leads through an epoch whose keys he never had, and in whose topic he has no part."""
    v = village("anna", "ben", "cleo", "dora")
    act(v, "ben", lambda turn: turn.put(dropped(turn.strand(TEA), turn.strand(TEA).head)))
    v.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=v.own("dora")))
    v.wait(minutes=1)
    without = strand(v, "anna").final
    assert strand(v, "ben").final == without
    assert strand(v, "ben").here is None
    v.wait(minutes=10)
    assert strand(v, "anna").head != without
    return v


def test_who_comes_back_hears_what_the_lead_decides_on_that() -> None:
    assert together(came_back(), "anna", "ben", "cleo")


def test_nobody_waits_for_the_epoch_before_the_one_where_its_graph_begins() -> None:
    v = came_back()
    homes.link(v, "ben", "phone")
    v.wait(minutes=5)
    assert strand(v, "phone").head == strand(v, "anna").head
    assert not v.state("phone").waiting.items


# ---------------------------------------------------------------- who has no say


def test_what_a_member_decides_who_does_not_lead_counts_for_nothing() -> None:
    v = village()
    v.down("anna")
    before = strand(v, "cleo").head
    own = commit(v, "ben")
    give(v, "cleo", forged(v, "ben", child=own))
    assert strand(v, "cleo").head == before


def test_nobody_can_decide_in_the_name_of_the_lead() -> None:
    v = village()
    v.down("anna")
    own = commit(v, "ben")
    give(v, "cleo", forged(v, "ben", child=own, author=member(v, "anna")))
    assert strand(v, "cleo").head != own
    assert ("decision-signature", "decision-signature") in v.devices["cleo"].refused


def test_a_lead_cannot_make_a_commit_count_that_breaks_the_policy() -> None:
    v = village()
    ben = strand(v, "ben")
    before = ben.head
    removed = next(each for each in ben.graph.members(before) if each.incarnation == member(v, "cleo"))

    with pytest.raises(Refused) as caught:
        step(v, "ben", lambda turn: acting.commit(turn, turn.strand(TEA), proposals=[Remove(LeafIndex(removed.leaf))]))
    assert caught.value.rule == "policy-remove"
    assert heads(v) == {before}


def test_the_lead_does_not_give_the_lead_to_whoever_asks() -> None:
    v = village()
    ben = member(v, "ben")
    before = strand(v, "anna").head

    def usurp(turn: Turn) -> None:
        here = turn.strand(TEA).kept[turn.strand(TEA).head].group
        acting.commit(turn, turn.strand(TEA), proposals=[kinds.policy_change(here, replace(of_group(here), lead=ben))])

    act(v, "ben", usurp)
    assert heads(v) == {before}


def test_a_lead_that_says_two_things_is_found_out_and_all_take_the_same() -> None:
    v = village()
    lost: list[str] = ["anna"]
    v.lost = lambda frame, name: name in lost
    one, two = step(v, "ben", refresh), step(v, "cleo", refresh)
    v.deliver()
    lies = [forged(v, "anna", child=each) for each in (one, two)]
    give(v, "ben", lies[0])
    give(v, "cleo", lies[1])
    assert strand(v, "ben").head == one
    assert strand(v, "cleo").head == two
    give(v, "ben", lies[1])
    give(v, "cleo", lies[0])
    assert strand(v, "ben").head == strand(v, "cleo").head == min(one, two)
    for name in ("ben", "cleo"):
        [warned] = v.told(name, Warned)
        assert (warned.code, warned.account) == ("lead-two-words", v.own("anna"))


def test_a_lead_that_says_another_thing_too_late_is_found_out_too() -> None:
    v = village("anna", "ben")
    v.lost = lambda frame, name: name == "anna"
    one, two = step(v, "ben", refresh), step(v, "ben", refresh)
    first, second = max(one, two), min(one, two)
    lies = [forged(v, "anna", child=first), forged(v, "anna", child=second)]
    give(v, "ben", lies[0])
    assert strand(v, "ben").final == first  # of two members, nobody can vote the lead out

    def settle(turn: Turn) -> None:
        mine = turn.strand(TEA)
        after = replace(mine, graph=mine.graph.rebased(mine.final)[0])
        turn.put(after, graph=True)
        lead.moved(turn, mine, after)

    step(v, "ben", settle)
    give(v, "ben", lies[1])
    assert strand(v, "ben").head == first
    assert [each.code for each in v.told("ben", Warned)] == ["lead-two-words"]


def test_a_member_cannot_fill_our_memory_with_decisions() -> None:
    v = village()
    v.down("anna")
    own = commit(v, "ben")
    for number in range(5):
        give(v, "cleo", forged(v, "ben", child=EpochId(bytes([number]) * 32)))
    assert len(said(v, "cleo").decisions[strand(v, "cleo").graph.parent(own) or EpochId(b"")]) == 2
    assert ("decision-each", "decision-each") in v.devices["cleo"].refused


def room_for_two() -> Village:
    """Who keeps the head and two commits that wait for anna, who is away."""
    v = village(config=Config(max_kept=3))
    v.down("anna")
    return v


def test_what_waits_for_the_lead_is_kept_however_little_room_there_is() -> None:
    v = room_for_two()
    both = {commit(v, "ben"), commit(v, "ben")}
    for name in ("ben", "cleo"):
        assert {*undecided(strand(v, name))} == both <= {*strand(v, name).kept}
        with pytest.raises(Refused, match="commits-wait"):
            commit(v, name)
    v.restart("anna")
    v.deliver()
    assert len(heads(v)) == 1
    assert strand(v, "anna").head in both
    assert all(strand(v, name).here is not None for name in v.devices)


def test_a_commit_for_which_there_is_no_room_is_followed_once_the_lead_has_chosen() -> None:
    v = room_for_two()
    v.part(["ben"], ["cleo", "anna"])
    for name in ("ben", "cleo"):
        commit(v, name)
        commit(v, name)
    v.part(["ben", "cleo"])
    v.deliver()
    assert len(undecided(strand(v, "ben"))) == len(undecided(strand(v, "cleo"))) == 2
    v.part(["cleo", "anna"])
    v.restart("anna")
    v.deliver()
    v.heal()
    assert heads(v) == {strand(v, "anna").head}
    assert all(strand(v, name).here is not None for name in v.devices)


def test_a_successor_takes_over_though_there_is_no_more_room() -> None:
    v = room_for_two()
    before = strand(v, "ben").head
    commit(v, "ben")
    commit(v, "cleo")
    v.wait(hours=26)
    assert strand(v, "ben").head == strand(v, "cleo").head != before
    assert all(strand(v, name).here is not None for name in ("ben", "cleo"))
    assert leads(v, "cleo") == leads(v, "ben") == member(v, "ben")


def test_the_lead_does_not_choose_what_it_has_dropped() -> None:
    v = room_for_two()
    made = commit(v, "ben")
    keys_gone = dropped(strand(v, "cleo"), made)
    assert undecided(keys_gone) == (made,)
    assert not lead._is_fair(keys_gone, made)


def test_a_leaf_that_has_to_be_replaced_is_not_replaced_anew_while_the_lead_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    v = village("anna", "ben")
    v.down("anna")
    head = strand(v, "ben").head
    monkeypatch.setattr(leaves, "due", lambda *_: True)
    act(v, "ben", lambda turn: leaves.look(turn, TEA))
    v.wait(minutes=10)
    assert strand(v, "ben").head == head
    assert len({each.signed.step.epoch for each in payloads(v, Commit) if each.signed.step.parent == head}) == 1
