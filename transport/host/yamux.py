"""Yamux behind the library's interfaces, with windows that are enforced and a writer that nobody can cut short.

The library's own (docs/libp2p.md has each point with its test) only warns when a peer sends more than it was
granted, hangs at its 257th stream, gives up on a reader that pauses for five seconds, polls while it waits,
formats several log lines and takes half a dozen locks per frame, and writes from whatever task has something to
say: when that task is cancelled in the middle, the connection is garbage. So the whole of it is replaced; the
wire is the same, and the library's swarm cannot tell the difference.

A `Session` is one connection. Two tasks live in it: one reads the connection and takes frames apart without ever
waiting for anybody, one writes whatever has been queued since it last wrote. Everything else is plain calls that
change the state at once. A stream is a `Flow` (`transport.host.flow`).

What a peer can make us hold, and what happens beyond:

    bytes received, not read     the window of each stream; beyond: the connection is closed, the peer charged
                                 `most_unread` over all streams; beyond: the fullest stream is reset, the peer charged
    bytes queued, not taken      writers wait; replies to the peer itself: up to `most_unsent`, then the connection ends
    inbound streams              `most_inbound`; `most_negotiating` of them not yet accepted; beyond: reset, charged
    new streams, pings, bytes for streams that are gone: by rate; beyond: refused, unanswered, and charged
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol

import trio
from libp2p.abc import IMuxedConn, IMuxedStream
from libp2p.connection_types import ConnectionType
from libp2p.io.exceptions import IOException
from libp2p.network.connection.exceptions import RawConnError
from libp2p.stream_muxer.exceptions import (
    MuxedConnUnavailable,
    MuxedStreamError,
)
from noise.exceptions import NoiseInvalidMessage

from transport.base import PeerId
from transport.conduct import Bucket, Offence
from transport.host.flow import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    HEADER,
    PING,
    RST,
    SYN,
    UNSENT_ENOUGH,
    WINDOW,
    Flow,
    Signal,
    Violation,
)
from transport.host.logs import kind
from transport.host.settings import HostSettings

if TYPE_CHECKING:
    from libp2p.peer.id import ID
    from multiaddr import Multiaddr

    from transport.host.noise import BulkSession

log = logging.getLogger("vcd.transport")

_PROTOCOL_ERROR: Final = 1
_BURST: Final = 4  # seconds' worth of anything that is limited by rate may come at once
_LAST_ID: Final = 0xFFFFFFFE
_BROKEN_LINE: Final = (trio.BrokenResourceError, trio.ClosedResourceError, RawConnError, IOException, OSError)


class Watcher(Protocol):
    """Who is told about a connection; called at once, from the connection's own tasks. Must not raise."""

    def opened(self, session: Session) -> None: ...
    def closed(self, session: Session) -> None: ...
    def charge(self, peer: PeerId, offence: Offence) -> None: ...
    def count(self, name: str, amount: int = 1) -> None: ...


class Session(IMuxedConn):
    """One connection. `start` runs it until it ends, for whatever reason; it raises nothing but cancellation."""

    def __init__(self, conn: BulkSession, peer_id: ID, *, settings: HostSettings, watcher: Watcher) -> None:
        self.secured_conn = conn
        self.peer_id = peer_id
        self.peer = PeerId(str(peer_id))
        self.settings = settings
        self.watcher = watcher
        self.event_started = trio.Event()
        self.event_closed = trio.Event()
        self.on_close: Callable[[], Awaitable[None]] | None = None
        self.flows: dict[int, Flow] = {}
        self.since = trio.current_time()
        self.last_heard = self.since
        self.round_trip: float | None = None
        self.unread = 0
        self.room, self._work, self._slot = Signal(), Signal(), Signal()
        self._out = bytearray()
        self._sending = 0
        self._ending = ""
        self._next_id = 1 if conn.is_initiator else 2
        self._inbound = self._outbound = self._negotiating = 0
        self._arrived, self._arriving = trio.open_memory_channel[Flow](settings.most_negotiating)
        self.proposing = trio.CapacityLimiter(max(settings.most_negotiating // 2, 1))
        self._pings: dict[int, tuple[float, trio.Event]] = {}
        self._ping_id = 0
        self._scope = trio.CancelScope()
        self._new_rate = _bucket(settings.most_streams_a_second, self.since)
        self._ping_rate = _bucket(settings.most_pings_a_second, self.since)
        self._stray_rate = _bucket(settings.most_stray_a_second, self.since)

    # ------------------------------------------------ what the library asks

    @property
    def is_initiator(self) -> bool:
        return self.secured_conn.is_initiator

    @property
    def is_established(self) -> bool:
        return self.event_started.is_set() and not self._ending

    @property
    def is_closed(self) -> bool:
        return self.event_closed.is_set()

    def rtt(self) -> float:
        return self.round_trip or 0.0

    def get_transport_addresses(self) -> list[Multiaddr]:
        return self.secured_conn.get_transport_addresses()

    def get_connection_type(self) -> ConnectionType:
        return self.secured_conn.get_connection_type()

    def get_remote_address(self) -> tuple[str, int] | None:
        return self.secured_conn.get_remote_address()

    async def accept_stream(self) -> IMuxedStream:
        try:
            return await self._arriving.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise MuxedConnUnavailable("the connection ended") from None

    async def start(self) -> None:
        if self.event_started.is_set() or self._ending:
            self.event_started.set()
            return
        self.watcher.opened(self)
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write_all)
                    nursery.start_soon(self._read_all)
                    nursery.start_soon(self._sweep)
                    self.event_started.set()
        finally:
            self._end("cancelled")
            await self._wind_up()

    async def close(self) -> None:
        """Say goodbye, send what is queued if that goes quickly, and be gone."""
        self.shut("closed here")
        if not self.event_started.is_set():
            await self._wind_up()
        elif not self.event_closed.is_set():
            with trio.move_on_after(self.settings.close_limit * 2):
                await self.event_closed.wait()

    def shut(self, why: str, code: int = 0) -> None:
        """Begin to end; `start` does the rest."""
        if not self._ending:
            self._end(why)
            self.queue(HEADER.pack(0, GO_AWAY, 0, 0, code))
            self._scope.deadline = trio.current_time() + self.settings.close_limit

    async def open_stream(self) -> Flow:
        """Waits while all slots are taken: callers bring a time limit. Once there is a stream, it is returned."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._outbound >= self.settings.most_outbound and not self._ending:
            await self._slot.wait()
        if self._ending or self._next_id > _LAST_ID:
            raise MuxedStreamError("the connection is ending")
        flow = Flow(self, self._next_id, inbound=False)
        self._next_id += 2
        self._outbound += 1
        self.flows[flow.stream_id] = flow
        self.queue(HEADER.pack(0, WINDOW, SYN, flow.stream_id, 0))
        return flow

    # ------------------------------------------------ what the host asks

    @property
    def relayed(self) -> bool:
        return self.get_connection_type() is ConnectionType.RELAYED

    @property
    def alive(self) -> bool:
        return not self._ending

    @property
    def why(self) -> str:
        """Why it ended."""
        return self._ending

    @property
    def unsent(self) -> int:
        return len(self._out) + self._sending

    async def ping(self, limit: float) -> bool:
        """Whether the peer's Yamux answers within the limit. Costs twelve bytes each way and no stream."""
        self._ping_id = (self._ping_id + 1) & 0xFFFFFFFF
        nonce, answered = self._ping_id, trio.Event()
        self._pings[nonce] = trio.current_time(), answered
        try:
            self.queue(HEADER.pack(0, PING, SYN, 0, nonce))
            with trio.move_on_after(limit):
                await answered.wait()
            return answered.is_set() and self.alive
        finally:
            self._pings.pop(nonce, None)

    def accepted(self, flow: Flow) -> None:
        """The stream has said what it wants, or was refused: it no longer counts as negotiating."""
        if not flow.accepted:
            flow.accepted = True
            self._negotiating -= 1

    def forget(self, flow: Flow) -> None:
        """No more frames come or go for this stream."""
        if self.flows.pop(flow.stream_id, None) is None:
            return
        flow.settle()
        self.accepted(flow)
        if flow.inbound:
            self._inbound -= 1
        else:
            self._outbound -= 1
            self._slot.wake()

    def queue(self, header: bytes, payload: bytes = b"") -> None:
        if self.event_closed.is_set():
            return
        self._out += header
        self._out += payload
        self._work.wake()

    # ------------------------------------------------ the two tasks, and a third that tidies up

    async def _write_all(self) -> None:
        try:
            while self._out or not self._ending:
                if not self._out:
                    await self._work.wait()
                    continue
                data, self._out = bytes(self._out), bytearray()
                self._sending = len(data)
                await self.secured_conn.write(data)
                self._sending = 0
                self.room.wake()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the end of this connection and of no other
            self._broke(error)
        self._scope.cancel()

    async def _read_all(self) -> None:
        rest = b""
        try:
            while data := await self.secured_conn.receive():
                self.last_heard = trio.current_time()
                rest = self._take_apart(rest + data if rest else data)
                await trio.lowlevel.checkpoint()
            self._end("ended by the peer")
        except (Violation, NoiseInvalidMessage) as error:
            self.watcher.count("host.violations")
            self.watcher.charge(self.peer, Offence.MALFORMED)
            self.shut(f"the peer broke the protocol: {error}", _PROTOCOL_ERROR)
            await trio.sleep(self.settings.close_limit)  # the writer says goodbye and cancels this
        except Exception as error:  # noqa: BLE001 - as above
            self._broke(error)
        self._scope.cancel()

    def _broke(self, error: Exception) -> None:
        if not isinstance(error, _BROKEN_LINE):
            self.watcher.count("host.session_errors")
            log.warning("a connection ended by %s", kind(error))
        self._end(f"the line broke: {type(error).__name__}")

    async def _sweep(self) -> None:
        """Reset streams that we closed long ago, that nobody reads and that the peer never ended."""
        while True:
            await trio.sleep(self.settings.stall_limit / 2)
            limit = trio.current_time() - self.settings.stall_limit
            for flow in list(self.flows.values()):
                if flow.finished and not flow.readers and flow.idle_since < limit:
                    flow.tear()

    async def _wind_up(self) -> None:
        if self.event_closed.is_set():
            return
        self.event_closed.set()
        self._arrived.close()
        self._out.clear()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self.settings.close_limit):
            try:
                await self.secured_conn.close()
            except Exception:  # noqa: BLE001 - any transport; the socket is closed in any case
                self.watcher.count("host.close_errors")
        if self.on_close is not None:
            await self.on_close()

    def _end(self, why: str) -> None:
        """From here on nothing can be opened, and whoever waits for anything is told."""
        if self._ending:
            return
        self._ending = why
        for flow in list(self.flows.values()):
            flow.snap()
        self.room.wake()
        self._slot.wake()
        for _, answered in self._pings.values():
            answered.set()
        self.watcher.closed(self)

    # ------------------------------------------------ frames

    def _take_apart(self, data: bytes) -> bytes:
        """Act on all whole frames; what is left of the last one."""
        start, size, view = 0, len(data), memoryview(data)
        while size - start >= HEADER.size:
            version, kind, flags, stream_id, length = HEADER.unpack_from(data, start)
            if version != 0 or kind > GO_AWAY:
                raise Violation("not Yamux")
            body = start + HEADER.size
            start = body
            if kind == DATA:
                if length > self.settings.most_window:
                    raise Violation("a frame larger than any window")
                if size - body < length:
                    return data[body - HEADER.size :]
                start = body + length
            if kind in {DATA, WINDOW}:
                self._on_stream(kind, flags, stream_id, length, view[body:start])
            elif kind == PING:
                self._on_ping(flags, length)
            else:
                self.shut(f"the peer is leaving ({length})")
        if self.unsent > self.settings.most_unsent + UNSENT_ENOUGH * 2:
            raise Violation("asks and does not take answers")
        return data[start:]

    def _on_stream(self, kind: int, flags: int, stream_id: int, length: int, body: memoryview) -> None:
        if flags & SYN and not self._on_new(stream_id):
            return
        flow = self.flows.get(stream_id)
        if flow is None:  # it was reset or ended here while this was on its way
            if self._stray_rate.take(len(body), self.last_heard):
                self._flooded("host.stray_floods")
            return
        if flags & RST:
            flow.snap()
            return
        if kind == WINDOW:
            flow.on_window(length)
        elif body:
            flow.on_data(body)
            if self.unread > self.settings.most_unread:
                self._relieve()
        if flags & FIN:
            flow.on_end()

    def _on_new(self, stream_id: int) -> bool:
        if stream_id == 0 or stream_id in self.flows or (stream_id & 1) == (self._next_id & 1):
            raise Violation("a stream id that is not the peer's to choose")
        if self._ending:
            return False
        settings = self.settings
        too_fast = self._new_rate.take(1, self.last_heard) > 0
        if too_fast or self._inbound >= settings.most_inbound or self._negotiating >= settings.most_negotiating:
            self._flooded("host.streams_refused")
            self.queue(HEADER.pack(0, WINDOW, RST, stream_id, 0))
            return False
        flow = Flow(self, stream_id, inbound=True)
        try:
            self._arrived.send_nowait(flow)
        except trio.WouldBlock:  # full of streams that were reset before anybody looked at them
            self._flooded("host.streams_refused")
            self.queue(HEADER.pack(0, WINDOW, RST, stream_id, 0))
            return False
        self.flows[stream_id] = flow
        self._inbound += 1
        self._negotiating += 1
        self.queue(HEADER.pack(0, WINDOW, ACK, stream_id, 0))
        return True

    def _on_ping(self, flags: int, nonce: int) -> None:
        if flags & SYN:
            if self._ping_rate.take(1, self.last_heard):
                self._flooded("host.ping_floods")
            else:
                self.queue(HEADER.pack(0, PING, ACK, 0, nonce))
        elif (waiting := self._pings.get(nonce)) is not None:
            sent, answered = waiting
            self.round_trip = trio.current_time() - sent
            answered.set()

    def _relieve(self) -> None:
        fullest = max(self.flows.values(), key=lambda flow: len(flow.buffer))  # there is one: it was just filled
        self._flooded("host.unread_resets")
        fullest.tear()

    def _flooded(self, name: str) -> None:
        self.watcher.count(name)
        self.watcher.charge(self.peer, Offence.FLOOD)


def _bucket(rate: float, now: float) -> Bucket:
    return Bucket(rate, rate * _BURST, now)
