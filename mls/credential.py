"""RFC 9420 §5.3: credentials, and the authentication service that judges them.

A credential says who a signature key belongs to; whether to believe it is the application's business, asked through
`Authentication` at every event of §5.3.1. `TrustBasic` believes every basic credential, which suits tests, closed
groups and applications that verify people out of band; `mls.x509` judges certificate chains.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from mls.codec import Reader, opaque, vector
from mls.errors import PeerError
from mls.registries import CredentialType


@dataclass(frozen=True, slots=True)
class BasicCredential:
    """A bare identity, to be verified by other means."""

    identity: bytes
    type: int = field(default=CredentialType.BASIC, init=False)

    def encode(self) -> bytes:
        return b"\x00\x01" + opaque(self.identity)


@dataclass(frozen=True, slots=True)
class X509Credential:
    """A certificate chain, end entity first, each DER-encoded."""

    certificates: tuple[bytes, ...]
    type: int = field(default=CredentialType.X509, init=False)

    def encode(self) -> bytes:
        return b"\x00\x02" + vector([opaque(certificate) for certificate in self.certificates])


Credential = BasicCredential | X509Credential


def decode_credential(reader: Reader) -> Credential:
    kind = reader.u16()
    if kind == CredentialType.BASIC:
        return BasicCredential(reader.opaque())
    if kind == CredentialType.X509:
        return X509Credential(reader.vector(Reader.opaque))
    # The body of an unknown type has no length of its own, so nothing after it could be read either.
    raise PeerError("VAL-5.3-1", f"type {kind}")


class Authentication(Protocol):
    """The authentication service, as this client sees it."""

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:
        """Raise `PeerError("VAL-5.3.1-1")` unless the key belongs to whom the credential presents, at `now` (ms)."""
        ...

    def succeeds(self, old: Credential, new: Credential) -> bool:
        """Whether `new` is acceptable in the place of `old` for the same client (§5.3.1)."""
        ...


class TrustBasic:
    """Believes basic credentials; a replacement must keep the identity."""

    def validate(self, credential: Credential, signature_key: bytes, now: int) -> None:  # noqa: ARG002 - Protocol
        if type(credential) is not BasicCredential:
            raise PeerError("VAL-5.3.1-1", "only basic credentials are accepted here")

    def succeeds(self, old: Credential, new: Credential) -> bool:
        return old == new
