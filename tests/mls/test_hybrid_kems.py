"""draft-ietf-hpke-pq §3 and §4: the post-quantum KEMs against others' words on them.

The published vectors of draft-ietf-hpke-pq and of X-Wing are in tests/vectors/published; the HPKE of `cryptography`
is asked in both directions. What every suite must do is said of these too in test_suite.py and test_keys.py; groups
are in test_hybrid_groups.py.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hpke as native
from cryptography.hazmat.primitives.asymmetric import ec, mlkem
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given, settings, strategies as st

from mls.dhkem import OpenSslX25519
from mls.hpke import CryptoError, Kem, KemHpke
from mls.mlkem import ML_KEM_768, ML_KEM_1024, MlKem
from mls.registries import HybridSuite, OpenMlsSuite
from mls.secrets import HpkePrivateKey
from mls.suite import SUITES, Parameters, kem_of
from mls.xwing import MLKEM768_P256, MLKEM1024_P384, P256, P384, XWING, HybridKem
from tests.mls.suite_variants import SMALL_X25519
from tests.providers import SeededProvider
from tests.vector_files import REPOSITORY, load
from vcd.crypto import SodiumX25519

PUBLISHED = REPOSITORY / "tests" / "vectors" / "published"
HPKE_PQ: list[dict[str, Any]] = load(PUBLISHED / "hpke_pq.json")
X_WING: list[dict[str, Any]] = load(PUBLISHED / "xwing.json")

KEMS: dict[str, Kem] = {
    "ML-KEM-768": MlKem(0x41, ML_KEM_768),
    "ML-KEM-1024": MlKem(0x42, ML_KEM_1024),
    "MLKEM768-P256": HybridKem(MLKEM768_P256, P256),
    "MLKEM1024-P384": HybridKem(MLKEM1024_P384, P384),
    "X-Wing by libsodium": HybridKem(XWING, SodiumX25519()),
    "X-Wing by OpenSSL": HybridKem(XWING, OpenSslX25519()),
}
HYBRIDS = {name: kem for name, kem in KEMS.items() if kem.kem_id not in {0x41, 0x42}}
each_kem = pytest.mark.parametrize("kem", KEMS.values(), ids=list(KEMS))
IKM = bytes(range(32))


# ---------------------------------------------------------------- published vectors


def drawing(*pieces: bytes) -> Callable[[int], bytes]:
    """Randomness that was chosen beforehand."""
    left = list(pieces)

    def draw(length: int) -> bytes:
        piece = left.pop(0)
        assert len(piece) == length
        return piece

    return draw


@each_kem
def test_the_vectors_of_hpke_pq(kem: Kem) -> None:
    cases = [case for case in HPKE_PQ if case["kem_id"] == kem.kem_id]
    assert cases
    for case in cases:
        given_ = {name: bytes.fromhex(value) for name, value in case.items() if isinstance(value, str)}
        private, public = kem.derive_key_pair(given_["ikmR"])
        assert (private.raw, public) == (given_["skRm"], given_["pkRm"])
        for key in (private, HpkePrivateKey(given_["skRm"])):
            assert kem.public_key(key) == public
            assert kem.decapsulate(key, given_["enc"]) == given_["shared_secret"]
        kem.check_public(public)

        hpke = KemHpke(kem, case["kdf_id"], case["aead_id"])
        message = {name: bytes.fromhex(value) for name, value in case["encryption"].items()}
        context = hpke.context(given_["info"])
        opened = hpke.open(private, given_["enc"], context, message["aad"], message["ct"])
        assert opened == message["pt"]
        for export in case["exports"]:
            label = bytes.fromhex(export["exporter_context"])
            exported = hpke.receive_export(private, given_["enc"], given_["info"], label, export["L"])
            assert exported.hex() == export["exported_value"]


@pytest.mark.parametrize("group", [SodiumX25519(), OpenSslX25519()], ids=["libsodium", "openssl"])
@pytest.mark.parametrize("case", X_WING, ids=range(len(X_WING)))
def test_the_vectors_of_x_wing(case: dict[str, str], group: Any) -> None:
    kem = HybridKem(XWING, group)
    given_ = {name: bytes.fromhex(value) for name, value in case.items()}
    private = HpkePrivateKey(given_["sk"])
    assert kem.public_key(private) == given_["pk"]
    assert kem.decapsulate(private, given_["ct"]) == given_["ss"]
    # What is ours to draw when sealing is X25519's half.
    enc, shared = kem.encapsulate(given_["pk"], drawing(given_["eseed"][32:]))
    assert (len(enc), enc[1088:]) == (1120, given_["ct"][1088:])
    assert kem.decapsulate(private, enc) == shared


def test_keys_are_derived_as_the_older_drafts_did_where_openmls_does() -> None:
    """draft-connolly-cfrg-xwing-kem and draft-connolly-cfrg-hpke-mlkem: SHAKE256 of the bare keying material."""
    for number in OpenMlsSuite:
        row = SUITES[number]
        kem = kem_of(row, OpenSslX25519())
        assert kem is not None
        private, public = kem.derive_key_pair(IKM)
        assert private.raw == hashlib.shake_256(IKM).digest(row.private_size)
        newer = kem_of(Parameters(row.kem, row.kdf, row.aead, row.signature), OpenSslX25519())
        assert newer is not None
        assert newer.derive_key_pair(IKM)[0] != private
        # Only that differs: each opens what the other seals.
        enc, shared = newer.encapsulate(public, SeededProvider("older").random)
        assert kem.decapsulate(private, enc) == newer.decapsulate(HpkePrivateKey(private.raw), enc) == shared


# ---------------------------------------------------------------- cryptography's HPKE

NATIVE = {
    "ML-KEM-768": native.KEM.MLKEM768,
    "ML-KEM-1024": native.KEM.MLKEM1024,
    "MLKEM1024-P384": native.KEM.MLKEM1024_P384,
    "X-Wing by libsodium": native.KEM.MLKEM768_X25519,
    "X-Wing by OpenSSL": native.KEM.MLKEM768_X25519,
}
KDFS = {1: native.KDF.HKDF_SHA256, 2: native.KDF.HKDF_SHA384, 3: native.KDF.HKDF_SHA512}
AEADS = {1: native.AEAD.AES_128_GCM, 2: native.AEAD.AES_256_GCM, 3: native.AEAD.CHACHA20_POLY1305}


def native_key(name: str, raw: bytes) -> Any:
    """The private key as `cryptography` wants it: of a hybrid, both parts."""
    if name == "ML-KEM-768":
        return mlkem.MLKEM768PrivateKey.from_seed_bytes(raw)
    if name == "ML-KEM-1024":
        return mlkem.MLKEM1024PrivateKey.from_seed_bytes(raw)
    stretched = hashlib.shake_256(raw).digest(112)
    if name == "MLKEM1024-P384":
        scalar = ec.derive_private_key(int.from_bytes(stretched[64:], "big"), ec.SECP384R1())
        return native.MLKEM1024P384PrivateKey(mlkem.MLKEM1024PrivateKey.from_seed_bytes(stretched[:64]), scalar)
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(stretched[:64])
    return native.MLKEM768X25519PrivateKey(lattice, X25519PrivateKey.from_private_bytes(stretched[64:96]))


@given(
    name=st.sampled_from(sorted(NATIVE)),
    ikm=st.binary(min_size=32, max_size=64),
    kdf=st.sampled_from(sorted(KDFS)),
    aead=st.sampled_from(sorted(AEADS)),
    info=st.binary(max_size=200),
    plaintext=st.binary(max_size=200),
)
@settings(max_examples=100)
def test_both_ways_with_the_native_one(
    name: str, ikm: bytes, kdf: int, aead: int, info: bytes, plaintext: bytes
) -> None:
    hpke = KemHpke(KEMS[name], kdf, aead)
    private, public = hpke.derive_key_pair(ikm)
    other, key = native.Suite(NATIVE[name], KDFS[kdf], AEADS[aead]), native_key(name, private.raw)
    context = hpke.context(info)

    enc, ciphertext = hpke.seal(public, context, b"", plaintext, SeededProvider(ikm).random)
    assert other.decrypt(enc + ciphertext, key, info) == plaintext

    theirs = other.encrypt(plaintext, key.public_key(), info)
    assert hpke.open(private, theirs[: len(enc)], context, b"", theirs[len(enc) :]) == plaintext


# ---------------------------------------------------------------- what a KEM does with what is wrong


@each_kem
def test_a_changed_encapsulation_gives_another_secret_or_none(kem: Kem) -> None:
    random = SeededProvider("changed").random
    private, public = kem.derive_key_pair(IKM)
    enc, shared = kem.encapsulate(public, random)
    assert kem.decapsulate(private, enc) == shared
    for at in (0, 500, 1087, len(enc) - 40, len(enc) - 1):
        changed = enc[:at] + bytes([enc[at] ^ 1]) + enc[at + 1 :]
        try:
            assert kem.decapsulate(private, changed) != shared
        except CryptoError:
            assert at > 1087  # a point that is none: ML-KEM itself never says
    for length in (0, 1, len(enc) - 1, len(enc) + 1, len(public) + 1):
        with pytest.raises(CryptoError):
            kem.decapsulate(private, (enc * 2)[:length])


@given(
    name=st.sampled_from(sorted(KEMS)),
    changes=st.lists(st.tuples(st.integers(0, 1664), st.integers(0, 255)), max_size=3),
    ikm=st.binary(min_size=32, max_size=32),
)
@settings(max_examples=200)
def test_what_passes_the_check_can_be_sealed_to(name: str, changes: list[tuple[int, int]], ikm: bytes) -> None:
    """And nothing else: a key that is let into a tree must not stop a commit later."""
    kem = KEMS[name]
    key = bytearray(kem.derive_key_pair(ikm)[1])
    for at, value in changes:
        key[at % len(key)] = value
    random = SeededProvider(ikm).random
    try:
        kem.check_public(bytes(key))
    except CryptoError:
        with pytest.raises(CryptoError):
            kem.encapsulate(bytes(key), random)
    else:
        enc, shared = kem.encapsulate(bytes(key), random)
        assert len(shared) == 32
        private, _ = kem.derive_key_pair(IKM)
        assert kem.decapsulate(private, enc) != shared


@pytest.mark.parametrize("name", ["X-Wing by libsodium", "X-Wing by OpenSSL"])
def test_x_wing_takes_no_point_of_small_order_in_a_ciphertext(name: str) -> None:
    kem = KEMS[name]
    private, public = kem.derive_key_pair(IKM)
    enc, _ = kem.encapsulate(public, SeededProvider("small").random)
    for point in SMALL_X25519:
        with pytest.raises(CryptoError):
            kem.decapsulate(private, enc[:1088] + point)


@pytest.mark.parametrize(("group", "size", "pieces"), [(P256, 32, 4), (P384, 48, 1)], ids=["P-256", "P-384"])
def test_nist_scalars_are_the_first_that_fit(group: Any, size: int, pieces: int) -> None:
    """RandomScalar: a piece that is zero or not below the order is passed over; a seed without any is refused."""
    five = (5).to_bytes(size, "big")
    public = group.public(group.load(five))
    for passed in range(pieces):
        for unfit in (bytes(size), group._order.to_bytes(size, "big"), b"\xff" * size):
            assert group.public(group.load(unfit * passed + five + bytes(size * (pieces - passed - 1)))) == public
    for unfit in (bytes(size), group._order.to_bytes(size, "big"), b"\xff" * size):
        with pytest.raises(CryptoError):
            group.load(unfit * pieces)
    assert group.load((group._order - 1).to_bytes(size, "big") + bytes(size * (pieces - 1)))


@pytest.mark.parametrize("name", sorted(HYBRIDS))
def test_neither_half_alone_gives_the_secret(name: str) -> None:
    """Two encapsulations with their halves swapped give secrets that are neither's."""
    kem, random = HYBRIDS[name], SeededProvider("halves").random
    private, public = kem.derive_key_pair(IKM)
    (one, first), (two, second) = kem.encapsulate(public, random), kem.encapsulate(public, random)
    split = 1568 if kem.kem_id == 0x51 else 1088
    mixed = {kem.decapsulate(private, one[:split] + two[split:]), kem.decapsulate(private, two[:split] + one[split:])}
    assert len(mixed | {first, second}) == 4


def test_libraries_take_each_others_parsed_keys() -> None:
    sodium, openssl = KEMS["X-Wing by libsodium"], KEMS["X-Wing by OpenSSL"]
    private, public = sodium.derive_key_pair(IKM)
    assert openssl.derive_key_pair(IKM) == (private, public)
    enc, shared = openssl.encapsulate(public, SeededProvider("libraries").random)
    assert openssl.decapsulate(private, enc) == sodium.decapsulate(private, enc) == shared


@each_kem
def test_keys_show_nothing(kem: Kem) -> None:
    private, _ = kem.derive_key_pair(IKM)
    assert private.handle is not None
    for shown in (repr(private), repr(private.handle), str(vars(type(private.handle)))):
        assert private.raw.hex() not in shown
        assert repr(private.raw) not in shown
    assert repr(private) == f"<HpkePrivateKey {len(private.raw)} bytes>"


# ---------------------------------------------------------------- the table of suites


def test_the_table_is_the_drafts() -> None:
    """draft-ietf-mls-pq-ciphersuites §3.1, row by row: KEM, KDF, AEAD, and lengths that the signature must have."""
    rows = [(SUITES[n].kem, SUITES[n].kdf, SUITES[n].aead) for n in range(0xF001, 0xF00C)]
    assert rows == [
        (0x647A, 1, 1),
        (0x647A, 2, 2),
        (0x0050, 1, 1),
        (0x0050, 2, 2),
        (0x0051, 2, 2),
        (0x0041, 2, 2),
        (0x0041, 2, 2),
        (0x0042, 2, 2),
        (0x647A, 2, 3),
        (0x0041, 2, 2),
        (0x0042, 2, 2),
    ]
    provider = SeededProvider("table")
    suites = [provider.suite(number) for number in HybridSuite]
    assert [len(suite.scheme.generate(provider.random)[1]) for suite in suites] == [
        *(32, 32, 65, 65, 97, 32, 65, 97),
        *(1312, 1952, 2592),
    ]
    assert [suite.hash_size for suite in suites] == [32, 48, 32, *[48] * 8]


def test_openmls_numbers_mean_the_same_rows() -> None:
    same = {number.name: number for number in HybridSuite}
    for number in OpenMlsSuite:
        row = SUITES[number]
        assert not row.labeled
        if number != OpenMlsSuite.MLKEM768X25519_CHACHA20POLY1305_SHA256_ED25519:  # theirs alone
            other = SUITES[same[number.name]]
            assert (row.kem, row.kdf, row.aead, row.signature) == (
                other.kem,
                other.kdf,
                other.aead,
                other.signature,
            )
