"""Devices come, go, act, crash and restart at random in several conversations, and the virtual client stays one client.

`Household` below draws what happens; `machine_world` and `machine_people` do it. Messages are delivered to each device
when the machine says so, in order within a group and in any order across groups, so devices act on what they know.
Everything rests now and then (`settle`): all is sent and heard, removals are taken to their end, and then

* every device holds the same conversations, KeyPackages, keys, epochs and operations, and has read everything,
* every message was attributed to the device that sent it (asserted as it arrives),
* no AEAD key was ever used twice with one nonce, by whichever devices (asserted as it is used),
* a removed device read nothing in an epoch that began with a leaf it knows nothing of, came into none, and holds no
  secret that any device goes on with.
"""

from __future__ import annotations


from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from mls.virtual import client as vc
from mls.virtual.settings import Settings
from tests.conftest import LONG
from tests.mls.virtual import machine_people as people
from tests.mls.virtual.household import DERIVED, SETTINGS
from tests.mls.virtual.machine_delivery import DEVICES
from tests.mls.virtual.machine_recorder import Recorder
from tests.mls.virtual.machine_world import Crash, World

MOST_DEVICES = 5
MOST_CONVERSATIONS = 4
NAMES = ("anna", "ben", "carl")

whom = st.integers(0, 11)
suites = st.sampled_from((1, 1, 1, 2, 3, 7))
crashes = st.sampled_from((Crash.NOT, Crash.NOT, Crash.NOT, *Crash))


class Household(RuleBasedStateMachine):
    policies: tuple[Settings, ...] = (SETTINGS, DERIVED)

    @initialize(policy=st.integers(0, 1), count=st.integers(1, 3), suite=st.sampled_from((1, 3)))
    def begin(self, policy: int, count: int, suite: int) -> None:
        self.world = World(self.policies[policy % len(self.policies)], suite=suite, count=count)
        self.world.create(self.device(0), 1, Crash.NOT)
        self.world.commit(self.device(0), self.world.conversations[0], inviting=NAMES[:2])

    def device(self, choice: int) -> str:
        names = self.world.names
        return names[choice % len(names)]

    def somewhere(self, choice: int) -> bytes:
        conversations = self.world.conversations
        return conversations[choice % len(conversations)]

    def entered(self, name: str, choice: int) -> bytes | None:
        """A conversation that a device is in."""
        groups = list(self.world.devices[name].state.groups)
        return groups[choice % len(groups)] if groups else None

    # Conversations

    @rule(by=whom, suite=suites, crash=crashes)
    def create(self, by: int, suite: int, crash: Crash) -> None:
        if len(self.world.conversations) < MOST_CONVERSATIONS:
            self.world.create(self.device(by), suite, crash)

    @rule(by=whom, where=whom, data=st.binary(max_size=8), crash=crashes)
    def say(self, by: int, where: int, data: bytes, crash: Crash) -> None:
        name = self.device(by)
        group_id = self.entered(name, where)
        if group_id is not None:
            self.world.say(name, group_id, data, crash)

    @rule(one=whom, two=whom, where=whom)
    def say_at_once(self, one: int, two: int, where: int) -> None:
        """Two devices take one generation, if they know the same; their guards keep the nonces apart."""
        world = self.world
        names = self.device(one), self.device(two)
        group_id = self.entered(names[0], where)
        if names[0] == names[1] or group_id is None:
            return
        said = []
        for name in names:
            if name not in world.devices or group_id not in world.devices[name].state.groups:
                return
            world.deliver(name, group_id, len(world.topics[group_id].log))
        for name in names:
            if name in world.devices:
                said.append(world.say(name, group_id, name.encode(), Crash.NOT))
        if len(said) == 2 and said[0] is not None and said[1] is not None and said[0].epoch == said[1].epoch:
            assert said[0].author != said[1].author

    @rule(by=whom, where=whom, who=whom, kind=st.sampled_from(("invite", "remove", "path", "key", "empty")),
          encrypt=st.sampled_from((None, None, False)), crash=crashes)
    def commit(self, by: int, where: int, who: int, kind: str, encrypt: bool | None, crash: Crash) -> None:
        name = self.device(by)
        group_id = self.entered(name, where)
        if group_id is None:
            return
        person = NAMES[who % len(NAMES)]
        self.world.commit(
            name,
            group_id,
            crash,
            inviting=(person,) if kind == "invite" else (),
            removing=person if kind == "remove" else None,
            path=kind == "path",
            new_key=kind == "key",
            encrypt=encrypt,
        )

    @rule(by=whom, where=whom, crash=crashes)
    def propose_update(self, by: int, where: int, crash: Crash) -> None:
        name = self.device(by)
        group_id = self.entered(name, where)
        if group_id is not None:
            self.world.propose_update(name, group_id, crash)

    @rule(by=whom, where=whom, crash=crashes, lost=st.booleans())
    def join_externally(self, by: int, where: int, crash: Crash, lost: bool) -> None:
        self.world.join_externally(self.device(by), self.somewhere(where), crash, lost=lost)

    # Other people

    @rule(who=whom, suite=suites)
    def somebody_begins(self, who: int, suite: int) -> None:
        if len(self.world.conversations) < MOST_CONVERSATIONS:
            people.found(self.world, NAMES[who % len(NAMES)], suite)

    @rule(who=whom, where=whom, whom_=whom,
          kind=st.sampled_from(("invite", "remove", "path", "household", "household")))
    def somebody_commits(self, who: int, where: int, whom_: int, kind: str) -> None:
        group_id = self.somewhere(where)
        present = list(self.world.topics[group_id].people)
        if present:
            other = NAMES[whom_ % len(NAMES)]
            people.commit(
                self.world,
                group_id,
                present[who % len(present)],
                inviting=(other,) if kind == "invite" else (),
                removing=other if kind == "remove" else None,
                household=kind == "household",
                path=kind == "path",
            )

    @rule(who=whom, where=whom, data=st.binary(max_size=8))
    def somebody_says(self, who: int, where: int, data: bytes) -> None:
        topic = self.world.topics[self.somewhere(where)]
        present = list(topic.people)
        if present:
            topic.say(present[who % len(present)], data)

    # KeyPackages

    @rule(by=whom, suites=st.lists(suites, min_size=1, max_size=3), crash=crashes)
    def upload(self, by: int, suites: list[int], crash: Crash) -> None:
        self.world.upload(self.device(by), suites, crash)

    @precondition(lambda self: self.world.mail)
    @rule(by=whom, which=whom, crash=crashes)
    def take_welcome(self, by: int, which: int, crash: Crash) -> None:
        mail = self.world.mail
        self.world.take_welcome(self.device(by), mail[which % len(mail)], crash)

    # Devices

    @rule(by=whom, crash=crashes)
    def add_device(self, by: int, crash: Crash) -> None:
        if len(self.world.devices) < MOST_DEVICES:
            self.world.add_device(self.device(by), crash)

    @rule(by=whom, who=whom, crash=crashes)
    def remove_device(self, by: int, who: int, crash: Crash) -> None:
        if len(self.world.removed) < 2:
            self.world.remove_device(self.device(by), self.device(who), crash)

    @rule(by=whom, crash=crashes)
    def carry_on_a_removal(self, by: int, crash: Crash) -> None:
        people.carry_on(self.world, self.device(by), crash)

    @rule(by=whom, derive=st.booleans(), crash=crashes)
    def device_commit(self, by: int, derive: bool, crash: Crash) -> None:
        self.world.device_commit(self.device(by), crash, derive=derive, force_path=True)

    @rule(who=whom)
    def restart(self, who: int) -> None:
        self.world.devices[self.device(who)].restart()

    @rule(who=whom, where=whom)
    def forget_a_commit(self, who: int, where: int) -> None:
        """A device that lost what waits to be adopted follows its own commit like a sibling's."""
        name = self.device(who)
        group_id = self.entered(name, where)
        if group_id is not None:
            device = self.world.devices[name]
            device.state = device.state.with_pending(group_id, None)

    # What reaches devices

    @rule(who=whom, where=whom, most=st.integers(1, 6), lost=st.booleans())
    def deliver(self, who: int, where: int, most: int, lost: bool) -> None:
        name = self.device(who)
        group_id = self.entered(name, where)
        if group_id is not None:
            self.world.deliver(name, group_id, most, lost=lost)

    @rule(who=whom, most=st.integers(1, 6), lost=st.booleans())
    def deliver_to_devices(self, who: int, most: int, lost: bool) -> None:
        self.world.deliver(self.device(who), DEVICES, most, lost=lost)

    @rule()
    def settle(self) -> None:
        people.settle(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            people.settle(self.world)


def test_a_household() -> None:
    run_state_machine_as_test(Household, settings=settings(max_examples=40, stateful_step_count=40))
