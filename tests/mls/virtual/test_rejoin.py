"""draft-ietf-mls-virtual-clients §5.2: coming back from outside, step by step, asking the user, failing, losing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mls.errors import CallerError, LimitError
from mls.registries import GroupId, KeyPackageRef
from mls.virtual import rejoin as room
from mls.virtual.rejoin import (
    TRANSITIONS,
    Approval,
    Conversation,
    Entering,
    Input,
    Rejoin,
    Source,
    State,
    Step,
    Task,
    begin,
)
from mls.virtual.removal import Withdrawal
from tests.mls.strategies import Mutation, mutated, mutations
from tests.vectors.own import announcements as own

ROLL = own.roll()
FIRST, SECOND = (entry.group_id for entry in ROLL.conversations)
P, Q = ROLL.references
CREDENTIAL, ENTER, UPLOAD = Task(Step.CREDENTIAL), Task(Step.ENTER), Task(Step.UPLOAD)
NEW = GroupId(b"of a welcome")


def again(progress: Rejoin) -> Rejoin:
    found = Rejoin.decode(progress.encode())
    assert found == progress
    return found


def inside(approval: Approval = Approval.NONE) -> Rejoin:
    return begin(ROLL, approval=approval).granted().entered()


def join(group_id: GroupId) -> Task:
    return Task(Step.JOIN, group_id)


def ask(group_id: GroupId) -> Task:
    return Task(Step.ASK, group_id)


def withdraw(reference: KeyPackageRef) -> Task:
    return Task(Step.WITHDRAW, reference)


def refuses(act: Callable[[], Rejoin]) -> None:
    with pytest.raises(CallerError):
        act()


def test_the_order() -> None:
    progress = begin(ROLL, approval=Approval.NONE)
    assert progress.todo == (CREDENTIAL,)
    refuses(progress.entered)
    progress = again(progress.granted())
    assert progress.todo == (ENTER,)
    refuses(progress.granted)
    refuses(progress.uploaded_new)
    progress = again(progress.entered())
    assert progress.todo == (*sorted([withdraw(P), withdraw(Q)]), UPLOAD, join(FIRST), join(SECOND))
    progress = again(progress.withdrawn(P, Withdrawal.ANNOUNCED).withdrawn(P, Withdrawal.UNPUBLISHED))
    progress = again(progress.joined(SECOND).uploaded_new())
    assert progress.todo == (withdraw(Q), join(FIRST))
    refuses(progress.uploaded_new)
    refuses(lambda: progress.withdrawn(P, Withdrawal.BOTH))
    refuses(lambda: progress.joined(SECOND))
    assert not progress.complete
    assert again(progress.withdrawn(Q, Withdrawal.BOTH).joined(FIRST)).complete


def test_a_grant_is_for_one_try() -> None:
    progress = begin(ROLL, approval=Approval.NONE).granted().failed(ENTER)
    assert progress.todo == (CREDENTIAL,)
    assert again(progress).attempts(ENTER) == 1
    assert progress.failed(CREDENTIAL).todo == (CREDENTIAL,)
    refuses(lambda: progress.failed(ENTER))


def test_the_user_is_asked() -> None:
    progress = inside(Approval.ALL)
    assert progress.todo[-2:] == (ask(FIRST), ask(SECOND))
    refuses(lambda: progress.joined(FIRST))
    refuses(lambda: progress.failed(join(FIRST)))
    progress = again(progress.decided(FIRST, join=True).decided(SECOND, join=False))
    assert progress.todo[-1:] == (join(FIRST),)
    assert progress.decided(SECOND, join=True).todo[-2:] == (join(FIRST), join(SECOND))
    assert progress.decided(FIRST, join=False).todo[-1:] == (UPLOAD,)
    done = progress.joined(FIRST)
    refuses(lambda: done.decided(FIRST, join=False))
    refuses(lambda: done.decided(GroupId(b"unheard of"), join=True))
    refuses(lambda: done.decided(SECOND, join=False))


def test_a_decision_can_be_made_at_any_time() -> None:
    progress = begin(ROLL, approval=Approval.ALL).decided(FIRST, join=True).granted().entered()
    assert progress.todo[-2:] == (ask(SECOND), join(FIRST))


@pytest.mark.parametrize("approval", Approval)
def test_welcomes_that_nobody_can_open(approval: Approval) -> None:
    progress = inside(approval).discarded([b"one", b"two", b"three"])
    locate = [Task(Step.LOCATE, name) for name in (b"one", b"three", b"two")]
    assert [task for task in progress.todo if task.step is Step.LOCATE] == locate
    assert progress.discarded([b"one"]) == progress
    progress = again(progress.located(b"one", NEW).located(b"two", FIRST).given_up(b"three"))
    assert Step.LOCATE not in {task.step for task in progress.todo}
    asked = approval is not Approval.NONE
    assert (ask(NEW) in progress.todo, join(NEW) in progress.todo) == (asked, not asked)
    assert progress.conversations[FIRST] == inside(approval).conversations[FIRST]
    assert progress.discarded([b"one"]) == progress
    refuses(lambda: progress.located(b"one", NEW))
    refuses(lambda: progress.given_up(b"three"))
    assert inside(approval).found([NEW]).conversations[NEW].source is Source.ROLL
    assert progress.found([NEW]) == progress


def test_tries_that_fail() -> None:
    progress = inside().failed(join(FIRST)).failed(join(FIRST)).failed(withdraw(P)).failed(UPLOAD)
    assert progress.todo == inside().todo
    assert again(progress).conversations[FIRST].state is State.FAILED
    counts = [progress.attempts(task) for task in (join(FIRST), join(SECOND), withdraw(P), UPLOAD)]
    assert counts == [2, 0, 1, 1]
    assert progress.decided(FIRST, join=False).todo == (*inside().todo[:-2], join(SECOND))
    assert progress.joined(FIRST).todo == (*inside().todo[:-2], join(SECOND))
    refuses(lambda: progress.failed(join(NEW)))
    last = replace(progress, tries={join(FIRST): 0xFFFF_FFFF})
    assert again(last.failed(join(FIRST))).attempts(join(FIRST)) == 0xFFFF_FFFF


def test_commits_that_lose() -> None:
    progress = inside().joined(FIRST).uploaded_new().withdrawn(P, Withdrawal.BOTH).decided(SECOND, join=False)
    assert progress.left_behind(FIRST).todo == (withdraw(Q), join(FIRST))
    refuses(lambda: progress.left_behind(SECOND))
    lost = again(progress.lost())
    assert lost.todo == (CREDENTIAL,)
    assert lost.packages == {P: Withdrawal.UNPUBLISHED, Q: Withdrawal.NOTHING}
    assert lost.granted().entered().todo == (*sorted([withdraw(P), withdraw(Q)]), UPLOAD, join(FIRST))
    told = lost.granted().entered().withdrawn(P, Withdrawal.ANNOUNCED)
    assert told.todo == (withdraw(Q), UPLOAD, join(FIRST))
    refuses(lost.lost)
    refuses(begin(ROLL, approval=Approval.NONE).granted().lost)


def test_the_table_is_all_that_can_happen() -> None:
    for state in State:
        for event in Input:
            progress = replace(inside(), conversations={FIRST: Conversation(Source.ROLL, state)})
            acts: dict[Input, Callable[[], Rejoin]] = {
                Input.APPROVE: lambda: progress.decided(FIRST, join=True),  # noqa: B023 - called in this round
                Input.DECLINE: lambda: progress.decided(FIRST, join=False),  # noqa: B023 - the same
                Input.JOIN: lambda: progress.joined(FIRST),  # noqa: B023 - the same
                Input.FAIL: lambda: progress.failed(join(FIRST)),  # noqa: B023 - the same
                Input.LOSE: lambda: progress.left_behind(FIRST),  # noqa: B023 - the same
            }
            following = TRANSITIONS.get((state, event))
            if following is None:
                refuses(acts[event])
            else:
                assert acts[event]().conversations[FIRST].state is following
    reached = {State.WAITING, *TRANSITIONS.values()}
    assert reached == set(State)


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_ENTRIES", 2)
    progress = inside()
    with pytest.raises(LimitError, match="at most 2"):
        progress.found([NEW])
    with pytest.raises(LimitError, match="at most 2"):
        progress.discarded([b"1", b"2", b"3"])


def test_damage_in_the_file() -> None:
    stored = inside(Approval.ALL).discarded([b"one"]).failed(UPLOAD).encode()
    with pytest.raises(CallerError, match="version"):
        Rejoin.decode(b"\x02" + stored[1:])
    for damaged in (
        b"",
        b"\x01",
        stored[:-1],
        stored + b"\x00",
        b"\x01\x09" + stored[2:],
        stored[:3] + b"\x02" + stored[4:],
    ):
        refuses(lambda: Rejoin.decode(damaged))  # noqa: B023 - called in this round
    swapped = replace(inside(), packages=dict(reversed([*inside().packages.items()])))
    assert again(swapped) == inside()


@pytest.mark.slow
@given(changes=st.lists(mutations, max_size=4), noise=st.none() | st.binary())
def test_a_damaged_file_is_refused_or_read_whole(changes: list[Mutation], noise: bytes | None) -> None:
    stored = inside(Approval.ALL).discarded([b"one"]).failed(UPLOAD).encode()
    hostile = mutated(stored, changes) if noise is None else noise
    try:
        found = Rejoin.decode(hostile)
    except CallerError:
        return
    assert found.encode() == hostile


class Rejoining(RuleBasedStateMachine):
    """Tasks done and failed in any order, decisions, losses and restarts; what was done is what is remembered."""

    @initialize(approval=st.sampled_from(Approval))
    def start(self, approval: Approval) -> None:
        self.progress = begin(ROLL, approval=approval)
        self.approval = approval
        self.credential = self.inside = self.uploaded = False
        self.withdrawn: dict[KeyPackageRef, Withdrawal] = dict.fromkeys(ROLL.references, Withdrawal.NOTHING)
        self.joined: set[GroupId] = set()
        self.approved: set[GroupId] = set()
        self.declined: set[GroupId] = set()
        self.welcomes = 0

    def task(self, pick: int) -> Task | None:
        todo = self.progress.todo
        return todo[pick % len(todo)] if todo else None

    @rule(pick=st.integers(0, 99))
    def do(self, pick: int) -> None:
        task, progress = self.task(pick), self.progress
        if task is None:
            return
        group_id = GroupId(task.name)
        match task.step:
            case Step.CREDENTIAL:
                self.progress, self.credential = progress.granted(), True
            case Step.ENTER:
                self.progress, self.inside = progress.entered(), True
            case Step.WITHDRAW:
                reference, how = KeyPackageRef(group_id), Withdrawal(pick % 4)
                self.withdrawn[reference] |= how
                self.progress = progress.withdrawn(reference, how)
            case Step.UPLOAD:
                self.progress, self.uploaded = progress.uploaded_new(), True
            case Step.LOCATE if pick % 3:
                self.progress = progress.located(group_id, [NEW, FIRST][pick % 2])
            case Step.LOCATE:
                self.progress = progress.given_up(group_id)
            case Step.ASK:
                yes = bool(pick % 4)
                (self.approved if yes else self.declined).add(group_id)
                self.progress = progress.decided(group_id, join=yes)
            case Step.JOIN:
                self.joined.add(group_id)
                self.progress = progress.joined(group_id)

    @rule(pick=st.integers(0, 99))
    def fail(self, pick: int) -> None:
        task = self.task(pick)
        if task:
            before = self.progress.attempts(task)
            self.progress = self.progress.failed(task)
            assert self.progress.attempts(task) == before + 1
            if task.step is Step.ENTER:
                self.credential = False

    @rule()
    def discard(self) -> None:
        if self.welcomes < 3:
            self.welcomes += 1
            self.progress = self.progress.discarded([b"welcome %d" % self.welcomes])

    @precondition(lambda self: self.inside)
    @rule()
    def lose(self) -> None:
        self.progress = self.progress.lost()
        self.credential = self.inside = self.uploaded = False
        self.withdrawn = {reference: how & Withdrawal.UNPUBLISHED for reference, how in self.withdrawn.items()}
        self.joined.clear()

    @precondition(lambda self: self.joined)
    @rule()
    def lose_conversation(self) -> None:
        group_id = min(self.joined)
        self.joined.remove(group_id)
        self.progress = self.progress.left_behind(group_id)

    @rule()
    def restart(self) -> None:
        self.progress = again(self.progress)

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        progress, steps = self.progress, {task.step for task in self.progress.todo}
        assert again(progress) == progress
        assert (progress.entering is Entering.INSIDE) is self.inside
        assert (steps == {Step.CREDENTIAL}) is (not self.credential)
        assert (steps == {Step.ENTER}) is (self.credential and not self.inside)
        assert (progress.packages, progress.uploaded) == (self.withdrawn, self.uploaded)
        states = {group_id: each.state for group_id, each in progress.conversations.items()}
        assert {group_id for group_id, state in states.items() if state is State.JOINED} == self.joined
        assert {group_id for group_id, state in states.items() if state is State.DECLINED} == self.declined
        for group_id, each in progress.conversations.items():
            must_ask = self.approval >= (Approval.ALL if each.source is Source.ROLL else Approval.WELCOMES)
            if must_ask and group_id not in self.approved | self.declined:
                assert each.state is State.WAITING

    def teardown(self) -> None:
        """Whoever does what is due comes to an end, with everything joined or declined."""
        for _ in range(40):
            self.do(23)  # one way to choose at every step that makes progress
        assert self.progress.complete
        self.nothing_is_out_of_order()
        assert self.inside
        assert self.uploaded
        assert all(how is Withdrawal.BOTH for how in self.withdrawn.values())
        assert self.joined | self.declined == set(self.progress.conversations)


@pytest.mark.slow
def test_rejoins_at_random() -> None:
    run_state_machine_as_test(Rejoining, settings=settings(max_examples=150, stateful_step_count=40))
