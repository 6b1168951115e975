"""draft-ietf-mls-virtual-clients §6: what the virtual client says in a conversation, and what it hears there.

Any device may speak. It takes keys from the ratchets that all devices share, so two of them may take one key; the reuse
guard keeps their nonces apart, and `claim` names the generation for whoever is to see that two messages collide.

* Guards and generation names belong to the emulation epoch that the conversation's leaf comes from, and to the leaf of
  the emulation group that this device had then. A device that was not there yet must not encrypt: it is refused
  (`CallerError`), and a commit with a path, by a device that was there or unencrypted, ends that (§5.1).
* Messages of our own leaf are siblings', or our own come back; `Received.author` tells, as far as devices follow the
  rules. Nothing is an error for being our own: what was sent can be read again while its key is kept.
* A commit with a path takes an operation, and so does an Update; what was taken stays taken if the act fails.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from mls import group as front
from mls.commit import KEEP, Committed, NewLeaf
from mls.errors import CallerError, MlsError, PeerError, StaleError
from mls.group import ApplicationMessage, CommitMessage, Event, ProposalMessage
from mls.leaf_node import Extensions
from mls.messages import Sealing
from mls.proposals import Proposal, Update
from mls.provider import Environment, PathSupply
from mls.registries import LeafIndex, ProposalRef, ResumptionUsage, SenderType
from mls.state import Group
from mls.virtual.emulation import Emulation, consuming
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.errors import OtherBranchError
from mls.virtual.generation_id import GenerationId, PrivateMessageContext, generation_id
from mls.virtual.guard import Guard
from mls.virtual.leaves import Draft, Follower, active_epoch, drafted, listed


@dataclass(frozen=True, slots=True)
class Author:
    """A device of ours, by what it was in an emulation epoch."""

    epoch_id: bytes
    leaf: LeafIndex


# Guards


def guard_of(emulation: Emulation, group: Group) -> Guard | None:
    """The reuse guards of a conversation's epoch; None if our leaf in it comes from no emulation epoch."""
    epoch = bound_epoch(emulation, group)
    return None if epoch is None else _guard(emulation, epoch)


def bound_epoch(emulation: Emulation, group: Group) -> DerivationEpoch | None:
    """The emulation epoch that our leaf binds a conversation's epoch to; None if it comes from none."""
    epoch_id = active_epoch(emulation, group.own_leaf_node)
    return None if epoch_id is None else emulation.epoch(epoch_id)


def _guard(emulation: Emulation, epoch: DerivationEpoch) -> Guard:
    return Guard(
        suite=epoch.suite,
        secret=epoch.reuse_guard,
        leaf_count=epoch.leaf_count,
        own_leaf=epoch.own_leaf,
        bit_order=emulation.settings.profile.bit_order,
    )


class _Sending:
    """The hook that guards one message, and learns which generation it takes."""

    __slots__ = ("_emulation", "_env", "_group", "claim")

    def __init__(self, emulation: Emulation, group: Group, env: Environment) -> None:
        self._emulation = emulation
        self._group = group
        self._env = env
        self.claim: GenerationId | None = None

    def __call__(self, nonce: bytes, generation: int, ratchet: int) -> bytes:
        emulation, group = self._emulation, self._group
        epoch = bound_epoch(emulation, group)
        if epoch is None:
            raise CallerError(
                "our leaf in this conversation comes from no emulation epoch", "commit a path first, unencrypted"
            )
        drawn = _guard(emulation, epoch).sender(self._env.provider)(nonce, generation, ratchet)
        context = PrivateMessageContext.of(group.group_id, group.epoch, generation, ratchet)
        self.claim = generation_id(epoch.suite, epoch.generation_id, context)
        return drawn


def claimed(emulation: Emulation, group: Group, context: PrivateMessageContext) -> GenerationId | None:
    """The name of a generation of ours in this epoch of a conversation; None where our leaf has no emulation epoch."""
    epoch = bound_epoch(emulation, group)
    return None if epoch is None else generation_id(epoch.suite, epoch.generation_id, context)


# Acting


@dataclass(frozen=True, slots=True, kw_only=True)
class Acted:
    """A commit of ours. Adopt `commit.group` once it is accepted; store `emulation` whatever becomes of it."""

    emulation: Emulation
    commit: Committed
    claim: GenerationId | None
    """The generation it takes, if it is encrypted."""


def commit(
    emulation: Emulation,
    group: Group,
    env: Environment,
    *,
    proposals: Sequence[Proposal] = (),
    references: Sequence[ProposalRef] | None = None,
    authenticated_data: bytes = b"",
    force_path: bool = False,
    encrypt: bool | None = None,
    new: NewLeaf = KEEP,
    group_info_extensions: Extensions = (),
    founding: tuple[ResumptionUsage, Group] | None = None,
) -> Acted:
    """A commit as the virtual client. If it has a path, our leaf comes from the newest emulation epoch afterwards."""
    sending = _Sending(emulation, group, env)
    drafts: list[Draft] = []

    def fresh() -> tuple[NewLeaf, PathSupply]:
        _check_order(emulation, group)
        draft = drafted(emulation, group.suite, group.group_id, _base(emulation, group), new)
        drafts.append(draft)
        return draft.leaf, draft.supply

    try:
        made = front.commit(
            group,
            env,
            proposals=proposals,
            references=references,
            authenticated_data=authenticated_data,
            force_path=force_path or new is not KEEP,
            encrypt=encrypt,
            fresh=fresh,
            group_info_extensions=group_info_extensions,
            founding=founding,
            reuse_guard=sending,
        )
    except MlsError as error:
        if drafts:
            error.consumed = drafts[0].emulation
        raise
    after = drafts[0].emulation if drafts else emulation
    after = after.using(group.own_leaf_node.signature_key)
    return Acted(emulation=after, commit=made, claim=sending.claim)


def _check_order(emulation: Emulation, group: Group) -> None:
    """§6.2 forbids to go back, so who knows no better stands still."""
    active = active_epoch(emulation, group.own_leaf_node)
    if active is not None:
        check_newest(emulation, active)


def check_newest(emulation: Emulation, active: bytes) -> None:
    """Whether what is derived now may follow a leaf of that epoch."""
    try:
        emulation.check_order(active, emulation.head.newest)
    except (PeerError, OtherBranchError):
        raise CallerError(
            "our leaf comes from a newer emulation epoch than the one that would make the next",
            "process the emulation group's commits first",
        ) from None


def _base(emulation: Emulation, group: Group) -> Extensions:
    return listed(emulation, group.own_leaf_node.extensions, group.parameters.components)


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """A proposal of ours, which waits in `group`."""

    emulation: Emulation
    group: Group
    message: bytes
    reference: ProposalRef
    claim: GenerationId | None


def propose_update(
    emulation: Emulation,
    group: Group,
    env: Environment,
    *,
    new: NewLeaf = KEEP,
    authenticated_data: bytes = b"",
    encrypt: bool | None = None,
) -> Proposed:
    """Propose a new leaf of ours. None of our devices can commit it: somebody else has to."""
    group.require_active()
    _check_order(emulation, group)
    sending = _Sending(emulation, group, env)
    draft = drafted(emulation, group.suite, group.group_id, _base(emulation, group), new, update=True)
    with consuming(draft.emulation):
        after, message, reference = front.propose_update(
            group,
            env,
            leaf=draft.leaf,
            leaf_key=(draft.supply.leaf_private, draft.supply.leaf_public),
            authenticated_data=authenticated_data,
            encrypt=encrypt,
            reuse_guard=sending,
        )
    return Proposed(emulation=draft.emulation, group=after, message=message, reference=reference, claim=sending.claim)


def propose(
    emulation: Emulation,
    group: Group,
    env: Environment,
    proposal: Proposal,
    *,
    authenticated_data: bytes = b"",
    encrypt: bool | None = None,
) -> Proposed:
    """Propose to a conversation anything but a new leaf of ours."""
    if isinstance(proposal, Update):
        raise CallerError("an Update of ours takes an operation", "use `propose_update`")
    sending = _Sending(emulation, group, env)
    after, message, reference = front.propose(
        group, env, proposal, authenticated_data=authenticated_data, encrypt=encrypt, reuse_guard=sending
    )
    return Proposed(emulation=emulation, group=after, message=message, reference=reference, claim=sending.claim)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """An application message of ours."""

    group: Group
    message: bytes
    claim: GenerationId | None
    """The generation it takes, by the name that siblings and a Delivery Service may compare (§6.5.3)."""


def seal(
    emulation: Emulation, group: Group, env: Environment, data: bytes, *, authenticated_data: bytes = b""
) -> Sealed:
    """An application message. What the device knows as one of several does not change by it."""
    sending = _Sending(emulation, group, env)
    after, message = front.seal(group, env, data, authenticated_data=authenticated_data, reuse_guard=sending)
    return Sealed(group=after, message=message, claim=sending.claim)


# Following


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Whatever arrived for a conversation."""

    emulation: Emulation
    event: Event
    ours: bool
    """Whether our own leaf said it."""
    author: Author | None
    """Which device said it, if it was our leaf and that shows. It shows in whatever is encrypted or has a path.

    A hint, among those who follow the rules: any member of the conversation can seal what we said anew, and then chance
    tells which device that seems to come from."""
    echo: bool
    """Whether that was this device, by the same hint. Know your own messages by what you sent, before dropping any."""


def receive(
    emulation: Emulation,
    group: Group,
    env: Environment,
    message: bytes,
    *,
    admit: Container[bytes] = frozenset(),
    founding: tuple[ResumptionUsage, Group] | None = None,
) -> Received:
    """Whatever arrived for this epoch of a conversation, from our own leaf too.

    `founding` is for the first commit of a conversation that a sibling continued another one in: how, and our value of
    the other one (`mls.virtual.entry.continue_conversation`; `Created.continues` names it).
    """
    if not group.parameters.own_keys:
        raise CallerError(
            "with these parameters, messages that two devices sent at once are lost",
            "read stored conversations with `Settings.shared` of your parameters",
        )
    follower = Follower(emulation, group.suite, group)
    event = front.receive(group, env, message, own=follower, admit=admit, founding=founding)
    after = follower.emulation
    ours, sealing = _said(group, event, follower)
    author = Author(*follower.device) if ours and follower.device is not None else None
    if ours and author is None and sealing is not None:
        author = _attributed(emulation, group, sealing)
    if ours and isinstance(event, ProposalMessage) and isinstance(event.proposal, Update):
        after, event = _expected(after, event)
    if isinstance(event, CommitMessage):
        after = after.using(group.own_leaf_node.signature_key)
    echo = author is not None and emulation.epoch(author.epoch_id).own_leaf == author.leaf
    return Received(emulation=after, event=event, ours=ours, author=author, echo=echo)


def _said(group: Group, event: Event, follower: Follower) -> tuple[bool, Sealing | None]:
    """Whether our own leaf said it, and how that was sealed."""
    if isinstance(event, ApplicationMessage):
        return event.sender == group.own_leaf, event.sealing
    if isinstance(event, ProposalMessage):
        sender = event.sender
        return sender.type == SenderType.MEMBER and sender.index == group.own_leaf, event.sealing
    if isinstance(event, CommitMessage):
        own = follower.device is not None if event.external else event.committer == group.own_leaf
        return own, event.sealing
    return event.sender == group.own_leaf, None


def _attributed(emulation: Emulation, group: Group, sealing: Sealing) -> Author | None:
    epoch_id = active_epoch(emulation, group.own_leaf_node)
    known = None if epoch_id is None else emulation.epochs.find(epoch_id)
    return None if known is None else Author(known.epoch.epoch_id, _guard(emulation, known.epoch).attribute(sealing))


def _expected(emulation: Emulation, event: ProposalMessage) -> tuple[Emulation, ProposalMessage]:
    """A sibling's Update, with its keys at hand for whoever's commit takes it up.

    What cannot be derived yet is derived with the commit. To derive it now keeps its operation from being passed over.
    """
    group, proposal = event.group, event.proposal
    if not isinstance(proposal, Update) or proposal.leaf_node.encoded in group.updates:
        return emulation, event
    follower = Follower(emulation, group.suite, group)
    try:
        update = follower.own_update(proposal.leaf_node, group.group_id)
    except (PeerError, StaleError):
        update = None
    if update is None or group.suite.hpke.public_key(update.leaf_private) != proposal.leaf_node.encryption_key:
        return emulation, event
    updates = {**group.updates, proposal.leaf_node.encoded: update}
    return follower.emulation, replace(event, group=replace(group, updates=updates))
