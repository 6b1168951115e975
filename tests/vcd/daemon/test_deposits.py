"""KeyPackages at a mailbox: each is given out in one place, whatever is lost on the way. A real mailbox, in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from mls.persistent import PMap
from tests.transport.mailbox.rig import BOX, DAY, NOW, SECOND_TENANT, TENANT, Rig, running
from transport.base import AskFailed, PeerId
from transport.mailbox import packages
from transport.mailbox.client import Declined, MailboxClient
from transport.mailbox.tenants import Tenant
from vcd.core import inputs
from vcd.daemon import facts
from vcd.daemon.deposits import Deposits, allowance, assigned
from vcd.daemon.facts import Changes, Facts
from vcd.daemon.packages import address, place_of

DATA = {bytes([number]) * 32: bytes([number]) * 300 for number in range(12)}
ENDS = NOW + 30 * DAY


@dataclass
class Owner:
    """Remembers what the node is told; rows are as on a disk."""

    facts: Facts = field(default_factory=PMap)
    told: list[inputs.Input] = field(default_factory=list)
    full: bool = False

    async def do(self, command: inputs.Input | None, *, keep: Changes | None = None) -> None:
        if self.full and command is not None:
            raise OSError("the disk is full")
        self.facts = facts.changed(self.facts, keep or {})
        if command is not None:
            self.told.append(command)

    def answer(self, given: inputs.Input) -> None:
        self.told.append(given)

    def offered(self) -> list[bytes]:
        return sorted(name for each in self.told if isinstance(each, inputs.Offered) for name in each.references)


@dataclass
class Desk:
    """One device and one mailbox."""

    rig: Rig
    owner: Owner = field(default_factory=Owner)
    mailboxes: frozenset[PeerId] = frozenset({BOX})
    here: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """As after a start: only what is on disk is left."""
        self.here.clear()
        self.deposits = Deposits(
            mailboxes=lambda: self.mailboxes,
            kept=lambda: self.owner.facts,
            here=lambda reference, _data, _stranger: self.here.append(reference),
        )

    def offer(self, references: Sequence[bytes] = tuple(DATA)) -> list[bytes]:
        """Those that a mailbox is to have."""
        claim = self.deposits.claim
        return [each for each in references if claim(each, DATA[each], stranger=False, expires=ENDS)]

    async def tend(self, client: MailboxClient | None = None, *, anew: bool = True) -> None:
        await self.deposits.tend(BOX, client or self.rig.tenant, self.owner, anew=anew)

    async def taken(self) -> bytes:
        got = await self.rig.stranger.take(
            TENANT.public, allowance(TENANT, self.rig.clock(), self.rig.random.randbytes)
        )
        return got.data[:32]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with _desk(tmp_path) as found:
        yield found


@asynccontextmanager
async def _desk(path: Path) -> AsyncIterator[Desk]:
    async with running(path / "box") as rig:
        yield Desk(rig)


async def test_each_is_in_one_place(desk: Desk) -> None:
    there = desk.offer()
    assert 0 < len(there) < len(DATA)
    assert desk.owner.offered() == []  # not before the mailbox has them
    await desk.tend()
    assert desk.owner.offered() == sorted(there)
    assert (await desk.rig.tenant.status()).for_contacts == len(there)
    desk.begin()
    assert desk.offer() == there  # the same again, should the node not have heard
    assert desk.here == []


async def test_an_answer_that_is_lost_makes_no_second_place(desk: Desk) -> None:
    await desk.tend()
    there = desk.offer()
    desk.rig.town.lose_answers = 1
    with pytest.raises(AskFailed):
        await desk.tend(anew=False)
    first = set(assigned(desk.owner.facts))
    assert len(first) == 1
    desk.begin()
    desk.mailboxes = frozenset({BOX, PeerId("another")})  # by which others would go elsewhere
    assert first <= set(desk.offer(sorted(first)))
    desk.deposits.refused(BOX)
    assert desk.here == []  # it may be there
    await desk.tend()
    assert desk.owner.offered() == sorted(first)
    assert first <= set(there)


async def test_a_full_disk_loses_none(desk: Desk) -> None:
    """What a mailbox has is told when there is room again, in the same run."""
    there = desk.offer()
    desk.owner.full = True
    with pytest.raises(OSError, match="full"):
        await desk.tend()
    desk.owner.full = False
    await desk.tend()
    assert desk.owner.offered() == sorted(there)


async def test_what_was_handed_out_is_told_once(desk: Desk) -> None:
    desk.offer()
    await desk.tend()
    taken = await desk.taken()
    desk.owner.told.clear()
    await desk.tend()
    await desk.tend()
    assert desk.owner.told == [inputs.GivenOut(reference=taken, left=0)]
    assert taken not in assigned(desk.owner.facts)


async def test_what_somebody_has_is_not_taken_back_before_that_is_told(desk: Desk) -> None:
    there = desk.offer()
    await desk.tend()
    taken = await desk.taken()
    other = next(each for each in there if each != taken)
    desk.owner.told.clear()
    assert desk.deposits.take_back([taken, other, b"of nobody"]) == (b"of nobody",)
    await desk.tend()
    back = [inputs.TakenBack(references=(each,)) for each in (taken, other)]
    assert desk.owner.told[:2] == [inputs.GivenOut(reference=taken, left=0), back[0]]
    assert desk.owner.told[2:] == [back[1]]
    assert (await desk.rig.tenant.status()).for_contacts == len(there) - 2


async def test_a_mailbox_that_does_not_know_us_gets_none(desk: Desk) -> None:
    await desk.rig.mailbox.list_tenants([Tenant(key=SECOND_TENANT.public)])
    there = desk.offer()
    with pytest.raises(Declined):
        await desk.tend()
    desk.deposits.refused(BOX)
    assert sorted(desk.here) == sorted(there)
    assert not assigned(desk.owner.facts)


async def test_what_is_at_a_mailbox_that_is_named_no_more_counts_as_given(desk: Desk) -> None:
    there = desk.offer()
    await desk.tend()
    desk.owner.told.clear()
    desk.mailboxes = frozenset()
    await desk.deposits.forget(desk.owner, NOW)
    assert desk.owner.told == [inputs.GivenOut(reference=each, left=0) for each in sorted(there)]
    assert not assigned(desk.owner.facts)


async def test_what_a_mailbox_lost_counts_as_given(desk: Desk) -> None:
    """What it handed out before it lost its disk, nobody knows: none of it is left there again."""
    there = desk.offer()
    await desk.tend()
    taken = await desk.taken()
    desk.owner.told.clear()
    for statement in ("DELETE FROM package", "DELETE FROM handout", "UPDATE file SET name = 7"):
        await desk.rig.store.run(partial(_done, statement=statement))
    desk.begin()
    left = [each for each in there if each != taken]
    assert set(desk.offer(left[:1])) == {left[0]}  # the node had not heard that it was there
    await desk.tend()
    assert desk.owner.told == [inputs.GivenOut(reference=each, left=0) for each in sorted(there)]
    assert not assigned(desk.owner.facts)
    assert (await desk.rig.tenant.status()).for_contacts == 0
    desk.owner.told.clear()
    await desk.tend()
    assert desk.owner.told == []
    assert desk.offer(left[:1]) == left[:1]  # one that is new to both, for all that they know
    await desk.tend()
    assert desk.owner.offered() == left[:1]


async def test_a_mailbox_that_was_put_back_is_left_new_ones(desk: Desk) -> None:
    there = desk.offer()
    await desk.tend()
    desk.owner.told.clear()
    await desk.rig.store.run(partial(packages.burn_all, now=desk.rig.clock()))
    await desk.tend()
    assert desk.owner.told == [inputs.GivenOut(reference=each, left=0) for each in sorted(there)]


async def test_the_last_resort_is_at_mailboxes_too(desk: Desk) -> None:
    shown = allowance(TENANT, desk.rig.clock(), desk.rig.random.randbytes)

    async def given(grant: bytes) -> bytes:
        got = await desk.rig.stranger.take(TENANT.public, grant)
        assert got.last_resort
        return got.data

    desk.deposits.last_resort(b"first", b"1" * 300, ENDS)
    await desk.tend()
    assert await given(b"") == b"1" * 300
    with pytest.raises(Declined):
        await given(shown)  # and then they ask as strangers, who are paced each by each
    desk.begin()
    desk.deposits.last_resort(b"first", b"1" * 300, ENDS)
    await desk.tend()
    assert (await desk.rig.tenant.status()).lasting == 1  # known, so nothing was done
    assert desk.deposits.take_back([b"first"]) == (b"first",)
    desk.deposits.last_resort(b"second", b"2" * 300, ENDS)
    await desk.tend(anew=False)
    assert (await desk.rig.tenant.status()).lasting == 1
    desk.deposits.take_back([b"second"])
    await desk.tend(anew=False)
    assert (await desk.rig.tenant.status()).lasting == 0
    assert not assigned(desk.owner.facts)
    assert desk.owner.told == []


def _done(db: sqlite3.Connection, statement: str) -> None:
    db.execute(statement)


def test_a_place_at_a_mailbox_reads_as_it_was_written() -> None:
    shown = allowance(TENANT, NOW, bytes)
    said = address(BOX, ["/ip4/192.0.2.7/tcp/4001"] * 9, TENANT.public, shown)
    assert len(said) <= 512
    place = place_of(said)
    assert place is not None
    assert (place.peer, place.tenant, place.grant) == (BOX, TENANT.public, shown)
    assert place_of(address(BOX, [], TENANT.public, shown[1:])) is None
    assert place_of(address(BOX, [], TENANT.public)) is None
