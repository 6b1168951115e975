"""The measuring program: its rows keep their targets, and it prints what it promises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.bench.sync import Row, measure, target


@pytest.mark.slow
@pytest.mark.bench
def test_costs_follow_the_difference() -> None:
    rows = list(measure(quick=True))
    assert {row.op for row in rows} == {"reconcile", "index", "catch_up"}
    for row in rows:
        most = target(row)
        assert most is None or row.bytes <= most, row
    small = {row.difference: row for row in rows if row.op == "reconcile" and row.log == 1000}
    assert small[0].bytes * 3 < small[1].bytes < small[10].bytes < small[100].bytes < small[100].floor_bytes


@pytest.mark.slow
@pytest.mark.bench
def test_the_program_prints_a_row_a_line() -> None:
    command = [sys.executable, "-m", "tests.bench.sync", "--json", "--quick"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [Row(**json.loads(line)) for line in done.stdout.splitlines()]
    assert all(row.ratio > 0 for row in rows)
