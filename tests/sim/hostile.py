"""What a hostile member does, beside what its node does: it has all keys of a member, and keeps no rules.

It carries frames again, under other expiry or in other topics; alters what it has opened, and seals it anew; makes
noise; goes back to what it once was and acts from there, so that one leaf makes two commits on one epoch; votes for
every child that it knows; signs headers that say what their commits do not. It does not break cryptography.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from mls.errors import MlsError
from tests.sim.expected import Expected, Utterance, accounts_of
from tests.sim.network import frame_of
from tests.sim.world import Device, World
from transport.base import Frame
from vcd.core import effects, inputs, node, steps
from vcd.core.errors import Misuse, NodeError
from vcd.core.names import EpochId, IntentId
from vcd.core.node import Outcome
from vcd.core.ordering.graph import Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Commit, Payload, Votes, pack
from vcd.core.policy import DAY
from vcd.core.state import Joined, State
from vcd.core.strand import Kept, Strand
from vcd.core.topics import open_sealed, seal

MOST_PASTS = 12


@dataclass
class Hand:
    """The hostile hand at one device."""

    world: World
    device: Device
    expected: Expected
    rng: random.Random
    pasts: list[State] = field(default_factory=list)
    """What the device once was."""
    numbered: int = 0

    def __post_init__(self) -> None:
        self.world.observers.append(self)
        self.provider = self.world.provider(f"{self.device.name} again")

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        del given
        if device is self.device and before.strands is not outcome.state.strands and self.rng.random() < 0.2:
            self.pasts.append(before)
            if len(self.pasts) > MOST_PASTS:
                self.pasts.pop(self.rng.randrange(MOST_PASTS))

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        """Of no interest."""

    def act(self) -> None:
        if self.device.runs:
            what = self.rng.choice(HOSTILITIES)
            self.world.count(f"hostile {what.__name__}")
            try:
                what(self)
            except (MlsError, NodeError, ValueError):  # it was not possible: there are other ways
                self.world.count("hostile in vain")

    # ---------------------------------------------------------------- carrying

    def _state(self) -> State:
        assert self.device.state is not None
        return self.device.state

    def _topic(self) -> Joined | None:
        joined = [each for _, each in sorted(self._state().joined.items())]
        return self.rng.choice(joined) if joined else None

    def _heard(self) -> tuple[Frame, Joined] | None:
        """Some frame that it can open."""
        known = self._state().joined
        frames = [frame for frame in self.world.frames.values() if frame.topic in known]  # type: ignore[operator]
        if not frames:
            return None
        frame = self.rng.choice(frames)
        return frame, known[frame.topic]  # type: ignore[index]

    def _send(self, joined: Joined, sealed: bytes) -> None:
        keys = joined.keys
        expires = self.world.now + self.rng.randint(1, 30 * DAY)
        frame = frame_of(keys.name, keys.seed, sealed, expires, real=self.world.real)
        self.world.inject(self.device, frame)

    def _send_payload(self, joined: Joined, data: bytes) -> None:
        self._send(joined, seal(self.provider.suite(1), joined.keys, data))

    def carry_again(self) -> None:
        found = self._heard()
        if found is not None:
            self._send(found[1], found[0].payload)

    def carry_elsewhere(self) -> None:
        found, joined = self._heard(), self._topic()
        if found is not None and joined is not None:
            self._send_payload(joined, self._opened(*found))

    def _opened(self, frame: Frame, joined: Joined) -> bytes:
        return open_sealed(self.provider.suite(1), joined.keys, frame.payload)

    def alter_sealed(self) -> None:
        found = self._heard()
        if found is not None:
            self._send(found[1], self._flipped(found[0].payload))

    def alter_opened(self) -> None:
        found = self._heard()
        if found is not None:
            self._send_payload(found[1], self._flipped(self._opened(*found)))

    def _flipped(self, data: bytes) -> bytes:
        if self.rng.random() < 0.2:
            return data[: self.rng.randrange(len(data))]
        at = self.rng.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self.rng.randrange(8))]) + data[at + 1 :]

    def make_noise(self) -> None:
        joined = self._topic()
        if joined is not None:
            noise = self.rng.randbytes(self.rng.choice((0, 1, 30, 300, 3000)))
            if self.rng.random() < 0.5:
                self._send(joined, noise)
            else:
                self._send_payload(joined, noise)

    # ---------------------------------------------------------------- acting from the past

    def act_again(self) -> None:
        """Do something that the device might have done when it was what it was."""
        if not self.pasts:
            return
        state = self.rng.choice(self.pasts)
        strands = [strand for _, strand in sorted(state.strands.items()) if not strand.home]
        if not strands:
            return
        strand = self.rng.choice(strands)
        given = self._deed(strand)
        outcome = node.step(state, given, self.world.clock(self.device), self.provider)
        if isinstance(given, inputs.Say):
            self._said(given, outcome.state)
        self._publish(outcome)
        if self.rng.random() < 0.5:
            self.pasts.append(outcome.state)

    def _deed(self, strand: Strand) -> inputs.Input:
        intent, group_id = IntentId(self.rng.randbytes(16)), strand.group_id
        others = sorted(accounts_of(strand) - {self._state().book.own})
        deeds: list[inputs.Input] = [inputs.Refresh(intent=intent, conversation=group_id)]
        deeds += [inputs.Remove(intent=intent, conversation=group_id, account=each) for each in others]
        self.numbered += 1
        data = b"message %d of another %s" % (self.numbered, self.device.name.encode())
        deeds.append(inputs.Say(conversation=group_id, nonce=self.rng.randbytes(16), data=data))
        return self.rng.choice(deeds)

    def _said(self, given: inputs.Say, state: State) -> None:
        strand, own = state.strands[given.conversation], state.book.own
        assert own is not None
        self.expected.said[given.data] = Utterance(
            data=given.data,
            conversation=given.conversation,
            sender=own,
            device=self.device.name,
            at=self.world.now,
            epoch=strand.head,
            audience=accounts_of(strand),
        )

    def _publish(self, outcome: Outcome) -> None:
        for effect in outcome.effects:
            if isinstance(effect, effects.Publish):
                frame = frame_of(effect.topic, effect.seed, effect.payload, effect.expires, real=self.world.real)
                self.world.inject(self.device, frame)

    # ---------------------------------------------------------------- votes and headers

    def _group(self) -> tuple[Strand, Kept, Joined] | None:
        """A conversation that it stands in, and where that is heard."""
        strands = [strand for _, strand in sorted(self._state().strands.items()) if not strand.home]
        found = []
        for strand in strands:
            here = strand.here
            for _, joined in sorted(self._state().joined.items()):
                if here is not None and joined.secret == here.topic:
                    found.append((strand, here, joined))
        return self.rng.choice(found) if found else None

    def vote_for_all(self) -> None:
        """For every child of an epoch, in every round so far."""
        found = self._group()
        if found is None:
            return
        strand, here, joined = found
        me = steps.at_leaf(strand.graph.members(strand.head), here.group.own_leaf)
        forks = [
            each for each in (strand.graph.anchor.epoch, *sorted(strand.graph.steps)) if strand.graph.children(each)
        ]
        if me is None or not forks:
            return
        parent = self.rng.choice(forks)
        ballots = tuple(
            steps.cast(
                here.group.suite,
                here.group.signature_key,
                Ballot(voter=me.incarnation, parent=parent, round=number, child=child),
                strand.head,
                strand.group_id,
                strand.graph.steps[child],
            )
            for child in strand.graph.children(parent)
            for number in range(self.rng.randint(1, 3))
        )
        self._send_payload(joined, pack(Votes(ballots=ballots)))

    def lie_in_a_header(self) -> None:
        """Sign something else than what a commit does."""
        found = self._group()
        if found is None:
            return
        strand, here, joined = found
        if not strand.bodies or not strand.graph.steps:
            return
        epoch = self.rng.choice(sorted(strand.bodies))
        step = strand.graph.steps.find(EpochId(epoch))
        if step is None:
            return
        said = steps.signed(here.group.suite, here.group.signature_key, self._twisted(strand, step))
        payload: Payload = Commit(signed=said, message=strand.bodies[epoch])
        self._send_payload(joined, pack(payload))

    def _twisted(self, strand: Strand, step: Step) -> Step:
        members = strand.graph.members(step.parent)
        me = next((each for each in members if each.account == self._state().book.own), members[0])
        return self.rng.choice(
            (
                replace(step, epoch=EpochId(self.rng.randbytes(32))),
                replace(step, author=me.incarnation),
                replace(step, removes=tuple(each.incarnation for each in members if each is not me)),
                replace(step, tag=b"\xff" * len(step.tag)),
                replace(step, root=True),
            )
        )


HOSTILITIES: tuple[Callable[[Hand], None], ...] = (
    Hand.carry_again,
    Hand.carry_elsewhere,
    Hand.alter_sealed,
    Hand.alter_opened,
    Hand.make_noise,
    Hand.act_again,
    Hand.act_again,
    Hand.vote_for_all,
    Hand.lie_in_a_header,
)
