"""RFC 9420 §7.9 and §12.4.3: which trees are valid, and which bytes are no tree.

Trees that somebody took care to make, right or wrong, are judged by us and by the plain array of naive_tree.py.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, strategies as st

from mls.codec import opaque, u32, vector
from mls.errors import PeerError
from mls.leaf_node import LeafNode
from mls.tree.hashes import check_parent_hashes, check_unmerged_leaves
from mls.tree.nodes import ParentNode
from mls.tree.ratchet_tree import RatchetTree
from tests.mls.naive_tree import SUITE, Keys, Naive, Node, Parent, committed, leaf_node

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
