"""The keys that come with a list of devices: who is told them, and how a device that lacks one gets it.

A list may bring a new account key, for all its devices, and that of a new term a delegates' key, for its delegates.
Whoever made the list tells them once the home stands with it (`siblings.NewAccountKey`, `NewDelegateKey`), and again
until an epoch is final that stands on the one where it was told.

By then all have voted for that, and so have heard it. A device that was set back to an old disk had voted, and knows
nothing of it any more: what it was told is gone, or sealed in epochs that it cannot follow to, and what it told the
others itself it never hears. Without the account key it shows an old list, and without the delegates' key it is a
delegate in name. So who lacks a key of the list with which the home stands for good asks for it (`siblings.KeyWanted`),
one device after another, as any of them may be off or lack it too.

Only keys of the last final list are told so. Each later epoch stands on it: whoever hears the answer, on whatever
branch it is told again, is on that list or was let in since. Keys of a list that may still lose are not, as somebody
whom it shuts out could be there where it lost. The delegates' key is sealed to the leaf of who asks, if both lists, the
final one and the one where the home stands, say that it is a delegate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.hpke import CryptoError
from vcd.core import devices, linking, listing, ranks, siblings
from vcd.core.accounts.identity import DelegateKey
from vcd.core.duties import Duty
from vcd.core.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mls.state import Group
    from vcd.core.accounts.device_list import Edition
    from vcd.core.names import DeviceId
    from vcd.core.siblings import Told
    from vcd.core.turn import Turn

_DELEGATE_KEY = b"vcd delegate key"


# ---------------------------------------------------------------- the delegates' key


def term(turn: Turn) -> None:
    """After the home moved: a new term has a new delegate key, for those who are delegates in it."""
    key, here = turn.state.household.term_key, turn.home.here
    if key is None or here is None:
        return
    edition = listing.of_group(here.group)
    public = here.group.suite.scheme.public_key(key)
    if public != edition.head.authority.delegate:
        return
    devices.keep(turn, delegate=key if _is_delegate(edition, turn.state.me.device) else None)
    made = turn.state.household.made
    if made is not None and made.head.authority.delegate == public and turn.state.household.term_told != public:
        _share(turn, here.group, edition, key, public)
    final = turn.home.kept.find(turn.home.final)
    if final is not None and listing.of_group(final.group).head.authority.delegate == public:
        devices.keep(turn, term_key=None)


def _share(turn: Turn, group: Group, edition: Edition, key: DelegateKey, public: bytes) -> None:
    """Each delegate gets it sealed to its leaf in the home."""
    if not devices.may_speak(turn):
        return
    devices.keep(turn, term_told=public)
    for leaf, node in group.members:
        device = devices.device_at(group, leaf)
        if device is None or not _is_delegate(edition, device) or device == turn.state.me.device:
            continue
        devices.tell(turn, _sealed(turn, group, node.encryption_key, device, key, public))


def _sealed(
    turn: Turn, group: Group, to: bytes, device: DeviceId, key: DelegateKey, public: bytes
) -> siblings.NewDelegateKey:
    context = group.suite.encryption_context(_DELEGATE_KEY, device)
    kem, sealed = group.suite.seal(to, context, key.raw, turn.provider.random)
    return siblings.NewDelegateKey(device=device, public=public, kem=kem, sealed=sealed)


def _is_delegate(edition: Edition, device: DeviceId) -> bool:
    entry = edition.devices.find(device)
    return entry is not None and entry.delegate


def take(turn: Turn, record: siblings.NewDelegateKey) -> None:
    """The key of a term, if it was sealed to a leaf that we have, or had when it was said first."""
    here = turn.home.here
    if record.device != turn.state.me.device or here is None:
        return
    suite, starts = here.group.suite, _terms(turn)
    context = suite.encryption_context(_DELEGATE_KEY, record.device)
    for _, kept in sorted(turn.home.kept.items()):
        private = kept.group.private.get(2 * kept.group.own_leaf)
        if private is None:
            continue
        try:
            found = DelegateKey(suite.open(private, context, record.kem, record.sealed))
            right = suite.scheme.public_key(found) == record.public
        except (CryptoError, MlsError):
            continue
        if right and record.public in starts:
            _took(turn, here.group, found, record.public, starts)
            return
    raise Refused("delegate-key")


def _terms(turn: Turn) -> dict[bytes, int]:
    """The terms that this device knows of, by their delegates' keys, and where each begins."""
    several = [listing.of_group(kept.group).head.authority for _, kept in sorted(turn.home.kept.items())]
    return {each.delegate: each.start for each in several}


def _took(turn: Turn, group: Group, key: DelegateKey, public: bytes, starts: dict[bytes, int]) -> None:
    """A key of a newer term may be the only one that there is, and is not given up for one that signs here and now."""
    made, newer, edition = turn.state.household.made, turn.state.household.term_key, listing.of_group(group)
    if made is not None:
        starts = {made.head.authority.delegate: made.head.authority.start, **starts}
    if newer is None or starts.get(group.suite.scheme.public_key(newer), 0) <= starts[public]:
        devices.keep(turn, term_key=key)
        term(turn)
    elif public == edition.head.authority.delegate and _is_delegate(edition, turn.state.me.device):
        devices.keep(turn, delegate=key)


# ---------------------------------------------------------------- who lacks one


def look(turn: Turn) -> None:
    """The home stands elsewhere, or a key came. What is on its way is waited for."""
    if any(_lacking(turn)):
        turn.due(Duty.HOME, devices.KEYS, turn.now + turn.state.config.desync_after)
    else:
        turn.not_due(Duty.HOME, devices.KEYS)


def _lacking(turn: Turn) -> Iterator[tuple[bytes, list[DeviceId]]]:
    """The keys that this device should have by the last final list, and the devices that may have them.

    Who came back from outside may not have that epoch, and goes by the list where the home stands.
    """
    known, me = turn.home.kept.find(turn.home.final) or turn.home.here, turn.state.me.device
    if known is None or turn.state.household.gone:
        return
    edition = listing.of_group(known.group)
    others = [each for each in ranks.devices(turn) if each != me]
    if edition.head.signing_key not in turn.state.household.account_keys:
        yield edition.head.signing_key, others
    if _is_delegate(edition, me) and linking.signer(turn, edition) is None:
        yield edition.head.authority.delegate, [each for each in others if _is_delegate(edition, each)]


def ask(turn: Turn) -> None:
    """Duty HOME: each time another device, and when all were asked, the one that was asked longest ago."""
    config, wait = turn.state.config, 0
    for public, several in list(_lacking(turn)):
        wait = wait or config.retry_most
        if not several or not devices.may_speak(turn):
            continue
        asked = {record.device: number for number, record in asked_for(turn, public)}
        devices.tell(turn, siblings.KeyWanted(device=min(several, key=lambda each: asked.get(each, 0)), public=public))
        if sum(each not in asked for each in several) > 1:
            wait = config.desync_after
    if wait:
        turn.due(Duty.HOME, devices.KEYS, turn.now + wait)


def asked_for(turn: Turn, public: bytes) -> Iterator[tuple[int, siblings.KeyWanted]]:
    """What this device has told when it asked others for a key, and may have to tell again."""
    for number, record in _told(turn, siblings.KeyWanted, public):
        if isinstance(record, siblings.KeyWanted) and record.public == public:
            yield number, record


def answer(turn: Turn, told: Told, public: bytes) -> None:
    """Another device lacks it. It is told once for each epoch where the home stands, and again a while later."""
    strand, me = turn.home, turn.state.me.device
    here, final = strand.here, strand.kept.find(strand.final)
    if here is None or final is None or told.device == me or not devices.may_speak(turn):
        return
    certain, now = listing.of_group(final.group), listing.of_group(here.group)
    private = turn.state.household.account_keys.find(public)
    if public == certain.head.signing_key and private is not None:
        _answer(turn, siblings.NewAccountKey(public=public, private=private))
        return
    key = linking.delegate_key(turn, certain)
    named = certain.head.authority.delegate, now.head.authority.delegate
    if key is None or named != (public, public) or not all(_is_delegate(each, told.device) for each in (certain, now)):
        return
    leaf = next((node for at, node in here.group.members if devices.device_at(here.group, at) == told.device), None)
    if leaf is not None:
        _answer(turn, _sealed(turn, here.group, leaf.encryption_key, told.device, key, public))


def _answer(turn: Turn, record: siblings.NewAccountKey | siblings.NewDelegateKey) -> None:
    """Tell it, unless it may be on its way. What was told before for that is not said again."""
    said, since = turn.state.household.said, turn.now - turn.state.config.digest_every
    before = [number for number, each in _told(turn, type(record)) if _one(each) == _one(record)]
    if any(said[each].epoch == turn.home.head and said[each].at > since for each in before):
        return
    devices.keep(turn, said=said.changed(before, {}))
    devices.tell(turn, record)


def _one(record: siblings.Sibling) -> tuple[bytes, bytes]:
    """Two of these for one device, of one key, tell the same."""
    if isinstance(record, siblings.NewDelegateKey):
        return record.device, record.public
    return b"", record.public if isinstance(record, siblings.NewAccountKey) else b""


def _told(turn: Turn, kind: type[siblings.Sibling], part: bytes = b"") -> Iterator[tuple[int, siblings.Sibling]]:
    """What of that kind, with those bytes in it, this device has told and may have to tell again.

    Only that is decoded: whoever lacks many keys looks here for each of them whenever anything is heard.
    """
    mark = bytes([siblings.MARK, kind.RECORD_TAG])
    for number, each in sorted(turn.state.household.said.items()):
        if each.data[:2] == mark and part in each.data:
            yield number, siblings.unpack(each.data)
