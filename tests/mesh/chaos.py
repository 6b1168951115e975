"""What befalls a fleet while it works: nodes are killed and started again, frozen and thawed, at times drawn from
the fleet's seed. At most half of them are away at once, and in the end all are back.
"""

from __future__ import annotations

from collections.abc import Sequence

import trio

from tests.mesh.fleet import Fleet, Worker, WorkerError

BACK_LIMIT = 120.0


class Chaos:
    """One run of it. `publish` and `run` go on at the same time."""

    def __init__(self, fleet: Fleet, workers: Sequence[Worker], links: Sequence[tuple[Worker, Worker]]) -> None:
        self.killed: set[Worker] = set()
        self._fleet = fleet
        self._workers = workers
        self._links = links
        self._away: set[Worker] = set()
        self._back = trio.Event()

    async def run(self, seconds: float, pause: float) -> None:
        """Something happens to somebody about every `pause` seconds; the last are back after `seconds` or so."""
        end = trio.current_time() + seconds
        async with trio.open_nursery() as nursery:
            turn = 0
            while (now := trio.current_time()) < end:
                here = [worker for worker in self._workers if worker not in self._away]
                if len(here) > len(self._workers) / 2:
                    victim = self._fleet.random.choice(here)
                    away = self._fleet.random.uniform(0.5, 1.5) * pause
                    self._away.add(victim)
                    # In turn, so that a short run has seen both.
                    nursery.start_soon(self._kill if turn % 2 == 0 else self._freeze, victim, min(away, end - now))
                    turn += 1
                await trio.sleep(pause * self._fleet.random.uniform(0.7, 1.3))

    async def _kill(self, worker: Worker, seconds: float) -> None:
        worker.kill()
        self.killed.add(worker)
        await worker.ended.wait()
        await trio.sleep(seconds)
        await worker.start()
        await self.furnish(worker)
        self._returned(worker)

    async def _freeze(self, worker: Worker, seconds: float) -> None:
        worker.freeze()
        await trio.sleep(seconds)
        worker.thaw()
        self._returned(worker)

    def _returned(self, worker: Worker) -> None:
        self._away.discard(worker)
        self._back.set()
        self._back = trio.Event()

    async def furnish(self, worker: Worker) -> None:
        """What a node is told when it starts: its peers, its losses, its topic."""
        await worker.call("loss", share=worker.settings.get("loss", 0.0))
        for one, other in self._links:
            if worker in {one, other}:
                peer = other if worker is one else one
                await worker.call("keep", peer=peer.peer, addresses=peer.addresses)
        await worker.call("join")

    async def publish(self, worker: Worker, *, count: int, size: int, rate: float) -> None:
        """All of these, in as many lives as it takes."""
        while True:
            try:
                await worker.call("publish", count=count, size=size, rate=rate, within=count / rate + BACK_LIMIT)
            except WorkerError:
                if worker not in self._away:
                    raise
            else:
                return
            with trio.fail_after(BACK_LIMIT):
                while worker in self._away:
                    await self._back.wait()
