"""What the node asks its surroundings to do. Run them after the state that came with them is stored, in order.

Every one of them may be run twice: after a crash, `inputs.Started` gives again what nobody said was done.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.key_package import KeyPackage
from vcd.core.names import AccountId, DeviceId, GroupId, TopicId
from vcd.core.topics import WriteSeed


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """Take part in a topic."""

    topic: TopicId
    seed: WriteSeed


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Take part no more."""

    topic: TopicId


@dataclass(frozen=True, slots=True, kw_only=True)
class Publish:
    """Put a payload into a frame of a topic. Answer with `inputs.Published(number)` when the mesh has stored it."""

    number: int
    topic: TopicId
    seed: WriteSeed
    payload: bytes = field(repr=False)
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wake:
    """Give `inputs.Tick` at this time, in milliseconds since 1970. Replaces the last one."""

    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Synchronize:
    """Compare a topic's frames with somebody who has it, soon."""

    topic: TopicId


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """Somebody who shares a group with us says where they can be reached. Check the record before it is used."""

    group: GroupId
    record: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPackage:
    """Ask where a contact's KeyPackages are given out; answer with `inputs.Fetched`."""

    account: AccountId
    addresses: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferPackages:
    """Add KeyPackages to what is given out for us, each to one caller; they were announced to all devices.

    Answer with `inputs.Offered` when they are stored there. Until then they are offered again, and whoever gives them
    out knows them by their references: one that was there before, given out or taken back since, is not added again.
    """

    packages: tuple[KeyPackage, ...] = field(repr=False)
    references: tuple[bytes, ...]
    strangers: tuple[bool, ...] = ()
    """Which of them anybody may have; the others are for contacts."""
    last_resort: tuple[bool, ...] = ()
    """Which of them are given to any number of callers, when there are no others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeBackPackages:
    """Give these out no more. Answer with `inputs.TakenBack`."""

    references: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """Give this to a device that is being linked, over the channel that it was linked by."""

    device: DeviceId
    welcome: bytes = field(repr=False)


Effect = Join | Leave | Publish | Wake | Synchronize | Met | FetchPackage | OfferPackages | TakeBackPackages | HandOver
