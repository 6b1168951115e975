"""mls-extensions §4.4, DMLS "Puncturable pseudorandom function": a tree of secrets from which each leaf is had once.

The tree is the secret tree of RFC 9420 §9 with 2^bits leaves and nothing below them. A point is the index of a leaf,
and its bits, the most significant first, are the way down from the root: 0 is left, 1 is right. Evaluating a point
gives the leaf's secret and the tree without that leaf and everything above it (§9.2), so that what is left leads to
every other point and never again to this one. The safe exporter asks such a tree of 16 bits for a component; DMLS
asks one of 8 * KDF.Nh bits for the init secret of a child epoch.

What is kept are the largest subtrees that hold no evaluated point, one secret for each. Which these are follows from
the points alone, so they need no names: `Puncturable` is the points, ascending, and the secrets, from left to right
in one string. Equal sets of points are equal values and equal bytes, in whatever order they were evaluated.

How many subtrees there are, and which is where, is arithmetic on neighbors. The path of a first point leaves one
subtree at each of its levels: to its left for every 1-bit, to its right for every 0-bit. The next point is in one of
these, and parts from the point before it at the top of it; if that subtree has h levels, it is replaced by the h
subtrees along the new path. Hence the sum of h - 1 over all neighbors tells how many subtrees the points before or
after a place have added, and evaluating a point replaces one slice of the string. The cost is two KDF.Expand for each
level below the subtree that the point is in, which is all of them in a fresh tree.

There are two forms in bytes. `encode` is ours, for snapshots: every tree, as small as in memory. PPRFState is that of
draft-ietf-mls-virtual-clients §5.1.2, in which one emulator client hands the safe exporter of a group to another. It
names each subtree by its path, whose length is one byte, so trees of 256 levels and more have no such form. A state
that comes from a sibling is believed in nothing, and must be one to which evaluations can have led.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hmac import compare_digest
from itertools import pairwise
from operator import xor
from typing import NoReturn

from mls.codec import Reader, decode_exactly, opaque, u8, u16, vector
from mls.errors import CallerError, PeerError, PuncturedError
from mls.kdf import SIZES
from mls.suite import Suite

MOST_POINTS = 4096
"""How many points may be missing from a PPRFState: one short byte string can leave out all of a tree."""

MOST_BITS = 0xFFFF
_PPRF_BITS = 0xFF


@dataclass(frozen=True, slots=True, eq=False)
class Puncturable:
    """What is left of a tree of secrets after some of its leaves were taken; treated like `mls.secrets.Secret`."""

    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    bits: int
    """The levels of the tree: 16 for the safe exporter, 8 * KDF.Nh for DMLS."""
    points: tuple[int, ...] = field(repr=False)
    """What was evaluated, ascending. DMLS derives its points from path secrets, so they are not shown either."""
    secrets: bytes = field(repr=False)
    """Of the largest subtrees that hold none of the points, from left to right."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Puncturable) or self.bits != other.bits:
            return False
        return compare_digest(self.encode(), other.encode())

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")

    @classmethod
    def of(cls, root: bytes, bits: int) -> Puncturable:
        """The whole tree."""
        if not 1 <= bits <= MOST_BITS:
            raise CallerError(f"a puncturable tree cannot have {bits} levels")
        if len(root) not in SIZES:
            raise CallerError(f"the root of a puncturable tree cannot be {len(root)} bytes", "give it KDF.Nh bytes")
        return cls(bits, (), root)

    def evaluate(self, suite: Suite, point: int) -> tuple[bytes, Puncturable]:
        """The secret of a leaf, and the state without it."""
        bits, points, size = self.bits, self.points, suite.hash_size
        if point >> bits:  # never 0 for a negative one
            raise CallerError(f"the point is outside a puncturable tree of {bits} levels")
        place = bisect_left(points, point)
        lower = (*points[:place], point)
        upper = (point, *points[place:])
        height = bits  # of the subtree that the point is in
        if len(lower) > 1:
            height = _parting(lower[-2], point)
        if len(upper) > 1:
            if upper[1] == point:
                raise PuncturedError("the point was evaluated before; its key was used and deleted")
            height = min(height, _parting(point, upper[1]))
        ones = point.bit_count()
        lefts = (point & ((1 << height) - 1)).bit_count()  # subtrees that this evaluation adds on the left
        before = _added(lower) + ones - lefts
        after = _added(upper) + bits - ones - (height - lefts)
        if (before + 1 + after) * size != len(self.secrets):
            raise CallerError(f"the puncturable tree was not made with cipher suite {suite.cipher_suite}")

        start = before * size
        secret = self.secrets[start : start + size]
        left_info, right_info = _infos(size)
        expand = suite.mac  # ExpandWithLabel to KDF.Nh is one block
        on_the_left: list[bytes] = []
        on_the_right: list[bytes] = []
        for bit in format(point, f"0{bits}b")[bits - height :]:
            if bit == "1":
                on_the_left.append(expand(secret, left_info))
                secret = expand(secret, right_info)
            else:
                on_the_right.append(expand(secret, right_info))
                secret = expand(secret, left_info)
        on_the_right.reverse()
        rest = b"".join([self.secrets[:start], *on_the_left, *on_the_right, self.secrets[start + size :]])
        return secret, Puncturable(bits, (*lower, *upper[1:]), rest)

    def fits(self, suite: Suite) -> bool:
        """Whether it was made with a suite of that hash."""
        return _count(self.points, self.bits) * suite.hash_size == len(self.secrets)

    # Our own form

    def encode(self) -> bytes:
        """`uint16 bits; opaque points<V>; opaque secrets<V>`, each point in as many bytes as its bits need."""
        width = (self.bits + 7) // 8
        points = b"".join([point.to_bytes(width, "big") for point in self.points])
        return u16(self.bits) + opaque(points) + opaque(self.secrets)

    @classmethod
    def decode(cls, reader: Reader) -> Puncturable:
        """What `encode` made; from a snapshot, so what does not fit together is damage."""
        bits = reader.u16()
        packed = reader.opaque()
        secrets = reader.opaque()
        width = (bits + 7) // 8
        if not bits or len(packed) % width:
            raise _damaged()
        points = tuple([int.from_bytes(packed[at : at + width], "big") for at in range(0, len(packed), width)])
        if any(lower >= upper for lower, upper in pairwise(points)) or (points and points[-1] >> bits):
            raise _damaged()
        count = _count(points, bits)
        if len(secrets) not in {count * size for size in SIZES}:
            raise _damaged()
        return cls(bits, points, secrets)

    # The form of draft-ietf-mls-virtual-clients

    def pprf_state(self, suite: Suite) -> bytes:
        """PPRFState (§5.1.2), for trees of up to 255 levels."""
        _with_pprf_state(self.bits)
        bits, size = self.bits, suite.hash_size
        if len(self.points) > MOST_POINTS:
            raise CallerError(f"more than {MOST_POINTS} points were evaluated", "nobody would accept this PPRFState")
        if not self.fits(suite):
            raise CallerError(f"the puncturable tree was not made with cipher suite {suite.cipher_suite}")
        nodes = []
        for nth, (height, index) in enumerate(_subtrees(self.points, bits)):
            length = bits - height
            width = (length + 7) // 8
            prefix = (index << (8 * width - length)).to_bytes(width, "big")
            nodes.append(u8(length) + opaque(prefix) + opaque(self.secrets[nth * size : (nth + 1) * size]))
        return vector(nodes)

    @classmethod
    def from_pprf_state(cls, suite: Suite, bits: int, data: bytes) -> Puncturable:
        """The state that a sibling sent as a PPRFState.

        No nodes at all stand there for a group that does not use the safe exporter. As a state of the tree that would
        be one with every point evaluated, and it is refused like any other with so much missing.
        """
        _with_pprf_state(bits)
        nodes = Reader(decode_exactly(data, Reader.opaque))
        points: list[int] = []
        secrets: list[bytes] = []
        first = end = 0  # of the subtree before
        while nodes.pos < nodes.end:
            start, stop = _read_leaves(nodes, bits)
            if start < end:
                if stop <= first:
                    raise PeerError("VC-5.1.2-4")
                raise PeerError("VC-5.1.2-5")  # if they are not apart, one holds the other
            secret = nodes.opaque()
            if len(secret) != suite.hash_size:
                raise PeerError("VC-5.1.2-6")
            secrets.append(secret)
            _miss(points, end, start)
            first, end = start, stop
        _miss(points, end, 1 << bits)
        missing = tuple(points)
        if len(secrets) != _count(missing, bits):
            raise PeerError("VC-5.1.2-8")
        return cls(bits, missing, b"".join(secrets))


def _read_leaves(reader: Reader, bits: int) -> tuple[int, int]:
    """The first leaf of the subtree that a path leads to, and the first leaf after it."""
    length = reader.u8()
    if length > bits:
        raise PeerError("VC-5.1.2-1")
    prefix = reader.opaque()
    width = (length + 7) // 8
    if len(prefix) != width:
        raise PeerError("VC-5.1.2-2")
    packed = int.from_bytes(prefix, "big")
    unused = 8 * width - length
    if packed & ((1 << unused) - 1):
        raise PeerError("VC-5.1.2-3")
    height = bits - length
    first = packed >> unused << height
    return first, first + (1 << height)


def _miss(points: list[int], start: int, stop: int) -> None:
    """Take a gap between two subtrees for points, if it is not too wide to be one."""
    if len(points) + stop - start > MOST_POINTS:
        raise PeerError("VC-5.1.2-7")
    points.extend(range(start, stop))


def _with_pprf_state(bits: int) -> None:
    if not 1 <= bits <= _PPRF_BITS:
        raise CallerError(f"a tree of {bits} levels has no PPRFState", "its prefix_length is one byte; use `encode`")


def _damaged() -> CallerError:
    return CallerError("the snapshot is damaged", "restore it from a backup or join again")


# Which subtrees are left


def _parting(lower: int, upper: int) -> int:
    """The height of the two subtrees under the node where the paths of two points part."""
    return (lower ^ upper).bit_length() - 1


def _added(points: tuple[int, ...]) -> int:
    """How many subtrees all points but the first have added."""
    return sum(map(int.bit_length, map(xor, points, points[1:]))) - 2 * (len(points) - 1)


def _count(points: tuple[int, ...], bits: int) -> int:
    """How many subtrees are left."""
    return bits + _added(points) if points else 1


def _subtrees(points: tuple[int, ...], bits: int) -> Iterator[tuple[int, int]]:
    """Height and index among those of that height, of every subtree that is left, from left to right."""
    if not points:
        yield bits, 0
        return
    for lower, upper in pairwise((None, *points, None)):
        top = bits if lower is None or upper is None else _parting(lower, upper)
        if lower is not None:
            for height in range(top):
                if not lower >> height & 1:
                    yield height, (lower >> height) + 1
        if upper is not None:
            for height in reversed(range(top)):
                if upper >> height & 1:
                    yield height, (upper >> height) - 1


@lru_cache(maxsize=8)
def _infos(size: int) -> tuple[bytes, bytes]:
    """HKDF inputs of ExpandWithLabel(., "tree", "left" or "right", KDF.Nh), the block counter included (§9)."""
    head = u16(size) + opaque(b"MLS 1.0 tree")
    return head + opaque(b"left") + b"\x01", head + opaque(b"right") + b"\x01"
