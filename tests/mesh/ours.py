"""A node with this project's mesh on sockets and its store in a file, and what only tests may do to it.

`loss` makes it deaf to a share of the gossip messages it gets: every copy of such a message is lost, not only
one of several, and is not passed on, so that sync has to bring what was in it. `stored` says what the store has,
which is more than what came out of `frames()` if the process was killed in between.
"""

from __future__ import annotations

import cProfile
import hashlib
import io
import logging
import os
import pstats
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import trio

from tests.mesh.control import Answer, Book, Command, book, configuration, obey
from tests.mesh.load import ranges, read
from transport.base import Address, Arrival, Frame, FrameId, Milliseconds, PeerId, TopicId
from transport.frames import WriteKey, member_topic, seal
from transport.gossip.router import Output, Router
from transport.gossip.wire import Rpc
from transport.live.mesh import MeshSettings
from transport.live.open import SocketMesh, open_mesh
from transport.mailbox.disk import DiskStore
from transport.signing import SigningKey
from transport.sync.schedule import Rhythm

LIFE = 3600_000  # of a frame, in milliseconds, unless the configuration says otherwise
ECHO = "/vcd/echo/1"


def wall_clock() -> Milliseconds:
    return Milliseconds(time.time_ns() // 1_000_000)


class Loss:
    """Which messages never come. One per process: gossip's router hands it every RPC before looking at it."""

    def __init__(self, salt: bytes) -> None:
        self.share = 0.0
        self.lost = 0
        self._salt = salt
        receive = Router.receive

        def lossy(router: Router, peer: PeerId, rpc: Rpc, now: float) -> list[Output]:
            if self.share and rpc.publish:
                kept = tuple(message for message in rpc.publish if not self._loses(message.id))
                self.lost += len(rpc.publish) - len(kept)
                rpc = replace(rpc, publish=kept)
            return receive(router, peer, rpc, now)

        setattr(Router, "receive", lossy)  # noqa: B010 - a type checker rightly minds the plain assignment

    def _loses(self, message: bytes) -> bool:
        digest = hashlib.sha256(self._salt + message).digest()
        return int.from_bytes(digest[:4]) < self.share * (1 << 32)


class OurNode:
    def __init__(self, mesh: SocketMesh, store: DiskStore, key: WriteKey, counted: Book, loss: Loss, life: int) -> None:
        self.peer = str(mesh.me)
        self.addresses = [str(address) for address in mesh.addresses()]
        self.commands: Mapping[str, Command] = {
            "counters": self._counters,
            "ask": self._ask,
            "synchronize": self._synchronize,
            "loss": self._loss,
            "stored": self._stored,
            "peers": self._peers,
            "forget": self._forget,
            "profile": self._profile,
        }
        self._mesh, self._store, self._key, self._book = mesh, store, key, counted
        self._loss_, self._life = loss, life
        self._topic = member_topic(key)
        self._profiler: cProfile.Profile | None = None
        mesh.serve(ECHO, self._echo)

    async def _echo(self, peer: PeerId, question: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        return question

    async def read(self) -> None:
        """What comes, for as long as the mesh lives."""
        arrival: Arrival
        async for arrival in self._mesh.frames():
            self._book.arrived(arrival.frame.payload)

    async def keep(self, peer: str, addresses: list[str]) -> None:
        self._mesh.keep(PeerId(peer), [Address(address) for address in addresses])
        await trio.lowlevel.checkpoint()

    async def join(self) -> None:
        await self._mesh.join(self._topic)

    async def publish(self, payload: bytes) -> None:
        await self._mesh.publish(seal(self._key, payload, Milliseconds(wall_clock() + self._life)))

    def neighbors(self) -> int:
        return sum(self._topic.id in state.topics for state in self._mesh.peers().values())

    # ------------------------------------------------------------ commands of this kind alone

    async def _counters(self, order: dict[str, Any]) -> Answer:
        return {"counters": {**self._mesh.counters(), "test.lost": self._loss_.lost}}

    async def _ask(self, order: dict[str, Any]) -> Answer:
        question = b"\x07" * order["size"]
        answer = await self._mesh.ask(PeerId(order["peer"]), order["protocol"], question, within=20)
        return {"status": 0, "same": answer == question}

    async def _synchronize(self, order: dict[str, Any]) -> Answer:
        began = time.monotonic()
        got = await self._mesh.synchronize(PeerId(order["peer"]), self._topic.id)
        return {"received": got, "seconds": time.monotonic() - began}

    async def _loss(self, order: dict[str, Any]) -> Answer:
        self._loss_.share = order["share"]
        return {}

    async def _stored(self, order: dict[str, Any]) -> Answer:
        held: dict[str, list[int]] = {}
        for payload in await payloads(self._store, self._topic.id):
            known = read(payload)
            if known is not None:
                held.setdefault(str(known[0]), []).append(known[1])
        return {"held": {author: ranges(numbers) for author, numbers in held.items()}}

    async def _peers(self, order: dict[str, Any]) -> Answer:
        states = self._mesh.peers().values()
        return {
            "peers": [
                {"peer": state.peer, "link": state.link.value, "trouble": state.trouble, "topics": len(state.topics)}
                for state in states
            ]
        }

    async def _forget(self, order: dict[str, Any]) -> Answer:
        self._mesh.forget(PeerId(order["peer"]))
        return {}

    async def _profile(self, order: dict[str, Any]) -> Answer:
        """Begin, or end and say where the time went."""
        if self._profiler is None:
            self._profiler = cProfile.Profile(time.process_time)
            self._profiler.enable()
            return {}
        self._profiler.disable()
        text = io.StringIO()
        stats = pstats.Stats(self._profiler, stream=text)
        self._profiler = None
        stats.sort_stats(order.get("by", "tottime")).print_stats(order.get("lines", 45))
        return {"text": text.getvalue()}


async def payloads(store: DiskStore, topic: TopicId) -> Iterable[bytes]:
    """All that the store has of a topic."""
    found: list[Frame] = []
    async for batch in store.entries(topic):
        ids: list[FrameId] = [frame for _, frame in batch]
        found += await store.fetch(topic, ids)
    return [frame.payload for frame in found]


async def main() -> None:
    config = configuration()
    logging.basicConfig(level=config.get("log", "WARNING"), format="%(relativeCreated)d %(name)s %(message)s")
    counted = book(config)
    key = WriteKey(bytes.fromhex(config["topic"]))
    identity = SigningKey(bytes.fromhex(config["identity"]))
    loss = Loss(identity.public)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(DiskStore.open(config["store"]))
        for payload in await payloads(store, member_topic(key).id):
            known = read(payload)
            if known is not None and known[0] == counted.author:
                counted.mine.add(known[1])  # published in an earlier life
        mesh = await stack.enter_async_context(
            open_mesh(
                identity=identity,
                store=store,
                listen=[Address(f"/ip4/127.0.0.1/tcp/{config['port']}")],
                now_ms=wall_clock,
                random_bytes=os.urandom,
                settings=MeshSettings(rhythm=Rhythm(**config.get("rhythm", {}))),
                lock=Path(config["store"] + ".lock"),
            )
        )
        node = OurNode(mesh, store, key, counted, loss, config.get("frame_life", LIFE))
        nursery = await stack.enter_async_context(trio.open_nursery())
        nursery.start_soon(node.read)
        await obey(node, counted)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
