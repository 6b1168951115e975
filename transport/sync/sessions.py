"""What sessions have in common, whoever opens them: limits, the line they talk over, and what faults cost.

A session is one stream. It is strictly question and answer, asked by whoever opened it, except that after an OFFER
the other side asks, until it says TAKEN. So nothing is ever written that the other is not waiting for, and memory
per session is a page. Silence is judged by what it follows: who owes an answer and does not give it in time is
stalling, and that is charged; who has a page and does not come for the next is merely slow, and its session ends
without a charge when `idle` is over; who has none has nothing to be slow with, and less time. A line may be slow as
well: each 2 KiB that arrive are worth a second more. Every fault ends its session at once; what was received by then
is kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

import trio

from transport.base import AskFailed, PeerId, Reason, Refused, TransportError, Unreachable
from transport.conduct import Bucket, Offence
from transport.network import Network, Stream
from transport.streams import LENGTH_SIZE, Messages
from transport.sync.ranges import Lying
from transport.sync.wire import LIMIT, Message, decode, encode

SLOWEST_LINE: Final = 2048.0
"""Bytes a second. A page over such a line takes its time; a peer that lets it trickle has this to pay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Seconds, and numbers of sessions at the same time. The defaults are for devices on two cores."""

    margin: float = 10.0  # what expires sooner than this is not worth comparing
    opening: float = 10.0  # from a stream to its first message, and from that to its answer
    answer: float = 20.0  # from a question to the whole of its answer
    idle: float = 120.0  # from a page to the next question
    session: float = 900.0  # all of it
    unopened: int = 128  # incoming streams whose first message is not here yet
    unopened_each: int = 16
    reconciled: int = 128  # incoming sessions, in all and for each peer; more are told that we are busy
    reconciled_each: int = 2
    fetched: int = 32  # each may hold a frame of 4 MiB
    fetched_each: int = 8
    settled: float = 60.0  # how long a session that we opened may be slow though others wait for its turn
    reconciling: int = 32  # sessions that we open; more wait for their turn, as long as `idle`
    fetching: int = 32
    questions: float = 100.0  # a second from one peer, and that many at once; more are answered later


class Offended(TransportError):
    """The other side did something that is held against it."""

    def __init__(self, offence: Offence, detail: str) -> None:
        super().__init__(f"{offence.label}: {detail}")
        self.offence = offence


_OFFENCES: Final = {
    Reason.MALFORMED: Offence.MALFORMED,
    Reason.VERSION: Offence.VERSION,
    Reason.SIZE: Offence.OVERSIZE,
    Reason.FORGED: Offence.FORGED,
    Reason.EXPIRED: Offence.EXPIRED,
    Reason.TOO_LONG: Offence.EXPIRED,
    Reason.STRANGER: Offence.STRANGER,
}


def offence(error: TransportError) -> Offence | None:
    """What to charge for an error; None for bad luck."""
    match error:
        case Offended():
            return error.offence
        case Lying():
            return Offence.LYING
        case Refused():
            return _OFFENCES.get(error.reason, Offence.GARBAGE)
        case _:
            return None


def blame(network: Network, peer: PeerId, error: TransportError) -> None:
    """Count an error that ended a session, and charge the peer if it is its fault."""
    charged = offence(error)
    network.count("sync.broken" if charged is None else f"sync.{charged.name.lower()}")
    # A peer that has gone meanwhile did not stall.
    if charged is not None and (charged is not Offence.STALLED or network.connected(peer)):
        network.charge(peer, charged)


class _Metered:
    """A stream that says how much of it was read."""

    def __init__(self, stream: Stream, arrived: Callable[[int], None]) -> None:
        self._stream = stream
        self._arrived = arrived

    @property
    def peer(self) -> PeerId:
        return self._stream.peer

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        data = await self._stream.receive_some(max_bytes)
        self._arrived(len(data))
        return data

    async def send_all(self, data: bytes) -> None:
        await self._stream.send_all(data)

    async def close(self) -> None:
        await self._stream.close()

    async def reset(self) -> None:
        await self._stream.reset()


class Line:
    """The messages of one session. One task uses it."""

    def __init__(self, stream: Stream, settings: Settings) -> None:
        self.stream = stream
        self.bytes_in = 0
        self.bytes_out = 0
        # Every wait below has a deadline of its own; this one never comes first.
        self._messages = Messages(_Metered(stream, self._arrived), limit=LIMIT, deadline=math.inf)
        self._answer = settings.answer
        self._idle = settings.idle
        self._hearing = trio.CancelScope()

    async def say(self, *messages: Message) -> None:
        """`Unreachable` if the peer does not take one of these in time: its line may be slow, that costs nothing."""
        for message in messages:
            encoded = encode(message)
            with trio.move_on_after(self._answer + len(encoded) / SLOWEST_LINE) as scope:
                await self._messages.send(encoded)
            if scope.cancelled_caught:
                raise Unreachable("the peer does not read")
            self.bytes_out += LENGTH_SIZE + len(encoded)

    async def hear(self, within: float) -> Message:
        """The next message; `Offended` if it does not come in time, `Refused` if it is not one."""
        with trio.move_on_after(within) as self._hearing:
            data = await self._messages.receive()
        if self._hearing.cancelled_caught:
            raise Offended(Offence.STALLED, f"nothing for {within:.0f} s")
        if data is None:
            raise Unreachable("the peer ended the session")
        return decode(data)

    def _arrived(self, size: int) -> None:
        self.bytes_in += size
        self._hearing.deadline += size / SLOWEST_LINE

    async def wait(self, *, paged: bool) -> Message:
        """The next question; `Unreachable` if none comes for too long: to be slow is no offence.

        `paged`: it was given a page, and may have to wait until it can store that. Otherwise it knows what to ask.
        """
        message = None
        with trio.move_on_after(self._idle if paged else self._answer):
            message = await self.hear(math.inf)
        if message is None:
            raise Unreachable("the peer does not go on")
        return message

    async def reset(self) -> None:
        """Gone, also when the caller is being canceled."""
        with trio.CancelScope(shield=True):
            await self.stream.reset()


class Seats:
    """At most `total` at once, and `each` for one peer. Full: who comes is told so, nobody waits."""

    def __init__(self, total: int, each: int) -> None:
        self._total, self._each = total, each
        self._taken: Counter[PeerId] = Counter()

    def __len__(self) -> int:
        return self._taken.total()

    @contextmanager
    def seat(self, peer: PeerId) -> Iterator[bool]:
        """Whether there was one."""
        if len(self) >= self._total or self._taken[peer] >= self._each:
            yield False
            return
        self._taken[peer] += 1
        try:
            yield True
        finally:
            self._taken[peer] -= 1
            if not self._taken[peer]:
                del self._taken[peer]


@dataclass(slots=True, eq=False)
class Turn:
    """One of the sessions that we have open."""

    since: float
    line: Line | None = None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    def speed(self, now: float) -> float:
        """Bytes a second, both ways."""
        moved = self.line.bytes_in + self.line.bytes_out if self.line is not None else 0
        return moved / max(now - self.since, 1.0)


class Turns:
    """At most `most` sessions at once. Full: who comes waits, `idle` at most.

    While somebody waits, the slowest of those that have had their turn for `settled` seconds gives way. Peers that
    let their sessions trickle would otherwise keep all turns; an honest peer on a slow line loses nothing by it, for
    what was moved stays moved, and its next session goes on from there.
    """

    def __init__(self, network: Network, most: int, settings: Settings) -> None:
        self._network = network
        self._free = trio.Semaphore(most)
        self._held: set[Turn] = set()
        self._idle, self._settled = settings.idle, settings.settled

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[Turn]:
        """`AskFailed` if there is none in time, or if this one had to give way."""
        with trio.move_on_after(self._idle) as waiting:
            await self._acquire()
        if waiting.cancelled_caught:
            self._network.count("sync.no_turn")
            raise AskFailed("too many sessions are open")
        turn = Turn(trio.current_time())
        self._held.add(turn)
        try:
            with turn.scope:
                yield turn
        finally:
            self._held.remove(turn)
            self._free.release()
        if turn.scope.cancelled_caught:
            self._network.count("sync.gave_way")
            raise AskFailed("the session gave way to others that waited")

    async def _acquire(self) -> None:
        while True:
            with trio.move_on_at(self._make_room()):
                await self._free.acquire()
                return

    def _make_room(self) -> float:
        """End the slowest session that may be ended, if need be; when to do that again."""
        now = trio.current_time()
        held = [turn for turn in self._held if not turn.scope.cancel_called]
        settled = [turn for turn in held if now >= turn.since + self._settled]
        if settled and not self._free.value:
            min(settled, key=lambda turn: turn.speed(now)).scope.cancel()
            return now + 1.0
        return max(min((turn.since + self._settled for turn in held), default=now), now + 1.0)


class Pace:
    """How long to let a peer wait for its next answer. A table of `MOST` peers; the one longest there is forgotten."""

    MOST: Final = 512

    def __init__(self, network: Network, rate: float) -> None:
        self._network = network
        self._rate = rate
        self._buckets: dict[PeerId, Bucket] = {}

    async def keep(self, peer: PeerId, cost: float) -> None:
        """Wait until a question of this peer that costs this much may be answered."""
        now = trio.current_time()
        bucket = self._buckets.get(peer)
        if bucket is None:
            if len(self._buckets) >= self.MOST:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[peer] = Bucket(self._rate, self._rate, now)
        wait = max(bucket.take(cost, now), self._network.penalty(peer))
        if wait > 0:
            await trio.sleep(wait)
