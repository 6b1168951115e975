"""What people call things: the account itself, as its cards suggest it to others, and chats.

A label is the same on all devices of the account, and nobody else is told of it. It goes by what it is for: empty for
the account, the name of a conversation else. Of two that were given apart the later one stands, by the clocks of those
who gave them (and the greater text, at one instant), so all devices come to the same one in whatever order they hear.

There are at most `MAX_LABELS`. Labels of conversations that are not here give way first, by name; a device may hear
of a label before it is in the conversation, so they are kept as long as there is room.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mls.persistent import PMap
from vcd.core import devices, siblings
from vcd.core.accounts.identity import readable
from vcd.core.errors import Misuse
from vcd.core.household import Label
from vcd.core.names import GroupId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.state import State
    from vcd.core.turn import Turn

MAX_LABELS = 8192
MAX_TEXT = 64
MAX_WHAT = 255
ACCOUNT = b""


def text(state: State, what: bytes) -> str:
    """What people call it; empty if nothing."""
    found = state.household.labels.find(what)
    return "" if found is None else found.text


def give(turn: Turn, command: inputs.Label) -> None:
    """Call something by a name, or by none."""
    devices.require(turn)
    if not _fits(command.what, command.text):
        raise Misuse("bad-name", f"A name is one line of at most {MAX_TEXT} letters.")
    old = turn.state.household.labels.find(command.what)
    at = turn.now if old is None else siblings.after(old.at, turn.now)
    _take(turn, command.what, Label(text=command.text, at=at))
    devices.tell(turn, siblings.Labeled(what=command.what, text=command.text, at=at))


def on_labeled(turn: Turn, told: siblings.Told, record: siblings.Labeled) -> None:
    """Another device was told what something is called."""
    del told
    if not _fits(record.what, record.text):
        turn.drop("label")
        return
    new, old = Label(text=record.text, at=record.at), turn.state.household.labels.find(record.what)
    if old is None or (old.at, old.text) < (new.at, new.text):
        _take(turn, record.what, new)


def records(turn: Turn) -> list[siblings.Labeled]:
    """All that is called anything, or was, as devices tell it each other."""
    return [
        siblings.Labeled(what=what, text=each.text, at=each.at) for what, each in turn.state.household.labels.items()
    ]


def _fits(what: bytes, said: str) -> bool:
    if len(what) > MAX_WHAT:
        return False
    try:
        if said:
            readable(said, MAX_TEXT, "a name")
    except ValueError:
        return False
    return True


def _take(turn: Turn, what: bytes, label: Label) -> None:
    labels = turn.state.household.labels.set(what, label)
    while len(labels) > MAX_LABELS:
        labels = labels.discard(_least(turn, labels, what))
    devices.keep(turn, labels=labels)


def _least(turn: Turn, labels: PMap[bytes, Label], new: bytes) -> bytes:
    """Which one gives way: of what is not here the oldest, else the oldest; never the account's, nor the new one."""
    several = [each for each in labels if each not in (ACCOUNT, new)]
    return min(several, key=lambda each: (GroupId(each) in turn.state.talks, labels[each].at, each))
