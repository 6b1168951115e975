"""What a device that comes into the account is told, beside the virtual client's own state.

`mls.virtual.onboarding` hands over keys, KeyPackages and the present epochs of conversations. A briefing is the rest:
of each group the graph that leads to where it stands, with headers and votes, so that the new device goes on with the
same history; the topics; the people, the messages that are known and those that wait. It is of the moment of the commit
that adds the device, like that state.

Both go in one `Bundle`. The Welcome is sealed by itself, to the new device's KeyPackage. The briefing is sealed with a
key that the epoch exports which the device comes in by, so whoever else gets hold of a bundle reads neither. Trees
are public, and stand in it openly, since that epoch's value cannot be had without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mls.group import export_secret
from mls.hpke import CryptoError
from mls.persistent import PMap
from mls.state import Group
from vcd.core import kinds
from vcd.core.accounts.book import Book
from vcd.core.accounts.card import InboxSecret
from vcd.core.accounts.identity import AccountKey
from vcd.core.errors import Malformed
from vcd.core.household import Label, Roster
from vcd.core.names import DeviceId, EpochId, GroupId, IntentId
from vcd.core.ordering.graph import Anchor, Graph
from vcd.core.payloads import SignedBallot, SignedStep
from vcd.core.policy import Mode
from vcd.core.record import decode_as, encode, since
from vcd.core.sends import for_another as sends_for_another
from vcd.core.spoken import Names, Times
from vcd.core.state import Talk
from vcd.core.strand import NEVER, Kept, Strand, begun, stood
from vcd.core.topics import TopicSecret
from vcd.core.wanting import Intent, Invitation, Use

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vcd.core.turn import Turn

_LABEL = b"vcd briefing"
_NONCE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What is handed over."""

    welcome: bytes = field(repr=False)
    trees: tuple[tuple[GroupId, bytes], ...] = field(repr=False)
    nonce: bytes
    briefing: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StrandBrief:
    """What is known of a group but its values."""

    group_id: GroupId
    mode: Mode
    anchor: Anchor
    signed: tuple[SignedStep, ...]
    """Each after the one that it stands on."""
    votes: tuple[SignedBallot, ...]
    topics: tuple[tuple[EpochId, TopicSecret], ...]
    trunk: TopicSecret | None
    past: tuple[EpochId, ...]
    """Epochs that this device is or was in, oldest first. Frames of those that are not handed over are not waited
    for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Briefing:
    """See above."""

    signing: AccountKey
    inbox: InboxSecret | None
    book: Book
    home: StrandBrief
    conversations: tuple[StrandBrief, ...]
    talks: PMap[GroupId, Talk]
    rosters: PMap[bytes, Roster]
    rotation: bytes = b""
    """The removal that goes on, if one does."""
    done: PMap[DeviceId, int] = field(default_factory=PMap)
    """Devices whose removal is complete: of these, too, this one is told once more what others could not hear."""
    intents: PMap[IntentId, Intent] = field(default_factory=PMap)
    invitations: PMap[bytes, Invitation] = field(default_factory=PMap)
    uses: PMap[bytes, tuple[Use, ...]] = field(default_factory=PMap)
    """What KeyPackages were used for that is not final yet."""
    raws: tuple[tuple[GroupId, EpochId], ...] = ()
    """Groups of apps that are handed over too, with the epochs that we came in by."""
    raw_gone: PMap[bytes, int] = field(default_factory=PMap)
    labels: PMap[bytes, Label] = field(default_factory=PMap)
    tellers: PMap[bytes, tuple[DeviceId, ...]] = since(5, factory=PMap)
    """Who told of the signature keys that are handed over: else nobody would ever have to answer for these."""


def for_another(talk: Talk) -> Talk:
    """Without what one device keeps of what it said itself."""
    sends = None if talk.sends is None else sends_for_another(talk.sends)
    return replace(
        talk,
        asked=(),
        fresh=PMap(),
        nonces=Names(),
        going=Times(),
        unsure=Times(),
        queue=Times(),
        places=Names(),
        audiences=PMap(),
        sends=sends,
    )


def of_strand(strand: Strand) -> StrandBrief:
    graph = strand.graph
    known = [strand.signed[epoch] for epoch in graph.steps if epoch in strand.signed]
    known.sort(key=lambda each: (graph.number(each.step.epoch), each.step.epoch))
    past = [epoch for epoch, number in sorted(strand.past.items(), key=lambda item: item[1]) if number != NEVER]
    kept = sorted(strand.kept, key=lambda epoch: (strand.kept[epoch].group.epoch, epoch))
    return StrandBrief(
        group_id=strand.group_id,
        mode=strand.mode,
        anchor=graph.anchor,
        signed=tuple(known),
        votes=tuple(each for _, each in sorted(strand.votes.items())),
        topics=tuple(sorted(((epoch, kept.topic) for epoch, kept in strand.kept.items()), key=lambda item: item[0])),
        trunk=strand.trunk,
        past=(*past, *kept),
    )


def to_strand(
    brief: StrandBrief, values: Sequence[Group], *, home: bool, newest: bytes = b"", awake: int = 0
) -> Strand:
    """The group on the new device. The first value is that of the epoch where it stands; others are late ones.

    Where it stands without us, the first value is the newest that we are in. What is known leads on from there, and is
    found as if it came now.
    """
    graph = Graph(anchor=brief.anchor)
    for said in brief.signed:
        if graph.has(said.step.parent):
            graph = graph.with_step(said.step)
    head, topics = EpochId(values[0].epoch_id), dict(brief.topics)
    if not graph.has(head) or {(each.leaf, each.account) for each in graph.members(head)} != _seen(values[0]):
        raise Malformed("a group's history does not lead to where it stands")
    kept = {}
    parameters = kinds.home_parameters() if home else kinds.parameters_of(brief.mode)
    for value in values:
        epoch = EpochId(value.epoch_id)
        topic = topics.get(epoch)
        if topic is None:
            raise Malformed("an epoch without its topic")
        late = None if epoch == head else awake
        kept[epoch] = Kept(group=replace(value, parameters=parameters), topic=topic, newest=newest, left_at=late)
    strand = begun(values[0], brief.anchor, topics[head], brief.mode, home=home, newest=newest)
    ballots = strand.ballots
    for vote in brief.votes:
        ballots = ballots.with_ballot(vote.ballot)
    past = [epoch for epoch in brief.past if epoch not in kept]  # what is known by a header only counts no more here
    strand = stood(
        replace(
            strand,
            graph=graph,
            kept=PMap(kept),
            past=PMap({epoch: number for number, epoch in enumerate(past, start=1)}),
            ballots=ballots,
            signed=PMap({said.step.epoch: said for said in brief.signed if graph.has(said.step.epoch)}),
            trunk=brief.trunk or topics[head],
        )
    )
    return replace(strand, standing=replace(strand.standing, head=head))


def _seen(group: Group) -> set[tuple[int, bytes]]:
    from vcd.core.steps import whose

    return {(int(leaf), whose(node)) for leaf, node in group.members}


def briefing_key(turn: Turn, group: Group, device: DeviceId) -> bytes:
    """While the epoch is what its commit or its Welcome made it."""
    return export_secret(group, _LABEL, device, turn.topic_suite.key_size)


def seal(turn: Turn, key: bytes, welcome: bytes, trees: dict[GroupId, bytes], briefing: Briefing) -> bytes:
    nonce = turn.random(_NONCE)
    bundle = Bundle(
        welcome=welcome,
        trees=tuple(sorted(trees.items())),
        nonce=nonce,
        briefing=turn.topic_suite.aead_seal(key, nonce, _LABEL, encode(briefing)),
    )
    return encode(bundle)


def open_sealed(turn: Turn, key: bytes, bundle: Bundle) -> Briefing:
    if len(bundle.nonce) != _NONCE:
        raise Malformed("no briefing of ours")
    try:
        plain = turn.topic_suite.aead_open(key, bundle.nonce, _LABEL, bundle.briefing)
    except CryptoError:
        raise Malformed("not sealed in the epoch that we came in by") from None
    try:
        found: Briefing = decode_as(Briefing, plain)
    except Malformed:  # it may be of an earlier build
        found = decode_as(Briefing, plain, 4)
    return found
