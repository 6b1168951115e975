"""Apps with groups of their own: what they ask of their devices, and how they carry what comes of it.

Each device has an app. It gives the service all frames and says so, puts what the service has, in its order, from where
it was; what rests on something that is still to come it tries again later. It reacts to what it is told: proposals are
committed, what others could not read is said again, who cannot follow comes in again from outside. How far it got is on
the device's disk (`Disk.puts`), so a crash or an old disk sets both back alike.

Service and mesh have nothing to do with each other: a device may have the one without the other. Only some seeds play
this (`plan.More`), and all that is drawn here comes from a stream of its own.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from mls.state import Group
from tests.sim.service import Service
from vcd.core import events, inputs
from vcd.core.accounts.admission import head_of
from vcd.core.errors import Misuse
from vcd.core.names import AccountId, EpochId, GroupId
from vcd.core.policy import DAY, HOUR, MINUTE, SECOND
from vcd.core.raw_state import Raw
from vcd.core.steps import whose

if TYPE_CHECKING:
    from tests.sim.people import Life, Person
    from tests.sim.world import Device
    from vcd.core.node import Outcome
    from vcd.core.state import State

MOST_TRIES = 20
LATEST = 30 * MINUTE


@dataclass
class Spoken:
    """Something that an app said."""

    data: bytes
    group_id: GroupId
    epoch: EpochId
    number: int
    account: AccountId
    device: str
    heads: dict[AccountId, bytes]
    """Who was in the group, each with the digest of the list of devices that its leaf showed."""
    frame: bytes = b""
    lost: bool = False
    """Whether its author was told that others could not read it."""


def leaves_of(group: Group) -> list[tuple[int, AccountId, bytes]]:
    """Who is in a group: leaf, account, and the digest of the list that it shows."""
    found = []
    for leaf, node in group.members:
        head = head_of(node.credential)
        found.append((int(leaf), whose(node), b"" if head is None else head.digest))
    return found


class Apps:
    """See above."""

    def __init__(self, life: Life) -> None:
        self._life, self._world, self._more = life, life.world, life.plan.more
        self.rng = random.Random(f"apps {life.plan.seed}")
        self.service = Service(self.rng)
        self.groups: list[GroupId] = []
        self.said: dict[bytes, Spoken] = {}
        self.entered: dict[tuple[str, GroupId], int] = {}
        """How much the service had when that device came into that group last."""
        self.stood: dict[tuple[str, GroupId], dict[EpochId, int | None]] = {}
        """In which epochs a device stood, and when it left them."""
        self.put_at: dict[tuple[str, GroupId, int], int] = {}
        self.back: set[str] = set()
        """Devices that were set back."""
        self.mute: list[tuple[str, GroupId, str]] = []
        """Who could not speak when everything had come to rest, and why not."""
        self._invited: set[tuple[GroupId, AccountId]] = set()
        self._offers: dict[str, list[GroupId]] = {}
        self._due: set[str] = set()
        self._asleep: dict[str, int] = {}
        self._tries: dict[tuple[str, GroupId], int] = {}
        self._numbered = 0
        self._world.observers.append(self)

    def schedule(self) -> None:
        """When what happens."""
        duration, after = self._life.plan.duration, self._world.after
        for number in range(self._more.groups):
            after(self.rng.randint(0, duration // 10), partial(self._create, GroupId(b"app-%d" % number)))
        for _ in range(self._more.app_acts if self._more.groups else 0):
            after(self.rng.randint(duration // 20, duration), self._act)

    def rest(self) -> None:
        """No app sleeps any more."""
        self._asleep.clear()
        self._due.clear()
        for name in self._world.devices:
            self._soon(name)

    # ---------------------------------------------------------------- an app at work

    def _soon(self, name: str, delay: int | None = None) -> None:
        if self.groups and name not in self._due:
            self._due.add(name)
            wait = self.rng.randint(200, 3 * SECOND) if delay is None else delay
            self._world.after(wait, partial(self._work, name))

    def _work(self, name: str) -> None:
        self._due.discard(name)
        device, until = self._world.devices[name], self._asleep.get(name, 0)
        if until > self._world.now:
            self._soon(name, until - self._world.now)
        elif device.runs and not device.hostile:
            self._send(device)
            for group_id in self.groups:
                self._deliver(device, group_id)

    def _send(self, device: Device) -> None:
        frames = sorted(_state(device).raw_frames.items())
        for _, frame in frames:
            if self.service.take(frame):
                for name in self._world.devices:
                    self._soon(name)
        while self.service.welcomes:
            group_id, welcome = self.service.welcomes.pop()
            for group, account in sorted(self._invited):
                if group == group_id:
                    self._later(self._join, group_id, account, welcome, MOST_TRIES)
        if frames:
            self._world.give(device, inputs.RawTaken(number=frames[-1][0]))

    def _deliver(self, device: Device, group_id: GroupId) -> None:
        log, key = self.service.log[group_id], (device.name, group_id)
        while device.runs and group_id in _state(device).raws:
            place = device.disk.puts[group_id]
            if place >= len(log):
                return
            try:
                stored = self._world.give(device, inputs.RawPut(group=group_id, data=log[place].data))
            except Misuse as reason:
                self._world.count(f"app {reason.code}")
                if reason.code == "not-yet":
                    tries = self._tries[key] = self._tries.get(key, 0) + 1
                    self._soon(device.name, min(LATEST, MINUTE << min(tries, 6)))
                    return
                if reason.code != "lost-track":
                    raise
                self._later(self._come_in, group_id, device.name, MOST_TRIES)
                return
            if not stored:
                return
            self._tries.pop(key, None)

    def _later(self, what: Callable[..., None], *given: object) -> None:
        self._world.after(self.rng.randint(SECOND, 5 * MINUTE), partial(what, *given))

    def _command(self, device: Device, given: inputs.Input) -> str:
        """Ask a device that is there; says why not, if it says so."""
        try:
            self._world.give(device, given)
        except Misuse as reason:
            self._world.count(f"app {type(given).__name__} {reason.code}")
            return reason.code
        self._world.count(f"app {type(given).__name__}")
        return ""

    # ---------------------------------------------------------------- who is there

    def _running(self, of: AccountId | None = None) -> list[Device]:
        """Devices with an app that is awake."""
        found = []
        for device in self._world.devices.values():
            awake = self._asleep.get(device.name, 0) <= self._world.now
            if device.runs and not device.hostile and awake and _state(device).home is not None:
                if of in (None, _state(device).book.own):
                    found.append(device)
        return found

    def _live(self, group_id: GroupId) -> list[tuple[Device, Raw, Group]]:
        """Those who can act in a group, as far as they know."""
        found = []
        for device in self._running():
            raw = _state(device).raws.find(group_id)
            group = None if raw is None else raw.live
            if raw is not None and group is not None:
                found.append((device, raw, group))
        return found

    # ---------------------------------------------------------------- coming in

    def _create(self, group_id: GroupId) -> None:
        able = self._running()
        if not able:
            self._world.after(HOUR, partial(self._create, group_id))
            return
        device = self.rng.choice(able)
        if self._command(device, inputs.RawCreate(group=group_id)):
            return
        for person in self._life.people:
            if self.rng.random() < 0.8:
                self._later(self._bring, group_id, person)

    def _bring(self, group_id: GroupId, person: Person) -> None:
        """Somebody who is not in a group makes a KeyPackage, which is on its way then."""
        able = self._running(person.account)
        if person.hostile or not able or group_id not in self.groups:
            return
        device = self.rng.choice(able)
        raw = _state(device).raws.find(group_id)
        if raw is not None and raw.live is not None:
            return
        self._offers.setdefault(device.name, []).append(group_id)
        if self._command(device, inputs.RawOffer(count=self.rng.randint(1, 2))):
            self._offers[device.name].clear()

    def _add(self, group_id: GroupId, account: AccountId, package: bytes, tries: int) -> None:
        """Who is in commits it, or proposes it first."""
        able = [each for each in self._live(group_id) if each[1].pending is None]
        if not able:
            if tries:
                self._later(self._add, group_id, account, package, tries - 1)
            return
        device, _, group = self.rng.choice(able)
        if any(each == account for _, each, _ in leaves_of(group)):
            return
        self._invited.add((group_id, account))
        if self.rng.random() < 0.2:
            self._command(device, inputs.RawPropose(group=group_id, add=package))
        else:
            info = self.rng.random() < 0.5
            self._command(device, inputs.RawCommit(group=group_id, add=(package,), group_info=info))

    def _join(self, group_id: GroupId, account: AccountId, welcome: bytes, tries: int) -> None:
        """A Welcome came, to whichever device is at hand."""
        able = self._running(account)
        if (group_id, account) not in self._invited:
            return
        code = self._command(self.rng.choice(able), inputs.RawJoin(welcome=welcome)) if able else "not-yet"
        if code in ("", "group-exists", "not-mls"):
            self._invited.discard((group_id, account))
        elif code in ("not-yet", "restored", "out-of-sync") and tries:
            self._later(self._join, group_id, account, welcome, tries - 1)
        elif able:
            self._later(self._come_in, group_id, able[0].name, MOST_TRIES)

    def _come_in(self, group_id: GroupId, name: str, tries: int) -> None:
        """From outside, by what somebody who is in shows."""
        device, info = self._world.devices[name], self.service.infos.get(group_id)
        if device.lost or not tries or group_id not in self.groups:
            return
        if device.runs and info is not None:
            code = self._command(device, inputs.RawJoin(group_info=info))
            if code in ("", "group-exists"):
                return
        elif info is None:
            able = [each for each in self._live(group_id) if each[1].here == self.service.heads[group_id]]
            able = [each for each in able if each[0].name != name and each[1].pending is None]
            if able:
                self._command(self.rng.choice(able)[0], inputs.RawCommit(group=group_id, group_info=True))
        self._later(self._come_in, group_id, name, tries - 1)

    def recovered(self, person: Person, device: str) -> None:
        """All that an account had was lost: it comes in again from outside, or is let in anew."""
        for group_id in self.groups:
            if self.rng.random() < 0.5:
                self._later(self._come_in, group_id, device, MOST_TRIES)
            else:
                self._later(self._replace, group_id, person, MOST_TRIES)

    def _replace(self, group_id: GroupId, person: Person, tries: int) -> None:
        good = self._life.accounts.recovered[person.account]
        for device, raw, group in self._live(group_id):
            old = [leaf for leaf, each, head in leaves_of(group) if each == person.account and head not in good]
            if not old or raw.pending is not None or _state(device).book.own == person.account:
                continue
            if not self._command(device, inputs.RawCommit(group=group_id, remove=tuple(old))):
                self._later(self._bring, group_id, person)
                return
        if tries:
            self._later(self._replace, group_id, person, tries - 1)

    # ---------------------------------------------------------------- acting

    def _act(self) -> None:
        able = [(device, group_id) for group_id in self.groups for device, _, _ in self._live(group_id)]
        if self._life.over or not able:
            return
        device, group_id = self.rng.choice(able)
        self.rng.choices(ACTS, weights=WEIGHTS)[0](self, device, group_id)

    def say(self, device: Device, group_id: GroupId) -> None:
        self._numbered += 1
        data = b"said %d in an app of %s" % (self._numbered, device.name.encode())
        self._command(device, inputs.RawProtect(group=group_id, data=data))

    def say_at_once(self, device: Device, group_id: GroupId) -> None:
        """All devices of somebody do, on keys that they share."""
        for each in self._running(_state(device).book.own):
            for _ in range(self.rng.randint(1, 2)):
                self.say(each, group_id)

    def commit(self, device: Device, group_id: GroupId) -> None:
        fresh, info = self.rng.random() < 0.5, self.rng.random() < 0.3
        self._command(device, inputs.RawCommit(group=group_id, fresh=fresh, group_info=info))

    def commit_at_once(self, device: Device, group_id: GroupId) -> None:
        """Several do, whoever they are; some go on speaking where they are."""
        del device
        for each, _, _ in self._live(group_id):
            if self.rng.random() < 0.7:
                self.commit(each, group_id)
            if self.rng.random() < 0.5:
                self.say(each, group_id)

    def replace(self, device: Device, group_id: GroupId) -> None:
        """Somebody grew tired of waiting for a commit."""
        self.commit(device, group_id)
        self._command(device, inputs.RawCommit(group=group_id, replace=True))

    def bring(self, device: Device, group_id: GroupId) -> None:
        del device
        self._bring(group_id, self.rng.choice(self._life.people))

    def update(self, device: Device, group_id: GroupId) -> None:
        self._command(device, inputs.RawPropose(group=group_id, update=True))

    def leave(self, device: Device, group_id: GroupId) -> None:
        if len(_accounts(device, group_id)) > 2:
            self._command(device, inputs.RawPropose(group=group_id, leave=True))

    def remove(self, device: Device, group_id: GroupId) -> None:
        others = [leaf for leaf, account in _accounts(device, group_id) if account != _state(device).book.own]
        if others and self.rng.random() < 0.5:
            self._command(device, inputs.RawCommit(group=group_id, remove=(self.rng.choice(others),)))
        elif others:
            self._command(device, inputs.RawPropose(group=group_id, remove=self.rng.choice(others)))

    def come_in(self, device: Device, group_id: GroupId) -> None:
        """Somebody takes a way in that is open to all."""
        del device
        others = [each for each in self._running() if group_id not in _state(each).raws]
        if others:
            self._come_in(group_id, self.rng.choice(others).name, MOST_TRIES)

    def doze(self, device: Device, group_id: GroupId) -> None:
        """An app is closed for a while."""
        del group_id
        self._asleep[device.name] = self._world.now + self.rng.choice((MINUTE, HOUR, 6 * HOUR, DAY))

    def forget(self, device: Device, group_id: GroupId) -> None:
        """A group that somebody is out of is not looked at any more."""
        del device, group_id
        for each in self._running():
            for name, raw in _state(each).raws.items():
                if raw.out:
                    self._command(each, inputs.RawForget(group=name))
                    return

    def tidy(self, name: str, group_id: GroupId, tries: int) -> None:
        """Proposals wait: one of those who know of them commits."""
        device = self._world.devices[name]
        raw = _state(device).raws.find(group_id) if device.runs else None
        group = None if raw is None else raw.live
        if raw is None or group is None or not group.proposals or not tries:
            return
        if raw.pending is None:
            self._command(device, inputs.RawCommit(group=group_id, proposals=tries > MOST_TRIES // 2))
        self._later(self.tidy, name, group_id, tries - 1)

    def say_everywhere(self) -> None:
        """Every device says one thing more in each group that it is in."""
        for group_id in self.groups:
            for device, _, _ in self._live(group_id):
                data = b"app probe of %s in %s" % (device.name.encode(), group_id)
                code = self._command(device, inputs.RawProtect(group=group_id, data=data))
                if code:
                    self.mute.append((device.name, group_id, code))

    # ---------------------------------------------------------------- what happens

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        state = outcome.state
        if isinstance(given, inputs.Started | inputs.Slept):
            self._soon(device.name)
        if isinstance(given, inputs.RawPut):
            self._put(device, given.group)
        if before.raws is not state.raws:
            self._moved(device, before, given, state)
        for event in outcome.events:
            match event:
                case events.RawMade():
                    if isinstance(given, inputs.RawProtect):
                        self._spoke(device, before, given, state.raw_frames[event.numbers[0]].data)
                    self._soon(device.name)
                    if isinstance(given, inputs.RawPropose):
                        self._later(self.tidy, device.name, given.group, MOST_TRIES)
                case events.RawOffered() if self._offers.get(device.name):
                    assert state.book.own is not None
                    wanted = self._offers[device.name].pop(0)
                    self._later(self._add, wanted, state.book.own, event.packages[0], MOST_TRIES)
                case events.RawHeard(kind=events.RawKind.PROPOSAL):
                    self._later(self.tidy, device.name, event.group, MOST_TRIES)
                case events.RawHeard(lost=True) if event.device == state.me.device:
                    self.said[event.data].lost = True
                    self._later(self._say_again, device.name, event.group)
                case _:
                    pass

    def _say_again(self, name: str, group_id: GroupId) -> None:
        device = self._world.devices[name]
        if device.runs:
            self.say(device, group_id)

    def _moved(self, device: Device, before: State, given: inputs.Input, state: State) -> None:
        """Groups are not where they were on this device."""
        if isinstance(given, inputs.RawCreate):
            self.groups.append(given.group)
            self.service.began(given.group, state.raws[given.group].here)
        changed, gone = state.raws.changes(before.raws)
        for group_id in sorted(changed):
            raw, old = changed[group_id], before.raws.find(group_id)
            stood = self.stood.setdefault((device.name, group_id), {})
            if old is not None and old.here != raw.here:
                stood[old.here] = self._world.now
            stood.setdefault(raw.here, None)
            if old is None or old.entry != raw.entry:
                group = raw.group
                number = group.epoch if group is not None else 0 if raw.pending is None else raw.pending.number
                device.disk.puts[group_id] = self.service.since(group_id, int(number))
                self.entered[device.name, group_id] = len(self.service.log[group_id])
                self._soon(device.name)
        for group_id in sorted(gone):
            device.disk.puts.pop(group_id, None)

    def _put(self, device: Device, group_id: GroupId) -> None:
        place = device.disk.puts[group_id]
        device.disk.puts[group_id] = place + 1
        self.put_at.setdefault((device.name, group_id, place), self._world.now)

    def _spoke(self, device: Device, before: State, given: inputs.RawProtect, frame: bytes) -> None:
        raw, own = before.raws[given.group], before.book.own
        assert raw.group is not None
        assert own is not None
        heads = {account: head for _, account, head in leaves_of(raw.group)}
        number = int(raw.group.epoch)
        self.said[given.data] = Spoken(given.data, given.group, raw.here, number, own, device.name, heads, frame)

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        """What apps ask is asked here, and answered at once."""


def _state(device: Device) -> State:
    assert device.state is not None
    return device.state


def _accounts(device: Device, group_id: GroupId) -> list[tuple[int, AccountId]]:
    raw = _state(device).raws.find(group_id)
    group = None if raw is None else raw.live
    return [] if group is None else [(leaf, account) for leaf, account, _ in leaves_of(group)]


ACTS: tuple[Callable[[Apps, Device, GroupId], None], ...] = (
    Apps.say,
    Apps.say_at_once,
    Apps.commit,
    Apps.commit_at_once,
    Apps.replace,
    Apps.bring,
    Apps.update,
    Apps.leave,
    Apps.remove,
    Apps.come_in,
    Apps.doze,
    Apps.forget,
)
WEIGHTS = (30, 10, 8, 8, 3, 8, 3, 2, 3, 4, 4, 2)
"""How often each of these beside the others."""
