from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from tests.transport.discovery.samples import A, B
from transport.base import PeerId
from transport.discovery.addresses import Policy, Reach, Source, believed, circuit, listening, parse, static_peers

LAN = Policy(networks=(ip_network("192.168.7.0/24"), ip_network("2001:db8:7::/64")))


@pytest.mark.parametrize(
    ("text", "reach"),
    [
        ("/ip4/127.0.0.1/tcp/1", Reach.HOST),
        ("/ip6/::1/tcp/65535", Reach.HOST),
        ("/ip4/169.254.1.2/tcp/1", Reach.LINK),
        ("/ip4/10.0.0.1/tcp/4001", Reach.SITE),
        ("/ip4/100.64.0.1/tcp/4001", Reach.SITE),
        ("/ip6/fd00::1/tcp/4001", Reach.SITE),
        ("/ip4/198.51.100.7/tcp/4001", Reach.WORLD),
        ("/ip6/2001:db8::1/tcp/4001", Reach.WORLD),
        ("/dns4/relay.example.org/tcp/4001", Reach.NAME),
        (f"/ip4/198.51.100.7/tcp/4001/p2p/{B}/p2p-circuit", Reach.WORLD),
    ],
)
def test_reach(text: str, reach: Reach) -> None:
    place = parse(f"{text}/p2p/{A}")
    assert (place.text, place.reach, place.peer) == (text, reach, A)
    assert parse(text).peer is None


def test_one_spelling() -> None:
    assert parse("/ip6/2001:DB8:0:0::1/tcp/1").text == "/ip6/2001:db8::1/tcp/1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "/ip4/192.0.2.1",
        "/ip4/192.0.2.1/udp/1",
        "/ip4/192.0.2.1/tcp/0",
        "/ip4/192.0.2.1/tcp/65536",
        "/ip4/192.0.2.1/tcp/+1",
        "/ip4/192.0.2.1/tcp/01",
        "/ip4/192.0.2.1/tcp/\u0661",
        "/ip4/192.0.2.1/tcp/1/",
        "/ip4/192.0.2.1/tcp/1/ws",
        "/ip4/192.0.2.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
        "/ip4/192.0.2.1/tcp/1/p2p/junk",
        f"/ip4/192.0.2.1/tcp/1/p2p/{A}/p2p-circuit/p2p/{A}",
        f"/ip4/192.0.2.1/tcp/1/p2p/{A}/p2p-circuit/p2p/{B}/p2p-circuit",
        "/ip4/192.0.2.1/tcp/1/p2p-circuit",
        "/ip4/0.0.0.0/tcp/1",
        "/ip4/224.0.0.251/tcp/1",
        "/ip4/255.255.255.255/tcp/1",
        "/ip6/::/tcp/1",
        "/ip6/ff02::fb/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip6/fe80::1%eth0/tcp/1",
        "/ip6/::ffff:127.0.0.1/tcp/1",
        "/ip4/2130706433/tcp/1",
        "/ip4/127.1/tcp/1",
        "/dns4/UPPER.example/tcp/1",
        "/dns4/-a.example/tcp/1",
        "/dns4/a..b/tcp/1",
        "/dns4/" + "a." * 60 + "b/tcp/1",
        "/unix/tmp/tcp/1",
        "ip4/192.0.2.1/tcp/1",
        "x" * 100_000,
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse(text)


@given(st.text(max_size=300) | st.text("/ip46dns.tcp0123456789:-", max_size=80).map(lambda text: "/ip4/" + text))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        place = parse(text)
    except ValueError:
        return
    assert parse(place.text) == parse(place.text)
    assert parse(place.text).text == place.text


def allowed(source: Source, policy: Policy, *texts: str) -> list[str]:
    return [place.text for place in believed(texts, source, policy, A)]


PUBLIC, PRIVATE, HOST = "/ip4/198.51.100.7/tcp/1", "/ip4/192.168.7.9/tcp/1", "/ip4/127.0.0.1/tcp/1"
OTHER, NAME, LINK = "/ip4/192.168.8.9/tcp/1", "/dns4/a.example/tcp/1", "/ip4/169.254.1.1/tcp/1"
RELAYED = f"{PUBLIC}/p2p/{B}/p2p-circuit"
ALL = (PUBLIC, PRIVATE, HOST, OTHER, NAME, LINK, RELAYED)


@pytest.mark.parametrize(
    ("source", "policy", "expected"),
    [
        (Source.STATIC, Policy(), ALL),
        (Source.RECORD, Policy(), (PUBLIC, RELAYED)),
        (Source.OBSERVED, Policy(), (PUBLIC, RELAYED)),
        (Source.RECORD, Policy(private=True), (PUBLIC, PRIVATE, OTHER, RELAYED)),
        (Source.RECORD, Policy(loopback=True), (PUBLIC, HOST, RELAYED)),
        (Source.RECORD, Policy(names=True), (PUBLIC, NAME, RELAYED)),
        (Source.MDNS, Policy(), ()),
        (Source.MDNS, LAN, (PRIVATE,)),
        (Source.MDNS, Policy(private=True, loopback=True), (HOST,)),
    ],
)
def test_who_is_believed(source: Source, policy: Policy, expected: tuple[str, ...]) -> None:
    assert allowed(source, policy, *ALL) == list(expected)


def test_global_addresses_of_the_same_network_are_local() -> None:
    assert allowed(Source.MDNS, LAN, "/ip6/2001:db8:7::5/tcp/1", "/ip6/2001:db8:8::5/tcp/1") == [
        "/ip6/2001:db8:7::5/tcp/1"
    ]


def test_of_another_peer_or_twice() -> None:
    assert allowed(Source.STATIC, Policy(), PUBLIC, PUBLIC, f"{PUBLIC}/p2p/{A}", f"{OTHER}/p2p/{B}", "junk") == [PUBLIC]
    assert allowed(Source.STATIC, Policy(), f"{PUBLIC}/p2p/{A}/p2p-circuit") == []  # a relay to itself


def test_static_peers() -> None:
    assert static_peers([f"{PUBLIC}/p2p/{A}", f" {PRIVATE}/p2p/{A}\n", f"{HOST}/p2p/{B}", f"{PUBLIC}/p2p/{A}"]) == {
        A: (PUBLIC, PRIVATE),
        B: (HOST,),
    }
    for bad in (PUBLIC, "", f"{PUBLIC}/p2p/{A}x"):
        with pytest.raises(ValueError):
            static_peers([bad])


def test_circuit() -> None:
    assert circuit(PUBLIC, PeerId(B)) == RELAYED
    with pytest.raises(ValueError):
        circuit(RELAYED, PeerId(B))


def test_listening() -> None:
    here = [ip_address("192.168.7.2"), ip_address("2001:db8:7::2"), ip_address("127.0.0.1")]
    bound = ["/ip4/0.0.0.0/tcp/41", "/ip4/192.168.7.2/tcp/42", "/ip4/10.1.1.1/tcp/43", "/ip6/::/tcp/44", "/unix/x"]
    assert [place.text for place in listening([*bound, f"/ip4/0.0.0.0/tcp/41/p2p/{A}"], here)] == [
        "/ip4/192.168.7.2/tcp/41",
        "/ip4/127.0.0.1/tcp/41",
        "/ip4/192.168.7.2/tcp/42",
        "/ip6/2001:db8:7::2/tcp/44",
    ]
