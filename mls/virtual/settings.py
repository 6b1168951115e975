"""draft-ietf-mls-virtual-clients: what all devices of one virtual client must have chosen alike.

The draft leaves some things open, and implementations write some others as earlier drafts had them. Devices that differ
in any of these would derive other keys, choose one nonce twice, or not read each other; so all of it is one value,
which belongs to the virtual client and is handed to each new device with its state.

* `Profile` is how things are written and computed. `DRAFT` is the text; `OPENMLS` is what OpenMLS 0.9 does.
* `SignaturePolicy` is where signature keys come from: drawn at random by one device and told to the others, or derived
  by each device from the operation that makes the leaf. The first is the default, as RFC 9750 §8.4.3.1 advises a key
  for each conversation that is replaced at times of our own choosing; the second needs no telling, and changes the key
  with every leaf.
* What is kept, and how much, is bounded here too.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

from mls.components.numbers import Numbers
from mls.parameters import Parameters
from mls.virtual.actions import Form
from mls.virtual.ff1 import BitOrder
from mls.virtual.guard import MAX_LEAVES
from mls.virtual.operations import KEEP, MAX_FORWARD


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
    """Whether the seed of a KeyPackage outlives its Welcome, until the leaf is replaced. Only new devices that know no
    other way to be handed a leaf's key need it; it also gives back the init key, and with that the Welcome."""
    max_leaves: int = MAX_LEAVES
    max_forward: int = MAX_FORWARD
    keep: int = KEEP
    max_epochs: int = 256
    """Derivation epochs that are kept at once."""
    max_packages: int = 4096
    """KeyPackages that wait for a Welcome."""
    max_operations: int = 4096
    """Operations whose secrets are kept."""
    max_keys: int = 8192
    """Signature keys that are kept."""

    def shared(self, parameters: Parameters) -> Parameters:
        """Parameters for the conversations of a virtual client: what siblings may use at once stays readable."""
        return replace(
            parameters,
            own_keys=max(parameters.own_keys, parameters.out_of_order, 1),
            keep_handshake_keys=True,
        )
