"""RFC 9420 §12.4.2: following a commit that somebody else made, another device of ours included.

A received commit either yields the next value or raises, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from hmac import compare_digest

from mls.epoch import Applied, conclude, enter, gather_psks, leaf_place, next_context, provisional_context
from mls.errors import BugError, MissingProposalsError, PeerError, UnderivedError
from mls.framing import (
    Commit,
    Sender,
    Verified,
)
from mls.leaf_checks import check_path_leaf, check_public_key
from mls.leaf_node import LeafNode
from mls.parameters import Parameters
from mls.provider import Environment, OwnLeaf, OwnPath
from mls.public_state import PublicState
from mls.registries import LeafIndex, ProposalRef, ResumptionUsage, SenderType
from mls.schedule import (
    receive_external_init,
)
from mls.secrets import CommitSecret, SignaturePrivateKey
from mls.state import Ended, Group, stripped
from mls.suite import Suite
from mls.tree.hashes import path_parent_hashes
from mls.tree.path import (
    PrivateKeys,
    UpdatePath,
    check_shape,
    derive_path,
    follow_path,
    kept_private,
    merge_path,
)
from mls.tree.ratchet_tree import RatchetTree, Step
from mls.validation import (
    Plan,
    Proposed,
    check_own_support,
    check_profiles,
    check_psk_list,
    plan,
    self_remove_capable,
)
from mls.welcome import check_founding


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A commit of somebody else, carried out."""

    before: Group
    """The epoch it ended, without what the commit consumed of it."""
    group: Group
    plan: Plan
    committer: LeafIndex
    external: bool


def resolve(
    waiting: Mapping[ProposalRef, Proposed], tree: RatchetTree, commit: Commit, sender: Sender
) -> list[Proposed]:
    """The commit's list, with references looked up among the proposals that wait."""
    items = []
    missing = []
    for item in commit.proposals:
        if isinstance(item, bytes):
            found = waiting.get(item)
            if found is None:
                missing.append(item)
            else:
                items.append(found)
        else:
            items.append(Proposed(item, sender))
    if missing:
        if sender.type == SenderType.NEW_MEMBER_COMMIT and (
            len(missing) > tree.member_count or not self_remove_capable(tree)
        ):
            raise PeerError("VAL-12.4.3.2-2")  # a member leaves once, and nothing else may be named
        raise MissingProposalsError(tuple(missing))
    return items


def process_commit(
    group: Group,
    env: Environment,
    verified: Verified,
    *,
    own: OwnLeaf | None = None,
    vouched: Container[bytes] = frozenset(),
    founding: tuple[ResumptionUsage, Group] | None = None,
) -> Followed:
    """§12.4.2; `vouched` are leaves, encoded, that were verified before where they were made (DiMLS §4.1.2).

    `founding` says that this is the first commit of a group that our own leaf founded, and what group that continues.
    """
    state = group.public
    suite = state.suite
    authenticated = verified.authenticated
    content = authenticated.content
    commit = content.body
    if not isinstance(commit, Commit):
        raise BugError("process_commit was given something else")
    sender = content.sender
    external = sender.type == SenderType.NEW_MEMBER_COMMIT
    items = resolve(group.proposals, state.tree, commit, sender)
    usage = None if founding is None else founding[0]
    outcome = plan(env, state, group.parameters, sender, items, sending=False, founding=usage, vouched=vouched)
    path = commit.path
    if path is None and outcome.path_required:
        raise PeerError("VAL-12.4.2-2")
    tree = outcome.tree
    place = LeafIndex(sender.index)
    if external:
        tree, place = leaf_place(tree)
    supplied = None
    merged = None
    if path is not None:
        old = replaced_leaf(state, outcome, place, external=external)
        merged = merged_path(env, state, group.parameters, outcome, tree, place, path, old)
        if own is not None and _is_own(group, place, outcome, external=external):
            supplied = own.own_path(path.leaf_node, state.group_id, external=external)
            if supplied is None and not external:
                raise UnderivedError
    if group.own_leaf in outcome.removed and supplied is None:
        # What a stranger says in our name was refused above; the rest is sealed to those who stay.
        gone = stripped(group, Ended.REMOVED)
        return Followed(before=group, group=gone, plan=outcome, committer=place, external=external)
    if outcome.extensions is not state.context.extensions:
        check_own_support(group.parameters, outcome.extensions)
    histories = [group] if founding is None else [group, founding[1]]
    psk = gather_psks(env, histories, suite, outcome.psks)
    signer = group.signature_key
    pending = outcome.updated.get(group.own_leaf)
    private = group.private
    if pending is not None:
        update = group.updates.get(pending.encoded)
        if update is None and own is not None:
            update = own.own_update(pending, state.group_id)
            if update is None:
                raise UnderivedError
        if update is None:
            raise PeerError("VAL-12.1.2-3")
        keys = suite.hpke.public_key(update.leaf_private), suite.scheme.public_key(update.signature_private)
        if keys != (pending.encryption_key, pending.signature_key):
            raise PeerError("VAL-12.1.2-3")
        private = {2 * group.own_leaf: update.leaf_private}
        signer = update.signature_private
    elif outcome.updated or outcome.removed:
        private = kept_private(private, state.tree, tree, group.own_leaf)
    if supplied is not None and supplied.signature_private is not None:
        signer = supplied.signature_private
    if merged is None:
        applied = Applied(tree, private, CommitSecret(bytes(suite.hash_size)), None, group.own_leaf)
    else:
        applied = _apply_path(group, outcome, place, merged, private, supplied, signer)
    context = next_context(state, applied.tree, outcome.extensions, authenticated)
    ended = group
    if outcome.external_init is None:
        ended, init = group.mode.next_init(group, applied.last, context.encoded)
    else:
        ended = group.mode.from_outside(group, context)
        if supplied is not None and supplied.external_init is not None:
            init = supplied.external_init
        else:
            init = receive_external_init(suite, group.secrets.external, outcome.external_init)
    concluded = conclude(suite, context, applied.tree, init, applied.commit_secret, psk, group.parameters)
    if not compare_digest(concluded.public.confirmation_tag, authenticated.confirmation_tag):
        raise PeerError("VAL-12.4.2-10")
    if founding is not None:
        _check_continues(env, outcome, founding[1], concluded.public)
    following = enter(group, applied, concluded, signer, outcome.reinit)
    return Followed(before=ended, group=following, plan=outcome, committer=place, external=external)


def _is_own(group: Group, place: LeafIndex, outcome: Plan, *, external: bool) -> bool:
    """Whether the committer is our own leaf, on another device."""
    return group.own_leaf == outcome.resynced if external else place == group.own_leaf


def _check_continues(env: Environment, outcome: Plan, prior: Group, public: PublicState) -> None:
    """§11.2, §11.3: what a new member asks of such a group, of a sibling's making too."""
    psk_id = check_psk_list(public.suite, outcome.psks, prior.suite)
    if psk_id is None:
        raise PeerError("VAL-12.4.3.1-20")
    check_founding(env, psk_id, prior, public.context, public.tree)


def replaced_leaf(state: PublicState, outcome: Plan, place: LeafIndex, *, external: bool) -> LeafNode | None:
    """The leaf that the committer's new one takes the place of."""
    if not external:
        return state.tree.leaf(place)
    return None if outcome.resynced is None else state.tree.leaf(outcome.resynced)


@dataclass(frozen=True, slots=True)
class Merged:
    """A path that everybody can check, in the tree; its secrets were not looked at."""

    path: UpdatePath
    tree: RatchetTree
    whole: list[Step]
    steps: list[Step]
    excluded: frozenset[int]


def merged_path(
    env: Environment,
    state: PublicState,
    parameters: Parameters,
    outcome: Plan,
    tree: RatchetTree,
    place: LeafIndex,
    path: UpdatePath,
    old: LeafNode | None,
) -> Merged:
    """The public half of §12.4.2's path: leaf, shape, keys and parent hashes."""
    suite = state.suite
    leaf_node = path.leaf_node
    check_path_leaf(env, state, parameters, place, leaf_node, old, outcome.extensions)
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
    return Merged(path, fresh, whole, steps, excluded)


def _apply_path(
    group: Group,
    outcome: Plan,
    place: LeafIndex,
    merged: Merged,
    private: PrivateKeys,
    supplied: OwnPath | None,
    signer: SignaturePrivateKey,
) -> Applied:
    """The secret half: what the path tells us, or what a sibling supplies."""
    state = group.public
    suite = state.suite
    path, fresh, steps = merged.path, merged.tree, merged.steps
    if supplied is not None:
        return derived_path(suite, merged, place, supplied, signer)
    context = provisional_context(state, fresh, outcome.extensions)
    followed = follow_path(suite, group.own_leaf, private, steps, path, context.encoded, merged.excluded)
    learned = _without_blanked(followed.private, merged.whole, steps)
    return Applied(fresh, learned, followed.commit_secret, followed.last, group.own_leaf)


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


def derived_path(
    suite: Suite, merged: Merged, place: LeafIndex, supplied: OwnPath, signer: SignaturePrivateKey
) -> Applied:
    """A sibling's commit: leaf and path follow from what the hook derived, and must match what was sent."""
    path, steps = merged.path, merged.steps
    public = suite.hpke.public_key(supplied.leaf_private), suite.scheme.public_key(signer)
    if public != (path.leaf_node.encryption_key, path.leaf_node.signature_key):
        raise PeerError("VAL-12.4.2-9")
    keys = derive_path(suite, supplied.path_secret, len(steps))
    if keys.public != [node.encryption_key for node in path.nodes]:
        raise PeerError("VAL-12.4.2-9")
    private: PrivateKeys = {2 * place: supplied.leaf_private}
    for step, key in zip(steps, keys.private, strict=True):
        private[step.cell.index] = key
    return Applied(merged.tree, private, keys.commit_secret, keys.last, place)
