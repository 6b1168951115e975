"""A device of OpenMLS in a virtual client (draft-ietf-mls-virtual-clients), as Python values to call.

A `Member` of the emulation group becomes a device when it acts for the virtual client: `acting` gives what it acts as,
another `Member` at the same peer that has the virtual client's name and signature key and shares the device's storage.
`register` takes the emulation group's present epoch to derive in, and what is made after that is derived there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mls.codec import u16, vector
from mls.components.dictionary import dictionary_extension
from mls.components.numbers import Numbers
from mls.leaf_node import Extensions
from mls.registries import ExtensionType
from mls.secrets import SignaturePrivateKey
from mls.suite import Suite
from tests.peers.openmls_peer import Leaf, Member, Sent, State

NUMBERS = Numbers()

LISTED: Mapping[int, bytes] = {NUMBERS.app_components: vector([u16(NUMBERS.virtual_clients)])}
"""What OpenMLS asks of a leaf before it derives one: that the component is listed."""

LISTED_EXTENSIONS: Extensions = (dictionary_extension(LISTED),)

SHARED_LEAF = Leaf(extension_types=(ExtensionType.APP_DATA_DICTIONARY,), leaf_components=sorted(LISTED.items()))


def register(device: Member) -> bytes:
    """The epoch that the device's emulation group is in: its id."""
    return bytes.fromhex(device.here("register_epoch")["emulation_epoch"])


def acting(device: Member, name: str, suite: Suite, signer: SignaturePrivateKey, *, public: bool = False) -> Acting:
    """What this device acts as: `name` is the virtual client's, and the same for all devices."""
    alias = f"{device.name} as {name}"
    device.peer.call(
        "virtual_client",
        client=alias,
        device=device.name,
        suite=suite.cipher_suite,
        identity=name.encode(),
        private=signer.raw,
        public=suite.scheme.public_key(signer),
    )
    return Acting(device.peer, alias, SHARED_LEAF, {"public": public, "padding": 0, "past_epochs": 4}, Deriving())


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """KeyPackages of one operation."""

    messages: tuple[bytes, ...]
    upload: bytes
    """For the other devices."""


@dataclass(slots=True)
class Deriving:
    """What a device derives in."""

    epoch: bytes | None = None


@dataclass(slots=True)
class Acting(Member):
    """A device in the part of the virtual client, in one conversation."""

    deriving: Deriving
    """What `found`, `enter`, `derived` and `batch` derive in; the same in all conversations."""

    @property
    def epoch(self) -> bytes | None:
        return self.deriving.epoch

    @epoch.setter
    def epoch(self, epoch: bytes) -> None:
        self.deriving.epoch = epoch

    def another(self) -> Acting:
        """The same device, for another conversation."""
        return Acting(self.peer, self.name, self.leaf, self.policy, self.deriving)

    def use_key(self, suite: Suite, signer: SignaturePrivateKey) -> None:
        """What it signs with from now on, in all conversations."""
        self.call("use_key", private=signer.raw, public=suite.scheme.public_key(signer))

    def batch(self, *, count: int = 1, last_resort: Sequence[int] = (), suites: Sequence[int] = ()) -> Batch:
        """KeyPackages of the client's suite, or of each of these."""
        packages = [
            {**self.leaf.fields(), "last_resort": index in last_resort, "suite": suite}
            for index, suite in enumerate(suites or [None] * count)
        ]
        answer = self.call("key_package_batch", emulation_epoch=self.epoch, packages=packages)
        messages = tuple([bytes.fromhex(message) for message in answer["messages"]])
        return Batch(messages=messages, upload=bytes.fromhex(answer["upload"]))

    def take_upload(self, upload: bytes) -> None:
        self.call("take_upload", upload=upload)

    def found(self, group_id: bytes) -> State:
        """A group of one that siblings can follow."""
        said = {**self.leaf.fields(), **self.policy}
        return self._entered(self.call("create", group=group_id, emulation_epoch=self.epoch, **said))

    def join_at_creation(self, group_info: bytes, *, tree: bytes | None = None) -> State:
        said = {"group_info": group_info, "tree": tree, "emulation_epoch": self.epoch, **self.policy}
        return self._entered(self.call("join_at_creation", **said))

    def join_after_sibling(self, group_info: bytes, message: bytes) -> State:
        """`group_info` is of the epoch that the external commit ended."""
        said = {"group_info": group_info, "message": message, "emulation_epoch": self.epoch, **self.policy}
        return self._entered(self.call("join_after_sibling", **said))

    def enter(self, group_info: bytes, **options: object) -> tuple[State, bytes]:
        """By an external commit that siblings can follow."""
        return self.join_externally(group_info, emulation_epoch=self.epoch, **options)

    def derived(self, *proposals: Mapping[str, object], **options: Any) -> Sent:
        """A commit with a leaf that siblings can follow; it waits for `merge` or `clear`."""
        return self.prepare(*proposals, emulation_epoch=self.epoch, **options)

    def send_named(self, data: bytes, **options: object) -> tuple[bytes, int, bytes | None]:
        """An application message, the generation of its key, and that key's name."""
        answer = self.here("send", data=data, **options)
        name = answer["generation_id"]
        return bytes.fromhex(answer["message"]), answer["generation"], None if name is None else bytes.fromhex(name)
