"""What a device keeps of what is said in conversations: values only. `contents` and `outbox` change them."""

from __future__ import annotations

import enum
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from vcd.core import record
from vcd.core.names import AccountId, ContentId, DeviceId, EpochId, GroupId
from vcd.core.packed import MOST, Packed
from vcd.core.payloads import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A message that was taken."""

    sender: AccountId
    said_at: int
    """By its author."""
    until: int
    """When it may be forgotten."""
    nonce: bytes = b""
    """What the app called it, if this device said it."""
    read: bytes = record.since(4, b"")
    """How the digest begins of what it was read in last (`MARK`): if that comes again, we have it. Ours have none."""


MARK = 8
"""Bytes of a digest that are kept: enough that no two of a conversation begin alike."""
_TIMES = struct.Struct(">QQBB")


class _Marks(Packed[bytes, bool]):
    """A set."""

    __slots__ = ()

    @staticmethod
    def pack(value: bool) -> bytes:
        del value
        return b""

    @staticmethod
    def unpack(data: bytes) -> bool:
        return not data


class Remembered(Packed[ContentId, Seen]):
    """Messages that were taken, by their ids; and whether there is one that was read in some sealed bytes."""

    __slots__ = ("_read",)

    def __init__(self, entries: Mapping[ContentId, Seen] | None = None) -> None:
        super().__init__(entries)
        self._read = _Marks({each.read: True for each in (entries or {}).values() if each.read})

    def was_read(self, mark: bytes) -> bool:
        return mark in self._read

    def set(self, key: ContentId, value: Seen) -> Self:
        return self._marked(super().set(key, value), self.find(key), value)

    def discard(self, key: ContentId) -> Self:
        return self._marked(super().discard(key), self.find(key), None)

    def _marked(self, made: Self, before: Seen | None, after: Seen | None) -> Self:
        read = self._read
        if before is not None and before.read:
            read = read.discard(before.read)
        if after is not None and after.read:
            read = read.set(after.read, True)
        made._read = read
        return made

    @staticmethod
    def pack(value: Seen) -> bytes:
        sizes = len(value.sender), len(value.read)
        if max(sizes) > MOST:  # what comes from a disk or a sibling may be anything
            raise ValueError("too large to be packed")
        return _TIMES.pack(value.said_at, value.until, *sizes) + value.sender + value.read + value.nonce

    @staticmethod
    def unpack(data: bytes) -> Seen:
        said_at, until, sender, read = _TIMES.unpack_from(data)
        middle = _TIMES.size + sender
        end = middle + read
        whose = AccountId(data[_TIMES.size : middle])
        return Seen(sender=whose, said_at=said_at, until=until, read=data[middle:end], nonce=data[end:])


class Names(Packed[bytes, ContentId]):
    """Which message something else is a name of."""

    __slots__ = ()

    @staticmethod
    def pack(value: ContentId) -> bytes:
        return value

    @staticmethod
    def unpack(data: bytes) -> ContentId:
        return ContentId(data)


class Times(Packed[ContentId, int]):
    """When messages were said."""

    __slots__ = ()

    @staticmethod
    def pack(value: int) -> bytes:
        return value.to_bytes(8)

    @staticmethod
    def unpack(data: bytes) -> int:
        return int.from_bytes(data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A message on its way to the app."""

    sender: AccountId
    ours: bool
    device: DeviceId | None
    content: Content
    since: int


class Stage(enum.Enum):
    """How far a message of ours is."""

    QUEUED = 1  # it could not be said yet
    SAID = 2  # it is on a branch that is not decided for good
    ASKS = 3  # the user has to say whether those who are new may read it
    CONFIRMED = 4  # it is on a branch that is final; kept for those who get it too late


class Why(enum.Enum):
    """Why it is to be said again."""

    LOST = 1  # it is on no branch that counts
    COLLIDED = 2  # another device of ours took the same key
    MISSED = 3  # somebody got it when the keys were gone


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where it was said."""

    epoch: EpochId
    digest: bytes = b""
    """Of the sealed message; empty if another device said it."""
    claim: bytes = b""
    """The name of the generation that it took."""
    without: tuple[AccountId, ...] = field(default=(), repr=False)
    """Who was not there and was when it was written: to them it was not said here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """Something that our account said, and that may have to be said again."""

    conversation: GroupId
    content: Content
    device: DeviceId | None
    """Which said it first. None: it is not known, and nobody says it again."""
    since: int
    """When it was said, or heard here."""
    awake: int
    """The same, in milliseconds that this device was awake and connected."""
    stage: Stage = Stage.QUEUED
    places: tuple[Place, ...] = ()
    """The newest last."""
    repeat: EpochId | None = record.since(2, None)
    """Where it was said for those who could not read it elsewhere, until that is on a branch that is final."""
    why: Why | None = None
    again_at: int = 0
    tries: int = 0
    """How often it has met a message of another device of ours."""
    left: tuple[AccountId, ...] = field(default=(), repr=False)
    """Who was there when it was written and not any more when it was said first: it was never said to them."""
    asked: tuple[AccountId, ...] = field(default=(), repr=False)
    """Who would be new, as the user was asked; of what is confirmed also after a no."""
    consent: tuple[AccountId, ...] = field(default=(), repr=False)
    """Of whom the user has said yes."""

    @property
    def order(self) -> tuple[int, bytes]:
        """Messages are said again in the order that they were said in."""
        return (self.content.said_at, self.content.nonce)
