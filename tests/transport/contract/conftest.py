"""One world for each test, of each kind there is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from trio.abc import Clock
from trio.testing import MockClock

from tests.transport.contract.worlds import VIRTUAL, WORLDS, World, kinds


@pytest.fixture(params=kinds(WORLDS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(kind: str) -> Clock | None:
    """The test runs by it: pytest-trio finds it by its type, if the test asks for it by name."""
    return MockClock(autojump_threshold=0) if kind in VIRTUAL else None


@pytest.fixture
async def world(kind: str, clock: Clock | None) -> AsyncIterator[World]:
    async with WORLDS[kind]() as world:
        yield world
