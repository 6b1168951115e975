"""People: `contact link`, `add`, `list`, `verify`, `block`, `remove`."""

from __future__ import annotations

import os
import shlex
import sys
from typing import Any

import click

from vcd.cli import asking, names, qr
from vcd.cli.talk import Talk
from vcd.cli.text import certified, clock, fields, plain, short, table
from vcd.cli.troubles import NEXT, USAGE, Trouble
from vcd.cli.verbs import command, noun


@noun("contact")
def contact() -> None:
    """People: known by the link that they gave."""


@command(contact, "link", example="vcd contact link")
@click.option("--qr/--no-qr", "with_qr", default=True, help="Also show it for a camera, if it is short enough.")
def link(talk: Talk, with_qr: bool) -> None:
    """Your own link: whoever has it can write to you."""
    found = talk.ask("contact.link")
    talk.give(found, lambda: _link_shown(found, with_qr=with_qr))


def _link_shown(found: dict[str, Any], *, with_qr: bool) -> str:
    picture = qr.drawn(found["link"]) if with_qr and sys.stdout.isatty() else ""
    rows = fields([("fingerprint", found["fingerprint"]), ("good until", clock(found["expires_at"]))])
    return f"{picture}{plain(found['link'])}\n\n{rows}\n\nThe other one: vcd contact add LINK"


@command(contact, "add", example="vcd contact add vcd1:... --name Bob\nvcd contact add - < link.txt")
@click.argument("link_text", metavar="LINK")
@click.option("--name", metavar="NAME", help="What to call them here; else what they suggest.")
def add(talk: Talk, link_text: str, name: str | None) -> None:
    """Know somebody by the link that they gave, or by a newer one. With - it is read from standard input."""
    said = (sys.stdin.read(80_000) if link_text == "-" else link_text).strip().strip("<>\"'")
    if not said:
        raise Trouble("There is no link in that.", NEXT["E_LINK"], code="E_LINK", status=USAGE)
    if "vcd1:" not in said.lower() and os.path.isfile(said):  # noqa: PTH113 - it may be no path at all
        raise Trouble(
            "That is a file, and no link.",
            f"Give what is in it: vcd contact add - < {shlex.quote(said)}",
            code="E_LINK",
            status=USAGE,
        )
    done = talk.change("contact.add", link=said, name=name)
    then = f"Compare fingerprints when you meet: vcd contact verify {plain(done['name']) or short(done['account'])!r}"
    talk.give(done, lambda: f"{_shown(done)}\n\n{then}")


@command(contact, "list", example="vcd contact list")
@click.option("--all", "everybody", is_flag=True, help="Also who is blocked, and strangers met in chats.")
def listed(talk: Talk, everybody: bool) -> None:
    """The people that this account knows."""
    found = list(talk.pages("contact.list", "contacts", "account", relation=None if everybody else "contact"))
    talk.give({"contacts": found}, lambda: _listed(found))


def _listed(found: list[dict[str, Any]]) -> str:
    if not found:
        return "Nobody yet. Give them your link: vcd contact link. Or add theirs: vcd contact add LINK"
    rows = []
    for each in found:
        marks = [
            *([each["relation"]] if each["relation"] != "contact" else []),
            "verified" if each["verified"] else "not verified",
            *([] if each["reachable"] else ["needs a new link"]),
            *(["shows two lists of devices: vcd doctor"] if each["contradicts"] else []),
        ]
        rows.append([each["name"] or "-", short(each["account"]), ", ".join(marks)])
    return table(["NAME", "ID", ""], rows)


def _shown(found: dict[str, Any]) -> str:
    called = found["name"] + (
        f" (suggests {found['suggested']})" if found["suggested"] not in {"", found["name"]} else ""
    )
    rows = [
        ("contact", called),
        ("account", short(found["account"])),
        ("relation", found["relation"]),
        ("verified", "yes" if found["verified"] else "no"),
        ("fingerprint", found["fingerprint"]),
        ("safety number", found["safety_number"]),
    ]
    if found["certificate"]:
        rows.append(("certificate", certified(found["certificate"])))
    return fields(rows)


@command(contact, "show", example="vcd contact show Bob")
@click.argument("which", metavar="CONTACT")
def show(talk: Talk, which: str) -> None:
    """One of them, with fingerprint and safety number."""
    found = talk.ask("contact.get", account=names.contact(talk, which)["account"])
    talk.give(found, lambda: _shown(found))


@command(contact, "verify", example="vcd contact verify Bob\nvcd contact verify Bob --fingerprint '30121 44871 ...'")
@click.argument("which", metavar="CONTACT")
@click.option("--fingerprint", metavar="TEXT", help="As the other one reads it out; spaces do not matter.")
@asking.yes_option
def verify(talk: Talk, which: str, fingerprint: str | None, yes: bool) -> None:
    """Say that the two of you compared fingerprints, or safety numbers.

    Shows both, and asks whether the other one sees the same. With --fingerprint nothing is asked.
    """
    if fingerprint is not None and not fingerprint.strip():  # of a variable that is not set, say
        raise click.UsageError("That fingerprint is empty: give what the other one reads out.")
    found = names.contact(talk, which)
    if fingerprint is None:
        shown = f"{_shown(found)}\n\nOn their device: vcd account show, or vcd contact show YOU"
        if yes:
            talk.note(shown)
        # with what to compare in the question: --json leaves out what stands around it
        asking.sure(f"{shown}\nDo they see the same fingerprint, or the same safety number?", yes=yes)
    done = talk.change(
        "contact.verify",
        account=found["account"],
        fingerprint=found["fingerprint"] if fingerprint is None else fingerprint,
    )
    talk.give(done, f"{plain(done['name'])} is verified")


@command(contact, "block", example="vcd contact block Bob\nvcd contact block Bob --undo")
@click.argument("which", metavar="CONTACT")
@click.option("--undo", is_flag=True, help="Take their invitations again.")
def block(talk: Talk, which: str, undo: bool) -> None:
    """Take no invitations of somebody any more. Chats that you share go on."""
    found = names.contact(talk, which)
    done = talk.change("contact.block", account=found["account"], blocked=not undo)
    talk.give(done, f"{plain(done['name'])} is {'not blocked any more' if undo else 'blocked'}")


@command(contact, "remove", example="vcd contact remove Bob --yes")
@click.argument("which", metavar="CONTACT")
@asking.yes_option
def remove(talk: Talk, which: str, yes: bool) -> None:
    """Know somebody no more than a stranger; chats that you share go on."""
    found = names.contact(talk, which)
    asking.sure(f"Remove {plain(found['name'])!r} ({short(found['account'])}) from your contacts?", yes=yes)
    done = talk.change("contact.remove", account=found["account"])
    talk.give({**done, "account": found["account"]}, f"{plain(found['name'])} is no contact any more")
