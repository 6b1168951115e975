"""Where the daemon's sockets are, and why there is nobody.

VCD_SOCKET goes first, then `rpc.app_socket` and `rpc.admin_socket` of the settings, then the runtime folder. Of the
settings only these two are read here, and leniently: a mistake somewhere else in them is the daemon's to tell, and
reading all of them would double the time that a command takes.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from pathlib import Path

from vcd.cli.troubles import UNREACHABLE, Trouble
from vcd.client import Unavailable
from vcd.paths import SOCKET_PATH, Paths, find

START = "systemctl --user start vcd.socket vcd-admin.socket (or, to see what it says: vcd run)"


def sockets(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """The app socket and the admin socket, as clients use them."""
    given = os.environ if environ is None else environ
    paths = find(given)
    if paths.asked_socket is not None:
        return str(paths.client_app_socket()), str(paths.client_admin_socket())
    app, admin = _configured(paths, given)
    return str(paths.client_app_socket(app)), str(paths.client_admin_socket(admin))


def _configured(paths: Paths, given: Mapping[str, str]) -> tuple[str, str]:
    found = {"app_socket": "", "admin_socket": ""}
    for path in paths.config_files:
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, ValueError):
            continue
        if not any(each in line for line in text.splitlines() if not line.lstrip().startswith("#") for each in found):
            continue
        import tomllib

        try:
            section = tomllib.loads(text).get("rpc")
        except (ValueError, RecursionError):
            continue
        if isinstance(section, dict):
            found |= {name: section[name] for name in found if isinstance(section.get(name), str)}
    for name in found:
        found[name] = given.get(f"VCD_RPC_{name.upper()}", found[name])
    return found["app_socket"], found["admin_socket"]


def diagnosed(error: Unavailable) -> Trouble:
    """What kept us from the daemon, and the command that helps."""
    path = Path(error.path)
    text, then = _why(error, path)
    data = {"reason": error.reason, "socket": error.path}
    return Trouble(text, then, code=error.reason, status=UNREACHABLE, data=data)


def _why(error: Unavailable, path: Path) -> tuple[str, str]:
    elsewhere = _elsewhere(path)
    match error.reason:
        case "not-running" if elsewhere:
            return (
                f"There is no socket at {path}, where {_origin()} says, but a daemon listens at {elsewhere}.",
                f"Use that one: {_without_origin()}",
            )
        case "not-running":
            return f"The daemon is not running: there is no socket at {path}.", f"Start it: {START}"
        case "stale":
            return f"The daemon is gone: its socket {path} is still there, and nobody listens.", f"Start it: {START}"
        case "permission":
            owner = _owner(path)
            if owner is None or owner == _user(os.getuid()):
                return f"{path} may not be opened.", f"Look at who may: ls -ld {path.parent} {path}"
            return (
                f"{path} belongs to {owner}, and you are {_user(os.getuid())}.",
                f"Run it so: sudo -u {owner} vcd ...",
            )
        case "no-path":
            long = len(os.fsencode(path)) > SOCKET_PATH
            what = f"{path} is too long for a socket" if long else f"{path} is no socket"
            return f"{what}; {_origin()} says that the daemon is there.", f"Use another path: {_without_origin()}"
        case _:
            return str(error), "`vcd status` says how the daemon is; its log says why: journalctl --user -u vcd"


def _elsewhere(path: Path) -> str | None:
    """Another socket, where a daemon is by default, that somebody listens at."""
    given = {name: value for name, value in os.environ.items() if name not in {"VCD_SOCKET", "VCD_HOME"}}
    try:
        usual = find(given).app_socket()
    except Exception:  # noqa: BLE001 - it would only have been a hint
        return None
    return str(usual) if usual != path and path.parent != usual.parent and listens(usual) else None


def listens(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(os.fspath(path))
        except (OSError, ValueError):
            return False
        return True


def _origin() -> str:
    for name in ("VCD_SOCKET", "VCD_HOME"):
        if os.environ.get(name):
            return name
    return "your vcd.toml or XDG_RUNTIME_DIR"


def _without_origin() -> str:
    names = [name for name in ("VCD_SOCKET", "VCD_HOME") if os.environ.get(name)]
    if not names:
        return "VCD_SOCKET=/run/user/$UID/vcd/app.sock vcd status"
    return f"unset {' '.join(names)}"


def _owner(path: Path) -> str | None:
    """Whose the socket is, or the folder that cannot be looked into."""
    for each in (path, *path.parents):
        try:
            return _user(each.stat().st_uid)
        except OSError:
            continue
    return None


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
