"""What is done with the keys of an epoch, alike for the home and for conversations.

In the home the members are devices, and `mls.virtual.devices` keeps what they know; in a conversation the one member is
the account, and `mls.virtual.client` acts for it. Everybody else in the node uses these calls and never asks which:

    opened = open_on(turn, strand, epoch, message)      what arrived; nothing is changed yet
    use(turn, strand, epoch, opened)                    adopt what a message that is no commit used up
    made = make(turn, strand, ...)                      a commit on the head; nothing is adopted yet
    sealed = seal(turn, strand, data)                   an application message on the head, adopted
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from mls.commit import KEEP, Committed, NewLeaf
from mls.errors import MlsError
from mls.group import CommitMessage, Event, shelve_proposals
from mls.leaf_node import Extensions
from mls.proposals import Proposal
from mls.state import Group
from mls.virtual import client, devices
from mls.virtual.announcements import Announcement
from mls.virtual.conversation import Author
from mls.virtual.emulation import Emulation, Head
from mls.virtual.generation_id import GenerationId
from vcd.core import tellers
from vcd.core.errors import Misuse
from vcd.core.names import EpochId
from vcd.core.policy import of_group, takes_up
from vcd.core.steps import at_leaf
from vcd.core.strand import Kept, Strand, with_value
from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A message that was opened on the value of an epoch."""

    emulation: Emulation
    event: Event
    newest: bytes
    """In the home: the newest derivation epoch of the branch afterwards."""
    ours: bool
    """Whether our own account said or did it, in a conversation."""
    author: Author | None
    echo: bool
    """Whether this device did."""
    announcement: Announcement | None = None


def open_on(
    turn: Turn, strand: Strand, epoch: EpochId, message: bytes, *, admit: Container[bytes] = frozenset()
) -> Opened:
    """Open a message in an epoch that is kept. What `mls` raises comes through."""
    kept = strand.kept[epoch]
    emulation = turn.emulation
    if strand.home:
        heard = devices.receive_on(
            emulation,
            Head(kept.group, kept.newest),
            turn.home_env,
            message,
            admits=_comes_back,
            carry=tellers.carry(turn, kept.group),
        )
        head = heard.head
        return Opened(
            emulation=heard.emulation,
            event=heard.event,
            newest=head.newest,
            ours=False,
            author=None,
            echo=False,
            announcement=heard.announcement,
        )
    got = client.receive(emulation, kept.group, turn.env, message, admit=admit)
    return Opened(emulation=got.emulation, event=got.event, newest=b"", ours=got.ours, author=got.author, echo=got.echo)


def _comes_back(before: Group, event: CommitMessage) -> bool:
    """A device may come back into its own place; `policy` has the rest."""
    del before
    return event.plan.resynced is not None


def use(turn: Turn, strand: Strand, epoch: EpochId, opened: Opened) -> Strand:
    """Adopt what opening used up, of a message that is no commit."""
    after = with_value(strand, epoch, opened.event.group)
    if strand.home:
        tellers.heard(turn, strand.kept[epoch].group, opened)
    turn.change(emulation=opened.emulation)
    turn.put(after)
    return after


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A commit of ours. What it took stays taken (`turn.state.emulation`), whether it is adopted or not."""

    commit: Committed
    newest: bytes
    claim: GenerationId | None


def make(
    turn: Turn,
    strand: Strand,
    *,
    proposals: Sequence[Proposal] = (),
    force_path: bool = False,
    leaf: NewLeaf = KEEP,
    derive: bool = False,
    encrypt: bool | None = None,
    group_info_extensions: Extensions = (),
) -> Made:
    """A commit on the head. It takes up what others proposed as far as the policy lets it."""
    kept = _here(turn, strand)
    emulation = turn.emulation
    if strand.home:
        standing_on = emulation.on(Head(kept.group, kept.newest))
        made = devices.commit(
            standing_on,
            turn.home_env,
            proposals=proposals,
            references=(),  # nobody commits what another device proposed: each can do so itself
            derive=derive,
            force_path=force_path,
            encrypt=encrypt,
            leaf=leaf,
            group_info_extensions=group_info_extensions,
        )
        adopted = devices.adopt(made.emulation, made)
        turn.change(emulation=adopted)
        return Made(commit=made.commit, newest=adopted.head.newest, claim=None)
    try:
        acted = client.commit(
            emulation,
            _picked(strand, kept.group),
            turn.env,
            proposals=proposals,
            force_path=force_path,
            encrypt=encrypt,
            new=leaf,
            group_info_extensions=group_info_extensions,
        )
    except MlsError as error:
        if isinstance(error.consumed, Emulation):
            turn.change(emulation=error.consumed)
        raise
    turn.change(emulation=acted.emulation)
    return Made(commit=acted.commit, newest=b"", claim=acted.claim)


def _picked(strand: Strand, group: Group) -> Group:
    """With those proposals to be committed that may be, also where they were let wait so that people could talk."""
    if not group.proposals:
        return group
    policy, members = of_group(group), strand.graph.members(EpochId(group.epoch_id))
    own = at_leaf(members, group.own_leaf)
    proposals = {
        reference: replace(each, shelved=not takes_up(policy, members, own, each))
        for reference, each in group.proposals.items()
    }
    return replace(group, proposals=proposals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An application message of ours."""

    epoch: EpochId
    message: bytes
    claim: GenerationId | None


def seal(turn: Turn, strand: Strand, data: bytes) -> Sealed:
    """An application message on the head. In the home `data` is the device's own kind (`devices.APPLICATIONS`)."""
    kept = _here(turn, strand)
    group = kept.group
    if any(not item.shelved for item in group.proposals.values()):
        group = shelve_proposals(group)  # somebody will commit them; nobody waits for that here
    epoch = EpochId(group.epoch_id)
    if strand.home:
        said = devices.say(turn.emulation.on(Head(group, kept.newest)), turn.home_env, data)
        after, message, claim = said.emulation.group, said.message, None
    else:
        sealed = client.seal(turn.emulation, group, turn.env, data)
        after, message, claim = sealed.group, sealed.message, sealed.claim
    turn.put(with_value(strand, epoch, after))
    return Sealed(epoch=epoch, message=message, claim=claim)


def propose(turn: Turn, strand: Strand, proposal: Proposal) -> Sealed:
    """A proposal on the head of a conversation, which waits there for somebody's commit."""
    kept = _here(turn, strand)
    made = client.propose(turn.emulation, kept.group, turn.env, proposal)
    turn.change(emulation=made.emulation)
    epoch = EpochId(kept.group.epoch_id)
    turn.put(with_value(strand, epoch, made.group))
    return Sealed(epoch=epoch, message=made.message, claim=made.claim)


def announce(turn: Turn, announcement: Announcement) -> Sealed:
    """Tell our other devices what `mls.virtual` has words for."""
    strand = turn.home
    kept = _here(turn, strand)
    group = kept.group
    if any(not item.shelved for item in group.proposals.values()):
        group = shelve_proposals(group)
    said = devices.announce(turn.emulation.on(Head(group, kept.newest)), turn.home_env, announcement)
    turn.change(emulation=said.emulation)
    turn.put(with_value(turn.home, EpochId(group.epoch_id), said.emulation.group))
    return Sealed(epoch=EpochId(group.epoch_id), message=said.message, claim=None)


def _here(turn: Turn, strand: Strand) -> Kept:
    kept = strand.here
    if kept is None or kept.group.ended is not None:
        raise Misuse("out-of-sync", "this device cannot speak there now")
    if strand.home and turn.state.household.listening:  # it would take keys a second time
        raise Misuse("restored", "this device has an old disk, and only listens")
    return kept
