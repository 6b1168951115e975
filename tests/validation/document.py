"""docs/validation.md, written from the table, the code and the tests; and whether the three agree."""

from __future__ import annotations

import textwrap

from mls.checks import CHECKS
from tests.validation.checklist import CHECKLIST, Item
from tests.validation.sources import ROOT, SourceError, defined, sites, strays, test_files, tests

PATH = ROOT / "docs" / "validation.md"

_INTRODUCTION = """\
# Validation

<!-- Written by `python -m tests.validation --write`; do not edit. -->

Every rule that bytes from outside can break has a number, after the document and section that state it: VAL is
RFC 9420, EXT mls-extensions, VC virtual clients, TM targeted messages, DMLS and DIMLS what they say
([spec-notes.md](spec-notes.md) has the editions). A message that breaks one is refused with `PeerError`, whose `check`
is that number, and nothing has changed then. The numbers are in `mls/checks.py`; they are never reused, so there are
gaps.

A test marked `@breaks("VAL-...")` presents bytes that break that rule and, as far as it can be had, nothing else:
the same bytes without the fault are accepted by the same value afterwards. `tests/mls/frankenstein.py` makes them.

- `python -m tests.validation` fails if code, table, tests and this file disagree. It is part of `make test`.
- `python -m tests.validation --mutate` disables each refusal in turn, every place on its own where a rule is checked
  in several, and runs the tests that are marked with its rule. One of them has to fail. It is part of `make test` too.

Which of several broken rules is named depends on the order of the checks and is not part of any promise.

Three demands of RFC 9420 bind the sender and are not turned against it. A KeyPackage's own extensions may be missing
from the capabilities (§10 wants them there, §13.4 wants unknown ones ignored). Default types may be listed in
capabilities (§7.2). A leaf that is in the tree already may have expired since (§7.3 recommends to look).

Some rules are left to whoever calls: `known_groups` (VAL-12.4.3.1-7), the authentication service (VAL-5.3.1-1 and -2),
and what an application asks beyond RFC 9420. A received commit or proposal is a value to look at before it is adopted:
its `plan` says what it does, so permission to add or remove somebody is asked there.
"""


def _section(rule: str) -> str:
    return rule.split("-")[1]


def _code(places: list[str]) -> str:
    return "<br>".join(f"`{place}`" for place in dict.fromkeys(places))


def _rules_table() -> list[str]:
    lines = ["| id | section | the message is refused because | code | tests |", "|---|---|---|---|---|"]
    for rule, check in CHECKS.items():
        places = [site.place for site in sites() if site.rule == rule]
        marked: dict[str, list[str]] = {}
        for test in tests():
            if rule in test.rules:
                marked.setdefault(test.path.stem, []).append(test.name.removeprefix("test_"))
        named = "<br>".join(f"{stem}: {', '.join(names)}" for stem, names in marked.items())
        lines.append(f"| {rule} | {_section(rule)} | {check.sentence} | {_code(places)} | {named} |")
    return lines


def _answer(item: Item) -> str:
    parts = []
    if item.rules:
        parts.append(", ".join(item.rules))
    if item.code:
        parts.append(", ".join(f"`{place}`" for place in item.code))
    if item.tests:
        parts.append(", ".join(f"`{name}`" for name in item.tests))
    return "<br>".join(parts)


def _checklist_table() -> list[str]:
    lines = ["| asked | answered by |", "|---|---|"]
    for heading, items in CHECKLIST.items():
        lines.append(f"| **{heading}** | |")
        lines.extend(f"| {item.asks} | {_answer(item)} |" for item in items)
    return lines


def text() -> str:
    """The document."""
    about = textwrap.dedent("""\
        What RFC 9420 asks of an implementation, chapter by chapter. Where the answer is not a numbered rule, it is the
        code and a test that shows it.
        """)
    count = f"{len(CHECKS)} rules, refused in {len(sites())} places, broken by {len(tests())} tests."
    parts = [
        _INTRODUCTION,
        "## Rules",
        "",
        count,
        "",
        *_rules_table(),
        "",
        "## Checklist",
        "",
        about,
        *_checklist_table(),
    ]
    return "\n".join(parts) + "\n"


def disagreements() -> list[str]:
    """What does not agree, a line each; empty if all is well."""
    try:
        return [*_rules(), *_items(), *_written()]
    except SourceError as error:
        return [str(error)]


def _rules() -> list[str]:
    found = []
    raised = {site.rule for site in sites()}
    broken = {rule for test in tests() for rule in test.rules}
    for site in sites():
        if site.rule not in CHECKS:
            found.append(f"{site.place} raises {site.rule}, which mls/checks.py does not list")
    for rule in CHECKS:
        if rule not in raised:
            found.append(f"{rule} is in mls/checks.py, and no code raises it")
        if rule not in broken:
            found.append(f"{rule} is in mls/checks.py, and no test breaks it")
    for test in tests():
        for rule in test.rules:
            if rule not in CHECKS:
                found.append(f"{test.label} breaks {rule}, which mls/checks.py does not list")
    found.extend(
        f"{place}: a PeerError that is not raised where it is made, so no mutant can disable it" for place in strays()
    )
    return found


def _items() -> list[str]:
    found = []
    for heading, items in CHECKLIST.items():
        for item in items:
            where = f"checklist, {heading}, {item.asks!r}"
            if not (item.rules or item.code or item.tests):
                found.append(f"{where}: no answer")
            if item.code and not item.tests and not item.rules:
                found.append(f"{where}: no test")
            found.extend(f"{where}: {rule} is not in mls/checks.py" for rule in item.rules if rule not in CHECKS)
            found.extend(f"{where}: there is no {place}" for place in item.code if not defined(place))
            found.extend(f"{where}: there is no {name}" for name in item.tests if name not in test_files())
    return found


def _written() -> list[str]:
    if PATH.is_file() and PATH.read_text(encoding="utf-8") == text():
        return []
    return [f"{PATH.relative_to(ROOT)} is not up to date: python -m tests.validation --write"]
