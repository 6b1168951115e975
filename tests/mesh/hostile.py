"""A process that does not wish a mesh well: what it sends is malformed, too much, or never ends.

It is made of the library's own host, which speaks everything well enough to do harm with it. Each attack comes
from an identity of its own, since whoever is caught is barred; a flood goes on with the next identity whenever
one is thrown out. Commands:

    malformed    one of `MALFORMED`, by name
    invalid      many frames that are forged, expired, strange or not frames at all, in well-signed gossip messages
    half_open    many streams that are begun and never finished, held open until told to let go
    connections  many connections, one after the other
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.abc import IHost, INetStream
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519
from libp2p.custom_types import TProtocol
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE, Transport as Noise
from libp2p.utils import encode_varint_prefixed
from multiaddr import Multiaddr

from tests.mesh.control import Answer, Book, Command, book, configuration, obey
from transport.base import Milliseconds
from transport.frames import HEAD_SIZE, WriteKey, seal, topic_id

MESHSUB = TProtocol("/meshsub/1.1.0")
ASK = TProtocol("/vcd/ask/1")
IDENTIFY_PUSH = TProtocol("/ipfs/id/push/1.0.0")
PING = TProtocol("/ipfs/ping/1.0.0")
PER_MESSAGE = 100
PAUSE = 0.005  # seconds between messages: time to notice that one was thrown out
AT_ONCE = 8  # identities that flood
STREAMS_PER_HOST = 125
CONNECTIONS_PER_HOST = 20

Victim = tuple[str, list[str]]


@asynccontextmanager
async def nobody() -> AsyncIterator[IHost]:
    """A host with an identity that was never used before."""
    keys = create_new_key_pair()
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: Noise(keys, noise_privkey=create_x25519().private_key)},
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0, high_watermark=300, max_connections=300),
    )
    async with host.run([]):
        try:
            yield host
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 5, shield=True):
                await host.close()


async def connect(host: IHost, victim: Victim) -> ID:
    """By the first address: choosing among several costs the library a quarter of a second."""
    peer = ID.from_string(victim[0])
    network: Any = host.get_network()
    with trio.fail_after(10):
        await network.dial_addr(Multiaddr(f"{victim[1][0]}/p2p/{victim[0]}"), peer)
    return peer


async def stream(host: IHost, peer: ID, protocol: TProtocol) -> INetStream:
    with trio.fail_after(10):
        return await host.new_stream(peer, [protocol])


# ---------------------------------------------------------------- gossip


def message(topic: str, data: bytes) -> rpc_pb2.Message:
    """Properly signed, with a key made for it: what is wrong is inside."""
    keys = create_new_key_pair()
    made = rpc_pb2.Message(
        data=data,
        topicIDs=[topic],
        from_id=ID.from_pubkey(keys.public_key).to_bytes(),
        seqno=time.time_ns().to_bytes(8, "big"),
    )
    made.signature = keys.private_key.sign(b"libp2p-pubsub:" + made.SerializeToString())
    made.key = keys.public_key.serialize()
    return made


def rpc(**parts: Any) -> bytes:
    return encode_varint_prefixed(rpc_pb2.RPC(**parts).SerializeToString())


def control(**parts: Any) -> bytes:
    return rpc(control=rpc_pb2.ControlMessage(**parts))


def subscription(topic: str) -> rpc_pb2.RPC.SubOpts:
    return rpc_pb2.RPC.SubOpts(subscribe=True, topicid=topic)


class Frames:
    """Frames that are wrong, each in one of several ways."""

    def __init__(self, key: WriteKey) -> None:
        self.topic = f"vcd/1/{topic_id(key.public).hex()}"
        self._key = key
        self._stranger = WriteKey(hashlib.sha256(b"stranger").digest())

    def _valid(self, number: int, life: int = 3600_000) -> bytearray:
        now = time.time_ns() // 1_000_000
        return bytearray(seal(self._key, b"load" + number.to_bytes(200), Milliseconds(now + life)).encode())

    def make(self, number: int) -> bytes:
        match number % 7:
            case 0:  # a signature that is not one
                frame = self._valid(number)
                frame[HEAD_SIZE - 1] ^= 1
                return bytes(frame)
            case 1:  # another payload than was signed
                frame = self._valid(number)
                frame[-1] ^= 1
                return bytes(frame)
            case 2:
                return bytes(self._valid(number, life=-1000))
            case 3:  # for ever
                return bytes(self._valid(number, life=400 * 24 * 3600_000))
            case 4:  # a topic nobody keeps here
                return seal(self._stranger, number.to_bytes(200), Milliseconds(1 << 42)).encode()
            case 5:  # a version to come
                frame = self._valid(number)
                frame[0] = 9
                return bytes(frame)
            case _:
                return os.urandom(HEAD_SIZE + 60)

    def batch(self, first: int, count: int) -> bytes:
        """One way of being wrong per message, or the worst would hide the others."""
        kind = first // PER_MESSAGE % 7
        frames = (self.make((first + i) * 7 + kind) for i in range(count))
        return b"\x01" + b"".join(b"\x01" + len(frame).to_bytes(4) + frame for frame in frames)


# ---------------------------------------------------------------- what is malformed


def gossiped(make: Callable[[str], bytes]) -> Callable[[IHost, Victim, str], Awaitable[None]]:
    """These bytes on a gossip stream."""

    async def attack(host: IHost, victim: Victim, topic: str) -> None:
        sent = await stream(host, await connect(host, victim), MESHSUB)
        await sent.write(make(topic))

    return attack


def spoken(protocol: TProtocol, data: bytes, *, close: bool = True) -> Callable[[IHost, Victim, str], Awaitable[None]]:
    """These bytes on a stream of another protocol."""

    async def attack(host: IHost, victim: Victim, topic: str) -> None:
        sent = await stream(host, await connect(host, victim), protocol)
        await sent.write(data)
        if close:
            await sent.close()

    return attack


def negotiated(data: bytes) -> Callable[[IHost, Victim, str], Awaitable[None]]:
    """These bytes where a protocol's name is expected."""

    async def attack(host: IHost, victim: Victim, topic: str) -> None:
        await connect(host, victim)
        raw = await host.get_network().get_connections()[0].muxed_conn.open_stream()
        await raw.write(data)
        await trio.sleep(0.2)

    return attack


def muxed(*frames: bytes) -> Callable[[IHost, Victim, str], Awaitable[None]]:
    """These bytes on the connection itself, under Noise."""

    async def attack(host: IHost, victim: Victim, topic: str) -> None:
        await connect(host, victim)
        line: Any = host.get_network().get_connections()[0].muxed_conn
        for frame in frames:
            await line.secured_conn.write(frame)

    return attack


def raw(data: bytes) -> Callable[[IHost, Victim, str], Awaitable[None]]:
    """These bytes on a bare socket."""

    async def attack(host: IHost, victim: Victim, topic: str) -> None:
        port = int(victim[1][0].rsplit("/", 1)[1])
        line = await trio.open_tcp_stream("127.0.0.1", port)
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset instead of an end
        await line.send_all(data)
        await trio.sleep(0.3)
        await line.aclose()

    return attack


def _yamux(kind: int, flags: int, number: int, length: int) -> bytes:
    return struct.pack("!BBHII", 0, kind, flags, number, length)


def _junk_key(topic: str) -> bytes:
    made = rpc_pb2.Message(
        data=b"x", topicIDs=[topic], from_id=b"\x12\x20" + b"a" * 32, seqno=bytes(8), signature=b"x", key=b"\xff" * 3
    )
    return rpc(publish=[made])


_NEGOTIATION = b"\x13/multistream/1.0.0\n\x07/noise\n"

MALFORMED: Mapping[str, Callable[[IHost, Victim, str], Awaitable[None]]] = {
    "six bytes": gossiped(lambda topic: b"\x05\xff\xff\xff\xff\xff"),
    "junk key": gossiped(_junk_key),
    "graft of nothing": gossiped(
        lambda topic: control(
            graft=[rpc_pb2.ControlGraft(topicID="nope")],
            prune=[rpc_pb2.ControlPrune(topicID=topic, backoff=2**62)],
        )
    ),
    "exchange of junk": gossiped(
        lambda topic: control(
            prune=[
                rpc_pb2.ControlPrune(
                    topicID=topic, peers=[rpc_pb2.PeerInfo(peerID=b"\xff\xff", signedPeerRecord=b"zz")]
                )
            ]
        )
    ),
    "junk record": gossiped(lambda topic: rpc(senderRecord=b"\xff\xff")),
    "length of gigabytes": gossiped(lambda topic: b"\xff\xff\xff\xff\x7f"),
    "endless length": gossiped(lambda topic: b"\xff" * 40),
    "half a message": gossiped(lambda topic: b"\x20abc"),
    "ten thousand topics": gossiped(lambda topic: rpc(subscriptions=[subscription(f"t{i}") for i in range(10_000)])),
    "ids without end": gossiped(
        lambda topic: control(
            ihave=[
                rpc_pb2.ControlIHave(topicID=topic, messageIDs=[str(i).encode() for i in range(5000)]) for _ in range(5)
            ]
        )
    ),
    "not a batch": gossiped(lambda topic: rpc(publish=[message(topic, b"\x01\x01\xff\xff\xff\xff")])),
    "empty batch": gossiped(lambda topic: rpc(publish=[message(topic, b"")])),
    "question of gigabytes": spoken(ASK, b"\xff\xff\xff\xffabc", close=False),
    "question of junk": spoken(ASK, b"\0\0\0\x05\x09\xff\xff\xff\xff"),
    "half a question": spoken(ASK, b"\0\0\0\x05\x01"),
    "junk to identify": spoken(IDENTIFY_PUSH, b"\x05\xff\xff\xff\xff\xff"),
    "half a ping": spoken(PING, b"abc"),
    "names without end": negotiated(b"\xff" * 11),
    "name that is not text": negotiated(b"\x05\xff\xfe\xfd\xfc\xfb"),
    "window of gigabytes": muxed(_yamux(0, 0, 1, 2**31)),
    "junk frames": muxed(*(os.urandom(12) for _ in range(50))),
    "window that overflows": muxed(_yamux(1, 1, 1, 2**32 - 1), _yamux(1, 0, 1, 2**32 - 1)),
    "streams that are reset at once": muxed(*(_yamux(1, 1 | 8, 2 * i + 1, 0) for i in range(2000))),
    "pings": muxed(*(_yamux(2, 1, 0, i) for i in range(5000))),
    "junk": raw(bytes(range(256)) * 16),
    "zeros": raw(bytes(4000)),
    "junk handshake": raw(_NEGOTIATION + bytes(range(250)) * 2),
    "half a handshake": raw(_NEGOTIATION + b"\x00\x20" + b"\x01" * 32 + b"\x00\x05abcde"),
    "silence": raw(b""),
}


# ---------------------------------------------------------------- the node


class HostileNode:
    """Listens nowhere, takes part in nothing."""

    def __init__(self, key: WriteKey, counted: Book, nursery: trio.Nursery) -> None:
        self.peer = ""
        self.addresses: list[str] = []
        self.commands: Mapping[str, Command] = {
            "malformed": self._malformed,
            "invalid": self._invalid,
            "half_open": self._half_open,
            "let_go": self._let_go,
            "connections": self._connections,
        }
        self._frames = Frames(key)
        self._nursery = nursery
        self._gone = trio.Event()

    async def keep(self, peer: str, addresses: list[str]) -> None:
        raise ValueError("keeps nobody")

    async def join(self) -> None:
        raise ValueError("joins nothing")

    async def publish(self, payload: bytes) -> None:
        raise ValueError("publishes nothing honest")

    def neighbors(self) -> int:
        return 0

    async def _malformed(self, order: dict[str, Any]) -> Answer:
        """What the library here thinks of how it went does not matter; the victim does."""
        victim: Victim = (order["peer"], order["addresses"])
        try:
            async with nobody() as host:
                await MALFORMED[order["name"]](host, victim, self._frames.topic)
                await trio.sleep(0.3)
        except Exception as error:  # noqa: BLE001
            return {"trouble": f"{type(error).__name__}: {error}"}
        return {}

    async def _invalid(self, order: dict[str, Any]) -> Answer:
        count = {"sent": 0, "identities": 0}
        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(self._flood, (order["peer"], order["addresses"]), order["count"], count)
        return dict(count)

    async def _flood(self, victim: Victim, wanted: int, count: dict[str, int]) -> None:
        """One identity after another, each until it is thrown out."""
        while count["sent"] < wanted:
            count["identities"] += 1
            try:
                async with nobody() as host:
                    peer = await connect(host, victim)
                    line = await stream(host, peer, MESHSUB)
                    await line.write(rpc(subscriptions=[subscription(self._frames.topic)]))
                    while count["sent"] < wanted:
                        data = self._frames.batch(count["sent"], PER_MESSAGE)
                        count["sent"] += PER_MESSAGE
                        with trio.fail_after(10):
                            await line.write(rpc(publish=[message(self._frames.topic, data)]))
                        await trio.sleep(PAUSE)
                        if not host.get_network().get_connections(peer):
                            count["sent"] -= PER_MESSAGE  # what was written last may not have been looked at
                            break
            except Exception:  # noqa: BLE001 - thrown out, or not let in just now
                await trio.sleep(0.05)

    async def _half_open(self, order: dict[str, Any]) -> Answer:
        """A third never names a protocol, a third begins a question, a third begins a gossip message."""
        opened = trio.Event()
        count = {"opened": 0, "refused": 0}
        self._nursery.start_soon(self._hold, (order["peer"], order["addresses"]), order["count"], count, opened)
        with trio.move_on_after(120):
            await opened.wait()
        return count

    async def _hold(self, victim: Victim, wanted: int, count: dict[str, int], opened: trio.Event) -> None:
        async with AsyncExitStack() as stack:
            while sum(count.values()) < wanted:
                host = await stack.enter_async_context(nobody())
                try:
                    peer = await connect(host, victim)
                    for i in range(min(STREAMS_PER_HOST, wanted - sum(count.values()))):
                        try:
                            await self._begin(host, peer, i % 3)
                            count["opened"] += 1
                        except Exception:  # noqa: BLE001 - the victim has had enough of this one
                            count["refused"] += 1
                except Exception:  # noqa: BLE001
                    count["refused"] += 1
            opened.set()
            await self._gone.wait()

    @staticmethod
    async def _begin(host: IHost, peer: ID, way: int) -> None:
        with trio.fail_after(3):
            if way == 0:
                begun = await host.get_network().get_connections(peer)[0].muxed_conn.open_stream()
                await begun.write(b"\x13/multistr")
            else:
                protocol, data = ((ASK, b"\0\0\1\0x"), (MESHSUB, b"\x80\x04half"))[way - 1]
                await (await host.new_stream(peer, [protocol])).write(data)

    async def _let_go(self, order: dict[str, Any]) -> Answer:
        self._gone.set()
        self._gone = trio.Event()
        return {}

    async def _connections(self, order: dict[str, Any]) -> Answer:
        """Each is cut as soon as it is there, without a word; now and then the identity changes."""
        victim: Victim = (order["peer"], order["addresses"])
        came, left = 0, order["count"]
        while left:
            async with nobody() as host:
                for _ in range(min(CONNECTIONS_PER_HOST, left)):
                    left -= 1
                    try:
                        peer = await connect(host, victim)
                        line: Any = host.get_network().get_connections(peer)[-1]
                        await line.muxed_conn.secured_conn.close()
                        came += 1
                    except Exception:  # noqa: BLE001 - counted by what is missing
                        await trio.lowlevel.checkpoint()
        return {"connected": came}


async def main() -> None:
    config = configuration()
    logging.disable(logging.CRITICAL)
    async with trio.open_nursery() as nursery:
        counted = book(config)
        await obey(HostileNode(WriteKey(bytes.fromhex(config["topic"])), counted, nursery), counted)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
