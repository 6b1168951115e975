"""What a line does to messages, what comes out of a simulation, and what it counts."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import NewType, TypeAlias

from transport.base import Frame, Link, PeerId
from transport.conduct import Offence

QuestionId = NewType("QuestionId", int)
"""A question or a reconciliation that a node began; unique in its simulation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What a link does to what is sent over it, the same both ways. Times are milliseconds.

    Gossip is lost, doubled and overtaken as said here. Questions and reconciliation run on streams: there a loss
    is a delay, as TCP would make of it.
    """

    delay: int = 20  # one way
    jitter: int = 10  # up to this much more, evenly
    loss: float = 0.0  # chance that a message never comes
    duplication: float = 0.0  # chance that it comes twice
    reordering: float = 0.0  # chance that it may overtake those before it
    bandwidth: int | None = None  # bytes per second
    queue: int = 2000  # what would have to wait longer for the bandwidth is lost


PERFECT = Conditions(delay=1, jitter=0)


class Failure(enum.Enum):
    """Why a question has no answer."""

    AWAY = "not connected, or went away"
    SLOW = "no answer in time"
    REFUSED = "refused"


# ---------------------------------------------------------------- what happens to a node


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A frame that is new to this node. From now on the node has it, over crashes too, unless `restart` says less."""

    node: PeerId
    frame: Frame
    source: PeerId


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerChanged:
    node: PeerId
    peer: PeerId
    link: Link
    until: int | None = None  # milliseconds since 1970: when a bar ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Answer with `Simulation.answer` or `Simulation.refuse`, now or later."""

    node: PeerId
    question: QuestionId
    source: PeerId
    protocol: str
    body: bytes = field(repr=False)
    deadline: int  # milliseconds since 1970: when the asker stops waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    node: PeerId
    question: QuestionId
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Synchronized:
    """A reconciliation that this node asked for is done, and this many frames came by it."""

    node: PeerId
    question: QuestionId
    came: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A question or a reconciliation that this node asked for will have no answer."""

    node: PeerId
    question: QuestionId
    failure: Failure


Happening: TypeAlias = Delivered | PeerChanged | Asked | Answered | Synchronized | Failed
"""One thing that happened to one node, when the simulation's `now` was what it is."""


# ---------------------------------------------------------------- what is counted


@dataclass(slots=True)
class Tally:
    """What one node did and suffered. Each message of gossip carries one frame."""

    published: int = 0
    delivered: int = 0
    messages_out: int = 0
    messages_in: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    duplicates: int = 0  # came, and was here already
    lost: int = 0  # sent, and never came
    held: int = 0  # came while the node took nothing in
    expired: int = 0  # came too late by the node's clock, or far too early
    rounds: int = 0  # reconciliations that this node took part in
    synced: int = 0  # frames that came by them
    offences: dict[Offence, int] = field(default_factory=dict)
