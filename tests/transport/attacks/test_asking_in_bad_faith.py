"""Questions: strangers that hold the places, answerers that ask, answers that never end."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from tests.transport.attacks.rig import Villain, send_quietly, town
from transport.base import MAX_ASK, AskFailed, PeerId, Unreachable
from transport.conduct import Offence
from transport.live.ask import MOST_PER_PEER, PROTOCOL, encode_question
from transport.network import Stream
from transport.streams import Messages


async def echo(_peer: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return question


async def test_strangers_that_open_and_say_nothing(autojump_clock: object) -> None:
    """Eight of them take eight places each; a ninth, who has a question, still gets an answer in time."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        a.mesh.serve("/echo", echo)
        for _ in range(8):
            evil = all_.villain()
            all_.link(a, evil)

            async def sit(evil: object = evil) -> None:
                with suppress(Unreachable):  # in the end it is barred
                    while True:
                        stream = await evil.network.open(a.me, PROTOCOL)  # type: ignore[attr-defined]
                        while await stream.receive_some():
                            pass

            for _ in range(MOST_PER_PEER):
                all_.nursery.start_soon(sit)
        all_.link(a, c)
        await trio.sleep(5)
        for _ in range(5):
            assert await c.mesh.ask(a.me, "/echo", b"?", within=10) == b"?"
            await trio.sleep(20)


async def test_strangers_that_do_not_read_their_answers(autojump_clock: object) -> None:
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        a.mesh.serve("/echo", echo)
        question = encode_question("/echo", bytes(300_000))
        for _ in range(8):
            evil = all_.villain()
            all_.link(a, evil)

            async def sit(evil: object = evil) -> None:
                while True:
                    stream = await evil.network.open(a.me, PROTOCOL)  # type: ignore[attr-defined]
                    await send_quietly(stream, len(question).to_bytes(4) + question)
                    await trio.sleep(25)
                    await trio.sleep(95)

            for _ in range(MOST_PER_PEER):
                all_.nursery.start_soon(sit)
        all_.link(a, c)
        await trio.sleep(5)
        assert await c.mesh.ask(a.me, "/echo", b"?", within=10) == b"?"


async def test_answers_that_never_end(autojump_clock: object) -> None:
    """A byte now and then: the asker's deadline is for all of it."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()

        async def drip(stream: Stream) -> None:
            await stream.send_all((1 << 20).to_bytes(4))
            while True:
                await stream.send_all(b"\0")
                await trio.sleep(1)

        evil.answer(PROTOCOL, drip)
        all_.link(a, evil)
        began = trio.current_time()
        with pytest.raises(AskFailed):
            await a.mesh.ask(evil.me, "/echo", b"?", within=12)
        assert trio.current_time() - began < 12.5


async def test_answers_that_are_none(autojump_clock: object) -> None:
    """Nothing but `AskFailed` comes of them."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        said = b""

        async def say(stream: Stream) -> None:
            await Messages(stream, limit=MAX_ASK * 2, deadline=10).receive()
            await stream.send_all(said)

        evil.answer(PROTOCOL, say)
        all_.link(a, evil)
        for said in (
            b"",
            b"\0",
            bytes(4),
            b"\xff" * 4,
            (1).to_bytes(4) + b"\x07",
            (2).to_bytes(4) + b"\0",
            b"\0\0\0\x01\x02",
        ):
            with pytest.raises(AskFailed):
                await a.mesh.ask(evil.me, "/echo", b"?", within=5)
        assert a.owes(evil.me) == [Offence.OVERSIZE, Offence.GARBAGE]


async def test_asking_inside_an_answerer(autojump_clock: object) -> None:
    """Each answers by asking the other: it ends, and nobody is barred for it."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()

        async def ping(peer: PeerId, question: bytes) -> bytes:
            return await a.mesh.ask(c.me, "/pong", question, within=20)

        async def pong(peer: PeerId, question: bytes) -> bytes:
            return await c.mesh.ask(a.me, "/ping", question, within=20)

        a.mesh.serve("/ping", ping)
        c.mesh.serve("/pong", pong)
        all_.link(a, c)
        with trio.fail_after(60):
            with pytest.raises(AskFailed):
                await c.mesh.ask(a.me, "/ping", b"?", within=20)
        assert all_.linked(a, c)
        a.mesh.serve("/echo", echo)
        assert await c.mesh.ask(a.me, "/echo", b"?", within=5) == b"?"


async def test_many_questions_of_an_honest_peer(autojump_clock: object) -> None:
    """A hundred at once, each of which takes a second: all are answered, and none is held against the asker."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()

        async def slow(_peer: PeerId, question: bytes) -> bytes:
            await trio.sleep(1)
            return question

        a.mesh.serve("/slow", slow)
        all_.link(a, c)
        answered = 0

        async def ask() -> None:
            nonlocal answered
            try:
                await c.mesh.ask(a.me, "/slow", b"?", within=60)
            except AskFailed:
                return
            answered += 1

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(ask)
        assert answered == 100
        assert not a.owes(c.me)


async def test_answerers_that_break(autojump_clock: object) -> None:
    """What they raise or return by mistake ends with the question."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()

        async def raises(_peer: PeerId, _question: bytes) -> bytes:
            await trio.lowlevel.checkpoint()
            raise RuntimeError("the secret is 1234")

        async def nothing(_peer: PeerId, _question: bytes) -> bytes:
            await trio.lowlevel.checkpoint()
            return None  # type: ignore[return-value]

        a.mesh.serve("/raises", raises)
        a.mesh.serve("/nothing", nothing)
        all_.link(a, c)
        for protocol in ("/raises", "/nothing", "/unknown"):
            with pytest.raises(AskFailed) as failed:
                await c.mesh.ask(a.me, protocol, b"?", within=5)
            assert "1234" not in str(failed.value)


async def test_a_flood_of_questions(autojump_clock: object) -> None:
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        a.mesh.serve("/echo", echo)
        all_.link(a, evil)
        for _ in range(200):
            with suppress(Unreachable):
                await evil.network.open(a.me, PROTOCOL)
        await trio.sleep(1)
        assert not all_.linked(a, evil)


async def test_strangers_that_drive_out_who_is_slow(autojump_clock: object) -> None:
    """An honest question is two seconds on its way. Meanwhile strangers open streams and close them again."""
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()
        a.mesh.serve("/echo", echo)
        all_.link(a, c)
        answers: list[bytes] = []

        async def come_and_go(evil: Villain) -> None:
            while True:
                with suppress(Unreachable):
                    streams = [await evil.network.open(a.me, PROTOCOL) for _ in range(MOST_PER_PEER)]
                    await trio.sleep(0.1)
                    for stream in streams:
                        await stream.reset()
                await trio.sleep(0.1)

        async def ask() -> None:
            question = encode_question("/echo", b"?")
            with suppress(Unreachable):
                stream = await c.network.open(a.me, PROTOCOL)
                await stream.send_all(len(question).to_bytes(4))
                await trio.sleep(2)
                await stream.send_all(question)
                answers.append(await stream.receive_some())

        all_.nursery.start_soon(ask)
        await trio.sleep(0.5)
        for _ in range(9):
            evil = all_.villain()
            all_.link(a, evil)
            all_.nursery.start_soon(come_and_go, evil)
        await trio.sleep(10)
        assert not a.owes(c.me)
        assert answers
