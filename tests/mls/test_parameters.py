"""RFC 9750 §7: every choice of `Parameters` does what it says."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from mls import group as front
from mls.codec import varint
from mls.errors import (
    LimitError,
    MissingPskError,
    ReplayError,
)
from mls.framing import PrivateMessage
from mls.group import ApplicationMessage
from mls.leaf_node import (
    Extension,
    Lifetime,
)
from mls.parameters import Padding
from mls.proposals import (
    Add,
    GroupContextExtensions,
)
from mls.registries import (
    Epoch,
    ExtensionType,
)
from mls.welcome import read_message
from tests.mls.clients import (
    DEFAULT,
    LIFETIME,
    NOW,
    Party,
    client,
    environment,
    party,
    refusal,
    with_parameters,
)


def ciphertext(message: bytes) -> bytes:
    return PrivateMessage.decode(read_message(message, 2)).ciphertext


@pytest.mark.parametrize("policy", list(Padding))
def test_padding(policy: Padding) -> None:
    ours = party(2, parameters=replace(DEFAULT, padding=policy))
    group, env = ours["member00"], ours.env
    sizes = {}
    for size in (0, 1, 2, 100, 255, 256, 1000, 5000):
        message = front.seal(group, env, bytes(size))[1]
        sizes[size] = len(ciphertext(message)) - 16
        event = front.receive(ours["member01"], env, message)
        assert isinstance(event, ApplicationMessage)
        assert event.data == bytes(size)
    for size, padded in sizes.items():
        content = len(varint(size)) + size + 66  # data, then the signature
        if policy is Padding.NONE:
            assert padded == content
        elif policy is Padding.BLOCK:
            assert padded % 256 == 0
            assert content <= padded < content + 256
        else:
            assert content <= padded <= content * 1.12
            exponent = content.bit_length() - 1
            assert padded % (1 << (exponent - exponent.bit_length())) == 0
    handshake = front.commit(group, env).message
    if policy is Padding.BLOCK:
        assert (len(ciphertext(handshake)) - 16) % 256 == 0
    front.receive(ours["member01"], env, handshake)


@pytest.mark.parametrize("policy", list(Padding))
def test_padding_hides_what_it_says(policy: Padding) -> None:
    sizes = {length + policy.size(length) for length in range(2000)}
    assert all(policy.size(length) >= 0 for length in range(2000))
    if policy is Padding.BLOCK:
        assert sizes == set(range(0, 2049, 256))
    else:
        assert len(sizes) == {Padding.NONE: 2000, Padding.PADME: 93}[policy]


def sealed(ours: Party, by: str, count: int) -> list[bytes]:
    messages = []
    for number in range(count):
        ours.groups[by], message = front.seal(ours[by], ours.env, b"%d" % number)
        messages.append(message)
    return messages


def test_late_messages() -> None:
    ours = party(2, parameters=replace(DEFAULT, out_of_order=3))
    messages = sealed(ours, "member00", 8)
    group = ours["member01"]

    def read(number: int) -> None:
        nonlocal group
        event = front.receive(group, ours.env, messages[number])
        assert isinstance(event, ApplicationMessage)
        assert (event.data, event.sealing.generation) == (b"%d" % number, number)
        group = event.group

    read(5)
    for number in (2, 4):
        read(number)
    for number in (0, 1, 2, 4, 5):  # too late, or read already
        with pytest.raises(ReplayError):
            read(number)
    read(7)
    for number in (6,):
        read(number)
    with pytest.raises(ReplayError):
        read(3)  # the window moved on


def test_messages_from_far_ahead() -> None:
    ours = party(2, parameters=replace(DEFAULT, max_forward=5))
    messages = sealed(ours, "member00", 8)
    group = ours["member01"]
    assert refusal(lambda: front.receive(group, ours.env, messages[6])) == "VAL-15.3-1"
    after = front.receive(group, ours.env, messages[5]).group
    front.receive(after, ours.env, messages[7])


def test_how_many_proposals_may_wait() -> None:
    ours = party(2, parameters=replace(DEFAULT, max_pending=3))
    messages = []
    for number in range(4):
        extension = Extension(ExtensionType.APPLICATION_ID, b"%d" % number)
        group, message, _ = front.propose(
            ours["member00"], ours.env, GroupContextExtensions((extension,)), encrypt=False
        )
        ours.groups["member00"] = front.shelve_proposals(group)
        messages.append(message)
    group = ours["member01"]
    for message in messages[:3]:
        group = front.receive(group, ours.env, message).group
    with pytest.raises(LimitError, match="of this sender"):
        front.receive(group, ours.env, messages[3])
    front.receive(group, ours.env, messages[0])  # which is waiting already
    assert len(group.proposals) == 3


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_how_far_back_resumption_goes(kept: int) -> None:
    ours = party(2, parameters=replace(DEFAULT, resumption_psks=kept))
    for _ in range(4):
        ours.commit("member00")
    now = ours.any.epoch
    assert [epoch for epoch, _ in ours.any.resumption] == [now - kept + 1 + n for n in range(kept)]
    for epoch in range(now + 1):
        psk = front.resumption_psk(ours.any, ours.env, Epoch(epoch))
        if epoch > now - kept:
            sent = front.commit(ours["member00"], ours.env, proposals=[psk])
            assert (
                front.receive(ours["member01"], ours.env, sent.message).group.authenticator == sent.group.authenticator
            )
        else:
            with pytest.raises(MissingPskError):
                front.commit(ours["member00"], ours.env, proposals=[psk])


def test_lifetimes() -> None:
    ours = party(2)
    later = environment("later", now=NOW + 91 * 24 * 3600 * 1000)
    sooner = environment("sooner", now=NOW - 2 * 3600 * 1000)
    package = client("anna").package(ours.env)
    add = Add(package.key_package)
    for other in (later, sooner):
        assert refusal(partial(front.commit, ours.any, other, proposals=[add])) == "VAL-7.3-5"
        assert refusal(partial(front.propose, ours.any, other, add)) == "VAL-7.3-5"
    sent = front.commit(ours["member00"], ours.env, proposals=[add])
    # A device that slept follows what was right when it was sent, unless it is told otherwise.
    assert front.receive(ours["member01"], later, sent.message).group.epoch == 2
    strict = with_parameters(ours["member01"], refuse_expired=True)
    assert refusal(lambda: front.receive(strict, later, sent.message)) == "VAL-7.3-5"
    # A proposal that was right when it came may have expired when it is to be committed.
    waiting = front.propose(ours["member00"], ours.env, add)[0]
    assert refusal(partial(front.commit, waiting, later, references=list(waiting.proposals))) == "VAL-7.3-5"
    # Whoever joins late finds leaves in the tree that have expired since, its own among them.
    assert client("anna").join(later, sent.welcome, [package]).epoch == 2
    edge = LIFETIME.not_after
    assert LIFETIME.covers(edge * 1000 + 999)
    assert not LIFETIME.covers(edge * 1000 + 1000)
    long = Lifetime(LIFETIME.not_before, LIFETIME.not_before + DEFAULT.max_lifetime + 1)
    assert (
        refusal(
            lambda: front.commit(
                ours.any,
                ours.env,
                proposals=[Add(client("ben").package(ours.env, lifetime=long).key_package)],
            )
        )
        == "VAL-7.2-2"
    )


@pytest.mark.parametrize("encrypt", [True, False])
def test_how_handshakes_are_sent(encrypt: bool) -> None:
    ours = party(2, parameters=replace(DEFAULT, encrypt_handshakes=encrypt))
    group, env = ours.any, ours.env
    wire = b"\x00\x01\x00\x02" if encrypt else b"\x00\x01\x00\x01"
    other = b"\x00\x01\x00\x01" if encrypt else b"\x00\x01\x00\x02"
    assert front.commit(group, env).message.startswith(wire)
    assert front.propose_update(group, env)[1].startswith(wire)
    assert front.commit(group, env, encrypt=not encrypt).message.startswith(other)
    assert front.propose_update(group, env, encrypt=not encrypt)[1].startswith(other)
    assert client("anna").join_externally(env, front.group_info(group)).message.startswith(b"\x00\x01\x00\x01")
