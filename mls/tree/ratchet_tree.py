"""RFC 9420 §7: the ratchet tree of one epoch, as a persistent value.

`RatchetTree` is a root cell and three indices that would otherwise need a walk over the members: which node holds an
encryption key, which leaf holds a signature key (both must be unique, §7.3), and how many leaves share a profile
(capabilities and credential type), which answers every "do all members support it" in the number of distinct
profiles. A change makes a new tree and touches what it changes; nothing here checks signatures or policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from mls.codec import Reader, opaque
from mls.errors import BugError, PeerError
from mls.leaf_node import Capabilities, LeafNode
from mls.persistent import PMap
from mls.registries import LeafIndex
from mls.suite import Suite
from mls.tree.nodes import Cell, ParentNode, Value, built, grown, rebuilt

Profile = tuple[bytes, int]


@dataclass(frozen=True, slots=True)
class Profiled:
    """Capabilities and credential type that some members share."""

    capabilities: Capabilities
    credential_type: int
    count: int


class Step(NamedTuple):
    """One node of a direct path: where it is, the child on the path, and the other child."""

    cell: Cell
    child: Cell
    copath: Cell


def _profile(leaf: LeafNode) -> Profile:
    return leaf.capabilities.encoded, leaf.credential.type


@dataclass(frozen=True, slots=True, eq=False)
class RatchetTree:
    """The public state of the tree."""

    suite: Suite
    root: Cell
    encryption_keys: PMap[bytes, int]
    signature_keys: PMap[bytes, int]
    profiles: PMap[Profile, Profiled]

    # Making one

    @classmethod
    def of_values(cls, suite: Suite, values: list[Value]) -> RatchetTree:
        """From the array form; refuses keys that occur twice, because every index would be wrong."""
        level = max(len(values).bit_length() - 1, 0)
        keys: dict[bytes, int] = {}
        signature_keys: dict[bytes, int] = {}
        profiles: dict[Profile, int] = {}
        capabilities: dict[Profile, Capabilities] = {}
        filled: list[int] = []
        leaves = 0
        for index, value in enumerate(values):
            if value is None:
                continue
            filled.append(index)
            keys[value.encryption_key] = index
            if type(value) is LeafNode:
                leaves += 1
                signature_keys[value.signature_key] = index >> 1
                profile = (value.capabilities.encoded, value.credential.type)
                seen = profiles.get(profile)
                if seen is None:
                    profiles[profile] = 1
                    capabilities[profile] = value.capabilities
                else:
                    profiles[profile] = seen + 1
        if len(keys) != len(filled):
            raise PeerError("VAL-7.3-8")
        if len(signature_keys) != leaves:
            raise PeerError("VAL-7.3-9")
        census = {profile: Profiled(capabilities[profile], profile[1], count) for profile, count in profiles.items()}
        root = built(values, filled, (1 << level) - 1, level)
        return cls(suite, root, PMap(keys), PMap(signature_keys), PMap(census))

    @classmethod
    def decode(cls, suite: Suite, data: bytes) -> RatchetTree:
        """The ratchet_tree extension (§12.4.3.3)."""
        reader = Reader(data)
        values = list(reader.vector(_read_node))
        reader.finish()
        if not values or values[-1] is None:
            raise PeerError("VAL-12.4.3.3-1")
        if len(values) & 1 == 0:
            raise PeerError("VAL-12.4.3.3-2")
        for index, value in enumerate(values):
            if value is not None and (type(value) is LeafNode) != (index & 1 == 0):
                raise PeerError("VAL-12.4.3.3-2")
        return cls.of_values(suite, values)

    def encode(self) -> bytes:
        """The ratchet_tree extension: array form without trailing blanks."""
        parts = []
        at = 0
        for cell in self.root.cells():
            index = cell.index
            value = cell.value
            parts.append(b"\x00" * (index - at))
            parts.append((b"\x01\x02" if index & 1 else b"\x01\x01") + value.encoded)  # type: ignore[union-attr]
            at = index + 1
        return opaque(b"".join(parts))

    # Looking

    @property
    def leaf_count(self) -> int:
        """Leaves including blank ones: a power of two."""
        return 1 << self.root.level

    @property
    def member_count(self) -> int:
        return self.root.members

    @property
    def hash(self) -> bytes:
        return self.root.tree_hash(self.suite)

    def cell(self, index: int) -> Cell:
        """The cell at a node index inside the tree."""
        cell = self.root
        while cell.index != index:
            if cell.level == 0:
                raise BugError("a node index outside the tree")
            cell = cell.left if index < cell.index else cell.right
        return cell

    def leaf(self, index: int) -> LeafNode | None:
        """The member at a leaf index; None if the place is blank or outside the tree."""
        node = 2 * index
        cell = self.root
        if index < 0 or index >= 1 << cell.level:
            return None
        while cell.level:
            if not cell.resolved:
                return None
            cell = cell.left if node < cell.index else cell.right
        return cell.value  # type: ignore[return-value]  # a leaf cell holds a LeafNode or None

    def leaves(self) -> list[tuple[LeafIndex, LeafNode]]:
        """Every member, by leaf index."""
        return self.root.leaves()  # type: ignore[return-value]  # NewType

    def path(self, leaf: int) -> list[Step]:
        """The direct path of a leaf, lowest node first, with both sides of every node."""
        steps = []
        node = 2 * leaf
        cell = self.root
        while cell.level:
            left, right = cell.left, cell.right
            if node < cell.index:
                steps.append(Step(cell, left, right))
                cell = left
            else:
                steps.append(Step(cell, right, left))
                cell = right
        steps.reverse()
        return steps

    def filtered_path(self, leaf: int) -> list[Step]:
        """§4.1.2: without the nodes whose copath child stands for nobody."""
        return [step for step in self.path(leaf) if step.copath.resolved]

    def resolution(self, cell: Cell) -> list[Cell]:
        """§4.1.1: the cells whose keys together reach everybody below `cell`."""
        found: list[Cell] = []
        self._resolve(cell, found)
        return found

    def _resolve(self, cell: Cell, found: list[Cell]) -> None:
        value = cell.value
        if value is not None:
            found.append(cell)
            if type(value) is ParentNode and value.unmerged_leaves:
                for leaf in value.unmerged_leaves:
                    found.append(self._leaf_cell(cell, leaf))
        elif cell.level and cell.resolved:
            self._resolve(cell.left, found)
            self._resolve(cell.right, found)

    @staticmethod
    def _leaf_cell(cell: Cell, leaf: int) -> Cell:
        node = 2 * leaf
        while cell.level:
            cell = cell.left if node < cell.index else cell.right
        if cell.index != node or cell.value is None:
            raise BugError("an unmerged leaf is no member; the tree was not checked")
        return cell

    # Changing

    def replaced(self, values: dict[int, Value], known: dict[int, Value] | None = None) -> RatchetTree:
        """A tree with the values at some node indices replaced; keys must stay unique.

        `known` are the values that stand there now, for a caller who has them at hand.
        """
        if not values:
            return self
        indices = sorted(values)
        old = {index: self.cell(index).value for index in indices} if known is None else known
        keys = self.encryption_keys
        signature_keys = self.signature_keys
        gone: dict[bytes, int] = {}
        gone_signers: dict[bytes, int] = {}
        added: dict[bytes, int] = {}
        added_signers: dict[bytes, int] = {}
        profiles: dict[Profile, tuple[Capabilities, int]] = {}
        for index in indices:
            was = old[index]
            now = values[index]
            kept = (  # what else is counted of a leaf is the same as before
                type(was) is LeafNode
                and type(now) is LeafNode
                and was.capabilities is now.capabilities
                and was.credential.type == now.credential.type
                and was.signature_key == now.signature_key
            )
            if was is not None:
                gone[was.encryption_key] = index
                if type(was) is LeafNode and not kept:
                    gone_signers[was.signature_key] = index >> 1
                    at = _profile(was)
                    profiles[at] = (was.capabilities, profiles.get(at, (None, 0))[1] - 1)
            if now is not None:
                if now.encryption_key in added:
                    raise PeerError("VAL-7.3-8")
                added[now.encryption_key] = index
                if type(now) is LeafNode and not kept:
                    if now.signature_key in added_signers:
                        raise PeerError("VAL-7.3-9")
                    added_signers[now.signature_key] = index >> 1
                    at = _profile(now)
                    profiles[at] = (now.capabilities, profiles.get(at, (None, 0))[1] + 1)
        for key in added:
            if key in keys and key not in gone:
                raise PeerError("VAL-7.3-8")
        for key in added_signers:
            if key in signature_keys and key not in gone_signers:
                raise PeerError("VAL-7.3-9")
        if gone_signers == added_signers:
            gone_signers = added_signers = {}
        return RatchetTree(
            self.suite,
            rebuilt(self.root, indices, values, 0, len(indices)),
            keys.changed(gone, added),
            signature_keys.changed(gone_signers, added_signers),
            self._census(profiles),
        )

    def _census(self, changes: dict[Profile, tuple[Capabilities, int]]) -> PMap[Profile, Profiled]:
        census = self.profiles
        for at, (capabilities, change) in changes.items():
            if change:
                before = census.find(at)
                count = change + (before.count if before else 0)
                census = census.set(at, Profiled(capabilities, at[1], count)) if count else census.discard(at)
        return census

    def evolved(
        self,
        updated: dict[LeafIndex, LeafNode],
        removed: list[LeafIndex],
        added: list[LeafNode],
    ) -> tuple[RatchetTree, tuple[LeafIndex, ...]]:
        """§12.1.1 to §12.1.3: updates, then removals, then additions; also where the additions went."""
        changed: dict[LeafIndex, LeafNode | None] = {**updated, **dict.fromkeys(removed)}
        known: dict[int, Value] = {}
        for leaf in changed:
            cell = self.root
            node = 2 * leaf
            while cell.level:
                index = cell.index
                known[index] = cell.value
                cell = cell.left if node < index else cell.right
            if cell.index != node:
                raise BugError("a leaf outside the tree was changed")
            known[node] = cell.value
        values: dict[int, Value] = {**dict.fromkeys(known), **{2 * leaf: node for leaf, node in changed.items()}}
        tree = self.replaced(values, known).truncated()
        return tree.with_added(added) if added else (tree, ())

    def with_added(self, added: list[LeafNode]) -> tuple[RatchetTree, tuple[LeafIndex, ...]]:
        places = self._blank_places(len(added))
        root = self.root
        while places[-1] >= 1 << root.level:
            root = grown(root)
        tree = RatchetTree(self.suite, root, self.encryption_keys, self.signature_keys, self.profiles)
        unmerged: dict[int, list[int]] = {}
        values: dict[int, Value] = {}
        for place, leaf in zip(places, added, strict=True):
            values[2 * place] = leaf
            node = 2 * place
            cell = root
            while cell.level and cell.resolved:
                if cell.value is not None:
                    unmerged.setdefault(cell.index, []).append(place)
                cell = cell.left if node < cell.index else cell.right
        for index, leaves in unmerged.items():
            value = tree.cell(index).value
            if type(value) is ParentNode:
                merged = tuple(sorted({*value.unmerged_leaves, *leaves}))
                values[index] = ParentNode.of(value.encryption_key, value.parent_hash, merged)
        return tree.replaced(values), tuple(places)

    def _blank_places(self, count: int) -> list[LeafIndex]:
        """The `count` leftmost blank leaves, going on past the right edge."""
        places: list[LeafIndex] = []

        def visit(cell: Cell) -> None:
            if len(places) == count or cell.members == 1 << cell.level:
                return
            if cell.level == 0:
                places.append(LeafIndex(cell.index >> 1))
                return
            visit(cell.left)
            visit(cell.right)

        visit(self.root)
        following = self.leaf_count
        while len(places) < count:
            places.append(LeafIndex(following))
            following += 1
        return places

    def truncated(self) -> RatchetTree:
        """§7.7: the right half goes when nobody is in it."""
        root = self.root
        while root.level and root.right.members == 0:
            root = root.left
        if root is self.root:
            return self
        return RatchetTree(self.suite, root, self.encryption_keys, self.signature_keys, self.profiles)


def _read_node(reader: Reader) -> Value:
    flag = reader.u8()
    if flag == 0:
        return None
    if flag != 1:
        raise PeerError("VAL-2.1-4")
    kind = reader.u8()
    if kind == 1:
        return LeafNode.decode(reader)
    if kind == 2:
        return ParentNode.decode(reader)
    raise PeerError("VAL-7.1-2")
