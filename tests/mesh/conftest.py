"""Fleets for tests, and the line that repeats a run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.mesh.fleet import Fleet, open_fleet

Opening = Callable[[], AbstractAsyncContextManager[Fleet]]


@pytest.fixture
def fleet_here(request: pytest.FixtureRequest, tmp_path: Path) -> Opening:
    """Opens a fleet in the test's folder. Its seed is the test's own, unless VCD_MESH_SEED says another."""
    name = request.node.nodeid
    given = os.environ.get("VCD_MESH_SEED")
    seed = int(given) if given else int.from_bytes(hashlib.sha256(name.encode()).digest()[:4])

    @asynccontextmanager
    async def opened() -> AsyncIterator[Fleet]:
        try:
            async with open_fleet(tmp_path / "fleet", seed=seed) as fleet:
                yield fleet
        except Exception as error:
            error.add_note(f"to repeat this: VCD_MESH_SEED={seed} python -m pytest '{name}'")
            raise

    return opened
