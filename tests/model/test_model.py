"""The rule of fork choice and finality, exhaustively where that is quick; `python -m tests.model` does the rest."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.model import branches
from tests.model.branches import undone, worlds
from tests.model.compare import differs, play
from tests.model.voting import NoLock, OldPolka, Vote, majority, search

HONEST = -1
SENIOR = 0


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("people", [2, 3, 4])
def test_the_node_says_what_the_model_says_of_every_small_set_of_commits(people: int, size: int) -> None:
    for world in worlds(size, people):
        assert not differs(world, people), world


@pytest.mark.parametrize("people", [2, 3, 4])
def test_the_node_says_what_the_model_says_of_larger_sets(people: int) -> None:
    step = {2: 1, 3: 29, 4: 197}[people]
    for world in islice(worlds(3, people), 0, 400_000, step):
        assert not differs(world, people), world


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("people", [2, 3, 4])
def test_a_removal_by_somebody_senior_is_never_undone(people: int, size: int) -> None:
    for world in worlds(size, people):
        assert not undone(world, people)


def test_nor_in_larger_sets() -> None:
    for world in islice(worlds(3, 3), 0, 60_000, 23):
        assert not undone(world, 3)


def test_a_rule_by_which_lists_outrank_everybody_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: somebody who was removed strikes an old commit of its own, and with it the removal that stands on it."""
    monkeypatch.setattr(branches, "seniority", lambda commit: commit.author - 1000 * commit.shows)
    assert any(undone(world, 2) for world in worlds(2, 2))


def test_a_rule_without_seniority_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: of two who remove each other, neither goes first."""
    monkeypatch.setattr(branches, "seniority", lambda _commit: 0)
    assert any(undone(world, 3) for world in worlds(2, 3))


@pytest.mark.parametrize(("children", "views"), [(2, 2), (3, 2)])
@pytest.mark.parametrize(("people", "liar"), [(n, liar) for n in (2, 3, 4) for liar in range(-1, n) if n > 3 or liar])
def test_no_two_children_are_ever_final(people: int, liar: int, children: int, views: int) -> None:
    states, bad = search(Vote(people, liar, children, views))
    assert bad is None
    assert states > 10


@pytest.mark.parametrize(("people", "liar"), [(2, HONEST), (2, 1), (3, 1), (3, 2)])
def test_nor_in_three_views(people: int, liar: int) -> None:
    assert search(Vote(people, liar, 2, 3))[1] is None


@pytest.mark.parametrize("people", [2, 3])
def test_the_most_senior_of_two_or_three_can_make_two_children_final(people: int) -> None:
    """What docs/threat-model.md says of it."""
    assert search(Vote(people, SENIOR, 2, 2))[1] is not None


def test_a_polka_that_binds_nobody_is_found_out() -> None:
    assert search(NoLock(4, 3, 2, 2))[1] is not None
    assert search(NoLock(3, HONEST, 2, 2))[1] is not None


def test_an_old_polka_that_unlocks_is_found_out() -> None:
    assert search(OldPolka(3, HONEST, 2, 3))[1] is not None


def test_plain_majorities_are_found_out() -> None:
    assert search(Vote(3, 1, 2, 2, majority))[1] is not None


@pytest.mark.parametrize("people", [2, 3, 4])
def test_honest_members_agree_and_come_to_an_end(people: int) -> None:
    ended = 0
    for seed in range(40):
        played = play(seed, people, lying=False)
        assert not played.changed
        assert not played.apart
        assert played.finished, seed
        assert played.rounds < 12
        ended += played.finished
    assert ended > 10


@pytest.mark.parametrize("people", [2, 3, 4])
def test_a_liar_changes_nothing_that_is_final(people: int) -> None:
    for seed in range(40):
        played = play(seed, people, lying=True)
        assert not played.apart
        if people > 3 or played.liar != SENIOR:
            assert not played.changed, seed
