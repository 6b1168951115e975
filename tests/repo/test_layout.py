"""Rooms have names, a first sentence, and a size one can read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.repo.files import PACKAGES, ROOT, modules, shown

LINES = 600
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "support"}
EVERYTHING = modules(*PACKAGES, "tests")
UNFINISHED = re.compile("TO" r"DO(?!\(#\d)|FIX" "ME|X" "XX")  # in two halves, not to find itself


@pytest.mark.parametrize("path", EVERYTHING, ids=shown)
def test_named_by_what_it_does(path: Path) -> None:
    parts = {*path.relative_to(ROOT).parts[:-1], path.stem}
    assert not parts & NAMELESS


@pytest.mark.parametrize("path", EVERYTHING, ids=shown)
def test_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LINES


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=shown)
def test_says_what_it_is(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring, "a module opens with a docstring: what the room is and why"


@pytest.mark.parametrize("path", EVERYTHING, ids=shown)
def test_nothing_left_unfinished(path: Path) -> None:
    assert UNFINISHED.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", modules(*PACKAGES), ids=shown)
def test_nothing_raises_that_it_is_not_there(path: Path) -> None:
    """Catching NotImplementedError from a library is fine; what is ours is built, or has no name yet."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    raised = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Raise)]
    assert [line for line in raised if "NotImplementedError" in line] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_of_modules_is_a_package(package: str) -> None:
    """Without its __init__ a folder works in a checkout and is missing from the wheel."""
    folders = {path.parent for path in modules(package)}
    assert [shown(folder) for folder in sorted(folders) if not (folder / "__init__.py").is_file()] == []
