"""DMLS §3: messages with the name of their epoch, and what becomes of bytes that are none."""

from __future__ import annotations

from functools import lru_cache

import pytest
from hypothesis import given, settings, strategies as st

from mls import group as front
from mls.codec import opaque
from mls.errors import CallerError, PeerError, StaleError
from mls.fork.message import DmlsMessage
from mls.framing import encode_message
from mls.key_package import KeyPackage
from mls.proposals import Add
from mls.registries import LeafIndex, WireFormat
from mls.targeted import Channel
from tests.mls.clients import NAMES, Party
from tests.mls.fork.company import LEAF, company, forker
from tests.mls.refusals import refused
from tests.validation import breaks

A, B = NAMES[:2]


def package_message(package: KeyPackage) -> bytes:
    return encode_message(WireFormat.KEY_PACKAGE, package.encoded)


@lru_cache(maxsize=1)
def everything() -> tuple[Party, dict[str, DmlsMessage]]:
    """One of each kind, with the epoch that each is of."""
    party = company(3)
    env = party.env
    package = forker("newcomer").package(env, leaf_extensions=LEAF).key_package
    sent = front.commit(party[A], env, proposals=[Add(package)])
    public = front.commit(party[A], env, encrypt=False)
    _, said = front.seal(party[A], env, b"said")
    frame = Channel.of(party[A]).seal(
        env.provider.random,
        sender=LeafIndex(0),
        signature_private=party[A].signature_key,
        recipient=LeafIndex(1),
        recipient_key=party[B].own_leaf_node.encryption_key,
        data=b"aimed",
        authenticated_data=b"",
        pad=lambda size: 0,
    )
    aimed = encode_message(WireFormat.TARGETED_MESSAGE, frame.encode())
    assert sent.welcome is not None
    made = {
        "commit": DmlsMessage.of(sent.before, sent.message),
        "public commit": DmlsMessage.of(public.before, public.message),
        "application": DmlsMessage.of(party[A], said),
        "targeted": DmlsMessage.of(party[A], aimed),
        "welcome": DmlsMessage.of(sent.group, sent.welcome),
        "group info": DmlsMessage.of(sent.group, front.group_info(sent.group)),
        "key package": DmlsMessage.of(sent.group, package_message(package)),
    }
    for name in ("commit", "public commit", "application", "targeted"):
        assert made[name].dmls_epoch == party[B].epoch_id
    for name in ("welcome", "group info"):
        assert made[name].dmls_epoch == sent.group.epoch_id
    assert made["key package"].dmls_epoch == b""
    return party, made


KINDS = ["commit", "public commit", "application", "targeted", "welcome", "group info", "key package"]


def test_every_kind_names_its_epoch_and_reads_back() -> None:
    _, made = everything()
    assert list(made) == KINDS
    for message in made.values():
        data = message.encode()
        assert data == message.message + opaque(message.dmls_epoch)
        assert DmlsMessage.decode(data) == message


def test_the_epoch_of_a_message_is_not_mistaken() -> None:
    """A commit is of the epoch that it ends, not of the one that it begins; what it begins is another value."""
    party = company(3)
    sent = front.commit(party[A], party.env)
    with pytest.raises(CallerError):
        DmlsMessage.of(sent.group, sent.message)
    with pytest.raises(CallerError):
        DmlsMessage.of(party[A], front.group_info(sent.group))
    with pytest.raises(PeerError):
        DmlsMessage.of(party[A], sent.message + b"\x00")


def test_the_name_leads_to_the_branch_and_proves_nothing() -> None:
    party = company(3)
    env = party.env
    ones = [front.commit(party[name], env) for name in (A, B)]
    values = {sent.group.epoch_id: sent.group for sent in ones}
    wrapped = [DmlsMessage.of(sent.group, front.seal(sent.group, env, b"here")[1]) for sent in ones]
    for message, other in zip(wrapped, reversed(wrapped), strict=True):
        assert values[message.dmls_epoch].epoch_id == message.dmls_epoch
        with pytest.raises((PeerError, StaleError)):
            front.receive(values[other.dmls_epoch], env, message.message)


@breaks("DMLS-3-1")
@pytest.mark.parametrize("size", [1, 16, 31, 33, 65, 4096])
def test_a_name_of_another_size(size: int) -> None:
    _, made = everything()
    message = made["application"]
    refused("DMLS-3-1", lambda: DmlsMessage.decode(message.message + opaque(bytes(size))))
    for right in (32, 48, 64):  # who only passes it on may not know the cipher suite
        assert DmlsMessage.decode(message.message + opaque(bytes(right))).dmls_epoch == bytes(right)


@breaks("DMLS-3-2")
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_where_none_belongs_and_none_where_one_does(kind: str) -> None:
    _, made = everything()
    message = made[kind]
    other = b"" if message.dmls_epoch else bytes(32)
    refused("DMLS-3-2", lambda: DmlsMessage.decode(message.message + opaque(other)))


@breaks("VAL-6-4")
def test_a_kind_that_is_none() -> None:
    _, made = everything()
    name = opaque(bytes(32))
    for kind in (0, 7, 0xF000):
        refused("VAL-6-4", lambda: DmlsMessage.decode(encode_message(kind, b"") + name))  # noqa: B023 - used at once
    DmlsMessage.decode(made["commit"].encode())


@breaks("VAL-2.1-1", "VAL-2.1-5")
@pytest.mark.parametrize("kind", KINDS)
def test_bytes_that_are_missing_or_left_over(kind: str) -> None:
    _, made = everything()
    data = made[kind].encode()
    refused("VAL-2.1-5", lambda: DmlsMessage.decode(data + b"\x00"))
    refused("VAL-2.1-1", lambda: DmlsMessage.decode(data[:-1]))
    for end in range(0, len(data), 7):
        with pytest.raises(PeerError):
            DmlsMessage.decode(data[:end])


@settings(max_examples=100)
@given(st.data())
def test_no_bytes_do_anything_but_be_refused(data: st.DataObject) -> None:
    _, made = everything()
    raw = bytearray(made[data.draw(st.sampled_from(KINDS))].encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = DmlsMessage.decode(bytes(raw))
    except PeerError:
        return
    assert DmlsMessage.decode(message.encode()) == message
