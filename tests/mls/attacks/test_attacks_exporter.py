"""Attacks on what components export: a secret that was used must be gone, from wherever it could be had again."""

from __future__ import annotations

import gc
import pickle
from collections.abc import Sequence
from types import FunctionType, ModuleType

import pytest

from mls import group as front
from mls.codec import opaque, u8, vector
from mls.errors import CallerError, GroupEndedError, MlsError, PeerError, PuncturedError
from mls.fork.schedule import EPOCH_ID, PARENT_INIT
from mls.parameters import Parameters
from mls.proposals import Remove
from mls.puncture import MOST_POINTS, Puncturable
from mls.schedule import EXPORTER_BITS, EXPORTER_TREE
from mls.suite import Suite
from tests.mls.clients import party
from tests.mls.components.company import NOTE

REFUTED = (AssertionError, pytest.fail.Exception)
"""What an open door looks like in a test; anything else is a fault of the test."""

SUITE = Suite(1)


def _tree() -> Puncturable:
    return Puncturable.of(bytes(range(32)), EXPORTER_BITS)


@pytest.mark.parametrize("label", [EXPORTER_TREE, b"init", b"encryption", PARENT_INIT, EPOCH_ID])
def test_a_label_that_keeps_what_should_be_deleted(label: bytes) -> None:
    """With the exporter tree's label the root is kept whole beside the tree, so nothing is ever punctured."""
    with pytest.raises(CallerError):
        Parameters(epoch_labels=(label,))


def test_a_puncturable_tree_is_not_pickled() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(_tree())


def test_a_puncturable_tree_is_no_dictionary_key() -> None:
    with pytest.raises(TypeError):
        hash(_tree())


def test_no_cache_keeps_what_was_exported() -> None:
    """Neither the secret nor any node above it is reachable once the values that had them are gone."""
    group = party(2, seed="cache").any
    tree = group.trees[EXPORTER_TREE]
    path = []
    node = tree.secrets
    for bit in format(NOTE, "016b"):
        path.append(node)
        node = SUITE.expand_with_label(node, b"tree", b"right" if bit == "1" else b"left", SUITE.hash_size)
    after, exported = front.safe_export(group, NOTE)
    assert exported.raw == node
    left = after.trees[EXPORTER_TREE].secrets
    assert not any(secret in left for secret in (*path, node))
    caches = [each for each in gc.get_objects() if type(each).__name__ == "_lru_cache_wrapper"]
    front.export_secret(group, b"a label that is remembered", b"", 32)
    remembered = _bytes_in(caches)
    assert any(b"a label that is remembered" in each for each in remembered)
    assert not remembered & {node, *path}


def _bytes_in(roots: Sequence[object]) -> set[bytes]:
    """What caches hold: their entries are a dictionary, links, keys and results."""
    found: set[bytes] = set()
    level = list(roots)
    for _ in range(5):
        level = gc.get_referents(*[each for each in level if not isinstance(each, type | ModuleType | FunctionType)])
        found.update([each for each in level if isinstance(each, bytes)])
    return found


def test_who_left_an_epoch_exports_nothing() -> None:
    company = party(3)
    gone = company.copy(company.env)
    gone.commit("member00", proposals=[Remove(gone.leaf("member02"))])
    for ended in (front.retired(company["member00"]), gone["member02"]):
        assert not ended.trees
        with pytest.raises(GroupEndedError):
            front.safe_export(ended, NOTE)
        with pytest.raises(GroupEndedError):
            front.export_secret(ended, b"label", b"", 32)


def test_every_component_can_export_and_none_twice() -> None:
    tree = _tree()
    seen = set()
    for component in (*range(64), *range(0, 1 << 16, 997), (1 << 16) - 1):
        try:
            secret, tree = tree.evaluate(SUITE, component)
        except PuncturedError:
            assert component < 64
            continue
        seen.add(secret)
    assert len(seen) == len(tree.points)
    for component in tree.points:
        with pytest.raises(PuncturedError):
            tree.evaluate(SUITE, component)


def _node(length: int, prefix: bytes, secret: bytes = bytes(32)) -> bytes:
    return u8(length) + opaque(prefix) + opaque(secret)


@pytest.mark.parametrize(
    "nodes",
    [
        [],
        [_node(0, b""), _node(0, b"")],
        [_node(1, b"\x00"), _node(0, b"")],
        [_node(1, b"\x80"), _node(1, b"\x00")],
        [_node(1, b"\x00"), _node(1, b"\x80")],
        [_node(1, b"\x00")],
        [_node(16, b"\x00\x00")],
        [_node(17, b"\x00\x00\x00")],
        [_node(1, b"\x01"), _node(1, b"\x80")],
        [_node(0, b"", bytes(31))],
        [_node(255, bytes(32))],
    ],
)
def test_a_sibling_hands_over_a_state_that_never_was(nodes: list[bytes]) -> None:
    with pytest.raises(PeerError):
        Puncturable.from_pprf_state(SUITE, EXPORTER_BITS, vector(nodes))


def test_a_sibling_hands_over_a_state_as_large_as_can_be() -> None:
    """Half of the leaves gone, each beside one that is left: refused at the limit, not after all are in memory."""
    nodes = b"".join([_node(16, at.to_bytes(2, "big")) for at in range(0, 1 << 16, 2)])
    with pytest.raises(PeerError) as refused:
        Puncturable.from_pprf_state(SUITE, EXPORTER_BITS, opaque(nodes))
    assert refused.value.check == "VC-5.1.2-7"
    assert MOST_POINTS < 1 << 15


@pytest.mark.parametrize("component", [-1, 1 << 16, 1 << 40])
def test_a_component_that_is_none(component: int) -> None:
    with pytest.raises(MlsError):
        front.safe_export(party(1).any, component)
