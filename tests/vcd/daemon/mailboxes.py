"""A mailbox as a process of its own, in a home of its own, on loopback."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vcd.daemon.process import SETTINGS, Daemon, until

RUN = "import sys; from vcd.daemon.mailbox import main; sys.exit(main(sys.argv[1:]))"


def settings(tenants: Sequence[str], home: Path, *, port: str = "0", more: str = "") -> str:
    named = ", ".join(f'"{each}"' for each in tenants)
    listen = SETTINGS.partition("\n[node]")[0].replace("tcp/0", f"tcp/{port}")
    numbers = f'[metrics]\ntextfile = "{home}/numbers.prom"\nevery = "1 s"\n'
    return f"{listen}\n[mailbox]\ntenants = [{named}]\n{more}\n{numbers}"


@dataclass
class Box(Daemon):
    """One, running or not. It has no sockets: what it says stands in its log and its numbers."""

    program: str = RUN
    tenants: tuple[str, ...] = ()
    more: str = ""

    @property
    def numbers(self) -> Path:
        return self.home / "numbers.prom"

    @property
    def addresses(self) -> list[str]:
        return [line.split()[1] for line in self.log.splitlines() if line.startswith("mailbox /")]

    def configure(self) -> None:
        port = self.addresses[-1].split("/")[4] if (self.home / "log").exists() and self.addresses else "0"
        text = settings(self.tenants, self.home, port=port, more=self.more)
        (self.home / "vcd.toml").write_text(text, encoding="utf-8")

    def start(self, *more: str, ready: bool = True) -> None:
        self.configure()
        before = len(self.addresses) if (self.home / "log").exists() else 0
        super().start(*more, ready=False)
        if ready:
            until(lambda: self.lives() and len(self.addresses) > before)

    def lives(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log
        return True

    def admit(self, *tenants: str) -> None:
        """Other tenants, in the one that runs."""
        assert self.process is not None
        self.tenants = tenants
        self.configure()
        said = self.log.count(" tenants")
        os.kill(self.process.pid, signal.SIGHUP)
        until(lambda: self.log.count(" tenants") > said)

    def number(self, name: str) -> int:
        """Of those that it wrote last; -1 if there are none."""
        try:
            lines = self.numbers.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return -1
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), -1)
