"""Groups in which one device chooses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import FrameId, GroupId

if TYPE_CHECKING:
    from vcd.core.payloads import Decision, Nomination
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def on_decision(turn: Turn, group_id: GroupId, payload: Decision, frame: FrameId) -> None:
    """Groups in which one device chooses."""


def on_nomination(turn: Turn, group_id: GroupId, payload: Nomination, frame: FrameId) -> None:
    """Groups in which one device chooses."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Groups in which one device chooses."""


def choose(turn: Turn, subject: bytes) -> None:
    """Duty LEAD."""


def stood(turn: Turn, strand: Strand) -> Strand:
    """Where a conversation stands; in a group with a lead, where the lead says."""
    from vcd.core.strand import stood as plainly

    del turn
    return plainly(strand)
