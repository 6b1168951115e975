"""mls-extensions §4.7: updates of components that have no logic of their own, the three lists of §5 among them."""

from __future__ import annotations

import pytest

from mls import group as front
from mls.components.lists import ComponentsList
from mls.components.logic import LONGEST, LastWins
from mls.components.media import MediaTypeList
from mls.proposals import AppDataUpdate
from tests.mls.clients import Party
from tests.mls.components.company import (
    COLOR,
    NOTE,
    OFFER,
    TEXT,
    WITH,
    company,
    data_of,
    demand,
    knowing,
    someone,
    updated,
)
from tests.mls.frankenstein import PathSurgery, external_init, forge_commit
from tests.mls.refusals import A, B, refused, refuses
from tests.validation import breaks


@breaks("EXT-4.7-6")
@pytest.mark.parametrize("component", [1, 2, 3, NOTE])
def test_who_joins_changes_no_data_that_nobody_decides_about(component: int) -> None:
    """Neither what the group demands, so that it could come in, nor what has no logic, unless that is said."""
    lists = {1: b"\x02\x80\x01", 2: b"\x00", 3: MediaTypeList((TEXT,)).encode(), NOTE: b"note"}
    stranger = someone("stranger")
    path = PathSurgery(leaf={"extensions": OFFER})
    for bad in (updated(component, None), updated(component, lists[component])):
        party = company(2, extensions=demand(data=lists))
        info = front.group_info(party[A], with_tree=True)
        refused(
            "EXT-4.7-6",
            lambda: stranger.join_externally(party.env, info, leaf_extensions=OFFER, app_data=[bad]),  # noqa: B023
        )
        first, init = external_init(party[B], party.env)
        commits = [
            forge_commit(party[B], party.env, stranger, [first, *more], path=path, external=init).message
            for more in ([bad], [])
        ]
        refuses("EXT-4.7-6", party, A, *commits)
    open_to_all = knowing(WITH, logic={NOTE: LastWins(outside=True)})
    party = company(2, extensions=demand(data={NOTE: b"old"}), parameters=open_to_all)
    party.clients["stranger"] = someone("stranger", open_to_all)
    party.join_externally("stranger", leaf_extensions=OFFER, app_data=[updated(NOTE, b"new")])
    assert data_of(party, NOTE) == b"new"


@breaks("EXT-4.7-6")
def test_a_demand_that_is_too_long() -> None:
    """Everybody compares it with every leaf."""
    party = company(2)
    most = (LONGEST - 2) // 2
    for component, long in ((1, most + 1), (2, most + 1)):
        lists = [ComponentsList((COLOR,) * length).encode() for length in (long, most)]
        refuses_long(party, *[updated(component, each) for each in lists])
    types = [MediaTypeList((TEXT,) * length).encode() for length in (LONGEST // 10, 10)]
    refuses_long(party, *[updated(3, each) for each in types])


def refuses_long(party: Party, bad: AppDataUpdate, good: AppDataUpdate) -> None:
    refused("EXT-4.7-6", lambda: front.commit(party[A], party.env, proposals=[bad]))
    commits = [forge_commit(party[B], party.env, party.clients[B], [each], path=False).message for each in (bad, good)]
    refuses("EXT-4.7-6", party, A, *commits)
