"""Several devices together against their delegates, where the recovery phrase is not at hand.

If a delegate is stolen, the others cannot shut it out: its key is theirs. The root can, and by the root's policy some
of the devices together can: the root gave each a part of an *overrule key*, of which so many parts together give the
key (`shares`). No device has it, contacts see one more public key in the mandate and one more signature when it is
used, so they learn neither how many devices there are nor how many it took.

1. A device says what it wants, an `Overrule`: which devices stay, and who of them are delegates. It is about a mandate,
   not a version: a stolen delegate cannot make it void by making new versions, devices that it lets in meanwhile are
   not among those that stay, and whom it shuts out meanwhile stays all the same.
2. Others countersign it with their own device keys. Those that the root gave a part count, also if a delegate shut them
   out since.
3. Each of them waits, counted from when it saw the last signature that it takes; the root may speak meanwhile. Then it
   gives its part to the device that asked (`due` says when).
4. That device puts the parts together and makes the first edition of the rest of the term (`carry_out`), and all
   compare it with the `Overrule` that they signed (`check_carried_out`).

It works once in a term. The device that puts the parts together holds the whole key for a moment, and the new delegate
key afterwards; so it has to be one of the new delegates, and the others should see whom they sign for. What it could do
with the key is what was asked for anyway, or two versions of it (which is equivocation); the root's next term is above
both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from mls.provider import Provider
from mls.suite import Suite
from vcd.core.accounts.device_list import MAX_DEVICES, CheckedEdition, DeviceEntry, Edition, check_successor
from vcd.core.accounts.editions import Made, buried, first_head, listed, sealed
from vcd.core.accounts.head import Authority, Mandate, Overruling
from vcd.core.accounts.identity import (
    DEVICE_ID,
    DIGEST,
    MAX_SIGNATURE,
    AccountKey,
    DelegateKey,
    DeviceKey,
    OverruleKey,
    bounded,
    digest,
    exactly,
    new_key,
    sign,
    suite_of,
    verify,
)
from vcd.core.accounts.shares import Share, combine, seal_of
from vcd.core.errors import Misuse, Refused
from vcd.core.names import DeviceId
from vcd.core.record import encode

_LABEL = "vcd overrule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Countersignature:
    device: DeviceId
    signature: bytes

    def __post_init__(self) -> None:
        exactly(self.device, DEVICE_ID, "the id of a device")
        bounded(self.signature, MAX_SIGNATURE, "a signature")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrule:
    """What some devices want instead of what their delegates do."""

    authority: bytes
    """Digest of the authority that it overrules."""
    keeper: DeviceId
    """Who puts the parts together."""
    stay: tuple[DeviceEntry, ...]
    """The devices that there shall be, the delegates among them marked; by id."""
    signatures: tuple[Countersignature, ...] = ()
    """By device."""

    def __post_init__(self) -> None:
        exactly(self.authority, DIGEST, "a digest")
        exactly(self.keeper, DEVICE_ID, "the id of a device")
        if not _in_order([entry.device for entry in self.stay]):
            raise ValueError("too many devices, or not in order")
        if all(entry.device != self.keeper or not entry.delegate for entry in self.stay):
            raise ValueError("who puts the parts together is no delegate")
        if not _in_order([each.device for each in self.signatures]):
            raise ValueError("too many signatures, or not in order")

    @property
    def content(self) -> bytes:
        return encode(replace(self, signatures=()))

    @property
    def digest(self) -> bytes:
        """What it is known by, whoever signed it so far."""
        return digest(_LABEL, self.content)


def _in_order(names: Sequence[bytes]) -> bool:
    return len(names) <= MAX_DEVICES and list(names) == sorted(set(names))


def propose(
    edition: Edition, keeper: DeviceId, *, stay: Collection[DeviceId], delegates: Collection[DeviceId]
) -> Overrule:
    """Ask for other delegates, among those on the list."""
    authority = edition.head.authority
    if authority.overruled or authority.mandate.overrule is None:
        raise Misuse("no-overruling", "The recovery phrase alone can change this account's delegates now.")
    entries = [
        replace(entry, delegate=entry.device in delegates) for entry in edition.devices.devices if entry.device in stay
    ]
    if len(entries) != len(set(stay)) or not set(delegates) <= set(stay):
        raise Misuse("no-such-device", "There is no such device on the list.")
    try:
        return Overrule(authority=authority.digest, keeper=keeper, stay=tuple(entries))
    except ValueError as error:
        raise Misuse("bad-list", f"There can be no such list: {error}.") from None


def countersign(
    provider: Provider, overrule: Overrule, edition: Edition, device: DeviceId, private: DeviceKey
) -> Overrule:
    """This device wants it too."""
    check_overrule(overrule, edition, provider)
    suite = _suite(provider, edition)
    holder = next((each for each in edition.devices.overrulers if each.device == device), None)
    if holder is None or suite.scheme.public_key(private) != holder.key:
        raise Misuse("no-overruler", "This device has no part of the overrule key.")
    own = Countersignature(device=device, signature=sign(suite, private, _LABEL, overrule.content))
    return merged(overrule, replace(overrule, signatures=(own,)))


def merged(one: Overrule, other: Overrule) -> Overrule:
    """The signatures of both, which were checked."""
    if one.digest != other.digest:
        raise Misuse("another-overrule", "These are two different things to ask for.")
    signatures = {each.device: each for each in (*other.signatures, *one.signatures)}
    return replace(one, signatures=tuple(signatures[device] for device in sorted(signatures)))


def check_overrule(overrule: Overrule, edition: Edition, provider: Provider) -> int:
    """How many signatures it still lacks; 0 if enough signed."""
    if overrule.authority != edition.head.authority.digest:
        raise Refused("another-term")
    suite = _suite(provider, edition)
    holders = {each.device: each for each in edition.devices.overrulers}
    for each in overrule.signatures:
        holder = holders.get(each.device)
        if holder is None:
            raise Refused("no-overruler")
        if not verify(suite, holder.key, _LABEL, overrule.content, each.signature):
            raise Refused("overrule-signature")
    return max(0, edition.devices.policy.overrulers - len(overrule.signatures))


def due(overrule: Overrule, edition: Edition, provider: Provider, *, complete_since: int, now: int) -> bool:
    """Whether a device that signed may give its part away now.

    `complete_since` is when this device first saw enough signatures, by its own clock (ms).
    """
    enough = check_overrule(overrule, edition, provider) == 0 and edition.devices.policy.overrulers > 0
    return enough and now - complete_since >= edition.devices.policy.overrule_delay


def carry_out(provider: Provider, overrule: Overrule, edition: Edition, shares: Iterable[Share]) -> Made:
    """With enough parts: the new delegates, and the first edition of the rest of the term.

    Parts that are not genuine are left out. `edition` is the newest one that is known.
    """
    if check_overrule(overrule, edition, provider):
        raise Misuse("too-few", "Not enough devices signed this.")
    seals = {each.seal for each in edition.devices.overrulers}
    genuine = {seal_of(share): share for share in shares}
    usable = [genuine[seal] for seal in sorted(genuine) if seal in seals]
    needed = edition.devices.policy.overrulers
    if len(usable) < needed:
        raise Misuse("too-few", f"{len(usable)} parts of the overrule key are here, and it takes {needed}.")
    suite = _suite(provider, edition)
    mandate = edition.head.authority.mandate
    private = _whole(suite, usable[:needed], mandate)
    delegate, public_delegate = new_key(DelegateKey, suite, provider)
    signing, public_signing = new_key(AccountKey, suite, provider)
    overruling = Overruling(delegate=public_delegate).signed(provider, mandate, private)
    authority = Authority(mandate=mandate, overruling=overruling)
    head = first_head(provider, authority, edition.head, public_signing)
    staying = {entry.device for entry in overrule.stay}
    old = edition.devices
    gone = [entry.device for entry in old.devices if entry.device not in staying]
    stones = tuple(stone for stone in buried(old, gone, head.version) if stone.device not in staying)
    devices = listed(provider, overrule.stay, head, stones, old.policy)
    return Made(edition=sealed(provider, head, devices, private), signing=signing, delegate=delegate)


def check_carried_out(overrule: Overrule, old: Edition, new: Edition, provider: Provider) -> CheckedEdition:
    """Whether a first edition of the rest of the term is what was signed."""
    checked = check_successor(old, new, provider)
    authority = new.head.authority
    before = Authority(mandate=authority.mandate)
    if not authority.overruled or before.digest != overrule.authority or new.head.number:
        raise Refused("another-term")
    if new.devices.devices != overrule.stay or new.devices.policy != old.devices.policy:
        raise Refused("not-as-asked")
    return checked


def _suite(provider: Provider, edition: Edition) -> Suite:
    return suite_of(provider, edition.head.authority.mandate.cipher_suite)


def _whole(suite: Suite, shares: Sequence[Share], mandate: Mandate) -> OverruleKey:
    """The key, if it is the one that the root named."""
    private = OverruleKey(combine(shares))
    if suite.scheme.public_key(private) != mandate.overrule:
        raise Refused("overrule-parts")
    return private
