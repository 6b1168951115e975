"""draft-ietf-mls-targeted-messages beside mls-extensions §5: groups in which everybody can be written to alone."""

from __future__ import annotations

import pytest

from mls import group as front, targeted
from mls.errors import CallerError, PastEpochError
from mls.proposals import Add, GroupContextExtensions
from mls.registries import WireFormat
from tests.mls.components.company import OFFER, TARGETED, company, demand, offer, someone
from tests.mls.refusals import A, B, C, refused


def test_where_it_is_demanded_everybody_reads_it() -> None:
    """So nobody enters to whom nothing could be sent, and `seal` never has to refuse a member."""
    ours = company(3, extensions=demand(wire_formats=[TARGETED]))
    poor = someone("poor").package(ours.env, leaf_extensions=offer(wire_formats=[]))
    refused("EXT-5-4", lambda: front.commit(ours[A], ours.env, proposals=[Add(poor.key_package)]))
    anna = someone("anna")
    ours.commit(B, joining=[(anna, anna.package(ours.env, leaf_extensions=OFFER))])
    for sender in ours.names:
        for reader in ours.names:
            if sender != reader:
                message = targeted.seal(ours[sender], ours.env, ours.leaf(reader), b"to you")
                found = targeted.open_message(ours[reader], message)
                assert (found.sender, found.data) == (ours.leaf(sender), b"to you")


def test_where_it_is_not_demanded_a_leaf_says_so() -> None:
    ours = company(2)
    plain = someone("plain")
    ours.commit(A, joining=[(plain, plain.package(ours.env, leaf_extensions=offer(wire_formats=[])))])
    with pytest.raises(CallerError, match="does not read targeted"):
        targeted.seal(ours[A], ours.env, ours.leaf("plain"), b"to you")
    targeted.open_message(ours[B], targeted.seal(ours["plain"], ours.env, ours.leaf(B), b"to you"))
    refused(
        "EXT-5-4",
        lambda: front.commit(ours[A], ours.env, proposals=[GroupContextExtensions(demand(wire_formats=[TARGETED]))]),
    )


def test_one_epoch_and_no_other() -> None:
    ours = company(3, extensions=demand(wire_formats=[TARGETED]))
    message = targeted.seal(ours[A], ours.env, ours.leaf(B), b"to you")
    assert front.peek(message).wire_format == WireFormat.TARGETED_MESSAGE
    assert front.peek(message).epoch == ours.any.epoch
    ours.commit(C)
    with pytest.raises(PastEpochError):
        targeted.open_message(ours[B], message)


def test_its_authenticated_data_is_its_own() -> None:
    """§4.9 of mls-extensions frames PublicMessage and PrivateMessage; the draft of targeted messages frames nothing."""
    ours = company(2, extensions=demand(safe_aad=[], wire_formats=[TARGETED]))
    message = targeted.seal(ours[A], ours.env, ours.leaf(B), b"to you", authenticated_data=b"free text")
    assert targeted.open_message(ours[B], message).authenticated_data == b"free text"


def test_nothing_is_used_up() -> None:
    """Not in the exporter of components either: these keys come from the other one."""
    ours = company(2)
    before = ours[A].trees
    message = targeted.seal(ours[A], ours.env, ours.leaf(B), b"to you")
    assert targeted.open_message(ours[B], message) == targeted.open_message(ours[B], message)
    assert ours[A].trees is before
