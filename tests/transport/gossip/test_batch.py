"""Batches on the wire, and how long frames wait for company."""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
from hypothesis import given, strategies as st

from tests.transport.gossip.scene import KEY, LATER, TOPIC, frame
from transport.base import Reason, Refused
from transport.frames import HEAD_SIZE, seal, topic_id
from transport.gossip.authors import compose
from transport.gossip.batch import FULL, MAX_DATA, MOST_WAITING, Batcher, Item, Pace, Tag, decode, encode, item_of
from transport.gossip.wire import publish_rpc, topic_name
from transport.network import MAX_WRITE
from transport.signing import SigningKey

items = st.builds(Item, tag=st.just(Tag.FRAME), content=st.binary(min_size=HEAD_SIZE, max_size=300)) | st.builds(
    Item, tag=st.just(Tag.HEAD), content=st.binary(min_size=HEAD_SIZE, max_size=HEAD_SIZE)
)


def pace(**changes: float) -> Pace:
    settings = {"budget": 200.0, "shortest": 0.0025, "longest": 0.1, "longest_hold": 0.04}
    return Pace(**(settings | changes))


@pytest.mark.slow
@given(st.lists(items, min_size=1, max_size=20))
def test_round_trip(some: list[Item]) -> None:
    assert decode(encode(some)) == some


@given(st.binary(max_size=1000))
def test_junk_raises_one_error_only(junk: bytes) -> None:
    for data in (junk, b"\x01" + junk):
        with suppress(Refused):
            decode(data)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", Reason.MALFORMED),
        (b"\x01", Reason.MALFORMED),
        (b"\x02" + bytes(200), Reason.VERSION),
        (b"\x01" + bytes(MAX_DATA), Reason.SIZE),
        (encode([Item(tag=Tag.FRAME, content=bytes(HEAD_SIZE - 1))]), Reason.MALFORMED),
        (encode([Item(tag=Tag.HEAD, content=bytes(HEAD_SIZE + 1))]), Reason.MALFORMED),
        (b"\x01\x03" + HEAD_SIZE.to_bytes(4) + bytes(HEAD_SIZE), Reason.MALFORMED),
        (encode([Item(tag=Tag.FRAME, content=bytes(200))])[:-1], Reason.MALFORMED),
        (encode([Item(tag=Tag.FRAME, content=bytes(200))]) + b"\x01", Reason.MALFORMED),
        (b"hello from a peer that is not vcd", Reason.VERSION),
    ],
)
def test_what_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(Refused) as caught:
        decode(data)
    assert caught.value.reason is reason


def test_the_largest_batch_is_one_write() -> None:
    largest = seal(KEY, bytes(FULL - 1 - 5 - HEAD_SIZE), LATER)
    assert item_of(largest).tag is Tag.FRAME
    data = encode([item_of(largest)])
    assert len(data) == FULL <= MAX_DATA
    assert len(publish_rpc(compose(topic_name(TOPIC), data, random.Random(0).randbytes))) <= MAX_WRITE


def test_a_larger_frame_is_announced_by_its_head() -> None:
    larger = seal(KEY, bytes(FULL - HEAD_SIZE - 5), LATER)
    assert item_of(larger) == Item(tag=Tag.HEAD, content=larger.head)


def test_the_first_frame_after_silence_hardly_waits() -> None:
    batcher = Batcher(pace())
    assert batcher.due() is None
    assert batcher.add(frame(), 100.0) == []
    assert batcher.due() == pytest.approx(100.0025)
    assert batcher.ready(100.002) == []
    ((topic, data),) = batcher.ready(100.003)
    assert topic == TOPIC
    assert len(decode(data)) == 1
    assert batcher.due() is None


def test_frames_of_a_topic_travel_together_and_in_order() -> None:
    batcher = Batcher(pace())
    other = SigningKey(b"o" * 32)
    said = [frame() for _ in range(5)]
    for each in said:
        batcher.add(each, 1.0)
    batcher.add(frame(key=other), 1.0)
    out = dict(batcher.ready(2.0))
    assert [item.content for item in decode(out[TOPIC])] == [each.encode() for each in said]
    assert set(out) == {TOPIC, topic_id(other.public)}


def test_a_full_batch_does_not_wait() -> None:
    batcher = Batcher(pace())
    out = [each for _ in range(20) for each in batcher.add(frame(10_000), 1.0)]
    assert len(out) == 3
    assert all(FULL - 11_000 < len(data) <= FULL for _, data in out)
    assert len(batcher.take(TOPIC)) == 1
    assert batcher.take(TOPIC) == []


def test_what_waits_is_bounded() -> None:
    batcher = Batcher(pace())
    out = []
    for number in range(100):
        out += batcher.add(frame(50_000, key=SigningKey(number.to_bytes(32))), 1.0)
    waiting = 100 * 50_000 - sum(len(data) for _, data in out)
    assert waiting <= MOST_WAITING
    assert len(out) > 50


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 30_000), st.floats(0, 0.05)), max_size=60))
def test_every_frame_comes_out_once_and_in_time(steps: list[tuple[int, float]]) -> None:
    batcher, now, said, out = Batcher(pace()), 0.0, [], []
    for size, gap in steps:
        now += gap
        out += batcher.ready(now)
        made = frame(size)
        said.append(made)
        out += batcher.add(made, now)
        due = batcher.due()
        assert due is not None
        assert due <= now + 0.1 + 1e-9
    out += batcher.ready(now + 0.1)
    got = [item.content for _, data in out for item in decode(data)]
    assert got == [each.encode() for each in said]


def simulated(nodes: int, frames_per_second: float, seconds: float = 10.0) -> tuple[float, float]:
    """Messages per second of the whole mesh in the second half, and the mean wait then; each costs its links once."""
    rng = random.Random(1)
    paces = [pace() for _ in range(nodes)]
    batchers = [Batcher(each) for each in paces]
    now, messages, waits = 0.0, 0, []
    one = frame()
    while now < seconds:
        now += rng.expovariate(frames_per_second)
        for number, batcher in enumerate(batchers):
            for _ in batcher.ready(now):
                messages += now > seconds / 2
                for other, each in enumerate(paces):
                    each.spent(nodes - 1 if other == number else 1, now)
        who = rng.randrange(nodes)
        batchers[who].add(one, now)
        due = batchers[who].due()
        assert due is not None
        waits.append(due - now)
    return messages / (seconds / 2), sum(waits[len(waits) // 2 :]) / len(waits[len(waits) // 2 :])


@pytest.mark.slow
def test_many_frames_become_few_messages() -> None:
    few, _ = simulated(5, 20)
    assert few == pytest.approx(20, rel=0.3)  # nothing to save
    many, wait = simulated(5, 500)
    assert many < 160
    assert wait < 0.08
    more, _ = simulated(5, 2000)
    assert more < 200


def test_a_late_machine_makes_frames_wait_for_each_other() -> None:
    one = pace()
    for tick in range(100):
        one.wait(tick / 10)
        one.woken(0.03, tick / 10)
    assert one.wait(10.0) == pytest.approx(0.03)
    assert one.hold(10.0) == pytest.approx(0.03)
    assert one.wait(11.0) == pytest.approx(0.03, rel=0.3)
    assert one.wait(15.0) == 0.0025
    assert one.hold(15.0) < 0.001
    one.woken(5.0, 16.0)
    assert one.wait(16.0) == 0.1


def test_silence_ends_the_waiting() -> None:
    one = pace()
    for tick in range(200):
        one.spent(10, tick / 100)
        one.wait(tick / 100)
    assert one.wait(2.0) > 0.05
    assert one.hold(2.0) == 0.04
    assert one.wait(4.0) == 0.0025
    assert one.hold(4.0) == 0.0
