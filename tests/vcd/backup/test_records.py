"""Records of a backup are read strictly, in order and counted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from vcd.backup.records import About, End, Order, Person, Record, Room, Said, pack, unpack
from vcd.backup.seal import BackupError

ABOUT = About(made_at=1, account=bytes(32), cipher_suite=1, edition=b"e", name="Alice", seed=b"s" * 32)
PERSON = Person(
    account=bytes(32), head=b"h", card=None, name="Bob", accepted=True, verified=False, blocked=False, since=7
)
ROOM = Room(chat=b"tea", mode="demls", title="tea", members=(bytes(32),), history_ms=None)
SAID = Said(
    chat=b"tea", msg=bytes(32), sender=bytes(32), ours=True, device=None, at=1, said_at=1, data=b"hi", media="", fate=""
)


@pytest.mark.parametrize("record", [ABOUT, PERSON, ROOM, SAID, End(people=1, chats=2, messages=3)])
def test_what_is_packed_is_unpacked_and_shows_nothing(record: Record) -> None:
    assert unpack(pack(record)) == record
    assert repr(record) == f"{type(record).__name__}(...)"


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"more": 1},
        {"account": b"short"},
        {"name": "x" * 65},
        {"seed": b"x"},
        {"made_at": -1},
        {"cipher_suite": 0},
        {"edition": b""},
    ],
)
def test_what_is_not_as_written_is_refused(change: dict[str, Any]) -> None:
    plain = msgspec.msgpack.decode(pack(ABOUT))
    with pytest.raises(BackupError):
        unpack(msgspec.msgpack.encode({**plain, **change}))
    del plain["name"]
    with pytest.raises(BackupError):
        unpack(msgspec.msgpack.encode(plain))


@given(st.binary(max_size=100))
def test_whatever_bytes_are_refused_alike(data: bytes) -> None:
    with pytest.raises(BackupError):
        unpack(data)


def order(*records: Record) -> bool:
    found = Order()
    for each in records:
        found.take(each)
    return found.whole


def test_records_come_in_order_and_are_counted() -> None:
    assert order(ABOUT, End(people=0, chats=0, messages=0))
    assert order(ABOUT, PERSON, PERSON, ROOM, SAID, End(people=2, chats=1, messages=1))
    assert not order(ABOUT, PERSON)
    none = End(people=0, chats=0, messages=0)
    for wrong in (
        (PERSON,),
        (none,),
        (ABOUT, ABOUT),
        (ABOUT, ROOM, PERSON),
        (ABOUT, PERSON, none),
        (ABOUT, none, none),
        (ABOUT, SAID, End(people=0, chats=0, messages=2)),
    ):
        with pytest.raises(BackupError):
            order(*wrong)


def test_people_and_chats_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcd.backup.records.MAX_PEOPLE", 1)
    with pytest.raises(BackupError, match="more people"):
        order(ABOUT, PERSON, PERSON)
