"""What the tests about the repository read: where it is, and which files are ours."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("mls", "transport", "vcd")
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def modules(*folders: str) -> list[Path]:
    """Every Python file under these folders of the repository, in a fixed order; nothing fetched or built."""
    outside = {"vectors", "node_modules", "target", "__pycache__"}
    found = (path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    return sorted(path for path in found if not outside & set(path.relative_to(ROOT).parts))


def shown(path: Path) -> str:
    """A path as a test's id."""
    return path.relative_to(ROOT).as_posix()
