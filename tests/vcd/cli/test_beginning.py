"""The first command, and those that become something else."""

from __future__ import annotations

import signal
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.vcd.cli.house import Daemon, example, ran, refusing, secret
from vcd.rpc import samples


class TestInit:
    def test_without_a_daemon_it_writes_settings_and_says_how_to_go_on(self, home: Path) -> None:
        done = ran("init")
        assert done.code == 2
        assert f"Wrote {home}/vcd.toml" in done.err
        assert "vcd run" in done.err
        assert "vcd init" in done.err
        assert (home / "vcd.toml").stat().st_mode & 0o777 == 0o600
        assert tomllib.loads((home / "vcd.toml").read_text())["version"] == 1
        again = ran("init", "--json")
        assert (again.code, again.json["error"]["data"]["config"]) == (2, None)

    def test_settings_are_never_written_over(self, home: Path) -> None:
        (home / "vcd.toml").write_text("mine")
        assert ran("init").code == 2
        assert (home / "vcd.toml").read_text() == "mine"

    def test_founds_an_account_and_shows_the_words_once(self, daemon: Daemon) -> None:
        done = ran("init", "--device", "laptop", "--name", "Alice")
        assert done.code == 0, done.err
        for word in samples.WORDS:
            assert word in done.out
        assert samples.FINGERPRINT in done.out
        [made] = daemon.asked_for("account.create")
        assert (made.device_name, made.name) == ("laptop", "Alice")
        daemon.answers["account.create"] = lambda _: example("account.create", words=[])
        assert "are not kept" in ran("init").out

    def test_in_json(self, daemon: Daemon) -> None:
        (daemon.home / "vcd.toml").write_text('version = 1\n[device]\nname = "desk"\n')
        done = ran("init", "--json")
        assert done.json["words"] == samples.WORDS
        assert done.err == ""
        assert daemon.asked_for("account.create")[0].device_name == "desk"

    def test_there_is_an_account(self, daemon: Daemon) -> None:
        daemon.answers["account.create"] = refusing("E_ACCOUNT_EXISTS")
        done = ran("init")
        assert (done.code, "vcd account show" in done.err) == (1, True)

    def test_recovers(self, daemon: Daemon) -> None:
        daemon.without_account()
        with secret("  ".join(samples.WORDS) + "\n") as fd:
            done = ran("init", "--recover", "--words-fd", fd, "--device", "new")
        assert done.code == 0, done.err
        [made] = daemon.asked_for("account.recover")
        assert (made.words, made.device_name, made.backup) == (samples.WORDS, "new", None)
        assert ran("init", "--recover", "--name", "Alice").code == 3
        assert ran("init", "--recover").code == 3

    def test_restores(self, daemon: Daemon) -> None:
        daemon.without_account()
        (daemon.home / "b").touch()
        with secret(" ".join(samples.WORDS)) as words, secret("pass") as fd:
            options = ["--words-fd", words, "--passphrase-fd", fd, "--json"]
            done = ran("init", "--restore", str(daemon.home / "b"), *options)
        assert done.code == 0, done.out
        [made] = daemon.asked_for("account.recover")
        assert (made.backup, made.passphrase) == (str(daemon.home / "b"), "pass")
        assert ran("init", "--restore", str(daemon.home / "none"), "--json").json["error"]["code"] == "E_FILE"


@pytest.mark.parametrize(("argv", "module"), [(["run"], "vcd.main"), (["mailbox", "run"], "vcd.daemon.mailbox")])
def test_hands_over(argv: list[str], module: str, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    given: list[list[str]] = []
    masks: list[set[int | signal.Signals]] = []

    class There(ModuleType):
        @staticmethod
        def main(arguments: list[str], **_: object) -> int:
            given.append(arguments)
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            return 4

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    monkeypatch.setitem(sys.modules, module, There(module))
    assert ran(*argv).code == 4
    assert ran(*argv, "--config", str(home / "x.toml")).code == 4
    assert given == [[], ["--config", str(home / "x.toml")]]
    monkeypatch.setitem(sys.modules, module, None)
    done = ran(*argv)
    assert (done.code, module in done.err) == (1, True)
    assert all(signal.SIGHUP in mask for mask in masks)  # it waits for who listens
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


def test_a_copy_that_was_put_back_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[list[str]] = []

    class There(ModuleType):
        @staticmethod
        def main(arguments: list[str], **_: object) -> int:
            given.append(arguments)
            return 0

    monkeypatch.setitem(sys.modules, "vcd.main", There("vcd.main"))
    assert ran("run", "--restored").code == 0
    assert given == [["--restored"]]
