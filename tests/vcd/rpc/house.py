"""A server on real sockets, with a log in memory and handlers that a test makes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import trio

from vcd.rpc.calls import Call, Failures, Handler
from vcd.rpc.connection import Limits
from vcd.rpc.info import Info
from vcd.rpc.server import serve
from vcd.rpc.sockets import listen
from vcd.rpc.table import FUNCTIONS
from vcd.rpc.values import State

LOG = b"L" * 16
BOOT = b"B" * 16
CHAT = b"c" * 16


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    at_ms: int
    type: str
    chat: bytes | None
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    entries: list[Entry]
    next: int


class MemoryJournal:
    """A log as the store keeps it; what is below the floor is gone."""

    def __init__(self) -> None:
        self.log_id = LOG
        self.entries: list[Entry] = []
        self.floor = 1
        self.consumers: dict[str, int] = {}
        self.reads = 0
        self._lot = trio.lowlevel.ParkingLot()

    @property
    def last(self) -> int:
        return len(self.entries)

    def add(self, *, type: str = "msg.delivered", chat: bytes | None = CHAT, data: Any = None) -> int:  # noqa: A002
        seq = self.last + 1
        self.entries.append(Entry(seq, 1000 + seq, type, chat, {"chat": chat, "n": seq} if data is None else data))
        self._lot.unpark_all()
        return seq

    async def read(
        self,
        after: int,
        most: int,
        types: frozenset[str] | None = None,
        chats: frozenset[bytes] | None = None,
    ) -> Page:
        await trio.lowlevel.checkpoint()
        self.reads += 1
        if after + 1 < self.floor:
            raise LookupError(after)
        looked = self.entries[after : after + most]
        found = [
            each for each in looked if (types is None or each.type in types) and (chats is None or each.chat in chats)
        ]
        return Page(found, after + len(looked))

    async def wait(self, after: int) -> None:
        while self.last <= after:
            await self._lot.park()

    async def ack(self, consumer: str, seq: int) -> None:
        self.consumers[consumer] = max(seq, self.acked(consumer))

    def acked(self, consumer: str) -> int:
        return self.consumers.get(consumer, 0)


async def answers_example(call: Call, params: Any) -> Any:
    """A handler for anything: the example's result."""
    del params
    return FUNCTIONS[call.method].example[1]


class Wire:
    """A client with nothing but msgpack: what comes is a list, as it came."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=64 << 20)
        self.number = 0
        self.told: list[Any] = []
        self.answers: dict[int, Any] = {}

    async def send(self, *messages: Any) -> None:
        await self.stream.send_all(b"".join(msgpack.packb(each) for each in messages))

    async def read(self) -> Any:
        """The next message; None at the end."""
        while True:
            try:
                return self.unpacker.unpack()
            except msgpack.OutOfData:
                data = await self.stream.receive_some(65536)
                if not data:
                    return None
                self.unpacker.feed(data)

    async def begin(self, method: str, **params: Any) -> int:
        self.number += 1
        if "from_" in params:
            params["from"] = params.pop("from_")
        await self.send([0, self.number, method, [params]])
        return self.number

    async def end(self, number: int) -> tuple[Any, Any]:
        """The error and the result of a call."""
        while number not in self.answers:
            message = await self.read()
            assert message is not None, "the connection was closed"
            if message[0] == 1:
                self.answers[message[1]] = (message[2], message[3])
            else:
                self.told.append(message)
        found: tuple[Any, Any] = self.answers.pop(number)
        return found

    async def ask(self, method: str, **params: Any) -> Any:
        error, result = await self.end(await self.begin(method, **params))
        assert error is None, error
        return result

    async def refused(self, method: str, **params: Any) -> Any:
        error, result = await self.end(await self.begin(method, **params))
        assert result is None
        return error

    async def hear(self) -> Any:
        """The next notification."""
        while not self.told:
            message = await self.read()
            assert message is not None, "the connection was closed"
            if message[0] == 1:
                self.answers[message[1]] = (message[2], message[3])
            else:
                self.told.append(message)
        return self.told.pop(0)

    async def greet(self, name: str = "test") -> Any:
        return await self.ask("rpc.hello", client={"name": name})


@dataclass
class House:
    folder: Path
    journal: MemoryJournal
    info: Info
    requests: dict[bytes, Any]
    nursery: trio.Nursery

    @property
    def app(self) -> Path:
        return self.folder / "app.sock"

    @property
    def admin(self) -> Path:
        return self.folder / "admin.sock"

    @asynccontextmanager
    async def client(self, kind: str = "app", *, greet: bool = True) -> AsyncIterator[Wire]:
        stream = await connect(self.folder / f"{kind}.sock")
        async with stream:
            wire = Wire(stream)
            if greet:
                await wire.greet()
            yield wire


async def connect(path: Path) -> trio.SocketStream:
    sock = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
    await sock.connect(str(path))
    return trio.SocketStream(sock)


EXAMPLES: Mapping[str, Handler] = {
    "status.get": answers_example,
    "device.list": answers_example,
    "chat.list": answers_example,
    "msg.send": answers_example,
    "daemon.stop": answers_example,
}


@asynccontextmanager
async def opened(
    folder: Path,
    handlers: Mapping[str, Handler] = EXAMPLES,
    *,
    state: State = "ready",
    limits: Limits | None = None,
    failures: Failures | None = None,
    bound: float = 60,
) -> AsyncIterator[House]:
    """A server that is ready, until the block ends; in a test that is a minute at most."""
    journal, info = MemoryJournal(), Info(version="0.0", boot_id=BOOT, state=state)
    requests: dict[bytes, Any] = {}

    async def request(name: bytes) -> Any:
        await trio.lowlevel.checkpoint()
        return requests.get(name)

    with trio.fail_after(bound):
        async with trio.open_nursery() as nursery:

            async def run(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
                await serve(
                    [listen(folder / "app.sock", "app"), listen(folder / "admin.sock", "admin")],
                    handlers,
                    lambda: journal,
                    info,
                    requests=request,
                    failures=failures,
                    limits=limits,
                    task_status=task_status,
                )

            await nursery.start(run)
            yield House(folder, journal, info, requests, nursery)
            nursery.cancel_scope.cancel()
