"""Who is watched: an ordinary client, and a virtual client whose devices act in turn at random.

A `Subject` plays a member of one conversation. What it is asked to do, it does as its kind of client does; which device
of the virtual client it is that does it, a die says. Devices read what was said since they last looked only when it is
their turn, as they would after a while offline, and always in the order in which it was said.

The ordinary client is one that has what a virtual client must have anyway: it implements application components and
lists them, it draws a new signature key for each KeyPackage and each conversation (RFC 9750 §8.4.3.1), and it replaces
its leaf when it is asked to. `Decoy` is one that moreover carries random bytes of the right length under the component
of virtual clients, which is what the draft suggests to whoever wants to hide which leaves are virtual.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from random import Random

from mls import group as front
from mls.codec import opaque
from mls.commit import Committed, NewLeaf
from mls.components.dictionary import dictionary_extension
from mls.components.lists import ComponentsList
from mls.components.logic import COMPONENTS
from mls.credential import BasicCredential
from mls.key_package import KeyPackage, KeyPackageSecrets, create_key_package
from mls.leaf_node import Extensions
from mls.parameters import Parameters
from mls.proposals import Proposal
from mls.provider import PathSupply
from mls.registries import GroupId, LeafNodeSource
from mls.secrets import PathSecret, SignaturePrivateKey
from mls.state import Group
from mls.virtual import client as vc
from mls.virtual.announcements import Keys, SignatureKey
from mls.virtual.settings import SignaturePolicy
from tests.mls.clients import DEFAULT, LIFETIME, environment
from tests.mls.virtual.household import ABLE, SETTINGS, Device, Household, offer
from tests.mls.virtual.test_onboarding import admitted
from tests.mls.virtual.traces import NUMBERS, TAG

NAME = BasicCredential(b"household")


class Subject(ABC):
    """A member that is watched."""

    @abstractmethod
    def create(self) -> None: ...

    @abstractmethod
    def say(self, data: bytes) -> bytes: ...

    @abstractmethod
    def commit(self, *proposals: Proposal, force_path: bool = False) -> Committed: ...

    @abstractmethod
    def update(self) -> bytes: ...

    @abstractmethod
    def propose(self, proposal: Proposal) -> bytes: ...

    @abstractmethod
    def package(self) -> KeyPackage: ...

    @abstractmethod
    def join(self, welcome: bytes) -> None: ...

    @abstractmethod
    def rejoin(self, group_info: bytes) -> bytes: ...

    @abstractmethod
    def hear(self, message: bytes) -> None: ...

    @abstractmethod
    def info(self) -> bytes: ...

    @abstractmethod
    def churn(self) -> None:
        """What a virtual client's devices do among themselves: another one comes or one goes."""

    @abstractmethod
    def finish(self) -> None:
        """Everybody has heard all that was said."""


class Ordinary(Subject):
    """One device, one client."""

    def __init__(self, seed: object, *, rotates: bool = False, parameters: Parameters = DEFAULT) -> None:
        self._parameters = parameters
        self.env = environment(f"{seed} ordinary")
        self._rotates = rotates
        self._group: Group | None = None
        self._packages: list[KeyPackageSecrets] = []

    @property
    def group(self) -> Group:
        assert self._group is not None
        return self._group

    def signer(self) -> SignaturePrivateKey:
        return self.env.suite(1).scheme.generate(self.env.provider.random)[0]

    def extensions(self, source: int, *, external: bool = False) -> Extensions:
        """Of a leaf."""
        return (dictionary_extension({NUMBERS.app_components: ComponentsList.of(COMPONENTS.all).encode()}),)

    def fresh(self) -> tuple[NewLeaf, PathSupply]:
        """For a commit with a path."""
        suite, random = self.group.suite, self.env.provider.random
        private, public = suite.generate_key_pair(random)
        supply = PathSupply(leaf_private=private, leaf_public=public, path_secret=PathSecret(random(suite.hash_size)))
        return self.leaf(LeafNodeSource.COMMIT), supply

    def leaf(self, source: int) -> NewLeaf:
        """What a new leaf says; a client that `rotates` gives it a signature key of its own each time."""
        return NewLeaf(signature_private=self.signer() if self._rotates else None, extensions=self.extensions(source))

    def create(self) -> None:
        self._group = front.create(
            self.env,
            self._parameters,
            1,
            GroupId(b"group"),
            credential=NAME,
            signature_private=self.signer(),
            capabilities=ABLE,
            lifetime=LIFETIME,
            leaf_extensions=self.extensions(LeafNodeSource.KEY_PACKAGE),
        )

    def say(self, data: bytes) -> bytes:
        self._group, message = front.seal(self.group, self.env, data)
        return message

    def commit(self, *proposals: Proposal, force_path: bool = False) -> Committed:
        made = front.commit(self.group, self.env, proposals=proposals, force_path=force_path, fresh=self.fresh)
        self._group = made.group
        return made

    def update(self) -> bytes:
        leaf = self.leaf(LeafNodeSource.UPDATE)
        self._group, message, _ = front.propose_update(self.group, self.env, leaf=leaf)
        return message

    def propose(self, proposal: Proposal) -> bytes:
        self._group, message, _ = front.propose(self.group, self.env, proposal)
        return message

    def package(self) -> KeyPackage:
        made = create_key_package(
            self.env,
            1,
            credential=NAME,
            signature_private=self.signer(),
            capabilities=ABLE,
            lifetime=LIFETIME,
            leaf_extensions=self.extensions(LeafNodeSource.KEY_PACKAGE),
        )
        self._packages.append(made)
        return made.key_package

    def join(self, welcome: bytes) -> None:
        self._group, _ = front.join(self.env, self._parameters, welcome, self._packages)

    def rejoin(self, group_info: bytes) -> bytes:
        joined = front.join_externally(
            self.env,
            self._parameters,
            group_info,
            credential=NAME,
            signature_private=self.signer(),
            capabilities=ABLE,
            leaf_extensions=self.extensions(LeafNodeSource.COMMIT, external=True),
            remove=self.group.own_leaf,
        )
        self._group = joined.group
        return joined.message

    def info(self) -> bytes:
        return front.group_info(self.group)

    def hear(self, message: bytes) -> None:
        self._group = front.receive(self.group, self.env, message).group

    def churn(self) -> None:
        pass

    def finish(self) -> None:
        pass


_SEALED = {LeafNodeSource.KEY_PACKAGE: 12, LeafNodeSource.UPDATE: 8, LeafNodeSource.COMMIT: 9}
"""Bytes of DerivationInfoTBE."""


class Decoy(Ordinary):
    """An ordinary client that looks like a virtual one."""

    def __init__(self, seed: object) -> None:
        super().__init__(seed)
        self._epoch_id = self.env.provider.random(32)

    def extensions(self, source: int, *, external: bool = False) -> Extensions:
        size = _SEALED[LeafNodeSource(source)] + TAG + (33 if external else 0)
        info = opaque(self._epoch_id) + opaque(self.env.provider.random(size))
        listed = ComponentsList.of({*COMPONENTS.all, NUMBERS.virtual_clients}).encode()
        return (dictionary_extension({NUMBERS.app_components: listed, NUMBERS.virtual_clients: info}),)


class Virtual(Subject):
    """Several devices, one client."""

    def __init__(
        self,
        seed: object,
        *,
        policy: SignaturePolicy = SignaturePolicy.DISTRIBUTED,
        parameters: Parameters = DEFAULT,
    ) -> None:
        self.house = Household(
            5, settings=replace(SETTINGS, signatures=policy), seed=f"{seed} virtual", parameters=parameters
        )
        for name, device in self.house.devices.items():
            device.env = environment(f"{seed} acts of {name}")
        self.die = Random(f"{seed} die")
        self.acted: list[str] = []
        """Which device did it, act by act."""
        self._said: list[tuple[str, Callable[[Device], None] | bytes]] = []
        self._heard: dict[str, int] = {}
        self._silent: set[str] = set()
        """New devices, until a leaf is made in an epoch that they were members in (§5.1)."""
        self._came = 0

    def _turn(self) -> Device:
        device = self.house[self.die.choice([name for name in self.house.names if name not in self._silent])]
        self._catch_up(device)
        self.acted.append(device.name)
        return device

    def _catch_up(self, device: Device) -> None:
        for by, said in self._said[self._heard.get(device.name, 0) :]:
            if by == device.name:
                continue
            if isinstance(said, bytes):
                got = vc.receive(device.emulation, device.groups[b"group"], device.env, said)
                device.emulation = got.emulation
                device.groups[b"group"] = got.event.group
            else:
                said(device)
        self._heard[device.name] = len(self._said)

    def _done(self, device: Device, group: Group, message: Callable[[Device], None] | bytes) -> None:
        device.groups[b"group"] = group
        self._said.append((device.name, message))
        self._heard[device.name] = len(self._said)

    def create(self) -> None:
        device = self._turn()
        made = vc.create(device.emulation, device.env, self.house.parameters, GroupId(b"group"), offer())
        device.emulation = made.emulation
        device.groups[b"group"] = made.group
        self.house.announce(device.name, made.announcements)

    def prepare(self, device: Device) -> None:
        """What a device does before it speaks; nothing."""

    def say(self, data: bytes) -> bytes:
        device = self._turn()
        self.prepare(device)
        sealed = vc.seal(device.emulation, device.groups[b"group"], device.env, data)
        self._done(device, sealed.group, sealed.message)
        return sealed.message

    def commit(self, *proposals: Proposal, force_path: bool = False) -> Committed:
        device = self._turn()
        made = vc.commit(
            device.emulation, device.groups[b"group"], device.env, proposals=proposals, force_path=force_path
        )
        device.emulation = made.emulation
        self._done(device, made.commit.group, made.commit.message)
        if force_path:
            self._silent.clear()
        return made.commit

    def update(self) -> bytes:
        device = self._turn()
        made = vc.propose_update(device.emulation, device.groups[b"group"], device.env)
        device.emulation = made.emulation
        self._done(device, made.group, made.message)
        return made.message

    def propose(self, proposal: Proposal) -> bytes:
        device = self._turn()
        made = vc.propose(device.emulation, device.groups[b"group"], device.env, proposal)
        device.emulation = made.emulation
        self._done(device, made.group, made.message)
        return made.message

    def package(self) -> KeyPackage:
        device = self._turn()
        return self.house.upload(device.name, offer()).released(announced=True)[0]

    def join(self, welcome: bytes) -> None:
        """Every device takes it up when it comes to it."""

        def taken_up(device: Device) -> None:
            joined = vc.join(device.emulation, device.env, self.house.parameters, welcome)
            device.emulation = joined.emulation
            device.groups[b"group"] = joined.group

        self._said.append(("", taken_up))

    def rejoin(self, group_info: bytes) -> bytes:
        device = self._turn()
        group = device.groups[b"group"]
        private = None
        if self.house.settings.signatures is SignaturePolicy.DISTRIBUTED:
            device.emulation, public = device.emulation.drawn_key(device.env, 1)
            private = device.emulation.keys[public].private
            told = Keys((SignatureKey(cipher_suite=1, public=public, private=private),))
            self.house.announce(device.name, [told])
        entered = vc.join_externally(
            device.emulation,
            device.env,
            self.house.parameters,
            group_info,
            credential=NAME,
            capabilities=ABLE,
            signature_private=private,
            remove=group.own_leaf,
            prior=group,
        )
        device.emulation = entered.emulation
        self._done(device, entered.joined.group, entered.joined.message)
        return entered.joined.message

    def info(self) -> bytes:
        return front.group_info(self._turn().groups[b"group"])

    def hear(self, message: bytes) -> None:
        self._said.append(("", message))

    def churn(self) -> None:
        """The newest device goes, or another one comes and is handed everything."""
        self.finish()
        names = self.house.names
        if len(names) > 5 and self.die.random() < 0.7:
            self.house.remove_device(names[-1], by=names[0])
            return
        self._came += 1
        name = f"comer{self._came}"
        admitted(self.house, names[0], name)
        self._heard[name] = len(self._said)
        self._silent.add(name)

    def finish(self) -> None:
        for device in self.house.devices.values():
            self._catch_up(device)
        self.house.agree()
