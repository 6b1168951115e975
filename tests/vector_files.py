"""Where the working group's test vectors are, and how they are read."""

from __future__ import annotations

import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent


def vector_folder() -> Path:
    """`VCD_MLS_VECTORS`, or where `make vectors` puts them."""
    chosen = os.environ.get("VCD_MLS_VECTORS")
    return Path(chosen) if chosen else REPOSITORY / "tests" / "vectors" / "mlswg"


def vector_files() -> list[Path]:
    folder = vector_folder()
    return sorted(folder.glob("*.json")) if folder.is_dir() else []


@lru_cache(maxsize=4)
def load(path: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads(path.read_text())
    return cases
