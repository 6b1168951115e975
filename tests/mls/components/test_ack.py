"""mls-extensions §6.1: acknowledged messages as ranges, and what is missing among them."""

from __future__ import annotations

import time
from functools import partial

import pytest
from hypothesis import given, strategies as st

from mls.codec import Reader, u32, vector
from mls.components.ack import AppAck, MessageRange, acknowledgment, gaps, missing, union
from mls.errors import CallerError
from mls.registries import Generation, LeafIndex
from tests.mls.refusals import refused
from tests.validation import breaks

LAST = 2**32 - 1
Messages = set[tuple[int, int]]

messages = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=40)


def span(sender: int, first: int, last: int) -> MessageRange:
    return MessageRange(LeafIndex(sender), Generation(first), Generation(last))


spans = st.builds(
    lambda sender, first, more: span(sender, first, first + more),
    st.integers(0, 3),
    st.integers(0, 20),
    st.integers(0, 9),
)
acks = st.lists(spans, max_size=8).map(tuple).map(AppAck)


def named(ranges: tuple[MessageRange, ...]) -> Messages:
    """The messages one by one: the naive form of everything here."""
    return {
        (each.sender, generation)
        for each in ranges
        for generation in range(each.first_generation, each.last_generation + 1)
    }


def is_short(ranges: tuple[MessageRange, ...]) -> bool:
    """In order, and with a message left out between any two of one sender."""
    return all(
        one.sender < other.sender or (one.sender == other.sender and one.last_generation + 1 < other.first_generation)
        for one, other in zip(ranges, ranges[1:], strict=False)
    )


def test_the_bytes() -> None:
    ack = acknowledgment([(7, 2), (1, 0), (7, 1), (7, 4)])
    assert ack.encode().hex() == "24" + "".join(f"{number:08x}" for number in (1, 0, 0, 7, 1, 2, 7, 4, 4))
    assert AppAck().encode() == b"\x00"


@breaks("EXT-6.1-1")
def test_a_range_backward() -> None:
    good = vector([u32(1) + u32(5) + u32(5)])
    assert AppAck.decode(Reader(good)).received_ranges == (span(1, 5, 5),)
    for first, last in ((5, 4), (LAST, 0)):
        bad = vector([u32(1) + u32(0) + u32(1), u32(1) + u32(first) + u32(last)])
        refused("EXT-6.1-1", partial(AppAck.decode, Reader(bad)))


@pytest.mark.slow
@given(received=messages)
def test_single_messages_become_ranges(received: Messages) -> None:
    ack = acknowledgment(received)
    assert named(ack.received_ranges) == received
    assert is_short(ack.received_ranges)


@pytest.mark.slow
@given(parts=st.lists(acks, max_size=4))
def test_union_has_what_any_has(parts: list[AppAck]) -> None:
    joined = union(*parts)
    assert named(joined.received_ranges) == set().union(*[named(part.received_ranges) for part in parts])
    assert is_short(joined.received_ranges)


@pytest.mark.slow
@given(acked=acks, seen=acks)
def test_missing_is_the_difference(acked: AppAck, seen: AppAck) -> None:
    found = missing(acked, seen)
    assert named(found) == named(acked.received_ranges) - named(seen.received_ranges)
    assert is_short(found)


@pytest.mark.slow
@given(seen=acks)
def test_gaps_are_what_came_before(seen: AppAck) -> None:
    have = named(seen.received_ranges)
    before = {(sender, generation) for sender, top in have for generation in range(top)}
    assert named(gaps(seen)) == before - have
    assert is_short(gaps(seen))


def test_the_ends_of_a_generation() -> None:
    everything = AppAck((span(0, 0, LAST),))
    assert missing(everything, AppAck()) == (span(0, 0, LAST),)
    assert missing(everything, everything) == ()
    assert missing(everything, AppAck((span(0, 0, 0), span(0, LAST, LAST)))) == (span(0, 1, LAST - 1),)
    assert gaps(AppAck((span(LAST, LAST, LAST),))) == (span(LAST, 0, LAST - 1),)
    assert union(everything, AppAck((span(0, LAST, LAST), span(1, 0, 0)))).received_ranges == (
        span(0, 0, LAST),
        span(1, 0, 0),
    )


@pytest.mark.parametrize("single", [(-1, 0), (0, -1), (2**32, 0), (0, 2**32)])
def test_numbers_have_32_bits(single: tuple[int, int]) -> None:
    with pytest.raises(CallerError):
        acknowledgment([single])


@pytest.mark.slow
def test_the_cost_goes_with_the_ranges_and_not_with_what_they_span() -> None:
    wide = AppAck(tuple(span(0, 1000 * n, 1000 * n + 998) for n in range(20_000)))
    holes = AppAck(tuple(span(0, 1000 * n + 500, 1000 * n + 500) for n in range(20_000)))
    start = time.process_time()
    assert len(missing(wide, holes)) == 40_000
    assert len(missing(AppAck((span(0, 0, LAST),)), holes)) == 20_001
    assert len(gaps(wide)) == 19_999
    assert time.process_time() - start < 10
