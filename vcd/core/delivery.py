"""What is heard in conversations, each once, in the order that its authors had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import EpochId

if TYPE_CHECKING:
    from vcd.core.keys import Opened
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def heard(turn: Turn, strand: Strand, epoch: EpochId, opened: Opened) -> None:
    """An application message of a conversation."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The conversation stands elsewhere."""


def forget(turn: Turn, subject: bytes) -> None:
    """Duty SEEN: ids that need not be remembered any more."""
