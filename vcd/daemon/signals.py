"""Signals of a daemon that may be stopped, or told to read its settings again, at any instant.

They wait (`waiting`) from its first line until somebody listens to them (`listen`), and are listened to until it has
ended: a SIGHUP that comes while it starts or stops would end it otherwise, and a second SIGTERM would cut short what
the first one began. However many SIGHUPs come while the settings are being read, they are read once more.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator

import trio

ALL = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
AGAIN = 10.0
"""Seconds until settings that could not be carried out are tried again."""


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """No signal comes in the block before somebody listens. What waits at its end, if nobody did, comes then."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ALL)
    try:
        yield
    finally:
        for number in ALL:
            if signal.getsignal(number) is _nothing:
                signal.signal(number, signal.SIG_IGN)  # Python takes its own handlers away before the process is gone
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _nothing(*_: object) -> None:
    """What signals do at the end. Not SIG_IGN from the beginning, which would throw away those that wait."""


class Bell:
    """Rung as often as anybody likes; answered once for all that came before."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def heard(self) -> None:
        await self._rung.wait()
        self._rung = trio.Event()


async def listen(stop: trio.Event, reload: Bell) -> None:
    """The task, for as long as there is anything that could be cut short."""
    for number in ALL:
        signal.signal(number, _nothing)  # the receiver puts that back: masks are of threads, and others are unmasked
    with trio.open_signal_receiver(*ALL) as received:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ALL)
        async for each in received:
            if each == signal.SIGHUP:
                reload.ring()
            else:
                stop.set()


async def reloads(bell: Bell, reload: Callable[[], Awaitable[bool]]) -> None:
    """One after the other. `reload` says whether all was done: else it is tried again."""
    wait = float("inf")
    while True:
        with trio.move_on_after(wait):
            await bell.heard()
        wait = float("inf") if await reload() else AGAIN
