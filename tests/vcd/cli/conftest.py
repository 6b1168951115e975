"""A home for each test, and a daemon in it where one is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vcd.cli.house import Daemon, daemon_at


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in list(os.environ):
        if name.startswith(("VCD_", "XDG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("VCD_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("TZ", "UTC")
    return tmp_path


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    with daemon_at(home) as found:
        yield found
