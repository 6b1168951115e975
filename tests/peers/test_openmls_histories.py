"""Our MLS and OpenMLS in one group: long random histories, in which everybody does everything.

The other modules put one thing at a time. Here members join and leave in all ways, propose and commit by turns, and
change the group's data, in an order that a seed picks; after each commit everybody holds the same epoch, and at the end
everybody has heard everybody.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

import pytest

from mls.components.lists import ComponentsList
from mls.components.numbers import APP_COMPONENTS
from mls.proposals import AppDataUpdate, AppEphemeral, Proposal, Remove, SelfRemove
from tests.peers import launch
from tests.peers.openmls_company import BOTH, COMPONENT, OTHER, Company
from tests.peers.openmls_peer import OpenMls

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 600),
]

MANY = 9


class History:
    """A company, and what may happen to it next."""

    def __init__(self, company: Company, seed: object) -> None:
        self.company = company
        self.choice = random.Random(str(seed))
        self.names = (f"{self.choice.choice('ao')}{number}" for number in count())
        self.entered()

    def entered(self) -> None:
        """An epoch begins: no proposal waits, nobody is leaving, no secret was exported."""
        self.waiting = False
        self.leaving: str | None = None
        self.exported: set[tuple[str, int]] = set()

    @property
    def members(self) -> list[str]:
        return [*self.company.ours, *self.company.theirs]

    def member(self, *, but: str | None = None) -> str:
        return self.choice.choice([name for name in self.members if name != but])

    def committer(self) -> str:
        """Nobody can commit their own removal."""
        return self.member(but=self.leaving)

    def may_leave(self, *, but: str | None = None) -> list[str]:
        """There stay some of either make, enough to go on."""
        return [
            name for side in (self.company.ours, self.company.theirs) if len(side) > 2 for name in side if name != but
        ]

    def data(self) -> bytes:
        return self.choice.randbytes(self.choice.choice([0, 1, 20, 63, 64, 300]))

    def step(self) -> None:
        acts: list[Callable[[], None]] = [self.commit, self.export]
        if not self.waiting:
            acts += [self.say, self.propose]
        if len(self.members) < MANY:
            acts.append(self.add)
            if not self.waiting:
                acts.append(self.join_externally)
        self.choice.choice(acts)()

    def brought(self, by: str) -> list[Proposal]:
        """What a committer adds of its own."""
        found: list[Proposal] = []
        for component in (COMPONENT, OTHER):
            if self.choice.random() < 0.3:
                found.append(AppDataUpdate(component, self.data()))
            if self.choice.random() < 0.3:
                found.append(AppEphemeral(component, self.data()))
        others = self.may_leave(but=by)
        if others and not self.waiting and self.choice.random() < 0.4:
            found.append(Remove(self.company.leaf(self.choice.choice(others))))
        return found

    def commit(self) -> None:
        by = self.committer()
        self.company.commit(by, *self.brought(by), force_path=self.choice.random() < 0.5)
        self.entered()

    def propose(self) -> None:
        """One proposal per epoch: it fits beside whatever a committer brings."""
        by = self.member()
        self.waiting = True
        act = self.choice.randrange(5)
        if act == 0 and by in self.may_leave() and (self.company.made.public or by in self.company.ours):
            self.company.propose(by, SelfRemove())
            self.leaving = by
        elif act == 1 and self.may_leave(but=by):
            self.leaving = self.choice.choice(self.may_leave(but=by))
            self.company.propose(by, Remove(self.company.leaf(self.leaving)))
        elif act == 2:
            self.company.propose_update(by)
            self.leaving = by  # nor can one commit one's own Update
        elif act == 3 and by in self.company.ours:
            self.company.propose(by, AppEphemeral(COMPONENT, self.data()))
        else:
            self.company.propose(by, AppDataUpdate(OTHER, self.data()))

    def say(self) -> None:
        self.company.say(self.member(), self.data(), authenticated_data=self.data())

    def export(self) -> None:
        component = self.choice.choice([1, COMPONENT, OTHER, 0xFFFF])
        secrets = set()
        for name in self.members:
            if (name, component) not in self.exported:
                self.exported.add((name, component))
                secrets.add(self.company.safe_export(name, component))
        assert len(secrets) <= 1

    def add(self) -> None:
        self.company.add(self.committer(), next(self.names))
        self.entered()

    def join_externally(self) -> None:
        self.company.join_externally(next(self.names), self.member())
        self.entered()


def run(openmls: OpenMls, seed: int, steps: int) -> None:
    listed = {APP_COMPONENTS: ComponentsList.of([COMPONENT, OTHER]).encode()}
    company = Company.of_both(
        openmls, BOTH[seed % 2], public=seed % 4 < 2, components={COMPONENT: b"", **listed}, leaf_components=listed
    )
    company.add(BOTH[0], "a", "o")
    history = History(company, seed)
    for _ in range(steps):
        history.step()
    company.commit(history.committer(), force_path=True)
    assert company.ours
    assert company.theirs
    for name in history.members:
        company.say(name, name.encode())


@pytest.mark.parametrize("seed", range(4))
def test_history(openmls: OpenMls, seed: int) -> None:
    run(openmls, seed, 60)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
def test_long_history(openmls: OpenMls, seed: int) -> None:
    run(openmls, seed, 600)
