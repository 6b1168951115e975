"""Nodes, links between them, and when a link is live.

A link is live if both nodes are up, on the same side of any partition, and it is wanted, not cut, and not barred. Each
time it comes alive it is a new connection, with a number: whatever was under way on an earlier one is lost.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from transport.base import PeerId
from transport.conduct import Ledger
from transport.memory.values import Conditions, Tally

if TYPE_CHECKING:
    from transport.base import TopicId
    from transport.memory.log import Membership

RESEND: Final = 200  # milliseconds until a stream sends a lost message again
MOST_RESENDS: Final = 16


class Node:
    """One device. Everything here is the simulation's."""

    __slots__ = ("group", "held", "id", "ledger", "memberships", "skew", "tally", "up", "ways")

    def __init__(self, peer: PeerId, skew: int) -> None:
        self.id = peer
        self.skew = skew  # milliseconds that its clock is ahead
        self.up = True
        self.held = False  # takes in no frames
        self.group = 0
        self.ways: dict[PeerId, Way] = {}
        self.memberships: dict[TopicId, Membership] = {}
        self.tally = Tally()
        self.ledger: Ledger | None = None  # made when there is something to write into it


class Pair:
    """A link between two nodes. `connection` counts how often it came alive."""

    __slots__ = ("barred_until", "connection", "cut", "live", "wanted", "ways")

    def __init__(self, a: Node, b: Node, conditions: Conditions) -> None:
        self.cut = self.live = False
        self.wanted = True
        self.barred_until = 0
        self.connection = 0
        self.ways = (Way(self, a, b, conditions), Way(self, b, a, conditions))
        a.ways[b.id], b.ways[a.id] = self.ways

    def possible(self, now: int) -> bool:
        a, b = self.ways[0].source, self.ways[0].target
        return a.up and b.up and a.group == b.group and self.wanted and not self.cut and now >= self.barred_until


class Way:
    """One direction of a link: when, and whether, what is sent arrives."""

    __slots__ = ("_free_at", "_last", "conditions", "pair", "source", "target")

    def __init__(self, pair: Pair, source: Node, target: Node, conditions: Conditions) -> None:
        self.pair, self.source, self.target, self.conditions = pair, source, target, conditions
        self._last = 0  # arrival of the latest message that may not be overtaken
        self._free_at = 0.0  # when the line has sent all it was given

    def back(self) -> Way:
        return self.target.ways[self.source.id]

    def gossip(self, now: int, size: int, rng: random.Random) -> tuple[int, ...]:
        """When this message arrives: never, once, or twice."""
        conditions = self.conditions
        if conditions.loss and rng.random() < conditions.loss:
            return ()
        sent = now
        if conditions.bandwidth is not None:
            if self._free_at - now > conditions.queue:
                return ()
            sent = self._spend(now, size, conditions.bandwidth)
        at = sent + conditions.delay
        if conditions.jitter:
            at += int(rng.random() * (conditions.jitter + 1))
        if conditions.reordering and rng.random() < conditions.reordering:
            at += int(rng.random() * (conditions.delay + conditions.jitter + 1))
        else:
            at = self._last = max(at, self._last)
        if conditions.duplication and rng.random() < conditions.duplication:
            return at, at + 1 + int(rng.random() * (conditions.delay + conditions.jitter + 1))
        return (at,)

    def stream(self, now: int, size: int, rng: random.Random) -> int:
        """When this part of a stream arrives: late rather than never."""
        conditions = self.conditions
        sent = now if conditions.bandwidth is None else self._spend(now, size, conditions.bandwidth)
        at = sent + conditions.delay + int(rng.random() * (conditions.jitter + 1))
        for _ in range(MOST_RESENDS):
            if not conditions.loss or rng.random() >= conditions.loss:
                break
            at += RESEND
        return at

    def renew(self) -> None:
        """A new connection starts with an empty queue."""
        self._last, self._free_at = 0, 0.0

    def _spend(self, now: int, size: int, bandwidth: int) -> int:
        self._free_at = max(self._free_at, float(now)) + size * 1000 / bandwidth
        return int(self._free_at)
