"""Minimal reproductions that take the process with them: `python -m tests.transport.host.hazards.bare NAME`.

Each starts plain libp2p hosts on loopback and does one thing that a peer, or a careless caller, can do. It
prints `escaped: TYPE` when the exception came out of `trio.run`, and `survived` when it did not.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from libp2p.network.config import ConnectionConfig
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.tools.anyio_service import background_trio_service
from libp2p.utils import encode_varint_prefixed

from tests.transport.host.rig import fails, info, plain_host, running

LONG = 10.0  # seconds for what ends the process, which ends the wait too


async def handler() -> None:
    """1: the handler of a stream raises."""

    async def raises(_: Any) -> None:
        raise ValueError("boom")

    async with plain_host(1) as a, plain_host(2) as b:
        a.set_stream_handler("/x/1", raises)
        await b.connect(info(a))
        stream = await b.new_stream(a.get_id(), ["/x/1"])
        await stream.write(b"x")
        await trio.sleep(LONG)


async def handler_ours() -> None:
    """1 and 19 against ours, as a whole process."""

    async def raises(_: Any) -> None:
        raise ValueError("boom")

    async with running(1) as a, running(2) as b:
        a.handle("/x/1", raises)
        b.learn(a.me, a.addresses())
        await b.connect(a.me)
        await fails(b.open, a.me, "/x/1")
        await trio.sleep(0.2)
        assert a.rebuilt == 0
        assert a.connected(b.me)


async def utf8() -> None:
    """19: a peer asks for a protocol whose name is not UTF-8."""
    async with plain_host(1) as a, plain_host(2) as b:
        await b.connect(info(a))
        stream = await b.get_network().new_stream(a.get_id())
        await stream.write(b"\x13/multistream/1.0.0\n\x04\xff\xfe\xff\n")
        await trio.sleep(LONG)


@asynccontextmanager
async def gossiping() -> AsyncIterator[tuple[Any, Any]]:
    async with plain_host(1) as a, plain_host(2) as b:
        router = GossipSub(protocols=[PROTOCOL_ID_V11], degree=6, degree_low=4, degree_high=12)
        pubsub = Pubsub(a, router)
        async with background_trio_service(pubsub), background_trio_service(router):
            await pubsub.wait_until_ready()
            await pubsub.subscribe("t")
            await b.connect(info(a))
            yield a, await b.new_stream(a.get_id(), [PROTOCOL_ID_V11])


async def rpc() -> None:
    """2: six bytes on the meshsub stream."""
    async with gossiping() as (_, stream):
        await stream.write(b"\x05\xff\xff\xff\xff\xff")
        await trio.sleep(LONG)


async def signature() -> None:
    """3: a gossip message with a key that does not decode."""
    async with gossiping() as (_, stream):
        for sender, key in (
            (b"\x12\x20" + b"a" * 32, b"\xff\xff\xff"),
            (b"\x12\x20" + b"a" * 32, b"\x08\x63\x12\x01a"),
        ):
            message = rpc_pb2.Message(
                data=b"d", topicIDs=["t"], from_id=sender, seqno=b"12345678", signature=b"x", key=key
            )
            await stream.write(encode_varint_prefixed(rpc_pb2.RPC(publish=[message]).SerializeToString()))
            await trio.sleep(LONG / 2)


async def root_logger() -> None:
    """16: connecting sets up a handler on the root logger."""
    async with plain_host(1) as a, plain_host(2) as b:
        await b.connect(info(a))
    if any(type(handler) is logging.StreamHandler for handler in logging.root.handlers):
        raise RuntimeError("a handler on standard error")


async def root_logger_ours() -> None:
    """16 with ours."""
    async with running(1) as a, running(2) as b:
        b.learn(a.me, a.addresses())
        await b.connect(a.me)
    if any(type(handler) is logging.StreamHandler for handler in logging.root.handlers):
        raise RuntimeError("a handler on standard error")


async def left_open() -> None:
    """17: leaving `host.run` without `host.close`; with warnings as errors, so that an open socket is told."""
    async with plain_host(2) as b:
        from libp2p import new_host
        from multiaddr import Multiaddr

        a: Any = new_host(connection_config=ConnectionConfig(min_connections=0, low_watermark=0))
        async with a.run([Multiaddr("/ip4/127.0.0.1/tcp/0")]):
            await a.connect(info(b))
            await trio.sleep(0.2)
        await trio.sleep(1)
        if b.get_network().get_connections():
            raise ConnectionError("the other side still has the connection")


DEMONSTRATIONS: dict[str, Callable[[], Awaitable[None]]] = {
    demonstration.__name__: demonstration
    for demonstration in (
        handler,
        handler_ours,
        utf8,
        rpc,
        signature,
        root_logger,
        root_logger_ours,
        left_open,
    )
}


def leaf(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main(name: str) -> None:
    try:
        trio.run(DEMONSTRATIONS[name])
    except BaseException as error:  # noqa: BLE001 - what this is about
        print(f"escaped: {type(leaf(error)).__name__}")
    else:
        print("survived")


if __name__ == "__main__":
    main(sys.argv[1])
