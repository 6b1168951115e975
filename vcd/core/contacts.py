"""People we know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.turn import Turn


def add(turn: Turn, command: inputs.AddContact) -> None:
    """People we know."""


def block(turn: Turn, command: inputs.Block) -> None:
    """People we know."""
