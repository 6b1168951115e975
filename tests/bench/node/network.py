"""A village (`tests.vcd.core.village`) for measuring: the same devices and topics, but what it costs to carry frames
does not grow with what was carried before, and every step is timed.

Each step gives a `Sample`: what it was, how long it took, the primitives it called, and the rows that it wrote. A tick
is named by what was due (`tick:vote`), a frame by what was in it and where (`hear:post`, `home:post`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from time import perf_counter

from mls.provider import Provider
from tests.bench.node.counting import Counted, Counts
from tests.providers import SeededProvider
from tests.vcd.core.village import Device, Frame, Village
from vcd.core import effects, inputs, node, stored, topics
from vcd.core.config import Config
from vcd.core.effects import Effect
from vcd.core.errors import Malformed
from vcd.core.events import Event
from vcd.core.names import FrameId, TopicId
from vcd.core.payloads import unpack
from vcd.core.state import State


@dataclass(frozen=True, slots=True)
class Sample:
    """One step."""

    kind: str
    device: str
    ms: float
    counts: Counts
    rows: int
    bytes: int
    store_ms: float
    """What it took to find the rows."""


class Providers:
    """Seeded, with the real primitives; counted if asked for."""

    def __init__(self, seed: int, *, counted: bool) -> None:
        self._root, self._counted = SeededProvider(seed), counted
        self._made: dict[str, Provider] = {}

    def __call__(self, name: str) -> Provider:
        if name not in self._made:
            stream = self._root.fork(name)
            self._made[name] = Counted(stream) if self._counted else stream
        return self._made[name]


Held = tuple[Device, Frame]


@dataclass
class Log:
    """Of one topic."""

    frames: list[Frame] = field(default_factory=list)
    known: set[FrameId] = field(default_factory=set)


class Net(Village):
    """See above."""

    def __init__(
        self,
        seed: int = 1,
        *,
        config: Config | None = None,
        counted: bool = False,
        stores: bool = False,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        super().__init__(seed, config=config)
        self.providers = Providers(seed, counted=counted)
        self.world = self.providers  # type: ignore[assignment] # whatever gives a device its provider will do
        self.clock, self.counted, self.stores = clock, counted, stores
        self.samples: list[Sample] = []
        self.recording = False
        self.frames = 0
        self.size = 0
        self._logs: dict[TopicId, Log] = {}
        self._has: dict[FrameId, set[int]] = {}
        """In which parts of the network a frame is."""
        self._queue: deque[Held] = deque()
        self._holding: dict[str, list[Held]] = {}
        self.kept_back: list[Held] = []

    # Steps

    def step(self, name: str, given: inputs.Input) -> list[Event]:
        device = self.devices[name]
        before = device.state
        kind = self._kind(device, given) if self.recording else ""
        counts = device.provider.counts if isinstance(device.provider, Counted) else {}
        were = dict(counts)
        clock = self.clock
        start = clock()
        outcome = node.step(before, given, self.now, device.provider)
        taken = clock() - start
        device.state = outcome.state
        device.events += outcome.events
        device.refused += outcome.refused
        if self.recording:
            self._record(kind, device, before, taken, {name: counts[name] - were[name] for name in counts})
        told = list(outcome.events)
        for effect in outcome.effects:
            told += self._run(device, effect)
        return told

    def _record(self, kind: str, device: Device, before: State, taken: float, counts: Counts) -> None:
        rows = size = 0
        storing = 0.0
        if self.stores:
            start = self.clock()
            put, gone = stored.changes(before, device.state)
            storing = self.clock() - start
            rows = len(put) + len(gone)
            size = sum(len(row[1]) + len(data) for row, data in put.items())
        self.samples.append(Sample(kind, device.name, taken * 1000, counts, rows, size, storing * 1000))

    def _kind(self, device: Device, given: inputs.Input) -> str:
        if isinstance(given, inputs.Tick):
            due = sorted({key[0].name.lower() for key, at in device.state.duties.items() if at <= self.now})
            return "tick:" + "+".join(due)
        if not isinstance(given, inputs.Arrived):
            return type(given).__name__.lower()
        joined = device.state.joined.find(given.topic)
        if joined is None:
            return "hear:nothing"
        try:
            payload = unpack(topics.open_sealed(device.provider.suite(1), joined.keys, given.payload))
        except Malformed:
            return "hear:garbage"
        where = "home" if joined.group_id == device.state.home else "hear"
        return f"{where}:{type(payload).__name__.lower()}"

    # The mesh

    def _run(self, device: Device, effect: Effect) -> list[Event]:
        match effect:
            case effects.Join():
                if effect.topic not in device.topics:
                    device.topics.add(effect.topic)
                    for frame in self._log(effect.topic).frames:
                        self._offer(device, frame)
                return []
            case effects.Publish():
                name = FrameId(sha256(effect.topic + effect.payload).digest())
                log = self._log(effect.topic)
                device.has.add(name)
                self._has.setdefault(name, set()).add(device.group)
                if name not in log.known:
                    log.known.add(name)
                    frame = Frame(name, effect.topic, effect.payload, effect.expires, device.name)
                    log.frames.append(frame)
                    self.frames += 1
                    self.size += len(effect.payload)
                    for other in self.devices.values():
                        self._offer(other, frame)
                return self.step(device.name, inputs.Published(number=effect.number))
            case effects.OfferPackages():  # the newest first: older ones may show a list that is superseded
                shelf = self.packages.setdefault(self.own(device.name), [])
                offered = zip(effect.references, effect.packages, strict=True)
                new = {name: package.encode() for name, package in offered if name not in self.offered}
                self.offered |= new
                shelf[:0] = new.values()
                return self.step(device.name, inputs.Offered(references=effect.references))
            case _:
                return super()._run(device, effect)

    def _log(self, topic: TopicId) -> Log:
        return self._logs.setdefault(topic, Log())

    def _offer(self, device: Device, frame: Frame) -> None:
        if frame.topic in device.topics and frame.id not in device.has:
            held = self._holding.get(device.name)
            (self._queue if held is None else held).append((device, frame))

    def deliver(self) -> None:
        while self._queue:
            device, frame = self._queue.popleft()
            if frame.id in device.has or frame.topic not in device.topics or not device.up:
                continue
            if frame.expires <= self.now or device.group not in self._has[frame.id]:
                continue
            device.has.add(frame.id)
            self.step(device.name, inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))

    def part(self, *groups: Sequence[str]) -> None:
        super().part(*groups)
        for log in self._logs.values():
            for frame in log.frames:
                self._has[frame.id] = {each.group for each in self.devices.values() if frame.id in each.has}
        self.survey()

    def heal(self) -> None:
        """All hear what they missed, in the order that it was said in on each topic."""
        self.part()
        for device in list(self.devices.values()):
            for topic in sorted(device.topics):
                for frame in self._log(topic).frames:
                    self._offer(device, frame)
        self.deliver()

    def survey(self) -> None:
        """Everybody notices how many others are in each topic now, where that has changed."""
        for device in list(self.devices.values()):
            for topic in sorted(device.topics):
                peers = sum(
                    other is not device and other.group == device.group and topic in other.topics
                    for other in self.devices.values()
                )
                known = device.state.joined.find(topic)
                if known is not None and known.peers != peers:
                    self.step(device.name, inputs.Reached(topic=topic, peers=peers))
        self.deliver()

    # What is held back

    def hold(self, name: str) -> list[Held]:
        """From now on nothing new reaches a device; the list fills with it."""
        held: list[Held] = []
        self._holding[name] = held
        return held

    def release(self, held: list[Held]) -> None:
        """What was held back arrives, in order."""
        self._holding.clear()
        self._queue.extend(held)
        self.deliver()

    def frames_by(self, name: str) -> list[tuple[TopicId, Frame]]:
        return [(topic, frame) for topic, log in self._logs.items() for frame in log.frames if frame.by == name]

    # What was measured

    def record(self, what: Callable[[], object]) -> list[Sample]:
        """The steps that something takes."""
        self.samples, self.recording = [], True
        try:
            what()
        finally:
            self.recording = False
        return self.samples
