"""Lists that a commit shows of others than its author, which `tests.model` has none of: at home, and in an exchange."""

from __future__ import annotations

from itertools import combinations, permutations, product

from tests.model.compare import account, member, name, who
from vcd.core.ordering.choice import struck
from vcd.core.ordering.graph import Anchor, Graph, ListShown, Step

PEOPLE = 4


def graph_of(*several: Step) -> Graph:
    graph = Graph(Anchor(epoch=name(-1), number=0, members=tuple(member(each) for each in range(PEOPLE))))
    for step in several:
        graph = graph.with_step(step)
    return graph


def void(*several: Step) -> set[int]:
    graph = graph_of(*several)
    hit = struck(graph, name(-1), frozenset(graph.steps))
    return {number for number, step in enumerate(several) if step.epoch in hit}


def order(number: int, author: int, gone: tuple[int, ...], version: int) -> Step:
    """At home: a list of that version, and the removal of whom it shuts out."""
    return Step(
        epoch=name(number),
        parent=name(-1),
        author=who(author),
        removes=tuple(who(each) for each in gone),
        lists=tuple(ListShown(account=account(each), version=version, revokes=True) for each in gone),
        under=version,
        root=True,
    )


def did(number: int, author: int, under: int, *, on: int = -1, removes: tuple[int, ...] = (), shows: int = 0) -> Step:
    """In a conversation: under a list of the author's account, which it may be the first to show there."""
    lists = (ListShown(account=account(author), version=shows, revokes=True),) if shows else ()
    gone = tuple(who(each) for each in removes)
    return Step(epoch=name(number), parent=name(on), author=who(author), under=under, removes=gone, lists=lists)


def exchange(number: int, author: int, whom: int, version: int) -> Step:
    """Somebody is brought in anew, under a list of their account."""
    return Step(
        epoch=name(number),
        parent=name(-1),
        author=who(author),
        removes=(who(whom),),
        adds=(member(whom, since=1),),
        lists=(ListShown(account=account(whom), version=version, revokes=True),),
    )


def test_of_orders_that_shut_out_each_other_the_one_of_the_highest_version_stands() -> None:
    """Whoever made them, and whomever else they shut out: nobody borrows the place of somebody senior by that."""
    sets = [each for size in (1, 2, 3) for each in combinations(range(PEOPLE), size)]
    for authors in permutations(range(PEOPLE), 2):
        for first, second in product(sets, repeat=2):
            if authors[0] in first or authors[1] in second or authors[1] not in first or authors[0] not in second:
                continue
            assert void(order(0, authors[0], first, 2), order(1, authors[1], second, 1)) == {1}
            assert void(order(0, authors[0], first, 1), order(1, authors[1], second, 2)) == {0}
            assert void(order(0, authors[0], first, 1), order(1, authors[1], second, 1)) == {
                int(authors[0] < authors[1])
            }


def test_of_orders_in_a_circle_the_highest_version_stands_if_it_shuts_out_whoever_removes_its_author() -> None:
    for versions in permutations((1, 2, 3)):
        for tags in permutations(range(3)):  # what they are called does not matter
            several = [order(tags[each], each, ((each + 1) % 3,), versions[each]) for each in range(3)]
            best = versions.index(3)
            both = order(tags[best], best, tuple(each for each in range(3) if each != best), 3)
            found = void(*(both if each == best else several[each] for each in range(3)))
            assert found == {each for each in range(3) if each != best}


def test_a_list_that_is_shown_for_somebody_gives_no_seniority() -> None:
    """The senior one removed who brought it in, under that list already or as it shows it."""
    for junior in (1, 2, 3):
        removes = did(1, 0, 1, removes=(junior,), shows=2)
        assert void(exchange(0, junior, 0, 2), removes) == {0}
        shows, later = did(1, 0, 1, shows=2), did(2, 0, 2, on=1, removes=(junior,))
        assert void(exchange(0, junior, 0, 2), shows, later) == {0}


def test_what_was_done_under_the_newer_list_already_is_not_exchanged() -> None:
    for author, whom in permutations(range(PEOPLE), 2):
        assert void(exchange(0, author, whom, 2), did(1, whom, 1, shows=2)) == {0}
        assert void(exchange(0, author, whom, 2), did(1, whom, 1, shows=3)) == {0}
        assert void(exchange(0, author, whom, 3), did(1, whom, 1, shows=2)) == {1}


def test_who_has_a_device_that_was_shut_out_does_not_strike_the_exchange() -> None:
    for author, whom in permutations(range(PEOPLE), 2):
        assert void(exchange(0, author, whom, 2), did(1, whom, 1)) == {1}
        assert void(exchange(0, author, whom, 2), did(1, whom, 1, removes=(author,))) == {1}
