"""Virtual clients of our devices and OpenMLS's: where they do not agree.

Each test says what either does with the same bytes, and docs/spec-notes.md who follows the text. A test here fails when
OpenMLS changes its mind (or we do), which is what it is for: then it belongs into test_openmls_virtual.py.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls import group as front
from mls.codec import decode_exactly
from mls.commit import NewLeaf
from mls.components.last_resort import mark
from mls.errors import PeerError
from mls.framing import encode_message
from mls.group import ApplicationMessage
from mls.proposals import Add
from mls.provider import PathSupply
from mls.registries import GroupId, WireFormat
from mls.secrets import PathSecret
from mls.state import Group
from mls.virtual import client as virtual
from mls.virtual.actions import Form, KeyPackageUpload
from mls.virtual.announcements import Created
from mls.virtual.derivation_info import UpdateDerivation, seal, with_derivation_info
from mls.virtual.derive import leaf_key, target_operation_secret
from mls.virtual.emulation import begun
from mls.virtual.errors import UnknownPackageError
from mls.virtual.ff1 import BitOrder
from mls.virtual.operations import OperationType
from mls.virtual.stock import take_in
from tests.mls.clients import refusal
from tests.peers import launch
from tests.peers.openmls_account import SETTINGS, Account
from tests.peers.openmls_by_hand import SHARED, Hand, Pair
from tests.peers.openmls_company import (
    OURS,
    PARAMETERS,
    THEIRS,
    capabilities,
    key_package_of,
    lifetime,
    our_client,
)
from tests.peers.openmls_conversation import Conversation
from tests.peers.openmls_emulation import LISTED_EXTENSIONS, NUMBERS, register
from tests.peers.openmls_peer import OpenMls, RefusedError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 300),
]

MANY = 48
"""Guards to attribute. With two leaves in the emulation group chance gets all of them right once in 2^48 times."""


def heard(pair: Pair, ours: Group) -> ApplicationMessage:
    """Something that OpenMLS's device says."""
    event = front.receive(ours, pair.env, pair.theirs.send(b"theirs"), own=pair.hand)
    assert isinstance(event, ApplicationMessage)
    return event


# ---------------------------------------------------------------- reuse guards


def test_the_order_of_bits_in_the_small_space_prp(openmls: OpenMls) -> None:
    """The draft numbers bits from the most significant one; OpenMLS takes each byte from its least significant one."""
    pair = Pair(openmls, (1, 1))
    ours, _ = pair.both_in()
    (ours,) = pair.commit_of_theirs(ours)
    by_the_text = replace(pair.hand.guard, bit_order=BitOrder.MSB_FIRST)
    found = []
    for _ in range(MANY):
        event = heard(pair, ours)
        ours = event.group
        found.append((pair.hand.guard.attribute(event.sealing), by_the_text.attribute(event.sealing)))
    assert {theirs for theirs, _ in found} == {pair.leaf_of_theirs}
    assert {text for _, text in found} == {0, 1}

    emulators = set()
    for _ in range(MANY):
        ours, message = front.seal(ours, pair.env, b"ours", reuse_guard=by_the_text.sender(pair.env.provider))
        emulators.add(pair.theirs.process(message).emulator)
    assert emulators == {0, 1}


def test_guards_of_a_leaf_that_came_by_a_welcome(openmls: OpenMls) -> None:
    """A leaf of a KeyPackage has a DerivationInfo too; OpenMLS looks for one in commits and in new groups alone."""
    pair = Pair(openmls, (1, 1))
    ours, _ = pair.both_in()
    attributed = set()
    for _ in range(MANY):
        message, _, name = pair.theirs.send_named(b"theirs")
        assert name is None
        event = front.receive(ours, pair.env, message, own=pair.hand)
        assert isinstance(event, ApplicationMessage)
        ours = event.group
        attributed.add(pair.hand.guard.attribute(event.sealing))
    assert attributed == {0, 1}  # they are drawn at random, so that two devices may choose one nonce
    ours, message = front.seal(ours, pair.env, b"ours", reuse_guard=pair.hand.guard.sender(pair.env.provider))
    assert pair.theirs.process(message).emulator is None

    (ours,) = pair.commit_of_theirs(ours)  # a leaf that a device commits ends it
    event = heard(pair, ours)
    assert pair.hand.guard.attribute(event.sealing) == pair.leaf_of_theirs


def test_authors_under_a_leaf_that_came_by_a_welcome(openmls: OpenMls) -> None:
    """So ours names any device, itself too, for what OpenMLS's says there."""
    account = Account(openmls)
    conversation = Conversation.of_other(account, "carl")
    conversation.invite("carl", account.packages(OURS)[0])
    heard = []
    for _ in range(MANY):
        message = conversation.theirs[THEIRS].send(b"theirs")
        got = virtual.receive(account.ours[OURS], conversation.ours[OURS], account.env, message)
        account.ours[OURS], conversation.ours[OURS] = got.emulation, got.event.group
        assert got.ours
        heard.append((None if got.author is None else got.author.leaf, got.echo))
    assert set(heard) == {(account.leaf(OURS), True), (account.leaf(THEIRS), False)}


# ---------------------------------------------------------------- KeyPackages


def invited(pair: Pair, message: bytes, group_id: bytes) -> bytes:
    """A Welcome to this KeyPackage."""
    who = our_client("otherwise", pair.hand.suite.cipher_suite)
    group = front.create(
        pair.env,
        PARAMETERS,
        pair.hand.suite.cipher_suite,
        GroupId(group_id),
        credential=who.credential,
        signature_private=who.signer,
        capabilities=who.capabilities,
        lifetime=lifetime(pair.env),
    )
    sent = front.commit(group, pair.env, proposals=[Add(key_package_of(message))])
    assert sent.welcome is not None
    return sent.welcome


def test_a_last_resort_of_a_sibling(openmls: OpenMls) -> None:
    """An upload of OpenMLS does not say which KeyPackage is one, and OpenMLS forgets each with its first Welcome."""
    pair = Pair(openmls, (1, 1))
    packages, upload = pair.hand.batch(1, extensions=mark(()))
    pair.theirs.take_upload(upload)
    message = encode_message(WireFormat.KEY_PACKAGE, packages[0].key_package.encoded)
    pair.theirs.join(invited(pair, message, b"first"))
    with pytest.raises(RefusedError, match="NoMatchingKeyPackage"):
        pair.theirs.join(invited(pair, message, b"second"))
    # Of one that it made itself it knows.
    message = pair.theirs.batch(last_resort=[0]).messages[0]
    for name in (b"third", b"fourth"):
        pair.theirs.join(invited(pair, message, name))


def test_a_last_resort_of_theirs(openmls: OpenMls) -> None:
    """Without extensions in the upload our device does not know either, and keeps each until it is withdrawn."""
    account = Account(openmls)
    device = account.theirs[THEIRS]
    batch = device.batch(last_resort=[0])
    upload = decode_exactly(batch.upload, lambda reader: KeyPackageUpload.decode(reader, Form.WITHOUT_EXTENSIONS))
    emulation = take_in(account.ours[OURS], account.env, upload, sender=account.leaf(THEIRS))
    pair = Pair(openmls, (1, 1))
    first, second = [invited(pair, batch.messages[0], name) for name in (b"first", b"second")]
    joined = virtual.join(emulation, account.env, SHARED, first)
    assert virtual.join(joined.emulation, account.env, SHARED, second).again
    with pytest.raises(UnknownPackageError):
        virtual.join(joined.emulation.without([joined.reference]), account.env, SHARED, second)


def test_a_welcome_that_does_not_open(openmls: OpenMls) -> None:
    """Anybody who sees a KeyPackage can send one. OpenMLS forgets the KeyPackage by it; we keep it."""
    pair = Pair(openmls, (1, 1))
    packages, upload = pair.hand.batch(1)
    pair.theirs.take_upload(upload)
    welcome = invited(pair, encode_message(WireFormat.KEY_PACKAGE, packages[0].key_package.encoded), b"first")
    spoilt = welcome[:-1] + bytes([welcome[-1] ^ 1])
    with pytest.raises(RefusedError):
        pair.theirs.join(spoilt)
    with pytest.raises(RefusedError, match="NoMatchingKeyPackage"):
        pair.theirs.join(welcome)
    assert refusal(lambda: front.join(pair.env, SHARED, spoilt, packages)) == "VAL-12.4.3.1-2"
    front.join(pair.env, SHARED, welcome, packages)


# ---------------------------------------------------------------- leaves


def founded(pair: Pair, group_id: bytes) -> Group:
    """A group that OpenMLS's device made, and ours followed; nothing was said in it yet."""
    pair.theirs.found(group_id)
    return front.follow_creation(pair.env, SHARED, pair.theirs.group_info(), pair.hand)


def test_a_leaf_copied_into_another_group(openmls: OpenMls) -> None:
    """Key and DerivationInfo of a leaf can be copied by whoever sees it. They open in the other group, too, and OpenMLS
    takes their operation for consumed although the commit fails; it cannot follow the genuine one any more.
    """
    pair = Pair(openmls, (1, 1))
    first = founded(pair, b"first")
    victim = pair.theirs.another()
    victim.found(b"second")
    second = front.follow_creation(pair.env, SHARED, victim.group_info(), pair.hand)

    genuine = pair.commit_of_ours(first)
    leaf_node = genuine.group.own_leaf_node
    stranger = front.join_externally(
        pair.env,
        PARAMETERS,
        front.group_info(second, with_tree=True),
        credential=pair.hand.who.credential,
        signature_private=our_client("stranger").signer,
        capabilities=capabilities(1),
        leaf_extensions=leaf_node.extensions,
        supply=PathSupply(
            leaf_private=second.private[0], leaf_public=leaf_node.encryption_key, path_secret=PathSecret(bytes(32))
        ),
        remove=second.own_leaf,
    )
    with pytest.raises(RefusedError, match="DerivationInfoMalformed"):
        victim.process(stranger.message)
    with pytest.raises(RefusedError, match="OperationGenerationConsumed"):
        pair.theirs.process(genuine.message)


def test_the_index_of_a_founder(openmls: OpenMls) -> None:
    """The first leaf of a group has index 0 in its batch of one; OpenMLS takes any."""
    pair = Pair(openmls, (1, 1))
    info = front.group_info(pair.hand.found(b"conversation", index=1), with_tree=True)
    pair.theirs.join_at_creation(info)
    emulation = begun(SETTINGS, pair.emulation_group)
    with pytest.raises(PeerError, match=r"VC-6\.3-5"):
        virtual.follow_creation(emulation, pair.env, PARAMETERS, Created(info))


def test_an_older_epoch(openmls: OpenMls) -> None:
    """The draft forbids a leaf to go back to an older emulation epoch; OpenMLS neither asks nor tells."""
    pair = Pair(openmls, (1, 1))
    ours = founded(pair, b"conversation")
    old, old_id = pair.hand, pair.theirs.epoch
    pair.company.commit(OURS, force_path=True)
    new = pair.hand = Hand(pair.company, 1)
    assert old_id is not None
    new_id = register(pair.company.theirs[THEIRS])
    for hand, epoch_id in ((new, new_id), (old, old_id)):
        pair.hand, pair.theirs.epoch = hand, epoch_id
        sent = pair.commit_of_ours(ours)
        assert pair.theirs.process(sent.message).kind == "commit"
        (ours,) = pair.commit_of_theirs(sent.group)
    assert pair.theirs.state.authenticator == ours.authenticator


def test_an_older_epoch_of_theirs(openmls: OpenMls) -> None:
    account = Account(openmls)
    conversation = Conversation.founded(account, OURS)
    old = account.theirs[THEIRS].epoch
    account.commit(OURS)
    conversation.commit(OURS)
    message = conversation.theirs[THEIRS].prepare(emulation_epoch=old).message
    refused = refusal(lambda: virtual.receive(account.ours[OURS], conversation.ours[OURS], account.env, message))
    assert refused == "VC-6.2-3"


def test_an_update_of_a_sibling(openmls: OpenMls) -> None:
    """The draft has leaves of source `update`; OpenMLS has none, and cannot follow when one is committed."""
    pair = Pair(openmls, (1, 1))
    ours, other = pair.both_in()
    hand = pair.hand
    operation, hand.epoch = hand.epoch.next_operation(OperationType.LEAF_NODE, ours.group_id)
    pair_of_keys = leaf_key(hand.suite, target_operation_secret(hand.suite, operation.secret, ours.group_id))
    info = seal(hand.epoch, pair_of_keys[1], UpdateDerivation(operation.leaf, operation.generation))
    leaf = NewLeaf(extensions=with_derivation_info(LISTED_EXTENSIONS, NUMBERS, info))
    ours, proposal, _ = front.propose_update(ours, pair.env, leaf=leaf, leaf_key=pair_of_keys)
    other = front.receive(other, pair.env, proposal).group
    assert pair.theirs.process(proposal).kind == "proposal"
    sent = front.commit(other, pair.env)
    with pytest.raises(RefusedError) as refused:
        pair.theirs.process(sent.message)
    assert "MissingSender" in str(refused.value)


def test_a_resync_with_a_new_key(openmls: OpenMls) -> None:
    """OpenMLS takes the place of the leaf that has its signature key, and else a new one: the client is in it twice."""
    account = Account(openmls)
    conversation = Conversation.founded(account, OURS)
    conversation.add(OURS, "carl")
    account.new_key(OURS)
    state, message = account.theirs[THEIRS].another().enter(conversation.group_info("carl"))
    event = front.receive(conversation.ours["carl"], account.env, message)
    assert event.group.authenticator == state.authenticator
    assert [event.group.public.tree.member_count, state.leaf] == [3, 2]
    got = virtual.receive(account.ours[OURS], conversation.ours[OURS], account.env, message)
    assert not got.ours
    assert got.event.group.own_leaf == 0
