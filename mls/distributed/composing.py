"""draft-xue-distributed-mls-02 §4.1: what can stand in one commit of ours, of what others brought.

Additions and newer leaves come from others, and each was good where it was made. Together, or beside what is in our own
tree, they may not be: nobody shows that it has a leaf's private key, so two may have one public key. A liar could stop
everybody's commits if such a clash were an error of ours; here it costs that one addition or that one import.

Mostly everything fits, and then nothing of this is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mls.distributed.imports import Import, import_proposals
from mls.distributed.values import Session
from mls.errors import PeerError
from mls.framing import Sender
from mls.key_package import KeyPackage
from mls.proposals import Add, Remove
from mls.provider import Environment
from mls.registries import GroupId, SenderType
from mls.validation import Proposed, plan

Item = TypeVar("Item")


def admissible(
    session: Session, env: Environment, fixed: Sequence[Remove | Add], invited: dict[GroupId, KeyPackage]
) -> dict[GroupId, KeyPackage]:
    """Those of the newcomers whom others added that can stand in one commit of ours.

    Each was good where it was added. Here its keys may be taken; that must not stop us.
    """

    def look(chosen: Sequence[GroupId]) -> None:
        _plan(session, env, [*fixed, *[Add(invited[name]) for name in chosen]], ())

    return {name: invited[name] for name in _fitting(look, list(invited))}


def compatible(
    session: Session, env: Environment, fixed: Sequence[Remove | Add], imports: Sequence[Import]
) -> list[Import]:
    """Those of the imports that can stand in one commit: nobody shows that it has the private key of its leaf, and so
    a member's newest leaf may have a key that is another's.
    """
    return _fitting(lambda chosen: _plan(session, env, fixed, chosen), imports)


def _plan(session: Session, env: Environment, fixed: Sequence[Remove | Add], imports: Sequence[Import]) -> None:
    """PeerError if these cannot stand in one commit of ours."""
    own = session.own
    committer = Sender(SenderType.MEMBER, own.group.own_leaf)
    items = [Proposed(each, committer) for each in (*fixed, *import_proposals(env, own, imports))]
    vouched = frozenset([each.kept.leaf.encoded for each in imports])
    plan(env, own.group.public, session.parameters, committer, items, sending=False, vouched=vouched)


def _fitting(look: Callable[[Sequence[Item]], None], items: Sequence[Item], kept: Sequence[Item] = ()) -> list[Item]:
    """Those of `items` that can stand together, the earlier ones first; `look` raises PeerError if some cannot.

    Found by halves, so one that does not fit costs a few looks, not one for every other.
    """
    try:
        look([*kept, *items])
    except PeerError:
        if len(items) <= 1:
            return []
        middle = len(items) // 2
        first = _fitting(look, items[:middle], kept)
        return [*first, *_fitting(look, items[middle:], [*kept, *first])]
    return list(items)
