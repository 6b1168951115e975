"""A topic's keys in order, and the fingerprint of any range of them.

A key is 40 bytes: when the frame expires, eight bytes big-endian, then its id. Keys compare as bytes, so a border
between two ranges is any byte string, mostly a few bytes long. `TOP` is above all keys: an expiry begins with a zero
byte for the next two hundred million years.

The fingerprint of a set is a hash of how many keys it has and of the sum, modulo 2**512, of a 512-bit hash of each.
Sums can be subtracted, so a range costs two lookups in a table of running sums and the hashing of a few keys at
its edges, however long it is. What an insider can do to sums, and why it does not last, is in
docs/adr/0008-range-reconciliation.md; the salt, new in every session, keeps anybody from preparing two sets that
collide in the 16 bytes that travel.

Keys lie packed in chunks of at most `FULL`, each an immutable `bytes`. A change replaces one chunk, so a
`Snapshot` is a copy of the list of chunks and stays what it was: a session compares one unchanging set however many
frames arrive meanwhile, and any contradiction in what a peer says is a lie. Nothing here is bounded by itself; the
log is as long as its store lets it be, which may be some hundred thousand: so ids lie packed as well, and a frame takes
some 80 bytes here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from typing import Final, NewType

from transport.base import FrameId, Milliseconds

Key = NewType("Key", bytes)
Border = bytes
"""Where a range begins or ends: any bytes up to a key's length that do not end in zero. Keys from it on are after."""

KEY_SIZE: Final = 40
ID_SIZE: Final = KEY_SIZE - 8
TOP: Final[Border] = b"\xff"
FINGERPRINT_SIZE: Final = 16
FULL: Final = 48
_LOADED: Final = 32  # keys in a chunk that is built from sorted keys: room to grow
_ENDS: Final = 64
_CROWDED: Final = 64  # ids in a bucket, on average, before there are more buckets
_MODULUS_MASK: Final = (1 << 512) - 1


def key(expires: Milliseconds, frame: FrameId) -> Key:
    return Key(expires.to_bytes(8) + frame)


def key_expires(of: Key) -> Milliseconds:
    return Milliseconds(int.from_bytes(of[:8]))


def key_id(of: Key) -> FrameId:
    return FrameId(of[8:])


def border_at(expires: int) -> Border:
    """The border below every key that expires at this time or later."""
    return expires.to_bytes(8).rstrip(b"\0")


def border_between(before: Key, after: Key) -> Border:
    """The shortest border that separates two neighbors."""
    for position in range(KEY_SIZE):
        if before[position] != after[position]:
            return after[: position + 1]
    raise ValueError("a key and itself")


def _term(of: bytes) -> int:
    return int.from_bytes(blake2b(of).digest())


def _place(chunk: bytes, border: Border) -> int:
    """How many keys of a chunk come before a border."""
    low, high = 0, len(chunk) // KEY_SIZE
    while low < high:
        middle = (low + high) // 2
        if chunk[middle * KEY_SIZE : (middle + 1) * KEY_SIZE] < border:
            low = middle + 1
        else:
            high = middle
    return low


class Snapshot:
    """The set as it was. Ranges are half open: `low` is in, `high` is not."""

    __slots__ = ("_chunks", "_counts", "_ends", "_firsts", "_running", "_sums")

    def __init__(self, firsts: Sequence[bytes], chunks: Sequence[bytes], sums: Sequence[int]) -> None:
        self._firsts, self._chunks, self._sums = list(firsts), list(chunks), list(sums)
        self._counts = [0, *accumulate(len(chunk) // KEY_SIZE for chunk in self._chunks)]
        self._running: list[int] | None = None  # of sums, made when the first fingerprint is asked for
        self._ends: dict[Border, tuple[int, int]] = {}  # neighbors share a border: rank and sum of the last few

    def __len__(self) -> int:
        return self._counts[-1]

    def rank(self, border: Border) -> int:
        """How many keys come before a border."""
        place = bisect_right(self._firsts, border) - 1
        return 0 if place < 0 else self._counts[place] + _place(self._chunks[place], border)

    def count(self, low: Border, high: Border) -> int:
        return max(self.rank(high) - self.rank(low), 0)

    def nth(self, rank: int) -> Key:
        """The key with this many before it."""
        if not 0 <= rank < len(self):
            raise IndexError(rank)
        place = bisect_right(self._counts, rank) - 1
        start = (rank - self._counts[place]) * KEY_SIZE
        return Key(self._chunks[place][start : start + KEY_SIZE])

    def keys(self, low: Border, high: Border) -> Iterator[Key]:
        return self.run(self.rank(low), self.rank(high))

    def run(self, start: int, end: int) -> Iterator[Key]:
        """The keys with these ranks, from `start` up to but not `end`."""
        place = bisect_right(self._counts, start) - 1
        while start < end:
            chunk, before = self._chunks[place], self._counts[place]
            upto = min(end, self._counts[place + 1])
            for at in range((start - before) * KEY_SIZE, (upto - before) * KEY_SIZE, KEY_SIZE):
                yield Key(chunk[at : at + KEY_SIZE])
            start, place = upto, place + 1

    def fingerprint(self, low: Border, high: Border, salt: bytes) -> bytes:
        return self.summary(low, high, salt)[1]

    def summary(self, low: Border, high: Border, salt: bytes) -> tuple[int, bytes]:
        """How many keys a range has, and its fingerprint."""
        start, before = self._end(low)
        end, upto = self._end(high)
        count = max(end - start, 0)
        total = (upto - before) & _MODULUS_MASK if count else 0
        stated = total.to_bytes(64) + count.to_bytes(8)
        return count, blake2b(stated, digest_size=FINGERPRINT_SIZE, key=salt).digest()

    def borders(self, low: Border, high: Border, parts: int) -> list[Border]:
        """The inner borders that divide a range into this many parts of nearly as many keys each, or into fewer."""
        start, end = self.rank(low), self.rank(high)
        parts = min(parts, end - start)
        return [self.border_before(start + (end - start) * part // parts) for part in range(1, parts)]

    def border_before(self, rank: int) -> Border:
        """The shortest border between the key of this rank and the one before it."""
        return border_between(self.nth(rank - 1), self.nth(rank))

    def _end(self, border: Border) -> tuple[int, int]:
        end = self._ends.get(border)
        if end is None:
            if len(self._ends) >= _ENDS:
                self._ends.clear()
            rank = self.rank(border)
            end = self._ends[border] = rank, self._sum_before(rank)
        return end

    def _sum_before(self, rank: int) -> int:
        if self._running is None:
            self._running = [0, *accumulate(self._sums)]
        place = bisect_right(self._counts, rank) - 1
        start, chunk = self._counts[place], self._chunks[place] if place < len(self._chunks) else b""
        inside = rank - start
        if inside * 2 * KEY_SIZE <= len(chunk):
            return self._running[place] + _sum(chunk[: inside * KEY_SIZE])
        return self._running[place + 1] - _sum(chunk[inside * KEY_SIZE :])


def _sum(packed: bytes) -> int:
    return sum(_term(packed[at : at + KEY_SIZE]) for at in range(0, len(packed), KEY_SIZE))


class IdSet:
    """Ids of frames, packed: a third of what a `set` of them takes.

    Each lies in one of many buckets, by its hash, which is keyed per process. A bucket is looked through as bytes are.
    """

    __slots__ = ("_buckets", "_mask", "_size")

    def __init__(self) -> None:
        self._buckets = [b""]
        self._mask = 0
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, frame: object) -> bool:
        return isinstance(frame, bytes) and _at(self._buckets[hash(frame) & self._mask], frame) >= 0

    def __iter__(self) -> Iterator[FrameId]:
        for bucket in self._buckets:
            for at in range(0, len(bucket), ID_SIZE):
                yield FrameId(bucket[at : at + ID_SIZE])

    def add(self, frame: FrameId) -> None:
        """One that is not there."""
        self._buckets[hash(frame) & self._mask] += frame
        self._size += 1
        if self._size > _CROWDED * len(self._buckets):
            self._spread()

    def remove(self, frame: FrameId) -> None:
        """One that is there."""
        place = hash(frame) & self._mask
        bucket = self._buckets[place]
        at = _at(bucket, frame)
        if at < 0:
            raise KeyError
        self._buckets[place] = bucket[:at] + bucket[at + ID_SIZE :]
        self._size -= 1
        if not self._size:
            self._buckets, self._mask = [b""], 0

    def _spread(self) -> None:
        """Over eight times as many buckets."""
        self._mask = len(self._buckets) * 8 - 1
        parts: list[list[FrameId]] = [[] for _ in range(self._mask + 1)]
        for one in self:
            parts[hash(one) & self._mask].append(one)
        self._buckets = [b"".join(part) for part in parts]


def _at(bucket: bytes, frame: bytes) -> int:
    """Where an id lies, -1 if it does not. What is found first may begin in the middle of one."""
    at = bucket.find(frame)
    while at > 0 and at % ID_SIZE:
        at = bucket.find(frame, at + 1)
    return at if len(frame) == ID_SIZE else -1


class SetIndex:
    """The set as it is. One owner: the log."""

    __slots__ = ("_chunks", "_firsts", "_ids", "_snapshot", "_sums")

    def __init__(self) -> None:
        self._firsts: list[bytes] = []  # each chunk's first key
        self._chunks: list[bytes] = []
        self._sums: list[int] = []  # each chunk's, not reduced
        self._ids = IdSet()
        self._snapshot: Snapshot | None = None

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, frame: object) -> bool:
        return frame in self._ids

    def insert(self, new: Key) -> bool:
        """Whether it was not there."""
        frame = key_id(new)
        if len(new) != KEY_SIZE or new >= TOP:
            raise ValueError("not a key")
        if frame in self._ids:
            return False
        self._ids.add(frame)
        self._snapshot = None
        place = max(bisect_right(self._firsts, new) - 1, 0)
        if not self._chunks:
            self._put(0, 0, new)
            return True
        chunk = self._chunks[place]
        at = _place(chunk, new) * KEY_SIZE
        chunk = chunk[:at] + new + chunk[at:]
        if len(chunk) <= FULL * KEY_SIZE:
            self._firsts[place], self._chunks[place] = chunk[:KEY_SIZE], chunk
            self._sums[place] += _term(new)
        else:
            half = len(chunk) // KEY_SIZE // 2 * KEY_SIZE
            self._put(place, place + 1, chunk[:half], chunk[half:])
        return True

    def load(self, keys: Sequence[Key]) -> None:
        """Insert keys that are in order; fast if they all come after what is there."""
        last = self._chunks[-1][-KEY_SIZE:] if self._chunks else b""
        ordered = all(before < after for before, after in zip([last, *keys], keys, strict=False))
        ids = {key_id(one) for one in keys}
        new = not any(one in self._ids for one in ids)
        fit = all(len(one) == KEY_SIZE for one in keys) and (not keys or keys[-1] < TOP)
        if not (ordered and fit and new and len(ids) == len(keys)):
            for one in keys:
                self.insert(one)
            return
        for frame in ids:
            self._ids.add(frame)
        self._snapshot = None
        end = len(self._chunks)
        self._put(end, end, *(b"".join(keys[at : at + _LOADED]) for at in range(0, len(keys), _LOADED)))

    def delete(self, old: Key) -> bool:
        """Whether it was there."""
        place = bisect_right(self._firsts, old) - 1
        if place < 0:
            return False
        chunk = self._chunks[place]
        at = _place(chunk, old) * KEY_SIZE
        if chunk[at : at + KEY_SIZE] != old:
            return False
        self._ids.remove(key_id(old))
        self._snapshot = None
        rest = chunk[:at] + chunk[at + KEY_SIZE :]
        end = place + 1
        if end < len(self._chunks) and len(rest) + len(self._chunks[end]) <= _LOADED * KEY_SIZE:
            rest += self._chunks[end]  # so that deleting leaves no trail of tiny chunks
            end += 1
        self._put(place, end, *([rest] if rest else []))
        return True

    def delete_before(self, border: Border) -> int:
        """Forget everything below a border; how many that were."""
        place = bisect_left(self._firsts, border)
        if place == 0:
            return 0
        cut = _place(self._chunks[place - 1], border) * KEY_SIZE
        gone = b"".join(self._chunks[: place - 1]) + self._chunks[place - 1][:cut]
        rest = self._chunks[place - 1][cut:]
        for at in range(0, len(gone), KEY_SIZE):
            self._ids.remove(FrameId(gone[at + 8 : at + KEY_SIZE]))
        self._snapshot = None
        self._put(0, place, *([rest] if rest else []))
        return len(gone) // KEY_SIZE

    def snapshot(self) -> Snapshot:
        """The set as it is now; the same object until something changes."""
        if self._snapshot is None:
            self._snapshot = Snapshot(self._firsts, self._chunks, self._sums)
        return self._snapshot

    def _put(self, start: int, end: int, *chunks: bytes) -> None:
        """These chunks in the place of those from `start` to `end`."""
        self._firsts[start:end] = [chunk[:KEY_SIZE] for chunk in chunks]
        self._sums[start:end] = [_sum(chunk) for chunk in chunks]
        self._chunks[start:end] = chunks
