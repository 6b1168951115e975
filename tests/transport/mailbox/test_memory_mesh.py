"""A mailbox on the simulated mesh: it stands on nothing but `base.Mesh`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import trio

from tests.transport.mailbox.rig import KEY, TENANT, TOPIC
from tests.transport.mailbox.test_replication import until
from transport import access
from transport.base import Frame, Mesh, Milliseconds
from transport.frames import member_topic, seal
from transport.mailbox.client import MailboxClient
from transport.mailbox.server import Mailbox
from transport.mailbox.store import MailboxStore
from transport.mailbox.tenants import DAY, Tenant
from transport.memory.network import MemoryNetwork
from transport.signing import SigningKey
from transport.sync.memory_store import MemoryStore

BOX, AUTHOR, READER = (SigningKey(bytes([n]) * 32) for n in (211, 212, 213))


async def all_there(client: MailboxClient, count: int) -> bool:
    return (await client.status()).frames == count


async def has(store: MemoryStore, frame: Frame) -> bool:
    return bool(await store.fetch(frame.topic, [frame.id]))


@pytest.mark.slow
async def test_a_mailbox_carries_frames_between_members_that_never_meet(tmp_path: Path) -> None:
    async with MemoryNetwork(seed=1, links=0, sync_every=0.5).running() as network, trio.open_nursery() as nursery:
        now_ms = network.now_ms  # which works in the trio run alone: no thread may read the clock

        def frame(text: str) -> Frame:
            return seal(KEY, text.encode(), Milliseconds(now_ms() + DAY))

        def link(a: Mesh, b: Mesh) -> None:
            with network.changing() as simulation:
                simulation.link(a.me, b.me)

        async with (
            MailboxStore.open(tmp_path / "box", [Tenant(key=TENANT.public)], now_ms=now_ms) as store,
            network.open_mesh(BOX, store) as mesh,
        ):
            mailbox = Mailbox(mesh, store, now_ms=now_ms)
            nursery.start_soon(mailbox.run)
            await mailbox.serving.wait()
            frames = []
            async with network.open_mesh(AUTHOR, MemoryStore()) as author:
                link(author, mesh)
                await author.join(member_topic(KEY))
                client = MailboxClient(
                    author, mesh.me, TENANT, now_ms=now_ms, random_bytes=random.Random(1).randbytes, within=20
                )
                token = access.issue(
                    KEY,
                    access.Right.READ | access.Right.WRITE,
                    holder=mesh.me,
                    not_before=now_ms(),
                    expires=Milliseconds(now_ms() + DAY),
                )
                await client.keep(TOPIC, token)
                for number in range(20):
                    frames.append(frame(str(number)))
                    await author.publish(frames[-1])
                await until(all_there, client, len(frames))
            kept = MemoryStore()
            async with network.open_mesh(READER, kept) as reader:
                link(reader, mesh)
                await reader.join(member_topic(KEY))
                for one in frames:
                    await until(has, kept, one)
            nursery.cancel_scope.cancel()
