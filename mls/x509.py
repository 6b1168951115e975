"""RFC 9420 §5.3: X.509 credentials, believed if their chain leads to one of the application's trust anchors.

`X509Authentication` is an authentication service (`mls.credential.Authentication`) over certificate chains:
order, signatures, names, validity and constraints of each certificate by RFC 5280 §6.1, then what MLS adds:
the end entity's key is the member's signature key in MLS encoding, and the certificate presents an identity.
What to trust, what counts as the identity, whom to accept and what is revoked comes from the application.

`cryptography` parses certificates and checks single signatures. Its own path validation is not used: it keeps
to the profile of the web's CAs, where no CA has an Ed25519 or Ed448 key, every certificate has a key identifier,
and an end entity without subjectAltName has no name.

Of RFC 5280, policies, name constraints and CRLs are not implemented. A certificate that carries name
constraints, or any other critical extension not named here, is refused rather than read in part. Revocation
is a callback.

Whatever hostile DER does inside the parser, only `PeerError` comes out. The work per chain is bounded: its
length, the size of a certificate and the kinds and sizes of CA keys are. Chains found good are remembered
until they expire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey, MLDSA65PublicKey, MLDSA87PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mls.credential import Authentication, BasicCredential, Credential, X509Credential
from mls.errors import BugError, CallerError, PeerError

Identity = tuple[tuple[str, str], ...]
"""The identifiers that a credential presents, as (kind, value), sorted."""

Identify = Callable[[x509.Certificate], Identity]
Revoked = Callable[[x509.Certificate, x509.Certificate, int], bool]

_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
}
_HASHES = {"sha256", "sha384", "sha512"}
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}
_RSA_BITS = range(2048, 8192 + 1)

MESSAGING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.40")  # id-kp-imUri, RFC 9734
PURPOSES = frozenset({ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE, ExtendedKeyUsageOID.CLIENT_AUTH, MESSAGING})


# ---------------------------------------------------------------- identity


def _general_name(name: x509.GeneralName) -> tuple[str, str]:
    """Kind and value, folded where RFC 5280 §7 says that case means nothing."""
    match name:
        case x509.DNSName():
            return "dns", name.value.lower()
        case x509.RFC822Name():
            mailbox, at, host = name.value.rpartition("@")
            return "email", mailbox + at + host.lower()
        case x509.UniformResourceIdentifier():
            return "uri", name.value
        case x509.IPAddress():
            return "ip", str(name.value)
        case x509.DirectoryName():
            return "directory", name.value.rfc4514_string()
        case x509.RegisteredID():
            return "oid", name.value.dotted_string
        case x509.OtherName():
            return f"other:{name.type_id.dotted_string}", name.value.hex()
        case _:
            raise BugError("a kind of name that the parser did not have before")


def alternative_names(certificate: x509.Certificate) -> Identity:
    """Every entry of subjectAltName."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(sorted({_general_name(name) for name in names}))


def subject(certificate: x509.Certificate) -> Identity:
    """The distinguished name of the subject."""
    text = certificate.subject.rfc4514_string()
    return (("subject", text),) if text else ()


def presented(certificate: x509.Certificate) -> Identity:
    """The entries of subjectAltName where there are any, and the subject otherwise."""
    return alternative_names(certificate) or subject(certificate)


# ---------------------------------------------------------------- one certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certificate:
    """What the checks below ask of a certificate, read once."""

    der: bytes
    parsed: x509.Certificate
    subject: bytes
    issuer: bytes
    begins: int
    ends: int
    signature_key: bytes
    may_certify: bool  # its key is of a kind we verify with
    is_ca: bool
    path_length: int | None
    signs_certificates: bool
    signs_content: bool
    purposes: frozenset[x509.ObjectIdentifier] | None

    @property
    def self_issued(self) -> bool:
        return self.subject == self.issuer


def _signature_key(key: object) -> bytes:
    """A public key as RFC 9420 §5.1.1 writes it; empty if MLS has no suite for it."""
    match key:
        case Ed25519PublicKey() | Ed448PublicKey() | MLDSA44PublicKey() | MLDSA65PublicKey() | MLDSA87PublicKey():
            return key.public_bytes_raw()
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        case _:
            return b""


def _read(der: bytes) -> _Certificate:
    parsed = x509.load_der_x509_certificate(der)
    if parsed.serial_number <= 0:  # RFC 5280 §4.1.2.2; `cryptography` means to refuse it too, in a later release
        raise PeerError("VAL-5.3-2", "a serial number that is not positive")
    is_ca, path_length, signs_certificates, signs_content, purposes = False, None, False, True, None
    for extension in parsed.extensions:
        if extension.oid == ExtensionOID.NAME_CONSTRAINTS or (extension.critical and extension.oid not in _UNDERSTOOD):
            raise PeerError("VAL-5.3-6", f"extension {extension.oid.dotted_string} is not supported")
        match extension.value:
            case x509.BasicConstraints() as constraints:
                is_ca, path_length = constraints.ca, constraints.path_length
            case x509.KeyUsage() as usage:
                signs_certificates, signs_content = usage.key_cert_sign, usage.digital_signature
            case x509.ExtendedKeyUsage() as extended:
                purposes = frozenset(extended)
            case _:
                pass
    key = parsed.public_key()
    signature_key = _signature_key(key)
    return _Certificate(
        der=der,
        parsed=parsed,
        subject=parsed.subject.public_bytes(),
        issuer=parsed.issuer.public_bytes(),
        begins=int(parsed.not_valid_before_utc.timestamp()),
        ends=int(parsed.not_valid_after_utc.timestamp()),
        signature_key=signature_key,
        may_certify=bool(signature_key) or (isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_BITS),
        is_ca=is_ca,
        path_length=path_length,
        signs_certificates=signs_certificates,
        signs_content=signs_content,
        purposes=purposes,
    )


def _parse(der: bytes) -> _Certificate:
    try:
        return _read(der)
    except PeerError:
        raise
    except Exception as error:  # noqa: BLE001 - the parser's own errors are of many types, and all mean the same
        raise PeerError("VAL-5.3-2", f"not a certificate: {type(error).__name__}") from None


def _check_issued(certificate: _Certificate, issuer: _Certificate) -> None:
    """Names and signature: `issuer` certifies `certificate`. `cryptography` compares the names too."""
    if not issuer.may_certify:
        raise PeerError("VAL-5.3-8", "a certificate is signed by a key of a kind that is not accepted")
    try:
        algorithm = certificate.parsed.signature_hash_algorithm  # None for EdDSA and ML-DSA
        if algorithm is None or algorithm.name in _HASHES:
            certificate.parsed.verify_directly_issued_by(issuer.parsed)
            return
    except Exception as error:  # noqa: BLE001 - another name, a wrong signature, or whatever a strange one causes
        raise PeerError("VAL-5.3-4", type(error).__name__) from None
    raise PeerError("VAL-5.3-8", f"a certificate is signed over {algorithm.name}")


# ---------------------------------------------------------------- chains


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much work one credential may ask for, and how many chains are remembered."""

    certificates: int = 6
    certificate_bytes: int = 8192
    remembered: int = 1024


@dataclass(frozen=True, slots=True)
class _Path:
    """Certificates from an end entity (or some CA) to an anchor, checked except for time and revocation."""

    certificates: tuple[_Certificate, ...]

    def holds(self, now: int) -> bool:
        return all(certificate.begins <= now <= certificate.ends for certificate in self.certificates)

    def check_time(self, now: int) -> None:
        if not self.holds(now):
            raise PeerError("VAL-5.3.2-1")


class X509Authentication:
    """Believes certificates that lead to an anchor.

    `anchors` are DER certificates. Each is held to the rules of a CA, its own validity included; one that is
    no CA
    vouches for itself alone, so an end entity can be pinned.
    `intermediates` are CA certificates known here, for chains that leave them out (RFC 9420 §5.3).
    `basic` judges basic credentials; without it they are refused.
    `identify` says which identifiers a certificate presents; two credentials of equal identity may follow
    each other.
    `accept` compares an identity with those the application expects, if it does (the "reference
    identifiers").
    `revoked` is asked for every certificate below the anchor, with its issuer and the time, at every
    validation.
    `purposes` are the extended key usages of which a certificate below the anchor must have one, if it has
    any.
    """

    def __init__(
        self,
        anchors: Iterable[bytes],
        *,
        intermediates: Iterable[bytes] = (),
        basic: Authentication | None = None,
        identify: Identify = presented,
        accept: Callable[[Identity], bool] | None = None,
        revoked: Revoked | None = None,
        purposes: frozenset[x509.ObjectIdentifier] = PURPOSES,
        limits: Limits = Limits(),
    ) -> None:
        self._basic = basic
        self._identify = identify
        self._accept = accept
        self._revoked = revoked
        self._purposes = purposes
        self._limits = limits
        self._anchors = {der: _local(der, "anchor") for der in anchors}
        if not self._anchors:
            raise CallerError("no trust anchors", "give at least one certificate")
        # Where to look for the issuer of a chain's last certificate: anchors first.
        self._issuers: dict[bytes, list[_Certificate]] = {}
        for known in (*self._anchors.values(), *(_local(der, "intermediate") for der in intermediates)):
            self._issuers.setdefault(known.subject, []).append(known)
        self._remembered: dict[bytes, _Path] = {}

    # The Authentication protocol

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        if isinstance(credential, BasicCredential):
            if self._basic is None:
                raise PeerError("VAL-5.3.1-1", "basic credentials are not accepted here")
            self._basic.validate(credential, signature_key, now)
            return
        seconds = now // 1000
        path = self._path(self._bounded(credential), seconds)
        path.check_time(seconds)
        leaf = path.certificates[0]
        # RFC 9420 §5.3: "The public key encoded in the subjectPublicKeyInfo of the end-entity certificate
        # MUST be identical to the signature_key in the LeafNode containing this credential."
        if leaf.signature_key != signature_key or not signature_key:
            raise PeerError("VAL-5.3-3")
        if not leaf.signs_content:
            raise PeerError("VAL-5.3-6", "the key is not for digital signatures")
        identity = self._identity(leaf)
        if not identity:
            raise PeerError("VAL-5.3.1-1", "the certificate presents no identity")
        if self._accept is not None and not self._accept(identity):
            raise PeerError("VAL-5.3.1-1", "the identity is not accepted")
        if self._revoked is not None:
            for certificate, issuer in pairwise(path.certificates):
                if self._revoked(certificate.parsed, issuer.parsed, now):
                    raise PeerError("VAL-5.3.2-2")

    def succeeds(self, old: Credential, new: Credential) -> bool:
        if isinstance(old, BasicCredential) and isinstance(new, BasicCredential):
            return self._basic is not None and self._basic.succeeds(old, new)
        if isinstance(old, BasicCredential) or isinstance(new, BasicCredential):
            return False
        try:
            identity = self.identity(new)
            return bool(identity) and identity == self.identity(old)
        except PeerError:
            return False

    def identity(self, credential: Credential) -> Identity:
        """What the credential presents. Nothing is checked here: `validate` says whether to believe it."""
        if isinstance(credential, BasicCredential):
            return (("basic", credential.identity.hex()),)
        return self._identity(_parse(self._bounded(credential)[0]))

    # Chains

    def _identity(self, leaf: _Certificate) -> Identity:
        try:
            return self._identify(leaf.parsed)
        except ValueError:
            raise PeerError("VAL-5.3-2", "an unreadable name") from None

    def _bounded(self, credential: X509Credential) -> tuple[bytes, ...]:
        certificates = credential.certificates
        if not 0 < len(certificates) <= self._limits.certificates:
            raise PeerError("VAL-5.3-7", f"{len(certificates)} certificates")
        if max(map(len, certificates)) > self._limits.certificate_bytes:
            raise PeerError("VAL-5.3-7", "a certificate is too long")
        return certificates

    def _path(self, certificates: tuple[bytes, ...], now: int) -> _Path:
        """The path of a chain, or of the rest of one, which members of one organization share."""
        key = b"".join([sha256(der).digest() for der in certificates])
        path = self._remembered.pop(key, None)
        if path is None or not path.holds(now):
            path = self._build(certificates, now)
            if len(self._remembered) >= self._limits.remembered:
                del self._remembered[next(iter(self._remembered))]
        self._remembered[key] = path  # the end of the dict is what was used last
        return path

    def _build(self, certificates: tuple[bytes, ...], now: int) -> _Path:
        first, *rest = certificates
        anchor = self._anchors.get(first)
        if anchor is not None:
            # What follows an anchor adds no trust, but §5.3 asks for order in the whole chain.
            for certificate, issuer in pairwise((anchor, *map(_parse, rest))):
                _check_issued(certificate, issuer)
            return _Path((anchor,))
        certificate = _parse(first)
        if rest:
            return self._extend(certificate, self._path(tuple(rest), now))
        return self._complete(certificate, now, self._limits.certificates)

    def _complete(self, certificate: _Certificate, now: int, depth: int) -> _Path:
        """Go on from a chain's last certificate by what is known here, the first way that holds now."""
        problem: PeerError | None = None
        for issuer in self._issuers.get(certificate.issuer, ()) if depth else ():
            try:
                above = _Path((issuer,)) if issuer.der in self._anchors else self._complete(issuer, now, depth - 1)
                path = self._extend(certificate, above)
                path.check_time(now)
            except PeerError as error:
                if problem is None or problem.check != "VAL-5.3.2-1":  # a way that only time forbids says most
                    problem = error
            else:
                return path
        if problem is not None:
            raise problem
        raise PeerError("VAL-5.3-5")

    def _extend(self, certificate: _Certificate, above: _Path) -> _Path:
        """Put a certificate under the path of its issuer (RFC 5280 §6.1.3, §6.1.4)."""
        issuer = above.certificates[0]
        if certificate.purposes is not None and not certificate.purposes & self._purposes:
            raise PeerError("VAL-5.3-6", "a certificate is for another purpose")
        if not (issuer.is_ca and issuer.signs_certificates):
            raise PeerError("VAL-5.3-6", "a certificate is signed by one that may not sign certificates")
        # §4.2.1.9: pathLenConstraint counts the CA certificates that follow, without those issued to
        # themselves.
        path = (certificate, *above.certificates)
        below = 0
        for ca in path[1:]:
            if ca.path_length is not None and below > ca.path_length:
                raise PeerError("VAL-5.3-6", "a chain is longer than one of its CAs allows")
            below += not ca.self_issued
        _check_issued(certificate, issuer)
        return _Path(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What people are shown of a certificate. Texts are as its issuer, whoever that is, wrote them."""

    subject: str
    """The distinguished name, or else the alternative names."""
    issuer: str
    ends: int
    """ms since 1970."""


def show(der: bytes, limits: Limits = Limits()) -> Shown:
    """Read a certificate for people. Nothing is checked: only `X509Authentication` says whether to believe it."""
    if len(der) > limits.certificate_bytes:
        raise PeerError("VAL-5.3-7", "a certificate is too long")
    found = _parse(der)  # which read the names, and every extension
    names = subject(found.parsed) or alternative_names(found.parsed)
    issuer = found.parsed.issuer.rfc4514_string()
    return Shown(subject=", ".join(value for _, value in names), issuer=issuer, ends=1000 * found.ends)


def _local(der: bytes, what: str) -> _Certificate:
    try:
        return _parse(der)
    except PeerError as error:
        raise CallerError(f"a trust {what} cannot be used: {error.detail}", "give certificates in DER") from None
