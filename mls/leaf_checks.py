"""RFC 9420 §7.3 and §10.1: whether a leaf may stand where it stands, and a KeyPackage be added.

What these functions look at is one leaf, or a list of leaves that come in together, and never the rest of a list of
proposals: that is for `mls.validation`. Signatures of many leaves are checked in bulk, because they are most of the
cost of adding many members.
"""

from __future__ import annotations

from collections.abc import Container

from mls.components.dictionary import dictionary_of
from mls.components.negotiation import check_leaves
from mls.errors import BugError, PeerError
from mls.framing import Sender
from mls.hpke import CryptoError
from mls.key_package import KeyPackage, check_key_package
from mls.leaf_node import Extensions, LeafNode
from mls.mode import Mode
from mls.parameters import Parameters
from mls.proposals import (
    LeafReplacement,
)
from mls.provider import Environment
from mls.public_state import PublicState
from mls.registries import (
    LeafIndex,
    LeafNodeSource,
)
from mls.suite import Suite


def check_leaf(env: Environment, leaf: LeafNode) -> None:
    """The parts of §7.3 that are about the leaf alone, but for its signature and lifetime."""
    env.authentication.validate(leaf.credential, leaf.signature_key, env.now)
    if leaf.credential.type not in leaf.capabilities.credentials:
        raise PeerError("VAL-7.2-3")
    if leaf.extensions:
        if not leaf.supports_extensions():
            raise PeerError("VAL-7.3-6")
        dictionary_of(leaf.extensions)  # refuses what is not one


def check_public_key(suite: Suite, key: bytes) -> None:
    try:
        suite.hpke.check_public(key)
    except CryptoError:
        raise PeerError("VAL-10.1-5") from None


def check_adds(
    env: Environment, suite: Suite, parameters: Parameters, adds: list[KeyPackage], *, sending: bool
) -> None:
    """§10.1 for every KeyPackage of a list."""
    for package in adds:
        check_key_package(package, suite)
        dictionary_of(package.extensions)  # refuses what is not one
        leaf = package.leaf_node
        check_leaf(env, leaf)
        check_lifetime(env, parameters, leaf, sending=sending)
    if not suite.verify_many(
        b"LeafNodeTBS",
        [
            (
                package.leaf_node.signature_key,
                package.leaf_node.signed_content(b"", 0),
                package.leaf_node.signature,
            )
            for package in adds
        ],
    ):
        raise PeerError("VAL-7.3-2")
    if not suite.verify_many(
        b"KeyPackageTBS",
        [(package.leaf_node.signature_key, package.signed_content(), package.signature) for package in adds],
    ):
        raise PeerError("VAL-10.1-3")


def check_lifetime(env: Environment, parameters: Parameters, leaf: LeafNode, *, sending: bool) -> None:
    """§7.3: of a leaf that is being added; one that is in a tree already may have expired since."""
    lifetime = leaf.lifetime
    if lifetime is None:
        return
    if (sending or parameters.refuse_expired) and not lifetime.covers(env.now):
        raise PeerError("VAL-7.3-5")
    if sending or parameters.check_received_lifetimes:
        check_lifetime_length(parameters, leaf)


def check_lifetime_length(parameters: Parameters, leaf: LeafNode) -> None:
    """§7.2: the total lifetime is bounded, wherever the leaf stands."""
    lifetime = leaf.lifetime
    if lifetime is not None and lifetime.not_after - lifetime.not_before > parameters.max_lifetime:
        raise PeerError("VAL-7.2-2")


def check_replacement(env: Environment, old: LeafNode, new: LeafNode) -> None:
    """§12.1.2 and §5.3.1: a member's new leaf has a new key and belongs to the same client."""
    if new.encryption_key == old.encryption_key:
        raise PeerError("VAL-7.3-7")
    if not env.authentication.succeeds(old.credential, new.credential):
        raise PeerError("VAL-5.3.1-2")


def check_leaf_replacement(
    env: Environment,
    state: PublicState,
    parameters: Parameters,
    mode: Mode,
    sender: Sender,
    proposal: LeafReplacement,
    vouched: Container[bytes],
) -> None:
    """DiMLS §4.1.2: a member's newer leaf, in a group whose mode knows where it comes from."""
    if not mode.replaces_leaves:
        raise PeerError("DIMLS-4.1.2-1")
    old = state.tree.leaf(proposal.leaf)
    if old is None or proposal.leaf == sender.index:
        raise PeerError("DIMLS-4.1.2-2", f"leaf {proposal.leaf}")
    if proposal.leaf_node.source != LeafNodeSource.COMMIT:
        raise PeerError("DIMLS-4.1.2-3")
    check_replacement(env, old, proposal.leaf_node)
    if proposal.leaf_node.encoded not in vouched:
        check_placed_leaf(env, state, parameters, proposal.leaf, proposal.leaf_node)


def check_update(
    env: Environment, state: PublicState, parameters: Parameters, index: LeafIndex, leaf: LeafNode
) -> None:
    """§12.1.2."""
    if leaf.source != LeafNodeSource.UPDATE:
        raise PeerError("VAL-12.1.2-1")
    old = state.tree.leaf(index)
    if old is None:
        raise BugError("an Update by somebody who is not a member")
    check_replacement(env, old, leaf)
    check_placed_leaf(env, state, parameters, index, leaf)


def check_path_leaf(
    env: Environment,
    state: PublicState,
    parameters: Parameters,
    index: LeafIndex,
    leaf: LeafNode,
    old: LeafNode | None,
    extensions: Extensions,
) -> None:
    """§12.4.2: the committer's new leaf; `old` is what it replaces, `extensions` those of the epoch that begins."""
    if leaf.source != LeafNodeSource.COMMIT:
        raise PeerError("VAL-12.4.2-3")
    if old is not None:
        check_replacement(env, old, leaf)
    check_placed_leaf(env, state, parameters, index, leaf)
    check_leaves(parameters.components.numbers, extensions, [leaf])


def check_placed_leaf(
    env: Environment, state: PublicState, parameters: Parameters, index: LeafIndex, leaf: LeafNode
) -> None:
    check_leaf(env, leaf)
    suite = state.suite
    check_public_key(suite, leaf.encryption_key)
    mode = parameters.mode(state.context.dictionary)
    content = leaf.signed_content(*mode.signed_place(state.group_id, index, leaf))
    if not suite.verify_with_label(leaf.signature_key, b"LeafNodeTBS", content, leaf.signature):
        raise PeerError("VAL-7.3-2")
