"""What all clients share: where the daemon is, what its errors are, and bytes to messages and back. No I/O.

The daemon's app socket is at `$VCD_SOCKET`, else in `$VCD_HOME/run`, else in `$XDG_RUNTIME_DIR/vcd`; the admin socket,
which serves everything, is beside it.

What the daemon answers with an error is an `RpcError`, and one of its kinds where a program does something else about
it than to tell somebody. `Unavailable` is everything that keeps a client from a daemon at all.
"""

from __future__ import annotations

import errno
import os
from typing import Any, NamedTuple

import msgpack

LIMIT = 4 * 1024 * 1024
LATER = 5.0
"""Seconds after a call's timeout for the daemon to say so."""
PAUSES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts to reach a daemon that went away."""


class Event(NamedTuple):
    """Something that happened. `chat` is None for what is of no chat."""

    seq: int
    type: str
    at: int
    chat: bytes | None
    data: dict[str, Any]
    log_id: bytes


class Unavailable(Exception):
    """There is no daemon to speak to. `reason` is `no-path`, `not-running`, `permission`, `stale` or `closed`."""

    def __init__(self, reason: str, path: str, hint: str) -> None:
        super().__init__(hint)
        self.reason = reason
        self.path = path


class RpcError(Exception):
    """The daemon said no. Programs go by `code`; the text is for people."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error.get('code')}: {error.get('message')}")
        self.code = error.get("code", "E_INTERNAL")
        self.num = error.get("num", 9001)
        self.message = error.get("message", "")
        self.retry = error.get("retry", "no")
        self.after_ms = error.get("after_ms")
        self.data = error.get("data") or {}


class NotReady(RpcError):
    """It is starting, migrating, locked or stopping."""


class CursorExpired(RpcError):
    """Events from there on are not kept any more; `data["floor"]` is where they begin now."""


class LogChanged(RpcError):
    """There is another log of events than before: what was known by seq is void."""


class TimedOut(RpcError):
    """It took longer than was asked for. What was done by then stays."""


class Canceled(RpcError):
    """The caller gave it up."""


class Busy(RpcError):
    """Too many calls at once: again after `after_ms`."""


_KINDS = {
    "E_STARTING": NotReady,
    "E_MIGRATING": NotReady,
    "E_LOCKED": NotReady,
    "E_STOPPING": NotReady,
    "E_CURSOR_EXPIRED": CursorExpired,
    "E_LOG_CHANGED": LogChanged,
    "E_TIMEOUT": TimedOut,
    "E_CANCELED": Canceled,
    "E_BUSY": Busy,
}


def error_of(error: Any) -> RpcError:
    """The exception for what the daemon answered."""
    if not isinstance(error, dict):
        error = {"code": "E_INTERNAL", "message": str(error)}
    return _KINDS.get(error.get("code", ""), RpcError)(error)


def timed_out() -> TimedOut:
    return TimedOut(
        {"code": "E_TIMEOUT", "num": 1014, "message": "The daemon did not answer in time.", "retry": "later"}
    )


def find_socket(*, admin: bool = False) -> str:
    """Where the daemon listens, as far as the environment says."""
    given = os.environ
    name = "admin.sock" if admin else "app.sock"
    asked = given.get("VCD_SOCKET")
    if asked:
        return f"{asked.rpartition('/')[0] or '.'}/{name}" if admin else asked
    if given.get("VCD_HOME"):
        return f"{given['VCD_HOME']}/run/{name}"
    folder = given.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return f"{folder}/vcd/{name}"


def unavailable(path: str, error: OSError) -> Unavailable:
    """Why there is nobody at a socket, and what to do."""
    if error.errno == errno.ENOENT:
        hint = f"There is no socket at {path}: start the daemon by `vcd run`, or set VCD_SOCKET to where it is."
        return Unavailable("not-running", path, hint)
    if error.errno == errno.ECONNREFUSED:
        return Unavailable("stale", path, f"Nobody listens at {path} any more: start the daemon by `vcd run`.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return Unavailable("permission", path, f"{path} belongs to another user: run this as the one the daemon is of.")
    if error.errno == errno.ENOTSOCK or isinstance(error, ValueError) or "too long" in str(error):
        return Unavailable("no-path", path, f"{path} is no socket: set VCD_SOCKET to the daemon's.")
    return Unavailable("closed", path, f"The connection to {path} was closed: {error.strerror or error}.")


def closed(path: str) -> Unavailable:
    return Unavailable("closed", path, f"The daemon closed the connection to {path}; `vcd status` says how it is.")


_LENGTH = {1: 4, 2: 3}


class Garbled(ConnectionError):
    """Whoever is at the other end is no daemon of vcd."""

    def __str__(self) -> str:
        return "whoever listens there does not speak msgpack-rpc"


class Codec:
    """Numbers calls, and takes apart what comes."""

    def __init__(self) -> None:
        self._number = 0
        self._unpacker = msgpack.Unpacker(raw=False, strict_map_key=True, max_buffer_size=2 * LIMIT)

    def call(self, method: str, params: dict[str, Any], timeout: float | None) -> tuple[int, bytes]:
        """A call, with `from_` for `from`, and its number."""
        self._number = (self._number + 1) % 2**32
        if "from_" in params:
            params = {("from" if name == "from_" else name): value for name, value in params.items()}
        if timeout is not None:
            params = {**params, "timeout_ms": max(1, min(600_000, int(timeout * 1000)))}
        return self._number, msgpack.packb((0, self._number, method, (params,)))

    @staticmethod
    def cancel(number: int) -> bytes:
        packed: bytes = msgpack.packb((2, "rpc.cancel", ({"msgid": number},)))
        return packed

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are whole now."""
        try:
            self._unpacker.feed(data)
            found = list(self._unpacker)
        except (ValueError, msgpack.UnpackException):
            raise Garbled from None
        if not all(
            isinstance(each, list) and each[:1] in ([1], [2]) and len(each) == _LENGTH[each[0]] for each in found
        ):
            raise Garbled
        return found


def hello(name: str, version: str) -> dict[str, Any]:
    return {"client": {"name": name, "version": version, "pid": os.getpid()}, "want": {"api_level": 1}}


class Place:
    """Where a reader of events is, over any number of connections: nothing comes twice, and nothing is left out."""

    def __init__(self, from_: int | None, consumer: str | None, filters: dict[str, Any]) -> None:
        self.next = from_
        self.log_id: bytes | None = None
        self._consumer = consumer
        self._filters = {name: value for name, value in filters.items() if value is not None}

    def params(self) -> dict[str, Any]:
        """From where to go on, for `events.subscribe` and `events.next`."""
        out = dict(self._filters)
        if self.next is not None:
            out["from"] = self.next
        elif self._consumer is not None:
            out["consumer"] = self._consumer
        if self.log_id is not None:
            out["log_id"] = self.log_id
        return out

    def at(self, answer: dict[str, Any]) -> None:
        """What was asked for was answered."""
        self.next, self.log_id = answer["next"], answer["log_id"]

    def take(self, data: dict[str, Any]) -> Event | None:
        """An event, unless it was here before."""
        if self.next is not None and data["seq"] < self.next:
            return None
        self.next = data["seq"] + 1
        return Event(data["seq"], data["type"], data["at"], data["chat"], data["data"], data["log_id"])
