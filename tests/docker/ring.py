"""Where nodes live, and what can be done to them. Scenarios know this and no more.

A node is a daemon, a mailbox or somebody hostile, with an address and a folder of its own. The folder is its VCD_HOME,
on this machine, whatever the node lives in: so its socket and its log are read the same way everywhere.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, TypeVar

from tests.docker.story import Story, Watch
from tests.docker.wires import STREET, Cable, Wires
from vcd.client import Client, Event, NotReady, RpcError, Unavailable

T = TypeVar("T")
PORT = 4001
PATIENCE = 90.0
LOOK = 0.1
CALL = 20.0
SAMPLE = 2.0
FILLER = "filler"
"""What fills a disk."""

DEVICE = """
import sys
from vcd.main import main, wall_ms
sys.exit(main([{more}], now_ms=lambda: wall_ms() + {clock}))
"""
MAILBOX = "import sys; from vcd.daemon.mailbox import main; sys.exit(main())"


class Wrong(Exception):
    """Something is not as it should be."""


def until(look: Callable[[], T | None], what: str | Callable[[], str], within: float = PATIENCE) -> T:
    """The first that is something; `what` to say if it is nothing for so long."""
    end = time.monotonic() + within
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise Wrong(what if isinstance(what, str) else what())
        time.sleep(LOOK)


@dataclass
class Node:
    """One, running or not."""

    name: str
    home: Path
    address: str
    network: str = STREET
    program: str = "device"
    """`device`, `mailbox`, or the path of a program of our own."""
    settings: str = ""
    clock: int = 0
    """Milliseconds by which its clock is off."""
    disk: int = 0
    """Bytes that its state may take; 0 for no limit."""
    arguments: tuple[str, ...] = ()
    source: Path | None = None
    """Where vcd's packages are, of another version than this one."""
    running: bool = False
    paused: bool = False
    cable: Cable | None = None
    _client: Client | None = field(default=None, repr=False)

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def log(self) -> str:
        try:
            return (self.home / "log").read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def lines(self) -> Iterator[dict[str, Any]]:
        """Of its log, those that are entries."""
        for line in self.log.splitlines():
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict):
                    yield found

    def command(self, python: str = "python3", folder: str | None = None) -> list[str]:
        """`folder`: where programs of our own are found, in there."""
        match self.program:
            case "device":
                more = ", ".join(repr(each) for each in self.arguments)
                return [python, "-c", DEVICE.format(clock=self.clock, more=more)]
            case "mailbox":
                return [python, "-c", MAILBOX]
            case path:
                return [python, str(Path(folder) / Path(path).name if folder else path), *self.arguments]

    def write_settings(self, more: str = "") -> None:
        new = self.home / "vcd.toml.new"
        new.write_text(self.settings + more, encoding="utf-8")
        new.chmod(0o644)
        new.replace(self.home / "vcd.toml")

    def call(self, method: str, /, timeout: float = CALL, **params: Any) -> Any:
        """A daemon that is just opening its state is waited for, as people would."""
        end = time.monotonic() + PATIENCE
        while True:
            if self._client is None:
                self._client = Client(str(self.home / "run" / "admin.sock"), name="test")
            try:
                return self._client.call(method, timeout=timeout, **params)
            except NotReady:
                if time.monotonic() > end or (self.state / FILLER).exists():
                    raise
                time.sleep(LOOK)

    def hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    def status(self) -> dict[str, Any]:
        """Empty while nobody answers."""
        try:
            found: dict[str, Any] = self.call("status.get")
        except (Unavailable, OSError):
            self.hang_up()
            return {}
        return found

    def ready(self, within: float = PATIENCE) -> None:
        until(lambda: self.status().get("state") == "ready", f"{self.name} is not ready: {self.log[-2000:]}", within)

    def events(self, *types: str) -> list[Event]:
        """All until now."""
        found: list[Event] = []
        at = 1
        chosen: dict[str, Any] = {"types": list(types)} if types else {}
        while True:
            page = self.call("events.next", max=1000, **{"from": at}, **chosen)
            found += [Event(**{"chat": None, **each}) for each in page["events"]]
            if page["next"] > page["last"]:
                return found
            at = page["next"]

    @property
    def numbers(self) -> Path:
        return self.home / "numbers.prom"

    def number(self, name: str) -> int:
        """Of those that a mailbox wrote last; -1 if there are none."""
        try:
            lines = self.numbers.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return -1
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), -1)


class Ring(ABC):
    """What can be done, wherever nodes live. `kind` is the ring's name."""

    kind = ""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.nodes: dict[str, Node] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="vcd-"))
        self.folder.chmod(0o755)
        self._mounted: list[Path] = []
        try:
            self.wires = Wires()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        self._watch: Watch | None = None

    def __enter__(self) -> Self:
        self._watch = Watch(self._sample, SAMPLE)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing is left of it."""
        if self._watch is not None:
            self._watch.close()
        for node in self.nodes.values():
            node.hang_up()
            if node.running:
                with suppress(Exception):  # it may be gone, and the rest has to go as well
                    self._signal(node, signal.SIGKILL)
                    self._ended(node)
        self._closed()
        self.wires.close()
        for path in reversed(self._mounted):
            subprocess.run(["umount", "--lazy", str(path)], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ---------------------------------------------------------------- of each ring

    @abstractmethod
    def _run(self, node: Node) -> None:
        """Start its process, where it lives."""

    @abstractmethod
    def _signal(self, node: Node, number: signal.Signals) -> None: ...

    @abstractmethod
    def _ended(self, node: Node) -> int:
        """Wait until its process ended; its exit code."""

    @abstractmethod
    def process(self, node: Node) -> int:
        """The number of its process on this machine; 0 if there is none."""

    @abstractmethod
    def _settle(self, node: Node) -> None:
        """A new node: make the place where it is to live."""

    @abstractmethod
    def _closed(self) -> None:
        """Take away what the ring made."""

    def look_back(self) -> None:
        """Into the story goes what each node says of what happened, and how it stands."""
        for node in self.nodes.values():
            if node.program == "mailbox" or not node.running or node.paused:
                continue
            found: dict[str, Any] = {}
            self.story.stands[node.name] = found
            with suppress(RpcError, Unavailable, OSError):
                found["status"] = node.call("status.get")
                found["problems"] = node.call("health.list")["problems"]
                found["chats"] = [node.call("chat.get", chat=each["chat"]) for each in node.call("chat.list")["chats"]]
                found["graphs"] = [node.call("chat.graph", chat=each["chat"]) for each in found["chats"]]
                found["metrics"] = node.call("metrics.get")["text"]
                found["devices"] = node.call("device.list")
                found["events"] = [each._asdict() for each in node.events()]

    # ---------------------------------------------------------------- nodes

    def home_of(self, node: Node) -> str:
        """As the node itself calls its folder."""
        return str(node.home)

    def more_settings(self, node: Node) -> str:
        """What nodes have to be told to live here."""
        return ""

    def add(self, name: str, *, settings: str, network: str = STREET, program: str = "device", disk: int = 0) -> Node:
        """A new one, not started yet."""
        home = self.folder / name
        home.mkdir(mode=0o700)
        node = Node(name, home, self.wires.address(network), network, program, settings, disk=disk)
        self.nodes[name] = node
        node.state.mkdir(mode=0o700)
        if disk:
            self._limit(node)
        self._settle(node)
        return node

    def start(self, *nodes: Node, ready: bool = True) -> None:
        for node in nodes:
            node.write_settings(self.more_settings(node))
            again = bool(node.log)
            self._run(node)
            node.running = True
            self.story.tell("mended" if again else "step", "started again" if again else "started", node.name)
        if ready:
            for node in nodes:
                if node.program != "mailbox":
                    node.ready()

    def stop(self, *nodes: Node) -> None:
        """As a service manager does."""
        for node in nodes:
            self._signal(node, signal.SIGTERM)
        for node in nodes:
            code = self._ended(node)
            self._away(node, "stopped")
            if code:
                raise Wrong(f"{node.name} ended with {code}: {node.log[-2000:]}")

    def kill(self, *nodes: Node) -> None:
        for node in nodes:
            self._signal(node, signal.SIGKILL)
        for node in nodes:
            self._ended(node)
            self._away(node, "killed")

    def _away(self, node: Node, how: str) -> None:
        node.running = False
        node.hang_up()
        self.story.tell("fault", how, node.name)

    def pause(self, *nodes: Node) -> None:
        for node in nodes:
            self._signal(node, signal.SIGSTOP)
            node.paused = True
            node.hang_up()
            self.story.tell("fault", "paused", node.name)

    def resume(self, *nodes: Node) -> None:
        for node in nodes:
            self._signal(node, signal.SIGCONT)
            node.paused = False
            self.story.tell("mended", "resumed", node.name)

    def reload(self, node: Node, settings: str) -> None:
        node.settings = settings
        node.write_settings(self.more_settings(node))
        if node.running:
            self._signal(node, signal.SIGHUP)

    # ---------------------------------------------------------------- the network

    def _cable(self, node: Node) -> Cable:
        if node.cable is None:
            raise ValueError(f"{node.name} has no cable: it does not run")
        return node.cable

    def cut(self, *sides: Sequence[Node]) -> None:
        self.wires.cut([[self._cable(node) for node in side] for side in sides])
        words = " | ".join(" ".join(node.name for node in side) for side in sides)
        self.story.tell("fault", f"cut: {words}", *[node.name for side in sides for node in side])

    def join(self) -> None:
        self.wires.join()
        self.story.tell("mended", "no cut any more", *[each.name for each in self.nodes.values() if each.cable])

    def rough(self, *nodes: Node, loss: float, delay_ms: int) -> None:
        for node in nodes:
            self.wires.rough(self._cable(node), loss=loss, delay_ms=delay_ms)
            self.story.tell("fault", f"{loss:.0%} of its packets lost, {delay_ms} ms late", node.name)

    def fair(self, *nodes: Node) -> None:
        for node in nodes:
            self.wires.fair(self._cable(node))
            self.story.tell("mended", "fair weather", node.name)

    # ---------------------------------------------------------------- disks

    def _limit(self, node: Node) -> None:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={node.disk},mode=0700", "vcd", str(node.state)],
            check=True,
            capture_output=True,
        )
        self._mounted.append(node.state)

    def fill(self, node: Node) -> None:
        """No byte is left."""
        with (node.state / FILLER).open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        self.story.tell("fault", "its disk is full", node.name)

    def empty(self, node: Node) -> None:
        """There is room again."""
        (node.state / FILLER).unlink()
        self.story.tell("mended", "its disk has room", node.name)

    def lose_disk(self, node: Node, *, keep: Sequence[str] = ()) -> None:
        """Of a node that does not run: its state is gone, but for these files."""
        for path in node.state.iterdir():
            if path.name in keep:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        self.story.tell("fault", "lost its disk", node.name)

    # ---------------------------------------------------------------- clocks, memory, time

    def set_clock(self, node: Node, off: int) -> None:
        """Of a node that does not run, in milliseconds."""
        node.clock = off
        words = f"its clock is off by {off / 3_600_000:g} h" if off else "its clock is right"
        self.story.tell("fault" if off else "mended", words, node.name, off=off / 1000)

    def cpu(self, node: Node) -> float:
        """Seconds of a processor that it has had."""
        text = Path(f"/proc/{self.process(node)}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(text[11]) + int(text[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, node: Node) -> int:
        """Bytes that it takes now."""
        process = self.process(node)
        try:
            text = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
        except OSError:
            return 0
        return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def _sample(self) -> None:
        for node in list(self.nodes.values()):
            size = self.memory(node) if node.running else 0
            if size:
                self.story.took(node.name, self.process(node), size)
