"""mls-extensions §4.2 and §4.3: members' keys, used by components without treading on MLS or on each other.

The same HPKE and signature keys serve MLS and any number of components. They stay apart by label: where RFC 9420 has
one of its own, a component has a ComponentOperationLabel, which holds its number. Nothing that it signs or opens can be
taken for anything of MLS or of another component, because the labels differ, and those of RFC 9420 are plain words
while this one begins with a length.

With a private key a component must give its own number; with a public key it may give another's, to check what that one
signed or to seal something for it.
"""

from __future__ import annotations

from mls.codec import opaque, u16
from mls.components.numbers import HIGHEST
from mls.errors import CallerError, PeerError
from mls.hpke import CryptoError
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.suite import Random, Suite

BASE_LABEL = b"MLS Component"


def operation_label(component: int, label: bytes) -> bytes:
    """ComponentOperationLabel, encoded: the label that RFC 9420's operations get (§4.1)."""
    if not 0 <= component <= HIGHEST:
        raise CallerError(f"{component} is no component number", "give one of 0 to 65535")
    return opaque(BASE_LABEL) + u16(component) + opaque(label)


def safe_sign(suite: Suite, private: SignaturePrivateKey, component: int, label: bytes, content: bytes) -> bytes:
    """SafeSignWithLabel; `component` is the caller's own number."""
    return suite.sign_with_label(private, operation_label(component, label), content)


def safe_verify(suite: Suite, public: bytes, component: int, label: bytes, content: bytes, signature: bytes) -> bool:
    """SafeVerifyWithLabel; `component` is the signer's number."""
    return suite.verify_with_label(public, operation_label(component, label), content, signature)


def safe_seal(
    suite: Suite, public: bytes, component: int, label: bytes, context: bytes, plaintext: bytes, random: Random
) -> tuple[bytes, bytes]:
    """SafeEncryptWithLabel, as KEM output and ciphertext; `component` is the number of who is to open it."""
    sealing = suite.encryption_context(operation_label(component, label), context)
    try:
        return suite.seal(public, sealing, plaintext, random)
    except CryptoError:
        raise PeerError("EXT-4.2-2") from None


def safe_open(
    suite: Suite,
    private: HpkePrivateKey,
    component: int,
    label: bytes,
    context: bytes,
    kem_output: bytes,
    ciphertext: bytes,
) -> bytes:
    """SafeDecryptWithLabel; `component` is the caller's own number."""
    sealing = suite.encryption_context(operation_label(component, label), context)
    try:
        return suite.open(private, sealing, kem_output, ciphertext)
    except CryptoError:
        raise PeerError("EXT-4.2-1") from None
