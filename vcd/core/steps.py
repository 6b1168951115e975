"""A commit's header: what it does to the graph, as its author signs it and as everybody who follows it computes it.

Who follows a commit makes the `Step` from the commit itself and holds it against what was signed, so a header that lies
is refused with its commit. Who cannot follow (it was removed there, or has no keys of the parent any more) has the
signature, by the key of the author's leaf: nobody can put removals or votes into another's mouth.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace

from mls.components.dictionary import dictionary_of
from mls.leaf_node import LeafNode
from mls.registries import LeafIndex
from mls.secrets import SignaturePrivateKey
from mls.state import Group
from mls.suite import Suite
from mls.tree.ratchet_tree import RatchetTree
from mls.validation import Plan
from vcd.core import listing
from vcd.core.accounts.admission import admit, heads, version_under
from vcd.core.accounts.credential import DeviceCredential, read
from vcd.core.accounts.identity import digest
from vcd.core.errors import Refused
from vcd.core.names import AccountId, EpochId, Incarnation
from vcd.core.ordering.graph import Anchor, Graph, ListShown, Member, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import SignedBallot, SignedStep
from vcd.core.policy import of_dictionary, of_group
from vcd.core.record import encode

_STEP = b"vcd step"
_BALLOT = b"vcd ballot"


def incarnation(epoch: EpochId, leaf: int) -> Incarnation:
    """The member that came in at this leaf with the commit that began this epoch."""
    return Incarnation(hashlib.sha256(b"vcd incarnation" + leaf.to_bytes(4, "big") + epoch).digest())


def whose(node: LeafNode) -> AccountId:
    """Whose a leaf is: an account in a conversation, a device in the home."""
    identity = read(node.credential)
    if isinstance(identity, DeviceCredential):
        return AccountId(identity.device)
    if identity is not None:
        return identity.account
    return AccountId(digest("vcd plain account", node.credential.encode()))


def founding(group: Group) -> Anchor:
    """Where the graph of a new group begins, or of one that we come into and know nothing else of yet."""
    epoch = EpochId(group.epoch_id)
    admins = of_group(group).admins
    members = []
    for leaf, node in group.members:
        account = whose(node)
        members.append(
            Member(
                incarnation=incarnation(epoch, leaf),
                account=account,
                since=group.epoch,
                leaf=leaf,
                admin=account in admins,
                key=node.signature_key,
                acted=True,
            )
        )
    return Anchor(
        epoch=epoch,
        number=group.epoch,
        members=tuple(sorted(members, key=lambda each: each.rank)),
        tag=group.public.confirmation_tag,
    )


def at_leaf(members: Sequence[Member], leaf: int) -> Member | None:
    return next((each for each in members if each.leaf == leaf), None)


def step_of(
    graph: Graph, before: Group, child: Group, plan: Plan, committer: LeafIndex, *, confirmation_tag: bytes
) -> Step:
    """The header of a commit that was made or followed."""
    return _of_plan(graph, before, plan, committer, EpochId(child.epoch_id), child.public.tree, confirmation_tag)


def seen_by_removed(graph: Graph, before: Group, plan: Plan, committer: LeafIndex, said: Step) -> Step:
    """The same, as far as those see it whom the commit removes.

    They cannot compute what the epoch is called that begins, nor see the committer's new leaf, and so not which key and
    list of devices that shows in a conversation; all else they hold against what was said as everybody does.
    """
    members = graph.members(said.parent)
    own = at_leaf(members, before.own_leaf)
    if own is not None and plan.resynced == before.own_leaf:  # another run of ours came back into its place
        return Step(
            epoch=said.epoch,
            parent=said.parent,
            author=own.incarnation,
            moved=((own.incarnation, int(committer)),),
            keys=_keys_of(said, own.incarnation),
            tag=said.tag,
            lists=said.lists,
            under=said.under,
        )
    seen = _of_plan(graph, before, plan, committer, said.epoch, plan.tree, said.tag)
    if listing.is_home(before):
        return seen
    others = tuple(each for each in seen.keys if each[0] != seen.author)
    return replace(seen, lists=said.lists, keys=tuple(sorted((*others, *_keys_of(said, seen.author)))))


def _keys_of(step: Step, member: Incarnation) -> tuple[tuple[Incarnation, bytes], ...]:
    return tuple(each for each in step.keys if each[0] == member)[:1]


def _of_plan(
    graph: Graph, before: Group, plan: Plan, committer: LeafIndex, epoch: EpochId, tree: RatchetTree, tag: bytes
) -> Step:
    parent = EpochId(before.epoch_id)
    members = graph.members(parent)
    context = dictionary_of(plan.extensions)
    policy, after = of_group(before), of_dictionary(context)
    external = plan.external_init is not None
    old = at_leaf(members, committer if plan.resynced is None else plan.resynced)
    if external and plan.resynced is None:
        old = None
    author = old.incarnation if old is not None else incarnation(epoch, committer)
    removes = [at_leaf(members, leaf) for leaf in plan.removed if leaf != plan.resynced]
    moved = ((author, int(committer)),) if plan.resynced is not None and old is not None else ()
    number = before.epoch + 1
    comers = [(leaf, package.leaf_node) for leaf, package in zip(plan.added, plan.joining, strict=True)]
    if external and old is None:
        node = tree.leaf(committer)
        comers += [(committer, node)] if node is not None else []
    if external and old is not None:
        node = tree.leaf(committer)
        if node is None or whose(node) != old.account:
            raise Refused("step-place", "somebody else came into a member's place")
    adds, home = [], listing.is_home(before)
    for leaf, node in comers:
        account = whose(node)
        adds.append(
            Member(
                incarnation=incarnation(epoch, leaf),
                account=account,
                since=number,
                leaf=leaf,
                admin=account in after.admins,
                key=node.signature_key,
                by=author,
                acted=home,  # a device comes with its Welcome in hand
            )
        )
    own = (tree if external else before.public.tree).leaf(committer) if old is not None else None
    gone = tuple(each for each in removes if each is not None)
    lists, under = _lists(before.public.tree, tree, committer), 0 if own is None else version_under(own.credential)
    ordered = False
    if home:
        lists, version, ordered = listing.step_of(before, context, gone)
        under = version
    return Step(
        epoch=epoch,
        parent=parent,
        author=author,
        adds=tuple(adds),
        removes=tuple(each.incarnation for each in gone),
        moved=moved,
        keys=_keys(members, tree, author, committer, plan.updated),
        tag=tag,
        lists=lists,
        under=under,
        admins=after.admins if after.admins != policy.admins else None,
        root=ordered,
    )


def _keys(
    members: Sequence[Member],
    tree: RatchetTree,
    author: Incarnation,
    committer: LeafIndex,
    updated: Iterable[LeafIndex],
) -> tuple[tuple[Incarnation, bytes], ...]:
    """The keys that differ: the committer's, and those of leaves that others gave themselves by a proposal."""
    places = {author: committer}
    for leaf in updated:
        member = at_leaf(members, leaf)
        if member is not None:
            places.setdefault(member.incarnation, leaf)
    found = []
    for member in members:
        place = places.get(member.incarnation)
        node = None if place is None else tree.leaf(place)
        if node is not None and node.signature_key != member.key:
            found.append((member.incarnation, node.signature_key))
    return tuple(sorted(found))


def step_back(parent: EpochId, old: Member, tree: RatchetTree, child: Group) -> Step:
    """The header of a commit of ours from outside, into our old place; `tree` is that of the epoch that it ends.

    The same as `step_of` makes of it for those who follow.
    """
    return Step(
        epoch=EpochId(child.epoch_id),
        parent=parent,
        author=old.incarnation,
        moved=((old.incarnation, int(child.own_leaf)),),
        keys=_keys((old,), child.public.tree, old.incarnation, child.own_leaf, ()),
        tag=child.public.confirmation_tag,
        lists=_lists(tree, child.public.tree, child.own_leaf),
        under=_version(child),
    )


def _version(group: Group) -> int:
    """The list of devices that we act under in an epoch."""
    if listing.is_home(group):
        return listing.of_group(group).version
    return version_under(group.own_leaf_node.credential)


_LEAVES = 1 << 32
"""RFC 9420, Section 12.1.3: a leaf's number is a uint32."""


def check_shape(graph: Graph, step: Step, *, home: bool = False) -> None:
    """Whether a header says what a commit could do: who cannot follow the commit sees no more of it than this.

    Only the home has a list that orders removals, and newcomers who are there as they come in. Nobody takes another
    place in the tree but who made the commit, from outside.
    """
    members = {each.incarnation: each for each in graph.members(step.parent)}
    number = graph.number(step.parent) + 1
    comers = {each.incarnation for each in step.adds}
    if step.author not in members and step.author not in comers:
        raise Refused("step-author", "made by no member")
    if any(leaf >= _LEAVES for leaf in (*(each.leaf for each in step.adds), *(leaf for _, leaf in step.moved))):
        raise Refused("step-members", "a leaf that no tree has")
    for named in (step.removes, [who for who, _ in step.moved], [who for who, _ in step.keys]):
        if len({*named}) != len(named) or any(each not in members for each in named):
            raise Refused("step-members")
    if any(who != step.author for who, _ in step.moved) or (step.root and not home):
        raise Refused("step-members", "no commit does that")
    if len(comers) != len(step.adds) or any(
        each.acted != home
        or each.since != number
        or each.by != step.author
        or each.incarnation != incarnation(step.epoch, each.leaf)
        for each in step.adds
    ):
        raise Refused("step-adds")
    # Who came in since the graph begins has an incarnation of another epoch's name, so it can only be one of before.
    if comers and not comers.isdisjoint([each.incarnation for each in graph.anchor.members]):
        raise Refused("step-adds", "somebody comes in who is or was there")


def check_roster(members: Sequence[Member], group: Group) -> None:
    """Whether those are the members of an epoch, as its tree and its policy have them."""
    admins, leaves = of_group(group).admins, dict(group.members)
    if len(members) != len(leaves):
        raise Refused("roster")
    for each in members:
        node = leaves.get(LeafIndex(each.leaf))
        if node is None or whose(node) != each.account or each.admin != (each.account in admins):
            raise Refused("roster")
        if node.signature_key != each.key:
            raise Refused("roster")


def _lists(old: RatchetTree, new: RatchetTree, committer: LeafIndex) -> tuple[ListShown, ...]:
    """Device lists that shut somebody out and that the tree did not show before; older lists are refused."""
    fresh = []
    for leaf, node in new.leaves():
        there = old.leaf(leaf) if leaf < old.leaf_count else None
        if there is not node:
            fresh.append(node.credential)
    author = new.leaf(committer)
    if author is None or not fresh:
        return ()
    acting = old.leaf(committer) if committer < old.leaf_count else None
    known = heads([node.credential for _, node in old.leaves()])
    found = admit(known, (acting or author).credential, fresh)
    return tuple(ListShown(account=each.account, version=each.revoked, revokes=True) for each in found if each.revokes)


def signed(suite: Suite, key: SignaturePrivateKey, step: Step) -> SignedStep:
    return SignedStep(step=step, signature=suite.sign_with_label(key, _STEP, encode(step)))


def check_signature(suite: Suite, public: bytes, said: SignedStep) -> None:
    if not is_signed(suite, public, said):
        raise Refused("step-signature")


def is_signed(suite: Suite, public: bytes, said: SignedStep) -> bool:
    return suite.verify_with_label(public, _STEP, encode(said.step), said.signature)


def cast(
    suite: Suite, key: SignaturePrivateKey, ballot: Ballot, at: EpochId, group_id: bytes, header: Step
) -> SignedBallot:
    """A vote for a step, signed with its header: others may know another one under the name of the epoch."""
    signature = suite.sign_with_label(key, _BALLOT, _voted(ballot, at, group_id) + _name(header))
    return SignedBallot(ballot=ballot, at=at, signature=signature)


def check_ballot(
    suite: Suite, public: bytes, said: SignedBallot, group_id: bytes, header: Step, *, followed: bool
) -> None:
    """Whether a member voted for a step with this header. If it was `followed`, no other one can be meant.

    Earlier builds signed the name of the epoch alone, and some of their votes are still passed on.
    """
    voted = _voted(said.ballot, said.at, group_id)
    if suite.verify_with_label(public, _BALLOT, voted + _name(header), said.signature):
        return
    if not (followed and suite.verify_with_label(public, _BALLOT, voted, said.signature)):
        raise Refused("ballot-signature")


def _voted(ballot: Ballot, at: EpochId, group_id: bytes) -> bytes:
    return group_id + at + encode(ballot)


def _name(header: Step) -> bytes:
    return hashlib.sha256(encode(header)).digest()
