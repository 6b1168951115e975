"""What a device of a virtual client may not have yet.

All of these are `StaleError`s: the message may be good, and what it builds on is on its way from a sibling. Keep the
message and try again when something new was heard.
"""

from __future__ import annotations

from mls.errors import StaleError
from mls.registries import LeafIndex


class UnknownEpochError(StaleError):
    """A leaf of ours was derived in an emulation epoch that is not here: to come, of another branch, or gone."""

    def __init__(self, epoch_id: bytes) -> None:
        self.epoch_id = epoch_id
        super().__init__("the emulation epoch that a leaf of ours was derived in is not here; `epoch_id` names it")


class OtherBranchError(StaleError):
    """A leaf of ours comes from another branch of the emulation group than ours; it may follow if that branch wins."""

    def __init__(self, epoch_id: bytes) -> None:
        self.epoch_id = epoch_id
        super().__init__("a leaf of ours was derived on another branch of the emulation group; `epoch_id` names where")


class MissingKeyError(StaleError):
    """A leaf of ours has a signature key that no sibling told us of yet.

    `maker` is who has to, if the leaf shows it: an emulation epoch, and a leaf of the emulation group then. If that is
    this device, which was set back to an old state, nobody does but the message by which it told the others.
    """

    def __init__(self, public_key: bytes, maker: tuple[bytes, LeafIndex] | None = None) -> None:
        self.public_key = public_key
        self.maker = maker
        super().__init__("a signature key of ours is not here; `public_key` names it")


class UnknownPackageError(StaleError):
    """A Welcome is for no KeyPackage of ours that we heard of."""

    said = "the Welcome is for no KeyPackage that is known here; its upload may still come"

    def __init__(self) -> None:
        super().__init__(self.said)


class WithdrawnPackageError(UnknownPackageError):
    """A Welcome is for a KeyPackage that was withdrawn: it will not be taken, and whoever sent it has to be told."""

    said = "the Welcome is for a KeyPackage that was withdrawn"
