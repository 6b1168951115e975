"""The crash domain: one life of the library's host after another, and whatever needs a live host.

The library runs its own tree of tasks, and an exception that escapes from any of them takes all of it down. So
it gets a nursery of its own. What comes out of that is caught here, counted and logged; everybody is told that
all peers are gone; and after a pause, which doubles while it keeps happening, the host is built again with the
same identity, on the same ports. Handlers, peers, charges and counters are not part of a life and stay.

A life consists of the library's swarm, the listening sockets, the extensions, and two tasks of ours: one that
starts the dials that are due, and the pings beside every connection. The first life is different in one thing:
if it cannot begin (a port is taken), that is told to whoever opened the network.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from libp2p.exceptions import BaseLibp2pError
from libp2p.peer.id import ID
from libp2p.tools.anyio_service import background_trio_service
from libp2p.tools.anyio_service.exceptions import LifecycleError
from multiaddr import Multiaddr

from transport.base import Address, PeerId, TransportError, Unreachable
from transport.host.extension import Dial, Extension
from transport.host.logs import kind
from transport.host.swarm import GuardedHost, GuardedSwarm, build, plain
from transport.host.turns import Lane, Turn, Turns
from transport.network import Network
from transport.signing import SigningKey

if TYPE_CHECKING:
    from transport.host.network import LibP2PNetwork

log = logging.getLogger("vcd.transport")

_MOMENT = 0.05  # seconds
_LONGEST_IDLE = 3600.0  # seconds the dialing task sleeps when nothing is due
_NOT_LET_IN = "it is not let in here"
_SLACK = 1.0  # seconds that a dial somebody waits for may take beside what its addresses may


@dataclass(slots=True, eq=False)
class _Dialing:
    """A dial of one peer that is under way."""

    done: trio.Event = field(default_factory=trio.Event)
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    turns: set[Turn] = field(default_factory=set)  # of its addresses, those that wait or are being tried
    waiting: int = 0  # who asked for it and waits
    unwanted: bool = False  # the peer was forgotten meanwhile


class Life:
    """One life of the host. What extensions of it get to see (`extension.Site`) is `_Site`, one for each."""

    def __init__(self, host: GuardedHost, nursery: trio.Nursery) -> None:
        self.host = host
        self.swarm: GuardedSwarm = host._network  # noqa: SLF001 - our own subclass
        self.nursery = nursery
        self.dialers: list[tuple[Callable[[Address], bool], Dial]] = []
        self.extra: dict[int, tuple[Address, ...]] = {}


class _Site:
    def __init__(self, life: Life, network: LibP2PNetwork, index: int) -> None:
        self._life = life
        self._network = network
        self._index = index

    @property
    def host(self) -> GuardedHost:
        return self._life.host

    @property
    def network(self) -> Network:
        return self._network

    @property
    def nursery(self) -> trio.Nursery:
        return self._life.nursery

    def keep(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        self._network.keep(peer, addresses)

    def learn(self, peer: PeerId, addresses: Sequence[Address]) -> None:
        self._network.learn(peer, addresses)

    def dial_by(self, takes: Callable[[Address], bool], dial: Dial) -> None:
        self._life.dialers.append((takes, dial))

    def announce(self, addresses: Sequence[Address]) -> None:
        self._life.extra[self._index] = tuple(addresses)

    def peer_id(self, peer: PeerId) -> ID:
        return ID.from_string(peer)


class Domain:
    """Runs lives, and dials in them."""

    def __init__(
        self,
        network: LibP2PNetwork,
        identity: SigningKey,
        listen: Sequence[Address],
        extensions: Sequence[Extension],
        rng: random.Random,
    ) -> None:
        self._network = network
        self._settings = network.settings
        self._identity = identity
        self._listen = tuple(listen)
        self._extensions = extensions
        self._rng = rng
        self._life: Life | None = None
        self._stopping, self._stopped = trio.Event(), trio.Event()
        self._news = trio.Event()
        self._dials: dict[PeerId, _Dialing] = {}
        self._turns = Turns(
            {
                Lane.AGAIN: self._settings.most_dials,
                Lane.FIRST: self._settings.most_first_dials,
                Lane.ASKED: self._settings.most_asked_dials,
            }
        )
        self._begun = self._telling = False
        self.rebuilt = 0

    # ------------------------------------------------ lives

    async def run(self, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        pause = self._settings.first_pause
        try:
            while not self._stopping.is_set():
                began = trio.current_time()
                try:
                    await self._live(task_status)
                except Exception as error:  # noqa: BLE001 - the point of this module
                    if not self._begun:
                        raise _single(error) from None
                    self._network.count("host.crashes")
                    log.error("the libp2p host died and is built again: %s", kind(error))
                finally:
                    self._life = None
                    self._network.links.shut_all("the host ended")
                if self._stopping.is_set():
                    break
                self.rebuilt += 1
                if trio.current_time() - began > self._settings.calm_after:
                    pause = self._settings.first_pause
                with trio.move_on_after(pause * self._rng.uniform(0.8, 1.2)):
                    await self._stopping.wait()
                pause = min(pause * 2, self._settings.longest_pause)
        finally:
            self._stopped.set()

    async def stop(self) -> None:
        """End the life in order, but soon. Works also when the caller is being cancelled."""
        self._stopping.set()
        with trio.CancelScope(shield=True, deadline=trio.current_time() + self._settings.stop_limit):
            await self._stopped.wait()

    async def _live(self, task_status: Any) -> None:
        host = build(self._network, self._identity)
        swarm: GuardedSwarm = host._network  # noqa: SLF001 - our own subclass
        try:
            async with background_trio_service(swarm):
                await self._start_listening(swarm)
                try:
                    async with trio.open_nursery() as nursery:
                        await self._spend(Life(host, nursery), task_status)
                finally:
                    self._life = None  # its nursery takes no more tasks
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._settings.stop_limit / 2):
                await self._close(host, swarm)

    async def _spend(self, life: Life, task_status: Any) -> None:
        """From the moment that it listens until it is to stop."""
        self._life = life
        async with AsyncExitStack() as stack:
            for index, extension in enumerate(self._extensions):
                await stack.enter_async_context(extension(_Site(life, self._network, index)))
            life.nursery.start_soon(self._dial_those_due, life)
            if not self._begun:
                self._begun = True
                task_status.started()
            await self._stopping.wait()
        life.nursery.cancel_scope.cancel()

    async def _start_listening(self, swarm: GuardedSwarm) -> None:
        await swarm.event_background_nursery_created.wait()
        ports: list[Address] = []
        for address in self._listen:
            wanted = Multiaddr(address)
            listener = swarm.transport_manager.add_listen_addr(wanted, _inbound(swarm, wanted))
            if listener is None:
                raise TransportError(f"{address} is not TCP")
            swarm.listeners[address] = listener
            setattr(listener, "background_nursery", swarm.background_nursery)  # noqa: B010 - as the swarm itself does
            await listener.listen(wanted)
            ports += [plain(real) for real in listener.get_addrs()]
        self._listen = tuple(ports)  # port 0 was any; from now on it is this one

    async def _close(self, host: GuardedHost, swarm: GuardedSwarm) -> None:
        sessions = list(self._network.links)
        self._network.links.shut_all("closing")
        for session in sessions:
            await session.event_closed.wait()
        for listener in list(swarm.listeners.values()):
            await listener.close()
        with suppress(LifecycleError):  # it was canceled before the swarm's own task had begun
            await host.close()

    # ------------------------------------------------ what others need of a life

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: object) -> None:
        if self._life is not None:
            self._life.nursery.start_soon(function, *args)

    def protocols_changed(self) -> None:
        """Peers that were identified before are told, once for all that changes within a moment."""
        if self._life is not None and not self._telling and self._network.links:
            self._telling = True
            self._life.nursery.start_soon(self._tell_protocols, self._life.host)

    async def _tell_protocols(self, host: GuardedHost) -> None:
        try:
            await trio.sleep(_MOMENT)
        finally:
            self._telling = False
        try:
            await host.tell_protocols()
        except Exception:  # noqa: BLE001 - a peer that cannot be told is not told
            self._network.count("host.identify_failed")

    def listening(self) -> tuple[Address, ...]:
        return () if self._life is None else tuple(plain(real) for real in self._life.host.get_transport_addrs())

    def announced_by_extensions(self) -> tuple[Address, ...]:
        return () if self._life is None else tuple(address for told in self._life.extra.values() for address in told)

    def wake(self) -> None:
        """Something in the roster changed: look what is due."""
        self._news.set()

    # ------------------------------------------------ dialing

    async def dial(self, peer: PeerId) -> None:
        """Connect now, or `Unreachable`, which does not take longer than all addresses of a peer and a moment.

        Joins a dial that is under way, which becomes as urgent as one begun now.
        """
        network = self._network
        if not network.may_connect(peer):
            raise Unreachable(f"{peer} is barred, not let in, or ourselves")
        while (dialing := self._dials.get(peer)) is not None and dialing.scope.cancel_called:
            await dialing.done.wait()  # forgotten a moment ago; that dial does not count
        if dialing is None:
            if self._life is None:
                raise Unreachable("the host is being built again")
            if not network.roster.addresses(peer):
                raise Unreachable(f"no address of {peer} is known")
            dialing = self._begin(peer, self._life)
        dialing.waiting += 1
        for turn in dialing.turns:
            self._turns.promote(turn, Lane.ASKED)
        settings = self._settings
        try:
            with trio.move_on_after(settings.most_addresses * settings.dial_stagger + settings.whole_dial + _SLACK):
                await dialing.done.wait()
        finally:
            dialing.waiting -= 1
            self._end_if_unwanted(peer, dialing)
        if not network.connected(peer):
            state = network.roster.state(peer)
            trouble = (state.trouble if state else "gone") if dialing.done.is_set() else "no answer in time"
            raise Unreachable(f"{peer}: {trouble}")

    def call_off(self, peer: PeerId) -> None:
        """The peer was forgotten: a dial of it ends, unless somebody waits for that; then when nobody does any more."""
        dialing = self._dials.get(peer)
        if dialing is not None:
            dialing.unwanted = True
            self._end_if_unwanted(peer, dialing)

    def _end_if_unwanted(self, peer: PeerId, dialing: _Dialing) -> None:
        if dialing.unwanted and not dialing.waiting and not self._network.is_kept(peer):
            dialing.scope.cancel()

    async def _dial_those_due(self, life: Life) -> None:
        roster = self._network.roster
        while True:
            self._news = trio.Event()
            now = trio.current_time()
            for peer in roster.due(now):
                if peer not in self._dials:
                    self._begin(peer, life)
            due = roster.next_due()
            with trio.move_on_after(_LONGEST_IDLE if due is None else max(due - now, 0.01)):
                await self._news.wait()

    def _begin(self, peer: PeerId, life: Life) -> _Dialing:
        dialing = self._dials[peer] = _Dialing()
        life.nursery.start_soon(self._dial, peer, life, dialing)
        return dialing

    async def _dial(self, peer: PeerId, life: Life, dialing: _Dialing) -> None:
        """All addresses, one after the other, or beside each other where one is silent. Ends with the first success."""
        roster = self._network.roster
        addresses = roster.begin(peer, trio.current_time())
        state = roster.state(peer)
        failures = 0 if state is None else state.failures
        troubles: dict[Address, str] = {}
        worked: list[Address] = []
        try:
            with dialing.scope:
                async with trio.open_nursery() as nursery:

                    async def attempt(place: int, address: Address, over: trio.Event) -> None:
                        first = Lane.AGAIN if place or failures else Lane.FIRST
                        turn = Turn(lane=Lane.ASKED if dialing.waiting else first, failures=failures, place=place)
                        dialing.turns.add(turn)
                        try:
                            async with self._turns.take(turn):
                                trouble = await self._dial_address(peer, address, life)
                        finally:
                            dialing.turns.remove(turn)
                        if trouble:
                            troubles[address] = trouble
                        else:
                            worked.append(address)
                            nursery.cancel_scope.cancel()
                        over.set()

                    for place, address in enumerate(addresses):
                        over = trio.Event()
                        nursery.start_soon(attempt, place, address, over)
                        with trio.move_on_after(self._settings.dial_stagger):
                            await over.wait()
        finally:
            now = trio.current_time()
            if worked:
                self._network.count("host.dials")
                roster.succeeded(peer, worked[0], now)
            elif dialing.scope.cancel_called:
                roster.gave_up(peer, now)
            else:
                self._network.count("host.dials_failed")
                roster.failed(peer, "; ".join(f"{a}: {t}" for a, t in troubles.items()) or "interrupted", now)
            del self._dials[peer]
            dialing.done.set()
            self.wake()

    async def _dial_address(self, peer: PeerId, address: Address, life: Life) -> str:
        """Empty if the peer is connected now; otherwise why not.

        Who may not connect is not dialed either: a handshake that the gate ends has shown our address by then. Its
        turn comes again, as after any other failure, since the gate may answer otherwise later.
        """
        if not self._network.may_connect(peer):
            return _NOT_LET_IN
        try:
            with trio.move_on_after(self._settings.whole_dial) as scope:
                dial = next((dial for takes, dial in life.dialers if takes(address)), None)
                if dial is not None:
                    await dial(peer, address)
                else:
                    await life.swarm.dial_addr(Multiaddr(address), ID.from_string(peer))
        except Exception as error:  # noqa: BLE001 - whatever it is, this address did not work
            return _reason(error)
        if scope.cancelled_caught:
            return "no answer"
        return "" if self._network.connected(peer) else "connected and gone again"


def _inbound(swarm: GuardedSwarm, address: Multiaddr) -> Callable[[Any], Awaitable[None]]:
    async def handle(stream: Any) -> None:
        await swarm._handle_inbound_connection(stream, address)  # noqa: SLF001 - our own override

    return handle


def _single(error: Exception) -> Exception:
    """What went wrong first, out of the groups around it; the library's own kinds as one that callers know."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return TransportError(str(error)) if isinstance(error, BaseLibp2pError) else error


def _reason(error: BaseException) -> str:
    """The innermost cause, in few words."""
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, BaseExceptionGroup) and error.exceptions:
        return _reason(error.exceptions[0])
    return f"{type(error).__name__}: {error}"[:120]
