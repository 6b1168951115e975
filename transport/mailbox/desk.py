"""One request and one database in, one answer out.

Runs inside the transaction that the answer depends on, in the store's thread, one at a time. It knows who asks
(their connection has proven it), reads no clock and sends nothing; what has to happen on the mesh afterwards it
names: the topics whose standing may have changed.

Whoever has no right is answered NOT_FOUND, the same as if there was nothing: which tenants, topics, slots and
stocks there are is nobody else's business. If an answer is larger than the asker takes, `TooLarge` undoes the
transaction: a package that would not arrive is not handed out.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from transport.access import LONGEST, Credential, Floor, Right, Token, Verifier, parse, peer_hash
from transport.base import Milliseconds, PeerId, TopicId
from transport.mailbox import keeps, packages, slots
from transport.mailbox.bodies import (
    AskHandouts,
    AskStatus,
    AskTopics,
    Body,
    Delete,
    Deposit,
    Get,
    Keep,
    PackageId,
    Put,
    RaiseFloor,
    Recall,
    Release,
    Stock,
    Take,
    Withdraw,
)
from transport.mailbox.pace import Pace
from transport.mailbox.records import OPEN, open_grant, open_slot
from transport.mailbox.tenants import Quota
from transport.mailbox.wire import (
    ANSWER_OVERHEAD,
    Answer,
    Failure,
    HandoutRow,
    Request,
    Status,
    TopicRow,
    encode_row,
    row_size,
)

CLOCKS: Final = 10 * 60 * 1000
"""Milliseconds by which the clock of a tenant may differ."""

MOST_TENANTS: Final = 10_000
"""Whose pace is known: as many as the settings can list."""

_DONE: Final = Answer()
_NOT_FOUND: Final = Answer(failure=Failure.NOT_FOUND)
_FULL: Final = Answer(failure=Failure.FULL)
_HIGHEST: Final = (1 << 63) - 1


class TooLarge(Exception):
    """The answer does not fit what the asker takes."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How fast strangers may take a tenant's packages: per second, and at once."""

    tenant_rate: float = 1 / 600
    tenant_burst: float = 5
    peer_rate: float = 1 / 3600
    peer_burst: float = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request and what is known about the moment it is answered in."""

    db: sqlite3.Connection = field(repr=False)
    request: Request
    peer: PeerId
    now: Milliseconds
    tick: float

    @property
    def tenant(self) -> bytes:
        """Who signed; no tenant has the empty key of nobody."""
        return self.request.tenant or b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    answer: Answer
    moved: tuple[TopicId, ...] = ()


class Desk:
    """Answers requests. Owns how fast strangers may ask, and which signatures were found good."""

    def __init__(self, me: PeerId, quotas: Mapping[bytes, Quota], pacing: Pacing) -> None:
        self._me = me
        self._quotas = quotas
        self._verifier = Verifier(me)
        self._by_tenant: Pace[bytes] = Pace(pacing.tenant_rate, pacing.tenant_burst, most=MOST_TENANTS)
        self._by_peer: Pace[PeerId] = Pace(pacing.peer_rate, pacing.peer_burst)

    def answer(self, asked: Asked) -> Outcome:
        request = asked.request
        kind = type(request.body)
        if request.tenant is not None and abs(request.sent - asked.now) > CLOCKS:
            return Outcome(answer=Answer(failure=Failure.CLOCK, detail=max(asked.now, 0)))
        if kind in _TENANTS_ONLY and request.tenant not in self._quotas:
            return Outcome(answer=_NOT_FOUND)
        outcome = _ANSWERS[kind](self, asked, request.body)
        size = ANSWER_OVERHEAD + len(outcome.answer.body)
        if size > request.room:
            raise TooLarge(size)
        return outcome

    # ------------------------------------------------------------ topics

    def keep(self, asked: Asked, body: Keep) -> Outcome:
        credential = parse(body.credential) or Credential()
        claim = credential.claim
        if not isinstance(claim, Token) or claim.holder != peer_hash(self._me):
            return Outcome(answer=_NOT_FOUND)
        if Right.READ | Right.WRITE not in self._rights(asked, self._me, body.topic, credential):
            return Outcome(answer=_NOT_FOUND)
        if not keeps.keep(asked.db, asked.tenant, claim, self._quotas[asked.tenant]):
            return Outcome(answer=_FULL)
        if credential.floor is not None and self._verifier.signed(credential.floor):
            keeps.raise_floor(asked.db, credential.floor)
        return Outcome(answer=_DONE, moved=(body.topic,))

    def release(self, asked: Asked, body: Release) -> Outcome:
        if not keeps.release(asked.db, asked.tenant, body.topic):
            return Outcome(answer=_NOT_FOUND)
        return Outcome(answer=_DONE, moved=(body.topic,))

    def floor(self, asked: Asked, body: RaiseFloor) -> Outcome:
        floor = (parse(body.record) or Credential()).floor
        if floor is None or not keeps.is_kept(asked.db, floor.topic) or not self._verifier.signed(floor):
            return Outcome(answer=_NOT_FOUND)
        return Outcome(answer=_DONE, moved=(floor.topic,) if keeps.raise_floor(asked.db, floor) else ())

    def delete(self, asked: Asked, body: Delete) -> Outcome:
        credential = parse(body.credential) or Credential()
        if Right.DELETE not in self._rights(asked, asked.peer, body.topic, credential):
            return Outcome(answer=_NOT_FOUND)
        if not keeps.is_kept(asked.db, body.topic):
            return Outcome(answer=_NOT_FOUND)
        return Outcome(answer=Answer(body=keeps.delete(asked.db, body.topic, body.ids).to_bytes(4)))

    def _rights(self, asked: Asked, shower: PeerId, topic: TopicId, credential: Credential) -> Right:
        floors = [keeps.lowest_generation(asked.db, topic)]
        floor = credential.floor
        if isinstance(floor, Floor) and floor.topic == topic and self._verifier.signed(floor):
            floors.append(floor.generation)
        return self._verifier.rights(shower, topic, credential, asked.now, max(floors))

    # ------------------------------------------------------------ slots

    def put(self, asked: Asked, body: Put) -> Outcome:
        slot = open_slot(body.record)
        if slot is None:
            return Outcome(answer=_NOT_FOUND)
        return Outcome(answer=slots.put(asked.db, slot, asked.request.tenant, self._quotas, asked.now))

    def get(self, asked: Asked, body: Get) -> Outcome:
        topic = slots.reader_topic(asked.db, body.name, asked.now)
        if topic is None:
            return Outcome(answer=_NOT_FOUND)
        if topic != OPEN:
            credential = parse(body.credential) or Credential()
            if Right.READ not in self._rights(asked, asked.peer, topic, credential):
                return Outcome(answer=_NOT_FOUND)
        return Outcome(answer=Answer(body=slots.read(asked.db, body.name, body.after)))

    # ------------------------------------------------------------ key packages

    def deposit(self, asked: Asked, body: Deposit) -> Outcome:
        quota = self._quotas[asked.tenant]
        return Outcome(
            answer=Answer(body=bytes(packages.deposit(asked.db, asked.tenant, body.packages, quota, asked.now)))
        )

    def withdraw(self, asked: Asked, body: Withdraw) -> Outcome:
        count = packages.withdraw(asked.db, asked.tenant, body.ids, asked.now)
        return Outcome(answer=Answer(body=count.to_bytes(4)))

    def recall(self, asked: Asked, body: Recall) -> Outcome:
        packages.recall(asked.db, asked.tenant, body.generation)
        return Outcome(answer=_DONE)

    def take(self, asked: Asked, body: Take) -> Outcome:
        return Outcome(answer=self._with_grant(asked, body) if body.grant else self._as_stranger(asked, body))

    def _with_grant(self, asked: Asked, body: Take) -> Answer:
        grant, quota = open_grant(body.grant), self._quotas.get(body.tenant)
        if grant is None or quota is None or grant.tenant != body.tenant or not grant.held_by(asked.peer):
            return _NOT_FOUND
        if grant.expires > asked.now + LONGEST:
            return _NOT_FOUND
        asker = packages.Asker(holder=peer_hash(asked.peer), request=asked.request.id)
        if (again := packages.repeated(asked.db, grant.tenant, asker, asked.now)) is not None:
            return again
        if (refusal := packages.allowance(asked.db, grant, quota, asked.now)) is not None:
            return refusal
        given = packages.hand_out(asked.db, grant.tenant, Stock.CONTACTS, asker, asked.now)
        if given is None:
            return Answer(failure=Failure.EMPTY)
        packages.count_use(asked.db, grant, asked.now)
        return given

    def _as_stranger(self, asked: Asked, body: Take) -> Answer:
        # The peer's own pace comes first and is the same whether there is such a tenant or not.
        asker = packages.Asker(holder=peer_hash(asked.peer), request=asked.request.id)
        known = body.tenant in self._quotas
        if known and (again := packages.repeated(asked.db, body.tenant, asker, asked.now)) is not None:
            return again
        if (wait := self._by_peer.wait(asked.peer, asked.tick)) > 0:
            return Answer(failure=Failure.BUSY, detail=int(wait * 1000) + 1)
        self._by_peer.spend(asked.peer, 1, asked.tick)
        if not known:
            return _NOT_FOUND
        if self._by_tenant.wait(body.tenant, asked.tick) > 0:
            return packages.last_resort(asked.db, body.tenant, Stock.STRANGERS, asked.now) or _NOT_FOUND
        given = packages.hand_out(asked.db, body.tenant, Stock.STRANGERS, asker, asked.now)
        if given is None:
            return _NOT_FOUND
        self._by_tenant.spend(body.tenant, 1, asked.tick)
        return given

    # ------------------------------------------------------------ what there is

    def status(self, asked: Asked, _body: AskStatus) -> Outcome:
        db, tenant, quota = asked.db, asked.tenant, self._quotas[asked.tenant]
        used, frames, gone, declined = db.execute(
            "SELECT coalesce(sum(bytes), 0), coalesce(sum(frames), 0), coalesce(sum(gone), 0), "
            "coalesce(sum(declined), 0) FROM payer JOIN usage USING (topic) WHERE tenant = ?",
            (tenant,),
        ).fetchone()
        (topics,) = db.execute("SELECT count(*) FROM keep WHERE tenant = ?", (tenant,)).fetchone()
        slot_count, slot_bytes = db.execute(
            "SELECT count(*), coalesce(sum(length(record)), 0) FROM slot WHERE tenant = ?", (tenant,)
        ).fetchone()
        contacts, strangers, lasting, first = db.execute(
            "SELECT coalesce(sum(stock = 0 AND NOT lasting), 0), coalesce(sum(stock = 1 AND NOT lasting), 0), "
            "coalesce(sum(lasting), 0), coalesce(min(expires), 0) FROM package "
            "WHERE tenant = ? AND state = 0 AND expires > ?",
            (tenant, asked.now),
        ).fetchone()
        (handed,) = db.execute("SELECT count(*) FROM handout WHERE tenant = ?", (tenant,)).fetchone()
        (file,) = db.execute("SELECT name FROM file").fetchone()
        status = Status(
            bytes=used,
            frames=frames,
            gone=gone,
            declined=declined,
            topics=topics,
            slots=slot_count,
            slot_bytes=slot_bytes,
            for_contacts=contacts,
            for_strangers=strangers,
            lasting=lasting,
            first_end=first,
            handed_out=handed,
            file=file,
            may_bytes=quota.bytes,
            may_frames=quota.frames,
            may_topics=quota.topics,
            may_retention=quota.retention,
            may_slots=quota.slots,
            may_slot_bytes=quota.slot_bytes,
            may_packages=quota.packages,
        )
        return Outcome(answer=Answer(body=encode_row(status)))

    def topics(self, asked: Asked, body: AskTopics) -> Outcome:
        rows = asked.db.execute(
            "SELECT keep.topic, expires, coalesce(payer.tenant = keep.tenant, 0), coalesce(bytes, 0), "
            "coalesce(frames, 0), coalesce(gone, 0), coalesce(declined, 0) FROM keep "
            "LEFT JOIN payer USING (topic) LEFT JOIN usage USING (topic) "
            "WHERE keep.tenant = ? AND keep.topic > ? ORDER BY keep.topic LIMIT ?",
            (asked.tenant, body.after, _fitting(asked, row_size(TopicRow))),
        )
        parts = [
            encode_row(
                TopicRow(
                    topic=TopicId(topic),
                    expires=end,
                    pays=pays,
                    bytes=used,
                    frames=frames,
                    gone=gone,
                    declined=declined,
                )
            )
            for topic, end, pays, used, frames, gone, declined in rows
        ]
        return Outcome(answer=Answer(body=b"".join(parts)))

    def handouts(self, asked: Asked, body: AskHandouts) -> Outcome:
        rows = asked.db.execute(
            "SELECT seq, at, package, holder FROM handout WHERE tenant = ? AND seq > ? ORDER BY seq LIMIT ?",
            (asked.tenant, min(body.after, _HIGHEST), _fitting(asked, row_size(HandoutRow))),
        )
        parts = [
            encode_row(HandoutRow(number=seq, at=at, package=PackageId(package), holder=holder))
            for seq, at, package, holder in rows
        ]
        return Outcome(answer=Answer(body=b"".join(parts)))


def _fitting(asked: Asked, size: int) -> int:
    """How many rows of this size the asker has room for."""
    return (asked.request.room - ANSWER_OVERHEAD) // size


# Each handler takes the one kind of body that is beside it, which a table cannot say.
_ANSWERS: Final[Mapping[type[Body], Callable[[Desk, Asked, Any], Outcome]]] = {
    Keep: Desk.keep,
    Release: Desk.release,
    RaiseFloor: Desk.floor,
    Delete: Desk.delete,
    Put: Desk.put,
    Get: Desk.get,
    Deposit: Desk.deposit,
    Withdraw: Desk.withdraw,
    Take: Desk.take,
    Recall: Desk.recall,
    AskStatus: Desk.status,
    AskTopics: Desk.topics,
    AskHandouts: Desk.handouts,
}
_TENANTS_ONLY: Final = frozenset(
    {Keep, Release, Deposit, Withdraw, Recall, AskStatus, AskTopics, AskHandouts},
)
READS_ONLY: Final = frozenset({Get, AskStatus, AskTopics, AskHandouts})
"""What changes nothing, and so waits for no disk."""
