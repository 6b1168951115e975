"""The library's warnings in our log, few and short.

Importing libp2p takes its loggers out of the tree and gives them no handler, so its warnings are lost; parts of
it log through the root logger's functions instead, which set up a handler on standard error as a side effect.
Here warnings and worse go to `vcd.transport` as warnings (an unreachable address is an error to the library), at
most `_MOST` per `_PERIOD` and cut short, because a peer can cause them at will and some quote what it sent. The
rest is counted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

_MOST: Final = 20
_PERIOD: Final = 60.0
_LONGEST: Final = 200
_MOST_KINDS: Final = 4  # of a group


class LibraryLog(logging.Handler):
    """Forwards to `vcd.transport`. Installed while a network runs."""

    def __init__(self, count: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._count = count
        self._target = logging.getLogger("vcd.transport.libp2p")
        self._period_began = -_PERIOD
        self._in_period = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._count("host.library_warnings")
        try:
            now = trio.current_time()
        except RuntimeError:  # from a thread of the library's
            now = self._period_began
        if now - self._period_began >= _PERIOD:
            self._period_began, self._in_period = now, 0
        self._in_period += 1
        if self._in_period <= _MOST:
            text = record.getMessage().partition("\n")[0]
            self._target.warning("%s: %s", record.name, text[:_LONGEST])

    def install(self) -> None:
        logging.getLogger("libp2p").addHandler(self)
        if not logging.root.handlers:
            logging.root.addHandler(logging.NullHandler())

    def remove(self) -> None:
        logging.getLogger("libp2p").removeHandler(self)


def kind(error: BaseException) -> str:
    """The type, and where it was raised; never the message, which may quote a peer."""
    if isinstance(error, BaseExceptionGroup):
        return ", ".join(kind(one) for one in error.exceptions[:_MOST_KINDS])
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = f" at {where.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{where.tb_lineno}" if where else ""
    return f"{type(error).__name__}{place}"
