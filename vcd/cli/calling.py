"""Everything that the daemon can do, without a command of its own: `call`, `rpc`, `api`.

The types of arguments come from the table of functions, so `seq=812` is a number where a number is asked for. A newer
daemon may have functions that this table does not know: their arguments are text, or JSON with `:=`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

import click

from vcd.cli import names
from vcd.cli.talk import Talk
from vcd.cli.text import plain
from vcd.cli.troubles import USAGE, Trouble
from vcd.cli.verbs import command
from vcd.client import new_request_id


@command(
    None,
    "call",
    example='vcd call chat.list\nvcd call msg.send chat=tea data="tea at five?"\n'
    """vcd call chat.set_rules chat=tea rules:='{"add": "admins"}'""",
)
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[NAME=VALUE]...")
def call(talk: Talk, method: str, arguments: Sequence[str]) -> None:
    """Call any function of the daemon.

    NAME=VALUE is read as what the function takes: text, a number, yes or no; bytes are hex or base64; devices, chats
    and contacts also go by name; what a message says (`data`) is text. NAME:=JSON is JSON, with bytes as {"$b":
    "base64"}; NAME=@FILE is what is in a file. Secrets belong into NAME:=@FILE or NAME=@FILE.
    """
    from vcd.rpc.table import FUNCTIONS

    row = FUNCTIONS.get(method)
    given: dict[str, Any] = {}
    for each in arguments:
        name, value = _argument(talk, method, each)
        given[name] = value
    if row is not None and row.mutates:
        given.setdefault("request_id", new_request_id())
    asked = talk.of_owner if row is not None and row.socket == "admin" else talk.ask
    done = asked(method, **given)
    talk.give(done, lambda: _folded(done))


def _folded(done: Any) -> str:
    from vcd.client.bridge import to_json

    return json.dumps(to_json(done), ensure_ascii=True, indent=2)


def _argument(talk: Talk, method: str, said: str) -> tuple[str, Any]:
    name, equals, text = said.partition("=")
    if not equals or not name.rstrip(":"):
        raise _usage(f"{said!r} is no argument: write NAME=VALUE or NAME:=JSON.", method)
    as_json = name.endswith(":")
    name = name.removesuffix(":")
    data: bytes | None = None
    if text.startswith("@"):
        with open(text[1:], "rb") as file:  # noqa: PTH123 - also /dev/fd/3
            data = file.read(8 << 20)
    elif name.removesuffix(":") in _secrets(method):
        raise _usage(
            f"{name.removesuffix(':')} is a secret, which other processes would see: give it as {name}=@FILE,"
            f" or {name}=@/dev/fd/3 with 3<FILE.",
            method,
        )
    if as_json:
        from vcd.client.bridge import from_json

        try:
            return name, from_json(json.loads(data if data is not None else text))
        except (ValueError, RecursionError) as error:
            raise _usage(f"{name} is not JSON: {error}.", method) from None
    return name, _typed(talk, method, name, text, data)


def _typed(talk: Talk, method: str, name: str, text: str, data: bytes | None) -> Any:
    kind = _kind(method, name)
    if kind == "bytes":
        if data is not None:
            return data
        if name == "data":
            return text.encode()
        return _identified(talk, method, name, text)
    if data is not None:
        try:
            text = data.decode().rstrip("\n")
        except UnicodeDecodeError:
            raise _usage(f"{name} is text, and the file is not UTF-8.", method) from None
    match kind:
        case "int":
            try:
                return int(text)
            except ValueError:
                raise _usage(f"{name} is a number, not {text!r}.", method) from None
        case "bool":
            answers = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
            if text.lower() not in answers:
                raise _usage(f"{name} is yes or no, not {text!r}.", method)
            return answers[text.lower()]
        case "words":
            return text.split()
        case "other":
            raise _usage(f"{name} is not one value: write {name}:=JSON.", method)
        case _:
            return text


def _identified(talk: Talk, method: str, name: str, text: str) -> bytes:
    found = names.read_id(text)
    whole = {"account": 32, "device": 16}.get(name)
    if name == "account" and (found is None or len(found) != whole):
        return names.contact(talk, text)["account"]  # type: ignore[no-any-return]  # the wire's
    if name == "device" and (found is None or len(found) != whole):
        return names.device(talk, text)["device"]  # type: ignore[no-any-return]  # the wire's
    if name == "chat" and method not in {"raw.create", "raw.join"}:
        return names.chat(talk, text)["chat"]  # type: ignore[no-any-return]  # the wire's
    if found is None:
        raise _usage(f"{name} is bytes: hex, base64, or {name}=@FILE.", method)
    return found


def _secrets(method: str) -> frozenset[str]:
    from vcd.rpc.params import secrets
    from vcd.rpc.table import FUNCTIONS

    row = FUNCTIONS.get(method)
    return frozenset() if row is None else secrets(row.params)


def _kind(method: str, name: str) -> str:
    """What an argument is, as the table says: text, int, bool, bytes, words, other."""
    import msgspec

    from vcd.rpc.table import FUNCTIONS

    row = FUNCTIONS.get(method)
    if row is None:
        return "text"
    info = msgspec.inspect.type_info(row.params)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - for mypy
    field = next((each for each in info.fields if each.encode_name == name), None)
    if field is None:
        return "text"  # the daemon says that there is none, and which is nearest
    match _bare(field.type):
        case msgspec.inspect.IntType():
            return "int"
        case msgspec.inspect.BoolType():
            return "bool"
        case msgspec.inspect.BytesType():
            return "bytes"
        case msgspec.inspect.StrType() | msgspec.inspect.LiteralType():
            return "text"
        case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
            return (
                "words" if isinstance(_bare(item), msgspec.inspect.StrType | msgspec.inspect.LiteralType) else "other"
            )
        case _:
            return "other"


def _bare(kind: Any) -> Any:
    """A type without its bounds, and without None."""
    import msgspec

    while True:
        if isinstance(kind, msgspec.inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, msgspec.inspect.UnionType):
            kind = next(each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType))
        else:
            return kind


def _usage(text: str, method: str) -> Trouble:
    return Trouble(text, f"`vcd api {method}` says what the function takes.", code="usage", status=USAGE)


@command(None, "rpc", example='echo \'{"id": 1, "method": "chat.list"}\' | vcd rpc --json')
@click.option("--admin", is_flag=True, help="On the socket that serves everything.")
def rpc(talk: Talk, admin: bool) -> int:
    """Speak for a program: JSON values on standard input and output, one a line (docs/clients.md)."""
    if not talk.json:
        raise Trouble("JSON is the only way to speak here.", "Say so: vcd rpc --json", code="usage", status=USAGE)
    from vcd.client import bridge

    return bridge.run(sys.stdin.buffer, sys.stdout.buffer, talk.paths()[admin], name="vcd rpc")


@command(None, "api", example="vcd api\nvcd api msg.send\nvcd api --json > vcd.api.json")
@click.argument("method", required=False)
@click.option("--msgpack", is_flag=True, help="As msgpack, for programs that make clients.")
def api(talk: Talk, method: str | None, msgpack: bool) -> None:
    """All functions, events and errors, or one function; without a daemon."""
    from vcd.rpc.api import describe
    from vcd.rpc.table import EVENTS, FUNCTIONS

    if method is None and msgpack:
        import msgpack as packing

        sys.stdout.buffer.write(packing.packb(describe()))
        sys.stdout.buffer.flush()
        return
    if method is None:
        rows = [f"{name:<26} {row.doc}" for name, row in FUNCTIONS.items()]
        rows += ["", *(f"{name:<26} {event.doc}" for name, event in EVENTS.items())]
        talk.give(describe(), "\n".join(rows) + "\n\n`vcd api NAME` says more; so does docs/rpc.md.")
        return
    if method in EVENTS:
        event = next(each for each in describe()["events"] if each["type"] == method)
        talk.give(event, lambda: _event_shown(method))
        return
    if method not in FUNCTIONS:
        from vcd.rpc.params import nearest

        near = nearest(method, [*FUNCTIONS, *EVENTS])
        hint = f" Did you mean {near}?" if near else ""
        raise Trouble(f"There is no {method!r}.{hint}", "`vcd api` lists all there are.", code="E_METHOD_UNKNOWN")
    function = next(each for each in describe()["functions"] if each["name"] == method)
    talk.give({**function, "$defs": describe()["$defs"]}, lambda: _function_shown(method))


def _function_shown(method: str) -> str:
    from vcd.rpc.table import FUNCTIONS

    row = FUNCTIONS[method]
    given, result = row.example
    lines = [row.doc, "", "takes", *_fields_shown(row.params), "", "gives", *_fields_shown(row.result), ""]
    lines += ["for example", _indented(given), "gives", _indented(result)]
    if row.errors:
        lines += ["", f"errors: {', '.join(row.errors)}"]
    return "\n".join(lines)


def _event_shown(name: str) -> str:
    from vcd.rpc.table import EVENTS

    event = EVENTS[name]
    return "\n".join([event.doc, "", "says", *_fields_shown(event.data), "", "for example", _indented(event.example)])


def _fields_shown(kind: Any) -> list[str]:
    import msgspec

    from vcd.rpc.api import meanings
    from vcd.rpc.params import APART

    info = msgspec.inspect.type_info(kind)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - for mypy
    words = meanings(kind)
    lines = []
    for each in info.fields:
        if each.encode_name in APART:
            continue
        optional = "" if each.required else " (optional)"
        meaning = words.get(each.encode_name, "")
        lines.append(f"  {each.encode_name}{optional}{': ' if meaning else ''}{meaning}")
    return lines or ["  nothing"]


def _indented(value: Any) -> str:
    import msgspec

    from vcd.client.bridge import to_json

    plain_value = msgspec.to_builtins(value, builtin_types=(bytes,))
    text = json.dumps(to_json({k: v for k, v in plain_value.items() if v is not None}), ensure_ascii=False, indent=2)
    return "\n".join(f"  {plain(line)}" for line in text.splitlines())
