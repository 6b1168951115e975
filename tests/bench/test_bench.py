"""The measuring tools themselves: that worlds are real groups, and that the programs print what they promise."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mls import group as front
from mls.parameters import Parameters
from mls.registries import HybridSuite
from mls.welcome import check_tree
from tests.bench import floors, memory
from tests.bench.mls import Row, target
from tests.bench.worlds import World, environment
from tests.providers import SeededProvider

FIELDS = {"impl", "op", "tree", "n", "ms", "floor_ms", "ratio"}


@pytest.mark.parametrize("full", [False, True], ids=["flat", "full"])
@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 21, 100])
def test_a_world_is_a_group_that_a_joiner_would_accept(size: int, *, full: bool) -> None:
    world = World(environment(SeededProvider(b"world")), size, full=full)
    check_tree(world.env, Parameters(), world.suite, world.context, world.tree)
    assert world.tree.member_count == size
    parents = sum(1 for cell in world.tree.root.cells() if cell.level)
    assert parents == (size - 1 if full else 0)


@pytest.mark.parametrize("full", [False, True], ids=["flat", "full"])
def test_its_members_follow_each_other(*, full: bool) -> None:
    world = World(environment(SeededProvider(b"members")), 21, full=full)
    members = [world.member(leaf) for leaf in range(21)]
    sent = front.commit(members[7], world.env)
    for leaf, member in enumerate(members):
        if leaf != 7:
            assert front.receive(member, world.env, sent.message).group.authenticator == sent.group.authenticator


def test_the_counts_are_those_that_were_agreed() -> None:
    """Per operation at 1,000 members in a full tree: what must happen, whoever does it."""

    def counts(op: str, *, flat: bool = False) -> floors.Counts:
        return floors.COUNTS[op](1000, 10, flat)

    assert counts("key_package") == {"generate": 1, "derive": 2, "sign": 2}
    assert counts("protect_256") == {"expand": 5, "aead": 2, "sign": 1}
    assert counts("unprotect_256") == {"expand": 5, "aead": 2, "verify": 1}
    assert counts("safe_export") == {"mac": 32}
    create = counts("commit_create")
    assert (create["seal"], create["derive"], create["sign"]) == (10, 11, 2)
    assert counts("commit_create", flat=True)["seal"] == 999
    process = counts("commit_process")
    assert (process["open"], process["verify"], process["derive"]) == (1, 2, 10)
    assert (process["check"], counts("join_welcome")["check"]) == (11, 1999)
    join = counts("join_welcome")
    assert (join["verify"], join["open"], join["hash"]) == (1001, 1, 4000)
    add = counts("add_n_commit", flat=True)
    assert (add["verify"], add["seal"]) == (2 * 999, 999)
    assert create["hash"] == process["hash"] == 2 * 11 + 4


@pytest.mark.parametrize("suite", [HybridSuite(0xF001), HybridSuite(0xF009)], ids=lambda suite: suite.name)
def test_a_world_in_another_suite(suite: HybridSuite) -> None:
    world = World(environment(SeededProvider(b"world")), 5, full=True, cipher_suite=suite)
    check_tree(world.env, Parameters(), world.suite, world.context, world.tree)
    sent = front.commit(world.member(3), world.env)
    assert front.receive(world.member(1), world.env, sent.message).group.authenticator == sent.group.authenticator


@pytest.mark.slow
@pytest.mark.parametrize("suite", ["vcd", "vcd-xwing"])
def test_the_program_prints_a_row_a_line(suite: str) -> None:
    command = [sys.executable, "-m", "tests.bench.mls", "--json", "--quick", "--sizes", "4", "--suites", suite]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(set(row) == FIELDS for row in rows)
    assert {row["op"] for row in rows} == set(floors.COUNTS)
    assert {row["impl"] for row in rows} == {suite}
    assert all(row["ms"] > 0 and row["ratio"] > 0 for row in rows)


def test_targets() -> None:
    def at(op: str, n: int, tree: str = "full") -> float | None:
        return target(Row("vcd", op, tree, n, 1.0, 1.0, 1.0))

    assert at("protect_256", 10_000) == at("unprotect_256", 2) == 2.5
    assert at("commit_create", 1000) == at("commit_process", 10_000) == at("external_commit_process", 100) == 1.5
    assert at("commit_create", 10) == 2.5
    assert at("join_welcome", 1000) == at("add_n_commit", 100) == 1.4
    assert at("commit_create", 1000, "flat") is None


def test_a_kept_epoch_weighs_its_path_not_its_group() -> None:
    small, large = memory.measure(64), memory.measure(1024)
    assert large["bytes_per_kept_epoch"] < 3 * small["bytes_per_kept_epoch"]
    assert large["bytes_per_kept_epoch"] < 1024 * large["bytes_per_member"] / 16
    assert large["delta_bytes"] < 2 * small["delta_bytes"]
