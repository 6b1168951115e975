"""The mailboxes of the settings: what they are to keep for this account, and how they fare.

    tenant     the key by which the account is known to mailboxes. It follows from the account key, which all devices
               have and nobody else; so every removal of a device brings another one, and who was removed is no tenant
               any more as soon as the operator lists the new one. `vcd account show` prints it
    topics     each topic that the node is in is kept at each mailbox, by a token for that mailbox to read and write.
               What a mailbox has is asked for when it is connected and from time to time: it may have lost its disk
    packages   some of our KeyPackages are left at them (`vcd.daemon.deposits`), and our cards say so
    left       a topic that the node left is released. The node leaves when the last frame there has expired, so no
               other device of the account needs it then

Frames come and go by the mesh's ordinary sync: a mailbox is a peer in the topic. A token lasts for longer than any
frame does, and is renewed long before its end, so a device may be away for a month without losing anything. A topic
that was left while a mailbox was not connected is released by the end of its token only.

One task for each mailbox, so that one that is slow or refuses holds nothing else up.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

from transport.access import Right, issue
from transport.base import Address, Milliseconds, PeerId, TopicId, TransportError
from transport.mailbox.client import Declined, MailboxClient
from transport.mailbox.wire import Failure
from transport.signing import SigningKey
from vcd.core.state import State
from vcd.daemon import deposits
from vcd.daemon.deposits import MOST_CARDS, Deposits, allowance
from vcd.daemon.mesh import Mesh
from vcd.daemon.packages import address

log = logging.getLogger("vcd.boxes")

DAY: Final = 24 * 3600 * 1000
LASTS: Final = 45 * DAY
"""Milliseconds of a token."""
RENEW: Final = 38 * DAY
"""A token that ends sooner is made anew. Frames live for 30 days."""
CHECK: Final = 600.0
"""Seconds from one look at what a mailbox has to the next."""
LOOK: Final = 1.0
"""And from one look at who is connected to the next."""
PAUSES: Final = {Failure.NOT_FOUND: 15.0, Failure.FULL: 120.0, Failure.CLOCK: 60.0}
"""Seconds after what will not be otherwise soon."""
PAUSE: Final = 5.0
LONGEST: Final = 60.0
MOST_ROWS: Final = 100_000
"""Topics that a mailbox is believed to keep for us."""


class Owner(deposits.Owner, Protocol):
    def look(self) -> State: ...
    async def moved(self) -> None: ...


def tenant_key(state: State) -> SigningKey | None:
    """As what the account asks mailboxes; None while there is no account, or this device was removed from it."""
    signing = state.household.signing
    if signing is None or state.household.gone:
        return None
    return SigningKey(hmac.digest(signing.raw, b"vcd mailbox tenant", "sha256"))


def mailbox_key(state: State) -> str:
    """The public half, as it stands in a mailbox's settings; empty if there is none."""
    key = tenant_key(state)
    return "" if key is None else key.public.hex()


@dataclass(slots=True)
class _Box:
    """What is known of one mailbox."""

    tenant: bytes = b""
    """As whom it was asked."""
    kept: dict[TopicId, int] = field(default_factory=dict)
    """Topics that it keeps, and until when."""
    check: float = 0.0
    """When to look again; 0 for at once."""
    wanted: frozenset[TopicId] = frozenset()
    """What it was to keep when it was asked last."""
    seen: object = None
    trouble: Failure | None = None


class Boxes:
    """See above."""

    def __init__(
        self,
        mesh: Mesh,
        deposits: Deposits,
        *,
        now_ms: Callable[[], Milliseconds],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._mesh = mesh
        self._deposits = deposits
        self._now_ms = now_ms
        self._random_bytes = random_bytes
        self._boxes: dict[PeerId, _Box] = {}

    async def take(self, peer: str, tenant: bytes, shown: bytes) -> bytes | None:
        """A KeyPackage of somebody else at a mailbox of theirs; a capability that is used up is not shown again."""
        client = MailboxClient(self._mesh, PeerId(peer), now_ms=self._now_ms, random_bytes=self._random_bytes)
        for each in (shown, b""):
            try:
                return (await client.take(tenant, each)).data
            except Declined as declined:
                if declined.failure is Failure.BUSY:
                    return None
            except TransportError:
                return None
        return None

    def places(self, state: State, addresses: Callable[[PeerId], Sequence[Address]]) -> tuple[bytes, ...]:
        """What a card of ours says about mailboxes; `addresses`: where the settings say that one is."""
        key = tenant_key(state)
        if key is None:
            return ()
        return tuple(
            address(peer, addresses(peer), key.public, allowance(key, self._now_ms(), self._random_bytes))
            for peer in sorted(self._mesh.mailboxes)[:MOST_CARDS]
        )

    def troubles(self) -> dict[str, int]:
        """How many mailboxes refuse us, by why."""
        found: dict[str, int] = {}
        for box in self._boxes.values():
            if box.trouble is not None:
                name = box.trouble.name.lower()
                found[name] = found.get(name, 0) + 1
        return found

    async def run(self, owner: Owner) -> None:
        """The task. Follows the settings as they are now."""
        scopes: dict[PeerId, trio.CancelScope] = {}
        async with trio.open_nursery() as nursery:
            while True:
                named = self._mesh.mailboxes
                for peer in sorted(scopes.keys() - named):
                    scopes.pop(peer).cancel()
                    self._boxes.pop(peer, None)
                for peer in sorted(named - scopes.keys()):
                    scopes[peer] = trio.CancelScope()
                    nursery.start_soon(self._tend, peer, owner, scopes[peer])
                await self._deposits.forget(owner, self._now_ms())
                await trio.sleep(LOOK)

    async def _tend(self, peer: PeerId, owner: Owner, scope: trio.CancelScope) -> None:
        box = self._boxes[peer] = _Box()
        with scope:
            while True:
                pause = 0.0
                if not self._mesh.is_there(peer):
                    box.check = 0.0
                else:
                    pause = await self._attempt(peer, owner, box)
                if pause:
                    await trio.sleep(pause)
                else:
                    with trio.move_on_after(LOOK):
                        await owner.moved()

    async def _attempt(self, peer: PeerId, owner: Owner, box: _Box) -> float:
        """Bring the mailbox to where the node is; gives the seconds after which to try again, if it did not work."""
        try:
            await self._follow(peer, owner, box)
        except Declined as declined:
            if declined.failure is Failure.NOT_FOUND:
                self._deposits.refused(peer)
            return self._declined(box, declined)
        except TransportError:
            box.check = 0.0
            return PAUSE
        if box.trouble is not None:
            log.info("a mailbox does again what it is asked for")
        box.trouble = None
        return 0.0

    @staticmethod
    def _declined(box: _Box, declined: Declined) -> float:
        if declined.failure is Failure.BUSY:
            return min(max(declined.detail / 1000, 0.05), LONGEST)
        if box.trouble is not declined.failure:
            log.warning("a mailbox does not do what it is asked for: %s", declined.failure.name.lower())
        box.trouble = declined.failure
        box.check = 0.0
        return PAUSES.get(declined.failure, LONGEST)

    async def _follow(self, peer: PeerId, owner: Owner, box: _Box) -> None:
        state = owner.look()
        key = tenant_key(state)
        if key is None:
            return
        client = MailboxClient(self._mesh, peer, key, now_ms=self._now_ms, random_bytes=self._random_bytes)
        anew = key.public != box.tenant or trio.current_time() >= box.check
        if anew or state.joined is not box.seen:
            await self._topics(peer, client, state, box, anew=anew)
            box.tenant = key.public
        await self._deposits.tend(peer, client, owner, anew=anew)

    async def _topics(self, peer: PeerId, client: MailboxClient, state: State, box: _Box, *, anew: bool) -> None:
        if anew:
            box.check = 0.0
            box.kept = await _kept(client)
            box.check = trio.current_time() + CHECK
        wanted = {TopicId(topic): joined.keys.seed.raw for topic, joined in state.joined.items()}
        now_ms = self._now_ms()
        for topic in sorted(wanted):
            if box.kept.get(topic, 0) < now_ms + RENEW:
                ends = Milliseconds(now_ms + LASTS)
                rights = Right.READ | Right.WRITE
                token = issue(SigningKey(wanted[topic]), rights, holder=peer, not_before=now_ms, expires=ends)
                await client.keep(topic, token)
                box.kept[topic] = ends
        for topic in sorted((box.wanted - wanted.keys()) & box.kept.keys()):
            await _release(client, topic)
            del box.kept[topic]
        box.wanted = frozenset(wanted)
        box.seen = state.joined


async def _kept(client: MailboxClient) -> dict[TopicId, int]:
    """What a mailbox says that it keeps for us."""
    kept: dict[TopicId, int] = {}
    after = TopicId(bytes(32))
    while len(kept) < MOST_ROWS:
        rows = [each for each in await client.topics(after) if each.topic > after]
        if not rows:
            break
        kept.update((each.topic, each.expires) for each in rows)
        after = max(each.topic for each in rows)
    return kept


async def _release(client: MailboxClient, topic: TopicId) -> None:
    try:
        await client.release(topic)
    except Declined as declined:
        if declined.failure is not Failure.NOT_FOUND:  # another device of ours did it
            raise
