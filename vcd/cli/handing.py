"""What runs and does not end: `run` and `mailbox run`.

The process becomes the daemon, whose rooms are only loaded now.
"""

from __future__ import annotations

import contextlib
import importlib
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from vcd.cli.talk import ReaderGone, Talk
from vcd.cli.troubles import Trouble, advice
from vcd.cli.verbs import command, noun


def _config_option() -> click.Option:
    return click.Option(
        ["--config"], type=click.Path(path_type=Path), metavar="FILE", help="Settings, in place of your vcd.toml."
    )


@contextlib.contextmanager
def _hangups_wait() -> Iterator[None]:
    """Loading takes a second: who is told to read its settings meanwhile does it then, and is not ended by it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hand_over(module: str, config: Path | None, *more: str, **settings: Any) -> int:
    refusals: list[Any] = []
    with _hangups_wait():
        # by name, not by an import: nothing else in this room may ever load what the daemon is made of
        try:
            main = importlib.import_module(module).main
        except ModuleNotFoundError as error:
            raise Trouble(
                f"This vcd has no {error.name}, so it cannot run that.", "Install all of vcd.", code="E_NOT_THERE"
            ) from None
        done = main([*([] if config is None else ["--config", str(config)]), *more], tell=refusals.append, **settings)
    for each in refusals:
        then = advice(each.hint) or "`vcd doctor` looks for the cause."
        raise Trouble(each.text, then, code=each.code, status=each.status)
    return done if isinstance(done, int) else 0


_RESTORED = click.Option(
    ["--restored"], is_flag=True, help="The state folder is a copy that was put back: say nothing before it is safe."
)


@command(None, "run", example="vcd run\nvcd run --config ~/other.toml", params=[_config_option(), _RESTORED])
def run(_talk: Talk, config: Path | None, restored: bool) -> int:
    """Be the daemon, until SIGTERM or Ctrl-C. SIGHUP has it read its settings again.

    `systemctl --user enable --now vcd.socket vcd-admin.socket` runs it as a service of your own.
    """
    return _hand_over("vcd.main", config, *(["--restored"] if restored else []))


@noun("mailbox")
def mailbox() -> None:
    """Keep sealed messages for others who are away."""


_COPY = click.Option(
    ["--restored"], is_flag=True, help="Its file is a copy that was put back: hand out no key package that is in it."
)


@command(mailbox, "run", example="vcd mailbox run --config /etc/vcd/vcd.toml", params=[_config_option(), _COPY])
def run_mailbox(talk: Talk, config: Path | None, restored: bool) -> int:
    """Be a mailbox: it keeps what it cannot read, and hands out key packages (docs/mailbox.md)."""
    # what it says of itself is for people in the form that the mailbox chose; programs have it in JSON
    settings = {"announce": partial(_announced, talk)} if talk.json else {}
    return _hand_over("vcd.daemon.mailbox", config, *(["--restored"] if restored else []), **settings)


def _announced(talk: Talk, places: Sequence[str], _name: str) -> None:
    with contextlib.suppress(ReaderGone):  # it goes on, whoever reads
        talk.line({"mailbox": list(places)}, "")
