"""Virtual clients of which some devices are ours and some OpenMLS's, in conversations with ordinary members of both.

Here our devices are those of `mls.virtual` (`Account` and `Conversation` compare whatever can be compared).
test_openmls_virtual.py compares the derivations by hand.
"""

from __future__ import annotations

import pytest

from tests.peers import launch
from tests.peers.openmls_account import Account, Conversation
from tests.peers.openmls_company import BOTH, OURS, THEIRS
from tests.peers.openmls_peer import OpenMls

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
