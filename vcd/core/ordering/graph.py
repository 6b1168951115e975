"""Which epochs a group has, and what each commit did: headers only, from the last final epoch on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from mls.persistent import PMap
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, EpochId, Incarnation

NOBODY = Incarnation(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member as one Add made it."""

    incarnation: Incarnation
    account: AccountId
    since: int
    leaf: int
    admin: bool
    key: bytes = b""
    """What its leaf signs with there, so that headers and votes are checked by headers alone."""
    by: Incarnation = NOBODY
    """Who brought it in; empty for who began the group."""
    acted: bool = False
    """Whether it was there in the beginning, or made a commit since: who did not may never have come."""

    @property
    def rank(self) -> tuple[bool, int, int, bytes]:
        """Lower is senior."""
        return (not self.admin, self.since, self.leaf, self.incarnation)

    def after(self, leaf: int, admin: bool, key: bytes, acted: bool) -> Member:
        """As a step leaves it: mostly the same one, so that many steps do not need many of each."""
        if (leaf, admin, key, acted) == (self.leaf, self.admin, self.key, self.acted):
            return self
        return replace(self, leaf=leaf, admin=admin, key=key, acted=acted)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListShown:
    """A device list that shuts somebody out of an account."""

    account: AccountId
    version: int
    revokes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a commit does."""

    epoch: EpochId
    parent: EpochId
    author: Incarnation
    adds: tuple[Member, ...] = ()
    removes: tuple[Incarnation, ...] = ()
    moved: tuple[tuple[Incarnation, int], ...] = ()
    keys: tuple[tuple[Incarnation, bytes], ...] = ()
    """The new signature keys of those who stay."""
    tag: bytes = b""
    lists: tuple[ListShown, ...] = ()
    under: int = 0
    admins: tuple[AccountId, ...] | None = None
    root: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """Where a graph begins; final by definition."""

    epoch: EpochId
    number: int
    members: tuple[Member, ...]
    tag: bytes = b""
    """Its confirmation tag, if that is known: who is shown a way there knows by it that this is the epoch."""


@dataclass(frozen=True, slots=True)
class Graph:
    """See above."""

    anchor: Anchor
    steps: PMap[EpochId, Step] = field(default_factory=PMap)
    rosters: PMap[EpochId, tuple[Member, ...]] = field(default_factory=PMap)
    numbers: PMap[EpochId, int] = field(default_factory=PMap)
    dismissed: PMap[EpochId, frozenset[Incarnation]] = field(default_factory=PMap)
    """Whom ordered steps remove, from each epoch on: none of them has to agree to it, nor to what comes before."""
    below: PMap[EpochId, tuple[EpochId, ...]] = field(default_factory=PMap)

    def has(self, epoch: EpochId) -> bool:
        return epoch == self.anchor.epoch or epoch in self.steps

    def parent(self, epoch: EpochId) -> EpochId | None:
        step = self.steps.find(epoch)
        return None if step is None else step.parent

    def children(self, epoch: EpochId) -> tuple[EpochId, ...]:
        return self.below.find(epoch) or ()

    def number(self, epoch: EpochId) -> int:
        return self.anchor.number if epoch == self.anchor.epoch else self.numbers[epoch]

    def tag(self, epoch: EpochId) -> bytes:
        return self.anchor.tag if epoch == self.anchor.epoch else self.steps[epoch].tag

    def tagged(self, tag: bytes, number: int) -> EpochId | None:
        """The epoch of that number with that confirmation tag."""
        several = (self.anchor.epoch, *sorted(self.steps))
        return next((each for each in several if tag == self.tag(each) and number == self.number(each)), None)

    def members(self, epoch: EpochId) -> tuple[Member, ...]:
        return self.anchor.members if epoch == self.anchor.epoch else self.rosters[epoch]

    def up(self, epoch: EpochId) -> Iterator[EpochId]:
        at: EpochId | None = epoch
        while at is not None:
            yield at
            at = self.parent(at)

    def path(self, to: EpochId, since: EpochId | None = None) -> tuple[EpochId, ...]:
        """The epochs after `since` (the anchor) up to `to`."""
        start = self.anchor.epoch if since is None else since
        found: list[EpochId] = []
        for each in self.up(to):
            if each == start:
                return tuple(reversed(found))
            found.append(each)
        raise Misuse("no-path", "the one is no ancestor of the other")

    def is_ancestor(self, a: EpochId, b: EpochId) -> bool:
        """Whether a is b, or an epoch that b stands on."""
        if not self.has(a) or not self.has(b):
            return False
        if a == self.anchor.epoch:
            return True
        floor = self.number(a)
        for each in self.up(b):
            if each == a:
                return True
            if self.number(each) <= floor:
                return False
        return False

    def anew(self, epoch: EpochId) -> frozenset[AccountId]:
        """Whom a step takes out and brings in at once: by what they were in before it, perhaps nobody was there."""
        step = self.steps.find(epoch)
        if step is None or not step.adds or not step.removes:
            return frozenset()
        removed = frozenset(step.removes)
        gone = {each.account for each in self.members(step.parent) if each.incarnation in removed}
        return frozenset(each.account for each in step.adds if each.account in gone)

    def returns(self, epoch: EpochId) -> bool:
        """Whether somebody is back by a step who was a member before it, and could not read."""
        step = self.steps.find(epoch)
        return step is not None and bool(step.moved or self.anew(epoch))

    def with_step(self, step: Step) -> Graph:
        if not self.has(step.parent):
            raise Misuse("no-parent", "the epoch that this ends is not known")
        if self.has(step.epoch):
            return self
        gone, moved, keys = set(step.removes), dict(step.moved), dict(step.keys)
        stay = [
            each.after(
                moved.get(each.incarnation, each.leaf),
                each.admin if step.admins is None else each.account in step.admins,
                keys.get(each.incarnation, each.key),
                each.acted or each.incarnation == step.author,
            )
            for each in self.members(step.parent)
            if each.incarnation not in gone
        ]
        roster = tuple(sorted([*stay, *step.adds], key=lambda each: each.rank))
        dismissed = self.dismissed
        if step.root:
            for at in chain((step.epoch,), self.up(step.parent)):
                known = dismissed.find(at)
                if known is not None and gone <= known:  # and so at all that this stands on
                    break
                dismissed = dismissed.set(at, frozenset(gone) if known is None else known | gone)
        siblings = tuple(sorted([*self.children(step.parent), step.epoch]))
        return replace(
            self,
            steps=self.steps.set(step.epoch, step),
            rosters=self.rosters.set(step.epoch, roster),
            numbers=self.numbers.set(step.epoch, self.number(step.parent) + 1),
            dismissed=dismissed,
            below=self.below.set(step.parent, siblings),
        )

    def standing_on(self, epoch: EpochId) -> tuple[EpochId, ...]:
        """An epoch and all that stands on it, parents first."""
        found = [epoch]
        for each in found:
            found += self.children(each)
        return tuple(found)

    def corrected(self, step: Step) -> Graph:
        """With this step in the place of one that somebody made up under its name.

        What stands on it stays, if those who are named there are members then, and who made it has the key by which
        that was checked.
        """
        line = self.standing_on(step.epoch)
        if step.parent in line:
            return self  # it would stand on itself
        graph = self.without(frozenset(line)).with_step(step)
        for old in (self.steps[each] for each in line[1:]):
            if graph.has(old.parent) and graph.fits(old) and graph.key(old) == self.key(old):
                graph = graph.with_step(old)
        return graph

    def key(self, step: Step) -> bytes | None:
        """What the author of a step signs with before it; None who comes in by it."""
        return next((each.key for each in self.members(step.parent) if each.incarnation == step.author), None)

    def fits(self, step: Step) -> bool:
        """Whether those whom a step names are members before it."""
        members, number = {each.incarnation for each in self.members(step.parent)}, self.number(step.parent) + 1
        named = (*step.removes, *(who for who, _ in step.moved), *(who for who, _ in step.keys))
        made = step.author in members or any(each.incarnation == step.author for each in step.adds)
        return made and members.issuperset(named) and all(each.since == number for each in step.adds)

    def dismissing(self, counts: frozenset[EpochId]) -> Graph:
        """With the orders of steps that count alone: a header says of itself that it is one, and anybody may."""
        if not self.dismissed:
            return self
        dismissed: dict[EpochId, frozenset[Incarnation]] = {}
        orders = [step for step in self.steps.values() if step.root and step.epoch in counts]
        for step in orders:
            gone = frozenset(step.removes)
            for at in self.up(step.epoch):
                known = dismissed.get(at)
                if known is not None and gone <= known:
                    break
                dismissed[at] = gone if known is None else known | gone
        return replace(self, dismissed=PMap(dismissed))

    def without(self, gone: frozenset[EpochId]) -> Graph:
        """Without some steps, of which all goes that stands on them."""
        parents = {self.steps[each].parent for each in gone} - gone
        below = {at: tuple(each for each in self.children(at) if each not in gone) for at in parents}
        ends = [at for at in (*sorted(gone), *sorted(parents)) if at in self.below and not below.get(at)]
        graph = replace(
            self,
            steps=self.steps.changed(sorted(gone), {}),
            rosters=self.rosters.changed(sorted(gone), {}),
            numbers=self.numbers.changed(sorted(gone), {}),
            below=self.below.changed(ends, {at: several for at, several in below.items() if several}),
        )
        return graph.dismissing(frozenset(graph.steps)) if any(self.steps[each].root for each in gone) else graph

    def rebased(self, final: EpochId) -> tuple[Graph, tuple[EpochId, ...]]:
        """From a final epoch on, and what does not descend from it."""
        anchor = Anchor(epoch=final, number=self.number(final), members=self.members(final), tag=self.tag(final))
        graph = Graph(anchor)
        todo = [*self.children(final)]
        while todo:
            at = todo.pop(0)
            graph = graph.with_step(self.steps[at])
            todo += self.children(at)
        return graph, tuple(sorted(each for each in self.steps if not graph.has(each)))
