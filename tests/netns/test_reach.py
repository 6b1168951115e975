"""What docs/network.md promises, tried between network namespaces with NATs in between."""

from __future__ import annotations

import functools

import pytest

from tests.netns.devices import devices, identity
from tests.netns.hole_punching import attempt
from tests.netns.scenes import ANYWHERE, FINGERPRINT, address, two_nats
from tests.netns.topology import Internet, Nat, missing
from tests.requirements import require_or_skip
from transport.base import Link

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("netns")]
CONNECTED, RELAYED, AWAY = Link.CONNECTED.value, Link.RELAYED.value, Link.AWAY.value


@pytest.fixture(autouse=True)
def namespaces() -> None:
    if reason := _missing():
        require_or_skip("netns", reason)


_missing = functools.cache(missing)


async def test_devices_of_one_network_find_each_other() -> None:
    """MDNS and nothing else; a device with another fingerprint is not found, a router lets nothing through."""
    with Internet() as net:
        home, cafe = net.nat("home"), net.nat("cafe")
        machines = [net.machine(label, home) for label in ("one", "two", "stranger")]
        away = net.machine("away", cafe)
        common = {"listen": [ANYWHERE], "mdns": ["eth0"], "fingerprint": FINGERPRINT}
        async with devices(
            (machines[0], {"seed": 1, **common}),
            (machines[1], {"seed": 2, **common}),
            (machines[2], {"seed": 3, **common, "fingerprint": FINGERPRINT[::-1]}),
            (away, {"seed": 4, **common}),
        ) as (one, two, stranger, far):
            for other in (two, stranger, far):
                await one.tell(keep=other.peer, addresses=[])
            await one.until_link(two.peer, CONNECTED)
            assert await one.echo(two.peer, 1 << 20) < 10
            for other in (stranger, far):
                assert one.link(other.peer) != CONNECTED
                assert "mdns.found" not in await other.counters()


async def test_hole_punching_through_two_nats() -> None:
    tried = await attempt(Nat.KEEPING, Nat.KEEPING)
    assert tried["direct"], tried


async def test_through_a_relay_found_by_its_record_and_found_again_after_it_moved() -> None:
    """Two NATs, no way but the relay, and nobody is told an address: the record at the point leads there.

    Bytes go both ways. Then one device moves behind a third NAT, and is reached again.
    """
    async with two_nats(points=True) as scene:
        await scene.left.tell(keep=scene.right.peer, addresses=[])
        await scene.left.until_link(scene.right.peer, RELAYED)
        await scene.right.until_link(scene.left.peer, RELAYED)
        await scene.left.echo(scene.right.peer, 1 << 20)
        await scene.right.echo(scene.left.peer, 1 << 20)
        assert (await scene.relay.counters())["relay.bytes"] > 4 << 20
        since = len(scene.left.told)
        scene.right.machine.move(scene.net.nat("elsewhere"))
        await scene.left.until("link", 30, since, link=AWAY, peer=scene.right.peer)
        await scene.left.until_link(scene.right.peer, RELAYED)
        await scene.left.echo(scene.right.peer, 1 << 16)


@pytest.mark.long
@pytest.mark.parametrize(
    ("left", "right", "direct"),
    [
        (Nat.KEEPING, Nat.RESETTING, True),
        (Nat.MAPPING, Nat.MAPPING, True),
        (Nat.MAPPING, Nat.RESETTING, True),
        (Nat.RANDOM, Nat.KEEPING, False),
        (Nat.KEEPING, Nat.RANDOM, False),
        (Nat.RANDOM, Nat.RANDOM, False),
    ],
)
async def test_which_nats_are_passed(left: Nat, right: Nat, direct: bool) -> None:
    """A NAT with random ports per destination is not; the relayed connection stays and works.

    Two that answer with resets are left out: whether two packets cross is chance (docs/network.md).
    """
    tried = await attempt(left, right)
    assert tried["direct"] is direct, tried


@pytest.mark.long
async def test_a_public_device_that_moves_is_reached_again() -> None:
    """Roaming without NATs: a new address of the same network, found by mDNS within seconds."""
    with Internet() as net:
        home = net.nat("home")
        machines = [net.machine(label, home) for label in ("one", "two")]
        common = {"listen": [ANYWHERE], "mdns": ["eth0"], "fingerprint": FINGERPRINT}
        async with devices((machines[0], {"seed": 1, **common}), (machines[1], {"seed": 2, **common})) as (one, two):
            await one.tell(keep=two.peer, addresses=[])
            await one.until_link(two.peer, CONNECTED)
            machines[1].move(home)
            await one.until_link(two.peer, AWAY)
            await one.until_link(two.peer, CONNECTED, within=60)
            assert address(machines[1]) in str(one.told) or await one.echo(identity(2), 1000)
