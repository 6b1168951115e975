"""What parameters, results and events are made of.

Text is `str` and bytes are `bin`, on the wire too. Numbers are integers within 2^53, so that JavaScript reads them
right; times are milliseconds since 1970, UTC. All that a caller can fill has a bound here: what is longer is refused
before a handler sees it.

A field that is `secret` is left out of logs, and of the digest by which a repeated request is known.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

MOST = 2**53 - 1
"""The greatest number that every language has as it is."""
MAX_SAID = 1024 * 1024
"""Bytes of one message."""


def sized(least: int, most: int) -> msgspec.Meta:
    """Bounds of bytes, as they are and not as they are in base64."""
    return msgspec.Meta(min_length=least, max_length=most, extra_json_schema={"x-bytes": [least, most]})


MAX_TIMEOUT = 600_000
"""The longest that a call may take, and how long it may take if nothing is said."""

Timeout = Annotated[int, msgspec.Meta(ge=1, le=MAX_TIMEOUT)]
RequestId = Annotated[bytes, sized(16, 16)]


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Named arguments. An unknown one is an error, lest a typing mistake mean the default."""

    timeout_ms: Timeout | None = None
    """After so long the call ends with E_TIMEOUT. What was done by then stays."""


class Change(Params, frozen=True, kw_only=True):
    """Of what changes something that is kept."""

    request_id: RequestId | None = None
    """16 random bytes: the same call with the same ones, within a day, gives the first answer and does nothing more."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Always a map. It may gain fields; clients pass over those that they do not know."""


class Nothing(Params, frozen=True, kw_only=True):
    """No arguments."""


class Just(Change, frozen=True, kw_only=True):
    """No arguments, of what changes something."""


class Done(Result, frozen=True, kw_only=True):
    """There is nothing to say beyond that it is done, and on disk."""


class Begun(Result, frozen=True, kw_only=True):
    """It is on disk and goes on by itself; `action.settled` says what became of it."""

    action: Annotated[bytes, sized(16, 16)]
    """Names this in events: the `request_id`, if there was one."""


Int = Annotated[int, msgspec.Meta(ge=-MOST, le=MOST)]
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Time = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Seq = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
Number32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
Most = Annotated[int, msgspec.Meta(ge=1, le=500)]

Id16 = Annotated[bytes, sized(16, 16)]
Id32 = Annotated[bytes, sized(32, 32)]
ActionId = Id16
DeviceId = Id16
PairId = Id16
AccountId = Id32
MsgId = Id32
ChatId = Annotated[bytes, sized(1, 255)]
EpochId = Annotated[bytes, sized(1, 255)]

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""What people call a device, an account or a chat: one line."""
MaybeName = Annotated[str, msgspec.Meta(max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=1000)]
Line = Annotated[str, msgspec.Meta(max_length=200)]
Path = Annotated[str, msgspec.Meta(min_length=1, max_length=4096)]
Link = Annotated[str, msgspec.Meta(min_length=1, max_length=80_000)]
Consumer = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern="^[A-Za-z0-9_.-]+$")]
Media = Annotated[str, msgspec.Meta(max_length=255)]
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=32)]

Data = Annotated[bytes, sized(0, MAX_SAID)]
Frame = Annotated[bytes, sized(1, 3 * MAX_SAID)]
Key = Annotated[bytes, sized(1, 4096)]

Secret = Annotated[str, msgspec.Meta(max_length=1024, extra={"secret": True})]
"""A passphrase."""
Words = Annotated[list[Word], msgspec.Meta(min_length=12, max_length=48, extra={"secret": True})]
"""A recovery phrase."""

Mode = Literal["demls", "ec1", "ec2", "lead", "dimls"]
"""How the members of a chat agree on an order (docs/node.md)."""
Who = Literal["everybody", "admins", "nobody"]
State = Literal["starting", "migrating", "locked", "ready", "stopping"]
