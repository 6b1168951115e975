"""Networks over loopback for the tests of this room, plain libp2p hosts beside them, and raw ends of connections."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any

import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from multiaddr import Multiaddr

from tests.transport.awake import Awake
from transport.base import Address, PeerId, Unreachable
from transport.host.network import LibP2PNetwork, open_network
from transport.host.settings import HostSettings
from transport.network import Stream
from transport.signing import SigningKey, peer_id

ANY = Address("/ip4/127.0.0.1/tcp/0")
# Quick where a test waits for it; whoever is there has as long as with the defaults, on a machine that stalls too.
QUICK = HostSettings(ping_every=0.3, yield_to_smaller=0.05)
HASTY = dataclasses.replace(QUICK, pong_limit=0.3)  # for tests of peers that do not answer


def key(number: int) -> SigningKey:
    return SigningKey(number.to_bytes(32))


# Two identities, the smaller id first.
SMALL, LARGE = sorted((key(1), key(2)), key=lambda one: peer_id(one.public))


def running(identity: SigningKey | int = 1, settings: HostSettings = QUICK, **rest: Any) -> Any:
    rest.setdefault("listen", [ANY])
    one = key(identity) if isinstance(identity, int) else identity
    return open_network(identity=one, settings=settings, rng=random.Random(one.public), **rest)


@asynccontextmanager
async def pair(settings: HostSettings = QUICK, **rest: Any) -> AsyncIterator[tuple[LibP2PNetwork, LibP2PNetwork]]:
    """Two connected networks; the first, with the smaller id, dialed."""
    async with running(SMALL, settings, **rest) as a, running(LARGE, settings) as b:
        a.keep(b.me, b.addresses())
        await until(lambda: a.connected(b.me) and b.connected(a.me))
        yield a, b


@asynccontextmanager
async def several(count: int, settings: HostSettings = QUICK) -> AsyncIterator[list[LibP2PNetwork]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running(number + 1, settings)) for number in range(count)]


async def until(condition: Callable[[], bool], within: float = 8.0) -> None:
    """Seconds as `Awake` has them."""
    awake = Awake()
    while not condition():
        if awake.seconds > within:
            raise trio.TooSlowError
        await awake.sleep()


async def opened(network: LibP2PNetwork, peer: PeerId, protocol: str, within: float = 8.0) -> Stream:
    """A stream, where the limit for opening one is so short that it may pass by itself."""
    with trio.fail_after(within):
        while True:
            with suppress(Unreachable):
                return await network.open(peer, protocol)


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def fails(attempt: Callable[..., Awaitable[Any]], *args: Any) -> bool:
    """Whether it raises; the library raises many things."""
    try:
        await attempt(*args)
    except Exception:  # noqa: BLE001 - any of them
        return True
    return False


async def exactly(stream: Stream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        got = await stream.receive_some(size - len(data))
        if not got:
            break
        data += got
    return bytes(data)


@asynccontextmanager
async def plain_host(
    identity: SigningKey | int = 9, listen: Sequence[Address] = (ANY,), **rest: Any
) -> AsyncIterator[Any]:
    """py-libp2p as it comes, TCP only. Closed properly, so that only what is tested is wrong."""
    one = key(identity) if isinstance(identity, int) else identity
    rest.setdefault("connection_config", ConnectionConfig(min_connections=0, low_watermark=0))
    host: Any = new_host(key_pair=create_new_key_pair(one.seed()), **rest)
    async with host.run([Multiaddr(address) for address in listen]):
        try:
            yield host
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await host.close()


def info(host: Any) -> PeerInfo:
    return PeerInfo(host.get_id(), host.get_addrs())


def info_of(network: LibP2PNetwork) -> PeerInfo:
    return PeerInfo(ID.from_string(network.me), [Multiaddr(address) for address in network.addresses()])


def plain_addresses(host: Any) -> list[Address]:
    return [Address(str(address).split("/p2p/")[0]) for address in host.get_addrs()]


def plain_peer(host: Any) -> PeerId:
    return PeerId(str(host.get_id()))


def port_of(network: LibP2PNetwork) -> int:
    return int(network.addresses()[0].rsplit("/", 1)[-1])


@asynccontextmanager
async def silent_listener(
    speak: Callable[[trio.SocketStream], Awaitable[None]] | None = None,
) -> AsyncIterator[Address]:
    """Accepts, says what it is told to and then nothing."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            if speak is not None:
                await speak(stream)
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield Address(f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}")
        nursery.cancel_scope.cancel()


class Proxy:
    """A TCP proxy that can stop moving bytes without telling anybody, like a cable that is pulled."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.frozen = False  # what is on its way now is lost
        self.held = False  # it waits
        self.address = Address("")

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Proxy]:
        async with trio.open_nursery() as nursery:
            [listener, *_] = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            self.address = Address(f"/ip4/127.0.0.1/tcp/{listener.socket.getsockname()[1]}")
            yield self
            nursery.cancel_scope.cancel()

    async def _serve(self, near: trio.SocketStream) -> None:
        async with near, await trio.open_tcp_stream("127.0.0.1", self._target) as far, trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, near, far, nursery.cancel_scope)
            nursery.start_soon(self._pump, far, near, nursery.cancel_scope)

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope) -> None:
        try:
            async for data in source:
                while self.held:  # noqa: ASYNC110 - a test
                    await trio.sleep(0.01)
                if self.frozen:
                    await trio.sleep_forever()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        if self.frozen:
            await trio.sleep_forever()  # an end does not get through either
        scope.cancel()
