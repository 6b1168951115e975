"""Messages: said, kept, and what became of them."""

from __future__ import annotations

from typing import Literal

from vcd.rpc import samples
from vcd.rpc.row import EventData, EventType, Function
from vcd.rpc.values import (
    AccountId,
    Change,
    ChatId,
    Data,
    DeviceId,
    Done,
    Media,
    Most,
    MsgId,
    Params,
    Result,
    Seq,
    Time,
)

Fate = Literal["sent", "rekeyed", "delivered", "needs-attention", "failed", ""]


class Send(Change, frozen=True, kw_only=True):
    chat: ChatId
    data: Data
    """May be empty: what that means is for apps to say. `vcd chat send` refuses an empty text."""
    media: Media = ""
    """What kind of data it is, as `text/plain;charset=utf-8`."""


class Sent(Result, frozen=True, kw_only=True):
    msg: MsgId
    seq: Seq
    """Of its `msg.received`: it is on disk, and goes out by itself. What becomes of it, events say."""
    at: Time


class MsgList(Params, frozen=True, kw_only=True):
    chat: ChatId
    before: Seq | None = None
    """Older than this seq; without both, the newest."""
    after: Seq | None = None
    """Newer than this seq."""
    most: Most = 50


class Message(Result, frozen=True, kw_only=True):
    chat: ChatId
    msg: MsgId
    seq: Seq
    at: Time
    """When this device had it."""
    sender: AccountId
    ours: bool
    device: DeviceId | None
    """Which of our own devices said it."""
    said_at: Time
    """By its author's clock, which may be wrong. It is what to show to people, unless it is later than `at`, or much
    earlier than a message can be under way."""
    after: list[MsgId]
    """What its author had seen last."""
    data: bytes
    media: str
    relayed: bool
    """Another of our devices than the one that said it passed it on."""
    fate: Fate
    """Of our own; empty for those of others."""


class Messages(Result, frozen=True, kw_only=True):
    messages: list[Message]
    """By seq. A page ends early before it is too long for one message."""
    more: bool


class WhichMessage(Params, frozen=True, kw_only=True):
    chat: ChatId
    msg: MsgId


class Delete(Change, frozen=True, kw_only=True):
    chat: ChatId
    msg: MsgId


class Deleted(Result, frozen=True, kw_only=True):
    deleted: bool
    """Whether it was there."""


class Answer(Change, frozen=True, kw_only=True):
    chat: ChatId
    msg: MsgId
    again: bool
    """Whether people who are new in the chat may see it."""


# ---------------------------------------------------------------- events


class Received(EventData, frozen=True, kw_only=True):
    chat: ChatId
    msg: MsgId
    sender: AccountId
    ours: bool
    device: DeviceId | None
    said_at: Time
    after: list[MsgId]
    data: bytes
    media: str
    relayed: bool


class Fared(EventData, frozen=True, kw_only=True):
    chat: ChatId
    msg: MsgId


_MESSAGE = Message(
    chat=samples.TEA,
    msg=samples.MESSAGE,
    seq=811,
    at=samples.AT,
    sender=samples.ALICE,
    ours=True,
    device=samples.LAPTOP,
    said_at=samples.AT,
    after=[samples.EARLIER],
    data=b"tea at five?",
    media="text/plain;charset=utf-8",
    relayed=False,
    fate="delivered",
)
_FARED = Fared(chat=samples.TEA, msg=samples.MESSAGE)

FUNCTIONS = (
    Function(
        name="msg.send",
        params=Send,
        result=Sent,
        mutates=True,
        errors=(
            "E_NO_ACCOUNT",
            "E_CHAT_UNKNOWN",
            "E_NOT_MEMBER",
            "E_NOT_ASKED",
            "E_MESSAGE",
            "E_OUTBOX_FULL",
            "E_RESTORED",
        ),
        doc="Say something in a chat; the answer comes when it is on disk, and never waits for the network.",
        example=(
            Send(chat=samples.TEA, data=b"tea at five?", media="text/plain;charset=utf-8"),
            Sent(msg=samples.MESSAGE, seq=811, at=samples.AT),
        ),
    ),
    Function(
        name="msg.list",
        params=MsgList,
        result=Messages,
        errors=("E_CHAT_UNKNOWN", "E_NOT_MEMBER"),
        doc="Messages of a chat that this device keeps, a page at a time, towards older or newer ones.",
        example=(MsgList(chat=samples.TEA, before=812), Messages(messages=[_MESSAGE], more=True)),
    ),
    Function(
        name="msg.get",
        params=WhichMessage,
        result=Message,
        errors=("E_CHAT_UNKNOWN", "E_NOT_MEMBER", "E_MSG_UNKNOWN"),
        doc="One message.",
        example=(WhichMessage(chat=samples.TEA, msg=samples.MESSAGE), _MESSAGE),
    ),
    Function(
        name="msg.delete",
        params=Delete,
        result=Deleted,
        mutates=True,
        errors=("E_CHAT_UNKNOWN", "E_NOT_MEMBER"),
        doc="Delete a message on this device, with the key that it is sealed under; others keep theirs.",
        example=(Delete(chat=samples.TEA, msg=samples.MESSAGE), Deleted(deleted=True)),
    ),
    Function(
        name="msg.answer",
        params=Answer,
        result=Done,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_MEMBER", "E_MSG_UNKNOWN", "E_NOT_ASKED"),
        doc="Answer msg.needs_attention: whether to say a message again where somebody new would see it.",
        example=(Answer(chat=samples.TEA, msg=samples.MESSAGE, again=True), Done()),
    ),
)

EVENTS = (
    EventType(
        type="msg.received",
        data=Received,
        doc="Something was said in a chat: by others, or by any device of ours, this one included. Each comes once.",
        example=Received(
            chat=samples.TEA,
            msg=samples.MESSAGE,
            sender=samples.BOB,
            ours=False,
            device=None,
            said_at=samples.AT,
            after=[samples.EARLIER],
            data=b"I am on my way",
            media="text/plain;charset=utf-8",
            relayed=False,
        ),
    ),
    EventType(
        type="msg.restored",
        data=Fared,
        doc="A message of before is in the history again, from a backup. It was said long ago: there is nothing to do.",
        example=_FARED,
    ),
    EventType(type="msg.sent", data=Fared, doc="A message of ours is on its way.", example=_FARED),
    EventType(
        type="msg.rekeyed",
        data=Fared,
        doc="A message of ours was on a branch that lost, and is said again with other keys; nobody sees it twice.",
        example=_FARED,
    ),
    EventType(
        type="msg.delivered",
        data=Fared,
        doc="A message of ours is where nothing can undo it.",
        example=_FARED,
    ),
    EventType(
        type="msg.failed",
        data=Fared,
        doc="A message of ours could not be confirmed in time, or was refused: it is the user's again.",
        example=_FARED,
    ),
    EventType(
        type="msg.needs_attention",
        data=Fared,
        doc="Saying a message again would show it to somebody new; it waits for msg.answer.",
        example=_FARED,
    ),
)
