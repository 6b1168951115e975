"""What a simulated device has stored: all that a crash, or a thief, leaves of it.

One step is one transaction: the state, the events that came with it, and that a frame was read. A device that starts
again is made of the rows, as `vcd.core.stored` wrote them. Writing every row of every step takes as long as the step,
so most disks keep the value and write the rows when they are read; an `exact` one writes what `changes` says, each
time, and what it has must then be what the value has.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.provider import Provider
from vcd.core import stored
from vcd.core.events import Event
from vcd.core.names import FrameId, GroupId
from vcd.core.node import Outcome
from vcd.core.state import State


class StoreBroken(AssertionError):
    """What was written by changes is not what the state is."""


@dataclass
class Disk:
    """See above."""

    state: State
    exact: bool = False
    rows: stored.Rows = field(default_factory=dict)
    told: list[Event] = field(default_factory=list)
    """What the app was told, in order. It is stored with the state, so it is never told twice, nor lost."""
    frames: dict[FrameId, None] = field(default_factory=dict)
    """What the mesh need not deliver again: read and stored, or our own."""
    puts: dict[GroupId, int] = field(default_factory=dict)
    """How much of what its service has was put, for each group of an app."""

    def __post_init__(self) -> None:
        if self.exact and not self.rows:
            self.rows = stored.rows(self.state)

    def keep(self, outcome: Outcome, frame: FrameId | None = None) -> None:
        """One transaction."""
        if self.exact:
            put, gone = stored.changes(self.state, outcome.state)
            for row in gone:
                del self.rows[row]
            self.rows.update(put)
        self.state = outcome.state
        self.told += outcome.events
        if frame is not None:
            self.frames[frame] = None
        for _, back in outcome.put_back:
            self.frames.pop(back, None)

    def load(self, provider: Provider, *, restored: bool = False) -> State:
        """What a device finds when it starts."""
        rows = stored.rows(self.state)
        if self.exact and rows != self.rows:
            differ = sorted(row for row in {**rows, **self.rows} if rows.get(row) != self.rows.get(row))
            raise StoreBroken(f"rows differ: {[table for table, _ in differ[:5]]}")
        self.state = stored.load(rows, provider, restored=restored)
        if self.exact:
            self.rows = stored.rows(self.state)
        return self.state

    def copy(self) -> Disk:
        """As a backup, or a thief, has it."""
        return Disk(self.state, self.exact, dict(self.rows), list(self.told), dict(self.frames), dict(self.puts))
