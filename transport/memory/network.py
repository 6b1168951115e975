"""The simulation under trio's clock: what happens to a node reaches its mesh when it is due.

    async with MemoryNetwork(seed=1).running() as network:
        async with network.open_mesh(key, store) as mesh:
            ...

Faults are made on the simulation, inside `with network.changing() as simulation`. Under a
clock that jumps (trio's MockClock) a day of silence costs nothing. One task steps the simulation; what it hands
to a mesh is put into that mesh's bounded inbox, and a mesh whose inbox is full is held until it is not.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from transport.base import MAX_PAYLOAD, AlreadyRunning, FrameStore, Milliseconds, Patience, PeerId
from transport.memory.mesh import MemoryMesh
from transport.memory.simulation import START, Simulation
from transport.memory.values import Conditions
from transport.signing import SigningKey, peer_id


class MemoryNetwork:
    """A simulation that follows trio's clock, and the meshes on it."""

    def __init__(
        self,
        seed: int,
        conditions: Conditions | None = None,
        *,
        links: int | None = None,
        sync_every: float = 30.0,
        start: Milliseconds = START,
    ) -> None:
        """`start`: the wall clock's time when `running` begins. The rest: see `Simulation`, but in seconds."""
        self.simulation = Simulation(seed, conditions, links=links, sync_every=round(sync_every * 1000), start=start)
        self._meshes: dict[PeerId, MemoryMesh] = {}
        self._epoch = math.nan
        self._start = start
        self._poked = trio.Event()
        self.released = trio.Event()
        """A node may take frames again, or is no longer there: whoever waits for slow peers looks again."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[MemoryNetwork]:
        async with trio.open_nursery() as nursery:
            self._epoch = trio.current_time()
            nursery.start_soon(self._follow)
            yield self
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def open_mesh(
        self,
        identity: SigningKey,
        store: FrameStore,
        *,
        patience: Patience | None = None,
        max_payload: int = MAX_PAYLOAD,
        skew: float = 0.0,
    ) -> AsyncIterator[MemoryMesh]:
        """A node that is up while this is. The same identity may come back later, with the same store.

        `skew`: seconds that its clock is ahead, the first time.
        """
        me = peer_id(identity.public)
        if me in self._meshes:
            raise AlreadyRunning(f"{me} is up already")
        mesh = MemoryMesh(self, me, store, patience or Patience(), max_payload)
        self._meshes[me] = mesh
        with self.changing() as simulation:
            if me in simulation.nodes():
                simulation.restart(me, kept=())
            else:
                simulation.add(me, skew=round(skew * 1000))
            for other in self._meshes.values():
                if other.keeps(me):
                    simulation.want(other.me, me)
        try:
            async with mesh.running():
                yield mesh
        finally:
            with self.changing() as simulation:
                simulation.crash(me)
                for topic in simulation.topics_of(me):
                    simulation.leave(me, topic)
            del self._meshes[me]

    @contextmanager
    def changing(self) -> Iterator[Simulation]:
        """The simulation, as of now; what follows from the change is told at once."""
        self.advance()
        yield self.simulation
        self.advance()
        self._poked.set()

    def now_ms(self) -> Milliseconds:
        """The true time: the wall clock of a node without skew."""
        return Milliseconds(self._start + int((trio.current_time() - self._epoch) * 1000))

    def clock(self, peer: PeerId) -> Milliseconds:
        """The time as this node sees it."""
        self.advance()
        return self.simulation.clock(peer)

    def tell_released(self) -> None:
        self.released.set()
        self.released = trio.Event()

    def advance(self) -> None:
        """Let everything happen that is due."""
        for happening in self.simulation.run_until(self.now_ms()):
            mesh = self._meshes.get(happening.node)
            if mesh is not None:
                mesh.happened(happening)

    async def _follow(self) -> None:
        while True:
            self._poked = trio.Event()
            self.advance()
            due = self.simulation.next_at()
            # half a millisecond more than due, so that rounding never asks to wake up again for nothing
            at = None if due is None else self._epoch + (due - self._start + 0.5) / 1000
            with trio.move_on_at(at if at is not None else trio.current_time() + 3600.0):
                await self._poked.wait()
