"""A stream through a relay, as the raw connection on which the library does Noise and Yamux.

Two things differ from a socket. Bytes that came together with the relay's last message belong to the connection,
so reading begins with them. And the library asks a connection where it is: the answer is the circuit's address,
by which the host knows that a link is relayed.
"""

from __future__ import annotations

import trio
from libp2p.connection_types import ConnectionType
from libp2p.io.abc import ReadWriteCloser
from libp2p.io.exceptions import ConnectionClosedError
from libp2p.network.connection.raw_connection import RawConnection
from multiaddr import Multiaddr

from transport.base import PeerId, TransportError
from transport.network import MAX_WRITE, Stream


class CircuitStream(ReadWriteCloser):
    """Our stream in the library's terms. `ended` is set when the library has closed it."""

    def __init__(self, stream: Stream, first: bytes) -> None:
        self._stream = stream
        self._first = first
        self._closed = False
        self.ended = trio.Event()

    async def read(self, n: int | None = None) -> bytes:
        """At most `n` bytes; empty at the end."""
        size = MAX_WRITE if n is None or n < 0 else n
        if self._first:
            data, self._first = self._first[:size], self._first[size:]
            return data
        if self._closed:
            raise ConnectionClosedError("the circuit is closed")
        try:
            return await self._stream.receive_some(size)
        except TransportError as error:
            raise ConnectionClosedError(str(error)) from error

    async def write(self, data: bytes) -> None:
        if self._closed:
            raise ConnectionClosedError("the circuit is closed")
        try:
            for start in range(0, len(data), MAX_WRITE):
                await self._stream.send_all(data[start : start + MAX_WRITE])
        except TransportError as error:
            raise ConnectionClosedError(str(error)) from error

    async def close(self) -> None:
        """Both ways, as closing a socket would."""
        if not self._closed:
            self._closed = True
            self.ended.set()
            await self._stream.reset()

    def get_remote_address(self) -> tuple[str, int] | None:
        return None


def circuit_address(relay: PeerId, peer: PeerId) -> Multiaddr:
    """Where a peer is that is said to be behind a relay. Noise will prove it, or not."""
    return Multiaddr(f"/p2p/{relay}/p2p-circuit/p2p/{peer}")


def raw_connection(circuit: CircuitStream, address: Multiaddr, *, initiator: bool) -> RawConnection:
    return RawConnection(circuit, initiator, connection_type=ConnectionType.RELAYED, addresses=[address])
