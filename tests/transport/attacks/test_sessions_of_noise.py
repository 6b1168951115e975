"""Well-formed messages that make no sense, in sessions that we open and in sessions that are opened with us.

Whatever is said, the caller sees a `TransportError`, the mesh goes on, and nothing is stored that nobody signed.
"""

from __future__ import annotations

import random
from contextlib import suppress

import pytest
import trio

from tests.transport.attacks.rig import TOPIC, Honest, Session, Town, send_quietly, town
from transport.access import prove
from transport.base import Frame, FrameId, Milliseconds, TransportError
from transport.conduct import Ledger
from transport.frames import parse
from transport.network import Stream
from transport.sync import wire as sync
from transport.sync.index import FINGERPRINT_SIZE, KEY_SIZE, TOP, Border, Key, key
from transport.sync.ranges import Answer, Ask, Claim, Item, Keys, Part, Same, Split


class Noise:
    """Chooses from what a peer might know: borders that were asked for, keys that are there, frames of the topic."""

    def __init__(self, all_: Town, known: list[Frame], seed: int) -> None:
        self.rng = random.Random(seed)
        self.known = known
        self.frames = known + [all_.frame(self.rng.choice([0, 10, 140_000])) for _ in range(10)]
        self.asked: list[Item] = []

    def border(self) -> Border:
        rng = self.rng
        some = [one for item in self.asked for one in (item.low, item.high)]
        made = rng.choice([b"", TOP, rng.choice(some) if some else b"", self.key()[: rng.randint(1, KEY_SIZE)]])
        return made.rstrip(b"\0")

    def key(self) -> Key:
        frame = self.rng.choice(self.frames)
        later = self.rng.choice([0, 0, 1, -frame.expires, 1 << 50])
        return key(Milliseconds(frame.expires + later), self.rng.choice([frame.id, FrameId(self.rng.randbytes(32))]))

    def keys(self) -> tuple[Key, ...]:
        return tuple(sorted({self.key() for _ in range(self.rng.choice([0, 1, 5, 70]))}))

    def answer(self) -> Answer:
        rng = self.rng
        fingerprint = rng.randbytes(FINGERPRINT_SIZE)
        match rng.randrange(5):
            case 0:
                return Same()
            case 1:
                return Keys(keys=self.keys())
            case 2:
                return Keys(keys=self.keys(), high=self.border(), left=rng.choice([0, 1, 100, 1 << 31]))
            case 3:
                borders = tuple(sorted({self.border() for _ in range(rng.randint(1, 8))}))
                parts = [
                    Part(count=rng.choice([0, 1, 40, 1 << 31]), fingerprint=fingerprint)
                    for _ in range(len(borders) + 1)
                ]
                return Split(borders=borders, parts=tuple(parts))
            case _:
                return Keys(keys=tuple(one for one in self.keys() if self.asked and one >= self.asked[0].low))

    def item(self) -> Item:
        low, high = sorted((self.border(), self.border()))
        if self.rng.random() < 0.5:
            return Ask(low=low, high=high)
        return Claim(low=low, high=high, count=self.rng.choice([0, 5, 1 << 31]), fingerprint=bytes(FINGERPRINT_SIZE))

    def entry(self) -> sync.Entry:
        frame = self.rng.choice(self.frames)
        head = parse(frame.head)
        if len(frame.payload) > sync.LARGE:
            return sync.Large(head=head)
        return sync.Absent() if self.rng.random() < 0.5 else sync.Small(head=head, payload=frame.payload)

    def entries(self) -> tuple[sync.Entry, ...]:
        made = [self.entry() for _ in range(self.rng.randint(0, 5))]
        whole = [one for one in made if not isinstance(one, sync.Large)]
        return (*whole, *[one for one in made if isinstance(one, sync.Large)][:1])

    def message(self) -> sync.Message:
        rng = self.rng
        ids = tuple(frame.id for frame in rng.sample(self.frames, rng.randint(0, 5)))
        choice: list[sync.Message] = [
            sync.Compared(answers=tuple(self.answer() for _ in range(max(len(self.asked), 1)))),
            sync.Compared(answers=tuple(self.answer() for _ in range(rng.randint(0, 3)))),
            sync.Compare(items=tuple(self.item() for _ in range(rng.randint(0, 5)))),
            sync.Pull(ids=ids, wait=rng.choice([0, 100])),
            sync.Next(),
            sync.Page(entries=self.entries()),
            sync.Piece(data=bytes(rng.choice([0, 100, 65536]))),
            sync.Offer(keys=self.keys()),
            sync.Taken(frames=rng.choice([0, 1, 1 << 31])),
            sync.End(received=rng.choice([0, 1]), sent=rng.choice([0, 1])),
            sync.No(why=sync.Why.BUSY),
        ]
        return rng.choice(choice)

    def fitting(self, heard: sync.Message) -> sync.Message:
        """Of the kind that is waited for, so that it gets further in."""
        kinds: dict[type, type] = {
            sync.Compare: sync.Compared,
            sync.Pull: sync.Page,
            sync.Next: sync.Page,
            sync.Offer: sync.Pull,
            sync.End: sync.End,
            sync.Compared: sync.Compare,
        }
        wanted = kinds.get(type(heard), sync.Pull)
        for _ in range(20):
            made = self.message()
            if isinstance(made, wanted):
                return made
        return self.message()


async def forgiving(one: Honest) -> None:
    """Nobody is barred here: the next line of noise is to be heard."""
    one.network.ledger = Ledger()
    await trio.lowlevel.checkpoint()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
async def test_noise_in_sessions_that_we_open(autojump_clock: object, seed: int) -> None:
    async with town() as all_:
        c, evil = await all_.honest(), all_.villain()
        known = [all_.frame(50) for _ in range(60)]
        await c.store_quietly(*known)
        noise = Noise(all_, known, seed)

        async def talk(stream: Stream) -> None:
            session = Session(stream)
            assert TOPIC.key is not None
            proof = prove(TOPIC.key, evil.me, c.me)
            hello = await session.hear()
            assert isinstance(hello, sync.Hello)
            await session.say(sync.Welcome(may_write=True, low=hello.low, high=hello.high, credential=proof))
            while (heard := await session.hear()) is not None:
                noise.asked = list(heard.items) if isinstance(heard, sync.Compare) else []
                with suppress(TransportError):
                    await session.say(noise.fitting(heard) if noise.rng.random() < 0.8 else noise.message())

        evil.answer(sync.PROTOCOL, talk)
        all_.link(c, evil)
        for _ in range(60):
            await forgiving(c)
            with suppress(TransportError):
                await c.mesh._exchange.reconcile(evil.me, TOPIC.id)
            with suppress(TransportError):
                await c.mesh._exchange.fetch(evil.me, TOPIC.id, [parse(frame.head) for frame in noise.frames], wait=0.1)
        assert not c.mesh._exchange._inbox._claims


@pytest.mark.parametrize("seed", range(2))
async def test_noise_in_sessions_that_are_opened_with_us(autojump_clock: object, seed: int) -> None:
    async with town() as all_:
        c, evil = await all_.honest(), all_.villain()
        known = [all_.frame(50) for _ in range(60)]
        await c.store_quietly(*known)
        all_.link(c, evil)
        noise = Noise(all_, known, seed)
        for _ in range(60):
            await forgiving(c)
            with trio.move_on_after(200), suppress(TransportError):
                session = await evil.sync_with(c, noise.rng.choice(list(sync.Mode)))
                heard = await session.hear()
                while heard is not None:
                    await session.say(noise.message())
                    heard = await session.hear()
        assert len(c.mesh._exchange._server._seats[sync.Mode.RECONCILE]) <= 1


@pytest.mark.parametrize("seed", range(2))
async def test_noise_in_bytes(autojump_clock: object, seed: int) -> None:
    """Random bytes with right lengths on every protocol."""
    rng = random.Random(seed)
    async with town() as all_:
        a, c, evil = await all_.honest(), await all_.honest(), all_.villain()
        all_.link(a, c, evil)
        for _ in range(60):
            await forgiving(c)
            for protocol in list(c.network.handlers):
                with suppress(TransportError):
                    stream = await evil.network.open(c.me, protocol)
                    size = rng.choice([0, 1, 40, 3000])
                    prefix = size.to_bytes(4) if protocol.startswith("/vcd") else bytes((size % 128,))
                    await send_quietly(stream, prefix + bytes((rng.randrange(16),)) + rng.randbytes(size))
                    await stream.close()
        await trio.sleep(60)
        frame = all_.frame()
        await a.mesh.publish(frame)
        await trio.sleep(5)
        assert c.read_all(frame)
