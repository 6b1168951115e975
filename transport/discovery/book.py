"""What we have been told about where peers are: by whom, until when, and in which order to try it.

Pure. One owner: whoever runs discovery. Everything in it was filtered by the policy on the way in, so what comes
out may be dialed. It is bounded: 16 addresses a peer, 4096 peers. A peer's newest knowledge pushes out its own
oldest of the least trusted source, never a static address; when there are too many peers, the one of which we
heard longest ago goes, never one with a static address; when all are static, new ones are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from transport.base import Address, Milliseconds, PeerId
from transport.discovery.addresses import Place, Policy, Source, believed
from transport.discovery.records import PeerRecord

MOST_PEERS: Final = 4096
MOST_ADDRESSES: Final = 16
_RANK: Final = {source: rank for rank, source in enumerate(Source)}


@dataclass(slots=True)
class _Known:
    place: Place
    source: Source
    expires: Milliseconds | None  # None: for ever
    heard: int  # a counter, not a time


@dataclass(slots=True)
class _Peer:
    known: dict[Address, _Known] = field(default_factory=dict)
    record: PeerRecord | None = None
    heard: int = 0

    def fixed(self) -> bool:
        return any(known.expires is None for known in self.known.values())


class AddressBook:
    """See the module's docstring."""

    def __init__(self, policy: Policy, *, most_peers: int = MOST_PEERS) -> None:
        self.policy = policy
        self._most_peers = most_peers
        self._peers: dict[PeerId, _Peer] = {}
        self._heard = 0

    def add(
        self, peer: PeerId, addresses: Iterable[str], source: Source, expires: Milliseconds | None = None
    ) -> list[Address]:
        """Take what the policy believes; what was not known before. Only static addresses stay for ever."""
        if (expires is None) is not (source is Source.STATIC):
            raise ValueError("static addresses, and only they, have no expiry")
        places = believed(addresses, source, self.policy, peer)
        if not places:
            return []
        entry = self._entry(peer)
        if entry is None:
            return []
        return self._take(entry, places, source, expires)

    def add_record(self, record: PeerRecord) -> list[Address]:
        """Newest wins; an older one, or the same again, changes nothing. What it newly says."""
        entry = self._peers.get(record.peer)
        if entry is not None and not record.newer_than(entry.record):
            return []
        entry = self._entry(record.peer)
        if entry is None:
            return []
        for address in [address for address, known in entry.known.items() if known.source is Source.RECORD]:
            if address not in record.addresses:
                del entry.known[address]
        entry.record = record
        places = believed(record.addresses, Source.RECORD, self.policy, record.peer)
        return self._take(entry, places, Source.RECORD, record.expires)

    def record(self, peer: PeerId) -> PeerRecord | None:
        entry = self._peers.get(peer)
        return None if entry is None else entry.record

    def order(self, peer: PeerId) -> list[Address]:
        """Direct before relayed; then by source; then the newest first."""
        entry = self._peers.get(peer)
        if entry is None:
            return []
        ordered = sorted(
            entry.known.values(),
            key=lambda known: (known.place.relay is not None, _RANK[known.source], -known.heard),
        )
        return [known.place.text for known in ordered]

    def expire(self, now: Milliseconds) -> None:
        """Forget what has expired, and peers of whom nothing is left."""
        for peer, entry in list(self._peers.items()):
            for address, known in list(entry.known.items()):
                if known.expires is not None and known.expires <= now:
                    del entry.known[address]
            if entry.record is not None and entry.record.expires <= now:
                entry.record = None
            if not entry.known and entry.record is None:
                del self._peers[peer]

    def forget(self, peer: PeerId) -> None:
        self._peers.pop(peer, None)

    def __len__(self) -> int:
        return len(self._peers)

    def _entry(self, peer: PeerId) -> _Peer | None:
        self._heard += 1
        entry = self._peers.get(peer)
        if entry is None:
            if len(self._peers) >= self._most_peers:
                loose = [(other.heard, name) for name, other in self._peers.items() if not other.fixed()]
                if not loose:
                    return None
                del self._peers[min(loose)[1]]
            entry = self._peers[peer] = _Peer()
        entry.heard = self._heard
        return entry

    def _take(
        self, entry: _Peer, places: Iterable[Place], source: Source, expires: Milliseconds | None
    ) -> list[Address]:
        new: list[Address] = []
        for place in places:
            known = entry.known.get(place.text)
            if known is not None:
                known.heard = self._heard
                if known.expires is not None:
                    # The better source names it from now on; it lives as long as any of them says.
                    known.source = min(known.source, source, key=_RANK.__getitem__)
                    known.expires = None if expires is None else Milliseconds(max(known.expires, expires))
                continue
            if len(entry.known) >= MOST_ADDRESSES and not self._make_room(entry, source):
                continue
            entry.known[place.text] = _Known(place, source, expires, self._heard)
            new.append(place.text)
        return new

    @staticmethod
    def _make_room(entry: _Peer, source: Source) -> bool:
        """Drop the oldest of the least trusted source, unless that is better than what would come."""
        loose = [known for known in entry.known.values() if known.expires is not None]
        if not loose:
            return False
        worst = max(loose, key=lambda known: (_RANK[known.source], -known.heard))
        if _RANK[worst.source] < _RANK[source]:
            return False
        del entry.known[worst.place.text]
        return True
