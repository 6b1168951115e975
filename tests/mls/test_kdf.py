"""RFC 9420 §5.1 and §8: HMAC and HKDF against `cryptography`, and the labels that MLS puts into them."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes, hmac as reference_hmac
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from hypothesis import given, strategies as st

from mls.kdf import Kdf
from tests.mls.suite_variants import provider_of

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
