"""What apps are told is what the table promises."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest

from vcd.core import events
from vcd.core.founding import blank
from vcd.core.names import AccountId, ContentId, DeviceId, EpochId, GroupId, IntentId
from vcd.core.node import Outcome
from vcd.crypto import SystemProvider
from vcd.daemon import facts
from vcd.daemon.telling import FATES, Told, tell_of
from vcd.rpc.table import EVENTS
from vcd.store.values import NewFate, NewMessage

TEA, WHO, DEVICE = GroupId(b"tea"), AccountId(b"a" * 32), DeviceId(b"d" * 16)
STATE = blank(SystemProvider(), "laptop")

SAMPLES: list[tuple[events.Event, list[str]]] = [
    (
        events.Message(
            conversation=TEA,
            content=ContentId(b"c" * 32),
            sender=WHO,
            ours=True,
            device=DEVICE,
            said_at=1,
            after=(ContentId(b"b" * 32),),
            data=b"hello",
            media="text/plain",
            relayed=False,
        ),
        ["msg.received"],
    ),
    *[
        (
            events.MessageFate(conversation=TEA, content=ContentId(b"c" * 32), fate=fate),
            ["msg." + FATES[fate].replace("-", "_")],
        )
        for fate in events.Fate
    ],
    (events.IntentFate(intent=IntentId(b"i" * 16), stands=False, reason="forbidden"), ["action.settled"]),
    (
        events.MembersChanged(
            conversation=TEA, epoch=EpochId(b"e" * 32), members=(WHO,), came=(WHO,), went=(AccountId(b"b" * 32),)
        ),
        ["chat.changed"],
    ),
    (events.Invited(conversation=TEA, by=WHO, asks=True, greeting="tea?"), ["chat.invited"]),
    (events.Gone(conversation=TEA, removed=True), ["chat.left"]),
    (events.DevicesChanged(devices=(DEVICE,)), ["device.added"]),
    (events.Removing(devices=(DEVICE,), rotated=1, conversations=2, complete=False), ["device.rotation"]),
    (
        events.OverruleAsked(
            device=DEVICE, digest=bytes(32), stay=(DEVICE,), delegates=(DEVICE,), signed=(DEVICE,), lacks=1
        ),
        ["account.overrule_asked"],
    ),
    (events.Forked(group=TEA, branches=2, over=False), ["chat.forked"]),
    (events.Forked(group=TEA, branches=1, over=True), ["chat.healed"]),
    (events.Split(group=TEA, over=False), ["chat.split"]),
    (events.OutOfSync(group=TEA, asks=True, over=False), ["chat.needs_attention"]),
    (events.ContactChanged(account=WHO, version=3, shut_out=True), ["contact.changed"]),
    (events.Warned(code="double-vote", group=TEA, account=WHO), ["chat.needs_attention"]),
    (events.Warned(code="two-lists", account=WHO), ["contact.needs_attention"]),
    (events.Warned(code="account-forgotten"), ["account.needs_attention"]),
    (events.RawMade(group=TEA, numbers=(7, 8), first=True), ["raw.waiting"]),
    (events.RawMade(group=TEA, numbers=(9,), first=False), []),
    (events.RawHeard(group=TEA, kind=events.RawKind.NOTHING), []),
    (events.RawOffered(packages=(b"one",), expires=1), []),
    (events.RawEntered(group=TEA), []),
]


def told(event: events.Event) -> Told:
    found = Told()
    tell_of(STATE, Outcome(state=STATE, events=(event,), effects=()), found)
    return found


@pytest.mark.parametrize(("event", "types"), SAMPLES, ids=lambda each: type(each).__name__)
def test_an_event_is_told_as_the_table_promises(event: events.Event, types: list[str]) -> None:
    entries = told(event).entries
    assert [each.type for each in entries] == types
    for entry in entries:
        data: Any = msgspec.convert(dict(entry.data), EVENTS[entry.type].data, strict=True)
        promised = {each.encode_name for each in msgspec.structs.fields(type(data))}
        assert set(entry.data) == promised
        assert entry.chat == entry.data.get("chat")


def test_every_event_of_the_node_is_told() -> None:
    assert {type(event) for event, _ in SAMPLES} == set(get_args(events.Event))


def test_messages_and_what_became_of_them_are_kept_in_the_history() -> None:
    [message] = told(SAMPLES[0][0]).history
    assert isinstance(message, NewMessage)
    assert (message.entry, message.data) == (0, b"hello")
    [fate] = told(events.MessageFate(conversation=TEA, content=ContentId(b"c" * 32), fate=events.Fate.AGAIN)).history
    assert fate == NewFate(chat=TEA, content=b"c" * 32, fate="rekeyed")


def test_that_the_account_left_is_kept_until_it_is_thrown_out() -> None:
    row = facts.left(TEA)
    assert told(events.Gone(conversation=TEA, removed=False)).keep == {row: facts.packed(0)}
    assert told(events.Gone(conversation=TEA, removed=True)).keep == {row: None}
