"""Where this device can be reached: told to those who share a group with it, and heard from them.

Members have to find each other without a server. Contacts' cards and the account's own devices are known; whom a
contact brought into a conversation is not. So each device shows a record of itself in the topics of its groups, sealed
like everything there, where the group stands: when its surroundings give it a new one (`inputs.Here`), and in every
topic that is new. What comes of the others' is for the surroundings (`effects.Met`).

A record is opaque here. It is signed by the peer that it is about, so nobody can show a false one of somebody else;
the surroundings check that, and decide whom they dial and how often. Nothing of it is kept: a device that missed it
hears the next one, as records are renewed within hours, or finds its way through somebody who did not. Who wants to
stay unseen gives no record, or one that names a mailbox or a relay only; an empty one takes nothing back.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mls.persistent import PMap
from vcd.core.duties import Duty
from vcd.core.effects import Met
from vcd.core.errors import Misuse
from vcd.core.names import FrameId, GroupId, TopicId
from vcd.core.payloads import MAX_RECORD, Presence
from vcd.core.policy import SECOND

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.state import Joined
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

AT_ONCE = 64
"""Topics in which it is shown by one step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where we are, and where we said so."""

    record: bytes = field(default=b"", repr=False)
    expires: int = 0
    shown: PMap[TopicId, int] = field(default_factory=PMap)
    """Topics in which this record is shown, with when that was."""


def here(turn: Turn, given: inputs.Here) -> None:
    """The surroundings say where we are."""
    if len(given.record) > MAX_RECORD:
        raise Misuse("record-size", "A record of where a device can be reached is short.")
    if given.record == turn.state.place.record:
        return
    turn.change(place=Place(record=given.record, expires=given.expires))
    _soon(turn)


def joined(turn: Turn) -> None:
    """There are new topics."""
    if turn.state.place.record:
        _soon(turn)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """A group stands elsewhere: that may be in a topic where we did not say it yet."""
    if turn.state.place.record and before.head != after.head:
        _soon(turn)


def _soon(turn: Turn) -> None:
    turn.due(Duty.PLACE, b"", turn.now + SECOND)


def show(turn: Turn, _: bytes) -> None:
    """Duty PLACE: wherever it was not shown yet."""
    place = turn.state.place
    if not place.record or place.expires <= turn.now:
        return
    wanted = [name for name in sorted(turn.state.joined) if _ours(turn, turn.state.joined[name])]
    new = [name for name in wanted if name not in place.shown]
    for name in new[:AT_ONCE]:
        life = place.expires - turn.now
        turn.publish(turn.state.joined[name].secret, Presence(record=place.record), life=life)
    gone = [name for name in place.shown if name not in turn.state.joined]
    shown = place.shown.changed(gone, dict.fromkeys(new[:AT_ONCE], turn.now))
    turn.change(place=replace(place, shown=shown))
    if len(new) > AT_ONCE:
        _soon(turn)


def _ours(turn: Turn, joined: Joined) -> bool:
    """Whether those who read a topic are who we are in a group with now: who went reads older ones for a while."""
    if joined.group_id is None or joined.inbox or joined.until is not None:
        return False
    strand = turn.state.strands.find(joined.group_id)
    if strand is None:
        return True
    return strand.here is not None and strand.here.topic.raw == joined.secret.raw


def on_presence(turn: Turn, group_id: GroupId, payload: Presence, frame: FrameId) -> None:
    """Somebody of a group can be reached there."""
    del frame
    turn.effects.append(Met(group=group_id, record=payload.record))
