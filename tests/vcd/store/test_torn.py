"""Torn writes: the file and its log are cut or overwritten at random, and opened again.

What comes out is all of one commit, or `corrupt`; and before anything was verified, each single thing that is read is
one that was written there. A model remembers what every commit left.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.conftest import LONG
from tests.vcd.store.disks import NAME, all_entries, all_messages, entry, image, message, opened, own, under
from vcd.store import Batch, DeleteMessage, NewFate, Row, Store, StoreTrouble, Trouble

LOG = NAME + "-wal"
CHATS = [b"tea", b"work"]
REFUSALS = {Trouble.CORRUPT, Trouble.MISSING, Trouble.FOREIGN, Trouble.NEWER}
"""The last two where the damage is in the very bytes that say whose and of which format the file is."""


@dataclass
class Life:
    """What every commit left, and everything that ever was."""

    states: list[Any] = field(default_factory=list)
    rows: set[tuple[Row, bytes]] = field(default_factory=set)
    things: set[str] = field(default_factory=set)

    async def look(self, store: Store) -> None:
        seen = await everything(store)
        if seen not in self.states:
            self.states.append(seen)
        self.rows |= set(seen[0].items())
        self.things |= set(map(repr, seen[1] + seen[2]))


async def everything(store: Store) -> Any:
    return await store.load(), await all_entries(store), await all_messages(store, CHATS)


async def live(store: Store, chance: random.Random, life: Life, commits: int) -> None:
    for number in range(store.journal.last, store.journal.last + commits):
        rows = [own(n) for n in range(6)] + [under(b"%d" % (n % 4), n) for n in range(12)]
        put = {row: chance.randbytes(chance.choice([3, 300, 6000])) for row in chance.sample(rows, 3)}
        gone = [row for row in chance.sample(rows, 4) if row not in put]
        past = DeleteMessage(chat=chance.choice(CHATS), content=b"content %d" % chance.randrange(number + 1))
        fate = NewFate(
            chat=chance.choice(CHATS), content=b"content %d" % chance.randrange(number + 1), fate="confirmed"
        )
        new = message(number, chat=chance.choice(CHATS), data=chance.randbytes(chance.choice([10, 5000])))
        await store.commit(Batch(put=put, gone=gone, entries=[entry(number)], history=[new, fate, past]))
        await life.look(store)


def truncate(path: Path, chance: random.Random) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: chance.randrange(len(data) + 1)])


def overwrite(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if data:
        at, size = chance.randrange(len(data)), chance.choice([1, 16, 512, 4096])
        junk = chance.choice([bytes(size), chance.randbytes(size), bytes([data[at] ^ (1 << chance.randrange(8))])])
        data[at : at + len(junk)] = junk
        path.write_bytes(bytes(data))


def swap(path: Path, chance: random.Random) -> None:
    """One page in the place of another one."""
    data = bytearray(path.read_bytes())
    pages = len(data) // 4096
    if pages > 1:
        one, other = (4096 * chance.randrange(pages) for _ in range(2))
        data[one : one + 4096] = data[other : other + 4096]
        path.write_bytes(bytes(data))


def vanish(path: Path, _: random.Random) -> None:
    path.unlink()


async def survives(folder: Path, life: Life) -> str:
    """Open it and read everything. What came of it: `whole` or `refused`."""
    try:
        async with opened(folder, create=False) as store:
            with suppress(StoreTrouble):
                assert set((await store.load()).items()) <= life.rows
            for chat in CHATS:
                with suppress(StoreTrouble):
                    assert {repr(each) for each in await all_messages(store, [chat])} <= life.things
            with suppress(StoreTrouble):
                assert {repr(each) for each in await all_entries(store)} <= life.things
            await store.verify()
            assert await everything(store) in life.states
            # And life goes on.
            await store.commit(Batch(put={own(1): b"after"}, entries=[entry(77)]))
            await store.verify()
    except StoreTrouble as trouble:
        return "refused" if trouble.code in REFUSALS else str(trouble)
    return "whole"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(60 if LONG else 4))
async def test_either_one_state_or_a_refusal(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    life, before = Life(), tmp_path / "before"
    before.mkdir()
    images: list[Path] = []
    async with opened(before) as store:
        await life.look(store)
        for part in range(3):
            await live(store, chance, life, 6)
            if part == 1:
                # Pages go to the file while the log stays: a log that is cut now leaves a file that is ahead of it.
                await store._write(lambda _: None)
                db = store._reader
                await db.run(lambda reader: None, keep=True)
                await trio.to_thread.run_sync(checkpoint, before / NAME)
                await live(store, chance, life, 2)
            images.append(image(before, tmp_path / f"image{part}"))
    outcomes = []
    damages: list[tuple[str, Callable[[Path, random.Random], None]]] = [
        (LOG, truncate),
        (LOG, overwrite),
        (LOG, swap),
        (LOG, vanish),
        (NAME, truncate),
        (NAME, overwrite),
        (NAME, swap),
    ]
    for number in range(42):
        name, damage = damages[number % len(damages)]
        folder = tmp_path / "torn"
        shutil.copytree(images[number % 3], folder)
        damage(folder / name, chance)
        with trio.fail_after(30):
            outcomes.append((name, await survives(folder, life)))
        shutil.rmtree(folder)
    assert {outcome for _, outcome in outcomes} == {"whole", "refused"}
    assert (LOG, "whole") in outcomes
    assert (NAME, "refused") in outcomes


def checkpoint(path: Path) -> None:
    import sqlite3

    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA wal_checkpoint(PASSIVE)")
    db.close()


async def test_an_untouched_image_is_whole(tmp_path: Path) -> None:
    life, before = Life(), tmp_path / "before"
    before.mkdir()
    async with opened(before) as store:
        await live(store, random.Random(1), life, 5)
        image(before, tmp_path / "image")
    assert await survives(tmp_path / "image", life) == "whole"
