"""RFC 9420 §7.1 and §12.4.3.3: parent nodes, and the persistent cells that the tree is built of.

A `Cell` is one position of the tree together with everything below it: its value, its two children, how many members
are under it, how many nodes its resolution has, and, once asked for, its tree hash. Cells never change after they are
built (the hash, and the children of an all-blank cell, are filled in when first needed, always to the same value), so
two trees share every cell that is the same in both, hashes included. That is what makes a commit cost its path and a
kept fork its difference.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

from mls.codec import Reader, opaque, read_u32_vector, u32_vector
from mls.errors import PeerError
from mls.leaf_node import LeafNode
from mls.suite import Suite


@dataclass(frozen=True, slots=True)
class ParentNode:
    """A key pair that the members below share, except those not merged into it yet."""

    encryption_key: bytes
    parent_hash: bytes
    unmerged_leaves: tuple[int, ...]
    encoded: bytes = field(compare=False, repr=False)

    @classmethod
    def of(cls, encryption_key: bytes, parent_hash: bytes, unmerged_leaves: tuple[int, ...] = ()) -> ParentNode:
        encoded = opaque(encryption_key) + opaque(parent_hash)
        encoded += u32_vector(unmerged_leaves) if unmerged_leaves else b"\x00"
        return cls(encryption_key, parent_hash, unmerged_leaves, encoded)

    @classmethod
    def decode(cls, reader: Reader) -> ParentNode:
        start = reader.pos
        encryption_key = reader.opaque()
        parent_hash = reader.opaque()
        unmerged = read_u32_vector(reader)
        if len(unmerged) > 1 and any(a >= b for a, b in zip(unmerged, unmerged[1:], strict=False)):
            raise PeerError("VAL-7.1-1")
        return cls(encryption_key, parent_hash, unmerged, reader.data[start : reader.pos])


Value = LeafNode | ParentNode | None


class Cell:
    """A position of the tree with what is below it."""

    __slots__ = ("_digest", "_left", "_right", "index", "level", "members", "resolved", "value")

    def __init__(self, index: int, level: int, value: Value, left: Cell | None, right: Cell | None) -> None:
        self.index = index
        self.level = level
        self.value = value
        self._left = left
        self._right = right
        self._digest: bytes | None = None
        if level:
            if left is None or right is None:
                self.members = self.resolved = 0
                return
            self.members = left.members + right.members
            if value is None:
                self.resolved = left.resolved + right.resolved
            else:
                self.resolved = 1 + len(value.unmerged_leaves)  # type: ignore[union-attr]  # a ParentNode
        else:
            self.members = self.resolved = 0 if value is None else 1

    @property
    def blank(self) -> bool:
        """Whether nothing is set here or below."""
        return not self.resolved

    @property
    def left(self) -> Cell:
        if self._left is None:
            self._grow()
        return self._left  # type: ignore[return-value]  # _grow sets it

    @property
    def right(self) -> Cell:
        if self._right is None:
            self._grow()
        return self._right  # type: ignore[return-value]  # _grow sets it

    def _grow(self) -> None:
        """Give an all-blank cell its blank children."""
        half = 1 << (self.level - 1)
        self._left = Cell(self.index - half, self.level - 1, None, None, None)
        self._right = Cell(self.index + half, self.level - 1, None, None, None)

    def tree_hash(self, suite: Suite) -> bytes:
        """§7.8, remembered."""
        digest = self._digest
        if digest is not None:
            return digest
        if not self.resolved:
            digest = self._digest = _blank_hash(suite, self.index, self.level)
            return digest
        value = self.value
        if self.level == 0:
            place = b"\x01" + (self.index >> 1).to_bytes(4, "big")
            body = place + b"\x01" + value.encoded  # type: ignore[union-attr]  # a leaf that is not blank
        else:
            left = self.left
            right = self.right
            below = opaque(left.tree_hash(suite)) + opaque(right.tree_hash(suite))
            body = b"\x02\x00" + below if value is None else b"\x02\x01" + value.encoded + below
        digest = self._digest = suite.hash(body)
        return digest

    def tree_hash_without(self, suite: Suite, leaves: tuple[int, ...]) -> bytes:
        """The tree hash this cell had before `leaves` (sorted) were added below it (§7.9)."""
        low = self.index - (1 << self.level) + 1 if self.level else self.index
        high = self.index + (1 << self.level) - 1 if self.level else self.index
        inside = tuple([leaf for leaf in leaves if low <= 2 * leaf <= high])
        if not inside:
            return self.tree_hash(suite)
        if self.level == 0:
            return suite.hash(b"\x01" + (self.index >> 1).to_bytes(4, "big") + b"\x00")
        value = self.value
        if isinstance(value, ParentNode):
            gone = set(inside)
            kept = tuple([leaf for leaf in value.unmerged_leaves if leaf not in gone])
            body = b"\x02\x01" + ParentNode.of(value.encryption_key, value.parent_hash, kept).encoded
        else:
            body = b"\x02\x00"
        left = self.left.tree_hash_without(suite, inside)
        right = self.right.tree_hash_without(suite, inside)
        return suite.hash(body + opaque(left) + opaque(right))

    def leaves(self) -> list[tuple[int, LeafNode]]:
        """The members below, in order."""
        found: list[tuple[int, LeafNode]] = []
        _collect_leaves(self, found)
        return found

    def cells(self) -> list[Cell]:
        """Every cell that is not blank, in index order."""
        found: list[Cell] = []
        _collect(self, found)
        return found


def _blank_hash(suite: Suite, index: int, level: int) -> bytes:
    """The tree hash of an all-blank cell, level by level, without making the cells below it."""
    first = (index - (1 << level) + 1) >> 1
    hash_ = suite.hash
    row = [hash_(b"\x01" + leaf.to_bytes(4, "big") + b"\x00") for leaf in range(first, first + (1 << level))]
    while len(row) > 1:
        row = [hash_(b"\x02\x00" + opaque(row[at]) + opaque(row[at + 1])) for at in range(0, len(row), 2)]
    return row[0]


def _collect(cell: Cell, found: list[Cell]) -> None:
    if cell.resolved:
        if cell.level == 0:
            found.append(cell)
            return
        _collect(cell.left, found)
        if cell.value is not None:
            found.append(cell)
        _collect(cell.right, found)


def _collect_leaves(cell: Cell, found: list[tuple[int, LeafNode]]) -> None:
    if cell.members:
        if cell.level == 0:
            found.append((cell.index >> 1, cell.value))  # type: ignore[arg-type]  # a leaf cell holds a LeafNode
            return
        _collect_leaves(cell.left, found)
        _collect_leaves(cell.right, found)


def grown(left: Cell) -> Cell:
    """A root one level higher, with `left` as its left half and nothing to the right (§7.7)."""
    level = left.level + 1
    index = (1 << level) - 1
    return Cell(index, level, None, left, Cell(index + (1 << (level - 1)), level - 1, None, None, None))


def rebuilt(cell: Cell, indices: list[int], values: dict[int, Value], low: int, high: int) -> Cell:
    """`cell` with the values of `indices[low:high]` (sorted, all below it) replaced; everything else is shared."""
    index = cell.index
    if cell.level == 0:
        return Cell(index, 0, values[index], None, None)
    after = middle = bisect_left(indices, index, low, high)
    value = cell.value
    if after < high and indices[after] == index:
        value = values[index]
        after += 1
    left = cell.left
    right = cell.right
    if middle > low:
        left = rebuilt(left, indices, values, low, middle)
    if high > after:
        right = rebuilt(right, indices, values, after, high)
    return Cell(index, cell.level, value, left, right)


def built(values: list[Value], filled: list[int], index: int, level: int) -> Cell:
    """A cell from the array form; `filled` lists, in order, the indices that are not blank.

    Where nothing is filled there is one blank cell, so a long run of blanks costs nothing but its bytes.
    """
    span = (1 << level) - 1
    at = bisect_left(filled, index - span)
    if at == len(filled) or filled[at] > index + span:
        return Cell(index, level, None, None, None)
    if level == 0:
        return Cell(index, 0, values[index], None, None)
    value = values[index] if index < len(values) else None
    half = 1 << (level - 1)
    left = built(values, filled, index - half, level - 1)
    return Cell(index, level, value, left, built(values, filled, index + half, level - 1))
