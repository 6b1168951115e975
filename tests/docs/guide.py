"""A guide as what is to be done: its blocks in order, each with who does it.

Every block of `console`, `sh` or `python` has a comment of HTML before it, which readers do not see:

    <!-- run: alice@laptop -->              its commands are run there, and give what is shown
    <!-- run: alice@laptop:2 -->            the same in another terminal of that device
    <!-- run: alice@laptop, stays -->       the last command goes on; a block that begins with no `$` shows more of it
    <!-- run: bob@desktop, soon -->         what is shown comes after a while: the commands are run until it does
    <!-- run: bob@desktop, exits 2 -->      the last command ends with this code
    <!-- file: alice@laptop tea.py -->      it is saved there by this name
    <!-- not run: REASON -->                only the reason is looked at
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUNNABLE = frozenset({"console", "sh", "python"})
_FENCE = re.compile(r"(?:^<!-- ([^\n]*) -->\n)?^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class WrongGuide(Exception):
    """A block has no comment, or one that says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command and what is shown of its output; none where a command that stays goes on."""

    command: str | None
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    line: int
    language: str
    body: str
    device: str = ""
    terminal: str = ""
    file: str = ""
    reason: str = ""
    stays: bool = False
    soon: bool = False
    code: int = 0

    def steps(self) -> list[Step]:
        if self.language == "sh":
            return [Step(command=self.body, shown=())]
        steps: list[Step] = []
        for line in self.body.splitlines():
            if line.startswith("$ "):
                steps.append(Step(command=line[2:], shown=()))
            else:
                last = steps.pop() if steps else Step(command=None, shown=())
                steps.append(Step(command=last.command, shown=(*last.shown, line)))
        return steps


def blocks(path: Path) -> Iterator[Block]:
    """All that a reader could try."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        said, language, body = found.group(1) or "", found.group(2), found.group(3)
        if language in RUNNABLE or said:
            yield _block(said, language, body, text.count("\n", 0, found.start()) + 1)


def _block(said: str, language: str, body: str, line: int) -> Block:
    kind, _, rest = said.partition(": ")
    if kind == "not run" and rest:
        return Block(line=line, language=language, body=body, reason=rest)
    if kind == "file":
        device, _, name = rest.partition(" ")
        return Block(line=line, language=language, body=body, device=device, file=name)
    if kind != "run" or not rest:
        raise WrongGuide(f"line {line}: a block says neither where it is run nor why not: {said!r}")
    where, *marks = rest.split(", ")
    device, _, terminal = where.partition(":")
    codes = [int(each.removeprefix("exits ")) for each in marks if each.startswith("exits ")]
    if {each for each in marks if not each.startswith("exits ")} - {"stays", "soon"}:
        raise WrongGuide(f"line {line}: {said!r}")
    return Block(
        line=line,
        language=language,
        body=body,
        device=device,
        terminal=terminal,
        stays="stays" in marks,
        soon="soon" in marks,
        code=codes[0] if codes else 0,
    )
