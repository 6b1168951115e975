"""RFC 9420 §11 and §12.4.3.2: coming into a group that our own leaf is in already.

Devices that share one leaf have to follow it into every group that one of them enters. Where somebody else added the
leaf there is a Welcome, which every one of them can take up (`mls.welcome`). Two ways into a group leave nothing for
the others to take up: making it, and joining it by external commit. What the device that did it can hand on is public,
a GroupInfo and the commit; what is secret, the others derive as it did, and a hook supplies it.

So these functions take what was handed on as they would take it from anybody. The tree is checked whole, the commit as
its other members check it, and the confirmation tag proves in the end that what was derived is what the group has.
The value that comes out is the one that the acting device holds.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from hmac import compare_digest

from mls.epoch import arrive, conclude, gather_psks, leaf_place, next_context
from mls.errors import PeerError, UnderivedError
from mls.external import public_state, read_public, self_remove
from mls.follow import derived_path, merged_path, replaced_leaf, resolve
from mls.founding import begin
from mls.framing import Commit, verify
from mls.messages import check_content
from mls.parameters import Parameters
from mls.provider import CreatedLeaf, Environment, OwnLeaf
from mls.public_state import PublicState
from mls.registries import LeafIndex, LeafNodeSource, ProposalRef, SenderType
from mls.state import Group
from mls.validation import check_own_support, plan
from mls.welcome import decode_group_info


def _described(
    env: Environment,
    parameters: Parameters,
    group_info: bytes,
    tree: bytes | None,
    known_groups: Container[bytes],
) -> PublicState:
    """The epoch that a GroupInfo describes, as somebody checks it who is to become a member."""
    info = decode_group_info(group_info)
    if info.context.group_id in known_groups:
        raise PeerError("VAL-12.4.3.1-7")
    state = public_state(env, info, tree, parameters)
    check_own_support(parameters, state.context.extensions)
    return state


def follow_creation(
    env: Environment,
    parameters: Parameters,
    group_info: bytes,
    own: CreatedLeaf,
    *,
    tree: bytes | None = None,
    known_groups: Container[bytes] = (),
) -> Group:
    """The first epoch of a group that another device founded with our leaf, from its GroupInfo.

    Who signed that needs no asking: `public_state` found the signer in the tree, and there is one leaf in it.
    """
    state = _described(env, parameters, group_info, tree, known_groups)
    context = state.context
    if context.epoch != 0:
        raise PeerError("VAL-11-1")
    if context.confirmed_transcript_hash:
        raise PeerError("VAL-11-2")
    leaf = state.tree.leaf(LeafIndex(0))
    if leaf is None or state.tree.leaf_count != 1:
        raise PeerError("VAL-11-3")
    if leaf.source != LeafNodeSource.KEY_PACKAGE:
        raise PeerError("VAL-11-4")
    creation = own.own_creation(leaf, context.cipher_suite)
    if creation is None:
        raise UnderivedError
    suite = state.suite
    keys = suite.hpke.public_key(creation.leaf_private), suite.scheme.public_key(creation.signature_private)
    if keys != (leaf.encryption_key, leaf.signature_key):
        raise PeerError("VAL-11-5")
    group = begin(
        parameters,
        suite,
        context,
        state.tree,
        creation.epoch_secret,
        creation.signature_private,
        creation.leaf_private,
    )
    if not compare_digest(group.public.confirmation_tag, state.confirmation_tag):
        raise PeerError("VAL-11-6")
    return group


def follow_external(
    env: Environment,
    parameters: Parameters,
    group_info: bytes,
    message: bytes,
    own: OwnLeaf,
    *,
    self_removes: Sequence[bytes] = (),
    tree: bytes | None = None,
    known_groups: Container[bytes] = (),
) -> Group:
    """The epoch that begins with an external commit by which another device brought our leaf into a group.

    `group_info` and `tree` describe the epoch that the commit was made on, and `self_removes` are the wishes to leave
    that the commit names, if it names any. `own` must supply everything: path, init secret and signature key.
    """
    state = _described(env, parameters, group_info, tree, known_groups)
    suite = state.suite
    authenticated = read_public(state, message)
    content = authenticated.content
    commit = content.body
    sender = content.sender
    if not isinstance(commit, Commit) or sender.type != SenderType.NEW_MEMBER_COMMIT:
        raise PeerError("VAL-12.4.3.2-4")
    path = commit.path
    if path is None:
        raise PeerError("VAL-12.4.3.2-3")
    check_content(state, parameters, authenticated)
    leaf_node = path.leaf_node
    verify(suite, leaf_node.signature_key, authenticated, state.context.encoded)
    wishes = [self_remove(state, parameters, wish) for wish in self_removes]
    waiting = {ProposalRef(wish.reference): wish for wish in wishes if wish.reference is not None}
    items = resolve(waiting, state.tree, commit, sender)
    outcome = plan(env, state, parameters, sender, items, sending=False)
    grown, place = leaf_place(outcome.tree)
    old = replaced_leaf(state, outcome, place, external=True)
    merged = merged_path(env, state, parameters, outcome, grown, place, path, old)
    if outcome.extensions is not state.context.extensions:
        check_own_support(parameters, outcome.extensions)
    psk = gather_psks(env, [], suite, outcome.psks)
    supplied = own.own_path(leaf_node, state.group_id, external=True)
    if supplied is None or supplied.external_init is None or supplied.signature_private is None:
        raise UnderivedError
    signer = supplied.signature_private
    applied = derived_path(suite, merged, place, supplied, signer)
    context = next_context(state, applied.tree, outcome.extensions, authenticated)
    concluded = conclude(suite, context, applied.tree, supplied.external_init, applied.commit_secret, psk, parameters)
    if not compare_digest(concluded.public.confirmation_tag, authenticated.confirmation_tag):
        raise PeerError("VAL-12.4.2-10")
    return arrive(parameters, concluded.public, concluded.advanced, place, signer, applied.private)
