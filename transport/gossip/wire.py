"""The bytes of meshsub: protobuf by hand, and how RPCs are delimited on a stream.

A stream carries RPCs, each after its length as a varint. An RPC is a protobuf message:

    RPC           1 subscriptions*   2 publish*   3 control
    subscription  1 subscribe (bool)   2 topic
    publish       1 from   2 data   3 seqno   4 topic   5 signature   6 key
    control       1 ihave*   2 iwant*   3 graft*   4 prune*
    ihave         1 topic   2 message id*
    iwant         1 message id*
    graft         1 topic
    prune         1 topic   2 peers* (not read: peer exchange is not spoken here)   3 backoff in seconds

By hand, because it is little, costs a few microseconds, reads only what is used, bounds what it keeps, and lets
nothing escape but `Refused`; this room then needs neither protobuf nor libp2p. Lenient as protobuf asks: fields in
any order, unknown ones skipped, the last of a repeated single field counts. Strict in bounds: every list has a maximum,
and what goes beyond is not kept but counted in `Rpc.excess`, for the router to hold against the sender. Fields that say
nothing to us are counted, too, because skipping one costs as much as reading it (`Rpc.skipped`), and an RPC of more
than `MAX_FIELDS` is refused without looking at the rest.

A signature is over "libp2p-pubsub:" and the message's first four fields in the order of their numbers, which is
what all implementations do. Fields we do not know are not passed on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, NewType, TypeVar

from transport.base import Reason, Refused, TopicId

MessageId = NewType("MessageId", bytes)
"""Author and sequence number, the default of all implementations."""

PROTOCOLS: Final = ("/meshsub/1.1.0", "/meshsub/1.0.0")
MAX_RPC: Final = 1 << 20
MAX_NAME: Final = 128  # bytes of a topic's name
MAX_ID: Final = 128  # bytes of a message id
MAX_KEY: Final = 4096  # bytes of an author, a signature or a key: RSA's are the largest
MAX_SUBSCRIPTIONS: Final = 8192
MAX_PUBLISH: Final = 1024
MAX_CONTROLS: Final = 8192  # of each kind
MAX_IDS: Final = 8192
MAX_FIELDS: Final = 1 << 16
"""Of all messages in one RPC. A hello of `MAX_SUBSCRIPTIONS` with a GRAFT for each has two thirds of this."""

FREE_FIELDS: Final = 64
"""That may be skipped in one RPC at no cost: extensions of others, and the peers that they name in a PRUNE."""

Item = TypeVar("Item")

_SIGNED_PREFIX: Final = b"libp2p-pubsub:"
_TOPIC_PREFIX: Final = "vcd/1/"
_TOPIC_LENGTH: Final = len(_TOPIC_PREFIX) + 64
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def topic_name(topic: TopicId) -> str:
    """What a topic is called on the wire."""
    return _TOPIC_PREFIX + topic.hex()


def topic_named(name: str) -> TopicId | None:
    """The topic with this name; None if the name is not one of ours."""
    if len(name) != _TOPIC_LENGTH or not name.startswith(_TOPIC_PREFIX):
        return None
    try:
        topic = TopicId(bytes.fromhex(name[len(_TOPIC_PREFIX) :]))
    except ValueError:
        return None
    return topic if topic_name(topic) == name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One gossip message. Nothing about it has been checked; `authors.authentic` does."""

    author: bytes
    data: bytes = field(repr=False)
    seqno: bytes
    topic: str
    signature: bytes = field(default=b"", repr=False)
    key: bytes = field(default=b"", repr=False)

    @property
    def id(self) -> MessageId:
        return MessageId(self.author + self.seqno)

    def signed(self) -> bytes:
        """What the signature is over."""
        return _SIGNED_PREFIX + self._unsigned()

    def encode(self) -> bytes:
        encoded = self._unsigned() + _field(5, self.signature)
        return encoded + _field(6, self.key) if self.key else encoded

    def _unsigned(self) -> bytes:
        return b"".join(
            (_field(1, self.author), _field(2, self.data), _field(3, self.seqno), _field(4, self.topic.encode()))
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subscription:
    topic: str
    subscribe: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ihave:
    topic: str
    ids: tuple[MessageId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prune:
    topic: str
    backoff: int | None = None  # seconds; peers of 1.0 do not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    subscriptions: tuple[Subscription, ...] = ()
    publish: tuple[Message, ...] = ()
    ihave: tuple[Ihave, ...] = ()
    iwant: tuple[MessageId, ...] = ()
    graft: tuple[str, ...] = ()
    prune: tuple[Prune, ...] = ()
    excess: int = 0  # how much was left out for going beyond a bound
    skipped: int = 0  # fields that were looked at for nothing, `excess` among them

    @property
    def controls(self) -> int:
        """How many things it asks for, messages apart."""
        asked = len(self.subscriptions) + self._announced + len(self.iwant) + len(self.graft) + len(self.prune)
        return asked + self.skipped

    @property
    def fields(self) -> int:
        """How many fields what is said here may have when it is encoded, those that are read twice counted twice."""
        asked = 3 * len(self.subscriptions) + 2 * len(self.graft) + 5 * len(self.prune)
        announced = 3 * len(self.ihave) + 2 * self._announced + 2 * len(self.iwant)
        return 7 * len(self.publish) + asked + announced

    @property
    def _announced(self) -> int:
        return sum(len(ihave.ids) for ihave in self.ihave)

    def encode(self) -> bytes:
        """As it goes on a stream: with its length."""
        parts = [_field(1, b"\x08" + bytes([s.subscribe]) + _field(2, s.topic.encode())) for s in self.subscriptions]
        parts += [_field(2, message.encode()) for message in self.publish]
        control = [_field(1, _field(1, i.topic.encode()) + _ids(2, i.ids)) for i in self.ihave]
        if self.iwant:
            control.append(_field(2, _ids(1, self.iwant)))
        control += [_field(3, _field(1, topic.encode())) for topic in self.graft]
        control += [_field(4, _field(1, p.topic.encode()) + _backoff(p.backoff)) for p in self.prune]
        if control:
            parts.append(_field(3, b"".join(control)))
        return delimited(b"".join(parts))


def publish_rpc(message: Message) -> bytes:
    """One message as it goes on a stream. Made once, then shared by all links it goes out on."""
    return delimited(_field(2, message.encode()))


def delimited(body: bytes) -> bytes:
    return _varint(len(body)) + body


class _Meter:
    """How many more fields are looked at."""

    __slots__ = ("left",)

    def __init__(self, left: int = MAX_FIELDS) -> None:
        self.left = left


class Deframer:
    """Takes a stream's bytes as they come and gives back whole RPCs. Holds at most one RPC and one chunk."""

    __slots__ = ("_buffer", "_limit")

    def __init__(self, limit: int = MAX_RPC) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def partial(self) -> bool:
        """Whether an RPC has begun and not ended."""
        return bool(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes]:
        """The RPCs that this completes. `Refused` if one would be too large: the stream is of no more use."""
        buffer = self._buffer
        buffer += chunk
        found, at, end = [], 0, len(buffer)
        while at < end:
            size, start = _length_prefix(buffer, at, end)
            if start < 0:
                break
            if size > self._limit:
                raise Refused(Reason.SIZE, f"an RPC of {size} bytes, at most {self._limit}")
            if start + size > end:
                break
            found.append(bytes(buffer[start : start + size]))
            at = start + size
        if at:
            del buffer[:at]
        return found


def decode(body: bytes) -> Rpc:
    """The RPC in these bytes; `Refused` if there is none."""
    subscriptions: list[Subscription] = []
    publish: list[Message] = []
    control: list[tuple[int, int]] = []
    excess = 0
    meter = _Meter()
    for number, kind, start, end in _fields(body, 0, len(body), meter):
        if kind != _BYTES:
            continue
        if number == 1:
            excess += not _add(subscriptions, _subscription(body, start, end, meter), MAX_SUBSCRIPTIONS)
        elif number == 2:
            excess += not _add(publish, _message(body, start, end, meter), MAX_PUBLISH)
        elif number == 3:
            control.append((start, end))
    ihave: list[Ihave] = []
    iwant: list[MessageId] = []
    graft: list[str] = []
    prune: list[Prune] = []
    room = MAX_IDS
    # protobuf merges a message field that is repeated: all parts of control count
    for number, kind, start, end in (each for a, b in control for each in _fields(body, a, b, meter)):
        if kind != _BYTES:
            continue
        if number == 1:
            topic, ids, over = _ihave(body, start, end, room, meter)
            room -= len(ids)
            excess += over + (not _add(ihave, Ihave(topic=topic, ids=tuple(ids)) if topic else None, MAX_CONTROLS))
        elif number == 2:
            ids, over = _ids_in(body, start, end, 1, room, meter)
            room -= len(ids)
            iwant += ids
            excess += over
        elif number == 3:
            excess += not _add(graft, _topic_in(body, start, end, meter), MAX_CONTROLS)
        elif number == 4:
            excess += not _add(prune, _prune(body, start, end, meter), MAX_CONTROLS)
    rpc = Rpc(
        subscriptions=tuple(subscriptions),
        publish=tuple(publish),
        ihave=tuple(ihave),
        iwant=tuple(iwant),
        graft=tuple(graft),
        prune=tuple(prune),
        excess=excess,
    )
    # What is said may be said with a few fields more; only what is far more than that was sent to be skipped.
    skipped = MAX_FIELDS - meter.left - rpc.fields - len(control)
    return rpc if skipped <= FREE_FIELDS else replace(rpc, skipped=skipped)


# ---------------------------------------------------------------- reading


def _add(items: list[Item], item: Item | None, most: int) -> bool:
    """Keep an item if it is one and there is room."""
    if item is None or len(items) >= most:
        return False
    items.append(item)
    return True


def _fields(data: bytes, at: int, end: int, meter: _Meter) -> Iterator[tuple[int, int, int, int]]:
    """Number, wire type, and start and end of the value; for a varint its value twice."""
    while at < end:
        meter.left -= 1
        if meter.left < 0:
            raise Refused(Reason.MALFORMED, "too many fields")
        tag, at = _read_varint(data, at, end)
        number, kind = tag >> 3, tag & 7
        if number == 0:
            raise Refused(Reason.MALFORMED, "field number 0")
        if kind == _BYTES:
            size, at = _read_varint(data, at, end)
            stop = at + size
        elif kind == _VARINT:
            value, at = _read_varint(data, at, end)
            yield number, kind, value, value
            continue
        elif kind == _FIXED64:
            stop = at + 8
        elif kind == _FIXED32:
            stop = at + 4
        else:
            raise Refused(Reason.MALFORMED, f"wire type {kind}")
        if stop > end:
            raise Refused(Reason.MALFORMED, "a field ends outside its message")
        yield number, kind, at, stop
        at = stop


def _read_varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A varint's value, and where it ends."""
    value = shift = 0
    while at < end:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
        if shift >= 70:
            raise Refused(Reason.MALFORMED, "a varint of more than ten bytes")
    raise Refused(Reason.MALFORMED, "a varint is cut off")


def _length_prefix(buffer: bytearray, at: int, end: int) -> tuple[int, int]:
    """A length and where it ends; -1 for the latter if more bytes are needed."""
    value = shift = 0
    while at < end:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift >= 35:
            raise Refused(Reason.MALFORMED, "a length of more than five bytes")
    return 0, -1


def _text(data: bytes, start: int, end: int) -> str | None:
    """A topic's name; None if it is longer than a name may be."""
    if end - start > MAX_NAME:
        return None
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        raise Refused(Reason.MALFORMED, "a topic that is not UTF-8") from None


def _topic_in(data: bytes, at: int, end: int, meter: _Meter) -> str | None:
    name: str | None = ""
    for number, kind, start, stop in _fields(data, at, end, meter):
        if number == 1 and kind == _BYTES:
            name = _text(data, start, stop)
    return name or None


def _subscription(data: bytes, at: int, end: int, meter: _Meter) -> Subscription | None:
    subscribe, name = False, None
    for number, kind, start, stop in _fields(data, at, end, meter):
        if number == 1 and kind == _VARINT:
            subscribe = bool(start)
        elif number == 2 and kind == _BYTES:
            name = _text(data, start, stop)
    return Subscription(topic=name, subscribe=subscribe) if name else None


def _message(data: bytes, at: int, end: int, meter: _Meter) -> Message | None:
    author = body = seqno = signature = key = b""
    topic: str | None = ""
    for number, kind, start, stop in _fields(data, at, end, meter):
        if kind != _BYTES:
            continue
        if number == 1:
            author = data[start:stop]
        elif number == 2:
            body = data[start:stop]
        elif number == 3:
            seqno = data[start:stop]
        elif number == 4:
            topic = _text(data, start, stop)
        elif number == 5:
            signature = data[start:stop]
        elif number == 6:
            key = data[start:stop]
    if topic is None or max(len(author), len(seqno), len(signature), len(key)) > MAX_KEY:
        return None
    return Message(author=author, data=body, seqno=seqno, topic=topic, signature=signature, key=key)


def _ids_in(data: bytes, at: int, end: int, field_number: int, room: int, meter: _Meter) -> tuple[list[MessageId], int]:
    """The ids in a field, as many as there is room for, and how many were left out."""
    ids: list[MessageId] = []
    excess = 0
    for number, kind, start, stop in _fields(data, at, end, meter):
        if number == field_number and kind == _BYTES:
            if stop - start > MAX_ID or len(ids) >= room:
                excess += 1
            else:
                ids.append(MessageId(data[start:stop]))
    return ids, excess


def _ihave(data: bytes, at: int, end: int, room: int, meter: _Meter) -> tuple[str | None, list[MessageId], int]:
    ids, excess = _ids_in(data, at, end, 2, room, meter)
    return _topic_in(data, at, end, meter), ids, excess


def _prune(data: bytes, at: int, end: int, meter: _Meter) -> Prune | None:
    backoff = None
    for number, kind, start, _ in _fields(data, at, end, meter):
        if number == 3 and kind == _VARINT:
            backoff = start
    name = _topic_in(data, at, end, meter)
    return Prune(topic=name, backoff=backoff) if name else None


# ---------------------------------------------------------------- writing


def _varint(value: int) -> bytes:
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, value: bytes) -> bytes:
    return bytes((number << 3 | _BYTES,)) + _varint(len(value)) + value


def _ids(number: int, ids: Iterable[MessageId]) -> bytes:
    return b"".join(_field(number, each) for each in ids)


def _backoff(seconds: int | None) -> bytes:
    return b"" if seconds is None else bytes((3 << 3 | _VARINT,)) + _varint(seconds)
