"""mls-extensions §4.7, §4.8 and §6.3 against the text once more: whatever is proposed, by whomever, in any order.

A model in twenty lines says what becomes of a list of proposals; committer and receiver must both agree with it. And no
set of waiting proposals keeps a member from committing, or lets a member stay who wanted to leave.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, strategies as st

from mls import group as front
from mls.errors import CallerError
from mls.group import CommitMessage
from mls.proposals import AppDataUpdate, AppEphemeral, Proposal, Remove, SelfRemove
from mls.secrets import SignaturePrivateKey
from mls.state import Group
from tests.mls.clients import Party, environment, refusal, removed
from tests.mls.components.company import COLOR, LISTED, NOTE, STRANGE, company, demand, offer
from tests.mls.frankenstein import forge_commit
from tests.mls.refusals import A, B, C, D

GOOD_LIST = b"\x02\x80\x01"
FIRST: dict[int, bytes] = {NOTE: b"note", 0x9000: b"nobody's"}
components = st.sampled_from([NOTE, COLOR, STRANGE, LISTED])
values = st.sampled_from([b"", b"a", b"no", GOOD_LIST])
proposals = st.one_of(
    st.builds(AppDataUpdate, components, st.one_of(st.none(), values)), st.builds(AppEphemeral, components, values)
)


def told(known: dict[int, bytes], listed: list[Proposal]) -> dict[int, bytes] | None:
    """The data after a list, by the text; None if somebody must refuse it. NOTE takes anything, COLOR says no to no."""
    updates: dict[int, list[bytes | None]] = {}
    for each in listed:
        assert isinstance(each, AppDataUpdate | AppEphemeral)
        data = each.update if isinstance(each, AppDataUpdate) else each.data
        if each.component_id == STRANGE or (each.component_id == COLOR and b"no" in (data or b"")):
            return None
        if isinstance(each, AppDataUpdate):
            updates.setdefault(each.component_id, []).append(data)
    after = dict(known)
    for component, changes in updates.items():
        if changes == [None] and component in after:
            del after[component]
        elif None in changes:
            return None
        elif component == COLOR:
            after[component] = after.get(component, b"") + b"".join(each or b"" for each in changes)
        else:
            after[component] = changes[-1] or b""
    listing = after.get(LISTED, GOOD_LIST)
    return after if listing == GOOD_LIST else None


def data_in(group: Group) -> dict[int, bytes]:
    return dict[int, bytes](group.public.context.dictionary.entries)


@pytest.mark.slow
@given(st.lists(proposals, max_size=5))
def test_a_list_by_value(listed: list[Proposal]) -> None:
    """Who sends and who receives judge alike, and as the text does."""
    party = company(2, extensions=demand(data=FIRST))
    expected = told(FIRST, listed)
    if expected is None:
        ours = refusal(lambda: front.commit(party[A], party.env, proposals=listed))
        commit = forge_commit(party[A], party.env, party.clients[A], listed, path=False)
        assert refusal(lambda: front.receive(party[B], party.env, commit.message)) == ours
        return
    sent = front.commit(party[A], party.env, proposals=listed)
    assert expected == data_in(sent.group)
    event = front.receive(party[B], party.env, sent.message)
    assert data_in(event.group) == expected
    assert event.group.authenticator == sent.group.authenticator


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from([B, C, D]), proposals), max_size=8))
def test_what_waits(waiting: list[tuple[str, Proposal]]) -> None:
    """Our commit is one that everybody follows, and takes whatever could stand in it beside the rest."""
    party = company(4, extensions=demand(data=FIRST))
    for by, proposal in waiting:
        if proposal.component_id == STRANGE:  # type: ignore[attr-defined]  # both kinds have one
            assert refusal(lambda: party.propose(by, proposal)) in ("EXT-4.7-2", "EXT-4.8-1")  # noqa: B023
        else:
            party.propose(by, proposal)
    sent = front.commit(party[A], party.env)
    event = front.receive(party[D], party.env, sent.message)
    assert isinstance(event, CommitMessage)
    taken: list[Proposal] = [each.proposal for each in event.plan.app_data]
    assert told(FIRST, taken) == data_in(event.group)
    known = [item.proposal for item in party[A].proposals.values()]
    for left in known:
        if left not in taken and not (isinstance(left, AppDataUpdate) and left.component_id == LISTED):
            assert told(FIRST, [*taken, left]) is None


steps = st.lists(
    st.tuples(st.sampled_from(["leave", "update", "remove"]), *[st.sampled_from([A, B, C, D])] * 2),
    max_size=8,
)


@pytest.mark.slow
@given(steps, st.sampled_from([A, B, C, D, "stranger"]))
def test_leaving_whatever_else_waits(steps: list[tuple[str, str, str]], committer: str) -> None:
    """Members who asked to leave are gone, whoever commits, unless it is themselves; and all who stay agree."""
    party = company(4)
    wishes: dict[str, bytes] = {}
    removals: set[str] = set()
    for what, by, whom in steps:
        if what == "leave":
            try:
                wishes[by] = party.propose(by, SelfRemove())
            except CallerError:
                assert by in wishes
        elif what == "update":
            party.propose_update(by)
        else:
            party.propose(by, Remove(party.leaf(whom)))
            removals.add(whom)
    gone = set(wishes)
    if committer == "stranger":
        party.clients["stranger"] = replace(party.clients[A], name="stranger", signer=_stranger(party))
        party.join_externally("stranger", leaf_extensions=offer(), self_removes=list(wishes.values()))
    else:
        party.commit(committer)
        gone = (gone | removals) - {committer}
    assert {name for name, group in party.groups.items() if removed(group)} == gone
    assert set(party.names) == set(party.groups) - gone


def _stranger(party: Party) -> SignaturePrivateKey:
    return party.suite.scheme.generate(environment("stranger").provider.random)[0]
