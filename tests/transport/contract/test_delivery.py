"""A frame that was published reaches every peer that has joined the topic, once, now or later."""

from __future__ import annotations

import pytest
import trio
from trio.abc import Clock

from tests.transport.contract.worlds import KEY, OTHER, OTHER_KEY, TOPIC, VIRTUAL, World, id_of
from transport.base import MAX_LIFE, MAX_PAYLOAD, Frame, FrameId, Milliseconds, Reason, Refused, Topic


def numbered(start: int, end: int) -> list[bytes]:
    return [b"%d" % number for number in range(start, end)]


async def test_what_one_publishes_all_others_read(clock: Clock | None, world: World) -> None:
    a, *_ = await world.meshes_of("a", "b", "c")
    (frame,) = await world.publish("a", b"hello")
    await world.has_read("b", b"hello")
    await world.has_read("c", b"hello")
    for name in ("b", "c"):
        arrival = world.readers[name].arrivals[0]
        assert arrival.frame == frame
        assert arrival.source in {id_of("a"), id_of("b"), id_of("c")} - {id_of(name)}
    await world.settle()
    assert world.readers["a"].arrivals == []  # nothing of it is new to who made it
    assert a.me == id_of("a")


async def test_many_from_everybody_each_once(clock: Clock | None, world: World) -> None:
    names = ["a", "b", "c", "d"]
    await world.meshes_of(*names)
    sent = {name: [b"%s %d" % (name.encode(), number) for number in range(40)] for name in names}
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(world.publish, name, *sent[name])
    for name in names:
        await world.has_read(name, *[text for other in names if other != name for text in sent[other]])
    await world.settle()
    for name in names:
        assert len(world.readers[name].arrivals) == 120
        assert len(await world.stored(name)) == 160


async def test_publish_returns_when_the_frame_is_stored(clock: Clock | None, world: World) -> None:
    await world.mesh("a")
    for payload in numbered(0, 5):
        (frame,) = await world.publish("a", payload)
        assert (await world.stored("a"))[-1] == frame.id


@pytest.mark.parametrize("size", [0, 1, 4096, 70_000, 1 << 20])
async def test_frames_of_any_size(clock: Clock | None, world: World, size: int) -> None:
    await world.meshes_of("a", "b")
    payload = bytes(number % 251 for number in range(1000)) * (size // 1000 + 1)
    await world.publish("a", payload[:size])
    await world.has_read("b", payload[:size])


async def test_publishing_again_changes_nothing(clock: Clock | None, world: World) -> None:
    a, _ = await world.meshes_of("a", "b")
    frame = world.frame(b"twice")
    await a.publish(frame)
    await a.publish(frame)
    await world.has_read("b", b"twice")
    await a.publish(frame)
    await world.settle()
    await world.has_read("b", b"twice")


async def test_the_same_frame_from_two_members(clock: Clock | None, world: World) -> None:
    """A group's key seals the same bytes into the same frame on every device."""
    a, b, _ = await world.meshes_of("a", "b", "c")
    frame = world.frame(b"same")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.publish, frame)
        nursery.start_soon(b.publish, frame)
    await world.has_read("c", b"same")
    await world.settle()
    await world.has_read("c", b"same")
    assert len(world.readers["a"].arrivals) <= 1
    assert len(world.readers["b"].arrivals) <= 1


# ---------------------------------------------------------------- later


async def test_what_was_published_alone_comes_when_somebody_does(clock: Clock | None, world: World) -> None:
    await world.mesh("a")
    await world.publish("a", *numbered(0, 30))
    await world.mesh("b")
    await world.has_read("b", *numbered(0, 30))


async def test_who_was_away_catches_up_and_hears_nothing_twice(clock: Clock | None, world: World) -> None:
    await world.meshes_of("a", "b")
    await world.publish("a", *numbered(0, 10))
    await world.has_read("b", *numbered(0, 10))
    await world.crash("b")
    await world.publish("a", *numbered(10, 150))
    await world.mesh("b")
    await world.has_read("b", *numbered(10, 150))
    await world.settle()
    await world.has_read("b", *numbered(10, 150))


async def test_a_store_that_has_everything_gets_nothing(clock: Clock | None, world: World) -> None:
    await world.meshes_of("a", "b")
    await world.publish("a", *numbered(0, 10))
    await world.has_read("b", *numbered(0, 10))
    for name in ("a", "b"):
        await world.crash(name)
    await world.meshes_of("a", "b")
    await world.settle()
    assert world.readers["a"].arrivals == []
    assert world.readers["b"].arrivals == []


async def test_a_store_that_lost_everything_gets_everything_again(clock: Clock | None, world: World) -> None:
    await world.meshes_of("a", "b")
    await world.publish("a", *numbered(0, 5))
    await world.publish("b", *numbered(5, 10))
    await world.has_read("b", *numbered(0, 5))
    await world.has_read("a", *numbered(5, 10))
    await world.crash("b")
    del world.stores["b"]
    await world.mesh("b")
    await world.has_read("b", *numbered(0, 10))


async def test_a_new_life_joins_nothing_by_itself(clock: Clock | None, world: World) -> None:
    await world.meshes_of("a", "b")
    await world.crash("b")
    await world.mesh("b", topic=None)
    await world.warm_up()
    await world.publish("a", b"one")
    await world.settle()
    assert world.readers["b"].arrivals == []
    assert await world.stored("b") == []


async def test_a_path_through_others_is_enough(clock: Clock | None, world: World) -> None:
    for name in ("a", "b", "c", "d"):
        await world.mesh(name, alone=True)
    for one, two in (("a", "b"), ("b", "c"), ("c", "d")):
        world.link(one, two)
    await world.warm_up()
    await world.publish("a", b"along")
    await world.publish("d", b"back")
    await world.has_read("a", b"back")
    await world.has_read("b", b"along", b"back")
    await world.has_read("c", b"along", b"back")
    await world.has_read("d", b"along")
    assert {arrival.source for arrival in world.readers["d"].arrivals} == {id_of("c")}


async def test_now_and_then_is_enough(clock: Clock | None, world: World) -> None:
    """The two ends are never there at the same time; the one in the middle carries."""
    for name in ("a", "b"):
        await world.mesh(name)
    await world.publish("a", *numbered(0, 20))
    await world.has_read("b", *numbered(0, 20))
    await world.crash("a")
    await world.mesh("c")
    await world.has_read("c", *numbered(0, 20))


async def test_two_sides_of_a_cut_become_one(clock: Clock | None, world: World) -> None:
    await world.meshes_of("a", "b")
    world.cut("a", "b")
    await world.publish("a", *numbered(0, 20))
    await world.publish("b", *numbered(20, 40))
    await world.settle()
    assert world.readers["a"].arrivals == []
    world.link("a", "b")
    await world.has_read("a", *numbered(20, 40))
    await world.has_read("b", *numbered(0, 20))


# ---------------------------------------------------------------- what is refused


async def refusal(world: World, frame: Frame) -> Reason:
    with pytest.raises(Refused) as refused:
        await world.meshes["a"].publish(frame)
    assert frame.id not in await world.stored("a", Topic(id=frame.topic))
    return refused.value.reason


async def test_frames_that_peers_would_refuse_are_not_published(clock: Clock | None, world: World) -> None:
    a, _ = await world.meshes_of("a", "b")
    huge = Frame(
        id=FrameId(bytes(32)),
        topic=TOPIC.id,
        expires=Milliseconds(world.now_ms() + 10_000),
        head=b"",
        payload=bytes(MAX_PAYLOAD + 1),
    )
    assert await refusal(world, world.frame(b"", key=OTHER_KEY)) is Reason.STRANGER
    assert await refusal(world, world.frame(b"", life=-0.001)) is Reason.EXPIRED
    assert await refusal(world, world.frame(b"", life=MAX_LIFE / 1000 + 60)) is Reason.TOO_LONG
    assert await refusal(world, huge) is Reason.SIZE
    await a.leave(TOPIC.id)
    assert await refusal(world, world.frame(b"left")) is Reason.STRANGER
    await world.settle()
    assert world.readers["b"].arrivals == []


# ---------------------------------------------------------------- topics


async def test_who_joins_late_gets_the_log(clock: Clock | None, world: World) -> None:
    await world.mesh("a")
    b = await world.mesh("b", topic=None)
    await world.publish("a", *numbered(0, 10))
    await world.settle()
    assert world.readers["b"].arrivals == []
    await b.join(TOPIC)
    await world.has_read("b", *numbered(0, 10))


async def test_joining_again_changes_nothing(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    await b.join(TOPIC)
    await a.join(Topic(id=TOPIC.id, key=KEY, token=b"newer"))
    await world.publish("a", b"one")
    await world.has_read("b", b"one")


async def test_topics_do_not_mix(clock: Clock | None, world: World) -> None:
    a, b, c = await world.meshes_of("a", "b", "c")
    await a.join(OTHER)
    await b.join(OTHER)
    await world.warm_up()
    await a.publish(world.frame(b"other", key=OTHER_KEY))
    await c.publish(world.frame(b"one"))
    await world.has_read("b", b"other", b"one")
    await world.settle()
    assert world.readers["c"].arrivals == []
    assert [arrival.frame.topic for arrival in world.readers["a"].arrivals] == [TOPIC.id]


async def test_leaving_stops_and_coming_back_resumes(clock: Clock | None, world: World) -> None:
    _, b = await world.meshes_of("a", "b")
    await world.publish("a", b"before")
    await world.has_read("b", b"before")
    await b.leave(TOPIC.id)
    await b.leave(TOPIC.id)
    await world.publish("a", b"meanwhile")
    await world.settle()
    await world.has_read("b", b"before")
    assert len(await world.stored("b")) == 1  # kept until it expires
    await b.join(TOPIC)
    await world.has_read("b", b"before", b"meanwhile")


async def test_leaving_to_forget_empties_the_store(clock: Clock | None, world: World) -> None:
    _, b = await world.meshes_of("a", "b")
    await world.publish("a", b"before")
    await world.has_read("b", b"before")
    await b.leave(TOPIC.id, forget=True)
    assert await world.stored("b") == []
    await world.publish("a", b"meanwhile")
    await world.settle()
    assert await world.stored("b") == []
    assert len(await world.stored("a")) == 2


async def test_a_topic_that_was_left_can_still_be_forgotten(clock: Clock | None, world: World) -> None:
    a = await world.mesh("a")
    await world.publish("a", b"one")
    await a.leave(TOPIC.id)
    assert len(await world.stored("a")) == 1
    await a.leave(TOPIC.id, forget=True)
    assert await world.stored("a") == []


@pytest.mark.parametrize("kind", VIRTUAL, indirect=True)
async def test_expired_frames_go_and_do_not_come_back(clock: Clock | None, world: World) -> None:
    a, _ = await world.meshes_of("a", "b")
    await a.publish(world.frame(b"short", life=30))
    await a.publish(world.frame(b"long", life=7200))
    await world.has_read("b", b"short", b"long")
    await trio.sleep(900)
    assert len(await world.stored("a")) == 1
    assert len(await world.stored("b")) == 1
    await world.mesh("c")
    await world.has_read("c", b"long")
    await world.settle()
    await world.has_read("c", b"long")


# ---------------------------------------------------------------- back-pressure


@pytest.mark.slow
async def test_who_does_not_read_stops_the_intake_and_loses_nothing(clock: Clock | None, world: World) -> None:
    """The unread pile up to a bound in the mesh and in its store; the sender goes on, and so does a third."""
    count = 2000
    await world.mesh("a")
    await world.mesh("b", read=False)
    await world.mesh("c")
    await world.warm_up()
    began = trio.current_time()
    await world.publish("a", *numbered(0, count))
    assert trio.current_time() - began < 120
    await world.has_read("c", *numbered(0, count))
    await world.settle()
    assert len(await world.stored("b")) < count
    world.read("b")
    await world.has_read("b", *numbered(0, count))
    assert len(await world.stored("b")) == count
