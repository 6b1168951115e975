"""What to send to whoever looks for a bug: `bugreport`.

It is made of what is known to hold nothing of anybody, not of everything with some of it taken out: versions, states
and counts, codes of problems, which settings are not at their default (not what they are), and the daemon's counters.
Ids stand as codes that are drawn anew for each report, so two of them in one report can be told apart and nothing else.
"""

from __future__ import annotations

import hashlib
import os
import platform
from pathlib import Path
from typing import Any

import click

from vcd import __version__
from vcd.cli import troubles
from vcd.cli.talk import Talk, in_json
from vcd.cli.text import plain
from vcd.cli.verbs import command
from vcd.client import RpcError, Unavailable

_PACKAGES = ("click", "cryptography", "libp2p", "msgpack", "msgspec", "pyhpke", "PyNaCl", "trio")
_STATUS = (
    *("version", "api_level", "state", "started_at", "store", "unlocker", "progress", "online", "peers", "devices"),
    *("contacts", "chats", "backlog"),
)
_CHAT = ("mode", "standing", "members", "branches", "split", "asks", "unconfirmed", "last_seq")


@command(None, "bugreport", example="vcd bugreport --out report.json")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write it there.")
def bugreport(talk: Talk, out: Path | None) -> None:
    """Versions, states, counts and codes. No names, messages, addresses or keys; read it before you send it."""
    found = _made(talk)
    if out is None:
        talk.give(found, lambda: in_json(found, indent=True))
        return
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(in_json(found, indent=True) + "\n")
    except FileExistsError:
        text = f"{out} is there already, and is not overwritten."
        raise troubles.Trouble(text, "Take another file, with its full path.", code="E_FILE") from None
    talk.give({"path": str(out.absolute())}, f"wrote {plain(str(out))}: read it before you send it")


def _made(talk: Talk) -> dict[str, Any]:
    found: dict[str, Any] = {
        "vcd": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "packages": _versions(),
        "settings": _settings(),
    }
    hide = _Hide()
    try:
        status = talk.ask("status.get")
        found["status"] = {name: status.get(name) for name in _STATUS} | {"account": hide(status["account"])}
        problems = talk.ask("health.list", all=True)["problems"]
        found["problems"] = [
            {
                "code": each["code"].partition(":")[0],
                "severity": each["severity"],
                "since": each["since"],
                "visible": each["visible"],
                "depends_on": [code.partition(":")[0] for code in each["depends_on"]],
            }
            for each in problems
        ]
        found["metrics"] = talk.ask("metrics.get")["text"].splitlines()
        found["chat_list"] = [
            {"chat": hide(each["chat"]), **{name: each[name] for name in _CHAT}}
            for each in talk.pages("chat.list", "chats", "chat")
        ]
    except (Unavailable, RpcError) as error:
        trouble = troubles.of(error)
        found["trouble"] = {"code": trouble.code, "exit": trouble.status}
    return found


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _settings() -> Any:
    from vcd.config import ConfigError, load
    from vcd.paths import PathError, find

    try:
        rows = list(load(find().config_files).rows())
    except ConfigError as error:
        return {"wrong": [each.key or "a file" for each in error.problems]}
    except PathError:
        return {"wrong": ["a folder"]}
    return {"changed": [name for name, _, origin in rows if str(origin) != "default"]}


class _Hide:
    """Codes in place of ids, good for one report."""

    def __init__(self) -> None:
        self._salt = os.urandom(16)

    def __call__(self, name: bytes | None) -> str | None:
        return None if name is None else hashlib.blake2b(name, key=self._salt, digest_size=4).hexdigest()
