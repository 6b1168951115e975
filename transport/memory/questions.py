"""Questions under way: who asked whom over which connection, and until when an answer counts.

A question ends once: by an answer, a refusal, its deadline, the end of its connection, or because its asker no
longer waits. What comes for it later finds nothing.
"""

from __future__ import annotations

import random

from transport.memory.events import Events
from transport.memory.values import Answered, Asked, Failed, Failure, Happening, QuestionId
from transport.memory.wire import Node, Pair, Way


class Question:
    """One question, or one reconciliation that somebody waits for."""

    __slots__ = ("deadline", "id", "way")

    def __init__(self, number: QuestionId, way: Way, deadline: int) -> None:
        self.id = number
        self.way = way
        self.deadline = deadline

    @property
    def asker(self) -> Node:
        return self.way.source


class Questions:
    """All that are under way. Each has a deadline, so there are as many as callers asked meanwhile."""

    def __init__(self, events: Events, rng: random.Random) -> None:
        self._events, self._rng = events, rng
        self._open: dict[QuestionId, Question] = {}
        self._made = 0

    def begin(self, node: Node, way: Way | None, within: int) -> QuestionId:
        """A number, and a deadline; without a live link it has failed already."""
        self._made += 1
        number = QuestionId(self._made)
        if way is None or not way.pair.live:
            self._events.emit(Failed(node=node.id, question=number, failure=Failure.AWAY))
        else:
            deadline = self._events.now + within
            self._open[number] = Question(number, way, deadline)
            self._events.at(deadline, self.fail, number, Failure.SLOW)
        return number

    def find(self, number: QuestionId) -> Question | None:
        return self._open.get(number)

    def ask(self, number: QuestionId, protocol: str, body: bytes) -> None:
        question = self._open.get(number)
        if question is not None:
            at = question.way.stream(self._events.now, len(body), self._rng)
            self._events.at(at, self._asked, number, protocol, body)

    def answer(self, number: QuestionId, body: bytes) -> None:
        question = self._open.get(number)
        if question is not None:
            at = question.way.back().stream(self._events.now, len(body), self._rng)
            self._events.at(at, self.finish, number, Answered(node=question.asker.id, question=number, body=body))

    def refuse(self, number: QuestionId) -> None:
        question = self._open.get(number)
        if question is not None:
            at = question.way.back().stream(self._events.now, 1, self._rng)
            self._events.at(at, self.fail, number, Failure.REFUSED)

    def finish(self, number: QuestionId, happening: Happening) -> None:
        if self._open.pop(number, None) is not None:
            self._events.emit(happening)

    def fail(self, number: QuestionId, failure: Failure) -> None:
        question = self._open.pop(number, None)
        if question is not None:
            self._events.emit(Failed(node=question.asker.id, question=number, failure=failure))

    def withdraw(self, number: QuestionId) -> None:
        self._open.pop(number, None)

    def disconnected(self, pair: Pair) -> None:
        """Fail those on a connection that ended, in the order in which they were asked."""
        for number in [question.id for question in self._open.values() if question.way.pair is pair]:
            self.fail(number, Failure.AWAY)

    def _asked(self, number: QuestionId, protocol: str, body: bytes) -> None:
        question = self._open.get(number)
        if question is not None:
            self._events.emit(
                Asked(
                    node=question.way.target.id,
                    question=number,
                    source=question.asker.id,
                    protocol=protocol,
                    body=body,
                    deadline=question.deadline,
                )
            )
