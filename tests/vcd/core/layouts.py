"""How everything that is stored lies in bytes, as text: what `tests/vcd/core/test_older.py` compares with what it was.

    python -m tests.vcd.core.layouts > tests/vcd/core/data/layout-5.txt

writes the layout of the version that the program stores in (`vcd.core.stored.VERSION`). A class that is stored is a
paragraph, a field of it a line, with its type as it is written: what a `NewType` stands for, not its name. A star is
before what has rows of its own. In braces are the members of an enumeration and the choices of a union, with their
numbers: they may become more, and what was written before is read as it was.

Groups, sessions and the operations and epochs of an emulation are in formats of `mls`, which have versions of their own
and are only named here.
"""

from __future__ import annotations

import dataclasses
import enum
import re
import types
import typing
from typing import Any

from mls.secrets import Secret
from mls.virtual.emulation import Emulation, OperationKey
from vcd.core import stored
from vcd.core.ordering.graph import Anchor, Step
from vcd.core.packed import table_types
from vcd.core.record import NEWEST, came
from vcd.core.shapes import SPECIAL, own_shape
from vcd.core.state import State

Layout = dict[str, list[str]]
"""Lines by class."""

BESIDE = (stored._HeadOf, Anchor, Step, OperationKey)
"""Classes that are written and that no field of the state names: their rows are made by hand."""
BY_HAND = {State: ("emulation", "agenda"), Emulation: ("settings", "head", "epochs", "operations")}
"""Fields that are not written as their types say."""
BRACES = re.compile(r"\{[^{}]*\}")


def layout(version: int = NEWEST) -> Layout:
    """Of everything stored in that version."""
    found: Layout = {}
    for kind in (State, Emulation, *BESIDE):
        _type(kind, version, found)
    return {name: found[name] for name in sorted(found)}


def text(found: Layout) -> str:
    return "\n".join("\n".join([name, *(f"    {line}" for line in lines), ""]) for name, lines in found.items())


def parsed(data: str) -> Layout:
    found: Layout = {}
    name = ""
    for line in data.splitlines():
        if line.startswith(" "):
            found[name].append(line.strip())
        elif line:
            name = line
            found[name] = []
    return found


def reads(now: list[str], before: list[str]) -> bool:
    """Whether what was written like this before can be read now: it is the same, but for what may become more."""
    if [BRACES.sub("{}", line) for line in now] != [BRACES.sub("{}", line) for line in before]:
        return False
    pairs = zip(_choices(now), _choices(before), strict=True)
    return all(known <= choices for choices, known in pairs)


def _choices(lines: list[str]) -> list[set[str]]:
    return [set(each[1:-1].split(", ")) for line in lines for each in BRACES.findall(line)]


def _name(kind: type[Any]) -> str:
    return f"{kind.__module__.rpartition('.')[2]}.{kind.__qualname__}"


def _type(kind: Any, version: int, found: Layout) -> str:
    """How it is written; the classes in it are added to `found`."""
    if isinstance(kind, typing.NewType):
        return _type(kind.__supertype__, version, found)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(arguments, version, found)
    table = table_types(kind)
    if table is not None:  # however it lies in memory
        return f"PMap[{_type(table[1], version, found)}, {_type(table[2], version, found)}]"
    if origin is not None:
        inner = ", ".join("..." if each is ... else _type(each, version, found) for each in arguments)
        return f"{origin.__name__}[{inner}]"
    if kind is type(None):
        return "None"
    if issubclass(kind, Secret):
        return "Secret"
    if kind in SPECIAL or not (dataclasses.is_dataclass(kind) or issubclass(kind, enum.Enum)):
        return str(kind.__name__)
    name = _name(kind)
    if name not in found:
        found[name] = []
        found[name] += _members(kind) if issubclass(kind, enum.Enum) else _fields(kind, version, found)
    return name


def _union(arguments: tuple[Any, ...], version: int, found: Layout) -> str:
    rest = [each for each in arguments if each is not type(None)]
    choices = ["0 None"] if len(rest) < len(arguments) else []
    for place, each in enumerate(rest, start=1):
        choices.append(f"{getattr(each, 'RECORD_TAG', place)} {_type(each, version, found)}")
    return "{" + ", ".join(choices) + "}"


def _members(kind: type[enum.Enum]) -> list[str]:
    return ["{" + ", ".join(f"{each.value!r} {each.name}" for each in kind) + "}"]


def _fields(kind: type[Any], version: int, found: Layout) -> list[str]:
    hints = typing.get_type_hints(kind)
    lines = []
    for field in dataclasses.fields(kind):
        if not field.init or came(field) > version or field.name in BY_HAND.get(kind, ()):
            continue
        star = "" if own_shape("", hints[field.name]) is None else "* "
        lines.append(f"{star}{field.name}: {_type(hints[field.name], version, found)}")
    return lines


if __name__ == "__main__":
    print(text(layout()), end="")
