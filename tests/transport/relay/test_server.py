from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.lowlevel

from tests.transport.discovery.samples import KEY_A, KEY_B, KEY_C, NOW, A, B, C
from tests.transport.loopback import Loopback, LoopbackNetwork
from transport.base import Link, Milliseconds, PeerId, PeerState, Unreachable
from transport.conduct import Offence
from transport.network import Stream
from transport.relay.messages import HOP, STOP, Delimited, Hop, HopMessage, Status, Stop, StopMessage
from transport.relay.server import RelayLimits, RelayServer
from transport.signing import SigningKey, base58, peer_id, unbase58

SMALL = RelayLimits(
    reservations=2,
    circuits=2,
    circuits_per_peer=2,
    reservation_seconds=100,
    circuit_seconds=50,
    circuit_bytes=200_000,
    stalled_seconds=5.0,
    setup_seconds=3.0,
)


def now_ms() -> Milliseconds:
    return Milliseconds(NOW + int(trio.current_time() * 1000))


class RelayedNetwork(LoopbackNetwork):
    """Says of some peers that they are connected through a relay."""

    through: tuple[PeerId, ...] = ()

    def peers(self) -> Mapping[PeerId, PeerState]:
        return {peer: PeerState(peer=peer, link=Link.RELAYED) for peer in self.through}


class World:
    """A relay C between A, who dials, and B, who reserves and echoes what comes through."""

    def __init__(self, limits: RelayLimits = SMALL, allows: bool = True) -> None:
        self.net = Loopback()
        self.a, self.b = self.net.node(KEY_A), self.net.node(KEY_B)
        self.relay = RelayedNetwork(self.net, KEY_C)
        self.net.nodes[C] = self.relay
        self.server = RelayServer(self.relay, now_ms=now_ms, limits=limits, allows=lambda peer: allows)
        self.net.link(self.a, self.relay)
        self.net.link(self.b, self.relay)
        self.b.handle(STOP, self.stop)
        self.status = Status.OK
        self.sources: list[str] = []
        self.reads = True

    @asynccontextmanager
    async def running(self) -> AsyncIterator[World]:
        async with self.net.running(), trio.open_nursery() as nursery:
            nursery.start_soon(self.server.run)
            await trio.lowlevel.checkpoint()
            yield self
            nursery.cancel_scope.cancel()

    async def stop(self, stream: Stream) -> None:
        messages = Delimited(stream)
        request = StopMessage.decode(await messages.receive())
        assert request.type is Stop.CONNECT
        self.sources.append(base58(request.peer))
        await messages.send(StopMessage(type=Stop.STATUS, status=self.status).encode() + b"")
        data = messages.rest() or await stream.receive_some()
        while data:
            await stream.send_all(data)
            if not self.reads:
                await trio.sleep_forever()
            data = await stream.receive_some()

    async def ask(self, network: LoopbackNetwork, message: HopMessage) -> tuple[HopMessage, Stream, Delimited]:
        stream = await network.open(C, HOP)
        messages = Delimited(stream)
        await messages.send(message.encode())
        return HopMessage.decode(await messages.receive()), stream, messages

    async def reserve(self, network: LoopbackNetwork) -> HopMessage:
        answer, _, _ = await self.ask(network, HopMessage(type=Hop.RESERVE))
        return answer

    async def dial(self, peer: PeerId = B) -> tuple[Status | None, Stream]:
        answer, stream, _ = await self.ask(self.a, HopMessage(type=Hop.CONNECT, peer=unbase58(peer) or b""))
        return answer.status, stream


async def echo(stream: Stream, data: bytes) -> bytes:
    await stream.send_all(data)
    got = b""
    while len(got) < len(data):
        more = await stream.receive_some()
        if not more:
            break
        got += more
    return got


async def test_reserve_and_connect(autojump_clock: object) -> None:
    async with World().running() as world:
        answer = await world.reserve(world.b)
        assert answer.status is Status.OK
        assert answer.reservation is not None
        assert answer.reservation.expire == now_ms() // 1000 + 100
        assert answer.limit is not None
        assert (answer.limit.duration, answer.limit.data) == (50, 200_000)
        status, stream = await world.dial()
        assert status is Status.OK
        assert world.sources == [A]
        assert await echo(stream, b"hello") == b"hello"
        assert world.server.circuits == 1
        await stream.close()
        await trio.sleep(1)
        assert world.server.circuits == 0


async def test_a_reservation_is_for_the_one_who_asks(autojump_clock: object) -> None:
    async with World().running() as world:
        answer, _, _ = await world.ask(world.a, HopMessage(type=Hop.RESERVE, peer=unbase58(B) or b""))
        assert answer.status is Status.OK
        assert (await world.dial(B))[0] is Status.NO_RESERVATION


async def test_a_reservation_ends_with_the_connection_and_with_time(autojump_clock: object) -> None:
    async with World().running() as world:
        await world.reserve(world.b)
        world.net.cut(world.b, world.relay)
        await trio.sleep(1)
        assert world.server.reservations == 0
        world.net.link(world.b, world.relay)
        assert (await world.dial())[0] is Status.NO_RESERVATION
        await world.reserve(world.b)
        await trio.sleep(101)
        assert (await world.dial())[0] is Status.NO_RESERVATION


async def test_limits(autojump_clock: object) -> None:
    async with World().running() as world:
        others = [world.net.node(SigningKey(bytes([number]) * 32)) for number in (7, 8)]
        for other in others:
            world.net.link(other, world.relay)
        assert (await world.reserve(world.b)).status is Status.OK
        assert (await world.reserve(others[0])).status is Status.OK
        assert (await world.reserve(others[1])).status is Status.RESERVATION_REFUSED
        assert (await world.reserve(world.b)).status is Status.OK  # renewing is not a new one
        first, second = [await world.dial() for _ in range(2)]
        assert (first[0], second[0]) == (Status.OK, Status.OK)
        assert (await world.dial())[0] is Status.RESOURCE_LIMIT_EXCEEDED
        await first[1].close()
        await trio.sleep(1)
        assert (await world.dial())[0] is Status.OK
        assert await echo(second[1], b"the other one lives") == b"the other one lives"


async def test_bytes_and_seconds_of_a_circuit(autojump_clock: object) -> None:
    async with World().running() as world:
        await world.reserve(world.b)
        _, stream = await world.dial()
        assert await echo(stream, bytes(60_000)) == bytes(60_000)
        with suppress(Unreachable):
            assert len(await echo(stream, bytes(60_000))) < 60_000
        assert world.relay.counted["relay.circuits_used_up"] == 1
        _, stream = await world.dial()
        start = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - start == 50
        await trio.sleep(1)
        assert world.server.circuits == 0


async def test_a_side_that_does_not_read_loses_the_circuit(autojump_clock: object) -> None:
    limits = RelayLimits(stalled_seconds=5.0)
    async with World(limits).running() as world:
        world.reads = False
        await world.reserve(world.b)
        _, stream = await world.dial()
        with pytest.raises(Unreachable):
            await stream.send_all(bytes(4 << 20))
        await trio.sleep(1)
        assert world.relay.counted["relay.circuits_stalled"] == 1
        assert world.server.circuits == 0


async def test_the_other_end_says_no_or_nothing(autojump_clock: object) -> None:
    async def silent(stream: Stream) -> None:
        await trio.sleep_forever()

    async with World().running() as world:
        await world.reserve(world.b)
        world.status = Status.PERMISSION_DENIED
        assert (await world.dial())[0] is Status.CONNECTION_FAILED
        world.b.handle(STOP, silent)
        assert (await world.dial())[0] is Status.CONNECTION_FAILED
        del world.b.handlers[STOP]
        assert (await world.dial())[0] is Status.CONNECTION_FAILED
        await trio.sleep(1)
        assert world.server.circuits == 0


async def test_refusals(autojump_clock: object) -> None:
    async with World(allows=False).running() as world:
        assert (await world.reserve(world.b)).status is Status.PERMISSION_DENIED
        assert (await world.dial(A))[0] is Status.MALFORMED_MESSAGE  # to itself
        assert (await world.ask(world.a, HopMessage(type=Hop.STATUS)))[0].status is Status.UNEXPECTED_MESSAGE
        stranger = peer_id(SigningKey(bytes(32)).public)
        assert (await world.dial(stranger))[0] is Status.NO_RESERVATION
        world.relay.through = (A,)
        assert (await world.reserve(world.a)).status is Status.PERMISSION_DENIED
        assert (await world.dial())[0] is Status.PERMISSION_DENIED


@pytest.mark.parametrize("data", [b"\x02\x08\x63", b"\x00junk", b"\xff\xff\xff", b"\x04\x08\x01\x12\x00"])
async def test_junk_is_charged(data: bytes, autojump_clock: object) -> None:
    async with World().running() as world:
        stream = await world.a.open(C, HOP)
        await stream.send_all(data)
        with suppress(Unreachable):
            while await stream.receive_some():
                pass
        assert world.relay.offences in ([(A, Offence.MALFORMED)], [])
        assert world.server.circuits == 0


async def test_a_stream_on_which_nothing_comes_is_let_go(autojump_clock: object) -> None:
    async with World().running() as world:
        stream = await world.a.open(C, HOP)
        start = trio.current_time()
        assert await stream.receive_some() == b""
        assert trio.current_time() - start == 3
