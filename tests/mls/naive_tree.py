"""RFC 9420 §4 and §7: the ratchet tree as a plain array, with everything computed from scratch.

`Naive` is written from §4.1, §7 and Appendix C without a look at `mls.tree`: a list of nodes, subtrees as ranges of
it, and no memory of any hash or index. Whatever the one says about a tree, the other must say too. The leaves are
unsigned, for a tree does not ask; their keys are numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mls.codec import opaque, u32, vector
from mls.credential import BasicCredential, X509Credential
from mls.leaf_node import Capabilities, LeafNode, default_capabilities, sign_leaf_node
from mls.suite import Suite
from mls.tree.nodes import ParentNode, Value
from tests.mls.strategies import NO_KEY, Unsigned

SUITE = Suite(1)


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


# ---------------------------------------------------------------- the model


@dataclass(frozen=True, slots=True)
class Parent:
    key: bytes
    parent_hash: bytes = b""
    unmerged: tuple[int, ...] = ()

    def encode(self) -> bytes:
        return opaque(self.key) + opaque(self.parent_hash) + vector([u32(leaf) for leaf in sorted(self.unmerged)])


Node = LeafNode | Parent | None


@dataclass(frozen=True, slots=True)
class Range:
    """The subtree that fills nodes[low:high]."""

    low: int
    high: int

    @property
    def top(self) -> int:
        return (self.low + self.high) // 2

    @property
    def is_leaf(self) -> bool:
        return self.high - self.low == 1

    @property
    def halves(self) -> tuple[Range, Range]:
        return Range(self.low, self.top), Range(self.top + 1, self.high)

    def __contains__(self, node: int) -> bool:
        return self.low <= node < self.high


class Naive:
    """A ratchet tree as the array of §12.4.3.3 and Appendix C."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def copy(self) -> Naive:
        return Naive(list(self.nodes))

    @property
    def whole(self) -> Range:
        return Range(0, len(self.nodes))

    @property
    def members(self) -> list[int]:
        return [at // 2 for at in range(0, len(self.nodes), 2) if self.nodes[at] is not None]

    def ranges(self, under: Range | None = None) -> Iterator[Range]:
        at = under or self.whole
        yield at
        if not at.is_leaf:
            for half in at.halves:
                yield from self.ranges(half)

    def path(self, leaf: int) -> list[tuple[Range, Range, Range]]:
        """From below: each node above a leaf, its child on the path, and its other child."""
        found = []
        at = self.whole
        while not at.is_leaf:
            left, right = at.halves
            child, other = (left, right) if 2 * leaf in left else (right, left)
            found.append((at, child, other))
            at = child
        return found[::-1]

    def resolution(self, at: Range) -> list[int]:
        """§4.1.1."""
        node = self.nodes[at.top]
        if isinstance(node, Parent):
            return [at.top, *(2 * leaf for leaf in sorted(node.unmerged))]
        if node is not None:
            return [at.top]
        return [] if at.is_leaf else [index for half in at.halves for index in self.resolution(half)]

    def filtered_path(self, leaf: int) -> list[tuple[Range, Range, Range]]:
        """§4.1.2."""
        return [step for step in self.path(leaf) if self.resolution(step[2])]

    def tree_hash(self, at: Range, without: frozenset[int] = frozenset()) -> bytes:
        """§7.8; `without` some leaves, §7.9."""
        node = self.nodes[at.top]
        if at.is_leaf:
            leaf = at.top // 2
            if node is None or leaf in without:
                return sha(b"\x01" + u32(leaf) + b"\x00")
            return sha(b"\x01" + u32(leaf) + b"\x01" + node.encode())
        if isinstance(node, Parent):
            kept = replace(node, unmerged=tuple(leaf for leaf in node.unmerged if leaf not in without))
            value = b"\x01" + kept.encode()
        else:
            value = b"\x00"
        below = b"".join(opaque(self.tree_hash(half, without)) for half in at.halves)
        return sha(b"\x02" + value + below)

    def parent_hash(self, at: Range, sibling: Range) -> bytes:
        node = self.nodes[at.top]
        assert isinstance(node, Parent)
        original = self.tree_hash(sibling, frozenset(node.unmerged))
        return sha(opaque(node.key) + opaque(node.parent_hash) + opaque(original))

    # Changes

    def blank_path(self, leaf: int) -> None:
        for at, _, _ in self.path(leaf):
            self.nodes[at.top] = None

    def update(self, leaf: int, node: LeafNode) -> None:
        self.blank_path(leaf)
        self.nodes[2 * leaf] = node

    def remove(self, leaf: int) -> None:
        self.blank_path(leaf)
        self.nodes[2 * leaf] = None

    def truncate(self) -> None:
        while len(self.nodes) > 1 and not any(
            self.nodes[at] is not None for at in range(self.whole.top + 1, len(self.nodes), 2)
        ):
            self.nodes = self.nodes[: self.whole.top]

    def free_leaf(self) -> int:
        for at in range(0, len(self.nodes), 2):
            if self.nodes[at] is None:
                return at // 2
        free = (len(self.nodes) + 1) // 2
        self.nodes = self.nodes + [None] * (len(self.nodes) + 1)
        return free

    def add(self, node: LeafNode) -> int:
        leaf = self.free_leaf()
        for at, _, _ in self.path(leaf):
            above = self.nodes[at.top]
            if isinstance(above, Parent):
                self.nodes[at.top] = replace(above, unmerged=(*above.unmerged, leaf))
        self.nodes[2 * leaf] = node
        return leaf

    def set_path(self, leaf: int, keys: list[bytes]) -> bytes:
        """§7.5 with the given keys; the parent hash for the leaf, which is not replaced here."""
        steps = self.filtered_path(leaf)
        assert len(steps) == len(keys)
        self.blank_path(leaf)
        above = b""
        for (at, _, other), key in zip(steps[::-1], keys[::-1], strict=True):
            self.nodes[at.top] = Parent(key, above)
            above = self.parent_hash(at, other)
        return above

    # What follows from the array

    def encode(self) -> bytes:
        last = max(at for at, node in enumerate(self.nodes) if node is not None)
        parts = []
        for node in self.nodes[: last + 1]:
            if node is None:
                parts.append(b"\x00")
            else:
                parts.append((b"\x01\x02" if isinstance(node, Parent) else b"\x01\x01") + node.encode())
        return vector(parts)

    def values(self) -> list[Value]:
        return [
            ParentNode.of(node.key, node.parent_hash, tuple(sorted(node.unmerged)))
            if isinstance(node, Parent)
            else node
            for node in self.nodes
        ]

    def unmerged_valid(self) -> bool:
        """§12.4.3.1, the rules on unmerged leaves."""
        for at in self.ranges():
            node = self.nodes[at.top]
            if isinstance(node, Parent):
                for leaf in node.unmerged:
                    if 2 * leaf not in at or self.nodes[2 * leaf] is None:
                        return False
                    for between, _, _ in self.path(leaf):
                        other = self.nodes[between.top]
                        inside = between.low >= at.low and between.high <= at.high
                        if inside and isinstance(other, Parent) and leaf not in other.unmerged:
                            return False
        return True

    def vouches(self, below: int, at: Range) -> bool:
        """§7.9.2: whether the parent hash of node `below` is valid with respect to the parent node of `at`."""
        node = self.nodes[below]
        above = self.nodes[at.top]
        assert isinstance(above, Parent)
        left, right = at.halves
        child, sibling = (left, right) if below in left else (right, left)
        if below == at.top or below not in child:
            return False
        field = node.parent_hash if isinstance(node, Parent) or (node and node.source == 3) else None
        if field != self.parent_hash(at, sibling):
            return False
        resolution = self.resolution(child)
        unmerged = {2 * leaf for leaf in above.unmerged if 2 * leaf in child}
        return below in resolution and unmerged == set(resolution) - {below}

    def parent_hashes_valid(self) -> bool:
        """§7.9.2: exactly one descendant vouches for each parent node.

        A root may have a parent hash: that of a root above it that has been cut off since.
        """
        return all(
            sum(self.vouches(below, at) for below in range(at.low, at.high) if self.nodes[below]) == 1
            for at in self.ranges()
            if isinstance(self.nodes[at.top], Parent)
        )


# ---------------------------------------------------------------- what stands in it


PROFILES: tuple[Capabilities, ...] = (
    default_capabilities(),
    default_capabilities((1,)),
    default_capabilities(extensions=(0x0A0A,)),
)


class Keys:
    """Keys that nobody else has."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> bytes:
        self.count += 1
        return self.count.to_bytes(32, "big")


def leaf_node(key: bytes, signature_key: bytes, profile: int = 0, parent_hash: bytes | None = None) -> LeafNode:
    credential = X509Credential((b"chain",)) if profile >= len(PROFILES) else BasicCredential(b"name")
    return sign_leaf_node(
        Unsigned(b"signature"),
        NO_KEY,
        encryption_key=key,
        signature_key=signature_key,
        credential=credential,
        capabilities=PROFILES[profile % len(PROFILES)],
        parent_hash=parent_hash,
    )


def committed(leaf: LeafNode, key: bytes, parent_hash: bytes) -> LeafNode:
    """The leaf that replaces `leaf` in a commit."""
    return sign_leaf_node(
        Unsigned(b"signature"),
        NO_KEY,
        encryption_key=key,
        signature_key=leaf.signature_key,
        credential=leaf.credential,
        capabilities=leaf.capabilities,
        parent_hash=parent_hash,
    )
