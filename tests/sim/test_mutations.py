"""Every invariant finds a bug that was planted for it."""

from __future__ import annotations

import pytest

from tests.sim.agreed import AGREED
from tests.sim.delivered import APPS_AFTER_PROBES, APPS_AT_REST, apps_told_what_was_said
from tests.sim.invariants import AT_EVERY_STEP
from tests.sim.mutations import MUTATIONS, Mutation, find, under
from tests.sim.rest import AFTER_PROBES, AFTER_WINDOWS, AT_REST


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=[each.name for each in MUTATIONS])
def test_a_planted_bug_is_found(mutation: Mutation) -> None:
    """By the seed that is known to; if the node has changed so much that it does not any more, by another one."""
    if under(mutation, mutation.seed).invariant != mutation.breaks:
        seed, found = find(mutation, range(1, 120))
        assert seed is not None, found


def test_every_invariant_has_a_bug_that_it_finds() -> None:
    known = {each.__name__ for each in (*AT_EVERY_STEP, *AT_REST, *AFTER_PROBES, *AFTER_WINDOWS)}
    known |= {each.__name__ for each in (*AGREED, apps_told_what_was_said, *APPS_AT_REST, *APPS_AFTER_PROBES)}
    assert {each.breaks for each in MUTATIONS} >= known
