"""What a newcomer is told beside its Welcome (`vcd.core.introductions`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.vcd.core.homes import link, remove, tea
from tests.vcd.core.people import TEA, friends, invite, members, open_talk, strand, together
from tests.vcd.core.talking import refresh
from tests.vcd.core.village import Village
from vcd.core import introductions, steps, summaries
from vcd.core.payloads import Introduction, SignedStep
from vcd.core.policy import Mode
from vcd.core.record import encode


def renewing(mode: Mode = Mode.DEMLS) -> Village:
    """Anna has shut out her tablet, and it is her phone's turn to give the conversation a new leaf: nobody hears it."""
    village = friends("anna", "ben", "cleo")
    phone, tablet = link(village, "anna", "phone"), link(village, "anna", "tablet")
    open_talk(village, "anna", "ben", mode=mode)
    village.wait(minutes=5)
    known = key(village)
    village.part(["anna", "ben", "cleo"], [phone, tablet])
    remove(village, "anna", tablet)
    village.wait(seconds=1)
    assert key(village) == known
    return village


def key(village: Village) -> bytes:
    return tea(village, "anna", TEA).own_leaf_node.signature_key


@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.LEAD])
def test_who_invites_by_the_commit_that_gives_them_a_new_key_is_believed(mode: Mode) -> None:
    village = renewing(mode)
    known = key(village)
    invite(village, "anna", "cleo")
    assert key(village) != known
    village.wait(minutes=2)
    assert together(village, "anna", "ben", "cleo")
    assert len(members(village, "cleo")) == 3
    assert strand(village, "anna").head == strand(village, "anna").final


def test_who_came_in_by_such_a_commit_shows_its_header_as_others_check_it() -> None:
    village = renewing()
    village.part(["anna", "cleo"], ["ben", "phone", "tablet"])
    before = strand(village, "anna")
    invite(village, "anna", "cleo")
    found = strand(village, "cleo")
    [said] = [each for _, each in found.signed.items() if each.step.adds]
    assert said.step.parent == before.head
    assert said.step.author in dict(said.step.keys)
    ben = strand(village, "ben")
    author = next(each for each in ben.graph.members(ben.head) if each.incarnation == said.step.author)
    assert steps.is_signed(village.devices["ben"].provider.suite(ben.cipher_suite), author.key, said)


def test_a_lineage_that_has_another_header_for_that_commit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "ben")

    def lying(told: object) -> bytes:
        assert isinstance(told, Introduction)
        other = SignedStep(step=replace(told.signed.step, under=7), signature=told.signed.signature)
        return encode(replace(told, lineage=replace(told.lineage, steps=(*told.lineage.steps, other))))

    monkeypatch.setattr(introductions, "encode", lying)
    invite(village, "anna", "cleo")
    assert TEA not in village.state("cleo").strands
    assert "invite-epoch" in {rule for rule, _ in village.devices["cleo"].refused}


def test_a_lineage_has_no_more_steps_than_it_may() -> None:
    village = friends("anna", "ben")
    open_talk(village, "anna", "ben")
    village.part(["anna"], ["ben"])
    for _ in range(4):
        refresh(village, "anna")
        village.wait(minutes=1)
    found = strand(village, "anna", TEA)
    path = found.graph.path(found.head)
    assert len(path) == 4
    for most in (3, 4, 5):
        told = summaries.lineage(found, most)
        assert tuple(each.step.epoch for each in told.steps) == path[-most:]
        assert told.anchor.epoch == (path[0] if most == 3 else found.graph.anchor.epoch)
