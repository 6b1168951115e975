"""RFC 9420 §12.4.3: GroupInfo and Welcome, and joining by them.

The structs come first, then what a committer seals for those it adds, then `join`, which believes nothing: the tree
is checked whole (hashes, parent hashes, every leaf and its signature) before any state is made.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Generic

from mls.codec import Reader, decode_exactly, opaque, optional, u16, u32, vector
from mls.components.dictionary import dictionary_of
from mls.components.negotiation import check_leaves
from mls.credential import Credential
from mls.epoch import arrive
from mls.errors import CallerError, MissingPskError, PeerError
from mls.framing import Sender, encode_message, read_wire_format
from mls.hpke import CryptoError
from mls.key_package import Joinable, JoinSecrets, KeyPackageSecrets
from mls.leaf_checks import check_leaf, check_lifetime_length, check_public_key
from mls.leaf_node import Extension, Extensions, decode_extensions, encode_extensions, find_extension
from mls.parameters import Parameters
from mls.provider import Environment
from mls.psk import PreSharedKeyId, ResumptionPskId, decode_psk_id, psk_secret
from mls.public_state import PublicState
from mls.registries import (
    MLS10,
    ExtensionType,
    KeyPackageRef,
    LeafIndex,
    LeafNodeSource,
    ResumptionUsage,
    SenderType,
    WireFormat,
)
from mls.schedule import (
    Advanced,
    GroupContext,
    confirmation_tag,
    enter_epoch,
    interim_hash,
    welcome_key_and_nonce,
    welcome_secret,
)
from mls.secrets import HpkePrivateKey, JoinerSecret, PathSecret, SignaturePrivateKey
from mls.state import Group, find_psk
from mls.suite import Suite
from mls.tree import math
from mls.tree.hashes import check_parent_hashes, check_unmerged_leaves
from mls.tree.path import PrivateKeys, derive_path
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import Plan, check_group_extensions, check_own_support, check_profiles, check_psk_list


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A signed description of an epoch, for those who are not in it yet."""

    context: GroupContext
    extensions: Extensions = field(repr=False)
    """They may hold secrets, in one that is sealed in a Welcome."""
    confirmation_tag: bytes
    signer: LeafIndex
    signature: bytes
    encoded: bytes = field(repr=False)
    signed_size: int = field(repr=False)

    @classmethod
    def decode(cls, reader: Reader) -> GroupInfo:
        start = reader.pos
        context = GroupContext.decode(reader)
        extensions = decode_extensions(reader)
        tag = reader.opaque()
        signer = LeafIndex(reader.u32())
        signed = reader.pos
        signature = reader.opaque()
        encoded = reader.data[start : reader.pos]
        return cls(context, extensions, tag, signer, signature, encoded, signed - start)

    def signed_content(self) -> bytes:
        return self.encoded[: self.signed_size]


@dataclass(frozen=True, slots=True)
class EncryptedGroupSecrets:
    """The joiner secret, sealed to one new member."""

    new_member: KeyPackageRef
    kem_output: bytes
    ciphertext: bytes

    def encode(self) -> bytes:
        return opaque(self.new_member) + opaque(self.kem_output) + opaque(self.ciphertext)

    @classmethod
    def decode(cls, reader: Reader) -> EncryptedGroupSecrets:
        return cls(KeyPackageRef(reader.opaque()), reader.opaque(), reader.opaque())


@dataclass(frozen=True, slots=True)
class Welcome:
    """What new members receive."""

    cipher_suite: int
    secrets: tuple[EncryptedGroupSecrets, ...]
    encrypted_group_info: bytes

    def encode(self) -> bytes:
        sealed = vector([secret.encode() for secret in self.secrets])
        return u16(self.cipher_suite) + sealed + opaque(self.encrypted_group_info)

    @classmethod
    def decode(cls, reader: Reader) -> Welcome:
        return cls(reader.u16(), reader.vector(EncryptedGroupSecrets.decode), reader.opaque())


@dataclass(frozen=True, slots=True)
class GroupSecrets:
    """The content of an EncryptedGroupSecrets."""

    joiner: JoinerSecret
    path_secret: PathSecret | None
    psks: tuple[PreSharedKeyId, ...]

    def encode(self) -> bytes:
        path = None if self.path_secret is None else opaque(self.path_secret.raw)
        return opaque(self.joiner.raw) + optional(path) + vector([psk.encode() for psk in self.psks])

    @classmethod
    def decode(cls, reader: Reader) -> GroupSecrets:
        joiner = JoinerSecret(reader.opaque())
        path = reader.optional(Reader.opaque)
        psks = reader.vector(decode_psk_id)
        return cls(joiner, None if path is None else PathSecret(path), psks)


# Sending


def sign_group_info(
    suite: Suite,
    key: SignaturePrivateKey,
    signer: int,
    context: GroupContext,
    tag: bytes,
    extensions: Extensions,
) -> GroupInfo:
    body = context.encoded + encode_extensions(extensions) + opaque(tag) + u32(signer)
    signature = suite.sign_with_label(key, b"GroupInfoTBS", body)
    return GroupInfo(context, extensions, tag, LeafIndex(signer), signature, body + opaque(signature), len(body))


def tree_extension(tree: RatchetTree) -> Extension:
    return Extension(ExtensionType.RATCHET_TREE, tree.encode())


def seal_welcome(
    env: Environment,
    suite: Suite,
    plan: Plan,
    advanced: Advanced,
    group_info: GroupInfo,
    path_secrets: dict[int, bytes],
) -> bytes:
    """One Welcome for everybody the plan adds; `path_secrets` are the committer's, by node index."""
    key, nonce = welcome_key_and_nonce(suite, advanced.welcome)
    encrypted = suite.aead_seal(key, nonce, b"", group_info.encoded)
    context = suite.encryption_context(b"Welcome", encrypted)
    random = env.provider.random
    # Everybody's secrets differ in the path secret alone, and those are shared by whole subtrees.
    psks = vector([psk.encode() for psk in plan.psks])
    head = opaque(advanced.joiner.raw)
    secrets = []
    for leaf, package in zip(plan.added, plan.joining, strict=True):
        path = None
        if path_secrets:
            path = path_secrets.get(math.common_ancestor(2 * leaf, 2 * group_info.signer))
        plain = head + optional(None if path is None else opaque(path)) + psks
        enc, ciphertext = suite.seal(package.init_key, context, plain, random)
        secrets.append(EncryptedGroupSecrets(package.reference(suite), enc, ciphertext))
    welcome = Welcome(suite.cipher_suite, tuple(secrets), encrypted)
    return encode_message(WireFormat.WELCOME, welcome.encode())


# Joining


def read_message(data: bytes, wire_format: int) -> Reader:
    """The body of an MLSMessage of the expected kind."""
    reader = Reader(data)
    if read_wire_format(reader) != wire_format:
        raise PeerError("VAL-6-4")
    return reader


def decode_welcome(data: bytes) -> Welcome:
    reader = read_message(data, WireFormat.WELCOME)
    welcome = Welcome.decode(reader)
    reader.finish()
    return welcome


def decode_group_info(data: bytes) -> GroupInfo:
    reader = read_message(data, WireFormat.GROUP_INFO)
    info = GroupInfo.decode(reader)
    reader.finish()
    return info


def checked_tree(
    env: Environment, parameters: Parameters, suite: Suite, info: GroupInfo, tree: bytes | None
) -> RatchetTree:
    """The tree of a GroupInfo, from inside it or beside it, after every check of §12.4.3.1."""
    encoded = find_extension(info.extensions, ExtensionType.RATCHET_TREE)
    if encoded is None:
        encoded = tree
    if encoded is None:
        raise CallerError("the GroupInfo carries no ratchet tree", "fetch the tree and pass it as `tree`")
    if info.context.epoch >> 63:  # §8.1: each commit adds one, so only a hostile founder is near the end of 64 bits
        raise PeerError("VAL-8.1-2")
    dictionary_of(info.extensions)  # refuses what is not one
    ratchet_tree = RatchetTree.decode(suite, encoded)
    signer = ratchet_tree.leaf(info.signer)
    if signer is None:
        raise PeerError("VAL-12.4.3.1-5")
    parameters.mode(info.context.dictionary).check_sender(Sender(SenderType.MEMBER, info.signer))
    if not suite.verify_with_label(signer.signature_key, b"GroupInfoTBS", info.signed_content(), info.signature):
        raise PeerError("VAL-12.4.3.1-6")
    if ratchet_tree.hash != info.context.tree_hash:
        raise PeerError("VAL-12.4.3.1-9")
    check_tree(env, parameters, suite, info.context, ratchet_tree)
    return ratchet_tree


def check_tree(
    env: Environment, parameters: Parameters, suite: Suite, context: GroupContext, tree: RatchetTree
) -> None:
    """The integrity of a whole tree, but for its hash."""
    check_unmerged_leaves(tree)
    check_parent_hashes(tree)
    group_id = context.group_id
    mode = parameters.mode(context.dictionary)
    mode.check_group(context.extensions)
    signed = []
    for index, leaf in tree.leaves():
        check_leaf(env, leaf)
        if parameters.check_received_lifetimes:
            check_lifetime_length(parameters, leaf)
        place = mode.signed_place(group_id, index, leaf)
        signed.append((leaf.signature_key, leaf.signed_content(*place), leaf.signature))
    if not suite.verify_many(b"LeafNodeTBS", signed):
        raise PeerError("VAL-7.3-2")
    for cell in tree.root.cells():
        check_public_key(suite, cell.value.encryption_key)  # type: ignore[union-attr]  # cells() yields filled ones
    check_group_extensions(env, context.extensions)
    check_profiles(tree, context.extensions)
    check_leaves(parameters.components.numbers, context.extensions, [leaf for _, leaf in tree.leaves()])


def join(
    env: Environment,
    parameters: Parameters,
    message: bytes,
    packages: Sequence[Joinable],
    *,
    tree: bytes | None = None,
    known_groups: Container[bytes] = (),
    prior: Group | None = None,
) -> tuple[Group, Joinable]:
    """Become a member by a Welcome. `prior` is the group that a ReInit or branch continues, if it is to be one."""
    joined = join_informed(env, parameters, message, packages, tree=tree, known_groups=known_groups, prior=prior)
    return joined.group, joined.package


@dataclass(frozen=True, slots=True, kw_only=True)
class Welcomed(Generic[Joinable]):
    """A Welcome that was taken, with what it said beside the group itself."""

    group: Group
    package: Joinable
    """The one of those given that it was for."""
    extensions: Extensions = field(repr=False)
    """Of the GroupInfo; signed by the member who sent the Welcome."""


def join_informed(
    env: Environment,
    parameters: Parameters,
    message: bytes,
    packages: Sequence[Joinable],
    *,
    tree: bytes | None = None,
    known_groups: Container[bytes] = (),
    prior: Group | None = None,
) -> Welcomed[Joinable]:
    """The same, for those who also read the GroupInfo's extensions."""
    welcome = decode_welcome(message)
    own, sealed, suite = _find_secrets(env, welcome, packages)
    try:
        context = suite.encryption_context(b"Welcome", welcome.encrypted_group_info)
        plain = suite.open(own.init_private, context, sealed.kem_output, sealed.ciphertext)
    except CryptoError:
        raise PeerError("VAL-12.4.3.1-2") from None
    secrets = decode_exactly(plain, GroupSecrets.decode)
    founding = check_psk_list(suite, secrets.psks, None if prior is None else prior.suite)
    psk = psk_secret(suite, [(psk_id, _psk(env, prior, psk_id)) for psk_id in secrets.psks])
    key, nonce = welcome_key_and_nonce(suite, welcome_secret(suite, secrets.joiner, psk))
    try:
        group_info = suite.aead_open(key, nonce, b"", welcome.encrypted_group_info)
    except CryptoError:
        raise PeerError("VAL-12.4.3.1-4") from None
    info = decode_exactly(group_info, GroupInfo.decode)
    if info.context.group_id in known_groups:
        raise PeerError("VAL-12.4.3.1-7")
    if info.context.cipher_suite != suite.cipher_suite:
        raise PeerError("VAL-12.4.3.1-8")
    check_own_support(parameters, info.context.extensions)
    ratchet_tree = checked_tree(env, parameters, suite, info, tree)
    own_leaf, signer = _find_leaf(suite, own, ratchet_tree)
    private: PrivateKeys = {2 * own_leaf: own.leaf_private}
    if secrets.path_secret is not None:
        private.update(_path_keys(suite, ratchet_tree, own_leaf, info.signer, secrets.path_secret))
    recipe = parameters.recipe(suite, info.context.dictionary)
    advanced = enter_epoch(suite, secrets.joiner, psk, info.context.encoded, recipe)
    tag = confirmation_tag(suite, advanced.secrets.confirmation, info.context.confirmed_transcript_hash)
    if not suite.verify_mac(
        advanced.secrets.confirmation.raw, info.context.confirmed_transcript_hash, info.confirmation_tag
    ):
        raise PeerError("VAL-12.4.3.1-14")
    if founding is not None:
        check_founding(env, founding, prior, info.context, ratchet_tree)
    elif prior is not None:
        raise PeerError("VAL-12.4.3.1-20")
    public = PublicState(
        suite,
        info.context,
        ratchet_tree,
        interim_hash(suite, info.context.confirmed_transcript_hash, tag),
        tag,
    )
    group = arrive(parameters, public, advanced, own_leaf, signer, private)
    return Welcomed(group=group, package=own, extensions=info.extensions)


def _find_secrets(
    env: Environment, welcome: Welcome, packages: Sequence[Joinable]
) -> tuple[Joinable, EncryptedGroupSecrets, Suite]:
    fitting = [package for package in packages if _cipher_suite(package) == welcome.cipher_suite]
    if fitting:
        suite = env.provider.suite(welcome.cipher_suite)
        ours = {_reference(suite, package): package for package in fitting}
        for sealed in welcome.secrets:
            own = ours.get(sealed.new_member)
            if own is not None:
                return own, sealed, suite
    raise PeerError("VAL-12.4.3.1-1")


def _cipher_suite(package: KeyPackageSecrets | JoinSecrets) -> int:
    return package.cipher_suite if isinstance(package, JoinSecrets) else package.key_package.cipher_suite


def _reference(suite: Suite, package: KeyPackageSecrets | JoinSecrets) -> KeyPackageRef:
    return package.reference if isinstance(package, JoinSecrets) else package.key_package.reference(suite)


def _find_leaf(
    suite: Suite, own: KeyPackageSecrets | JoinSecrets, tree: RatchetTree
) -> tuple[LeafIndex, SignaturePrivateKey]:
    """Where the KeyPackage's leaf is in the tree, and the key that signs for it.

    Without the KeyPackage it is the leaf of that encryption key, and our own signature on it says that nobody changed
    it: it was never signed for another place than a KeyPackage.
    """
    if isinstance(own, KeyPackageSecrets):
        leaf = own.key_package.leaf_node
        index = tree.signature_keys.find(leaf.signature_key)
        if index is None or tree.leaf(index) != leaf:
            raise PeerError("VAL-12.4.3.1-12")
        return LeafIndex(index), own.signature_private
    node = tree.encryption_keys.find(suite.hpke.public_key(own.leaf_private))
    found = None if node is None or node & 1 else tree.leaf(node >> 1)
    if node is None or found is None or found.source != LeafNodeSource.KEY_PACKAGE:
        raise PeerError("VAL-12.4.3.1-12")
    signer = own.signer(found)
    if suite.scheme.public_key(signer) != found.signature_key:
        raise PeerError("VAL-12.4.3.1-12")
    return LeafIndex(node >> 1), signer


def _psk(env: Environment, prior: Group | None, psk_id: PreSharedKeyId) -> bytes:
    found = find_psk(env, [] if prior is None else [prior], psk_id)
    if found is None:
        raise MissingPskError(psk_id.encode())
    return found


def _path_keys(
    suite: Suite, tree: RatchetTree, own_leaf: int, signer: int, first: PathSecret
) -> dict[int, HpkePrivateKey]:
    """The private keys from the ancestor shared with the committer up to the root."""
    if own_leaf == signer or len(first.raw) != suite.hash_size:
        raise PeerError("VAL-12.4.3.1-13")
    shared = math.common_ancestor(2 * own_leaf, 2 * signer)
    steps = [step for step in tree.filtered_path(signer) if step.cell.level >= math.level(shared)]
    keys = derive_path(suite, first, len(steps))
    for step, public in zip(steps, keys.public, strict=True):
        value = step.cell.value
        if value is None or value.encryption_key != public:
            raise PeerError("VAL-12.4.3.1-13")
    return {step.cell.index: key for step, key in zip(steps, keys.private, strict=True)}


def check_founding(
    env: Environment, psk_id: ResumptionPskId, prior: Group | None, context: GroupContext, tree: RatchetTree
) -> None:
    """§11.2, §11.3: a group that says it continues another one must match it."""
    if context.epoch != 1:
        raise PeerError("VAL-12.4.3.1-15")
    if prior is None or psk_id.group_id != prior.group_id:
        raise CallerError("the new group continues another one than this", "pass the one it continues as the prior")
    succeeds = env.authentication.succeeds
    old = [leaf.credential for _, leaf in prior.public.tree.leaves()]
    new = [leaf.credential for _, leaf in tree.leaves()]
    if psk_id.usage == ResumptionUsage.REINIT:
        reinit = prior.reinit
        if (
            reinit is None
            or psk_id.epoch != prior.epoch
            or (reinit.version, reinit.group_id, reinit.cipher_suite, reinit.extensions)
            != (MLS10, context.group_id, context.cipher_suite, context.extensions)
        ):
            raise PeerError("VAL-12.4.3.1-16")
        if not _included(old, new, succeeds):
            raise PeerError("VAL-12.4.3.1-17")
        return
    if context.cipher_suite != prior.public.context.cipher_suite:
        raise PeerError("VAL-12.4.3.1-18")
    if not _included(new, old, lambda a, b: succeeds(b, a)):
        raise PeerError("VAL-12.4.3.1-19")


def _included(part: list[Credential], whole: list[Credential], same: Callable[[Credential, Credential], bool]) -> bool:
    """Whether everybody in `part` is also in `whole`; equal credentials are found without asking."""
    exact = {credential.encode() for credential in whole}
    return all(credential.encode() in exact or any(same(credential, other) for other in whole) for credential in part)
