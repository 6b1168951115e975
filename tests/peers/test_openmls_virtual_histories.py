"""Virtual clients of our devices and OpenMLS's: long random histories, in which everybody does everything.

test_openmls_virtual_devices.py puts one thing at a time. Here a virtual client is in two conversations; devices and
ordinary members of both makes come, go, commit, propose, speak and enter from outside in an order that a seed picks.
After each act everybody in a conversation holds the same epoch, and whoever can tell says who spoke.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import count

import pytest

from mls.commit import NewLeaf
from mls.proposals import Remove
from mls.registries import LeafIndex
from tests.peers import launch
from tests.peers.openmls_account import Account
from tests.peers.openmls_company import BOTH
from tests.peers.openmls_conversation import Conversation
from tests.peers.openmls_peer import OpenMls

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 900),
]

DEVICES = 6
MEMBERS = 5
"""Ordinary ones, in each conversation."""


class History:
    """A virtual client, and what may happen to it next."""

    def __init__(self, openmls: OpenMls, seed: int) -> None:
        self.choice = random.Random(f"virtual {seed}")
        suites = self.choice.choice([(1, 1), (1, 3), (2, 1), (3, 2)])
        self.account = Account(openmls, founder=BOTH[seed % 2], suites=suites, public=seed % 4 < 2)
        self.names = (f"{self.choice.choice('co')}{number}" for number in count())
        first = Conversation.founded(self.account, self.device(), b"first")
        second = Conversation.of_other(self.account, next(self.names), b"second")
        second.invite(second.names[0], self.account.packages(self.device())[0])
        self.conversations = [first, second]
        for conversation in self.conversations:
            conversation.add(self.choice.choice(conversation.names), next(self.names))

    # ---------------------------------------------------------------- who

    def device(self) -> str:
        return self.choice.choice(self.account.names)

    def conversation(self) -> Conversation:
        return self.choice.choice(self.conversations)

    def ordinary(self, conversation: Conversation) -> list[str]:
        return [name for name in conversation.names if not conversation.is_device(name)]

    def chance(self, probability: float) -> bool:
        return self.choice.random() < probability

    # ---------------------------------------------------------------- what

    def step(self) -> None:
        acts: list[Callable[[], None]] = [self.say, self.say, self.commit, self.commit, self.propose, self.enter]
        acts += [self.move_on, self.members, self.devices, self.out_and_back]
        self.choice.choice(acts)()

    def say(self) -> None:
        conversation = self.conversation()
        conversation.say(
            self.choice.choice(conversation.names), self.choice.randbytes(self.choice.choice([0, 30, 900]))
        )

    def commit(self) -> None:
        conversation = self.conversation()
        conversation.commit(self.choice.choice(conversation.names))

    def propose(self) -> None:
        """A removal by reference, which somebody else commits."""
        conversation = self.conversation()
        others = self.ordinary(conversation)
        if len(others) < 2:
            return
        gone = self.choice.choice(others)
        by, committer = self.choice.choices([name for name in conversation.names if name != gone], k=2)
        conversation.propose(by, Remove(LeafIndex(conversation.leaf(gone))))
        conversation.commit(committer)

    def enter(self) -> None:
        conversation = self.conversation()
        device = self.device()
        through = [name for name in conversation.names if name != device]
        conversation.enter(device, self.choice.choice(through))

    def members(self) -> None:
        conversation = self.conversation()
        others = self.ordinary(conversation)
        if len(others) < MEMBERS and self.chance(0.6):
            conversation.add(self.choice.choice(conversation.names), next(self.names))
        elif len(others) > 1:
            gone = self.choice.choice(others)
            by = self.choice.choice([name for name in conversation.names if name != gone])
            leaf = LeafIndex(conversation.leaf(gone))
            conversation.commit(by, Remove(leaf), path=conversation.is_device(by) or self.chance(0.5))

    def out_and_back(self) -> None:
        """Somebody removes the virtual client, and it is invited again, or enters by itself."""
        conversation = self.conversation()
        others = self.ordinary(conversation)
        if not others:
            return
        leaf = LeafIndex(conversation.leaf(next(name for name in conversation.names if conversation.is_device(name))))
        conversation.commit(self.choice.choice(others), Remove(leaf))
        if self.chance(0.5):
            conversation.enter(self.device(), self.choice.choice(others))
        else:
            package = self.choice.choice(self.account.packages(self.device(), 3, in_commit=self.chance(0.5)))
            conversation.invite(self.choice.choice(others), package)

    def move_on(self) -> None:
        self.account.commit(self.device(), derive=self.chance(0.5))

    def devices(self) -> None:
        """One comes, and enters every conversation; or one goes, and every leaf is replaced."""
        names = self.account.names
        if len(names) < DEVICES and self.chance(0.6):
            name = next(self.names)
            self.account.add(self.device(), name)
            for conversation in self.conversations:
                conversation.enter(name, self.choice.choice(conversation.names))
            return
        removable = [name for side in (self.account.ours, self.account.theirs) if len(side) > 1 for name in side]
        if not removable:
            return
        gone = self.choice.choice(removable)
        self.account.remove(self.choice.choice([name for name in names if name != gone]), gone)
        key = NewLeaf(signature_private=self.account.new_key(self.device()))
        for conversation in self.conversations:
            conversation.ours.pop(gone, None)
            conversation.theirs.pop(gone, None)
            conversation.commit(self.choice.choice([*self.account.ours]), new=key)


def run(openmls: OpenMls, seed: int, steps: int) -> None:
    history = History(openmls, seed)
    for _ in range(steps):
        history.step()
    assert history.account.ours
    assert history.account.theirs
    for conversation in history.conversations:
        for name in conversation.names:
            conversation.commit(name)
            conversation.say(name, name.encode())


@pytest.mark.parametrize("seed", range(6))
def test_history(openmls: OpenMls, seed: int) -> None:
    run(openmls, seed, 120)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(100, 130))
def test_long_history(openmls: OpenMls, seed: int) -> None:
    run(openmls, seed, 400)
