"""draft-ietf-mls-virtual-clients §5.1: a conversation, as one device of a virtual client hands it to a new one.

`hand_over` takes a conversation apart: into the draft's struct, into what the companion says beside it, and into the
ratchet tree, which is public and may come by any way because the GroupContext has its hash. `take_over` puts the same
value together again, so that the new device reads what the others read: late messages, of earlier epochs too, rival
commits where branches are kept, and the commit of an Update that waits. What was deleted is in none of the parts.

Nothing is taken on trust that can be looked at. The tree must have the context's hash and be sound, our leaf's keys and
those above it must belong to the private ones, the confirmation tag must hold under the confirmation key, and what is
left of message keys must be what deleting can leave. A sibling could still lie about what only members know, and be
found out when nothing decrypts; leaf signatures, which it has verified itself, are not verified again.

The leaf's private key is not in the draft's struct: it follows from the operation or KeyPackage that the leaf's
DerivationInfo names, so the caller derives it (`mls.virtual.derive`). Only for a leaf without that, the companion has
it. The signature key is found among the virtual client's by the public key in the leaf.

Where branches are kept, the present epoch may be one that was left for a rival and is the head again. Its exporter and
its confirmation key are gone (`mls.fork.retention`), so it goes without, and its tag is not looked at.

A new device was no member of the emulation epoch that the leaf was made in, so it must not send before the leaf is
replaced, which is for whoever draws the reuse guards to see to. Where the state of another implementation comes without
a companion, `take_over_bare` makes what can be made of it: a member of RFC 9420, without what was passed over or waits.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mls import snapshot
from mls.codec import decode_exactly, opaque
from mls.errors import CallerError, PeerError
from mls.hpke import CryptoError
from mls.leaf_node import LeafNode
from mls.parameters import Parameters
from mls.provider import PendingUpdate, Provider
from mls.public_state import PublicState
from mls.puncture import Puncturable
from mls.registries import GroupId, LeafIndex, ProposalRef, SenderType
from mls.schedule import EXPORTER_BITS, EXPORTER_TREE, EpochSecrets, GroupContext, Recipe, Trees, interim_hash
from mls.secrets import HpkePrivateKey, Secret, SignaturePrivateKey
from mls.state import Ended, Group
from mls.suite import Suite
from mls.tree.hashes import check_parent_hashes, check_unmerged_leaves
from mls.tree.nodes import ParentNode
from mls.tree.path import PrivateKeys
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import Proposed, check_own_support
from mls.virtual.companion import MAX_PAST, ConversationPart, suite_of
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.secret_state import (
    SecretTreeState,
    check_distinct,
    check_messages,
    check_size,
    skipped_messages,
    with_skipped_messages,
)
from mls.virtual.transfer import SECRETS, ExternalGroup, HigherLevelGroupState, TransferredGroup

MAX_PAST_LEAVES = 1 << 18
"""Of all earlier epochs' trees together, blank ones included. They are told as what differs, so that a few bytes can
make a tree of any size, and it has to be hashed to be believed."""


@dataclass(frozen=True, slots=True)
class Handover:
    """One conversation in the parts in which it travels."""

    state: HigherLevelGroupState
    part: ConversationPart | None = None
    """For the companion."""
    tree: bytes = field(default=b"", repr=False)
    """The ratchet tree, as in the ratchet_tree extension; public."""

    @classmethod
    def by_external_commit(cls, group_id: GroupId) -> Handover:
        """Only the name: the new device joins from outside, in the place of our leaf."""
        return cls(ExternalGroup(group_id))


# Taking apart


def hand_over(group: Group, past: Sequence[Group] = (), *, carry_leaf_key: bool | None = None) -> Handover:
    """A conversation's present epoch, and earlier or rival ones that are kept beside it.

    `carry_leaf_key` puts the leaf's private key into the companion; if nothing is said, only that of a leaf without
    DerivationInfo. What cannot be handed over raises CallerError: the new device can still join from outside. An epoch
    that is given twice goes once, the head before others.
    """
    if isinstance(group.ended, Ended):
        raise CallerError("this epoch is over for us", "hand over the head; this one as an earlier epoch")
    _check_past(group, past)
    past = _each_once(group, past)
    if carry_leaf_key is None:
        numbers = group.parameters.components.numbers
        carry_leaf_key = derivation_info_of(group.own_leaf_node.extensions, numbers) is None
    secrets, exporter = group.secrets, group.trees.get(EXPORTER_TREE)
    state = TransferredGroup(
        group_id=group.group_id,
        init=secrets.init,
        sender_data=secrets.sender_data,
        exporter=secrets.exporter,
        external=secrets.external,
        confirmation=secrets.confirmation,
        membership=secrets.membership,
        resumption=secrets.resumption,
        authenticator=secrets.authenticator,
        secret_tree=SecretTreeState.of_messages(group.keys),
        exporter_tree=_NO_TREE if exporter is None else exporter.pprf_state(group.suite),
        path_keys=_path_keys(group),
    )
    part = ConversationPart(
        context=group.public.context,
        confirmation_tag=group.public.confirmation_tag,
        epoch_id=secrets.epoch_id,
        leaf_private=group.private[2 * group.own_leaf] if carry_leaf_key else None,
        extra=secrets.extra,
        skipped=skipped_messages(group.keys),
        trees=tuple([(label, group.trees[label]) for label in sorted(group.trees) if label != EXPORTER_TREE]),
        proposals=tuple([(ProposalRef(reference), item) for reference, item in group.proposals.items()]),
        updates=tuple(group.updates.items()),
        resumption=group.resumption,
        ended=group.ended,
        followed=tuple(sorted(group.followed)),
        past=tuple([snapshot.encode_delta(group, earlier) for earlier in past]),
    )
    return Handover(state, part, group.public.tree.encode())


_NO_TREE = opaque(b"")
"""A PPRFState without nodes: the group has nothing to export from."""
_UNKNOWN = HpkePrivateKey(b"")


def _check_past(group: Group, past: Sequence[Group]) -> None:
    if len(past) > MAX_PAST:
        raise CallerError(f"{len(past)} earlier epochs are too many", f"hand over the newest {MAX_PAST}")
    for earlier in past:
        if earlier.group_id != group.group_id or earlier.ended is Ended.REMOVED:
            raise CallerError("an epoch of another group, or one that reads nothing, is no earlier epoch")
    if sum(earlier.public.tree.leaf_count for earlier in past) > MAX_PAST_LEAVES:
        raise CallerError("the trees of earlier epochs are too large together", "hand over fewer of them")


def _each_once(group: Group, past: Sequence[Group]) -> Sequence[Group]:
    found: dict[bytes, Group] = {}
    for earlier in past:
        if earlier.epoch_id != group.epoch_id:
            found.setdefault(earlier.epoch_id, earlier)
    return tuple(found.values())


def _path_keys(group: Group) -> tuple[HpkePrivateKey, ...]:
    found = []
    for index, node in _nodes_above(group.public.tree, group.own_leaf):
        key = group.private.get(index, _UNKNOWN)
        if (key is _UNKNOWN) is not (group.own_leaf in node.unmerged_leaves):
            raise CallerError(
                "a private key above our leaf was never given to us", "have the new device join from outside"
            )
        found.append(key)
    return tuple(found)


def _nodes_above(tree: RatchetTree, leaf: LeafIndex) -> list[tuple[int, ParentNode]]:
    """What is not blank between a leaf and the root, from below."""
    cells = [step.cell for step in tree.path(leaf)]
    return [(cell.index, cell.value) for cell in cells if isinstance(cell.value, ParentNode)]


# Putting together


def take_over(
    state: HigherLevelGroupState,
    part: ConversationPart,
    tree: bytes,
    parameters: Parameters,
    provider: Provider,
    *,
    leaf_private: HpkePrivateKey | None = None,
    signature_private: SignaturePrivateKey,
) -> tuple[Group, tuple[Group, ...]]:
    """The conversation that `hand_over` took apart, and its earlier epochs in the order in which they were given."""
    group = _head(state, part, tree, parameters, provider, leaf_private or part.leaf_private, signature_private)
    past = []
    leaves = 0
    for delta in part.past:
        try:
            earlier = snapshot.apply_delta(group, delta)
        except CallerError:
            raise PeerError("VC-5.1-27") from None
        leaves += earlier.public.tree.leaf_count
        if leaves > MAX_PAST_LEAVES or not _sound(group, earlier):
            raise PeerError("VC-5.1-28")
        past.append(earlier)
    check_distinct(each.epoch_id for each in (group, *past))
    return group, tuple(past)


def take_over_bare(
    state: HigherLevelGroupState,
    context: GroupContext,
    confirmation_tag: bytes,
    tree: bytes,
    parameters: Parameters,
    provider: Provider,
    *,
    leaf_private: HpkePrivateKey,
    signature_private: SignaturePrivateKey,
) -> Group:
    """The same without a companion; context and tag are those of the group's current GroupInfo.

    Message keys that were passed over are lost, and so are waiting proposals, resumption PSKs of earlier epochs and
    earlier epochs themselves. Groups that need more than RFC 9420's secrets are refused.
    """
    if isinstance(state, ExternalGroup):
        raise _joined_from_outside()
    check_size(state.confirmation.raw, (suite_of(provider, context.cipher_suite).hash_size,))
    part = ConversationPart(
        context=context,
        confirmation_tag=confirmation_tag,
        epoch_id=state.authenticator,
        resumption=((context.epoch, state.resumption),),
    )
    return _head(state, part, tree, parameters, provider, leaf_private, signature_private)


def _joined_from_outside() -> CallerError:
    return CallerError("this conversation was handed over by its name alone", "join it by an external commit")


def _head(
    state: HigherLevelGroupState,
    part: ConversationPart,
    encoded_tree: bytes,
    parameters: Parameters,
    provider: Provider,
    leaf_private: HpkePrivateKey | None,
    signature_private: SignaturePrivateKey,
) -> Group:
    if isinstance(state, ExternalGroup):
        raise _joined_from_outside()
    if leaf_private is None:
        raise CallerError("the private key of our leaf is missing", "derive it from what its DerivationInfo names")
    context = part.context
    if context.group_id != state.group_id:
        raise PeerError("VC-5.1-16")
    suite = suite_of(provider, context.cipher_suite)
    check_own_support(parameters, context.extensions)
    recipe = parameters.recipe(suite, context.dictionary)
    tree = _checked_tree(suite, context, encoded_tree)
    own_leaf, leaf = _own_leaf(suite, tree, leaf_private)
    if not _belongs(suite, signature_private, leaf):
        raise PeerError("VC-5.1-19")
    _check_secrets(suite, recipe, state, part)
    tag, confirmed = part.confirmation_tag, context.confirmed_transcript_hash
    if state.confirmation.raw and not suite.verify_mac(state.confirmation.raw, confirmed, tag):
        raise PeerError("VC-5.1-22")
    keys = state.secret_tree.message_tree(suite, tree.leaf_count)
    if not _waiting_fits(suite, tree, [item for _, item in part.proposals], part.updates):
        raise PeerError("VC-5.1-26")
    return Group(
        parameters=parameters,
        public=PublicState(suite, context, tree, interim_hash(suite, confirmed, tag), tag),
        own_leaf=own_leaf,
        signature_key=signature_private,
        private={2 * own_leaf: leaf_private, **_private_keys(suite, tree, own_leaf, state.path_keys)},
        secrets=EpochSecrets(
            sender_data=state.sender_data,
            exporter=state.exporter,
            external=state.external,
            confirmation=state.confirmation,
            membership=state.membership,
            resumption=state.resumption,
            authenticator=state.authenticator,
            epoch_id=part.epoch_id,
            init=state.init,
            extra=part.extra,
        ),
        keys=with_skipped_messages(suite, keys, part.skipped),
        trees=_trees(suite, recipe, state, part),
        proposals=dict(part.proposals),
        updates=dict(part.updates),
        resumption=part.resumption,
        ended=part.ended,
        followed=frozenset(part.followed),
    )


def _checked_tree(suite: Suite, context: GroupContext, encoded: bytes) -> RatchetTree:
    tree = RatchetTree.decode(suite, encoded)
    if tree.hash != context.tree_hash:
        raise PeerError("VC-5.1-17")
    check_unmerged_leaves(tree)
    check_parent_hashes(tree)
    return tree


def _public(suite: Suite, private: HpkePrivateKey) -> bytes | None:
    try:
        return suite.hpke.public_key(private)
    except CryptoError:
        return None


def _belongs(suite: Suite, private: SignaturePrivateKey, leaf: LeafNode) -> bool:
    try:
        return suite.scheme.public_key(private) == leaf.signature_key
    except CryptoError:
        return False


def _own_leaf(suite: Suite, tree: RatchetTree, private: HpkePrivateKey) -> tuple[LeafIndex, LeafNode]:
    """Which leaf is ours: the one with our key."""
    public = _public(suite, private)
    node = None if public is None else tree.encryption_keys.find(public)
    leaf = None if node is None or node & 1 else tree.leaf(node >> 1)
    if node is None or leaf is None:
        raise PeerError("VC-5.1-18")
    return LeafIndex(node >> 1), leaf


def _private_keys(suite: Suite, tree: RatchetTree, own_leaf: LeafIndex, given: Sequence[HpkePrivateKey]) -> PrivateKeys:
    above = _nodes_above(tree, own_leaf)
    if len(given) != len(above):
        raise PeerError("VC-5.1-20", f"{len(given)} for {len(above)} nodes")
    found: PrivateKeys = {}
    for (index, node), private in zip(above, given, strict=True):
        if own_leaf in node.unmerged_leaves and not private.raw:
            continue
        if own_leaf in node.unmerged_leaves or _public(suite, private) != node.encryption_key:
            raise PeerError("VC-5.1-21", f"node {index}")
        found[index] = private
    return found


def _check_secrets(suite: Suite, recipe: Recipe, state: TransferredGroup, part: ConversationPart) -> None:
    size = suite.hash_size
    gone = () if recipe.init else ("init",)
    if not state.confirmation.raw:  # an epoch that was left
        gone = (*gone, "confirmation", "exporter")
    for name, _ in SECRETS:
        secret: Secret = getattr(state, name)
        check_size(secret.raw, (0 if name in gone else size,))
    for secret in [secret for _, secret in part.extra] + [psk for _, psk in part.resumption]:
        check_size(secret.raw, (size,))
    check_size(state.authenticator, (size,))
    check_size(part.epoch_id, (size,))
    if recipe.epoch_id is None and part.epoch_id != state.authenticator:
        raise PeerError("VC-5.1-23")
    present = part.context.epoch
    epochs = [epoch for epoch, _ in part.resumption]
    ascending = all(lower < upper for lower, upper in pairwise([*epochs, present + 1]))
    if not ascending or any(epoch == present and psk != state.resumption for epoch, psk in part.resumption):
        raise PeerError("VC-5.1-24")


def _trees(suite: Suite, recipe: Recipe, state: TransferredGroup, part: ConversationPart) -> Trees:
    """The safe exporter's from the state, the others from the companion: those of this kind of group and no more."""
    trees: dict[bytes, Puncturable] = {}
    if state.exporter_tree != _NO_TREE:
        trees[EXPORTER_TREE] = Puncturable.from_pprf_state(suite, EXPORTER_BITS, state.exporter_tree)
    if {label: tree.bits for label, tree in part.trees} != dict(recipe.trees) or not all(
        tree.fits(suite) for _, tree in part.trees
    ):
        raise PeerError("VC-5.1-25")
    return {**trees, **dict(part.trees)}


def _waiting_fits(
    suite: Suite, tree: RatchetTree, proposals: Iterable[Proposed], updates: Iterable[tuple[bytes, PendingUpdate]]
) -> bool:
    """Whether proposals are of members, and the keys of our Updates those of their leaves."""
    senders = [item.sender for item in proposals]
    members = all(sender.type != SenderType.MEMBER or tree.leaf(sender.index) is not None for sender in senders)
    return members and all(_update_fits(suite, encoded, update) for encoded, update in updates)


def _update_fits(suite: Suite, encoded: bytes, update: PendingUpdate) -> bool:
    leaf = decode_exactly(encoded, LeafNode.decode)
    return _public(suite, update.leaf_private) == leaf.encryption_key and _belongs(
        suite, update.signature_private, leaf
    )


# Earlier epochs


def _sound(head: Group, past: Group) -> bool:
    """Whether an earlier epoch, which was told as what differs, holds together; PeerError says more where it can."""
    public, suite = past.public, past.suite
    context, tree = public.context, public.tree
    if (context.group_id, context.cipher_suite) != (head.group_id, suite.cipher_suite):
        return False
    if past.ended is Ended.REMOVED:
        return False
    whole = RatchetTree.decode(suite, tree.encode())
    same = (whole.root.level, whole.encryption_keys, whole.signature_keys)
    if whole.hash != context.tree_hash or same != (tree.root.level, tree.encryption_keys, tree.signature_keys):
        return False
    check_unmerged_leaves(whole)
    leaf = whole.leaf(past.own_leaf)
    if leaf is None or past.keys.leaf_count != whole.leaf_count:
        return False
    check_messages(suite, past.keys, handshakes=past.ended is not Ended.RETIRED)
    recipe = past.parameters.recipe(suite, context.dictionary)
    for name, _ in SECRETS:
        check_size(getattr(past.secrets, name).raw, (0, suite.hash_size))
    bits = {**dict(recipe.trees), EXPORTER_TREE: EXPORTER_BITS}
    nodes = {cell.index: cell.value.encryption_key for cell in whole.root.cells() if cell.value is not None}
    return (
        all(bits.get(label) == each.bits and each.fits(suite) for label, each in past.trees.items())
        and all(nodes.get(index) == _public(suite, private) for index, private in past.private.items())
        and _waiting_fits(suite, whole, past.proposals.values(), past.updates.items())
        and (not past.signature_key.raw or _belongs(suite, past.signature_key, leaf))
        and public.interim_hash == interim_hash(suite, context.confirmed_transcript_hash, public.confirmation_tag)
    )
