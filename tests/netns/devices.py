"""Starting `tests.netns.node` on a machine of a topology, and waiting for what it tells."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.netns.topology import Machine
from transport.base import PeerId
from transport.signing import SigningKey, peer_id

ROOT = Path(__file__).parents[2]
PORT = 4001


def identity(seed: int) -> PeerId:
    return peer_id(SigningKey(seed.to_bytes(32)).public)


class Device:
    """A running node; `told` is all that it has said."""

    def __init__(self, machine: Machine, seed: int, process: trio.Process) -> None:
        self.machine = machine
        self.peer = identity(seed)
        self.told: list[dict[str, Any]] = []
        self._process = process
        self._news = trio.Event()
        self._ended = False

    async def read(self) -> None:
        assert self._process.stdout is not None
        buffer = b""
        async for data in self._process.stdout:
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            self.told += [json.loads(line) for line in lines]
            self._tell_waiters()
        self._ended = True
        self._tell_waiters()

    def _tell_waiters(self) -> None:
        self._news.set()
        self._news = trio.Event()

    async def _more(self) -> None:
        if self._ended:
            raise AssertionError(f"{self.machine.namespace} has ended: {self.told[-8:]}")
        await self._news.wait()

    async def tell(self, **command: Any) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(command).encode() + b"\n")

    async def until(self, name: str, within: float = 60.0, since: int = 0, **values: Any) -> Any:
        """The value that it told under this name, together with these values; since so many lines."""
        with trio.move_on_after(within):
            while True:
                for event in self.told[since:]:
                    if name in event and all(event.get(key) == value for key, value in values.items()):
                        return event[name]
                await self._more()
        raise AssertionError(f"{self.machine.namespace} did not tell {name} {values}: {self.told[-8:]}")

    def link(self, peer: PeerId) -> str:
        """The newest it said of its link to a peer."""
        return next((event["link"] for event in reversed(self.told) if event.get("peer") == peer), "")

    async def until_link(self, peer: PeerId, *links: str, within: float = 60.0) -> None:
        with trio.move_on_after(within):
            while self.link(peer) not in links:
                await self._more()
            return
        raise AssertionError(f"{self.machine.namespace}: {self.link(peer)!r}, not {links}: {self.told[-8:]}")

    async def echo(self, peer: PeerId, size: int, within: float = 60.0) -> float:
        """Seconds that so many bytes took there and back."""
        since = len(self.told)
        await self.tell(echo=peer, size=size)
        await self.until("echoed", within, since, echoed=size)
        return float(next(event["seconds"] for event in self.told[since:] if "seconds" in event))

    async def counters(self) -> dict[str, int]:
        since = len(self.told)
        await self.tell(counters=True)
        counters: dict[str, int] = await self.until("counters", 10.0, since)
        return counters


@asynccontextmanager
async def devices(*wanted: tuple[Machine, dict[str, Any]]) -> AsyncIterator[list[Device]]:
    """These nodes, all ready. Ended by closing their input, or killed after three seconds."""
    async with trio.open_nursery() as nursery:
        running: list[Device] = []
        processes: list[trio.Process] = []
        try:
            for machine, config in wanted:
                command = machine.command(sys.executable, "-m", "tests.netns.node", json.dumps(config))
                process = await trio.lowlevel.open_process(
                    list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
                )
                processes.append(process)
                device = Device(machine, config["seed"], process)
                running.append(device)
                nursery.start_soon(device.read)
            for device in running:
                await device.until("ready")
            yield running
        finally:
            with trio.CancelScope(shield=True):
                for process in processes:
                    assert process.stdin is not None
                    await process.stdin.aclose()
                for process in processes:
                    with trio.move_on_after(3) as scope:
                        await process.wait()
                    if scope.cancelled_caught:
                        process.kill()
                        await process.wait()
            nursery.cancel_scope.cancel()
