"""The mesh's measuring tool: what is a miss, and how the highest rate is looked for."""

from __future__ import annotations

from typing import Any, cast

import pytest

from tests.bench import mesh
from tests.bench.mesh import Row, latency, missed
from tests.bench.mesh_trials import Ladder, Trial
from tests.bench.rows import figures
from tests.mesh.fleet import Fleet


def trial(rate: float, *, held: bool) -> Trial:
    return Trial(rate=rate, sent=100, came=400 if held else 300, wanted=400, p50=10.0, p99=20.0, cpu=1.0, held=held)


class Steps(Ladder):
    """A machine that holds up to a rate, without a machine."""

    def __init__(self, holds: float, repeats: int) -> None:
        super().__init__(cast("Fleet", None), size=256, seconds=1, repeats=repeats)
        self.holds = holds
        self.tried: list[float] = []

    async def trial(self, rate: float) -> Trial:
        self.tried.append(rate)
        return trial(rate, held=rate <= self.holds)


@pytest.mark.parametrize(("holds", "found"), [(100, 100), (99, 70), (290, 280), (27, 25), (0.1, 0), (1e9, 12_800)])
async def test_the_ladder_finds_what_holds(holds: float, found: float) -> None:
    ladder = Steps(holds, 1)
    assert await ladder.climb(100) == pytest.approx(found)


async def test_what_held_once_has_to_hold_again() -> None:
    ladder = Steps(100, 3)
    assert await ladder.climb(100) == 100
    assert ladder.tried.count(100) == 3


def test_what_was_promised() -> None:
    def row(**values: Any) -> Row:
        return Row(**{"impl": "ours", "op": "throughput", "nodes": 5, "size": 256, **values})

    assert missed(row(per_second=499.0))
    assert missed(row(per_second=500.0)) is None
    assert missed(row(op="latency", p50_ms=60.0, loss=0.0))
    assert missed(row(op="latency", p50_ms=59.0, loss=0.01))
    assert missed(row(op="latency", p50_ms=59.0, loss=0.0)) is None
    assert missed(row(op="idle", nodes=6, size=None, cpu_percent=1.1))
    assert missed(row(op="idle", nodes=6, size=None, cpu_percent=0.9)) is None
    assert missed(row(impl="raw", per_second=1.0)) is None


def test_medians_but_the_worst_loss() -> None:
    row = latency("ours", 5, 256, [trial(100, held=True), trial(100, held=False)], 1.0)
    assert (row.p50_ms, row.loss) == (10.0, 0.25)
    assert figures(row)["op"] == "latency"
    assert "rss_mb" not in figures(row)
    assert mesh.shown(row).startswith("ours  latency")
