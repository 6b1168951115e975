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
    """We are no member of a conversation any more."""

    conversation: GroupId
    removed: bool


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


Event = (
    Message
    | MessageFate
    | IntentFate
    | MembersChanged
    | Invited
    | Gone
    | DevicesChanged
    | Removing
    | Forked
    | Split
    | OutOfSync
    | ContactChanged
    | Warned
)
