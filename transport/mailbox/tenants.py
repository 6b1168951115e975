"""Who may have something kept here, and how much.

The operator lists tenants: an account's public key each, and a quota. A tenant that is no longer listed loses
nothing at once (a slip in a configuration should not), but has no room and gets no answer until it is listed
again; what is kept for it ends as it expires.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAY: Final = 24 * 3600 * 1000
"""Milliseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """The most that is kept for one tenant."""

    bytes: int = 1 << 30  # of frames, heads included, in the topics that it pays for
    frames: int = 500_000  # ids known in those topics: kept, or deleted and not yet expired
    topics: int = 1_000
    retention: int = 40 * DAY  # milliseconds that a frame is kept, if it does not expire earlier
    slots: int = 1_000
    slot_bytes: int = 64 << 20
    packages: int = 1_000  # waiting to be handed out, all stocks together
    package_bytes: int = 16 << 20
    grants: int = 4_096  # hand-out capabilities in use


NOTHING: Final = Quota(
    bytes=0, frames=0, topics=0, retention=0, slots=0, slot_bytes=0, packages=0, package_bytes=0, grants=0
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An account, by the key that signs its requests and its hand-out capabilities."""

    key: bytes
    quota: Quota = Quota()
