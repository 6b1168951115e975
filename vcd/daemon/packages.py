"""KeyPackages: ours, which this device gives out itself, and those of contacts, which are asked for.

Each device gives out those that it made (`vcd.core.stock`). They stay in the node's state until they were given out, so
nothing is kept here: a node that starts offers all of them again. A package is handed to one asker: that it was is on
disk, in the node, before the answer leaves. If the answer is lost, so is the package, and the next one is asked for.

    question    version 1, then 32 bytes: HMAC-SHA256 under the inbox's secret of both peers' ids; zeros of strangers
    answer      0 and the package; or 1, there is none for you

Who has our card knows the inbox's secret, and gets from the stock for contacts; everybody else from that for strangers,
which is smaller, and slower. Both get the last resort when there is nothing else, which stays. Names of peers cost
nothing, so all contacts together have a pace too, and all strangers (`TOGETHER`): each package that is gone is made
anew, told to our other devices, and remembered until it expires. Who comes when that is used up gets the last resort,
which costs nothing.

When our list of devices changes, all are taken back and others made, and a daemon that starts has none before the node
has offered them. Whoever asks then waits a moment (`PATIENCE`): told that there is none, they would try again much
later.

A card names places where packages are to be had (`address`, `place_of`): a peer, and where it can be reached; for a
mailbox also whose packages to ask for, and what lets a contact take some. Mailboxes have packages of their own to give
out, which are not among ours (`vcd.daemon.deposits`), so that each is given out in one place; the last resort is in
all.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgpack
import trio

from vcd.core import effects, inputs
from vcd.core.names import AccountId
from vcd.core.state import State

PROTOCOL = "/vcd/packages/1"
VERSION = b"\x01"
GIVEN, NONE = b"\x00", b"\x01"
MAX_PACKAGE = 65_536
WITHIN = 10.0
"""Seconds for an answer."""
PACE = {True: (8, 10.0), False: (2, 3600.0)}
"""For a contact, for a stranger: packages at once, and seconds to one more."""
TOGETHER = {True: (64, 300.0), False: (8, 1800.0)}
"""The same for all contacts, and for all strangers."""
PATIENCE = 3.0
"""Seconds for which an answer waits while there is nothing to give."""
MOST_WAITING = 64
"""Askers who wait so. Others hear at once that there is none."""
MOST_ASKERS = 4096
MOST_GONE = 65_536
MAX_ADDRESS = 512
TENANT, GRANT = 32, 165
MOST_PLACES = 4


@dataclass(frozen=True, slots=True)
class Place:
    """Where packages are to be had."""

    peer: str
    addresses: tuple[str, ...]
    tenant: bytes = b""
    """Of a mailbox: who has packages there."""
    grant: bytes = b""
    """And what to show there."""


def address(peer: str, addresses: Sequence[str], *more: bytes) -> bytes:
    """As a card has it; of a mailbox with tenant and grant. What does not fit is left out, the last first."""
    several = list(addresses[:MOST_PLACES])
    while True:
        data: bytes = msgpack.packb([2 if more else 1, peer, several, *more])
        if len(data) <= MAX_ADDRESS or not several:
            return data
        several.pop()


def place_of(data: bytes) -> Place | None:
    """What a card's address says; None for one that this version does not read."""
    if len(data) > MAX_ADDRESS:
        return None
    try:
        found = msgpack.unpackb(data, strict_map_key=True)
    except (ValueError, msgpack.UnpackException):
        return None
    match found:
        case [1, str(peer), list(several)] if all(isinstance(each, str) for each in several):
            return Place(peer, tuple(several[:MOST_PLACES]))
        case [2, str(peer), list(several), bytes(tenant), bytes(grant)] if all(
            isinstance(each, str) for each in several
        ) and (len(tenant), len(grant)) == (TENANT, GRANT):
            return Place(peer, tuple(several[:MOST_PLACES]), tenant, grant)
        case _:
            return None


def proof(inbox: bytes, asker: str, asked: str) -> bytes:
    """Shows that the asker has a card of whom it asks."""
    said = b"".join(len(each).to_bytes(2, "big") + each for each in (asker.encode(), asked.encode()))
    return hmac.digest(inbox, b"vcd package " + said, "sha256")


class Mesh(Protocol):
    @property
    def me(self) -> str: ...
    def reach(self, peer: str, addresses: Sequence[str]) -> None: ...
    async def ask(self, peer: str, protocol: str, question: bytes, *, within: float) -> bytes: ...


class Mailboxes(Protocol):
    """Those that hand out some of ours."""

    def claim(self, reference: bytes, data: bytes, *, stranger: bool, expires: int) -> bool: ...
    def last_resort(self, reference: bytes, data: bytes, expires: int) -> None: ...
    def take_back(self, references: Sequence[bytes]) -> tuple[bytes, ...]: ...


Take = Callable[[str, bytes, bytes], Awaitable[bytes | None]]
"""Takes one at a mailbox: which, whose, and what to show."""


@dataclass(slots=True)
class _Offer:
    data: bytes = field(repr=False)
    stranger: bool
    last: bool


@dataclass(slots=True)
class _Purse:
    """How many more somebody may have now."""

    left: float
    at: float

    def has(self, most: float, pause: float) -> bool:
        now = trio.current_time()
        self.left = min(most, self.left + (now - self.at) / pause)
        self.at = now
        return self.left >= 1

    def take(self, most: float, pause: float) -> bool:
        if not self.has(most, pause):
            return False
        self.left -= 1
        return True


class Packages:
    """See above."""

    def __init__(
        self,
        mesh: Mesh,
        *,
        look: Callable[[], State],
        do: Callable[[inputs.Input], Awaitable[object]],
        failed: type[Exception] | tuple[type[Exception], ...],
        take: Take | None = None,
    ) -> None:
        """`failed`: what `mesh.ask` raises when there is no answer."""
        self.mailboxes: Mailboxes | None = None
        """None: all are given out here."""
        self._take = take
        self._mesh = mesh
        self._look = look
        self._do = do
        self._failed = failed
        self._offers: OrderedDict[bytes, _Offer] = OrderedDict()
        self._gone: OrderedDict[bytes, None] = OrderedDict()
        """Given out or taken back in this run: an offer that was on its way meanwhile does not bring them back."""
        self._purses: OrderedDict[tuple[str, bool], _Purse] = OrderedDict()
        self._together = {kind: _Purse(most, trio.current_time()) for kind, (most, _) in TOGETHER.items()}
        self._giving = trio.Lock()
        self._more = trio.Event()
        self._waiting = 0

    # ---------------------------------------------------------------- ours

    async def offer(self, effect: effects.OfferPackages) -> tuple[bytes, ...]:
        """Give these out. Nobody else has them, so the node keeps them."""
        for reference, package, stranger, last in zip(
            effect.references, effect.packages, effect.strangers, effect.last_resort, strict=True
        ):
            if reference in self._gone or reference in self._offers:
                continue
            data, lifetime = package.encode(), package.leaf_node.lifetime
            ends = 0 if lifetime is None else lifetime.not_after * 1000
            if last or self.mailboxes is None:
                self._put(reference, _Offer(data, stranger, last))
                if last and self.mailboxes is not None:
                    self.mailboxes.last_resort(reference, data, ends)
            elif not self.mailboxes.claim(reference, data, stranger=stranger, expires=ends):
                self._put(reference, _Offer(data, stranger, last))
        return ()

    def here(self, reference: bytes, data: bytes, stranger: bool) -> None:
        """One that no mailbox takes."""
        if reference not in self._gone and reference not in self._offers:
            self._put(reference, _Offer(data, stranger, last=False))

    def _put(self, reference: bytes, offer: _Offer) -> None:
        self._offers[reference] = offer
        self._more.set()
        self._more = trio.Event()

    async def take_back(self, references: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Those that nobody is given any more; the others are at mailboxes, which are asked to withdraw them."""
        async with self._giving:
            for each in references:
                self._offers.pop(each, None)
                self._forget(each)
        return references if self.mailboxes is None else self.mailboxes.take_back(references)

    def _forget(self, reference: bytes) -> None:
        self._gone[reference] = None
        while len(self._gone) > MOST_GONE:
            self._gone.popitem(last=False)

    def left(self) -> tuple[int, int]:
        """For contacts, and for strangers."""
        strangers = sum(each.stranger for each in self._offers.values())
        return len(self._offers) - strangers, strangers

    async def serve(self, asker: str, question: bytes) -> bytes:
        """Somebody asks for one."""
        if len(question) != len(VERSION) + 32 or question[:1] != VERSION:
            return NONE
        inbox = self._look().household.inbox
        contact = inbox is not None and hmac.compare_digest(question[1:], proof(inbox.raw, asker, self._mesh.me))
        if inbox is None or not self._may(asker, contact=contact):
            return NONE
        await self._stocked(contact=contact)
        async with self._giving:
            found = self._next(contact=contact)
            if found is None:
                return NONE
            reference, offer = found
            if offer.last:
                return GIVEN + offer.data  # it stays, so nothing is to be remembered
            self._together[contact].take(*TOGETHER[contact])
            del self._offers[reference]
            self._forget(reference)
            left = sum(not each.last for each in self._offers.values())
            await self._do(inputs.GivenOut(reference=reference, left=left))
            return GIVEN + offer.data

    async def _stocked(self, *, contact: bool) -> None:
        """Until there is something to give, or that takes too long."""
        if self._next(contact=contact) is not None or self._waiting >= MOST_WAITING:
            return
        self._waiting += 1
        try:
            with trio.move_on_after(PATIENCE):
                while self._next(contact=contact) is None:
                    await self._more.wait()
        finally:
            self._waiting -= 1

    def _next(self, *, contact: bool) -> tuple[bytes, _Offer] | None:
        fit = [(name, each) for name, each in self._offers.items() if contact or each.stranger]
        once = [item for item in fit if not item[1].last and self._together[contact].has(*TOGETHER[contact])]
        if contact:
            once.sort(key=lambda item: item[1].stranger)  # those for strangers last
        return next(iter(once or [item for item in self._offers.items() if item[1].last]), None)

    def _may(self, asker: str, *, contact: bool) -> bool:
        most, pause = PACE[contact]
        purse = self._purses.setdefault((asker, contact), _Purse(most, trio.current_time()))
        self._purses.move_to_end((asker, contact))
        while len(self._purses) > MOST_ASKERS:
            self._purses.popitem(last=False)
        return purse.take(most, pause)

    # ---------------------------------------------------------------- those of others

    async def fetch(self, account: AccountId, addresses: Sequence[bytes]) -> bytes | None:
        """A KeyPackage of somebody whose card names these places."""
        contact = self._look().book.find(account)
        card = None if contact is None else contact.card
        for data in addresses:
            place = place_of(data)
            if place is None or place.peer == self._mesh.me:
                continue
            if place.addresses:
                self._mesh.reach(place.peer, place.addresses)
            if place.tenant:
                found = None if self._take is None else await self._take(place.peer, place.tenant, place.grant)
                if found is not None:
                    return found
                continue
            shown = bytes(32) if card is None else proof(card.inbox.raw, self._mesh.me, place.peer)
            try:
                answer = await self._mesh.ask(place.peer, PROTOCOL, VERSION + shown, within=WITHIN)
            except self._failed:
                continue
            if answer[:1] == GIVEN and 1 < len(answer) <= 1 + MAX_PACKAGE:
                return answer[1:]
        return None
