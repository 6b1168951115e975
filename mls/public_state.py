"""RFC 9420 §8.1 and §12.4.3.2: what everybody can know of an epoch, and nothing secret.

`PublicState` is enough to check a tree, to validate a list of proposals and to join by external commit. `Group` adds
the secrets. Keeping it apart lets members, joiners and external senders run the same code.
"""

from __future__ import annotations

from dataclasses import dataclass

from mls.codec import Reader, decode_exactly
from mls.errors import PeerError
from mls.leaf_node import RequiredCapabilities, find_extension
from mls.proposals import ExternalSender
from mls.registries import Epoch, ExtensionType, GroupId
from mls.schedule import GroupContext
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree


@dataclass(frozen=True, slots=True)
class PublicState:
    """The agreed public half of an epoch."""

    suite: Suite
    context: GroupContext
    tree: RatchetTree
    interim_hash: bytes
    confirmation_tag: bytes

    @property
    def group_id(self) -> GroupId:
        return self.context.group_id

    @property
    def epoch(self) -> Epoch:
        return self.context.epoch

    def external_senders(self) -> tuple[ExternalSender, ...]:
        data = find_extension(self.context.extensions, ExtensionType.EXTERNAL_SENDERS)
        return () if data is None else parse_external_senders(data)


def parse_external_senders(data: bytes) -> tuple[ExternalSender, ...]:
    return decode_exactly(data, lambda reader: reader.vector(ExternalSender.decode))


def parse_required_capabilities(data: bytes | None) -> RequiredCapabilities:
    return RequiredCapabilities() if data is None else decode_exactly(data, RequiredCapabilities.decode)


def parse_external_pub(data: bytes | None) -> bytes:
    if data is None:
        raise PeerError("VAL-12.4.3.2-1")
    return decode_exactly(data, Reader.opaque)
