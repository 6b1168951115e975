"""A process that is one node and does as it is told: a JSON line in, a JSON line out, several at a time.

What a node is, `ours` and `raw` say; publishing at a rate, counting what came and writing it down are the same
for both and live here. Each frame of the fleet that comes in is written to a journal, nine bytes with one write
of the operating system, so that the record of a process that is killed is complete up to that moment. The
journal outlives it, and each entry says in which life it was made.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import trio

from tests.mesh.load import Author, Tally, build

Answer = dict[str, Any]
Command = Callable[[dict[str, Any]], Awaitable[Answer]]

_ENTRY = struct.Struct(">BII")


class Node(Protocol):
    """What each kind of worker brings."""

    peer: str
    addresses: list[str]
    commands: Mapping[str, Command]

    async def keep(self, peer: str, addresses: list[str]) -> None: ...

    async def join(self) -> None: ...

    async def publish(self, payload: bytes) -> None: ...

    def neighbors(self) -> int:
        """How many others are known to take part in the topic."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One arrival, as the journal has it."""

    life: int
    author: Author
    number: int


class Journal:
    """What came in, over all lives."""

    def __init__(self, path: Path, life: int) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._life = life

    def write(self, author: Author, number: int) -> None:
        os.write(self._file, _ENTRY.pack(self._life, author, number))


def read_journal(path: Path) -> list[Entry]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    whole = data[: len(data) - len(data) % _ENTRY.size]
    return [Entry(life=life, author=Author(who), number=number) for life, who, number in _ENTRY.iter_unpack(whole)]


@dataclass(slots=True)
class Book:
    """The counting of one process. Nodes call `arrived`."""

    author: Author
    journal: Journal
    tally: Tally = field(default_factory=Tally)
    mine: set[int] = field(default_factory=set)  # numbers of our own that need not be published again

    def arrived(self, payload: bytes) -> None:
        known = self.tally.add(payload)
        if known is not None:
            self.journal.write(*known)


def book(config: Mapping[str, Any]) -> Book:
    author = Author(config["author"])
    return Book(author=author, journal=Journal(Path(config["journal"]), config["life"]))


async def publish(node: Node, book: Book, order: dict[str, Any]) -> Answer:
    """`count` payloads of `size` bytes from number `first`, `rate` a second or as fast as the node takes them.

    What was published before is left out, so a harness may simply ask again after it killed the process.
    """
    size, first, rate = order["size"], order.get("first", 0), order.get("rate", 0)
    left = [number for number in range(first, first + order["count"]) if number not in book.mine]
    began, worked = trio.current_time(), time.process_time()
    started = time.monotonic()
    for i, number in enumerate(left):
        if rate:
            await trio.sleep_until(began + i / rate)
        await node.publish(build(book.author, number, size))
        book.mine.add(number)
        if not rate:
            await trio.lowlevel.checkpoint()
    return {
        "published": len(left),
        "seconds": time.monotonic() - started,
        "cpu": time.process_time() - worked,
        "started": started,
    }


async def obey(node: Node, book: Book) -> None:
    """Answer commands until told to stop, or until nobody is there to give any."""

    async def reset(order: dict[str, Any]) -> Answer:
        book.tally = Tally()
        book.mine.clear()
        return {}

    async def keep(order: dict[str, Any]) -> Answer:
        await node.keep(order["peer"], order["addresses"])
        return {}

    async def join(order: dict[str, Any]) -> Answer:
        await node.join()
        return {}

    async def report(order: dict[str, Any]) -> Answer:
        return book.tally.report()

    async def neighbors(order: dict[str, Any]) -> Answer:
        return {"count": node.neighbors()}

    commands: dict[str, Command] = {
        "reset": reset,
        "keep": keep,
        "join": join,
        "report": report,
        "neighbors": neighbors,
        "publish": lambda order: publish(node, book, order),
        **node.commands,
    }
    # Standard output is given away: a library that prints must not break the lines.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def say(line: Answer) -> None:
        out.write(json.dumps(line).encode() + b"\n")

    async def one(order: dict[str, Any]) -> None:
        try:
            command = commands.get(order["do"])
            if command is None:
                say({"id": order["id"], "error": f"a worker of this kind does not know {order['do']}"})
                return
            say({"id": order["id"], "ok": await command(order)})
        except Exception as error:  # noqa: BLE001 - whatever it is, the harness is told
            say({"id": order["id"], "error": f"{type(error).__name__}: {error}"})

    async with trio.open_nursery() as nursery:
        say({"id": 0, "ok": {"peer": node.peer, "addresses": node.addresses}})
        orders = trio.lowlevel.FdStream(os.dup(0))
        buffer = b""
        while data := await orders.receive_some(65536):
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                order = json.loads(line)
                if order["do"] == "stop":
                    say({"id": order["id"], "ok": {}})
                    nursery.cancel_scope.cancel()
                    return
                nursery.start_soon(one, order)
        nursery.cancel_scope.cancel()


def configuration() -> dict[str, Any]:
    """The one argument of a worker."""
    config: dict[str, Any] = json.loads(sys.argv[1])
    return config
