"""What a newcomer is told beside its Welcome (`vcd.core.introductions`)."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.proposals import Add, Remove
from mls.registries import LeafIndex
from tests.vcd.core.branches import member
from tests.vcd.core.company import act, package
from tests.vcd.core.homes import link, remove, tea
from tests.vcd.core.people import TEA, befriend, friends, intent, invite, members, open_talk, strand, together
from tests.vcd.core.talking import refresh
from tests.vcd.core.village import Village
from vcd.core import acting, events, inputs, introductions, lead, steps, summaries
from vcd.core.names import EpochId
from vcd.core.ordering.graph import Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Introduction, SignedBallot, SignedStep
from vcd.core.policy import Mode, Who, usual
from vcd.core.record import encode
from vcd.core.strand import Membership, dropped
from vcd.core.topics import TopicSecret
from vcd.core.turn import Turn


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


MADE_UP = EpochId(b"made up".ljust(32, b"!"))


def forged(village: Village) -> tuple[SignedStep, tuple[SignedBallot, ...]]:
    """Mallory's: that anna removed cleo and gave everybody Mallory's key, for which all of them voted."""
    found = strand(village, "mallory")
    here = found.here
    assert here is not None
    suite, key = village.devices["mallory"].provider.suite(found.cipher_suite), here.group.signature_key
    who = {name: member(village, "cleo", name).incarnation for name in ("anna", "ben", "cleo", "mallory")}
    others = [who[name] for name in ("anna", "ben", "mallory")]
    step = Step(
        epoch=MADE_UP,
        parent=found.final,
        author=who["anna"],
        removes=(who["cleo"],),
        keys=tuple(sorted((each, here.group.own_leaf_node.signature_key) for each in others)),
        tag=b"\xff" * 32,
    )
    ballots = [Ballot(voter=each, parent=found.final, round=at, child=MADE_UP) for at in (0, 1) for each in others]
    return steps.signed(suite, key, step), tuple(steps.cast(suite, key, each, MADE_UP, TEA, step) for each in ballots)


@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.LEAD])
def test_a_welcome_makes_nothing_final_by_headers_that_their_authors_did_not_sign(
    mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleo is a member, and Mallory brings her in once more, by a commit that the others do not take."""
    village = friends("anna", "ben", "cleo", "mallory")
    policy = replace(usual(mode), remove=Who.ADMINS, add=Who.ADMINS)
    open_talk(village, "anna", "ben", "cleo", "mallory", mode=mode, policy=policy)
    village.wait(minutes=3)
    village.part(["mallory", "cleo"], ["anna", "ben"])
    before, (lie, ballots), fresh = strand(village, "cleo"), forged(village), package(village, "cleo")
    card = village.state("mallory").book.known(village.own("cleo")).card
    assert before.head == before.final
    assert card is not None

    def lying(told: object) -> bytes:
        assert isinstance(told, Introduction)
        steps, said = (*told.lineage.steps, lie), (*told.lineage.ballots, *ballots)
        return encode(replace(told, lineage=replace(told.lineage, steps=steps, ballots=said)))

    def bring(turn: Turn) -> None:
        at = turn.strand(TEA)
        cleo = LeafIndex(member(village, "mallory", "cleo").leaf)
        said, made = acting.commit(turn, at, proposals=[Remove(cleo), Add(fresh)], force_path=True)
        introductions.send(turn, at, said, made.commit, card, "", TopicSecret(b"r" * 32))

    with monkeypatch.context() as patched:
        patched.setattr(introductions, "encode", lying)
        patched.setattr(acting, "check", lambda *_: None)
        patched.setattr(
            lead, "welcome", lambda turn, _strand, _epoch, inbox, sent: turn.publish(TopicSecret(inbox.raw), sent)
        )
        act(village, "mallory", bring)
    village.wait(minutes=1)
    found = strand(village, "cleo")
    assert not found.graph.has(MADE_UP)
    assert (found.final, found.membership) == (before.final, Membership.IN)
    assert not village.told("cleo", events.Gone)


@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.LEAD])
def test_who_lost_track_is_led_away_by_nobody_who_was_no_member(mode: Mode) -> None:
    """Into another group of that id, which is further on."""
    village = friends("anna", "ben", "cleo", "mallory")
    open_talk(village, "anna", "ben", "cleo", mode=mode)
    village.wait(minutes=3)
    before = strand(village, "ben")
    village.do("mallory", inputs.Open(conversation=TEA, mode=mode))
    for _ in range(4):
        refresh(village, "mallory")
        village.wait(minutes=1)
    act(village, "ben", lambda turn: turn.put(dropped(turn.strand(TEA), before.head), graph=True))
    assert strand(village, "ben").here is None
    invite(village, "mallory", "ben")
    village.wait(minutes=1)
    found = strand(village, "ben")
    assert (found.final, found.graph.members(found.head)) == (before.final, before.graph.members(before.head))
    assert "invite-elsewhere" in {rule for rule, _ in village.devices["ben"].refused}
    refresh(village, "anna")  # and he is shown the way back
    village.wait(hours=1)
    assert together(village, "anna", "ben", "cleo")


@pytest.mark.parametrize("mode", [Mode.DEMLS, Mode.LEAD])
def test_who_is_out_for_good_is_invited_by_somebody_who_came_since(mode: Mode) -> None:
    village = friends("ben", "anna", "cleo")
    befriend(village, "cleo", "ben")
    open_talk(village, "anna", "ben", mode=mode, policy=replace(usual(mode), add=Who.EVERYBODY))
    village.wait(minutes=3)
    village.do("anna", inputs.Remove(intent=intent("out"), conversation=TEA, account=village.own("ben")))
    village.wait(minutes=5)
    assert strand(village, "ben").over
    invite(village, "anna", "cleo")
    village.wait(minutes=5)
    invite(village, "cleo", "ben")
    village.wait(minutes=5)
    assert together(village, "anna", "ben", "cleo")
