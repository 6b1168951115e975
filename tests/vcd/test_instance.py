"""One daemon for one state, and what the second one learns. Locks are held by real processes."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.repo.files import ROOT
from vcd import instance
from vcd.instance import FILE, AlreadyRunning, CannotLock, Holder, holder, sole

pytestmark = pytest.mark.slow  # most of these wait for a process

SOCKET = Path("/run/user/1000/vcd/app.sock")
HOLD = """
import sys, time
from pathlib import Path
from vcd.instance import sole
with sole(Path(sys.argv[1]), socket=Path(sys.argv[2])):
    print("has it", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(state: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the state until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state), str(SOCKET)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "has it\n"
        try:
            yield running
        finally:
            running.kill()


def test_alone(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    for _ in range(2):
        with sole(tmp_path, socket=SOCKET):
            said = json.loads((tmp_path / FILE).read_text())
            assert said == {"pid": os.getpid(), "socket": str(SOCKET)}
            assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
            assert holder(tmp_path) == Holder(pid=os.getpid(), socket=str(SOCKET))
        assert list(tmp_path.iterdir()) == []
    assert holder(tmp_path / "nowhere") is None


def test_the_second_learns_who_and_where(tmp_path: Path) -> None:
    with another(tmp_path) as running:
        assert holder(tmp_path) == Holder(pid=running.pid, socket=str(SOCKET))
        with pytest.raises(AlreadyRunning) as refused, sole(tmp_path, socket=Path("/mine")):
            pass
    assert refused.value.holder == Holder(pid=running.pid, socket=str(SOCKET))
    assert str(refused.value) == f"vcd runs already: process {running.pid} has {tmp_path}, on {SOCKET}"
    assert "vcd status" in refused.value.hint


def test_a_killed_one_leaves_nothing_that_is_in_the_way(tmp_path: Path) -> None:
    with another(tmp_path) as running:
        running.send_signal(signal.SIGKILL)
        running.wait(30)
        assert (tmp_path / FILE).exists()
        assert holder(tmp_path) is None
        with sole(tmp_path, socket=SOCKET):
            assert holder(tmp_path) == Holder(pid=os.getpid(), socket=str(SOCKET))


def test_attack_deleting_its_file_lets_nobody_in(tmp_path: Path) -> None:
    with another(tmp_path):
        (tmp_path / FILE).unlink()
        with pytest.raises(AlreadyRunning, match="another process has") as refused, sole(tmp_path, socket=SOCKET):
            pass
        assert refused.value.holder == Holder()


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"{",
        b"[1]",
        b"\xff",
        b"[" * 4096,
        b'{"pid": "1"}',
        b'{"pid": true}',
        b'{"pid": -1}',
        b'{"pid": 99999999999}',
        b'{"pid": 2147483646, "socket": "/x"}',
        b" " * 100_000,
    ],
)
def test_a_damaged_or_stale_file_only_tells_less(tmp_path: Path, said: bytes) -> None:
    with another(tmp_path):
        (tmp_path / FILE).write_bytes(said)
        with pytest.raises(AlreadyRunning) as refused, sole(tmp_path, socket=SOCKET):
            pass
        assert refused.value.holder == Holder()


def test_attack_a_socket_s_name_with_control_characters_is_not_told(tmp_path: Path) -> None:
    with another(tmp_path):
        (tmp_path / FILE).write_text(json.dumps({"pid": os.getpid(), "socket": "/\x1b[2J"}))
        assert holder(tmp_path) == Holder(pid=os.getpid())


def test_attack_a_link_in_place_of_its_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (state / FILE).symlink_to(victim)
    (state / f"{FILE}.new").symlink_to(victim)
    with sole(state, socket=SOCKET):
        assert not (state / FILE).is_symlink()
    assert victim.read_text() == "precious"


def test_attack_a_pipe_in_place_of_its_file(tmp_path: Path) -> None:
    with another(tmp_path):
        (tmp_path / FILE).unlink()
        os.mkfifo(tmp_path / FILE)
        assert holder(tmp_path) == Holder()


def test_who_only_looks_keeps_no_daemon_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that looks holds the lock for a moment; a daemon that starts just then tries again."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    monkeypatch.setattr("vcd.instance.time.sleep", wait)
    with sole(tmp_path, socket=SOCKET):
        pass
    os.close(descriptor)
    assert waits == [instance._BETWEEN]


def test_a_child_does_not_hold_it_on(tmp_path: Path) -> None:
    with sole(tmp_path, socket=SOCKET):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    try:
        with sole(tmp_path, socket=SOCKET):
            pass
    finally:
        child.communicate(timeout=30)


def test_a_folder_that_cannot_be_locked_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(CannotLock, match="Operation not supported") as refused, sole(tmp_path, socket=SOCKET):
        pass
    assert "network file systems" in refused.value.hint


def test_what_goes_wrong_inside_comes_out_and_frees_it(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), sole(tmp_path, socket=SOCKET):
        raise ZeroDivisionError
    assert holder(tmp_path) is None
