"""chat.graph: the epochs of a group as the node keeps them, for pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from vcd.core.duties import Duty
from vcd.core.names import EpochId, GroupId
from vcd.core.ordering.graph import Step
from vcd.core.policy import of_group
from vcd.core.state import State
from vcd.core.strand import Strand
from vcd.daemon.desk import Desk
from vcd.daemon.service.chats import MODE_NAMES
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import chat


async def graph(desk: Desk, call: Call, given: chat.GraphOf) -> chat.Graph:
    del call
    desk.own()
    state = desk.state
    group_id = state.home if given.chat is None else GroupId(given.chat)
    strand = None if group_id is None else state.strands.find(group_id)
    if strand is None or (given.chat is not None and strand.home):
        if given.chat is not None and GroupId(given.chat) in state.talks:
            return chat.Graph(chat=given.chat, mode="dimls", root=None, head=None, final=None, steps=[])
        raise Failure("E_CHAT_UNKNOWN") if given.chat is None else desk.not_in(given.chat)
    root = strand.graph.anchor.epoch
    steps = [_root(state, strand)]
    below = list(strand.graph.children(root))
    while below:
        epoch = below.pop(0)
        steps.append(_step(state, strand, strand.graph.steps[epoch]))
        below += strand.graph.children(epoch)
    return chat.Graph(
        chat=given.chat,
        mode=MODE_NAMES[strand.mode],
        root=root,
        head=strand.head,
        final=strand.final,
        steps=_counted(state, strand, steps),
    )


def _root(state: State, strand: Strand) -> chat.Step:
    return _made(state, strand, strand.graph.anchor.epoch, None)


def _step(state: State, strand: Strand, step: Step) -> chat.Step:
    return _made(state, strand, step.epoch, step)


def _made(state: State, strand: Strand, epoch: EpochId, step: Step | None) -> chat.Step:
    graph = strand.graph
    kept = strand.kept.find(epoch)
    came = [] if step is None else [each.account for each in step.adds]
    accounts = {} if step is None else {each.incarnation: each.account for each in graph.members(step.parent)}
    went = [] if step is None else [accounts[each] for each in step.removes if each in accounts]
    author = None if step is None else accounts.get(step.author)
    if author is None and step is not None:  # who came back from outside is in the epoch that this began
        author = next((each.account for each in graph.members(epoch) if each.incarnation == step.author), None)
    until = None
    if kept is not None and kept.left_at is not None:
        span = 0 if strand.here is None else of_group(strand.here.group).window
        until = max(0, state.clock.now + kept.left_at + span - state.clock.awake)
        due = state.duties.find((Duty.RETAIN, strand.group_id))
        until = until if due is None else max(until, min(due, until + span))
    home = strand.home
    return chat.Step(
        epoch=epoch,
        parent=None if step is None else step.parent,
        number=graph.number(epoch),
        author=None if home else author or None,
        device=bytes(author) if home and author else None,
        came=[] if home else [each for each in came if each],
        went=[] if home else [each for each in went if each],
        came_devices=[bytes(each) for each in came] if home else [],
        went_devices=[bytes(each) for each in went] if home else [],
        head=epoch == strand.head,
        final=epoch == strand.final or graph.is_ancestor(epoch, strand.final),
        void=epoch in strand.standing.void,
        votes=len({said.ballot.voter for said in strand.votes.values() if said.ballot.child == epoch}),
        keys="kept" if kept is not None else "gone" if epoch in strand.past else "never",
        keys_until=until,
        messages=0,
        again=0,
    )


def _counted(state: State, strand: Strand, steps: list[chat.Step]) -> list[chat.Step]:
    """With how many messages of ours, that are not forgotten, were said where."""
    import msgspec

    first, again = Counter[bytes](), Counter[bytes]()
    talk = state.talks.find(strand.group_id)
    for name in () if talk is None else talk.going:
        said = state.outbox.find(name)
        if said is None or not said.places:
            continue
        first[said.places[0].epoch] += 1
        for place in said.places[1:]:
            again[place.epoch] += 1
    if not first and not again:
        return steps
    return [msgspec.structs.replace(each, messages=first[each.epoch], again=again[each.epoch]) for each in steps]


HANDLERS: Mapping[str, Any] = {"chat.graph": graph}
