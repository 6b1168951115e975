"""The X.509 chain that an account shows beside its root key, for people who trust somebody to certify names.

It decides nothing: who an account is follows from its root key, which is pinned (`accounts.book`), and no certificate
makes anybody a contact, verified, or another. It says that somebody else knows the holder of the account key by a name,
to whoever believes that somebody. Whom to believe is each person's own choice, so the node keeps and passes on what is
signed, and those around it judge it when they show it.

What is shown is a statement by the account key (`Certified`): the account's head, the chain, and a time. Each device of
the account has the chain (`siblings.CertificateSet`; a device that was just linked is told anew). It is said in the
topics of conversations that the user wants to be in, once in each, and again in a topic that is new, as who comes in
has not read the old one. Devices take turns, and who hears that another one said it need not. To show none any more is
a statement too. Nodes that do not know of it drop it, as they drop all that they do not know.

A removal of a device gives the account another key, and the chain is for the old one: it is shown to nobody new from
then on, and who has it finds that it does not fit the key of the newest head. Of two statements the later one counts,
and one for the newest key before any for those that were: whoever had one of those may have said any time.

Statements are kept of people in the book only, one each, `MAX_CHAINS` in all. Of strangers they give way first, then
those that were heard first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mls.persistent import PMap
from vcd.core import contacts, devices, ranks, siblings, topics
from vcd.core.accounts.certificate import Chain, check, check_statement, fits, statement
from vcd.core.accounts.identity import suite_of
from vcd.core.duties import Duty
from vcd.core.errors import Misuse, Refused
from vcd.core.names import AccountId
from vcd.core.payloads import Certified
from vcd.core.policy import SECOND

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.siblings import Told
    from vcd.core.state import Joined, State
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

MAX_CHAINS = 1024
AT_ONCE = 64
"""Topics in which ours is shown by one step."""


def of(state: State, account: AccountId) -> Chain | None:
    """What somebody shows, if it is anything."""
    found = state.chains.find(account)
    return None if found is None or not found.chain else found


# ---------------------------------------------------------------- our own


def give(turn: Turn, command: inputs.Certify) -> None:
    """Show this chain from now on, or none."""
    devices.require(turn)
    edition = turn.state.book.edition
    if edition is None:
        raise Misuse("no-account", "this device has no account yet")
    own, key = edition.account, edition.head.signing_key
    if command.chain:
        check(command.chain, key, turn.now)
    old = turn.state.chains.find(own)
    if old is None and not command.chain:
        return
    if old is not None and (old.chain, old.key) == (command.chain, key):
        return
    at = turn.now if old is None or old.key != key else siblings.after(old.at, turn.now)
    _take(turn, own, Chain(chain=command.chain, key=key, at=at, heard=turn.now))
    tell(turn)


def tell(turn: Turn) -> None:
    """Our other devices."""
    for each in records(turn):
        devices.tell(turn, each)


def records(turn: Turn) -> list[siblings.CertificateSet]:
    """The account's, as devices tell it each other."""
    own = _own(turn)
    return [] if own is None else [siblings.CertificateSet(chain=own.chain, key=own.key, at=own.at)]


def on_set(turn: Turn, told: Told, record: siblings.CertificateSet) -> None:
    """The user gave it on another device."""
    del told
    account, old = turn.state.book.own, _own(turn)
    edition = turn.state.book.edition
    if account is None or edition is None or not fits(record.chain):
        turn.drop("certificate")
        return
    new = Chain(chain=record.chain, key=record.key, at=record.at, heard=turn.now)
    if _replaces(new, old, edition.head.signing_key):
        _take(turn, account, new)


def _replaces(new: Chain, old: Chain | None, key: bytes) -> bool:
    """Whether the account shows this one instead. `key` is what it has now: who had the one before, as the thief of a
    device that was removed since, does not outlast that by a time that is far ahead.
    """
    if old is None or new.key == key != old.key:
        return True
    return (old.at, old.chain) < (new.at, new.chain)


def _own(turn: Turn) -> Chain | None:
    account = turn.state.book.own
    return None if account is None else turn.state.chains.find(account)


def _take(turn: Turn, account: AccountId, chain: Chain) -> None:
    several = turn.state.chains.set(account, chain)
    while len(several) > MAX_CHAINS:
        several = several.discard(min(several, key=lambda each: _rank(turn, several[each], each)))
    turn.change(chains=several)
    if account == turn.state.book.own:
        turn.change(chain_shown=PMap())
        soon(turn)


def _rank(turn: Turn, chain: Chain, account: AccountId) -> tuple[bool, bool, int, AccountId]:
    """The least gives way."""
    known = turn.state.book.find(account)
    return account == turn.state.book.own, known is not None and known.accepted, chain.heard, account


# ---------------------------------------------------------------- showing it


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """A group stands elsewhere: that may be in a topic where it was not shown yet."""
    if before.head != after.head:
        soon(turn)


def soon(turn: Turn) -> None:
    """There may be somebody who has not seen it."""
    if turn.state.home is not None and _own(turn) is not None:
        turn.due(Duty.CERTIFY, b"", turn.now + SECOND + ranks.turn_of(turn, 0))


def show(turn: Turn, _: bytes) -> None:
    """Duty CERTIFY: wherever it was not shown yet, or what was shown is gone from the logs."""
    own, edition, signing = _own(turn), turn.state.book.edition, turn.state.household.signing
    if own is None or edition is None or signing is None or not devices.may_speak(turn):
        return
    head, life = edition.head, turn.state.config.frame_life
    suite = suite_of(turn.provider, head.authority.mandate.cipher_suite)
    if suite.scheme.public_key(signing) != head.signing_key:
        return
    if own.key != head.signing_key if own.chain else own.at + life <= turn.now:
        return
    joined, shown = turn.state.joined, turn.state.chain_shown
    wanted = [
        name
        for name in sorted(joined)
        if _theirs(turn, joined[name]) and (name not in shown or shown[name] + life <= turn.now)
    ]
    if wanted:
        signature = statement(turn.provider, head, signing, own.chain, own.at)
        said = Certified(head=head, chain=own.chain, at=own.at, signature=signature, said=turn.now)
        for name in wanted[:AT_ONCE]:
            turn.publish(joined[name].secret, said)
    gone = [name for name in shown if name not in joined]
    shown = shown.changed(gone, dict.fromkeys(wanted[:AT_ONCE], turn.now))
    turn.change(chain_shown=shown)
    if len(wanted) > AT_ONCE:
        turn.due(Duty.CERTIFY, b"", turn.now + SECOND)
    elif shown:
        turn.due(Duty.CERTIFY, b"", min(shown.values()) + life + ranks.turn_of(turn, 0))


def _theirs(turn: Turn, joined: Joined) -> bool:
    """Whether the topic is that of a conversation which the user wants to be in, as it stands now."""
    from vcd.core.state import Acceptance

    if joined.group_id is None or joined.inbox or joined.until is not None:
        return False
    talk, strand = turn.state.talks.find(joined.group_id), turn.state.strands.find(joined.group_id)
    if talk is None or talk.acceptance is not Acceptance.YES:
        return False
    return strand is None or (strand.here is not None and strand.here.topic.raw == joined.secret.raw)


# ---------------------------------------------------------------- others'


def on_certified(turn: Turn, payload: Certified) -> None:
    """Somebody shows one: in whatever topic, as it is signed by whom it is of."""
    try:
        head = check_statement(turn.provider, payload.head, payload.chain, payload.at, payload.signature)
        if turn.state.book.superseded(head):
            raise Refused("certificate-superseded")
    except Refused as error:
        turn.drop(error.rule, str(error))
        return
    account = head.account
    if account == turn.state.book.own:
        _heard_of_us(turn, payload)
        return
    if turn.state.book.find(account) is None:
        turn.drop("certificate-stranger")
        return
    contacts.learn(turn, head)
    new = Chain(chain=payload.chain, key=head.signing_key, at=payload.at, heard=turn.now)
    if _replaces(new, turn.state.chains.find(account), turn.state.book.known(account).head.signing_key):
        _take(turn, account, new)


def _heard_of_us(turn: Turn, payload: Certified) -> None:
    """Another device of ours showed it there."""
    own, secret = _own(turn), turn.came_by
    if own is None or secret is None or own.at != payload.at:
        return
    name = topics.keys_of(turn.topic_suite, secret).name
    turn.change(chain_shown=turn.state.chain_shown.set(name, turn.now))
