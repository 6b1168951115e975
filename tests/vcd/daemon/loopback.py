"""Whole nodes over real sockets on loopback, with real stores: what `vcd run` puts together, without its surface."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from transport.base import Address, AskFailed, Frame, Milliseconds
from transport.discovery.addresses import Policy
from transport.live.open import SocketMesh, open_mesh
from transport.signing import SigningKey
from vcd.core import inputs, stored
from vcd.core.accounts.card import make_card, to_bytes
from vcd.core.accounts.identity import new_seed
from vcd.core.founding import blank, new_account
from vcd.core.names import DeviceId
from vcd.core.state import State
from vcd.crypto import SystemProvider
from vcd.daemon import facts
from vcd.daemon.hands import Alarm, Hands, wake
from vcd.daemon.mesh import Known, Mesh
from vcd.daemon.nearby import Nearby
from vcd.daemon.owner import Owner
from vcd.daemon.packages import PROTOCOL, Packages, address
from vcd.daemon.pairing import PROTOCOL as PAIRING, Pairing
from vcd.store.store import Store, open_store
from vcd.store.values import Entry
from vcd.vault.unlockers import KeyFile
from vcd.vault.vault import Vault

PROVIDER = SystemProvider()


def now_ms() -> Milliseconds:
    return Milliseconds(time.time_ns() // 1_000_000)


class Later:
    """The pairing, which needs the owner, which needs the hands, which need it."""

    it: Pairing

    async def hand_over(self, device: DeviceId, welcome: bytes) -> None:
        await self.it.hand_over(device, welcome)


@dataclass
class Node:
    """One that runs."""

    owner: Owner
    mesh: Mesh
    store: Store
    packages: Packages
    sockets: SocketMesh
    pairing: Pairing
    seen: list[Entry] = field(default_factory=list)
    at: int = 0

    @property
    def state(self) -> State:
        return self.owner.look()

    def card(self, name: str) -> bytes:
        edition, household = self.state.book.edition, self.state.household
        assert edition is not None
        assert household.signing is not None
        assert household.inbox is not None
        dispenser = address(self.mesh.me, self.mesh.addresses())
        return to_bytes(
            make_card(
                PROVIDER,
                edition.head,
                household.signing,
                name=name,
                inbox=household.inbox,
                dispensers=(dispenser,),
                expires=now_ms() + 10**9,
            )
        )

    async def until(self, type_: str, fits: Callable[[Entry], bool] = lambda _: True, *, within: float = 20) -> Entry:
        """The first entry of that kind from here on."""
        with trio.fail_after(within):
            while True:
                page = await self.store.journal.read(self.at, 100)
                for entry in page.entries:
                    self.at = entry.seq
                    if entry.type == type_ and fits(entry):
                        return entry
                await self.store.journal.wait(self.at)


@asynccontextmanager
async def running(
    path: Path,
    name: str,
    *,
    key: SigningKey | None = None,
    account: bool = True,
    listen: Sequence[str] = ("/ip4/127.0.0.1/tcp/0",),
    lan: bool = False,
) -> AsyncIterator[Node]:
    """A device in a folder: made if there is none, with an account or without, else gone on with.

    `lan`: whether loopback counts as a local network.
    """
    path.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test
    fresh = not (path / "db").exists()
    unlock = KeyFile(path / "key")
    vault = (Vault.create if fresh else Vault.open)(path / "vault", unlock)
    async with open_store(path / "db", vault, create=fresh) as store:
        frames = store.frames(Frame)
        rows, kept = facts.split(await store.load())
        if not fresh:
            state = stored.load(rows, PROVIDER)
        elif account:
            state = new_account(PROVIDER, new_seed(PROVIDER), name, now_ms())
        else:
            state = blank(PROVIDER, name)
        nearby = Nearby(["127.0.0.1"] if lan else [], random_bytes=os.urandom, loopback=True)
        identity = key or SigningKey.generate(os.urandom)
        async with open_mesh(
            identity=identity,
            store=frames,
            listen=[Address(each) for each in listen],
            now_ms=now_ms,
            random_bytes=os.urandom,
            extensions=[nearby.extension],
        ) as sockets:
            mesh = Mesh(
                sockets,
                identity,
                store=frames,
                known=Known(),
                policy=Policy(loopback=True, private=True),
                now_ms=now_ms,
                random_bytes=os.urandom,
            )
            alarm = Alarm()
            packages: Packages
            owner: Owner
            packages = Packages(
                mesh,  # type: ignore[arg-type]
                look=lambda: owner.look(),  # noqa: PLW0108 - it is made below
                do=lambda given: owner.do(given),  # noqa: PLW0108 - the same
                failed=AskFailed,
            )
            later = Later()
            hands = Hands(net=mesh, packages=packages, pairing=later, alarm=alarm)
            owner = Owner(state, kept, provider=PROVIDER, store=store, hands=hands, now_ms=now_ms)
            pairing = later.it = Pairing(
                mesh,  # type: ignore[arg-type]
                owner,
                provider=PROVIDER,
                now_ms=now_ms,
                nearby=nearby,
                failed=AskFailed,
            )
            if fresh:
                await owner.begin()
            left = await mesh.left_over()
            sockets.serve(PROTOCOL, packages.serve)
            sockets.serve(PAIRING, pairing.serve)
            async with trio.open_nursery() as nursery:
                await owner.tell(inputs.Started())
                for task in (
                    owner.run,
                    partial(hands.work, owner),
                    partial(wake, alarm, owner, now_ms),
                    partial(mesh.listen, owner, left),
                    partial(mesh.survey, owner),
                    partial(mesh.announce, owner),
                    pairing.run,
                ):
                    nursery.start_soon(task)
                yield Node(owner, mesh, store, packages, sockets, pairing)
                nursery.cancel_scope.cancel()
