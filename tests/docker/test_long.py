"""Every scenario in its long form and in both rings, with a dated page under docs/reports. Some hours."""

from __future__ import annotations

import datetime
import functools
from collections.abc import Iterator

import pytest

from tests.docker import wires
from tests.docker.__main__ import Part, everything, run
from tests.docker.engine import suits
from tests.docker.report import page
from tests.docker.story import Story
from tests.docker.test_short import named
from tests.docker.wires import ROOT
from tests.requirements import require_or_skip

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("machines")]


@functools.cache
def _missing() -> str:
    return wires.missing()


@pytest.fixture(scope="module")
def stories() -> Iterator[list[Story]]:
    """What was played, for the page."""
    played: list[Story] = []
    yield played
    if played:
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        path = ROOT / "docs" / "reports" / f"{day}-machines.html"
        path.write_text(page(played, title=f"Many machines, under faults: {day}"), encoding="utf-8")


@pytest.mark.parametrize("part", everything(), ids=named)
def test_in_its_long_form(part: Part, stories: list[Story]) -> None:
    if reason := _missing():
        require_or_skip("netns", reason)
    story = run(part)
    if "NoEngine" in story.outcome and not suits():
        require_or_skip("docker", story.outcome.strip().splitlines()[-1])
    stories.append(story)
    assert not story.outcome, story.outcome
