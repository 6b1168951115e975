"""RFC 9420 §12.1.8 and §12.4.3.2: acting on a group from outside it.

Joining by external commit, with or without removing an old self (resync); proposing one's own addition; proposing
as a sender that the group's `external_senders` names. All of it needs the public state alone.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from mls.codec import opaque
from mls.commit import make_path
from mls.credential import Credential
from mls.epoch import arrive, conclude, gather_psks, leaf_place, next_context
from mls.errors import CallerError, PeerError, WrongGroupError
from mls.framing import (
    AuthenticatedContent,
    Commit,
    FramedContent,
    PublicMessage,
    Sender,
    encode_message,
    sign,
    verify,
)
from mls.key_package import KeyPackageSecrets
from mls.leaf_checks import check_path_leaf
from mls.leaf_node import Capabilities, Extension, Extensions, find_extension
from mls.messages import check_content, check_epoch, framed_aad
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    AppDataUpdate,
    AppEphemeral,
    ExternalInit,
    PreSharedKey,
    Proposal,
    Remove,
    SelfRemove,
)
from mls.provider import Environment, LeafExtensions, PathSupply
from mls.psk import PreSharedKeyId
from mls.public_state import PublicState, parse_external_pub
from mls.registries import (
    ContentType,
    Epoch,
    ExtensionType,
    GroupId,
    LeafIndex,
    ProposalRef,
    SenderType,
    WireFormat,
)
from mls.schedule import external_key_pair, interim_hash, send_external_init
from mls.secrets import ExternalSecret, InitSecret, SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.validation import Proposed, check_own_support, check_profiles, plan
from mls.welcome import GroupInfo, checked_tree, decode_group_info, read_message


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternallyJoined:
    """An external commit of ours: what to send, and the value to adopt once it is accepted."""

    message: bytes
    group: Group
    external_init: InitSecret
    """The init secret that the commit carries; siblings cannot learn it from the wire."""


def external_pub_extension(suite: Suite, external: ExternalSecret) -> Extension:
    _, public = external_key_pair(suite, external)
    return Extension(ExtensionType.EXTERNAL_PUB, opaque(public))


def suite_of(env: Environment, info: GroupInfo) -> Suite:
    """The suite of the group that a GroupInfo describes."""
    try:
        return env.provider.suite(info.context.cipher_suite)
    except KeyError:
        raise PeerError("VAL-12.4.3.1-8") from None


def public_state(
    env: Environment, info: GroupInfo, tree: bytes | None, parameters: Parameters | None = None
) -> PublicState:
    """The public state that a GroupInfo describes, with its tree fully checked."""
    if parameters is None:
        parameters = Parameters(check_received_lifetimes=False)
    suite = suite_of(env, info)
    ratchet_tree = checked_tree(env, parameters, suite, info, tree)
    interim = interim_hash(suite, info.context.confirmed_transcript_hash, info.confirmation_tag)
    return PublicState(suite, info.context, ratchet_tree, interim, info.confirmation_tag)


def join_externally(
    env: Environment,
    parameters: Parameters,
    group_info: bytes,
    *,
    credential: Credential,
    signature_private: SignaturePrivateKey,
    capabilities: Capabilities,
    leaf_extensions: Extensions | LeafExtensions = (),
    tree: bytes | None = None,
    remove: LeafIndex | None = None,
    psks: Sequence[PreSharedKeyId] = (),
    self_removes: Sequence[bytes] = (),
    app_data: Sequence[AppDataUpdate | AppEphemeral] = (),
    authenticated_data: bytes = b"",
    supply: PathSupply | None = None,
    external_init: tuple[bytes, InitSecret] | None = None,
    known_groups: Container[bytes] = (),
) -> ExternallyJoined:
    """Join by a commit of our own making. `remove` is the leaf of an old self to replace.

    `self_removes` are the messages by which members asked to leave in this epoch, all that can be had
    (mls-extensions §6.3); that a member sent them shows by its signature alone. One that does not hold is refused, and
    the next try is without it. Of several by one member the first is taken, and none by the old self.
    """
    info = decode_group_info(group_info)
    state = public_state(env, info, tree, parameters)
    suite = state.suite
    if remove is None and state.group_id in known_groups:
        raise CallerError("already a member of that group", "name the old leaf in `remove` to resynchronize")
    check_own_support(parameters, info.context.extensions)
    external_pub = parse_external_pub(find_extension(info.extensions, ExtensionType.EXTERNAL_PUB))
    kem_output, init = external_init or send_external_init(suite, external_pub, env.provider.random)
    committer = Sender(SenderType.NEW_MEMBER_COMMIT)
    proposals: list[Proposal] = [ExternalInit(kem_output)]
    if remove is not None:
        proposals.append(Remove(remove))
    proposals.extend(PreSharedKey(psk) for psk in psks)
    proposals.extend(app_data)
    leaving: dict[int, Proposed] = {}
    for message in self_removes:
        wish = self_remove(state, parameters, message)
        if wish.sender.index != remove:
            leaving.setdefault(wish.sender.index, wish)
    items = [*[Proposed(proposal, committer) for proposal in proposals], *leaving.values()]
    outcome = plan(env, state, parameters, committer, items, sending=True)
    if outcome.extensions is not info.context.extensions:
        check_own_support(parameters, outcome.extensions)
    psk = gather_psks(env, [], suite, outcome.psks)
    grown, place = leaf_place(outcome.tree)
    made = make_path(
        env,
        state,
        grown,
        place,
        outcome.extensions,
        signature_private,
        credential,
        capabilities,
        leaf_extensions,
        frozenset(),
        supply,
        init,
    )
    old = None if remove is None else state.tree.leaf(remove)
    check_path_leaf(env, state, parameters, place, made.path.leaf_node, old, outcome.extensions)
    check_profiles(made.tree, outcome.extensions)
    content = FramedContent.of(
        state.group_id,
        state.epoch,
        committer,
        framed_aad(state, parameters, authenticated_data),
        ContentType.COMMIT,
        Commit((*proposals, *[ProposalRef(item.reference) for item in leaving.values() if item.reference]), made.path),
    )
    signature = sign(suite, signature_private, WireFormat.PUBLIC_MESSAGE, content, state.context.encoded)
    unconfirmed = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, content, signature, b"")
    context = next_context(state, made.tree, outcome.extensions, unconfirmed)
    concluded = conclude(suite, context, made.tree, init, made.keys.commit_secret, psk, parameters)
    authenticated = replace(unconfirmed, confirmation_tag=concluded.public.confirmation_tag)
    group = arrive(parameters, concluded.public, concluded.advanced, place, signature_private, made.private)
    message = encode_message(WireFormat.PUBLIC_MESSAGE, PublicMessage(authenticated, b"").encode())
    return ExternallyJoined(message=message, group=group, external_init=init)


def read_public(state: PublicState, message: bytes) -> AuthenticatedContent:
    """A PublicMessage of this group and epoch, as somebody outside can read it; nothing of it is verified."""
    reader = read_message(message, WireFormat.PUBLIC_MESSAGE)
    public = PublicMessage.decode(reader)
    reader.finish()
    content = public.authenticated.content
    if content.group_id != state.group_id:
        raise WrongGroupError("the message is for another group")
    check_epoch(state.epoch, content.epoch)
    return public.authenticated


def self_remove(state: PublicState, parameters: Parameters, message: bytes) -> Proposed:
    """A member's wish to leave, as somebody outside can check it."""
    authenticated = read_public(state, message)
    content = authenticated.content
    if not isinstance(content.body, SelfRemove) or content.sender.type != SenderType.MEMBER:
        raise PeerError("VAL-12.4.3.2-2")
    leaf = state.tree.leaf(content.sender.index)
    if leaf is None:
        raise PeerError("VAL-6-5", f"leaf {content.sender.index}")
    check_content(state, parameters, authenticated)
    verify(state.suite, leaf.signature_key, authenticated, state.context.encoded)
    reference = authenticated.proposal_ref(state.suite)
    return Proposed(content.body, content.sender, reference, checked=True)


def propose_self(
    env: Environment,
    group_id: GroupId,
    epoch: Epoch,
    package: KeyPackageSecrets,
    *,
    authenticated_data: bytes = b"",
) -> bytes:
    """§12.1.8: ask to be added, signed with the KeyPackage's own key.

    Where the group divides authenticated data among components, `authenticated_data` must be a SafeAAD
    (`mls.components.aad.encode_items`, of nothing if there is nothing to say); so also for an external sender.
    """
    suite = env.suite(package.key_package.cipher_suite)
    sender = Sender(SenderType.NEW_MEMBER_PROPOSAL)
    return _outside(
        suite,
        package.signature_private,
        group_id,
        epoch,
        sender,
        Add(package.key_package),
        authenticated_data,
    )


def propose_as_sender(
    env: Environment,
    cipher_suite: int,
    group_id: GroupId,
    epoch: Epoch,
    proposal: Proposal,
    *,
    sender_index: int,
    signature_private: SignaturePrivateKey,
    authenticated_data: bytes = b"",
) -> bytes:
    """§12.1.8.1: propose as one of the group's external senders."""
    suite = env.suite(cipher_suite)
    sender = Sender(SenderType.EXTERNAL, sender_index)
    return _outside(suite, signature_private, group_id, epoch, sender, proposal, authenticated_data)


def _outside(
    suite: Suite,
    key: SignaturePrivateKey,
    group_id: GroupId,
    epoch: Epoch,
    sender: Sender,
    proposal: Proposal,
    authenticated_data: bytes,
) -> bytes:
    content = FramedContent.of(group_id, epoch, sender, authenticated_data, ContentType.PROPOSAL, proposal)
    signature = sign(suite, key, WireFormat.PUBLIC_MESSAGE, content, b"")
    authenticated = AuthenticatedContent(WireFormat.PUBLIC_MESSAGE, content, signature, b"")
    return encode_message(WireFormat.PUBLIC_MESSAGE, PublicMessage(authenticated, b"").encode())
