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

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from mls import group as front
from mls.key_package import KeyPackage
from mls.secret_tree import APPLICATION
from mls.virtual import client as vc
from mls.virtual.announcements import Uploaded
from mls.virtual.errors import MissingKeyError, UnknownEpochError, UnknownPackageError
from mls.virtual.settings import OPENMLS, Settings
from tests.mls.virtual import machine_people as people
from tests.mls.virtual.household import DERIVED, SETTINGS
from tests.mls.virtual.machine_delivery import DEVICES
from tests.mls.virtual.machine_device import Post
from tests.mls.virtual.machine_world import Crash, World

MOST_DEVICES = 5
MOST_CONVERSATIONS = 5
NAMES = ("anna", "ben", "carl")

POLICIES = (SETTINGS, DERIVED, replace(SETTINGS, profile=OPENMLS), replace(DERIVED, retain_seeds=True))

whom = st.integers(0, 11)
suites = st.sampled_from((1, 1, 1, 2, 3, 7))
crashes = st.sampled_from((Crash.NOT, Crash.NOT, Crash.NOT, *Crash))


class Household(RuleBasedStateMachine):
    @initialize(policy=st.sampled_from(POLICIES), count=st.integers(1, 3), suite=st.sampled_from((1, 3)))
    def begin(self, policy: Settings, count: int, suite: int) -> None:
        self.world = World(policy, suite=suite, count=count)
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

    @rule(
        by=whom,
        where=whom,
        who=whom,
        kind=st.sampled_from(("invite", "remove", "path", "key", "empty")),
        encrypt=st.sampled_from((None, None, False)),
        crash=crashes,
    )
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

    @rule(
        who=whom, where=whom, whom_=whom, kind=st.sampled_from(("invite", "remove", "path", "household", "household"))
    )
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

    @rule(by=whom, who=whom, where=whom, suite=suites)
    def somebody_invites_us(self, by: int, who: int, where: int, suite: int) -> None:
        """Into a conversation of theirs, with whatever KeyPackage is out; one is uploaded if none is."""
        world = self.world
        theirs = [each for each in world.conversations if world.topics[each].leaf is None]
        if not theirs and len(world.conversations) < MOST_CONVERSATIONS:
            theirs = [people.found(world, NAMES[who % len(NAMES)], suite)]
        if theirs:
            topic = world.topics[theirs[where % len(theirs)]]
            name, group = next(iter(topic.people.items()))
            if not any(each.cipher_suite == group.suite.cipher_suite for each in world.directory):
                world.upload(self.device(by), [group.suite.cipher_suite] * 2, Crash.NOT)
            people.commit(world, topic.group_id, name, household=True)

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


@pytest.mark.slow
def test_a_household() -> None:
    run_state_machine_as_test(Household, settings=settings(max_examples=150, stateful_step_count=40))


@pytest.mark.long
def test_households_for_long() -> None:
    run_state_machine_as_test(Household, settings=settings(max_examples=3000, stateful_step_count=80))


# What must be among what happens there: each of these once, by itself


def begun(policy: Settings = SETTINGS, count: int = 3) -> tuple[World, bytes]:
    """Devices in a conversation with Anna and Ben."""
    world = World(policy, count=count)
    world.create("device1", 1, Crash.NOT)
    [group_id] = world.conversations
    world.commit("device1", group_id, inviting=("anna", "ben"))
    people.settle(world)
    return world, group_id


def test_a_generation_that_two_devices_take() -> None:
    world, group_id = begun()
    entries = [world.say(name, group_id, name.encode(), Crash.NOT) for name in world.names]
    assert len({entry.claim for entry in entries if entry is not None}) == 1
    assert len({entry.author for entry in entries if entry is not None}) == 3
    people.settle(world)  # every device reads every one
    topic = world.topics[group_id]
    assert topic.collisions == 2  # and people the first: to say the others again is the application's business
    entries = [world.say(name, group_id, b"again", Crash.NOT) for name in world.names]
    assert len({entry.claim for entry in entries if entry is not None}) == 1
    people.settle(world)


def test_two_commits_at_once_and_a_second_try() -> None:
    world, group_id = begun()
    for name in world.names:
        world.commit(name, group_id, path=True)
    assert world.refused == 2
    people.settle(world)
    for name in world.names:
        world.commit(name, group_id, path=True)
        people.settle(world)
    assert world.refused == 2


def test_who_lags_waits_and_reads_all_in_the_end() -> None:
    world, group_id = begun()
    late = world.devices["device3"]
    topic = world.topics[group_id]

    def waits_for(kind: type[Exception]) -> None:
        at = late.state.at[group_id]
        with pytest.raises(kind):
            vc.receive(late.state.emulation, late.state.groups[group_id], late.env, topic.log[at].message)
        before = late.waited
        world.deliver("device3", group_id, 9)
        assert late.state.at[group_id] == at
        assert late.waited > before

    world.commit("device1", group_id, new_key=True)
    waits_for(MissingKeyError)
    people.settle(world)
    world.device_commit("device1", Crash.NOT, derive=True)
    world.deliver("device1", DEVICES, 9)
    world.commit("device1", group_id, path=True)
    world.deliver("device1", group_id, 9)
    world.say("device1", group_id, b"unheard of", Crash.NOT)
    waits_for(UnknownEpochError)
    people.settle(world)

    world.upload("device1", [1], Crash.NOT)
    other = people.found(world, "carl", 1)
    people.commit(world, other, "carl", household=True)
    with pytest.raises(UnknownPackageError):
        late.welcomed(late.state, world.mail[0])
    people.settle(world)
    assert other in late.state.groups


def test_what_is_announced_while_a_device_is_being_added() -> None:
    """Between the Add commit's making and its end of the epoch: the new device cannot read it and was not handed it."""
    world, _ = begun()
    world.add_device("device1", Crash.BEFORE_SENDING)
    world.upload("device2", [1], Crash.NOT)
    device = world.devices["device1"]
    [post] = device.state.outbox
    assert isinstance(post, Post)
    device.state = replace(device.state, outbox=(replace(post, based_on=None),))  # as if nobody looked
    world.flush(device)
    *_, newest = world.names
    [reference] = world.devices["device2"].state.emulation.stock
    assert reference not in world.devices[newest].state.emulation.stock

    # Nobody else can announce it in the maker's place, so the maker has to: and it may be heard twice.
    upload = next(entry for entry in world.told if isinstance(entry.announcement, Uploaded))
    maker = world.devices["device2"]
    maker.state = maker.state.later(upload)
    world.flush(maker)
    people.settle(world)
    assert reference in world.devices[newest].state.emulation.stock


def test_signature_keys_that_were_replaced_are_dropped() -> None:
    world, group_id = begun()
    for _ in range(3):
        world.commit("device1", group_id, new_key=True)
        world.deliver("device1", group_id, 9)
    people.settle(world)  # which prunes
    people.settle(world)
    for device in world.devices.values():
        in_use = {device.state.groups[group_id].own_leaf_node.signature_key}
        assert set(device.state.emulation.keys) == in_use


def test_a_late_message_and_then_a_new_device() -> None:
    """The first message of a sender's that comes after an epoch was retired brings no handshake keys back."""
    world, group_id = begun()
    world.say("device1", group_id, b"on its way", Crash.BEFORE_SENDING)
    world.commit("device2", group_id, path=True, encrypt=False)
    world.deliver("device2", group_id, 9)
    world.flush(world.devices["device1"])
    world.deliver("device2", group_id, 9)
    [past] = [past for (_, epoch), past in world.devices["device2"].state.past.items() if epoch == 1]
    assert past.keys.ratchets
    assert {at % 2 for at in past.keys.ratchets} == {APPLICATION}
    world.add_device("device2", Crash.NOT)
    people.settle(world)


@pytest.mark.parametrize("crash", list(Crash))
@pytest.mark.parametrize("policy", [SETTINGS, DERIVED])
def test_power_lost_in_the_middle_of_everything(policy: Settings, crash: Crash) -> None:
    """Each act, cut off at one place, and done again by another device before the first comes back."""
    world, group_id = begun(policy)
    acts: list[Callable[[str, Crash], object]] = [
        lambda name, crash: world.create(name, 2, crash),
        lambda name, crash: world.say(name, group_id, b"hello", crash),
        lambda name, crash: world.commit(name, group_id, crash, path=True),
        lambda name, crash: world.commit(name, group_id, crash, new_key=True),
        lambda name, crash: world.commit(name, group_id, crash, inviting=("carl",)),
        lambda name, crash: world.propose_update(name, group_id, crash),
        lambda name, crash: world.join_externally(name, group_id, crash),
        lambda name, crash: world.join_externally(name, group_id, crash, lost=True),
        lambda name, crash: world.upload(name, [1, 2], crash),
        lambda name, crash: world.device_commit(name, crash, derive=True),
        world.add_device,
        lambda name, crash: world.remove_device(name, world.names[-1], crash),
        lambda name, crash: people.carry_on(world, name, crash),
    ]
    for act in acts:
        act("device1", crash)
        act("device2", Crash.NOT)
        world.devices["device1"].restart()
        people.settle(world)


@pytest.mark.parametrize("policy", [SETTINGS, DERIVED])
def test_a_removed_device_reads_until_a_conversation_is_rotated(policy: Settings) -> None:
    world, group_id = begun(policy, 4)
    topic = world.topics[group_id]
    package = released(world, "device3")
    world.remove_device("device1", "device4", Crash.NOT)
    [adversary] = world.removed

    def reads(data: bytes) -> bool:
        topic.say("anna", data)
        adversary.listen(topic)
        return (group_id, len(topic.log) - 1) in adversary.read

    assert reads(b"nothing was rotated yet")
    world.commit("device2", group_id)
    assert reads(b"a commit without a path, or with the old keys, shuts nobody out")
    people.commit(world, group_id, "ben", path=True)
    assert reads(b"and neither does another member's")
    people.carry_on(world, "device2", Crash.NOT)
    assert not reads(b"now it is out")
    people.commit(world, group_id, "ben", path=True)
    assert not reads(b"and stays so")

    # Whoever still has a KeyPackage from before can let it in, but no sibling answers that Welcome.
    begun_by_carl = people.found(world, "carl", 1)
    world.directory.append(package)
    people.commit(world, begun_by_carl, "carl", household=True)
    adversary.open_welcome(world.mail[0], world.topics)
    for name in world.names:
        world.take_welcome(name, world.mail[0], Crash.NOT)
        assert (begun_by_carl in world.devices[name].state.groups) == (name == "device3")  # which heard of nothing
    people.settle(world)
    assert world.topics[begun_by_carl].open_to[1] == {"device4"}
    assert world.topics[begun_by_carl].open_to[world.topics[begun_by_carl].epoch] == set()

    # A KeyPackage of now is none of its business.
    begun_by_ben = people.found(world, "ben", 1)
    released(world, "device2")
    people.commit(world, begun_by_ben, "ben", household=True)
    people.settle(world)
    assert world.topics[begun_by_ben].leaf is not None
    assert not any(world.topics[begun_by_ben].open_to.values())


def released(world: World, name: str) -> KeyPackage:
    world.upload(name, [1], Crash.NOT)
    return world.directory[-1]


# Many seals


ALIKE = "the same randomness on every device"
BURST = 50


def seal_many(count: int) -> tuple[int, int]:
    """So many messages at least, and all on generations that each device takes without hearing of the others.

    Every device draws the same random bytes, so its place in the emulation group is all that keeps its nonces from
    being theirs. Between bursts some are heard, conversations and the emulation group move on, devices come and go, and
    one of them restarts.
    """
    world = World(SETTINGS, count=5)
    for suite in (1, 3, 2):
        world.create("device1", suite, Crash.NOT)
        world.commit("device1", world.conversations[-1], inviting=NAMES)
        world.deliver("device1", world.conversations[-1], 9)
    people.settle(world)
    sealed = turn = 0
    while sealed < count:
        turn += 1
        for group_id in world.conversations:
            messages = {name: burst(world, name, group_id, turn) for name in world.names}
            sealed += sum(len(each) for each in messages.values())
            names = world.names
            for speaker, listener in zip(names, [*names[1:], names[0]], strict=True):
                heard_from(world, listener, group_id, speaker, messages[speaker])
        world.devices[world.names[turn % 5]].restart()
        if turn % 4 == 0:
            world.device_commit(world.names[turn % 5], Crash.NOT, derive=True)
            people.settle(world)
        if turn % 6 == 0:
            world.remove_device(world.names[0], world.names[turn % 4 + 1], Crash.NOT)
            people.settle(world)
            world.add_device(world.names[turn % 4], Crash.NOT)
            people.settle(world)
        for group_id in world.conversations:
            world.commit(world.names[turn % 4], group_id, path=turn % 3 != 1 or turn % 6 == 0)
        people.settle(world)
    return sealed, world.recorder.seals


def burst(world: World, name: str, group_id: bytes, turn: int) -> list[bytes]:
    device = world.devices[name]
    env = world.recorder.environment(f"{ALIKE} {turn}")
    group = device.state.groups[group_id]
    messages = []
    for _ in range(BURST):
        sealed = vc.seal(device.state.emulation, group, env, b"one of many")
        group = sealed.group
        messages.append(sealed.message)
    device.state = device.state.with_group(group)
    return messages


def heard_from(world: World, listener: str, group_id: bytes, speaker: str, messages: list[bytes]) -> None:
    device = world.devices[listener]
    group = device.state.groups[group_id]
    expected = world.author(world.devices[speaker].state.emulation, world.devices[speaker].state.groups[group_id])
    for message in (messages[0], messages[-1]):
        got = vc.receive(device.state.emulation, group, device.env, message)
        assert got.author == expected
        group = got.event.group
    device.state = device.state.with_group(group)


@pytest.mark.slow
def test_ten_thousand_seals() -> None:
    sealed, pairs = seal_many(10_000)
    assert sealed >= 10_000
    assert pairs >= 2 * sealed  # a message seals its content, and who sent it


@pytest.mark.long
def test_a_hundred_thousand_seals() -> None:
    sealed, pairs = seal_many(100_000)
    assert sealed >= 100_000
    assert pairs >= 2 * sealed


def test_without_the_guards_these_would_be_nonces_used_twice() -> None:
    """The recorder and the randomness are what they are said to be."""
    world, group_id = begun()
    values = [world.devices[name].state.groups[group_id] for name in world.names[:2]]
    front.seal(values[0], world.recorder.environment(ALIKE), b"one")
    with pytest.raises(AssertionError, match="used twice"):
        front.seal(values[1], world.recorder.environment(ALIKE), b"other")


def test_a_device_that_went_back_in_time() -> None:
    """A value from a backup uses a key twice; only chance keeps the nonces apart, and here there is no chance."""
    world, group_id = begun()
    device = world.devices["device2"]
    group = device.state.groups[group_id]
    vc.seal(device.state.emulation, group, world.recorder.environment(ALIKE), b"one")
    with pytest.raises(AssertionError, match="used twice"):
        vc.seal(device.state.emulation, group, world.recorder.environment(ALIKE), b"other")
