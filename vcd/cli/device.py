"""Your devices: `device add`, `join`, `confirm`, `cancel`, `list`, `rename`, `remove`."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import unquote

import click

from vcd.cli import asking, names, qr
from vcd.cli.beginning import this_machine
from vcd.cli.pairing import GO_ON, Watch
from vcd.cli.talk import Talk
from vcd.cli.text import clock, count, plain, short, table, until
from vcd.cli.troubles import Trouble, too_late
from vcd.cli.verbs import command, noun
from vcd.client import RpcError

_BETWEEN = 1.0
_ENDED = {"finished", "failed", "canceled"}
_TAKES_WORDS = {
    "E_ROOT_NEEDED": "That device may let in others, so removing it takes the recovery words.",
    "E_NOT_DELEGATE": "This device may not remove others, so it takes the recovery words.",
}


@noun("device")
def device() -> None:
    """Your devices: add, list, rename, remove."""


_wait_option = click.option(
    "--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="At most so long; then exit 5."
)
_no_wait_option = click.option("--no-wait", is_flag=True, help="Do not stay; `vcd device confirm` goes on with it.")
_check_option = click.option("--check", metavar="TEXT", help="What the other screen shows, in place of being asked.")


@command(device, "add", example="vcd device add\nvcd device add --no-wait --json")
@click.option(
    "--expires", type=click.IntRange(10, 3600), metavar="SECONDS", help="How long the code is good; 600 by default."
)
@click.option("--name", metavar="NAME", help="What to call the new device, other than it says.")
@click.option("--qr/--no-qr", "with_qr", default=True, help="Also show the code for a camera.")
@_check_option
@click.option("--yes", "-y", is_flag=True, help="Let in whoever has the code, without comparing the screens.")
@_no_wait_option
@_wait_option
def add(
    talk: Talk,
    expires: int | None,
    name: str | None,
    with_qr: bool,
    check: str | None,
    yes: bool,
    no_wait: bool,
    wait: float | None,
) -> None:
    """Let in a new device: shows a code to type, or to scan, on that one.

    When it is there, both screens show the same short text, and this one asks whether they do. Ctrl-C leaves the
    pairing as it is.
    """
    offer = talk.of_owner("pair.start", expires_ms=None if expires is None else expires * 1000)
    talk.line(offer, lambda: _offer_shown(offer, with_qr=with_qr))
    if no_wait:
        talk.say("Go on with it: vcd device confirm")
        return
    try:
        pairing = talk.of_owner("pair.get", pair=offer["pair"])
    except KeyboardInterrupt:
        raise click.Abort(GO_ON) from None
    Watch(talk, check=check, name=name, yes=yes, wait=wait).go(pairing)


def _offer_shown(offer: dict[str, Any], *, with_qr: bool) -> str:
    picture = qr.drawn(offer["uri"]) if with_qr else ""
    words, uri, ends = plain(offer["code"]), plain(offer["uri"]), clock(offer["expires_at"])
    ways = [f"On the new device:  vcd device join {words}"] if words else []
    ways.append(f"{'From anywhere else' if words else 'On the new device'}:  vcd device join {uri}")
    return "\n".join([picture, *ways, f"Good until {ends}, for one device.", ""])


@command(device, "join", example="vcd device join 7-otter-marble --name phone")
@click.argument("code", nargs=-1, metavar="[CODE]")
@click.option("--name", metavar="NAME", help="What to call this device; else the machine's name.")
@_no_wait_option
@_wait_option
def join(talk: Talk, code: tuple[str, ...], name: str | None, no_wait: bool, wait: float | None) -> None:
    """Make this device one of an account: CODE is what `vcd device add` shows on a device of it.

    Without CODE it is asked for. Ctrl-C leaves the pairing as it is.
    """
    said = (" ".join(code) or asking.answer("Code", "the code")).strip()
    try:
        pairing = talk.of_owner(
            "pair.join", code=said, device_name=name or this_machine(), wait="Looking for the other device"
        )
    except KeyboardInterrupt:
        raise click.Abort(GO_ON) from None
    if no_wait:
        talk.give(pairing, "Begun; go on with it: vcd device confirm")
        return
    Watch(talk, wait=wait, hint=_not_found(said)).go(pairing)


def _not_found(code: str) -> str:
    """What may be the matter, by the code."""
    if ":" not in code:
        return (
            "Not found yet. A short code works where both devices are in one local network. Else stop this (Ctrl-C) and"
            " give\nthe long code that `vcd device add` also shows there: vcd device join vcd1:pair:..."
        )
    places = plain(unquote(code.rpartition(":")[2])).replace(",", ", ") or "no address"
    text = f"Not reached yet, at {places}."
    return f"{text}\nIs the other device on, and its code still good? Does a firewall stand between the two?"


@command(device, "confirm", example='vcd device confirm\nvcd device confirm --check "otter 4821"')
@_check_option
@click.option("--name", metavar="NAME", help="What to call the new device, other than it says.")
@click.option("--yes", "-y", is_flag=True, help="Let in whoever has the code, without comparing the screens.")
@_wait_option
def confirm(talk: Talk, check: str | None, name: str | None, yes: bool, wait: float | None) -> None:
    """Go on with the pairing that is under way, on either device."""
    Watch(talk, check=check, name=name, yes=yes, wait=wait).go(talk.of_owner("pair.get"))


@command(device, "cancel", example="vcd device cancel")
def cancel(talk: Talk) -> None:
    """Give up the pairing that is under way; a device that is in already stays."""
    found = talk.of_owner("pair.get")
    if found["step"] in _ENDED:
        raise _over(found)
    done = talk.of_owner("pair.cancel", pair=found["pair"])
    if done["step"] != "canceled":  # it came too late
        raise _over(done)
    talk.give(done, "given up")


def _over(pairing: dict[str, Any]) -> Trouble:
    """Why there is nothing to give up any more: how the pairing ended, or that it cannot be stopped."""
    peer, step = plain(pairing["peer_name"]) or "the other device", pairing["step"]
    data = {"step": step}
    if step in {"canceled", "failed"}:
        return Trouble(
            f"That pairing is over: it {'was given up' if step == 'canceled' else 'failed'} already.",
            "Nothing is left to do. Another one: vcd device add here, vcd device join CODE on the new device.",
            code="E_PAIR_STEP",
            data=data,
        )
    if pairing["role"] == "new":
        text, then = "This device belongs to the account already.", "`vcd device remove`, on another one, takes it out."
    else:
        text, then = f"{peer} was let in already, and stays.", "Take it out again: vcd device remove DEVICE"
    return Trouble(text, then, code="E_PAIR_STEP", data=data)


@command(device, "list", example="vcd device list")
def listed(talk: Talk) -> None:
    """The devices of this account."""
    found = talk.ask("device.list")
    talk.give(found, lambda: _listed(found))


def _listed(found: dict[str, Any]) -> str:
    rows = []
    for each in sorted(found["devices"], key=lambda one: (not one["this"], one["name"])):
        seen = "now" if each["this"] else "never" if each["seen_at"] is None else until(each["seen_at"])
        marks = [
            *(["this one"] if each["this"] else []),
            *(["lets in others"] if each["delegate"] else []),
            *(["not seen for long"] if each["stale"] else []),
            *(["being removed"] if each["removing"] else []),
        ]
        rows.append([each["name"], short(each["device"]), seen, ", ".join(marks)])
    out = table(["NAME", "ID", "SEEN", ""], rows)
    return out if found["removal"] is None else f"{out}\n\n{_removal(found['removal'])}"


def _removal(removal: dict[str, Any]) -> str:
    gone = count(len(removal["devices"]), "device")
    return f"removal of {gone}: {removal['rotated']} of {count(removal['chats'], 'chat')} have new keys"


@command(device, "rename", example="vcd device rename phone 'old phone'")
@click.argument("which", metavar="DEVICE")
@click.argument("name")
def rename(talk: Talk, which: str, name: str) -> None:
    """Call a device otherwise; only your own devices see its name."""
    found = names.device(talk, which)
    done = talk.change_of_owner("device.rename", device=found["device"], name=name)
    talk.give({**done, "device": found["device"], "name": name}, f"{plain(found['name'])} is called {plain(name)}")


@command(device, "remove", example="vcd device remove phone\nvcd device remove phone --yes --words-fd 3 3<FILE")
@click.argument("which", metavar="DEVICE")
@asking.yes_option
@click.option(
    "--words", "with_words", is_flag=True, help="Ask for the recovery words, which removing some devices takes."
)
@asking.fd_option("words", "the recovery words")
@click.option(
    "--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Stay until it is complete, at most so long."
)
def remove(talk: Talk, which: str, yes: bool, with_words: bool, words_fd: int | None, wait: float | None) -> None:
    """Remove a device from the account and shut it out of every chat.

    Until that is complete, it may read along: it is counted, and `vcd device list` shows how far it is.
    """
    found = names.device(talk, which)
    asking.sure(f"Remove {plain(found['name'])!r} ({short(found['device'])}) for good?", yes=yes)
    words = asking.words(words_fd) if with_words or words_fd is not None else None
    done = _removed(talk, found["device"], words)
    result = {**done, "device": found["device"], "name": found["name"]}
    text = (
        f"{plain(found['name'])} is removed. It can read along until every chat has new keys:"
        f" 0 of {count(done['chats'], 'chat')} so far. `vcd device list` counts them."
    )
    if wait is None:
        talk.give(result, text)
        return
    talk.say(text)
    _completed(talk, wait)
    talk.give({**result, "complete": True}, "complete: it is shut out of every chat")


def _removed(talk: Talk, device_id: bytes, words: list[str] | None) -> dict[str, Any]:
    wait = "Removing it"
    try:
        return dict(talk.change_of_owner("device.remove", device=device_id, words=words, wait=wait))
    except RpcError as error:
        if error.code not in _TAKES_WORDS or words is not None or not asking.can_ask():
            raise
        why = _TAKES_WORDS[error.code]
    if talk.json:
        why += " Without being asked: --words-fd 3 3<FILE"
    return dict(talk.change_of_owner("device.remove", device=device_id, words=asking.words(None, why=why), wait=wait))


def _completed(talk: Talk, wait: float) -> None:
    """Counts, until no removal is under way."""
    until_then = time.monotonic() + wait
    said = ""
    while (removal := talk.ask("device.list")["removal"]) is not None:
        if _removal(removal) != said:
            said = _removal(removal)
            talk.note(said)
        if time.monotonic() >= until_then:
            raise too_late(f"It goes on: {said}.", "`vcd device list` shows how far it is.")
        time.sleep(min(_BETWEEN, max(0.0, until_then - time.monotonic())))
