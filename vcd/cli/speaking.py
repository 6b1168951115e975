"""What is said in chats: `chat send`, `chat tail`."""

from __future__ import annotations

import sys
import time
from typing import Any

import click

from vcd.cli import names
from vcd.cli.talk import Talk
from vcd.cli.text import clock, plain, said, short
from vcd.cli.troubles import USAGE, Trouble, too_late
from vcd.cli.verbs import command

_MOST = 1024 * 1024
_PLAIN = "text/plain;charset=utf-8"
_SKEW = 10 * 60_000
"""Milliseconds by which somebody's clock may be ahead of ours."""
_LONG_AWAY = 90 * 86_400_000
"""And for which a message may be under way: said again for a month, and kept by a mailbox for forty days after."""
_FATES = {"sent": "on its way", "rekeyed": "said again", "needs-attention": "waits for you", "failed": "not delivered"}


@command(
    None,
    "send",
    example='vcd chat send tea "tea at five?"\n'
    "date | vcd chat send tea -\n"
    "vcd chat send tea --file a.png --media image/png",
)
@click.argument("which", metavar="CHAT")
@click.argument("text", required=False)
@click.option("--file", "file", type=click.File("rb"), metavar="FILE", help="What is in a file, in place of TEXT.")
@click.option("--media", metavar="TYPE", help="What kind of data it is; text if nothing is said.")
@click.option(
    "--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Stay until nothing can undo it, at most so long."
)
def send(talk: Talk, which: str, text: str | None, file: Any, media: str | None, wait: float | None) -> None:
    """Say something in a chat. With - as TEXT it is read from standard input. An empty text is not sent.

    Ends as soon as it is on disk; it goes out by itself.
    """
    if (text is None) == (file is None):
        raise Trouble("Give either TEXT or --file.", "`vcd chat send --help` shows how.", code="usage", status=USAGE)
    data = _body(text, file)
    if _empty(data, media, of_file=file is not None):
        raise Trouble(
            "That message is empty.",
            "Say something: vcd chat send CHAT TEXT. With - as TEXT it is read from standard input.",
            code="E_MESSAGE",
            status=USAGE,
        )
    chat = names.entered(talk, which)["chat"]
    kind = _PLAIN if media is None and file is None else media
    done = talk.change("msg.send", chat=chat, data=data, media=kind)
    if wait is None:
        talk.give(done, f"{short(done['msg'])} is on disk and goes out by itself")
        return
    fate = _settled(talk, chat, done, wait)
    talk.give({**done, "fate": fate}, f"{short(done['msg'])} is {'delivered' if fate == 'delivered' else _FATES[fate]}")


def _body(text: str | None, file: Any) -> bytes:
    if text is not None and text != "-":
        return text.encode("utf-8", "surrogateescape")
    source = sys.stdin.buffer if file is None else file
    data: bytes = source.read(_MOST + 1)
    if len(data) > _MOST:
        raise Trouble(
            "That is longer than a message may be: 1 MiB.", "Send it in parts.", code="E_MESSAGE", status=USAGE
        )
    return data


def _empty(data: bytes, media: str | None, *, of_file: bool) -> bool:
    """Whether nothing is said. What of another kind is empty means what apps make of it."""
    if media is not None and not media.startswith("text/"):
        return False
    return not (data if of_file else data.strip())


def _settled(talk: Talk, chat: bytes, sent: dict[str, Any], wait: float) -> str:
    """What became of a message of ours."""
    until = time.monotonic() + wait
    ends = {"msg.delivered": "delivered", "msg.failed": "failed", "msg.needs_attention": "needs-attention"}
    place = sent["seq"]
    while (left := until - time.monotonic()) > 0:
        page = talk.ask(
            "events.next",
            from_=place,
            wait_ms=max(1, min(20_000, int(left * 1000))),
            types=list(ends),
            chats=[chat],
            wait="Waiting for it to be delivered",
        )
        for event in page["events"]:
            if event["data"].get("msg") == sent["msg"]:
                return ends[event["type"]]
        place = page["next"]
    raise too_late("It is not delivered yet, and goes on by itself.", "`vcd chat tail CHAT` shows what became of it.")


@command(None, "tail", example="vcd chat tail tea\nvcd chat tail tea --follow --json")
@click.argument("which", metavar="CHAT")
@click.option(
    "-n", "--number", type=click.IntRange(0, 100_000), default=20, metavar="N", help="How many; 20 if not given."
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what is said, until Ctrl-C.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="With --follow: end after so many new ones.")
def tail(talk: Talk, which: str, number: int, follow: bool, limit: int | None) -> None:
    """The last messages of a chat, in the order in which they came; with --json one object a line.

    Times say when it was said, by its author's clock. If that cannot be, it is the time when it came here, and the
    other one stands behind.
    """
    found = names.entered(talk, which)
    chat, known = found["chat"], names.Names(talk)
    since = talk.ask("events.next", from_=None, max=1)["next"] if follow else 0
    for each in _last(talk, chat, number):
        talk.line(each, lambda each=each: _shown(each, known))  # type: ignore[misc]  # the loop's own
    if found["standing"] == "past":
        names.note_removal(talk)
    if not follow:
        return
    seen = 0
    for event in talk.events(since, types=["msg.received"], chats=[chat]):
        each = {**event.data, "seq": event.seq, "at": event.at, "fate": ""}
        if "data" not in each:
            continue  # deleted since
        talk.line(each, lambda each=each: _shown(each, known))  # type: ignore[misc]  # the loop's own
        seen += 1
        if seen == limit:
            return


def _last(talk: Talk, chat: bytes, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before = None
    while len(found) < number:
        page = talk.ask("msg.list", chat=chat, before=before, most=min(number - len(found), 200))
        older = [each for each in page["messages"] if before is None or each["seq"] < before]
        found = [*older, *found]
        if not page["more"] or not older:
            break
        before = older[0]["seq"]
    return found[-number:] if number else []


def _shown(message: dict[str, Any], known: names.Names) -> str:
    who = "you" if message["ours"] else known.account(message["sender"])
    fate = _FATES.get(message["fate"], "")
    body = plain(said(message["data"], message["media"]), lines=True).split("\n")
    at, doubt = _when(message)
    head = f"{clock(at)}  {who}: "
    lines = [head + body[0], *("    " + line for line in body[1:])]
    return "\n".join(lines) + "".join(f"  ({each})" for each in (fate, doubt) if each)


def _when(message: dict[str, Any]) -> tuple[int, str]:
    """The time to show for a message, and what is to be said of that."""
    came, said_at = message["at"], message["said_at"]
    if came - _LONG_AWAY <= said_at <= came + _SKEW:
        return said_at, ""
    return came, f"came then; said {clock(said_at)}, by its author's clock"
