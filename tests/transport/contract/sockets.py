"""The live mesh on libp2p, over TCP on the loopback interface, by the machine's clock."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from tests.transport.contract.worlds import World
from transport.base import Address, Link, Mesh, Milliseconds, PeerId
from transport.live.mesh import MeshSettings
from transport.live.open import SocketMesh, open_mesh
from transport.signing import SigningKey
from transport.sync.memory_store import MemoryStore


class SocketWorld(World):
    """A link is kept by both ends, and cut by both forgetting it."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__(nursery)
        self._linked: dict[frozenset[PeerId], None] = {}

    def open(self, identity: SigningKey, store: MemoryStore) -> AbstractAsyncContextManager[Mesh]:
        return open_mesh(
            identity=identity,
            store=store,
            listen=[Address("/ip4/127.0.0.1/tcp/0")],
            now_ms=self.now_ms,
            random_bytes=os.urandom,
            settings=MeshSettings(inbox_frames=64),
        )

    def connect(self, a: PeerId, b: PeerId) -> None:
        one, two = self._here()[a], self._here()[b]
        one.keep(b, two.addresses())
        two.keep(a, one.addresses())
        self._linked[frozenset((a, b))] = None

    def disconnect(self, a: PeerId, b: PeerId) -> None:
        self._linked.pop(frozenset((a, b)), None)
        self._here()[a].forget(b)
        self._here()[b].forget(a)

    def now_ms(self) -> Milliseconds:
        return Milliseconds(time.time_ns() // 1_000_000)

    async def settle(self) -> None:
        await trio.sleep(2)

    async def warm_up(self) -> None:
        """Until all that are linked are connected and know of topics they share; and a moment more for the rest."""
        await self.until(self._all_met, within=30)
        await trio.sleep(0.3)

    def _all_met(self) -> bool:
        here = self._here()
        return all(
            (state := mesh.peers().get(other)) is not None
            and state.link is Link.CONNECTED
            and (self.joined[mesh.me] is None or (topic := self.joined[other]) is None or topic.id in state.topics)
            for mesh in here.values()
            for other in here
            if frozenset((mesh.me, other)) in self._linked and other != mesh.me
        )

    def _here(self) -> dict[PeerId, SocketMesh]:
        return {mesh.me: mesh for mesh in self.meshes.values() if isinstance(mesh, SocketMesh)}


@asynccontextmanager
async def socket_world() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        yield SocketWorld(nursery)
        nursery.cancel_scope.cancel()
