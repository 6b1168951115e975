"""The long run's report says what pytest said."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests import long_run

SUITE = """
import time
import pytest

def test_fine(): pass
def test_slow(): time.sleep(0.3)
def test_broken(): assert 1 == 2
def test_absent(): pytest.skip("needs rust: no cargo")
"""


@pytest.fixture
def output(tmp_path: Path) -> str:
    """What a real pytest prints for a run with one of each."""
    (tmp_path / "test_suite.py").write_text(SUITE)
    options = ["-rsfE", "-p", "no:cacheprovider", "--color=no", "--durations=5", "--durations-min=0.1"]
    command = [sys.executable, "-m", "pytest", *options, "--rootdir=.", "test_suite.py"]
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_report(output: str) -> None:
    text = long_run.report(output, day="2026-01-02", seconds=90, exit_code=1, arguments=["-k", "suite"])
    assert text.startswith("# Long run of 2026-01-02\n")
    assert "1 failed, 2 passed, 1 skipped in " in text
    assert "(exit code 1, 1.5 minutes)" in text
    assert "VCD_LONG=1 pytest -k suite" in text
    failed, rest = text.split("## Failed")[1].split("## Skipped")
    skipped, slowest = rest.split("## Slowest")
    assert "test_suite.py" in skipped
    assert "needs rust: no cargo" in skipped
    assert "test_slow" in slowest
    assert "test_broken" in failed
    assert socket.gethostname() not in text or len(socket.gethostname()) < 4


def test_a_run_that_died_is_not_called_fine() -> None:
    text = long_run.report("Killed", day="2026-01-02", seconds=1, exit_code=-9, arguments=[])
    assert "pytest did not get to its closing line** (exit code -9" in text


def test_a_second_report_of_a_day_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_run, "REPORTS", tmp_path)
    first = long_run.free_name("2026-01-02")
    first.touch()
    assert first.name == "2026-01-02-long.md"
    assert long_run.free_name("2026-01-02").name == "2026-01-02-long-2.md"
