"""The programs in the guides run as they stand, and say what the guides promise."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("guide", "says"),
    [
        ("using-mls.md", ""),
        ("components.md", ""),
        ("fork.md", "both branches: 2\n"),
        ("distributed.md", ""),
        ("virtual.md", "members that Bob sees: 2\n"),
        ("mesh.md", "said before anybody was there\n"),
        ("node.md", "said again: 1\n"),
    ],
    ids=["mls", "components", "fork", "distributed", "virtual", "mesh", "node"],
)
def test_the_first_program_runs(tmp_path: Path, guide: str, says: str) -> None:
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "first.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert says in done.stdout
    assert done.stderr == ""
