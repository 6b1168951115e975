"""What is played for every change: some scenarios in network namespaces, and one in three containers.

The first run on a machine makes what containers take, for some minutes; `.ci/run` does that before anything is timed
(`python -m tests.docker --prepare`).
"""

from __future__ import annotations

import functools

import pytest

from tests.docker import wires
from tests.docker.__main__ import Part, everything, run, short
from tests.docker.engine import suits
from tests.docker.namespaces import Namespaces
from tests.docker.scenarios import SCENARIOS
from tests.requirements import require_or_skip

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("machines"), pytest.mark.timeout(1200)]


@functools.cache
def _missing() -> str:
    return wires.missing()


def named(part: Part) -> str:
    return f"{part.scenario}-{part.ring}"


@pytest.mark.parametrize("part", short(), ids=named)
def test_what_is_played_for_every_change(part: Part) -> None:
    if reason := _missing():
        require_or_skip("netns", reason)
    story = run(part)
    if "NoEngine" in story.outcome and not suits():
        require_or_skip("docker", story.outcome.strip().splitlines()[-1])
    assert not story.outcome, story.outcome


def test_every_scenario_says_what_it_is_and_is_played_in_both_rings_in_the_long_run() -> None:
    assert all(each.about.endswith((".", "!")) for each in SCENARIOS.values())
    assert len(everything()) == 2 * len(SCENARIOS)
    assert {part.ring for part in short()} == {part.ring for part in everything()}
    assert sum(part.ring == Namespaces.kind for part in short()) >= 2
