"""Two hundred seeds, one in ten with real cryptography. Whichever is broken says how to see it again."""

from __future__ import annotations

import pytest

from tests.sim.seeds import Result, run

SEEDS = 200
AT_ONCE = 10


def ran(first: int) -> list[Result]:
    return [run(seed, real=seed % 10 == 0) for seed in range(first, first + AT_ONCE)]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS, AT_ONCE))
def test_seeds_come_to_rest_with_every_invariant_kept(first: int) -> None:
    broken = [result.line() for result in ran(first) if result.broken]
    assert not broken, "\n".join(["", *broken])


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS + 1, 5001, AT_ONCE))
def test_more_seeds_come_to_rest(first: int) -> None:
    broken = [result.line() for result in ran(first) if result.broken]
    assert not broken, "\n".join(["", *broken])
