"""The index against a sorted list."""

from __future__ import annotations

import sys
from hashlib import blake2b

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.transport.sync.talk import FEWER, SALT, loaded, numbered
from transport.base import FrameId
from transport.sync.index import (
    KEY_SIZE,
    TOP,
    Border,
    IdSet,
    Key,
    SetIndex,
    border_at,
    border_between,
    key_expires,
    key_id,
)


def naive_fingerprint(keys: list[Key], salt: bytes = SALT) -> bytes:
    total = sum(int.from_bytes(blake2b(one).digest()) for one in keys) % 2**512
    return blake2b(total.to_bytes(64) + len(keys).to_bytes(8), digest_size=16, key=salt).digest()


class AgainstAList(RuleBasedStateMachine):
    """Keys come from a small space, so that they collide, lie in one chunk, and go again."""

    def __init__(self) -> None:
        super().__init__()
        self.index = SetIndex()
        self.model: set[Key] = set()

    @rule(number=st.integers(0, 400))
    def insert(self, number: int) -> None:
        one = numbered(number)
        assert self.index.insert(one) == (one not in self.model)
        self.model.add(one)

    @rule(first=st.integers(0, 300), number=st.integers(0, 120))
    def load(self, first: int, number: int) -> None:
        keys = sorted(numbered(n) for n in range(first, first + number))
        self.index.load(keys)
        self.model.update(keys)

    @rule(number=st.integers(0, 400))
    def delete(self, number: int) -> None:
        one = numbered(number)
        assert self.index.delete(one) == (one in self.model)
        self.model.discard(one)

    @rule(first=st.integers(0, 400), number=st.integers(0, 100))
    def delete_many(self, first: int, number: int) -> None:
        for n in range(first, first + number):
            self.index.delete(numbered(n))
            self.model.discard(numbered(n))

    @rule(expires=st.integers(0, 400))
    def delete_before(self, expires: int) -> None:
        gone = {one for one in self.model if key_expires(one) < expires}
        assert self.index.delete_before(border_at(expires)) == len(gone)
        self.model -= gone

    @rule(low=st.integers(0, 500), high=st.integers(0, 500))
    def ranges(self, low: int, high: int) -> None:
        snapshot = self.index.snapshot()
        inside = sorted(one for one in self.model if border_at(low) <= one < border_at(high))
        assert snapshot.count(border_at(low), border_at(high)) == len(inside)
        assert list(snapshot.keys(border_at(low), border_at(high))) == inside
        assert snapshot.fingerprint(border_at(low), border_at(high), SALT) == naive_fingerprint(inside)

    @precondition(lambda self: self.model)
    @rule(data=st.data(), parts=st.integers(1, 20))
    def borders(self, data: st.DataObject, parts: int) -> None:
        snapshot = self.index.snapshot()
        borders = [b"", *snapshot.borders(b"", TOP, parts), TOP]
        counts = [snapshot.count(low, high) for low, high in zip(borders, borders[1:], strict=False)]
        assert len(counts) == min(parts, len(self.model))
        assert sum(counts) == len(self.model)
        assert max(counts) - min(counts) <= 1
        rank = data.draw(st.integers(0, len(self.model) - 1))
        assert snapshot.nth(rank) == sorted(self.model)[rank]

    @invariant()
    def same(self) -> None:
        assert len(self.index) == len(self.model)
        assert all(key_id(one) in self.index for one in self.model)
        assert list(self.index.snapshot().keys(b"", TOP)) == sorted(self.model)


AgainstAList.TestCase.settings = FEWER
TestAgainstAList = pytest.mark.slow(AgainstAList.TestCase)


@pytest.mark.parametrize("step", [1, -1, 7919])
def test_in_any_order_it_becomes_the_same(step: int) -> None:
    keys = [numbered(n) for n in range(1000)]
    index = SetIndex()
    for n in range(1000):
        index.insert(keys[n * step % 1000])
    assert list(index.snapshot().keys(b"", TOP)) == sorted(keys)
    assert index.snapshot().fingerprint(b"", TOP, SALT) == loaded(keys).snapshot().fingerprint(b"", TOP, SALT)


def test_a_snapshot_stays_what_it_was() -> None:
    index = loaded([numbered(n) for n in range(200)])
    before = index.snapshot()
    kept, fingerprint = list(before.keys(b"", TOP)), before.fingerprint(b"", TOP, SALT)
    for n in range(150, 400):
        index.insert(numbered(n))
        index.delete(numbered(n - 150))
    index.delete_before(border_at(300))
    assert list(before.keys(b"", TOP)) == kept
    assert before.fingerprint(b"", TOP, SALT) == fingerprint
    assert index.snapshot() is index.snapshot() is not before


def test_the_salt_changes_every_fingerprint() -> None:
    snapshot = loaded([numbered(1)]).snapshot()
    assert snapshot.fingerprint(b"", TOP, b"one") != snapshot.fingerprint(b"", TOP, b"two")
    assert snapshot.fingerprint(TOP, TOP, b"one") != snapshot.fingerprint(TOP, TOP, b"two")


@pytest.mark.slow
@given(st.binary(min_size=40, max_size=40), st.binary(min_size=40, max_size=40))
def test_a_border_lies_between_neighbors(one: bytes, other: bytes) -> None:
    before, after = sorted((Key(one), Key(other)))
    if before == after:
        with pytest.raises(ValueError):
            border_between(before, after)
        return
    border: Border = border_between(before, after)
    assert before < border <= after
    assert not border.endswith(b"\0")


@pytest.mark.parametrize("junk", [b"", bytes(39), bytes(41), b"\xff" + bytes(39)])
def test_what_is_not_a_key_does_not_come_in(junk: bytes) -> None:
    index = SetIndex()
    with pytest.raises(ValueError):
        index.insert(Key(junk))
    with pytest.raises(ValueError):
        index.load([Key(junk)])
    assert len(index) == 0


def test_nth_of_nothing() -> None:
    with pytest.raises(IndexError):
        SetIndex().snapshot().nth(0)


@pytest.mark.slow
def test_its_weight() -> None:
    """What 10,000 keys take."""
    index = SetIndex()
    for n in range(10_000):
        index.insert(numbered(n, expires=n * 7919 % 10_007))
    lists = (index._firsts, index._chunks, index._sums, index._ids._buckets)
    weight = sum(sys.getsizeof(part) + sum(sys.getsizeof(one) for one in part) for part in lists)
    assert weight < 10_000 * 2.5 * KEY_SIZE


def test_ids_that_lie_across_two_others() -> None:
    """In whichever bucket they are: with one id there is one bucket."""
    one, other = FrameId(b"a" * 16 + b"b" * 16), FrameId(b"b" * 16 + b"a" * 16)
    ids = IdSet()
    ids.add(one)
    assert one in ids
    assert other not in ids
    ids.add(other)
    assert (b"b" * 16 + b"b" * 16 in ids, other in ids, one[:8] in ids, b"" in ids, 7 in ids) == (
        False,
        True,
        *[False] * 3,
    )
    with pytest.raises(KeyError):
        ids.remove(FrameId(b"b" * 32))
    ids.remove(other)
    ids.remove(one)
    assert (len(ids), list(ids)) == (0, [])
