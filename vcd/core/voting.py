"""Votes: cast, heard, and passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import FrameId, GroupId

if TYPE_CHECKING:
    from vcd.core.payloads import Votes
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def on_votes(turn: Turn, group_id: GroupId, payload: Votes, frame: FrameId) -> None:
    """Votes: cast, heard, and passed on."""


def touched(turn: Turn, group_id: GroupId) -> None:
    """A graph or votes changed: there may be something to vote for."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Votes: cast, heard, and passed on."""


def cast(turn: Turn, subject: bytes) -> None:
    """Duty VOTE."""
