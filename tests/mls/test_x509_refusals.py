"""RFC 9420 §5.3: each way in which a certificate chain can be wrong.

Each refusal differs from an accepted chain in one thing, so that it is that thing which is refused.
"""

from __future__ import annotations

import datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from mls.credential import X509Credential
from mls.errors import CallerError, PeerError
from mls.x509 import MESSAGING, PURPOSES, Limits, X509Authentication, show
from tests.mls.little_pki import (
    AUTHORITY,
    DAY,
    END,
    KEY,
    LEAF,
    LEAF_KEY,
    MEMBER,
    MIDDLE,
    NOW,
    ROOT,
    START,
    TRUST,
    Holder,
    authority,
    chain,
    ec_key,
    member,
    ms,
    refused,
    rsa_key,
    usage,
)
from tests.validation import breaks


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
    assert show(LEAF.der, small).subject == "CN=alice"
    with pytest.raises(PeerError) as error:
        show(LEAF.der, tight)
    assert error.value.check == "VAL-5.3-7"


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
