"""Whose turn it is, where several could do the same thing and one is enough.

Nobody is asked. Whoever comes first in an order that all of them know does it, each next one `turn_taking` later if it
is still to be done by then. Members of a conversation take turns so, and the devices of each within its turn; where
two do it all the same, there is a fork more, and the ordering chooses. What is tried again after it lost waits twice as
long each time, and a little longer or shorter for each device and thing, so that two who got into each other's way do
not do so for ever. The little is a hash: nothing here is drawn at random.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vcd.core import steps
from vcd.core.names import DeviceId
from vcd.core.ordering.graph import Member

if TYPE_CHECKING:
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

_DEVICES = 4
"""So many devices of one member take their turns within the member's own; further ones share the last."""


def own(strand: Strand) -> Member | None:
    """Which member of the head we are; None if that is not known here, or we are none."""
    here = strand.here
    if here is None:
        return None
    return steps.at_leaf(strand.graph.members(strand.head), here.group.own_leaf)


def place(members: Sequence[Member], member: Member) -> int:
    """How many of these come before a member."""
    return sum(each.rank < member.rank for each in members)


def devices(turn: Turn) -> tuple[DeviceId, ...]:
    """The account's devices, the most senior first, where the head of the home is."""
    home = turn.home
    return tuple(DeviceId(each.account) for each in home.graph.members(home.head))


def device_place(turn: Turn) -> int:
    """How many of our devices come before this one."""
    everybody = devices(turn)
    mine = turn.state.me.device
    return everybody.index(mine) if mine in everybody else len(everybody)


def place_beside(turn: Turn, device: DeviceId | None) -> int:
    """How many of our devices take their turn before this one, another one aside."""
    others = [each for each in devices(turn) if each != device]
    mine = turn.state.me.device
    return others.index(mine) if mine in others else len(others)


def turn_of(turn: Turn, before: int, *, home: bool = False) -> int:
    """How long to wait, in milliseconds, with so many members before us."""
    taking = turn.state.config.turn_taking
    mine = 0 if home else min(device_place(turn), _DEVICES - 1) * taking // _DEVICES
    return before * taking + mine


def backoff(turn: Turn, subject: bytes, tries: int) -> int:
    """How long to wait before something is tried again."""
    config, tries = turn.state.config, min(tries, (1 << 32) - 1)
    wait = min(config.retry << min(max(tries - 1, 0), 30), config.retry_most)
    return wait + spread(turn, subject + tries.to_bytes(4, "big"), wait // 2)


def spread(turn: Turn, subject: bytes, most: int) -> int:
    """A time below `most` that differs by device and thing, and is the same each time."""
    digest = hashlib.sha256(b"vcd spread" + turn.state.me.device + subject).digest()
    return int.from_bytes(digest[:8], "big") * most >> 64
