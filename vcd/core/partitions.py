"""Whether the network is split, as far as can be seen: it lengthens windows, and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vcd.core.names import GroupId

if TYPE_CHECKING:
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Whom we see of a group."""

    peers: int = 0


def online(turn: Turn, now: bool) -> None:
    """Whether the network is split, as far as can be seen: it lengthens windows, and decides nothing."""


def reached(turn: Turn, group_id: GroupId) -> None:
    """Whether the network is split, as far as can be seen: it lengthens windows, and decides nothing."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Whether the network is split, as far as can be seen: it lengthens windows, and decides nothing."""


def tired(turn: Turn, subject: bytes) -> None:
    """Duty SPLIT."""
