"""Credentials in the wrong hands, and secrets where they do not belong."""

from __future__ import annotations

import copy
import logging
import pickle

import pytest
import trio

from tests.transport.attacks.rig import DAY, KEY, OTHER_KEY, TOPIC, Session, Town, Villain, town
from transport.access import ANYBODY, EVERY_RIGHT, Access, Right, issue, peer_hash, prove, raise_floor
from transport.base import Milliseconds, PeerId, Topic, TransportError
from transport.signing import SIGNATURE_SIZE
from transport.sync import wire as sync
from transport.sync.index import Key

NOW = Milliseconds(1_800_000_000_000)
HOUR = 3_600_000
ME, HOLDER, THIRD = PeerId("me"), PeerId("holder"), PeerId("third")


def access(now: int = 0) -> Access:
    made = Access(ME, lambda: Milliseconds(NOW + now))
    made.join(TOPIC)
    return made


def token(
    rights: Right = EVERY_RIGHT, *, holder: PeerId | None = HOLDER, generation: int = 0, life: int = HOUR
) -> bytes:
    return issue(
        KEY,
        rights,
        holder=holder,
        not_before=NOW,
        expires=Milliseconds(NOW + life),
        generation=generation,
    )


def test_token_of_another_peer() -> None:
    assert access().rights(HOLDER, TOPIC.id, token()) == EVERY_RIGHT
    assert not access().rights(THIRD, TOPIC.id, token())


def test_token_after_its_time() -> None:
    late = access(HOUR + 6 * 60_000)
    assert not late.rights(HOLDER, TOPIC.id, token())
    remembered = access()
    assert remembered.rights(HOLDER, TOPIC.id, token())
    remembered._now_ms = late._now_ms
    assert not remembered.rights(HOLDER, TOPIC.id, token()), "what was verified once is not good for ever"


@pytest.mark.parametrize("place", range(0, 150, 7))
def test_token_with_one_bit_changed(place: int) -> None:
    changed = bytearray(token(Right.READ))
    changed[place] ^= 2
    assert not access().rights(HOLDER, TOPIC.id, bytes(changed))


def test_one_kind_of_record_taken_for_another() -> None:
    """The signature of a floor or a frame under the fields of a token or a proof."""
    proof, floor = prove(KEY, HOLDER, ME), raise_floor(KEY, 7)
    for one in (token(), proof, floor):
        for other in (token(), proof, floor):
            if one is not other and one != other:
                mixed = one[:-SIGNATURE_SIZE] + other[-SIGNATURE_SIZE:]
                assert not access().rights(HOLDER, TOPIC.id, mixed)
                assert not access().floor(mixed)


def test_proof_turned_around_or_shown_elsewhere() -> None:
    proof = prove(KEY, HOLDER, ME)
    assert access().rights(HOLDER, TOPIC.id, proof) == EVERY_RIGHT
    assert not access().rights(THIRD, TOPIC.id, proof)
    assert not access().rights(ME, TOPIC.id, proof)
    other = Access(THIRD, lambda: NOW)
    other.join(TOPIC)
    assert not other.rights(HOLDER, TOPIC.id, proof)


def test_key_of_another_topic() -> None:
    assert not access().rights(HOLDER, TOPIC.id, prove(OTHER_KEY, HOLDER, ME))


def test_revoked_token_and_the_floor_left_out() -> None:
    """The holder of a revoked token shows it without the floor that voids it."""
    one = access()
    assert one.rights(HOLDER, TOPIC.id, token())
    assert one.floor(raise_floor(KEY, 1))
    assert not one.rights(HOLDER, TOPIC.id, token())
    assert one.rights(HOLDER, TOPIC.id, token(generation=1))


def test_floor_that_goes_down_again() -> None:
    one = access()
    assert one.floor(raise_floor(KEY, 5))
    assert not one.floor(raise_floor(KEY, 4))
    assert not one.rights(HOLDER, TOPIC.id, token(generation=4))


def test_floor_by_another_key() -> None:
    assert not access().floor(raise_floor(OTHER_KEY, 5))


async def test_revocation_survives_leaving_and_joining() -> None:
    """The topic is left and joined again, as after a restart. Somebody with a revoked token comes first."""
    one = access()
    assert one.floor(raise_floor(KEY, 1))
    one.leave(TOPIC.id)
    one.join(TOPIC)
    await trio.lowlevel.checkpoint()
    assert not one.rights(HOLDER, TOPIC.id, token())


async def reading(all_: Town, evil: Villain, credential: bytes) -> tuple[bool, Session]:
    """Whether a session with this credential is let in."""
    victim = next(iter(node for node in all_.net.nodes.values() if node.me != evil.me))
    session = Session(await evil.network.open(victim.me, sync.PROTOCOL))
    now = all_.now_ms()
    await session.say(
        sync.Hello(
            mode=sync.Mode.RECONCILE,
            topic=TOPIC.id,
            low=Milliseconds(now + 10_000),
            high=Milliseconds(now + int(30 * DAY * 1000)),
            salt=bytes(sync.SALT_SIZE),
            credential=credential,
        )
    )
    return isinstance(await session.hear(), sync.Welcome), session


async def test_reader_that_writes(autojump_clock: object) -> None:
    """A token to read is none to write: what its holder offers is refused, and held against it."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        now = all_.now_ms()
        mine = issue(KEY, Right.READ, holder=evil.me, not_before=now, expires=Milliseconds(now + HOUR))
        let_in, session = await reading(all_, evil, mine)
        assert let_in
        frame = all_.frame()
        await session.say(sync.Offer(keys=(Key(frame.expires.to_bytes(8) + frame.id),)))
        with pytest.raises(TransportError):
            assert await session.hear() is None
            raise TransportError
        assert not await a.has(frame)
        assert a.owes(evil.me)


async def test_former_member_with_an_old_key(autojump_clock: object) -> None:
    """The topic of the next epoch has another key: the old one opens nothing there."""
    async with town() as all_:
        a, evil = await all_.honest(), all_.villain()
        all_.link(a, evil)
        for credential in (prove(OTHER_KEY, evil.me, a.me), prove(KEY, a.me, evil.me), b"", bytes(150), b"\x02" * 97):
            let_in, _ = await reading(all_, evil, credential)
            assert not let_in


def secrets(topic: Topic) -> list[str]:
    raw = [KEY.seed(), KEY._expanded, token()]
    return [form for one in raw for form in (repr(one)[2:-1], one.hex())] + [repr(topic.token)]


def test_nothing_secret_is_shown() -> None:
    topic = Topic(id=TOPIC.id, key=KEY, token=token())
    hello = sync.Hello(mode=sync.Mode.FETCH, topic=TOPIC.id, low=NOW, high=NOW, salt=bytes(16), credential=token())
    standing = access()
    standing.join(topic)
    shown = [repr(one) for one in (topic, KEY, standing, hello, standing._topics, TOPIC)]
    for one in shown:
        for secret in secrets(topic):
            assert secret not in one


def test_keys_do_not_travel() -> None:
    for take in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(TypeError):
            take(KEY)


async def test_nothing_of_a_topic_is_logged(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    """Neither payloads nor questions, nor topics, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    async with town() as all_:
        a, c = await all_.honest(), await all_.honest()

        async def fails(_peer: PeerId, question: bytes) -> bytes:
            await trio.lowlevel.checkpoint()
            raise ValueError(question)

        a.mesh.serve("/fails", fails)
        all_.link(a, c)
        await trio.sleep(6)
        await a.mesh.publish(all_.frame())
        with pytest.raises(TransportError):
            await c.mesh.ask(a.me, "/fails", b"the question")
    assert "the question" not in caplog.text
    assert TOPIC.id.hex() not in caplog.text


def test_holder_of_nobody_in_particular() -> None:
    """A token for anybody names nobody, and no peer's hash is that name."""
    assert peer_hash(HOLDER) != ANYBODY
    assert access().rights(THIRD, TOPIC.id, token(holder=None)) == EVERY_RIGHT
