"""`kill -9` in the middle of commits: what was answered is there, all of each batch or nothing of it, and no nonce is
used for two things, however often the program is killed and started again.
"""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.conftest import LONG
from tests.vcd.store.disks import NAME, all_entries, all_messages, opened
from vcd.vault.sealing import NONCE_SIZE

KILLS = 200 if LONG else 8

COMMITTER = """
import sys, trio
from pathlib import Path
from tests.vcd.store.disks import entry, message, opened, own, under
from vcd.store import Batch

async def main(folder):
    async with opened(folder) as store:
        async def one(lane):
            while True:
                rows = await store.load()
                number = int(rows.get(own(lane), b"0")) + 1
                batch = Batch(
                    put={own(lane): b"%d" % number, under(b"%d-%d" % (lane, number)): b"secret" * 100},
                    gone=[under(b"%d-%d" % (lane, number - 1))],
                    entries=[entry(number, kind=f"lane{lane}")],
                    history=[message(lane * 1_000_000 + number)],
                )
                seq = await store.commit(batch)
                print(lane, number, seq, flush=True)

        async with trio.open_nursery() as nursery:
            for lane in range(4):
                nursery.start_soon(one, lane)

trio.run(main, Path(sys.argv[1]))
"""

SEALED = ("state", "journal", "history", "keys", "ledger")


def sealed_values(path: Path) -> set[bytes]:
    db = sqlite3.connect(path)
    values = {row[0] for table in SEALED for row in db.execute(f"SELECT sealed FROM {table}")}
    db.close()
    return values


def lines_until_killed(folder: Path, lines: int) -> list[str]:
    """What it answered: `lines` of them, and whatever else got out before it was dead."""
    with subprocess.Popen([sys.executable, "-c", COMMITTER, str(folder)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            read = [child.stdout.readline() for _ in range(lines)]
            child.send_signal(signal.SIGKILL)
            read += child.stdout.read().splitlines(keepends=True)
        finally:
            child.kill()
    assert child.returncode == -signal.SIGKILL
    return [line for line in read if line.endswith("\n")]


@pytest.mark.slow
@pytest.mark.timeout(1800 if LONG else 240)
def test_killed_in_the_middle_of_commits(tmp_path: Path) -> None:
    chance = random.Random(7)
    answered = dict.fromkeys(range(4), 0)
    sealed: set[bytes] = set()

    async def look() -> None:
        async with opened(tmp_path) as store:
            await store.verify()
            rows = await store.load()
            entries = await all_entries(store)
            assert [each.seq for each in entries] == list(range(1, store.journal.last + 1))
            for lane in range(4):
                number = int(rows.get(("state", b"%d" % lane), b"0"))
                assert number >= answered[lane]
                said = [each.data["number"] for each in entries if each.type == f"lane{lane}"]
                assert said == list(range(1, number + 1))  # nothing lost, nothing twice
                answered[lane] = number
            assert len([row for row in rows if row[0] == "outbox"]) == sum(n > 0 for n in answered.values())
            assert [each.seq for each in await all_messages(store)] == [each.seq for each in entries]

    for _ in range(KILLS):
        for line in lines_until_killed(tmp_path, chance.randrange(1, 60)):
            lane, number, _ = map(int, line.split())
            answered[lane] = number
        sealed |= sealed_values(tmp_path / NAME)
        trio.run(look)
        sealed |= sealed_values(tmp_path / NAME)
    assert min(answered.values()) >= 1
    nonces = {value[:NONCE_SIZE] for value in sealed}
    assert len(nonces) == len(sealed)
