"""The rows of whole nodes through the store: what is loaded is the state that was committed, step by step."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.vcd.core.village import Village
from tests.vcd.store.disks import NAME, opened
from vcd.core import inputs, stored
from vcd.core.names import GroupId, IntentId
from vcd.store import Batch

TEA = GroupId(b"tea")
ME = "laptop"


@pytest.mark.slow
async def test_a_state_comes_back_as_it_was_after_every_step(tmp_path: Path) -> None:
    village = Village()
    village.account(ME)
    before = village.state(ME)
    async with opened(tmp_path) as store:
        await store.commit(Batch(put=stored.rows(before)))
        for number in range(12):
            if number == 0:
                village.do(ME, inputs.Open(conversation=TEA))
            elif number % 4 == 1:
                village.do(ME, inputs.Refresh(intent=IntentId(b"%16d" % number), conversation=TEA))
            else:
                village.do(ME, inputs.Say(conversation=TEA, nonce=b"%16d" % number, data=b"one"))
            village.wait(minutes=10)
            after = village.state(ME)
            put, gone = stored.changes(before, after)
            await store.commit(Batch(put=put, gone=gone))
            before = after
            found = await store.load()
            assert found == stored.rows(after)
            assert stored.rows(stored.load(found, village.world(ME))) == found
        found = await store.load()
        await store.verify()
    names = {stored.seal_under(*row) for row in found} - {None}
    db = sqlite3.connect(tmp_path / NAME)
    assert db.execute("SELECT count(*) FROM keys").fetchone()[0] == len(names) > 1
    db.close()
