"""Mailboxes on real meshes: gossip and sync over streams in memory, with their stores in files.

Two mailboxes keep a topic for its members and replicate it with the same sync as everybody; what is handed out
once stays where it was deposited.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.transport.loopback import Loopback, LoopbackNetwork
from transport import access
from transport.base import Frame, Milliseconds, PeerId, Topic
from transport.frames import member_topic, seal
from transport.live.mesh import LiveMesh, MeshSettings
from transport.mailbox.bodies import Package, Stock
from transport.mailbox.client import Declined, MailboxClient
from transport.mailbox.records import grant, seal_slot, slot_name
from transport.mailbox.server import Mailbox
from transport.mailbox.store import MailboxStore
from transport.mailbox.tenants import DAY, Quota, Tenant
from transport.mailbox.wire import Failure
from transport.signing import SigningKey
from transport.sync.memory_store import MemoryStore

NOW = Milliseconds(1_800_000_000_000)
KEY = SigningKey(b"the key of a topic".ljust(32))
TOPIC = member_topic(KEY)
TENANT = SigningKey(b"the key of a tenant".ljust(32))
BOTH = access.Right.READ | access.Right.WRITE


def now_ms() -> Milliseconds:
    return NOW


@dataclass
class Member:
    network: LoopbackNetwork
    mesh: LiveMesh
    store: MemoryStore

    async def has(self, frame: Frame) -> bool:
        return bool(await self.store.fetch(frame.topic, [frame.id]))


@dataclass
class Box:
    network: LoopbackNetwork
    mesh: LiveMesh
    store: MailboxStore
    mailbox: Mailbox

    async def has(self, frame: Frame) -> bool:
        return bool(await self.store.fetch(frame.topic, [frame.id]))


class Place:
    """A network on which members and mailboxes come and go."""

    def __init__(self, net: Loopback) -> None:
        self.net = net
        self.random = random.Random(1)

    @asynccontextmanager
    async def member(self, topic: Topic | None = TOPIC) -> AsyncIterator[Member]:
        network, store = self.net.node(SigningKey(self.random.randbytes(32))), MemoryStore()
        async with self._mesh(network, store) as mesh, trio.open_nursery() as nursery:
            nursery.start_soon(_read, mesh)
            if topic is not None:
                await mesh.join(topic)
            yield Member(network, mesh, store)
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def box(self, path: Path, key: SigningKey | None = None, quota: Quota | None = None) -> AsyncIterator[Box]:
        network = self.net.node(key or SigningKey(self.random.randbytes(32)))
        tenants = [Tenant(key=TENANT.public, quota=quota or Quota())]
        async with MailboxStore.open(path, tenants, now_ms=now_ms) as store, self._mesh(network, store) as mesh:
            mailbox = Mailbox(mesh, store, now_ms=now_ms)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(mailbox.run)
                await mailbox.serving.wait()
                yield Box(network, mesh, store, mailbox)
                nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def _mesh(self, network: LoopbackNetwork, store: MemoryStore | MailboxStore) -> AsyncIterator[LiveMesh]:
        mesh = LiveMesh(network, store, now_ms=now_ms, random_bytes=self.random.randbytes, settings=MeshSettings())
        try:
            async with mesh.running():
                yield mesh
        finally:
            for other in list(self.net.nodes.values()):
                if network.connected(other.me):
                    self.net.cut(network, other)
            del self.net.nodes[network.me]

    def client(self, member: Member, box: Box, key: SigningKey | None = None) -> MailboxClient:
        return MailboxClient(
            member.mesh, box.network.me, key, now_ms=now_ms, random_bytes=self.random.randbytes, within=10
        )


@asynccontextmanager
async def place() -> AsyncIterator[Place]:
    async with Loopback().running() as net:
        yield Place(net)


async def _read(mesh: LiveMesh) -> None:
    async for _ in mesh.frames():
        pass


def token(holder: PeerId, rights: access.Right = BOTH) -> bytes:
    return access.issue(KEY, rights, holder=holder, not_before=NOW, expires=Milliseconds(NOW + DAY))


def frame(text: str) -> Frame:
    return seal(KEY, text.encode(), Milliseconds(NOW + DAY))


async def until(there: Callable[..., Awaitable[bool]], *what: object) -> None:
    """Wait for what the network brings in its own time."""
    for _ in range(1500):
        if await there(*what):
            return
        await trio.sleep(0.02)
    raise AssertionError("it did not come")


@pytest.mark.slow
async def test_a_member_who_was_away_finds_everything_in_the_mailbox(tmp_path: Path) -> None:
    frames = [frame(str(n)) for n in range(20)]
    async with place() as here, here.box(tmp_path / "a") as box:
        async with here.member() as author:
            here.net.link(author.network, box.network)
            await here.client(author, box, TENANT).keep(TOPIC.id, token(box.network.me))
            for one in frames:
                await author.mesh.publish(one)
            for one in frames:
                await until(box.has, one)
            here.net.cut(author.network, box.network)
        async with here.member() as reader:
            here.net.link(reader.network, box.network)
            for one in frames:
                await until(reader.has, one)
        async with here.member(topic=Topic(id=TOPIC.id, token=token(PeerId("somebody else")))) as thief:
            here.net.link(thief.network, box.network)
            await trio.sleep(0.5)
            assert not [one for one in frames if await thief.has(one)]


@pytest.mark.slow
async def test_mailboxes_replicate_frames_and_not_packages(tmp_path: Path) -> None:
    frames = [frame(str(n)) for n in range(50)]
    keys = [SigningKey(bytes([n]) * 32) for n in (201, 202)]
    async with place() as here, here.box(tmp_path / "b", keys[1]) as b, here.member() as author:
        async with here.box(tmp_path / "a", keys[0]) as a:
            here.net.link(author.network, a.network)
            here.net.link(author.network, b.network)
            await here.client(author, a, TENANT).keep(TOPIC.id, token(a.network.me))
            await here.client(author, b, TENANT).keep(TOPIC.id, token(b.network.me))
            package = Package(stock=Stock.CONTACTS, expires=Milliseconds(NOW + DAY), data=b"a key package")
            await here.client(author, a, TENANT).deposit([package])
            here.net.cut(author.network, b.network)
            here.net.link(a.network, b.network)  # the author reaches A alone, and A and B each other
            for one in frames:
                await author.mesh.publish(one)
            for one in frames:
                await until(b.has, one)
            here.net.cut(a.network, b.network)
            here.net.cut(author.network, a.network)
        async with here.box(tmp_path / "a, on a new disk", keys[0]) as a:
            here.net.link(author.network, a.network)
            await here.client(author, a, TENANT).keep(TOPIC.id, token(a.network.me))
            here.net.cut(author.network, a.network)
            gone = [one for one in frames if not await a.has(one)]
            here.net.link(a.network, b.network)
            for one in gone:
                await until(a.has, one)
            here.net.link(author.network, a.network)
            here.net.link(author.network, b.network)
            for box in (a, b):  # not at B, which never had it, nor at A, which forgot that it had
                credential = grant(
                    TENANT,
                    here.random.randbytes(16),
                    holder=author.network.me,
                    count=1,
                    interval=0,
                    expires=Milliseconds(NOW + DAY),
                )
                with pytest.raises(Declined) as caught:
                    await here.client(author, box).take(TENANT.public, credential)
                assert caught.value.failure is Failure.EMPTY


@pytest.mark.slow
async def test_what_a_mailbox_deleted_is_not_brought_back_by_sync(tmp_path: Path) -> None:
    async with place() as here, here.box(tmp_path / "a") as box, here.member() as author:
        here.net.link(author.network, box.network)
        client = here.client(author, box, TENANT)
        await client.keep(TOPIC.id, token(box.network.me))
        old, new = frame("old"), frame("new")
        await author.mesh.publish(old)
        await until(box.has, old)
        proof = access.prove(KEY, author.network.me, box.network.me)
        assert await client.delete(TOPIC.id, proof, [old.id]) == 1
        await author.mesh.publish(new)
        await until(box.has, new)
        assert await author.mesh.synchronize(box.network.me, TOPIC.id) == 0
        assert not await box.has(old)
        assert await author.has(old)


@pytest.mark.slow
async def test_what_does_not_fit_is_offered_once(tmp_path: Path) -> None:
    async with place() as here, here.box(tmp_path / "a", quota=Quota(frames=10)) as box, here.member() as author:
        for number in range(15):
            await author.mesh.publish(frame(str(number)))
        here.net.link(author.network, box.network)
        client = here.client(author, box, TENANT)
        await client.keep(TOPIC.id, token(box.network.me))
        await author.mesh.synchronize(box.network.me, TOPIC.id)

        async def full() -> bool:
            status = await client.status()
            return (status.frames, status.declined) == (10, 5)

        await until(full)
        sent = author.mesh.counters().get("sync.frames_out", 0)
        await author.mesh.synchronize(box.network.me, TOPIC.id)
        assert author.mesh.counters().get("sync.frames_out", 0) == sent
        assert box.mailbox.counters()["mailbox.declined"] == 5


@pytest.mark.slow
async def test_a_slot_is_read_by_members_over_the_mesh(tmp_path: Path) -> None:
    slot = SigningKey(b"the key of a slot".ljust(32))
    async with place() as here, here.box(tmp_path / "a") as box, here.member() as author:
        here.net.link(author.network, box.network)
        client = here.client(author, box, TENANT)
        record = seal_slot(slot, b"GroupInfo", number=1, expires=Milliseconds(NOW + DAY), topic=TOPIC.id)
        await client.put_slot(record)
        proof = access.prove(KEY, author.network.me, box.network.me)
        found = await client.get_slot(slot_name(slot.public), credential=proof)
        assert found is not None
        assert found.data == b"GroupInfo"
