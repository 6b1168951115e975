"""RFC 9420 §5.1: keys that are malformed, how they are drawn, and that nobody gets to see them."""

from __future__ import annotations

import contextlib
import copy
import pickle
from collections.abc import Callable

import pytest
from hypothesis import given, strategies as st

import mls.secrets
from mls.hpke import CryptoError
from mls.provider import Provider
from mls.registries import CipherSuite
from mls.secrets import HpkePrivateKey, Secret, SignaturePrivateKey
from mls.signatures import Ecdsa
from mls.suite import SUITES
from tests.mls.suite_variants import (
    CURVE25519,
    NIST,
    SMALL_X448,
    SMALL_X25519,
    any_variant,
    bad_hybrid_keys,
    provider_of,
    repeats_sealing,
    repeats_signing,
    variants,
)
from tests.providers import SeededProvider
from vcd.crypto import SystemProvider

RFC_SUITES = set(CipherSuite)

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
    if number not in RFC_SUITES:
        return bad + bad_hybrid_keys(number, good)
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
        # ML-KEM gives some secret for whatever is as long as a ciphertext: ML-KEM-1024's is as long as its key.
        if number in RFC_SUITES or len(bad) != len(public):
            with pytest.raises(CryptoError):
                suite.hpke.receive_export(private, bad, b"info", b"label", 32)
        if len(bad) != len(public) or number in NIST or number not in RFC_SUITES:
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
    scheme = SUITES[number].signature
    if isinstance(scheme, Ecdsa):
        size = len(signing.raw)
        scalars = [value.to_bytes(size, "big") for value in (0, scheme.order, scheme.order + 1)]
        bad_signing += [*scalars, b"\xff" * size]
    else:
        bad_signing += [signing.raw[:-1]]
    if number in NIST:
        bad_hpke += bad_signing[2:]
        # A scalar without its leading zeros is the same key: the working group's P-521 vectors have such.
        short = (12345).to_bytes(2, "big")
        assert suite.hpke.public_key(HpkePrivateKey(short)) == suite.hpke.public_key(
            HpkePrivateKey(short.rjust(suite.private_size, b"\0"))
        )
    else:
        bad_hpke += [private.raw[:-1]]
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


# ---------------------------------------------------------------- randomness


def play(provider: Provider) -> list[bytes]:
    """A little of everything that draws randomness, as bytes; of what libraries draw for themselves, the result."""
    out = [provider.random(n) for n in (0, 1, 32, 100)]
    for number in SUITES:
        suite = provider.suite(number)
        private, public = suite.generate_key_pair(provider.random)
        signing, verifying = suite.scheme.generate(provider.random)
        context = suite.encryption_context(b"label", b"context")
        out += [private.raw, public, signing.raw, verifying]
        signature = suite.scheme.sign(signing, b"content")
        assert suite.scheme.verify(verifying, b"content", signature)
        out += [signature] if repeats_signing(number) else []
        sealed = suite.seal(public, context, b"plaintext", provider.random)
        assert suite.open(private, context, *sealed) == b"plaintext"
        exported = suite.hpke.send_export(public, b"info", b"label", 32, provider.random)
        out += [*sealed, *exported] if repeats_sealing(number) else [provider.random(32)]
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
