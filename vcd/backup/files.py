"""The file on disk: new, whole or not there at all, and only its owner's to read.

It is written beside its place and linked there at the end, which refuses to replace anything that came meanwhile. What
was written of a backup that did not come to its end is taken away.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from vcd.backup.seal import BackupError
from vcd.vault.files import sync_directory

__all__ = ["Growing", "open_file", "place_of", "written"]

READ = 1 << 20


class Growing(Protocol):
    """A file that is being written."""

    def write(self, data: bytes, /) -> int: ...
    def flush(self) -> None: ...
    def fileno(self) -> int: ...


def place_of(text: str) -> Path:
    """Where a person wants it: absolute, as this process has another folder than theirs."""
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise BackupError("The path of a backup begins with a slash.")
    return path


@contextmanager
def written(path: Path) -> Iterator[Growing]:
    """A new file: in its place when this ends well, and nowhere if it does not."""
    beside = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        if os.path.lexists(path):
            raise BackupError("There is a file of that name already; a backup never takes the place of another file.")
        descriptor = os.open(beside, flags, 0o600)
    except OSError as error:
        raise BackupError(f"It cannot be written there: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(beside, path)
        sync_directory(path.parent)
    except FileExistsError:
        raise BackupError(
            "There is a file of that name already; a backup never takes the place of another file."
        ) from None
    except OSError as error:
        raise BackupError(f"It could not be written: {error.strerror}.") from None
    finally:
        with contextlib.suppress(OSError):
            beside.unlink()


@contextmanager
def open_file(path: Path) -> Iterator[BinaryIO]:
    """A backup to read from: a plain file, and no pipe that never ends."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise BackupError(f"It cannot be read: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BackupError("This is no plain file.")
    with os.fdopen(descriptor, "rb") as file:
        yield file
