"""contact.*: people, known by the link that they gave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcd.core import inputs
from vcd.core.accounts import book
from vcd.core.accounts.book import Relation
from vcd.core.accounts.card import SCHEME, Card, from_text, make_card, to_bytes, to_text
from vcd.core.accounts.identity import fingerprint, safety_number
from vcd.core.errors import Malformed
from vcd.core.names import AccountId
from vcd.core.policy import DAY
from vcd.core.state import State
from vcd.daemon.desk import Desk
from vcd.daemon.telling import called
from vcd.pairing import code
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import contact
from vcd.rpc.values import Done

CARD_LIFE = 365 * DAY
"""How long a link of ours is good for, unless a device is removed before."""
_RELATION: Mapping[Relation, Any] = {
    Relation.STRANGER: "stranger",
    Relation.CONTACT: "contact",
    Relation.BLOCKED: "blocked",
}


async def link(desk: Desk, call: Call, given: object) -> contact.OwnLink:
    del call, given
    desk.own()
    edition, household = desk.state.book.edition, desk.state.household
    if edition is None or household.signing is None or household.inbox is None:
        raise desk.homeless()
    expires = desk.now_ms() + CARD_LIFE
    card = make_card(
        desk.provider,
        edition.head,
        household.signing,
        name=desk.called(),
        inbox=household.inbox,
        dispensers=desk.dispensers(),
        expires=expires,
    )
    root = edition.head.authority.mandate.root
    return contact.OwnLink(link=to_text(card), fingerprint=fingerprint(root), expires_at=expires)


def reachable(found: book.Contact, now: int) -> bool:
    """Whether somebody can be invited by the card that they gave.

    A newer list alone does not make a card useless: the inbox that it names stays the same, whichever devices come and
    go. It changes where an account is recovered, which begins a term. So does a removal with the recovery phrase, after
    which the inbox is the old one; from outside the two cannot be told apart.
    """
    card = found.card
    if card is None or card.expires <= now:
        return False
    return found.head.authority.mandate.term <= card.head.authority.mandate.term


def _contact(desk: Desk, state: State, found: book.Contact, now: int) -> contact.Contact:
    edition = state.book.edition
    own = b"" if edition is None else edition.head.authority.mandate.root
    return contact.Contact(
        account=found.account,
        name=called(found),
        suggested="" if found.card is None else found.card.name,
        relation=_RELATION[found.relation],
        verified=found.verified,
        fingerprint=found.fingerprint,
        safety_number=safety_number(own, found.root),
        version=found.head.version % (1 << 32),
        reachable=reachable(found, now),
        contradicts=found.evidence is not None,
        certificate=desk.trust.look(state, found.account, now),
    )


def _known(desk: Desk, account: bytes) -> book.Contact:
    desk.own()
    found = desk.state.book.find(AccountId(account))
    if found is None:
        raise Failure("E_CONTACT_UNKNOWN")
    return found


def _read(desk: Desk, text: str) -> Card:
    """The card of a link; what it is that somebody gave in place of one."""
    if code.meant(text):
        raise _no_link("pair", "That is a code by which a new device comes into an account, and no link to a person.")
    try:
        card = from_text(text)
    except Malformed:
        if not text.lstrip().lower().startswith(SCHEME):
            raise Failure("E_LINK", f"That is no link to a person: one begins with {SCHEME}.") from None
        raise _no_link("part", "That link is not whole, or letters of it were changed: copy all of it.") from None
    edition = desk.state.book.edition
    if edition is not None and card.account == edition.account:
        raise _no_link("own", "That is your own link: it is for others, to write to you.")
    if card.expires <= desk.now_ms():
        raise _no_link("old", "That link is not good any more: it expired.")
    return card


def _no_link(given: str, text: str) -> Failure:
    return Failure("E_LINK", text, data={"given": given})


async def add(desk: Desk, call: Call, given: contact.ContactAdd) -> contact.Contact:
    desk.own()
    card = _read(desk, given.link)
    command = inputs.AddContact(card=to_bytes(card), petname=given.name)
    account, now = card.account, desk.now_ms()
    return await desk.change(call, command, lambda state, *_: _contact(desk, state, state.book.known(account), now))


async def list_(desk: Desk, call: Call, given: contact.ContactList) -> contact.Contacts:
    del call
    desk.own()
    state, now, after = desk.state, desk.now_ms(), given.after or b""
    found: list[contact.Contact] = []
    for account, each in sorted(state.book.contacts.items()):
        if account <= after or (given.relation is not None and _RELATION[each.relation] != given.relation):
            continue
        if len(found) == given.most:
            return contact.Contacts(contacts=found, more=True)
        found.append(_contact(desk, state, each, now))
    return contact.Contacts(contacts=found, more=False)


async def get(desk: Desk, call: Call, given: contact.WhichContact) -> contact.Contact:
    del call
    return _contact(desk, desk.state, _known(desk, given.account), desk.now_ms())


async def verify(desk: Desk, call: Call, given: contact.Verify) -> contact.Contact:
    account, now = _known(desk, given.account).account, desk.now_ms()
    command = inputs.Verify(account=account, fingerprint=given.fingerprint)
    return await desk.change(call, command, lambda state, *_: _contact(desk, state, state.book.known(account), now))


async def block(desk: Desk, call: Call, given: contact.Block) -> contact.Contact:
    account, now = _known(desk, given.account).account, desk.now_ms()
    command = inputs.Block(account=account, blocked=given.blocked)
    return await desk.change(call, command, lambda state, *_: _contact(desk, state, state.book.known(account), now))


async def remove(desk: Desk, call: Call, given: contact.ContactRemove) -> Done:
    account = _known(desk, given.account).account
    return await desk.change(call, inputs.RemoveContact(account=account), lambda *_: Done())


HANDLERS: Mapping[str, Any] = {
    "contact.link": link,
    "contact.add": add,
    "contact.list": list_,
    "contact.get": get,
    "contact.verify": verify,
    "contact.block": block,
    "contact.remove": remove,
}
