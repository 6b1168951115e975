"""draft-ietf-mls-virtual-clients §6.5.3: names of ratchet generations, for whoever is to see that two devices took one.

Two devices that send at the same time may encrypt with one key, under nonces that differ. That harms no secret, but
others delete the key with the first message and cannot read the second. A device may say which generation it takes,
as a name that tells siblings and the Delivery Service whether two messages collide, and nobody else anything.

The secret is that of the emulation epoch from which the virtual client's leaf comes, as for the reuse guard, and KDF
and length are those of the emulation group. Names of two emulation epochs therefore cannot be compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NewType

from mls.codec import opaque, u8, u32, u64
from mls.errors import CallerError
from mls.registries import Epoch, Generation, GroupId
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import GenerationIdSecret
from mls.suite import Suite

GenerationId = NewType("GenerationId", bytes)


class RatchetType(IntEnum):
    """The draft's numbers."""

    APPLICATION = 1
    HANDSHAKE = 2


RATCHET_TYPES = {APPLICATION: RatchetType.APPLICATION, HANDSHAKE: RatchetType.HANDSHAKE}
"""By the numbers that `mls.secret_tree` and the hooks of `mls.provider` have for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateMessageContext:
    """Which key of the virtual client's a message takes."""

    group_id: GroupId
    """Of the conversation, as is the next."""
    epoch: Epoch
    generation: Generation
    ratchet_type: RatchetType

    @classmethod
    def of(cls, group_id: GroupId, epoch: Epoch, generation: int, ratchet: int) -> PrivateMessageContext:
        """From what a `mls.provider.ReuseGuard` is told."""
        ratchet_type = RATCHET_TYPES.get(ratchet)
        if ratchet_type is None:
            raise CallerError(f"there is no ratchet {ratchet}", "see mls.secret_tree")
        return cls(group_id=group_id, epoch=epoch, generation=Generation(generation), ratchet_type=ratchet_type)

    def encode(self) -> bytes:
        return opaque(self.group_id) + u64(self.epoch) + u32(self.generation) + u8(self.ratchet_type)


def generation_id(suite: Suite, secret: GenerationIdSecret, context: PrivateMessageContext) -> GenerationId:
    """The name of that generation; `suite` is the emulation group's."""
    return GenerationId(suite.expand_with_label(secret.raw, b"generation id", context.encode(), suite.hash_size))
