"""Text for a terminal: what others wrote without control characters, ids, times, sizes and tables.

Names, messages and even the daemon's error texts may hold what somebody else chose. On a terminal an escape sequence
can rewrite what stands above it, and marks that turn the direction of writing can make a name look like another:
`plain` shows all of those as their numbers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

_JOINERS = "\u200c\u200d"
"""Of emoji, and of some scripts: they change how neighbors look, not where anything stands."""


def plain(text: str, *, lines: bool = False) -> str:
    """The same, with the numbers of what cannot be printed; `lines` keeps the ends of lines."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in _JOINERS or (lines and each == "\n") else _escaped(each) for each in text
    )


def _escaped(character: str) -> str:
    short = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character)
    if short is not None:
        return short
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def short(name: bytes | None) -> str:
    """An id as people tell it from others: enough of it to type."""
    return "" if name is None else name.hex()[:8]


def clock(at_ms: int) -> str:
    """A time, where this machine is."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"


def span(milliseconds: int) -> str:
    """How long, in the two units that matter."""
    seconds = max(0, milliseconds) // 1000
    units = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    parts = []
    for unit, size in units:
        if seconds >= size:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def until(at_ms: int, now: float | None = None) -> str:
    """`in 9 min`, or `3 h ago`."""
    left = at_ms - int((time.time() if now is None else now) * 1000)
    return f"in {span(left)}" if left >= 0 else f"{span(-left)} ago"


def size(amount: int) -> str:
    number = float(amount)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if number < 1024 or unit == "GiB":
            return f"{amount} {unit}" if unit == "bytes" else f"{number:.1f} {unit}"
        number /= 1024
    return str(amount)


def network(status: dict[str, Any]) -> str:
    """How a daemon is connected. It is `online` where somebody shares a topic with it: others are connections only."""
    peers = count(status["peers"], "peer")
    if status["online"]:
        return f"online, {peers}"
    return f"connected to {peers}, none of whom shares a chat or account" if status["peers"] else "offline, 0 peers"


def removed(status: dict[str, Any]) -> str:
    """That this device was removed from its account; empty if it was not, or has one again."""
    at = status.get("removed")
    return "" if at is None else f"this device was removed from its account, as it learned on {clock(at)}"


def count(number: int, one: str, many: str | None = None) -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text, each as wide as it must be. Cells are made plain here."""
    cells = [list(head), *([plain(cell) for cell in row] for row in rows)]
    widths = [max(width(row[column]) for row in cells) for column in range(len(head))]
    out = []
    for row in cells:
        padded = [cell + " " * (wide - width(cell)) for cell, wide in zip(row, widths, strict=True)]
        out.append("  ".join(padded).rstrip())
    return "\n".join(out)


def width(text: str) -> int:
    """Columns on a terminal: some letters take two, some none."""
    if text.isascii():
        return len(text)
    import unicodedata

    wide = sum(2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text)
    return wide - sum(1 for each in text if unicodedata.combining(each) or each in _JOINERS)


def fields(rows: Sequence[tuple[str, str]]) -> str:
    """Names and values, one a line. Values are made plain here."""
    wide = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"{name:<{wide}}  {plain(value)}".rstrip() for name, value in rows)


def certified(found: dict[str, Any]) -> str:
    """A certificate in one line: what it is worth here, whom it names, and by whose word.

    Our own words come first: names are by whoever wrote the certificate, and may read like the end of this line.
    """
    if not found["subject"]:
        return f"refused: {found['reason']}"
    worth = {
        "verified": "verified",
        "unchecked": "not checked, as no trust.anchors are set",
        "refused": f"refused here: {found['reason'].rstrip('.')}",
    }[found["trust"]]
    return f"{worth}: {found['subject']}, by {found['issuer']}, ends {until(found['expires_at'])}"


def said(data: bytes, media: str) -> str:
    """The body of a message, as far as a terminal can show it."""
    if not media or media.startswith("text/"):
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return f"[{media or 'data'}, {size(len(data))}]"
