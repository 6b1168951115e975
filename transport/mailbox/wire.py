"""Requests and answers of `/vcd/mailbox/1` as bytes: strict, bounded, closed.

    request     version 1 · operation 1 · id 16 · room 4 · sent 8 · signer 32 · body · signature 64 if there is a signer
    answer      version 1 · failure 1 · id 16 · body, or detail 8 if it failed

Numbers are big-endian. `room` is the largest answer that the asker takes, so nobody is sent more than it asked
for. `sent` is the asker's clock in milliseconds. A tenant signs, behind the context "vcd mailbox request 1",
everything before the signature and then the hashes of two peer ids: its own and the mailbox's. So a request
means nothing from another peer or at another mailbox, and nothing some time later. All zeros is nobody.

Bodies are in `transport.mailbox.bodies`. What is left over or missing makes the whole malformed, and whatever
decodes encodes to the same bytes again.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, field, fields
from typing import Final, NewType, TypeVar

from transport.access import peer_hash
from transport.base import MAX_ASK, Milliseconds, PeerId, Sealing, TopicId
from transport.mailbox.bodies import BODIES, OPS, Body, Malformed, Op, PackageId, Reader
from transport.signing import KEY_SIZE, SIGNATURE_SIZE, verifies

PROTOCOL: Final = "/vcd/mailbox/1"
VERSION: Final = 1

_HEAD: Final = struct.Struct(">BB16sIQ32s")
_ANSWER: Final = struct.Struct(">BB16s")
_NOBODY: Final = bytes(KEY_SIZE)
_CONTEXT: Final = b"vcd mailbox request 1"

RequestId = NewType("RequestId", bytes)
"""16 random bytes. A question that is repeated with the same id is the same question."""


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
        VERSION, OPS[type(request.body)], request.id, request.room, request.sent, key.public if key else _NOBODY
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
    if number not in BODIES or end < _HEAD.size or room > MAX_ASK or room < _ANSWER.size + 8:
        raise Malformed("head")
    if signer != _NOBODY:
        message = _CONTEXT + data[:end] + peer_hash(asker) + peer_hash(mailbox)
        if not verifies(signer, message, data[end:]):
            raise Malformed("signature")
    reader = Reader(data[_HEAD.size : end])
    body = BODIES[Op(number)][1](reader)
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
    file: int  # another number: what was left before is gone
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
    Status: struct.Struct(">20Q"),
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
