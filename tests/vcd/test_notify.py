"""The service manager, played by a socket of ours, and by systemd's own systemd-socket-activate."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.repo.files import ROOT
from tests.requirements import require_or_skip
from vcd.notify import MOST_SOCKETS, MOST_STATUS, BadSocket, Notifier, passed_sockets


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def heard(manager: socket.socket) -> list[str]:
    return manager.recv(4096).decode().split("\n")


def notifier(manager: socket.socket) -> Notifier:
    return Notifier(manager.getsockname())


# ---------------------------------------------------------------- notifying


def test_a_whole_life(manager: socket.socket) -> None:
    with notifier(manager) as daemon:
        assert daemon.heard
        for done in (
            daemon.extend(90),
            daemon.status("migrating: 3 of 7"),
            daemon.ready("locked"),
            daemon.watchdog(),
            daemon.reloading(),
            daemon.ready(),
            daemon.stopping("saving"),
        ):
            assert done
    assert heard(manager) == ["EXTEND_TIMEOUT_USEC=90000000"]
    assert heard(manager) == ["STATUS=migrating: 3 of 7"]
    assert heard(manager) == ["READY=1", "STATUS=locked"]
    assert heard(manager) == ["WATCHDOG=1"]
    reloading, at = heard(manager)
    assert reloading == "RELOADING=1"
    name, _, usec = at.partition("=")
    assert name == "MONOTONIC_USEC"
    assert 0 <= time.clock_gettime(time.CLOCK_MONOTONIC) - int(usec) / 1e6 < 60
    assert heard(manager) == ["READY=1"]
    assert heard(manager) == ["STOPPING=1", "STATUS=saving"]


def test_an_abstract_socket() -> None:
    name = f"vcd-test-{os.getpid()}-{time.monotonic_ns()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(b"\0" + name.encode())
        listening.settimeout(5)
        with Notifier("@" + name) as daemon:
            assert daemon.ready()
        assert heard(listening) == ["READY=1"]


@pytest.mark.parametrize("address", ["", "notify", "@", "/", "vsock:2:1234", "/" + "a" * 200, "/a\0b"])
def test_nobody_to_tell(address: str) -> None:
    with Notifier(address) as daemon:
        assert not daemon.heard
        assert not daemon.ready("x")


def test_a_manager_that_is_gone_is_no_trouble(manager: socket.socket, tmp_path: Path) -> None:
    daemon = notifier(manager)
    manager.close()
    assert not daemon.ready()
    (tmp_path / "notify").unlink()
    assert not daemon.watchdog()
    daemon.close()
    assert not daemon.stopping()


@pytest.mark.slow
def test_attack_a_manager_that_reads_nothing_holds_nobody_up(manager: socket.socket) -> None:
    with notifier(manager) as daemon:
        began = time.monotonic()
        while daemon.status("x" * MOST_STATUS):
            assert time.monotonic() - began < 20
        assert time.monotonic() - began < 20


@pytest.mark.parametrize("status", ["laptop\nREADY=1", "a\rMAINPID=1", "x\0y", "\x1b[2J", "\u2028MAINPID=1"])
def test_attack_a_name_that_would_speak_to_the_manager(manager: socket.socket, status: str) -> None:
    with notifier(manager) as daemon:
        daemon.status(status)
    [line] = manager.recv(4096).decode().splitlines()
    assert line.startswith("STATUS=")
    assert line.isprintable()


@given(st.text(max_size=400))
def test_every_status_is_one_short_line(text: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, Notifier() as daemon:
        daemon._address, daemon._socket = b"", _Connected(ours)  # a pair has no address
        theirs.settimeout(5)
        if not daemon.status(text):
            assert text == ""
            return
        line = theirs.recv(4096)
    assert b"\n" not in line
    assert len(line) <= len("STATUS=") + 4 * MOST_STATUS


class _Connected(socket.socket):
    def __init__(self, other: socket.socket) -> None:
        super().__init__(fileno=os.dup(other.fileno()))

    def sendto(self, data: bytes, *_: object) -> int:  # type: ignore[override]  # as a socketpair needs it
        return self.send(data)


@pytest.mark.parametrize(
    ("usec", "pid", "every"),
    [
        ("30000000", "", 15.0),
        ("30000000", "77", 15.0),
        ("30000000", "78", None),
        ("", "", None),
        ("0", "", None),
        ("-5", "", None),
        ("1e6", "", None),
        ("٣", "", None),
        ("9" * 30, "", None),
    ],
)
def test_the_watchdog(usec: str, pid: str, every: float | None) -> None:
    environ = {"WATCHDOG_USEC": usec, "WATCHDOG_PID": pid, "NOTIFY_SOCKET": "", "PATH": "/bin"}
    with Notifier.from_environment(environ, pid=77) as daemon:
        assert daemon.watchdog_every == every
    assert environ == {"PATH": "/bin"}


def test_what_is_extended_is_bounded(manager: socket.socket) -> None:
    with notifier(manager) as daemon:
        for seconds in (-1, 1e12):
            daemon.extend(seconds)
    assert [heard(manager), heard(manager)] == [["EXTEND_TIMEOUT_USEC=1000"], ["EXTEND_TIMEOUT_USEC=3600000000"]]


# ---------------------------------------------------------------- sockets that are open already


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[list[socket.socket]]:
    """Two listening sockets on descriptors that follow each other."""
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        found = [one, two]
        for number, each in enumerate(found):
            each.bind(str(tmp_path / f"{number}.sock"))
            each.listen()
        yield found


FIRST = 150
"""Descriptors that nothing else in the test's process has."""


def passing(sockets: list[socket.socket], names: str | None, **other: str) -> dict[str, str]:
    for number, each in enumerate(sockets):
        os.dup2(each.fileno(), FIRST + number, inheritable=True)
    environ = {"LISTEN_PID": "77", "LISTEN_FDS": str(len(sockets)), "LISTEN_PIDFDID": "5", "PATH": "/bin", **other}
    return environ if names is None else {**environ, "LISTEN_FDNAMES": names}


def closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


@pytest.mark.parametrize(
    ("names", "called"),
    [
        ("app:admin", ["app", "admin"]),
        (None, ["unknown", "unknown"]),
        ("app", ["app", "unknown"]),
        ("a:b:c", ["a", "b"]),
    ],
)
def test_sockets_are_taken_by_name(listening: list[socket.socket], names: str | None, called: list[str]) -> None:
    environ = passing(listening, names)
    passed = passed_sockets(environ, pid=77, first=FIRST)
    assert environ == {"PATH": "/bin"}
    assert [one.name for one in passed] == called
    for one, each in zip(passed, listening, strict=True):
        assert one.socket.getsockname() == each.getsockname()
        assert not os.get_inheritable(one.socket.fileno())
        assert one.socket.gettimeout() == 0
        one.socket.close()


@pytest.mark.parametrize(
    "variables",
    [
        {"LISTEN_PID": "78"},
        {"LISTEN_PID": ""},
        {"LISTEN_FDS": "0"},
        {"LISTEN_FDS": "-1"},
        {"LISTEN_FDS": "two"},
        {"LISTEN_FDS": str(MOST_SOCKETS + 1)},
        {"LISTEN_FDS": "9" * 40},
    ],
)
def test_what_is_not_for_us_is_left_alone(listening: list[socket.socket], variables: dict[str, str]) -> None:
    environ = passing(listening, "app:admin", **variables)
    assert passed_sockets(environ, pid=77, first=FIRST) == ()
    assert environ == {"PATH": "/bin"}
    for number in (FIRST, FIRST + 1):
        assert not closed(number)
        os.close(number)


@pytest.mark.parametrize("wrong", ["file", "datagram", "internet", "connected", "nothing"])
def test_attack_something_else_is_refused_and_all_are_closed(
    listening: list[socket.socket], tmp_path: Path, wrong: str
) -> None:
    environ = passing(listening, "app:admin")
    ours, theirs = socket.socketpair()
    with ours, theirs, (tmp_path / "file").open("w") as file:
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as datagram,
            socket.socket(socket.AF_INET) as internet,
        ):
            numbers = {
                "file": file.fileno(),
                "datagram": datagram.fileno(),
                "internet": internet.fileno(),
                "connected": ours.fileno(),
            }
            if wrong == "nothing":
                os.close(FIRST + 1)
            else:
                os.dup2(numbers[wrong], FIRST + 1)
            with pytest.raises(BadSocket, match="admin"):
                passed_sockets(environ, pid=77, first=FIRST)
    assert closed(FIRST)
    if wrong == "file":
        os.close(FIRST + 1)  # no socket of ours to close
    assert closed(FIRST + 1)


CHILD = """
import os, sys
from vcd.notify import Notifier, passed_sockets
passed = passed_sockets()
left = sorted(name for name in os.environ if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_")))
print([(one.name, one.socket.getsockname()) for one in passed], left, flush=True)
one = passed[0].socket
one.setblocking(True)
one.settimeout(20)
connection, _ = one.accept()
connection.sendall(b"hello")
"""


@pytest.mark.slow
def test_systemd_s_own_tool_passes_sockets_to_us(tmp_path: Path) -> None:
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        require_or_skip("systemd", "systemd-socket-activate is not there")
    app, admin = str(tmp_path / "app.sock"), str(tmp_path / "admin.sock")
    command = [tool, "-l", app, "-l", admin, "--fdname=app:admin", f"--setenv=PYTHONPATH={ROOT}"]
    with subprocess.Popen(
        [*command, sys.executable, "-c", CHILD], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            assert running.stderr is not None
            while "Listening on" not in (line := running.stderr.readline()) or "admin" not in line:
                assert line, "it ended before it listened"
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(30)
                client.connect(app)
                assert client.recv(9) == b"hello"
            said, errors = running.communicate(timeout=30)
        finally:
            running.kill()
    assert said.strip() == f"{[('app', app), ('admin', admin)]} []", errors
