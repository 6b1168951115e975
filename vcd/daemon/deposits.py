"""KeyPackages that mailboxes hand out for us.

Each KeyPackage is given out in one place: by this device (`vcd.daemon.packages`), or by one mailbox. Which one follows
from its reference, in equal shares. The one of last resort is given to many anyway, so it is here and at each mailbox.
`boxes` comes by with each mailbox that is connected:

    deposit     that it goes there is on disk before it is asked for. If the answer is lost it is asked for again,
                there and nowhere else. When the mailbox has it, the node is told (`Offered`). What the mailbox does not
                take, and what it was never asked to take as it is away, is given out here until the next start
    hand-outs   what a mailbox says that it handed out, the node is told (`GivenOut`)
    withdraw    one that was taken back is withdrawn before the node is told (`TakenBack`); if it was not waiting any
                more, somebody has it, and the node is told that first: its keys stay
    last resort the newest replaces the one before, whichever device of the account left that. It is there from one
                start of this device to the next; the mailbox knows what it has already

What is at a mailbox that the settings do not name any more counts as handed out: nobody can tell. So does what was at
one whose file is another one now (`Status.file`): it lost its disk, or an older state of it was put back. The node
makes new ones.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgpack
import trio

from transport.base import Milliseconds, PeerId
from transport.mailbox.bodies import Deposited, Package, PackageId, Stock
from transport.mailbox.client import Declined, MailboxClient
from transport.mailbox.records import grant
from transport.mailbox.wire import Failure
from transport.signing import SigningKey
from vcd.core import inputs
from vcd.daemon import facts
from vcd.daemon.facts import Changes, Facts

log = logging.getLogger("vcd.boxes")

LOOK: Final = 60.0
"""Seconds from one look at a mailbox's hand-outs to the next."""
MOST_ROWS: Final = 20_000
MOST_CARDS: Final = 7
"""Mailboxes that a card names, beside the device."""
COUNT: Final = 64
"""KeyPackages that holders of one card may take at each mailbox, together."""
INTERVAL: Final = 10
"""Seconds from one of them to the next."""
PATIENCE: Final = 60.0
"""Seconds that a mailbox may be away before what it was to have is given out here."""
GRANTED: Final = 365 * 24 * 3600 * 1000


class Owner(Protocol):
    @property
    def facts(self) -> Facts: ...
    async def do(self, command: inputs.Input | None, *, keep: Changes | None = None) -> object: ...
    def answer(self, given: inputs.Input) -> None: ...


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where one is, as it is remembered."""

    peer: PeerId
    package: PackageId
    expires: int


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One that is to go to a mailbox."""

    peer: PeerId
    data: bytes = field(repr=False)
    stranger: bool
    expires: int
    since: float


def assigned(kept: Facts) -> dict[bytes, Assigned]:
    """By reference."""
    return {
        reference: Assigned(PeerId(peer), PackageId(package), expires)
        for reference, value in facts.of(kept, facts.DEPOSIT)
        for peer, package, expires in [msgpack.unpackb(value)]
    }


def allowance(key: SigningKey, now: int, random_bytes: Callable[[int], bytes]) -> bytes:
    """What a card shows mailboxes: whoever has it may take some, as a contact."""
    ends = Milliseconds(now + GRANTED)
    return grant(key, random_bytes(16), holder=None, count=COUNT, interval=INTERVAL, expires=ends)


class Deposits:
    """See above."""

    def __init__(
        self,
        *,
        mailboxes: Callable[[], frozenset[PeerId]],
        kept: Callable[[], Facts],
        here: Callable[[bytes, bytes, bool], None],
    ) -> None:
        """`here`: give this one out on this device after all: its reference, itself, whether it is for strangers."""
        self._mailboxes = mailboxes
        self._kept = kept
        self._here = here
        self._waiting: dict[bytes, _Waiting] = {}
        self._going: set[bytes] = set()
        self._last: tuple[bytes, Package] | None = None
        self._last_at: dict[PeerId, Package] = {}
        """What was left there as the last resort in this run."""
        self._recognized: set[PeerId] = set()
        self._after: dict[PeerId, int] = {}
        self._look_at: dict[PeerId, float] = {}

    # ---------------------------------------------------------------- for the room of packages

    def claim(self, reference: bytes, data: bytes, *, stranger: bool, expires: int) -> bool:
        """Whether a mailbox gives this one out, or is to."""
        before = assigned(self._kept()).get(reference)
        if before is not None:
            peer = before.peer
        else:
            places = [None, *sorted(self._mailboxes())]
            chosen = places[hashlib.sha256(reference).digest()[0] % len(places)]
            if chosen is None:
                return False
            peer = chosen
        self._waiting[reference] = _Waiting(peer, data, stranger, expires, trio.current_time())
        return True

    def last_resort(self, reference: bytes, data: bytes, expires: int) -> None:
        """The one that mailboxes give when they have nothing else; to contacts too, who ask as strangers then."""
        package = Package(stock=Stock.STRANGERS | Stock.LASTING, expires=Milliseconds(expires), data=data)
        self._last = reference, package

    def take_back(self, references: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those of them that no mailbox has, so that nobody is given them from now on.

        That of last resort is among them while a mailbox still has it: many may have it anyway.
        """
        there = assigned(self._kept())
        for each in references:
            self._waiting.pop(each, None)
            if self._last is not None and self._last[0] == each:
                self._last = None
        self._going.update(each for each in references if each in there)
        return tuple(each for each in references if each not in there)

    # ---------------------------------------------------------------- for the room of mailboxes

    async def tend(self, peer: PeerId, client: MailboxClient, owner: Owner, *, anew: bool) -> None:
        """Bring one mailbox to where the node is. `anew`: it may not be as it was left."""
        if anew:
            self._after.pop(peer, None)
            self._look_at.pop(peer, None)
            self._last_at.pop(peer, None)
            self._recognized.discard(peer)
        if peer not in self._recognized:
            await self._recognize(peer, client, owner)
            self._recognized.add(peer)
        mine = sorted(name for name, each in self._waiting.items() if each.peer == peer)
        for reference in mine:
            await self._deposit(reference, client, owner)
        if self._going or trio.current_time() >= self._look_at.get(peer, 0.0):
            await self._handed_out(peer, client, owner)
            self._look_at[peer] = trio.current_time() + LOOK
        there = assigned(owner.facts)
        for reference in sorted(self._going):
            found = there.get(reference)
            if found is None:
                self._going.discard(reference)
                owner.answer(inputs.TakenBack(references=(reference,)))
            elif found.peer == peer:
                if not await client.withdraw([found.package]):
                    await owner.do(inputs.GivenOut(reference=reference, left=0))
                await owner.do(inputs.TakenBack(references=(reference,)), keep={facts.deposit(reference): None})
                self._going.discard(reference)
        await self._leave_last(peer, client)

    async def _recognize(self, peer: PeerId, client: MailboxClient, owner: Owner) -> None:
        """If its file is another one, nobody can tell what the one before handed out."""
        row, file = facts.box(peer), facts.packed((await client.status()).file)
        known = owner.facts.find(row)
        if known == file:
            return
        if known is not None:
            log.warning("a mailbox has lost what was left there, or an older state of it was put back")
            for reference, each in sorted(assigned(owner.facts).items()):
                if each.peer == peer:
                    self._waiting.pop(reference, None)
                    await self._gone(reference, owner)
        await owner.do(None, keep={row: file})

    async def _leave_last(self, peer: PeerId, client: MailboxClient) -> None:
        there = self._last_at.get(peer)
        if self._last is None:
            if there is not None:
                await client.withdraw([there.id])
                del self._last_at[peer]
        elif there != self._last[1]:
            package = self._last[1]
            await client.deposit([package])  # if there is no room for it, there may be at the next look
            self._last_at[peer] = package

    async def _deposit(self, reference: bytes, client: MailboxClient, owner: Owner) -> None:
        waiting = self._waiting.get(reference)
        if waiting is None:
            return
        stock = Stock.STRANGERS if waiting.stranger else Stock.CONTACTS
        package = Package(stock=stock, expires=Milliseconds(waiting.expires), data=waiting.data)
        row = facts.deposit(reference)
        known = reference in assigned(owner.facts)
        if not known:
            await owner.do(None, keep={row: msgpack.packb([waiting.peer, package.id, waiting.expires])})
            if reference not in self._waiting:  # taken back, or given out here, before it was on its way
                await owner.do(None, keep={row: None})
                return
        try:
            (outcome,) = await client.deposit([package])
        except Declined as declined:
            if declined.failure is Failure.NOT_FOUND and not known:  # we are no tenant, so it is not there
                await self._back(reference, owner)
            raise
        if reference not in self._waiting:
            return  # taken back meanwhile, and it is withdrawn next
        if outcome in {Deposited.TAKEN, Deposited.KNOWN}:
            await owner.do(inputs.Offered(references=(reference,)))
            self._waiting.pop(reference, None)
        else:
            await self._back(reference, owner)

    async def _back(self, reference: bytes, owner: Owner) -> None:
        await owner.do(None, keep={facts.deposit(reference): None})
        waiting = self._waiting.pop(reference, None)
        if waiting is not None:
            self._here(reference, waiting.data, waiting.stranger)

    async def _handed_out(self, peer: PeerId, client: MailboxClient, owner: Owner) -> None:
        names = {each.package: name for name, each in assigned(owner.facts).items() if each.peer == peer}
        after, seen = self._after.get(peer, 0), 0
        while names and seen < MOST_ROWS:
            rows = [each for each in await client.handouts(after) if each.number > after]
            if not rows:
                break
            for row in rows:
                reference = names.pop(row.package, None)
                if reference is not None and reference not in self._waiting:
                    await self._gone(reference, owner)
            after, seen = max(each.number for each in rows), seen + len(rows)
        self._after[peer] = after

    async def _gone(self, reference: bytes, owner: Owner) -> None:
        """Somebody has it, or may."""
        await owner.do(inputs.GivenOut(reference=reference, left=0), keep={facts.deposit(reference): None})
        if reference in self._going:
            self._going.discard(reference)
            owner.answer(inputs.TakenBack(references=(reference,)))

    async def forget(self, owner: Owner, now: int) -> None:
        """What is at no mailbox of the settings any more, or past its time."""
        named = self._mailboxes()
        for reference, each in sorted(assigned(owner.facts).items()):
            if each.expires < now:
                await owner.do(None, keep={facts.deposit(reference): None})
            elif each.peer not in named:
                self._waiting.pop(reference, None)
                await self._gone(reference, owner)
        late = trio.current_time() - PATIENCE
        self._give_here(lambda each: each.peer not in named or each.since < late)

    def refused(self, peer: PeerId) -> None:
        """A mailbox does not know us."""
        self._give_here(lambda each: each.peer == peer)

    def _give_here(self, which: Callable[[_Waiting], bool]) -> None:
        """What no mailbox was asked to take yet."""
        asked = assigned(self._kept())
        for reference in sorted(name for name, each in self._waiting.items() if which(each) and name not in asked):
            waiting = self._waiting.pop(reference)
            self._here(reference, waiting.data, waiting.stranger)
