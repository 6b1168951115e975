"""A contact card: what one person gives another to be reached by.

It says who it is of (the account's head, which leads to the root key), a name that the other may or may not use, where
KeyPackages are to be had, and the secret of an inbox topic: whoever knows that may write to the inbox, so a card is for
who is meant to have it. The account key signs all of it, so every device can make one, and none is good for long after
a device was shut out: it expires, and who knows of a later version refuses it before that.

As text, for links and square codes, it is `vcd1:` and the bytes in base64url without padding.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace

from mls.provider import Provider
from mls.secrets import Secret
from vcd.core.accounts.head import CheckedHead, Head, check
from vcd.core.accounts.identity import MAX_SIGNATURE, AccountKey, bounded, exactly, readable, sign, suite_of, verify
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.names import AccountId
from vcd.core.record import decode, encode

SCHEME = "vcd1:"
MAX_CARD = 40_000
MAX_DISPENSERS = 8
MAX_ADDRESS = 512
MAX_NAME = 64
INBOX = 32
_CARD = "vcd card"


class InboxSecret(Secret):
    """Lets its holder write to an account's inbox topic."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """How to reach an account."""

    head: Head
    name: str
    """What its owner suggests to be called."""
    inbox: InboxSecret
    dispensers: tuple[bytes, ...]
    """Where KeyPackages are handed out: addresses that this room does not read."""
    expires: int
    """ms since 1970."""
    signature: bytes = b""

    def __post_init__(self) -> None:
        if self.name:
            readable(self.name, MAX_NAME, "a name")
        exactly(self.inbox.raw, INBOX, "an inbox secret")
        if len(self.dispensers) > MAX_DISPENSERS or len(set(self.dispensers)) != len(self.dispensers):
            raise ValueError("too many dispensers, or one twice")
        for address in self.dispensers:
            bounded(address, MAX_ADDRESS, "an address")
        if len(self.signature) > MAX_SIGNATURE:
            raise ValueError("a signature is too long")

    @property
    def account(self) -> AccountId:
        return self.head.account

    @property
    def content(self) -> bytes:
        """The head counts by its digest, so that other bytes of its signatures make no other card."""
        rest = (self.name, self.inbox, self.dispensers, self.expires)
        return self.head.digest + encode(_Said(*rest))


@dataclass(frozen=True, slots=True)
class _Said:
    name: str
    inbox: InboxSecret
    dispensers: tuple[bytes, ...]
    expires: int


def make_card(
    provider: Provider,
    head: Head,
    signing: AccountKey,
    *,
    name: str,
    inbox: InboxSecret,
    dispensers: tuple[bytes, ...] = (),
    expires: int,
) -> Card:
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    if suite.scheme.public_key(signing) != head.signing_key:
        raise Misuse("not-account-key", "This is not the account's key now.")
    try:
        card = Card(head=head, name=name, inbox=inbox, dispensers=dispensers, expires=expires)
    except ValueError as error:
        raise Misuse("bad-card", f"There can be no such card: {error}.") from None
    return replace(card, signature=sign(suite, signing, _CARD, card.content))


def check_card(card: Card, provider: Provider, now: int | None) -> CheckedHead:
    """Whether the account made it, and means it still (if `now` is given); gives the head to learn of."""
    head = check(card.head, provider)
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    if not verify(suite, head.signing_key, _CARD, card.content, card.signature):
        raise Refused("card-signature")
    if now is not None and card.expires <= now:
        raise Refused("card-expired")
    return head


def to_bytes(card: Card) -> bytes:
    return encode(card)


def from_bytes(data: bytes) -> Card:
    if len(data) > MAX_CARD:
        raise Malformed("a card is too long")
    return decode(Card, data)


def to_text(card: Card) -> str:
    return SCHEME + base64.urlsafe_b64encode(to_bytes(card)).rstrip(b"=").decode()


def from_text(text: str) -> Card:
    """What people paste: blanks and line breaks around and within do not matter."""
    compact = "".join(text[: 4 * MAX_CARD].split())
    if compact[: len(SCHEME)].lower() != SCHEME or len(compact) > 2 * MAX_CARD:
        raise Malformed("no contact card")
    body = compact[len(SCHEME) :]
    try:
        data = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("a contact card with letters missing or changed") from None
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != body:
        raise Malformed("a contact card in another form")
    return from_bytes(data)
