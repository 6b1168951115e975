"""The first command: `init`.

It writes vcd.toml if there is none, and founds an account, or takes one up again with the recovery words. It starts no
daemon, since how that is to run is the user's choice, but says how.
"""

from __future__ import annotations

import os
import socket as sockets
from pathlib import Path
from typing import Any

import click

from vcd.cli import asking
from vcd.cli.reaching import START
from vcd.cli.talk import Talk
from vcd.cli.text import fields, plain, short
from vcd.cli.troubles import NEXT, UNREACHABLE, USAGE, Trouble
from vcd.cli.verbs import command
from vcd.client import Unavailable
from vcd.paths import find, private_folder


@command(
    None,
    "init",
    example="vcd init --device laptop --name Alice\n"
    "vcd init --recover --words-fd 3 3<FILE\n"
    "vcd init --restore vcd.backup",
)
@click.option("--device", "device_name", metavar="NAME", help="What to call this device; else the machine's name.")
@click.option("--name", metavar="NAME", help="What others are told that you are called.")
@click.option("--recover", is_flag=True, help="Take up the account of your recovery words, in place of a new one.")
@click.option(
    "--restore", type=click.Path(path_type=Path), metavar="FILE", help="The same, and contacts from a backup."
)
@asking.fd_option("words", "the recovery words")
@asking.fd_option("passphrase", "the passphrase of the backup")
@asking.yes_option
def init(
    talk: Talk,
    device_name: str | None,
    name: str | None,
    recover: bool,
    restore: Path | None,
    words_fd: int | None,
    passphrase_fd: int | None,
    yes: bool,
) -> None:
    """Write vcd.toml if there is none, and make an account on the daemon that runs.

    Shows the recovery words, once: they are kept nowhere, and are the only way back when no device is left.
    """
    if name is not None and (recover or restore is not None):
        raise Trouble(
            "--name is for a new account; a recovered one has its name.", "Leave it out.", code="usage", status=USAGE
        )
    written = write_config()
    if written is not None:
        talk.note(f"Wrote {written}: all settings, each with its default.")
    try:
        talk.client(admin=True).connect()
    except Unavailable as error:
        if error.reason not in {"not-running", "stale"}:
            raise
        raise Trouble(
            "There is no account yet: the daemon makes it, and is not running.",
            f"Start it: {START}\n     Then again: vcd init",
            code=error.reason,
            status=UNREACHABLE,
            data={"config": None if written is None else str(written)},
        ) from None
    config = {"config": None if written is None else str(written)}
    if recover or restore is not None:
        from vcd.cli.account import recovered

        done = recover_account(talk, device_name, restore, words_fd, passphrase_fd)
        talk.give({**done, **config}, lambda: recovered(done))
        return
    _founded(talk, device_name or this_machine(), name or "", config, yes=yes)


def _founded(talk: Talk, device_name: str, name: str, config: dict[str, Any], *, yes: bool) -> None:
    done = talk.change_of_owner("account.create", device_name=device_name, name=name, wait="Making keys")
    talk.give({**done, **config}, lambda: _new(done, device_name))
    if not talk.json and not yes and asking.can_ask() and done["words"]:
        question = "Press Enter when you have written the words down."
        click.prompt(question, default="", show_default=False, prompt_suffix=" ", err=True)
    talk.say("\nNext: vcd device add, for your other devices; vcd contact link, for other people.")


def _new(done: dict[str, Any], device_name: str) -> str:
    rows = [
        ("account", short(done["account"])),
        ("device", f"{device_name} ({short(done['device'])})"),
        ("fingerprint", done["fingerprint"]),
    ]
    if not done["words"]:
        return fields(rows) + "\n\nThe recovery words were shown before, and are not kept."
    numbered = [f"{number:>2} {plain(word):<12}" for number, word in enumerate(done["words"], 1)]
    lines = ["  ".join(numbered[begin : begin + 4]).rstrip() for begin in range(0, len(numbered), 4)]
    return "\n".join(
        [
            fields(rows),
            "",
            "Your recovery words. Write them down, on paper, in this order: they are shown only now, and whoever has",
            "them has your account.",
            "",
            *(f"  {line}" for line in lines),
        ]
    )


def recover_account(
    talk: Talk, device_name: str | None, backup: Path | None, words_fd: int | None, passphrase_fd: int | None
) -> dict[str, Any]:
    path = None
    if backup is not None:
        path = os.path.abspath(backup)  # noqa: PTH100 - the file may be one that only the daemon can look at
        if not os.access(path, os.R_OK):
            raise Trouble(
                f"{path} cannot be read.", "Give the file that `vcd backup` wrote.", code="E_FILE", status=USAGE
            )
    if talk.of_owner("status.get")["account"] is not None:  # before anybody types two dozen words
        raise Trouble("This device has an account already.", NEXT["E_ACCOUNT_EXISTS"], code="E_ACCOUNT_EXISTS")
    words = asking.words(words_fd)
    passphrase = None if path is None else asking.passphrase(passphrase_fd, what="Passphrase of the backup")
    done = talk.change_of_owner(
        "account.recover",
        words=words,
        device_name=device_name or this_machine(),
        backup=path,
        passphrase=passphrase,
        wait="Taking the account up again",
    )
    return dict(done)


def write_config() -> Path | None:
    """The settings with everything at its default, where there are none; its path, if that was now."""
    from importlib.resources import files

    path = find().config_files[-1]
    private_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write((files("vcd") / "_config" / "vcd.toml").read_text(encoding="utf-8"))
    return path


def this_machine() -> str:
    """What to call this device if nobody says: the settings' `device.name`, else the name of the machine."""
    from vcd.config import ConfigError, load

    try:
        configured = load(find().config_files).config.device.name
    except ConfigError:
        configured = ""
    name = configured or sockets.gethostname().partition(".")[0]
    return "".join(each for each in name if each.isprintable())[:64] or "device"
