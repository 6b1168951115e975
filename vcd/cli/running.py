"""From arguments to an exit code: the one place where errors become words.

In JSON mode an error is an object on standard output, as a result would be; otherwise it is text on standard error. A
bug stays a traceback.
"""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import suppress

import click

from vcd.cli import troubles
from vcd.cli.root import vcd
from vcd.cli.talk import ReaderGone, Talk, in_json


def run(argv: list[str]) -> int:
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # a test's stream, or none
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # text streams have it
    talk = Talk()
    try:
        done = vcd.main(args=argv, prog_name="vcd", standalone_mode=False, obj=talk)
        return done if isinstance(done, int) else 0
    except ReaderGone:
        return _reader_gone()
    except (click.exceptions.NoArgsIsHelpError, click.exceptions.Exit) as shown:
        if isinstance(shown, click.exceptions.NoArgsIsHelpError):
            sys.stdout.write(f"{shown.format_message()}\n")
            return troubles.USAGE
        return shown.exit_code
    except (click.Abort, KeyboardInterrupt) as stopped:
        return _stopped(str(stopped))
    except Exception as error:  # noqa: BLE001 - `of` raises again what it does not know
        trouble = troubles.of(error, shlex.join(["vcd", *argv]))  # secrets are never among them
        if talk.json or _wants_json(argv):
            sys.stdout.write(f"{in_json(trouble.plain_json())}\n")
        else:
            sys.stderr.write(f"{trouble.shown()}\n")
        return trouble.status
    finally:
        talk.close()


def _wants_json(argv: list[str]) -> bool:
    """Where the arguments were not understood, so nobody has looked for it."""
    return "--json" in (argv[: argv.index("--")] if "--" in argv else argv)


def _stopped(words: str) -> int:
    """Ctrl-C, or the end of the input where something was asked."""
    sys.stderr.write(f"\nvcd: {words or 'Stopped. What the daemon was told already stays.'}\n")
    return troubles.STOPPED


def _reader_gone() -> int:
    """Python would complain of it when it ends, and click makes it an error."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
