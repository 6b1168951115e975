from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.transport.sync.store_contract import START, TOPICS, StoreContract, entries, entries_of, made
from tests.vcd.store.disks import NAME, opened
from transport.base import Frame, FrameStore, Milliseconds
from transport.sync.memory_store import MemoryStore
from vcd.daemon.patient import PatientFrames
from vcd.store import StoreTrouble, Trouble


class TestInMemory(StoreContract):
    """The contract is the same one that the mesh's own store is held to."""

    @asynccontextmanager
    async def store(self) -> AsyncIterator[FrameStore]:
        yield MemoryStore()


class TestOnDisk(StoreContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    @asynccontextmanager
    async def store(self) -> AsyncIterator[FrameStore]:
        async with opened(self.folder) as store:
            yield store.frames(Frame)


class TestPatiently(TestOnDisk):
    """As the daemon gives it to its mesh."""

    @asynccontextmanager
    async def store(self) -> AsyncIterator[FrameStore]:
        async with opened(self.folder) as store:
            yield PatientFrames(store.frames(Frame))


async def test_frames_are_there_after_a_restart(tmp_path: Path) -> None:
    frames = [made(n, expires=n) for n in range(10)]
    async with opened(tmp_path) as store:
        await store.frames(Frame).add(frames)
    async with opened(tmp_path) as store:
        kept = store.frames(Frame)
        assert await entries(kept, TOPICS[0]) == entries_of(frames)
        assert await kept.fetch(TOPICS[0], [frames[4].id]) == [frames[4]]
        assert await kept.add(frames) == []


@pytest.mark.slow
async def test_many_expire_in_parts(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        kept = store.frames(Frame)
        await kept.add([made(n, expires=n) for n in range(1200)])
        await kept.expire(Milliseconds(START + 1100))
        assert len(await entries(kept, TOPICS[0])) == 100
        await kept.drop(TOPICS[0])
        assert await entries(kept, TOPICS[0]) == []


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE frames SET payload = zeroblob(length(payload))",
        "UPDATE frames SET head = zeroblob(length(head))",
        "UPDATE frames SET expires = expires + 1",
        "UPDATE frames SET expires = -1",
        "UPDATE frames SET tags = zeroblob(32)",
    ],
)
async def test_a_damaged_frame_is_found_here_and_not_by_a_peer(tmp_path: Path, damage: str) -> None:
    async with opened(tmp_path) as store:
        await store.frames(Frame).add([made(1)])
    db = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    db.execute(damage)
    db.close()
    async with opened(tmp_path) as store:
        with pytest.raises(StoreTrouble) as trouble:
            await entries(store.frames(Frame), TOPICS[0])
            await store.frames(Frame).fetch(TOPICS[0], [made(1).id])
        assert trouble.value.code is Trouble.CORRUPT
