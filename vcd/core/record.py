"""Dataclasses as bytes, and back: what devices send inside sealed envelopes, and what a store keeps.

A class's annotations are its format, so there is nothing to keep in step: `encode(value)` writes the fields in order,
`decode(Type, data)` reads them and takes nothing else. Numbers are varints, bytes and text have their length before
them, tables are written in the order of their encoded keys, a union writes which of its classes it is. Equal values
give equal bytes, and there is only one encoding of each value: whatever `decode` accepts, `encode` gives back.

What is read is bounded by what was sent: every item of a sequence takes at least a byte, so a length is compared with
what is left before anything is made. Nothing here contains itself, so there is no depth to attack. `Malformed` is all
that wrong bytes raise.

    bool, int (0 to 2^64-1), bytes, str, None, Enum, NewTypes of these, Secret of `mls.secrets` (its raw bytes),
    tuple[X, ...], tuple[X, Y], frozenset[X], PMap[K, V], a kind of Packed[K, V], X | None, dataclass,
    a union of dataclasses

A field that came to a class later says since which version of a format: `wall: int = since(2, 0)`. In bytes that were
written in an older one it is not there, and has its default. Versions are those of what is stored
(`vcd.core.stored.VERSION`), so only a store says which one its bytes have; what is sent is always read as the newest.

A class may have bytes of its own kind (`RECORD_TAG`, an int) where it stands in a union: the number that stands for it
on the wire. Give one to every class that is sent, and never use it for another class again.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, TypeVar, overload

from mls.persistent import PMap
from mls.secrets import Secret
from vcd.core.errors import Malformed
from vcd.core.packed import Packed, table_types

T = TypeVar("T")

Write = Callable[[Any, list[bytes]], None]
Read = Callable[["Source"], Any]

MAX_NUMBER = (1 << 64) - 1
NEWEST: Final = MAX_NUMBER
"""Later than every version: nothing is left out."""
SINCE: Final = "since"
"""In a field's metadata: the version that it came with."""


@overload
def since(version: int, default: T) -> T: ...


@overload
def since(version: int, *, factory: Callable[[], T]) -> T: ...


def since(version: int, default: Any = dataclasses.MISSING, *, factory: Any = dataclasses.MISSING) -> Any:
    """A field that came with this version. What was written before has its default, or what `factory` makes."""
    return dataclasses.field(default=default, default_factory=factory, metadata={SINCE: version})


def came(field: dataclasses.Field[Any]) -> int:
    """Since which version a field is there."""
    found: int = field.metadata.get(SINCE, 0)
    return found


class Source:
    """Where a reader is, and in which version that was written. Never past the end."""

    __slots__ = ("at", "data", "version")

    def __init__(self, data: bytes, version: int = NEWEST) -> None:
        self.data = data
        self.at = 0
        self.version = version

    def number(self) -> int:
        data, at = self.data, self.at
        if at < len(data) and data[at] < 0x80:  # most are
            self.at = at + 1
            return data[at]
        shift = value = 0
        while True:
            if at >= len(data):
                raise Malformed("cut short")
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise Malformed("a number is too large")
        if (byte == 0 and shift) or value > MAX_NUMBER:
            raise Malformed("a number is not written the short way")
        self.at = at
        return value

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise Malformed("cut short")
        part = self.data[self.at : end]
        self.at = end
        return part

    def length(self) -> int:
        """Of a sequence, each item of which takes at least a byte."""
        size = self.number()
        if size > len(self.data) - self.at:
            raise Malformed("longer than what is there")
        return size


_SMALL = [bytes([n]) for n in range(128)]


def number(value: int) -> bytes:
    return _SMALL[value] if 0 <= value < 128 else _large(value)


@lru_cache(maxsize=4096)
def _large(value: int) -> bytes:
    """Most are times and counters, which are written again and again."""
    if not 0 <= value <= MAX_NUMBER:
        raise ValueError("only numbers from 0 to 2^64-1 are written")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode(value: object) -> bytes:
    """A dataclass as bytes."""
    out: list[bytes] = []
    _codec(type(value))[0](value, out)
    return b"".join(out)


def encode_as(kind: Any, value: object) -> bytes:
    """A value of any of the types above, as that type: a union says which of its classes it is."""
    out: list[bytes] = []
    _codec(kind)[0](value, out)
    return b"".join(out)


def decode(kind: type[T], data: bytes) -> T:
    """What `encode` made of a value of this class, and nothing else."""
    found: T = decode_as(kind, data)
    return found


def decode_as(kind: Any, data: bytes, version: int = NEWEST) -> Any:
    """What `encode_as` made, in that version."""
    source = Source(data, version)
    value = _codec(kind)[1](source)
    if source.at != len(data):
        raise Malformed("something follows")
    return value


# ---------------------------------------------------------------- how each type is written


def _write_bytes(value: bytes, out: list[bytes]) -> None:
    out.append(number(len(value)))
    out.append(value)


def _read_bytes(source: Source) -> bytes:
    return source.take(source.length())


def _write_text(value: str, out: list[bytes]) -> None:
    _write_bytes(value.encode(), out)


def _read_text(source: Source) -> str:
    try:
        return _read_bytes(source).decode()
    except UnicodeDecodeError:
        raise Malformed("no text") from None


def _write_number(value: int, out: list[bytes]) -> None:
    out.append(_SMALL[value] if 0 <= value < 128 else _large(value))


def _write_bool(value: bool, out: list[bytes]) -> None:
    out.append(_SMALL[bool(value)])


def _read_bool(source: Source) -> bool:
    value = source.number()
    if value > 1:
        raise Malformed("neither yes nor no")
    return value == 1


def _write_nothing(value: None, out: list[bytes]) -> None:
    del value, out


def _read_nothing(source: Source) -> None:
    del source


_PLAIN: dict[Any, tuple[Write, Read]] = {
    bytes: (_write_bytes, _read_bytes),
    str: (_write_text, _read_text),
    int: (_write_number, Source.number),
    bool: (_write_bool, _read_bool),
    type(None): (_write_nothing, _read_nothing),
}


_CODECS: dict[Any, tuple[Write, Read]] = {}


def _codec(kind: Any) -> tuple[Write, Read]:
    found = _CODECS.get(kind)
    if found is None:
        found = _CODECS[kind] = _made(kind)
    return found


def _made(kind: Any) -> tuple[Write, Read]:
    if kind in _PLAIN:
        return _PLAIN[kind]
    if isinstance(kind, typing.NewType):
        return _codec(kind.__supertype__)
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind))
    if origin is tuple:
        arguments = typing.get_args(kind)
        if len(arguments) == 2 and arguments[1] is ...:
            return _sequence(arguments[0])
        return _fixed(arguments)
    if origin is frozenset:
        return _set(typing.get_args(kind)[0])
    table = table_types(kind)
    if table is not None:
        return _table(*table)
    if isinstance(kind, type):
        if issubclass(kind, enum.Enum):
            return _choice(kind)
        if issubclass(kind, Secret):
            return _secret(kind)
        if dataclasses.is_dataclass(kind):
            return _record(kind)
    raise TypeError(f"{kind!r} has no encoding")


def _sequence(item: Any) -> tuple[Write, Read]:
    write_item, read_item = _codec(item)

    def write(value: tuple[Any, ...], out: list[bytes]) -> None:
        out.append(number(len(value)))
        for each in value:
            write_item(each, out)

    def read(source: Source) -> tuple[Any, ...]:
        return tuple([read_item(source) for _ in range(source.length())])

    return write, read


def _fixed(items: tuple[Any, ...]) -> tuple[Write, Read]:
    codecs = [_codec(item) for item in items]

    def write(value: tuple[Any, ...], out: list[bytes]) -> None:
        for (write_item, _), each in zip(codecs, value, strict=True):
            write_item(each, out)

    def read(source: Source) -> tuple[Any, ...]:
        return tuple([read_item(source) for _, read_item in codecs])

    return write, read


def _ordered(encoded: list[bytes]) -> None:
    """Sets and tables have one order, and nothing twice."""
    if any(one >= other for one, other in zip(encoded, encoded[1:], strict=False)):
        raise Malformed("not in order")


def _set(item: Any) -> tuple[Write, Read]:
    write_item, read_item = _codec(item)

    def write(value: frozenset[Any], out: list[bytes]) -> None:
        parts = []
        for each in value:
            part: list[bytes] = []
            write_item(each, part)
            parts.append(b"".join(part))
        out.append(number(len(parts)))
        out.extend(sorted(parts))

    def read(source: Source) -> frozenset[Any]:
        found, encoded = [], []
        for _ in range(source.length()):
            start = source.at
            found.append(read_item(source))
            encoded.append(source.data[start : source.at])
        _ordered(encoded)
        return frozenset(found)

    return write, read


def _table(make: Callable[[dict[Any, Any]], Any], key: Any, item: Any) -> tuple[Write, Read]:
    write_key, read_key = _codec(key)
    write_item, read_item = _codec(item)

    def write(value: PMap[Any, Any] | Packed[Any, Any], out: list[bytes]) -> None:
        parts = []
        for each, what in value.items():
            head: list[bytes] = []
            write_key(each, head)
            tail: list[bytes] = []
            write_item(what, tail)
            parts.append((b"".join(head), b"".join(tail)))
        out.append(number(len(parts)))
        for head_bytes, tail_bytes in sorted(parts):
            out.append(head_bytes)
            out.append(tail_bytes)

    def read(source: Source) -> Any:
        entries, encoded = {}, []
        for _ in range(source.length()):
            start = source.at
            each = read_key(source)
            encoded.append(source.data[start : source.at])
            entries[each] = read_item(source)
        _ordered(encoded)
        try:
            return make(entries)
        except ValueError as error:  # what the table itself demands of them
            raise Malformed(str(error)) from None

    return write, read


def _choice(kind: type[enum.Enum]) -> tuple[Write, Read]:
    members = {member.value: member for member in kind}
    write_value, read_value = _codec(type(next(iter(members))))

    def write(value: enum.Enum, out: list[bytes]) -> None:
        write_value(value.value, out)

    def read(source: Source) -> enum.Enum:
        found = members.get(read_value(source))
        if found is None:
            raise Malformed(f"no {kind.__name__}")
        return found

    return write, read


def _secret(kind: type[Secret]) -> tuple[Write, Read]:
    def write(value: Secret, out: list[bytes]) -> None:
        _write_bytes(value.raw, out)

    def read(source: Source) -> Secret:
        return kind(_read_bytes(source))

    return write, read


def _record(kind: type[Any]) -> tuple[Write, Read]:
    hints = typing.get_type_hints(kind)
    written = [field for field in dataclasses.fields(kind) if field.init]
    fields = [(field.name, *_codec(hints[field.name])) for field in written]
    newest = _reader(kind, [(name, read_field) for name, _, read_field in fields])
    if not fields:
        return lambda _, out: out.append(_SMALL[0]), newest

    def write(value: Any, out: list[bytes]) -> None:
        for name, write_field, _ in fields:
            write_field(getattr(value, name), out)

    versions = sorted({came(field) for field in written} - {0})
    if not versions:
        return write, newest
    before = [
        (version, _reader(kind, [(each.name, _codec(hints[each.name])[1]) for each in written if came(each) < version]))
        for version in versions
    ]

    def read(source: Source) -> Any:
        for version, read_older in before:
            if source.version < version:
                return read_older(source)
        return newest(source)

    return write, read


def _reader(kind: type[Any], fields: list[tuple[str, Read]]) -> Read:
    """Of a class, where these fields of it were written."""
    if not fields:  # a byte, so that every item of a sequence takes one
        return lambda source: _empty(kind, source)

    def read(source: Source) -> Any:
        found = {name: read_field(source) for name, read_field in fields}
        try:
            return kind(**found)
        except ValueError as error:  # what the class itself demands of its fields
            raise Malformed(str(error)) from None

    return read


def _empty(kind: type[Any], source: Source) -> Any:
    if source.number() != 0:
        raise Malformed(f"no {kind.__name__}")
    return kind()


def _union(choices: tuple[Any, ...]) -> tuple[Write, Read]:
    """None is 0; each other choice its `RECORD_TAG`, or its place among the rest, counted from 1."""
    tags: dict[int, Any] = {}
    for place, choice in enumerate([each for each in choices if each is not type(None)], start=1):
        tag = getattr(choice, "RECORD_TAG", place)
        if tag in tags or tag == 0:
            raise TypeError(f"two choices of one union have the number {tag}")
        tags[tag] = choice
    codecs = {tag: _codec(choice) for tag, choice in tags.items()}
    by_type = {_plain_type(choice): tag for tag, choice in tags.items()}
    optional = type(None) in choices

    def write(value: Any, out: list[bytes]) -> None:
        if value is None and optional:
            out.append(_SMALL[0])
            return
        tag = by_type.get(type(value))
        if tag is None:
            found = [each for each, choice in tags.items() if isinstance(value, _plain_type(choice))]
            if not found:
                raise TypeError(f"a {type(value).__name__} has no place in this union")
            tag = found[0]
        out.append(number(tag))
        codecs[tag][0](value, out)

    def read(source: Source) -> Any:
        tag = source.number()
        if tag == 0 and optional:
            return None
        if tag not in codecs:
            raise Malformed(f"unknown kind {tag}")
        return codecs[tag][1](source)

    return write, read


def _plain_type(choice: Any) -> type[Any]:
    if isinstance(choice, typing.NewType):
        return _plain_type(choice.__supertype__)
    origin = typing.get_origin(choice)
    found = origin if origin is not None else choice
    if not isinstance(found, type):
        raise TypeError(f"{choice!r} cannot stand in a union")
    return found
