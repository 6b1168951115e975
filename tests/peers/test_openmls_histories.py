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

FEW, MANY = 3, 9


class History:
    """A company, and what may happen to it next."""

    def __init__(self, company: Company, seed: object) -> None:
        self.company = company
        self.choice = random.Random(str(seed))
        self.names = (f"{self.choice.choice('ao')}{number}" for number in count())
        self.waiting = False
        self.exported: set[tuple[str, int]] = set()

    @property
    def members(self) -> list[str]:
        return [*self.company.ours, *self.company.theirs]

    def member(self) -> str:
        return self.choice.choice(self.members)

    def step(self) -> None:
        acts: list[Callable[[], None]] = [self.commit, self.propose, self.export]
        if not self.waiting:
            acts.append(self.say)
        if len(self.members) < MANY:
            acts += [self.add, self.join_externally]
        self.choice.choice(acts)()

    def data(self) -> bytes:
        return self.choice.randbytes(self.choice.choice([0, 1, 20, 63, 64, 300]))

    def proposals(self, by: str) -> list[Proposal]:
        found: list[Proposal] = []
        for component in (COMPONENT, OTHER):
            if self.choice.random() < 0.3:
                found.append(AppDataUpdate(component, self.data()))
            if self.choice.random() < 0.3:
                found.append(AppEphemeral(component, self.data()))
        if not self.waiting and len(self.members) > FEW and self.choice.random() < 0.4:
            other = self.choice.choice([name for name in self.members if name != by])
            found.append(Remove(self.company.leaf(other)))
        return found

    def commit(self) -> None:
        by = self.committer()
        self.company.commit(by, *self.proposals(by), force_path=self.choice.random() < 0.5)
        self.entered()

    def committer(self) -> str:
        """Whoever asked to leave cannot commit that."""
        leaving = {self.company.leaf(name) for name in self.members} & self.leaving()
        return self.choice.choice([name for name in self.members if self.company.leaf(name) not in leaving])

    def leaving(self) -> set[int]:
        group = next(iter(self.company.ours.values()))
        return {item.sender.index for item in group.proposals.values() if isinstance(item.proposal, SelfRemove)}

    def entered(self) -> None:
        self.waiting = False
        self.exported.clear()

    def propose(self) -> None:
        """One per epoch, so that any committer may carry it out with what it brings itself."""
        if self.waiting:
            return
        by = self.member()
        if len(self.company.ours) < 2 or len(self.company.theirs) < 2:
            self.company.propose(by, AppDataUpdate(COMPONENT, self.data()))
        else:
            what: Callable[[], object] = self.choice.choice(
                [
                    lambda: self.company.propose(by, SelfRemove()),
                    lambda: self.company.propose(by, Remove(self.company.leaf(self.somebody_else(by)))),
                    lambda: self.company.propose(by, AppDataUpdate(OTHER, self.data())),
                ]
            )
            what()
        self.waiting = True

    def somebody_else(self, than: str) -> str:
        """Not the last of its kind, and not the one who will commit."""
        return self.choice.choice([name for name in self.members if name != than])

    def say(self) -> None:
        self.company.say(self.member(), self.data())

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
        if not self.waiting:
            self.company.join_externally(next(self.names), self.member())
            self.entered()


def run(openmls: OpenMls, seed: int, steps: int) -> None:
    listed = {APP_COMPONENTS: ComponentsList.of([COMPONENT, OTHER]).encode()}
    company = Company.of_both(
        openmls, BOTH[seed % 2], public=True, components={COMPONENT: b"", **listed}, leaf_components=listed
    )
    company.add(BOTH[0], "a", "o")
    history = History(company, seed)
    for _ in range(steps):
        history.step()
    company.commit(history.committer(), force_path=True)
    for name in history.members:
        company.say(name, name.encode())


@pytest.mark.parametrize("seed", range(4))
def test_history(openmls: OpenMls, seed: int) -> None:
    run(openmls, seed, 60)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 140))
def test_long_history(openmls: OpenMls, seed: int) -> None:
    run(openmls, seed, 600)
