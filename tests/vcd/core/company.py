"""Bringing people together by hand, for tests of one room: what intents and invitations do, without either.

act(village, "anna", lambda turn: acting.commit(turn, turn.strand(TEA), force_path=True))     any call of a room
gather(village, TEA, Mode.LEAD, "anna", "ben", "cleo")                                        a conversation
plain = Plain(village, "dora")                                                                an ordinary MLS client
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

from mls import group as mls
from mls.credential import BasicCredential
from mls.key_package import KeyPackage, create_key_package
from mls.leaf_node import Lifetime, default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment
from mls.registries import ExtensionType
from mls.virtual import client, stock
from tests.vcd.core.village import Village
from vcd.core import acting, conversations, flow, inputs, kinds, ourselves
from vcd.core.events import Event
from vcd.core.names import EpochId, GroupId
from vcd.core.ordering.graph import Anchor
from vcd.core.policy import Mode, Policy
from vcd.core.strand import Strand
from vcd.core.turn import Turn, conversation_judge

T = TypeVar("T")


def step(village: Village, name: str, what: Callable[[Turn], T]) -> T:
    """Let a device do something as its node would, in a step of its own; nobody hears of it yet."""
    device = village.devices[name]
    turn = Turn(device.state, village.now, device.provider)
    flow.clock(turn, counts=True)
    found = what(turn)
    flow.settle(turn)
    flow.finish(turn, device.state)
    device.state = turn.state
    device.events += turn.events
    device.refused += turn.refused
    told: list[Event] = []
    for effect in turn.effects:
        told += village._run(device, effect)
    return found


def act(village: Village, name: str, what: Callable[[Turn], T]) -> T:
    """The same, and everybody hears of it."""
    found = step(village, name, what)
    village.deliver()
    return found


def show_up(village: Village, group_id: GroupId, *names: str) -> None:
    """Newcomers give themselves their first fresh leaf, as they would by themselves soon."""
    for name in names:
        act(village, name, lambda turn: acting.commit(turn, turn.strand(group_id), force_path=True))
        village.wait(seconds=60)


def package(village: Village, name: str) -> KeyPackage:
    """A KeyPackage of an account."""

    def make(turn: Turn) -> KeyPackage:
        offer = ourselves.offer(turn)
        batch = stock.make_batch(turn.emulation, turn.env, [offer])
        turn.change(emulation=batch.emulation)
        return batch.released(announced=True)[0]

    return step(village, name, make)


def add(village: Village, host: str, group_id: GroupId, package: KeyPackage) -> bytes:
    """Let somebody commit an Add, and wait until it stands there; gives the Welcome."""
    made = act(
        village, host, lambda turn: acting.commit(turn, turn.strand(group_id), proposals=[Add(package)])[1].commit
    )
    strand = village.state(host).strands[group_id]
    assert strand.graph.is_ancestor(EpochId(made.group.epoch_id), strand.head)
    assert made.welcome is not None
    return made.welcome


def bring(village: Village, host: str, group_id: GroupId, guest: str) -> None:
    """Bring an account into a conversation."""
    welcome = add(village, host, group_id, package(village, guest))
    theirs = village.state(host).strands[group_id]
    anchor = Anchor(
        epoch=theirs.head, number=theirs.graph.number(theirs.head), members=theirs.graph.members(theirs.head)
    )

    def enter(turn: Turn) -> None:
        parameters = kinds.parameters_of(theirs.mode)
        joined = client.join(turn.emulation, turn.env, parameters, welcome)
        turn.change(emulation=joined.emulation)
        conversations.enter(turn, joined.group)
        strand = turn.strand(group_id)
        turn.put(replace(strand, graph=type(strand.graph)(anchor)), graph=True)

    act(village, guest, enter)


def gather(village: Village, group_id: GroupId, mode: Mode, *people: str, policy: Policy | None = None) -> None:
    """A conversation of several accounts, who are made if they are not there."""
    for name in people:
        if name not in village.devices:
            village.account(name)
    village.do(people[0], inputs.Open(conversation=group_id, mode=mode, policy=policy))
    for guest in people[1:]:
        bring(village, people[0], group_id, guest)


def strand_of(village: Village, name: str, group_id: GroupId) -> Strand:
    return village.state(name).strands[group_id]


class Plain:
    """An ordinary MLS client: it knows one epoch, adopts nothing before it is told to, and cannot go back."""

    def __init__(self, village: Village, name: str) -> None:
        provider = village.world(name)
        self.env = Environment(provider=provider, authentication=conversation_judge(provider), now=village.now)
        suite = provider.suite(1)
        private, _ = suite.scheme.generate(provider.random)
        self.package = create_key_package(
            self.env,
            1,
            credential=BasicCredential(name.encode()),
            signature_private=private,
            capabilities=default_capabilities((1,), extensions=(ExtensionType.APP_DATA_DICTIONARY,)),
            lifetime=Lifetime(village.now // 1000 - 3600, village.now // 1000 + 30 * 24 * 3600),
        )
        self.group: mls.Group | None = None
        self.heard: list[bytes] = []

    def join(self, welcome: bytes) -> None:
        self.group, _ = mls.join(self.env, Parameters(), welcome, [self.package])

    @property
    def here(self) -> mls.Group:
        assert self.group is not None
        return self.group

    def receive(self, message: bytes) -> None:
        """What is carried to it."""
        event = mls.receive(self.here, self.env, message)
        self.group = event.group
        if isinstance(event, mls.ApplicationMessage):
            self.heard.append(event.data)
