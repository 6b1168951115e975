"""One type per secret of RFC 9420 §8 and §9, and of virtual clients.

The types keep secrets from being mixed up and from leaking by accident: `repr` shows a name and a length, equality
is constant-time, there is no hash and no pickling. Bytes are reached by `.raw`, which is easy to search for.
CPython cannot promise to wipe memory, so deletion here means that nothing references the value any more.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import NoReturn


class Secret:
    """Bytes that must not be shown, compared in variable time, hashed or pickled."""

    __slots__ = ("raw",)
    __hash__ = None  # type: ignore[assignment]  # a secret is no dictionary key

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {len(self.raw)} bytes>"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and compare_digest(self.raw, other.raw)

    def __reduce__(self) -> NoReturn:
        raise TypeError("secrets are not pickled")


class InitSecret(Secret):
    """Joins one epoch to the next."""

    __slots__ = ()


class CommitSecret(Secret):
    """The entropy that an UpdatePath adds."""

    __slots__ = ()


class PskSecret(Secret):
    """All pre-shared keys of one commit, combined."""

    __slots__ = ()


class JoinerSecret(Secret):
    """What a Welcome hands to a new member."""

    __slots__ = ()


class WelcomeSecret(Secret):
    """Encrypts the GroupInfo inside a Welcome."""

    __slots__ = ()


class EpochSecret(Secret):
    """The parent of every secret of an epoch; dropped once they are derived."""

    __slots__ = ()


class SenderDataSecret(Secret):
    """Hides who sent a PrivateMessage."""

    __slots__ = ()


class EncryptionSecret(Secret):
    """The root of the secret tree."""

    __slots__ = ()


class ExporterSecret(Secret):
    """The parent of exported secrets."""

    __slots__ = ()


class ExternalSecret(Secret):
    """Gives the key pair that external commits encrypt to."""

    __slots__ = ()


class ConfirmationKey(Secret):
    """Makes and checks confirmation tags."""

    __slots__ = ()


class MembershipKey(Secret):
    """Makes and checks membership tags."""

    __slots__ = ()


class ResumptionPsk(Secret):
    """Proves membership of an epoch to a later one."""

    __slots__ = ()


class PathSecret(Secret):
    """One step of the ladder up a direct path."""

    __slots__ = ()


class NodeSecret(Secret):
    """A node of the secret tree."""

    __slots__ = ()


class RatchetSecret(Secret):
    """The head of a symmetric ratchet."""

    __slots__ = ()


class ExternalPsk(Secret):
    """A pre-shared key that the application provides."""

    __slots__ = ()


class ExportedSecret(Secret):
    """What one application component gets of an epoch (mls-extensions §4.4)."""

    __slots__ = ()


class EpochBaseSecret(Secret):
    """The root of the operation secrets of an emulation epoch (draft-ietf-mls-virtual-clients; so are those below)."""

    __slots__ = ()


class EpochEncryptionKey(Secret):
    """Seals what a virtual client's leaf tells its own devices."""

    __slots__ = ()


class GenerationIdSecret(Secret):
    """Names message keys for those who watch for collisions."""

    __slots__ = ()


class ReuseGuardSecret(Secret):
    """Keeps the nonces of devices that share a leaf apart."""

    __slots__ = ()


class OperationSecret(Secret):
    """What one operation of a virtual client is derived from."""

    __slots__ = ()


class TargetOperationSecret(Secret):
    """An operation's secret, brought into the cipher suite of the group that it is for."""

    __slots__ = ()


class KeyPackageSeed(Secret):
    """What one KeyPackage of a batch is derived from, in its own cipher suite."""

    __slots__ = ()


class HpkePrivateKey(Secret):
    """A KEM private key; the parsed form is kept beside the bytes because parsing costs as much as using it."""

    __slots__ = ("handle",)

    def __init__(self, raw: bytes, handle: object = None) -> None:
        self.raw = raw
        self.handle = handle


class SignaturePrivateKey(Secret):
    """A signature private key, with its parsed form."""

    __slots__ = ("handle",)

    def __init__(self, raw: bytes, handle: object = None) -> None:
        self.raw = raw
        self.handle = handle
