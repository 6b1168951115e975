"""What can be wrong with the disk, as one typed error with a code.

`StoreTrouble` from a write means that nothing of it was stored and the old state stands: the same write may be given
again. A store stays open through all of these; `Store.trouble` is the last one until a write goes through.
"""

from __future__ import annotations

import enum
import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from vcd.vault.sealing import Unopened

__all__ = ["StoreTrouble", "Trouble", "told"]


class Trouble(enum.Enum):
    """Why the store cannot do what it should. The values are stable: health and RPC show them."""

    FULL = "full"
    READ_ONLY = "read-only"
    CORRUPT = "corrupt"
    NEWER = "newer"
    FOREIGN = "foreign"
    MISSING = "missing"
    BUSY = "busy"
    BROKEN = "broken"
    CLOSED = "closed"


HINTS: Final = {
    Trouble.FULL: "Make room on this disk; what was not stored is tried again.",
    Trouble.READ_ONLY: "Make the directory and its disk writable again.",
    Trouble.CORRUPT: "Look after the disk. This device cannot go on with this state: link it anew from another device.",
    Trouble.NEWER: "a state cannot be taken back to an older program.",
    Trouble.FOREIGN: "The vault and the state do not belong together: put back the one that does.",
    Trouble.MISSING: "Set this device up with `vcd init`.",
    Trouble.BUSY: "Another program holds the state: end it.",
    Trouble.BROKEN: "Look after the disk: its driver says that it failed.",
    Trouble.CLOSED: "",
}


class StoreTrouble(Exception):
    """The state cannot be stored or read."""

    def __init__(self, code: Trouble, reason: str, *, writer: str = "") -> None:
        """`writer`: the version of the program that wrote it, where that is newer than this one."""
        super().__init__(f"{code.value}: {reason}")
        self.code = code
        self.reason = reason
        self.writer = writer

    @property
    def hint(self) -> str:
        if self.code is Trouble.NEWER and self.writer:
            return f"Install vcd {self.writer}, or a newer one, and start that: {HINTS[self.code]}"
        return HINTS[self.code]


def corrupt(reason: str) -> StoreTrouble:
    return StoreTrouble(Trouble.CORRUPT, reason)


_CODES: Final = {
    sqlite3.SQLITE_FULL: Trouble.FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_PERM: Trouble.READ_ONLY,
    sqlite3.SQLITE_AUTH: Trouble.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Trouble.CORRUPT,
    sqlite3.SQLITE_NOTADB: Trouble.CORRUPT,
    sqlite3.SQLITE_BUSY: Trouble.BUSY,
    sqlite3.SQLITE_LOCKED: Trouble.BUSY,
    sqlite3.SQLITE_PROTOCOL: Trouble.BUSY,
}
_ERRNO: Final = {
    errno.ENOSPC: Trouble.FULL,
    errno.EDQUOT: Trouble.FULL,
    errno.EFBIG: Trouble.FULL,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EACCES: Trouble.READ_ONLY,
    errno.EPERM: Trouble.READ_ONLY,
    errno.ENOENT: Trouble.MISSING,
}


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Whatever the database, the disk or a seal says against it, as a `StoreTrouble`."""
    try:
        yield
    except sqlite3.ProgrammingError:
        raise  # how we call it, never the disk
    except sqlite3.Error as error:
        raise StoreTrouble(_of(error, path), str(error)) from error
    except Unopened as error:
        raise StoreTrouble(Trouble.CORRUPT, f"a sealed value does not open: {error}") from error
    except OSError as error:
        code = _ERRNO.get(error.errno or 0, Trouble.BROKEN)
        raise StoreTrouble(code, error.strerror or type(error).__name__) from error


def _of(error: sqlite3.Error, path: Path) -> Trouble:
    # Errors that Python raises itself carry no code; those it has about values it read mean damaged pages.
    number = getattr(error, "sqlite_errorcode", None)
    if number is None:
        return Trouble.CORRUPT
    known = _CODES.get(number & 0xFF)
    if known is not None:
        return known
    if number & 0xFF in {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}:
        # SQLite folds most of what a disk says into these two; the disk itself can be asked which it is.
        return _disk(path, Trouble.BROKEN)
    if number & 0xFF in {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}:
        return Trouble.CORRUPT  # our statements fit our schema, so it is the schema or an index that does not
    return Trouble.BROKEN


def _disk(path: Path, otherwise: Trouble) -> Trouble:
    try:
        disk = os.statvfs(path.parent)
    except OSError:
        return otherwise
    if disk.f_flag & os.ST_RDONLY or not os.access(path.parent, os.W_OK):
        return Trouble.READ_ONLY
    return Trouble.FULL if disk.f_bavail == 0 else otherwise
