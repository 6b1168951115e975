"""What a device may choose for itself, and how much it keeps. What all members must agree on is in `policy`.

Times are in milliseconds. Every table that others can fill has its limit here, and what happens when it is full stands
beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

from vcd.core.policy import DAY, HOUR, MINUTE, SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Of one device."""

    cipher_suite: int = 1
    frame_life: int = 30 * DAY
    """How long others keep our frames for those who are away."""
    clocks: int = HOUR
    """By how much others' clocks may be ahead of ours. Questions and answers are good for so much longer than they are
    of use: whoever is ahead would take each for expired when it comes, so a device that is behind could ask nobody."""

    # When things are done
    quiet: int = 5 * SECOND
    """How long a head must have stood before we vote for it, or do at length what a rival would undo."""
    retry: int = 30 * SECOND
    """Before something that lost is done again; doubled with each time, up to `retry_most`."""
    retry_most: int = HOUR
    turn_taking: int = 10 * SECOND
    """How much later than the first each next one does what any member, or any device, may do."""
    relay_after: int = 5 * MINUTE
    """How long a device's lost message waits for that device before another one says it again."""
    digest_every: int = 10 * MINUTE
    """How often branches are compared while something is not final."""
    ask_again: int = MINUTE
    """Before the same missing thing is asked for again."""
    desync_after: int = 2 * MINUTE
    """How long what a device cannot follow may stand before it comes back from outside."""
    order_wait: int = 5 * SECOND
    """How long a message waits for those that its author had seen before it is shown without them."""
    split_most: int = 14 * DAY
    """By how much a suspected split lengthens windows at most."""

    # KeyPackages
    packages: int = 20
    """How many are to be in stock for contacts."""
    package_life: int = 90 * DAY
    package_public: int = 2

    # Limits
    max_waiting: int = 4096
    """Messages that cannot be read yet; the one that waited longest gives way, first of the one who has the most."""
    max_waiting_bytes: int = 32 << 20
    waiting_life: int = 30 * DAY
    max_commits_each: int = 16
    """Commits of one member on one epoch that are followed; further ones count only once somebody voted for them."""
    max_unfinal: int = 4096
    """Steps since the last final epoch. At the limit headers give way to commits, those of who has the most first, and
    who has made few commits has room for as many again (`crowd`)."""
    max_kept: int = 128
    """Epochs of one group whose keys are kept, within the window too. The first to give way are settled ones, the
    longest left first; then those off the head's path, of whoever made the most of them; then the longest left."""
    max_conversations: int = 4096
    max_invitations: int = 256
    """That wait for an answer; the oldest gives way."""
    max_seen: int = 100_000
    """Ids of messages that are remembered for one conversation; the oldest of who has the most are forgotten first."""
    max_held: int = 256
    """Messages of one conversation that wait for others; when there are more, a quarter is shown without them."""
    max_outbox: int = 20_000
    """Messages that may have to be said again; what is certain gives way, and without any nothing more is said."""
    max_outbox_bytes: int = 256 << 20
    """The same of their bytes, about: they are weighed each time that there are some more of them."""
    max_said: int = 1 << 20
    """Bytes of one message."""
    max_intents: int = 4096
    max_fetches: int = 8
    """How often a KeyPackage is asked for before somebody counts as not to be had."""
    accept_contacts: bool = True
    """Whether invitations of contacts are accepted without asking."""
    answer_after: int = 10 * MINUTE
    """How long a Welcome to a KeyPackage that is not known waits for our other devices before it is answered."""
    takeover_after: int = HOUR
    """How long an intent waits for the device that acts for it before another one does."""
