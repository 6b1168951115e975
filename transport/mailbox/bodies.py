"""What can be asked of a mailbox: the operations, and the layout of each one's body.

A body is one dataclass with its layout in its codec. Numbers are big-endian; lists and credentials have their
length before them, within limits that keep every request below `MAX_ASK`. What is left over or missing makes the
whole malformed, and whatever decodes encodes to the same bytes again.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NewType, Protocol

from transport.access import FLOOR_SIZE, MAX_CREDENTIAL
from transport.base import FrameId, Milliseconds, TopicId
from transport.mailbox.records import GRANT_SIZE, MAX_SLOT, SLOT_OVERHEAD, SlotName
from transport.signing import KEY_SIZE

MOST_IDS: Final = 4096
MOST_DEPOSITS: Final = 256
MAX_PACKAGE: Final = 64 << 10

PackageId = NewType("PackageId", bytes)
"""SHA-256 of a package, 32 bytes."""


class Malformed(Exception):
    """These bytes are not what they should be."""


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


BODIES: Final[Mapping[Op, tuple[type[Body], Callable[[Reader], Body]]]] = {
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
OPS: Final = {kind: op for op, (kind, _) in BODIES.items()}


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
