"""Our KeyPackages: made, announced, given out, used up, taken back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Where each KeyPackage is."""

    left: int = 0


def given_out(turn: Turn, got: inputs.GivenOut) -> None:
    """Our KeyPackages: made, announced, given out, used up, taken back."""


def taken_back(turn: Turn, got: inputs.TakenBack) -> None:
    """Our KeyPackages: made, announced, given out, used up, taken back."""


def replenish(turn: Turn, subject: bytes) -> None:
    """Duty STOCK."""
