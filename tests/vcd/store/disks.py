"""Stores for tests, what is in them, and copies of their files."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from vcd.core.record import encode_as
from vcd.store import Batch, ChatMessage, Entry, NewEntry, NewMessage, Row, Store, open_store
from vcd.vault import KeyFile, Vault

NAME = "store.db"
DAY = 86_400_000
NOW = 20_000 * DAY


def vault_in(folder: Path) -> Vault:
    """The vault of a folder, a new one if there is none."""
    unlocker = KeyFile(folder / "key")
    path = folder / "vault"
    return Vault.open(path, unlocker) if path.exists() else Vault.create(path, unlocker)


@asynccontextmanager
async def opened(folder: Path, **how: Any) -> AsyncIterator[Store]:
    """The store of a folder, made if it is not there."""
    how.setdefault("create", not (folder / NAME).exists())
    async with open_store(folder / NAME, vault_in(folder), **how) as store:
        yield store


def image(folder: Path, copy: Path) -> Path:
    """What a power cut would leave, now: the files as they are, without what SQLite holds in shared memory."""
    copy.mkdir()
    for name in ("key", "vault", NAME, NAME + "-wal"):
        if (folder / name).exists():
            shutil.copyfile(folder / name, copy / name)
            (copy / name).chmod(0o600)
    return copy


def under(name: bytes, number: int = 0) -> Row:
    """A row that the core wants sealed under this name."""
    return "outbox", encode_as(bytes, name) + encode_as(int, number)


def own(number: int) -> Row:
    """A row that is sealed under the store's own key."""
    return "state", b"%d" % number


def entry(number: int = 0, *, at: int = NOW, kind: str = "msg.received", chat: bytes | None = b"tea") -> NewEntry:
    return NewEntry(at_ms=at, type=kind, chat=chat, data={"number": number})


def message(number: int, *, chat: bytes = b"tea", entry: int = 0, data: bytes = b"") -> NewMessage:
    return NewMessage(
        entry=entry,
        chat=chat,
        content=b"content %d" % number,
        sender=b"anna",
        ours=number % 2 == 0,
        device=b"laptop" if number % 2 == 0 else None,
        said_at=NOW + number,
        data=data or b"said %d" % number,
        media="text/plain",
        fate="sent",
    )


def said(number: int, *, chat: bytes = b"tea", at: int = NOW, data: bytes = b"") -> Batch:
    """A message, as a batch of its own."""
    return Batch(entries=[entry(number, at=at, chat=chat)], history=[message(number, chat=chat, data=data)])


async def all_entries(store: Store, *, most: int = 1000) -> list[Entry]:
    found: list[Entry] = []
    after = store.journal.floor - 1
    while after < store.journal.last:
        page = await store.journal.read(after, most)
        assert page.next > after
        found += page.entries
        after = page.next
    return found


async def all_messages(store: Store, chats: Sequence[bytes] = (b"tea",)) -> list[ChatMessage]:
    found: list[ChatMessage] = []
    for chat in chats:
        after = 0
        while True:
            part = await store.history.list(chat, after=after, most=100)
            found += part.messages
            if not part.more:
                break
            after = part.messages[-1].seq
    return found
