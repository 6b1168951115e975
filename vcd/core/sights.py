"""What a device remembers of its dealings with a group's other members, beside the group itself.

Nothing here counts for where a group stands. It is lost without harm: then a question is asked once more, or answered
twice. `partitions` owns `Sight`, `summaries` what is in `Comparing`, `desync` what is in `Recovery`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mls.secrets import HpkePrivateKey
from vcd.core.names import EpochId, GroupId, Incarnation
from vcd.core.payloads import HeadPlea, Plea
from vcd.core.topics import TopicSecret

if TYPE_CHECKING:
    from vcd.core.state import State
    from vcd.core.turn import Turn

MAX_OWED = 64
"""Answers that one group may be waiting for from us; more are not promised."""

MAX_ANSWERED = 256

NOBODY = Incarnation(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """An answer that this device gives unless somebody gives it before."""

    at: int
    topic: TopicSecret
    """Where it was asked for."""
    epoch: EpochId | None = None
    proposals: EpochId | None = None
    plea: Plea | HeadPlea | None = None
    proof: EpochId | None = None
    """The last final epoch before the one of which it is to be shown how it became so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparing:
    """Of `summaries`."""

    changed: int = 0
    """When the group last stood elsewhere than before."""
    shown: int = 0
    """When branches were last shown to the others as they are here, by whomever."""
    replied: int = 0
    """When what somebody lacked was last shown."""
    wanted: int = 0
    """When what headers tell of was last asked for."""
    owed: tuple[Owed, ...] = ()
    answered: tuple[tuple[bytes, int], ...] = ()
    """What was given out, by whomever, and when; newest last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """Of `desync`."""

    told: bool = False
    """Whether people were told that this device cannot follow."""
    asks: bool = False
    """Whether they were told that coming back needs their consent."""
    consent: bool = False
    tries: int = 0
    private: HpkePrivateKey | None = None
    """What the answer to our plea is sealed to."""
    public: bytes = b""
    entered: EpochId | None = None
    """The epoch that we came back by, until somebody else follows."""
    by: Incarnation = NOBODY
    """Who told us where to come back."""
    until: int = 0
    doubts: int = 0
    """How often somebody who knows of it showed another head."""
    distrusted: tuple[Incarnation, ...] = ()
    """Who told us of places where nobody followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """Whom we see of a group. Times are in milliseconds awake."""

    peers: int = 0
    mailbox: bool = False
    seen: bool = False
    """Whether anybody was ever seen."""
    alone: int | None = None
    """Since when nobody is."""
    suspected: int | None = None
    """Since when the network seems to be split."""
    comparing: Comparing = field(default_factory=Comparing)
    recovery: Recovery = field(default_factory=Recovery)


def sight_of(state: State, group_id: GroupId) -> Sight:
    return state.sights.find(group_id) or Sight()


def put_sight(turn: Turn, group_id: GroupId, sight: Sight) -> None:
    if turn.state.sights.find(group_id) != sight:
        turn.change(sights=turn.state.sights.set(group_id, sight))
