"""The messages of circuit relay v2 and of DCUtR: a few fields of protobuf, written and read by hand.

    HopMessage    type 1 (RESERVE CONNECT STATUS), peer 2, reservation 3, limit 4, status 5
    StopMessage   type 1 (CONNECT STATUS), peer 2, limit 3, status 4
    Peer          id 1, addrs 2 (repeated)
    Reservation   expire 1 (seconds since 1970), addrs 2 (repeated), voucher 3
    Limit         duration 1 (seconds), data 2 (bytes)
    HolePunch     type 1 (CONNECT = 100, SYNC = 300), ObsAddrs 2 (repeated)
    Identify      observedAddr 4; the rest is the library's business

Each travels with its length in front, as a varint. Nothing over the reader's limit is read. Unknown fields are
skipped, as protobuf wants it; fields of a wrong kind, numbers over 64 bits and anything cut short are refused.

https://github.com/libp2p/specs/blob/master/relay/circuit-v2.md and DCUtR.md beside it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import trio

from transport.base import Reason, Refused, Unreachable
from transport.network import Stream

HOP: Final = "/libp2p/circuit/relay/0.2.0/hop"
STOP: Final = "/libp2p/circuit/relay/0.2.0/stop"
DCUTR: Final = "/libp2p/dcutr"
IDENTIFY: Final = "/ipfs/id/1.0.0"
MAX_MESSAGE: Final = 4096
MOST_ADDRESSES: Final = 16

_T = TypeVar("_T", bound=enum.IntEnum)
_VARINT, _BYTES = 0, 2
_SKIPPED: Final = {1: 8, 5: 4}  # wire type: bytes of a fixed-size field


class Hop(enum.IntEnum):
    RESERVE = 0
    CONNECT = 1
    STATUS = 2


class Stop(enum.IntEnum):
    CONNECT = 0
    STATUS = 1


class Punch(enum.IntEnum):
    CONNECT = 100
    SYNC = 300


class Status(enum.IntEnum):
    UNUSED = 0
    OK = 100
    RESERVATION_REFUSED = 200
    RESOURCE_LIMIT_EXCEEDED = 201
    PERMISSION_DENIED = 202
    CONNECTION_FAILED = 203
    NO_RESERVATION = 204
    MALFORMED_MESSAGE = 400
    UNEXPECTED_MESSAGE = 401


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What a circuit may cost. 0 is no limit."""

    duration: int = 0
    data: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    expire: int
    addresses: tuple[bytes, ...] = ()  # multiaddrs in their binary form


@dataclass(frozen=True, slots=True, kw_only=True)
class HopMessage:
    type: Hop
    peer: bytes = b""  # the multihash that a peer id spells in base58
    reservation: Reservation | None = None
    limit: Limit | None = None
    status: Status | None = None

    def encode(self) -> bytes:
        out = _number(1, self.type)
        if self.peer:
            out += _bytes(2, _bytes(1, self.peer))
        if self.reservation is not None:
            inner = _number(1, self.reservation.expire)
            out += _bytes(3, inner + b"".join(_bytes(2, address) for address in self.reservation.addresses))
        if self.limit is not None:
            out += _bytes(4, _limit(self.limit))
        if self.status is not None:
            out += _number(5, self.status)
        return out

    @classmethod
    def decode(cls, data: bytes) -> HopMessage:
        fields = _fields(data)
        reservation = fields.last(3)
        limit = fields.last(4)
        return cls(
            type=_member(Hop, fields.number(1)),
            peer=_peer(fields.last(2)),
            reservation=None if reservation is None else _reservation(reservation),
            limit=None if limit is None else _read_limit(limit),
            status=_status(fields.number(5)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StopMessage:
    type: Stop
    peer: bytes = b""
    limit: Limit | None = None
    status: Status | None = None

    def encode(self) -> bytes:
        out = _number(1, self.type)
        if self.peer:
            out += _bytes(2, _bytes(1, self.peer))
        if self.limit is not None:
            out += _bytes(3, _limit(self.limit))
        if self.status is not None:
            out += _number(4, self.status)
        return out

    @classmethod
    def decode(cls, data: bytes) -> StopMessage:
        fields = _fields(data)
        limit = fields.last(3)
        return cls(
            type=_member(Stop, fields.number(1)),
            peer=_peer(fields.last(2)),
            limit=None if limit is None else _read_limit(limit),
            status=_status(fields.number(4)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HolePunch:
    type: Punch
    addresses: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        return _number(1, self.type) + b"".join(_bytes(2, address) for address in self.addresses)

    @classmethod
    def decode(cls, data: bytes) -> HolePunch:
        fields = _fields(data)
        return cls(type=_member(Punch, fields.number(1)), addresses=fields.each(2)[:MOST_ADDRESSES])


def observed_address(identify: bytes) -> bytes | None:
    """Where the peer sees us, out of its identify message."""
    return _fields(identify).last(4)


class Delimited:
    """Messages with a varint length on a stream whose later bytes belong to somebody else: see `rest`."""

    def __init__(self, stream: Stream, *, deadline: float = 10.0, limit: int = MAX_MESSAGE) -> None:
        self._stream = stream
        self._deadline = deadline
        self._limit = limit
        self._buffer = bytearray()

    async def receive(self) -> bytes:
        """The next message; `Unreachable` if none comes whole and in time, `Refused` if it is too large."""
        with trio.move_on_after(self._deadline) as scope:
            size = await self._length()
            while len(self._buffer) < size:
                await self._more()
        if scope.cancelled_caught:
            raise Unreachable("no message in time")
        message = bytes(self._buffer[:size])
        del self._buffer[:size]
        return message

    async def send(self, message: bytes) -> None:
        with trio.move_on_after(self._deadline) as scope:
            await self._stream.send_all(_varint(len(message)) + message)
        if scope.cancelled_caught:
            raise Unreachable("the peer does not read")

    def rest(self) -> bytes:
        """What was read beyond the last message. The next reader has to begin with it."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    async def _length(self) -> int:
        size = 0
        for position in range(3):  # three bytes hold more than any limit here
            while not self._buffer:
                await self._more()
            byte = self._buffer.pop(0)
            size |= (byte & 0x7F) << (7 * position)
            if byte < 0x80:
                if size > self._limit:
                    break
                return size
        raise Refused(Reason.SIZE, f"a message over {self._limit} bytes")

    async def _more(self) -> None:
        data = await self._stream.receive_some()
        if not data:
            raise Unreachable("the stream ended before a message")
        self._buffer += data


# ---------------------------------------------------------------- protobuf


class _Fields:
    """The fields of one message, the last of each number winning where only one is meant."""

    def __init__(self, fields: Sequence[tuple[int, int | bytes]]) -> None:
        self._fields = fields

    def number(self, wanted: int) -> int | None:
        found: int | None = None
        for number, value in self._fields:
            if number == wanted:
                if not isinstance(value, int):
                    raise Refused(Reason.MALFORMED, f"field {wanted} is not a number")
                found = value
        return found

    def last(self, wanted: int) -> bytes | None:
        found = self.each(wanted)
        return found[-1] if found else None

    def each(self, wanted: int) -> tuple[bytes, ...]:
        found: list[bytes] = []
        for number, value in self._fields:
            if number == wanted:
                if not isinstance(value, bytes):
                    raise Refused(Reason.MALFORMED, f"field {wanted} is not bytes")
                found.append(value)
        return tuple(found)


def _fields(data: bytes) -> _Fields:
    return _Fields(list(_read(data)))


def _read(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in _SKIPPED:
            size = _SKIPPED[kind]
        else:
            raise Refused(Reason.MALFORMED, f"wire type {kind}")
        if at + size > len(data):
            raise Refused(Reason.MALFORMED, "cut short")
        if kind == _BYTES:
            yield number, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for position in range(10):
        if at >= len(data):
            raise Refused(Reason.MALFORMED, "cut short")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            if value >> 64:
                break
            return value, at
    raise Refused(Reason.MALFORMED, "a number over 64 bits")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _limit(limit: Limit) -> bytes:
    return _number(1, limit.duration) + _number(2, limit.data)


def _read_limit(data: bytes) -> Limit:
    fields = _fields(data)
    return Limit(duration=fields.number(1) or 0, data=fields.number(2) or 0)


def _reservation(data: bytes) -> Reservation:
    fields = _fields(data)
    return Reservation(expire=fields.number(1) or 0, addresses=fields.each(2)[:MOST_ADDRESSES])


def _peer(data: bytes | None) -> bytes:
    return b"" if data is None else _fields(data).last(1) or b""


def _member(kind: type[_T], value: int | None) -> _T:
    try:
        return kind(value or 0)
    except ValueError as error:
        raise Refused(Reason.MALFORMED, f"{kind.__name__} {value}") from error


def _status(value: int | None) -> Status | None:
    """A code that we do not know is a refusal without a reason."""
    if value is None:
        return None
    try:
        return Status(value)
    except ValueError:
        return Status.UNUSED
