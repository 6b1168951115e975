"""A conversation with a lead, for tests: who stands where, and lies that are told."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from tests.vcd.core.company import act, gather, step, strand_of
from tests.vcd.core.village import Village
from vcd.core import acting, flow, reign, topics
from vcd.core.config import Config
from vcd.core.names import DeviceId, EpochId, FrameId, GroupId, Incarnation
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Decision, Payload, unpack
from vcd.core.policy import Mode, Policy
from vcd.core.record import encode
from vcd.core.reign import Reign, leader
from vcd.core.strand import Strand
from vcd.core.turn import Turn

TEA = GroupId(b"tea")
P = TypeVar("P")


def village(*people: str, policy: Policy | None = None, config: Config | None = None) -> Village:
    found = Village(config=config)
    gather(found, TEA, Mode.LEAD, *(people or ("anna", "ben", "cleo")), policy=policy)
    return found


def strand(v: Village, name: str) -> Strand:
    return strand_of(v, name, TEA)


def said(v: Village, name: str) -> Reign:
    return v.state(name).talks[TEA].lead


def refresh(turn: Turn) -> EpochId:
    return acting.commit(turn, turn.strand(TEA), force_path=True)[0].step.epoch


def commit(v: Village, name: str) -> EpochId:
    """A commit that everybody hears of."""
    return act(v, name, refresh)


def heads(v: Village) -> set[EpochId]:
    return {strand(v, name).head for name in v.devices}


def member(v: Village, name: str) -> Incarnation:
    own = reign.own_member(strand(v, name), strand(v, name).head)
    assert own is not None
    return own.incarnation


def leads(v: Village, name: str) -> Incarnation:
    """Who leads, as far as that device knows."""
    mine = strand(v, name)
    return leader(mine, said(v, name), mine.head)


def payloads(v: Village, kind: type[P]) -> list[P]:
    """What of one kind is on the mesh."""
    found: list[P] = []
    for frame in v.log:
        for device in v.devices.values():
            joined = device.state.joined.find(frame.topic)
            if joined is not None:
                payload = unpack(topics.open_sealed(device.provider.suite(1), joined.keys, frame.payload))
                if isinstance(payload, kind):
                    found.append(payload)
                break
    return found


def vote(v: Village, name: str, voter: str, parent: EpochId, child: EpochId) -> None:
    """A vote for a step of the chain, as the room of votes would count it."""
    ballot = Ballot(voter=member(v, voter), parent=parent, round=0, child=child)

    def count(turn: Turn) -> None:
        mine = turn.strand(TEA)
        turn.put(replace(mine, ballots=mine.ballots.with_ballot(ballot)), graph=True)

    step(v, name, count)


def forged(v: Village, by: str, **parts: object) -> Decision:
    """A decision that somebody signs with its own key."""
    own = strand(v, by)
    group = own.kept[own.head].group
    made = Decision(parent=own.head, child=own.head, author=member(v, by), device=DeviceId(bytes(16)), signature=b"")
    made = replace(made, **parts)  # type: ignore[arg-type] # fields by name
    signature = group.suite.sign_with_label(group.signature_key, b"vcd decision", TEA + encode(made))
    return replace(made, signature=signature)


def give(v: Village, name: str, payload: Payload) -> None:

    frame = FrameId(encode(payload)[:32])
    step(v, name, lambda turn: flow.deliver(turn, TEA, payload, frame))
