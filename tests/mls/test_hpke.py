"""RFC 9180, as RFC 9420 §5.1.3 uses it: our HPKE both ways with pyhpke and with OpenSSL's own.

The post-quantum KEMs are in test_hybrid_kems.py.

X25519 comes from two libraries, which must give the same and refuse the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke as native
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from hypothesis import example, given, strategies as st
from pyhpke import AEADId, CipherSuite as PyhpkeSuite, KDFId, KEMId

from mls.dhkem import Group, OpenSslX25519
from mls.hpke import CryptoError
from mls.secrets import HpkePrivateKey
from mls.suite import SUITES
from tests.mls.suite_variants import NIST, SMALL_X25519, provider_of, rfc_variant, variants
from vcd.crypto import SodiumX25519

KEMS = {0x10: native.KEM.P256, 0x11: native.KEM.P384, 0x12: native.KEM.P521, 0x20: native.KEM.X25519}
KDFS = {1: native.KDF.HKDF_SHA256, 2: native.KDF.HKDF_SHA384, 3: native.KDF.HKDF_SHA512}
AEADS = {1: native.AEAD.AES_128_GCM, 2: native.AEAD.AES_256_GCM, 3: native.AEAD.CHACHA20_POLY1305}
IKM = b"some input keying material, long enough for all"
texts = st.binary(max_size=200)


def pyhpke_of(number: int) -> PyhpkeSuite:
    row = SUITES[number]
    return PyhpkeSuite.new(KEMId(row.kem), KDFId(row.kdf), AEADId(row.aead))


@given(number=rfc_variant, ikm=st.binary(min_size=32, max_size=64), info=texts, aad=texts, plaintext=texts)
def test_hpke_both_ways_with_pyhpke(
    number: tuple[int, bool], ikm: bytes, info: bytes, aad: bytes, plaintext: bytes
) -> None:
    provider, suite = provider_of(*number)
    other = pyhpke_of(number[0])
    private, public = suite.derive_key_pair(ikm)
    pair = other.kem.derive_key_pair(ikm)
    assert pair.public_key.to_public_bytes() == public
    assert len(private.raw) == suite.private_size

    enc, ciphertext = suite.hpke.seal(public, suite.hpke.context(info), aad, plaintext, provider.random)
    assert other.create_recipient_context(enc, pair.private_key, info).open(ciphertext, aad) == plaintext

    enc, sender = other.create_sender_context(pair.public_key, info)
    theirs = sender.seal(plaintext, aad)
    for key in (private, HpkePrivateKey(private.raw)):  # with its parsed form, and from bytes alone
        assert suite.hpke.open(key, enc, suite.hpke.context(info), aad, theirs) == plaintext


@given(
    number=rfc_variant,
    psk=st.binary(min_size=32, max_size=80),
    psk_id=st.binary(min_size=1, max_size=80),
    info=texts,
    aad=texts,
    plaintext=texts,
)
def test_psk_mode_both_ways_with_pyhpke(
    number: tuple[int, bool], psk: bytes, psk_id: bytes, info: bytes, aad: bytes, plaintext: bytes
) -> None:
    provider, suite = provider_of(*number)
    other = pyhpke_of(number[0])
    private, public = suite.derive_key_pair(IKM)
    pair = other.kem.derive_key_pair(IKM)

    enc, ciphertext = suite.hpke.seal_psk(public, info, aad, plaintext, psk, psk_id, provider.random)
    recipient = other.create_recipient_context(enc, pair.private_key, info, psk=psk, psk_id=psk_id)
    assert recipient.open(ciphertext, aad) == plaintext

    enc, sender = other.create_sender_context(pair.public_key, info, psk=psk, psk_id=psk_id)
    theirs = sender.seal(plaintext, aad)
    for key in (private, HpkePrivateKey(private.raw)):
        assert suite.hpke.open_psk(key, enc, info, aad, theirs, psk, psk_id) == plaintext


@variants
def test_psk_mode_opens_for_that_psk_alone(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    hpke, psk = suite.hpke, bytes(range(32))
    private, public = suite.generate_key_pair(provider.random)
    enc, ciphertext = hpke.seal_psk(public, b"info", b"aad", b"text", psk, b"id", provider.random)
    assert hpke.open_psk(private, enc, b"info", b"aad", ciphertext, psk, b"id") == b"text"
    for arguments in (
        (private, enc, b"info", b"aad", ciphertext, psk + b"\0", b"id"),
        (private, enc, b"info", b"aad", ciphertext, psk[::-1], b"id"),
        (private, enc, b"info", b"aad", ciphertext, psk, b"ID"),
        (private, enc, b"inf", b"aad", ciphertext, psk, b"id"),
        (private, enc, b"info", b"aaf", ciphertext, psk, b"id"),
        (private, enc, b"info", b"aad", ciphertext[:-1], psk, b"id"),
        (private, enc, b"info", b"aad", ciphertext, b"", b""),
    ):
        with pytest.raises(CryptoError):
            hpke.open_psk(*arguments)
    with pytest.raises(CryptoError):  # nor does it open in base mode, or a base mode text with a PSK
        hpke.open(private, enc, hpke.context(b"info"), b"aad", ciphertext)
    enc, ciphertext = hpke.seal(public, hpke.context(b"info"), b"aad", b"text", provider.random)
    with pytest.raises(CryptoError):
        hpke.open_psk(private, enc, b"info", b"aad", ciphertext, psk, b"id")


@variants
@pytest.mark.parametrize(("psk", "psk_id"), [(b"", b""), (b"", b"id"), (bytes(32), b""), (bytes(31), b"id")])
def test_what_is_no_psk_is_refused(number: int, libsodium: bool, psk: bytes, psk_id: bytes) -> None:
    """RFC 9180 §5.1: a PSK comes with its id, and has 32 bytes of entropy."""
    provider, suite = provider_of(number, libsodium)
    private, public = suite.generate_key_pair(provider.random)
    with pytest.raises(CryptoError):
        suite.hpke.seal_psk(public, b"info", b"", b"text", psk, psk_id, provider.random)
    enc, ciphertext = suite.hpke.seal(public, suite.hpke.context(b"info"), b"", b"text", provider.random)
    with pytest.raises(CryptoError):  # not even where base mode would open
        suite.hpke.open_psk(private, enc, b"info", b"", ciphertext, psk, psk_id)


@given(number=rfc_variant, info=texts, label=texts, length=st.integers(1, 200))
def test_hpke_exports_with_pyhpke(number: tuple[int, bool], info: bytes, label: bytes, length: int) -> None:
    provider, suite = provider_of(*number)
    other = pyhpke_of(number[0])
    private, public = suite.derive_key_pair(IKM)
    pair = other.kem.derive_key_pair(IKM)

    enc, ours = suite.hpke.send_export(public, info, label, length, provider.random)
    assert other.create_recipient_context(enc, pair.private_key, info).export(label, length) == ours
    assert suite.hpke.receive_export(private, enc, info, label, length) == ours

    enc, sender = other.create_sender_context(pair.public_key, info)
    assert suite.hpke.receive_export(private, enc, info, label, length) == sender.export(label, length)


@given(number=rfc_variant.filter(lambda variant: variant[0] not in {4, 6}), info=texts, plaintext=texts)
def test_hpke_both_ways_with_the_native_one(number: tuple[int, bool], info: bytes, plaintext: bytes) -> None:
    """OpenSSL's own HPKE, through `cryptography`: no X448, no aad, ciphertext behind the KEM output."""
    provider, suite = provider_of(*number)
    row = SUITES[number[0]]
    other = native.Suite(KEMS[row.kem], KDFS[row.kdf], AEADS[row.aead])
    private, public = suite.generate_key_pair(provider.random)
    key: Any
    peer: Any
    if row.kem == 0x20:
        key, peer = (
            X25519PrivateKey.from_private_bytes(private.raw),
            X25519PublicKey.from_public_bytes(public),
        )
    else:
        curve = NIST[number[0]]
        key = ec.derive_private_key(int.from_bytes(private.raw, "big"), curve)
        peer = ec.EllipticCurvePublicKey.from_encoded_point(curve, public)

    enc, ciphertext = suite.hpke.seal(public, suite.hpke.context(info), b"", plaintext, provider.random)
    assert other.decrypt(enc + ciphertext, key, info) == plaintext

    theirs = other.encrypt(plaintext, peer, info)
    enc, ciphertext = theirs[: len(public)], theirs[len(public) :]
    assert suite.hpke.open(private, enc, suite.hpke.context(info), b"", ciphertext) == plaintext


def outcome(attempt: Callable[[], bytes]) -> bytes | None:
    try:
        return attempt()
    except CryptoError:
        return None


@given(private=st.binary(min_size=32, max_size=32), public=st.binary(min_size=32, max_size=32))
@example(private=bytes(32), public=b"\x09" + bytes(31))
@example(private=b"\xff" * 32, public=b"\xff" * 32)
@example(private=bytes(range(32)), public=(2**255 - 10).to_bytes(32, "little"))  # not reduced: means 9
def test_x25519_is_the_same_in_both_libraries(private: bytes, public: bytes) -> None:
    sodium, openssl = SodiumX25519(), OpenSslX25519()
    one, two = sodium.load(private), openssl.load(private)
    assert sodium.public(one) == openssl.public(two) == sodium.public(one)
    assert outcome(lambda: sodium.exchange(one, public)) == outcome(lambda: openssl.exchange(two, public))


@pytest.mark.parametrize("curve", [SodiumX25519(), OpenSslX25519()], ids=["libsodium", "openssl"])
def test_x25519_gives_no_zeros_and_takes_no_other_length(curve: Group[Any]) -> None:
    handle = curve.load(bytes(range(32)))
    for public in [*SMALL_X25519, b"", bytes(31), bytes(33), b"\x09" + bytes(30), b"\x09" + bytes(32)]:
        with pytest.raises(CryptoError):
            curve.exchange(handle, public)
    for length in (0, 31, 33):
        with pytest.raises((CryptoError, ValueError)):
            curve.load(bytes(length))
