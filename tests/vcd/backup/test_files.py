"""The file is new, whole and its owner's, or not there."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vcd.backup.files import open_file, place_of, written
from vcd.backup.seal import BackupError


def test_it_is_there_when_it_is_whole_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "vcd.backup"
    old = os.umask(0)
    try:
        with written(path) as file:
            file.write(b"some")
            assert not path.exists()
    finally:
        os.umask(old)
    assert path.read_bytes() == b"some"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["vcd.backup"]  # noqa: PTH208 - names are what it is about


def test_nothing_is_left_of_one_that_did_not_come_to_its_end(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), written(tmp_path / "vcd.backup") as file:
        file.write(b"some")
        raise RuntimeError
    assert not list(tmp_path.iterdir())


def test_no_file_is_overwritten_not_even_one_that_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "vcd.backup"
    path.write_bytes(b"mine")
    with pytest.raises(BackupError, match="already"), written(path):
        pass
    path.unlink()
    with pytest.raises(BackupError, match="already"), written(path) as file:
        file.write(b"new")
        path.write_bytes(b"mine")
    assert path.read_bytes() == b"mine"
    path.unlink()
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(BackupError, match="already"), written(path):
        pass


def test_where_nothing_can_be_written_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="No such file"), written(tmp_path / "no" / "vcd.backup"):
        pass
    with pytest.raises(BackupError, match="slash"):
        place_of("vcd.backup")
    with pytest.raises(BackupError, match="slash"):
        place_of("/x\0y")


def test_what_is_no_plain_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", ".", "missing"):
        with pytest.raises(BackupError), open_file(tmp_path / name):
            pass
