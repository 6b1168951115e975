"""Requests as bytes: strict, not to be replayed, paced; what is not one; and answers that tell nothing to strangers."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
import trio
from hypothesis import given, strategies as st
from trio.testing import MockClock

from tests.transport.mailbox.rig import (
    ALICE,
    BOB,
    BOX,
    CAROL,
    KEY,
    NOW,
    TENANT,
    TOPIC,
    Clock,
    Rig,
    person,
    running,
)
from transport.access import FLOOR_SIZE, MAX_CREDENTIAL
from transport.base import MAX_ASK, AskFailed, FrameId, Milliseconds, PeerId, Refused, TopicId
from transport.frames import topic_id
from transport.mailbox import desk
from transport.mailbox.bodies import (
    MAX_PACKAGE,
    MOST_DEPOSITS,
    MOST_IDS,
    AskHandouts,
    AskStatus,
    AskTopics,
    Body,
    Delete,
    Deposit,
    Get,
    Keep,
    Malformed,
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
from transport.mailbox.client import Declined
from transport.mailbox.records import GRANT_SIZE, SlotName
from transport.mailbox.server import Settings
from transport.mailbox.wire import (
    ANSWER_OVERHEAD,
    PROTOCOL,
    Answer,
    Failure,
    HandoutRow,
    Request,
    RequestId,
    Status,
    TopicRow,
    UnknownVersion,
    decode_answer,
    decode_request,
    decode_rows,
    encode_request,
    encode_row,
)
from transport.signing import SigningKey

ID = RequestId(b"i" * 16)
hashes = st.binary(min_size=32, max_size=32)
u64 = st.integers(0, (1 << 64) - 1)
credentials = st.binary(max_size=MAX_CREDENTIAL)
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(Keep, topic=hashes, credential=credentials),
    st.builds(Release, topic=hashes),
    st.builds(RaiseFloor, record=st.binary(min_size=FLOOR_SIZE, max_size=FLOOR_SIZE)),
    st.builds(Delete, topic=hashes, credential=credentials, ids=st.lists(hashes, max_size=5).map(tuple)),
    st.builds(Put, record=st.binary(max_size=500)),
    st.builds(Get, name=hashes, after=u64, credential=credentials),
    st.builds(
        Deposit,
        packages=st.lists(
            st.builds(
                Package, stock=st.sampled_from([Stock(n) for n in range(4)]), expires=u64, data=st.binary(min_size=1)
            ),
            max_size=4,
        ).map(tuple),
    ),
    st.builds(Withdraw, ids=st.lists(hashes, max_size=5).map(tuple)),
    st.builds(Take, tenant=hashes, grant=st.just(b"") | st.binary(min_size=GRANT_SIZE, max_size=GRANT_SIZE)),
    st.builds(Recall, generation=st.integers(0, (1 << 32) - 1)),
    st.builds(AskStatus),
    st.builds(AskTopics, after=hashes),
    st.builds(AskHandouts, after=u64),
)


async def ask(
    rig: Rig, body: Body, who: PeerId = ALICE, key: SigningKey | None = None, *, room: int = MAX_ASK, sent: int = NOW
) -> Answer:
    """The answer as it is, without a client in between."""
    request = Request(id=ID, body=body, sent=Milliseconds(sent), room=room)
    return decode_answer(await rig.mailbox.handle(who, encode_request(request, who, rig.mesh.me, key)), ID)


# ---------------------------------------------------------------- the format


@pytest.mark.slow
@given(bodies, st.booleans(), u64, st.integers(26, MAX_ASK))
def test_a_request_says_what_was_put_in(body: Body, signed: bool, sent: int, room: int) -> None:
    key = TENANT if signed else None
    request = Request(id=ID, body=body, sent=Milliseconds(sent), room=room, tenant=key.public if key else None)
    encoded = encode_request(request, ALICE, BOX, key)
    assert decode_request(encoded, ALICE, BOX) == request
    for changed in (encoded[:-1], encoded + b"\0"):
        try:
            other = decode_request(changed, ALICE, BOX)
        except Malformed:
            continue
        assert not signed
        assert encode_request(other, ALICE, BOX) == changed  # a body without an end of its own


@pytest.mark.slow
@given(bodies)
def test_a_request_is_for_one_mailbox_and_from_one_peer(body: Body) -> None:
    encoded = encode_request(Request(id=ID, body=body, sent=Milliseconds(NOW)), ALICE, BOX, TENANT)
    for asker, mailbox in ((BOB, BOX), (ALICE, BOB), (BOX, ALICE)):
        with pytest.raises(Malformed):
            decode_request(encoded, asker, mailbox)


@pytest.mark.slow
def test_no_changed_bit_of_a_signed_request_gets_through() -> None:
    body = Delete(topic=TOPIC, credential=b"c", ids=(FrameId(bytes(32)),))
    encoded = encode_request(Request(id=ID, body=body, sent=Milliseconds(NOW)), ALICE, BOX, TENANT)
    for bit in range(len(encoded) * 8):
        changed = bytearray(encoded)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises((Malformed, UnknownVersion)):
            decode_request(bytes(changed), ALICE, BOX)


@pytest.mark.slow
@given(st.binary(max_size=300), st.integers(0, 20))
def test_junk_is_not_a_request(junk: bytes, op: int) -> None:
    head = bytes([1, op]) + bytes(16) + (1000).to_bytes(4) + bytes(8) + bytes(32)
    for data in (junk, b"\1" + junk, head + junk):
        try:
            request = decode_request(data, ALICE, BOX)
        except (Malformed, UnknownVersion):
            continue
        assert encode_request(request, ALICE, BOX) == data


@given(st.binary(max_size=100))
def test_junk_is_not_an_answer(junk: bytes) -> None:
    for data in (junk, b"\1\0" + ID + junk, b"\1\2" + ID + junk):
        try:
            decode_answer(data, ID)
        except Malformed:
            continue
        assert data[2:18] == ID or data[1] == Failure.VERSION
    for kind in (Status, TopicRow, HandoutRow):
        try:
            rows = decode_rows(kind, junk)  # type: ignore[type-var]
        except Malformed:
            continue
        assert b"".join(encode_row(row) for row in rows) == junk  # type: ignore[arg-type]


def test_limits_are_those_of_the_format() -> None:
    for body in (
        Delete(topic=TOPIC, credential=b"", ids=(FrameId(bytes(32)),) * (MOST_IDS + 1)),
        Withdraw(ids=(PackageId(bytes(32)),) * (MOST_IDS + 1)),
        Deposit(packages=(Package(stock=Stock.CONTACTS, expires=Milliseconds(1), data=b"p"),) * (MOST_DEPOSITS + 1)),
        Deposit(packages=(Package(stock=Stock.CONTACTS, expires=Milliseconds(1), data=bytes(MAX_PACKAGE + 1)),)),
        Deposit(packages=(Package(stock=Stock.CONTACTS, expires=Milliseconds(1), data=b""),)),
        Keep(topic=TOPIC, credential=bytes(MAX_CREDENTIAL + 1)),
        Take(tenant=bytes(32), grant=b"short"),
    ):
        with pytest.raises(Malformed):
            decode_request(encode_request(Request(id=ID, body=body, sent=Milliseconds(0)), ALICE, BOX), ALICE, BOX)
    assert MAX_PACKAGE + ANSWER_OVERHEAD + 1 < MAX_ASK


# ---------------------------------------------------------------- who asks, and when


async def test_a_request_that_was_seen_is_of_no_use_to_others(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig, running(tmp_path / "other", me=BOB, town=rig.town) as other:
        request = Request(id=ID, body=AskStatus(), sent=Milliseconds(NOW))
        seen = encode_request(request, ALICE, BOX, TENANT)
        assert decode_answer(await rig.mailbox.handle(ALICE, seen), ID).failure is Failure.NONE
        for box, peer in ((rig, CAROL), (other, ALICE), (other, BOX)):
            with pytest.raises(Refused):
                await box.mailbox.handle(peer, seen)


@pytest.mark.parametrize("skew", [desk.CLOCKS + 1, -desk.CLOCKS - 1])
async def test_a_request_from_another_time_is_told_the_time(tmp_path: Path, skew: int) -> None:
    async with running(tmp_path / "box") as rig:
        answer = await ask(rig, AskStatus(), key=TENANT, sent=NOW + skew)
        assert (answer.failure, answer.detail) == (Failure.CLOCK, NOW)
        near = NOW + (skew - 1 if skew > 0 else skew + 1)
        assert not (await ask(rig, AskStatus(), key=TENANT, sent=near)).failure
        assert (await ask(rig, Get(name=SlotName(bytes(32))), sent=0)).failure is Failure.NOT_FOUND


async def test_who_has_no_right_learns_nothing(tmp_path: Path) -> None:
    """Every operation is answered the same to a stranger, whether what it names is here or not."""
    async with running(tmp_path / "one") as rig, running(tmp_path / "other", tenants=[]) as empty:
        await rig.tenant.keep(TOPIC, rig.token())
        await rig.tenant.deposit([rig.package("one")])
        key = SigningKey(b"nobody".ljust(32))
        questions: list[Body] = [
            Keep(topic=TOPIC, credential=rig.token()),
            Release(topic=TOPIC),
            Delete(topic=TOPIC, credential=b""),
            Deposit(packages=(rig.package("two"),)),
            Withdraw(),
            Recall(generation=1),
            AskStatus(),
            AskTopics(after=TOPIC),
            AskHandouts(),
            Take(tenant=TENANT.public),
            Take(tenant=TENANT.public, grant=rig.grant(ALICE)),
        ]
        for question in questions:
            for signer in (None, key):
                answers = {await ask(box, question, BOB, signer) for box in (rig, empty)}
                failures = {answer.failure for answer in answers}
                assert len(failures) == 1
                assert failures <= {Failure.NOT_FOUND, Failure.BUSY}


# ---------------------------------------------------------------- too much, and junk


async def test_who_asks_too_often_waits(tmp_path: Path, mock_clock: MockClock) -> None:
    async with running(tmp_path / "box", settings=Settings(rate=1, burst=3, sweep=1e9)) as rig:
        get = Get(name=SlotName(bytes(32)))
        failures = [(await ask(rig, get)).failure for _ in range(6)]
        assert failures == [Failure.NOT_FOUND] * 3 + [Failure.BUSY] * 3
        assert (await ask(rig, get, BOB)).failure is Failure.NOT_FOUND
        answer = await ask(rig, get)
        assert 0 < answer.detail <= 1001
        mock_clock.jump(answer.detail / 1000)
        assert (await ask(rig, get)).failure is Failure.NOT_FOUND
        with pytest.raises(Refused):
            for _ in range(5):
                await rig.mailbox.handle(ALICE, b"\1")


async def test_large_requests_count_as_several(tmp_path: Path) -> None:
    settings = Settings(rate=1e-6, burst=10, bytes_per_request=1000)
    async with running(tmp_path / "box", settings=settings) as rig:
        await rig.tenant.deposit([rig.package("large", size=20_000)])
        assert (await ask(rig, AskStatus(), key=TENANT)).failure is Failure.BUSY


async def test_junk_is_refused_counted_and_costs(tmp_path: Path) -> None:
    async with running(tmp_path / "box", settings=Settings(rate=1e-6, burst=30, junk=20)) as rig:
        for number in range(2):
            with pytest.raises(Refused):
                await rig.mailbox.handle(ALICE, b"\1junk" + bytes(80))
            assert rig.mailbox.counters()["mailbox.malformed"] == number + 1
        assert (await ask(rig, AskStatus(), key=TENANT)).failure is Failure.BUSY
        assert not (await ask(rig, AskStatus(), BOB, TENANT)).failure


async def test_a_newer_version_is_told_which_one_is_known(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        answer = decode_answer(await rig.mailbox.handle(ALICE, b"\2whatever"), ID)
        assert (answer.failure, answer.detail) == (Failure.VERSION, 1)


async def test_requests_at_once_are_bounded(tmp_path: Path) -> None:
    async with running(tmp_path / "box", settings=Settings(rate=1e6, burst=1e6, most_at_once=4)) as rig:
        failures: list[Failure] = []

        async def one(number: int) -> None:
            failures.append((await ask(rig, AskStatus(), person(number), TENANT)).failure)

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(one, number)
        assert sorted(failures) == [Failure.NONE] * 4 + [Failure.BUSY] * 16


async def test_an_answer_is_never_larger_than_what_was_asked_for(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        for number in range(9):
            key = SigningKey(bytes([number + 1]) * 32)
            await rig.tenant.keep(topic_id(key.public), rig.token(key=key))
        answer = await ask(rig, AskTopics(after=TopicId(bytes(32))), key=TENANT, room=ANSWER_OVERHEAD + 3 * 80 + 79)
        rows = decode_rows(TopicRow, answer.body)
        assert len(rows) == 3
        rest = await rig.tenant.topics(after=rows[-1].topic)
        assert len(rest) == 6
        assert [row.topic for row in rows + rest] == sorted(row.topic for row in rows + rest)
        answer = await ask(rig, AskStatus(), key=TENANT, room=100)
        assert (answer.failure, answer.detail) == (Failure.ROOM, ANSWER_OVERHEAD + 20 * 8)


async def test_a_lying_mailbox_does_not_get_further_than_its_client(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        lies = [b"", b"\1\0", b"\1\0" + bytes(16), b"\2\0" + bytes(30), bytes(1000)]

        async def lie(peer: PeerId, question: bytes) -> bytes:
            kind = lies.pop()
            return b"\1\0" + question[2:18] + bytes(7) if kind == bytes(1000) else kind

        rig.mesh.serve(PROTOCOL, lie)
        while lies:
            with pytest.raises(AskFailed):
                await rig.tenant.status()
        lies = [bytes(1000)] * 8
        with pytest.raises(AskFailed):
            await rig.tenant.deposit([rig.package("one")])
        with pytest.raises(AskFailed):
            await rig.tenant.topics()
        with pytest.raises(AskFailed):
            await rig.tenant.withdraw()


async def test_a_disk_that_fails_ends_the_mailbox(tmp_path: Path) -> None:
    with pytest.RaisesGroup(sqlite3.OperationalError, flatten_subgroups=True):
        async with running(tmp_path / "box") as rig:

            def broken(*_: object) -> NoReturn:
                raise sqlite3.OperationalError("disk I/O error")

            rig.mailbox._desk.answer = broken  # type: ignore[method-assign, assignment]
            with pytest.raises(AskFailed):
                await rig.tenant.status()
            await trio.sleep_forever()


async def test_it_sweeps_by_itself(tmp_path: Path) -> None:
    clock = Clock()
    settings = Settings(rate=1e6, burst=1e6, sweep=0.01)
    async with running(tmp_path / "box", clock=clock, settings=settings) as rig:
        await rig.tenant.keep(TOPIC, rig.token(key=KEY))
        left = trio.Event()
        leave = rig.mesh.leave

        async def leaving(topic: object, *, forget: bool = False) -> None:
            await leave(TOPIC, forget=forget)
            left.set()

        rig.mesh.leave = leaving  # type: ignore[method-assign]
        clock.now += 2 * 24 * 3600 * 1000
        with trio.fail_after(10):
            await left.wait()


async def test_declined_says_why(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        with pytest.raises(Declined, match="not found"):
            await rig.stranger.status()


async def test_what_must_not_be_undone_is_on_disk_before_the_answer(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        flushed: list[bool] = []
        run = rig.store.run

        async def noting(work: Callable[[sqlite3.Connection], object], *, durable: bool = False) -> object:
            flushed.append(durable)
            return await run(work, durable=durable)

        await rig.tenant.deposit([rig.package("one")])
        rig.store.run = noting  # type: ignore[method-assign, assignment]
        await rig.client(BOB).take(TENANT.public, rig.grant())
        await rig.tenant.recall(1)
        await rig.tenant.status()
        assert flushed == [True, True, False]
