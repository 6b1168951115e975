"""Whom we bring into a conversation: which KeyPackages are good, and who of theirs is nobody."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from mls.codec import decode_exactly
from mls.errors import MlsError
from mls.key_package import KeyPackage
from mls.registries import LeafIndex
from vcd.core.accounts.admission import head_of
from vcd.core.errors import NodeError
from vcd.core.policy import may_exchange, may_take_out, of_group

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core.names import AccountId
    from vcd.core.ordering.graph import Member
    from vcd.core.turn import Turn
    from vcd.core.wanting import Intent


def package(turn: Turn, intent: Intent) -> KeyPackage | None:
    """The KeyPackage to add them by; None if there is none, or it is not good any more."""
    found = _read(turn, intent.package)
    if found is None:
        return None
    lifetime = found.leaf_node.lifetime
    if lifetime is not None and lifetime.not_after < turn.now // 1000:
        return None
    head = head_of(found.leaf_node.credential)
    return None if head is None or turn.state.book.superseded(head) else found


def _read(turn: Turn, data: bytes) -> KeyPackage | None:
    """A KeyPackage that this device can read, of a cipher suite that it has."""
    if not data:
        return None
    try:
        found = decode_exactly(data, KeyPackage.decode)
        turn.provider.suite(found.cipher_suite)
        head_of(found.leaf_node.credential)
    except (MlsError, NodeError, KeyError):
        return None
    return found


def is_by(turn: Turn, intent: Intent, reference: bytes) -> bool:
    """Whether that is the KeyPackage by which somebody is to come in."""
    found = _read(turn, intent.package)
    return found is not None and found.reference(turn.provider.suite(found.cipher_suite)) == reference


def checked(turn: Turn, account: AccountId, data: bytes) -> bytes | None:
    """Whether these bytes are a KeyPackage of that account; the fingerprint of its credential."""
    package = _read(turn, data)
    if package is None:
        return None
    node = package.leaf_node
    try:
        turn.env.authentication.validate(node.credential, node.signature_key, turn.now)
        head = head_of(node.credential)
    except (MlsError, NodeError):
        return None
    if head is None or head.account != account or turn.state.book.superseded(head):
        return None
    return hashlib.sha256(node.credential.encode()).digest()


def may_replace(group: Group, own: Member, dead: Member, by: KeyPackage) -> bool:
    """Whether we may take out somebody dead as we add their account anew.

    If not, one who is no stranger to their account has acted there, and is not dead.
    """
    node = group.public.tree.leaf(LeafIndex(dead.leaf))
    exchanges = node is not None and may_exchange(own, dead, node.credential, by.leaf_node.credential)
    return exchanges or may_take_out(of_group(group), own, dead)
