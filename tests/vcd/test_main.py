"""The launcher says what is there, loads it, and does nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import vcd
from tests.repo.files import ROOT
from vcd import main


def test_says_that_there_is_no_daemon(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main([]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"vcd {vcd.__version__} ")
    assert "daemon     not built yet" in said
    assert "Nothing was started" in said
    assert "mls" in said


def test_a_room_that_does_not_load_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    room = tmp_path / "cracked_room"
    room.mkdir()
    (room / "__init__.py").touch()
    (room / "wall.py").write_text("raise RuntimeError('a crack')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main, "ROOMS", {"cracked_room": "a test"})
    assert main.main([]) == 1
    assert "does not load: RuntimeError: a crack" in capsys.readouterr().out


def test_missing_packages_are_named() -> None:
    assert main.versions(["pytest"]) == f"pytest {pytest.__version__}"
    assert main.versions(["no-such-package"]) == "no-such-package missing"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"vcd {vcd.__version__}\n"


@pytest.mark.slow
def test_writes_nothing(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "vcd.main"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("program", ["import vcd", "import vcd.main"])
def test_importing_it_is_instant(program: str) -> None:
    heavy = ["mls", "transport", "trio", "libp2p", "cryptography", "pyhpke"]
    check = f"{program}\nimport sys\nprint([name for name in {heavy} if name in sys.modules])"
    command = [sys.executable, "-c", check]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
