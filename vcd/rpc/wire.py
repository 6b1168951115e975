"""Bytes to messages and back: plain msgpack-rpc as its specification of 2013 has it, and nothing beyond.

    [0, msgid, method, params]      a call
    [1, msgid, error, result]       its answer
    [2, method, params]             a notification

msgpack has no frames, so a `Framer` finds where each message ends without building anything of it: a few bytes can
claim to be a very long array, and a message of four megabytes can be four million empty ones. What is inside is then
read by the types of the function that it calls, whose lists and texts are bounded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import msgpack
import msgspec

LIMIT = 4 * 1024 * 1024
"""Bytes of one message, either way."""

CALL, ANSWER, NOTIFICATION = 0, 1, 2


class Broken(Exception):
    """What came is no msgpack-rpc. Where the next message would begin is not known any more."""


class TooLong(Exception):
    """A message is longer than one may be."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call, or with no msgid a notification. What it is given is still bytes."""

    msgid: int | None
    method: str
    params: msgspec.Raw


class Framer:
    """Cuts a stream of bytes into messages."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        # What is looked at last may be a whole message and the beginning of the next: hence twice.
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=2 * limit)
        self._kept = bytearray()
        self._cut = 0
        """How much of the stream is before `_kept`."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The messages that are complete with this. Raises after those that came before what is wrong."""
        for at in range(0, len(data), self._limit):
            yield from self._feed(data[at : at + self._limit])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        self._unpacker.feed(data)
        self._kept += data
        begin = 0
        try:
            while begin < len(self._kept):
                try:
                    self._unpacker.skip()
                except msgpack.OutOfData:
                    if len(self._kept) - begin > self._limit:
                        raise TooLong from None
                    return
                except (msgpack.UnpackException, ValueError) as error:
                    raise Broken(type(error).__name__) from None
                end = self._unpacker.tell() - self._cut
                if end - begin > self._limit:
                    raise TooLong
                message = bytes(self._kept[begin:end])
                begin = end
                yield message
        finally:
            del self._kept[:begin]
            self._cut += begin


_Parts = Annotated[list[msgspec.Raw], msgspec.Meta(min_length=3, max_length=4)]
_MsgId = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
_NAME = 64
"""Bytes of the longest name."""
_parts = msgspec.msgpack.Decoder(_Parts)
_kind = msgspec.msgpack.Decoder(int)
_msgid = msgspec.msgpack.Decoder(_MsgId)
_any = msgspec.msgpack.Decoder()
_encoder = msgspec.msgpack.Encoder()


def _method(raw: msgspec.Raw) -> str:
    """A name. The specification knows no difference between text and bytes, and some clients send these."""
    if len(raw) > _NAME + 5:
        raise Broken("a name is too long")
    name = _any.decode(raw)
    if isinstance(name, bytes):
        name = name.decode()
    if not isinstance(name, str):
        raise Broken("a function is named by text")
    return name


def read(message: bytes) -> Incoming:
    """A message of a client."""
    try:
        parts = _parts.decode(message)
        kind = _kind.decode(parts[0])
        if kind == CALL and len(parts) == 4:
            return Incoming(_msgid.decode(parts[1]), _method(parts[2]), parts[3])
        if kind == NOTIFICATION and len(parts) == 3:
            return Incoming(None, _method(parts[1]), parts[2])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Broken("no message of msgpack-rpc") from None
    raise Broken("neither a call nor a notification")


def answer(msgid: int, result: Any) -> bytes:
    return _encoder.encode((ANSWER, msgid, None, result))


def failed(msgid: int, error: Any) -> bytes:
    return _encoder.encode((ANSWER, msgid, error, None))


def notification(method: str, data: Any) -> bytes:
    return _encoder.encode((NOTIFICATION, method, (data,)))


# ---------------------------------------------------------------- events, which go to many


def event_body(seq: int, log_id: bytes, type_: str, at: int, chat: bytes | None, data: Any) -> bytes:
    """The fields of an event as they are for everybody: a map of six without its first byte."""
    return _encoder.encode(
        {"seq": seq, "log_id": log_id, "type": type_, "at": at, "chat": chat, "data": data},
    )[1:]


def event(sub: int, body: bytes) -> bytes:
    """The notification of an event to one subscription."""
    return _EVENT + _encoder.encode(sub) + body


def entry(body: bytes) -> msgspec.Raw:
    """The same as a part of a page."""
    return msgspec.Raw(b"\x86" + body)


_EVENT = b"\x93\x02" + _encoder.encode("event") + b"\x91\x87" + _encoder.encode("sub")
"""`[2, "event", [{"sub": ...` with six fields to follow."""
