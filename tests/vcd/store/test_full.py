"""A disk that is full, read-only or failing: a typed trouble, the old state, and the same batch again once it is well.

As root the disk is a small tmpfs; elsewhere a limit on the size of files stands for it, which SQLite cannot tell from a
failing disk.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.vcd.store.disks import NAME, all_entries, all_messages, entry, opened, own, said, under
from vcd.store import Batch, NewRequest, StoreTrouble, Trouble
from vcd.store.schema import MIGRATIONS, Migration, Step

ROOT = os.geteuid() == 0
LARGE = 100_000


@dataclass
class Disk:
    """A folder whose disk can be filled and freed."""

    folder: Path
    fill: Callable[[], None]
    free: Callable[[], None]
    codes: frozenset[Trouble]


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path | None]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = (
        ROOT
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=3m,mode=700", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    )
    yield folder if mounted else None
    if mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def disk(tmpfs: Path | None, tmp_path: Path) -> Iterator[Disk]:
    if tmpfs is not None:
        ballast = tmpfs / "ballast"

        def fill() -> None:
            with ballast.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(bytes(4096))
                except OSError:
                    pass

        yield Disk(tmpfs, fill, ballast.unlink, frozenset({Trouble.FULL}))
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "disk"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (LARGE // 2, before[1]))

    def lift() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    try:
        yield Disk(folder, limit, lift, frozenset({Trouble.FULL, Trouble.BROKEN}))
    finally:
        lift()


def large(number: int) -> Batch:
    request = NewRequest(id=b"%d" % number, method="msg.send", digest=b"", result={}, at_ms=0)
    return Batch(
        put={own(number): bytes(LARGE), under(b"n%d" % number): b"x"},
        gone=[own(number - 1)],
        entries=[entry(number)],
        request=request,
        history=said(number).history,
    )


async def test_a_full_disk_keeps_the_old_state_and_the_same_batch_goes_through_later(disk: Disk) -> None:
    async with opened(disk.folder) as store:
        await store.commit(large(1))
        before = await store.load()
        await store.settle()
        disk.fill()
        for _ in range(3):
            with pytest.raises(StoreTrouble) as trouble:
                await store.commit(large(2))
            assert trouble.value.code in disk.codes
            assert store.trouble is trouble.value
            assert trouble.value.hint
            assert await store.load() == before
            assert store.journal.last == 1
            assert await store.request(b"2") is None
            assert len(await all_messages(store)) == 1
        await store.verify()
        disk.free()
        assert await store.commit(large(2)) == 2
        assert store.trouble is None
        await store.verify()
        after = await store.load()
        assert set(after) == {own(2), under(b"n1"), under(b"n2")}
    async with opened(disk.folder) as store:
        assert await store.load() == after
        assert [each.data["number"] for each in await all_entries(store)] == [1, 2]


async def test_everybody_who_waits_learns_of_a_full_disk(disk: Disk) -> None:
    async with opened(disk.folder) as store:
        await store.commit(large(0))
        await store.settle()
        disk.fill()
        outcomes: list[Trouble | int] = []

        async def one(number: int) -> None:
            try:
                outcomes.append(await store.commit(large(number)))
            except StoreTrouble as trouble:
                outcomes.append(trouble.code)

        async with trio.open_nursery() as nursery:
            for number in range(1, 11):
                nursery.start_soon(one, number * 2)
        assert len(outcomes) == 10
        assert set(outcomes) <= disk.codes
        disk.free()
        assert await store.commit(large(2)) == 2
        await store.verify()


async def test_a_store_that_was_closed_on_a_full_disk_opens_again(disk: Disk) -> None:
    async with opened(disk.folder) as store:
        await store.commit(large(1))
        before = await store.load()
        disk.fill()
        with pytest.raises(StoreTrouble):
            for number in range(2, 200):
                await store.commit(Batch(put={own(number): bytes(LARGE)}))
                before = await store.load()
    disk.free()
    async with opened(disk.folder) as store:
        assert await store.load() == before
        await store.verify()


async def test_a_migration_needs_room_for_its_copy(disk: Disk) -> None:
    async with opened(disk.folder) as store:
        for number in range(4):
            await store.commit(Batch(put={own(number): bytes(LARGE)}))
        before = await store.load()

    def more(step: Step) -> None:
        step.db.execute("CREATE TABLE more (x INTEGER) STRICT")

    migrations = (*MIGRATIONS, Migration("more", more))
    disk.fill()
    if Trouble.BROKEN not in disk.codes:
        with pytest.raises(StoreTrouble) as trouble:
            async with opened(disk.folder, migrations=migrations):
                pass
        assert trouble.value.code in disk.codes
        assert list(disk.folder.glob(NAME + ".before*")) == []
    disk.free()
    async with opened(disk.folder) as store:
        assert await store.load() == before
    async with opened(disk.folder, migrations=migrations) as store:
        assert await store.load() == before


async def test_a_disk_that_is_read_only(tmpfs: Path | None, tmp_path: Path) -> None:
    folder = tmpfs or tmp_path / "disk"
    async with opened(folder) as store:
        await store.commit(said(1))

    def set_mode(mode: str) -> None:
        if tmpfs is not None:
            subprocess.run(["mount", "-o", f"remount,{mode}", str(folder)], check=True)
        else:
            for path in (folder / NAME, folder):
                path.chmod(0o500 if mode == "ro" else 0o700)

    set_mode("ro")
    try:
        with pytest.raises(StoreTrouble) as trouble:
            async with opened(folder) as store:
                await store.commit(said(2))
        assert trouble.value.code is Trouble.READ_ONLY
        assert "writable" in trouble.value.hint
    finally:
        set_mode("rw")
    async with opened(folder) as store:
        assert len(await all_messages(store)) == 1
        assert await store.commit(said(2)) == 2


LIMITED = """
import resource, sys, trio
from pathlib import Path
from tests.vcd.store.disks import all_entries, entry, opened, own
from vcd.store import Batch, StoreTrouble

async def main(folder):
    async with opened(folder) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
        number = 0
        for number in range(100):
            try:
                await store.commit(Batch(put={own(number): bytes(20_000)}, entries=[entry(number)]))
            except StoreTrouble as trouble:
                print(trouble.code.value, number, len(await store.load()), store.journal.last)
                break
trio.run(main, Path(sys.argv[1]))
"""


@pytest.mark.slow
def test_a_disk_that_fails_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """The kernel refuses a write half-way, in a process of its own: what was committed before is whole."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    code, number, rows, last = done.stdout.split()
    assert code in {"broken", "full"}
    assert rows == last == number

    async def again() -> None:
        async with opened(tmp_path) as store:
            assert len(await store.load()) == int(number)
            assert [each.data["number"] for each in await all_entries(store)] == list(range(int(number)))
            await store.verify()

    trio.run(again)
