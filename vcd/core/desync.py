"""Devices that cannot follow any more, and how they come back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import FrameId, GroupId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.payloads import Door
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def on_door(turn: Turn, group_id: GroupId, payload: Door, frame: FrameId) -> None:
    """Devices that cannot follow any more, and how they come back."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Devices that cannot follow any more, and how they come back."""


def come_back(turn: Turn, command: inputs.ComeBack) -> None:
    """Devices that cannot follow any more, and how they come back."""


def recover(turn: Turn, subject: bytes) -> None:
    """Duty DESYNC."""
