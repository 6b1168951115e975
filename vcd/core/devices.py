"""The account's devices: their group, the home, what they tell each other, and how devices come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mls.virtual.announcements import Announcement
from vcd.core import keys, siblings
from vcd.core.household import Household as Household
from vcd.core.names import EpochId
from vcd.core.payloads import Post

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.keys import Opened
    from vcd.core.ordering.graph import Step
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn


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


def tell(turn: Turn, record: siblings.Sibling) -> None:
    """Tell our other devices something (`siblings`), until all can have heard it."""
    sealed = keys.seal(turn, turn.home, siblings.pack(record))
    turn.publish(turn.home.kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))


def announce(turn: Turn, announcement: Announcement) -> None:
    """The same for what `mls.virtual` has words for."""
    sealed = keys.announce(turn, announcement)
    turn.publish(turn.home.kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))


def chore(turn: Turn, subject: bytes) -> None:
    """Duty HOME."""


def on_account_key(turn: Turn, told: siblings.Told, record: Any) -> None: ...
def on_delegate_key(turn: Turn, told: siblings.Told, record: Any) -> None: ...
def on_here(turn: Turn, told: siblings.Told, record: Any) -> None: ...
