"""A link where a code is wanted, a code where a link is, and codes that lead nowhere: what was given is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.vcd.core.accounts.person import Person
from tests.vcd.daemon.process import Daemon, home
from tests.vcd.daemon.test_pairing import two
from vcd.client import RpcError
from vcd.core.accounts.card import InboxSecret, make_card, to_text
from vcd.daemon.pairing import NobodyToAsk
from vcd.daemon.service.contacts import _read
from vcd.rpc.errors import Failure

pytestmark = pytest.mark.slow
NOW = 1_000_000


@pytest.fixture(scope="module")
def daemons(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Daemon]]:
    """One with an account, and one without."""
    folder = tmp_path_factory.mktemp("codes")
    with home(folder / "laptop") as laptop, home(folder / "phone") as phone:
        laptop.start()
        phone.start()
        laptop.call("account.create", device_name="laptop", name="Alice")
        yield laptop, phone


def refused(daemon: Daemon, method: str, **given: Any) -> tuple[str, str, str]:
    with pytest.raises(RpcError) as error:
        daemon.call(method, **given)
    return error.value.code, error.value.data.get("given", ""), error.value.message


def test_what_is_no_link_of_somebody_else(daemons: tuple[Daemon, Daemon]) -> None:
    laptop, _ = daemons
    own = laptop.call("contact.link")["link"]
    pair = laptop.call("pair.start")
    for link, given in (
        (own, "own"),
        (f" {own[:40]}\n {own[40:]}\n", "own"),
        (pair["uri"], "pair"),
        (pair["uri"][:30], "pair"),
        ("7-otter-marble", "pair"),
        ("7 Otter Marbel", "pair"),
        (own[:60], "part"),
        (own[:-3], "part"),
        ("vcd1:", "part"),
        ("Bob", ""),
        ("https://example.org", ""),
    ):
        code, said, text = refused(laptop, "contact.add", link=link)
        assert (code, said) == ("E_LINK", given), (link, text)
        assert own not in text
    assert "your own link" in refused(laptop, "contact.add", link=own)[2]


def test_a_link_that_expired_is_said_to_have() -> None:
    alice = Person()
    secret = InboxSecret(bytes(32))
    card = make_card(alice.provider, alice.head, alice.signing, name="Alice", inbox=secret, expires=NOW)
    desk: Any = SimpleNamespace(state=SimpleNamespace(book=SimpleNamespace(edition=None)), now_ms=lambda: NOW)
    with pytest.raises(Failure) as error:
        _read(desk, to_text(card))
    assert (error.value.code, error.value.data) == ("E_LINK", {"given": "old"})
    desk.now_ms = lambda: NOW - 1
    assert _read(desk, to_text(card)) == card


def test_codes_by_which_nobody_can_be_found(daemons: tuple[Daemon, Daemon]) -> None:
    """It looked for the other device for ten minutes, in a local network that it does not look into."""
    laptop, phone = daemons
    link, uri = laptop.call("contact.link")["link"], laptop.call("pair.start")["uri"]
    assert refused(phone, "pair.join", code=link, device_name="phone")[:2] == ("E_PAIR_CODE", "contact")
    assert refused(phone, "pair.join", code="7-otter-marble", device_name="phone")[:2] == ("E_PAIR_CODE", "words")
    nowhere = uri.rpartition(":")[0] + ":"
    assert refused(phone, "pair.join", code=nowhere, device_name="phone")[:2] == ("E_PAIR_CODE", "uri")
    with pytest.raises(RpcError, match="E_PAIR_UNKNOWN"):
        phone.call("pair.get")


async def test_whoever_is_looked_for_may_be_the_one(tmp_path: Path) -> None:
    """With a peer that the settings name, words may lead somewhere, though it is not connected yet."""
    async with two(tmp_path) as (laptop, phone):
        with pytest.raises(NobodyToAsk):
            await phone.pairing.join("7-otter-marble", "phone")
        phone.mesh.keep(laptop.mesh.me, laptop.mesh.addresses())
        await phone.pairing.join("7-otter-marble", "phone")
