"""The daemon at work, live: `top`. It takes textual, which is an extra."""

from __future__ import annotations

import sys
from typing import Any

import click

from vcd.cli.talk import Talk
from vcd.cli.text import fields, network, plain, removed, short, table, until
from vcd.cli.troubles import USAGE, Trouble
from vcd.cli.verbs import command
from vcd.client import NotReady, RpcError

_EVENTS = 8


@command(None, "top", example="vcd top\nvcd top --once")
@click.option("--every", type=click.FloatRange(0.2, 60), default=1.0, metavar="SECONDS", help="How often to look.")
@click.option("--once", is_flag=True, help="Print one look at it, and end; also with --json.")
def top(talk: Talk, every: float, once: bool) -> None:
    """Devices, peers, conversations and backlog, live. Press q or Ctrl-C to leave."""
    if once or talk.json:
        found = look(talk)
        talk.give(found, lambda: "\n\n".join(text for _, text in panes(found)))
        return
    look(talk)  # if nobody is there, that is said in plain text
    try:
        from vcd.cli.screen import show
    except ModuleNotFoundError as error:
        raise Trouble(
            f"This takes {error.name}, which is not installed.",
            "Install it: pipx install 'vcd-daemon[tui]'. Without it: vcd top --once",
            code="E_NOT_THERE",
        ) from None
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Trouble(
            "This draws on a terminal, and there is none.",
            "Print one look: vcd top --once, or, for programs: vcd status --json",
            code="usage",
            status=USAGE,
        )
    show(talk, every)


def look(talk: Talk) -> dict[str, Any]:
    """All that is shown, asked for at once."""
    found: dict[str, Any] = {"status": talk.ask("status.get"), "devices": [], "chats": [], "events": []}
    try:
        found["devices"] = talk.ask("device.list")["devices"]
        found["chats"] = talk.ask("chat.list", most=100)["chats"]
        page = talk.ask("events.next", from_=None, max=1)
        begin = max(page["floor"], page["last"] - _EVENTS + 1)
        found["events"] = talk.ask("events.next", from_=begin, max=_EVENTS)["events"]
    except NotReady:
        pass
    except RpcError as error:
        if error.code != "E_NO_ACCOUNT":
            raise
    return found


def _device(status: dict[str, Any]) -> str:
    here = f"{status['device_name']} ({short(status['device'])})" if status["device"] else ""
    why = removed(status)
    return f"{here}: {why}" if here and why else here or why or "no account yet"


def panes(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Titles and text of what is beside and below each other."""
    from vcd.cli.events import shown

    status = found["status"]
    backlog = status["backlog"] or {}
    about = [
        ("state", status["state"] + (f": {status['reason']}" if status["reason"] else "")),
        ("device", _device(status)),
        ("network", network(status)),
        ("backlog", ", ".join(f"{number} {name}" for name, number in backlog.items() if number) or "nothing"),
        ("problems", ", ".join(status["problems"]) or "none"),
    ]
    devices = [
        [each["name"], "now" if each["this"] else "never" if each["seen_at"] is None else until(each["seen_at"])]
        for each in found["devices"]
    ]
    chats = [
        [
            each["title"] or short(each["chat"]),
            each["standing"],
            str(each["members"]),
            str(each["branches"]),
            str(each["unconfirmed"]),
        ]
        for each in sorted(found["chats"], key=lambda each: -each["last_seq"])
    ]
    return [
        ("vcd", fields(about)),
        ("devices", table(["DEVICE", "SEEN"], devices)),
        ("conversations", table(["CHAT", "WE ARE", "MEMBERS", "BRANCHES", "NOT CONFIRMED"], chats)),
        ("events", "\n".join(plain(shown(each)) for each in found["events"]) or "nothing yet"),
    ]
