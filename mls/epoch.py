"""RFC 9420 §8 and §12.4: from one epoch to the next, as every side of a commit does it.

Committers, those who follow them and those who join by external commit come here with a new tree and a commit secret.
`next_context` says what the next epoch is, transcript and all, and `conclude` what its secrets are; between the two
the caller finds the init secret, which in some groups depends on the first. `enter` makes a member's next value, and
`arrive` the first one of who was not a member before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mls.errors import MissingPskError
from mls.framing import (
    AuthenticatedContent,
)
from mls.leaf_node import Extensions
from mls.parameters import Parameters
from mls.proposals import ReInit
from mls.provider import Environment
from mls.psk import PreSharedKeyId, psk_secret
from mls.public_state import PublicState
from mls.registries import LeafIndex
from mls.schedule import (
    Advanced,
    GroupContext,
    Started,
    advance,
    confirmation_tag,
    confirmed_hash,
    interim_hash,
)
from mls.secret_tree import SecretTree
from mls.secrets import CommitSecret, InitSecret, PathSecret, PskSecret, SignaturePrivateKey
from mls.state import Group, find_psk
from mls.suite import Suite
from mls.tree.nodes import grown
from mls.tree.path import (
    PrivateKeys,
)
from mls.tree.ratchet_tree import RatchetTree


@dataclass(frozen=True, slots=True)
class Applied:
    """Everything a commit changes but its confirmation."""

    tree: RatchetTree
    private: PrivateKeys = field(repr=False)
    commit_secret: CommitSecret
    last: PathSecret | None
    """The path secret nearest the root, if there is a path."""
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


def next_context(
    state: PublicState, tree: RatchetTree, extensions: Extensions, authenticated: AuthenticatedContent
) -> GroupContext:
    """The context of the epoch that begins, with the commit in its transcript hash (§8.2)."""
    context = state.context
    confirmed = confirmed_hash(state.suite, state.interim_hash, authenticated.transcript_input())
    return GroupContext.of(context.cipher_suite, context.group_id, context.epoch + 1, tree.hash, confirmed, extensions)


def conclude(
    suite: Suite,
    context: GroupContext,
    tree: RatchetTree,
    init: InitSecret,
    commit: CommitSecret,
    psk: PskSecret,
    parameters: Parameters,
) -> Concluded:
    """The key schedule of the epoch that begins, and its confirmation tag."""
    confirmed = context.confirmed_transcript_hash
    recipe = parameters.recipe(suite, context.dictionary)
    advanced = advance(suite, init, commit, psk, context.encoded, recipe)
    tag = confirmation_tag(suite, advanced.secrets.confirmation, confirmed)
    return Concluded(advanced, PublicState(suite, context, tree, interim_hash(suite, confirmed, tag), tag))


def arrive(
    parameters: Parameters,
    public: PublicState,
    begun: Started | Advanced,
    own_leaf: LeafIndex,
    signer: SignaturePrivateKey,
    private: PrivateKeys,
) -> Group:
    """The first value of somebody who was not in the group before: no history, nothing waiting."""
    secrets = begun.secrets
    return Group(
        parameters=parameters,
        public=public,
        own_leaf=own_leaf,
        signature_key=signer,
        private=private,
        secrets=secrets,
        keys=SecretTree.of(begun.encryption, public.tree.leaf_count),
        trees=begun.trees,
        proposals={},
        updates={},
        resumption=((public.epoch, secrets.resumption),),
        ended=None,
    )


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
        trees=advanced.trees,
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
            raise MissingPskError(psk_id.encode())
        found.append((psk_id, psk))
    return psk_secret(suite, found)
