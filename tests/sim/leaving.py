"""How an account's devices go: one is not wanted any more, or is lost and missed some time later.

Delegates remove devices that are none, and often two of them the same one at once. For delegates it takes the recovery
phrase, and while that is not to be typed (`Accounts.may_type`) people put it off. Who is told that a removal does not
stand, as the phrase made that device a delegate meanwhile, removes it again with the phrase. A device that is lost
takes with it what it was asked for: people see in the list of devices what is still there, and do it on another one.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.sim.expected import Wish
from vcd.core import devices, events, inputs
from vcd.core.errors import Misuse
from vcd.core.names import DeviceId
from vcd.core.node import Outcome
from vcd.core.policy import DAY, HOUR, MINUTE
from vcd.core.state import State
from vcd.core.strand import Strand

if TYPE_CHECKING:
    from tests.sim.people import Life, Person
    from tests.sim.world import Device


class Leaving:
    """See above."""

    def __init__(self, life: Life) -> None:
        self._life, self._world = life, life.world
        self.missing: dict[str, str] = {}
        """Devices that are to be removed yet, each with the one on which their person will say so."""
        self._ids: dict[str, DeviceId] = {}
        """Who each device was at first: one that was shut out is somebody else afterwards."""
        self._world.observers.append(self)

    def remove(self, device: Device) -> None:
        """A device that its person does not want any more, and still has in hand."""
        person = self._life.person_of(device.name)
        others = [each for each in person.devices if each != device.name and not self._world.devices[each].lost]
        if others and self._life.is_delegate(device.name):
            self._shut_out(device.name, self._life.rng.choice(others), person)

    def _shut_out(self, by: str, name: str, person: Person) -> bool:
        """Remove a device, unless that takes the recovery phrase and this is not the time for it."""
        life, device = self._life, self._ids[name]
        root = life.accounts.root_of(person) if device in life.accounts.appointed else None
        if root is not None and not life.accounts.may_type(person, by):
            return False
        if name in person.devices:
            person.devices.remove(name)
        intent = life.intent()
        life.steal(name, intent)
        self._world.command(by, inputs.RemoveDevice(intent=intent, device=device, root=root))
        others = [each for each in person.devices if each != by and life.may_link(each)]
        if others and life.rng.random() < 0.5:  # two people's hands, or one who is not sure that the first one worked
            again = life.rng.choice(others)
            if root is None or life.accounts.may_type(person, again):
                self._world.command(again, inputs.RemoveDevice(intent=life.intent(), device=device, root=root))
        return True

    def lose(self) -> None:
        """A device is gone, and its person finds out sooner or later. One that may say so is left to them."""
        life, world = self._life, self._world
        if life.over:
            return
        chosen = [
            world.devices[name]
            for person in life.people
            for name in person.devices
            if any(life.is_delegate(other) for other in person.devices if other != name)
        ]
        if not chosen:
            return
        device = life.rng.choice(chosen)
        person = life.person_of(device.name)
        world.lose(device)
        person.devices.remove(device.name)
        notices = life.rng.choice((MINUTE, HOUR, DAY))
        self.missing[device.name] = life.rng.choice([name for name in person.devices if life.is_delegate(name)])
        world.after(notices, partial(self._notice, device.name))

    def _notice(self, name: str) -> None:
        by = self.missing.pop(name, None)
        if by is None:
            return
        person = self._life.person_of(name)
        able = [each for each in dict.fromkeys((by, *person.devices)) if each in person.devices and each != name]
        if not any(self._life.is_delegate(each) and self._shut_out(each, name, person) for each in able):
            self.missing[name] = by
            self._world.after(HOUR, partial(self._notice, name))

    def rest(self) -> None:
        """People look where their devices are; and again when they can be sure."""
        for name in list(self.missing):
            self._notice(name)
        self._world.after(HOUR, self._look)

    def _look(self) -> None:
        """What is in the account and should not be is removed, unless somebody who is there was asked to."""
        for person in self._life.people:
            homes = [self._life.state(name) for name in person.devices if self._world.devices[name].runs]
            found = [each for state in homes if state.home is not None for each in devices.present(_home(state))]
            for device in dict.fromkeys(found):
                name = self._name(device)
                if name not in person.devices and name not in self.missing and not self._asked(device):
                    self.missing[name] = name
                    self._notice(name)

    def _name(self, device: DeviceId) -> str:
        return next(name for name, each in self._ids.items() if each == device)

    def _asked(self, device: DeviceId) -> bool:
        """Whether a device that is there was asked to remove this one, or is letting it in, and has not said no."""
        there = [each for each in self._world.devices.values() if not each.lost]
        if any(
            isinstance(wish, inputs.RemoveDevice) and wish.device == device for each in there for wish in each.wishes
        ):
            return True
        names = {each.name for each in there}
        return any(
            wish.given.device == device and wish.device in names and not wish.lost and _is_open(wish)
            for wish in self._life.expected.wishes.values()
            if isinstance(wish.given, inputs.RemoveDevice | inputs.LinkDevice)
        )

    # ---------------------------------------------------------------- what happens

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        del given
        self._ids.setdefault(device.name, before.me.device)
        for event in outcome.events:
            if isinstance(event, events.IntentFate) and not event.stands:
                wish = self._life.expected.wishes.get(event.intent)
                if wish is not None and isinstance(wish.given, inputs.RemoveDevice):
                    name = self._name(wish.given.device)
                    self.missing[name] = device.name
                    self._world.after(MINUTE, partial(self._notice, name))

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        """It was a mistake, and the person was told."""
        del device, reason
        if not isinstance(given, inputs.RemoveDevice) or self._asked(given.device):
            return
        for name, other in self._world.devices.items():
            person = self._life.person_of(name)
            if other.disk.state.me.device == given.device and not other.lost and name not in person.devices:
                person.devices.append(name)


def _is_open(wish: Wish) -> bool:
    if isinstance(wish.given, inputs.LinkDevice):
        return not wish.ended
    return all(stands for _, stands, _ in wish.ended)


def _home(state: State) -> Strand:
    assert state.home is not None
    return state.strands[state.home]
