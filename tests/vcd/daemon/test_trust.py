"""What certificates that people show are worth on this device, and how two daemons come to see them."""

from __future__ import annotations

import datetime
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from mls.persistent import PMap
from tests.mls.little_pki import Holder, authority, ec_key, member
from tests.vcd.core.certified import Public
from tests.vcd.core.people import friends
from tests.vcd.daemon.process import SETTINGS, home, until
from vcd.client import RpcError
from vcd.core.accounts.certificate import Chain
from vcd.core.names import AccountId
from vcd.core.state import State
from vcd.daemon import health
from vcd.daemon.trust import LONGEST, Trust, line

NOW = int(time.time() * 1000)
BEGINS = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
TIMES: dict[str, Any] = {"begins": BEGINS, "ends": BEGINS + datetime.timedelta(days=30)}
ROOT = authority("Example CA", ec_key(1), **TIMES)
OTHER = authority("Other CA", ec_key(2), **TIMES)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key().public_bytes_raw()


def pem(*several: Holder) -> bytes:
    return b"".join(each.certificate.public_bytes(Encoding.PEM) for each in several)


def leaf(key: bytes, text: str = "Anna", issuer: Holder = ROOT, **changes: Any) -> bytes:
    return member(Public(key), issuer, text, **{**TIMES, **changes}).der


def showing(*chain: bytes) -> tuple[State, AccountId]:
    """Ben, to whom Anna shows this; and her account, whose key is `KEY`."""
    village = friends("anna", "ben")
    state, account = village.state("ben"), village.own("anna")
    contact = state.book.known(account)
    book = state.book.with_contact(replace(contact, head=replace(contact.head, signing_key=KEY)))
    chains = PMap({account: Chain(chain=chain, key=KEY, at=1)})
    return replace(state, book=book, chains=chains), account


def trusting(folder: Path, *files: bytes) -> Trust:
    names = []
    for number, data in enumerate(files):
        (folder / f"{number}").write_bytes(data)
        names.append(str(folder / f"{number}"))
    trust = Trust()
    trust.read(names)
    return trust


def test_without_anchors_a_chain_that_holds_by_itself_is_unchecked() -> None:
    found = Trust().look(*showing(leaf(KEY)), NOW)
    assert found is not None
    assert (found.subject, found.issuer, found.trust, found.reason) == ("CN=Anna", "CN=Example CA", "unchecked", "")
    assert found.expires_at == TIMES["ends"].replace(microsecond=0).timestamp() * 1000


@pytest.mark.parametrize("form", [pem(OTHER, ROOT), ROOT.der], ids=["pem", "der"])
def test_one_that_leads_to_an_anchor_is_verified(tmp_path: Path, form: bytes) -> None:
    trust = trusting(tmp_path, form)
    found = trust.look(*showing(leaf(KEY)), NOW)
    assert found is not None
    assert (found.subject, found.trust) == ("CN=Anna", "verified")


def test_of_what_is_refused_only_the_reason_is_shown(tmp_path: Path) -> None:
    trust = trusting(tmp_path, pem(ROOT))
    over = leaf(KEY, ends=BEGINS + datetime.timedelta(hours=1))
    for chain, said in (
        ([leaf(KEY, issuer=OTHER)], "nobody who is trusted"),
        ([leaf(bytes(32))], "another key"),
        ([over], "ended"),
        ([b"junk"], "no certificate"),
        ([leaf(KEY), OTHER.der], "next one"),
    ):
        found = trust.look(*showing(*chain), NOW)
        assert found is not None
        assert (found.subject, found.issuer, found.trust) == ("", "", "refused")
        assert said in found.reason
    for chain in ([leaf(bytes(32))], [over], [b"junk"]):  # and so it is where nobody is trusted
        found = Trust().look(*showing(*chain), NOW)
        assert found is not None
        assert (found.subject, found.trust) == ("", "refused")


def test_whatever_is_shown_as_a_certificate_is_judged_and_raises_nothing() -> None:
    good, dice = leaf(KEY), Random(5)
    state, account = showing(good)
    for _ in range(500):
        bad = bytearray(good)
        for _ in range(dice.choice((1, 2, 4))):
            bad[dice.randrange(len(bad))] = dice.choice((0, 0x80, 0xFF, dice.randrange(256)))
        for chain in ((bytes(bad),), (bytes(bad), ROOT.der), (good, bytes(bad))):
            shown = replace(state, chains=PMap({account: Chain(chain=chain, key=KEY, at=1)}))
            found = Trust().look(shown, account, NOW)
            assert found is not None
            assert found.trust in ("unchecked", "refused")


def test_whoever_shows_nothing_has_none() -> None:
    state, account = showing()
    assert Trust().look(state, account, NOW) is None
    assert Trust().look(replace(state, chains=PMap()), account, NOW) is None


def test_anchors_that_cannot_be_read_are_told_of_and_the_others_count(tmp_path: Path) -> None:
    trust = trusting(tmp_path, b"no certificate", pem(ROOT), pem(OTHER)[:-60] + pem(OTHER)[-40:], bytes(300_000))
    trust.read([str(tmp_path / each) for each in ("0", "1", "2", "3", "missing")])
    assert trust.missing == tuple(str(tmp_path / each) for each in ("0", "2", "3", "missing"))
    found = trust.look(*showing(leaf(KEY)), NOW)
    assert found is not None
    assert found.trust == "verified"
    (trouble,) = health.anchors(trust.missing)
    assert (trouble.code, trouble.args["files"]) == ("anchors-unreadable", "4")
    trust.read([])
    assert not health.anchors(trust.missing)
    assert trust.judge is None


def test_when_no_anchor_can_be_read_nothing_is_verified(tmp_path: Path) -> None:
    found = trusting(tmp_path, b"no certificate").look(*showing(leaf(KEY)), NOW)
    assert found is not None
    assert found.trust == "unchecked"


def test_names_in_certificates_are_one_line_that_can_be_printed() -> None:
    found = Trust().look(*showing(leaf(KEY, "An\u202ena\n\x1b[2J")), NOW)
    assert found is not None
    assert found.subject.isprintable()
    assert found.subject.startswith("CN=An\ufffdna")
    assert len(line("x" * 1000)) == LONGEST
    assert line("x" * LONGEST) == "x" * LONGEST


@pytest.mark.slow
@pytest.mark.xdist_group("run")
def test_a_contact_s_certificate_comes_to_be_verified_and_is_taken_back(tmp_path: Path) -> None:
    anchor = tmp_path / "ca.pem"
    with home(tmp_path / "anna") as anna, home(tmp_path / "ben") as ben:
        for each in (anna, ben):
            each.start()
            each.call("account.create", device_name="d")
        for each in (anna, ben):
            until(lambda each=each: each.status().get("account") and each.until_state("ready"))  # type: ignore[misc]
        own, other = anna.call("account.get"), ben.call("account.get")["account"]
        anna.call("contact.add", link=ben.call("contact.link")["link"])
        ben.call("contact.add", link=anna.call("contact.link")["link"])
        chat = anna.call("chat.create")["chat"]
        anna.call("chat.invite", chat=chat, account=other)
        until(lambda: chat in [each["chat"] for each in ben.call("chat.list")["chats"]])

        with pytest.raises(RpcError, match="another key"):
            anna.call("account.set_certificate", chain=[leaf(KEY)])
        made = anna.call("account.set_certificate", chain=[leaf(own["signing_key"])])
        assert (made["certificate"]["subject"], made["certificate"]["trust"]) == ("CN=Anna", "unchecked")
        assert anna.call("account.get")["certificate"] == made["certificate"]

        def seen() -> Any:
            return ben.call("contact.get", account=own["account"])["certificate"]

        until(seen)
        assert (seen()["subject"], seen()["trust"]) == ("CN=Anna", "unchecked")
        anchor.write_bytes(pem(ROOT))
        (ben.home / "vcd.toml").write_text(f'{SETTINGS}\n[trust]\nanchors = ["{anchor}"]\n')
        assert ben.process is not None
        os.kill(ben.process.pid, signal.SIGHUP)
        until(lambda: seen()["trust"] == "verified")
        contact = ben.call("contact.get", account=own["account"])
        assert (contact["verified"], contact["fingerprint"]) == (False, own["fingerprint"])
        anchor.unlink()
        os.kill(ben.process.pid, signal.SIGHUP)
        until(lambda: seen()["trust"] == "unchecked")
        assert "anchors-unreadable" in [each["code"] for each in ben.call("health.list")["problems"]]

        assert anna.call("account.set_certificate", chain=[]) == {"certificate": None}
        until(lambda: seen() is None)
        told = [each.data for each in ben.events("contact.certified")]
        assert told == [{"account": own["account"], "shown": shown} for shown in (True, False)]
        assert [each.data for each in anna.events("account.certified")] == [{"shown": True}, {"shown": False}]
