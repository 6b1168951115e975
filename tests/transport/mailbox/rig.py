"""A mailbox on a mesh that does nothing but remember what was asked of it, and clients that reach it.

`Town` holds the meshes of all peers and carries their questions, with a loss of answers on demand. What the real
meshes do with a mailbox is in test_replication.py.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from transport import access
from transport.base import Address, Answerer, Arrival, AskFailed, Frame, Milliseconds, PeerId, PeerState, Topic, TopicId
from transport.frames import seal, topic_id
from transport.mailbox.bodies import Package, Stock
from transport.mailbox.client import MailboxClient
from transport.mailbox.records import grant
from transport.mailbox.server import Mailbox, Settings
from transport.mailbox.store import MailboxStore
from transport.mailbox.tenants import Quota, Tenant
from transport.signing import SigningKey, peer_id

NOW = 1_800_000_000_000
SECOND = 1000
HOUR = 3600 * SECOND
DAY = 24 * HOUR
KEY = SigningKey(b"the key of a topic".ljust(32))
TOPIC = topic_id(KEY.public)
TENANT = SigningKey(b"the key of a tenant".ljust(32))
SECOND_TENANT = SigningKey(b"the key of another tenant".ljust(32))


def person(number: int) -> PeerId:
    return peer_id(SigningKey(bytes([number]) * 32).public)


BOX, ALICE, BOB, CAROL = (person(number) for number in range(4))

_seeds = itertools.count()


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> Milliseconds:
        return Milliseconds(self.now)


class Town:
    """Who is there, and how questions get from one to the other."""

    def __init__(self) -> None:
        self.answerers: dict[PeerId, dict[str, Answerer]] = {}
        self.lose_answers = 0

    def mesh(self, me: PeerId) -> TownMesh:
        self.answerers.setdefault(me, {})
        return TownMesh(self, me)


@dataclass
class TownMesh:
    town: Town
    me: PeerId
    joined: dict[TopicId, Topic] = field(default_factory=dict)
    left: list[tuple[TopicId, bool]] = field(default_factory=list)
    arrivals: list[Arrival] = field(default_factory=list)
    read_all: trio.Event = field(default_factory=trio.Event)

    async def join(self, topic: Topic) -> None:
        self.joined[topic.id] = topic

    async def leave(self, topic: TopicId, *, forget: bool = False) -> None:
        del self.joined[topic]
        self.left.append((topic, forget))

    async def publish(self, frame: Frame) -> None:
        raise AssertionError("a mailbox writes nothing")

    async def frames(self) -> AsyncIterator[Arrival]:
        for arrival in self.arrivals:
            yield arrival
        self.read_all.set()
        await trio.sleep_forever()

    async def ask(self, peer: PeerId, protocol: str, question: bytes, *, within: float = 30.0) -> bytes:
        try:
            with trio.fail_after(within):
                answer = await self.town.answerers[peer][protocol](self.me, question)
        except Exception as error:
            raise AskFailed(type(error).__name__) from error
        if self.town.lose_answers:
            self.town.lose_answers -= 1
            raise AskFailed("lost")
        return answer

    def serve(self, protocol: str, answer: Answerer) -> None:
        self.town.answerers[self.me][protocol] = answer

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None: ...

    def forget(self, peer: PeerId) -> None: ...

    def peers(self) -> Mapping[PeerId, PeerState]:
        return {}

    async def peer_changes(self) -> AsyncIterator[PeerState]:
        nothing: list[PeerState] = []
        for state in nothing:
            yield state

    async def synchronize(self, peer: PeerId, topic: TopicId) -> int:
        return 0

    def counters(self) -> Mapping[str, int]:
        return {}


class Rig:
    """One mailbox that is running, and all that a test needs to talk to it."""

    def __init__(self, town: Town, mesh: TownMesh, store: MailboxStore, mailbox: Mailbox, clock: Clock) -> None:
        self.town, self.mesh, self.store, self.mailbox, self.clock = town, mesh, store, mailbox, clock
        self.random = random.Random(next(_seeds))  # two lives of a mailbox are asked different questions
        self.tenant = self.client(ALICE, TENANT)
        self.stranger = self.client(CAROL)

    def client(self, who: PeerId, key: SigningKey | None = None) -> MailboxClient:
        return MailboxClient(
            self.town.mesh(who), self.mesh.me, key, now_ms=self.clock, random_bytes=self.random.randbytes
        )

    def token(
        self,
        rights: access.Right = access.Right.READ | access.Right.WRITE,
        *,
        holder: PeerId | None = BOX,
        key: SigningKey = KEY,
        life: int = DAY,
        generation: int = 0,
    ) -> bytes:
        now = self.clock()
        end = Milliseconds(now + life)
        return access.issue(key, rights, holder=holder, not_before=now, expires=end, generation=generation)

    def frame(self, text: str | bytes, *, life: int = DAY, key: SigningKey = KEY) -> Frame:
        payload = text.encode() if isinstance(text, str) else text
        return seal(key, payload, Milliseconds(self.clock.now + life))

    def package(self, name: str, *, stock: Stock = Stock.CONTACTS, life: int = 30 * DAY, size: int = 300) -> Package:
        data = hashlib.sha256(name.encode()).digest() + bytes(size)
        return Package(stock=stock, expires=Milliseconds(self.clock.now + life), data=data)

    def grant(
        self,
        holder: PeerId | None = BOB,
        *,
        count: int = 10,
        interval: int = 0,
        key: SigningKey = TENANT,
        generation: int = 0,
        life: int = DAY,
    ) -> bytes:
        expires = Milliseconds(self.clock.now + life)
        return grant(
            key,
            self.random.randbytes(16),
            holder=holder,
            count=count,
            interval=interval,
            expires=expires,
            generation=generation,
        )


@asynccontextmanager
async def running(
    path: Path,
    *,
    quota: Quota | None = None,
    tenants: Sequence[Tenant] | None = None,
    settings: Settings | None = None,
    clock: Clock | None = None,
    town: Town | None = None,
    me: PeerId = BOX,
    start: Callable[[TownMesh], None] = lambda mesh: None,
) -> AsyncIterator[Rig]:
    """A mailbox in this file."""
    town, clock = town or Town(), clock or Clock()
    mesh = town.mesh(me)
    start(mesh)
    listed = [Tenant(key=key.public, quota=quota or Quota()) for key in (TENANT, SECOND_TENANT)]
    async with MailboxStore.open(path, listed if tenants is None else tenants, now_ms=clock) as store:
        mailbox = Mailbox(mesh, store, now_ms=clock, settings=settings or Settings(rate=1e6, burst=1e6))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mailbox.run)
            await mailbox.serving.wait()
            yield Rig(town, mesh, store, mailbox, clock)
            nursery.cancel_scope.cancel()
