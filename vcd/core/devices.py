"""The account's devices: their group, the home, what they tell each other, and how devices come and go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vcd.core.accounts.card import InboxSecret
from vcd.core.accounts.identity import AccountKey, DelegateKey
from vcd.core.names import EpochId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.keys import Opened
    from vcd.core.ordering.graph import Step
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """What the account's devices share beside the emulation. The list of devices itself is in `State.book`."""

    signing: AccountKey | None = None
    """Signs our leaves in conversations."""
    delegate: DelegateKey | None = None
    """Signs lists of devices; on delegates only."""
    inbox: InboxSecret | None = None
    """The topic that our card gives to others."""


def heard(turn: Turn, epoch: EpochId, opened: Opened) -> None:
    """What another device of ours said in the home."""


def followed(turn: Turn, step: Step, opened: Opened) -> None:
    """A commit in the home was followed."""


def started(turn: Turn) -> None:
    """The node was loaded: give again what a device that is being linked waits for."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """If this is the home: it stands elsewhere."""


def link(turn: Turn, command: inputs.LinkDevice) -> None:
    """Add a device."""


def linked(turn: Turn, command: inputs.Linked) -> None:
    """On a new device: take up the account."""


def remove(turn: Turn, command: inputs.RemoveDevice) -> None:
    """Remove a device."""
