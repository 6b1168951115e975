"""RFC 9420 §5.1 and §5.2: every suite against the working group's vectors, and what it does with what is wrong.

Sealing, opening, signing and authenticating, one by one and many signatures at once. HPKE itself is in test_hpke.py,
the key derivation in test_kdf.py, and what a key may look like in test_keys.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from mls.credential import TrustBasic
from mls.errors import CallerError
from mls.hpke import CryptoError
from mls.provider import Environment
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.signatures import Signed
from mls.suite import Suite
from tests.mls.suite_variants import provider_of, repeats_signing, variants
from tests.providers import SeededProvider
from tests.requirements import require_or_skip
from tests.vector_files import load, vector_folder
from vcd.crypto import PARALLEL_FROM, SystemProvider

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
    again = suite.sign_with_label(SignaturePrivateKey(private.raw), b"label", b"content")
    assert suite.verify_with_label(public, b"label", b"content", again)
    assert (again == signature) is repeats_signing(number)
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


# ---------------------------------------------------------------- many signatures at once


@pytest.fixture(scope="module")
def parallel() -> SystemProvider:
    return SystemProvider(threads=3)


def signed_batch(suite: Suite, count: int) -> list[Signed]:
    random = SeededProvider("batch").random
    private, public = suite.scheme.generate(random)
    contents = [n.to_bytes(2, "big") for n in range(count)]
    return [(public, content, suite.sign_with_label(private, b"label", content)) for content in contents]


@pytest.mark.parametrize("number", [1, 2, 4, 0xF009])
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
