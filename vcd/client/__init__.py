"""A client without any framework: the standard library's socket, and msgpack.

    with Client() as vcd:
        sent = vcd.call("msg.send", chat=chat, data=b"tea at five?", request_id=new_request_id())
        for event in vcd.events(types=["msg.received"]):
            print(event.data["data"])

A `Client` is for one thread. It opens its connection when it is first used and again after it was lost; a call that
was under way then fails with `Unavailable`, but for those that have a `request_id`: these are made again, and done
once. `events` asks for what comes next, on a connection of its own, and goes on where it was when the daemon is back.

`vcd.client.trio` and `vcd.client.aio` are the same for programs with an event loop, with events as they happen.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from typing import Any, Self

from vcd.client.wire import (
    LATER,
    PAUSES,
    Busy,
    Canceled,
    Codec,
    CursorExpired,
    Event,
    LogChanged,
    NotReady,
    Place,
    RpcError,
    TimedOut,
    Unavailable,
    closed,
    error_of,
    find_socket,
    hello,
    timed_out,
    unavailable,
)

__all__ = [
    "Busy",
    "Canceled",
    "Client",
    "CursorExpired",
    "Event",
    "LogChanged",
    "NotReady",
    "RpcError",
    "TimedOut",
    "Unavailable",
    "find_socket",
    "new_request_id",
]


def new_request_id() -> bytes:
    """A name for a call that changes something: the same one again is the same call."""
    return os.urandom(16)


class Client:
    """See above. `admin` takes the socket that serves everything; `path` is for a daemon that is elsewhere."""

    def __init__(
        self, path: str | None = None, *, admin: bool = False, name: str = "python", version: str = ""
    ) -> None:
        self.path = path or find_socket(admin=admin)
        self.name, self.version = name, version
        self.welcome: dict[str, Any] = {}
        """What the daemon said to `rpc.hello`."""
        self._sock: socket.socket | None = None
        self._codec = Codec()

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def connect(self) -> None:
        """Open the connection, if there is none."""
        if self._sock is not None:
            return
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(self.path)
        except OSError as error:
            sock.close()
            raise unavailable(self.path, error) from None
        self._sock, self._codec = sock, Codec()
        self.welcome = self._ask("rpc.hello", hello(self.name, self.version), None)

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def call(self, method: str, /, *, timeout: float | None = None, **params: Any) -> Any:
        """The result of a function, as a dict. `timeout` is in seconds."""
        again = "request_id" in params
        while True:
            self.connect()
            try:
                return self._ask(method, params, timeout)
            except Unavailable:
                self.close()
                if not again:
                    raise
                again = False

    def _ask(self, method: str, params: dict[str, Any], timeout: float | None) -> Any:
        assert self._sock is not None  # noqa: S101 - for mypy
        number, data = self._codec.call(method, params, timeout)
        until = None if timeout is None else time.monotonic() + timeout + LATER
        try:
            self._sock.settimeout(None)
            self._sock.sendall(data)
            while True:
                if until is not None:
                    self._sock.settimeout(max(0.001, until - time.monotonic()))
                more = self._sock.recv(65536)
                if not more:
                    raise closed(self.path)
                for message in self._codec.feed(more):
                    if message[0] == 1 and message[1] == number:
                        if message[2] is not None:
                            raise error_of(message[2])
                        return message[3]
                    if message[0] == 2 and message[1] == "rpc.error":
                        raise error_of(message[2][0])
        except TimeoutError:
            self.close()
            raise timed_out() from None
        except OSError as error:
            raise unavailable(self.path, error) from None

    def events(
        self, from_: int | None = None, *, consumer: str | None = None, wait: float = 30.0, **filters: Any
    ) -> Iterator[Event]:
        """Events as they come, for ever: those since `from_`, else what `consumer` has not acknowledged, else new ones.

        `types` and `chats` choose among them. Where the daemon goes away, this waits for it.
        """
        place, tries = Place(from_, consumer, filters), 0
        with Client(self.path, name=self.name, version=self.version) as other:
            while True:
                try:
                    wait_ms = 0 if place.log_id is None else int(wait * 1000)
                    page = other.call("events.next", wait_ms=wait_ms, **place.params())
                except (Unavailable, NotReady):
                    time.sleep(PAUSES[min(tries, len(PAUSES) - 1)])
                    tries += 1
                    continue
                tries = 0
                for data in page["events"]:
                    event = place.take(data)
                    if event is not None:
                        yield event
                place.at(page)
