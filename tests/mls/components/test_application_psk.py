"""mls-extensions §4.5: pre-shared keys of components."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front, snapshot as store
from mls.codec import decode_exactly, opaque, u16
from mls.components.numbers import ComponentId
from mls.errors import CallerError, MissingPskError
from mls.group import CommitMessage
from mls.proposals import Add, PreSharedKey
from mls.psk import ApplicationPskId, decode_psk_id
from mls.registries import PskType
from mls.schedule import joiner_secret
from mls.secrets import CommitSecret, InitSecret
from mls.suite import Suite
from tests.mls.clients import DEFAULT, Party, Psks, client, party
from tests.mls.frankenstein import external_init, forge_commit, proposed
from tests.mls.refusals import A, B, C, accepts, refused, refuses
from tests.mls.suite_variants import GROUP_SUITES
from tests.validation import breaks

COLOR, NOTE = 0x8001, 0x8002


def store_of(**values: bytes) -> Psks:
    """`color` and `note` are the keys named "key" of the two components."""
    numbers = {"color": COLOR, "note": NOTE}
    return Psks({u16(numbers[name]) + b"key": value for name, value in values.items()})


def with_store(ours: Party, psks: Psks) -> Party:
    return ours.copy(replace(ours.env, psks=psks))


@pytest.mark.parametrize("suite", GROUP_SUITES)
def test_everybody_who_has_it_gets_there(suite: int) -> None:
    """By value and by reference, from every side, into the joiner's Welcome as well."""
    ours = party(2, suite, psks=store_of(color=b"blue", note=b"text"))
    plain = front.commit(ours[A], ours.env).group
    mixed = ours.commit(A, proposals=[front.application_psk(ours[A], ours.env, COLOR, b"key")])
    assert mixed.group.authenticator != plain.authenticator
    ours.propose(B, front.application_psk(ours[B], ours.env, NOTE, b"key"))
    ours.add(A, "anna")
    ours.say("anna", b"here")
    psk = front.application_psk(ours[A], ours.env, COLOR, b"key").psk
    ours.join_externally("ben", psks=[psk])
    ours.say("ben", b"here too")


def test_bytes_of_the_id() -> None:
    """§4.5: type 3, then the component, the name and the nonce."""
    psk_id = ApplicationPskId(ComponentId(COLOR), b"key", bytes(32))
    encoded = psk_id.encode()
    assert encoded == b"\x03" + u16(COLOR) + opaque(b"key") + opaque(bytes(32))
    assert decode_exactly(encoded, decode_psk_id) == psk_id
    assert encoded[0] == int(PskType.APPLICATION)


def test_its_place_in_the_key_schedule() -> None:
    """RFC 9420 §8.4 by hand, with the id of this kind."""
    suite = Suite(1)
    key, nonce = b"blue", bytes(range(32))
    ours = party(2, psks=store_of(color=key))
    proposal = PreSharedKey(ApplicationPskId(ComponentId(COLOR), b"key", nonce))
    sent = front.commit(ours[A], ours.env, proposals=[proposal])
    event = front.receive(ours[B], ours.env, sent.message)
    assert isinstance(event, CommitMessage)
    assert event.plan.psks == (proposal.psk,)
    zero = bytes(32)
    extracted = suite.extract(zero, key)
    label = b"\x03" + u16(COLOR) + opaque(b"key") + opaque(nonce) + u16(0) + u16(1)
    psk_secret = suite.extract(suite.expand_with_label(extracted, b"derived psk", label, 32), zero)
    context = sent.group.public.context.encoded
    init, commit = InitSecret(ours[A].secrets.init.raw), CommitSecret(zero)
    joiner = joiner_secret(suite, init, commit, context)
    member = suite.extract(joiner.raw, psk_secret)
    epoch = suite.expand_with_label(member, b"epoch", context, 32)
    assert suite.derive_secret(epoch, b"authentication") == sent.group.authenticator


def test_components_do_not_share_names() -> None:
    """The same name under another component, or as an external key, is another key."""
    ours = party(2, psks=store_of(color=b"blue"))
    for other in (
        front.application_psk(ours[A], ours.env, NOTE, b"key"),
        front.external_psk(ours[A], ours.env, b"key"),
    ):
        with pytest.raises(MissingPskError):
            front.commit(ours[A], ours.env, proposals=[other])
    both = party(2, psks=Psks({u16(COLOR) + b"key": b"same", b"key": b"same"}))
    nonce = bytes(32)
    kinds = [ApplicationPskId(ComponentId(COLOR), b"key", nonce), front.external_psk(both[A], both.env, b"key").psk]
    kinds[1] = replace(kinds[1], nonce=nonce)
    ends = [front.commit(both[A], both.env, proposals=[PreSharedKey(psk)]).group.authenticator for psk in kinds]
    assert ends[0] != ends[1]


def test_who_does_not_have_it_waits() -> None:
    """`MissingPskError` on every side, nothing changes, and with the key all goes on."""
    ours = party(3, psks=store_of(color=b"blue"))
    bare = replace(ours.env, psks=Psks())
    psk = front.application_psk(ours[A], ours.env, COLOR, b"key")
    anna = client("anna")
    package = anna.package(ours.env)
    sent = front.commit(ours[A], ours.env, proposals=[psk, Add(package.key_package)])
    with pytest.raises(MissingPskError):
        front.commit(ours[A], bare, proposals=[psk])
    with pytest.raises(MissingPskError):
        front.receive(ours[B], bare, sent.message)
    with pytest.raises(MissingPskError) as missing:
        anna.join(bare, sent.welcome, [package])
    assert decode_exactly(missing.value.psk_id, decode_psk_id) == psk.psk
    assert sent.welcome is not None
    info = front.group_info(ours[A])
    with pytest.raises(MissingPskError):
        anna.join_externally(bare, info, psks=[psk.psk])
    follower = accepts(ours, B, sent.message).group
    joined = anna.join(ours.env, sent.welcome, [package])
    assert follower.authenticator == sent.group.authenticator == joined.authenticator


@breaks("VAL-12.4.2-10")
def test_who_has_another_value_notices() -> None:
    """§4.5: the point of it: nobody enters the epoch with another password or file."""
    ours = party(2, psks=store_of(color=b"blue"))
    psk = front.application_psk(ours[A], ours.env, COLOR, b"key")
    sent = front.commit(ours[A], ours.env, proposals=[psk])
    other = with_store(ours, store_of(color=b"red"))
    refuses("VAL-12.4.2-10", other, B, sent.message)
    accepts(ours, B, sent.message)


def test_one_that_waits_and_is_not_here_is_left_out() -> None:
    ours = party(3, psks=store_of(color=b"blue"))
    ours.propose(B, front.application_psk(ours[B], ours.env, NOTE, b"key"))
    ours.propose(C, front.application_psk(ours[C], ours.env, COLOR, b"key"))
    stored = store.decode(ours.env.provider, DEFAULT, store.encode(ours[A]))
    assert stored.proposals == ours[A].proposals
    ours.groups[A] = stored
    event = front.receive(ours[B], ours.env, front.commit(ours[A], ours.env).message)
    assert isinstance(event, CommitMessage)
    assert [psk.component_id for psk in event.plan.psks] == [COLOR]  # type: ignore[union-attr]


@breaks("VAL-12.1.4-1")
@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_nonce_of_another_size(size: int) -> None:
    ours = party(2, psks=store_of(color=b"blue"))
    bad, good = [PreSharedKey(ApplicationPskId(ComponentId(COLOR), b"key", bytes(each))) for each in (size, 32)]
    refused("VAL-12.1.4-1", lambda: front.commit(ours[A], ours.env, proposals=[bad]))
    refuses("VAL-12.1.4-1", ours, A, *[proposed(ours[B], ours.env, each) for each in (bad, good)])
    first, init = external_init(ours[B], ours.env)
    commits = [
        forge_commit(ours[B], ours.env, client("stranger"), [first, each], external=init).message
        for each in (bad, good)
    ]
    refuses("VAL-12.1.4-1", ours, A, *commits)


@breaks("VAL-12.2-6")
def test_one_of_them_twice() -> None:
    ours = party(2, psks=store_of(color=b"blue"))
    psk = front.application_psk(ours[A], ours.env, COLOR, b"key")
    again = front.application_psk(ours[A], ours.env, COLOR, b"key")
    bad, good = [
        forge_commit(ours[B], ours.env, ours.clients[B], [psk, other], path=False).message for other in (psk, again)
    ]
    refuses("VAL-12.2-6", ours, A, bad, good)


@pytest.mark.parametrize("component", [-1, 0x10000])
def test_what_is_no_component(component: int) -> None:
    ours = party(2)
    with pytest.raises(CallerError, match="no component"):
        front.application_psk(ours[A], ours.env, component, b"key")
