"""The X.509 chain that an account shows (`vcd.core.certificates`): on all its devices, to whom it talks with."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from mls.persistent import PMap
from tests.mls.little_pki import Holder, authority, ec_key, issue, member
from tests.providers import SeededProvider
from tests.vcd.core.certified import Public
from tests.vcd.core.company import step
from tests.vcd.core.homes import device, home, link, remove
from tests.vcd.core.people import befriend, friends, invite, open_talk, strand
from tests.vcd.core.village import START, Village
from vcd.core import certificates, inputs, siblings, stored
from vcd.core.accounts.certificate import MAX_CHAIN, Chain, statement
from vcd.core.errors import Malformed, Misuse
from vcd.core.names import AccountId
from vcd.core.payloads import Certified, pack, unpack
from vcd.core.policy import Mode

BEGINS = datetime.datetime.fromtimestamp(START / 1000, datetime.UTC) - datetime.timedelta(days=1)
TIMES: dict[str, Any] = {"begins": BEGINS, "ends": BEGINS + datetime.timedelta(days=400)}
ROOT = authority("Example CA", ec_key(1), **TIMES)
MIDDLE = authority("Staff", ec_key(2), ROOT, **TIMES)


def key_of(village: Village, name: str) -> bytes:
    edition = village.state(name).book.edition
    assert edition is not None
    return edition.head.signing_key


def chain_for(village: Village, name: str, issuer: Holder = MIDDLE, **changes: Any) -> tuple[bytes, ...]:
    leaf = member(Public(key_of(village, name)), issuer, **{"text": name, **TIMES, **changes})
    return (leaf.der, MIDDLE.der)


def shown(village: Village, name: str, who: str) -> tuple[bytes, ...]:
    found = certificates.of(village.state(name), village.own(who))
    return () if found is None else found.chain


def certify(village: Village, name: str, chain: tuple[bytes, ...]) -> None:
    village.do(name, inputs.Certify(chain=chain))
    village.wait(minutes=1)


def real(*names: str) -> Village:
    """Certificates need keys that are points of a curve."""
    village = Village(real=True)
    for name in names:
        village.account(name)
    befriend(village, *names)
    village.wait(seconds=1)
    return village


# ---------------------------------------------------------------- who sees it


def test_it_is_shown_to_those_in_a_conversation_and_to_nobody_else() -> None:
    v = real("anna", "ben", "cleo")
    open_talk(v, "anna", "ben")
    chain = chain_for(v, "anna")
    certify(v, "anna", chain)
    assert [shown(v, each, "anna") for each in ("anna", "ben", "cleo")] == [chain, chain, ()]
    invite(v, "ben", "cleo")
    v.wait(minutes=2)
    assert shown(v, "cleo", "anna") == chain  # the topic that begins with a newcomer


def test_all_devices_of_the_account_have_it_a_new_one_too_and_one_of_them_shows_it() -> None:
    v = real("anna", "ben")
    link(v, "anna", "phone")
    open_talk(v, "anna", "ben")
    chain = chain_for(v, "anna")
    before = len(v.log)
    certify(v, "phone", chain)
    assert [shown(v, each, "anna") for each in ("anna", "phone", "ben")] == [chain] * 3
    topic = strand(v, "ben").kept[strand(v, "ben").head].topic
    name = next(key for key, each in v.state("ben").joined.items() if each.secret.raw == topic.raw)
    assert sum(each.topic == name for each in v.log[before:]) == 1
    link(v, "anna", "tablet")
    v.wait(minutes=1)
    assert shown(v, "tablet", "anna") == chain


@pytest.mark.parametrize("mode", [Mode.LEAD, Mode.DIMLS])
def test_in_conversations_of_other_modes(mode: Mode) -> None:
    v = real("anna", "ben")
    open_talk(v, "anna", "ben", mode=mode)
    chain = chain_for(v, "anna")
    certify(v, "anna", chain)
    assert shown(v, "ben", "anna") == chain


def test_of_two_that_were_given_apart_the_later_one_stands_everywhere() -> None:
    v = real("anna", "ben")
    link(v, "anna", "phone")
    open_talk(v, "anna", "ben")
    first, second = chain_for(v, "anna", text="first"), chain_for(v, "anna", text="second")
    v.part(["anna"], ["phone", "ben"])
    v.do("anna", inputs.Certify(chain=first))
    v.wait(seconds=30)
    v.do("phone", inputs.Certify(chain=second))
    v.wait(seconds=30)
    v.heal()
    v.wait(minutes=2)
    assert [shown(v, each, "anna") for each in ("anna", "phone", "ben")] == [second] * 3


def test_it_can_be_taken_back() -> None:
    v = real("anna", "ben")
    link(v, "anna", "phone")
    open_talk(v, "anna", "ben")
    certify(v, "anna", chain_for(v, "anna"))
    certify(v, "phone", ())
    assert [shown(v, each, "anna") for each in ("anna", "phone", "ben")] == [(), (), ()]


def test_who_has_never_shown_one_and_shows_none_says_nothing() -> None:
    v = real("anna", "ben")
    open_talk(v, "anna", "ben")
    before = len(v.log)
    certify(v, "anna", ())
    assert len(v.log) == before
    assert not v.state("anna").chains


def test_it_is_said_once_and_again_when_the_logs_have_forgotten_it() -> None:
    v = real("anna", "ben")
    open_talk(v, "anna", "ben")
    chain = chain_for(v, "anna")
    certify(v, "anna", chain)
    v.devices["ben"].state = replace(v.state("ben"), chains=PMap())  # as a device of Ben's that was linked since
    v.wait(days=1)
    assert shown(v, "ben", "anna") == ()
    v.wait(days=30)
    assert shown(v, "ben", "anna") == chain


def test_after_a_device_was_removed_it_is_shown_to_nobody_new() -> None:
    v = real("anna", "ben", "cleo")
    link(v, "anna", "phone")
    open_talk(v, "anna", "ben")
    chain = chain_for(v, "anna")
    certify(v, "anna", chain)
    remove(v, "anna", "phone")
    v.wait(minutes=5)
    invite(v, "anna", "cleo")
    v.wait(minutes=2)
    assert (shown(v, "ben", "anna"), shown(v, "cleo", "anna")) == (chain, ())
    contact = v.state("ben").book.find(v.own("anna"))
    assert contact is not None
    assert contact.head.signing_key == key_of(v, "anna") != v.state("ben").chains[v.own("anna")].key
    renewed = chain_for(v, "anna")
    certify(v, "anna", renewed)
    assert shown(v, "cleo", "anna") == renewed


def test_it_decides_nothing() -> None:
    v = real("anna", "ben")
    open_talk(v, "anna", "ben")
    before = v.state("ben").book.find(v.own("anna"))
    certify(v, "anna", chain_for(v, "anna"))
    assert v.state("ben").book.find(v.own("anna")) == before


# ---------------------------------------------------------------- what is no good


def test_a_chain_is_looked_at_before_it_is_shown() -> None:
    v = real("anna", "ben")
    leaf, middle = chain_for(v, "anna")
    (others, _) = chain_for(v, "ben")
    (over, _) = chain_for(v, "anna", ends=BEGINS + datetime.timedelta(hours=1))
    unnamed = issue("", Public(key_of(v, "anna")), MIDDLE, **TIMES)
    for chain, said in (
        ((others, middle), "another key"),
        ((middle, leaf), "another key|use of it"),
        ((leaf, ROOT.der), "next one"),
        ((over, middle), "ended"),
        ((b"\x30\x82",), "no certificate"),
        ((unnamed.der,), "names nobody"),
        ((leaf,) + (middle,) * 6, "at most 6"),
        ((leaf, bytes(MAX_CHAIN)), str(MAX_CHAIN)),
    ):
        with pytest.raises(Misuse, match=said) as caught:
            v.do("anna", inputs.Certify(chain=chain))
        assert caught.value.code == "bad-certificate"
    assert not v.state("anna").chains


def said_by(v: Village, name: str, chain: tuple[bytes, ...], at: int, signer: str = "") -> Certified:
    edition, signing = v.state(name).book.edition, v.state(signer or name).household.signing
    assert edition is not None
    assert signing is not None
    signature = statement(v.devices[name].provider, edition.head, signing, chain, at)
    return Certified(head=edition.head, chain=chain, at=at, signature=signature)


def hear(v: Village, name: str, payload: Certified) -> list[str]:
    before = len(v.devices[name].refused)
    step(v, name, lambda turn: certificates.on_certified(turn, payload))
    return [rule for rule, _ in v.devices[name].refused[before:]]


def test_only_the_account_itself_says_what_it_shows_and_older_words_change_nothing() -> None:
    v = friends("anna", "ben", "cleo")
    hear(v, "ben", said_by(v, "anna", (b"new",), 10))
    hear(v, "ben", said_by(v, "anna", (b"old",), 9))
    assert shown(v, "ben", "anna") == (b"new",)
    forged = said_by(v, "anna", (b"forged",), 11, signer="cleo")
    assert rules(v, "ben", forged) == ["certificate-signature"]
    moved = replace(said_by(v, "anna", (b"new",), 10), at=12)
    assert rules(v, "ben", moved) == ["certificate-signature"]
    assert shown(v, "ben", "anna") == (b"new",)


def rules(v: Village, name: str, payload: Certified) -> list[str]:
    from vcd.core.turn import Turn

    turn = Turn(v.state(name), v.now, v.devices[name].provider)
    certificates.on_certified(turn, payload)
    return [rule for rule, _ in turn.refused]


def test_nothing_is_kept_of_strangers_and_of_superseded_heads() -> None:
    v = friends("anna", "ben")
    v.account("dora")
    assert rules(v, "ben", said_by(v, "dora", (b"x",), 1)) == ["certificate-stranger"]
    link(v, "anna", "phone")
    old = said_by(v, "anna", (b"x",), 1)
    remove(v, "anna", "phone")
    v.wait(minutes=5)
    hear(v, "ben", said_by(v, "anna", (b"y",), 2))
    assert rules(v, "ben", replace(old, at=1)) == ["certificate-superseded"]


def test_who_had_the_old_key_and_said_a_time_far_ahead_is_outlived_by_the_new_key() -> None:
    v = friends("anna", "ben")
    open_talk(v, "anna", "ben")
    link(v, "anna", "phone")
    v.wait(minutes=2)
    told = siblings.Told(device=device(v, "phone"), epoch=home(v, "anna").head, newest=b"")
    record = siblings.CertificateSet(chain=(b"stolen",), key=key_of(v, "anna"), at=1 << 53)
    step(v, "anna", lambda turn: certificates.on_set(turn, told, record))
    hear(v, "ben", said_by(v, "anna", (b"stolen",), (1 << 64) - 1))
    assert [shown(v, each, "anna") for each in ("anna", "ben")] == [(b"stolen",)] * 2
    remove(v, "anna", "phone")
    v.wait(minutes=5)
    v.do("anna", inputs.Certify(chain=()))
    assert v.state("anna").chains[v.own("anna")].at <= v.now
    hear(v, "ben", said_by(v, "anna", (b"renewed",), v.now))
    assert [shown(v, each, "anna") for each in ("anna", "ben")] == [(), (b"renewed",)]


def test_a_payload_is_bounded() -> None:
    v = friends("anna")
    good = said_by(v, "anna", (b"x",), 1)
    assert unpack(pack(good)) == good
    for chain in ((b"x",) * 7, (bytes(MAX_CHAIN + 1),)):
        with pytest.raises(Malformed, match="too long"):
            unpack(pack(replace(good, chain=chain)))


def test_what_a_sibling_tells_is_bounded_too() -> None:
    v = friends("anna")
    link(v, "anna", "phone")
    told = siblings.Told(device=device(v, "phone"), epoch=home(v, "anna").head, newest=b"")
    record = siblings.CertificateSet(chain=(bytes(MAX_CHAIN + 1),), key=b"k", at=1 << 50)
    step(v, "anna", lambda turn: certificates.on_set(turn, told, record))
    assert not v.state("anna").chains


def test_there_are_no_more_than_so_many_and_strangers_give_way_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "MAX_CHAINS", 3)
    v = friends("anna", "ben", "cleo")
    link(v, "anna", "phone")
    certified = Chain(chain=(b"own",), key=b"", at=1)
    v.devices["anna"].state = replace(
        v.state("anna"),
        chains=PMap(
            {
                v.own("anna"): certified,
                AccountId(b"a" * 32): replace(certified, heard=1 << 60),
                v.own("ben"): replace(certified, heard=1),
            }
        ),
    )
    hear(v, "anna", said_by(v, "cleo", (b"x",), 1))
    assert set(v.state("anna").chains) == {v.own("anna"), v.own("ben"), v.own("cleo")}


def test_it_is_stored_and_a_state_of_before_has_none() -> None:
    v = real("anna", "ben")
    open_talk(v, "anna", "ben")
    certify(v, "anna", chain_for(v, "anna"))
    rows = stored.rows(v.state("ben"))
    again = stored.load(rows, SeededProvider(1))
    assert again.chains[v.own("anna")] == v.state("ben").chains[v.own("anna")]
    before = {row: value for row, value in rows.items() if row[0] not in ("chains", "chain_shown")}
    assert not stored.load(before, SeededProvider(1)).chains
