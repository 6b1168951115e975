"""account.recover: an account whose devices are all lost, taken up again on this device by its recovery phrase.

What is signed and who is shut out is `vcd.core.founding.recovered`. This room brings what a backup has:

    1. the whole file is read once and checked: its seal, its order, whose it is. Nothing is changed before that is done
    2. messages go into the history, each with an entry `msg.restored` of the log, some hundred in a transaction. A
       message that is there already is not stored again, so who is stopped in the middle just calls once more
    3. the account is there, with its contacts, in one transaction with what chats are called and who was in them

Without the list of devices that a backup has, those of before are not named as shut out; but whatever they sign is
below the new list all the same.

Chats of before are shown with their history (`past`). This device has no key of them and makes none up: somebody who is
in them has to bring us in again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from vcd.backup import files, seal
from vcd.backup.records import About, End, Order, Person, Record, Room, Said, unpack
from vcd.core.accounts.book import Book
from vcd.core.accounts.card import check_card, from_bytes
from vcd.core.accounts.device_list import Edition, check_edition
from vcd.core.accounts.head import Head, check
from vcd.core.accounts.identity import RecoverySeed, readable
from vcd.core.errors import Misuse, NodeError
from vcd.core.founding import recovered
from vcd.core.names import AccountId
from vcd.core.record import decode
from vcd.core.state import State
from vcd.daemon import facts
from vcd.daemon.desk import Desk
from vcd.daemon.service.account import named, root_for, seed_of
from vcd.daemon.service.backup import failure
from vcd.daemon.service.chats import MODES
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import account
from vcd.store.values import NewEntry, NewMessage
from vcd.vault.sealing import SealKey

_AT_ONCE = 200
_ROOM = 4 << 20
"""Messages, and bytes of them, in one transaction."""


async def recover(desk: Desk, call: Call, given: account.Recover) -> account.Recovered:
    if desk.state.book.own is not None:
        raise Failure("E_ACCOUNT_EXISTS")
    name = named(given.device_name)
    seed, kept = None if given.words is None else seed_of(given.words), _Kept()
    if given.backup is not None:
        kept = await _read(desk, given.backup, given.passphrase or "")
    seed = seed or kept.seed
    if seed is None:
        raise Failure("E_WORDS", "This takes the recovery phrase, or a backup that holds it.")
    if kept.edition is not None:
        root_for(desk, seed, kept.edition)
    made = recovered(
        desk.provider, seed, name, desk.now_ms(), desk.state.config, known=kept.edition, book=_book(desk, kept)
    )
    edition = made.book.edition
    assert edition is not None  # noqa: S101 - it was just begun
    if kept.open is not None:
        await _restore(desk, kept.open)

    def become(before: State) -> State:
        if before.book.own is not None:
            raise Failure("E_ACCOUNT_EXISTS")
        return replace(made, config=before.config)

    result = account.Recovered(
        account=edition.account,
        device=made.me.device,
        contacts=sum(each.accepted for each in made.book.contacts.values()),
        chats=len(kept.rooms),
    )
    return await desk.change(call, None, lambda *_: result, become=become, keep=_facts(kept))


# ---------------------------------------------------------------- what a backup has


@dataclass(slots=True)
class _Kept:
    """All of it but the messages."""

    edition: Edition | None = None
    name: str = ""
    seed: RecoverySeed | None = None
    people: list[Person] = field(default_factory=list)
    rooms: dict[bytes, Room] = field(default_factory=dict)
    open: Callable[[], Iterator[Said]] | None = None
    """Its messages, from the beginning."""


async def _read(desk: Desk, where: str, passphrase: str) -> _Kept:
    try:
        path = files.place_of(where)
        key = await trio.to_thread.run_sync(_key_of, path, passphrase)
        kept, about = await trio.to_thread.run_sync(_all_of, path, key)
    except seal.BackupError as error:
        raise failure(error) from None
    try:
        edition = check_edition(decode(Edition, about.edition), desk.provider)
    except NodeError:
        raise Failure("E_FILE", "The list of devices in this backup does not hold.") from None
    if edition.account != about.account:
        raise Failure("E_FILE", "The list of devices in this backup is another account's.")
    suite = edition.head.authority.mandate.cipher_suite
    if suite != desk.state.config.cipher_suite:
        raise Failure("E_FILE", f"This account uses cipher suite {suite}: set `node.cipher_suite` to that first.")
    kept.edition = edition
    kept.seed = None if about.seed is None else RecoverySeed(about.seed)
    kept.open = lambda: (each for each in _records(path, key) if isinstance(each, Said))
    return kept


def _key_of(path: Path, passphrase: str) -> SealKey:
    with files.open_file(path) as file:
        return seal.read_header(file.read(seal.HEADER)).open(passphrase)


def _records(path: Path, key: SealKey) -> Iterator[Record]:
    """What is in the file; whoever reads to the end knows that it was all of it."""
    order, reader = Order(), seal.Reader(key)
    with files.open_file(path) as file:
        file.seek(seal.HEADER)
        while data := file.read(files.READ):
            for each in reader.feed(data):
                record = unpack(each)
                order.take(record)
                yield record
        for each in reader.end():
            record = unpack(each)
            order.take(record)
            yield record
    if not order.whole:
        raise seal.BackupError("This backup has no end.")


def _all_of(path: Path, key: SealKey) -> tuple[_Kept, About]:
    kept, about = _Kept(), None
    for record in _records(path, key):
        match record:
            case About():
                about, kept.name = record, _one_line(record.name)
            case Person():
                kept.people.append(record)
            case Room():
                kept.rooms[record.chat] = record
            case Said():
                if record.chat not in kept.rooms:
                    raise seal.BackupError("This backup has messages of a chat that it does not know.")
            case End():
                pass
    assert about is not None  # noqa: S101 - `Order` wants one
    return kept, about


def _one_line(name: str) -> str:
    try:
        readable(name, 64, "this")
    except ValueError:
        return ""
    return name


# ---------------------------------------------------------------- people


def _book(desk: Desk, kept: _Kept) -> Book:
    """The people of a backup. Each head and card has to hold by itself, whoever made the file."""
    book, own = Book(), None if kept.edition is None else kept.edition.account
    for person in kept.people:
        if person.account == own:
            continue
        try:
            head = check(decode(Head, person.head), desk.provider)
            if head.account != person.account:
                continue
            book = _known(desk, book.learn(head).book, person)
        except (NodeError, Misuse):  # damaged where it came from, or more than there may be: the others are kept
            continue
    return book


def _known(desk: Desk, book: Book, person: Person) -> Book:
    who = AccountId(person.account)
    known = replace(book.known(who), blocked=person.blocked, verified=person.verified, since=person.since)
    if person.card is not None:
        try:
            card = from_bytes(person.card)
            if check_card(card, desk.provider, desk.now_ms()).account == who:
                known = replace(known, card=card)
        except NodeError:  # over, or of no use: a new one has to be asked for
            pass
    book = book.with_contact(known)
    return book.accept(who, _one_line(person.name)) if person.accepted else book


# ---------------------------------------------------------------- chats


def _facts(kept: _Kept) -> dict[tuple[str, bytes], bytes | None]:
    found: dict[tuple[str, bytes], bytes | None] = {}
    if kept.name:
        found[facts.CALLED] = kept.name.encode()
    for chat, room in sorted(kept.rooms.items()):
        mode = room.mode if room.mode in MODES else "demls"
        found[facts.past(chat)] = facts.Past(mode, room.members).encode()
        if room.title and room.title.isprintable():
            found[facts.title(chat)] = room.title.encode()
        if room.history_ms is not None:
            found[facts.keep(chat)] = facts.packed(room.history_ms)
    return found


async def _restore(desk: Desk, messages: Callable[[], Iterator[Said]]) -> None:
    """Into the history. Reading and opening is done beside the event loop."""
    source = messages()

    def some() -> list[Said]:
        found: list[Said] = []
        size = 0
        for each in source:
            found.append(each)
            size += len(each.data)
            if len(found) >= _AT_ONCE or size >= _ROOM:
                break
        return found

    try:
        while batch := await trio.to_thread.run_sync(some):
            new = [each for each in batch if await desk.store.history.find(each.chat, each.msg) is None]
            if new:
                await desk.owner.do(None, entries=[_entry(each) for each in new], history=_messages(new))
    except seal.BackupError as error:  # it was changed since it was checked
        raise failure(error) from None


def _entry(said: Said) -> NewEntry:
    data = {"chat": said.chat, "msg": said.msg}
    return NewEntry(at_ms=said.at, type="msg.restored", chat=said.chat, data=data)


def _messages(batch: list[Said]) -> list[NewMessage]:
    return [
        NewMessage(
            entry=number,
            chat=each.chat,
            content=each.msg,
            sender=each.sender,
            ours=each.ours,
            device=each.device,
            said_at=each.said_at,
            data=each.data,
            media=each.media,
            fate=each.fate,
        )
        for number, each in enumerate(batch)
    ]


HANDLERS: Mapping[str, Any] = {"account.recover": recover}
