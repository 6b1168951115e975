"""Who is connected, by which connections, and which of them is alive.

A peer may have several connections: both sides dialed at once, it moved to another network, a relayed one is
being replaced by a direct one. It is up while one of them lives. New streams go over the best: one that answers
before one under suspicion, direct before relayed, dialed by the smaller id before the other (so both sides
choose alike), newer before older.

Liveness is Yamux's own ping, on each connection apart, sent only when nothing was heard for a while. A machine
that was put to sleep or lost its network stays "connected" for TCP; here it is gone after two pings without an
answer, or after one when another connection to the same peer lives. When a peer comes by a new connection, the
older ones are under suspicion at once and have a moment to answer. A connection that is not the best and that
nothing uses is closed by the smaller id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, Protocol

import trio

from transport.base import Link, PeerId
from transport.host.settings import HostSettings

if TYPE_CHECKING:
    from transport.host.yamux import Session

_LEAST_PAUSE: Final = 0.05


class LinkWatcher(Protocol):
    def link_up(self, peer: PeerId, link: Link) -> None: ...
    def link_down(self, peer: PeerId, why: str) -> None: ...
    def is_kept(self, peer: PeerId) -> bool: ...
    def may_connect(self, peer: PeerId) -> bool: ...
    def count(self, name: str, amount: int = 1) -> None: ...


class Links:
    """The connections, by peer. One owner: the network. At most `most_connections`."""

    def __init__(self, me: PeerId, settings: HostSettings, watcher: LinkWatcher) -> None:
        self._me = me
        self._settings = settings
        self._watcher = watcher
        self._sessions: dict[PeerId, list[Session]] = {}
        self._suspects: set[Session] = set()

    def __iter__(self) -> Iterator[Session]:
        return (session for sessions in list(self._sessions.values()) for session in list(sessions))

    def __len__(self) -> int:
        return sum(len(sessions) for sessions in self._sessions.values())

    def peers(self) -> list[PeerId]:
        return list(self._sessions)

    def of(self, peer: PeerId) -> list[Session]:
        """Best first."""
        return sorted(self._sessions.get(peer, ()), key=self._rank, reverse=True)

    def connected(self, peer: PeerId) -> bool:
        return peer in self._sessions

    def link(self, peer: PeerId) -> Link:
        sessions = self._sessions.get(peer)
        if not sessions:
            return Link.AWAY
        return Link.RELAYED if all(session.relayed for session in sessions) else Link.CONNECTED

    def round_trip(self, peer: PeerId) -> float | None:
        return next((session.round_trip for session in self.of(peer) if session.round_trip is not None), None)

    def opened(self, session: Session, start: Callable[..., object]) -> None:
        """A connection is ready. `start` runs a task beside it."""
        others = list(self._sessions.get(session.peer, ()))
        self._sessions.setdefault(session.peer, []).append(session)
        for other in others:
            self._suspects.add(other)
            start(self._challenge, other)
        start(self._pulse, session)
        self._make_room(session, others)
        if session.alive:
            self._watcher.link_up(session.peer, self.link(session.peer))

    def closed(self, session: Session) -> None:
        self._suspects.discard(session)
        sessions = self._sessions.get(session.peer)
        if not sessions or session not in sessions:
            return
        sessions.remove(session)
        if sessions:
            self._watcher.link_up(session.peer, self.link(session.peer))
        else:
            del self._sessions[session.peer]
            self._watcher.link_down(session.peer, session.why)

    def shut(self, peer: PeerId, why: str) -> None:
        for session in list(self._sessions.get(peer, ())):
            session.shut(why)

    def shut_all(self, why: str) -> None:
        for session in self:
            session.shut(why)

    def _rank(self, session: Session) -> tuple[bool, bool, bool, float]:
        by_smaller = session.is_initiator == (self._me < session.peer)
        return session not in self._suspects, not session.relayed, by_smaller, session.since

    def _make_room(self, newest: Session, others: list[Session]) -> None:
        settings = self._settings
        if len(others) >= settings.most_per_peer:
            min(others, key=_last_heard).shut("another connection took its place")
            return
        strangers = [session for session in self if not self._watcher.is_kept(session.peer)]
        ip = _ip(newest)
        neighbors = [session for session in strangers if ip and _ip(session) == ip]
        if len(neighbors) > settings.most_per_ip:
            self._evict(min(neighbors, key=_last_heard), "too many connections from this address")
        elif len(self) > settings.most_connections:
            self._evict(min(strangers, key=_last_heard, default=newest), "too many connections")

    def _evict(self, session: Session, why: str) -> None:
        self._watcher.count("host.connections_evicted")
        session.shut(why)

    async def _challenge(self, session: Session) -> None:
        """The peer came again by another connection: is this one still good?"""
        heard = session.last_heard
        if await session.ping(self._settings.rival_limit) or session.last_heard > heard:
            self._suspects.discard(session)
        else:
            self._watcher.count("host.replaced")
            session.shut("the peer came by a new connection and is silent on this one")

    async def _pulse(self, session: Session) -> None:
        """Until the connection ends: ping it when it is silent, close it when it is dead, barred or of no use."""
        settings, missed = self._settings, 0
        while session.alive:
            quiet = trio.current_time() - session.last_heard
            if quiet < settings.ping_every and not missed:
                await trio.sleep(max(settings.ping_every - quiet, _LEAST_PAUSE))
                self._review(session)
                continue
            heard = session.last_heard
            if await session.ping(settings.pong_limit) or session.last_heard > heard:
                missed = 0
                self._suspects.discard(session)
            else:
                missed += 1
                self._suspects.add(session)
                self._watcher.count("host.pings_missed")
                if missed >= settings.most_missed or len(self._sessions.get(session.peer, ())) > 1:
                    session.shut("does not answer pings")
            self._review(session)
        self._suspects.discard(session)

    def _review(self, session: Session) -> None:
        if not session.alive:
            return
        if not self._watcher.may_connect(session.peer):
            session.shut("no longer let in")
        elif (
            self._me < session.peer
            and not session.flows
            and trio.current_time() - session.since > self._settings.redundant_after
            and self.of(session.peer)[0] is not session
        ):
            session.shut("another connection is better")


def _last_heard(session: Session) -> float:
    return session.last_heard


def _ip(session: Session) -> str:
    remote = session.get_remote_address()
    return "" if remote is None or session.relayed else remote[0]
