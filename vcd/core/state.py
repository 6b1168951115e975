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
from vcd.core import record
from vcd.core.accounts.book import Book
from vcd.core.accounts.certificate import Chain
from vcd.core.agenda import Agenda
from vcd.core.config import Config
from vcd.core.duties import Duty
from vcd.core.household import Household, Rotation
from vcd.core.names import AccountId, ContentId, DeviceId, EpochId, GroupId, Incarnation, IntentId, TopicId
from vcd.core.policy import Mode
from vcd.core.raw_state import Raw, RawFrame
from vcd.core.reign import Reign
from vcd.core.sends import Sends
from vcd.core.sights import Sight
from vcd.core.spoken import Held, Names, Outgoing, Remembered, Times
from vcd.core.strand import Strand
from vcd.core.topics import TopicKeys, TopicSecret
from vcd.core.waiting import Room
from vcd.core.wanting import Intent, Invitation, Stock
from vcd.core.whereabouts import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """This device."""

    device: DeviceId
    name: str
    signature_private: SignaturePrivateKey
    """Of its leaf in the home."""


SLOWER = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """`flow` owns it. Times of others, and the wall's, are never compared with `awake`."""

    now: int = 0
    """Of the last input."""
    awake: int = 0
    online: bool = False
    number: int = 0
    """Of the last thing that was published, or that an app is to send."""
    wake_at: int = 0
    """When they are to wake us, by `now`, as they were told last."""
    wall: int = record.since(2, 0)
    """What the device's clock showed when `now` was that. Less, where it was set back: then `now` goes on at half the
    pace until the clock has caught up, as it must neither go back nor stand still."""

    def at(self, wall: int) -> int:
        """What is `now` when the device's clock shows this."""
        return max(wall, self.now + (max(0, wall - self.wall) // SLOWER if self.wall else 0))

    def wall_at(self, now: int, wall: int, at: int) -> int:
        """What the device's clock shows `at` a time to come, if it shows `wall` now."""
        return min(at, wall + (at - now) * SLOWER) if wall < now else at


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
    seen: Remembered = field(default_factory=Remembered)
    """Messages that were taken. An id holds for its sender too, as that is part of it. Owned by `contents`, as are the
    next five."""
    nonces: Names = field(default_factory=Names)
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
    """Messages that came too late to be read, by their digests, until that was said. Owned by `delivery`, as are the
    next two."""
    asked: tuple[bytes, ...] = ()
    """Those of which it was said, the last few: it is said again to whoever comes."""
    missed_until: int = 0
    """When the last of both is so old that nobody says it again."""
    said: int = 0
    """The time that our account's last message had. Owned by `outbox`, as are the next seven."""
    going: Times = field(default_factory=Times)
    """Those of `State.outbox` that belong here, with their times."""
    unsure: Times = field(default_factory=Times)
    """Those of `going` that are not confirmed."""
    queue: Times = field(default_factory=Times)
    """Those of `going` that could not be said yet."""
    places: Names = field(default_factory=Names)
    """Which message of this device was sealed with a digest, or took a generation, of that name."""
    audiences: PMap[EpochId, tuple[AccountId, ...]] = field(default_factory=PMap)
    """Who was there in the epochs that messages of `going` were first meant for."""
    passed: PMap[EpochId, int] = field(default_factory=PMap)
    """Final epochs that this device was in, numbered in order; the oldest are forgotten."""
    returns: tuple[EpochId, ...] = ()
    """Those of them by which somebody came back, from outside or brought in anew; the last few."""
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
    place: Place = field(default_factory=Place)
    """`whereabouts`: where we can be reached, and where we said so."""
    chains: PMap[AccountId, Chain] = record.since(2, factory=PMap)
    """`certificates`: the X.509 chains that accounts show, our own among them."""
    chain_shown: PMap[TopicId, int] = record.since(2, factory=PMap)
    """`certificates`: where our own was shown, and when."""
    unsent: PMap[int, Sending] = field(default_factory=PMap)
    raws: PMap[GroupId, Raw] = field(default_factory=PMap)
    """`raw`: groups of apps, apart from all others."""
    raw_frames: PMap[int, RawFrame] = field(default_factory=PMap)
    """`raw`: what apps are to send in those, by numbers of `Clock.number`."""
    raw_gone: PMap[bytes, int] = field(default_factory=PMap)
    """`raw_care`: those that were forgotten, by the epochs that we came in by, numbered in order."""
    duties: PMap[tuple[Duty, bytes], int] = field(default_factory=PMap)
    agenda: Agenda = field(default_factory=Agenda, compare=False, repr=False)
    """Follows from `duties`, and is not stored. `turn` keeps it."""
