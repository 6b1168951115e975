"""A daemon for programs that know neither msgpack nor sockets: one JSON value a line, on standard input and output.

    {"id": 1, "method": "chat.list", "params": {}}           a call; `id` is any string or number
    {"id": 1, "result": {...}}   {"id": 1, "error": {...}}   its answer, when it is there
    {"method": "rpc.cancel", "params": {"id": 1}}            to give a call up; it is answered all the same
    {"event": "event", "data": {...}}                        what the daemon tells, as a subscription asked for

Bytes are `{"$b": "base64"}` both ways. What is no such line is answered with an error and has no other effect. At the
end of the input it waits for the answers that are still to come, unless there is a subscription: that goes on.

    code = run(sys.stdin.buffer, sys.stdout.buffer, path)
"""

from __future__ import annotations

import base64
import binascii
import json
import socket
import threading
from typing import Any, BinaryIO

import msgpack

from vcd.client.wire import LIMIT, Codec, closed, find_socket, hello, unavailable

BYTES = "$b"


def to_json(value: Any) -> Any:
    """Values of msgpack as values of JSON."""
    if isinstance(value, bytes):
        return {BYTES: base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(each) for each in value]
    return value


def from_json(value: Any) -> Any:
    """And back. ValueError for what says that it is bytes and is not."""
    if isinstance(value, dict):
        if value.keys() == {BYTES}:
            text = value[BYTES]
            if not isinstance(text, str):
                raise ValueError(f"{BYTES} is base64 text")
            try:
                return base64.b64decode(text, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError(f"{BYTES} is base64 text") from None
        return {key: from_json(each) for key, each in value.items()}
    if isinstance(value, list):
        return [from_json(each) for each in value]
    return value


class Bridge:
    """One connection, and the lines on both sides of it."""

    def __init__(self, sock: socket.socket, path: str, out: BinaryIO) -> None:
        self._sock = sock
        self._path = path
        self._out = out
        self._codec = Codec()
        self._writing = threading.Lock()
        self._state = threading.Condition()
        self._asked: dict[int, Any] = {}
        """The ids of calls that are not answered, by their numbers."""
        self._subscribed: set[int] = set()
        self._subscribing: set[int] = set()
        self._closed = False

    def run(self, lines: BinaryIO, name: str) -> int:
        """Until both sides are done; 0, or 2 if the daemon went away."""
        number, data = self._codec.call("rpc.hello", hello(name, ""), None)
        self._asked[number] = None
        self._sock.sendall(data)
        reading = threading.Thread(target=self._read, name="vcd bridge", daemon=True)
        reading.start()
        while not self._closed and (line := lines.readline(2 * LIMIT)):
            if line.strip():
                self._take(line)
        with self._state:
            self._state.wait_for(lambda: self._closed or not (self._asked or self._subscribed))
            lost = self._closed
        return 2 if lost else 0

    def _say(self, value: Any) -> None:
        with self._writing:
            self._out.write(json.dumps(to_json(value), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
            self._out.flush()

    def _refuse(self, name: Any, text: str) -> None:
        error = {"code": "E_PARAMS", "num": 1004, "message": text, "retry": "no", "data": {}}
        self._say({"id": name, "error": error})

    def _take(self, line: bytes) -> None:
        name = None
        try:
            given = json.loads(line)
            if not isinstance(given, dict):
                raise TypeError("a line is one object")
            if isinstance(given.get("id"), (dict, list, bool)):
                raise TypeError("an id is text or a number")
            name = given.get("id")
            method, params = given.get("method"), from_json(given.get("params", {}))
            if not isinstance(method, str) or not isinstance(params, dict):
                raise TypeError("a call has a method and params")
            if unknown := given.keys() - {"id", "method", "params"}:
                raise ValueError(f"a call has no {min(unknown)!r}")
            if method == "rpc.cancel" and "id" in params:
                self._cancel(name, params["id"])
                return
            if name is None:
                raise ValueError("a call has an id")
            number, data = self._codec.call(method, params, None)
        except (ValueError, TypeError, OverflowError, RecursionError, msgpack.PackException) as error:
            self._refuse(name, f"That is no call: {error}.")
            return
        if len(data) > LIMIT:
            self._refuse(name, "That is longer than a message may be.")
            return
        with self._state:
            self._asked[number] = name
            if method == "events.subscribe":
                self._subscribing.add(number)
            elif method == "events.unsubscribe":
                self._subscribed.discard(params.get("sub", 0))
        try:
            self._sock.sendall(data)
        except OSError:
            self._end()

    def _cancel(self, name: Any, which: Any) -> None:
        with self._state:
            numbers = [number for number, each in self._asked.items() if each == which and each is not None]
        for number in numbers:
            self._sock.sendall(self._codec.cancel(number))
        if name is not None:
            self._say({"id": name, "result": {"canceled": bool(numbers)}})

    def _read(self) -> None:
        try:
            while data := self._sock.recv(65536):
                for message in self._codec.feed(data):
                    self._told(message)
        except (OSError, ValueError, msgpack.UnpackException):
            pass
        finally:
            self._end()

    def _told(self, message: Any) -> None:
        if message[0] == 2:
            data = message[2][0]
            self._say({"event": message[1], "data": data})
            if message[1] == "events.end":
                with self._state:
                    self._subscribed.discard(data["sub"])
                    self._state.notify_all()
            return
        _, number, error, result = message
        with self._state:
            name = self._asked.get(number)
            subscribing = number in self._subscribing
            self._subscribing.discard(number)
            if subscribing and error is None:
                self._subscribed.add(result["sub"])
        if name is not None:
            self._say({"id": name, "result": result} if error is None else {"id": name, "error": error})
        elif error is not None:
            self._say({"event": "rpc.error", "data": error})
        with self._state:
            self._asked.pop(number, None)
            self._state.notify_all()

    def _end(self) -> None:
        with self._state:
            self._closed = True
            waiting, self._asked = self._asked, {}
            self._state.notify_all()
        for name in waiting.values():
            error = {
                "code": "E_UNREACHABLE",
                "num": 6002,
                "message": str(closed(self._path)),
                "retry": "later",
                "data": {},
            }
            self._say({"id": name, "error": error})


def run(lines: BinaryIO, out: BinaryIO, path: str | None = None, *, admin: bool = False, name: str = "bridge") -> int:
    """Speak for a program until its input ends; what to exit with. Raises `Unavailable` if there is no daemon."""
    where = path or find_socket(admin=admin)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        try:
            sock.connect(where)
        except OSError as error:
            raise unavailable(where, error) from None
        return Bridge(sock, where, out).run(lines, name)
