"""draft-ietf-mls-virtual-clients §6.2 and §6.3: from the secret of an operation to keys.

An operation's secret belongs to the emulation group's cipher suite, and the keys to that of the group or KeyPackage
that they are for. ImportSecret brings it there, even if both are the same, by an extraction without salt. For a leaf in
a group the result is bound to the group's id; for KeyPackages, of which one operation makes a batch, there is one seed
for each index. Whatever is imported is bound to the number of its suite, so the same operation gives unrelated keys in
two suites.

All functions take the target's suite, and a secret that was imported into it. What they derive is the same on every
device; a device that only follows derives no more than it needs.

The draft leaves to the application where signature keys come from. `derived_signature_key` is one of the policies:
every device derives the key from the operation, so nothing has to be handed around (docs/spec-notes.md has the other).
"""

from __future__ import annotations

from collections.abc import Callable

from mls import signatures
from mls.codec import opaque, u8, u16, u32
from mls.errors import BugError
from mls.provider import PathSupply
from mls.secrets import (
    EpochSecret,
    HpkePrivateKey,
    KeyPackageSeed,
    OperationSecret,
    PathSecret,
    Secret,
    SignaturePrivateKey,
    TargetOperationSecret,
)
from mls.suite import SUITES, Suite

KeyPair = tuple[HpkePrivateKey, bytes]
Imported = TargetOperationSecret | KeyPackageSeed


def import_secret(target: Suite, source: Secret, label: bytes, context: bytes) -> bytes:
    """ImportSecret."""
    return target.expand_with_label(target.extract(b"", source.raw), label, context, target.hash_size)


def target_operation_secret(target: Suite, operation: OperationSecret, group_id: bytes) -> TargetOperationSecret:
    """For a leaf in that group."""
    context = u16(target.cipher_suite) + opaque(group_id)  # TargetOperationContext
    return TargetOperationSecret(import_secret(target, operation, b"vc target operation", context))


def key_package_seed(target: Suite, operation: OperationSecret, index: int) -> KeyPackageSeed:
    """For one KeyPackage of a batch, or with index 0 for the first leaf of a new group."""
    context = u16(target.cipher_suite) + u32(index)  # KeyPackageSeedContext
    return KeyPackageSeed(import_secret(target, operation, b"vc key package seed", context))


def leaf_key(target: Suite, imported: Imported) -> KeyPair:
    """The key pair of the leaf."""
    return target.derive_key_pair(target.derive_secret(imported.raw, b"Encryption Key"))


def init_key(target: Suite, seed: KeyPackageSeed) -> KeyPair:
    """The key pair that a Welcome is sealed to."""
    return target.derive_key_pair(target.derive_secret(seed.raw, b"Init Key"))


def path_secret(target: Suite, imported: TargetOperationSecret) -> PathSecret:
    """The path secret of the first node of the filtered direct path; all others follow from it (RFC 9420 §7.4)."""
    return PathSecret(target.derive_secret(imported.raw, b"Path Generation"))


def path_supply(target: Suite, imported: TargetOperationSecret) -> PathSupply:
    """Everything that a commit with a path takes instead of randomness."""
    private, public = leaf_key(target, imported)
    return PathSupply(leaf_private=private, leaf_public=public, path_secret=path_secret(target, imported))


def group_creation_secret(target: Suite, seed: KeyPackageSeed) -> EpochSecret:
    """The secret of epoch 0 of a group that the virtual client creates."""
    return EpochSecret(target.derive_secret(seed.raw, b"Group Creation"))


def derived_signature_key(target: Suite, imported: Imported) -> tuple[SignaturePrivateKey, bytes]:
    """A signature key for this operation alone.

    The private key of Ed25519, Ed448 and ML-DSA is a seed of so many bytes. That of ECDSA is a number below the order
    of the curve, and the first of a row of candidates that is one, as in RFC 9180 §7.1.3.
    """
    secret = target.derive_secret(imported.raw, b"Signature Key")
    suite = u16(target.cipher_suite)
    scheme = SUITES[target.cipher_suite].signature  # what a provider puts in its place behaves alike
    if isinstance(scheme, signatures.Ecdsa):
        size = (scheme.order.bit_length() + 7) // 8
        raw = _below(
            scheme.order,
            lambda counter: target.expand_with_label(secret, b"vc signature candidate", suite + u8(counter), size),
        )
    else:
        raw = target.expand_with_label(secret, b"vc signature seed", suite, _SEED_SIZES[type(scheme)])
    private = SignaturePrivateKey(raw)
    return private, target.scheme.public_key(private)


_SEED_SIZES: dict[type[signatures.Scheme], int] = {
    signatures.OpenSslEd25519: 32,
    signatures.Ed448: 57,
    signatures.MlDsa: 32,
}


def _below(order: int, candidate: Callable[[int], bytes]) -> bytes:
    """The first candidate between 1 and the order, with the bits that no such number has set to zero."""
    mask = (1 << order.bit_length()) - 1
    for counter in range(256):
        raw = candidate(counter)
        scalar = int.from_bytes(raw, "big") & mask
        if 0 < scalar < order:
            return scalar.to_bytes(len(raw), "big")
    raise BugError("no candidate for a signature key is one")
