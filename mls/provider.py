"""The seam to cryptography, randomness, time and trust: everything `mls` does not decide for itself.

`Environment` bundles what an operation may consult: the provider (cipher suites and random bytes), the clock as a
number, the authentication service of RFC 9750 §4, and the store of external pre-shared keys. It is passed to every
operation that needs it and kept by none, so a run with a seeded provider and a chosen clock repeats exactly.

The other Protocols are the hooks that virtual clients need. `mls.group` calls them and knows nothing else of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from mls.errors import CallerError

if TYPE_CHECKING:
    from mls.credential import Authentication
    from mls.leaf_node import Extension, LeafNode
    from mls.secrets import (
        EpochSecret,
        ExternalPsk,
        HpkePrivateKey,
        InitSecret,
        PathSecret,
        ResumptionPsk,
        SignaturePrivateKey,
    )
    from mls.suite import Suite


class Provider(Protocol):
    """Cipher suites and randomness."""

    def random(self, length: int) -> bytes:
        """Fresh bytes, unpredictable to everybody else."""
        ...

    def suite(self, cipher_suite: int) -> Suite:
        """The suite of that number; `KeyError` if this provider has none."""
        ...


class PskStore(Protocol):
    """Pre-shared keys from outside the group at hand, by id (RFC 9420 §8.4)."""

    def external(self, psk_id: bytes) -> ExternalPsk | None: ...
    def resumption(self, group_id: bytes, epoch: int) -> ResumptionPsk | None: ...
    def application(self, component_id: int, psk_id: bytes) -> ExternalPsk | None: ...


class NoPsks:
    """A store without keys."""

    def external(self, psk_id: bytes) -> ExternalPsk | None:  # noqa: ARG002 - the Protocol's signature
        return None

    def resumption(self, group_id: bytes, epoch: int) -> ResumptionPsk | None:  # noqa: ARG002 - the same
        return None

    def application(self, component_id: int, psk_id: bytes) -> ExternalPsk | None:  # noqa: ARG002 - the same
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What an operation may consult; `now` is milliseconds since 1970."""

    provider: Provider
    authentication: Authentication
    now: int
    psks: PskStore = field(default_factory=NoPsks)

    def suite(self, cipher_suite: int) -> Suite:
        """The suite that a local program asked for."""
        try:
            return self.provider.suite(cipher_suite)
        except KeyError:
            raise CallerError(
                f"cipher suite {cipher_suite} is not supported here", "use one that mls.suite.SUITES has"
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class PathSupply:
    """A leaf key pair and first path secret chosen by the caller instead of drawn at random.

    `path_secret` belongs to the first node of the filtered direct path; every later one follows from it (§7.4).
    """

    leaf_private: HpkePrivateKey
    leaf_public: bytes
    path_secret: PathSecret


class LeafExtensions(Protocol):
    """Chooses leaf extensions when the new leaf's key is known but its signature is not made yet.

    `external_init` is the init secret of an external commit, so that it can be carried to siblings (sealed).
    """

    def __call__(self, encryption_key: bytes, external_init: InitSecret | None) -> tuple[Extension, ...]: ...


@dataclass(frozen=True, slots=True)
class PendingUpdate:
    """The private keys of an Update of our own leaf that nobody committed yet."""

    leaf_private: HpkePrivateKey
    signature_private: SignaturePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPath:
    """What a sibling derives to follow a commit that its own leaf made on another device."""

    leaf_private: HpkePrivateKey
    path_secret: PathSecret
    external_init: InitSecret | None = None
    signature_private: SignaturePrivateKey | None = None
    """The new signature key, if the sibling gave the leaf one."""


class OwnLeaf(Protocol):
    """Follows what our own leaf did on another device: returns the secrets, or None if they are not here.

    It is asked when everything that is public was found right. It may raise `PeerError` or `StaleError` itself to say
    more. None for a commit or an Update of our leaf becomes `UnderivedError`; None for an external commit that takes
    the place of our leaf means that it is somebody else's, and that we are out.
    """

    def own_path(self, leaf_node: LeafNode, group_id: bytes, *, external: bool) -> OwnPath | None: ...
    def own_update(self, leaf_node: LeafNode, group_id: bytes) -> PendingUpdate | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Creation:
    """What a sibling derives to come into a group that its own leaf founded on another device."""

    leaf_private: HpkePrivateKey
    epoch_secret: EpochSecret
    signature_private: SignaturePrivateKey


class CreatedLeaf(Protocol):
    """Follows the making of a group: returns its secrets, or None if they are not here."""

    def own_creation(self, leaf_node: LeafNode, cipher_suite: int) -> Creation | None: ...


class ReuseGuard(Protocol):
    """Draws the four bytes that are mixed into a PrivateMessage's nonce (RFC 9420 §6.3.1).

    It is told the key schedule's nonce, the generation, and which ratchet it is of (`mls.secret_tree.HANDSHAKE` or
    `APPLICATION`), so that clients that share a leaf can mark who sends and announce what they use.
    """

    def __call__(self, nonce: bytes, generation: int, ratchet: int) -> bytes: ...
