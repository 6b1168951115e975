"""What a value in vcd.toml may be: how each kind is read from TOML and from one line of text, written, and described.

A kind turns what stands in a file, in the environment or behind a flag into the one value the program uses: times
are milliseconds, sizes are bytes, lists are tuples. What it refuses, it refuses with a sentence for people that says
what would do instead. `schema` says the same to editors, as JSON Schema.

A whole number is taken as seconds where a time belongs, and as bytes where a size does. Text says its unit: "30 d",
"1 h 30 min", "1 MiB".
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from vcd.config.addresses import check_listen, check_peer, check_place
from vcd.paths import SOCKET_PATH

Schema = dict[str, Any]

LONGEST: Final = 4096
"""Characters of one text."""
QUOTED: Final = 40
"""Characters of a wrong value that an error repeats. Longer ones may be a secret in the wrong place."""

SECOND: Final = 1000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30

_TIMES: Final = {"ms": 1, "s": SECOND, "min": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_SIZES: Final = {
    "B": 1,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": KIB,
    "MiB": MIB,
    "GiB": GIB,
    "TiB": 1 << 40,
}
_PART: Final = r"([0-9]{1,15})(?:\.([0-9]{1,6}))? ?([A-Za-z]+)"
_WHOLE: Final = re.compile(r"[0-9]{1,18}\Z")


class Wrong(ValueError):
    """A value that will not do; the text says what would."""


def quoted(value: object) -> str:
    """A wrong value as an error may show it: short, on one line."""
    if isinstance(value, str):
        return json.dumps(value) if len(value) <= QUOTED else f"a text of {len(value)} characters"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        shown = repr(value) if isinstance(value, float) or abs(value) < 1 << 63 else "a very large number"
        return shown[:QUOTED]
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a table"
    return "a date or a time"


class Kind(ABC):
    """One kind of value."""

    __slots__ = ()

    @abstractmethod
    def take(self, value: object) -> Any:
        """From a TOML value; `Wrong` if it will not do."""

    @abstractmethod
    def read(self, text: str) -> Any:
        """From one line of text: the environment, a flag."""

    @abstractmethod
    def show(self, value: Any) -> str:
        """As it stands in a TOML file."""

    @abstractmethod
    def schema(self) -> Schema:
        """For editors."""

    def words(self) -> str:
        """What may stand there, for the comment above it; empty if the default shows it."""
        return ""


@dataclass(frozen=True, slots=True)
class YesNo(Kind):
    def take(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        raise Wrong(f"must be true or false, without quotes, not {quoted(value)}")

    def read(self, text: str) -> bool:
        match text.strip().lower():
            case "true" | "yes" | "on" | "1":
                return True
            case "false" | "no" | "off" | "0":
                return False
            case _:
                raise Wrong(f"must be true or false, not {quoted(text)}")

    def show(self, value: Any) -> str:
        return "true" if value else "false"

    def schema(self) -> Schema:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Count(Kind):
    low: int
    high: int

    def take(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong(f"must be a whole number, not {quoted(value)}")
        if not self.low <= value <= self.high:
            raise Wrong(f"must be {self.words()}, not {quoted(value)}")
        return value

    def read(self, text: str) -> int:
        return self.take(int(text) if _WHOLE.match(text.strip()) else text)

    def show(self, value: Any) -> str:
        return str(value)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}

    def words(self) -> str:
        return f"from {self.low} to {self.high}"


@dataclass(frozen=True, slots=True)
class OneNumber(Kind):
    """One of some numbers that mean something."""

    allowed: tuple[int, ...]

    def take(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and value in self.allowed:
            return value
        raise Wrong(f"must be {self.words()}, not {quoted(value)}")

    def read(self, text: str) -> int:
        return self.take(int(text) if _WHOLE.match(text.strip()) else text)

    def show(self, value: Any) -> str:
        return str(value)

    def schema(self) -> Schema:
        return {"enum": list(self.allowed)}

    def words(self) -> str:
        return "one of " + ", ".join(map(str, self.allowed))


@dataclass(frozen=True, slots=True)
class Choice(Kind):
    names: tuple[str, ...]

    def take(self, value: object) -> str:
        if isinstance(value, str) and value in self.names:
            return value
        near = nearest(value, self.names) if isinstance(value, str) else None
        hint = f'; did you mean "{near}"?' if near else ""
        raise Wrong(f"must be {self.words()}{hint}" if near else f"must be {self.words()}, not {quoted(value)}")

    def read(self, text: str) -> str:
        return self.take(text.strip())

    def show(self, value: Any) -> str:
        return json.dumps(value)

    def schema(self) -> Schema:
        return {"enum": list(self.names)}

    def words(self) -> str:
        return "one of " + ", ".join(f'"{name}"' for name in self.names)


@dataclass(frozen=True, slots=True)
class Line(Kind):
    """One line of text without control characters."""

    most: int

    def take(self, value: object) -> str:
        if not isinstance(value, str):
            raise Wrong(f"must be text in quotes, not {quoted(value)}")
        if len(value) > self.most:
            raise Wrong(f"must have at most {self.most} characters, this has {len(value)}")
        if not value.isprintable():
            raise Wrong("must be one line without control characters")
        return value

    def read(self, text: str) -> str:
        return self.take(text)

    def show(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": self.most}


@dataclass(frozen=True, slots=True)
class File(Kind):
    """An absolute path, or one that begins with `~/`; empty: the usual place. A socket's fits into its address."""

    socket: bool = False

    def take(self, value: object) -> str:
        if not isinstance(value, str):
            raise Wrong(f"must be a path in quotes, not {quoted(value)}")
        if not value:
            return ""
        if len(value) > LONGEST or not value.isprintable():
            raise Wrong(f"must be a path of at most {LONGEST} characters, without control characters")
        path = os.path.expanduser(value)  # noqa: PTH111 - Path would drop what the checks below look at
        if not os.path.isabs(path):  # noqa: PTH117
            raise Wrong('must be a path from the root or from home: "/..." or "~/..."')
        if ".." in path.split("/") or path.endswith("/"):
            raise Wrong('must be the path of a file, without ".." in it')
        if self.socket and len(os.fsencode(path)) > SOCKET_PATH:
            raise Wrong(f"is too long: the system takes at most {SOCKET_PATH} bytes for the path of a socket")
        return path

    def read(self, text: str) -> str:
        return self.take(text)

    def show(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def schema(self) -> Schema:
        return {"type": "string", "maxLength": LONGEST, "pattern": "^($|/|~)"}


@dataclass(frozen=True, slots=True)
class _Measured(Kind):
    """A number with a unit; None if `without` is said."""

    low: int
    high: int
    without: str = ""
    """A word that stands for no limit; empty if there has to be one."""

    @abstractmethod
    def units(self) -> dict[str, int]: ...

    @abstractmethod
    def spell(self, value: int) -> str:
        """In words that can be read again."""

    @abstractmethod
    def whole(self, value: int) -> int:
        """What a bare number means."""

    @abstractmethod
    def example(self) -> str: ...

    def take(self, value: object) -> int | None:
        if isinstance(value, str):
            return self.read(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong(f"must be {self.example()}, not {quoted(value)}")
        return self._within(self.whole(value), value)

    def read(self, text: str) -> int | None:
        stripped = text.strip()
        if self.without and stripped == self.without:
            return None
        if _WHOLE.match(stripped):
            return self._within(self.whole(int(stripped)), text)
        return self._within(self._sum(stripped), text)

    def _sum(self, text: str) -> int:
        units, total = self.units(), 0
        if len(text) > QUOTED or not re.fullmatch(rf"{_PART}(?: {_PART})*", text):
            raise Wrong(f"must be {self.example()}, not {quoted(text)}")
        for digits, fraction, unit in re.findall(_PART, text):
            if unit not in units:
                raise Wrong(f"has no unit {quoted(unit)}; there are {', '.join(units)}")
            total += int(digits) * units[unit]
            if fraction:
                total += int(fraction) * units[unit] // 10 ** len(fraction)
        return total

    def _within(self, amount: int, said: object) -> int:
        if not self.low <= amount <= self.high:
            raise Wrong(f"must be {self.words()}, not {quoted(said)}")
        return amount

    def show(self, value: Any) -> str:
        return json.dumps(self.without if value is None else self.spell(value))

    def schema(self) -> Schema:
        units = "|".join(self.units())
        pattern = rf"^ *([0-9]+|[0-9]+(\.[0-9]+)? ?({units})( [0-9]+(\.[0-9]+)? ?({units}))*) *$"
        texts: list[Schema] = [{"type": "string", "pattern": pattern}]
        if self.without:
            texts.append({"const": self.without})
        return {"anyOf": [{"type": "integer", "minimum": 0}, *texts]}

    def words(self) -> str:
        span = f"from {self.spell(self.low)} to {self.spell(self.high)}"
        return f'{span}, or "{self.without}"' if self.without else span


def spelled(value: int, units: dict[str, int]) -> str:
    """In the largest unit that it is a whole number of."""
    names = sorted(units, key=units.__getitem__, reverse=True)
    unit = next(name for name in names if value % units[name] == 0 or units[name] == 1)
    return f"{value // units[unit]} {unit}"


@dataclass(frozen=True, slots=True)
class Time(_Measured):
    """In milliseconds."""

    def units(self) -> dict[str, int]:
        return _TIMES

    def spell(self, value: int) -> str:
        if value == 0:
            return "0 s"
        return spelled(value, {name: amount for name, amount in _TIMES.items() if name != "w"})

    def whole(self, value: int) -> int:
        return value * SECOND

    def example(self) -> str:
        return 'a time such as "30 d", "5 min" or a whole number of seconds'


@dataclass(frozen=True, slots=True)
class Size(_Measured):
    """In bytes."""

    def units(self) -> dict[str, int]:
        return _SIZES

    def spell(self, value: int) -> str:
        return spelled(value, {name: amount for name, amount in _SIZES.items() if "i" in name or name == "B"})

    def whole(self, value: int) -> int:
        return value

    def example(self) -> str:
        return 'a size such as "64 MiB" or a whole number of bytes'


@dataclass(frozen=True, slots=True)
class Address(Kind):
    """A multiaddr: to listen at, or of a peer, whose id stands at its end."""

    listen: bool = False

    def take(self, value: object) -> str:
        if not isinstance(value, str):
            raise Wrong(f"must be an address in quotes, not {quoted(value)}")
        try:
            (check_listen if self.listen else check_place)(value)
        except ValueError as error:
            raise Wrong(f"{error}; it looks like {self.words()}") from None
        return value

    def read(self, text: str) -> str:
        return self.take(text.strip())

    def show(self, value: Any) -> str:
        return json.dumps(value)

    def schema(self) -> Schema:
        if self.listen:
            return {"type": "string", "pattern": "^/ip[46]/[^/]+/tcp/[0-9]+$"}
        return {"type": "string", "pattern": "^/(ip4|ip6|dns|dns4|dns6)/[^/]+/tcp/[0-9]+/.*p2p/[^/]+$"}

    def words(self) -> str:
        return '"/ip4/0.0.0.0/tcp/4001"' if self.listen else '"/ip4/192.0.2.1/tcp/4001/p2p/12D3KooW..."'


@dataclass(frozen=True, slots=True)
class Peer(Kind):
    """The id of a peer."""

    def take(self, value: object) -> str:
        if not isinstance(value, str) or not check_peer(value):
            raise Wrong(f'must be the id of a peer, "12D3KooW..." with 52 characters, not {quoted(value)}')
        return value

    def read(self, text: str) -> str:
        return self.take(text.strip())

    def show(self, value: Any) -> str:
        return json.dumps(value)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$"}


@dataclass(frozen=True, slots=True)
class Word(Kind):
    """A name as the system has them: of a user, of an interface."""

    what: str

    def take(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", value):
            raise Wrong(f"must be {self.what} in quotes, not {quoted(value)}")
        return value

    def read(self, text: str) -> str:
        return self.take(text.strip())

    def show(self, value: Any) -> str:
        return json.dumps(value)

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^[A-Za-z0-9_.:-]{1,64}$"}


@dataclass(frozen=True, slots=True)
class Each(Kind):
    """A list of one kind, each entry once. As text: with commas between them, or as TOML in brackets."""

    kind: Kind
    most: int

    def take(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise Wrong(f"must be a list in brackets, not {quoted(value)}")
        if len(value) > self.most:
            raise Wrong(f"must have at most {self.most} entries, this has {len(value)}")
        taken: list[Any] = []
        for number, entry in enumerate(value, 1):
            try:
                one = self.kind.take(entry)
            except Wrong as wrong:
                raise Wrong(f"entry {number} {wrong}") from None
            if one in taken:
                raise Wrong(f"has entry {number} twice")
            taken.append(one)
        return tuple(taken)

    def read(self, text: str) -> tuple[Any, ...]:
        if text.strip().startswith("["):
            return self.take(toml_value(text.strip()))
        return self.take([part.strip() for part in text.split(",")] if text.strip() else [])

    def show(self, value: Sequence[Any]) -> str:
        return f"[{', '.join(map(self.kind.show, value))}]"

    def schema(self) -> Schema:
        return {"type": "array", "items": self.kind.schema(), "maxItems": self.most, "uniqueItems": True}

    def words(self) -> str:
        return f"each like {self.kind.words()}" if isinstance(self.kind, Address) else ""


def toml_value(text: str) -> object:
    """A value written as TOML on one line."""
    if "\n" in text or "\r" in text:
        raise Wrong("must be on one line")
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        raise Wrong("is not TOML: texts stand in quotes, and entries have commas between them") from None


def nearest(wrong: str, names: Sequence[str]) -> str | None:
    """The name that was most likely meant."""
    import difflib

    if len(wrong) > 100:
        return None
    return next(iter(difflib.get_close_matches(wrong, names, n=1, cutoff=0.6)), None)
