"""The measuring of DGroups: that what it measures is one, what is counted, and that the program prints its rows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from mls.distributed import session as front
from mls.distributed.values import Followed
from tests.bench import distributed
from tests.bench.worlds import environment
from tests.providers import SeededProvider

FIELDS = {"impl", "op", "n", "ms", "floor_ms", "ratio", "bytes"}


def test_both_members_can_take_up_everybody_and_follow_each_other() -> None:
    env = environment(SeededProvider(b"distributed"))
    zero, one = distributed.dgroup(env, env.provider.suite(1), 5)
    sent = front.commit(zero, env)
    assert len(sent.taken) == 4
    event = front.receive(one, env, sent.message)
    assert isinstance(event, Followed)
    seen = event.session.others[zero.own.id].group
    assert seen.authenticator == sent.session.own.group.authenticator


def test_the_counts_are_those_that_were_agreed() -> None:
    create, take = distributed.counts("dimls_update_create", 100), distributed.counts("dimls_take_create", 100)
    assert (create["seal"], create["sign"]) == (take["seal"], take["sign"]) == (99, 2)
    assert take["expand"] - create["expand"] == 3 * 99
    follow = distributed.counts("dimls_take_follow", 100)
    assert (follow["open"], follow["verify"]) == (1, 2)


@pytest.mark.slow
def test_the_program_prints_a_row_a_line() -> None:
    command = [sys.executable, "-m", "tests.bench.distributed", "--json", "--quick", "--sizes", "4"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    made = [f"dimls_{what}_{how}" for what in ("update", "take") for how in ("create", "follow")]
    assert [row["op"] for row in rows] == [*made, "dimls_round"]
    assert all(set(row) == FIELDS for row in rows)
    assert rows[-1]["bytes"] == rows[0]["bytes"] + 4 * rows[2]["bytes"]
