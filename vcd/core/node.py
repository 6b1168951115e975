"""The node's one call: `step(state, input, now, provider)` gives the next state, and what follows.

    outcome = step(state, Arrived(frame=..., topic=..., payload=...), now, provider)
    store(outcome.state, outcome.events)        in one transaction
    run(outcome.effects)                        after it, in order

It has no clock, no disk and no socket, and the same state and input give the same outcome wherever the provider's
randomness is the same. A step that raises has changed nothing: `Misuse` is the caller's mistake, anything else is a
bug here. Whatever comes from others is taken, kept for later, or dropped and counted in `Outcome.refused`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from mls.provider import Provider
from vcd.core import (
    agenda,
    calls,
    certificates,
    contacts,
    conversations,
    delivery,
    desync,
    devices,
    flow,
    inputs,
    intents,
    invitations,
    labels,
    lead,
    linking,
    ordinary,
    outbox,
    overruling,
    partitions,
    raw,
    raw_care,
    raw_heard,
    reissue,
    renaming,
    retention,
    rotation,
    sending,
    sessions,
    stock,
    summaries,
    upkeep,
    voting,
    waiting,
    whereabouts,
)
from vcd.core.duties import Duty
from vcd.core.effects import Effect
from vcd.core.events import Event
from vcd.core.names import FrameId, TopicId
from vcd.core.policy import Mode
from vcd.core.state import State
from vcd.core.turn import Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a step gives."""

    state: State
    events: tuple[Event, ...]
    effects: tuple[Effect, ...]
    put_back: tuple[tuple[TopicId, FrameId], ...] = ()
    """Frames that the node has no room for, of this step or of earlier ones: nothing came of them. Give them again
    after a while (`Arrived.again`), also after a start."""
    refused: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """What came from others and was dropped: a rule's name, and a word more."""


def _tick(turn: Turn, _: inputs.Tick) -> None:
    """Everything whose time has come, each once."""
    turn.change(clock=replace(turn.state.clock, wake_at=0))  # this was it: what is due at once needs another one
    for duty, subject in agenda.of(turn.state.agenda, turn.state.duties).ready(turn.now):
        wanted = turn.state.duties.find((duty, subject))
        if wanted is None or wanted > turn.now:
            continue  # what was done before it in this step did it too, or put it off
        turn.not_due(duty, subject)
        DUTIES[duty](turn, subject)
        flow.settle(turn)


def _by_mode(sends: Callable[[Turn, Any], None], plain: Callable[[Turn, Any], None]) -> Callable[[Turn, Any], None]:
    """Conversations of send groups have rooms of their own."""

    def handle(turn: Turn, command: Any) -> None:
        (sends if sessions.is_here(turn, command.conversation) else plain)(turn, command)

    return handle


def _open(turn: Turn, command: inputs.Open) -> None:
    (sending.open_ if command.mode is Mode.DIMLS else conversations.open_)(turn, command)


def _fetched(turn: Turn, got: inputs.Fetched) -> None:
    if not calls.fetched(turn, got):
        intents.fetched(turn, got)


HANDLERS: dict[type[Any], Callable[[Turn, Any], None]] = {
    inputs.Started: flow.started,
    inputs.Tick: _tick,
    inputs.Slept: flow.slept,
    inputs.Arrived: flow.arrived,
    inputs.Published: flow.published,
    inputs.Online: flow.online,
    inputs.Reached: flow.reached,
    inputs.Here: whereabouts.here,
    inputs.Fetched: _fetched,
    inputs.Offered: stock.offered,
    inputs.GivenOut: stock.given_out,
    inputs.TakenBack: stock.taken_back,
    inputs.Say: _by_mode(sending.say, outbox.say),
    inputs.SayAgain: outbox.say_again,
    inputs.Open: _open,
    inputs.Invite: _by_mode(calls.invite, intents.invite),
    inputs.Remove: _by_mode(sending.remove, intents.remove),
    inputs.Depart: _by_mode(sending.depart, intents.depart),
    inputs.Refresh: _by_mode(sending.refresh, intents.refresh),
    inputs.ChangePolicy: _by_mode(sending.change_policy, intents.change_policy),
    inputs.Answer: _by_mode(calls.answer, invitations.answer),
    inputs.AddContact: contacts.add,
    inputs.Verify: contacts.verify,
    inputs.Block: contacts.block,
    inputs.RemoveContact: contacts.remove,
    inputs.Label: labels.give,
    inputs.Certify: certificates.give,
    inputs.LinkDevice: linking.link,
    inputs.Linked: linking.linked,
    inputs.RenameDevice: renaming.rename,
    inputs.RemoveDevice: rotation.remove,
    inputs.SetRules: overruling.set_rules,
    inputs.Overrule: overruling.ask,
    inputs.Countersign: overruling.countersign,
    inputs.ComeBack: desync.come_back,
    inputs.Carry: ordinary.carry,
    inputs.RawCreate: raw.create,
    inputs.RawOffer: raw.offer,
    inputs.RawJoin: raw.join,
    inputs.RawPropose: raw.propose,
    inputs.RawCommit: raw.commit,
    inputs.RawProtect: raw.protect,
    inputs.RawPut: raw_heard.put,
    inputs.RawTaken: raw.taken,
    inputs.RawForget: raw_care.forget,
}

DUTIES: dict[Duty, Callable[[Turn, bytes], None]] = {
    Duty.VOTE: voting.cast,
    Duty.DIGEST: summaries.compare,
    Duty.RETAIN: retention.forget,
    Duty.INTENT: intents.retry,
    Duty.RELAY: outbox.relay,
    Duty.RETURN: outbox.give_back,
    Duty.ASK: waiting.ask,
    Duty.EXPIRE: waiting.expire,
    Duty.STOCK: stock.replenish,
    Duty.ROTATE: rotation.next_step,
    Duty.UPDATE: upkeep.update,
    Duty.STALE: upkeep.evict,
    Duty.REISSUE: reissue.again,
    Duty.DESYNC: desync.recover,
    Duty.QUIET: conversations.speak,
    Duty.SPLIT: partitions.tired,
    Duty.LEAD: lead.choose,
    Duty.TOPICS: flow.leave_topics,
    Duty.SEEN: delivery.forget,
    Duty.PLACE: whereabouts.show,
    Duty.CERTIFY: certificates.show,
    Duty.ORDER: delivery.order,
    Duty.HOME: devices.chore,
    Duty.ANSWER: summaries.answer,
    Duty.PROPOSED: upkeep.commit_proposals,
    Duty.REPLY: invitations.reply,
    Duty.TEND: sending.tend,
    Duty.RAW: raw_care.tend,
}


def step(state: State, given: inputs.Input, now: int, provider: Provider) -> Outcome:
    """See above. `now` is milliseconds since 1970, by this device's clock."""
    turn = Turn(state, now, provider)
    flow.clock(turn, counts=not isinstance(given, inputs.Started))
    HANDLERS[type(given)](turn, given)
    flow.settle(turn)
    flow.finish(turn, state)
    return Outcome(
        state=turn.state,
        events=tuple(turn.events),
        effects=tuple(turn.effects),
        put_back=tuple((topic, frame) for frame, topic in turn.put_back.items()),
        refused=tuple(turn.refused),
    )
