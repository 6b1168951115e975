"""Reconciliation with a side that lies: it ends, within bounds, and raises nothing but `Lying`."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, strategies as st

from tests.transport.sync.talk import FEWER, SALT, loaded, numbered
from transport.sync.index import KEY_SIZE, TOP, Border, Key, Snapshot, border_at
from transport.sync.ranges import (
    MOST_ITEMS,
    MOST_LACKED,
    PIECE,
    SHORT,
    WAYS,
    Answer,
    Ask,
    Claim,
    Initiator,
    Item,
    Keys,
    Lying,
    Part,
    Same,
    Split,
    answer,
)

LOW, HIGH = border_at(10), border_at(10**6)
OURS = loaded([numbered(n, 10 + n) for n in range(2000)]).snapshot()
Liar = Callable[[Sequence[Item]], Sequence[Answer]]


def opened(snapshot: Snapshot = OURS) -> Initiator:
    return Initiator(snapshot, LOW, HIGH, SALT, random.Random(1))


def refuted(said: Callable[[Item], Answer], snapshot: Snapshot = OURS) -> None:
    """This answer to a first range is refused at once."""
    initiator = opened(snapshot)
    items = initiator.request()
    with pytest.raises(Lying):
        initiator.answered([said(items[0])])


def part(count: int) -> Part:
    return Part(count=count, fingerprint=bytes(16))


def halves(item: Item, *counts: int) -> Split:
    borders = [OURS.border_before(OURS.rank(item.low) + place + 1) for place in range(len(counts) - 1)]
    return Split(borders=tuple(borders), parts=tuple(part(count) for count in counts))


def test_no_answers_or_more_than_were_asked_for() -> None:
    for number in (0, 9):
        initiator = opened()
        assert len(initiator.request()) == 8
        with pytest.raises(Lying):
            initiator.answered([Same()] * number)


def test_keys_out_of_order_or_outside() -> None:
    inside = [numbered(n, 12) for n in range(2)]
    refuted(lambda _item: Keys(keys=tuple(sorted(inside, reverse=True))))
    refuted(lambda _item: Keys(keys=(inside[0], inside[0])))
    refuted(lambda _item: Keys(keys=(numbered(1, 9),)))
    refuted(lambda item: Keys(keys=(Key(item.high.ljust(KEY_SIZE, b"\0")),)))


def test_pieces_that_are_none() -> None:
    some = tuple(sorted(numbered(n, 12) for n in range(PIECE)))
    after = border_at(13)
    refuted(lambda _item: Keys(keys=some[: PIECE - 1], high=after, left=10**5))
    refuted(lambda _item: Keys(keys=some, high=after, left=0))
    refuted(lambda item: Keys(keys=some, high=item.high, left=10**5))
    refuted(lambda _item: Keys(keys=some, high=LOW, left=10**5))


def test_a_list_where_it_should_divide() -> None:
    refuted(lambda item: Keys(keys=tuple(OURS.keys(item.low, item.high))[1:]))
    refuted(lambda item: Keys(keys=tuple(OURS.keys(item.low, item.high))))


def test_keys_that_differ_in_nothing() -> None:
    few = loaded([numbered(n, 10 + n) for n in range(SHORT)]).snapshot()
    refuted(lambda item: Keys(keys=tuple(few.keys(item.low, item.high))), few)


def test_parts_that_are_none() -> None:
    refuted(lambda item: halves(item, 200))
    refuted(lambda item: halves(item, *[20] * (WAYS + 1)))
    refuted(lambda item: halves(item, 200, 0))
    refuted(lambda item: halves(item, SHORT // 2, SHORT // 2))
    refuted(lambda item: halves(item, 10**9, 10**9))
    refuted(lambda item: Split(borders=(), parts=(part(100), part(100))))
    refuted(lambda item: Split(borders=(item.low,), parts=(part(100), part(100))))
    refuted(lambda item: Split(borders=(item.high,), parts=(part(100), part(100))))
    refuted(lambda item: Split(borders=(TOP,), parts=(part(100), part(100))))


def test_parts_that_differ_in_nothing() -> None:
    def told_again(item: Item) -> Answer:
        border = OURS.borders(item.low, item.high, 2)[0]
        parts = [
            Part(count=OURS.count(low, high), fingerprint=OURS.fingerprint(low, high, SALT))
            for low, high in ((item.low, border), (border, item.high))
        ]
        return Split(borders=(border,), parts=tuple(parts))

    refuted(told_again)


def test_counts_that_contradict_each_other() -> None:
    def lie(second: Callable[[Item], Answer]) -> None:
        initiator = opened()
        first = initiator.request()
        initiator.answered([halves(first[0], *[len(OURS) // 16] * 2), *[Same()] * 7])
        with pytest.raises(Lying):
            for _ in range(20):
                initiator.answered([second(item) for item in initiator.request()])

    lie(lambda _item: Same())
    lie(lambda _item: Keys(keys=()))
    lie(lambda item: halves(item, 40, 40) if isinstance(item, Claim) else Same())


def test_keys_were_asked_for_and_something_else_comes() -> None:
    initiator = opened(loaded([]).snapshot())
    (claim,) = initiator.request()
    keys = tuple(sorted(numbered(n, 12) for n in range(PIECE)))
    initiator.answered([Keys(keys=keys, high=border_at(13), left=5)])
    (ask,) = initiator.request()
    assert ask == Ask(low=border_at(13), high=claim.high)
    for said in (Same(), halves(ask, 100, 100), Keys(keys=(numbered(1, 14),))):
        with pytest.raises(Lying):
            again = opened(loaded([]).snapshot())
            again.request()
            again.answered([Keys(keys=keys, high=border_at(13), left=5)])
            again.request()
            again.answered([said])


@pytest.mark.slow
def test_one_answer_a_round_leads_nowhere() -> None:
    rng = random.Random(5)
    initiator = opened()
    ours = loaded([numbered(n, 10 + n) for n in range(2000) if rng.random() < 0.8]).snapshot()
    with pytest.raises(Lying, match="nowhere"):
        for _ in range(1000):
            initiator.answered(answer(ours, LOW, HIGH, SALT, initiator.request())[:1])


@pytest.mark.slow
def test_a_list_without_end_ends() -> None:
    """Keys that nobody has, for ever: bounded in rounds and in what is remembered."""
    initiator = opened(loaded([]).snapshot())
    number = 10

    def endless(_item: Item) -> Answer:
        nonlocal number
        number += 1
        keys = tuple(sorted(numbered(n, number) for n in range(PIECE)))
        return Keys(keys=keys, high=border_at(number + 1), left=2**32 - 1 - PIECE * (number - 11))

    lacked = 0
    while not initiator.finished:
        lacked += len(initiator.answered([endless(item) for item in initiator.request()]).lacked)
    assert lacked == MOST_LACKED
    assert not initiator.complete
    assert initiator.rounds == MOST_LACKED // PIECE


@pytest.mark.slow
@given(seed=st.integers(0, 10**9), lies=st.floats(0.01, 1.0))
@FEWER
def test_whatever_it_says_it_ends(seed: int, lies: float) -> None:
    """A responder that answers at random, sometimes well, out of pieces that look right."""
    rng = random.Random(seed)
    theirs = loaded([numbered(n, 10 + n) for n in range(2500) if rng.random() < 0.9]).snapshot()
    initiator = opened()

    def made_up(item: Item) -> Answer:
        held = list(theirs.keys(item.low, item.high))
        match rng.randrange(4):
            case 0:
                return Same()
            case 1:
                keys = sorted(rng.sample(held, rng.randrange(len(held) + 1)))
                return Keys(keys=tuple(keys))
            case 2 if len(held) > PIECE + 1:
                place = theirs.rank(item.low) + PIECE
                return Keys(keys=tuple(held[:PIECE]), high=theirs.border_before(place), left=rng.choice((1, 99, 10**9)))
            case _:
                borders: list[Border] = theirs.borders(item.low, item.high, rng.randrange(2, 18))
                counts = [len(held) // (len(borders) + 1) + rng.randrange(3) for _ in range(len(borders) + 1)]
                return Split(borders=tuple(borders), parts=tuple(part(count) for count in counts))

    try:
        while not initiator.finished:
            items = initiator.request()
            honest = answer(theirs, LOW, HIGH, SALT, items)
            said = [made_up(item) if rng.random() < lies else good for item, good in zip(items, honest, strict=False)]
            found = initiator.answered(said[: rng.randrange(1, len(said) + 1)] if rng.random() < lies else said)
            assert all(LOW <= key < HIGH for key in (*found.lacked, *found.owed))
    except Lying:
        pass
    assert initiator.rounds < 2000


def test_a_responder_is_asked_nonsense() -> None:
    def claim(low: Border, high: Border) -> Claim:
        return Claim(low=low, high=high, count=2**32 - 1, fingerprint=bytes(16))

    middle = border_at(100)
    for items in (
        [],
        [claim(LOW, LOW)],
        [claim(middle, LOW)],
        [claim(border_at(9), middle)],
        [claim(middle, TOP)],
        [claim(LOW, middle), claim(LOW, middle)],
        [claim(LOW, middle), claim(border_at(99), HIGH)],
        [Ask(low=middle, high=HIGH), Ask(low=LOW, high=middle)],
        [claim(border_at(n), border_at(n + 1)) for n in range(10, 11 + MOST_ITEMS)],
    ):
        with pytest.raises(Lying):
            answer(OURS, LOW, HIGH, SALT, items)
    huge = answer(OURS, LOW, HIGH, SALT, [claim(LOW, HIGH)])
    assert isinstance(huge[0], Keys)
    assert PIECE < len(huge[0].keys) < 1000
