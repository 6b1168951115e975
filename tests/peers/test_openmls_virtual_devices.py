"""Virtual clients of which some devices are ours and some OpenMLS's, in conversations with ordinary members of both.

Here our devices are those of `mls.virtual` (`Account` and `Conversation` compare whatever can be compared).
test_openmls_virtual.py compares the derivations by hand.
"""

from __future__ import annotations

import pytest

from mls import group as front
from mls.commit import NewLeaf
from mls.errors import UnderivedError
from mls.group import ApplicationMessage
from mls.proposals import Add, Remove
from mls.registries import LeafIndex
from mls.virtual import client as virtual
from mls.virtual.errors import UnknownEpochError
from tests.peers import launch
from tests.peers.openmls_account import Account
from tests.peers.openmls_company import BOTH, OURS, THEIRS, lifetime, our_client
from tests.peers.openmls_conversation import Conversation
from tests.peers.openmls_emulation import LISTED_EXTENSIONS
from tests.peers.openmls_peer import OpenMls, RefusedError

pytestmark = [
    pytest.mark.peers,
    pytest.mark.slow,
    pytest.mark.xdist_group("openmls"),
    pytest.mark.timeout(launch.CARGO_LIMIT + 600),
]

makers = pytest.mark.parametrize("by", BOTH)
ordinary = pytest.mark.parametrize("other", ["carl", "oona"])
framings = pytest.mark.parametrize("public", [False, True], ids=["private", "public"])


def everybody_acts(conversation: Conversation) -> None:
    for name in conversation.names:
        conversation.commit(name)
        for each in conversation.names:
            conversation.say(each, f"{each} after {name}".encode())


@makers
@framings
def test_a_conversation_that_a_device_makes(openmls: OpenMls, by: str, public: bool) -> None:
    account = Account(openmls, founder=by, public=public)
    conversation = Conversation.founded(account, by)
    conversation.add(OURS, "carl")
    conversation.add(THEIRS, "oona")
    everybody_acts(conversation)


@makers
@ordinary
@framings
def test_key_packages(openmls: OpenMls, by: str, other: str, public: bool) -> None:
    """A batch by one device; every device takes up the Welcome."""
    account = Account(openmls, public=public)
    for in_commit in (False, True):
        conversation = Conversation.of_other(account, other, b"in commit" if in_commit else b"by itself")
        conversation.invite(other, account.packages(by, 2, in_commit=in_commit)[1])
        for name in conversation.names:
            conversation.say(name, b"just welcomed")
        everybody_acts(conversation)


@makers
@ordinary
@framings
def test_joining_from_outside(openmls: OpenMls, by: str, other: str, public: bool) -> None:
    """A device enters, and then each replaces the leaf from outside, before and after the emulation group moved on."""
    account = Account(openmls, public=public)
    conversation = Conversation.of_other(account, other)
    for derive in (None, False, True):
        if derive is not None:
            account.commit(OURS, derive=derive)
            account.commit(THEIRS, derive=derive)
        for device in (by, OURS, THEIRS):
            conversation.enter(device, other)
            for name in conversation.names:
                conversation.say(name, name.encode())
        everybody_acts(conversation)


@makers
def test_epochs_that_a_commit_asks_for(openmls: OpenMls, by: str) -> None:
    """The emulation group moves on, and nothing is derived in the new epoch unless a commit says so."""
    account = Account(openmls)
    conversation = Conversation.founded(account, OURS)
    first = account.ours[OURS].head.newest
    account.commit(by, derive=False)
    assert account.ours[OURS].head.newest == first
    everybody_acts(conversation)
    account.commit(by, derive=True)
    assert account.ours[OURS].head.newest != first
    everybody_acts(conversation)


@makers
@framings
def test_commits_without_a_path_and_proposals(openmls: OpenMls, by: str, public: bool) -> None:
    account = Account(openmls, public=public)
    conversation = Conversation.founded(account, by)
    for name in ("carl", "oona"):
        conversation.add(OURS, name)
    for name in (OURS, THEIRS):
        conversation.commit(name)
        package = our_client("dora").package(account.env, lifetime=lifetime(account.env)).key_package
        conversation.commit(name, Add(package), path=False)
        for proposer in (OURS, THEIRS, "carl", "oona"):
            conversation.propose(proposer, Remove(LeafIndex(_last_leaf(conversation))))
            conversation.commit("oona" if proposer == "carl" else "carl")
            conversation.commit(name, Add(package), path=False)
            conversation.say(name, b"go on")
        conversation.commit("carl", Remove(LeafIndex(_last_leaf(conversation))))
    everybody_acts(conversation)


def _last_leaf(conversation: Conversation) -> int:
    return max(leaf for leaf, _ in conversation.theirs["oona"].state.members)


@makers
def test_two_devices_at_once(openmls: OpenMls, by: str) -> None:
    """Both take one generation; their guards differ, and each reads the other."""
    account = Account(openmls)
    conversation = Conversation.founded(account, by)
    for round_number in range(8):
        sealed = virtual.seal(account.ours[OURS], conversation.ours[OURS], account.env, b"ours")
        device = account.theirs[THEIRS]
        device.group = conversation.theirs[THEIRS].group
        message, generation, name = device.send_named(b"theirs", keep_key=True)
        assert (name, generation) == (sealed.claim, round_number)
        assert device.process(sealed.message).emulator == account.leaf(OURS)
        got = virtual.receive(account.ours[OURS], sealed.group, account.env, message)
        assert isinstance(got.event, ApplicationMessage)
        assert got.author == virtual.Author(account.ours[OURS].head.newest, account.leaf(THEIRS))
        account.ours[OURS], conversation.ours[OURS] = got.emulation, got.event.group


@makers
def test_messages_that_come_late(openmls: OpenMls, by: str) -> None:
    """A message belongs to the emulation epoch of the leaf that was active when it was sent."""
    account = Account(openmls, "bert", "otto")
    conversation = Conversation.founded(account, by)
    kept = []
    for sender, gone in ((THEIRS, "otto"), (OURS, "bert"), (THEIRS, None), (OURS, None)):
        before = conversation.ours[OURS]
        if sender == OURS:
            sealed = virtual.seal(account.ours[OURS], before, account.env, b"late")
            conversation.ours[OURS], message = sealed.group, sealed.message
        else:
            message = conversation.theirs[THEIRS].send(b"late")
        author = virtual.Author(account.ours[OURS].head.newest, account.leaf(sender))
        kept.append((sender, before, message, author))
        if gone is None:
            account.commit(by)
        else:
            account.remove(by, gone)
            conversation.ours.pop(gone, None)
            conversation.theirs.pop(gone, None)
        conversation.commit(OURS)
    assert len({author.epoch_id for _, _, _, author in kept}) == 4
    for sender, before, message, author in kept:
        if sender == OURS:
            assert conversation.theirs[THEIRS].process(message).emulator == author.leaf
        else:
            got = virtual.receive(account.ours[OURS], before, account.env, message)
            assert (got.author, got.echo) == (author, False)


@makers
@pytest.mark.parametrize("winner", BOTH)
@framings
def test_two_devices_commit_at_once(openmls: OpenMls, by: str, winner: str, public: bool) -> None:
    """Both on one generation of the handshake ratchet; whoever lost follows the other."""
    account = Account(openmls, public=public)
    conversation = Conversation.founded(account, by)
    conversation.add(OURS, "carl")
    for _ in range(3):
        device = conversation.theirs[THEIRS]
        made = device.prepare(emulation_epoch=account.theirs[THEIRS].epoch, keep_key=True)
        acted = virtual.commit(account.ours[OURS], conversation.ours[OURS], account.env, force_path=True)
        account.ours[OURS] = acted.emulation
        assert (acted.claim, acted.claim is None) == (made.generation_id, public)
        if winner == OURS:
            device.clear()
            got = device.process(acted.commit.message)
            assert (got.kind, got.emulator) == ("commit", None if public else account.leaf(OURS))
            conversation.ours[OURS] = acted.commit.group
        else:
            device.merge()
            heard = virtual.receive(account.ours[OURS], conversation.ours[OURS], account.env, made.message)
            assert heard.author == virtual.Author(account.ours[OURS].head.newest, account.leaf(THEIRS))
            account.ours[OURS], conversation.ours[OURS] = heard.emulation, heard.event.group
        message = acted.commit.message if winner == OURS else made.message
        conversation.ours["carl"] = front.receive(conversation.ours["carl"], account.env, message).group
        conversation.agree()
    everybody_acts(conversation)


@makers
def test_a_batch_for_two_suites(openmls: OpenMls, by: str) -> None:
    """Each KeyPackage is of the suite that the upload says."""
    account = Account(openmls)
    packages = account.packages(by, 2, suites=(3, 1))
    for number, package in zip((3, 1), packages, strict=True):
        account.suite = account.env.provider.suite(number)
        conversation = Conversation.of_other(account, "carl", bytes([number]))
        conversation.invite("carl", package)
        everybody_acts(conversation)


@makers
@ordinary
@pytest.mark.parametrize("back", ["by a Welcome", "from outside"])
def test_removed_and_back(openmls: OpenMls, by: str, other: str, back: str) -> None:
    account = Account(openmls)
    conversation = Conversation.founded(account, by)
    conversation.add(OURS, other)
    everybody_acts(conversation)
    conversation.commit(other, Remove(LeafIndex(conversation.leaf(OURS))))
    assert conversation.names == [other]
    if back == "from outside":
        conversation.enter(by, other)
    else:
        conversation.invite(other, account.packages(by)[0])
    everybody_acts(conversation)


def test_a_leaf_that_says_nothing_to_siblings(openmls: OpenMls) -> None:
    """A commit of the shared leaf with keys drawn at random, which nobody can follow."""
    account = Account(openmls)
    conversation = Conversation.founded(account, OURS)
    ours, device = conversation.ours[OURS], conversation.theirs[THEIRS]
    plain = NewLeaf(extensions=LISTED_EXTENSIONS)
    message = front.commit(ours, account.env, force_path=True, leaf=plain, encrypt=False).message
    with pytest.raises(RefusedError, match="OwnCommitMismatch"):
        device.process(message)
    # It is not accepted, so the sibling may take its key as well.
    message = device.prepare(path=True, leaf=device.leaf.fields(), keep_key=True).message
    device.clear()
    with pytest.raises(UnderivedError):
        virtual.receive(account.ours[OURS], ours, account.env, message)
    everybody_acts(conversation)


@pytest.mark.parametrize("gone", ["bert", "otto"])
@makers
def test_devices_come_and_go(openmls: OpenMls, by: str, gone: str) -> None:
    """A device that is removed can follow no commit of the virtual client after it, and read nothing."""
    account = Account(openmls, "bert", "otto")
    conversation = Conversation.founded(account, by)
    conversation.add(OURS, "carl")
    everybody_acts(conversation)
    for name in ("dave", "oskar"):
        account.add(by, name)
        conversation.enter(name, "carl")  # in the place of the virtual client's leaf; the others follow
        everybody_acts(conversation)

    removed_emulation = account.ours.get(gone)
    removed_device = account.theirs.get(gone)
    account.remove(by, gone)
    assert gone not in account.names
    removed_group = conversation.ours.pop(gone, None)
    conversation.theirs.pop(gone, None)
    conversation.commit(OURS, new=NewLeaf(signature_private=account.new_key(by)))
    if removed_emulation is not None and removed_group is not None:
        with pytest.raises(UnknownEpochError):
            virtual.receive(removed_emulation, removed_group, account.env, conversation.last)
    else:
        assert removed_device is not None
        removed_device.group = conversation.theirs[THEIRS].group
        with pytest.raises(RefusedError, match="MissingEmulationEpochState"):
            removed_device.process(conversation.last)
    everybody_acts(conversation)
