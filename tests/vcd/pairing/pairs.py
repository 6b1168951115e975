"""Two sides of a pairing, and a line between them that a test holds in its hand."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from typing import TypeVar

from mls.codec import decode_exactly
from mls.credential import decode_credential
from vcd.core.accounts.identity import new_seed
from vcd.core.founding import blank, device_key, new_account, package_for
from vcd.core.linking import credential_for
from vcd.core.names import DeviceId
from vcd.core.state import State
from vcd.crypto import SystemProvider
from vcd.pairing import existing, kept, new
from vcd.pairing.code import Code, Words
from vcd.pairing.existing import Existing
from vcd.pairing.new import Visit
from vcd.pairing.values import Step

PROVIDER = SystemProvider()
NOW = 1_800_000_000_000
LAPTOP = "12D3KooWQYhTNQdmr3ArTeUHRYzFg94BKyTkoWBDWez9kSCVe2Xo"
PHONE = "12D3KooWLJtG8fd2hkQzTn96MrLvThmnNQjTUFZwGEsLRz5EmSzc"
MALLORY = "12D3KooWSHj3RRbBjD15g6wekV8y3mm57Pobmps2g2WJm6F67Lay"
WELCOME = bytes(range(256)) * 2500
"""Three parts of it."""

Side = TypeVar("Side", Existing, Visit)


def draw(seed: int = 0) -> random.Random:
    return random.Random(seed)


def restarted(side: Side) -> Side:
    found = kept.unpack(kept.pack(side))
    assert type(found) is type(side)
    return found


@dataclass
class Pair:
    """Both sides, as people and nodes drive them."""

    rng: random.Random
    account: State
    blank: State
    offer: Existing
    visit: Visit

    # what happens by itself

    def ask(self) -> bytes | None:
        """What the new device asks now. After a restart it says another hello."""
        if self.visit.code is not None and self.visit.greeting is None and self.visit.peer and not self.visit.over:
            self.go(self.visit.peer)
        return new.question(self.visit)

    def hear(self, question: bytes, peer: str = PHONE) -> bytes | None:
        self.offer, answer = existing.hear(self.offer, peer, question, NOW, self.rng.randbytes)
        return answer

    def take(self, answer: bytes) -> None:
        self.visit = new.answered(self.visit, answer, NOW)
        self.act()

    def act(self) -> None:
        """What a daemon does of itself."""
        if self.visit.step is Step.CONFIRMED:
            credential = decode_exactly(self.visit.credential, decode_credential)
            made = package_for(PROVIDER, self.blank, credential, NOW)
            self.visit = new.bring(self.visit, made.key_package.encode(), made.init_private, made.leaf_private)
        if self.visit.welcome is not None:
            assert self.visit.welcome == WELCOME
            self.visit = new.finish(self.visit)
        if self.offer.step is Step.LINKING and not self.offer.handed:
            self.offer = existing.hand_over(self.offer, WELCOME)

    def turn(self) -> bool:
        """One question and its answer; whether there was one."""
        asked = self.ask()
        answer = None if asked is None else self.hear(asked)
        if answer is None:
            return False
        self.take(answer)
        self.act()
        return True

    def run(self, most: int = 20) -> None:
        for _ in range(most):
            before = (self.offer, self.visit)
            if not self.turn() or (self.offer, self.visit) == before:
                return

    # what people do

    def confirm(self, check: str | None = None) -> None:
        self.offer = existing.confirm(self.offer, self.visit.check if check is None else check)
        if self.offer.step is Step.CONFIRMED:
            made = credential_for(self.account, PROVIDER, DeviceId(self.offer.device), self.offer.key)
            self.offer = existing.admit(self.offer, made.encode(), self.offer.name)

    def go(self, peer: str = LAPTOP) -> None:
        self.visit = new.go(self.visit, peer, (), self.rng.randbytes)


_ACCOUNT = new_account(PROVIDER, new_seed(PROVIDER), "laptop", NOW)


def visit_of(code: Code, state: State, rng: random.Random, me: str = PHONE) -> Visit:
    key = device_key(PROVIDER, state)
    return new.start(rng.randbytes, me, code, device=state.me.device, key=key, name="phone", expires=NOW + 600_000)


def pair(seed: int = 0, *, uri: bool = False, code: Code | None = None) -> Pair:
    """A code is shown on one and was typed on the other."""
    rng, state = draw(seed), blank(PROVIDER, "phone")
    offer = existing.start(rng.randbytes, LAPTOP, ("/ip4/192.0.2.1/tcp/4001",), NOW + 600_000, words=True)
    shown: Code | None = offer.uri if uri else offer.words
    assert shown is not None
    return Pair(rng, _ACCOUNT, state, offer, visit_of(code or shown, state, rng))


def met(seed: int = 0) -> Pair:
    """Both screens show the same."""
    both = pair(seed)
    both.go()
    both.run()
    assert both.offer.step is both.visit.step is Step.COMPARING
    return both


def wrong(code: Words | None) -> Words:
    """The same plate, other words."""
    assert code is not None
    other = "otter-marble" if code.words.raw != b"otter-marble" else "otter-maple"
    return replace(code, words=type(code.words)(other.encode()))
