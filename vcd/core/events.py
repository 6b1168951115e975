"""What apps are told. They are stored with the state that they came with, in order, and each comes once."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from vcd.core.names import AccountId, ContentId, DeviceId, EpochId, GroupId, IntentId


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something that was said. `device` is known for what our own account said."""

    conversation: GroupId
    content: ContentId
    sender: AccountId
    ours: bool
    device: DeviceId | None
    said_at: int
    after: tuple[ContentId, ...]
    data: bytes = field(repr=False)
    media: str
    relayed: bool


class Fate(enum.Enum):
    """What became of something that was said or wanted here."""

    SENT = 1  # on its way
    AGAIN = 2  # it was on a branch that lost, and is said again
    CONFIRMED = 3  # it is on a branch that is final
    ASKS = 4  # saying it again would show it to somebody new: the user decides
    RETURNED = 5  # it could not be confirmed in time, or was refused


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageFate:
    """What became of a message of ours."""

    conversation: GroupId
    content: ContentId
    fate: Fate


@dataclass(frozen=True, slots=True, kw_only=True)
class IntentFate:
    """What became of something that was wanted. `reason` is a code of docs/node-reference.md where it was refused."""

    intent: IntentId
    stands: bool
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MembersChanged:
    """Who is in a conversation now, where the head of its branches is."""

    conversation: GroupId
    epoch: EpochId
    members: tuple[AccountId, ...]
    came: tuple[AccountId, ...]
    went: tuple[AccountId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invited:
    """Somebody opened a conversation with us. With `asks`, it waits for the user's answer."""

    conversation: GroupId
    by: AccountId
    asks: bool
    greeting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """We are no member of a conversation any more. It is told again when it turns out that the account wanted that."""

    conversation: GroupId
    removed: bool
    """Whether others wanted it, and not the account."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicesChanged:
    """The account's devices, where the head of the home is."""

    devices: tuple[DeviceId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Removing:
    """How far the removal of devices is: how many of the conversations have new keys."""

    devices: tuple[DeviceId, ...]
    rotated: int
    conversations: int
    complete: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OverruleAsked:
    """A device of the account asks for other delegates, or somebody signed that. It waits for `inputs.Countersign`."""

    device: DeviceId
    """Who asks, and puts the parts together."""
    digest: bytes
    stay: tuple[DeviceId, ...]
    """All others would be shut out."""
    delegates: tuple[DeviceId, ...]
    signed: tuple[DeviceId, ...]
    lacks: int
    """How many signatures it still takes. With none lacking the delay of the account's rules begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A group has branches that are not decided for good (`over`: now they are)."""

    group: GroupId
    branches: int
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The network seems to be split, as far as a group goes (`over`: not any more)."""

    group: GroupId
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfSync:
    """This device cannot follow a group. With `asks`, coming back needs somebody's consent."""

    group: GroupId
    asks: bool
    over: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactChanged:
    """A contact has a newer list of devices. With `shut_out`, a device was removed since we heard of them last."""

    account: AccountId
    version: int
    shut_out: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Warned:
    """Something that people should know: `code` is of docs/node-reference.md."""

    code: str
    group: GroupId | None = None
    account: AccountId | None = None
    text: str = ""


class RawKind(enum.Enum):
    """What came into an app's group."""

    MESSAGE = 1
    PROPOSAL = 2
    COMMIT = 3
    OWN = 4  # a commit of ours that came back
    NOTHING = 5  # it came before, or too late


@dataclass(frozen=True, slots=True, kw_only=True)
class RawHeard:
    """What an app's service delivered, for whoever gave it. It is told to nobody else."""

    group: GroupId
    kind: RawKind
    sender: int | None = None
    account: AccountId | None = None
    ours: bool = False
    device: DeviceId | None = None
    data: bytes = field(default=b"", repr=False)
    authenticated: bytes = b""
    came: tuple[int, ...] = ()
    went: tuple[int, ...] = ()
    dropped: bool = False
    """Whether a commit of ours was dropped for this."""
    lost: bool = False
    """Whether others could not read it, as another device of ours had said something on its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMade:
    """Frames of an app's group that were made in this step."""

    group: GroupId
    numbers: tuple[int, ...]
    first: bool
    """Whether there were none of this group to take before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOffered:
    """KeyPackages for an app to give out, for whoever asked for them."""

    packages: tuple[bytes, ...] = field(repr=False)
    expires: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntered:
    """An app's group that we made, or came into, or are about to; or that a Welcome led to."""

    group: GroupId


Event = (
    Message
    | MessageFate
    | IntentFate
    | MembersChanged
    | Invited
    | Gone
    | DevicesChanged
    | Removing
    | OverruleAsked
    | Forked
    | Split
    | OutOfSync
    | ContactChanged
    | Warned
    | RawHeard
    | RawMade
    | RawOffered
    | RawEntered
)
