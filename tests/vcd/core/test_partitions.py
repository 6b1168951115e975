"""A suspected split makes windows longer, and decides nothing."""

from __future__ import annotations

from tests.vcd.core.branches import TEA, commit, finals, sent, talk, tea
from tests.vcd.core.company import act
from tests.vcd.core.village import Village
from vcd.core import events, inputs, partitions
from vcd.core.names import IntentId, TopicId
from vcd.core.payloads import Digest
from vcd.core.policy import HOUR, MINUTE
from vcd.core.sights import sight_of


def topics_of(village: Village, name: str, group: bytes) -> list[TopicId]:
    return [each.keys.name for each in village.state(name).joined.values() if each.group_id == group]


def see(village: Village, name: str, group: bytes, peers: int, *, mailbox: bool = False) -> None:
    for topic in topics_of(village, name, group):
        village.do(name, inputs.Reached(topic=topic, peers=peers, mailbox=mailbox))


def suspects(village: Village, name: str) -> bool:
    return sight_of(village.state(name), TEA).suspected is not None


def splits(village: Village, name: str) -> list[bool]:
    return [each.over for each in village.told(name, events.Split) if each.group == TEA]


def home(village: Village, name: str) -> bytes:
    found = village.state(name).home
    assert found is not None
    return found


def alone() -> Village:
    """Anna sees nobody of the conversation any more, and somebody elsewhere."""
    village = talk("anna", "ben")
    see(village, "anna", home(village, "anna"), 1)
    see(village, "anna", TEA, 2)
    see(village, "anna", TEA, 0)
    return village


def test_a_split_is_suspected_when_nobody_of_a_group_is_seen_for_a_while_and_others_are() -> None:
    village = alone()
    village.wait(minutes=8)
    assert not suspects(village, "anna")
    village.wait(minutes=8)
    assert suspects(village, "anna")
    assert splits(village, "anna") == [False]


def test_who_sees_nobody_at_all_suspects_nothing_of_the_others() -> None:
    village = talk("anna", "ben")
    see(village, "anna", TEA, 1)
    see(village, "anna", TEA, 0)
    village.wait(hours=2)
    assert not suspects(village, "anna")


def test_a_group_in_which_nobody_was_ever_seen_is_not_split() -> None:
    village = talk("anna", "ben")
    see(village, "anna", home(village, "anna"), 1)
    see(village, "anna", TEA, 0)
    village.wait(hours=2)
    assert not suspects(village, "anna")


def test_a_mailbox_is_somebody() -> None:
    village = alone()
    see(village, "anna", TEA, 0, mailbox=True)
    village.wait(hours=2)
    assert not suspects(village, "anna")


def test_a_device_that_is_cut_off_itself_suspects_nothing() -> None:
    village = alone()
    village.do("anna", inputs.Online(online=False))
    village.wait(hours=2)
    assert not suspects(village, "anna")


def test_a_split_is_over_when_others_are_seen_and_nothing_is_left_to_decide() -> None:
    village = alone()
    village.wait(minutes=20)
    see(village, "anna", TEA, 1)
    village.wait(minutes=11)
    assert not suspects(village, "anna")
    assert splits(village, "anna") == [False, True]
    assert partitions.lengthened(village.state("anna"), TEA) == 0


def test_a_split_is_not_over_while_nobody_is_seen() -> None:
    village = alone()
    village.wait(minutes=20)
    strand = tea(village, "anna")
    same = Digest(final=strand.final, head=strand.head)
    act(village, "anna", lambda turn: partitions.shown(turn, turn.strand(TEA), same))
    assert suspects(village, "anna")


def grown() -> Village:
    """Two branches have grown, and now each side hears of the other's. Dora is away, so nothing becomes final."""
    village = talk("anna", "ben", "cleo", "dora")
    village.down("dora")
    village.part(["anna"], ["ben", "cleo"])
    for _ in range(3):
        commit(village, "anna")
        commit(village, "ben")
    return village


def test_a_branch_beside_ours_that_has_grown_is_a_sign_of_a_split() -> None:
    village = grown()
    village.heal()
    strand = tea(village, "anna")
    tip = next(each for each in strand.graph.steps if not strand.graph.children(each) and each != strand.head)
    assert not suspects(village, "anna")
    beside = Digest(final=strand.final, head=tip)
    act(village, "anna", lambda turn: partitions.shown(turn, turn.strand(TEA), beside))
    assert suspects(village, "anna")


def test_a_mere_race_is_no_split() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna"], ["ben", "cleo"])
    commit(village, "anna")
    commit(village, "ben")
    village.heal()
    graph = tea(village, "anna").graph
    other = next(each for each in graph.steps if each != tea(village, "anna").head)
    beside = Digest(final=graph.anchor.epoch, head=other)
    act(village, "anna", lambda turn: partitions.shown(turn, turn.strand(TEA), beside))
    assert not suspects(village, "anna")


def test_a_head_that_nobody_signed_is_no_sign_of_anything() -> None:
    village = grown()
    final = tea(village, "anna").final
    act(
        village,
        "anna",
        lambda turn: partitions.shown(turn, turn.strand(TEA), Digest(final=final, head=type(final)(b"x" * 32))),
    )
    assert not suspects(village, "anna")


def test_what_is_suspected_never_changes_where_a_group_stands() -> None:
    plain, other = grown(), grown()
    for village in (plain, other):
        if village is other:
            for name in ("anna", "ben", "cleo"):
                act(village, name, lambda turn: partitions._suspect(turn, TEA))
        village.heal()
        village.wait(minutes=30)
    assert [tea(plain, name).standing for name in ("anna", "ben", "cleo")] == [
        tea(other, name).standing for name in ("anna", "ben", "cleo")
    ]


def test_a_suspicion_lengthens_windows_by_as_long_as_it_lasts_and_no_more_than_allowed() -> None:
    village = talk("anna", "ben", split_most=HOUR)
    village.part(["anna"], ["ben"])
    commit(village, "anna")
    act(village, "anna", lambda turn: partitions._suspect(turn, TEA))
    village.wait(minutes=30)
    assert 25 * MINUTE < partitions.lengthened(village.state("anna"), TEA) <= 35 * MINUTE
    village.wait(hours=5)
    assert partitions.lengthened(village.state("anna"), TEA) == HOUR


def test_when_all_agree_on_something_new_the_split_is_over() -> None:
    village = talk("anna", "ben")
    act(village, "anna", lambda turn: partitions._suspect(turn, TEA))
    child = commit(village, "ben")
    village.wait(seconds=10)
    assert finals(village, "anna", "ben") == {child}
    assert splits(village, "anna") == [False, True]


def test_who_comes_back_is_shown_what_is_not_decided() -> None:
    village = talk("anna", "ben", "cleo")
    village.down("cleo")
    see(village, "anna", TEA, 1)
    see(village, "anna", TEA, 0)
    commit(village, "anna")
    village.wait(days=3)
    before = len(village.log)
    see(village, "anna", TEA, 1)
    village.wait(seconds=10)
    assert list(sent(village, Digest, before))


def test_nobody_is_parted_from_a_group_that_has_no_other_member() -> None:
    village = alone()
    village.wait(minutes=20)
    assert suspects(village, "anna")
    village.down("ben")
    village.do(
        "anna", inputs.Remove(intent=IntentId(b"remove ben" + bytes(6)), conversation=TEA, account=village.own("ben"))
    )
    village.wait(minutes=20)
    assert not suspects(village, "anna")
    assert splits(village, "anna") == [False, True]
    see(village, "anna", TEA, 0)
    village.wait(hours=2)
    assert not suspects(village, "anna")
