"""A daemon that answers from the table's examples, on real sockets, in a thread; and `vcd` run against it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import trio

from tests.repo.files import ROOT
from tests.vcd.rpc.house import House, opened
from vcd.cli import main
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.table import BUILT_IN, FUNCTIONS
from vcd.rpc.values import State

Answer = Callable[[Any], Any]
"""From parameters to a result; it may raise a Failure."""


def example(method: str, **changes: Any) -> Any:
    """The example's result, with some fields otherwise."""
    return msgspec.structs.replace(FUNCTIONS[method].example[1], **changes)


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    params: Any
    socket: str
    request_id: bytes | None


class Daemon:
    """Its home is a folder, as VCD_HOME names it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.answers: dict[str, Answer] = {}
        """In place of the examples."""
        self.asked: list[Asked] = []
        self.entries = 30
        self._thread: threading.Thread | None = None

    def start(self, state: State = "ready") -> None:
        ready = threading.Event()

        async def answered(call: Call, params: Any) -> Any:
            self.asked.append(Asked(call.method, params, call.socket, call.request_id))
            await trio.lowlevel.checkpoint()
            if call.method in self.answers:
                done = self.answers[call.method](params)
                return await done if hasattr(done, "__await__") else done
            if call.method == "status.get" and state != "ready":
                return example("status.get", state=state, account=None, device=None, backlog=None, log=None)
            return FUNCTIONS[call.method].example[1]

        async def run() -> None:
            handlers = {name: answered for name in FUNCTIONS if name not in BUILT_IN}
            async with opened(self.home / "run", handlers, state=state, bound=500) as house:
                for _ in range(self.entries):
                    house.journal.add()
                self.house, self._token, self._over = house, trio.lowlevel.current_trio_token(), trio.Event()
                ready.set()
                await self._over.wait()

        self._thread = threading.Thread(target=lambda: trio.run(run))
        self._thread.start()
        assert ready.wait(20)

    def stop(self) -> None:
        if self._thread is not None:
            self.do(lambda _: self._over.set())
            self._thread.join(20)
            self._thread = None

    def without_account(self) -> None:
        """Of the examples most are of a device that has one."""
        self.answers["status.get"] = lambda _: example("status.get", account=None, device=None)

    def do(self, what: Callable[[House], Any]) -> Any:
        return trio.from_thread.run_sync(what, self.house, trio_token=self._token)

    def asked_for(self, method: str) -> list[Any]:
        """The parameters of all calls of a function."""
        return [each.params for each in self.asked if each.method == method]


def refusing(code: str, **data: Any) -> Answer:
    def refuse(_params: Any) -> Any:
        raise Failure(code, data=data)

    return refuse


@contextmanager
def daemon_at(home: Path, state: State = "ready") -> Iterator[Daemon]:
    daemon = Daemon(home)
    daemon.start(state)
    try:
        yield daemon
    finally:
        daemon.stop()


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object that was printed."""
        [one] = self.lines
        return one

    @property
    def lines(self) -> list[Any]:
        text = self.out.strip()
        try:
            found = [json.loads(text)]
        except json.JSONDecodeError:
            found = [json.loads(line) for line in text.splitlines()]
        assert all(each["v"] == 1 for each in found)
        return found


def ran(*argv: str, stdin: bytes = b"") -> Ran:
    """In this process; standard input is no terminal."""
    out, err = _stream(), _stream()
    kept, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
            out.flush()
            err.flush()
    finally:
        sys.stdin = kept
    return Ran(code, out.buffer.getvalue().decode(), err.buffer.getvalue().decode())  # type: ignore[attr-defined]


def _stream() -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding="utf-8")


@contextmanager
def secret(text: str) -> Iterator[str]:
    """A descriptor that has it, as `--passphrase-fd` takes one."""
    reading, writing = os.pipe()
    try:
        os.write(writing, text.encode("utf-8", "surrogateescape"))
        os.close(writing)
        yield str(reading)
    finally:
        os.close(reading)


def process(*argv: str, home: Path, environ: Mapping[str, str] | None = None, **settings: Any) -> subprocess.Popen[str]:
    """`vcd` as a program of its own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("VCD_", "XDG_"))}
    return subprocess.Popen(
        [sys.executable, "-m", "vcd.cli", *argv],
        cwd=ROOT,
        env=clean | {"VCD_HOME": str(home), "PYTHONUNBUFFERED": "1"} | dict(environ or {}),
        text=True,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **settings},
    )
