"""The new device's way: it looks for the other one, and asks it until it is one of the account or it is over.

One task for each visit. It asks what `vcd.pairing.new` says, stores what comes of the answer, and does what follows:
makes the KeyPackage, gives the node what was handed over. When there is no answer it asks again, after half a second at
first, and never less often than every five.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Protocol

import trio

from mls.codec import decode_exactly
from mls.credential import decode_credential
from mls.errors import MlsError
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.provider import Provider
from vcd.core import inputs
from vcd.core.accounts.credential import DeviceCredential, check_device, read
from vcd.core.errors import Misuse, NodeError, Refused
from vcd.core.founding import package_for
from vcd.daemon.shelf import Owner, Shelf
from vcd.pairing import new
from vcd.pairing.code import Uri, Words
from vcd.pairing.new import Visit
from vcd.pairing.values import Step, Why
from vcd.store.trouble import StoreTrouble

PROTOCOL: Final = "/vcd/pair/1"
WITHIN: Final = 30.0
"""Seconds for an answer: the other one may hold it back for half of that."""
LIFE: Final = 600_000
"""Milliseconds that a device looks for another one."""
PAUSE: Final = 0.5
PAUSE_MOST: Final = 5.0
AGAIN: Final = 5.0
"""Seconds until a peer that does not wait for us is asked once more."""
FAREWELL: Final = 60.0
"""Seconds in which the other one can be told that it is over."""

_log = logging.getLogger("vcd.pairing")


class Mesh(Protocol):
    @property
    def me(self) -> str: ...
    def there(self) -> Sequence[str]:
        """Who is connected."""
        ...

    def keep(self, peer: str, addresses: Sequence[str]) -> None: ...
    def forget(self, peer: str) -> None: ...
    async def ask(self, peer: str, protocol: str, question: bytes, *, within: float) -> bytes: ...


class Nearby(Protocol):
    """The local network."""

    def meet(self, plate: int | None) -> None:
        """Be seen, and look, under this number; or under none."""
        ...

    def found(self) -> Mapping[str, Sequence[str]]:
        """Who else is there under it, and where."""
        ...


class Visiting:
    """See above."""

    def __init__(
        self,
        mesh: Mesh,
        owner: Owner,
        shelf: Shelf,
        *,
        provider: Provider,
        now_ms: Callable[[], int],
        nearby: Nearby | None,
        failed: type[Exception] | tuple[type[Exception], ...],
    ) -> None:
        self._mesh = mesh
        self._owner = owner
        self._shelf = shelf
        self._provider = provider
        self._now_ms = now_ms
        self._nearby = nearby
        self._failed = failed
        self.life_ms = LIFE
        self.heard: dict[bytes, float] = {}
        """When the other device said something last, by pairing."""
        self._kept: set[str] = set()
        self._send, self._receive = trio.open_memory_channel[bytes](64)

    def begin(self, pair: bytes) -> None:
        self._send.send_nowait(pair)

    async def run(self) -> None:
        """All visits, those of earlier runs first."""
        async with trio.open_nursery() as nursery:
            for each in self._shelf.all():
                if isinstance(each, Visit):
                    nursery.start_soon(self._visit, each.pair)
            async for pair in self._receive:
                nursery.start_soon(self._visit, pair)

    def _now(self, pair: bytes) -> Visit | None:
        found = self._shelf.find(pair)
        return found if isinstance(found, Visit) else None

    async def _visit(self, pair: bytes) -> None:
        pause, tried, asked = PAUSE, dict[str, float](), ""
        while True:
            visit = self._now(pair)
            if visit is None or (visit.over and self._shelf.ended(pair) > FAREWELL):
                break
            try:
                went = await self._step(visit, tried)
            except StoreTrouble:
                went = False
            now = self._now(pair)
            asked = visit.peer or asked
            if now is None or (now.over and new.question(now) is None):
                break
            pause = PAUSE if went else min(2 * pause, PAUSE_MOST)
            if not went:
                with trio.move_on_after(pause):
                    await self._shelf.news()
        end = self._now(pair)
        if end is None or end.step is not Step.FINISHED:
            self._forget(asked)  # else it is one of our devices now

    def _forget(self, peer: str) -> None:
        """Be connected to it no more, if that was for this alone."""
        if peer in self._kept:
            self._kept.discard(peer)
            self._mesh.forget(peer)

    async def _step(self, visit: Visit, tried: dict[str, float]) -> bool:
        """One thing; whether it led anywhere."""
        if visit.step is Step.CONFIRMED:
            await self._bring(visit)
            return True
        if visit.welcome is not None and visit.step is Step.LINKING:
            await self._link(visit)
            return True
        question = new.question(visit)
        if question is None:
            return await self._greet(visit, tried)
        answer = await self._ask(visit, question)
        if answer is None:
            if visit.greeting is not None and isinstance(visit.code, Words):
                tried[visit.peer] = trio.current_time()
                self._forget(visit.peer)
                await self._change(visit, _without_greeting)
            return False
        aside = visit.greeting is not None
        turn = partial(new.answered, answer=answer, now=self._now_ms())
        after = await self._change(visit, turn, aside=aside)
        if after is None or after is visit:
            return False
        if after.channel is not None and after.proving is None:
            self.heard[visit.pair] = trio.current_time()
        if visit.greeting is not None and after.greeting is None and after.proving is None:
            tried[visit.peer] = trio.current_time()
            self._forget(visit.peer)
        return True

    async def _change(self, visit: Visit, turn: Callable[[Visit], Visit], *, aside: bool = False) -> Visit | None:
        """What becomes of it, stored; None if it is another one meanwhile."""
        async with self._shelf.lock:
            if self._now(visit.pair) is not visit:
                return None
            after = await trio.to_thread.run_sync(turn, visit) if aside else turn(visit)
            await self._shelf.put(after)
            return after

    # ---------------------------------------------------------------- asking

    async def _greet(self, visit: Visit, tried: dict[str, float]) -> bool:
        """Say hello to whoever may be the one, one after the other."""
        if visit.step is not Step.WAITING:
            return False
        for peer, addresses in self._candidates(visit).items():
            if peer == self._mesh.me or trio.current_time() - tried.get(peer, -AGAIN) < AGAIN:
                continue
            go = partial(new.go, peer=peer, addresses=tuple(addresses), random=self._provider.random)
            return await self._change(visit, go, aside=True) is not None
        return False

    def _candidates(self, visit: Visit) -> Mapping[str, Sequence[str]]:
        if isinstance(visit.code, Uri):
            return {visit.code.peer: visit.code.addresses}
        near = {} if self._nearby is None else dict(self._nearby.found())
        return {**near, **{peer: () for peer in self._mesh.there() if peer not in near}}

    async def _ask(self, visit: Visit, question: bytes) -> bytes | None:
        """The answer; None if there is none, or if it is another visit before it comes."""
        found: list[bytes] = []
        if visit.addresses:
            if visit.peer not in self._mesh.there():
                self._kept.add(visit.peer)
            self._mesh.keep(visit.peer, visit.addresses)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                try:
                    found.append(await self._mesh.ask(visit.peer, PROTOCOL, question, within=WITHIN))
                except self._failed as error:
                    _log.debug("the other device does not answer: %s", type(error).__name__)
                nursery.cancel_scope.cancel()

            nursery.start_soon(ask)
            while self._now(visit.pair) is visit:
                await self._shelf.news()
            nursery.cancel_scope.cancel()
        return found[0] if found else None

    # ---------------------------------------------------------------- what follows

    async def _bring(self, visit: Visit) -> None:
        """A KeyPackage, made with the credential."""
        state = self._owner.look()
        try:
            credential = decode_exactly(visit.credential, decode_credential)
            identity = read(credential)
            if not isinstance(identity, DeviceCredential) or identity.device != state.me.device:
                raise Refused("another-device")
            check_device(identity, visit.key, self._provider)
            made = package_for(self._provider, state, credential, self._now_ms())
        except (MlsError, NodeError) as error:
            _log.warning("a credential that does not fit this device: %s", type(error).__name__)
            await self._change(visit, partial(new.give_up, why=Why.BROKEN))
            return
        package, init, leaf = made.key_package.encode(), made.init_private, made.leaf_private
        await self._change(visit, partial(new.bring, package=package, init=init, leaf=leaf))

    async def _link(self, visit: Visit) -> None:
        """Take the account up, and be finished, in one transaction."""
        if visit.welcome is None or visit.init is None or visit.leaf is None:
            return
        secrets = KeyPackageSecrets(
            key_package=decode_exactly(visit.package, KeyPackage.decode),
            init_private=visit.init,
            leaf_private=visit.leaf,
            signature_private=self._owner.look().me.signature_private,
        )
        command = inputs.Linked(welcome=visit.welcome, packages=(secrets,))
        async with self._shelf.lock:
            if self._now(visit.pair) is not visit:
                return
            try:
                await self._shelf.put(new.finish(visit), command=command)
            except Misuse as misuse:
                _log.warning("what was handed over cannot be taken up: %s", misuse.code)
                await self._shelf.put(new.give_up(visit, Why.BROKEN))


def _without_greeting(visit: Visit) -> Visit:
    return replace(visit, greeting=None)
