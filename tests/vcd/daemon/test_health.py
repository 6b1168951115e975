"""What is wrong now, by what a node knows."""

from __future__ import annotations

import pytest

from tests.vcd.core.homes import couple, remove
from tests.vcd.core.village import Village
from vcd.daemon import health
from vcd.daemon.facts import Facts


def codes(village: Village, name: str) -> list[str]:
    return [each.code for each in health.node(village.state(name), 1, Facts())]


@pytest.mark.parametrize(
    ("wanted", "opens", "differs"),
    [
        ("passphrase", "keyfile", True),
        ("keyring", "passphrase", True),
        ("passphrase", "passphrase", False),
        ("keyfile", "passphrase", False),  # as after `vault.rewrap`, with settings that say nothing
        ("passphrase", None, False),
    ],
)
def test_a_vault_is_opened_as_the_settings_say(wanted: str, opens: str | None, differs: bool) -> None:
    found = health.vault(wanted, opens)
    assert [each.code for each in found] == ["unlocker-differs"] * differs
    for each in found:
        assert ("passphrase=@FILE" in each.command) == (wanted == "passphrase")


def test_a_device_that_was_removed_says_so_until_it_has_forgotten_the_account() -> None:
    village = Village()
    laptop, phone = couple(village)
    assert "removed" not in codes(village, phone)
    remove(village, laptop, phone)
    for _ in range(60):
        if village.state(phone).household.gone:
            break
        village.wait(seconds=1)
    assert "removed" in codes(village, phone)
    assert "removed" not in codes(village, laptop)
    village.wait(minutes=10)
    assert codes(village, phone) == ["no-account"]
