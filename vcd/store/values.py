"""What goes into the store and what comes out, as values, with the bounds of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from vcd.core.stored import Row

__all__ = [
    "Batch",
    "ChatMessage",
    "CursorExpired",
    "CursorUnknown",
    "DeleteMessage",
    "Done",
    "Entry",
    "Messages",
    "NewEntry",
    "NewFate",
    "NewMessage",
    "NewRequest",
    "Page",
    "Progress",
    "RequestRepeated",
    "Row",
    "TooManyConsumers",
]

LARGEST: Final = 16 << 20
"""Bytes of one value: an entry, a message, a result. More is the caller's mistake, and refused (ValueError)."""

PAGE_BYTES: Final = 4 << 20
"""Where a page ends early; it has one item at least."""

PAGE_ITEMS: Final = 10_000
"""Most items of one page, whatever is asked for."""

REDACTED: Final = "deleted"
"""What is left of the data of an entry whose message was deleted: `{"deleted": True}`."""


# ---------------------------------------------------------------- to write


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """Something for the journal. `data` is made of what msgpack knows."""

    at_ms: int
    type: str
    chat: bytes | None = None
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRequest:
    """A command of an app that is carried out by this very batch, and what to answer when it comes again."""

    id: bytes
    method: str
    digest: bytes
    result: Mapping[str, Any] = field(repr=False)
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message of a chat. `entry` is its place in the batch's `entries`, which gives it its number and time."""

    entry: int
    chat: bytes
    content: bytes
    sender: bytes
    ours: bool
    device: bytes | None
    said_at: int
    data: bytes = field(repr=False)
    media: str
    fate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFate:
    """What became of a message. If there is no such message (any more), nothing."""

    chat: bytes
    content: bytes
    fate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeleteMessage:
    """A message goes, from the history and from the journal, where its entry stays in its place without its data."""

    chat: bytes
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What is stored together, or not at all."""

    put: Mapping[Row, bytes] = field(default_factory=dict, repr=False)
    gone: Sequence[Row] = ()
    entries: Sequence[NewEntry] = ()
    request: NewRequest | None = None
    history: Sequence[NewMessage | NewFate | DeleteMessage] = ()
    digested: Sequence[tuple[bytes, bytes]] = ()
    """Frames that this came of, each with its topic: they need not be looked at again after a start."""
    put_back: Sequence[tuple[bytes, bytes]] = ()
    """Those of which nothing came after all, also if they count as digested."""


# ---------------------------------------------------------------- to read


@dataclass(frozen=True, slots=True)
class Entry:
    seq: int
    at_ms: int
    type: str
    chat: bytes | None
    data: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Page:
    """`next` is where to read on from: behind everything that was looked at, filtered out or not."""

    entries: list[Entry]
    next: int


@dataclass(frozen=True, slots=True)
class Done:
    """A request that was carried out."""

    method: str
    digest: bytes
    result: dict[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message as it is kept. `seq` is its entry's in the journal, and orders a chat."""

    seq: int
    at_ms: int
    chat: bytes
    content: bytes
    sender: bytes
    ours: bool
    device: bytes | None
    said_at: int
    data: bytes = field(repr=False)
    media: str
    fate: str


@dataclass(frozen=True, slots=True)
class Messages:
    """Some messages of a chat, in order; whether there are more of them in the direction that was asked for."""

    messages: list[ChatMessage]
    more: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a change of the database's format is: step `number` of `of`, `done` of `total` in it (0: not known)."""

    number: int
    of: int
    name: str
    done: int
    total: int


# ---------------------------------------------------------------- what is refused


class CursorExpired(Exception):
    """What comes after this cursor is partly gone; the journal begins at `floor` now."""

    def __init__(self, floor: int) -> None:
        super().__init__(f"the journal begins at {floor} now")
        self.floor = floor


class CursorUnknown(Exception):
    """This cursor is ahead of the journal: it is another journal's."""

    def __init__(self, last: int) -> None:
        super().__init__(f"the journal ends at {last}")
        self.last = last


class TooManyConsumers(Exception):
    """There are as many named consumers as there may be. Forget one that is not used any more."""


class RequestRepeated(Exception):
    """A batch with this request was stored before. Nothing of this one was."""

    def __init__(self, done: Done) -> None:
        super().__init__("this request was carried out before")
        self.done = done
