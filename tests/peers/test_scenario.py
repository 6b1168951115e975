"""Scenario files as typed steps, and who plays whom."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.peers import roles, scenario as s
from tests.requirements import require_or_skip

if TYPE_CHECKING:
    from pathlib import Path


def read(folder: Path, *steps: dict[str, object]) -> s.Scenario:
    path = folder / "some.json"
    path.write_text(json.dumps({"scripts": {"one": steps}}), encoding="utf-8")
    (found,) = s.read_scenarios(path)
    return found


def test_a_step_becomes_a_value(tmp_path: Path) -> None:
    wanted = {"proposalType": "reinit", "changeGroupID": True, "extensions": [{"extension_type": 3}]}
    found = read(
        tmp_path,
        {
            "action": "fullCommit",
            "actor": "alice",
            "byReference": [1],
            "byValue": [wanted],
            "joiners": ["bob"],
        },
    )
    description = s.ProposalDescription(
        proposal_type="reinit", change_group_id=True, extensions=(s.Extension(extension_type=3),)
    )
    step = s.FullCommit(actor="alice", by_reference=(1,), by_value=(description,), joiners=("bob",))
    assert found.steps == (step,)
    assert (found.file, found.name) == ("some", "one")
    assert s.action_of(step) == "fullCommit"


def test_spelling_of_keys_does_not_matter(tmp_path: Path) -> None:
    reinit = {"action": "reinit", "committer": "a", "welcomer": "b", "changeCiphersuite": True}
    branch = {"action": "branch", "actor": "a", "externalTree": True, "force_path": True}
    found = read(tmp_path, reinit, branch).steps
    assert found == (
        s.ReInit(committer="a", welcomer="b", change_cipher_suite=True),
        s.Branch(actor="a", external_tree=True, force_path=True),
    )


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"action": "createGroup", "actor": "a", "member": ["b"]}, "'member' is unknown"),
        ({"action": "branch", "actor": "a", "forcePath": True, "force_path": True}, "given twice"),
        ({"action": "creategroup", "actor": "a"}, "unknown action"),
        ({"actor": "a"}, "unknown action"),
        ({"action": "joinGroup", "actor": "a"}, "welcome"),
        ({"action": "joinGroup", "actor": "a", "welcome": True}, "not int"),
        ({"action": "unprotect", "actor": "a", "ciphertext": "1"}, "not int"),
        ({"action": "fullCommit", "actor": "a", "byValue": ["add"]}, "not an object"),
        ({"action": "createGroup", "actor": "a", "members": "b"}, "not a list"),
    ],
)
def test_a_step_that_is_not_understood_is_refused(tmp_path: Path, step: dict[str, object], why: str) -> None:
    with pytest.raises(s.ScenarioError, match=why):
        read(tmp_path, step)


def test_actors_in_order_of_appearance(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"action": "createGroup", "actor": "alice", "members": ["bob"]},
        {"action": "removeProposal", "actor": "bob", "removed": "zoe"},
        {"action": "externalJoin", "actor": "alice", "joiner": "carol", "members": ["bob"]},
        {"action": "addExternalSigner", "actor": "alice", "signer": "ds"},
        {"action": "reinit", "proposer": "eve", "committer": "alice", "welcomer": "frank"},
    )
    assert found.actors == ("alice", "bob", "carol", "ds", "eve", "frank")


def test_the_published_scenarios_are_all_understood() -> None:
    files = s.config_files()
    if not files:
        require_or_skip("vectors", "no interop-configs folder (make vectors)")
    scenarios = [found for file in files for found in s.read_scenarios(file)]
    assert len(scenarios) >= 39
    assert all(found.actors for found in scenarios)
    played = {type(step) for found in scenarios for step in found.steps}
    assert {s.FullCommit, s.ExternalJoin, s.ReInit, s.Branch, s.ExternalSignerProposal} <= played


def test_every_assignment_once() -> None:
    assert len(set(roles.every(4, 3))) == len(roles.every(4, 3)) == 3**4


def test_a_limit_spreads_over_all_assignments() -> None:
    some = roles.every(8, 3, 100)
    assert len(set(some)) == 100
    assert roles.every(8, 3, 100) == some
    for role in range(8):
        counts = [sum(who[role] == peer for who in some) for peer in range(3)]
        assert min(counts) >= 20, (role, counts)


@pytest.mark.parametrize("peers", [1, 2, 3, 4])
def test_roles_turn(peers: int) -> None:
    turns = len(roles.orders(peers))
    casts = [roles.mixed(peers + 1, peers, turn) for turn in range(turns)]
    assert all(set(cast) == set(range(peers)) for cast in casts)
    for role in range(peers + 1):
        # Any `peers` scenarios in a row, from a multiple of `peers` on, give the role to each of them.
        for start in range(0, turns, peers):
            assert {cast[role] for cast in casts[start : start + peers]} == set(range(peers))
    neighbors = {pair for cast in casts for pair in pairwise(cast)}
    if peers > 1:
        assert neighbors == {(one, other) for one in range(peers) for other in range(peers) if one != other}


@pytest.mark.parametrize("peers", [1, 2, 3])
def test_each_order_meets_both_framings(peers: int) -> None:
    turns = len(roles.orders(peers))
    met = {(turn % turns, roles.handshakes_encrypted(peers, turn)) for turn in range(2 * turns)}
    assert len(met) == 2 * turns
