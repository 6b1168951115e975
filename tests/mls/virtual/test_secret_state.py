"""draft-ietf-mls-virtual-clients §5.1.2: trees of secrets as they are handed over, and what no deleting can leave."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from mls.codec import decode_exactly
from mls.errors import CallerError, PeerError, ReplayError
from mls.persistent import PMap
from mls.registries import Generation, LeafIndex
from mls.secret_tree import APPLICATION, HANDSHAKE, Ratchet, SecretTree
from mls.secrets import EncryptionSecret, EpochBaseSecret
from mls.suite import Suite
from mls.virtual.operations import OperationRatchet, OperationTree, OperationType
from mls.virtual.secret_state import (
    RatchetType,
    SecretTreeNodeState,
    SecretTreeRatchetState,
    SecretTreeState,
    Skipped,
    check_messages,
    skipped_messages,
    skipped_operations,
    with_skipped_messages,
    with_skipped_operations,
)
from tests.mls.refusals import refused
from tests.validation import breaks

SUITE = Suite(1)
ROOT = bytes(range(32))
EPOCH = b"an epoch".ljust(32)

histories = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 3), st.none() | st.integers(0, 9)), max_size=20)


def messages(leaf_count: int, used: list[tuple[int, int, int | None]]) -> SecretTree:
    tree = SecretTree.of(EncryptionSecret(ROOT), leaf_count)
    for drawn, drawn_kind, generation in used:
        leaf, kind = LeafIndex(drawn % leaf_count), drawn_kind % 2
        with suppress(ReplayError):
            if generation is None:
                tree, _ = tree.next_key(SUITE, leaf, kind, keep=2)
            else:
                tree, _ = tree.key_at(SUITE, leaf, kind, generation, max_forward=10, out_of_order=4)
    return tree


def operations(leaf_count: int, used: list[tuple[int, int, int | None]]) -> OperationTree:
    tree = OperationTree.of(EpochBaseSecret(ROOT), leaf_count)
    for drawn, drawn_kind, generation in used:
        leaf, kind = LeafIndex(drawn % leaf_count), OperationType(drawn_kind)
        with suppress(ReplayError):
            if generation is None:
                _, tree = tree.next(SUITE, EPOCH, leaf, kind, b"")
            else:
                _, tree = tree.at(SUITE, EPOCH, leaf, kind, generation, b"", keep=4)
    return tree


COUNTS = st.sampled_from([1, 2, 4, 8])


@pytest.mark.slow
@given(count=COUNTS, used=histories)
def test_message_keys_there_and_back(count: int, used: list[tuple[int, int, int | None]]) -> None:
    """The struct and what it cannot say are together the tree, and neither has what the tree has not."""
    tree = messages(count, used)
    state = decode_exactly(SecretTreeState.of_messages(tree).encode(), SecretTreeState.decode)
    skipped = [decode_exactly(each.encode(), Skipped.decode) for each in skipped_messages(tree)]
    bare = state.message_tree(SUITE, count)
    assert with_skipped_messages(SUITE, bare, skipped) == tree
    assert bare == replace(
        tree,
        ratchets=PMap([(key, Ratchet(each.generation, each.secret, {})) for key, each in tree.ratchets.items()]),
    )
    check_messages(SUITE, tree, handshakes=True)
    check_messages(SUITE, tree.without_handshakes(), handshakes=False)


@pytest.mark.slow
@given(count=COUNTS, used=histories)
def test_operations_there_and_back(count: int, used: list[tuple[int, int, int | None]]) -> None:
    tree = operations(count, used)
    state = decode_exactly(SecretTreeState.of_operations(tree).encode(), SecretTreeState.decode)
    skipped = [decode_exactly(each.encode(), Skipped.decode) for each in skipped_operations(tree)]
    again = with_skipped_operations(SUITE, state.operation_tree(SUITE, count), skipped)
    assert again == tree
    assert again.encode() == tree.encode()


def test_a_ratchet_without_generations() -> None:
    tree = messages(2, [(0, APPLICATION, None)])
    spent = replace(tree.ratchets[APPLICATION], generation=1 << 32)
    with pytest.raises(CallerError, match="ran out of generations"):
        SecretTreeState.of_messages(replace(tree, ratchets=tree.ratchets.set(APPLICATION, spent)))


# What is refused


def refuses(rule: str, bad: SecretTreeState, good: SecretTreeState, *, leaves: int = 4) -> None:
    refused(rule, lambda: bad.message_tree(SUITE, leaves))
    good.message_tree(SUITE, leaves)


OPENED = SecretTreeState.of_messages(messages(4, [(1, APPLICATION, None)]))
"""Leaf 1 is started, leaf 0 and leaves 2 and 3 stand below a node each."""


@breaks("VC-5.1-5")
@pytest.mark.parametrize("node", [7, 8, 0xFFFFFFFF])
def test_a_node_outside_of_the_tree(node: int) -> None:
    extra = SecretTreeNodeState(node, bytes(32))
    refuses("VC-5.1-5", replace(OPENED, nodes=(*OPENED.nodes, extra)), OPENED)


@breaks("VC-5.1-5")
@pytest.mark.parametrize("leaf", [4, 0xFFFFFFFF])
def test_a_ratchet_outside_of_the_tree(leaf: int) -> None:
    extra = [replace(each, leaf=LeafIndex(leaf)) for each in OPENED.ratchets]
    refuses("VC-5.1-5", replace(OPENED, ratchets=(*OPENED.ratchets, *extra)), OPENED)


def without(state: SecretTreeState, node: int) -> SecretTreeState:
    return replace(state, nodes=tuple([each for each in state.nodes if each.node != node]))


@breaks("VC-5.1-6")
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(without(OPENED, 0), id="the first leaf has nothing"),
        pytest.param(without(OPENED, 5), id="the last leaves have nothing"),
        pytest.param(replace(OPENED, ratchets=()), id="a leaf between has nothing"),
        pytest.param(SecretTreeState(), id="nobody has anything"),
        pytest.param(replace(OPENED, nodes=(*OPENED.nodes, OPENED.nodes[0])), id="a node twice"),
        pytest.param(replace(OPENED, nodes=(*OPENED.nodes, SecretTreeNodeState(3, bytes(32)))), id="the root as well"),
        pytest.param(replace(OPENED, nodes=(*OPENED.nodes, SecretTreeNodeState(2, bytes(32)))), id="a started leaf"),
        pytest.param(replace(OPENED, nodes=(*OPENED.nodes, SecretTreeNodeState(6, bytes(32)))), id="a leaf below one"),
    ],
)
def test_leaves_with_no_secret_or_two(bad: SecretTreeState) -> None:
    refuses("VC-5.1-6", bad, OPENED)


@breaks("VC-5.1-7")
@pytest.mark.parametrize("size", [0, 31, 33, 48])
def test_secrets_of_another_size(size: int) -> None:
    for at in range(2):
        nodes = [*OPENED.nodes]
        nodes[at] = SecretTreeNodeState(nodes[at].node, bytes(size))
        refuses("VC-5.1-7", replace(OPENED, nodes=tuple(nodes)), OPENED)
        heads = [*OPENED.ratchets]
        heads[at] = replace(heads[at], secret=bytes(size))
        refuses("VC-5.1-7", replace(OPENED, ratchets=tuple(heads)), OPENED)


def of_operations(leaf: int, kind: OperationType) -> SecretTreeRatchetState:
    return SecretTreeRatchetState(
        leaf=LeafIndex(leaf), type=RatchetType.OPERATION, operation=kind, generation=Generation(0), secret=bytes(32)
    )


@breaks("VC-5.1-8")
@pytest.mark.parametrize(
    "ratchets",
    [
        pytest.param(OPENED.ratchets[:1], id="one is missing"),
        pytest.param((*OPENED.ratchets, OPENED.ratchets[0]), id="one stands twice"),
        pytest.param((OPENED.ratchets[0],) * 2, id="one stands for another"),
        pytest.param((*OPENED.ratchets, of_operations(1, OperationType.LEAF_NODE)), id="one of another tree"),
        pytest.param(tuple([of_operations(1, kind) for kind in OperationType]), id="all of another tree"),
    ],
)
def test_leaves_without_their_ratchets(ratchets: tuple[SecretTreeRatchetState, ...]) -> None:
    refuses("VC-5.1-8", replace(OPENED, ratchets=ratchets), OPENED)


@breaks("VC-5.1-8")
def test_a_leaf_without_all_types_of_operations() -> None:
    good = SecretTreeState.of_operations(operations(4, [(1, 1, None)]))
    refused("VC-5.1-8", lambda: replace(good, ratchets=good.ratchets[1:]).operation_tree(SUITE, 4))
    refused("VC-5.1-8", lambda: replace(good, ratchets=OPENED.ratchets).operation_tree(SUITE, 4))
    good.operation_tree(SUITE, 4)


def test_every_state_that_is_taken_can_be_used() -> None:
    """From each leaf, both kinds of keys; what was refused above would contradict itself here."""
    tree = OPENED.message_tree(SUITE, 4)
    for leaf in range(4):
        for kind in (HANDSHAKE, APPLICATION):
            tree, _ = tree.next_key(SUITE, LeafIndex(leaf), kind)


WAITING = messages(4, [(1, APPLICATION, 3)])
AWAITED = skipped_messages(WAITING)[0]
OPERATIONS = operations(4, [(1, OperationType.LEAF_NODE, 3)])
AWAITED_OPERATIONS = skipped_operations(OPERATIONS)[0]


def with_both(rule: str, change: Callable[[Skipped], list[Skipped]]) -> None:
    """Neither message keys nor operations wait like that."""
    message_tree = SecretTreeState.of_messages(WAITING).message_tree(SUITE, 4)
    refused(rule, lambda: with_skipped_messages(SUITE, message_tree, change(AWAITED)))
    with_skipped_messages(SUITE, message_tree, [AWAITED])
    operation_tree = SecretTreeState.of_operations(OPERATIONS).operation_tree(SUITE, 4)
    refused(rule, lambda: with_skipped_operations(SUITE, operation_tree, change(AWAITED_OPERATIONS)))
    with_skipped_operations(SUITE, operation_tree, [AWAITED_OPERATIONS])


@breaks("VC-5.1-3")
def test_one_ratchet_waits_twice() -> None:
    with_both("VC-5.1-3", lambda good: [good, good])


@breaks("VC-5.1-7")
@pytest.mark.parametrize("size", [0, 27, 29, 31, 33])
def test_waiting_secrets_of_another_size(size: int) -> None:
    with_both("VC-5.1-7", lambda good: [replace(good, secrets=((0, bytes(size)),))])


@breaks("VC-5.1-11")
@pytest.mark.parametrize("generations", [(4,), (3, 4), (1, 0), (1, 1), (0xFFFFFFFF,)])
def test_generations_that_were_not_passed_over(generations: tuple[int, ...]) -> None:
    """The head is at 4, so 0 to 3 can wait, each once and in order."""
    with_both("VC-5.1-11", lambda good: [replace(good, secrets=tuple((n, good.secrets[0][1]) for n in generations))])


@breaks("VC-5.1-11")
@pytest.mark.parametrize("leaf", [0, 4, 0xFFFFFFFF])
def test_generations_of_a_ratchet_that_was_not_started(leaf: int) -> None:
    with_both("VC-5.1-11", lambda good: [replace(good, leaf=LeafIndex(leaf))])


@breaks("VC-5.1-11")
@pytest.mark.parametrize("kind", [0, 4, 255])
def test_generations_of_a_ratchet_of_no_type(kind: int) -> None:
    with_both("VC-5.1-11", lambda good: [replace(good, type=kind)])


@breaks("VC-5.1-7")
@pytest.mark.parametrize(("key", "nonce"), [(bytes(15), bytes(12)), (bytes(16), bytes(13))])
def test_whole_message_keys_of_another_size(key: bytes, nonce: bytes) -> None:
    ratchet = WAITING.ratchets[2 + APPLICATION]
    bad = replace(ratchet, skipped={**ratchet.skipped, 0: (key, nonce)})
    refused(
        "VC-5.1-7",
        lambda: check_messages(
            SUITE, replace(WAITING, ratchets=WAITING.ratchets.set(2 + APPLICATION, bad)), handshakes=True
        ),
    )
    check_messages(SUITE, WAITING, handshakes=True)


def test_a_tree_of_operations_holds_what_it_should() -> None:
    again = with_skipped_operations(
        SUITE, SecretTreeState.of_operations(OPERATIONS).operation_tree(SUITE, 4), [AWAITED_OPERATIONS]
    )
    assert isinstance(again.ratchets[4 + OperationType.LEAF_NODE], OperationRatchet)
    for generation in (0, 1, 2):
        found, _ = again.at(SUITE, EPOCH, LeafIndex(1), OperationType.LEAF_NODE, generation, b"")
        assert found == OPERATIONS.at(SUITE, EPOCH, LeafIndex(1), OperationType.LEAF_NODE, generation, b"")[0]
    with pytest.raises((ReplayError, PeerError)):
        again.at(SUITE, EPOCH, LeafIndex(1), OperationType.LEAF_NODE, 3, b"")
