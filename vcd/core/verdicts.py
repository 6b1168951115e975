"""What became of an intent, by what the graph of its group shows. Nothing is changed here.

Only final epochs decide, as a head may come back. They decide as soon as they know of the intent: when the epoch in
which it was decided is behind them, or on a branch that lost. Before that, a member who came in meanwhile is not there
yet, and one who was removed meanwhile still is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcd.core.names import EpochId
from vcd.core.ordering.graph import Graph
from vcd.core.policy import Policy, of_group
from vcd.core.wanting import Intent, Kind

if TYPE_CHECKING:
    from vcd.core.strand import Strand


def verdict(intent: Intent, before: Strand, after: Strand) -> str | None:
    """What the last final epoch says: "" that it stands, or why it is refused; None that it is too early to say."""
    final = after.final
    graphs = (after.graph,) if before.graph is after.graph else (before.graph, after.graph)
    if intent.decided_on != final and any(graph.is_ancestor(final, intent.decided_on) for graph in graphs):
        return None
    if not after.graph.has(final):
        return None
    if stands(intent, after, final, graphs):
        return ""
    members = after.graph.members(final)
    if all(each.incarnation != intent.author for each in members):
        return "not-a-member"
    if removed_meanwhile(intent, before.graph, final) or removed_meanwhile(intent, after.graph, final):
        return "removed-meanwhile"
    if intent.kind is Kind.POLICY and _policy_at(after, final) not in (None, intent.was):
        return "policy-changed"
    return None


def stands(intent: Intent, strand: Strand, epoch: EpochId, graphs: tuple[Graph, ...]) -> bool:
    """Whether the effect stands in an epoch."""
    if intent.kind is Kind.REFRESH:
        return _on_path(intent, epoch, graphs)
    if intent.kind is Kind.POLICY:
        return _on_path(intent, epoch, graphs) or _policy_at(strand, epoch) == intent.policy
    members = strand.graph.members(epoch)
    if intent.kind is Kind.INVITE:
        return any(each.account == intent.account and each.incarnation not in intent.dead for each in members)
    if intent.kind is Kind.DEPART:  # others may be among its targets (`leaving`)
        return all(each.incarnation != intent.author for each in members)
    return all(each.incarnation not in intent.targets for each in members)


def _on_path(intent: Intent, epoch: EpochId, graphs: tuple[Graph, ...]) -> bool:
    """Whether an epoch stands on a commit that was made for it."""
    return any(graph.is_ancestor(made, epoch) for graph in graphs for made in intent.made)


def _policy_at(strand: Strand, epoch: EpochId) -> Policy | None:
    kept = strand.kept.find(epoch)
    return None if kept is None else of_group(kept.group)


def removed_meanwhile(intent: Intent, graph: Graph, epoch: EpochId) -> bool:
    """Whether whom we want to invite was removed on the way there, by whom we had not heard then."""
    if intent.kind is not Kind.INVITE or not graph.has(epoch):
        return False
    for at in graph.path(epoch):
        step = graph.steps[at]
        if not step.removes or graph.is_ancestor(at, intent.decided_on):
            continue
        whose = {each.incarnation: each.account for each in graph.members(step.parent)}
        if any(whose.get(gone) == intent.account and gone not in intent.dead for gone in step.removes):
            return True
    return False
