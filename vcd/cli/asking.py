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

from vcd.cli.troubles import NEXT, USAGE, Trouble

_MOST: Final = 4096
"""Bytes of a secret."""
_FEWEST_WORDS: Final = 12
_MOST_WORDS: Final = 48
"""Of what the daemon looks at; numbers before them may be typed along."""


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
    must_ask(f"the {what.lower()}", "--passphrase-fd 3 3<FILE")
    said: str = click.prompt(what, hide_input=True, confirmation_prompt=twice, err=True)
    return said


def words(fd: int | None, *, why: str = "") -> list[str]:
    """`why` is said in the question: --json leaves out what stands around it."""
    if fd is not None:
        said = from_descriptor(fd, "The recovery words")
    else:
        must_ask("the recovery words", "--words-fd 3 3<FILE")
        question = "Recovery words (they are not shown)"
        said = click.prompt(f"{why}\n{question}" if why else question, hide_input=True, err=True)
    found = said.lower().split()
    if not _FEWEST_WORDS <= len(found) <= _MOST_WORDS:
        raise Trouble(
            f"The recovery words are 24, and these are {len(found)}.", NEXT["E_WORDS"], code="E_WORDS", status=USAGE
        )
    return found


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
            f"This takes {what}, and there is no terminal to ask at.", f"Add: {option}", code="usage", status=USAGE
        )
