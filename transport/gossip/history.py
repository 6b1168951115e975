"""What was seen, so that it is not taken twice, and what can be sent again to who asks for it.

`Seen` holds the ids of messages whose signature was checked: two minutes of them, and no more than `most`; then
the oldest go, and a copy of one would be taken again, which costs a look at its frames. An id is entered only
after the check, so nobody can have an honest message taken for a copy by being first with its id.

`History` holds whole messages for some heartbeats: the newest ones are announced to peers outside the mesh
(IHAVE), all are sent to who asks (IWANT). Bounded in number and bytes; when full, the oldest go.

Both do nothing, and cost nothing, while nothing happens.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from transport.base import PeerId
from transport.gossip.wire import MessageId

MOST_SEEN: Final = 1 << 16
MOST_KEPT: Final = 4096
MOST_BYTES: Final = 16 << 20
MOST_REPEATS: Final = 3  # times that one message is sent again to one peer


class Seen:
    __slots__ = ("_ids", "_most", "_seconds")

    def __init__(self, seconds: float, most: int = MOST_SEEN) -> None:
        self._ids: dict[MessageId, float] = {}  # in order of time
        self._seconds, self._most = seconds, most

    def __contains__(self, message: MessageId) -> bool:
        return message in self._ids

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, message: MessageId, now: float) -> None:
        while len(self._ids) >= self._most:
            del self._ids[next(iter(self._ids))]
        self._ids[message] = now + self._seconds

    def discard(self, message: MessageId) -> None:
        self._ids.pop(message, None)

    def expire(self, now: float) -> None:
        while self._ids:
            oldest = next(iter(self._ids))
            if self._ids[oldest] > now:
                return
            del self._ids[oldest]


@dataclass(slots=True, kw_only=True)
class Kept:
    """A message as it goes on a stream."""

    topic: str
    rpc: bytes = field(repr=False)
    repeats: dict[PeerId, int] = field(default_factory=dict)


class History:
    __slots__ = ("_announced", "_bytes", "_kept", "_most", "_most_bytes", "_windows")

    def __init__(self, *, announced: int, kept: int, most: int = MOST_KEPT, most_bytes: int = MOST_BYTES) -> None:
        """`announced`, `kept`: for how many heartbeats a message is announced, and kept."""
        self._announced, self._most, self._most_bytes = announced, most, most_bytes
        self._kept: dict[MessageId, Kept] = {}  # oldest first
        self._windows: deque[list[MessageId]] = deque(([] for _ in range(kept)), maxlen=kept)  # newest first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, message: MessageId, topic: str, rpc: bytes) -> None:
        if message in self._kept:
            return
        self._kept[message] = Kept(topic=topic, rpc=rpc)
        self._windows[0].append(message)
        self._bytes += len(rpc)
        while len(self._kept) > self._most or self._bytes > self._most_bytes:
            self._forget(next(iter(self._kept)))

    def again(self, message: MessageId, peer: PeerId) -> Kept | None:
        """The message for this peer, unless it is gone or the peer had it often enough."""
        kept = self._kept.get(message)
        if kept is None:
            return None
        times = kept.repeats.get(peer, 0) + 1
        if times > MOST_REPEATS:
            return None
        kept.repeats[peer] = times
        return kept

    def recent(self) -> dict[str, list[MessageId]]:
        """What is to be announced, by topic, oldest first."""
        topics: dict[str, list[MessageId]] = {}
        if self._kept:
            for window in reversed(list(self._windows)[: self._announced]):
                for message in window:
                    kept = self._kept.get(message)
                    if kept is not None:
                        topics.setdefault(kept.topic, []).append(message)
        return topics

    def forget_topic(self, topic: str) -> None:
        """Neither announce nor send again what was said there."""
        for message in [message for message, kept in self._kept.items() if kept.topic == topic]:
            self._forget(message)

    def shift(self) -> None:
        """A heartbeat has passed."""
        if not self._kept:
            return
        for message in self._windows[-1]:
            self._forget(message)
        self._windows.appendleft([])

    def _forget(self, message: MessageId) -> None:
        kept = self._kept.pop(message, None)
        if kept is not None:
            self._bytes -= len(kept.rpc)
