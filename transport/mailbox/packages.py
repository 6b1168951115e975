"""Key packages, each handed out once, ever. Functions on an open transaction; the caller commits to disk first.

A package is a tenant's one-time key: two people who were given the same one could be played against each other,
so the rule has no exceptions but the one that says so on it. Each is assigned to one mailbox, which neither
copies it nor gives it back. It goes through states, never backwards:

    waiting    may be handed out; the one that expires first goes first
    handed     was given to somebody; its bytes stay `WINDOW` longer, for the same question from the same peer
    withdrawn  the tenant does not want it used any more

The step to `handed` is on disk before the answer leaves. If the answer is lost, the same peer may repeat the
question with the same id within `WINDOW` and gets the same package; after that, and for everybody else, it is
burned. The hash of a package is remembered until long after it expired, so that depositing it again, by a
retry or from an old state, does not bring it back.

Two stocks, apart: one for contacts, who show a hand-out capability that counts and paces them, and one for
strangers, which a bucket of the whole tenant paces, so that nobody can empty it in a minute with many names.
Each stock may have one package of last resort, given when nothing else is left and not used up. Strangers are
given theirs also while the bucket is empty, so that a crowd of names does not keep the others out.
"""

from __future__ import annotations

import enum
import sqlite3
from dataclasses import dataclass
from typing import Final

from transport.access import LONGEST
from transport.base import Milliseconds
from transport.mailbox.bodies import Deposited, Package, PackageId, Stock
from transport.mailbox.records import Grant
from transport.mailbox.tenants import DAY, Quota
from transport.mailbox.wire import Answer, Failure, RequestId

WINDOW: Final = 10 * 60 * 1000
"""Milliseconds within which a question may be repeated."""

LEAST_LIFE: Final = 10 * 60 * 1000
"""Milliseconds: what expires sooner is neither taken nor handed out."""

REMEMBERED: Final = 60 * DAY
"""How long after its expiry a package's hash is known, in milliseconds."""

ROWS_PER_PACKAGE: Final = 32
"""Hashes remembered for a tenant, in multiples of its quota of packages. When full, it deposits no more."""

MOST_HANDOUTS: Final = 10_000
"""Lines of a tenant's list of who was given what. The oldest go first; what was handed out stays so."""

_LAST_RESORT: Final = b"\x01"
_ONCE: Final = b"\x00"


class State(enum.IntEnum):
    WAITING = 0
    HANDED = 1
    WITHDRAWN = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Who asks, and with which question: what a repetition is known by."""

    holder: bytes
    request: RequestId


def deposit(
    db: sqlite3.Connection, tenant: bytes, packages: tuple[Package, ...], quota: Quota, now: Milliseconds
) -> list[Deposited]:
    """Take what is new, still lasts and has room."""
    waiting, used = db.execute(
        "SELECT count(*), coalesce(sum(length(data)), 0) FROM package WHERE tenant = ? AND state = 0", (tenant,)
    ).fetchone()
    (rows,) = db.execute("SELECT count(*) FROM package WHERE tenant = ?", (tenant,)).fetchone()
    outcomes = []
    for package in packages:
        outcome = Deposited.TAKEN
        if not now + LEAST_LIFE < package.expires <= now + LONGEST:
            outcome = Deposited.EXPIRED
        elif db.execute("SELECT 1 FROM package WHERE tenant = ? AND id = ?", (tenant, package.id)).fetchone():
            outcome = Deposited.KNOWN
        elif (
            waiting >= quota.packages
            or used + len(package.data) > quota.package_bytes
            or rows >= quota.packages * ROWS_PER_PACKAGE
        ):
            outcome = Deposited.FULL
        else:
            waiting, used, rows = waiting + 1, used + len(package.data), rows + 1
            _insert(db, tenant, package, now)
        outcomes.append(outcome)
    return outcomes


def _insert(db: sqlite3.Connection, tenant: bytes, package: Package, now: Milliseconds) -> None:
    stock, lasting = package.stock & Stock.STRANGERS, Stock.LASTING in package.stock
    if lasting:  # the new last resort replaces the old
        db.execute(
            "UPDATE package SET state = ?, changed = ? WHERE tenant = ? AND stock = ? AND lasting = 1 AND state = 0",
            (State.WITHDRAWN, now, tenant, stock),
        )
    row = (tenant, package.id, stock, lasting, package.expires, State.WAITING, now, package.data)
    db.execute("INSERT INTO package VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def withdraw(db: sqlite3.Connection, tenant: bytes, ids: tuple[PackageId, ...], now: Milliseconds) -> int:
    """No longer hand out these, or any if none is named; how many were waiting."""
    change = "UPDATE package SET state = ?, changed = ?, data = x'' WHERE tenant = ? AND state = 0"
    row = (State.WITHDRAWN, now, tenant)
    if not ids:
        return db.execute(change, row).rowcount
    return sum(db.execute(change + " AND id = ?", (*row, id_)).rowcount for id_ in ids)


def burn_all(db: sqlite3.Connection, now: Milliseconds) -> int:
    """Withdraw everything of everybody: for a file that was restored, which does not know what was handed out since.

    It counts as another file from then on, so that tenants leave new ones.
    """
    db.execute("UPDATE file SET name = random() & 9223372036854775807")
    return db.execute(
        "UPDATE package SET state = ?, changed = ?, data = x'' WHERE state = 0", (State.WITHDRAWN, now)
    ).rowcount


# ---------------------------------------------------------------- handing out


def repeated(db: sqlite3.Connection, tenant: bytes, asker: Asker, now: Milliseconds) -> Answer | None:
    """What this question was answered with, if it was asked before and not too long ago."""
    row = db.execute(
        "SELECT package.lasting, package.data FROM handout JOIN package ON package.tenant = handout.tenant "
        "AND package.id = handout.package WHERE handout.tenant = ? AND handout.holder = ? AND handout.request = ? "
        "AND handout.at > ? AND length(package.data) > 0",
        (tenant, asker.holder, asker.request, now - WINDOW),
    ).fetchone()
    return _given(*row) if row else None


def allowance(db: sqlite3.Connection, grant: Grant, quota: Quota, now: Milliseconds) -> Answer | None:
    """Why this capability gives nothing now; None if it does."""
    (lowest,) = db.execute("SELECT generation FROM tenant WHERE key = ?", (grant.tenant,)).fetchone()
    if grant.expires <= now or grant.generation < lowest:
        return Answer(failure=Failure.NOT_FOUND)
    row = db.execute(
        "SELECT taken, last FROM granted WHERE tenant = ? AND serial = ?", (grant.tenant, grant.serial)
    ).fetchone()
    taken, last = row or (0, None)
    if taken >= grant.count:
        return Answer(failure=Failure.EMPTY)
    wait = 0 if last is None else grant.interval * 1000 - max(now - last, 0)
    if wait > 0:
        return Answer(failure=Failure.BUSY, detail=wait)
    if row is None:
        (count,) = db.execute("SELECT count(*) FROM granted WHERE tenant = ?", (grant.tenant,)).fetchone()
        if count >= quota.grants:
            return Answer(failure=Failure.FULL)
    return None


def count_use(db: sqlite3.Connection, grant: Grant, now: Milliseconds) -> None:
    db.execute(
        "INSERT INTO granted VALUES (?, ?, 1, ?, ?) ON CONFLICT DO UPDATE SET taken = taken + 1, last = excluded.last",
        (grant.tenant, grant.serial, now, grant.expires),
    )


def hand_out(db: sqlite3.Connection, tenant: bytes, stock: Stock, asker: Asker, now: Milliseconds) -> Answer | None:
    """One package, noted as this asker's; None if none is left."""
    row = db.execute(
        "SELECT id, lasting, data FROM package WHERE tenant = ? AND stock = ? AND state = 0 AND expires > ? "
        "ORDER BY lasting, expires LIMIT 1",
        (tenant, stock, now + LEAST_LIFE),
    ).fetchone()
    if row is None:
        return None
    package, lasting, data = row
    if not lasting:
        db.execute(
            "UPDATE package SET state = ?, changed = ? WHERE tenant = ? AND id = ?",
            (State.HANDED, now, tenant, package),
        )
    db.execute(
        "INSERT INTO handout (tenant, package, holder, request, at) VALUES (?, ?, ?, ?, ?)",
        (tenant, package, asker.holder, asker.request, now),
    )
    db.execute(
        "DELETE FROM handout WHERE tenant = ? AND seq <= "
        "(SELECT seq FROM handout WHERE tenant = ? ORDER BY seq DESC LIMIT 1 OFFSET ?)",
        (tenant, tenant, MOST_HANDOUTS),
    )
    return _given(lasting, data)


def last_resort(db: sqlite3.Connection, tenant: bytes, stock: Stock, now: Milliseconds) -> Answer | None:
    """The package of last resort, without a note: for strangers when there are too many of them."""
    row = db.execute(
        "SELECT lasting, data FROM package "
        "WHERE tenant = ? AND stock = ? AND lasting = 1 AND state = 0 AND expires > ?",
        (tenant, stock, now + LEAST_LIFE),
    ).fetchone()
    return _given(*row) if row else None


def _given(lasting: int, data: bytes) -> Answer:
    return Answer(body=(_LAST_RESORT if lasting else _ONCE) + data)


def recall(db: sqlite3.Connection, tenant: bytes, generation: int) -> None:
    db.execute("UPDATE tenant SET generation = max(generation, ?) WHERE key = ?", (generation, tenant))


def forget_old(db: sqlite3.Connection, now: Milliseconds) -> None:
    """Bytes that nobody can be given any more, then hashes and counts that cannot matter any more."""
    db.execute("UPDATE package SET data = x'' WHERE state <> 0 AND changed <= ? AND length(data) > 0", (now - WINDOW,))
    db.execute("DELETE FROM package WHERE expires < ?", (now - REMEMBERED,))
    db.execute("DELETE FROM handout WHERE at < ?", (now - REMEMBERED,))
    db.execute("DELETE FROM granted WHERE expires < ?", (now - DAY,))
