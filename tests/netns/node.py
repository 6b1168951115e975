"""One device in a namespace: `python -m tests.netns.node CONFIG`, lines of JSON in and out.

CONFIG: seed, listen, relays {peer: [address]}, relay (be one), punch, points, mdns [interfaces], fingerprint.
In:  {"keep": peer, "addresses": [...]}   {"echo": peer, "size": n}   {"counters": true}
Out: {"ready": addresses}   {"link": name, "peer": peer}   {"held": n}   {"echoed": n, "seconds": s}
     {"addresses": [...]} when they change   {"counters": {...}}   {"failed": why}
"""

from __future__ import annotations

import json
import random
import secrets
import sys
import time
from typing import Any

import trio

from transport.base import Milliseconds, PeerId, TransportError
from transport.discovery.addresses import Policy
from transport.discovery.book import AddressBook
from transport.discovery.finding import Finding, Pace
from transport.discovery.mdns import MdnsDiscovery
from transport.discovery.points import RecordKeeper
from transport.host.extension import Extension
from transport.host.network import LibP2PNetwork, open_network
from transport.host.settings import HostSettings
from transport.network import Stream
from transport.relay.client import RelayClient
from transport.relay.punching import HolePunching
from transport.relay.server import RelayServer
from transport.signing import SigningKey

ECHO = "/echo/1"
QUICK = HostSettings(ping_every=1.0, pong_limit=3.0, dial_limit=4.0, longest_backoff=4.0)


def now_ms() -> Milliseconds:
    return Milliseconds(int(time.time() * 1000))


def tell(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def echo(stream: Stream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def ask_echo(network: LibP2PNetwork, peer: PeerId, size: int) -> None:
    start = trio.current_time()
    got = 0
    try:
        stream = await network.open(peer, ECHO)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, bytes(size))
            while got < size and (data := await stream.receive_some()):
                got += len(data)
        await stream.close()
    except* TransportError as errors:
        tell(failed=str(errors.exceptions[0]))
    else:
        tell(echoed=got, seconds=trio.current_time() - start)


async def report_links(network: LibP2PNetwork) -> None:
    async for state in network.peer_changes():
        tell(link=state.link.value, peer=state.peer)


async def report_rest(network: LibP2PNetwork, client: RelayClient | None) -> None:
    held, addresses = -1, network.addresses()
    while True:
        if client is not None and held != len(client.held):
            held = len(client.held)
            tell(held=held)
        if addresses != network.addresses():
            addresses = network.addresses()
            tell(addresses=addresses)
        await trio.sleep(0.1)


async def obey(network: LibP2PNetwork) -> None:
    async with trio.open_nursery() as nursery:
        buffer = b""
        async for data in trio.lowlevel.FdStream(0):
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                command = json.loads(line)
                if "keep" in command:
                    network.keep(PeerId(command["keep"]), command["addresses"])
                elif "echo" in command:
                    nursery.start_soon(ask_echo, network, PeerId(command["echo"]), command["size"])
                elif "counters" in command:
                    tell(counters=dict(network.counters()))
        nursery.cancel_scope.cancel()


async def main(config: dict[str, Any]) -> None:
    key = SigningKey(int(config["seed"]).to_bytes(32))
    rng = random.Random(config["seed"])
    relays = {PeerId(peer): tuple(addresses) for peer, addresses in config.get("relays", {}).items()}
    policy = Policy()
    extensions: list[Extension] = []
    client = None
    if "relays" in config:
        punching = HolePunching(list(relays), policy, jitter=rng) if config.get("punch") else None
        client = RelayClient(relays, now_ms=now_ms, jitter=rng, relayed=punching.punch if punching else None)
        extensions.append(client.extension)
        if punching is not None:
            extensions.append(punching.extension)
    if "mdns" in config:
        mdns = MdnsDiscovery(config["fingerprint"], config["mdns"], random_bytes=secrets.token_bytes)
        extensions.append(mdns.extension)
    async with open_network(
        identity=key, listen=config.get("listen", []), settings=QUICK, rng=rng, extensions=extensions
    ) as network:
        network.handle(ECHO, echo)
        tell(ready=network.addresses())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(report_links, network)
            nursery.start_soon(report_rest, network, client)
            if config.get("relay"):
                server = RelayServer(network, now_ms=now_ms)
                nursery.start_soon(server.run)
                RecordKeeper(network, now_ms=now_ms, clock=trio.current_time)
            if config.get("points"):
                finding = Finding(
                    network,
                    key,
                    AddressBook(policy),
                    points=[PeerId(point) for point in config["points"]],
                    addresses=network.addresses,
                    found=network.keep,
                    now_ms=now_ms,
                    jitter=rng,
                    pace=Pace(look=0.5, first_search=1.0, longest_search=4.0),
                )
                nursery.start_soon(finding.run)
            await obey(network)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, json.loads(sys.argv[1]))
