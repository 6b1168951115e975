"""What programs of ours that run and do not end do alike: how they refuse to start, and say that they are well.

refused(run)       what cannot be had at the start, as a sentence and an exit code
watchdog           the service manager hears of us as long as tasks have their turn
write_whole        a file that others read, whole or not at all
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import trio

from vcd import config, instance, notify, paths
from vcd.rpc import sockets

log = logging.getLogger("vcd.daemon")

EXIT_FAILED, EXIT_USAGE, EXIT_BUSY = 1, 3, 4


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def refused(run: Callable[[], int]) -> int:
    """The exit code of `run`, or of what kept it from starting."""
    try:
        return run()
    except config.ConfigError as error:
        say(f"vcd: {error}\n{error.hint}")
        return EXIT_USAGE
    except paths.PathError as error:
        say(f"vcd: {error}\n{error.hint}".rstrip())
        return EXIT_FAILED
    except instance.AlreadyRunning as error:
        say(f"vcd: {error}\n{error.hint}")
        return EXIT_BUSY
    except (instance.CannotLock, sockets.SocketTrouble, notify.BadSocket) as error:
        say(f"vcd: {error}")
        return EXIT_FAILED


async def watchdog(notifier: notify.Notifier) -> None:
    """As long as this task has its turn, all others do."""
    while notifier.watchdog_every is not None:
        notifier.watchdog()
        await trio.sleep(notifier.watchdog_every)


def write_whole(path: Path, text: str) -> None:
    """Whole or not at all. A folder that cannot be written to is the collector's trouble, not ours."""
    beside = path.with_suffix(f".{os.getpid()}.tmp")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.chmod(0o644)
        beside.replace(path)
    except OSError as error:
        log.warning("metrics cannot be written: %s", error.strerror)
