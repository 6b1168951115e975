"""What a device keeps of the groups of apps: values only. `raw` and `raw_care` change them."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mls.persistent import PMap
from mls.state import Group
from vcd.core.names import EpochId, GroupId
from vcd.core.policy import DAY

NOT_IN = EpochId(b"")
"""In the place of where a group stands, while we wait to come into it."""

PAST = 4
"""Epochs of one group that were left and still read late messages."""
PAST_LIFE = DAY
"""For how long."""
MAX_SPARE = 4
"""Commits that were replaced, and are followed if they come after all."""
MAX_SEEN = 256
"""Messages of our own leaf in one group, and keys that they took, that are remembered: the keys stay readable, for our
other devices' sake, 64 of one epoch."""
MAX_FRAMES = 4096
"""Frames that wait to be taken, of all groups."""
MAX_FRAME_BYTES = 64 << 20
MAX_FRAME = 3 << 20
"""Bytes of one of them, as much as comes in at once."""
MAX_GONE = 256
"""Groups that were forgotten and are remembered as such."""
MAX_TOLD = 3 << 20
"""Bytes that our other devices are told of a group that we came into; of a larger one they are not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """An epoch whose keys are kept."""

    group: Group
    left_at: int | None = None
    """When it was left; it is retired then, and reads late messages only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A commit of ours that has not come back."""

    digest: bytes
    """Of its bytes: we know it by what we sent, and by nothing that it says."""
    number: int
    """Of the epoch that it ends."""
    begins: EpochId
    """Its value is among `Raw.epochs`."""
    external: bool = False
    """Whether it is to bring us in from outside."""
    told: bytes = field(default=b"", repr=False)
    """What our other devices are told once it counts: an announcement of `mls.virtual`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A group of an app."""

    group_id: GroupId
    here: EpochId = NOT_IN
    entry: EpochId = NOT_IN
    """The epoch that we came in by; all our devices know it by that."""
    out: bool = False
    """Whether we are no member any more. `here` is the last epoch that we were in."""
    pending: Pending | None = None
    epochs: PMap[EpochId, Epoch] = field(default_factory=PMap)
    """The present one, those that `pending` or `spare` would begin, and a few that were left."""
    spare: tuple[EpochId, ...] = ()
    """Those that commits of our own leaf would begin which may come yet, the newest last: ours that were
    replaced, and the one that a device waited for which handed the group over. They keep what made them at hand."""
    seen: tuple[bytes, ...] = ()
    """Messages of our own leaf that came, and keys that they took, by their digests; the newest last."""

    @property
    def group(self) -> Group | None:
        """The present epoch."""
        found = self.epochs.find(self.here)
        return None if found is None else found.group

    @property
    def live(self) -> Group | None:
        """The same if we can act in it."""
        group = self.group
        return None if group is None or self.out or group.ended is not None else group


class FrameKind(enum.Enum):
    """What a frame is."""

    MESSAGE = 1
    PROPOSAL = 2
    COMMIT = 3
    WELCOME = 4
    GROUP_INFO = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RawFrame:
    """Something that the app is to send, until it says that it has it."""

    group_id: GroupId
    kind: FrameKind
    data: bytes = field(repr=False)
    after: bytes = b""
    """The authenticator of the epoch that the commit ends which this is, or belongs to."""
    begins: EpochId = NOT_IN
    """The epoch that it begins: if that commit is dropped, this is too."""
