"""The messages of pairing, and their bounds. Whatever comes is one of these, or `Malformed`.

A question is the version, a kind, and a record (`vcd.core.record`: one encoding for each value, and nothing behind it).
An answer is a verdict, and a record if that is OK.

    HELLO      Hello        OK Welcome     GONE: nobody waits under that name
    PROVE      Proof        OK Proved      WRONG: that was the one guess, and the code is burnt
    EXCHANGE   Exchange     OK Exchange    GONE: no such meeting is known here (any more)

Any of them can be answered with VERSION, and the version that is spoken there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, TypeVar

from vcd.core.errors import Malformed
from vcd.core.record import decode, decode_as, encode, encode_as

VERSION: Final = 1
MAX_MESSAGE: Final = 1 << 20
"""Bytes of a question or an answer."""
MAX_NAME: Final = 64
SHARE: Final = 33
NONCE: Final = 32
TAG: Final = 32
MEETING: Final = 16
PART: Final = 256 << 10
"""Bytes of one part of what is handed over."""
MOST_PARTS: Final = 256
MAX_SEALED: Final = PART + 1024
MOST_AT_ONCE: Final = 3
"""Sealed messages in one question or answer."""
MAX_PACKAGE: Final = 64 << 10
MAX_CREDENTIAL: Final = 33 << 10
MAX_KEY: Final = 4096
DEVICE: Final = 16

T = TypeVar("T")


def _sized(data: bytes, least: int, most: int) -> None:
    if not least <= len(data) <= most:
        raise ValueError("not of the size that it has")


def _readable(text: str) -> None:
    if not 0 < len(text) <= MAX_NAME or not text.isprintable():
        raise ValueError("no name")


class Kind(enum.Enum):
    HELLO = 1
    PROVE = 2
    EXCHANGE = 3


class Verdict(enum.Enum):
    OK = 0
    GONE = 1
    WRONG = 2
    VERSION = 3


# ---------------------------------------------------------------- meeting


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    name: bytes
    """Of the offer."""
    share: bytes
    commitment: bytes
    """SHA-256 of the nonce that the proof shows."""

    def __post_init__(self) -> None:
        _sized(self.name, 1, 32)
        _sized(self.share, SHARE, SHARE)
        _sized(self.commitment, 32, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcome:
    meeting: bytes
    share: bytes
    nonce: bytes

    def __post_init__(self) -> None:
        _sized(self.meeting, MEETING, MEETING)
        _sized(self.share, SHARE, SHARE)
        _sized(self.nonce, NONCE, NONCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    meeting: bytes
    nonce: bytes
    tag: bytes

    def __post_init__(self) -> None:
        _sized(self.meeting, MEETING, MEETING)
        _sized(self.nonce, NONCE, NONCE)
        _sized(self.tag, TAG, TAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    tag: bytes

    def __post_init__(self) -> None:
        _sized(self.tag, TAG, TAG)


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """Sealed messages, and how many of the other side's are here already."""

    meeting: bytes
    taken: int
    first: int
    """The number of the first of `sealed`."""
    sealed: tuple[bytes, ...] = field(repr=False)

    def __post_init__(self) -> None:
        _sized(self.meeting, MEETING, MEETING)
        if max(self.taken, self.first) > MOST_PARTS + 16 or len(self.sealed) > MOST_AT_ONCE:
            raise ValueError("more than there is")
        for each in self.sealed:
            _sized(each, 17, MAX_SEALED)


Question = Hello | Proof | Exchange
_KINDS: Final[dict[type[Question], Kind]] = {Hello: Kind.HELLO, Proof: Kind.PROVE, Exchange: Kind.EXCHANGE}
_OF_KIND: Final = {kind.value: made for made, kind in _KINDS.items()}


class OtherVersion(Exception):
    """The other side speaks another version of this."""


def question(message: Question) -> bytes:
    return bytes((VERSION, _KINDS[type(message)].value)) + encode(message)


def read_question(data: bytes) -> Question:
    """`OtherVersion`, or `Malformed`, if it is none."""
    if not 2 <= len(data) <= MAX_MESSAGE:
        raise Malformed("no question")
    if data[0] != VERSION:
        raise OtherVersion
    kind = _OF_KIND.get(data[1])
    if kind is None:
        raise Malformed("no kind of question")
    return decode(kind, data[2:])


def answer(message: Welcome | Proved | Exchange) -> bytes:
    return bytes((Verdict.OK.value,)) + encode(message)


def verdict(which: Verdict) -> bytes:
    return bytes((which.value,)) + (bytes((VERSION,)) if which is Verdict.VERSION else b"")


def read_verdict(data: bytes) -> Verdict:
    if not 1 <= len(data) <= MAX_MESSAGE or data[0] > Verdict.VERSION.value:
        raise Malformed("no answer")
    return Verdict(data[0])


def read_answer(kind: type[T], data: bytes) -> T:
    """What came with OK."""
    return decode(kind, data[1:])


# ---------------------------------------------------------------- sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduce:
    """The new device: who it is. Its first message."""

    RECORD_TAG = 1

    device: bytes
    key: bytes
    name: str

    def __post_init__(self) -> None:
        _sized(self.device, DEVICE, DEVICE)
        _sized(self.key, 1, MAX_KEY)
        _readable(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admit:
    """The device of the account: people compared the check strings. Its first message."""

    RECORD_TAG = 2

    credential: bytes
    name: str
    """What the new device is called from now on."""
    by: str
    """What this one is called; empty if it does not say."""

    def __post_init__(self) -> None:
        _sized(self.credential, 1, MAX_CREDENTIAL)
        _readable(self.name)
        if self.by:
            _readable(self.by)


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """The new device: the KeyPackage by which it is let in."""

    RECORD_TAG = 3

    package: bytes

    def __post_init__(self) -> None:
        _sized(self.package, 1, MAX_PACKAGE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The device of the account: a part of what it hands over."""

    RECORD_TAG = 4

    number: int
    of: int
    data: bytes = field(repr=False)

    def __post_init__(self) -> None:
        _sized(self.data, 1, PART)
        if not 0 <= self.number < self.of <= MOST_PARTS:
            raise ValueError("no part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The new device: it is one of the account."""

    RECORD_TAG = 5


class Bye(enum.Enum):
    """Why one side gives it up."""

    CANCELED = 1
    EXPIRED = 2
    REFUSED = 3
    BROKEN = 4
    CHECK = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Leave:
    """Either: nothing comes of it. The last message."""

    RECORD_TAG = 6

    why: Bye


Inside = Introduce | Admit | Package | Part | Finished | Leave


def inside(message: Inside) -> bytes:
    return encode_as(Inside, message)


def read_inside(data: bytes) -> Inside:
    found: Inside = decode_as(Inside, data)
    return found
