"""What vcd and the service manager tell each other: readiness, the watchdog, and sockets that are open already.

    notifier = Notifier.from_environment()
    notifier.ready("3 conversations, 2 peers")
    every notifier.watchdog_every seconds: notifier.watchdog()

The protocol is sd_notify(3): datagrams of `NAME=value` lines to the socket in NOTIFY_SOCKET, which may be abstract.
Without one, all of it does nothing, so the daemon need not ask who started it. Nothing here raises for what the manager
does, and nothing waits for long: a daemon that cannot say that it is well is still well.

Sockets come as file descriptors from 3 on (sd_listen_fds(3)), with the names that their units gave them. All these
variables are removed once they are read: a child that inherits them would speak for us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

FIRST: Final = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""
MOST_SOCKETS: Final = 64
MOST_STATUS: Final = 200
PATIENCE: Final = 0.5
"""Seconds that one message may take, for a manager that is busy."""
LONGEST_EXTENSION: Final = 3600
_LISTEN: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_NOTIFY: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class BadSocket(Exception):
    """The manager passed something that is not a listening Unix socket. Look at `ListenStream=` of its socket unit."""


class Notifier:
    """Tells the service manager how we are."""

    def __init__(self, address: str = "", *, watchdog_every: float | None = None) -> None:
        """`address`: as in NOTIFY_SOCKET; empty: there is nobody to tell."""
        self.watchdog_every = watchdog_every
        """Seconds from one `watchdog` to the next, half of what the manager allows; None: it does not watch."""
        self._address = _address(address)
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str] | None = None, *, pid: int | None = None) -> Self:
        """Reads the variables and removes them."""
        given = os.environ if environ is None else environ
        address, usec, watched = (given.pop(name, "") for name in _NOTIFY)
        me = os.getpid() if pid is None else pid
        every = None
        if watched in {"", str(me)} and _number(usec, 10**15):
            every = int(usec) / 2 / 1_000_000
        return cls(address, watchdog_every=every)

    @property
    def heard(self) -> bool:
        """Whether there is somebody to tell."""
        return self._socket is not None

    def ready(self, status: str = "") -> bool:
        """After a start, and after each `reloading`."""
        return self._send("READY=1", *_status(status))

    def status(self, status: str) -> bool:
        """One line for `systemctl status`."""
        return self._send(*_status(status))

    def reloading(self) -> bool:
        """Say `ready` when it is done. The time tells the manager which request this answers."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self, status: str = "") -> bool:
        return self._send("STOPPING=1", *_status(status))

    def watchdog(self) -> bool:
        return self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> bool:
        """Ask for so much more time, from now, to start or to stop. To be said again before it is over."""
        usec = int(min(max(seconds, 0.001), LONGEST_EXTENSION) * 1_000_000)
        return self._send(f"EXTEND_TIMEOUT_USEC={usec}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _send(self, *lines: str) -> bool:
        """Whether the manager took it."""
        if self._socket is None or self._address is None:
            return False
        self._socket.settimeout(PATIENCE)
        try:
            self._socket.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True


def _address(said: str) -> bytes | None:
    """Of a Unix socket, abstract if it begins with @. Anything else (a VM's vsock) is left alone."""
    raw = os.fsencode(said)
    if raw[:1] not in {b"/", b"@"} or len(raw) < 2 or len(raw) > 107 or b"\0" in raw:
        return None
    return b"\0" + raw[1:] if raw.startswith(b"@") else raw


def _status(text: str) -> tuple[str, ...]:
    """One line, whatever is in it: a line more would be another message to the manager."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[:MOST_STATUS])
    return (f"STATUS={line}",) if line else ()


# ---------------------------------------------------------------- sockets that are open already


@dataclass(frozen=True, slots=True, kw_only=True)
class Passed:
    """A listening socket, by the name that its unit gave it: `FileDescriptorName=`, or the unit's own."""

    name: str
    socket: socket.socket


def passed_sockets(
    environ: MutableMapping[str, str] | None = None, *, pid: int | None = None, first: int = FIRST
) -> tuple[Passed, ...]:
    """Those that the manager opened for us; the variables are removed. BadSocket if one is of no use; all are closed.

    Ours if LISTEN_PID says so. What it says to another process, which started us, is nothing to us.
    """
    given = os.environ if environ is None else environ
    whose, count, names = (given.pop(name, "") for name in _LISTEN[:3])
    given.pop(_LISTEN[3], None)
    me = os.getpid() if pid is None else pid
    if whose != str(me) or not _number(count, MOST_SOCKETS):
        return ()
    numbers = range(first, first + int(count))
    called = names.split(":") if names else []
    called += ["unknown"] * (len(numbers) - len(called))
    with contextlib.ExitStack() as opened:
        passed = []
        for number, name in zip(numbers, called, strict=False):
            passed.append(Passed(name=name, socket=opened.enter_context(_adopt(number, name))))
        for one in passed:
            _check(one)
        opened.pop_all()
    return tuple(passed)


def _adopt(number: int, name: str) -> socket.socket:
    try:
        os.set_inheritable(number, False)
        found = socket.socket(fileno=number)
    except OSError as error:
        raise BadSocket(f"descriptor {number} ({name!r}) is no socket: {error.strerror}") from None
    found.setblocking(False)
    return found


def _check(passed: Passed) -> None:
    found, name = passed.socket, passed.name
    if found.family != socket.AF_UNIX or found.type != socket.SOCK_STREAM:
        raise BadSocket(f"the socket {name!r} is not a Unix stream socket")
    if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise BadSocket(f"the socket {name!r} does not listen")


def _number(text: str, most: int) -> bool:
    """Whether this is a number from 1 to there, in plain digits."""
    return text.isascii() and text.isdigit() and len(text) <= 16 and 1 <= int(text) <= most
