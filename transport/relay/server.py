"""A relay: keeps reservations of peers that cannot be dialed, and joins others to them.

A peer reserves over its own connection, and only for itself. The reservation ends when it expires or when that
connection does. Whoever may connect to this relay may then ask for a circuit to the reserved peer; the relay
opens a stream to it, both agree, and bytes are copied until one side ends, the budget of bytes is used up, or the
time is. One end closes both: the connection inside cannot live on half a circuit.

Everything is bounded, by `RelayLimits`: reservations and circuits in total and per peer, bytes and seconds of a
circuit, seconds a side may refuse to read. What does not fit is refused with the protocol's status. A relay
copies with back-pressure: it holds at most one read per direction, 64 KiB.

Not limited here is the bandwidth: an always-on device of one account relays for that account and its contacts,
so the gate of the handshake decides who comes in, and `allows` who may reserve.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from transport.base import Link, Milliseconds, PeerId, Refused, TransportError, Unreachable
from transport.conduct import Offence
from transport.network import Network, Stream
from transport.relay.messages import (
    HOP,
    STOP,
    Delimited,
    Hop,
    HopMessage,
    Limit,
    Reservation,
    Status,
    Stop,
    StopMessage,
)
from transport.signing import base58, public_key, unbase58

CHUNK: Final = 64 << 10
LINGER: Final = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """What a relay gives. The library's defaults are 4 reservations and 8 circuits of an hour and 1 GiB."""

    reservations: int = 256
    circuits: int = 256
    circuits_per_peer: int = 16
    reservation_seconds: int = 3600
    circuit_seconds: int = 24 * 3600
    circuit_bytes: int = 16 << 30  # both directions together
    stalled_seconds: float = 60.0  # a side that reads nothing for so long ends the circuit
    setup_seconds: float = 10.0


class RelayServer:
    """`async with trio.open_nursery() as nursery: nursery.start_soon(server.run)`; it serves from its creation."""

    def __init__(
        self,
        network: Network,
        *,
        now_ms: Callable[[], Milliseconds],
        limits: RelayLimits | None = None,
        allows: Callable[[PeerId], bool] | None = None,
    ) -> None:
        """`allows`: whether a peer may reserve; None: whoever may connect."""
        self.limits = limits = limits or RelayLimits()
        self._network = network
        self._now_ms = now_ms
        self._allows = allows
        self._reserved: dict[PeerId, Milliseconds] = {}
        self._circuits: Counter[PeerId] = Counter()
        self._open = 0
        network.handle(HOP, self._serve, limit=limits.circuit_seconds + 3 * limits.setup_seconds)

    async def run(self) -> None:
        """Reservations end with the connection of whom they are for."""
        with self._network.watch() as events:
            async for event in events:
                if not event.up and self._reserved.pop(event.peer, None) is not None:
                    self._network.count("relay.reservations_ended")

    @property
    def reservations(self) -> int:
        return len(self._reserved)

    @property
    def circuits(self) -> int:
        return self._open

    async def _serve(self, stream: Stream) -> None:
        """One request on one stream."""
        messages = Delimited(stream, deadline=self.limits.setup_seconds)
        try:
            request = HopMessage.decode(await messages.receive())
        except Refused:
            self._network.charge(stream.peer, Offence.MALFORMED)
            await _answer(messages, Status.MALFORMED_MESSAGE)
            return
        if self._relayed(stream.peer):
            await _answer(messages, Status.PERMISSION_DENIED)  # the specification: no relay behind a relay
            return
        match request.type:
            case Hop.RESERVE:
                await self._reserve(stream.peer, messages)
            case Hop.CONNECT:
                await self._connect(stream, messages, request.peer)
            case Hop.STATUS:
                await _answer(messages, Status.UNEXPECTED_MESSAGE)

    async def _reserve(self, peer: PeerId, messages: Delimited) -> None:
        if self._allows is not None and not self._allows(peer):
            self._network.count("relay.reservations_refused")
            await _answer(messages, Status.PERMISSION_DENIED)
            return
        now = self._now_ms()
        for other, until in list(self._reserved.items()):
            if until <= now:
                del self._reserved[other]
        if peer not in self._reserved and len(self._reserved) >= self.limits.reservations:
            self._network.count("relay.reservations_refused")
            await _answer(messages, Status.RESERVATION_REFUSED)
            return
        until = Milliseconds(now + self.limits.reservation_seconds * 1000)
        self._reserved[peer] = until
        self._network.count("relay.reservations")
        answer = HopMessage(
            type=Hop.STATUS,
            status=Status.OK,
            reservation=Reservation(expire=until // 1000),
            limit=self._limit(),
        )
        await messages.send(answer.encode())

    async def _connect(self, stream: Stream, messages: Delimited, wanted: bytes) -> None:
        peer = PeerId(base58(wanted))
        if public_key(peer) is None or peer == stream.peer:
            self._network.charge(stream.peer, Offence.MALFORMED)
            await _answer(messages, Status.MALFORMED_MESSAGE)
            return
        if self._reserved.get(peer, 0) <= self._now_ms() or not self._network.connected(peer):
            self._network.count("relay.no_reservation")
            await _answer(messages, Status.NO_RESERVATION)
            return
        most = self.limits.circuits_per_peer
        full = self._open >= self.limits.circuits
        if full or self._circuits[peer] >= most or self._circuits[stream.peer] >= most:
            self._network.count("relay.circuits_refused")
            await _answer(messages, Status.RESOURCE_LIMIT_EXCEEDED)
            return
        self._open += 1
        self._circuits[peer] += 1
        self._circuits[stream.peer] += 1
        try:
            await self._join(stream, messages, peer)
        finally:
            self._open -= 1
            for end in (peer, stream.peer):
                self._circuits[end] -= 1
                if not self._circuits[end]:
                    del self._circuits[end]

    async def _join(self, stream: Stream, messages: Delimited, peer: PeerId) -> None:
        """Ask the other end, tell this one, copy."""
        try:
            other = await self._network.open(peer, STOP)
        except Unreachable:
            await _answer(messages, Status.CONNECTION_FAILED)
            return
        try:
            stop = Delimited(other, deadline=self.limits.setup_seconds)
            source = unbase58(stream.peer) or b""
            try:
                await stop.send(StopMessage(type=Stop.CONNECT, peer=source, limit=self._limit()).encode())
                answer = StopMessage.decode(await stop.receive())
            except TransportError:
                await _answer(messages, Status.CONNECTION_FAILED)
                return
            if answer.type is not Stop.STATUS or answer.status is not Status.OK:
                await _answer(messages, Status.CONNECTION_FAILED)
                return
            await messages.send(HopMessage(type=Hop.STATUS, status=Status.OK, limit=self._limit()).encode())
            self._network.count("relay.circuits")
            budget = _Budget(self.limits.circuit_bytes or math.inf)
            with trio.move_on_after(self.limits.circuit_seconds or math.inf):
                async with trio.open_nursery() as nursery:
                    for source_end, sink, first in (
                        (stream, other, messages.rest()),
                        (other, stream, stop.rest()),
                    ):
                        nursery.start_soon(self._copy, source_end, sink, first, budget, nursery.cancel_scope)
            for end in (stream, other):
                await end.close()
            await trio.sleep(LINGER)  # a reset overtakes what is still on its way
            await stream.reset()
        finally:
            await other.reset()

    async def _copy(self, source: Stream, sink: Stream, first: bytes, budget: _Budget, both: trio.CancelScope) -> None:
        try:
            data = first or await source.receive_some(CHUNK)
            while data:
                if not budget.take(len(data)):
                    self._network.count("relay.circuits_used_up")
                    break
                with trio.move_on_after(self.limits.stalled_seconds) as scope:
                    await sink.send_all(data)
                if scope.cancelled_caught:
                    self._network.count("relay.circuits_stalled")
                    break
                self._network.count("relay.bytes", len(data))
                data = await source.receive_some(CHUNK)
        except Unreachable:
            pass
        both.cancel()

    def _limit(self) -> Limit:
        return Limit(duration=self.limits.circuit_seconds, data=self.limits.circuit_bytes)

    def _relayed(self, peer: PeerId) -> bool:
        state = self._network.peers().get(peer)
        return state is not None and state.link is Link.RELAYED


class _Budget:
    """Bytes that both directions of a circuit share."""

    __slots__ = ("_left",)

    def __init__(self, most: float) -> None:
        self._left = most

    def take(self, amount: int) -> bool:
        self._left -= amount
        return self._left >= 0


async def _answer(messages: Delimited, status: Status) -> None:
    await messages.send(HopMessage(type=Hop.STATUS, status=status).encode())
