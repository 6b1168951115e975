"""RFC 9420 §5.3: certificate chains of every key kind, and each way in which one can be wrong.

A small PKI is made here. Each refusal differs from an accepted chain in one thing, so that it is that thing
which is refused.
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, strategies as st

import mls.x509
from mls.codec import decode_exactly
from mls.credential import BasicCredential, Credential, TrustBasic, X509Credential, decode_credential
from mls.errors import CallerError, PeerError
from mls.suite import SUITES
from mls.x509 import (
    MESSAGING,
    PURPOSES,
    Identity,
    Limits,
    X509Authentication,
    alternative_names,
    presented,
    subject,
)
from tests.providers import SeededProvider
from tests.validation import breaks

START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
END = START + 100 * DAY


def ms(when: datetime.datetime) -> int:
    return round(when.timestamp() * 1000)


NOW = ms(START + 50 * DAY)
ALICE = x509.UniformResourceIdentifier("im:alice@example.com")


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) if text else x509.Name([])


def usage(**true: bool) -> x509.KeyUsage:
    fields = dict.fromkeys(
        (
            "digital_signature",
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "key_cert_sign",
            "crl_sign",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(**{**fields, **true})


MEMBER = usage(digital_signature=True)
AUTHORITY = usage(key_cert_sign=True, crl_sign=True)


class Holder:
    """A name, a key and a certificate: whoever can be certified and certify."""

    def __init__(self, text: str, key: Any, certificate: x509.Certificate) -> None:
        self.text = text
        self.key = key
        self.certificate = certificate
        self.der = certificate.public_bytes(Encoding.DER)


def default_hash(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()


def issue(
    text: str,
    key: Any,
    issuer: Holder | None,
    *,
    ca: bool | None = False,
    path_length: int | None = None,
    key_usage: x509.KeyUsage | None = None,
    names: Sequence[x509.GeneralName] = (),
    begins: datetime.datetime = START,
    ends: datetime.datetime = END,
    more: Sequence[tuple[x509.ExtensionType, bool]] = (),
    algorithm: Any = "default",
    rsa_padding: Any = None,
    signer: Any = None,
    issuer_name: str | None = None,
) -> Holder:
    """A certificate; `None` as issuer signs it with its own key."""
    signing = signer or (issuer.key if issuer else key)
    issuer_text = issuer_name if issuer_name is not None else issuer.text if issuer else text
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(text))
        .issuer_name(name(issuer_text))
        .public_key(key.public_key())
        .serial_number(next(serials))
        .not_valid_before(begins)
        .not_valid_after(ends)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, path_length), critical=True)
    if key_usage is not None:
        builder = builder.add_extension(key_usage, critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension, critical in more:
        builder = builder.add_extension(extension, critical=critical)
    chosen = default_hash(signing) if algorithm == "default" else algorithm
    return Holder(text, key, builder.sign(signing, chosen, rsa_padding=rsa_padding))


serials = iter(range(1, 1_000_000))


def authority(text: str, key: Any, issuer: Holder | None = None, **changes: Any) -> Holder:
    return issue(text, key, issuer, **{"ca": True, "key_usage": AUTHORITY, **changes})


def member(key: Any, issuer: Holder | None, text: str = "alice", **changes: Any) -> Holder:
    return issue(text, key, issuer, **{"key_usage": MEMBER, "names": [ALICE], **changes})


@functools.cache
def ec_key(at: int = 0, curve: type[ec.EllipticCurve] = ec.SECP256R1) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(1000 + at, curve())


def ed_key(at: int = 0) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.from_private_bytes(bytes([at]) * 32)


@functools.cache
def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


ROOT = authority("root", ec_key(1))
MIDDLE = authority("middle", ec_key(2), ROOT)
LEAF_KEY = ed_key(7)
KEY = LEAF_KEY.public_key().public_bytes_raw()
LEAF = member(LEAF_KEY, MIDDLE)
TRUST = X509Authentication([ROOT.der])


def chain(*holders: Holder) -> X509Credential:
    return X509Credential(tuple(holder.der for holder in holders))


def refused(
    check: str, credential: Credential, trust: X509Authentication = TRUST, key: bytes = KEY, now: int = NOW
) -> str:
    details = []
    for _ in range(2):  # once more, in case the first time had been remembered
        with pytest.raises(PeerError) as caught:
            trust.validate(credential, key, now)
        assert caught.value.check == check, caught.value
        details.append(caught.value.detail)
    return details[0]


# ---------------------------------------------------------------- what is believed


def test_chains_with_and_without_their_anchor() -> None:
    TRUST.validate(chain(LEAF, MIDDLE, ROOT), KEY, NOW)
    TRUST.validate(chain(LEAF, MIDDLE), KEY, NOW)
    X509Authentication([MIDDLE.der]).validate(chain(LEAF, MIDDLE, ROOT), KEY, NOW)
    X509Authentication([MIDDLE.der]).validate(chain(LEAF), KEY, NOW)
    X509Authentication([LEAF.der]).validate(chain(LEAF, MIDDLE), KEY, NOW)  # an end entity, pinned


@breaks("VAL-5.3-5")
def test_left_out_intermediates_may_be_known_here() -> None:
    """RFC 9420 §5.3: a chain may omit what peers are known to have already."""
    lower = authority("lower", ec_key(3), MIDDLE)
    leaf = member(LEAF_KEY, lower)
    refused("VAL-5.3-5", chain(leaf))
    refused("VAL-5.3-5", chain(leaf), X509Authentication([ROOT.der], intermediates=[lower.der]))
    both = X509Authentication([ROOT.der], intermediates=[MIDDLE.der, lower.der])
    for given_chain in (chain(leaf), chain(leaf, lower), chain(leaf, lower, MIDDLE)):
        both.validate(given_chain, KEY, NOW)
    loop = X509Authentication([ROOT.der], intermediates=[authority("lower", ec_key(3)).der])
    refused("VAL-5.3-5", chain(leaf), loop)


def test_a_credential_survives_the_wire() -> None:
    credential = chain(LEAF, MIDDLE)
    assert decode_exactly(credential.encode(), decode_credential) == credential


@breaks("VAL-5.3-3")
@pytest.mark.parametrize("number", sorted(SUITES))
def test_the_key_of_every_suite_as_leaf_and_as_ca(number: int) -> None:
    """The signature key of RFC 9420 §5.1.1 is the one in the certificate, as `Suite` writes it."""
    suite = SeededProvider(number).suite(number)
    private, public = suite.scheme.generate(SeededProvider(number).random)
    key: Any
    match len(public):
        case 32:
            key = ed25519.Ed25519PrivateKey.from_private_bytes(private.raw)
        case 57:
            key = ed448.Ed448PrivateKey.from_private_bytes(private.raw)
        case size:
            curves: dict[int, ec.EllipticCurve] = {65: ec.SECP256R1(), 97: ec.SECP384R1(), 133: ec.SECP521R1()}
            key = ec.derive_private_key(int.from_bytes(private.raw, "big"), curves[size])
    own_root = authority("own root", key)
    for leaf, root in ((member(key, MIDDLE), MIDDLE), (member(key, own_root), own_root)):
        trust = X509Authentication([root.der])
        trust.validate(chain(leaf), public, NOW)
        refused("VAL-5.3-3", chain(leaf), trust, key=public[:-1] + bytes([public[-1] ^ 1]))
        refused("VAL-5.3-3", chain(leaf), trust, key=public + b"\0")
        refused("VAL-5.3-3", chain(leaf), trust, key=b"")


# Keys are made when a test runs, not when it is collected: RSA and DSA take their time.
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (rsa_key, {}),
        (rsa_key, {"algorithm": hashes.SHA512()}),
        (rsa_key, {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA256()), 32)}),
        (lambda: ec_key(5, ec.SECP384R1), {"algorithm": hashes.SHA384()}),
        (lambda: ec_key(5, ec.SECP521R1), {"algorithm": hashes.SHA512()}),
        (ed_key, {}),
        (lambda: ed448.Ed448PrivateKey.from_private_bytes(bytes(57)), {}),
    ],
    ids=["rsa", "rsa-sha512", "rsa-pss", "p384", "p521", "ed25519", "ed448"],
)
def test_ca_keys_that_are_accepted(make: Callable[[], Any], changes: dict[str, Any]) -> None:
    root = authority("another root", make())
    X509Authentication([root.der]).validate(chain(member(LEAF_KEY, root, **changes)), KEY, NOW)


@breaks("VAL-5.3-8")
@pytest.mark.parametrize(
    ("make", "changes"),
    [
        (lambda: rsa_key(1024), {}),
        (lambda: ec_key(5, ec.SECP256K1), {}),
        (lambda: ec_key(5, ec.SECP224R1), {}),
        (lambda: dsa.generate_private_key(1024), {}),
        (rsa_key, {"algorithm": hashes.SHA224()}),
        (rsa_key, {"algorithm": hashes.SHA3_256()}),
    ],
    ids=["rsa-1024", "secp256k1", "p224", "dsa", "sha224", "sha3"],
)
def test_ca_keys_and_hashes_that_are_not(make: Callable[[], Any], changes: dict[str, Any]) -> None:
    root = authority("another root", make())
    detail = refused("VAL-5.3-8", chain(member(LEAF_KEY, root, **changes)), X509Authentication([root.der]))
    assert "signed over" in detail if changes else "not accepted" in detail


@breaks("VAL-5.3-8", "VAL-5.3.2-1")
def test_other_certificates_under_one_name() -> None:
    """A CA that changed its key: both are anchors, and the right one is found."""
    other = authority("root", ec_key(9))
    for anchors in ([ROOT.der, other.der], [other.der, ROOT.der]):
        trust = X509Authentication(anchors)
        trust.validate(chain(LEAF, MIDDLE), KEY, NOW)
        trust.validate(chain(member(LEAF_KEY, other)), KEY, NOW)
        late = ms(END + DAY)
        refused("VAL-5.3.2-1", chain(LEAF, MIDDLE), trust, now=late)
    refused("VAL-5.3-4", chain(LEAF, MIDDLE), X509Authentication([other.der]))


def test_a_root_issued_again_with_the_same_key() -> None:
    again = authority("root", ec_key(1), path_length=1)
    TRUST.validate(chain(LEAF, MIDDLE, again), KEY, NOW)  # certified by the anchor's key, as every self-issued one
    X509Authentication([again.der]).validate(chain(LEAF, MIDDLE, ROOT), KEY, NOW)


# ---------------------------------------------------------------- one thing wrong at a time


@breaks("VAL-5.3-5")
def test_no_anchor() -> None:
    stranger = authority("stranger", ec_key(8))
    refused("VAL-5.3-5", chain(LEAF, MIDDLE), X509Authentication([stranger.der]))
    refused("VAL-5.3-5", chain(LEAF, MIDDLE, ROOT), X509Authentication([stranger.der]))
    refused("VAL-5.3-5", chain(member(LEAF_KEY, None, text="root of its own")))


@breaks("VAL-5.3-4")
def test_an_impostor_of_the_anchor() -> None:
    """The anchor's name, another key."""
    false_root = authority("root", ec_key(9))
    refused("VAL-5.3-4", chain(member(LEAF_KEY, false_root)))
    refused("VAL-5.3-4", chain(member(LEAF_KEY, false_root), false_root))
    false_middle = authority("middle", ec_key(9), ROOT, signer=ec_key(9))
    refused("VAL-5.3-4", chain(member(LEAF_KEY, false_middle), false_middle))


@breaks("VAL-5.3-2", "VAL-5.3-3", "VAL-5.3-4")
def test_order() -> None:
    """Each certificate certifies the one before it, behind an anchor too."""
    refused("VAL-5.3-4", chain(LEAF, ROOT))
    refused("VAL-5.3-4", chain(LEAF, ROOT, MIDDLE))
    refused("VAL-5.3-4", chain(LEAF, MIDDLE, MIDDLE))
    refused("VAL-5.3-3", chain(MIDDLE, ROOT))  # the end entity comes first
    refused("VAL-5.3-4", chain(LEAF, MIDDLE, ROOT, LEAF))
    trust = X509Authentication([MIDDLE.der])
    refused("VAL-5.3-4", chain(LEAF, MIDDLE, LEAF), trust)
    refused("VAL-5.3-4", chain(LEAF, MIDDLE, authority("root", ec_key(9))), trust)
    refused("VAL-5.3-2", X509Credential((LEAF.der, MIDDLE.der, b"junk")), trust)


@breaks("VAL-5.3-4")
def test_names_must_chain_even_if_the_signature_is_right() -> None:
    leaf = member(LEAF_KEY, MIDDLE, issuer_name="muddle")
    refused("VAL-5.3-4", chain(leaf, MIDDLE))


@breaks("VAL-5.3-6")
def test_ca_constraints() -> None:
    for changes in (
        {"ca": False},
        {"ca": None},
        {"key_usage": None},
        {"key_usage": MEMBER},
        {"key_usage": usage(digital_signature=True, crl_sign=True)},
    ):
        middle = authority("middle", ec_key(2), ROOT, **changes)
        detail = refused("VAL-5.3-6", chain(member(LEAF_KEY, middle), middle))
        assert "may not sign" in detail
        root = authority("root", ec_key(1), **changes)
        refused("VAL-5.3-6", chain(member(LEAF_KEY, root)), X509Authentication([root.der]))
    good = authority("middle", ec_key(2), ROOT, key_usage=usage(key_cert_sign=True, digital_signature=True))
    TRUST.validate(chain(member(LEAF_KEY, good), good), KEY, NOW)


@breaks("VAL-5.3-6")
def test_a_member_cannot_certify_others() -> None:
    mallory = member(ec_key(6), MIDDLE, text="mallory")
    refused("VAL-5.3-6", chain(member(LEAF_KEY, mallory), mallory, MIDDLE))


@breaks("VAL-5.3-6")
def test_path_length() -> None:
    for allowed in (0, 1, 2):
        root = authority("root", ec_key(1), path_length=allowed)
        trust = X509Authentication([root.der])
        above, holders = root, list[Holder]()
        for depth in range(4):
            leaf = member(LEAF_KEY, above)
            if depth <= allowed:
                trust.validate(chain(leaf, *reversed(holders)), KEY, NOW)
            else:
                assert "longer" in refused("VAL-5.3-6", chain(leaf, *reversed(holders)), trust)
            above = authority(f"level {depth}", ec_key(20 + depth), above)
            holders.append(above)


@breaks("VAL-5.3-6")
def test_path_length_of_an_intermediate_and_self_issued_ones() -> None:
    top = authority("top", ec_key(2), ROOT, path_length=0)
    TRUST.validate(chain(member(LEAF_KEY, top), top), KEY, NOW)
    again = authority("top", ec_key(3), top)  # issued to itself: a new key, not a new CA
    TRUST.validate(chain(member(LEAF_KEY, again), again, top), KEY, NOW)
    below = authority("below", ec_key(4), top)
    refused("VAL-5.3-6", chain(member(LEAF_KEY, below), below, top))
    under = authority("below", ec_key(4), again)
    refused("VAL-5.3-6", chain(member(LEAF_KEY, under), under, again, top))


@breaks("VAL-5.3.2-1")
def test_validity_of_each_certificate() -> None:
    second = datetime.timedelta(seconds=1)
    early, late = START - DAY, END + DAY
    for leaf_ends, middle_ends, root_ends in ((END, late, late), (late, END, late), (late, late, END)):
        root = authority("root", ec_key(1), begins=early, ends=root_ends)
        middle = authority("middle", ec_key(2), root, begins=early, ends=middle_ends)
        leaf = member(LEAF_KEY, middle, begins=early, ends=leaf_ends)
        trust = X509Authentication([root.der])
        trust.validate(chain(leaf, middle), KEY, ms(END))
        trust.validate(chain(leaf, middle), KEY, ms(END + second) - 1)  # the last second is within
        refused("VAL-5.3.2-1", chain(leaf, middle), trust, now=ms(END + second))
        trust.validate(chain(leaf, middle), KEY, ms(END))  # nothing is remembered of a refusal
    for leaf_begins, middle_begins, root_begins in (
        (START, early, early),
        (early, START, early),
        (early, early, START),
    ):
        root = authority("root", ec_key(1), begins=root_begins)
        middle = authority("middle", ec_key(2), root, begins=middle_begins)
        leaf = member(LEAF_KEY, middle, begins=leaf_begins)
        trust = X509Authentication([root.der])
        trust.validate(chain(leaf, middle), KEY, ms(START))
        refused("VAL-5.3.2-1", chain(leaf, middle), trust, now=ms(START) - 1)


@breaks("VAL-5.3.2-1")
def test_a_way_that_has_expired_gives_place_to_one_that_has_not() -> None:
    short = authority("middle", ec_key(2), ROOT, ends=START + 10 * DAY)
    trust = X509Authentication([ROOT.der], intermediates=[short.der, MIDDLE.der])
    trust.validate(chain(LEAF), KEY, ms(START + 5 * DAY))
    trust.validate(chain(LEAF), KEY, NOW)
    trust = X509Authentication([ROOT.der], intermediates=[short.der])
    trust.validate(chain(LEAF), KEY, ms(START + 5 * DAY))
    refused("VAL-5.3.2-1", chain(LEAF), trust)


@breaks("VAL-5.3-6")
def test_leaf_key_usage() -> None:
    for wrong in (usage(key_agreement=True), AUTHORITY, usage(content_commitment=True)):
        refused("VAL-5.3-6", chain(member(LEAF_KEY, MIDDLE, key_usage=wrong), MIDDLE))
    for right in (None, usage(digital_signature=True, content_commitment=True)):
        TRUST.validate(chain(member(LEAF_KEY, MIDDLE, key_usage=right), MIDDLE), KEY, NOW)


@breaks("VAL-5.3-6")
def test_purposes() -> None:
    web, mail = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION
    for critical in (True, False):
        for purpose in PURPOSES:
            more = [(x509.ExtendedKeyUsage([web, purpose]), critical)]
            TRUST.validate(chain(member(LEAF_KEY, MIDDLE, more=more), MIDDLE), KEY, NOW)
        more = [(x509.ExtendedKeyUsage([web, mail]), critical)]
        leaf = member(LEAF_KEY, MIDDLE, more=more)
        refused("VAL-5.3-6", chain(leaf, MIDDLE))
        X509Authentication([ROOT.der], purposes=frozenset({mail})).validate(chain(leaf, MIDDLE), KEY, NOW)
        middle = authority("middle", ec_key(2), ROOT, more=more)
        refused("VAL-5.3-6", chain(member(LEAF_KEY, middle), middle))
    assert MESSAGING in PURPOSES


@breaks("VAL-5.3-6")
def test_critical_extensions_that_are_not_understood() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
    constraints = x509.NameConstraints([x509.DNSName("example.com")], None)
    for extension in (unknown, policies, x509.InhibitAnyPolicy(0), constraints):
        accepted = [False] if extension is not constraints else []
        for critical in (True, False):
            more = [(extension, critical)]
            leaf = member(LEAF_KEY, MIDDLE, more=more)
            middle = authority("middle", ec_key(2), ROOT, more=more)
            for credential in (chain(leaf, MIDDLE), chain(member(LEAF_KEY, middle), middle)):
                if critical in accepted:
                    TRUST.validate(credential, KEY, NOW)
                else:
                    assert extension.oid.dotted_string in refused("VAL-5.3-6", credential)
    with pytest.raises(CallerError):
        X509Authentication([authority("root", ec_key(1), more=[(constraints, True)]).der])


@breaks("VAL-5.3-3")
def test_leaf_keys_that_mls_has_no_suite_for() -> None:
    for key in (rsa_key(), ec_key(5, ec.SECP256K1), x25519.X25519PrivateKey.from_private_bytes(bytes(32))):
        leaf = member(key, MIDDLE)
        public = key.public_key()
        raw = public.public_bytes_raw() if isinstance(public, x25519.X25519PublicKey) else b""
        refused("VAL-5.3-3", chain(leaf, MIDDLE), key=raw)
        refused("VAL-5.3-3", chain(leaf, MIDDLE), key=b"")


@breaks("VAL-5.3-7")
def test_bounds() -> None:
    refused("VAL-5.3-7", X509Credential(()))
    refused("VAL-5.3-7", X509Credential((LEAF.der,) * 7))
    refused("VAL-5.3-7", X509Credential((LEAF.der, b"\x30" * 8193)))
    small = Limits(certificates=2, certificate_bytes=len(LEAF.der))
    X509Authentication([MIDDLE.der], limits=small).validate(chain(LEAF), KEY, NOW)
    tight = Limits(certificates=1, certificate_bytes=len(LEAF.der) - 1)
    refused("VAL-5.3-7", chain(LEAF), X509Authentication([MIDDLE.der], limits=tight))
    refused("VAL-5.3-7", chain(LEAF, MIDDLE), X509Authentication([MIDDLE.der], limits=tight))


@breaks("VAL-5.3-4")
def test_signature_and_body_must_name_one_algorithm() -> None:
    """RFC 5280 §4.1.1.2; the outer one is signed by nobody."""
    oid_sha256, oid_sha384 = bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040303")
    assert LEAF.der.count(oid_sha256) == 2
    at = LEAF.der.rindex(oid_sha256)
    other = LEAF.der[:at] + oid_sha384 + LEAF.der[at + len(oid_sha256) :]
    refused("VAL-5.3-4", X509Credential((other, MIDDLE.der)))


def test_anchors_must_be_usable() -> None:
    for anchors in ([], [b""], [b"junk"], [ROOT.der + b"\0"], [ROOT.der, LEAF.der[:-1]]):
        with pytest.raises(CallerError):
            X509Authentication(anchors)
    with pytest.raises(CallerError):
        X509Authentication([ROOT.der], intermediates=[b"junk"])


# ---------------------------------------------------------------- hostile DER


@given(data=st.data(), position=st.integers(0, 2))
def test_damaged_certificates_raise_peer_errors_only(data: st.DataObject, position: int) -> None:
    ders = [LEAF.der, MIDDLE.der, ROOT.der]
    original = bytearray(ders[position])
    match data.draw(st.sampled_from(["flip", "cut", "grow", "splice", "noise"])):
        case "flip":
            for _ in range(data.draw(st.integers(1, 4))):
                original[data.draw(st.integers(0, len(original) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        case "cut":
            del original[data.draw(st.integers(0, len(original) - 1)) :]
        case "grow":
            original += data.draw(st.binary(min_size=1, max_size=20))
        case "splice":
            at = data.draw(st.integers(0, len(original) - 1))
            original[at : at + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=20))
        case _:
            original = bytearray(data.draw(st.binary(max_size=300)))
    damaged = bytes(original)
    credential = X509Credential((*ders[:position], damaged, *ders[position + 1 :]))
    try:
        TRUST.validate(credential, KEY, NOW)
    except PeerError:
        assert damaged != ders[position]
    else:
        # Nothing that is signed has changed; the signature itself has several encodings.
        parsed, undamaged = map(x509.load_der_x509_certificate, (damaged, ders[position]))
        assert parsed.tbs_certificate_bytes == undamaged.tbs_certificate_bytes
    for call in (TRUST.identity, lambda c: TRUST.succeeds(c, c), lambda c: TRUST.succeeds(chain(LEAF), c)):
        try:
            call(credential)
        except PeerError:
            assert position == 0


def resigned(old: bytes, new: bytes) -> X509Credential:
    """A leaf with some bytes of its body replaced, correctly signed by the CA over the result."""
    body = LEAF.certificate.tbs_certificate_bytes
    assert body.count(old) >= 1
    assert len(old) == len(new)
    body = body.replace(old, new)
    signature = MIDDLE.key.sign(body, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    bits = b"\x03" + bytes([len(signature) + 1, 0]) + signature
    rest = body + algorithm + bits
    return X509Credential((b"\x30\x82" + len(rest).to_bytes(2, "big") + rest, MIDDLE.der))


@given(data=st.data())
def test_bodies_that_a_ca_signed_blindly(data: st.DataObject) -> None:
    """The parser is past the signature's protection here: whatever a CA may have been made to sign."""
    TRUST.validate(resigned(b"alice", b"alice"), KEY, NOW)
    body = LEAF.certificate.tbs_certificate_bytes
    at = data.draw(st.integers(4, len(body) - 9))
    old = body[at : at + 8]
    new = bytearray(old)
    new[data.draw(st.integers(0, 7))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(PeerError):
        TRUST.validate(resigned(old, bytes(new)), KEY, NOW)


@breaks("VAL-5.3-2")
def test_an_extension_twice() -> None:
    """RFC 5280 §4.2: never more than one instance; here keyUsage is renamed to a second basicConstraints."""
    oid_usage, oid_basic = bytes.fromhex("0603551d0f"), bytes.fromhex("0603551d13")
    assert "Duplicate" in refused("VAL-5.3-2", resigned(oid_usage, oid_basic))


@breaks("VAL-5.3-2")
@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_serial_numbers_are_positive() -> None:
    serial = LEAF.certificate.serial_number
    assert 0 < serial < 128
    positive = bytes([2, 1, serial])
    TRUST.validate(resigned(positive, bytes([2, 1, serial ^ 1])), KEY, NOW)
    for other in (0, 128, 255):
        assert "serial" in refused("VAL-5.3-2", resigned(positive, bytes([2, 1, other])))


@breaks("VAL-5.3-2")
def test_names_that_are_no_text() -> None:
    refused("VAL-5.3-2", resigned(b"im:alice@example.com", b"im:alice@exampl\xff.com"))


@breaks("VAL-5.3-2")
def test_names_that_the_application_cannot_read() -> None:
    def picky(certificate: x509.Certificate) -> Identity:
        if certificate == LEAF.certificate:
            raise ValueError("no user id in this")
        return subject(certificate)

    trust = X509Authentication([ROOT.der], identify=picky)
    refused("VAL-5.3-2", chain(LEAF, MIDDLE), trust)
    trust.validate(chain(member(LEAF_KEY, MIDDLE), MIDDLE), KEY, NOW)
    assert not trust.succeeds(chain(LEAF), chain(LEAF))


# ---------------------------------------------------------------- identity


NAMES: list[tuple[x509.GeneralName, tuple[str, str]]] = [
    (x509.DNSName("Phone.Example.COM"), ("dns", "phone.example.com")),
    (x509.RFC822Name("Alice@Example.COM"), ("email", "Alice@example.com")),
    (x509.UniformResourceIdentifier("im:Alice@example.com"), ("uri", "im:Alice@example.com")),
    (x509.IPAddress(ipaddress.ip_address("2001:db8::1")), ("ip", "2001:db8::1")),
    (x509.DirectoryName(name("alice")), ("directory", "CN=alice")),
    (x509.RegisteredID(x509.ObjectIdentifier("1.2.3")), ("oid", "1.2.3")),
    (x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01a"), ("other:1.2.3.4", "0c0161")),
]


def test_identities() -> None:
    names = [given_name for given_name, _ in NAMES]
    leaf = member(LEAF_KEY, MIDDLE, names=names)
    expected = tuple(sorted(identifier for _, identifier in NAMES))
    assert TRUST.identity(chain(leaf)) == expected
    assert alternative_names(leaf.certificate) == presented(leaf.certificate) == expected
    assert subject(leaf.certificate) == (("subject", "CN=alice"),)
    plain = member(LEAF_KEY, MIDDLE, names=())
    assert alternative_names(plain.certificate) == ()
    assert presented(plain.certificate) == (("subject", "CN=alice"),)
    assert TRUST.identity(BasicCredential(b"\x01alice")) == (("basic", "01616c696365"),)


@breaks("VAL-5.3.1-1")
def test_no_identity() -> None:
    TRUST.validate(chain(member(LEAF_KEY, MIDDLE, names=()), MIDDLE), KEY, NOW)
    refused("VAL-5.3.1-1", chain(member(LEAF_KEY, MIDDLE, names=(), text=""), MIDDLE))
    strict = X509Authentication([ROOT.der], identify=alternative_names)
    refused("VAL-5.3.1-1", chain(member(LEAF_KEY, MIDDLE, names=()), MIDDLE), strict)

    def unreadable(_: x509.Certificate) -> Identity:
        raise ValueError

    refused("VAL-5.3-2", chain(LEAF, MIDDLE), X509Authentication([ROOT.der], identify=unreadable))
    nameless = chain(member(LEAF_KEY, MIDDLE, names=(), text=""))
    assert not TRUST.succeeds(nameless, nameless)


@breaks("VAL-5.3.1-1")
def test_the_application_may_expect_somebody() -> None:
    asked: list[Identity] = []

    def accept(identity: Identity) -> bool:
        asked.append(identity)
        return ("uri", "im:alice@example.com") in identity

    trust = X509Authentication([ROOT.der], accept=accept)
    trust.validate(chain(LEAF, MIDDLE), KEY, NOW)
    bob = member(LEAF_KEY, MIDDLE, names=[x509.DNSName("bob.example.com")])
    refused("VAL-5.3.1-1", chain(bob, MIDDLE), trust)
    assert asked[0] == (("uri", "im:alice@example.com"),)


def test_successors_present_the_same_identity() -> None:
    other_root = authority("other root", ec_key(9))
    mail = x509.RFC822Name("alice@example.com")
    same = member(ed_key(8), other_root, text="anything", names=[ALICE])
    more = member(ed_key(8), MIDDLE, names=[ALICE, mail])
    reordered = member(ed_key(9), MIDDLE, names=[mail, ALICE])
    bob = member(ed_key(8), MIDDLE, names=[x509.UniformResourceIdentifier("im:bob@example.com")])
    assert TRUST.succeeds(chain(LEAF), chain(LEAF))
    assert TRUST.succeeds(chain(LEAF, MIDDLE), chain(same))
    assert TRUST.succeeds(chain(more), chain(reordered))
    for old, new in ((LEAF, more), (more, LEAF), (LEAF, bob), (bob, LEAF)):
        assert not TRUST.succeeds(chain(old), chain(new))
    by_subject = X509Authentication([ROOT.der], identify=subject)
    assert by_subject.succeeds(chain(LEAF), chain(bob))
    assert not by_subject.succeeds(chain(LEAF), chain(same))
    assert not TRUST.succeeds(chain(LEAF), X509Credential((b"junk",)))
    assert not TRUST.succeeds(X509Credential(()), chain(LEAF))


@breaks("VAL-5.3.1-1")
def test_basic_credentials_go_to_whoever_judges_them() -> None:
    alice, bob = BasicCredential(b"alice"), BasicCredential(b"bob")
    refused("VAL-5.3.1-1", alice)
    assert not TRUST.succeeds(alice, alice)
    both = X509Authentication([ROOT.der], basic=TrustBasic())
    both.validate(alice, KEY, NOW)
    both.validate(chain(LEAF, MIDDLE), KEY, NOW)
    assert both.succeeds(alice, alice)
    assert not both.succeeds(alice, bob)
    assert not both.succeeds(alice, chain(LEAF))
    assert not both.succeeds(chain(LEAF), alice)
    # Not even if a certificate's identity is made to look like a basic one.
    alike = X509Authentication([ROOT.der], basic=TrustBasic(), identify=lambda _: (("basic", b"alice".hex()),))
    assert alike.identity(alice) == alike.identity(chain(LEAF))
    assert not alike.succeeds(alice, chain(LEAF))
    assert not alike.succeeds(chain(LEAF), alice)


# ---------------------------------------------------------------- revocation, and what is remembered


@breaks("VAL-5.3.2-2")
def test_revocation_is_asked_every_time_for_everyone_below_the_anchor() -> None:
    revoked: set[int] = set()
    asked: list[tuple[x509.Certificate, x509.Certificate, int]] = []

    def is_revoked(certificate: x509.Certificate, issuer: x509.Certificate, now: int) -> bool:
        asked.append((certificate, issuer, now))
        return certificate.serial_number in revoked

    trust = X509Authentication([ROOT.der], revoked=is_revoked)
    trust.validate(chain(LEAF, MIDDLE, ROOT), KEY, NOW)
    pairs = [(LEAF.certificate, MIDDLE.certificate, NOW), (MIDDLE.certificate, ROOT.certificate, NOW)]
    assert asked == pairs
    for holder in (LEAF, MIDDLE):
        revoked.add(holder.certificate.serial_number)
        refused("VAL-5.3.2-2", chain(LEAF, MIDDLE, ROOT), trust)
        revoked.clear()
        trust.validate(chain(LEAF, MIDDLE, ROOT), KEY, NOW)


@pytest.fixture
def signatures_checked(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    count = 0
    real = mls.x509._check_issued

    def counting(certificate: Any, issuer: Any) -> None:
        nonlocal count
        count += 1
        real(certificate, issuer)

    monkeypatch.setattr(mls.x509, "_check_issued", counting)
    return lambda: count


@breaks("VAL-5.3-3")
def test_good_chains_are_remembered_and_shared(signatures_checked: Callable[[], int]) -> None:
    trust = X509Authentication([ROOT.der])
    trust.validate(chain(LEAF, MIDDLE), KEY, NOW)
    assert signatures_checked() == 2
    trust.validate(chain(LEAF, MIDDLE), KEY, NOW)
    assert signatures_checked() == 2
    bob = member(ed_key(8), MIDDLE, text="bob")
    trust.validate(chain(bob, MIDDLE), bob.key.public_key().public_bytes_raw(), NOW)
    assert signatures_checked() == 3  # the CA above both was known
    refused("VAL-5.3-3", chain(LEAF, MIDDLE), trust, key=bob.key.public_key().public_bytes_raw())
    assert signatures_checked() == 3


@breaks("VAL-5.3-2", "VAL-5.3-5")
def test_bad_chains_are_not_remembered_and_memory_is_bounded(signatures_checked: Callable[[], int]) -> None:
    trust = X509Authentication([ROOT.der], limits=Limits(remembered=4))
    for at in range(10):
        leaf = member(ed_key(30 + at), MIDDLE)
        trust.validate(chain(leaf, MIDDLE), leaf.key.public_key().public_bytes_raw(), NOW)
        refused("VAL-5.3-2", X509Credential((b"junk %d" % at, MIDDLE.der)), trust)
        refused("VAL-5.3-5", chain(member(ed_key(30), None, text=f"nobody {at}")), trust)
    assert len(trust._remembered) == 4
    assert signatures_checked() == 11  # the CA stayed, for it was used all the time


@breaks("VAL-5.3-5")
def test_a_stranger_cannot_make_us_check_signatures(signatures_checked: Callable[[], int]) -> None:
    """Trust is built from the anchor down: without one at the top, no key of the chain is ever used."""
    top = authority("stranger", rsa_key())
    holders = [top]
    for at in range(4):
        holders.append(authority(f"level {at}", rsa_key(), holders[-1]))
    refused("VAL-5.3-5", chain(member(LEAF_KEY, holders[-1]), *reversed(holders)))
    assert signatures_checked() == 0
