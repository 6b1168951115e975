"""Virtual clients of which one device is ours and one is OpenMLS's (draft-ietf-mls-virtual-clients).

The first tests take nothing but derivations from `mls.virtual` (`Hand`). Where the two disagree is in
test_openmls_virtual_differences.py.
"""

from __future__ import annotations

import pytest

from mls import group as front
from mls.codec import Reader, decode_exactly
from mls.errors import ReplayError
from mls.framing import encode_message
from mls.group import ApplicationMessage, CommitMessage
from mls.registries import Generation, OpenMlsSuite, WireFormat
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.state import Group
from mls.virtual.actions import Form, KeyPackageInfo, KeyPackageUpload
from mls.virtual.derivation_info import (
    KeyPackageDerivation,
)
from mls.virtual.epoch import DerivationEpoch
from mls.virtual.generation_id import PrivateMessageContext, generation_id
from mls.virtual.operations import OperationType
from tests.mls.clients import refusal
from tests.peers import launch
from tests.peers.openmls_by_hand import SHARED, Pair
from tests.peers.openmls_company import (
    BOTH,
    OURS,
    THEIRS,
    Company,
    key_package_of,
    lifetime,
    our_client,
)
from tests.peers.openmls_emulation import LISTED, register
from tests.peers.openmls_peer import OpenMls, RefusedError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 300),
]

SUITES = pytest.mark.parametrize(
    "suites",
    [
        pytest.param((1, 1), id="same"),
        pytest.param((2, 3), id="P-256 to ChaCha20"),
        pytest.param((3, 2), id="ChaCha20 to P-256"),
        pytest.param((1, OpenMlsSuite.MLKEM768_AES256GCM_SHA384_MLDSA65), id="to a longer hash and ML-DSA"),
        pytest.param((OpenMlsSuite.MLKEM1024_AES256GCM_SHA384_P384, 1), id="to a shorter hash"),
    ],
)
"""Of the emulation group and of the conversation."""


def upload_decoder(reader: Reader) -> KeyPackageUpload:
    return KeyPackageUpload.decode(reader, Form.WITHOUT_EXTENSIONS)


@pytest.mark.parametrize("founder", BOTH)
def test_the_id_of_every_epoch(openmls: OpenMls, founder: str) -> None:
    company = Company.of_both(openmls, founder, leaf_components=LISTED)
    ids = []
    for by in (None, OURS, THEIRS):
        if by is not None:
            company.commit(by, force_path=True)
        company.ours[OURS], epoch = DerivationEpoch.of(company.ours[OURS])
        assert register(company.theirs[THEIRS]) == epoch.epoch_id
        ids.append(epoch.epoch_id)
    assert len(set(ids)) == 3


@SUITES
def test_key_packages_of_openmls(openmls: OpenMls, suites: tuple[int, int]) -> None:
    pair = Pair(openmls, suites)
    for batch_number in range(2):
        batch = pair.theirs.batch(count=3, last_resort=[1])
        upload = decode_exactly(batch.upload, upload_decoder)
        assert (upload.epoch_id, upload.leaf, upload.generation) == (
            pair.hand.epoch.epoch_id,
            pair.leaf_of_theirs,
            batch_number,
        )
        assert upload.encode(Form.WITHOUT_EXTENSIONS) == batch.upload
        for index, (message, info) in enumerate(zip(batch.messages, upload.key_packages, strict=True)):
            package = key_package_of(message)
            said, (_, leaf_public), (_, init_public) = pair.hand.package(package.leaf_node)
            assert said == KeyPackageDerivation(upload.leaf, upload.generation, index)
            assert (package.leaf_node.encryption_key, package.init_key) == (leaf_public, init_public)
            assert info == KeyPackageInfo(
                reference=package.reference(pair.hand.suite), cipher_suite=suites[1], index=index
            )


@SUITES
@pytest.mark.parametrize("maker", BOTH)
def test_commits_guards_and_names(openmls: OpenMls, suites: tuple[int, int], maker: str) -> None:
    """Both devices take up one Welcome; then each commits, and each says something after every commit."""
    pair = Pair(openmls, suites)
    hand, theirs = pair.hand, pair.theirs
    ours, other = pair.both_in(maker)
    for bound, by in enumerate((OURS, THEIRS, THEIRS, OURS)):
        if by == OURS:
            sent = pair.commit_of_ours(ours)
            commit, ours = sent.message, sent.group
            got = theirs.process(commit)
            # What OpenMLS knows of a leaf that came by a Welcome is in test_openmls_virtual_differences.py.
            assert (got.kind, got.emulator) == ("commit", hand.epoch.own_leaf if bound else None)
        else:
            made = theirs.derived()
            commit = made.message
            theirs.merge()
            event = front.receive(ours, pair.env, commit, own=hand)
            assert isinstance(event, CommitMessage)
            assert event.sealing is not None
            assert hand.guard.attribute(event.sealing) == pair.leaf_of_theirs
            context = PrivateMessageContext.of(ours.group_id, ours.epoch, event.sealing.generation, HANDSHAKE)
            assert made.generation_id == generation_id(hand.epoch.suite, hand.epoch.generation_id, context)
            ours = event.group
        heard = front.receive(other, pair.env, commit)
        other = heard.group
        assert theirs.state.authenticator == ours.authenticator == other.authenticator

        message, generation, name = theirs.send_named(b"theirs")
        spoken = front.receive(ours, pair.env, message, own=hand)
        assert isinstance(spoken, ApplicationMessage)
        assert hand.guard.attribute(spoken.sealing) == pair.leaf_of_theirs
        assert spoken.sealing.generation == generation
        context = PrivateMessageContext.of(ours.group_id, ours.epoch, generation, APPLICATION)
        assert name == generation_id(hand.epoch.suite, hand.epoch.generation_id, context)
        ours, other = spoken.group, front.receive(other, pair.env, message).group

        ours, message = front.seal(ours, pair.env, b"ours", reuse_guard=hand.guard.sender(pair.env.provider))
        got = theirs.process(message)
        assert (got.sender, got.emulator, got.data) == (ours.own_leaf, hand.epoch.own_leaf, b"ours")
        other = front.receive(other, pair.env, message).group


@SUITES
@pytest.mark.parametrize("founder", BOTH)
def test_a_group_that_one_founds_and_the_other_follows(openmls: OpenMls, suites: tuple[int, int], founder: str) -> None:
    pair = Pair(openmls, suites)
    hand, theirs = pair.hand, pair.theirs
    if founder == OURS:
        ours = hand.found(b"founded")
        theirs.join_at_creation(front.group_info(ours, with_tree=True))
    else:
        theirs.found(b"founded")
        ours = front.follow_creation(pair.env, SHARED, theirs.group_info(), hand)
    for _ in range(2):
        state = theirs.state
        assert (state.authenticator, state.context) == (ours.authenticator, ours.public.context.encoded)
        assert state.tree == ours.public.tree.encode()
        assert (state.leaf, ours.own_leaf) == (0, 0)
        message, generation, name = theirs.send_named(b"theirs")
        spoken = front.receive(ours, pair.env, message, own=hand)
        assert isinstance(spoken, ApplicationMessage)
        assert hand.guard.attribute(spoken.sealing) == pair.leaf_of_theirs
        context = PrivateMessageContext.of(ours.group_id, ours.epoch, generation, APPLICATION)
        assert name == generation_id(hand.epoch.suite, hand.epoch.generation_id, context)
        ours, message = front.seal(spoken.group, pair.env, b"ours", reuse_guard=hand.guard.sender(pair.env.provider))
        assert theirs.process(message).emulator == hand.epoch.own_leaf
        # With one leaf in the tree the path is empty, and the path secret is the commit secret.
        made = theirs.derived()
        theirs.merge()
        ours = front.receive(ours, pair.env, made.message, own=hand).group


@SUITES
@pytest.mark.parametrize("enters", BOTH)
def test_joining_from_outside(openmls: OpenMls, suites: tuple[int, int], enters: str) -> None:
    """One device enters a group that the virtual client is not in; then each replaces the leaf from outside."""
    pair = Pair(openmls, suites)
    hand, theirs = pair.hand, pair.theirs
    suite = hand.suite.cipher_suite
    bystander = our_client("bystander", suite).package(pair.env, lifetime=lifetime(pair.env)).key_package
    other, _ = pair.conversation(encode_message(WireFormat.KEY_PACKAGE, bystander.encoded))
    ours: Group | None = None
    inside = False
    for by in (enters, OURS, THEIRS, OURS):
        info = front.group_info(other, with_tree=True)
        if by == OURS:
            joined = pair.entry_of_ours(info, ours)
            message, ours = joined.message, joined.group
            if inside:
                assert theirs.process(message).kind == "commit"
            else:
                theirs.join_after_sibling(info, message)
        else:
            _, message = theirs.enter(info)
            if ours is None:
                ours = front.follow_external(pair.env, SHARED, info, message, hand)
            else:
                ours = front.receive(ours, pair.env, message, own=hand).group
        inside = True
        other = front.receive(other, pair.env, message).group
        state = theirs.state
        assert state.authenticator == ours.authenticator == other.authenticator
        assert state.leaf == ours.own_leaf
        spoken = front.receive(ours, pair.env, theirs.send(b"theirs"), own=hand)
        assert isinstance(spoken, ApplicationMessage)
        assert hand.guard.attribute(spoken.sealing) == pair.leaf_of_theirs
        ours, message = front.seal(spoken.group, pair.env, b"ours", reuse_guard=hand.guard.sender(pair.env.provider))
        assert theirs.process(message).emulator == hand.epoch.own_leaf


def test_following_somebody_back_into_a_conversation(openmls: OpenMls) -> None:
    """A device that was not in a conversation follows an external commit that replaces the virtual client's leaf."""
    pair = Pair(openmls, (1, 1))
    packages, _ = pair.hand.batch(1)
    other, welcome = pair.conversation(encode_message(WireFormat.KEY_PACKAGE, packages[0].key_package.encoded))
    ours, _ = front.join(pair.env, SHARED, welcome, packages)
    info = front.group_info(other, with_tree=True)
    joined = pair.entry_of_ours(info, ours)
    assert pair.theirs.join_after_sibling(info, joined.message).authenticator == joined.group.authenticator


def test_operations_that_are_heard_of_late(openmls: OpenMls) -> None:
    """Both keep the newest 32 that were passed over."""
    pair = Pair(openmls, (1, 1))
    uploads = [pair.hand.batch(1)[1] for _ in range(41)]
    theirs = [decode_exactly(pair.theirs.batch().upload, upload_decoder) for _ in range(41)]
    epoch = pair.hand.epoch
    for number in (40, 8, 39):
        pair.theirs.take_upload(uploads[number])
        _, epoch = epoch.operation_at(theirs[number].leaf, OperationType.KEY_PACKAGE, theirs[number].generation)
    for number in (7, 8, 40):
        with pytest.raises(RefusedError, match="OperationGenerationConsumed"):
            pair.theirs.take_upload(uploads[number])
        with pytest.raises(ReplayError):
            epoch.operation_at(theirs[number].leaf, OperationType.KEY_PACKAGE, theirs[number].generation)


def test_how_far_an_operation_may_be_ahead(openmls: OpenMls) -> None:
    pair = Pair(openmls, (1, 1))
    unused = pair.hand.epoch
    for _ in range(1024):
        _, pair.hand.epoch = pair.hand.epoch.next_operation(OperationType.KEY_PACKAGE)
    near, far = [pair.hand.batch(1)[1] for _ in range(2)]
    with pytest.raises(RefusedError, match="OperationGenerationTooDistant"):
        pair.theirs.take_upload(far)
    pair.theirs.take_upload(near)
    leaf = decode_exactly(near, upload_decoder).leaf
    assert refusal(lambda: unused.operation_at(leaf, OperationType.KEY_PACKAGE, Generation(1025))) == "VC-6.2-2"
    unused.operation_at(leaf, OperationType.KEY_PACKAGE, Generation(1024))
