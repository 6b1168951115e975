"""Votes: by whom, when, and which of them count."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.secrets import SignaturePrivateKey
from tests.vcd.core.branches import TEA, bring, commit, finals, heads, release, remove, sent, talk, tea, withhold
from tests.vcd.core.company import act, show_up, step
from tests.vcd.core.homes import delegates, root
from tests.vcd.core.people import friends, invite, open_talk
from tests.vcd.core.village import Village
from vcd.core import events, following, node, steps, voting
from vcd.core.inputs import Online, Open, Reached, RemoveDevice, Slept, Started, Tick
from vcd.core.names import EpochId, Incarnation, IntentId
from vcd.core.ordering import votes
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Commit, SignedBallot, Votes
from vcd.core.policy import Policy, Who

FREE = Policy(remove=Who.EVERYBODY)


def me(village: Village, name: str) -> Incarnation:
    found = voting.own(village.state(name), tea(village, name))
    assert found is not None
    return found


def ballot(village: Village, name: str, step_to: EpochId, **other: object) -> SignedBallot:
    """A vote that a device could cast, and did not."""
    strand = tea(village, name)
    parent = strand.graph.parent(step_to)
    assert parent is not None
    plain = Ballot(voter=me(village, name), parent=parent, round=0, child=step_to)
    group = strand.kept[strand.head].group
    cast = replace(plain, **other)  # type: ignore[arg-type]
    return steps.cast(group.suite, group.signature_key, cast, strand.head, TEA, strand.graph.steps[step_to])


def hear(village: Village, name: str, *ballots: SignedBallot) -> list[tuple[str, str]]:
    """Let a device hear votes; gives what it refused."""
    before = len(village.devices[name].refused)
    act(village, name, lambda turn: voting.take(turn, TEA, ballots))
    return village.devices[name].refused[before:]


def test_a_head_is_voted_for_after_it_stood_for_a_while_and_then_all_agree_that_it_is_final() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    village.wait(seconds=4)
    assert not tea(village, "ben").ballots.at(tea(village, "ben").final)
    village.wait(seconds=4)
    assert finals(village, "anna", "ben", "cleo") == {child}


def test_a_vote_is_in_the_state_that_is_stored_before_it_is_sent() -> None:
    village = talk("anna", "ben")
    commit(village, "ben")
    village.now += 10_000
    device = village.devices["anna"]
    outcome = node.step(device.state, Tick(), village.now, device.provider)
    assert [effect for effect in outcome.effects if type(effect).__name__ == "Publish"]
    assert tea(village, "anna").ballots != outcome.state.strands[TEA].ballots
    mine = [each.voter for several in outcome.state.strands[TEA].ballots.cast.values() for each in several]
    assert me(village, "anna") in mine


def test_a_device_that_was_stopped_before_its_vote_was_sent_sends_the_same_vote() -> None:
    village = talk("anna", "ben")
    child = commit(village, "ben")
    village.now += 10_000
    device = village.devices["anna"]
    device.state = node.step(device.state, Tick(), village.now, device.provider).state  # stored, and then it stopped
    village.restart("anna")
    village.wait(seconds=20)
    assert finals(village, "anna", "ben") == {child}
    cast = {said.ballot for _, votes_ in sent(village, Votes) for said in votes_.ballots}
    assert len({(each.voter, each.parent, each.round) for each in cast}) == len(cast)


def test_who_is_alone_in_a_group_need_not_wait() -> None:
    village = talk("anna")
    child = commit(village, "anna")
    assert finals(village, "anna") == {child}


def test_a_vote_for_a_commit_that_is_still_on_its_way_counts_when_it_comes() -> None:
    village = talk("anna", "ben", "cleo")
    child: list[EpochId] = []
    withhold(village, lambda each: isinstance(each, Commit) and each.signed.step.epoch in child, "cleo")
    child.append(commit(village, "anna", heard=False))
    village.deliver()
    village.wait(seconds=8)
    assert tea(village, "cleo").head != child[0]
    release(village)
    assert tea(village, "cleo").head == child[0]
    heard = tea(village, "cleo").ballots.at(tea(village, "cleo").graph.anchor.epoch)
    assert {each.voter for each in heard} == {me(village, "anna"), me(village, "ben")}
    village.wait(seconds=8)
    assert finals(village, "anna", "ben", "cleo") == {child[0]}


def test_a_vote_with_another_signature_does_not_count() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    forged = replace(ballot(village, "ben", child), signature=bytes(64))
    assert ("ballot-signature", "") in hear(village, "cleo", forged)
    assert not tea(village, "cleo").ballots.has(forged.ballot)


def test_a_vote_in_the_name_of_another_member_does_not_count() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    stolen = ballot(village, "ben", child, voter=me(village, "anna"))
    assert ("ballot-signature", "") in hear(village, "cleo", stolen)


def test_a_vote_of_somebody_who_is_no_member_does_not_count() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    foreign = ballot(village, "ben", child, voter=Incarnation(bytes(32)))
    assert ("ballot-voter", "") in hear(village, "cleo", foreign)


def test_a_vote_for_a_step_that_starts_elsewhere_does_not_count() -> None:
    village = talk("anna", "ben", "cleo")
    first = commit(village, "anna")
    second = commit(village, "anna")
    assert [rule for rule, _ in hear(village, "cleo", ballot(village, "ben", second, child=first))] == ["ballot-step"]


def test_who_is_removed_by_a_step_has_a_vote_on_it() -> None:
    village = talk("anna", "ben", "cleo")
    gone, at = me(village, "cleo"), tea(village, "cleo").head
    child = remove(village, "anna", "cleo")
    group = tea(village, "cleo").kept[at].group
    plain = Ballot(voter=gone, parent=at, round=0, child=child)
    said = steps.cast(group.suite, group.signature_key, plain, at, TEA, tea(village, "anna").graph.steps[child])
    assert hear(village, "anna", said) == []
    assert tea(village, "anna").ballots.has(plain)


def test_who_is_removed_and_brought_in_again_at_once_votes_for_both() -> None:
    """Of two it was the senior one, without whom its removal cannot be decided."""
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    village.wait(minutes=1)
    old, start = me(village, "anna"), tea(village, "anna").final
    remove(village, "ben", "anna")
    invite(village, "ben", "anna")
    assert me(village, "anna") != old
    assert finals(village, "anna", "ben") == {start}
    village.wait(minutes=3)
    assert finals(village, "anna", "ben") == heads(village, "anna", "ben")
    assert finals(village, "anna", "ben") != {start}


def test_the_last_vote_of_who_was_removed_can_be_cast_when_the_keys_of_that_epoch_are_gone() -> None:
    """The others are away for longer than a window, and each round needs one of them."""
    village = talk("anna", "ben", "cleo", policy=FREE)
    at = tea(village, "anna").head
    child = remove(village, "ben", "anna")
    village.down("ben")
    village.down("cleo")
    village.wait(days=2)
    assert at not in tea(village, "anna").kept
    assert tea(village, "anna").final == at
    village.restart("ben")
    village.restart("cleo")
    village.wait(minutes=5)
    assert finals(village, "anna", "ben", "cleo") == {child}


def test_how_an_account_voted_in_a_group_that_it_forgot_is_not_said_otherwise() -> None:
    """It was told of an epoch that it was in before, and does not know any more how it voted there."""
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben", policy=FREE)
    village.wait(minutes=1)
    old, since = me(village, "anna"), len(village.log)
    remove(village, "ben", "anna")
    step(village, "anna", lambda turn: turn.change(strands=turn.state.strands.discard(TEA)))
    invite(village, "ben", "anna")
    village.wait(minutes=3)
    assert me(village, "anna") != old
    assert all(each.ballot.voter != old for _, votes_ in sent(village, Votes, since) for each in votes_.ballots)


def test_who_was_removed_before_a_step_has_no_vote_on_it() -> None:
    village = talk("anna", "ben", "cleo")
    gone = me(village, "cleo")
    removal = remove(village, "anna", "cleo")
    child = commit(village, "anna")
    said = ballot(village, "ben", child, voter=gone)
    assert said.ballot.parent == removal
    assert [rule for rule, _ in hear(village, "anna", said)] == ["ballot-voter"]


def test_a_stranger_has_no_vote_on_the_step_by_which_somebody_is_removed() -> None:
    village = talk("anna", "ben", "cleo")
    child = remove(village, "anna", "cleo")
    said = ballot(village, "ben", child, voter=Incarnation(bytes(32)))
    assert [rule for rule, _ in hear(village, "anna", said)] == ["ballot-voter"]


def warnings(village: Village, name: str) -> list[events.Warned]:
    return [each for each in village.told(name, events.Warned) if each.code == "double-vote"]


def test_people_are_told_once_of_a_member_that_votes_twice_in_one_round() -> None:
    village = talk("anna", "ben", "cleo")
    one = commit(village, "anna", heard=False)
    other = commit(village, "cleo", heard=False)
    village.deliver()
    hear(village, "anna", ballot(village, "ben", one))
    hear(village, "anna", ballot(village, "ben", other, round=2))
    assert not warnings(village, "anna")  # two rounds
    hear(village, "anna", ballot(village, "ben", other))
    told = warnings(village, "anna")
    assert [(each.group, each.account) for each in told] == [(TEA, village.own("ben"))]
    hear(village, "anna", ballot(village, "ben", one, round=2), ballot(village, "ben", other))
    assert warnings(village, "anna") == told


def test_of_each_member_that_votes_twice_people_are_told() -> None:
    village = talk("anna", "ben", "cleo", "dora")
    one = commit(village, "anna", heard=False)
    other = commit(village, "dora", heard=False)
    village.deliver()
    hear(village, "anna", *[ballot(village, name, child) for name in ("ben", "cleo") for child in (one, other)])
    assert [each.account for each in warnings(village, "anna")] == [village.own("ben"), village.own("cleo")]


def test_members_who_vote_for_one_branch_and_then_for_the_other_are_no_liars() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna"], ["ben", "cleo"])
    commit(village, "anna")
    commit(village, "ben")
    village.wait(seconds=10)
    village.heal()
    village.wait(minutes=2)
    assert len(finals(village, "anna", "ben", "cleo")) == 1
    assert not [each for name in ("anna", "ben", "cleo") for each in warnings(village, name)]


def test_a_vote_is_of_one_group_only() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    said = ballot(village, "ben", child)
    ben = tea(village, "ben")
    group = ben.kept[ben.head].group
    other = steps.cast(group.suite, group.signature_key, said.ballot, said.at, b"coffee", ben.graph.steps[child])
    assert ("ballot-signature", "") in hear(village, "cleo", other)


def test_a_vote_that_was_heard_before_is_not_verified_again(monkeypatch: pytest.MonkeyPatch) -> None:
    village = talk("anna", "ben", "cleo")
    said = ballot(village, "ben", commit(village, "anna"))
    hear(village, "cleo", said)
    monkeypatch.setattr(steps, "check_ballot", lambda *_: pytest.fail("verified again"))
    assert hear(village, "cleo", said, said) == []


def test_a_vote_of_before_what_is_final_is_neither_kept_nor_waited_for() -> None:
    village = talk("anna", "ben")
    said = ballot(village, "ben", commit(village, "anna"))
    village.wait(seconds=10)
    commit(village, "ben")
    village.wait(seconds=10)
    assert hear(village, "anna", said) == []
    assert not tea(village, "anna").votes
    assert step(village, "anna", lambda turn: voting.take(turn, TEA, [said])) is None


def test_a_vote_in_a_round_beyond_all_reason_does_not_count() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    assert [rule for rule, _ in hear(village, "cleo", ballot(village, "ben", child, round=votes.MAX_ROUND))] == [
        "ballot-step"
    ]


def test_a_key_that_is_not_the_leafs_any_more_signs_no_votes() -> None:
    village = talk("anna", "ben", "cleo")
    child = commit(village, "anna")
    said = ballot(village, "ben", child)
    suite, header = village.devices["cleo"].provider.suite(1), tea(village, "ben").graph.steps[child]
    other = steps.cast(suite, SignaturePrivateKey(bytes(range(32))), said.ballot, said.at, TEA, header)
    assert ("ballot-signature", "") in hear(village, "cleo", other)


def test_votes_are_cast_for_one_branch_and_then_for_the_one_that_won() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna"], ["ben", "cleo"])
    one, other = commit(village, "anna"), commit(village, "ben")
    village.wait(seconds=10)
    assert heads(village, "anna") == {one}
    assert heads(village, "ben", "cleo") == {other}
    village.heal()
    village.wait(minutes=2)
    assert len(heads(village, "anna", "ben", "cleo")) == 1
    assert finals(village, "anna", "ben", "cleo") == heads(village, "anna", "ben", "cleo")


def test_in_the_home_every_device_votes_and_in_conversations_the_most_senior_one() -> None:
    village = talk("anna", "ben")
    state = village.state("anna")
    assert state.home is not None
    home = state.strands[state.home]
    assert voting.votes_here(state, home)
    assert voting.voter_device(state) == voting.own(state, home)
    assert voting.votes_here(state, tea(village, "anna"))


def test_a_header_is_enough_to_check_votes_with_a_key_that_a_leaf_got_by_it() -> None:
    village = talk("anna", "ben", "cleo")
    start = tea(village, "ben").head
    withhold(village, lambda payload: isinstance(payload, Commit), "ben")
    child = commit(village, "anna")
    act(village, "ben", lambda turn: following.on_header(turn, turn.strand(TEA), tea(village, "anna").signed[child]))
    plain = Ballot(voter=me(village, "anna"), parent=start, round=0, child=child)
    group = tea(village, "cleo").kept[child].group
    header = tea(village, "anna").graph.steps[child]
    forged = steps.cast(group.suite, group.signature_key, plain, child, TEA, header)
    assert hear(village, "ben", forged) == [("ballot-signature", "")]  # cleo's
    group = tea(village, "anna").kept[child].group
    assert hear(village, "ben", steps.cast(group.suite, group.signature_key, plain, child, TEA, header)) == []
    assert tea(village, "ben").ballots.has(plain)


def test_nobody_votes_while_it_hears_nobody_and_a_head_has_to_stand_anew_when_it_does() -> None:
    village = talk("anna", "ben")
    before = tea(village, "anna").final
    village.do("anna", Online(online=False))
    village.part(["anna"], ["ben"])
    child = commit(village, "anna")
    village.wait(hours=1)
    assert not tea(village, "anna").ballots.at(before)
    village.heal()
    village.do("anna", Online(online=True))
    village.wait(seconds=4)
    assert me(village, "anna") not in {each.voter for each in tea(village, "anna").ballots.at(before)}
    village.wait(seconds=20)
    assert finals(village, "anna", "ben") == {child}


def test_who_slept_hears_what_was_done_meanwhile_before_it_votes() -> None:
    village = talk("anna", "ben")
    before = tea(village, "anna").final
    commit(village, "anna")
    village.now += 60_000
    village.step("anna", Slept(milliseconds=60_000))
    village.step("anna", Tick())
    assert not tea(village, "anna").ballots.at(before)


def test_who_is_alone_in_a_group_and_has_no_other_device_needs_nobody_to_hear() -> None:
    village = talk("anna")
    village.do("anna", Online(online=False))
    child = commit(village, "anna")
    assert finals(village, "anna") == {child}


def test_a_device_that_was_removed_while_it_was_off_makes_nothing_final_beside_what_its_account_did() -> None:
    """The laptop votes for the account, and could decide alone that Ben is out. The phone has removed it meanwhile."""
    village = Village()
    delegates(village, "laptop", "phone")
    village.do("laptop", Open(conversation=TEA))
    bring(village, "laptop", "ben")
    village.wait(minutes=1)
    show_up(village, TEA, "ben")
    assert voting.votes_here(village.state("laptop"), tea(village, "laptop"))
    before = tea(village, "laptop").final
    village.part(["laptop"], ["phone", "ben"])
    village.do("laptop", Online(online=False))
    shut_out = village.state("laptop").me.device
    village.do("phone", RemoveDevice(intent=IntentId(b"gone"), device=shut_out, root=root(village, "phone")))
    village.wait(minutes=1)
    remove(village, "laptop", "ben")
    village.down("laptop")
    village.wait(hours=1)
    assert finals(village, "phone", "ben") == heads(village, "phone", "ben") != {before}
    village.devices["laptop"].up = True
    village.step("laptop", Started())
    village.step("laptop", Tick())
    assert tea(village, "laptop").final == before
    village.heal()
    village.do("laptop", Online(online=True))
    village.wait(minutes=5)
    assert village.state("laptop").home is None
    assert len(finals(village, "phone", "ben")) == 1


def see(village: Village, name: str, peers: int) -> None:
    """How many others there are in the topics of the conversation and of the home."""
    for topic in sorted(village.state(name).joined):
        village.do(name, Reached(topic=topic, peers=peers))


def two_devices_alone() -> Village:
    """An account is alone in a conversation. Its laptop, which votes for it, is among strangers now."""
    village = Village()
    delegates(village, "laptop", "phone")
    village.do("laptop", Open(conversation=TEA))
    village.wait(minutes=5)
    see(village, "laptop", 1)
    assert finals(village, "laptop", "phone") == heads(village, "laptop", "phone")
    assert voting.votes_here(village.state("laptop"), tea(village, "laptop"))
    village.part(["laptop"], ["phone"])
    see(village, "laptop", 0)
    return village


def test_after_a_start_it_is_not_known_who_is_there() -> None:
    """Nobody is told of, where nobody is: what was so before the start may be long past."""
    village = two_devices_alone()
    see(village, "laptop", 1)
    village.down("laptop")
    before = tea(village, "laptop").final
    village.restart("laptop")
    child = commit(village, "laptop")
    village.wait(hours=1)
    assert (tea(village, "laptop").head, tea(village, "laptop").final) == (child, before)
    see(village, "laptop", 1)
    village.wait(minutes=1)
    assert tea(village, "laptop").final == child


def test_a_device_that_is_lost_among_strangers_made_nothing_final_that_its_account_cannot_know() -> None:
    village = two_devices_alone()
    before = tea(village, "laptop").final
    child = commit(village, "laptop")
    village.wait(hours=1)
    assert (tea(village, "laptop").head, tea(village, "laptop").final) == (child, before)
    lost = village.state("laptop").me.device
    village.down("laptop")
    village.do("phone", RemoveDevice(intent=IntentId(b"gone"), device=lost, root=root(village, "phone")))
    village.wait(hours=7)
    assert finals(village, "phone") == heads(village, "phone") != {before}


def test_what_nobody_could_hear_is_voted_for_when_somebody_came_and_the_head_has_stood_anew() -> None:
    village = two_devices_alone()
    before = tea(village, "laptop").final
    child = commit(village, "laptop")
    village.wait(hours=1)
    village.heal()
    see(village, "laptop", 1)
    village.wait(seconds=4)
    assert tea(village, "laptop").final == before
    village.wait(minutes=1)
    assert finals(village, "laptop", "phone") == {child}


def test_when_no_other_device_is_left_nobody_has_to_hear_votes_where_the_account_is_alone() -> None:
    village = two_devices_alone()
    before = tea(village, "laptop").final
    commit(village, "laptop")
    village.wait(minutes=1)
    assert finals(village, "laptop") == {before}
    lost = village.state("phone").me.device
    village.do("laptop", RemoveDevice(intent=IntentId(b"gone"), device=lost, root=root(village, "laptop")))
    village.wait(minutes=1)
    assert finals(village, "laptop") == heads(village, "laptop") != {before}
