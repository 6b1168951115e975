"""What `pip install` puts on a machine: three packages with their data, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

import vcd
from tests.repo.files import PACKAGES, ROOT, modules, shown


def test_the_checkout_reads_its_data() -> None:
    shipped = sorted(path.name for path in (ROOT / "config").iterdir())
    assert sorted(entry.name for entry in (files("vcd") / "_config").iterdir()) == shipped


def test_the_installed_version_is_the_source_s() -> None:
    assert version("vcd-daemon") == vcd.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built in a copy, so that a test leaves no build folders in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    leave_out = shutil.ignore_patterns("__pycache__", "vectors", "node_modules", "target")
    for name in (*PACKAGES, "config", "tests"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=leave_out)
    command = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "wheel", "--no-deps"]
    options = ["--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    done = subprocess.run([*command, *options, str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    [built] = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_the_wheel_holds_everything_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    wanted = {shown(path) for path in modules(*PACKAGES)}
    wanted |= {f"{package}/py.typed" for package in PACKAGES}
    wanted |= {f"vcd/_config/{path.name}" for path in (ROOT / "config").iterdir()}
    assert names == wanted


@pytest.mark.slow
def test_the_wheel_reads_its_data_and_runs(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import vcd; from importlib.resources import files\n"
        "print(vcd.__file__); print((files('vcd') / '_config' / 'README.md').read_text())\n"
        "import vcd.main; from vcd.cli import main; raise SystemExit(main(['--version']))\n"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(str(tmp_path))
    assert "packaged as `vcd/_config`" in done.stdout
