"""Questions to a person, each with a way around it for programs.

Secrets are never taken from the command line, where every process of the machine can read them: they are typed without
being shown, or read from a file descriptor (`--passphrase-fd 3 3<file`; 0 is standard input). Where there is no
terminal and no descriptor, the command ends and says which option it lacks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, Final

import click

from vcd.cli.troubles import USAGE, Trouble

_MOST: Final = 4096
"""Bytes of a secret."""


def fd_option(what: str, words: str) -> Callable[[Any], Any]:
    return click.option(
        f"--{what}-fd", type=click.IntRange(min=0), metavar="N", help=f"Read {words} from descriptor N."
    )


yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


def from_descriptor(number: int, what: str) -> str:
    """What is there to be read, without the end of its line."""
    data = b""
    try:
        while len(data) <= _MOST and (more := os.read(number, _MOST + 1 - len(data))):
            data += more
    except OSError as error:
        raise Trouble(
            f"{what} cannot be read from descriptor {number}: {error.strerror}.",
            f"Open it: {number}<FILE at the end of the command.",
            code="usage",
            status=USAGE,
        ) from None
    if len(data) > _MOST:
        raise Trouble(f"{what} is too long.", "Give another file.", code="usage", status=USAGE)
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise Trouble(f"{what} is not UTF-8 text.", "Give another file.", code="usage", status=USAGE) from None


def passphrase(fd: int | None, *, what: str = "Passphrase", twice: bool = False) -> str:
    if fd is not None:
        return from_descriptor(fd, f"The {what.lower()}")
    must_ask(f"the {what.lower()}", "--passphrase-fd N")
    said: str = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
    return said


def words(fd: int | None, *, what: str = "Recovery words") -> list[str]:
    if fd is not None:
        return from_descriptor(fd, f"The {what.lower()}").lower().split()
    must_ask(f"the {what.lower()}", "--words-fd N")
    said: str = click.prompt(f"{what} (they are not shown)", hide_input=True, err=True)
    return said.lower().split()


def sure(question: str, *, yes: bool) -> None:
    """Ends the command unless the answer is yes."""
    if yes:
        return
    must_ask("a confirmation", "--yes")
    if not click.confirm(question, err=True):
        raise click.Abort("Nothing was done.")


def answer(question: str, option: str, default: str | None = None) -> str:
    must_ask(question, option)
    said: str = click.prompt(question, default=default, err=True)
    return said


def can_ask() -> bool:
    return sys.stdin.isatty()


def must_ask(what: str, option: str) -> None:
    if not can_ask():
        raise Trouble(
            f"This takes {what}, and there is no terminal to ask at.", f"Add {option}.", code="usage", status=USAGE
        )
