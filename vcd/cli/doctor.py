"""All checks at once: `doctor`.

First what can be looked at without a daemon (settings, folders, sockets), then what the daemon itself knows, also what
it does not show yet. Each finding has a code that stays, and a command to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from vcd import __version__
from vcd.cli import troubles
from vcd.cli.talk import Talk
from vcd.cli.text import plain
from vcd.cli.troubles import REFUSED
from vcd.cli.verbs import command
from vcd.client import RpcError, Unavailable
from vcd.paths import PathError, find, fitting_socket, usable

_STORES = {
    "full": "The disk is full",
    "read-only": "The database cannot be written",
    "newer": "The database is of a newer vcd",
}
_NOT_OPENED = "This does not unlock the vault"
_SIGNS = {"ok": "ok     ", "info": "note   ", "warning": "warning", "error": "ERROR  "}


def _finding(code: str, severity: str, title: str, text: str = "", then: str = "") -> dict[str, Any]:
    return {"code": code, "severity": severity, "title": title, "text": text, "command": then}


@command(None, "doctor", example="vcd doctor\nvcd doctor --json | jq '.checks[] | select(.severity == \"error\")'")
def doctor(talk: Talk) -> int:
    """Look for what is wrong, and say what to do.

    Exits with 0 if there is no error, 1 if there is one, 2 or 4 if the daemon cannot be asked.
    """
    checks: list[dict[str, Any]] = []
    for check in (_config, _folders, _sockets):
        checks += _done(check, talk)
    status = 0
    try:
        checks += _daemon(talk)
    except (Unavailable, RpcError) as error:
        trouble = troubles.of(error)
        status = trouble.status
        checks.append(_finding("daemon", "error", "The daemon cannot be asked", trouble.text, trouble.then))
    if not status and any(each["severity"] == "error" for each in checks):
        status = REFUSED
    talk.give({"ok": status == 0, "checks": checks}, lambda: _shown(checks))
    return status


def _done(check: Callable[[Talk], Iterator[dict[str, Any]]], talk: Talk) -> list[dict[str, Any]]:
    try:
        return list(check(talk))
    except (PathError, OSError) as error:
        trouble = troubles.of(error)
        return [_finding(check.__name__.strip("_"), "error", trouble.text, "", trouble.then)]


def _config(_talk: Talk) -> Iterator[dict[str, Any]]:
    from vcd.config import ConfigError, load

    try:
        loaded = load(find().config_files)
    except ConfigError as error:
        for problem in error.problems:
            yield _finding("config", "error", "A setting cannot be used", str(problem), "vcd config check")
        return
    where = ", ".join(map(str, loaded.files)) or "no file: everything is at its default"
    yield _finding("config", "ok", "The settings can be used", where)


def _folders(_talk: Talk) -> Iterator[dict[str, Any]]:
    paths = find()
    for name, folder in (("state", paths.state), ("runtime", paths.runtime)):
        try:
            there = usable(folder)
        except PathError as error:
            then = error.hint or f"Move it away: vcd run makes a folder at {folder}"
            yield _finding(f"{name}-folder", "error", f"The {name} folder cannot be used", str(error), then)
            continue
        if there:
            yield _finding(f"{name}-folder", "ok", f"The {name} folder is there", str(folder))
        else:
            yield _finding(f"{name}-folder", "info", f"There is no {name} folder yet", str(folder), "vcd run makes it")


def _sockets(talk: Talk) -> Iterator[dict[str, Any]]:
    for name, path in zip(("app", "admin"), talk.paths(), strict=True):
        fitting_socket(Path(path))
        try:
            talk.client(admin=name == "admin").connect()
        except (Unavailable, RpcError) as error:
            trouble = troubles.of(error)
            yield _finding(f"{name}-socket", "error", f"Nobody can be reached at {path}", trouble.text, trouble.then)
        else:
            yield _finding(f"{name}-socket", "ok", f"The daemon answers at {path}")


def _daemon(talk: Talk) -> Iterator[dict[str, Any]]:
    status = talk.ask("status.get")
    if status["version"] != __version__:
        text = f"This is vcd {__version__}, the daemon is {status['version']}"
        yield _finding("version", "warning", "The daemon is of another version", text, "systemctl --user restart vcd")
    broken = status["store"] not in {"ok", "locked"}
    if broken:
        code = f"E_STORE_{status['store'].upper().replace('-', '_')}"
        then = troubles.NEXT.get(code, "") if status["store"] in _STORES else _damaged()
        title = _STORES.get(status["store"], "The database is damaged")
        yield _finding("store", "error", title, status["reason"], then)
    # Nothing that a person types opens a vault whose own file, or that of its key, is not as it has to be.
    shut = status["state"] == "locked" and bool(status["reason"]) and not _mistyped(status)
    if status["state"] != "ready":  # it does not get there by waiting if its database cannot be used
        then = "" if broken else troubles.NEXT.get(f"E_{status['state'].upper()}", "vcd wait --ready")
        if shut:
            then = _vault()
        yield _finding("state", "error", f"The daemon is {status['state']}", "" if broken else status["reason"], then)
    for each in talk.ask("health.list", all=True)["problems"]:
        yield {**each, "command": _vault()} if shut and each["code"] == "locked" else dict(each)


def _mistyped(status: dict[str, Any]) -> bool:
    """Another passphrase may do."""
    return bool(status["unlocker"] == "passphrase" and status["reason"].startswith(_NOT_OPENED))


def _damaged() -> str:
    folder = find().state
    return f"Stop the daemon, keep a copy of {folder} and put back an earlier one (vcd run --restored). {_anew(folder)}"


def _vault() -> str:
    folder = find().state
    return f"Mend that file, or put a copy of it back; then: vcd unlock. {_anew(folder)}"


def _anew(folder: Path) -> str:
    return (
        f"Without one: move {folder} away, and vcd init --restore BACKUP, vcd init --recover, or, if another device"
        " is left, vcd device join CODE"
    )


def _shown(checks: list[dict[str, Any]]) -> str:
    lines = []
    for each in checks:
        hidden = "" if each.get("visible", True) else " (not shown elsewhere: it may pass)"
        lines.append(
            f"{_SIGNS.get(each['severity'], '?      ')}  {plain(each['title'])}{hidden}  [{plain(each['code'])}]"
        )
        if each["text"] and each["severity"] != "ok":
            lines += [f"         {line}" for line in plain(each["text"], lines=True).split("\n")]
        if each["command"] and each["severity"] != "ok":
            lines.append(f"         -> {plain(each['command'])}")
    bad = sum(each["severity"] == "error" for each in checks)
    return "\n".join([*lines, "", f"{bad} {'error' if bad == 1 else 'errors'}" if bad else "nothing is broken"])
