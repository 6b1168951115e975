"""One daemon for one state: a lock of the kernel on the state folder, which ends with the process however that ends.

    with sole(paths.state, socket=paths.app_socket()):
        ...                                  # AlreadyRunning if another one has it

A lock *file* would be left behind by a crash; a lock on the folder itself cannot be, and nobody can delete it to let a
second daemon in. Who holds it writes its pid and its socket into `instance.json` beside, for those who come later.
That file decides nothing: it may be stale or damaged, and then they are told less.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FILE: Final = "instance.json"
_MOST: Final = 4096
_TRIES: Final = 4
_LOOKS: Final = 10
_BETWEEN: Final = 0.02
"""Seconds: who has just got the lock needs a moment to write who it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who has the state, as far as it said."""

    pid: int | None = None
    socket: str = ""


class AlreadyRunning(Exception):
    """Another vcd runs on this state."""

    def __init__(self, state: Path, holder: Holder) -> None:
        who = "another process" if holder.pid is None else f"process {holder.pid}"
        where = f", on {holder.socket}" if holder.socket else ""
        super().__init__(f"vcd runs already: {who} has {state}{where}")
        self.holder = holder
        self.hint = "vcd status shows it, vcd call daemon.stop ends it; VCD_HOME makes room for a second device"


class CannotLock(Exception):
    """The state folder cannot be locked, so nobody could keep a second daemon away from it."""

    def __init__(self, state: Path, reason: str) -> None:
        super().__init__(f"{state} cannot be locked: {reason}")
        self.hint = "network file systems cannot; set VCD_HOME or XDG_STATE_HOME to a folder on a local disk"


@contextmanager
def sole(state: Path, *, socket: Path | None = None) -> Iterator[None]:
    """Be the only one on this state, for as long as the block runs. Never waits for another one to end.

    `socket`: where it answers; None for one that answers nobody here.
    """
    descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(descriptor, state)
        with suppress(OSError):  # a full disk, say: others are told less
            _write(state, Holder(pid=os.getpid(), socket="" if socket is None else str(socket)))
        try:
            yield
        finally:
            with suppress(OSError):
                (state / FILE).unlink()
    finally:
        os.close(descriptor)


def holder(state: Path) -> Holder | None:
    """Who runs on this state now; None if nobody does. For a client that finds no socket."""
    try:
        descriptor = os.open(state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, so that two who look at once do not see each other. A daemon that starts just then tries again.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _patiently(state)
    finally:
        os.close(descriptor)
    return None


def _lock(descriptor: int, state: Path) -> None:
    for attempt in range(_TRIES):
        if attempt:
            time.sleep(_BETWEEN)  # somebody may only have looked who has it
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise CannotLock(state, error.strerror or "unknown") from None
        else:
            return
    raise AlreadyRunning(state, _patiently(state))


def _patiently(state: Path) -> Holder:
    """Who has the lock. Its file may be of the one before for a moment, whose process is gone."""
    for look in range(_LOOKS):
        if look:
            time.sleep(_BETWEEN)
        found = _read(state)
        if found.pid is not None:
            return found
    return Holder()


def _read(state: Path) -> Holder:
    try:
        descriptor = os.open(state / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            said = json.loads(file.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return Holder()
    if not isinstance(said, dict):
        return Holder()
    pid, socket = said.get("pid"), said.get("socket")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 31 or not _alive(pid):
        return Holder()
    return Holder(pid=pid, socket=socket if isinstance(socket, str) and socket.isprintable() else "")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass  # there, and not ours to signal
    return True


def _write(state: Path, told: Holder) -> None:
    """Whole or not at all: who reads meanwhile sees the old one or the new one."""
    new = state / f"{FILE}.new"
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"pid": told.pid, "socket": told.socket}, file)
    new.replace(state / FILE)
