"""Frames in gossip messages, and how long a frame waits for company.

The data of a gossip message:

    version   1    1
    items, one or more:
        tag      1    1: a whole frame    2: the head of a frame that is too large for gossip
        length   4    big-endian
        bytes

A write to a link costs about the same whether it carries one frame or a hundred, and so does a read, so frames
travel together. How long is waited for company is ruled by what gossip costs at the moment, measured in writes
and reads of this node. While they are few (`Pace.budget` a second) the first frame of a batch waits `Pace.shortest`,
which is nearly nothing. Above that the wait grows, up to `Pace.longest`, until the rate is back at the budget. All
nodes of a mesh see about the same traffic, so they slow down together, without a word about it; two nodes on one
link keep the short wait much longer than ten nodes with nine links each.

A machine with too much to do wakes us late, and then writes and reads are few for a bad reason. So nothing
waits less than that lateness (`Pace.woken`): what comes late anyway may as well come together.

Forwarding waits, too (`Pace.hold`), from a quarter of the budget on: what we publish goes to all peers directly, so
in the usual mesh, where all are connected, forwarding brings most of them nothing new. A few milliseconds, a
different number each time, are enough to hear that a peer has a message already, and not to send it; the rest goes
in one write. Where forwarding is the only way, it costs that much per hop, and nothing while there is little to do.

Pure: the time comes in, and whoever runs this sleeps until `due`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from transport.base import Frame, Reason, Refused, TopicId
from transport.frames import HEAD_SIZE

VERSION: Final = 1
MAX_DATA: Final = 64 << 10
"""Bytes of a message's data that are taken."""

FULL: Final = (64 << 10) - 512
"""Bytes of data that we make: with signature and lengths the RPC still fits into one write."""

MOST_WAITING: Final = 4 << 20
"""Bytes that wait in all topics together; beyond that they wait no longer."""

_ITEM_OVERHEAD: Final = 5


class Tag(enum.IntEnum):
    FRAME = 1
    HEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    tag: Tag
    content: bytes = field(repr=False)


def item_of(frame: Frame) -> Item:
    """The frame itself, or its head if the whole does not fit."""
    if 1 + _ITEM_OVERHEAD + len(frame.head) + len(frame.payload) > FULL:
        return Item(tag=Tag.HEAD, content=frame.head)
    return Item(tag=Tag.FRAME, content=frame.encode())


def encode(items: Iterable[Item]) -> bytes:
    parts = [bytes((VERSION,))]
    for item in items:
        parts += (bytes((item.tag,)), len(item.content).to_bytes(4), item.content)
    return b"".join(parts)


def decode(data: bytes) -> list[Item]:
    """The items of a message's data, whose contents have not been looked at. `Refused` if it is not a batch."""
    if not data:
        raise Refused(Reason.MALFORMED, "empty")
    if data[0] != VERSION:
        raise Refused(Reason.VERSION, str(data[0]))
    if len(data) > MAX_DATA:
        raise Refused(Reason.SIZE, f"{len(data)} bytes, at most {MAX_DATA}")
    items: list[Item] = []
    at, end = 1, len(data)
    while at < end:
        start = at + _ITEM_OVERHEAD
        stop = start + int.from_bytes(data[at + 1 : start])
        tag = data[at]
        if start > end or stop > end:
            raise Refused(Reason.MALFORMED, "an item ends outside its message")
        if stop - start < HEAD_SIZE or (tag == Tag.HEAD and stop - start != HEAD_SIZE) or tag not in {1, 2}:
            raise Refused(Reason.MALFORMED, "an item that holds no head")
        items.append(Item(tag=Tag(tag), content=data[start:stop]))
        at = stop
    if not items:
        raise Refused(Reason.MALFORMED, "no items")
    return items


class Pace:
    """How long is waited for company: see the module's docstring."""

    __slots__ = (
        "_at",
        "_began",
        "_late",
        "_level",
        "_wait",
        "_woken_at",
        "budget",
        "longest",
        "longest_hold",
        "shortest",
    )

    _SMOOTHING: Final = 0.25  # seconds over which the rate is measured
    _REACTION: Final = 0.5  # seconds in which the wait follows the rate: twice the above, so that it does not swing

    def __init__(self, *, budget: float, shortest: float, longest: float, longest_hold: float) -> None:
        self.budget, self.shortest, self.longest, self.longest_hold = budget, shortest, longest, longest_hold
        self._level = self._at = self._began = 0.0
        self._late = self._woken_at = 0.0
        self._wait = shortest

    def spent(self, events: int, now: float) -> None:
        """So many writes or reads just now."""
        self._level = self._level * math.exp((self._at - now) / self._SMOOTHING) + events
        self._at = now

    def woken(self, late: float, now: float) -> None:
        """A batch was taken out so much later than it was due."""
        share = math.exp((self._woken_at - now) / self._REACTION)
        self._late = self._late * share + late * (1 - share)
        self._woken_at = now

    def rate(self, now: float) -> float:
        """Writes and reads per second on this node's links."""
        return self._level * math.exp((self._at - now) / self._SMOOTHING) / self._SMOOTHING

    def hold(self, now: float) -> float:
        """For what is forwarded; to be varied at random."""
        busy = min(max(self.rate(now) / self.budget - 0.25, 0.0), 1.0) * self.longest_hold
        return max(busy, min(self._lateness(now), self.longest_hold))

    def wait(self, now: float) -> float:
        """For a batch that begins now. Changes by a part of the time since the last one, so it fits every rate."""
        period = min(now - self._began, 1.0)
        excess = min(self.rate(now) / self.budget, 10.0) - 1.0
        self._began = now
        wait = self._wait + period * excess * period / self._REACTION
        self._wait = min(max(wait, self.shortest), self.longest)
        return max(self._wait, min(self._lateness(now), self.longest))

    def _lateness(self, now: float) -> float:
        """Of late; what was long ago says nothing."""
        return self._late * math.exp(min(self._woken_at + 2 * self._REACTION - now, 0.0) / self._REACTION)


@dataclass(slots=True, kw_only=True)
class _Batch:
    due: float
    hurry: bool = False  # something in it is ours
    items: list[Item] = field(default_factory=list)
    size: int = 1


class Batcher:
    """Collects frames by topic. What comes out is the data of messages, ready to be signed."""

    __slots__ = ("_batches", "_pace", "_waiting")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._batches: dict[TopicId, _Batch] = {}
        self._waiting = 0

    def add(self, frame: Frame, now: float) -> list[tuple[TopicId, bytes]]:
        """Take a frame in; what is full by that comes out."""
        return self._put(frame.topic, item_of(frame), now, hurry=True)

    def pass_on(self, topic: TopicId, items: Iterable[Item], now: float) -> list[tuple[TopicId, bytes]]:
        """Take in what came in a message that is not forwarded. It waits for as long as anything does: whoever has
        it already is to see few messages of nothing new from us, however many it was taken from.
        """
        return [full for item in items for full in self._put(topic, item, now, hurry=False)]

    def _put(self, topic: TopicId, item: Item, now: float, *, hurry: bool) -> list[tuple[TopicId, bytes]]:
        size = _ITEM_OVERHEAD + len(item.content)
        out: list[tuple[TopicId, bytes]] = []
        batch = self._batches.get(topic)
        if batch is not None and batch.size + size > FULL:
            out.append(self._close(topic))
            batch = None
        if batch is None:
            batch = self._batches[topic] = _Batch(due=now + self._pace.longest)
        if hurry and not batch.hurry:
            batch.hurry = True
            batch.due = min(batch.due, now + self._pace.wait(now))
        batch.items.append(item)
        batch.size += size
        self._waiting += size
        if self._waiting > MOST_WAITING:
            out += [self._close(topic) for topic in list(self._batches)]
        return out

    def due(self) -> float | None:
        """When the next batch has waited long enough."""
        return min((batch.due for batch in self._batches.values()), default=None)

    def ready(self, now: float) -> list[tuple[TopicId, bytes]]:
        """What has waited long enough."""
        return [self._close(topic) for topic, batch in list(self._batches.items()) if batch.due <= now]

    def take(self, topic: TopicId) -> list[tuple[TopicId, bytes]]:
        """What waits for a topic, now."""
        return [self._close(topic)] if topic in self._batches else []

    def _close(self, topic: TopicId) -> tuple[TopicId, bytes]:
        batch = self._batches.pop(topic)
        self._waiting -= batch.size - 1
        return topic, encode(batch.items)
