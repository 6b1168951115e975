"""What happens in a conversation, as drawn at random beforehand, and how it is played by whoever is watched.

A script is the same whoever plays it: an ordinary client and a virtual one are asked for the same things in the same
order, with the same people around them. What differs then in what is seen is the client's own doing. Others in the
conversation do not follow it, but for one, who watches, answers and carries proposals out.

Shares of the acts are chosen so that every kind of sighting is more than two percent of all: a client that is known by
one kind alone is then noticed on the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from mls import group as front
from mls.group import CommitMessage
from mls.proposals import Add, Remove
from mls.registries import LeafIndex
from mls.state import Group
from tests.mls.clients import client, environment
from tests.mls.virtual.household import ABLE
from tests.mls.virtual.privacy_subjects import Subject
from tests.mls.virtual.traces import Observer, Sighting

SHARES = {
    "say": 64,
    "answer": 3,
    "refresh": 5,
    "churn": 1,
    "add": 4,
    "remove": 4,
    "update": 4,
    "propose": 2,
    "package": 3,
    "again": 3,
    "rejoin": 4,
    "info": 3,
}
MOST = 7
"""Guests in a conversation at once."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing that happens."""

    name: str
    size: int


Script = tuple[Act, ...]


def script(seed: object, length: int) -> Script:
    draw = Random(f"script {seed}")
    names = draw.choices(list(SHARES), list(SHARES.values()), k=length)
    return tuple([Act(name, int(2 ** draw.uniform(0, 11))) for name in names])


def play(subject: Subject, acts: Script, observer: Observer, *, seed: object = "") -> list[Sighting]:
    """What is seen of the subject, in the order in which it is seen."""
    scene = Scene(subject, observer, seed)
    for act in acts:
        scene.acts[act.name](act.size)
    subject.finish()
    return observer.sightings


class Scene:
    """A conversation that the subject has created, with somebody who watches and some guests."""

    def __init__(self, subject: Subject, observer: Observer, seed: object) -> None:
        self.subject = subject
        self.observer = observer
        self.env = environment(f"{seed} scene")
        self.came = 0
        self.guests: list[LeafIndex] = []
        self.place = LeafIndex(0)
        self.acts: dict[str, Callable[[int], None]] = {name: getattr(self, name) for name in SHARES}
        subject.create()
        watcher = client("watcher", 1, capabilities=ABLE)
        package = watcher.package(self.env)
        made = subject.commit(Add(package.key_package))
        self.watcher: Group = watcher.join(self.env, made.welcome, [package])
        assert made.welcome is not None
        assert made.group_info is not None
        observer.welcome(made.welcome, made.group_info, self.watcher.public.tree, self.place)

    def _seen(self, message: bytes) -> None:
        """A message of the subject's."""
        opened = self.observer.message(self.watcher, message)
        if isinstance(opened.verified.content.body, bytes):
            self.watcher = opened.group  # an application message does no more
            return
        event = front.receive(self.watcher, self.env, message)
        self.watcher = event.group
        if isinstance(event, CommitMessage):
            self.place = event.committer

    def _guest(self) -> Add:
        self.came += 1
        guest = client(f"guest{self.came:03}", 1, capabilities=ABLE)
        return Add(guest.package(self.env).key_package)

    def say(self, size: int) -> None:
        self._seen(self.subject.say(bytes(size)))

    def answer(self, size: int) -> None:
        self.watcher, message = front.seal(self.watcher, self.env, bytes(size))
        self.subject.hear(message)

    def refresh(self, _: int) -> None:
        self._seen(self.subject.commit(force_path=True).message)

    def churn(self, _: int) -> None:
        self.subject.churn()
        self.refresh(0)

    def add(self, _: int) -> None:
        if len(self.guests) >= MOST:
            return self.remove(0)
        made = self.subject.commit(self._guest())
        self.guests.extend(made.added)
        self._seen(made.message)
        assert made.welcome is not None
        assert made.group_info is not None
        self.observer.welcome(made.welcome, made.group_info, self.watcher.public.tree, self.place)
        return None

    def remove(self, size: int) -> None:
        if not self.guests:
            return self.add(0)
        gone = self.guests.pop(size % len(self.guests))
        self._seen(self.subject.commit(Remove(gone)).message)
        return None

    def update(self, _: int) -> None:
        self._seen(self.subject.update())
        self._watcher_commits()

    def _watcher_commits(self) -> None:
        made = front.commit(self.watcher, self.env)
        self.watcher = made.group
        self.subject.hear(made.message)

    def propose(self, size: int) -> None:
        if self.guests and size % 2:
            self._seen(self.subject.propose(Remove(self.guests.pop())))
            made = self.subject.commit()
        else:
            self._seen(self.subject.propose(self._guest()))
            made = self.subject.commit()
            self.guests.extend(made.added)
        self._seen(made.message)

    def package(self, _: int) -> None:
        self.observer.package(self.subject.package())

    def again(self, _: int) -> None:
        """The watcher throws the subject out, and takes it in by another KeyPackage."""
        package = self.subject.package()
        self.observer.package(package)
        made = front.commit(self.watcher, self.env, proposals=[Remove(self.place), Add(package)])
        self.watcher = made.group
        self.place = made.added[0]
        assert made.welcome is not None
        assert made.group_info is not None
        self.observer.welcome(made.welcome, made.group_info, self.watcher.public.tree, self.place)
        self.subject.join(made.welcome)

    def rejoin(self, _: int) -> None:
        self._seen(self.subject.rejoin(front.group_info(self.watcher)))

    def info(self, _: int) -> None:
        self.observer.group_info(self.subject.info(), self.watcher.public.tree, self.place)
