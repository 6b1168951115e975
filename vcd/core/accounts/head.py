"""What others may know of an account: its *head*, a signed statement of fixed size.

A person's devices are nobody else's business, so their list stays in the home (`device_list`). Contacts see the head of
each version of it: which key signs the account's leaves now, when a device was last shut out, and a salted hash of the
list. A head has no more bytes for ten devices than for one, and the key under it is shared, so neither how many there
are nor which one was at work can be told from it.

*Who signs.* The root signs a *mandate*: for one term, the holders of the delegate key speak for the account. The first
head of a term is the root's own; the later ones are signed with the delegate key. A mandate can also name an overrule
key, which no device has but several together can (`overrule`): it may sign one *overruling*, which gives another
delegate key the rest of the term. So each head carries all that leads from the root to it, and who has only just
met the account can check it as well as an old friend. The account's name is the hash of the root key.

*Versions.* The higher version counts. It is made of the root's term, whether that was overruled, and the number of the
head within, in this order of weight. So whatever a stolen delegate signs, and however far it counts, one statement by
those who overrule it is above that, and one by the root above both, even if neither knows all there is.

    version = term * 2^33 + overruled * 2^32 + number

*What may follow what* (`check_next`) is a function of two heads and nothing else, so all members of a conversation
judge alike: never a lower version; never another head of one version (that is *equivocation*, reported with both heads
as evidence, which anybody can check); the next number names the one before. Versions may be skipped, as one who was
away sees the newest only. Therefore a head says at which version somebody was last shut out (`revoked`): who skipped
that version learns it all the same. A term always begins with somebody shut out. Then the account key must be another
one, or who was shut out could go on.

*Two lists at once.* Two delegates that cannot hear each other may both make the next version. That is equivocation too,
of an innocent kind; the version after next can name both as what it follows (`previous`, `beside`). Where there is
nothing to name, `beside` is random, so that the two cases look alike to all who saw one list only.

Signatures are no part of what a head is: two that differ in signatures alone are one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NewType

from mls.provider import Provider
from vcd.core.accounts.identity import (
    DIGEST,
    MAX_KEY,
    MAX_SIGNATURE,
    DelegateKey,
    OverruleKey,
    RootKey,
    account_id,
    bounded,
    digest,
    exactly,
    sign,
    suite_of,
    verify,
)
from vcd.core.errors import Refused
from vcd.core.names import AccountId
from vcd.core.record import encode

NUMBERS = 1 << 32
"""Heads of a term, or of the rest of one that was overruled."""
TERMS = 1 << 31
NOTHING = bytes(DIGEST)
"""What the first head of an account follows."""

_MANDATE = "vcd mandate"
_OVERRULING = "vcd overruling"
_HEAD = "vcd head"


def version_of(term: int, number: int, *, overruled: bool = False) -> int:
    return (2 * term + overruled) * NUMBERS + number


# ---------------------------------------------------------------- who speaks for the account


@dataclass(frozen=True, slots=True, kw_only=True)
class Mandate:
    """The root's word on who speaks for the account in one term."""

    cipher_suite: int
    root: bytes
    term: int
    delegate: bytes
    overrule: bytes | None
    signature: bytes = b""

    def __post_init__(self) -> None:
        bounded(self.root, MAX_KEY, "a root key")
        bounded(self.delegate, MAX_KEY, "a delegate key")
        if self.overrule is not None:
            bounded(self.overrule, MAX_KEY, "an overrule key")
        _signed(self.signature)
        if not 0 <= self.term < TERMS or not 0 < self.cipher_suite < 1 << 16:
            raise ValueError("a number of a mandate is out of range")

    @property
    def content(self) -> bytes:
        return _mandate_content(self)

    def signed(self, provider: Provider, root: RootKey) -> Mandate:
        suite = suite_of(provider, self.cipher_suite)
        return replace(self, signature=sign(suite, root, _MANDATE, self.content))


@lru_cache(maxsize=1024)
def _mandate_content(mandate: Mandate) -> bytes:
    """It is asked for at every comparison, and there is one for a term."""
    return encode(replace(mandate, signature=b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Overruling:
    """The word of several devices together on who speaks for the account in the rest of a term."""

    delegate: bytes
    signature: bytes = b""

    def __post_init__(self) -> None:
        bounded(self.delegate, MAX_KEY, "a delegate key")
        _signed(self.signature)

    def signed(self, provider: Provider, mandate: Mandate, private: OverruleKey) -> Overruling:
        suite = suite_of(provider, mandate.cipher_suite)
        return replace(self, signature=sign(suite, private, _OVERRULING, self.content_under(mandate)))

    def content_under(self, mandate: Mandate) -> bytes:
        return digest(_MANDATE, mandate.content) + self.delegate


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """Who speaks for an account, from the root down."""

    mandate: Mandate
    overruling: Overruling | None = None

    def __post_init__(self) -> None:
        if self.overruling is not None and self.mandate.overrule is None:
            raise ValueError("nobody was given the power to overrule")

    @property
    def account(self) -> AccountId:
        return account_id(self.mandate.root)

    @property
    def term(self) -> int:
        return self.mandate.term

    @property
    def overruled(self) -> bool:
        return self.overruling is not None

    @property
    def start(self) -> int:
        """The lowest version that it can sign."""
        return version_of(self.mandate.term, 0, overruled=self.overruled)

    @property
    def delegate(self) -> bytes:
        return self.mandate.delegate if self.overruling is None else self.overruling.delegate

    @property
    def founder(self) -> bytes:
        """The key that signs its first head."""
        overrule = self.mandate.overrule
        return self.mandate.root if self.overruling is None or overrule is None else overrule

    @property
    def digest(self) -> bytes:
        rest = b"" if self.overruling is None else self.overruling.delegate
        return digest("vcd authority", digest(_MANDATE, self.mandate.content) + rest)


def check_authority(authority: Authority, provider: Provider) -> None:
    """Whether the root, or those whom it allowed to, said so."""
    mandate = authority.mandate
    suite = suite_of(provider, mandate.cipher_suite)
    if not verify(suite, mandate.root, _MANDATE, mandate.content, mandate.signature):
        raise Refused("mandate-signature")
    overruling = authority.overruling
    if overruling is not None and not verify(
        suite, authority.founder, _OVERRULING, overruling.content_under(mandate), overruling.signature
    ):
        raise Refused("overruling-signature")


# ---------------------------------------------------------------- heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """What contacts see of one version of an account's list of devices."""

    authority: Authority
    number: int
    previous: bytes
    """Digest of the head that this one follows."""
    beside: bytes
    """Digest of another one of that version, which this one follows as well; else random."""
    list_digest: bytes
    signing_key: bytes
    """The public half of the account key."""
    revoked: int
    """The version in which somebody was last shut out."""
    signature: bytes = b""

    def __post_init__(self) -> None:
        exactly(self.previous, DIGEST, "a digest")
        exactly(self.beside, DIGEST, "a digest")
        exactly(self.list_digest, DIGEST, "a digest")
        bounded(self.signing_key, MAX_KEY, "an account key")
        _signed(self.signature)
        if not 0 <= self.number < NUMBERS:
            raise ValueError("the number of a head is out of range")
        if not self.authority.start <= self.revoked <= self.version:
            raise ValueError("a head shuts somebody out before its term or after itself")

    @property
    def account(self) -> AccountId:
        return self.authority.account

    @property
    def version(self) -> int:
        return self.authority.start + self.number

    @property
    def revokes(self) -> bool:
        """Whether this very version shuts somebody out."""
        return self.revoked == self.version

    @property
    def signer(self) -> bytes:
        return self.authority.founder if self.number == 0 else self.authority.delegate

    @property
    def content(self) -> bytes:
        """All that it says. What its authority rests on is named by a digest: it has signatures of its own."""
        said = (
            self.authority.digest
            + self.number.to_bytes(4, "big")
            + self.previous
            + self.beside
            + self.list_digest
            + self.revoked.to_bytes(8, "big")
        )
        return said + self.signing_key

    @property
    def digest(self) -> bytes:
        return digest(_HEAD, self.content)

    def signed(self, provider: Provider, private: RootKey | DelegateKey | OverruleKey) -> Head:
        suite = suite_of(provider, self.authority.mandate.cipher_suite)
        return replace(self, signature=sign(suite, private, _HEAD, self.content))


CheckedHead = NewType("CheckedHead", Head)
"""A head whose signatures hold."""


def _signed(signature: bytes) -> None:
    if len(signature) > MAX_SIGNATURE:
        raise ValueError("a signature is too long")


def check(head: Head, provider: Provider) -> CheckedHead:
    """Whether the account said so. That depends on the head alone, and on nothing that one knows or not."""
    check_authority(head.authority, provider)
    suite = suite_of(provider, head.authority.mandate.cipher_suite)
    if not verify(suite, head.signer, _HEAD, head.content, head.signature):
        raise Refused("head-signature")
    return CheckedHead(head)


# ---------------------------------------------------------------- one after another


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Two heads of one account that cannot both be: whoever signs for it signed two lists of one version."""

    first: Head
    second: Head


class Equivocation(Refused):
    """An account said two things of one version. Somebody stole a key, or two devices did not hear each other."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__("second-list", f"version {evidence.first.version}")
        self.evidence = evidence


def contradiction(one: Head, other: Head) -> Evidence | None:
    """What two heads that both hold prove of each other. The order in which they are named does not matter."""
    first, second = sorted((one, other), key=lambda head: (head.version, head.digest))
    if first.account != second.account or first.digest == second.digest:
        return None
    same_term = first.authority.term == second.authority.term
    if same_term and first.authority.mandate.content != second.authority.mandate.content:
        return Evidence(first=first, second=second)
    if first.authority.start == second.authority.start:
        if first.authority.digest != second.authority.digest or first.number == second.number:
            return Evidence(first=first, second=second)
        if first.number + 1 == second.number and first.digest not in {second.previous, second.beside}:
            return Evidence(first=first, second=second)
    return None


def check_evidence(evidence: Evidence, provider: Provider) -> None:
    """Whether it proves what it claims. It may come from anybody."""
    check(evidence.first, provider)
    check(evidence.second, provider)
    if contradiction(evidence.first, evidence.second) != evidence:
        raise Refused("no-contradiction")


def check_next(old: Head, new: Head) -> None:
    """Whether `new` may take the place of `old`, or be the same. Both are known to hold by themselves."""
    if old.account != new.account:
        raise Refused("another-account")
    if old.digest == new.digest:
        return
    evidence = contradiction(old, new)
    if evidence is not None:
        raise Equivocation(evidence)
    _check_order(old, new)


def may_follow(old: Head, new: Head) -> bool:
    """Whether `new` is above `old`, by all that `check_next` asks but that they do not contradict each other."""
    try:
        _check_order(old, new)
    except Refused:
        return False
    return new.version > old.version


def _check_order(old: Head, new: Head) -> None:
    if new.version < old.version:
        raise Refused("older-list", f"version {new.version} after {old.version}")
    if new.revoked < old.revoked:
        raise Refused("forgotten-revocation")
    if new.revoked > old.version and new.signing_key == old.signing_key:
        raise Refused("account-key-kept")
