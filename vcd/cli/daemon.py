"""How the daemon is, and its vault: `status`, `wait`, `unlock`, `lock`."""

from __future__ import annotations

import time
from typing import Any

import click

from vcd.cli import asking
from vcd.cli.reaching import START
from vcd.cli.talk import Talk
from vcd.cli.text import count, fields, network, plain, removed, short, span
from vcd.cli.troubles import NOT_READY, too_late
from vcd.cli.verbs import command
from vcd.client import RpcError, Unavailable

_BETWEEN = 0.1
"""Seconds between two looks at a daemon that is not ready."""
_THEN = {"the daemon is not running": f"Start it: {START}", "it is locked": "Unlock it: vcd unlock"}


@command(None, "status", example="vcd status\nvcd status --json | jq -r .state")
@click.option("--socket-path", is_flag=True, help="Only say where the socket is.")
def status(talk: Talk, socket_path: bool) -> int:
    """How the daemon is, at a glance.

    Exits with 4 while the daemon is there and not ready.
    """
    if socket_path:
        app, admin = talk.paths()
        talk.give({"app_socket": app, "admin_socket": admin}, app)
        return 0
    found = talk.ask("status.get")
    talk.give(found, lambda: _shown(found))
    return 0 if found["state"] == "ready" else NOT_READY


def _shown(found: dict[str, Any]) -> str:
    state = found["state"] + (f": {found['reason']}" if found["reason"] else "")
    running = span(int(time.time() * 1000) - found["started_at"])
    rows = [("state", state), ("daemon", f"vcd {found['version']}, process {found['pid']}, for {running}")]
    if progress := found["progress"]:
        rows.append(("progress", f"{progress['what']}: {progress['done']} of {progress['total']}"))
    if found["store"] not in {"ok", "locked"}:
        rows.append(("store", found["store"]))
    if why := removed(found):
        rows.append(("removed", f"{why}: nothing is sent or received"))
    if found["account"] is not None:
        rows.append(("account", short(found["account"])))
        rows.append(("device", f"{found['device_name']} ({short(found['device'])})"))
        rows.append(("network", network(found)))
        there = (count(found[each], each.removesuffix("s")) for each in ("devices", "contacts", "chats"))
        rows.append(("there are", ", ".join(there)))
    elif found["state"] == "ready":
        again = "none any more: vcd device join CODE links it again, vcd init begins anew"
        rows.append(("account", again if why else "none yet: vcd init, or vcd device join CODE"))
    if backlog := found["backlog"]:
        names = {
            "queued": "to be sent when this device may",
            "unsent": "not sent",
            "unconfirmed": "not confirmed",
            "waiting": "not readable",
            "actions": "under way",
        }
        busy = [f"{backlog[name]} {text}" for name, text in names.items() if backlog[name]]
        rows.append(("backlog", ", ".join(busy) or "nothing"))
    if log := found["log"]:
        rows.append(("events", f"{log['floor']} to {log['last']}"))
    if found["problems"]:
        rows.append(("problems", f"{', '.join(found['problems'])}: vcd doctor"))
    then = {"locked": "\nUnlock it: vcd unlock", "migrating": "\nWait for it: vcd wait --ready"}
    return fields(rows) + then.get(found["state"], "")


@command(None, "wait", example="vcd wait --ready --timeout 30")
@click.option("--ready", is_flag=True, help="Until it is unlocked and everything works; this is the default.")
@click.option("--online", is_flag=True, help="Also until somebody is connected.")
@click.option("--timeout", type=click.FloatRange(min=0), metavar="SECONDS", help="At most so long; then exit with 5.")
def wait(talk: Talk, ready: bool, online: bool, timeout: float | None) -> None:
    """Wait until the daemon is ready, from before it was started, if need be."""
    del ready
    until = None if timeout is None else time.monotonic() + timeout
    said = ""
    while True:
        last, why = _look(talk)
        if last is not None and last["state"] == "ready" and (last["online"] or not online):
            talk.give(last, "ready")
            return
        if why != said:
            talk.note(f"{why} ...")
            said = why
            if until is None and why in _THEN:  # it may be for ever
                talk.note(f"     {_THEN[why]}")
        if until is not None and time.monotonic() >= until:
            raise too_late(f"It is not ready yet: {why}.", _THEN.get(why, "Look for the cause: vcd doctor"))
        time.sleep(_BETWEEN if until is None else max(0.0, min(_BETWEEN, until - time.monotonic())))


def _look(talk: Talk) -> tuple[dict[str, Any] | None, str]:
    try:
        found = talk.client().call("status.get", timeout=10)
    except Unavailable as error:
        talk.close()
        if error.reason in {"permission", "no-path"}:
            raise
        return None, "the daemon is not running"
    except RpcError as error:
        talk.close()
        if error.code == "E_OTHER_USER":
            raise
        return None, plain(error.message)
    if found["state"] != "ready":
        reason = plain(found["reason"])
        return found, f"it is {found['state']}{': ' if reason else ''}{reason}"
    return found, "nobody is connected"


@command(None, "unlock", example="vcd unlock\nvcd unlock --passphrase-fd 3 3<FILE")
@asking.fd_option("passphrase", "the passphrase")
def unlock(talk: Talk, passphrase_fd: int | None) -> None:
    """Open the vault of a locked daemon, which then becomes ready.

    The first passphrase, of a vault that is not there yet, is asked for twice.
    """
    found = talk.ask("status.get")
    said = None
    if passphrase_fd is not None or (found["state"] == "locked" and found["unlocker"] == "passphrase"):
        new = found.get("vault_new", False)
        said = asking.passphrase(passphrase_fd, what="New passphrase" if new else "Passphrase", twice=new)
    done = talk.of_owner("vault.unlock", passphrase=said, wait="Opening the vault")
    talk.give(done, f"{done['state']}, opened by {done['unlocker']}")


@command(None, "lock", example="vcd lock")
def lock(talk: Talk) -> None:
    """Forget all keys in memory; nothing is sent or received before `vcd unlock`."""
    done = talk.of_owner("vault.lock", wait="Closing the vault")
    talk.give(done, f"{done['state']}; open it again: vcd unlock")
