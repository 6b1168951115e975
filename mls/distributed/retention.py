"""draft-xue-distributed-mls-02 §5: how long the epochs of send groups are kept, and what happens to members who left.

An epoch of one member, with its pre-shared key and, if it is ours, its leaf's private key, is needed as long as some
other owner may still take it up: until each has taken up that one or a newer one. The text has this rule for our own
keys; it holds for what was exported from others too, because whoever follows a commit needs what its maker imported.

A member who was removed is followed on for a while. Somebody who has not heard of the removal may take up one more of
its epochs, or still add it, and who has stopped following it could then not follow that one either. It ends when
everybody whom we still count on has taken up an epoch by which they know of the removal (`Session.dropped`).

A member who takes nothing up keeps everybody's keys alive. `lags` tells who that is; to remove them is for the caller
to decide. `Settings.kept_epochs` bounds what can pile up until then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from mls.distributed.errors import EpochName
from mls.distributed.mode import OWNER
from mls.distributed.send_group import SendGroup
from mls.distributed.values import Session
from mls.registries import Epoch, GroupId


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """How far a member is behind with us."""

    member: GroupId
    taken: Epoch
    """The last of our epochs that it took up; 0 if none."""
    behind: int
    """How many of our epochs came after that."""


def lags(session: Session) -> tuple[Lag, ...]:
    """Everybody who may still take up an old epoch of ours, the furthest behind first."""
    own = session.own
    found = []
    for member in own.places:
        if member == own.id:
            continue
        other = session.others.get(member)
        taken = 0 if other is None else other.taken.get(own.id, 0)
        found.append(Lag(member=member, taken=Epoch(taken), behind=own.group.epoch - taken))
    return tuple(sorted(found, key=lambda lag: -lag.behind))


def pruned(session: Session, members: Iterable[GroupId]) -> Session:
    """Without the epochs of these members that nobody needs, and without members who are gone for everybody."""
    session = _without_gone(session)
    groups = session.groups
    owners = [group for group in groups.values() if group.group.ended is None]
    floors = {member: _floor(session, owners, groups[member]) for member in members if member in groups}
    unjoined = session.unjoined if any(floors.values()) else frozenset()
    changed: dict[GroupId, SendGroup] = {}
    for member, floor in floors.items():
        send_group = groups[member]
        following = _without_old(session, send_group, floor if unjoined <= {member} else 0)
        if following is not send_group:
            changed[member] = following
    if not changed:
        return session
    own = changed.pop(session.own.id, session.own)
    return replace(session, own=own, others={**session.others, **changed})


def _floor(session: Session, owners: list[SendGroup], send_group: SendGroup) -> int:
    """The newest epoch of a member that none of these owners will ever go back before; 0 if that is not kept any more.

    Mostly it is not, and then the first owner who has taken up nothing that is kept answers for all.
    """
    member = send_group.id
    removal = session.dropped.get(member)
    if removal is not None:  # who knows of it and has done it too will not take the member up again
        owners = [
            owner for owner in owners if member in owner.members or not (owner is session.own or _knows(owner, removal))
        ]
    oldest = next(iter(send_group.epochs), 0)
    floor = int(send_group.group.epoch)
    for owner in owners:
        taken = owner.taken.get(member, 0)
        if taken < floor and owner.places.get(member) != OWNER:
            if taken < oldest:
                return 0
            floor = taken
    return floor


def _without_old(session: Session, send_group: SendGroup, floor: int) -> SendGroup:
    """The send group without the epochs that every other owner is past."""
    epochs = send_group.epochs
    if floor < next(iter(epochs), 0) and len(epochs) <= session.settings.kept_epochs:
        return send_group
    kept = {epoch: each for epoch, each in epochs.items() if epoch > floor}
    for epoch in list(kept)[: max(0, len(kept) - session.settings.kept_epochs)]:
        del kept[epoch]
    return send_group if len(kept) == len(epochs) else replace(send_group, epochs=kept)


def _without_gone(session: Session) -> Session:
    """Without the send groups of removed members whose epochs nobody will take up any more."""
    gone = [name for name in session.dropped if name in session.others]
    if not gone:
        return session
    members = frozenset(session.invited).union(*[owner.members for owner in session.counting])
    if not members.difference(session.dropped) <= {session.own.id, *session.others}:
        return session  # somebody who counts may have anybody in a tree that we have not seen
    waiting = [name for name in gone if not _known_to_all(session, session.dropped[name])]
    kept = set(waiting)
    while waiting:  # whoever is followed on may take up epochs of those in its tree
        for member in session.others[waiting.pop()].members.intersection(gone):
            if member not in kept:
                kept.add(member)
                waiting.append(member)
    done = frozenset(gone).difference(kept)
    return without(session, done) if done else session


def _known_to_all(session: Session, since: EpochName) -> bool:
    """Whether everybody who counts has taken up that epoch, and so will not add again whom it lacks."""
    return all(_knows(owner, since) for owner in session.counting if owner is not session.own)


def _knows(owner: SendGroup, since: EpochName) -> bool:
    """Whether an owner has taken up that epoch, or made it."""
    return owner.id == since.group_id or owner.taken.get(since.group_id, 0) >= since.epoch


def without(session: Session, members: Collection[GroupId]) -> Session:
    """Follow the send groups of these members no further."""
    others = {name: group for name, group in session.others.items() if name not in members}
    return replace(session, others=others, forgotten=session.forgotten.union(members))
