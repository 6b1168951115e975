"""The connection itself: the first call, what there is, and the log of events."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from vcd.rpc import samples
from vcd.rpc.row import Function
from vcd.rpc.values import (
    ChatId,
    Consumer,
    Count,
    DeviceId,
    Done,
    Id16,
    Line,
    Milliseconds,
    Number32,
    Params,
    Result,
    Seq,
    State,
    Time,
)


class Client(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who calls: for logs, and for `status.get`."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    version: Annotated[str, msgspec.Meta(max_length=64)] = ""
    pid: Count | None = None


class Want(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the client was written for."""

    api_level: Count


class Hello(Params, frozen=True, kw_only=True):
    client: Client
    want: Want | None = None
    """Refused with E_API_LEVEL if the daemon does not serve that level."""
    features: Annotated[tuple[Line, ...], msgspec.Meta(max_length=32)] = ()
    """None are defined yet; unknown ones are passed over."""


class Limits(Result, frozen=True, kw_only=True):
    """What one connection may use."""

    message: Count
    """Bytes of one message, either way."""
    calls: Count
    """In flight at once."""
    queue: Count
    """Bytes that wait to be read by the client."""
    subscriptions: Count
    timeout_ms: Milliseconds
    """The longest `timeout_ms`."""
    wait_ms: Milliseconds
    """The longest `wait_ms` of `events.next`."""


class Welcome(Result, frozen=True, kw_only=True):
    daemon_version: str
    api_level: Count
    api_compatible: Count
    """The oldest level whose functions are all still there."""
    api_prerelease: bool
    """Whether the newest level may still change."""
    log_id: Id16 | None
    """Names the log of events: another one than before means that what was known by seq is void. None while locked."""
    boot_id: Id16
    """Another one after each start."""
    state: State
    device: DeviceId | None
    """None while locked, and on a device without an account."""
    limits: Limits
    features: list[str]


class ApiInfo(Params, frozen=True, kw_only=True):
    pass


class ApiDescription(Result, frozen=True, kw_only=True):
    api: dict[str, Any]
    """Functions with their parameters and results as JSON Schema, events, errors; as `vcd api` prints it."""


class Cancel(Params, frozen=True, kw_only=True):
    msgid: Number32


class Canceled(Result, frozen=True, kw_only=True):
    canceled: bool
    """Whether it was still under way. What was done already stays."""


# ---------------------------------------------------------------- events

Kinds = Annotated[tuple[Line, ...], msgspec.Meta(max_length=64)]
Chats = Annotated[tuple[ChatId, ...], msgspec.Meta(max_length=256)]
Initial = Literal["status", "health", "devices", "contacts", "chats"]


class Entry(Result, frozen=True, kw_only=True):
    """Something that happened."""

    seq: Seq
    """Its number in the log: without gaps, and never changed, whatever is filtered."""
    log_id: Id16
    type: str
    at: Time
    """When it was written down."""
    chat: ChatId | None
    data: dict[str, Any]


class Subscribe(Params, frozen=True, kw_only=True):
    from_: Seq | None = None
    """The first seq that is wanted: what is there is replayed, and then the rest follows as it happens. 0 is for all
    that there is; nothing is for what the consumer did not acknowledge, or only for what is new."""
    types: Kinds | None = None
    """Only these; `msg.*` is all of that noun."""
    chats: Chats | None = None
    """Only of these chats. What is of no chat is left out then."""
    credit: Count | None = None
    """So many events are sent, and no more before `events.credit`. Without it there is no such limit."""
    initial: Annotated[tuple[Initial, ...], msgspec.Meta(max_length=5)] = ()
    """What is to be shown first. Events follow from before these were looked up, so nothing falls between."""
    consumer: Consumer | None = None
    """With no `from`, begin after what this consumer acknowledged last; with all there is, if it never did."""
    log_id: Id16 | None = None
    """The log that `from` is of: E_LOG_CHANGED if it is another one."""


class Subscribed(Result, frozen=True, kw_only=True):
    sub: Count
    """Names the subscription on this connection."""
    next: Seq
    """The first seq that is looked at."""
    floor: Seq
    """The oldest that is still there."""
    last: Seq
    log_id: Id16
    initial: dict[str, Any]
    """By what was asked for: the result of status.get, health.list, device.list, contact.list, chat.list. Of the last
    two it is the first page."""


class Unsubscribe(Params, frozen=True, kw_only=True):
    sub: Count


class Credit(Params, frozen=True, kw_only=True):
    sub: Count
    more: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]


class Credited(Result, frozen=True, kw_only=True):
    credit: Count
    """How many may be sent now."""


class Next(Params, frozen=True, kw_only=True):
    from_: Seq | None = None
    """As in `events.subscribe`; without a consumer, nothing is for what is new."""
    wait_ms: Milliseconds = 0
    """How long to wait while there is none."""
    max: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 100
    types: Kinds | None = None
    chats: Chats | None = None
    consumer: Consumer | None = None
    log_id: Id16 | None = None


class Page(Result, frozen=True, kw_only=True):
    events: list[Entry]
    """None, if the time was over. A page ends early before it is too long for one message."""
    next: Seq
    """What to give as `from` next: it also passes over what was filtered."""
    floor: Seq
    last: Seq
    log_id: Id16


class Ack(Params, frozen=True, kw_only=True):
    consumer: Consumer
    seq: Seq
    """Everything up to this was dealt with. It never goes back."""
    log_id: Id16 | None = None


class Acked(Result, frozen=True, kw_only=True):
    seq: Seq


_LIMITS = Limits(message=4194304, calls=64, queue=8388608, subscriptions=32, timeout_ms=600_000, wait_ms=60_000)
_ENTRY = Entry(
    seq=812,
    log_id=samples.LOG,
    type="msg.delivered",
    at=samples.AT,
    chat=samples.TEA,
    data={"chat": samples.TEA, "msg": samples.MESSAGE},
)

FUNCTIONS = (
    Function(
        name="rpc.hello",
        params=Hello,
        result=Welcome,
        unready=True,
        errors=("E_API_LEVEL",),
        doc="The first call of every connection: who calls, and what is there.",
        example=(
            Hello(client=Client(name="example", version="1.0"), want=Want(api_level=1)),
            Welcome(
                daemon_version="0.1.0",
                api_level=1,
                api_compatible=1,
                api_prerelease=True,
                log_id=samples.LOG,
                boot_id=samples.BOOT,
                state="ready",
                device=samples.LAPTOP,
                limits=_LIMITS,
                features=[],
            ),
        ),
    ),
    Function(
        name="rpc.api_info",
        params=ApiInfo,
        result=ApiDescription,
        unready=True,
        doc="All functions, events and errors, as JSON Schema; `vcd api` says the same without a daemon.",
        example=(ApiInfo(), ApiDescription(api={"api_level": 1, "functions": [], "events": [], "errors": []})),
    ),
    Function(
        name="rpc.cancel",
        params=Cancel,
        result=Canceled,
        unready=True,
        doc="Give up a call of this connection, which then ends with E_CANCELED; also as a notification.",
        example=(Cancel(msgid=7), Canceled(canceled=True)),
    ),
    Function(
        name="events.subscribe",
        params=Subscribe,
        result=Subscribed,
        errors=("E_CURSOR_EXPIRED", "E_CURSOR_AHEAD", "E_LOG_CHANGED", "E_SUBSCRIPTIONS"),
        doc="Be told of events by notifications `event`: first those since `from`, then each as it happens.",
        example=(
            Subscribe(from_=800, types=("msg.*", "chat.changed"), initial=("devices",)),
            Subscribed(sub=1, next=800, floor=1, last=812, log_id=samples.LOG, initial={"devices": {"devices": []}}),
        ),
    ),
    Function(
        name="events.unsubscribe",
        params=Unsubscribe,
        result=Done,
        errors=("E_SUBSCRIPTION_UNKNOWN",),
        doc="End a subscription; nothing of it comes after the answer.",
        example=(Unsubscribe(sub=1), Done()),
    ),
    Function(
        name="events.credit",
        params=Credit,
        result=Credited,
        errors=("E_SUBSCRIPTION_UNKNOWN",),
        doc="Allow a subscription that was made with `credit` so many events more; also as a notification.",
        example=(Credit(sub=1, more=100), Credited(credit=100)),
    ),
    Function(
        name="events.next",
        params=Next,
        result=Page,
        errors=("E_CURSOR_EXPIRED", "E_CURSOR_AHEAD", "E_LOG_CHANGED"),
        doc="The same by asking: a page of events, waiting for one if there is none yet.",
        example=(
            Next(from_=812, wait_ms=30_000),
            Page(events=[_ENTRY], next=813, floor=1, last=812, log_id=samples.LOG),
        ),
    ),
    Function(
        name="events.ack",
        params=Ack,
        result=Acked,
        errors=("E_CONSUMERS", "E_CURSOR_AHEAD", "E_LOG_CHANGED"),
        doc="Remember how far a named consumer is, so that it may crash; each has a place of its own.",
        example=(Ack(consumer="archive-bot", seq=812), Acked(seq=812)),
    ),
)
