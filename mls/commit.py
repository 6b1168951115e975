"""RFC 9420 §12.4.1: ending an epoch, as the one who commits.

A commit is created against a group value and yields the next value beside it; nothing is adopted until the caller
does, so a commit that loses a race is simply not used. `mls.follow` is the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field, replace

from mls.components.dictionary import dictionary_of
from mls.credential import Credential
from mls.epoch import Applied, conclude, enter, gather_psks, next_context, provisional_context
from mls.errors import CallerError, PeerError
from mls.framing import (
    Commit,
    Sender,
)
from mls.leaf_checks import check_path_leaf
from mls.leaf_node import Capabilities, Extensions, sign_leaf_node
from mls.messages import frame, send
from mls.parameters import Parameters
from mls.proposals import Proposal, ReInit
from mls.provider import Environment, LeafExtensions, PathSupply, ReuseGuard
from mls.public_state import PublicState
from mls.registries import MLS10, ContentType, LeafIndex, ProposalRef, ProposalType, SenderType
from mls.secrets import CommitSecret, InitSecret, PathSecret, SignaturePrivateKey
from mls.state import Group, find_psk
from mls.tree.hashes import path_parent_hashes
from mls.tree.path import (
    PathKeys,
    PrivateKeys,
    UpdatePath,
    derive_path,
    kept_private,
    merge_path,
    seal_path,
)
from mls.tree.ratchet_tree import RatchetTree, Step
from mls.validation import SUPPORTED_EXTENSIONS, Plan, Proposed, check_own_support, check_profiles, plan
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
    group_info: GroupInfo | None = field(repr=False)
    """What the Welcome carries; `mls.group.group_info` makes one to publish."""
    before: Group
    """This epoch, without the keys that made the commit."""
    group: Group
    """The next epoch."""
    added: tuple[LeafIndex, ...]
    plan: Plan
    """What it does: who is added, updated, removed."""
    path_secrets: dict[int, bytes] = field(repr=False)


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


def unasked(item: Proposed) -> bool:
    """A wish of somebody outside that a commit takes up only if it is told to.

    To be added is one. To use a key is another: who joined after that key was given out could not follow.
    """
    kind = item.sender.type
    return kind == SenderType.NEW_MEMBER_PROPOSAL or (
        kind == SenderType.EXTERNAL and item.proposal.type == ProposalType.PSK
    )


def _leads_somewhere(env: Environment, parameters: Parameters, reinit: ReInit) -> bool:
    """Whether we could found the group that a ReInit announces; otherwise it would only end this one."""
    try:
        env.provider.suite(reinit.cipher_suite)
        check_own_support(parameters, reinit.extensions)
        parameters.mode(dictionary_of(reinit.extensions)).check_group(reinit.extensions)
    except (KeyError, PeerError):
        return False
    return reinit.version == MLS10


def choose_pending(group: Group, env: Environment) -> list[Proposed]:
    """The waiting proposals that may stand in one commit of ours (§12.2's preferences).

    Wishes to leave win over removals, those over updates, later updates over earlier ones, and anything over a ReInit;
    our own updates cannot be committed by us, nor can our own wish to leave, a pre-shared key that is not here, or
    extensions that we could not follow.
    """
    removed: set[int] = set()
    leaving: set[int] = set()
    latest: dict[int, Proposed] = {}
    strangers = group.parameters.take_new_members
    waiting = [
        item
        for item in group.proposals.values()
        if not item.shelved and (not unasked(item) or (strangers and item.proposal.type == ProposalType.ADD))
    ]
    for item in waiting:
        kind = item.proposal.type
        if kind == ProposalType.REMOVE:
            removed.add(item.proposal.removed)  # type: ignore[attr-defined]  # a Remove
        elif kind == ProposalType.SELF_REMOVE:
            leaving.add(item.sender.index)
        elif kind == ProposalType.UPDATE:
            latest[item.sender.index] = item
    removed |= leaving
    implemented = SUPPORTED_EXTENSIONS | group.parameters.extensions
    chosen: list[Proposed] = []
    seen: set[object] = set()
    reinit: Proposed | None = None
    for item in waiting:
        proposal = item.proposal
        kind = proposal.type
        key: object = item
        if kind == ProposalType.UPDATE:
            index = item.sender.index
            if index == group.own_leaf or index in removed or latest[index] is not item:
                continue
        elif kind == ProposalType.REMOVE:
            if proposal.removed == group.own_leaf or proposal.removed in leaving:  # type: ignore[attr-defined]
                continue
            key = ("remove", proposal.removed)  # type: ignore[attr-defined]
        elif kind == ProposalType.SELF_REMOVE:
            if item.sender.index == group.own_leaf:
                continue
            key = ("self-remove", item.sender.index)
        elif kind == ProposalType.ADD:
            key = ("add", proposal.key_package.leaf_node.signature_key)  # type: ignore[attr-defined]
        elif kind == ProposalType.PSK:
            if find_psk(env, [group], proposal.psk) is None:  # type: ignore[attr-defined]
                continue
            key = ("psk", proposal.psk)  # type: ignore[attr-defined]
        elif kind == ProposalType.GROUP_CONTEXT_EXTENSIONS:
            if not all(extension.type in implemented for extension in proposal.extensions):  # type: ignore[attr-defined]
                continue
        elif kind == ProposalType.REINIT:
            if reinit is None and _leads_somewhere(env, group.parameters, proposal):  # type: ignore[arg-type]
                reinit = item
            continue
        if kind != ProposalType.UPDATE:
            if key in seen:
                continue
            seen.add(key)
        chosen.append(item)
    if not chosen and reinit is not None:
        return [reinit]
    return chosen


_ORDER = (
    ProposalType.SELF_REMOVE,
    ProposalType.REMOVE,
    ProposalType.UPDATE,
    ProposalType.GROUP_CONTEXT_EXTENSIONS,
    ProposalType.ADD,
)


def _eagerness(item: Proposed) -> int:
    """What makes room for others comes first."""
    kind = item.proposal.type
    return _ORDER.index(kind) if kind in _ORDER else len(_ORDER)


def _planned(
    env: Environment,
    group: Group,
    items: Sequence[Proposed],
    founding: int | None,
    vouched: Container[bytes] = frozenset(),
    *,
    sending: bool = True,
) -> Plan:
    """What a list of ours does, if we can take part in what comes of it."""
    committer = Sender(SenderType.MEMBER, group.own_leaf)
    outcome = plan(
        env, group.public, group.parameters, committer, items, sending=sending, founding=founding, vouched=vouched
    )
    if outcome.extensions is not group.public.context.extensions:
        check_own_support(group.parameters, outcome.extensions)
    return outcome


def _is_app_data(item: Proposed) -> bool:
    """Listed after everything else, as it is processed (mls-extensions §4.7); some implementations insist on it."""
    return item.proposal.type in (ProposalType.APP_DATA_UPDATE, ProposalType.APP_EPHEMERAL)


def _fitting(env: Environment, group: Group, kept: Sequence[Proposed], pending: Sequence[Proposed]) -> list[Proposed]:
    """Those of the waiting proposals that make a valid list with `kept`: each is right alone, maybe not beside others.

    Found by halves, so one that does not fit costs a few looks, not one for every other.
    """
    try:
        _planned(env, group, [*kept, *pending], None)
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
    fresh: Callable[[], tuple[NewLeaf, PathSupply]] | None = None,
    group_info_extensions: Extensions = (),
    founding: tuple[int, Group] | None = None,
    reuse_guard: ReuseGuard | None = None,
    vouched: Container[bytes] = frozenset(),
    sending: bool = True,
) -> Committed:
    """Commit `proposals` by value and the pending ones by reference (all that fit together, unless listed).

    `fresh` is asked for leaf and keys if the commit has a path, and not otherwise; what gives it may be of use only
    once. `vouched` are leaves, encoded, that were verified before where they were made (DiMLS §4.1.2). Without
    `sending`, lifetimes of added leaves are judged as by who receives the commit (§7.3).
    """
    group.require_active()
    state = group.public
    suite = state.suite
    committer = Sender(SenderType.MEMBER, group.own_leaf)
    if references is None:
        chosen = choose_pending(group, env)
    else:
        try:
            chosen = [group.proposals[reference] for reference in references]
        except KeyError:
            raise CallerError("no such pending proposal", "list references from the group's proposals") from None
    items = [*(Proposed(proposal, committer) for proposal in proposals), *chosen]
    usage = None if founding is None else founding[0]
    try:
        outcome = _planned(env, group, items, usage, vouched, sending=sending)
    except PeerError:
        if references is not None or not chosen:
            raise
        given = items[: len(proposals)]
        chosen = _fitting(env, group, given, sorted(chosen, key=_eagerness))
        items = [*given, *chosen]
        outcome = _planned(env, group, items, usage, vouched, sending=sending)
    histories = [group] if founding is None else [group, founding[1]]
    psk = gather_psks(env, histories, suite, outcome.psks)
    signer = group.signature_key
    path: UpdatePath | None = None
    path_secrets: dict[int, bytes] = {}
    own = group.own_leaf_node
    if outcome.path_required or force_path or leaf is not KEEP or supply is not None:
        if fresh is not None:
            leaf, supply = fresh()
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
        check_path_leaf(env, state, group.parameters, group.own_leaf, made.path.leaf_node, own, outcome.extensions)
        if made.tree.profiles is not outcome.tree.profiles:
            check_profiles(made.tree, outcome.extensions)
        path = made.path
        applied = Applied(made.tree, made.private, made.keys.commit_secret, made.keys.last, group.own_leaf)
        path_secrets = {
            step.cell.index: secret for step, secret in zip(made.steps, made.keys.path_secrets, strict=True)
        }
    else:
        private = kept_private(group.private, state.tree, outcome.tree, group.own_leaf)
        applied = Applied(outcome.tree, private, CommitSecret(bytes(suite.hash_size)), None, group.own_leaf)
    items.sort(key=_is_app_data)
    body = Commit(
        tuple([item.proposal if item.reference is None else ProposalRef(item.reference) for item in items]),
        path,
    )
    if encrypt is None:
        encrypt = group.parameters.encrypt_handshakes
    unconfirmed = frame(group, ContentType.COMMIT, body, authenticated_data, encrypt=encrypt)
    context = next_context(state, applied.tree, outcome.extensions, unconfirmed)
    ended, init = group.mode.next_init(group, applied.last, context.encoded)
    concluded = conclude(suite, context, applied.tree, init, applied.commit_secret, psk, group.parameters)
    authenticated = replace(unconfirmed, confirmation_tag=concluded.public.confirmation_tag)
    before, message = send(ended, env, authenticated, reuse_guard=reuse_guard)
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
        plan=outcome,
        path_secrets=path_secrets,
    )
