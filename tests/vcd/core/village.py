"""Devices of several people in one place, for tests: everything that is published arrives at once, in order.

    village = Village()
    laptop = village.account("anna")                     an account and its first device
    village.do(laptop, inputs.Open(conversation=TEA))     a command; what follows from it is delivered
    village.part([laptop], [phone])                       from now on only these hear each other
    village.heal()                                        and now all hear what they missed
    village.wait(hours=3)                                 time goes by, and what is due is done

A topic is a log, as on the real mesh: who joins late hears what was said before, unless it has expired. Devices are
whole nodes; `village.state(laptop)` is a value. `village.loss` and `village.order` make delivery worse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TypeVar

from mls.provider import Provider
from tests.sim.hashes import World, world_provider
from vcd.core import effects, events, inputs, node
from vcd.core.accounts.identity import new_seed
from vcd.core.config import Config
from vcd.core.effects import Effect
from vcd.core.events import Event
from vcd.core.founding import new_account
from vcd.core.names import AccountId, FrameId, TopicId
from vcd.core.policy import DAY, HOUR, MINUTE, SECOND
from vcd.core.state import State

START = 1_800_000_000_000
E_ = TypeVar("E_")


@dataclass
class Frame:
    """One sealed payload in a topic's log."""

    id: FrameId
    topic: TopicId
    payload: bytes
    expires: int
    by: str


@dataclass
class Device:
    """A node, what it told its app, and what the mesh around it knows."""

    name: str
    provider: Provider
    state: State
    events: list[Event] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    put_back: list[tuple[TopicId, FrameId]] = field(default_factory=list)
    """Frames, to be given again."""
    topics: set[TopicId] = field(default_factory=set)
    has: set[FrameId] = field(default_factory=set)
    group: int = 0
    up: bool = True
    wake_at: int = 0
    effects: list[Effect] = field(default_factory=list)
    """What it asked for that this village does not do by itself."""


class Village:
    """See above."""

    def __init__(self, seed: int = 1, *, real: bool = False, config: Config | None = None) -> None:
        self.world: World = world_provider(seed, real)
        self.config = config or Config()
        self.now = START
        self.devices: dict[str, Device] = {}
        self.log: list[Frame] = []
        self.packages: dict[AccountId, list[bytes]] = {}
        self.offered: dict[bytes, bytes] = {}
        """Whatever was offered once is not taken again."""
        self.lost: Callable[[Frame, str], bool] = lambda _frame, _name: False
        """Whether a frame does not reach a device (yet): it will when this says so."""

    # People and devices

    def account(self, name: str) -> str:
        """A new account; the device has its name."""
        provider = self.world(name)
        state = new_account(provider, new_seed(provider), name, self.now, self.config)
        return self.move_in(name, provider, state)

    def move_in(self, name: str, provider: Provider, state: State) -> str:
        self.devices[name] = Device(name, provider, state)
        self.do(name, inputs.Started())
        self.do(name, inputs.Online(online=True))
        return name

    def state(self, name: str) -> State:
        return self.devices[name].state

    def own(self, name: str) -> AccountId:
        found = self.state(name).book.own
        assert found is not None
        return found

    # What happens

    def do(self, name: str, given: inputs.Input) -> list[Event]:
        """Give a device an input, and let everything that follows reach everybody."""
        told = self.step(name, given)
        self.deliver()
        return told

    def step(self, name: str, given: inputs.Input) -> list[Event]:
        """Give a device an input; what it publishes is in the logs, and nobody else has heard it yet."""
        device = self.devices[name]
        outcome = node.step(device.state, given, self.now, device.provider)
        device.state = outcome.state
        device.events += outcome.events
        device.refused += outcome.refused
        device.put_back += outcome.put_back
        told = list(outcome.events)
        for effect in outcome.effects:
            told += self._run(device, effect)
        return told

    def _run(self, device: Device, effect: Effect) -> list[Event]:
        match effect:
            case effects.Join():
                device.topics.add(effect.topic)
            case effects.Leave():
                device.topics.discard(effect.topic)
            case effects.Publish():
                frame_id = FrameId(sha256(effect.topic + effect.payload).digest())
                if frame_id not in device.has:
                    device.has.add(frame_id)
                    if all(frame.id != frame_id for frame in self.log):
                        frame = Frame(frame_id, effect.topic, effect.payload, effect.expires, device.name)
                        self.log.append(frame)
                return self.step(device.name, inputs.Published(number=effect.number))
            case effects.Wake():
                device.wake_at = effect.at
            case effects.OfferPackages():
                shelf = self.packages.setdefault(self.own(device.name), [])
                for reference, package in zip(effect.references, effect.packages, strict=True):
                    if reference not in self.offered:
                        self.offered[reference] = package.encode()
                        shelf.append(self.offered[reference])
                return self.step(device.name, inputs.Offered(references=effect.references))
            case effects.TakeBackPackages():
                device.effects.append(effect)
                gone = [self.offered.get(reference, b"") for reference in effect.references]
                for shelf in self.packages.values():
                    shelf[:] = [each for each in shelf if each not in gone]
                return self.step(device.name, inputs.TakenBack(references=effect.references))
            case effects.FetchPackage():
                stock = self.packages.get(effect.account, [])
                found = stock.pop(0) if stock else None
                return self.step(device.name, inputs.Fetched(account=effect.account, package=found))
            case effects.Synchronize():
                pass
            case _:
                device.effects.append(effect)
        return []

    def deliver(self) -> None:
        """Until nobody has anything new to hear."""
        moving = True
        while moving:
            moving = False
            for frame in list(self.log):
                if frame.expires <= self.now:
                    continue
                for device in list(self.devices.values()):
                    if frame.id in device.has or frame.topic not in device.topics or not device.up:
                        continue
                    if not self._reaches(frame, device) or self.lost(frame, device.name):
                        continue
                    device.has.add(frame.id)
                    moving = True
                    self.step(device.name, inputs.Arrived(frame=frame.id, topic=frame.topic, payload=frame.payload))

    def _reaches(self, frame: Frame, device: Device) -> bool:
        """Whether anybody in the same part of the network has the frame."""
        return any(
            other.up and other.group == device.group and frame.id in other.has for other in self.devices.values()
        )

    # The network, and time

    def part(self, *groups: Sequence[str]) -> None:
        """Only devices of one group hear each other; whoever is in none is alone with the others who are in none."""
        for device in self.devices.values():
            device.group = 0
        for number, names in enumerate(groups, start=1):
            for name in names:
                self.devices[name].group = number

    def heal(self) -> None:
        self.part()
        self.deliver()

    def wait(self, *, seconds: int = 0, minutes: int = 0, hours: int = 0, days: int = 0, most: int = 20_000) -> None:
        """Time goes by; every device that wants to be woken is, when it wants it."""
        until = self.now + seconds * SECOND + minutes * MINUTE + hours * HOUR + days * DAY
        for _ in range(most):
            ready = [d for d in self.devices.values() if d.up and d.wake_at and d.wake_at <= until]
            if not ready:
                break
            device = min(ready, key=lambda each: (each.wake_at, each.name))
            self.now = max(self.now, device.wake_at)
            device.wake_at = 0
            self.do(device.name, inputs.Tick())
            if not device.wake_at:  # nothing new was said of when to wake: what is due comes from the state
                device.wake_at = device.state.clock.wake_at if device.state.clock.wake_at > self.now else 0
        else:
            raise AssertionError("somebody wants to be woken for ever")
        self.now = until
        for device in self.devices.values():
            if device.up:
                self.do(device.name, inputs.Reached(topic=TopicId(b""), peers=0))  # so that time is noticed

    def down(self, name: str) -> None:
        self.devices[name].up = False

    def restart(self, name: str, state: State | None = None) -> None:
        """Up again, with what it had stored; with a state, with an older disk."""
        device = self.devices[name]
        device.up, device.topics, device.wake_at = True, set(), 0
        if state is not None:
            device.state = replace(state)
        self.do(name, inputs.Started())
        self.do(name, inputs.Online(online=True))

    # What one looks at

    def told(self, name: str, kind: type[E_]) -> list[E_]:
        return [event for event in self.devices[name].events if isinstance(event, kind)]

    def said(self, name: str) -> list[bytes]:
        """What the device's app has heard, in order, its own account's messages included."""
        return [event.data for event in self.told(name, events.Message)]
