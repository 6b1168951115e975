"""Rows as they come from SQLite, looked at before anything is done with them.

A damaged page can be a valid page of another kind: a row may come with other columns than its table has, whatever
STRICT says (it looks at what is written). So every read says what it wants, one letter for each column:

    i   a number, not below 0
    n   a name, 16 bytes (`names.Keys.blind`)
    b   bytes
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from sqlite3 import Connection
from typing import Any, Final

from vcd.store.trouble import corrupt

__all__ = ["one", "select"]

_TYPES: Final = {"i": int, "n": bytes, "b": bytes}


@cache
def _wanted(shape: str) -> tuple[tuple[type, ...], tuple[int, ...], tuple[int, ...]]:
    numbers = tuple(at for at, kind in enumerate(shape) if kind == "i")
    names = tuple(at for at, kind in enumerate(shape) if kind == "n")
    return tuple(_TYPES[kind] for kind in shape), numbers, names


def _sound(row: tuple[Any, ...], shape: str) -> tuple[Any, ...]:
    types, numbers, names = _wanted(shape)
    if tuple(map(type, row)) == types:
        for at in numbers:
            if row[at] < 0:
                break
        else:
            for at in names:
                if len(row[at]) != 16:
                    break
            else:
                return row
    raise corrupt("a row is not one of its table")


def select(db: Connection, shape: str, query: str, values: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
    for row in db.execute(query, values):
        yield _sound(row, shape)


def one(db: Connection, shape: str, query: str, values: Sequence[object] = ()) -> tuple[Any, ...] | None:
    row = db.execute(query, values).fetchone()
    return None if row is None else _sound(row, shape)
