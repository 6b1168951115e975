"""People we know: by the cards that they gave us, and whether we want to hear of them.

What the user says of them on one device, the account's other devices are told.

What members' leaves show is learned wherever it is seen (`seen`): in the tree that we come in by, and in each commit,
whether or not its branch wins, as the account has signed it either way. So nothing is done for a list that is known to
be superseded, and an account that signed two lists of one version is found out. A commit that shows the second one
where the first was seen is refused, and is evidence all the same (`witnessed`). Every device sees that for itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from mls.leaf_node import LeafNode
from mls.state import Group
from mls.validation import Plan
from vcd.core import ranks, sessions
from vcd.core.accounts.admission import head_of
from vcd.core.accounts.book import Relation
from vcd.core.accounts.card import from_bytes, to_bytes
from vcd.core.accounts.head import CheckedHead, Evidence
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.events import ContactChanged, Warned
from vcd.core.names import AccountId, GroupId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.accounts.book import Book
    from vcd.core.accounts.card import Card
    from vcd.core.siblings import ContactAdded, ContactBlocked, ContactRemoved, ContactVerified, Told
    from vcd.core.turn import Turn


NAME = 32
"""Bytes of an account's name."""


def add(turn: Turn, command: inputs.AddContact) -> None:
    """Know a person by their card, or learn a newer card of theirs."""
    from vcd.core.siblings import ContactAdded

    try:
        card = from_bytes(command.card)
        if card.account == turn.state.book.own:
            raise Misuse("ourselves", "This is this account's own card.")
        book, at = turn.state.book, _later(turn, card.account)
        book = book.take_card(card, turn.provider, turn.now, petname=command.petname, at=at)
    except (Malformed, Refused) as error:
        raise Misuse("bad-card", "This is no contact card, or not a valid one any more.") from error
    _use(turn, card, book)
    _tell(turn, ContactAdded(card=command.card, petname=command.petname, at=at))


def _later(turn: Turn, account: AccountId) -> int:
    """When it is that something is said of somebody: a time that other devices can read."""
    from vcd.core.siblings import MAX_TIME

    return min(turn.state.book.later(account, turn.now), MAX_TIME)


def remove(turn: Turn, command: inputs.RemoveContact) -> None:
    """Know somebody no more than a stranger. Conversations that we share go on."""
    from vcd.core.siblings import ContactRemoved

    at = _later(turn, command.account)
    _remove(turn, command.account, at)
    _tell(turn, ContactRemoved(account=command.account, at=at))


def _remove(turn: Turn, account: AccountId, at: int, *, blocked: bool = False) -> None:
    shared = blocked or any(
        each.account == account
        for strand in turn.state.strands.values()
        if not strand.home and strand.graph.has(strand.head)
        for each in strand.graph.members(strand.head)
    )
    turn.change(book=turn.state.book.remove(account, at, shared=shared))


def verify(turn: Turn, command: inputs.Verify) -> None:
    """Somebody is who they say: the fingerprint that they read out is that of their key here."""
    from vcd.core.siblings import ContactVerified

    turn.change(book=turn.state.book.verify(command.account, command.fingerprint))
    _tell(turn, ContactVerified(account=command.account))


def block(turn: Turn, command: inputs.Block) -> None:
    """Take no invitations of somebody any more, or again."""
    from vcd.core.siblings import ContactBlocked

    _block(turn, command.account, blocked=command.blocked)
    _tell(turn, ContactBlocked(account=command.account, blocked=command.blocked))


def _block(turn: Turn, account: AccountId, *, blocked: bool) -> None:
    from vcd.core import calls

    book = turn.state.book
    turn.change(book=book.block(account) if blocked else book.unblock(account))
    if not blocked:
        return
    calls.blocked(turn, account)
    for key in sorted(turn.state.invitations):
        if turn.state.invitations[key].by == account:
            turn.change(invitations=turn.state.invitations.discard(key))
            sessions.free(turn, GroupId(key))  # somebody else may invite by that id


def _tell(turn: Turn, record: ContactAdded | ContactBlocked | ContactVerified | ContactRemoved) -> None:
    from vcd.core import devices

    if turn.state.home is not None and len(ranks.devices(turn)) > 1:
        devices.tell(turn, record)


def records(turn: Turn) -> list[ContactAdded | ContactBlocked | ContactVerified | ContactRemoved]:
    """What the user said of people, as devices tell it each other."""
    from vcd.core.siblings import ContactAdded, ContactBlocked, ContactRemoved, ContactVerified

    book = turn.state.book
    found: list[ContactAdded | ContactBlocked | ContactVerified | ContactRemoved] = []
    for account, each in book.contacts.items():
        if each.accepted and each.card is not None:
            found.append(ContactAdded(card=to_bytes(each.card), petname=each.petname, at=each.since))
        if each.blocked:
            found.append(ContactBlocked(account=account, blocked=True))
        if each.verified:
            found.append(ContactVerified(account=account))
    return [*found, *(ContactRemoved(account=account, at=at) for account, at in book.removed.items())]


def on_added(turn: Turn, told: Told, record: ContactAdded) -> None:
    """Another device was given a card, and found it good."""
    del told
    try:
        card = from_bytes(record.card)
        if record.at <= (turn.state.book.removed.find(card.account) or -1):
            return  # removed since
        book = turn.state.book.take_told(card, turn.provider, petname=record.petname, at=record.at)
    except (Malformed, Refused, Misuse) as error:
        turn.drop("contact", str(error))
        return
    _use(turn, card, book)


def _use(turn: Turn, card: Card, book: Book) -> None:
    """Adopt a book with a card that came: somebody may be a contact only now, or be reached elsewhere than before."""
    from vcd.core import calls, intents, invitations

    known, now = turn.state.book.find(card.account), book.known(card.account).card
    turn.change(book=book)
    if known is not None and known.card is not None and now is not None and known.card.inbox.raw != now.inbox.raw:
        intents.readdressed(turn, card.account)
    if turn.state.config.accept_contacts and book.relation(card.account) is Relation.CONTACT:
        invitations.contact_now(turn, card.account)
        calls.contact_now(turn, card.account)


def on_blocked(turn: Turn, told: Told, record: ContactBlocked) -> None:
    """The user blocked somebody on another device, or the other way round."""
    del told
    if turn.state.book.find(record.account) is not None:
        _block(turn, record.account, blocked=record.blocked)


def on_removed(turn: Turn, told: Told, record: ContactRemoved, *, blocked: bool = False) -> None:
    """The user removed a contact on another device. That may be heard before the card that made it one.

    `blocked`: and blocked them since, as a stranger. What is not known cannot be.
    """
    del told
    book = turn.state.book
    known = book.find(record.account)
    if len(record.account) != NAME:  # it is noted, and told to old disks, as it is
        raise Malformed("no account's name")
    if record.at <= (book.removed.find(record.account) or -1) or (known is not None and known.since > record.at):
        return
    if known is None:
        turn.change(book=book.noted(record.account, record.at))
    else:
        _remove(turn, record.account, record.at, blocked=blocked)
        if blocked and known.blocked:
            _block(turn, record.account, blocked=True)


def on_verified(turn: Turn, told: Told, record: ContactVerified) -> None:
    """The user compared fingerprints on another device. An account's name is that of one key for ever."""
    del told
    contact = turn.state.book.find(record.account)
    if contact is not None:
        turn.change(book=turn.state.book.with_contact(replace(contact, verified=True)))


# ---------------------------------------------------------------- what leaves show

_MET_AT_ONCE = 100
"""Strangers that are met by one commit or in one tree: a large group does not fill the book."""
_EVIDENCE_AT_ONCE = 8


def seen(turn: Turn, leaves: Iterable[LeafNode | None]) -> None:
    """Learn from leaves of a conversation, which were found good where they came."""
    met = 0
    for leaf in leaves:
        head = None if leaf is None else head_of(leaf.credential)
        if head is None:
            continue
        if turn.state.book.find(head.account) is None and head.account != turn.state.book.own:
            if met >= _MET_AT_ONCE:
                continue
            met += 1
        learn(turn, CheckedHead(head))


def learn(turn: Turn, head: CheckedHead) -> None:
    """A head that was seen anywhere."""
    book = turn.state.book
    known = book.find(head.account)
    learned = book.learn(head)
    if learned.evidence is not None and head.account == book.own:
        _contested(turn, learned.evidence)
    elif learned.evidence is not None:
        turn.tell(Warned(code="second-list", account=head.account))
    if learned.newer and known is not None and known.accepted and not known.blocked:
        shut_out = head.revoked > known.head.version
        turn.tell(ContactChanged(account=head.account, version=head.version, shut_out=shut_out))
    if learned.book is not book:
        turn.change(book=learned.book)


def _contested(turn: Turn, evidence: Evidence) -> None:
    """There are two lists of our own. That is told once of a version, however often somebody shows them."""
    household, version = turn.state.household, evidence.second.version
    if version >= household.contested:
        turn.change(household=replace(household, contested=version + 1))
        turn.tell(Warned(code="second-list", account=evidence.first.account))


def brought(turn: Turn, plan: Plan, child: Group, committer: int) -> None:
    """Learn from the leaves that a commit brings."""
    comers = [each.leaf_node for each in plan.joining]
    seen(turn, [*comers, *plan.updated.values(), child.public.tree.leaf(committer)])


def tree(turn: Turn, group: Group) -> None:
    """Learn from all leaves of an epoch that we came in by."""
    seen(turn, [leaf for _, leaf in group.members])


def witnessed(turn: Turn) -> None:
    """Lists that contradict each other, in what was refused in this step."""
    for evidence in turn.evidence[:_EVIDENCE_AT_ONCE]:
        account = evidence.first.account
        try:
            learned = turn.state.book.accuse(evidence, turn.provider)
        except Refused:  # it was refused before its signatures were looked at
            continue
        if account == turn.state.book.own:
            _contested(turn, evidence)
        elif learned.evidence is not None:
            turn.change(book=learned.book)
            turn.tell(Warned(code="second-list", account=account))
    turn.evidence.clear()
