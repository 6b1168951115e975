"""RFC 9750 §7: the choices that a deployment makes, in one typed value.

Members need not agree on these to interoperate, but siblings that act as one client must. Windows are counted in
messages and epochs, never in wall-clock time: time belongs to whoever holds the groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Padding(Enum):
    """How much a PrivateMessage hides of its length (§15.1)."""

    NONE = "none"
    PADME = "padme"
    """At most 12 % more bytes, and only O(log log n) bits of the length leak."""
    BLOCK = "block"
    """To a multiple of 256 bytes."""

    def size(self, length: int) -> int:
        """How many zero bytes to append to `length` bytes."""
        if self is Padding.BLOCK:
            return -length % 256
        if self is Padding.NONE or length < 2:
            return 0
        exponent = length.bit_length() - 1
        mask = (1 << (exponent - exponent.bit_length())) - 1
        return ((length + mask) & ~mask) - length


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Limits and policies of one client in one group."""

    encrypt_handshakes: bool = True
    """Proposals and commits of members as PrivateMessage."""
    padding: Padding = Padding.PADME
    max_forward: int = 1000
    """How many generations a ratchet may skip for one message (§15.3)."""
    out_of_order: int = 64
    """How many passed-over message keys are kept per ratchet for late messages."""
    own_keys: int = 0
    """How many of our own sent keys stay readable; above zero when siblings share the leaf and may collide."""
    resumption_psks: int = 32
    """How many epochs back a resumption PSK of this group can be used (§8.6)."""
    max_pending: int = 1024
    """How many proposals wait for a commit; further ones are refused."""
    max_lifetime: int = 400 * 24 * 3600
    """Longest lifetime, in seconds, of a leaf that this client adds, or accepts from others."""
    check_received_lifetimes: bool = True
    """Whether lifetimes bind others too: a commit that adds an expired leaf is refused, and so is a leaf, added or in
    the tree, whose whole lifetime is longer than `max_lifetime`. A leaf in the tree may have expired."""
    extensions: frozenset[int] = frozenset()
    """GroupContext extension types that this client implements beyond those of RFC 9420."""
    ratchet_tree: bool = True
    """Whether GroupInfo carries the tree."""
    epoch_labels: tuple[bytes, ...] = ()
    """Further secrets to derive from the epoch secret before it is dropped."""
