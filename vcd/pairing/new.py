"""The new device: it was told a code, and asks the device that shows it.

    visit = start(...)                              WAITING     looks for the other device
    visit = go(visit, peer, …)                                  says hello to one that may be it
    question(visit)                                             what to ask now; ask it when `visit` is stored
    visit = answered(visit, answer, now)                        what came of that
                                                    COMPARING   both know the code: people compare
                                                    CONFIRMED   it was admitted: make a KeyPackage, and `bring` it
    visit = bring(visit, package, init, leaf)       LINKING     waits until the devices of the account agreed
                                                                `visit.welcome`: give `inputs.Linked`
    visit = finish(visit)                           FINISHED    says so, as often as it takes
    visit = give_up(visit, why)                     CANCELED, FAILED

Whoever is asked has one guess too: the proof tells a device that waits under the right name whether it knows the code.
So one proof is made for a code, whatever becomes of it. It is stored before it is sent, and from then on only that one
is sent again, to the same peer.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field, replace
from typing import Final

from mls.secrets import HpkePrivateKey
from vcd.core.errors import Malformed
from vcd.pairing import wire
from vcd.pairing.code import Code, Uri
from vcd.pairing.keys import Half, Random, Said, begin, commit, end, keys_of
from vcd.pairing.values import OVER, TALK, Channel, NotNow, Step, Why, channel_new, heard, leave
from vcd.pairing.wire import Verdict

MOST_GONE: Final = 5
"""How often a device that was met may say that it knows nothing of it, before that is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """A hello that waits for its answer."""

    hello: bytes
    nonce: bytes = field(repr=False)
    half: Half


@dataclass(frozen=True, slots=True, kw_only=True)
class Proving:
    """The one proof, that waits for its answer."""

    proof: bytes
    proved: bytes = field(repr=False)
    """What the answer has to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A pairing as the new device has it."""

    pair: bytes
    me: str
    step: Step = Step.WAITING
    code: Code | None
    expires: int
    device: bytes
    key: bytes
    name: str
    by: str = ""
    """What the other device is called, once it said so."""
    peer: str = ""
    addresses: tuple[str, ...] = ()
    """Where the other device is, as far as it is known."""
    greeting: Greeting | None = None
    proving: Proving | None = None
    channel: Channel | None = None
    gone: int = 0
    credential: bytes = b""
    package: bytes = b""
    init: HpkePrivateKey | None = None
    leaf: HpkePrivateKey | None = None
    parts: tuple[bytes, ...] = field(default=(), repr=False)
    of: int = 0
    why: Why = Why.NONE

    @property
    def check(self) -> str:
        return "" if self.channel is None or self.step is Step.WAITING else self.channel.check

    @property
    def over(self) -> bool:
        return self.step in OVER

    @property
    def welcome(self) -> bytes | None:
        """All of what was handed over, once it is here."""
        return b"".join(self.parts) if self.of and len(self.parts) == self.of else None


def start(random: Random, me: str, code: Code, *, device: bytes, key: bytes, name: str, expires: int) -> Visit:
    peer, addresses = (code.peer, code.addresses) if isinstance(code, Uri) else ("", ())
    return Visit(
        pair=random(16),
        me=me,
        code=code,
        expires=expires,
        device=device,
        key=key,
        name=name,
        peer=peer,
        addresses=addresses,
    )


# ---------------------------------------------------------------- what is asked


def go(visit: Visit, peer: str, addresses: tuple[str, ...], random: Random) -> Visit:
    """Say hello to a peer that may be the one. Only before anything was proved."""
    if visit.step is not Step.WAITING or visit.code is None or visit.proving is not None or visit.channel is not None:
        raise NotNow
    if isinstance(visit.code, Uri) and visit.code.peer != peer:
        raise NotNow
    nonce = random(wire.NONCE)
    half, share = begin(visit.code.password, visit.me, peer, random)
    hello = wire.question(wire.Hello(name=visit.code.name, share=share, commitment=commit(nonce)))
    greeting = Greeting(hello=hello, nonce=nonce, half=half)
    return replace(visit, peer=peer, addresses=addresses, greeting=greeting)


def question(visit: Visit) -> bytes | None:
    """What to ask the peer now; None if there is nothing to ask."""
    if visit.proving is not None:
        return visit.proving.proof
    if visit.channel is not None:
        return None if visit.over and visit.channel.settled else wire.question(visit.channel.outgoing())
    return None if visit.greeting is None or visit.over else visit.greeting.hello


def answered(visit: Visit, answer: bytes, now: int) -> Visit:
    """What came of `question`. An answer that is none changes nothing: it is asked again."""
    try:
        verdict = wire.read_verdict(answer)
        if verdict is Verdict.VERSION and (visit.channel is not None or isinstance(visit.code, Uri)):
            return _ended(visit, Step.FAILED, Why.VERSION)
        if visit.proving is not None:
            return _proved(visit, visit.proving, verdict, answer, now)
        if visit.channel is not None:
            return _exchanged(visit, visit.channel, verdict, answer)
        if visit.greeting is not None and not visit.over:
            return _welcomed(visit, visit.greeting, verdict, answer)
    except Malformed:
        pass
    return visit


def _welcomed(visit: Visit, greeting: Greeting, verdict: Verdict, answer: bytes) -> Visit:
    """The other share is here: prove that this device knows the code."""
    if verdict is not Verdict.OK:
        if isinstance(visit.code, Uri):
            return _ended(visit, Step.FAILED, Why.GONE)
        # It is another device that waits, or this one has to be brought up to date: both may be shown.
        return replace(visit, greeting=None, why=Why.VERSION if verdict is Verdict.VERSION else visit.why)
    welcome = wire.read_answer(wire.Welcome, answer)
    shared = end(greeting.half, welcome.share)
    said = Said(new=visit.me, existing=visit.peer, hello=greeting.hello, welcome=answer, nonce=greeting.nonce)
    keys = keys_of(shared, said)
    proof = wire.question(wire.Proof(meeting=welcome.meeting, nonce=greeting.nonce, tag=keys.proof))
    return replace(
        visit,
        code=None,
        greeting=None,
        proving=Proving(proof=proof, proved=keys.proved),
        channel=channel_new(keys, welcome.meeting),
    )


def _proved(visit: Visit, proving: Proving, verdict: Verdict, answer: bytes, now: int) -> Visit:
    """The other one knows the code too, or it is over."""
    if verdict is Verdict.WRONG:
        return _ended(visit, Step.FAILED, Why.WRONG_CODE)
    if verdict is not Verdict.OK:
        return _unknown(visit)
    tag = wire.read_answer(wire.Proved, answer).tag
    channel = visit.channel
    if channel is None or not hmac.compare_digest(tag, proving.proved):
        return _ended(visit, Step.FAILED, Why.WRONG_CODE)
    introduced = channel.say(wire.Introduce(device=visit.device, key=visit.key, name=visit.name))
    return replace(
        visit,
        step=Step.COMPARING,
        proving=None,
        channel=introduced,
        expires=max(visit.expires, now + TALK),
        gone=0,
    )


def _exchanged(visit: Visit, channel: Channel, verdict: Verdict, answer: bytes) -> Visit:
    if verdict is not Verdict.OK:
        return _unknown(visit)
    after, messages = channel.take(wire.read_answer(wire.Exchange, answer))
    if after is not channel or visit.gone:
        visit = replace(visit, channel=after, gone=0)
    for message in messages:
        visit = visit if visit.over else _said(visit, message)
    return visit


def _unknown(visit: Visit) -> Visit:
    """It says that it knows nothing of this. It may be starting just now, so it is asked some times."""
    visit = replace(visit, gone=visit.gone + 1)
    if visit.gone < MOST_GONE:
        return visit
    if visit.over:
        return _ended(visit, visit.step, visit.why)
    return _ended(visit, Step.FAILED, Why.GONE if visit.proving is not None else Why.LOST)


def _said(visit: Visit, message: wire.Inside) -> Visit:
    match message, visit.step:
        case wire.Admit(), Step.COMPARING:
            return replace(visit, step=Step.CONFIRMED, credential=message.credential, name=message.name, by=message.by)
        case wire.Part(), Step.LINKING if message.number == len(visit.parts) and visit.of in (0, message.of):
            return replace(visit, parts=(*visit.parts, message.data), of=message.of)
        case wire.Leave(), _:
            step, why = heard(message)
            return _ended(visit, step, why)
        case _:
            return give_up(visit, Why.BROKEN)


# ---------------------------------------------------------------- what is done here


def bring(visit: Visit, package: bytes, init: HpkePrivateKey, leaf: HpkePrivateKey) -> Visit:
    """The KeyPackage; its private keys are kept until the account is taken up."""
    if visit.step is not Step.CONFIRMED or visit.channel is None:
        raise NotNow
    said = visit.channel.say(wire.Package(package=package))
    return replace(visit, step=Step.LINKING, channel=said, package=package, init=init, leaf=leaf)


def finish(visit: Visit) -> Visit:
    """The account is taken up."""
    if visit.step is not Step.LINKING or visit.channel is None:
        raise NotNow
    told = replace(visit, channel=visit.channel.say(wire.Finished()))
    return replace(_ended(told, Step.FINISHED, Why.NONE), channel=told.channel)


def give_up(visit: Visit, why: Why) -> Visit:
    """It comes to nothing; the other device is told, if it was met."""
    if visit.over:
        return visit
    told = visit.channel if visit.proving is None and visit.step is not Step.WAITING else None
    if told is not None:
        told = told.say(leave(why))
    step = Step.CANCELED if why in (Why.CANCELED, Why.REPLACED) else Step.FAILED
    return replace(_ended(visit, step, why), channel=told)


def _ended(visit: Visit, step: Step, why: Why) -> Visit:
    """Secrets go; so does the channel, as there is nothing more to be said by whoever does not say so."""
    return replace(
        visit,
        step=step,
        why=why,
        code=None,
        greeting=None,
        proving=None,
        channel=None,
        credential=b"",
        package=b"",
        init=None,
        leaf=None,
        parts=(),
        of=0,
    )


def to_keep(visit: Visit) -> Visit:
    """As it is stored: another hello is said, and parts of what is handed over are taken again, from the first."""
    channel = visit.channel
    if channel is not None:
        channel = replace(channel, taken=1 if visit.step is Step.LINKING else channel.taken, given=0)
    return replace(visit, greeting=None, channel=channel, parts=(), of=0, gone=0)
