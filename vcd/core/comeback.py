"""Coming back into a group from outside, in our own place.

What this room is given was asked for, and proven as far as `desync` can: a GroupInfo of the epoch where the group
stands. It looks at the rest. Its confirmation tag is the one that the epoch's author signed, its members are those that
the graph has, one of them signed it whom there is no reason to distrust, and the group lets members come back. Then our
leaf is replaced by a new one of ours: in a conversation by an act of the account's, of which the other devices are told
before anybody else, in the home by this device itself. The commit enters the graph as one child more of the head.

A device that comes back to the home knows nothing of derivation epochs that it missed. Where the account's leaf in a
conversation comes from one of these, it asks the others to replace it (`leaves.ask`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mls import external, group as mls
from mls.components.dictionary import dictionary_of
from mls.errors import MlsError, StaleError
from mls.leaf_node import Extensions, LeafNode, find_extension
from mls.registries import ExtensionType, LeafIndex
from mls.secrets import SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.virtual import client
from mls.virtual.announcements import Announcement, ExternalJoin, JoinedExternally
from mls.virtual.emulation import Head
from mls.virtual.errors import UnknownEpochError
from mls.welcome import GroupInfo, decode_group_info
from vcd.core import (
    contacts,
    deputies,
    desync,
    devices,
    kinds,
    lead,
    leaves,
    list_keys,
    ourselves,
    ranks,
    steps,
    summaries,
    voting,
)
from vcd.core.accounts.admission import version_under
from vcd.core.accounts.credential import virtual_credential
from vcd.core.duties import Duty
from vcd.core.errors import Refused
from vcd.core.names import DeviceId, EpochId
from vcd.core.ordering.choice import counted, standing
from vcd.core.ordering.graph import Graph, Member
from vcd.core.ordering.votes import Ballots
from vcd.core.payloads import Commit, SignedStep, Way
from vcd.core.policy import Who, of_dictionary
from vcd.core.siblings import CameBack, KeyWanted
from vcd.core.strand import Kept, Membership, Strand, at_rest, futile, stood, with_child, with_step
from vcd.core.topics import TopicSecret, topic_of

if TYPE_CHECKING:
    from vcd.core.siblings import Told
    from vcd.core.state import State
    from vcd.core.turn import Turn

__all__ = ["again", "along", "anchored_anew", "ask_key", "enter", "nearest", "signing", "stood", "way_to"]


# ---------------------------------------------------------------- who we were


def nearest(strand: Strand) -> EpochId | None:
    """The epoch that this device has which is nearest to where the group stands."""
    graph = strand.graph
    if graph.has(strand.head):
        found = next((each for each in graph.up(strand.head) if each in strand.kept), None)
        if found is not None:
            return found
    return max(strand.kept, key=lambda each: (strand.kept[each].left_at or 0, each), default=None)


def signing(turn: Turn, strand: Strand, near: EpochId | None) -> tuple[EpochId, SignaturePrivateKey] | None:
    """The key of our leaf where the group stands, or as near to that as this device knows one, and the epoch.

    A sibling may have given the leaf another key, of which it told us, by a commit that we missed. If it had shut
    somebody out, the key of before counts for nothing any more.
    """
    if strand.home:
        return near or strand.head, turn.state.me.signature_private
    graph, me, ring = strand.graph, voting.own(turn.state, strand), turn.emulation.keys
    for epoch in graph.up(strand.head) if graph.has(strand.head) else ():
        if epoch == near:
            break
        known = next((ring.find(each.key) for each in graph.members(epoch) if each.incarnation == me), None)
        if known is not None:
            return epoch, known.private
    if near is None:
        return None
    group = strand.kept[near].group
    if group.signature_key.raw:
        return near, group.signature_key
    known = ring.find(group.own_leaf_node.signature_key)
    return None if known is None else (near, known.private)


def ask_key(turn: Turn, strand: Strand, has: SignaturePrivateKey | None) -> bool:
    """Ask another device of ours for the key of our leaf where the group stands, each time another one.

    Who was set back to an old disk does not have what it told the others since: nobody opens its own messages. It may
    have one of before (`has`), which only those can check who still have a tree with it.
    """
    me = voting.own(turn.state, strand)
    key = next((each.key for each in strand.graph.members(strand.head) if each.incarnation == me), None)
    others = [each for each in ranks.devices(turn) if each != turn.state.me.device]
    if strand.home or key is None or not others or not devices.may_speak(turn):
        return False
    if has is not None and turn.provider.suite(strand.cipher_suite).scheme.public_key(has) == key:
        return False
    tries = desync.recovery(turn, strand.group_id).tries
    devices.tell(turn, KeyWanted(device=others[tries % len(others)], public=key))
    return True


def ask_siblings(turn: Turn, public: bytes, first: DeviceId) -> None:
    """Ask for the signature key of a leaf of ours: first who acted with it, then the others, one after another."""
    asked = {record.device: turn.state.household.said[at].at for at, record in list_keys.asked_for(turn, public)}
    others = [each for each in ranks.devices(turn) if each != turn.state.me.device]
    if not others or (asked and max(asked.values()) + turn.state.config.desync_after > turn.now):
        return
    device = min(others, key=lambda each: (asked.get(each, 0), each != first))
    devices.tell(turn, KeyWanted(device=device, public=public))


def on_key_wanted(turn: Turn, told: Told, record: KeyWanted) -> None:
    """Another device of ours lacks a signature key."""
    if record.device != turn.state.me.device:
        return
    if record.public in turn.emulation.keys:
        ourselves.tell_keys(turn, [record.public])
    else:
        list_keys.answer(turn, told, record.public)


# ---------------------------------------------------------------- the way


def anchored_anew(state: State, strand: Strand, way: Way) -> Strand:
    """With the graph that a way tells of, taken on trust. What this device has of before follows nothing any more."""
    told = way.lineage
    graph = Graph(told.anchor)
    signed: dict[EpochId, SignedStep] = {}
    for each in told.steps:
        if graph.has(each.step.epoch) or not graph.has(each.step.parent):
            continue
        steps.check_shape(graph, each.step, home=strand.home)
        graph = graph.with_step(each.step)
        signed[each.step.epoch] = each
    if not graph.has(way.epoch):
        raise Refused("lineage-end", "it does not lead there")
    ballots = Ballots()
    for vote in told.ballots:
        if graph.parent(vote.ballot.child) == vote.ballot.parent:
            ballots = ballots.with_ballot(vote.ballot)
    # That the epoch counts is part of what is taken on trust; who is a member there is not: the tree has to agree.
    now = standing(graph, ballots, counted(graph, ballots, [way.epoch]))
    after = replace(
        strand,
        graph=graph,
        ballots=ballots,
        standing=now,
        signed=strand.signed.changed([*strand.signed], signed),
        votes=strand.votes.changed([*strand.votes], {voting.name_of(vote): vote for vote in told.ballots}),
        bodies=strand.bodies.changed([*strand.bodies], {}),
        laid=strand.laid.changed([*strand.laid], {}),
        trunk=TopicSecret(told.topic) if len(told.topic) == 32 else strand.trunk,
    )
    for epoch in sorted(after.kept):
        after = at_rest(after, epoch)
    if voting.own(state, after) is None:
        raise Refused("lineage-members", "we are no member there")
    return after


def _tree(info: GroupInfo, suite: Suite) -> RatchetTree:
    encoded = find_extension(info.extensions, ExtensionType.RATCHET_TREE)
    if encoded is None:
        raise Refused("door-tree")
    return RatchetTree.decode(suite, encoded)


def _check_way(turn: Turn, strand: Strand, way: Way, info: GroupInfo, tree: RatchetTree) -> Member:
    """Whether a GroupInfo is of that epoch, as far as the graph can tell; gives our member there."""
    graph = strand.graph
    tag = graph.tag(way.epoch)
    known = bool(tag) or way.epoch in graph.steps  # of where the graph begins it may not be
    if info.context.epoch != graph.number(way.epoch) or (known and tag != info.confirmation_tag):
        raise Refused("door-epoch", "it is of another epoch")
    members = graph.members(way.epoch)
    if len(members) != tree.member_count:
        raise Refused("door-members")
    for each in members:
        node = tree.leaf(LeafIndex(each.leaf)) if each.leaf < tree.leaf_count else None
        if node is None or steps.whose(node) != each.account:
            raise Refused("door-members")
    signer = steps.at_leaf(members, info.signer)
    if signer is None or signer.incarnation in desync.recovery(turn, strand.group_id).distrusted:
        raise Refused("door-signer")
    me = voting.own(turn.state, strand)
    old = next((each for each in members if each.incarnation == me), None)
    if old is None:
        raise Refused("door-members", "we are not among them")
    return old


# ---------------------------------------------------------------- coming back


def enter(turn: Turn, strand: Strand, way: Way, info: GroupInfo) -> None:
    """Come back by that way, from where the group stands."""
    tree = _tree(info, turn.provider.suite(strand.cipher_suite))
    old = _check_way(turn, strand, way, info, tree)
    signer = steps.at_leaf(strand.graph.members(way.epoch), info.signer)
    if not _allowed(info.context.extensions, old):
        desync.ask_user(turn, strand.group_id)
        return
    if signer is None:
        raise Refused("door-members")
    entered = _come_in(turn, strand, way, info, tree, old)
    if entered is None:
        return
    config, known = turn.state.config, desync.recovery(turn, strand.group_id)
    until = turn.now + 2 * config.digest_every
    desync.put(
        turn,
        strand.group_id,
        replace(known, private=None, public=b"", entered=entered, by=signer.incarnation, until=until, doubts=0),
    )
    turn.later(Duty.DESYNC, strand.group_id, until)
    if strand.home:
        turn.due(Duty.HOME, devices.ASK, turn.now + config.quiet)


def again(turn: Turn, strand: Strand, here: Kept) -> bool:
    """Come in once more where this device stands, in our own place, for those of our devices that are not in it.

    Nobody else has shown the way, so there is nothing to be in doubt about. False if it may be possible later.
    """
    old, extensions = ranks.own(strand), here.group.public.context.extensions
    if old is None or futile(strand, old.incarnation, ()):
        return False
    if not _allowed(extensions, old):
        turn.drop("bring-forbidden")
        return True
    if old.key in turn.emulation.keys:  # who has withdrawn the KeyPackage that the leaf came of has that key no more
        ourselves.tell_keys(turn, [old.key])
    way = way_to(strand, here)
    return _come_in(turn, strand, way, decode_group_info(way.group_info), here.group.public.tree, old) is not None


def way_to(strand: Strand, here: Kept) -> Way:
    """The way to where a group stands, from outside."""
    return Way(
        epoch=strand.head,
        group_info=mls.group_info(here.group, with_tree=True),
        lineage=summaries.lineage(strand),
        topic=here.topic.raw,
    )


def _allowed(extensions: Extensions, member: Member) -> bool:
    rule = of_dictionary(dictionary_of(extensions)).come_back
    return rule is Who.EVERYBODY or (rule is Who.ADMINS and member.admin)


def _come_in(turn: Turn, strand: Strand, way: Way, info: GroupInfo, tree: RatchetTree, old: Member) -> EpochId | None:
    """The commit from outside, told to our other devices and sent; gives the epoch that it begins."""
    near, leaf = nearest(strand), tree.leaf(LeafIndex(old.leaf))
    prior = None if near is None else strand.kept[near].group
    if leaf is None:
        raise Refused("door-members")
    if not strand.home and leaves.ahead(turn, leaf):  # a key would be drawn, and told to the others, for nothing
        turn.drop("door-group-info", "the home has to go on first")
        return None
    try:
        if strand.home:
            message, group, newest, told = _home(turn, old, leaf, way)
        else:
            message, group, newest, told = _conversation(turn, strand, prior, old, leaf, way)
    except MlsError as error:
        turn.drop("door-group-info", getattr(error, "check", type(error).__name__))
        return None
    lead.came_from(turn, strand, way.epoch, info, tree)
    deputies.pass_on(turn, strand, way.epoch)
    after, said = _entered(turn, strand, way.epoch, tree, old, group, newest, message)
    turn.put(after, graph=True)
    if not strand.home:
        contacts.tree(turn, group)
        turn.not_due(Duty.HOME, devices.BRING + strand.group_id)
    for each in told:
        devices.announce(turn, each)
    if not strand.home and len(ranks.devices(turn)) > 1:
        lineage = summaries.lineage(replace(after, standing=replace(after.standing, head=way.epoch)))
        devices.tell(turn, CameBack(group_id=strand.group_id, lineage=lineage, signed=said))
    wanted = {secret.raw: secret for secret in (after.trunk, TopicSecret(way.topic)) if secret is not None}
    for secret in wanted.values():
        turn.publish(secret, Commit(signed=said, message=message))
    return said.step.epoch


def _entered(
    turn: Turn,
    strand: Strand,
    parent: EpochId,
    tree: RatchetTree,
    old: Member,
    group: Group,
    newest: bytes,
    message: bytes,
) -> tuple[Strand, SignedStep]:
    step = steps.step_back(parent, old, tree, group)
    # As for any other commit with the key that our leaf had before, if we have it: then those can check the header who
    # cannot follow the commit, and learn from votes that the group stands there.
    before = turn.emulation.keys.find(old.key)
    said = steps.signed(group.suite, group.signature_key if before is None else before.private, step)
    kept = Kept(group=group, topic=topic_of(group), newest=newest)
    there = strand.kept.find(parent)
    if there is not None and not there.settled:  # it is left as by any other commit
        return with_child(strand, said, message, there.group, kept, turn.awake), said
    after = with_step(strand, said)
    return (
        replace(after, kept=after.kept.set(step.epoch, kept), bodies=after.bodies.set(step.epoch, message)),
        said,
    )


_Came = tuple[bytes, Group, bytes, tuple[Announcement, ...]]


def _conversation(turn: Turn, strand: Strand, prior: Group | None, old: Member, leaf: LeafNode, way: Way) -> _Came:
    """As the account; our other devices hear of it first."""
    edition, signing = turn.state.book.edition, turn.state.household.signing
    known = turn.emulation.keys.find(leaf.signature_key)
    shown = version_under(leaf.credential)
    if known is None or edition is None or signing is None or shown < edition.head.revoked:
        credential, private = ourselves.new_leaf(turn, suite=strand.cipher_suite)
    elif shown < edition.head.version:
        credential = virtual_credential(turn.provider, edition.head, signing, leaf.signature_key)
        private = known.private
    else:
        credential, private = leaf.credential, known.private
    devices.announce(turn, ExternalJoin(strand.group_id))
    capabilities, extensions = kinds.leaf()

    def joined(before: Group | None) -> client.Entered:
        return client.join_externally(
            turn.emulation,
            turn.env,
            kinds.parameters_of(strand.mode),
            way.group_info,
            credential=credential,
            capabilities=capabilities,
            signature_private=private,
            leaf_extensions=extensions,
            remove=LeafIndex(old.leaf),
            prior=before,
        )

    try:
        made = joined(prior)
    except UnknownEpochError:  # our own leaf there comes from a derivation epoch that this device missed
        made = joined(None)
    turn.change(emulation=made.emulation)
    return made.joined.message, made.joined.group, b"", made.announcements


def _home(turn: Turn, old: Member, leaf: LeafNode, way: Way) -> _Came:
    """As this device. The epoch that begins is one to derive in."""
    capabilities, extensions = kinds.device_leaf()
    joined = external.join_externally(
        turn.home_env,
        kinds.home_parameters(),
        way.group_info,
        credential=leaf.credential,
        signature_private=turn.state.me.signature_private,
        capabilities=capabilities,
        leaf_extensions=extensions,
        remove=LeafIndex(old.leaf),
    )
    group = joined.group
    emulation = turn.emulation.adopting(group.epoch_id)
    after = emulation.on(Head(group, emulation.head.newest)).entered(group)
    turn.change(emulation=after)
    return joined.message, after.head.group, after.head.newest, ()


# ---------------------------------------------------------------- with a sibling


def on_came_back(turn: Turn, told: Told, record: CameBack) -> None:
    """A device that was linked when the account could not follow, or missed all before, learns who is who there."""
    del told
    strand = turn.state.strands.find(record.group_id)
    if strand is None:
        raise StaleError("that it came back is still on its way")
    if strand.over:
        _anew(turn, strand, record)
    elif strand.graph.anchor.epoch == record.signed.step.epoch and summaries.provisional(strand):
        summaries.take(turn, record.group_id, record.lineage, (record.signed,))


def _anew(turn: Turn, strand: Strand, record: CameBack) -> None:
    """We were out for good, and were brought in again in a way that this device could not take.

    It stands before the commit from outside then, which it has still to follow (`along`).
    """
    from vcd.core import conversations

    epoch = record.signed.step.parent
    way = Way(epoch=epoch, group_info=b"", lineage=record.lineage, topic=b"")
    after = anchored_anew(turn.state, strand, way)
    if after.graph.anchor.number < strand.graph.number(strand.final) and not after.graph.is_ancestor(
        strand.final, epoch
    ):
        raise Refused("invite-lost")  # whoever says so has not heard yet that we were removed
    turn.put(replace(after, membership=Membership.LOST), graph=True)
    conversations.members_changed(turn, strand, after)
    turn.due(Duty.DESYNC, strand.group_id, turn.now + turn.state.config.desync_after)


def along(turn: Turn, told: JoinedExternally) -> bool:
    """Another device brought the account back into a group that this one cannot follow: do it again after it."""
    info = decode_group_info(told.group_info)
    strand = turn.state.strands.find(info.context.group_id)
    if strand is None or strand.home or strand.here is not None:
        return False
    me = voting.own(turn.state, strand)
    parent = strand.graph.tagged(info.confirmation_tag, info.context.epoch)
    if me is None or parent is None:
        return False
    old = next((each for each in strand.graph.members(parent) if each.incarnation == me), None)
    if old is None:
        return False
    followed = client.follow_external(turn.emulation, turn.env, kinds.parameters_of(strand.mode), told)
    turn.use(followed.emulation)
    if strand.entered(EpochId(followed.group.epoch_id)):
        return True
    tree = _tree(info, followed.group.suite)
    lead.came_from(turn, strand, parent, info, tree)
    after, _ = _entered(turn, strand, parent, tree, old, followed.group, b"", told.commit)
    turn.put(after, graph=True)
    contacts.tree(turn, followed.group)
    return True
