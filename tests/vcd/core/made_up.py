"""Values that a hostile device or member may make up: of any type that a record of ours can have, by its annotations.

    maker = Maker(Random(7), states)          what is true here and there: ids, keys, whole records
    maker.make(siblings.Lacking)              some of it true, some not

Bytes that nobody can read are refused where they are read, and tests enough try that. These can be read, so they reach
the rooms that have to judge them. Half of the values begin with a true one, of which a field or two are made up; and
most ids and numbers that are made up are true somewhere else.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from random import Random
from typing import Any

from mls.errors import MlsError
from mls.persistent import PMap
from mls.secrets import Secret
from vcd.core.errors import NodeError
from vcd.core.packed import Packed

NUMBERS = (0, 1, 2, 3, 7, 64, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 32, 1 << 53, (1 << 53) + 1, (1 << 64) - 1)
SIZES = (0, 1, 15, 16, 17, 31, 32, 33, 64, 255, 256, 4096)
TEXTS = ("", "x", "no-room", "\x00", "\u202e\U0001f600", "long " * 400)
MOST_OF_A_KIND = 64
DEPTH = 6
TRIES = 30


def _as_it_is(value: Any) -> Any:
    return value


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(kind)
    except NameError:  # what it names is imported for type checkers alone, so nothing that is sent is of it
        hints = dict.fromkeys([field.name for field in dataclasses.fields(kind)], Any)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


class Impossible(ValueError):
    """No value of that type was found that can be."""


class Maker:
    """See above."""

    def __init__(self, random: Random, known: Iterable[object]) -> None:
        self._random = random
        self.finish: dict[type[Any], Callable[[Any], Any]] = {}
        """What is done with each made-up value of a type: it may be signed."""
        self._true: dict[type[Any], list[Any]] = {}
        self._ids: dict[Any, list[Any]] = {}
        self._bytes: dict[bytes, None] = {}
        self._numbers: dict[int, None] = {}
        for each in known:
            self._learn(each)
        self._words = [*self._bytes]
        self._counts = [*self._numbers]

    def _learn(self, value: object) -> None:
        """Walk through what is true."""
        waiting, seen = [value], set[int]()
        while waiting:
            each = waiting.pop()
            if isinstance(each, Secret):
                waiting.append(each.raw)
            elif isinstance(each, bytes):
                if len(each) <= SIZES[-1]:
                    self._bytes[each] = None
            elif isinstance(each, int):
                self._numbers[int(each)] = None
            elif isinstance(each, Mapping | PMap):
                for pair in each.items():
                    waiting.extend(pair)
            elif isinstance(each, tuple | list | frozenset | set):
                waiting.extend(each)
            elif dataclasses.is_dataclass(each) and not isinstance(each, type) and id(each) not in seen:
                seen.add(id(each))
                several = self._true.setdefault(type(each), [])
                if len(several) < MOST_OF_A_KIND:
                    several.append(each)
                for name, kind in _hints(type(each)).items():
                    found = getattr(each, name)
                    waiting.append(found)
                    self._note(kind, found)

    def _note(self, kind: Any, found: object) -> None:
        """What is an id of some kind is known as one."""
        if isinstance(kind, typing.NewType) and found not in (several := self._ids.setdefault(kind, [])):
            several.append(found)
        elif typing.get_origin(kind) is tuple and isinstance(found, tuple):
            parts = typing.get_args(kind)
            for part, each in zip(parts[:1] * len(found) if parts[-1] is Ellipsis else parts, found, strict=True):
                self._note(part, each)

    def make(self, kind: Any, depth: int = DEPTH) -> Any:
        """A value of that type."""
        random = self._random
        if isinstance(kind, typing.NewType):
            ids = self._ids.get(kind)
            return random.choice(ids) if ids and random.random() < 0.8 else self.make(kind.__supertype__, depth)
        origin, parts = typing.get_origin(kind), typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return self.make(random.choice(parts), depth)
        if origin is tuple:
            return self._tuple(parts, depth)
        if origin is frozenset:
            return frozenset(self.make(parts[0], depth - 1) for _ in range(self._few(depth)))
        if isinstance(origin, type) and issubclass(origin, PMap):
            return PMap(
                {self.make(parts[0], depth - 1): self.make(parts[1], depth - 1) for _ in range(self._few(depth))}
            )
        if isinstance(kind, type):
            return self._plain(kind, depth)
        raise TypeError(f"no value of {kind} can be made up")

    def _plain(self, kind: type[Any], depth: int) -> Any:
        random = self._random
        if kind is types.NoneType:
            return None
        if kind is bool:
            return random.random() < 0.5
        if issubclass(kind, enum.Enum) and not issubclass(kind, int):
            return random.choice([*kind])
        if issubclass(kind, int):
            return kind(self._number())
        if kind is bytes:
            return self._word()
        if kind is str:
            return random.choice(TEXTS)
        if issubclass(kind, Secret):
            return kind(self._word())
        if issubclass(kind, Packed):
            return kind()
        if dataclasses.is_dataclass(kind):
            return self.finish.get(kind, _as_it_is)(self._record(kind, depth))
        raise TypeError(f"no value of {kind} can be made up")

    def _record(self, kind: type[Any], depth: int) -> Any:
        for _ in range(TRIES):
            with contextlib.suppress(ValueError, MlsError, NodeError):  # there is no such value
                return self._one_more(kind, depth)
        if kind in self._true:
            return self._random.choice(self._true[kind])
        raise Impossible(kind.__name__)

    def _one_more(self, kind: Any, depth: int) -> Any:
        random, hints = self._random, _hints(kind)
        names = [field.name for field in dataclasses.fields(kind) if field.init]
        true = self._true.get(kind)
        if true and random.random() < (0.6 if depth > 1 else 0.95):
            some = [] if random.random() < 0.3 else random.sample(names, min(len(names), random.choice((1, 1, 2))))
            made = {name: self.make(hints[name], depth - 1) for name in some}
            return dataclasses.replace(random.choice(true), **made)
        return kind(**{name: self.make(hints[name], depth - 1) for name in names})

    def _tuple(self, parts: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
        if len(parts) == 2 and parts[1] is Ellipsis:
            return tuple(self.make(parts[0], depth - 1) for _ in range(self._few(depth)))
        return tuple(self.make(each, depth - 1) for each in parts)

    def _few(self, depth: int) -> int:
        return self._random.choice((0, 1, 1, 2, 3)) if depth > 0 else 0

    def _word(self) -> bytes:
        random = self._random
        if self._words and random.random() < 0.8:
            found = random.choice(self._words)
            return found if random.random() < 0.9 else found[:-1]
        return random.randbytes(random.choice(SIZES))

    def _number(self) -> int:
        random = self._random
        if self._counts and random.random() < 0.5:
            return min(max(0, random.choice(self._counts) + random.choice((-1, 0, 0, 1))), NUMBERS[-1])
        return random.choice(NUMBERS)
