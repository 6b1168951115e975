"""What happens to chats."""

from __future__ import annotations

from typing import Literal

from vcd.rpc import samples
from vcd.rpc.row import EventData, EventType
from vcd.rpc.values import AccountId, ChatId, Count, EpochId


class Invited(EventData, frozen=True, kw_only=True):
    chat: ChatId
    by: AccountId
    asks: bool
    """Whether it waits for chat.accept or chat.decline. If not, we are in."""
    greeting: str


class Changed(EventData, frozen=True, kw_only=True):
    chat: ChatId
    epoch: EpochId
    members: list[AccountId]
    """Who is in it now, by rank. It may come again when another branch wins."""
    came: list[AccountId]
    went: list[AccountId]


class Left(EventData, frozen=True, kw_only=True):
    chat: ChatId
    removed: bool
    """Whether somebody else wanted that. A device that hears later that the account had asked to leave says so then."""


class Forked(EventData, frozen=True, kw_only=True):
    chat: ChatId
    branches: Count


class Healed(EventData, frozen=True, kw_only=True):
    chat: ChatId


class Split(EventData, frozen=True, kw_only=True):
    chat: ChatId
    over: bool


class NeedsAttention(EventData, frozen=True, kw_only=True):
    chat: ChatId
    what: str
    """`out-of-sync`, or a warning of docs/node-reference.md."""
    text: str
    asks: bool
    """Whether it waits for chat.come_back."""
    over: bool


class Titled(EventData, frozen=True, kw_only=True):
    chat: ChatId
    title: str


class Answered(EventData, frozen=True, kw_only=True):
    chat: ChatId
    answer: Literal["accepted", "declined"]


EVENTS = (
    EventType(
        type="chat.invited",
        data=Invited,
        doc="Somebody opened a chat with us.",
        example=Invited(chat=samples.TEA, by=samples.BOB, asks=True, greeting="tea?"),
    ),
    EventType(
        type="chat.answered",
        data=Answered,
        doc="An invitation was answered on this device.",
        example=Answered(chat=samples.TEA, answer="accepted"),
    ),
    EventType(
        type="chat.changed",
        data=Changed,
        doc="Other people are in a chat than before, or we came into it.",
        example=Changed(
            chat=samples.TEA,
            epoch=samples.EPOCH,
            members=[samples.ALICE, samples.BOB],
            came=[samples.BOB],
            went=[],
        ),
    ),
    EventType(
        type="chat.left",
        data=Left,
        doc="We are in a chat no more.",
        example=Left(chat=samples.TEA, removed=False),
    ),
    EventType(
        type="chat.renamed",
        data=Titled,
        doc="This device calls a chat otherwise.",
        example=Titled(chat=samples.TEA, title="coffee"),
    ),
    EventType(
        type="chat.forked",
        data=Forked,
        doc="A chat has branches that are not decided; messages flow all the same.",
        example=Forked(chat=samples.TEA, branches=2),
    ),
    EventType(
        type="chat.healed",
        data=Healed,
        doc="It has one branch again.",
        example=Healed(chat=samples.TEA),
    ),
    EventType(
        type="chat.split",
        data=Split,
        doc="The network seems to be split, as far as a chat goes, or is not any more.",
        example=Split(chat=samples.TEA, over=False),
    ),
    EventType(
        type="chat.needs_attention",
        data=NeedsAttention,
        doc="Something about a chat that a person should look at.",
        example=NeedsAttention(
            chat=samples.TEA, what="out-of-sync", text="This device cannot follow the chat.", asks=True, over=False
        ),
    ),
)
