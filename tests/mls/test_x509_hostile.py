"""RFC 9420 §5.3: certificates that somebody damaged, and what a CA may have signed without a look at it."""

from __future__ import annotations

import contextlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, strategies as st

from mls.credential import X509Credential
from mls.errors import PeerError
from mls.x509 import Identity, X509Authentication, show, subject
from tests.mls.little_pki import KEY, LEAF, LEAF_KEY, MIDDLE, NOW, ROOT, TRUST, chain, member, refused
from tests.validation import breaks


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
    damaged = resigned(b"im:alice@example.com", b"im:alice@exampl\xff.com")
    refused("VAL-5.3-2", damaged)
    with pytest.raises(PeerError, match=r"VAL-5\.3-2"):
        show(damaged.certificates[0])


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
