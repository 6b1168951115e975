"""Whose turn it is to dial. No clock and no socket in here.

An address that nobody answers at costs a place for as long as a dial may take, and dozens of peers that are
switched off have hundreds of them. If all dials stood in one queue, a peer that is there would wait for minutes
behind those that are not. So there are three lanes, and each has places of its own: dials that somebody waits for;
the best address of a peer that was there the last time we tried, or was never tried; and everything else. Within a
lane, those that failed less often go first, then earlier addresses of a peer before later ones, then whoever came
first. Nobody starves: who goes first and fails has failed more often the next time.

A dial that waits may be moved to a more urgent lane, which happens when somebody starts to wait for it. One that
has its place keeps it. The queues hold at most what the callers bring: every address of every peer once.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio


class Lane(enum.IntEnum):
    """The larger, the more urgent."""

    AGAIN = 0
    FIRST = 1
    ASKED = 2


@dataclass(slots=True, eq=False, kw_only=True)
class Turn:
    """One dial of one address."""

    lane: Lane
    failures: int = 0  # of the peer, in a row
    place: int = 0  # of the address among those of the peer
    granted: trio.Event = field(default_factory=trio.Event)


class Turns:
    """At most `most[lane]` dials at once in each lane; the others wait."""

    def __init__(self, most: Mapping[Lane, int]) -> None:
        self._most = most
        self._running: Counter[Lane] = Counter()
        self._waiting: list[Turn] = []

    @asynccontextmanager
    async def take(self, turn: Turn) -> AsyncIterator[None]:
        """Inside, it has a place."""
        self._waiting.append(turn)
        self._grant(turn.lane)
        try:
            await turn.granted.wait()
            yield
        finally:
            if turn.granted.is_set():
                self._running[turn.lane] -= 1
                self._grant(turn.lane)
            else:
                self._waiting.remove(turn)

    def promote(self, turn: Turn, lane: Lane) -> None:
        """It is more urgent now. Nothing changes for one that has its place."""
        if not turn.granted.is_set() and lane > turn.lane:
            turn.lane = lane
            self._grant(lane)

    def _grant(self, lane: Lane) -> None:
        while self._running[lane] < self._most[lane]:
            turn = min((one for one in self._waiting if one.lane is lane), key=_rank, default=None)
            if turn is None:
                return
            self._waiting.remove(turn)
            self._running[lane] += 1
            turn.granted.set()


def _rank(turn: Turn) -> tuple[int, int]:
    return turn.failures, turn.place
