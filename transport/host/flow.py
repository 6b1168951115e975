"""One Yamux stream, as `network.Stream` and as what the library calls a muxed stream.

The state changes at once, by plain calls; only reading and writing wait. What a stream may hold is decided by its
window, which grows while it is read fast; the connection it belongs to (`transport.host.yamux`) adds the limits
over all streams.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Final, Self

import trio
from libp2p.abc import IMuxedStream
from libp2p.stream_muxer.exceptions import (
    MuxedStreamClosed,
    MuxedStreamEOF,
    MuxedStreamError,
    MuxedStreamReset,
)

from transport.base import PeerId, Unreachable

if TYPE_CHECKING:
    from transport.host.yamux import Session

HEADER: Final = struct.Struct(">BBHII")  # version, type, flags, stream, length
DATA, WINDOW, PING, GO_AWAY = range(4)
SYN, ACK, FIN, RST = 1, 2, 4, 8
UNSENT_ENOUGH: Final = 128 << 10  # writers wait while more than this is queued on the connection
_MOST_DATA: Final = (64 << 10) - HEADER.size  # of one frame: other implementations take no more
_FIRST_WINDOW: Final = 256 << 10  # by the specification, both ways


class Violation(Exception):
    """The peer broke the protocol; the connection ends."""


class Signal:
    """Wakes all who wait for a state to change; they look again."""

    __slots__ = ("_lot",)

    def __init__(self) -> None:
        self._lot = trio.lowlevel.ParkingLot()

    async def wait(self) -> None:
        await self._lot.park()

    def wake(self) -> None:
        if self._lot:
            self._lot.unpark_all()


class Flow(IMuxedStream):
    """One stream. One task reads, one writes; `close` and `reset` may come from any."""

    def __init__(self, session: Session, stream_id: int, *, inbound: bool) -> None:
        self.session = session
        self.muxed_conn = session
        self.stream_id = stream_id
        self.inbound = inbound
        self.accepted = not inbound
        self.buffer = bytearray()
        self.ended = False  # the peer will send no more
        self.finished = False  # we will send no more
        self.broken = False
        self.left = False
        self.readers = 0
        self.idle_since = trio.current_time()
        self._granted = _FIRST_WINDOW  # what the peer may still send
        self._target = session.settings.stream_window
        self._allowed = _FIRST_WINDOW  # what we may still send
        self._last_grant = -math.inf
        self._settled = False
        self._readable, self._writable = Signal(), Signal()

    # ------------------------------------------------ network.Stream

    @property
    def peer(self) -> PeerId:
        return self.session.peer

    async def receive_some(self, max_bytes: int = 65536) -> bytes:
        self.readers += 1
        try:
            if self.buffer or self.ended or self.broken:
                await trio.lowlevel.checkpoint()
            while not self.buffer:
                if self.ended or self.broken:
                    return b""
                await self._readable.wait()
            # From here on there is no checkpoint: what is taken out of the buffer is not lost to a cancellation.
        finally:
            self.readers -= 1
            self.idle_since = trio.current_time()
        if len(self.buffer) <= max_bytes:
            data = bytes(self.buffer)
            self.buffer.clear()
        else:
            data = bytes(self.buffer[:max_bytes])
            del self.buffer[:max_bytes]
        self._account(-len(data))
        self._grant()
        return data

    async def send_all(self, data: bytes) -> None:
        session, sent, total = self.session, 0, len(data)
        while sent < total:
            while self._allowed <= 0 or session.unsent > UNSENT_ENOUGH:
                self._check_writable()
                with trio.move_on_after(session.settings.stall_limit) as scope:
                    await (self._writable if self._allowed <= 0 else session.room).wait()
                if scope.cancelled_caught:
                    session.watcher.count("host.stalled")
                    self.tear()
            self._check_writable()
            size = min(self._allowed, _MOST_DATA, total - sent)
            session.queue(HEADER.pack(0, DATA, 0, self.stream_id, size), data[sent : sent + size])
            self._allowed -= size
            sent += size
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        self.finish()

    async def reset(self) -> None:
        self.tear()

    # ------------------------------------------------ the same, for the library

    async def read(self, n: int | None = None) -> bytes:
        """At most `n` bytes; whatever is there for None or -1."""
        if n == 0:
            return b""
        data = await self.receive_some(n if n is not None and n > 0 else 1 << 30)
        if data:
            return data
        if self.broken:
            raise MuxedStreamReset("the stream was reset")
        raise MuxedStreamEOF("the stream ended")

    async def write(self, data: bytes) -> None:
        try:
            await self.send_all(data)
        except Unreachable as error:
            raise (MuxedStreamReset if self.broken else MuxedStreamClosed)(str(error)) from error

    def set_deadline(self, ttl: int) -> None:  # noqa: ARG002 - the library's interface
        raise MuxedStreamError("deadlines are trio's")

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.session.get_remote_address()

    async def __aenter__(self) -> Self:
        return self

    # ------------------------------------------------ without waiting

    def unread(self, data: bytes) -> None:
        """Put back what was read too far."""
        self.buffer[:0] = data
        self._account(len(data))

    def finish(self) -> None:
        if not (self.finished or self.broken):
            self.finished = True
            self.idle_since = trio.current_time()
            self.session.queue(HEADER.pack(0, WINDOW, FIN, self.stream_id, 0))
            self._writable.wake()
            if self.ended:
                self.session.forget(self)

    def tear(self) -> None:
        """Reset. What was received and not read is gone."""
        if not self.broken and not (self.finished and self.ended):
            self.session.queue(HEADER.pack(0, WINDOW, RST, self.stream_id, 0))
        self.snap()

    def snap(self) -> None:
        """Broken from outside."""
        self.broken = True
        self.session.forget(self)
        self.drop_buffer()
        self._readable.wake()
        self._writable.wake()

    def drop_buffer(self) -> None:
        self._account(-len(self.buffer))
        self.buffer.clear()

    def leave(self) -> None:
        """Nobody will read or write any more: end our half, and drop what still comes until the peer ends its own."""
        self.left = True
        self.drop_buffer()
        self.finish()

    def on_data(self, data: bytes | memoryview) -> None:
        self._granted -= len(data)
        if self._granted < 0:
            raise Violation("more than was granted")
        if self.left:
            return
        self.buffer += data
        self._account(len(data))
        self._readable.wake()

    def on_window(self, increment: int) -> None:
        self._allowed += increment
        self._writable.wake()

    def on_end(self) -> None:
        self.ended = True
        self._readable.wake()
        if self.finished:
            self.session.forget(self)

    def settle(self) -> None:
        """The connection has forgotten the stream: what is still in the buffer is the holder's, or garbage."""
        self._account(-len(self.buffer))
        self._settled = True

    def _account(self, size: int) -> None:
        if not self._settled:
            self.session.unread += size

    def _check_writable(self) -> None:
        if self.broken:
            raise Unreachable("the stream is broken")
        if self.finished:
            raise Unreachable("the stream is closed")

    def _grant(self) -> None:
        """Let the peer send more once half of the window has been read; more and more while it is read fast."""
        if self.ended or self.broken:
            return
        gap = self._target - self._granted - len(self.buffer)
        if gap * 2 < self._target:
            return
        now = trio.current_time()
        if now - self._last_grant < 4 * max(self.session.round_trip or 0.0, 0.01):
            larger = min(self._target * 2, self.session.settings.most_window)
            gap += larger - self._target
            self._target = larger
        self._last_grant = now
        self._granted += gap
        self.session.queue(HEADER.pack(0, WINDOW, 0, self.stream_id, gap))
