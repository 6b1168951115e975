"""Chats: opened, entered, changed, left, and how they stand."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vcd.rpc import samples
from vcd.rpc.row import Function
from vcd.rpc.values import (
    AccountId,
    ActionId,
    Begun,
    Change,
    ChatId,
    Count,
    DeviceId,
    Done,
    EpochId,
    Frame,
    MaybeName,
    Milliseconds,
    Mode,
    Most,
    Params,
    Result,
    Seq,
    Text,
    Time,
    Who,
    sized,
)

Standing = Literal["member", "invited", "joining", "left", "removed", "out-of-sync", "past"]
"""`past`: of an account that this device was removed from, or from a backup; there is history, and no keys."""
Kind = Literal["invite", "remove", "leave", "rotate", "rules"]

_MINUTE = 60_000
_YEAR = 366 * 24 * 3600 * 1000
Period = Annotated[int, msgspec.Meta(ge=_MINUTE, le=_YEAR)]


class NewRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all members agreed on. A change names only what is to be different."""

    admins: Annotated[list[AccountId], msgspec.Meta(max_length=1024)] | None = None
    """Whoever opens a chat is one."""
    add: Who | None = None
    remove: Who | None = None
    change: Who | None = None
    """Who may change these rules."""
    come_back: Who | None = None
    window_ms: Period | None = None
    """How long keys of an epoch that was left are kept."""
    horizon_ms: Period | None = None
    """How long a message may be said again."""
    lead: AccountId | None = None
    """Who chooses, in mode `lead`."""
    succeed_after_ms: Milliseconds | None = None
    """In mode `lead`: how long commits wait before another lead may be voted for; 0 is for ever."""


class ChatRules(Result, frozen=True, kw_only=True):
    """The same, in full."""

    admins: list[AccountId]
    add: Who
    remove: Who
    change: Who
    come_back: Who
    window_ms: Milliseconds
    horizon_ms: Milliseconds
    latency_ms: Milliseconds
    update_every_ms: Milliseconds
    stale_after_ms: Milliseconds
    lead: AccountId | None
    succeed_after_ms: Milliseconds


class ChatCreate(Change, frozen=True, kw_only=True):
    mode: Mode = "demls"
    title: MaybeName = ""
    """What it is called on all our devices; nobody else is told."""
    rules: NewRules | None = None
    """Where they are to differ from what is usual in that mode."""


class WhichChat(Params, frozen=True, kw_only=True):
    chat: ChatId


class ThisChat(Change, frozen=True, kw_only=True):
    chat: ChatId


class SameChat(Result, frozen=True, kw_only=True):
    chat: ChatId


class ChatTitle(Change, frozen=True, kw_only=True):
    chat: ChatId
    title: MaybeName


class ChatList(Params, frozen=True, kw_only=True):
    standing: Standing | None = None
    after: ChatId | None = None
    """The last chat of the page before."""
    most: Most = 200


class ChatLine(Result, frozen=True, kw_only=True):
    chat: ChatId
    title: str
    mode: Mode
    standing: Standing
    invited_by: AccountId | None
    """While it waits for an answer."""
    greeting: str
    members: Count
    branches: Count
    """More than one while it is not decided how the chat goes on."""
    split: bool
    """Whether the network seems to be split, as far as this chat goes."""
    asks: bool
    """Whether it waits for a person: chat.accept, chat.come_back or msg.answer."""
    unconfirmed: Count
    """Messages of ours."""
    last_seq: Seq
    """Of its newest message; 0 if there is none any more."""


class Chats(Result, frozen=True, kw_only=True):
    chats: list[ChatLine]
    """By chat."""
    more: bool


class Member(Result, frozen=True, kw_only=True):
    account: AccountId | None
    """None for an ordinary MLS client, which has no account."""
    name: str
    own: bool
    admin: bool
    lead: bool
    verified: bool
    since: Count
    """Their rank: who came first is first."""
    updated_at: Time | None
    """When their keys were fresh last, as far as we saw."""


class Pending(Result, frozen=True, kw_only=True):
    """Something that was asked for and is not settled."""

    action: ActionId
    kind: Kind
    account: AccountId | None
    device: DeviceId
    """Which of ours sees to it."""


class Chat(Result, frozen=True, kw_only=True):
    chat: ChatId
    title: str
    mode: Mode
    standing: Standing
    invited_by: AccountId | None
    greeting: str
    rules: ChatRules | None
    """None where there are none: in mode `dimls`, and before we are in."""
    members: list[Member]
    epoch: EpochId | None
    """Where the chat stands for us."""
    final: EpochId | None
    """The last that nothing can change any more."""
    number: Count
    """Of `epoch`: rival branches share numbers."""
    branches: Count
    split: bool
    can_speak: bool
    """Whether what is said on this device is sent at once; a new one has to be given a part in our leaf first."""
    asks: bool
    unconfirmed: Count
    queued: Count
    """Messages of ours that are kept until they can be sent."""
    waiting: Count
    """Messages that cannot be read yet."""
    pending: list[Pending]
    history_ms: Milliseconds | None
    """How long this device keeps messages; None for as long as there is room."""


class Invite(Change, frozen=True, kw_only=True):
    chat: ChatId
    account: AccountId
    greeting: Text = ""


class ChatMember(Change, frozen=True, kw_only=True):
    chat: ChatId
    account: AccountId


class SetRules(Change, frozen=True, kw_only=True):
    chat: ChatId
    rules: NewRules


class Migrate(Change, frozen=True, kw_only=True):
    chat: ChatId
    mode: Mode
    title: MaybeName = ""


class Migrated(Result, frozen=True, kw_only=True):
    chat: ChatId
    """The new one. The old one stays as it is."""
    actions: list[Begun]
    """An invitation for each member."""


class SetRetention(Change, frozen=True, kw_only=True):
    chat: ChatId
    history_ms: Period | None = None
    """How long this device keeps messages; None for as long as there is room."""


class Retention(Result, frozen=True, kw_only=True):
    chat: ChatId
    history_ms: Milliseconds | None
    deleted: Count
    """Messages that were older."""


# ---------------------------------------------------------------- the graph


class GraphOf(Params, frozen=True, kw_only=True):
    chat: ChatId | None = None
    """None for the group of our own devices."""


class Step(Result, frozen=True, kw_only=True):
    """An epoch, and the commit that began it."""

    epoch: EpochId
    parent: EpochId | None
    """None for the oldest that is known."""
    number: Count
    author: AccountId | None
    """Who committed. None of the oldest, and of ordinary clients."""
    device: DeviceId | None
    """In the group of our own devices."""
    came: list[AccountId]
    went: list[AccountId]
    came_devices: list[DeviceId]
    """In the group of our own devices."""
    went_devices: list[DeviceId]
    head: bool
    """Where we stand."""
    final: bool
    void: bool
    """It was made beside its own author's removal, or stands on such a one."""
    votes: Count
    keys: Literal["kept", "gone", "never"]
    keys_until: Time | None
    """When they go, for epochs that were left; None for the head and for what is gone."""
    messages: Count
    """Of ours that were said there first and are not final."""
    again: Count
    """Of ours that were said there again."""


class Graph(Result, frozen=True, kw_only=True):
    chat: ChatId | None
    mode: Mode
    root: EpochId | None
    """The oldest that is shown: the last final one, or what is left of the time before it."""
    head: EpochId | None
    final: EpochId | None
    steps: list[Step]
    """Parents first."""


# ---------------------------------------------------------------- ordinary clients


class Carry(Change, frozen=True, kw_only=True):
    chat: ChatId
    message: Frame


class Carried(Params, frozen=True, kw_only=True):
    chat: ChatId
    epoch: Annotated[bytes, sized(1, 255)]
    """The epoch authenticator of where the ordinary client is."""


class Decided(Result, frozen=True, kw_only=True):
    commits: list[bytes]
    """What it is to hear next, in order."""


_CHANGES = ("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_MEMBER", "E_FORBIDDEN", "E_OUT_OF_SYNC", "E_RESTORED", "E_FULL")
_RULES = ChatRules(
    admins=[samples.ALICE],
    add="everybody",
    remove="admins",
    change="admins",
    come_back="everybody",
    window_ms=86_400_000,
    horizon_ms=2_592_000_000,
    latency_ms=10_000,
    update_every_ms=2_592_000_000,
    stale_after_ms=15_552_000_000,
    lead=None,
    succeed_after_ms=86_400_000,
)
_LINE = ChatLine(
    chat=samples.TEA,
    title="tea",
    mode="demls",
    standing="member",
    invited_by=None,
    greeting="",
    members=2,
    branches=1,
    split=False,
    asks=False,
    unconfirmed=0,
    last_seq=812,
)
_STEP = Step(
    epoch=samples.EPOCH,
    parent=samples.PARENT,
    number=4,
    author=samples.ALICE,
    device=None,
    came=[samples.BOB],
    went=[],
    came_devices=[],
    went_devices=[],
    head=True,
    final=False,
    void=False,
    votes=1,
    keys="kept",
    keys_until=None,
    messages=1,
    again=0,
)

FUNCTIONS = (
    Function(
        name="chat.create",
        params=ChatCreate,
        result=SameChat,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_OUT_OF_SYNC", "E_RESTORED", "E_FULL", "E_RULES", "E_NAME"),
        doc="Open a chat with nobody else in it yet; its mode is for life.",
        example=(ChatCreate(title="tea"), SameChat(chat=samples.TEA)),
    ),
    Function(
        name="chat.list",
        params=ChatList,
        result=Chats,
        errors=("E_NO_ACCOUNT",),
        doc="All chats, page by page, those that wait for an answer among them.",
        example=(ChatList(), Chats(chats=[_LINE], more=False)),
    ),
    Function(
        name="chat.get",
        params=WhichChat,
        result=Chat,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN"),
        doc="One chat: who is in it, by which rules, and how it stands.",
        example=(
            WhichChat(chat=samples.TEA),
            Chat(
                chat=samples.TEA,
                title="tea",
                mode="demls",
                standing="member",
                invited_by=None,
                greeting="",
                rules=_RULES,
                members=[
                    Member(
                        account=samples.ALICE,
                        name="Alice",
                        own=True,
                        admin=True,
                        lead=False,
                        verified=True,
                        since=0,
                        updated_at=samples.AT,
                    ),
                    Member(
                        account=samples.BOB,
                        name="Bob",
                        own=False,
                        admin=False,
                        lead=False,
                        verified=True,
                        since=1,
                        updated_at=samples.AT,
                    ),
                ],
                epoch=samples.EPOCH,
                final=samples.PARENT,
                number=4,
                branches=1,
                split=False,
                can_speak=True,
                asks=False,
                unconfirmed=0,
                queued=0,
                waiting=0,
                pending=[
                    Pending(action=samples.ACTION, kind="invite", account=samples.BOB, device=samples.LAPTOP),
                ],
                history_ms=None,
            ),
        ),
    ),
    Function(
        name="chat.rename",
        params=ChatTitle,
        result=SameChat,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NAME"),
        doc="Call a chat otherwise, on all our devices.",
        example=(ChatTitle(chat=samples.TEA, title="coffee"), SameChat(chat=samples.TEA)),
    ),
    Function(
        name="chat.invite",
        params=Invite,
        result=Begun,
        mutates=True,
        errors=(*_CHANGES, "E_NO_CARD", "E_BLOCKED", "E_MEMBER_ALREADY"),
        doc="Bring a contact into a chat; it goes on by itself, however often that takes.",
        example=(Invite(chat=samples.TEA, account=samples.BOB, greeting="tea?"), Begun(action=samples.ACTION)),
    ),
    Function(
        name="chat.accept",
        params=ThisChat,
        result=SameChat,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_ASKED", "E_FULL"),
        doc="Come into a chat that somebody invited us to.",
        example=(ThisChat(chat=samples.TEA), SameChat(chat=samples.TEA)),
    ),
    Function(
        name="chat.decline",
        params=ThisChat,
        result=Done,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_ASKED"),
        doc="Not come into it; whoever invited us sees that we left.",
        example=(ThisChat(chat=samples.TEA), Done()),
    ),
    Function(
        name="chat.remove",
        params=ChatMember,
        result=Begun,
        mutates=True,
        errors=(*_CHANGES, "E_NO_MEMBER"),
        doc="Take somebody out of a chat.",
        example=(ChatMember(chat=samples.TEA, account=samples.BOB), Begun(action=samples.ACTION)),
    ),
    Function(
        name="chat.leave",
        params=ThisChat,
        result=Begun,
        mutates=True,
        errors=_CHANGES,
        doc="Leave a chat, on all our devices. Where nobody else is, nothing can be said in it from then on; its keys "
        "go when the device that votes for the account has heard of it.",
        example=(ThisChat(chat=samples.TEA), Begun(action=samples.ACTION)),
    ),
    Function(
        name="chat.rotate",
        params=ThisChat,
        result=Begun,
        mutates=True,
        errors=_CHANGES,
        doc="Give our place in a chat fresh keys.",
        example=(ThisChat(chat=samples.TEA), Begun(action=samples.ACTION)),
    ),
    Function(
        name="chat.migrate",
        params=Migrate,
        result=Migrated,
        mutates=True,
        errors=(*_CHANGES, "E_RULES", "E_NAME"),
        doc="Open another chat with the same members, as a mode is for life, and invite all of them.",
        example=(
            Migrate(chat=samples.TEA, mode="lead"),
            Migrated(chat=samples.TEA, actions=[Begun(action=samples.ACTION)]),
        ),
    ),
    Function(
        name="chat.set_rules",
        params=SetRules,
        result=Begun,
        mutates=True,
        errors=(*_CHANGES, "E_RULES"),
        doc="Give a chat other rules, for all its members.",
        example=(SetRules(chat=samples.TEA, rules=NewRules(add="admins")), Begun(action=samples.ACTION)),
    ),
    Function(
        name="chat.set_retention",
        params=SetRetention,
        result=Retention,
        mutates=True,
        errors=("E_CHAT_UNKNOWN",),
        doc="How long this device keeps the messages of a chat; older ones are deleted, with their keys.",
        example=(
            SetRetention(chat=samples.TEA, history_ms=604_800_000),
            Retention(chat=samples.TEA, history_ms=604_800_000, deleted=12),
        ),
    ),
    Function(
        name="chat.come_back",
        params=ThisChat,
        result=Done,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_IN_SYNC", "E_NOT_MEMBER"),
        doc="Consent to coming back into a chat that this device cannot follow, where chat.needs_attention asks.",
        example=(ThisChat(chat=samples.TEA), Done()),
    ),
    Function(
        name="chat.graph",
        params=GraphOf,
        result=Graph,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_MEMBER"),
        doc="The epochs of a chat since the last final one, and what is left of those before: branches and keys.",
        example=(
            GraphOf(chat=samples.TEA),
            Graph(
                chat=samples.TEA,
                mode="demls",
                root=samples.PARENT,
                head=samples.EPOCH,
                final=samples.PARENT,
                steps=[_STEP],
            ),
        ),
    ),
    Function(
        name="chat.carry",
        params=Carry,
        result=Done,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_MEMBER", "E_NOT_LEAD", "E_NOT_MLS", "E_EPOCH"),
        doc="Give the others what an ordinary MLS client sent, in a chat with a lead.",
        example=(Carry(chat=samples.TEA, message=b"\x00\x01\x00\x02"), Done()),
    ),
    Function(
        name="chat.carried",
        params=Carried,
        result=Decided,
        errors=("E_NO_ACCOUNT", "E_CHAT_UNKNOWN", "E_NOT_MEMBER", "E_NOT_LEAD", "E_EPOCH"),
        doc="What an ordinary MLS client that is in an epoch is to hear next.",
        example=(Carried(chat=samples.TEA, epoch=samples.EPOCH), Decided(commits=[b"\x00\x01\x00\x02"])),
    ),
)
