"""Small secret files: all of one or nothing, on disk when this returns, and only their owner's to read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

__all__ = ["sync_directory", "write_file"]


def write_file(path: Path, data: bytes, *, over: bool) -> None:
    """With `over` it replaces what is there; without, it raises FileExistsError."""
    beside = path.with_name(f".{path.name}.{os.urandom(4).hex()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if over:
            beside.replace(path)
        else:
            os.link(beside, path)  # unlike a rename, this refuses to replace what came meanwhile
        sync_directory(path.parent)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
