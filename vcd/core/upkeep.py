"""What has to be done in every group now and then, by somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import EpochId, GroupId

if TYPE_CHECKING:
    from mls.group import ProposalMessage
    from vcd.core.ordering.graph import Step
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


def followed(turn: Turn, group_id: GroupId, step: Step, *, ours: bool) -> None:
    """A commit was followed."""


def proposed(turn: Turn, group_id: GroupId, epoch: EpochId, event: ProposalMessage) -> None:
    """A proposal waits for a commit."""


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """What has to be done in every group now and then, by somebody."""


def update(turn: Turn, subject: bytes) -> None:
    """Duty UPDATE."""


def evict(turn: Turn, subject: bytes) -> None:
    """Duty STALE."""
