"""What is wanted of groups, by us and of us, as values: `intents`, `invitations` and `stock` change them.

An `Intent` names people by account and by the incarnations that they had when it was decided on, never by a leaf: it
outlives the branch that it was carried out on first. It is the same on all devices of the account. One of them acts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mls.persistent import PMap
from vcd.core.names import AccountId, DeviceId, EpochId, GroupId, Incarnation, IntentId
from vcd.core.policy import Policy
from vcd.core.topics import TopicSecret

NOBODY, NOWHERE = AccountId(b""), GroupId(b"")


class Kind(enum.Enum):
    """What is wanted."""

    INVITE = 1  # somebody is to come in
    REMOVE = 2  # somebody is to go
    DEPART = 3  # we are to go
    REFRESH = 4  # our leaf is to have fresh keys
    POLICY = 5  # the group is to have other rules


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """Something that is wanted."""

    intent: IntentId
    kind: Kind
    group_id: GroupId
    origin: DeviceId
    """Whose app is told of it."""
    device: DeviceId
    """Who acts."""
    term: int = 0
    """How often another device took it over."""
    decided_on: EpochId
    author: Incarnation
    """Ours, when it was decided."""
    account: AccountId = NOBODY
    targets: tuple[Incarnation, ...] = ()
    """Who is to go."""
    fingerprint: bytes = b""
    """A hash of the credential of whom it concerns, as it was when it was decided, or as the KeyPackage has it."""
    greeting: str = ""
    policy: Policy | None = None
    was: Policy | None = None
    """The rules that `policy` was to replace."""
    package: bytes = field(default=b"", repr=False)
    """Whoever comes in comes in by this KeyPackage, however often it takes."""
    reply: TopicSecret | None = None
    """Where an answer to the Welcome is heard."""
    dead: tuple[Incarnation, ...] = ()
    """Incarnations of theirs by KeyPackages that they could not use: nobody is behind these."""
    fetches: int = 0
    tries: int = 0
    made: tuple[EpochId, ...] = ()
    """Epochs that commits for it began, the newest last."""
    since: int = 0
    """When this device heard of it last, by its own clock."""
    quiet: bool = False
    """Nobody is told what became of it: nobody asked for it, or they were (`leaving.is_done`)."""


class Stage(enum.Enum):
    """What an invitation waits for."""

    SIBLINGS = 1  # another device has to tell of the KeyPackage; also after it was answered that nobody did
    ANSWER = 2  # the user has to answer
    ANSWERED = 3  # the answer came from another device, before the Welcome did


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A Welcome that waits. The KeyPackage is used only when it is accepted."""

    stage: Stage
    payload: bytes = field(default=b"", repr=False)
    """The `Invite`; empty if only the answer is known."""
    group_id: GroupId = NOWHERE
    """Empty if it could not be opened yet."""
    by: AccountId = NOBODY
    greeting: str = ""
    accept: bool = False
    """With ANSWERED."""
    welcome: bytes = b""
    """With ANSWERED: the hash of the Welcome that the user was asked of."""
    since: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A KeyPackage that this device made and gives out."""

    not_after: int
    """In seconds since 1970."""
    given: bool = False
    public: bool = False
    """Whether strangers may have it."""
    last: bool = False
    """Whether it is one of last resort."""
    package: bytes = field(default=b"", repr=False)
    """The KeyPackage, until it is with whoever gives it out; then empty."""
    head: bytes = b""
    """The digest of the head that it shows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a KeyPackage of ours was used for."""

    group_id: GroupId
    epoch: EpochId


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Where each KeyPackage is."""

    mine: PMap[bytes, Share] = field(default_factory=PMap)
    """Made by this device, by reference."""
    going: PMap[bytes, int] = field(default_factory=PMap)
    """To be given out no more, until that was confirmed: by reference, since when."""
    uses: PMap[bytes, tuple[Use, ...]] = field(default_factory=PMap)
    """Of whichever device's."""
