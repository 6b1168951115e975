"""Peers that do everything wrong: it is dropped, counted and charged, callers see their two errors, seats come free."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from hypothesis import given, settings as hypothesis_settings, strategies as st
from trio.testing import MockClock

from tests.transport.sync.nodes import HOUR, TOPIC, WALL, Node, World, made, many, world
from transport.base import MAX_LIFE, AskFailed, Frame, FrameId, Milliseconds, TransportError, Unreachable
from transport.conduct import Offence
from transport.frames import HEAD_SIZE, Head, parse
from transport.network import Stream
from transport.signing import SigningKey
from transport.sync.index import border_at, key
from transport.sync.ranges import Claim, Keys, Same
from transport.sync.sessions import Line, Settings
from transport.sync.wire import (
    LARGE,
    PROTOCOL,
    Absent,
    Compare,
    Compared,
    End,
    Entry,
    Hello,
    Large,
    Message,
    Mode,
    Next,
    No,
    Offer,
    Page,
    Piece,
    Pull,
    Small,
    Taken,
    Welcome,
    Why,
    encode,
    entry_of,
)

SETTINGS = Settings()
LOW, HIGH = Milliseconds(WALL + 60_000), Milliseconds(WALL + MAX_LIFE - 60_000)


def hello(mode: Mode = Mode.RECONCILE, credential: bytes = b"member") -> Hello:
    return Hello(mode=mode, topic=TOPIC, low=LOW, high=HIGH, salt=bytes(16), credential=credential)


def free(node: Node) -> bool:
    server = node.exchange._server
    return not len(server._unopened) and not any(map(len, server._seats.values()))


async def raw(w: World) -> Stream:
    """A stream from the second node, which is evil, to the first."""
    return await w.nodes[1].network.open(w.nodes[0].me, PROTOCOL)


async def begun(w: World, mode: Mode = Mode.RECONCILE, credential: bytes = b"member") -> Line:
    line = Line(await raw(w), SETTINGS)
    await line.say(hello(mode, credential))
    assert isinstance(await line.hear(5), Welcome)
    return line


async def ended(stream: Stream) -> None:
    while await stream.receive_some():
        pass
    await trio.testing.wait_all_tasks_blocked()


# ---------------------------------------------------------------- evil clients


@pytest.mark.parametrize(
    ("said", "offence"),
    [
        (b"\0\0\0\5junk!", Offence.MALFORMED),
        (b"\0\0\0\0", Offence.MALFORMED),
        (b"\xff\xff\xff\xff", Offence.OVERSIZE),
        (b"\0\0\0\x01\x07", Offence.GARBAGE),
        (b"", Offence.STALLED),
        (b"\0\0\0\x99half", Offence.STALLED),
    ],
)
async def test_openings_that_are_none(autojump_clock: MockClock, said: bytes, offence: Offence) -> None:
    async with world([], []) as w:
        stream = await raw(w)
        if said:
            await stream.send_all(said)
        await ended(stream)
        assert trio.current_time() <= SETTINGS.opening + 1
        assert w.nodes[0].offences() == [offence]
        assert free(w.nodes[0])


async def test_a_version_that_is_not_known_is_told_so() -> None:
    async with world([], []) as w:
        stream = await raw(w)
        newer = b"\x01\x02" + bytes(100)
        await stream.send_all(len(newer).to_bytes(4) + newer)
        assert await Line(stream, SETTINGS).hear(5) == No(why=Why.VERSION)
        assert w.nodes[0].offences() == [Offence.VERSION]


OVERLAP = Compare(
    items=tuple(
        Claim(low=border_at(LOW), high=border_at(LOW + end), count=1, fingerprint=bytes(16)) for end in (500, 300)
    )
)


@pytest.mark.parametrize(
    ("messages", "offence"),
    [
        ([OVERLAP], Offence.LYING),
        ([Compare(items=())], Offence.LYING),
        ([Next()], Offence.GARBAGE),
        ([Pull(ids=())], Offence.GARBAGE),
        ([Pull(ids=(made(1).id,)), Next()], Offence.GARBAGE),
        ([hello()], Offence.GARBAGE),
        ([Taken(frames=1)], Offence.GARBAGE),
        ([End(received=1, sent=0)], Offence.GARBAGE),
        ([End(received=0, sent=1)], Offence.GARBAGE),
    ],
)
async def test_questions_that_cannot_be_asked(messages: list[Message], offence: Offence) -> None:
    async with world(many(range(3)), []) as w:
        line = await begun(w)
        await line.say(*messages)
        await ended(line.stream)
        assert w.nodes[0].offences() == [offence]
        assert free(w.nodes[0])


async def test_offers_without_the_right() -> None:
    async with world([], []) as w:
        for mode, word in ((Mode.RECONCILE, b"reader"), (Mode.FETCH, b"member")):
            line = await begun(w, mode, word)
            await line.say(Offer(keys=(key(made(1).expires, made(1).id),)))
            await ended(line.stream)
        assert w.nodes[0].offences() == [Offence.UNAUTHORIZED, Offence.GARBAGE]
        assert not w.nodes[0].ids()


async def test_silence_after_the_opening_costs_nothing_but_the_seat(autojump_clock: MockClock) -> None:
    async with world([], []) as w:
        line = await begun(w)
        await ended(line.stream)
        assert SETTINGS.answer - 1 < trio.current_time() < SETTINGS.answer + 5
        line = await begun(w)
        await line.say(Pull(ids=(made(1).id,)))
        await ended(line.stream)
        assert SETTINGS.idle - 1 < trio.current_time() - SETTINGS.answer < SETTINGS.idle + 5
        assert w.nodes[0].offences() == []
        assert free(w.nodes[0])


async def test_an_offer_that_is_not_kept_keeps_nobody_from_bringing_it(autojump_clock: MockClock) -> None:
    """Offers of frames that are then not handed out: claimed once, and never again by the same peer."""
    async with world([], [], many(range(20))) as w:
        victim, _, honest = w.nodes
        offered = Offer(keys=tuple(sorted(key(frame.expires, frame.id) for frame in many(range(20)))))

        async def offer() -> None:
            line = await begun(w)
            await line.say(offered)
            assert isinstance(await line.hear(5), Pull)

        await offer()
        assert (await victim.exchange.reconcile(honest.me, TOPIC)).received == 0
        await trio.sleep(30)
        await offer()
        assert (await victim.exchange.reconcile(honest.me, TOPIC)).received == 20


async def test_streams_without_number(autojump_clock: MockClock) -> None:
    """Only some may wait to say what they want; an honest peer is served meanwhile."""
    async with world(many(range(10)), [], []) as w:
        server, _, honest = w.nodes
        streams = [await raw(w) for _ in range(1000)]
        await trio.testing.wait_all_tasks_blocked()
        assert len(server.exchange._server._unopened) == SETTINGS.unopened_each
        assert (await honest.exchange.reconcile(server.me, TOPIC)).received == 10
        assert server.network.counted["sync.crowded"] == 1000 - SETTINGS.unopened_each
        await trio.sleep(SETTINGS.opening + 1)
        assert free(server)
        for stream in streams:
            await stream.reset()


@pytest.mark.slow
async def test_questions_without_number_wait(autojump_clock: MockClock) -> None:
    async with world(many(range(10)), []) as w:
        line = await begun(w)
        for _ in range(1000):
            await line.say(Pull(ids=(made(1).id,)))
            await line.hear(60)
        assert trio.current_time() > (1000 - SETTINGS.questions) / SETTINGS.questions - 1
        assert w.nodes[0].offences() == []


# ---------------------------------------------------------------- evil frames

STRANGERS = SigningKey(b"s" * 32)


def bad(frame: Frame, place: int) -> Head:
    """The head with one bit of the signature turned: another id, and no signature."""
    encoded = bytearray(frame.head)
    encoded[place] ^= 1
    return parse(bytes(encoded))


FORGED = bad(made(1), HEAD_SIZE - 1)
LATE, EARLY = made(5, life=MAX_LIFE + HOUR), made(6, life=-HOUR)
STRANGE = made(7, key=STRANGERS)
BIG = made(8, size=LARGE + 1)
BAD_BIG = bad(BIG, HEAD_SIZE - 1)


async def push(w: World, heads: list[Head], *entries: Entry, pieces: int = 0) -> None:
    """Offer these as the second node, and hand out that instead."""
    line = await begun(w)
    await line.say(Offer(keys=tuple(sorted(key(head.expires, head.id) for head in heads))))
    with suppress(TransportError):
        asked = await line.hear(5)
        if isinstance(asked, Pull):
            await line.say(Page(entries=entries), *[Piece(data=bytes(64 << 10))] * pieces)
            await line.hear(5)
    await line.reset()
    await trio.testing.wait_all_tasks_blocked()


async def test_frames_that_are_not_what_they_should_be() -> None:
    good = [entry_of(made(2)), entry_of(made(3))]
    assert isinstance(good[0], Small)
    cases: list[tuple[list[Head], tuple[Entry, ...], int, list[Offence]]] = [
        ([FORGED], (Small(head=FORGED, payload=made(1).payload),), 0, [Offence.FORGED]),
        ([good[0].head], (Small(head=good[0].head, payload=bytes(100)),), 0, [Offence.FORGED]),
        ([good[0].head], (entry_of(made(9)),), 0, [Offence.GARBAGE]),
        ([good[0].head], (good[0], good[1]), 0, [Offence.GARBAGE]),
        ([good[0].head], (), 0, [Offence.GARBAGE]),
        ([good[0].head], (Absent(),), 0, [Offence.BROKEN_PROMISE]),
        ([parse(STRANGE.head)], (entry_of(STRANGE),), 0, [Offence.STRANGER]),
        ([BAD_BIG], (Large(head=BAD_BIG),), 3, [Offence.FORGED]),
        ([parse(BIG.head)], (Large(head=parse(BIG.head)),), 3, [Offence.GARBAGE]),
        ([parse(BIG.head)], (Large(head=parse(BIG.head)), Absent()), 3, [Offence.MALFORMED]),
        ([parse(LATE.head)], (), 0, []),
        ([parse(EARLY.head)], (), 0, []),
    ]
    for heads, entries, pieces, offences in cases:
        async with world([], []) as w:
            await push(w, heads, *entries, pieces=pieces)
            assert w.nodes[0].offences() == offences, (heads, entries)
            assert not w.nodes[0].ids()
            assert free(w.nodes[0])
            assert not w.nodes[0].exchange._inbox._claims


async def test_good_frames_beside_bad_ones_stay() -> None:
    async with world([], []) as w:
        frames = sorted(many(range(4)), key=lambda frame: frame.expires)
        heads = [parse(frame.head) for frame in frames]
        entries = [entry_of(frame) for frame in frames]
        entries[1] = Small(head=heads[1], payload=bytes(100))
        entries[3] = entry_of(made(77))
        await push(w, heads, *entries)
        assert w.nodes[0].ids() == {frames[0].id, frames[2].id}
        assert w.nodes[0].offences() == [Offence.FORGED, Offence.GARBAGE]


# ---------------------------------------------------------------- evil servers

Script = Callable[[Line, Hello], Awaitable[None]]


async def against(w: World, script: Script) -> None:
    """Let the second node serve by the script, and reconcile with it."""

    async def handle(stream: Stream) -> None:
        line = Line(stream, SETTINGS)
        opening = await line.hear(5)
        assert isinstance(opening, Hello)
        await script(line, opening)

    w.nodes[1].network.handle(PROTOCOL, handle)
    with pytest.raises((AskFailed, Unreachable)):
        await w.nodes[0].exchange.reconcile(w.nodes[1].me, TOPIC)


def welcome(opening: Hello, *, low: int = 0, high: int = 0) -> Welcome:
    return Welcome(
        may_write=True,
        low=Milliseconds(opening.low + low),
        high=Milliseconds(opening.high + high),
        credential=b"member",
    )


@pytest.mark.parametrize(
    ("said", "offence"),
    [
        ([], Offence.STALLED),
        ([Next()], Offence.GARBAGE),
        ([Compared(answers=(Same(), Same()))], Offence.LYING),
        ([Compared(answers=())], Offence.LYING),
        ([Compared(answers=(Same(),)), End(received=7, sent=0)], Offence.GARBAGE),
        ([Compared(answers=(Same(),)), Next()], Offence.GARBAGE),
        ([Compared(answers=(Keys(keys=()),)), Taken(frames=1)], Offence.GARBAGE),
        ([Compared(answers=(Keys(keys=()),)), Pull(ids=(FrameId(bytes(32)),))], Offence.GARBAGE),
        ([Compared(answers=(Keys(keys=()),)), Next()], Offence.GARBAGE),
    ],
)
async def test_answers_that_are_none(autojump_clock: MockClock, said: list[Message], offence: Offence) -> None:
    async def script(line: Line, opening: Hello) -> None:
        await line.say(welcome(opening))
        for message in said:
            await line.hear(5)
            await line.say(message)
        await trio.sleep(1000)

    async with world(many(range(10)), []) as w:
        await against(w, script)
        assert w.nodes[0].offences() == [offence]
        assert trio.current_time() <= SETTINGS.answer + 1


async def test_an_opening_that_is_not_answered(autojump_clock: MockClock) -> None:
    async def script(line: Line, opening: Hello) -> None:
        await trio.sleep(1000)

    async with world([], []) as w:
        await against(w, script)
        assert w.nodes[0].offences() == [Offence.STALLED]
        assert trio.current_time() <= SETTINGS.opening + 1


@pytest.mark.parametrize(("low", "high"), [(-1, 0), (0, 1)])
async def test_a_welcome_that_widens_the_range(low: int, high: int) -> None:
    async with world(many(range(10)), []) as w:
        await against(w, lambda line, opening: line.say(welcome(opening, low=low, high=high)))
        assert w.nodes[0].offences() == [Offence.GARBAGE]


@pytest.mark.slow
@pytest.mark.parametrize(("later", "price"), [(0, Offence.EXPIRED), (HOUR, Offence.BROKEN_PROMISE)])
async def test_keys_without_frames_bar_whoever_makes_them_up(
    later: int, price: Offence, autojump_clock: MockClock
) -> None:
    """An endless list of frames that nobody has, also if they are said to expire any moment."""
    rng = random.Random(3)

    async def script(line: Line, opening: Hello) -> None:
        await line.say(welcome(opening))
        time, left = Milliseconds(opening.low + later), 2**32 - 1
        while True:
            match await line.hear(100):
                case Compare():
                    time, left = Milliseconds(time + 1), left - 500
                    made_up = sorted(key(time, FrameId(rng.randbytes(32))) for _ in range(500))
                    piece = Keys(keys=tuple(made_up), high=border_at(time + 1), left=left)
                    await line.say(Compared(answers=(piece,)))
                case Pull() as pull:
                    await line.say(Page(entries=(Absent(),) * len(pull.ids)))
                case _:
                    return

    async with world([], []) as w:
        for _ in range(3):
            if w.nodes[0].network.connected(w.nodes[1].me):
                await against(w, script)
        assert set(w.nodes[0].offences()) == {price}
        assert not w.nodes[0].network.connected(w.nodes[1].me)


@pytest.mark.slow
def test_noise_ends_in_one_of_two_errors() -> None:
    """A server, and a client, that say well-formed messages and junk at random."""

    def noise(rng: random.Random) -> bytes:
        frames = many(range(rng.randrange(1, 5)))
        messages: list[Message] = [
            Compared(answers=(Same(),) * rng.randrange(4)),
            Compared(answers=(Keys(keys=tuple(sorted(key(f.expires, f.id) for f in frames))),)),
            Page(entries=tuple(entry_of(frame) for frame in frames)),
            Page(entries=(Absent(),)),
            Pull(ids=tuple(frame.id for frame in frames)),
            Offer(keys=tuple(sorted(key(f.expires, f.id) for f in frames))),
            Next(),
            Taken(frames=rng.randrange(2)),
            End(received=rng.randrange(2), sent=rng.randrange(2)),
            OVERLAP,
        ]
        said = encode(rng.choice(messages))
        if rng.random() < 0.2:
            said = rng.randbytes(rng.randrange(100))
        return len(said).to_bytes(4) + said

    @given(seed=st.integers(0, 10**9))
    @hypothesis_settings(max_examples=100)
    def check(seed: int) -> None:
        rng = random.Random(seed)

        async def script(line: Line, opening: Hello) -> None:
            await line.say(welcome(opening))
            for _ in range(rng.randrange(8)):
                await line.stream.send_all(noise(rng))

        async def run() -> None:
            async with world(many(range(2, 9)), []) as w:
                line = await begun(w)
                with suppress(Unreachable):
                    for _ in range(rng.randrange(8)):
                        await line.stream.send_all(noise(rng))
                await line.reset()
                if w.nodes[0].network.connected(w.nodes[1].me):
                    with suppress(pytest.fail.Exception):  # by chance it was a session
                        await against(w, script)
                await trio.sleep(SETTINGS.idle + SETTINGS.answer + 1)
                assert free(w.nodes[0])
                assert not w.nodes[0].exchange._inbox._claims
                assert w.nodes[0].ids() <= {made(n).id for n in range(9)}

        trio.run(run, clock=MockClock(autojump_threshold=0))

    check()
