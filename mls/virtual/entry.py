"""draft-ietf-mls-virtual-clients §6.3 and §6.4: how the virtual client comes into conversations, device by device.

One device creates a conversation, takes up a Welcome, or joins by an external commit. The others do it again from what
they are told (`mls.virtual.announcements`): the first GroupInfo of a conversation that was created, the Welcome, or the
external commit with what it stood on. Each then holds the same group, down to its secrets.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field, replace

from mls import group as front, sharing
from mls.commit import NewLeaf
from mls.components.logic import Components
from mls.credential import Credential
from mls.errors import BugError, CallerError
from mls.external import suite_of
from mls.founding import Continuation
from mls.group import ExternallyJoined
from mls.leaf_node import Capabilities, Extensions, find_extension
from mls.parameters import Parameters
from mls.proposals import AppDataUpdate, AppEphemeral
from mls.provider import Environment
from mls.psk import PreSharedKeyId
from mls.registries import ExtensionType, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import KeyPackageSeed, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.virtual import stock
from mls.virtual.announcements import Announcement, Created, JoinedExternally, Keys, SignatureKey, Welcomed
from mls.virtual.conversation import Author, check_newest
from mls.virtual.derivation_info import KeyPackageDerivation
from mls.virtual.derive import KeyPair, derived_signature_key, group_creation_secret, key_package_seed, leaf_key
from mls.virtual.emulation import Emulation, Origin, consuming
from mls.virtual.errors import UnknownEpochError
from mls.virtual.leaves import Follower, active_epoch, check_capable, check_owned, drafted, listed, sealed_into
from mls.virtual.operations import OperationType
from mls.virtual.settings import SignaturePolicy
from mls.virtual.stock import Offer
from mls.welcome import GroupInfo, decode_group_info, decode_welcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A conversation of one, which the others have to be told of."""

    emulation: Emulation
    group: Group
    announcements: tuple[Announcement, ...]


class _Taken:
    """Names of groups that no conversation may have: those that we are in, and that of the devices' own."""

    __slots__ = ("_known", "_own")

    def __init__(self, emulation: Emulation, known: Container[bytes]) -> None:
        self._own = emulation.group.group_id
        self._known = known

    def __contains__(self, group_id: object) -> bool:
        return group_id == self._own or group_id in self._known


def _check_name(emulation: Emulation, group_id: bytes) -> None:
    if group_id == emulation.group.group_id:
        raise CallerError("a conversation cannot have the name of the emulation group", "choose another group id")


@dataclass(frozen=True, slots=True, kw_only=True)
class _First:
    """The first leaf of a group, before it is signed."""

    emulation: Emulation
    private: SignaturePrivateKey
    key: KeyPair
    extensions: Extensions
    seed: KeyPackageSeed
    told: tuple[Announcement, ...]
    """Which the others must hear first."""


def _first_leaf(emulation: Emulation, env: Environment, suite: Suite, offer: Offer, components: Components) -> _First:
    """§6.2: keys of a KeyPackage operation of its own, at the first place of its batch."""
    check_capable(offer.capabilities)
    after, operation = emulation.take(OperationType.KEY_PACKAGE)
    with consuming(after):
        seed = key_package_seed(suite, operation.secret, 0)
        origin = Origin(operation.epoch_id, operation.leaf, operation.generation, 0)
        after = after.keeping(suite.cipher_suite, seed, origin)
        told: tuple[Announcement, ...] = ()
        if emulation.settings.signatures is SignaturePolicy.DERIVED:
            if offer.signature_private is not None:
                raise CallerError("this virtual client derives its signature keys", "give none")
            private, _ = derived_signature_key(suite, seed)
        elif offer.signature_private is not None:
            private = offer.signature_private
            check_owned(after, suite, private)
        else:
            after, public = after.drawn_key(env, suite.cipher_suite)
            private = after.keys[public].private
            told = (Keys((SignatureKey(cipher_suite=suite.cipher_suite, public=public, private=private),)),)
        pair = leaf_key(suite, seed)
        derivation = KeyPackageDerivation(operation.leaf, operation.generation, 0)
        extensions = listed(after, offer.leaf_extensions, components)
        extensions = sealed_into(after, after.newest, extensions, pair[1], derivation)
    return _First(emulation=after, private=private, key=pair, extensions=extensions, seed=seed, told=told)


def create(
    emulation: Emulation,
    env: Environment,
    parameters: Parameters,
    group_id: GroupId,
    offer: Offer,
    *,
    extensions: Extensions = (),
) -> Made:
    """A conversation. `offer` is what our leaf says, and of what suite the group is."""
    _check_name(emulation, group_id)
    suite = env.suite(offer.cipher_suite)
    first = _first_leaf(emulation, env, suite, offer, parameters.components)
    with consuming(first.emulation):
        group = front.create(
            env,
            emulation.settings.shared(parameters),
            offer.cipher_suite,
            group_id,
            credential=offer.credential,
            signature_private=first.private,
            capabilities=offer.capabilities,
            lifetime=offer.lifetime,
            leaf_extensions=first.extensions,
            extensions=extensions,
            leaf_key=first.key,
            epoch_secret=group_creation_secret(suite, first.seed),
        )
    told = Created(front.group_info(group, external_join=False, with_tree=True))
    return Made(emulation=first.emulation, group=group, announcements=(*first.told, told))


@dataclass(frozen=True, slots=True, kw_only=True)
class Continued:
    """A group of one that is to continue a conversation, and is not tied to it yet.

    `mls.virtual.conversation.commit` ties it, with `continuation.psk` among the proposals, `continuation.founding`, and
    Adds of everybody else. Siblings follow the first epoch (`follow_creation`) and then that commit, as one that is
    `founding`.
    """

    emulation: Emulation
    continuation: Continuation
    announcements: tuple[Announcement, ...]


def continue_conversation(
    emulation: Emulation,
    group: Group,
    env: Environment,
    offer: Offer,
    *,
    branch: GroupId | None = None,
    extensions: Extensions | None = None,
    parameters: Parameters | None = None,
) -> Continued:
    """Make the group that a ReInit announced (RFC 9420 §11.2), or with `branch` a subgroup of that id (§11.3)."""
    reinit = None if branch is not None else group.reinit
    wanted = group.suite.cipher_suite if reinit is None else reinit.cipher_suite
    name = branch if reinit is None else reinit.group_id
    if name is not None:
        _check_name(emulation, name)
    if offer.cipher_suite != wanted:
        raise CallerError(f"the group that continues this one has cipher suite {wanted}", "offer a leaf of that suite")
    suite = env.suite(wanted)
    shared = emulation.settings.shared(parameters or group.parameters)
    first = _first_leaf(emulation, env, suite, offer, shared.components)
    with consuming(first.emulation):
        continuation = front.continued(
            group,
            env,
            signature_private=first.private,
            branch=branch,
            credential=offer.credential,
            capabilities=offer.capabilities,
            lifetime=offer.lifetime,
            leaf_extensions=first.extensions,
            extensions=extensions,
            parameters=shared,
            leaf_key=first.key,
            epoch_secret=group_creation_secret(suite, first.seed),
        )
    told = Created(front.group_info(continuation.group, external_join=False, with_tree=True), continuation.psk.psk)
    return Continued(emulation=first.emulation, continuation=continuation, announcements=(*first.told, told))


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A conversation that a sibling brought us into."""

    emulation: Emulation
    group: Group
    author: Author | None


def follow_creation(
    emulation: Emulation,
    env: Environment,
    parameters: Parameters,
    told: Created,
    *,
    tree: bytes | None = None,
    known_groups: Container[bytes] = (),
) -> Followed:
    """A conversation that a sibling created, as it was in its first epoch."""
    follower = Follower(emulation, suite_of(env, decode_group_info(told.group_info)))
    group = sharing.follow_creation(
        env,
        emulation.settings.shared(parameters),
        told.group_info,
        follower,
        tree=tree,
        known_groups=_Taken(emulation, known_groups),
    )
    return _followed(follower, group)


def follow_external(
    emulation: Emulation,
    env: Environment,
    parameters: Parameters,
    told: JoinedExternally,
    *,
    self_removes: Sequence[bytes] = (),
    known_groups: Container[bytes] = (),
) -> Followed:
    """A conversation that a sibling brought us into by an external commit. If we are in it, `receive` is enough."""
    follower = Follower(emulation, suite_of(env, decode_group_info(told.group_info)))
    group = sharing.follow_external(
        env,
        emulation.settings.shared(parameters),
        told.group_info,
        told.commit,
        follower,
        tree=told.tree,
        self_removes=self_removes,
        known_groups=_Taken(emulation, known_groups),
    )
    return _followed(follower, group)


def _followed(follower: Follower, group: Group) -> Followed:
    author = None if follower.device is None else Author(*follower.device)
    return Followed(emulation=follower.emulation, group=group, author=author)


# Joining


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A Welcome that was taken up."""

    emulation: Emulation
    group: Group
    extensions: Extensions = field(repr=False)
    """Of the GroupInfo."""
    reference: KeyPackageRef
    again: bool
    """Whether the KeyPackage had been used: by this Welcome on another branch, or by somebody who sent two."""
    announcements: tuple[Announcement, ...]
    """The Welcome itself, for siblings that it was not sent to."""


def join(
    emulation: Emulation,
    env: Environment,
    parameters: Parameters,
    welcome: bytes,
    *,
    tree: bytes | None = None,
    known_groups: Container[bytes] = (),
    prior: Group | None = None,
) -> Joined:
    """Become a member by a Welcome to a KeyPackage that any of our devices made.

    The KeyPackage can be used until it is withdrawn; so name the groups that we are in already (`known_groups`), or a
    Welcome that comes again would lead back to its epoch.
    """
    material, secrets = stock.secrets_for(emulation, env, decode_welcome(welcome))
    joined = front.join_informed(
        env,
        emulation.settings.shared(parameters),
        welcome,
        [secrets],
        tree=tree,
        known_groups=_Taken(emulation, known_groups),
        prior=prior,
    )
    return Joined(
        emulation=stock.used(emulation, material),
        group=joined.group,
        extensions=joined.extensions,
        reference=material.reference,
        again=material.used,
        announcements=(Welcomed(welcome, tree),),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entered:
    """An external commit of ours. Adopt `joined.group` once it is accepted; store `emulation` in any case."""

    emulation: Emulation
    joined: ExternallyJoined
    announcements: tuple[Announcement, ...]
    """What siblings need to follow who are not in the conversation."""


def join_externally(
    emulation: Emulation,
    env: Environment,
    parameters: Parameters,
    group_info: bytes,
    *,
    credential: Credential,
    capabilities: Capabilities,
    signature_private: SignaturePrivateKey | None = None,
    leaf_extensions: Extensions = (),
    tree: bytes | None = None,
    remove: LeafIndex | None = None,
    psks: Sequence[PreSharedKeyId] = (),
    self_removes: Sequence[bytes] = (),
    app_data: Sequence[AppDataUpdate | AppEphemeral] = (),
    authenticated_data: bytes = b"",
    known_groups: Container[bytes] = (),
    prior: Group | None = None,
) -> Entered:
    """Bring the virtual client into a conversation, or back into it in the place of its old leaf (`remove`).

    Tell the others before you do (`mls.virtual.announcements.ExternalJoin`), so that they do not try as well. The leaf
    needs a signature key that they know (`Emulation.drawn_key`, `Keys`), unless keys are derived. `prior`
    is the conversation as this device knows it, if it does: its resumption PSKs go on, as they do on other devices.
    """
    info = decode_group_info(group_info)
    _check_name(emulation, info.context.group_id)
    suite = suite_of(env, info)
    if signature_private is None and emulation.settings.signatures is not SignaturePolicy.DERIVED:
        raise CallerError("the leaf needs a signature key", "draw one with `Emulation.drawn_key` and announce it")
    new = NewLeaf(credential=credential, signature_private=signature_private, capabilities=capabilities)
    if remove is not None:
        _check_replaced(emulation, suite, info, tree, remove, known=prior is not None)
    base = listed(emulation, leaf_extensions, parameters.components)
    draft = drafted(emulation, suite, info.context.group_id, base, new)
    with consuming(draft.emulation):
        private, hook = draft.leaf.signature_private, draft.leaf.extensions
        if private is None or hook is None:
            raise BugError("a leaf of ours was drafted without its key, or without what it says to siblings")
        joined = front.join_externally(
            env,
            emulation.settings.shared(parameters),
            group_info,
            credential=credential,
            signature_private=private,
            capabilities=capabilities,
            leaf_extensions=hook,
            tree=tree,
            remove=remove,
            psks=psks,
            self_removes=self_removes,
            app_data=app_data,
            authenticated_data=authenticated_data,
            supply=draft.supply,
            known_groups=known_groups,
        )
    if prior is not None and prior.group_id == joined.group.group_id:
        joined = replace(joined, group=with_history(joined.group, prior))
    told = JoinedExternally(group_info=group_info, tree=tree, commit=joined.message)
    after = draft.emulation if prior is None else draft.emulation.using(prior.own_leaf_node.signature_key)
    return Entered(emulation=after, joined=joined, announcements=(told,))


def _check_replaced(
    emulation: Emulation, suite: Suite, info: GroupInfo, tree: bytes | None, remove: LeafIndex, *, known: bool
) -> None:
    """Our new leaf does not go back behind the one that it takes the place of, as far as we know where that was made.

    Who was in the conversation knows all emulation epochs that its leaf can come from, or will hear of them.
    """
    encoded = find_extension(info.extensions, ExtensionType.RATCHET_TREE) or tree
    old = None if encoded is None else RatchetTree.decode(suite, encoded).leaf(remove)
    active = None if old is None else active_epoch(emulation, old)
    if active is None:
        return
    if known and active not in emulation.epochs:
        raise UnknownEpochError(active)
    check_newest(emulation, active)


def with_history(group: Group, prior: Group) -> Group:
    """A conversation that was entered again, with the resumption PSKs of when we were in it before.

    What we knew last may be a branch that lost and had come further: of one number there is one epoch on our way here,
    and no epoch is before those that led to it.
    """
    kept = group.parameters.resumption_psks
    whole = (*[each for each in prior.resumption if each[0] < group.epoch], *group.resumption)
    return replace(group, resumption=whole[-kept:] if kept else ())
