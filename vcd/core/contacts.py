"""People we know: by the cards that they gave us, and whether we want to hear of them.

What the user says of them on one device, the account's other devices are told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core import ranks
from vcd.core.accounts.card import from_bytes
from vcd.core.errors import Malformed, Misuse, Refused
from vcd.core.names import AccountId

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.siblings import ContactAdded, ContactBlocked, Told
    from vcd.core.turn import Turn


def add(turn: Turn, command: inputs.AddContact) -> None:
    """Know a person by their card, or learn a newer card of theirs."""
    from vcd.core.siblings import ContactAdded

    try:
        card = from_bytes(command.card)
        if card.account == turn.state.book.own:
            raise Misuse("ourselves", "This is this account's own card.")
        book = turn.state.book.take_card(card, turn.provider, turn.now, petname=command.petname)
    except (Malformed, Refused) as error:
        raise Misuse("bad-card", "This is no contact card, or not a valid one any more.") from error
    turn.change(book=book)
    _tell(turn, ContactAdded(card=command.card, petname=command.petname))


def block(turn: Turn, command: inputs.Block) -> None:
    """Take no invitations of somebody any more, or again."""
    from vcd.core.siblings import ContactBlocked

    _block(turn, command.account, blocked=command.blocked)
    _tell(turn, ContactBlocked(account=command.account, blocked=command.blocked))


def _block(turn: Turn, account: AccountId, *, blocked: bool) -> None:
    book = turn.state.book
    turn.change(book=book.block(account) if blocked else book.unblock(account))
    if not blocked:
        return
    for key in sorted(turn.state.invitations):
        if turn.state.invitations[key].by == account:
            turn.change(invitations=turn.state.invitations.discard(key))


def _tell(turn: Turn, record: ContactAdded | ContactBlocked) -> None:
    from vcd.core import devices

    if turn.state.home is not None and len(ranks.devices(turn)) > 1:
        devices.tell(turn, record)


def on_added(turn: Turn, told: Told, record: ContactAdded) -> None:
    """Another device was given a card. One that is not good any more is of no use here either."""
    del told
    try:
        card = from_bytes(record.card)
        book = turn.state.book.take_card(card, turn.provider, turn.now, petname=record.petname)
    except (Malformed, Refused, Misuse) as error:
        turn.drop("contact", str(error))
        return
    turn.change(book=book)


def on_blocked(turn: Turn, told: Told, record: ContactBlocked) -> None:
    """The user blocked somebody on another device, or the other way round."""
    del told
    if turn.state.book.find(record.account) is not None:
        _block(turn, record.account, blocked=record.blocked)
