"""What the daemon keeps for itself, beside the node's state: rows of the same store, in tables of their own.

    daemon.peer       the key by which this device is known in the mesh
    daemon.called     what our card suggested to call us, of a backup; the node's labels go before it
    daemon.title      the same of chats, which are there no more
    daemon.keep       how long this device keeps the messages of a chat, by chat
    daemon.left       chats that the account left last by its own wish, by chat, and since when
    daemon.past       chats of before this device recovered its account, or was removed from it, by chat: their mode,
                      and who was in them
    daemon.removed    there from when the device learned that it was removed, until it has an account again
    daemon.met        where members of our groups were last, by peer
    daemon.port       where we listened last, by family
    daemon.deposit    which mailbox hands out a KeyPackage, by reference
    daemon.box        which file a mailbox had when something was left there last, by peer
    daemon.running    there while the daemon runs: at a start, the last run had no end
    daemon.pairing    a pairing that is under way, or ended a moment ago; sealed under a key of its own

They are written by the owner, in the transaction of whatever they belong to. Nobody else is told of them, and no other
device has them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgpack

from mls.persistent import PMap
from vcd.core.record import encode_as
from vcd.core.stored import Row

OURS = "daemon."
PAIRING = "daemon.pairing"
DEPOSIT = "daemon.deposit"
PAST = "daemon.past"
PEER: Row = ("daemon.peer", b"")
CALLED: Row = ("daemon.called", b"")
RUNNING: Row = ("daemon.running", b"")
REMOVED: Row = ("daemon.removed", b"")

Facts = PMap[Row, bytes]
Changes = Mapping[Row, bytes | None]
"""New values; None takes a row away."""


def title(chat: bytes) -> Row:
    return ("daemon.title", chat)


def keep(chat: bytes) -> Row:
    return ("daemon.keep", chat)


def left(chat: bytes) -> Row:
    return ("daemon.left", chat)


def met(peer: str) -> Row:
    return ("daemon.met", peer.encode())


def deposit(reference: bytes) -> Row:
    return (DEPOSIT, reference)


def box(peer: str) -> Row:
    return ("daemon.box", peer.encode())


def pairing(pair: bytes) -> Row:
    return (PAIRING, encode_as(bytes, pair))


def past(chat: bytes) -> Row:
    return (PAST, chat)


@dataclass(frozen=True, slots=True)
class Past:
    """A chat of which there is the history, and we are no member of it on this device."""

    mode: str
    members: tuple[bytes, ...]
    names: tuple[str, ...] = ()
    """What they were called here, if that is known by nothing else: one for each member, or none at all."""

    def encode(self) -> bytes:
        data: bytes = msgpack.packb([self.mode, list(self.members), list(self.names)])
        return data

    def name(self, number: int) -> str:
        return self.names[number] if self.names else ""


def past_of(facts: Facts, chat: bytes) -> Past | None:
    value = facts.find(past(chat))
    if value is None:
        return None
    mode, members, *more = msgpack.unpackb(value)
    return Past(mode, tuple(members), tuple(more[0]) if more else ())


@dataclass(frozen=True, slots=True)
class Removed:
    """This device was removed from its account."""

    at: int
    """When it learned of that."""
    account: bytes

    def encode(self) -> bytes:
        data: bytes = msgpack.packb([self.at, self.account])
        return data


def removed_of(facts: Facts) -> Removed | None:
    value = facts.find(REMOVED)
    return None if value is None else Removed(*msgpack.unpackb(value))


def split(rows: Mapping[Row, bytes]) -> tuple[dict[Row, bytes], Facts]:
    """What a store has: the node's rows, and the daemon's."""
    node = {row: value for row, value in rows.items() if not row[0].startswith(OURS)}
    return node, PMap({row: value for row, value in rows.items() if row[0].startswith(OURS)})


def text(facts: Facts, row: Row) -> str:
    return (facts.find(row) or b"").decode()


def number(facts: Facts, row: Row) -> int | None:
    value = facts.find(row)
    return None if value is None else int.from_bytes(value, "big")


def packed(value: int) -> bytes:
    return value.to_bytes(8, "big")


def changed(facts: Facts, changes: Changes) -> Facts:
    gone = [row for row, value in changes.items() if value is None and row in facts]
    return facts.changed(gone, {row: value for row, value in changes.items() if value is not None})


def of(facts: Facts, table: str) -> Iterable[tuple[bytes, bytes]]:
    """All rows of a table, by key."""
    return sorted((row[1], value) for row, value in facts.items() if row[0] == table)
