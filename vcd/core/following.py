"""What others send to a group: commits are followed, messages are opened, and what cannot be yet waits.

A commit is followed on the value of the epoch that it ends, whatever that epoch's place in the graph is: whether it
wins is decided afterwards. Its header has to be what the commit does, and the group's policy has to allow it. A commit
that is refused leaves nothing behind, not even a used key, so it can be refused as often as it comes.

`VERDICTS` says what becomes of a message that could not be opened. It is the whole of what `mls` can raise here.
"""

from __future__ import annotations

import enum

from mls.components.dictionary import dictionary_of
from mls.errors import (
    GroupEndedError,
    LimitError,
    MissingProposalsError,
    MissingPskError,
    MlsError,
    OwnMessageError,
    PeerError,
    ReplayError,
    StaleError,
    UnderivedError,
    WrongRecipientError,
)
from mls.group import ApplicationMessage, CommitMessage, ProposalMessage, TargetedMessage, peek
from mls.registries import ContentType
from mls.state import Ended
from mls.virtual.emulation import Emulation
from mls.virtual.errors import MissingKeyError, OtherBranchError, UnknownEpochError, UnknownPackageError
from vcd.core import (
    contacts,
    crowd,
    delivery,
    devices,
    keys,
    lead,
    listing,
    sequence,
    steps,
    summaries,
    upkeep,
    waiting,
)
from vcd.core.accounts.head import Equivocation
from vcd.core.acting import topic_after
from vcd.core.duties import Duty
from vcd.core.errors import Malformed, Refused
from vcd.core.names import EpochId, FrameId, GroupId
from vcd.core.ordering.graph import Step
from vcd.core.payloads import Commit, Decision, Digest, Nomination, Payload, Post, SignedStep, Votes, Want
from vcd.core.policy import Mode, check
from vcd.core.reign import capable
from vcd.core.strand import Kept, Membership, Strand, corrected, doubtful, with_child, with_proposal, with_step
from vcd.core.turn import Turn
from vcd.core.waiting import Need


class Verdict(enum.Enum):
    """What becomes of a message that was not opened."""

    DONE = 1  # it was here before, or is our own
    LATE = 2  # its keys are gone
    REFUSE = 3  # it breaks a rule, or is not for us
    HOME = 4  # it waits for something of our other devices
    PROPOSALS = 5  # it waits for proposals
    LATER = 6  # there is too much of this now


VERDICTS: tuple[tuple[type[MlsError], Verdict], ...] = (
    (OwnMessageError, Verdict.DONE),
    (ReplayError, Verdict.DONE),
    (MissingProposalsError, Verdict.PROPOSALS),
    (UnknownEpochError, Verdict.HOME),
    (OtherBranchError, Verdict.HOME),
    (MissingKeyError, Verdict.HOME),
    (UnknownPackageError, Verdict.HOME),
    (UnderivedError, Verdict.HOME),
    (GroupEndedError, Verdict.LATE),
    (LimitError, Verdict.LATER),
    (MissingPskError, Verdict.REFUSE),
    (WrongRecipientError, Verdict.DONE),
    (StaleError, Verdict.REFUSE),
    (PeerError, Verdict.REFUSE),
)
"""The first row that fits counts."""


def verdict(error: MlsError) -> Verdict:
    for kind, found in VERDICTS:
        if isinstance(error, kind):
            return found
    raise error


def hopeless(strand: Strand, payload: Payload) -> bool:
    """Whether nothing that may still come makes this readable, so that it need not wait for anything.

    Once an epoch is final, others of its number or a lower one are before it or lost for good. Whoever was in none of
    them will not be. The number is the message's own: who lies about that spoils nothing but the message. A decision
    has none; one for where the graph begins, or for an epoch of before, is on one before that.
    """
    if strand.over:
        match payload:
            case Post():
                return payload.epoch not in strand.kept
            case Decision():  # one that brings us back comes before the Welcome
                return not strand.graph.has(payload.parent)
            case Nomination():
                return not strand.graph.has(payload.epoch)
            case Want() | Digest():
                return False
            case _:
                return True
    if not isinstance(payload, Post | Commit | Votes | Decision) or summaries.provisional(strand):
        return False
    if isinstance(payload, Decision):
        before = not strand.graph.has(payload.parent) and not strand.entered(payload.parent)
        return before and (payload.child == strand.graph.anchor.epoch or strand.entered(payload.child))
    if isinstance(payload, Votes):
        return 0 < payload.number <= strand.graph.anchor.number
    epochs = (payload.epoch,) if isinstance(payload, Post) else (payload.signed.step.parent, payload.signed.step.epoch)
    if any(strand.entered(epoch) or strand.graph.has(epoch) for epoch in epochs):
        return False
    number = _number(payload.message)
    return number is not None and number <= strand.graph.anchor.number


def _number(message: bytes) -> int | None:
    """Of the epoch, as the message has it; one that has none is refused for that when it is opened."""
    try:
        return peek(message).epoch
    except MlsError:
        return None


def _beyond(turn: Turn, strand: Strand, epoch: EpochId) -> bool:
    """Whether this device will never be in an epoch: no keys lead there any more, and no step there brings us in.

    Where it came past, on the way to the head, it follows nothing: neither what leads there nor what was done beside
    it. Who is lost may have to come back past it, and finds out then what it missed.
    """
    graph = strand.graph
    lost = strand.here is None and strand.membership is not Membership.OUT
    if lost or strand.entered(epoch) or not graph.has(epoch):
        return False
    own = turn.state.me.device if strand.home else turn.state.book.own
    way = frozenset(graph.up(strand.head)) if strand.here is not None else frozenset()
    for each in graph.up(epoch):
        if strand.entered(each):
            kept = strand.kept.find(each)
            return kept is None or kept.settled or kept.group.ended is not None
        step = graph.steps.find(each)
        if step is not None:
            # By a Welcome, or with another device of ours: on the way to the head only a Welcome may still come.
            came = [*[new.incarnation for new in step.adds], *[who for who, _ in step.moved if each not in way]]
            if any(there.account == own and there.incarnation in came for there in graph.members(each)):
                return False
        if each in way:
            return True
    return True


def unreachable(turn: Turn, strand: Strand, payload: Payload) -> bool:
    """Whether something waits for an epoch that this device will never be in.

    A header that gives the epoch another number than the message has is made up: its commit leads elsewhere, and may
    still come.
    """
    match payload:
        case Post():
            epoch = payload.epoch
        case Commit():
            epoch = payload.signed.step.parent
        case _:
            return False
    if not _beyond(turn, strand, epoch):
        return False
    number = _number(payload.message)
    return number is None or number == strand.graph.number(epoch)


def on_commit(turn: Turn, group_id: GroupId, payload: Commit, frame: FrameId) -> None:
    """A commit, in any order and any number of times."""
    step = payload.signed.step
    strand = turn.strand(group_id)
    if strand.went_past(step.epoch):
        summaries.seen(turn, group_id, step.epoch)
        waiting.done(turn, frame)
        return
    if strand.entered(step.parent) and not strand.graph.has(step.parent):
        turn.drop("commit-settled", "on a branch that lost for good")
        waiting.done(turn, frame)
        return
    if summaries.provisional(strand):  # who we are to the others is not known yet
        waiting.hold(turn, frame, group_id, (Need.GROUP, group_id), payload)
        return
    if step.parent not in strand.kept:
        _without_keys(turn, strand, payload, frame)
        return
    if _excess(turn, strand, step):
        turn.drop("commits-each")
        return
    if lead.holds(turn, strand, step.parent, step.epoch):
        waiting.hold(turn, frame, group_id, (Need.LEAD, step.parent), payload)
        return
    try:
        _follow(turn, strand, payload)
    except MlsError as error:
        _unopened(turn, strand, step.parent, payload, frame, error)
        return
    except (Refused, Malformed) as error:
        if isinstance(error, Equivocation):
            turn.evidence.append(error.evidence)
        turn.drop(getattr(error, "rule", "malformed"), str(error))
        waiting.done(turn, frame)
        return
    waiting.done(turn, frame)
    waiting.wake(turn, (Need.EPOCH, step.epoch))
    if strand.home:
        waiting.wake_home(turn)


def _excess(turn: Turn, strand: Strand, step: Step) -> bool:
    """Whether its author had its share of commits, on this epoch or at all; what others voted for has more room."""
    most = turn.state.config.max_unfinal
    if crowd.voted(strand, step):
        return crowd.full(strand, step, most)
    same = [
        child
        for child in strand.graph.children(step.parent)
        if strand.entered(child) and strand.graph.steps[child].author == step.author
    ]
    return len(same) >= turn.state.config.max_commits_each or crowd.full(strand, step, most)


def _follow(turn: Turn, strand: Strand, payload: Commit) -> None:
    said = payload.signed
    parent = strand.kept[said.step.parent]
    opened = keys.open_on(turn, strand, said.step.parent, payload.message)
    event = opened.event
    if not isinstance(event, CommitMessage):
        raise Refused("commit-kind", "no commit was in it")
    before = event.before
    if event.group.ended is Ended.REMOVED:  # who is removed cannot compute the epoch that begins
        check_author(strand, said)
        members = strand.graph.members(said.step.parent)
        own = steps.at_leaf(members, parent.group.own_leaf)
        seen = steps.seen_by_removed(strand.graph, before, event.plan, event.committer, said.step)
        if own is None or own.incarnation not in (*seen.removes, seen.author) or seen != said.step:
            raise Refused("step-header", "a commit's header is not what it does")
        check(before, members, seen, event.plan)
        if strand.home:
            listing.check(before, dictionary_of(event.plan.extensions), event.plan.tree, turn.provider)
        child = None
    else:
        computed = steps.step_of(
            strand.graph,
            before,
            event.group,
            event.plan,
            event.committer,
            confirmation_tag=event.group.public.confirmation_tag,
        )
        if computed != said.step:
            raise Refused("step-header", "a commit's header is not what it does")
        check(before, strand.graph.members(said.step.parent), computed, event.plan)
        if strand.home:
            context = event.group.public.context
            listing.check(before, context.dictionary, event.group.public.tree, turn.provider)
        check_author(strand, said, event)
        child = Kept(group=event.group, topic=topic_after(parent.topic, computed, event.group), newest=opened.newest)
    turn.change(emulation=opened.emulation)
    turn.put(with_child(strand, said, payload.message, before, child, turn.awake), graph=True)
    if not strand.home and child is not None:
        contacts.brought(turn, event.plan, event.group, event.committer)
    upkeep.followed(turn, strand.group_id, said.step, ours=opened.ours)
    if strand.home:
        devices.followed(turn, said.step, opened)


def _follow_plain(turn: Turn, strand: Strand, payload: Post) -> bool:
    """A commit without a header, of an ordinary client in a group with a lead: the header is made from it.

    False if it has to wait for the lead: who is removed by it cannot compute what the epoch is called that begins.
    """
    if strand.home or strand.mode is not Mode.LEAD:
        raise Refused("post-kind", "a commit has to come with its header")
    opened = keys.open_on(turn, strand, payload.epoch, payload.message)
    event = opened.event
    if not isinstance(event, CommitMessage) or event.external:
        raise Refused("post-kind")
    author = steps.at_leaf(strand.graph.members(payload.epoch), event.committer)
    if author is None or author in capable(strand, payload.epoch):
        raise Refused("post-kind", "a vcd signs a header")
    if event.group.ended is Ended.REMOVED:
        return _removed_by_plain(turn, strand, payload, opened.emulation, event)
    step = steps.step_of(
        strand.graph,
        event.before,
        event.group,
        event.plan,
        event.committer,
        confirmation_tag=event.group.public.confirmation_tag,
    )
    if strand.entered(step.epoch):
        return True
    if _excess(turn, strand, step):
        raise Refused("commits-each")
    check(event.before, strand.graph.members(step.parent), step, event.plan)
    topic = topic_after(strand.kept[step.parent].topic, step, event.group)
    kept = Kept(group=event.group, topic=topic, newest=opened.newest)
    said = SignedStep(step=step, signature=b"")
    turn.change(emulation=opened.emulation)
    turn.put(with_child(strand, said, payload.message, event.before, kept, turn.awake), graph=True)
    contacts.brought(turn, event.plan, event.group, event.committer)
    upkeep.followed(turn, strand.group_id, step, ours=False)
    waiting.wake(turn, (Need.EPOCH, step.epoch))
    return True


def _removed_by_plain(turn: Turn, strand: Strand, payload: Post, emulation: Emulation, event: CommitMessage) -> bool:
    """An ordinary client's commit that removes us, if it is what the lead has told of."""
    members = strand.graph.members(payload.epoch)
    own = steps.at_leaf(members, event.before.own_leaf)
    for step in lead.headers(turn, strand, payload.epoch):
        if strand.entered(step.epoch):
            return True
        seen = steps.seen_by_removed(strand.graph, event.before, event.plan, event.committer, step)
        if seen != step or strand.graph.steps.find(step.epoch) not in (None, step):
            continue
        if own is None or own.incarnation not in seen.removes:
            raise Refused("step-header", "a commit's header is not what it does")
        check(event.before, members, seen, event.plan)
        said = SignedStep(step=step, signature=b"")
        turn.change(emulation=emulation)
        turn.put(with_child(strand, said, payload.message, event.before, None, turn.awake), graph=True)
        upkeep.followed(turn, strand.group_id, step, ours=False)
        waiting.wake(turn, (Need.EPOCH, step.epoch))
        return True
    return False


def check_author(strand: Strand, said: SignedStep, event: CommitMessage | None = None) -> None:
    """Whether the author's leaf signed the header: its leaf in the parent, or, from outside, that or in the child."""
    step = said.step
    author = next((each for each in strand.graph.members(step.parent) if each.incarnation == step.author), None)
    if author is None:
        raise Refused("step-author")
    suite = strand.kept[step.parent].group.suite
    if event is not None and event.external:  # who comes back may have no key any more but the new one
        new = dict(step.keys).get(step.author, author.key)
        if steps.is_signed(suite, new, said):
            return
    steps.check_signature(suite, author.key, said)


def _without_keys(turn: Turn, strand: Strand, payload: Commit, frame: FrameId) -> None:
    """On an epoch that this device has no value of: the header may count, and the commit waits for its parent."""
    step = payload.signed.step
    if strand.went_past(step.parent) or unreachable(turn, strand, payload):
        turn.drop("commit-late")
        waiting.done(turn, frame)
        on_header(turn, strand, payload.signed)
        return
    waiting.hold(turn, frame, strand.group_id, (Need.EPOCH, step.parent), payload)
    on_header(turn, strand, payload.signed)


def _unfollowed(turn: Turn, strand: Strand, said: SignedStep, frame: FrameId) -> None:
    """A commit whose parent is here, and that this device cannot follow, perhaps never: then its header counts.

    An old disk cannot open what it made once, and who has one, or came back into the home from outside, is not told
    again what others' commits rest on. Whether the group stands there, votes say. What is only on its way is waited for
    first: if it were final before, it could not be followed any more.
    """
    if strand.graph.steps.find(said.step.epoch) == said.step or strand.entered(said.step.epoch):
        return
    held, wait = turn.state.waiting.items.find(frame), turn.state.config.desync_after
    if held is not None and (turn.now < held.since + wait or not turn.state.clock.online):
        turn.due(Duty.DESYNC, strand.group_id, turn.now + wait)
    else:
        on_header(turn, strand, said)


def on_header(turn: Turn, strand: Strand, said: SignedStep) -> None:
    """A header without its commit: into the graph if its author's signature can be checked.

    The graph knows the key that the author's leaf has there. A header that gives somebody else a new one is taken only
    with its commit, or its author could sign in the others' names. Two may be signed under one name, as only who
    follows a commit can tell what it begins: until somebody vouches for one of them, the one that came last is there.
    """
    step, known = said.step, strand.graph.steps.find(said.step.epoch)
    if known == step or (known is None and strand.graph.has(step.epoch)) or not strand.graph.has(step.parent):
        return
    if known is not None and not doubtful(strand, step.epoch):
        return
    base = strand.graph if known is None else strand.graph.without(frozenset(strand.graph.standing_on(step.epoch)))
    if not base.has(step.parent):
        return  # it would stand on itself
    if crowd.too_far(strand, step.parent, turn.state.config.max_unfinal):
        return
    try:
        steps.check_shape(base, step, home=strand.home)
    except Refused as error:
        turn.drop(error.rule)
        return
    author = next((each for each in strand.graph.members(step.parent) if each.incarnation == step.author), None)
    if author is None or any(who != step.author for who, _ in step.keys):
        turn.drop("header-author")
        return
    try:
        steps.check_signature(turn.provider.suite(strand.cipher_suite), author.key, said)
    except Refused as error:
        turn.drop(error.rule)
        return
    turn.put(with_step(strand, said) if known is None else corrected(strand, said), graph=True)
    waiting.wake(turn, (Need.EPOCH, step.epoch))  # votes for it, perhaps
    turn.due(Duty.DIGEST, strand.group_id, turn.now + turn.state.config.digest_every)  # or others have them


def on_post(turn: Turn, group_id: GroupId, payload: Post, frame: FrameId, *, in_turn: bool = True) -> None:
    """Something said, a proposal, or a message for this device alone. `in_turn`: after those said before it."""
    strand = turn.strand(group_id)
    kept = strand.kept.find(payload.epoch)
    if kept is None:
        if strand.went_past(payload.epoch):
            turn.drop("post-late")
            waiting.done(turn, frame)
            delivery.late(turn, strand, payload)
            return
        if unreachable(turn, strand, payload):  # it is said again if that branch loses, and asked for if it wins
            turn.drop("post-late")
            waiting.done(turn, frame)
            return
        waiting.hold(turn, frame, group_id, (Need.EPOCH, payload.epoch), payload)
        return
    try:
        if peek(payload.message).content_type == ContentType.COMMIT:
            if lead.holds(turn, strand, payload.epoch):
                waiting.hold(turn, frame, group_id, (Need.LEAD, payload.epoch), payload)
                return
            if _follow_plain(turn, strand, payload):
                waiting.done(turn, frame)
            else:
                waiting.hold(turn, frame, group_id, (Need.LEAD, payload.epoch), payload)
            return
        if in_turn and sequence.early(turn, strand, payload, frame):
            return
        opened = keys.open_on(turn, strand, payload.epoch, payload.message)
    except MlsError as error:
        _unopened(turn, strand, payload.epoch, payload, frame, error)
        return
    except (Refused, Malformed) as error:
        turn.drop(getattr(error, "rule", "malformed"), str(error))
        waiting.done(turn, frame)
        return
    waiting.done(turn, frame)
    strand = keys.use(turn, strand, payload.epoch, opened)
    event = opened.event
    sequence.opened(turn, kept.group, event.group, payload.epoch)
    if isinstance(event, ProposalMessage):
        turn.put(with_proposal(strand, payload.epoch, payload.message))
        waiting.wake(turn, (Need.PROPOSAL, payload.epoch))
        upkeep.proposed(turn, group_id, payload.epoch, event)
    elif isinstance(event, ApplicationMessage | TargetedMessage):
        if strand.home:
            devices.heard(turn, payload.epoch, opened)
            waiting.wake_home(turn)
        elif isinstance(event, ApplicationMessage):
            delivery.heard(turn, strand, payload.epoch, opened, payload.message)


def _too_far(error: MlsError) -> bool:
    return isinstance(error, PeerError) and error.check == "VAL-15.3-1"


def _unopened(
    turn: Turn, strand: Strand, epoch: EpochId, payload: Commit | Post, frame: FrameId, error: MlsError
) -> None:
    found = verdict(error)
    if found is Verdict.HOME and turn.state.home is not None:
        waiting.hold(turn, frame, strand.group_id, (Need.HOME, turn.state.home), payload)
    elif found is Verdict.PROPOSALS:
        waiting.hold(turn, frame, strand.group_id, (Need.PROPOSAL, epoch), payload)
    elif not (_too_far(error) and waiting.back(turn, frame)):
        kept = strand.kept.find(epoch)
        if isinstance(error, ReplayError) and isinstance(payload, Post) and kept is not None:
            if sequence.is_used(kept.group, payload.message):  # else it is what it says that is known already
                delivery.used(turn, strand, payload)
        if found not in (Verdict.DONE, Verdict.LATE):
            turn.drop(
                f"mls-{found.name.lower()}", error.check if isinstance(error, PeerError) else type(error).__name__
            )
        waiting.done(turn, frame)
    if isinstance(payload, Commit) and found in (Verdict.DONE, Verdict.HOME, Verdict.PROPOSALS):
        _unfollowed(turn, strand, payload.signed, frame)
