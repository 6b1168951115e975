"""Two honest sides: they find exactly what differs, with bytes and rounds that follow the difference."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from tests.transport.sync.test_index import loaded, numbered
from transport.sync.index import TOP, Border, Key, Snapshot, border_at
from transport.sync.ranges import MESSAGE, PIECE, SHORT, Initiator, Keys, Same, Split, answer, cheap
from transport.sync.wire import Compare, Compared, decode, encode

SALT = bytes(16)


class Talk:
    """Both sides, with everything they say written and read again."""

    def __init__(self, ours: Snapshot, theirs: Snapshot, *, low: Border = b"", high: Border = TOP, seed: int = 0):
        initiator = Initiator(ours, low, high, SALT, random.Random(seed))
        self.lacked: list[Key] = []
        self.owed: list[Key] = []
        self.bytes = 0
        while not initiator.finished:
            asked = decode(self.weigh(encode(Compare(items=tuple(initiator.request())))))
            assert isinstance(asked, Compare)
            said = decode(self.weigh(encode(Compared(answers=tuple(answer(theirs, low, high, SALT, asked.items))))))
            assert isinstance(said, Compared)
            found = initiator.answered(said.answers)
            self.lacked += found.lacked
            self.owed += found.owed
        self.rounds = initiator.rounds
        self.complete = initiator.complete

    def weigh(self, message: bytes) -> bytes:
        assert len(message) <= MESSAGE
        self.bytes += len(message)
        return message


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


@given(common=NUMBERS, ours=NUMBERS, theirs=NUMBERS)
def test_small_sets(common: set[int], ours: set[int], theirs: set[int]) -> None:
    check([numbered(n) for n in common | ours], [numbered(n) for n in common | theirs])


@given(
    shared=st.integers(0, 3000),
    ours=st.integers(0, 400),
    theirs=st.integers(0, 400),
    spread=st.sampled_from([1, 3, 1000, 10**12]),
    seed=st.integers(0, 10**6),
)
def test_sets_of_any_proportion(shared: int, ours: int, theirs: int, spread: int, seed: int) -> None:
    rng = random.Random(seed)
    keys = [numbered(rng.getrandbits(60), rng.randrange(spread)) for _ in range(shared + ours + theirs)]
    check(keys[: shared + ours], keys[:shared] + keys[shared + ours :], seed=seed)


@given(low=st.integers(0, 1000), high=st.integers(0, 1000), seed=st.integers(0, 10**6))
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
    for difference in (1, 10, 100):
        assert cost[20_000, difference] < 2.5 * cost[1000, difference]
    assert cost[20_000, 1] < 20_000 * 32 / 100


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


@given(seed=st.integers(0, 10**9))
def test_a_set_that_sums_to_nothing_is_found(seed: int) -> None:
    """Fingerprints made blind to a set of keys, as if somebody had found one that sums to zero: borders divide it.

    Finding such keys takes sets of a thousand and more (docs/adr/0008-range-reconciliation.md). This one is a fifth
    of the log, and each session places its borders anew.
    """
    rng = random.Random(seed)
    start = rng.randrange(1600)
    theirs = [numbered(n, n) for n in range(2000)]
    blind = set(theirs[start : start + 400])
    ours = [one for one in theirs if one not in blind]

    class Blind(Snapshot):
        """Counts and sums as if the blind set had no sum, where all of it is in the range."""

        def count(self, low: Border, high: Border) -> int:
            inside = self._all_inside(low, high)
            return super().count(low, high) - (400 if inside else 0)

        def fingerprint(self, low: Border, high: Border, salt: bytes) -> bytes:
            snapshot = honest if self._all_inside(low, high) else full
            return snapshot.fingerprint(low, high, salt)

        def _all_inside(self, low: Border, high: Border) -> bool:
            return low <= min(blind) and max(blind) < high

    honest, full = loaded(ours).snapshot(), loaded(theirs).snapshot()
    seeing = Blind(full._firsts, full._chunks, full._sums)
    for session in range(200):
        initiator = Initiator(honest, b"", TOP, SALT, random.Random(seed + session))
        said = answer(seeing, b"", TOP, SALT, initiator.request())
        if any(isinstance(one, Keys | Split) for one in said):
            return
    raise AssertionError("never found")
