"""The virtual client alone, for apps that have a delivery service of their own.

Groups made here are plain MLS groups, apart from chats: the app moves their messages, in the order that its service
gives them. What is to go out is a *frame*, kept until the app says that it has it (`raw.take`); what came in is given
by `raw.put`. A commit of ours counts when it comes back by `raw.put`; if another one comes first, ours is dropped.

All devices of the account are in these groups. What they have to tell each other goes by their own group over the mesh,
and never through the app; each of them is given by its own app what the service delivered.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from vcd.rpc import samples
from vcd.rpc.row import EventData, EventType, Function
from vcd.rpc.values import (
    AccountId,
    Change,
    Count,
    Data,
    DeviceId,
    Done,
    EpochId,
    Frame,
    Milliseconds,
    Most,
    Number32,
    Params,
    Result,
    Time,
    sized,
)

GroupId = Annotated[bytes, sized(1, 255)]
FrameKind = Literal["message", "proposal", "commit", "welcome", "group_info"]
Packages = Annotated[tuple[Frame, ...], msgspec.Meta(max_length=256)]


class RawCreate(Change, frozen=True, kw_only=True):
    group: GroupId | None = None
    """The MLS group id; drawn at random if there is none."""
    cipher_suite: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None


class RawGroup(Result, frozen=True, kw_only=True):
    group: GroupId
    epoch: EpochId
    """The epoch authenticator."""
    number: Count
    members: Count
    pending: bool
    """Whether a commit of ours waits to come back."""
    out: bool
    """Whether we are no member any more."""
    renewing: bool
    """Whether our leaf has to be replaced, as a device was removed or added; until the commit for that came back, a
    device that was removed can read what is said."""


class RawMember(Result, frozen=True, kw_only=True):
    leaf: Number32
    own: bool
    account: AccountId | None
    """None for an ordinary MLS client."""
    identity: bytes
    """Of an account its name, of others what their credential says."""


class RawState(Result, frozen=True, kw_only=True):
    group: GroupId
    epoch: EpochId
    number: Count
    pending: bool
    out: bool
    renewing: bool
    members: list[RawMember]


class RawGroups(Result, frozen=True, kw_only=True):
    groups: list[RawGroup]
    more: bool


class WhichGroup(Params, frozen=True, kw_only=True):
    group: GroupId


class Forget(Change, frozen=True, kw_only=True):
    group: GroupId


class GroupList(Params, frozen=True, kw_only=True):
    after: GroupId | None = None
    most: Most = 200


class Offer(Change, frozen=True, kw_only=True):
    count: Annotated[int, msgspec.Meta(ge=1, le=100)] = 1
    cipher_suite: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None


class Offered(Result, frozen=True, kw_only=True):
    packages: list[bytes]
    """KeyPackages as the app's service hands them out, each for one use; any of our devices can join by them."""
    expires_at: Time


class RawJoin(Change, frozen=True, kw_only=True):
    welcome: Frame | None = None
    """Or"""
    group_info: Frame | None = None
    """to come in from outside, by a commit of ours that then has to come back."""
    tree: Frame | None = None
    """The ratchet tree, if neither of them has it."""


class OutFrame(Result, frozen=True, kw_only=True):
    number: Count
    """In the order in which they were made; some numbers are left out."""
    group: GroupId
    kind: FrameKind
    """A `welcome` or a `group_info` belongs to the commit of the same call, and is of no use before that counts."""
    data: bytes
    after: EpochId | None
    """Of a commit, and of what belongs to it: the epoch that it ends, for services that accept one for each. None for a
    commit from outside."""


class RawFrames(Result, frozen=True, kw_only=True):
    frames: list[OutFrame]
    """The same as `raw.take` gives: whoever sends them from here says so there. If the same request comes again, long
    ones are to be had there only."""
    epoch: EpochId
    """Where the group stands, or will when the commit came back."""


class Propose(Change, frozen=True, kw_only=True):
    group: GroupId
    add: Frame | None = None
    """A KeyPackage, or"""
    remove: Number32 | None = None
    """a leaf, or"""
    update: bool = False
    """fresh keys for our own leaf, or"""
    leave: bool = False


class Commit(Change, frozen=True, kw_only=True):
    group: GroupId
    add: Packages = ()
    remove: Annotated[tuple[Number32, ...], msgspec.Meta(max_length=1024)] = ()
    proposals: bool = True
    """Whether to take up what was proposed in this epoch."""
    fresh: bool = True
    """Whether to give our own leaf fresh keys, even if nothing demands it."""
    group_info: bool = False
    """Whether to make one for those who come in from outside."""
    replace: bool = False
    """Whether to drop the commit of ours that waits to come back, as the service refused it. Should it come back after
    all, it counts."""


class Protect(Change, frozen=True, kw_only=True):
    group: GroupId
    data: Data
    authenticated: Annotated[bytes, sized(0, 65536)] = b""
    """Goes along, readable for all and changed by nobody."""


class Take(Params, frozen=True, kw_only=True):
    after: Count = 0
    """Frames up to this number have left: they are forgotten."""
    group: GroupId | None = None
    """Only frames of this one are given, and forgotten."""
    most: Most = 100
    wait_ms: Milliseconds = 0


class Taken(Result, frozen=True, kw_only=True):
    frames: list[OutFrame]
    more: bool


class Put(Change, frozen=True, kw_only=True):
    group: GroupId
    data: Frame


class Heard(Result, frozen=True, kw_only=True):
    kind: Literal["message", "proposal", "commit", "own", "nothing"]
    """`own` is a commit of ours that came back; `nothing` came before, or too late to be read."""
    group: GroupId
    epoch: EpochId | None
    """Where the group stands now; None if we never came in."""
    number: Count
    sender: Number32 | None
    """The leaf that it is of."""
    account: AccountId | None
    ours: bool
    device: DeviceId | None
    """Which of our own devices."""
    data: bytes
    """Of a message."""
    authenticated: bytes
    came: list[Number32]
    went: list[Number32]
    out: bool
    """Whether we are no member any more."""
    dropped: bool
    """Whether a commit of ours was dropped for this one."""
    lost: bool
    """Of a message of this device: others could not read it, as another device of the account said something at the
    same time that came before it. Say it again."""


class Export(Params, frozen=True, kw_only=True):
    group: GroupId
    label: Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
    context: Annotated[bytes, sized(0, 65536)] = b""
    length: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 32


class Exported(Result, frozen=True, kw_only=True):
    secret: bytes
    epoch: EpochId


class RawWaiting(EventData, frozen=True, kw_only=True):
    group: GroupId
    number: Count
    """Of the newest one."""


_GROUP = b"app-group-1"
_ERRORS = ("E_NO_ACCOUNT", "E_GROUP_UNKNOWN")
_STANDING = ("E_RESTORED", "E_OUT_OF_SYNC")
_MAKING = ("E_MLS", "E_NOT_MLS", "E_NOT_MEMBER", "E_FULL", *_STANDING)
_OUT = OutFrame(number=17, group=_GROUP, kind="message", data=b"\x00\x01\x00\x02", after=None)
_FRAMES = RawFrames(frames=[_OUT], epoch=samples.EPOCH)
_RAW = RawGroup(group=_GROUP, epoch=samples.EPOCH, number=2, members=2, pending=False, out=False, renewing=False)
_HEARD = Heard(
    kind="message",
    group=_GROUP,
    epoch=samples.EPOCH,
    number=2,
    sender=1,
    account=samples.BOB,
    ours=False,
    device=None,
    data=b"hello",
    authenticated=b"",
    came=[],
    went=[],
    out=False,
    dropped=False,
    lost=False,
)

FUNCTIONS = (
    Function(
        name="raw.create",
        params=RawCreate,
        result=RawGroup,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_GROUP_EXISTS", "E_SUITE", "E_FULL", *_STANDING),
        doc="Make a plain MLS group with the account as its only member.",
        example=(RawCreate(group=_GROUP), _RAW),
    ),
    Function(
        name="raw.offer",
        params=Offer,
        result=Offered,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_SUITE", "E_FULL", *_STANDING),
        doc="Make KeyPackages for the app to give out, by which others add the account to their groups.",
        example=(Offer(), Offered(packages=[b"\x00\x01\x00\x05"], expires_at=samples.AT)),
    ),
    Function(
        name="raw.join",
        params=RawJoin,
        result=RawGroup,
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_GROUP_EXISTS", "E_MLS", "E_NOT_MLS", "E_EPOCH", "E_SUITE", "E_FULL", *_STANDING),
        doc="Come into a group, by a Welcome to one of those KeyPackages or from outside.",
        example=(RawJoin(welcome=b"\x00\x01\x00\x03"), _RAW),
    ),
    Function(
        name="raw.list",
        params=GroupList,
        result=RawGroups,
        errors=("E_NO_ACCOUNT",),
        doc="The groups of apps, page by page.",
        example=(GroupList(), RawGroups(groups=[_RAW], more=False)),
    ),
    Function(
        name="raw.get",
        params=WhichGroup,
        result=RawState,
        errors=_ERRORS,
        doc="One of them, with its members.",
        example=(
            WhichGroup(group=_GROUP),
            RawState(
                group=_GROUP,
                epoch=samples.EPOCH,
                number=2,
                pending=False,
                out=False,
                renewing=False,
                members=[RawMember(leaf=0, own=True, account=samples.ALICE, identity=samples.ALICE)],
            ),
        ),
    ),
    Function(
        name="raw.propose",
        params=Propose,
        result=RawFrames,
        mutates=True,
        errors=(*_ERRORS, *_MAKING, "E_NO_MEMBER"),
        doc="Propose a change of a group to its other members.",
        example=(Propose(group=_GROUP, remove=1), _FRAMES),
    ),
    Function(
        name="raw.commit",
        params=Commit,
        result=RawFrames,
        mutates=True,
        errors=(*_ERRORS, *_MAKING, "E_NO_MEMBER", "E_PENDING"),
        doc="Change a group; it counts when the commit comes back by raw.put.",
        example=(Commit(group=_GROUP, add=(b"\x00\x01\x00\x05",)), _FRAMES),
    ),
    Function(
        name="raw.protect",
        params=Protect,
        result=RawFrames,
        mutates=True,
        errors=(*_ERRORS, *_MAKING, "E_MESSAGE", "E_PENDING"),
        doc="Seal a message for a group.",
        example=(Protect(group=_GROUP, data=b"hello"), _FRAMES),
    ),
    Function(
        name="raw.take",
        params=Take,
        result=Taken,
        errors=("E_NO_ACCOUNT",),
        doc="Frames that are to go out, also those that the daemon made by itself; they stay until they are said gone.",
        example=(Take(after=16), Taken(frames=[_OUT], more=False)),
    ),
    Function(
        name="raw.put",
        params=Put,
        result=Heard,
        mutates=True,
        errors=(*_ERRORS, "E_MLS", "E_NOT_MLS", "E_EPOCH", "E_OUT_OF_SYNC", "E_FULL"),
        doc="Give what the app's service delivered, in its order, what we sent ourselves too.",
        example=(Put(group=_GROUP, data=b"\x00\x01\x00\x02"), _HEARD),
    ),
    Function(
        name="raw.export",
        params=Export,
        result=Exported,
        errors=(*_ERRORS, "E_NOT_MEMBER"),
        doc="A secret that all members of a group have in this epoch (RFC 9420 §8.5).",
        example=(Export(group=_GROUP, label="example"), Exported(secret=b"\x5e" * 32, epoch=samples.EPOCH)),
    ),
    Function(
        name="raw.forget",
        params=Forget,
        result=Done,
        mutates=True,
        errors=_ERRORS,
        doc="Forget a group and its keys, on all our devices; to leave it for the others, commit or propose first.",
        example=(Forget(group=_GROUP), Done()),
    ),
)

EVENTS = (
    EventType(
        type="raw.waiting",
        data=RawWaiting,
        doc="There are frames to take, of a group that had none; by a call, or made by the daemon itself.",
        example=RawWaiting(group=_GROUP, number=17),
    ),
)
