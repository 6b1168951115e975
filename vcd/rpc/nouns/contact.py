"""People: known by the link that they gave."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vcd.rpc import samples
from vcd.rpc.nouns.account import CERTIFICATE, Certificate
from vcd.rpc.row import EventData, EventType, Function
from vcd.rpc.values import AccountId, Change, Count, Done, Link, MaybeName, Most, Nothing, Params, Result, Time

Relation = Literal["stranger", "contact", "blocked"]


class OwnLink(Result, frozen=True, kw_only=True):
    link: str
    """Whoever has it can write to us first; also as a QR code."""
    fingerprint: str
    expires_at: Time


class ContactAdd(Change, frozen=True, kw_only=True):
    link: Link
    """What they gave. Of E_LINK, `given` says what it is instead, if that is known: our `own` link; a code to `pair`; a
    `part` of a link, or one with letters changed; an `old` one, that expired."""
    name: MaybeName = ""
    """What to call them here; empty for what they suggest."""


class Contact(Result, frozen=True, kw_only=True):
    account: AccountId
    name: str
    """What we call them, else what they suggest."""
    suggested: str
    relation: Relation
    verified: bool
    """Whether two people compared fingerprints."""
    fingerprint: str
    """Of their root key, for the two to compare."""
    safety_number: str
    """Of both accounts together: the same on both sides."""
    version: Count
    """Of their list of devices, as last seen."""
    reachable: bool
    """Whether we have a card of theirs that is good, so that they can be invited: it did not expire, and they have not
    used their recovery phrase since, after which they may have another inbox. Devices may come and go."""
    contradicts: bool
    """Whether they showed two lists of one version."""
    certificate: Certificate | None
    """What they show beside their root key. Whatever it says, it makes nobody `verified`."""


class ContactList(Params, frozen=True, kw_only=True):
    relation: Relation | None = None
    after: AccountId | None = None
    """The last account of the page before."""
    most: Most = 200


class Contacts(Result, frozen=True, kw_only=True):
    contacts: list[Contact]
    """By account."""
    more: bool


class WhichContact(Params, frozen=True, kw_only=True):
    account: AccountId


class ContactRemove(Change, frozen=True, kw_only=True):
    account: AccountId


class Verify(Change, frozen=True, kw_only=True):
    account: AccountId
    fingerprint: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    """As the other one read it out; spaces do not matter."""


class Block(Change, frozen=True, kw_only=True):
    account: AccountId
    blocked: bool = True


# ---------------------------------------------------------------- events


class ContactSeen(EventData, frozen=True, kw_only=True):
    account: AccountId
    name: str


class ContactBlocked(EventData, frozen=True, kw_only=True):
    account: AccountId
    blocked: bool


class ContactChanged(EventData, frozen=True, kw_only=True):
    account: AccountId
    version: Count
    shut_out: bool
    """Whether a device of theirs was removed since we heard of them last."""


class ContactCertified(EventData, frozen=True, kw_only=True):
    account: AccountId
    shown: bool
    """Whether there is one now."""


class ContactNeedsAttention(EventData, frozen=True, kw_only=True):
    account: AccountId
    what: str
    """A warning of docs/node-reference.md."""
    text: str


_BOB = Contact(
    account=samples.BOB,
    name="Bob",
    suggested="Robert",
    relation="contact",
    verified=False,
    fingerprint=samples.FINGERPRINT,
    safety_number=samples.FINGERPRINT,
    version=1,
    reachable=True,
    contradicts=False,
    certificate=msgspec.structs.replace(CERTIFICATE, subject="CN=Bob"),
)

FUNCTIONS = (
    Function(
        name="contact.link",
        params=Nothing,
        result=OwnLink,
        errors=("E_NO_ACCOUNT",),
        doc="Our own link, to give to somebody.",
        example=(Nothing(), OwnLink(link=samples.LINK, fingerprint=samples.FINGERPRINT, expires_at=samples.AT)),
    ),
    Function(
        name="contact.add",
        params=ContactAdd,
        result=Contact,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_LINK", "E_CONTACTS_FULL", "E_NAME"),
        doc="Know somebody by the link that they gave, or by a newer one. "
        "If contacts' invitations are taken without asking, so are those that this person has sent already.",
        example=(ContactAdd(link=samples.LINK, name="Bob"), _BOB),
    ),
    Function(
        name="contact.list",
        params=ContactList,
        result=Contacts,
        errors=("E_NO_ACCOUNT",),
        doc="The people that this account knows, page by page; strangers are those met in chats.",
        example=(ContactList(relation="contact"), Contacts(contacts=[_BOB], more=False)),
    ),
    Function(
        name="contact.get",
        params=WhichContact,
        result=Contact,
        errors=("E_NO_ACCOUNT", "E_CONTACT_UNKNOWN"),
        doc="One of them.",
        example=(WhichContact(account=samples.BOB), _BOB),
    ),
    Function(
        name="contact.verify",
        params=Verify,
        result=Contact,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CONTACT_UNKNOWN", "E_FINGERPRINT"),
        doc="Say that two people compared fingerprints, and this is what the other one read out.",
        example=(Verify(account=samples.BOB, fingerprint=samples.FINGERPRINT), _BOB),
    ),
    Function(
        name="contact.block",
        params=Block,
        result=Contact,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CONTACT_UNKNOWN"),
        doc="Take no invitations of somebody any more, or again.",
        example=(Block(account=samples.BOB), _BOB),
    ),
    Function(
        name="contact.remove",
        params=ContactRemove,
        result=Done,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_CONTACT_UNKNOWN"),
        doc="Know somebody no more than a stranger; chats that we share go on.",
        example=(ContactRemove(account=samples.BOB), Done()),
    ),
)

EVENTS = (
    EventType(
        type="contact.added",
        data=ContactSeen,
        doc="Somebody is a contact now, on whichever of our devices.",
        example=ContactSeen(account=samples.BOB, name="Bob"),
    ),
    EventType(
        type="contact.verified",
        data=ContactSeen,
        doc="Fingerprints were compared.",
        example=ContactSeen(account=samples.BOB, name="Bob"),
    ),
    EventType(
        type="contact.blocked",
        data=ContactBlocked,
        doc="Somebody is blocked, or not any more.",
        example=ContactBlocked(account=samples.BOB, blocked=True),
    ),
    EventType(
        type="contact.removed",
        data=ContactSeen,
        doc="Somebody is no contact any more.",
        example=ContactSeen(account=samples.BOB, name="Bob"),
    ),
    EventType(
        type="contact.changed",
        data=ContactChanged,
        doc="A contact has a newer list of devices. There is nothing to do.",
        example=ContactChanged(account=samples.BOB, version=2, shut_out=False),
    ),
    EventType(
        type="contact.certified",
        data=ContactCertified,
        doc="Somebody shows another certificate, or none any more; contact.get says what it is worth here.",
        example=ContactCertified(account=samples.BOB, shown=True),
    ),
    EventType(
        type="contact.needs_attention",
        data=ContactNeedsAttention,
        doc="Something about a contact that a person should look at.",
        example=ContactNeedsAttention(
            account=samples.BOB, what="second-list", text="Bob's account shows two lists of one version."
        ),
    ),
)
