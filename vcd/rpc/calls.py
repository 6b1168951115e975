"""What happens between a call and its answer, whoever made it: who may call what and when, and once only.

A call that changes something and has a `request_id` is looked up first: if it was carried out before, the answer of
then is given again. The handler stores the request with what it does, in one transaction; the same id in two calls at
once is one after the other. Without the store's word nothing is taken for done.

Handlers get the parameters as their type and give back a result. What they raise is told to the caller: a `Failure` as
it is, what `failures` knows of the node and the store as that says, and everything else as a bug with an id that the
log has too. The log has the kind of exception and where it was raised, not its text: that may hold what somebody said.
"""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import trio

from vcd.rpc.errors import Failure
from vcd.rpc.info import Info
from vcd.rpc.params import digest, nearest
from vcd.rpc.row import Function, Socket
from vcd.rpc.table import BUILT_IN, FUNCTIONS
from vcd.rpc.values import Change, Params

logger = logging.getLogger("vcd.rpc")

CALLING: ContextVar[str] = ContextVar("vcd_calling", default="")
"""Which call the present task is about, for logs: `client#connection.msgid:method`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Who calls, and how."""

    method: str
    client: str
    """What it calls itself: for logs, not for trust."""
    pid: int
    uid: int
    socket: Socket
    request_id: bytes | None
    digest: bytes
    """What to store with the request id. Empty without one."""
    timeout_ms: int | None


class DoneRequest(Protocol):
    """A request that was carried out."""

    @property
    def method(self) -> str: ...
    @property
    def digest(self) -> bytes: ...
    @property
    def result(self) -> Any: ...


Handler = Callable[[Call, Any], Awaitable[Any]]
Requests = Callable[[bytes], Awaitable[DoneRequest | None]]
Failures = Callable[[Exception], Failure | None]


class Calls:
    """All that can be called here."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        info: Info,
        requests: Requests | None,
        failures: Failures | None,
    ) -> None:
        unknown = [name for name in handlers if name not in FUNCTIONS or name in BUILT_IN]
        if unknown:
            raise ValueError(f"no functions that a handler could be for: {', '.join(unknown)}")
        self._handlers = handlers
        self._info = info
        self._requests = requests
        self._failures = failures
        self._turns: dict[bytes, _Turn] = {}

    def find(self, method: str, kind: Socket, *, greeted: bool) -> Function:
        """The function of that name, if it may be called there and now."""
        function = FUNCTIONS.get(method)
        if function is None:
            near = nearest(method, FUNCTIONS)
            hint = f"; maybe `{near}`" if near else ""
            text = f"There is no function `{method}`{hint}."
            raise Failure("E_METHOD_UNKNOWN", text, data={"method": method, "nearest": near})
        if not greeted:
            raise Failure("E_HELLO_FIRST")
        if function.socket == "admin" and kind != "admin":
            raise Failure("E_ADMIN_ONLY", f"`{method}` is served on admin.sock only.")
        if not self._info.again:
            self.gate(function)
        return function

    async def open(self, function: Function) -> None:
        """Wait for what is opened anew, if the function needs it."""
        if not function.unready:
            await self._info.back()
            self.gate(function)

    def gate(self, function: Function) -> None:
        state = self._info.state
        if state == "ready" or function.unready:
            return
        raise Failure(_NOT_READY[state], data={"state": state})

    async def carry_out(self, function: Function, call: Call, params: Params) -> Any:
        """The result of a call; raises `Failure` and nothing else."""
        try:
            handler = self._handlers.get(function.name)
            if handler is None:
                raise Failure("E_NOT_THERE", f"This daemon has no `{function.name}`.")
            if call.request_id is None or self._requests is None:
                return self._checked(function, await handler(call, params))
            return await self._once(function, handler, call, call.request_id, params)
        except Exception as error:  # noqa: BLE001 - whatever a handler raises must not leave the call
            raise self.failure(error, function.name) from None

    def failure(self, error: Exception, where: str) -> Failure:
        """What a caller is told of an exception."""
        if isinstance(error, Failure):
            return error
        known = None if self._failures is None else self._failures(error)
        if known is not None:
            return known
        bug = secrets.token_hex(4)
        frames = "".join(traceback.format_tb(error.__traceback__))
        logger.error("bug %s in %s: %s\n%s", bug, where, type(error).__qualname__, frames)
        return Failure("E_INTERNAL", f"This is a bug of ours; the daemon's log has it under {bug}.", data={"bug": bug})

    async def _once(self, function: Function, handler: Handler, call: Call, request: bytes, params: Params) -> Any:
        assert self._requests is not None  # noqa: S101 - for mypy
        turn = self._turns.setdefault(request, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                done = await self._requests(request)
                if done is None:
                    return self._checked(function, await handler(call, params))
                if done.method != call.method or done.digest != call.digest:
                    raise Failure("E_REQUEST_REUSED", data={"method": done.method})
                return done.result
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[request]

    @staticmethod
    def _checked(function: Function, result: Any) -> Any:
        if not isinstance(result, function.result):
            raise TypeError(f"{function.name} gave a {type(result).__name__}")
        return result


class _Turn:
    """Of the calls that have one request id."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = trio.Lock()
        self.users = 0


_NOT_READY = {
    "starting": "E_STARTING",
    "migrating": "E_MIGRATING",
    "locked": "E_LOCKED",
    "stopping": "E_STOPPING",
}


def described(function: Function, params: Params, *, client: str, pid: int, uid: int, kind: Socket) -> Call:
    request = params.request_id if isinstance(params, Change) else None
    return Call(
        method=function.name,
        client=client,
        pid=pid,
        uid=uid,
        socket=kind,
        request_id=request,
        digest=b"" if request is None else digest(function, params),
        timeout_ms=params.timeout_ms,
    )
