"""From files, the environment and flags to one `Config`, with the origin of every value.

    flag > VCD_SECTION_KEY > the user's vcd.toml > /etc/vcd/vcd.toml > the profile > default

Every source is read whole and every value in it is checked, also those that another source overrides; all that is wrong
is told at once, each with the line it stands on. An unknown key is an error that names the nearest one: a setting that
is silently ignored is worse than none. Values are not repeated where a secret might stand by mistake.
"""

from __future__ import annotations

import enum
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from vcd.config.kinds import Wrong, nearest, quoted
from vcd.config.lines import lines_of
from vcd.config.model import DEFAULTS, KEYS, SECTIONS, VERSION, Config

MOST_BYTES: Final = 1 << 20
"""Of one file."""
MOST_PROBLEMS: Final = 50
PREFIX: Final = "VCD_"
SILENT: Final = ("vault",)
"""Sections whose wrong values are never repeated: somebody may have written a passphrase there."""


class From(enum.IntEnum):
    """What a value comes from; the larger goes before the smaller."""

    DEFAULT = 0
    PROFILE = 1
    SYSTEM = 2
    USER = 3
    ENVIRONMENT = 4
    FLAG = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    source: From
    where: str = ""
    """A path, the name of a variable or a flag, the name of a profile."""
    line: int | None = None

    def __str__(self) -> str:
        match self.source:
            case From.DEFAULT:
                return "default"
            case From.PROFILE:
                return f"profile {self.where}"
            case From.ENVIRONMENT:
                return f"environment {self.where}"
            case From.FLAG:
                return f"flag {self.where}"
            case From.SYSTEM | From.USER:
                return self.where if self.line is None else f"{self.where}, line {self.line}"


_ABSENT: Final = "there is no such file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong, in words."""

    text: str
    origin: Origin | None = None
    key: str = ""

    def __str__(self) -> str:
        where = "" if self.origin is None else f"{self.origin}: "
        return where + (f"{self.key} {self.text}" if self.key else self.text)


class ConfigError(Exception):
    """The configuration cannot be used. It names every line that is wrong, and what would do instead."""

    hint = "Correct these lines, then try again: vcd config check"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems[:MOST_PROBLEMS])
        more = len(problems) - len(self.problems)
        if all(each.text == _ABSENT for each in problems):
            self.hint = "Give another file, or none for your own: vcd config show --origin says which are read"
        super().__init__("\n".join([*map(str, self.problems), *([f"and {more} more"] if more else [])]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    config: Config
    origins: Mapping[str, Origin] = field(repr=False)
    """Of every key, by its full name."""
    files: tuple[Path, ...] = ()
    """Those that were there."""

    def rows(self) -> Iterator[tuple[str, str, Origin]]:
        """Every key, its value as TOML, and where that is from: what `vcd config show --origin` prints."""
        for name, known in KEYS.items():
            yield name, known.kind.show(self.config.value(name)), self.origins[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    name: str
    value: object
    """As TOML has it, or text from a flag or the environment."""
    origin: Origin

    def taken(self) -> Any:
        kind = KEYS[self.name].kind
        if self.origin.source in {From.ENVIRONMENT, From.FLAG}:
            text = str(self.value)
            if not text.isprintable():
                raise Wrong("must be one line without control characters")
            return kind.read(text)
        return kind.take(self.value)


def load(
    files: Sequence[Path] = (),
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, str] | None = None,
    must_exist: bool = False,
) -> Loaded:
    """`files`: the system's first, the user's last; those not there are left out, unless the last `must_exist`.

    `flags`: text by full name of the key. ConfigError names everything that is wrong.
    """
    reading = _Reading()
    seen = []
    for number, path in enumerate(files):
        source = From.USER if number == len(files) - 1 else From.SYSTEM
        if reading.file(path, source, must_exist=must_exist and source is From.USER):
            seen.append(path)
    reading.environment(os.environ if environ is None else environ)
    reading.flags(flags or {})
    return replace(reading.done(), files=tuple(seen))


class _Reading:
    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.best: dict[str, tuple[Any, Origin]] = {}

    # ------------------------------------------------------------ sources

    def file(self, path: Path, source: From, *, must_exist: bool) -> bool:
        origin = Origin(source=source, where=str(path))
        try:
            text = _text(path)
        except FileNotFoundError:
            if must_exist:
                self._wrong(_ABSENT, origin)
            return False
        except (OSError, Wrong) as error:
            self._wrong(error.strerror or "cannot be read" if isinstance(error, OSError) else str(error), origin)
            return False
        self.toml(text, origin)
        return True

    def toml(self, text: str, origin: Origin) -> None:
        try:
            document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            self._wrong(_spoken(error), origin)
            return
        except (ValueError, RecursionError):
            self._wrong("is not TOML: a number is too long, or brackets are too deep", origin)
            return
        lines = lines_of(text)
        self._version(document, lines, origin)
        for name, value in document.items():
            here = replace(origin, line=lines.get((name,)))
            if name in SECTIONS:
                self._section(name, value, lines, here)
            elif name != "version":
                self._take(name, value, here)

    def environment(self, environ: Mapping[str, str]) -> None:
        """What begins with the name of a section, or is `VCD_PROFILE`, and what looks like a slip in one of these.

        Other variables are other programs'.
        """
        for variable in sorted(environ):
            if not variable.startswith(PREFIX):
                continue
            rest = variable.removeprefix(PREFIX).lower()
            section = next((each for each in SECTIONS if rest.startswith(f"{each}_")), None)
            origin = Origin(source=From.ENVIRONMENT, where=variable)
            if section is not None:
                self._take(f"{section}.{rest.removeprefix(f'{section}_')}", environ[variable], origin)
            elif rest in KEYS:
                self._take(rest, environ[variable], origin)
            elif slip := _meant(rest):
                self._unknown(slip, origin)

    def flags(self, flags: Mapping[str, str]) -> None:
        for name, text in flags.items():
            self._take(name, text, Origin(source=From.FLAG, where=name))

    # ------------------------------------------------------------ values

    def _version(self, document: Mapping[str, object], lines: Mapping[tuple[str, ...], int], origin: Origin) -> None:
        if "version" not in document:
            self._wrong(f'must say "version = {VERSION}", above the first section', origin)
            return
        version = document["version"]
        here = replace(origin, line=lines.get(("version",)))
        if not isinstance(version, int) or isinstance(version, bool):
            self._wrong(f"must be {VERSION}, not {quoted(version)}", here, "version")
        elif version > VERSION:
            self._wrong(f"is {version}: this file is for a newer vcd, which this one cannot read", here, "version")
        elif version != VERSION:
            self._wrong(f"must be {VERSION}, not {version}", here, "version")

    def _section(self, name: str, value: object, lines: Mapping[tuple[str, ...], int], here: Origin) -> None:
        if not isinstance(value, dict):
            self._wrong(f"is a section: write [{name}] on a line of its own, and its keys below", here, name)
            return
        for last, one in value.items():
            self._take(f"{name}.{last}", one, replace(here, line=lines.get((name, last), here.line)))

    def _take(self, name: str, value: object, origin: Origin) -> None:
        if name not in KEYS:
            self._unknown(name, origin)
            return
        try:
            taken = _Entry(name=name, value=value, origin=origin).taken()
        except Wrong as wrong:
            silent = name.partition(".")[0] in SILENT and "not " in str(wrong)
            self._wrong(str(wrong).rpartition(", not ")[0] if silent else str(wrong), origin, name)
            return
        held = self.best.get(name)
        if held is None or held[1].source <= origin.source:
            self.best[name] = (taken, origin)

    def _unknown(self, name: str, origin: Origin) -> None:
        section, _, last = name.rpartition(".")
        if len(name) > 100 or not name.isprintable():
            self._wrong("has a key that vcd does not know, with a very long or strange name", origin)
            return
        near = nearest(name, list(KEYS)) if section else nearest(name, [*SECTIONS, "version", "profile"])
        same = [known for known in KEYS if known.rpartition(".")[2] == last]
        near = same[0] if same else near or next(iter(_by_last(last)), None)
        hint = f"; did you mean {near}?" if near else "; vcd config show lists all there are"
        self._wrong(f"is not a key that vcd knows{hint}", origin, name)

    def _wrong(self, text: str, origin: Origin | None, name: str = "") -> None:
        self.problems.append(Problem(text=text, origin=origin, key=name))

    # ------------------------------------------------------------ the end

    def done(self) -> Loaded:
        profile = self.best["profile"][0] if "profile" in self.best else DEFAULTS["profile"]
        if not self.problems and profile != DEFAULTS["profile"]:
            self.toml(profile_text(profile), Origin(source=From.PROFILE, where=profile))
        config, origins = self._assembled()
        self._together(config, origins)
        if self.problems:
            raise ConfigError(self.problems)
        return Loaded(config=config, origins=origins)

    def _assembled(self) -> tuple[Config, dict[str, Origin]]:
        values = dict(DEFAULTS)
        origins = dict.fromkeys(KEYS, Origin(source=From.DEFAULT))
        for name, (value, origin) in self.best.items():
            values[name], origins[name] = value, origin
        sections = {
            section: made(**{name.partition(".")[2]: values[name] for name in KEYS if name.startswith(f"{section}.")})
            for section, made in SECTIONS.items()
        }
        return Config(profile=values["profile"], **sections), origins

    def _together(self, config: Config, origins: Mapping[str, Origin]) -> None:
        """What is wrong only beside something else."""

        def unless(fine: bool, name: str, text: str) -> None:
            if not fine:
                self._wrong(text, origins[name], name)

        network, node, rpc = config.network, config.node, config.rpc
        listens = bool(network.listen)
        unless(listens or not config.relay.serve, "relay.serve", "needs an address in network.listen")
        unless(listens or not network.be_point, "network.be_point", "needs an address in network.listen")
        unless(node.retry <= node.retry_most, "node.retry_most", "must not be shorter than node.retry")
        unless(node.package_public <= node.packages, "node.package_public", "must not be more than node.packages")
        unless(
            not rpc.app_socket or rpc.app_socket != rpc.admin_socket,
            "rpc.admin_socket",
            "must be another path than rpc.app_socket",
        )
        tenants = [tenant.key for tenant in config.mailbox.tenants]
        unless(len(set(tenants)) == len(tenants), "mailbox.tenants", "has one key twice")
        unless(
            not config.metrics.textfile or config.metrics.textfile.endswith(".prom"),
            "metrics.textfile",
            "must end in .prom, or node_exporter does not read it",
        )


def _meant(rest: str) -> str | None:
    """The key that a variable of an unknown section was to be, as it was typed; None if it looks like none."""
    section, _, last = rest.partition("_")
    if not last:
        return rest if nearest(rest, ["profile"]) else None
    near = nearest(section, list(SECTIONS))
    known = [name.partition(".")[2] for name in KEYS if name.startswith(f"{near}.")]
    return f"{section}.{last}" if nearest(last, known) else None


def profile_text(name: str) -> str:
    """The file of a profile that ships with vcd."""
    from importlib.resources import files

    return (files("vcd") / "_config" / f"{name}.toml").read_text(encoding="utf-8")


def _by_last(last: str) -> list[str]:
    """Keys whose name within their section is nearest to this."""
    names = {name.rpartition(".")[2]: name for name in KEYS}
    near = nearest(last, list(names))
    return [names[near]] if near else []


def _text(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would make us wait
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise Wrong("is not a file")
        if status.st_mode & stat.S_IWOTH:
            raise Wrong(f"can be written by everybody on this machine: chmod o-w {path}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MOST_BYTES:
        raise Wrong(f"is larger than {MOST_BYTES >> 20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Wrong(f"is not UTF-8 text: byte {error.start}") from None


def _spoken(error: tomllib.TOMLDecodeError) -> str:
    """The parser's own sentence; it may quote a key, never a value."""
    return f"is not TOML: {str(error)[:200]}"
