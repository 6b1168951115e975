"""The messages of chats, as people read them: for `msg.list`.

A message is stored by the batch with its entry in the journal, and its number is that entry's, so a chat is in the
order in which its messages were shown. It is sealed under a key for its chat and the day it came on; a chat's retention
deletes the oldest days, and their keys. All chats together have a bound in bytes (`trim`), by which the oldest messages
of the chat that has the most give way: who floods one chat does not empty another.

A message that is deleted goes from here and from the journal: its entry keeps its place and loses its data. One key
may then still be there for others of that day, so what was deleted alone is as gone as `secure_delete` makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from vcd.store import journal
from vcd.store.ledger import mark
from vcd.store.names import Keys
from vcd.store.packing import pack, unpack
from vcd.store.rooms import Reader, Tx
from vcd.store.rows import one, select
from vcd.store.trouble import corrupt
from vcd.store.values import (
    LARGEST,
    PAGE_BYTES,
    PAGE_ITEMS,
    Batch,
    ChatMessage,
    DeleteMessage,
    Messages,
    NewFate,
    NewMessage,
)
from vcd.store.worker import Worker
from vcd.vault.sealing import open_sealed, place

__all__ = ["History", "check", "write"]

_AT_ONCE: Final = 250
_COUNTED: Final = 10_000
_STEPS: Final = 64
"""In so many steps at most do chats of one size give way in turn."""


def check(batch: Batch) -> None:
    """Before it waits in a queue, where only this one task is bothered."""
    for item in batch.history:
        if isinstance(item, NewMessage):
            if not 0 <= item.entry < len(batch.entries):
                raise ValueError("a message names an entry of its own batch")
            if len(item.data) > LARGEST:
                raise ValueError("a message is too large for the history")


def _place(seq: int) -> bytes:
    return place("history", seq.to_bytes(8), "message", 1)


def _chat(keys: Keys, chat: bytes) -> int:
    return keys.number("chat", chat)


def _name(keys: Keys, chat: bytes, content: bytes) -> bytes:
    return keys.blind("message", chat, content)


def _packed(message: ChatMessage) -> bytes:
    return pack(
        (
            message.at_ms,
            message.chat,
            message.content,
            message.sender,
            message.ours,
            message.device,
            message.said_at,
            message.data,
            message.media,
            message.fate,
        ),
        "a message",
    )


def _unpacked(seq: int, data: bytes) -> ChatMessage:
    return ChatMessage(seq, *unpack(data))


# ---------------------------------------------------------------- in the writer


def write(tx: Tx, batch: Batch, first: int) -> None:
    """`first` is the number that the batch's first entry got."""
    for item in batch.history:
        match item:
            case NewMessage():
                _add(tx, item, first + item.entry, batch.entries[item.entry].at_ms)
            case NewFate():
                _change(tx, item)
            case DeleteMessage():
                _delete(tx, _name(tx.keys, item.chat, item.content))


def _add(tx: Tx, new: NewMessage, seq: int, at_ms: int) -> None:
    """The same message again changes nothing: the first one stays."""
    name = _name(tx.keys, new.chat, new.content)
    if tx.db.execute("SELECT 1 FROM history WHERE message = ?", (name,)).fetchone() is not None:
        return
    message = ChatMessage(
        seq,
        at_ms,
        new.chat,
        new.content,
        new.sender,
        new.ours,
        new.device,
        new.said_at,
        new.data,
        new.media,
        new.fate,
    )
    named = tx.names.of(tx.db, tx.sealer, "history", new.chat, tx.ledger.day_of(at_ms).to_bytes(8))
    sealed = tx.sealer.seal(named.key, _place(seq), _packed(message))
    chat = _chat(tx.keys, new.chat)
    tx.db.execute(
        "INSERT INTO history (seq, chat, message, key, sealed) VALUES (?, ?, ?, ?, ?)",
        (seq, chat, name, named.id, sealed),
    )
    tx.added("history", mark(seq, name, chat), sealed)


def _found(tx: Tx, name: bytes) -> tuple[int, int, bytes, int] | None:
    row = one(tx.db, "iibi", "SELECT seq, key, sealed, chat FROM history WHERE message = ?", (name,))
    return None if row is None else (row[0], row[1], row[2], row[3])


def _change(tx: Tx, new: NewFate) -> None:
    name = _name(tx.keys, new.chat, new.content)
    found = _found(tx, name)
    if found is None:
        return
    seq, number, old, chat = found
    key = tx.names.numbered(tx.db, number)
    fields = unpack(open_sealed(key, _place(seq), old))
    sealed = tx.sealer.seal(key, _place(seq), pack((*fields[:-1], new.fate), "a message"))
    tx.db.execute("UPDATE history SET sealed = ? WHERE seq = ?", (sealed, seq))
    tx.took("history", mark(seq, name, chat), old, len(old))
    tx.added("history", mark(seq, name, chat), sealed)


def _delete(tx: Tx, name: bytes) -> None:
    found = _found(tx, name)
    if found is None:
        return
    seq, number, old, chat = found
    tx.db.execute("DELETE FROM history WHERE seq = ?", (seq,))
    tx.took("history", mark(seq, name, chat), old, len(old))
    tx.names.emptied("history", number)
    journal.redact(tx, seq)


def _expire(tx: Tx, chat: bytes, before_ms: int | None) -> tuple[int, bool]:
    """The oldest messages of a chat, some at a time: how many went, and whether there may be more."""
    went = 0
    query = "SELECT seq, message, key, sealed FROM history WHERE chat = ? ORDER BY seq LIMIT ?"
    oldest = list(select(tx.db, "inib", query, (_chat(tx.keys, chat), _AT_ONCE)))
    for seq, name, number, sealed in oldest:
        message = _unpacked(seq, open_sealed(tx.names.numbered(tx.db, number), _place(seq), sealed))
        if message.chat != chat:
            continue
        if before_ms is not None and message.at_ms >= before_ms:
            return went, False
        _delete(tx, name)
        went += 1
    return went, len(oldest) == _AT_ONCE


def _trim(tx: Tx, chat: int, share: int, most: int) -> tuple[int, int]:
    """The oldest messages of a chat, some at a time, until so many bytes of it went, or few enough are left of all.

    Gives how many went, and their bytes.
    """
    went = size = 0
    query = "SELECT message, length(sealed) FROM history WHERE chat = ? ORDER BY seq LIMIT ?"
    for name, length in list(select(tx.db, "ni", query, (chat, _AT_ONCE))):
        if size >= share or _bytes(tx) <= most:
            break
        _delete(tx, name)
        went += 1
        size += length
    return went, size


def _bytes(tx: Tx) -> int:
    return tx.ledger.tallies["history"].bytes


# ---------------------------------------------------------------- in the reader


def _list(reader: Reader, chat: bytes, before: int | None, after: int | None, most: int) -> Messages:
    most = max(1, min(most, PAGE_ITEMS))
    # A client may send any number; SQLite knows those of 64 bits.
    span = (min(max(after or 0, 0), _END), min(before if before is not None else _END, _END))
    forward = after is not None
    last = reader.ledger().last
    messages: list[ChatMessage] = []
    size = 0
    more = False
    query = _FORWARD if forward else _BACKWARD
    before_this = span[0] if forward else span[1]
    for seq, name, number, sealed in select(reader.db, "inib", query, (_chat(reader.keys, chat), *span)):
        if len(messages) >= most or size >= PAGE_BYTES:
            more = True
            break
        message = _unpacked(seq, open_sealed(reader.key(number), _place(seq), sealed))
        if message.chat != chat:
            continue
        ordered = before_this < seq if forward else seq < before_this
        if seq > last or not ordered or name != _name(reader.keys, chat, message.content):
            raise corrupt("a message is not where it belongs")
        before_this = seq
        messages.append(message)
        size += len(sealed)
    return Messages(messages if forward else messages[::-1], more)


def _sizes(reader: Reader, after: int) -> tuple[dict[int, int], int | None]:
    """What some messages take, by chat, and behind which one to go on."""
    sizes: dict[int, int] = {}
    query = "SELECT seq, chat, length(sealed) FROM history WHERE seq > ? ORDER BY seq LIMIT ?"
    count = 0
    for seq, chat, length in select(reader.db, "iii", query, (after, _COUNTED)):
        sizes[chat] = sizes.get(chat, 0) + length
        count, after = count + 1, seq
    return sizes, after if count == _COUNTED else None


_END: Final = (1 << 63) - 1
_FORWARD: Final = "SELECT seq, message, key, sealed FROM history WHERE chat = ? AND seq > ? AND seq < ? ORDER BY seq"
_BACKWARD: Final = _FORWARD + " DESC"


def _one(reader: Reader, chat: bytes, content: bytes) -> ChatMessage | None:
    query = "SELECT seq, key, sealed FROM history WHERE message = ?"
    row = one(reader.db, "iib", query, (_name(reader.keys, chat, content),))
    return None if row is None else _unpacked(row[0], open_sealed(reader.key(row[1]), _place(row[0]), row[2]))


# ---------------------------------------------------------------- for tasks


class History:
    """The history of a store that is open. What adds to it are the batches of `Store.commit`."""

    def __init__(self, reader: Worker[Reader], write: Callable[..., Any]) -> None:
        self._reader = reader
        self._write = write

    async def list(
        self, chat: bytes, *, before: int | None = None, after: int | None = None, most: int = 50
    ) -> Messages:
        """Messages of a chat in order: the first ones behind `after`, or else the last ones, before `before` if given.

        With both, those behind `after` that are before `before`.
        """
        return await self._reader.run(lambda reader: _list(reader, chat, before, after, most), keep=False)

    async def find(self, chat: bytes, content: bytes) -> ChatMessage | None:
        return await self._reader.run(lambda reader: _one(reader, chat, content), keep=False)

    async def expire(self, chat: bytes, before_ms: int) -> int:
        """Let go of a chat's messages that came before this time. Gives how many."""
        return await self._go(lambda tx: _expire(tx, chat, before_ms))

    async def trim(self, most: int) -> int:
        """Let go of the oldest messages of whichever chat has the most, until all have at most so many bytes.

        Gives how many.
        """
        total = 0
        sizes: dict[int, int] | None = None
        while (over := await self._write(_bytes) - most) > 0:
            if sizes is None:
                sizes = await self._by_chat()
            if not sizes:
                break  # what came since then is of the next time
            chat = max(sizes, key=lambda each: (sizes[each], each))
            others = max((size for each, size in sizes.items() if each != chat), default=0)
            share = max(sizes[chat] - others, over // _STEPS, 1)
            went, size = await self._write(partial(_trim, chat=chat, share=share, most=most))
            total += went
            sizes[chat] -= size
            if not went or sizes[chat] <= 0:
                del sizes[chat]
        return total

    async def _by_chat(self) -> dict[int, int]:
        """What each chat takes, by its number. In parts: other reads are not to wait."""
        sizes: dict[int, int] = {}
        after: int | None = 0
        while after is not None:
            some, after = await self._reader.run(partial(_sizes, after=after), keep=False)
            for chat, size in some.items():
                sizes[chat] = sizes.get(chat, 0) + size
        return sizes

    async def forget(self, chat: bytes) -> int:
        """Let go of all messages of a chat."""
        return await self._go(lambda tx: _expire(tx, chat, None))

    async def delete(self, messages: Sequence[DeleteMessage]) -> None:
        """Let go of these, together; the same in a batch does it together with other things."""

        def apply(tx: Tx) -> None:
            for each in messages:
                _delete(tx, _name(tx.keys, each.chat, each.content))

        await self._write(apply)

    async def _go(self, some: Callable[[Tx], tuple[int, bool]]) -> int:
        total, more = 0, True
        while more:
            went, more = await self._write(some)
            total += went
        return total
