"""What is in a backup: records of five kinds, in this order, each kind as often as there is something of it.

    About       once: whose it is, and the newest list of devices
    Person      somebody whom the account knows
    Room        a chat: what it is called, who is in it
    Said        a message of a chat
    End         once: how many there were

Records are maps of msgpack with the kind in them. Whatever is not as written here, missing, out of order or out of
bounds is refused: nothing is guessed. What stands in bytes (`edition`, `head`, `card`) has formats of its own, which
the node reads and checks.
"""

from __future__ import annotations

from typing import Annotated, Final, cast

import msgspec

from vcd.backup.seal import BackupError

__all__ = ["About", "End", "Order", "Person", "Record", "Room", "Said", "pack", "unpack"]

MAX_MEMBERS: Final = 10_000
MAX_PEOPLE: Final = 20_000
MAX_ROOMS: Final = 10_000

Id = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Device = Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
ChatName = Annotated[bytes, msgspec.Meta(min_length=1, max_length=255)]
Line = Annotated[str, msgspec.Meta(max_length=64)]
Title = Annotated[str, msgspec.Meta(max_length=200)]
Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
Long = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    def __repr__(self) -> str:
        """Nothing of what is in it: it may be a secret, and is somebody's in any case."""
        return f"{type(self).__name__}(...)"


class About(_Record, frozen=True, kw_only=True, tag="about"):
    made_at: Number
    account: Id
    cipher_suite: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    edition: Annotated[bytes, msgspec.Meta(min_length=1, max_length=1 << 18)]
    """The newest list of devices that is known, with its head."""
    name: Line
    """What our card suggests to be called."""
    seed: Id | None
    """What the recovery phrase stands for, where the person wanted it in here."""


class Person(_Record, frozen=True, kw_only=True, tag="person"):
    account: Id
    head: Annotated[bytes, msgspec.Meta(min_length=1, max_length=40_000)]
    """The newest that was seen."""
    card: Annotated[bytes, msgspec.Meta(min_length=1, max_length=40_000)] | None
    name: Line
    """What we call them."""
    accepted: bool
    verified: bool
    blocked: bool
    since: Long


class Room(_Record, frozen=True, kw_only=True, tag="chat"):
    chat: ChatName
    mode: Annotated[str, msgspec.Meta(max_length=16)]
    title: Title
    members: Annotated[tuple[Id, ...], msgspec.Meta(max_length=MAX_MEMBERS)]
    history_ms: Number | None
    """How long messages are kept, where that was said."""


class Said(_Record, frozen=True, kw_only=True, tag="message"):
    chat: ChatName
    msg: Id
    sender: Id
    ours: bool
    device: Device | None
    at: Number
    said_at: Number
    data: Annotated[bytes, msgspec.Meta(max_length=16 << 20)]
    media: Annotated[str, msgspec.Meta(max_length=255)]
    fate: Annotated[str, msgspec.Meta(max_length=32)]


class End(_Record, frozen=True, kw_only=True, tag="end"):
    people: Number
    chats: Number
    messages: Number


Record = About | Person | Room | Said | End
_DECODER = msgspec.msgpack.Decoder(Record)
_RANK: Final[dict[type[object], int]] = {About: 0, Person: 1, Room: 2, Said: 3, End: 4}


def pack(record: Record) -> bytes:
    return msgspec.msgpack.encode(record)


def unpack(data: bytes) -> Record:
    try:
        return cast("Record", _DECODER.decode(data))
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError, UnicodeDecodeError):
        raise BackupError("Something in this backup is of no kind that is known here.") from None


class Order:
    """Whether records come as they should. Give it each; at the end, ask `whole`."""

    def __init__(self) -> None:
        self._rank = -1
        self._counts = [0] * len(_RANK)
        self.whole = False

    def take(self, record: Record) -> None:
        rank = _RANK[type(record)]
        self._counts[rank] += 1
        first = self._rank < 0
        if self.whole or rank < self._rank or first != (rank == 0) or self._counts[0] > 1:
            raise BackupError("This backup is not in order.")
        if self._counts[1] > MAX_PEOPLE or self._counts[2] > MAX_ROOMS:
            raise BackupError("There are more people or chats in this backup than there can be.")
        self._rank = rank
        if isinstance(record, End):
            if [record.people, record.chats, record.messages] != self._counts[1:4]:
                raise BackupError("Something is missing in this backup.")
            self.whole = True
