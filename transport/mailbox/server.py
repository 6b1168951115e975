"""The mesh, the store and the desk, running: a mailbox.

    handle(peer, question)   paced, decoded, answered in one transaction, committed; then the mesh is told
    run()                    takes part in what is kept, reads what arrives, forgets what is over

What the mesh should take part in follows from the file alone, so after a crash `run` finds out by reading it,
and looks again every `sweep` seconds: tokens end by themselves, and a request that was cut off between its
commit and its effect is made good then.

Under load: a peer that asks too often is told to wait, at the price of looking at 18 bytes. More requests at
once than `most_at_once` are answered the same. Junk is refused without an answer and counts against its peer
like many requests. Everything that writes waits for the one thread of the store, and its sync to disk.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from transport.base import Mesh, Milliseconds, PeerId, Reason, Refused, Topic, TopicId
from transport.mailbox import keeps, packages, slots
from transport.mailbox.bodies import Malformed
from transport.mailbox.desk import READS_ONLY, Asked, Desk, Outcome, Pacing, TooLarge
from transport.mailbox.pace import Pace
from transport.mailbox.store import MailboxStore
from transport.mailbox.tenants import Tenant
from transport.mailbox.wire import PROTOCOL, VERSION, Answer, Failure, UnknownVersion, decode_request

_ID: Final = slice(2, 18)
_NO_ID: Final = bytes(16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    rate: float = 5.0  # requests a second of one peer, for long
    burst: float = 50.0  # and at once
    bytes_per_request: int = 64 << 10  # a larger request counts as several
    junk: float = 20.0  # as many requests as one that is not one counts for
    most_at_once: int = 32
    sweep: float = 30.0  # seconds
    pacing: Pacing = field(default_factory=Pacing)


class Mailbox:
    """One mailbox. `run` it once; `handle` is also what a test needs."""

    def __init__(
        self,
        mesh: Mesh,
        store: MailboxStore,
        *,
        now_ms: Callable[[], Milliseconds],
        settings: Settings = Settings(),
    ) -> None:
        """`mesh` keeps its frames in `store`, and nobody else reads its `frames()`."""
        self.serving = trio.Event()
        """Set when `run` answers questions."""
        self._mesh = mesh
        self._store = store
        self._now_ms = now_ms
        self._settings = settings
        self._desk = Desk(mesh.me, store.quotas, settings.pacing)
        self._pace: Pace[PeerId] = Pace(settings.rate, settings.burst)
        self._busy = 0
        self._done = trio.Event()
        self._joined: dict[TopicId, Topic] = {}
        self._settling = trio.Lock()
        self._counted: Counter[str] = Counter()
        self._breaks = trio.Event()
        self._broken: Exception | None = None

    async def answered(self) -> None:
        """Until no request is being answered."""
        while self._busy:
            self._done = trio.Event()
            await self._done.wait()

    async def list_tenants(self, tenants: Sequence[Tenant]) -> None:
        """Have other tenants, or other quotas, from now on."""
        await self._store.list_tenants(tenants)
        await self.sweep()

    def counters(self) -> Mapping[str, int]:
        """What happened since the mailbox began, by name."""
        return self._counted + self._store.counted

    async def run(self) -> None:
        """Be a mailbox until the mesh ends or this is canceled. A disk that fails ends it with its error."""
        await self.sweep()
        self._mesh.serve(PROTOCOL, self.handle)
        self.serving.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_sweeping, name="mailbox sweep")
            nursery.start_soon(self._end_with_the_disk, name="mailbox disk")
            async for _ in self._mesh.frames():
                self._counted["mailbox.arrivals"] += 1  # it is stored already
            nursery.cancel_scope.cancel()

    async def _end_with_the_disk(self) -> None:
        await self._breaks.wait()
        if self._broken is not None:
            raise self._broken

    # ------------------------------------------------------------ requests

    async def handle(self, peer: PeerId, question: bytes) -> bytes:
        """The answer to one question. `Refused` for what is not a request: the mesh tells the asker no more."""
        tick = trio.current_time()
        wait = self._pace.wait(peer, tick)
        if wait > 0 or self._busy >= self._settings.most_at_once:
            self._counted["mailbox.busy"] += 1
            if len(question) < _ID.stop or question[0] != VERSION:
                raise Refused(Reason.FULL, "too many requests")
            return Answer(failure=Failure.BUSY, detail=int(wait * 1000) + 1).encode(question[_ID])
        self._pace.spend(peer, max(1, len(question) / self._settings.bytes_per_request), tick)
        try:
            request = decode_request(question, peer, self._mesh.me)
        except UnknownVersion:
            self._counted["mailbox.version"] += 1
            return Answer(failure=Failure.VERSION, detail=VERSION).encode(_NO_ID)
        except Malformed as error:
            self._counted["mailbox.malformed"] += 1
            self._pace.spend(peer, self._settings.junk, tick)
            raise Refused(Reason.MALFORMED, str(error)) from error
        self._busy += 1
        now = self._now_ms()
        try:
            outcome = await self._answer(
                lambda db: self._desk.answer(Asked(db=db, request=request, peer=peer, now=now, tick=tick)),
                durable=type(request.body) not in READS_ONLY,
            )
        except sqlite3.Error as error:
            self._broken = error
            self._breaks.set()
            raise
        finally:
            self._busy -= 1
            self._done.set()
        self._counted["mailbox.requests"] += 1
        if outcome.answer.failure:
            self._counted[f"mailbox.{outcome.answer.failure.name.lower()}"] += 1
        for topic in outcome.moved:
            await self._settle(topic)
        return outcome.answer.encode(request.id, request.room)

    async def _answer(self, work: Callable[..., Outcome], *, durable: bool) -> Outcome:
        try:
            return await self._store.run(work, durable=durable)
        except TooLarge as error:
            return Outcome(answer=Answer(failure=Failure.ROOM, detail=error.size))

    # ------------------------------------------------------------ the mesh

    async def _settle(self, topic: TopicId) -> None:
        """Take part in a topic as the file says now."""
        async with self._settling:
            await self._follow(await self._store.run(partial(keeps.standing, topic=topic, now=self._now_ms())))

    async def _follow(self, standing: Topic | keeps.Left) -> None:
        if isinstance(standing, Topic):
            if self._joined.get(standing.id) != standing:
                await self._mesh.join(standing)
                self._joined[standing.id] = standing
            return
        if standing.topic in self._joined:
            await self._mesh.leave(standing.topic, forget=standing.forget)
            del self._joined[standing.topic]  # only now: an asker may be gone halfway, and the next sweep goes on
        elif standing.forget:
            await self._store.drop(standing.topic)

    # ------------------------------------------------------------ what passes

    async def _keep_sweeping(self) -> None:
        while True:
            await trio.sleep(self._settings.sweep)
            await self.sweep()

    async def sweep(self) -> None:
        """Forget what is over, ask again for what was declined if there is room, and follow the file."""
        now = self._now_ms()
        await self._store.expire(now)
        for forget_old in (keeps.forget_old, slots.forget_old, packages.forget_old):
            await self._store.run(partial(forget_old, now=now))
        for topic in await self._store.run(partial(keeps.reopen, quotas=self._store.quotas)):
            async with self._settling:
                if self._joined.pop(topic, None) is not None:  # joined anew below: sync compares what is here now
                    await self._mesh.leave(topic)
        for standing in await self._store.run(partial(keeps.standings, now=now)):
            topic = standing.id if isinstance(standing, Topic) else standing.topic
            if self._joined.get(topic) != (standing if isinstance(standing, Topic) else None) or (
                isinstance(standing, keeps.Left) and standing.forget
            ):
                await self._settle(topic)
