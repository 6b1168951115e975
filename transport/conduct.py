"""What peers do wrong, what it costs them, and how much of anything they may send.

Every peer has a balance of charges that halves each minute. Above `THROTTLE` it is served slowly, above `BAR`
it is disconnected and barred: a minute the first time, twice as long each time again, an hour at most. What
honest peers do by accident (a clock that is off, a frame that crossed with another) is priced so that it never
adds up to `THROTTLE` at the rates they do it at; what nobody does by accident bars after a few times.

A charge is against the neighbor that handed something over, not against an author: frames name none. That is
fair because every vcd checks frames before passing them on.

Pure: the time comes in. The table is bounded; when full, one of those charged longest ago is forgotten, the one
that owes least and is not barred if there is such a one.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from itertools import islice
from typing import Final

from transport.base import PeerId

THROTTLE: Final = 20.0
BAR: Final = 100.0
HALF_LIFE: Final = 60.0
FIRST_BAR: Final = 60.0
LONGEST_BAR: Final = 3600.0
FORGIVEN_AFTER: Final = 24 * 3600.0  # without another bar, the next one is short again
MOST_PEERS: Final = 4096
LOOKED_AT: Final = 32  # of those charged longest ago, when one has to be forgotten
SLOWEST: Final = 2.0


class Offence(enum.Enum):
    """Name and price."""

    MALFORMED = ("malformed", 20.0)  # bytes that do not decode
    VERSION = ("version", 2.0)  # a version of our own format that we do not know: perhaps just newer
    OVERSIZE = ("oversize", 20.0)
    FORGED = ("forged", 10.0)  # a signature or a hash that does not match
    EXPIRED = ("expired", 0.2)  # clocks differ
    STRANGER = ("stranger", 0.5)  # a frame of a topic that is not kept here: we may just have left
    REPLAY = ("replay", 0.1)  # what we have, sent by itself more often than a mesh does
    LYING = ("lying", 20.0)  # reconciliation that contradicts itself or does not converge
    BROKEN_PROMISE = ("broken promise", 2.0)  # announced, asked for, never sent
    STALLED = ("stalled", 5.0)  # began a message and did not finish it in time
    GARBAGE = ("garbage", 10.0)  # an answer that is not one
    FLOOD = ("flood", 1.0)  # more than its share, again
    UNAUTHORIZED = ("unauthorized", 2.0)  # asked for what it showed no right to

    def __init__(self, label: str, price: float) -> None:
        self.label = label
        self.price = price


class Standing(enum.Enum):
    GOOD = "good"
    THROTTLED = "throttled"
    BARRED = "barred"


@dataclass(slots=True)
class _Account:
    balance: float = 0.0
    at: float = 0.0
    barred_until: float = 0.0
    bars: int = 0


class Ledger:
    """The balances. One owner: the network."""

    def __init__(self) -> None:
        self._accounts: dict[PeerId, _Account] = {}

    def charge(self, peer: PeerId, offence: Offence, now: float) -> Standing:
        """Add to what the peer owes; BARRED means: disconnect it now."""
        account = self._accounts.pop(peer, None)
        if account is not None and now < account.barred_until:  # what was under way when the bar fell
            self._accounts[peer] = account
            return Standing.BARRED
        if account is None:
            if len(self._accounts) >= MOST_PEERS:
                self._forget_one(now)
            account = _Account(at=now)
        self._accounts[peer] = account  # the one charged last is last
        account.balance = _decayed(account, now) + offence.price
        account.at = now
        if account.balance < BAR:
            return self.standing(peer, now)
        if now - account.barred_until > FORGIVEN_AFTER:
            account.bars = 0
        account.barred_until = now + min(FIRST_BAR * 2.0**account.bars, LONGEST_BAR)
        account.bars = min(account.bars + 1, 16)
        account.balance = THROTTLE  # when it may come back, it is watched
        return Standing.BARRED

    def standing(self, peer: PeerId, now: float) -> Standing:
        account = self._accounts.get(peer)
        if account is None:
            return Standing.GOOD
        if now < account.barred_until:
            return Standing.BARRED
        return Standing.THROTTLED if _decayed(account, now) >= THROTTLE else Standing.GOOD

    def barred_until(self, peer: PeerId, now: float) -> float | None:
        account = self._accounts.get(peer)
        return account.barred_until if account is not None and now < account.barred_until else None

    def barred(self, now: float) -> dict[PeerId, float]:
        return {peer: account.barred_until for peer, account in self._accounts.items() if now < account.barred_until}

    def penalty(self, peer: PeerId, now: float) -> float:
        """Seconds to let pass before serving the peer: grows from THROTTLE to BAR."""
        account = self._accounts.get(peer)
        if account is None:
            return 0.0
        over: float = (_decayed(account, now) - THROTTLE) / (BAR - THROTTLE)
        return min(max(over, 0.0), 1.0) * SLOWEST

    def _forget_one(self, now: float) -> None:
        longest_ago = islice(self._accounts.items(), LOOKED_AT)
        least = min(longest_ago, key=lambda item: (now < item[1].barred_until, _decayed(item[1], now)))
        del self._accounts[least[0]]


def _decayed(account: _Account, now: float) -> float:
    return account.balance * math.pow(0.5, max(now - account.at, 0.0) / HALF_LIFE)


class Bucket:
    """A token bucket: `rate` per second, `burst` at once."""

    __slots__ = ("_at", "_level", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self.burst = rate, burst
        self._level, self._at = burst, now

    def take(self, amount: float, now: float) -> float:
        """Take this much, into debt if need be; the seconds to wait until the debt is paid, 0 if there is none."""
        self._level = min(self.burst, self._level + (now - self._at) * self.rate) - amount
        self._at = now
        return 0.0 if self._level >= 0 else -self._level / self.rate
