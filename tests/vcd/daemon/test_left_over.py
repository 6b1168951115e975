"""What was left over when the last run ended: as much as others made it (`Mesh.left_over`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.transport.sync.store_contract import made
from tests.vcd.store.disks import opened
from transport.base import Frame
from vcd.core import inputs
from vcd.daemon.mesh import Mesh
from vcd.store.frames import Frames


@dataclass
class Owner:
    given: list[bytes] = field(default_factory=list)
    put_back: dict[tuple[bytes, bytes], None] = field(default_factory=dict)

    async def tell(self, given: inputs.Arrived, *, frame: tuple[bytes, bytes]) -> None:
        del frame
        self.given.append(given.payload)


def mesh_of(store: Frames[Frame], new: Sequence[Frame]) -> Mesh:
    """With only what brings frames."""

    async def arrivals() -> AsyncIterator[SimpleNamespace]:
        for frame in new:
            yield SimpleNamespace(frame=frame)

    mesh: Any = object.__new__(Mesh)
    mesh._store, mesh._mesh = store, SimpleNamespace(frames=arrivals)
    found: Mesh = mesh
    return found


async def test_of_what_is_left_over_only_the_names_are_in_memory_and_what_is_new_comes_soon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member said very much that was put back: it is read one by one, most of it after what is new."""
    monkeypatch.setattr("vcd.daemon.mesh.FIRST", 4)
    several, new = [made(number) for number in range(10)], made(99)
    owner: Any = Owner()
    async with opened(tmp_path) as store:
        kept = store.frames(Frame)
        await kept.add(several)
        mesh = mesh_of(kept, [new])
        left = await mesh.left_over()
        assert left == [(each.topic, each.id) for each in several]
        await mesh.listen(owner, left)
    assert owner.given == [each.payload for each in [*several[:4], new]]
    assert list(owner.put_back) == left[4:]
