"""backup.create: what this device knows of the account, in one sealed file (`vcd.backup`).

It is written as it is read, so memory does not grow with what was said. What is said meanwhile may be in it or not. No
key of a chat, a device or the devices' group is ever in it: a device that was restored from it would use keys a second
time that others have moved on from.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import trio

from vcd.backup import files, seal
from vcd.backup.records import About, End, Person, Record, Room, Said, pack
from vcd.core.accounts.card import to_bytes
from vcd.core.names import GroupId
from vcd.core.record import encode
from vcd.daemon import facts
from vcd.daemon.desk import Desk
from vcd.daemon.service.account import root_for, seed_of
from vcd.daemon.service.chats import MODE_NAMES
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import daemon
from vcd.vault.sealing import SealKey
from vcd.vault.unlockers import Passphrase

_PAGE = 500
_AT_ONCE = 1 << 20
"""Bytes that are sealed and written in one go, beside the event loop."""


def failure(error: seal.BackupError) -> Failure:
    return Failure("E_PASSPHRASE" if isinstance(error, seal.WrongPassphrase) else "E_FILE", str(error))


async def create(desk: Desk, call: Call, given: daemon.BackupCreate) -> daemon.BackupMade:
    desk.own()
    try:
        path = files.place_of(given.path)
        about = _about(desk, given)
        header, key = await trio.to_thread.run_sync(seal.begin, Passphrase(given.passphrase))
        with files.written(path) as file:
            count = await _write(desk, file, header, key, about, history=given.history)
    except seal.BackupError as error:
        raise failure(error) from None
    made = daemon.BackupMade(
        path=str(path),
        bytes=count.bytes,
        contacts=count.contacts,
        chats=count.chats,
        messages=count.messages,
        with_root=about.seed is not None,
        at=about.made_at,
    )
    return await desk.change(call, None, lambda *_: made)


def _about(desk: Desk, given: daemon.BackupCreate) -> About:
    edition = desk.state.book.edition
    assert edition is not None  # noqa: S101 - `own` saw to it
    seed = None
    if given.words is not None:
        seed = seed_of(given.words)
        root_for(desk, seed, edition)  # no other account's phrase is kept with this one
    return About(
        made_at=desk.now_ms(),
        account=edition.account,
        cipher_suite=edition.head.authority.mandate.cipher_suite,
        edition=encode(edition),
        name=desk.called(),
        seed=None if seed is None else seed.raw,
    )


@dataclass(slots=True)
class _Count:
    bytes: int = 0
    people: int = 0
    contacts: int = 0
    chats: int = 0
    messages: int = 0


async def _write(
    desk: Desk, file: files.Growing, header: bytes, key: SealKey, about: About, *, history: bool
) -> _Count:
    writer, count = seal.Writer(key), _Count()
    waiting: list[bytes] = [pack(about)]

    def write(*, last: bool = False) -> None:
        sealed = b"".join([*map(writer.add, waiting), *([writer.end()] if last else [])])
        count.bytes += file.write(sealed)
        waiting.clear()
        if last:
            file.flush()
            os.fsync(file.fileno())  # it may take long, and is nothing for the event loop

    count.bytes += file.write(header)
    size = 0
    async with aclosing(_records(desk, count, history=history)) as records:
        async for record in records:
            waiting.append(pack(record))
            size += len(waiting[-1])
            if size >= _AT_ONCE:
                await trio.to_thread.run_sync(write)
                size = 0
    waiting.append(pack(End(people=count.people, chats=count.chats, messages=count.messages)))
    await trio.to_thread.run_sync(lambda: write(last=True))
    return count


async def _records(desk: Desk, count: _Count, *, history: bool) -> AsyncGenerator[Record, None]:
    for person in _people(desk):
        count.people += 1
        count.contacts += person.accepted
        yield person
    rooms = list(_rooms(desk))
    for room in rooms:
        count.chats += 1
        yield room
    for room in rooms if history else ():
        at, more = 0, True
        while more:
            page = await desk.store.history.list(room.chat, after=at, most=_PAGE)
            more = page.more
            for each in page.messages:
                at = each.seq
                count.messages += 1
                yield Said(
                    chat=each.chat,
                    msg=each.content,
                    sender=each.sender,
                    ours=each.ours,
                    device=each.device,
                    at=each.at_ms,
                    said_at=each.said_at,
                    data=each.data,
                    media=each.media,
                    fate=each.fate,
                )


def _people(desk: Desk) -> Iterator[Person]:
    """Contacts, and whom a person blocked or verified; who was only ever met in a chat is met again."""
    for account, each in sorted(desk.state.book.contacts.items()):
        if each.accepted or each.blocked or each.verified:
            yield Person(
                account=account,
                head=encode(each.head),
                card=None if each.card is None else to_bytes(each.card),
                name=each.petname,
                accepted=each.accepted,
                verified=each.verified,
                blocked=each.blocked,
                since=each.since,
            )


def _rooms(desk: Desk) -> Iterator[Room]:
    state = desk.state
    past = {name for name, _ in facts.of(desk.facts, facts.PAST)}
    for name in sorted({*map(bytes, state.talks), *past}):
        talk, strand, before = (
            state.talks.find(GroupId(name)),
            state.strands.find(GroupId(name)),
            facts.past_of(desk.facts, name),
        )
        members: tuple[bytes, ...] = () if before is None else before.members
        if strand is not None and strand.graph.has(strand.head):
            members = tuple(sorted({bytes(each.account) for each in strand.graph.members(strand.head)}))
        mode = MODE_NAMES[talk.mode] if talk is not None else "demls" if before is None else before.mode
        yield Room(
            chat=name,
            mode=mode,
            title=desk.title(name),
            members=members[:10_000],
            history_ms=facts.number(desk.facts, facts.keep(name)),
        )


HANDLERS: Mapping[str, Any] = {"backup.create": create}
