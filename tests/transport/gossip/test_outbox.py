"""One peer's outbox: order, the three states, and that nothing is left out without being named."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from transport.gossip.outbox import MOST_CONTROL, Outbox, State
from transport.gossip.wire import MessageId


def name(number: int) -> MessageId:
    return MessageId(number.to_bytes(8))


def outbox(full_at: int = 100, most: int = 400) -> Outbox:
    return Outbox(full_at=full_at, most=most)


def test_control_goes_first_and_all_in_one_write() -> None:
    box = outbox()
    box.put(name(1), "t", b"one", 0.0)
    box.tell(b"control")
    box.put(name(2), "t", b"two", 0.0)
    assert box.take(1000) == b"controlonetwo"
    assert box.take(1000) == b""


def test_a_write_has_a_limit_but_holds_one() -> None:
    box = outbox()
    for number in range(3):
        box.put(name(number), "t", bytes(30), 0.0)
    assert [len(box.take(60)), len(box.take(20)), len(box.take(60))] == [60, 30, 0]


def test_due_at_the_soonest() -> None:
    box = outbox()
    assert box.due == math.inf
    box.put(name(1), "t", b"1", 10.0, hold=0.5)
    assert box.due == 10.5
    box.put(name(2), "t", b"2", 10.0, hold=0.2)
    assert box.due == 10.2
    box.put(name(3), "t", b"3", 10.1)
    assert box.due == 10.1
    box.cancel(name(3))
    box.cancel(name(2))
    box.cancel(name(1))
    assert box.due == math.inf
    box.tell(b"c")
    assert box.due < 0


def test_what_the_peer_has_is_not_sent() -> None:
    box = outbox()
    box.put(name(1), "t", b"one", 0.0)
    assert box.cancel(name(1))
    assert not box.cancel(name(1))
    assert (box.take(100), box.size) == (b"", 0)


def test_full_until_half_empty() -> None:
    box = outbox()
    for number in range(11):
        box.put(name(number), "t", bytes(10), 0.0)
    assert box.state is State.FULL
    states = []
    for size in (50, 10):
        box.take(size)
        states.append(box.state)
    assert states == [State.FULL, State.OPEN]


def test_full_for_too_long_is_behind() -> None:
    box = outbox()
    box.put(name(1), "t", bytes(60), 1.0)
    box.put(name(2), "u", bytes(60), 2.0)
    assert box.deadline(5.0) == 7.0
    assert not box.overdue(6.9, 5.0)
    assert box.overdue(7.0, 5.0)
    assert box.state is State.BEHIND
    assert box.missed() == ["t", "u"]
    assert box.missed() == []
    assert not box.put(name(3), "v", b"x", 8.0)
    assert box.take(100) == b""
    assert box.written()
    assert not box.written()
    assert box.missed() == ["v"]
    assert box.put(name(4), "t", b"x", 9.0)


def test_forwarding_never_waits_and_never_exceeds_the_bound() -> None:
    box = outbox()
    taken = [box.put(name(number), "t", bytes(50), 0.0) for number in range(9)]
    assert taken == [True] * 8 + [False]
    assert (box.state, box.size, box.missed()) == (State.BEHIND, 0, ["t"])


def test_control_is_bounded() -> None:
    box = outbox()
    for _ in range(MOST_CONTROL // 65536):
        box.tell(bytes(65536))
    broken = [box.broken]
    box.tell(b"x")
    broken.append(box.broken)
    box.reset()
    broken.append(box.broken)
    assert broken == [False, True, False]
    assert box.take(100) == b""


def test_behind_ends_after_control_too() -> None:
    box = outbox()
    box.put(name(1), "t", bytes(500), 0.0)
    box.tell(b"c")
    assert not box.written()
    assert box.take(100) == b"c"
    assert box.written()


class OutboxMachine(RuleBasedStateMachine):
    """Every message is taken, cancelled, or its topic named as missed."""

    def __init__(self) -> None:
        super().__init__()
        self.box = outbox()
        self.now = 0.0
        self.count = 0
        self.open: dict[int, str] = {}
        self.owed: set[str] = set()

    @rule(size=st.integers(8, 120), topic=st.sampled_from("abc"))
    def put(self, size: int, topic: str) -> None:
        self.count += 1
        if self.box.put(name(self.count), topic, self.count.to_bytes(size), self.now):
            self.open[self.count] = topic
        else:
            self.owed |= {topic, *self.open.values()}
            self.open.clear()

    @rule(limit=st.integers(1, 300))
    def take(self, limit: int) -> None:
        before = self.box.size
        data = self.box.take(limit)
        assert len(data) == before - self.box.size
        while sum(1 for _ in self.open) > len(self.box):
            del self.open[next(iter(self.open))]

    @rule(pick=st.integers(0, 20))
    def cancel(self, pick: int) -> None:
        number = max(self.count - pick, 0)
        assert self.box.cancel(name(number)) == (number in self.open)
        self.open.pop(number, None)

    @rule(seconds=st.floats(0, 4))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        if self.box.overdue(self.now, 5.0):
            self.owed |= set(self.open.values())
            self.open.clear()

    @rule()
    def report(self) -> None:
        assert set(self.box.missed()) == self.owed
        self.owed.clear()

    @rule()
    def written(self) -> None:
        self.box.written()

    @invariant()
    def bounded(self) -> None:
        assert len(self.box) == len(self.open)
        assert self.box.size <= 400
        if self.box.state is State.OPEN:
            assert self.box.size <= 100


TestOutbox = pytest.mark.slow(OutboxMachine.TestCase)


@pytest.mark.slow
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 200))
def test_order_is_kept(sizes: list[int], limit: int) -> None:
    box = Outbox(full_at=10_000, most=20_000)
    sent = [bytes((number,)) * size for number, size in enumerate(sizes)]
    for number, rpc in enumerate(sent):
        box.put(name(number), "t", rpc, 0.0)
    got = b""
    while data := box.take(limit):
        got += data
    assert got == b"".join(sent)
