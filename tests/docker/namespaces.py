"""The ring of network namespaces: a process for each node, in a namespace that has one cable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from tests.docker.ring import PATIENCE, Node, Ring
from tests.docker.story import Story
from tests.docker.wires import ROOT
from tests.netns.topology import run

GONE = ("VCD_", "NOTIFY_", "LISTEN_", "JOURNAL_")


class Namespaces(Ring):
    """See above."""

    kind = "namespaces"

    def __init__(self, story: Story) -> None:
        super().__init__(story)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def _settle(self, node: Node) -> None:
        namespace = self._namespace(node)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        node.cable = self.wires.cable(namespace, node.network, node.address)

    def _namespace(self, node: Node) -> str:
        return f"{self.wires.namespace}-{node.name}"

    def _run(self, node: Node) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(GONE)}
        with (node.home / "log").open("ab") as log:
            self._processes[node.name] = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self._namespace(node)}", *node.command(sys.executable)],
                env={**kept, "VCD_HOME": str(node.home), "PYTHONPATH": str(node.source or ROOT)},
                cwd=node.source or ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _signal(self, node: Node, number: signal.Signals) -> None:
        self._processes[node.name].send_signal(number)

    def _ended(self, node: Node) -> int:
        return self._processes[node.name].wait(PATIENCE)

    def process(self, node: Node) -> int:
        process = self._processes.get(node.name)
        return process.pid if process is not None and process.poll() is None else 0

    def _closed(self) -> None:
        for node in self.nodes.values():
            subprocess.run(["ip", "netns", "del", self._namespace(node)], capture_output=True, check=False)
