"""What the account's devices tell each other beyond what `mls.virtual.announcements` has words for.

A record travels as an application message of the home: a byte of 0x80, then the record as one of `Sibling`. Tell it
with `devices.tell`, which also says it again where the branch it was said on loses: so it may be heard twice, or late,
and whoever handles it has to bear that. `HANDLERS` says which room does.

    class NewKind:               RECORD_TAG: ClassVar[int] = the next free number; the class goes into `Sibling`
    handlers()[NewKind]          called as handler(turn, told, record)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from vcd.core.accounts.identity import AccountKey
from vcd.core.accounts.overrule import Overrule
from vcd.core.errors import Malformed
from vcd.core.names import AccountId, DeviceId, EpochId, GroupId, IntentId
from vcd.core.payloads import Lineage, SignedStep
from vcd.core.record import decode_as, encode_as
from vcd.core.topics import TopicSecret
from vcd.core.wanting import Intent, check

if TYPE_CHECKING:
    from vcd.core.turn import Turn

MARK = 0x80
"""The first byte, which no announcement has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Where a record came from."""

    device: DeviceId
    epoch: EpochId
    """Of the home."""
    newest: bytes
    """The derivation epoch in which its device was then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccountKey:
    """The account key that came with a new list of devices. `devices`"""

    RECORD_TAG: ClassVar[int] = 1
    public: bytes
    private: AccountKey


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelegateKey:
    """The delegate key of a new term, sealed to the leaf key of one device. `devices`"""

    RECORD_TAG: ClassVar[int] = 2
    device: DeviceId
    public: bytes
    kem: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """A device that was added has taken up the account. `devices`"""

    RECORD_TAG: ClassVar[int] = 3
    device: DeviceId


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A device's part of the overrule key of a term, sealed to its leaf key. `overruling`"""

    RECORD_TAG: ClassVar[int] = 4
    device: DeviceId
    kem: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OverruleTold:
    """What a device wants instead of its delegates, as far as it is signed. `overruling`"""

    RECORD_TAG: ClassVar[int] = 5
    overrule: Overrule


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrulePart:
    """The part of the device that says so, sealed to the leaf key of the one that asked for it. `overruling`"""

    RECORD_TAG: ClassVar[int] = 6
    device: DeviceId
    digest: bytes
    kem: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentMade:
    """Something is wanted, or how far it is. `intents`"""

    RECORD_TAG: ClassVar[int] = 20
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentOver:
    """It is over, and why if it was refused. `intents`"""

    RECORD_TAG: ClassVar[int] = 21
    intent: IntentId
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WelcomeAnswered:
    """The user accepted an invitation, or declined it. `invitations`"""

    RECORD_TAG: ClassVar[int] = 22
    group_id: GroupId
    accept: bool
    welcome: bytes = b""
    """Which one the user was asked of, by its hash. What was declined is that one, and none that comes later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replied:
    """A Welcome that none of us could take up was answered. `invitations`"""

    RECORD_TAG: ClassVar[int] = 23
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactAdded:
    """Somebody's card. `contacts`"""

    RECORD_TAG: ClassVar[int] = 24
    card: bytes = field(repr=False)
    petname: str
    at: int
    """When, in the time of `Book.later`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactBlocked:
    """The user wants nothing of somebody any more, or again. `contacts`"""

    RECORD_TAG: ClassVar[int] = 25
    account: AccountId
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CameBack:
    """What led to where the account came back into a conversation, for who knows nothing of before. `comeback`"""

    RECORD_TAG: ClassVar[int] = 26
    group_id: GroupId
    lineage: Lineage
    signed: SignedStep


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactVerified:
    """The user compared fingerprints with somebody, and they are the same. `contacts`"""

    RECORD_TAG: ClassVar[int] = 27
    account: AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyWanted:
    """A device lacks the signature key of one of our leaves, and asks another one that may have it. `comeback`

    Or it lacks a key that came with the list of devices. `list_keys`
    """

    RECORD_TAG: ClassVar[int] = 28
    device: DeviceId
    public: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactRemoved:
    """The user does not want to know somebody any more. `contacts`"""

    RECORD_TAG: ClassVar[int] = 29
    account: AccountId
    at: int
    """When, in the time of `Book.later`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendsTold:
    """A conversation of send groups that the account is in, or does not want to be in. `calls`"""

    RECORD_TAG: ClassVar[int] = 30
    group_id: GroupId
    by: AccountId
    topic: TopicSecret
    number: int
    accept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SendsNamed:
    """The send group that the device which says so has in such a conversation. `calls`"""

    RECORD_TAG: ClassVar[int] = 31
    group_id: GroupId
    name: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inside:
    """Conversations that the device which says so is in. `bringing`"""

    RECORD_TAG: ClassVar[int] = 32
    group_ids: tuple[GroupId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lacking:
    """A conversation that the device which says so is not in, while another one is. `bringing`"""

    RECORD_TAG: ClassVar[int] = 33
    group_id: GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """The device that says so chooses no commit on that epoch, as it is not in it: the next one does. `deputies`"""

    RECORD_TAG: ClassVar[int] = 34
    group_id: GroupId
    epoch: EpochId


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftAlone:
    """Who votes for the account stood alone in a conversation that is to be left, and has gone. `leaving`"""

    RECORD_TAG: ClassVar[int] = 35
    intent: Intent


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTold:
    """How we came into an app's group: an announcement of `mls.virtual`. `raw_care`"""

    RECORD_TAG: ClassVar[int] = 40
    group_id: GroupId
    announcement: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawForgotten:
    """An app wants nothing of a group any more. `raw_care`"""

    RECORD_TAG: ClassVar[int] = 41
    group_id: GroupId
    entry: EpochId
    """The epoch that we had come in by: who comes in again comes in by another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled:
    """What something is called. `labels`"""

    RECORD_TAG: ClassVar[int] = 50
    what: bytes
    text: str
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateSet:
    """The X.509 chain that the account shows for its key, or none. `certificates`"""

    RECORD_TAG: ClassVar[int] = 51
    chain: tuple[bytes, ...] = field(repr=False)
    key: bytes
    """The account key that it is for."""
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """A device may not have heard of all that the others know of people and names, or have forgotten it. `recalling`"""

    RECORD_TAG: ClassVar[int] = 52
    whole: bytes
    """A hash of what it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What that device may lack: records as they were told once. `recalling`"""

    RECORD_TAG: ClassVar[int] = 53
    device: DeviceId
    records: tuple[bytes, ...] = field(repr=False)
    whole: bytes
    """A hash of all that is told so, of which this may be a part."""


Sibling = (
    NewAccountKey
    | NewDelegateKey
    | Here
    | Part
    | OverruleTold
    | OverrulePart
    | IntentMade
    | IntentOver
    | WelcomeAnswered
    | Replied
    | ContactAdded
    | ContactBlocked
    | CameBack
    | ContactVerified
    | KeyWanted
    | ContactRemoved
    | SendsTold
    | SendsNamed
    | Inside
    | Lacking
    | Passed
    | LeftAlone
    | RawTold
    | RawForgotten
    | Labeled
    | CertificateSet
    | Compare
    | Recalled
)


MAX_TIME = 1 << 53
"""No clock of anybody's shows more, in milliseconds since 1970. What is said next is later, and has to be a number."""


def after(at: int, now: int) -> int:
    """The time of what is said now, of something that was said at that time. After the last one there is none."""
    return min(max(now, at + 1), MAX_TIME)


Handler = Callable[["Turn", Told, Any], None]


@cache
def handlers() -> Mapping[type[Any], Handler]:
    """Which room takes which record. Rooms are imported here, as they import this one."""
    from vcd.core import (
        bringing,
        calls,
        certificates,
        comeback,
        contacts,
        deputies,
        devices,
        intents,
        invitations,
        labels,
        leaving,
        overruling,
        raw_care,
        recalling,
    )

    return {
        NewAccountKey: devices.on_account_key,
        NewDelegateKey: devices.on_delegate_key,
        Here: devices.on_here,
        Part: overruling.on_dealt,
        OverruleTold: overruling.on_told,
        OverrulePart: overruling.on_part,
        IntentMade: intents.on_intent,
        IntentOver: intents.on_over,
        WelcomeAnswered: invitations.on_answered,
        Replied: invitations.on_replied,
        ContactAdded: contacts.on_added,
        ContactBlocked: contacts.on_blocked,
        CameBack: comeback.on_came_back,
        ContactVerified: contacts.on_verified,
        KeyWanted: comeback.on_key_wanted,
        ContactRemoved: contacts.on_removed,
        SendsTold: calls.on_told,
        SendsNamed: calls.on_named,
        Inside: bringing.on_inside,
        Lacking: bringing.on_lacking,
        Passed: deputies.on_passed,
        LeftAlone: leaving.on_left,
        RawTold: raw_care.on_told,
        RawForgotten: raw_care.on_forgotten,
        Labeled: labels.on_labeled,
        CertificateSet: certificates.on_set,
        Compare: recalling.on_compare,
        Recalled: recalling.on_recalled,
    }


def pack(record: Sibling) -> bytes:
    return bytes([MARK]) + encode_as(Sibling, record)


def unpack(data: bytes) -> Sibling:
    if data[:1] != bytes([MARK]):
        raise Malformed("no record of ours")
    found: Sibling = decode_as(Sibling, data[1:])
    if isinstance(found, ContactAdded | ContactRemoved | Labeled | CertificateSet) and found.at > MAX_TIME:
        raise Malformed("a time that nothing can be later than")
    if isinstance(found, IntentMade | LeftAlone):
        check(found.intent)
    return found
