"""What the daemon says about itself: one line each, JSON or text, and nothing in it that is nobody's business.

    with logs.started(redaction=Redaction(logs.salt(paths.state)), level="info"):
        logs.event(log, logging.INFO, "chat.forked", chat=chat_id, epoch=7)

- Secrets do not get through. A value is written only if its type is a plain one (numbers, names, short text); bytes
  count as an id and stand as a short code; of everything else, secrets among it, there is the name of its type. So is
  it with the arguments of a plain `log.info("…", value)`, with exceptions (messages only of our own and the system's,
  never local variables), and with what nobody caught.
- Ids do not either: peers, conversations, addresses and long numbers become codes that are the same throughout this
  installation's logs and mean nothing elsewhere, as they are salted by a file beside the state. A log can be shown to
  somebody who helps.
- A line that comes again and again, which a peer may be able to cause, is written so many times a minute, and counted.
- `request` says for whom something is done: `cli:device.remove#12`. It follows the task, being a context variable.
- Control characters are escaped: no text can forge a line, or speak to the terminal.

Other libraries' lines go the same way from their level on (`libraries`). Parts of libp2p log through the root logger
and would set up a handler there; with ours in place they cannot.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import hmac
import json
import logging
import math
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

OURS: Final = ("vcd", "transport", "mls")
STRAYS: Final = ("libp2p", "zeroconf")
USUAL: Final = ("libp2p.transport.tcp.tcp",)
"""Say a warning for what is no trouble: a peer that is not there when it is dialed, again and again."""
LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
PRIORITIES: Final = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
SALT: Final = "logs.salt"
MOST_TEXT: Final = 500
MOST_LOOKED_AT: Final = 1 << 16
MOST_LINE: Final = 1 << 14
"""Characters. The journal takes 48 KiB and would break a longer line in two."""
MOST_FIELDS: Final = 24
MOST_ITEMS: Final = 16
MOST_FRAMES: Final = 20
MOST_CAUSES: Final = 4
MOST_KEYS: Final = 256
"""Different lines that are counted at once; when full, the one that came first is forgotten."""
PERIOD: Final = 60.0

request: ContextVar[str] = ContextVar("request", default="")
"""On whose behalf this is done; set by whoever takes a call."""

_FIELDS: Final = "vcd_fields"


def event(logger: logging.Logger, level: int, name: str, /, **fields: object) -> None:
    """Something that happened, by its name, with values. `exc_info=True` among them adds the current exception."""
    if logger.isEnabledFor(level):
        exception = fields.pop("exc_info", None)
        logger.log(level, "%s", name, exc_info=bool(exception), extra={_FIELDS: fields, "vcd_event": name})


# ---------------------------------------------------------------- hiding


_PEER: Final = r"\b(?:12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|Qm[1-9A-HJ-NP-Za-km-z]{44})\b"
_LONG: Final = r"\b[0-9A-Fa-f]{16,}\b|[A-Za-z0-9+_-]{40,}={0,2}"
_NAME: Final = r"(?<=/dns/)[^/\s]+|(?<=/dns[46]/)[^/\s]+"
_HOST: Final = (  # before a port, as alone it looks like the name of an event; `store.py:99` is a line of a file
    r"(?:(?<![\w./-])|(?<=//))(?:[\w-]{1,63}\.)+(?!(?:py|toml):)(?:xn--[\w-]+|[^\W\d_]{2,63})(?=:\d{1,5}(?!\w))"
)
_LABEL: Final = (  # one in the network at home, before a port; `node:1` counts something, and `line:12` is no host
    r"(?:(?<![\w./#:-])|(?<=//)|(?<=@))(?!(?:localhost|line|lines|port|pid|tcp|udp|quic|errno|code|status)\b)"
    r"(?=[\w-]{0,62}[^\W\d_])\w[\w-]{0,62}(?=:\d{2,5}(?![\w-]|[.:][\w:]))"
)
_PLACE: Final = (
    r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?!\w)"
    r"|(?:(?<![\w.:])|(?<=\w:)(?=\w|::))[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.\d{1,3}){0,3}(?!\w)"
)
"""What may be an address; `_address` says whether one is in it."""
_HIDDEN: Final = re.compile("|".join([_PEER, _LONG, _NAME, _HOST, _LABEL, f"(?P<place>{_PLACE})"]))


@dataclass(frozen=True, slots=True)
class Redaction:
    """How ids are written. Without a salt, as they are."""

    salt: bytes | None = field(default=None, repr=False)
    home: str = field(default_factory=lambda: os.environ.get("HOME", ""))

    def id(self, value: bytes) -> str:
        """A short code for an id: the same for the same id, here and only here."""
        if self.salt is None:
            return value.hex() if len(value) <= 64 else f"<{len(value)} bytes>"
        return "#" + hmac.digest(self.salt, value, hashlib.sha256)[:5].hex()

    def text(self, text: str) -> str:
        """The same text on one line, cut, with codes for what looks like an id or an address."""
        short = text
        if len(short) > MOST_LOOKED_AT:  # half an id would not be known as one
            short = "".join(short[:MOST_LOOKED_AT].rpartition(" ")[:1])
        if self.salt is not None:
            if len(self.home) > 1:
                short = short.replace(self.home, "~")
            short = _HIDDEN.sub(self._code, short)
        cut = short[:MOST_TEXT] + ("…" if len(short) > MOST_TEXT or len(text) > MOST_LOOKED_AT else "")
        return "".join(letter if letter.isprintable() else _escaped(letter) for letter in cut)

    def _code(self, found: re.Match[str]) -> str:
        said = found.group()
        if found["place"] is not None:
            return self._address(said)
        try:
            return self.id(bytes.fromhex(said))  # the same code as of the bytes
        except ValueError:
            return self.id(said.encode())

    def _address(self, said: str) -> str:
        """The code of the longest address in it, with what stands around: a port, or the colon of a sentence."""
        pieces = said.split(":")
        for many in range(len(pieces), 0, -1):
            for begin in range(len(pieces) - many + 1):
                if begin and not pieces[begin]:
                    continue  # `::` belongs to what is before it
                with contextlib.suppress(ValueError):
                    address = ip_address(":".join(pieces[begin : begin + many]))
                    if address.is_unspecified or address.is_loopback:
                        return said
                    return ":".join([*pieces[:begin], self.id(address.packed), *pieces[begin + many :]])
        return said  # a time of day, a version


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape", "backslashreplace").decode("ascii")


def salt(state: Path) -> bytes:
    """This installation's, made when first asked for. A folder that cannot be written gives one for this run."""
    path = state / SALT
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(os.urandom(32))
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = file.read(33)
        if len(found) == 32:
            return found
    return os.urandom(32)


# ---------------------------------------------------------------- from a record to plain values


def plain(value: object, redaction: Redaction, depth: int = 0) -> Any:
    """What may be written of a value. By its exact type: a subclass of `str` or `bytes` may be there to hide it."""
    kind = type(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and kind is float:
        return value if math.isfinite(value) else str(value)
    if isinstance(value, int) and kind is int:
        return value if abs(value) < 1 << 53 else "a very large number"
    if isinstance(value, str) and kind is str:
        return redaction.text(value)
    if isinstance(value, (bytes, bytearray)) and kind in {bytes, bytearray}:
        return redaction.id(bytes(value))
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, Path):
        return redaction.text(str(value))
    if isinstance(value, BaseException):
        return _said(value, redaction)
    if isinstance(value, (list, tuple)) and kind in {list, tuple} and depth < 2:
        items = list(value)
        shown = [plain(item, redaction, depth + 1) for item in items[:MOST_ITEMS]]
        return [*shown, f"and {len(items) - MOST_ITEMS} more"] if len(items) > MOST_ITEMS else shown
    return f"<{kind.__name__}>"


def message_of(record: logging.LogRecord, redaction: Redaction) -> str:
    """The filled-in message, of plain values only."""
    message: object = record.msg  # whatever a caller took for one
    if not isinstance(message, str) or type(message) is not str:
        return str(plain(message, redaction))
    text = message
    if record.args:
        given: Any = record.args
        if isinstance(given, Mapping):
            args: Any = {str(name): _argument(value, redaction) for name, value in list(given.items())[:MOST_FIELDS]}
        else:
            args = tuple(_argument(value, redaction) for value in given)
        try:
            text = text % args
        except (TypeError, ValueError, KeyError, OverflowError):
            text += " (its values do not fit)"
    return redaction.text(text)


def _argument(value: object, redaction: Redaction) -> Any:
    """Numbers stay numbers, for %d; bytes have no place in a message, even where ids are shown."""
    if isinstance(value, (bytes, bytearray)) and redaction.salt is None:
        return f"<{len(value)} bytes>"
    found = plain(value, redaction)
    return json.dumps(found, ensure_ascii=False) if isinstance(found, list) else found


def _said(error: BaseException, redaction: Redaction) -> str:
    """The type, and the words only where we know who wrote them: other exceptions quote what they were given."""
    kind = type(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{kind.__name__}: {redaction.text(error.strerror)}"
    if kind.__module__.partition(".")[0] in OURS and not isinstance(error, BaseExceptionGroup):
        return f"{kind.__name__}: {redaction.text(str(error))}"
    return kind.__name__


def trouble(error: BaseException, redaction: Redaction, depth: int = 0) -> dict[str, Any]:
    """An exception with where it came from and what it came from."""
    found: dict[str, Any] = {"type": _said(error, redaction)}
    frames: list[str] = []
    at: TracebackType | None = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        frames.append(f"{'/'.join(Path(code.co_filename).parts[-2:])}:{at.tb_lineno} {code.co_name}")
        at = at.tb_next
    if frames:
        found["at"] = frames[-MOST_FRAMES:]
    if depth < MOST_CAUSES:
        if isinstance(error, BaseExceptionGroup):
            found["of"] = [trouble(one, redaction, depth + 1) for one in error.exceptions[:MOST_CAUSES]]
        cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if cause is not None:
            found["because"] = trouble(cause, redaction, depth + 1)
    return found


def line_of(record: logging.LogRecord, redaction: Redaction) -> dict[str, Any]:
    """A record as plain values, in the order in which they are written."""
    line: dict[str, Any] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "from": redaction.text(record.name),
    }
    name = getattr(record, "vcd_event", None)
    if name is not None:
        line["event"] = redaction.text(str(name))
    else:
        line["message"] = message_of(record, redaction)
    if whose := request.get():
        line["request"] = redaction.text(whose)
    fields: Mapping[str, object] = getattr(record, _FIELDS, {})
    for key, value in list(fields.items())[:MOST_FIELDS]:
        line[f"{key}_" if key in line or key == "error" else key] = plain(value, redaction)
    if record.exc_info and record.exc_info[1] is not None:
        line["error"] = trouble(record.exc_info[1], redaction)
    return line


# ---------------------------------------------------------------- writing


def as_json(line: Mapping[str, Any]) -> str:
    return json.dumps(line, ensure_ascii=True, separators=(",", ":"), default=lambda value: f"<{type(value).__name__}>")


def as_text(line: Mapping[str, Any]) -> str:
    """For a terminal: the time of day here, what happened, then the rest as `name=value`."""
    here = datetime.fromisoformat(line["at"]).astimezone()
    rest = [
        f"{name}={value if isinstance(value, (str, int)) else as_json(value)}"
        for name, value in line.items()
        if name not in {"at", "level", "from", "event", "message", "error"}
    ]
    words = line.get("event") or line.get("message", "")
    head = f"{here:%H:%M:%S}.{here.microsecond // 1000:03} {line['level']:<8} {words}"
    text = "  ".join([head, *rest, f"({line['from']})"])
    return text + (f"\n{_indented(line['error'])}" if "error" in line else "")


def _indented(error: Mapping[str, Any], depth: int = 1) -> str:
    space = "    " * depth
    lines = [f"{space}{error['type']}", *[f"{space}  at {frame}" for frame in error.get("at", ())]]
    causes = [*error.get("of", ()), *([error["because"]] if "because" in error else [])]
    return "\n".join([*lines, *[_indented(cause, depth + 1) for cause in causes]])


@dataclass(slots=True)
class _Repeated:
    since: float
    written: int = 0
    left_out: int = 0


class Lines(logging.Handler):
    """Writes each record to a stream. What the stream does (a closed pipe, a full disk) is nobody else's trouble."""

    def __init__(
        self,
        stream: TextIO,
        *,
        form: str,
        redaction: Redaction,
        repeats: int,
        journal: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._stream, self._redaction, self._journal = stream, redaction, journal
        self._written_as = as_text if form == "text" else as_json
        self._repeats, self._clock = repeats, clock
        self._seen: dict[tuple[str, int, str], _Repeated] = {}
        self._looked = clock()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            now = self._clock()
            if now - self._looked >= PERIOD:
                self._looked = now
                self._tell(now)
            if self._passes(record, now):
                self._write(record.levelno, line_of(record, self._redaction))
        except Exception:  # noqa: BLE001 - a log line is never worth what it interrupts
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """The library's own would print the arguments, whatever they are."""

    def close(self) -> None:
        with self.lock or contextlib.nullcontext(), contextlib.suppress(Exception):
            self._tell(float("inf"))
        super().close()

    def _passes(self, record: logging.LogRecord, now: float) -> bool:
        if record.levelno >= logging.CRITICAL:
            return True
        what = getattr(record, "vcd_event", None) or record.msg
        what = what[:200] if type(what) is str else type(what).__name__
        key = (record.name, record.levelno, what)
        found = self._seen.get(key)
        if found is None or now - found.since >= PERIOD:
            if found is not None:
                self._told(key, found)
                del self._seen[key]
            elif len(self._seen) >= MOST_KEYS:
                first = next(iter(self._seen))
                self._told(first, self._seen.pop(first))
            found = self._seen[key] = _Repeated(now)
        if found.written >= self._repeats:
            found.left_out += 1
            return False
        found.written += 1
        return True

    def _tell(self, now: float) -> None:
        for key, found in list(self._seen.items()):
            if now - found.since >= PERIOD:
                del self._seen[key]
                self._told(key, found)

    def _told(self, key: tuple[str, int, str], found: _Repeated) -> None:
        if not found.left_out:
            return
        name, level, what = key
        record = logging.LogRecord(name, level, "", 0, "%s", (), None)
        record.vcd_event = "log.left_out"
        setattr(record, _FIELDS, {"count": found.left_out, "line": what})
        self._write(level, line_of(record, self._redaction))

    def _write(self, level: int, line: Mapping[str, Any]) -> None:
        text = self._written_as(line)
        if len(text) > MOST_LINE:
            head = {name: line[name] for name in ("at", "level", "from", "event", "message", "request") if name in line}
            text = self._written_as({**head, "left_out": f"{len(text)} characters"})
        if self._journal:  # sd-daemon(3): the journal reads a priority at the beginning of a line
            priority = next((number for least, number in PRIORITIES if level >= least), 7)
            text = f"<{priority}>{text}"
        self._stream.write(text + "\n")
        self._stream.flush()


def to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether this stream is the journal's, by the device and inode that systemd says."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


def set_levels(level: str, libraries: str) -> None:
    """Ours, and everybody else's: libp2p, trio, zeroconf. Also while running, on a reload."""
    logging.getLogger().setLevel(LEVELS[libraries])
    for name in STRAYS:  # they set a level of their own when they are imported
        logging.getLogger(name).setLevel(LEVELS[libraries])
    for name in USUAL:
        logging.getLogger(name).setLevel(LEVELS["error"] if libraries == "warning" else LEVELS[libraries])
    for name in OURS:
        logging.getLogger(name).setLevel(LEVELS[level])


@contextlib.contextmanager
def started(
    *,
    redaction: Redaction,
    level: str = "info",
    libraries: str = "warning",
    form: str = "auto",
    repeats: int = 20,
    stream: TextIO | None = None,
    environ: Mapping[str, str] | None = None,
) -> Iterator[Lines]:
    """Log like this for as long as the block runs; what nobody caught goes the same way. Once at a time."""
    target = sys.stderr if stream is None else stream
    journal = to_journal(target, os.environ if environ is None else environ)
    if form == "auto":
        form = "text" if not journal and target.isatty() else "json"
    handler = Lines(target, form=form, redaction=redaction, repeats=repeats, journal=journal)
    root = logging.getLogger()
    before = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in ("", *STRAYS, *USUAL, *OURS)}
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    root.handlers[:] = [handler]
    set_levels(level, libraries)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    try:
        yield handler
    finally:
        sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
        logging.captureWarnings(capture=False)
        root.handlers[:] = before
        for name, old in levels.items():
            logging.getLogger(name).setLevel(old)
        handler.close()


def _uncaught(kind: type[BaseException], error: BaseException | None, at: TracebackType | None) -> None:
    if error is not None and not issubclass(kind, (KeyboardInterrupt, SystemExit)):
        logging.getLogger("vcd").critical("nobody caught this", exc_info=(kind, error, at))
