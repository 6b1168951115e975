"""Conversations that fork, for tests of how they heal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from mls.proposals import Remove
from mls.registries import GroupId, LeafIndex
from mls.virtual import client
from tests.vcd.core.company import act, add, package, show_up, step, strand_of
from tests.vcd.core.village import Frame, Village
from vcd.core import acting, conversations, inputs, kinds, summaries, topics
from vcd.core.config import Config
from vcd.core.names import EpochId
from vcd.core.payloads import Payload, SignedStep, unpack
from vcd.core.policy import Mode, Policy
from vcd.core.strand import Strand
from vcd.core.turn import Turn

TEA = GroupId(b"tea")


def bring(village: Village, host: str, guest: str) -> None:
    """Bring an account into the conversation, with what led there."""
    if guest not in village.devices:
        village.account(guest)
    welcome = add(village, host, TEA, package(village, guest))
    told = summaries.lineage(tea(village, host))

    def enter(turn: Turn) -> None:
        joined = client.join(turn.emulation, turn.env, kinds.parameters_of(tea(village, host).mode), welcome)
        turn.change(emulation=joined.emulation)
        conversations.enter(turn, joined.group)
        summaries.take(turn, TEA, told)

    act(village, guest, enter)


def talk(*people: str, mode: Mode = Mode.DEMLS, policy: Policy | None = None, seed: int = 1, **config: Any) -> Village:
    """A conversation of several accounts, all of whom made a commit, and in which nothing is left to decide."""
    village = Village(seed, config=replace(Config(), **config))
    for name in people:
        village.account(name)
    village.do(people[0], inputs.Open(conversation=TEA, mode=mode, policy=policy))
    for guest in people[1:]:
        bring(village, people[0], guest)
    village.wait(seconds=60)
    show_up(village, TEA, *people[1:])
    assert heads(village, *people) == finals(village, *people)
    assert len(heads(village, *people)) == 1
    return village


def tea(village: Village, name: str) -> Strand:
    return strand_of(village, name, TEA)


def heads(village: Village, *people: str) -> set[EpochId]:
    return {tea(village, name).head for name in people}


def finals(village: Village, *people: str) -> set[EpochId]:
    return {tea(village, name).final for name in people}


def commit(village: Village, name: str, *, heard: bool = True) -> EpochId:
    """A fresh leaf, on the head where that device stands."""
    run = act if heard else step
    said: SignedStep = run(village, name, lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True)[0])
    return said.step.epoch


def member(village: Village, by: str, whom: str) -> Any:
    strand = tea(village, by)
    return next(each for each in strand.graph.members(strand.head) if each.account == village.own(whom))


def remove(village: Village, by: str, whom: str, *, heard: bool = True) -> EpochId:
    proposal = Remove(LeafIndex(member(village, by, whom).leaf))
    run = act if heard else step
    said: SignedStep = run(village, by, lambda turn: acting.commit(turn, turn.strand(TEA), proposals=[proposal])[0])
    return said.step.epoch


def payload_of(village: Village, frame: Frame) -> Payload | None:
    """What is in a frame, by anybody who can open it."""
    for device in village.devices.values():
        joined = device.state.joined.find(frame.topic)
        if joined is not None:
            return unpack(topics.open_sealed(device.provider.suite(1), joined.keys, frame.payload))
    return None


def sent(village: Village, kind: type[Any], since: int = 0) -> Iterator[tuple[Frame, Any]]:
    """All that was sent of one kind."""
    for frame in village.log[since:]:
        found = payload_of(village, frame)
        if isinstance(found, kind):
            yield frame, found


def withhold(village: Village, which: Callable[[Payload | None], bool], *people: str) -> None:
    """From now on certain things do not reach certain devices."""
    village.lost = lambda frame, name: name in people and which(payload_of(village, frame))


def release(village: Village) -> None:
    village.lost = lambda _frame, _name: False
    village.deliver()


def forked(village: Village) -> None:
    """Anna's side wins, as it removes somebody; ben is on the other one."""
    village.part(["anna", "cleo"], ["ben"])
    commit(village, "ben")
    remove(village, "anna", "dora")
