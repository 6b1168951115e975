"""What programs of ours that run and do not end do alike: how they refuse to start, and say that they are well.

refused(run)       what cannot be had at the start, as a sentence and an exit code; `vcd run --json` makes JSON of it
watchdog           the service manager hears of us as long as tasks have their turn
write_whole        a file that others read, whole or not at all
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from vcd import config, instance, notify, paths
from vcd.rpc import sockets

log = logging.getLogger("vcd.daemon")

EXIT_FAILED, EXIT_USAGE, EXIT_BUSY = 1, 3, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a program does not start. `code` is for programs, as those of `vcd.cli.troubles` are."""

    code: str
    text: str
    hint: str = ""
    status: int = EXIT_FAILED


Tell = Callable[[Refusal], None]


def say(refusal: Refusal) -> None:
    sys.stderr.write(f"vcd: {refusal.text}\n{refusal.hint}".rstrip() + "\n")


def refused(run: Callable[[], int], tell: Tell = say) -> int:
    """The exit code of `run`, or of what kept it from starting, which is told."""
    try:
        return run()
    except config.ConfigError as error:
        refusal = Refusal(code="config", text=str(error), hint=error.hint, status=EXIT_USAGE)
    except paths.PathError as error:
        refusal = Refusal(code="wrong-path", text=str(error), hint=error.hint)
    except instance.AlreadyRunning as error:
        refusal = Refusal(code="running", text=str(error), hint=error.hint, status=EXIT_BUSY)
    except instance.CannotLock as error:
        refusal = Refusal(code="wrong-path", text=str(error), hint=error.hint)
    except (sockets.SocketTrouble, notify.BadSocket) as error:
        refusal = Refusal(code="socket", text=str(error))
    tell(refusal)
    return refusal.status


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
