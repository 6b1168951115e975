"""Votes: cast, heard, and passed on.

Every member votes for the steps that lead to the head, once the head has stood for a little while, and what all of them
voted for is final (`vcd.core.ordering`). A vote binds, so it is cast by one device for the whole account, stored before
it is sent, and never taken back: the most senior device in the last final tree of the home. In the home each device
votes for itself. When that device has gone for good, the next one goes on from the votes that it left, after a while in
which those can reach it.

Nobody votes who is not connected. What the others did meanwhile is not known then, which may be that this device was
removed and another one votes for the account: that one waits for the votes of before, and so there must be none later.
Nor does anybody vote where nobody is who would hear it, in the topics that the vote goes to or in those of the home. An
account may decide alone: among strangers it would make something final that nobody else ever hears of if that device is
lost then, and the next one could not go on from it. Who never saw anybody of a group need not wait, as nobody goes on
there without it.

Who was removed, or left, still votes as the member that it was for what leads there; so an account that was brought in
again votes as both, each for its own steps.

A vote is signed with the key that the voter's leaf has in the epoch where it stands, which the graph knows. Whoever
does not know that epoch, or the one that is voted for, waits for it. A vote for an epoch whose commit was not followed
here counts like any other: so does a branch that we cannot follow, if members stand on it. What is signed has the
header of the step in it. Who cannot follow a commit believes its header by votes, and somebody may have made up another
one under that name; no vote counts for that.

Who votes for two children in one round has two devices that do not know of each other, as an old disk makes it, or
lies. Both votes count as what they are (`vcd.core.ordering.votes`), and people are told.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vcd.core import acting, lead, steps, topics, waiting
from vcd.core.duties import Duty
from vcd.core.errors import Refused
from vcd.core.events import Warned
from vcd.core.names import EpochId, FrameId, GroupId, Incarnation
from vcd.core.ordering import votes
from vcd.core.payloads import SignedBallot, Votes
from vcd.core.policy import Mode, permits
from vcd.core.record import encode
from vcd.core.sights import sight_of
from vcd.core.strand import counting
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from mls.secrets import SignaturePrivateKey
    from mls.suite import Suite
    from vcd.core.ordering.graph import Member, Step
    from vcd.core.state import State
    from vcd.core.strand import Strand
    from vcd.core.turn import Turn

TOGETHER = 1000
"""How long further votes on a step wait for each other, in milliseconds, so that they travel as one."""

_EVERYWHERE = b""
"""Subject of the duty that a device has which has just begun to vote for the account."""


# ---------------------------------------------------------------- who votes


def own(state: State, strand: Strand) -> Incarnation | None:
    """Which member of the head we are, if we are one."""
    name = state.me.device if strand.home else state.book.own
    graph = strand.graph
    if not graph.has(strand.head):
        return None
    ours = [each for each in graph.members(strand.head) if each.account == name]
    if len(ours) < 2:
        return ours[0].incarnation if ours else None
    for epoch in (*graph.up(strand.head), *sorted(strand.kept)):  # the account is in it twice: which leaf is ours?
        kept = strand.kept.find(epoch)
        if kept is None or not graph.has(epoch):
            continue
        here = steps.at_leaf(graph.members(epoch), kept.group.own_leaf)
        if here is not None and here in ours:
            return here.incarnation
    return ours[0].incarnation


def voter_device(state: State) -> Incarnation | None:
    """Which device votes in conversations: a member of the home."""
    strand = None if state.home is None else state.strands.find(state.home)
    return None if strand is None else _senior(strand)


def _senior(home: Strand) -> Incarnation:
    return home.graph.members(home.final)[0].incarnation


def votes_here(state: State, strand: Strand) -> bool:
    """Whether this device is the one that votes there. With an old disk it does not know what it voted for."""
    if state.household.listening:  # an old disk may not know how it voted
        return False
    if strand.home:
        return True
    home = None if state.home is None else state.strands.find(state.home)
    if home is None or (Duty.VOTE, _EVERYWHERE) in state.duties:
        return False
    return own(state, home) == _senior(home)


# ---------------------------------------------------------------- casting


@dataclass(frozen=True, slots=True, kw_only=True)
class _Voice:
    """A member that we are or were, an epoch in which it stands, what its leaf signs with there, and its steps."""

    who: Incarnation
    at: EpochId
    key: SignaturePrivateKey
    way: tuple[EpochId, ...]


def _voices(turn: Turn, strand: Strand) -> Iterator[_Voice]:
    """As whom we vote: who we are in the head, if we can follow to it, and who we were on the way there."""
    way = strand.graph.path(strand.head, strand.final)
    me = own(turn.state, strand)
    if me is not None:
        here = strand.kept.find(strand.head)
        if here is None:
            return
        yield _Voice(who=me, at=strand.head, key=here.group.signature_key, way=way)
    name = turn.state.me.device if strand.home else turn.state.book.own
    for step in (strand.graph.steps[epoch] for epoch in way):
        for who in step.removes:
            if any((each.incarnation, each.account) == (who, name) for each in strand.graph.members(step.parent)):
                voice = _parting(turn, strand, who, step)
                if voice is not None:
                    yield voice


def _parting(turn: Turn, strand: Strand, who: Incarnation, step: Step) -> _Voice | None:
    """Who is removed, or left, votes for that as well, also if it has been brought in again since.

    It is in the electorate of such a step, and of two or three members the others may be too few to decide it.
    """
    graph, found, way = strand.graph, None, [step.epoch]
    name = turn.state.me.device if strand.home else turn.state.book.own
    for epoch in graph.up(step.parent):
        there = next((each for each in graph.members(epoch) if each.incarnation == who), None)
        if there is None:
            break
        if found is None and (key := _key(turn, strand, epoch, there)) is not None:
            found = epoch, key
        if epoch == strand.final:
            break
        way.append(epoch)
    if found is None or not all(_vouched(strand, each, name) for each in way):
        return None
    return _Voice(who=who, at=found[0], key=found[1], way=tuple(reversed(way)))


def _vouched(strand: Strand, epoch: EpochId, name: bytes | None) -> bool:
    """Whether this device saw what a step does; else, whether it may be allowed, or somebody else vouches for it.

    Who came back in by a Welcome may know of the step that took it out by that alone. Others count its vote as of one
    who followed the commit, so it is not to be had for whatever a member does who brings it in. Where only that member
    and we are, nobody else can be asked, and nobody else be led astray.
    """
    graph, step = strand.graph, strand.graph.steps[epoch]
    was_in = epoch in strand.laid or epoch in strand.kept
    if epoch in strand.bodies or (was_in and not graph.anew(epoch)) or _permitted(strand, epoch):
        return True
    voters = (strand.ballots.voters.find(epoch) or frozenset()) - strand.ballots.liars
    others = [each for each in graph.anchor.members if each.account != name and each.incarnation != step.author]
    return not others or any(each.incarnation in voters for each in others)


def _permitted(strand: Strand, epoch: EpochId) -> bool:
    """Whether the policy may allow it: that of the nearest epoch before which is here, to the nearest one after it."""
    line = [*strand.graph.up(strand.head)]
    at = line.index(epoch)
    after = next((each for each in reversed(line[: at + 1]) if each in strand.kept), None)
    before = next((each for each in line[at + 1 :] if each in strand.kept), None)
    if after is None or before is None:
        return False
    way = line[line.index(after) : line.index(before)]
    return permits(strand.kept[before].group, strand.kept[after].group, strand.graph, way)


def _key(turn: Turn, strand: Strand, epoch: EpochId, there: Member) -> SignaturePrivateKey | None:
    """What a member that we were signs with. It outlives the value of the epoch (`leaves.prune`): others may be asleep.

    It has to be an epoch that this device was in since the strand began. How we voted before that, it may not know.
    """
    kept = strand.kept.find(epoch)
    if kept is not None:
        mine = not kept.settled and kept.group.own_leaf == there.leaf
        return kept.group.signature_key if mine else None
    known = turn.emulation.keys.find(there.key) if epoch in strand.laid and not strand.home else None
    return None if known is None else known.private


def _pending(turn: Turn, strand: Strand) -> list[tuple[_Voice, votes.Ballot]]:
    if not strand.graph.steps or not votes_here(turn.state, strand):
        return []
    found: list[tuple[_Voice, votes.Ballot]] = []
    for voice in _voices(turn, strand):
        if strand.mode is Mode.LEAD:
            ballots = lead.pending(turn, strand, voice.who, voice.way)
        else:
            ballots = votes.cast(counting(strand), strand.ballots, voice.who, strand.head, voice.way)
        found += [(voice, each) for each in ballots if voice.key.raw]
    return found


def touched(turn: Turn, group_id: GroupId) -> None:
    """A graph or votes changed: there may be something to vote for."""
    strand = turn.strand(group_id)
    pending = [each for _, each in _pending(turn, strand)]
    if not pending:
        return
    if _alone(strand):
        cast(turn, group_id)
        return
    begun = all(any(old.voter == each.voter for old in strand.ballots.at(each.parent)) for each in pending)
    turn.due(Duty.VOTE, group_id, turn.now + (TOGETHER if begun else turn.state.config.quiet))


def _alone(strand: Strand) -> bool:
    return len(strand.graph.members(strand.final)) == 1


def hears(turn: Turn, strand: Strand) -> bool:
    """Whether others' commits and votes would be known here, and ours there.

    Who has neither siblings nor members there needs none. In the home nobody votes for another one, and so nobody goes
    on from its votes.
    """
    home = None if turn.state.home is None else turn.state.strands.find(turn.state.home)
    single = home is None or _alone(home)
    if single and _alone(strand):
        return True
    if not turn.state.clock.online:
        return False
    if strand.home or not sight_of(turn.state, strand.group_id).seen:
        return True
    if single and len(strand.graph.members(strand.head)) == 1:
        return True
    return _peopled(turn, strand) or (home is not None and _peopled(turn, home))


def _peopled(turn: Turn, strand: Strand) -> bool:
    """Whether anybody is in the topics that votes go to."""
    names = [topics.keys_of(turn.topic_suite, each).name for each in acting.wide(strand, strand.head)]
    joined = [turn.state.joined.find(each) for each in names]
    return any(each is not None and (each.peers > 0 or each.mailbox) for each in joined)


def connected(turn: Turn) -> None:
    """Heads have to stand for a while anew where they may have been left behind: others are heard again only now."""
    for group_id in sorted(turn.state.strands):
        heard(turn, group_id)


def heard(turn: Turn, group_id: GroupId) -> None:
    """As `connected`, of one group: somebody came where nobody was."""
    if _pending(turn, turn.strand(group_id)):
        turn.later(Duty.VOTE, group_id, turn.now + turn.state.config.quiet)


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """A head that is another branch's has to stand for a while anew. So has a device that takes over the voting."""
    config = turn.state.config
    if before.head != after.head and not after.graph.is_ancestor(before.head, after.head):
        if (Duty.VOTE, after.group_id) in turn.state.duties:
            turn.later(Duty.VOTE, after.group_id, turn.now + config.quiet)
    if after.home and before.final != after.final:
        me = own(turn.state, after)
        if me is not None and _senior(before) != me == _senior(after):
            begin(turn)
        if _alone(after) and not _alone(before):  # no sibling is left that would have to hear it
            connected(turn)


def begin(turn: Turn) -> None:
    """This device may act for the account where it did not before. First it hears what was said for it until then."""
    turn.due(Duty.VOTE, _EVERYWHERE, turn.now + turn.state.config.digest_every)


def cast(turn: Turn, subject: bytes) -> None:
    """Duty VOTE."""
    if subject == _EVERYWHERE:
        for group_id in sorted(turn.state.strands):
            touched(turn, group_id)
            lead.touched(turn, group_id)
        return
    strand = turn.state.strands.find(GroupId(subject))
    if strand is None:
        return
    turn.not_due(Duty.VOTE, subject)
    pending = _pending(turn, strand)
    if not pending or not hears(turn, strand):  # `heard` asks again
        return
    suite = turn.provider.suite(strand.cipher_suite)
    headers, name = strand.graph.steps, strand.group_id
    said = tuple(steps.cast(suite, voice.key, each, voice.at, name, headers[each.child]) for voice, each in pending)
    for each in said:
        strand = _with(strand, each)
    turn.put(strand, graph=True)
    number = max(strand.graph.number(each.ballot.child) for each in said)
    acting.publish_wide(turn, strand, said[0].at, Votes(ballots=said, number=number))


def name_of(said: SignedBallot) -> bytes:
    return hashlib.sha256(encode(said)).digest()


def _with(strand: Strand, said: SignedBallot) -> Strand:
    after = strand.ballots.with_ballot(said.ballot)
    if after is strand.ballots:
        return strand
    return replace(strand, ballots=after, votes=strand.votes.set(name_of(said), said))


# ---------------------------------------------------------------- hearing


def on_votes(turn: Turn, group_id: GroupId, payload: Votes, frame: FrameId) -> None:
    """Somebody's votes."""
    missing = take(turn, group_id, payload.ballots)
    if missing is None:
        waiting.done(turn, frame)
    else:
        waiting.hold(turn, frame, group_id, (Need.EPOCH, missing), payload)


def take(turn: Turn, group_id: GroupId, said: Sequence[SignedBallot]) -> EpochId | None:
    """Votes of whoever. Says which epoch has to be known before all of them can count."""
    strand = turn.strand(group_id)
    suite = turn.provider.suite(strand.cipher_suite)
    missing: EpochId | None = None
    after = strand
    for each in said:
        if after.ballots.has(each.ballot):
            continue
        lacking = _lacking(after, each)
        if lacking is not None:
            missing = missing or lacking
            continue
        if not all(after.graph.has(epoch) for epoch in (each.ballot.parent, each.ballot.child, each.at)):
            continue  # of what is final already, or lost for good
        try:
            _check(after, each, suite)
        except Refused as error:
            turn.drop(error.rule)
            continue
        _compared(turn, after, each.ballot)
        after = _with(after, each)
    if after is not strand:
        turn.put(after, graph=True)
    return missing


def _compared(turn: Turn, strand: Strand, new: votes.Ballot) -> None:
    """People are told of a member that votes for two children in one round: once, as long as its votes are here.

    Not of one who came by a header that nobody followed: that says who it is, and with which key it votes.
    """
    ballots, graph = strand.ballots, strand.graph
    if not any(_doubles(new, each) for each in ballots.at(new.parent)):
        return
    mine = [each for several in ballots.cast.values() for each in several if each.voter == new.voter]
    if len({(each.parent, each.round) for each in mine}) < len(mine):
        return
    sure = (graph.anchor.members, *(each.adds for each in graph.steps.values() if strand.entered(each.epoch)))
    if all(each.incarnation != new.voter for several in sure for each in several):
        return
    members = (*strand.graph.members(new.parent), *strand.graph.members(new.child))
    who = next((each.account for each in members if each.incarnation == new.voter), None)
    turn.tell(Warned(code="double-vote", group=strand.group_id, account=who))


def _doubles(one: votes.Ballot, other: votes.Ballot) -> bool:
    return (one.voter, one.parent, one.round) == (other.voter, other.parent, other.round) and one.child != other.child


def _lacking(strand: Strand, said: SignedBallot) -> EpochId | None:
    """The first epoch that a vote names and that is not known here, if it may come to be."""
    graph = strand.graph
    for epoch in (said.ballot.parent, said.ballot.child, said.at):
        if not graph.has(epoch):
            return None if strand.entered(epoch) else epoch
    return None


def _check(strand: Strand, said: SignedBallot, suite: Suite) -> None:
    graph, ballot = strand.graph, said.ballot
    if graph.parent(ballot.child) != ballot.parent or ballot.round >= votes.MAX_ROUND:
        raise Refused("ballot-step")
    there = (*graph.members(ballot.child), *graph.members(ballot.parent))
    if all(each.incarnation != ballot.voter for each in there):
        raise Refused("ballot-voter")
    voter = next((each for each in graph.members(said.at) if each.incarnation == ballot.voter), None)
    if voter is None:
        raise Refused("ballot-voter")
    header = graph.steps[ballot.child]
    steps.check_ballot(suite, voter.key, said, strand.group_id, header, followed=strand.entered(ballot.child))
