"""An X.509 chain that an account shows for its key, as a value: how much of it there may be, and whether it is one.

A statement is signed by the account key over the account's head, the chain, and a time (`vcd certificate`). The room
that keeps and shows statements is `vcd.core.certificates`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mls.credential import X509Credential
from mls.errors import CallerError, PeerError
from mls.provider import Provider
from mls.x509 import Limits, X509Authentication
from vcd.core.accounts.head import CheckedHead, Head, check as check_head
from vcd.core.accounts.identity import AccountKey, sign, suite_of, verify
from vcd.core.errors import Misuse, Refused
from vcd.core.record import encode

MAX_CERTIFICATES = 6
MAX_CHAIN = 16_384
"""Bytes of all certificates of a chain."""
_LABEL = "vcd certificate"


def fits(chain: tuple[bytes, ...]) -> bool:
    return len(chain) <= MAX_CERTIFICATES and sum(map(len, chain)) <= MAX_CHAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """What an account shows."""

    chain: tuple[bytes, ...] = field(repr=False)
    """In DER, the account's own first; empty for none any more."""
    key: bytes
    """The account key at that time."""
    at: int
    """When, by the clock of who said it. The later one counts."""
    heard: int = 0
    """When, by ours."""


@dataclass(frozen=True, slots=True)
class _Said:
    chain: tuple[bytes, ...]
    at: int


def statement(provider: Provider, head: Head, signing: AccountKey, chain: tuple[bytes, ...], at: int) -> bytes:
    """The account key's signature over it."""
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    return sign(suite, signing, _LABEL, _content(head, chain, at))


def check_statement(provider: Provider, head: Head, chain: tuple[bytes, ...], at: int, signature: bytes) -> CheckedHead:
    """Whether the account said so."""
    checked = check_head(head, provider)
    suite = suite_of(provider, checked.authority.mandate.cipher_suite)
    if not verify(suite, checked.signing_key, _LABEL, _content(checked, chain, at), signature):
        raise Refused("certificate-signature")
    return checked


def _content(head: Head, chain: tuple[bytes, ...], at: int) -> bytes:
    return head.digest + encode(_Said(chain, at))


def check(chain: tuple[bytes, ...], key: bytes, now: int) -> None:
    """Whether a chain can be shown for a key: in order, each certified by the next, in time, and the first for it.

    Whom it leads to is not asked: that is for those who see it.
    """
    if not fits(chain):
        raise Misuse(
            "bad-certificate", f"A chain has at most {MAX_CERTIFICATES} certificates, and {MAX_CHAIN} bytes together."
        )
    try:
        judge = X509Authentication([chain[-1]], limits=Limits(certificates=MAX_CERTIFICATES, remembered=1))
        judge.validate(X509Credential(chain), key, now)
    except PeerError as error:
        raise Misuse("bad-certificate", explained(error)) from error
    except CallerError as error:
        raise Misuse("bad-certificate", f"The last of the chain is no certificate: {error}.") from error


_EXPLAINED = {
    "VAL-5.3-2": "a certificate cannot be read",
    "VAL-5.3-3": "it is for another key than the account's",
    "VAL-5.3-4": "a certificate is not signed by the next one: give them in order, the account's own first",
    "VAL-5.3-5": "it leads to nobody who is trusted here",
    "VAL-5.3-6": "a certificate does not allow this use of it",
    "VAL-5.3-7": "it is too long",
    "VAL-5.3-8": "a certificate is signed by a kind of key, or over a hash, that is not accepted",
    "VAL-5.3.1-1": "it names nobody",
    "VAL-5.3.2-1": "a certificate has ended, or does not begin yet",
}


def explained(error: PeerError) -> str:
    """For people: why a chain is not believed."""
    said = _EXPLAINED.get(error.check, "it breaks a rule of X.509")
    return f"The certificate is no good: {said}."
