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
from mls.tree.nodes import Cell, ParentNode
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
    parent = cell.value
    assert isinstance(parent, ParentNode)  # noqa: S101 - a cell above level 0 holds a ParentNode or None
    if parent.parent_hash and cell is tree.root:
        raise PeerError("VAL-7.9-2")
    unmerged = parent.unmerged_leaves
    vouched = 0
    for child, sibling in ((cell.left, cell.right), (cell.right, cell.left)):
        candidate = _vouching(tree, child, unmerged)
        if candidate is None:
            continue
        original = sibling.tree_hash_without(tree.suite, unmerged)
        expected = parent_hash(tree.suite, parent.encryption_key, parent.parent_hash, original)
        if candidate == expected:
            vouched += 1
    if vouched != 1:
        raise PeerError("VAL-7.9.2-1", f"node {cell.index}")


def _vouching(tree: RatchetTree, child: Cell, unmerged: tuple[int, ...]) -> bytes | None:
    """The parent_hash of the one node in the resolution of `child` that is not unmerged, if there is just one."""
    value = child.value
    if isinstance(value, ParentNode) and not unmerged and not value.unmerged_leaves:
        return value.parent_hash
    late = set(unmerged)
    found: bytes | None = None
    count = 0
    absent = 0
    for below in tree.resolution(child):
        node = below.value
        if below.level == 0 and below.index >> 1 in late:
            absent += 1
            continue
        count += 1
        if isinstance(node, ParentNode):
            found = node.parent_hash
        elif isinstance(node, LeafNode) and node.source == LeafNodeSource.COMMIT:
            found = node.parent_hash
    if count != 1:
        return None
    expected = sum(1 for leaf in unmerged if _below(child, leaf))
    return found if absent == expected else None


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
    if isinstance(value, ParentNode):
        listed = set(value.unmerged_leaves)
        if not listed <= members or not all(_below(cell, leaf) for leaf in listed):
            raise PeerError("VAL-12.4.3.1-10", f"node {cell.index}")
        if not listed.issuperset(above):
            raise PeerError("VAL-12.4.3.1-11", f"node {cell.index}")
        above = value.unmerged_leaves
    middle = bisect_left(above, (cell.index + 1) >> 1)
    _check_unmerged(cell.left, above[:middle], members)
    _check_unmerged(cell.right, above[middle:], members)
