"""Everything a device knows, as one value. Each part has one room that changes it; the room is named beside it.

Nothing here is computed when it can be looked up elsewhere in it, with one exception: `Joined.keys` follow from the
secret and are kept because every frame needs them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mls.persistent import PMap
from mls.secrets import SignaturePrivateKey
from mls.virtual.emulation import Emulation
from vcd.core.accounts.book import Book
from vcd.core.config import Config
from vcd.core.duties import Duty
from vcd.core.household import Household, Rotation
from vcd.core.names import ContentId, DeviceId, GroupId, Incarnation, IntentId, TopicId
from vcd.core.outbox import Outgoing
from vcd.core.partitions import Sight
from vcd.core.policy import Mode
from vcd.core.strand import Strand
from vcd.core.topics import TopicKeys, TopicSecret
from vcd.core.wanting import Intent, Invitation, Stock
from vcd.core.waiting import Room


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """This device."""

    device: DeviceId
    name: str
    signature_private: SignaturePrivateKey
    """Of its leaf in the home."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`flow` owns it. Times of others, and the wall's, are never compared with `awake`."""

    now: int = 0
    """Of the last input."""
    awake: int = 0
    online: bool = False
    number: int = 0
    """Of the last thing that was published."""
    wake_at: int = 0
    """What the surroundings were told last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """A topic that we take part in. `flow` owns these."""

    secret: TopicSecret
    keys: TopicKeys
    group_id: GroupId | None
    inbox: bool = False
    until: int | None = None
    """When it may be left, once no epoch that is kept has it: it serves those who are away."""
    peers: int = 0
    mailbox: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """What was not handed to the mesh for certain. `turn` adds, `flow` removes."""

    secret: TopicSecret
    payload: bytes = field(repr=False)
    expires: int


class Acceptance(enum.Enum):
    """Whether the user wants to be in a conversation."""

    ASKS = 1
    YES = 2
    NO = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Talk:
    """A conversation, beside its strand."""

    group_id: GroupId
    mode: Mode
    acceptance: Acceptance = Acceptance.YES
    seen: PMap[tuple[bytes, ContentId], int] = field(default_factory=PMap)
    """Messages that the app has, by sender's account and id, with when they may be forgotten. Owned by `delivery`."""
    frontier: tuple[ContentId, ...] = ()
    """What was heard last and nobody referred to yet. Owned by `delivery`."""
    quiet_until: int = 0
    """Until when nobody speaks (EC1). Owned by `conversations`."""
    updated_at: int = 0
    """When our leaf was last given fresh keys by any device of ours, as far as we know. Owned by `upkeep`."""
    fresh: PMap[bytes, int] = field(default_factory=PMap)
    """When we last saw a fresh leaf of each member, by incarnation. Owned by `upkeep`."""
    owed: tuple[Incarnation, ...] = ()
    """Whose removal stood on a branch that lost for good. Owned by `reissue`."""
    extra: bytes = field(default=b"", repr=False)
    """What a mode keeps beside this: `lead`'s and `sending`'s own values, encoded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """See above."""

    config: Config
    me: Me
    book: Book
    clock: Clock = field(default_factory=Clock)
    emulation: Emulation | None = None
    """None until the device has an account. `turn.use` keeps its head where the home stands."""
    home: GroupId | None = None
    household: Household = field(default_factory=Household)
    """`devices`: what the account's devices share beside the emulation."""
    strands: PMap[GroupId, Strand] = field(default_factory=PMap)
    """`following`, `acting`, `voting`, `retention`: of the home and of every conversation."""
    talks: PMap[GroupId, Talk] = field(default_factory=PMap)
    intents: PMap[IntentId, Intent] = field(default_factory=PMap)
    outbox: PMap[ContentId, Outgoing] = field(default_factory=PMap)
    waiting: Room = field(default_factory=Room)
    invitations: PMap[bytes, Invitation] = field(default_factory=PMap)
    stock: Stock = field(default_factory=Stock)
    rotation: Rotation | None = None
    sights: PMap[GroupId, Sight] = field(default_factory=PMap)
    """`partitions`: whom we see of each group."""
    joined: PMap[TopicId, Joined] = field(default_factory=PMap)
    unsent: PMap[int, Sending] = field(default_factory=PMap)
    duties: PMap[tuple[Duty, bytes], int] = field(default_factory=PMap)
