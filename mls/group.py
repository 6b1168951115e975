"""The protocol's front door: one epoch of one group as a value, and functions from value to value.

    group = create(env, ...)                   a group of one
    sent = commit(group, env, ...)             sent.message, sent.welcome; adopt sent.group once it is accepted
    event = receive(group, env, message)       what arrived, with the group that follows
    group, message = seal(group, env, data)    an application message
    group, package = join(env, ..., welcome)   become a member

Nothing here changes its input. A call that raises has changed nothing: `PeerError` if the bytes break a rule,
`StaleError` (and what it tells apart) if they do not fit this value, `CallerError` if the call is wrong. What to keep
of old values, which of two commits to follow and when to forget is for whoever holds the values.

Own messages come back as `OwnMessageError`: the value to adopt is the one that making the message returned. Clients
that share one leaf pass an `OwnLeaf` to `receive` and then read their siblings' messages like anybody else's. Into the
groups that a sibling made or entered they come by `follow_creation` and `follow_external`, or by `join` with
`JoinSecrets`.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace

from mls import external, targeted, welcome
from mls.codec import Reader
from mls.commit import KEEP, Committed, NewLeaf, create_commit, unasked
from mls.components.numbers import ComponentId
from mls.errors import BugError, CallerError, LimitError, PeerError, PuncturedError
from mls.follow import process_commit
from mls.founding import Continuation, continue_group, continued, create, link
from mls.framing import (
    Commit as CommitBody,
    FramedContent,
    PrivateMessage,
    Sender,
    encode_message,
    read_wire_format,
)
from mls.key_package import JoinSecrets
from mls.leaf_node import Extensions, sign_leaf_node
from mls.messages import Sealing, frame, open_message, send
from mls.proposals import PreSharedKey, Proposal, SelfRemove, Update, kind_of
from mls.provider import Environment, LeafExtensions, OwnLeaf, PendingUpdate, ReuseGuard
from mls.psk import ApplicationPskId, ExternalPskId, ResumptionPskId
from mls.registries import (
    ContentType,
    Epoch,
    GroupId,
    LeafIndex,
    ProposalRef,
    ResumptionUsage,
    SenderType,
    WireFormat,
)
from mls.schedule import (
    EXPORTER_BITS,
    EXPORTER_TREE,
    GroupContext,
    export,
)
from mls.secrets import ExportedSecret, HpkePrivateKey
from mls.sharing import follow_creation, follow_external
from mls.state import Ended, Group, stripped
from mls.validation import (
    Plan,
    Proposed,
    check_proposal,
    supported_by_all,
)

__all__ = [
    "ApplicationMessage",
    "CommitMessage",
    "Committed",
    "Continuation",
    "Envelope",
    "Event",
    "ExternallyJoined",
    "Group",
    "JoinSecrets",
    "NewLeaf",
    "ProposalMessage",
    "TargetedMessage",
    "Welcomed",
    "application_psk",
    "commit",
    "continue_group",
    "continued",
    "create",
    "export_secret",
    "external_psk",
    "follow_creation",
    "follow_external",
    "group_info",
    "join",
    "join_externally",
    "join_informed",
    "link",
    "peek",
    "propose",
    "propose_as_sender",
    "propose_self",
    "propose_update",
    "receive",
    "resumption_psk",
    "retired",
    "safe_export",
    "seal",
    "shelve_proposals",
]

ExternallyJoined = external.ExternallyJoined
Welcomed = welcome.Welcomed
join = welcome.join
join_informed = welcome.join_informed
join_externally = external.join_externally
propose_self = external.propose_self
propose_as_sender = external.propose_as_sender
commit = create_commit


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationMessage:
    """An application message."""

    group: Group
    sender: LeafIndex
    data: bytes = field(repr=False)
    authenticated_data: bytes
    sealing: Sealing


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalMessage:
    """A proposal, kept in `group` until a commit."""

    group: Group
    sender: Sender
    proposal: Proposal
    reference: ProposalRef
    authenticated_data: bytes
    sealing: Sealing | None
    """How it was sealed, if it was not public."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitMessage:
    """A commit that was carried out."""

    before: Group
    """The epoch it ended, without the keys that the commit used. Keep it for a rival commit (which may come on the same
    key: `Parameters.keep_handshake_keys`); once none can come, keep `retired(before)` for late messages."""
    group: Group
    """The next epoch; if the commit removed us or re-initialized the group, its `ended` says so. Who is removed cannot
    check the confirmation tag: do not forget everything on such a commit alone."""
    committer: LeafIndex
    external: bool
    plan: Plan
    """What it did: who was added, updated, removed."""
    authenticated_data: bytes
    sealing: Sealing | None


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the outside of a message says; None where this kind does not say it."""

    wire_format: int
    group_id: GroupId | None
    epoch: Epoch | None
    content_type: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetedMessage:
    """A message of one member to us alone (`mls.targeted`). It used up nothing, and can come again."""

    group: Group
    sender: LeafIndex
    data: bytes = field(repr=False)
    authenticated_data: bytes


Event = ApplicationMessage | ProposalMessage | CommitMessage | TargetedMessage


def propose(
    group: Group,
    env: Environment,
    proposal: Proposal,
    *,
    authenticated_data: bytes = b"",
    encrypt: bool | None = None,
    reuse_guard: ReuseGuard | None = None,
) -> tuple[Group, bytes, ProposalRef]:
    """Propose to the group; the proposal also waits here for a commit."""
    group.require_active()
    sender = Sender(SenderType.MEMBER, group.own_leaf)
    item = Proposed(proposal, sender)
    check_proposal(env, group.public, group.parameters, item, sending=True)
    public = kind_of(proposal).public
    if encrypt is None:
        encrypt = group.parameters.encrypt_handshakes and not public
    elif encrypt and public:
        raise CallerError("those outside must be able to read this proposal", "leave `encrypt` out")
    if not supported_by_all(group.public.tree, frozenset({proposal.type})):
        raise CallerError("a member does not support this type of proposal", "see the capabilities of the members")
    if isinstance(proposal, SelfRemove) and any(
        other.sender == sender and isinstance(other.proposal, SelfRemove) for other in group.proposals.values()
    ):
        raise CallerError("we have asked to leave already", "once in an epoch is enough (mls-extensions §6.3)")
    authenticated = frame(group, ContentType.PROPOSAL, proposal, authenticated_data, encrypt=encrypt)
    after, message = send(group, env, authenticated, reuse_guard=reuse_guard)
    reference = authenticated.proposal_ref(group.suite)
    return (
        _with_proposal(after, reference, Proposed(proposal, sender, reference, checked=True)),
        message,
        reference,
    )


def propose_update(
    group: Group,
    env: Environment,
    *,
    leaf: NewLeaf = KEEP,
    leaf_key: tuple[HpkePrivateKey, bytes] | None = None,
    authenticated_data: bytes = b"",
    encrypt: bool | None = None,
    reuse_guard: ReuseGuard | None = None,
) -> tuple[Group, bytes, ProposalRef]:
    """Propose a fresh leaf of our own; its private key waits with it."""
    group.require_active()
    suite = group.suite
    private, public = leaf_key or suite.generate_key_pair(env.provider.random)
    own = group.own_leaf_node
    signer = leaf.signature_private or group.signature_key
    extensions: Extensions | LeafExtensions = own.extensions if leaf.extensions is None else leaf.extensions
    if callable(extensions):
        extensions = extensions(public, None)
    node = sign_leaf_node(
        suite,
        signer,
        encryption_key=public,
        signature_key=suite.scheme.public_key(signer),
        credential=leaf.credential or own.credential,
        capabilities=leaf.capabilities or own.capabilities,
        extensions=extensions,
        group_id=group.group_id,
        leaf_index=group.own_leaf,
    )
    updates = {**group.updates, node.encoded: PendingUpdate(private, signer)}
    return propose(
        replace(group, updates=updates),
        env,
        Update(node),
        authenticated_data=authenticated_data,
        encrypt=encrypt,
        reuse_guard=reuse_guard,
    )


def _with_proposal(group: Group, reference: ProposalRef, item: Proposed) -> Group:
    return replace(group, proposals={**group.proposals, reference: item})


def receive(
    group: Group,
    env: Environment,
    message: bytes,
    *,
    own: OwnLeaf | None = None,
    own_words: bool = False,
    admit: Container[bytes] = frozenset(),
    founding: tuple[ResumptionUsage, Group] | None = None,
) -> Event:
    """Whatever arrived for this epoch: an application or a targeted message, a proposal or a commit.

    `own_words` opens application messages that our leaf sent and this value did not: it may be an older one.
    `admit` names proposals that a commit is waiting for (`MissingProposalsError`): they are kept whatever the limits.
    `founding` is for the first commit of a group that another device founded with our leaf: how it continues what.
    """
    if message[2:4] == _TARGETED:
        found = targeted.open_message(group, message)
        return TargetedMessage(
            group=group, sender=found.sender, data=found.data, authenticated_data=found.authenticated_data
        )
    opened = open_message(group, message, shared_leaf=own is not None, own_words=own_words)
    after = opened.group
    content = opened.verified.content
    body = content.body
    if isinstance(body, bytes):
        if opened.sealing is None:
            raise BugError("application data came unsealed through open_public")
        return ApplicationMessage(
            group=after,
            sender=LeafIndex(content.sender.index),
            data=body,
            authenticated_data=content.authenticated_data,
            sealing=opened.sealing,
        )
    if isinstance(body, CommitBody):
        done = process_commit(after, env, opened.verified, own=own, founding=founding)
        return CommitMessage(
            before=done.before,
            group=done.group,
            committer=done.committer,
            external=done.external,
            plan=done.plan,
            authenticated_data=content.authenticated_data,
            sealing=opened.sealing,
        )
    reference = opened.verified.authenticated.proposal_ref(group.suite)
    if reference not in after.proposals:
        item = Proposed(body, content.sender)
        if opened.sealing is not None and kind_of(body).public:
            raise PeerError("EXT-6.3-2")
        if reference not in admit:
            _check_room(after, item)
        check_proposal(env, group.public, group.parameters, item, sending=False)
        after = _with_proposal(after, reference, replace(item, reference=reference, checked=True))
    return ProposalMessage(
        group=after,
        sender=content.sender,
        proposal=body,
        reference=reference,
        authenticated_data=content.authenticated_data,
        sealing=opened.sealing,
    )


_TARGETED = WireFormat.TARGETED_MESSAGE.to_bytes(2, "big")

_KEPT = 128
"""What keeping a proposal costs beside its bytes."""


def _check_room(group: Group, item: Proposed) -> None:
    """One sender's proposals crowd out nobody else's, and all together have a size."""
    parameters = group.parameters
    outside = item.sender.type != SenderType.MEMBER
    waiting = 0
    size = len(item.proposal.encode_body())
    for other in group.proposals.values():
        size += len(other.proposal.encode_body()) + _KEPT
        if other.sender == item.sender or (outside and other.sender.type != SenderType.MEMBER):
            waiting += 1
    if waiting >= parameters.max_pending:
        raise LimitError("too many proposals of this sender are waiting")
    if size > parameters.max_pending_bytes:
        raise LimitError("the waiting proposals are too large")


def seal(
    group: Group,
    env: Environment,
    data: bytes,
    *,
    authenticated_data: bytes = b"",
    reuse_guard: ReuseGuard | None = None,
) -> tuple[Group, bytes]:
    """An application message (§15)."""
    group.require_active()
    if any(not item.shelved and not unasked(item) for item in group.proposals.values()):
        raise CallerError("proposals are waiting", "commit them before sending application data (RFC 9420 §12.4)")
    authenticated = frame(group, ContentType.APPLICATION, data, authenticated_data, encrypt=True)
    return send(group, env, authenticated, reuse_guard=reuse_guard)


def shelve_proposals(group: Group) -> Group:
    """Let what waits stand in the way no longer: it is not committed by us, and others' commits may still name it."""
    shelved = {reference: replace(item, shelved=True) for reference, item in group.proposals.items()}
    return replace(group, proposals=shelved)


def retired(group: Group) -> Group:
    """An epoch that was left: it reads late application messages and holds nothing else worth stealing (§9.2)."""
    return stripped(group, Ended.RETIRED)


def peek(message: bytes) -> Envelope:
    """Where a message belongs, as anybody can read it: nothing of this is verified."""
    reader = Reader(message)
    wire_format = read_wire_format(reader)
    if wire_format == WireFormat.PRIVATE_MESSAGE:
        private = PrivateMessage.decode(reader)
        return Envelope(wire_format, private.group_id, private.epoch, private.content_type)
    if wire_format == WireFormat.PUBLIC_MESSAGE:
        return Envelope(wire_format, *FramedContent.decode_place(reader))
    if wire_format == WireFormat.GROUP_INFO:
        context = GroupContext.decode(reader)
        return Envelope(wire_format, context.group_id, context.epoch, None)
    if wire_format == WireFormat.TARGETED_MESSAGE:
        frame_ = targeted.Frame.decode(reader)
        return Envelope(wire_format, frame_.group_id, frame_.epoch, None)
    if wire_format in (WireFormat.WELCOME, WireFormat.KEY_PACKAGE):
        return Envelope(wire_format, None, None, None)
    raise PeerError("VAL-6-4", f"wire format {wire_format}")


def group_info(
    group: Group, *, extensions: Extensions = (), external_join: bool = True, with_tree: bool | None = None
) -> bytes:
    """A GroupInfo for publication; with `external_join` it lets strangers join by external commit."""
    suite = group.suite
    public = group.public
    kept = extensions
    if external_join:
        kept = (*kept, external.external_pub_extension(suite, group.secrets.external))
    if group.parameters.ratchet_tree if with_tree is None else with_tree:
        kept = (*kept, welcome.tree_extension(public.tree))
    info = welcome.sign_group_info(
        suite, group.signature_key, group.own_leaf, public.context, public.confirmation_tag, kept
    )
    return encode_message(WireFormat.GROUP_INFO, info.encoded)


def export_secret(group: Group, label: bytes, context: bytes, length: int) -> bytes:
    """MLS-Exporter (§8.5)."""
    if not 0 <= length <= 255 * group.suite.hash_size:
        raise CallerError("the exporter gives at most 255 hashes", "ask for less")
    return export(group.suite, group.secrets.exporter, label, context, length)


def safe_export(group: Group, component: int) -> tuple[Group, ExportedSecret]:
    """The secret of this epoch for one component, and the group that cannot give it again (mls-extensions §4.4)."""
    group.require_active()
    if not 0 <= component < 1 << EXPORTER_BITS:
        raise CallerError(f"{component} is no component", "components have 16-bit numbers")
    tree = group.trees.get(EXPORTER_TREE)
    if tree is None:
        raise PuncturedError("this epoch was stored without the secrets that components export from")
    secret, rest = tree.evaluate(group.suite, component)
    return replace(group, trees={**group.trees, EXPORTER_TREE: rest}), ExportedSecret(secret)


def application_psk(group: Group, env: Environment, component: int, psk_id: bytes) -> PreSharedKey:
    """A proposal to mix in a key of one component (mls-extensions §4.5)."""
    if not 0 <= component < 1 << EXPORTER_BITS:
        raise CallerError(f"{component} is no component", "components have 16-bit numbers")
    nonce = env.provider.random(group.suite.hash_size)
    return PreSharedKey(ApplicationPskId(ComponentId(component), psk_id, nonce))


def external_psk(group: Group, env: Environment, psk_id: bytes) -> PreSharedKey:
    """A proposal to mix in a key that the application gave everybody."""
    return PreSharedKey(ExternalPskId(psk_id, env.provider.random(group.suite.hash_size)))


def resumption_psk(group: Group, env: Environment, epoch: Epoch) -> PreSharedKey:
    """A proposal to mix in the resumption PSK of an earlier epoch of this group."""
    nonce = env.provider.random(group.suite.hash_size)
    return PreSharedKey(ResumptionPskId(ResumptionUsage.APPLICATION, group.group_id, epoch, nonce))
