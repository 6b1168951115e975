"""Removals that lost are made again, by whoever saw them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Removals that lost are made again, by whoever saw them."""


def again(turn: Turn, subject: bytes) -> None:
    """Duty REISSUE."""
