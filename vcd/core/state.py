"""Everything a device knows, as one value. Each part has one room that changes it; the room is named beside it.

Nothing here is computed when it can be looked up elsewhere in it, with one exception: `Joined.keys` follow from the
secret and are kept because every frame needs them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from mls.distributed.values import Session
from mls.persistent import PMap
from mls.secrets import SignaturePrivateKey
from mls.virtual.emulation import Emulation
from vcd.core.accounts.book import Book
from vcd.core.agenda import Agenda
from vcd.core.config import Config
from vcd.core.duties import Duty
from vcd.core.household import Household, Rotation
from vcd.core.names import AccountId, ContentId, DeviceId, EpochId, GroupId, Incarnation, IntentId, TopicId
from vcd.core.policy import Mode
from vcd.core.reign import Reign
from vcd.core.sends import Sends
from vcd.core.sights import Sight
from vcd.core.spoken import Held, Outgoing, Seen
from vcd.core.strand import Strand
from vcd.core.topics import TopicKeys, TopicSecret
from vcd.core.waiting import Room
from vcd.core.wanting import Intent, Invitation, Stock


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
    seen: PMap[ContentId, Seen] = field(default_factory=PMap)
    """Messages that were taken. An id holds for its sender too, as that is part of it. Owned by `contents`, as are the
    next five."""
    nonces: PMap[bytes, ContentId] = field(default_factory=PMap)
    """Of those that this device said, by what the app called them."""
    floors: PMap[AccountId, int] = field(default_factory=PMap)
    """The latest time that a forgotten message of each account had."""
    floor: int = 0
    """The same for all accounts that are not among `floors`."""
    held: PMap[ContentId, Held] = field(default_factory=PMap)
    """Messages that the app does not have yet, because they came before others that they refer to."""
    frontier: tuple[ContentId, ...] = ()
    """What was heard last and nobody referred to yet."""
    missed: tuple[bytes, ...] = ()
    """Messages that came too late to be read, by their digests, until that was said. Owned by `delivery`."""
    said: int = 0
    """The time that our account's last message had. Owned by `outbox`, as are the next six."""
    going: PMap[ContentId, int] = field(default_factory=PMap)
    """Those of `State.outbox` that belong here, with their times."""
    unsure: PMap[ContentId, int] = field(default_factory=PMap)
    """Those of `going` that are not confirmed."""
    queue: PMap[ContentId, int] = field(default_factory=PMap)
    """Those of `going` that could not be said yet."""
    places: PMap[bytes, ContentId] = field(default_factory=PMap)
    """Which message of this device was sealed with a digest, or took a generation, of that name."""
    audiences: PMap[EpochId, tuple[AccountId, ...]] = field(default_factory=PMap)
    """Who was there in the epochs that messages of `going` were first meant for."""
    passed: PMap[EpochId, int] = field(default_factory=PMap)
    """Epochs before the last final one, on the way to it, that are kept; with when that was seen."""
    quiet_until: int = 0
    """Until when nobody speaks (EC1). Owned by `conversations`, as are the next two."""
    quiet_since: int = 0
    """When that began."""
    branches: int = 1
    """How many there are that are not decided for good, as the app was told last."""
    updated_at: int = 0
    """When our leaf was last given fresh keys by any device of ours, as far as we know. Owned by `upkeep`."""
    fresh: PMap[bytes, int] = field(default_factory=PMap)
    """When we last saw a fresh leaf of each member, by incarnation. Owned by `upkeep`."""
    owed: tuple[Incarnation, ...] = ()
    """Whose removal stood on a branch that lost for good. Owned by `reissue`."""
    lead: Reign = field(default_factory=Reign)
    """In a group with a lead: who leads, and what was decided. Owned by `lead`."""
    sends: Sends | None = None
    """In a conversation of send groups: all that there is of it. Owned by `sending`."""


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
    sessions: PMap[GroupId, Session] = field(default_factory=PMap)
    """`sending`: of the conversations of send groups that this device was let into."""
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
    topics: PMap[GroupId, tuple[TopicId, ...]] = field(default_factory=PMap)
    """Which of `joined` belong to each group. `turn` and `flow` keep it."""
    unsent: PMap[int, Sending] = field(default_factory=PMap)
    duties: PMap[tuple[Duty, bytes], int] = field(default_factory=PMap)
    agenda: Agenda = field(default_factory=Agenda, compare=False, repr=False)
    """Follows from `duties`, and is not stored. `turn` keeps it."""
