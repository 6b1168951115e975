"""`ask` ends with an answer or `AskFailed`, within its deadline, whatever the peer does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.abc import Clock

from tests.transport.awake import Awake
from tests.transport.contract.worlds import TOPIC, World, id_of
from transport.base import MAX_ASK, AskFailed, PeerId


async def echo(source: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return question


@asynccontextmanager
async def in_time(seconds: float) -> AsyncIterator[None]:
    """With room for a round trip and a busy machine, not for another deadline."""
    async with Awake.measured() as took:
        yield
    assert took.seconds <= seconds + 1.0


@pytest.mark.parametrize("size", [0, 1, 65_536, MAX_ASK])
async def test_a_question_and_its_answer(clock: Clock | None, world: World, size: int) -> None:
    a, b = await world.meshes_of("a", "b")
    sources = []

    async def answer(source: PeerId, question: bytes) -> bytes:
        sources.append(source)
        return await echo(source, question)

    b.serve("/test/echo/1", answer)
    assert await a.ask(b.me, "/test/echo/1", b"?" * size) == b"?" * size
    assert sources == [a.me]


async def test_both_ask_at_once_and_each_gets_its_own_answer(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    answers: dict[tuple[str, int], bytes] = {}
    for mesh in (a, b):
        mesh.serve("/test/echo/1", echo)

    async def ask(name: str, number: int) -> None:
        me, peer = (a, b) if name == "a" else (b, a)
        answers[name, number] = await me.ask(peer.me, "/test/echo/1", b"%s %d" % (name.encode(), number))

    async with trio.open_nursery() as nursery:
        for name in ("a", "b"):
            for number in range(6):
                nursery.start_soon(ask, name, number)
    assert answers == {(name, n): b"%s %d" % (name.encode(), n) for name in ("a", "b") for n in range(6)}


async def test_an_answerer_may_ask_back(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    a.serve("/test/back/1", echo)

    async def answer(source: PeerId, question: bytes) -> bytes:
        return await b.ask(source, "/test/back/1", question + b" back") + b" and forth"

    b.serve("/test/echo/1", answer)
    assert await a.ask(b.me, "/test/echo/1", b"there and") == b"there and back and forth"


async def test_who_serves_later_replaces(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")

    async def other(source: PeerId, question: bytes) -> bytes:
        return b"other"

    b.serve("/test/echo/1", echo)
    b.serve("/test/echo/1", other)
    assert await a.ask(b.me, "/test/echo/1", b"?") == b"other"


async def test_no_topic_is_needed(clock: Clock | None, world: World) -> None:
    a = await world.mesh("a", topic=None)
    b = await world.mesh("b", topic=None)
    await world.warm_up()
    b.serve("/test/echo/1", echo)
    assert await a.ask(b.me, "/test/echo/1", b"?") == b"?"


# ---------------------------------------------------------------- no answer


async def test_a_protocol_that_nobody_serves(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    b.serve("/test/echo/1", echo)
    async with in_time(1):
        with pytest.raises(AskFailed):
            await a.ask(b.me, "/test/other/1", b"?")
    assert await a.ask(b.me, "/test/echo/1", b"?") == b"?"


async def test_an_answerer_that_raises_is_a_refusal_and_no_more(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    failures = iter([ValueError("secret"), KeyError("secret"), AskFailed("secret")])

    async def answer(source: PeerId, question: bytes) -> bytes:
        await trio.lowlevel.checkpoint()
        raise next(failures)

    b.serve("/test/echo/1", answer)
    for _ in range(3):
        async with in_time(1):
            with pytest.raises(AskFailed) as failed:
                await a.ask(b.me, "/test/echo/1", b"?")
        assert "secret" not in str(failed.value)
    await world.publish("b", b"still there")
    await world.has_read("a", b"still there")


async def test_a_slow_answerer_costs_no_more_than_the_deadline(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")

    async def answer(source: PeerId, question: bytes) -> bytes:
        await trio.sleep(1000)
        return b"late"

    b.serve("/test/slow/1", answer)
    b.serve("/test/echo/1", echo)
    async with in_time(2):
        with pytest.raises(AskFailed):
            await a.ask(b.me, "/test/slow/1", b"?", within=2)
    assert await a.ask(b.me, "/test/echo/1", b"?") == b"?"


async def test_questions_and_answers_that_are_too_large(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")

    async def answer(source: PeerId, question: bytes) -> bytes:
        return bytes(MAX_ASK + 1)

    b.serve("/test/large/1", answer)
    b.serve("/test/echo/1", echo)
    with pytest.raises(AskFailed):
        await a.ask(b.me, "/test/echo/1", bytes(MAX_ASK + 1))
    with pytest.raises(AskFailed):
        await a.ask(b.me, "/test/large/1", b"?")
    assert await a.ask(b.me, "/test/echo/1", b"?") == b"?"


async def test_a_peer_that_goes_away_while_it_is_asked(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    asked = trio.Event()

    async def answer(source: PeerId, question: bytes) -> bytes:
        asked.set()
        await trio.sleep(1000)
        return b""

    b.serve("/test/slow/1", answer)
    async with in_time(20), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(AskFailed):
                await a.ask(id_of("b"), "/test/slow/1", b"?", within=20)

        nursery.start_soon(ask)
        await asked.wait()
        await world.crash("b")


async def test_a_link_that_is_cut_while_it_is_asked(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    asked = trio.Event()

    async def answer(source: PeerId, question: bytes) -> bytes:
        asked.set()
        await trio.sleep(5)
        return b""

    b.serve("/test/slow/1", answer)
    async with in_time(20), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(AskFailed):
                await a.ask(b.me, "/test/slow/1", b"?", within=20)

        nursery.start_soon(ask)
        await asked.wait()
        world.cut("a", "b")


async def test_nobody_there(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    world.cut("a", "b")
    for peer in (b.me, id_of("nobody"), a.me):
        async with in_time(5):
            with pytest.raises(AskFailed):
                await a.ask(peer, "/test/echo/1", b"?", within=5)


# ---------------------------------------------------------------- reconciling with one peer, now


async def test_synchronize_says_how_many_came(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    assert await a.synchronize(b.me, TOPIC.id) == 0
    world.cut("a", "b")
    await world.publish("b", *[b"%d" % number for number in range(100)])
    world.link("a", "b")
    came = await a.synchronize(b.me, TOPIC.id)
    assert 0 <= came <= 100  # the mesh may have begun by itself
    await world.has_read("a", *[b"%d" % number for number in range(100)])
    assert await a.synchronize(b.me, TOPIC.id) == 0
    assert len(await world.stored("a")) == 100


async def test_synchronize_that_does_not_go_through(clock: Clock | None, world: World) -> None:
    a, b = await world.meshes_of("a", "b")
    await b.leave(TOPIC.id)
    with pytest.raises(AskFailed):
        await a.synchronize(b.me, TOPIC.id)
    with pytest.raises(AskFailed):
        await b.synchronize(a.me, TOPIC.id)
    with pytest.raises(AskFailed):
        await a.synchronize(id_of("nobody"), TOPIC.id)
    world.cut("a", "b")
    with pytest.raises(AskFailed):
        await a.synchronize(b.me, TOPIC.id)
