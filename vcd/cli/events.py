"""The log of events: `events`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from vcd.cli import names
from vcd.cli.talk import Talk
from vcd.cli.text import clock, plain, said, short
from vcd.cli.verbs import command

_NEWEST = 20


@command(
    None,
    "events",
    example="vcd events --follow --type 'msg.*'\n"
    "vcd events --from 812 --json\n"
    "vcd events --follow --consumer my-bot --json",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens, until Ctrl-C.")
@click.option(
    "--from", "from_", type=click.IntRange(min=0), metavar="SEQ", help="Begin with this number; 0 is the oldest."
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only these, as `chat.changed` or `msg.*`.")
@click.option("--chat", "chats", multiple=True, metavar="CHAT", help="Only of these chats.")
@click.option("--consumer", metavar="NAME", help="Begin after what this name had last, and remember how far it is.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="End after so many.")
def events(
    talk: Talk,
    follow: bool,
    from_: int | None,
    types: Sequence[str],
    chats: Sequence[str],
    consumer: str | None,
    limit: int | None,
) -> None:
    """What happened, and what happens; with --json one object a line.

    Without --from, --follow or --consumer these are the newest that there are.
    """
    filters: dict[str, Any] = {"types": list(types) or None}
    filters["chats"] = [names.chat(talk, each)["chat"] for each in chats] or None
    if follow:
        _follow(talk, from_, consumer, limit, filters)
    else:
        _kept(talk, from_, consumer, limit, filters)


def _kept(talk: Talk, from_: int | None, consumer: str | None, limit: int | None, filters: dict[str, Any]) -> None:
    """Those that are there now, page by page."""
    if from_ is None and consumer is None:
        log = talk.ask("events.next", from_=0, max=1)
        from_ = max(log["floor"], log["last"] - _NEWEST + 1)
    left = limit
    last = None
    while left is None or left > 0:
        page = talk.ask("events.next", from_=from_, consumer=consumer, max=min(left or 500, 500), **filters)
        last = page["last"] if last is None else last  # what comes meanwhile is for the next time
        for each in page["events"]:
            talk.line(each, lambda each=each: shown(each))  # type: ignore[misc]  # the loop's own
            left = None if left is None else left - 1
        if consumer is not None and page["next"] > 1:
            talk.ask("events.ack", consumer=consumer, seq=page["next"] - 1)
        if page["next"] > last or (from_ is not None and page["next"] <= from_):
            return
        from_ = page["next"]


def _follow(talk: Talk, from_: int | None, consumer: str | None, limit: int | None, filters: dict[str, Any]) -> None:
    if consumer is not None and from_ is None:
        filters = {**filters, "consumer": consumer}
    for seen, event in enumerate(talk.events(from_, **filters), 1):
        row = event._asdict()
        talk.line(row, lambda row=row: shown(row))  # type: ignore[misc]  # the loop's own
        if consumer is not None:
            talk.ask("events.ack", consumer=consumer, seq=event.seq)
        if seen == limit:
            return


def shown(event: dict[str, Any]) -> str:
    chat = f" {short(event['chat'])}" if event["chat"] is not None else ""
    data = {name: value for name, value in event["data"].items() if name != "chat"}
    if isinstance(data.get("data"), bytes):
        data["data"] = said(data["data"], str(data.pop("media", "")))
    parts = " ".join(f"{plain(name)}={_value(value)}" for name, value in data.items() if value not in (None, [], ""))
    return f"{event['seq']:>6}  {clock(event['at'])}  {plain(event['type'])}{chat}  {parts}".rstrip()


def _value(value: Any) -> str:
    if isinstance(value, bytes):
        return short(value)
    if isinstance(value, list):
        return ",".join(_value(each) for each in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = plain(str(value))
    return f"'{text}'" if " " in text else text
