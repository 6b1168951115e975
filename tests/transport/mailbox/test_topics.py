"""Topics that are kept: by whose leave, until when, within which quota; and what is forgotten."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.transport.mailbox.rig import (
    ALICE,
    BOB,
    BOX,
    DAY,
    HOUR,
    KEY,
    SECOND_TENANT,
    TENANT,
    TOPIC,
    Clock,
    Rig,
    running,
)
from transport.access import Right, prove, raise_floor
from transport.base import Arrival, Frame, Milliseconds
from transport.frames import HEAD_SIZE, topic_id
from transport.mailbox.client import Declined
from transport.mailbox.keeps import AGAIN
from transport.mailbox.server import Settings
from transport.mailbox.tenants import Quota, Tenant
from transport.mailbox.wire import Failure
from transport.signing import SigningKey

OTHER_KEY = SigningKey(b"another topic".ljust(32))


async def stored(rig: Rig, *frames: Frame) -> list[Frame]:
    """Those of these that are there, in this order."""
    found = {frame.id: frame for frame in await rig.store.fetch(TOPIC, [frame.id for frame in frames])}
    return [found[frame.id] for frame in frames if frame.id in found]


async def known(rig: Rig) -> set[bytes]:
    return {id_ async for batch in rig.store.entries(TOPIC) for _, id_ in batch}


async def test_a_topic_is_kept_and_released(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        token = rig.token()
        await rig.tenant.keep(TOPIC, token)
        assert rig.mesh.joined[TOPIC].token == token
        assert rig.mesh.joined[TOPIC].key is None
        frame = rig.frame("tea")
        assert await rig.store.add([frame]) == [frame.id]
        (row,) = await rig.tenant.topics()
        assert (row.topic, row.frames, row.bytes, row.pays) == (TOPIC, 1, HEAD_SIZE + 3, 1)
        assert await rig.tenant.topics(after=TOPIC) == []
        await rig.tenant.release(TOPIC)
        assert rig.mesh.left == [(TOPIC, True)]
        with pytest.raises(Declined) as caught:
            await rig.tenant.release(TOPIC)
        assert caught.value.failure is Failure.NOT_FOUND


@pytest.mark.parametrize(
    ("rights", "holder", "key"),
    [
        (Right.READ, BOX, KEY),
        (Right.WRITE, BOX, KEY),
        (Right.DELETE | Right.WRITE, BOX, KEY),
        (Right.READ | Right.WRITE, ALICE, KEY),
        (Right.READ | Right.WRITE, None, KEY),
        (Right.READ | Right.WRITE, BOX, OTHER_KEY),
    ],
)
async def test_a_topic_is_kept_only_with_a_token_for_this_mailbox(
    tmp_path: Path, rights: Right, holder: str | None, key: SigningKey
) -> None:
    async with running(tmp_path / "box") as rig:
        token = rig.token(rights, holder=ALICE if holder == ALICE else BOX if holder else None, key=key)
        for credential in (token, b"", b"junk", prove(KEY, ALICE, BOX), token[:-1] + b"\0"):
            with pytest.raises(Declined) as caught:
                await rig.tenant.keep(TOPIC, credential)
            assert caught.value.failure is Failure.NOT_FOUND
        assert not rig.mesh.joined


async def test_only_tenants_have_topics_kept(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        for client in (rig.stranger, rig.client(BOB, SigningKey(b"nobody's tenant".ljust(32)))):
            with pytest.raises(Declined) as caught:
                await client.keep(TOPIC, rig.token())
            assert caught.value.failure is Failure.NOT_FOUND


async def test_frames_of_other_topics_are_not_stored(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        assert await rig.store.add([rig.frame("tea")]) == []


async def test_what_is_kept_is_kept_after_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        token, frame = rig.token(), rig.frame("tea")
        await rig.tenant.keep(TOPIC, token)
        await rig.store.add([frame])
    async with running(tmp_path / "box", clock=clock) as rig:
        assert rig.mesh.joined[TOPIC].token == token
        assert await stored(rig, frame) == [frame]
        assert await rig.store.add([frame]) == []


async def test_a_tenant_that_is_no_longer_listed_has_nothing_and_loses_nothing(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frame = rig.frame("tea")
        await rig.store.add([frame])
    async with running(tmp_path / "box", clock=clock, tenants=[]) as rig:
        assert not rig.mesh.joined
        with pytest.raises(Declined):
            await rig.tenant.status()
        assert await rig.store.add([rig.frame("milk")]) == []
    async with running(tmp_path / "box", clock=clock) as rig:
        assert TOPIC in rig.mesh.joined
        assert await stored(rig, frame) == [frame]


async def test_a_topic_lasts_as_long_as_its_token(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.keep(TOPIC, rig.token(life=HOUR))
        frame = rig.frame("tea")
        await rig.store.add([frame])
        rig.clock.now += HOUR
        await rig.mailbox.sweep()
        assert rig.mesh.left == [(TOPIC, False)]
        assert await stored(rig, frame) == [frame]
        await rig.tenant.keep(TOPIC, rig.token(life=HOUR))
        assert TOPIC in rig.mesh.joined
        rig.clock.now += 50 * DAY
        await rig.mailbox.sweep()
        assert (await rig.tenant.status()).topics == 0
        assert await known(rig) == set()


async def test_a_floor_ends_older_tokens(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.keep(TOPIC, rig.token(generation=1))
        await rig.stranger.raise_floor(raise_floor(KEY, 1))
        assert rig.mesh.joined[TOPIC].token == raise_floor(KEY, 1) + rig.token(generation=1)
        await rig.stranger.raise_floor(raise_floor(KEY, 2))
        assert TOPIC not in rig.mesh.joined
        with pytest.raises(Declined):
            await rig.tenant.keep(TOPIC, rig.token(generation=1))
        await rig.stranger.raise_floor(raise_floor(KEY, 1))  # an old one again changes nothing
        with pytest.raises(Declined):
            await rig.tenant.keep(TOPIC, rig.token(generation=1))
        with pytest.raises(Declined):
            await rig.tenant.keep(TOPIC, raise_floor(KEY, 3) + rig.token(generation=2))  # voids itself
        await rig.tenant.keep(TOPIC, rig.token(generation=2))
        assert TOPIC in rig.mesh.joined
        with pytest.raises(Declined):
            await rig.stranger.raise_floor(raise_floor(OTHER_KEY, 2))


async def test_a_floor_survives_a_restart(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        await rig.tenant.keep(TOPIC, raise_floor(KEY, 3) + rig.token(generation=3))
    async with running(tmp_path / "box", clock=clock) as rig:
        assert rig.mesh.joined[TOPIC].token.startswith(raise_floor(KEY, 3))
        with pytest.raises(Declined):
            await rig.tenant.keep(TOPIC, rig.token(generation=2))


# ---------------------------------------------------------------- room


async def test_frames_over_quota_are_noted_and_come_when_there_is_room(tmp_path: Path) -> None:
    size = HEAD_SIZE + 100
    async with running(tmp_path / "box", quota=Quota(bytes=10 * size)) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frames = [rig.frame(bytes([n]) * 100, life=HOUR if n < 5 else DAY) for n in range(12)]
        assert await rig.store.add(frames) == [frame.id for frame in frames]
        assert await rig.store.add(frames) == []
        assert await stored(rig, *frames) == frames[:10]
        status = await rig.tenant.status()
        assert (status.frames, status.declined, status.bytes) == (10, 2, 10 * size)
        assert len(await known(rig)) == 12  # so that sync does not bring the two again and again
        rig.clock.now += HOUR + 1
        await rig.mailbox.sweep()
        assert rig.mesh.left == [(TOPIC, False)]  # and joined again: what was declined is offered anew
        assert TOPIC in rig.mesh.joined
        assert len(await known(rig)) == 5
        assert await rig.store.add(frames[10:]) == [frame.id for frame in frames[10:]]
        assert len(await stored(rig, *frames[10:])) == 2


async def test_the_number_of_frames_and_of_notes_is_bounded(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(frames=4)) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frames = [rig.frame(str(n)) for n in range(20)]
        assert len(await rig.store.add(frames)) == 8
        status = await rig.tenant.status()
        assert (status.frames, status.declined) == (4, 4)
        assert rig.mailbox.counters()["mailbox.declined"] == 16
        assert await rig.store.add([rig.frame("one more, counted anew")]) == []


async def test_nothing_is_reopened_while_there_is_little_room(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(frames=2 * AGAIN)) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frames = [rig.frame(str(n), life=HOUR if n == 0 else DAY) for n in range(2 * AGAIN + 1)]
        await rig.store.add(frames)
        rig.clock.now += HOUR + 1
        await rig.mailbox.sweep()
        assert rig.mesh.left == []


async def test_a_tenant_has_only_so_many_topics(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(topics=1)) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        await rig.tenant.keep(TOPIC, rig.token(life=2 * DAY))
        with pytest.raises(Declined) as caught:
            await rig.tenant.keep(topic_id(OTHER_KEY.public), rig.token(key=OTHER_KEY))
        assert caught.value.failure is Failure.FULL


async def test_the_first_keeper_pays_and_the_next_takes_over(tmp_path: Path) -> None:
    tenants = [Tenant(key=TENANT.public, quota=Quota(bytes=1000)), Tenant(key=SECOND_TENANT.public)]
    async with running(tmp_path / "box", tenants=tenants) as rig:
        second = rig.client(BOB, SECOND_TENANT)
        await rig.tenant.keep(TOPIC, rig.token())
        await second.keep(TOPIC, rig.token())
        large = rig.frame(bytes(2000))
        await rig.store.add([rig.frame("small"), large])
        assert (await rig.tenant.status()).frames == 1
        assert (await second.status()).frames == 0
        await rig.tenant.release(TOPIC)
        assert TOPIC in rig.mesh.joined
        assert rig.mesh.left == []
        status = await second.status()
        assert (status.frames, status.declined) == (1, 1)
        await rig.store.add([rig.frame(bytes(3000))])
        assert (await second.status()).frames == 2


async def test_what_was_kept_for_long_enough_goes_and_does_not_come_back(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(retention=HOUR)) as rig:
        await rig.tenant.keep(TOPIC, rig.token(life=10 * DAY))
        frame = rig.frame("tea", life=2 * DAY)
        await rig.store.add([frame])
        rig.clock.now += HOUR + 1
        await rig.mailbox.sweep()
        assert await stored(rig, frame) == []
        assert await rig.store.add([frame]) == []
        status = await rig.tenant.status()
        assert (status.frames, status.gone, status.bytes) == (0, 1, 0)
        rig.clock.now += 2 * DAY
        await rig.mailbox.sweep()
        assert (await rig.tenant.status()).gone == 0


# ---------------------------------------------------------------- deleting


async def test_frames_are_deleted_by_who_may_and_stay_away(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frames = [rig.frame(str(n)) for n in range(4)]
        await rig.store.add(frames)
        bob = rig.client(BOB)
        may = rig.token(Right.DELETE, holder=BOB)
        assert await bob.delete(TOPIC, may, [frames[0].id, rig.frame("not there").id]) == 1
        assert await bob.delete(TOPIC, may, [frames[0].id]) == 0
        assert await stored(rig, *frames) == frames[1:]
        assert await rig.store.add(frames) == []
        assert len(await known(rig)) == 4
        assert await bob.delete(TOPIC, prove(KEY, BOB, BOX)) == 3  # a member may do anything
        assert await stored(rig, *frames) == []
        (row,) = await rig.tenant.topics()
        assert (row.frames, row.gone, row.bytes) == (0, 4, 0)
        later = rig.frame("later")
        assert await rig.store.add([later]) == [later.id]
    async with running(tmp_path / "box", clock=clock) as rig:
        assert await rig.store.add(frames) == []


async def test_nobody_deletes_without_the_right(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frame = rig.frame("tea")
        await rig.store.add([frame])
        for credential in (
            b"",
            b"junk",
            rig.token(Right.READ | Right.WRITE, holder=BOB),
            rig.token(Right.DELETE, holder=ALICE),
            rig.token(Right.DELETE, holder=BOB, key=OTHER_KEY),
            prove(KEY, ALICE, BOX),
            prove(KEY, BOB, ALICE),
        ):
            with pytest.raises(Declined) as caught:
                await rig.client(BOB).delete(TOPIC, credential, [frame.id])
            assert caught.value.failure is Failure.NOT_FOUND
        await rig.client(BOB).raise_floor(raise_floor(KEY, 1))
        with pytest.raises(Declined):
            await rig.client(BOB).delete(TOPIC, rig.token(Right.DELETE, holder=BOB), [frame.id])
        assert await stored(rig, frame) == [frame]


async def test_a_topic_that_is_not_kept_is_not_told_from_none(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        with pytest.raises(Declined) as caught:
            await rig.client(BOB).delete(TOPIC, prove(KEY, BOB, BOX))
        assert caught.value.failure is Failure.NOT_FOUND


async def test_topics_that_nobody_keeps_are_emptied(tmp_path: Path) -> None:
    """As after a crash between the commit of a release and what follows from it."""
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        await rig.store.add([rig.frame("tea")])
        await rig.store.run(lambda db: db.execute("DELETE FROM keep"))
    async with running(tmp_path / "box", clock=clock) as rig:
        assert await known(rig) == set()


async def test_what_arrives_is_read_so_that_the_mesh_goes_on(tmp_path: Path) -> None:
    async with running(
        tmp_path / "box",
        start=lambda mesh: mesh.arrivals.extend(
            Arrival(
                frame=Frame(id=TOPIC, topic=TOPIC, expires=Milliseconds(1), head=b"", payload=b""),  # type: ignore[arg-type]
                source=ALICE,
            )
            for _ in range(3)
        ),
        settings=Settings(),
    ) as rig:
        await rig.mesh.read_all.wait()
        assert rig.mailbox.counters()["mailbox.arrivals"] == 3


async def test_tenants_that_are_listed_anew_count_at_once(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await rig.tenant.keep(TOPIC, rig.token())
        frame = rig.frame("tea")
        await rig.store.add([frame])
        await rig.mailbox.list_tenants([Tenant(key=SECOND_TENANT.public)])
        assert TOPIC not in rig.mesh.joined
        with pytest.raises(Declined) as caught:
            await rig.tenant.keep(TOPIC, rig.token())
        assert caught.value.failure is Failure.NOT_FOUND
        assert await rig.store.add([rig.frame("milk")]) == []  # nobody pays for it
        await rig.mailbox.list_tenants([Tenant(key=TENANT.public, quota=Quota(topics=1))])
        assert rig.mesh.joined[TOPIC].key is None
        assert await stored(rig, frame) == [frame]  # a slip of the operator loses nothing
        assert (await rig.tenant.status()).may_topics == 1
