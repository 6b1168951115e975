"""draft-ietf-mls-virtual-clients §5.2: coming back from outside, as a procedure whose progress is a value.

A device that has nothing but the account's recovery keys, and a roll (`mls.virtual.recovery`), brings the virtual
client to life again, in the draft's order. `Rejoin` says what may be done now (`todo`); the caller does it and says how
it went. Whatever is said that is not due is refused.

1. CREDENTIAL: a fresh credential that the other devices will accept, and the grant to join.
2. ENTER: an external commit to the emulation group, adopted. A grant is for one epoch, so a try that fails takes one
   back to the first step.
3. WITHDRAW every KeyPackage of before, whose secrets are gone with the other devices, and UPLOAD new ones. One is not
   made to wait for the other: an old one that is still out makes somebody send a Welcome that nobody can open, and
   harms nobody otherwise.
4. JOIN every conversation by an external commit that removes the virtual client's old leaf.

Welcomes that nobody took up are discarded, as the keys that would open them are lost. What group one was for, it does
not say, so somebody has to be asked (LOCATE: the sender, or the members of other conversations); then that group is
joined from outside like all others.

A Welcome is an invitation by somebody, and nobody here has accepted it. So policy may put a conversation before the
user first (ASK): those of Welcomes, or all. A conversation goes through the states of this table; what is not in it
cannot happen.

Everything after the second step rests on the external commit. If that loses to what another device did meanwhile, all
of it is due again, except for what was decided, and what is not published any more: that a KeyPackage is withdrawn was
announced where others never were. Nobody else need be online for anything here, and so nothing waits for finality.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple, TypeVar

from mls.codec import Reader, decode_exactly, opaque, optional, u8, u32, vector
from mls.errors import CallerError, LimitError, PeerError
from mls.registries import GroupId, KeyPackageRef
from mls.virtual.recovery import Roll
from mls.virtual.removal import Withdrawal

VERSION = 1
MAX_ENTRIES = 1 << 15
_MAX_COUNT = 0xFFFF_FFFF

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Step(IntEnum):
    """What there is to do."""

    CREDENTIAL = 1
    ENTER = 2
    WITHDRAW = 3
    UPLOAD = 4
    LOCATE = 5
    ASK = 6
    JOIN = 7


class Task(NamedTuple):
    """One thing to do: a step, and what it is done to if there are many of it."""

    step: Step
    name: bytes = b""
    """The KeyPackage's reference, the Welcome's hash, or the conversation's group id."""


class Approval(IntEnum):
    """Which conversations the user is asked about before they are joined."""

    NONE = 0
    WELCOMES = 1
    """Those that a discarded Welcome was for."""
    ALL = 2


class Source(IntEnum):
    """How we know of a conversation."""

    ROLL = 1
    WELCOME = 2


class State(IntEnum):
    """Of a conversation."""

    WAITING = 1
    """For the user to decide."""
    APPROVED = 2
    FAILED = 3
    """Approved, and the last try to join did not work: to be tried again."""
    DECLINED = 4
    JOINED = 5


class Input(IntEnum):
    """What can happen to a conversation."""

    APPROVE = 1
    DECLINE = 2
    JOIN = 3
    FAIL = 4
    LOSE = 5
    """What it was joined by does not stand: its commit lost, or the one that we came into the emulation group by."""


TRANSITIONS: Mapping[tuple[State, Input], State] = {
    (State.WAITING, Input.APPROVE): State.APPROVED,
    (State.WAITING, Input.DECLINE): State.DECLINED,
    (State.APPROVED, Input.DECLINE): State.DECLINED,
    (State.APPROVED, Input.JOIN): State.JOINED,
    (State.APPROVED, Input.FAIL): State.FAILED,
    (State.FAILED, Input.DECLINE): State.DECLINED,
    (State.FAILED, Input.JOIN): State.JOINED,
    (State.FAILED, Input.FAIL): State.FAILED,
    (State.DECLINED, Input.APPROVE): State.APPROVED,
    (State.JOINED, Input.LOSE): State.APPROVED,
}


class Entering(IntEnum):
    """How far we are into the emulation group."""

    OUTSIDE = 1
    GRANTED = 2
    INSIDE = 3


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation to be joined, and how that goes."""

    source: Source
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejoin:
    """How far coming back is. See `begin`."""

    approval: Approval
    entering: Entering = Entering.OUTSIDE
    packages: Mapping[KeyPackageRef, Withdrawal]
    uploaded: bool = False
    welcomes: Mapping[bytes, GroupId | None] = field(default_factory=dict)
    """Discarded Welcomes whose group is looked for (None) or was found; by the Welcome's hash."""
    conversations: Mapping[GroupId, Conversation]
    tries: Mapping[Task, int] = field(default_factory=dict)
    """How often a task failed."""

    def __post_init__(self) -> None:
        for each in (self.packages, self.welcomes, self.conversations, self.tries):
            if len(each) > MAX_ENTRIES:
                raise LimitError(f"a rejoin keeps at most {MAX_ENTRIES} of these; {len(each)} were given")

    # What there is to do

    @property
    def todo(self) -> tuple[Task, ...]:
        """All that may be done now, in the order of the steps."""
        if self.entering is Entering.OUTSIDE:
            return (Task(Step.CREDENTIAL),)
        if self.entering is Entering.GRANTED:
            return (Task(Step.ENTER),)
        tasks = [Task(Step.WITHDRAW, each) for each, how in self.packages.items() if how != Withdrawal.BOTH]
        tasks += [Task(Step.LOCATE, each) for each, group_id in self.welcomes.items() if group_id is None]
        if not self.uploaded:
            tasks.append(Task(Step.UPLOAD))
        for group_id, conversation in self.conversations.items():
            step = _STEPS.get(conversation.state)
            if step is not None:
                tasks.append(Task(step, group_id))
        return tuple(sorted(tasks))

    @property
    def complete(self) -> bool:
        """Whether nothing is left: all is joined or declined, and people find new KeyPackages."""
        return not self.todo

    def attempts(self, task: Task) -> int:
        return self.tries.get(task, 0)

    def _due(self, step: Step, name: bytes = b"") -> Task:
        task = Task(step, name)
        if task not in self.todo:
            raise CallerError(f"{step.name} is not due, or not for this", "do what `todo` says")
        return task

    # What was done

    def granted(self) -> Rejoin:
        """We have a fresh credential and a grant for the emulation group's present epoch."""
        self._due(Step.CREDENTIAL)
        return replace(self, entering=Entering.GRANTED)

    def entered(self) -> Rejoin:
        """Our external commit to the emulation group is adopted."""
        self._due(Step.ENTER)
        return replace(self, entering=Entering.INSIDE)

    def withdrawn(self, reference: KeyPackageRef, how: Withdrawal) -> Rejoin:
        """A KeyPackage was taken back from where it was published, or announced in the emulation group as withdrawn."""
        self._due(Step.WITHDRAW, reference)
        return replace(self, packages={**self.packages, reference: self.packages[reference] | how})

    def uploaded_new(self) -> Rejoin:
        """New KeyPackages, made in the emulation group that we entered, are announced and published."""
        self._due(Step.UPLOAD)
        return replace(self, uploaded=True)

    def located(self, welcome: bytes, group_id: GroupId) -> Rejoin:
        """A discarded Welcome was for that conversation, which is queued unless it is already."""
        self._due(Step.LOCATE, welcome)
        queued = self._with([group_id], Source.WELCOME)
        return replace(queued, welcomes={**self.welcomes, welcome: group_id})

    def given_up(self, welcome: bytes) -> Rejoin:
        """Nobody says what a discarded Welcome was for."""
        self._due(Step.LOCATE, welcome)
        return replace(self, welcomes={name: found for name, found in self.welcomes.items() if name != welcome})

    def decided(self, group_id: GroupId, *, join: bool) -> Rejoin:
        """The user's decision; a later one may be another as long as nothing was joined."""
        return self._moved(group_id, Input.APPROVE if join else Input.DECLINE)

    def joined(self, group_id: GroupId) -> Rejoin:
        """Our external commit to that conversation is adopted."""
        self._due(Step.JOIN, group_id)
        return self._moved(group_id, Input.JOIN)

    def failed(self, task: Task) -> Rejoin:
        """It did not work, and is still to do; entering begins anew with another grant."""
        self._due(task.step, task.name)
        tries = {**self.tries, task: min(self.attempts(task) + 1, _MAX_COUNT)}
        if task.step is Step.ENTER:
            return replace(self, tries=tries, entering=Entering.OUTSIDE)
        moved = self._moved(GroupId(task.name), Input.FAIL) if task.step is Step.JOIN else self
        return replace(moved, tries=tries)

    # What happened

    def lost(self) -> Rejoin:
        """Our commit to the emulation group lost to another one, and all that was made after it is worth nothing."""
        if self.entering is not Entering.INSIDE:
            raise CallerError("the emulation group was not entered", "there is nothing to lose")
        again = {
            group_id: replace(each, state=TRANSITIONS.get((each.state, Input.LOSE), each.state))
            for group_id, each in self.conversations.items()
        }
        packages = {reference: how & Withdrawal.UNPUBLISHED for reference, how in self.packages.items()}
        return replace(self, entering=Entering.OUTSIDE, packages=packages, uploaded=False, conversations=again)

    def left_behind(self, group_id: GroupId) -> Rejoin:
        """Our commit to that conversation lost to another one."""
        return self._moved(group_id, Input.LOSE)

    def found(self, group_ids: Iterable[GroupId]) -> Rejoin:
        """Conversations that the roll did not have."""
        return self._with(group_ids, Source.ROLL)

    def discarded(self, welcomes: Iterable[bytes]) -> Rejoin:
        """Welcomes, by their hash, that were waiting and that nobody can open any more."""
        return replace(self, welcomes={**dict.fromkeys(welcomes), **self.welcomes})

    def _with(self, group_ids: Iterable[GroupId], source: Source) -> Rejoin:
        new = {group_id: Conversation(source, _first(self.approval, source)) for group_id in group_ids}
        return replace(self, conversations={**new, **self.conversations})

    def _moved(self, group_id: GroupId, event: Input) -> Rejoin:
        conversation = self.conversations.get(group_id)
        if conversation is None:
            raise CallerError("this conversation is not among those to join", "tell of it with `found`")
        state = TRANSITIONS.get((conversation.state, event))
        if state is None:
            raise CallerError(f"a conversation that is {conversation.state.name} does not {event.name}")
        return replace(self, conversations={**self.conversations, group_id: replace(conversation, state=state)})

    # Storage

    def encode(self) -> bytes:
        """For our own storage. Nothing of it is secret."""
        return b"".join(
            [
                u8(VERSION) + u8(self.approval) + u8(self.entering) + u8(self.uploaded),
                vector([opaque(each) + u8(self.packages[each]) for each in sorted(self.packages)]),
                vector([opaque(each) + _encode_found(self.welcomes[each]) for each in sorted(self.welcomes)]),
                vector(
                    [
                        opaque(each) + u8(self.conversations[each].source) + u8(self.conversations[each].state)
                        for each in sorted(self.conversations)
                    ]
                ),
                vector([u8(each.step) + opaque(each.name) + u32(self.tries[each]) for each in sorted(self.tries)]),
            ]
        )

    @classmethod
    def decode(cls, data: bytes) -> Rejoin:
        """What `encode` made; from our own storage, so anything else is damage."""
        try:
            rejoin = decode_exactly(data, _decode)
        except (PeerError, ValueError):
            raise _damaged() from None
        if rejoin.encode() != data:
            raise _damaged()
        return rejoin


_STEPS: Mapping[State, Step] = {State.WAITING: Step.ASK, State.APPROVED: Step.JOIN, State.FAILED: Step.JOIN}


def begin(roll: Roll, *, approval: Approval) -> Rejoin:
    """Coming back to what the roll lists, decided and not begun."""
    start = Rejoin(approval=approval, packages=dict.fromkeys(roll.references, Withdrawal.NOTHING), conversations={})
    return start.found([entry.group_id for entry in roll.conversations])


def _first(approval: Approval, source: Source) -> State:
    asks = approval is Approval.ALL or (approval is Approval.WELCOMES and source is Source.WELCOME)
    return State.WAITING if asks else State.APPROVED


def _encode_found(group_id: GroupId | None) -> bytes:
    return optional(None if group_id is None else opaque(group_id))


def _decode(reader: Reader) -> Rejoin:
    if reader.u8() != VERSION:
        raise CallerError("the stored rejoin is of another version", "use the program that wrote it")
    return Rejoin(
        approval=Approval(reader.u8()),
        entering=Entering(reader.u8()),
        uploaded=bool(reader.u8()),
        packages=_table(reader, lambda r: KeyPackageRef(r.opaque()), lambda r: Withdrawal(r.u8())),
        welcomes=_table(reader, Reader.opaque, lambda r: r.optional(lambda each: GroupId(each.opaque()))),
        conversations=_table(
            reader, lambda r: GroupId(r.opaque()), lambda r: Conversation(Source(r.u8()), State(r.u8()))
        ),
        tries=_table(reader, lambda r: Task(Step(r.u8()), r.opaque()), Reader.u32),
    )


def _table(reader: Reader, name: Callable[[Reader], K], value: Callable[[Reader], T]) -> dict[K, T]:
    return dict(reader.vector(lambda r: (name(r), value(r))))


def _damaged() -> CallerError:
    return CallerError("the stored rejoin is damaged", "begin again with a roll")
