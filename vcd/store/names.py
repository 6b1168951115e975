"""Which key a row is sealed under, and the end of keys.

Rows that must become unreadable together have a key together: the state's rows under the names that `vcd.core.stored`
gives, the journal and the requests under one for each day, the history under one for each chat and day. A key is 32
random bytes, sealed by the vault, in a row of its own. With the last row under it that row goes too, in the same
transaction; what a disk, a log or a backup still has of the rows opens no more.

Everything else is sealed under the store's own key, which lives as long as the vault.

In the file are no names at all. Where rows are looked up by a name (a chat, a message, a kind of event), there is a
keyed hash of it: who has the disk and no key can count chats and entries and see their sizes, and not whose they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from sqlite3 import Connection
from typing import Final

from vcd.store.ledger import Marks
from vcd.store.rows import one
from vcd.store.trouble import corrupt
from vcd.vault.sealing import Sealer, SealKey, new_key, open_sealed, place
from vcd.vault.vault import Vault

__all__ = ["OWN", "Keys", "Named", "Names", "key_of"]

OWN: Final = 0
"""Instead of a key's number: the store's own."""

UNUSED: Final = {
    "state": "SELECT 1 FROM state WHERE key = ? AND key > 0 LIMIT 1",  # what state_by_key can be used for
    "history": "SELECT 1 FROM history WHERE key = ? LIMIT 1",
    # Days do not go back and the oldest rows go first, so the rows of a day lie together: the oldest is telling.
    "journal": "SELECT 1 FROM (SELECT key FROM journal ORDER BY seq LIMIT 1) WHERE key = ?",
    "requests": "SELECT 1 FROM (SELECT key FROM requests ORDER BY id LIMIT 1) WHERE key = ?",
}
_KEPT: Final = 4096


class Keys:
    """What a store derives from its vault. Only these are secret: the rest of the store can be read by anybody."""

    __slots__ = ("_blind", "frames", "ledger", "marks", "own", "wrap")

    def __init__(self, vault: Vault) -> None:
        self.own = vault.key("store: own rows")
        self.ledger = vault.key("store: ledger")
        self.wrap = vault.key("store: keys")
        self.marks = Marks(vault.secret("store: marks"))
        self.frames = vault.secret("store: frames")
        self._blind = vault.secret("store: names")

    def blind(self, kind: str, *parts: bytes) -> bytes:
        """A name as it stands in the file."""
        data = b"".join(len(part).to_bytes(4) + part for part in parts)
        return blake2b(data, key=self._blind, digest_size=16, person=kind.encode()).digest()

    def number(self, kind: str, name: bytes) -> int:
        """The same as a number: never 0, which stands for none. Two names may share one, once in a very long while."""
        return int.from_bytes(self.blind(kind, name)[:8]) >> 1 | 1


@dataclass(frozen=True, slots=True)
class Named:
    """A key with its number in the file."""

    id: int
    key: SealKey


def key_of(db: Connection, keys: Keys, number: int) -> SealKey:
    """The key that a row says it is sealed under."""
    if number == OWN:
        return keys.own
    row = one(db, "nb", "SELECT name, sealed FROM keys WHERE id = ?", (number,))
    if row is None:
        raise corrupt("the key of a row is missing")
    return SealKey(open_sealed(keys.wrap, _place(number, row[0]), row[1]))


def _place(number: int, name: bytes) -> bytes:
    return place("keys", number.to_bytes(8) + name, "key", 1)


class Names:
    """The keys that the writer uses. What is kept in memory is what the transaction sees; a rollback forgets it all."""

    __slots__ = ("_by_name", "_by_number", "_emptied", "_keys")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._by_name: dict[bytes, Named] = {}
        self._by_number: dict[int, tuple[bytes, SealKey]] = {}
        self._emptied: dict[tuple[str, int], None] = {}

    def of(self, db: Connection, sealer: Sealer, table: str, *parts: bytes) -> Named:
        """The key of a name, a new one if it has none."""
        name = self._keys.blind("key:" + table, *parts)
        named = self._by_name.get(name)
        if named is not None:
            return named
        row = one(db, "i", "SELECT id FROM keys WHERE name = ?", (name,))
        if row is not None:
            named = Named(row[0], key_of(db, self._keys, row[0]))
        else:
            key = new_key()
            number = db.execute("INSERT INTO keys (name, sealed) VALUES (?, x'')", (name,)).lastrowid
            if number is None:
                raise corrupt("a key got no number")
            sealed = sealer.seal(self._keys.wrap, _place(number, name), key.raw)
            db.execute("UPDATE keys SET sealed = ? WHERE id = ?", (sealed, number))
            named = Named(number, key)
        if len(self._by_name) >= _KEPT:
            self.forget()
        self._by_name[name] = named
        self._by_number[named.id] = name, named.key
        return named

    def numbered(self, db: Connection, number: int) -> SealKey:
        """The key that a row says it is sealed under."""
        known = self._by_number.get(number)
        return key_of(db, self._keys, number) if known is None else known[1]

    def emptied(self, table: str, number: int) -> None:
        """A row under this key went: it may have been the last one."""
        if number != OWN:
            self._emptied[table, number] = None

    def end(self, db: Connection) -> None:
        """Before the transaction ends: delete the keys that nothing is under any more."""
        for table, number in self._emptied:
            if db.execute(UNUSED[table], (number,)).fetchone() is None:
                db.execute("DELETE FROM keys WHERE id = ?", (number,))
                known = self._by_number.pop(number, None)
                if known is not None:
                    del self._by_name[known[0]]
        self._emptied = {}

    def forget(self) -> None:
        self._by_name = {}
        self._by_number = {}
