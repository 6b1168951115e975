"""An ordinary client of another make in a conversation with a virtual client of five devices of ours.

It knows nothing of draft-ietf-mls-virtual-clients. It sees one member, whichever device acts, and accepts every commit,
proposal and message. OpenMLS is driven by our own protocol, ts-mls and mls-rs by the working group's.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from mls.commit import NewLeaf
from mls.credential import BasicCredential
from mls.group import ApplicationMessage
from mls.key_package import KeyPackageSecrets, create_key_package
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment
from mls.registries import GroupId
from mls.virtual import client as virtual
from mls.virtual.announcements import Keys, SignatureKey
from mls.virtual.membership import device_capabilities, device_extensions
from tests.mls.clients import check_private_keys, environment
from tests.mls.virtual.household import ABLE, SUITES, Household, offer
from tests.peers import launch
from tests.peers.openmls_company import key_package_of, lifetime
from tests.requirements import require_or_skip

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.peers.openmls_peer import Member, OpenMls
    from tests.peers.stubs import Client

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.timeout(launch.NPM_LIMIT + launch.CARGO_LIMIT + 300),
]

NAME = b"bystander"
GROUP = b"group"


class Bystander(Protocol):
    """An ordinary client of another make."""

    def key_package(self, suite: int) -> bytes: ...
    def join(self, welcome: bytes, *, encrypt: bool) -> None: ...
    def hear(self, message: bytes) -> bytes:
        """What an application message says."""
        ...

    def follow(self, commit: bytes, proposals: list[bytes]) -> None: ...
    def commit(self, proposals: list[bytes]) -> bytes:
        """With a path, and taken up by itself."""
        ...

    def say(self, data: bytes) -> bytes: ...
    def group_info(self) -> bytes: ...
    @property
    def authenticator(self) -> bytes: ...


class OpenMlsBystander:
    """Proposals wait in its group, from when they are heard."""

    def __init__(self, openmls: OpenMls, *, public: bool) -> None:
        self._openmls = openmls
        self._public = public
        self.member: Member

    def key_package(self, suite: int) -> bytes:
        self.member = self._openmls.member(NAME.decode(), suite, public=self._public)
        return self.member.key_package()

    def join(self, welcome: bytes, *, encrypt: bool) -> None:
        assert encrypt != self._public
        self.member.join(welcome)

    def hear(self, message: bytes) -> bytes:
        got = self.member.process(message)
        assert (got.kind, got.emulator) == ("application", None)
        assert got.data is not None
        return got.data

    def follow(self, commit: bytes, proposals: list[bytes]) -> None:
        for proposal in proposals:
            assert self.member.process(proposal).kind == "proposal"
        got = self.member.process(commit)
        assert got.kind == "commit"
        assert got.state is not None
        assert [identity for _, identity in got.state.members if identity != NAME] == [b"household"]

    def commit(self, proposals: list[bytes]) -> bytes:
        for proposal in proposals:
            assert self.member.process(proposal).kind == "proposal"
        return self.member.commit(path=True).message

    def say(self, data: bytes) -> bytes:
        return self.member.send(data)

    def group_info(self) -> bytes:
        return self.member.group_info()

    @property
    def authenticator(self) -> bytes:
        return self.member.state.authenticator


class InteropBystander:
    """Whoever speaks the working group's interop interface."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._transaction = self._state = 0

    def _call(self, rpc: str, **fields: Any) -> Any:
        return self._client.call(rpc, **fields)

    def _here(self, rpc: str, **fields: Any) -> Any:
        return self._call(rpc, state_id=self._state, **fields)

    def key_package(self, suite: int) -> bytes:
        made = self._call("CreateKeyPackage", cipher_suite=suite, identity=NAME)
        self._transaction = made.transaction_id
        return bytes(made.key_package)

    def join(self, welcome: bytes, *, encrypt: bool) -> None:
        self._state = self._call(
            "JoinGroup", transaction_id=self._transaction, welcome=welcome, encrypt_handshake=encrypt, identity=NAME
        ).state_id

    def hear(self, message: bytes) -> bytes:
        return bytes(self._here("Unprotect", ciphertext=message).plaintext)

    def follow(self, commit: bytes, proposals: list[bytes]) -> None:
        self._state = self._here("HandleCommit", proposal=proposals, commit=commit).state_id

    def commit(self, proposals: list[bytes]) -> bytes:
        made = self._here("Commit", by_reference=proposals, force_path=True)
        self._state = self._here("HandlePendingCommit").state_id
        return bytes(made.commit)

    def say(self, data: bytes) -> bytes:
        return bytes(self._here("Protect", plaintext=data).ciphertext)

    def group_info(self) -> bytes:
        return bytes(self._here("GroupInfo").group_info)

    @property
    def authenticator(self) -> bytes:
        return bytes(self._here("StateAuth").state_auth_secret)


AHEAD = 60_000
"""Milliseconds. Our clock stands; what the bystander makes later is good from then on."""


class Neighbors(Household):
    """Five devices and a bystander, at the hour of the real clock, since others know no other."""

    def __init__(self, bystander: Bystander, *, parameters: Parameters) -> None:
        super().__init__(5, parameters=parameters, seed="neighbors")
        self.bystander = bystander
        self.env = self._env("others")
        device = self["device0"]
        made = virtual.create(
            device.emulation,
            device.env,
            parameters,
            GroupId(GROUP),
            offer(lifetime=lifetime(self.env)),
        )
        device.emulation, device.groups[GROUP] = made.emulation, made.group
        self.others[GROUP] = {}
        self.announce("device0", made.announcements)
        package = key_package_of(bystander.key_package(1))
        welcome = self.commit("device0", proposals=[Add(package)]).commit.welcome
        assert welcome is not None
        bystander.join(welcome, encrypt=parameters.encrypt_handshakes)
        self.meet()

    def _env(self, name: str) -> Environment:
        return environment(f"{self.seed} {name}", now=int(time.time() * 1000) + AHEAD)

    def package(self, name: str) -> KeyPackageSecrets:
        env = self._env(name)
        return create_key_package(
            env,
            self.suite,
            credential=BasicCredential(name.encode()),
            signature_private=self._signer(name),
            capabilities=device_capabilities(SUITES),
            lifetime=lifetime(env),
            leaf_extensions=device_extensions(self.settings, self.parameters),
        )

    def agree(self) -> None:
        """Unlike elsewhere, a device that came from outside lacks the resumption secrets of before."""
        assert len({device.emulation.head.newest for device in self.devices.values()}) == 1
        for device in self.devices.values():
            for group in device.groups.values():
                check_private_keys(group)

    def meet(self) -> None:
        """Everybody is in one epoch, and there are two of them, for who looks from outside."""
        self.agree()
        for device in self.devices.values():
            group = device.groups[GROUP]
            assert group.authenticator == self.bystander.authenticator
            assert group.public.tree.member_count == 2

    def acts(self, by: str, **options: Any) -> None:
        """A device commits, and says something."""
        self.commit(by, **options)
        self.bystander.follow(self.wire[-1], [])
        self.meet()
        self.says(by)

    def says(self, by: str) -> None:
        self.say(by, data=by.encode())
        assert self.bystander.hear(self.wire[-1]) == by.encode()

    def enters(self, by: str) -> None:
        """A device replaces the virtual client's leaf from outside, with a new signature key."""
        key = self.new_key(by).signature_private
        device = self[by]
        any_device = next(each for each in self.devices.values() if GROUP in each.groups)
        group = any_device.groups[GROUP]
        entered = virtual.join_externally(
            device.emulation,
            device.env,
            self.parameters,
            self.bystander.group_info(),
            credential=BasicCredential(b"household"),
            capabilities=ABLE,
            signature_private=key,
            remove=group.own_leaf,
        )
        device.emulation, device.groups[GROUP] = entered.emulation, entered.joined.group
        self.bystander.follow(entered.joined.message, [])
        self.spread(GROUP, entered.joined.message, by=by)
        self.meet()

    def proposes_itself_anew(self, by: str) -> None:
        """A device proposes a new leaf, and the bystander commits it."""
        device = self[by]
        made = virtual.propose_update(device.emulation, device.groups[GROUP], device.env)
        device.emulation, device.groups[GROUP] = made.emulation, made.group
        self.spread(GROUP, made.message, by=by)
        self.spread(GROUP, self.bystander.commit([made.message]))
        self.meet()

    def bystander_acts(self) -> None:
        self.spread(GROUP, self.bystander.commit([]))
        self.meet()
        for got in self.spread(GROUP, self.bystander.say(b"hello, you")).values():
            assert isinstance(got.event, ApplicationMessage)
            assert (got.event.data, got.ours, got.author) == (b"hello, you", False, None)

    def new_key(self, by: str) -> NewLeaf:
        """A signature key that only the devices of now are told of."""
        device = self[by]
        device.emulation, public = device.emulation.drawn_key(device.env, 1)
        private = device.emulation.keys[public].private
        self.announce(by, [Keys((SignatureKey(cipher_suite=1, public=public, private=private),))])
        return NewLeaf(signature_private=private)


@contextmanager
def interop(name: str) -> Iterator[Bystander]:
    try:
        with launch.connected(name) as peer:
            yield InteropBystander(peer.client)
    except launch.UnavailableError as error:
        require_or_skip(name, str(error))


def live_together(neighbors: Neighbors) -> None:
    for name in neighbors.names:
        neighbors.acts(name, force_path=True)
        neighbors.bystander_acts()
        for each in neighbors.names:
            neighbors.says(each)
    for name in ("device3", "device1"):
        neighbors.proposes_itself_anew(name)
        neighbors.says("device2")
        neighbors.enters(name)
        for each in neighbors.names:
            neighbors.says(each)
        neighbors.bystander_acts()
    neighbors.commit_devices("device1", derive=True)
    neighbors.acts("device2", force_path=True)
    neighbors.remove_device("device4", by="device3")
    neighbors.acts("device0", new=neighbors.new_key("device0"))
    neighbors.add_device("device5", by="device2")
    neighbors.enters("device5")
    for name in neighbors.names:
        neighbors.acts(name, force_path=True)
        neighbors.bystander_acts()


framings = pytest.mark.parametrize("encrypt", [True, False], ids=["private", "public"])


@framings
@pytest.mark.xdist_group("openmls")
def test_openmls(openmls: OpenMls, encrypt: bool) -> None:
    parameters = Parameters(encrypt_handshakes=encrypt)
    live_together(Neighbors(OpenMlsBystander(openmls, public=not encrypt), parameters=parameters))


@framings
@pytest.mark.xdist_group("peers")
@pytest.mark.parametrize("name", ["js", "rust"])
def test_ts_mls_and_mls_rs(name: str, encrypt: bool) -> None:
    with interop(name) as bystander:
        live_together(Neighbors(bystander, parameters=Parameters(encrypt_handshakes=encrypt)))
