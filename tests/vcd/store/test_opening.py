from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.vcd.store.disks import NAME, all_entries, entry, opened, own, said
from vcd import __version__
from vcd.store import Batch, Progress, StoreTrouble, Trouble
from vcd.store.schema import MIGRATIONS, Migration, Step


async def refused(folder: Path, **how: Any) -> StoreTrouble:
    with pytest.raises(StoreTrouble) as trouble:
        async with opened(folder, **how):
            pass
    return trouble.value


def change(folder: Path, *statements: str) -> None:
    db = sqlite3.connect(folder / NAME, isolation_level=None)
    for statement in statements:
        db.execute(statement)
    db.close()


async def test_a_newer_database_is_refused_by_the_name_of_its_version(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
    change(tmp_path, "PRAGMA user_version = 9", "UPDATE info SET value = '3.1.4' WHERE name = 'written by'")
    before = (tmp_path / NAME).read_bytes()
    trouble = await refused(tmp_path)
    assert trouble.code is Trouble.NEWER
    for word in ("vcd 3.1.4", "format 9", f"vcd {__version__}", f"format {len(MIGRATIONS)}"):
        assert word in str(trouble)
    assert trouble.hint.startswith("Install vcd 3.1.4, or a newer one")
    assert (tmp_path / NAME).read_bytes() == before


async def test_what_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    assert (await refused(tmp_path, create=False)).code is Trouble.MISSING
    assert not (tmp_path / NAME).exists()
    (tmp_path / NAME).touch()
    assert (await refused(tmp_path, create=False)).code is Trouble.MISSING
    assert (
        (await refused(tmp_path / "no", create=False)).code is Trouble.MISSING if (tmp_path / "no").exists() else True
    )


async def test_another_vaults_database_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with opened(tmp_path / name) as store:
            await store.commit(said(1))
    (tmp_path / "one" / NAME).replace(tmp_path / "two" / NAME)
    assert (await refused(tmp_path / "two")).code is Trouble.FOREIGN


@pytest.mark.parametrize("data", [b"x" * 5000, b"SQLite format 3\0" + bytes(4080), bytes(4096)])
async def test_other_files_are_corrupt(tmp_path: Path, data: bytes) -> None:
    (tmp_path / NAME).write_bytes(data)
    assert (await refused(tmp_path, create=False)).code in {Trouble.CORRUPT, Trouble.MISSING}
    assert (tmp_path / NAME).read_bytes() == data


async def test_another_programs_database_is_not_touched(tmp_path: Path) -> None:
    change(tmp_path, "CREATE TABLE theirs (x)", "PRAGMA user_version = 1")
    for create in (True, False):
        assert (await refused(tmp_path, create=create)).code is Trouble.CORRUPT


async def test_attack_a_link_in_place_of_the_database(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").touch()
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    await refused(tmp_path, create=True)
    assert (tmp_path / "elsewhere").read_bytes() == b""


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger",
        "UPDATE ledger SET sealed = zeroblob(200)",
        "DROP TABLE journal",
        "DELETE FROM journal WHERE seq = 2",
        "DELETE FROM info",
    ],
)
async def test_a_database_that_lacks_something_does_not_open(tmp_path: Path, statement: str) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(entries=[entry(1), entry(2)]))
    change(tmp_path, statement)
    assert (await refused(tmp_path)).code in {Trouble.CORRUPT, Trouble.FOREIGN}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM state WHERE id = 1",
        "INSERT INTO state (row, key, sealed) SELECT zeroblob(16), key, sealed FROM state WHERE id = 1",
        "UPDATE state SET sealed = (SELECT sealed FROM state WHERE id = 2) WHERE id = 1",
        "UPDATE state SET key = 1 WHERE id = 1",
        "UPDATE state SET row = zeroblob(16) WHERE id = 1",
    ],
)
async def test_rows_that_do_not_add_up_are_not_loaded(tmp_path: Path, statement: str) -> None:
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={own(1): b"a", own(2): b"b"}))
    change(tmp_path, statement)
    async with opened(tmp_path) as store:
        with pytest.raises(StoreTrouble) as trouble:
            await store.load()
        assert trouble.value.code is Trouble.CORRUPT


async def test_a_row_of_yesterday_is_not_loaded(tmp_path: Path) -> None:
    """The seal of an old row is good; only the ledger knows that it is old."""
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={own(1): b"yesterday", own(2): b"b"}))
    db = sqlite3.connect(tmp_path / NAME)
    old = db.execute("SELECT sealed FROM state WHERE id = 1").fetchone()[0]
    db.close()
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={own(1): b"today"}))
    db = sqlite3.connect(tmp_path / NAME, isolation_level=None)
    db.execute("UPDATE state SET sealed = ? WHERE id = 1", (old,))
    db.close()
    async with opened(tmp_path) as store:
        with pytest.raises(StoreTrouble) as trouble:
            await store.load()
        assert trouble.value.code is Trouble.CORRUPT


# ---------------------------------------------------------------- migrations


def second(step: Step) -> None:
    for done in range(3):
        step.progress(done, 3)
    step.db.execute("CREATE TABLE more (x INTEGER NOT NULL) STRICT")


def third(step: Step) -> None:
    step.db.execute("INSERT INTO more VALUES (1)")


def failing(step: Step) -> None:
    step.db.execute("INSERT INTO more VALUES (2)")
    raise ZeroDivisionError


SECOND, THIRD = Migration("more", second), Migration("one in it", third)


def version(folder: Path) -> int:
    db = sqlite3.connect(folder / NAME)
    found: int = db.execute("PRAGMA user_version").fetchone()[0]
    db.close()
    return found


def copies(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(f"{NAME}.before*"))


async def test_migrations_are_done_in_order_with_progress_and_the_copy_goes(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
    steps: list[Progress] = []
    there: list[list[str]] = []

    def look(step: Step) -> None:
        there.append(copies(tmp_path))
        third(step)

    async with opened(
        tmp_path, migrations=(*MIGRATIONS, SECOND, Migration("look", look)), progress=steps.append
    ) as store:
        assert len(await all_entries(store)) == 1
        assert copies(tmp_path) == []
    assert there == [[f"{NAME}.before-3"]]
    assert version(tmp_path) == 3
    assert [(each.number, each.of, each.name) for each in steps if each.done == 0 and each.number] == [
        (1, 2, "more"),
        (1, 2, "more"),
        (2, 2, "look"),
    ]
    assert any(each.name == "a copy of the file" and each.done == each.total for each in steps)
    assert Progress(1, 2, "more", 2, 3) in steps


async def test_a_failed_migration_leaves_the_step_before_and_a_copy(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
    with pytest.raises(ZeroDivisionError):
        async with opened(tmp_path, migrations=(*MIGRATIONS, SECOND, Migration("fails", failing))):
            pass
    assert version(tmp_path) == 2
    assert copies(tmp_path) == [f"{NAME}.before-3"]
    copy = tmp_path / f"{NAME}.before-3"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    db = sqlite3.connect(copy)
    assert db.execute("PRAGMA user_version").fetchone()[0] == 1
    assert db.execute("SELECT count(*) FROM journal").fetchone()[0] == 1
    db.close()
    async with opened(tmp_path, migrations=(*MIGRATIONS, SECOND, THIRD)) as store:
        await store.verify()
        assert copies(tmp_path) == []
    db = sqlite3.connect(tmp_path / NAME)
    assert db.execute("SELECT x FROM more").fetchall() == [(1,)]
    db.close()


async def test_a_copy_that_was_left_behind_goes_with_the_next_start(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.commit(said(1))
    for name in (f"{NAME}.before-3", f"{NAME}.before-3.part"):
        (tmp_path / name).write_bytes(b"keys that should have gone")
    async with opened(tmp_path):
        assert copies(tmp_path) == []


async def test_a_new_database_needs_no_copy(tmp_path: Path) -> None:
    steps: list[Progress] = []
    async with opened(tmp_path, progress=steps.append):
        pass
    assert [each.name for each in steps] == [MIGRATIONS[0].name]
