"""How values lie in rows: the shapes that classes of the state have, found by their annotations.

Every field of a dataclass that is a table (a `PMap`, or a kind of `Packed`) is one here too, with a row an entry; all
its other fields together are one row; whatever holds such a class holds its tables under its own name, with its own key
before theirs. Keys are encoded by `record`, and as no encoding is the beginning of another, a key says where the outer
one ends. Classes with rows of their own kind are in `SPECIAL` (`vcd.core.kept_rows`). A field that came later
(`record.since`) is not looked for in rows of an older version, whichever way it is stored.

A shape does three things: it writes a value, writes what differs between two values, and reads one. Differing goes by
identity, so it costs what is not shared.
"""

from __future__ import annotations

import dataclasses
import typing
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from types import UnionType
from typing import Any, Protocol

from mls.parameters import Parameters
from mls.persistent import PMap
from mls.provider import Provider
from vcd.core.packed import table_types
from vcd.core.record import NEWEST, came, decode_as, encode_as

Row = tuple[str, bytes]
"""A table's name, and a key in it."""
Rows = dict[Row, bytes]


class Found:
    """The rows of a state that is being read, by table and in order of keys."""

    def __init__(
        self, rows: Mapping[Row, bytes], provider: Provider, parameters: Parameters, version: int = NEWEST
    ) -> None:
        self.provider = provider
        self.parameters = parameters
        """Of the groups that are being read now."""
        self.version = version
        """In which all of them were written."""
        self._rows = rows
        self._keys: dict[str, list[bytes]] = {}
        for table, key in sorted(rows):
            self._keys.setdefault(table, []).append(key)

    def has(self, table: str, key: bytes) -> bool:
        return (table, key) in self._rows

    def row(self, table: str, key: bytes) -> bytes:
        return self._rows[table, key]

    def under(self, table: str, prefix: bytes) -> Iterator[bytes]:
        """The keys of a table that begin like this."""
        keys = self._keys.get(table, [])
        at = bisect_left(keys, prefix)
        while at < len(keys) and keys[at].startswith(prefix):
            yield keys[at]
            at += 1


class Shape(Protocol):
    """How values of one type lie in rows, under a table's name."""

    def write(self, value: Any, key: bytes, out: Rows) -> None: ...

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None: ...

    def read(self, found: Found, key: bytes) -> Any:
        """The value that was written; None for what is read in some other way."""
        del found, key

    def there(self, found: Found, key: bytes) -> bool:
        """Whether there is a value with this key. What may be empty is always there."""
        del found, key
        return True

    def drop(self, old: Any, key: bytes, gone: dict[Row, None]) -> None:
        """All rows of a value that is there no more."""
        out: Rows = {}
        self.write(old, key, out)
        gone.update(dict.fromkeys(out))


class Cell(Shape):
    """One row."""

    def __init__(self, table: str, encode: Callable[[Any], bytes], decode: Callable[[Found, bytes], Any]) -> None:
        self._table, self._encode, self._decode = table, encode, decode

    @classmethod
    def of(cls, table: str, kind: Any) -> Cell:
        """Of a type that `record` knows."""
        return cls(table, partial(encode_as, kind), lambda found, data: decode_as(kind, data, found.version))

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        out[self._table, key] = self._encode(value)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        del gone
        if old is not new:
            self.write(new, key, out)

    def read(self, found: Found, key: bytes) -> Any:
        return self._decode(found, found.row(self._table, key))

    def there(self, found: Found, key: bytes) -> bool:
        return found.has(self._table, key)

    def drop(self, old: Any, key: bytes, gone: dict[Row, None]) -> None:
        del old
        gone[self._table, key] = None


class Table(Shape):
    """A `PMap`, or what else `make` makes: its entries in rows, or in rows of their own shape."""

    def __init__(self, table: str, kind: Any, item: Shape, make: Callable[[dict[Any, Any]], Any] = PMap) -> None:
        self._table, self._item, self._make = table, item, make
        self._encode_key = partial(encode_as, kind)
        self._kind = kind

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        for name, each in value.items():
            self._item.write(each, key + self._encode_key(name), out)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is new:
            return
        changed, dropped = new.changes(old)
        for name, each in changed.items():
            place = key + self._encode_key(name)
            before = old.find(name)
            if before is None:
                self._item.write(each, place, out)
            else:
                self._item.differ(before, each, place, out, gone)
        for name in dropped:
            self._item.drop(old[name], key + self._encode_key(name), gone)

    def read(self, found: Found, key: bytes) -> Any:
        entries = {}
        for place in list(found.under(self._table, key)):
            entries[decode_as(self._kind, place[len(key) :], found.version)] = self._item.read(found, place)
        return self._make(entries)


class Maybe(Shape):
    """A value or None."""

    def __init__(self, inner: Shape) -> None:
        self._inner = inner

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        if value is not None:
            self._inner.write(value, key, out)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is None:
            self.write(new, key, out)
        elif new is None:
            self._inner.drop(old, key, gone)
        else:
            self._inner.differ(old, new, key, out, gone)

    def read(self, found: Found, key: bytes) -> Any:
        return self._inner.read(found, key) if self._inner.there(found, key) else None


class Parts(Shape):
    """A dataclass: its plain fields in one row, and whatever has rows of its own."""

    def __init__(self, table: str, prefix: str, kind: type[Any], *, but: tuple[str, ...] = ()) -> None:
        """`prefix` is what the tables of its fields have before their names; `but` are fields that others write."""
        self.kind = kind
        self._table = table
        self._inner: list[tuple[str, Shape]] = []
        hints = typing.get_type_hints(kind)
        plain: list[dataclasses.Field[Any]] = []
        self._came: dict[str, int] = {}
        """Since when there are fields with rows of their own."""
        for field in dataclasses.fields(kind):
            if not field.init or field.name in but:
                continue
            shape = own_shape(prefix + field.name, hints[field.name])
            if shape is None:
                plain.append(field)
            else:
                self._inner.append((field.name, shape))
                self._came[field.name] = came(field)

        def row(fields: list[dataclasses.Field[Any]]) -> tuple[list[str], Any]:
            names = [each.name for each in fields]
            return names, tuple.__class_getitem__(tuple([hints[name] for name in names]))

        self._plain, self._types = row(plain)
        self._before = [
            (version, *row([each for each in plain if came(each) < version]))
            for version in sorted({came(each) for each in plain} - {0})
        ]
        """What was in the row before each version that brought something."""

    def write(self, value: Any, key: bytes, out: Rows) -> None:
        out[self._table, key] = encode_as(self._types, tuple([getattr(value, name) for name in self._plain]))
        for name, shape in self._inner:
            shape.write(getattr(value, name), key, out)

    def differ(self, old: Any, new: Any, key: bytes, out: Rows, gone: dict[Row, None]) -> None:
        if old is new:
            return
        now = [getattr(new, name) for name in self._plain]
        if any(getattr(old, name) is not each for name, each in zip(self._plain, now, strict=True)):
            out[self._table, key] = encode_as(self._types, tuple(now))
        for name, shape in self._inner:
            was, is_now = getattr(old, name), getattr(new, name)
            if was is not is_now:
                shape.differ(was, is_now, key, out, gone)

    def read(self, found: Found, key: bytes) -> Any:
        names, types = self._row(found.version)
        plain = decode_as(types, found.row(self._table, key), found.version)
        fields = dict(zip(names, plain, strict=True))
        prepare = PREPARE.get(self.kind)
        if prepare is not None:
            prepare(found, fields)
        for name, shape in self._inner:
            if self._came[name] <= found.version:
                fields[name] = shape.read(found, key)
        return self.kind(**fields)

    def _row(self, version: int) -> tuple[list[str], Any]:
        for later, names, types in self._before:
            if version < later:
                return names, types
        return self._plain, self._types

    def there(self, found: Found, key: bytes) -> bool:
        return found.has(self._table, key)


SPECIAL: dict[Any, Callable[[str], Shape]] = {}
"""Classes with rows of their own kind."""
PREPARE: dict[Any, Callable[[Found, Mapping[str, Any]], None]] = {}
"""What is to be known of a value, by its plain fields, before its tables are read."""


def own_shape(table: str, kind: Any) -> Shape | None:
    """The shape of what has rows of its own; None for what is part of a row."""
    special = SPECIAL.get(kind)
    if special is not None:
        return special(table)
    types = table_types(kind)
    if types is not None:
        make, key, value = types
        return Table(table, key, own_shape(table, value) or Cell.of(table, value), make)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, UnionType):
        rest = [each for each in arguments if each is not type(None)]
        inner = own_shape(table, rest[0]) if len(rest) == 1 else None
        return None if inner is None else Maybe(inner)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind) and _has_rows(kind):
        return Parts(table, table + ".", kind)
    return None


@cache
def _has_rows(kind: type[Any]) -> bool:
    """Whether something in a class has rows of its own. No class of the state contains itself."""
    hints = typing.get_type_hints(kind)
    return any(field.init and own_shape("", hints[field.name]) is not None for field in dataclasses.fields(kind))
