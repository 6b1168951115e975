"""Whatever is asked, a mailbox answers or refuses, and its file stays whole."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.transport.mailbox.rig import (
    ALICE,
    BOB,
    BOX,
    CAROL,
    DAY,
    KEY,
    SECOND_TENANT,
    TENANT,
    TOPIC,
    Rig,
    running,
)
from transport.access import Right, prove, raise_floor
from transport.base import FrameId, Milliseconds, PeerId, Refused, TopicId
from transport.mailbox.bodies import (
    AskHandouts,
    AskStatus,
    AskTopics,
    Body,
    Delete,
    Deposit,
    Get,
    Keep,
    Package,
    PackageId,
    Put,
    RaiseFloor,
    Recall,
    Release,
    Stock,
    Take,
    Withdraw,
)
from transport.mailbox.records import OPEN, seal_slot, slot_name
from transport.mailbox.tenants import Quota
from transport.mailbox.wire import Failure, Request, RequestId, decode_answer, encode_request
from transport.signing import SigningKey

SLOT = SigningKey(b"a slot".ljust(32))
PEERS = (ALICE, BOB, CAROL)
HUGE = (1 << 64) - 1


def any_body(rig: Rig, rng: random.Random) -> Body:
    """One of everything, with numbers at their ends and things that are there or not."""
    topic = rng.choice([TOPIC, TopicId(rng.randbytes(32)), OPEN])
    who = rng.choice([*PEERS, BOX, None])
    rights = Right(rng.randrange(1, 8))
    generation = rng.choice([0, 1, (1 << 32) - 1])
    token = rig.token(rights, holder=who, life=rng.choice([1, DAY, 300 * DAY]), generation=generation)
    credential = rng.choice([b"", token, raise_floor(KEY, 1) + token, prove(KEY, ALICE, BOX), rng.randbytes(150)])
    number = rng.choice([0, 1, 1 << 31, HUGE])
    expires = Milliseconds(rng.choice([0, rig.clock.now + DAY, HUGE]))
    record = seal_slot(
        SLOT,
        b"x" * rng.choice([0, 9]),
        number=number >> 1,
        expires=Milliseconds(expires >> (expires == HUGE)),
        topic=topic,
    )
    package = Package(stock=Stock(rng.randrange(4)), expires=expires, data=rng.randbytes(1 + rng.randrange(2)))
    grant = rng.choice([b"", rig.grant(BOB), rig.grant(None, count=1, interval=(1 << 32) - 1), rng.randbytes(165)])
    return rng.choice(
        (
            Keep(topic=topic, credential=rig.token(generation=generation)),
            Keep(topic=topic, credential=credential),
            Release(topic=topic),
            RaiseFloor(record=raise_floor(KEY, rng.choice([0, 1]))),
            Delete(topic=topic, credential=credential, ids=tuple(FrameId(rng.randbytes(32)) for _ in range(2))),
            Delete(topic=topic, credential=credential),
            Put(record=record),
            Get(name=slot_name(SLOT.public), after=number, credential=credential),
            Deposit(packages=(package, package)),
            Withdraw(ids=(PackageId(rng.randbytes(32)),)),
            Take(tenant=rng.choice([TENANT.public, rng.randbytes(32)]), grant=grant),
            Recall(generation=rng.choice([0, 1])),
            AskStatus(),
            AskTopics(after=topic),
            AskHandouts(after=number),
        )
    )


def any_question(rig: Rig, rng: random.Random, peer: PeerId) -> bytes:
    key = rng.choice([TENANT, SECOND_TENANT, None, SLOT])
    request = Request(
        id=RequestId(rng.choice([bytes(16), rng.randbytes(16)])),
        body=any_body(rig, rng),
        sent=Milliseconds(rng.choice([rig.clock.now, rig.clock.now, 0, HUGE])),
        room=rng.choice([26, 200, 1 << 20]),
    )
    encoded = bytearray(encode_request(request, peer, BOX, key))
    if rng.random() < 0.3:
        encoded[rng.randrange(len(encoded))] ^= 1 << rng.randrange(8)
    if rng.random() < 0.1:
        del encoded[rng.randrange(len(encoded)) :]
    return bytes(encoded)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
async def test_every_question_is_answered_or_refused(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    quota = Quota(bytes=2000, frames=5, topics=2, slots=2, packages=20, grants=5)
    failures: set[Failure] = set()
    async with running(tmp_path / "box", quota=quota) as rig:
        for number in range(700):
            peer = rng.choice(PEERS)
            question = any_question(rig, rng, peer)
            try:
                answer = await rig.mailbox.handle(peer, question)
            except Refused:
                continue
            room = int.from_bytes(question[18:22])
            assert len(answer) <= max(room, 26)
            if answer[1] != Failure.VERSION:
                failures.add(decode_answer(answer, RequestId(question[2:18])).failure)
            if number % 20 == 0:
                await rig.store.add([rig.frame(str(number + n), life=DAY) for n in range(3)])
                rig.clock.now += rng.choice([0, 1000, DAY])
                await rig.mailbox.sweep()
        (whole,) = await rig.store.run(lambda db: db.execute("PRAGMA integrity_check").fetchone())
        assert whole == "ok"
    assert failures >= {Failure.NONE, Failure.NOT_FOUND, Failure.CLOCK, Failure.ROOM, Failure.EXPIRED}
