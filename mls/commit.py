"""RFC 9420 §12.4: ending an epoch, as the one who commits and as everyone else.

Both sides meet in `conclude`, which turns a new tree and a commit secret into the next epoch. A commit is created
against a group value and yields the next value beside it; nothing is adopted until the caller does, so a commit that
loses a race is simply not used. A received commit either yields the next value or raises, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from hmac import compare_digest

from mls.credential import Credential
from mls.errors import BugError, CallerError, MissingProposalsError, MissingPskError, PeerError
from mls.framing import (
    AuthenticatedContent,
    Commit,
    Sender,
    Verified,
)
from mls.leaf_node import Capabilities, Extensions, LeafNode, sign_leaf_node
from mls.messages import frame, send
from mls.proposals import Proposal, ReInit
from mls.provider import Environment, LeafExtensions, OwnLeaf, OwnPath, PathSupply
from mls.psk import PreSharedKeyId, psk_secret
from mls.public_state import PublicState
from mls.registries import ContentType, LeafIndex, ProposalRef, ProposalType, SenderType
from mls.schedule import (
    Advanced,
    GroupContext,
    advance,
    confirmation_tag,
    confirmed_hash,
    interim_hash,
    receive_external_init,
)
from mls.secret_tree import SecretTree
from mls.secrets import CommitSecret, InitSecret, PathSecret, PskSecret, SignaturePrivateKey
from mls.state import Ended, Group, find_psk
from mls.suite import Suite
from mls.tree.hashes import path_parent_hashes
from mls.tree.nodes import grown
from mls.tree.path import (
    PathKeys,
    PrivateKeys,
    UpdatePath,
    check_shape,
    derive_path,
    follow_path,
    kept_private,
    merge_path,
    seal_path,
)
from mls.tree.ratchet_tree import RatchetTree, Step
from mls.validation import (
    Plan,
    Proposed,
    check_own_support,
    check_path_leaf,
    check_profiles,
    check_public_key,
    plan,
)
from mls.welcome import GroupInfo, seal_welcome, sign_group_info, tree_extension


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLeaf:
    """What the committer's new leaf says; None keeps what the old one said."""

    credential: Credential | None = None
    signature_private: SignaturePrivateKey | None = None
    capabilities: Capabilities | None = None
    extensions: Extensions | LeafExtensions | None = None


KEEP = NewLeaf()


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """A commit of ours: what to send, and the value to adopt once it is accepted."""

    message: bytes
    welcome: bytes | None
    group_info: GroupInfo | None
    """What the Welcome carries; `mls.group.group_info` makes one to publish."""
    before: Group
    """This epoch, without the key that sealed the commit."""
    group: Group
    """The next epoch."""
    added: tuple[LeafIndex, ...]
    path_secrets: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Applied:
    """Everything a commit changes but its confirmation."""

    tree: RatchetTree
    private: PrivateKeys = field(repr=False)
    commit_secret: CommitSecret
    own_leaf: LeafIndex


@dataclass(frozen=True, slots=True)
class Concluded:
    """The next epoch."""

    advanced: Advanced
    public: PublicState


def leaf_place(tree: RatchetTree) -> tuple[RatchetTree, LeafIndex]:
    """§12.4.2: the leftmost blank leaf, on a tree that is grown if there is none."""
    if tree.member_count < tree.leaf_count:
        cell = tree.root
        while cell.level:
            left = cell.left
            cell = left if left.members < 1 << left.level else cell.right
        return tree, LeafIndex(cell.index >> 1)
    place = LeafIndex(tree.leaf_count)
    return RatchetTree(tree.suite, grown(tree.root), tree.encryption_keys, tree.signature_keys, tree.profiles), place


def provisional_context(state: PublicState, tree: RatchetTree, extensions: Extensions) -> GroupContext:
    """§12.4.1: the next epoch's context with this epoch's transcript hash."""
    context = state.context
    return GroupContext.of(
        context.cipher_suite,
        context.group_id,
        context.epoch + 1,
        tree.hash,
        context.confirmed_transcript_hash,
        extensions,
    )


def conclude(
    state: PublicState,
    tree: RatchetTree,
    extensions: Extensions,
    authenticated: AuthenticatedContent,
    init: InitSecret,
    commit: CommitSecret,
    psk: PskSecret,
    labels: tuple[bytes, ...],
) -> Concluded:
    """The transcript, the new context, the key schedule and the confirmation tag."""
    suite = state.suite
    confirmed = confirmed_hash(suite, state.interim_hash, authenticated.transcript_input())
    old = state.context
    context = GroupContext.of(old.cipher_suite, old.group_id, old.epoch + 1, tree.hash, confirmed, extensions)
    advanced = advance(suite, init, commit, psk, context.encoded, labels)
    tag = confirmation_tag(suite, advanced.secrets.confirmation, confirmed)
    return Concluded(advanced, PublicState(suite, context, tree, interim_hash(suite, confirmed, tag), tag))


def enter(
    group: Group, applied: Applied, concluded: Concluded, signer: SignaturePrivateKey, reinit: ReInit | None
) -> Group:
    """The member's next value."""
    advanced = concluded.advanced
    public = concluded.public
    kept = group.parameters.resumption_psks
    resumption = (*group.resumption, (public.epoch, advanced.secrets.resumption))
    return Group(
        parameters=group.parameters,
        public=public,
        own_leaf=applied.own_leaf,
        signature_key=signer,
        private=applied.private,
        secrets=advanced.secrets,
        keys=SecretTree.of(advanced.encryption, public.tree.leaf_count),
        proposals={},
        updates={},
        resumption=resumption[-kept:] if kept else (),
        ended=reinit,
    )


def gather_psks(
    env: Environment, groups: Sequence[Group], suite: Suite, psk_ids: Sequence[PreSharedKeyId]
) -> PskSecret:
    """§8.4, with every key found first."""
    found = []
    for psk_id in psk_ids:
        psk = find_psk(env, groups, psk_id)
        if psk is None:
            raise MissingPskError("a pre-shared key that the commit uses is not here")
        found.append((psk_id, psk))
    return psk_secret(suite, found)


# Committing


@dataclass(frozen=True, slots=True)
class MadePath:
    """Our own update path with everything we know of it."""

    path: UpdatePath
    tree: RatchetTree
    keys: PathKeys
    steps: list[Step]
    private: PrivateKeys = field(repr=False)


def make_path(
    env: Environment,
    state: PublicState,
    tree: RatchetTree,
    place: LeafIndex,
    extensions: Extensions,
    signer: SignaturePrivateKey,
    credential: Credential,
    capabilities: Capabilities,
    leaf_extensions: Extensions | LeafExtensions,
    excluded: frozenset[int],
    supply: PathSupply | None,
    external_init: InitSecret | None,
) -> MadePath:
    """Fresh keys for our direct path, sealed to everybody beside it (§7.5)."""
    suite = state.suite
    random = env.provider.random
    if supply is None:
        leaf_private, leaf_public = suite.generate_key_pair(random)
        first = PathSecret(random(suite.hash_size))
    else:
        leaf_private, leaf_public, first = supply.leaf_private, supply.leaf_public, supply.path_secret
    whole = tree.path(place)
    steps = [step for step in whole if step.copath.resolved]
    keys = derive_path(suite, first, len(steps))
    hashes = path_parent_hashes(suite, steps, keys.public)
    if callable(leaf_extensions):
        leaf_extensions = leaf_extensions(leaf_public, external_init)
    leaf_node = sign_leaf_node(
        suite,
        signer,
        encryption_key=leaf_public,
        signature_key=suite.scheme.public_key(signer),
        credential=credential,
        capabilities=capabilities,
        extensions=leaf_extensions,
        parent_hash=hashes[-1],
        group_id=state.group_id,
        leaf_index=place,
    )
    fresh = merge_path(tree, place, leaf_node, whole, steps, keys.public, hashes)
    context = provisional_context(state, fresh, extensions)
    nodes = seal_path(suite, tree, steps, keys, context.encoded, excluded, random)
    private: PrivateKeys = {2 * place: leaf_private}
    for step, key in zip(steps, keys.private, strict=True):
        private[step.cell.index] = key
    return MadePath(UpdatePath(leaf_node, nodes), fresh, keys, steps, private)


def choose_pending(group: Group) -> list[Proposed]:
    """The waiting proposals that may stand in one commit of ours (§12.2's preferences).

    Removals win over updates, later updates over earlier ones, and anything over a ReInit; our own updates cannot be
    committed by us.
    """
    removed: set[int] = set()
    latest: dict[int, Proposed] = {}
    for item in group.proposals.values():
        kind = item.proposal.type
        if kind == ProposalType.REMOVE:
            removed.add(item.proposal.removed)  # type: ignore[attr-defined]  # a Remove
        elif kind == ProposalType.UPDATE:
            latest[item.sender.index] = item
    chosen: list[Proposed] = []
    seen: set[object] = set()
    reinit: Proposed | None = None
    for item in group.proposals.values():
        proposal = item.proposal
        kind = proposal.type
        key: object = item
        if kind == ProposalType.UPDATE:
            index = item.sender.index
            if index == group.own_leaf or index in removed or latest[index] is not item:
                continue
        elif kind == ProposalType.REMOVE:
            if proposal.removed == group.own_leaf:  # type: ignore[attr-defined]
                continue
            key = ("remove", proposal.removed)  # type: ignore[attr-defined]
        elif kind == ProposalType.ADD:
            key = ("add", proposal.key_package.leaf_node.signature_key)  # type: ignore[attr-defined]
        elif kind == ProposalType.PSK:
            key = ("psk", proposal.psk)  # type: ignore[attr-defined]
        elif kind == ProposalType.GROUP_CONTEXT_EXTENSIONS:
            key = "extensions"
        elif kind == ProposalType.REINIT:
            reinit = reinit or item
            continue
        if kind != ProposalType.UPDATE:
            if key in seen:
                continue
            seen.add(key)
        chosen.append(item)
    if not chosen and reinit is not None:
        return [reinit]
    return chosen


_ORDER = (ProposalType.REMOVE, ProposalType.UPDATE, ProposalType.GROUP_CONTEXT_EXTENSIONS, ProposalType.ADD)


def _eagerness(item: Proposed) -> int:
    """What makes room for others comes first."""
    kind = item.proposal.type
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _fitting(env: Environment, group: Group, kept: Sequence[Proposed], pending: Sequence[Proposed]) -> list[Proposed]:
    """Those of the waiting proposals that make a valid list with `kept`: each is right alone, maybe not beside others.

    Found by halves, so one that does not fit costs a few looks, not one for every other.
    """
    try:
        plan(
            env,
            group.public,
            group.parameters,
            Sender(SenderType.MEMBER, group.own_leaf),
            [*kept, *pending],
            sending=True,
        )
    except PeerError:
        if len(pending) <= 1:
            return []
        middle = len(pending) // 2
        first = _fitting(env, group, kept, pending[:middle])
        return [*first, *_fitting(env, group, [*kept, *first], pending[middle:])]
    return list(pending)


def create_commit(
    group: Group,
    env: Environment,
    *,
    proposals: Sequence[Proposal] = (),
    references: Sequence[ProposalRef] | None = None,
    authenticated_data: bytes = b"",
    force_path: bool = False,
    encrypt: bool | None = None,
    leaf: NewLeaf = KEEP,
    supply: PathSupply | None = None,
    group_info_extensions: Extensions = (),
    founding: tuple[int, Group] | None = None,
) -> Committed:
    """Commit `proposals` by value and the pending ones by reference (all that fit together, unless listed)."""
    group.require_active()
    state = group.public
    suite = state.suite
    committer = Sender(SenderType.MEMBER, group.own_leaf)
    if references is None:
        chosen = choose_pending(group)
    else:
        try:
            chosen = [group.proposals[reference] for reference in references]
        except KeyError:
            raise CallerError("no such pending proposal", "list references from the group's proposals") from None
    items = [*(Proposed(proposal, committer) for proposal in proposals), *chosen]
    try:
        outcome = plan(env, state, group.parameters, committer, items, sending=True, founding=founding and founding[0])
    except PeerError:
        if references is not None or not chosen:
            raise
        given = items[: len(proposals)]
        chosen = _fitting(env, group, given, sorted(chosen, key=_eagerness))
        items = [*given, *chosen]
        outcome = plan(env, state, group.parameters, committer, items, sending=True, founding=founding and founding[0])
    if outcome.extensions is not state.context.extensions:
        check_own_support(group.parameters, outcome.extensions)
    histories = [group] if founding is None else [group, founding[1]]
    psk = gather_psks(env, histories, suite, outcome.psks)
    signer = group.signature_key
    path: UpdatePath | None = None
    path_secrets: dict[int, bytes] = {}
    own = group.own_leaf_node
    if outcome.path_required or force_path or leaf is not KEEP or supply is not None:
        signer = leaf.signature_private or group.signature_key
        made = make_path(
            env,
            state,
            outcome.tree,
            group.own_leaf,
            outcome.extensions,
            signer,
            leaf.credential or own.credential,
            leaf.capabilities or own.capabilities,
            own.extensions if leaf.extensions is None else leaf.extensions,
            frozenset(outcome.added),
            supply,
            None,
        )
        check_path_leaf(env, state, group.own_leaf, made.path.leaf_node, own)
        if made.tree.profiles is not outcome.tree.profiles:
            check_profiles(made.tree, outcome.extensions)
        path = made.path
        applied = Applied(made.tree, made.private, made.keys.commit_secret, group.own_leaf)
        path_secrets = {
            step.cell.index: secret for step, secret in zip(made.steps, made.keys.path_secrets, strict=True)
        }
    else:
        private = kept_private(group.private, state.tree, outcome.tree, group.own_leaf)
        applied = Applied(outcome.tree, private, CommitSecret(bytes(suite.hash_size)), group.own_leaf)
    body = Commit(
        tuple([item.proposal if item.reference is None else ProposalRef(item.reference) for item in items]),
        path,
    )
    if encrypt is None:
        encrypt = group.parameters.encrypt_handshakes
    unconfirmed = frame(group, ContentType.COMMIT, body, authenticated_data, encrypt=encrypt)
    concluded = conclude(
        state,
        applied.tree,
        outcome.extensions,
        unconfirmed,
        group.secrets.init,
        applied.commit_secret,
        psk,
        group.parameters.epoch_labels,
    )
    authenticated = replace(unconfirmed, confirmation_tag=concluded.public.confirmation_tag)
    before, message = send(group, env, authenticated)
    following = enter(group, applied, concluded, signer, outcome.reinit)
    extensions = group_info_extensions
    if group.parameters.ratchet_tree and outcome.added:
        extensions = (*extensions, tree_extension(applied.tree))
    welcome = None
    info = None
    if outcome.added:
        info = sign_group_info(
            suite,
            signer,
            group.own_leaf,
            concluded.public.context,
            concluded.public.confirmation_tag,
            extensions,
        )
        welcome = seal_welcome(env, suite, outcome, concluded.advanced, info, path_secrets)
    return Committed(
        message=message,
        welcome=welcome,
        group_info=info,
        before=before,
        group=following,
        added=outcome.added,
        path_secrets=path_secrets,
    )


# Following


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A commit of somebody else, carried out."""

    group: Group
    plan: Plan
    committer: LeafIndex
    external: bool


def resolve(group: Group, commit: Commit, sender: Sender) -> list[Proposed]:
    """The commit's list, with references looked up."""
    items = []
    missing = []
    for item in commit.proposals:
        if isinstance(item, bytes):
            found = group.proposals.get(item)
            if found is None:
                missing.append(item)
            else:
                items.append(found)
        else:
            items.append(Proposed(item, sender))
    if missing:
        if sender.type == SenderType.NEW_MEMBER_COMMIT:
            raise PeerError("VAL-12.4.3.2-2")
        raise MissingProposalsError(tuple(missing))
    return items


def process_commit(group: Group, env: Environment, verified: Verified, *, own: OwnLeaf | None = None) -> Followed:
    """§12.4.2."""
    state = group.public
    suite = state.suite
    authenticated = verified.authenticated
    content = authenticated.content
    commit = content.body
    if not isinstance(commit, Commit):
        raise BugError("process_commit was given something else")
    sender = content.sender
    external = sender.type == SenderType.NEW_MEMBER_COMMIT
    items = resolve(group, commit, sender)
    outcome = plan(env, state, group.parameters, sender, items, sending=False)
    path = commit.path
    if path is None and outcome.path_required:
        raise PeerError("VAL-12.4.2-2")
    tree = outcome.tree
    place = LeafIndex(sender.index)
    if external:
        tree, place = leaf_place(tree)
    supplied = None
    if own is not None and path is not None and _is_own(group, place, outcome, external=external):
        supplied = own.own_path(path.leaf_node, state.group_id)
    if group.own_leaf in outcome.removed and supplied is None:
        return Followed(group=replace(group, ended=Ended.REMOVED), plan=outcome, committer=place, external=external)
    if outcome.extensions is not state.context.extensions:
        check_own_support(group.parameters, outcome.extensions)
    psk = gather_psks(env, [group], suite, outcome.psks)
    signer = group.signature_key
    pending = outcome.updated.get(group.own_leaf)
    private = group.private
    if pending is not None:
        update = group.updates.get(pending.encoded)
        if update is None and own is not None:
            update = own.own_update(pending, state.group_id)
        if update is None:
            raise PeerError("VAL-12.1.2-3")
        private = {2 * group.own_leaf: update.leaf_private}
        signer = update.signature_private
    elif outcome.updated or outcome.removed:
        private = kept_private(private, state.tree, tree, group.own_leaf)
    if path is None:
        applied = Applied(tree, private, CommitSecret(bytes(suite.hash_size)), group.own_leaf)
    else:
        old = _replaced_leaf(state, outcome, place, external=external)
        applied = _apply_path(env, group, outcome, tree, place, path, old, private, supplied)
    init = group.secrets.init
    if outcome.external_init is not None:
        if supplied is not None and supplied.external_init is not None:
            init = supplied.external_init
        else:
            init = receive_external_init(suite, group.secrets.external, outcome.external_init)
    concluded = conclude(
        state,
        applied.tree,
        outcome.extensions,
        authenticated,
        init,
        applied.commit_secret,
        psk,
        group.parameters.epoch_labels,
    )
    if not compare_digest(concluded.public.confirmation_tag, authenticated.confirmation_tag):
        raise PeerError("VAL-12.4.2-10")
    following = enter(group, applied, concluded, signer, outcome.reinit)
    return Followed(group=following, plan=outcome, committer=place, external=external)


def _is_own(group: Group, place: LeafIndex, outcome: Plan, *, external: bool) -> bool:
    """Whether the committer is our own leaf, on another device."""
    return group.own_leaf in outcome.removed if external else place == group.own_leaf


def _replaced_leaf(state: PublicState, outcome: Plan, place: LeafIndex, *, external: bool) -> LeafNode | None:
    """The leaf that the committer's new one takes the place of."""
    if not external:
        return state.tree.leaf(place)
    return state.tree.leaf(outcome.removed[0]) if outcome.removed else None


def _apply_path(
    env: Environment,
    group: Group,
    outcome: Plan,
    tree: RatchetTree,
    place: LeafIndex,
    path: UpdatePath,
    old: LeafNode | None,
    private: PrivateKeys,
    supplied: OwnPath | None,
) -> Applied:
    state = group.public
    suite = state.suite
    leaf_node = path.leaf_node
    check_path_leaf(env, state, place, leaf_node, old)
    whole = tree.path(place)
    steps = [step for step in whole if step.copath.resolved]
    excluded = frozenset(outcome.added)
    check_shape(steps, path, excluded)
    public = [node.encryption_key for node in path.nodes]
    taken = tree.encryption_keys
    for key in (leaf_node.encryption_key, *public):
        if key in taken:
            raise PeerError("VAL-12.4.2-4")
    for key in public:
        check_public_key(suite, key)
    hashes = path_parent_hashes(suite, steps, public)
    if leaf_node.parent_hash != hashes[-1]:
        raise PeerError("VAL-7.9-1")
    fresh = merge_path(tree, place, leaf_node, whole, steps, public, hashes)
    if fresh.profiles is not tree.profiles:
        check_profiles(fresh, outcome.extensions)
    if supplied is not None:
        return _own_path(suite, fresh, place, path, steps, supplied)
    context = provisional_context(state, fresh, outcome.extensions)
    followed = follow_path(suite, group.own_leaf, private, steps, path, context.encoded, excluded)
    return Applied(fresh, _without_blanked(followed.private, whole, steps), followed.commit_secret, group.own_leaf)


def _without_blanked(learned: PrivateKeys, whole: list[Step], steps: list[Step]) -> PrivateKeys:
    """Forget the keys of nodes that the path blanked: those on it whose other side stands for nobody."""
    if len(whole) == len(steps):
        return learned
    filtered = {step.cell.index for step in steps}
    for step in whole:
        index = step.cell.index
        if index in learned and index not in filtered:
            learned = {at: key for at, key in learned.items() if at != index}
    return learned


def _own_path(
    suite: Suite, fresh: RatchetTree, place: LeafIndex, path: UpdatePath, steps: list[Step], supplied: OwnPath
) -> Applied:
    """A sibling's commit: the whole path follows from what the hook derived, and must match what was sent."""
    if suite.hpke.public_key(supplied.leaf_private) != path.leaf_node.encryption_key:
        raise PeerError("VAL-12.4.2-9")
    keys = derive_path(suite, supplied.path_secret, len(steps))
    if keys.public != [node.encryption_key for node in path.nodes]:
        raise PeerError("VAL-12.4.2-9")
    private: PrivateKeys = {2 * place: supplied.leaf_private}
    for step, key in zip(steps, keys.private, strict=True):
        private[step.cell.index] = key
    return Applied(fresh, private, keys.commit_secret, place)
