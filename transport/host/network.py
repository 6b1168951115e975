"""`open_network`: everything of this package put behind `network.Network`.

`LibP2PNetwork` is the one owner of who is known (`Roster`), who is connected (`Links`), what is owed (`Ledger`),
what is served (`Serving`) and what was counted. All of that outlives the library's host, which is built,
watched and built again by `transport.host.domain`; a dead host is to everybody else as if all peers had gone
and come back.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from libp2p.stream_muxer.exceptions import MuxedStreamError
from multiaddr import Multiaddr

from transport.base import Address, Link, PeerId, PeerState, TransportError, Unreachable
from transport.conduct import Ledger, Offence, Standing
from transport.host import mends, negotiation
from transport.host.addresses import announced, interface_addresses
from transport.host.dialing import Roster
from transport.host.domain import Domain
from transport.host.extension import Extension
from transport.host.feeds import EventFeed, StateFeed
from transport.host.flow import Flow
from transport.host.links import Links
from transport.host.lock import single_instance
from transport.host.logs import LibraryLog
from transport.host.serving import Serving
from transport.host.settings import DEFAULTS, HostSettings
from transport.host.yamux import Session
from transport.network import PeerEvent, Stream, StreamHandler
from transport.nursery import plain_nursery
from transport.signing import SigningKey, peer_id

if TYPE_CHECKING:
    from libp2p.host.basic_host import BasicHost
    from libp2p.network.stream.net_stream import NetStream

log = logging.getLogger("vcd.transport")

_MOST_TRIES = 2  # connections that `open` tries
_INTERFACES_LIFE = 2.0  # seconds: identify asks several times in a row


@asynccontextmanager
async def open_network(
    *,
    identity: SigningKey,
    listen: Sequence[Address],
    settings: HostSettings = DEFAULTS,
    allow: Callable[[PeerId], bool] | None = None,
    lock: Path | None = None,
    rng: random.Random,
    extensions: Sequence[Extension] = (),
) -> AsyncIterator[LibP2PNetwork]:
    """A running network. It listens on `listen` (nothing: it only dials) when this is entered, or raises.

    `allow` is asked in every handshake and again while connected; None lets everybody in. `lock` is a file that
    one process at a time may hold: `AlreadyRunning`. Leaving closes everything within `settings.stop_limit`.
    """
    mends.check()
    with single_instance(lock):
        network = LibP2PNetwork(identity, settings, allow, rng)
        domain = Domain(network, identity, listen, extensions, rng)
        network.attach(domain)
        log = LibraryLog(network.count)
        log.install()
        try:
            async with plain_nursery() as nursery:
                await nursery.start(domain.run)
                try:
                    yield network
                finally:
                    await domain.stop()
                    nursery.cancel_scope.cancel()
        finally:
            log.remove()


class LibP2PNetwork:
    """Implements `network.Network`, `links.LinkWatcher` and `swarm.Owner`."""

    def __init__(
        self,
        identity: SigningKey,
        settings: HostSettings,
        allow: Callable[[PeerId], bool] | None,
        rng: random.Random,
    ) -> None:
        self.settings = settings
        self._me = peer_id(identity.public)
        self._allow = allow
        self._counters: Counter[str] = Counter()
        self._ledger = Ledger()
        self._states, self._events = StateFeed(settings.most_unread_states), EventFeed()
        self._roster = Roster(self._me, settings, rng, self._states.tell)
        self.links = Links(self._me, settings, self)
        self._serving = Serving(settings, charge=self.charge, penalty=self.penalty, count=self.count)
        self._domain: Domain
        self._up: set[PeerId] = set()
        self._interfaces_now: Mapping[int, Sequence[str]] = {}
        self._interfaces_at = -_INTERFACES_LIFE

    def attach(self, domain: Domain) -> None:
        self._domain = domain

    # ------------------------------------------------ network.Network

    @property
    def me(self) -> PeerId:
        return self._me

    async def open(self, peer: PeerId, protocol: str) -> Stream:
        with trio.move_on_after(self.settings.open_limit):
            return await self._open(peer, protocol)
        raise Unreachable(f"no stream to {peer} for {protocol} in time")

    def handle(self, protocol: str, handler: StreamHandler, *, limit: float | None = None) -> None:
        if self._serving.handle(protocol, handler, limit):
            self._domain.protocols_changed()

    def watch(self) -> AbstractContextManager[AsyncIterator[PeerEvent]]:
        return self._watch()

    def connected(self, peer: PeerId) -> bool:
        return self.links.connected(peer)

    async def connect(self, peer: PeerId) -> None:
        await trio.lowlevel.checkpoint()
        if not self.connected(peer):
            await self._domain.dial(peer)

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        if peer != self._me:
            self._roster.keep(peer, addresses, trio.current_time())
            if self.connected(peer):
                self._roster.up(peer, self.links.link(peer), trio.current_time())
            self._domain.wake()

    def learn(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """It may be at these addresses: see `extension.Site.learn`."""
        if peer != self._me:
            self._roster.learn(peer, addresses, trio.current_time())
            self._domain.wake()

    def forget(self, peer: PeerId) -> None:
        self._roster.forget(peer)
        self._domain.call_off(peer)
        self.links.shut(peer, "forgotten")

    async def drop(self, peer: PeerId) -> None:
        """Close the connections to a peer; one that is kept is dialed again."""
        self.links.shut(peer, "dropped")
        await trio.lowlevel.checkpoint()

    def recheck(self) -> None:
        """`allow` may answer differently now: close what it no longer lets in. Pings do this too."""
        for peer in self.links.peers():
            if not self.may_connect(peer):
                self.links.shut(peer, "no longer let in")

    def peers(self) -> Mapping[PeerId, PeerState]:
        return {
            state.peer: replace(state, round_trip=self.links.round_trip(state.peer)) for state in self._roster.states()
        }

    def peer_changes(self) -> AsyncIterator[PeerState]:
        return self._states.subscribe()

    def charge(self, peer: PeerId, offence: Offence) -> None:
        now = trio.current_time()
        self.count(f"offence.{offence.name.lower()}")
        if self._ledger.standing(peer, now) is Standing.BARRED:
            return
        if self._ledger.charge(peer, offence, now) is Standing.BARRED:
            self.count("host.barred")
            self._roster.bar(peer, self._ledger.barred_until(peer, now) or now, now)
            self.links.shut(peer, "barred")
            self._domain.wake()

    def penalty(self, peer: PeerId) -> float:
        return self._ledger.penalty(peer, trio.current_time())

    def count(self, name: str, amount: int = 1) -> None:
        self._counters[name] += amount

    def counters(self) -> Mapping[str, int]:
        return self._counters

    # ------------------------------------------------ beside it

    @property
    def rebuilt(self) -> int:
        """How often the library's host has died and been built again."""
        return self._domain.rebuilt

    def addresses(self) -> tuple[Address, ...]:
        """Where others may find us: real ones, never `0.0.0.0`. Empty while the host is being built again."""
        return announced(self._domain.listening(), self._interfaces(), self._domain.announced_by_extensions())

    # ------------------------------------------------ swarm.Owner

    def may_connect(self, peer: PeerId) -> bool:
        if peer == self._me or self._ledger.standing(peer, trio.current_time()) is Standing.BARRED:
            return False
        try:
            return self._allow is None or self._allow(peer)
        except Exception:  # not let in on a doubt, and nobody's connection dies of it
            self.count("host.allow_errors")
            log.exception("asking whether to let a peer in failed")
            return False

    def announced(self, listening: Sequence[Multiaddr]) -> list[Multiaddr]:
        """For identify, in the library's form."""
        told = announced(
            [Address(str(address)) for address in listening],
            self._interfaces(),
            self._domain.announced_by_extensions(),
        )
        return [Multiaddr(address) for address in told]

    def identified(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        """What a peer says of itself is tried after what we were told: one that lies costs us some dials."""
        if self._roster.is_kept(peer):
            self._roster.learn(peer, addresses, trio.current_time())

    def protocols(self) -> Sequence[str]:
        return self._serving.protocols()

    async def serve(self, flow: Flow, library: BasicHost, stream: NetStream) -> None:
        await self._serving.serve(flow, library, stream)

    async def dial_for_library(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        self._roster.learn(peer, addresses, trio.current_time())
        await self._domain.dial(peer)

    # ------------------------------------------------ yamux.Watcher

    def opened(self, session: Session) -> None:
        self.count("host.connections")
        self.links.opened(session, self._domain.start_soon)

    def closed(self, session: Session) -> None:
        self.links.closed(session)

    # ------------------------------------------------ links.LinkWatcher

    def link_up(self, peer: PeerId, link: Link) -> None:
        self._roster.up(peer, link, trio.current_time())
        if peer not in self._up:
            self._up.add(peer)
            self._events.tell(PeerEvent(peer=peer, up=True))

    def link_down(self, peer: PeerId, why: str) -> None:
        self._roster.down(peer, why, trio.current_time())
        if peer in self._up:
            self._up.remove(peer)
            self._events.tell(PeerEvent(peer=peer, up=False))
        self._domain.wake()

    def is_kept(self, peer: PeerId) -> bool:
        return self._roster.is_kept(peer)

    # ------------------------------------------------ for the domain

    @property
    def roster(self) -> Roster:
        return self._roster

    # ------------------------------------------------ inside

    @contextmanager
    def _watch(self) -> Iterator[AsyncIterator[PeerEvent]]:
        with self._events.subscribe(peer for peer in self.links.peers() if peer in self._up) as events:
            yield events

    async def _open(self, peer: PeerId, protocol: str) -> Stream:
        trouble: Exception | None = None
        for session in self.links.of(peer)[:_MOST_TRIES]:
            try:
                async with session.proposing:
                    return await _propose(session, protocol)
            except (TransportError, MuxedStreamError) as error:
                if isinstance(error, TransportError) and session.alive:
                    raise
                trouble = error  # the connection ended meanwhile
        raise Unreachable(f"no connection to {peer}" if trouble is None else str(trouble))

    def _interfaces(self) -> Mapping[int, Sequence[str]]:
        now = trio.current_time()
        if now - self._interfaces_at > _INTERFACES_LIFE:
            self._interfaces_now, self._interfaces_at = interface_addresses(), now
        return self._interfaces_now


async def _propose(session: Session, protocol: str) -> Flow:
    flow = await session.open_stream()
    try:
        await negotiation.propose(flow, protocol)
    except BaseException:
        flow.tear()
        raise
    return flow
