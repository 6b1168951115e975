"""What is wanted of groups, by us and of us, as values: `intents`, `invitations` and `stock` change them.

An `Intent` names people by account and by the incarnations that they had when it was decided on, never by a leaf: it
outlives the branch that it was carried out on first. It is the same on all devices of the account. One of them acts.

Devices tell each other of intents, and a stolen one may tell of any. `check` refuses what no honest device makes before
it is kept: what is kept is acted on later, when nobody can be told any more that it was bad.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from mls.codec import decode_exactly
from mls.errors import MlsError
from mls.key_package import KeyPackage
from mls.persistent import PMap
from mls.suite import SUITES
from vcd.core.accounts.credential import read
from vcd.core.errors import Malformed
from vcd.core.names import AccountId, DeviceId, EpochId, GroupId, Incarnation, IntentId
from vcd.core.policy import Policy
from vcd.core.topics import TopicSecret

NOBODY, NOWHERE = AccountId(b""), GroupId(b"")

MAX_MADE = 32
"""Commits that are remembered for an intent; a branch is long forgotten by the time that there are more."""
MAX_TRIES = 64
"""Tries that are counted: the wait has long stopped growing by then."""
MAX_TERM = 1 << 16
"""How often anything is taken over or fetched is less. At the last term the name of a device decides alone who acts."""
MAX_WHO = 1024
"""Incarnations that an intent names, of those who are to go and of those whom nobody is behind."""
MAX_GREETING = 1024


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


def has_all(intent: Intent) -> bool:
    """Whether it has what is needed to carry it out, and nothing that belongs to another kind."""
    invites, changes = intent.kind is Kind.INVITE, intent.kind is Kind.POLICY
    rules = (intent.policy is not None, intent.was is not None)
    return (intent.reply is not None) is invites and rules == (changes, changes)


def check(intent: Intent) -> None:
    """Refuse what another device told if no honest device makes it."""
    if not has_all(intent) or (intent.kind is Kind.INVITE and not intent.account):
        raise Malformed("an intent without what its kind needs")
    if intent.policy is not None and intent.was is not None and intent.policy.mode is not intent.was.mode:
        raise Malformed("an intent that changes a group's mode")
    ids = (intent.intent, intent.origin, intent.device)
    hashes = (intent.author, *intent.targets, *intent.dead)
    raw = None if intent.reply is None else intent.reply.raw
    if (
        any(len(each) != 16 for each in ids)
        or any(len(each) != 32 for each in hashes)
        or any(len(each) not in {0, 32} for each in (intent.account, intent.fingerprint))
        or (raw is not None and len(raw) != 32)
    ):
        raise Malformed("an intent with a name that is none")
    if (
        max(intent.term, intent.fetches) > MAX_TERM
        or intent.tries > MAX_TRIES
        or len(intent.made) > MAX_MADE
        or max(len(intent.targets), len(intent.dead)) > MAX_WHO
        or len(intent.greeting) > MAX_GREETING
    ):
        raise Malformed("an intent with more than there can be")
    if intent.package:
        _check_package(intent.package)


def _check_package(data: bytes) -> None:
    try:
        found = decode_exactly(data, KeyPackage.decode)
    except MlsError as error:
        raise Malformed(str(error)) from None
    if found.cipher_suite not in SUITES:
        raise Malformed("an intent with a KeyPackage of an unknown cipher suite")
    read(found.leaf_node.credential)


def taken_over(intent: Intent, device: DeviceId, now: int) -> Intent:
    """The same, with another device to act."""
    return replace(intent, device=device, term=min(intent.term + 1, MAX_TERM), since=now)


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
