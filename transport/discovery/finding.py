"""Telling where we are, and finding peers that we miss: one task that keeps records fresh at every point.

Our record is published to each point when it connects, when our addresses have changed, and every few hours;
`sequence` is the time of its making, so a device that lost its state still makes newer ones. A peer that is
kept and not connected is looked up at all connected points, at once and then with pauses that grow: the newest
record wins, and what the policy believes of it goes to the network as addresses to try. Points are asked one
after another by this one task, so a slow point delays others by its deadline and holds nothing else up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import trio

from transport.base import Address, Link, Milliseconds, PeerId, Sealing, TransportError
from transport.discovery import points
from transport.discovery.addresses import Place, Source, parse
from transport.discovery.book import AddressBook
from transport.discovery.records import LIFE, MOST_ADDRESSES, PeerRecord, make
from transport.network import Network

MOST_MISSED: Final = 1024
MOST_AT_ONCE: Final = 16  # peers looked up in one look: points limit how many questions they answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds."""

    look: float = 2.0  # between looks at who is missing and whether our addresses have changed
    republish: float = 4 * 3600.0
    retry: float = 60.0  # a point that did not take our record
    first_search: float = 5.0  # a peer that is not connected, before it is looked up again
    longest_search: float = 900.0


@dataclass(slots=True)
class _Search:
    due: float
    pause: float


class Finding:
    """Run by its owner: `nursery.start_soon(finding.run)`. Points are kept peers; the caller keeps them."""

    def __init__(
        self,
        network: Network,
        key: Sealing,
        book: AddressBook,
        *,
        points: Iterable[PeerId],
        addresses: Callable[[], Sequence[Address]],
        found: Callable[[PeerId, Sequence[Address]], None],
        now_ms: Callable[[], Milliseconds],
        jitter: Random,
        pace: Pace | None = None,
    ) -> None:
        """`addresses`: those that the host announces now. `found`: told of new ones; the network's `keep`."""
        self._network = network
        self._key = key
        self._book = book
        self._points = tuple(dict.fromkeys(points))
        self._addresses = addresses
        self._found = found
        self._now_ms = now_ms
        self._jitter = jitter
        self._pace = pace or Pace()
        self._record: PeerRecord | None = None
        self._made_at = 0.0
        self._published: dict[PeerId, PeerRecord] = {}  # what each connected point has taken
        self._retry_at: dict[PeerId, float] = {}
        self._searches: dict[PeerId, _Search] = {}

    async def run(self) -> None:
        while True:
            self._book.expire(self._now_ms())
            await self._publish()
            await self._search()
            await trio.sleep(self._pace.look * self._jitter.uniform(0.8, 1.2))

    def record(self) -> PeerRecord:
        """Ours: made anew when what we announce has changed, or the last one is getting old."""
        texts = self._announced()
        now = trio.current_time()
        old = self._record
        if old is not None and old.addresses == texts and now - self._made_at < self._pace.republish:
            return old
        at = self._now_ms()
        sequence = max(at, old.sequence + 1) if old is not None else at
        self._record = new = make(self._key, texts, sequence=sequence, expires=Milliseconds(at + LIFE))
        self._made_at = now
        return new

    async def _publish(self) -> None:
        record = self.record()
        for point in self._points:
            if not self._network.connected(point):
                self._published.pop(point, None)  # it may have restarted and forgotten
                self._retry_at.pop(point, None)
                continue
            now = trio.current_time()
            if self._published.get(point) is record or now < self._retry_at.get(point, now):
                continue
            try:
                await points.publish(self._network, point, record)
            except TransportError:
                self._network.count("finding.not_published")
                self._retry_at[point] = now + self._pace.retry
            else:
                self._network.count("finding.published")
                self._published[point] = record

    async def _search(self) -> None:
        missed = self._missed()
        for peer in [peer for peer in self._searches if peer not in missed]:
            del self._searches[peer]
        asked = [point for point in self._points if self._network.connected(point)]
        if not asked:
            return
        now = trio.current_time()
        for peer in missed:
            self._searches.setdefault(peer, _Search(now, self._pace.first_search))
        due = sorted((search.due, peer) for peer, search in self._searches.items() if search.due <= now)
        for _, peer in due[:MOST_AT_ONCE]:
            search, now = self._searches[peer], trio.current_time()
            search.due = now + search.pause * self._jitter.uniform(0.8, 1.2)
            search.pause = min(search.pause * 2, self._pace.longest_search)
            await self.look_up(peer)

    async def look_up(self, peer: PeerId) -> PeerRecord | None:
        """Ask all connected points now; the newest record there is, which the book has taken too."""
        for point in self._points:
            if not self._network.connected(point):
                continue
            try:
                record = await points.look_up(self._network, point, peer, self._now_ms())
            except TransportError:
                self._network.count("finding.not_answered")
                continue
            if record is not None and (new := self._book.add_record(record)):
                self._network.count("finding.found")
                self._found(peer, new)
        return self._book.record(peer)

    def _missed(self) -> list[PeerId]:
        """Peers to be connected to that are not, and are not points themselves."""
        states = self._network.peers().values()
        missed = [
            state.peer
            for state in states
            if state.kept and state.link in {Link.AWAY, Link.DIALING} and state.peer not in self._points
        ]
        return missed[:MOST_MISSED]

    def _announced(self) -> tuple[Address, ...]:
        """What we tell others: what the policy lets out, at most as many as a record holds, direct ones first."""
        places: dict[Address, Place] = {}
        for text in self._addresses():
            try:
                place = parse(text)
            except ValueError:
                continue
            if self._book.policy.tells(place):
                places.setdefault(place.text, place)
        ordered = sorted(places.values(), key=lambda place: place.relay is not None)
        return tuple(place.text for place in ordered[:MOST_ADDRESSES])


def keep_static(
    book: AddressBook,
    static: Mapping[PeerId, Sequence[Address]],
    keep: Callable[[PeerId, Sequence[Address]], None],
) -> None:
    """Have the configured peers kept, by the addresses that the configuration gives."""
    for peer, addresses in static.items():
        book.add(peer, addresses, Source.STATIC)
        keep(peer, book.order(peer))
