"""The log of events, as it is handed to those who want to hear of it.

Events are on disk before anybody hears of them, in a log without gaps (`Journal`). So nothing here has to keep what a
slow reader did not take: it is read again. What many want at once, the newest, is read once and kept encoded for a
while (`Tail`); who is further behind reads the disk page by page.

A *cursor* is the seq after which somebody reads on. On the wire it is the seq that comes next, one more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from vcd.rpc import wire
from vcd.rpc.errors import Failure
from vcd.rpc.info import Info
from vcd.rpc.params import nearest
from vcd.rpc.table import EVENTS

AT_ONCE = 256
"""Entries that are read from the disk at once."""
PAGE_BYTES = 1024 * 1024
"""Where a page of events ends early."""
ROOM = 1024
"""Bytes of a message beside what an event says."""
KEPT = 4096
"""Of the newest entries, in memory."""
KEPT_SECONDS = 10.0
KEPT_BYTES = 8 * 1024 * 1024


class JournalEntry(Protocol):
    """Something that happened."""

    @property
    def seq(self) -> int: ...
    @property
    def at_ms(self) -> int: ...
    @property
    def type(self) -> str: ...
    @property
    def chat(self) -> bytes | None: ...
    @property
    def data(self) -> Any: ...


class JournalPage(Protocol):
    """Some of it, and the cursor behind everything that was looked at."""

    @property
    def entries(self) -> Sequence[JournalEntry]: ...
    @property
    def next(self) -> int: ...


class Journal(Protocol):
    """What the store keeps. Its seqs begin at 1 and have no gaps."""

    @property
    def log_id(self) -> bytes: ...
    @property
    def floor(self) -> int:
        """The oldest seq that is there; one more than the last if there is none."""

    @property
    def last(self) -> int: ...
    async def read(
        self,
        after: int,
        most: int,
        types: frozenset[str] | None = None,
        chats: frozenset[bytes] | None = None,
    ) -> JournalPage: ...
    async def wait(self, after: int) -> None: ...
    async def ack(self, consumer: str, seq: int) -> None: ...
    def acked(self, consumer: str) -> int: ...


@dataclass(frozen=True, slots=True)
class Filter:
    """What somebody wants to hear of."""

    types: frozenset[str] | None
    chats: frozenset[bytes] | None

    def takes(self, entry: Kept) -> bool:
        if self.types is not None and entry.type not in self.types:
            return False
        return self.chats is None or entry.chat in self.chats


def wanted(types: Sequence[str] | None, chats: Sequence[bytes] | None) -> Filter:
    """A filter as a caller names it: `msg.*` is all of that noun."""
    names = None if types is None else frozenset(name for given in types for name in _named(given))
    return Filter(names, None if chats is None else frozenset(chats))


def _named(given: str) -> list[str]:
    if given.endswith(".*"):
        found = [name for name in EVENTS if name.startswith(given[:-1])]
    else:
        found = [given] if given in EVENTS else []
    if not found:
        near = nearest(given, EVENTS)
        hint = f"; maybe `{near}`" if near else ""
        raise Failure("E_PARAM_INVALID", f"There is no event `{given}`{hint}.", data={"path": "types"})
    return found


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry, encoded for everybody."""

    seq: int
    type: str
    chat: bytes | None
    body: bytes
    read: float
    """When, by the clock of trio."""


class Tail:
    """The newest entries, and who waits for more."""

    def __init__(self, journal: Callable[[], Journal], info: Info) -> None:
        self._journal = journal
        self._info = info
        self._kept: deque[Kept] = deque()
        self._bytes = 0
        self._waiting = trio.lowlevel.ParkingLot()
        self.open = False
        """Whether there is a log to read."""
        self.last = 0

    @property
    def journal(self) -> Journal:
        return self._journal()

    async def run(self) -> None:
        """Follow the log while the daemon is ready."""
        while True:
            await self._info.until("ready")
            self.last = self.journal.last
            self.open = True
            self._waiting.unpark_all()
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._follow)
                    await self._info.left("ready")
                    nursery.cancel_scope.cancel()
            finally:
                self.open = False
                self.forget()
                self._waiting.unpark_all()

    async def _follow(self) -> None:
        journal = self.journal
        while True:
            try:
                page = await journal.read(self.last, AT_ONCE)
            except Exception:
                if self.last + 1 >= journal.floor:
                    raise
                self.forget()  # what was not even read is gone
                self.last = journal.floor - 1
                continue
            for entry in page.entries:
                kept = self.encoded(journal, entry)
                self._kept.append(kept)
                self._bytes += len(kept.body)
                self.last = kept.seq
            self._trim()
            if page.entries:
                self._waiting.unpark_all()
            else:
                await journal.wait(self.last)

    def _trim(self) -> None:
        """What is kept is for those who are nearly there, and nothing of it survives its deletion for long."""
        floor, old = self.journal.floor, trio.current_time() - KEPT_SECONDS
        kept = self._kept
        while kept and (len(kept) > KEPT or self._bytes > KEPT_BYTES or kept[0].read < old or kept[0].seq < floor):
            self._bytes -= len(kept.popleft().body)

    def forget(self) -> None:
        """Something was deleted from the log: it is read anew."""
        self._kept.clear()
        self._bytes = 0

    @staticmethod
    def encoded(journal: Journal, entry: JournalEntry) -> Kept:
        fields = (entry.seq, journal.log_id, entry.type, entry.at_ms, entry.chat)
        body = wire.event_body(*fields, entry.data)
        if len(body) > wire.LIMIT - ROOM:
            body = wire.event_body(*fields, {"too_large": len(body)})
        return Kept(entry.seq, entry.type, entry.chat, body, trio.current_time())

    async def more(self, after: int) -> None:
        """Wait until there is something behind that cursor, or no log to read."""
        while self.open and self.last <= after:
            await self._waiting.park()

    async def page(self, after: int, chosen: Filter, most: int, *, newest: bool = False) -> tuple[list[Kept], int]:
        """What is wanted behind a cursor, as far as it is there, and where to read on.

        With `newest`, also what was written in this moment: whoever was just told of a seq finds it. Those who wait
        have it from the one task that reads for all.
        """
        self._trim()
        oldest = self._kept[0].seq if self._kept else self.last + 1
        if oldest <= after + 1 <= self.last:
            kept = (self._kept[each] for each in range(after + 1 - oldest, len(self._kept)))
            return self._cut(kept, self.last, chosen, most)
        journal = self.journal
        if after >= (journal.last if newest else self.last):
            return [], after
        try:
            page = await journal.read(after, min(most, AT_ONCE), chosen.types, chosen.chats)
        except Exception:
            if after + 1 < journal.floor:
                raise expired(journal.floor) from None
            raise
        return self._cut((self.encoded(journal, each) for each in page.entries), page.next, chosen, most)

    @staticmethod
    def _cut(entries: Any, end: int, chosen: Filter, most: int) -> tuple[list[Kept], int]:
        found: list[Kept] = []
        size = 0
        for entry in entries:
            if chosen.takes(entry):
                size += len(entry.body)
                if found and (len(found) >= most or size > PAGE_BYTES):
                    return found, found[-1].seq
                found.append(entry)
        return found, end


def expired(floor: int) -> Failure:
    return Failure("E_CURSOR_EXPIRED", f"Events before {floor} are not kept any more.", data={"floor": floor})


def begin(journal: Journal, from_: int | None, consumer: str | None, log_id: bytes | None) -> int:
    """The cursor that a caller means."""
    same_log(journal, log_id)
    if from_ is None and consumer is None:
        return journal.last
    if from_ is None:
        assert consumer is not None  # noqa: S101 - for mypy
        from_ = journal.acked(consumer) + 1
        if from_ == 1:
            return journal.floor - 1  # it acknowledged nothing yet: all that there is
    elif from_ == 0:
        return journal.floor - 1
    if from_ < journal.floor:
        raise expired(journal.floor)
    if from_ > journal.last + 1:
        raise Failure("E_CURSOR_AHEAD", f"The last event is {journal.last}.", data={"last": journal.last})
    return from_ - 1


def same_log(journal: Journal, log_id: bytes | None) -> None:
    if log_id is not None and log_id != journal.log_id:
        raise Failure("E_LOG_CHANGED", data={"log_id": journal.log_id})
