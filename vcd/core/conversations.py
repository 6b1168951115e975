"""Conversations: opened, entered, and what the app is told of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls.virtual import client
from vcd.core import keys, kinds, ourselves, steps, waiting
from vcd.core.errors import Misuse
from vcd.core.names import FrameId, GroupId
from vcd.core.payloads import Payload, Post
from vcd.core.policy import Policy, of_group
from vcd.core.state import Talk
from vcd.core.strand import Strand, begun
from vcd.core.topics import topic_of
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from mls.state import Group
    from vcd.core import inputs
    from vcd.core.turn import Turn


def open_(turn: Turn, command: inputs.Open) -> None:
    """Open a conversation, with nobody else in it yet."""
    group_id, state = command.conversation, turn.state
    if group_id in state.strands or group_id in state.talks:
        return
    if len(state.talks) >= state.config.max_conversations:
        raise Misuse("too-many", "there are too many conversations here")
    own = state.book.own
    if own is None:
        raise Misuse("no-account", "this device has no account yet")
    policy = command.policy or Policy(mode=command.mode)
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
        sealed = keys.announce(turn, announcement)
        turn.publish(turn.home.kept[sealed.epoch].topic, Post(epoch=sealed.epoch, message=sealed.message))
    enter(turn, made.group)


def enter(turn: Turn, group: Group) -> None:
    """A conversation that we came into, whichever way, and did not know before."""
    mode = of_group(group).mode
    strand = begun(group, steps.founding(group), topic_of(group), mode, home=False)
    turn.put_talk(Talk(group_id=group.group_id, mode=mode))
    turn.put(strand, graph=True)
    waiting.wake(turn, (Need.GROUP, group.group_id))


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """Conversations: opened, entered, and what the app is told of them."""


def on_payload(turn: Turn, group_id: GroupId, payload: Payload, frame: FrameId) -> None:
    """For a conversation without a strand: one of mode DIMLS."""


def speak(turn: Turn, subject: bytes) -> None:
    """Duty QUIET."""
