"""Key packages as a set: what was given may not be given again. Drives the functions on one database."""

from __future__ import annotations

import sqlite3

from tests.transport.mailbox.rig import DAY, NOW, TENANT
from transport.base import Milliseconds
from transport.mailbox import keeps, packages
from transport.mailbox.bodies import Deposited, Package, Stock
from transport.mailbox.schema import prepare
from transport.mailbox.tenants import Quota, Tenant
from transport.mailbox.wire import Answer, RequestId

T = TENANT.public


def play(steps: list[tuple[str, int, int]]) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    try:
        prepare(db)
        keeps.list_tenants(db, [Tenant(key=T)])
        Play(db).run(steps)
    finally:
        db.close()


class Play:
    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        self.now = NOW
        self.given: dict[bytes, tuple[bytes, bytes]] = {}
        self.waiting: set[bytes] = set()
        self.asked = 0

    def run(self, steps: list[tuple[str, int, int]]) -> None:
        for step, number, who in steps:
            getattr(self, f"step_{step}")(number, who)

    def step_d(self, number: int, who: int) -> None:
        package = Package(
            stock=Stock.CONTACTS, expires=Milliseconds(NOW + (30 + number) * DAY), data=bytes([number + 1]) * 50
        )
        (outcome,) = packages.deposit(self.db, T, (package,), Quota(), Milliseconds(self.now))
        if outcome is Deposited.TAKEN:
            assert package.data not in self.given, "deposited again after it was handed out"
            self.waiting.add(package.data)

    def step_t(self, number: int, who: int) -> None:
        self.asked += 1
        self._take(bytes([who]) * 32, self.asked.to_bytes(16), new=True)

    def step_r(self, number: int, who: int) -> None:
        """Repeat a question that was asked before."""
        if self.asked:
            self._take(bytes([who]) * 32, max(self.asked - number, 1).to_bytes(16), new=False)

    def step_w(self, number: int, who: int) -> None:
        package = Package(stock=Stock.CONTACTS, expires=Milliseconds(0), data=bytes([number + 1]) * 50)
        packages.withdraw(self.db, T, (package.id,), Milliseconds(self.now))
        self.waiting.discard(package.data)

    def step_x(self, number: int, who: int) -> None:
        self.now += number * packages.WINDOW // 2

    def step_s(self, number: int, who: int) -> None:
        packages.forget_old(self.db, Milliseconds(self.now))

    def _take(self, holder: bytes, request: bytes, *, new: bool) -> None:
        asker = packages.Asker(holder=holder, request=RequestId(request))
        now = Milliseconds(self.now)
        answer: Answer | None = packages.repeated(self.db, T, asker, now)
        if answer is not None:
            assert not new
            assert self.given[answer.body[1:]] == (holder, request), "repeated to somebody else"
            return
        answer = packages.hand_out(self.db, T, Stock.CONTACTS, asker, now)
        if answer is None:
            assert not self.waiting
            return
        data = answer.body[1:]
        assert data not in self.given, "handed out twice"
        self.waiting.remove(data)
        self.given[data] = (holder, request)
