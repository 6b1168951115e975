"""What the node is told: by the mesh, by the clock, and by apps and people (commands).

A command that cannot be carried out at all raises `Misuse` and changes nothing. What takes longer is an intent: the
`IntentId` that came with the command is in all events about it, and one that is known already is not begun again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.key_package import KeyPackage, KeyPackageSecrets
from vcd.core.accounts.identity import RootKey
from vcd.core.names import AccountId, ContentId, DeviceId, FrameId, GroupId, IntentId, TopicId
from vcd.core.policy import Mode, Policy

# ---------------------------------------------------------------- the surroundings


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The node was loaded. It gives again what may not have been done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """It is time for something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slept:
    """For so long of the time since the last input the device was not awake. The first input after sleep."""

    milliseconds: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """A frame came in one of our topics."""

    frame: FrameId
    topic: TopicId
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """The mesh has stored what `effects.Publish` gave it."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Online:
    """Whether anybody is connected, and what they have was compared with what we have."""

    online: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """How many others take part in a topic now, and whether a mailbox is among them."""

    topic: TopicId
    peers: int
    mailbox: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A contact's KeyPackage, or None if there was none to get."""

    account: AccountId
    package: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenOut:
    """A KeyPackage of ours was handed to somebody; so many are left."""

    reference: bytes
    left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenBack:
    """KeyPackages of ours are given out no more."""

    references: tuple[bytes, ...]


# ---------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True, kw_only=True)
class Say:
    """Say something in a conversation."""

    conversation: GroupId
    nonce: bytes
    """16 random bytes by the caller; the same one again is the same message."""
    data: bytes = field(repr=False)
    media: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SayAgain:
    """The user's answer to `events.Fate.ASKS`."""

    conversation: GroupId
    content: ContentId
    again: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Open a conversation."""

    conversation: GroupId
    mode: Mode = Mode.DEMLS
    policy: Policy | None = None
    """Other than the default of that mode; we are made an admin of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """Bring a contact into a conversation."""

    intent: IntentId
    conversation: GroupId
    account: AccountId
    greeting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Take somebody out of a conversation."""

    intent: IntentId
    conversation: GroupId
    account: AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Depart:
    """Leave a conversation."""

    intent: IntentId
    conversation: GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """Give our leaf in a group fresh keys; the home too."""

    intent: IntentId
    conversation: GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangePolicy:
    """Give a conversation other rules."""

    intent: IntentId
    conversation: GroupId
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Accept or decline an invitation."""

    conversation: GroupId
    accept: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AddContact:
    """Know a person by the card that they gave."""

    card: bytes
    petname: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Take no invitations of somebody any more, or again."""

    account: AccountId
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkDevice:
    """Add a device to the account; it was identified by people already."""

    intent: IntentId
    device: DeviceId
    name: str
    package: KeyPackage


@dataclass(frozen=True, slots=True, kw_only=True)
class Linked:
    """On the new device: what the other one handed over."""

    welcome: bytes = field(repr=False)
    packages: tuple[KeyPackageSecrets, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDevice:
    """Remove a device from the account, and shut it out of everything."""

    intent: IntentId
    device: DeviceId
    root: RootKey | None = field(default=None, repr=False)
    """Of the recovery phrase: who has it may remove delegates too. It is used at once, and kept nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComeBack:
    """Consent to come back into a group from outside."""

    group: GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """An ordinary MLS client that is in a conversation with a lead sent this; it reaches the others through us."""

    conversation: GroupId
    message: bytes = field(repr=False)


Surroundings = Started | Tick | Slept | Arrived | Published | Online | Reached | Fetched | GivenOut | TakenBack
Command = (
    Say
    | SayAgain
    | Open
    | Invite
    | Remove
    | Depart
    | Refresh
    | ChangePolicy
    | Answer
    | AddContact
    | Block
    | LinkDevice
    | Linked
    | RemoveDevice
    | ComeBack
    | Carry
)
Input = Surroundings | Command
