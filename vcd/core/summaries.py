"""Branch summaries: headers and votes for those who missed them, and answers to what others miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import FrameId, GroupId

if TYPE_CHECKING:
    from vcd.core.payloads import Digest, Lineage, Want
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def on_digest(turn: Turn, group_id: GroupId, payload: Digest, frame: FrameId) -> None:
    """Branch summaries: headers and votes for those who missed them, and answers to what others miss."""


def on_want(turn: Turn, group_id: GroupId, payload: Want, frame: FrameId) -> None:
    """Branch summaries: headers and votes for those who missed them, and answers to what others miss."""


def on_lineage(turn: Turn, group_id: GroupId, payload: Lineage, frame: FrameId) -> None:
    """Branch summaries: headers and votes for those who missed them, and answers to what others miss."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Branch summaries: headers and votes for those who missed them, and answers to what others miss."""


def compare(turn: Turn, subject: bytes) -> None:
    """Duty DIGEST."""
