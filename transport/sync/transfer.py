"""Frames over a session's line: `Pages` hands them out, `Puller` asks for them, `Inbox` decides which and passes on.

The puller names up to `MOST_IDS` frames and gets them in that order, a page of at most 192 KiB at a time, each with
the frames that fit and a mark for those that are not there. It asks for the next page when it has stored this one:
a mesh whose reader is slow simply asks later. A payload over 128 KiB is announced by its head at the end of a page
and follows in pieces of 64 KiB, so its receiver sees what it is before it comes.

Everything received is judged here: that it is the frame that was asked for, of this topic, signed, whole and alive.
What is not is dropped and charged. A frame that was promised and is not there costs too, but once for all of them,
and little if each of them was about to expire.
What expired while it was on its way, as a reader that is slow can make it, is dropped and costs nobody anything, and
so does what expires later than may be by as little as clocks differ: see `GRACE`.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import trio

from transport.base import MAX_LIFE, AskFailed, Frame, FrameId, Milliseconds, PeerId, Refused, TopicId, TransportError
from transport.conduct import Offence
from transport.frames import Head, check, check_life, join_payload
from transport.gossip.intake import Intake
from transport.network import MAX_WRITE, Network
from transport.sync.index import Key, key_expires, key_id
from transport.sync.log import Log
from transport.sync.sessions import Line, Offended, Settings, offence
from transport.sync.wire import (
    PAGE,
    Absent,
    Entry,
    Large,
    Next,
    Page,
    Piece,
    Pull,
    entry_of,
    entry_size,
)

GRACE: Final = 300_000
"""Milliseconds by which clocks may differ, and frames come too late, without anybody to blame for it."""
_FETCHED: Final = 4
"""Frames read from the store at once. How large they are is known only then: 16 MiB if somebody chose them so."""
_CLAIM: Final = 10.0
"""Seconds for which one session may keep others from pulling the same frames."""
_DISTRUST: Final = 600.0
MOST_BROKEN: Final = 512
_VERIFIED_AT_ONCE: Final = 16


class Pages:
    """What is still to be handed out of one PULL."""

    def __init__(
        self, log: Log, intake: Intake, topic: TopicId, pull: Pull, now_ms: Callable[[], Milliseconds]
    ) -> None:
        self._log = log
        self._intake = intake
        self._topic = topic
        self._now_ms = now_ms
        self._left = deque(pull.ids)
        self._wait_until = trio.current_time() + pull.wait / 1000
        self._again: FrameId | None = None
        self.sent = 0

    @property
    def left(self) -> int:
        return len(self._left)

    async def page(self) -> tuple[Page, bytes]:
        """The next page, and the payload that follows it in pieces if it ends in a large frame."""
        entries: list[Entry] = []
        room = PAGE - 1
        while self._left:
            batch = [self._left[place] for place in range(min(_FETCHED, len(self._left)))]
            now = self._now_ms()
            found = {frame.id: frame for frame in await self._log.fetch(self._topic, batch) if frame.expires > now}
            for frame_id in batch:
                frame = found.get(frame_id)
                if frame is None and frame_id != self._again and self._may_come(frame_id):
                    if entries:
                        return Page(entries=tuple(entries)), b""  # nobody waits for these because of that one
                    found.clear()  # nor are large frames held that long
                    self._again = frame_id  # once: a store may have lost it
                    await self._log.arrival(self._topic, frame_id, max(self._wait_until - trio.current_time(), 0.0))
                    break
                entry = Absent() if frame is None else entry_of(frame)
                if entry_size(entry) > room:
                    return Page(entries=tuple(entries)), b""
                self._left.popleft()
                entries.append(entry)
                room -= entry_size(entry)
                self.sent += frame is not None
                if isinstance(entry, Large) and frame is not None:
                    return Page(entries=tuple(entries)), frame.payload
        return Page(entries=tuple(entries)), b""

    def _may_come(self, frame: FrameId) -> bool:
        """It is here by now, or expected while the peer is willing to wait."""
        if self._log.has(self._topic, frame):
            return True
        expected = self._intake.known(self._topic, frame) or self._intake.wants(self._topic, frame)
        return expected and trio.current_time() < self._wait_until


async def hand_out(line: Line, pages: Pages, network: Network) -> int:
    """Say the next page; how many frames it had."""
    before = pages.sent
    page, payload = await pages.page()
    await line.say(page)
    for start in range(0, len(payload), MAX_WRITE):
        await line.say(Piece(data=payload[start : start + MAX_WRITE]))
    network.count("sync.frames_out", pages.sent - before)
    return pages.sent - before


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Frames to pull, with the expiry that each was said to have."""

    topic: TopicId
    expiries: dict[FrameId, Milliseconds]
    wait: float = 0.0
    promised: bool = True  # whether the peer said that it has them


class Puller:
    """Gets an order, a page at a time, until `left` is 0."""

    def __init__(
        self, line: Line, network: Network, order: Order, settings: Settings, now_ms: Callable[[], Milliseconds]
    ) -> None:
        self._line = line
        self._network = network
        self._order = order
        self._within = settings.answer + order.wait
        self._now_ms = now_ms
        self._left = deque(order.expiries)
        self._asked = False
        self._fault: TransportError | None = None
        self._broken: Counter[Offence] = Counter()  # promises

    @property
    def left(self) -> int:
        return len(self._left)

    async def page(self) -> list[Frame]:
        """Ask for the next page; what of it is good. A fault that ends the session waits until this was returned."""
        await self._line.say(Next() if self._asked else Pull(ids=tuple(self._left), wait=int(self._order.wait * 1000)))
        self._asked = True
        page = await self._line.hear(self._within)
        if not isinstance(page, Page) or not 1 <= len(page.entries) <= len(self._left):
            raise Offended(Offence.GARBAGE, "not a page of what was asked for")
        frames = []
        for number, entry in enumerate(page.entries):
            if number % _VERIFIED_AT_ONCE == _VERIFIED_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            expected = self._left.popleft()
            try:
                frame = await self._take(expected, entry)
            except TransportError as error:
                if isinstance(entry, Large) or not isinstance(error, Refused):
                    self._fault = error
                    break
                self._charge(offence(error))
            else:
                if frame is not None:
                    frames.append(frame)
        if self._fault is not None and not frames:
            raise self._fault
        return frames

    def settle(self) -> None:
        """After the last page, or the first that shows a fault: raise that fault, charge broken promises once."""
        if self._fault is not None:
            raise self._fault
        if self._broken and not self._left:
            self._network.count("sync.absent", self._broken.total())
            if self._order.promised:
                self._charge(max(self._broken, key=lambda broken: broken.price))
            self._broken.clear()

    async def _take(self, expected: FrameId, entry: Entry) -> Frame | None:
        if isinstance(entry, Absent):
            left = self._order.expiries[expected] - self._now_ms()
            if left > 0:  # by our clock: by the peer's it may have expired, which whoever makes keys up can say too
                self._broken[Offence.EXPIRED if left < GRACE else Offence.BROKEN_PROMISE] += 1
            return None
        head = entry.head
        if head.id != expected:
            raise Offended(Offence.GARBAGE, "a frame that was not asked for")
        if head.expires != self._order.expiries[expected]:
            raise Offended(Offence.LYING, "it said that the frame expires at another time")
        if head.topic != self._order.topic:
            raise Offended(Offence.STRANGER, "a frame of another topic")
        alive = self._alive(head.expires)
        check(head)
        frame = join_payload(head, await self._pieces(head) if isinstance(entry, Large) else entry.payload)
        if alive and self._alive(head.expires):
            return frame
        self._network.count("sync.died")
        return None

    def _alive(self, expires: Milliseconds) -> bool:
        """`Refused` if it is so far from that that no clock and no delay explains it."""
        now = self._now_ms()
        try:
            check_life(expires, now)
        except Refused:
            if now - GRACE < expires <= now + MAX_LIFE + GRACE:
                return False
            raise
        return True

    async def _pieces(self, head: Head) -> bytes:
        payload = bytearray()
        while len(payload) < head.size:
            piece = await self._line.hear(self._within)
            if not isinstance(piece, Piece) or len(piece.data) != min(MAX_WRITE, head.size - len(payload)):
                raise Offended(Offence.GARBAGE, "not the next piece of a frame")
            payload += piece.data
        return bytes(payload)

    def _charge(self, charged: Offence | None) -> None:
        if charged is not None:
            self._network.count(f"sync.{charged.name.lower()}")
            self._network.charge(self._line.stream.peer, charged)


class Inbox:
    """Which of the frames that a peer has are pulled, and where they go. One for all sessions.

    Sessions with several peers find the same frames lacking. The first to come claims up to `MOST_IDS` of them at a
    time; others leave those out and find them there, or still lacking, when they next reconcile. A claim ends after
    ten seconds at most, and whose frames have not come by then, or by the end of the session, claims nothing more for
    ten minutes: frames from it may then come twice, but it keeps none from coming. There is one claim a session;
    `MOST_BROKEN` peers are remembered as such, the first forgotten first.
    """

    def __init__(
        self,
        network: Network,
        log: Log,
        intake: Intake,
        settings: Settings,
        now_ms: Callable[[], Milliseconds],
    ) -> None:
        self._network = network
        self._log = log
        self._intake = intake
        self._settings = settings
        self._now_ms = now_ms
        self._claims: dict[FrameId, float] = {}  # until when
        self._broken: dict[PeerId, float] = {}  # who claims nothing until when

    async def take(self, line: Line, topic: TopicId, keys: Sequence[Key]) -> int:
        """Pull what we lack of these and pass it on; how many frames came."""
        wanted = self._wanted(topic, keys)
        if not wanted:
            return 0
        peer, start = line.stream.peer, trio.current_time()
        until = start + _CLAIM
        came = 0
        if self._broken.get(peer, -math.inf) <= start:
            self._claims.update(dict.fromkeys(wanted, until))
        try:
            order = Order(topic=topic, expiries=wanted)
            puller = Puller(line, self._network, order, self._settings, self._now_ms)
            received = 0
            while puller.left:
                frames = await puller.page()
                came += len(frames)
                received += await self._pass_on(peer, topic, frames)
                puller.settle()
        finally:
            if came < len(wanted) or trio.current_time() > until:
                self._break(peer)
            for frame in wanted:
                if self._claims.get(frame) == until:
                    del self._claims[frame]
        return received

    def _break(self, peer: PeerId) -> None:
        self._broken.pop(peer, None)
        if len(self._broken) >= MOST_BROKEN:
            del self._broken[next(iter(self._broken))]
        self._broken[peer] = trio.current_time() + _DISTRUST

    async def _pass_on(self, peer: PeerId, topic: TopicId, frames: Iterable[Frame]) -> int:
        new = [frame for frame in frames if not self._log.has(topic, frame.id)]
        if new:
            try:
                await self._intake.frames(topic, new, peer)
            except Exception as error:  # whatever it is: no peer can use it to end a task
                self._network.count("sync.not_taken", len(new))
                raise AskFailed("what came was not taken") from error
            self._network.count("sync.frames_in", len(new))
        return len(new)

    def _wanted(self, topic: TopicId, keys: Sequence[Key]) -> dict[FrameId, Milliseconds]:
        now, wall = trio.current_time(), self._now_ms()
        wanted = {}
        for one in keys:
            frame, expires = key_id(one), key_expires(one)
            # What is being fetched elsewhere is pulled all the same: that fetch may come to nothing.
            if self._intake.known(topic, frame) or self._claims.get(frame, 0.0) > now:
                continue
            if self._log.declined(topic, frame):
                continue
            try:
                check_life(expires, wall)
            except Refused:
                continue
            wanted[frame] = expires
        return wanted
