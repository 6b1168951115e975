"""RFC 9420 §5.3: certificate chains of every key kind, whom they say they are for, and what is remembered of them.

Chains with something wrong are in test_x509_refusals.py, and bytes that are no certificates in test_x509_hostile.py.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, mldsa, padding

import mls.x509
from mls.codec import decode_exactly
from mls.credential import BasicCredential, TrustBasic, X509Credential, decode_credential
from mls.suite import SUITES
from mls.x509 import Identity, Limits, X509Authentication, alternative_names, presented, subject
from tests.mls.little_pki import (
    ALICE,
    DAY,
    END,
    KEY,
    LEAF,
    LEAF_KEY,
    MIDDLE,
    NOW,
    ROOT,
    TRUST,
    authority,
    chain,
    ec_key,
    ed_key,
    member,
    ms,
    name,
    refused,
    rsa_key,
)
from tests.providers import SeededProvider
from tests.validation import breaks

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
        case 1312:
            key = mldsa.MLDSA44PrivateKey.from_seed_bytes(private.raw)
        case 1952:
            key = mldsa.MLDSA65PrivateKey.from_seed_bytes(private.raw)
        case 2592:
            key = mldsa.MLDSA87PrivateKey.from_seed_bytes(private.raw)
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
