"""RFC 9420 §2.1: the TLS presentation language as MLS uses it.

Encoding is by plain functions that return `bytes`; decoding is by a `Reader` that walks one immutable buffer and
never looks past the end of the vector it is in. Every struct keeps its `encode`/`decode` pair beside its fields.

A length is compared with what is left before anything is taken, so a hostile length costs nothing, and no MLS
struct contains itself, so there is no depth to attack. A reader raises `PeerError` and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from mls.errors import BugError, PeerError

T = TypeVar("T")

_SHORT = [bytes([n]) for n in range(64)]
MAX_VECTOR = (1 << 30) - 1


def u8(value: int) -> bytes:
    return value.to_bytes(1, "big")


def u16(value: int) -> bytes:
    return value.to_bytes(2, "big")


def u32(value: int) -> bytes:
    return value.to_bytes(4, "big")


def u64(value: int) -> bytes:
    return value.to_bytes(8, "big")


def varint(value: int) -> bytes:
    """The shortest of the three length encodings (RFC 9420 §2.1.2, after RFC 9000 §16)."""
    if value < 64:
        return _SHORT[value]
    if value < 0x4000:
        return (0x4000 | value).to_bytes(2, "big")
    if value <= MAX_VECTOR:
        return (0x8000_0000 | value).to_bytes(4, "big")
    raise BugError("a vector over 2^30-1 bytes cannot be encoded")


def opaque(value: bytes) -> bytes:
    """`opaque value<V>`."""
    size = len(value)
    if size < 64:
        return _SHORT[size] + value
    return varint(size) + value


def vector(parts: list[bytes] | tuple[bytes, ...]) -> bytes:
    """A vector of already encoded items."""
    return opaque(b"".join(parts))


def optional(value: bytes | None) -> bytes:
    """`optional<T>` of an already encoded value (RFC 9420 §2.1.1)."""
    return b"\x00" if value is None else b"\x01" + value


class Reader:
    """A cursor over one buffer."""

    __slots__ = ("data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end

    def u8(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise PeerError("VAL-2.1-1")
        self.pos = pos + 1
        return self.data[pos]

    def u16(self) -> int:
        pos = self.pos
        if pos + 2 > self.end:
            raise PeerError("VAL-2.1-1")
        self.pos = pos + 2
        data = self.data
        return data[pos] << 8 | data[pos + 1]

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def take(self, count: int) -> bytes:
        pos = self.pos
        stop = pos + count
        if stop > self.end:
            raise PeerError("VAL-2.1-1")
        self.pos = stop
        return self.data[pos:stop]

    def varint(self) -> int:
        pos = self.pos
        if pos >= self.end:
            raise PeerError("VAL-2.1-1")
        data = self.data
        first = data[pos]
        if first < 0x40:
            self.pos = pos + 1
            return first
        if first < 0x80:
            if pos + 2 > self.end:
                raise PeerError("VAL-2.1-1")
            self.pos = pos + 2
            value = (first & 0x3F) << 8 | data[pos + 1]
            if value < 64:
                raise PeerError("VAL-2.1-2")
            return value
        if first >= 0xC0:
            raise PeerError("VAL-2.1-3")
        if pos + 4 > self.end:
            raise PeerError("VAL-2.1-1")
        self.pos = pos + 4
        value = int.from_bytes(data[pos : pos + 4], "big") & MAX_VECTOR
        if value < 0x4000:
            raise PeerError("VAL-2.1-2")
        return value

    def opaque(self) -> bytes:
        """`opaque value<V>`; the two common length forms are read in place because this is the hottest line here."""
        pos = self.pos
        end = self.end
        data = self.data
        if pos < end:
            size = data[pos]
            if size < 0x40:
                pos += 1
                stop = pos + size
                if stop > end:
                    raise PeerError("VAL-2.1-1")
                self.pos = stop
                return data[pos:stop]
        size = self.varint()
        pos = self.pos
        stop = pos + size
        if stop > end:
            raise PeerError("VAL-2.1-1")
        self.pos = stop
        return data[pos:stop]

    def skip_vectors(self, count: int) -> None:
        pos = self.pos
        end = self.end
        data = self.data
        for _ in range(count):
            if pos < end and data[pos] < 0x40:
                pos += 1 + data[pos]
            else:
                self.pos = pos
                size = self.varint()
                pos = self.pos + size
            if pos > end:
                raise PeerError("VAL-2.1-1")
        self.pos = pos

    def vector(self, decode: Callable[[Reader], T]) -> tuple[T, ...]:
        """A `<V>` vector of structs; its items must fill it exactly."""
        size = self.varint()
        outer = self.end
        stop = self.pos + size
        if stop > outer:
            raise PeerError("VAL-2.1-1")
        self.end = stop
        items = []
        while self.pos < stop:
            items.append(decode(self))
        self.end = outer
        return tuple(items)

    def optional(self, decode: Callable[[Reader], T]) -> T | None:
        flag = self.u8()
        if flag == 0:
            return None
        if flag == 1:
            return decode(self)
        raise PeerError("VAL-2.1-4")

    def finish(self) -> None:
        if self.pos != self.end:
            raise PeerError("VAL-2.1-5")


def u16_vector(values: tuple[int, ...]) -> bytes:
    return opaque(b"".join([value.to_bytes(2, "big") for value in values]))


def read_u16_vector(reader: Reader) -> tuple[int, ...]:
    body = reader.opaque()
    if len(body) & 1:
        raise PeerError("VAL-2.1-1")
    return tuple([body[i] << 8 | body[i + 1] for i in range(0, len(body), 2)])


def u32_vector(values: tuple[int, ...]) -> bytes:
    return opaque(b"".join([value.to_bytes(4, "big") for value in values]))


def read_u32_vector(reader: Reader) -> tuple[int, ...]:
    body = reader.opaque()
    if not body:
        return ()
    if len(body) & 3:
        raise PeerError("VAL-2.1-1")
    return tuple([int.from_bytes(body[i : i + 4], "big") for i in range(0, len(body), 4)])


def decode_exactly(data: bytes, decode: Callable[[Reader], T]) -> T:
    """Decode a buffer that holds one value and nothing after it."""
    reader = Reader(data)
    value = decode(reader)
    reader.finish()
    return value
