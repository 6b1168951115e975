"""What becomes of what we say (`vcd.core.outbox`)."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from mls.proposals import Add, Proposal, Remove
from mls.registries import GroupId, LeafIndex
from mls.virtual import client
from tests.vcd.core.branches import (
    bring,
    commit,
    forked,
    heads,
    member,
    release,
    remove,
    sent,
    talk as converse,
    tea,
    withhold,
)
from tests.vcd.core.company import act, package, step
from tests.vcd.core.talking import TEA, fates, heard, nonce, publish, say, skip, talk
from tests.vcd.core.village import Village
from vcd.core import acting, conversations, events, inputs, kinds, outbox, stored, summaries
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.events import Fate
from vcd.core.names import ContentId, EpochId
from vcd.core.payloads import Missed, Post
from vcd.core.policy import DAY, HOUR, MINUTE, Policy
from vcd.core.spoken import Stage
from vcd.core.state import Acceptance
from vcd.core.strand import dropped
from vcd.core.turn import Turn

SENT, AGAIN, CONFIRMED, ASKS, RETURNED = Fate.SENT, Fate.AGAIN, Fate.CONFIRMED, Fate.ASKS, Fate.RETURNED


def answer(village: Village, name: str, content: ContentId, *, again: bool, group: GroupId = TEA) -> None:
    village.do(name, inputs.SayAgain(conversation=group, content=content, again=again))


# ---------------------------------------------------------------- the plain way


def test_where_nothing_is_undecided_a_message_is_confirmed_at_once() -> None:
    village = converse("anna", "ben")
    assert fates(village, "anna", say(village, "anna", "hello")) == [SENT, CONFIRMED]


def test_on_an_epoch_that_is_not_final_it_is_confirmed_with_it() -> None:
    village = converse("anna", "ben")
    commit(village, "ben")
    name = say(village, "anna", "hello")
    assert fates(village, "anna", name) == [SENT]
    village.wait(minutes=1)
    assert fates(village, "anna", name) == [SENT, CONFIRMED]


def test_the_same_nonce_again_is_the_same_message() -> None:
    village = converse("anna", "ben")
    say(village, "anna", "hello")
    village.restart("anna")
    again = village.do("anna", inputs.Say(conversation=TEA, nonce=nonce("hello"), data=b"hello"))
    assert again == []
    skip(village, 2 * DAY)  # it is not in the outbox any more
    village.do("anna", inputs.Say(conversation=TEA, nonce=nonce("hello"), data=b"hello"))
    assert heard(village, "ben") == ["hello"]
    assert heard(village, "anna") == ["hello"]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"nonce": bytes(15)}, "bad-nonce"),
        ({"data": bytes(2000)}, "said-size"),
        ({"media": "x" * 256}, "said-media"),
        ({"conversation": GroupId(b"elsewhere")}, "no-conversation"),
    ],
)
def test_what_cannot_be_said_is_refused(given: dict[str, Any], code: str) -> None:
    village = converse("anna", max_said=1024)
    before = village.state("anna")
    with pytest.raises(Misuse) as caught:
        village.do("anna", inputs.Say(**{"conversation": TEA, "nonce": bytes(16), "data": b"x", **given}))
    assert caught.value.code == code
    assert village.state("anna") is before


def test_a_message_does_not_come_before_what_its_account_said_before() -> None:
    """With a clock that went back, and for siblings that hear of it: receivers forget by these times."""
    village = converse("anna", "ben")
    say(village, "anna", "one")
    say(village, "anna", "two")
    one, two = village.told("ben", events.Message)
    assert one.said_at < two.said_at


# ---------------------------------------------------------------- forks


def test_messages_on_the_losing_branch_are_said_again_and_not_dropped() -> None:
    village = converse("anna", "ben", "cleo", "dora")
    forked(village)
    names = [say(village, "ben", text) for text in ("first", "second", "third")]
    say(village, "anna", "meanwhile")
    assert heard(village, "cleo") == ["meanwhile"]
    village.heal()
    village.wait(minutes=2)
    assert heads(village, "anna", "ben", "cleo") == {tea(village, "anna").head}
    for name in names:
        assert fates(village, "ben", name) == [SENT, AGAIN, CONFIRMED]
    assert heard(village, "cleo") == ["meanwhile", "first", "second", "third"]
    assert heard(village, "ben") == ["first", "second", "third", "meanwhile"]


def test_a_message_is_said_once_on_a_branch_however_often_that_comes_and_goes() -> None:
    """The branch that wins is taken back when its better is known, and wins again when that is void."""
    village = converse("anna", "ben", "cleo")
    village.part(["ben"])
    root = commit(village, "ben")
    mine = commit(village, "ben")
    name = say(village, "ben", "hello")

    def stand(turn: Turn, head: EpochId) -> None:
        """As if a rival had been followed, or been struck."""
        before = turn.strand(TEA)
        after = replace(before, standing=replace(before.standing, head=head))
        turn.put(after)
        outbox.moved(turn, before, after)

    for _ in range(3):
        step(village, "ben", lambda turn: stand(turn, root))
        village.now += MINUTE
        village.step("ben", inputs.Tick())
        step(village, "ben", lambda turn: stand(turn, mine))
        village.now += MINUTE
        village.step("ben", inputs.Tick())
    places = [place.epoch for place in village.state("ben").outbox[name].places]
    assert places == [mine, root]
    assert fates(village, "ben", name) == [SENT, AGAIN]


def test_a_branch_that_wins_again_in_time_needs_nothing_said_again() -> None:
    village = converse("anna", "ben", "cleo", "dora")
    forked(village)
    name = say(village, "ben", "hello")
    village.heal()
    assert village.state("ben").outbox[name].why is not None
    mine = village.state("ben").outbox[name].places[0].epoch

    def back(turn: Turn) -> None:
        before = turn.strand(TEA)
        outbox.moved(turn, before, replace(before, standing=replace(before.standing, head=mine)))

    step(village, "ben", back)
    assert village.state("ben").outbox[name].why is None


# ---------------------------------------------------------------- who may read it


def with_somebody_new(*guests: str) -> tuple[Village, ContentId]:
    """Ben says something on a branch that loses to one with people in it whom he did not write to."""
    village = converse("anna", "ben", "cleo", "dora")
    gone = LeafIndex(member(village, "anna", "dora").leaf)
    for guest in guests:
        village.account(guest)
    village.part(["anna", *guests], ["ben", "cleo", "dora"])
    proposals: list[Proposal] = [Remove(gone), *[Add(package(village, guest)) for guest in guests]]
    made = act(village, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), proposals=proposals)[1].commit)
    told = summaries.lineage(tea(village, "anna"))
    for guest in guests:

        def enter(turn: Turn) -> None:
            parameters = kinds.parameters_of(tea(village, "anna").mode)
            assert made.welcome is not None
            joined = client.join(turn.emulation, turn.env, parameters, made.welcome)
            turn.change(emulation=joined.emulation)
            conversations.enter(turn, joined.group)
            summaries.take(turn, TEA, told)

        act(village, guest, enter)
    commit(village, "ben")
    name = say(village, "ben", "for anna, cleo and dora")
    village.heal()
    village.wait(minutes=1)
    assert heads(village, "anna", "ben", "cleo", *guests) == {tea(village, "anna").head}
    return village, name


def test_a_reissue_would_disclose_to_someone_new() -> None:
    """Nobody new reads it unless the user says so: not by itself, not after a while, not after a restart."""
    village, name = with_somebody_new("eve")
    assert fates(village, "ben", name) == [SENT, ASKS]
    assert heard(village, "eve") == []
    village.restart("ben")
    village.wait(hours=1)
    assert heard(village, "eve") == []
    assert fates(village, "ben", name) == [SENT, ASKS]


def test_the_user_may_have_it_said_again_to_somebody_new() -> None:
    village, name = with_somebody_new("eve")
    answer(village, "ben", name, again=True)
    village.wait(minutes=1)
    assert fates(village, "ben", name) == [SENT, ASKS, AGAIN, CONFIRMED]
    for who in ("anna", "cleo", "eve"):
        assert heard(village, who) == ["for anna, cleo and dora"]


def test_the_user_may_have_it_back_instead() -> None:
    village, name = with_somebody_new("eve")
    answer(village, "ben", name, again=False)
    village.wait(minutes=1)
    assert fates(village, "ben", name) == [SENT, ASKS, RETURNED]
    assert heard(village, "eve") == []
    assert name not in village.state("ben").outbox
    with pytest.raises(Misuse):
        answer(village, "ben", name, again=True)


def test_a_yes_is_good_for_those_about_whom_the_user_was_asked() -> None:
    """Frank comes in after the question. The answer is no answer about him."""
    village, name = with_somebody_new("eve")
    village.account("frank")
    village.part(["ben"])
    bring(village, "anna", "frank")
    answer(village, "ben", name, again=True)  # ben does not know yet
    village.heal()
    village.wait(minutes=1)
    said = fates(village, "ben", name)
    assert said[:3] == [SENT, ASKS, AGAIN]
    assert heard(village, "frank") == []
    assert heard(village, "eve") == ["for anna, cleo and dora"]


def test_a_yes_to_an_older_question_is_none_about_who_came_since() -> None:
    """Frank is there already when the user answers, and was not when the user was asked."""
    village, name = with_somebody_new("eve")
    village.account("frank")
    bring(village, "anna", "frank")
    assert tea(village, "ben").head == tea(village, "frank").head
    answer(village, "ben", name, again=True)
    village.wait(minutes=1)
    assert fates(village, "ben", name) == [SENT, ASKS, ASKS]
    assert heard(village, "eve") == heard(village, "frank") == []
    answer(village, "ben", name, again=True)
    village.wait(minutes=1)
    assert heard(village, "eve") == heard(village, "frank") == ["for anna, cleo and dora"]


def test_the_user_is_asked_once_more_when_somebody_else_is_new() -> None:
    village, name = with_somebody_new("eve")
    village.account("frank")
    bring(village, "anna", "frank")
    village.wait(minutes=1)
    assert fates(village, "ben", name) == [SENT, ASKS, ASKS]
    assert set(village.state("ben").outbox[name].asked) == {village.own("eve"), village.own("frank")}
    assert heard(village, "eve") == heard(village, "frank") == []


def test_what_waited_to_be_said_is_not_shown_to_somebody_new_either() -> None:
    """It was queued before anybody new was there."""
    village = converse("anna", "ben", "cleo")
    step(village, "ben", _deaf)
    name = say(village, "ben", "for anna and cleo")
    assert fates(village, "ben", name) == []
    bring(village, "anna", "eve")
    step(village, "ben", _hearing)
    village.wait(minutes=1)
    assert fates(village, "ben", name) == [ASKS]
    assert heard(village, "eve") == heard(village, "anna") == []


def test_who_left_before_it_was_said_is_somebody_new_when_it_is_back() -> None:
    """It was written when cleo was there, and said when she was not."""
    village = converse("anna", "ben", "cleo")
    step(village, "ben", _deaf)
    name = say(village, "ben", "for anna and cleo")
    remove(village, "anna", "cleo")
    village.wait(minutes=1)
    frames = len(village.log)
    act(village, "ben", _hearing)
    [(_, post)] = list(sent(village, Post, frames))
    bring(village, "anna", "cleo")
    village.wait(minutes=1)
    publish(village, "anna", Missed(at=tea(village, "anna").head, digests=(sha256(post.message).digest(),)))
    village.wait(minutes=1)
    assert heads(village, "anna", "ben", "cleo") == {tea(village, "anna").final}
    assert heard(village, "cleo") == []
    assert fates(village, "ben", name) == [SENT, CONFIRMED, ASKS]
    answer(village, "ben", name, again=True)
    village.wait(minutes=1)
    assert heard(village, "cleo") == heard(village, "anna") == ["for anna and cleo"]


def _deaf(turn: Turn) -> None:
    turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.ASKS))


def _hearing(turn: Turn) -> None:
    turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.YES))
    conversations.accepted(turn, TEA)


# ---------------------------------------------------------------- when it cannot be said


def test_what_is_said_before_the_user_accepted_waits_and_is_said_then() -> None:
    village = converse("anna", "ben")
    step(village, "ben", _deaf)
    names = [say(village, "ben", text) for text in ("one", "two")]
    say(village, "anna", "hello")
    assert heard(village, "anna") == ["hello"]
    assert heard(village, "ben") == ["one", "two"]
    act(village, "ben", _hearing)
    assert heard(village, "anna") == ["hello", "one", "two"]
    assert heard(village, "ben") == ["one", "two", "hello"]
    assert [fates(village, "ben", name) for name in names] == [[SENT, CONFIRMED]] * 2


def cut_off() -> Village:
    """Ben's branch lost after the keys of what it has in common with the others' were gone."""
    village = converse("anna", "ben", "cleo", "dora")
    root = tea(village, "ben").head
    say(village, "anna", "before")
    forked(village)
    say(village, "ben", "on the branch that loses")
    step(village, "ben", lambda turn: turn.put(dropped(turn.strand(TEA), root)))
    return village


def test_what_is_said_out_of_sync_is_said_when_the_device_is_back() -> None:
    village = cut_off()
    village.heal()
    village.wait(seconds=30)
    assert tea(village, "ben").here is None
    name = say(village, "ben", "hello")
    assert fates(village, "ben", name) == []
    village.wait(minutes=30)
    assert heads(village, "anna", "ben", "cleo") == {tea(village, "anna").head}
    assert fates(village, "ben", name) == [SENT, CONFIRMED]
    lost = village.told("ben", events.Message)[1].content
    assert fates(village, "ben", lost) == [SENT, AGAIN, CONFIRMED]
    assert sorted(heard(village, "cleo")) == ["before", "hello", "on the branch that loses"]


def test_who_comes_back_from_outside_hears_what_was_said_meanwhile() -> None:
    """It had neither the keys nor the topic. What it read before is not said again."""
    village = cut_off()
    away = say(village, "anna", "while you were away")
    village.heal()
    village.wait(minutes=30)
    assert heads(village, "anna", "ben", "cleo") == {tea(village, "anna").head}
    assert sorted(heard(village, "ben")) == ["before", "on the branch that loses", "while you were away"]
    assert heard(village, "cleo").count("while you were away") == 1
    outbox = village.state("anna").outbox
    assert {each.content.data: len(each.places) for each in outbox.values()} == {
        b"before": 1,
        b"while you were away": 2,
    }
    assert fates(village, "anna", away).count(SENT) == 1


def test_who_came_back_from_outside_hears_what_was_said_meanwhile_also_if_its_return_is_final_when_it_asks() -> None:
    village = cut_off()
    say(village, "anna", "while you were away")
    withhold(village, lambda payload: isinstance(payload, Missed), "anna")
    village.heal()
    village.wait(minutes=30)
    assert tea(village, "anna").graph.anchor.epoch == tea(village, "ben").head
    release(village)
    village.wait(minutes=1)
    assert "while you were away" in heard(village, "ben")
    assert sorted(len(each.places) for each in village.state("anna").outbox.values()) == [1, 2]


def test_what_was_said_meanwhile_is_not_said_again_to_who_came_later() -> None:
    village = cut_off()
    village.account("frank")
    village.part(["anna", "cleo", "frank"], ["ben"])
    away = say(village, "anna", "while you were away")
    bring(village, "anna", "frank")
    village.heal()
    village.wait(minutes=30)
    assert tea(village, "ben").head == tea(village, "frank").head
    assert ASKS not in fates(village, "anna", away)
    assert "while you were away" not in heard(village, "frank")


def test_who_did_not_come_back_from_outside_gets_nothing_said_again() -> None:
    village = converse("anna", "ben")
    say(village, "anna", "hello")
    head = commit(village, "ben")
    publish(village, "ben", Missed(at=head, since=EpochId(b"")))
    before = len(village.log)
    village.wait(minutes=1)
    assert list(sent(village, Post, before)) == []


def test_what_cannot_be_confirmed_in_time_goes_back_to_the_user() -> None:
    """Cleo never votes, so nothing becomes final."""
    village = converse("anna", "ben", "cleo", policy=Policy(horizon=2 * DAY))
    village.down("cleo")
    commit(village, "anna")
    name = say(village, "anna", "hello")
    skip(village, 47 * HOUR)
    assert fates(village, "anna", name) == [SENT]
    skip(village, 2 * HOUR)
    assert fates(village, "anna", name) == [SENT, RETURNED]
    assert village.state("anna").outbox.size == 0


def test_nothing_is_said_again_after_the_horizon() -> None:
    """By then receivers may have forgotten that they had it."""
    village = converse("anna", "ben", "cleo", "dora", policy=Policy(horizon=2 * DAY))
    forked(village)
    name = say(village, "ben", "hello")
    village.now += 3 * DAY
    village.heal()
    village.wait(minutes=1)
    assert fates(village, "ben", name)[-1] is RETURNED
    assert AGAIN not in fates(village, "ben", name)


def test_nothing_is_said_again_after_the_horizon_even_if_its_end_was_not_noticed_yet() -> None:
    village = converse("anna", "ben", "cleo", "dora", policy=Policy(horizon=2 * DAY))
    forked(village)
    name = say(village, "ben", "hello")
    village.heal()
    step(village, "ben", lambda turn: turn.not_due(Duty.RETURN, TEA))
    village.now += 3 * DAY
    village.do("ben", inputs.Tick())
    assert fates(village, "ben", name) == [SENT, RETURNED]


def removed() -> tuple[Village, ContentId]:
    village = converse("anna", "ben", "cleo")
    village.part(["ben"])
    commit(village, "ben")
    name = say(village, "ben", "hello")
    remove(village, "anna", "ben")
    village.heal()
    return village, name


def test_who_is_removed_can_say_no_more_and_gets_back_what_was_not_confirmed() -> None:
    village, name = removed()
    with pytest.raises(Misuse) as caught:
        say(village, "ben", "and another thing")
    assert caught.value.code == "not-a-member"
    skip(village, 31 * DAY)
    assert fates(village, "ben", name) == [SENT, RETURNED]
    assert AGAIN not in fates(village, "ben", name)


def test_who_is_removed_for_good_gets_it_back_at_once() -> None:
    village, name = removed()

    def settle(turn: Turn) -> None:
        before = turn.strand(TEA)
        after = replace(before, standing=replace(before.standing, final=before.head))
        outbox.moved(turn, before, after)

    step(village, "ben", settle)
    assert fates(village, "ben", name) == [SENT, RETURNED]
    assert village.state("ben").outbox.size == 0


# ---------------------------------------------------------------- bounds


def test_what_is_confirmed_is_kept_for_the_horizon_and_then_let_go() -> None:
    village = converse("anna", "ben")
    say(village, "anna", "hello")
    skip(village, 29 * DAY)
    assert village.state("anna").outbox.size == 1
    skip(village, 2 * DAY)
    skip(village, 2 * HOUR)
    assert village.state("anna").outbox.size == 0
    left = talk(village, "anna")
    assert (left.going.size, left.places.size, left.audiences.size, left.queue.size) == (0, 0, 0, 0)


def test_a_full_outbox_lets_go_of_what_is_confirmed_and_else_takes_no_more() -> None:
    village = converse("anna", "ben", max_outbox=4)
    for each in range(10):
        say(village, "anna", f"{each}")
        village.now += 1
    assert village.state("anna").outbox.size <= 4
    village.part(["anna"])
    commit(village, "anna")
    with pytest.raises(Misuse) as caught:
        for each in range(10):
            say(village, "anna", f"alone {each}")
    assert caught.value.code == "outbox-full"
    assert all(each.stage is Stage.SAID for each in village.state("anna").outbox.values())


def test_an_outbox_of_many_bytes_is_full_too() -> None:
    """One who may speak, an app, could else have a device hold twenty thousand messages of a mebibyte each."""
    village = converse("anna", "ben", max_outbox_bytes=64 * 1000)
    for each in range(150):
        say(village, "anna", f"{each:01000}")
        village.now += 1
    assert village.state("anna").outbox.size <= 2 * outbox.WEIGHED
    village.part(["anna"])
    commit(village, "anna")
    with pytest.raises(Misuse) as caught:
        for each in range(150):
            say(village, "anna", f"alone {each:01000}")
    assert caught.value.code == "outbox-full"
    assert village.state("anna").outbox.size <= 2 * outbox.WEIGHED


def test_the_outbox_is_stored_and_goes_on_after_a_restart() -> None:
    village = converse("anna", "ben", "cleo", "dora")
    forked(village)
    name = say(village, "ben", "hello")
    device = village.devices["ben"]
    village.heal()
    rows = stored.rows(device.state)
    village.restart("ben", stored.load(rows, device.provider))
    assert stored.rows(device.state).keys() >= {row for row in rows if row[0] == "outbox"}
    village.wait(minutes=2)
    assert fates(village, "ben", name) == [SENT, AGAIN, CONFIRMED]
