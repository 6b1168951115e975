"""Range-based set reconciliation, without input or output: who lacks which keys, in bytes that follow the difference.

The initiator says of ranges of keys how many it has there and their fingerprint (`Claim`). The responder answers
each: `Same`; or, if that is cheap, `Keys`, all it has there; or `Split`, its own counts and fingerprints of up to
`WAYS` parts of the range. Parts that differ, the initiator divides again, or asks for (`Ask`). So each round trip
narrows a difference down by `WAYS` squared, and ends in lists. A list is cheap (`cheap`) if it is short, or if the
counts alone prove that at least half as many keys differ: a newcomer is told keys, not fingerprints.

The responder holds nothing between requests but its snapshot. The initiator holds a stack of ranges still to be
settled, the lowest on top: what expires first is found first, the stack stays short, and a session may stop anywhere
with all below that point done. It needs a memory for another reason too: both sides compare sets that do not change
(`index.Snapshot`), so everything the responder says must agree with what it said before. What makes it `Lying`:

- borders out of order or outside of what was asked; keys out of order or outside of their range
- counts that contradict a count given before, or a `Split` or `Keys` where `cheap` demands the other
- a difference claimed and then not shown: keys, or parts, that are all the same as ours
- more rounds than the progress made is worth. `Split` is only allowed for a range where we hold many keys, and its
  parts are divided by our own keys, so splitting ends; lists are paid for by keys, each at least `PIECE` long unless
  it is the last of its range.

A lie that is consistent gains nothing: fingerprints that differ for no reason end in lists that are equal, and keys
that do not exist are asked for as frames. At most `MOST_LACKED` keys are found to be lacking in one session.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from transport.base import TransportError
from transport.sync.index import FINGERPRINT_SIZE, KEY_SIZE, Border, Key, Snapshot

WAYS: Final = 16
SHORT: Final = 32
"""A list this long is cheaper than another round."""
PIECE: Final = 64
"""Keys in a piece of a list, at least."""
MOST_ITEMS: Final = 1024
"""Ranges in one request."""
MESSAGE: Final = 32 << 10
"""Bytes of one request or one answer, at most."""
MOST_LACKED: Final = 1 << 18
FIRST_RANGES: Final = 8
_KEYS_PER_FIRST_RANGE: Final = 128
_FREE_ROUNDS: Final = 32
_KEY_COST: Final = KEY_SIZE + 1
_BORDER_COST: Final = 2
_PART_COST: Final = FINGERPRINT_SIZE + 4


class Lying(TransportError):
    """What the other side says in a reconciliation cannot be true, or leads nowhere."""


# ---------------------------------------------------------------- what is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The initiator has this many keys in the range, with this fingerprint."""

    low: Border
    high: Border
    count: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """The initiator wants to know all keys of the range."""

    low: Border
    high: Border


@dataclass(frozen=True, slots=True, kw_only=True)
class Same:
    """Nothing differs in this range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """All the responder has of the range up to `high`, and how many it has from there on; None: all of the range."""

    keys: tuple[Key, ...]
    high: Border | None = None
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    count: int
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The range in parts, with the borders between them."""

    borders: tuple[Border, ...]
    parts: tuple[Part, ...]


Item = Claim | Ask
Answer = Same | Keys | Split


def cheap(held: int, claimed: int) -> bool:
    """Whether the responder, holding this many where the initiator claims that many, lists them."""
    return held <= SHORT or held <= 2 * abs(held - claimed)


# ---------------------------------------------------------------- the responder


def answer(snapshot: Snapshot, low: Border, high: Border, salt: bytes, items: Sequence[Item]) -> list[Answer]:
    """Answers to the first items of a request: to all, or to as many as fit a message, at least one."""
    _check_items(items, low, high)
    answers: list[Answer] = []
    room = MESSAGE - 64
    for item in items:
        if isinstance(item, Claim):
            held, fingerprint = snapshot.summary(item.low, item.high, salt)
            same = held == item.count and fingerprint == item.fingerprint
            listed = cheap(held, item.count)
        else:
            held, same, listed = snapshot.count(item.low, item.high), False, True
        made: Answer
        if same:
            made, cost = Same(), 1
        elif listed:
            fits = room // _KEY_COST - 2  # the border of a piece, and its count
            if fits < min(held, PIECE):
                break
            made = _list(snapshot, item, min(held, fits))
            cost = 8 + _KEY_COST * (len(made.keys) + (made.high is not None))
        else:
            made = _split(snapshot, item, salt)
            cost = 2 + sum(_BORDER_COST + len(border) for border in made.borders) + _PART_COST * len(made.parts)
        if cost > room:
            break
        room -= cost
        answers.append(made)
    return answers


def _check_items(items: Sequence[Item], low: Border, high: Border) -> None:
    if not 1 <= len(items) <= MOST_ITEMS:
        raise Lying(f"a request of {len(items)} ranges")
    for item in items:
        if not low <= item.low < item.high <= high:
            raise Lying("ranges that overlap, are out of order or outside")
        low = item.high


def _list(snapshot: Snapshot, item: Item, number: int) -> Keys:
    start, end = snapshot.rank(item.low), snapshot.rank(item.high)
    keys = tuple(snapshot.run(start, start + number))
    if start + number == end:
        return Keys(keys=keys)
    return Keys(keys=keys, high=snapshot.border_before(start + number), left=end - start - number)


def _split(snapshot: Snapshot, item: Item, salt: bytes) -> Split:
    borders = snapshot.borders(item.low, item.high, WAYS)
    ends = [item.low, *borders, item.high]
    summaries = [snapshot.summary(low, high, salt) for low, high in zip(ends, ends[1:], strict=False)]
    parts = [Part(count=count, fingerprint=fingerprint) for count, fingerprint in summaries]
    return Split(borders=tuple(borders), parts=tuple(parts))


# ---------------------------------------------------------------- the initiator


@dataclass(slots=True)
class _Tally:
    """What the responder must come to hold, in all, in the ranges that one of its parts was divided into."""

    expected: int
    open: int
    seen: int = 0

    def settle(self, held: int) -> None:
        self.seen += held
        self.open -= 1
        if self.seen > self.expected or (self.open == 0 and self.seen != self.expected):
            raise Lying("a part and what it is made of have different counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pending:
    """A range still to be settled."""

    item: Item
    expected: int | None = None  # keys that the responder said it has there: always known of an `Ask`
    tally: _Tally | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What one answer showed: keys that only the responder has, and keys that only we have."""

    lacked: list[Key]
    owed: list[Key]


class Initiator:
    """One reconciliation from its opening to its end. Feed every answer in; stop when `finished`."""

    def __init__(self, snapshot: Snapshot, low: Border, high: Border, salt: bytes, rng: random.Random) -> None:
        self._snapshot = snapshot
        self._salt = salt
        self._stack: list[_Pending] = []
        self._sent: list[_Pending] = []
        self._settled = 0
        self._listed = 0
        self._lacked = 0
        self.rounds = 0
        if low < high:
            self._push([_Pending(item=claim) for claim in self._claims(low, high, self._first(low, high, rng))])

    @property
    def finished(self) -> bool:
        return not self._stack or self._lacked >= MOST_LACKED

    @property
    def complete(self) -> bool:
        """Whether every range was settled."""
        return not self._stack and not self._sent

    def request(self) -> list[Item]:
        """The next ranges, in order. Not to be called when finished, nor before the last answer."""
        self.rounds += 1
        if self.rounds > _FREE_ROUNDS + self._settled // 8 + self._listed // (PIECE // 2):
            raise Lying("the rounds lead nowhere")
        room, before = MESSAGE - 64, b""
        while self._stack and len(self._sent) < MOST_ITEMS:
            item = self._stack[-1].item
            cost = 1 + _BORDER_COST + len(item.high) + _PART_COST
            cost += 0 if item.low == before else _BORDER_COST + len(item.low)
            if cost > room:
                break
            room, before = room - cost, item.high
            self._sent.append(self._stack.pop())
        return [pending.item for pending in self._sent]

    def answered(self, answers: Sequence[Answer]) -> Found:
        """What the answers to the first ranges of the last request show."""
        sent, self._sent = self._sent, []
        if not 1 <= len(answers) <= len(sent):
            raise Lying(f"{len(answers)} answers to {len(sent)} ranges")
        self._push(sent[len(answers) :])
        found = Found(lacked=[], owed=[])
        after: list[_Pending] = []
        for pending, said in zip(sent, answers, strict=False):
            match said:
                case Same():
                    after += self._same(pending)
                case Keys():
                    after += self._keys(pending, said, found)
                case Split():
                    after += self._split(pending, said)
        self._push(after)
        self._settled += len(answers)
        self._lacked += len(found.lacked)
        return found

    def _same(self, pending: _Pending) -> Iterable[_Pending]:
        if not isinstance(pending.item, Claim):
            raise Lying("no keys where it has some")
        if pending.tally is not None:
            pending.tally.settle(pending.item.count)
        return ()

    def _keys(self, pending: _Pending, said: Keys, found: Found) -> Iterable[_Pending]:
        item, keys = pending.item, said.keys
        high = item.high if said.high is None else said.high
        if said.high is not None and not (item.low < high < item.high and said.left > 0 and len(keys) >= PIECE):
            raise Lying("a piece of a list that is not one")
        if keys and (keys[0] < item.low or keys[-1] >= high):
            raise Lying("keys outside of their range")
        if any(before >= after for before, after in zip(keys, keys[1:], strict=False)):
            raise Lying("keys out of order")
        held = len(keys) + said.left
        self._check_held(pending, held)
        mine = list(self._snapshot.keys(item.low, high))
        have, theirs = set(mine), set(keys)
        lacked = [one for one in keys if one not in have]
        owed = [one for one in mine if one not in theirs]
        if isinstance(item, Claim):
            if not cheap(held, item.count):
                raise Lying("a list where it should divide")
            if said.high is None and not lacked and not owed:
                raise Lying("keys that differ in nothing")
        self._listed += len(keys)
        found.lacked.extend(lacked)
        found.owed.extend(owed)
        if said.high is None:
            return ()
        return (_Pending(item=Ask(low=high, high=item.high), expected=said.left),)

    def _split(self, pending: _Pending, said: Split) -> Iterable[_Pending]:
        item = pending.item
        if not isinstance(item, Claim) or not 2 <= len(said.parts) <= WAYS or len(said.borders) != len(said.parts) - 1:
            raise Lying("parts that were not asked for")
        borders = [item.low, *said.borders, item.high]
        if any(before >= after for before, after in zip(borders, borders[1:], strict=False)):
            raise Lying("borders out of order")
        held = sum(part.count for part in said.parts)
        self._check_held(pending, held)
        if cheap(held, item.count) or not all(part.count for part in said.parts):
            raise Lying("parts where it should list keys")
        after: list[_Pending] = []
        for low, high, part in zip(borders, borders[1:], said.parts, strict=False):
            after += self._part(low, high, part)
        if not after:
            raise Lying("parts that differ in nothing")
        return after

    def _part(self, low: Border, high: Border, part: Part) -> Iterable[_Pending]:
        mine, fingerprint = self._snapshot.summary(low, high, self._salt)
        if mine == part.count and fingerprint == part.fingerprint:
            return ()
        if cheap(part.count, mine) or part.count <= SHORT:
            return (_Pending(item=Ask(low=low, high=high), expected=part.count),)
        claims = self._claims(low, high, self._snapshot.borders(low, high, WAYS))
        tally = _Tally(expected=part.count, open=len(claims))
        return [_Pending(item=claim, tally=tally) for claim in claims]

    def _check_held(self, pending: _Pending, held: int) -> None:
        if pending.tally is not None:
            pending.tally.settle(held)
        if pending.expected is not None and held != pending.expected:
            raise Lying("not the number of keys that it said it has")

    def _push(self, pending: Sequence[_Pending]) -> None:
        self._stack.extend(reversed(pending))

    def _claims(self, low: Border, high: Border, borders: Sequence[Border]) -> list[Claim]:
        claims = []
        for start, end in zip([low, *borders], [*borders, high], strict=True):
            count, fingerprint = self._snapshot.summary(start, end, self._salt)
            claims.append(Claim(low=start, high=end, count=count, fingerprint=fingerprint))
        return claims

    def _first(self, low: Border, high: Border, rng: random.Random) -> list[Border]:
        """Random borders for the first request: no set of frames made to sum to zero fits between them for ever."""
        start, end = self._snapshot.rank(low), self._snapshot.rank(high)
        ranges = min(max((end - start) // _KEYS_PER_FIRST_RANGE, 1), FIRST_RANGES)
        ranks = sorted(rng.sample(range(start + 1, end), ranges - 1)) if ranges > 1 else []
        return [self._snapshot.border_before(rank) for rank in ranks]
