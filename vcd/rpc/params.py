"""What a function is given: read by its type, and what to say of it when it is wrong.

Every function has one decoder, made when it is first called. Unknown arguments are refused with the name that is
nearest, at any depth. Of a call that changes something there is a digest, by which a repeated request is told from
another one of the same id; secrets are no part of it, as it is stored.
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterable
from functools import cache
from typing import Any

import msgspec

from vcd.rpc.errors import Failure
from vcd.rpc.row import Function
from vcd.rpc.values import Params

APART = frozenset({"request_id", "timeout_ms"})
"""Arguments that say how to call, not what for."""


@cache
def _decoder(params: type[Params]) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(tuple[params], strict=True)  # type: ignore[valid-type]  # made at run time


def read(function: Function, raw: bytes | msgspec.Raw) -> Params:
    """The arguments of a call."""
    try:
        (params,) = _decoder(function.params).decode(raw)
    except msgspec.DecodeError as error:
        raise _wrong(function.params, str(error)) from None
    except (UnicodeDecodeError, RecursionError):  # text that is none; what is nested too deep to pass over
        raise Failure("E_PARAMS") from None
    assert isinstance(params, Params)  # noqa: S101 - for mypy
    return params


_PLACE = re.compile(r" - at `(?:key in )?([^`]*)`$")
_UNKNOWN = re.compile(r"^Object contains unknown field `(.*)`$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(.*)`$")

_BOUND = re.compile(r"^Expected `(\w+)`(?: of length)? (<=|>=) (-?\d+)$")
_KIND = re.compile(r"^Expected `([\w |]+)`, got `(\w+)`$")
_FORM = re.compile(r"^Expected `str` matching regex '(.*)'$", re.DOTALL)
_NONE_OF = "Invalid enum value "
_KINDS = {
    "array": "a list",
    "bool": "true or false",
    "bytes": "bytes",
    "float": "a number with a fraction",
    "int": "a whole number",
    "null": "nothing",
    "object": "a map",
    "str": "text",
}
_COUNTED = {"str": " characters", "bytes": " bytes", "array": " of them", "object": " of them"}


def _spoken(what: str) -> str:
    """What the decoder says of a value, in words for people; as it is where it says something else."""
    if bound := _BOUND.match(what):
        kind, side, number = bound.groups()
        if (side, number) == (">=", "1") and kind in _COUNTED:
            return "must not be empty"
        return f"{'at most' if side == '<=' else 'at least'} {number}{_COUNTED.get(kind, '')}"
    if kinds := _KIND.match(what):
        wanted = " or ".join(_KINDS.get(each, each) for each in kinds[1].split(" | "))
        return f"must be {wanted}, not {_KINDS.get(kinds[2], kinds[2])}"
    if form := _FORM.match(what):
        return f"must look like {form[1]}"
    if what.startswith(_NONE_OF):
        return f"must not be {what.removeprefix(_NONE_OF)}"
    return f"{what[:1].lower()}{what[1:]}"


def _wrong(params: type[Params], text: str) -> Failure:
    place = _PLACE.search(text)
    what = text[: place.start()] if place else text
    path = place[1] if place else "$"
    if not path.startswith("$[0]"):
        return Failure("E_PARAMS")
    path = path.removeprefix("$[0]").removeprefix(".")
    unknown, missing = _UNKNOWN.match(what), _MISSING.match(what)
    if unknown:
        name = _joined(path, unknown[1][:64])
        near = nearest(unknown[1], _names(params, path))
        hint = f"; maybe `{_joined(path, near)}`" if near else ""
        return Failure("E_PARAM_UNKNOWN", f"There is no argument `{name}`{hint}.", data={"name": name, "nearest": near})
    if missing:
        name = _joined(path, missing[1])
        return Failure("E_PARAM_MISSING", f"`{name}` is missing.", data={"name": name})
    if not path:
        return Failure("E_PARAMS")
    return Failure("E_PARAM_INVALID", f"`{path}`: {_spoken(what)}.", data={"path": path})


def _joined(path: str, name: str | None) -> str:
    return f"{path}.{name}" if path else f"{name}"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Which of the names was probably meant."""
    found = difflib.get_close_matches(name[:64], list(names), n=1, cutoff=0.6)
    return found[0] if found else None


def _names(params: type[Params], path: str) -> list[str]:
    """The names that there are in the map at a path."""
    kind: Any = msgspec.inspect.type_info(params)
    for part in re.findall(r"[^.\[\]]+", path):
        kind = _plain(kind)
        if isinstance(kind, msgspec.inspect.StructType):
            kind = next((each.type for each in kind.fields if each.encode_name == part), None)
        else:
            kind = getattr(kind, "item_type", None)
    kind = _plain(kind)
    return [each.encode_name for each in kind.fields] if isinstance(kind, msgspec.inspect.StructType) else []


def _plain(kind: Any) -> Any:
    """A type without what was noted of it, and without None."""
    while True:
        if isinstance(kind, msgspec.inspect.Metadata):
            kind = kind.type
        elif isinstance(kind, msgspec.inspect.UnionType):
            kind = next((each for each in kind.types if not isinstance(each, msgspec.inspect.NoneType)), None)
        else:
            return kind


# ---------------------------------------------------------------- secrets, and digests


@cache
def secrets(params: type[Params]) -> frozenset[str]:
    """The arguments that nobody writes down."""
    info = msgspec.inspect.type_info(params)
    assert isinstance(info, msgspec.inspect.StructType)  # noqa: S101 - for mypy
    return frozenset(each.encode_name for each in info.fields if _secret(each.type))


def _secret(kind: Any) -> bool:
    if isinstance(kind, msgspec.inspect.Metadata):
        return bool((kind.extra or {}).get("secret")) or _secret(kind.type)
    if isinstance(kind, msgspec.inspect.UnionType):
        return any(_secret(each) for each in kind.types)
    return False


_canonical = msgspec.msgpack.Encoder(order="deterministic")


def digest(function: Function, params: Params) -> bytes:
    """What tells a call from others: its method and arguments, but for secrets and what is apart."""
    fields = msgspec.to_builtins(params, builtin_types=(bytes,))
    left_out = APART | secrets(function.params)
    said = {name: value for name, value in fields.items() if name not in left_out}
    return hashlib.sha256(_canonical.encode([function.name, said])).digest()
