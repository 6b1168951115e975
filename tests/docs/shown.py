"""What a guide shows against what a command printed: loosely where it has to be.

Names of accounts, fingerprints, links, times and words differ each time. A guide shows those of some day; where the
output has others in the same place they are taken for the same from there on, in commands too, and have to stay the
same. A line of `...` stands for any lines, `...` at the end of a line for the rest of it. Empty lines do not count.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_KINDS = re.compile(
    r"(?P<link>vcd1:[A-Za-z0-9_%.,:/+-]+)"
    r"|(?P<fingerprint>(?:\d{5} ){11}\d{5})"
    r"|(?P<clock>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"
    r"|(?P<span>\b\d+ (?:d|h|min|s)\b(?: \d+ (?:h|min|s)\b)?)"
    r"|(?P<process>process \d+)"
    r"|(?P<words>(?:(?<=\s)\d{1,2} [a-z]+\s+)+\d{1,2} [a-z]+$)"
    r"|(?P<check>(?<=^    )[a-z]+ \d{4}$)"
    r"|(?P<port>(?<=/tcp/)\d+)"
    r"|(?P<key>\b[0-9a-f]{64}\b)"
    r"|(?P<id>\b[0-9a-f]{8}\b)"
)
_KEPT = frozenset({"link", "fingerprint", "key", "id", "check"})
_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Names:
    """What the guide says for what is really there."""

    def __init__(self) -> None:
        self._real: dict[str, str] = {}

    def real(self, command: str) -> str:
        """A command of the guide, as it has to be given here."""
        for shown in sorted(self._real, key=len, reverse=True):
            command = command.replace(shown, self._real[shown])
        return command

    def match(self, shown: Sequence[str], printed: Sequence[str], *, whole: bool) -> int | None:
        """How many of the printed lines the shown ones stand for; None if they do not fit."""
        found = self._from([each for each in shown if each.strip()], list(printed), whole, {})
        if found is None:
            return None
        count, names = found
        self._real |= names
        return count

    def _from(
        self, shown: Sequence[str], printed: Sequence[str], whole: bool, names: dict[str, str]
    ) -> tuple[int, dict[str, str]] | None:
        at = 0
        for number, line in enumerate(shown):
            if line.strip() == "...":
                for skipped in range(at, len(printed) + 1):
                    rest = self._from(shown[number + 1 :], printed[skipped:], whole, names)
                    if rest is not None:
                        return skipped + rest[0], rest[1]
                return None
            while at < len(printed) and not printed[at].strip():
                at += 1
            if at == len(printed):
                return None
            fits = self._line(line, printed[at], names)
            if fits is None:
                return None
            names = fits
            at += 1
        if whole and any(each.strip() for each in printed[at:]):
            return None
        return at, names

    def _line(self, shown: str, printed: str, names: dict[str, str]) -> dict[str, str] | None:
        one, values = _parted(shown)
        two, others = _parted(printed)
        if one != two and not (one.endswith(" ...") and two.startswith(one.removesuffix("..."))):
            return None
        names = dict(names)
        for (kind, value), (_, other) in zip(values, others, strict=False):
            if kind in _KEPT and names.setdefault(value, self._real.get(value, other)) != other:
                if kind != "link":  # somebody shows another one each time
                    return None
                names[value] = other
        return names


def _parted(line: str) -> tuple[str, list[tuple[str, str]]]:
    values: list[tuple[str, str]] = []

    def put(found: re.Match[str]) -> str:
        kind = str(found.lastgroup)
        values.append((kind, found.group()))
        return f"<{kind}>"

    return " ".join(_KINDS.sub(put, line.rstrip()).split()), values


def lines(raw: str) -> list[str]:
    """What stands on a terminal in the end; the last one may be unfinished."""
    clean = _CODES.sub("", raw.replace("\r\n", "\n"))
    return [each.rpartition("\r")[2] for each in clean.split("\n")]
