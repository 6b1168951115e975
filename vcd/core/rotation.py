"""Shutting out a device that was removed: every conversation gets keys that it never had."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Shutting out a device that was removed: every conversation gets keys that it never had."""


def next_step(turn: Turn, subject: bytes) -> None:
    """Duty ROTATE."""
