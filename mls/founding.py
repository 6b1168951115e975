"""RFC 9420 §11: making a group, of oneself alone or in continuation of another one.

A group begins as a tree of one leaf and an epoch secret that its founder chose; everybody else is added by a commit.
A group that follows a ReInit or branches off (§11.2, §11.3) begins in the same way. What ties it to its past is its
first commit, which mixes in a resumption PSK of the old group. `continue_group` does both steps at once. Whoever has
to tell others about the first epoch before it ends takes them one by one: `continued`, then `link`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mls.commit import KEEP, Committed, NewLeaf, create_commit
from mls.components.negotiation import check_leaves, check_own
from mls.credential import Credential
from mls.epoch import arrive
from mls.errors import CallerError
from mls.leaf_node import Capabilities, Extensions, Lifetime, sign_leaf_node
from mls.parameters import Parameters
from mls.proposals import PreSharedKey, Proposal
from mls.provider import Environment, PathSupply, ReuseGuard
from mls.psk import ResumptionPskId
from mls.public_state import PublicState
from mls.registries import GroupId, LeafIndex, ResumptionUsage
from mls.schedule import GroupContext, confirmation_tag, derive_epoch, interim_hash
from mls.secrets import EpochSecret, HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import check_group_extensions, check_profiles


def create(
    env: Environment,
    parameters: Parameters,
    cipher_suite: int,
    group_id: GroupId,
    *,
    credential: Credential,
    signature_private: SignaturePrivateKey,
    capabilities: Capabilities,
    lifetime: Lifetime,
    leaf_extensions: Extensions = (),
    extensions: Extensions = (),
    leaf_key: tuple[HpkePrivateKey, bytes] | None = None,
    epoch_secret: EpochSecret | None = None,
) -> Group:
    """A group of one (§11); the leaf key and the first epoch secret are random unless supplied."""
    suite = env.suite(cipher_suite)
    leaf_private, leaf_public = leaf_key or suite.generate_key_pair(env.provider.random)
    leaf = sign_leaf_node(
        suite,
        signature_private,
        encryption_key=leaf_public,
        signature_key=suite.scheme.public_key(signature_private),
        credential=credential,
        capabilities=capabilities,
        extensions=leaf_extensions,
        lifetime=lifetime,
    )
    tree = RatchetTree.of_values(suite, [leaf])
    check_group_extensions(env, extensions)
    check_profiles(tree, extensions)
    check_own(parameters.components, extensions)
    check_leaves(parameters.components.numbers, extensions, [leaf])
    context = GroupContext.of(int(cipher_suite), group_id, 0, tree.hash, b"", extensions)
    parameters.mode(context.dictionary).check_group(extensions)
    first = epoch_secret or EpochSecret(env.provider.random(suite.hash_size))
    return begin(parameters, suite, context, tree, first, signature_private, leaf_private)


def begin(
    parameters: Parameters,
    suite: Suite,
    context: GroupContext,
    tree: RatchetTree,
    epoch_secret: EpochSecret,
    signature_private: SignaturePrivateKey,
    leaf_private: HpkePrivateKey,
) -> Group:
    """The first epoch, of a context and tree that were checked."""
    started = derive_epoch(suite, epoch_secret, parameters.recipe(suite, context.dictionary))
    tag = confirmation_tag(suite, started.secrets.confirmation, b"")
    public = PublicState(suite, context, tree, interim_hash(suite, b"", tag), tag)
    return arrive(parameters, public, started, LeafIndex(0), signature_private, {0: leaf_private})


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """A group in its first epoch that is to continue another one, and is not tied to it yet."""

    group: Group
    psk: PreSharedKey
    """The proposal that ties it."""
    founding: tuple[ResumptionUsage, Group]
    """How it continues what."""


def continued(
    group: Group,
    env: Environment,
    *,
    signature_private: SignaturePrivateKey,
    branch: GroupId | None = None,
    credential: Credential | None = None,
    capabilities: Capabilities | None = None,
    lifetime: Lifetime,
    leaf_extensions: Extensions | None = None,
    extensions: Extensions | None = None,
    parameters: Parameters | None = None,
    leaf_key: tuple[HpkePrivateKey, bytes] | None = None,
    epoch_secret: EpochSecret | None = None,
) -> Continuation:
    """Make the group that a ReInit announced (§11.2), or with `branch` a subgroup of that id (§11.3).

    `parameters` and `leaf_extensions` are those of the new group, if it is to be of another kind than this one.
    """
    own = group.own_leaf_node
    reinit = group.reinit
    if branch is not None:
        usage, suite, group_id = ResumptionUsage.BRANCH, group.suite.cipher_suite, branch
        wanted = group.public.context.extensions if extensions is None else extensions
    elif reinit is not None:
        usage, suite, group_id = ResumptionUsage.REINIT, reinit.cipher_suite, reinit.group_id
        wanted = reinit.extensions
    else:
        raise CallerError("this group was not re-initialized", "commit a ReInit first, or give a `branch` id")
    fresh = create(
        env,
        parameters or group.parameters,
        suite,
        group_id,
        credential=credential or own.credential,
        signature_private=signature_private,
        capabilities=capabilities or own.capabilities,
        lifetime=lifetime,
        leaf_extensions=own.extensions if leaf_extensions is None else leaf_extensions,
        extensions=wanted,
        leaf_key=leaf_key,
        epoch_secret=epoch_secret,
    )
    nonce = env.provider.random(fresh.suite.hash_size)
    psk = PreSharedKey(ResumptionPskId(usage, group.group_id, group.epoch, nonce))
    return Continuation(group=fresh, psk=psk, founding=(usage, group))


def link(
    continuation: Continuation,
    env: Environment,
    members: Sequence[Proposal],
    *,
    force_path: bool = True,
    leaf: NewLeaf = KEEP,
    supply: PathSupply | None = None,
    reuse_guard: ReuseGuard | None = None,
    authenticated_data: bytes = b"",
) -> Committed:
    """The first commit of a group that continues another one: it adds `members` and ties the two."""
    return create_commit(
        continuation.group,
        env,
        proposals=[*members, continuation.psk],
        authenticated_data=authenticated_data,
        force_path=force_path,
        leaf=leaf,
        supply=supply,
        founding=continuation.founding,
        reuse_guard=reuse_guard,
    )


def continue_group(
    group: Group,
    env: Environment,
    members: Sequence[Proposal],
    *,
    signature_private: SignaturePrivateKey,
    branch: GroupId | None = None,
    credential: Credential | None = None,
    capabilities: Capabilities | None = None,
    lifetime: Lifetime,
    leaf_extensions: Extensions | None = None,
    extensions: Extensions | None = None,
    parameters: Parameters | None = None,
    leaf_key: tuple[HpkePrivateKey, bytes] | None = None,
    epoch_secret: EpochSecret | None = None,
    force_path: bool = True,
    leaf: NewLeaf = KEEP,
    supply: PathSupply | None = None,
    reuse_guard: ReuseGuard | None = None,
    authenticated_data: bytes = b"",
) -> Committed:
    """Found the group that a ReInit announced, or with `branch` a subgroup of that id: `continued`, then `link`.

    `members` are Adds of everyone else.
    """
    continuation = continued(
        group,
        env,
        signature_private=signature_private,
        branch=branch,
        credential=credential,
        capabilities=capabilities,
        lifetime=lifetime,
        leaf_extensions=leaf_extensions,
        extensions=extensions,
        parameters=parameters,
        leaf_key=leaf_key,
        epoch_secret=epoch_secret,
    )
    return link(
        continuation,
        env,
        members,
        force_path=force_path,
        leaf=leaf,
        supply=supply,
        reuse_guard=reuse_guard,
        authenticated_data=authenticated_data,
    )
