"""Everything that goes wrong has an exit code, a sentence and a next step; seen with real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio

from tests.repo.files import ROOT
from tests.vcd.cli.house import Daemon, daemon_at, process, ran, refusing, secret
from vcd.cli.troubles import NEXT
from vcd.rpc.errors import CODES


def says(argv: list[str], code: int, name: str, *texts: str) -> None:
    """The same in words and in JSON."""
    done = ran(*argv)
    assert (done.code, done.out) == (code, ""), done
    assert done.err.startswith("vcd: ")
    assert done.err.count("\n") >= 2, "what it is, and what to do"
    for text in texts:
        assert text in done.err
    again = ran(*argv, "--json")
    assert (again.code, again.err, again.json["exit"]) == (code, "", code)
    error = again.json["error"]
    assert error["code"] == name
    assert error["message"]
    assert error["next"]


class TestUnreachable:
    def test_nothing_runs(self, home: Path) -> None:
        says(["status"], 2, "not-running", str(home / "run/app.sock"), "vcd run", "systemctl --user start")
        says(["device", "add"], 2, "not-running", str(home / "run/admin.sock"))

    def test_it_died(self, home: Path) -> None:
        (home / "run").mkdir()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(home / "run/app.sock"))
            sock.listen()
        says(["status"], 2, "stale", "nobody listens", "vcd run")

    def test_no_socket_is_there(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (home / "file").touch()
        monkeypatch.setenv("VCD_SOCKET", str(home / "file"))
        done = ran("status")
        assert done.code == 2
        assert "VCD_SOCKET" in done.err or "stale" in ran("status", "--json").out

    def test_the_path_is_too_long(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        monkeypatch.setenv("VCD_SOCKET", f"/tmp/{'x' * 120}/app.sock")
        says(["status"], 2, "no-path", "too long", "unset VCD_SOCKET")

    def test_a_path_that_is_none(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        monkeypatch.setenv("VCD_SOCKET", "run/app.sock")
        says(["status"], 2, "wrong-path", "VCD_SOCKET")

    def test_there_is_one_elsewhere(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The most frequent: a variable from another terminal."""
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(home))
        (home / "vcd").symlink_to(home / "run")
        monkeypatch.setenv("VCD_HOME", "/nonexistent")
        with daemon_at(home):
            says(["status"], 2, "not-running", f"{home}/vcd/app.sock", "unset VCD_HOME")

    def test_the_settings_say_where(self, home: Path) -> None:
        (home / "vcd.toml").write_text(f'version = 1\n[rpc]\napp_socket = "{home}/else/a.sock"\n')
        assert ran("status", "--socket-path").out == f"{home}/else/a.sock\n"
        assert ran("status", "--socket-path", "--json").json["admin_socket"] == f"{home}/run/admin.sock"
        says(["status"], 2, "not-running", f"{home}/else/a.sock")

    @pytest.mark.parametrize(
        "text", ["[rpc\napp_socket = 1", "version = 1\n[rpc]\napp_socket = 5\n", "rpc = 'app_socket'"]
    )
    def test_settings_that_are_wrong_are_no_hindrance(self, home: Path, text: str) -> None:
        (home / "vcd.toml").write_text(text)
        assert ran("status", "--socket-path").out == f"{home}/run/app.sock\n"

    def test_another_user(self) -> None:
        """A folder that only its owner may look into; root may always, so another user is needed to see it."""
        if os.getuid() != 0:
            pytest.skip("needs root, to become somebody else")
        with tempfile.TemporaryDirectory(dir="/tmp") as folder, daemon_at(Path(folder)):
            Path(folder).chmod(0o711)
            command = [sys.executable, "-c", _AS_NOBODY, str(ROOT), folder]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert "belongs to root, and you are nobody" in done.stderr
        assert "sudo -u root" in done.stderr

    def test_who_answers_is_no_daemon(self, home: Path) -> None:
        with answering(home, b"HTTP/1.1 400 Bad Request\r\n\r\n"):
            says(["status"], 2, "closed", "does not speak msgpack-rpc")

    def test_it_hangs_up(self, home: Path) -> None:
        with answering(home, b""):
            says(["status"], 2, "closed", "journalctl")


_AS_NOBODY = """
import os, sys
sys.path.insert(0, sys.argv[1])
os.environ["VCD_HOME"] = sys.argv[2]
import vcd.cli.running, vcd.cli.daemon, threading  # while it may still read them
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
sys.exit(vcd.cli.main(["status"]))
"""


@contextmanager
def answering(home: Path, answer: bytes) -> Iterator[None]:
    """Somebody at the socket who says that to everybody, and hangs up."""
    (home / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(home / "run/app.sock"))
        sock.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = sock.accept()
                except OSError:
                    return
                with client, suppress(OSError):  # who asked may be gone
                    client.recv(65536)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            sock.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with daemon_at(tmp_path_factory.mktemp("house")) as found:
        yield found


class TestRefused:
    def test_every_error_has_a_next_step(self) -> None:
        assert NEXT.keys() == CODES.keys()

    @pytest.mark.parametrize("code", CODES)
    def test_each(self, home: Path, shared: Daemon, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VCD_HOME", str(shared.home))
        shared.answers["device.list"] = refusing(code)
        special = {"E_TIMEOUT": 5, "E_OTHER_USER": 2}
        special |= dict.fromkeys(["E_STARTING", "E_MIGRATING", "E_LOCKED", "E_STOPPING"], 4)
        says(
            ["device", "list"],
            special.get(code, 1),
            code,
            code,
            NEXT[code].replace("METHOD", "device.list").replace("COMMAND", "vcd device list"),
        )

    def test_a_wrong_passphrase_is_given_again_to_the_same_command(self, daemon: Daemon, tmp_path: Path) -> None:
        daemon.without_account()
        daemon.answers["account.recover"] = refusing("E_PASSPHRASE")
        (file := tmp_path / "my backup").touch()
        with secret("abandon " * 12) as words, secret("donkey") as passphrase:
            done = ran("init", "--restore", str(file), "--words-fd", words, "--passphrase-fd", passphrase)
        assert f"Try again: vcd init --restore '{file}' --words-fd {words}" in done.err

    def test_it_takes_too_long(self, daemon: Daemon) -> None:
        async def slow(_params: object) -> None:
            await trio.sleep(60)

        daemon.answers["device.list"] = slow
        says(["device", "list", "--timeout", "0.05"], 5, "E_TIMEOUT", "--timeout")

    def test_a_newer_daemon_has_errors_we_do_not_know(self) -> None:
        from vcd.cli.troubles import of
        from vcd.client import RpcError

        trouble = of(RpcError({"code": "E_NEW", "num": 7777, "message": "Something new."}))
        assert (trouble.status, trouble.code, "vcd doctor" in trouble.then) == (1, "E_NEW", True)

    def test_what_others_wrote_cannot_play_with_the_terminal(self, daemon: Daemon) -> None:
        from vcd.rpc.errors import Failure

        def refuse(_params: object) -> object:
            raise Failure("E_NAME", "\x1b[2J\x1b]0;x\x07 \u202egnp.exe")

        daemon.answers["device.list"] = refuse
        done = ran("device", "list")
        assert "\x1b" not in done.err
        assert "\u202e" not in done.err
        assert "\\x1b[2J" in done.err

    def test_a_bug_is_a_traceback(self, daemon: Daemon) -> None:
        daemon.answers["device.list"] = lambda _: daemon.answers["nothing"]
        says(["device", "list"], 1, "E_INTERNAL", "id ", "vcd bugreport")


class TestUsage:
    @pytest.mark.parametrize(
        ("argv", "text"),
        [
            (["devcie"], "vcd device"),
            (["device", "lits"], "vcd device list"),
            (["device", "list", "--jsn"], "--json"),
            (["chat", "new", "--mode", "demsl"], "demls"),
            (["chat", "show"], "CHAT"),
            (["events", "--from", "x"], "--from"),
            (["wait", "--timeout", "-1"], "--timeout"),
        ],
    )
    def test_what_was_meant(self, home: Path, argv: list[str], text: str) -> None:
        says(argv, 3, "usage", text, "--help")

    def test_nothing_at_all_is_help(self, home: Path) -> None:
        done = ran()
        assert (done.code, "Commands:" in done.out + done.err) == (3, True)
        assert ran("--help").code == 0
        assert ran("--version").out.startswith("vcd ")
        assert ran("device").code == 3


def test_ctrl_c(home: Path) -> None:
    """A command that waits ends at once, without a traceback."""
    with daemon_at(home), process("events", "--follow", "--from", "30", home=home) as following:
        assert following.stdout is not None
        assert following.stdout.readline().split()[0] == "30"
        following.send_signal(2)
        _, err = following.communicate(timeout=20)
    assert following.returncode == 130
    assert "Traceback" not in err
    assert "Stopped" in err
