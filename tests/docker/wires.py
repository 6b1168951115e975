"""The networks of a run: bridges in one namespace, cables into it, a NAT, cuts, and bad weather on single cables.

    street    198.51.100.0/24
    home      203.0.113.0/24, masqueraded when it goes to the street; nothing new comes from there
    side1...  where cables of the street are moved when it is cut

The namespace has an address in both networks and no other interface: there is no way out.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.netns.topology import run

ROOT = Path(__file__).parents[2]
STREET, HOME = "street", "home"
PREFIX = {STREET: "198.51.100", HOME: "203.0.113"}
TOOLS = ("ip", "nft", "nsenter", "mount")
NAT = f"""
    table ip nat {{
        chain post {{
            type nat hook postrouting priority 100
            ip saddr {PREFIX[HOME]}.0/24 oifname "{STREET}" masquerade
        }}
        chain through {{
            type filter hook forward priority 0
            iifname "{STREET}" oifname "{HOME}" ct state new drop
        }}
    }}
"""


@dataclass
class Cable:
    """Of one node: `port` is its end in the namespace of the bridges."""

    port: str
    network: str
    where: str = ""
    """The bridge it is plugged into."""
    plug: str = ""
    """What is in the bridge: the port, or the far end of the process that makes the weather."""
    weather: subprocess.Popen[bytes] | None = field(default=None, repr=False)


class Wires:
    """See above."""

    def __init__(self) -> None:
        self.namespace = f"vcd-{secrets.token_hex(3)}"
        self._numbers: Iterator[int] = iter(range(2, 250))
        self._sides = 1
        self.cables: list[Cable] = []
        run("ip", "netns", "add", self.namespace)
        try:
            self.ip("link", "set", "lo", "up")
            for network, prefix in PREFIX.items():
                self._bridge(network)
                self.ip("address", "add", f"{prefix}.1/24", "dev", network)
            run(*self.inside("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"))
            run(*self.inside("nft", "-f", "-"), text=NAT)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        for cable in self.cables:
            if cable.weather is not None:
                cable.weather.kill()
                cable.weather.wait()
        subprocess.run(["ip", "netns", "del", self.namespace], capture_output=True, check=False)

    def ip(self, *arguments: str) -> str:
        return run("ip", "-n", self.namespace, *arguments)

    def inside(self, *command: str) -> tuple[str, ...]:
        """To run this in the namespace of the bridges. The folders stay as they are, unlike with `ip netns exec`."""
        return ("nsenter", f"--net=/run/netns/{self.namespace}", *command)

    def _bridge(self, name: str) -> None:
        self.ip("link", "add", "name", name, "type", "bridge")
        self.ip("link", "set", name, "up")

    def address(self, network: str) -> str:
        """One that nobody has."""
        return f"{PREFIX[network]}.{next(self._numbers)}"

    def cable(self, namespace: str, network: str, address: str) -> Cable:
        """From a network into a namespace, as its eth0."""
        port = f"p{address.rpartition('.')[2]}"
        self.ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")
        run("ip", "-n", namespace, "route", "add", "default", "via", f"{PREFIX[network]}.1")
        return self.known(port, network)

    def known(self, port: str, network: str, *, where: str = "") -> Cable:
        """A cable that is there, or that somebody else laid; `where`: plugged into this bridge, not its network's."""
        cable = Cable(port, network, plug=port)
        self.cables.append(cable)
        self._plug(cable, where or network)
        return cable

    def gone(self, cable: Cable) -> None:
        """Its other end is not there any more."""
        self.fair(cable, plugged=False)
        self.cables.remove(cable)

    def _plug(self, cable: Cable, bridge: str) -> None:
        self.ip("link", "set", cable.plug, "master", bridge)
        self.ip("link", "set", cable.plug, "up")
        cable.where = bridge

    # ---------------------------------------------------------------- cuts

    def cut(self, sides: Sequence[Sequence[Cable]]) -> None:
        """No frame goes from one side to another. The first side keeps the NAT's router, and whoever is not named."""
        while self._sides < len(sides):
            self._bridge(f"side{self._sides}")
            self._sides += 1
        for number, side in enumerate(sides):
            for cable in side:
                self._plug(cable, f"side{number}" if number else cable.network)

    def join(self) -> None:
        for cable in self.cables:
            if cable.where != cable.network:
                self._plug(cable, cable.network)

    # ---------------------------------------------------------------- weather

    def rough(self, cable: Cable, *, loss: float, delay_ms: int) -> None:
        """From now on frames that the node sends are lost and late. So are those to it, if all others have that too."""
        self.fair(cable)
        near, far = f"n{cable.port}"[:15], f"f{cable.port}"[:15]
        self.ip("link", "add", near, "type", "veth", "peer", "name", far)
        self.ip("link", "set", near, "up")
        self.ip("link", "set", cable.port, "nomaster")
        program = (sys.executable, str(Path(__file__).with_name("weather.py")))
        cable.weather = subprocess.Popen(
            self.inside(*program, cable.port, near, str(loss), str(delay_ms)), stdin=subprocess.DEVNULL, cwd=ROOT
        )
        cable.plug = far
        self._plug(cable, cable.where)

    def fair(self, cable: Cable, *, plugged: bool = True) -> None:
        if cable.weather is None:
            return
        cable.weather.kill()
        cable.weather.wait()
        cable.weather = None
        self.ip("link", "del", cable.plug)
        cable.plug = cable.port
        if plugged:
            self._plug(cable, cable.where)


def missing() -> str:
    """Why this machine cannot do it; empty if it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "not root"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return f"no {tool}"
    try:
        Wires().close()
    except (subprocess.SubprocessError, OSError) as error:
        return f"no network namespaces or no NAT in this kernel: {error}"
    return ""
