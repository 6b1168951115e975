"""Somebody at terminals: several devices in one temporary folder, each with a home of its own, on loopback.

The programs run on real terminals, so they ask as they would ask a person; the guide shows what is typed.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.docs.guide import Block, Step
from tests.docs.shown import Names, lines

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 30.0
_ASKED = re.compile(r"^(.*(?:\[y/N\]:|down\.|not shown\):))( .*)?$")
_WORDS = re.compile(r"\b(\d{1,2}) ([a-z]+)(?=\s|$)")
_PROGRAM = '#!/bin/sh\nexec "{python}" {what} "$@"\n'


class Differs(AssertionError):
    """The guide shows one thing, and another one happened."""


class Running:
    """A command on a terminal of its own."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 60, 200, 0, 0))
        self._terminal = ours
        self._raw = b""
        self.process = subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.taken = 0
        """Lines that the guide has shown already."""

    def _read(self) -> None:
        while True:
            try:
                more = os.read(self._terminal, 65536)
            except OSError:  # what Linux says when the other end is closed
                return
            if not more:
                return
            self._raw += more

    def printed(self) -> list[str]:
        return lines(self._raw.decode(errors="replace"))[self.taken :]

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode() + b"\n")

    def ended(self) -> int:
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._reader.join(PATIENCE)
        os.close(self._terminal)


class Desk:
    """All devices of a guide."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = Names()
        self._words: dict[str, dict[int, str]] = {}
        """The recovery words of each person, who wrote them down."""
        self._there: dict[tuple[str, str], Running] = {}
        self._exported: dict[tuple[str, str], dict[str, str]] = {}
        self._all: list[Running] = []
        (folder / "bin").mkdir()
        for name, what in (("vcd", "-m vcd.cli"), ("python", "")):
            program = folder / "bin" / name
            program.write_text(_PROGRAM.format(python=sys.executable, what=what), encoding="utf-8")
            program.chmod(0o755)

    def home(self, device: str) -> Path:
        made = self._folder / device
        for each in (made, made / "run"):
            each.mkdir(mode=0o700, exist_ok=True)
        return made

    def do(self, block: Block) -> None:
        try:
            self._do(block)
        except Differs as differs:
            raise Differs(f"line {block.line}: {differs}") from None

    def _do(self, block: Block) -> None:
        if block.reason:
            return
        if block.file:
            path = self.home(block.device) / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.body, encoding="utf-8")
            return
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._once(block)
            except Differs:
                if not block.soon or time.monotonic() > end:
                    raise
                time.sleep(0.2)
            else:
                return

    def _once(self, block: Block) -> None:
        steps = block.steps()
        for number, step in enumerate(steps):
            last = number == len(steps) - 1
            self._step(block, step, stays=block.stays and last, code=block.code if last else 0)

    def _step(self, block: Block, step: Step, *, stays: bool, code: int) -> None:
        place = (block.device, block.terminal)
        home = self.home(block.device)
        if step.command is None:
            running = self._there[place]
        elif step.command.startswith("export ") and "\n" not in step.command:
            name, _, value = step.command.removeprefix("export ").partition("=")
            said = subprocess.check_output(
                ["bash", "-c", f"printf %s {value}"], cwd=home, env=self._environment(place), text=True
            )
            self._exported.setdefault(place, {})[name] = said
            return
        else:
            running = Running(self._names.real(step.command), home, self._environment(place))
            self._all.append(running)
        self._told(running, step.shown, block.device, stays=stays)
        if stays:
            self._there[place] = running
            return
        ended = running.ended()
        self._there.pop(place, None)
        stopped = "^C" in step.shown and ended in {130, -signal.SIGINT}
        if ended != code and not stopped:
            raise Differs(f"{step.command} exits with {ended}: {running.printed()}")

    def _environment(self, place: tuple[str, str]) -> dict[str, str]:
        home = self.home(place[0])
        return {
            "PATH": f"{self._folder / 'bin'}:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(home / "run"),
            "TZ": "UTC",
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            # loopback alone; the guides are about any network
            "VCD_NETWORK_LISTEN": '["/ip4/127.0.0.1/tcp/0"]',
            "VCD_NETWORK_MDNS": "false",
            "VCD_NETWORK_LOOPBACK_ADDRESSES": "true",
            "VCD_NODE_QUIET": "300 ms",
            "VCD_NODE_TURN_TAKING": "1 s",
            **self._exported.get(place, {}),
        }

    # ---------------------------------------------------------------- what is shown

    def _told(self, running: Running, shown: Sequence[str], device: str, *, stays: bool) -> None:
        waiting: list[str] = []
        for line in shown:
            asked = _ASKED.match(line)
            if line == "^C":
                self._until(running, waiting, device)
                os.killpg(running.process.pid, signal.SIGINT)
                waiting = []
            elif asked is None:
                waiting.append(line)
            else:
                self._until(running, [*waiting, asked.group(1)], device)
                said = (asked.group(2) or "").strip()
                if asked.group(1).startswith("Recovery words"):
                    said = " ".join(word for _, word in sorted(self._words[device.partition("@")[0]].items()))
                running.type(said)
                waiting = []
        if stays:
            self._until(running, waiting, device)
            return
        running.ended()
        printed = self._as_shown(running, device)
        if self._names.match(waiting, printed, whole=bool(waiting)) is None:
            raise Differs(_both(waiting, printed))

    def _until(self, running: Running, shown: Sequence[str], device: str) -> None:
        """It stays, so there may be more."""
        end = time.monotonic() + PATIENCE

        def look() -> bool:
            count = self._names.match(shown, self._as_shown(running, device), whole=False)
            if count is not None:
                self._written_down(device, self._as_shown(running, device)[:count])
                running.taken += count
            return count is not None

        while not look():
            over = running.process.poll() is not None
            if over:
                running.ended()  # with its last words
            if time.monotonic() > end or (over and not look()):
                raise Differs(_both(shown, self._as_shown(running, device)))
            time.sleep(0.02)

    def _written_down(self, device: str, printed: Sequence[str]) -> None:
        if any("recovery words. Write them down" in line for line in printed):
            rows = [line for line in printed if line.startswith("  ")]
            found = {int(number): word for line in rows for number, word in _WORDS.findall(line)}
            self._words[device.partition("@")[0]] = found

    def _as_shown(self, running: Running, device: str) -> list[str]:
        """Where things are on the machine of a reader."""
        home, user = str(self.home(device)), device.partition("@")[0]
        moved = ((f"{home}/run", "/run/user/1000"), (home, f"/home/{user}"))
        printed = "\n".join(running.printed())
        for here, there in moved:
            printed = printed.replace(here, there)
        return printed.split("\n")

    def stop(self) -> None:
        for each in reversed(self._all):
            each.stop()


def _both(shown: Sequence[str], printed: Sequence[str]) -> str:
    both = ["the guide shows", *(f"  | {each}" for each in shown), "there was", *(f"  | {each}" for each in printed)]
    return "\n".join(each[:160] for each in both if "▀" not in each)


@contextmanager
def desk() -> Iterator[Desk]:
    """Not below pytest's folders, whose paths are too long for a socket."""
    with tempfile.TemporaryDirectory(prefix="vcd-docs-") as folder:
        made = Desk(Path(folder))
        try:
            yield made
        finally:
            made.stop()
