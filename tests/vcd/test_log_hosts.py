"""Names of hosts that are one word, as they are at home: hidden where a port says that they are hosts."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from vcd.logs import Redaction

HIDDEN = Redaction(b"s" * 32, home="")
HOST = HIDDEN.id(b"homebox")


@pytest.mark.parametrize(
    "text",
    [
        "{}:4001",
        "dial {}:4001 failed",
        "{}:4001: connection refused",
        "nobody at {}:80.",
        "http://{}:8080/x",
        "root@{}:22",
        "[{}:4001], ({}:443)",
        "{}:4001,{}:4002",
    ],
)
def test_a_host_of_one_word_is_hidden(text: str) -> None:
    said = HIDDEN.text(text.replace("{}", "homebox"))
    assert said == text.replace("{}", HOST)
    assert HIDDEN.text(said) == said, "what is filled into a line is looked at again with the line"


@pytest.mark.parametrize("host", ["nas-2", "NAS", "küche", "my_box", "abcd"])
def test_whatever_it_is_called(host: str) -> None:
    assert host not in HIDDEN.text(f"to {host}:4001")


@pytest.mark.parametrize("address", ["abcd:1234::1", "fe80:12::", "a1:80:1::", "::ffff:0:0", "::1:80"])
@pytest.mark.parametrize("before", ["", "peer:", "at ", "["])
def test_an_address_is_no_host(address: str, before: str) -> None:
    """One code for all of it, also behind a colon."""
    assert HIDDEN.text(f"{before}{address}") == f"{before}{HIDDEN.id(ip_address(address).packed)}"


@pytest.mark.parametrize(
    "text",
    [
        "localhost:4001",
        "node:1, exit:3",
        "line:12, port:4001, tcp:4001",
        "12:30 and 06:44:59",
        "store.py:99: left",
        "fail::55 std::vec",
        "chat:12:30:59",
        "mac aa:bb:cc:dd:ee:ff",
        "size:1000000",
    ],
)
def test_what_is_no_host_stays(text: str) -> None:
    assert HIDDEN.text(text) == text
