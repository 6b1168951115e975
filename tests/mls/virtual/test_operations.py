"""draft-ietf-mls-virtual-clients §6.2: operation secrets against a ladder that derives each from the root.

The property is that every operation is had once, in any order within the bounds, and that nothing that is held
afterwards leads back to one that was had, nor to any that was given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
from hypothesis import given, strategies as st

from mls.codec import decode_exactly
from mls.errors import BugError, CallerError, PeerError, ReplayError
from mls.persistent import PMap
from mls.registries import LeafIndex
from mls.secrets import EpochBaseSecret
from mls.suite import Suite
from mls.virtual.operations import Operation, OperationRatchet, OperationTree, OperationType
from tests.mls.refusals import refused
from tests.mls.virtual.ladder import Ladder
from tests.validation import breaks

BASE = bytes(range(32))
EPOCH = b"an epoch".ljust(32)
SUITE = Suite(1)
LADDERS = {count: Ladder(1, BASE, EPOCH, count) for count in (1, 2, 4, 8)}
FIRST, LAST = OperationType.KEY_PACKAGE, OperationType.APPLICATION
TYPES = tuple(OperationType)
CONTEXTS = (b"", b"a group", b"x" * 70)


def fresh(count: int) -> OperationTree:
    return OperationTree.of(EpochBaseSecret(BASE), count)


def taken(tree: OperationTree, leaf: int, kind: OperationType, context: bytes = b"") -> tuple[Operation, OperationTree]:
    return tree.next(SUITE, EPOCH, LeafIndex(leaf), kind, context)


def at(
    tree: OperationTree,
    leaf: int,
    kind: OperationType,
    generation: int,
    context: bytes = b"",
    *,
    forward: int = 1024,
    keep: int = 32,
) -> tuple[Operation, OperationTree]:
    return tree.at(SUITE, EPOCH, LeafIndex(leaf), kind, generation, context, max_forward=forward, keep=keep)


def held(tree: OperationTree) -> list[bytes]:
    """All secrets that a tree holds."""
    found = [secret for _, secret in tree.nodes.items()]
    for key in tree.ratchets:
        ratchet = tree.ratchets[key]
        found += [ratchet.secret, *ratchet.skipped.values()]
    return sorted(found)


@dataclass
class Model:
    """Which generations of one ratchet are still to be had."""

    reached: int = 0
    waiting: list[int] = field(default_factory=list)

    def take(self, generation: int, *, forward: int, keep: int) -> type[Exception] | None:
        if generation < self.reached:
            if generation not in self.waiting:
                return ReplayError
            self.waiting.remove(generation)
            return None
        if generation - self.reached > forward:
            return PeerError
        self.waiting = [*self.waiting, *range(self.reached, generation)]
        self.waiting = self.waiting[max(len(self.waiting) - keep, 0) :]
        self.reached = generation + 1
        return None


steps = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from(TYPES), st.none() | st.integers(-6, 9), st.sampled_from(CONTEXTS)),
    max_size=25,
)


@pytest.mark.slow
@given(count=st.sampled_from(sorted(LADDERS)), steps=steps, forward=st.integers(0, 7), keep=st.integers(0, 6))
def test_every_operation_once_and_nothing_that_leads_back(
    count: int, steps: list[tuple[int, OperationType, int | None, bytes]], forward: int, keep: int
) -> None:
    ladder, tree = LADDERS[count], fresh(count)
    models: dict[tuple[int, int], Model] = {}
    had: set[tuple[int, int, int]] = set()
    for drawn, kind, offset, context in steps:
        leaf = drawn % count
        model = models.setdefault((leaf, kind), Model())
        before, secrets = tree, held(tree)
        if offset is None:
            generation = model.reached
            model.reached += 1
            operation, tree = taken(tree, leaf, kind, context)
        else:
            generation = max(model.reached + offset, 0)
            refusal = model.take(generation, forward=forward, keep=keep)
            if refusal is not None:
                with pytest.raises(refusal):
                    at(tree, leaf, kind, generation, context, forward=forward, keep=keep)
                continue
            operation, tree = at(tree, leaf, kind, generation, context, forward=forward, keep=keep)
        assert (operation.leaf, operation.type, operation.generation) == (leaf, kind, generation)
        assert (operation.epoch_id, operation.context) == (EPOCH, context)
        assert operation.secret.raw == ladder.secret(leaf, kind, generation, context)
        assert (leaf, kind, generation) not in had
        had.add((leaf, kind, generation))
        assert held(before) == secrets  # the value before is as it was
    check_what_is_left(tree, ladder, models)
    again = decode_exactly(tree.encode(), OperationTree.decode)
    assert again == tree
    assert again.encode() == tree.encode()
    assert tree.fits(32)


def check_what_is_left(tree: OperationTree, ladder: Ladder, models: dict[tuple[int, int], Model]) -> None:
    """Heads, what waits, and the topmost secrets that lead to no leaf that was used; nothing else."""
    opened = {key // 4 for key in tree.ratchets}
    allowed: list[bytes] = []
    for leaf in opened:
        for kind in TYPES:
            model = models.get((leaf, kind), Model())
            allowed.append(ladder.ratchet(leaf, kind, model.reached))
            allowed += [ladder.skipped(leaf, kind, generation) for generation in model.waiting]
    path = {secret for leaf in opened for secret in ladder.nodes(leaf)}
    beside = {
        next(s for s in ladder.nodes(leaf) if s not in path) for leaf in range(ladder.leaf_count) if leaf not in opened
    }
    assert held(tree) == sorted([*allowed, *beside])


@pytest.mark.slow
@given(
    leaves=st.tuples(st.integers(0, 7), st.integers(0, 7)),
    kinds=st.tuples(st.sampled_from(TYPES), st.sampled_from(TYPES)),
    generations=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    contexts=st.tuples(st.binary(max_size=3), st.binary(max_size=3)),
    epochs=st.tuples(st.sampled_from([b"a", b"b"]), st.sampled_from([b"a", b"b"])),
)
def test_whatever_differs_gives_another_secret(
    leaves: tuple[int, int],
    kinds: tuple[OperationType, OperationType],
    generations: tuple[int, int],
    contexts: tuple[bytes, bytes],
    epochs: tuple[bytes, bytes],
) -> None:
    secrets = [
        fresh(8).at(SUITE, epoch, LeafIndex(leaf), kind, generation, context)[0].secret
        for leaf, kind, generation, context, epoch in zip(leaves, kinds, generations, contexts, epochs, strict=True)
    ]
    alike = all(one == other for one, other in (leaves, kinds, generations, contexts, epochs))
    assert (secrets[0] == secrets[1]) is alike


def test_the_three_types_start_together_and_the_leaf_is_forgotten() -> None:
    _, tree = taken(fresh(8), 5, OperationType.LEAF_NODE)
    assert sorted(tree.ratchets) == [21, 22, 23]
    leaf_secret = LADDERS[8].nodes(5)[-1]
    assert leaf_secret not in held(tree)
    assert sorted(tree.nodes) == [3, 8, 13]  # the siblings on the way up: leaves 0 to 3, leaf 4, leaves 6 and 7
    _, after = taken(tree, 5, OperationType.APPLICATION)
    assert sorted(after.nodes) == [3, 8, 13]


def test_what_one_device_takes_another_finds() -> None:
    ours, theirs = fresh(4), fresh(4)
    made = []
    for context in CONTEXTS:
        operation, ours = taken(ours, 2, OperationType.LEAF_NODE, context)
        made.append(operation)
    for operation in reversed(made):
        found, theirs = at(theirs, 2, OperationType.LEAF_NODE, operation.generation, operation.context)
        assert found == operation
    assert ours == theirs


def test_a_leaf_of_ours_that_is_ahead_of_us_is_not_taken_again() -> None:
    """As after an older state was restored: what was heard of is passed over."""
    _, tree = at(fresh(2), 0, FIRST, 4)
    operation, tree = taken(tree, 0, FIRST)
    assert operation.generation == 5
    late, _ = at(tree, 0, FIRST, 3)
    assert late.generation == 3


@breaks("VC-6.2-1")
def test_a_leaf_outside_the_tree() -> None:
    for count in LADDERS:
        tree = fresh(count)
        for leaf in (count, count + 1, 0xFFFF_FFFF):
            refused("VC-6.2-1", partial(at, tree, leaf, FIRST, 0))
        assert at(tree, count - 1, FIRST, 0)[0].leaf == count - 1


@breaks("VC-6.2-2")
def test_a_step_too_far_costs_nothing() -> None:
    tree = fresh(256)
    for generation in (1025, 0xFFFF_FFFF):
        refused("VC-6.2-2", partial(at, tree, 77, LAST, generation))
    operation, tree = at(tree, 77, LAST, 1024)
    assert operation.generation == 1024
    ratchet = tree.ratchets[4 * 77 + LAST]
    assert list(ratchet.skipped) == list(range(1024 - 32, 1024))
    with pytest.raises(ReplayError):
        at(tree, 77, LAST, 1024 - 33)


def test_the_last_generation() -> None:
    """Generations are 32 bits; there is no operation after the last one."""
    _, tree = taken(fresh(1), 0, FIRST)
    tree = tree.with_ratchet(0, FIRST, OperationRatchet(0xFFFF_FFFF, BASE, {}))
    operation, after = taken(tree, 0, FIRST)
    assert operation.generation == 0xFFFF_FFFF
    assert at(tree, 0, FIRST, 0xFFFF_FFFF) == (operation, after)
    with pytest.raises(CallerError, match="ran out"):
        taken(after, 0, FIRST)
    with pytest.raises(ReplayError):
        at(after, 0, FIRST, 0xFFFF_FFFF)
    assert decode_exactly(after.encode(), OperationTree.decode) == after
    assert after.fits(32)


def test_a_tree_that_lost_a_leaf_says_so() -> None:
    tree = OperationTree(2, PMap({2: BASE}), PMap())
    with pytest.raises(BugError):
        at(tree, 0, FIRST, 0)
    with pytest.raises(BugError):
        taken(tree, 2, FIRST)


def grown() -> OperationTree:
    _, tree = at(fresh(8), 5, FIRST, 3)
    return taken(tree, 0, LAST)[1]


def altered(key: int, generation: int, secret: bytes, skipped: dict[int, bytes]) -> OperationTree:
    tree = grown()
    return OperationTree(8, tree.nodes, tree.ratchets.set(key, OperationRatchet(generation, secret, skipped)))


UNFIT: dict[str, Callable[[OperationTree], OperationTree]] = {
    "a node twice over": lambda tree: OperationTree(8, tree.nodes.set(12, BASE), tree.ratchets),
    "a node missing": lambda tree: OperationTree(8, tree.nodes.discard(13), tree.ratchets),
    "a node outside": lambda tree: OperationTree(8, tree.nodes.set(16, BASE), tree.ratchets),
    "too small a tree": lambda tree: OperationTree(4, tree.nodes, tree.ratchets),
    "too large a tree": lambda tree: OperationTree(16, tree.nodes, tree.ratchets),
    "a short node": lambda tree: OperationTree(8, tree.nodes.set(13, b"short"), tree.ratchets),
    "a type that is none": lambda tree: OperationTree(8, tree.nodes, tree.ratchets.set(20, tree.ratchets[21])),
    "a type missing": lambda tree: OperationTree(8, tree.nodes, tree.ratchets.discard(21)),
    "a leaf outside": lambda tree: OperationTree(8, tree.nodes, tree.ratchets.set(33, tree.ratchets[21])),
    "a short head": lambda _: altered(21, 4, b"short", {}),
    "a short one that waits": lambda _: altered(21, 4, BASE, {2: b"short"}),
    "one that waits ahead": lambda _: altered(21, 4, BASE, {4: BASE}),
    "out of order": lambda _: altered(21, 4, BASE, {3: BASE, 2: BASE}),
    "past the end": lambda _: altered(21, (1 << 32) + 1, BASE, {}),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_cannot_be_does_not_fit(name: str) -> None:
    tree = grown()
    assert tree.fits(32)
    assert not UNFIT[name](tree).fits(32)
    assert not tree.fits(48)


def test_repr_shows_no_secret() -> None:
    operation, tree = at(fresh(4), 1, LAST, 3)
    shown = repr(tree) + repr(operation) + repr([tree.ratchets[key] for key in tree.ratchets])
    for secret in (*held(tree), operation.secret.raw):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
