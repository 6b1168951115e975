"""One process per identity on a machine: a lock that ends with the process, however it ends.

Two daemons with one identity would share its port (SO_REUSEPORT) and its peer id, and peers would talk now to
one and now to the other. The lock is the kernel's (flock), so a file that was left behind locks nobody out.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transport.base import AlreadyRunning


@contextmanager
def single_instance(path: Path | None) -> Iterator[None]:
    """Hold the lock; `AlreadyRunning` if another process, or another part of this one, does. None: no lock."""
    if path is None:
        yield
        return
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(f"another process holds {path}") from None
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(handle)
