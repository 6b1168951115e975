"""The counting itself: payloads, ranges, the journal, and a harness that says what went wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.mesh import fleet as harness
from tests.mesh.conftest import Opening
from tests.mesh.control import Entry, Journal, read_journal
from tests.mesh.fleet import WorkerError
from tests.mesh.load import SMALLEST, Author, Tally, build, expand, quantile, ranges, read


@given(st.sets(st.integers(0, 500)))
def test_ranges_say_the_same_in_fewer_words(numbers: set[int]) -> None:
    pairs = ranges(numbers)
    assert expand(pairs) == numbers
    assert all(last + 1 < first for (_, last), (first, _) in zip(pairs, pairs[1:], strict=False))


@pytest.mark.parametrize("size", [0, SMALLEST, SMALLEST + 1, 256, 1 << 20])
def test_a_payload_says_who_sent_it(size: int) -> None:
    payload = build(Author(3), 77, size)
    assert len(payload) == max(size, SMALLEST)
    known = read(payload)
    assert known is not None
    assert known[:2] == (3, 77)
    assert read(payload[: SMALLEST - 1]) is None
    assert read(b"else" + payload[4:]) is None


def test_what_comes_twice_is_counted_and_not_kept() -> None:
    tally = Tally()
    for number in (1, 2, 2, 5):
        tally.add(build(Author(0), number, 64))
    tally.add(b"something else")
    report = tally.report()
    assert (report["count"], report["doubles"], report["strange"]) == (3, 1, 1)
    assert report["held"] == {"0": [(1, 2), (5, 5)]}
    assert report["first"] <= report["last"]


def test_quantiles() -> None:
    assert quantile([], 0.5) is None
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile(range(100), 0.99) == 99


def test_a_journal_outlives_its_process(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    assert read_journal(path) == []
    Journal(path, 1).write(Author(4), 9)
    Journal(path, 2).write(Author(5), 1 << 20)
    with path.open("ab") as file:
        file.write(b"\0\0")  # killed while writing
    assert read_journal(path) == [
        Entry(life=1, author=Author(4), number=9),
        Entry(life=2, author=Author(5), number=1 << 20),
    ]


def use(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    monkeypatch.setitem(harness.COMMANDS, "ours", lambda: [sys.executable, "-c", program])


HELLO = 'import sys, time; print(\'{"id": 0, "ok": {"peer": "p", "addresses": []}}\', flush=True);'


async def test_a_worker_that_dies_is_named_with_its_last_words(
    monkeypatch: pytest.MonkeyPatch, fleet_here: Opening
) -> None:
    use(monkeypatch, "import sys; sys.exit('no such key')")
    with pytest.RaisesGroup(pytest.RaisesExc(WorkerError, match=r"(?s)ours0 ended .*during start.*no such key")):
        async with fleet_here() as fleet:
            await fleet.start("ours")


async def test_a_worker_that_dies_later_ends_what_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, fleet_here: Opening
) -> None:
    use(monkeypatch, HELLO + "sys.stdin.readline(); sys.exit('had enough')")
    async with fleet_here() as fleet:
        (worker,) = await fleet.start("ours")
        with pytest.raises(WorkerError, match=r"(?s)during join.*had enough"):
            await worker.call("join")
        with pytest.raises(WorkerError, match="ended"):
            await worker.call("join")


async def test_a_worker_that_is_silent_is_not_waited_for_and_is_gone(
    monkeypatch: pytest.MonkeyPatch, fleet_here: Opening
) -> None:
    use(monkeypatch, HELLO + "time.sleep(600)")
    async with fleet_here() as fleet:
        worker, frozen = await fleet.start("ours", "ours")
        frozen.freeze()
        with pytest.raises(WorkerError, match="no answer to join in 0 s"):
            await worker.call("join", within=0.2)
        assert worker.usage().rss > 0
    assert worker.process.returncode == frozen.process.returncode == -9


async def test_a_failure_says_how_to_repeat_it(monkeypatch: pytest.MonkeyPatch, fleet_here: Opening) -> None:
    monkeypatch.setenv("VCD_MESH_SEED", "12")
    use(monkeypatch, HELLO + "time.sleep(600)")
    with pytest.raises(AssertionError) as caught:
        async with fleet_here() as fleet:
            await fleet.start("ours")
            raise AssertionError("lost")
    notes = "\n".join(caught.value.__notes__)
    assert "fleet of seed" in notes
    assert "start ours0, life 1" in notes
    assert "VCD_MESH_SEED=" in notes


def test_links_reach_everybody(tmp_path: Path) -> None:
    fleet = harness.Fleet(tmp_path, 5, None)  # type: ignore[arg-type]  # no tasks here
    fleet.workers = [harness.Worker(fleet, "ours", i, {}) for i in range(20)]
    assert len(fleet.links(fleet.workers)) == 190
    links = fleet.links(fleet.workers, degree=6)
    assert len(links) == 60
    reached, grew = {fleet.workers[0]}, True
    while grew:
        more = {b for a, b in links if a in reached} | {a for a, b in links if b in reached}
        grew = not more <= reached
        reached |= more
    assert len(reached) == 20
