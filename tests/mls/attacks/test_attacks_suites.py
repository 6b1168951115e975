"""Attacks on the suites: keys and ciphertexts that were never made, and one private key in two schemes.

What holds: a key that is let in can be sealed to, in both modes of HPKE, in every suite there is. What is of another
length, or does not decode, ends in `CryptoError`, which the rooms above translate.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from mls import group as front
from mls.codec import Reader
from mls.ed25519 import ORDER
from mls.errors import MlsError
from mls.hpke import CryptoError
from mls.key_package import KeyPackage
from mls.leaf_node import default_capabilities
from mls.proposals import Add
from mls.registries import HybridSuite, OpenMlsSuite
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.signatures import OpenSslEd25519
from mls.suite import SUITES, Suite
from tests.mls.clients import client, environment, refusal
from vcd.crypto import LONG_TO_SIGN, LONG_TO_VERIFY, SystemProvider

REFUTED = (AssertionError, pytest.fail.Exception)
"""What an open door looks like in a test; anything else is a fault of the test."""

PROVIDERS = {library: SystemProvider(threads=1, libsodium=library) for library in (True, False)}
EVERY = [
    pytest.param(PROVIDERS[library].suite(number), id=f"{number:#06x} {'libsodium' if library else 'OpenSSL'}")
    for number, row in SUITES.items()
    for library in (True, False)
    if not library or row.kem in (0x20, 0x647A) or isinstance(row.signature, OpenSslEd25519)
]
SEED = bytes(range(1, 33))


def _bent(good: bytes, rng: random.Random) -> Iterator[bytes]:
    """Other lengths, constants, noise, and the good one with a byte changed."""
    yield from (b"", good[:-1], good + b"\x00", bytes(len(good)), b"\xff" * len(good))
    for _ in range(6):
        yield rng.randbytes(len(good))
        at = rng.randrange(len(good))
        yield good[:at] + bytes([good[at] ^ rng.randrange(1, 256)]) + good[at + 1 :]


@pytest.mark.parametrize("suite", EVERY)
def test_a_key_that_is_let_in_can_be_sealed_to(suite: Suite) -> None:
    """Otherwise one leaf would stop every commit."""
    rng = random.Random(suite.cipher_suite)
    _, public = suite.generate_key_pair(rng.randbytes)
    context = suite.encryption_context(b"attack", b"")
    let_in = 0
    for key in (public, *_bent(public, rng)):
        try:
            suite.hpke.check_public(key)
        except CryptoError:
            continue
        let_in += 1
        suite.seal(key, context, b"data", rng.randbytes)
        suite.hpke.seal_psk(key, b"info", b"", b"data", bytes(32), b"id", rng.randbytes)
        suite.hpke.send_export(key, b"", b"label", 32, rng.randbytes)
    assert let_in


@pytest.mark.parametrize("suite", EVERY)
def test_encapsulations_ciphertexts_and_private_keys_that_do_not_fit(suite: Suite) -> None:
    rng = random.Random(suite.cipher_suite)
    hpke = suite.hpke
    private, public = suite.generate_key_pair(rng.randbytes)
    context = suite.encryption_context(b"attack", b"")
    enc, sealed = suite.seal(public, context, b"data", rng.randbytes)
    for other in (b"", enc[:-1], enc + b"\x00", bytes(len(enc)), b"\xff" * len(enc)):
        with pytest.raises(CryptoError):
            suite.open(private, context, other, sealed)
        with pytest.raises(CryptoError):
            hpke.open_psk(private, other, b"info", b"", sealed, bytes(32), b"id")
    for short in (b"", sealed[:1], sealed[:15], sealed[:-1]):
        with pytest.raises(CryptoError):
            suite.open(private, context, enc, short)
    for raw in (b"", private.raw[:-1], private.raw + b"\x00"):
        with pytest.raises(CryptoError):
            suite.open(HpkePrivateKey(raw), context, enc, sealed)


@pytest.mark.parametrize("suite", EVERY)
def test_signatures_and_keys_of_any_length_are_just_wrong(suite: Suite) -> None:
    rng = random.Random(suite.cipher_suite)
    scheme = suite.scheme
    private, public = scheme.generate(rng.randbytes)
    signature = scheme.sign(private, b"text")
    assert scheme.verify(public, b"text", signature)
    for other in (b"", signature[:-1], signature + b"\x00", bytes(len(signature)), bytes(5000)):
        assert not scheme.verify(public, b"text", other)
    for key in (b"", public[:-1], public + b"\x00", bytes(len(public)), b"\xff" * len(public)):
        assert not scheme.verify(key, b"text", signature)


PAIRS = [
    (HybridSuite.MLKEM768X25519_AES256GCM_SHA384_ED25519, OpenMlsSuite.MLKEM768X25519_AES256GCM_SHA384_ED25519),
    (OpenMlsSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519, HybridSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519),
]


@pytest.mark.parametrize(("its", "groups"), PAIRS)
def test_a_key_package_of_one_numbering_in_a_group_of_the_other(its: int, groups: int) -> None:
    """The KEM and its keys look alike; the number is signed, and compared."""
    env = environment("numbering")
    both = default_capabilities((its, groups))
    founder = client("founder", groups, capabilities=both)
    joiner = client("joiner", its, capabilities=both)
    package = joiner.package(env).key_package
    group = founder.create(env)
    assert refusal(lambda: front.commit(group, env, proposals=[Add(package)])) == "VAL-10.1-1"
    relabeled = package.encoded[:2] + int(groups).to_bytes(2, "big") + package.encoded[4:]
    posing = KeyPackage.decode(Reader(relabeled))
    assert refusal(lambda: front.commit(group, env, proposals=[Add(posing)])) == "VAL-10.1-3"


SAME_SEED = [
    pytest.param(0xF009, 0xF00B, id="ML-DSA-44 then ML-DSA-87"),
    pytest.param(0xF00B, 0xF00A, id="ML-DSA-87 then ML-DSA-65"),
    pytest.param(0x0001, 0xF009, id="Ed25519 then ML-DSA-44"),
    pytest.param(0x0002, 0x0007, id="P-256 then P-384"),
]


@pytest.mark.parametrize(("first", "then"), SAME_SEED)
def test_a_signature_key_used_in_two_suites(first: int, then: int) -> None:
    """What a key does in a suite must not depend on where it was used before: here it signs by the other scheme."""
    used = SignaturePrivateKey(SEED)
    Suite(first).scheme.public_key(used)
    fresh = SignaturePrivateKey(SEED)
    scheme = Suite(then).scheme
    assert scheme.public_key(used) == scheme.public_key(fresh)
    assert scheme.verify(scheme.public_key(fresh), b"text", scheme.sign(used, b"text"))


@pytest.mark.parametrize(("first", "then"), [(0xF003, 0xF005), (0xF006, 0xF008)])
def test_an_hpke_key_used_in_two_suites(first: int, then: int) -> None:
    raw = SEED if first == 0xF003 else 2 * SEED
    used = HpkePrivateKey(raw)
    Suite(first).hpke.public_key(used)
    hpke = Suite(then).hpke
    assert hpke.public_key(used) == hpke.public_key(HpkePrivateKey(raw))


@pytest.mark.parametrize("suite", [1, 0xF001, 0xF009])
def test_a_private_key_of_ours_that_cannot_be_read(suite: int) -> None:
    """mls.errors promises that nothing else leaves `mls`; a damaged vault or a sibling's hook may hand one over."""
    torn = replace(client("torn", suite), signer=SignaturePrivateKey(bytes(7)))
    with pytest.raises(MlsError):
        torn.create(environment("torn"))


@pytest.mark.parametrize("size", [0, LONG_TO_SIGN, LONG_TO_SIGN + 1, LONG_TO_VERIFY, LONG_TO_VERIFY + 1, 1 << 20])
def test_one_rule_of_signatures_on_both_sides_of_a_threshold(size: int) -> None:
    """Long contents go to another library: were its rule another one, a signer could part the group by length."""
    content = bytes(size)
    made = set()
    for provider in PROVIDERS.values():
        scheme = provider.suite(1).scheme
        private = SignaturePrivateKey(SEED)
        public, signature = scheme.public_key(private), scheme.sign(private, content)
        made.add((public, signature))
        assert scheme.verify(public, content, signature)
        more = (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
        neutral = b"\x01" + bytes(31)
        for bent in (signature[:32] + more, neutral + signature[32:], signature[:-1], signature + b"\x00"):
            assert not scheme.verify(public, content, bent)
        for key in (neutral, public + b"\x00", public[:-1]):
            assert not scheme.verify(key, content, signature)
        assert not scheme.verify(public, content + b"\x00", signature)
    assert len(made) == 1
