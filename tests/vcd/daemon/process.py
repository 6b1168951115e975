"""Daemons as processes of their own, each in a home of its own, on loopback; and clients of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from vcd.client import Client, Event, Unavailable

T = TypeVar("T")
D = TypeVar("D", bound="Daemon")

RUN = "import sys; from vcd.main import main; sys.exit(main(sys.argv[1:]))"
SETTINGS = """version = 1

[network]
listen = ["/ip4/127.0.0.1/tcp/0"]
mdns = false
loopback_addresses = true

[node]
quiet = "300 ms"
turn_taking = "1 s"
"""
PATIENCE = 30.0


@dataclass
class Daemon:
    """One, running or not."""

    home: Path
    process: subprocess.Popen[bytes] | None = None
    clients: list[Client] = field(default_factory=list)
    program: str = RUN

    @property
    def log(self) -> str:
        return (self.home / "log").read_text(encoding="utf-8", errors="replace")

    def environment(self) -> dict[str, str]:
        gone = ("VCD_", "NOTIFY_", "LISTEN_", "JOURNAL_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(gone)}
        return {**kept, "VCD_HOME": str(self.home)}

    def start(self, *more: str, ready: bool = True) -> None:
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", self.program, *more],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stderr=log,
                stdout=log,
            )
        if ready:
            self.until_state("ready")

    def client(self, kind: str = "admin") -> Client:
        made = Client(str(self.home / "run" / f"{kind}.sock"), name="test")
        self.clients.append(made)
        return made

    def call(self, method: str, /, **params: Any) -> Any:
        if not self.clients:
            self.client()
        return self.clients[0].call(method, **params)

    def until_state(self, *states: str) -> str:
        """Wait for one of these; a daemon that ended meanwhile fails with what it said."""

        def look() -> str | None:
            state: str = self.status().get("state", "")
            return state if state in states else None

        return until(look)

    def status(self) -> dict[str, Any]:
        """Empty while nobody answers."""
        assert self.process is None or self.process.poll() is None, self.log
        try:
            found: dict[str, Any] = self.call("status.get")
        except Unavailable:
            return {}
        return found

    def end(self, number: int = signal.SIGTERM, *, code: int = 0) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        assert self.process.wait(PATIENCE) == code, self.log
        self.process = None

    def heard(self, chat: bytes) -> list[bytes]:
        return [each["data"] for each in self.call("msg.list", chat=chat, most=500)["messages"]]

    def events(self, *types: str) -> list[Event]:
        """All until now."""
        found: list[Event] = []
        at = 1
        while True:
            page = self.call("events.next", max=1000, **{"from": at}, **({"types": list(types)} if types else {}))
            found += [Event(**{"chat": None, **each}) for each in page["events"]]
            if page["next"] > page["last"]:
                return found
            at = page["next"]


def until(look: Callable[[], T | None], within: float = PATIENCE) -> T:
    """The first that is something."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@contextmanager
def home(path: Path, settings: str = SETTINGS) -> Iterator[Daemon]:
    """A daemon that is not started yet; whatever runs is killed at the end."""
    with of_kind(Daemon, path, settings) as daemon:
        yield daemon


@contextmanager
def of_kind(kind: type[D], path: Path, settings: str = SETTINGS) -> Iterator[D]:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    (path / "vcd.toml").write_text(settings, encoding="utf-8")
    daemon = kind(path)
    try:
        yield daemon
    finally:
        for client in daemon.clients:
            client.close()
        if daemon.process is not None:
            daemon.process.kill()
            daemon.process.wait()
