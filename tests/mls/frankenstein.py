"""Malformed messages, made well: everything but the one thing asked for is signed, hashed and sealed as it should be.

The protocol layer refuses to make most of these, so they are put together here from its parts below the checks: wire
structs, the key schedule, the tree and HPKE. A maker called without surgery gives a good message, and the tests say
so; with surgery it gives one that breaks a single rule, from the hand of an insider who has all the keys.

Surgery is either another value for a field, or a function over the bytes or the struct that goes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from mls.codec import opaque, u8, u16, u32, u64, vector
from mls.components.dictionary import dictionary_of, with_dictionary
from mls.credential import Credential
from mls.epoch import conclude, leaf_place, next_context, provisional_context
from mls.framing import (
    AuthenticatedContent,
    Commit,
    FramedContent,
    PrivateMessage,
    PublicMessage,
    Sender,
    encode_body,
    encode_message,
    guarded_nonce,
    membership_tag,
    sign,
)
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import Capabilities, Extensions, LeafNode, Lifetime
from mls.messages import framed_aad
from mls.parameters import Parameters
from mls.proposals import (
    Add,
    AppDataUpdate,
    ExternalInit,
    GroupContextExtensions,
    LeafReplacement,
    PreSharedKey,
    Proposal,
    Remove,
    SelfRemove,
    Update,
)
from mls.provider import Environment
from mls.psk import psk_secret
from mls.registries import MLS10, ContentType, LeafIndex, ProposalRef, SenderType, WireFormat
from mls.schedule import (
    Advanced,
    GroupContext,
    external_key_pair,
    send_external_init,
)
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import CommitSecret, InitSecret, PathSecret, SignaturePrivateKey
from mls.state import Group, find_psk
from mls.suite import NONCE_SIZE, Suite
from mls.tree.hashes import path_parent_hashes
from mls.tree.math import level
from mls.tree.nodes import ParentNode, Value, grown, rebuilt
from mls.tree.path import UpdatePath, UpdatePathNode, derive_path, seal_path
from mls.tree.ratchet_tree import RatchetTree, Step
from mls.validation import Proposed
from tests.mls.clients import LIFETIME, Client

T = TypeVar("T")
Bytes = Callable[[bytes], bytes]


def same(value: T) -> T:
    return value


def flipped(data: bytes) -> bytes:
    """The last bit is another one."""
    return data[:-1] + bytes([data[-1] ^ 1])


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes where a struct is expected: a credential, a commit, or the body of a proposal."""

    data: bytes
    type: int = 0

    def encode(self) -> bytes:
        return self.data

    def encode_body(self) -> bytes:
        return self.data


# Leaves and KeyPackages


def extension_list(extensions: Extensions) -> bytes:
    return vector([extension.encode() for extension in extensions])


def forge_leaf(
    client: Client,
    encryption_key: bytes,
    *,
    source: int = 1,
    lifetime: Lifetime = LIFETIME,
    parent_hash: bytes = b"",
    group_id: bytes = b"",
    leaf_index: int = 0,
    signature_key: bytes | None = None,
    credential: Credential | Raw | None = None,
    capabilities: Capabilities | None = None,
    extensions: Extensions = (),
    signature: Bytes = same,
) -> LeafNode:
    """A leaf of any content, with a signature of `client` that fits it."""
    suite = Suite(client.cipher_suite)
    if signature_key is None:
        signature_key = suite.scheme.public_key(client.signer)
    capabilities = capabilities or client.capabilities
    credential = credential or client.credential
    part = lifetime.encode() if source == 1 else opaque(parent_hash) if source == 3 else b""
    body = b"".join(
        [
            opaque(encryption_key),
            opaque(signature_key),
            credential.encode(),
            capabilities.encode(),
            u8(source),
            part,
            extension_list(extensions),
        ]
    )
    place = b"" if source == 1 else opaque(group_id) + u32(leaf_index)
    signed = signature(suite.sign_with_label(client.signer, b"LeafNodeTBS", body + place))
    return LeafNode(
        encryption_key,
        signature_key,
        credential,  # type: ignore[arg-type]  # Raw stands for what cannot be read
        replace(capabilities, encoded=capabilities.encode()),
        source,
        lifetime if source == 1 else None,
        parent_hash if source == 3 else b"",
        extensions,
        signed,
        body + opaque(signed),
        len(body),
    )


def forge_package(
    client: Client,
    env: Environment,
    *,
    version: int = MLS10,
    cipher_suite: int | None = None,
    init_key: bytes | None = None,
    leaf_key: bytes | None = None,
    extensions: Extensions = (),
    signature: Bytes = same,
    leaf_signature: Bytes = same,
    leaf_extensions: Extensions = (),
    **leaf: Any,
) -> KeyPackageSecrets:
    """A KeyPackage of any content; what is not named here goes to its leaf."""
    suite = Suite(client.cipher_suite)
    init_private, init_public = suite.generate_key_pair(env.provider.random)
    leaf_private, leaf_public = suite.generate_key_pair(env.provider.random)
    init_key = init_public if init_key is None else init_key
    leaf = {"signature": leaf_signature, "extensions": leaf_extensions, **leaf}
    node = forge_leaf(client, leaf_public if leaf_key is None else leaf_key, **leaf)
    number = client.cipher_suite if cipher_suite is None else cipher_suite
    body = u16(version) + u16(number) + opaque(init_key) + node.encoded + extension_list(extensions)
    signed = signature(suite.sign_with_label(client.signer, b"KeyPackageTBS", body))
    package = KeyPackage(version, number, init_key, node, extensions, signed, body + opaque(signed), len(body))
    return KeyPackageSecrets(package, init_private, leaf_private, client.signer)


def own_update(group: Group, client: Client, env: Environment, **leaf: Any) -> Update:
    """An Update of a member's leaf, of any content."""
    _, public = group.suite.generate_key_pair(env.provider.random)
    fields = {"encryption_key": public, "source": 2, "group_id": group.group_id, "leaf_index": group.own_leaf}
    return Update(forge_leaf(client, **{**fields, **leaf}))


# Framing


def authenticated(
    group: Group,
    content_type: int,
    body: object,
    *,
    wire_format: int = WireFormat.PRIVATE_MESSAGE,
    sender: Sender | None = None,
    signer: SignaturePrivateKey | None = None,
    tag: bytes = b"",
    data: bytes = b"",
    signature: Bytes = same,
) -> AuthenticatedContent:
    """Signed content of any kind from any sender."""
    sender = sender or Sender(SenderType.MEMBER, group.own_leaf)
    content = FramedContent.of(group.group_id, group.epoch, sender, data, content_type, body)  # type: ignore[arg-type]
    context = group.public.context.encoded
    signed = sign(group.suite, signer or group.signature_key, wire_format, content, context)
    return AuthenticatedContent(wire_format, content, signature(signed), tag)


def as_public(group: Group, content: AuthenticatedContent, *, tag: Bytes = same) -> bytes:
    """As a PublicMessage, with the membership tag that any member could make."""
    context = group.public.context.encoded
    mac = tag(membership_tag(group.suite, group.secrets.membership, content, context))
    return encode_message(WireFormat.PUBLIC_MESSAGE, PublicMessage(content, mac).encode())


def as_private(
    group: Group,
    env: Environment,
    content: AuthenticatedContent,
    *,
    plain: Bytes = same,
    ciphertext: Bytes = same,
    sender_data: Bytes = same,
    sealed_sender_data: Bytes = same,
    ahead: int = 0,
) -> bytes:
    """As a PrivateMessage; the bytes can be changed before and after each of the two encryptions."""
    suite = group.suite
    said = content.content
    kind = APPLICATION if said.content_type == ContentType.APPLICATION else HANDSHAKE
    keys, message_key = group.keys.next_key(suite, group.own_leaf, kind)
    for _ in range(ahead):
        keys, message_key = keys.next_key(suite, group.own_leaf, kind)
    guard = env.provider.random(4)
    inner = plain(encode_body(said.content_type, said.body) + content.encode_auth())
    head = opaque(said.group_id) + u64(said.epoch) + u8(said.content_type)
    nonce = guarded_nonce(message_key.nonce, guard)
    sealed = ciphertext(suite.aead_seal(message_key.key, nonce, head + opaque(said.authenticated_data), inner))
    about = sender_data(u32(said.sender.index) + u32(message_key.generation) + guard)
    secret, sample = group.secrets.sender_data.raw, sealed[: suite.hash_size]
    key = suite.expand_with_label(secret, b"key", sample, suite.key_size)
    nonce = suite.expand_with_label(secret, b"nonce", sample, NONCE_SIZE)
    message = PrivateMessage(
        said.group_id,
        said.epoch,
        said.content_type,
        said.authenticated_data,
        sealed_sender_data(suite.aead_seal(key, nonce, head, about)),
        sealed,
    )
    return encode_message(WireFormat.PRIVATE_MESSAGE, message.encode())


def proposed(group: Group, env: Environment, proposal: object) -> bytes:
    """A proposal by a member, whatever it says."""
    return as_private(group, env, authenticated(group, ContentType.PROPOSAL, proposal))


def spoken(group: Group, env: Environment, text: bytes = b"still here") -> bytes:
    """An application message, even while proposals wait."""
    return as_private(group, env, authenticated(group, ContentType.APPLICATION, text))


# Trees


def changed_tree(tree: RatchetTree, values: dict[int, Value]) -> RatchetTree:
    """With some nodes replaced and no question asked; the indices of keys and capabilities stay as they were."""
    indices = sorted(values)
    return replace(tree, root=rebuilt(tree.root, indices, values, 0, len(indices))) if values else tree


def tree_after(
    tree: RatchetTree,
    updated: dict[LeafIndex, LeafNode],
    removed: Sequence[int],
    added: Sequence[LeafNode],
) -> tuple[RatchetTree, list[LeafIndex]]:
    """§12.1.1 to §12.1.3, whatever comes of it."""
    values: dict[int, Value] = {}
    for leaf in (*updated, *removed):
        if leaf < tree.leaf_count:
            values.update({step.cell.index: None for step in tree.path(leaf)})
    values.update({2 * leaf: node for leaf, node in updated.items()})
    values.update({2 * leaf: None for leaf in removed if leaf < tree.leaf_count})
    tree = changed_tree(tree, values).truncated()
    places: list[LeafIndex] = []
    for node in added:
        blank = [leaf for leaf in range(tree.leaf_count) if tree.leaf(leaf) is None]
        if not blank:
            blank = [tree.leaf_count]
            tree = replace(tree, root=grown(tree.root))
        place = LeafIndex(blank[0])
        change: dict[int, Value] = {2 * place: node}
        for step in tree.path(place):
            above = step.cell.value
            if isinstance(above, ParentNode):
                change[step.cell.index] = ParentNode.of(
                    above.encryption_key, above.parent_hash, tuple(sorted((*above.unmerged_leaves, place)))
                )
        tree = changed_tree(tree, change)
        places.append(place)
    return tree, places


# Commits


@dataclass(frozen=True, slots=True, kw_only=True)
class Forged:
    """A commit with what its maker knows of the next epoch."""

    message: bytes
    advanced: Advanced
    tree: RatchetTree
    context: GroupContext
    tag: bytes
    path_secrets: dict[int, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSurgery:
    """What is to be wrong with an update path."""

    leaf: dict[str, Any] = field(default_factory=dict)
    """Fields of the new leaf."""
    client: Client | None = None
    """Somebody else to sign the new leaf."""
    first: int | None = None
    """The size of the first path secret."""
    public: Callable[[list[bytes]], list[bytes]] = same
    """The public keys, before anything is made of them."""
    parent_hash: Bytes = same
    """The parent hash of the new leaf."""
    nodes: Callable[[tuple[UpdatePathNode, ...]], tuple[UpdatePathNode, ...]] = same
    """The nodes as sent; the tree and its hash stay as they would be."""


def external_init(group: Group, env: Environment) -> tuple[ExternalInit, InitSecret]:
    """What an external commit starts with."""
    _, public = external_key_pair(group.suite, group.secrets.external)
    kem_output, init = send_external_init(group.suite, public, env.provider.random)
    return ExternalInit(kem_output), init


def forge_commit(
    group: Group,
    env: Environment,
    client: Client,
    proposals: Sequence[Proposal | Proposed] = (),
    *,
    path: bool | PathSurgery = True,
    external: InitSecret | None = None,
    listed: Sequence[Proposal | ProposalRef] | None = None,
    tag: Bytes = same,
    encrypt: bool = True,
    signature: Bytes = same,
    parameters: Parameters | None = None,
    data: bytes | None = None,
) -> Forged:
    """A commit by `client` with any list of proposals, all of which it carries out.

    `group` is the client's own value; with `external`, the init secret, it is any member's, and the client a stranger.
    `listed` is what the commit says instead of what it does, `parameters` are others than those of the group,
    and `data` what is to be authenticated, as it is said or as the group would have it.
    """
    state = group.public
    suite = group.suite
    sender = Sender(SenderType.MEMBER, group.own_leaf) if external is None else Sender(SenderType.NEW_MEMBER_COMMIT)
    items = [item if isinstance(item, Proposed) else Proposed(item, sender) for item in proposals]
    updated, removed, packages, psks = {}, [], [], []
    extensions = state.context.extensions
    for item in items:
        match item.proposal:
            case Update(leaf_node=leaf):
                updated[LeafIndex(item.sender.index)] = leaf
            case Remove(removed=gone):
                removed.append(gone)
            case Add(key_package=package):
                packages.append(package)
            case PreSharedKey(psk=psk_id):
                psks.append(psk_id)
            case GroupContextExtensions(extensions=new):
                extensions = new
            case SelfRemove():
                removed.append(LeafIndex(item.sender.index))
            case LeafReplacement(leaf=place_, leaf_node=leaf):
                updated[place_] = leaf
            case AppDataUpdate(component_id=component, update=new_data):
                old = dictionary_of(extensions)
                dictionary = old.without(component) if new_data is None else old.with_entry(component, new_data)
                extensions = with_dictionary(extensions, dictionary)
            case _:
                pass
    tree, added = tree_after(state.tree, updated, removed, [package.leaf_node for package in packages])
    secret = CommitSecret(bytes(suite.hash_size))
    update_path: UpdatePath | None = None
    path_secrets: dict[int, bytes] = {}
    if path is not False:
        place = group.own_leaf
        if external is not None:
            tree, place = leaf_place(tree)
        surgery = path if isinstance(path, PathSurgery) else PathSurgery()
        update_path, tree, secret, path_secrets = _forge_path(
            group, env, client, tree, place, extensions, frozenset(added), surgery
        )
    entries: Sequence[Proposal | ProposalRef] = (
        listed
        if listed is not None
        else [item.proposal if item.reference is None else ProposalRef(item.reference) for item in items]
    )
    wire_format = WireFormat.PRIVATE_MESSAGE if encrypt and external is None else WireFormat.PUBLIC_MESSAGE
    unconfirmed = authenticated(
        group,
        ContentType.COMMIT,
        Commit(tuple(entries), update_path),
        wire_format=wire_format,
        sender=sender,
        signer=client.signer if external is not None else None,
        data=framed_aad(state, group.parameters, b"") if data is None else data,
        signature=signature,
    )
    found = [(psk_id, find_psk(env, [group], psk_id) or b"") for psk_id in psks]
    last = PathSecret(path_secrets[max(path_secrets, key=level)] if path_secrets else secret.raw)
    context = next_context(state, tree, extensions, unconfirmed)
    if external is None:
        _, init = group.mode.next_init(group, last if path is not False else None, context.encoded)
    else:
        init = external
    done = conclude(suite, context, tree, init, secret, psk_secret(suite, found), parameters or group.parameters)
    content = replace(unconfirmed, confirmation_tag=tag(done.public.confirmation_tag))
    private = wire_format == WireFormat.PRIVATE_MESSAGE
    message = as_private(group, env, content) if private else as_public(group, content)
    return Forged(
        message=message,
        advanced=done.advanced,
        tree=tree,
        context=done.public.context,
        tag=done.public.confirmation_tag,
        path_secrets=path_secrets,
    )


def _forge_path(
    group: Group,
    env: Environment,
    client: Client,
    tree: RatchetTree,
    place: LeafIndex,
    extensions: Extensions,
    excluded: frozenset[int],
    surgery: PathSurgery,
) -> tuple[UpdatePath, RatchetTree, CommitSecret, dict[int, bytes]]:
    suite = group.suite
    random = env.provider.random
    whole: list[Step] = tree.path(place)
    steps = [step for step in whole if step.copath.resolved]
    size = suite.hash_size if surgery.first is None else surgery.first
    keys = derive_path(suite, PathSecret(random(size)), len(steps))
    public = surgery.public(list(keys.public))
    hashes = path_parent_hashes(suite, steps, public)
    _, leaf_public = suite.generate_key_pair(random)
    fields: dict[str, Any] = {
        "encryption_key": leaf_public,
        "source": 3,
        "parent_hash": surgery.parent_hash(hashes[-1]),
        "group_id": group.group_id,
        "leaf_index": place,
        **surgery.leaf,
    }
    leaf = forge_leaf(surgery.client or client, **fields)
    values: dict[int, Value] = {step.cell.index: None for step in whole}
    for step, key, above in zip(steps, public, hashes, strict=False):
        values[step.cell.index] = ParentNode.of(key, above)
    values[2 * place] = leaf
    fresh = changed_tree(tree, values)
    context = provisional_context(group.public, fresh, extensions).encoded
    sealed = replace(keys, public=public)
    nodes = surgery.nodes(seal_path(suite, tree, steps, sealed, context, excluded, random))
    secrets = {step.cell.index: secret for step, secret in zip(steps, keys.path_secrets, strict=True)}
    return UpdatePath(leaf, nodes), fresh, keys.commit_secret, secrets
