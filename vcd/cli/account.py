"""The account, which all devices share: `account show`, `rename`, `rotate`, `certificate`, `recover`."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from binascii import Error
from pathlib import Path
from typing import Any

import click

from vcd.cli import asking
from vcd.cli.beginning import recover_account
from vcd.cli.talk import Talk
from vcd.cli.text import certified, count, fields, plain, short
from vcd.cli.verbs import command, noun


@noun("account")
def account() -> None:
    """Your account, which all your devices share."""


@command(account, "show", example="vcd account show")
def show(talk: Talk) -> None:
    """The account that this device belongs to, and who rules its devices."""
    found = talk.ask("account.get")
    talk.give(found, lambda: _shown(found))


def _shown(found: dict[str, Any]) -> str:
    rules = found["rules"]
    rows = [
        ("account", short(found["account"]) + (f" ({found['name']})" if found["name"] else "")),
        ("fingerprint", found["fingerprint"]),
        ("devices", f"{found['devices']}, list {found['term']}.{found['version']}"),
        ("this device", "may let in others" if found["delegate"] else "may not let in others"),
        (
            "removing",
            "devices that may let in others remove those that may not" if rules["delegates_remove"] else "only",
        ),
    ]
    if not rules["delegates_remove"]:
        rows[-1] = ("removing", "takes the recovery words")
    if rules["overrulers"]:
        rows.append(("overruling", f"{rules['overrulers']} devices together"))
    if certificate := found["certificate"]:
        rows.append(("certificate", certified(certificate)))
    rows.append(("signing key", found["signing_key"].hex()))
    if found["mailbox_key"]:
        rows.append(("mailbox key", found["mailbox_key"]))
    if found["branches"] > 1:
        rows.append(("undecided", f"{count(found['branches'], 'branch', 'branches')} of the devices' group"))
    if not found["in_sync"]:
        rows.append(("in step", "no: this device cannot follow the others now"))
    if found["asks"]:
        rows.append(("waits", "for you: vcd call account.come_back"))
    for each in found["overrulings"]:
        who, digest = short(each["device"]), each["digest"].hex()
        rows.append(("asked for", f"other rulers, by {who}: vcd call account.consent device={who} digest={digest}"))
    return fields(rows)


@command(account, "rename", example="vcd account rename Anna")
@click.argument("name")
def rename(talk: Talk, name: str) -> None:
    """Call the account otherwise: what your links suggest to others. With '' for NAME, they suggest nothing.

    Who knows you already keeps the name that they have for you.
    """
    done = talk.change("account.rename", name=name)
    text = f"the account is called {plain(name)} now" if name else "the account has no name now"
    talk.give(done, f"{text}; give out your link anew: vcd contact link")


@command(account, "certificate", example="vcd account certificate anna.pem\nvcd account certificate --none")
@click.argument("file", required=False, type=click.Path(path_type=Path, allow_dash=True))
@click.option("--none", "without", is_flag=True, help="Show none any more.")
def certificate(talk: Talk, file: Path | None, without: bool) -> None:
    """Show the people in your chats an X.509 certificate for your account's key, or none.

    FILE has the chain in PEM, your own first, or one certificate in DER; - is standard input. `vcd account show` has
    the key that it must be for. That is another one after each removal of a device, which takes another certificate.
    """
    if without is (file is not None):
        raise click.UsageError("Give a file, or --none.")
    chain = [] if file is None else _chain(_read(file))
    done = talk.change_of_owner("account.set_certificate", chain=chain)
    talk.give(done, lambda: certified(done["certificate"]) if done["certificate"] else "no certificate is shown")


_MOST = 65_536
_SEQUENCE = b"\x30"
"""Every certificate in DER begins with it."""
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")


def _read(path: Path) -> bytes:
    try:
        with sys.stdin.buffer if path == Path("-") else path.open("rb") as file:
            data: bytes = file.read(_MOST + 1)
    except OSError as error:
        raise click.UsageError(f"That file cannot be read: {error.strerror}.") from None
    if not data or len(data) > _MOST:
        raise click.UsageError(f"That file has no certificate: it must have 1 to {_MOST} bytes.")
    return data


def _chain(data: bytes) -> list[bytes]:
    """The certificates of a file; the daemon says what is wrong with them."""
    try:
        found = [b64decode(b"".join(each.split()), validate=True) for each in _PEM.findall(data)]
    except Error:
        raise click.UsageError("A certificate in that file has letters missing or changed.") from None
    if not found and not data.startswith(_SEQUENCE):
        raise click.UsageError("That file has no certificate in it, neither PEM nor DER.")
    return found or [data]


@command(account, "rotate", example="vcd account rotate --chats")
@click.option("--chats", is_flag=True, help="Also give your place in every chat fresh keys.")
def rotate(talk: Talk, chats: bool) -> None:
    """Give the group of your devices fresh keys, as after somebody may have seen the old ones."""
    done = talk.change_of_owner("account.rotate", chats=chats, wait="Making new keys")
    talk.give(done, f"fresh keys for {count(len(done['actions']), 'group')}: under way")


@command(account, "recover", example="vcd account recover --device laptop --backup vcd.backup")
@click.option("--device", "device_name", metavar="NAME", help="What to call this device.")
@click.option("--backup", type=click.Path(path_type=Path), metavar="FILE", help="Take contacts and history from there.")
@asking.fd_option("words", "the recovery words")
@asking.fd_option("passphrase", "the passphrase of the backup")
def recover(
    talk: Talk, device_name: str | None, backup: Path | None, words_fd: int | None, passphrase_fd: int | None
) -> None:
    """Take the account up again on this device, when no other is left; the same as `vcd init --recover`."""
    done = recover_account(talk, device_name, backup, words_fd, passphrase_fd)
    talk.give(done, lambda: recovered(done))


def recovered(done: dict[str, Any]) -> str:
    return (
        f"Account {short(done['account'])} is back, with this device as {short(done['device'])} and"
        f" {count(done['contacts'], 'contact')}. There is history of {count(done['chats'], 'chat')}: vcd chat list.\n"
        "Give people your new link (vcd contact link), and have somebody in each chat invite you again."
    )
