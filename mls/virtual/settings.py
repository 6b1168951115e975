"""draft-ietf-mls-virtual-clients: what all devices of one virtual client must have chosen alike.

The draft leaves some things open, and implementations write some others as earlier drafts had them. Devices that differ
in any of these would derive other keys, choose one nonce twice, or not read each other; so all of it is one value,
which belongs to the virtual client and is handed to each new device with its state.

* `Profile` is how things are written and computed. `DRAFT` is the text; `OPENMLS` is what OpenMLS 0.9 does.
* `SignaturePolicy` is where signature keys come from: drawn at random by one device and told to the others, or derived
  by each device from the operation that makes the leaf. The first is the default, as RFC 9750 §8.4.3.1 advises a key
  for each conversation that is replaced at times of our own choosing; the second needs no telling, and changes the key
  with every leaf.
* What is kept, and how much, is bounded here too. The bounds have bounds themselves (`LIMITS`), since a new device is
  told them: whoever may ask for 2^32 steps of a ratchet keeps a device busy for hours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import Enum
from typing import TypeVar

from mls.codec import Reader, u8, u16, u32, vector
from mls.components.numbers import ComponentId, Numbers
from mls.errors import CallerError, PeerError
from mls.parameters import Parameters
from mls.virtual.actions import Form
from mls.virtual.ff1 import BitOrder
from mls.virtual.guard import MAX_LEAVES, is_leaf_count
from mls.virtual.operations import MAX_FORWARD
from mls.virtual.transfer import MAX_ENTRIES, MAX_EPOCHS


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How the devices of one virtual client write and compute what implementations do in more than one way."""

    form: Form = Form.DRAFT
    bit_order: BitOrder = BitOrder.MSB_FIRST


DRAFT = Profile()
OPENMLS = Profile(form=Form.WITHOUT_EXTENSIONS, bit_order=BitOrder.LSB_FIRST_PER_BYTE)


class SignaturePolicy(Enum):
    """Where the signature keys of a virtual client's leaves come from."""

    DISTRIBUTED = "distributed"
    """Drawn by the device that first needs one, and told to the others before it is used."""
    DERIVED = "derived"
    """From the operation that makes the leaf (`mls.virtual.derive.derived_signature_key`)."""


VERSION = 1
FORMS = tuple(Form)
BIT_ORDERS = tuple(BitOrder)
POLICIES = tuple(SignaturePolicy)
_FLAGS = (False, True)
MAX_STEPS = 1 << 14
"""Of a ratchet at once, which take less than a second."""
LIMITS: Mapping[str, int] = {
    "max_leaves": MAX_LEAVES,
    "max_forward": MAX_STEPS,
    "keep": MAX_STEPS,
    "max_epochs": MAX_EPOCHS,
    "max_packages": MAX_ENTRIES,
    "max_operations": MAX_ENTRIES,
    "max_keys": MAX_ENTRIES,
}
"""How high each limit may be set; the lowest is 1. Of more than the last four, no new device could be told."""

T = TypeVar("T")


def _chosen(choices: Sequence[T], number: int) -> T:
    if number >= len(choices):
        raise PeerError("VC-5-3")
    return choices[number]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Of one virtual client; the same on all its devices."""

    profile: Profile = DRAFT
    numbers: Numbers = field(default_factory=Numbers)
    signatures: SignaturePolicy = SignaturePolicy.DISTRIBUTED
    retain: bool = True
    """Whether the secrets of operations are kept while a leaf made by them is in use. With them, a commit of our own
    can be followed again on another branch, and a new device is given what the draft's own structs carry."""
    retain_seeds: bool = False
    """Whether the seed of a KeyPackage that was used outlives its withdrawal, and that of a group's first leaf its
    making, until the leaf is replaced. Only new devices that know no other way to be handed a leaf's key need it; it
    also gives back the init key, and with that the Welcome, or the group's first epoch."""
    max_leaves: int = MAX_LEAVES
    max_forward: int = MAX_FORWARD
    keep: int = MAX_FORWARD
    """Operations that were passed over, for each ratchet. A device that gives all conversations new leaves is followed
    in any order of conversations."""
    max_epochs: int = 256
    """Derivation epochs that are kept at once, before no more are taken in that were lost on another branch. What our
    own branch enters has no limit."""
    max_packages: int = 4096
    """KeyPackages that a Welcome is taken for: those that were not used, and those that were and are not withdrawn."""
    max_operations: int = 4096
    """Operations whose secrets are kept."""
    max_keys: int = 8192
    """Signature keys that are kept."""

    def __post_init__(self) -> None:
        for name, most in LIMITS.items():
            if not 1 <= getattr(self, name) <= most:
                raise CallerError(f"`{name}` is out of reason", f"set it to something from 1 to {most}")
        if not is_leaf_count(self.max_leaves):
            raise CallerError(f"no tree has {self.max_leaves} leaves", "set `max_leaves` to a power of two")

    def encode(self) -> bytes:
        """For a new device, and for our own storage: `uint16 version; uint8 form, bit order, signatures, retain,
        retain_seeds; uint32 limits<V>; uint16 numbers<V>`, limits and numbers in the order of their fields.
        """
        choices = [FORMS.index(self.profile.form), BIT_ORDERS.index(self.profile.bit_order)]
        choices += [POLICIES.index(self.signatures), self.retain, self.retain_seeds]
        limits = vector([u32(getattr(self, name)) for name in LIMITS])
        numbers = vector([u16(getattr(self.numbers, each.name)) for each in fields(self.numbers)])
        return u16(VERSION) + b"".join([u8(choice) for choice in choices]) + limits + numbers

    @classmethod
    def decode(cls, reader: Reader) -> Settings:
        if reader.u16() != VERSION:
            raise PeerError("VC-5-2")
        profile = Profile(form=_chosen(FORMS, reader.u8()), bit_order=_chosen(BIT_ORDERS, reader.u8()))
        policy = _chosen(POLICIES, reader.u8())
        retain, retain_seeds = [_chosen(_FLAGS, reader.u8()) for _ in range(2)]
        limits = reader.vector(Reader.u32)
        numbers = reader.vector(Reader.u16)
        if len(limits) != len(LIMITS) or len(numbers) != len(fields(Numbers)):
            raise PeerError("VC-5-3")
        try:
            return cls(
                profile=profile,
                numbers=Numbers(
                    **{each.name: ComponentId(n) for each, n in zip(fields(Numbers), numbers, strict=True)}
                ),
                signatures=policy,
                retain=retain,
                retain_seeds=retain_seeds,
                **dict(zip(LIMITS, limits, strict=True)),
            )
        except CallerError:
            raise PeerError("VC-5-3") from None

    def shared(self, parameters: Parameters) -> Parameters:
        """Parameters for the conversations of a virtual client: what siblings may use at once stays readable.

        Two devices of somebody else's virtual client may use one handshake key as well. Where commits race, whoever
        follows them sets `keep_handshake_keys`.
        """
        return replace(
            parameters,
            own_keys=max(parameters.own_keys, parameters.out_of_order, 1),
        )
