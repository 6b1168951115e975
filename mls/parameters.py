"""RFC 9750 §7: the choices that a deployment makes, in one typed value.

Members need not agree on these to interoperate, but siblings that act as one client must. Windows are counted in
messages and epochs, never in wall-clock time: time belongs to whoever holds the groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from mls.components.dictionary import Dictionary
from mls.components.logic import COMPONENTS, Components
from mls.errors import CallerError, PeerError
from mls.mode import PLAIN, Mode
from mls.schedule import RESERVED_LABELS, Recipe
from mls.suite import Suite


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
    """How many of our own leaf's used message keys stay readable (`out_of_order` of them if that is more).

    Above zero when siblings share the leaf, because two of them may use one generation at once. Duplicates are then
    the caller's to notice."""
    keep_handshake_keys: bool = False
    """Whether used handshake keys stay until the epoch is retired. Two commits may come in on one generation, by
    siblings or by a liar; a group that keeps forks must be able to read both, in either order."""
    resumption_psks: int = 32
    """How many epochs back a resumption PSK of this group can be used (§8.6)."""
    max_pending: int = 64
    """How many proposals of one sender wait for a commit; everybody who is not a member counts as one sender."""
    max_pending_bytes: int = 4 << 20
    """How large all waiting proposals may be together."""
    take_new_members: bool = False
    """Whether our commits take up what strangers propose for themselves, without being told to by reference."""
    max_lifetime: int = 400 * 24 * 3600
    """Longest lifetime, in seconds, of a leaf that this client adds, or accepts from others."""
    check_received_lifetimes: bool = True
    """Whether `max_lifetime` binds others too: in commits, and in the tree that we join."""
    refuse_expired: bool = False
    """Whether a commit that adds an expired leaf is refused (§7.3 recommends it). Off, because a device that reads the
    commit late would refuse what everybody else accepted, and stay behind."""
    extensions: frozenset[int] = frozenset()
    """GroupContext extension types that this client implements beyond those of RFC 9420."""
    ratchet_tree: bool = True
    """Whether GroupInfo carries the tree."""
    epoch_labels: tuple[bytes, ...] = ()
    """Further secrets to derive from the epoch secret before it is dropped."""
    components: Components = COMPONENTS
    """The application components that this client implements (mls-extensions §4)."""
    modes: tuple[Mode, ...] = ()
    """Kinds of groups beyond RFC 9420 that this client takes part in."""

    def __post_init__(self) -> None:
        kept = RESERVED_LABELS.intersection(self.epoch_labels)
        if kept:
            raise CallerError(
                f"the epoch label {min(kept)!r} is the protocol's own", "choose labels that begin with your name"
            )

    def mode(self, dictionary: Dictionary) -> Mode:
        """The kind of a group whose context has this application data."""
        if not dictionary.entries:
            return PLAIN  # asked for every message
        numbers = self.components.numbers
        marks = sum(dictionary.find(marker) is not None for marker in (numbers.dmls, numbers.dimls))
        if marks > 1:
            raise PeerError("EXT-5-8")
        for mode in self.modes:
            if mode.governs(dictionary):
                return mode
        if marks:
            raise PeerError("EXT-5-9")
        return PLAIN

    def recipe(self, suite: Suite, dictionary: Dictionary) -> Recipe:
        return self.mode(dictionary).recipe(suite, self.epoch_labels)
