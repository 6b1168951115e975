"""The scripts behind `make setup` and `make vectors`: what they do, and how they refuse."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.files import ROOT

pytestmark = pytest.mark.slow


def run(script: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name not in {"FROM", "PYTHON", "CC"}}
    command = ["bash", str(script)]
    return subprocess.run(command, env=clean | environment, capture_output=True, text=True, check=False)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with our scripts and nothing else."""
    shutil.copytree(ROOT / ".ci", tmp_path / "checkout" / ".ci")
    return tmp_path / "checkout"


def vectors(folder: Path, name: str = "tree-math.json") -> Path:
    folder.mkdir(parents=True)
    (folder / name).write_text("[]")
    return folder


class TestVectors:
    @pytest.mark.parametrize(
        ("vector_folder", "scenario_folder"), [(".", "interop-configs"), ("test-vectors", "interop/configs")]
    )
    def test_takes_them_from_a_folder(
        self, checkout: Path, tmp_path: Path, vector_folder: str, scenario_folder: str
    ) -> None:
        source = tmp_path / "source"
        vectors(source / vector_folder)
        vectors(source / scenario_folder, "commit.json")
        done = run(checkout / ".ci/vectors", FROM=str(source))
        assert done.returncode == 0, done.stderr
        target = checkout / "tests/vectors/mlswg"
        assert sorted(path.relative_to(target).as_posix() for path in target.rglob("*")) == [
            "SOURCE",
            "interop-configs",
            "interop-configs/commit.json",
            "tree-math.json",
        ]

    def test_replaces_what_was_there(self, checkout: Path, tmp_path: Path) -> None:
        vectors(checkout / "tests/vectors/mlswg", "old.json")
        assert run(checkout / ".ci/vectors", FROM=str(vectors(tmp_path / "source"))).returncode == 0
        assert not (checkout / "tests/vectors/mlswg/old.json").exists()

    @pytest.mark.parametrize("exists", [False, True])
    def test_refuses_politely_and_leaves_things_alone(self, checkout: Path, tmp_path: Path, *, exists: bool) -> None:
        kept = vectors(checkout / "tests/vectors/mlswg", "old.json") / "old.json"
        if exists:
            (tmp_path / "empty").mkdir()
        done = run(checkout / ".ci/vectors", FROM=str(tmp_path / "empty"))
        assert done.returncode == 1
        assert done.stderr.startswith("vectors: no *.json in" if exists else "vectors: there is no folder")
        assert kept.exists()

    def test_clones_the_working_group_s_repository(self, checkout: Path, tmp_path: Path) -> None:
        """Git is told to find that address in a local folder."""
        upstream = tmp_path / "upstream"
        vectors(upstream / "test-vectors")
        vectors(upstream / "interop/configs", "commit.json")
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@localhost"]
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "vectors"]):
            subprocess.run(["git", *command], cwd=upstream, check=True)
        done = run(
            checkout / ".ci/vectors",
            GIT_CONFIG_COUNT="1",
            GIT_CONFIG_KEY_0=f"url.file://{upstream}.insteadOf",
            GIT_CONFIG_VALUE_0="https://github.com/mlswg/mls-implementations",
        )
        assert done.returncode == 0, done.stderr
        target = checkout / "tests/vectors/mlswg"
        assert (target / "tree-math.json").is_file()
        assert (target / "interop-configs/commit.json").is_file()
        source = (target / "SOURCE").read_text()
        assert source.startswith("from https://github.com/mlswg/mls-implementations\ncommit ")

    def test_says_what_to_do_without_a_network(self, checkout: Path, tmp_path: Path) -> None:
        (tmp_path / "git").write_text("#!/bin/sh\nexit 128\n")
        (tmp_path / "git").chmod(0o755)
        done = run(checkout / ".ci/vectors", PATH=f"{tmp_path}:{os.environ['PATH']}")
        assert done.returncode == 1
        assert "make vectors FROM=FOLDER" in done.stderr


@pytest.mark.skipif(platform.system() != "Linux", reason="names Debian packages")
class TestSetup:
    def test_names_the_missing_venv_package(self, checkout: Path, tmp_path: Path) -> None:
        python = tmp_path / "python"
        python.write_text(f'#!/bin/sh\ncase "$*" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
        python.chmod(0o755)
        done = run(checkout / ".ci/setup", PYTHON=str(python))
        assert done.returncode == 1
        assert "sudo apt-get update && sudo apt-get install -y python3" in done.stderr
        assert "-venv" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (checkout / ".venv").exists()

    def test_names_the_missing_compiler_and_headers(self, checkout: Path, tmp_path: Path) -> None:
        compiler = tmp_path / "cc"
        compiler.write_text("#!/bin/sh\nexit 1\n")
        compiler.chmod(0o755)
        done = run(checkout / ".ci/setup", PYTHON=sys.executable, CC=str(compiler))
        assert done.returncode == 1
        assert "libgmp-dev" in done.stderr

    def test_asks_for_a_newer_python(self, checkout: Path) -> None:
        done = run(checkout / ".ci/setup", PYTHON="/bin/false")
        assert done.returncode == 1
        assert "Python 3.11 or newer" in done.stderr
        assert "python3.11-venv" in done.stderr
