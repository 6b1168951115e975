"""The measuring of fork-resilient groups: that its worlds are such groups, and that the program prints its rows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mls import group as front
from mls.fork.mode import ForkResilient
from mls.suite import Suite
from mls.welcome import check_tree
from tests.bench import fork
from tests.bench.worlds import environment
from tests.providers import SeededProvider

TIMES = {"impl", "op", "tree", "n", "ms", "floor_ms", "ratio"}
SIZES = {"impl", "op", "tree", "n", "bytes", "floor_bytes", "ratio"}


@pytest.mark.parametrize("cipher_suite", [1, 7, 5])
def test_both_worlds_are_groups_that_a_joiner_would_accept(cipher_suite: int) -> None:
    env = environment(SeededProvider(b"forks"))
    plain, forking = fork.worlds(env, Suite(cipher_suite), 5)
    for world in (plain, forking):
        check_tree(env, world.parameters, world.suite, world.context, world.tree)
        sent = front.commit(world.member(3), env)
        event = front.receive(world.member(1), env, sent.message)
        assert event.group.epoch_id == sent.group.epoch_id
        assert isinstance(sent.group.mode, ForkResilient) is (world is forking)
    assert fork.evaluation(Suite(1)) == 515


def test_an_epoch_that_was_left_costs_what_was_said() -> None:
    env = environment(SeededProvider(b"storage"))
    _, forking = fork.worlds(env, Suite(1), 5)
    size = fork.storage(env, Suite(1), forking, "vcd")
    assert size.floor_bytes == 8_192
    assert 0.9 < size.ratio <= 1.01


@pytest.mark.slow
def test_the_program_prints_a_row_a_line() -> None:
    command = [sys.executable, "-m", "tests.bench.fork", "--json", "--quick", "--sizes", "4", "--suites", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["op"] for row in rows] == [
        "pprf_evaluate",
        "plain_commit_create",
        "plain_commit_process",
        "dmls_commit_create",
        "dmls_commit_process",
        "fork_storage",
    ]
    assert all(set(row) == (SIZES if row["op"] == "fork_storage" else TIMES) for row in rows)
    assert all(row["ratio"] > 0 for row in rows)
