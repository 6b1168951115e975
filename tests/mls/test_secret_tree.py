"""RFC 9420 §9: message keys against a tree that is derived whole, and what is left after some were used.

`Ladder` derives any key from the root by the letter of §9 and §9.1, each time anew. The properties say that what
`SecretTree` hands out is the same, that it hands it out once, and that nothing it holds leads back to it (§9.2).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from functools import cache

import pytest
from hypothesis import given, strategies as st

from mls.codec import opaque, u16, u32
from mls.errors import BugError, MlsError, PeerError, ReplayError
from mls.registries import Generation, LeafIndex
from mls.secret_tree import APPLICATION, HANDSHAKE, MessageKey, Ratchet, SecretTree
from mls.secrets import EncryptionSecret
from mls.suite import Suite

SUITE = Suite(1)
ROOT = bytes(range(32))
NAMES = {HANDSHAKE: b"handshake", APPLICATION: b"application"}


def expand(secret: bytes, label: bytes, context: bytes, length: int = 32) -> bytes:
    info = u16(length) + opaque(b"MLS 1.0 " + label) + opaque(context)
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


class Ladder:
    """All keys of an epoch with so many leaves."""

    def __init__(self, leaf_count: int) -> None:
        self.leaf_count = leaf_count

    def nodes(self, leaf: int) -> list[bytes]:
        """The node secrets from the root down to a leaf."""
        low, high, secret = 0, self.leaf_count, ROOT
        found = [secret]
        while high - low > 1:
            middle = (low + high) // 2
            if leaf < middle:
                secret, high = expand(secret, b"tree", b"left"), middle
            else:
                secret, low = expand(secret, b"tree", b"right"), middle
            found.append(secret)
        return found

    @cache  # noqa: B019 - a few ladders, for as long as the tests run
    def ratchet(self, leaf: int, kind: int, generation: int) -> bytes:
        if generation == 0:
            return expand(self.nodes(leaf)[-1], NAMES[kind], b"")
        return expand(self.ratchet(leaf, kind, generation - 1), b"secret", u32(generation - 1))

    def key(self, leaf: int, kind: int, generation: int) -> tuple[bytes, bytes]:
        secret = self.ratchet(leaf, kind, generation)
        return expand(secret, b"key", u32(generation), 16), expand(secret, b"nonce", u32(generation), 12)


LADDERS = {count: Ladder(count) for count in (1, 2, 4, 8)}


@dataclass
class Model:
    """Which generations of one ratchet are still to be had."""

    reached: int = 0
    waiting: frozenset[int] = frozenset()


def at(
    tree: SecretTree, leaf: int, kind: int, generation: int, *, forward: int = 1000, window: int = 64, keep: int = 0
) -> tuple[SecretTree, MessageKey]:
    return tree.key_at(SUITE, LeafIndex(leaf), kind, generation, max_forward=forward, out_of_order=window, keep=keep)


def held(tree: SecretTree) -> set[bytes]:
    """All secrets that a tree holds."""
    found = {secret for _, secret in tree.nodes.items()}
    for _, ratchet in tree.ratchets.items():  # noqa: PERF102 - a PMap has no values()
        found.add(ratchet.secret)
        for key, nonce in ratchet.skipped.values():
            found |= {key, nonce}
    return found


steps = st.lists(
    st.tuples(st.integers(0, 7), st.sampled_from([HANDSHAKE, APPLICATION]), st.none() | st.integers(-4, 9)),
    max_size=25,
)


@given(
    count=st.sampled_from(sorted(LADDERS)),
    steps=steps,
    forward=st.integers(0, 7),
    window=st.integers(0, 6),
    keep=st.just(0) | st.integers(1, 8),
)
def test_every_key_once_and_nothing_that_leads_back(
    count: int, steps: list[tuple[int, int, int | None]], forward: int, window: int, keep: int
) -> None:
    ladder = LADDERS[count]
    tree = SecretTree.of(EncryptionSecret(ROOT), count)
    models: dict[tuple[int, int], Model] = {}
    used: set[tuple[int, int, int]] = set()
    for leaf_, kind, offset in steps:
        leaf = leaf_ % count
        model = models.setdefault((leaf, kind), Model())
        before, text = tree, held(tree)
        if offset is None:
            generation = model.reached
            tree, key = tree.next_key(SUITE, LeafIndex(leaf), kind, keep=keep, out_of_order=window)
            model.reached += 1
            if keep:
                waiting = {*model.waiting, generation}
                model.waiting = frozenset(n for n in waiting if n > generation - max(keep, window))
        else:
            generation = max(model.reached + offset, 0)
            late = generation < model.reached
            if late and generation not in model.waiting:
                with pytest.raises(ReplayError):
                    at(tree, leaf, kind, generation, forward=forward, window=window, keep=keep)
                continue
            if not late and generation - model.reached > forward:
                with pytest.raises(PeerError, match=r"VAL-15\.3-1"):
                    at(tree, leaf, kind, generation, forward=forward, window=window, keep=keep)
                continue
            tree, key = at(tree, leaf, kind, generation, forward=forward, window=window, keep=keep)
            if not late:
                waiting = {*model.waiting, *range(max(model.reached, generation - max(keep, window)), generation)}
                waiting |= {generation} if keep else set()
                model.waiting = frozenset(n for n in waiting if n >= generation - max(keep, window))
                model.reached = generation + 1
            elif not keep:
                model.waiting -= {generation}
        assert key.generation == generation
        assert (key.key, key.nonce) == ladder.key(leaf, kind, generation)
        if not keep:
            used.add((leaf, kind, generation))
        assert held(before) == text  # the value before is as it was
    check_what_is_left(tree, ladder, models, used)


def check_what_is_left(
    tree: SecretTree, ladder: Ladder, models: dict[tuple[int, int], Model], used: set[tuple[int, int, int]]
) -> None:
    opened = {leaf for leaf, _ in tree_leaves(tree)}
    allowed: set[bytes] = set()
    for (leaf, kind), model in models.items():
        if leaf not in opened:
            continue
        ratchet = tree.ratchets[2 * leaf + kind]
        assert ratchet.generation == model.reached
        assert set(ratchet.skipped) == model.waiting
        for generation in model.waiting:
            assert (leaf, kind, generation) not in used
            allowed |= set(ladder.key(leaf, kind, generation))
    for leaf in opened:
        for kind in (HANDSHAKE, APPLICATION):
            reached = models.get((leaf, kind), Model()).reached
            allowed.add(ladder.ratchet(leaf, kind, reached))
    # Of the tree: the topmost secrets that lead to no opened leaf, each exactly as deep as it must be.
    path_nodes = {secret for leaf in opened for secret in ladder.nodes(leaf)}
    for leaf in range(ladder.leaf_count):
        off = [secret for secret in ladder.nodes(leaf) if secret not in path_nodes]
        allowed |= set(off[:1])
    assert held(tree) == allowed


def tree_leaves(tree: SecretTree) -> list[tuple[int, Ratchet]]:
    return [(at // 2, ratchet) for at, ratchet in tree.ratchets.items()]


@pytest.mark.parametrize("count", [1, 2, 8, 32])
def test_opening_every_leaf_leaves_no_node(count: int) -> None:
    tree = SecretTree.of(EncryptionSecret(ROOT), count)
    for leaf in range(count):
        tree, _ = tree.next_key(SUITE, LeafIndex(leaf), APPLICATION)
    assert len(tree.nodes) == 0
    assert len(tree.ratchets) == 2 * count
    with pytest.raises(BugError):
        tree.opened(SUITE, LeafIndex(0))


def test_a_step_too_far_costs_nothing() -> None:
    tree = SecretTree.of(EncryptionSecret(ROOT), 1 << 20)
    for generation in (1001, 0xFFFF_FFFF):
        with pytest.raises(PeerError) as refused:
            at(tree, 77, APPLICATION, generation)
        assert refused.value.check == "VAL-15.3-1"
    tree, key = at(tree, 77, APPLICATION, 1000)
    assert key.generation == 1000
    assert len(tree.ratchets[2 * 77 + APPLICATION].skipped) == 64
    assert len(tree.nodes) == 20


def test_the_last_generation() -> None:
    """Generations are 32 bits; there is no message after the last one."""
    last = Ratchet(0xFFFF_FFFF, ROOT, {})
    tree = SecretTree.of(EncryptionSecret(ROOT), 1).opened(SUITE, LeafIndex(0))
    tree = SecretTree(1, tree.nodes, tree.ratchets.set(APPLICATION, last))
    received, key = at(tree, 0, APPLICATION, 0xFFFF_FFFF)
    assert key.generation == Generation(0xFFFF_FFFF)
    for after in (received, tree.next_key(SUITE, LeafIndex(0), APPLICATION)[0]):
        with pytest.raises(MlsError):
            after.next_key(SUITE, LeafIndex(0), APPLICATION)
        with pytest.raises(ReplayError):
            at(after, 0, APPLICATION, 0xFFFF_FFFF)


def test_kept_own_keys() -> None:
    """With `keep`, a sibling's message on a generation of ours can be read: once, and not for long."""
    tree = SecretTree.of(EncryptionSecret(ROOT), 2)
    sent = []
    for _ in range(5):
        tree, key = tree.next_key(SUITE, LeafIndex(1), APPLICATION, keep=2)
        sent.append(key)
    for generation in (4, 3):
        tree, key = at(tree, 1, APPLICATION, generation)
        assert key == sent[generation]
    for generation in range(5):
        with pytest.raises(ReplayError):
            at(tree, 1, APPLICATION, generation)


def test_repr_shows_no_secret() -> None:
    tree = SecretTree.of(EncryptionSecret(ROOT), 4)
    tree, key = at(tree, 1, APPLICATION, 3)
    shown = repr(tree) + repr(key) + repr(list(tree.ratchets.items())) + repr(tree.nodes)
    for secret in (*held(tree), key.key, key.nonce):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown
