"""Unix sockets: made so that nobody else can reach them, and asked who calls.

A socket is made with mode 0600 in a directory of mode 0700. Nobody relies on that alone: `caller` says by SO_PEERCRED
who is at the other end, and `allowed` who may be. Where a socket file is in the way, it is taken away only if nobody
answers there; whoever makes sockets holds the lock of the instance meanwhile, so no other daemon does the same.

Listening sockets may come from outside instead (`adopt`): a service manager keeps them open while the daemon is
restarted, so no connection is refused.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from dataclasses import dataclass, field
from pathlib import Path

from vcd.rpc.row import Socket

LONGEST = 107
"""Bytes of a path that a socket can have on Linux."""
BACKLOG = 128


class SocketTrouble(Exception):
    """A socket cannot be had. The text says why, and what to do."""


class InUse(SocketTrouble):
    """Somebody answers there."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The process at the other end, when it connected."""

    pid: int
    uid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A listening socket, and what it is for."""

    sock: socket.socket
    kind: Socket
    path: Path | None = None
    """The file that is taken away at the end; None where it is somebody else's."""
    made: tuple[int, int] = (0, 0)
    """What tells that file from a later one: inodes are used again."""
    allowed: set[int] = field(default_factory=lambda: {os.getuid()})
    """User ids; may change while it is listened on."""

    def close(self) -> None:
        """Take the file away, if it is still ours, and listen no more."""
        if self.path is not None:
            try:
                if _which(self.path) == self.made:
                    self.path.unlink()
            except OSError:
                pass
        self.sock.close()


def caller(sock: socket.socket) -> Caller:
    pid, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return Caller(pid, uid)


def listen(path: Path, kind: Socket) -> Listener:
    """A socket at that path."""
    size = len(os.fsencode(path))
    if size > LONGEST:
        raise SocketTrouble(
            f"the path of a socket has {LONGEST} bytes at most on Linux, and {path} has {size}: choose a shorter one"
        )
    _make_private(path.parent)
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.bind(os.fspath(path))
        path.chmod(0o600)
        sock.listen(BACKLOG)
        return Listener(sock=sock, kind=kind, path=path, made=_which(path))
    except OSError as error:
        sock.close()
        raise SocketTrouble(f"there can be no socket at {path}: {error.strerror}") from error


def open_to(listener: Listener, users: frozenset[int]) -> None:
    """Let these users in besides our own; who is not among them any more keeps the connections that there are.

    With others, the file can be reached by everybody who can reach its folder, and the kernel's word decides.
    """
    listener.allowed.clear()
    listener.allowed.update({os.getuid(), *users})
    if listener.path is not None:
        listener.path.chmod(0o600 if listener.allowed == {os.getuid()} else 0o666)


def adopt(sock: socket.socket, kind: Socket) -> Listener:
    """A socket that a service manager opened."""
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM or not listening:
        raise SocketTrouble("what was handed over is no listening Unix stream socket: look at ListenStream=")
    return Listener(sock=sock, kind=kind)


def _which(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _make_private(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()  # it may be a link: systemd makes one for units with DynamicUser
        if found.st_uid != os.getuid():
            raise SocketTrouble(f"{folder} belongs to another user (id {found.st_uid}): take another one")
        if stat.S_IMODE(found.st_mode) != 0o700:
            folder.chmod(0o700)
    except OSError as error:
        raise SocketTrouble(f"{folder} cannot be used for sockets: {error.strerror}") from error


def _clear(path: Path) -> None:
    """Take away a socket at which nobody answers; nothing else."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketTrouble(f"{path} is there and is no socket: it is not ours to take away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        number = probe.connect_ex(os.fspath(path))
    if number == errno.ECONNREFUSED:
        path.unlink(missing_ok=True)
    elif number != errno.ENOENT:
        raise InUse(f"somebody answers at {path}: a daemon is running there; ask it by `vcd status`")
