"""Pairing over the mesh: what people, peers and the node do to the values of `vcd.pairing`.

    start, join, confirm, cancel, find, wait     for people
    serve                                        what a peer asks; it is answered when what follows is on disk
    hand_over                                    what the node hands over (`effects.HandOver`), again after a restart
    run                                          the task: visits, ends, and what the node decided

**A device without an account** runs as any other. `vcd run` founds it with `vcd.core.founding.blank`, stores that
(`Owner.begin`), and gives it a mesh, an owner and this room. Its node does nothing, and has no topics. `join` makes it
another blank device each time (`Owner.become`), so that no id is shown to two accounts, and none that was let in and
shut out again is used twice. When it was let in, `inputs.Linked` makes it one of the account, in the same transaction
in which the pairing is finished; from then on everything goes its usual way.

Composition: `Pairing(mesh, owner, ...)` after the owner has its facts and before the hands work, as they need it;
`sockets.serve(PROTOCOL, pairing.serve)`; `run` as a task of its own. With an account or without, that is the same.

**How the new device finds the other one.** The URI names its peer and its places. With words, both look for each other
in the local network, under a name that follows from the number of the code (`vcd.daemon.nearby`), for as long as the
code is good; beside that, whoever is connected already is asked. Points keep records by peer ids, and nobody can ask
them for a number: from farther away, only the URI works. Where neither can lead anywhere, `join` is refused.

**Others.** Every question costs something, so hellos are bounded (`vcd.pairing.existing`), are computed in a thread,
and are answered after a fixed time, which hides how long the arithmetic took. An exchange waits for news for `HOLD`
seconds, one for each pairing. Nobody is told more than that nobody waits here, before they have proved something.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

import trio

from mls.codec import decode_exactly
from mls.key_package import KeyPackage
from mls.provider import Provider
from vcd.core import inputs
from vcd.core.accounts.editions import free_name
from vcd.core.accounts.identity import readable
from vcd.core.errors import Malformed, Misuse
from vcd.core.founding import blank, device_key
from vcd.core.linking import credential_for
from vcd.core.names import DeviceId, IntentId
from vcd.core.state import State
from vcd.daemon import removal, visiting
from vcd.daemon.shelf import Owner, Shelf
from vcd.daemon.telling import devices_of
from vcd.pairing import code, existing, new, wire
from vcd.pairing.existing import Existing
from vcd.pairing.kept import Either
from vcd.pairing.new import Visit
from vcd.pairing.values import NotNow, Step, Why
from vcd.store.trouble import StoreTrouble

PROTOCOL: Final = "/vcd/pair/1"
HOLD: Final = 15.0
"""Seconds that an exchange waits for something to say."""
HELLO_TAKES: Final = 0.25
"""Seconds until a hello is answered."""
ALIVE: Final = 30.0
"""Seconds after which a device that was not heard counts as gone, so that another attempt may take the place."""
LINGER: Final = 120.0
"""Seconds that something that is over is there for the other device to be told."""
LOOK: Final = 0.5
SETTLE: Final = 1.0
"""Seconds that a look waits at most for what is being stored."""
MOST_NAME: Final = 64

_log = logging.getLogger("vcd.pairing")
_GONE: Final = wire.verdict(wire.Verdict.GONE)
_NOTHING: Final = b""
_OPEN: Final = frozenset({Step.WAITING, Step.COMPARING, Step.CONFIRMED})


class Busy(Exception):
    """Another pairing is under way, with a device that is there."""

    def __init__(self, pair: bytes) -> None:
        super().__init__("a pairing is under way")
        self.pair = pair


class Unknown(Exception):
    """There is no such pairing."""


class HasAccount(Exception):
    """This device belongs to an account already."""


class NobodyToAsk(Exception):
    """The code does not say where the other device is, and there is nowhere to look for it. `given`: `words`, `uri`."""

    def __init__(self, given: str) -> None:
        super().__init__("there is nowhere to look")
        self.given = given


class BadName(Exception):
    """That cannot be a device's name. The text says why."""


class NotTheSame(Exception):
    """What was typed is not what this screen shows."""


class Mesh(visiting.Mesh, Protocol):
    def addresses(self) -> Sequence[str]: ...
    def anybody(self) -> bool:
        """Whether somebody is connected, or is to be."""
        ...


class Nearby(visiting.Nearby, Protocol):
    @property
    def there(self) -> bool:
        """Whether this device speaks to a local network at all."""
        ...


class Pairing:
    """See above."""

    def __init__(
        self,
        mesh: Mesh,
        owner: Owner,
        *,
        provider: Provider,
        now_ms: Callable[[], int],
        nearby: Nearby | None,
        failed: type[Exception] | tuple[type[Exception], ...],
        admit_strangers: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """`failed`: what `mesh.ask` raises when there is no answer. `nearby`: None if there is no local network.

        `admit_strangers` is told whether somebody whom nobody knows yet has to be able to connect.
        """
        self._mesh = mesh
        self._owner = owner
        self._provider = provider
        self._now_ms = now_ms
        self._nearby = nearby
        self._shelf = Shelf(owner, now_ms)
        self._visits = visiting.Visiting(
            mesh, owner, self._shelf, provider=provider, now_ms=now_ms, nearby=nearby, failed=failed
        )
        self._admit_strangers = admit_strangers
        self._heard: dict[bytes, float] = {}
        self._turns: dict[bytes, trio.Event] = {}
        """Of the exchange that waits for news, by pairing: set when another one takes its place."""

    # ---------------------------------------------------------------- for people

    async def start(self, expires_ms: int) -> Existing:
        """Show a code. `Misuse` if this device cannot let in others, `Busy`."""
        self._may_admit()
        async with self._shelf.lock:
            await self._make_room()
            offer = existing.start(
                self._provider.random,
                self._mesh.me,
                tuple(self._mesh.addresses()),
                self._now_ms() + expires_ms,
                words=self._nearby is not None and self._nearby.there,
            )
            await self._shelf.put(offer)
        return offer

    async def join(self, text: str, name: str) -> Visit:
        """Go to the device that shows this code. `WrongCode`, `HasAccount`, `BadName`, `NobodyToAsk`, `Busy`."""
        self._check_name(name)
        read = code.read(text)
        if self._owner.look().home is not None:
            raise HasAccount
        self._check_way(read)
        async with self._shelf.lock:
            await self._make_room()
            old = self._owner.look()
            fresh = blank(self._provider, name, old.config)
            fresh = replace(fresh, clock=replace(old.clock, wake_at=0))
            visit = new.start(
                self._provider.random,
                self._mesh.me,
                read,
                device=fresh.me.device,
                key=device_key(self._provider, fresh),
                name=name,
                expires=self._now_ms() + self._visits.life_ms,
            )
            try:
                await self._shelf.put(visit, become=partial(_instead, fresh))
            except Misuse:
                raise HasAccount from None
        self._visits.begin(visit.pair)
        return visit

    async def confirm(self, pair: bytes, check: str, name: str | None) -> Existing:
        """The other screen shows this. `Unknown`, `NotNow`, `NotTheSame`, `BadName`, `Misuse`."""
        async with self._shelf.lock:
            offer = self._shelf.find(pair)
            if not isinstance(offer, Existing):
                raise NotNow if offer is not None else Unknown
            if offer.step is not Step.COMPARING:
                raise NotNow
            asked = self._free_name(offer.name if name is None else name, exactly=name is not None)
            tried = existing.confirm(offer, check)
            if tried.step is not Step.CONFIRMED:
                await self._shelf.put(tried)
                raise NotTheSame
            device = DeviceId(offer.device)
            made = credential_for(self._owner.look(), self._provider, device, offer.key)
            admitted = existing.admit(tried, made.encode(), asked, self._own_name())
            await self._shelf.put(admitted)
        return admitted

    async def cancel(self, pair: bytes) -> Either:
        """Give it up. A device that was handed the account stays: `device.remove` is for that."""
        async with self._shelf.lock:
            found = self._shelf.find(pair)
            match found:
                case None:
                    raise Unknown
                case Existing() if not found.over and not found.handed:
                    await self._give_up(found, Why.CANCELED)
                case Visit() if not found.over:
                    await self._shelf.put(new.give_up(found, Why.CANCELED))
                case _:
                    pass
        return self.find(pair)

    def find(self, pair: bytes | None) -> Either:
        """As it is now; None for the last one that was begun. `Unknown`."""
        wanted = self._shelf.current if pair is None else pair
        found = None if wanted is None else self._shelf.find(wanted)
        if found is None:
            raise Unknown
        return found

    async def wait(self, pair: bytes | None, step: Step | None, wait_ms: int) -> Either:
        """As soon as it is at another step than this one, or after that time."""
        with trio.move_on_after(SETTLE):  # whoever was told of something by an event finds it here
            async with self._shelf.lock:
                pass
        found = self.find(pair)
        with trio.move_on_after(wait_ms / 1000):
            while step is not None and found.step is step:
                await self._shelf.news()
                found = self.find(found.pair)
        return found

    # ---------------------------------------------------------------- rules

    def _may_admit(self) -> None:
        state = self._owner.look()
        strand = None if state.home is None else state.strands.find(state.home)
        if strand is None:
            raise Misuse("no-account", removal.why(self._owner.facts) or "This device has no account yet.")
        if state.household.listening:
            raise Misuse("restored", "This device was restored from a backup, and cannot let in others yet.")
        if strand.here is None or state.household.gone:
            raise Misuse("out-of-sync", "This device cannot speak to your other devices now.")
        if state.household.delegate is None:
            raise Misuse("not-delegate", "This device may not let in others.")

    @staticmethod
    def _check_name(name: str) -> None:
        try:
            readable(name, MOST_NAME, "this")
        except ValueError:
            raise BadName(f"A name is one line of 1 to {MOST_NAME} letters that can be seen.") from None

    def _check_way(self, read: code.Code) -> None:
        """That there is some way on which the other device may be found. Who is connected already is asked, too."""
        if self._mesh.anybody():
            return
        if isinstance(read, code.Uri):
            if not read.addresses:
                raise NobodyToAsk("uri")
        elif self._nearby is None or not self._nearby.there:
            raise NobodyToAsk("words")

    def _free_name(self, name: str, *, exactly: bool) -> str:
        """Names of devices are told from each other. What the new one wished for may get a number."""
        self._check_name(name)
        state = self._owner.look()
        names = [*devices_of(state).values(), *(each.name for each in state.household.links.values())]
        free = free_name(name, names)
        if exactly and free != name:
            raise BadName(f"Another device is called {name} already.")
        return free

    def _own_name(self) -> str:
        state = self._owner.look()
        return devices_of(state).get(bytes(state.me.device), "")

    async def _make_room(self) -> None:
        """For a new attempt: a dead one gives way, and one that waits for nobody but the other devices goes on."""
        last = None if self._shelf.current is None else self._shelf.find(self._shelf.current)
        if last is None or last.over or (isinstance(last, Existing) and last.step is Step.LINKING):
            return
        heard = max(self._heard.get(last.pair, 0.0), self._visits.heard.get(last.pair, 0.0))
        if last.step is not Step.WAITING and trio.current_time() - heard < ALIVE:
            raise Busy(last.pair)
        if isinstance(last, Existing):
            await self._give_up(last, Why.REPLACED)
        else:
            await self._shelf.put(new.give_up(last, Why.REPLACED))

    # ---------------------------------------------------------------- for peers

    async def serve(self, peer: str, question: bytes) -> bytes:
        """A peer asks."""
        if question[:2] == bytes((wire.VERSION, wire.Kind.HELLO.value)):
            return await self._hello(peer, question)
        async with self._shelf.lock:
            offer, answer = await self._heard_of(peer, question)
        if offer is None or offer.over or offer.channel is None or not offer.channel.settled:
            return answer
        if question[:2] != bytes((wire.VERSION, wire.Kind.EXCHANGE.value)):
            return answer
        await self._hold(offer)
        async with self._shelf.lock:
            return (await self._heard_of(peer, question))[1]

    async def _hello(self, peer: str, question: bytes) -> bytes:
        """After the same time, whatever came of it."""
        due = trio.current_time() + HELLO_TAKES
        answer = _GONE
        if any(isinstance(each, Existing) and each.step is Step.WAITING for each in self._shelf.all()):
            async with self._shelf.lock:
                answer = (await self._heard_of(peer, question, aside=True))[1]
        await trio.sleep_until(max(due, trio.current_time()))
        return answer

    async def _heard_of(self, peer: str, question: bytes, *, aside: bool = False) -> tuple[Existing | None, bytes]:
        """Whichever it concerns, the newest first; and the answer."""
        for offer in self._shelf.all():
            if not isinstance(offer, Existing):
                continue
            hear = partial(existing.hear, offer, peer, question, self._now_ms(), self._provider.random)
            after, answer = await trio.to_thread.run_sync(hear) if aside else hear()
            if after is offer and answer == _GONE:
                continue
            if after.channel is not None:
                self._heard[after.pair] = trio.current_time()
            try:
                await self._store(offer, after)
            except StoreTrouble:
                return None, _NOTHING  # it is asked again
            return after, _NOTHING if answer is None else answer
        return None, _GONE

    async def _hold(self, offer: Existing) -> None:
        """Until there is something to say. Who asks again meanwhile takes the place."""
        old = self._turns.pop(offer.pair, None)
        if old is not None:
            old.set()
        mine = self._turns[offer.pair] = trio.Event()
        with trio.move_on_after(HOLD):
            async with trio.open_nursery() as nursery:

                async def replaced() -> None:
                    await mine.wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(replaced)
                while self._shelf.find(offer.pair) is offer:
                    await self._shelf.news()
                nursery.cancel_scope.cancel()
        if self._turns.get(offer.pair) is mine:
            del self._turns[offer.pair]

    async def _store(self, before: Existing, after: Existing) -> None:
        """What a peer said, with what the node is to do of it."""
        if before.step is not Step.LINKING and after.step is Step.LINKING:
            try:
                await self._shelf.put(after, command=_link(after))
            except Misuse as misuse:
                _log.warning("a new device is not let in: %s", misuse.code)
                await self._shelf.put(existing.give_up(after, Why.REFUSED))
        elif before.step is Step.LINKING and after.step in (Step.FAILED, Step.CANCELED):
            await self._shut_out(after)
        else:
            await self._shelf.put(after)

    async def _give_up(self, offer: Existing, why: Why) -> None:
        await self._store(offer, existing.give_up(offer, why))

    async def _shut_out(self, after: Existing) -> None:
        """It was being let in, and does not want to, or is not to: it must not stay on the list."""
        remove = inputs.RemoveDevice(intent=IntentId(self._provider.random(16)), device=DeviceId(after.device))
        try:
            await self._shelf.put(after, command=remove)
        except Misuse as misuse:  # it is not there yet, or this device may not any more
            _log.warning("a device that was given up is not removed: %s", misuse.code)
            await self._shelf.put(after)

    # ---------------------------------------------------------------- for the node

    async def hand_over(self, device: DeviceId, welcome: bytes) -> None:
        """A device is let in, and this is for it."""
        async with self._shelf.lock:
            for offer in self._shelf.all():
                if isinstance(offer, Existing) and offer.device == device and offer.step is Step.LINKING:
                    try:
                        await self._shelf.insist(existing.hand_over(offer, welcome))
                    except Malformed as error:
                        _log.error("a device cannot be handed what it is to have: %s", error)
                    return
        _log.warning("a device is let in that no pairing knows of")

    # ---------------------------------------------------------------- the task

    async def run(self) -> None:
        """For ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._visits.run)
            nursery.start_soon(self._show)
            while True:
                try:
                    async with self._shelf.lock:
                        await self._tend()
                except StoreTrouble:
                    pass  # the owner tells of it; here it is only tried again
                await trio.sleep(LOOK)

    async def _tend(self) -> None:
        """Whose time is over, what the node decided, and what need not be kept any more."""
        now, state = self._now_ms(), self._owner.look()
        for each in self._shelf.all():
            if each.step in _OPEN and each.expires <= now:
                if isinstance(each, Existing):
                    await self._give_up(each, Why.EXPIRED)
                else:
                    await self._shelf.put(new.give_up(each, Why.EXPIRED))
            elif isinstance(each, Existing) and each.step is Step.LINKING:
                await self._decided(each, state)
        past = [each.pair for each in self._shelf.all() if each.over and self._shelf.ended(each.pair) > LINGER]
        await self._shelf.clear(past)

    async def _decided(self, offer: Existing, state: State) -> None:
        device = DeviceId(offer.device)
        if device in state.household.links:
            return
        if offer.device in devices_of(state):
            await self._shelf.put(existing.finish(offer))  # it was heard: the node needs no bundle any more
        else:
            await self._shelf.put(existing.give_up(offer, Why.REFUSED))

    async def _show(self) -> None:
        """Be there for the other device, as long as that is needed: in the local network too, if there are words."""
        while True:
            several = self._shelf.all()
            self._admit_strangers(any(not each.over or self._shelf.ended(each.pair) < LINGER for each in several))
            if self._nearby is not None:
                self._nearby.meet(next((plate for each in several if (plate := _plate(each)) is not None), None))
            with trio.move_on_after(LINGER):
                await self._shelf.news()


def _plate(pairing: Either) -> int | None:
    """The number by which the two find each other, as long as they have to."""
    if pairing.step is not Step.WAITING or pairing.channel is not None:
        return None
    words = pairing.words if isinstance(pairing, Existing) else pairing.code
    return words.plate if isinstance(words, code.Words) else None


def _instead(fresh: State, old: State) -> State:
    if old.home is not None:
        raise Misuse("account-exists", "this device has an account meanwhile")
    return fresh


def _link(offer: Existing) -> inputs.LinkDevice:
    return inputs.LinkDevice(
        intent=IntentId(offer.pair),
        device=DeviceId(offer.device),
        name=offer.name,
        package=decode_exactly(offer.package, KeyPackage.decode),
    )
