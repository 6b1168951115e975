"""What we said, until it is on a branch that is final: what loses is said again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vcd.core.names import GroupId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """Something our account said that may have to be said again."""

    conversation: GroupId


def say(turn: Turn, command: inputs.Say) -> None:
    """Say something."""


def say_again(turn: Turn, command: inputs.SayAgain) -> None:
    """The user decided."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The conversation stands elsewhere: say again what lost."""


def relay(turn: Turn, subject: bytes) -> None:
    """Duty RELAY."""


def give_back(turn: Turn, subject: bytes) -> None:
    """Duty RETURN."""
