"""docs/node-reference.md lists every name that the node gives to what it refuses, warns of or gives up, and no other.

So it does with what can be configured, and with what the rules of a group are.

The names are read from the code: the first word of each `Refused`, `Misuse`, `Warned` and `IntentFate`, and of what is
dropped. Where such a word is not written there but comes from a function, what that function returns is read.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from enum import Enum

import pytest

from tests.repo.files import ROOT, modules, shown
from vcd.core.config import Config
from vcd.core.following import Verdict
from vcd.core.policy import DAY, HOME, HOUR, MINUTE, SECOND, Mode, Policy

RULES, MISUSE, WARNINGS, REASONS = "Rules", "Misuse", "Warnings", "Reasons"
KINDS = (RULES, MISUSE, WARNINGS, REASONS)

SAYS = {"Refused": (RULES, 0), "Misuse": (MISUSE, 0), "end": (REASONS, 2), "_refuse": (REASONS, 2)}
"""Which argument of which call names something."""
KEYWORDS = {"Warned": (WARNINGS, "code"), "IntentFate": (REASONS, "reason")}

PASSED_ON = {"error.rule", "record.reason", "reason"}
"""Names that were given elsewhere, by a rule that is read there, another device, or one of the calls above."""
BY_VERDICT = "f'mls-{found.name.lower()}'"
KEPT_QUIET = (Verdict.DONE, Verdict.LATE, Verdict.HOME, Verdict.PROPOSALS)
"""Verdicts that are not dropped with a name of their own."""


@dataclass
class Source:
    """One module, and which function each of its calls stands in."""

    name: str
    tree: ast.Module
    inside: dict[ast.Call, ast.FunctionDef] = field(default_factory=dict)
    own: set[ast.Call] = field(default_factory=set)
    """Calls within kinds of `Refused` that have one name."""

    def __post_init__(self) -> None:
        for place in ast.walk(self.tree):
            calls = [node for node in ast.walk(place) if isinstance(node, ast.Call)]
            if isinstance(place, ast.FunctionDef):
                self.inside |= dict.fromkeys(calls, place)
            elif isinstance(place, ast.ClassDef) and "Refused" in map(ast.unparse, place.bases):
                self.own |= set(calls)


SOURCES = [Source(shown(path), ast.parse(path.read_text(encoding="utf-8"))) for path in modules("vcd/core")]
FUNCTIONS: dict[str, list[ast.FunctionDef]] = {}
for source in SOURCES:
    for statement in source.tree.body:
        if isinstance(statement, ast.FunctionDef):
            FUNCTIONS.setdefault(statement.name, []).append(statement)


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _returned(function: ast.FunctionDef) -> Iterator[str]:
    """The words that a function may return."""
    for node in ast.walk(function):
        if isinstance(node, ast.Return) and node.value is not None:
            for part in ast.walk(node.value):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.value


def _assigned(inside: ast.FunctionDef, name: str) -> ast.Call | None:
    """The call whose result a local variable is."""
    for node in ast.walk(inside):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            if any(isinstance(target, ast.Name) and target.id == name for target in node.targets):
                return node.value
    return None


def _words(value: ast.expr, inside: ast.FunctionDef | None, where: str) -> list[str]:
    """What an expression names."""
    text = ast.unparse(value)
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return [value.value]
    if isinstance(value, ast.IfExp):
        return _words(value.body, inside, where) + _words(value.orelse, inside, where)
    if text.startswith("getattr(error, 'rule', ") and isinstance(value, ast.Call):
        return _words(value.args[2], inside, where)
    if text in PASSED_ON:
        return []
    if text == BY_VERDICT:
        return [f"mls-{each.name.lower()}" for each in Verdict if each not in KEPT_QUIET]
    made = _assigned(inside, text) if inside is not None and isinstance(value, ast.Name) else None
    if made is not None:
        found = [word for function in FUNCTIONS.get(_called(made), []) for word in _returned(function)]
        if found:
            return found
    raise AssertionError(f"{where}: what {text} may be is not plain to this test")


def _said(source: Source) -> Iterator[tuple[str, str]]:
    for call in ast.walk(source.tree):
        if not isinstance(call, ast.Call):
            continue
        name, inside = _called(call), source.inside.get(call)
        where = f"{source.name}:{call.lineno}"
        kind, value = RULES, None
        if name in SAYS and isinstance(call.func, ast.Name):
            kind, place = SAYS[name]
            value = call.args[place] if place < len(call.args) else None
        elif name in KEYWORDS:
            kind, keyword = KEYWORDS[name]
            value = next((each.value for each in call.keywords if each.arg == keyword), None)
        elif name == "__init__" and call in source.own:
            kind, value = RULES, call.args[0]
        elif name == "drop" and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) == "turn":
            kind, value = RULES, call.args[0]
        if value is not None:
            for word in _words(value, inside, where):
                if word:
                    yield kind, word


def _used() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for source in SOURCES:
        for kind, word in _said(source):
            found[kind].add(word)
    return found


USED = _used()
TEXT = (ROOT / "docs" / "node-reference.md").read_text(encoding="utf-8")


def _listed(kind: str) -> list[str]:
    """The names in the first column of the tables under a heading."""
    parts = re.split(r"^## (.*)$", TEXT, flags=re.MULTILINE)
    section = dict(zip(parts[1::2], parts[2::2], strict=True))[kind]
    cells = re.findall(r"^\| (`[^|]*`) \|", section, re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_the_node_uses_is_explained(kind: str) -> None:
    assert sorted(USED[kind] - set(_listed(kind))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_that_is_explained_is_used(kind: str) -> None:
    assert sorted(set(_listed(kind)) - USED[kind]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_is_explained_twice(kind: str) -> None:
    listed = _listed(kind)
    assert sorted(name for name in set(listed) if listed.count(name) > 1) == []


def test_names_are_found_in_the_code() -> None:
    assert len(USED[RULES]) > 100
    assert {"policy-remove", "said-size", "decision-signature", "nomination-signature", "mls-refuse"} <= USED[RULES]
    assert {"no-member", "said-size"} <= USED[MISUSE]
    assert {"removed-meanwhile", "forbidden", "unreachable"} <= USED[REASONS]
    assert "lead-two-words" in USED[WARNINGS]


# ---------------------------------------------------------------- values

UNITS = {"days": DAY, "day": DAY, "h": HOUR, "min": MINUTE, "s": SECOND, "MiB": 1 << 20, "": 1}


def _rows(owner: str) -> list[list[str]]:
    """The rows of the table whose first column is headed by a class's name."""
    table = re.search(rf"^\| `{owner}` \|.*\n\|[-|]*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    assert table is not None
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table[1].splitlines()]


def _meant(text: str) -> object:
    """A value as the code shows it that the document writes like this."""
    number = re.fullmatch(r"([0-9][0-9,]*) ?(\w*)", text)
    if number is not None:
        return int(number[1].replace(",", "")) * UNITS[number[2]]
    return {"yes": True, "no": False}.get(text, text)


def _shown(value: object) -> object:
    if isinstance(value, Enum):
        return value.name if isinstance(value, Mode) else value.name.lower()
    return "nobody" if value in ((), b"") else value


def test_every_limit_is_listed_with_its_value() -> None:
    listed = {row[0].strip("`"): _meant(row[1]) for row in _rows("Config")}
    assert listed == {each.name: getattr(Config(), each.name) for each in fields(Config)}


def test_every_rule_of_a_group_is_listed_with_its_value() -> None:
    rows = _rows("Policy")
    for policy, column in ((Policy(), 1), (HOME, 2)):
        listed = {row[0].strip("`"): _meant(row[column]) for row in rows}
        assert listed == {each.name: _shown(getattr(policy, each.name)) for each in fields(Policy)}
