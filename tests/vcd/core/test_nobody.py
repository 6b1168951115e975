"""Who cannot come into a conversation, where whoever invited them has gone since."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mls.codec import decode_exactly
from mls.key_package import KeyPackage
from tests.vcd.core.homes import link, remove
from tests.vcd.core.people import (
    TEA,
    accounts,
    card,
    final_accounts,
    friends,
    intent,
    invite,
    members,
    open_talk,
    strand,
)
from tests.vcd.core.test_invitations import withdraw_all
from tests.vcd.core.village import Village
from vcd.core import events, inputs, nobody, steps
from vcd.core.accounts.identity import sign, suite_of
from vcd.core.errors import Refused
from vcd.core.names import EpochId, FrameId
from vcd.core.payloads import Nobody, Retry
from vcd.core.turn import Turn

FRAME = FrameId(b"f" * 32)


def invited_and_left() -> Village:
    """Cleo has invited ben, who is away, by a KeyPackage that he knows no more, and has left. Anna is alone there."""
    village = friends("anna", "ben", "cleo")
    open_talk(village, "anna", "cleo")
    village.wait(hours=1)
    withdraw_all(village, "ben")
    village.down("ben")
    invite(village, "cleo", "ben")
    village.wait(minutes=5)
    village.do("cleo", inputs.Depart(intent=intent("cleo leaves"), conversation=TEA))
    village.wait(minutes=10)
    assert accounts(village, "anna") == {village.own("anna"), village.own("ben")}
    assert strand(village, "anna").final != strand(village, "anna").head
    return village


def test_who_invited_and_has_left_passes_the_answer_on_and_those_who_stay_take_them_out() -> None:
    village = invited_and_left()
    village.restart("ben")
    village.wait(minutes=30)
    assert final_accounts(village, "anna") == accounts(village, "anna") == {village.own("anna")}
    fates = {each.intent: (each.stands, each.reason) for each in village.told("cleo", events.IntentFate)}
    assert fates[intent("cleo leaves")] == (True, "")
    assert fates[intent("cleo invites ben")] == (False, "not-a-member")


def test_they_can_be_invited_again_by_those_who_stay() -> None:
    village = invited_and_left()
    village.restart("ben")
    village.wait(minutes=30)
    village.packages[village.own("ben")] = village.packages[village.own("ben")][1:]
    invite(village, "anna", "ben")
    village.wait(hours=1)
    assert final_accounts(village, "anna") == final_accounts(village, "ben")
    assert len(members(village, "ben")) == 2


# ---------------------------------------------------------------- what is believed


def came_in(village: Village) -> tuple[EpochId, KeyPackage]:
    """How ben has come in, as far as that is not final, and by what."""
    found = strand(village, "anna")
    step = next(each for each in found.graph.steps.values() if each.adds)
    packages = [decode_exactly(each, KeyPackage.decode) for each in village.offered.values()]
    return step.epoch, next(each for each in packages if each.leaf_node.signature_key == step.adds[0].key)


def brought() -> Village:
    """Cleo has brought ben in, who acts there. Dora is away, so that nothing becomes final."""
    village = friends("anna", "ben", "cleo", "dora")
    open_talk(village, "anna", "cleo", "dora")
    village.wait(hours=2)
    village.down("dora")
    invite(village, "cleo", "ben")
    village.wait(hours=2)
    village.do("ben", inputs.Refresh(intent=intent("ben is here"), conversation=TEA))
    village.wait(minutes=1)
    ben = next(each for each in members(village, "anna") if each.account == village.own("ben"))
    assert ben.acted
    assert strand(village, "anna").final != strand(village, "anna").head
    return village


def said(village: Village, epoch: EpochId, package: KeyPackage, *, by: str = "ben") -> Nobody:
    """That nobody can use a KeyPackage, as one of ben's devices says it."""
    device = village.devices[by]
    edition, signing = device.state.book.edition, device.state.household.signing
    assert edition is not None
    assert signing is not None
    reference = bytes(package.reference(device.provider.suite(package.cipher_suite)))
    suite = suite_of(device.provider, edition.head.authority.mandate.cipher_suite)
    signature = sign(suite, signing, nobody.RETRY, edition.head.digest + reference)
    retry = Retry(reference=reference, head=edition.head, signature=signature)
    return Nobody(epoch=epoch, package=package.encode(), said=retry)


def heard(village: Village, payload: Nobody) -> Turn:
    device = village.devices["anna"]
    turn = Turn(device.state, village.now, device.provider)
    nobody.on_nobody(turn, TEA, payload, FRAME)
    return turn


def test_who_acts_there_under_the_newest_list_stays() -> None:
    village = brought()
    turn = heard(village, said(village, *came_in(village)))
    assert turn.refused == [("nobody-acts", "")]
    assert not turn.talk(TEA).owed


def test_who_acts_there_and_is_shut_out_since_goes() -> None:
    village = brought()
    link(village, "ben", "phone")
    village.part(["anna", "cleo"])
    remove(village, "ben", "phone")
    village.wait(minutes=30)
    turn = heard(village, said(village, *came_in(village)))
    ben = next(each for each in members(village, "anna") if each.account == village.own("ben"))
    assert turn.talk(TEA).owed == (ben.incarnation,)


def test_it_has_to_be_their_own_word_of_the_keypackage_that_they_came_in_by() -> None:
    village = brought()
    epoch, package = came_in(village)
    good = said(village, epoch, package)
    other = next(
        each
        for each in (decode_exactly(data, KeyPackage.decode) for data in village.offered.values())
        if steps.whose(each.leaf_node) == village.own("ben") and each != package
    )
    forged = replace(good.said, signature=bytes(len(good.said.signature)))
    wrong = {
        "retry-signature": replace(good, said=forged),
        "nobody-package": replace(good, package=b"no KeyPackage"),
    }
    for rule, payload in wrong.items():
        with pytest.raises(Refused) as refused:
            heard(village, payload)
        assert refused.value.rule == rule
    for payload in (said(village, epoch, other), replace(good, package=other.encode())):
        with pytest.raises(Refused) as refused:
            heard(village, payload)
        assert refused.value.rule == "nobody-package"


def test_under_a_list_that_is_known_to_be_old_it_is_not_believed() -> None:
    village = brought()
    good = said(village, *came_in(village))
    link(village, "ben", "phone")
    village.do("anna", inputs.AddContact(card=card(village, "ben"), petname="ben"))
    with pytest.raises(Refused) as refused:
        heard(village, good)
    assert refused.value.rule == "retry-superseded"


def test_what_is_said_of_an_epoch_that_is_not_known_waits_for_it() -> None:
    village = brought()
    _, package = came_in(village)
    turn = heard(village, said(village, EpochId(b"?" * 32), package))
    assert FRAME in turn.state.waiting.items
    assert not turn.refused
