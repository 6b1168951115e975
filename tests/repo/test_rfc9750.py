"""docs/rfc9750.md answers every point, and what it names is there and as it says."""

from __future__ import annotations

import enum
import re
from functools import cache
from typing import Any

import pytest

from mls.parameters import Parameters
from tests.repo.files import ROOT
from vcd.core import sends
from vcd.core.config import Config
from vcd.core.kinds import SETTINGS, home_parameters, parameters_of
from vcd.core.policy import HOME, MINUTE, SECOND, Mode, Policy

DOCUMENT = ROOT / "docs" / "rfc9750.md"
TEXT = DOCUMENT.read_text(encoding="utf-8")

POINTS = {
    "4": 5,
    "5.1": 9,
    "5.2": 6,
    "5.2.1": 2,
    "5.2.2": 5,
    "5.2.3": 2,
    "5.3": 4,
    "6.1": 6,
    "6.2": 2,
    "6.3": 2,
    "6.4": 4,
    "6.5": 3,
    "6.6": 3,
    "6.7": 2,
    "6.8": 1,
    "6.9": 2,
    "6.10": 1,
    "6.11": 2,
    "7S": 13,
    "7P": 6,
    "7D": 4,
    "7R": 13,
    "7B": 5,
    "8.1": 1,
    "8.1.1": 1,
    "8.1.2": 1,
    "8.1.3": 2,
    "8.1.4": 1,
    "8.2.1": 1,
    "8.2.2": 3,
    "8.2.3": 1,
    "8.2.4": 2,
    "8.3.3": 2,
    "8.3.4": 3,
    "8.4.1.1": 1,
    "8.4.1.2": 2,
    "8.4.2": 2,
    "8.4.2.1": 2,
    "8.4.3": 2,
    "8.4.3.1": 6,
    "8.4.3.2": 2,
    "8.5": 1,
    "8.6": 1,
}
"""How many points a section has; of the sections that are not here, none asks for anything."""
MOST_NOT_OURS = 5

UNITS = {
    "ms": 1,
    "s": SECOND,
    "min": MINUTE,
    "h": 60 * MINUTE,
    "day": 24 * 60 * MINUTE,
    "days": 24 * 60 * MINUTE,
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "": 1,
}
IN_SECONDS = {"Parameters.max_lifetime"}
"""All other times are in milliseconds."""


def _tables() -> list[list[str]]:
    lines = [line for line in TEXT.splitlines() if line.startswith("| ") and not set(line) <= set("|- ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


ROWS = [row for row in _tables() if re.fullmatch(r"[0-9.]+[SPDRB]?-[0-9]+", row[0])]
VALUES = [row for row in _tables() if re.fullmatch(r"`[A-Za-z]+\.[a-z_]+`", row[0])]
MENTIONED = sorted(set(re.findall(r"`([A-Z][A-Za-z]+\.[a-z_]+)` \(([^)]+)\)", TEXT)))
NAMED = sorted(set(re.findall(r"`((?:config|docs|mls|tests|transport|vcd)/[\w./-]+)(?:::(\w+))?`", TEXT)))
LINKS = sorted(set(re.findall(r"\]\(([^):\s]*)\)", TEXT)))


def test_every_point_is_answered_once_and_in_order() -> None:
    expected = [f"{section}-{number}" for section, count in POINTS.items() for number in range(1, count + 1)]
    assert [row[0] for row in ROWS] == expected


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_point_has_what_is_asked_what_is_done_and_where(row: list[str]) -> None:
    name, asked, here, where = row
    assert asked
    assert here
    assert re.search(r"`[\w/]+\.?[\w:]*`|\]\(", where), f"{name} names no place"


def test_few_points_are_not_ours_and_these_say_whose() -> None:
    others = [row for row in ROWS if "not ours" in row[2].lower()]
    assert len(others) <= MOST_NOT_OURS
    for row in others:
        assert re.match(r"Not ours: [^.]*; [^.]* (?:has to|have to|must) ", row[2]), row[0]


@cache
def _functions(path: str) -> frozenset[str]:
    text = (ROOT / path).read_text(encoding="utf-8")
    return frozenset(re.findall(r"^\s*(?:async )?def (\w+)\(", text, re.MULTILINE))


def test_files_and_tests_that_are_named_exist() -> None:
    assert len(NAMED) > 80
    assert [path for path, _ in NAMED if not (ROOT / path).exists()] == []
    assert [f"{path}::{test}" for path, test in NAMED if test and test not in _functions(path)] == []
    assert [path for path, test in NAMED if test and not test.startswith("test_")] == []


def _anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_links_lead_to_a_file_and_a_part_of_it() -> None:
    missing = []
    for link in LINKS:
        path, _, part = link.partition("#")
        target = DOCUMENT.parent / path if path else DOCUMENT
        if not target.is_file() or (part and part not in _anchors(target.read_text(encoding="utf-8"))):
            missing.append(link)
    assert missing == []


def _found(name: str) -> list[Any]:
    """What the code has under this name: once, or once for every kind of group."""
    owner, field = name.split(".")
    owners: dict[str, list[Any]] = {
        "Config": [Config()],
        "Policy": [Policy()],
        "HOME": [HOME],
        "Settings": [SETTINGS],
        "Parameters": [Parameters(), home_parameters(), sends.parameters(), *[parameters_of(mode) for mode in Mode]],
    }
    return [getattr(each, field) for each in owners[owner]]


def _meant(name: str, text: str) -> object:
    """What a value is in the code that the document writes like this."""
    if text in ("yes", "no"):
        return text == "yes"
    match = re.fullmatch(r"([0-9][0-9,]*)(?: (\w+))?", text)
    if match is None:
        return text.upper()
    number = int(match[1].replace(",", "")) * UNITS[match[2] or ""]
    return number // SECOND if name in IN_SECONDS else number


def _shown(value: object) -> object:
    return value.name if isinstance(value, enum.Enum) else value


@pytest.mark.parametrize(
    ("name", "text"),
    [*[(row[0].strip("`"), row[1]) for row in VALUES], *MENTIONED],
    ids=[*[row[0].strip("`") for row in VALUES], *[f"in the text, {name} {text}" for name, text in MENTIONED]],
)
def test_a_value_is_what_the_code_has(name: str, text: str) -> None:
    meant = _meant(name, text)
    for value in _found(name):
        assert _shown(value) == meant
        assert isinstance(value, bool) == isinstance(meant, bool)


def test_values_in_the_text_are_in_the_table_or_beside_what_asks_for_them() -> None:
    assert len(VALUES) > 40
    assert len({row[0] for row in VALUES}) == len(VALUES)
    assert len(MENTIONED) > 20


@pytest.mark.parametrize("row", VALUES, ids=[row[0].strip("`") for row in VALUES])
def test_a_value_is_set_where_the_table_says(row: list[str]) -> None:
    name, _, where = row
    field = name.strip("`").split(".")[1]
    source = (ROOT / where.strip("`")).read_text(encoding="utf-8")
    assert re.search(rf"^    {field}: |\b{field}=", source, re.MULTILINE)


PARAMETERS = {
    "7P-1": "Parameters.max_lifetime",
    "7P-2": "Parameters.resumption_psks",
    "7P-4": "Parameters.out_of_order",
    "7P-5": "Parameters.max_forward",
    "7P-6": "Config.max_waiting",
    "7R-1": "Config.cipher_suite",
    "7R-13": "Policy.stale_after",
    "7B-1": "Parameters.padding",
    "7B-3": "Policy.update_every",
}


@pytest.mark.parametrize(("point", "name"), PARAMETERS.items())
def test_a_parameter_has_its_value_beside_it(point: str, name: str) -> None:
    (here,) = [row[2] for row in ROWS if row[0] == point]
    assert re.search(rf"`{re.escape(name)}` \([^)]+\)", here)
