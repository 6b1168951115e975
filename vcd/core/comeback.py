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

from mls import external
from mls.components.dictionary import dictionary_of
from mls.errors import MlsError
from mls.leaf_node import LeafNode, find_extension
from mls.registries import ExtensionType, LeafIndex
from mls.secrets import SignaturePrivateKey
from mls.state import Group
from mls.tree.ratchet_tree import RatchetTree
from mls.virtual import client
from mls.virtual.announcements import Announcement, ExternalJoin, JoinedExternally
from mls.virtual.emulation import Head
from mls.virtual.errors import UnknownEpochError
from mls.welcome import GroupInfo, decode_group_info
from vcd.core import contacts, desync, devices, kinds, ourselves, steps, voting
from vcd.core.accounts.admission import version_under
from vcd.core.accounts.credential import virtual_credential
from vcd.core.duties import Duty
from vcd.core.errors import Refused
from vcd.core.names import EpochId
from vcd.core.ordering.choice import counted, standing
from vcd.core.ordering.graph import Graph, Member
from vcd.core.ordering.votes import Ballots
from vcd.core.payloads import Commit, SignedStep, Way
from vcd.core.policy import Who, of_dictionary
from vcd.core.strand import Kept, Strand, at_rest, stood, with_step
from vcd.core.topics import TopicSecret, topic_of

if TYPE_CHECKING:
    from vcd.core.state import State
    from vcd.core.turn import Turn

__all__ = ["along", "anchored_anew", "enter", "nearest", "signing_key", "stood"]


# ---------------------------------------------------------------- who we were


def nearest(strand: Strand) -> EpochId | None:
    """The epoch that this device has which is nearest to where the group stands."""
    graph = strand.graph
    if graph.has(strand.head):
        found = next((each for each in graph.up(strand.head) if each in strand.kept), None)
        if found is not None:
            return found
    return max(strand.kept, key=lambda each: (strand.kept[each].left_at or 0, each), default=None)


def signing_key(turn: Turn, strand: Strand, group: Group) -> SignaturePrivateKey | None:
    """Of our leaf in an epoch that we have."""
    if strand.home:
        return turn.state.me.signature_private
    if group.signature_key.raw:
        return group.signature_key
    known = turn.emulation.keys.find(group.own_leaf_node.signature_key)
    return None if known is None else known.private


# ---------------------------------------------------------------- the way


def anchored_anew(state: State, strand: Strand, way: Way) -> Strand:
    """With the graph that a way tells of, taken on trust. What this device has of before follows nothing any more."""
    told = way.lineage
    graph = Graph(told.anchor)
    signed: dict[EpochId, SignedStep] = {}
    for each in told.steps:
        if graph.has(each.step.epoch) or not graph.has(each.step.parent):
            continue
        steps.check_shape(graph, each.step)
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


def _tree(info: GroupInfo, group: Group) -> RatchetTree:
    encoded = find_extension(info.extensions, ExtensionType.RATCHET_TREE)
    if encoded is None:
        raise Refused("door-tree")
    return RatchetTree.decode(group.suite, encoded)


def _check_way(turn: Turn, strand: Strand, way: Way, info: GroupInfo, tree: RatchetTree) -> Member:
    """Whether a GroupInfo is of that epoch, as far as the graph can tell; gives our member there."""
    graph = strand.graph
    step = graph.steps.find(way.epoch)
    if info.context.epoch != graph.number(way.epoch) or (step is not None and step.tag != info.confirmation_tag):
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
    near = nearest(strand)
    if near is None:
        raise Refused("door-late", "nothing of the group is left here")
    prior = strand.kept[near].group
    tree = _tree(info, prior)
    old = _check_way(turn, strand, way, info, tree)
    signer = steps.at_leaf(strand.graph.members(way.epoch), info.signer)
    rule = of_dictionary(dictionary_of(info.context.extensions)).come_back
    if rule is Who.NOBODY or (rule is Who.ADMINS and not old.admin):
        desync.ask_user(turn, strand.group_id)
        return
    leaf = tree.leaf(LeafIndex(old.leaf))
    if leaf is None or signer is None:
        raise Refused("door-members")
    try:
        if strand.home:
            message, group, newest, told = _home(turn, old, leaf, way)
        else:
            message, group, newest, told = _conversation(turn, strand, prior, old, leaf, way)
    except MlsError as error:
        turn.drop("door-group-info", getattr(error, "check", type(error).__name__))
        return
    after, said = _entered(strand, way.epoch, tree, old, group, newest, message)
    turn.put(after, graph=True)
    if not strand.home:
        contacts.tree(turn, group)
    config, known = turn.state.config, desync.recovery(turn, strand.group_id)
    until = turn.now + 2 * config.digest_every
    desync.put(
        turn,
        strand.group_id,
        replace(known, private=None, public=b"", entered=said.step.epoch, by=signer.incarnation, until=until, doubts=0),
    )
    turn.later(Duty.DESYNC, strand.group_id, until)
    for each in told:
        devices.announce(turn, each)
    wanted = {secret.raw: secret for secret in (after.trunk, TopicSecret(way.topic)) if secret is not None}
    for secret in wanted.values():
        turn.publish(secret, Commit(signed=said, message=message))
    if strand.home:
        turn.due(Duty.HOME, devices.ASK, turn.now + config.quiet)


def _entered(
    strand: Strand, parent: EpochId, tree: RatchetTree, old: Member, group: Group, newest: bytes, message: bytes
) -> tuple[Strand, SignedStep]:
    step = steps.step_back(parent, old, tree, group)
    said = steps.signed(group.suite, group.signature_key, step)
    after = with_step(strand, said)
    kept = Kept(group=group, topic=topic_of(group), newest=newest)
    return (
        replace(after, kept=after.kept.set(step.epoch, kept), bodies=after.bodies.set(step.epoch, message)),
        said,
    )


_Came = tuple[bytes, Group, bytes, tuple[Announcement, ...]]


def _conversation(turn: Turn, strand: Strand, prior: Group, old: Member, leaf: LeafNode, way: Way) -> _Came:
    """As the account; our other devices hear of it first."""
    edition, signing = turn.state.book.edition, turn.state.household.signing
    known = turn.emulation.keys.find(leaf.signature_key)
    if known is None or edition is None or signing is None:
        credential, private = ourselves.new_leaf(turn)
    elif version_under(leaf.credential) < edition.head.version:
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


def along(turn: Turn, told: JoinedExternally) -> bool:
    """Another device brought the account back into a group that this one cannot follow: do it again after it."""
    info = decode_group_info(told.group_info)
    strand = turn.state.strands.find(info.context.group_id)
    if strand is None or strand.home or strand.here is not None:
        return False
    near, me = nearest(strand), voting.own(turn.state, strand)
    parent = next(
        (epoch for epoch in sorted(strand.graph.steps) if strand.graph.steps[epoch].tag == info.confirmation_tag), None
    )
    if near is None or me is None or parent is None:
        return False
    old = next((each for each in strand.graph.members(parent) if each.incarnation == me), None)
    if old is None:
        return False
    prior = strand.kept[near].group
    followed = client.follow_external(turn.emulation, turn.env, kinds.parameters_of(strand.mode), told)
    turn.use(followed.emulation)
    if strand.entered(EpochId(followed.group.epoch_id)):
        return True
    after, _ = _entered(strand, parent, _tree(info, prior), old, followed.group, b"", told.commit)
    turn.put(after, graph=True)
    contacts.tree(turn, followed.group)
    return True
