"""What travels inside sealed frames. Every class here is a format that devices of other versions read as well.

A topic carries `Payload`s; an account's inbox topic carries those of strangers and contacts too. All are bounded where
they are read: by the size of a frame, and by the limits below. `RECORD_TAG` is a class's number on the wire, for ever.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from vcd.core.accounts.certificate import fits
from vcd.core.accounts.head import Head
from vcd.core.errors import Malformed
from vcd.core.names import ContentId, DeviceId, EpochId, Incarnation
from vcd.core.ordering.graph import Anchor, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.record import decode_as, encode_as
from vcd.core.topics import TopicSecret

MAX_STEPS = 512
"""In one digest or lineage."""
MAX_BALLOTS = 2048
MAX_WANTS = 64
MAX_MISSED = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedStep:
    """What a commit does, as its author signed it: proof for those who cannot follow the commit itself."""

    step: Step
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedBallot:
    """A vote, signed with the key that the voter's leaf has in epoch `at`."""

    ballot: Ballot
    at: EpochId
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit, and its header."""

    RECORD_TAG: ClassVar[int] = 1
    signed: SignedStep
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """An MLS message of an epoch that is no commit: something said, a proposal, a message for one device."""

    RECORD_TAG: ClassVar[int] = 2
    epoch: EpochId
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Votes:
    """One member's votes."""

    RECORD_TAG: ClassVar[int] = 3
    ballots: tuple[SignedBallot, ...]
    number: int = 0
    """Of the last epoch that one of them is for, so that who does not know it can tell when that is over; 0 does not
    say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Digest:
    """A summary of branches: where the sender stands, and headers and votes since what is final for it."""

    RECORD_TAG: ClassVar[int] = 4
    final: EpochId
    head: EpochId
    steps: tuple[SignedStep, ...] = ()
    ballots: tuple[SignedBallot, ...] = ()
    at: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plea:
    """A member asks to be shown the way back into its own place. Only who is that member can read the answer."""

    member: Incarnation
    at: EpochId
    """Where its leaf has the key that signs this."""
    key: bytes
    """What the answer is to be sealed to, in the group's cipher suite."""
    signature: bytes = field(repr=False)
    """By the member's leaf, over all this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPlea:
    """The same, by an account that has lost the key of its leaf, under a list above the one that the leaf shows."""

    member: Incarnation
    key: bytes
    """As in a `Plea`."""
    head: Head
    signature: bytes = field(repr=False)
    """By the account key of that head, over all this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """What the sender is missing: commits by the epochs that they begin, and proposals by their references."""

    RECORD_TAG: ClassVar[int] = 5
    epochs: tuple[EpochId, ...] = ()
    proposals: tuple[bytes, ...] = ()
    plea: Plea | HeadPlea | None = None
    """If it cannot follow any more: to be shown the way back."""
    at: int = 0
    """When it was asked: a question that is asked again is another frame for the mesh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """From what is final to where somebody stands: what a newcomer, or who comes back, needs to take part."""

    RECORD_TAG: ClassVar[int] = 6
    anchor: Anchor
    steps: tuple[SignedStep, ...] = ()
    ballots: tuple[SignedBallot, ...] = ()
    topic: bytes = field(default=b"", repr=False)
    """The secret of the topic of the anchor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The way back: a GroupInfo of the epoch that the sender stands in, and what led there."""

    epoch: EpochId
    group_info: bytes = field(repr=False)
    lineage: Lineage
    topic: bytes = field(repr=False)
    """The secret of that epoch's topic, where everybody hears of who comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """The answer to a plea: a `Way`, sealed to who asked. Others who hear it learn nothing, members of before least."""

    RECORD_TAG: ClassVar[int] = 7
    key: bytes
    """The plea's."""
    kem_output: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """What somebody who comes in has to know beside the Welcome."""

    signed: SignedStep
    """The header of the commit that the Welcome belongs to, signed with the key that its author's leaf has after it."""
    lineage: Lineage
    """Up to the epoch that this commit ended; with the header as others have it, if that is signed with another key."""
    greeting: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """A Welcome, in the inbox of whom it is for. All contacts of theirs read that, so nothing here says who invites."""

    RECORD_TAG: ClassVar[int] = 8
    welcome: bytes = field(repr=False)
    sealed: bytes = field(repr=False)
    """An `Introduction`, sealed for the topic of the epoch that the Welcome leads to."""
    reply: TopicSecret
    """Where the sender listens for an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """An answer to an invitation that could not be taken: its KeyPackage was used or withdrawn. Ask for another one."""

    RECORD_TAG: ClassVar[int] = 9
    reference: bytes
    head: Head
    signature: bytes = field(repr=False)
    """By the account key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """In a group with a lead: which commit on an epoch counts. Signed with the key of the lead's leaf."""

    RECORD_TAG: ClassVar[int] = 10
    parent: EpochId
    child: EpochId
    author: Incarnation
    device: DeviceId
    """Which of the lead's devices chose, by a name that says nothing to others and is another one in each group."""
    step: Step | None = None
    """The commit's header, where its author could not sign one."""
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomination:
    """In a group whose lead is gone: a vote for the member that is to lead from an epoch on."""

    RECORD_TAG: ClassVar[int] = 11
    epoch: EpochId
    round: int
    candidate: Incarnation
    voter: Incarnation
    signature: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """Messages that came when the keys of their epochs, or their own, were gone, by their digests: say them again.

    `at` is where the sender stands, so that what is asked for later, by others, is another frame.
    """

    RECORD_TAG: ClassVar[int] = 12
    at: EpochId
    digests: tuple[bytes, ...] = ()
    since: EpochId | None = None
    """Of who came back from outside: where it could read last, empty if it knows of nothing. What was said since then,
    it does not even have the topics of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """An invitation to a conversation of send groups, in the inbox of whom it is for, sealed to a KeyPackage of theirs.

    It gives the topic. Each device that hears it asks there to be let in (`Offering`).
    """

    RECORD_TAG: ClassVar[int] = 13
    reference: bytes
    kem_output: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Offering:
    """In a conversation of send groups: a KeyPackage of a device that is to be let in, or a new one of a member's."""

    RECORD_TAG: ClassVar[int] = 14
    package: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A Welcome to a send group, with KeyPackages of all in it: newcomers make send groups of their own with them."""

    RECORD_TAG: ClassVar[int] = 15
    welcome: bytes = field(repr=False)
    packages: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message of a send group."""

    RECORD_TAG: ClassVar[int] = 16
    message: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Where a device of somebody in the group can be reached, signed by the peer that it is about."""

    RECORD_TAG: ClassVar[int] = 17
    record: bytes = field(repr=False)


MAX_RECORD = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """The X.509 chain that an account shows for its key, or that it shows none any more."""

    RECORD_TAG: ClassVar[int] = 18
    head: Head
    chain: tuple[bytes, ...] = field(repr=False)
    """In DER, the account's own first; empty for none."""
    at: int
    """Of two, the later one counts."""
    signature: bytes = field(repr=False)
    """By the account key, over all this."""
    said: int = 0
    """When it was said: said again later, it is another frame for the mesh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nobody:
    """In a group: what was answered to an invitation whose sender has gone since, and cannot act on it any more."""

    RECORD_TAG: ClassVar[int] = 19
    epoch: EpochId
    """In which whom it is about came in."""
    package: bytes = field(repr=False)
    """The KeyPackage that they came in by, and that the answer names."""
    said: Retry


Payload = (
    Commit
    | Post
    | Votes
    | Digest
    | Want
    | Lineage
    | Door
    | Invite
    | Retry
    | Decision
    | Nomination
    | Missed
    | Call
    | Offering
    | Entry
    | Letter
    | Presence
    | Certified
    | Nobody
)


def pack(payload: Payload) -> bytes:
    return encode_as(Payload, payload)


def unpack(data: bytes) -> Payload:
    found: Payload = decode_as(Payload, data)
    if isinstance(found, Digest | Lineage) and (len(found.steps) > MAX_STEPS or len(found.ballots) > MAX_BALLOTS):
        raise Malformed("too many steps or votes at once")
    if isinstance(found, Votes) and len(found.ballots) > MAX_BALLOTS:
        raise Malformed("too many votes at once")
    if isinstance(found, Want) and len(found.epochs) + len(found.proposals) > MAX_WANTS:
        raise Malformed("too many wishes at once")
    if isinstance(found, Missed) and not all(len(each) == 32 for each in found.digests[: MAX_MISSED + 1]):
        raise Malformed("no digests")
    if isinstance(found, Presence) and len(found.record) > MAX_RECORD:
        raise Malformed("a record is too long")
    if isinstance(found, Missed) and len(found.digests) > MAX_MISSED:
        raise Malformed("too many wishes at once")
    if isinstance(found, Certified) and not fits(found.chain):
        raise Malformed("a chain is too long")
    return found


# ---------------------------------------------------------------- inside a group's application messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """Something said to a conversation. Its id is a hash of all this but `relayed`, made anew by every receiver."""

    RECORD_TAG: ClassVar[int] = 1
    nonce: bytes
    said_at: int
    epoch: EpochId
    """Where its author stood when it was written; it may have been sealed later."""
    after: tuple[ContentId, ...] = ()
    """What its author had seen last."""
    data: bytes = field(repr=False)
    media: str = ""
    relayed: bool = False
    """Whether another device of the author's says it again."""


Said = Content | Lineage
"""What an application message of a conversation holds."""


def pack_said(said: Said) -> bytes:
    return encode_as(Said, said)


def unpack_said(data: bytes) -> Said:
    found: Said = decode_as(Said, data)
    if isinstance(found, Content) and (len(found.nonce) != 16 or len(found.after) > 32):
        raise Malformed("no content of ours")
    return found
