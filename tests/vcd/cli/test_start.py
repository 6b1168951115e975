"""How much is loaded: a command may not take longer than Python itself, roughly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.files import ROOT
from tests.vcd.cli.house import Daemon

pytestmark = pytest.mark.slow

HEAVY = {
    "asyncio",
    "trio",
    "msgspec",
    "cryptography",
    "libp2p",
    "mls",
    "transport",
    "pyhpke",
    "nacl",
    "segno",
    "textual",
}
OURS = {"vcd", "vcd.cli", "vcd.client", "vcd.paths"}
MOST = 330
"""Modules of any kind after `vcd status`, its own thirteen and Python's included; 287 on 3.11."""

_PROGRAM = """
import sys
before = len(sys.modules)
from vcd.cli import main
code = main(sys.argv[1:])
print(code, len(sys.modules), *sorted(sys.modules), file=sys.stderr)
"""


def loaded(home: Path, *argv: str) -> tuple[int, set[str]]:
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}){_PROGRAM}", *argv]
    environ = {**os.environ, "VCD_HOME": str(home)}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    code, _, *names = done.stderr.splitlines()[-1].split()
    assert code == "0", done.stderr
    return len(names), set(names)


@pytest.mark.parametrize("argv", [["status"], ["chat", "list"], ["status", "--json"], ["events", "--limit", "1"]])
def test_only_what_is_needed(daemon: Daemon, argv: list[str]) -> None:
    number, names = loaded(daemon.home, *argv)
    assert not HEAVY & names
    assert number < MOST, number
    rooms = {".".join(name.split(".")[:2]) for name in names if name.split(".")[0] == "vcd"}
    assert rooms <= OURS


def test_help_loads_no_command(home: Path) -> None:
    _, names = loaded(home, "--help")
    assert not {"vcd.cli.chat", "vcd.cli.device", "vcd.cli.pictures"} & names
