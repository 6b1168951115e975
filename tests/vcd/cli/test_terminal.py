"""With a person at a terminal: what is asked, what is not shown, what moves."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from tests.repo.files import ROOT
from tests.vcd.cli.house import Daemon, daemon_at, example
from vcd.rpc import samples

pytestmark = pytest.mark.slow


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, home: Path, *argv: str) -> None:
        self._ours, theirs = pty.openpty()
        environ = {**os.environ, "VCD_HOME": str(home), "TERM": "xterm", "COLUMNS": "120"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vcd.cli", *argv],
            cwd=ROOT,
            env=environ,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def until(self, what: str | Callable[[str], bool]) -> None:
        """A text, or what looks at all that was shown."""

        def there() -> bool:
            return what in self.shown if isinstance(what, str) else what(self.shown)

        ends = time.monotonic() + 30
        while not there():
            assert time.monotonic() < ends, self.shown
            if select.select([self._ours], [], [], 0.2)[0] and not self._read():
                assert there(), self.shown

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # so ends a terminal
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def type(self, text: str) -> None:
        self.press(f"{text}\n")

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does at a terminal that one sits at. Python loses one that comes just before it reads a line."""
        ends = time.monotonic() + 30
        while self._process.poll() is None:
            assert time.monotonic() < ends, self.shown
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2)

    def end(self) -> int:
        ends = time.monotonic() + 30
        while not select.select([self._ours], [], [], 0.2)[0] or self._read():
            assert time.monotonic() < ends, self.shown
        return self._process.wait(30)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(30)
        os.close(self._ours)


@contextmanager
def terminal(home: Path, *argv: str) -> Iterator[Terminal]:
    found = Terminal(home, *argv)
    try:
        yield found
    finally:
        found.close()


def test_a_passphrase_is_not_shown(home: Path) -> None:
    with daemon_at(home, "locked") as daemon:
        daemon.answers["status.get"] = lambda _: example("status.get", state="locked", unlocker="passphrase")
        with terminal(home, "unlock") as screen:
            screen.until("Passphrase: ")
            screen.type("correct horse")
            assert screen.end() == 0
    assert "correct" not in screen.shown
    assert daemon.asked_for("vault.unlock")[0].passphrase == "correct horse"


def test_the_first_passphrase_is_asked_for_twice(home: Path) -> None:
    with daemon_at(home, "locked") as daemon:
        locked = example("status.get", state="locked", unlocker="passphrase", vault_new=True)
        daemon.answers["status.get"] = lambda _: locked
        with terminal(home, "unlock") as screen:
            for number, said in enumerate(["correct horse", "correct hrose", "correct horse", "correct horse"]):
                asked = ("New passphrase: ", "Repeat for confirmation: ")[number % 2]
                screen.until(lambda shown, asked=asked, times=number // 2 + 1: shown.count(asked) == times)  # type: ignore[misc]
                screen.type(said)
            assert screen.end() == 0
    assert "do not match" in screen.shown
    [unlocked] = daemon.asked_for("vault.unlock")
    assert unlocked.passphrase == "correct horse"


def test_recovery_words_are_not_shown(daemon: Daemon) -> None:
    daemon.without_account()
    with terminal(daemon.home, "init", "--recover") as screen:
        screen.until("(they are not shown): ")  # with the last blank, it listens
        screen.type(" ".join(samples.WORDS))
        assert screen.end() == 0
    assert "abandon" not in screen.shown
    assert daemon.asked_for("account.recover")[0].words == samples.WORDS


def test_words_stay_until_they_are_written_down(daemon: Daemon) -> None:
    with terminal(daemon.home, "init") as screen:
        screen.until("Press Enter")
        assert "abstract" in screen.shown
        screen.type("")
        assert screen.end() == 0


@pytest.mark.parametrize(("said", "code"), [("y", 0), ("n", 130)])
def test_what_cannot_be_undone_is_asked(daemon: Daemon, said: str, code: int) -> None:
    with terminal(daemon.home, "device", "remove", "laptop") as screen:
        screen.until("for good? [y/N]")
        screen.type(said)
        assert screen.end() == code
    assert len(daemon.asked_for("device.remove")) == (code == 0)


@pytest.mark.parametrize(("said", "code"), [("y", 0), ("n", 1)])
def test_two_screens_are_compared(daemon: Daemon, said: str, code: int) -> None:
    daemon.answers["pair.confirm"] = lambda _: example("pair.confirm", step="finished")
    with terminal(daemon.home, "device", "add") as screen:
        screen.until("show exactly that?")
        assert "otter 4821" in screen.shown
        screen.type(said)
        assert screen.end() == code
    assert len(daemon.asked_for("pair.confirm")) == (code == 0)
    assert len(daemon.asked_for("pair.cancel")) == (code == 1)


def test_with_json_a_question_still_says_what_to_compare(daemon: Daemon) -> None:
    daemon.answers["pair.get"] = lambda _: example("pair.get", step="comparing")
    with terminal(daemon.home, "device", "confirm", "--json") as screen:
        screen.until("show exactly that? [y/N]")
        assert "otter 4821" in screen.shown
        screen.type("n")
        assert screen.end() == 1
    with terminal(daemon.home, "contact", "verify", "Bob", "--json") as screen:
        screen.until("[y/N]")
        assert screen.shown.count(samples.FINGERPRINT) == 2  # the safety number's example is the same
        screen.type("n")
        assert screen.end() == 130
    assert daemon.asked_for("contact.verify") == []


def test_what_takes_long_is_counted(daemon: Daemon) -> None:
    counted = trio.Event()

    async def slow() -> object:
        await counted.wait()
        return example("device.list")

    daemon.answers["device.list"] = lambda _: slow()
    with terminal(daemon.home, "device", "list") as screen:
        screen.until(lambda shown: len(set(re.findall(r"Waiting for the daemon \.\.\. (\d+) s", shown))) > 1)
        daemon.do(lambda _: counted.set())
        assert screen.end() == 0
    assert screen.shown.rstrip().endswith("lets in others")
