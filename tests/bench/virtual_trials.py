"""What is tried at one size, in both worlds at once.

Two actions that are compared are timed in turn, first the one and then the other, so that a busy machine slows both;
the ratio is that of the medians, and `low` and `high` are quartiles of the ratios of single turns. Values never change,
so an action is repeated from the same state. The collector is off meanwhile.

What takes several steps, some of them once and some for each conversation, is added up from steps that were timed
together (`Cost`).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median, quantiles

from mls import group as mls_group, snapshot
from mls.commit import NewLeaf
from mls.credential import BasicCredential
from mls.group import ApplicationMessage
from mls.proposals import Add, Remove
from mls.provider import Environment
from mls.registries import LeafIndex
from mls.state import Group
from mls.suite import Suite
from mls.virtual import client, devices, onboarding, stored
from mls.virtual.announcements import Keys, SignatureKey
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.emulation import Emulation
from mls.virtual.stock import Offer, make_batch
from tests.bench.virtual_worlds import (
    AT_HOME,
    SETTINGS,
    PlainChurn,
    VirtualChurn,
    VirtualWorld,
    ciphertexts,
    client_able,
    device_package,
    events,
    home,
    homes,
    mean_resolution,
    parents,
    usual_member,
    virtual_world,
)
from tests.bench.worlds import GROUP_ID, LIFETIME, PARAMETERS, World, key_package

CONVERSATIONS = (1, 10, 100)
"""In how many a device is that comes, goes, or gets new keys."""
TEXT = 256


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison. `ratio` is what ordinary members take for one that virtual clients take: above 1, these win."""

    impl: str
    op: str
    tree: str
    unit: str
    devices: int
    people: int
    conversations: int
    plain: float | None
    virtual: float
    ratio: float | None
    low: float | None
    high: float | None


Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Clock:
    """How long things are timed, and by what."""

    budget: float
    """Seconds for one comparison."""
    now: Callable[[], float]

    def turns(self, *actions: Action) -> list[list[float]]:
        """Milliseconds of each action, turn by turn: 5 turns at least and 300 at most."""
        for action in actions:
            action()
        taken: list[list[float]] = [[] for _ in actions]
        spent, turn, now = 0.0, 0, self.now
        gc.collect()
        gc.disable()
        try:
            while turn < 5 or (spent < self.budget and turn < 300):
                numbered = list(enumerate(actions))
                for number, action in numbered if turn % 2 else reversed(numbered):
                    start = now()
                    action()
                    took = now() - start
                    taken[number].append(took * 1000)
                    spent += took
                turn += 1
        finally:
            gc.enable()
        return taken


def _more(longer: list[float], shorter: list[float]) -> float:
    """What one action takes more than another, in the same turns."""
    return median([one - other for one, other in zip(longer, shorter, strict=True)])


@dataclass(frozen=True, slots=True)
class Cost:
    """Of something: once, and again for each conversation."""

    once: float
    each: float

    def at(self, conversations: int) -> float:
        return self.once + conversations * self.each


@dataclass(frozen=True, slots=True)
class Trial:
    """One size: `people` with so many devices each."""

    env: Environment
    suite: Suite
    impl: str
    people: int
    devices: int
    clock: Clock

    def row(
        self,
        op: str,
        tree: str,
        unit: str,
        plain: float | None,
        virtual: float,
        *,
        turns: tuple[list[float], list[float]] | None = None,
        conversations: int = 1,
    ) -> Row:
        ratio = round(plain / virtual, 3) if plain is not None and virtual else None
        low = high = ratio
        if turns is not None:
            quarters = quantiles([one / other for one, other in zip(*turns, strict=True)], n=4)
            low, high = round(quarters[0], 3), round(quarters[2], 3)
        figures = (None if plain is None else round(plain, 4), round(virtual, 4), ratio, low, high)
        return Row(self.impl, op, tree, unit, self.devices, self.people, conversations, *figures)

    def timed(self, op: str, tree: str, plain: Action, virtual: Action) -> Row:
        one, other = self.clock.turns(plain, virtual)
        return self.row(op, tree, "ms", median(one), median(other), turns=(one, other))

    def sized(self, op: str, tree: str, plain: int | None, virtual: int) -> Row:
        return self.row(op, tree, "bytes", plain, virtual)

    def rows(self) -> Iterator[Row]:
        env, suite = self.env, self.suite
        at_home = homes(env, suite, self.people, self.devices)
        members = self.people * self.devices
        flat = World(env, members, full=False, cipher_suite=suite.cipher_suite)
        yield from self.commits("flat", flat, virtual_world(env, suite, at_home, full=False))
        plain = World(env, members, full=True, cipher_suite=suite.cipher_suite)
        virtual = virtual_world(env, suite, at_home, full=True)
        yield from self.commits("full", plain, virtual)
        yield from self.inviting(plain, virtual)
        yield from self.talking(plain, virtual)
        yield from self.keeping(plain, virtual, at_home[0][0])
        yield from self.device_comes(plain, virtual)
        yield from self.device_goes(plain, virtual)
        yield from self.healing(plain, virtual)
        yield from self.churning(plain, virtual_world(env, suite, at_home, full=True))

    # Commits

    def commits(self, tree: str, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """A path commit, made, followed by somebody else's device, and by another device of the committer's person."""
        env = self.env
        zero, one = plain.member(0), plain.member(self.devices)
        ours, theirs = virtual.member(0), virtual.member(1)
        own, other = virtual.homes[0], virtual.homes[1][0]
        yield self.timed(
            "commit_create",
            tree,
            lambda: mls_group.commit(zero, env),
            lambda: client.commit(own[0], ours, env, force_path=True),
        )
        sent = mls_group.commit(zero, env).message
        acted = client.commit(own[0], ours, env, force_path=True).commit.message
        yield self.sized("commit_bytes", tree, len(sent), len(acted))
        yield self.timed(
            "commit_process",
            tree,
            lambda: mls_group.receive(one, env, sent),
            lambda: client.receive(other, theirs, env, acted),
        )
        if self.devices > 1:
            beside = plain.member(1)
            yield self.timed(
                "commit_follow",
                tree,
                lambda: mls_group.receive(beside, env, sent),
                lambda: client.receive(own[1], ours, env, acted),
            )

    def churning(self, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """What the same comings and goings of devices leave behind, and what the usual member's next commit costs."""
        env = self.env
        before, after = PlainChurn(plain, self.devices), VirtualChurn(virtual)
        for event in events(self.people, self.devices, seed=self.people):
            before.happen(event)
            after.happen(event)
        first = before.member(0)
        zero = before.member(usual_member(first.public.tree, before.bystanders() or [first.own_leaf]))
        tree = after.member(0)[1].public.tree
        emulation, ours = after.member(usual_member(tree, after.bystanders() or [LeafIndex(0)]))
        blank = parents(zero.public.tree.root)[1], parents(tree.root)[1]
        yield self.row("blank_parents", "churned", "count", *blank)
        resolved = mean_resolution(zero.public.tree), mean_resolution(tree)
        yield self.row("mean_resolution", "churned", "count", *resolved)
        sealed = ciphertexts(zero.public.tree, zero.own_leaf), ciphertexts(tree, ours.own_leaf)
        yield self.row("commit_ciphertexts", "churned", "count", *sealed)
        yield self.timed(
            "commit_create",
            "churned",
            lambda: mls_group.commit(zero, env),
            lambda: client.commit(emulation, ours, env, force_path=True),
        )
        sent = mls_group.commit(zero, env).message
        acted = client.commit(emulation, ours, env, force_path=True).commit.message
        yield self.sized("commit_bytes", "churned", len(sent), len(acted))

    # People

    def inviting(self, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """Somebody with as many devices comes into the conversation: all devices added, or one virtual client."""
        env, suite = self.env, self.suite
        zero, ours, own = plain.member(0), virtual.member(0), virtual.homes[0][0]
        packages = [key_package(env, suite, b"guest, device %d" % number) for number in range(self.devices)]
        guests = home(env, suite, b"guest", self.devices)
        batch = make_batch(guests[0], env, [self._offer()])
        offered = batch.released(announced=True)[0]
        adds, add = [Add(package.key_package) for package in packages], [Add(offered)]
        yield self.timed(
            "invite_create",
            "full",
            lambda: mls_group.commit(zero, env, proposals=adds, force_path=True),
            lambda: client.commit(own, ours, env, proposals=add, force_path=True),
        )
        sent = mls_group.commit(zero, env, proposals=adds, force_path=True)
        acted = client.commit(own, ours, env, proposals=add, force_path=True).commit
        assert sent.welcome is not None
        assert acted.welcome is not None
        welcome, ours_welcome = sent.welcome, acted.welcome
        published = sum(len(package.key_package.encoded) for package in packages)
        yield self.sized("key_packages_bytes", "full", published, len(offered.encoded))
        yield self.sized("invite_bytes", "full", len(sent.message), len(acted.message))
        yield self.sized("welcome_bytes", "full", len(welcome), len(ours_welcome))
        yield self.timed(
            "join",
            "full",
            lambda: mls_group.join(env, PARAMETERS, welcome, packages[:1]),
            lambda: client.join(batch.emulation, env, PARAMETERS, ours_welcome),
        )

    def _offer(self) -> Offer:
        return Offer(
            cipher_suite=self.suite.cipher_suite,
            credential=BasicCredential(b"guest"),
            capabilities=client_able(self.suite),
            lifetime=LIFETIME,
        )

    # Messages, and what is kept

    def talking(self, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """A message from person 0, read by somebody else and by another device of the same person."""
        env = self.env
        data = env.provider.random(TEXT)
        zero = mls_group.seal(plain.member(0), env, data)[0]
        own = virtual.homes[0]
        ours = client.seal(own[0], virtual.member(0), env, data).group
        yield self.timed(
            "seal_256", "full", lambda: mls_group.seal(zero, env, data), lambda: client.seal(own[0], ours, env, data)
        )
        first, second = mls_group.seal(plain.member(0), env, data)[1], mls_group.seal(zero, env, data)[1]
        started = client.seal(own[0], virtual.member(0), env, data)
        said = started.message, client.seal(own[0], started.group, env, data).message
        yield self.sized("message_bytes", "full", len(second), len(said[1]))

        def reader(group: Group) -> Group:
            return mls_group.receive(group, env, first).group

        def sharer(emulation: Emulation, group: Group) -> Group:
            return client.receive(emulation, group, env, said[0]).event.group

        one, theirs, other = (
            reader(plain.member(self.devices)),
            sharer(virtual.homes[1][0], virtual.member(1)),
            (virtual.homes[1][0]),
        )
        yield self.timed(
            "unseal_256",
            "full",
            lambda: mls_group.receive(one, env, second),
            lambda: client.receive(other, theirs, env, said[1]),
        )
        if self.devices > 1:
            beside, sibling = reader(plain.member(1)), sharer(own[1], virtual.member(0))
            got = client.receive(own[1], sibling, env, said[1])
            assert isinstance(got.event, ApplicationMessage)
            assert got.author is not None
            yield self.timed(
                "unseal_own_256",
                "full",
                lambda: mls_group.receive(beside, env, second),
                lambda: client.receive(own[1], sibling, env, said[1]),
            )

    def keeping(self, plain: World, virtual: VirtualWorld, at_home: Emulation) -> Iterator[Row]:
        """What a leaf says, and what each device stores: of the conversation, of its home, and there for the other.

        `at_home` is what the first device knew before the conversation was.
        """
        own = virtual.homes[0][0]
        leaf, ours = plain.member(0).own_leaf_node, virtual.member(0).own_leaf_node
        info = derivation_info_of(ours.extensions, SETTINGS.numbers)
        assert info is not None
        yield self.sized("leaf_bytes", "full", len(leaf.encoded), len(ours.encoded))
        yield self.sized("derivation_info_bytes", "full", None, len(info.encode()))
        yield self.sized(
            "stored_bytes",
            "full",
            len(snapshot.encode(plain.member(0)).raw),
            len(snapshot.encode(virtual.member(0)).raw),
        )
        bare = stored.encode(at_home.pruned([], since=at_home.head.newest)).raw
        whole = stored.encode(own.pruned([virtual.member(0)], since=own.head.newest)).raw
        yield self.sized("stored_at_home_bytes", "full", None, len(snapshot.encode(own.group).raw) + len(bare))
        yield self.sized("stored_for_conversation_bytes", "full", None, len(whole) - len(bare))

    # Devices

    def device_comes(self, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """A device more for person 0: what the one that adds it and the new one do, and all that they send.

        The virtual client admits it once. Then either conversations are handed over and each is given a new leaf, so
        that the new device may send; or they are told by name, and the new device joins each from outside, with what
        somebody published. The others' processing is not counted: one commit in each conversation in all three ways.
        """
        env, suite = self.env, self.suite
        zero, ours, own = plain.member(0), virtual.member(0), virtual.homes[0][0]
        package = key_package(env, suite, b"new device")
        add = [Add(package.key_package)]
        sent = mls_group.commit(zero, env, proposals=add)
        assert sent.welcome is not None
        welcome = sent.welcome
        new = device_package(env, suite, b"new device")
        handed = [onboarding.Handed(ours)]

        def admitted(conversations: list[onboarding.Handed]) -> onboarding.Admission:
            return onboarding.admit(own, env, new.key_package, conversations=conversations)

        bare, full = admitted([]), admitted(handed)
        named = onboarding.admit(own, env, new.key_package, external=[GROUP_ID])
        info = mls_group.group_info(virtual.member(1))

        def onboarded(admission: onboarding.Admission) -> onboarding.Onboarded:
            packages = [new]
            return onboarding.onboard(
                env, AT_HOME, PARAMETERS, admission.welcome(final=True), packages, trees=admission.trees
            )

        assert onboarded(full).conversations[0].group.authenticator == ours.authenticator
        after, outside = devices.adopt(full.made.emulation, full.made), onboarded(named)
        assert outside.external == (GROUP_ID,)

        def entered() -> client.Entered:
            return client.join_externally(
                outside.emulation,
                env,
                PARAMETERS,
                info,
                credential=ours.own_leaf_node.credential,
                capabilities=ours.own_leaf_node.capabilities,
                signature_private=ours.signature_key,
                remove=ours.own_leaf,
            )

        steps: list[Action] = [
            lambda: key_package(env, suite, b"new device"),
            lambda: mls_group.commit(zero, env, proposals=add),
            lambda: mls_group.join(env, PARAMETERS, welcome, [package]),
            lambda: device_package(env, suite, b"new device"),
            lambda: admitted([]),
            lambda: onboarded(bare),
            lambda: admitted(handed),
            lambda: onboarded(full),
            lambda: client.commit(after, ours, env, force_path=True),
            entered,
        ]
        turns = self.clock.turns(*steps)
        made, added, joined, packed, least, alone, _, _, rotated, outward = map(median, turns)
        given, taken = _more(turns[6], turns[4]), _more(turns[7], turns[5])
        each = given + taken + rotated
        yield from self._over("device_added", "ms", Cost(0, made + added + joined), Cost(packed + least + alone, each))
        costs = Cost(0, made + added + joined), Cost(packed + least + alone, outward)
        yield from self._over("device_added_from_outside", "ms", *costs)
        yield self.row("take_over", "full", "ms", joined, taken)
        rotation = client.commit(after, ours, env, force_path=True).commit
        once = len(new.key_package.encoded) + len(bare.made.commit.message) + len(bare.welcome(final=True))
        state = len(full.welcome(final=True)) - len(bare.welcome(final=True))
        tree = sum(map(len, full.trees.values()))
        yield self.sized("handed_over_bytes", "full", len(welcome), state + tree)
        sizes = len(package.key_package.encoded) + len(sent.message) + len(welcome)
        yield from self._over("device_added", "bytes", Cost(0, sizes), Cost(once, state + tree + len(rotation.message)))
        outer = (
            len(named.welcome(final=True)) - len(bare.welcome(final=True)) + len(info) + len(entered().joined.message)
        )
        yield from self._over("device_added_from_outside", "bytes", Cost(0, sizes), Cost(once, outer))

    def device_goes(self, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """One device less for person 0, done by another: a Remove in each conversation, or one at home.

        The virtual client then gives each conversation a leaf with a new signature key, of which the devices are told.
        """
        if self.devices == 1:
            return
        env = self.env
        zero, ours, own = plain.member(0), virtual.member(0), virtual.homes[0][0]
        gone = [Remove(LeafIndex(self.devices - 1))]
        emulation = devices.commit(own, env, proposals=gone)
        after = devices.adopt(emulation.emulation, emulation)

        def renewed() -> tuple[devices.Announced, NewLeaf]:
            drawn, public = after.drawn_key(env, ours.suite.cipher_suite)
            private = drawn.keys[public].private
            told = Keys((SignatureKey(cipher_suite=ours.suite.cipher_suite, public=public, private=private),))
            return devices.announce(drawn, env, told), NewLeaf(signature_private=private)

        def rotated() -> tuple[devices.Announced, client.Acted]:
            told, new = renewed()
            return told, client.commit(told.emulation, ours, env, new=new)

        removed = mls_group.commit(zero, env, proposals=gone)
        steps: list[Action] = [
            lambda: mls_group.commit(zero, env, proposals=gone),
            lambda: devices.commit(own, env, proposals=gone),
            rotated,
        ]
        plainly, once, each = map(median, self.clock.turns(*steps))
        yield from self._over("device_removed", "ms", Cost(0, plainly), Cost(once, each))
        told, acted = rotated()
        sizes = Cost(len(emulation.commit.message), len(told.message) + len(acted.commit.message))
        yield from self._over("device_removed", "bytes", Cost(0, len(removed.message)), sizes)

    def healing(self, plain: World, virtual: VirtualWorld) -> Iterator[Row]:
        """Fresh keys for all devices of person 0: a commit by each in each conversation, or by each at home.

        The last of those at home begins a derivation epoch, and each conversation gets a leaf from there.
        """
        env = self.env
        zero, ours, own = plain.member(0), virtual.member(0), virtual.homes[0]
        steps: list[Action] = [
            lambda: mls_group.commit(zero, env),
            lambda: devices.commit(own[0], env, derive=True),
            lambda: client.commit(own[0], ours, env, force_path=True),
        ]
        plainly, once, each = map(median, self.clock.turns(*steps))
        count = self.devices
        yield from self._over("healed", "ms", Cost(0, count * plainly), Cost(count * once, each))
        at_home = devices.commit(own[0], env, derive=True).commit.message
        sent = len(mls_group.commit(zero, env).message)
        acted = len(client.commit(own[0], ours, env, force_path=True).commit.message)
        yield from self._over("healed", "bytes", Cost(0, count * sent), Cost(count * len(at_home), acted))
        yield self.row("home_commit_create", "full", "ms", None, once)
        yield self.sized("home_commit_bytes", "full", None, len(at_home))
        if count > 1:
            (taken,) = self.clock.turns(lambda: devices.receive(own[1], env, at_home))
            yield self.row("home_commit_process", "full", "ms", None, median(taken))

    def _over(self, op: str, unit: str, plain: Cost, virtual: Cost) -> Iterator[Row]:
        for conversations in CONVERSATIONS:
            both = plain.at(conversations), virtual.at(conversations)
            yield self.row(op, "full", unit, *both, conversations=conversations)
