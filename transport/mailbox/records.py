"""What is signed once and shown many times: hand-out capabilities, and the values of slots.

    hand-out capability, 165 bytes; the tenant signs behind "vcd hand-out 1"
        version 1    1
        tenant      32    public key
        serial      16    random; what it allowed so far is counted under it
        holder      32    SHA-256 of a peer id, or zeros: whoever has it
        count        4    packages in all, at each mailbox
        interval     4    seconds from one package to the next, at least
        expires      8    milliseconds
        generation   4    void once the tenant recalls it
        signature   64

    slot, 145 bytes and its data; the slot's key signs behind "vcd slot 1"
        version 1    1
        slot key    32    SHA-256 of it is the slot's name
        topic       32    who may READ in this topic may read the slot; zeros: whoever knows its name
        number       8    of this version; only a higher one replaces it
        expires      8    milliseconds
        signature   64    over the fields before it, then the data
        data              sealed; empty: the slot is cleared, and its number stays

Numbers are big-endian and below 2^63, because a database has to hold them.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Final, NewType

from transport.access import ANYBODY, peer_hash
from transport.base import Milliseconds, PeerId, Sealing, TopicId
from transport.signing import SIGNATURE_SIZE, verifies

SlotName = NewType("SlotName", bytes)
"""SHA-256 of a slot's public key, 32 bytes."""

VERSION: Final = 1
OPEN: Final = TopicId(bytes(32))
"""In place of a topic: whoever knows the slot's name may read it."""

MAX_SLOT: Final = 768 << 10
"""Bytes of a slot's data. With its record and an answer around it, it fits `MAX_ASK`."""

_HIGHEST: Final = 1 << 63
_GRANT: Final = struct.Struct(">B32s16s32sIIQI")
_SLOT: Final = struct.Struct(">B32s32sQQ")
_GRANT_CONTEXT: Final = b"vcd hand-out 1"
_SLOT_CONTEXT: Final = b"vcd slot 1"

GRANT_SIZE: Final = _GRANT.size + SIGNATURE_SIZE
SLOT_OVERHEAD: Final = _SLOT.size + SIGNATURE_SIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A hand-out capability whose signature is good."""

    tenant: bytes
    serial: bytes
    holder: bytes
    count: int
    interval: int
    expires: Milliseconds
    generation: int

    def held_by(self, peer: PeerId) -> bool:
        return self.holder in (ANYBODY, peer_hash(peer))


def grant(
    key: Sealing,
    serial: bytes,
    *,
    holder: PeerId | None,
    count: int,
    interval: int,
    expires: Milliseconds,
    generation: int = 0,
) -> bytes:
    """A hand-out capability, signed by the tenant; `serial` is 16 bytes that were never used before."""
    if len(serial) != 16:
        raise ValueError("a serial has 16 bytes")
    fields = _GRANT.pack(
        VERSION,
        key.public,
        serial,
        ANYBODY if holder is None else peer_hash(holder),
        count,
        interval,
        expires,
        generation,
    )
    return fields + key.sign(_GRANT_CONTEXT + fields)


def open_grant(record: bytes) -> Grant | None:
    """None if it is not one, or was changed."""
    if len(record) != GRANT_SIZE or record[0] != VERSION:
        return None
    _, tenant, serial, holder, count, interval, expires, generation = _GRANT.unpack_from(record)
    if expires >= _HIGHEST:
        return None
    if not verifies(tenant, _GRANT_CONTEXT + record[: _GRANT.size], record[_GRANT.size :]):
        return None
    return Grant(
        tenant=tenant,
        serial=serial,
        holder=holder,
        count=count,
        interval=interval,
        expires=Milliseconds(expires),
        generation=generation,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One version of a slot whose signature is good."""

    name: SlotName
    topic: TopicId
    number: int
    expires: Milliseconds
    data: bytes = field(repr=False)
    record: bytes = field(repr=False)


def slot_name(public: bytes) -> SlotName:
    return SlotName(hashlib.sha256(public).digest())


def seal_slot(key: Sealing, data: bytes, *, number: int, expires: Milliseconds, topic: TopicId = OPEN) -> bytes:
    """A version of the slot of this key. `ValueError` if nobody would take it."""
    fields = _SLOT.pack(VERSION, key.public, topic, number, expires)
    if len(data) > MAX_SLOT or max(number, expires) >= _HIGHEST:
        raise ValueError(f"a slot holds at most {MAX_SLOT} bytes, and numbers below 2^63")
    return fields + key.sign(_SLOT_CONTEXT + fields + data) + data


def open_slot(record: bytes) -> Slot | None:
    """None if it is not one, or was changed."""
    if not SLOT_OVERHEAD <= len(record) <= SLOT_OVERHEAD + MAX_SLOT or record[0] != VERSION:
        return None
    _, public, topic, number, expires = _SLOT.unpack_from(record)
    data = record[SLOT_OVERHEAD:]
    if max(number, expires) >= _HIGHEST:
        return None
    if not verifies(public, _SLOT_CONTEXT + record[: _SLOT.size] + data, record[_SLOT.size : SLOT_OVERHEAD]):
        return None
    return Slot(
        name=slot_name(public),
        topic=TopicId(topic),
        number=number,
        expires=Milliseconds(expires),
        data=data,
        record=record,
    )
