"""RFC 9420 Appendix C: arithmetic on node indices of a complete binary tree.

Leaf `i` is node `2i`; the level of a node is the number of trailing one bits of its index.
"""

from __future__ import annotations


def level(node: int) -> int:
    return (~node & (node + 1)).bit_length() - 1


def node_width(leaves: int) -> int:
    return 2 * leaves - 1 if leaves else 0


def root(leaves: int) -> int:
    """The root of the smallest complete tree that holds `leaves` leaves."""
    return (1 << (max(leaves, 1) - 1).bit_length()) - 1


def left(node: int) -> int:
    return node ^ (1 << (level(node) - 1))


def right(node: int) -> int:
    return node ^ (3 << (level(node) - 1))


def parent(node: int) -> int:
    height = level(node)
    return (node | (1 << height)) & ~(1 << (height + 1))


def sibling(node: int) -> int:
    above = parent(node)
    return right(above) if node < above else left(above)


def direct_path(node: int, top: int) -> list[int]:
    """The ancestors of `node` up to and including `top`."""
    path = []
    while node != top:
        node = parent(node)
        path.append(node)
    return path


def in_subtree(node: int, leaf_node: int) -> bool:
    """Whether the leaf at node index `leaf_node` lies under `node`."""
    span = (1 << level(node)) - 1
    return node - span <= leaf_node <= node + span


def common_ancestor(first: int, second: int) -> int:
    """The lowest node above two leaves, given by node index."""
    height = (first ^ second).bit_length()
    return (first >> height << height) + (1 << height - 1) - 1 if height else first
