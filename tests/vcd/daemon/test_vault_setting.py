"""What the comment on `vault.unlocker` says: it counts when the vault is made, and changes nothing later."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.vcd.daemon.process import SETTINGS, Daemon, home, until
from vcd.config.annotated import annotated

pytestmark = pytest.mark.slow


def problems(daemon: Daemon) -> list[str]:
    return [each["code"] for each in daemon.call("health.list", all=True)["problems"]]


def edit(daemon: Daemon, vault: str) -> None:
    (daemon.home / "vcd.toml").write_text(f"{SETTINGS}\n[vault]\n{vault}\n", encoding="utf-8")


def test_an_edit_is_told_at_once_and_changes_nothing(tmp_path: Path) -> None:
    """It was said to wait for a restart, which did not take it up either."""
    with home(tmp_path) as daemon:
        daemon.start()
        edit(daemon, 'unlocker = "passphrase"')
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)
        until(lambda: "unlocker-differs" in problems(daemon))
        assert "restart-needed" not in problems(daemon)
        daemon.end()
        daemon.start()
        assert daemon.status()["unlocker"] == "keyfile"
        assert "unlocker-differs" in problems(daemon)
        daemon.call("vault.rewrap", unlocker="passphrase", passphrase="horse")
        assert "unlocker-differs" not in problems(daemon)
        daemon.end()
        edit(daemon, "")
        daemon.start(ready=False)
        assert daemon.until_state("locked")
        assert daemon.call("vault.unlock", passphrase="horse")["unlocker"] == "passphrase"
        assert "unlocker-differs" not in problems(daemon), "keyfile is what it says if nobody said anything"
        daemon.end()


def test_a_key_file_is_moved_with_its_setting(tmp_path: Path) -> None:
    with home(tmp_path) as daemon:
        daemon.start()
        daemon.end()
        elsewhere = tmp_path / "key"
        edit(daemon, f'key_file = "{elsewhere}"')
        daemon.start(ready=False)
        daemon.until_state("locked")
        assert str(elsewhere) in daemon.status()["reason"]
        (tmp_path / "state" / "vault.key").rename(elsewhere)
        daemon.call("vault.unlock")
        daemon.until_state("ready")
        daemon.end()


def test_the_comment_says_so() -> None:
    _, _, section = annotated().partition("\n[vault]\n")
    comment = section.partition("#unlocker")[0]
    assert "Takes effect after a restart" not in comment
    assert "vcd call vault.rewrap" in comment
    assert "at vcd init" not in annotated()
