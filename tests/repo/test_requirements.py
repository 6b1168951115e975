"""`VCD_REQUIRE` turns a skip into a failure, and only for what it names."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import settings

from tests.conftest import LONG
from tests.repo.files import ROOT
from tests.requirements import KNOWN, require_or_skip, required


def test_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCD_REQUIRE", "vectors")
    with pytest.raises(pytest.skip.Exception, match="needs js: npm is not there"):
        require_or_skip("js", "npm is not there")


def test_fails_where_it_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCD_REQUIRE", "vectors, js")
    with pytest.raises(pytest.fail.Exception, match="VCD_REQUIRE names js: npm is not there"):
        require_or_skip("js", "npm is not there")


def test_wrong_names_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="ruby"):
        require_or_skip("ruby", "no such thing")
    monkeypatch.setenv("VCD_REQUIRE", "vektors")
    with pytest.raises(pytest.UsageError, match="vektors"):
        required()


def test_everything_can_be_required(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VCD_REQUIRE", ",".join(KNOWN))
    assert required() == tuple(KNOWN)
    monkeypatch.delenv("VCD_REQUIRE")
    assert required() == ()


@pytest.mark.slow
def test_a_wrong_name_stops_the_run() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "tests/repo/test_requirements.py"]
    environment = {**os.environ, "VCD_REQUIRE": "vectors,jss"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "jss" in done.stderr + done.stdout


def test_searches_as_hard_as_promised() -> None:
    current = settings()
    assert current.max_examples == (10_000 if LONG else 300)
    assert current.stateful_step_count == 50
    assert current.deadline is None
    assert current.print_blob
