"""draft-xue-distributed-mls-02 §5.1: what cannot be read yet, and what never will be.

Commits of different send groups depend on each other through the epochs that they take up. What came too early is not
kept here: the error says which epochs it waits for, and who holds the messages tries again once one of those is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.errors import StaleError, WrongGroupError
from mls.registries import Epoch, GroupId


@dataclass(frozen=True, slots=True)
class EpochName:
    """One epoch of one send group."""

    group_id: GroupId
    epoch: Epoch


class AwaitedError(StaleError):
    """The message depends on epochs that are still to come here; try again when one of `needs` was entered."""

    def __init__(self, *needs: EpochName) -> None:
        self.needs = needs
        first = needs[0]
        super().__init__(f"epoch {first.epoch} of send group {first.group_id.hex()} was not entered yet")


class LostEpochError(StaleError):
    """A commit takes up an epoch that was before our time, or was forgotten: its send group cannot be followed on."""

    def __init__(self, lost: EpochName) -> None:
        self.lost = lost
        super().__init__(f"epoch {lost.epoch} of send group {lost.group_id.hex()} is gone here")


class StrangerError(WrongGroupError):
    """It is about somebody of whom no member has told us: the send group's owner, or one whose name its leaf's key does
    not prove. If it is of our DGroup, try again when one has.
    """
