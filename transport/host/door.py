"""Who may knock: listening sockets, and inbound connections until they are usable.

The library keeps a token and a task for every connection that ever came in and is deaf after 250 of them; it
accepts in a system task, whose failure takes the whole process with it; and it sets SO_REUSEPORT, so that a
second program on the same port silently gets half of the connections. Here accepting happens in the crash
domain, a port that is in use is refused, and what is not yet a connection is bounded in number and time: when
there is no room the oldest unfinished handshake goes, first of the same address, so a flood of half-open
connections displaces itself and an honest peer, which needs some milliseconds, gets through.

SO_REUSEPORT stays on: hole punching dials from the port that is listened on.
"""

from __future__ import annotations

import errno
import socket as stdlib_socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import trio
from libp2p.io.trio import TrioTCPStream
from libp2p.network.connection.raw_connection import RawConnection
from libp2p.transport.exceptions import OpenConnectionError
from libp2p.transport.tcp.tcp import TCP, TCPListener
from libp2p.utils.multiaddr_utils import extract_ip_from_multiaddr
from multiaddr import Multiaddr

from transport.host.settings import HostSettings

if TYPE_CHECKING:
    from libp2p.abc import IRawConnection
    from libp2p.custom_types import THandler

_BACKLOG: Final = 256
_ACCEPT_PAUSE: Final = 0.1  # after the system refused to accept: out of file descriptors, mostly
_GONE: Final = {errno.ECONNABORTED, errno.EPERM, errno.EPROTO}


class PeerTCPStream(TrioTCPStream):
    """The library's, but it knows the other end of an IPv6 connection too, and after the socket is closed."""

    def __init__(self, stream: trio.SocketStream) -> None:
        super().__init__(stream)
        try:
            host, port = stream.socket.getpeername()[:2]
        except OSError:
            return
        self._cached_remote_address = (str(host).removeprefix("::ffff:"), int(port))


@dataclass(slots=True)
class Door:
    """The unfinished inbound handshakes."""

    settings: HostSettings
    count: Callable[[str], None]
    _inside: dict[trio.CancelScope, str] = field(default_factory=dict)  # oldest first

    async def through(self, address: str, handshake: Callable[[], Awaitable[None]]) -> bool:
        """Run one handshake to its end or its limit; False if it had to go or was too slow."""
        same = [scope for scope, other in self._inside.items() if other == address]
        if len(same) >= self.settings.most_handshakes_per_ip:
            self._evict(same[0])
        elif len(self._inside) >= self.settings.most_handshakes:
            self._evict(next(iter(self._inside)))
        with trio.move_on_after(self.settings.handshake_limit) as scope:
            self._inside[scope] = address
            try:
                await handshake()
            finally:
                self._inside.pop(scope, None)
        return not scope.cancelled_caught

    def _evict(self, scope: trio.CancelScope) -> None:
        del self._inside[scope]
        scope.cancel()
        self.count("host.handshakes_evicted")

    def __len__(self) -> int:
        return len(self._inside)


class DoorTCP(TCP):
    """The library's TCP, listening by `DoorListener`; where nobody listens it ends sooner than a handshake may."""

    def __init__(self, settings: HostSettings, count: Callable[[str], None]) -> None:
        super().__init__()
        self._settings = settings
        self._count = count

    def create_listener(self, handler_function: THandler) -> TCPListener:
        return DoorListener(handler_function, self._count)

    async def dial(self, maddr: Multiaddr) -> IRawConnection:
        with trio.move_on_after(self._settings.dial_limit) as scope:
            raw = await super().dial(maddr)
        if scope.cancelled_caught:
            raise OpenConnectionError("no answer")
        if isinstance(raw, RawConnection) and isinstance(raw.stream, TrioTCPStream):
            raw.stream = PeerTCPStream(raw.stream.stream)
        return raw


class DoorListener(TCPListener):
    """Listens on one address; accepts in the nursery that the swarm sets on it."""

    background_nursery: trio.Nursery

    def __init__(self, handler: THandler, count: Callable[[str], None]) -> None:
        super().__init__(handler)
        self._count = count
        self._scope = trio.CancelScope()

    async def listen(self, maddr: Multiaddr) -> None:
        host = extract_ip_from_multiaddr(maddr)
        port = maddr.value_for_protocol("tcp")
        if host is None or port is None:
            raise OpenConnectionError(f"{maddr} is not an address to listen on")
        try:
            listener = trio.SocketListener(await _listen(host, int(port)))
        except OSError as error:
            raise OpenConnectionError(f"cannot listen on {maddr}: {error.strerror}") from error
        self.listeners.append(listener)
        self.background_nursery.start_soon(self._accept, listener)

    def get_addrs(self) -> tuple[Multiaddr, ...]:
        return tuple(Multiaddr(_address(listener.socket.getsockname())) for listener in self.listeners)

    async def close(self) -> None:
        self._scope.cancel()
        sockets, self.listeners = self.listeners, []
        for listener in sockets:
            listener.socket.close()

    async def _accept(self, listener: trio.SocketListener) -> None:
        with self._scope:
            while True:
                try:
                    stream = await listener.accept()
                except trio.ClosedResourceError:
                    return
                except OSError as error:
                    if error.errno not in _GONE:
                        self._count("host.accept_errors")
                        await trio.sleep(_ACCEPT_PAUSE)
                    continue
                self.background_nursery.start_soon(self.handler, PeerTCPStream(stream))


async def _listen(host: str, port: int) -> trio.socket.SocketType:
    family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
    if port:
        # Without SO_REUSEPORT the system says whether somebody listens here already.
        with trio.socket.socket(family, stdlib_socket.SOCK_STREAM) as probe:
            probe.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
            _only_v6(probe, family)
            await probe.bind((host, port))
            probe.listen(1)
    made = trio.socket.socket(family, stdlib_socket.SOCK_STREAM)
    try:
        made.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEADDR, 1)
        made.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEPORT, 1)
        _only_v6(made, family)
        await made.bind((host, port))
        made.listen(_BACKLOG)
    except BaseException:
        made.close()
        raise
    return made


def _only_v6(socket: trio.socket.SocketType, family: int) -> None:
    """`::` means IPv6 alone: otherwise it takes the port of `0.0.0.0` as well."""
    if family == stdlib_socket.AF_INET6:
        socket.setsockopt(stdlib_socket.IPPROTO_IPV6, stdlib_socket.IPV6_V6ONLY, 1)


def _address(name: Any) -> str:
    host, port = name[:2]
    return f"/{'ip6' if ':' in host else 'ip4'}/{host}/tcp/{port}"
