"""What to have when every device is lost: `backup`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from vcd.cli import asking
from vcd.cli.talk import Talk
from vcd.cli.text import count, plain, size
from vcd.cli.verbs import command


@command(None, "backup", example="vcd backup ~/vcd.backup\nvcd backup /mnt/vcd.backup --passphrase-fd 3 3<FILE")
@click.argument("file", type=click.Path(path_type=Path))
@asking.fd_option("passphrase", "the passphrase that it is sealed with")
@click.option("--words", "with_words", is_flag=True, help="Also seal the recovery words into it; asks for them.")
@asking.fd_option("words", "the recovery words, to be sealed into it")
@click.option("--no-history", is_flag=True, help="Without messages.")
def backup(
    talk: Talk, file: Path, passphrase_fd: int | None, with_words: bool, words_fd: int | None, no_history: bool
) -> None:
    """Write contacts, the list of devices and the history to a new sealed FILE.

    It never holds keys of chats: a device that is restored from it comes back into each as a new one.
    """
    path = os.path.abspath(file)  # noqa: PTH100 - the daemon makes the file, so nothing is resolved here
    talk.client(admin=True).connect()
    passphrase = asking.passphrase(passphrase_fd, what="Passphrase for the backup", twice=True)
    words = asking.words(words_fd) if with_words or words_fd is not None else None
    done = talk.change_of_owner(
        "backup.create",
        path=path,
        passphrase=passphrase,
        words=words,
        history=not no_history,
        wait="Writing the backup",
    )
    talk.give(done, lambda: _made(done))


def _made(done: dict[str, Any]) -> str:
    there = ", ".join(count(done[each], each.removesuffix("s")) for each in ("contacts", "chats", "messages"))
    words = "with" if done["with_root"] else "without"
    return (
        f"{plain(done['path'])}: {size(done['bytes'])}, {there}, {words} the recovery words.\n"
        f"Back from it, on a new device: vcd init --restore {plain(done['path'])}"
    )
