"""RFC 9420 §4 and §7: the tree as a shared value, against a plain array with everything computed from scratch.

`Naive` is written from §4.1, §7 and Appendix C without a look at `mls.tree`: a list of nodes, subtrees as ranges of
it, and no memory of any hash or index. Whatever the one says about a tree, the other must say too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mls.codec import opaque, u32, vector
from mls.credential import BasicCredential, X509Credential
from mls.epoch import leaf_place
from mls.errors import PeerError
from mls.leaf_node import Capabilities, LeafNode, default_capabilities, sign_leaf_node
from mls.registries import LeafIndex
from mls.suite import Suite
from mls.tree import math
from mls.tree.hashes import check_parent_hashes, check_unmerged_leaves, path_parent_hashes
from mls.tree.nodes import ParentNode, Value
from mls.tree.path import merge_path
from mls.tree.ratchet_tree import RatchetTree, ordered_nodes
from tests.mls.strategies import NO_KEY, Unsigned

SUITE = Suite(1)
MOST = 20  # members
PROFILES: tuple[Capabilities, ...] = (
    default_capabilities(),
    default_capabilities((1,)),
    default_capabilities(extensions=(0x0A0A,)),
)


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


# ---------------------------------------------------------------- comparing the two


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


def compare(tree: RatchetTree, naive: Naive) -> None:
    """Everything that `tree` remembers, recomputed."""
    nodes = naive.nodes
    assert tree.encode() == naive.encode()
    assert tree.hash == naive.tree_hash(naive.whole)
    assert tree.leaf_count == (len(nodes) + 1) // 2
    assert tree.member_count == len(naive.members)
    assert list(tree.leaves()) == [(leaf, nodes[2 * leaf]) for leaf in naive.members]
    filled = {at: node for at, node in enumerate(nodes) if node is not None}
    keys = {node.key if isinstance(node, Parent) else node.encryption_key: at for at, node in filled.items()}
    assert dict(tree.encryption_keys.items()) == keys
    leaves = [(at, node) for at, node in filled.items() if isinstance(node, LeafNode)]
    assert dict(tree.signature_keys.items()) == {node.signature_key: at // 2 for at, node in leaves}
    census = Counter((node.capabilities.encode(), node.credential.type) for _, node in leaves)
    assert {profile: entry.count for profile, entry in tree.profiles.items()} == census
    for (encoded, kind), entry in tree.profiles.items():
        assert (entry.capabilities.encode(), entry.credential_type) == (encoded, kind)


def compare_structure(tree: RatchetTree, naive: Naive) -> None:
    """Every cell, resolution and path."""
    for at in naive.ranges():
        cell = tree.cell(at.top)
        node = naive.nodes[at.top]
        assert (cell.index, 1 << (cell.level + 1)) == (at.top, at.high - at.low + 1)
        assert cell.tree_hash(SUITE) == naive.tree_hash(at)
        resolution = naive.resolution(at)
        assert [found.index for found in tree.resolution(cell)] == resolution
        assert cell.blank == (not resolution)
        assert cell.members == sum(2 * leaf in at for leaf in naive.members)
        if isinstance(node, Parent):
            assert isinstance(cell.value, ParentNode)
            assert cell.value.encoded == node.encode()
        else:
            assert cell.value == node
        assert tree.members_below(at.top) == range(at.low // 2, at.high // 2 + 1)
    for leaf in range((len(nodes := naive.nodes) + 1) // 2):
        assert tree.leaf(leaf) == nodes[2 * leaf]
        path = [(at.top, child.top, other.top) for at, child, other in naive.path(leaf)]
        assert [(step.cell.index, step.child.index, step.copath.index) for step in tree.path(leaf)] == path
        filtered = [at.top for at, _, _ in naive.filtered_path(leaf)]
        assert [step.cell.index for step in tree.filtered_path(leaf)] == filtered
    assert tree.leaf(-1) is None
    assert tree.leaf((len(nodes) + 1) // 2) is None
    assert [index for index, _ in ordered_nodes(tree)] == [at for at, node in enumerate(nodes) if node]


def apply_path(tree: RatchetTree, leaf: LeafIndex, new_key: bytes, keys: list[bytes]) -> RatchetTree:
    """What committers and receivers do with a path, but for its cryptography."""
    whole = tree.path(leaf)
    steps = tree.filtered_path(leaf)
    hashes = path_parent_hashes(SUITE, steps, keys)
    old = tree.leaf(leaf)
    assert old is not None
    node = committed(old, new_key, hashes[-1])
    return merge_path(tree, leaf, node, whole, steps, keys, hashes)


class TreeMachine(RuleBasedStateMachine):
    """Commits of every kind on a tree and on an array; old trees are kept and must not change."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = Keys()
        self.kept: list[tuple[RatchetTree, bytes, bytes]] = []

    def fresh(self, profile: int = 0) -> LeafNode:
        return leaf_node(self.keys(), self.keys(), profile)

    @initialize(profile=st.integers(0, 3))
    def begin(self, profile: int) -> None:
        first = self.fresh(profile)
        self.naive = Naive([first])
        self.tree = RatchetTree.of_values(SUITE, [first])

    def keep(self) -> None:
        self.kept.append((self.tree, self.tree.encode(), self.tree.hash))
        del self.kept[:-4]

    def pick(self, choice: int) -> LeafIndex:
        members = self.naive.members
        return LeafIndex(members[choice % len(members)])

    def change(self, updated: dict[LeafIndex, LeafNode], removed: list[LeafIndex], added: list[LeafNode]) -> None:
        self.keep()
        self.tree, places = self.tree.evolved(updated, removed, added)
        for leaf, node in updated.items():
            self.naive.update(leaf, node)
        for leaf in removed:
            self.naive.remove(leaf)
        self.naive.truncate()
        assert list(places) == [self.naive.add(node) for node in added]

    @rule(count=st.integers(1, 5), profile=st.integers(0, 3))
    def add(self, count: int, profile: int) -> None:
        count = min(count, MOST - len(self.naive.members))
        if count:
            self.change({}, [], [self.fresh(profile) for _ in range(count)])

    @precondition(lambda self: len(self.naive.members) > 1)
    @rule(
        removed=st.lists(st.integers(0, MOST), max_size=4),
        updated=st.lists(st.integers(0, MOST), max_size=4),
        added=st.integers(0, 2),
        profile=st.integers(0, 3),
    )
    def change_members(self, removed: list[int], updated: list[int], added: int, profile: int) -> None:
        gone = list(dict.fromkeys(self.pick(choice) for choice in removed))[: len(self.naive.members) - 1]
        new = {leaf: self.fresh(profile) for choice in updated if (leaf := self.pick(choice)) not in gone}
        if gone or new:
            self.change(new, gone, [self.fresh(profile) for _ in range(added)])
            self.commit(sum(removed), 1)  # both need a path (§12.4)

    @precondition(lambda self: len(self.naive.members) > 2)
    @rule(low=st.booleans())
    def remove_half(self, low: bool) -> None:
        members = self.naive.members
        half = members[: len(members) // 2] if low else members[len(members) // 2 :]
        self.change({}, [LeafIndex(leaf) for leaf in half], [])
        self.commit(0, 1)

    @precondition(lambda self: len(self.naive.members) > 1)
    @rule(first=st.integers(0, MOST), second=st.integers(0, MOST))
    def exchange_keys(self, first: int, second: int) -> None:
        """Keys must be unique in the tree that comes of it, not on the way there."""
        one, two = self.pick(first), self.pick(second)
        a, b = self.tree.leaf(one), self.tree.leaf(two)
        if one != two and a is not None and b is not None:
            self.change(
                {
                    one: leaf_node(b.encryption_key, b.signature_key),
                    two: leaf_node(a.encryption_key, a.signature_key),
                },
                [],
                [],
            )
            self.commit(first + second, 1)

    @rule(choice=st.integers(0, MOST), repeat=st.integers(1, 3))
    def commit(self, choice: int, repeat: int) -> None:
        for step in range(repeat):
            leaf = self.pick(choice + 3 * step)
            self.keep()
            keys = [self.keys() for _ in self.naive.filtered_path(leaf)]
            new_key = self.keys()
            self.tree = apply_path(self.tree, leaf, new_key, keys)
            parent_hash = self.naive.set_path(leaf, keys)
            old = self.naive.nodes[2 * leaf]
            assert isinstance(old, LeafNode)
            self.naive.nodes[2 * leaf] = committed(old, new_key, parent_hash)

    @precondition(lambda self: len(self.naive.members) < MOST)
    @rule(resync=st.none() | st.integers(0, MOST))
    def join_externally(self, resync: int | None) -> None:
        if resync is not None and len(self.naive.members) > 1:
            self.change({}, [self.pick(resync)], [])
        else:
            self.keep()
        grown, place = leaf_place(self.tree)
        assert place == self.naive.free_leaf()
        newcomer = self.fresh()
        keys = [self.keys() for _ in self.naive.filtered_path(place)]
        steps = grown.filtered_path(place)
        assert len(steps) == len(keys)
        hashes = path_parent_hashes(SUITE, steps, keys)
        node = committed(newcomer, newcomer.encryption_key, hashes[-1])
        self.tree = merge_path(grown, place, node, grown.path(place), steps, keys, hashes)
        parent_hash = self.naive.set_path(place, keys)
        self.naive.nodes[2 * place] = committed(newcomer, newcomer.encryption_key, parent_hash)

    @precondition(lambda self: len(self.naive.members) > 1)
    @rule(first=st.integers(0, MOST), second=st.integers(0, MOST), signature=st.booleans())
    def refuse_a_second_use_of_a_key(self, first: int, second: int, signature: bool) -> None:
        one, two = self.pick(first), self.pick(second)
        other = self.tree.leaf(two)
        if one == two or other is None:
            return
        third = self.fresh()
        check = "VAL-7.3-9" if signature else "VAL-7.3-8"

        def like(leaf: LeafNode) -> LeafNode:
            if signature:
                return leaf_node(self.keys(), leaf.signature_key)
            return leaf_node(leaf.encryption_key, self.keys())

        attempts: list[tuple[dict[LeafIndex, LeafNode], list[LeafNode]]] = [
            ({one: like(other)}, []),
            ({}, [like(other)]),
            ({}, [third, like(third)]),
            ({one: third}, [like(third)]),
            ({one: third, two: like(third)}, []),
        ]
        for updated, added in attempts:
            with pytest.raises(PeerError) as refused:
                self.tree.evolved(updated, [], added)
            assert refused.value.check == check

    @precondition(lambda self: len(self.kept) > 0)
    @rule(which=st.integers(0, 3))
    def go_back(self, which: int) -> None:
        """A fork: what was kept is as good a starting point as what came of it."""
        tree, encoded, tree_hash = self.kept[which % len(self.kept)]
        assert (tree.encode(), tree.hash) == (encoded, tree_hash)
        values: list[Node] = []
        for index, value in ordered_nodes(tree):
            values.extend([None] * (index - len(values)))
            if isinstance(value, ParentNode):
                values.append(Parent(value.encryption_key, value.parent_hash, value.unmerged_leaves))
            else:
                values.append(value)
        values.extend([None] * (2 * tree.leaf_count - 1 - len(values)))
        self.tree, self.naive = tree, Naive(values)

    @rule()
    def look_closely(self) -> None:
        compare_structure(self.tree, self.naive)
        decoded = RatchetTree.decode(SUITE, self.tree.encode())
        compare(decoded, self.naive)
        assert decoded.replaced({}) is decoded
        for tree in (self.tree, decoded):
            check_unmerged_leaves(tree)
            check_parent_hashes(tree)
        assert self.naive.unmerged_valid()
        assert self.naive.parent_hashes_valid()

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "tree"):
            compare(self.tree, self.naive)

    def teardown(self) -> None:
        for tree, encoded, tree_hash in self.kept:
            assert (tree.encode(), tree.hash) == (encoded, tree_hash)
        if hasattr(self, "tree"):
            self.look_closely()


TestTreeMachine = TreeMachine.TestCase


# ---------------------------------------------------------------- hostile trees


@dataclass(frozen=True, slots=True)
class Recipe:
    """A tree of sixteen leaves at most, well-made or not."""

    nodes: tuple[int, ...]
    """For each position: 0 a blank node, otherwise a filled one; a leaf's kind follows from the number."""
    unmerged: tuple[int, ...]
    """For each position: which leaves are unmerged, as bits over the leaves below."""
    vouching: tuple[int, ...]
    """For each parent: which of the nodes below it is given its parent hash."""


def hostile(recipe: Recipe, honest: int) -> Naive:
    """The tree of a recipe. With `honest` bits set, what the rules forbid is left out, one rule a bit."""
    keys = Keys()
    nodes: list[Node] = []
    for place, kind in enumerate(recipe.nodes):
        if not kind:
            nodes.append(None)
        elif place % 2 == 0:
            nodes.append(leaf_node(keys(), keys(), 0, b"" if kind % 4 else None))
        else:
            nodes.append(Parent(keys(), b"", ()))
    naive = Naive(nodes)
    for at in naive.ranges():
        node = nodes[at.top]
        if isinstance(node, Parent):
            leaves = range(at.low // 2, at.high // 2 + 1)
            listed = [leaf for bit, leaf in enumerate(leaves) if recipe.unmerged[at.top] >> bit & 1]
            if honest & 1:
                listed = [leaf for leaf in listed if nodes[2 * leaf] is not None]
            nodes[at.top] = replace(node, unmerged=tuple(listed))
    if honest & 2:  # who is unmerged somewhere is unmerged everywhere below
        for at in naive.ranges():
            node = nodes[at.top]
            if isinstance(node, Parent):
                for lower in naive.ranges(at):
                    other = nodes[lower.top]
                    if isinstance(other, Parent):
                        listed = sorted({*other.unmerged, *(n for n in node.unmerged if 2 * n in lower)})
                        nodes[lower.top] = replace(other, unmerged=tuple(listed))
    parents = [at for at in naive.ranges() if isinstance(nodes[at.top], Parent)]
    for _ in range(6):  # a parent hash depends on others on the other side; as often as the tree is high will do
        for at in parents:
            choice = recipe.vouching[at.top]
            left, right = at.halves
            child, sibling = (left, right) if choice & 1 else (right, left)
            resolution = naive.resolution(child)
            above = nodes[at.top]
            assert isinstance(above, Parent)
            if honest & 4:
                resolution = [below for below in resolution if below // 2 not in above.unmerged or below % 2]
            if not resolution:
                continue
            below = resolution[(choice >> 1) % len(resolution)]
            node = nodes[below]
            parent_hash = naive.parent_hash(at, sibling)
            if isinstance(node, Parent):
                nodes[below] = replace(node, parent_hash=parent_hash)
            elif node is not None and node.source == 3:
                nodes[below] = committed(node, node.encryption_key, parent_hash)
    return naive


SIZES = (3, 7, 7, 15, 15, 31)


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    size = draw(st.sampled_from(SIZES))
    return Recipe(
        tuple(draw(st.binary(min_size=size, max_size=size).map(lambda kinds: [kind % 5 for kind in kinds]))),
        tuple(draw(st.binary(min_size=size, max_size=size).map(lambda bits: [b & b >> 3 for b in bits]))),
        tuple(draw(st.binary(min_size=size, max_size=size))),
    )


def accepted(tree: RatchetTree) -> bool:
    try:
        check_unmerged_leaves(tree)
        check_parent_hashes(tree)
    except PeerError:
        return False
    return True


@given(recipe=recipes(), honest=st.integers(0, 7))
def test_which_trees_are_valid(recipe: Recipe, honest: int) -> None:
    """Trees with parent hashes that somebody took care to compute, right or wrong: both must say the same."""
    naive = hostile(recipe, honest)
    if naive.nodes[-1] is None:
        naive.nodes[-1] = leaf_node(b"last key", b"last signature key")
    tree = RatchetTree.of_values(SUITE, naive.values())
    assert accepted(tree) == (naive.unmerged_valid() and naive.parent_hashes_valid())
    assert tree.hash == naive.tree_hash(naive.whole)


def test_the_recipes_make_both_kinds() -> None:
    """So that the comparison above says something."""
    seen = Counter[tuple[bool, bool]]()
    for seed in range(300):
        noise = hashlib.shake_256(b"recipe %d" % seed).digest(3 * 31 + 2)
        size = SIZES[noise[0] % len(SIZES)]
        parts = [noise[2 + at : 2 + at + size] for at in (0, 31, 62)]
        recipe = Recipe(
            tuple(kind % 5 for kind in parts[0]), tuple(bit & bit >> 3 for bit in parts[1]), tuple(parts[2])
        )
        naive = hostile(recipe, noise[1] % 8)
        if naive.nodes[-1] is not None:
            parents = any(isinstance(node, Parent) for node in naive.nodes)
            seen[parents, naive.unmerged_valid() and naive.parent_hashes_valid()] += 1
    assert seen[True, True] >= 10
    assert seen[True, False] >= 10


def full_tree(count: int) -> tuple[Naive, RatchetTree]:
    keys = Keys()
    naive = Naive([leaf_node(keys(), keys())])
    for _ in range(count - 1):
        naive.add(leaf_node(keys(), keys()))
    for leaf in range(count):
        new_key = keys()
        above = [keys() for _ in naive.filtered_path(leaf)]
        old = naive.nodes[2 * leaf]
        assert isinstance(old, LeafNode)
        naive.nodes[2 * leaf] = committed(old, new_key, naive.set_path(leaf, above))
    return naive, RatchetTree.of_values(SUITE, naive.values())


@pytest.mark.parametrize("count", [2, 3, 5, 8, 11])
def test_every_part_of_a_node_is_vouched_for(count: int) -> None:
    naive, tree = full_tree(count)
    check_parent_hashes(tree)
    for at in range(1, len(naive.nodes), 2):
        node = naive.nodes[at]
        if not isinstance(node, Parent):
            continue
        for changed in (
            replace(node, key=b"another key"),
            replace(node, parent_hash=node.parent_hash + b"!"),
            replace(node, unmerged=(at // 2,)),
        ):
            forged = naive.copy()
            forged.nodes[at] = changed
            assert not accepted(RatchetTree.of_values(SUITE, forged.values()))


def test_the_trees_of_the_array_appendix() -> None:
    """The arithmetic of Appendix C, by way of ranges of an array."""
    for level in range(6):
        leaves = 1 << level
        naive = Naive([None] * (2 * leaves - 1))
        assert math.node_width(leaves) == len(naive.nodes)
        assert math.root(leaves) == naive.whole.top
        for at in naive.ranges():
            assert 1 << (math.level(at.top) + 1) == at.high - at.low + 1
            if not at.is_leaf:
                left, right = at.halves
                assert (math.left(at.top), math.right(at.top)) == (left.top, right.top)
                for child, other in ((left, right), (right, left)):
                    assert math.parent(child.top) == at.top
                    assert math.sibling(child.top) == other.top
            for leaf in range(leaves):
                assert math.in_subtree(at.top, 2 * leaf) == (2 * leaf in at)
        for leaf in range(leaves):
            path = [at.top for at, _, _ in naive.path(leaf)]
            assert math.direct_path(2 * leaf, naive.whole.top) == path
            for second in range(leaves):
                shared = [2 * leaf, *path] if leaf == second else path
                below = set(shared) & {2 * second, *(at.top for at, _, _ in naive.path(second))}
                assert math.common_ancestor(2 * leaf, 2 * second) == min(below, key=math.level)
    for leaves in range(1, 70):
        assert math.root(leaves) == (1 << (leaves - 1).bit_length()) - 1
    assert math.node_width(0) == 0


# ---------------------------------------------------------------- the ratchet_tree extension


def leaf_bytes(number: int = 1) -> bytes:
    return b"\x01\x01" + leaf_node(b"key %d" % number, b"signature key %d" % number).encode()


PARENT = b"\x01\x02" + ParentNode.of(b"parent key", b"").encoded


@pytest.mark.parametrize(
    ("parts", "check"),
    [
        ([], "VAL-12.4.3.3-1"),
        ([b"\x00"], "VAL-12.4.3.3-1"),
        ([leaf_bytes(), b"\x00", b"\x00"], "VAL-12.4.3.3-1"),
        ([leaf_bytes(), PARENT], "VAL-12.4.3.3-2"),
        ([PARENT], "VAL-12.4.3.3-2"),
        ([leaf_bytes(), leaf_bytes(2), leaf_bytes(3)], "VAL-12.4.3.3-2"),
        ([leaf_bytes(), b"\x00", PARENT], "VAL-12.4.3.3-2"),
        ([b"\x02" + leaf_bytes()[1:]], "VAL-2.1-4"),
        ([b"\x01\x03" + leaf_bytes()[2:]], "VAL-7.1-2"),
        ([leaf_bytes(), b"\x00", leaf_bytes()], "VAL-7.3-8"),
        ([leaf_bytes(), b"\x01\x02" + ParentNode.of(b"key 1", b"").encoded, leaf_bytes(2)], "VAL-7.3-8"),
        (
            [leaf_bytes(), b"\x00", b"\x01\x01" + leaf_node(b"k", b"signature key 1").encode()],
            "VAL-7.3-9",
        ),
        (
            [leaf_bytes(), b"\x01\x02" + opaque(b"k") + opaque(b"") + opaque(u32(1) + u32(0)), leaf_bytes(2)],
            "VAL-7.1-1",
        ),
        (
            [leaf_bytes(), b"\x01\x02" + opaque(b"k") + opaque(b"") + opaque(u32(1) + u32(1)), leaf_bytes(2)],
            "VAL-7.1-1",
        ),
    ],
)
def test_trees_that_cannot_be(parts: list[bytes], check: str) -> None:
    with pytest.raises(PeerError) as refused:
        RatchetTree.decode(SUITE, vector(parts))
    assert refused.value.check == check


@pytest.mark.parametrize(
    ("unmerged", "check"),
    [
        ({3: (4,)}, "VAL-12.4.3.1-10"),  # outside the tree
        ({1: (2,)}, "VAL-12.4.3.1-10"),  # not below the node
        ({5: (3,)}, "VAL-12.4.3.1-10"),  # a blank leaf
        ({3: (2,), 5: ()}, "VAL-12.4.3.1-11"),  # not unmerged further down
    ],
)
def test_unmerged_leaves(unmerged: dict[int, tuple[int, ...]], check: str) -> None:
    nodes: list[Node] = [leaf_node(b"k%d" % at, b"s%d" % at) if at in {0, 2, 4} else None for at in range(7)]
    for at, leaves in unmerged.items():
        nodes[at] = Parent(b"p%d" % at, b"", leaves)
    with pytest.raises(PeerError) as refused:
        check_unmerged_leaves(RatchetTree.of_values(SUITE, Naive(nodes).values()))
    assert refused.value.check == check
