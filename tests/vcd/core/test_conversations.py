"""What the app is told of conversations, and when nobody speaks (`vcd.core.conversations`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core import homes
from tests.vcd.core.branches import bring, commit, heads, remove, talk as converse, tea
from tests.vcd.core.company import act, step
from tests.vcd.core.talking import TEA, fates, heard, say, talk
from tests.vcd.core.village import Village
from vcd.core import acting, contents, conversations, events, inputs
from vcd.core.config import Config
from vcd.core.errors import Misuse
from vcd.core.events import Fate, Forked, Gone, MembersChanged
from vcd.core.names import ContentId, GroupId, IntentId
from vcd.core.policy import MINUTE, SECOND, Mode, Policy
from vcd.core.spoken import Held
from vcd.core.state import Acceptance
from vcd.core.strand import Membership
from vcd.core.turn import Turn

# ---------------------------------------------------------------- who is there


def test_the_app_hears_who_is_in_a_conversation() -> None:
    village = converse("anna", "ben", "cleo")
    anna, ben, cleo = (village.own(name) for name in ("anna", "ben", "cleo"))
    told = village.told("anna", MembersChanged)
    assert [each.came for each in told] == [(anna,), (ben,), (cleo,)]
    assert [each.members for each in told] == [(anna,), (anna, ben), (anna, ben, cleo)]
    remove(village, "anna", "cleo")
    for name in ("anna", "ben"):
        last = village.told(name, MembersChanged)[-1]
        assert (last.members, last.came, last.went) == ((anna, ben), (), (cleo,))
        assert last.epoch == tea(village, name).head


def test_a_commit_that_changes_no_members_is_not_told() -> None:
    village = converse("anna", "ben")
    before = len(village.told("anna", MembersChanged))
    commit(village, "ben")
    village.wait(minutes=1)
    assert len(village.told("anna", MembersChanged)) == before


def test_the_app_hears_so_again_when_the_branch_that_it_heard_of_loses() -> None:
    """Ben brings dora in on his side; anna's side removes cleo, and wins."""
    village = converse("anna", "ben", "cleo")
    village.account("dora")
    village.part(["anna", "cleo"], ["ben", "dora"])
    bring(village, "ben", "dora")
    remove(village, "anna", "cleo")
    village.heal()
    anna, ben, cleo, dora = (village.own(name) for name in ("anna", "ben", "cleo", "dora"))
    told = village.told("ben", MembersChanged)
    assert (told[-2].members, told[-2].came) == ((anna, ben, cleo, dora), (dora,))
    assert (told[-1].members, told[-1].went) == ((anna, ben), tuple(sorted([cleo, dora])))


def test_who_is_removed_is_told_once_and_is_out() -> None:
    village = converse("anna", "ben", "cleo")
    remove(village, "anna", "cleo")
    village.wait(minutes=5)
    [gone] = village.told("cleo", Gone)
    assert gone == Gone(conversation=TEA, removed=True)
    assert tea(village, "cleo").membership is Membership.OUT
    assert tea(village, "anna").membership is Membership.IN
    with pytest.raises(Misuse):
        say(village, "cleo", "I am still here")


def test_who_leaves_is_told_so() -> None:
    village = converse("anna", "ben")
    village.do("ben", inputs.Depart(intent=IntentId(bytes(16)), conversation=TEA))
    village.wait(minutes=5)
    assert village.told("ben", Gone) == [Gone(conversation=TEA, removed=False)]


def test_branches_are_told_when_there_are_several_and_when_that_is_over() -> None:
    village = converse("anna", "ben", "cleo")
    village.part(["anna"], ["ben", "cleo"])
    commit(village, "anna")
    commit(village, "ben")
    village.heal()
    village.wait(minutes=5)
    assert len(heads(village, "anna", "ben", "cleo")) == 1
    forks = [village.told(name, Forked) for name in ("anna", "ben", "cleo")]
    assert any(forks)  # who was on the branch that won has not moved, and heard of nothing
    for told in forks:
        for one, other in zip(told[::2], told[1::2], strict=True):
            assert (one.group, one.branches, one.over) == (TEA, 2, False)
            assert (other.group, other.branches, other.over) == (TEA, 1, True)


def test_what_is_void_is_no_branch() -> None:
    """Ben's commit crossed his removal: nothing is left to decide between the two."""
    village = converse("anna", "ben", "cleo")
    village.part(["anna"], ["ben", "cleo"])
    commit(village, "ben")
    remove(village, "anna", "ben")
    village.heal()
    assert tea(village, "cleo").head == tea(village, "anna").head
    assert village.told("cleo", Forked) == []


def test_of_a_conversation_that_waits_for_an_answer_the_app_hears_nothing() -> None:
    village = converse("anna", "ben", "cleo")
    _accept(village, "ben", Acceptance.ASKS)
    before = len(village.devices["ben"].events)
    say(village, "anna", "buy this")
    remove(village, "anna", "cleo")
    say(village, "anna", "and this")
    village.wait(minutes=1)
    assert village.devices["ben"].events[before:] == []
    _accept(village, "ben", Acceptance.YES)
    assert heard(village, "ben") == ["buy this", "and this"]


def test_what_waits_for_an_answer_is_bounded() -> None:
    village = converse("anna", "ben", max_held=3)
    _accept(village, "ben", Acceptance.ASKS)
    for each in range(5):
        say(village, "anna", f"{each}")
        village.now += 1
    assert talk(village, "ben").held.size == 3
    _accept(village, "ben", Acceptance.YES)
    village.wait(seconds=10)
    assert heard(village, "ben") == ["2", "3", "4"]


def test_what_was_declined_is_dropped() -> None:
    village = converse("anna", "ben")
    _accept(village, "ben", Acceptance.ASKS)
    say(village, "anna", "buy this")
    _accept(village, "ben", Acceptance.NO)
    say(village, "anna", "and this")
    assert heard(village, "ben") == []
    assert talk(village, "ben").held.size == 0
    with pytest.raises(Misuse) as caught:
        say(village, "ben", "no")
    assert caught.value.code == "declined"


def _accept(village: Village, name: str, how: Acceptance) -> None:
    def answer(turn: Turn) -> None:
        turn.put_talk(replace(turn.talk(TEA), acceptance=how))
        conversations.accepted(turn, TEA)

    act(village, name, answer)


# ---------------------------------------------------------------- opening


def test_a_conversation_is_opened_once() -> None:
    village = converse("anna")
    before = village.state("anna").strands[TEA]
    assert village.do("anna", inputs.Open(conversation=TEA)) == []
    assert village.state("anna").strands[TEA] is before


def test_who_opens_a_conversation_is_an_admin_of_it() -> None:
    village = converse("anna")
    [member] = tea(village, "anna").graph.members(tea(village, "anna").head)
    assert member.admin


def test_there_are_no_more_conversations_than_the_limit() -> None:
    village = Village(config=Config(max_conversations=2))
    village.account("anna")
    for each in range(2):
        village.do("anna", inputs.Open(conversation=GroupId(bytes([each]))))
    with pytest.raises(Misuse) as caught:
        village.do("anna", inputs.Open(conversation=GroupId(b"one more")))
    assert caught.value.code == "too-many"


def test_other_devices_follow_a_conversation_that_one_opens() -> None:
    village = Village()
    homes.couple(village)
    other = GroupId(b"opened by the phone")
    village.do("phone", inputs.Open(conversation=other))
    village.wait(seconds=5)
    assert village.state("laptop").strands[other].head == village.state("phone").strands[other].head
    name = say(village, "laptop", "hello", other)
    assert [each.content for each in village.told("phone", events.Message)] == [name]


# ---------------------------------------------------------------- EC1: nobody speaks for a while


def quiet() -> Village:
    policy = Policy(mode=Mode.EC1, latency=10 * SECOND)
    return converse("anna", "ben", mode=Mode.EC1, policy=policy)


def test_after_a_commit_nobody_speaks_for_the_latency() -> None:
    village = quiet()
    commit(village, "anna")
    names = [say(village, "ben", "one"), say(village, "ben", "two")]
    mine = say(village, "anna", "me too")
    village.wait(seconds=9)
    assert heard(village, "anna") == ["me too"]
    assert heard(village, "ben") == ["one", "two"]
    assert fates(village, "anna", mine) == []
    village.wait(seconds=2)
    assert sorted(heard(village, "anna")) == ["me too", "one", "two"]
    assert heard(village, "anna").index("one") < heard(village, "anna").index("two")
    for name in names:
        assert fates(village, "ben", name)[0] is Fate.SENT


def test_what_was_said_in_the_pause_is_sealed_on_the_head_of_then() -> None:
    """Both sides of a fork are on the winner when they speak, so nothing has to be said again."""
    village = quiet()
    village.part(["anna"], ["ben"])
    commit(village, "anna")
    commit(village, "ben")
    name = say(village, "anna", "one")
    other = say(village, "ben", "two")
    village.heal()
    village.wait(minutes=1)
    assert len(heads(village, "anna", "ben")) == 1
    assert Fate.AGAIN not in [*fates(village, "anna", name), *fates(village, "ben", other)]
    assert sorted(heard(village, "anna")) == sorted(heard(village, "ben")) == ["one", "two"]


def test_commits_without_end_do_not_silence_anybody_for_ever() -> None:
    village = quiet()
    commit(village, "anna")
    say(village, "ben", "hello")
    start = village.now
    while heard(village, "anna") == []:
        village.wait(seconds=5)
        commit(village, "anna")
        assert village.now - start < 3 * MINUTE
    assert village.now - start >= 10 * SECOND * (conversations.PAUSES - 1)


def test_in_other_modes_nobody_is_quiet() -> None:
    village = converse("anna", "ben", mode=Mode.EC2)
    commit(village, "anna")
    say(village, "ben", "hello")
    assert heard(village, "anna") == ["hello"]


# ---------------------------------------------------------------- the table of ids


def test_the_lowest_floors_become_everybodys_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever was forgotten of anybody is still refused."""
    monkeypatch.setattr(contents, "MAX_FLOORS", 3)
    village = converse("anna")
    now = village.now

    def flood(turn: Turn) -> None:
        for each in range(6):
            taken = _held(turn, bytes([each]) * 32, now + each)
            assert contents.take(turn, TEA, ContentId(bytes([each]) * 32), taken, 1000)

    step(village, "anna", flood)
    village.now += 5000
    step(village, "anna", lambda turn: contents.forget(turn, TEA))
    left = talk(village, "anna")
    assert (left.seen.size, left.floors.size, left.floor) == (0, 3, now + 2)

    def again(turn: Turn) -> None:
        for each in range(6):
            taken = _held(turn, bytes([each]) * 32, now + each)
            assert not contents.take(turn, TEA, ContentId(bytes([each]) * 32), taken, 1000)

    step(village, "anna", again)
    assert village.devices["anna"].refused == [("said-old", "")] * 6


def _held(turn: Turn, sender: bytes, said_at: int) -> Held:
    from vcd.core.names import AccountId, EpochId
    from vcd.core.payloads import Content

    content = Content(nonce=bytes(16), said_at=said_at, epoch=EpochId(b""), data=b"x")
    return Held(sender=AccountId(sender), ours=False, device=None, content=content, since=turn.now)


def test_a_commit_of_ours_counts_like_anybodys() -> None:
    village = quiet()
    act(village, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))
    assert talk(village, "anna").quiet_until == village.now + 10 * SECOND
