"""device.*: the account's devices, and their removal. Pairing is in `vcd.daemon.service.pairing`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcd.core import inputs
from vcd.core.names import DeviceId, IntentId
from vcd.core.policy import of_group
from vcd.core.state import State
from vcd.daemon.desk import Desk
from vcd.daemon.service.account import root_of
from vcd.daemon.telling import devices_of
from vcd.rpc.calls import Call
from vcd.rpc.nouns import device
from vcd.rpc.values import Done


def _leaving(state: State) -> frozenset[bytes]:
    rotation = state.rotation
    return frozenset() if rotation is None else frozenset(bytes(each.device) for each in rotation.leaving)


async def list_(desk: Desk, call: Call, given: object) -> device.DeviceList:
    del call, given
    desk.own()
    state = desk.state
    edition = state.book.edition
    assert edition is not None  # noqa: S101 - `own` saw to it
    listed = {bytes(each.device): each for each in edition.devices.devices}
    here, leaving, mine = devices_of(state), _leaving(state), bytes(state.me.device)
    found = []
    for name in sorted({*listed, *here}):
        entry = listed.get(name)
        seen = desk.now_ms() if name == mine else state.household.seen.find(DeviceId(name))
        found.append(
            device.Device(
                device=name,
                name=here.get(name, "") if entry is None else entry.name,
                this=name == mine,
                delegate=entry is not None and entry.delegate,
                added=0 if entry is None else entry.added % (1 << 32),
                seen_at=seen,
                stale=name != mine and seen is not None and seen + _stale_after(state) < desk.now_ms(),
                removing=name in leaving,
            )
        )
    removal = None
    if state.rotation is not None and leaving:
        removal = device.Removal(
            devices=sorted(leaving), rotated=state.rotation.rotated, chats=state.rotation.conversations
        )
    return device.DeviceList(devices=found, version=edition.version % (1 << 32), removal=removal)


def _stale_after(state: State) -> int:
    strand = None if state.home is None else state.strands.find(state.home)
    here = None if strand is None else strand.here
    return 0 if here is None else of_group(here.group).stale_after


async def remove(desk: Desk, call: Call, given: device.Remove) -> device.Removing:
    desk.own()
    root = None if given.words is None else root_of(desk, given.words)
    action = desk.name(call)
    command = inputs.RemoveDevice(intent=IntentId(action), device=DeviceId(given.device), root=root)

    def makes(state: State, *_: object) -> device.Removing:
        chats = 0 if state.rotation is None else state.rotation.conversations
        return device.Removing(action=action, chats=chats)

    return await desk.change(call, command, makes)


async def rename(desk: Desk, call: Call, given: device.Rename) -> Done:
    desk.own()
    command = inputs.RenameDevice(device=DeviceId(given.device), name=given.name)
    return await desk.change(call, command, lambda *_: Done())


HANDLERS: Mapping[str, Any] = {"device.list": list_, "device.rename": rename, "device.remove": remove}
