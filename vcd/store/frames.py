"""Frames of the mesh on the same disk: what `transport.base.FrameStore` asks for.

Frames are what any relay may hold, so they are not sealed; who has the disk sees topics and ciphertext, as somebody on
the network would. They are authenticated: each row has two tags under a key of the vault, one for its place (topic, id,
expiry) and one for its bytes, so that a damaged page is found here and not by a peer. A frame that is missing is not
noticed, and need not be: the mesh brings it again.

A frame that came is *undigested* until what came of it is stored, in one transaction with that. So nothing is lost by
being killed between the two.

This room imports nothing of `transport`. `make` builds its frames: whoever puts things together passes
`transport.base.Frame`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from hashlib import blake2b
from hmac import compare_digest
from typing import Any, Final, Generic, Protocol, TypeVar

import trio

from vcd.store.names import Keys
from vcd.store.rooms import Reader, Tx
from vcd.store.rows import one, select
from vcd.store.trouble import corrupt
from vcd.store.worker import Worker

__all__ = ["Frames"]

_BATCH: Final = 1000
_ASKED: Final = 200
_GOING: Final = 500


class _Frame(Protocol):
    @property
    def id(self) -> bytes: ...
    @property
    def topic(self) -> bytes: ...
    @property
    def expires(self) -> int: ...
    @property
    def head(self) -> bytes: ...
    @property
    def payload(self) -> bytes: ...


F = TypeVar("F", bound=_Frame)


def _tag(keys: Keys, kind: bytes, *parts: bytes) -> bytes:
    hasher = blake2b(key=keys.frames, digest_size=16, person=kind)
    for part in parts:
        hasher.update(len(part).to_bytes(4))
        hasher.update(part)
    return hasher.digest()


def _place_tag(keys: Keys, topic: bytes, frame: bytes, expires: int) -> bytes:
    return _tag(keys, b"place", topic, frame, expires.to_bytes(8))


def _add(tx: Tx, frames: Sequence[F]) -> list[Any]:
    new = []
    for each in frames:
        tags = _place_tag(tx.keys, each.topic, each.id, each.expires) + _tag(
            tx.keys, b"bytes", each.id, each.head, each.payload
        )
        done = tx.db.execute(
            "INSERT INTO frames (topic, frame, expires, tags, head, payload) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (topic, frame) DO NOTHING",
            (each.topic, each.id, each.expires, tags, each.head, each.payload),
        )
        if done.rowcount == 1:
            new.append(each.id)
    return new


def digest(tx: Tx, frames: Sequence[tuple[bytes, bytes]]) -> None:
    """These were looked at, and what came of them is in this transaction."""
    for each in frames:
        topic, frame = each
        tx.db.execute("UPDATE frames SET digested = 1 WHERE topic = ? AND frame = ?", (topic, frame))


def put_back(tx: Tx, frames: Sequence[tuple[bytes, bytes]]) -> None:
    """Nothing came of these after all: they are to be looked at again."""
    for each in frames:
        tx.db.execute("UPDATE frames SET digested = 0 WHERE topic = ? AND frame = ?", each)


def _undigested(reader: Reader, after: int) -> tuple[list[tuple[bytes, bytes]], int]:
    rows = reader.db.execute(
        "SELECT id, topic, frame FROM frames WHERE digested = 0 AND id > ? ORDER BY id LIMIT ?",
        (after, _BATCH),
    ).fetchall()
    return [(topic, frame) for _, topic, frame in rows], rows[-1][0] if rows else after


def _entries(reader: Reader, topic: bytes, after: bytes) -> list[tuple[int, bytes]]:
    rows = select(
        reader.db,
        "ibb",
        "SELECT expires, frame, substr(tags, 1, 16) FROM frames WHERE topic = ? AND frame > ? ORDER BY frame LIMIT ?",
        (topic, after, _BATCH),
    )
    found = []
    for expires, frame, tag in rows:
        if not compare_digest(tag, _place_tag(reader.keys, topic, frame, expires)):
            raise corrupt("a frame is not where it belongs")
        found.append((expires, frame))
    return found


def _fetch(reader: Reader, make: Callable[..., F], topic: bytes, ids: Sequence[bytes]) -> list[F]:
    found = []
    for frame in ids:
        row = one(
            reader.db,
            "ibbb",
            "SELECT expires, tags, head, payload FROM frames WHERE topic = ? AND frame = ?",
            (topic, frame),
        )
        if row is None:
            continue
        expires, tags, head, payload = row
        wanted = _place_tag(reader.keys, topic, frame, expires) + _tag(reader.keys, b"bytes", frame, head, payload)
        if not compare_digest(tags, wanted):
            raise corrupt("a frame is damaged")
        found.append(make(id=frame, topic=topic, expires=expires, head=head, payload=payload))
    return found


def _expire(tx: Tx, before: int) -> bool:
    # Some at a time: a commit must not wait behind a month of frames.
    done = tx.db.execute(
        "DELETE FROM frames WHERE id IN (SELECT id FROM frames WHERE expires < ? LIMIT ?)", (before, _GOING)
    )
    return done.rowcount == _GOING


def _drop(tx: Tx, topic: bytes) -> bool:
    done = tx.db.execute(
        "DELETE FROM frames WHERE id IN (SELECT id FROM frames WHERE topic = ? LIMIT ?)", (topic, _GOING)
    )
    return done.rowcount == _GOING


class Frames(Generic[F]):
    """The frames of a store that is open."""

    def __init__(self, reader: Worker[Reader], write: Callable[..., Any], make: Callable[..., F]) -> None:
        self._reader = reader
        self._write = write
        self._make = make

    async def add(self, frames: Sequence[F]) -> Sequence[Any]:
        kept = list(frames)
        if not kept:
            await trio.lowlevel.checkpoint()
            return []
        new: list[Any] = await self._write(lambda tx: _add(tx, kept))
        return new

    async def entries(self, topic: bytes) -> AsyncIterator[Sequence[tuple[Any, Any]]]:
        after = b""
        while True:
            batch = await self._reader.run(partial(_entries, topic=topic, after=after), keep=False)
            if batch:
                yield batch
            if len(batch) < _BATCH:
                return
            after = batch[-1][1]

    async def fetch(self, topic: bytes, ids: Sequence[bytes]) -> Sequence[F]:
        found: list[F] = []
        asked = list(ids)
        await trio.lowlevel.checkpoint()
        # In parts, each a read of its own: nobody else waits behind thousands of large frames.
        for start in range(0, len(asked), _ASKED):
            part = asked[start : start + _ASKED]
            found += await self._reader.run(partial(_fetch, make=self._make, topic=topic, ids=part), keep=False)
        return found

    async def undigested(self) -> AsyncIterator[F]:
        """Frames that were stored and not looked at (`Batch.digested`), in the order in which they came.

        The mesh brings a frame once; whoever was killed between its coming and what came of it finds it here.
        """
        async for topic, frame in self.left_over():
            for each in await self.fetch(topic, [frame]):
                yield each

    async def left_over(self) -> AsyncIterator[tuple[bytes, bytes]]:
        """The same: the topic and the id of each."""
        after = 0
        while True:
            places, after = await self._reader.run(partial(_undigested, after=after), keep=False)
            for each in places:
                yield each
            if len(places) < _BATCH:
                return

    async def expire(self, before: int) -> None:
        while await self._write(lambda tx: _expire(tx, before)):
            await trio.lowlevel.checkpoint()

    async def drop(self, topic: bytes) -> None:
        while await self._write(lambda tx: _drop(tx, topic)):
            await trio.lowlevel.checkpoint()
