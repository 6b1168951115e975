"""draft-ietf-mls-virtual-clients §6.5.2: reuse guards that no two devices of a virtual client can choose alike.

Devices that share a leaf take their keys and nonces from the same ratchets, and two that send at the same time use the
same ones. What keeps the nonces apart is the reuse guard, four bytes that are mixed into the nonce (RFC 9420 §6.3.1).
A device draws a number that is congruent to its leaf index modulo the number of leaves, and sends it through a
permutation that all devices know for that nonce and nobody else. So the guards of two devices are never equal for one
nonce, they look random to others, and a sibling that turns the permutation back reads who sent.

`Guard` is what one emulation epoch gives. Which epoch that is, the DerivationInfo of the virtual client's leaf says,
for each epoch of a conversation: the same group may have a Guard for messages that come late and another for new ones.

* A device that was no member in that epoch has no leaf index there. It can attribute what siblings send and must not
  send itself, or its guards may be those of somebody else; a new leaf of the virtual client ends that (§5.1).
* A device has 2^32 / `leaf_count` guards for each nonce, which matters if it ever uses a nonce twice: after its state
  was rolled back, chance alone keeps the guards apart. `MAX_LEAVES` bounds what a large tree takes from that.
* An attribution is what a sibling said of itself. Every device can compute every other one's guards, so this tells
  siblings apart that follow the rules, and is no proof against one that does not. Nor does it say that the leaf was
  occupied; whoever has the emulation group's tree can look.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.errors import CallerError
from mls.messages import Sealing
from mls.provider import Provider, ReuseGuard
from mls.registries import LeafIndex
from mls.secrets import ReuseGuardSecret
from mls.suite import Suite
from mls.virtual.ff1 import KEY_SIZE, BitOrder, SmallSpacePrp

MAX_LEAVES = 256
"""Leaves of an emulation group, blank ones included, with which we work. The bound is ours."""


def is_leaf_count(count: int) -> bool:
    """Whether a ratchet tree can have so many leaves (RFC 9420 §7.7), and we work with such a one."""
    return 1 <= count <= MAX_LEAVES and count & (count - 1) == 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The reuse guards of one emulation epoch."""

    suite: Suite
    """Of the emulation group, whatever the conversation's is."""
    secret: ReuseGuardSecret
    leaf_count: int
    """The draft's N_e: leaves of the emulation group's tree in that epoch, blank ones included."""
    own_leaf: LeafIndex | None
    """Ours in that epoch; None if we were no member then."""
    bit_order: BitOrder = BitOrder.MSB_FIRST

    def __post_init__(self) -> None:
        if not is_leaf_count(self.leaf_count):
            raise CallerError(f"{self.leaf_count} leaves are no power of two up to {MAX_LEAVES}")
        if self.own_leaf is not None and not 0 <= self.own_leaf < self.leaf_count:
            raise CallerError(f"leaf {self.own_leaf} is not in a tree of {self.leaf_count}")
        if len(self.secret.raw) != self.suite.hash_size:
            raise CallerError(
                f"a secret of {len(self.secret.raw)} bytes is not of cipher suite {self.suite.cipher_suite}"
            )

    def sender(self, provider: Provider) -> ReuseGuard:
        """Draws guards for what this device sends; to be given to `mls.group` with each message."""
        own = self.own_leaf
        if own is None:
            raise CallerError(
                "this device was no member of the emulation epoch that the leaf comes from",
                "have the virtual client's leaf rotated to an epoch of which it is one",
            )
        within = self.leaf_count - 1
        random = provider.random

        def draw(nonce: bytes, generation: int, ratchet: int) -> bytes:  # noqa: ARG001 - the Protocol's signature
            # 2^32 is a multiple of the leaf count, so that every number of our class is as likely as any other.
            number = int.from_bytes(random(4), "big") & ~within | own
            return self._permutation(nonce).encrypt(number).to_bytes(4, "big")

        return draw

    def attribute(self, sealing: Sealing) -> LeafIndex:
        """The leaf, in the emulation group of that epoch, of the device that sealed a message of the virtual client."""
        number = self._permutation(sealing.nonce).decrypt(int.from_bytes(sealing.reuse_guard, "big"))
        return LeafIndex(number % self.leaf_count)

    def _permutation(self, nonce: bytes) -> SmallSpacePrp:
        key = self.suite.expand_with_label(self.secret.raw, b"reuse guard", nonce, KEY_SIZE)
        return SmallSpacePrp(key, self.bit_order)
