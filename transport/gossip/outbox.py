"""What waits to be written to one peer; when that peer counts as too slow.

Control goes first, then messages, oldest first. What is put in says how soon it has to be written; `due` is the
soonest of these, and then all that waits goes along. An outbox of messages is in one of three states:

    OPEN     takes messages
    FULL     holds more than `full_at` bytes; still takes what is forwarded, up to `most`, but whoever publishes
             waits. OPEN again once it is half empty.
    BEHIND   was FULL for longer than the patience or its leeway, or was about to hold more than `most`: its messages
             are gone, and it takes none until what is being written has been written. Then OPEN.

So a peer that reads slows publishing down to what it can take, but not for long: `Leeway` is how much longer it may
hold others up. One that has none left is not waited for, and falls behind when it is FULL. Forwarding never waits:
two nodes that wait for room in each other's outboxes before they read on would wait for ever.

Nothing is left out silently: `missed` names the topics in which a peer that is BEHIND has to be reconciled, once
for what was thrown away and once more, when it is OPEN again, for what came in between.

Control is bounded too (`MOST_CONTROL`): if that much waits, `broken` is set and the stream has to be replaced;
a new stream begins with everything that matters.
"""

from __future__ import annotations

import enum
import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from transport.gossip.wire import MessageId
from transport.network import MAX_WRITE

MOST_CONTROL: Final = 2 << 20


class State(enum.Enum):
    OPEN = "open"
    FULL = "full"
    BEHIND = "behind"


class Leeway:
    """How long publishers may be kept waiting: `patience` seconds at once, and as much again in each `period`.

    Time in which the peer takes `rate` bytes a second does not count: that much work is there to be waited for.
    Without this, somebody who subscribes only to slow others down would take half an outbox in a little less than
    the patience, again and again.
    """

    __slots__ = ("_at", "_left", "_patience", "_period", "_rate", "_taken")

    def __init__(self, patience: float, period: float, rate: float, now: float) -> None:
        self._patience, self._period, self._rate = patience, period, rate
        self._left, self._at, self._taken = patience, now, 0

    def left(self, now: float) -> float:
        return min(self._left + (now - self._at) * self._patience / self._period, self._patience)

    def used(self, since: float, before: int, now: float, after: int) -> None:
        """Somebody waited from then to now, in which the peer took what is between `before` and `after`.

        Who waited at the same time is not counted twice.
        """
        if since < self._at:
            since, before = self._at, self._taken
        waited = now - since - (after - before) / self._rate
        self._left = self.left(now) - max(waited, 0.0)
        self._at, self._taken = now, after


@dataclass(frozen=True, slots=True, kw_only=True)
class _Letter:
    topic: str
    rpc: bytes = field(repr=False)


class Outbox:
    __slots__ = (
        "_control",
        "_control_size",
        "_full_at",
        "_letters",
        "_missed",
        "_most",
        "_since",
        "_size",
        "broken",
        "due",
        "state",
        "taken",
    )

    def __init__(self, *, full_at: int, most: int) -> None:
        """Bytes of messages: from which on the outbox is FULL, and that it never exceeds."""
        self._full_at, self._most = full_at, most
        self._control: deque[bytes] = deque()
        self._control_size = 0
        self._letters: dict[MessageId, _Letter] = {}
        self._size = 0
        self._since = 0.0
        self._missed: dict[str, None] = {}
        self.state = State.OPEN
        self.broken = False
        self.due = math.inf
        self.taken = 0  # bytes of messages, ever

    def __len__(self) -> int:
        return len(self._control) + len(self._letters)

    @property
    def size(self) -> int:
        """Bytes of messages that wait."""
        return self._size

    def tell(self, rpc: bytes) -> None:
        if self._control_size + len(rpc) > MOST_CONTROL:
            self.broken = True
            return
        self._control.append(rpc)
        self._control_size += len(rpc)
        self.due = -math.inf

    def put(self, message: MessageId, topic: str, rpc: bytes, now: float, hold: float = 0.0) -> bool:
        """Whether the message waits here now, for at most `hold` seconds. If not, its topic is among `missed`."""
        if self.state is not State.BEHIND and self._size + len(rpc) > self._most:
            self._fall_behind()
        if self.state is State.BEHIND:
            self._missed[topic] = None
            return False
        if message not in self._letters:
            self._letters[message] = _Letter(topic=topic, rpc=rpc)
            self._size += len(rpc)
            if self._size > self._full_at and self.state is State.OPEN:
                self.state, self._since = State.FULL, now
            if self._size > MAX_WRITE:
                hold = 0.0
            self.due = min(self.due, now + hold)
        return True

    def fits(self, rpc: bytes) -> bool:
        """Whether this could be put in without anybody having to wait for it."""
        return self.state is State.OPEN and self._size + len(rpc) <= self._full_at

    def cancel(self, message: MessageId) -> bool:
        """The peer has it already."""
        letter = self._letters.pop(message, None)
        if letter is None:
            return False
        self._size -= len(letter.rpc)
        if not self:
            self.due = math.inf
        self._relax()
        return True

    def overdue(self, now: float, patience: float) -> bool:
        """FULL, and for at least so long: is BEHIND now."""
        if self.state is not State.FULL or now < self._since + patience:
            return False
        self._fall_behind()
        return True

    def deadline(self, patience: float) -> float:
        """When it will be overdue, if nothing is read."""
        return self._since + patience

    def take(self, limit: int) -> bytes:
        """What to write next: as much as fits into `limit`, but at least one RPC if there is one."""
        parts: list[bytes] = []
        room = limit
        while self._control and (not parts or len(self._control[0]) <= room):
            parts.append(self._control.popleft())
            self._control_size -= len(parts[-1])
            room -= len(parts[-1])
        while self._letters and not self._control:
            message, letter = next(iter(self._letters.items()))
            if parts and len(letter.rpc) > room:
                break
            del self._letters[message]
            self._size -= len(letter.rpc)
            self.taken += len(letter.rpc)
            room -= len(letter.rpc)
            parts.append(letter.rpc)
        self.due = -math.inf if self else math.inf
        self._relax()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def written(self) -> bool:
        """All that was taken is on its way. True if that ends being BEHIND."""
        if self.state is not State.BEHIND or self._control:
            return False
        self.state = State.OPEN
        return True

    def missed(self) -> list[str]:
        """The topics in which something was left out since this was last asked."""
        topics = list(self._missed)
        self._missed.clear()
        return topics

    def reset(self) -> None:
        """The stream is gone; a new one begins with a hello. What has not been written stays."""
        if self.broken:
            self._control.clear()
            self._control_size = 0
            self.broken = False

    def _relax(self) -> None:
        if self.state is State.FULL and self._size <= self._full_at // 2:
            self.state = State.OPEN

    def _fall_behind(self) -> None:
        self._missed.update((letter.topic, None) for letter in self._letters.values())
        self._letters.clear()
        self._size = 0
        self.due = -math.inf
        self.state = State.BEHIND
