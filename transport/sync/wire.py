"""The messages of `/vcd/sync/1`: one byte of type, then its fields, big-endian; one way only to write each message.

    1 HELLO    version 1, mode 1, topic 32, low 8, high 8, salt 16, credential
    2 WELCOME  flags 1 (1: you may write), low 8, high 8, credential
    3 REFUSED  why 1
    4 COMPARE  items 2, then each: kind 1 (1 claim, 2 ask; +16: it begins where the one before ended),
               [low border], high border, claims also: count 4, fingerprint 16
    5 ANSWER   answers 2, then each: kind 1 (1 same, 2 keys, 3 piece of a list, 4 split)
               keys:   keys
               piece:  keys, high border, left 4
               split:  parts 1, then each: [border before it, but the first], count 4, fingerprint 16
    6 PULL     wait 4 (milliseconds), ids 2, then each 32
    7 NEXT
    8 PAGE     entries, each: kind 1 (0 absent; 1 frame: head 141, payload; 2 large: head 141, last of its page)
    9 PIECE    64 KiB of a large frame's payload, the last one less
    10 OFFER   keys
    11 TAKEN   frames 4
    12 END     received 4, sent 4
    keys       number 2, then each: bytes shared with the one before 1, the others
    border     bytes shared with the border before it in the message 1, others 1, the others
    credential length 2, bytes

The version stands in the opening alone; what follows is in the version that both then speak. Everything is bounded
by the size of a message (`ranges.MESSAGE`, `PAGE` and `PIECE` for those two), and by the limits below. Anything
else is `Refused`: as malformed, or as an unknown version.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from transport.base import Frame, FrameId, Milliseconds, Reason, Refused, TopicId
from transport.frames import HEAD_SIZE, Head, parse
from transport.network import MAX_WRITE
from transport.sync.credentials import MAX_CREDENTIAL
from transport.sync.index import FINGERPRINT_SIZE, KEY_SIZE, TOP, Border, Key
from transport.sync.ranges import MESSAGE, MOST_ITEMS, WAYS, Answer, Ask, Claim, Item, Keys, Part, Same, Split

PROTOCOL: Final = "/vcd/sync/1"
VERSION: Final = 1
SALT_SIZE: Final = 16
MOST_IDS: Final = 512
"""Of one PULL or OFFER."""
PAGE: Final = 192 << 10
"""Bytes of one PAGE. It fits the window that yamux gives a reader, so writing it never has to wait for one."""
LARGE: Final = 128 << 10
"""A payload larger than this travels in pieces."""
LONGEST_WAIT: Final = 60_000
LIMIT: Final = PAGE
"""Bytes of the largest message of all."""
_ID_SIZE: Final = 32
_CONTINUED: Final = 16


class Kind(enum.IntEnum):
    HELLO = 1
    WELCOME = 2
    REFUSED = 3
    COMPARE = 4
    ANSWER = 5
    PULL = 6
    NEXT = 7
    PAGE = 8
    PIECE = 9
    OFFER = 10
    TAKEN = 11
    END = 12


class Mode(enum.IntEnum):
    """What a session is for."""

    RECONCILE = 1
    FETCH = 2  # frames known by their heads: only pulling


class Why(enum.IntEnum):
    """Why a session is refused. A topic that is not kept looks like one that may not be read."""

    NOT_ALLOWED = 1
    BUSY = 2
    VERSION = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    mode: Mode
    topic: TopicId
    low: Milliseconds  # only frames that expire at `low` or later, and before `high`, are compared
    high: Milliseconds
    salt: bytes
    credential: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    """Never a wider range of expiry than the opening's."""

    may_write: bool
    low: Milliseconds
    high: Milliseconds
    credential: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class No:
    why: Why


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """Hand over these frames, in this order, a page at a time; wait (milliseconds) for what is about to arrive."""

    ids: tuple[FrameId, ...]
    wait: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Next:
    """The next page of what was pulled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """This frame is not here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Small:
    head: Head
    payload: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """Its payload follows the page, in pieces."""

    head: Head


Entry = Absent | Small | Large


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """Frames that you lack: pull what you want of them, then say TAKEN."""

    keys: tuple[Key, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """All is done: frames that this side received, and that it sent."""

    received: int
    sent: int


Message = Hello | Welcome | No | Compare | Compared | Pull | Next | Page | Piece | Offer | Taken | End


# ---------------------------------------------------------------- writing


def encode(message: Message) -> bytes:
    match message:
        case Hello():
            fixed = struct.pack(">BBB32sQQ16s", Kind.HELLO, VERSION, message.mode, message.topic, message.low,
                                message.high, message.salt)  # fmt: skip
            return fixed + _credential(message.credential)
        case Welcome():
            fixed = struct.pack(">BBQQ", Kind.WELCOME, message.may_write, message.low, message.high)
            return fixed + _credential(message.credential)
        case No():
            return bytes((Kind.REFUSED, message.why))
        case Compare():
            return _compare(message.items)
        case Compared():
            return _answers(message.answers)
        case Pull():
            return struct.pack(">BIH", Kind.PULL, message.wait, len(message.ids)) + b"".join(message.ids)
        case Next():
            return bytes((Kind.NEXT,))
        case Page():
            return bytes((Kind.PAGE,)) + b"".join(_entry(entry) for entry in message.entries)
        case Piece():
            return bytes((Kind.PIECE,)) + message.data
        case Offer():
            return bytes((Kind.OFFER,)) + _keys(message.keys)
        case Taken():
            return struct.pack(">BI", Kind.TAKEN, message.frames)
        case End():
            return struct.pack(">BII", Kind.END, message.received, message.sent)


def entry_of(frame: Frame) -> Entry:
    """How a frame stands in a page."""
    head = parse(frame.head)
    return Large(head=head) if len(frame.payload) > LARGE else Small(head=head, payload=frame.payload)


def entry_size(entry: Entry) -> int:
    match entry:
        case Absent():
            return 1
        case Small():
            return 1 + HEAD_SIZE + entry.head.size
        case Large():
            return 1 + HEAD_SIZE


def _entry(entry: Entry) -> bytes:
    match entry:
        case Absent():
            return b"\0"
        case Small():
            return b"\1" + entry.head.encoded + entry.payload
        case Large():
            return b"\2" + entry.head.encoded


def _credential(credential: bytes) -> bytes:
    return len(credential).to_bytes(2) + credential


def _shared(one: bytes, other: bytes) -> int:
    for place, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return place
    return min(len(one), len(other))


def _border(border: Border, before: Border) -> bytes:
    shared = _shared(border, before)
    return bytes((shared, len(border) - shared)) + border[shared:]


def _keys(keys: Sequence[Key]) -> bytes:
    written = bytearray(len(keys).to_bytes(2))
    before = b""
    for one in keys:
        shared = _shared(one, before)
        written.append(shared)
        written += one[shared:]
        before = one
    return bytes(written)


def _compare(items: Sequence[Item]) -> bytes:
    written = bytearray((Kind.COMPARE,)) + len(items).to_bytes(2)
    before = b""
    for item in items:
        continued = item.low == before
        written.append((1 if isinstance(item, Claim) else 2) + (_CONTINUED if continued else 0))
        if not continued:
            written += _border(item.low, before)
        written += _border(item.high, item.low)
        if isinstance(item, Claim):
            written += item.count.to_bytes(4) + item.fingerprint
        before = item.high
    return bytes(written)


def _answers(answers: Sequence[Answer]) -> bytes:
    written = bytearray((Kind.ANSWER,)) + len(answers).to_bytes(2)
    for said in answers:
        match said:
            case Same():
                written.append(1)
            case Keys():
                written.append(2 if said.high is None else 3)
                written += _keys(said.keys)
                if said.high is not None:
                    written += _border(said.high, b"") + said.left.to_bytes(4)
            case Split():
                written += bytes((4, len(said.parts)))
                before = b""
                for place, part in enumerate(said.parts):
                    if place:
                        written += _border(said.borders[place - 1], before)
                        before = said.borders[place - 1]
                    written += part.count.to_bytes(4) + part.fingerprint
    return bytes(written)


# ---------------------------------------------------------------- reading


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise Refused(Reason.MALFORMED, "too short")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def time(self) -> Milliseconds:
        value = self.number(8)
        if value >= int.from_bytes(TOP) << 56:
            raise Refused(Reason.MALFORMED, "a time out of this world")
        return Milliseconds(value)

    def credential(self) -> bytes:
        return self.take(_at_most(self.number(2), MAX_CREDENTIAL))

    def border(self, before: Border) -> Border:
        shared, size = self.number(1), self.number(1)
        if shared > len(before) or shared + size > KEY_SIZE:
            raise Refused(Reason.MALFORMED, "length of a border")
        rest = self.take(size)
        border = before[:shared] + rest
        if border.endswith(b"\0") or _shared(border, before) != shared or border > TOP:
            raise Refused(Reason.MALFORMED, "a border written oddly")
        return border

    def keys(self) -> tuple[Key, ...]:
        keys: list[Key] = []
        before = b""
        for _ in range(self.number(2)):
            shared = self.number(1)
            if shared >= KEY_SIZE or shared > len(before):
                raise Refused(Reason.MALFORMED, "a key that is not one, or twice")
            one = before[:shared] + self.take(KEY_SIZE - shared)
            if one >= TOP or (before and one[shared] == before[shared]):
                raise Refused(Reason.MALFORMED, "a key written oddly")
            keys.append(Key(one))
            before = one
        return tuple(keys)

    def head(self) -> Head:
        return parse(self.take(HEAD_SIZE))


def _at_most(value: int, limit: int) -> int:
    if value > limit:
        raise Refused(Reason.MALFORMED, f"{value} where {limit} is the most")
    return value


def decode(data: bytes) -> Message:
    """`Refused` for anything but what `encode` writes."""
    reader = _Reader(data)
    kind = reader.number(1)
    if kind not in (Kind.PAGE, Kind.PIECE):
        _at_most(len(data), MESSAGE)
    message = _decode(kind, reader)
    if reader.left:
        raise Refused(Reason.MALFORMED, "too long")
    return message


def _decode(kind: int, reader: _Reader) -> Message:
    match kind:
        case Kind.HELLO:
            return _hello(reader)
        case Kind.WELCOME:
            return Welcome(
                may_write=bool(_at_most(reader.number(1), 1)),
                low=reader.time(),
                high=reader.time(),
                credential=reader.credential(),
            )
        case Kind.REFUSED:
            why = reader.number(1)
            if why not in set(Why):
                raise Refused(Reason.MALFORMED, "reason")
            return No(why=Why(why))
        case Kind.COMPARE:
            return _read_compare(reader)
        case Kind.ANSWER:
            return Compared(answers=tuple(_read_answer(reader) for _ in range(_at_most(reader.number(2), MOST_ITEMS))))
        case Kind.PULL:
            wait = _at_most(reader.number(4), LONGEST_WAIT)
            number = _at_most(reader.number(2), MOST_IDS)
            return Pull(ids=tuple(FrameId(reader.take(_ID_SIZE)) for _ in range(number)), wait=wait)
        case Kind.NEXT:
            return Next()
        case Kind.PAGE:
            return Page(entries=_read_entries(reader))
        case Kind.PIECE:
            return Piece(data=reader.take(_at_most(reader.left, MAX_WRITE)))
        case Kind.OFFER:
            keys = reader.keys()
            _at_most(len(keys), MOST_IDS)
            return Offer(keys=keys)
        case Kind.TAKEN:
            return Taken(frames=reader.number(4))
        case Kind.END:
            return End(received=reader.number(4), sent=reader.number(4))
        case _:
            raise Refused(Reason.MALFORMED, "an unknown message")


def _hello(reader: _Reader) -> Hello:
    version = reader.number(1)
    if version != VERSION:
        raise Refused(Reason.VERSION, str(version))
    mode = reader.number(1)
    if mode not in set(Mode):
        raise Refused(Reason.MALFORMED, "mode")
    return Hello(
        mode=Mode(mode),
        topic=TopicId(reader.take(32)),
        low=reader.time(),
        high=reader.time(),
        salt=reader.take(SALT_SIZE),
        credential=reader.credential(),
    )


def _read_compare(reader: _Reader) -> Compare:
    items: list[Item] = []
    before = b""
    for _ in range(_at_most(reader.number(2), MOST_ITEMS)):
        kind = reader.number(1)
        low = before
        if not kind & _CONTINUED:
            low = reader.border(before)
            if low == before:
                raise Refused(Reason.MALFORMED, "a border written twice")
        high = reader.border(low)
        match kind & ~_CONTINUED:
            case 1:
                fingerprint_of = reader.number(4), reader.take(FINGERPRINT_SIZE)
                items.append(Claim(low=low, high=high, count=fingerprint_of[0], fingerprint=fingerprint_of[1]))
            case 2:
                items.append(Ask(low=low, high=high))
            case _:
                raise Refused(Reason.MALFORMED, "kind of a range")
        before = high
    return Compare(items=tuple(items))


def _read_answer(reader: _Reader) -> Answer:
    match reader.number(1):
        case 1:
            return Same()
        case 2:
            return Keys(keys=reader.keys())
        case 3:
            return Keys(keys=reader.keys(), high=reader.border(b""), left=reader.number(4))
        case 4:
            number = reader.number(1)
            if not 2 <= number <= WAYS:
                raise Refused(Reason.MALFORMED, "number of parts")
            borders: list[Border] = []
            parts: list[Part] = []
            for part in range(number):
                if part:
                    borders.append(reader.border(borders[-1] if borders else b""))
                parts.append(Part(count=reader.number(4), fingerprint=reader.take(FINGERPRINT_SIZE)))
            return Split(borders=tuple(borders), parts=tuple(parts))
        case _:
            raise Refused(Reason.MALFORMED, "kind of an answer")


def _read_entries(reader: _Reader) -> tuple[Entry, ...]:
    entries: list[Entry] = []
    while reader.left:
        match reader.number(1):
            case 0:
                entries.append(Absent())
            case 1:
                head = reader.head()
                entries.append(Small(head=head, payload=reader.take(_at_most(head.size, LARGE))))
            case 2:
                head = reader.head()
                if head.size <= LARGE or reader.left:
                    raise Refused(Reason.MALFORMED, "a large frame that is not large, or not the last")
                entries.append(Large(head=head))
            case _:
                raise Refused(Reason.MALFORMED, "kind of an entry")
        _at_most(len(entries), MOST_IDS)
    return tuple(entries)
