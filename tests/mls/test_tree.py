"""RFC 9420 §4 and §7: the tree as a shared value, against the plain array of naive_tree.py.

Changes of every kind are made to both, and old trees must stay what they were. Trees that others made up are in
test_hostile_trees.py.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mls.epoch import leaf_place
from mls.errors import PeerError
from mls.leaf_node import LeafNode
from mls.registries import LeafIndex
from mls.tree import math
from mls.tree.hashes import check_parent_hashes, check_unmerged_leaves, path_parent_hashes
from mls.tree.nodes import ParentNode
from mls.tree.path import merge_path
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.naive_tree import SUITE, Keys, Naive, Node, Parent, committed, leaf_node

MOST = 20  # members


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
    for leaf in range((len(nodes := naive.nodes) + 1) // 2):
        assert tree.leaf(leaf) == nodes[2 * leaf]
        path = [(at.top, child.top, other.top) for at, child, other in naive.path(leaf)]
        assert [(step.cell.index, step.child.index, step.copath.index) for step in tree.path(leaf)] == path
        filtered = [at.top for at, _, _ in naive.filtered_path(leaf)]
        assert [step.cell.index for step in tree.filtered_path(leaf)] == filtered
    assert tree.leaf(-1) is None
    assert tree.leaf((len(nodes) + 1) // 2) is None
    assert [cell.index for cell in tree.root.cells()] == [at for at, node in enumerate(nodes) if node]


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
        for index, value in [(cell.index, cell.value) for cell in tree.root.cells()]:
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
