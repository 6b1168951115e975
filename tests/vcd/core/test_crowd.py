"""Members that make more steps than anybody has room for: the others go on, and can take them out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import pytest

from tests.vcd.core.branches import TEA, commit, member, remove, talk, tea, withhold
from tests.vcd.core.company import act
from tests.vcd.core.homes import fates, home, remove as remove_device, trio
from tests.vcd.core.village import Village
from vcd.core import acting, crowd, following, lead, steps, summaries, voting
from vcd.core.config import Config
from vcd.core.names import AccountId, EpochId, FrameId, Incarnation
from vcd.core.ordering.graph import Graph, Member, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Commit, Decision, Digest, SignedBallot, SignedStep
from vcd.core.policy import Mode
from vcd.core.record import encode
from vcd.core.strand import Strand, corrected, with_step

MOST = 40
FRAME = FrameId(b"f" * 32)
HONEST = ("anna", "ben", "cleo", "dora")


def name_of(number: int, by: str = "") -> EpochId:
    return EpochId(hashlib.sha256(b"%d" % number + by.encode()).digest())


def signed(village: Village, name: str, found: Strand, step: Step) -> SignedStep:
    assert found.here is not None
    suite = village.devices[name].provider.suite(found.cipher_suite)
    return steps.signed(suite, found.here.group.signature_key, step)


def own(village: Village, name: str, found: Strand) -> Incarnation:
    me = voting.own(village.state(name), found)
    assert me is not None
    return me


def beside(village: Village, name: str, found: Strand, many: int = 2 * MOST, by: str = "") -> tuple[SignedStep, ...]:
    """Headers of no commit, all on one epoch; `by` somebody, if others than those of that name are wanted."""
    who = by or name
    me = own(village, who, found)
    several = (Step(epoch=name_of(at, name), parent=found.head, author=me, tag=b"\xff" * 32) for at in range(many))
    return tuple(signed(village, who, found, each) for each in several)


def chain(village: Village, name: str, found: Strand, many: int = 2 * MOST) -> tuple[SignedStep, ...]:
    """Headers of no commit, each on the one before."""
    me, at, said = own(village, name, found), found.head, []
    for number in range(many):
        step = Step(epoch=name_of(number, name), parent=at, author=me, root=found.home)
        said.append(signed(village, name, found, step))
        at = said[-1].step.epoch
    return tuple(said)


def guests(village: Village, name: str, found: Strand, many: int = 2 * MOST) -> tuple[SignedStep, ...]:
    """Each by somebody whom the one before brings in, and to whom a member gives its own key."""
    me, at, said = own(village, name, found), found.head, []
    assert found.here is not None
    author = me
    for number in range(many):
        epoch, leaf = name_of(number, name), 1000 + number
        comer = Member(
            incarnation=steps.incarnation(epoch, leaf),
            account=AccountId(name_of(number, "account")),
            since=found.graph.number(found.head) + 1 + number,
            leaf=leaf,
            admin=False,
            key=found.here.group.own_leaf_node.signature_key,
            by=author,
        )
        said.append(signed(village, name, found, Step(epoch=epoch, parent=at, author=author, adds=(comer,))))
        at, author = epoch, comer.incarnation
    return tuple(said)


def show(village: Village, name: str, said: Sequence[SignedStep], ballots: Iterable[SignedBallot] = ()) -> None:
    found = tea(village, name)
    digest = Digest(final=found.final, head=found.final, steps=tuple(said), ballots=tuple(ballots), at=village.now)
    act(village, name, lambda turn: acting.publish_wide(turn, found, found.final, digest))


def votes(village: Village, name: str, said: Iterable[SignedStep]) -> list[SignedBallot]:
    found = tea(village, name)
    me, here = own(village, name, found), found.here
    assert here is not None
    suite = village.devices[name].provider.suite(found.cipher_suite)
    key, at = here.group.signature_key, found.final
    return [
        steps.cast(suite, key, Ballot(voter=me, parent=step.parent, round=0, child=step.epoch), at, TEA, step)
        for step in (each.step for each in said)
    ]


def full(*people: str, mode: Mode = Mode.DEMLS) -> Village:
    village = talk(*(people or (*HONEST, "mallory")), mode=mode, max_unfinal=MOST)
    village.wait(minutes=5)
    return village


def followed(village: Village, name: str) -> int:
    found = tea(village, name)
    return sum(found.entered(each) for each in found.graph.steps)


# ---------------------------------------------------------------- who made them is taken out


@pytest.mark.parametrize("made", [beside, chain, guests], ids=lambda made: made.__name__)
@pytest.mark.parametrize("voted", [False, True], ids=["", "voted-for"])
def test_who_fills_the_graph_with_headers_is_taken_out(made: object, voted: bool) -> None:
    village = full()
    said = made(village, "mallory", tea(village, "mallory"))  # type: ignore[operator]
    show(village, "mallory", said, votes(village, "mallory", said) if voted else ())
    for name in HONEST:
        assert 0 < len(tea(village, name).graph.steps) <= MOST
    kept = commit(village, "ben")
    out = remove(village, "anna", "mallory")
    for name in HONEST:
        assert tea(village, name).head == out
        assert len(tea(village, name).graph.steps) <= MOST
    village.wait(minutes=5)
    for name in HONEST:
        assert tea(village, name).final == out
        assert tea(village, name).went_past(kept)
        assert not tea(village, name).graph.steps


def test_a_device_that_fills_the_graph_of_the_home_is_taken_out() -> None:
    village = Village(config=replace(Config(), max_unfinal=MOST))
    laptop, phone, tablet = trio(village)
    village.wait(minutes=10)
    found = home(village, tablet)
    digest = Digest(final=found.head, head=found.head, steps=beside(village, tablet, found), at=village.now)
    act(village, tablet, lambda turn: acting.publish_wide(turn, found, found.head, digest))
    assert len(home(village, phone).graph.steps) == MOST
    intent = remove_device(village, laptop, tablet)
    village.wait(minutes=10)
    assert fates(village, laptop, intent) == [True]
    for name in (laptop, phone):
        assert home(village, name).final == home(village, laptop).head != found.head
        assert len(home(village, name).graph.members(home(village, name).head)) == 2


def test_who_fills_the_graph_with_commits_is_taken_out() -> None:
    """Real ones, that all can follow. Nothing becomes final, as somebody is away."""
    village = full("anna", "ben", "cleo", "mallory")
    village.down("cleo")
    while ("commits-each", "") not in village.devices["ben"].refused:
        commit(village, "mallory")
        assert followed(village, "ben") <= MOST
    out = remove(village, "anna", "mallory")
    assert tea(village, "ben").head == out
    assert followed(village, "ben") == MOST + 1


def test_who_missed_the_removal_in_a_flood_comes_back() -> None:
    """It cannot follow, so all that it has are headers, among very many that are made up."""
    village = full()
    found = tea(village, "mallory")
    flood = [*chain(village, "mallory", found), *beside(village, "mallory", found, 3 * MOST)]
    withhold(village, lambda payload: isinstance(payload, Commit), "ben")
    show(village, "mallory", flood)
    missed = {commit(village, "cleo"), remove(village, "anna", "mallory")}
    for _ in range(6):
        show(village, "mallory", flood)
        village.wait(minutes=10)
    for name in HONEST:
        found = tea(village, name)
        assert found.here is not None
        assert found.final == tea(village, "anna").final
        assert village.own("mallory") not in {each.account for each in found.graph.members(found.final)}
    assert missed.isdisjoint(tea(village, "ben").kept)


def test_two_who_vote_for_what_they_make_up_fill_nobodys_memory() -> None:
    village = full(*HONEST, "eve", "mallory")
    said = chain(village, "mallory", tea(village, "mallory"), 4 * MOST)
    for at in range(0, len(said), MOST):
        show(village, "mallory", said[at : at + MOST])
        show(village, "eve", (), votes(village, "eve", said[at : at + MOST]))
    for name in HONEST:
        assert len(tea(village, name).graph.steps) <= MOST


def test_two_headers_in_turn_at_the_beginning_of_a_long_row_are_no_endless_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each time all that stands on them is looked at anew."""
    village = full()
    found, moved = tea(village, "mallory"), list[int]()
    row = chain(village, "mallory", found, MOST)
    show(village, "mallory", row)

    def counted(strand: Strand, said: SignedStep) -> Strand:
        moved.append(len(strand.graph.standing_on(said.step.epoch)))
        return corrected(strand, said)

    monkeypatch.setattr(following, "corrected", counted)
    other = signed(village, "mallory", found, replace(row[0].step, tag=b"x" * 32))
    act(village, "anna", lambda turn: summaries.learn(turn, TEA, [other, row[0]] * 100, ()))
    assert moved == [MOST]
    assert tea(village, "anna").graph.steps[other.step.epoch] == other.step
    act(village, "anna", lambda turn: summaries.learn(turn, TEA, row, ()))
    assert tea(village, "anna").graph.steps[other.step.epoch] == row[0].step


def test_headers_of_no_commit_in_a_conversation_with_a_lead() -> None:
    village = full("anna", "ben", "cleo", "mallory", mode=Mode.LEAD)
    said = chain(village, "mallory", tea(village, "mallory"))
    for name in ("anna", "ben", "cleo"):
        act(village, name, lambda turn: summaries.learn(turn, TEA, said, ()))
        assert len(tea(village, name).graph.steps) == MOST
    out = remove(village, "anna", "mallory")
    village.wait(minutes=5)
    assert {tea(village, name).final for name in ("anna", "ben", "cleo")} == {out}


def test_what_is_decided_on_headers_of_no_commit_goes_with_them() -> None:
    """Any member may say that it leads there; whether it does is seen when that counts."""
    village = full("anna", "ben", "cleo", "mallory", mode=Mode.LEAD)
    found = tea(village, "mallory")
    me, here = own(village, "mallory", found), found.here
    assert here is not None
    for part in range(5):
        said = beside(village, f"mallory{part}", found, MOST, by="mallory")
        act(village, "ben", lambda turn, said=said: summaries.learn(turn, TEA, said, ()))  # type: ignore[misc]
        there = [each.step.epoch for each in said if tea(village, "ben").graph.has(each.step.epoch)]
        for parent in there:
            plain = Decision(
                parent=parent,
                child=name_of(0, "child"),
                author=me,
                device=lead.named(TEA, village.state("mallory").me.device),
                step=None,
                signature=b"",
            )
            content = TEA + encode(plain)
            signature = here.group.suite.sign_with_label(here.group.signature_key, b"vcd decision", content)
            word = replace(plain, signature=signature)
            act(village, "ben", lambda turn, word=word: lead.on_decision(turn, TEA, word, FRAME))  # type: ignore[misc]
        graph, decisions = tea(village, "ben").graph, village.state("ben").talks[TEA].lead.decisions
        assert not there or any(each in decisions for each in there)
        assert all(graph.has(each) for each in decisions)


# ---------------------------------------------------------------- what does not count


def test_nobody_stands_where_a_member_votes_in_the_name_of_who_it_made_up() -> None:
    """The author is another one by name, and came in by a header that nobody followed."""
    village = full()
    before = tea(village, "anna").head
    said = guests(village, "mallory", tea(village, "mallory"), 3)
    show(village, "mallory", said, votes(village, "mallory", said))
    for name in HONEST:
        assert tea(village, name).head == before
        assert said[-1].step.epoch in tea(village, name).graph.steps


# ---------------------------------------------------------------- what goes, and what stays


def some(found: Strand, author: Incarnation, many: int, by: str, parent: EpochId | None = None) -> list[SignedStep]:
    steps = (Step(epoch=name_of(at, by), parent=parent or found.head, author=author) for at in range(many))
    return [SignedStep(step=each, signature=b"s") for each in steps]


def with_all(found: Strand, said: Iterable[SignedStep]) -> Strand:
    for each in said:
        found = with_step(found, each)
    return found


@pytest.fixture(name="found", scope="module")
def fixture_found() -> tuple[Village, Strand]:
    village = full()
    return village, tea(village, "anna")


def test_who_has_few_headers_keeps_them(found: tuple[Village, Strand]) -> None:
    village, strand = found
    ben, mallory = (member(village, "anna", name).incarnation for name in ("ben", "mallory"))
    few = some(strand, ben, 5, "ben")
    under = some(strand, ben, 3, "below", few[0].step.epoch)
    after = crowd.thinned(with_all(strand, [*few, *under, *some(strand, mallory, 100, "mallory")]), None, MOST)
    assert len(after.graph.steps) == len(after.signed) == MOST
    assert all(each.step.epoch in after.graph.steps for each in (*few, *under))


def test_the_farthest_goes_first_and_what_others_stand_on_last(found: tuple[Village, Strand]) -> None:
    village, strand = found
    ben, mallory = (member(village, "anna", name).incarnation for name in ("ben", "mallory"))
    near = some(strand, mallory, 30, "near")
    stood_on = max(near, key=lambda each: each.step.epoch)
    own = some(strand, ben, 1, "ben", stood_on.step.epoch)
    far = some(strand, mallory, 20, "far", near[1].step.epoch)
    after = crowd.thinned(with_all(strand, [*near, *own, *far]), None, MOST)
    assert {each.step.epoch for each in (*near, *own)} <= {*after.graph.steps}
    assert len(after.graph.steps) == MOST


def test_guests_of_guests_have_no_room_of_their_own(found: tuple[Village, Strand]) -> None:
    village, strand = found
    ben = member(village, "anna", "ben").incarnation
    few = some(strand, ben, 12, "ben")
    made_up = guests(village, "mallory", tea(village, "mallory"))
    after = crowd.thinned(with_all(strand, [*few, *made_up]), None, MOST)
    assert all(each.step.epoch in after.graph.steps for each in few)


def test_what_a_lead_says_of_others_is_not_theirs(found: tuple[Village, Strand]) -> None:
    village, strand = found
    ben = member(village, "anna", "ben").incarnation
    few = some(strand, ben, 5, "ben")
    framed = [replace(each, signature=b"") for each in some(strand, ben, 100, "lead")]
    after = crowd.thinned(with_all(strand, [*few, *framed]), None, MOST)
    assert all(each.step.epoch in after.graph.steps for each in few)


def test_what_we_made_or_voted_for_stays(found: tuple[Village, Strand]) -> None:
    """A vote binds, so it must not be forgotten what it was for; and others' votes go with the header."""
    village, strand = found
    anna, mallory = (member(village, "anna", name).incarnation for name in ("anna", "mallory"))
    ours = some(strand, anna, 1, "anna")
    under = some(strand, anna, 2, "under", ours[0].step.epoch)
    theirs = some(strand, mallory, 100, "mallory")
    ballots = strand.ballots
    for voter, said in ((anna, theirs[7]), *((mallory, each) for each in theirs[8:])):
        ballots = ballots.with_ballot(Ballot(voter=voter, parent=strand.head, round=0, child=said.step.epoch))
    before = replace(with_all(strand, [*ours, *under, *theirs]), ballots=ballots)
    after = crowd.thinned(before, village.own("anna"), MOST)
    for each in (*ours, *under, theirs[7]):
        assert each.step.epoch in after.graph.steps
    assert len(after.graph.steps) == MOST
    assert after.ballots.at(strand.head)
    for ballot in after.ballots.at(strand.head):
        assert ballot.child in after.graph.steps
    assert {*after.ballots.voters} == {each.child for each in after.ballots.at(strand.head)}


def test_commits_of_who_makes_few_are_asked_for_first(found: tuple[Village, Strand]) -> None:
    village, strand = found
    ben, mallory = (member(village, "anna", name).incarnation for name in ("ben", "mallory"))
    few = some(strand, ben, 3, "ben")
    after = with_all(strand, [*some(strand, mallory, 100, "mallory"), *few])
    assert {*crowd.urgent(after, after.graph.steps)[:3]} == {each.step.epoch for each in few}


@pytest.mark.parametrize("seed", range(20))
def test_a_graph_without_some_steps_is_as_if_they_had_never_been(seed: int, found: tuple[Village, Strand]) -> None:
    _, strand = found
    random = Random(seed)
    members = [each.incarnation for each in strand.graph.anchor.members]
    graph, several = Graph(strand.graph.anchor), [strand.graph.anchor.epoch]
    for number in range(30):
        step = Step(
            epoch=name_of(number),
            parent=random.choice(several),
            author=members[0],
            root=random.random() < 0.3,
        )
        there = [each.incarnation for each in graph.members(step.parent)]
        gone = tuple(random.sample(there, min(len(there), random.randrange(2))))
        graph = graph.with_step(replace(step, removes=gone))
        several.append(step.epoch)
    roots = random.sample(several[1:], 4)
    gone_too = frozenset(each for each in several[1:] if any(graph.is_ancestor(root, each) for root in roots))
    rest = Graph(graph.anchor)
    for epoch in several[1:]:
        if epoch not in gone_too:
            rest = rest.with_step(graph.steps[epoch])
    assert graph.without(gone_too) == rest
