"""draft-ietf-mls-virtual-clients §6.2: operation secrets, one for each thing that a virtual client does.

Every device of a virtual client can derive what any of them derives, and no two of them must ever derive one thing
twice. So each emulation epoch has a tree of secrets, shaped like the emulation group's ratchet tree of that epoch, and
each leaf has three ratchets, one for each type of operation. A device takes from the ratchets of its own leaf; the
others learn leaf, type and generation, and take the same secret from their copies.

* When a leaf is first used, all three ratchets are started and the leaf's secret is dropped; of the tree above it, what
  RFC 9420 §9.2 keeps is kept.
* A generation is consumed when it is derived. Deriving for oneself must be stored before anything made of it leaves the
  device, whatever becomes of the operation; a second try takes the next generation. What is derived from bytes that
  somebody sent is to be stored only once those bytes have proven good: they may be copied from elsewhere, and then
  consuming the generation would keep us from following the operation that it was made for.
* A ratchet follows at most `max_forward` steps at once, and keeps the secrets it passes for operations that are heard
  of late: the newest `keep` of them. They are kept without their context, which is not known until then.

What is derived binds the epoch, the leaf, the generation, the type and the operation's context, so whoever gets one of
these wrong gets another secret. To hear of one's own leaf ahead of oneself means that an older state was restored.
Following it moves past it, which is what has to happen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise

from mls.codec import Reader, opaque, u8, u32, u64, vector
from mls.errors import BugError, CallerError, PeerError, ReplayError
from mls.persistent import PMap
from mls.registries import Generation, LeafIndex
from mls.secret_tree import leaf_secret
from mls.secrets import EpochBaseSecret, OperationSecret
from mls.suite import Suite
from mls.tree import math

MAX_FORWARD = 1024
KEEP = 32


class OperationType(IntEnum):
    """VirtualClientOperationType."""

    KEY_PACKAGE = 1
    LEAF_NODE = 2
    APPLICATION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation with its secret. It is deleted when nothing derived from it is in use any more."""

    epoch_id: bytes
    leaf: LeafIndex
    generation: Generation
    type: OperationType
    context: bytes
    """The group's id if it is for a leaf in a group, nothing if for KeyPackages, else what the application says."""
    secret: OperationSecret


@dataclass(frozen=True, slots=True)
class OperationRatchet:
    """One leaf's operations of one type: the head, and the generations passed over and not heard of yet."""

    generation: int
    secret: bytes = field(repr=False)
    skipped: dict[int, bytes] = field(repr=False)
    """Secrets of generations, not of operations: the context comes with the operation. In order of generation."""

    def fits(self, size: int) -> bool:
        """Whether steps can have led here."""
        waiting = [*self.skipped, self.generation]
        secrets = [*self.skipped.values(), self.secret]
        ascending = all(lower < upper for lower, upper in pairwise(waiting))
        return ascending and self.generation <= 1 << 32 and all(len(secret) == size for secret in secrets)


@dataclass(frozen=True, slots=True)
class OperationTree:
    """What is left of an emulation epoch's operation secrets."""

    leaf_count: int
    nodes: PMap[int, bytes] = field(repr=False)
    """Secrets of nodes whose parent was expanded and which were not expanded themselves."""
    ratchets: PMap[int, OperationRatchet] = field(repr=False)
    """By four times the leaf index plus the type."""

    @classmethod
    def gone(cls, leaf_count: int) -> OperationTree:
        """Of an epoch of which some operations are known by themselves, and none can be derived any more."""
        return cls(leaf_count, PMap(), PMap())

    @classmethod
    def of(cls, base: EpochBaseSecret, leaf_count: int) -> OperationTree:
        return cls(leaf_count, PMap({math.root(leaf_count): base.raw}), PMap())

    def next(
        self, suite: Suite, epoch_id: bytes, leaf: LeafIndex, kind: OperationType, context: bytes
    ) -> tuple[Operation, OperationTree]:
        """An operation of our own leaf."""
        if self.is_gone:
            raise CallerError("nothing can be derived in this emulation epoch any more", "use the newest one")
        tree, ratchet = self._ratchet(suite, leaf, kind)
        generation = ratchet.generation
        if generation > 0xFFFF_FFFF:
            raise CallerError("an operation ratchet ran out of generations", "start a new emulation epoch")
        secret, following = _step(suite, ratchet.secret)
        stepped = OperationRatchet(generation + 1, following, ratchet.skipped)
        operation = _operation(suite, secret, epoch_id, leaf, generation, kind, context)
        return operation, tree.with_ratchet(leaf, kind, stepped)

    def at(
        self,
        suite: Suite,
        epoch_id: bytes,
        leaf: LeafIndex,
        kind: OperationType,
        generation: int,
        context: bytes,
        *,
        max_forward: int = MAX_FORWARD,
        keep: int = KEEP,
    ) -> tuple[Operation, OperationTree]:
        """An operation that was heard of."""
        if leaf >= self.leaf_count:
            raise PeerError("VC-6.2-1", f"leaf {leaf} of {self.leaf_count}")
        if self.is_gone:
            raise ReplayError("of this emulation epoch no operation can be derived any more")
        tree, ratchet = self._ratchet(suite, leaf, kind)
        at, head, skipped = ratchet.generation, ratchet.secret, ratchet.skipped
        if generation < at:
            found = skipped.get(generation)
            if found is None:
                raise ReplayError(f"operation {generation} of leaf {leaf} was derived before or is too old")
            secret = found
            skipped = {number: each for number, each in skipped.items() if number != generation}
        else:
            if generation - at > max_forward:
                raise PeerError("VC-6.2-2", f"{generation - at} steps")
            passed = dict(skipped)
            for number in range(at, generation):
                passed[number], head = _step(suite, head)
            skipped = dict(list(passed.items())[max(len(passed) - keep, 0) :])
            secret, head = _step(suite, head)
            at = generation + 1
        operation = _operation(suite, secret, epoch_id, leaf, generation, kind, context)
        return operation, tree.with_ratchet(leaf, kind, OperationRatchet(at, head, skipped))

    @property
    def is_gone(self) -> bool:
        return not self.nodes and not self.ratchets

    def with_ratchet(self, leaf: int, kind: int, ratchet: OperationRatchet) -> OperationTree:
        return OperationTree(self.leaf_count, self.nodes, self.ratchets.set(4 * leaf + kind, ratchet))

    def _ratchet(self, suite: Suite, leaf: LeafIndex, kind: OperationType) -> tuple[OperationTree, OperationRatchet]:
        """A ratchet, and the tree with all three of that leaf started."""
        ratchet = self.ratchets.find(4 * leaf + kind)
        if ratchet is not None:
            return self, ratchet
        if leaf >= self.leaf_count:
            raise BugError("an operation of ours is of a leaf that the tree does not have")
        secret, nodes = leaf_secret(suite, self.nodes, self.leaf_count, leaf)
        started = {
            4 * leaf + each: OperationRatchet(
                0, suite.expand_with_label(secret, b"vc operation init", u8(each), suite.hash_size), {}
            )
            for each in OperationType
        }
        tree = OperationTree(self.leaf_count, nodes, self.ratchets.update(started))
        return tree, started[4 * leaf + kind]

    def fits(self, size: int) -> bool:
        """Whether evaluations can have led here: every leaf is started or has exactly one secret that leads to it."""
        if self.is_gone:
            return True
        spans = []
        for node, secret in self.nodes.items():
            reach = (1 << math.level(node)) - 1
            spans.append(((node - reach) // 2, (node + reach) // 2 + 1))
            if len(secret) != size:
                return False
        started: dict[int, list[int]] = {}
        for key, ratchet in self.ratchets.items():
            started.setdefault(key // 4, []).append(key % 4)
            if not ratchet.fits(size):
                return False
        spans += [(leaf, leaf + 1) for leaf in started]
        end = 0
        for start, stop in sorted(spans):
            if start != end:
                return False
            end = stop
        return end == self.leaf_count and all(sorted(types) == [*OperationType] for types in started.values())

    def encode(self) -> bytes:
        """For our own storage; whoever embeds it has a version.

        `uint32 leaf_count; Node nodes<V>; Ratchet ratchets<V>`, both ascending, where a node is its index and secret,
        and a ratchet its key (four times the leaf plus the type), generation (64 bits, because it may be past the last
        one), secret, and skipped generations with their secrets.
        """
        nodes = [u32(index) + opaque(self.nodes[index]) for index in sorted(self.nodes)]
        ratchets = [u32(key) + _encode_ratchet(self.ratchets[key]) for key in sorted(self.ratchets)]
        return u32(self.leaf_count) + vector(nodes) + vector(ratchets)

    @classmethod
    def decode(cls, reader: Reader) -> OperationTree:
        leaf_count = reader.u32()
        nodes = reader.vector(lambda r: (r.u32(), r.opaque()))
        ratchets = reader.vector(lambda r: (r.u32(), _decode_ratchet(r)))
        return cls(leaf_count, PMap(nodes), PMap(ratchets))


def _encode_ratchet(ratchet: OperationRatchet) -> bytes:
    skipped = [u32(generation) + opaque(secret) for generation, secret in ratchet.skipped.items()]
    return u64(ratchet.generation) + opaque(ratchet.secret) + vector(skipped)


def _decode_ratchet(reader: Reader) -> OperationRatchet:
    generation = reader.u64()
    secret = reader.opaque()
    return OperationRatchet(generation, secret, dict(reader.vector(lambda r: (r.u32(), r.opaque()))))


def _step(suite: Suite, secret: bytes) -> tuple[bytes, bytes]:
    """The secret of a generation, and the head after it."""
    return suite.derive_secret(secret, b"VC Operation Secret"), suite.derive_secret(secret, b"VC Operation Ratchet")


def _operation(
    suite: Suite,
    generation_secret: bytes,
    epoch_id: bytes,
    leaf: LeafIndex,
    generation: int,
    kind: OperationType,
    context: bytes,
) -> Operation:
    bound = opaque(epoch_id) + u32(leaf) + u32(generation) + u8(kind) + opaque(context)  # OperationContext
    secret = suite.expand_with_label(generation_secret, b"vc operation", bound, suite.hash_size)
    return Operation(
        epoch_id=epoch_id,
        leaf=leaf,
        generation=Generation(generation),
        type=kind,
        context=context,
        secret=OperationSecret(secret),
    )
