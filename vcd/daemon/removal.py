"""What stays on a device that was removed from its account: that it was, and what was said.

The node forgets the account, all of it, once its removal is certain (`vcd.core.devices`); of a device that was off
meanwhile that is one step with learning of it. Nothing that the node has tells such a device from a new one, so what a
person is told from then on is kept here, in the transaction of that step:

    daemon.removed    when the device learned of it, which may be some time before it is certain
    daemon.past       chats, with who was in them and what they were called here: messages stay in the history, and can
    daemon.title      be read by these

Keys, contacts and the list of devices go. That it was removed is said until the device has an account again, or the
others have it back after all; the chats stay.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from vcd.core import labels
from vcd.core.names import AccountId
from vcd.core.state import State, Talk
from vcd.core.stored import Row
from vcd.daemon import facts
from vcd.daemon.facts import Changes, Facts, Past, Removed
from vcd.daemon.telling import called

MOST_MEMBERS = 10_000
"""Of a chat, as in a backup."""


def changes(before: State, after: State, known: bytes | None) -> Changes:
    """What a step has to do with it. `known` is the row that there is."""
    old, new = before.book.own, after.book.own
    if old is not None and new is None:
        removed = known or Removed(after.clock.now, old).encode()
        return {**dict(_chats(before, old)), facts.CALLED: None, facts.REMOVED: removed}
    if new is None or (old == new and before.household.gone == after.household.gone):
        return {}
    if after.household.gone:
        return {facts.REMOVED: Removed(after.clock.now, new).encode()}
    return {} if known is None else {facts.REMOVED: None}


def _chats(state: State, own: AccountId) -> Iterator[tuple[Row, bytes]]:
    for name, talk in sorted(state.talks.items()):
        members = _members(state, talk)
        names = tuple(_name(state, each, own) for each in members)
        yield facts.past(name), Past(talk.mode.name.lower(), members, names).encode()
        if title := labels.text(state, name):
            yield facts.title(name), title.encode()


def _members(state: State, talk: Talk) -> tuple[AccountId, ...]:
    strand = state.strands.find(talk.group_id)
    if strand is None or not strand.graph.has(strand.head):
        return ()
    several = {each.account for each in strand.graph.members(strand.head) if each.account}
    return tuple(sorted(several))[:MOST_MEMBERS]


def _name(state: State, account: AccountId, own: AccountId) -> str:
    if account == own:
        return labels.text(state, labels.ACCOUNT)
    contact = state.book.find(account)
    return "" if contact is None else called(contact)


# ---------------------------------------------------------------- in words


def why(kept: Facts) -> str:
    """Why there is no account here, and what follows from that; empty where there just is none yet."""
    removed = facts.removed_of(kept)
    return "" if removed is None else f"This device was removed from its account. {follows(kept)}"


def follows(kept: Facts) -> str:
    """Since when it knows, and what still works."""
    removed, said = facts.removed_of(kept), []
    if removed is not None:
        said.append(f"It learned of that on {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime(removed.at / 1000))}.")
    said.append("Nothing is sent or received.")
    if any(facts.of(kept, facts.PAST)):
        said.append("What was said before can be read here: vcd chat list.")
    return " ".join(said)
