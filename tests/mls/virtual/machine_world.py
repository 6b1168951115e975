"""Devices of a virtual client that act at random, crash and restart, with the people they talk to (`test_machine`).

Each act is computed from what the device has stored, stored, and sent, and may be cut off in between (`Crash`). What a
device has to send waits in its outbox, in order, until it is sent: announcements before what they announce. For
anything that other devices must hear, a device first reads the emulation group's log to its end; conversations it may
be behind in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum
from typing import Any

from mls import group as front
from mls.commit import KEEP, NewLeaf
from mls.errors import CallerError
from mls.key_package import KeyPackage, create_key_package
from mls.leaf_node import LeafNode
from mls.parameters import Parameters
from mls.proposals import Add, Proposal, Remove
from mls.registries import GroupId
from mls.state import Group
from mls.virtual import client as vc, devices
from mls.virtual.announcements import Keys, SignatureKey, Welcomed, Withdrawn
from mls.virtual.conversation import Author
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.emulation import Emulation
from mls.virtual.errors import UnknownPackageError
from mls.virtual.leaves import active_epoch
from mls.virtual.membership import device_capabilities, device_extensions, device_parameters, group_extensions
from mls.virtual.onboarding import Handed, admit, onboard
from mls.virtual.settings import Settings, SignaturePolicy
from mls.virtual.stock import make_batch
from tests.mls.clients import LIFETIME, client
from tests.mls.virtual.household import ABLE, SUITES, offer
from tests.mls.virtual.machine_adversary import Adversary
from tests.mls.virtual.machine_delivery import DEVICES, HOUSEHOLD, Entry, Kind, Topic, leaf_of, virtual_leaf, waits
from tests.mls.virtual.machine_device import Admit, Device, Item, Pending, Post, Publish, Stored, Tell
from tests.mls.virtual.machine_recorder import Recorder

PARAMETERS = Parameters(resumption_psks=4)


class Crash(Enum):
    """Where a device loses power, if it does."""

    NOT = "not"
    BEFORE_STORING = "before storing"
    BEFORE_SENDING = "before sending"
    AFTER_SENDING = "after sending, and before that is noted"


class World:
    """Everybody."""

    def __init__(self, settings: Settings, *, suite: int = 1, count: int = 2) -> None:
        self.settings = settings
        self.suite = suite
        self.recorder = Recorder()
        self.people_env = self.recorder.environment("people")
        self.topics = {DEVICES: Topic(DEVICES, self.people_env)}
        self.devices: dict[str, Device] = {}
        self.removed: list[Adversary] = []
        self.directory: list[KeyPackage] = []
        self.mail: list[bytes] = []
        self.made = 0
        self.refused = 0
        self.told: list[Tell] = []
        self._speakers: dict[tuple[bytes, int], str] = {}
        self._found()
        for _ in range(1, count):
            self.add_device(self.names[0], Crash.NOT)
        for device in self.devices.values():
            self.catch_up(device)

    @property
    def names(self) -> list[str]:
        return list(self.devices)

    @property
    def conversations(self) -> list[bytes]:
        return [group_id for group_id in self.topics if group_id != DEVICES]

    def number(self) -> int:
        self.made += 1
        return self.made

    # Devices

    def _device_parameters(self) -> Parameters:
        return device_parameters(self.settings, PARAMETERS)

    def _found(self) -> None:
        name = f"device{self.number()}"
        env = self.recorder.environment(name)
        person = client(name, self.suite)
        group = front.create(
            env,
            self._device_parameters(),
            self.suite,
            GroupId(DEVICES),
            credential=person.credential,
            signature_private=person.signer,
            capabilities=device_capabilities(SUITES),
            lifetime=LIFETIME,
            leaf_extensions=device_extensions(self.settings, PARAMETERS),
            extensions=group_extensions(self.settings),
        )
        self.devices[name] = Device(name, env, Stored(emulation=devices.start(self.settings, group)), PARAMETERS)

    def add_device(self, by: str, crash: Crash) -> None:
        device = self.ready(by)
        if device is None:
            return
        name = f"device{self.number()}"
        person = client(name, self.suite)
        package = create_key_package(
            self.recorder.environment(f"{name} before"),
            self.suite,
            credential=person.credential,
            signature_private=person.signer,
            capabilities=device_capabilities(SUITES),
            lifetime=LIFETIME,
            leaf_extensions=device_extensions(self.settings, PARAMETERS),
        )
        state, mark = device.state, self.recorder.mark()
        handed = [
            Handed(group, tuple([past for (each, _), past in state.past.items() if each == group_id]))
            for group_id, group in state.groups.items()
        ]
        admission = admit(state.emulation, device.env, package.key_package, conversations=handed)
        based_on = len(self.topics[DEVICES].log)
        then = (Admit(name, package, admission, state),)
        state = self._device_commit(device, admission.made, then=then, based_on=based_on)
        self.done(device, state, crash, mark)

    def _device_commit(
        self,
        device: Device,
        made: devices.DeviceCommit,
        *,
        then: tuple[Item, ...] = (),
        based_on: int | None = None,
        removed: tuple[str, ...] = (),
        first: tuple[Item, ...] = (),
    ) -> Stored:
        before = made.emulation.group
        entry = Entry(
            by=device.name,
            group_id=DEVICES,
            epoch=before.epoch,
            kind=Kind.COMMIT,
            message=made.commit.message,
            removed=removed,
        )
        pending = Pending(message=entry.message, epoch=entry.epoch, made=made)
        state = replace(device.state, emulation=made.emulation).with_pending(DEVICES, pending)
        return state.later(*first, Post(entry=entry, then=then, based_on=based_on))

    def device_commit(self, by: str, crash: Crash, **options: Any) -> None:
        device = self.ready(by)
        if device is not None:
            mark = self.recorder.mark()
            made = devices.commit(device.state.emulation, device.env, **options)
            self.done(device, self._device_commit(device, made), crash, mark)

    def remove_device(self, by: str, target: str, crash: Crash) -> None:
        """KeyPackages first, then the device. What is left to do, `carry_on` does."""
        device = self.ready(by)
        if device is None or target not in self.devices or target == by:
            return
        self.directory.clear()
        mark = self.recorder.mark()
        emulation = device.state.emulation
        references = tuple(sorted(emulation.stock))
        leaf = leaf_of(emulation.group, target)
        assert leaf is not None
        made = devices.commit(emulation.without(references), device.env, proposals=[Remove(leaf)])
        first = (Tell(Withdrawn(references)),) if references else ()
        self.done(device, self._device_commit(device, made, removed=(target,), first=first), crash, mark)

    def _removed(self, target: str) -> None:
        device = self.devices.pop(target, None)
        if device is None:
            return
        self.removed.append(Adversary(device, self.topics))
        for topic in self.topics.values():
            if topic.leaf is not None or topic.group_id == DEVICES:
                topic.open_to[topic.epoch] = topic.open_to.get(topic.epoch, frozenset()) | {target}

    def _arrive(self, item: Admit) -> None:
        env = self.recorder.environment(item.name)
        new = onboard(
            env,
            self._device_parameters(),
            PARAMETERS,
            item.admission.welcome(final=True),
            [item.package],  # type: ignore[list-item]
            trees=item.admission.trees,
        )
        assert not new.waiting
        log = self.topics[DEVICES].log
        [at] = [at for at, entry in enumerate(log) if entry.message == item.admission.made.commit.message]
        # What the other device had read when it made the commit is what the newcomer has.
        state = replace(
            item.state,
            emulation=new.emulation,
            groups={each.group.group_id: each.group for each in new.conversations},
            past={(past.group_id, past.epoch): past for each in new.conversations for past in each.past},
            pending={},
            outbox=(),
            at={**item.state.at, DEVICES: at + 1},
        )
        self.devices[item.name] = Device(item.name, env, state, PARAMETERS)
        self._note(self.devices[item.name])

    def _note(self, device: Device) -> None:
        """Which device is what leaf: guards and attributions rest on that being one to one."""
        epoch = device.state.emulation.newest
        assert epoch.own_leaf is not None
        assert self._speakers.setdefault((epoch.epoch_id, epoch.own_leaf), device.name) == device.name

    # Storing and sending

    def done(self, device: Device, state: Stored, crash: Crash, mark: int) -> None:
        """An act was computed."""
        if crash is Crash.BEFORE_STORING:
            self.recorder.forget(mark)
            return
        device.state = state
        if crash is not Crash.BEFORE_SENDING:
            self.flush(device, crash)

    def flush(self, device: Device, crash: Crash = Crash.NOT) -> None:
        while device.state.outbox and device.name in self.devices:
            item = device.state.outbox[0]
            then = self._send(device, item)
            if crash is Crash.AFTER_SENDING and isinstance(item, Tell | Post):
                return  # and it is sent once more
            state = device.state
            device.state = replace(state, outbox=(*then, *state.outbox[1:]))

    def _send(self, device: Device, item: Item) -> tuple[Item, ...]:
        if isinstance(item, Tell):
            self.catch_up(device)
            told = devices.announce(device.state.emulation, device.env, item.announcement)
            device.state = replace(device.state, emulation=told.emulation)
            group = told.emulation.group
            entry = Entry(
                by=device.name,
                group_id=DEVICES,
                epoch=group.epoch,
                kind=Kind.APPLICATION,
                message=told.message,
                again=any(item is each for each in self.told),
            )
            assert self.topics[DEVICES].post(entry)
            self.told.append(item)
            return ()
        if isinstance(item, Post):
            return self._post(device, item)
        if isinstance(item, Publish):
            if any(adversary.knows(item.epoch_id) for adversary in self.removed):
                references = [package.reference(device.env.suite(package.cipher_suite)) for package in item.packages]  # type: ignore[attr-defined]
                emulation = device.state.emulation.without(references)
                device.state = replace(device.state, emulation=emulation)
                return (Tell(Withdrawn(tuple(sorted(references)))),)
            self.directory.extend(item.packages)  # type: ignore[arg-type]
            return ()
        self._arrive(item)
        return ()

    def _post(self, device: Device, item: Post) -> tuple[Item, ...]:
        entry = item.entry
        topic = self.topics[entry.group_id]
        seen = len(topic.log)
        if (item.based_on is None or item.based_on == seen or entry in topic.log) and self.accepted(entry):
            return item.then
        self.refused += 1
        state = device.state
        pending = state.pending.get(entry.group_id)
        if pending is not None and pending.message == entry.message:
            device.state = state = state.with_pending(entry.group_id, None)
        group = state.groups.get(entry.group_id)
        if item.proposal is not None and group is not None and item.proposal in group.proposals:
            proposals = {each: kept for each, kept in group.proposals.items() if each != item.proposal}
            updates = {each: kept for each, kept in group.updates.items() if each != item.update}
            device.state = state.with_group(replace(group, proposals=proposals, updates=updates))
        return ()

    def accepted(self, entry: Entry) -> bool:
        topic = self.topics[entry.group_id]
        before = len(topic.log)
        was, epoch = topic.leaf, topic.epoch
        accepted = topic.post(entry)
        if accepted and len(topic.log) > before and entry.kind is Kind.COMMIT:
            if entry.group_id == DEVICES:
                for name in entry.removed:
                    self._removed(name)
            else:
                self._opened(topic, was, epoch)
        return accepted

    def _opened(self, topic: Topic, was: LeafNode | None, epoch: int) -> None:
        """Which removed devices can be in a new epoch: those that know what its leaf comes from."""
        leaf = topic.leaf
        before = topic.open_to.get(epoch, frozenset())
        if leaf is None or was is None or leaf.encoded != was.encoded:
            after = frozenset() if leaf is None else self.knowing(leaf)
            assert was is None or after <= before
        else:
            after = before
        topic.open_to[epoch + 1] = after

    def knowing(self, leaf: LeafNode) -> frozenset[str]:
        info = derivation_info_of(leaf.extensions, self.settings.numbers)
        assert info is not None
        return frozenset([adversary.name for adversary in self.removed if adversary.knows(info.epoch_id)])

    # Hearing

    def catch_up(self, device: Device) -> None:
        """To the end of the emulation group's log."""
        topic = self.topics[DEVICES]
        while device.state.at.get(DEVICES, 0) < len(topic.log):
            device.state = device.hear(topic, 1)
            self._note(device)

    def deliver(self, name: str, group_id: bytes, most: int, *, lost: bool = False) -> None:
        """So many messages; `lost` if power goes before what came of them is stored."""
        device = self.devices[name]
        if group_id == DEVICES:
            for _ in range(most):
                after = device.hear(self.topics[DEVICES], 1)
                if not lost:
                    device.state = after
                    self._note(device)
        else:
            after = device.hear(self.topics[group_id], most)
            if not lost:
                device.state = after

    def ready(self, name: str) -> Device | None:
        """A device that has nothing left to send and knows all that other devices said; None if it is none any more."""
        device = self.devices[name]
        self.flush(device)
        if name not in self.devices:
            return None
        self.catch_up(device)
        return None if DEVICES in device.state.pending else device

    # Conversations

    def author(self, emulation: Emulation, group: Group) -> Author:
        epoch_id = active_epoch(emulation, group.own_leaf_node)
        assert epoch_id is not None
        leaf = emulation.epoch(epoch_id).own_leaf
        assert leaf is not None
        return Author(epoch_id, leaf)

    def new_key(self, device: Device, suite: int) -> tuple[Emulation, Any, tuple[Item, ...]]:
        """A signature key and what is to be said before it is used; nothing of that if keys are derived."""
        emulation = device.state.emulation
        if self.settings.signatures is SignaturePolicy.DERIVED:
            return emulation, None, ()
        emulation, public = emulation.drawn_key(device.env, suite)
        private = emulation.keys[public].private
        return emulation, private, (Tell(Keys((SignatureKey(cipher_suite=suite, public=public, private=private),))),)

    def create(self, by: str, suite: int, crash: Crash) -> None:
        device = self.devices[by]
        self.flush(device)
        if by not in self.devices:
            return
        mark = self.recorder.mark()
        group_id = GroupId(b"conversation%d" % self.number())
        made = vc.create(device.state.emulation, device.env, PARAMETERS, group_id, offer(suite))
        state = replace(device.state, emulation=made.emulation).entered(made.group)
        if crash is not Crash.BEFORE_STORING:
            topic = self.topics[group_id] = Topic(group_id, self.people_env, leaf=made.group.own_leaf_node)
            topic.open_to[0] = self.knowing(made.group.own_leaf_node)
            topic.agree(made.group)
        self.done(device, state.later(*[Tell(each) for each in made.announcements]), crash, mark)

    def usable(self, by: str, group_id: bytes) -> tuple[Device, Group] | None:
        """A device that may act in a conversation, and its value of it."""
        device = self.devices[by]
        self.flush(device)
        group = device.state.groups.get(group_id)
        if by not in self.devices or group is None or group_id in device.state.pending:
            return None
        return device, group

    def may_encrypt(self, device: Device, group: Group) -> bool:
        guard = vc.guard_of(device.state.emulation, group)
        return guard is not None and guard.own_leaf is not None

    def say(self, by: str, group_id: bytes, data: bytes, crash: Crash) -> Entry | None:
        found = self.usable(by, group_id)
        if found is None or waits(found[1]):
            return None
        device, group = found
        mark = self.recorder.mark()
        try:
            sealed = vc.seal(device.state.emulation, group, device.env, data)
        except CallerError:
            assert not self.may_encrypt(device, group)
            return None
        assert self.may_encrypt(device, group)
        entry = Entry(
            by=by,
            group_id=group_id,
            epoch=group.epoch,
            kind=Kind.APPLICATION,
            message=sealed.message,
            data=data,
            claim=sealed.claim,
            author=self.author(device.state.emulation, group),
        )
        self.done(device, device.state.with_group(sealed.group).later(Post(entry=entry)), crash, mark)
        return entry

    def commit(
        self,
        by: str,
        group_id: bytes,
        crash: Crash = Crash.NOT,
        *,
        inviting: Sequence[str] = (),
        removing: str | None = None,
        path: bool = False,
        new_key: bool = False,
        encrypt: bool | None = None,
    ) -> None:
        found = self.usable(by, group_id)
        if found is None:
            return
        device, group = found
        suite = group.suite.cipher_suite
        mark = self.recorder.mark()
        proposals: list[Proposal] = []
        invited = []
        for name in inviting:
            if leaf_of(group, name) is None:
                person = client(name, suite, capabilities=ABLE)
                invited.append((person, person.package(self.people_env)))
                proposals.append(Add(invited[-1][1].key_package))
        leaf = None if removing is None else leaf_of(group, removing)
        if leaf is not None:
            proposals.append(Remove(leaf))
        emulation, new = device.state.emulation, KEEP
        first: tuple[Item, ...] = ()
        if new_key:
            emulation, private, first = self.new_key(device, suite)
            new = NewLeaf(credential=HOUSEHOLD, signature_private=private)
        if not self.may_encrypt(device, group):
            encrypt, path = False, True
        acted = vc.commit(emulation, group, device.env, proposals=proposals, force_path=path, encrypt=encrypt, new=new)
        made = acted.commit
        changed = made.group.own_leaf_node.encoded != group.own_leaf_node.encoded
        author = None
        if changed:
            author = self.author(acted.emulation, made.group)
        elif acted.claim is not None:
            author = self.author(emulation, group)
        entry = Entry(
            by=by,
            group_id=group_id,
            epoch=group.epoch,
            kind=Kind.COMMIT,
            message=made.message,
            claim=acted.claim,
            author=author,
            leaf=made.group.own_leaf_node,
            welcome=made.welcome,
            invited=tuple(invited),
            removed=() if removing is None else (removing,),
        )
        pending = Pending(message=made.message, epoch=group.epoch, group=made.group)
        state = replace(device.state, emulation=acted.emulation).with_group(made.before)
        state = state.with_pending(group_id, pending).later(*first, Post(entry=entry))
        self.done(device, state, crash, mark)

    def propose_update(self, by: str, group_id: bytes, crash: Crash) -> None:
        found = self.usable(by, group_id)
        if found is None or not self.may_encrypt(*found):
            return
        device, group = found
        mark = self.recorder.mark()
        proposed = vc.propose_update(device.state.emulation, group, device.env)
        [leaf] = [each for each in proposed.group.updates if each not in group.updates]
        entry = Entry(
            by=by,
            group_id=group_id,
            epoch=group.epoch,
            kind=Kind.PROPOSAL,
            message=proposed.message,
            claim=proposed.claim,
            author=self.author(device.state.emulation, group),
        )
        state = replace(device.state, emulation=proposed.emulation).with_group(proposed.group)
        self.done(device, state.later(Post(entry=entry, proposal=proposed.reference, update=leaf)), crash, mark)

    def info(self, group_id: bytes) -> Group | None:
        """Somebody's value of a conversation's present epoch."""
        topic = self.topics[group_id]
        if topic.people:
            return next(iter(topic.people.values()))
        values = [device.state.groups.get(group_id) for device in self.devices.values()]
        return next((group for group in values if group is not None and group.epoch == topic.epoch), None)

    def join_externally(self, by: str, group_id: bytes, crash: Crash, *, lost: bool = False) -> None:
        """From outside: for the first time, or in the place of the leaf, with or without a memory of before."""
        device = self.ready(by)
        if device is None or group_id in device.state.pending:
            return
        if lost and self.topics[group_id].people:
            device.state = device.state.without(group_id)
        inside = self.info(group_id)
        if inside is None:
            return
        prior = device.state.groups.get(group_id)
        if prior is not None and prior.epoch != inside.epoch:
            return
        mark = self.recorder.mark()
        emulation, private, first = self.new_key(device, inside.suite.cipher_suite)
        present = virtual_leaf(inside)
        group_info = front.group_info(inside)
        entered = vc.join_externally(
            emulation,
            device.env,
            PARAMETERS,
            group_info,
            credential=HOUSEHOLD,
            capabilities=ABLE,
            signature_private=private,
            remove=None if present is None else present[0],
            prior=prior,
        )
        joined = entered.joined
        entry = Entry(
            by=by,
            group_id=group_id,
            epoch=inside.epoch,
            kind=Kind.COMMIT,
            message=joined.message,
            author=self.author(entered.emulation, joined.group),
            leaf=joined.group.own_leaf_node,
            group_info=group_info,
        )
        pending = Pending(message=joined.message, epoch=inside.epoch, group=joined.group)
        then = tuple([Tell(each) for each in entered.announcements])
        state = replace(device.state, emulation=entered.emulation).with_pending(group_id, pending)
        self.done(device, state.later(*first, Post(entry=entry, then=then)), crash, mark)

    # KeyPackages

    def upload(self, by: str, suites: Sequence[int], crash: Crash) -> None:
        device = self.devices[by]
        self.flush(device)
        if by not in self.devices:
            return
        mark = self.recorder.mark()
        batch = make_batch(device.state.emulation, device.env, [offer(suite) for suite in suites])
        state = replace(device.state, emulation=batch.emulation)
        publish = Publish(batch.released(announced=True), batch.announcement.upload.epoch_id)
        self.done(device, state.later(Tell(batch.announcement), publish), crash, mark)

    def take_welcome(self, by: str, welcome: bytes, crash: Crash) -> None:
        device = self.devices[by]
        self.flush(device)
        if by not in self.devices or welcome in device.state.welcomes:
            return
        mark = self.recorder.mark()
        try:
            state = device.welcomed(device.state, welcome)
        except UnknownPackageError:
            return  # not announced to this device yet, or withdrawn
        self.done(device, state.later(Tell(Welcomed(welcome))), crash, mark)
