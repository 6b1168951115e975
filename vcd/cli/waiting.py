"""What a person sees while something takes longer than a second: what it is, and for how long now.

On a terminal it is one line that counts; elsewhere it is said once. With `--json` nothing is said: who reads that
knows what it asked for.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

AFTER = 1.0


@contextmanager
def waiting(text: str, *, quiet: bool = False) -> Iterator[None]:
    """Say so on standard error if the block takes longer than a second."""
    if quiet:
        yield
        return
    over = threading.Event()
    ticking = threading.Thread(target=_tick, args=(text, over), name="vcd progress", daemon=True)
    ticking.start()
    try:
        yield
    finally:
        over.set()
        ticking.join()


def _tick(text: str, over: threading.Event) -> None:
    if over.wait(AFTER):
        return
    stream = sys.stderr
    if not stream.isatty():
        stream.write(f"{text} ...\n")
        stream.flush()
        return
    started = time.monotonic() - AFTER
    while True:
        stream.write(f"\r\x1b[K{text} ... {time.monotonic() - started:.0f} s")
        stream.flush()
        if over.wait(1.0):
            stream.write("\r\x1b[K")
            stream.flush()
            return
