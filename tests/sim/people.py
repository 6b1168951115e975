"""What people do: they talk, bring each other into conversations and out of them, and lose their devices.

A `Life` sets people up, each with devices that are linked and contacts that know each other, and lets them act at times
drawn from the seed, often several at once, as that is when things go wrong. Who acts and on what is drawn when it is
time, from what that person's device shows then: nobody acts on more than they can see.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from tests.sim.accounts import Accounts
from tests.sim.apps import Apps
from tests.sim.disk import Disk
from tests.sim.expected import Expected, Utterance, accounts_of
from tests.sim.hostile import Hand
from tests.sim.leaving import Leaving
from tests.sim.plan import Plan
from tests.sim.world import Device, World
from vcd.core import events, inputs
from vcd.core.accounts.card import make_card, to_bytes
from vcd.core.accounts.identity import RecoverySeed, new_seed
from vcd.core.errors import Misuse
from vcd.core.founding import blank, device_key, new_account, package_for
from vcd.core.linking import credential_for
from vcd.core.names import AccountId, GroupId, IntentId
from vcd.core.node import Outcome
from vcd.core.policy import DAY, HOUR, MINUTE, SECOND, Mode, Policy, of_group
from vcd.core.state import Acceptance, State
from vcd.core.strand import Membership, Strand

NAMES = ("anna", "bert", "cleo", "dora", "emil", "fred")
TOGETHER = 0.4
"""How often what somebody does follows at once what another did."""


@dataclass
class Person:
    """Somebody with an account."""

    name: str
    account: AccountId
    devices: list[str]
    seed: RecoverySeed
    hostile: bool = False
    made: int = 0
    """How many devices they had, ever."""


@dataclass(frozen=True)
class Stolen:
    """What a lost device had stored."""

    device: str
    person: str
    at: int
    disk: Disk
    intent: IntentId | None = None
    """The wish to remove it."""
    conversation: GroupId | None = None
    """Where its person was removed, if that is all."""
    with_all: bool = False
    """Whether the account lost all its devices then, and was to be recovered."""

    def out(self, life: Life) -> bool:
        """Whether whoever had it is to be shut out by now."""
        if self.with_all:
            return True
        wish = None if self.intent is None else life.expected.wishes.get(self.intent)
        return wish is not None and any(stands for _, stands, _ in wish.ended)

    def shut_out_of(self, life: Life, said: Utterance) -> bool:
        """Whether it must not open this."""
        account = next(each.account for each in life.people if each.name == self.person)
        if self.with_all:
            return life.accounts.shut_out(account, said)
        if self.conversation is None:
            return True
        return said.conversation == self.conversation and account not in said.audience


@dataclass
class Life:
    """See above."""

    world: World
    plan: Plan
    expected: Expected
    rng: random.Random = field(init=False)
    people: list[Person] = field(default_factory=list)
    conversations: list[GroupId] = field(default_factory=list)
    stolen: list[Stolen] = field(default_factory=list)
    vanished: list[str] = field(default_factory=list)
    """People who went away for good."""
    hands: list[Hand] = field(default_factory=list)
    accounts: Accounts = field(init=False)
    leaving: Leaving = field(init=False)
    apps: Apps = field(init=False)
    numbered: int = 0
    over: bool = False
    """People do nothing new any more."""

    def __post_init__(self) -> None:
        self.rng = random.Random(f"life {self.plan.seed}")
        self.world.observers.append(self)
        self.accounts = Accounts(self)
        self.leaving = Leaving(self)
        self.apps = Apps(self)

    # ---------------------------------------------------------------- people and their devices

    def set_up(self) -> None:
        """Everybody has an account, devices, and the others' cards; conversations are opened."""
        for place, count in enumerate(self.plan.devices):
            person = self._person(NAMES[place], hostile=self.plan.hostile and place == len(self.plan.devices) - 1)
            for _ in range(count - 1):
                self.link(person)
        self.world.run_for(MINUTE)
        for person in self.people:
            for other in self.people:
                if other is not person:
                    self._introduce(person, other)
        self.world.run_for(MINUTE)
        for number, mode in enumerate(self.plan.modes):
            self._open(number, mode)
        self.world.run_for(2 * MINUTE)

    def _skew(self) -> int:
        return self.rng.randint(-self.plan.skew, self.plan.skew)

    def _person(self, name: str, *, hostile: bool) -> Person:
        device = f"{name}-1"
        provider, skew = self.world.provider(device), self._skew()
        seed = new_seed(provider)
        state = new_account(provider, seed, device, self.world.now + skew, self.plan.config)
        account = state.book.own
        assert account is not None
        person = Person(name, account, [device], seed, hostile, 1)
        self.people.append(person)
        begun = self.world.begin(device, Disk(state, self.plan.exact), skew=skew, hostile=hostile)
        if hostile:
            self.hands.append(Hand(self.world, begun, self.expected, random.Random(f"hostile {self.plan.seed}")))
        return person

    def link(self, person: Person) -> None:
        """A device more, if one of those that are there can add it. Who may, and has no key yet, is asked later."""
        helpers = [name for name in person.devices if self.may_link(name)]
        if not helpers:
            return
        helper = self.rng.choice(helpers)
        name, skew = f"{person.name}-{person.made + 1}", self._skew()
        provider = self.world.provider(name)
        state = blank(provider, name, self.plan.config)
        key = device_key(provider, state)
        try:
            credential = credential_for(self.state(helper), self.world.provider(helper), state.me.device, key)
        except Misuse:
            self.world.count("link later")
            return
        person.made += 1
        package = package_for(provider, state, credential, self.world.now + skew)
        device = self.world.begin(name, Disk(state, self.plan.exact), skew=skew, hostile=person.hostile)
        device.package = package
        self.world.blank[state.me.device] = name
        self.world.command(
            helper,
            inputs.LinkDevice(intent=self.intent(), device=state.me.device, name=name, package=package.key_package),
        )

    def may_link(self, name: str) -> bool:
        return self.world.devices[name].runs and self.is_delegate(name)

    def is_delegate(self, name: str) -> bool:
        return self.state(name).household.delegate is not None

    def _introduce(self, person: Person, other: Person) -> None:
        """Somebody gives their card to another, in person."""
        state = self.state(other.devices[0])
        edition, household = state.book.edition, state.household
        assert edition is not None
        assert household.signing is not None
        assert household.inbox is not None
        card = make_card(
            self.world.provider(other.devices[0]),
            edition.head,
            household.signing,
            name=other.name,
            inbox=household.inbox,
            dispensers=(other.name.encode(),),
            expires=self.world.now + 365 * DAY,
        )
        self.world.command(person.devices[0], inputs.AddContact(card=to_bytes(card), petname=other.name))

    def _open(self, number: int, mode: Mode) -> None:
        able = [each for each in self.people if mode is not Mode.LEAD or not each.hostile]  # a lead is trusted by all
        person = self.rng.choice(able)
        group_id = GroupId(b"conversation-%d" % number)
        self.conversations.append(group_id)
        policy = None
        if self.rng.random() < 0.5:
            policy = replace(Policy(mode=mode), window=self.rng.choice((HOUR, 6 * HOUR, DAY)))
        self.world.command(person.devices[0], inputs.Open(conversation=group_id, mode=mode, policy=policy))
        for other in self.people:
            if other is not person and self.rng.random() < 0.8:
                self.invite(person.devices[0], group_id, other.account)

    # ---------------------------------------------------------------- what is drawn

    def state(self, name: str) -> State:
        state = self.world.devices[name].disk.state
        assert state is not None
        return state

    def _number(self) -> int:
        self.numbered += 1
        return self.numbered

    def intent(self) -> IntentId:
        return IntentId(self.rng.randbytes(16))

    def _device(self) -> Device | None:
        """Somebody who can act now."""
        running = [device for device in self.world.devices.values() if device.runs]
        return self.rng.choice(running) if running else None

    def _strand(self, device: Device) -> Strand | None:
        """A conversation that this device takes part in, as far as it knows."""
        found = [each for each in self.conversations if self.takes_part(device, each)]
        return self.state(device.name).strands[self.rng.choice(found)] if found else None

    def takes_part(self, device: Device, group_id: GroupId) -> bool:
        state = self.state(device.name)
        strand, talk = state.strands.find(group_id), state.talks.find(group_id)
        if strand is None or talk is None or talk.acceptance is not Acceptance.YES:
            return False
        return strand.membership is Membership.IN and state.book.own in accounts_of(strand)

    # ---------------------------------------------------------------- a life

    def schedule(self) -> None:
        """When what happens."""
        plan, rng, world = self.plan, self.rng, self.world
        at = 0
        for _ in range(plan.acts):
            if rng.random() >= TOGETHER:
                at += round(rng.expovariate(1 / (plan.duration / plan.acts / (1 - TOGETHER))))
            else:
                at += rng.randint(0, 2 * SECOND)
            world.after(at, self.act)
        for _ in range(plan.splits):
            world.after(rng.randint(0, plan.duration), self.split)
        for _ in range(plan.crashes):
            world.after(rng.randint(0, plan.duration), self.crash)
        for _ in range(plan.sleeps):
            world.after(rng.randint(0, plan.duration), self.sleep)
        if plan.vanishes:
            world.after(rng.randint(0, plan.duration), self.vanish)
        for _ in range(plan.backups):
            world.after(rng.randint(0, plan.duration // 2), self.backup)
        for hand in self.hands:
            for _ in range(plan.acts):
                world.after(rng.randint(0, plan.duration), hand.act)
        for _ in range(plan.losses):
            world.after(rng.randint(plan.duration // 4, plan.duration), self.leaving.lose)
        for _ in range(plan.more.choruses):
            world.after(rng.randint(0, plan.duration), self.chorus)
        self.accounts.schedule()
        self.apps.schedule()

    def act(self) -> None:
        """Somebody does something."""
        device = self._device()
        if self.over or device is None:
            return
        what = self.rng.choices([each for each, _ in ACTS], weights=[weight for _, weight in ACTS])[0]
        self.world.count(f"act {what.__name__}")
        what(self, device)

    def say(self, device: Device, *, probe: bool = False) -> None:
        strand = self._strand(device)
        if strand is not None:
            self.say_in(device, strand.group_id, probe=probe)

    def say_in(self, device: Device, group_id: GroupId, *, probe: bool = False) -> None:
        data = b"%s %d of %s" % (b"probe" if probe else b"message", self._number(), device.name.encode())
        self.world.command(
            device.name, inputs.Say(conversation=group_id, nonce=self.rng.randbytes(16), data=data, media="text/plain")
        )

    def say_everywhere(self) -> None:
        """Everybody says something in every conversation that they are in."""
        for device in list(self.world.devices.values()):
            if not device.runs or device.hostile:
                continue
            for group_id in self.conversations:
                if self.takes_part(device, group_id):
                    self.say_in(device, group_id, probe=True)
        self.apps.say_everywhere()

    def chorus(self) -> None:
        """All who are in a conversation say something at once, some times over: devices of one account take one key."""
        if self.over:
            return
        self.world.count("chorus")
        group_id, at = self.rng.choice(self.conversations), 0
        for _ in range(self.rng.randint(1, 6)):
            for name in self.world.devices:
                self.world.after(at + self.rng.randint(0, 300), partial(self._voice, name, group_id))
            at += self.rng.choice((300, 2 * SECOND, 10 * SECOND))

    def _voice(self, name: str, group_id: GroupId) -> None:
        device = self.world.devices[name]
        if device.runs and not device.hostile and not self.over and self.takes_part(device, group_id):
            self.say_in(device, group_id)

    def invite_somebody(self, device: Device) -> None:
        strand = self._strand(device)
        if strand is None:
            return
        others = [each.account for each in self.people if each.account not in accounts_of(strand)]
        if others:
            self.invite(device.name, strand.group_id, self.rng.choice(others))

    def invite(self, device: str, group_id: GroupId, account: AccountId) -> None:
        self.world.command(device, inputs.Invite(intent=self.intent(), conversation=group_id, account=account))

    def remove_somebody(self, device: Device) -> None:
        strand, own = self._strand(device), self.state(device.name).book.own
        if strand is None:
            return
        others = sorted(accounts_of(strand) - {own})
        admins = {each.account for each in strand.graph.members(strand.head) if each.admin}
        if others and (own in admins or self.rng.random() < 0.1):
            account, intent = self.rng.choice(others), self.intent()
            target = next(each for each in self.people if each.account == account)
            for name in target.devices[:1]:
                copy = self.world.devices[name].disk.copy()
                self.stolen.append(Stolen(name, target.name, self.world.now, copy, intent, strand.group_id))
            self.world.command(device.name, inputs.Remove(intent=intent, conversation=strand.group_id, account=account))

    def depart(self, device: Device) -> None:
        strand = self._strand(device)
        if strand is not None and len(accounts_of(strand)) > 2:
            self.world.command(device.name, inputs.Depart(intent=self.intent(), conversation=strand.group_id))

    def refresh(self, device: Device) -> None:
        strand = self._strand(device)
        if strand is not None:
            self.world.command(device.name, inputs.Refresh(intent=self.intent(), conversation=strand.group_id))

    def refresh_and_say(self, device: Device) -> None:
        """What is said may come before the epoch that it is said in."""
        strand = self._strand(device)
        if strand is not None:
            self.world.command(device.name, inputs.Refresh(intent=self.intent(), conversation=strand.group_id))
            for _ in range(self.rng.randint(1, 3)):
                self.say_in(device, strand.group_id)

    def refresh_home(self, device: Device) -> None:
        home = self.state(device.name).home
        if home is not None:
            self.world.command(device.name, inputs.Refresh(intent=self.intent(), conversation=home))

    def change_policy(self, device: Device) -> None:
        strand = self._strand(device)
        if strand is None or strand.here is None:
            return
        old = of_group(strand.here.group)
        admins = tuple(sorted({*old.admins, self.rng.choice(sorted(accounts_of(strand)))}))
        new = replace(old, admins=admins, window=self.rng.choice((HOUR, 6 * HOUR, DAY)))
        self.world.command(
            device.name,
            inputs.ChangePolicy(intent=self.intent(), conversation=strand.group_id, policy=new),
        )

    def link_somebody(self, device: Device) -> None:
        person = self.person_of(device.name)
        if len(person.devices) < 4 and len(self.world.devices) < 20:
            self.link(person)

    def remove_device(self, device: Device) -> None:
        self.leaving.remove(device)

    def steal(self, name: str, intent: IntentId) -> None:
        """What a device has that is to be removed."""
        copy = self.world.devices[name].disk.copy()
        self.stolen.append(Stolen(name, self.person_of(name).name, self.world.now, copy, intent))

    def steal_all(self, name: str, disk: Disk) -> None:
        """What a device had, of an account that has lost all."""
        self.stolen.append(Stolen(name, self.person_of(name).name, self.world.now, disk, with_all=True))

    def person_of(self, name: str) -> Person:
        return next(each for each in self.people if each.name == name.split("-", maxsplit=1)[0])

    # ---------------------------------------------------------------- what goes wrong

    def split(self) -> None:
        """The network falls apart, perhaps differently from how it was apart already, and life goes on in each part."""
        if self.over:
            return
        names = list(self.world.devices)
        self.rng.shuffle(names)
        cut = self.rng.randint(1, max(1, len(names) - 1))
        again = self.rng.choice((0, 0, self.rng.randint(0, cut)))
        sides = [side for side in (names[:again], names[again:cut], names[cut:]) if side]
        self.world.split(*sides[1:])
        rest = max(MINUTE, self.plan.duration // 2)
        lasts = round(self.rng.choice((0.02, 0.2, 1.0)) * rest * self.rng.random()) + MINUTE
        self.world.after(lasts, self.world.heal)
        for side in sides:
            for _ in range(self.rng.randint(1, 4)):
                self.world.after(self.rng.randint(0, lasts), partial(self._act_apart, side))

    def _act_apart(self, side: list[str]) -> None:
        """Somebody in one part of the network does what may not go with what others do in theirs."""
        running = [self.world.devices[name] for name in side if self.world.devices[name].runs]
        if running and not self.over:
            what = self.rng.choices([each for each, _ in APART], weights=[weight for _, weight in APART])[0]
            self.world.count(f"act {what.__name__}")
            what(self, self.rng.choice(running))

    def crash(self) -> None:
        device = self._device()
        if device is not None and not self.over:
            down_for = self.rng.choice((10, 5 * SECOND, 10 * MINUTE, self.plan.duration // 4))
            self.world.burn(device, self.rng.randint(1, 30), down_for)

    def sleep(self) -> None:
        device = self._device()
        if device is None or self.over:
            return
        self.world.sleep(device)
        self.world.after(
            self.rng.randint(MINUTE, self.plan.duration // 2 + 2 * MINUTE), lambda: self.world.wake(device)
        )

    def backup(self) -> None:
        device = self._device()
        state = None if device is None else self.state(device.name)
        if device is None or state is None or self.over or state.home is None:
            return  # set back to before it was linked it is no device of the account, which nobody else can see
        disk, since = device.disk.copy(), self.world.now
        home = state.strands[state.home]
        lonely = len(home.graph.members(home.head)) == 1  # it knows of nobody, and may be apart from who came since

        def restore() -> None:
            person = self.person_of(device.name)
            others = [name for name in person.devices if name != device.name and self.world.devices[name].runs]
            if self.over or device.lost or lonely or not others:  # alone with an old disk there is nobody to learn from
                return
            if device.state is not None:
                self.world.crash(device, 0)
            self.world.restart(device, disk)
            self.expected.set_back(device.name, since)
            self.accounts.set_back(device.name, since)
            self.apps.back.add(device.name)

        self.world.after(self.rng.randint(MINUTE, self.plan.duration // 4 + 2 * MINUTE), restore)

    def vanish(self) -> None:
        """Somebody goes away for good, and nobody will hear why."""
        person = self.rng.choice([each for each in self.people if not each.hostile])
        self.world.count("vanished")
        self.vanished.append(person.name)
        for name in person.devices:
            self.world.lose(self.world.devices[name])
            self.leaving.missing.pop(name, None)

    # ---------------------------------------------------------------- what people answer

    def stepped(self, device: Device, before: State, given: inputs.Input, outcome: Outcome) -> None:
        del before
        if isinstance(given, inputs.Linked) and outcome.state.home is not None:
            person = self.person_of(device.name)
            if device.name not in person.devices:
                person.devices.append(device.name)
        for event in outcome.events:
            self.world.count(_kind(event))
            match event:
                case events.Invited(asks=True):
                    answer = inputs.Answer(conversation=event.conversation, accept=self.rng.random() < 0.9)
                    self._answer(device, answer)
                case events.MessageFate(fate=events.Fate.ASKS):
                    again = inputs.SayAgain(
                        conversation=event.conversation, content=event.content, again=self.rng.random() < 0.5
                    )
                    self._answer(device, again)
                case events.OutOfSync(asks=True, over=False):
                    self._answer(device, inputs.ComeBack(group=event.group))
                case _:
                    pass

    def _answer(self, device: Device, answer: inputs.Input) -> None:
        self.world.after(self.rng.randint(SECOND, 10 * MINUTE), lambda: self.world.command(device.name, answer))

    def refused(self, device: Device, given: inputs.Input, reason: Misuse) -> None:
        """It was a mistake, and the person was told."""


def _kind(event: events.Event) -> str:
    """What is counted, to know what a number of seeds went through."""
    match event:
        case events.MessageFate():
            return f"event {event.fate.name.lower()}"
        case events.IntentFate():
            return f"event intent {'stands' if event.stands else event.reason}"
        case events.Forked(over=False) | events.Split(over=False) | events.OutOfSync(over=False):
            return f"event {type(event).__name__}"
        case events.Forked() | events.Split() | events.OutOfSync():
            return f"event {type(event).__name__} over"
        case events.Warned():
            return f"event warned {event.code}"
        case _:
            return f"event {type(event).__name__}"


Act = Callable[[Life, Device], None]

ACTS: tuple[tuple[Act, int], ...] = (
    (Life.say, 50),
    (Life.invite_somebody, 12),
    (Life.remove_somebody, 8),
    (Life.depart, 2),
    (Life.refresh, 8),
    (Life.refresh_and_say, 8),
    (Life.refresh_home, 5),
    (Life.change_policy, 4),
    (Life.link_somebody, 4),
    (Life.remove_device, 3),
)
"""What people do, and how often beside the others."""

APART: tuple[tuple[Act, int], ...] = (
    (Life.say, 8),
    (Life.refresh, 4),
    (Life.refresh_and_say, 4),
    (Life.refresh_home, 2),
    (Life.invite_somebody, 2),
    (Life.remove_somebody, 2),
    (Life.change_policy, 1),
    (Life.link_somebody, 1),
    (Life.remove_device, 1),
)
"""The same, while the network is apart."""
