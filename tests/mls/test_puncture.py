"""mls-extensions §4.4: the puncturable tree against one that is kept as a dictionary of nodes.

`Naive` follows RFC 9420 §9 and §9.2 by the letter: it holds every retained node under its path and derives one level
at a time. The properties say that `Puncturable` gives the same secrets and keeps the same nodes, that it does not
depend on the order, and that a state from a sibling is taken exactly if evaluations can have led to it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, strategies as st

from mls.codec import decode_exactly, opaque, u8, u16, vector
from mls.errors import CallerError, MlsError, PeerError, PuncturedError, ReplayError
from mls.puncture import MOST_POINTS, Puncturable
from mls.suite import Suite
from tests.mls.refusals import refused
from tests.validation import breaks
from tests.vectors.own import puncture as pinned

SUITE = Suite(1)
ROOT = bytes(range(32))
BY_HASH = {32: "sha256", 48: "sha384", 64: "sha512"}
SMALL = 6
"""Levels of the trees of which everything is looked at."""


def expand(secret: bytes, side: bytes) -> bytes:
    """ExpandWithLabel(secret, "tree", side, KDF.Nh)."""
    size = len(secret)
    return hmac.digest(secret, u16(size) + opaque(b"MLS 1.0 tree") + opaque(side) + b"\x01", BY_HASH[size])


class Naive:
    """Retained nodes by their path, a string of bits."""

    def __init__(self, root: bytes, bits: int) -> None:
        self.bits = bits
        self.nodes = {"": root}
        self.points: set[int] = set()

    def take(self, point: int) -> bytes:
        path = format(point, f"0{self.bits}b")
        (at,) = [path[:length] for length in range(self.bits + 1) if path[:length] in self.nodes]
        while at != path:
            secret = self.nodes.pop(at)
            self.nodes[at + "0"] = expand(secret, b"left")
            self.nodes[at + "1"] = expand(secret, b"right")
            at = path[: len(at) + 1]
        self.points.add(point)
        return self.nodes.pop(path)

    def state(self) -> bytes:
        """What `Puncturable.encode` has to give."""
        width = (self.bits + 7) // 8
        points = b"".join(point.to_bytes(width, "big") for point in sorted(self.points))
        return u16(self.bits) + opaque(points) + opaque(b"".join(self.nodes[path] for path in sorted(self.nodes)))

    def pprf_state(self) -> bytes:
        """What `Puncturable.pprf_state` has to give."""
        return pprf_state([(path, self.nodes[path]) for path in sorted(self.nodes)])


def node(path: str, secret: bytes) -> bytes:
    """A PPRFNode."""
    octets = [path[at : at + 8].ljust(8, "0") for at in range(0, len(path), 8)]
    return u8(len(path)) + opaque(bytes(int(octet, 2) for octet in octets)) + opaque(secret)


def pprf_state(nodes: Sequence[tuple[str, bytes]]) -> bytes:
    return vector([node(path, secret) for path, secret in nodes])


def path_secrets(root: bytes, bits: int, point: int) -> set[bytes]:
    """Everything from the root down to a leaf."""
    found = [root]
    for bit in format(point, f"0{bits}b"):
        found.append(expand(found[-1], b"right" if bit == "1" else b"left"))
    return set(found)


def evaluated(points: Sequence[int], bits: int, *, root: bytes = ROOT, suite: Suite = SUITE) -> Puncturable:
    tree = Puncturable.of(root, bits)
    for point in points:
        _, tree = tree.evaluate(suite, point)
    return tree


def pieces(tree: Puncturable, size: int = 32) -> list[bytes]:
    return [tree.secrets[at : at + size] for at in range(0, len(tree.secrets), size)]


def unique_points(bits: int, **limits: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(0, (1 << bits) - 1), unique=True, **limits)  # type: ignore[arg-type]  # sizes only


small_points = unique_points(SMALL)


# Evaluation


@pytest.mark.slow
@given(points=small_points, again=st.data())
def test_as_the_letter_has_it(points: list[int], again: st.DataObject) -> None:
    naive, tree = Naive(ROOT, SMALL), Puncturable.of(ROOT, SMALL)
    for point in points:
        before, text = tree, tree.encode()
        secret, tree = tree.evaluate(SUITE, point)
        assert secret == naive.take(point)
        assert tree.encode() == naive.state()
        assert tree.pprf_state(SUITE) == naive.pprf_state()
        assert tree.points == tuple(sorted(naive.points))
        assert before.encode() == text  # the value before is as it was
    if points:
        with pytest.raises(PuncturedError):
            tree.evaluate(SUITE, again.draw(st.sampled_from(points)))
        assert tree.encode() == naive.state()


@pytest.mark.slow
@given(points=small_points, other=st.randoms(use_true_random=False))
def test_the_order_leaves_no_trace(points: list[int], other: Any) -> None:
    shuffled = points.copy()
    other.shuffle(shuffled)
    first, second = evaluated(points, SMALL), evaluated(shuffled, SMALL)
    assert first == second
    assert first.encode() == second.encode()


@pytest.mark.slow
@given(points=unique_points(SMALL, min_size=1))
def test_nothing_that_is_left_leads_back(points: list[int]) -> None:
    kept = pieces(evaluated(points, SMALL))
    deleted = set().union(*(path_secrets(ROOT, SMALL, point) for point in points))
    assert not deleted & set(kept)
    assert len(set(kept)) == len(kept)
    # A kept secret leads to its descendants alone, and none of these is above or at an evaluated leaf.
    reachable, level = set(kept), kept
    for _ in range(SMALL):
        level = [expand(secret, side) for secret in level for side in (b"left", b"right")]
        reachable |= set(level)
    assert not deleted & reachable


@pytest.mark.parametrize("bits", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("descending", [False, True])
def test_all_leaves_of_a_tree(bits: int, descending: bool) -> None:
    naive, tree = Naive(ROOT, bits), Puncturable.of(ROOT, bits)
    for point in sorted(range(1 << bits), reverse=descending):
        secret, tree = tree.evaluate(SUITE, point)
        assert secret == naive.take(point)
    assert tree.secrets == b""
    assert tree.points == tuple(range(1 << bits))
    assert decode_exactly(tree.encode(), Puncturable.decode) == tree
    for point in (0, 1, (1 << bits) - 1):
        with pytest.raises(PuncturedError):
            tree.evaluate(SUITE, point)


def nearly_used_up(rest: set[int]) -> tuple[Puncturable, dict[int, bytes]]:
    """A tree of 16 levels with all but a few leaves, no two of them siblings, evaluated; and their secrets."""
    level = [ROOT]
    for _ in range(16):
        level = [expand(secret, side) for secret in level for side in (b"left", b"right")]
    leaves = {point: level[point] for point in sorted(rest)}
    points = tuple(point for point in range(1 << 16) if point not in rest)
    return Puncturable(16, points, b"".join(leaves.values())), leaves


@pytest.mark.slow
def test_the_last_leaves_of_the_exporter_tree() -> None:
    tree, leaves = nearly_used_up({0, 3, 4, 0x7FFF, 0x8000, 0xABCD, 0xFFFF})
    assert decode_exactly(tree.encode(), Puncturable.decode) == tree
    for point in (0x8000, 0xFFFF, 4, 0, 0xABCD, 0x7FFF, 3):
        with pytest.raises(PuncturedError):
            tree.evaluate(SUITE, 1)
        secret, tree = tree.evaluate(SUITE, point)
        assert secret == leaves[point]
    assert tree == Puncturable(16, tuple(range(1 << 16)), b"")
    assert decode_exactly(tree.encode(), Puncturable.decode) == tree
    with pytest.raises(PuncturedError):
        tree.evaluate(SUITE, 3)
    with pytest.raises(CallerError, match=f"more than {MOST_POINTS} points"):
        tree.pprf_state(SUITE)


@pytest.mark.slow
@given(points=st.lists(st.integers(0, 2**256 - 1), unique=True, min_size=1, max_size=4), flip=st.integers(0, 255))
def test_wide_trees(points: list[int], flip: int) -> None:
    naive, tree = Naive(ROOT, 256), Puncturable.of(ROOT, 256)
    for point in [*points, points[0] ^ 1 << flip]:
        if point in tree.points:
            continue
        secret, tree = tree.evaluate(SUITE, point)
        assert secret == naive.take(point)
    assert tree.encode() == naive.state()
    assert decode_exactly(tree.encode(), Puncturable.decode) == tree


@pytest.mark.parametrize(("cipher_suite", "size", "secrets"), [(1, 32, 8_192), (7, 48, 18_432), (5, 64, 32_768)])
def test_what_a_retained_epoch_costs(cipher_suite: int, size: int, secrets: int) -> None:
    tree = evaluated([1 << 77 | 5], 8 * size, root=bytes(size), suite=Suite(cipher_suite))
    assert len(tree.secrets) == secrets
    assert len(tree.encode()) - secrets - size <= 2 + 2 + 4
    with pytest.raises(CallerError, match="prefix_length is one byte"):
        tree.pprf_state(Suite(cipher_suite))


def test_the_work_is_two_expansions_a_level(monkeypatch: pytest.MonkeyPatch) -> None:
    """And none above the subtree that the point is in."""
    calls = 0
    suite = Suite(1)
    mac = suite.mac

    def counted(key: bytes, data: bytes) -> bytes:
        nonlocal calls
        calls += 1
        return mac(key, data)

    monkeypatch.setattr(suite, "mac", counted)
    tree = Puncturable.of(ROOT, 256)
    for point, levels in [(0, 256), (1, 0), (2, 1), (1 << 255, 255), (1 << 200, 200), ((1 << 200) + 9, 3)]:
        calls = 0
        _, tree = tree.evaluate(suite, point)
        assert calls == 2 * levels


def test_points_outside_the_tree() -> None:
    tree = Puncturable.of(ROOT, 16)
    for point in (-1, 1 << 16, 1 << 300):
        with pytest.raises(CallerError, match="outside"):
            tree.evaluate(SUITE, point)
    tree.evaluate(SUITE, (1 << 16) - 1)


def test_roots_and_levels_that_cannot_be() -> None:
    for size in (0, 16, 31, 33, 128):
        with pytest.raises(CallerError, match=f"{size} bytes"):
            Puncturable.of(bytes(size), 16)
    for bits in (-1, 0, 1 << 16):
        with pytest.raises(CallerError, match=f"{bits} levels"):
            Puncturable.of(ROOT, bits)
    assert Puncturable.of(ROOT, 16) == Puncturable(16, (), ROOT)


@pytest.mark.parametrize("points", [[], [7], [7, 8, 3000]])
@pytest.mark.parametrize("other", [5, 7])
def test_another_suite(points: list[int], other: int) -> None:
    tree = evaluated(points, 16)
    with pytest.raises(CallerError, match=f"cipher suite {other}"):
        tree.evaluate(Suite(other), 9)
    with pytest.raises(CallerError, match=f"cipher suite {other}"):
        tree.pprf_state(Suite(other))
    tree.evaluate(SUITE, 9)


def test_a_punctured_point_is_a_replay() -> None:
    """So that whoever drops repeated messages drops these as well."""
    tree = evaluated([5], 16)
    with pytest.raises(ReplayError, match="used and deleted") as caught:
        tree.evaluate(SUITE, 5)
    assert type(caught.value) is PuncturedError


def test_repr_shows_no_secret() -> None:
    point = int.from_bytes(hashlib.sha256(b"derived from a path secret").digest(), "big")
    tree = evaluated([point], 256)
    assert repr(tree) == "Puncturable(bits=256)"
    with pytest.raises(PuncturedError) as caught:
        tree.evaluate(SUITE, point)
    with pytest.raises(CallerError) as outside:
        tree.evaluate(SUITE, point + (1 << 256))
    for shown in (str(caught.value), str(outside.value)):
        assert str(point) not in shown
        assert str(point + (1 << 256)) not in shown


# Known answers


@pytest.mark.parametrize("case", json.loads(pinned.PATH.read_text()), ids=lambda c: f"{c['cipher_suite']}-{c['bits']}")
def test_known_answers(case: dict[str, Any]) -> None:
    suite, bits, root = Suite(case["cipher_suite"]), case["bits"], bytes.fromhex(case["root"])
    naive, tree = Naive(root, bits), Puncturable.of(root, bits)
    for step in case["evaluations"]:
        point = int(step["point"], 16)
        secret, tree = tree.evaluate(suite, point)
        assert secret == naive.take(point) == bytes.fromhex(step["secret"])
        assert_is(step["state"], tree.encode(), naive.state())
        if bits <= 255:
            assert_is(step["pprf_state"], tree.pprf_state(suite), naive.pprf_state())
        else:
            assert step["pprf_state"] is None


def assert_is(answer: dict[str, Any], *found: bytes) -> None:
    for data in found:
        assert len(data) == answer["length"]
        assert hashlib.sha256(data).hexdigest() == answer["sha256"]
        assert data.hex() == answer.get("bytes", data.hex())


def test_known_answers_are_those_of_the_generator() -> None:
    assert json.loads(pinned.PATH.read_text()) == pinned.generate()


# Our own form


@pytest.mark.slow
@given(points=unique_points(SMALL, max_size=8), bits=st.sampled_from([SMALL, 16, 300]))
def test_our_own_form(points: list[int], bits: int) -> None:
    tree = evaluated(points, bits)
    assert decode_exactly(tree.encode(), Puncturable.decode) == tree


def own_form(bits: int, points: Sequence[int], secrets: bytes) -> bytes:
    packed = b"".join(point.to_bytes((bits + 7) // 8, "big") for point in points)
    return u16(bits) + opaque(packed) + opaque(secrets)


@pytest.mark.parametrize(
    "bad",
    [
        own_form(12, [9, 5], bytes(32 * 14)),
        own_form(12, [5, 5], bytes(32 * 10)),
        own_form(12, [5, 1 << 12], bytes(32 * 23)),
        u16(12) + opaque(b"\x00\x05\x00\x09\x10") + opaque(bytes(32 * 17)),
        own_form(12, [5, 9], bytes(32 * 13)),
        own_form(12, [5, 9], bytes(32 * 15)),
        own_form(12, [5, 9], bytes(32 * 14 - 1)),
        own_form(12, [5, 9], bytes(31 * 14)),
        own_form(12, [5, 9], b""),
        own_form(12, [], b""),
        own_form(1, [0, 1], bytes(32)),
        own_form(0, [], bytes(32)),
        u16(0) + opaque(b"\x00") + opaque(bytes(32)),
    ],
    ids=[
        "not ascending",
        "a point twice",
        "a point outside the tree",
        "half a point",
        "a secret too few",
        "a secret too many",
        "a byte too few",
        "secrets of another size",
        "no secrets",
        "no root",
        "a secret of a tree that is used up",
        "no levels",
        "no levels and a point",
    ],
)
def test_damage(bad: bytes) -> None:
    decode_exactly(own_form(12, [5, 9], bytes(32 * 14)), Puncturable.decode)
    with pytest.raises(CallerError, match="damaged"):
        decode_exactly(bad, Puncturable.decode)


def test_every_truncation_of_our_own_form() -> None:
    whole = evaluated([3, 9], 16).encode()
    for cut in range(len(whole)):
        with pytest.raises(MlsError):
            decode_exactly(whole[:cut], Puncturable.decode)


# PPRFState


@pytest.mark.slow
@given(points=unique_points(SMALL, max_size=8), bits=st.sampled_from([SMALL, 8, 16, 255]))
def test_pprf_state_there_and_back(points: list[int], bits: int) -> None:
    tree = evaluated(points, bits)
    assert Puncturable.from_pprf_state(SUITE, bits, tree.pprf_state(SUITE)) == tree


def test_pprf_state_of_a_whole_tree() -> None:
    """The root has a path of no bits and no bytes."""
    assert Puncturable.of(ROOT, 16).pprf_state(SUITE) == b"\x23" + b"\x00" + b"\x00" + b"\x20" + ROOT


def test_pprf_state_by_hand() -> None:
    left, right = expand(ROOT, b"left"), expand(ROOT, b"right")
    nodes = [("00", expand(left, b"left")), ("011", expand(expand(left, b"right"), b"right")), ("1", right)]
    heads = (b"\x02\x01\x00\x20", b"\x03\x01\x60\x20", b"\x01\x01\x80\x20")
    by_hand = b"\x40\x6c" + b"".join(head + secret for head, (_, secret) in zip(heads, nodes, strict=True))
    assert evaluated([0b010], 3).pprf_state(SUITE) == by_hand == pprf_state(nodes)


@pytest.mark.parametrize("bits", [0, 256, 512])
def test_trees_without_a_pprf_state(bits: int) -> None:
    with pytest.raises(CallerError, match="no PPRFState"):
        Puncturable.from_pprf_state(SUITE, bits, pprf_state([("", ROOT)]))


def refuses(rule: str, bits: int, bad: bytes, good: bytes) -> None:
    refused(rule, lambda: Puncturable.from_pprf_state(SUITE, bits, bad))
    assert Puncturable.from_pprf_state(SUITE, bits, good).pprf_state(SUITE) == good


A, B, C = (bytes([n]) * 32 for n in (1, 2, 3))


@breaks("VC-5.1.2-1")
@pytest.mark.parametrize("bits", [3, 8, 9, 254])
def test_a_path_that_is_too_long(bits: int) -> None:
    nodes = [("0" * length + "1", A) for length in reversed(range(bits))]
    good = pprf_state(nodes)
    refuses("VC-5.1.2-1", bits, pprf_state([("0" * bits + "1", B), *nodes]), good)


@breaks("VC-5.1.2-2")
@pytest.mark.parametrize(
    ("path", "bad"),
    [("", b"\x00"), ("1", b""), ("1", b"\x80\x00"), ("10000000", b"\x80\x00"), ("100000000", b"\x80")],
)
def test_a_path_with_a_wrong_number_of_bytes(path: str, bad: bytes) -> None:
    refuses("VC-5.1.2-2", 9, vector([u8(len(path)) + opaque(bad) + opaque(A)]), pprf_state([(path, A)]))


@breaks("VC-5.1.2-3")
@pytest.mark.parametrize("bit", range(5))
def test_a_path_with_something_after_it(bit: int) -> None:
    good = pprf_state([("000", A)])
    bad = vector([u8(3) + opaque(u8(1 << bit)) + opaque(A)])
    refuses("VC-5.1.2-3", 6, bad, good)


@breaks("VC-5.1.2-4")
@pytest.mark.parametrize("order", ["acb", "bac", "cba", "bca", "cab"])
def test_subtrees_out_of_order(order: str) -> None:
    nodes = {"a": ("00", A), "b": ("011", B), "c": ("1", C)}
    refuses("VC-5.1.2-4", 3, pprf_state([nodes[name] for name in order]), pprf_state([*nodes.values()]))


@breaks("VC-5.1.2-5")
@pytest.mark.parametrize(
    "extra",
    [("00", A), ("000", A), ("001", B), ("0", B), ("", B)],
    ids=["the same", "its first leaf", "its second leaf", "its parent", "the root"],
)
def test_a_subtree_inside_another(extra: tuple[str, bytes]) -> None:
    good = [("00", A), ("011", B), ("1", C)]
    refuses("VC-5.1.2-5", 3, pprf_state([good[0], extra, *good[1:]]), pprf_state(good))


@breaks("VC-5.1.2-6")
@pytest.mark.parametrize("secret", [b"", A[:31], A + b"\x01", bytes(64)])
def test_a_secret_of_a_wrong_size(secret: bytes) -> None:
    nodes = [("00", A), ("011", B), ("1", C)]
    refuses("VC-5.1.2-6", 3, pprf_state([nodes[0], ("011", secret), nodes[2]]), pprf_state(nodes))


@breaks("VC-5.1.2-7")
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        (["1"], ["0" * 12 + "1"]),
        (["1"], ["1" * ones + "0" for ones in range(1, 13)]),
        (["0"], ["0" * zeros + "1" for zeros in range(12, 0, -1)]),
        (["00", "11"], [*("00" + "1" * ones + "0" for ones in range(11)), "11"]),
    ],
    ids=["far more before", "one more at the end", "one more at the start", "one more in the middle"],
)
def test_too_much_is_missing(good: list[str], bad: list[str]) -> None:
    """Half of the leaves of 13 levels are as many as may be missing."""
    assert MOST_POINTS == 1 << 12
    refuses("VC-5.1.2-7", 13, pprf_state([(path, A) for path in bad]), pprf_state([(path, A) for path in good]))


@breaks("VC-5.1.2-8")
@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ([("", A)], [("0", A), ("1", B)]),
        ([("00", A), ("011", B), ("1", C)], [("000", A), ("001", B), ("011", B), ("1", C)]),
        ([("00", A), ("011", B), ("1", C)], [("00", A), ("011", B), ("10", C), ("110", A), ("111", B)]),
    ],
)
def test_halves_instead_of_the_whole(good: list[tuple[str, bytes]], bad: list[tuple[str, bytes]]) -> None:
    refuses("VC-5.1.2-8", 3, pprf_state(bad), pprf_state(good))


def test_nothing_at_all_is_not_a_state() -> None:
    """It stands for a group without a safe exporter, and is for the caller to see."""
    for bits in (13, 16, 255):
        refused("VC-5.1.2-7", lambda: Puncturable.from_pprf_state(SUITE, bits, b"\x00"))  # noqa: B023 - used at once


@given(data=st.binary(max_size=200), bits=st.sampled_from([1, 3, 16, 255]))
def test_any_bytes(data: bytes, bits: int) -> None:
    for body in (data, opaque(data)):
        try:
            tree = Puncturable.from_pprf_state(SUITE, bits, body)
        except PeerError:
            continue
        assert tree.pprf_state(SUITE) == body


@pytest.mark.slow
@given(paths=st.lists(st.text("01", max_size=5), max_size=8), in_order=st.booleans())
def test_a_state_is_taken_if_evaluations_lead_to_it(paths: list[str], in_order: bool) -> None:
    """That is: within the tree, in order, each apart from all others, and nowhere both halves of one."""
    bits = 4
    sent = sorted(paths) if in_order else paths
    others = [(path, other) for at, path in enumerate(sent) for other in sent[:at] + sent[at + 1 :]]
    possible = (
        all(len(path) <= bits for path in sent)
        and sent == sorted(sent)
        and not any(other.startswith(path) for path, other in others)
        and not any(path[:-1] == other[:-1] for path, other in others if path and other)
    )
    state = pprf_state([(path, A) for path in sent])
    if not possible:
        with pytest.raises(PeerError):
            Puncturable.from_pprf_state(SUITE, bits, state)
        return
    tree = Puncturable.from_pprf_state(SUITE, bits, state)
    assert tree.pprf_state(SUITE) == state
    leaves = [format(point, "04b") for point in range(1 << bits)]
    for point, leaf in enumerate(leaves):
        if any(leaf.startswith(path) for path in sent):
            tree.evaluate(SUITE, point)
        else:
            with pytest.raises(PuncturedError):
                tree.evaluate(SUITE, point)
