"""Bugs that were planted on purpose, to see that each invariant finds one.

A mutation changes a function or a table of the node for as long as it is applied. `find` runs seeds under it until one
is broken; tests/sim/test_mutations.py runs those that were found. What an invariant is worth shows here: one that no
mutation breaks may as well not be there.

    python -m tests.sim.mutations [NAME ...] [--seeds A..B]     which seeds find which mutation, and by what
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any
from unittest.mock import patch

from mls.mode import PLAIN
from mls.virtual import client
from mls.virtual.announcements import Created
from tests.sim.plan import Size, draw
from tests.sim.seeds import Result, run
from vcd.core import (
    contents,
    delivery,
    devices,
    flow,
    founding,
    inputs,
    intents,
    keys,
    leaves,
    linking,
    missed,
    node,
    outbox,
    raw_care,
    raw_heard,
    renaming,
    retention,
    rotation,
    siblings,
    stock,
    stored,
)
from vcd.core.accounts.book import Book, Learned
from vcd.core.accounts.card import InboxSecret
from vcd.core.duties import Duty
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.ordering import choice, votes
from vcd.core.ordering.graph import Graph, Member
from vcd.core.payloads import Commit, Invite
from vcd.core.spoken import Held
from vcd.core.strand import Strand
from vcd.core.turn import Turn

Apply = Callable[[], Any]


@dataclass(frozen=True)
class Mutation:
    """A bug, the invariant that it is for, and a seed in which that finds it."""

    name: str
    breaks: str
    apply: Apply
    seed: int


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _instead(module: Any, name: str, function: Callable[..., Any]) -> Apply:
    return lambda: patch.object(module, name, function)


def _without_duty(duty: Duty) -> Apply:
    return lambda: patch.dict(node.DUTIES, {duty: _nothing})


def _without_moved(room: Any) -> Apply:
    return lambda: patch.object(flow, "MOVED", tuple(each for each in flow.MOVED if each is not room.moved))


def _without_handler(kind: type[Any]) -> Apply:
    return lambda: patch.dict(node.HANDLERS, {kind: _nothing})


# ---------------------------------------------------------------- bugs


@contextmanager
def _forgets_what_was_told() -> Iterator[None]:
    plain = contents.take

    def take(turn: Turn, group_id: Any, name: Any, held: Held, horizon: int, read: bytes = b"") -> bool:
        talk = turn.talk(group_id)
        turn.put_talk(replace(talk, seen=talk.seen.discard(name)))
        return plain(turn, group_id, name, held, horizon, read)

    with patch.object(contents, "take", take):
        yield


@contextmanager
def _cuts_messages() -> Iterator[None]:
    plain = contents.show

    def show(turn: Turn, talk: Any, name: Any, held: Held) -> Any:
        return plain(turn, talk, name, replace(held, content=replace(held.content, data=held.content.data[:-1])))

    with patch.object(contents, "show", show):
        yield


@contextmanager
def _takes_the_first() -> Iterator[None]:
    """A commit on anything but the head is dropped: what came first stands."""
    plain = flow.PAYLOADS[Commit]

    def on_commit(turn: Turn, group_id: GroupId, payload: Commit, frame: FrameId) -> None:
        if payload.signed.step.parent == turn.strand(group_id).head:
            plain(turn, group_id, payload, frame)

    with patch.dict(flow.PAYLOADS, {Commit: on_commit}):
        yield


@contextmanager
def _ignores_our_others() -> Iterator[None]:
    plain = delivery.heard

    def heard(turn: Turn, strand: Strand, epoch: EpochId, opened: keys.Opened, message: bytes) -> None:
        if not opened.ours:
            plain(turn, strand, epoch, opened, message)

    with patch.object(delivery, "heard", heard):
        yield


@contextmanager
def _never_deletes_rows() -> Iterator[None]:
    plain = stored.changes

    def changes(before: Any, after: Any) -> Any:
        put, _ = plain(before, after)
        return put, []

    with patch.object(stored, "changes", changes):
        yield


def _ranks_by_chance() -> Any:
    """Seniority that is another one whenever somebody looks."""
    looks = itertools.count()
    return patch.object(Member, "rank", property(lambda member: (not member.admin, next(looks) % 3, 0, b"")))


def _tells_nobody() -> Any:
    return patch.object(devices, "ANNOUNCED", {**devices.ANNOUNCED, Created: _nothing})


@contextmanager
def _forgets_to_rotate() -> Iterator[None]:
    with patch.object(rotation, "_groups", lambda _: []), patch.object(leaves, "due", lambda *_: False):
        yield


def _offers_all_but_one() -> Any:
    plain = stock._offer
    return _instead(stock, "_offer", lambda turn, references: plain(turn, references[1:]))()


def _final_by_any_vote(graph: Graph, ballots: votes.Ballots) -> Any:
    at = graph.anchor.epoch
    while voted := [each for each in graph.children(at) if ballots.has_child(each)]:
        at = max(voted)
    return at


def _takes_so_many(turn: Turn, group_id: Any, name: Any, *rest: Any) -> bool:
    talk = turn.talk(group_id)
    return (name in talk.seen or len(talk.seen) < 16) and _TAKE(turn, group_id, name, *rest)


_TAKE = contents.take


def _at_once_again(turn: Turn, subject: bytes) -> None:
    turn.due(Duty.DIGEST, subject, turn.now + 1)


def _without_news(kind: type[Any]) -> Apply:
    """Devices take no notice when another one tells them this."""
    return lambda: patch.dict(siblings.handlers(), {kind: _nothing})


@contextmanager
def _one_inbox_for_ever() -> Iterator[None]:
    """The secret of an account's inbox follows from nothing but the recovery phrase: here, from who it is."""
    plain = founding._moved_in

    def moved_in(provider: Any, made: Any, *rest: Any) -> Any:
        inbox = InboxSecret(made.edition.account[:32])
        with patch.object(founding, "InboxSecret", lambda _: inbox):
            return plain(provider, made, *rest)

    with patch.object(founding, "_moved_in", moved_in):
        yield


@contextmanager
def _never_comes_again() -> Iterator[None]:
    """A Welcome to an account that was recovered is dropped."""
    plain = flow.INBOX[Invite]

    def on_invite(turn: Turn, *rest: Any) -> None:
        edition = turn.state.book.edition
        if edition is None or edition.head.authority.term < 1000:
            plain(turn, *rest)

    with patch.dict(flow.INBOX, {Invite: on_invite}):
        yield


@contextmanager
def _believes_the_first_list() -> Iterator[None]:
    plain = Book.learn

    def learn(book: Book, head: Any) -> Learned:
        return plain(book, head) if book.find(head.account) is None else Learned(book=book)

    with patch.object(Book, "learn", learn):
        yield


@contextmanager
def _forgets_that_an_app_spoke() -> Iterator[None]:
    plain = client.seal

    def seal(emulation: Any, group: Any, *rest: Any, **more: Any) -> Any:
        sealed = plain(emulation, group, *rest, **more)
        return replace(sealed, group=group) if group.mode is PLAIN and more else sealed

    with patch.object(client, "seal", seal):
        yield


def _no_late_messages() -> Any:
    return patch.object(raw_care, "PAST_LIFE", 1)


def _raises(*_: Any) -> None:
    raise KeyError("a bug")


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("forgets what was told", "told_once", _forgets_what_was_told, 1),
    Mutation("cuts messages", "told_what_was_said", _cuts_messages, 1),
    Mutation("says again to anybody", "told_to_its_readers", _instead(outbox, "strangers", lambda *_: ()), 3),
    Mutation("one vote is enough", "final_is_for_good", _instead(choice, "final", _final_by_any_vote), 6),
    Mutation("keeps epochs for ever", "windows", _without_duty(Duty.RETAIN), 1),
    Mutation("keeps as many as come", "bounded", _instead(retention, "_in_order", lambda *_: []), 1),
    Mutation("forgets that it sealed", "no_nonce_twice", _instead(keys, "with_value", lambda strand, *_: strand), 1),
    Mutation("takes the first", "one_head", _takes_the_first, 144),
    Mutation("never hands over", "one_home", _instead(linking, "_look", _nothing), 1),
    Mutation("never votes", "all_final", _without_duty(Duty.VOTE), 1),
    Mutation("wants, and looks no more", "wishes_end", _without_moved(intents), 3),
    Mutation("ignores our other devices", "all_read", _ignores_our_others, 1),
    Mutation("sends for ever", "nothing_left", _without_handler(inputs.Published), 1),
    Mutation("offers all but one", "packages_can_be_had", _offers_all_but_one, 1),
    Mutation("takes so many messages and no more", "probes_read", _instead(contents, "take", _takes_so_many), 10),
    Mutation("begins no graph anew", "little_kept", _instead(retention, "_may_begin", lambda *_: False), 1),
    Mutation("deletes no rows", "stored", _never_deletes_rows, 2),
    Mutation("ticks for ever", "runaway", lambda: patch.dict(node.DUTIES, {Duty.DIGEST: _at_once_again}), 1),
    Mutation("raises", "raised", lambda: patch.dict(node.HANDLERS, {inputs.Reached: _raises}), 1),
    Mutation("ranks by chance", "one_roster", _ranks_by_chance, 0),
    Mutation("tells nobody of what it opened", "siblings_agree", _tells_nobody, 4),
    Mutation("forgets to rotate", "thieves_read_nothing", _forgets_to_rotate, 2),
    Mutation("labels for itself", "labels_agree", _without_news(siblings.Labeled), 8),
    Mutation("looks no more for a name", "names_agree", _instead(renaming, "push", _nothing), 8),
    Mutation("tells no delegate", "keys_agree", _without_news(siblings.NewDelegateKey), 12),
    Mutation("removes contacts for itself", "contacts_agree", _without_news(siblings.ContactRemoved), 12),
    Mutation("believes the first list", "recovered_is_known", _believes_the_first_list, 4),
    Mutation("never comes again", "recovered_is_back", _never_comes_again, 4),
    Mutation("has one inbox for ever", "lost_stay_out", _one_inbox_for_ever, 4),
    Mutation("knows no author", "apps_told_what_was_said", _instead(raw_heard, "_account", _nothing), 4),
    Mutation("follows nobody else", "apps_rest", _instead(raw_heard, "_follow", _nothing), 16),
    Mutation("comes in alone", "apps_agree", _without_news(siblings.RawTold), 20),
    Mutation("reads nothing late", "apps_read", _no_late_messages, 24),
    Mutation("forgets that an app spoke", "no_nonce_twice", _forgets_that_an_app_spoke, 32),
    Mutation("cannot speak before others do", "apps_speak", _instead(raw_care, "look", _nothing), 16),
    Mutation("keeps leaves in apps", "app_thieves_read_nothing", _instead(raw_care, "renewing", lambda *_: False), 60),
    Mutation("gives up on what met", "all_read", _instead(missed, "_met", _nothing), 110),
    Mutation("keeps keys past their time", "old_messages_are_gone", _without_duty(Duty.RETAIN), 424),
)


def under(mutation: Mutation, seed: int) -> Result:
    """A seed with that bug."""
    with mutation.apply():
        return run(seed)


@cache
def _good(seed: int) -> bool:
    return draw(seed).size is Size.SMALL and not run(seed).broken


def find(mutation: Mutation, seeds: range) -> tuple[int | None, dict[str, int]]:
    """The first seed in which the invariant finds it that it is for; and how often each one found it until then.

    Only seeds that are good without it count.
    """
    found: dict[str, int] = {}
    for seed in seeds:
        if not _good(seed):
            continue
        result = under(mutation, seed)
        if result.broken:
            found[result.invariant] = found.get(result.invariant, 0) + 1
            if result.invariant == mutation.breaks:
                return seed, found
    return None, found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutations", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--seeds", default="1..60", metavar="A..B")
    given = parser.parse_args()
    first, _, last = given.seeds.partition("..")
    missed = 0
    for mutation in MUTATIONS:
        if given.names and mutation.name not in given.names:
            continue
        seed, found = find(mutation, range(int(first), int(last) + 1))
        missed += seed is None
        print(
            f"{mutation.name}: {mutation.breaks} {'in no seed' if seed is None else f'in seed {seed}'}; {found}",
            flush=True,
        )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
