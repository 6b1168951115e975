"""What the members of a group agreed on: its `Policy` stands in the GroupContext, so everybody applies the same one.

A commit that breaks the policy of the epoch that it ends is refused by every member alike, as if it broke a rule of the
protocol: `check` looks only at what all of them see, the policy, the members and what the commit does. How long keys
are kept after an epoch was left (`window`), and for how long a message may be said again (`horizon`), are in it because
members who differ there would disagree about what is lost.

Whoever commits is judged, and not whoever proposed what is committed. So a commit of ours takes up nothing that its
author might not do (`takes_up`), or we would lend our rights to everybody. Some things nobody may do: end a group by
a ReInit, use keys that others may lack, or change anything of the context but the policy (and the list of devices, at
home). So there are no external senders either.

`Mode` is how the members agree on an order, fixed when the group is made (docs/node.md has when to take which).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from mls.components.dictionary import Dictionary, dictionary_of
from mls.components.logic import LastWins, Refused as NotTaken
from mls.components.numbers import ComponentId
from mls.credential import Credential
from mls.leaf_node import Extensions
from mls.proposals import Add, Remove, SelfRemove, Update
from mls.registries import ExtensionType, LeafIndex, SenderType
from mls.state import Group
from mls.validation import Plan, Proposed
from vcd.core import listing
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.credential import read
from vcd.core.errors import Malformed, Refused
from vcd.core.names import AccountId, EpochId, Incarnation
from vcd.core.ordering.graph import Graph, Member, Step
from vcd.core.record import decode, encode

COMPONENT = ComponentId(0x8D20)
"""Private use (mls-extensions, component ids)."""

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR


class Mode(enum.Enum):
    """How members agree on an order."""

    DEMLS = 1  # any fork is followed and one is chosen; every member is a vcd
    EC1 = 2  # plain MLS: after a commit nobody speaks for a while, and then one is chosen (RFC 9750 §5.2.2, first)
    EC2 = 3  # plain MLS: a commit is adopted at once, and left again if another one wins soon (the same, second)
    LEAD = 4  # plain MLS: one device chooses, and everybody else follows
    DIMLS = 5  # each member has a group of its own to speak in, and nobody waits for anybody


class Who(enum.Enum):
    """Who may do something."""

    EVERYBODY = 1
    ADMINS = 2
    NOBODY = 3


NOBODY = Incarnation(b"")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Of one group. Times are in milliseconds."""

    mode: Mode = Mode.DEMLS
    admins: tuple[AccountId, ...] = ()
    add: Who = Who.EVERYBODY
    remove: Who = Who.ADMINS
    change: Who = Who.ADMINS
    come_back: Who = Who.EVERYBODY
    """Whose members may come back into their own place by an external commit."""
    window: int = DAY
    """How long an epoch that was left keeps its keys, counted while a device is connected and awake."""
    horizon: int = 30 * DAY
    """How long a message may be said again after it was first said, and how long receivers remember it."""
    latency: int = 10 * SECOND
    """In EC1: how long nobody speaks after a commit."""
    update_every: int = 30 * DAY
    """How often every member gives itself a fresh leaf."""
    stale_after: int = 180 * DAY
    """After how long without a fresh leaf a member may be removed by whoever may commit."""
    lead: Incarnation = NOBODY
    """In LEAD: the member whose account's lead device chooses. If it is none, or no member any more, the most senior
    one does."""
    succeed_after: int = DAY
    """In LEAD: for how long commits wait for a decision before another lead may be voted for; 0 is for ever."""

    def __post_init__(self) -> None:
        if len(self.admins) > MAX_ADMINS or sorted(set(self.admins)) != list(self.admins):
            raise ValueError("admins are listed in order, each once, and not too many of them")
        if not (MINUTE <= self.window <= 366 * DAY and MINUTE <= self.horizon <= 366 * DAY):
            raise ValueError("a window is from a minute to a year")
        if not (self.latency <= DAY and self.update_every >= HOUR and self.stale_after >= DAY):
            raise ValueError("a time is out of reason")


MAX_ADMINS = 1024

HOME = Policy(window=7 * DAY, remove=Who.EVERYBODY, change=Who.EVERYBODY)
"""Of the group of an account's devices."""


def usual(mode: Mode) -> Policy:
    """Of a conversation that is opened without more being said of it.

    States of plain MLS lead to all that can follow, so where a commit is adopted at once they are not kept for long.
    """
    return Policy(mode=mode, window=15 * MINUTE) if mode is Mode.EC2 else Policy(mode=mode)


class PolicyLogic(LastWins):
    """How the policy changes: the last update is the new one, if it is a policy at all and of the same mode."""

    __slots__ = ()

    def check(self, data: bytes) -> None:
        try:
            decode(Policy, data)
        except Malformed:
            raise NotTaken from None


def of_dictionary(dictionary: Dictionary) -> Policy:
    """The policy of a group with this application data; a group without one has everybody's default."""
    data = dictionary.find(COMPONENT)
    return _DEFAULT if data is None else _decoded(data)


_DEFAULT = Policy()


@lru_cache(maxsize=1024)
def _decoded(data: bytes) -> Policy:
    return decode(Policy, data)


def of_group(group: Group) -> Policy:
    return of_dictionary(group.public.context.dictionary)


def entry(policy: Policy) -> bytes:
    return encode(policy)


def _allowed(who: Who, member: Member | None) -> bool:
    return who is Who.EVERYBODY or (who is Who.ADMINS and member is not None and member.admin)


def may_take_out(policy: Policy, author: Member, target: Member) -> bool:
    """Whether a member may take out another. Who brought somebody in may, as long as nobody knows whether they came."""
    return _allowed(policy.remove, author) or (target.by == author.incarnation and not target.acted)


def may_exchange(author: Member, target: Member, shown: Credential, fresh: Credential) -> bool:
    """Whether a member may take out another that it brought in, as the same commit adds that account anew.

    The new leaf shows that the account has shut out a device since the list that the old one shows. Whoever acts there
    may be that device alone: if nobody else of the account took up the Welcome, nobody else can replace the leaf.
    """
    old, new = head_of(shown), head_of(fresh)
    if old is None or new is None or old.account != new.account:
        return False
    return target.by == author.incarnation and old.version < new.revoked


def _exchanged(before: Group, plan: Plan, author: Member, target: Member) -> bool:
    node = before.public.tree.leaf(LeafIndex(target.leaf))
    comers = [each.leaf_node.credential for each in plan.joining]
    return node is not None and any(may_exchange(author, target, node.credential, each) for each in comers)


def _succeeds(policy: Policy, after: Policy, author: Member | None) -> bool:
    """Whether all that changes is who leads, and that is the author: it counts only if the others voted for it."""
    return policy.mode is Mode.LEAD and author is not None and after == replace(policy, lead=author.incarnation)


def takes_up(policy: Policy, members: Sequence[Member], own: Member | None, item: Proposed) -> bool:
    """Whether our commit may carry out what another member proposed: it needs both its author's rights and ours.

    Only where there are ordinary clients is anything proposed but to leave, or a new leaf of one's own.
    """
    author = next((each for each in members if each.leaf == item.sender.index), None)
    if item.sender.type != SenderType.MEMBER or author is None:
        return False

    def both(who: Who) -> bool:
        return policy.mode is Mode.LEAD and _allowed(who, author) and _allowed(who, own)

    match item.proposal:
        case SelfRemove() | Update():
            return True
        case Remove(removed) if removed == item.sender.index:  # one who knows no SelfRemove
            return _allowed(policy.remove, own)
        case Remove():
            return both(policy.remove)
        case Add():
            return both(policy.add)
        case _:
            return False


def _fixed(extensions: Extensions, *free: ComponentId) -> tuple[object, ...]:
    """What of a group's context no commit may change."""
    kept = [each for each in extensions if each.type != ExtensionType.APP_DATA_DICTIONARY]
    return (*kept, *[each for each in dictionary_of(extensions).entries if each[0] not in free])


def permits(before: Group, after: Group, graph: Graph, way: Sequence[EpochId]) -> bool:
    """Whether all that was done on the way from one epoch to another may have been allowed by the policy of the first.

    By what headers and the two contexts show, for who cannot follow the commits. What only the commits show may be
    allowed too: that somebody asked to be taken out, and that a rule was changed before it was made use of.
    """
    policy, changed = of_group(before), of_group(before) != of_group(after)
    if _fixed(before.public.context.extensions, COMPONENT) != _fixed(after.public.context.extensions, COMPONENT):
        return False
    for step in (graph.steps[epoch] for epoch in way):
        members = {each.incarnation: each for each in graph.members(step.parent)}
        author = members.get(step.author)
        if author is None or (step.moved and not _allowed(policy.come_back, author)):
            return False
        if (step.adds and not _allowed(policy.add, author)) or (changed and not _allowed(policy.change, author)):
            return False
        others = [members[who] for who in step.removes if who != step.author]
        if not all(may_take_out(policy, author, each) for each in others):
            return False
    return of_group(after).mode is policy.mode


def check(before: Group, members: Sequence[Member], step: Step, plan: Plan) -> None:
    """Raise `Refused` unless the policy of the epoch that a commit ends allows what it does, to whoever made it."""
    policy = of_group(before)
    author = next((each for each in members if each.incarnation == step.author), None)
    if author is None and plan.external_init is None:
        raise Refused("policy-author", "made by no member")
    if plan.external_init is not None:
        if plan.resynced is None or not step.moved:
            raise Refused("policy-join", "nobody comes in from outside but into their own place")
        if not _allowed(policy.come_back, author):
            raise Refused("policy-join", "nobody comes back from outside here")
    if plan.added and not _allowed(policy.add, author):
        raise Refused("policy-add")
    if policy.mode is not Mode.LEAD and any(read(each.leaf_node.credential) is None for each in plan.joining):
        raise Refused("policy-member", "ordinary clients come in only where somebody leads")
    asked = set(plan.self_removed)
    if plan.resynced is not None:
        asked.add(plan.resynced)
    others = [each for each in members if each.leaf in set(plan.removed) - asked]
    if others and (
        author is None
        or not all(may_take_out(policy, author, each) or _exchanged(before, plan, author, each) for each in others)
    ):
        raise Refused("policy-remove")
    if plan.reinit is not None or plan.psks:
        raise Refused("policy-proposal", "nobody ends a group by a ReInit, or uses a key that others may lack")
    if plan.extensions is before.public.context.extensions:
        return
    free = (COMPONENT, listing.COMPONENT) if listing.is_home(before) else (COMPONENT,)
    if _fixed(plan.extensions, *free) != _fixed(before.public.context.extensions, *free):
        raise Refused("policy-extensions", "a group keeps what it was made with, but for its policy and its list")
    after = of_dictionary(dictionary_of(plan.extensions))
    if after != policy:
        if not _allowed(policy.change, author) and not _succeeds(policy, after, author):
            raise Refused("policy-change")
        if after.mode is not policy.mode:
            raise Refused("policy-mode", "a group's mode is for life")
