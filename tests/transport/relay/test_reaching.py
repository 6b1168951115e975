"""Relay client, server and hole punching between real hosts on loopback."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import trio
from multiaddr import Multiaddr

from tests.transport.discovery.samples import KEY_A, KEY_B, KEY_C, A, B, C
from tests.transport.host.rig import ANY, echo, exactly, until
from transport.base import Address, Link, Milliseconds, PeerId
from transport.discovery.addresses import Policy, circuit
from transport.host.extension import Extension
from transport.host.network import LibP2PNetwork, open_network
from transport.host.settings import HostSettings
from transport.network import Stream
from transport.relay.client import RelayClient, open_circuit
from transport.relay.messages import STOP, Delimited, Status, Stop, StopMessage
from transport.relay.punching import HolePunching, seen_from
from transport.relay.server import RelayLimits, RelayServer
from transport.signing import SigningKey, unbase58

pytestmark = pytest.mark.slow
QUICK = HostSettings(dial_limit=4.0, yield_to_smaller=0.05)


def now_ms() -> Milliseconds:
    return Milliseconds(1_700_000_000_000 + int(trio.current_time() * 1000))


def client(relays: dict[PeerId, tuple[Address, ...]]) -> RelayClient:
    return RelayClient(relays, now_ms=now_ms, jitter=random.Random(1))


class Site:
    """A relay C, and hosts that know it."""

    def __init__(self, stack: AsyncExitStack, nursery: trio.Nursery) -> None:
        self._stack = stack
        self._nursery = nursery
        self.relay: LibP2PNetwork
        self.at: tuple[Address, ...]

    async def host(
        self,
        key: SigningKey,
        extensions: list[Extension],
        *,
        listen: tuple[Address, ...] = (),
        allow: Callable[[PeerId], bool] | None = None,
    ) -> LibP2PNetwork:
        network = await self._stack.enter_async_context(
            open_network(
                identity=key,
                listen=listen,
                settings=QUICK,
                allow=allow,
                rng=random.Random(key.public),
                extensions=extensions,
            )
        )
        network.handle("/echo/1", echo)
        return network

    async def open_relay(self, limits: RelayLimits | None = None) -> RelayServer:
        self.relay = await self.host(KEY_C, [], listen=(ANY,))
        self.at = self.relay.addresses()
        server = RelayServer(self.relay, now_ms=now_ms, limits=limits)
        self._nursery.start_soon(server.run)
        return server

    @property
    def relays(self) -> dict[PeerId, tuple[Address, ...]]:
        return {C: self.at}


@asynccontextmanager
async def place() -> AsyncIterator[Site]:
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        yield Site(stack, nursery)
        nursery.cancel_scope.cancel()


async def test_bytes_through_a_relay() -> None:
    async with place() as site:
        server = await site.open_relay()
        reserving, dialing = client(site.relays), client({})
        b = await site.host(KEY_B, [reserving.extension])  # nobody listens but the relay
        a = await site.host(KEY_A, [dialing.extension])
        await until(lambda: reserving.held == {C})
        assert circuit(site.at[0], C) in b.addresses()
        a.keep(B, [circuit(site.at[0], C)])
        await until(lambda: a.connected(B) and b.connected(A))
        assert a.peers()[B].link is b.peers()[A].link is Link.RELAYED
        for one, other in ((a, B), (b, A)):
            stream = await one.open(other, "/echo/1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.send_all, bytes(range(256)) * 4096)
                assert await exactly(stream, 1 << 20) == bytes(range(256)) * 4096
            await stream.close()
        assert server.circuits == 1
        a.forget(B)
        await until(lambda: not b.connected(A) and server.circuits == 0)


async def test_the_gate_judges_what_a_relay_brings() -> None:
    async with place() as site:
        await site.open_relay()
        reserving = client(site.relays)
        b = await site.host(KEY_B, [reserving.extension], allow=lambda peer: peer == C)
        a = await site.host(KEY_A, [client({}).extension])
        await until(lambda: reserving.held == {C})
        a.keep(B, [circuit(site.at[0], C)])
        await until(lambda: b.counters().get("host.refused", 0) > 0)
        assert not b.connected(A)
        await until(lambda: not a.connected(B))


async def test_a_relay_that_puts_itself_in_between_is_not_believed() -> None:
    """It answers the dial for B itself, with its own key: Noise names the relay, the dial fails."""
    async with place() as site:
        relay = await site.host(KEY_C, [client({}).extension], listen=(ANY,))
        middle: list[Stream] = []

        async def pretend(stream: Stream) -> None:
            from transport.relay.messages import Hop, HopMessage

            messages = Delimited(stream)
            await messages.receive()
            await messages.send(HopMessage(type=Hop.STATUS, status=Status.OK).encode())
            middle.append(stream)
            await stream.receive_some()
            await stream.send_all(b"\x13/multistream/1.0.0\n" * 3)
            await trio.sleep(5)

        relay.handle("/libp2p/circuit/relay/0.2.0/hop", pretend)
        a = await site.host(KEY_A, [client({}).extension])
        a.keep(B, [circuit(relay.addresses()[0], C)])
        await until(lambda: bool(middle) and a.counters().get("host.dials_failed", 0) > 0)
        assert not a.connected(B)


async def test_only_our_relays_bring_us_anybody() -> None:
    async with place() as site:
        await site.open_relay()
        b = await site.host(KEY_B, [client({}).extension])
        b.keep(C, site.at)
        await until(lambda: site.relay.connected(B))
        stream = await site.relay.open(B, STOP)
        messages = Delimited(stream)
        await messages.send(StopMessage(type=Stop.CONNECT, peer=unbase58(A) or b"").encode())
        assert StopMessage.decode(await messages.receive()).status is Status.PERMISSION_DENIED
        assert b.counters()["offence.unauthorized"] == 1


async def test_a_reservation_is_renewed_and_made_again() -> None:
    async with place() as site:
        server = await site.open_relay(RelayLimits(reservation_seconds=1))
        reserving = client(site.relays)
        b = await site.host(KEY_B, [reserving.extension])
        await until(lambda: server.reservations == 1 and reserving.held == {C})
        await site.relay.drop(B)
        await until(lambda: not reserving.held)
        assert not any("/p2p-circuit" in address for address in b.addresses())
        await until(lambda: reserving.held == {C})
        assert site.relay.counters()["relay.reservations"] >= 2


async def test_a_relay_that_refuses_is_asked_again_later() -> None:
    async with place() as site:
        await site.open_relay(RelayLimits(reservations=0))
        reserving = client(site.relays)
        b = await site.host(KEY_B, [reserving.extension])
        await until(lambda: b.counters().get("relay.client.refused", 0) >= 2, 10)
        assert not reserving.held


async def test_seen_from() -> None:
    async with place() as site:
        await site.open_relay()
        a = await site.host(KEY_A, [])
        a.keep(C, site.at)
        await until(lambda: a.connected(C))
        seen = await seen_from(a, C)
        assert seen is not None
        assert str(seen.ip) == "127.0.0.1"


async def test_relayed_becomes_direct() -> None:
    policy = Policy(loopback=True)
    async with place() as site:
        await site.open_relay()
        punch_a, punch_b = (HolePunching([C], policy, jitter=random.Random(seed)) for seed in (1, 2))
        reserving = RelayClient(site.relays, now_ms=now_ms, jitter=random.Random(1), relayed=punch_b.punch)
        b = await site.host(KEY_B, [reserving.extension, punch_b.extension], listen=(ANY,))
        a = await site.host(KEY_A, [client(site.relays).extension, punch_a.extension], listen=(ANY,))
        await until(lambda: reserving.held == {C} and a.connected(C))
        a.keep(B, [circuit(site.at[0], C)])
        await until(lambda: a.connected(B))
        await until(lambda: a.peers()[B].link is b.peers()[A].link is Link.CONNECTED, 40)  # three rounds of punching
        stream = await a.open(B, "/echo/1")
        await stream.send_all(b"direct")
        assert await exactly(stream, 6) == b"direct"


async def test_the_library_as_relay_and_as_client() -> None:
    """py-libp2p's own relay serves our client; what it does wrong there does not matter to us."""
    from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
    from libp2p.tools.anyio_service import background_trio_service

    from tests.transport.host.rig import plain_addresses, plain_host, plain_peer

    async with plain_host(SigningKey(bytes([9]) * 32)) as host:
        async with background_trio_service(CircuitV2Protocol(host, allow_hop=True)):
            relay, at = plain_peer(host), tuple(plain_addresses(host))
            async with place() as site:
                reserving = client({relay: at})
                b = await site.host(KEY_B, [reserving.extension])
                a = await site.host(KEY_A, [client({}).extension])
                await until(lambda: reserving.held == {relay})
                a.keep(B, [circuit(at[0], relay)])
                await until(lambda: a.connected(B) and b.connected(A))
                stream = await a.open(B, "/echo/1")
                await stream.send_all(b"through theirs")
                assert await exactly(stream, 14) == b"through theirs"


async def test_no_reservation_no_circuit() -> None:
    from transport.relay.client import RelayRefused

    async with place() as site:
        await site.open_relay()
        a = await site.host(KEY_A, [])
        a.keep(C, site.at)
        await until(lambda: a.connected(C))
        with pytest.raises(RelayRefused, match="no reservation"):
            await open_circuit(a, C, B)


async def test_the_library_dials_through_our_relay() -> None:
    from libp2p.peer.id import ID
    from libp2p.relay.circuit_v2.config import RelayConfig, RelayRole
    from libp2p.relay.circuit_v2.protocol import CircuitV2Protocol
    from libp2p.relay.circuit_v2.transport import CircuitV2Transport
    from libp2p.tools.anyio_service import background_trio_service

    from tests.transport.host.rig import plain_host, plain_peer

    async with place() as site:
        await site.open_relay()
        reserving = client(site.relays)
        b = await site.host(KEY_B, [reserving.extension])
        await until(lambda: reserving.held == {C})
        async with plain_host(SigningKey(bytes([9]) * 32)) as host:
            protocol = CircuitV2Protocol(host)
            async with background_trio_service(protocol):
                transport = CircuitV2Transport(host, protocol, RelayConfig(roles=RelayRole.CLIENT))
                with trio.fail_after(10):
                    await transport.dial(Multiaddr(f"{circuit(site.at[0], C)}/p2p/{B}"))
                them = plain_peer(host)
                await until(lambda: them in b.peers() and b.peers()[them].link is Link.RELAYED)
                stream = await host.new_stream(ID.from_string(B), ["/echo/1"])
                await stream.write(b"through ours")
                assert await stream.read(12) == b"through ours"


async def test_all_of_it_is_made_again_with_the_host() -> None:
    """The library's host dies: reservation, announcement, dialer and handlers come back with the next one."""

    @asynccontextmanager
    async def fragile(site: object) -> AsyncIterator[None]:
        async def fall() -> None:
            await fault.wait()
            raise RuntimeError("a fault in the library")

        site.nursery.start_soon(fall)  # type: ignore[attr-defined]
        yield

    async with place() as site:
        fault = trio.Event()
        server = await site.open_relay()
        reserving = client(site.relays)
        b = await site.host(KEY_B, [reserving.extension, fragile])
        a = await site.host(KEY_A, [client({}).extension])
        await until(lambda: reserving.held == {C})
        a.keep(B, [circuit(site.at[0], C)])
        await until(lambda: a.connected(B))
        fault.set()
        await until(lambda: b.rebuilt == 1)
        fault = trio.Event()
        await until(lambda: reserving.held == {C} and server.reservations == 1 and a.connected(B), 15)
        assert a.peers()[B].link is Link.RELAYED
