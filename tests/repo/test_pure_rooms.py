"""The protocol is values in, values out: no clock, randomness, disk, network, threads or logs in `mls`.

And in `vcd.core`, once it exists. import-linter watches the packages; this watches the standard library,
imports inside functions included, and the few calls that need no import.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

from tests.repo.files import ROOT, modules, shown

OWN = {"mls", "cryptography", "pyhpke"}
IMPURE = {
    "asyncio",
    "builtins",
    "concurrent",
    "ctypes",
    "getpass",
    "glob",
    "importlib",
    "io",
    "logging",
    "mmap",
    "multiprocessing",
    "os",
    "pathlib",
    "pickle",
    "platform",
    "queue",
    "random",
    "sched",
    "secrets",
    "select",
    "selectors",
    "shutil",
    "signal",
    "socket",
    "socketserver",
    "sqlite3",
    "ssl",
    "subprocess",
    "sys",
    "tempfile",
    "threading",
    "time",
    "urllib",
    "uuid",
    "warnings",
    "_thread",
}
IMPURE_CALLS = {"open", "print", "input", "__import__", "eval", "exec"}
CLOCK_CALLS = {"now", "utcnow", "today"}  # of datetime and date
PURE_ROOMS = modules("mls", "vcd/core")


def imported(node: ast.AST) -> list[str]:
    match node:
        case ast.Import():
            return [alias.name for alias in node.names]
        case ast.ImportFrom():
            return [node.module or ""]
        case _:
            return []


def pure(name: str) -> bool:
    top = name.partition(".")[0]
    allowed = top in OWN or top in sys.stdlib_module_names or f"{name}.".startswith("vcd.core.")
    return allowed and top not in IMPURE


def asks_the_clock(called: ast.expr) -> bool:
    """Whether this is `datetime.now` or one of its kind, however datetime was imported."""
    return (
        isinstance(called, ast.Attribute)
        and called.attr in CLOCK_CALLS
        and ast.unparse(called.value).rpartition(".")[2] in {"datetime", "date"}
    )


def impurities(source: str) -> list[str]:
    """What breaks the rule in one module's source."""
    found = []
    for node in ast.walk(ast.parse(source)):
        found += [f"imports {name}" for name in imported(node) if not pure(name)]
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                found.append(f"line {node.lineno} calls {node.func.id}")
            if asks_the_clock(node.func):
                found.append(f"line {node.lineno} asks the clock")
    return found


def test_there_is_something_to_look_at() -> None:
    assert (ROOT / "mls" / "codec.py") in PURE_ROOMS


@pytest.mark.parametrize("path", PURE_ROOMS, ids=shown)
def test_pure(path: Path) -> None:
    assert impurities(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path as p",
        "from time import time",
        "def f():\n    from secrets import token_bytes",
        "import hashlib, random",
        "import trio",
        "import vcd.main",
        "from concurrent.futures import ThreadPoolExecutor",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import date\ndate.today()",
        "open('x')",
        "print('x')",
    ],
)
def test_what_it_would_catch(source: str) -> None:
    assert impurities(source) != []


def test_what_it_lets_through() -> None:
    source = "import hmac, mls.codec, vcd.core.node\nfrom cryptography.x509 import Name\nf(now=1).now()"
    assert impurities(source) == []
