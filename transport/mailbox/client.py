"""The other end of a mailbox's questions.

Each call is one question to one mailbox, answered within `within` seconds or failed: `Declined` is the mailbox's
answer, from a closed list; `base.AskFailed` means that there was none, and that the request may have been done
or not. All of them may be repeated: keeping, releasing, deleting, putting and depositing twice is the same as
once. `take` repeats itself once with the same id, since a package whose answer is lost is lost.

What a mailbox says is believed only where it can be checked: a slot by its signature and name. That it lists the
newest version, or any, or has handed out a package only once, cannot be; see docs/mailbox.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import trio

from transport.base import MAX_ASK, AskFailed, FrameId, Milliseconds, PeerId, Sealing, TopicId, TransportError
from transport.mailbox.bodies import (
    MOST_DEPOSITS,
    MOST_IDS,
    AskHandouts,
    AskStatus,
    AskTopics,
    Body,
    Delete,
    Deposit,
    Deposited,
    Get,
    Keep,
    Malformed,
    Package,
    PackageId,
    Put,
    RaiseFloor,
    Recall,
    Release,
    Take,
    Withdraw,
)
from transport.mailbox.records import Slot, SlotName, open_slot
from transport.mailbox.wire import (
    PROTOCOL,
    Failure,
    HandoutRow,
    Request,
    RequestId,
    Status,
    TopicRow,
    decode_answer,
    decode_rows,
    encode_request,
)

R = TypeVar("R", Status, TopicRow, HandoutRow)

_FIRST: Final = TopicId(bytes(32))
_DEPOSIT_BYTES: Final = MAX_ASK - 1024


class Declined(TransportError):
    """The mailbox did not do it. `failure` says why; `detail` is the number that belongs to it (`wire.Failure`)."""

    def __init__(self, failure: Failure, detail: int = 0) -> None:
        super().__init__(f"{failure.name.lower().replace('_', ' ')} ({detail})")
        self.failure = failure
        self.detail = detail


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A key package; `last_resort`: others were given the same."""

    data: bytes = field(repr=False)
    last_resort: bool


class Asks(Protocol):
    """What of a mesh is needed here."""

    @property
    def me(self) -> PeerId: ...
    async def ask(self, peer: PeerId, protocol: str, question: bytes, *, within: float) -> bytes: ...


class MailboxClient:
    """Asks one mailbox, as a tenant if there is a key. Calls may run at the same time."""

    def __init__(
        self,
        mesh: Asks,
        peer: PeerId,
        tenant: Sealing | None = None,
        *,
        now_ms: Callable[[], Milliseconds],
        random_bytes: Callable[[int], bytes],
        within: float = 30.0,
    ) -> None:
        """`within`: seconds that one call may take."""
        self._mesh = mesh
        self._peer = peer
        self._tenant = tenant
        self._now_ms = now_ms
        self._random_bytes = random_bytes
        self._within = within

    # ------------------------------------------------------------ topics

    async def keep(self, topic: TopicId, credential: bytes) -> None:
        """Have a topic kept; `credential`: a token of it for the mailbox's peer id, to read and write."""
        await self._ask(Keep(topic=topic, credential=credential))

    async def release(self, topic: TopicId) -> None:
        await self._ask(Release(topic=topic))

    async def raise_floor(self, record: bytes) -> None:
        """Void the tokens of earlier generations: see `access.raise_floor`."""
        await self._ask(RaiseFloor(record=record))

    async def delete(self, topic: TopicId, credential: bytes, ids: Sequence[FrameId] | None = None) -> int:
        """Have these frames forgotten, at most 4096, or with None all there are; how many there were."""
        if ids is not None and not 0 < len(ids) <= MOST_IDS:
            raise ValueError(f"1 to {MOST_IDS} frames, or None for all")
        body = Delete(topic=topic, credential=credential, ids=tuple(ids or ()))
        return _number(await self._ask(body))

    # ------------------------------------------------------------ slots

    async def put_slot(self, record: bytes) -> None:
        """Write a version of a slot: see `records.seal_slot`."""
        await self._ask(Put(record=record))

    async def get_slot(self, name: SlotName, *, after: int = 0, credential: bytes = b"") -> Slot | None:
        """The newest version that this mailbox has; None if that is not newer than `after`."""
        body = await self._ask(Get(name=name, after=after, credential=credential))
        if not body:
            return None
        slot = open_slot(body)
        if slot is None or slot.name != name or slot.number <= after:
            raise AskFailed("the mailbox answered with something that is not this slot")
        return slot

    # ------------------------------------------------------------ key packages

    async def deposit(self, packages: Sequence[Package]) -> list[Deposited]:
        """Have these handed out, in as many questions as it takes; what became of each."""
        outcomes: list[Deposited] = []
        for batch in _batches(packages):
            body = await self._ask(Deposit(packages=batch))
            try:
                outcomes += [Deposited(one) for one in body]
            except ValueError as error:
                raise AskFailed("the mailbox answered with something else") from error
            if len(body) != len(batch):
                raise AskFailed("the mailbox answered for something else")
        return outcomes

    async def withdraw(self, ids: Sequence[PackageId] | None = None) -> int:
        """Have these handed out no more, or with None none at all; how many were waiting."""
        if ids is not None and not 0 < len(ids) <= MOST_IDS:
            raise ValueError(f"1 to {MOST_IDS} packages, or None for all")
        return _number(await self._ask(Withdraw(ids=tuple(ids or ()))))

    async def recall(self, generation: int) -> None:
        """Void the hand-out capabilities of earlier generations."""
        await self._ask(Recall(generation=generation))

    async def take(self, tenant: bytes, grant: bytes = b"") -> Taken:
        """One package of a tenant; without a hand-out capability, as a stranger."""
        request_id = RequestId(self._random_bytes(16))
        body = Take(tenant=tenant, grant=grant)
        until = trio.current_time() + self._within
        try:
            answer = await self._ask(body, request_id=request_id, within=self._within / 2)
        except AskFailed:
            answer = await self._ask(body, request_id=request_id, within=max(until - trio.current_time(), 0.1))
        if answer[:1] not in (b"\0", b"\1") or len(answer) < 2:
            raise AskFailed("the mailbox answered with something that is not a package")
        return Taken(data=answer[1:], last_resort=answer[0] == 1)

    # ------------------------------------------------------------ what there is

    async def status(self) -> Status:
        rows = _rows(Status, await self._ask(AskStatus()))
        if len(rows) != 1:
            raise AskFailed("the mailbox answered with something else")
        return rows[0]

    async def topics(self, after: TopicId = _FIRST) -> list[TopicRow]:
        """As many of the tenant's topics as fit an answer, after this one; none when there are no more."""
        return _rows(TopicRow, await self._ask(AskTopics(after=after)))

    async def handouts(self, after: int = 0) -> list[HandoutRow]:
        """As many lines of who was given what as fit an answer, after this number."""
        return _rows(HandoutRow, await self._ask(AskHandouts(after=after)))

    # ------------------------------------------------------------ asking

    async def _ask(self, body: Body, *, request_id: RequestId | None = None, within: float | None = None) -> bytes:
        request = Request(id=request_id or RequestId(self._random_bytes(16)), body=body, sent=self._now_ms())
        question = encode_request(request, self._mesh.me, self._peer, self._tenant)
        encoded = await self._mesh.ask(self._peer, PROTOCOL, question, within=within or self._within)
        try:
            answer = decode_answer(encoded, request.id)
        except Malformed as error:
            raise AskFailed(f"the mailbox answered with junk: {error}") from error
        if answer.failure is not Failure.NONE:
            raise Declined(answer.failure, answer.detail)
        return answer.body


def _number(body: bytes) -> int:
    if len(body) != 4:
        raise AskFailed("the mailbox answered with something else")
    return int.from_bytes(body)


def _rows(kind: type[R], body: bytes) -> list[R]:
    try:
        return decode_rows(kind, body)
    except Malformed as error:
        raise AskFailed("the mailbox answered with something else") from error


def _batches(packages: Sequence[Package]) -> list[tuple[Package, ...]]:
    """As few questions as fit."""
    batches: list[list[Package]] = []
    size = 0
    for package in packages:
        more = len(package.data) + 16
        if not batches or len(batches[-1]) == MOST_DEPOSITS or size + more > _DEPOSIT_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(package)
        size += more
    return [tuple(batch) for batch in batches]
