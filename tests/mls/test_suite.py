"""RFC 9420 §5: every suite against the working group's vectors, against other implementations, and against
misuse.

Suites 1 and 3 exist twice, over libsodium and over OpenSSL; whatever is said of a suite is said of both.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac as reference_hmac, hpke as native
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import example, given, strategies as st
from pyhpke import AEADId, CipherSuite as PyhpkeSuite, KDFId, KEMId

import mls.secrets
from mls.credential import TrustBasic
from mls.errors import CallerError
from mls.hpke import CryptoError, Curve25519, OpenSslX25519
from mls.kdf import Kdf
from mls.provider import Environment, Provider
from mls.secrets import HpkePrivateKey, Secret, SignaturePrivateKey
from mls.signatures import Signed
from mls.suite import SUITES, Suite
from tests.providers import SeededProvider
from tests.requirements import require_or_skip
from tests.vector_files import load, vector_folder
from vcd.crypto import PARALLEL_FROM, SodiumX25519, SystemProvider

CURVE25519 = (1, 3)
NIST = {2: ec.SECP256R1(), 5: ec.SECP521R1(), 7: ec.SECP384R1()}
VARIANTS = [(number, True) for number in SUITES] + [(number, False) for number in CURVE25519]
variants = pytest.mark.parametrize(
    ("number", "libsodium"),
    VARIANTS,
    ids=[f"{number}-{'libsodium' if libsodium else 'openssl'}" for number, libsodium in VARIANTS],
)
any_variant = st.sampled_from(VARIANTS)


P25519 = 2**255 - 19
SMALL_X25519 = [
    value.to_bytes(32, "little")
    for value in (
        0,
        1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
        P25519 - 1,
        P25519,
        P25519 + 1,
    )
]
P448 = 2**448 - 2**224 - 1
SMALL_X448 = [value.to_bytes(56, "little") for value in (0, 1, P448 - 1, P448, P448 + 1)]


def provider_of(number: int, libsodium: bool, seed: object = "suite") -> tuple[SeededProvider, Suite]:
    provider = SeededProvider(f"{seed} {number}", libsodium=libsodium)
    return provider, provider.suite(number)


# ---------------------------------------------------------------- the working group's vectors


def crypto_basics() -> list[dict[str, Any]]:
    path = vector_folder() / "crypto-basics.json"
    if not path.exists():
        require_or_skip("vectors", f"no crypto-basics.json in {path.parent}")
    return load(path)


@pytest.mark.parametrize("libsodium", [True, False], ids=["libsodium", "openssl"])
def test_crypto_basics_of_the_working_group(libsodium: bool) -> None:
    seen = set()
    for case in crypto_basics():
        _, suite = provider_of(case["cipher_suite"], libsodium)
        seen.add(suite.cipher_suite)

        ref = case["ref_hash"]
        out = suite.ref_hash(ref["label"].encode(), bytes.fromhex(ref["value"]))
        assert out.hex() == ref["out"]

        expand = case["expand_with_label"]
        out = suite.expand_with_label(
            bytes.fromhex(expand["secret"]),
            expand["label"].encode(),
            bytes.fromhex(expand["context"]),
            expand["length"],
        )
        assert out.hex() == expand["out"]

        derive = case["derive_secret"]
        out = suite.derive_secret(bytes.fromhex(derive["secret"]), derive["label"].encode())
        assert out.hex() == derive["out"]

        tree = case["derive_tree_secret"]
        out = suite.derive_tree_secret(
            bytes.fromhex(tree["secret"]), tree["label"].encode(), tree["generation"], tree["length"]
        )
        assert out.hex() == tree["out"]

        sign = case["sign_with_label"]
        label, content = sign["label"].encode(), bytes.fromhex(sign["content"])
        private, public = SignaturePrivateKey(bytes.fromhex(sign["priv"])), bytes.fromhex(sign["pub"])
        assert suite.scheme.public_key(private) == public
        assert suite.verify_with_label(public, label, content, bytes.fromhex(sign["signature"]))
        assert suite.verify_with_label(public, label, content, suite.sign_with_label(private, label, content))
        assert not suite.verify_with_label(public, label + b"!", content, bytes.fromhex(sign["signature"]))

        sealed = case["encrypt_with_label"]
        recipient, key = HpkePrivateKey(bytes.fromhex(sealed["priv"])), bytes.fromhex(sealed["pub"])
        assert suite.hpke.public_key(recipient) == key
        context = suite.encryption_context(sealed["label"].encode(), bytes.fromhex(sealed["context"]))
        kem_output, ciphertext = bytes.fromhex(sealed["kem_output"]), bytes.fromhex(sealed["ciphertext"])
        assert suite.open(recipient, context, kem_output, ciphertext).hex() == sealed["plaintext"]
    assert seen >= {1, 2, 3, 4, 5, 6, 7}


# ---------------------------------------------------------------- HMAC and HKDF against `cryptography`

HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
any_hash = st.sampled_from(sorted(HASHES))


@given(name=any_hash, key=st.binary(max_size=300), data=st.binary(max_size=300))
def test_hmac_is_hmac(name: str, key: bytes, data: bytes) -> None:
    reference = reference_hmac.HMAC(key, HASHES[name]())
    reference.update(data)
    assert Kdf(name).mac(key, data) == reference.finalize()


@pytest.mark.parametrize("name", sorted(HASHES))
def test_hmac_keys_around_the_block_size(name: str) -> None:
    for size in (0, 1, 63, 64, 65, 127, 128, 129, 1000):
        key = bytes(range(256)) * 4
        reference = reference_hmac.HMAC(key[:size], HASHES[name]())
        reference.update(b"data")
        assert Kdf(name).mac(key[:size], b"data") == reference.finalize()


@given(
    name=any_hash,
    salt=st.binary(max_size=200),
    ikm=st.binary(max_size=100),
    info=st.binary(max_size=100),
    length=st.integers(1, 1000),
)
def test_hkdf_is_hkdf(name: str, salt: bytes, ikm: bytes, info: bytes, length: int) -> None:
    kdf, algorithm = Kdf(name), HASHES[name]()
    prk = kdf.extract(salt, ikm)
    assert kdf.expand(prk, info, length) == HKDF(algorithm, length, salt, info).derive(ikm)
    assert kdf.expand(ikm, info, length) == HKDFExpand(algorithm, length, info).derive(ikm)


@pytest.mark.parametrize("name", sorted(HASHES))
def test_hkdf_at_its_limit(name: str) -> None:
    kdf, most = Kdf(name), 255 * Kdf(name).size
    assert kdf.expand(b"prk", b"info", most) == HKDFExpand(HASHES[name](), most, b"info").derive(b"prk")
    with pytest.raises(ValueError, match="255 blocks"):
        kdf.expand(b"prk", b"info", most + 1)
    assert kdf.expand(b"prk", b"info", 0) == b""


def test_labels_are_laid_out_as_in_the_rfc() -> None:
    """RFC 9420 §8: length, "MLS 1.0 " + label and context, each a vector of the presentation language."""
    _, suite = provider_of(1, True)
    info = b"\x00\x46" + b"\x0dMLS 1.0 label" + b"\x40\x64" + bytes(100)
    assert suite.expand_with_label(b"secret", b"label", bytes(100), 70) == suite.kdf.expand(b"secret", info, 70)
    assert suite.derive_secret(b"secret", b"label") == suite.expand_with_label(b"secret", b"label", b"", 32)
    tree = suite.expand_with_label(b"secret", b"label", b"\x00\x00\x01\x00", 16)
    assert suite.derive_tree_secret(b"secret", b"label", 256, 16) == tree


# ---------------------------------------------------------------- HPKE against pyhpke and against OpenSSL's
# own

KEMS = {0x10: native.KEM.P256, 0x11: native.KEM.P384, 0x12: native.KEM.P521, 0x20: native.KEM.X25519}
KDFS = {1: native.KDF.HKDF_SHA256, 2: native.KDF.HKDF_SHA384, 3: native.KDF.HKDF_SHA512}
AEADS = {1: native.AEAD.AES_128_GCM, 2: native.AEAD.AES_256_GCM, 3: native.AEAD.CHACHA20_POLY1305}
texts = st.binary(max_size=200)


def pyhpke_of(number: int) -> PyhpkeSuite:
    row = SUITES[number]
    return PyhpkeSuite.new(KEMId(row.kem), KDFId(row.kdf), AEADId(row.aead))


@given(number=any_variant, ikm=st.binary(min_size=32, max_size=64), info=texts, aad=texts, plaintext=texts)
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


@given(number=any_variant, info=texts, label=texts, length=st.integers(1, 200))
def test_hpke_exports_with_pyhpke(number: tuple[int, bool], info: bytes, label: bytes, length: int) -> None:
    provider, suite = provider_of(*number)
    other = pyhpke_of(number[0])
    private, public = suite.derive_key_pair(b"some input keying material, long enough for all")
    pair = other.kem.derive_key_pair(b"some input keying material, long enough for all")

    enc, ours = suite.hpke.send_export(public, info, label, length, provider.random)
    assert other.create_recipient_context(enc, pair.private_key, info).export(label, length) == ours
    assert suite.hpke.receive_export(private, enc, info, label, length) == ours

    enc, sender = other.create_sender_context(pair.public_key, info)
    assert suite.hpke.receive_export(private, enc, info, label, length) == sender.export(label, length)


@given(number=any_variant.filter(lambda variant: variant[0] not in {4, 6}), info=texts, plaintext=texts)
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
def test_x25519_gives_no_zeros_and_takes_no_other_length(curve: Curve25519[Any]) -> None:
    handle = curve.load(bytes(range(32)))
    for public in [*SMALL_X25519, b"", bytes(31), bytes(33), b"\x09" + bytes(30), b"\x09" + bytes(32)]:
        with pytest.raises(CryptoError):
            curve.exchange(handle, public)
    for length in (0, 31, 33):
        with pytest.raises((CryptoError, ValueError)):
            curve.load(bytes(length))


# ---------------------------------------------------------------- what every suite does


@variants
def test_seal_and_open(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.generate_key_pair(provider.random)
    context = suite.encryption_context(b"label", b"context")
    kem_output, ciphertext = suite.seal(public, context, b"plaintext", provider.random)
    assert suite.open(private, context, kem_output, ciphertext) == b"plaintext"
    again, other = suite.seal(public, context, b"plaintext", provider.random)
    assert (again, other) != (kem_output, ciphertext)
    assert suite.open(private, context, again, other) == b"plaintext"


@variants
def test_what_does_not_open_raises_crypto_error(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.generate_key_pair(provider.random)
    stranger, _ = suite.generate_key_pair(provider.random)
    hpke, context = suite.hpke, suite.hpke.context(b"info")
    enc, ciphertext = hpke.seal(public, context, b"aad", b"plaintext", provider.random)
    other_enc, _ = hpke.seal(public, context, b"aad", b"plaintext", provider.random)
    assert hpke.open(private, enc, context, b"aad", ciphertext) == b"plaintext"
    flipped = ciphertext[:-1] + bytes([ciphertext[-1] ^ 1])
    for arguments in (
        (stranger, enc, context, b"aad", ciphertext),
        (private, other_enc, context, b"aad", ciphertext),
        (private, enc, hpke.context(b"other"), b"aad", ciphertext),
        (private, enc, context, b"", ciphertext),
        (private, enc, context, b"aad", flipped),
        (private, enc, context, b"aad", ciphertext[:-1]),
        (private, enc, context, b"aad", ciphertext[:15]),
        (private, enc, context, b"aad", b""),
    ):
        with pytest.raises(CryptoError) as caught:
            hpke.open(*arguments)
        assert str(caught.value) == ""  # nothing about the key or the text


@variants
def test_aead(number: int, libsodium: bool) -> None:
    _, suite = provider_of(number, libsodium)
    key, nonce = bytes(suite.key_size), bytes(12)
    sealed = suite.aead_seal(key, nonce, b"aad", b"plaintext")
    assert suite.aead_open(key, nonce, b"aad", sealed) == b"plaintext"
    for arguments in (
        (bytes(suite.key_size - 1) + b"\1", nonce, b"aad", sealed),
        (key, bytes(11) + b"\1", b"aad", sealed),
        (key, nonce, b"", sealed),
        (key, nonce, b"aad", sealed + b"\0"),
        (key, nonce, b"aad", b""),
        (key, b"", b"aad", sealed),
        (key[1:], nonce, b"aad", sealed),
    ):
        with pytest.raises(CryptoError):
            suite.aead_open(*arguments)


@variants
def test_signatures(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.scheme.generate(provider.random)
    _, stranger = suite.scheme.generate(provider.random)
    signature = suite.sign_with_label(private, b"label", b"content")
    assert suite.verify_with_label(public, b"label", b"content", signature)
    assert suite.sign_with_label(SignaturePrivateKey(private.raw), b"label", b"content") == signature
    assert suite.scheme.public_key(SignaturePrivateKey(private.raw)) == public
    flipped = signature[:-1] + bytes([signature[-1] ^ 1])
    for arguments in (
        (stranger, b"label", b"content", signature),
        (public, b"labe", b"lcontent", signature),
        (public, b"label", b"Content", signature),
        (public, b"label", b"content", flipped),
        (public, b"label", b"content", signature[:-1]),
        (public, b"label", b"content", signature + b"\0"),
        (public, b"label", b"content", b""),
        (public[:-1], b"label", b"content", signature),
        (public + b"\0", b"label", b"content", signature),
        (b"", b"label", b"content", signature),
    ):
        assert not suite.verify_with_label(*arguments)


@variants
def test_mac(number: int, libsodium: bool) -> None:
    _, suite = provider_of(number, libsodium)
    tag = suite.mac(b"key", b"content")
    assert len(tag) == suite.hash_size
    assert suite.verify_mac(b"key", b"content", tag)
    for wrong in (b"", tag[:-1], tag + b"\0", bytes(len(tag))):
        assert not suite.verify_mac(b"key", b"content", wrong)


def test_unknown_suites() -> None:
    for provider in (SeededProvider(), SystemProvider(threads=1)):
        with pytest.raises(KeyError):
            provider.suite(8)
        env = Environment(provider=provider, authentication=TrustBasic(), now=0)
        with pytest.raises(CallerError, match="cipher suite 8"):
            env.suite(8)
    with pytest.raises(KeyError):
        Suite(0x0A0A)


# ---------------------------------------------------------------- malformed keys


def bad_public_keys(number: int, good: bytes) -> list[bytes]:
    size = len(good)
    bad = [b"", b"\0", good[:1], good[:-1], good + b"\0", bytes(size - 1), bytes(size + 1)]
    if number in CURVE25519:
        return bad + SMALL_X25519 + [point[:31] + bytes([point[31] | 0x80]) for point in SMALL_X25519]
    if number in NIST:
        half = (size - 1) // 2
        compressed = bytes([2 + (good[-1] & 1)]) + good[1 : 1 + half]
        hybrid = bytes([6 + (good[-1] & 1)]) + good[1:]
        off_curve = good[:-1] + bytes([good[-1] ^ 1])
        too_large = b"\x04" + b"\xff" * (size - 1)
        return [*bad, compressed, hybrid, off_curve, too_large, bytes(size), b"\x04" + bytes(size - 1)]
    return bad + SMALL_X448


@variants
def test_malformed_public_keys_raise_crypto_error(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.generate_key_pair(provider.random)
    context = suite.encryption_context(b"label", b"context")
    suite.hpke.check_public(public)
    for bad in bad_public_keys(number, public):
        with pytest.raises(CryptoError):
            suite.seal(bad, context, b"plaintext", provider.random)
        with pytest.raises(CryptoError):
            suite.hpke.send_export(bad, b"info", b"label", 32, provider.random)
        with pytest.raises(CryptoError):
            suite.open(private, context, bad, bytes(48))
        with pytest.raises(CryptoError):
            suite.hpke.receive_export(private, bad, b"info", b"label", 32)
        if len(bad) != len(public) or number in NIST:
            with pytest.raises(CryptoError):
                suite.hpke.check_public(bad)


@given(variant=any_variant, data=st.binary(max_size=140))
def test_any_bytes_as_keys_raise_nothing_else(variant: tuple[int, bool], data: bytes) -> None:
    provider, suite = provider_of(*variant)
    private, _ = suite.generate_key_pair(provider.random)
    context = suite.encryption_context(b"label", b"context")
    attempts: list[Callable[[], object]] = [
        lambda: suite.seal(data, context, b"plaintext", provider.random),
        lambda: suite.open(private, context, data, bytes(48)),
        lambda: suite.hpke.check_public(data),
        lambda: suite.hpke.public_key(HpkePrivateKey(data)),
        lambda: suite.scheme.public_key(SignaturePrivateKey(data)),
        lambda: suite.scheme.sign(SignaturePrivateKey(data), b"content"),
    ]
    for attempt in attempts:
        with contextlib.suppress(CryptoError):
            attempt()
    assert suite.scheme.verify(data, b"content", data) is False


@variants
def test_malformed_private_keys_raise_crypto_error(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.generate_key_pair(provider.random)
    signing, _ = suite.scheme.generate(provider.random)
    bad_hpke = [b"", private.raw + b"\0"]
    bad_signing = [b"", signing.raw + b"\0"]
    if number in NIST:
        order = SUITES[number].signature._order  # type: ignore[attr-defined]  # of Ecdsa
        scalars = [value.to_bytes(suite.private_size, "big") for value in (0, order, order + 1)]
        bad_hpke += [*scalars, b"\xff" * suite.private_size]
        bad_signing += [*scalars, b"\xff" * suite.private_size]
        # A scalar without its leading zeros is the same key: the working group's P-521 vectors have such.
        short = (12345).to_bytes(2, "big")
        assert suite.hpke.public_key(HpkePrivateKey(short)) == suite.hpke.public_key(
            HpkePrivateKey(short.rjust(suite.private_size, b"\0"))
        )
    else:
        bad_hpke += [private.raw[:-1]]
        bad_signing += [signing.raw[:-1]]
    context = suite.encryption_context(b"label", b"context")
    enc, ciphertext = suite.seal(public, context, b"plaintext", provider.random)
    for raw in bad_hpke:
        with pytest.raises(CryptoError):
            suite.hpke.public_key(HpkePrivateKey(raw))
        with pytest.raises(CryptoError):
            suite.open(HpkePrivateKey(raw), context, enc, ciphertext)
    for raw in bad_signing:
        with pytest.raises(CryptoError):
            suite.scheme.public_key(SignaturePrivateKey(raw))
        with pytest.raises(CryptoError):
            suite.scheme.sign(SignaturePrivateKey(raw), b"content")


@pytest.mark.parametrize("number", CURVE25519)
def test_the_two_families_do_the_same_and_take_each_others_keys(number: int) -> None:
    (one, sodium), (two, openssl) = provider_of(number, True, "same"), provider_of(number, False, "same")
    pairs = [suite.generate_key_pair(p.random) for p, suite in ((one, sodium), (two, openssl))]
    assert pairs[0] == pairs[1]
    signers = [suite.scheme.generate(p.random) for p, suite in ((one, sodium), (two, openssl))]
    assert signers[0] == signers[1]
    context = sodium.encryption_context(b"label", b"context")
    sealed = sodium.seal(pairs[0][1], context, b"plaintext", one.random)
    assert openssl.seal(pairs[1][1], context, b"plaintext", two.random) == sealed
    # Keys parsed by one family, used by the other.
    assert openssl.open(pairs[0][0], context, *sealed) == b"plaintext"
    assert sodium.open(pairs[0][0], context, *sealed) == b"plaintext"
    assert sodium.open(pairs[1][0], context, *sealed) == b"plaintext"
    signature = sodium.scheme.sign(signers[1][0], b"content")
    assert openssl.scheme.sign(signers[0][0], b"content") == signature
    assert sodium.scheme.sign(signers[0][0], b"content") == signature


# ---------------------------------------------------------------- many signatures at once


@pytest.fixture(scope="module")
def parallel() -> SystemProvider:
    return SystemProvider(threads=3)


def signed_batch(suite: Suite, count: int) -> list[Signed]:
    random = SeededProvider("batch").random
    private, public = suite.scheme.generate(random)
    contents = [n.to_bytes(2, "big") for n in range(count)]
    return [(public, content, suite.sign_with_label(private, b"label", content)) for content in contents]


@pytest.mark.parametrize("number", [1, 2, 4])
@pytest.mark.parametrize("count", [0, 1, PARALLEL_FROM - 1, PARALLEL_FROM, PARALLEL_FROM + 1, 41])
def test_verify_many_finds_the_one_that_is_bad(parallel: SystemProvider, number: int, count: int) -> None:
    suite = parallel.suite(number)
    signed = signed_batch(suite, count)
    assert suite.verify_many(b"label", signed)
    assert suite.verify_many(b"other", signed) is (count == 0)
    for at in range(count):
        public, content, signature = signed[at]
        broken = [*signed]
        broken[at] = public, content + b"!", signature
        assert not suite.verify_many(b"label", broken)
    if count:
        assert not suite.verify_many(b"label", [(b"", content, signature) for _, content, signature in signed])


def test_verify_many_asks_each_once_and_passes_on_what_a_thread_raises(parallel: SystemProvider) -> None:
    scheme = parallel.suite(1).scheme
    asked: list[bytes] = []

    def alone(share: list[Signed]) -> bool:
        asked.extend(content for _, content, _ in share)
        if any(content == b"raise" for _, content, _ in share):
            raise RuntimeError
        return True

    original, scheme._alone = scheme._alone, alone  # type: ignore[attr-defined]  # of Parallel
    try:
        contents = [str(n).encode() for n in range(100)]
        assert scheme.verify_many([(b"", content, b"") for content in contents])
        assert sorted(asked) == sorted(contents)
        for at in (0, 50, 99):
            with pytest.raises(RuntimeError):
                scheme.verify_many([(b"", b"raise" if n == at else b"", b"") for n in range(100)])
    finally:
        scheme._alone = original  # type: ignore[attr-defined]


def test_one_thread_has_no_pool() -> None:
    suite = SystemProvider(threads=1).suite(1)
    assert suite.verify_many(b"label", signed_batch(suite, 2 * PARALLEL_FROM))
    assert not hasattr(suite.scheme, "_pool")


# ---------------------------------------------------------------- randomness


def play(provider: Provider) -> list[bytes]:
    """A little of everything that draws randomness, as bytes."""
    out = [provider.random(n) for n in (0, 1, 32, 100)]
    for number in SUITES:
        suite = provider.suite(number)
        private, public = suite.generate_key_pair(provider.random)
        signing, verifying = suite.scheme.generate(provider.random)
        context = suite.encryption_context(b"label", b"context")
        out += [private.raw, public, signing.raw, verifying, suite.scheme.sign(signing, b"content")]
        out += suite.seal(public, context, b"plaintext", provider.random)
        out += suite.hpke.send_export(public, b"info", b"label", 32, provider.random)
    return out


def test_a_seed_repeats_everything_under_both_families() -> None:
    first = play(SeededProvider("a seed"))
    assert play(SeededProvider("a seed")) == first
    assert play(SeededProvider("a seed", libsodium=False)) == first
    other = play(SeededProvider("another"))
    assert not set(first[1:]) & set(other[1:])
    assert len(set(first)) == len(first)


def test_forks_of_a_seeded_provider_are_their_own() -> None:
    parent = SeededProvider(5)
    draws = [child.random(32) for child in (parent.fork("a"), parent.fork("b"), parent.fork("a"))]
    assert draws[0] == draws[2] != draws[1]
    assert parent.random(32) == SeededProvider(5).random(32)
    assert len({SeededProvider(seed).random(32) for seed in (1, "1", b"1", 2)}) == 4


def test_the_system_provider_does_not_repeat() -> None:
    provider = SystemProvider(threads=1)
    assert len({provider.random(16) for _ in range(1000)}) == 1000
    assert provider.suite(1) is provider.suite(1)


# ---------------------------------------------------------------- secrets

SECRETS = [value for value in vars(mls.secrets).values() if isinstance(value, type) and issubclass(value, Secret)]


@pytest.mark.parametrize("kind", SECRETS, ids=lambda kind: kind.__name__)
def test_secrets_keep_to_themselves(kind: type[Secret]) -> None:
    raw = b"\xc0\xffee and more"
    secret = kind(raw)
    for shown in (repr(secret), str(secret), f"{secret}", f"{[secret]}", f"{secret!r:>80}"):
        assert f"<{kind.__name__} 13 bytes>" in shown
        assert "ee and" not in shown
        assert raw.hex() not in shown
    with pytest.raises(TypeError):
        hash(secret)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError):
            pickle.dumps(secret, protocol)
    for copied in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            copied(secret)
    assert not hasattr(secret, "__dict__")


def test_secrets_are_equal_by_kind_and_bytes() -> None:
    kinds = SECRETS[:3]
    values = [kind(raw) for kind in kinds for raw in (b"a", b"b", b"aa")]
    for i, one in enumerate(values):
        assert one == type(one)(one.raw)
        assert [other == one for other in values] == [j == i for j in range(len(values))]
        assert one != one.raw


def test_handles_show_nothing_either() -> None:
    for libsodium in (True, False):
        provider, suite = provider_of(1, libsodium)
        private, _ = suite.generate_key_pair(provider.random)
        assert private.handle is not None
        assert private.raw.hex() not in repr(private.handle)
        assert repr(private.raw) not in repr(private.handle)
        assert repr(private) == "<HpkePrivateKey 32 bytes>"
        signing, _ = suite.scheme.generate(provider.random)
        suite.scheme.sign(signing, b"content")
        assert repr(signing) == "<SignaturePrivateKey 32 bytes>"
