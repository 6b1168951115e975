"""The measuring of the node: that its mesh delivers, that it counts, and that the program prints its rows."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.bench.node.__main__ import missed
from tests.bench.node.counting import UNITS, Counted
from tests.bench.node.network import Net
from tests.bench.node.trials import Bench, Healing, Row, agreed, crowd, renew, say
from tests.providers import SeededProvider
from tests.vcd.core.people import SMALL, befriend, open_talk
from tests.vcd.core.talking import TEA
from vcd.core import effects, stored


@pytest.fixture
def net() -> Net:
    made = Net(1, config=SMALL, counted=True, stores=True)
    for name in ("anna", "ben"):
        made.account(name)
    befriend(made, "anna", "ben")
    made.wait(seconds=1)
    open_talk(made, "anna", "ben")
    return made


def test_what_is_said_in_a_part_of_the_network_is_heard_in_the_other_once_it_is_whole(net: Net) -> None:
    net.part(["anna"], ["ben"])
    say(net, "anna", "alone")
    assert not net.said("ben")
    net.heal()
    assert [data.rstrip(b".") for data in net.said("ben")] == [b"alone"]
    net.wait(minutes=1)
    assert agreed(net)


def test_a_package_that_is_taken_back_is_given_to_nobody(net: Net) -> None:
    own = net.own("anna")
    assert net.packages[own]
    device = net.devices["anna"]
    net._run(device, effects.TakeBackPackages(references=tuple(net.offered)))
    assert not net.packages[own]
    assert not device.refused


def test_what_is_held_back_arrives_when_it_is_released(net: Net) -> None:
    held = net.hold("ben")
    say(net, "anna", "later")
    assert len(held) == 1
    assert not net.said("ben")
    net.release(held)
    assert len(net.said("ben")) == 1


def test_each_step_is_named_counted_and_weighed(net: Net) -> None:
    def happens() -> None:
        say(net, "anna", "hello")
        renew(net, "anna", 1)
        net.wait(minutes=1)

    samples = net.record(happens)
    kinds = {each.kind: each for each in samples}
    assert {"say", "published", "hear:post", "refresh", "hear:commit", "tick:vote", "hear:votes"} <= set(kinds)
    assert kinds["say"].counts["sign"] == 1
    assert kinds["hear:post"].counts["verify"] == 1
    assert kinds["say"].counts["public"] == 0  # keys of a topic are made once
    assert kinds["say"].rows > 0
    assert kinds["refresh"].bytes > 8192  # a punctured tree


def test_a_message_calls_and_writes_the_same_among_many_conversations(net: Net) -> None:
    def sent(text: str) -> tuple[dict[str, int], int]:
        found = [each for each in net.record(lambda: say(net, "anna", text)) if each.kind == "say"]
        return found[0].counts, found[0].rows

    sent("before")
    alone = sent("alone")
    crowd(net, "anna", 50)
    assert len(net.state("anna").talks) == 50
    assert alone[0]["sign"] == 1
    assert sent("among many") == alone


def test_a_crowd_can_be_stored(net: Net) -> None:
    crowd(net, "anna", 3)
    rows = stored.rows(net.state("anna"))
    assert sum(table == "talks" for table, _ in rows) == 3
    assert TEA in net.state("anna").topics


def test_a_counted_provider_computes_what_it_counts() -> None:
    counted = Counted(SeededProvider(1))
    plain, suite = SeededProvider(1).suite(1), counted.suite(1)
    assert suite.expand_with_label(bytes(32), b"a", b"b", 16) == plain.expand_with_label(bytes(32), b"a", b"b", 16)
    assert suite.hash(b"a") == plain.hash(b"a")
    assert [name for name in UNITS if counted.counts[name]] == ["mac", "hash"]


def test_what_is_missed_is_said() -> None:
    slow = Row("message_sent", "said", 10, 1.0, 0.1, 10.0, 1, 1, 0.1, 5, 1000.0, {})
    slower = Row("message_sent", "said", 1000, 3.0, 0.1, 30.0, 1, 1, 0.1, 5, 333.3, {})
    split = Healing("heal", "six", 1, 10, 2, -1.0, 1.0, 1, 1, 0, 0.0, 0, 0, 0)
    assert not list(missed([slow]))
    assert len(list(missed([slow, slower, split]))) == 2


def test_an_hour_of_a_split_heals() -> None:
    from time import thread_time

    found = Bench(thread_time, quick=True).healing("six", 1)
    assert 0 <= found.seconds <= 600
    assert found.missing == 0
    assert 0 < found.again < found.messages


@pytest.mark.slow
def test_the_program_prints_a_row_a_line() -> None:
    command = [sys.executable, "-m", "tests.bench.node", "--json", "--quick", "--cpu", "--parts", "steps", "kept"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    rows = [json.loads(text) for text in done.stdout.splitlines()]
    assert {"message_sent", "message_received", "commit_made", "commit_followed", "vote_cast", "vote_heard"} < {
        row["op"] for row in rows
    }
    assert {"frame_duplicate", "frame_garbage", "epoch_kept", "fork_kept"} < {row["op"] for row in rows}
