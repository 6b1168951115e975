"""Where everything is: settings, state, sockets, credentials. The command line and the daemon both ask here.

    VCD_HOME set     all of it in that one folder: for tests, demos, a second device
    under systemd    what the unit was given: STATE_DIRECTORY, RUNTIME_DIRECTORY, CONFIGURATION_DIRECTORY and
                     CREDENTIALS_DIRECTORY
    otherwise        XDG: ~/.config/vcd, ~/.local/state/vcd, $XDG_RUNTIME_DIR/vcd

`find` only looks at the environment, so a client that finds no socket can say where it looked. `prepare` makes the
folders, for their owner alone, and refuses those that somebody else can write into: whoever can replace a database or
a socket there is the daemon.
"""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SYSTEM: Final = Path("/etc/vcd/vcd.toml")
FILE: Final = "vcd.toml"
SOCKET_PATH: Final = 107
"""Bytes: what fits into a socket's address with its closing zero, on Linux."""
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH


class PathError(Exception):
    """A folder or a file of vcd's cannot be used. The text says why, the hint what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    config_files: tuple[Path, ...]
    """The system's first, the user's last; they need not be there."""
    state: Path
    runtime: Path
    credentials: Path | None = None
    """Where systemd put what the unit asked for, readable by this process alone."""
    asked_socket: Path | None = None
    """VCD_SOCKET: which app socket clients are to use."""

    def app_socket(self, configured: str = "") -> Path:
        """Where the daemon listens for apps; `configured` is `rpc.app_socket`."""
        return Path(configured) if configured else self.runtime / "app.sock"

    def admin_socket(self, configured: str = "") -> Path:
        return Path(configured) if configured else self.runtime / "admin.sock"

    def client_app_socket(self, configured: str = "") -> Path:
        """Where clients look: VCD_SOCKET goes before the configuration."""
        return self.asked_socket or self.app_socket(configured)

    def client_admin_socket(self, configured: str = "") -> Path:
        """The admin socket of a daemon that VCD_SOCKET names is beside its app socket."""
        return self.asked_socket.with_name("admin.sock") if self.asked_socket else self.admin_socket(configured)

    def credential(self, name: str) -> Path | None:
        """The file of a credential, if systemd gave this process one of that name."""
        if self.credentials is None or "/" in name or name in {"", ".", ".."}:
            return None
        path = self.credentials / name
        return path if path.is_file() else None

    def rows(self) -> Iterator[tuple[str, Path]]:
        """Names and places, for people who look for them."""
        for number, path in enumerate(self.config_files):
            yield "config" if number == len(self.config_files) - 1 else "system config", path
        yield "state", self.state
        yield "runtime", self.runtime
        if self.credentials is not None:
            yield "credentials", self.credentials


def find(environ: Mapping[str, str] | None = None, *, uid: int | None = None) -> Paths:
    """From the environment; nothing is made. PathError if it says something that cannot be."""
    given = os.environ if environ is None else environ
    me = os.getuid() if uid is None else uid
    asked = given.get("VCD_SOCKET") or None
    asked_socket = None if asked is None else _absolute("VCD_SOCKET", asked)
    if given.get("VCD_HOME"):
        home = _absolute("VCD_HOME", given["VCD_HOME"])
        credentials = home / "credentials"
        return Paths(
            config_files=(home / FILE,),
            state=home / "state",
            runtime=home / "run",
            credentials=credentials if credentials.is_dir() else None,
            asked_socket=asked_socket,
        )
    state = _of_systemd(given, "STATE_DIRECTORY") or _xdg(given, me, "XDG_STATE_HOME", ".local/state") / "vcd"
    config = _of_systemd(given, "CONFIGURATION_DIRECTORY") or _xdg(given, me, "XDG_CONFIG_HOME", ".config") / "vcd"
    return Paths(
        config_files=tuple(dict.fromkeys((SYSTEM, config / FILE))),
        state=state,
        runtime=_of_systemd(given, "RUNTIME_DIRECTORY") or _runtime(given, me, state),
        credentials=_of_systemd(given, "CREDENTIALS_DIRECTORY"),
        asked_socket=asked_socket,
    )


def prepare(paths: Paths) -> None:
    """Make what the daemon needs and check it; PathError says what cannot be used."""
    private_folder(paths.state)
    private_folder(paths.runtime)


def private_folder(path: Path, *, uid: int | None = None) -> None:
    """Make a folder for us alone, or check the one that is there: ours, and nobody else can write into it."""
    me = os.getuid() if uid is None else uid
    try:
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)  # XDG: "with permission 0700", whatever the umask says
        folder = path.resolve(strict=True)  # systemd's DynamicUser leads here by a link of its own
        status = folder.stat(follow_symlinks=False)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a link leads to itself"
        raise PathError(
            f"{path} cannot be used: {reason}", "set VCD_HOME to a folder that you can write into"
        ) from None
    _check(path, folder, status, me)


def usable(path: Path, *, uid: int | None = None) -> bool:
    """The same check, and nothing is made; whether there is a folder."""
    me = os.getuid() if uid is None else uid
    try:
        folder = path.resolve()
        if not folder.exists():
            _check_above(path, folder)
            return False
        status = folder.stat(follow_symlinks=False)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "a link leads to itself"
        raise PathError(
            f"{path} cannot be used: {reason}", "set VCD_HOME to a folder that you can write into"
        ) from None
    _check(path, folder, status, me)
    return True


def _check(path: Path, folder: Path, status: os.stat_result, me: int) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise PathError(f"{path} is not a folder")
    if status.st_uid != me:
        raise PathError(
            f"{path} belongs to {_name(status.st_uid)}, and vcd runs as {_name(me)}",
            f"run vcd as {_name(status.st_uid)}",
        )
    if status.st_mode & _OTHERS_WRITE:
        raise PathError(f"others can write into {path}", f"chmod 700 {path}")
    _check_above(path, folder)


def _check_above(path: Path, folder: Path) -> None:
    for above in folder.parents:
        if not above.exists():
            continue
        mode = above.stat().st_mode
        # Whoever can write above may put another folder in its place, unless the sticky bit forbids it. Of groups
        # nothing is said: a home that its owner's own group can write into is usual.
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            raise PathError(f"everybody can write into {above}, so anybody could replace {path}", f"chmod o-w {above}")


def fitting_socket(path: Path) -> Path:
    """The same path, if the system takes it for a socket."""
    length = len(os.fsencode(path))
    if length > SOCKET_PATH:
        raise PathError(
            f"{path} is too long for a socket: {length} bytes, and the system takes at most {SOCKET_PATH}",
            "set XDG_RUNTIME_DIR or VCD_HOME to a folder with a shorter path",
        )
    return path


def user_ids(names: Iterable[str]) -> frozenset[int]:
    """Of users by name or number, as `rpc.app_users` has them."""
    found = set()
    for name in names:
        if name.isascii() and name.isdigit():
            found.add(int(name))
            continue
        try:
            found.add(pwd.getpwnam(name).pw_uid)
        except KeyError:
            raise PathError(
                f"there is no user {name!r} on this machine", "correct rpc.app_users or rpc.admin_users"
            ) from None
    return frozenset(found)


# ---------------------------------------------------------------- where


def _of_systemd(given: Mapping[str, str], variable: str) -> Path | None:
    """The first of the folders that a unit was given. Nobody else sets these; a relative one is not from systemd."""
    first = given.get(variable, "").partition(":")[0]
    return Path(first) if first.startswith("/") else None


def _xdg(given: Mapping[str, str], uid: int, variable: str, usual: str) -> Path:
    """XDG base directories: "If an implementation encounters a relative path [...] it should ignore it."."""
    said = given.get(variable, "")
    return Path(said) if said.startswith("/") else _home(given, uid) / usual


def _runtime(given: Mapping[str, str], uid: int, state: Path) -> Path:
    """Without a login session the variable is missing, but the folder may be there: the daemon's and a shell's
    environment often differ in this. Without either, it is a folder that outlives a restart and is as private.
    """
    said = given.get("XDG_RUNTIME_DIR", "")
    if said.startswith("/"):
        return Path(said) / "vcd"
    usual = Path(f"/run/user/{uid}")
    try:
        if usual.stat().st_uid == uid:
            return usual / "vcd"
    except OSError:
        pass
    return state / "run"


def _home(given: Mapping[str, str], uid: int) -> Path:
    said = given.get("HOME", "")
    if said.startswith("/"):
        return Path(said)
    try:
        return Path(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        raise PathError(
            f"user {uid} has no home, so vcd does not know where its folders are", "set VCD_HOME or HOME"
        ) from None


def _absolute(variable: str, said: str) -> Path:
    if not said.startswith("/") or not said.isprintable():
        raise PathError(f"{variable} must be a path from the root", f'{variable}="$PWD/..." if it is below this folder')
    return Path(os.path.normpath(said))


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
