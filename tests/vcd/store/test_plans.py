"""What is asked for each row that goes does not get slower with the rows there are."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.vcd.store.disks import NAME, opened
from vcd.store.names import UNUSED


@pytest.mark.parametrize("table", sorted(UNUSED))
async def test_whether_a_key_is_used_is_asked_of_an_index(table: str, tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    db = sqlite3.connect(tmp_path / NAME)
    steps = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + UNUSED[table], (7,))]
    db.close()
    looked = [step for step in steps if f" {table}" in step]
    first_only = UNUSED[table].startswith("SELECT 1 FROM (")  # in the order in which they lie, and no other
    assert looked
    assert all(step.startswith("SEARCH") or first_only for step in looked)
