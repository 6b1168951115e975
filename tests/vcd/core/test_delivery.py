"""What is heard, once and in order (`vcd.core.delivery`)."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest

from mls import group as mls
from tests.vcd.core.company import Plain, act, add, gather, step
from tests.vcd.core.talking import (
    TEA,
    content,
    fates,
    give,
    heard,
    nonce,
    on,
    payloads,
    publish,
    refresh,
    say,
    since,
    skip,
    strand,
    talk,
)
from tests.vcd.core.village import Frame, Village
from vcd.core import contents, delivery, events, inputs, keys
from vcd.core.config import Config
from vcd.core.duties import Duty
from vcd.core.events import Fate
from vcd.core.names import ContentId, EpochId
from vcd.core.payloads import Missed, Post
from vcd.core.policy import DAY, Mode
from vcd.core.strand import Membership, dropped
from vcd.core.turn import Turn


def three(config: Config | None = None) -> Village:
    village = Village(config=config)
    gather(village, TEA, Mode.DEMLS, "anna", "ben", "cleo")
    return village


def posts(village: Village, name: str, frames: list[Frame]) -> list[Post]:
    return [each for each in payloads(village, name, frames) if isinstance(each, Post)]


# ---------------------------------------------------------------- once


def test_everybody_hears_a_message_once_the_author_too() -> None:
    village = three()
    name = say(village, "anna", "hello")
    for who in ("anna", "ben", "cleo"):
        [message] = village.told(who, events.Message)
        assert message.content == name
        assert message.sender == village.own("anna")
        assert message.ours == (who == "anna")
    skip(village, 2 * DAY)
    assert heard(village, "ben") == ["hello"]


def test_own_messages_do_not_vanish_from_the_senders_view() -> None:
    village = three()
    village.part(["anna"])
    say(village, "anna", "on a branch that may lose")
    assert heard(village, "anna") == ["on a branch that may lose"]
    refresh(village, "anna")
    refresh(village, "ben")
    village.heal()
    village.wait(minutes=5)
    assert heard(village, "anna") == ["on a branch that may lose"]


def test_an_own_echo_is_no_error() -> None:
    village = three()
    frames = since(village, lambda: say(village, "anna", "hello"))
    [post] = posts(village, "anna", frames)
    here = strand(village, "anna").here
    assert here is not None
    give(village, "anna", post, here.topic, "echo")
    assert heard(village, "anna") == ["hello"]
    assert posts(village, "ben", since(village, lambda: village.wait(minutes=1))) == []
    assert village.devices["anna"].refused == []


def test_the_same_frame_in_another_envelope_is_no_second_message() -> None:
    village = three()
    frames = since(village, lambda: say(village, "anna", "hello"))
    [post] = posts(village, "ben", frames)
    here = strand(village, "ben").here
    assert here is not None
    give(village, "ben", post, here.topic, "replayed")
    assert heard(village, "ben") == ["hello"]


def test_a_message_id_cannot_be_forged() -> None:
    """Ids are not sent: who says what somebody else said says something of their own, under another id."""
    village = three()
    first = say(village, "anna", "hello")
    copied = content(village, "anna", "hello", after=())
    on(village, "ben", copied)
    [mine, copy] = village.told("cleo", events.Message)
    assert mine.content == first
    assert mine.sender == village.own("anna")
    assert copy.sender == village.own("ben")
    assert copy.content != first
    assert first == contents.content_id(TEA, village.own("anna"), copied)


def test_a_message_said_again_under_its_id_is_shown_once() -> None:
    village = three()
    say(village, "anna", "hello")
    same = content(village, "anna", "hello")
    refresh(village, "ben")
    on(village, "anna", same)
    on(village, "anna", replace(same, relayed=True))
    assert heard(village, "cleo") == ["hello"]


def test_a_replayed_message_id_is_refused_after_it_was_forgotten() -> None:
    """Its author says it again when nobody remembers it any more: what is forgotten is never taken again."""
    village = three()
    say(village, "anna", "pay me once")
    same = content(village, "anna", "pay me once")
    skip(village, 40 * DAY)
    assert talk(village, "ben").seen.size == 0
    on(village, "anna", same)
    assert heard(village, "ben") == ["pay me once"]
    assert ("said-old", "") in village.devices["ben"].refused


def test_a_replayed_message_id_is_refused_after_a_flood() -> None:
    """Who fills the table forgets for itself: neither does its own old message come twice, nor anybody else's."""
    village = three(Config(max_seen=40))
    say(village, "anna", "from anna")
    say(village, "ben", "pay me once")
    anna, ben = content(village, "anna", "from anna"), content(village, "ben", "pay me once")
    after = contents.content_id(TEA, village.own("anna"), anna)
    for each in range(60):
        village.now += 1
        on(village, "ben", content(village, "ben", f"flood {each}"))
    on(village, "ben", replace(ben, after=(after,)))
    on(village, "anna", anna)
    assert heard(village, "cleo").count("pay me once") == 1
    assert heard(village, "cleo").count("from anna") == 1
    assert talk(village, "cleo").seen.size <= 40
    say(village, "anna", "still heard")
    assert heard(village, "cleo")[-1] == "still heard"
    assert contents.floor_of(talk(village, "cleo"), village.own("anna")) == 0


def test_a_clock_that_is_wrong_makes_nobody_mute() -> None:
    """Times of one account are compared with each other alone."""
    village = three()
    say(village, "anna", "by a good clock")
    on(village, "ben", content(village, "ben", "in 1970", said_at=5))
    on(village, "cleo", content(village, "cleo", "in 2100", said_at=village.now + 75 * 365 * DAY))
    skip(village, 40 * DAY)
    on(village, "ben", content(village, "ben", "still 1970", said_at=6))
    assert heard(village, "anna") == ["by a good clock", "in 1970", "in 2100", "still 1970"]
    assert talk(village, "anna").seen.size == 2  # what is of the future cannot be old yet


@pytest.mark.parametrize(
    ("other", "rule"),
    [({"data": bytes(2000)}, "said-size"), ({"media": "x" * 256}, "said-media"), ({"said_at": 1 << 60}, "said-time")],
)
def test_what_breaks_a_limit_is_dropped(other: dict[str, Any], rule: str) -> None:
    village = three(Config(max_said=1024))
    on(village, "anna", content(village, "anna", "x", **other))
    assert heard(village, "ben") == []
    assert [each for each, _ in village.devices["ben"].refused] == [rule]


# ---------------------------------------------------------------- in order


def test_an_answer_is_shown_after_what_it_answers() -> None:
    village = three()
    village.lost = lambda frame, name: name == "cleo" and frame.by == "anna"
    say(village, "anna", "question")
    say(village, "ben", "answer")
    say(village, "ben", "and more")
    assert heard(village, "cleo") == []
    village.lost = lambda _frame, _name: False
    village.deliver()
    assert heard(village, "cleo") == ["question", "answer", "and more"]
    [_, answer, _] = village.told("cleo", events.Message)
    assert answer.after == (contents.content_id(TEA, village.own("anna"), content(village, "anna", "question")),)
    assert talk(village, "cleo").held.size == 0


def test_an_answer_does_not_wait_for_ever() -> None:
    village = three()
    village.lost = lambda frame, name: name == "cleo" and frame.by == "anna"
    say(village, "anna", "question")
    say(village, "ben", "answer")
    village.wait(seconds=4)
    assert heard(village, "cleo") == []
    village.wait(seconds=2)
    assert heard(village, "cleo") == ["answer"]
    village.lost = lambda _frame, _name: False
    village.deliver()
    assert heard(village, "cleo") == ["answer", "question"]


def test_nobody_holds_others_messages_back_by_withholding_one_after_the_other() -> None:
    """Ben's message waits its time and no longer, whatever what it waits for waits for."""
    village = three()
    chain: list[ContentId] = []
    for each in range(5):  # each of anna's names the one before
        made = content(village, "anna", f"link {each}", after=tuple(chain[-1:]))
        chain.append(contents.content_id(TEA, village.own("anna"), made))
        village.lost = lambda frame, name: name == "cleo" and frame.by == "anna"
        on(village, "anna", made)
    say(village, "ben", "waits for the last")
    cleo = village.devices["cleo"]
    hidden = [frame for frame in village.log if frame.id not in cleo.has and frame.topic in cleo.topics]
    assert len(hidden) == 5
    for frame in hidden[:0:-1]:  # the last first, and each just before the wait would be over
        village.wait(seconds=2)
        _let(village, "cleo", frame)
    assert (
        heard(village, "cleo") == ["link 3", "link 4", "waits for the last"]
        or heard(village, "cleo")[-1] == "waits for the last"
    )


def _let(village: Village, name: str, frame: Frame) -> None:
    device = village.devices[name]
    device.has.add(frame.id)
    village.step(name, inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))


def test_a_full_room_of_waiting_messages_lets_the_oldest_out() -> None:
    village = three(Config(max_held=4))
    ghost = ContentId(bytes(32))
    for each in range(6):
        village.now += 1
        on(village, "anna", content(village, "anna", f"{each}", after=(ghost,)))
    assert heard(village, "ben") == ["0", "1"]
    assert talk(village, "ben").held.size == 4
    village.wait(seconds=6)
    assert heard(village, "ben") == ["0", "1", "2", "3", "4", "5"]


def test_a_message_names_at_most_the_eight_that_were_heard_last() -> None:
    village = three()
    village.lost = lambda frame, _name: frame.by == "anna"
    for each in range(10):
        on(village, "ben", content(village, "ben", f"{each}"))
    village.lost = lambda _frame, _name: False
    village.deliver()
    say(village, "anna", "I have read it all")
    last = village.told("cleo", events.Message)[-1]
    assert len(last.after) == contents.FRONTIER
    assert talk(village, "cleo").frontier == (last.content,)


# ---------------------------------------------------------------- epochs


def test_a_future_epoch_message_is_not_terminal() -> None:
    """It waits for its epoch, also over a restart, and is read when that comes."""
    village = three()
    village.lost = lambda frame, name: name == "cleo" and frame in hidden
    hidden: list[Frame] = []
    hidden += since(village, lambda: None)
    before = len(village.log)
    village.part(["anna", "ben"], ["cleo"])
    refresh(village, "anna")
    hidden += village.log[before:]
    say(village, "anna", "in the next epoch")
    village.heal()
    assert heard(village, "cleo") == []
    village.restart("cleo")
    hidden.clear()
    village.deliver()
    assert heard(village, "cleo") == ["in the next epoch"]


def test_catch_up_over_many_commits_does_not_evict_secrets_before_delivery() -> None:
    """Messages of a dozen epochs, all of them heard at once and the last ones first."""
    village = three()
    village.part(["anna", "ben"], ["cleo"])
    expected = []
    for each in range(12):
        say(village, "anna", f"before {each}")
        refresh(village, "ben")
        expected.append(f"before {each}")
    village.log.reverse()
    village.heal()
    village.log.reverse()
    village.wait(seconds=10)
    assert sorted(heard(village, "cleo")) == sorted(expected)
    assert heard(village, "cleo") == expected
    assert strand(village, "cleo").head == strand(village, "anna").head


def test_what_was_delivered_is_not_lost_again_and_not_told_twice() -> None:
    """It was read on a branch that loses: it stays, and its second copy on the winning branch is not shown."""
    village = three()
    village.part(["anna", "ben"], ["cleo"])
    epochs = [refresh(village, "anna"), refresh(village, "cleo")]
    say(village, "anna", "from anna's side")
    say(village, "cleo", "from cleo's side")
    village.heal()
    village.wait(minutes=2)
    heads = {strand(village, name).head for name in ("anna", "ben", "cleo")}
    assert len(heads) == 1
    assert heads <= set(epochs)
    for name in ("anna", "ben", "cleo"):
        assert sorted(heard(village, name)) == ["from anna's side", "from cleo's side"]


# ---------------------------------------------------------------- too late


def past_the_window(village: Village) -> ContentId:
    """Ben is alone for long and says something in an epoch of which the others have no keys any more."""
    village.part(["anna", "cleo"], ["ben"])
    refresh(village, "anna")
    for name in ("anna", "cleo"):
        _without_old_keys(village, name)
    content_id = say(village, "ben", "is anybody there")
    village.heal()
    return content_id


def _without_old_keys(village: Village, name: str) -> None:
    def drop(turn: Turn) -> None:
        old = turn.strand(TEA)
        for epoch in sorted(old.kept):
            if epoch != old.head:
                old = dropped(old, epoch)
        turn.put(old)

    step(village, name, drop)


def test_a_message_that_came_after_its_keys_were_gone_is_said_again() -> None:
    village = three()
    name = past_the_window(village)
    assert heard(village, "cleo") == []
    village.wait(minutes=1)
    assert heard(village, "anna") == ["is anybody there"]
    assert heard(village, "cleo") == ["is anybody there"]
    assert heard(village, "ben") == ["is anybody there"]
    assert Fate.RETURNED not in fates(village, "ben", name)


def test_who_asks_for_what_was_missed_gets_it_once_more_on_a_head() -> None:
    village = three()
    frames = since(village, lambda: say(village, "anna", "hello"))
    [post] = posts(village, "ben", frames)
    asked: tuple[bytes, ...] = (sha256(post.message).digest(),)
    for last in (1, 0, 0):  # the head has it, but two devices may have taken one key; after that, it has it twice
        publish(village, "ben", Missed(at=strand(village, "ben").head, digests=asked))
        said = posts(village, "ben", since(village, lambda: village.wait(minutes=1)))
        assert len(said) == last
        asked = (*asked, *(sha256(each.message).digest() for each in said))
    head = refresh(village, "cleo")
    publish(village, "ben", Missed(at=head, digests=asked))
    again = posts(village, "ben", since(village, lambda: village.wait(minutes=1)))
    assert [each.epoch for each in again] == [strand(village, "anna").head]
    for _ in range(6):
        asked = (*asked, *(sha256(each.message).digest() for each in again[-1:]))
        publish(village, "cleo", Missed(at=strand(village, "cleo").head, digests=asked))
        again += posts(village, "ben", since(village, lambda: village.wait(minutes=1)))
    assert set(Counter(each.epoch for each in again).values()) <= {1, 2}
    assert len({each.epoch for each in again}) <= 2  # cleo's, and one that shows the votes on it
    older = tuple(each for each in asked if each != sha256(again[-1].message).digest())
    publish(village, "cleo", Missed(at=refresh(village, "cleo"), digests=older))  # of the newest nobody has said so
    assert posts(village, "ben", since(village, lambda: village.wait(minutes=1))) == []
    assert heard(village, "ben") == ["hello"]


def test_a_flood_of_messages_that_come_too_late_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "MAX_TOLD", 100)
    village = three()
    old = strand(village, "anna").head
    refresh(village, "anna")
    _without_old_keys(village, "ben")
    here = strand(village, "ben").here
    assert here is not None
    for each in range(110):
        give(village, "ben", Post(epoch=old, message=each.to_bytes(4, "big")), here.topic, f"junk {each}")
    assert len(talk(village, "ben").missed) == 100
    asked = since(village, lambda: village.wait(minutes=1))
    assert sum(isinstance(each, Missed) for each in payloads(village, "ben", asked)) == 2
    assert talk(village, "ben").missed == ()


def test_what_came_too_late_is_forgotten_when_nobody_says_it_again_any_more() -> None:
    village = three()
    past_the_window(village)
    village.wait(minutes=1)
    assert talk(village, "cleo").asked
    skip(village, 29 * DAY)
    assert talk(village, "cleo").asked
    skip(village, 2 * DAY)
    assert talk(village, "cleo").asked == ()


def test_who_cannot_follow_says_what_came_too_late_when_it_is_back() -> None:
    village = three()
    old = strand(village, "anna").head
    refresh(village, "anna")
    _without_old_keys(village, "ben")
    post, after = Post(epoch=old, message=b"late"), strand(village, "ben")
    lost = replace(after, kept=after.kept.discard(after.head), membership=Membership.LOST)

    def away(turn: Turn) -> None:
        delivery.late(turn, after, post)
        turn.put(lost)
        delivery.order(turn, TEA)

    step(village, "ben", away)
    assert (Duty.ORDER, TEA) in village.state("ben").duties
    village.wait(minutes=1)
    assert talk(village, "ben").missed
    assert (Duty.ORDER, TEA) not in village.state("ben").duties

    def back(turn: Turn) -> None:
        turn.put(after)
        delivery.moved(turn, lost, after)

    step(village, "ben", back)
    village.wait(minutes=1)
    assert not talk(village, "ben").missed


# ---------------------------------------------------------------- others


def test_what_an_ordinary_client_says_is_shown_as_it_is() -> None:
    village = Village()
    gather(village, TEA, Mode.LEAD, "anna", "ben")
    dora = Plain(village, "dora")
    dora.join(add(village, "anna", TEA, dora.package.key_package))
    dora.group, message = mls.seal(dora.here, dora.env, b"plain words")
    epoch = EpochId(dora.here.epoch_id)
    for name in ("anna", "ben"):
        here = strand(village, name).here
        assert here is not None
        give(village, name, Post(epoch=epoch, message=message), here.topic, "plain")
    [one] = village.told("ben", events.Message)
    [other] = village.told("anna", events.Message)
    assert (one.data, one.media, one.ours) == (b"plain words", "", False)
    assert one.content == other.content


def test_what_is_no_content_of_ours_is_dropped_where_everybody_is_a_vcd() -> None:
    village = three()

    def seal(turn: Turn) -> None:
        sealed = keys.seal(turn, turn.strand(TEA), b"plain words")
        here = turn.strand(TEA).here
        assert here is not None
        turn.publish(here.topic, Post(epoch=sealed.epoch, message=sealed.message))

    act(village, "anna", seal)
    assert heard(village, "ben") == []
    assert ("said-form", "") in village.devices["ben"].refused


def test_ids_and_what_the_app_called_them_are_forgotten_after_the_horizon() -> None:
    village = three()
    say(village, "anna", "hello")
    skip(village, 29 * DAY)
    assert talk(village, "ben").seen.size == 1
    assert nonce("hello") in talk(village, "anna").nonces
    skip(village, 2 * DAY)
    assert talk(village, "ben").seen.size == 0
    assert talk(village, "ben").frontier == ()
    assert nonce("hello") not in talk(village, "anna").nonces
