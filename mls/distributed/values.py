"""draft-xue-distributed-mls-02 §2 and §4.2: a DMLS Session as a value, and what the calls on it give back.

A `Session` never changes. Every call gives the next one, and a call that raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mls.components.numbers import Numbers
from mls.distributed.errors import EpochName
from mls.distributed.imports import Known
from mls.distributed.send_group import SendGroup
from mls.errors import CallerError
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.parameters import Parameters
from mls.registries import Epoch, GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Limits of one client in one DGroup. Members need not agree on them."""

    kept_epochs: int = 1024
    """How many epochs of one send group are kept for members who may still take them up. One who takes up an older one
    is lost to us."""
    late_epochs: int = 8
    """How many ended epochs of each send group still read late messages."""
    max_invited: int = 64
    """How many newcomers whom others added wait for our own commit to add them."""

    def __post_init__(self) -> None:
        if self.kept_epochs < 1 or self.late_epochs < 0 or self.max_invited < 0:
            raise CallerError(
                "a limit is too low", "keep one epoch at least; no late epochs and no invited newcomers are possible"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one member of a DGroup knows."""

    parameters: Parameters
    settings: Settings
    dgroup_id: bytes
    own: SendGroup
    others: Mapping[GroupId, SendGroup]
    """The send groups that we follow."""
    invited: Mapping[GroupId, KeyPackage] = field(default_factory=dict)
    """Newcomers whom somebody else added; our next commit does."""
    dropped: Mapping[GroupId, EpochName] = field(default_factory=dict)
    """Members whom somebody removed, each with an epoch without it: who takes that one up knows of the removal. They
    do not come back."""
    forgotten: frozenset[GroupId] = frozenset()
    """Those of them whose send groups we follow no more."""

    @property
    def numbers(self) -> Numbers:
        return self.parameters.components.numbers

    @property
    def groups(self) -> dict[GroupId, SendGroup]:
        """All send groups that we are in."""
        return {self.own.id: self.own, **self.others}

    @property
    def known(self) -> Known:
        return Known(self.groups, self.forgotten)

    @property
    def counting(self) -> list[SendGroup]:
        """The send groups of members, ours first: of those who were not removed, did not remove us, and whom we or
        another of them added or will add. Whom only a removed member had brought is none of them.
        """
        found = [self.own]
        names = {self.own.id}
        for group in found:  # which grows
            wanted = group.members.union(self.invited) if group is self.own else group.members
            fresh = wanted.difference(names, self.dropped)
            names |= fresh
            joined = [self.others[name] for name in sorted(fresh) if name in self.others]
            found.extend([other for other in joined if other.group.ended is None])
        return found

    @property
    def unjoined(self) -> frozenset[GroupId]:
        """Members of any send group whose own ones we are not in, because their Welcome did not come yet.

        Who was removed is among them as long as somebody has it in a tree: its epochs may still be taken up there.
        """
        followed = [group.members for group in self.others.values() if group.group.ended is None]
        everybody = self.own.members.union(self.invited, *followed)
        return everybody.difference(self.others, {self.own.id})

    @property
    def missing(self) -> tuple[GroupId, ...]:
        """Members of others' send groups whom we cannot add, because we have no KeyPackage of theirs."""
        here = self.own.members.union(self.dropped, self.invited)
        found = [name for group in self.counting for name in group.places if name not in here]
        return tuple(dict.fromkeys(found))

    @property
    def leaving(self) -> tuple[GroupId, ...]:
        """Members whom our next commit removes, because somebody did."""
        return tuple([name for name in self.own.places if name in self.dropped])

    @property
    def left(self) -> tuple[GroupId, ...]:
        """Members who removed us from their send groups."""
        return tuple([name for name, group in self.others.items() if group.group.ended is not None])


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A commit of ours. There is no rival to lose against: adopt the session, store it, then send."""

    session: Session
    message: bytes
    """For everybody who was in our send group before."""
    welcome: bytes | None
    """For those whom it adds."""
    taken: tuple[EpochName, ...]
    """The epochs of others that it took up."""
    left_out: tuple[EpochName, ...]
    """Epochs that could not be taken up with the others, because of the keys in their leaves. The next may be."""
    added: tuple[GroupId, ...]
    waiting: tuple[GroupId, ...]
    """Newcomers who stay invited, because their KeyPackages cannot be added here; `decline` ends it."""
    removed: tuple[GroupId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A Welcome that was taken."""

    session: Session
    owner: GroupId
    package: KeyPackageSecrets
    """The one that it used. Others may send a Welcome for the same one, until all have."""
    removed: tuple[GroupId, ...]
    """Members of whose removal we learned by it; our next commit removes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a member said."""

    session: Session
    owner: GroupId
    epoch: Epoch
    data: bytes = field(repr=False)
    authenticated_data: bytes
    dropped: bool
    """Whether somebody has removed this member; it may not know yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A commit in somebody's send group."""

    session: Session
    owner: GroupId
    epoch: Epoch
    """The one that it starts."""
    taken: tuple[EpochName, ...]
    """The epochs of others, maybe of ours, that it took up."""
    added: tuple[GroupId, ...]
    removed: tuple[GroupId, ...]
    dismissed: bool
    """Whether it removed us."""
    authenticated_data: bytes


Event = Heard | Followed
