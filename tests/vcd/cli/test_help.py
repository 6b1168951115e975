"""Every command has help, and an example that is right."""

from __future__ import annotations

import re
import shlex

import click
import pytest

from tests.vcd.cli.house import ran
from tests.vcd.cli.test_commands import leaves
from vcd.cli.root import ROOMS, vcd
from vcd.cli.verbs import Verb

COMMANDS = dict(leaves(vcd))


@pytest.mark.parametrize("path", COMMANDS)
def test_help_has_an_example(path: str) -> None:
    found = COMMANDS[path]
    assert isinstance(found, Verb)
    assert (found.help or "").strip().endswith((".", ":"))
    done = ran(*path.split(), "--help")
    assert done.code == 0
    assert "Example" in done.out
    assert f"vcd {path}" in done.out
    assert "--json" in done.out
    assert all(param.help for param in found.params if isinstance(param, click.Option)), (
        "every option says what it does"
    )


def examples() -> list[str]:
    return [line for found in COMMANDS.values() for line in getattr(found, "example", "").split("\n")]


@pytest.mark.parametrize("line", examples())
def test_examples_are_understood(line: str) -> None:
    part = next(each for each in re.split(r"[|>]|&&| \d?<", line) if "vcd" in each.split())
    words = shlex.split(part)
    words = words[words.index("vcd") + 1 :]
    group: click.Command = vcd
    context = click.Context(vcd)
    while isinstance(group, click.Group):
        found = group.get_command(context, words.pop(0))
        assert found is not None
        group = found
    context.obj = None
    words = ["/dev/null" if word == "a.png" else word for word in words]
    group.make_context(group.name, words, resilient_parsing=False).close()


def test_the_list_says_what_the_commands_say() -> None:
    shown = ran("--help").out
    for name in ROOMS:
        assert re.search(rf"^  {name}  ", shown, re.MULTILINE)
