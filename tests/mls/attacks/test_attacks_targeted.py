"""Attacks on targeted messages: other readers, other writers, other places, and what one costs.

Most of what an insider can do is in tests/mls/test_targeted.py; here are branches of one group, suites with
post-quantum parts, members whose leaves are not what they should be, and size.
"""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from mls import group as front
from mls.components.dictionary import dictionary_extension
from mls.errors import CallerError, MlsError, PeerError, WrongRecipientError
from mls.framing import encode_message
from mls.leaf_node import Extension, default_capabilities
from mls.proposals import Remove
from mls.registries import ExtensionType, HybridSuite, LeafIndex, WireFormat
from mls.state import Group
from mls.targeted import Channel, decode_message, open_message, seal
from tests.mls.clients import Party, Psks, refusal
from tests.mls.components.company import LISTED, TARGETED, company

REFUTED = (AssertionError, pytest.fail.Exception)
"""What an open door looks like in a test; anything else is a fault of the test."""

HYBRID = (HybridSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519, HybridSuite.MLKEM768_AES256GCM_SHA384_MLDSA65)
MALFORMED = (
    dictionary_extension({LISTED: b"\x03odd"}),
    Extension(ExtensionType.SUPPORTED_WIRE_FORMATS, b"\x03odd"),
)


BOTH = Psks({b"one": bytes(32), b"other": b"\xff" * 32})
"""Two pre-shared keys, to tell two branches apart."""


def of_suite(count: int, suite: int) -> Party:
    able = default_capabilities((suite,), extensions=(6, 7, 8), proposals=(8, 9, 10))
    return company(count, suite=suite, capabilities=able)


@pytest.mark.parametrize("suite", HYBRID)
def test_no_byte_of_a_hybrid_message_is_free(suite: int) -> None:
    party = of_suite(2, suite)
    message = seal(party.any, party.env, LeafIndex(1), b"for one pair of eyes")
    reader = party["member01"]
    assert open_message(reader, message).data == b"for one pair of eyes"
    frame = decode_message(message)
    parts = {name: getattr(frame, name) for name in ("authenticated_data", "encrypted_sender_auth_data", "ciphertext")}
    for name, part in parts.items():
        for at in {0, len(part) // 2, len(part) - 1} if part else ():
            bent = replace(frame, **{name: part[:at] + bytes([part[at] ^ 0x80]) + part[at + 1 :]})
            with pytest.raises(PeerError):
                open_message(reader, encode_message(WireFormat.TARGETED_MESSAGE, bent.encode()))


def _branches(party: Party) -> tuple[dict[str, Group], dict[str, Group]]:
    """One epoch twice: the same members under the same leaf keys, by two commits without a path."""
    both = []
    for word in (b"one", b"other"):
        sent = front.commit(
            party["member00"], party.env, proposals=[front.external_psk(party.any, party.env, word)], force_path=False
        )
        groups = {"member00": sent.group}
        for name in ("member01", "member02"):
            event = front.receive(party[name], party.env, sent.message)
            groups[name] = event.group
        both.append(groups)
    return both[0], both[1]


def test_a_message_of_one_branch_in_the_other() -> None:
    """Group, epoch number, leaves and leaf keys are equal; what the epochs export is not."""
    party = company(3)
    party.env = replace(party.env, psks=BOTH)
    one, other = _branches(party)
    assert one["member01"].epoch == other["member01"].epoch
    assert one["member01"].own_leaf_node == other["member01"].own_leaf_node
    message = seal(one["member00"], party.env, LeafIndex(1), b"data")
    assert open_message(one["member01"], message).data == b"data"
    assert refusal(lambda: open_message(other["member01"], message)) == "TM-6.3-1"


def test_an_insider_takes_a_message_to_another_branch() -> None:
    """With both epochs' keys it can reseal the sender's data; the content stays bound to its own epoch."""
    party = company(3)
    party.env = replace(party.env, psks=BOTH)
    one, other = _branches(party)
    frame = decode_message(seal(one["member00"], party.env, LeafIndex(1), b"data"))
    suite = party.suite
    place = Channel.of(one["member02"])._place(frame.recipient)
    key, nonce = Channel.of(one["member02"])._sender_auth_key(frame.ciphertext)
    auth = suite.aead_open(key, nonce, place, frame.encrypted_sender_auth_data)
    key, nonce = Channel.of(other["member02"])._sender_auth_key(frame.ciphertext)
    moved = replace(frame, encrypted_sender_auth_data=suite.aead_seal(key, nonce, place, auth))
    message = encode_message(WireFormat.TARGETED_MESSAGE, moved.encode())
    assert refusal(lambda: open_message(other["member01"], message)) == "TM-6.2-1"


def test_who_is_removed_neither_reads_nor_writes() -> None:
    party = company(3)
    gone = party["member02"]
    party.commit("member00", proposals=[Remove(gone.own_leaf)])
    stale = seal(gone, party.env, LeafIndex(1), b"from the past")
    with pytest.raises(MlsError):
        open_message(party["member01"], stale)
    posing = replace(decode_message(stale), epoch=party.any.epoch)
    with pytest.raises(PeerError):
        open_message(party["member01"], encode_message(WireFormat.TARGETED_MESSAGE, posing.encode()))
    fresh = seal(party["member00"], party.env, LeafIndex(1), b"among us")
    with pytest.raises(MlsError):
        open_message(gone, fresh)
    with pytest.raises(MlsError):
        seal(party["member02"], party.env, LeafIndex(1), b"still here")


def test_a_message_for_one_is_not_taken_for_another() -> None:
    party = company(3)
    message = seal(party.any, party.env, LeafIndex(1), b"data")
    with pytest.raises(WrongRecipientError):
        open_message(party["member02"], message)
    readdressed = replace(decode_message(message), recipient=LeafIndex(2))
    with pytest.raises(PeerError):
        open_message(party["member02"], encode_message(WireFormat.TARGETED_MESSAGE, readdressed.encode()))


def test_four_megabytes_of_zeros() -> None:
    """Signed by the hash of the ciphertext, opened once, and counted as padding without a loop: linear, and quick."""
    party = company(2)
    channel, reader = Channel.of(party.any), party["member01"]
    frame = channel.seal(
        party.env.provider.random,
        sender=LeafIndex(0),
        signature_private=party.any.signature_key,
        recipient=LeafIndex(1),
        recipient_key=reader.own_leaf_node.encryption_key,
        data=b"",
        authenticated_data=b"",
        pad=lambda _: 4 << 20,
    )
    message = encode_message(WireFormat.TARGETED_MESSAGE, frame.encode())
    start = time.process_time()
    assert open_message(reader, message).data == b""
    assert time.process_time() - start < 1


def test_sealing_to_a_leaf_whose_list_cannot_be_read() -> None:
    """Such a leaf is let in while the group demands nothing. That nothing can be sent to it is nobody's message."""
    party = company(2, leaf=MALFORMED)
    with pytest.raises(CallerError):
        seal(party.any, party.env, LeafIndex(1), b"data")


def test_a_member_that_does_not_read_them_gets_none() -> None:
    party = company(2, leaf=())
    with pytest.raises(CallerError):
        seal(party.any, party.env, LeafIndex(1), b"data")
    assert TARGETED == WireFormat.TARGETED_MESSAGE
