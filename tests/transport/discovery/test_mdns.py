"""Real zeroconf over loopback, in threads, and what crosses to trio."""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Sequence
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
import trio

from tests.transport.discovery.samples import KEY_A, KEY_B, KEY_C, A, B
from tests.transport.host.rig import ANY, until
from transport.base import Address, PeerId
from transport.discovery.addresses import Policy
from transport.discovery.mdns import (
    MOST_ASKED,
    MOST_EACH,
    QUEUE,
    MdnsDiscovery,
    interface_addresses,
    read,
    service_type,
)
from transport.host.network import LibP2PNetwork, open_network
from transport.signing import SigningKey

LOOPBACK = Policy(loopback=True)


def mdns(fingerprint: str, interfaces: Sequence[str] = ("127.0.0.1",)) -> MdnsDiscovery:
    return MdnsDiscovery(fingerprint, interfaces, random_bytes=secrets.token_bytes, policy=LOOPBACK)


def network(key: SigningKey, *discoveries: MdnsDiscovery) -> Any:
    return open_network(
        identity=key,
        listen=[ANY],
        rng=random.Random(key.public),
        extensions=[discovery.extension for discovery in discoveries],
    )


def test_service_type() -> None:
    assert service_type("0123456789abcdef") == "_p2p-0123456789._udp.local."
    for bad in ("", "0123456789ABCDEF", "0123456789abcde", "0123456789abcdef0", "0123456789abcde."):
        with pytest.raises(ValueError):
            service_type(bad)


def test_interfaces() -> None:
    (found,) = interface_addresses(["127.0.0.1"])
    assert (found.ip, found.network) == (ip_address("127.0.0.1"), ip_network("127.0.0.0/8"))
    assert found in interface_addresses(["lo"])
    assert interface_addresses(["there-is-none", "192.0.2.99"]) == ()


def test_reading_what_a_stranger_says() -> None:
    lan = Policy(networks=(ip_network("10.77.1.0/24"),))
    inside, outside = "/ip4/10.77.1.9/tcp/1", "/ip4/198.51.100.1/tcp/1"
    said = {
        b"dnsaddr": f"{inside}/p2p/{A}".encode(),
        b"dnsaddr1": f"{outside}/p2p/{A}".encode(),
        b"dnsaddr2": f"{inside}/p2p/{B}".encode(),
        b"dnsaddr3": inside.encode(),
        b"dnsaddr4": b"\xff\xfe",
        b"dnsaddr5": None,
        b"id": A.encode(),
        "dnsaddr6": 7,
    }
    assert read(said, lan) == {A: [inside], B: [inside]}
    assert read(said, Policy()) == {}
    flood = {b"dnsaddr%d" % number: f"/ip4/10.77.1.{number + 1}/tcp/1/p2p/{A}".encode() for number in range(99)}
    assert len(read(flood, lan)[A]) == MOST_EACH


@pytest.mark.slow
async def test_two_devices_find_each_other_and_leave_nothing_behind() -> None:
    fingerprint = secrets.token_hex(8)  # another run on this machine is another account
    before = set(threading.enumerate())
    stranger = mdns(secrets.token_hex(8))
    async with network(KEY_A, mdns(fingerprint)) as a, network(KEY_B, mdns(fingerprint)) as b:
        async with network(KEY_C, stranger) as c:
            assert isinstance(a, LibP2PNetwork)
            a.keep(B, [])
            await until(lambda: a.connected(B) and b.connected(A), 20)
            assert "mdns.found" not in c.counters()
    left = [thread for thread in set(threading.enumerate()) - before if "Trio thread" not in thread.name]
    assert left == []


@pytest.mark.slow
async def test_no_interface_is_waited_for() -> None:
    told: list[tuple[PeerId, Sequence[Address]]] = []
    discovery = mdns(secrets.token_hex(8), ["there-is-none"])
    async with network(KEY_A, discovery) as a:
        await trio.sleep(0.3)
        assert "mdns.started" not in a.counters()
        assert not told


class Flooded(MdnsDiscovery):
    """Instead of zeroconf: a network full of services, all at once, from a thread."""

    def _start(self, interfaces: object, told: object, me: object, appeared: Callable[[str], None]) -> Any:
        for number in range(10 * QUEUE):
            appeared(f"{number}.{self._type}")
        return self

    zeroconf = None
    stopped = False

    def stop(self) -> None:
        self.stopped = True


@pytest.mark.slow
async def test_a_flood_of_services_is_counted_and_dropped() -> None:
    discovery = Flooded(secrets.token_hex(8), ["127.0.0.1"], random_bytes=secrets.token_bytes)
    async with network(KEY_A, discovery) as a:
        await until(lambda: a.counters().get("mdns.crowded", 0) >= 9 * QUEUE - 1)
    assert discovery.stopped


class Mumbling(MdnsDiscovery):
    """Instead of zeroconf: one service, whose answers get lost for a while."""

    lost, asked = 0, 0

    def _start(self, interfaces: object, told: object, me: object, appeared: Callable[[str], None]) -> Any:
        appeared(f"one.{self._type}")
        return self

    @property
    def zeroconf(self) -> Any:
        return self

    def get_service_info(self, service_type: str, name: str, timeout: float) -> Any:
        self.asked += 1
        properties = {b"dnsaddr": f"/ip4/127.0.0.1/tcp/1/p2p/{B}".encode()}
        return None if self.asked <= self.lost else SimpleNamespace(properties=properties)

    def stop(self) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize(("lost", "asked"), [(0, 1), (2, 3), (99, MOST_ASKED)])
async def test_a_service_whose_answers_get_lost_is_asked_again(lost: int, asked: int) -> None:
    discovery = Mumbling(secrets.token_hex(8), ["127.0.0.1"], random_bytes=secrets.token_bytes, policy=LOOPBACK)
    discovery.lost = lost
    async with network(KEY_A, discovery) as a:
        await until(lambda: discovery.asked == asked)
        if lost < asked:
            await until(lambda: a.counters().get("mdns.found", 0) == 1)
        await trio.sleep(0.1)
        assert discovery.asked == asked


class Broken(MdnsDiscovery):
    def _start(self, *_: object) -> Any:
        raise OSError("no multicast here")


@pytest.mark.slow
async def test_a_network_without_multicast_does_not_hurt_the_host() -> None:
    discovery = Broken(secrets.token_hex(8), ["127.0.0.1"], random_bytes=secrets.token_bytes)
    async with network(KEY_A, discovery) as a:
        await until(lambda: a.counters().get("mdns.failed", 0) == 1)
        assert a.rebuilt == 0
