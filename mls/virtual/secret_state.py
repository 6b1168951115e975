"""draft-ietf-mls-virtual-clients §5.1.2: what is left of a tree of secrets, as one device hands it to another.

SecretTreeState is the same struct for two trees: that of a conversation's message keys, and that of an emulation
epoch's operations. It has the nodes that were not expanded and the heads of the ratchets that were started. Whether it
is one that evaluations can have led to is judged when it becomes a tree of ours, because only then the number of leaves
and the size of the hash are known. Each leaf must have all its ratchets, or stand below exactly one node, and nothing
may be outside of the tree: with less, a secret would be asked for later that is not there, and with more, one that is
thought to be deleted would come back.

What was passed over and is waited for has no place in the struct. `Skipped` is where the companion keeps it, a struct
of our own: for each ratchet the generations that wait, with what opens them.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import pairwise
from typing import TypeVar

from mls.codec import Reader, opaque, u8, u32, vector
from mls.errors import CallerError, PeerError
from mls.persistent import PMap
from mls.registries import Generation, LeafIndex
from mls.secret_tree import APPLICATION, HANDSHAKE, Ratchet, SecretTree
from mls.suite import NONCE_SIZE, Suite
from mls.tree.math import level, node_width
from mls.virtual.operations import OperationRatchet, OperationTree, OperationType

T = TypeVar("T")
E = TypeVar("E", bound=IntEnum)


class Flag(IntEnum):
    NO = 0
    YES = 1


class RatchetType(IntEnum):
    """SecretTreeRatchetType."""

    APPLICATION = 1
    HANDSHAKE = 2
    OPERATION = 3


def known(kind: type[E], value: int) -> E:
    """A type that the state names; what comes after an unknown one cannot be read."""
    try:
        return kind(value)
    except ValueError:
        raise PeerError("VC-5.1-1", f"{kind.__name__} {value}") from None


def flag(reader: Reader) -> bool:
    """A byte that says yes or no."""
    return known(Flag, reader.u8()) is Flag.YES


def several(reader: Reader, decode: Callable[[Reader], T], most: int) -> tuple[T, ...]:
    """A vector of at most so many entries."""
    found = reader.vector(decode)
    if len(found) > most:
        raise PeerError("VC-5.1-2", f"{len(found)} of {most}")
    return found


def check_distinct(names: Iterable[object]) -> None:
    listed = list(names)
    if len(set(listed)) != len(listed):
        raise PeerError("VC-5.1-3")


def check_size(secret: bytes, sizes: Container[int]) -> None:
    if len(secret) not in sizes:
        raise PeerError("VC-5.1-7", f"{len(secret)} bytes")


# Secret trees


@dataclass(frozen=True, slots=True)
class SecretTreeNodeState:
    """A node that was not expanded, while the one above it was."""

    node: int
    secret: bytes = field(repr=False)

    def encode(self) -> bytes:
        return u32(self.node) + opaque(self.secret)

    @classmethod
    def decode(cls, reader: Reader) -> SecretTreeNodeState:
        return cls(reader.u32(), reader.opaque())


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretTreeRatchetState:
    """A ratchet's head: what gives the secret of `generation`."""

    leaf: LeafIndex
    type: RatchetType
    operation: OperationType | None = None
    """For ratchets of operations, of which."""
    generation: Generation
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if (self.operation is None) is (self.type is RatchetType.OPERATION):
            raise CallerError("a ratchet of operations, and no other, has a type of operation")

    def encode(self) -> bytes:
        operation = b"" if self.operation is None else u8(self.operation)
        return u32(self.leaf) + u8(self.type) + operation + u32(self.generation) + opaque(self.secret)

    @classmethod
    def decode(cls, reader: Reader) -> SecretTreeRatchetState:
        leaf = LeafIndex(reader.u32())
        kind = known(RatchetType, reader.u8())
        operation = known(OperationType, reader.u8()) if kind is RatchetType.OPERATION else None
        return cls(
            leaf=leaf,
            type=kind,
            operation=operation,
            generation=Generation(reader.u32()),
            secret=reader.opaque(),
        )


_MESSAGES: dict[int, RatchetType] = {HANDSHAKE: RatchetType.HANDSHAKE, APPLICATION: RatchetType.APPLICATION}
_RATCHETS: dict[int, int] = {ours: kind for kind, ours in _MESSAGES.items()}
Kind = tuple[RatchetType, int]
"""Of a ratchet: the type, and for one of operations the type of operation."""
_OF_MESSAGES: list[Kind] = sorted((kind, 0) for kind in _MESSAGES.values())
_OF_OPERATIONS: list[Kind] = sorted((RatchetType.OPERATION, int(each)) for each in OperationType)


@dataclass(frozen=True, slots=True)
class SecretTreeState:
    """What is left of a tree of secrets, but for what was passed over."""

    nodes: tuple[SecretTreeNodeState, ...] = ()
    ratchets: tuple[SecretTreeRatchetState, ...] = ()

    def encode(self) -> bytes:
        return vector([node.encode() for node in self.nodes]) + vector([each.encode() for each in self.ratchets])

    @classmethod
    def decode(cls, reader: Reader) -> SecretTreeState:
        return cls(reader.vector(SecretTreeNodeState.decode), reader.vector(SecretTreeRatchetState.decode))

    @classmethod
    def of_messages(cls, tree: SecretTree) -> SecretTreeState:
        """Of a group's message keys."""
        ratchets = [
            SecretTreeRatchetState(
                leaf=LeafIndex(key // 2),
                type=_MESSAGES[key % 2],
                generation=_writable(tree.ratchets[key].generation),
                secret=tree.ratchets[key].secret,
            )
            for key in sorted(tree.ratchets)
        ]
        return cls(_nodes(tree.nodes), tuple(ratchets))

    @classmethod
    def of_operations(cls, tree: OperationTree) -> SecretTreeState:
        ratchets = [
            SecretTreeRatchetState(
                leaf=LeafIndex(key // 4),
                type=RatchetType.OPERATION,
                operation=OperationType(key % 4),
                generation=_writable(tree.ratchets[key].generation),
                secret=tree.ratchets[key].secret,
            )
            for key in sorted(tree.ratchets)
        ]
        return cls(_nodes(tree.nodes), tuple(ratchets))

    def message_tree(self, suite: Suite, leaf_count: int) -> SecretTree:
        """The message keys of a group with so many leaves; nothing waits that was passed over."""
        self._check(suite.hash_size, leaf_count, _OF_MESSAGES)
        ratchets = {
            2 * each.leaf + _RATCHETS[each.type]: Ratchet(each.generation, each.secret, {}) for each in self.ratchets
        }
        return SecretTree(leaf_count, PMap([(node.node, node.secret) for node in self.nodes]), PMap(ratchets))

    def operation_tree(self, suite: Suite, leaf_count: int) -> OperationTree:
        """The operations of an emulation epoch with so many leaves; nothing waits that was passed over."""
        self._check(suite.hash_size, leaf_count, _OF_OPERATIONS)
        ratchets = {
            4 * each.leaf + (each.operation or 0): OperationRatchet(each.generation, each.secret, {})
            for each in self.ratchets
        }
        return OperationTree(leaf_count, PMap([(node.node, node.secret) for node in self.nodes]), PMap(ratchets))

    def _check(self, size: int, leaf_count: int, kinds: list[Kind]) -> None:
        nodes = [(node.node, node.secret) for node in self.nodes]
        heads = [(each.leaf, (each.type, each.operation or 0), each.secret) for each in self.ratchets]
        check_tree(size, leaf_count, kinds, nodes, heads)


def check_tree(
    size: int,
    leaf_count: int,
    kinds: list[Kind],
    nodes: Sequence[tuple[int, bytes]],
    heads: Sequence[tuple[int, Kind, bytes]],
) -> None:
    """Whether evaluations of a tree of so many leaves, with these ratchets at each, can have led here."""
    highest = max([2 * leaf for leaf, _, _ in heads] + [node for node, _ in nodes], default=0)
    if highest >= node_width(leaf_count):
        raise PeerError("VC-5.1-5", f"node {highest} of {leaf_count} leaves")
    started: dict[int, list[Kind]] = {}
    for leaf, kind, _ in heads:
        started.setdefault(leaf, []).append(kind)
    spans = [(leaf, leaf + 1) for leaf in started]
    for node, _ in nodes:
        reach = (1 << level(node)) - 1
        spans.append(((node - reach) // 2, (node + reach) // 2 + 1))
    end = 0
    for start, stop in [*sorted(spans), (leaf_count, leaf_count)]:
        if start != end:
            raise PeerError("VC-5.1-6", f"at leaf {min(start, end)}")
        end = stop
    if any(sorted(types) != kinds for types in started.values()):
        raise PeerError("VC-5.1-8")
    for secret in [secret for _, secret in nodes] + [secret for _, _, secret in heads]:
        check_size(secret, (size,))


def check_messages(suite: Suite, tree: SecretTree, *, handshakes: bool) -> None:
    """Message keys that came whole; without `handshakes`, those of an epoch in which nothing is committed any more."""
    kinds = _OF_MESSAGES if handshakes else [(RatchetType.APPLICATION, 0)]
    ratchets = [tree.ratchets[key] for key in tree.ratchets]
    heads = [(key // 2, (_MESSAGES[key % 2], 0), tree.ratchets[key].secret) for key in tree.ratchets]
    check_tree(suite.hash_size, tree.leaf_count, kinds, list(tree.nodes.items()), heads)
    for ratchet in ratchets:
        for key, nonce in ratchet.skipped.values():
            check_size(key, (suite.key_size,))
            check_size(nonce, (NONCE_SIZE,))


def _nodes(nodes: PMap[int, bytes]) -> tuple[SecretTreeNodeState, ...]:
    return tuple([SecretTreeNodeState(index, nodes[index]) for index in sorted(nodes)])


def _writable(generation: int) -> Generation:
    if generation > 0xFFFF_FFFF:
        raise CallerError("a ratchet that ran out of generations cannot be handed over", "commit to start a new epoch")
    return Generation(generation)


# What was passed over, in structs of our own


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """`uint32 leaf_index; uint8 type; { uint32 generation; opaque secret<V>; } secrets<V>`, of one ratchet.

    The type is a SecretTreeRatchetType for message keys and a VirtualClientOperationType for operations; the secret is
    the key and then the nonce of a message, or the secret of a generation of operations.
    """

    leaf: LeafIndex
    type: int
    secrets: tuple[tuple[int, bytes], ...] = field(repr=False)

    def encode(self) -> bytes:
        waiting = [u32(generation) + opaque(secret) for generation, secret in self.secrets]
        return u32(self.leaf) + u8(self.type) + vector(waiting)

    @classmethod
    def decode(cls, reader: Reader) -> Skipped:
        return cls(
            leaf=LeafIndex(reader.u32()),
            type=reader.u8(),
            secrets=reader.vector(lambda r: (r.u32(), r.opaque())),
        )


def skipped_messages(tree: SecretTree) -> tuple[Skipped, ...]:
    found = []
    for key in sorted(tree.ratchets):
        waiting = tree.ratchets[key].skipped
        if waiting:
            secrets = tuple([(generation, b"".join(waiting[generation])) for generation in sorted(waiting)])
            found.append(Skipped(leaf=LeafIndex(key // 2), type=_MESSAGES[key % 2], secrets=secrets))
    return tuple(found)


def skipped_operations(tree: OperationTree) -> tuple[Skipped, ...]:
    found = []
    for key in sorted(tree.ratchets):
        waiting = tree.ratchets[key].skipped
        if waiting:
            found.append(Skipped(leaf=LeafIndex(key // 4), type=key % 4, secrets=tuple(sorted(waiting.items()))))
    return tuple(found)


def with_skipped_messages(suite: Suite, tree: SecretTree, skipped: Sequence[Skipped]) -> SecretTree:
    size = suite.key_size
    ratchets: dict[int, Ratchet] = {}
    check_distinct((each.leaf, each.type) for each in skipped)
    for each in skipped:
        key = 2 * each.leaf + _RATCHETS.get(each.type, 0)
        ratchet = _fitting(each, tree.ratchets.find(key) if each.type in _RATCHETS else None, size + NONCE_SIZE)
        waiting = {generation: (secret[:size], secret[size:]) for generation, secret in each.secrets}
        ratchets[key] = Ratchet(ratchet.generation, ratchet.secret, waiting)
    return SecretTree(tree.leaf_count, tree.nodes, tree.ratchets.update(ratchets))


def with_skipped_operations(suite: Suite, tree: OperationTree, skipped: Sequence[Skipped]) -> OperationTree:
    ratchets: dict[int, OperationRatchet] = {}
    check_distinct((each.leaf, each.type) for each in skipped)
    for each in skipped:
        key = 4 * each.leaf + each.type
        ratchet = _fitting(each, tree.ratchets.find(key) if each.type < 4 else None, suite.hash_size)
        ratchets[key] = OperationRatchet(ratchet.generation, ratchet.secret, dict(each.secrets))
    return OperationTree(tree.leaf_count, tree.nodes, tree.ratchets.update(ratchets))


R = TypeVar("R", Ratchet, OperationRatchet)


def _fitting(skipped: Skipped, ratchet: R | None, size: int) -> R:
    """The ratchet, if it is one that can have passed these over."""
    generations: list[int] = [generation for generation, _ in skipped.secrets]
    if ratchet is None or any(lower >= upper for lower, upper in pairwise([*generations, ratchet.generation])):
        raise PeerError("VC-5.1-11", f"leaf {skipped.leaf}")
    for _, secret in skipped.secrets:
        check_size(secret, (size,))
    return ratchet
