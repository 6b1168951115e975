"""raw.*: groups of apps that move bytes themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import trio

from mls.credential import BasicCredential
from mls.errors import MlsError
from mls.group import export_secret
from mls.leaf_node import LeafNode
from mls.state import Group
from vcd.core import events, inputs, raw_care
from vcd.core.accounts.credential import VirtualCredential, read
from vcd.core.errors import Misuse
from vcd.core.names import GroupId
from vcd.core.raw_state import FrameKind, Raw, RawFrame
from vcd.core.state import State
from vcd.core.turn import Turn
from vcd.daemon.desk import PAGE, Desk
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure, refused
from vcd.rpc.nouns import raw as nouns
from vcd.rpc.values import MAX_TIMEOUT, Done

R = TypeVar("R")
E = TypeVar("E", bound=events.Event)
ANSWERED = 1 << 16
"""Bytes of frames that the answer to a repeated request has; what is longer is to be had by `raw.take` alone."""

_KIND: Mapping[FrameKind, Any] = {each: each.name.lower() for each in FrameKind}
_HEARD: Mapping[events.RawKind, Any] = {each: each.name.lower() for each in events.RawKind}


def _said(handle: Callable[[Desk, Call, Any], Awaitable[R]]) -> Callable[[Desk, Call, Any], Awaitable[R]]:
    """With errors that say which rule was broken, and what may be tried again."""

    @wraps(handle)
    async def call_it(desk: Desk, call: Call, given: Any) -> R:
        desk.own()
        try:
            return await handle(desk, call, given)
        except Misuse as misuse:
            failure = refused(misuse.code, str(misuse))
            if misuse.rule:
                failure.data["rule"] = misuse.rule
            if misuse.code == "not-yet":
                failure.retry = "later"
            raise failure from None

    return call_it


def _one(told: tuple[events.Event, ...], kind: type[E]) -> E:
    return next(each for each in told if isinstance(each, kind))


# ---------------------------------------------------------------- as they stand


def _raw(desk: Desk, group: bytes) -> Raw:
    found = desk.state.raws.find(GroupId(group))
    if found is None:
        raise Failure("E_GROUP_UNKNOWN")
    return found


def _shown(raw: Raw) -> Group:
    """Where it stands, or will if we wait to come in."""
    if raw.group is not None:
        return raw.group
    assert raw.pending is not None  # noqa: S101 - it is in, or waits to be
    return raw.epochs[raw.pending.begins].group


def _line(desk: Desk, state: State, raw: Raw) -> nouns.RawGroup:
    group = _shown(raw)
    return nouns.RawGroup(
        group=raw.group_id,
        epoch=group.epoch_id,
        number=group.epoch,
        members=len(group.members),
        pending=raw.pending is not None,
        out=raw.out,
        renewing=_renewing(desk, state, raw),
    )


def _renewing(desk: Desk, state: State, raw: Raw) -> bool:
    return raw_care.renewing(Turn(state, desk.now_ms(), desk.provider), raw)


def _member(desk: Desk, group: Group, leaf: int, node: LeafNode) -> nouns.RawMember:
    identity, credential = read(node.credential), node.credential
    account = identity.account if isinstance(identity, VirtualCredential) else None
    named = credential.identity if isinstance(credential, BasicCredential) else credential.encode()
    own = leaf == group.own_leaf and account in (None, desk.state.book.own)
    return nouns.RawMember(leaf=leaf, own=own, account=account, identity=account or named)


async def list_(desk: Desk, call: Call, given: nouns.GroupList) -> nouns.RawGroups:
    del call
    after = given.after or b""
    names = sorted(each for each in desk.state.raws if each > after)
    page = names[: given.most]
    lines = [_line(desk, desk.state, desk.state.raws[each]) for each in page]
    return nouns.RawGroups(groups=lines, more=len(names) > len(page))


async def get(desk: Desk, call: Call, given: nouns.WhichGroup) -> nouns.RawState:
    del call
    raw = _raw(desk, given.group)
    group, line = _shown(raw), _line(desk, desk.state, raw)
    return nouns.RawState(
        group=line.group,
        epoch=line.epoch,
        number=line.number,
        pending=line.pending,
        out=line.out,
        renewing=line.renewing,
        members=[_member(desk, group, int(leaf), node) for leaf, node in group.members],
    )


async def export(desk: Desk, call: Call, given: nouns.Export) -> nouns.Exported:
    del call
    group = _raw(desk, given.group).live
    if group is None:
        raise Failure("E_NOT_MEMBER")
    try:
        secret = export_secret(group, given.label.encode(), given.context, given.length)
    except MlsError as error:
        raise Failure("E_NOT_MLS", str(error)) from None
    return nouns.Exported(secret=secret, epoch=group.epoch_id)


# ---------------------------------------------------------------- coming in, and going


async def create(desk: Desk, call: Call, given: nouns.RawCreate) -> nouns.RawGroup:
    group_id = GroupId(given.group or desk.random(32))
    command = inputs.RawCreate(group=group_id, suite=given.cipher_suite)
    return await desk.change(call, command, lambda state, *_: _line(desk, state, state.raws[group_id]))


async def offer(desk: Desk, call: Call, given: nouns.Offer) -> nouns.Offered:
    def makes(_: State, told: tuple[events.Event, ...], __: int) -> nouns.Offered:
        made = _one(told, events.RawOffered)
        return nouns.Offered(packages=list(made.packages), expires_at=made.expires)

    return await desk.change(call, inputs.RawOffer(count=given.count, suite=given.cipher_suite), makes)


async def join(desk: Desk, call: Call, given: nouns.RawJoin) -> nouns.RawGroup:
    if (given.welcome is None) == (given.group_info is None):
        raise Failure("E_PARAM_INVALID", "Give a Welcome or a GroupInfo.", data={"path": "welcome"})

    def makes(state: State, told: tuple[events.Event, ...], _: int) -> nouns.RawGroup:
        return _line(desk, state, state.raws[_one(told, events.RawEntered).group])

    command = inputs.RawJoin(welcome=given.welcome or b"", group_info=given.group_info or b"", tree=given.tree)
    return await desk.change(call, command, makes)


async def forget(desk: Desk, call: Call, given: nouns.Forget) -> Done:
    return await desk.change(call, inputs.RawForget(group=GroupId(given.group)), lambda *_: Done())


# ---------------------------------------------------------------- frames


def _frame(number: int, frame: RawFrame) -> nouns.OutFrame:
    return nouns.OutFrame(
        number=number, group=frame.group_id, kind=_KIND[frame.kind], data=frame.data, after=frame.after or None
    )


async def _made(desk: Desk, call: Call, group: bytes, command: inputs.Input) -> nouns.RawFrames:
    def makes(state: State, told: tuple[events.Event, ...], _: int) -> nouns.RawFrames:
        numbers = [number for each in told if isinstance(each, events.RawMade) for number in each.numbers]
        raw = state.raws[GroupId(group)]
        stands = _shown(raw).epoch_id if raw.pending is None else raw.pending.begins
        found = [_frame(number, state.raw_frames[number]) for number in numbers]
        return nouns.RawFrames(frames=found, epoch=stands)

    def again(result: nouns.RawFrames) -> nouns.RawFrames:
        short = sum(len(each.data) for each in result.frames) <= ANSWERED
        return result if short else nouns.RawFrames(frames=[], epoch=result.epoch)

    return await desk.change(call, command, makes, again=again)


async def propose(desk: Desk, call: Call, given: nouns.Propose) -> nouns.RawFrames:
    command = inputs.RawPropose(
        group=GroupId(given.group),
        add=given.add or b"",
        remove=given.remove,
        update=given.update,
        leave=given.leave,
    )
    return await _made(desk, call, given.group, command)


async def commit(desk: Desk, call: Call, given: nouns.Commit) -> nouns.RawFrames:
    command = inputs.RawCommit(
        group=GroupId(given.group),
        add=given.add,
        remove=given.remove,
        proposals=given.proposals,
        fresh=given.fresh,
        group_info=given.group_info,
        replace=given.replace,
    )
    return await _made(desk, call, given.group, command)


async def protect(desk: Desk, call: Call, given: nouns.Protect) -> nouns.RawFrames:
    command = inputs.RawProtect(group=GroupId(given.group), data=given.data, authenticated=given.authenticated)
    return await _made(desk, call, given.group, command)


async def take(desk: Desk, call: Call, given: nouns.Take) -> nouns.Taken:
    del call
    group = None if given.group is None else GroupId(given.group)

    def waiting() -> list[int]:
        frames = desk.state.raw_frames
        return sorted(number for number in frames if group in (None, frames[number].group_id))

    if any(number <= given.after for number in waiting()):
        await desk.owner.do(inputs.RawTaken(number=given.after, group=group))
    with trio.move_on_after(min(given.wait_ms, MAX_TIMEOUT) / 1000):
        while not any(number > given.after for number in waiting()):
            await desk.owner.moved()
    found: list[nouns.OutFrame] = []
    room, left = PAGE, [number for number in waiting() if number > given.after]
    for number in left[: given.most]:
        frame = desk.state.raw_frames[number]
        room -= len(frame.data) + 512
        if found and room < 0:
            break
        found.append(_frame(number, frame))
    return nouns.Taken(frames=found, more=len(found) < len(left))


async def put(desk: Desk, call: Call, given: nouns.Put) -> nouns.Heard:
    group_id = GroupId(given.group)

    def makes(state: State, told: tuple[events.Event, ...], _: int) -> nouns.Heard:
        heard, raw = _one(told, events.RawHeard), state.raws.find(group_id)
        group = None if raw is None else raw.group
        return nouns.Heard(
            kind=_HEARD[heard.kind],
            group=group_id,
            epoch=None if group is None else group.epoch_id,
            number=0 if group is None else group.epoch,
            sender=heard.sender,
            account=heard.account,
            ours=heard.ours,
            device=heard.device,
            data=heard.data,
            authenticated=heard.authenticated,
            came=list(heard.came),
            went=list(heard.went),
            out=raw is None or raw.out,
            dropped=heard.dropped,
            lost=heard.lost,
        )

    return await desk.change(call, inputs.RawPut(group=group_id, data=given.data), makes)


_BARE: Mapping[str, Any] = {
    "raw.create": create,
    "raw.offer": offer,
    "raw.join": join,
    "raw.list": list_,
    "raw.get": get,
    "raw.propose": propose,
    "raw.commit": commit,
    "raw.protect": protect,
    "raw.take": take,
    "raw.put": put,
    "raw.export": export,
    "raw.forget": forget,
}
HANDLERS: Mapping[str, Any] = {name: _said(handle) for name, handle in _BARE.items()}
