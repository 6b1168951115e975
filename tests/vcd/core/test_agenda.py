"""What is due first, held against looking at everything."""

from __future__ import annotations

import random

from mls.persistent import PMap
from tests.vcd.core.village import Village
from vcd.core import agenda, stored
from vcd.core.agenda import Agenda
from vcd.core.duties import Duty

SUBJECTS = [bytes([each]) for each in range(12)]
DUTIES = [Duty.VOTE, Duty.SEEN, Duty.RETAIN]


def plainly(plan: Agenda, now: int) -> tuple[int, list[agenda.Key]]:
    """The same, by looking at everything."""
    first = min((at for _, at in plan.duties.items()), default=0)
    ready = [(at, key[0].value, key[1]) for key, at in plan.duties.items() if at <= now]
    return first, [(Duty(number), subject) for _, number, subject in sorted(ready)]


def test_it_says_what_looking_at_everything_says() -> None:
    draw = random.Random(1)
    plan = Agenda()
    for now in range(1, 600):
        key = (draw.choice(DUTIES), draw.choice(SUBJECTS))
        if draw.random() < 0.4:
            plan = plan.without(key)
        else:
            plan = plan.with_duty(key, now + draw.randrange(50))
        plan, first = plan.first()
        assert (first, plan.ready(now)) == plainly(plan, now)


def test_what_does_not_hold_any_more_does_not_pile_up() -> None:
    plan = Agenda()
    for at in range(5000):
        plan = plan.with_duty((Duty.UPDATE, b"tea"), 10_000 - at)
    assert plan.count < 200
    assert plan.first()[1] == 5001


def test_an_older_one_is_as_it_was() -> None:
    old = Agenda().with_duty((Duty.VOTE, b"a"), 5)
    old.with_duty((Duty.VOTE, b"b"), 3)
    assert old.first()[1] == 5
    assert old.ready(9) == [(Duty.VOTE, b"a")]


def test_one_that_belongs_to_other_duties_is_made_anew() -> None:
    duties: PMap[agenda.Key, int] = PMap({(Duty.VOTE, b"a"): 5, (Duty.SEEN, b"b"): 2, (Duty.SEEN, b"a"): 2})
    plan = agenda.of(Agenda(), duties)
    assert plan.ready(2) == [(Duty.SEEN, b"a"), (Duty.SEEN, b"b")]
    assert agenda.of(plan, duties) is plan


def test_a_node_goes_on_with_its_duties_after_it_was_loaded() -> None:
    village = Village()
    village.account("anna")
    village.wait(minutes=1)
    state = village.state("anna")
    again = stored.load(stored.rows(state), village.devices["anna"].provider)
    assert again.duties == state.duties
    assert plainly(agenda.of(again.agenda, again.duties), 0)[0] == agenda.of(state.agenda, state.duties).first()[1] > 0
