"""What was seen and what can be sent again: for how long, and how much of it."""

from __future__ import annotations

from transport.base import PeerId
from transport.gossip.history import MOST_REPEATS, History, Seen
from transport.gossip.wire import MessageId

PEER = PeerId("peer")


def name(number: int) -> MessageId:
    return MessageId(number.to_bytes(8))


def test_seen_for_some_time() -> None:
    seen = Seen(10.0)
    seen.add(name(1), 0.0)
    seen.add(name(2), 5.0)
    seen.expire(9.9)
    assert name(1) in seen
    seen.expire(10.0)
    assert name(1) not in seen
    assert name(2) in seen
    seen.discard(name(2))
    seen.discard(name(2))
    assert len(seen) == 0


def test_seen_no_more_than_so_many() -> None:
    seen = Seen(10.0, most=100)
    for number in range(1000):
        seen.add(name(number), number / 1000)
    assert len(seen) == 100
    assert name(999) in seen
    assert name(899) not in seen


def test_announced_for_some_heartbeats_kept_for_more() -> None:
    history = History(announced=2, kept=4)
    history.add(name(1), "t", b"one")
    history.shift()
    history.add(name(2), "t", b"two")
    history.add(name(3), "u", b"three")
    assert history.recent() == {"t": [name(1), name(2)], "u": [name(3)]}
    history.shift()
    assert history.recent() == {"t": [name(2)], "u": [name(3)]}
    history.shift()
    assert history.recent() == {}
    kept = history.again(name(1), PEER)
    assert kept is not None
    assert (kept.topic, kept.rpc) == ("t", b"one")
    history.shift()
    assert history.again(name(1), PEER) is None
    for _ in range(4):
        history.shift()
    assert len(history) == 0


def test_sent_again_a_few_times_to_each_peer() -> None:
    history = History(announced=1, kept=2)
    history.add(name(1), "t", b"one")
    answers = [history.again(name(1), PEER) for _ in range(MOST_REPEATS + 2)]
    assert [answer is not None for answer in answers] == [True] * MOST_REPEATS + [False] * 2
    assert history.again(name(1), PeerId("another")) is not None


def test_bounded_in_number_and_bytes() -> None:
    history = History(announced=1, kept=2, most=10, most_bytes=1000)
    for number in range(50):
        history.add(name(number), "t", bytes(10))
    assert len(history) == 10
    history.add(name(99), "t", bytes(950))
    assert len(history) == 6
    history.add(name(99), "t", bytes(950))
    assert history.recent()["t"][-2:] == [name(49), name(99)]
