"""Who is dialed when, and what is known about peers that are not connected. No clock and no socket in here.

A kept peer is dialed as soon as it is told, and again whenever it is gone: first after a breath, then after
pauses that double from half a second to a minute, each with jitter. The peer with the smaller id dials at
once, the other gives it a moment, so that two devices that wake together make one connection; if they make
two, both work, and the superfluous one ends (see `transport.host.links`). News, such as a new address, end a
pause. A barred peer is not dialed before its bar ends.

Addresses are tried in this order: the one that worked last, then the newest. What does not fit is forgotten
from the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from transport.base import Address, Link, PeerId, PeerState
from transport.host.settings import HostSettings

_BREATH = 0.2  # seconds, at most, before a lost peer is dialed again


@dataclass(slots=True)
class _Entry:
    peer: PeerId
    kept: bool = False
    addresses: tuple[Address, ...] = ()
    link: Link = Link.AWAY
    since: float = 0.0
    retry_at: float | None = None
    failures: int = 0
    trouble: str = ""
    dialing: bool = False
    barred_until: float | None = None


class Roster:
    """All peers that we know something about. At most `most_peers`, beside those that are kept or connected."""

    def __init__(
        self, me: PeerId, settings: HostSettings, rng: random.Random, changed: Callable[[PeerState], None]
    ) -> None:
        self._me = me
        self._settings = settings
        self._rng = rng
        self._changed = changed
        self._entries: dict[PeerId, _Entry] = {}

    # ------------------------------------------------ what is known

    def state(self, peer: PeerId) -> PeerState | None:
        entry = self._entries.get(peer)
        return None if entry is None else _state(entry)

    def states(self) -> list[PeerState]:
        """All that are connected, kept or barred."""
        return [
            _state(entry)
            for entry in self._entries.values()
            if entry.kept or entry.link in {Link.CONNECTED, Link.RELAYED, Link.BARRED}
        ]

    def is_kept(self, peer: PeerId) -> bool:
        entry = self._entries.get(peer)
        return entry is not None and entry.kept

    def addresses(self, peer: PeerId) -> tuple[Address, ...]:
        entry = self._entries.get(peer)
        return () if entry is None else entry.addresses

    # ------------------------------------------------ what we are told

    def keep(self, peer: PeerId, addresses: Sequence[Address], now: float) -> None:
        entry = self._entry(peer, now)
        fresh = self._remember(entry, addresses)
        if not entry.kept:
            entry.kept = True
            entry.failures = 0
            entry.retry_at = now + self._first_pause(entry)
        elif fresh and entry.retry_at is not None:
            entry.failures = 0
            entry.retry_at = now

    def learn(self, peer: PeerId, addresses: Sequence[Address], now: float) -> None:
        entry = self._entry(peer, now)
        if self._remember(entry, addresses) and entry.kept and entry.retry_at is not None:
            entry.retry_at = now

    def forget(self, peer: PeerId) -> None:
        entry = self._entries.get(peer)
        if entry is not None:
            entry.kept = False
            entry.retry_at = None
            self._drop_if_idle(entry)

    def up(self, peer: PeerId, link: Link, now: float) -> None:
        entry = self._entry(peer, now)
        entry.retry_at, entry.failures, entry.trouble = None, 0, ""
        self._set(entry, link, now)

    def down(self, peer: PeerId, why: str, now: float) -> None:
        entry = self._entry(peer, now)
        entry.trouble = why
        if entry.kept:
            entry.retry_at = now + self._rng.uniform(0, _BREATH) + self._first_pause(entry)
        if entry.barred_until is None:
            self._set(entry, Link.DIALING if entry.dialing else Link.AWAY, now)
        self._drop_if_idle(entry)

    def bar(self, peer: PeerId, until: float, now: float) -> None:
        entry = self._entry(peer, now)
        entry.barred_until = until
        entry.trouble = "barred"
        self._set(entry, Link.BARRED, now)

    # ------------------------------------------------ dialing

    def due(self, now: float) -> list[PeerId]:
        """Whom to dial now. Ends bars that are over."""
        for entry in list(self._entries.values()):
            if entry.barred_until is not None and now >= entry.barred_until:
                entry.barred_until = None
                if entry.link is Link.BARRED:
                    self._set(entry, Link.AWAY, now)
                if entry.kept and entry.retry_at is None and entry.link is Link.AWAY:
                    entry.retry_at = now
                self._drop_if_idle(entry)
        return [entry.peer for entry in self._entries.values() if self._ready(entry) and (entry.retry_at or 0) <= now]

    def next_due(self) -> float | None:
        times = [
            entry.retry_at for entry in self._entries.values() if self._ready(entry) and entry.retry_at is not None
        ]
        times += [entry.barred_until for entry in self._entries.values() if entry.barred_until is not None]
        return min(times, default=None)

    def begin(self, peer: PeerId, now: float) -> tuple[Address, ...]:
        """Dialing starts; by these addresses, in this order."""
        entry = self._entry(peer, now)
        entry.dialing = True
        entry.retry_at = None
        if entry.link is Link.AWAY:
            self._set(entry, Link.DIALING, now)
        return entry.addresses

    def succeeded(self, peer: PeerId, address: Address, now: float) -> None:
        entry = self._entry(peer, now)
        entry.dialing = False
        entry.addresses = (address, *(other for other in entry.addresses if other != address))
        if entry.link is Link.DIALING:  # it was lost again before the dial ended
            if entry.kept and entry.retry_at is None:
                entry.retry_at = now + self._settings.first_backoff
            self._set(entry, Link.AWAY, now)

    def failed(self, peer: PeerId, trouble: str, now: float) -> None:
        entry = self._entry(peer, now)
        entry.dialing = False
        entry.trouble = trouble
        if entry.link in {Link.CONNECTED, Link.RELAYED}:
            return
        settings = self._settings
        pause = min(settings.first_backoff * 2.0 ** min(entry.failures, 16), settings.longest_backoff)
        entry.failures += 1
        if entry.kept:
            entry.retry_at = now + pause * self._rng.uniform(1 - settings.backoff_jitter, 1 + settings.backoff_jitter)
        if entry.link is Link.DIALING:
            self._set(entry, Link.AWAY, now)
        self._drop_if_idle(entry)

    def gave_up(self, peer: PeerId, now: float) -> None:
        """The dial was called off, which says nothing about the peer. Kept again meanwhile: dialed as was planned."""
        entry = self._entry(peer, now)
        entry.dialing = False
        if entry.kept and entry.retry_at is None and entry.link is Link.DIALING:
            entry.retry_at = now
        if entry.link is Link.DIALING:
            self._set(entry, Link.AWAY, now)
        self._drop_if_idle(entry)

    # ------------------------------------------------ inside

    def _entry(self, peer: PeerId, now: float) -> _Entry:
        entry = self._entries.get(peer)
        if entry is None:
            if len(self._entries) >= self._settings.most_peers:
                idle = next((other for other in self._entries.values() if _is_idle(other)), None)
                if idle is not None:
                    del self._entries[idle.peer]
            entry = self._entries[peer] = _Entry(peer=peer, since=now)
        return entry

    def _drop_if_idle(self, entry: _Entry) -> None:
        if _is_idle(entry) and not entry.addresses:
            self._entries.pop(entry.peer, None)

    def _remember(self, entry: _Entry, addresses: Iterable[Address]) -> bool:
        """The newest first, but after the one that worked. Whether anything was new."""
        fresh = tuple(dict.fromkeys(address for address in addresses if address not in entry.addresses))
        most = self._settings.most_addresses
        worked, rest = entry.addresses[:1], entry.addresses[1:]
        entry.addresses = (*worked, *fresh, *rest)[:most]
        return bool(fresh)

    def _ready(self, entry: _Entry) -> bool:
        return (
            entry.kept
            and not entry.dialing
            and entry.retry_at is not None
            and entry.barred_until is None
            and entry.link is Link.AWAY
            and bool(entry.addresses)
        )

    def _first_pause(self, entry: _Entry) -> float:
        if self._me < entry.peer:
            return 0.0
        return self._settings.yield_to_smaller * self._rng.uniform(0.67, 1.33)

    def _set(self, entry: _Entry, link: Link, now: float) -> None:
        if entry.link is not link:
            entry.link, entry.since = link, now
            self._changed(_state(entry))


def _is_idle(entry: _Entry) -> bool:
    return not entry.kept and not entry.dialing and entry.link is Link.AWAY and entry.barred_until is None


def _state(entry: _Entry) -> PeerState:
    return PeerState(
        peer=entry.peer,
        link=entry.link,
        kept=entry.kept,
        addresses=entry.addresses,
        since=entry.since,
        retry_at=entry.barred_until if entry.barred_until is not None else entry.retry_at,
        failures=entry.failures,
        trouble=entry.trouble,
    )
