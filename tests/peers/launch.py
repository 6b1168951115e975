"""Starts peers as child processes, one process group each, and ends them by the ids it was given.

`ours` is this project's own server, `js` is ts-mls under node, `rust` is mls-rs built by cargo. A peer whose
toolchain or packages are not there raises UnavailableError with the reason, which a test turns into a loud
skip; a peer that is there and does not come up raises PeerDiedError, which nothing turns into a skip.

The clients of docs/clients.md speak to the daemon's socket, and are started by tests/vcd/client.

js-libp2p and go-libp2p are peers of the mesh, not of MLS: they are made ready here and started by tests/mesh. OpenMLS
speaks more than the interop interface knows, and is started by tests/peers/openmls_peer.py.

`python -m tests.peers.launch js rust go` installs and builds what peers in these languages need, ahead of the
tests.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.peers.runner import Peer, connect
from tests.peers.stubs import RpcError

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
JS = HERE / "js"
RUST = HERE / "rust"
OPENMLS = HERE / "openmls"
LIBP2P_JS = HERE / "libp2p_js"
LIBP2P_GO = HERE / "libp2p_go"
CLIENT_JS = HERE / "rpc_js"
CLIENT_GO = HERE / "rpc_go"
CLIENT_RUST = HERE / "rpc_rust"

# How long a package manager, a compiler and a starting peer may take, in seconds.
NPM_LIMIT = 300
CARGO_LIMIT = 1800
GO_LIMIT = 900
START_LIMIT = 30
STOP_LIMIT = 5


class UnavailableError(Exception):
    """This machine does not have what the peer is made with."""


class PeerDiedError(Exception):
    """The peer was started and is not answering."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A peer that answers."""

    name: str
    address: str
    process_id: int


def _tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise UnavailableError(f"{name} is not installed")
    return path


def _tail(text: str, lines: int = 12) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def _end(process: subprocess.Popen[str]) -> None:
    """End a child and what it started: its process group has its id, and is ours alone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, number)
            process.wait(STOP_LIMIT)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def _prepare(command: Sequence[str], folder: Path, limit: float, environment: dict[str, str]) -> None:
    """Run an installer or a compiler; whatever it cannot do makes the peer unavailable."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{' '.join(command[-2:])} took longer than {limit:.0f} s") from None
        finally:
            _end(process)
        if code != 0:
            output.seek(0)
            raise UnavailableError(f"{command[0]} exited with {code}:\n{_tail(output.read())}")


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """One process at a time: two test workers must not install into the same folder."""
    digest = hashlib.sha256(str(HERE).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"vcd-peers-{os.getuid()}-{name}-{digest}.lock"
    with path.open("w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ours() -> list[str]:
    return [sys.executable, "-m", "tests.peers.mls_client"]


def _node(folder: Path, name: str) -> list[str]:
    """`npm ci` when there are no packages yet or the lock file has changed since they were put there."""
    node, npm = _tool("node"), _tool("npm")
    lock, manifest = folder / "package-lock.json", folder / "package.json"
    wanted = hashlib.sha256(lock.read_bytes() + manifest.read_bytes()).hexdigest()
    mark = folder / "node_modules" / ".vcd-installed"
    with _alone(name):
        if not mark.is_file() or mark.read_text(encoding="ascii") != wanted:
            _prepare([npm, "ci", "--no-audit", "--no-fund"], folder, NPM_LIMIT, {})
            mark.write_text(wanted, encoding="ascii")
    return [node, str(folder / "main.mjs")]


def _js() -> list[str]:
    return _node(JS, "js")


def js_command(script: str) -> list[str]:
    """What runs another of the js peer's scripts, with the peer's packages in place."""
    return [_js()[0], str(JS / script)]


def js_libp2p() -> list[str]:
    """What runs the js-libp2p node, with its packages in place."""
    return _node(LIBP2P_JS, "libp2p-js")


def go_libp2p() -> list[str]:
    """What runs the go-libp2p node."""
    return _go(LIBP2P_GO, "libp2p-go", "vcd-peer-go-libp2p")


def _go(folder: Path, name: str, program: str) -> list[str]:
    """`go build`, which does nothing when nothing has changed."""
    go = _tool("go")
    path = folder / "build" / program
    with _alone(name):
        _prepare([go, "build", "-mod=readonly", "-trimpath", "-o", str(path), "."], folder, GO_LIMIT, {})
    return [str(path)]


def _cargo(folder: Path, name: str, program: str) -> list[str]:
    """`cargo build`, which does nothing when nothing has changed. Cargo.toml pins the versions; no lock is kept."""
    cargo = _tool("cargo")
    if not (folder / "Cargo.toml").is_file():
        raise UnavailableError(f"{folder} is not there")
    target = Path(os.environ.get("CARGO_TARGET_DIR") or folder / "target").absolute()
    with _alone(name):
        environment = {"CARGO_TARGET_DIR": str(target)}
        _prepare([cargo, "build", "--release"], folder, CARGO_LIMIT, environment)
    return [str(target / "release" / program)]


def _rust() -> list[str]:
    return _cargo(RUST, "rust", "vcd-peer-mls-rs")


def openmls() -> list[str]:
    """What runs OpenMLS."""
    return _cargo(OPENMLS, "openmls", "vcd-peer-openmls")


def client_js() -> list[str]:
    """What runs the JavaScript client of docs/clients.md."""
    return _node(CLIENT_JS, "client-js")


def client_go() -> list[str]:
    """What runs the Go client of docs/clients.md."""
    return _go(CLIENT_GO, "client-go", "vcd-client-go")


def client_rust() -> list[str]:
    """What runs the Rust client of docs/clients.md."""
    return _cargo(CLIENT_RUST, "client-rust", "vcd-client-rust")


_COMMANDS: dict[str, Callable[[], list[str]]] = {"ours": _ours, "js": _js, "rust": _rust}


_NEEDED: dict[str, Sequence[Callable[[], list[str]]]] = {
    "ours": [_ours],
    "js": [_js, js_libp2p, client_js],
    "rust": [_rust, openmls, client_rust],
    "go": [go_libp2p, client_go],
}
"""What is made ready for the peers of a language."""


def _port_said(process: subprocess.Popen[str], said: Path, log: Path, name: str) -> int:
    """Wait for `listening N` on the peer's output."""
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline:
        for line in said.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
            if line.startswith("listening ") and line.endswith("\n"):
                return int(line.split()[1])
        if process.poll() is not None:
            tail = _tail(log.read_text(encoding="utf-8", errors="replace"))
            raise PeerDiedError(f"{name} exited with {process.returncode}:\n{tail}")
        time.sleep(0.02)
    raise PeerDiedError(f"{name} did not say `listening N` within {START_LIMIT} s")


@contextmanager
def started(name: str, *, arguments: Sequence[str] = ()) -> Iterator[Running]:
    """Start the peer and end it when the block ends. What it wrote is shown if it failed to come up."""
    command = [*_COMMANDS[name](), "--port", "0", *arguments]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"vcd-peer-{name}-")))
        said, log = folder / "stdout", folder / "stderr"
        out = stack.enter_context(said.open("w", encoding="utf-8"))
        err = stack.enter_context(log.open("w", encoding="utf-8"))
        try:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            raise UnavailableError(f"{command[0]}: {error.strerror}") from None
        stack.callback(_end, process)
        address = f"127.0.0.1:{_port_said(process, said, log, name)}"
        try:
            connect(name, address, deadline=START_LIMIT).client.close()
        except RpcError as error:
            tail = _tail(log.read_text(encoding="utf-8", errors="replace"))
            raise PeerDiedError(f"{name} listens and does not answer: {error}\n{tail}") from None
        yield Running(name=name, address=address, process_id=process.pid)


@contextmanager
def connected(name: str) -> Iterator[Peer]:
    """Start the peer and connect to it."""
    with started(name) as running:
        peer = connect(name, running.address)
        try:
            yield peer
        finally:
            peer.client.close()


def main(names: Sequence[str]) -> int:
    """Prepare these peers, or all; 1 if one of them cannot be had."""
    code = 0
    for name in names or _NEEDED:
        began = time.monotonic()
        try:
            for make_ready in _NEEDED[name]:
                make_ready()
        except UnavailableError as error:
            print(f"{name}: unavailable: {error}")
            code = 1
        else:
            print(f"{name}: ready after {time.monotonic() - began:.1f} s")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
