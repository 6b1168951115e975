"""GroupInfos and Welcomes for groups that never were, with one thing wrong.

Whoever joins knows nothing of a group but what it is told, so all of it can be made up: a tree, a context, a joiner
secret, and a confirmation tag that fits them. `tests.mls.frankenstein` has the rest of the workshop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mls.codec import opaque, u16, u32, u64
from mls.framing import encode_message
from mls.key_package import KeyPackageSecrets
from mls.leaf_node import Extension, Extensions
from mls.provider import Environment
from mls.psk import PreSharedKeyId
from mls.registries import MLS10, KeyPackageRef, WireFormat
from mls.schedule import Advanced, confirmation_tag, enter_epoch, external_key_pair, welcome_key_and_nonce
from mls.secrets import JoinerSecret, PathSecret, PskSecret
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.welcome import EncryptedGroupSecrets, GroupSecrets, Welcome, sign_group_info, tree_extension
from tests.mls.clients import Client
from tests.mls.frankenstein import Bytes, Forged, extension_list, same


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """A GroupInfo with the secrets of the epoch that it describes."""

    encoded: bytes
    advanced: Advanced

    @property
    def message(self) -> bytes:
        return encode_message(WireFormat.GROUP_INFO, self.encoded)


def info_of(forged: Forged, signer: Client, leaf: int) -> Info:
    """The GroupInfo of a forged commit's epoch."""
    suite = Suite(signer.cipher_suite)
    info = sign_group_info(suite, signer.signer, leaf, forged.context, forged.tag, (tree_extension(forged.tree),))
    return Info(encoded=info.encoded, advanced=forged.advanced)


def forge_info(
    env: Environment,
    tree: RatchetTree | bytes,
    signer: Client,
    *,
    leaf: int = 0,
    version: int = MLS10,
    cipher_suite: int | None = None,
    group_id: bytes = b"group",
    epoch: int = 1,
    tree_hash: bytes | None = None,
    group_extensions: Extensions = (),
    extensions: Extensions = (),
    psk: PskSecret | None = None,
    external_pub: Bytes | None = same,
    bare: bool = False,
    tag: Bytes = same,
    signature: Bytes = same,
) -> Info:
    """A GroupInfo for a group that never was: newcomers have nothing but this to tell. `bare` leaves the tree out."""
    suite = Suite(signer.cipher_suite)
    if tree_hash is None:
        tree_hash = tree.hash if isinstance(tree, RatchetTree) else b"?"
    number = signer.cipher_suite if cipher_suite is None else cipher_suite
    transcript = env.provider.random(suite.hash_size)
    body = b"".join(
        [
            u16(version),
            u16(number),
            opaque(group_id),
            u64(epoch),
            opaque(tree_hash),
            opaque(transcript),
            extension_list(group_extensions),
        ]
    )
    joiner = JoinerSecret(env.provider.random(suite.hash_size))
    advanced = enter_epoch(suite, joiner, psk or PskSecret(bytes(suite.hash_size)), body)
    mac = tag(confirmation_tag(suite, advanced.secrets.confirmation, transcript))
    ratchet_tree = tree_extension(tree) if isinstance(tree, RatchetTree) else Extension(2, tree)
    listed = [*extensions] if bare else [*extensions, ratchet_tree]
    if external_pub is not None:
        _, public = external_key_pair(suite, advanced.secrets.external)
        listed.append(Extension(4, opaque(external_pub(public))))
    body += extension_list(tuple(listed)) + opaque(mac) + u32(leaf)
    signed = signature(suite.sign_with_label(signer.signer, b"GroupInfoTBS", body))
    return Info(encoded=body + opaque(signed), advanced=advanced)


def forge_welcome(
    env: Environment,
    info: Info,
    package: KeyPackageSecrets,
    *,
    path_secret: bytes | None = None,
    psks: Sequence[PreSharedKeyId] = (),
    reference: bytes | None = None,
    cipher_suite: int | None = None,
    group_info: Bytes = same,
    secrets: Bytes = same,
    sealed: Bytes = same,
    encrypted: Bytes = same,
) -> bytes:
    """A Welcome to one KeyPackage, with that GroupInfo inside."""
    suite = Suite(package.key_package.cipher_suite)
    key, nonce = welcome_key_and_nonce(suite, info.advanced.welcome)
    encrypted_info = encrypted(suite.aead_seal(key, nonce, b"", group_info(info.encoded)))
    context = suite.encryption_context(b"Welcome", encrypted_info)
    path = None if path_secret is None else PathSecret(path_secret)
    plain = secrets(GroupSecrets(info.advanced.joiner, path, tuple(psks)).encode())
    enc, ciphertext = suite.seal(package.key_package.init_key, context, plain, env.provider.random)
    name = package.key_package.reference(suite) if reference is None else KeyPackageRef(reference)
    entry = EncryptedGroupSecrets(name, enc, sealed(ciphertext))
    welcome = Welcome(suite.cipher_suite if cipher_suite is None else cipher_suite, (entry,), encrypted_info)
    return encode_message(WireFormat.WELCOME, welcome.encode())
