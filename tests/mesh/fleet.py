"""Starts processes that are nodes of one mesh, and does to them what the world does: kills, freezes, restarts.

    async with open_fleet(folder, seed=7) as fleet:
        a, b = await fleet.start("ours", "ours")
        await fleet.connect_all()
        await fleet.join_all()
        await a.call("publish", count=100, size=256, rate=50)

A worker reads commands and writes answers, one JSON object a line, on its standard input and output; what it
writes to standard error is kept in a file of the folder. Its identity, port and store stay the same when it is
started again. Everything random comes from the seed, which `Fleet.story` prints along with all that was done: a
failure says how to repeat it.

Every process is ended and waited for when the block ends, also the frozen ones; a worker whose standard input
ends exits by itself, so that nothing outlives a harness that was killed.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from tests.mesh.load import Author, expand
from tests.peers import launch

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT = 60.0
CALL_LIMIT = 60.0
_LINE_LIMIT = 64 << 20  # a report of gaps in a hundred thousand frames is far below


class WorkerError(Exception):
    """A worker refused a command, died, or did not answer in time. Says which, and what it wrote last."""


def _python(module: str) -> Callable[[], list[str]]:
    return lambda: [sys.executable, "-m", module]


COMMANDS: dict[str, Callable[[], list[str]]] = {
    "ours": _python("tests.mesh.ours"),
    "raw": _python("tests.mesh.raw"),
    "hostile": _python("tests.mesh.hostile"),
    "js": launch.js_libp2p,
    "go": launch.go_libp2p,
}
"""What each kind of worker is started with; the foreign ones may raise `launch.UnavailableError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the system says about a process, whatever it is written in."""

    cpu: float  # seconds, user and system
    rss: int  # bytes
    files: int
    threads: int


class Worker:
    """One node, over all its lives."""

    def __init__(self, fleet: Fleet, kind: str, index: int, settings: dict[str, Any]) -> None:
        self.fleet = fleet
        self.kind = kind
        self.index = index
        self.author = Author(index)
        self.settings = settings
        self.name = f"{kind}{index}"
        self.life = 0
        self.peer = ""
        self.addresses: list[str] = []
        self.ended = trio.Event()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[dict[str, Any]]] = {}
        self._process: trio.Process | None = None
        self._writing = trio.Lock()

    # ---------------------------------------------------------------- life and death

    @property
    def log(self) -> Path:
        return self.fleet.folder / f"{self.name}.stderr"

    @property
    def journal(self) -> Path:
        return self.fleet.folder / f"{self.name}.journal"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def process(self) -> trio.Process:
        if self._process is None:
            raise WorkerError(f"{self.name} was not started")
        return self._process

    async def start(self) -> None:
        """Start, or start again: same identity, same store, same port."""
        self.life += 1
        self.ended = trio.Event()
        port = int(self.addresses[0].rsplit("/", 1)[1]) if self.addresses else 0
        config = {
            "identity": hashlib.sha256(f"{self.fleet.seed}/{self.name}".encode()).hexdigest(),
            "topic": self.fleet.topic_seed.hex(),
            "author": self.author,
            "life": self.life,
            "port": port,
            "store": str(self.fleet.folder / f"{self.name}.store"),
            "journal": str(self.journal),
            **self.settings,
        }
        self.fleet.note(f"start {self.name}, life {self.life}")
        command = await self.fleet.command(self.kind)
        with self.log.open("ab") as errors:
            self._process = await trio.lowlevel.open_process(
                [*command, json.dumps(config)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,  # Ctrl-C is the harness's business
                env=os.environ | {"PYTHONHASHSEED": str(self.fleet.seed % (1 << 32))},
            )
        came: trio.MemorySendChannel[dict[str, Any]]
        came, up = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[0] = came
        self.fleet.nursery.start_soon(self._read, self._process, name=f"read {self.name}")
        hello = await self._answer(up, "start", START_LIMIT)
        self.peer, self.addresses = hello["peer"], hello["addresses"]

    def kill(self) -> None:
        """SIGKILL: no farewell, nothing flushed."""
        self.fleet.note(f"kill {self.name}")
        self.process.kill()

    def freeze(self) -> None:
        """A laptop whose lid is closed: connections stay, nothing answers."""
        self.fleet.note(f"freeze {self.name}")
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.fleet.note(f"thaw {self.name}")
        self.process.send_signal(signal.SIGCONT)

    async def stop(self) -> None:
        """Told to exit, and waited for."""
        self.fleet.note(f"stop {self.name}")
        await self.call("stop")
        with trio.move_on_after(10):
            await self.process.wait()
            return
        raise WorkerError(f"{self.name} does not exit when told to:\n{self.last_words()}")

    async def end(self) -> None:
        """Gone, whatever its state, and reaped."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.kill()  # reaches a stopped process too
        await self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                await stream.aclose()

    def last_words(self, lines: int = 15) -> str:
        try:
            text = self.log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(f"    {line}" for line in text.strip().splitlines()[-lines:])

    # ---------------------------------------------------------------- commands

    async def call(self, do: str, *, within: float = CALL_LIMIT, **arguments: Any) -> dict[str, Any]:
        """One command, one answer; `WorkerError` if it refuses, dies, or takes too long."""
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._waiting[number] = send
        line = json.dumps({"id": number, "do": do, **arguments}).encode() + b"\n"
        try:
            with trio.fail_after(within):
                async with self._writing:
                    assert self.process.stdin is not None
                    await self.process.stdin.send_all(line)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            await trio.sleep(0.1)  # for the exit code
            raise WorkerError(self._died(do)) from None
        except trio.TooSlowError:
            raise WorkerError(f"{self.name} does not read commands") from None
        return await self._answer(receive, do, within, number)

    async def _answer(
        self, receive: trio.MemoryReceiveChannel[dict[str, Any]], do: str, within: float, number: int = 0
    ) -> dict[str, Any]:
        try:
            with trio.fail_after(within):
                answer = await receive.receive()
        except trio.EndOfChannel:
            raise WorkerError(self._died(do)) from None
        except trio.TooSlowError:
            raise WorkerError(f"{self.name}: no answer to {do} in {within:.0f} s\n{self.last_words()}") from None
        finally:
            self._waiting.pop(number, None)
        if "error" in answer:
            raise WorkerError(f"{self.name}: {do}: {answer['error']}")
        result: dict[str, Any] = answer["ok"]
        return result

    def _died(self, do: str) -> str:
        code = self.process.returncode
        return f"{self.name} ended ({code}) during {do}; its last words:\n{self.last_words()}"

    async def _read(self, process: trio.Process) -> None:
        """Hand each answer to whoever waits for it; when the process ends, all who wait learn that."""
        assert process.stdout is not None
        buffer = b""
        try:
            while data := await process.stdout.receive_some(1 << 20):
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    answer = json.loads(line)
                    waiting = self._waiting.get(answer["id"])
                    if waiting is not None:
                        waiting.send_nowait(answer)
                if len(buffer) > _LINE_LIMIT:
                    raise WorkerError(f"{self.name} writes a line without end")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        await process.wait()
        self.ended.set()
        for waiting in list(self._waiting.values()):
            waiting.close()

    # ---------------------------------------------------------------- what the system knows

    def usage(self) -> Usage:
        folder = Path(f"/proc/{self.process.pid}")
        fields = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
        ticks = int(fields[11]) + int(fields[12])
        return Usage(
            cpu=ticks / os.sysconf("SC_CLK_TCK"),
            rss=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
            files=len(list((folder / "fd").iterdir())),
            threads=int(fields[17]),
        )

    async def held(self) -> dict[Author, set[int]]:
        """What it received since `reset`, by author."""
        report = await self.call("report")
        return {Author(int(author)): expand(pairs) for author, pairs in report["held"].items()}


class Fleet:
    """The workers of one run. Made by `open_fleet`."""

    def __init__(self, folder: Path, seed: int, nursery: trio.Nursery) -> None:
        self.folder = folder
        self.seed = seed
        self.nursery = nursery
        self.random = random.Random(seed)
        self.topic_seed = hashlib.sha256(f"topic {seed}".encode()).digest()
        self.workers: list[Worker] = []
        self._began = time.monotonic()
        self._notes: list[str] = []
        self._commands: dict[str, list[str]] = {}

    def note(self, what: str) -> None:
        self._notes.append(f"{time.monotonic() - self._began:8.2f} s  {what}")

    def story(self) -> str:
        """What was done to whom, for the message of a failure."""
        return "\n".join([f"fleet of seed {self.seed} in {self.folder}:", *self._notes])

    async def command(self, kind: str) -> list[str]:
        """What starts a worker of this kind, built or installed if need be."""
        if kind not in self._commands:
            self._commands[kind] = await trio.to_thread.run_sync(COMMANDS[kind])
        return self._commands[kind]

    async def start(self, *kinds: str, **settings: Any) -> list[Worker]:
        """One worker for each kind, all at once; `settings` go to all of them."""
        made = [Worker(self, kind, len(self.workers) + i, settings) for i, kind in enumerate(kinds)]
        self.workers += made
        for kind in dict.fromkeys(kinds):
            await self.command(kind)
        async with trio.open_nursery() as nursery:
            for worker in made:
                nursery.start_soon(worker.start)
        return made

    async def connect(self, links: Iterable[tuple[Worker, Worker]]) -> None:
        """The first of each pair is told to keep the second."""
        async with trio.open_nursery() as nursery:
            for one, other in links:
                nursery.start_soon(_connect, one, other)

    async def connect_all(self, degree: int | None = None) -> None:
        """Everybody with everybody; or a ring and chords, so that each keeps about `degree` others."""
        await self.connect(self.links(self.workers, degree))

    def links(self, workers: Sequence[Worker], degree: int | None = None) -> list[tuple[Worker, Worker]]:
        pairs = list(itertools.combinations(workers, 2))
        if degree is None or degree >= len(workers) - 1:
            return pairs
        ring = [(workers[i - 1], worker) for i, worker in enumerate(workers)]
        others = [pair for pair in pairs if pair not in ring and pair[::-1] not in ring]
        chords = self.random.sample(others, max(0, len(workers) * degree // 2 - len(ring)))
        return ring + chords

    async def join_all(self, *, ready: int | None = None, within: float = 20.0) -> None:
        """Join the fleet's topic everywhere, and wait until each sees `ready` others in it."""
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(worker.call, "join")
        wanted = len(self.workers) - 1 if ready is None else ready
        async with trio.open_nursery() as nursery:
            for worker in self.workers:
                nursery.start_soon(self.sees, worker, wanted, within)

    async def sees(self, worker: Worker, others: int, within: float = 20.0) -> None:
        """Wait until this worker has so many others in its topic."""
        seen = -1
        with trio.move_on_after(within):
            while seen < others:
                seen = (await worker.call("neighbors"))["count"]
                if seen < others:
                    await trio.sleep(0.05)
            return
        raise WorkerError(f"{worker.name} sees {seen} others in the topic, not {others}, after {within:.0f} s")

    async def call_all(self, do: str, **arguments: Any) -> list[dict[str, Any]]:
        """The same command to everybody at once; the answers in order."""
        answers: list[dict[str, Any]] = [{} for _ in self.workers]

        async def one(i: int, worker: Worker) -> None:
            answers[i] = await worker.call(do, **arguments)

        async with trio.open_nursery() as nursery:
            for i, worker in enumerate(self.workers):
                nursery.start_soon(one, i, worker)
        return answers


async def _connect(one: Worker, other: Worker) -> None:
    await one.call("keep", peer=other.peer, addresses=other.addresses)


@asynccontextmanager
async def open_fleet(folder: Path, *, seed: int) -> AsyncIterator[Fleet]:
    """A fleet without workers yet. When the block raises, what was done to it is added to the error."""
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - before anything runs
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        fleet = Fleet(folder, seed, nursery)
        try:
            yield fleet
        except Exception as error:  # noqa: BLE001 - raised below, not wrapped in the nursery's group
            error.add_note(fleet.story())
            failure = error
        finally:
            with trio.CancelScope(shield=True):
                for worker in fleet.workers:
                    await worker.end()
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure
