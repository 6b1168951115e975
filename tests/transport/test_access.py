"""Credentials of topics: what they allow, for whom, until when; and that no changed bit gets through."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, strategies as st

from transport import access
from transport.access import Access, Right, Verifier, issue, parse, peer_hash, prove, raise_floor
from transport.base import Milliseconds, PeerId, Topic, TopicId
from transport.frames import member_topic, topic_id
from transport.signing import SigningKey, peer_id
from transport.sync.credentials import MAX_CREDENTIAL, Credentials

NOW = Milliseconds(1_800_000_000_000)
HOUR = 3600 * 1000
KEY = SigningKey(b"k" * 32)
OTHER_KEY = SigningKey(b"o" * 32)
TOPIC = topic_id(KEY.public)
ALICE, BOB, MAILBOX = (peer_id(SigningKey(bytes([n]) * 32).public) for n in range(3))
RIGHTS = [Right(bits) for bits in range(1, 8)]


class Clock:
    def __init__(self, now: int = NOW) -> None:
        self.now = now

    def __call__(self) -> Milliseconds:
        return Milliseconds(self.now)


def token(
    rights: Right = access.EVERY_RIGHT, holder: PeerId | None = ALICE, *, key: SigningKey = KEY, generation: int = 0
) -> bytes:
    end = Milliseconds(NOW + HOUR)
    return issue(key, rights, holder=holder, not_before=NOW, expires=end, generation=generation)


def judged(
    credential: bytes, peer: PeerId = ALICE, *, topic: TopicId = TOPIC, now: int = NOW, floor: int = 0
) -> Right | None:
    shown = parse(credential)
    return None if shown is None else Verifier(BOB).rights(peer, topic, shown, Milliseconds(now), floor)


# ---------------------------------------------------------------- tokens


@pytest.mark.parametrize("rights", RIGHTS, ids=str)
def test_a_token_allows_what_it_says_and_nothing_else(rights: Right) -> None:
    assert judged(token(rights)) == rights
    mesh = Access(BOB, Clock())
    mesh.join(Topic(id=TOPIC))
    assert mesh.may_read(ALICE, TOPIC, token(rights)) == (Right.READ in rights)
    assert mesh.may_write(ALICE, TOPIC, token(rights)) == (Right.WRITE in rights)


def test_a_token_is_for_its_holder_or_for_anybody() -> None:
    assert judged(token(), BOB) == Right.NONE
    assert judged(token(holder=None), BOB) == access.EVERY_RIGHT


def test_a_token_is_of_one_topic() -> None:
    assert judged(token(key=OTHER_KEY)) == Right.NONE
    assert judged(token(key=OTHER_KEY), topic=topic_id(OTHER_KEY.public)) == access.EVERY_RIGHT


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        (NOW - access.SKEW - 1, False),
        (NOW - access.SKEW, True),
        (NOW + HOUR + access.SKEW - 1, True),
        (NOW + HOUR + access.SKEW, False),
    ],
)
def test_a_token_has_a_beginning_and_an_end(moment: int, good: bool) -> None:
    assert (judged(token(), now=moment) == access.EVERY_RIGHT) is good


def test_a_token_with_no_end_or_no_right_is_not_made() -> None:
    for rights, end in ((Right.READ, NOW + access.LONGEST + 1), (Right.READ, NOW), (Right.NONE, NOW + 1)):
        with pytest.raises(ValueError, match="a token has"):
            issue(KEY, rights, holder=None, not_before=NOW, expires=Milliseconds(end))
    assert issue(KEY, Right.READ, holder=None, not_before=NOW, expires=Milliseconds(NOW + access.LONGEST))


@pytest.mark.slow
@pytest.mark.parametrize(
    "record",
    [token(), token(Right.READ, None), prove(KEY, ALICE, BOB), raise_floor(KEY, 7)],
    ids=["token", "anybody's token", "proof", "floor"],
)
def test_no_changed_bit_gets_through(record: bytes) -> None:
    mesh = Access(BOB, Clock())
    mesh.join(Topic(id=TOPIC))
    for bit in range(len(record) * 8):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        assert judged(bytes(changed)) in (None, Right.NONE)
        assert not mesh.rights(ALICE, TOPIC, bytes(changed))
        assert not mesh.floor(bytes(changed))


@given(st.binary(max_size=access.MAX_CREDENTIAL + 2))
def test_junk_is_not_a_credential(junk: bytes) -> None:
    shown = parse(junk)
    assert shown is None or not junk or shown.floor is not None or shown.claim is not None
    assert not judged(junk)


@pytest.mark.slow
@given(st.sampled_from([1, 2, 3]), st.binary(min_size=300, max_size=300), st.sampled_from([150, 97, 101, 251, 198]))
def test_whatever_has_the_shape_is_still_not_signed(kind: int, junk: bytes, size: int) -> None:
    assert not judged(bytes([kind]) + junk[: size - 1])


@pytest.mark.slow
@given(
    st.sampled_from(RIGHTS),
    st.sampled_from([None, ALICE, BOB]),
    st.integers(0, 1 << 50),
    st.integers(1, access.LONGEST),
    st.integers(0, (1 << 32) - 1),
    st.booleans(),
)
def test_a_token_says_what_was_put_in(
    rights: Right, holder: PeerId | None, start: int, life: int, generation: int, with_floor: bool
) -> None:
    record = issue(
        KEY,
        rights,
        holder=holder,
        not_before=Milliseconds(start),
        expires=Milliseconds(start + life),
        generation=generation,
    )
    shown = parse((raise_floor(KEY, generation) if with_floor else b"") + record)
    assert shown is not None
    assert isinstance(shown.claim, access.Token)
    assert shown.claim.record == record
    assert (shown.claim.topic, shown.claim.rights, shown.claim.generation) == (TOPIC, rights, generation)
    assert (shown.claim.not_before, shown.claim.expires) == (start, start + life)
    assert shown.claim.holder == (access.ANYBODY if holder is None else peer_hash(holder))
    assert (shown.floor is not None) is with_floor


def test_records_have_the_sizes_that_are_documented() -> None:
    assert (access.TOKEN_SIZE, access.PROOF_SIZE, access.FLOOR_SIZE) == (150, 97, 101)
    assert access.MAX_CREDENTIAL <= MAX_CREDENTIAL


# ---------------------------------------------------------------- proofs


def test_a_proof_is_between_two_peers() -> None:
    proof = prove(KEY, ALICE, BOB)
    assert judged(proof) == access.EVERY_RIGHT
    assert judged(proof, MAILBOX) == Right.NONE  # shown by somebody who saw it
    shown = parse(proof)
    assert shown is not None
    assert not Verifier(MAILBOX).rights(ALICE, TOPIC, shown, NOW, 0)  # shown to somebody else
    assert not Verifier(ALICE).rights(BOB, TOPIC, shown, NOW, 0)  # shown back
    assert judged(prove(OTHER_KEY, ALICE, BOB)) == Right.NONE


def test_what_was_verified_for_one_peer_is_not_good_for_another() -> None:
    verifier, shown = Verifier(BOB), parse(prove(KEY, ALICE, BOB))
    assert shown is not None
    for peer, good in ((ALICE, True), (MAILBOX, False), (ALICE, True)):
        assert bool(verifier.rights(peer, TOPIC, shown, NOW, 0)) is good


def test_the_table_of_what_was_verified_is_bounded() -> None:
    verifier = Verifier(BOB, most=4)
    for generation in range(20):
        shown = parse(token(generation=generation))
        assert shown is not None
        assert verifier.rights(ALICE, TOPIC, shown, NOW, 0)
    assert len(verifier._good) == 4


# ---------------------------------------------------------------- a mesh's access


def test_access_is_what_sync_asks() -> None:
    credentials: Credentials = Access(ALICE, Clock())
    assert credentials.show(BOB, TOPIC) == b""
    assert not credentials.may_read(BOB, TOPIC, b"")


def test_members_and_a_mailbox_accept_each_other_and_nobody_else() -> None:
    alice, mailbox, stranger = (Access(peer, Clock()) for peer in (ALICE, MAILBOX, BOB))
    alice.join(member_topic(KEY))
    mailbox.join(Topic(id=TOPIC, token=token(Right.READ | Right.WRITE, MAILBOX)))
    stranger.join(Topic(id=TOPIC, token=token(Right.READ | Right.WRITE, MAILBOX)))
    for one, other, good in (
        (alice, mailbox, True),
        (mailbox, alice, True),
        (stranger, alice, False),
        (stranger, mailbox, False),
    ):
        shown = one.show(other._me, TOPIC)
        assert other.may_read(one._me, TOPIC, shown) is good
        assert other.may_write(one._me, TOPIC, shown) is good


def test_nothing_is_allowed_in_topics_that_were_left() -> None:
    mesh = Access(BOB, Clock())
    mesh.join(Topic(id=TOPIC))
    assert mesh.may_read(ALICE, TOPIC, token())
    mesh.leave(TOPIC)
    assert not mesh.may_read(ALICE, TOPIC, token())
    assert mesh.show(ALICE, TOPIC) == b""


def test_a_floor_voids_older_tokens_and_only_rises() -> None:
    mesh = Access(BOB, Clock())
    assert not mesh.floor(raise_floor(KEY, 2))  # not a topic of ours
    mesh.join(Topic(id=TOPIC))
    assert mesh.floor(raise_floor(KEY, 2))
    assert not mesh.floor(raise_floor(KEY, 2))
    assert not mesh.floor(raise_floor(KEY, 1))
    assert not mesh.floor(raise_floor(OTHER_KEY, 9))
    assert not mesh.floor(token())
    assert not mesh.may_read(ALICE, TOPIC, token(generation=1))
    assert mesh.may_read(ALICE, TOPIC, token(generation=2))
    assert mesh.may_read(ALICE, TOPIC, prove(KEY, ALICE, BOB))
    mesh.join(Topic(id=TOPIC, token=b"junk"))  # again, with another token: the floor stays
    assert not mesh.may_read(ALICE, TOPIC, token(generation=1))


def test_a_floor_outlasts_the_topic_and_is_brought_along_by_whoever_joins() -> None:
    mesh = Access(BOB, Clock())
    mesh.join(Topic(id=TOPIC))
    assert mesh.floor_of(TOPIC) == b""
    assert mesh.floor(raise_floor(KEY, 2))
    record = mesh.floor_of(TOPIC)
    mesh.leave(TOPIC)
    mesh.leave(TOPIC)
    assert mesh.floor_of(TOPIC) == b""
    mesh.join(Topic(id=TOPIC, token=raise_floor(KEY, 1)))  # an older one takes nothing back
    assert mesh.floor_of(TOPIC) == record == raise_floor(KEY, 2)
    assert not mesh._left
    restarted = Access(BOB, Clock())
    restarted.join(Topic(id=TOPIC, token=record))
    for one in (mesh, restarted):
        assert not one.may_read(ALICE, TOPIC, token(generation=1))
        assert one.may_read(ALICE, TOPIC, token(generation=2))


def test_floors_of_topics_that_were_left_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "MOST_LEFT", 2)
    mesh = Access(BOB, Clock())
    keys = [SigningKey(bytes([number]) * 32) for number in range(3)]
    for key in keys:
        topic = topic_id(key.public)
        mesh.join(Topic(id=topic, token=raise_floor(key, 1)))
        mesh.leave(topic)
    assert list(mesh._left) == [topic_id(key.public) for key in keys[1:]]


def test_a_floor_spreads_with_the_credentials_that_are_shown() -> None:
    alice, bob, mailbox = (Access(peer, Clock()) for peer in (ALICE, BOB, MAILBOX))
    alice.join(dataclasses.replace(member_topic(KEY), token=raise_floor(KEY, 5)))
    bob.join(member_topic(KEY))
    mailbox.join(Topic(id=TOPIC, token=token(Right.READ, MAILBOX, generation=4)))
    assert bob.may_read(MAILBOX, TOPIC, mailbox.show(BOB, TOPIC))
    assert bob.may_read(ALICE, TOPIC, alice.show(BOB, TOPIC))
    assert not bob.may_read(MAILBOX, TOPIC, mailbox.show(BOB, TOPIC))
    assert mailbox.may_read(BOB, TOPIC, bob.show(MAILBOX, TOPIC))  # and the mailbox hears of it from bob
    assert mailbox.show(ALICE, TOPIC).startswith(raise_floor(KEY, 5))


def test_a_floor_of_another_topic_beside_a_token_makes_both_invalid() -> None:
    assert parse(raise_floor(OTHER_KEY, 1) + token()) is None
    assert parse(token() + raise_floor(KEY, 1)) is None
    assert parse(raise_floor(KEY, 1) + raise_floor(KEY, 2)) is None


def test_proofs_that_are_kept_are_bounded() -> None:
    mesh = Access(ALICE, Clock())
    mesh.join(member_topic(KEY))
    for number in range(access._MOST_PROOFS + 10):
        assert mesh.show(PeerId(f"peer{number}"), TOPIC)
    assert len(mesh._topics[TOPIC].proofs) <= access._MOST_PROOFS


def test_a_token_ends_while_a_session_lasts() -> None:
    clock = Clock()
    mesh = Access(BOB, clock)
    mesh.join(Topic(id=TOPIC))
    assert mesh.may_read(ALICE, TOPIC, token())
    clock.now += HOUR + access.SKEW
    assert not mesh.may_read(ALICE, TOPIC, token())
