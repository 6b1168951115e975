"""Code, table, tests and document agree, and no check can go missing unnoticed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mls.checks import CHECKS
from mls.errors import PeerError
from tests.validation.document import disagreements
from tests.validation.sources import ROOT, sites


def test_code_table_tests_and_document_agree() -> None:
    assert disagreements() == []


def test_an_error_says_its_number_and_its_sentence() -> None:
    for rule, check in CHECKS.items():
        error = PeerError(rule, "why")
        assert error.check == rule
        assert str(error) == f"{rule}: {check.sentence} (why)"


def mutate(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", "tests.validation", "--mutate", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_check_is_missed_when_it_is_off() -> None:
    done = mutate("--jobs", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(sites())} checks disabled one by one, {len(sites())} noticed" in done.stdout


@pytest.mark.slow
def test_a_check_that_nobody_tests_is_found(tmp_path: Path) -> None:
    """The mutants do change something: without its tests, a check is missed by nobody."""
    program = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.validation import mutants, sources
found = tuple(test for test in sources.tests() if test.path.stem == "test_validation_codec")
mutants.tests = lambda: found
chosen = [site for site in sources.sites() if site.rule in ("VAL-2.1-3", "VAL-6-3")]
sys.exit(mutants.run(chosen, jobs=1))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "survived: VAL-6-3 in mls.framing:read_wire_format" in done.stdout
    assert "2 checks disabled one by one, 1 noticed" in done.stdout
