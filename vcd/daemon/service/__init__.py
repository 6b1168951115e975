"""What apps ask for: a handler for each row of `vcd.rpc.table` that is there already.

    messages    msg.*
    chats       chat.*; its picture is in graph
    contacts    contact.*
    account     account.*; recovery takes one up again when all its devices are lost
    backup      backup.create
    devices     device.*
    pairing     pair.*
    raw         raw.*
    system      status, health, metrics, the vault, KeyPackages, the end

A handler takes parameters as the table's type and gives the table's result. It decides nothing: it gives the node a
command, or reads what the node and the store have. Functions of the table without a handler answer E_NOT_THERE.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from vcd import logs
from vcd.daemon.house import House
from vcd.daemon.service import (
    account,
    backup,
    chats,
    contacts,
    devices,
    graph,
    messages,
    pairing,
    raw,
    recovery,
    system,
)
from vcd.rpc.calls import Call

Handler = Callable[[Call, Any], Awaitable[Any]]

_ROOMS = (messages, chats, graph, contacts, account, devices, backup, recovery, raw)


def handlers(house: House) -> Mapping[str, Handler]:
    """All of them, for `vcd.rpc.server.serve`."""
    found: dict[str, Handler] = {}
    for room in _ROOMS:
        for name, handle in room.HANDLERS.items():
            found[name] = _at_desk(house, handle)
    for name, handle in pairing.HANDLERS.items():
        found[name] = _pairing(house, handle)
    for name, handle in system.HANDLERS.items():
        found[name] = _in_house(house, handle)
    return found


def _at_desk(house: House, handle: Any) -> Handler:
    async def call_it(call: Call, given: Any) -> Any:
        logs.request.set(f"{call.client}:{call.method}")
        return await handle(house.desk(), call, given)

    return call_it


def _pairing(house: House, handle: Any) -> Handler:
    async def call_it(call: Call, given: Any) -> Any:
        logs.request.set(f"{call.client}:{call.method}")
        house.desk()
        assert house.open is not None  # noqa: S101 - there is a desk
        return await handle(house.open.pairing, call, given)

    return call_it


def _in_house(house: House, handle: Any) -> Handler:
    async def call_it(call: Call, given: Any) -> Any:
        logs.request.set(f"{call.client}:{call.method}")
        return await handle(house, call, given)

    return call_it
