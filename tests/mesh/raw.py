"""A node with the library's own gossip, tuned as well as it can be without changing it: what ours is compared with.

One frame is one gossip message. Its defaults lose nine messages in ten at a hundred a second, so what is compared
with is not that: the limit on messages per topic is off, queues hold four thousand, messages may have four
megabytes, the heartbeat is a second, the mesh takes everybody, signing stays on, and what keeps whole messages in
memory for ever is off. Meshsub 1.1: version 1.2 costs it twice as much.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p import new_host
from libp2p.abc import IHost, ISubscriptionAPI
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.crypto.x25519 import create_new_key_pair as create_x25519
from libp2p.network.config import ConnectionConfig
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.pubsub import gossipsub, pubsub, rpc_queue
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE, Transport as Noise
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from tests.mesh.control import Book, Command, book, configuration, obey

TOPIC = "load"
QUEUE = 4096
LARGEST = 4 << 20


class RawNode:
    def __init__(self, host: IHost, gossip: pubsub.Pubsub, book: Book, nursery: trio.Nursery) -> None:
        self.peer = str(host.get_id())
        self.addresses = [str(address).split("/p2p/", maxsplit=1)[0] for address in host.get_addrs()]
        self.commands: Mapping[str, Command] = {}
        self._host = host
        self._gossip = gossip
        self._book = book
        self._nursery = nursery

    async def keep(self, peer: str, addresses: list[str]) -> None:
        info = PeerInfo(ID.from_string(peer), [Multiaddr(address) for address in addresses])
        with trio.fail_after(15):
            await self._host.connect(info)

    async def join(self) -> None:
        self._nursery.start_soon(self._receive, await self._gossip.subscribe(TOPIC))

    async def _receive(self, subscription: ISubscriptionAPI) -> None:
        me = self._host.get_id().to_bytes()
        while True:
            message = await subscription.get()
            if message.from_id != me:
                self._book.arrived(message.data)

    async def publish(self, payload: bytes) -> None:
        await self._gossip.publish(TOPIC, payload)

    def neighbors(self) -> int:
        router = self._gossip.router
        assert isinstance(router, gossipsub.GossipSub)
        return len(router.mesh.get(TOPIC, ()))


@asynccontextmanager
async def open_node(config: Mapping[str, Any], book: Book) -> AsyncIterator[RawNode]:
    queue = functools.partial(rpc_queue.RpcQueue, max_size=QUEUE, max_message_size=LARGEST + 65536)
    vars(pubsub).update(SUBSCRIPTION_CHANNEL_SIZE=QUEUE, RpcQueue=queue)
    keys = create_new_key_pair(bytes.fromhex(config["identity"]))
    host = new_host(
        key_pair=keys,
        sec_opt={NOISE: Noise(keys, noise_privkey=create_x25519().private_key)},
        connection_config=ConnectionConfig(min_connections=0, low_watermark=0, high_watermark=300, max_connections=300),
    )
    router = gossipsub.GossipSub(
        protocols=[gossipsub.PROTOCOL_ID_V11, gossipsub.PROTOCOL_ID],
        degree=8,
        degree_low=6,
        degree_high=64,
        heartbeat_interval=1,
        adaptive_gossip_enabled=False,
        spam_protection_enabled=False,
        eclipse_protection_enabled=False,
        gossip_window=5,
        gossip_history=10,
        prune_back_off=10,
        unsubscribe_back_off=2,
    )
    router._check_equivocation = lambda *_: True  # type: ignore[method-assign]
    async with host.run([Multiaddr(f"/ip4/127.0.0.1/tcp/{config['port']}")]):
        gossip = pubsub.Pubsub(host, router, max_inbound_rpc_size=LARGEST + 65536)
        async with background_trio_service(gossip), background_trio_service(router):
            await gossip.wait_until_ready()
            async with trio.open_nursery() as nursery:
                yield RawNode(host, gossip, book, nursery)
                nursery.cancel_scope.cancel()
        await host.close()


async def main() -> None:
    config = configuration()
    logging.disable(logging.CRITICAL)  # it reports every dropped connection
    counted = book(config)
    async with open_node(config, counted) as node:
        await obey(node, counted)


if __name__ == "__main__":
    trio.run(main)
