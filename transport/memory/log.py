"""Who holds which frames of a topic.

Every frame of a topic has a number, in the order in which the simulation first saw it, and what a node holds is
an integer with a bit for each. So "do these two hold the same" is one comparison, "what does the other lack" is
one `&`, and a thousand nodes share one copy of each frame.

What has been expired for a day is taken out of all sets at once, and when the oldest frames are all gone the
numbers before them are given up. Until then a node that dropped a frame by its own clock still counts as having
had it, so it is not handed out twice; clocks of one simulation should differ by less than that day.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from transport.base import MAX_LIFE, Frame, FrameId, TopicId
from transport.frames import HEAD_SIZE
from transport.memory.wire import Node, Way

GRACE: Final = 24 * 3600 * 1000
COMPACT: Final = 256  # numbers given up at once, at least


class Entry:
    """A frame and its number. `number` never changes; its bit is counted from `Log.base`."""

    __slots__ = ("expires", "frame", "number", "size")

    def __init__(self, frame: Frame, number: int) -> None:
        self.frame = frame
        self.number = number
        self.expires: int = frame.expires
        self.size = HEAD_SIZE + len(frame.payload)


class Membership:
    """What one node has of one topic. It stays when the node leaves: its store still has the frames."""

    __slots__ = ("_neighbors", "has", "joined", "log", "node")

    def __init__(self, node: Node, log: Log) -> None:
        self.node, self.log = node, log
        self.joined = False
        self.has = 0
        self._neighbors: list[tuple[Way, Membership]] | None = None

    def active(self) -> bool:
        return self.joined and self.node.up

    def neighbors(self) -> list[tuple[Way, Membership]]:
        """Nodes on live links that are in this topic too. Kept until a link or a membership changes."""
        if self._neighbors is None:
            topic, found = self.log.topic, []
            for way in self.node.ways.values():
                if way.pair.live:
                    other = way.target.memberships.get(topic)
                    if other is not None and other.joined:
                        found.append((way, other))
            self._neighbors = found
        return self._neighbors

    def links_changed(self) -> None:
        self._neighbors = None

    def membership_changed(self) -> None:
        self._neighbors = None
        for way in self.node.ways.values():
            other = way.target.memberships.get(self.log.topic)
            if other is not None:
                other.links_changed()

    def holds(self, entry: Entry) -> bool:
        offset = entry.number - self.log.base
        return offset < 0 or bool(self.has >> offset & 1)

    def add(self, entry: Entry) -> None:
        self.has |= 1 << (entry.number - self.log.base)

    def alive(self, entry: Entry, now: int) -> bool:
        """Whether this node's clock lets the frame in."""
        clock = now + self.node.skew
        return clock < entry.expires <= clock + MAX_LIFE

    def lacks(self, other: Membership, now: int) -> Iterator[Entry]:
        """What the other one has and this one would take, oldest number first."""
        missing = other.has & ~self.has
        log = self.log
        while missing:
            lowest = missing & -missing
            missing ^= lowest
            entry = log.entries[lowest.bit_length() - 1]
            if self.alive(entry, now):
                yield entry

    def agrees(self, other: Membership, now: int) -> bool:
        """Whether reconciling these two would change nothing, now or later."""
        if self.has == other.has:
            return True
        return not (self._still_lacks(other, now) or other._still_lacks(self, now))

    def _still_lacks(self, other: Membership, now: int) -> bool:
        missing = other.has & ~self.has
        clock = now + self.node.skew
        while missing:
            lowest = missing & -missing
            missing ^= lowest
            if self.log.entries[lowest.bit_length() - 1].expires > clock:
                return True
        return False


class Log:
    """One topic: its frames and who is or was in it."""

    __slots__ = ("_by_expiry", "_by_id", "_dead", "base", "entries", "members", "ticking", "topic")

    def __init__(self, topic: TopicId) -> None:
        self.topic = topic
        self.base = 0
        self.entries: list[Entry] = []
        self.members: dict[str, Membership] = {}
        self.ticking = False  # whether a round of reconciliation is due
        self._by_id: dict[FrameId, Entry] = {}
        self._by_expiry: list[tuple[int, int, Entry]] = []
        self._dead = 0  # a bit for each entry that is gone from every set

    def entry(self, frame: Frame) -> Entry:
        found = self._by_id.get(frame.id)
        if found is None:
            found = self._by_id[frame.id] = Entry(frame, self.base + len(self.entries))
            self.entries.append(found)
            heapq.heappush(self._by_expiry, (found.expires, found.number, found))
        return found

    def find(self, frame: FrameId) -> Entry | None:
        return self._by_id.get(frame)

    def membership(self, node: Node) -> Membership:
        found = self.members.get(node.id)
        if found is None:
            found = self.members[node.id] = node.memberships[self.topic] = Membership(node, self)
        return found

    def forget_expired(self, now: int) -> None:
        """Take out what everybody's clock has long called expired."""
        gone = 0
        while self._by_expiry and self._by_expiry[0][0] <= now - GRACE:
            entry = heapq.heappop(self._by_expiry)[2]
            gone |= 1 << (entry.number - self.base)
            del self._by_id[entry.frame.id]
        if not gone:
            return
        self._dead |= gone
        for member in self.members.values():
            member.has &= ~gone
        alive = ~self._dead
        oldest = (alive & -alive).bit_length() - 1  # the lowest number that is still in use
        if oldest >= COMPACT:
            del self.entries[:oldest]
            self.base += oldest
            self._dead >>= oldest
            for member in self.members.values():
                member.has >>= oldest
