"""What people want done to a group, until it stands for good or was refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vcd.core.names import GroupId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something that is wanted."""

    group_id: GroupId


def invite(turn: Turn, command: inputs.Invite) -> None:
    """What people want done to a group, until it stands for good or was refused."""


def remove(turn: Turn, command: inputs.Remove) -> None:
    """What people want done to a group, until it stands for good or was refused."""


def depart(turn: Turn, command: inputs.Depart) -> None:
    """What people want done to a group, until it stands for good or was refused."""


def refresh(turn: Turn, command: inputs.Refresh) -> None:
    """What people want done to a group, until it stands for good or was refused."""


def change_policy(turn: Turn, command: inputs.ChangePolicy) -> None:
    """What people want done to a group, until it stands for good or was refused."""


def fetched(turn: Turn, got: inputs.Fetched) -> None:
    """What people want done to a group, until it stands for good or was refused."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The group stands elsewhere."""


def retry(turn: Turn, subject: bytes) -> None:
    """Duty INTENT."""
