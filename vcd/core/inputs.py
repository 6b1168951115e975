"""What the node is told: by the mesh, by the clock, and by apps and people (commands).

A command that cannot be carried out at all raises `Misuse` and changes nothing. What takes longer is an intent: the
`IntentId` that came with the command is in all events about it, and one that is known already is not begun again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.key_package import KeyPackage, KeyPackageSecrets
from vcd.core.accounts.device_list import Policy as Rules
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
    again: bool = False
    """It was put back (`Outcome.put_back`)."""


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
class Here:
    """Where this device can be reached now, as a record that others can check; empty to say nothing from now on."""

    record: bytes = field(repr=False)
    expires: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A contact's KeyPackage, or None if there was none to get."""

    account: AccountId
    package: bytes | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What `effects.OfferPackages` named is stored where KeyPackages of ours are given out."""

    references: tuple[bytes, ...]


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
class Verify:
    """Two people compared fingerprints, and this is what the other one read out (`Contact.fingerprint`)."""

    account: AccountId
    fingerprint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Take no invitations of somebody any more, or again."""

    account: AccountId
    blocked: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveContact:
    """Know somebody no more than a stranger, on all devices."""

    account: AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """Call the account (`what` is empty) or a conversation by a name, on all its devices; empty for by none."""

    what: bytes
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Certify:
    """Show others this X.509 chain for the account's key, the account's own first, in DER; empty to show none."""

    chain: tuple[bytes, ...] = field(repr=False)


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
class RenameDevice:
    """Call a device otherwise, on a list of devices that this one signs."""

    device: DeviceId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveDevice:
    """Remove a device from the account, and shut it out of everything."""

    intent: IntentId
    device: DeviceId
    root: RootKey | None = field(default=None, repr=False)
    """Of the recovery phrase: who has it may remove delegates too. It is used at once, and kept nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetRules:
    """With the recovery phrase: who may let in devices, and how many together may overrule those."""

    intent: IntentId
    root: RootKey = field(repr=False)
    """It is used at once, and kept nowhere."""
    rules: Rules
    delegates: tuple[DeviceId, ...] = ()
    """Empty for those who are delegates now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrule:
    """Ask the other devices for other delegates: which devices shall stay, and who of them be delegates."""

    intent: IntentId
    stay: tuple[DeviceId, ...]
    delegates: tuple[DeviceId, ...]
    """This device among them: it puts together what the others give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersign:
    """Consent to what `events.OverruleAsked` told of."""

    device: DeviceId
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ComeBack:
    """Consent to come back into a group from outside."""

    group: GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Carry:
    """An ordinary MLS client that is in a conversation with a lead sent this; it reaches the others through us."""

    conversation: GroupId
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCreate:
    """Make an app's group."""

    group: GroupId
    suite: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOffer:
    """Make KeyPackages for an app to give out."""

    count: int = 1
    suite: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawJoin:
    """Come into an app's group, by a Welcome or from outside."""

    welcome: bytes = field(default=b"", repr=False)
    group_info: bytes = field(default=b"", repr=False)
    tree: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPropose:
    """Propose one of these to an app's group."""

    group: GroupId
    add: bytes = field(default=b"", repr=False)
    remove: int | None = None
    update: bool = False
    leave: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCommit:
    """Change an app's group; it counts when the commit comes back."""

    group: GroupId
    add: tuple[bytes, ...] = field(default=(), repr=False)
    remove: tuple[int, ...] = ()
    proposals: bool = True
    fresh: bool = True
    group_info: bool = False
    replace: bool = False
    """Drop the commit that waits to come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawProtect:
    """Seal a message for an app's group."""

    group: GroupId
    data: bytes = field(repr=False)
    authenticated: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPut:
    """What an app's service delivered for a group."""

    group: GroupId
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTaken:
    """An app has frames up to this number, of one group or of all."""

    number: int
    group: GroupId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawForget:
    """Forget an app's group."""

    group: GroupId


Surroundings = (
    Started | Tick | Slept | Arrived | Published | Online | Reached | Here | Fetched | Offered | GivenOut | TakenBack
)
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
    | Verify
    | Block
    | RemoveContact
    | Label
    | Certify
    | LinkDevice
    | Linked
    | RenameDevice
    | RemoveDevice
    | SetRules
    | Overrule
    | Countersign
    | ComeBack
    | Carry
    | RawCreate
    | RawOffer
    | RawJoin
    | RawPropose
    | RawCommit
    | RawProtect
    | RawPut
    | RawTaken
    | RawForget
)
Input = Surroundings | Command
