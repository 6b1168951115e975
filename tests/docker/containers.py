"""The ring of containers: one for each node, of the image that the Dockerfile makes, on networks without a way out.

Each container has its node's folder mounted at /vcd, so that its sockets, its settings and its state are where tests
look for them; the daemon in there lets root in, who is outside. What it says on its standard error is its log, as in
the other ring. A container is made anew when it is to run something else; otherwise it is started again.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from tests.docker.engine import IMAGE, USER, Engine, NoEngine
from tests.docker.ring import PATIENCE, Node, Ring, until
from tests.docker.story import Story
from tests.docker.wires import PREFIX
from tests.netns.topology import run

INSIDE = "/vcd"
PROGRAMS, OTHER = "/programs", "/other"
ROOT_TOO = '\n[rpc]\nadmin_users = ["root"]\n'


class Containers(Ring):
    """See above."""

    kind = "containers"

    def __init__(self, story: Story) -> None:
        super().__init__(story)
        self._attached: dict[str, subprocess.Popen[bytes]] = {}
        self._made: dict[str, list[str]] = {}
        self._processes: dict[str, int] = {}
        self._engine: Engine | None = None
        try:
            run("mount", "--bind", str(self.folder), str(self.folder))
            self._mounted.append(self.folder)
            run(
                "mount", "--make-shared", str(self.folder)
            )  # the engine sees what is mounted in there later, as small disks
            self._engine = Engine(self.wires, self.folder / "engine")
            self._engine.image()
            for network, prefix in PREFIX.items():
                self._engine.docker(
                    *("network", "create", f"--subnet={prefix}.0/24", f"--gateway={prefix}.1"),
                    *("--opt", f"com.docker.network.bridge.name={network}", network),
                )
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            raise NoEngine("it is closed")
        return self._engine

    def home_of(self, node: Node) -> str:
        return INSIDE

    def more_settings(self, node: Node) -> str:
        return ROOT_TOO if node.program != "mailbox" else ""

    def _settle(self, node: Node) -> None:
        """All of it is made at the first start, as its program may not be known before."""

    def _run(self, node: Node) -> None:
        for path in (node.home, *node.home.rglob("*")):
            if path.name != "log":
                os.chown(path, USER, USER)
        command = self._command(node)
        if self._made.get(node.name) != command:
            with suppress(NoEngine):
                self.engine.docker("rm", "--force", node.name)
            self.engine.docker(
                *("create", "--name", node.name, "--hostname", node.name, "--network", node.network),
                *("--ip", node.address, "--volume", f"{node.home}:{INSIDE}", "--cap-drop=ALL", "--restart=no"),
                *("--security-opt=no-new-privileges", "--entrypoint", command[0]),
                *(
                    ()
                    if node.source is None
                    else ("--volume", f"{node.source}:{OTHER}:ro", "--env", f"PYTHONPATH={OTHER}")
                ),
                *("--volume", f"{Path(__file__).parent}:{PROGRAMS}:ro", IMAGE, *command[1:]),
            )
            self._made[node.name] = command
        self._attached[node.name] = self.engine.start(node.name, node.home / "log")
        until(lambda: self._pid(node) > 0 or self._over(node), f"the container {node.name} does not start")
        self._plugged(node)

    def _command(self, node: Node) -> list[str]:
        """As people start it, where that does."""
        if node.program == "device" and not node.clock and node.source is None:
            return ["vcd", "run", *node.arguments]
        if node.program == "mailbox":
            return ["vcd", "mailbox", "run"]
        return node.command("python3", PROGRAMS)

    def _pid(self, node: Node) -> int:
        said = self.engine.docker("inspect", "--format", "{{.State.Pid}}", node.name)
        self._processes[node.name] = int(said)
        return int(said)

    def _over(self, node: Node) -> bool:
        return self._attached[node.name].poll() is not None

    def _plugged(self, node: Node) -> None:
        """Its end of the cable is new with each start; on which side of a cut it is stays."""
        before = node.cable
        if before is not None:
            self.wires.gone(before)
        pid = self._processes[node.name]
        if pid == 0:
            return
        said = run("nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "link", "show", "eth0")
        peer = int(said.partition("@if")[2].partition(":")[0])
        links = self.wires.ip("-o", "link").splitlines()
        port = next(each for each in links if each.startswith(f"{peer}:")).split()[1].partition("@")[0]
        node.cable = self.wires.known(port, node.network, where=before.where if before is not None else "")

    def _signal(self, node: Node, number: signal.Signals) -> None:
        match number:
            case signal.SIGSTOP:
                self.engine.docker("pause", node.name)
            case signal.SIGCONT:
                self.engine.docker("unpause", node.name)
            case _:
                self.engine.docker("kill", f"--signal={number.name}", node.name)

    def _ended(self, node: Node) -> int:
        self._attached[node.name].wait(PATIENCE)
        self._processes.pop(node.name, None)
        return int(self.engine.docker("inspect", "--format", "{{.State.ExitCode}}", node.name))

    def process(self, node: Node) -> int:
        return self._processes.get(node.name, 0)

    def _closed(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        for node in self.nodes.values():
            with suppress(NoEngine):
                engine.docker("rm", "--force", node.name)
        for process in self._attached.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            if process.poll() is None:
                process.kill()
                process.wait()
        engine.close()
        shutil.rmtree(self.folder / "engine", ignore_errors=True)
