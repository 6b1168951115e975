"""What runs and does not end, where it does not even begin; and who waits for it."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from tests.vcd.cli.house import process
from tests.vcd.daemon.process import SETTINGS

pytestmark = pytest.mark.slow


def settled(folder: Path, text: str) -> Path:
    folder.mkdir(mode=0o700)
    (folder / "vcd.toml").write_text(text, encoding="utf-8")
    return folder


def ended(home: Path, *argv: str) -> tuple[int, str, str]:
    with process(*argv, home=home) as running:
        out, err = running.communicate(timeout=60)
    return running.returncode, out, err


@pytest.mark.parametrize("argv", [("run",), ("mailbox", "run")])
def test_settings_that_cannot_be_used_are_said_in_json(tmp_path: Path, argv: tuple[str, ...]) -> None:
    home = settled(tmp_path / "home", "version = 1\n[network]\nlistn = []\n")
    code, out, err = ended(home, *argv, "--json")
    assert (code, err) == (3, "")
    said = json.loads(out)
    assert (said["v"], said["exit"], said["error"]["code"]) == (1, 3, "config")
    assert "did you mean network.listen?" in said["error"]["message"]
    assert "vcd config check" in said["error"]["next"]
    code, out, err = ended(home, *argv)
    assert (code, out) == (3, "")
    assert "did you mean network.listen?" in err


def test_a_second_daemon_says_in_json_who_runs(tmp_path: Path) -> None:
    home = settled(tmp_path / "home", SETTINGS)
    with process("run", "--json", home=home) as running:
        try:
            assert ended(home, "wait", "--timeout", "60")[0] == 0
            code, out, err = ended(home, "run", "--json")
            said = json.loads(out)
            assert (code, err, said["exit"], said["error"]["code"]) == (4, "", 4, "running")
            assert str(running.pid) in said["error"]["message"]
            assert said["error"]["next"].startswith("vcd status shows it")
        finally:
            running.send_signal(signal.SIGTERM)
            assert running.communicate(timeout=60)[0] == ""
        assert running.returncode == 0


def test_a_folder_or_a_socket_that_cannot_be_had(tmp_path: Path) -> None:
    home = settled(tmp_path / "home", SETTINGS)
    (home / "state").write_text("no folder", encoding="utf-8")
    code, out, _ = ended(home, "run", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "wrong-path")
    (home / "state").unlink()
    (home / "run").mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(home / "run" / "app.sock"))
        other.listen()
        code, out, _ = ended(home, "run", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "socket")


def test_a_mailbox_says_in_json_where_it_is(tmp_path: Path) -> None:
    home = settled(tmp_path / "home", SETTINGS.partition("\n[node]")[0])
    with process("mailbox", "run", "--json", home=home) as running:
        assert running.stdout is not None
        said = json.loads(running.stdout.readline())
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=60)[0] == ""
    assert (said["v"], running.returncode) == (1, 0)
    assert said["mailbox"]
    assert all("/p2p/12D3KooW" in each for each in said["mailbox"])
    (home / "state" / "mailbox.key").chmod(0o644)
    code, out, _ = ended(home, "mailbox", "run", "--json")
    assert (code, json.loads(out)["error"]["code"]) == (1, "file")


def test_a_command_is_advised_as_it_is_typed(tmp_path: Path) -> None:
    """It said `Chmod`."""
    home = settled(tmp_path / "home", SETTINGS)
    home.chmod(0o777)
    for argv, command in ((("run",), "o-w"), (("init",), "700")):
        assert f"     chmod {command} {home}\n" in ended(home, *argv)[2]


def test_who_waits_for_ever_is_told_how_to_start_it(tmp_path: Path) -> None:
    home = settled(tmp_path / "home", SETTINGS)
    with process("wait", home=home) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "the daemon is not running ...\n"
        assert "vcd run" in waiting.stderr.readline()
        waiting.send_signal(signal.SIGINT)
        waiting.communicate(timeout=60)
    assert waiting.returncode == 130
