"""Requests and answers of `/vcd/mailbox/1` as bytes: strict, bounded, closed.

    request     version 1 · operation 1 · id 16 · room 4 · sent 8 · signer 32 · body · signature 64 if there is a signer
    answer      version 1 · failure 1 · id 16 · body, or detail 8 if it failed

Numbers are big-endian. `room` is the largest answer that the asker takes, so nobody is sent more than it asked
for. `sent` is the asker's clock in milliseconds. A tenant signs, behind the context "vcd mailbox request 1",
everything before the signature and then the hashes of two peer ids: its own and the mailbox's. So a request
means nothing from another peer or at another mailbox, and nothing some time later. All zeros is nobody.

A body is one dataclass below, which has its layout in its codec; what is left over or missing makes the whole
malformed. Whatever decodes encodes to the same bytes again.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, NewType, Protocol, TypeVar

from transport.access import FLOOR_SIZE, MAX_CREDENTIAL, peer_hash
from transport.base import MAX_ASK, FrameId, Milliseconds, PeerId, Sealing, TopicId
from transport.mailbox.records import GRANT_SIZE, MAX_SLOT, SLOT_OVERHEAD, SlotName
from transport.signing import KEY_SIZE, SIGNATURE_SIZE, verifies

PROTOCOL: Final = "/vcd/mailbox/1"
VERSION: Final = 1
MOST_IDS: Final = 4096
MOST_DEPOSITS: Final = 256
MAX_PACKAGE: Final = 64 << 10

_HEAD: Final = struct.Struct(">BB16sIQ32s")
_ANSWER: Final = struct.Struct(">BB16s")
_NOBODY: Final = bytes(KEY_SIZE)
_CONTEXT: Final = b"vcd mailbox request 1"

RequestId = NewType("RequestId", bytes)
"""16 random bytes. A question that is repeated with the same id is the same question."""

PackageId = NewType("PackageId", bytes)
"""SHA-256 of a package, 32 bytes."""


class Malformed(Exception):
    """These bytes are not what they should be."""


class UnknownVersion(Exception):
    """A version of this protocol that is not known here."""


class Failure(enum.IntEnum):
    """Why a request was not done: all there is. `detail` is the number beside it."""

    NONE = 0
    NOT_FOUND = 1  # there is no such thing, or the asker has no right to know; nobody can tell which
    BUSY = 2  # too often or too much at once; detail: milliseconds to wait
    FULL = 3  # more than the tenant's quota
    STALE = 4  # a slot has a version that is not older; detail: that version
    CLOCK = 5  # the request says it was sent at another time; detail: the mailbox's time
    ROOM = 6  # the answer does not fit what the asker takes; detail: its size
    EXPIRED = 7  # it ends too soon to keep, or too late to be meant
    EMPTY = 8  # no package is left; only said to who has a hand-out capability
    VERSION = 9  # of the request; detail: the newest that is known


class Op(enum.IntEnum):
    KEEP = 1
    RELEASE = 2
    FLOOR = 3
    DELETE = 4
    PUT = 5
    GET = 6
    DEPOSIT = 7
    WITHDRAW = 8
    TAKE = 9
    RECALL = 10
    STATUS = 11
    TOPICS = 12
    HANDOUTS = 13


class Reader:
    """Takes bytes from the front; `Malformed` when there are not enough."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def raw(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise Malformed("too short")
        part, self._at = self._data[self._at : end], end
        return part

    def number(self, size: int) -> int:
        return int.from_bytes(self.raw(size))

    def part(self, size: int, most: int) -> bytes:
        """What has its length, of `size` bytes, before it."""
        length = self.number(size)
        if length > most:
            raise Malformed("too long")
        return self.raw(length)

    def rest(self, most: int) -> bytes:
        if len(self._data) - self._at > most:
            raise Malformed("too long")
        return self.raw(len(self._data) - self._at)

    def end(self) -> None:
        if self._at != len(self._data):
            raise Malformed("something left over")


# ---------------------------------------------------------------- bodies of requests


class Body(Protocol):
    def encode(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Keep this topic for me. Tenant; the credential is a token that lets the mailbox read and write."""

    topic: TopicId
    credential: bytes = field(repr=False)

    def encode(self) -> bytes:
        return self.topic + _credential(self.credential)

    @classmethod
    def decode(cls, reader: Reader) -> Keep:
        return cls(topic=TopicId(reader.raw(32)), credential=reader.part(2, MAX_CREDENTIAL))


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """No longer for me. Tenant."""

    topic: TopicId

    def encode(self) -> bytes:
        return self.topic

    @classmethod
    def decode(cls, reader: Reader) -> Release:
        return cls(topic=TopicId(reader.raw(32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class RaiseFloor:
    """Tokens of earlier generations are void. Anybody who has the record."""

    record: bytes = field(repr=False)

    def encode(self) -> bytes:
        return self.record

    @classmethod
    def decode(cls, reader: Reader) -> RaiseFloor:
        return cls(record=reader.raw(FLOOR_SIZE))


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """Forget these frames, or all there are if none is named. Who shows DELETE. Answer: how many, 4 bytes."""

    topic: TopicId
    credential: bytes = field(repr=False)
    ids: tuple[FrameId, ...] = ()

    def encode(self) -> bytes:
        return self.topic + _credential(self.credential) + _ids(self.ids)

    @classmethod
    def decode(cls, reader: Reader) -> Delete:
        topic, credential = TopicId(reader.raw(32)), reader.part(2, MAX_CREDENTIAL)
        return cls(topic=topic, credential=credential, ids=tuple(map(FrameId, _read_ids(reader))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """Write a slot (`records.Slot`). A tenant makes it; whoever has its key may write to one that is there."""

    record: bytes = field(repr=False)

    def encode(self) -> bytes:
        return self.record

    @classmethod
    def decode(cls, reader: Reader) -> Put:
        return cls(record=reader.rest(SLOT_OVERHEAD + MAX_SLOT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Get:
    """A slot's record; an empty answer if the version `after` is still the newest."""

    name: SlotName
    after: int = 0
    credential: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        return self.name + self.after.to_bytes(8) + _credential(self.credential)

    @classmethod
    def decode(cls, reader: Reader) -> Get:
        return cls(name=SlotName(reader.raw(32)), after=reader.number(8), credential=reader.part(2, MAX_CREDENTIAL))


class Stock(enum.IntFlag):
    """For whom a package is, and whether it may be handed out more than once."""

    CONTACTS = 0
    STRANGERS = 1
    LASTING = 2  # the last resort: given when nothing else is left, and not used up by it


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    stock: Stock
    expires: Milliseconds
    data: bytes = field(repr=False)

    @property
    def id(self) -> PackageId:
        return PackageId(hashlib.sha256(self.data).digest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Deposit:
    """Hand these out for me. Tenant. Answer: one byte (`Deposited`) for each, in the same order."""

    packages: tuple[Package, ...]

    def encode(self) -> bytes:
        parts = [len(self.packages).to_bytes(2)]
        for package in self.packages:
            parts.append(struct.pack(">BQI", package.stock, package.expires, len(package.data)) + package.data)
        return b"".join(parts)

    @classmethod
    def decode(cls, reader: Reader) -> Deposit:
        packages = []
        for _ in range(_count(reader, MOST_DEPOSITS)):
            stock, expires, data = reader.number(1), reader.number(8), reader.part(4, MAX_PACKAGE)
            if stock > 3 or not data:
                raise Malformed("package")
            packages.append(Package(stock=Stock(stock), expires=Milliseconds(expires), data=data))
        return cls(packages=tuple(packages))


class Deposited(enum.IntEnum):
    TAKEN = 0
    KNOWN = 1  # it is here, or was
    EXPIRED = 2  # ends too soon to be of use, or more than a year from now
    FULL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdraw:
    """Hand these out no more, or none of all if none is named. Tenant. Answer: how many, 4 bytes."""

    ids: tuple[PackageId, ...] = ()

    def encode(self) -> bytes:
        return _ids(self.ids)

    @classmethod
    def decode(cls, reader: Reader) -> Withdraw:
        return cls(ids=tuple(map(PackageId, _read_ids(reader))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """One package of this tenant, please. With a hand-out capability, or as a stranger without."""

    tenant: bytes
    grant: bytes = field(default=b"", repr=False)

    def encode(self) -> bytes:
        return self.tenant + self.grant

    @classmethod
    def decode(cls, reader: Reader) -> Take:
        tenant, grant = reader.raw(KEY_SIZE), reader.rest(GRANT_SIZE)
        if len(grant) not in (0, GRANT_SIZE):
            raise Malformed("hand-out capability")
        return cls(tenant=tenant, grant=grant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recall:
    """Hand-out capabilities of earlier generations are void. Tenant."""

    generation: int

    def encode(self) -> bytes:
        return self.generation.to_bytes(4)

    @classmethod
    def decode(cls, reader: Reader) -> Recall:
        return cls(generation=reader.number(4))


@dataclass(frozen=True, slots=True, kw_only=True)
class AskStatus:
    """How much of what is here for me. Tenant. Answer: `Status`."""

    def encode(self) -> bytes:
        return b""

    @classmethod
    def decode(cls, _reader: Reader) -> AskStatus:
        return cls()


@dataclass(frozen=True, slots=True, kw_only=True)
class AskTopics:
    """My topics in the order of their names, after this one; as many as there is room for. Tenant."""

    after: TopicId

    def encode(self) -> bytes:
        return self.after

    @classmethod
    def decode(cls, reader: Reader) -> AskTopics:
        return cls(after=TopicId(reader.raw(32)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AskHandouts:
    """Who was given what, in order, after this number; as many as there is room for. Tenant."""

    after: int = 0

    def encode(self) -> bytes:
        return self.after.to_bytes(8)

    @classmethod
    def decode(cls, reader: Reader) -> AskHandouts:
        return cls(after=reader.number(8))


_BODIES: Final[Mapping[Op, tuple[type[Body], Callable[[Reader], Body]]]] = {
    Op.KEEP: (Keep, Keep.decode),
    Op.RELEASE: (Release, Release.decode),
    Op.FLOOR: (RaiseFloor, RaiseFloor.decode),
    Op.DELETE: (Delete, Delete.decode),
    Op.PUT: (Put, Put.decode),
    Op.GET: (Get, Get.decode),
    Op.DEPOSIT: (Deposit, Deposit.decode),
    Op.WITHDRAW: (Withdraw, Withdraw.decode),
    Op.TAKE: (Take, Take.decode),
    Op.RECALL: (Recall, Recall.decode),
    Op.STATUS: (AskStatus, AskStatus.decode),
    Op.TOPICS: (AskTopics, AskTopics.decode),
    Op.HANDOUTS: (AskHandouts, AskHandouts.decode),
}
_OPS: Final = {kind: op for op, (kind, _) in _BODIES.items()}


def _credential(credential: bytes) -> bytes:
    return len(credential).to_bytes(2) + credential


def _ids(ids: tuple[bytes, ...]) -> bytes:
    return len(ids).to_bytes(2) + b"".join(ids)


def _count(reader: Reader, most: int) -> int:
    count = reader.number(2)
    if count > most:
        raise Malformed("too many")
    return count


def _read_ids(reader: Reader) -> list[bytes]:
    return [reader.raw(32) for _ in range(_count(reader, MOST_IDS))]


# ---------------------------------------------------------------- requests


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request whose signature, if it has a signer, is good."""

    id: RequestId
    body: Body
    sent: Milliseconds
    room: int = MAX_ASK
    tenant: bytes | None = None


def encode_request(request: Request, asker: PeerId, mailbox: PeerId, key: Sealing | None = None) -> bytes:
    """The request, signed if there is a key; its own `tenant` is not looked at."""
    head = _HEAD.pack(
        VERSION, _OPS[type(request.body)], request.id, request.room, request.sent, key.public if key else _NOBODY
    )
    whole = head + request.body.encode()
    return whole + key.sign(_CONTEXT + whole + peer_hash(asker) + peer_hash(mailbox)) if key else whole


def decode_request(data: bytes, asker: PeerId, mailbox: PeerId) -> Request:
    """`Malformed` or `UnknownVersion`; a signature that is wrong is malformed: nobody signs wrongly by accident."""
    if data[:1] != bytes([VERSION]):
        raise UnknownVersion if data else Malformed("empty")
    if len(data) < _HEAD.size:
        raise Malformed("too short")
    _, number, request_id, room, sent, signer = _HEAD.unpack_from(data)
    end = len(data) if signer == _NOBODY else len(data) - SIGNATURE_SIZE
    if number not in _BODIES or end < _HEAD.size or room > MAX_ASK or room < _ANSWER.size + 8:
        raise Malformed("head")
    if signer != _NOBODY:
        message = _CONTEXT + data[:end] + peer_hash(asker) + peer_hash(mailbox)
        if not verifies(signer, message, data[end:]):
            raise Malformed("signature")
    reader = Reader(data[_HEAD.size : end])
    body = _BODIES[Op(number)][1](reader)
    reader.end()
    return Request(
        id=RequestId(request_id),
        body=body,
        sent=Milliseconds(sent),
        room=room,
        tenant=None if signer == _NOBODY else signer,
    )


# ---------------------------------------------------------------- answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of it: a body, or a failure and its number."""

    body: bytes = field(default=b"", repr=False)
    failure: Failure = Failure.NONE
    detail: int = 0

    def encode(self, request_id: bytes, room: int = MAX_ASK) -> bytes:
        head = _ANSWER.pack(VERSION, self.failure, request_id)
        if self.failure:
            return head + self.detail.to_bytes(8)
        size = len(head) + len(self.body)
        if size > room:
            return Answer(failure=Failure.ROOM, detail=size).encode(request_id)
        return head + self.body


ANSWER_OVERHEAD: Final = _ANSWER.size


def decode_answer(data: bytes, request_id: RequestId) -> Answer:
    """`Malformed` if it is none, or the answer to something else."""
    reader = Reader(data)
    version, number, echoed = reader.number(1), reader.number(1), reader.raw(16)
    if version != VERSION or number > max(Failure):
        raise Malformed("version or failure")
    failure = Failure(number)
    if echoed != request_id and not (failure is Failure.VERSION and echoed == bytes(16)):
        raise Malformed("the answer to something else")
    if failure is Failure.NONE:
        return Answer(body=reader.rest(MAX_ASK))
    detail = reader.number(8)
    reader.end()
    return Answer(failure=failure, detail=detail)


R = TypeVar("R", "Status", "TopicRow", "HandoutRow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What is kept for a tenant, and what may be."""

    bytes: int
    frames: int
    gone: int  # deleted or outlived, and not yet expired
    declined: int  # for want of room; they come when there is some
    topics: int
    slots: int
    slot_bytes: int
    for_contacts: int
    for_strangers: int
    lasting: int
    first_end: int  # when the first waiting package expires; 0 if none waits
    handed_out: int
    may_bytes: int
    may_frames: int
    may_topics: int
    may_retention: int
    may_slots: int
    may_slot_bytes: int
    may_packages: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicRow:
    topic: TopicId
    expires: int  # of the token
    pays: int  # 1 if this tenant pays for it
    bytes: int
    frames: int
    gone: int
    declined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HandoutRow:
    number: int
    at: int
    package: PackageId
    holder: bytes  # SHA-256 of the peer id


_LAYOUTS: Final = {
    Status: struct.Struct(">19Q"),
    TopicRow: struct.Struct(">32s6Q"),
    HandoutRow: struct.Struct(">QQ32s32s"),
}


def row_size(kind: type[Status | TopicRow | HandoutRow]) -> int:
    return _LAYOUTS[kind].size


def encode_row(row: Status | TopicRow | HandoutRow) -> bytes:
    return _LAYOUTS[type(row)].pack(*(getattr(row, part.name) for part in fields(row)))


def decode_rows(kind: type[R], data: bytes) -> list[R]:
    """As many as there are; `Malformed` if the last one is not whole."""
    layout = _LAYOUTS[kind]
    if len(data) % layout.size:
        raise Malformed("rows")
    names = [part.name for part in fields(kind)]
    return [kind(**dict(zip(names, row, strict=True))) for row in layout.iter_unpack(data)]
