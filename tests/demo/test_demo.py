"""The demonstration shows what it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.repo.files import ROOT


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_split_in_which_a_device_is_removed_on_both_sides_heals(tmp_path: Path) -> None:
    picture = tmp_path / "tea.svg"
    command = [sys.executable, "-m", "tests.demo", "--picture", str(picture)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("shown: 34 messages, each once")
    assert ET.parse(picture).getroot().tag.endswith("svg")
