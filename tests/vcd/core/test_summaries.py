"""Branch summaries, what newcomers are told, and answers to what others miss."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.proposals import SelfRemove
from mls.secrets import SignaturePrivateKey
from mls.suite import Suite
from mls.virtual import client
from tests.vcd.core.branches import (
    TEA,
    bring,
    commit,
    finals,
    heads,
    payload_of,
    release,
    remove,
    sent,
    talk,
    tea,
    withhold,
)
from tests.vcd.core.company import act, add, package, step
from tests.vcd.core.village import Village
from vcd.core import conversations, flow, kinds, retention, steps, summaries
from vcd.core.errors import Refused
from vcd.core.events import Fate, IntentFate, MessageFate
from vcd.core.inputs import Online, Refresh, Say
from vcd.core.names import AccountId, EpochId, FrameId, Incarnation, IntentId
from vcd.core.ordering.graph import Graph, Step
from vcd.core.ordering.votes import Ballot
from vcd.core.payloads import MAX_STEPS, Commit, Digest, Lineage, Payload, Post, SignedStep, Votes, Want, pack, unpack
from vcd.core.record import decode, encode
from vcd.core.sights import sight_of
from vcd.core.state import Acceptance
from vcd.core.turn import Turn
from vcd.core.waiting import Need

FRAME = FrameId(bytes(32))


def digest(village: Village, name: str) -> Digest:
    strand = tea(village, name)
    return Digest(
        final=strand.final, head=strand.head, steps=summaries.headers(strand), ballots=summaries.votes(strand)
    )


def hear(village: Village, name: str, said: Digest | Want | Lineage) -> None:
    def take(turn: Turn) -> None:
        turn.came_by = turn.strand(TEA).trunk
        flow.deliver(turn, TEA, said, FRAME)

    act(village, name, take)


# ---------------------------------------------------------------- digests


def test_a_commit_that_was_lost_is_fetched_after_somebody_showed_its_header() -> None:
    village = talk("anna", "ben", "cleo")
    village.lost = lambda frame, name: name == "cleo" and not isinstance(payload_of(village, frame), Digest)
    child = commit(village, "anna")
    village.wait(minutes=1)
    assert child not in tea(village, "cleo").graph.steps
    village.wait(minutes=15)
    assert child in tea(village, "cleo").graph.steps
    release(village)
    village.wait(minutes=2)
    assert heads(village, "anna", "ben", "cleo") == {child}
    assert list(sent(village, Want))


def test_one_member_shows_what_is_not_decided_and_the_others_need_not() -> None:
    village = talk("anna", "ben", "cleo", "dora")
    village.down("dora")  # who does not vote, so nothing becomes final
    before = len(village.log)
    commit(village, "anna")
    village.wait(minutes=15)
    assert len(list(sent(village, Digest, before))) == 1


def test_nothing_is_shown_where_nothing_is_left_to_decide() -> None:
    village = talk("anna", "ben")
    village.wait(days=2)
    assert not list(sent(village, Digest))


def test_what_stays_undecided_for_long_is_shown_seldomer() -> None:
    village = talk("anna", "ben", "cleo")
    village.down("cleo")  # who does not vote, so nothing becomes final
    commit(village, "anna")
    village.wait(days=1)
    first = len(list(sent(village, Digest)))
    village.wait(days=10)
    assert 10 < first < 40
    assert len(list(sent(village, Digest))) - first < 40


def test_who_missed_the_votes_that_made_epochs_final_is_shown_them_by_those_who_are_done() -> None:
    village = talk("anna", "ben", "cleo")
    withhold(village, lambda payload: isinstance(payload, Digest) or _decides(payload), "cleo")
    for name in ("anna", "ben"):
        made = commit(village, name)
        village.wait(minutes=1)
        assert finals(village, "anna", "ben") == {made}
    assert len(tea(village, "cleo").graph.steps) == 2
    assert not tea(village, "anna").votes  # nothing is left to decide there
    withhold(village, _decides, "cleo")
    village.wait(minutes=30)
    assert finals(village, "cleo") == heads(village, "anna", "ben", "cleo")
    assert len(list(sent(village, Lineage))) == 2


def _decides(payload: Payload | None) -> bool:
    return isinstance(payload, Votes) and any(each.ballot.round % 2 for each in payload.ballots)


def test_what_made_epochs_final_is_kept_for_some_of_them() -> None:
    village = talk("anna", "ben")
    for _ in range(retention.MAX_PROOFS + 3):
        commit(village, "anna")
        village.wait(minutes=1)
    proofs = tea(village, "ben").proofs
    assert len(proofs) == retention.MAX_PROOFS
    newest = max(proofs.values(), key=lambda each: each.anchor.number)
    assert newest.steps[-1].step.epoch == tea(village, "ben").final


def test_nobody_shows_anything_while_nobody_is_connected() -> None:
    village = talk("anna", "ben")
    village.do("anna", Online(online=False))
    village.part(["anna"], ["ben"])
    commit(village, "anna")
    before = len(village.log)
    village.wait(days=1)
    assert not list(sent(village, Digest, before))


def test_who_shows_less_than_there_is_gets_an_answer() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna", "ben"], ["cleo"])
    child = commit(village, "anna")
    before = len(village.log)
    hear(village, "ben", digest(village, "cleo"))
    village.wait(seconds=30)
    shown = [said for _, said in sent(village, Digest, before)]
    assert [each.step.epoch for each in shown[0].steps] == [child]


def test_a_header_that_its_author_did_not_sign_is_not_taken() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna", "ben"], ["cleo"])
    child = commit(village, "anna")
    said = digest(village, "ben")
    senior = tea(village, "cleo").graph.members(tea(village, "cleo").head)[0].incarnation
    forged = replace(said.steps[0], step=replace(said.steps[0].step, removes=(senior,)))
    hear(village, "cleo", replace(said, steps=(forged,), ballots=()))
    assert child not in tea(village, "cleo").graph.steps
    assert ("step-signature", "") in village.devices["cleo"].refused


def test_a_header_gives_nobody_else_a_key_that_its_author_likes() -> None:
    village = talk("anna", "ben", "cleo")
    village.part(["anna", "ben"], ["cleo"])
    strand = tea(village, "anna")
    group = strand.kept[strand.head].group
    mine, *others = strand.graph.members(strand.head)
    honest = Step(epoch=EpochId(b"x" * 32), parent=strand.head, author=mine.incarnation)
    for named, taken in ((others[0], False), (mine, True)):
        step = replace(honest, keys=((named.incarnation, bytes(32)),))
        said = steps.signed(group.suite, group.signature_key, step)
        hear(village, "ben", Digest(final=strand.final, head=step.epoch, steps=(said,)))
        assert tea(village, "ben").graph.has(step.epoch) is taken
    assert ("header-author", "") in village.devices["ben"].refused


def test_members_whom_a_header_makes_up_do_not_make_it_count() -> None:
    village = talk("anna", "ben", "cleo")
    strand = tea(village, "anna")
    group, (mine, *_) = strand.kept[strand.head].group, strand.graph.members(strand.head)
    suite = group.suite
    private, public = suite.scheme.generate(village.devices["anna"].provider.random)
    epoch = EpochId(b"x" * 32)
    ghost = replace(
        mine,
        incarnation=steps.incarnation(epoch, 9),
        since=group.epoch + 1,
        leaf=9,
        key=public,
        by=mine.incarnation,
        acted=False,
    )
    step = Step(epoch=epoch, parent=strand.head, author=mine.incarnation, adds=(ghost,), tag=b"\xff" * 32)
    vote = Ballot(voter=ghost.incarnation, parent=strand.head, round=0, child=epoch)
    said = steps.signed(suite, group.signature_key, step)
    voted = steps.cast(suite, private, vote, epoch, TEA, step)
    hear(village, "ben", Digest(final=strand.final, head=epoch, steps=(said,), ballots=(voted,)))
    assert tea(village, "ben").ballots.has(vote)
    assert tea(village, "ben").head == strand.head


def test_a_header_says_nothing_that_no_commit_can_do() -> None:
    village = talk("anna", "ben", "cleo")
    strand = tea(village, "anna")
    group = strand.kept[strand.head].group
    senior = replace(strand.graph.members(strand.head)[0], since=0, incarnation=Incarnation(bytes(32)), leaf=9)
    real, other, *_ = strand.graph.members(strand.head)
    plain = Step(epoch=EpochId(b"x" * 32), parent=strand.head, author=real.incarnation)
    for fake, rule in (
        (Step(epoch=EpochId(b"x" * 32), parent=strand.head, author=real.incarnation, adds=(senior,)), "step-adds"),
        (Step(epoch=EpochId(b"x" * 32), parent=strand.head, author=Incarnation(b"y" * 32)), "step-author"),
        (
            Step(
                epoch=EpochId(b"x" * 32),
                parent=strand.head,
                author=real.incarnation,
                removes=(Incarnation(b"y" * 32),),
            ),
            "step-members",
        ),
        (replace(plain, removes=(other.incarnation,) * 2), "step-members"),
        (replace(plain, moved=((real.incarnation, 7), (real.incarnation, 8))), "step-members"),
        (replace(plain, keys=((real.incarnation, bytes(32)), (real.incarnation, bytes(33)))), "step-members"),
    ):
        said = steps.signed(group.suite, group.signature_key, fake)
        before = len(village.devices["ben"].refused)
        hear(village, "ben", Digest(final=strand.final, head=fake.epoch, steps=(said,)))
        assert [found for found, _ in village.devices["ben"].refused[before:]] == [rule]
        assert not tea(village, "ben").graph.has(fake.epoch)


@pytest.mark.parametrize("who", ["ben", "cleo"])
def test_a_commit_whose_header_names_its_author_twice_is_followed_by_nobody(
    who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ben, whom it removes, cannot compute which key it gives its author."""
    village = talk("anna", "ben", "cleo")
    plain = steps.signed

    def twice(suite: Suite, key: SignaturePrivateKey, step: Step) -> SignedStep:
        return plain(suite, key, replace(step, keys=((step.author, bytes(32)), (step.author, b"\xff" * 32))))

    with monkeypatch.context() as patched:
        patched.setattr(steps, "signed", twice)
        child = remove(village, "anna", "ben", heard=False)
    village.deliver()
    assert [rule for rule, _ in village.devices[who].refused] == ["step-header"]
    assert not tea(village, who).graph.has(child)


def test_a_head_that_somebody_merely_names_moves_nobody() -> None:
    village = talk("anna", "ben")
    strand = tea(village, "ben")
    hear(village, "ben", Digest(final=strand.final, head=EpochId(b"x" * 32)))
    village.wait(minutes=30)
    assert tea(village, "ben").head == strand.head
    assert tea(village, "ben").here is not None


def test_more_votes_than_fit_are_shown_part_by_part() -> None:
    village = talk("anna", "ben", "cleo")
    commit(village, "anna")
    commit(village, "ben")
    village.lost = lambda frame, name: isinstance(payload_of(village, frame), Votes)
    village.wait(seconds=10)
    strand = tea(village, "anna")
    everything = {encode(each) for each in strand.votes.values()}
    assert len(everything) >= 2
    shown = {encode(said) for part in range(4) for said in summaries.votes(strand, most=1, part=part)}
    assert shown == everything


def test_headers_come_parents_first_and_the_heads_path_before_the_rest() -> None:
    village = talk("anna", "ben")
    village.part(["anna"], ["ben"])
    for _ in range(3):
        commit(village, "anna")
    commit(village, "ben")
    village.heal()
    strand = tea(village, "anna")
    found = [each.step for each in summaries.headers(strand)]
    graph = Graph(anchor=strand.graph.anchor)
    for each in found:
        graph = graph.with_step(each)
    path = list(strand.graph.path(strand.head))
    assert [each.epoch for each in found[: len(path)]] == path
    assert len(found) == 4


# ---------------------------------------------------------------- questions and answers


def test_what_is_missed_is_given_by_one_member_and_not_by_all() -> None:
    village = talk("anna", "ben", "cleo", "dora")
    village.part(["anna", "ben", "cleo"], ["dora"])
    child = commit(village, "anna")
    promised = []
    for name in ("anna", "ben", "cleo"):
        step(village, name, lambda turn: summaries.on_want(turn, TEA, Want(epochs=(child,)), FRAME))
        owed = sight_of(village.state(name), TEA).comparing.owed
        promised.append(owed[0].at)
    assert len(set(promised)) == 3  # each has a turn of its own
    for name in ("anna", "ben", "cleo"):  # and does nothing once the commit was heard again
        step(village, name, lambda turn: summaries.seen(turn, TEA, child))
        assert not sight_of(village.state(name), TEA).comparing.owed
        village.now = max(promised)
        before = len(village.log)
        village.wait(seconds=5)
        assert not list(sent(village, Commit, before))


def test_one_question_gets_a_few_answers_and_the_same_one_none_for_a_while() -> None:
    village = talk("anna", "ben")
    epochs = tuple(commit(village, "anna") for _ in range(20))
    want = Want(epochs=epochs)
    hear(village, "ben", want)
    assert len(sight_of(village.state("ben"), TEA).comparing.owed) == summaries.OWED_AT_ONCE
    village.wait(seconds=20)
    hear(village, "ben", want)
    again = sight_of(village.state("ben"), TEA).comparing.owed
    assert len(again) <= 20 - summaries.OWED_AT_ONCE


def test_what_nobody_can_give_is_not_promised() -> None:
    village = talk("anna", "ben")
    hear(village, "ben", Want(epochs=(EpochId(b"x" * 32),), proposals=(b"y" * 32,)))
    assert not sight_of(village.state("ben"), TEA).comparing.owed


def test_proposals_that_somebody_missed_are_given_again() -> None:
    village = talk("anna", "ben", "cleo")

    def leave(turn: Turn) -> bytes:
        strand = turn.strand(TEA)
        made = client.propose(turn.emulation, strand.kept[strand.head].group, turn.env, SelfRemove())
        turn.change(emulation=made.emulation)
        turn.publish(strand.kept[strand.head].topic, Post(epoch=strand.head, message=made.message))
        return made.message

    message = act(village, "cleo", leave)
    head = tea(village, "ben").head
    assert tea(village, "ben").proposals[head] == (message,)
    step(village, "ben", lambda turn: summaries.on_want(turn, TEA, Want(proposals=(head,)), FRAME))
    assert sight_of(village.state("ben"), TEA).comparing.owed[0].proposals == head


# ---------------------------------------------------------------- newcomers


def welcome(village: Village, host: str, guest: str) -> tuple[bytes, Lineage]:
    if guest not in village.devices:
        village.account(guest)
    made = add(village, host, TEA, package(village, guest))
    return made, summaries.lineage(tea(village, host))


def come_in(village: Village, guest: str, made: bytes) -> None:
    def enter(turn: Turn) -> None:
        joined = client.join(turn.emulation, turn.env, kinds.parameters_of(tea(village, "anna").mode), made)
        turn.change(emulation=joined.emulation)
        conversations.enter(turn, joined.group)

    act(village, guest, enter)


def test_a_newcomer_has_the_graph_that_the_others_have_and_votes_in_it() -> None:
    village = talk("anna", "ben")
    commit(village, "ben", heard=False)
    bring(village, "anna", "cleo")
    strand = tea(village, "cleo")
    assert strand.graph.anchor == tea(village, "anna").graph.anchor
    assert strand.graph.members(strand.head) == tea(village, "anna").graph.members(strand.head)
    village.wait(minutes=2)
    assert finals(village, "anna", "ben", "cleo") == heads(village, "anna", "ben", "cleo")
    assert len(heads(village, "anna", "ben", "cleo")) == 1


def test_what_comes_before_a_newcomer_knows_who_it_is_waits() -> None:
    village = talk("anna", "ben")
    made, told = welcome(village, "anna", "cleo")
    come_in(village, "cleo", made)
    assert summaries.provisional(tea(village, "cleo"))
    child = commit(village, "ben")
    assert not tea(village, "cleo").graph.has(child)
    assert (Need.GROUP, TEA) in village.state("cleo").waiting.by_need
    act(village, "cleo", lambda turn: summaries.take(turn, TEA, told))
    assert tea(village, "cleo").head == child
    assert not summaries.provisional(tea(village, "cleo"))


def test_who_does_not_know_yet_who_it_is_makes_no_commit() -> None:
    village = talk("anna", "ben")
    made, told = welcome(village, "anna", "cleo")
    come_in(village, "cleo", made)
    village.do("cleo", Refresh(intent=IntentId(bytes(16)), conversation=TEA))
    village.wait(hours=1)
    assert not tea(village, "cleo").graph.steps
    act(village, "cleo", lambda turn: summaries.take(turn, TEA, told))
    village.wait(hours=2)
    assert [each.stands for each in village.told("cleo", IntentFate)] == [True]
    assert len(heads(village, "anna", "ben", "cleo")) == 1


def test_nothing_is_confirmed_where_one_does_not_know_what_is_final() -> None:
    """Where a device comes in is the only epoch that it knows of then; it is a branch, and may lose."""
    village = talk("anna", "ben")
    made, told = welcome(village, "anna", "cleo")
    come_in(village, "cleo", made)
    act(village, "cleo", lambda turn: turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.YES)))
    village.do("cleo", Say(conversation=TEA, nonce=bytes(16), data=b"here"))
    assert [each.fate for each in village.told("cleo", MessageFate)] == [Fate.SENT]
    act(village, "cleo", lambda turn: summaries.take(turn, TEA, told))
    assert [each.fate for each in village.told("cleo", MessageFate)] == [Fate.SENT]
    village.wait(minutes=2)
    assert [each.fate for each in village.told("cleo", MessageFate)] == [Fate.SENT, Fate.CONFIRMED]


def test_who_has_just_come_in_gets_nothing_back_because_the_others_go_on() -> None:
    """What is final is of before it came, and the conversation stands elsewhere by now."""
    village = talk("anna", "ben")
    bring(village, "anna", "cleo")
    act(village, "cleo", lambda turn: turn.put_talk(replace(turn.talk(TEA), acceptance=Acceptance.YES)))
    village.do("cleo", Say(conversation=TEA, nonce=bytes(16), data=b"here"))
    commit(village, "ben")
    assert [each.fate for each in village.told("cleo", MessageFate)] == [Fate.SENT]
    village.wait(minutes=2)
    assert [each.fate for each in village.told("cleo", MessageFate)] == [Fate.SENT, Fate.CONFIRMED]


def test_a_newcomer_hears_of_other_branches_in_the_topic_of_what_is_final() -> None:
    village = talk("anna", "ben")
    village.part(["anna"], ["ben"])
    other = commit(village, "ben")
    village.account("cleo")
    village.part(["anna", "cleo"], ["ben"])
    bring(village, "anna", "cleo")
    assert other not in tea(village, "cleo").graph.steps
    village.heal()
    assert other in tea(village, "cleo").graph.steps


@pytest.mark.parametrize("lie", ["roster", "admin", "twice", "gap", "elsewhere", "since", "unknown"])
def test_a_lineage_that_contradicts_what_a_newcomer_sees_changes_nothing(lie: str) -> None:
    village = talk("anna", "ben")
    made, told = welcome(village, "anna", "cleo")
    come_in(village, "cleo", made)
    group = tea(village, "cleo").kept[tea(village, "cleo").head].group
    members = told.anchor.members
    stranger = replace(members[0], account=AccountId(b"x" * 32))
    turned = tuple(replace(each, admin=not each.admin) for each in members)
    lies = {
        "roster": replace(told, anchor=replace(told.anchor, members=(stranger, *members[1:]))),
        "admin": replace(told, anchor=replace(told.anchor, members=turned)),
        "twice": replace(told, anchor=replace(told.anchor, members=(*members, members[0]))),
        "gap": replace(told, anchor=replace(told.anchor, epoch=EpochId(b"x" * 32))),
        "elsewhere": replace(told, steps=told.steps[:-1]),
        "unknown": summaries.lineage(tea(village, "cleo")),
        "since": replace(
            told,
            steps=tuple(
                replace(s, step=replace(s.step, adds=tuple(replace(m, since=0) for m in s.step.adds)))
                for s in told.steps
            ),
        ),
    }
    with pytest.raises(Refused):
        summaries.rebuilt(group, lies[lie])
    before = tea(village, "cleo")

    def be_told(turn: Turn) -> None:
        with pytest.raises(Refused):
            summaries.take(turn, TEA, lies[lie])

    act(village, "cleo", be_told)
    assert tea(village, "cleo").graph == before.graph
    act(village, "cleo", lambda turn: summaries.take(turn, TEA, told))  # the true one is taken after it
    assert not summaries.provisional(tea(village, "cleo"))


def test_a_lineage_that_nobody_authenticated_is_headers_and_votes_only() -> None:
    village = talk("anna", "ben")
    made, told = welcome(village, "anna", "cleo")
    come_in(village, "cleo", made)
    before = tea(village, "cleo").graph
    hear(village, "cleo", told)
    assert tea(village, "cleo").graph == before
    assert summaries.provisional(tea(village, "cleo"))


def test_who_knows_its_group_already_takes_no_other_beginning_of_it() -> None:
    village = talk("anna", "ben")
    strand = tea(village, "ben")
    told = summaries.lineage(tea(village, "anna"))
    other = replace(told, anchor=replace(told.anchor, epoch=EpochId(b"x" * 32)))
    act(village, "ben", lambda turn: summaries.take(turn, TEA, other))
    assert tea(village, "ben").graph == strand.graph


def test_a_lineage_too_long_to_send_begins_later() -> None:
    village = talk("anna", "ben")
    commit(village, "anna")
    strand = tea(village, "anna")
    graph, parent = strand.graph, strand.head
    real = graph.steps[strand.head]
    for number in range(MAX_STEPS + 10):
        epoch = EpochId(number.to_bytes(32, "big"))
        graph = graph.with_step(replace(real, epoch=epoch, parent=parent))
        parent = epoch
    far = replace(strand, graph=graph, standing=replace(strand.standing, head=parent))
    told = summaries.lineage(far)
    assert len(told.steps) == MAX_STEPS
    assert told.anchor.number == graph.number(parent) - MAX_STEPS
    assert told.anchor.members == graph.members(told.anchor.epoch)
    assert unpack(pack(told)) == told


def test_a_lineage_is_written_and_read() -> None:
    village = talk("anna", "ben")
    commit(village, "anna")
    told = summaries.lineage(tea(village, "anna"))
    assert decode(Lineage, encode(told)) == told
