"""What a fleet sends, and how it counts what came.

A payload opens with who sent it, its number, and the sender's monotonic clock, which all processes of one
machine share: a receiver knows the latency of what it got without asking anybody. What follows is padding.
Every implementation in a fleet reads the same header, whatever language it is written in.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NewType

Author = NewType("Author", int)
"""Which node sent it."""

_HEADER = struct.Struct(">4sIId")
_MAGIC = b"load"
SMALLEST = _HEADER.size


def build(author: Author, number: int, size: int) -> bytes:
    """A payload of `size` bytes, or a bare header where that is more; stamped now."""
    return _HEADER.pack(_MAGIC, author, number, time.monotonic()) + bytes(max(size - SMALLEST, 0))


def read(payload: bytes) -> tuple[Author, int, float] | None:
    """Author, number and time sent; None for what no fleet sent."""
    if len(payload) < SMALLEST or payload[:4] != _MAGIC:
        return None
    _, author, number, sent = _HEADER.unpack_from(payload)
    return Author(author), number, sent


def quantile(values: Iterable[float], share: float) -> float | None:
    """The value that this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else None


def ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Runs of consecutive numbers, first and last of each: ten thousand in a row are one pair."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def expand(pairs: Iterable[tuple[int, int]]) -> set[int]:
    return {number for first, last in pairs for number in range(first, last + 1)}


@dataclass(slots=True)
class Tally:
    """What one process received since it was told to begin anew."""

    seen: dict[Author, set[int]] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    doubles: int = 0
    strange: int = 0
    first: float | None = None
    last: float | None = None

    def add(self, payload: bytes) -> tuple[Author, int] | None:
        """Count it; its author and number if it is one of the fleet's."""
        known = read(payload)
        if known is None:
            self.strange += 1
            return None
        author, number, sent = known
        numbers = self.seen.setdefault(author, set())
        if number in numbers:
            self.doubles += 1
            return author, number
        numbers.add(number)
        now = time.monotonic()
        self.latencies.append(now - sent)
        self.first = now if self.first is None else self.first
        self.last = now
        return author, number

    def report(self) -> dict[str, Any]:
        return {
            "count": sum(map(len, self.seen.values())),
            "doubles": self.doubles,
            "strange": self.strange,
            "p50": quantile(self.latencies, 0.5),
            "p99": quantile(self.latencies, 0.99),
            "first": self.first,
            "last": self.last,
            "held": {str(author): ranges(numbers) for author, numbers in self.seen.items()},
        }
