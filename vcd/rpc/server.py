"""The server: sockets that are listened on, and a task for each client.

    info = Info(version=..., boot_id=...)
    await nursery.start(serve, [listen(app, "app"), listen(admin, "admin")], handlers, journal, info)
    info.state = "ready"

It serves from the first moment on; what state the daemon is in says which functions are there (`Info`). `journal` is a
callable, as there is no log of events before the vault is open: it is asked while the state is `ready`, and only then.

Who belongs to another user is told so and sent away. A client cannot do more than end its own connection: whatever is
raised there is logged and stays there. There are at most `Limits.connections` of them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import trio

from vcd.rpc import wire
from vcd.rpc.calls import Calls, Failures, Handler, Requests
from vcd.rpc.connection import Connection, Limits
from vcd.rpc.errors import Failure
from vcd.rpc.info import Info
from vcd.rpc.log import Journal, Tail
from vcd.rpc.sockets import Listener, caller

logger = logging.getLogger("vcd.rpc")

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NOTHING = frozenset({errno.ECONNABORTED, errno.EINTR, errno.EPERM, errno.EPROTO})


async def serve(
    listeners: Sequence[Listener],
    handlers: Mapping[str, Handler],
    journal: Callable[[], Journal],
    info: Info,
    *,
    requests: Requests | None = None,
    failures: Failures | None = None,
    limits: Limits | None = None,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until canceled. The listeners are closed then."""
    tail = Tail(journal, info)
    server = _Server(Calls(handlers, info, requests, failures), tail, info, limits or Limits())
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tail.run, name="rpc tail")
            for listener in listeners:
                nursery.start_soon(server.listen, listener, nursery, name=f"rpc {listener.kind}.sock")
            task_status.started()
    finally:
        for listener in listeners:
            listener.close()


class _Server:
    """What all connections share."""

    def __init__(self, calls: Calls, tail: Tail, info: Info, limits: Limits) -> None:
        self._calls = calls
        self._tail = tail
        self._info = info
        self._limits = limits
        self._open = 0
        self._made = 0

    async def listen(self, listener: Listener, nursery: trio.Nursery) -> None:
        listener.sock.setblocking(False)
        accepting = trio.socket.from_stdlib_socket(listener.sock)
        while True:
            try:
                sock, _ = await accepting.accept()
            except OSError as error:
                if error.errno in _PASSING:
                    logger.warning("no further connection now: %s", error.strerror)
                    await trio.sleep(0.1)
                elif error.errno not in _NOTHING:
                    raise
                continue
            self._made += 1
            nursery.start_soon(self._serve, listener, sock, self._made, name=f"rpc client {self._made}")

    async def _serve(self, listener: Listener, sock: trio.socket.SocketType, number: int) -> None:
        """One client, from its first byte to its last. Nothing is raised from here."""
        self._open += 1
        try:
            stream = trio.SocketStream(sock)
            who = caller(sock)  # type: ignore[arg-type]  # it has the same getsockopt
            if who.uid not in listener.allowed:
                logger.warning("user %d (process %d) was sent away from %s.sock", who.uid, who.pid, listener.kind)
                await _send_away(stream, Failure("E_OTHER_USER"))
            elif self._open > self._limits.connections:
                await _send_away(stream, Failure("E_BUSY", "There are too many connections.", after_ms=1000))
            else:
                await Connection(
                    stream,
                    listener.kind,
                    who,
                    number,
                    calls=self._calls,
                    tail=self._tail,
                    info=self._info,
                    limits=self._limits,
                ).run()
        except Exception as error:  # noqa: BLE001 - a client takes nobody with it
            self._calls.failure(error, f"connection {number}")
        finally:
            self._open -= 1
            sock.close()


async def _send_away(stream: trio.SocketStream, failure: Failure) -> None:
    with trio.move_on_after(1):
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await stream.send_all(wire.notification("rpc.error", failure.wire()))
    await trio.aclose_forcefully(stream)
