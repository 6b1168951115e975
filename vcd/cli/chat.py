"""Conversations: `chat new`, `list`, `show`, `rename`, `invite`, `accept`, `decline`, `remove`, `leave`, `rotate`.

`vcd.cli.speaking` has what is said in them, `vcd.cli.drawing` the picture of a chat.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from vcd.cli import asking, names
from vcd.cli.drawing import graph
from vcd.cli.speaking import send, tail
from vcd.cli.talk import Talk
from vcd.cli.text import clock, count, fields, plain, short, span, table
from vcd.cli.troubles import USAGE, Trouble
from vcd.cli.verbs import command, noun

_MODES = ("demls", "ec1", "ec2", "lead", "dimls")
_STANDING = ("member", "invited", "joining", "left", "removed", "out-of-sync", "past")


@noun("chat")
def chat() -> None:
    """Conversations, and what is said in them."""


@command(chat, "new", example="vcd chat new tea --invite Bob --invite Carol")
@click.argument("title", default="")
@click.option("--mode", type=click.Choice(_MODES), default="demls", help="How members agree; for life (docs/node.md).")
@click.option("--invite", "invited", multiple=True, metavar="CONTACT", help="Bring them in; may be given again.")
@click.option("--greeting", default="", metavar="TEXT", help="What they are told with the invitation.")
def new(talk: Talk, title: str, mode: str, invited: Sequence[str], greeting: str) -> None:
    """Open a chat. TITLE is what your devices call it; nobody else is told."""
    title = title.strip()
    found = [names.contact(talk, each) for each in invited]
    done = talk.change("chat.create", title=title, mode=mode)
    actions = [
        talk.change("chat.invite", chat=done["chat"], account=each["account"], greeting=greeting)["action"]
        for each in found
    ]
    people = ", ".join(plain(each["name"]) for each in found)
    call = plain(title) or short(done["chat"])
    then = (
        f"{people} will be in it as soon as they can be reached"
        if found
        else f"Bring somebody in: vcd chat invite {call!r} CONTACT"
    )
    which = f"{call} ({short(done['chat'])})" if title else call
    talk.give({**done, "actions": actions}, f"{which} is open. {then}")


@command(chat, "list", example="vcd chat list")
@click.option("--standing", type=click.Choice(_STANDING), help="Only those where this is how we stand.")
def listed(talk: Talk, standing: str | None) -> None:
    """All chats, those that wait for an answer among them."""
    found = list(talk.pages("chat.list", "chats", "chat", standing=standing))
    talk.give({"chats": found}, lambda: _listed(talk, found))
    names.note_removal(talk)


def _listed(talk: Talk, found: list[dict[str, Any]]) -> str:
    if not found:
        return "No chats yet. Open one: vcd chat new TITLE --invite CONTACT"
    known = names.Names(talk)
    rows = []
    for each in found:
        marks = [
            *([each["standing"]] if each["standing"] != "member" else []),
            *([f"by {known.account(each['invited_by'])}: vcd chat accept"] if each["standing"] == "invited" else []),
            *([count(each["branches"], "branch", "branches")] if each["branches"] > 1 else []),
            *(["the network seems split"] if each["split"] else []),
            *([f"{each['unconfirmed']} not confirmed"] if each["unconfirmed"] else []),
            *(["waits for you"] if each["asks"] and each["standing"] != "invited" else []),
        ]
        rows.append([each["title"] or "-", short(each["chat"]), str(each["members"]), each["mode"], ", ".join(marks)])
    return table(["TITLE", "ID", "MEMBERS", "MODE", ""], rows)


@command(chat, "show", example="vcd chat show tea")
@click.argument("which", metavar="CHAT")
def show(talk: Talk, which: str) -> None:
    """One chat: who is in it, by which rules, and how it stands."""
    found = talk.ask("chat.get", chat=names.chat(talk, which)["chat"])
    talk.give(found, lambda: _shown(talk, found))
    if found["standing"] == "past":
        names.note_removal(talk)


def _shown(talk: Talk, found: dict[str, Any]) -> str:
    known = names.Names(talk)
    rows = [
        ("chat", f"{found['title'] or '-'} ({short(found['chat'])})"),
        ("we are", found["standing"] + (f", by {known.account(found['invited_by'])}" if found["invited_by"] else "")),
        ("mode", found["mode"]),
    ]
    if found["greeting"]:
        rows.append(("greeting", found["greeting"]))
    if found["epoch"] is not None:
        rows.append(("epoch", f"{found['number']} ({short(found['epoch'])}), final {short(found['final']) or 'none'}"))
    if found["branches"] > 1:
        rows.append(("undecided", f"{found['branches']} branches: vcd chat graph {short(found['chat'])}"))
    if found["split"]:
        rows.append(("network", "seems to be split"))
    if rules := found["rules"]:
        may = (f"{name}: {rules[key]}" for name, key in (("add", "add"), ("remove", "remove"), ("rules", "change")))
        rows.append(("who may", ", ".join(may)))
        rows.append(("old keys", f"are kept for {span(rules['window_ms'])}"))
    kept = "as long as there is room" if found["history_ms"] is None else f"for {span(found['history_ms'])}"
    rows.append(
        ("messages", f"kept here {kept}; {found['unconfirmed']} not confirmed, {found['waiting']} not readable")
    )
    if found["queued"]:
        rows.append(("to be sent", f"{found['queued']}, when this device may"))
    for each in found["pending"]:
        who = f" {known.account(each['account'])}" if each["account"] is not None else ""
        rows.append(("under way", f"{each['kind']}{who}, by {known.device(each['device'])}"))
    people = []
    for each in found["members"]:
        marks = [
            *(["you"] if each["own"] else []),
            *(["admin"] if each["admin"] else []),
            *(["lead"] if each["lead"] else []),
            *(["verified"] if each["verified"] and not each["own"] else []),
        ]
        fresh = "" if each["updated_at"] is None else f"keys of {clock(each['updated_at'])}"
        people.append([each["name"] or "-", short(each["account"]) or "ordinary MLS client", ", ".join(marks), fresh])
    return f"{fields(rows)}\n\n{table(['MEMBER', 'ID', '', ''], people)}"


@command(chat, "rename", example="vcd chat rename 9bb2ac4a tea")
@click.argument("which", metavar="CHAT")
@click.argument("title")
def rename(talk: Talk, which: str, title: str) -> None:
    """Call a chat otherwise; only your own devices are told. With '' for TITLE it has none."""
    title = title.strip()
    found = names.chat(talk, which)
    done = talk.change("chat.rename", chat=found["chat"], title=title)
    talk.give(
        {**done, "title": title},
        f"{short(found['chat'])} {f'is called {plain(title)}' if title else 'has no title now'}",
    )


@command(chat, "invite", example="vcd chat invite tea Bob --greeting 'tea at five?'")
@click.argument("which", metavar="CHAT")
@click.argument("who", metavar="CONTACT")
@click.option("--greeting", default="", metavar="TEXT", help="What they are told with the invitation.")
def invite(talk: Talk, which: str, who: str, greeting: str) -> None:
    """Bring a contact into a chat; it goes on by itself, however long that takes."""
    found, person = names.entered(talk, which), names.contact(talk, who)
    done = talk.change("chat.invite", chat=found["chat"], account=person["account"], greeting=greeting)
    talk.give(
        done, f"{plain(person['name'])} will be in it as soon as they can be reached: vcd chat show {_call(found)}"
    )


@command(chat, "accept", example="vcd chat accept tea")
@click.argument("which", metavar="CHAT")
def accept(talk: Talk, which: str) -> None:
    """Come into a chat that somebody invited you to."""
    found = names.chat(talk, which)
    done = talk.change("chat.accept", chat=found["chat"])
    talk.give(done, f"You are coming in: vcd chat show {_call(found)}")


@command(chat, "decline", example="vcd chat decline tea")
@click.argument("which", metavar="CHAT")
def decline(talk: Talk, which: str) -> None:
    """Not come into it; whoever invited you sees that you left."""
    found = names.chat(talk, which)
    done = talk.change("chat.decline", chat=found["chat"])
    talk.give({**done, "chat": found["chat"]}, "declined")


@command(chat, "remove", example="vcd chat remove tea Bob --yes")
@click.argument("which", metavar="CHAT")
@click.argument("who", metavar="MEMBER")
@asking.yes_option
def remove(talk: Talk, which: str, who: str, yes: bool) -> None:
    """Take somebody out of a chat."""
    found = names.entered(talk, which)
    person = names.member(talk, found["chat"], who)
    if person["own"]:
        raise Trouble("That is you.", f"To go yourself: vcd chat leave {_call(found)}", code="usage", status=USAGE)
    called = plain(person["name"]) or short(person["account"])
    asking.sure(f"Take {called!r} ({short(person['account'])}) out of {_call(found)}?", yes=yes)
    done = talk.change("chat.remove", chat=found["chat"], account=person["account"])
    talk.give(done, f"{called} is taken out as soon as the others agree: vcd chat show {_call(found)}")


@command(chat, "leave", example="vcd chat leave tea --yes")
@click.argument("which", metavar="CHAT")
@asking.yes_option
def leave(talk: Talk, which: str, yes: bool) -> None:
    """Leave a chat, on all your devices."""
    found = names.entered(talk, which)
    asking.sure(f"Leave {_call(found)} on all your devices?", yes=yes)
    done = talk.change("chat.leave", chat=found["chat"])
    talk.give(done, "leaving; it goes on by itself")


@command(chat, "rotate", example="vcd chat rotate tea")
@click.argument("which", metavar="CHAT")
def rotate(talk: Talk, which: str) -> None:
    """Give your place in a chat fresh keys."""
    found = names.entered(talk, which)
    done = talk.change("chat.rotate", chat=found["chat"])
    talk.give(done, "fresh keys are under way")


def _call(found: dict[str, Any]) -> str:
    """As it can be typed again."""
    title = plain(found["title"])
    if title and title == found["title"] and not set(title) & set("'\"\\$`!"):
        return title if title.isalnum() else f"'{title}'"
    return short(found["chat"])


for each in (send, tail, graph):
    chat.add_command(each)
