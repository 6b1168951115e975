"""Whole nodes over a simulated mesh, with disks that outlive crashes, each with its own clock.

    world = World(seed)
    world.begin(device, state)                  a device starts with what it has stored
    world.command(device, inputs.Say(...))      now, or when it is up again; kept until it was stored or refused
    world.run_for(3_600_000)                    time goes by
    world.burn(device, 7)                       it will crash at the seventh boundary from now: before a step is stored,
                                                or between that and any of its effects
    world.split([...], [...]); world.heal()

A device is what `vcd.main` makes of a node, and no more: a step is stored, then its effects run; a frame that was read
and not stored is read again after a crash; a timer that was asked for comes, late but not early. What follows from an
effect (`Published`, `Fetched`) comes a moment later, so a crash may come in between.

Everything is drawn from the seed. `observers` see each step that was stored, and raise when it should not have been.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mls.key_package import KeyPackageSecrets
from mls.provider import Provider
from tests.sim.disk import Disk
from tests.sim.hashes import Ledger, World as Providers, world_provider
from tests.sim.network import Dispensers, published
from transport.base import Frame, FrameId, Link, PeerId, TopicId
from transport.memory.simulation import Simulation
from transport.memory.values import Conditions, Delivered, Happening, PeerChanged
from vcd.core import effects, inputs, node
from vcd.core.effects import Effect
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, DeviceId, FrameId as NodeFrameId, TopicId as NodeTopicId
from vcd.core.node import Outcome
from vcd.core.state import State
from vcd.core.topics import VERSION as TOPIC

AGAIN = 5_000
"""Until what the node put back is given again."""
MOMENT = 3
"""Milliseconds between an effect and what comes of it at once."""
SURVEY = 2_000
"""How long after a change of the network devices notice whom they reach."""
MEETING = 60_000
"""How often two devices that are to be linked look for each other."""
MOST_IN_A_MINUTE = 2_000
"""Steps of one device in a minute: more are a loop. A frame that it meets for the first time is none: who comes late
has as many to take in as others sent, and who sends in answer to them takes steps for that."""


class Stored(Ledger):
    """Counts what was sealed when the step is stored, and only what anybody sees of it.

    A step that is not stored is forgotten. A message that was sealed and not sent, because it was found wrong after
    all, is not counted either: a message is sent in the step that sealed it, or never.
    """

    def __init__(self) -> None:
        super().__init__(shared=TOPIC)
        self._now: list[tuple[str, str, Sequence[bytes], bytes, bytes, bytes]] = []

    def sealed(
        self, device: str, operation: str, key: Sequence[bytes], nonce: bytes, aad: bytes, plaintext: bytes
    ) -> None:
        self._now.append((device, operation, key, nonce, aad, plaintext))

    def keep(self, framed: Sequence[bytes] = ()) -> None:
        """The step is stored. `framed`: what apps are to send, beside what goes into topics."""
        now, self._now = self._now, []
        sent = b"".join([*framed, *[plaintext for _, _, _, _, aad, plaintext in now if aad == TOPIC]])
        for each in now:
            if not _unsent(each, sent):
                super().sealed(*each)

    def forget(self) -> None:
        self._now.clear()


def _unsent(seal: tuple[str, str, Sequence[bytes], bytes, bytes, bytes], sent: bytes) -> bool:
    """Whether this is the content, or the sender, of an MLS message that is not among what was sent."""
    _, operation, key, nonce, aad, plaintext = seal
    if operation != "seal" or not _of_message(aad):
        return False
    return AESGCM(key[0]).encrypt(nonce, plaintext, aad) not in sent


def _of_message(aad: bytes) -> bool:
    """RFC 9420 §6.3: whether it begins with a group's id, an epoch and a content type."""
    end = 1 + (aad[0] if aad else 64)
    return 8 < end < 64 and len(aad) > end + 8 and aad[end + 8] in (1, 2, 3)


class Runaway(AssertionError):
    """A device does something for ever."""


@dataclass
class Device:
    """A node and what is around it."""

    name: str
    provider: Provider
    disk: Disk
    skew: int = 0
    state: State | None = None
    """None while it does not run."""
    fuse: int | None = None
    """How many boundaries until it crashes."""
    down_for: int = 0
    """How long it stays down then."""
    asleep_since: int | None = None
    run: int = 0
    """How often it began; what was meant for an earlier run is not for this one."""
    timer: int = 0
    online: bool = False
    outside: list[Frame] = field(default_factory=list)
    """What it wrote to topics that it does not read, as others' inboxes are. Its mesh serves that after a crash too."""
    wishes: list[inputs.Input] = field(default_factory=list)
    """Commands that were not stored yet."""
    later: list[inputs.Input] = field(default_factory=list)
    """What came while it slept."""
    lost: bool = False
    """It will never come back."""
    hostile: bool = False
    package: KeyPackageSecrets | None = None
    """What a device that is being linked has in hand, with its secrets."""
    met: set[NodeFrameId] = field(default_factory=set)
    """Frames that came to it ever."""
    steps: int = 0
    """All but those that took in a frame for the first time."""
    minute: int = 0
    steps_before: int = 0
    """How many steps it had taken when that minute began."""

    @property
    def peer(self) -> PeerId:
        return PeerId(self.name)

    @property
    def runs(self) -> bool:
        return self.state is not None and self.asleep_since is None

    def burns(self) -> bool:
        """Whether it crashes at this boundary."""
        if self.fuse is None:
            return False
        self.fuse -= 1
        if self.fuse > 0:
            return False
        self.fuse = None
        return True


class Observer(Protocol):
    """Who looks at what happens, and raises `AssertionError` if it should not."""

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None: ...

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None: ...


class World:
    """See above."""

    def __init__(
        self,
        seed: int,
        *,
        real: bool = False,
        conditions: Conditions | None = None,
        sync_every: int = 60_000,
        mailbox: bool = True,
    ) -> None:
        self.real = real
        self.rng = random.Random(f"world {seed}")
        self.providers: Providers = world_provider(seed, real)
        self.ledger = Stored()
        self.providers.ledger = self.ledger
        self.mesh = Simulation(seed, conditions, degree=6, sync_every=sync_every)
        self.devices: dict[str, Device] = {}
        self.dispensers = Dispensers()
        self.mailbox = mailbox
        """Whether KeyPackages can be had while their devices are away."""
        self.observers: list[Observer] = []
        self.frames: dict[FrameId, Frame] = {}
        """All that were ever published, in order."""
        self.senders: dict[FrameId, str] = {}
        self.blank: dict[DeviceId, str] = {}
        """Devices that wait to be linked, or were."""
        self.counts: dict[str, int] = {}
        self.boundaries = 0
        """How many times a device could have crashed."""
        self.crash_at = 0
        """At which of these one does."""
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._numbered = 0
        self._survey_due = False
        self._groups: dict[str, int] = {}

    # ---------------------------------------------------------------- time

    @property
    def now(self) -> int:
        return self.mesh.now

    def clock(self, device: Device) -> int:
        return self.mesh.now + device.skew

    def at(self, when: int, what: Callable[[], None]) -> None:
        """Call this then."""
        self._numbered += 1
        heapq.heappush(self._due, (max(when, self.now), self._numbered, what))

    def after(self, delay: int, what: Callable[[], None]) -> None:
        self.at(self.now + delay, what)

    def run_for(self, duration: int) -> None:
        self.run_until(self.now + duration)

    def run_until(self, end: int) -> None:
        """Everything that happens up to then."""
        while True:
            theirs = self.mesh.next_at()
            mine = self._due[0][0] if self._due else None
            if theirs is not None and (mine is None or theirs <= mine):
                if theirs > end:
                    break
                happening = self.mesh.step()
                if happening is not None:
                    self._happened(happening)
            elif mine is not None and mine <= end:
                for happening in self.mesh.run_until(mine):
                    self._happened(happening)
                if self._due and self._due[0][0] <= self.now:
                    heapq.heappop(self._due)[2]()
            else:
                break
        for happening in self.mesh.run_until(end):
            self._happened(happening)

    # ---------------------------------------------------------------- devices

    def provider(self, name: str) -> Provider:
        return self.providers(name)

    def begin(self, name: str, disk: Disk, *, skew: int = 0, hostile: bool = False) -> Device:
        """A device is there for the first time."""
        device = Device(name, self.provider(name), disk, skew=skew, hostile=hostile)
        self.devices[name] = device
        self.mesh.add(device.peer, skew=skew)
        self._group_again()
        self._start(device)
        return device

    def _start(self, device: Device, *, restored: bool = False) -> None:
        device.run += 1
        device.state = device.disk.load(device.provider, restored=restored)
        device.online, device.asleep_since = False, None
        device.later.clear()
        self.give(device, inputs.Started())
        for frame in device.outside:
            self.mesh.join(device.peer, frame.topic)
            self.mesh.publish(device.peer, frame)
        self._survey_soon()
        self._fulfil(device)

    def _fulfil(self, device: Device) -> None:
        """What apps wanted while it was not there."""
        wishes, device.wishes = device.wishes, []
        for wish in wishes:
            self.after(MOMENT, partial(self._command, device, wish))

    def crash(self, device: Device, down_for: int | None = None) -> None:
        """Everything that was not stored is gone."""
        self._count("crashes")
        device.state = None
        device.fuse = None
        device.asleep_since = None
        self.mesh.crash(device.peer)
        for topic in list(self.mesh.topics_of(device.peer)):
            self.mesh.leave(device.peer, topic)
        if down_for is None:
            down_for = device.down_for
        run = device.run
        self.after(down_for, lambda: self.restart(device) if device.run == run else None)

    def restart(self, device: Device, disk: Disk | None = None) -> None:
        """It starts with what it has stored; with a disk, with an older one."""
        if device.lost or device.state is not None:
            return
        if disk is not None:
            self._count("restored")
            device.disk = disk
        kept = [FrameId(each) for each in device.disk.frames]
        self.mesh.restart(device.peer, kept=kept)
        self._start(device, restored=disk is not None)

    def lose(self, device: Device) -> Disk:
        """For good. What it had stored is in somebody's hands."""
        if device.state is not None:
            self.crash(device, 0)
        device.lost = True
        return device.disk.copy()

    def sleep(self, device: Device) -> None:
        if device.runs:
            device.asleep_since = self.now
            self.mesh.crash(device.peer)

    def wake(self, device: Device) -> None:
        """It goes on where it was, and does not know at first how long that took."""
        if device.asleep_since is None or device.state is None:
            return
        slept, device.asleep_since = self.now - device.asleep_since, None
        self.mesh.restart(device.peer, kept=[FrameId(each) for each in device.disk.frames])
        self.give(device, inputs.Slept(milliseconds=slept))
        later, device.later = device.later, []
        for given in later:
            self.give(device, given)
        self._set_timer(device, device.disk.state.clock.wake_at)
        self._survey_soon()
        self._fulfil(device)

    def burn(self, device: Device, boundaries: int, down_for: int) -> None:
        """Let it crash at one of the next boundaries."""
        device.fuse, device.down_for = boundaries, down_for

    # ---------------------------------------------------------------- what a device does

    def command(self, name: str, given: inputs.Input) -> None:
        """What an app wants: given until it was stored or refused."""
        device = self.devices[name]
        if device.runs:
            self._command(device, given)
        elif not device.lost:
            device.wishes.append(given)

    def _command(self, device: Device, given: inputs.Input) -> None:
        if not device.runs:
            device.wishes.append(given)
            return
        try:
            stored = self.give(device, given)
        except Misuse as reason:
            for observer in self.observers:
                observer.refused(device, given, reason)
            return
        if not stored:
            device.wishes.append(given)

    def give(self, device: Device, given: inputs.Input) -> bool:
        """One step; says whether it was stored."""
        if device.state is None:
            return False
        if device.asleep_since is not None:
            device.later.append(given)
            return False
        self._notice(device, given)
        before = device.state
        self.ledger.forget()
        outcome = node.step(before, given, self.clock(device), device.provider)
        if self._burns(device):
            self.crash(device)
            return False
        self.ledger.keep([each.data for each in outcome.state.raw_frames.values()])
        device.state = outcome.state
        frame = given.frame if isinstance(given, inputs.Arrived) else None
        device.disk.keep(outcome, frame)
        for rule, _ in outcome.refused:
            self._count("refused " + rule)
        for topic, back in outcome.put_back:
            again = inputs.Arrived(frame=back, topic=topic, payload=self.frames[FrameId(back)].payload, again=True)
            self._then(device, again, AGAIN)
        for observer in self.observers:
            observer.stepped(device, before, given, outcome)
        for effect in outcome.effects:
            if self._burns(device):
                self.crash(device)
                break
            self._run(device, effect)
        return True

    def _burns(self, device: Device) -> bool:
        """Whether a device crashes at this boundary, which is one of all devices' and one of its own."""
        self.boundaries += 1
        return device.burns() or self.boundaries == self.crash_at

    def _notice(self, device: Device, given: inputs.Input) -> None:
        """Somebody who does too much in a short time does it for ever."""
        self._count("steps")
        if isinstance(given, inputs.Arrived) and given.frame not in device.met:
            device.met.add(given.frame)
            return
        device.steps += 1
        minute = self.now // 60_000
        if device.minute != minute:
            device.minute, device.steps_before = minute, device.steps
        elif device.steps - device.steps_before > MOST_IN_A_MINUTE:
            raise Runaway(f"{device.name} took {MOST_IN_A_MINUTE} steps in a minute")

    def _then(self, device: Device, given: inputs.Input, delay: int = MOMENT) -> None:
        """What comes of an effect, unless the device is another run by then."""
        run = device.run

        def come() -> None:
            if device.run == run:
                self.give(device, given)

        self.after(delay, come)

    def _run(self, device: Device, effect: Effect) -> None:
        match effect:
            case effects.Join():
                self.mesh.join(device.peer, TopicId(effect.topic))
                self._survey_soon()
            case effects.Leave():
                self.mesh.leave(device.peer, TopicId(effect.topic))
            case effects.Publish():
                self._publish(device, effect)
            case effects.Wake():
                self._set_timer(device, effect.at)
            case effects.Synchronize():
                for neighbor in list(self.mesh.neighbors(device.peer, TopicId(effect.topic)))[:1]:
                    self.mesh.synchronize(device.peer, neighbor, TopicId(effect.topic))
            case effects.Met():
                pass  # nobody here has to be found
            case effects.FetchPackage():
                self._fetch(device, effect.account)
            case effects.OfferPackages():
                assert device.state is not None
                account = device.state.book.own
                assert account is not None
                for reference, package in zip(effect.references, effect.packages, strict=True):
                    self.dispensers.offer(account, device.name, reference, package.encode())
                self._then(device, inputs.Offered(references=effect.references))
            case effects.TakeBackPackages():
                self.dispensers.take_back(effect.references)
                self._then(device, inputs.TakenBack(references=effect.references))
            case effects.HandOver():
                self._hand_over(device, effect)

    def _publish(self, device: Device, effect: effects.Publish) -> None:
        frame = published(effect, real=self.real)
        if frame.id not in self.frames:
            self.frames[frame.id] = frame
            self.senders[frame.id] = device.name
        if frame.topic not in self.mesh.topics_of(device.peer):
            self.mesh.join(device.peer, frame.topic)  # somebody's inbox: to write to it is not to read it
        if device.state is not None and NodeTopicId(frame.topic) not in device.state.joined:
            device.outside.append(frame)
        self.mesh.publish(device.peer, frame)
        device.disk.frames[NodeFrameId(frame.id)] = None
        self._count("published")
        self._then(device, inputs.Published(number=effect.number))

    def _set_timer(self, device: Device, at: int) -> None:
        if not at:
            return
        device.timer += 1
        run, timer = device.run, device.timer

        def ring() -> None:
            if device.run == run and device.timer == timer and device.runs:
                self.give(device, inputs.Tick())

        self.at(max(at - device.skew, self.now), ring)

    def _fetch(self, device: Device, account: AccountId) -> None:
        def answer() -> None:
            if not device.runs:
                return
            reach = [other.name for other in self.devices.values() if self._reaches(device, other)]
            found = self.dispensers.fetch(account, reach)
            package = None if found is None else found[2]
            self.give(device, inputs.Fetched(account=account, package=package))
            if found is not None:
                offering = self.devices[found[0]]
                if offering.runs:
                    self.give(offering, inputs.GivenOut(reference=found[1], left=found[3]))

        run = device.run
        self.after(200, lambda: answer() if device.run == run else None)

    def _reaches(self, device: Device, other: Device) -> bool:
        """Whether KeyPackages of that device can be had: of itself, or where it left them."""
        if self.mailbox:
            return True
        return other.runs and self._group(device) == self._group(other)

    def _hand_over(self, device: Device, effect: effects.HandOver) -> None:
        """By a channel that takes both to be there, as soon as they are."""
        new, run = self.devices[self.blank[effect.device]], device.run
        package = new.package

        def meet() -> None:
            if device.run != run or package is None or new.lost:
                return
            if device.runs and new.runs and self._group(device) == self._group(new):
                self.command(new.name, inputs.Linked(welcome=effect.welcome, packages=(package,)))
            else:
                self.after(MEETING, meet)

        self.after(200, meet)

    # ---------------------------------------------------------------- the network

    def _happened(self, happening: Happening) -> None:
        match happening:
            case Delivered(node=name, frame=frame):
                device = self.devices[name]
                if device.state is not None and NodeTopicId(frame.topic) in device.state.joined:
                    arrived = inputs.Arrived(
                        frame=NodeFrameId(frame.id), topic=NodeTopicId(frame.topic), payload=frame.payload
                    )
                    self._count("delivered")
                    self.give(device, arrived)
            case PeerChanged(node=name, link=link):
                device = self.devices[name]
                if link is Link.AWAY and device.online and not self.mesh.neighbors(device.peer):
                    device.online = False
                    self.give(device, inputs.Online(online=False))
                self._survey_soon()
            case _:
                pass

    def _survey_soon(self) -> None:
        if not self._survey_due:
            self._survey_due = True
            self.after(SURVEY, self._survey)

    def _survey(self) -> None:
        """Every device notices whom it reaches now."""
        self._survey_due = False
        for device in list(self.devices.values()):
            if not device.runs:
                continue
            online = bool(self.mesh.neighbors(device.peer))
            if online is not device.online:
                device.online = online
                self.give(device, inputs.Online(online=online))
            if device.state is None or not device.runs:
                continue
            for topic, joined in sorted(device.state.joined.items()):
                peers = len(self.mesh.neighbors(device.peer, TopicId(topic)))
                if peers != joined.peers and device.runs:
                    self.give(device, inputs.Reached(topic=topic, peers=peers))

    def split(self, *groups: Sequence[str]) -> None:
        """Devices of different groups do not reach each other; the rest are one group more."""
        self._count("splits")
        self._groups = {name: number for number, names in enumerate(groups, start=1) for name in names}
        self._group_again()

    def heal(self) -> None:
        self._groups = {}
        self._group_again()

    def calm(self, conditions: Conditions) -> None:
        """Other lines from now on."""
        names = [PeerId(name) for name in self.devices]
        for place, name in enumerate(names):
            for other in names[:place]:
                self.mesh.link(name, other, conditions)

    def _group(self, device: Device) -> int:
        return self._groups.get(device.name, 0)

    def _group_again(self) -> None:
        numbers = sorted({number for number in self._groups.values() if number})
        groups = [
            [PeerId(name) for name in self._groups if self._groups[name] == number and name in self.devices]
            for number in numbers
        ]
        self.mesh.partition(*groups)

    def inject(self, device: Device, frame: Frame) -> None:
        """A frame that no honest node made, put into the mesh by this device."""
        self.frames.setdefault(frame.id, frame)
        self.senders.setdefault(frame.id, device.name)
        if device.runs:
            if frame.topic not in self.mesh.topics_of(device.peer):
                self.mesh.join(device.peer, frame.topic)
            self.mesh.publish(device.peer, frame)
            device.disk.frames[NodeFrameId(frame.id)] = None
            self._count("injected")

    # ---------------------------------------------------------------- counting

    def _count(self, name: str, number: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + number

    def count(self, name: str, number: int = 1) -> None:
        self._count(name, number)
