"""The mesh under the node: topics, frames, and who is there. The only room of the daemon that imports `transport`.

Frames that come are in the store before they come out here, and are marked as digested there by the owner, in the
transaction of what came of them. Those that were not, when the last run ended, are given first (`Mesh.left_over`), and
what the node put back when it has room (`again`).

    survey     each second: how many others take part in each topic, and whether a mailbox does (`Reached`); whether
               anybody is connected, and logs were compared (`Online`)
    announce   a signed record of where this device is, anew when that changes or the old one is some hours old (`Here`)
    met        the record of somebody who shares a group with us: we are connected to as many of them as `MOST_MET`, the
               ones met last. Where they were is remembered for the next start (`facts.met`), as records go round only
               now and then. Records cost nothing to make, so a group that brings many has its own oldest ones forgotten
               for them, not those of other groups; and the account's own devices have places of their own (`MOST_OWN`)

Whom the configuration names is kept always, and where contacts' cards lead to for as long as they do. `Gate` says who
may connect to us.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

import msgpack
import trio

from transport import frames
from transport.base import (
    Address,
    Frame,
    Link,
    Milliseconds,
    PeerId,
    Refused,
    TopicId as MeshTopic,
    TransportError,
)
from transport.discovery import records
from transport.discovery.addresses import Policy, Source
from transport.discovery.book import AddressBook
from transport.discovery.finding import Finding, keep_static
from transport.live.chance import Chance
from transport.live.open import SocketMesh
from transport.signing import SigningKey
from vcd.core import effects, inputs
from vcd.core.accounts.book import Book
from vcd.core.names import FrameId, TopicId
from vcd.core.state import State
from vcd.core.stored import Row
from vcd.daemon import again, facts
from vcd.daemon.facts import Changes
from vcd.daemon.packages import Place, place_of
from vcd.store.frames import Frames

FIRST = 4096
"""Frames that were left over and are given before what is new; the others as there is time."""
MOST_MET = 64
"""Peers to be connected to because they share a group with us."""
MOST_OWN = 32
"""The same of the account's own devices."""
SURVEY = 1.0
ANNOUNCE = 20.0
"""Seconds between looks."""
MOST_COMPARED = 64
"""Topics that are compared with the first peer before we count as connected."""
ALONE = 10
"""Looks without anybody until we count as not connected."""

MOST_CONTACTS = 512
"""Places of contacts that we are connected to, or try to be."""
MOST_ASKED = 32
"""Others that were asked for a KeyPackage, who stay connected: the last ones."""
MOST_TOLD = 8
CARD_KEPT = 30 * 24 * 3600 * 1000
"""Addresses of one card, and milliseconds for which they are tried."""

_THERE = (Link.CONNECTED, Link.RELAYED)


class Owner(Protocol):
    put_back: dict[tuple[bytes, bytes], None]

    def look(self) -> State: ...
    async def moved(self) -> None: ...
    async def tell(self, given: inputs.Input, *, frame: tuple[bytes, bytes] | None = None) -> None: ...
    def answer(self, given: inputs.Input, *, frame: tuple[bytes, bytes] | None = None) -> None: ...


def _places(book: Book) -> Iterator[Place]:
    """Where contacts' KeyPackages are to be had, the newest contacts first."""
    people = [each for each in book.contacts.values() if each.accepted and each.card is not None]
    for contact in sorted(people, key=lambda each: -each.met):
        for data in () if contact.card is None else contact.card.dispensers:
            place = place_of(data)
            if place is not None:
                yield place


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Peers that the configuration or people name."""

    static: Mapping[PeerId, Sequence[Address]] = field(default_factory=dict)
    mailboxes: frozenset[PeerId] = frozenset()
    points: tuple[PeerId, ...] = ()


class Gate:
    """Who may connect. It answers at once, in every handshake."""

    def __init__(self, rule: str = "everybody", named: frozenset[PeerId] = frozenset()) -> None:
        """`rule`: `network.allow`; `named`: whoever the configuration names."""
        self.rule = rule
        self.named = named
        self.denied: frozenset[PeerId] = frozenset()
        """Whom the configuration keeps out."""
        self.own: set[PeerId] = set()
        """The account's other devices."""
        self.met: set[PeerId] = set()
        """Members of our groups."""
        self.contacts: Callable[[], frozenset[PeerId]] = frozenset
        self.open = False
        """While somebody who is not known yet is waited for: a pairing."""

    def __call__(self, peer: PeerId) -> bool:
        if peer in self.denied:
            return False
        if self.rule == "everybody" or self.open or peer in self.named or peer in self.own:
            return True
        return self.rule == "known" and (peer in self.met or peer in self.contacts())


class Mesh:
    """See above."""

    def __init__(
        self,
        mesh: SocketMesh,
        key: SigningKey,
        *,
        store: Frames[Frame],
        known: Known,
        policy: Policy,
        now_ms: Callable[[], Milliseconds],
        random_bytes: Callable[[int], bytes],
        announces: bool = True,
        gate: Gate | None = None,
        met: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        """`met`: what was remembered of the last run."""
        self._mesh = mesh
        self._key = key
        self._store = store
        self._now_ms = now_ms
        self._announces = announces
        self.mailboxes = known.mailboxes
        """Those of the settings, as they are now."""
        self.book = AddressBook(policy)
        self.gate = gate or Gate()
        self.note: Callable[[Changes], None] = lambda _: None
        """Remembers things for the next start."""
        self._topics: set[MeshTopic] = set()
        self._met: OrderedDict[PeerId, bytes] = OrderedDict()
        self._brought: dict[PeerId, bytes] = {}
        """By which group we know somebody whom we met, in this run."""
        self._named: set[PeerId] = set()
        self._cards: dict[PeerId, Place] = {}
        self._asked: OrderedDict[PeerId, None] = OrderedDict()
        self._finding = Finding(
            mesh.network,
            key,
            self.book,
            points=known.points,
            addresses=mesh.addresses,
            found=mesh.keep,
            now_ms=now_ms,
            jitter=Chance(random_bytes),
        )
        keep_static(self.book, known.static, self.keep)
        for peer, data in met:
            self._remember(PeerId(peer.decode()), data)

    @property
    def me(self) -> PeerId:
        return self._mesh.me

    def addresses(self) -> tuple[Address, ...]:
        return self._mesh.addresses()

    def counters(self) -> Mapping[str, int]:
        return self._mesh.counters()

    def forget(self, peer: PeerId) -> None:
        """Whom the settings do not name any more."""
        self._named.discard(peer)
        self._let_go(peer)

    def _let_go(self, peer: PeerId) -> None:
        """Who is wanted for another reason still stays."""
        if not (peer in self._named or peer in self._cards or peer in self._asked or peer in self._met):
            self._mesh.forget(peer)
            self.book.forget(peer)

    def serve(self, protocol: str, answer: Callable[[PeerId, bytes], Awaitable[bytes]]) -> None:
        """Answer others' questions."""
        self._mesh.serve(protocol, answer)

    def connected(self) -> int:
        return sum(state.link in _THERE for state in self._mesh.peers().values())

    def is_there(self, peer: PeerId) -> bool:
        state = self._mesh.peers().get(peer)
        return state is not None and state.link in _THERE

    def there(self) -> tuple[PeerId, ...]:
        """Who is connected."""
        return tuple(sorted(peer for peer, state in self._mesh.peers().items() if state.link in _THERE))

    def anybody(self) -> bool:
        """Whether somebody is connected, or is to be."""
        return any(state.link is not Link.BARRED for state in self._mesh.peers().values())

    # ---------------------------------------------------------------- for the hands

    async def join(self, topic: TopicId, seed: bytes) -> None:
        joined = frames.member_topic(frames.WriteKey(seed))
        assert joined.id == MeshTopic(topic)  # noqa: S101 - the name follows from the seed
        await self._mesh.join(joined)
        self._topics.add(joined.id)

    async def leave(self, topic: TopicId) -> None:
        self._topics.discard(MeshTopic(topic))
        await self._mesh.leave(MeshTopic(topic), forget=True)

    async def publish(self, effect: effects.Publish) -> tuple[bytes, bytes]:
        """A topic that is not ours, an inbox of somebody else, is joined to write to it, and served from then on."""
        key = frames.WriteKey(effect.seed.raw)
        if MeshTopic(effect.topic) not in self._topics:
            await self._mesh.join(frames.member_topic(key))
            self._topics.add(MeshTopic(effect.topic))
        frame = frames.seal(key, effect.payload, Milliseconds(effect.expires))
        try:
            await self._mesh.publish(frame)
        except Refused:
            self._mesh.network.count("daemon.not_published")  # nobody would take it: it is past, or too large
        return frame.topic, frame.id

    async def synchronize(self, topic: TopicId) -> None:
        for peer, state in self._mesh.peers().items():
            if MeshTopic(topic) in state.topics and state.link in _THERE:
                await self._compare(peer, MeshTopic(topic))
                return

    async def _compare(self, peer: PeerId, topic: MeshTopic) -> None:
        try:
            await self._mesh.synchronize(peer, topic)
        except TransportError:
            self._mesh.network.count("daemon.not_compared")

    def met(self, record: bytes, *, group: bytes, own: bool) -> None:
        try:
            found = records.open_record(record, self._now_ms())
        except Refused:
            self._mesh.network.count("daemon.record_refused")
            return
        if found.peer == self.me:
            return
        self.book.add_record(found)
        addresses = self.book.order(found.peer)
        if not addresses:
            return
        data: bytes = msgpack.packb([own or found.peer in self.gate.own, list(addresses)])
        self._brought.setdefault(found.peer, group)
        if self._met.get(found.peer) == data:
            self._met.move_to_end(found.peer)
            return
        changes: dict[Row, bytes | None] = {facts.met(found.peer): data}
        self._remember(found.peer, data)
        while (gone := self._too_many()) is not None:
            del self._met[gone]
            self._brought.pop(gone, None)
            changes[facts.met(gone)] = None
            self.gate.met.discard(gone)
            self.gate.own.discard(gone)
            self._let_go(gone)
        self.note(changes)

    def _too_many(self) -> PeerId | None:
        """Who gives up a place: of the group that has most of them, the one met first."""
        own = [peer for peer in self._met if peer in self.gate.own]
        if len(own) > MOST_OWN:
            return own[0]
        others = [peer for peer in self._met if peer not in self.gate.own]
        if len(others) <= MOST_MET:
            return None
        held = Counter(self._brought.get(peer, b"") for peer in others)
        greedy = max(held, key=held.__getitem__)
        return next(peer for peer in others if self._brought.get(peer, b"") == greedy)

    def _remember(self, peer: PeerId, data: bytes) -> None:
        own, addresses = msgpack.unpackb(data)
        self._met[peer] = data
        self._met.move_to_end(peer)
        (self.gate.own if own else self.gate.met).add(peer)
        if own:
            self.gate.met.discard(peer)
        self._mesh.keep(peer, addresses)

    # ---------------------------------------------------------------- for people

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """Somebody whom we want to be connected to, whoever else there is."""
        if peer == self.me:
            return
        self._named.add(peer)
        self._mesh.keep(peer, addresses)

    def reach(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """Somebody is to be asked for a KeyPackage, and is there, a contact's card says."""
        if peer == self.me:
            return
        self._asked[peer] = None
        self._asked.move_to_end(peer)
        while len(self._asked) > MOST_ASKED:
            self._let_go(self._asked.popitem(last=False)[0])
        self._try(peer, addresses)

    def _try(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """Only what the policy believes is dialed."""
        self.book.add(peer, addresses[:MOST_TOLD], Source.RECORD, Milliseconds(self._now_ms() + CARD_KEPT))
        self._mesh.keep(peer, self.book.order(peer))

    def lead_to(self, places: Iterable[Place]) -> None:
        """These are the places of contacts' cards now, those to be kept first before others."""
        wanted: dict[PeerId, Place] = {}
        for place in places:
            if len(wanted) < MOST_CONTACTS and place.peer != self.me:
                wanted.setdefault(PeerId(place.peer), place)
        before, self._cards = self._cards, wanted
        gone = before.keys() - wanted.keys()
        for peer in gone:
            self._let_go(peer)
        for peer, place in wanted.items():
            if before.get(peer) != place:
                self._try(peer, [Address(each) for each in place.addresses])
        named = frozenset(wanted)
        self.gate.contacts = lambda: named
        if gone:
            self.recheck()

    def told(self) -> tuple[Address, ...]:
        """Where we are, as far as the policy lets it be said."""
        return tuple(self._finding.record().addresses)

    def admit_strangers(self, wanted: bool) -> None:
        """While somebody is waited for who is not known yet."""
        if self.gate.open != wanted:
            self.gate.open = wanted
            self.recheck()

    def recheck(self) -> None:
        """The gate may answer otherwise now."""
        self._mesh.network.recheck()

    async def ask(self, peer: PeerId, protocol: str, question: bytes, *, within: float) -> bytes:
        return await self._mesh.ask(peer, protocol, question, within=within)

    # ---------------------------------------------------------------- tasks

    async def left_over(self) -> list[tuple[bytes, bytes]]:
        """Frames that came before the last run ended, and that nothing came of yet. Ask before the mesh brings more.

        Whoever may speak can have the node put back any number of any size, so only their names are in memory.
        """
        return [place async for place in self._store.left_over()]

    async def listen(self, owner: Owner, first: Sequence[tuple[bytes, bytes]]) -> None:
        """Nothing that is new waits for long behind what is left over."""
        owner.put_back.update(dict.fromkeys(first[FIRST:]))
        for topic, name in first[:FIRST]:
            for frame in await self._store.fetch(topic, [name]):
                await self._give(owner, frame)
        async for arrival in self._mesh.frames():
            await self._give(owner, arrival.frame)

    async def give_again(self, owner: Owner) -> None:
        """What the node had no room for."""
        fetch = cast("Callable[[bytes, Sequence[bytes]], Awaitable[Sequence[Frame]]]", self._store.fetch)
        await again.run(owner, fetch, partial(self._give, owner, again=True))

    @staticmethod
    async def _give(owner: Owner, frame: Frame, *, again: bool = False) -> None:
        given = inputs.Arrived(frame=FrameId(frame.id), topic=TopicId(frame.topic), payload=frame.payload, again=again)
        await owner.tell(given, frame=(frame.topic, frame.id))

    async def find(self) -> None:
        await self._finding.run()

    async def survey(self, owner: Owner) -> None:
        told: dict[MeshTopic, tuple[int, bool]] = {}
        online, alone = False, 0
        while True:
            there = self._there()
            for topic in sorted(self._topics):
                now = there.get(topic, (0, False))
                if told.get(topic, (0, False)) != now:
                    told[topic] = now
                    await owner.tell(inputs.Reached(topic=TopicId(topic), peers=now[0], mailbox=now[1]))
            for topic in [topic for topic in told if topic not in self._topics]:
                del told[topic]
            alone = 0 if there else alone + 1
            if there and not online:
                await self._compare_first()
                online = True
                await owner.tell(inputs.Online(online=True))
            elif online and alone >= ALONE:
                online = False
                await owner.tell(inputs.Online(online=False))
            await trio.sleep(SURVEY)

    def _there(self) -> dict[MeshTopic, tuple[int, bool]]:
        """How many others take part in each of our topics."""
        found: dict[MeshTopic, tuple[int, bool]] = {}
        for peer, state in self._mesh.peers().items():
            if state.link not in _THERE:
                continue
            for topic in state.topics:
                peers, mailbox = found.get(topic, (0, False))
                found[topic] = (peers + 1, mailbox or peer in self.mailboxes)
        return found

    async def _compare_first(self) -> None:
        """What was missed is taken before time counts as connected."""
        wanted = [
            (peer, topic)
            for peer, state in sorted(self._mesh.peers().items())
            if state.link in _THERE
            for topic in sorted(state.topics)
        ]
        for peer, topic in wanted[:MOST_COMPARED]:
            await self._compare(peer, topic)

    async def keep_contacts(self, owner: Owner) -> None:
        """Be connected to where contacts' cards lead, of as many as `MOST_CONTACTS`, the newest first."""
        seen: object = None
        while True:
            book = owner.look().book
            if book is not seen:
                seen = book
                self.lead_to(_places(book))
            await owner.moved()

    async def announce(self, owner: Owner) -> None:
        said: records.PeerRecord | None = None
        while self._announces:
            record = self._finding.record()
            if record is not said and record.addresses:
                said = record
                await owner.tell(inputs.Here(record=record.encoded, expires=record.expires))
            await trio.sleep(ANNOUNCE if said is not None else SURVEY)
