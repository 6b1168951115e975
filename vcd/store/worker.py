"""Threads that SQLite runs in, and how trio's tasks wait for them.

SQLite blocks, so it has threads of its own: one that writes and one that reads, each with its own connection. A thread
takes all jobs that wait and does them in one go; while it does, the next ones gather. So the more tasks wait for a
commit, the more of them share one, and nobody waits for a timer.

A job that was handed in is done, whatever becomes of the task that waits for it: with `keep`, that task cannot be
cancelled meanwhile, so it always learns whether something was stored. There are as many jobs as tasks that wait for
them, so the queue has no bound of its own.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

import trio

from vcd.store.trouble import StoreTrouble, Trouble

__all__ = ["Job", "Room", "Worker"]

T = TypeVar("T")
R = TypeVar("R")


class Job(Generic[R, T]):
    """One thing to do with a room, and what came of it."""

    __slots__ = ("dropped", "ended", "error", "result", "work")

    def __init__(self, work: Callable[[R], T]) -> None:
        self.work = work
        self.result: T | None = None
        self.error: BaseException | None = None
        self.ended = trio.Event()
        self.dropped = False


class Room(Protocol):
    """What a thread has: everything of it is made, used and closed in that thread."""

    def do(self, jobs: Sequence[Job[Any, Any]]) -> None:
        """Do all of these, and set what came of each."""
        ...

    def due(self) -> float | None:
        """When `idle` wants to be called, by `time.monotonic`."""
        ...

    def idle(self) -> None: ...

    def close(self) -> None: ...


class Worker(Generic[R]):
    """A thread with a room. `most` jobs at a time."""

    def __init__(self, name: str, make: Callable[[], R], *, most: int = 1) -> None:
        self._name = name
        self._make = make
        self._most = most
        self._jobs: queue.SimpleQueue[Job[R, Any] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._token = trio.lowlevel.current_trio_token()
        self._opened: Job[R, None] = Job(lambda _: None)

    async def start(self) -> None:
        """Make the room; what that raises comes from here."""
        # A daemon, so that a program that ends in some unforeseen way does end: a commit cut short is a power cut.
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        with trio.CancelScope(shield=True):
            await self._opened.ended.wait()
        if self._opened.error is not None:
            self._thread = None
            raise self._opened.error

    async def run(self, work: Callable[[R], T], *, keep: bool) -> T:
        """Do this in the thread, as soon as it can."""
        if self._thread is None:
            raise StoreTrouble(Trouble.CLOSED, "the store is closed")
        job: Job[R, T] = Job(work)
        self._jobs.put(job)
        try:
            with trio.CancelScope(shield=keep):
                await job.ended.wait()
        finally:
            job.dropped = not job.ended.is_set()
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]  # it is set where there is no error

    async def close(self) -> None:
        """After what waits now."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._jobs.put(None)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(thread.join)

    # ------------------------------------------------------------ in the thread

    def _run(self) -> None:
        try:
            room: Any = self._make()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the room raises it
            self._opened.error = error
            self._tell([self._opened])
            return
        self._tell([self._opened])
        going = True
        while going:
            jobs, going = self._next(room.due())
            if jobs:
                room.do(jobs)
                self._tell(jobs)
            due = room.due()
            if due is not None and time.monotonic() >= due:
                room.idle()
        room.close()

    def _next(self, due: float | None) -> tuple[list[Job[R, Any]], bool]:
        """What waits, up to `most`; nothing when something else is due first."""
        jobs: list[Job[R, Any]] = []
        while len(jobs) < self._most:
            try:
                if jobs:
                    job = self._jobs.get_nowait()
                else:
                    job = self._jobs.get(timeout=None if due is None else max(due - time.monotonic(), 0))
            except queue.Empty:
                break
            if job is None:
                return jobs, False
            if not job.dropped:
                jobs.append(job)
        return jobs, True

    def _tell(self, jobs: Sequence[Job[R, Any]]) -> None:
        def tell() -> None:
            for job in jobs:
                job.ended.set()

        try:
            self._token.run_sync_soon(tell)
        except trio.RunFinishedError:
            return  # nobody is left who could wait
