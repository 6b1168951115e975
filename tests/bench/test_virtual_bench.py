"""The measuring of virtual clients: that both worlds are what they are said to be, how turns are timed and where
something is won, what is drawn, and that the program prints its rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from mls.virtual import client
from mls.virtual.conversation import Author
from mls.virtual.errors import UnknownEpochError
from mls.welcome import check_tree
from tests.bench.virtual import main, missed, target
from tests.bench.virtual_figures import PANELS, draw
from tests.bench.virtual_tables import crossover_table, crossovers, size_table, wins_from
from tests.bench.virtual_trials import CONVERSATIONS, Clock, Row
from tests.bench.virtual_worlds import (
    SHARED,
    PlainChurn,
    VirtualChurn,
    VirtualWorld,
    ciphertexts,
    events,
    homes,
    mean_resolution,
    parents,
    usual_member,
    virtual_world,
)
from tests.bench.worlds import World, environment
from tests.providers import SeededProvider

FIELDS = {
    "impl",
    "op",
    "tree",
    "unit",
    "devices",
    "people",
    "conversations",
    "plain",
    "virtual",
    "ratio",
    "low",
    "high",
}
CROSSOVER = {"impl", "op", "tree", "unit", "conversations", "devices", "wins_from"}


def world(people: int, devices: int, *, full: bool = True) -> VirtualWorld:
    env = environment(SeededProvider(b"virtual bench"))
    suite = env.provider.suite(1)
    return virtual_world(env, suite, homes(env, suite, people, devices), full=full)


# Worlds


@pytest.mark.parametrize("full", [False, True], ids=["flat", "full"])
def test_a_virtual_world_is_a_group_that_a_joiner_would_accept_and_siblings_can_act_in(*, full: bool) -> None:
    made = world(3, 2, full=full)
    check_tree(made.env, SHARED, made.suite, made.context, made.tree)
    for person, (first, second) in enumerate(made.homes):
        acted = client.commit(second, made.member(person), made.env, force_path=True)
        got = client.receive(first, made.member(person), made.env, acted.commit.message)
        assert got.event.group.authenticator == acted.commit.group.authenticator
        assert got.author == Author(first.head.newest, second.group.own_leaf)
        other = (person + 1) % 3
        seen = client.receive(made.homes[other][1], made.member(other), made.env, acted.commit.message)
        assert seen.event.group.authenticator == acted.commit.group.authenticator
        assert not seen.ours


def test_the_leaves_differ_from_ordinary_ones_by_what_the_draft_demands() -> None:
    made = world(2, 1)
    plain = World(made.env, 2, full=True).member(0)
    ours = made.member(0)
    assert len(ours.own_leaf_node.encoded) > len(plain.own_leaf_node.encoded)
    assert not plain.own_leaf_node.extensions
    assert len(ours.own_leaf_node.extensions) == 1


def test_what_a_home_made_cannot_be_opened_by_another() -> None:
    made = world(2, 2)
    acted = client.commit(made.homes[0][1], made.member(0), made.env, force_path=True)
    got = client.receive(made.homes[1][0], made.member(1), made.env, acted.commit.message)
    assert got.author is None
    with pytest.raises(UnknownEpochError):
        client.receive(made.homes[1][0], made.member(0), made.env, acted.commit.message)


@pytest.mark.slow
@pytest.mark.parametrize(("people", "devices"), [(4, 1), (6, 3)])
def test_devices_come_and_go_alike_in_both_worlds(people: int, devices: int) -> None:
    virtual = VirtualChurn(world(people, devices))
    env = virtual.world.env
    plain = PlainChurn(World(env, people * devices, full=True), devices)
    happened = events(people, devices, seed=7)
    for event in happened:
        plain.happen(event)
        virtual.happen(event)
    group = plain.member(0)
    change = sum(-1 if event.gone else 1 for event in happened)
    assert group.public.tree.member_count == people * devices + change
    check_tree(env, plain.world.parameters, plain.world.suite, group.public.context, group.public.tree)
    emulation, ours = virtual.member(0)
    assert ours.public.tree.member_count == people
    assert parents(ours.public.tree.root) == (people - 1, 0)
    assert mean_resolution(ours.public.tree) <= mean_resolution(group.public.tree)
    last = people - 1
    acted = client.commit(emulation, ours, env, force_path=True)
    after, theirs = virtual.member(last)
    assert client.receive(after, theirs, env, acted.commit.message).event.group.epoch == ours.epoch + 1


def test_events_are_the_same_each_time_and_leave_everybody_a_device() -> None:
    assert events(50, 3, seed=1) == events(50, 3, seed=1)
    assert events(50, 3, seed=1) != events(50, 3, seed=2)
    for count in (1, 3):
        have = dict.fromkeys(range(20), count)
        for event in events(20, count, seed=3):
            assert event.gone is None or 0 < event.gone < have[event.person]
            have[event.person] += 1 if event.gone is None else -1
            assert 1 <= have[event.person] <= 2 * count


def test_what_a_tree_has_come_to() -> None:
    env = environment(SeededProvider(b"trees"))
    full, flat = World(env, 8, full=True).tree, World(env, 8, full=False).tree
    assert (parents(full.root), parents(flat.root)) == ((7, 0), (7, 7))
    assert [ciphertexts(full, 3), ciphertexts(flat, 3)] == [3, 7]
    assert (mean_resolution(full), mean_resolution(flat)) == (1, 7 / 3)
    five = World(env, 5, full=True).tree  # the fifth has nobody beside it but the other four
    members = [leaf for leaf, _ in five.leaves()]
    assert [ciphertexts(five, leaf) for leaf in members] == [3, 3, 3, 3, 1]
    assert usual_member(five, members) == 1  # third in ciphertexts: the last leaf has the fewest


# Times


def test_actions_are_timed_in_turn() -> None:
    ticks = iter(range(10_000))
    done: list[str] = []
    clock = Clock(budget=0.0, now=lambda: float(next(ticks)))
    taken = clock.turns(lambda: done.append("a"), lambda: done.append("b"))
    assert done == ["a", "b", *["b", "a", "a", "b"] * 2, "b", "a"]
    assert taken == [[1000.0] * 5] * 2
    clock = Clock(budget=20.5, now=lambda: float(next(ticks)))
    assert [len(turns) for turns in clock.turns(lambda: None)] == [21]


# Crossovers


def row(people: int, ratio: float | None, *, unit: str = "bytes", op: str = "commit_bytes", devices: int = 3) -> Row:
    virtual = 0.0 if ratio is None else 100.0
    plain = 7.0 if ratio is None else 100.0 * ratio
    return Row("vcd", op, "full", unit, devices, people, 1, plain, virtual, ratio, ratio, ratio)


def test_where_virtual_clients_begin_to_win() -> None:
    assert wins_from([row(2, 0.5), row(8, 2.0)]) == 4
    assert wins_from([row(8, 2.0), row(2, 0.5)]) == 4
    assert wins_from([row(2, 1.1), row(8, 2.0)]) == 2
    assert wins_from([row(2, 0.5), row(8, 1.0)]) is None
    assert wins_from([row(2, 2.0), row(8, 0.9), row(32, 1.2)]) == 14  # won, lost, and won for good
    assert wins_from([row(2, 0.999), row(3, 1.001)]) == 3
    assert wins_from([row(2, 1.0), row(8, None)]) == 8  # nothing at all instead of something


def test_times_are_won_clearly() -> None:
    assert wins_from([row(2, 1.09), row(8, 1.09)]) == 2
    assert wins_from([row(2, 1.09, unit="ms"), row(8, 1.09, unit="ms")]) is None


def test_a_line_for_each_thing_and_a_column_for_each_number_of_devices() -> None:
    alone = replace(row(2, 1.0), op="home_commit_bytes", plain=None, ratio=None)
    found = crossovers([row(2, 0.5, devices=1), row(2, 2.0), row(8, 2.0), row(2, 2.0, op="join", unit="ms"), alone])
    assert {(each.op, each.devices): each.wins_from for each in found} == {
        ("commit_bytes", 1): None,
        ("commit_bytes", 3): 2,
        ("join", 3): 2,
    }
    assert crossover_table(found).splitlines()[2:] == [
        "| commit_bytes | full | bytes | 1 | never | 2 |",
        "| join | full | ms | 1 |  | 2 |",
    ]


def test_all_figures_side_by_side() -> None:
    alone = replace(row(8, 1.0), op="home_commit_bytes", plain=None, virtual=5.0, ratio=None)
    rows = [row(2, 0.5), row(2, 1.234, op="join", unit="ms"), row(2, 0.5, devices=1), row(8, None), alone]
    assert size_table(rows).splitlines() == [
        "| operation | tree | unit | conversations | D | U = 2 | U = 8 |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        "| commit_bytes | full | bytes | 1 | 1 | 50 / 100 (0.50) |  |",
        "| commit_bytes | full | bytes | 1 | 3 | 50 / 100 (0.50) | 7 / 0 |",
        "| join | full | ms | 1 | 3 | 123 / 100 (1.23) |  |",
        "| home_commit_bytes | full | bytes | 1 | 3 |  | 5 |",
    ]


def test_targets() -> None:
    assert missed(row(2, 1.0, op="message_bytes")) is None
    assert missed(row(2, 0.99, op="message_bytes")) is not None
    assert missed(row(2, 0.53, op="seal_256", unit="ms")) is None  # within what is allowed for noise
    assert missed(row(2, 0.51, op="seal_256", unit="ms")) is not None
    assert target(row(2, 1.0, op="commit_create", unit="ms", devices=1)) == 0.75
    assert target(row(2, 1.0, op="commit_create", unit="ms")) is None
    assert missed(replace(row(2, 1.0, op="blank_parents"), virtual=1.0)) is not None
    assert missed(replace(row(2, 1.0, op="blank_parents"), virtual=0.0)) is None


# The picture and the program


def test_a_curve_for_each_number_of_devices_in_each_panel() -> None:
    panel = PANELS[1]
    rows = [row(people, ratio, devices=devices) for people, ratio in ((2, 0.5), (20, 3.0)) for devices in (1, 3)]
    spread = replace(row(20, 1.5, op=PANELS[4].op, unit="ms"), low=1.2, high=1.9)
    drawn = draw([*rows, spread])
    root = ElementTree.fromstring(drawn)
    name = "{http://www.w3.org/2000/svg}"
    shown = root.findall(f"{name}g")
    assert len(shown) == len(PANELS)
    titles = [each.findtext(f"{name}text") for each in shown]
    assert titles == [each.title for each in PANELS]
    curves = [path for path in shown[PANELS.index(panel)].iter(f"{name}path") if "line" in path.get("class", "")]
    assert [path.get("class") for path in curves] == ["line d1", "line d2"]
    start, end = (part.split() for part in curves[0].get("d", "")[1:].split("L"))
    assert float(start[0]) < float(end[0])
    assert float(start[1]) > float(end[1])  # up is better
    assert len(shown[4].findall(f"{name}path[@class='spread d2']")) == 1
    assert "prefers-color-scheme: dark" in drawn


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="devices are drawn"):
        draw([])


def test_rows_of_an_earlier_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, picture, tables = (tmp_path / name for name in ("rows.json", "rows.svg", "rows.md"))
    lines = [json.dumps({name: getattr(each, name) for name in FIELDS}) for each in (row(2, 0.5), row(8, 2.0))]
    source.write_text("\n".join([*lines, json.dumps({"wins_from": 4})]))
    options = ["--from", str(source), "--svg", str(picture), "--tables", str(tables), "--check"]
    monkeypatch.setattr(sys, "argv", ["virtual", *options])
    assert main() == 0
    assert "| commit_bytes | full | bytes | 1 | 4 |" in capsys.readouterr().out
    assert picture.read_text().startswith("<svg")
    assert "U = 8" in tables.read_text()


@pytest.mark.slow
def test_the_program_prints_a_row_a_line() -> None:
    command = [sys.executable, "-m", "tests.bench.virtual", "--json", "--quick", "--people", "3", "--devices", "1", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    rows = [line for line in lines if "virtual" in line]
    assert all(set(each) == FIELDS for each in rows)
    assert all(set(each) == CROSSOVER for each in lines[len(rows) :])
    assert len(lines) > len(rows) > 0
    assert {each["devices"] for each in rows} == {1, 2}
    several = [(each["op"], each["tree"], each["unit"]) for each in rows if each["devices"] == 2]
    for op in ("device_added", "device_added_from_outside", "device_removed", "healed"):
        for unit in ("ms", "bytes"):
            assert several.count((op, "full", unit)) == len(CONVERSATIONS)
    for tree in ("flat", "full", "churned"):
        assert {("commit_create", tree, "ms"), ("commit_bytes", tree, "bytes")} <= set(several)
    drawn = {(panel.op, panel.tree, panel.unit) for panel in PANELS}
    assert drawn <= set(several)
    by = {(each["op"], each["tree"], each["devices"]): each for each in rows}
    assert by["message_bytes", "full", 2]["ratio"] == 1
    assert by["leaf_bytes", "full", 2]["ratio"] < 1 < by["welcome_bytes", "full", 2]["ratio"]
    assert by["blank_parents", "churned", 2]["virtual"] == 0
