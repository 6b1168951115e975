"""What a device keeps of its own account, beside the emulation: values only. `devices` and `rotation` change them."""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.persistent import PMap
from vcd.core import record
from vcd.core.accounts.card import InboxSecret
from vcd.core.accounts.device_list import Edition
from vcd.core.accounts.identity import AccountKey, DelegateKey
from vcd.core.accounts.overrule import Overrule
from vcd.core.accounts.shares import Share
from vcd.core.names import DeviceId, EpochId, GroupId, IntentId

NOWHERE = EpochId(b"")
"""In the place of an epoch where there is none."""
NO_INTENT = IntentId(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """Something that this device told the others, until it is certain that all of them can hear it."""

    epoch: EpochId
    """Of the home, in which it was said last."""
    at: int
    data: bytes = field(repr=False)
    digest: bytes = b""
    """Of the sealed bytes; who cannot read them asks for it by that. Empty if nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Something that was heard and rests on what is still to be heard."""

    epoch: EpochId
    device: DeviceId
    newest: bytes
    at: int
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A device that is being added."""

    device: DeviceId
    name: str
    intent: IntentId
    package: bytes = field(repr=False)
    """Its KeyPackage, for as often as it has to be added."""
    epoch: EpochId = NOWHERE
    """Which the commit that adds it begins; empty if there is none on the present branch."""
    bundle: bytes = field(default=b"", repr=False)
    """What is handed over when that is final."""
    handed: bool = False
    tries: int = 0
    earlier: tuple[tuple[EpochId, bytes], ...] = field(default=(), repr=False)
    """The same of commits that the home does not stand on now, and that may win yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who had a part in a derivation epoch."""

    epoch: EpochId
    """Of the home, that began it."""
    devices: tuple[tuple[int, DeviceId], ...]
    """By leaf."""

    def at(self, leaf: int) -> DeviceId | None:
        return next((device for each, device in self.devices if each == leaf), None)

    def leaf(self, device: DeviceId) -> int | None:
        return next((leaf for leaf, each in self.devices if each == device), None)

    @property
    def names(self) -> frozenset[DeviceId]:
        return frozenset(device for _, device in self.devices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Other delegates, as one device asks for them."""

    overrule: Overrule
    intent: IntentId = NO_INTENT
    """On the device that asks."""
    complete_since: int = 0
    """When this device saw the last signature that it takes."""
    given: bool = False
    """Whether this device has given its part."""
    parts: tuple[Share, ...] = field(default=(), repr=False)
    """On the device that asks: those that it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A list under another authority, wanted until it is final or something above it is."""

    authority: bytes
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """What a device is to be called, as a person said here."""

    name: str
    tries: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What people call something."""

    text: str
    at: int
    """By the clock of the device on which it was said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Household:
    """What the account's devices share beside the emulation, and what this one does for them.

    The list of devices itself is in `State.book`.
    """

    signing: AccountKey | None = None
    """Signs our leaves in conversations."""
    delegate: DelegateKey | None = None
    """Signs lists of devices; on delegates only."""
    inbox: InboxSecret | None = None
    """The topic that our card gives to others."""
    account_keys: PMap[bytes, AccountKey] = field(default_factory=PMap)
    """Of lists that may come to count: `signing` by its public half, and those of rival lists."""
    term_key: DelegateKey | None = None
    """The delegates' key of a term that began on some branch, until it is final."""
    term_told: bytes = b""
    """The one that this device told the delegates last, by its public half."""
    made: Edition | None = None
    """The newest list that this device signed, whether or not its branch of the home won."""
    contested: int = record.since(2, 0)
    """Of which versions of our list it was told that there are two: of those below this one."""
    key_told: bytes = b""
    """The account key that this device drew and told the others last, by its public half."""
    part: Share | None = field(default=None, repr=False)
    """This device's part of the overrule key. `overruling` owns it, and the next three."""
    dealt: PMap[DeviceId, Share] = field(default_factory=PMap, repr=False)
    """Parts that this device drew with the recovery phrase at hand, until the others are told."""
    asked: PMap[DeviceId, Asked] = field(default_factory=PMap)
    """What devices want instead of their delegates, by who asks."""
    orders: PMap[IntentId, Order] = field(default_factory=PMap)
    names: PMap[DeviceId, Naming] = field(default_factory=PMap)
    """What devices are to be called, until the list says so for good. `renaming` owns it."""
    numbered: int = 0
    """How many things this device has told the others."""
    said: PMap[int, Saying] = field(default_factory=PMap)
    """Those that may have to be told again, in order."""
    held: tuple[Held, ...] = ()
    """What was heard and could not be done yet."""
    missed: tuple[bytes, ...] = ()
    """What came when its key was gone, by digests, until the device that told it is asked."""
    vouched: frozenset[GroupId] = frozenset()
    """Conversations that a device that stays is in and this one was not brought into, told of during a removal."""
    tellers: PMap[bytes, tuple[DeviceId, ...]] = record.since(5, factory=PMap)
    """Which devices told of a signature key that no leaf has yet, by its public half. Owned by `tellers`."""
    links: PMap[DeviceId, Link] = field(default_factory=PMap)
    rosters: PMap[bytes, Roster] = field(default_factory=PMap)
    """By derivation epoch."""
    heard: PMap[DeviceId, bytes] = field(default_factory=PMap)
    """The newest derivation epoch in which each device was heard."""
    seen: PMap[DeviceId, int] = field(default_factory=PMap)
    """When that was, by our clock, to the hour: for people, who may find that one is lost."""
    wanted: PMap[GroupId, bytes] = field(default_factory=PMap)
    """Conversations whose leaf has to come from this derivation epoch, or a later one, as somebody cannot speak."""
    silent: PMap[GroupId, int] = field(default_factory=PMap)
    """Conversations that this device cannot speak in, and when it first said so."""
    told: PMap[bytes, int] = field(default_factory=PMap)
    """Derivation epochs that some device passed on already, numbered in order; 0: one that has to be passed on."""
    done: PMap[DeviceId, int] = field(default_factory=PMap)
    """Devices whose removal is complete, numbered in order: what is heard of it late changes nothing."""
    labels: PMap[bytes, Label] = field(default_factory=PMap)
    """What the account and its conversations are called, on all its devices. Owned by `labels`."""
    listening: bool = False
    """Whether what was loaded is older than what this device did last: it says nothing before an epoch of its own."""
    awake: EpochId = NOWHERE
    """The epoch of its own that such a device began."""
    gone: bool = False
    """Whether the home stands where this device is no member."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """Why somebody is removed, for the events about it."""

    device: DeviceId
    intent: IntentId
    """Empty on devices that were not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """How far the removal of devices is."""

    removal: bytes = b""
    """An encoded `mls.virtual.removal.Removal`, in which devices are named by their ids."""
    leaving: tuple[Leaving, ...] = ()
    tried: PMap[GroupId, int] = field(default_factory=PMap)
    """When each conversation was given a new leaf last, that does not stand yet."""
    rotated: int = 0
    conversations: int = 0
    """What the last event said."""
    since: int = 0
    """When the present derivation epoch of the removal was begun: from then on devices take turns."""
