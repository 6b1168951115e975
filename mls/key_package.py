"""RFC 9420 §10: KeyPackages, what a client publishes so that others can add it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from mls.codec import Reader, opaque, u16
from mls.credential import Credential
from mls.errors import PeerError
from mls.hpke import CryptoError
from mls.leaf_node import (
    Capabilities,
    Extensions,
    LeafNode,
    Lifetime,
    decode_extensions,
    encode_extensions,
    sign_leaf_node,
)
from mls.provider import Environment
from mls.registries import MLS10, KeyPackageRef, LeafNodeSource
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.suite import Suite


@dataclass(frozen=True, slots=True)
class KeyPackage:
    """A signed offer to be added to a group."""

    version: int
    cipher_suite: int
    init_key: bytes
    leaf_node: LeafNode
    extensions: Extensions
    signature: bytes
    encoded: bytes = field(repr=False)
    signed_size: int = field(compare=False, repr=False)

    @classmethod
    def decode(cls, reader: Reader) -> KeyPackage:
        start = reader.pos
        version = reader.u16()
        cipher_suite = reader.u16()
        init_key = reader.opaque()
        leaf_node = LeafNode.decode(reader)
        extensions = decode_extensions(reader)
        signed = reader.pos
        signature = reader.opaque()
        encoded = reader.data[start : reader.pos]
        return cls(version, cipher_suite, init_key, leaf_node, extensions, signature, encoded, signed - start)

    def encode(self) -> bytes:
        return self.encoded

    def signed_content(self) -> bytes:
        return self.encoded[: self.signed_size]

    def reference(self, suite: Suite) -> KeyPackageRef:
        return KeyPackageRef(suite.ref_hash(b"MLS 1.0 KeyPackage Reference", self.encoded))


@dataclass(frozen=True, slots=True)
class KeyPackageSecrets:
    """A KeyPackage of ours with its private keys, kept until a Welcome uses it or it expires."""

    key_package: KeyPackage
    init_private: HpkePrivateKey
    leaf_private: HpkePrivateKey
    signature_private: SignaturePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinSecrets:
    """What it takes to take up a Welcome without having the KeyPackage: a sibling made and published that.

    The Welcome is found by the reference, and our leaf by its key.
    """

    reference: KeyPackageRef
    cipher_suite: int
    init_private: HpkePrivateKey
    leaf_private: HpkePrivateKey
    signer: Callable[[LeafNode], SignaturePrivateKey] = field(repr=False)
    """The signature key of the leaf that was found; it may raise `PeerError` or `StaleError`."""


Joinable = TypeVar("Joinable", bound=KeyPackageSecrets | JoinSecrets)
"""What a Welcome can be taken up with."""


def create_key_package(
    env: Environment,
    cipher_suite: int,
    *,
    credential: Credential,
    signature_private: SignaturePrivateKey,
    capabilities: Capabilities,
    lifetime: Lifetime,
    leaf_extensions: Extensions = (),
    extensions: Extensions = (),
    init_key: tuple[HpkePrivateKey, bytes] | None = None,
    leaf_key: tuple[HpkePrivateKey, bytes] | None = None,
) -> KeyPackageSecrets:
    """A fresh KeyPackage; the two key pairs are drawn at random unless the caller supplies them."""
    suite = env.suite(cipher_suite)
    init_private, init_public = init_key or suite.generate_key_pair(env.provider.random)
    leaf_private, leaf_public = leaf_key or suite.generate_key_pair(env.provider.random)
    leaf_node = sign_leaf_node(
        suite,
        signature_private,
        encryption_key=leaf_public,
        signature_key=suite.scheme.public_key(signature_private),
        credential=credential,
        capabilities=capabilities,
        extensions=leaf_extensions,
        lifetime=lifetime,
    )
    body = b"".join(
        [
            u16(MLS10),
            u16(cipher_suite),
            opaque(init_public),
            leaf_node.encoded,
            encode_extensions(extensions),
        ]
    )
    signature = suite.sign_with_label(signature_private, b"KeyPackageTBS", body)
    key_package = KeyPackage(
        MLS10,
        int(cipher_suite),
        init_public,
        leaf_node,
        extensions,
        signature,
        body + opaque(signature),
        len(body),
    )
    return KeyPackageSecrets(key_package, init_private, leaf_private, signature_private)


def check_key_package(key_package: KeyPackage, suite: Suite) -> None:
    """What of §10.1 needs neither signatures nor a group: those are checked in bulk by `mls.validation`."""
    if key_package.version != MLS10 or key_package.cipher_suite != suite.cipher_suite:
        raise PeerError("VAL-10.1-1")
    leaf = key_package.leaf_node
    if leaf.source != LeafNodeSource.KEY_PACKAGE:
        raise PeerError("VAL-10.1-2")
    if key_package.init_key == leaf.encryption_key:
        raise PeerError("VAL-10.1-4")
    try:
        suite.hpke.check_public(key_package.init_key)
        suite.hpke.check_public(leaf.encryption_key)
    except CryptoError:
        raise PeerError("VAL-10.1-5") from None
