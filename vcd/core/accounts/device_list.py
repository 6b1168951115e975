"""What only the account's own devices know: the list of them, in all its versions.

A list says which devices there are, by which key each signs its leaf in the home, who of them are delegates, and which
devices were shut out. Its digest is in the head of its version, with 32 random bytes among what is hashed: whoever
tries all lists that there might be finds none of that digest. List and head together are an *edition*.

Who may change what:

    a delegate      lets in ordinary devices, renames, and, if the policy says so, shuts out ordinary ones
    the root        all of that, and who is a delegate, the policy, and parts of the overrule key: a new term
    some together   shut out anybody, delegates too, and say who are delegates in the rest of the term (`overrule`);
                    which devices these are stands for the term, even if a delegate shuts them out meanwhile

An ordinary device cannot sign a list at all. A delegate could sign one that breaks these rules, with a head that nobody
outside can find fault with. So devices compare each edition with the one before (`check_successor`), and do not follow
one that breaks them; the head alone says nothing to them. What remains to a stolen delegate is what delegates may do,
until it is overruled.

A device's id and key belong together for good: a new key makes a new device. Who was shut out stays on the list, so
that no delegate can let it come back; only the last 256 are remembered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from mls.provider import Provider
from vcd.core.accounts.head import Head, check, check_next
from vcd.core.accounts.identity import DEVICE_ID, DIGEST, MAX_KEY, bounded, digest, exactly, readable
from vcd.core.errors import Refused
from vcd.core.names import AccountId, DeviceId
from vcd.core.record import encode

MAX_DEVICES = 64
MAX_TOMBSTONES = 256
MAX_NAME = 64
SALT = 32
DAY = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEntry:
    """A device that belongs to the account."""

    device: DeviceId
    key: bytes
    """Of its leaf in the home."""
    name: str
    added: int
    """The version that let it in."""
    delegate: bool = False

    def __post_init__(self) -> None:
        exactly(self.device, DEVICE_ID, "the id of a device")
        bounded(self.key, MAX_KEY, "a device key")
        readable(self.name, MAX_NAME, "the name of a device")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tombstone:
    """A device that was shut out."""

    version: int
    """The one that shut it out."""
    device: DeviceId
    key: bytes

    def __post_init__(self) -> None:
        exactly(self.device, DEVICE_ID, "the id of a device")
        bounded(self.key, MAX_KEY, "a device key")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruler:
    """A device that has a part of the overrule key."""

    device: DeviceId
    key: bytes
    seal: bytes
    """What its part is known by (`shares.seal_of`)."""

    def __post_init__(self) -> None:
        exactly(self.device, DEVICE_ID, "the id of a device")
        bounded(self.key, MAX_KEY, "a device key")
        exactly(self.seal, DIGEST, "a digest")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the root decided about the account's devices."""

    delegates_revoke: bool = True
    """Whether a delegate may shut out devices that are no delegates."""
    overrulers: int = 0
    """How many devices together may overrule delegates without the root; 0 for none."""
    overrule_delay: int = 7 * DAY
    """For how long each of them waits first (ms), so that somebody can object."""

    def __post_init__(self) -> None:
        if self.overrulers == 1 or self.overrulers > MAX_DEVICES:
            raise ValueError("overruling takes two devices or more, and no more than there can be")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceList:
    """One version of the list."""

    account: AccountId
    version: int
    salt: bytes
    devices: tuple[DeviceEntry, ...]
    """By id."""
    tombstones: tuple[Tombstone, ...]
    """By version and id, the last 256."""
    policy: Policy
    overrulers: tuple[Overruler, ...] = ()
    """By id; the same for the whole term."""

    def __post_init__(self) -> None:
        exactly(self.account, DIGEST, "the id of an account")
        exactly(self.salt, SALT, "a salt")
        ids = [entry.device for entry in self.devices]
        gone = [(stone.version, stone.device) for stone in self.tombstones]
        keys = {entry.key for entry in self.devices}
        if not 0 < len(ids) <= MAX_DEVICES or ids != sorted(set(ids)) or len(keys) != len(ids):
            raise ValueError("no devices, too many, not in order, or one of them twice")
        if len(gone) > MAX_TOMBSTONES or gone != sorted(set(gone)):
            raise ValueError("too many devices were shut out, or they are not in order")
        named = {stone.device for stone in self.tombstones}
        if len(named) != len(gone) or not named.isdisjoint(ids) or keys & {stone.key for stone in self.tombstones}:
            raise ValueError("a device was shut out twice, or is there all the same")
        if any(entry.added > self.version for entry in self.devices) or any(at > self.version for at, _ in gone):
            raise ValueError("a list knows of later ones")
        if not any(entry.delegate for entry in self.devices):
            raise ValueError("there is no delegate")
        powers = [each.device for each in self.overrulers]
        if len(powers) > MAX_DEVICES or powers != sorted(set(powers)):
            raise ValueError("too many can overrule, or they are not in order")
        if powers and not 0 < self.policy.overrulers <= len(powers):
            raise ValueError("overruling takes more devices than can")

    def find(self, device: DeviceId) -> DeviceEntry | None:
        return next((entry for entry in self.devices if entry.device == device), None)

    def revoked(self, device: DeviceId) -> Tombstone | None:
        return next((stone for stone in self.tombstones if stone.device == device), None)

    @property
    def delegates(self) -> tuple[DeviceEntry, ...]:
        return tuple(entry for entry in self.devices if entry.delegate)

    @property
    def digest(self) -> bytes:
        return digest("vcd device list", encode(self))


@dataclass(frozen=True, slots=True, kw_only=True)
class Edition:
    """A version of the list, with the head that vouches for it."""

    devices: DeviceList
    head: Head

    @property
    def account(self) -> AccountId:
        return self.devices.account

    @property
    def version(self) -> int:
        return self.devices.version


CheckedEdition = NewType("CheckedEdition", Edition)
"""An edition whose head's signatures hold, and whose list is the one that the head means."""


def check_edition(edition: Edition, provider: Provider) -> CheckedEdition:
    """Whether it holds by itself."""
    check(edition.head, provider)
    devices, head = edition.devices, edition.head
    if devices.account != head.account:
        raise Refused("another-account")
    if devices.version != head.version:
        raise Refused("list-version")
    if devices.digest != head.list_digest:
        raise Refused("list-digest")
    return CheckedEdition(edition)


def check_successor(old: Edition, new: Edition, provider: Provider) -> CheckedEdition:
    """Whether devices that follow `old` may follow `new`. A function of the two, so all of them decide alike."""
    checked = check_edition(new, provider)
    check_next(old.head, new.head)
    if old.head.digest == new.head.digest:
        return checked
    before, after = old.devices, new.devices
    full = len(after.tombstones) == MAX_TOMBSTONES
    oldest = after.tombstones[0] if full else None
    stones = {stone.device: stone for stone in after.tombstones}
    same_authority = new.head.authority.start == old.head.authority.start
    for stone in before.tombstones:
        back = after.find(stone.device)
        if back is not None:
            # Those above the delegates may bring back whom a delegate shut out.
            if same_authority or back.key != stone.key:
                raise Refused("device-returned")
            continue
        pushed_out = oldest is not None and (stone.version, stone.device) < (oldest.version, oldest.device)
        kept_stone = stones.get(stone.device)
        if kept_stone is None and not pushed_out:
            raise Refused("device-vanished")
        if kept_stone is not None and kept_stone.key != stone.key:
            raise Refused("device-changed")
    for entry in before.devices:
        kept = after.find(entry.device)
        if kept is not None:
            if kept.key != entry.key:
                raise Refused("device-changed")
            continue
        stone_now = stones.get(entry.device)
        if stone_now is None:
            # Forgotten for 256 later ones, all of them shut out since `old`: or it never was shut out.
            if oldest is None or oldest.version <= old.version:
                raise Refused("device-vanished")
        elif stone_now.key != entry.key:
            raise Refused("device-changed")
        if new.head.revoked <= old.version:
            raise Refused("unmarked-revocation")
    if same_authority:
        _check_delegates(before, after)
    return checked


def _check_delegates(before: DeviceList, after: DeviceList) -> None:
    """What a delegate may not change, in however many versions."""
    if after.policy != before.policy:
        raise Refused("policy-changed")
    if after.overrulers != before.overrulers:
        raise Refused("overrulers-changed")
    if [entry.device for entry in after.delegates] != [entry.device for entry in before.delegates]:
        raise Refused("delegates-changed")
    kept = {entry.device for entry in after.devices}
    if not before.policy.delegates_revoke and any(entry.device not in kept for entry in before.devices):
        raise Refused("revocation-forbidden")
