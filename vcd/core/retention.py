"""Keys that are deleted on time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Keys that are deleted on time."""


def forget(turn: Turn, subject: bytes) -> None:
    """Duty RETAIN."""
