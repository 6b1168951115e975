"""Networks in network namespaces: a public one, private ones behind NATs, machines in them. All gone afterwards.

    with Internet() as net:
        relay = net.machine("relay")                          # 198.51.100.x, on the public network
        home = net.nat("home", kind=Nat.KEEPING)               # a router with a private network behind it
        laptop = net.machine("laptop", home)                  # 10.77.n.x, behind that router
        laptop.move(net.nat("cafe"))                          # it goes elsewhere

Needs root, `ip` and `nft`. Every namespace is named `vcd-` and random digits, so runs do not meet. Each network
is a bridge inside its router's namespace; deleting the namespaces deletes the cables with them.
"""

from __future__ import annotations

import enum
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Self

PUBLIC = "198.51.100"
_SECONDS = 20


class Nat(enum.Enum):
    """What a router does to what leaves through it, and to what nobody inside has asked for."""

    KEEPING = "masquerade"  # the port stays the same while it is free; strangers' packets are dropped
    RESETTING = "masquerade, resets"  # the same, but strangers' packets are answered with a reset
    MAPPING = "masquerade to :45001"  # the port 4001 becomes another one, the same for every destination
    RANDOM = "masquerade random,fully-random"  # another port for every destination


def missing() -> str:
    """Why this machine cannot do it; empty if it can."""
    if os.name != "posix" or os.geteuid() != 0:
        return "not root"
    for tool in ("ip", "nft"):
        if shutil.which(tool) is None:
            return f"no {tool}"
    try:
        with Internet():
            pass
    except (subprocess.SubprocessError, OSError) as error:
        return f"no network namespaces or no NAT in this kernel: {error}"
    return ""


def run(*command: str, text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise subprocess.SubprocessError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


class Internet:
    """The public network and everything that hangs on it."""

    def __init__(self) -> None:
        self._name = f"vcd-{secrets.token_hex(3)}"
        self._namespaces: list[str] = []
        self._numbers = iter(range(1, 250))
        self.public: Net

    def __enter__(self) -> Self:
        try:
            self.public = Net(self, self.namespace("public"), PUBLIC, gateway=None)
            self.nat("probe")  # fails here and not in the middle of a test
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends what still runs in the namespaces, and the namespaces."""
        for namespace in reversed(self._namespaces):
            done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
            for pid in done.stdout.split():
                subprocess.run(["kill", "-9", pid], capture_output=True, check=False)
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        self._namespaces.clear()

    def namespace(self, label: str) -> str:
        name = f"{self._name}-{label}"
        run("ip", "netns", "add", name)
        self._namespaces.append(name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        return name

    def number(self) -> int:
        return next(self._numbers)

    def nat(self, label: str, kind: Nat = Nat.KEEPING) -> Net:
        """A router on the public network with a private network behind it."""
        number = self.number()
        namespace = self.namespace(label)
        outside = self.public.plug(namespace, "wan", default=False)
        run("ip", "netns", "exec", namespace, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        masquerade = "masquerade" if kind in {Nat.RESETTING, Nat.MAPPING} else kind.value
        mapping = f'oifname "wan" tcp sport 4001 {kind.value}' if kind is Nat.MAPPING else ""
        unasked = "" if kind is Nat.RESETTING else 'iifname "wan" ct state new drop'
        rules = f"""
            table ip nat {{
                chain post {{
                    type nat hook postrouting priority 100
                    {mapping}
                    oifname "wan" {masquerade}
                }}
                chain in {{
                    type filter hook input priority 0
                    {unasked}
                }}
                chain through {{
                    type filter hook forward priority 0
                    iifname "wan" ct state new drop
                }}
            }}
        """
        run("ip", "netns", "exec", namespace, "nft", "-f", "-", text=rules)
        net = Net(self, namespace, f"10.77.{number}", gateway=1)
        net.outside = outside
        return net

    def machine(self, label: str, where: Net | None = None) -> Machine:
        return Machine(self, self.namespace(label), where or self.public)


class Net:
    """A bridge, and the cables plugged into it."""

    def __init__(self, internet: Internet, namespace: str, prefix: str, *, gateway: int | None) -> None:
        self._internet = internet
        self._namespace = namespace
        self._prefix = prefix
        self._gateway = gateway
        self._hosts = iter(range(2, 250))
        self.outside = ""
        run("ip", "-n", namespace, "link", "add", "lan", "type", "bridge")
        run("ip", "-n", namespace, "link", "set", "lan", "up")
        if gateway is not None:
            run("ip", "-n", namespace, "address", "add", f"{prefix}.{gateway}/24", "dev", "lan")

    def plug(self, namespace: str, interface: str, *, default: bool = True) -> str:
        """A cable from this network into a namespace, with an address; returns that."""
        address = f"{self._prefix}.{next(self._hosts)}"
        port = f"p{self._internet.number()}"
        run(
            *("ip", "-n", self._namespace, "link", "add", port, "type", "veth"),
            *("peer", "name", interface, "netns", namespace),
        )
        run("ip", "-n", self._namespace, "link", "set", port, "master", "lan", "up")
        run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", interface)
        run("ip", "-n", namespace, "link", "set", interface, "up")
        if default and self._gateway is not None:
            run("ip", "-n", namespace, "route", "add", "default", "via", f"{self._prefix}.{self._gateway}")
        return address


class Machine:
    """A namespace with one interface, `eth0`."""

    def __init__(self, internet: Internet, namespace: str, where: Net) -> None:
        self.namespace = namespace
        self.address = where.plug(namespace, "eth0")

    def move(self, where: Net) -> None:
        """Pull the cable, plug it in elsewhere: another address, and nobody is told."""
        run("ip", "-n", self.namespace, "link", "del", "eth0")
        self.address = where.plug(self.namespace, "eth0")

    def command(self, *command: str) -> Sequence[str]:
        """To run this in there."""
        return ("ip", "netns", "exec", self.namespace, *command)


if __name__ == "__main__":  # for scripts: is it possible here?
    sys.exit(missing() or 0)
