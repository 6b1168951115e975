"""What this device knows of people: the address book, and our own list of devices.

A contact's root key is pinned by its name, as an account's id is the hash of it: no later message can change who a
contact is. What grows is the newest head that was seen. A contact is a *stranger* first (trust on first use: somebody
in a conversation, or who wrote to the inbox), and stays one until a person accepts it; verified, once two people have
compared fingerprints; blocked or not, whichever of these it is.

Nothing here makes a credential valid or not (`judge`): members must judge alike, and every book is different. A book
says what to call somebody, whether a person wants to hear of them, and whether a version is known to be superseded. The
last is for what this device does itself: adding somebody, accepting an invitation, taking a card.

Two lists of one version are kept as evidence, the first pair that was seen, for the person to be told. The head that
was there first is kept until a higher one comes; both rivals cannot be told right from wrong.

Devices of one account tell each other whom they added and removed, and may hear of it in any order, or twice. So each
of these has a time, and the later word counts (`later`): who was removed stays so though somebody else's card, told
before, is heard after.

Accepted contacts are as many as people make. Strangers come unasked, so they are at most 1,000: the one that was met
first makes room, unless it was blocked; blocked ones make room last of all. All changes are new values.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field, replace

from mls.persistent import PMap
from mls.provider import Provider
from vcd.core.accounts.card import MAX_NAME, Card, check_card
from vcd.core.accounts.device_list import CheckedEdition, Edition, check_edition, check_successor
from vcd.core.accounts.head import CheckedHead, Evidence, Head, check_evidence, contradiction, may_follow
from vcd.core.accounts.identity import fingerprint, readable
from vcd.core.errors import Misuse, Refused
from vcd.core.names import AccountId

MAX_CONTACTS = 10_000
MAX_STRANGERS = 1_000
MAX_REMOVED = 1_000


class Relation(enum.Enum):
    """What somebody is to us."""

    STRANGER = 0
    CONTACT = 1
    BLOCKED = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """What is known of one account."""

    head: Head
    """The newest that was seen."""
    met: int
    """How many were met before."""
    accepted: bool = False
    blocked: bool = False
    verified: bool = False
    since: int = 0
    """When a person wanted to know them, last; in the time of `Book.later`."""
    petname: str = ""
    card: Card | None = None
    evidence: Evidence | None = None
    """That it signed two lists of one version."""

    def __post_init__(self) -> None:
        if self.petname:
            readable(self.petname, MAX_NAME, "a name")

    @property
    def account(self) -> AccountId:
        return self.head.account

    @property
    def root(self) -> bytes:
        return self.head.authority.mandate.root

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.root)

    @property
    def relation(self) -> Relation:
        if self.blocked:
            return Relation.BLOCKED
        return Relation.CONTACT if self.accepted else Relation.STRANGER


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a head taught us."""

    book: Book
    newer: bool = False
    """Whether it is the newest now."""
    stranger: bool = False
    """Whether we had not met the account."""
    evidence: Evidence | None = None
    """New proof that the account signed two lists of one version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """The people that a device knows, and the account that it belongs to."""

    contacts: PMap[AccountId, Contact] = field(default_factory=PMap)
    edition: Edition | None = None
    """The newest of our own."""
    met: int = 0
    strangers: int = 0
    removed: PMap[AccountId, int] = field(default_factory=PMap)
    """Who was a contact and is none, and since when; the last ones."""

    # People

    def find(self, account: AccountId) -> Contact | None:
        return self.contacts.find(account)

    def known(self, account: AccountId) -> Contact:
        """Somebody whom a local program named."""
        found = self.find(account)
        if found is None:
            raise Misuse("no-such-contact", "Nobody of that name was met here.")
        return found

    def relation(self, account: AccountId) -> Relation:
        found = self.find(account)
        return Relation.STRANGER if found is None else found.relation

    def superseded(self, head: Head) -> bool:
        """Whether a version above this one is known, or another list of the same."""
        seen = [] if self.edition is None else [self.edition.head]
        contact = self.find(head.account)
        if contact is not None:
            seen.append(contact.head)
        return any(
            known.account == head.account and known.digest != head.digest and head.version <= known.version
            for known in seen
        )

    def learn(self, head: CheckedHead) -> Learned:
        """A head that was seen anywhere, in a conversation or on a card. Older ones teach nothing.

        A higher one is taken even if it contradicts the one before: two devices may have made them, both in good faith.
        Of our own account only the answer is of interest: what is newer than our edition, siblings have to explain.
        """
        if self.edition is not None and head.account == self.edition.account:
            own = self.edition.head
            return Learned(book=self, newer=head.version > own.version, evidence=contradiction(own, head))
        known = self.find(head.account)
        if known is None:
            return Learned(book=self._meet(head), newer=True, stranger=True)
        if known.head.digest == head.digest:
            return Learned(book=self)
        evidence = None if known.evidence is not None else contradiction(known.head, head)
        newer = may_follow(known.head, head)
        changed = known if evidence is None else replace(known, evidence=evidence)
        if newer:
            changed = replace(changed, head=head)
        book = self if changed is known else self.with_contact(changed)
        return Learned(book=book, newer=newer, evidence=evidence)

    def accuse(self, evidence: Evidence, provider: Provider) -> Learned:
        """Evidence that somebody else saw."""
        check_evidence(evidence, provider)
        known = self.find(evidence.first.account)
        if known is None or known.evidence is not None:
            return Learned(book=self)
        return Learned(book=self.with_contact(replace(known, evidence=evidence)), evidence=evidence)

    def later(self, account: AccountId, now: int) -> int:
        """A time above all that was said of somebody, however wrong the clock is by which that was."""
        known = self.find(account)
        return max(now, 1 + max(self.removed.find(account) or 0, 0 if known is None else known.since))

    def take_card(self, card: Card, provider: Provider, now: int, *, petname: str = "", at: int = 0) -> Book:
        """A card that the person was given, at that time: who gives one is to be a contact."""
        book, known = self._shown(check_card(card, provider, now))
        if known.head.digest != card.head.digest:
            raise Refused("card-superseded")
        return book._took(known, card, petname, at)  # noqa: SLF001 - another value of this class

    def take_told(self, card: Card, provider: Provider, *, petname: str, at: int) -> Book:
        """A card that another of our devices took, at that time: it was good there and then, and the user's word holds
        also where a newer list was seen first. The later of two words gives the name. Of two cards it is the one under
        the newer list: the other one may be by a device of theirs that is shut out since.
        """
        book, known = self._shown(check_card(card, provider, None))
        late, version = known.accepted and at < known.since, card.head.version
        before = known.card
        if before is not None and (before.head.version > version or (late and before.head.version == version)):
            taken = before
        else:
            taken = card
        if late:
            return book.with_contact(replace(known, card=taken))
        return book._took(known, taken, petname or card.name, at)  # noqa: SLF001 - another value of this class

    def _shown(self, head: CheckedHead) -> tuple[Book, Contact]:
        """What is known of somebody with the head on a card."""
        if self.edition is not None and head.account == self.edition.account:
            raise Misuse("own-card", "This is your own card.")
        book = self.learn(head).book
        return book, book.known(head.account)

    def _took(self, known: Contact, card: Card, petname: str, at: int) -> Book:
        met = replace(known, card=card, since=max(known.since, at))
        return self.with_contact(met).accept(met.account, petname or card.name)

    def accept(self, account: AccountId, petname: str = "") -> Book:
        """The person wants to know them, by that name."""
        known = self.known(account)
        if not known.accepted and self.contacts.size - self.strangers >= MAX_CONTACTS:
            raise Misuse("book-full", f"There are {MAX_CONTACTS} contacts already.")
        return self.with_contact(replace(_named(known, petname or known.petname), accepted=True))

    def name(self, account: AccountId, petname: str) -> Book:
        return self.with_contact(_named(self.known(account), petname))

    def verify(self, account: AccountId, read_out: str) -> Book:
        """Two people compared fingerprints: this is what the other one read out."""
        known = self.known(account)
        if "".join(read_out.split()) != "".join(known.fingerprint.split()):
            raise Misuse("other-fingerprint", "This is not the fingerprint of that contact's key.")
        return self.with_contact(replace(known, verified=True))

    def block(self, account: AccountId) -> Book:
        return self.with_contact(replace(self.known(account), blocked=True))

    def unblock(self, account: AccountId) -> Book:
        return self.with_contact(replace(self.known(account), blocked=False))

    def forget(self, account: AccountId) -> Book:
        """No longer a contact. Met again, it is a stranger; a block is forgotten too."""
        known = self.known(account)
        return replace(self, contacts=self.contacts.discard(account), strangers=self.strangers - (not known.accepted))

    def remove(self, account: AccountId, at: int, *, shared: bool = False) -> Book:
        """No longer a contact, since then. Of somebody with whom we share a conversation (`shared`) the head stays
        known, as of a stranger who is met there: what is above an older one is not forgotten.
        """
        known = self.known(account)
        book = self.forget(account).noted(account, at)
        return book._meet(known.head) if shared else book  # noqa: SLF001 - another value of this class

    def noted(self, account: AccountId, at: int) -> Book:
        """That somebody was removed at that time, whether or not this device knows them."""
        removed = self.removed
        while len(removed) >= MAX_REMOVED and account not in removed:
            removed = removed.discard(min(removed.items(), key=lambda item: (item[1], item[0]))[0])
        return replace(self, removed=removed.set(account, at))

    # Ourselves

    @property
    def own(self) -> AccountId | None:
        return None if self.edition is None else self.edition.account

    def adopt(self, edition: Edition, provider: Provider) -> Book:
        """A newer edition of our own list, or our first. An older one is refused, as is one against the rules."""
        checked: CheckedEdition
        if self.edition is None:
            checked = check_edition(edition, provider)
        else:
            checked = check_successor(self.edition, edition, provider)
        return replace(self, edition=checked)

    # Parts

    def with_contact(self, contact: Contact) -> Book:
        before = self.find(contact.account)
        accepted = contact.accepted and before is not None and not before.accepted
        return replace(self, contacts=self.contacts.set(contact.account, contact), strangers=self.strangers - accepted)

    def _meet(self, head: Head) -> Book:
        book = self
        if book.strangers >= MAX_STRANGERS:
            unasked = [each for _, each in book.contacts.items() if not each.accepted]
            first = min(unasked, key=lambda each: (each.blocked, each.met))
            book = book.forget(first.account)
        new = Contact(head=head, met=book.met)
        return replace(
            book,
            contacts=book.contacts.set(new.account, new),
            met=book.met + 1,
            strangers=book.strangers + 1,
        )


def _named(contact: Contact, petname: str) -> Contact:
    try:
        return replace(contact, petname=petname)
    except ValueError:
        raise Misuse("bad-name", f"A name is one line of at most {MAX_NAME} letters.") from None
