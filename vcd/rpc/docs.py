"""Writes the reference of the socket from the table: `python -m vcd.rpc.docs > docs/rpc.md`.

A test holds the page equal to what this prints.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from vcd.client.bridge import to_json
from vcd.rpc.api import describe, meanings
from vcd.rpc.errors import CODES
from vcd.rpc.params import APART
from vcd.rpc.row import Function
from vcd.rpc.table import BEFORE_HELLO, COMPATIBLE, EVENTS, FUNCTIONS, LEVEL, PRERELEASE
from vcd.rpc.values import Params

WIDTH = 118

_HEAD = """# The socket

Apps speak to the daemon by [msgpack-rpc](https://github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md) over a Unix
socket. This page is made from the table of functions (`python -m vcd.rpc.docs > docs/rpc.md`); `vcd api` and
`rpc.api_info` say the same as JSON Schema. [clients.md](clients.md) has clients in several languages.

## How to speak

**Where.** `$VCD_SOCKET`, else `$VCD_HOME/run/app.sock`, else `$XDG_RUNTIME_DIR/vcd/app.sock`. `admin.sock` beside it
serves everything; `app.sock` does not serve functions that are marked *admin*. Both are open to one user only, and the
daemon checks who connects.

**Messages** are those of the specification of 2013, back to back: `[0, msgid, method, params]` is a call,
`[1, msgid, error, result]` its answer, `[2, method, params]` a notification. Nothing else is sent or taken. `params` is
an array with one map in it, of named arguments; an unknown name is an error. A result is a map, and may gain fields:
pass over those that you do not know. Text is `str`, bytes and ids are `bin`, there are no extension types. Numbers are
integers within 2^53; times are milliseconds since 1970, UTC. One message has at most 4 MiB, either way. What is longer,
or no message, is told by a notification `rpc.error`, and then the connection is closed.

**Many calls at once.** Send as many as `limits.calls` without waiting. Answers come as they are ready, in any order.

**First** comes `rpc.hello`; only {before} work without it. Functions that are marked *early* also
work while the daemon is `starting`, `migrating`, `locked` or `stopping`; all others say so by an error then. Only
right after this device has got an account, by `account.create` or by pairing, they wait for a moment until it is open.

**Every call takes `timeout_ms`**, and ends with `E_TIMEOUT` after it. `rpc.cancel` gives a call up, and so does closing
the connection. What was done by then stays.

**Once only.** Functions that are marked *changes* take `request_id`, 16 random bytes. If an answer was lost, make the
same call with the same id: within a day it gives the first answer, and does nothing twice. `msg.send` is answered when
the message is on disk; it never waits for the network.

**Errors** are maps: `code` (for programs: it never changes), `num`, `message` (for people: it may), `retry` (`no`,
`later`, `after_event`), `data`, and sometimes `after_ms`. Beside its own, every function may give those from 1xxx, from
5xxx below 5010, and `E_INTERNAL`.

**Events** are a log on disk, numbered by `seq` without gaps; a filter leaves the numbers as they are.
`events.subscribe` replays those since `from`, then tells each as it happens, by notifications
`[2, "event", [{{sub, seq, log_id, type, at, chat, data}}]]`. Remember the last `seq` that you dealt with, or let the
daemon do so (`consumer`, `events.ack`), and go on from the next one after any interruption: nothing is lost. A reader
that takes nothing for half a minute while its queue is full is told `[2, "events.end", [{{sub, reason, next}}]]` with
the reason `lagging`, and subscribes again from `next`; other reasons are `expired`, `locked`, `stopping`. Who cannot
take notifications asks `events.next`. Entries are kept for as long as the settings say: `E_CURSOR_EXPIRED` means that
what was asked for is gone, so begin anew with `initial`. Another `log_id` than before means that it is another log. Of
a message that was deleted since, its event has only `deleted`.

**In JSON**, as in the examples below and in `vcd rpc --json`, bytes are `{{"$b": "base64"}}`.

This is level {level}{prerelease}; level {compatible} is the oldest that is still served.
Once a level is released, what its functions take and give does not change; events and results may gain fields.
"""


def page() -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(_page())).rstrip("\n") + "\n"


def _page() -> Iterator[str]:
    before = ", ".join(f"`{name}`" for name in FUNCTIONS if name in BEFORE_HELLO and name != "rpc.hello")
    prerelease = ", which is not released and may still change" if PRERELEASE else ""
    yield _HEAD.format(before=before.replace(", ", " and "), level=LEVEL, compatible=COMPATIBLE, prerelease=prerelease)
    yield from _contents()
    yield "## Functions"
    for function in FUNCTIONS.values():
        yield from _function(function)
    yield "\n## Events"
    for event in EVENTS.values():
        yield f"\n### {event.type}\n"
        yield f"{event.doc}\n"
        yield from _fields(event.data)
        yield from _code(event.example)
    yield "\n## Errors\n"
    yield "| code | number | retry | means | data |"
    yield "|---|---|---|---|---|"
    for row in CODES.values():
        yield f"| `{row.code}` | {row.num} | {row.retry} | {row.doc} | {_listed(row.data)} |"
    yield from _types()


def _contents() -> Iterator[str]:
    nouns: dict[str, list[str]] = {}
    for name in FUNCTIONS:
        nouns.setdefault(name.split(".")[0], []).append(name)
    yield "| | functions |"
    yield "|---|---|"
    for noun, names in nouns.items():
        links = " ".join(f"[{name.split('.')[1]}](#{name.replace('.', '')})" for name in names)
        yield f"| **{noun}** | {links} |"
    yield ""


def _function(function: Function) -> Iterator[str]:
    marks = [
        mark
        for mark, holds in (
            ("*admin*", function.socket == "admin"),
            ("*changes*", function.mutates),
            ("*early*", function.unready),
            (f"*since level {function.since}*", function.since > 1),
            (f"*deprecated since level {function.deprecated_since}*", function.deprecated_since is not None),
        )
        if holds
    ]
    yield f"\n### {function.name}\n"
    yield f"{function.doc}{' ' if marks else ''}{' '.join(marks)}\n"
    yield from _fields(function.params, without=APART)
    params, result = function.example
    yield from _code(params)
    yield f"gives {_name(function.result)}\n" if _shared(function.result) else "gives\n"
    if not _shared(function.result):
        yield from _fields(function.result)
    yield from _code(result)
    if function.errors:
        yield f"Errors: {_listed(function.errors)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _code(value: Any) -> Iterator[str]:
    plain = msgspec.to_builtins(value, builtin_types=(bytes,))
    if isinstance(value, Params):
        plain = {name: each for name, each in plain.items() if each not in (None, [], ())}
    text = json.dumps(to_json(plain), ensure_ascii=False)
    if len(text) > WIDTH:
        text = _folded(to_json(plain))
    yield f"```json\n{text}\n```\n"


def _folded(value: Any, indent: str = "") -> str:
    """JSON with what is short on one line."""
    flat = json.dumps(value, ensure_ascii=False)
    if len(flat) + len(indent) <= WIDTH - 20 or not isinstance(value, (dict, list)):
        return flat
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [f"{inner}{json.dumps(key)}: {_folded(each, inner)}" for key, each in value.items()]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(f"{inner}{_folded(each, inner)}" for each in value) + f"\n{indent}]"


# ---------------------------------------------------------------- types


def _fields(kind: type[msgspec.Struct], without: Iterable[str] = ()) -> Iterator[str]:
    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - for mypy
    fields = [each for each in info.fields if each.encode_name not in set(without)]
    if not fields:
        return
    meaning = meanings(kind)
    yield "| field | type | |"
    yield "|---|---|---|"
    for each in fields:
        default = (
            "" if each.required or each.default is None or each.default is msgspec.NODEFAULT else _default(each.default)
        )
        optional = "" if each.required else "optional"
        words = ". ".join(part for part in (optional + default, meaning.get(each.encode_name, "")) if part)
        yield f"| `{each.encode_name}` | {_type(each.type)} | {words} |"
    yield ""


def _default(value: Any) -> str:
    return f", {json.dumps(value)}" if value not in ((), "", b"") else ""


def _type(kind: Any) -> str:
    inspect = msgspec.inspect
    match kind:
        case inspect.Metadata():
            return _type(kind.type)
        case inspect.UnionType():
            return " or ".join(_type(each) for each in kind.types)
        case inspect.NoneType():
            return "null"
        case inspect.BoolType():
            return "bool"
        case inspect.IntType():
            return f"int{_range(kind.ge, kind.le)}"
        case inspect.StrType():
            return f"str{_length(kind.min_length, kind.max_length)}"
        case inspect.BytesType():
            return f"bin{_length(kind.min_length, kind.max_length)}"
        case inspect.LiteralType():
            return " ".join(f"`{each}`" if each else '`""`' for each in kind.values)
        case inspect.ListType() | inspect.VarTupleType():
            return f"list{_length(kind.min_length, kind.max_length)} of {_type(kind.item_type)}"
        case inspect.DictType():
            return f"map of {_type(kind.value_type)}"
        case inspect.StructType():
            return _name(kind.cls)
        case _:
            return "any"


def _range(least: int | None, most: int | None) -> str:
    if least == 0 and (most is None or most >= 2**53 - 1):
        return " ≥ 0"
    if least is None or most is None or most >= 2**53 - 1:
        return ""
    return f" {least}…{most}"


def _length(least: int | None, most: int | None) -> str:
    if most is None:
        return ""
    return f"({most})" if least == most else f"({least or 0}…{most})"


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """The structs that a type has within."""
    inspect = msgspec.inspect
    match kind:
        case inspect.StructType():
            yield kind.cls
            for each in kind.fields:
                yield from _structs(each.type)
        case inspect.Metadata():
            yield from _structs(kind.type)
        case inspect.UnionType():
            for member in kind.types:
                yield from _structs(member)
        case inspect.ListType() | inspect.VarTupleType():
            yield from _structs(kind.item_type)
        case _:
            return


def _names() -> dict[type[msgspec.Struct], str]:
    """What stands apart, by its name: structs within others, and results of several functions."""
    found: dict[type[msgspec.Struct], None] = {}
    results = [function.result for function in FUNCTIONS.values()]
    for result in results:
        if results.count(result) > 1:
            found[result] = None
    tops: list[type[msgspec.Struct]] = [kind for row in FUNCTIONS.values() for kind in (row.params, row.result)]
    tops += [row.data for row in EVENTS.values()]
    for top in tops:
        info = msgspec.inspect.type_info(top)
        for each in list(_structs(info))[1:]:
            found[each] = None
    names: dict[type[msgspec.Struct], str] = {}
    for kind in found:
        noun = kind.__module__.rpartition(".")[2].capitalize()
        taken = [each for each in found if each.__name__ == kind.__name__]
        names[kind] = kind.__name__ if len(taken) == 1 else f"{noun}{kind.__name__}"
    return names


_NAMES = _names()


def _shared(kind: type[msgspec.Struct]) -> bool:
    return kind in _NAMES


def _name(kind: Any) -> str:
    name = _NAMES[kind]
    return f"[{name}](#{name.lower()})"


def _types() -> Iterator[str]:
    yield "\n## Types"
    for kind, name in sorted(_NAMES.items(), key=lambda each: each[1]):
        yield f"\n### {name}\n"
        doc = (kind.__doc__ or "").split("\n\n")[0]
        if doc and not doc.startswith(f"{kind.__name__}("):
            yield " ".join(doc.split()) + "\n"
        yield from _fields(kind)


def main() -> None:
    if "--json" in sys.argv[1:]:
        json.dump(describe(), sys.stdout, ensure_ascii=False, indent=1)
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main()
