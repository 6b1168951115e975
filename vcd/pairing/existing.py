"""The device of the account: it shows a code, is asked, and answers.

    offer = start(...)                              WAITING     the code is shown
    offer, answer = hear(offer, peer, question, …)  what a peer asked; the answer may be sent once `offer` is stored
                                                    COMPARING   a new device knew the code, and said who it is
    offer = confirm(offer, check, …)                CONFIRMED   a person compared, and typed what the other screen shows
                                                    LINKING     its KeyPackage is here: give `inputs.LinkDevice`
    offer = hand_over(offer, welcome)                           what `effects.HandOver` gave
                                                    FINISHED    the new device says that it has taken the account up
    offer = give_up(offer, why)                     CANCELED, FAILED

A hello costs nothing but time, so there may be `MOST_HELLOS` of them for one code, and one at a time from one peer. A
wrong proof ends the offer: that was the one guess, whoever made it. Once there was a right one, nobody else's hello is
heard.

What a peer says before it proved anything changes nothing but that. What the other device says afterwards, and makes no
sense, ends it with BROKEN; what is not sealed by it is passed over, and not answered.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from mls.codec import decode_exactly
from mls.errors import MlsError
from mls.key_package import KeyPackage
from vcd.core.errors import Malformed
from vcd.pairing import wire
from vcd.pairing.code import Token, Uri, Words, new_uri, new_words
from vcd.pairing.keys import Keys, Random, Said, Shared, commit, keys_of, reply
from vcd.pairing.values import (
    MOST_TRIES,
    OVER,
    TALK,
    Channel,
    NotNow,
    Step,
    Why,
    channel_existing,
    heard,
    leave,
    same,
)
from vcd.pairing.wire import Verdict

MOST_HELLOS: Final = 16
MOST_PENDING: Final = 4
"""Peers whose hello was answered and who did not prove anything yet; who came first gives way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A hello that was answered."""

    peer: str
    hello: bytes
    """The whole question: when it comes again, so does the answer."""
    welcome: bytes
    meeting: bytes
    shared: Shared


@dataclass(frozen=True, slots=True, kw_only=True)
class Existing:
    """A pairing as the device of the account has it."""

    pair: bytes
    me: str
    step: Step = Step.WAITING
    words: Words | None
    """None if there is no way to be found by words."""
    uri: Uri
    expires: int
    hellos: int = 0
    pending: tuple[Pending, ...] = ()
    peer: str = ""
    """The new device, in the mesh; once it proved that it knows the code."""
    proof: bytes = b""
    proved: bytes = b""
    """What it proved by, right or wrong, and what it was answered: both come again when the answer was lost."""
    channel: Channel | None = None
    device: bytes = b""
    key: bytes = b""
    name: str = ""
    package: bytes = b""
    tries: int = 0
    handed: bytes = b""
    """SHA-256 of what was handed over."""
    why: Why = Why.NONE

    @property
    def check(self) -> str:
        return "" if self.channel is None or not self.device else self.channel.check

    @property
    def over(self) -> bool:
        return self.step in OVER


def start(random: Random, me: str, addresses: tuple[str, ...], expires: int, *, words: bool) -> Existing:
    """A new offer. `words`: whether a device that has only those could find this one."""
    return Existing(
        pair=random(16),
        me=me,
        words=new_words(random) if words else None,
        uri=new_uri(random, me, addresses),
        expires=expires,
    )


# ---------------------------------------------------------------- what is asked


def hear(offer: Existing, peer: str, question: bytes, now: int, random: Random) -> tuple[Existing, bytes | None]:
    """What a peer asked. No answer (None) to what is no question at all."""
    try:
        asked = wire.read_question(question)
        match asked:
            case wire.Hello():
                return _hello(offer, peer, asked, question, random)
            case wire.Proof():
                return _prove(offer, peer, asked, question, now)
            case wire.Exchange():
                return _exchange(offer, peer, asked)
    except wire.OtherVersion:
        return offer, wire.verdict(Verdict.VERSION)
    except Malformed:
        return offer, None


def _gone(offer: Existing) -> tuple[Existing, bytes]:
    return offer, wire.verdict(Verdict.GONE)


def _hello(
    offer: Existing, peer: str, hello: wire.Hello, question: bytes, random: Random
) -> tuple[Existing, bytes | None]:
    if offer.step is not Step.WAITING or offer.channel is not None:
        return _gone(offer)
    known = next((each for each in offer.pending if each.peer == peer and each.hello == question), None)
    if known is not None:
        return offer, known.welcome
    code = next((each for each in (offer.words, offer.uri) if each is not None and each.name == hello.name), None)
    if code is None:
        return _gone(offer)
    if offer.hellos >= MOST_HELLOS:
        return _gone(give_up(offer, Why.FLOODED))
    shared, share = reply(code.password, peer, offer.me, hello.share, random)
    meeting = random(wire.MEETING)
    welcome = wire.answer(wire.Welcome(meeting=meeting, share=share, nonce=random(wire.NONCE)))
    new = Pending(peer=peer, hello=question, welcome=welcome, meeting=meeting, shared=shared)
    others = tuple(each for each in offer.pending if each.peer != peer)
    return replace(offer, hellos=offer.hellos + 1, pending=(*others, new)[-MOST_PENDING:]), welcome


def _prove(offer: Existing, peer: str, proof: wire.Proof, question: bytes, now: int) -> tuple[Existing, bytes | None]:
    if offer.proof and offer.peer == peer and hmac.compare_digest(offer.proof, question):
        return offer, offer.proved
    pending = next((each for each in offer.pending if each.peer == peer and each.meeting == proof.meeting), None)
    if offer.step is not Step.WAITING or offer.channel is not None or pending is None:
        return _gone(offer)
    keys = _keys(offer, pending, proof)
    if keys is None:
        wrong = wire.verdict(Verdict.WRONG)
        return replace(give_up(offer, Why.WRONG_CODE), peer=peer, proof=question, proved=wrong), wrong
    answer = wire.answer(wire.Proved(tag=keys.proved))
    met = replace(
        offer,
        peer=peer,
        pending=(),
        proof=question,
        proved=answer,
        channel=channel_existing(keys, pending.meeting),
        expires=max(offer.expires, now + TALK),
    )
    return met, answer


def _keys(offer: Existing, pending: Pending, proof: wire.Proof) -> Keys | None:
    """None if it proves nothing."""
    hello = wire.read_question(pending.hello)
    assert isinstance(hello, wire.Hello)  # noqa: S101 - it was read before
    said = Said(new=pending.peer, existing=offer.me, hello=pending.hello, welcome=pending.welcome, nonce=proof.nonce)
    keys = keys_of(pending.shared, said)
    opened = hmac.compare_digest(commit(proof.nonce), hello.commitment)
    right = hmac.compare_digest(keys.proof, proof.tag)
    return keys if opened and right else None


def _exchange(offer: Existing, peer: str, came: wire.Exchange) -> tuple[Existing, bytes | None]:
    if offer.channel is None or offer.peer != peer or offer.channel.meeting != came.meeting:
        return _gone(offer)
    channel, messages = offer.channel.take(came)
    if channel is not offer.channel:
        offer = replace(offer, channel=channel)
    for message in messages:
        offer = offer if offer.over else _said(offer, message)
    assert offer.channel is not None  # noqa: S101 - it stays
    return offer, wire.answer(offer.channel.outgoing())


def _said(offer: Existing, message: wire.Inside) -> Existing:
    match message, offer.step:
        case wire.Introduce(), Step.WAITING:
            return replace(offer, step=Step.COMPARING, device=message.device, key=message.key, name=message.name)
        case wire.Package(), Step.CONFIRMED:
            try:
                decode_exactly(message.package, KeyPackage.decode)
            except MlsError:
                return give_up(offer, Why.BROKEN)
            return replace(offer, step=Step.LINKING, package=message.package)
        case wire.Finished(), Step.LINKING if offer.handed:
            return finish(offer)
        case wire.Leave(), _:
            step, why = heard(message)
            return _ended(offer, step, why)
        case _:
            # In LINKING too: what the device is given then is for one that keeps to this.
            return give_up(offer, Why.BROKEN)


# ---------------------------------------------------------------- what is done here


def confirm(offer: Existing, check: str) -> Existing:
    """A person typed what the other screen shows. The offer as it is to be stored, whether that was right or not.

    `NotNow` if there is nothing to compare. If it was wrong, `tries` is one more, and after some it is over.
    """
    if offer.step is not Step.COMPARING or offer.channel is None:
        raise NotNow
    if same(offer.channel.check, check):
        return replace(offer, step=Step.CONFIRMED)
    tried = replace(offer, tries=offer.tries + 1)
    return give_up(tried, Why.CHECK) if tried.tries >= MOST_TRIES else tried


def admit(offer: Existing, credential: bytes, name: str, by: str = "") -> Existing:
    """After that: what the new device needs for its KeyPackage, and what this one is called."""
    if offer.step is not Step.CONFIRMED or offer.channel is None:
        raise NotNow
    said = offer.channel.say(wire.Admit(credential=credential, name=name, by=by))
    return replace(offer, channel=said, name=name)


def hand_over(offer: Existing, welcome: bytes) -> Existing:
    """What the node hands over: again after a restart, and the same each time.

    Numbers of messages were used for it, so nothing else may go under them: `Malformed` for that.
    """
    if offer.step is not Step.LINKING or offer.channel is None:
        return offer
    digest = sha256(welcome).digest()
    if offer.handed and offer.handed != digest:
        raise Malformed("something else was handed over before")
    if len(offer.channel.log) > 1:
        return offer
    parts = [welcome[at : at + wire.PART] for at in range(0, len(welcome), wire.PART)]
    if not 0 < len(parts) <= wire.MOST_PARTS:
        raise Malformed("too long to be handed over")
    channel = offer.channel
    for number, data in enumerate(parts):
        channel = channel.say(wire.Part(number=number, of=len(parts), data=data))
    return replace(offer, channel=channel, handed=digest)


def finish(offer: Existing) -> Existing:
    """The new device has taken the account up: it says so, or the node heard it."""
    return _ended(offer, Step.FINISHED, Why.NONE)


def give_up(offer: Existing, why: Why) -> Existing:
    """It comes to nothing; the other device is told. What was handed over already is not taken back by this."""
    if offer.over:
        return offer
    channel = offer.channel
    if channel is not None and not offer.handed:
        offer = replace(offer, channel=channel.say(leave(why)))
    step = Step.CANCELED if why in (Why.CANCELED, Why.REPLACED) else Step.FAILED
    return _ended(offer, step, why)


def _ended(offer: Existing, step: Step, why: Why) -> Existing:
    """The code and everything that follows from it go; what the other device has to be told stays."""
    return replace(
        offer, step=step, why=why, words=None, uri=_spent(offer.uri), pending=(), package=b"", proof=b"", proved=b""
    )


def _spent(uri: Uri) -> Uri:
    return Uri(peer=uri.peer, token=Token(b""))


def to_keep(offer: Existing) -> Existing:
    """As it is stored: without half-done meetings, what the node hands over again anyway, and what the other one says
    each time.
    """
    channel = offer.channel
    if channel is not None:
        channel = replace(channel, log=channel.log[:1] if offer.handed else channel.log, given=0)
    return replace(offer, pending=(), channel=channel)
