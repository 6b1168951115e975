"""RFC 9420 §6 and §15: messages that are not what they say, or not from whom they say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.codec import u16, u32, u64
from mls.framing import PublicMessage, Sender, encode_message
from mls.proposals import Add, ExternalSender, Remove, external_senders_extension
from mls.registries import ContentType, LeafIndex, SenderType, WireFormat
from mls.state import Group
from tests.mls.clients import Party, client, party, with_parameters
from tests.mls.frankenstein import (
    Raw,
    as_private,
    as_public,
    authenticated,
    external_init,
    flipped,
    forge_commit,
    spoken,
)
from tests.mls.refusals import A, B, C, accepts, refused, refuses
from tests.validation import breaks

OUTSIDER = client("outsider")


def with_senders(count: int = 1) -> Party:
    sender = ExternalSender(OUTSIDER_KEY, OUTSIDER.credential)
    return party(3, extensions=(external_senders_extension((sender,) * count),))


OUTSIDER_KEY = party(1)[A].suite.scheme.public_key(OUTSIDER.signer)


def body_at(message: bytes, old: bytes, new: bytes) -> bytes:
    assert message.count(old) == 1
    return message.replace(old, new)


# §6


@breaks("VAL-6-1")
def test_an_unknown_sender_type() -> None:
    party_ = party(2)
    group = party_[B]
    good = as_public(group, authenticated(group, ContentType.PROPOSAL, Remove(LeafIndex(0)), wire_format=1))
    at = good.index(u64(group.epoch) + b"\x01") + 8
    for kind in (0, 5, 255):
        refuses("VAL-6-1", party_, A, good[:at] + bytes([kind]) + good[at + 1 :], good)


@breaks("VAL-6-2")
@pytest.mark.parametrize("kind", [0, 4, 255])
def test_an_unknown_content_type(kind: int) -> None:
    party_ = party(2)
    group = party_[B]
    sender = u64(group.epoch) + b"\x01" + u32(group.own_leaf) + b"\x00"
    public = as_public(group, authenticated(group, ContentType.PROPOSAL, Remove(LeafIndex(0)), wire_format=1))
    refuses("VAL-6-2", party_, A, body_at(public, sender + b"\x02", sender + bytes([kind])), public)
    private = spoken(group, party_.env)
    epoch = u64(group.epoch)
    refuses("VAL-6-2", party_, A, body_at(private, epoch + b"\x01", epoch + bytes([kind])), private)


@breaks("VAL-6-3")
def test_another_protocol_version() -> None:
    party_ = party(2)
    good = spoken(party_[B], party_.env)
    for version in (0, 2, 0xFFFF):
        refuses("VAL-6-3", party_, A, u16(version) + good[2:], good)


@breaks("VAL-6-4")
@pytest.mark.parametrize("wire_format", [0, 3, 4, 5, 9, 0xFFFF])
def test_a_message_of_another_kind(wire_format: int) -> None:
    party_ = party(2)
    good = spoken(party_[B], party_.env)
    refuses("VAL-6-4", party_, A, good[:2] + u16(wire_format) + good[4:], good)


@breaks("VAL-6-4")
def test_a_welcome_that_is_something_else() -> None:
    party_ = party(1)
    newcomer = client("newcomer")
    package = newcomer.package(party_.env)
    welcome = front.commit(party_[A], party_.env, proposals=[Add(package.key_package)]).welcome
    assert welcome is not None
    refused(
        "VAL-6-4", lambda: newcomer.join(party_.env, welcome[:2] + u16(WireFormat.GROUP_INFO) + welcome[4:], [package])
    )
    newcomer.join(party_.env, welcome, [package])


@breaks("VAL-6-4")
def test_a_group_info_that_is_something_else() -> None:
    party_ = party(2)
    info = front.group_info(party_[A])
    stranger = client("stranger")
    bad = info[:2] + u16(WireFormat.WELCOME) + info[4:]
    refused("VAL-6-4", lambda: stranger.join_externally(party_.env, bad))
    stranger.join_externally(party_.env, info)


@breaks("VAL-6-4")
@pytest.mark.parametrize("wire_format", [0, 9, 0xFFFF])
def test_the_outside_of_a_message_of_no_kind(wire_format: int) -> None:
    party_ = party(2)
    good = spoken(party_[B], party_.env)
    refused("VAL-6-4", lambda: front.peek(good[:2] + u16(wire_format) + good[4:]))
    assert front.peek(good).group_id == party_[A].group_id


@breaks("VAL-6-5")
@pytest.mark.parametrize("leaf", [3, 4, 0xFFFF_FFFF])
def test_a_public_message_from_a_blank_leaf(leaf: int) -> None:
    party_ = party(3)
    group = party_[B]
    content = authenticated(
        group, ContentType.PROPOSAL, Remove(LeafIndex(2)), wire_format=1, sender=Sender(SenderType.MEMBER, leaf)
    )
    refuses("VAL-6-5", party_, A, as_public(group, content))


@breaks("VAL-6-6")
def test_a_newcomer_who_proposes_in_a_commit_sender_s_name() -> None:
    party_ = party(2)
    content = authenticated(
        party_[A],
        ContentType.PROPOSAL,
        Add(OUTSIDER.package(party_.env).key_package),
        wire_format=1,
        sender=Sender(SenderType.NEW_MEMBER_COMMIT),
        signer=OUTSIDER.signer,
    )
    refuses("VAL-6-6", party_, A, as_public(party_[A], content))


@breaks("VAL-6-6")
@pytest.mark.parametrize("kind", [SenderType.EXTERNAL, SenderType.NEW_MEMBER_PROPOSAL])
def test_a_commit_by_somebody_who_may_only_propose(kind: int) -> None:
    party_ = with_senders()
    forged = forge_commit(party_[B], party_.env, party_.clients[B], encrypt=False)
    good = forged.message
    commit = Raw(b"\x00\x00")
    content = authenticated(
        party_[B],
        ContentType.COMMIT,
        commit,
        wire_format=1,
        sender=Sender(kind),
        signer=OUTSIDER.signer,
        tag=bytes(32),
    )
    refuses("VAL-6-6", party_, A, as_public(party_[B], content), good)


# §6.1


@breaks("VAL-6.1-1")
@pytest.mark.parametrize("private", [True, False])
def test_a_member_s_signature(private: bool) -> None:
    party_ = party(2)
    group = party_[B]
    wire_format = WireFormat.PRIVATE_MESSAGE if private else WireFormat.PUBLIC_MESSAGE

    def message(**surgery: object) -> bytes:
        content = authenticated(
            group,
            ContentType.PROPOSAL,
            Remove(LeafIndex(1)),
            wire_format=wire_format,
            **surgery,  # type: ignore[arg-type]
        )
        return as_private(group, party_.env, content) if private else as_public(group, content)

    refuses("VAL-6.1-1", party_, A, message(signature=flipped), message())
    refuses("VAL-6.1-1", party_, A, message(signer=party_.clients[A].signer), message())


@breaks("VAL-6.1-1")
def test_an_application_message_signed_by_another_member() -> None:
    party_ = party(3)
    content = authenticated(party_[B], ContentType.APPLICATION, b"hi", signer=party_.clients[C].signer)
    refuses("VAL-6.1-1", party_, A, as_private(party_[B], party_.env, content))


@breaks("VAL-6.1-1")
def test_a_signature_for_the_other_wire_format() -> None:
    party_ = party(2)
    content = authenticated(party_[B], ContentType.PROPOSAL, Remove(LeafIndex(1)), wire_format=1)
    refuses("VAL-6.1-1", party_, A, as_private(party_[B], party_.env, replace(content, wire_format=2)))


@breaks("VAL-6.1-1")
def test_an_external_sender_s_signature() -> None:
    party_ = with_senders()

    def message(signer: object) -> bytes:
        content = authenticated(
            party_[A],
            ContentType.PROPOSAL,
            Remove(LeafIndex(1)),
            wire_format=1,
            sender=Sender(SenderType.EXTERNAL, 0),
            signer=signer,  # type: ignore[arg-type]
        )
        return as_public(party_[A], content)

    refuses("VAL-6.1-1", party_, A, message(party_.clients[B].signer))
    # and the good one, which signs no group context
    good = front.propose_as_sender(
        party_.env,
        1,
        party_[A].group_id,
        party_[A].epoch,
        Remove(LeafIndex(1)),
        sender_index=0,
        signature_private=OUTSIDER.signer,
    )
    accepts(party_, A, good)


@breaks("VAL-6.1-1")
def test_a_newcomer_s_signatures() -> None:
    party_ = party(2)
    package = OUTSIDER.package(party_.env)
    good = front.propose_self(party_.env, party_[A].group_id, party_[A].epoch, package)
    refuses("VAL-6.1-1", party_, A, flipped(good), good)
    init, secret = external_init(party_[A], party_.env)
    bad = forge_commit(party_[A], party_.env, OUTSIDER, [init], external=secret, signature=flipped)
    fine = forge_commit(party_[A], party_.env, OUTSIDER, [init], external=secret)
    refuses("VAL-6.1-1", party_, A, bad.message, fine.message)


# §6.2


@breaks("VAL-6.2-1")
def test_application_data_in_the_clear() -> None:
    party_ = party(2)
    content = authenticated(party_[B], ContentType.APPLICATION, b"hi", wire_format=1)
    refuses("VAL-6.2-1", party_, A, as_public(party_[B], content))


@breaks("VAL-6.2-2")
@pytest.mark.parametrize("spoil", [flipped, lambda tag: b"", lambda tag: tag[:-1], lambda tag: tag + b"\x00"])
def test_a_membership_tag(spoil: object) -> None:
    party_ = party(2)
    content = authenticated(party_[B], ContentType.PROPOSAL, Remove(LeafIndex(1)), wire_format=1)
    good = as_public(party_[B], content)
    refuses("VAL-6.2-2", party_, A, as_public(party_[B], content, tag=spoil), good)  # type: ignore[arg-type]


@breaks("VAL-6.2-2")
def test_a_former_member_s_tag() -> None:
    """Who has a member's signature key but not the epoch's secrets is no member."""
    party_ = party(2)
    content = authenticated(party_[B], ContentType.PROPOSAL, Remove(LeafIndex(1)), wire_format=1)
    other = party(2, shape="full")
    message = PublicMessage(content, flipped(bytes(32)))
    assert other[B].secrets.membership != party_[B].secrets.membership
    refuses("VAL-6.2-2", party_, A, encode_message(WireFormat.PUBLIC_MESSAGE, message.encode()))


# §6.3


def hello(party_: Party, group: Group, **surgery: object) -> bytes:
    content = authenticated(group, ContentType.APPLICATION, b"hello")
    return as_private(group, party_.env, content, **surgery)  # type: ignore[arg-type]


@breaks("VAL-6.3.1-1")
def test_a_ciphertext() -> None:
    party_ = party(2)
    refuses("VAL-6.3.1-1", party_, A, hello(party_, party_[B], ciphertext=flipped), hello(party_, party_[B]))


@breaks("VAL-6.3.1-1")
def test_authenticated_data_that_was_changed_on_the_way() -> None:
    party_ = party(2)
    content = authenticated(party_[B], ContentType.APPLICATION, b"hello", data=b"about this")
    good = as_private(party_[B], party_.env, content)
    refuses("VAL-6.3.1-1", party_, A, body_at(good, b"about this", b"about that"), good)


@breaks("VAL-6.3.1-2")
@pytest.mark.parametrize("padding", [b"\x01", b"\x00\x00\x01", b"\x01\x00", bytes(300) + b"\x80"])
def test_padding_with_something_in_it(padding: bytes) -> None:
    party_ = party(2)
    bad = hello(party_, party_[B], plain=lambda plain: plain + padding)
    good = hello(party_, party_[B], plain=lambda plain: plain + bytes(len(padding)))
    refuses("VAL-6.3.1-2", party_, A, bad, good)


@breaks("VAL-6.3.2-1")
def test_sender_data_that_does_not_decrypt() -> None:
    party_ = party(2)
    bad = hello(party_, party_[B], sealed_sender_data=flipped)
    refuses("VAL-6.3.2-1", party_, A, bad, hello(party_, party_[B]))
    refuses("VAL-6.3.2-1", party_, A, hello(party_, party_[B], sealed_sender_data=lambda data: b""))


@breaks("VAL-6.3.2-2")
@pytest.mark.parametrize("spoil", [lambda data: data[:-1], lambda data: data + b"\x00", lambda data: b""])
def test_sender_data_of_another_size(spoil: object) -> None:
    party_ = party(2)
    refuses("VAL-6.3.2-2", party_, A, hello(party_, party_[B], sender_data=spoil), hello(party_, party_[B]))


@breaks("VAL-6.3.2-3")
@pytest.mark.parametrize("leaf", [3, 4, 0xFFFF_FFFF])
def test_sender_data_with_a_blank_leaf(leaf: int) -> None:
    party_ = party(3)
    bad = hello(party_, party_[B], sender_data=lambda data: u32(leaf) + data[4:])
    refuses("VAL-6.3.2-3", party_, A, bad, hello(party_, party_[B]))


# §15


@breaks("VAL-15.3-1")
def test_a_generation_too_far_ahead() -> None:
    party_ = party(2)
    party_.groups[A] = with_parameters(party_[A], max_forward=5)
    refuses("VAL-15.3-1", party_, A, hello(party_, party_[B], ahead=6), hello(party_, party_[B], ahead=5))
    far = hello(party_, party_[B], sender_data=lambda data: data[:4] + b"\xff" * 4 + data[8:])
    refuses("VAL-15.3-1", party_, A, far)
