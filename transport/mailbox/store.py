"""The disk with its tenants' quotas: what a mailbox's mesh is given as its store.

    async with MailboxStore.open(path, tenants, now_ms=now_ms) as store:
        mesh = ...  # with this store
        await Mailbox(mesh, store, now_ms=now_ms).run()

The mesh hands over every frame of a kept topic that it has checked. Here it is decided, in the transaction that
stores it, whether its tenant has room; see `transport.mailbox.keeps` for what becomes of one that does not fit.
How much room there is, is known between additions and read again after anything else has written.
"""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from transport.base import Frame, FrameId, Milliseconds, TopicId
from transport.mailbox import keeps
from transport.mailbox.disk import SWEEP, DiskStore
from transport.mailbox.tenants import Quota, Tenant

T = TypeVar("T")


class MailboxStore:
    """A `base.FrameStore` that declines what there is no room for."""

    def __init__(self, disk: DiskStore, tenants: Iterable[Tenant], now_ms: Callable[[], Milliseconds]) -> None:
        """Not for use before `list_tenants` ran in the file: see `open`."""
        self._disk = disk
        self._now_ms = now_ms
        self._rooms: dict[bytes, keeps.Room] = {}  # touched in the disk's thread alone
        self._quotas: dict[bytes, Quota] = {tenant.key: tenant.quota for tenant in tenants}
        self.quotas: Mapping[bytes, Quota] = self._quotas
        """Always the same mapping; what is in it changes in the disk's thread alone."""
        self.counted: Counter[str] = Counter()

    @classmethod
    @asynccontextmanager
    async def open(
        cls, path: str | os.PathLike[str], tenants: Sequence[Tenant], *, now_ms: Callable[[], Milliseconds]
    ) -> AsyncIterator[MailboxStore]:
        async with DiskStore.open(path) as disk:
            store = cls(disk, tenants, now_ms)
            await store.run(partial(keeps.list_tenants, tenants=tenants))
            yield store

    async def list_tenants(self, tenants: Sequence[Tenant]) -> None:
        """From now on these are the tenants; what is kept for others stays as it is, and is not for anybody."""
        new = {tenant.key: tenant.quota for tenant in tenants}

        def listing(db: sqlite3.Connection) -> None:
            keeps.list_tenants(db, tenants)
            # Within the transaction: no other one may see the file's tenants without their quotas.
            self._quotas.clear()
            self._quotas.update(new)

        before = dict(self._quotas)
        try:
            await self.run(listing, durable=True)
        except sqlite3.Error:
            self._quotas.clear()
            self._quotas.update(before)
            raise

    async def run(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """One transaction that may change anything but the rows of frames that come: see `DiskStore.run`."""

        def changing(db: sqlite3.Connection) -> T:
            self._rooms.clear()
            return work(db)

        return await self._disk.run(changing, durable=durable)

    async def add(self, frames: Sequence[Frame]) -> Sequence[FrameId]:
        now = self._now_ms()  # here, not in the thread: it may be a clock of this trio run

        def admitting(db: sqlite3.Connection) -> tuple[list[FrameId], int]:
            try:
                return keeps.admit(db, frames, self.quotas, self._rooms, now)
            except BaseException:
                self._rooms.clear()
                raise

        new, full = await self._disk.run(admitting)
        self.counted["mailbox.frames"] += len(new)
        self.counted["mailbox.declined"] += full
        return new

    def entries(self, topic: TopicId) -> AsyncIterator[Sequence[tuple[Milliseconds, FrameId]]]:
        return self._disk.entries(topic)

    async def fetch(self, topic: TopicId, ids: Sequence[FrameId]) -> Sequence[Frame]:
        return await self._disk.fetch(topic, ids)

    async def expire(self, before: Milliseconds) -> None:
        """Forget what has expired, and the payloads of what was kept for as long as its tenant may."""
        await self._disk.expire(before)
        while await self.run(partial(keeps.outlived, now=before)) == SWEEP:
            pass
        await self.run(lambda _: None)  # what expired has made room

    async def drop(self, topic: TopicId) -> None:
        await self._disk.drop(topic)
        await self.run(lambda _: None)
