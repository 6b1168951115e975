"""What it costs to misbehave, how long it is remembered, and that the memory of it is bounded."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from transport.base import PeerId
from transport.conduct import (
    BAR,
    FIRST_BAR,
    FORGIVEN_AFTER,
    HALF_LIFE,
    LONGEST_BAR,
    MOST_PEERS,
    SLOWEST,
    THROTTLE,
    Bucket,
    Ledger,
    Offence,
    Standing,
)

PEER, OTHER = PeerId("peer"), PeerId("other")


def charge_until_barred(ledger: Ledger, peer: PeerId, now: float) -> int:
    """How many malformed messages it took."""
    for count in range(1, 1000):
        if ledger.charge(peer, Offence.MALFORMED, now) is Standing.BARRED:
            return count
    pytest.fail("never barred")


def test_nobody_owes_anything_at_first() -> None:
    ledger = Ledger()
    assert ledger.standing(PEER, 0.0) is Standing.GOOD
    assert ledger.penalty(PEER, 0.0) == 0.0
    assert ledger.barred_until(PEER, 0.0) is None
    assert ledger.barred(0.0) == {}


def test_charges_add_up_to_slow_service_and_then_to_a_bar() -> None:
    ledger = Ledger()
    seen = [ledger.charge(PEER, Offence.FORGED, 0.0) for _ in range(10)]
    assert seen == [Standing.GOOD] + [Standing.THROTTLED] * 8 + [Standing.BARRED]
    assert ledger.standing(OTHER, 0.0) is Standing.GOOD
    assert ledger.barred(0.0) == {PEER: FIRST_BAR}
    assert ledger.barred_until(PEER, 1.0) == FIRST_BAR


def test_what_is_owed_halves_each_minute() -> None:
    ledger = Ledger()
    for _ in range(4):
        ledger.charge(PEER, Offence.MALFORMED, 0.0)
    assert ledger.standing(PEER, 2 * HALF_LIFE) is Standing.THROTTLED  # 80, 40, 20
    assert ledger.standing(PEER, 2 * HALF_LIFE + 1) is Standing.GOOD
    assert ledger.penalty(PEER, 3 * HALF_LIFE) == 0.0
    assert ledger.charge(PEER, Offence.MALFORMED, 60 * HALF_LIFE) is Standing.THROTTLED


def test_service_gets_slower_from_throttle_to_bar() -> None:
    ledger = Ledger()
    waits = []
    for _ in range(9):
        ledger.charge(PEER, Offence.FORGED, 0.0)
        waits.append(ledger.penalty(PEER, 0.0))
    assert waits == sorted(waits)
    assert waits[1] == 0.0
    assert waits[-1] == pytest.approx((90 - THROTTLE) / (BAR - THROTTLE) * SLOWEST)
    assert max(waits) < SLOWEST


def test_a_bar_ends_and_the_peer_is_watched() -> None:
    ledger = Ledger()
    charge_until_barred(ledger, PEER, 0.0)
    assert ledger.standing(PEER, FIRST_BAR - 0.1) is Standing.BARRED
    assert ledger.standing(PEER, FIRST_BAR) is Standing.GOOD
    assert ledger.barred(FIRST_BAR) == {}
    assert ledger.barred_until(PEER, FIRST_BAR) is None


def test_each_bar_is_twice_as_long_up_to_the_longest() -> None:
    ledger, now, lengths = Ledger(), 0.0, []
    for _ in range(10):
        charge_until_barred(ledger, PEER, now)
        until = ledger.barred_until(PEER, now)
        assert until is not None
        lengths.append(until - now)
        now = until
    assert lengths[:3] == [FIRST_BAR, 2 * FIRST_BAR, 4 * FIRST_BAR]
    assert lengths[-1] == LONGEST_BAR
    assert max(lengths) == LONGEST_BAR


def test_after_a_good_day_the_next_bar_is_short_again() -> None:
    ledger = Ledger()
    charge_until_barred(ledger, PEER, 0.0)
    charge_until_barred(ledger, PEER, 100.0)
    later = 100.0 + 2 * FIRST_BAR + FORGIVEN_AFTER + 1
    charge_until_barred(ledger, PEER, later)
    until = ledger.barred_until(PEER, later)
    assert until is not None
    assert until - later == pytest.approx(FIRST_BAR)


def test_what_nobody_does_by_accident_bars_after_a_few_times() -> None:
    for offence in (Offence.MALFORMED, Offence.OVERSIZE, Offence.FORGED, Offence.LYING, Offence.GARBAGE):
        assert BAR / offence.price <= 10


@pytest.mark.parametrize(
    ("offence", "every"),
    [(Offence.EXPIRED, 1.0), (Offence.REPLAY, 1.0), (Offence.STRANGER, 3.0), (Offence.VERSION, 10.0)],
)
def test_what_honest_peers_do_now_and_then_never_slows_them(offence: Offence, every: float) -> None:
    ledger = Ledger()
    for number in range(2000):
        assert ledger.charge(PEER, offence, number * every) is Standing.GOOD


@pytest.mark.slow
def test_the_table_is_bounded_and_forgets_whoever_owes_least() -> None:
    ledger = Ledger()
    charge_until_barred(ledger, PEER, 0.0)
    for _ in range(3):
        ledger.charge(OTHER, Offence.FORGED, 0.0)
    for number in range(MOST_PEERS + 50):
        ledger.charge(PeerId(f"passing {number}"), Offence.EXPIRED, 0.0)
    assert len(ledger._accounts) == MOST_PEERS
    assert ledger.standing(PEER, 0.0) is Standing.BARRED
    assert ledger.standing(OTHER, 0.0) is Standing.THROTTLED


@pytest.mark.slow
@given(
    events=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from(list(Offence)), st.floats(0, 10_000)), max_size=60
    )
)
def test_any_history_leaves_sensible_numbers(events: list[tuple[str, Offence, float]]) -> None:
    ledger, now = Ledger(), 0.0
    for name, offence, passed in events:
        now += passed
        peer = PeerId(name)
        standing = ledger.charge(peer, offence, now)
        assert standing is ledger.standing(peer, now)
        assert 0.0 <= ledger.penalty(peer, now) <= SLOWEST
        assert (standing is Standing.BARRED) == (peer in ledger.barred(now))
        until = ledger.barred_until(peer, now)
        assert until is None or now < until <= now + LONGEST_BAR


# ---------------------------------------------------------------- buckets


def test_a_bucket_lets_a_burst_through_and_then_its_rate() -> None:
    bucket = Bucket(rate=10.0, burst=5.0, now=0.0)
    assert [bucket.take(1, 0.0) for _ in range(5)] == [0.0] * 5
    assert bucket.take(1, 0.0) == pytest.approx(0.1)
    assert bucket.take(1, 0.0) == pytest.approx(0.2)
    assert bucket.take(1, 0.3) == 0.0
    assert bucket.take(5, 100.0) == 0.0
    assert bucket.take(20, 100.0) == pytest.approx(2.0)


@pytest.mark.slow
@given(takes=st.lists(st.tuples(st.floats(0, 50), st.floats(0, 5)), min_size=1, max_size=50))
def test_who_waits_as_told_gets_the_rate_and_no_more(takes: list[tuple[float, float]]) -> None:
    bucket, now, taken = Bucket(rate=10.0, burst=20.0, now=0.0), 0.0, 0.0
    for amount, pause in takes:
        now += pause
        now += bucket.take(amount, now)
        taken += amount
        assert taken <= 20.0 + 10.0 * now + 1e-6
