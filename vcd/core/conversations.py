"""Conversations: opened, entered, and what the app is told of them.

The app hears who is in a conversation where its head is, which may be on a branch that loses; then it hears so again.
It hears when there is more than one branch and when that is over, and when we are no member any more. Of one that the
user has not accepted it hears nothing.

In mode EC1 nobody speaks for a while after a commit (`Policy.latency`), so that a rival commit still finds everybody on
the epoch that both of them end. What is said in that time waits in the outbox. However many commits come, a pause is
not longer than `PAUSES` of these.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.virtual import client
from vcd.core import contacts, contents, devices, kinds, ourselves, outbox, sessions, steps, waiting
from vcd.core.duties import Duty
from vcd.core.errors import Misuse
from vcd.core.events import Forked, Gone, MembersChanged
from vcd.core.names import AccountId, EpochId, GroupId
from vcd.core.policy import Mode, of_group, usual
from vcd.core.state import Acceptance, Talk
from vcd.core.strand import Membership, Strand, begun
from vcd.core.topics import topic_of
from vcd.core.waiting import Need
from vcd.core.wanting import Kind

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core import inputs
    from vcd.core.turn import Turn


def open_(turn: Turn, command: inputs.Open) -> None:
    """Open a conversation, with nobody else in it yet."""
    group_id, state = command.conversation, turn.state
    if group_id in state.strands or group_id in state.talks:
        return
    if group_id in state.raws:
        raise Misuse("group-exists", "an app's group has that name")
    if len(state.talks) >= state.config.max_conversations:
        raise Misuse("too-many", "there are too many conversations here")
    own = state.book.own
    if own is None:
        raise Misuse("no-account", "this device has no account yet")
    policy = command.policy or usual(command.mode)
    policy = replace(policy, mode=command.mode, admins=tuple(sorted({*policy.admins, own})))
    offer = ourselves.offer(turn)  # announces a key, so it comes before `turn.emulation` is taken
    made = client.create(
        turn.emulation,
        turn.env,
        kinds.parameters_of(command.mode),
        group_id,
        offer,
        extensions=kinds.conversation_extensions(policy),
    )
    turn.change(emulation=made.emulation)
    for announcement in made.announcements:
        devices.announce(turn, announcement)
    enter(turn, made.group)
    epoch = EpochId(made.group.epoch_id)
    turn.tell(MembersChanged(conversation=group_id, epoch=epoch, members=(own,), came=(own,), went=()))


def enter(turn: Turn, group: Group) -> None:
    """A conversation that we came into, whichever way, and did not know before."""
    mode = of_group(group).mode
    strand = begun(group, steps.founding(group), topic_of(group), mode, home=False)
    turn.put_talk(Talk(group_id=group.group_id, mode=mode))
    turn.put(strand, graph=True)
    contacts.tree(turn, group)
    waiting.wake(turn, (Need.GROUP, group.group_id))


PAUSES = 8


def accepted(turn: Turn, group_id: GroupId) -> None:
    """The user wants to be in it, or not: show what was held back, and say what waits."""
    contents.let_out(turn, group_id)
    outbox.flush(turn, group_id)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """The conversation stands elsewhere."""
    if after.home or after.group_id not in turn.state.talks:
        return
    if before.head != after.head:
        members_changed(turn, before, after)
        _pause(turn, after.group_id)
    _membership(turn, after)
    _branches(turn, after)


def emptied(turn: Turn, before: Strand, after: Strand) -> None:
    """We were alone in it, and left. No commit says so."""
    members_changed(turn, before, after)
    _membership(turn, after)
    _branches(turn, after)


def _accounts(strand: Strand, epoch: EpochId) -> tuple[AccountId, ...]:
    """Who is in an epoch, in order of rank, each once."""
    if not strand.graph.has(epoch):
        return ()
    return tuple(dict.fromkeys(each.account for each in strand.graph.members(epoch)))


def members_changed(turn: Turn, before: Strand, after: Strand) -> None:
    """Tell the app, if it is not the same people any more."""
    was, now = _accounts(before, before.head), _accounts(after, after.head)
    came, went = sorted(set(now) - set(was)), sorted(set(was) - set(now))
    if (came or went) and turn.talk(after.group_id).acceptance is Acceptance.YES:
        turn.tell(
            MembersChanged(
                conversation=after.group_id, epoch=after.head, members=now, came=tuple(came), went=tuple(went)
            )
        )


def _membership(turn: Turn, after: Strand) -> None:
    """Whether we are in it, and if not, whether we wanted that."""
    own, state = turn.state.book.own, turn.state
    if own not in _accounts(after, after.head):
        now = Membership.OUT
    else:
        now = Membership.IN if after.here is not None else Membership.LOST
    if now is after.membership:
        return
    turn.put(replace(turn.strand(after.group_id), membership=now))
    if now is not Membership.IN:
        waiting.wake_inbox(turn)
        sessions.free(turn, after.group_id)
    if now is Membership.OUT and turn.talk(after.group_id).acceptance is Acceptance.YES:
        wanted = any(each.kind is Kind.DEPART and each.group_id == after.group_id for each in state.intents.values())
        turn.tell(Gone(conversation=after.group_id, removed=not wanted))


def _branches(turn: Turn, after: Strand) -> None:
    """How many branches there are past the last final epoch, those aside that are void."""
    talk, graph, void = turn.talk(after.group_id), after.graph, after.standing.void
    count = 0
    todo = [after.final]
    while todo:
        below = [each for each in graph.children(todo.pop()) if each not in void]
        count += not below
        todo += below
    if count != talk.branches:
        turn.put_talk(replace(talk, branches=count))
        if count > 1 or talk.branches > 1:
            turn.tell(Forked(group=after.group_id, branches=count, over=count == 1))


def _pause(turn: Turn, group_id: GroupId) -> None:
    """EC1: a commit was seen, so nobody speaks for a while."""
    talk = turn.talk(group_id)
    here = turn.strand(group_id).here
    if talk.mode is not Mode.EC1 or here is None:
        return
    latency = of_group(here.group).latency
    since = talk.quiet_since if turn.now < talk.quiet_until else turn.now
    until = min(turn.now + latency, since + PAUSES * latency)
    turn.put_talk(replace(talk, quiet_since=since, quiet_until=until))
    turn.later(Duty.QUIET, group_id, until)


def speak(turn: Turn, subject: bytes) -> None:
    """Duty QUIET: say what waited."""
    outbox.flush(turn, GroupId(subject))
