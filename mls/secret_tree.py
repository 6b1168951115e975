"""RFC 9420 §9: the secret tree and its ratchets, with the deletion schedule built in.

One `SecretTree` is the part of an epoch that is consumed. Taking a key gives the key and the tree without it; the
old value is the state to fall back to if the message turns out to be bad, so a forged message consumes nothing.

* A leaf's secret is derived when first needed; its ancestors are dropped and their other children kept (§9.2).
* A ratchet steps forward as far as a message asks, at most `max_forward` steps, and keeps the keys it passed for
  messages that come late: those of the last `out_of_order` generations, no more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.codec import u32
from mls.errors import BugError, CallerError, PeerError, ReplayError
from mls.persistent import PMap
from mls.registries import Generation, LeafIndex
from mls.secrets import EncryptionSecret
from mls.suite import NONCE_SIZE, Suite
from mls.tree import math

HANDSHAKE = 0
APPLICATION = 1
GENERATIONS = 1 << 32
"""That a ratchet has: they are named by 32 bits."""


@dataclass(frozen=True, slots=True)
class Ratchet:
    """One sender's keys of one kind: the head, and the keys passed over and not used yet."""

    generation: int
    secret: bytes = field(repr=False)
    skipped: dict[int, tuple[bytes, bytes]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class MessageKey:
    """A key and nonce for one message."""

    generation: Generation
    key: bytes = field(repr=False)
    nonce: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretTree:
    """What is left of an epoch's message keys."""

    leaf_count: int
    nodes: PMap[int, bytes] = field(repr=False)
    """Secrets of nodes whose parent was expanded and which were not expanded themselves."""
    ratchets: PMap[int, Ratchet] = field(repr=False)
    """By twice the leaf index plus the kind."""

    @classmethod
    def of(cls, encryption: EncryptionSecret, leaf_count: int) -> SecretTree:
        return cls(leaf_count, PMap({leaf_count - 1: encryption.raw}), PMap())

    def without_handshakes(self) -> SecretTree:
        """For an epoch in which nothing is proposed or committed any more."""
        over = [key for key in self.ratchets if key % 2 == HANDSHAKE]
        return SecretTree(self.leaf_count, self.nodes, self.ratchets.changed(over, {}))

    def opened(self, suite: Suite, leaf: LeafIndex) -> SecretTree:
        """With both ratchets of a leaf started."""
        secret, nodes = leaf_secret(suite, self.nodes, self.leaf_count, leaf)
        expand, size = suite.expand_with_label, suite.hash_size
        node = 2 * leaf
        handshake = Ratchet(0, expand(secret, b"handshake", b"", size), {})
        application = Ratchet(0, expand(secret, b"application", b"", size), {})
        ratchets = self.ratchets.set(node, handshake).set(node + 1, application)
        return SecretTree(self.leaf_count, nodes, ratchets)

    def next_key(
        self, suite: Suite, leaf: LeafIndex, kind: int, *, keep: int = 0, out_of_order: int = 0
    ) -> tuple[SecretTree, MessageKey]:
        """The next key for sending. With `keep`, as many sent keys stay readable: a sibling may have used one too."""
        tree = self
        ratchet = tree.ratchets.find(2 * leaf + kind)
        if ratchet is None:
            tree = tree.opened(suite, leaf)
            ratchet = tree.ratchets[2 * leaf + kind]
        generation = ratchet.generation
        if generation >= GENERATIONS:
            raise CallerError("a ratchet ran out of generations", "commit to start a new epoch")
        key, nonce, following = _step(suite, ratchet.secret, generation)
        skipped = ratchet.skipped
        if keep:
            skipped = _trimmed({**skipped, generation: (key, nonce)}, generation + 1 - max(keep, out_of_order))
        stepped = Ratchet(generation + 1, following, skipped)
        return (
            SecretTree(tree.leaf_count, tree.nodes, tree.ratchets.set(2 * leaf + kind, stepped)),
            MessageKey(Generation(generation), key, nonce),
        )

    def key_at(
        self,
        suite: Suite,
        leaf: LeafIndex,
        kind: int,
        generation: int,
        *,
        max_forward: int,
        out_of_order: int,
        keep: int = 0,
    ) -> tuple[SecretTree, MessageKey]:
        """The key of a received message. With `keep`, that many used keys stay, for a rival on the same generation."""
        tree = self
        ratchet = tree.ratchets.find(2 * leaf + kind)
        if ratchet is None:
            tree = tree.opened(suite, leaf)
            ratchet = tree.ratchets[2 * leaf + kind]
        at = ratchet.generation
        if generation < at:
            found = ratchet.skipped.get(generation)
            if found is None:
                raise ReplayError(f"generation {generation} was used or is too old")
            skipped = ratchet.skipped
            if not keep:
                skipped = skipped.copy()
                del skipped[generation]
            stepped = Ratchet(at, ratchet.secret, skipped)
            key, nonce = found
        else:
            if generation - at > max_forward:
                raise PeerError("VAL-15.3-1", f"{generation - at} steps")
            skipped = ratchet.skipped
            secret = ratchet.secret
            if generation > at:
                skipped = skipped.copy()
                while at < generation:
                    key, nonce, secret = _step(suite, secret, at)
                    if generation - at <= max(keep, out_of_order):
                        skipped[at] = (key, nonce)
                    at += 1
            key, nonce, secret = _step(suite, secret, generation)
            if keep:
                skipped = {**skipped, generation: (key, nonce)}
            if skipped:
                skipped = _trimmed(skipped, generation - max(keep, out_of_order))
            stepped = Ratchet(generation + 1, secret, skipped)
        return (
            SecretTree(tree.leaf_count, tree.nodes, tree.ratchets.set(2 * leaf + kind, stepped)),
            MessageKey(Generation(generation), key, nonce),
        )


def leaf_secret(
    suite: Suite, nodes: PMap[int, bytes], leaf_count: int, leaf: LeafIndex
) -> tuple[bytes, PMap[int, bytes]]:
    """The secret of a leaf, and what is kept of the tree above it: that much of §9 holds of other trees too."""
    node = 2 * leaf
    path = [node, *math.direct_path(node, leaf_count - 1)]
    for depth, start in enumerate(path):
        secret = nodes.find(start)
        if secret is not None:
            break
    else:
        raise BugError("the secret of a leaf was asked for twice")
    nodes = nodes.discard(start)
    expand, size = suite.expand_with_label, suite.hash_size
    for at in range(depth, 0, -1):
        above, below = path[at], path[at - 1]
        left = expand(secret, b"tree", b"left", size)
        right = expand(secret, b"tree", b"right", size)
        if below < above:
            secret = left
            nodes = nodes.set(math.right(above), right)
        else:
            secret = right
            nodes = nodes.set(math.left(above), left)
    return secret, nodes


def _step(suite: Suite, secret: bytes, generation: int) -> tuple[bytes, bytes, bytes]:
    """Key, nonce and next secret of one generation (§9.1)."""
    context = u32(generation)
    expand = suite.expand_with_label
    return (
        expand(secret, b"key", context, suite.key_size),
        expand(secret, b"nonce", context, NONCE_SIZE),
        expand(secret, b"secret", context, suite.hash_size),
    )


def _trimmed(skipped: dict[int, tuple[bytes, bytes]], oldest: int) -> dict[int, tuple[bytes, bytes]]:
    if oldest <= 0 or not any(generation < oldest for generation in skipped):
        return skipped
    return {generation: key for generation, key in skipped.items() if generation >= oldest}
