"""What an app's service delivered for a group: messages, proposals and commits, in its order.

A commit of ours is known by its bytes. What our own leaf said otherwise, on this device or another one, is read like
anybody's; that it may be read again, as its key stays for our other devices' sake, is why its digest is remembered.

Two of our devices may say something on one key of our leaf, as neither knows of the other. Nonces are apart, and our
devices read both; but others have the key for one message only, the first that their service gives them. The order is
the same here, so whoever gets the second one back says that it is `lost`: the app says it again.

A message is of the present epoch, or late and of one that was left. What rests on something that is still to come is
refused as `not-yet`, and changes nothing: a commit whose proposals the app has not given, or what another device of
ours did while the home's news of it is on its way. The app gives it again. What this device did itself and has
forgotten since, as it has an old disk, nobody tells it: what it has not heard by the time it may act again is
`lost-track`, and the app comes in again from outside. So is what a device did that is removed for good and told nobody.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls import group as front
from mls.errors import (
    GroupEndedError,
    OwnMessageError,
    PastEpochError,
    ReplayError,
)
from mls.group import ApplicationMessage, CommitMessage, Envelope, Event, ProposalMessage, TargetedMessage
from mls.registries import ContentType, SenderType
from mls.state import Group
from mls.virtual import client
from mls.virtual.conversation import Author, Received
from mls.virtual.errors import MissingKeyError
from vcd.core import contacts, devices
from vcd.core.accounts.credential import VirtualCredential, read
from vcd.core.errors import Misuse
from vcd.core.events import RawHeard, RawKind
from vcd.core.names import AccountId, DeviceId, EpochId
from vcd.core.raw import advance, digest_of, dropped, found, keep, refusing
from vcd.core.raw_state import MAX_SEEN, Epoch, Raw

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.turn import Turn

_USED_UP = (PastEpochError, ReplayError, OwnMessageError, GroupEndedError)


def put(turn: Turn, command: inputs.RawPut) -> None:
    """Something came."""
    raw, digest = found(turn, command.group), digest_of(command.data)
    with refusing():
        outside = front.peek(command.data)
    if outside.group_id != raw.group_id or outside.epoch is None:
        raise Misuse("not-mls", "this is no message of that group")
    if raw.pending is not None and raw.pending.digest == digest:
        _came_back(turn, raw)
        return
    if digest in raw.seen:
        _nothing(turn, raw)
        return
    lost = _outrun(raw, outside)
    if lost:
        raw = dropped(turn, raw)
        if raw.group is None:  # we never were in it
            turn.change(raws=turn.state.raws.discard(raw.group_id))
            _nothing(turn, raw, dropped=True)
            return
    at = _epoch_of(raw, outside)
    if at is None:
        _nothing(turn, raw, dropped=lost)
        return
    try:
        with refusing():
            got = _opened(turn, raw.epochs[at].group, command.data)
    except _UsedUp as used:
        coming = raw.pending is not None and raw.pending.external
        if at == raw.here and not raw.out and not coming and outside.content_type == ContentType.COMMIT:
            raise Misuse("lost-track", f"this commit cannot be followed: come in again from outside ({used})") from None
        _nothing(turn, raw, dropped=lost)
        return
    turn.change(emulation=got.emulation)
    _heard(turn, raw, at, got, digest, lost=lost)
    if turn.state.raws[raw.group_id].out and not raw.out:
        devices.try_held(turn)  # another device may have told how we came in again


class _UsedUp(Exception):
    """The message came before, or too late, or this device has forgotten what made it."""


def _opened(turn: Turn, group: Group, message: bytes) -> Received:
    try:
        return client.receive(turn.emulation, group, turn.env, message)
    except _USED_UP as error:
        raise _UsedUp(str(error)) from error
    except MissingKeyError as error:
        if not _forgotten(turn, error):
            raise
        raise _UsedUp(str(error)) from error


def _forgotten(turn: Turn, error: MissingKeyError) -> bool:
    """Whether nobody tells us that key any more: whoever drew it is gone for good, or is this device with an old disk.

    While this device listens it may hear what it told then. What a removed device told the others is known by the time
    that its removal is final.
    """
    if error.maker is None or turn.state.household.listening:
        return False
    device = devices.device_of(turn, Author(*error.maker))
    if device is None or device == turn.state.me.device:
        return device is not None
    home = turn.home
    there = (*home.graph.members(home.final), *home.graph.members(home.head))
    return all(DeviceId(each.account) != device for each in there)


def _outrun(raw: Raw, outside: Envelope) -> bool:
    """Whether another commit takes the place of the one by which we are about to come in from outside."""
    pending = raw.pending
    return (
        pending is not None
        and pending.external
        and outside.content_type == ContentType.COMMIT
        and outside.epoch == pending.number
    )


def _epoch_of(raw: Raw, outside: Envelope) -> EpochId | None:
    """Which of our epochs a message is of; None if it is of none that is kept any more."""
    here = raw.group
    if here is None:
        return None  # whatever was said before we come in is not for us
    if outside.epoch == here.epoch:
        return raw.here
    if outside.epoch is not None and outside.epoch > here.epoch:
        if raw.out or (raw.pending is not None and raw.pending.external and outside.epoch <= raw.pending.number):
            return None  # as above: we come in anew, beyond that
        raise Misuse("not-yet", f"this is of epoch {outside.epoch}, and the group stands at {here.epoch} here")
    left = (each for each, epoch in raw.epochs.items() if epoch.left_at is not None)
    return next((each for each in left if raw.epochs[each].group.epoch == outside.epoch), None)


def _nothing(turn: Turn, raw: Raw, *, dropped: bool = False) -> None:
    turn.tell(RawHeard(group=raw.group_id, kind=RawKind.NOTHING, dropped=dropped))


def _came_back(turn: Turn, raw: Raw) -> None:
    """A commit of ours counts."""
    from vcd.core import raw_care

    pending = raw.pending
    assert pending is not None  # noqa: S101 - it was compared
    child, old = raw.epochs[pending.begins].group, raw.group
    was = set() if old is None else {index for index, _ in old.members}
    now = {index for index, _ in child.members}
    if pending.external:  # what we knew before is of an earlier time, or there is nothing
        raw = replace(raw, entry=pending.begins)
    advance(turn, raw, old, child)
    if pending.told:
        raw_care.tell(turn, raw.group_id, pending.told)
    contacts.tree(turn, child)
    turn.tell(
        RawHeard(
            group=raw.group_id,
            kind=RawKind.OWN,
            sender=int(child.own_leaf),
            account=turn.state.book.own,
            ours=True,
            device=turn.state.me.device,
            came=tuple(int(each) for each in sorted(now - was)),
            went=tuple(int(each) for each in sorted(was - now)),
        )
    )


def _account(group: Group, leaf: int | None) -> AccountId | None:
    tree = group.public.tree
    node = None if leaf is None or leaf >= tree.leaf_count else tree.leaf(leaf)
    identity = None if node is None else read(node.credential)
    return identity.account if isinstance(identity, VirtualCredential) else None


def _heard(turn: Turn, raw: Raw, at: EpochId, got: Received, digest: bytes, *, lost: bool) -> None:
    event, before = got.event, raw.epochs[at].group
    known = isinstance(event, ProposalMessage) and event.reference in before.proposals and not got.ours
    if known or isinstance(event, TargetedMessage):  # of the latter kind nobody was asked for any
        _nothing(turn, raw, dropped=lost)
        return
    device = None if got.author is None else devices.device_of(turn, got.author)
    spent = _spent_key(at, got)
    if got.ours:
        news = (digest,) if spent is None or spent in raw.seen else (digest, spent)
        raw = replace(raw, seen=(*raw.seen, *news)[-MAX_SEEN:])
    told = RawHeard(
        group=raw.group_id,
        kind=RawKind.MESSAGE,
        sender=_sender(event),
        account=_account(before, _sender(event)),
        ours=got.ours,
        device=device,
        authenticated=event.authenticated_data,
        dropped=lost,
        lost=False if spent is None else spent in turn.state.raws[raw.group_id].seen,
    )
    match event:
        case ApplicationMessage():
            left = raw.epochs[at].left_at
            keep(turn, replace(raw, epochs=raw.epochs.set(at, Epoch(group=event.group, left_at=left))))
            if told.lost and device != turn.state.me.device:  # whoever said it says it again
                told = replace(told, kind=RawKind.NOTHING)
            else:
                told = replace(told, data=event.data)
        case ProposalMessage():
            keep(turn, replace(raw, epochs=raw.epochs.set(at, Epoch(group=event.group))))
            told = replace(told, kind=RawKind.PROPOSAL)
        case CommitMessage():
            if raw.pending is not None:
                raw, told = dropped(turn, raw), replace(told, dropped=True)
            _follow(turn, raw, event)
            plan = event.plan
            comers = {*map(int, plan.added), *([int(event.committer)] if event.external else [])}
            told = replace(
                told,
                kind=RawKind.COMMIT,
                account=_account(event.group if event.external else before, int(event.committer)),
                came=tuple(sorted(comers)),
                went=tuple(sorted(map(int, plan.removed))),
            )
    turn.tell(told)


def _follow(turn: Turn, raw: Raw, event: CommitMessage) -> None:
    advance(turn, raw, event.before, event.group)
    contacts.brought(turn, event.plan, event.group, int(event.committer))


def _sender(event: Event) -> int | None:
    if isinstance(event, CommitMessage):
        return int(event.committer)
    if isinstance(event, ProposalMessage):
        return int(event.sender.index) if event.sender.type == SenderType.MEMBER else None
    return int(event.sender)


def _spent_key(at: EpochId, got: Received) -> bytes | None:
    """The key of our own leaf that a message of ours took, by a name. Proposals and commits are on another ratchet."""
    event = got.event
    if not got.ours or not isinstance(event, ApplicationMessage):
        return None
    return digest_of(b"key" + at + event.sealing.generation.to_bytes(8, "big"))
