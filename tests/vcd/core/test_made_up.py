"""What hostile devices and members make up ends no daemon: every kind of record, with fields that fit and do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from hashlib import sha256
from random import Random
from typing import Any, get_args

import pytest

from mls.errors import MlsError
from mls.virtual.announcements import Announcement, decode_announcement, encode_announcement
from tests.conftest import LONG
from tests.vcd.core import people
from tests.vcd.core.branches import payload_of
from tests.vcd.core.homes import link
from tests.vcd.core.made_up import Maker
from tests.vcd.core.talking import say
from tests.vcd.core.village import Village
from vcd.core import devices, effects, flow, inputs, keys, lead, node, sending, siblings, steps, stored, voting, waiting
from vcd.core.accounts.overrule import Overrule
from vcd.core.errors import NodeError
from vcd.core.names import EpochId, FrameId, GroupId, IntentId
from vcd.core.ordering.graph import Member, Step
from vcd.core.payloads import (
    Decision,
    Nomination,
    Payload,
    Post,
    Said,
    SignedBallot,
    SignedStep,
    pack,
    pack_said,
    unpack,
)
from vcd.core.policy import Mode, Policy
from vcd.core.record import encode
from vcd.core.turn import Turn
from vcd.core.wanting import Intent

EACH = 500 if LONG else 80
"""Values of every kind. 80 find what once ended daemons: leaves that no tree has, wishes that cannot be."""
TOGETHER = 6
"""How much a device hears before it is set back."""
AFTERWARDS = 4
"""How often a device wakes up with what it has heard."""

RECORDS: tuple[Any, ...] = get_args(siblings.Sibling)
ANNOUNCEMENTS: tuple[Any, ...] = get_args(Announcement)
PAYLOADS: tuple[Any, ...] = get_args(Payload)
LED, SENT = GroupId(b"led"), GroupId(b"of send groups")
PLACES = [
    *((where, kind) for where in ("home", "chat", "led") for kind in PAYLOADS if kind in {*flow.PAYLOADS}),
    *(("sent", kind) for kind in PAYLOADS if kind in {*sending._PAYLOADS}),
    *(("inbox", kind) for kind in PAYLOADS if kind in {*flow.INBOX}),
]
"""Which payloads come where."""


@cache
def village() -> Village:
    """Anna's laptop and two more devices, one of which is stolen, and two others, in a conversation and on the way."""
    made = people.friends("laptop", "bob", "carol")
    people.open_talk(made, "laptop", "bob", "carol")
    people.open_talk(made, "bob", "laptop", group=LED, mode=Mode.LEAD)
    people.open_talk(made, "bob", "laptop", group=SENT, mode=Mode.DIMLS)
    for group in (people.TEA, LED, SENT):
        say(made, "bob", "before the others came", group)
    link(made, "laptop", "phone")
    link(made, "laptop", "stolen")
    people.open_talk(made, "bob", "carol", group=GroupId(b"cake"))
    made.do("laptop", inputs.RawCreate(group=GroupId(b"an app's")))
    made.wait(minutes=2)
    people.invite(made, "bob", "laptop", group=GroupId(b"cake"))
    made.do("phone", inputs.Label(what=people.TEA, text="tea"))
    made.do("phone", inputs.Depart(intent=IntentId(b"a wish to be gone"[:16]), conversation=people.TEA))
    for group in (people.TEA, LED, SENT):
        say(made, "laptop", "on its way", group)
    return made


class Liar:
    """A device that signs what it makes up, as the member that it is of a group."""

    def __init__(self, name: str, random: Random, group_id: GroupId | None) -> None:
        state, self.name = village().state(name), name
        assert group_id is not None
        self.strand = state.strands[group_id]
        self.provider, self.random = village().devices[name].provider, random
        self.maker = Maker(random, [*(village().state(each) for each in village().devices), *_heard(), *_wanted()])
        self.maker.finish = {
            SignedStep: self._signed,
            SignedBallot: self._cast,
            Decision: self._decided,
            Nomination: self._nominated,
            Intent: self._wish,
        }
        self._suite = self.provider.suite(self.strand.cipher_suite)
        here, me = self.strand.here, voting.own(state, self.strand)
        assert here is not None
        assert me is not None
        self._key, self._me = here.group.signature_key, me

    def _signed(self, said: SignedStep) -> SignedStep:
        """Mostly as a commit of this member's on an epoch that there is."""
        step, random = said.step, self.random
        if random.random() < 0.8:
            parent = self._epoch()
            epoch = step.epoch if random.random() < 0.3 else EpochId(random.randbytes(32))
            step = replace(step, author=self._me, parent=parent, epoch=epoch, under=0, root=False)
            step = replace(step, adds=tuple(self._comer(each, step) for each in step.adds))
        return steps.signed(self._suite, self._key, step) if random.random() < 0.9 else said

    def _epoch(self) -> EpochId:
        """One that there is."""
        graph = self.strand.graph
        return self.random.choice([graph.anchor.epoch, self.strand.head, *sorted(graph.steps)])

    def _decided(self, said: Decision) -> Decision:
        """Mostly as the member that leads."""
        if self.random.random() < 0.8:
            said = replace(said, author=self._me, parent=self._epoch())
        content = self.strand.group_id + encode(replace(said, signature=b""))
        return replace(said, signature=self._suite.sign_with_label(self._key, lead._DECISION, content))

    def _nominated(self, said: Nomination) -> Nomination:
        if self.random.random() < 0.8:
            said = replace(said, voter=self._me, epoch=self._epoch())
        content = self.strand.group_id + encode(replace(said, signature=b""))
        return replace(said, signature=self._suite.sign_with_label(self._key, lead._NOMINATION, content))

    def _comer(self, member: Member, step: Step) -> Member:
        """Mostly as somebody who comes in by that commit."""
        if self.random.random() < 0.8:
            number = self.strand.graph.number(step.parent) + 1
            member = replace(member, by=self._me, since=number, acted=self.strand.home)
            if member.leaf < 1 << 32:
                member = replace(member, incarnation=steps.incarnation(step.epoch, member.leaf))
        return member

    def _wish(self, intent: Intent) -> Intent:
        """Mostly one that the device which hears of it is to carry out."""
        if self.random.random() < 0.8:
            state = village().state("laptop")
            strand = state.strands[people.TEA]
            me = voting.own(state, strand)
            assert me is not None
            device = state.me.device
            intent = replace(intent, group_id=people.TEA, decided_on=strand.head, author=me)
            intent = replace(intent, device=device, origin=device)
        return intent

    def _cast(self, said: SignedBallot) -> SignedBallot:
        ballot, graph, random = said.ballot, self.strand.graph, self.random
        child = random.choice([ballot.child, *sorted(graph.steps)])
        header = graph.steps.find(child) or self.maker.make(Step)
        if random.random() < 0.8:
            ballot = replace(ballot, voter=self._me, child=child, parent=header.parent)
        at = self.strand.head if random.random() < 0.5 else said.at
        return steps.cast(self._suite, self._key, ballot, at, self.strand.group_id, header)


def _wanted() -> Iterator[object]:
    """What nobody there has said, and could have."""
    yield Policy()
    edition = village().state("laptop").book.edition
    assert edition is not None
    several = tuple(replace(each, delegate=True) for each in edition.devices.devices)
    yield Overrule(authority=edition.head.authority.delegate, keeper=several[0].device, stay=several)


def _heard() -> Iterator[object]:
    """All that devices of the village told each other."""
    emulation = village().state("laptop").emulation
    assert emulation is not None
    form = emulation.settings.profile.form
    for name in village().devices:
        for each in village().state(name).household.said.values():
            yield siblings.unpack(each.data) if each.data[0] >= siblings.MARK else decode_announcement(each.data, form)
    for frame in village().log:
        payload = payload_of(village(), frame)
        if payload is not None:
            yield payload


class Victim:
    """A device that hears something and goes on with it for a while; after some of that it is as it was."""

    def __init__(self, name: str = "laptop") -> None:
        self.name, self.heard = name, 0
        self._reset()

    def _reset(self) -> None:
        self.state, self.now = village().state(self.name), village().now

    def hear(self, what: Callable[[Turn], None]) -> None:
        before, provider = self.state, village().devices[self.name].provider
        turn = Turn(before, self.now, provider)
        flow.clock(turn, counts=True)
        what(turn)
        flow.settle(turn)
        flow.finish(turn, before)
        self.state = turn.state
        for _ in range(AFTERWARDS):
            self.now = max(self.now, self.state.clock.wake_at)
            self.state = node.step(self.state, inputs.Tick(), self.now, provider).state
        stored.changes(before, self.state)
        self.heard += 1
        if self.heard % TOGETHER == 0:
            self._reset()


def tell(liar: Liar, victim: Victim, data: bytes) -> None:
    """Its sibling hears that from it."""
    turn = Turn(village().state(liar.name), village().now, liar.provider)
    try:
        devices._told(turn, data)
    except (MlsError, NodeError):  # it cannot be said
        return
    for each in turn.effects:
        if isinstance(each, effects.Publish):
            frame = inputs.Arrived(frame=FrameId(sha256(each.payload).digest()), topic=each.topic, payload=each.payload)
            victim.hear(partial(flow.arrived, frame=frame))


def show(victim: Victim, group_id: GroupId, payload: Payload) -> None:
    """It is shown that, by who can seal it for that topic."""
    try:
        found = unpack(pack(payload))
    except NodeError:
        return
    frame = FrameId(sha256(pack(payload)).digest())
    victim.hear(lambda turn: flow.deliver(turn, group_id, found, frame))


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_records_of_a_stolen_device(kind: type[Any]) -> None:
    victim, liar = Victim(), Liar("stolen", Random(kind.__name__), village().state("stolen").home)
    for _ in range(EACH):
        tell(liar, victim, siblings.pack(liar.maker.make(kind)))


@pytest.mark.parametrize("kind", ANNOUNCEMENTS, ids=lambda kind: kind.__name__)
def test_announcements_of_a_stolen_device(kind: type[Any]) -> None:
    victim, liar = Victim(), Liar("stolen", Random(kind.__name__), village().state("stolen").home)
    emulation = village().state("stolen").emulation
    assert emulation is not None
    form = emulation.settings.profile.form
    for _ in range(EACH):
        try:
            data = encode_announcement(liar.maker.make(kind), form)
        except (MlsError, ValueError, OverflowError):  # it has no bytes
            continue
        tell(liar, victim, data)


@pytest.mark.parametrize(("where", "kind"), PLACES, ids=lambda each: getattr(each, "__name__", each))
def test_payloads(where: str, kind: type[Any]) -> None:
    """Of members, in all kinds of groups, and of who has our card."""
    at = {"led": LED, "home": village().state("laptop").home}.get(where) or people.TEA
    victim, liar = Victim(), Liar("stolen" if where == "home" else "bob", Random(f"{where} {kind.__name__}"), at)
    for _ in range(EACH):
        show(victim, {"sent": SENT, "inbox": waiting.INBOX}.get(where) or at, liar.maker.make(kind))


@pytest.mark.parametrize("kind", get_args(Said), ids=lambda kind: kind.__name__)
def test_what_a_member_says(kind: type[Any]) -> None:
    victim, liar = Victim(), Liar("bob", Random(kind.__name__), people.TEA)
    for _ in range(EACH):
        turn = Turn(village().state("bob"), village().now, liar.provider)
        sealed = keys.seal(turn, turn.strand(people.TEA), pack_said(liar.maker.make(kind)))
        show(victim, people.TEA, Post(epoch=sealed.epoch, message=sealed.message))
