"""The envelope that travels, is stored and is reconciled: a head that anybody can check, then the payload.

    head, 141 bytes
        version     1    1
        write key  32    the topic's public key
        expires     8    milliseconds since 1970
        size        4    bytes of payload
        digest     32    SHA-256 of the payload
        signature  64    Ed25519 by the write key over "vcd frame 1" and all of the above
    payload, `size` bytes

All numbers are big-endian. The topic's name is SHA-256 of the write key, and the frame's id is SHA-256 of its
head. The head is enough to judge a frame: that it belongs to a topic kept here, that a member of that topic
wrote it, how large it is, and until when it matters. So a large frame is announced by its head and not fetched
if it would be refused, and a relay or mailbox drops what strangers send without reading, or even receiving, a
payload. The signature names no author: all members of the topic hold the same key, and it is theirs to keep it
among themselves. Whoever holds the key can sign one payload in many heads; the layer above removes such doubles.

`parse` takes a head apart and checks what costs nothing; `check` adds the signature. Only `open_frame`, which
does both and compares the payload, and `seal` make a `Frame` from bytes that came from outside.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field
from typing import Final

from transport.base import MAX_LIFE, MAX_PAYLOAD, Frame, FrameId, Milliseconds, Reason, Refused, Sealing, Topic, TopicId
from transport.signing import SIGNATURE_SIZE, SigningKey, verifies

VERSION: Final = 1
_SIGNED = struct.Struct(">B32sQI32s")
HEAD_SIZE: Final = _SIGNED.size + SIGNATURE_SIZE
_CONTEXT: Final = b"vcd frame 1"

WriteKey = SigningKey
"""A topic's private write key; derived by the members from their group's secrets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head taken apart. Its signature may not have been checked yet."""

    id: FrameId
    topic: TopicId
    write_key: bytes = field(repr=False)
    expires: Milliseconds
    size: int
    digest: bytes = field(repr=False)
    encoded: bytes = field(repr=False)


def topic_id(write_key: bytes) -> TopicId:
    """The name of the topic that a public write key makes."""
    return TopicId(hashlib.sha256(write_key).digest())


def member_topic(key: Sealing) -> Topic:
    """The topic as its members join it."""
    return Topic(id=topic_id(key.public), key=key)


def seal(key: Sealing, payload: bytes, expires: Milliseconds) -> Frame:
    """The same key, payload and expiry always give the same frame, so repeating this after a crash is harmless."""
    if len(payload) > MAX_PAYLOAD:
        raise Refused(Reason.SIZE, f"{len(payload)} bytes, at most {MAX_PAYLOAD}")
    digest = hashlib.sha256(payload).digest()
    signed = _SIGNED.pack(VERSION, key.public, expires, len(payload), digest)
    head = signed + key.sign(_CONTEXT + signed)
    return Frame(
        id=FrameId(hashlib.sha256(head).digest()),
        topic=topic_id(key.public),
        expires=expires,
        head=head,
        payload=payload,
    )


def parse(head: bytes) -> Head:
    """Take a head apart; `Refused` if it has not the shape of one."""
    if not head:
        raise Refused(Reason.MALFORMED, "empty")
    if head[0] != VERSION:
        raise Refused(Reason.VERSION, str(head[0]))
    if len(head) != HEAD_SIZE:
        raise Refused(Reason.MALFORMED, "length of a head")
    _, write_key, expires, size, digest = _SIGNED.unpack_from(head)
    if size > MAX_PAYLOAD:
        raise Refused(Reason.SIZE, f"{size} bytes, at most {MAX_PAYLOAD}")
    return Head(
        id=FrameId(hashlib.sha256(head).digest()),
        topic=topic_id(write_key),
        write_key=write_key,
        expires=Milliseconds(expires),
        size=size,
        digest=digest,
        encoded=head,
    )


def check_life(expires: Milliseconds, now: Milliseconds) -> None:
    """`Refused` if a frame with this expiry is past, or would have to be kept for too long."""
    if expires <= now:
        raise Refused(Reason.EXPIRED)
    if expires > now + MAX_LIFE:
        raise Refused(Reason.TOO_LONG)


def check(head: Head) -> None:
    """`Refused` unless the topic's write key signed this."""
    if not verifies(head.write_key, _CONTEXT + head.encoded[: _SIGNED.size], head.encoded[_SIGNED.size :]):
        raise Refused(Reason.FORGED)


def join_payload(head: Head, payload: bytes) -> Frame:
    """The frame of a checked head, if this is its payload."""
    if len(payload) != head.size or hashlib.sha256(payload).digest() != head.digest:
        raise Refused(Reason.FORGED, "not the payload that was signed")
    return Frame(id=head.id, topic=head.topic, expires=head.expires, head=head.encoded, payload=payload)


def split(encoded: bytes) -> tuple[Head, bytes]:
    """A frame's head, not yet checked, and what follows it."""
    return parse(encoded[:HEAD_SIZE]), encoded[HEAD_SIZE:]


def open_frame(encoded: bytes) -> Frame:
    """Everything about a frame except its time: shape, signature, payload."""
    head, payload = split(encoded)
    if len(payload) != head.size:
        raise Refused(Reason.MALFORMED, "length of a payload")
    check(head)
    return join_payload(head, payload)
