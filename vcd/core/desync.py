"""Devices that cannot follow any more, and how they come back.

A device is out of sync with a group if it is a member where the group stands and does not have that epoch: the commits
were lost, their parent's keys are gone, a path was not sealed to it rightly, or a rival won after its window. That the
group stands there is never one member's word. A header counts here only when somebody other than its author voted for
it, or it is final (`vcd.core.ordering`), and both are signed by members; a name in a message, however far ahead, or a
GroupInfo, or a summary proves nothing. So nobody can make a device leave an epoch by itself.

First it asks for the commits that it misses. If that does not help, it asks to be shown the way back (`Plea`), signed
as the member that it is, and somebody who stands at the head answers with a GroupInfo that only it can read (`Way`). If
that is of the head, by the confirmation tag that the head's author signed, it comes back by an external commit in its
own place (`comeback`). A way that leads elsewhere is old, or a lie, and is not taken. All of this has a limit and
longer and longer pauses.

Whoever came back is not there yet: a member may have shown a GroupInfo that leads nowhere. Until another member voted
for the epoch that it made, or committed on it, it is on probation. If others know of the epoch and go on standing
elsewhere, it was not followed: the device lets go of it, takes no way from that member again, and asks anew. If a rival
of that epoch wins, it lets go of it as well, and asks anew, by what it had before (`retention`).

A device that lacks the key to sign as that member, as it was set back to an old disk, asks the account's others for it.
So it does if it has an older one, and signs with that meanwhile: where nothing of before is left, nobody can check it.

A device may have made a newer list, shown it here, and be lost before the others heard of it: then nobody has the key
of the leaf, and no list that the others make follows that one. People are told (`newer-list`). Only the recovery phrase
is above it: the account asks under the list of the term that it begins (`HeadPlea`). By a list above the one that the
leaf shows anybody may come in from outside, so whoever shows one is told nothing that it might not have.

What it cannot prove it does not do by itself. Among two members, nobody can vote for what the other one did, whether
this device stands elsewhere or nowhere; among more, nobody may be there who could (`apart`). A way may begin where this
device never was, as all that was final when it fell asleep is forgotten by the others. All of these need the user's
consent (`inputs.ComeBack`), and so does trying on without end. Who was removed does not come back this way: somebody
has to invite them.

Nor can it prove that nobody else followed a removal, or a list, which strikes what all others go on from: then it
stands where nobody is who could show the way. So that needs consent too. It lets go of that branch if nobody but its
author voted for it and its keys are gone (`strand.let_go`), and owes the removal where it comes in (`reissue`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mls.errors import MlsError
from mls.hpke import CryptoError
from mls.leaf_node import LeafNode
from mls.registries import LeafIndex
from mls.virtual.announcements import JoinedExternally
from mls.welcome import decode_group_info
from vcd.core import acting, apart, comeback, events, lead, ranks, reissue, summaries, voting, waiting
from vcd.core.accounts.admission import head_of, version_under
from vcd.core.accounts.head import Head, check, check_next
from vcd.core.accounts.identity import AccountKey, sign, suite_of, verify
from vcd.core.duties import Duty
from vcd.core.errors import Malformed, Misuse, NodeError, Refused
from vcd.core.names import EpochId, FrameId, GroupId, Incarnation
from vcd.core.payloads import Door, HeadPlea, Plea, Want, Way
from vcd.core.policy import Mode
from vcd.core.record import decode, encode
from vcd.core.sights import Recovery, put_sight, sight_of
from vcd.core.state import Acceptance
from vcd.core.strand import Membership, Strand, let_go, without_branch
from vcd.core.waiting import Need

if TYPE_CHECKING:
    from vcd.core import inputs
    from vcd.core.payloads import Digest
    from vcd.core.turn import Turn

TRIES = 12
"""After that the user is asked."""
PATIENT = 2
"""Tries in which commits are asked for that could be followed, before the way back is."""
ALONE_TRIES = 3
"""How often what only one other member knows of is asked for before the user is."""
MAX_DISTRUSTED = 16

_PLEA = b"vcd plea"
_HEAD_PLEA = "vcd plea under a head"
_DOOR = b"vcd door"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the signature of a plea is over."""

    group_id: GroupId
    member: Incarnation
    at: EpochId
    key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _SaidUnderHead:
    """The same, where it is an account's key that signs."""

    group_id: GroupId
    member: Incarnation
    head: bytes
    key: bytes


def recovery(turn: Turn, group_id: GroupId) -> Recovery:
    return sight_of(turn.state, group_id).recovery


def put(turn: Turn, group_id: GroupId, now: Recovery) -> None:
    old = sight_of(turn.state, group_id)
    put_sight(turn, group_id, replace(old, recovery=now))
    if old.recovery.entered is not None and now.entered is None:  # what was kept to go back to may go
        turn.due(Duty.RETAIN, group_id, turn.now)


# ---------------------------------------------------------------- noticing


def moved(turn: Turn, before: Strand, after: Strand) -> None:
    """It stands where we can follow, or where we cannot."""
    group_id = after.group_id
    if after.here is not None:
        if not all(after.entered(epoch) for epoch in _way(before, after)):  # what waits for those need not any more
            waiting.look_again(turn, group_id, Need.EPOCH, Need.HOME, Need.PROPOSAL)
        if before.membership is Membership.LOST:  # it may have missed what made epochs final, and the others have done
            summaries.show_soon(turn, group_id)
        _found(turn, after)
        return
    if voting.own(turn.state, after) is None:  # we were removed; `conversations` and `devices` see to that
        turn.not_due(Duty.DESYNC, group_id)
        return
    if after.membership is not Membership.LOST:
        turn.put(replace(after, membership=Membership.LOST))
    config = turn.state.config
    last = 0 if after.home else ranks.device_place(turn)
    turn.due(Duty.DESYNC, group_id, turn.now + config.desync_after + config.turn_taking * last)


def _way(before: Strand, after: Strand) -> Iterable[EpochId]:
    """What leads from where it stood, if it could follow there, to where it stands; else from the last final epoch."""
    graph = after.graph
    on = before.here is not None and graph.is_ancestor(before.head, after.head)
    return graph.path(after.head, before.head) if on else graph.up(after.head)


def _found(turn: Turn, strand: Strand) -> None:
    """We follow again, by whatever way."""
    if strand.membership is Membership.LOST:
        turn.put(replace(strand, membership=Membership.IN))
    known = recovery(turn, strand.group_id)
    if known.told:
        turn.tell(events.OutOfSync(group=strand.group_id, asks=False, over=True))
    if known.entered is not None:
        put(turn, strand.group_id, replace(known, told=False, asks=False))
    elif known != Recovery():
        # Who let go of a false way may stand here again and be led there once more: so tries count until this is final.
        good = strand.head == strand.final
        put(turn, strand.group_id, Recovery() if good else Recovery(distrusted=known.distrusted, tries=known.tries))
        turn.not_due(Duty.DESYNC, strand.group_id)


# ---------------------------------------------------------------- asking


def come_back(turn: Turn, command: inputs.ComeBack) -> None:
    """The user consents: to a way that cannot be proven, or to trying once more."""
    strand = turn.strand(command.group)
    known = recovery(turn, command.group)
    if strand.here is not None and not known.asks:
        raise Misuse("in-sync", "this device follows that group")
    if voting.own(turn.state, strand) is None:
        raise Misuse("not-member", "somebody has to invite us")
    if _is_answered(turn, strand):
        _found(turn, strand)
        return
    put(turn, command.group, replace(known, consent=True, asks=False, tries=0, entered=None, distrusted=()))
    recover(turn, command.group)


def recover(turn: Turn, subject: bytes) -> None:
    """Duty DESYNC."""
    group_id, config = GroupId(subject), turn.state.config
    strand = turn.state.strands.find(group_id)
    if strand is None:
        return
    waiting.look_again(turn, group_id, Need.HOME, Need.PROPOSAL)
    known = recovery(turn, group_id)
    if known.entered is not None:
        _probation(turn, strand, known)
        return
    if _is_answered(turn, strand):
        _found(turn, strand)
        return
    if strand.here is not None and not known.consent:
        first, missing = _elsewhere(turn, strand), summaries.missing(strand)
        if any(each is not None and each not in missing for each in (first, _apart(turn, strand))):
            ask_user(turn, group_id)
        elif first is not None and strand.mode is Mode.LEAD and not known.asks:  # where nobody shows branches
            summaries.want(turn, strand)
            behind(turn, strand)
            turn.later(Duty.DESYNC, group_id, turn.now + config.ask_again)
        return
    if voting.own(turn.state, strand) is None:
        return
    if not turn.state.clock.online or not _may(turn, strand):
        turn.later(Duty.DESYNC, group_id, turn.now + config.desync_after)
        return
    if not known.told:
        turn.tell(events.OutOfSync(group=group_id, asks=False, over=False))
        known = replace(known, told=True)
        put(turn, group_id, known)
    if known.tries >= TRIES:
        ask_user(turn, group_id)
        return
    patient = (
        known.tries < PATIENT
        and not known.consent
        and any(strand.graph.is_ancestor(each, strand.head) for each in summaries.missing(strand))
    )
    known = replace(known, tries=known.tries + 1)
    put(turn, group_id, known)
    if patient:
        summaries.want(turn, strand)
    else:
        _plead(turn, strand)
        summaries.show_soon(turn, group_id)  # what is final for the others already, a way back does not prove
    wait = min(config.retry_most, max(config.ask_again, config.retry << known.tries))
    turn.later(Duty.DESYNC, group_id, turn.now + wait)


def _may(turn: Turn, strand: Strand) -> bool:
    """Whether it is for us to come back now: not to what the user has not accepted, and to the home first."""
    if strand.home:
        return True
    talk = turn.state.talks.find(strand.group_id)
    accepted = talk is None or talk.acceptance is Acceptance.YES
    return accepted and turn.home.here is not None and not turn.state.household.listening


def behind(turn: Turn, strand: Strand) -> None:
    """What is missing was asked for. Where only one other member knows of it, that cannot go on for ever."""
    first, known = _elsewhere(turn, strand), recovery(turn, strand.group_id)
    if known.consent:
        return
    if first in summaries.missing(strand):
        put(turn, strand.group_id, replace(known, tries=known.tries + 1))
    if first is not None and (known.tries + 1 >= ALONE_TRIES or first not in summaries.missing(strand)):
        ask_user(turn, strand.group_id)


def shown(turn: Turn, strand: Strand) -> None:
    """Somebody shows branches: one that cannot be had any more is left some time to be voted for."""
    if _is_answered(turn, strand):
        _found(turn, strand)
        return
    if recovery(turn, strand.group_id).consent:
        return
    config, missing = turn.state.config, summaries.missing(strand)
    for first, wait in ((_elsewhere(turn, strand), config.desync_after), (_apart(turn, strand), config.retry_most)):
        if first is not None and first not in missing:
            turn.due(Duty.DESYNC, strand.group_id, turn.now + wait)


def _is_answered(turn: Turn, strand: Strand) -> bool:
    """Whether people were asked to come from where this device stands, and it would stand nowhere else any more.

    Somebody may have come since who followed what was done here: who says yes only then does not leave that.
    """
    known = recovery(turn, strand.group_id)
    if not (known.asks or known.consent) or _follows(turn, strand) is None:
        return False
    return _elsewhere(turn, strand) is None and _apart(turn, strand) is None


def _elsewhere(turn: Turn, strand: Strand) -> EpochId | None:
    """Where the group may stand instead, on the word of the one other member that is there."""
    me = _follows(turn, strand)
    if me is None:
        return None
    if strand.mode is Mode.LEAD:
        return None if turn.state.talks.find(strand.group_id) is None else lead.alone(turn, strand)
    return apart.of_two(strand, me)


def _apart(turn: Turn, strand: Strand) -> EpochId | None:
    """The same where others could vote, and did not."""
    me = _follows(turn, strand)
    return None if me is None or strand.mode is Mode.LEAD else apart.of_more(strand, me)


def _follows(turn: Turn, strand: Strand) -> Incarnation | None:
    """Who we are where this device stands, as long as it does, and others followed it there."""
    known = recovery(turn, strand.group_id)
    return None if strand.here is None or known.entered is not None else voting.own(turn.state, strand)


def ask_user(turn: Turn, group_id: GroupId) -> None:
    """What may be done without consent was done."""
    known = recovery(turn, group_id)
    if not known.asks:
        put(turn, group_id, replace(known, asks=True, told=True))
        turn.tell(events.OutOfSync(group=group_id, asks=True, over=False))


def astray(turn: Turn, strand: Strand) -> bool:
    """Whether this device stands where it never was, on another device's word, and nobody has shown it the way there.

    What is final there is that word alone, and it may be a thief's.
    """
    graph = strand.graph
    been = any(strand.entered(each) for each in (graph.anchor.epoch, *graph.steps))
    lost = strand.membership is Membership.LOST and strand.here is None
    return lost and not been and recovery(turn, strand.group_id).tries >= ASTRAY


ASTRAY = 3


def sibling_tries(turn: Turn, group_id: GroupId) -> None:
    """Another device of ours is about to bring the account back: we wait."""
    strand = turn.state.strands.find(group_id)
    if strand is not None and strand.here is None and (Duty.DESYNC, group_id) in turn.state.duties:
        turn.later(Duty.DESYNC, group_id, turn.now + turn.state.config.desync_after)


def sibling_came(turn: Turn, told: JoinedExternally) -> bool:
    """Another device of ours did. Says whether this one came along; if not, it goes on by itself."""
    return comeback.along(turn, told)


def _plead(turn: Turn, strand: Strand) -> None:
    """Ask to be shown the way back."""
    near = comeback.nearest(strand)
    me = voting.own(turn.state, strand)
    signs = comeback.signing(turn, strand, near)
    asked = me is not None and comeback.ask_key(turn, strand, None if signs is None else signs[1])
    above = None if me is None else _above(turn, strand, None if signs is None else signs[0])
    if me is None or (signs is None and above is None):
        if not asked:
            ask_user(turn, strand.group_id)
        return
    suite = turn.provider.suite(strand.cipher_suite)
    known = recovery(turn, strand.group_id)
    private, public = suite.generate_key_pair(turn.random)
    put(turn, strand.group_id, replace(known, private=private, public=public))
    plea: Plea | HeadPlea
    if above is not None:
        plea = _under_head(turn, strand.group_id, me, public, *above)
    else:
        assert signs is not None  # noqa: S101 - looked at before
        at, key = signs
        signature = suite.sign_with_label(key, _PLEA, _content(strand.group_id, me, at, public))
        plea = Plea(member=me, at=at, key=public, signature=signature)
    acting.publish_wide(turn, strand, near or strand.head, Want(plea=plea), life=turn.state.config.ask_again * 10)


def _content(group_id: GroupId, member: Incarnation, at: EpochId, key: bytes) -> bytes:
    return encode(_Said(group_id=group_id, member=member, at=at, key=key))


def _above(turn: Turn, strand: Strand, at: EpochId | None) -> tuple[Head, AccountKey] | None:
    """Our list and its account key, if our leaf has shown one that shuts somebody out since `at`, and this is above it.

    Nobody believes the key that it had before then. Headers tell of it, which our own leaf signs.
    """
    edition, signing, graph = turn.state.book.edition, turn.state.household.signing, strand.graph
    if strand.home or edition is None or signing is None or not graph.has(strand.head):
        return None
    since = at if at is not None and graph.is_ancestor(at, strand.head) else None
    path = graph.path(strand.head, since)
    shown = [each.version for epoch in path for each in graph.steps[epoch].lists if each.account == edition.account]
    newest = max(shown, default=0)
    if newest > edition.version and recovery(turn, strand.group_id).tries == ALONE_TRIES:
        turn.tell(events.Warned(code="newer-list", group=strand.group_id))
    return (edition.head, signing) if shown and edition.version > newest else None


def _under_head(
    turn: Turn, group_id: GroupId, me: Incarnation, public: bytes, head: Head, signing: AccountKey
) -> HeadPlea:
    suite = suite_of(turn.provider, head.authority.mandate.cipher_suite)
    said = encode(_SaidUnderHead(group_id=group_id, member=me, head=head.digest, key=public))
    return HeadPlea(member=me, key=public, head=head, signature=sign(suite, signing, _HEAD_PLEA, said))


# ---------------------------------------------------------------- answering


def heard(turn: Turn, strand: Strand, plea: Plea | HeadPlea) -> bool:
    """The same as `hears`, of either kind."""
    return hears(strand, plea) if isinstance(plea, Plea) else _hears_head(turn, strand, plea)


def _hears_head(turn: Turn, strand: Strand, plea: HeadPlea) -> bool:
    """Whether the account of that member says so, under a list that may take the place of the one that its leaf shows,
    and that is not known to be superseded.
    """
    leaf, head = _leaf(strand, plea.member), plea.head
    shown = None if leaf is None else head_of(leaf.credential)
    if shown is None or head.version <= shown.version or turn.state.book.superseded(head):
        return False
    said = encode(_SaidUnderHead(group_id=strand.group_id, member=plea.member, head=head.digest, key=plea.key))
    try:
        check_next(shown, check(head, turn.provider))
        suite = suite_of(turn.provider, head.authority.mandate.cipher_suite)
    except NodeError:
        return False
    return verify(suite, head.signing_key, _HEAD_PLEA, said, plea.signature)


def _leaf(strand: Strand, member: Incarnation) -> LeafNode | None:
    """That member's where we stand, if somebody can be shown the way there."""
    here = strand.here
    if here is None or here.group.ended is not None:
        return None
    now = next((each for each in strand.graph.members(strand.head) if each.incarnation == member), None)
    return None if now is None else here.group.public.tree.leaf(LeafIndex(now.leaf))


def hears(strand: Strand, plea: Plea) -> bool:
    """Whether that is a member of the head, who cannot follow, and we can help."""
    here, leaf = strand.here, _leaf(strand, plea.member)
    if here is None or leaf is None:
        return False
    content = _content(strand.group_id, plea.member, plea.at, plea.key)
    # Another device of theirs may have given the leaf a new key since. Then an older one will do, unless a list that
    # the tree shows now has shut a device out: that one has the old key.
    older = _leaves(strand, plea.member, plea.at)
    fit = [leaf, *(each for each in older if version_under(each.credential) == version_under(leaf.credential))]
    suite = here.group.suite
    return any(suite.verify_with_label(each.signature_key, _PLEA, content, plea.signature) for each in fit)


def _leaves(strand: Strand, member: Incarnation, at: EpochId) -> list[LeafNode]:
    """The leaf that a member has in an epoch; if that one's tree is not here, those that it has nearby, nearest first.

    What they say of devices that were shut out, no header tells.
    """
    graph = strand.graph
    exact = strand.kept.find(at)
    places = [at] if exact is not None else [*graph.up(at), *sorted(strand.kept)]
    found: list[LeafNode] = []
    for epoch in places:
        kept = strand.kept.find(epoch)
        if kept is None or not graph.has(epoch):
            continue
        here = next((each for each in graph.members(epoch) if each.incarnation == member), None)
        node = None if here is None else kept.group.public.tree.leaf(LeafIndex(here.leaf))
        if node is not None and all(node.signature_key != each.signature_key for each in found):
            found.append(node)
    return found


def opened(turn: Turn, strand: Strand, plea: Plea | HeadPlea) -> Door | None:
    """The way to where we stand, for who asked, if it is still one of us who can tell."""
    here = strand.here
    if here is None or not heard(turn, strand, plea):
        return None
    way, suite = comeback.way_to(strand, here), here.group.suite
    context = suite.encryption_context(_DOOR, strand.group_id + plea.key)
    try:
        kem_output, sealed = suite.seal(plea.key, context, encode(way), turn.random)
    except (MlsError, CryptoError):
        return None
    return Door(key=plea.key, kem_output=kem_output, sealed=sealed)


def on_door(turn: Turn, group_id: GroupId, payload: Door, frame: FrameId) -> None:
    """The way back, for us or for somebody else."""
    waiting.done(turn, frame)
    summaries.seen(turn, group_id, payload.key)
    known = recovery(turn, group_id)
    strand = turn.strand(group_id)
    if known.private is None or payload.key != known.public or known.entered is not None:
        return
    if strand.here is not None and not known.consent:
        return
    suite = turn.provider.suite(strand.cipher_suite)
    context = suite.encryption_context(_DOOR, group_id + payload.key)
    try:
        way = decode(Way, suite.open(known.private, context, payload.kem_output, payload.sealed))
        info = decode_group_info(way.group_info)
    except (CryptoError, MlsError):
        raise Malformed("a way that cannot be read") from None
    if info.context.group_id != group_id:
        raise Refused("door-group")
    summaries.learn(turn, group_id, way.lineage.steps, way.lineage.ballots)
    strand = _standing(turn, turn.strand(group_id))
    if not strand.graph.has(way.epoch):
        if not known.consent:
            ask_user(turn, group_id)
            return
        strand = comeback.anchored_anew(turn.state, strand, way)
    if known.consent and _is_struck(strand, way.epoch):
        strand = _yielded(turn, strand, way.epoch)
    if way.epoch != strand.head and (not known.consent or _is_struck(strand, way.epoch)):
        if known.tries >= ALONE_TRIES and _for_consent(strand, way.epoch):
            ask_user(turn, group_id)
        raise Refused("door-stale", "it does not lead to where the group stands")
    if strand.here is not None and strand.mode is not Mode.LEAD and not apart.wins(strand, way.epoch):
        raise Refused("door-stale", "what we stand on goes before it")
    there = strand.kept.find(way.epoch)
    if there is not None and not there.settled:
        return  # what came with it was enough
    comeback.enter(turn, strand, way, info)


def _standing(turn: Turn, strand: Strand) -> Strand:
    """Where it stands by what is known now; that is entered when this step settles."""
    return comeback.stood(strand) if turn.state.talks.find(strand.group_id) is None else lead.stood(turn, strand)


def _for_consent(strand: Strand, there: EpochId) -> bool:
    """Whether trying on will not lead there, and consent would."""
    if _is_struck(strand, there):
        return not _is_struck(_without_gone(strand), there)
    alone = len(strand.graph.members(there)) <= 2
    return alone and strand.graph.is_ancestor(strand.head, there)


def _without_gone(strand: Strand) -> Strand:
    return strand if strand.home else let_go(strand)


def _yielded(turn: Turn, strand: Strand, there: EpochId) -> Strand:
    """Without what strikes an epoch for nobody but us, as far as this device can tell, if that is all that does.

    Nobody voted for it but who made it, and its keys are gone: nobody can be shown to follow it any more. Whom it
    removed is removed anew, on the branch where the others are.
    """
    after = _without_gone(strand)
    if _is_struck(after, there):
        return strand
    reissue.owe(turn, strand, there)
    return after


def _is_struck(strand: Strand, epoch: EpochId) -> bool:
    """Whether it stands on something void. It may not count itself, as nobody but its author voted for it."""
    return any(each in strand.standing.void for each in strand.graph.up(epoch))


# ---------------------------------------------------------------- probation


def doubted(turn: Turn, strand: Strand, digest: Digest) -> None:
    """Somebody shows where it stands. If it knows of the epoch that we came back by, and stands beside it: a doubt."""
    known = recovery(turn, strand.group_id)
    if known.entered is None or turn.now < known.until - turn.state.config.digest_every:
        return
    graph = turn.strand(strand.group_id).graph
    knows = any(each.step.epoch == known.entered for each in digest.steps)
    if knows and not graph.is_ancestor(known.entered, digest.head):
        put(turn, strand.group_id, replace(known, doubts=known.doubts + 1))


def _probation(turn: Turn, strand: Strand, known: Recovery) -> None:
    """Whether others follow where we came back."""
    group_id, config = strand.group_id, turn.state.config
    entered, graph = known.entered, strand.graph
    if entered is None:
        return
    if not graph.has(entered) or entered == graph.anchor.epoch:  # it lost, or is final
        lost = strand.here is None
        put(turn, group_id, Recovery(distrusted=known.distrusted, tries=known.tries) if lost else Recovery())
        if lost:
            moved(turn, strand, strand)
        return
    me = voting.own(turn.state, strand)
    voted = any(each.child == entered and each.voter != me for each in strand.ballots.at(graph.steps[entered].parent))
    built = any(step.author != me and graph.is_ancestor(entered, epoch) for epoch, step in graph.steps.items())
    if voted or built or len(graph.members(entered)) == 1:
        put(turn, group_id, Recovery())
        moved(turn, strand, strand)
        return
    if known.doubts == 0 and strand.here is not None:
        turn.later(Duty.DESYNC, group_id, turn.now + config.digest_every)
        return
    # If we stand elsewhere, a rival may just have won: that alone says nothing against who showed the way.
    doubted = (known.by,) if known.doubts else ()
    distrusted = (*known.distrusted, *doubted)[-MAX_DISTRUSTED:]
    put(turn, group_id, Recovery(distrusted=distrusted, tries=known.tries, consent=known.consent))
    after = without_branch(strand, entered)
    turn.put(after, graph=True)
    if strand.here is None:  # it stood elsewhere before, so nothing will move
        moved(turn, strand, after)
