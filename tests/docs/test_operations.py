"""What docs/operations.md lists is all that there is."""

from __future__ import annotations

import re

import pytest

from tests.docs.terminal import ROOT
from vcd.daemon import health, metrics, opening
from vcd.daemon.program import EXIT_BUSY, EXIT_FAILED, EXIT_USAGE

PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")

APART = {"store", "mailbox"}
"""Made of words."""


def rows(heading: str) -> dict[str, list[str]]:
    """The table of a section, by what stands first in each row."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:2] == "| "]
    return {cells[0].strip("`"): cells[1:] for cells in table if cells[0].startswith("`")}


def source(module: object) -> str:
    return (ROOT / f"{module.__name__.replace('.', '/')}.py").read_text(encoding="utf-8")  # type: ignore[attr-defined]


def span(milliseconds: int) -> str:
    if not milliseconds:
        return "at once"
    return f"{milliseconds // 60_000} min" if milliseconds >= 60_000 else f"{milliseconds // 1000} s"


def test_every_code_of_health() -> None:
    said = source(health)
    written = re.findall(r'code=f?"([a-z-]+)(?::\{entry\.name\})?",?\s*\n?\s*severity="([a-z]+)"', said)
    assert len(written) == len(re.findall(r"\bcode=", said)) - 2  # two are made of words
    store = {each.code: each for name in [*opening.STORE.values(), "damaged"] for each in health.store(name, "")}
    mailboxes = {each.code: each for each in health.mailboxes(dict.fromkeys(health._REFUSING, 1))}
    found = dict(written) | {code: each.severity for code, each in (store | mailboxes).items()}
    assert {code: cells[0] for code, cells in rows("Health").items()} == found


def test_how_soon_it_is_shown() -> None:
    named = {"SECOND": 1000, "MINUTE": 60_000}
    said = source(health)
    after = {}
    for each in re.split(r"Trouble\(", said)[1:]:
        code = re.search(r'code=f?"([a-z-]+)', each)
        wait = re.search(r"after=(\d+) \* ([A-Z]+)", each)
        if code is not None and code.group(1) not in {"store-", "mailbox-"}:
            after[code.group(1)] = span(int(wait.group(1)) * named[wait.group(2)] if wait else 0)
    assert {code: cells[1] for code, cells in rows("Health").items() if code.partition("-")[0] not in APART} == after
    mailboxes = health.mailboxes(dict.fromkeys(health._REFUSING, 1))
    assert {rows("Health")[each.code][1] for each in mailboxes} == {span(each.after) for each in mailboxes}


def test_every_metric() -> None:
    found = dict(re.findall(r'"(vcd_[a-z_]+)",\s+"(gauge|counter)"', source(metrics)))
    assert len(found) == source(metrics).count("yield ") >= 18
    assert {name: cells[0] for name, cells in rows("Metrics").items()} == found


def test_every_exit_code() -> None:
    assert re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE) == [
        str(each) for each in (0, EXIT_FAILED, EXIT_USAGE, EXIT_BUSY)
    ]


@pytest.mark.parametrize("name", [opening.VAULT, opening.DATABASE, opening.KEY, "instance.json", "logs.salt"])
def test_files(name: str) -> None:
    assert f"| `{name}`" in PAGE
