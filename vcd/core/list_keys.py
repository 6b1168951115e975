"""The delegates' key of a term: who is told it, and what a device that has those of two terms does with them.

Whoever began a term tells the delegates its key once the home stands there (`siblings.NewDelegateKey`), sealed to their
leaves. `Household.delegate` is the key of the term in which the home stands, and `term_key` that of one which began on
some branch, until it is final.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.hpke import CryptoError
from vcd.core import devices, listing, siblings
from vcd.core.accounts.identity import DelegateKey
from vcd.core.errors import Refused

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core.accounts.device_list import Edition
    from vcd.core.names import DeviceId
    from vcd.core.turn import Turn

_DELEGATE_KEY = b"vcd delegate key"


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
