"""What a row of the table is: a function, an event, and the examples that both come with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec

from vcd.rpc.values import Params, Result

Socket = Literal["app", "admin"]


class EventData(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says. It may gain fields."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """Something that can be asked for."""

    name: str
    params: type[Params]
    result: type[Result]
    doc: str
    """One sentence or two, for people."""
    example: tuple[Params, Result]
    socket: Socket = "app"
    """The least that it is served on: `admin.sock` has everything, `app.sock` only what says `app`."""
    mutates: bool = False
    """It changes what is kept, so it takes a `request_id`, and the same one again does nothing twice."""
    unready: bool = False
    """It is also there while the daemon is starting, locked or migrating."""
    since: int = 1
    deprecated_since: int | None = None
    errors: tuple[str, ...] = ()
    """Beyond those that every function may give (1xxx and 9xxx, E_STORE_*)."""


DataType = type[EventData]  # `type` is a field below


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """Something that the daemon tells."""

    type: str
    data: DataType
    doc: str
    example: EventData
    since: int = 1
