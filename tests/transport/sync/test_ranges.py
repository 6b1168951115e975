"""Two honest sides: they find exactly what differs, with bytes and rounds that follow the difference."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from tests.transport.sync.talk import FEWER, SALT, Talk, loaded, numbered
from transport.sync.index import TOP, Border, Key, Snapshot, border_at
from transport.sync.ranges import PIECE, SHORT, Initiator, Keys, Same, Split, answer, cheap


def check(ours: Sequence[Key], theirs: Sequence[Key], *, low: Border = b"", high: Border = TOP, seed: int = 0) -> Talk:
    talk = Talk(loaded(list(ours)).snapshot(), loaded(list(theirs)).snapshot(), low=low, high=high, seed=seed)
    mine, other = ({one for one in keys if low <= one < high} for keys in (ours, theirs))
    assert talk.complete
    assert len(talk.lacked) == len(set(talk.lacked))
    assert len(talk.owed) == len(set(talk.owed))
    assert set(talk.lacked) == other - mine
    assert set(talk.owed) == mine - other
    return talk


NUMBERS = st.sets(st.integers(0, 3000), max_size=60)


@pytest.mark.slow
@given(common=NUMBERS, ours=NUMBERS, theirs=NUMBERS)
def test_small_sets(common: set[int], ours: set[int], theirs: set[int]) -> None:
    check([numbered(n) for n in common | ours], [numbered(n) for n in common | theirs])


@pytest.mark.slow
@given(
    shared=st.integers(0, 3000),
    ours=st.integers(0, 400),
    theirs=st.integers(0, 400),
    spread=st.sampled_from([1, 3, 1000, 10**12]),
    seed=st.integers(0, 10**6),
)
@FEWER
def test_sets_of_any_proportion(shared: int, ours: int, theirs: int, spread: int, seed: int) -> None:
    rng = random.Random(seed)
    keys = [numbered(rng.getrandbits(60), rng.randrange(spread)) for _ in range(shared + ours + theirs)]
    check(keys[: shared + ours], keys[:shared] + keys[shared + ours :], seed=seed)


@pytest.mark.slow
@given(low=st.integers(0, 1000), high=st.integers(0, 1000), seed=st.integers(0, 10**6))
@FEWER
def test_nothing_outside_of_the_agreed_range_is_compared(low: int, high: int, seed: int) -> None:
    rng = random.Random(seed)
    ours = [numbered(n) for n in range(2000) if rng.random() < 0.9]
    theirs = [numbered(n) for n in range(2000) if rng.random() < 0.9]
    check(ours, theirs, low=border_at(low), high=border_at(high), seed=seed)


def test_an_empty_log_learns_keys_at_little_more_than_their_size() -> None:
    theirs = [numbered(n, n) for n in range(5000)]
    talk = check([], theirs)
    assert talk.bytes < 5000 * 40
    assert talk.rounds <= 8
    assert check(theirs, []).bytes < 400


def test_equal_logs_cost_a_message_each_way() -> None:
    for size in (0, 1, 100, 5000):
        keys = [numbered(n, n) for n in range(size)]
        talk = check(keys, keys)
        assert talk.rounds == 1
        assert talk.bytes < 400


@pytest.mark.slow
def test_the_cost_follows_the_difference() -> None:
    cost: dict[tuple[int, int], int] = {}
    for size in (1000, 20_000):
        keys = [numbered(n, n * 1000) for n in range(size)]
        snapshot = loaded(keys).snapshot()
        for difference in (1, 10, 100):
            lacking = random.Random(difference).sample(keys, difference)
            talk = Talk(loaded(sorted(set(keys) - set(lacking))).snapshot(), snapshot)
            assert sorted(talk.lacked) == sorted(lacking)
            assert talk.rounds <= 4
            cost[size, difference] = talk.bytes
            assert talk.bytes < 2200 * difference
    assert cost[20_000, 1] < 2 * cost[1000, 1]
    assert cost[20_000, 10] < 2 * cost[1000, 10]


@pytest.mark.slow
def test_more_ranges_than_a_message_holds_are_settled_all_the_same() -> None:
    """Every third key differs: hundreds of ranges are open at once."""
    ours = [numbered(n, n) for n in range(9000) if n % 6]
    theirs = [numbered(n, n) for n in range(9000) if (n + 3) % 6]
    talk = check(ours, theirs)
    assert talk.bytes < 9000 * 45


def test_a_responder_lists_what_is_cheap_and_divides_the_rest() -> None:
    snapshot = loaded([numbered(n, n) for n in range(2000)]).snapshot()
    initiator = Initiator(loaded([numbered(n, n) for n in range(1, 2000)]).snapshot(), b"", TOP, SALT, random.Random(1))
    said = answer(snapshot, b"", TOP, SALT, initiator.request())
    assert sum(isinstance(one, Same) for one in said) == 7
    assert sum(isinstance(one, Split) for one in said) == 1
    assert cheap(0, 10**6)
    assert cheap(SHORT, SHORT)
    assert not cheap(SHORT + 1, SHORT + 1)
    assert cheap(10**6, 0)
    assert not cheap(10**6, 10**6 - 1)
    assert PIECE > SHORT


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_two_sets_of_the_same_sum_are_found(seed: int) -> None:
    """Fingerprints made blind to the difference of two sets, as if somebody had made two that sum to the same.

    Making them takes sets of a thousand and more (docs/adr/0008-range-reconciliation.md), and as many on either side,
    or the counts differ. These are a twentieth of the log, and each session places its borders anew.
    """
    common = [numbered(n, n if n < 1000 else n + 1000) for n in range(1900)]
    made = [numbered(n, 1500) for n in range(10_000, 10_200)]
    ours, theirs = loaded([*common, *made[:100]]).snapshot(), loaded([*common, *made[100:]]).snapshot()

    class Blind(Snapshot):
        def summary(self, low: Border, high: Border, salt: bytes) -> tuple[int, bytes]:
            blind = low <= min(made) and max(made) < high
            return (ours if blind else theirs).summary(low, high, salt)

    seeing = Blind(theirs._firsts, theirs._chunks, theirs._sums)
    for session in range(50):
        initiator = Initiator(ours, b"", TOP, SALT, random.Random(1000 * seed + session))
        if any(isinstance(one, Keys | Split) for one in answer(seeing, b"", TOP, SALT, initiator.request())):
            return
    raise AssertionError("never found")
