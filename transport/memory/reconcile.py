"""Reconciliation: two neighbors' sets of a topic made equal, in steps that take a round trip each.

Two neighbors reconcile when their link comes alive, when one of them joins, and when one takes frames in again.
Besides, every `every` milliseconds each node that differs from a neighbor does so with one neighbor, chosen at
random. Of these rounds only those are computed and counted in which something may differ: in a topic where all
neighbors agree nothing is due, until something changes.

No ranges and no fingerprints: the cost is what a good protocol would need, a constant and a little for each frame
that differs.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from typing import Final

from transport.base import TopicId
from transport.memory.events import Events
from transport.memory.log import Entry, Log, Membership
from transport.memory.questions import Questions
from transport.memory.values import Failure, QuestionId, Synchronized
from transport.memory.wire import Node, Way

ROUND_SIZE: Final = 256  # bytes: what a reconciliation costs that finds nothing, about
ENTRY_SIZE: Final = 64  # bytes: what it says about each frame that differs, about
BATCH: Final = 64  # frames each way in one step
WAIT_FOR_ROOM: Final = 100  # milliseconds between two looks at an asker that takes nothing in


def both_in(log: Log, way: Way) -> bool:
    """Whether the two ends are connected and both in the topic."""
    a, b = log.members.get(way.source.id), log.members.get(way.target.id)
    return way.pair.live and a is not None and b is not None and a.joined and b.joined


class Reconciler:
    def __init__(
        self,
        events: Events,
        rng: random.Random,
        questions: Questions,
        deliver: Callable[[Membership, Entry, Node], None],
        every: int,
    ) -> None:
        self._events, self._rng, self._questions, self._deliver, self._every = events, rng, questions, deliver, every

    def touch(self, log: Log) -> None:
        """Something changed: the next round of reconciliation looks whether all agree."""
        if not log.ticking:
            log.ticking = True
            self._events.at(self._events.now + self._every, self._tick, log)

    def _tick(self, log: Log) -> None:
        log.ticking = False
        log.forget_expired(self._events.now)
        unequal = False
        for member in log.members.values():
            if not member.active() or member.node.held:
                continue
            neighbors = [pair for pair in member.neighbors() if not pair[1].node.held]
            if any(not member.agrees(other, self._events.now) for _, other in neighbors):
                unequal = True
                way = self._rng.choice(neighbors)[0]
                self._events.at(self._events.now + int(self._rng.random() * self._every), self.begin, way, log)
        if unequal:
            self.touch(log)

    def catch_up(self, member: Membership) -> None:
        """One round with one neighbor now, for whoever takes part again; the periodic ones do the rest."""
        self.touch(member.log)
        if member.active() and member.neighbors():
            self.begin(self._rng.choice(member.neighbors())[0], member.log)

    def connected(self, way: Way, logs: Mapping[TopicId, Log]) -> None:
        for topic in way.source.memberships:
            log = logs[topic]
            if both_in(log, way):
                self.touch(log)
                self.begin(way, log)

    def begin(self, way: Way, log: Log, question: QuestionId | None = None) -> None:
        if both_in(log, way):
            self._events.at(self.round_trip(way), self._reconcile, way, way.pair.connection, log, question, 0)

    def round_trip(self, way: Way, size: int = ROUND_SIZE) -> int:
        there = way.stream(self._events.now, size, self._rng)
        return way.back().stream(there, size, self._rng)

    def _reconcile(self, way: Way, connection: int, log: Log, question: QuestionId | None, came: int) -> None:
        """One step: what each lacks, up to a batch each way; again while there is more."""
        if way.pair.connection != connection or not both_in(log, way):
            if question is not None:
                self._questions.fail(question, Failure.REFUSED)
            return
        if question is not None and self._questions.find(question) is None:
            question = None  # nobody waits any more; what has begun may still end
        a, b = log.members[way.source.id], log.members[way.target.id]
        into_a, size_a, more_a = self._move(a, b)
        _, size_b, more_b = self._move(b, a)
        came += into_a
        for node, sent, got in ((a.node, size_b, size_a), (b.node, size_a, size_b)):
            node.tally.rounds += 1
            node.tally.bytes_out += ROUND_SIZE + sent
            node.tally.bytes_in += ROUND_SIZE + got
        waiting = question is not None and a.node.held
        if more_a or more_b or waiting:
            at = self.round_trip(way, ROUND_SIZE + max(size_a, size_b)) + (WAIT_FOR_ROOM if waiting else 0)
            self._events.at(at, self._reconcile, way, connection, log, question, came)
        elif question is not None:
            self._questions.finish(question, Synchronized(node=a.node.id, question=question, came=came))

    def _move(self, to: Membership, source: Membership) -> tuple[int, int, bool]:
        """Give `to` what it lacks, up to a batch: how many frames, how many bytes, whether there is more."""
        if to.has == source.has or to.node.held:
            return 0, 0, False
        moved = size = 0
        for entry in list(itertools.islice(to.lacks(source, self._events.now), BATCH + 1)):
            if moved == BATCH:
                return moved, size, True
            moved += 1
            size += ENTRY_SIZE + entry.size
            to.node.tally.synced += 1
            self._deliver(to, entry, source.node)
        return moved, size, False
