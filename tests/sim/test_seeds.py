"""Two hundred seeds, one in ten with real cryptography. Whichever is broken says how to see it again."""

from __future__ import annotations

import pytest

from tests.sim.seeds import Result, run

SEEDS = 200
AT_ONCE = 10

OPEN: frozenset[int] = frozenset()
"""Seeds that are known to be broken, each to be mended; one that is not broken any more has to be taken out."""


def ran(first: int) -> list[Result]:
    return [run(seed, real=seed % 10 == 0) for seed in range(first, first + AT_ONCE)]


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1, SEEDS, AT_ONCE))
def test_seeds_come_to_rest_with_every_invariant_kept(first: int) -> None:
    results = ran(first)
    broken = [result.line() for result in results if result.broken and result.seed not in OPEN]
    assert not broken, "\n".join(["", *broken])
    assert [result.seed for result in results if result.seed in OPEN and not result.broken] == []


QUIET = 5
"""A seed of two people with two devices each in which nothing goes wrong by itself."""


@pytest.mark.slow
def test_a_device_may_crash_at_any_boundary() -> None:
    """Before a step is stored, and between that and each effect: here at forty places of all that there are."""
    quiet = run(QUIET)
    assert not quiet.broken, quiet.line()
    places = range(1, quiet.boundaries, max(1, quiet.boundaries // 40))
    broken = [(place, result.broken) for place in places if (result := run(QUIET, crash_at=place)).broken]
    assert not broken


@pytest.mark.long
def test_a_device_may_crash_at_every_boundary() -> None:
    places = range(1, run(QUIET).boundaries)
    broken = [(place, result.broken) for place in places if (result := run(QUIET, crash_at=place)).broken]
    assert not broken


@pytest.mark.long
@pytest.mark.parametrize("first", range(SEEDS + 1, 5001, AT_ONCE))
def test_more_seeds_come_to_rest(first: int) -> None:
    broken = [result.line() for result in ran(first) if result.broken]
    assert not broken, "\n".join(["", *broken])
