"""RFC 9420 §7.9: parent hashes, made by a committer and checked by everyone who joins.

Tree hashes themselves live on the cells (`Cell.tree_hash`). A parent hash ties a node to the one below it that was
refreshed in the same commit; the check on joining finds, for every node, the one child that vouches for it.
"""

from __future__ import annotations

from bisect import bisect_left

from mls.codec import opaque
from mls.errors import PeerError
from mls.leaf_node import LeafNode
from mls.registries import LeafNodeSource
from mls.suite import Suite
from mls.tree.nodes import Cell, ParentNode, Value
from mls.tree.ratchet_tree import RatchetTree, Step


def parent_hash(suite: Suite, encryption_key: bytes, above: bytes, original_sibling_tree_hash: bytes) -> bytes:
    """The hash of ParentHashInput (§7.9)."""
    return suite.hash(opaque(encryption_key) + opaque(above) + opaque(original_sibling_tree_hash))


def path_parent_hashes(suite: Suite, steps: list[Step], keys: list[bytes]) -> list[bytes]:
    """For a fresh filtered path: the parent_hash field of each of its nodes, then of the leaf.

    A fresh node has no unmerged leaves, so the sibling's tree hash of now is the original one.
    """
    above = b""
    fields = []
    for step, key in zip(reversed(steps), reversed(keys), strict=True):
        fields.append(above)
        above = parent_hash(suite, key, above, step.copath.tree_hash(suite))
    fields.reverse()
    fields.append(above)
    return fields


def check_parent_hashes(tree: RatchetTree) -> None:
    """§7.9.2: every parent node must be vouched for by exactly one node below it."""
    for cell in tree.root.cells():
        if cell.level:
            _check(tree, cell)


def _check(tree: RatchetTree, cell: Cell) -> None:
    """One child vouches. Both cannot: each one's hash would have to cover the other's."""
    parent = cell.value
    assert isinstance(parent, ParentNode)  # noqa: S101 - a cell above level 0 holds a ParentNode or None
    suite = tree.suite
    unmerged = parent.unmerged_leaves
    head = opaque(parent.encryption_key) + opaque(parent.parent_hash)
    left, right = cell.left, cell.right
    for child, sibling in ((left, right), (right, left)):
        candidate = _vouching(tree, child, unmerged)
        if candidate is None:
            continue
        original = sibling.tree_hash_without(suite, unmerged) if unmerged else sibling.tree_hash(suite)
        if candidate == suite.hash(head + opaque(original)):
            return
    raise PeerError("VAL-7.9.2-1", f"node {cell.index}")


def _vouching(tree: RatchetTree, child: Cell, unmerged: tuple[int, ...]) -> bytes | None:
    """The parent_hash of the one node in the resolution of `child` that is not unmerged, if there is just one."""
    if not unmerged:
        if child.resolved != 1:
            return None
        value = child.value
        return _parent_hash_of(tree.resolution(child)[0].value if value is None else value)
    inside = [leaf for leaf in unmerged if _below(child, leaf)]
    if child.resolved != len(inside) + 1:
        return None
    late = set(inside)
    others = [below for below in tree.resolution(child) if below.level or below.index >> 1 not in late]
    return _parent_hash_of(others[0].value) if len(others) == 1 else None


def _parent_hash_of(value: Value) -> bytes | None:
    if type(value) is ParentNode or (type(value) is LeafNode and value.source == LeafNodeSource.COMMIT):
        return value.parent_hash
    return None


def _below(cell: Cell, leaf: int) -> bool:
    span = (1 << cell.level) - 1
    return cell.index - span <= 2 * leaf <= cell.index + span


def check_unmerged_leaves(tree: RatchetTree) -> None:
    """§12.4.3.1: an unmerged leaf is a member below, and unmerged in every parent between as well.

    It is enough to compare each parent with the nearest one above it; every entry is looked at once there.
    """
    members: set[int] = {index for index, _ in tree.leaves()}
    _check_unmerged(tree.root, (), members)


def _check_unmerged(cell: Cell, above: tuple[int, ...], members: set[int]) -> None:
    if not cell.level or not cell.resolved:
        return
    value = cell.value
    if isinstance(value, ParentNode) and (above or value.unmerged_leaves):
        listed = set(value.unmerged_leaves)
        if not listed <= members or not all(_below(cell, leaf) for leaf in listed):
            raise PeerError("VAL-12.4.3.1-10", f"node {cell.index}")
        if not listed.issuperset(above):
            raise PeerError("VAL-12.4.3.1-11", f"node {cell.index}")
        above = value.unmerged_leaves
    middle = bisect_left(above, (cell.index + 1) >> 1) if above else 0
    _check_unmerged(cell.left, above[:middle], members)
    _check_unmerged(cell.right, above[middle:], members)
