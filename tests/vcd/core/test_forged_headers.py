"""Two headers under the name of one epoch: votes are for the one that its voter knows, and the other gives way."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from mls.state import Group
from mls.suite import Suite
from tests.vcd.core.branches import TEA, bring, commit, finals, member, payload_of, release, sent, talk, tea, withhold
from tests.vcd.core.company import act
from tests.vcd.core.village import Village
from vcd.core import acting, events, following, steps, voting
from vcd.core.names import EpochId, Incarnation
from vcd.core.ordering.graph import Member, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import Commit, Digest, SignedBallot, SignedStep, Votes
from vcd.core.strand import Membership, doubtful

PEOPLE = ("anna", "ben", "cleo", "mallory")


class Pen(NamedTuple):
    """What a member signs headers and votes with."""

    who: Incarnation
    group: Group
    suite: Suite

    def header(self, step: Step) -> SignedStep:
        return steps.signed(self.suite, self.group.signature_key, step)

    def vote(self, ballot: Ballot, at: EpochId, header: Step) -> SignedBallot:
        return steps.cast(self.suite, self.group.signature_key, ballot, at, TEA, header)

    def comer(self, like: Member, epoch: EpochId) -> Member:
        """Somebody once more, at another leaf and with this member's key, by a header under that name."""
        return replace(
            like,
            incarnation=steps.incarnation(epoch, 9),
            leaf=9,
            since=self.group.epoch + 1,
            by=self.who,
            acted=False,
            key=self.group.own_leaf_node.signature_key,
        )


def pen(village: Village, name: str = "mallory", at: EpochId | None = None) -> Pen:
    found = tea(village, name)
    me, suite = voting.own(village.state(name), found), village.devices[name].provider.suite(found.cipher_suite)
    assert me is not None
    return Pen(me, found.kept[found.head if at is None else at].group, suite)


def begun() -> tuple[Village, EpochId]:
    """All of them, where nothing is open, and the epoch where they stand."""
    village = talk(*PEOPLE)
    village.wait(minutes=5)
    return village, tea(village, "mallory").final


def deaf(village: Village, *kinds: type) -> None:
    """Cleo does not hear these."""
    village.lost = lambda frame, name: name == "cleo" and isinstance(payload_of(village, frame), kinds)


def hear(village: Village, said: SignedStep) -> None:
    """Cleo hears a header, from whomever."""
    act(village, "cleo", lambda turn: following.on_header(turn, turn.strand(TEA), said))


def twin(village: Village, epoch: EpochId, at: EpochId, out: str) -> SignedStep:
    """Mallory's header under the name of an epoch that she did not make: it removes somebody."""
    mine, gone = pen(village, at=at), member(village, "mallory", out).incarnation
    return mine.header(Step(epoch=epoch, parent=at, author=mine.who, removes=(gone,), tag=b"t" * 32))


def show(village: Village, said: SignedStep) -> None:
    step = said.step
    digest = Digest(final=step.parent, head=step.epoch, steps=(said,), at=1)
    act(village, "mallory", lambda turn: acting.publish_wide(turn, turn.strand(TEA), step.parent, digest))


def test_votes_for_a_commit_do_not_count_for_another_header_of_its_name() -> None:
    village, at = begun()
    withhold(village, lambda payload: isinstance(payload, Commit), "cleo")
    epoch = commit(village, "anna")
    show(village, twin(village, epoch, at, "cleo"))
    village.wait(minutes=1)
    found = tea(village, "cleo")
    assert found.final == at
    assert found.membership is not Membership.OUT
    release(village)
    village.wait(minutes=30)
    assert finals(village, *PEOPLE) == {epoch}
    assert all(tea(village, name).membership is Membership.IN for name in PEOPLE)
    assert not village.told("cleo", events.Gone)


def test_who_cannot_follow_a_commit_takes_the_header_that_others_vote_for() -> None:
    """Though the other one comes again and again."""
    village, at = begun()
    deaf(village, Commit)
    epoch = commit(village, "anna")
    made_up = twin(village, epoch, at, "cleo")
    for _ in range(3):
        show(village, made_up)
        village.wait(seconds=10)
        if tea(village, "cleo").graph.has(epoch):
            break
    found = tea(village, "cleo")
    for _ in range(20):
        village.wait(minutes=1)
        show(village, made_up)
        found = tea(village, "cleo")
        assert found.membership is not Membership.OUT
        if found.final == epoch:
            break
    assert found.final == epoch
    assert found.graph.anchor.epoch == epoch or found.graph.steps[epoch] == tea(village, "anna").graph.steps[epoch]
    assert not village.told("cleo", events.Gone)


def test_a_made_up_header_gives_way_with_what_stands_on_it_and_the_votes_for_it() -> None:
    village, at = begun()
    deaf(village, Commit, Digest, Votes)
    epoch = commit(village, "anna")
    first = twin(village, epoch, at, "ben")
    mine, ben = pen(village, at=at), member(village, "mallory", "ben").incarnation
    other = Step(epoch=EpochId(b"o" * 32), parent=epoch, author=mine.who, removes=(ben,), tag=b"t" * 32)
    stays = replace(other, epoch=EpochId(b"s" * 32), removes=())
    plain = Ballot(voter=mine.who, parent=at, round=0, child=epoch)
    vote = mine.vote(plain, at, first.step)
    hear(village, first)
    hear(village, mine.header(stays))
    act(village, "cleo", lambda turn: voting.take(turn, TEA, (vote,)))
    before = tea(village, "cleo")
    assert before.graph.steps[epoch] == first.step
    assert before.ballots.has(plain)
    assert doubtful(before, epoch)
    hear(village, tea(village, "anna").signed[epoch])
    after = tea(village, "cleo")
    assert after.graph.steps[epoch].author == member(village, "anna", "anna").incarnation
    assert after.graph.has(stays.epoch)
    assert not after.ballots.has(plain)
    assert not after.votes
    hear(village, mine.header(other))  # that one takes ben out where he is a member now
    hear(village, first)
    assert not tea(village, "cleo").graph.has(other.epoch)
    assert tea(village, "cleo").graph.has(stays.epoch)


def test_where_a_device_stands_may_go_with_a_header() -> None:
    """Until it is seen where it stands now, what comes in the same step finds it on what is left."""
    village, at = begun()
    deaf(village, Commit, Votes)
    below = commit(village, "anna")
    above = commit(village, "ben")
    found, mine = tea(village, "mallory"), pen(village)
    more = mine.header(Step(epoch=EpochId(b"m" * 32), parent=at, author=mine.who, tag=b"t" * 32))
    vote = Ballot(voter=mine.who, parent=below, round=0, child=above)
    ballots = (mine.vote(vote, above, found.graph.steps[above]),)
    true = (found.signed[below], found.signed[above])

    def tell(said: tuple[SignedStep, ...], ballots: tuple[SignedBallot, ...] = ()) -> None:
        digest = Digest(final=at, head=at, steps=said, ballots=ballots, at=village.now)
        act(village, "mallory", lambda turn: acting.publish_wide(turn, found, at, digest))

    tell((*true, more), ballots)
    assert tea(village, "cleo").head == above
    tell((twin(village, below, at, "ben"),))  # ben made what stands on it
    after = tea(village, "cleo")
    assert not after.graph.has(above)
    assert after.graph.has(after.head)
    release(village)
    village.wait(minutes=30)
    assert len(finals(village, *PEOPLE)) == 1
    assert all(tea(village, name).membership is Membership.IN for name in PEOPLE)


def test_nobody_is_called_a_liar_for_what_a_made_up_header_has_them_do() -> None:
    """It brings in ben once more, with mallory's key; and another comer for each liar that is to be remembered."""
    village, at = begun()
    mine, ben, epoch = pen(village), member(village, "mallory", "ben"), EpochId(b"e" * 32)
    comer = mine.comer(ben, epoch)
    first = Step(epoch=epoch, parent=at, author=mine.who, adds=(comer,), tag=b"t" * 32)
    above = [Step(epoch=EpochId(each * 32), parent=epoch, author=mine.who, tag=b"t" * 32) for each in (b"x", b"y")]
    votes = tuple(
        mine.vote(Ballot(voter=comer.incarnation, parent=epoch, round=0, child=each.epoch), each.epoch, each)
        for each in above
    )
    said = tuple(mine.header(each) for each in (first, *above))
    digest = Digest(final=at, head=at, steps=said, ballots=votes, at=village.now)
    act(village, "mallory", lambda turn: acting.publish_wide(turn, turn.strand(TEA), at, digest))
    assert comer.incarnation in tea(village, "anna").ballots.liars
    show(village, mine.header(replace(first, adds=())))
    village.wait(minutes=1)
    for name in ("anna", "ben", "cleo"):
        assert not tea(village, name).ballots.liars
        assert not [each for each in village.told(name, events.Warned) if each.code == "double-vote"]


def test_a_header_that_would_stand_on_itself_takes_no_ones_place() -> None:
    village, at = begun()
    deaf(village, Commit, Digest, Votes)
    epoch = commit(village, "anna")
    mine = pen(village, at=at)
    child = Step(epoch=EpochId(b"c" * 32), parent=epoch, author=mine.who, tag=b"t" * 32)
    circle = Step(epoch=epoch, parent=child.epoch, author=mine.who, tag=b"t" * 32)
    for said in (tea(village, "anna").signed[epoch], mine.header(child), mine.header(circle)):
        hear(village, said)
    assert tea(village, "cleo").graph.steps[epoch].parent == at


def test_a_vote_of_an_earlier_build_counts_for_what_was_followed() -> None:
    """It names the epoch alone, and so says nothing to who knows no more than a header of it."""
    village, at = begun()
    village.lost = lambda frame, name: isinstance(
        payload_of(village, frame), Votes | Digest | Commit if name == "cleo" else Votes | Digest
    )
    epoch = commit(village, "anna")
    hear(village, tea(village, "anna").signed[epoch])
    hers = pen(village, "ben")
    ballot = Ballot(voter=hers.who, parent=at, round=0, child=epoch)
    content = steps._voted(ballot, epoch, TEA)
    signature = hers.suite.sign_with_label(hers.group.signature_key, steps._BALLOT, content)
    said = SignedBallot(ballot=ballot, at=epoch, signature=signature)
    for name in ("anna", "cleo"):
        act(village, name, lambda turn: voting.take(turn, TEA, (said,)))
        assert tea(village, name).graph.has(epoch)
    assert tea(village, "anna").ballots.has(ballot)
    assert not tea(village, "cleo").ballots.has(ballot)


def test_all_votes_that_are_sent_name_the_header() -> None:
    village, _ = begun()
    frames = len(village.log)
    epoch = commit(village, "anna")
    village.wait(minutes=5)
    header = next(
        payload.signed.step for _, payload in sent(village, Commit, frames) if payload.signed.step.epoch == epoch
    )
    suite = village.devices["anna"].provider.suite(tea(village, "anna").cipher_suite)
    keys = {each.incarnation: each.key for each in tea(village, "anna").graph.members(epoch)}
    said = [
        each for _, payload in sent(village, Votes, frames) for each in payload.ballots if each.ballot.child == epoch
    ]
    assert len(said) >= 8
    for each in said:
        steps.check_ballot(suite, keys[each.ballot.voter], each, TEA, header, followed=False)


@pytest.mark.parametrize("lie", ["root", "moved", "acted", "nothing"])
def test_a_header_that_says_what_no_commit_of_a_conversation_does_is_refused(lie: str) -> None:
    village, at = begun()
    mine, ben, epoch = pen(village), member(village, "mallory", "ben"), EpochId(b"l" * 32)
    comer = replace(mine.comer(ben, epoch), acted=lie == "acted")
    plain = Step(epoch=epoch, parent=at, author=mine.who, adds=(comer,), tag=b"t" * 32)
    lies = {
        "root": replace(plain, removes=(ben.incarnation,), root=True),
        "moved": replace(plain, moved=((ben.incarnation, 12),)),
        "acted": plain,
        "nothing": plain,
    }
    show(village, mine.header(lies[lie]))
    village.wait(minutes=1)
    for name in ("anna", "ben", "cleo"):
        assert tea(village, name).graph.has(epoch) == (lie == "nothing")
        assert lie == "nothing" or {rule for rule, _ in village.devices[name].refused} & {"step-members", "step-adds"}


def test_what_was_checked_by_keys_of_a_made_up_header_goes_with_it() -> None:
    """Whom the true commit brings in has the same name in both, and mallory's key in hers."""
    village, at = begun()
    deaf(village, Commit, Digest, Votes)
    bring(village, "anna", "dora")
    hand = pen(village)
    true = next(each for each in tea(village, "mallory").signed.values() if each.step.adds)
    (dora,) = true.step.adds
    epoch = true.step.epoch
    comer = replace(dora, by=hand.who, key=hand.group.own_leaf_node.signature_key)
    out = (member(village, "mallory", "cleo").incarnation,)
    made_up = Step(epoch=epoch, parent=at, author=hand.who, adds=(comer,), tag=b"t" * 32)
    hers = Step(epoch=EpochId(b"h" * 32), parent=epoch, author=dora.incarnation, removes=out, tag=b"t" * 32)
    mine = Step(epoch=EpochId(b"m" * 32), parent=epoch, author=hand.who, removes=out, tag=b"t" * 32)
    vote = Ballot(voter=dora.incarnation, parent=epoch, round=0, child=mine.epoch)
    for each in (made_up, hers, mine):
        hear(village, hand.header(each))
    act(village, "cleo", lambda turn: voting.take(turn, TEA, (hand.vote(vote, epoch, mine),)))
    assert tea(village, "cleo").ballots.has(vote)
    assert tea(village, "cleo").graph.has(hers.epoch)
    hear(village, true)
    after = tea(village, "cleo")
    assert after.graph.steps[epoch] == true.step
    assert after.graph.has(mine.epoch)
    assert not after.graph.has(hers.epoch)
    assert not after.ballots.has(vote)
    assert not after.votes
    release(village)
    village.wait(minutes=30)
    assert tea(village, "cleo").membership is Membership.IN
    assert tea(village, "cleo").head == tea(village, "anna").head
