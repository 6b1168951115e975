"""RFC 9420 a second time: structs on the wire and the ratchet tree, for `second_writing.py`.

Nothing of `mls` is imported. Only what occurs in a run of emulation.json is read: basic credentials, and proposals of
four types. The tree is a list of nodes that is looked through each time; nothing is remembered of its hashes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from tests.mls.virtual.ladder import number, var
from tests.mls.virtual.second_crypto import Suite

T = TypeVar("T")

MLS10 = number(1, 2)
KEY_PACKAGE, UPDATE, COMMITTED = 1, 2, 3
"""Where a leaf comes from."""
DICTIONARY, RATCHET_TREE, EXTERNAL_PUB = 6, 2, 4
"""Extensions."""
ADD, UPDATE_PROPOSAL, REMOVE, EXTERNAL_INIT = 1, 2, 3, 6


class Reader:
    """Bytes from the front."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data)
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def var(self) -> bytes:
        size = 1 << (self.data[self.at] >> 6)
        return self.take(self.number(size) & ((1 << (8 * size - 2)) - 1))

    def all(self, each: Callable[[Reader], T]) -> list[T]:
        inner, found = Reader(self.var()), []
        while inner.at < len(inner.data):
            found.append(each(inner))
        return found

    def optional(self, each: Callable[[Reader], T]) -> T | None:
        return each(self) if self.number(1) else None

    def since(self, start: int) -> bytes:
        return self.data[start : self.at]

    def finish(self) -> None:
        assert self.at == len(self.data)


def message(data: bytes, wire_format: int) -> Reader:
    reader = Reader(data)
    assert reader.take(4) == MLS10 + number(wire_format, 2)
    return reader


def extensions(reader: Reader) -> dict[int, bytes]:
    return dict(reader.all(lambda r: (r.number(2), r.var())))


def dictionary(found: dict[int, bytes]) -> dict[int, bytes]:
    """app_data_dictionary, by component."""
    return extensions(Reader(found[DICTIONARY]))


@dataclass(frozen=True)
class Leaf:
    """LeafNode."""

    encoded: bytes
    signed: bytes
    encryption_key: bytes
    signature_key: bytes
    source: int
    parent_hash: bytes
    extensions: dict[int, bytes]
    signature: bytes

    @classmethod
    def read(cls, reader: Reader) -> Leaf:
        start = reader.at
        encryption_key, signature_key = reader.var(), reader.var()
        assert reader.number(2) == 1  # a basic credential
        reader.var()
        for _ in range(5):
            reader.var()  # capabilities
        source = reader.number(1)
        if source == KEY_PACKAGE:
            reader.take(16)
        parent_hash = reader.var() if source == COMMITTED else b""
        found = extensions(reader)
        signed = reader.since(start)
        signature = reader.var()
        return cls(reader.since(start), signed, encryption_key, signature_key, source, parent_hash, found, signature)

    def verify(self, suite: Suite, place: bytes) -> None:
        """`place` is group id and leaf index, which a KeyPackage's leaf does not sign."""
        bound = b"" if self.source == KEY_PACKAGE else place
        suite.verify(self.signature_key, b"LeafNodeTBS", self.signed + bound, self.signature)


@dataclass(frozen=True)
class KeyPackage:
    cipher_suite: int
    init_key: bytes
    leaf: Leaf
    extensions: bytes
    signed: bytes
    signature: bytes

    @classmethod
    def read(cls, reader: Reader) -> KeyPackage:
        start = reader.at
        assert reader.take(2) == MLS10
        cipher_suite, init_key, leaf = reader.number(2), reader.var(), Leaf.read(reader)
        found = reader.at
        reader.var()
        return cls(cipher_suite, init_key, leaf, reader.since(found), reader.since(start), reader.var())

    def verify(self, suite: Suite) -> None:
        assert self.cipher_suite == suite.cipher_suite
        assert self.leaf.source == KEY_PACKAGE
        suite.verify(self.leaf.signature_key, b"KeyPackageTBS", self.signed, self.signature)
        self.leaf.verify(suite, b"")


@dataclass(frozen=True)
class Context:
    """GroupContext."""

    encoded: bytes
    cipher_suite: int
    group_id: bytes
    epoch: int
    tree_hash: bytes
    confirmed: bytes
    rest: bytes

    @classmethod
    def read(cls, reader: Reader) -> Context:
        start = reader.at
        assert reader.take(2) == MLS10
        cipher_suite, group_id, epoch = reader.number(2), reader.var(), reader.number(8)
        tree_hash, confirmed, rest = reader.var(), reader.var(), reader.at
        reader.var()
        return cls(reader.since(start), cipher_suite, group_id, epoch, tree_hash, confirmed, reader.since(rest))

    def provisional(self, confirmed: bytes) -> bytes:
        """With the transcript hash of the epoch before, as path secrets are sealed (RFC 9420 §12.4.1)."""
        head = MLS10 + number(self.cipher_suite, 2) + var(self.group_id) + number(self.epoch, 8)
        return head + var(self.tree_hash) + var(confirmed) + self.rest


# Proposals and commits


@dataclass(frozen=True)
class Proposal:
    """Of those that occur."""

    type: int
    content: Leaf | KeyPackage | bytes


def read_proposal(reader: Reader) -> Proposal:
    readers: dict[int, Callable[[Reader], Leaf | KeyPackage | bytes]] = {
        ADD: KeyPackage.read,
        UPDATE_PROPOSAL: Leaf.read,
        REMOVE: lambda r: r.take(4),
        EXTERNAL_INIT: Reader.var,
    }
    kind = reader.number(2)
    return Proposal(kind, readers[kind](reader))


Updated = tuple[int, Leaf]
"""What an Update does: whose leaf, and which."""


@dataclass(frozen=True)
class Commit:
    proposals: list[Proposal | bytes]
    """By value, or a reference."""
    leaf: Leaf | None
    nodes: list[tuple[bytes, list[tuple[bytes, bytes]]]]
    """Public key, and the path secret sealed to each node below."""


def read_commit(reader: Reader) -> Commit:
    proposals = reader.all(lambda r: read_proposal(r) if r.number(1) == 1 else r.var())
    if not reader.number(1):
        return Commit(proposals, None, [])
    leaf = Leaf.read(reader)
    return Commit(proposals, leaf, reader.all(lambda r: (r.var(), r.all(lambda s: (s.var(), s.var())))))


# The ratchet tree


@dataclass(frozen=True)
class Parent:
    encryption_key: bytes
    parent_hash: bytes
    unmerged: tuple[int, ...] = ()

    @classmethod
    def read(cls, reader: Reader) -> Parent:
        return cls(reader.var(), reader.var(), tuple(reader.all(lambda r: r.number(4))))

    @property
    def encoded(self) -> bytes:
        unmerged = b"".join(number(leaf, 4) for leaf in self.unmerged)
        return var(self.encryption_key) + var(self.parent_hash) + var(unmerged)


Node = Leaf | Parent | None


@dataclass(frozen=True)
class Step:
    """A node above a leaf, by its place in the array, and what is below it on the other side, `low` to `high`."""

    at: int
    low: int
    high: int


class Tree:
    """The nodes of RFC 9420, appendix C, in their array."""

    def __init__(self, suite: Suite, group_id: bytes, nodes: list[Node]) -> None:
        self.suite = suite
        self.group_id = group_id
        width = 1
        while width < len(nodes):
            width = 2 * width + 1
        self.nodes: list[Node] = nodes + [None] * (width - len(nodes))

    @classmethod
    def read(cls, suite: Suite, group_id: bytes, encoded: bytes) -> Tree:
        """From a GroupInfo; the signatures of all leaves are verified."""
        readers: dict[int, Callable[[Reader], Node]] = {1: Leaf.read, 2: Parent.read}
        tree = cls(suite, group_id, Reader(encoded).all(lambda r: r.optional(lambda n: readers[n.number(1)](n))))
        for index, leaf in enumerate(tree.nodes[::2]):
            if isinstance(leaf, Leaf):
                leaf.verify(suite, tree.place(index))
        return tree

    @property
    def leaf_count(self) -> int:
        return len(self.nodes) // 2 + 1

    def place(self, index: int) -> bytes:
        return var(self.group_id) + number(index, 4)

    def leaf(self, index: int) -> Leaf:
        found = self.nodes[2 * index]
        assert isinstance(found, Leaf)
        return found

    def hash(self, low: int = 0, high: int | None = None) -> bytes:
        """Of the nodes from `low` to `high`, the second not included."""
        end = len(self.nodes) if high is None else high
        middle = (low + end) // 2
        node = self.nodes[middle]
        encoded = b"\0" if node is None else b"\1" + node.encoded
        if end - low == 1:
            return self.suite.hash(number(1, 1) + number(middle // 2, 4) + encoded)
        below = [self.hash(low, middle), self.hash(middle + 1, end)]
        return self.suite.hash(number(2, 1) + encoded + var(below[0]) + var(below[1]))

    def above(self, index: int) -> list[Step]:
        """The direct path of a leaf, from below."""
        low, high, found = 0, len(self.nodes), []
        while high - low > 1:
            middle = (low + high) // 2
            if 2 * index < middle:
                found.append(Step(middle, middle + 1, high))
                high = middle
            else:
                found.append(Step(middle, low, middle))
                low = middle + 1
        return found[::-1]

    def after(self, commit: Commit, committer: int | None, updates: Mapping[bytes, Updated]) -> Tree:
        """What a commit makes of it; `committer` is None for one from outside."""
        tree = Tree(self.suite, self.group_id, list(self.nodes))
        added = []
        for proposal in commit.proposals:
            if isinstance(proposal, bytes):
                index, leaf = updates[proposal]
                tree._blank(index)
                tree.nodes[2 * index] = leaf
            elif isinstance(proposal.content, KeyPackage):
                added.append(proposal.content)
            elif proposal.type == REMOVE:
                assert isinstance(proposal.content, bytes)
                tree._blank(int.from_bytes(proposal.content, "big"))
                tree._shrink()
        for package in added:
            package.verify(self.suite)
            tree._add(package.leaf)
        if commit.leaf is not None:
            index = tree._add(commit.leaf) if committer is None else committer
            tree._merge(index, commit)
        return tree

    def _blank(self, index: int) -> None:
        self.nodes[2 * index] = None
        for step in self.above(index):
            self.nodes[step.at] = None

    def _shrink(self) -> None:
        while len(self.nodes) > 1 and not any(self.nodes[len(self.nodes) // 2 + 1 :]):
            self.nodes = self.nodes[: len(self.nodes) // 2]

    def _add(self, leaf: Leaf) -> int:
        """In the leftmost place that is blank."""
        index = next((at for at, found in enumerate(self.nodes[::2]) if found is None), self.leaf_count)
        if index == self.leaf_count:
            self.nodes += [None] * (len(self.nodes) + 1)
        self.nodes[2 * index] = leaf
        for step in self.above(index):
            node = self.nodes[step.at]
            if isinstance(node, Parent):
                self.nodes[step.at] = replace(node, unmerged=tuple(sorted((*node.unmerged, index))))
        return index

    def _merge(self, index: int, commit: Commit) -> None:
        """An update path, and the parent hashes that go with it."""
        assert commit.leaf is not None
        commit.leaf.verify(self.suite, self.place(index))
        self._blank(index)
        steps = [step for step in self.above(index) if any(self.nodes[step.low : step.high])]
        assert len(steps) == len(commit.nodes)
        above = b""
        for step, (public, _) in list(zip(steps, commit.nodes, strict=True))[::-1]:
            self.nodes[step.at] = Parent(public, above)
            sibling = self.hash(step.low, step.high)
            above = self.suite.hash(var(public) + var(above) + var(sibling))
        assert commit.leaf.parent_hash == above
        self.nodes[2 * index] = commit.leaf
