from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given, strategies as st

from tests.transport.loopback import Loopback, LoopbackNetwork
from transport.base import MAX_ASK, AskFailed, PeerId, Reason, Refused, Unreachable
from transport.conduct import Offence
from transport.live.ask import MOST_MOVING, MOST_PER_PEER, PROTOCOL, Questions, decode_question, encode_question
from transport.network import Stream


async def echo(peer: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return question[::-1]


def two(net: Loopback) -> tuple[LoopbackNetwork, Questions, LoopbackNetwork, Questions]:
    a, b = net.node(), net.node()
    made = (a, Questions(a), b, Questions(b))
    net.link(a, b)
    return made


@pytest.mark.parametrize("size", [0, 1, 100_000, MAX_ASK])
async def test_answered(size: int) -> None:
    async with Loopback().running() as net:
        _, asker, b, answerer = two(net)
        answerer.serve("/x/1", echo)
        question = bytes(range(256)) * (size // 256 + 1)
        assert await asker.ask(b.me, "/x/1", question[:size], 5) == question[:size][::-1]


async def test_many_at_once_and_in_both_directions() -> None:
    async with Loopback().running() as net:
        a, one, b, other = two(net)
        one.serve("/x/1", echo)
        other.serve("/x/1", echo)
        answers = []

        async def ask(questions: Questions, peer: PeerId, n: int) -> None:
            answers.append(await questions.ask(peer, "/x/1", b"%d" % n, 5) == (b"%d" % n)[::-1])

        async with trio.open_nursery() as nursery:
            for n in range(MOST_PER_PEER):
                nursery.start_soon(ask, one, b.me, n)
                nursery.start_soon(ask, other, a.me, n)
        assert answers == [True] * 2 * MOST_PER_PEER


async def test_an_asker_keeps_below_what_the_answerer_allows(autojump_clock: trio.testing.MockClock) -> None:
    async with Loopback().running() as net:
        _, asker, b, answerer = two(net)
        answers: list[bytes] = []

        async def slow(peer: PeerId, question: bytes) -> bytes:
            await trio.sleep(1)
            return question

        answerer.serve("/x/1", slow)

        async def ask(n: int) -> None:
            answers.append(await asker.ask(b.me, "/x/1", b"%d" % n, 60))

        async with trio.open_nursery() as nursery:
            for n in range(50):
                nursery.start_soon(ask, n)
        assert sorted(answers) == sorted(b"%d" % n for n in range(50))
        assert b.offences == []


async def test_more_than_its_share_is_a_flood() -> None:
    async with Loopback().running() as net:
        a, _, b, _ = two(net)
        for _ in range(MOST_PER_PEER + 3):
            await a.open(b.me, PROTOCOL)
        await trio.testing.wait_all_tasks_blocked()
        assert b.offences == [(a.me, Offence.FLOOD)] * 3


async def test_silent_streams_keep_nobody_else_from_asking(autojump_clock: trio.testing.MockClock) -> None:
    async with Loopback().running() as net:
        _, asker, b, answerer = two(net)
        answerer.serve("/x/1", echo)
        villains = [net.node() for _ in range(MOST_MOVING // MOST_PER_PEER + 2)]
        for villain in villains:
            net.link(villain, b)
            for _ in range(MOST_PER_PEER):
                await villain.open(b.me, PROTOCOL)
        await trio.testing.wait_all_tasks_blocked()
        assert await asker.ask(b.me, "/x/1", b"ab", 1) == b"ba"
        await trio.sleep(60)
        assert {offence for _, offence in b.offences} == {Offence.STALLED}
        assert {peer for peer, _ in b.offences} == {villain.me for villain in villains}


async def raises(peer: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    raise ValueError("the answerer's own fault")


async def offended(peer: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    raise Refused(Reason.MALFORMED, "not what this protocol speaks")


async def too_much(peer: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return bytes(MAX_ASK + 1)


async def nothing(peer: PeerId, question: bytes) -> bytes:
    await trio.lowlevel.checkpoint()
    return None  # type: ignore[return-value] # the mistake


async def never(peer: PeerId, question: bytes) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


@pytest.mark.parametrize(
    ("protocol", "why"),
    [
        ("/raises/1", "refused"),
        ("/too-much/1", "refused"),
        ("/nothing/1", "refused"),
        ("/never/1", "no answer within 5 s"),
        ("/nobody/1", "does not answer this"),
    ],
)
async def test_no_answer(autojump_clock: trio.testing.MockClock, protocol: str, why: str) -> None:
    async with Loopback().running() as net:
        a, asker, b, answerer = two(net)
        answerer.serve("/raises/1", raises)
        answerer.serve("/too-much/1", too_much)
        answerer.serve("/never/1", never)
        answerer.serve("/nothing/1", nothing)
        with pytest.raises(AskFailed, match=why):
            await asker.ask(b.me, protocol, b"?", 5)
        answerer.serve("/x/1", echo)
        assert await asker.ask(b.me, "/x/1", b"still here", 5) == b"ereh llits"
        assert a.offences == b.offences == []


async def test_a_question_the_answerer_calls_wrong_is_held_against_the_asker() -> None:
    async with Loopback().running() as net:
        a, asker, b, answerer = two(net)
        answerer.serve("/x/1", offended)
        with pytest.raises(AskFailed, match="refused"):
            await asker.ask(b.me, "/x/1", b"?", 5)
        assert b.offences == [(a.me, Offence.MALFORMED)]


async def test_a_peer_that_goes_away_or_is_away(autojump_clock: trio.testing.MockClock) -> None:
    async with Loopback().running() as net:
        a, asker, b, answerer = two(net)
        answerer.serve("/never/1", never)

        async def cut() -> None:
            await trio.sleep(1)
            net.cut(a, b)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut)
            with pytest.raises(AskFailed):
                await asker.ask(b.me, "/never/1", b"?", 50)
        assert trio.current_time() < 10
        with pytest.raises(AskFailed):
            await asker.ask(b.me, "/never/1", b"?", 50)


@pytest.mark.parametrize("protocol", ["", "x" * 65])
async def test_names_have_a_length(protocol: str) -> None:
    async with Loopback().running() as net:
        _, asker, b, _ = two(net)
        with pytest.raises(AskFailed):
            await asker.ask(b.me, protocol, b"", 5)


async def test_a_question_too_large_is_not_sent() -> None:
    async with Loopback().running() as net:
        _, asker, b, _ = two(net)
        with pytest.raises(AskFailed, match="at most"):
            await asker.ask(b.me, "/x/1", bytes(MAX_ASK + 1), 5)


@given(st.text(min_size=1, max_size=16), st.binary(max_size=300))
def test_questions_round_trip(name: str, question: bytes) -> None:
    assert decode_question(encode_question(name, question)) == (name, question)


@given(st.binary(max_size=100))
def test_junk_is_no_question_or_encodes_the_same(message: bytes) -> None:
    decoded = decode_question(message)
    if decoded is not None:
        assert encode_question(*decoded) == message


@pytest.mark.parametrize(
    ("sent", "offences"),
    [
        (b"", []),  # a stream opened for nothing
        (b"\0\0\0\x03abc", [Offence.MALFORMED]),
        (b"\xff\xff\xff\xff", [Offence.OVERSIZE]),
        (b"\0\0\0\x09half", []),  # broke off: that happens
    ],
    ids=["nothing", "junk", "oversize", "half"],
)
async def test_bad_questions(sent: bytes, offences: list[Offence]) -> None:
    async with Loopback().running() as net:
        a, _, b, answerer = two(net)
        answerer.serve("/x/1", echo)
        stream = await a.open(b.me, PROTOCOL)
        await stream.send_all(sent)
        await stream.close()
        assert await stream.receive_some() == b""
        await trio.testing.wait_all_tasks_blocked()
        assert [offence for _, offence in b.offences] == offences


@pytest.mark.parametrize(
    ("answer", "offence"),
    [
        (b"", None),
        (b"\0\0\0\x01\x09", Offence.GARBAGE),
        (b"\0\0\0\x00", None),
        (b"\xff\xff\xff\xff", Offence.OVERSIZE),
        (b"\0\0", None),
    ],
    ids=["none", "unknown status", "empty", "oversize", "half"],
)
async def test_bad_answers(answer: bytes, offence: Offence | None) -> None:
    async with Loopback().running() as net:
        a, b = net.node(), net.node()
        asker = Questions(a)

        async def garbage(stream: Stream) -> None:
            await stream.receive_some()
            await stream.send_all(answer)

        b.handle(PROTOCOL, garbage)
        net.link(a, b)
        with pytest.raises(AskFailed):
            await asker.ask(b.me, "/x/1", b"?", 5)
        assert a.offences == ([] if offence is None else [(b.me, offence)])


async def test_unreachable_is_what_streams_say() -> None:
    async with Loopback().running() as net:
        a, b = net.node(), net.node()
        with pytest.raises(Unreachable):
            await a.open(b.me, PROTOCOL)
