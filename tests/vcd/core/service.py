"""A toy delivery service, and apps that carry bytes between it and a village's devices.

    service = Service(village)
    app = service.app("anna")            one for each device; it puts what the service has, in order, and sends frames
    app.do(inputs.RawCommit(group=TEA))  a command, which is asked of the device as after a restart
    service.run()                        until nobody has anything to do

The service takes one commit for each epoch, the first that comes, and gives all devices of all members everything in
one order. Every step goes through what a store would have: rows, changes, and a state loaded from them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mls import group as mls
from mls.registries import ContentType, GroupId
from tests.vcd.core.people import SMALL
from tests.vcd.core.village import Village
from vcd.core import events, inputs, leaves
from vcd.core.errors import Misuse
from vcd.core.raw_state import FrameKind, Raw, RawFrame
from vcd.core.stored import changes, load, rows
from vcd.core.turn import Turn

APP = GroupId(b"app")


@dataclass
class Service:
    """See above."""

    village: Village
    restarts: bool = True
    log: list[tuple[GroupId, bytes]] = field(default_factory=list)
    epochs: dict[GroupId, int] = field(default_factory=dict)
    """The epoch that the next commit has to end."""
    refused: list[bytes] = field(default_factory=list)
    welcomes: dict[bytes, list[bytes]] = field(default_factory=dict)
    """By the commit's successor: welcomes go out with the commit that they belong to."""
    apps: dict[str, App] = field(default_factory=dict)
    infos: dict[GroupId, bytes] = field(default_factory=dict)

    def app(self, name: str) -> App:
        if name not in self.apps:
            self.apps[name] = App(self, name)
        return self.apps[name]

    def accept(self, group_id: GroupId, message: bytes) -> bool:
        """Takes a message, unless another commit has ended that epoch."""
        seen = mls.peek(message)
        assert seen.epoch is not None
        if seen.content_type == ContentType.COMMIT:
            if seen.epoch != self.epochs.get(group_id, 0):
                self.refused.append(message)
                return False
            self.epochs[group_id] = seen.epoch + 1
        self.log.append((group_id, message))
        return True

    def run(self) -> None:
        """Until nobody has anything to send or to hear."""
        moving = True
        while moving:
            moving = any(each.work() for each in list(self.apps.values()))


class App:
    """An app on one device."""

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.name = name
        self.at: dict[GroupId, int] = {}
        """Up to where each group's messages were put."""
        self.heard: list[events.RawHeard] = []
        self.asleep = False
        self.stuck: list[str] = []

    def do(self, given: inputs.Input) -> list[events.Event]:
        """A command, with a store under it that is read anew."""
        village = self.service.village
        device = village.devices[self.name]
        before = device.state
        told = village.step(self.name, given)
        if self.service.restarts:
            put, gone = changes(before, device.state)
            disk = rows(before)
            for row in gone:
                del disk[row]
            disk.update(put)
            assert disk == rows(device.state)
            device.state = load(disk, device.provider)
        village.deliver()
        return told

    def frames(self) -> list[tuple[int, RawFrame]]:
        return sorted(self.service.village.state(self.name).raw_frames.items())

    def send(self, keep: Callable[[RawFrame], bool] = lambda _: True) -> bool:
        """Give all frames to the service."""
        sent = False
        welcome_for: bool | None = None
        for number, frame in self.frames():
            sent = True
            if keep(frame):
                if frame.kind is FrameKind.WELCOME:
                    if welcome_for:
                        self.service.welcomes.setdefault(frame.group_id, []).append(frame.data)
                elif frame.kind is FrameKind.GROUP_INFO:
                    if welcome_for:
                        self.service.infos[frame.group_id] = frame.data
                else:
                    took = self.service.accept(frame.group_id, frame.data)
                    if frame.kind is FrameKind.COMMIT:
                        welcome_for = took
            self.do(inputs.RawTaken(number=number))
        return sent

    def put(self, group_id: GroupId, message: bytes) -> events.RawHeard:
        told = self.do(inputs.RawPut(group=group_id, data=message))
        found = [each for each in told if isinstance(each, events.RawHeard)]
        assert len(found) == 1
        self.heard += found
        return found[0]

    def work(self) -> bool:
        if self.asleep:
            return False
        moved = self.send()
        for group_id in sorted(self.service.village.state(self.name).raws):
            log = [message for name, message in self.service.log if name == group_id]
            for message in log[self.at.get(group_id, 0) :]:
                try:
                    self.put(group_id, message)
                except Misuse as misuse:
                    if misuse.code != "not-yet":
                        raise
                    self.stuck.append(str(misuse))
                    break
                self.at[group_id] = self.at.get(group_id, 0) + 1
                moved = True
        return moved

    def said(self) -> list[bytes]:
        return [each.data for each in self.heard if each.kind is events.RawKind.MESSAGE]


def made(told: list[events.Event], kind: type) -> list:  # type: ignore[type-arg]
    return [each for each in told if isinstance(each, kind)]


def raw(app: App) -> Raw:
    return app.service.village.state(app.name).raws[APP]


def epoch(app: App) -> int:
    group = raw(app).group
    assert group is not None
    return int(group.epoch)


def made_in(app: App) -> bytes:
    """The epoch of the home that our leaf comes from."""
    state, group = app.service.village.state(app.name), raw(app).group
    assert group is not None
    found = leaves.made_in(Turn(state, 0, app.service.village.devices[app.name].provider), group)
    assert found is not None
    return found


def together(*apps: App) -> bool:
    return len({raw(each).here for each in apps}) == 1


def offer(app: App, count: int = 1) -> tuple[bytes, ...]:
    found: tuple[bytes, ...] = made(app.do(inputs.RawOffer(count=count)), events.RawOffered)[0].packages
    return found


def pair(*, seed: int = 1, restarts: bool = True, real: bool = False) -> tuple[Service, App, App]:
    """Anna has a group with Ben in it."""
    village = Village(seed, real=real, config=SMALL)
    service = Service(village, restarts=restarts)
    anna, ben = (service.app(village.account(name)) for name in ("anna", "ben"))
    anna.do(inputs.RawCreate(group=APP))
    bring(service, anna, ben)
    return service, anna, ben


def bring(service: Service, host: App, guest: App) -> None:
    host.do(inputs.RawCommit(group=APP, add=offer(guest)))
    service.run()
    guest.do(inputs.RawJoin(welcome=service.welcomes[APP].pop()))
    guest.at[APP] = len(service.log)
    service.run()
