"""Slots: who writes, who reads, and that nothing goes back to an older version."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from tests.transport.mailbox.rig import (
    ALICE,
    BOB,
    BOX,
    CAROL,
    DAY,
    HOUR,
    KEY,
    NOW,
    SECOND_TENANT,
    TOPIC,
    Clock,
    Rig,
    running,
)
from transport.access import LONGEST, Right, prove, raise_floor
from transport.base import MAX_ASK, AskFailed, Milliseconds, TopicId
from transport.mailbox.client import Declined, MailboxClient
from transport.mailbox.records import MAX_SLOT, OPEN, open_slot, seal_slot, slot_name
from transport.mailbox.tenants import Quota
from transport.mailbox.wire import Failure
from transport.signing import SigningKey

SLOT = SigningKey(b"the key of a slot".ljust(32))
NAME = slot_name(SLOT.public)


def sealed(
    rig: Rig, data: bytes, number: int, *, key: SigningKey = SLOT, topic: TopicId = OPEN, life: int = DAY
) -> bytes:
    return seal_slot(key, data, number=number, expires=Milliseconds(rig.clock.now + life), topic=topic)


def overwrite(db: sqlite3.Connection, lie: bytes) -> None:
    db.execute("UPDATE slot SET record = ?", (lie,))


async def why(client: MailboxClient, record: bytes) -> tuple[Failure, int]:
    with pytest.raises(Declined) as caught:
        await client.put_slot(record)
    return caught.value.failure, caught.value.detail


async def test_a_slot_is_made_by_a_tenant_and_written_by_its_key(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        assert await why(rig.stranger, sealed(rig, b"one", 1)) == (Failure.NOT_FOUND, 0)
        await rig.tenant.put_slot(sealed(rig, b"one", 1))
        await rig.stranger.put_slot(sealed(rig, b"two", 2))  # whoever has the key
        await rig.client(BOB, SECOND_TENANT).put_slot(sealed(rig, b"three", 3))
        slot = await rig.stranger.get_slot(NAME)
        assert slot is not None
        assert (slot.data, slot.number, slot.name) == (b"three", 3, NAME)
        assert await rig.stranger.get_slot(NAME, after=3) is None
        assert (await rig.tenant.status()).slots == 1  # who made it pays
        assert (await rig.client(BOB, SECOND_TENANT).status()).slots == 0


async def test_only_a_newer_version_replaces(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        first = sealed(rig, b"five", 5, life=2 * DAY)
        await rig.tenant.put_slot(first)
        await rig.tenant.put_slot(first)  # a repeated request is no mistake
        assert await why(rig.tenant, sealed(rig, b"other", 5)) == (Failure.STALE, 5)
        assert await why(rig.tenant, sealed(rig, b"older", 4)) == (Failure.STALE, 5)
        await rig.tenant.put_slot(sealed(rig, b"six", 6, life=HOUR))
        clock.now += HOUR
        await rig.mailbox.sweep()
        with pytest.raises(Declined):
            await rig.stranger.get_slot(NAME)
    async with running(tmp_path / "box", clock=clock) as rig:
        assert await why(rig.stranger, first) == (Failure.STALE, 6)  # still valid, and still old
        clock.now += 2 * DAY
        await rig.mailbox.sweep()
        assert (await rig.tenant.status()).slots == 0
        assert await why(rig.tenant, first) == (Failure.EXPIRED, 0)


async def test_a_slot_of_a_topic_is_read_by_its_readers(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.put_slot(sealed(rig, b"secret", 1, topic=TOPIC))
        for credential in (
            rig.token(Right.READ, holder=BOB),
            rig.token(Right.READ | Right.DELETE, holder=None),
            prove(KEY, BOB, BOX),
        ):
            slot = await rig.client(BOB).get_slot(NAME, credential=credential)
            assert slot is not None
            assert slot.data == b"secret"
        await rig.tenant.keep(TOPIC, rig.token(generation=1))
        await rig.stranger.raise_floor(raise_floor(KEY, 1))
        for credential in (
            b"",
            b"junk",
            rig.token(Right.WRITE | Right.DELETE, holder=BOB, generation=1),
            rig.token(Right.READ, holder=ALICE, generation=1),
            rig.token(Right.READ, holder=BOB, generation=0),
            prove(KEY, CAROL, BOX),
        ):
            with pytest.raises(Declined) as caught:
                await rig.client(BOB).get_slot(NAME, credential=credential)
            assert caught.value.failure is Failure.NOT_FOUND  # as if it was not there


async def test_slots_stay_within_the_quota(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(slots=2, slot_bytes=3000)) as rig:
        keys = [SigningKey(bytes([n]) * 32) for n in range(3)]
        await rig.tenant.put_slot(sealed(rig, bytes(1000), 1, key=keys[0]))
        assert await why(rig.tenant, sealed(rig, bytes(2000), 1, key=keys[1])) == (Failure.FULL, 0)
        await rig.tenant.put_slot(sealed(rig, bytes(1000), 1, key=keys[1]))
        assert await why(rig.tenant, sealed(rig, b"", 1, key=keys[2])) == (Failure.FULL, 0)
        assert await why(rig.stranger, sealed(rig, bytes(2000), 2, key=keys[0])) == (Failure.FULL, 0)
        await rig.stranger.put_slot(sealed(rig, b"", 2, key=keys[0]))  # cleared
        await rig.tenant.put_slot(sealed(rig, bytes(2000), 2, key=keys[1]))


async def test_the_largest_slot_fits(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.put_slot(sealed(rig, bytes(MAX_SLOT), 1))
        slot = await rig.stranger.get_slot(NAME)
        assert slot is not None
        assert len(slot.data) == MAX_SLOT
        assert len(slot.record) + 1000 < MAX_ASK
        with pytest.raises(ValueError, match="at most"):
            sealed(rig, bytes(MAX_SLOT + 1), 1)
        with pytest.raises(AskFailed):
            await rig.tenant.put_slot(slot.record + b"\0")


@pytest.mark.parametrize("life", [0, -1, LONGEST + 1])
async def test_a_slot_has_an_end_in_sight(tmp_path: Path, life: int) -> None:
    async with running(tmp_path / "box") as rig:
        assert await why(rig.tenant, sealed(rig, b"", 1, life=life)) == (Failure.EXPIRED, 0)


async def test_a_slot_that_is_not_the_right_one_is_not_believed(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.put_slot(sealed(rig, b"one", 1))
        other = seal_slot(SigningKey(bytes(32)), b"other", number=9, expires=rig.clock())
        for lie in (other, sealed(rig, b"one", 1)[:-1] + b"E", b"junk"):
            await rig.store.run(partial(overwrite, lie=lie))
            with pytest.raises(AskFailed):
                await rig.stranger.get_slot(NAME)
        await rig.store.run(partial(overwrite, lie=sealed(rig, b"one", 1)))
        await rig.store.run(lambda db: db.execute("UPDATE slot SET number = 9"))
        with pytest.raises(AskFailed):
            await rig.stranger.get_slot(NAME, after=1)  # an old one for a new one


@pytest.mark.slow
def test_no_changed_bit_of_a_slot_gets_through() -> None:
    record = seal_slot(SLOT, b"data", number=1, expires=Milliseconds(NOW), topic=TOPIC)
    assert open_slot(record) is not None
    for bit in range(len(record) * 8):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        assert open_slot(bytes(changed)) is None
    assert open_slot(record[:-1]) is None
    assert open_slot(record + b"\0") is None


@pytest.mark.slow
@given(st.binary(max_size=300), st.integers(0, (1 << 63) - 1), st.integers(0, (1 << 63) - 1), st.booleans())
def test_a_slot_says_what_was_put_in(data: bytes, number: int, expires: int, open_to_all: bool) -> None:
    topic = OPEN if open_to_all else TOPIC
    record = seal_slot(SLOT, data, number=number, expires=Milliseconds(expires), topic=topic)
    slot = open_slot(record)
    assert slot is not None
    assert (slot.data, slot.number, slot.expires, slot.topic, slot.record) == (data, number, expires, topic, record)


@pytest.mark.slow
@given(st.binary(max_size=400))
def test_junk_is_no_slot(junk: bytes) -> None:
    assert open_slot(junk) is None
    assert open_slot(b"\1" + junk) is None
