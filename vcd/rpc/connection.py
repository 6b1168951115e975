"""One client on a socket.

A connection is one nursery: a task that reads, one that writes, one for each call in flight and one for each
subscription. It ends with any of these, or when the client goes; calls in flight are canceled then, and what they did
by that time stays. Nothing of that leaves the connection.

`rpc.hello`, `rpc.cancel` and what concerns subscriptions is done while reading, so it is done in the order in which it
came; all other calls run beside each other, and are answered as they end.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import trio

from vcd.rpc import wire
from vcd.rpc.api import describe
from vcd.rpc.calls import CALLING, Call, Calls, described
from vcd.rpc.errors import Failure
from vcd.rpc.info import Info
from vcd.rpc.log import Filter, Tail, begin, same_log, wanted
from vcd.rpc.nouns import rpc
from vcd.rpc.outbox import Outbox
from vcd.rpc.params import read
from vcd.rpc.row import Function, Socket
from vcd.rpc.sockets import Caller
from vcd.rpc.table import BEFORE_HELLO, COMPATIBLE, FUNCTIONS, LEVEL, PRERELEASE
from vcd.rpc.values import MAX_TIMEOUT, Done, Params

logger = logging.getLogger("vcd.rpc")

READ = 64 * 1024
FLUSH = 1.0
"""Seconds for what is still to be written when a connection ends."""
SEARCH = 1.0
"""Seconds for which `events.next` looks through what is filtered out, though nobody waits."""
MAX_WAIT = 60_000
"""Milliseconds that `events.next` waits at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What clients may use."""

    connections: int = 512
    """At once; the rest is of each."""
    calls: int = 128
    queue: int = 1024 * 1024
    """Bytes that wait to be read."""
    subscriptions: int = 32
    patience: float = 30.0
    """Seconds without a byte taken, with the queue full, after which subscriptions end."""


class Subscription:
    """Somebody who wants to hear of events."""

    def __init__(self, number: int, cursor: int, chosen: Filter, credit: int | None) -> None:
        self.number = number
        self.cursor = cursor
        self.chosen = chosen
        self.credit = credit
        self.more_credit = trio.lowlevel.ParkingLot()
        self.scope = trio.CancelScope()


class Connection:
    """See above."""

    def __init__(
        self,
        stream: trio.SocketStream,
        kind: Socket,
        who: Caller,
        number: int,
        *,
        calls: Calls,
        tail: Tail,
        info: Info,
        limits: Limits,
    ) -> None:
        self._stream = stream
        self._kind: Socket = kind
        self._who = who
        self._number = number
        self._calls = calls
        self._tail = tail
        self._info = info
        self._limits = limits
        self._out = Outbox(stream.socket, limits.queue)
        self._client: str | None = None
        self._running: dict[int, trio.CancelScope] = {}
        self._subscriptions: dict[int, Subscription] = {}
        self._subscribed = 0
        self._inline: dict[str, Callable[[Any], Any]] = {
            "rpc.hello": self._hello,
            "rpc.cancel": self._cancel,
            "events.unsubscribe": self._unsubscribe,
            "events.credit": self._credit,
        }
        self._own: dict[str, Callable[[Call, Any], Any]] = {
            "rpc.api_info": self._api_info,
            "events.next": self._next,
            "events.ack": self._ack,
        }

    async def run(self) -> None:
        """Until the client goes, or is sent away."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._write)
                await self._read()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + FLUSH):
                with contextlib.suppress(OSError, trio.ClosedResourceError):
                    await self._out.flush()
            await trio.aclose_forcefully(self._stream)

    async def _write(self) -> None:
        try:
            await self._out.run()
        except (OSError, trio.ClosedResourceError):
            self._nursery.cancel_scope.cancel()

    async def _read(self) -> None:
        framer = wire.Framer()
        while True:
            await self._out.room()
            try:
                data = await self._stream.receive_some(READ)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if not data:
                return
            try:
                for message in framer.feed(data):
                    self._take(wire.read(message))
            except wire.TooLong:
                self._complain(Failure("E_TOO_LARGE", data={"limit": wire.LIMIT}))
                return
            except wire.Broken as error:
                self._complain(Failure("E_PROTOCOL", f"What came is no msgpack-rpc: {error}."))
                return

    def _complain(self, failure: Failure) -> None:
        """Tell of an error that is of no call."""
        self._out.put(wire.notification("rpc.error", failure.wire()))

    # ------------------------------------------------------------ calls

    def _take(self, message: wire.Incoming) -> None:
        """Begin a call, or do what a notification says."""
        msgid = message.msgid
        try:
            greeted = self._client is not None or message.method in BEFORE_HELLO
            function = self._calls.find(message.method, self._kind, greeted=greeted)
            inline = self._inline.get(function.name)
            if msgid is None and inline is None:
                raise Failure("E_PROTOCOL", f"`{function.name}` is a call, and this was a notification.")
            params = read(function, message.params)
            if inline is not None:
                result = inline(params)
                if msgid is not None:
                    self._out.put(wire.answer(msgid, result))
                return
            assert msgid is not None  # noqa: S101 - for mypy
            if msgid in self._running:
                raise Failure("E_MSGID_USED", data={"msgid": msgid})
            if len(self._running) >= self._limits.calls:
                raise Failure("E_BUSY", after_ms=50, data={"limit": self._limits.calls})
        except Failure as failure:
            if msgid is None:
                self._complain(failure)
            else:
                self._out.put(wire.failed(msgid, failure.wire()))
            return
        self._running[msgid] = scope = trio.CancelScope()
        self._nursery.start_soon(self._run, msgid, scope, function, params, name=f"{function.name} {msgid}")

    async def _run(self, msgid: int, scope: trio.CancelScope, function: Function, params: Params) -> None:
        call = self._call(function, params)
        CALLING.set(f"{call.client}#{self._number}.{msgid}:{function.name}")
        limit = (params.timeout_ms or MAX_TIMEOUT) / 1000
        answer = b""
        begun: Subscription | None = None
        try:
            with scope, trio.move_on_after(limit) as deadline:
                await self._calls.open(function)
                if function.name == "events.subscribe":
                    result, begun = await self._subscribe(call, params)
                else:
                    own = self._own.get(function.name)
                    if own is None:
                        result = await self._calls.carry_out(function, call, params)
                        if function.name in _DELETES:
                            self._tail.forget()
                    else:
                        result = await own(call, params)
                answer = wire.answer(msgid, result)
                if len(answer) > wire.LIMIT:
                    raise Failure("E_RESULT_TOO_LARGE", data={"limit": wire.LIMIT})
            if deadline.cancelled_caught:
                raise Failure("E_TIMEOUT")
            if scope.cancelled_caught:
                raise Failure("E_CANCELED")
        except Exception as error:  # noqa: BLE001 - a call that fails is no reason for others to
            answer = wire.failed(msgid, self._calls.failure(error, function.name).wire())
            if begun is not None:
                del self._subscriptions[begun.number]
                begun = None
        del self._running[msgid]
        self._out.put(answer)
        if begun is not None:
            await self._pump(begun)

    def _call(self, function: Function, params: Params) -> Call:
        return described(
            function,
            params,
            client=self._client or "",
            pid=self._who.pid,
            uid=self._who.uid,
            kind=self._kind,
        )

    # ------------------------------------------------------------ the connection

    def _hello(self, params: rpc.Hello) -> rpc.Welcome:
        if params.want is not None and not COMPATIBLE <= params.want.api_level <= LEVEL:
            text = f"This daemon serves levels {COMPATIBLE} to {LEVEL}."
            raise Failure("E_API_LEVEL", text, data={"level": LEVEL, "compatible": COMPATIBLE})
        name = params.client.name
        self._client = "".join(letter if letter.isprintable() else "?" for letter in name)
        return rpc.Welcome(
            daemon_version=self._info.version,
            api_level=LEVEL,
            api_compatible=COMPATIBLE,
            api_prerelease=PRERELEASE,
            log_id=self._tail.journal.log_id if self._info.state == "ready" else None,
            boot_id=self._info.boot_id,
            state=self._info.state,
            device=self._info.device,
            limits=rpc.Limits(
                message=wire.LIMIT,
                calls=self._limits.calls,
                queue=self._limits.queue,
                subscriptions=self._limits.subscriptions,
                timeout_ms=MAX_TIMEOUT,
                wait_ms=MAX_WAIT,
            ),
            features=[],
        )

    def _cancel(self, params: rpc.Cancel) -> rpc.Canceled:
        scope = self._running.get(params.msgid)
        if scope is not None:
            scope.cancel()
        return rpc.Canceled(canceled=scope is not None)

    async def _api_info(self, _call: Call, _params: rpc.ApiInfo) -> rpc.ApiDescription:
        return rpc.ApiDescription(api=describe())

    # ------------------------------------------------------------ events

    async def _next(self, _call: Call, params: rpc.Next) -> dict[str, Any]:
        await self._opened()
        tail, chosen = self._tail, wanted(params.types, params.chats)
        cursor = begin(tail.journal, params.from_, params.consumer, params.log_id)
        started = trio.current_time()
        until = started + min(params.wait_ms, MAX_WAIT) / 1000
        while True:
            page, cursor = await tail.page(cursor, chosen, params.max, newest=True)
            now = trio.current_time()
            end = cursor >= tail.journal.last
            if page or (now >= until and (end or now >= started + SEARCH)):
                break
            if end:
                with trio.move_on_at(until):
                    await tail.more(cursor)
            self._calls.gate(FUNCTIONS["events.next"])
        journal = tail.journal
        return {
            "events": [wire.entry(each.body) for each in page],
            "next": cursor + 1,
            "floor": journal.floor,
            "last": journal.last,
            "log_id": journal.log_id,
        }

    async def _opened(self) -> None:
        """The log is followed from the moment on at which the daemon is ready, or one later."""
        while not self._tail.open:
            self._calls.gate(FUNCTIONS["events.next"])
            await trio.lowlevel.checkpoint()

    async def _ack(self, _call: Call, params: rpc.Ack) -> rpc.Acked:
        journal = self._tail.journal
        same_log(journal, params.log_id)
        if params.seq > journal.last:
            raise Failure("E_CURSOR_AHEAD", data={"last": journal.last})
        await journal.ack(params.consumer, params.seq)
        return rpc.Acked(seq=journal.acked(params.consumer))

    async def _subscribe(self, call: Call, params: Any) -> tuple[rpc.Subscribed, Subscription]:
        await self._opened()
        if len(self._subscriptions) >= self._limits.subscriptions:
            raise Failure("E_SUBSCRIPTIONS", data={"limit": self._limits.subscriptions})
        chosen = wanted(params.types, params.chats)
        journal = self._tail.journal
        cursor = begin(journal, params.from_, params.consumer, params.log_id)
        self._subscribed += 1
        subscription = Subscription(self._subscribed, cursor, chosen, params.credit)
        self._subscriptions[subscription.number] = subscription
        try:
            shown = {name: await self._shown(name, call) for name in params.initial}
        except BaseException:
            del self._subscriptions[subscription.number]
            raise
        result = rpc.Subscribed(
            sub=subscription.number,
            next=cursor + 1,
            floor=journal.floor,
            last=journal.last,
            log_id=journal.log_id,
            initial=shown,
        )
        return result, subscription

    async def _shown(self, name: str, call: Call) -> Any:
        function = FUNCTIONS[_INITIAL[name]]
        params = function.params()
        call = described(function, params, client=call.client, pid=call.pid, uid=call.uid, kind=call.socket)
        return await self._calls.carry_out(function, call, params)

    def _unsubscribe(self, params: rpc.Unsubscribe) -> Done:
        self._find(params.sub).scope.cancel()
        del self._subscriptions[params.sub]
        return Done()

    def _credit(self, params: rpc.Credit) -> rpc.Credited:
        subscription = self._find(params.sub)
        if subscription.credit is None:
            raise Failure("E_SUBSCRIPTION_UNKNOWN", "This subscription was made without credit, and needs none.")
        subscription.credit += params.more
        subscription.more_credit.unpark_all()
        return rpc.Credited(credit=subscription.credit)

    def _find(self, number: int) -> Subscription:
        found = self._subscriptions.get(number)
        if found is None:
            raise Failure("E_SUBSCRIPTION_UNKNOWN")
        return found

    async def _pump(self, subscription: Subscription) -> None:
        """Send a subscription its events, as fast as they are taken."""
        with subscription.scope:
            try:
                reason = await self._pumped(subscription)
            except Exception as error:  # noqa: BLE001 - the others go on
                failure = self._calls.failure(error, "events.subscribe")
                reason = "expired" if failure.code == "E_CURSOR_EXPIRED" else failure.code
            if self._subscriptions.pop(subscription.number, None) is not None:
                end = {"sub": subscription.number, "reason": reason, "next": subscription.cursor + 1}
                self._out.put(wire.notification("events.end", end))

    async def _pumped(self, subscription: Subscription) -> str:
        tail, out = self._tail, self._out
        while tail.open:
            await trio.lowlevel.checkpoint()
            most = 64 if subscription.credit is None else min(64, subscription.credit)
            if not most:
                await subscription.more_credit.park()
                continue
            page, behind = await tail.page(subscription.cursor, subscription.chosen, most)
            for entry in page:
                if not await out.room(self._limits.patience):
                    return "lagging"
                out.put(wire.event(subscription.number, entry.body))
                subscription.cursor = entry.seq
                if subscription.credit is not None:
                    subscription.credit -= 1
            subscription.cursor = behind
            if not page and behind >= tail.last:
                await tail.more(behind)
        return self._info.state


_DELETES = frozenset({"msg.delete", "chat.set_retention"})
"""What may change entries of the log that were told already."""
_INITIAL = {
    "status": "status.get",
    "health": "health.list",
    "devices": "device.list",
    "contacts": "contact.list",
    "chats": "chat.list",
}
