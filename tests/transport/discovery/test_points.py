from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import trio

from tests.transport.discovery.samples import KEY_A, KEY_B, KEY_C, NOW, PLACES, A, B, C
from tests.transport.loopback import Loopback, LoopbackNetwork
from transport.base import Address, Link, Milliseconds, PeerId, PeerState, Refused, TransportError
from transport.conduct import Offence
from transport.discovery.addresses import Policy
from transport.discovery.book import AddressBook
from transport.discovery.finding import Finding, Pace
from transport.discovery.points import PROTOCOL, RecordKeeper, look_up, publish
from transport.discovery.records import LIFE, PeerRecord, make
from transport.network import Stream
from transport.signing import SigningKey, peer_id
from transport.streams import Messages

PACE = Pace(look=1.0, republish=100.0, retry=5.0, first_search=2.0, longest_search=20.0)


def now_ms() -> Milliseconds:
    return Milliseconds(NOW + int(trio.current_time() * 1000))


def record(key: SigningKey, *places: Address, sequence: int = 1, expires: int = NOW + LIFE) -> PeerRecord:
    return make(key, places, sequence=sequence, expires=Milliseconds(expires))


class Trio:
    """Two devices and a point between them."""

    def __init__(self, most: int = 10) -> None:
        self.net = Loopback()
        self.a, self.b, self.point = (self.net.node(key) for key in (KEY_A, KEY_B, KEY_C))
        self.keeper = RecordKeeper(self.point, now_ms=now_ms, clock=trio.current_time, most=most)
        self.net.link(self.a, self.point)
        self.net.link(self.b, self.point)


async def raw(network: LoopbackNetwork, question: bytes) -> bytes | None:
    messages = Messages(await network.open(C, PROTOCOL), limit=10_000, deadline=30)
    await messages.send(question)
    return await messages.receive()


async def test_publish_and_look_up(autojump_clock: object) -> None:
    trio_ = Trio()
    async with trio_.net.running():
        newest = record(KEY_A, PLACES[1], sequence=2)
        assert await look_up(trio_.b, C, A, now_ms()) is None
        await publish(trio_.a, C, newest)
        await publish(trio_.a, C, record(KEY_A, PLACES[2], sequence=1))  # older: it stays as it is
        assert await look_up(trio_.b, C, A, now_ms()) == newest
        await trio.sleep(LIFE / 1000)
        assert await look_up(trio_.b, C, A, now_ms()) is None


async def test_a_point_takes_only_ones_own(autojump_clock: object) -> None:
    trio_ = Trio()
    async with trio_.net.running():
        with pytest.raises(TransportError):
            await publish(trio_.b, C, record(KEY_A, PLACES[1]))
        assert len(trio_.keeper) == 0
        assert trio_.point.offences == [(B, Offence.FORGED)]


@pytest.mark.parametrize("question", [b"", b"P", b"Pjunk", b"G", b"Gshort", b"X", b"G" + bytes(33)])
async def test_bad_questions(question: bytes, autojump_clock: object) -> None:
    trio_ = Trio()
    async with trio_.net.running():
        assert await raw(trio_.a, question) in {None, b"N"}
        assert [peer for peer, _ in trio_.point.offences] == [A]


async def test_an_oversized_question(autojump_clock: object) -> None:
    trio_ = Trio()
    async with trio_.net.running():
        assert await raw(trio_.a, b"P" + bytes(9000)) is None
        assert trio_.point.offences == [(A, Offence.OVERSIZE)]


async def test_full_is_refused_and_expiry_makes_room(autojump_clock: object) -> None:
    trio_ = Trio(most=1)
    async with trio_.net.running():
        await publish(trio_.a, C, record(KEY_A, PLACES[1], expires=NOW + 10_000))
        with pytest.raises(TransportError, match="no room"):
            await publish(trio_.b, C, record(KEY_B, PLACES[1]))
        await publish(trio_.a, C, record(KEY_A, PLACES[2], sequence=2, expires=NOW + 10_000))
        await trio.sleep(11)
        await publish(trio_.b, C, record(KEY_B, PLACES[1]))
        assert len(trio_.keeper) == 1


async def test_a_flood_of_questions_is_left_unanswered_and_hurts_nobody_else(autojump_clock: object) -> None:
    trio_ = Trio()
    async with trio_.net.running():
        answers = [await raw(trio_.a, b"G" + KEY_B.public) for _ in range(250)]
        assert answers == [b"-"] * 200 + [None] * 50
        assert trio_.point.offences == [(A, Offence.FLOOD)] * 50
        assert await raw(trio_.b, b"G" + KEY_A.public) == b"-"
        await trio.sleep(20)
        assert await raw(trio_.a, b"G" + KEY_B.public) == b"-"


@pytest.mark.parametrize(
    "answer",
    [
        b"junk",
        b"R",
        b"R" + record(KEY_B, PLACES[1]).encoded,  # true, of another
        b"R" + record(KEY_A, PLACES[1], expires=NOW - 1).encoded,
        b"R" + record(KEY_A, PLACES[1]).encoded[:-1] + b"x",
        b"R" + record(KEY_A, PLACES[1], expires=NOW + 9 * LIFE).encoded,
    ],
)
async def test_a_lying_point_gains_nothing(answer: bytes, autojump_clock: object) -> None:
    trio_ = Trio()

    async def lie(stream: Stream) -> None:
        messages = Messages(stream, limit=10_000, deadline=10)
        await messages.receive()
        await messages.send(answer)

    trio_.point.handle(PROTOCOL, lie)
    async with trio_.net.running():
        with pytest.raises(Refused):
            await look_up(trio_.b, C, A, now_ms())
        assert len(trio_.b.offences) == 1


class Missing(LoopbackNetwork):
    """Keeps a peer that it is not connected to."""

    kept: tuple[PeerId, ...] = ()

    def peers(self) -> dict[PeerId, PeerState]:
        away = {peer: PeerState(peer=peer, link=Link.AWAY, kept=True) for peer in self.kept}
        return away | dict(super().peers())


async def test_finding(autojump_clock: object) -> None:
    trio_ = Trio()
    net = trio_.net
    b = Missing(net, KEY_B)
    net.nodes[B] = b
    net.links.clear()
    net.link(trio_.a, trio_.point)
    net.link(b, trio_.point)
    b.kept = (A,)
    here = [PLACES[1]]
    found: list[Address] = []

    def take(peer: PeerId, places: Sequence[Address]) -> None:
        assert peer == A
        found.extend(places)

    def finding(network: LoopbackNetwork, key: SigningKey) -> Finding:
        return Finding(
            network,
            key,
            AddressBook(Policy()),
            points=[C],
            addresses=lambda: here,
            found=take,
            now_ms=now_ms,
            jitter=random.Random(1),
            pace=PACE,
        )

    async with net.running(), trio.open_nursery() as nursery:
        nursery.start_soon(finding(trio_.a, KEY_A).run)
        nursery.start_soon(finding(b, KEY_B).run)
        await trio.sleep(10)
        assert found == [PLACES[1]]
        published = trio_.a.counted["finding.published"]
        assert published == 1
        here[:] = [Address("/ip4/10.0.0.1/tcp/1"), PLACES[2]]  # it moved; the private one stays its own
        await trio.sleep(40)
        assert found == [PLACES[1], PLACES[2]]
        net.cut(trio_.a, trio_.point)
        trio_.keeper = RecordKeeper(trio_.point, now_ms=now_ms, clock=trio.current_time)  # the point restarted
        await trio.sleep(3)
        net.link(trio_.a, trio_.point)
        await trio.sleep(3)
        assert len(trio_.keeper) >= 1
        before = trio_.a.counted["finding.published"]
        await trio.sleep(101)
        assert trio_.a.counted["finding.published"] == before + 1  # made anew before it grew old
        b.kept = ()
        asked = trio_.point.counted["records.given"]
        await trio.sleep(60)
        assert trio_.point.counted["records.given"] == asked
        nursery.cancel_scope.cancel()


async def test_finding_survives_a_point_that_is_none(autojump_clock: object) -> None:
    net = Loopback()
    a, c = net.node(KEY_A), net.node(KEY_C)
    net.link(a, c)
    finding = Finding(
        a,
        KEY_A,
        AddressBook(Policy()),
        points=[C, B],
        addresses=lambda: PLACES[:50],
        found=lambda peer, places: None,
        now_ms=now_ms,
        jitter=random.Random(1),
        pace=PACE,
    )
    async with net.running(), trio.open_nursery() as nursery:
        nursery.start_soon(finding.run)
        await trio.sleep(30)
        assert 3 <= a.counted["finding.not_published"] <= 8
        assert await finding.look_up(B) is None
        assert len(finding.record().addresses) == 16
        nursery.cancel_scope.cancel()


async def test_many_missed_peers_are_looked_up_a_few_at_a_time(autojump_clock: object) -> None:
    trio_ = Trio()
    a = Missing(trio_.net, KEY_A)
    trio_.net.nodes[A] = a
    a.kept = tuple(peer_id(SigningKey(number.to_bytes(32)).public) for number in range(100, 150))
    finding = Finding(
        a,
        KEY_A,
        AddressBook(Policy()),
        points=[C],
        addresses=list,
        found=lambda peer, places: None,
        now_ms=now_ms,
        jitter=random.Random(1),
        pace=Pace(look=1.0, first_search=100.0),
    )
    async with trio_.net.running(), trio.open_nursery() as nursery:
        nursery.start_soon(finding.run)
        await trio.sleep(0.5)
        assert trio_.point.counted["records.missed"] == 16
        await trio.sleep(10)
        assert trio_.point.counted["records.missed"] == 50
        nursery.cancel_scope.cancel()
