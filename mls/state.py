"""One epoch of one group, on one branch, as a value.

`Group` never changes. A commit makes the next one; sealing or opening a message makes one that differs in its secret
tree; a proposal makes one with one more proposal. Whatever fails leaves the caller with what it had. Keeping a fork is
keeping two values, and they share everything that did not change between them: tree cells, key indices, ratchets.

The fields are read by the rooms that implement the operations and by serialization; programs use `mls.group`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

from mls.errors import GroupEndedError
from mls.leaf_node import LeafNode
from mls.mode import Mode
from mls.parameters import Parameters
from mls.persistent import PMap
from mls.proposals import ReInit
from mls.provider import Environment, PendingUpdate
from mls.psk import ApplicationPskId, ExternalPskId, PreSharedKeyId
from mls.public_state import PublicState
from mls.registries import Epoch, GroupId, LeafIndex, ProposalRef
from mls.schedule import EpochSecrets, Trees
from mls.secret_tree import SecretTree
from mls.secrets import (
    ConfirmationKey,
    ExporterSecret,
    ExternalSecret,
    InitSecret,
    MembershipKey,
    ResumptionPsk,
    SenderDataSecret,
    SignaturePrivateKey,
)
from mls.suite import Suite
from mls.tree.path import PrivateKeys
from mls.validation import Proposed


class Ended(Enum):
    """Why an epoch is the last one, if it is not a ReInit."""

    REMOVED = "removed"
    RETIRED = "retired"


_REASONS: dict[object, str] = {
    Ended.REMOVED: "we were removed from the group",
    Ended.RETIRED: "the epoch was retired and reads late application messages only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What a member knows in one epoch."""

    parameters: Parameters
    public: PublicState
    own_leaf: LeafIndex
    signature_key: SignaturePrivateKey
    private: PrivateKeys
    secrets: EpochSecrets
    keys: SecretTree
    trees: Trees = field(repr=False)
    """Secrets of the epoch that are consumed in pieces, by label."""
    proposals: Mapping[ProposalRef, Proposed]
    """Waiting for a commit, in order of arrival."""
    updates: Mapping[bytes, PendingUpdate]
    """By the encoded leaf node that they belong to."""
    resumption: tuple[tuple[Epoch, ResumptionPsk], ...] = field(repr=False)
    """Resumption PSKs of this and earlier epochs, oldest first."""
    ended: Ended | ReInit | None
    followed: frozenset[bytes] = frozenset()
    """Children of this epoch that began with a commit from outside, by transcript hash, where rivals are followed."""

    @property
    def suite(self) -> Suite:
        return self.public.suite

    @property
    def group_id(self) -> GroupId:
        return self.public.context.group_id

    @property
    def epoch(self) -> Epoch:
        return self.public.context.epoch

    @property
    def authenticator(self) -> bytes:
        """§8.7: equal for all members of an epoch."""
        return self.secrets.authenticator

    @property
    def epoch_id(self) -> bytes:
        """What tells this epoch from its rivals of the same number."""
        return self.secrets.epoch_id

    @property
    def mode(self) -> Mode:
        """What kind of group this is."""
        return self.parameters.mode(self.public.context.dictionary)

    @property
    def reinit(self) -> ReInit | None:
        """The ReInit that ended this group, if one did."""
        return self.ended if isinstance(self.ended, ReInit) else None

    @property
    def members(self) -> list[tuple[LeafIndex, LeafNode]]:
        return list(self.public.tree.leaves())

    @property
    def own_leaf_node(self) -> LeafNode:
        leaf = self.public.tree.leaf(self.own_leaf)
        assert leaf is not None  # noqa: S101 - a member's own leaf is never blank
        return leaf

    def require_active(self) -> None:
        if self.ended is not None:
            raise GroupEndedError(_REASONS.get(self.ended, "the group was re-initialized"))


def stripped(group: Group, ended: Ended) -> Group:
    """The value without what only an epoch that goes on needs (§9.2, §7.5).

    Gone are the init, external and exporter secrets, the trees, the keys for tags, the private keys, and whatever
    waits. Retired epochs keep what reads late application messages; removed members keep nothing but their resumption
    PSKs, which prove that they were there.
    """
    old = group.secrets
    kept = EpochSecrets(
        sender_data=old.sender_data if ended is Ended.RETIRED else SenderDataSecret(b""),
        exporter=ExporterSecret(b""),
        external=ExternalSecret(b""),
        confirmation=ConfirmationKey(b""),
        membership=MembershipKey(b""),
        resumption=old.resumption,
        authenticator=old.authenticator,
        epoch_id=old.epoch_id,
        init=InitSecret(b""),
    )
    return replace(
        group,
        signature_key=SignaturePrivateKey(b""),
        private={},
        secrets=kept,
        keys=group.keys.without_handshakes()
        if ended is Ended.RETIRED
        else SecretTree(group.keys.leaf_count, PMap(), PMap()),
        trees={},
        proposals={},
        updates={},
        ended=ended,
        followed=frozenset(),
    )


def find_psk(env: Environment, groups: Sequence[Group], psk_id: PreSharedKeyId) -> bytes | None:
    """A pre-shared key from the history of one of these groups, or from what the application keeps."""
    if isinstance(psk_id, ExternalPskId):
        external = env.psks.external(psk_id.psk_id)
        return None if external is None else external.raw
    if isinstance(psk_id, ApplicationPskId):
        provided = env.psks.application(psk_id.component_id, psk_id.psk_id)
        return None if provided is None else provided.raw
    for group in groups:
        if psk_id.group_id == group.group_id:
            for epoch, psk in group.resumption:
                if epoch == psk_id.epoch:
                    return psk.raw
    elsewhere = env.psks.resumption(psk_id.group_id, psk_id.epoch)
    return None if elsewhere is None else elsewhere.raw
