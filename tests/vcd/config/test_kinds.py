"""Each kind takes what it says, refuses the rest in words, and reads again what it wrote."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given, strategies as st

from tests.vcd.config.test_shipped import valid
from transport.discovery.addresses import parse
from transport.signing import peer_id
from vcd.config import DEFAULTS, KEYS
from vcd.config.addresses import check_peer, check_place
from vcd.config.kinds import (
    DAY,
    HOUR,
    KIB,
    MIB,
    MINUTE,
    QUOTED,
    SECOND,
    Address,
    Choice,
    Count,
    Each,
    File,
    Kind,
    Size,
    Time,
    Word,
    Wrong,
    YesNo,
)
from vcd.config.tenants import QUOTAS, Tenant, TenantEntry

PEER = peer_id(bytes(range(32)))
OTHER = peer_id(bytes(range(1, 33)))
TIME, SIZE = Time(0, 10**13), Size(0, 1 << 50)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("500 ms", 500),
        ("5 s", 5 * SECOND),
        ("5s", 5 * SECOND),
        (5, 5 * SECOND),
        ("5", 5 * SECOND),
        ("1 h 30 min", 90 * MINUTE),
        ("1.5 h", 90 * MINUTE),
        ("30 d", 30 * DAY),
        (" 2 w ", 14 * DAY),
        ("0 s", 0),
    ],
)
def test_times(said: str | int, meant: int) -> None:
    assert TIME.take(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [("1 MiB", MIB), ("64KiB", 64 * KIB), (10, 10), ("10", 10), ("1 GB", 10**9), ("0.5 KiB", 512), ("7 B", 7)],
)
def test_sizes(said: str | int, meant: int) -> None:
    assert SIZE.take(said) == meant


@pytest.mark.parametrize(
    ("kind", "said", "words"),
    [
        (TIME, "5 m", "has no unit"),
        (TIME, "5 minutes", "min"),
        (TIME, "-5 s", "such as"),
        (TIME, "", "such as"),
        (TIME, "5 s,", "such as"),
        (TIME, 1.5, "such as"),
        (TIME, True, "not true"),
        (TIME, "forever", "such as"),
        (TIME, "9" * 30 + " s", "such as"),
        (TIME, "٣ s", "such as"),
        (Time(SECOND, HOUR), "2 h", "from 1 s to 1 h"),
        (Time(SECOND, HOUR), -1, "from 1 s to 1 h"),
        (SIZE, "5 mb", "has no unit"),
        (Count(1, 9), 10, "from 1 to 9"),
        (Count(1, 9), "5", 'a whole number, not "5"'),
        (Count(1, 9), 5.0, "not 5.0"),
        (Count(1, 9), True, "not true"),
        (Count(1, 9), 10**4000, "a very large number"),
        (YesNo(), "true", "without quotes"),
        (YesNo(), 1, "true or false"),
        (Choice(("one", "other")), "ohter", 'did you mean "other"'),
        (Choice(("one", "other")), {}, "a table"),
        (Each(Count(1, 9), 2), [1, 2, 3], "at most 2"),
        (Each(Count(1, 9), 2), [1, 1], "entry 2 twice"),
        (Each(Count(1, 9), 2), [1, 0], "entry 2 must be from 1 to 9"),
        (Each(Count(1, 9), 2), 1, "a list in brackets"),
        (File(), "vcd.sock", "from the root or from home"),
        (File(), "/tmp/../etc/shadow", '".."'),
        (File(), "/tmp/", '".."'),
        (File(), "/tmp/a\nb", "control characters"),
        (File(), "/tmp/a\0b", "control characters"),
        (File(socket=True), "/" + "a" * 107, "107 bytes"),
        (Word("a user"), "alice bob", "a user in quotes"),
        (Word("a user"), "", "a user in quotes"),
    ],
)
def test_refused_in_words(kind: Kind, said: Any, words: str) -> None:
    with pytest.raises(Wrong) as refused:
        kind.take(said)
    assert words in str(refused.value)


def test_a_long_wrong_text_is_not_repeated() -> None:
    secret = "correct horse battery staple " * 3
    assert len(secret) > QUOTED
    with pytest.raises(Wrong) as refused:
        TIME.take(secret)
    assert "horse" not in str(refused.value)


def test_no_limit_has_a_word() -> None:
    kind = Time(DAY, 30 * DAY, without="forever")
    assert kind.take("forever") is None
    assert kind.show(None) == '"forever"'
    with pytest.raises(Wrong, match="forever"):
        kind.take("1 s")


def test_home_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert File().take("~/vault.key") == "/home/alice/vault.key"
    assert File(socket=True).take("/" + "a" * 106) == "/" + "a" * 106
    assert File().take("") == ""


# ---------------------------------------------------------------- lists from one line of text


@pytest.mark.parametrize(
    ("text", "meant"), [("", ()), (" ", ()), ("eth0", ("eth0",)), ("eth0, wlan0", ("eth0", "wlan0")), ('["a"]', ("a",))]
)
def test_lists_as_text(text: str, meant: tuple[str, ...]) -> None:
    assert Each(Word("a name"), 9).read(text) == meant


@pytest.mark.parametrize("text", ["[", '["a"]\nvault.unlocker = 1', "[" * 10_000, "a,,b", "[1979-05-27]"])
def test_lists_as_text_refused(text: str) -> None:
    with pytest.raises(Wrong):
        Each(Word("a name"), 9).read(text)


# ---------------------------------------------------------------- tenants

KEY = "ab" * 32


def test_tenants() -> None:
    kind = TenantEntry()
    assert kind.take(KEY) == Tenant(key=bytes.fromhex(KEY))
    own = kind.take({"key": KEY, "frames": 7, "size": "2 GiB"})
    assert own == Tenant(key=bytes.fromhex(KEY), quota=(("size", 2 << 30), ("frames", 7)))
    assert kind.take(tomllib.loads(f"one = {kind.show(own)}")["one"]) == own
    assert kind.read(KEY).quota == ()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (KEY[1:], "64 digits"),
        (KEY.upper(), "64 digits"),
        ({}, 'no "key"'),
        ({"key": 5}, "64 digits"),
        ({"key": KEY, "sise": 1}, "did you mean size"),
        ({"key": KEY, "zzz": 1}, "unknown"),
        ({"key": KEY, "size": "x"}, "a size that"),
        (7, "a table"),
    ],
)
def test_tenants_refused(said: Any, words: str) -> None:
    with pytest.raises(Wrong, match=words):
        TenantEntry().take(said)


# ---------------------------------------------------------------- addresses, as the mesh takes them

HOSTS = st.sampled_from(
    (
        "127.0.0.1 0.0.0.0 192.0.2.1 224.0.0.1 255.255.255.255 1.2.3 01.2.3.4 ::1 :: fe80::1 fe80::1%eth0 2001:db8::1 "
        f"::ffff:1.2.3.4 ff02::1 example.org Example.org a.b.c {'a' * 64} -a "
    ).split(" ")
)
PORTS = st.sampled_from(["1", "4001", "65535", "65536", "0", "01", "-1", "", "4001x", "٤"])
PEERS = st.sampled_from([PEER, OTHER, "Qm123", "", "0" * 52])
TAILS = st.one_of(
    st.just(""),
    st.builds("/p2p/{}".format, PEERS),
    st.builds("/p2p/{}/p2p-circuit".format, PEERS),
    st.builds("/p2p/{}/p2p-circuit/p2p/{}".format, PEERS, PEERS),
    st.just("/ws"),
)
KINDS = st.sampled_from(["ip4", "ip6", "dns", "dns4", "dns6", "dnsaddr", ""])
PLACES = st.builds("/{}/{}/{}/{}{}".format, KINDS, HOSTS, st.sampled_from(["tcp", "tcp", "tcp", "udp"]), PORTS, TAILS)


@given(st.one_of(PLACES, st.text(max_size=30)))
def test_addresses_are_those_that_the_mesh_takes(text: str) -> None:
    """Of what is not told apart here: the mesh also takes addresses without a peer, this demands one."""
    try:
        theirs = parse(text).peer is not None
    except ValueError:
        theirs = False
    try:
        check_place(text)
    except ValueError:
        ours = False
    else:
        ours = True
    assert ours == theirs


@given(st.binary(min_size=32, max_size=32))
def test_every_peer_s_id_is_taken(key: bytes) -> None:
    assert check_peer(peer_id(key))
    assert valid(peer_id(key), KEYS["network.allow_peers"].kind.schema()["items"])


@pytest.mark.parametrize("text", ["", "1", PEER[:-1], PEER + "1", PEER.lower(), "l" * 52, "z" * 200])
def test_no_peer_s_id(text: str) -> None:
    assert not check_peer(text)


@pytest.mark.parametrize("text", ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/4001", "/ip4/127.0.0.1/tcp/65535"])
def test_where_one_can_listen(text: str) -> None:
    assert Address(listen=True).take(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "/ip4/0.0.0.0/udp/1",
        "/dns/localhost/tcp/1",
        "/ip4/224.0.0.1/tcp/1",
        "/ip6/fe80::1/tcp/1",
        "/ip4/0.0.0.0/tcp/1/ws",
        f"/ip4/0.0.0.0/tcp/1/p2p/{PEER}",
        "0.0.0.0:1",
        "/ip4/0.0.0.0/tcp/70000",
        "/ip6/::1%lo/tcp/1",
    ],
)
def test_where_nobody_listens(text: str) -> None:
    with pytest.raises(Wrong, match="looks like"):
        Address(listen=True).take(text)


# ---------------------------------------------------------------- what is written is read


@pytest.mark.parametrize("name", KEYS)
def test_defaults_come_back(name: str) -> None:
    kind, default = KEYS[name].kind, DEFAULTS[name]
    again = tomllib.loads(f"value = {kind.show(default)}")["value"]
    assert kind.take(again) == default
    assert valid(again, kind.schema())


@given(st.integers(0, 10**13), st.sampled_from([TIME, SIZE]))
def test_every_amount_comes_back(amount: int, kind: Time | Size) -> None:
    assert kind.take(tomllib.loads(f"value = {kind.show(amount)}")["value"]) == amount


TOML_VALUES = st.recursive(
    st.one_of(
        st.booleans(),
        st.integers(-(1 << 70), 1 << 70),
        st.floats(),
        st.text(max_size=60),
        st.dates(),
        st.builds("{} {}".format, st.integers(0, 10**6), st.sampled_from(["s", "min", "d", "KiB", "GiB", "kg"])),
        PLACES,
        st.sampled_from(["forever", "unlimited", "known", "keyfile", PEER, KEY, "/x", "~/x"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["key", *QUOTAS]), inner)),
    max_leaves=4,
)


@given(st.sampled_from(sorted(KEYS)), TOML_VALUES)
def test_anything_is_taken_or_refused_in_words(name: str, value: object) -> None:
    """And what is taken passes the schema, and comes back from what is shown."""
    kind = KEYS[name].kind
    try:
        taken = kind.take(value)
    except Wrong as wrong:
        taken, refusal = None, str(wrong)
    else:
        refusal = ""
    assert refusal.isprintable()
    assert len(refusal) < 400
    if refusal:
        return
    hash(taken)
    assert valid(value, kind.schema())
    assert kind.take(tomllib.loads(f"value = {kind.show(taken)}")["value"]) == taken


@given(st.sampled_from(sorted(KEYS)), st.text(max_size=80))
def test_any_text_is_taken_or_refused_in_words(name: str, text: str) -> None:
    refusal = ""
    try:
        hash(KEYS[name].kind.read(text))
    except Wrong as wrong:
        refusal = str(wrong)
    assert refusal.isprintable()
