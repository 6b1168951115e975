"""draft-xue-distributed-mls-02 §4.2.1: whose a send group's name is.

Members are told apart by the names of their send groups: who was in an epoch, who was removed, who is to be added. So a
name must mean one client, whoever hears of it first and in whatever order. It is made of the first signature key that
its member has in the DGroup (`mls.distributed.mode.send_group_id`); a leaf with that key proves its name alone.

A member may change its signature key and keeps its name. Leaves with the newer key follow from older ones in its own
send group, where the authentication service judges the step. Elsewhere, in the tree of a Welcome or in an Add, the same
service is asked whether the leaf is of the client that is known by that name; while nobody has told us of that one, the
message has to wait.
"""

from __future__ import annotations

from mls.distributed.errors import StrangerError
from mls.distributed.mode import send_group_id
from mls.distributed.values import Session
from mls.errors import PeerError
from mls.leaf_node import LeafNode
from mls.provider import Environment
from mls.registries import GroupId


def known_leaf(session: Session, member: GroupId) -> LeafNode | None:
    """A leaf of somebody who is a member somewhere, or is to be one."""
    for group in session.groups.values():
        place = group.places.get(member)
        if place is not None:
            return group.leaf(place)
    package = session.invited.get(member)
    return None if package is None else package.leaf_node


def is_known(session: Session, member: GroupId) -> bool:
    """Whether some member has told us of this one, removed members included."""
    return member in session.dropped or known_leaf(session, member) is not None


def names_itself(session: Session, name: GroupId, leaf: LeafNode) -> bool:
    """Whether a leaf has the key that its name is made of."""
    return name == send_group_id(session.own.group.suite, session.dgroup_id, leaf.signature_key)


def check_name(session: Session, env: Environment, name: GroupId, leaf: LeafNode) -> None:
    """The leaf is of the client whose send group it names."""
    if names_itself(session, name, leaf):
        return
    known = known_leaf(session, name)
    if known is None:
        raise StrangerError("a leaf names the send group of somebody of whom nobody has told us")
    if known.signature_key != leaf.signature_key and not _succeeds(env, known, leaf):
        raise PeerError("DIMLS-4.2.1-10")


def _succeeds(env: Environment, known: LeafNode, leaf: LeafNode) -> bool:
    """Either may be the newer one."""
    succeeds = env.authentication.succeeds
    return succeeds(known.credential, leaf.credential) or succeeds(leaf.credential, known.credential)
