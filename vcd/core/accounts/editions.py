"""Making the next version of an account's list of devices, by whoever may.

Each of these functions takes the newest edition and the key to sign with, and gives a `Made`: the next edition, the
secrets that are new with it and to whom they go. Nothing is known to anybody else yet: store it, hand the secrets on in
the home (to the devices that stay), show the edition there, then show the head to contacts.

`join` makes one list of two, when two delegates each made the next version without hearing of the other. A device is
on it if it is on either and neither shut it out. It counts as shutting somebody out: whom one of the two lists shut
out may have the account key of the other. Names are those of the list that is named first; which of two is the newer
one cannot be told, so whoever wants another name has to give it again.

Each change makes one more version, and contacts can count versions. `refresh` makes one without a change; a device that
does so now and then leaves nothing in that count to be read.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mls.provider import Provider
from vcd.core.accounts.device_list import (
    MAX_NAME,
    MAX_TOMBSTONES,
    SALT,
    DeviceEntry,
    DeviceList,
    Edition,
    Overruler,
    Policy,
    Tombstone,
)
from vcd.core.accounts.head import NOTHING, NUMBERS, TERMS, Authority, Head, Mandate, version_of
from vcd.core.accounts.identity import (
    DIGEST,
    AccountKey,
    DelegateKey,
    OverruleKey,
    RootKey,
    new_key,
    suite_of,
)
from vcd.core.accounts.shares import Share, seal_of, split
from vcd.core.errors import Misuse
from vcd.core.names import DeviceId

MINUTE = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDevice:
    """A device that is to come in."""

    device: DeviceId
    key: bytes
    name: str

    def entry(self, version: int, *, delegate: bool = False) -> DeviceEntry:
        return DeviceEntry(device=self.device, key=self.key, name=self.name, added=version, delegate=delegate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """An edition, and what is secret about it."""

    edition: Edition
    signing: AccountKey | None = None
    """A new account key, for every device."""
    delegate: DelegateKey | None = None
    """A new delegate key, for every delegate."""
    shares: tuple[tuple[DeviceId, Share], ...] = ()
    """New parts of an overrule key, each for its own device."""


def found(
    provider: Provider,
    root: RootKey,
    device: NewDevice,
    *,
    cipher_suite: int = 1,
    policy: Policy | None = None,
    term: int = 0,
) -> Made:
    """A new account with its first device, a delegate. Nobody else can overrule it yet (`new_term`).

    `term` is above 0 where the account is not new and nothing but its root key is left.
    """
    if not 0 <= term < TERMS:
        raise Misuse("no-terms", "This account has used up all its terms.")
    entries = (device.entry(version_of(term, 0), delegate=True),)
    return _term(provider, root, None, term, cipher_suite, entries, (), policy or Policy())


def uncertain(now: int) -> int:
    """The last term that may have begun by now unheard of: terms are numbered by the minutes since 1970."""
    return now // MINUTE


def new_term(
    provider: Provider,
    root: RootKey,
    edition: Edition,
    *,
    delegates: Collection[DeviceId],
    revoke: Collection[DeviceId] = (),
    add: Sequence[NewDevice] = (),
    policy: Policy | None = None,
    above: int = 0,
) -> Made:
    """The root's word: who is a delegate from now on, who is shut out, what the policy is.

    `above` is a term that may have been used since that edition: `uncertain`, wherever somebody types the phrase.
    """
    authority = edition.head.authority
    term = max(authority.term, above) + 1
    if term >= TERMS:
        raise Misuse("no-terms", "This account has used up all its terms.")
    version = Authority(mandate=replace(authority.mandate, term=term)).start
    kept = [entry for entry in edition.devices.devices if entry.device not in revoke]
    kept += [new.entry(version) for new in add]
    if missing := [device for device in delegates if all(entry.device != device for entry in kept)]:
        raise Misuse("no-such-device", f"{len(missing)} of the delegates are not on the list.")
    entries = tuple(replace(entry, delegate=entry.device in delegates) for entry in kept)
    stones = buried(edition.devices, revoke, version)
    return _term(
        provider,
        root,
        edition,
        term,
        authority.mandate.cipher_suite,
        entries,
        stones,
        policy or edition.devices.policy,
    )


def add_device(provider: Provider, edition: Edition, delegate: DelegateKey, new: NewDevice) -> Made:
    """Let in an ordinary device. If another one has its name, it gets a number."""
    entries = edition.devices.devices
    entry = new.entry(edition.version + 1)
    named = replace(entry, name=free_name(entry.name, [each.name for each in entries]))
    return following(provider, edition, delegate, (*entries, named))


def free_name(name: str, taken: Iterable[str]) -> str:
    """That name, or the same with a number that makes it another one: people tell devices apart by their names."""
    known = {each.casefold() for each in taken}
    number, free = 1, name
    while free.casefold() in known:
        number += 1
        end = f" {number}"
        free = name[: MAX_NAME - len(end)] + end
    return free


def _apart(entries: Iterable[DeviceEntry]) -> list[DeviceEntry]:
    """With names that are told apart; who was there first keeps its own."""
    found: list[DeviceEntry] = []
    for entry in sorted(entries, key=lambda each: (each.added, each.device)):
        found.append(replace(entry, name=free_name(entry.name, [each.name for each in found])))
    return found


def rename_device(provider: Provider, edition: Edition, delegate: DelegateKey, device: DeviceId, name: str) -> Made:
    _known(edition.devices, device)
    entries = [replace(entry, name=name) if entry.device == device else entry for entry in edition.devices.devices]
    return following(provider, edition, delegate, entries)


def with_names(
    provider: Provider, edition: Edition, delegate: DelegateKey, names: Mapping[DeviceId, str]
) -> Made | None:
    """The same list, with these names for those of its devices; another one that is called so gets a number.

    None if all of them are called so. The names are those of one list, so no two are alike.
    """
    entries, taken = [], [names[each.device] for each in edition.devices.devices if each.device in names]
    for entry in edition.devices.devices:
        name = names.get(entry.device) or free_name(entry.name, taken)
        taken.append(name)
        entries.append(replace(entry, name=name))
    if tuple(entries) == edition.devices.devices:
        return None
    return following(provider, edition, delegate, entries)


def refresh(provider: Provider, edition: Edition, delegate: DelegateKey) -> Made:
    """The same list once more."""
    return following(provider, edition, delegate, edition.devices.devices)


def revoke_device(provider: Provider, edition: Edition, delegate: DelegateKey, device: DeviceId) -> Made:
    """Shut out an ordinary device. It keeps the account key of before, so there is a new one."""
    entry = _known(edition.devices, device)
    if entry.delegate:
        raise Misuse("is-delegate", "A delegate can be shut out with the recovery phrase, or by several devices.")
    if not edition.devices.policy.delegates_revoke:
        raise Misuse("revocation-forbidden", "Devices of this account are shut out with the recovery phrase only.")
    entries = [each for each in edition.devices.devices if each.device != device]
    return following(provider, edition, delegate, entries, revoked=(device,))


def join(provider: Provider, one: Edition, other: Edition, delegate: DelegateKey) -> Made:
    """One list of two that do not know of each other, of one term. The next version of both."""
    if one.account != other.account or one.head.authority.digest != other.head.authority.digest:
        raise Misuse("not-beside", "Lists of two terms are not joined: the later term counts.")
    first, second = sorted((one, other), key=lambda edition: (edition.version, edition.head.digest))
    stones = {stone.device: stone for stone in (*second.devices.tombstones, *first.devices.tombstones)}
    entries = {entry.device: entry for entry in (*other.devices.devices, *one.devices.devices)}
    kept = _apart(entry for entry in entries.values() if entry.device not in stones)
    return following(provider, second, delegate, kept, stones=_last(stones.values()), rival=first.head)


# ---------------------------------------------------------------- parts


def _known(devices: DeviceList, device: DeviceId) -> DeviceEntry:
    entry = devices.find(device)
    if entry is None:
        raise Misuse("no-such-device", "There is no such device on the list.")
    return entry


def _ordered(entries: Iterable[DeviceEntry]) -> tuple[DeviceEntry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.device))


def _last(stones: Iterable[Tombstone]) -> tuple[Tombstone, ...]:
    return tuple(sorted(stones, key=lambda stone: (stone.version, stone.device))[-MAX_TOMBSTONES:])


def buried(devices: DeviceList, gone: Collection[DeviceId], version: int) -> tuple[Tombstone, ...]:
    new = [
        Tombstone(version=version, device=entry.device, key=entry.key)
        for entry in devices.devices
        if entry.device in gone
    ]
    if len(new) != len(set(gone)):
        raise Misuse("no-such-device", "There is no such device on the list.")
    return _last((*devices.tombstones, *new))


def listed(
    provider: Provider,
    devices: Iterable[DeviceEntry],
    head: Head,
    stones: tuple[Tombstone, ...],
    policy: Policy,
    overrulers: tuple[Overruler, ...] = (),
) -> DeviceList:
    """The list of that head, made of what a caller asked for."""
    try:
        return DeviceList(
            account=head.account,
            version=head.version,
            salt=provider.random(SALT),
            devices=_ordered(devices),
            tombstones=stones,
            policy=policy,
            overrulers=overrulers,
        )
    except ValueError as error:
        raise Misuse("bad-list", f"There can be no such list: {error}.") from None


def sealed(
    provider: Provider, head: Head, devices: DeviceList, private: RootKey | DelegateKey | OverruleKey
) -> Edition:
    return Edition(devices=devices, head=replace(head, list_digest=devices.digest).signed(provider, private))


def following(
    provider: Provider,
    edition: Edition,
    delegate: DelegateKey,
    entries: Iterable[DeviceEntry],
    *,
    revoked: Collection[DeviceId] = (),
    stones: tuple[Tombstone, ...] | None = None,
    rival: Head | None = None,
) -> Made:
    """The next version of a term, signed with its delegate key."""
    old, head = edition.devices, edition.head
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    if suite.scheme.public_key(delegate) != head.authority.delegate:
        raise Misuse("not-delegate", "This is not the key of this account's delegates now.")
    if head.number + 1 >= NUMBERS:
        raise Misuse("term-over", "This term has no versions left: begin another one with the recovery phrase.")
    version = head.version + 1
    signing, public = None, head.signing_key
    if revoked or rival is not None:  # of two lists, whom one of them shut out may have the other's account key
        signing, public = new_key(AccountKey, suite, provider)
    new = replace(
        head,
        number=head.number + 1,
        previous=head.digest,
        beside=provider.random(DIGEST) if rival is None else rival.digest,
        signing_key=public,
        revoked=head.revoked if signing is None else version,
        signature=b"",
    )
    if stones is None:
        stones = buried(old, revoked, version)
    devices = listed(provider, entries, new, stones, old.policy, old.overrulers)
    return Made(edition=sealed(provider, new, devices, delegate), signing=signing)


def _term(
    provider: Provider,
    root: RootKey,
    edition: Edition | None,
    term: int,
    cipher_suite: int,
    entries: Sequence[DeviceEntry],
    stones: tuple[Tombstone, ...],
    policy: Policy,
) -> Made:
    suite = suite_of(provider, cipher_suite)
    public_root = suite.scheme.public_key(root)
    if edition is not None and public_root != edition.head.authority.mandate.root:
        raise Misuse("another-account", "This recovery phrase belongs to another account.")
    delegate, public_delegate = new_key(DelegateKey, suite, provider)
    overrule, public_overrule = None, None
    if policy.overrulers:
        overrule, public_overrule = new_key(OverruleKey, suite, provider)
    holders = _ordered(entries)
    shares = () if overrule is None else split(overrule.raw, policy.overrulers, len(holders), provider)
    overrulers = tuple(
        Overruler(device=entry.device, key=entry.key, seal=seal_of(share))
        for entry, share in zip(holders, shares, strict=False)
    )
    mandate = Mandate(
        cipher_suite=cipher_suite, root=public_root, term=term, delegate=public_delegate, overrule=public_overrule
    ).signed(provider, root)
    signing, public_signing = new_key(AccountKey, suite, provider)
    head = first_head(provider, Authority(mandate=mandate), None if edition is None else edition.head, public_signing)
    devices = listed(provider, entries, head, stones, policy, overrulers)
    return Made(
        edition=sealed(provider, head, devices, root),
        signing=signing,
        delegate=delegate,
        shares=tuple((entry.device, share) for entry, share in zip(holders, shares, strict=False)),
    )


def first_head(provider: Provider, authority: Authority, previous: Head | None, signing: bytes) -> Head:
    """The first head of a term, or of the rest of one that is overruled."""
    return Head(
        authority=authority,
        number=0,
        previous=NOTHING if previous is None else previous.digest,
        beside=provider.random(DIGEST),
        list_digest=NOTHING,
        signing_key=signing,
        revoked=authority.start,
    )
