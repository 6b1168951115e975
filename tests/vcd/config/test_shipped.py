"""What ships says what the code says: the annotated file, the schema, the profiles; and defaults are the rooms' own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from mls.registries import CipherSuite, HybridSuite
from tests.repo.files import ROOT
from transport.host.settings import HostSettings
from transport.mailbox.server import Settings as MailboxSettings
from transport.mailbox.tenants import Quota
from transport.relay.server import RelayLimits
from transport.sync.schedule import Rhythm
from vcd.config import DEFAULTS, KEYS, PROFILES, Config, From, load
from vcd.config.annotated import annotated, uncommented
from vcd.config.model import SUITES
from vcd.config.schema import schema, schema_text
from vcd.config.tenants import QUOTAS
from vcd.core.accounts.device_list import MAX_NAME
from vcd.core.config import Config as NodeConfig

CONFIG = ROOT / "config"


def saved(folder: Path, text: str) -> Path:
    path = folder / "vcd.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("name", "text"), [("vcd.toml", annotated()), ("vcd.schema.json", schema_text())])
def test_the_committed_file_is_the_code_s(name: str, text: str) -> None:
    assert (CONFIG / name).read_text(encoding="utf-8") == text, "run: python -m vcd.config config"


def test_every_key_stands_in_the_annotated_file_with_its_default() -> None:
    document = tomllib.loads(uncommented(annotated()))
    told = {
        f"{section}.{name}": value
        for section, values in document.items()
        if isinstance(values, dict)
        for name, value in values.items()
    }
    told["profile"] = document["profile"]
    assert {name: KEYS[name].kind.take(value) for name, value in told.items()} == DEFAULTS


def test_every_key_has_sentences_above_it() -> None:
    lines = annotated().splitlines()
    for number, line in enumerate(lines):
        if re.match(r"#[a-z_]+ = ", line):
            assert lines[number - 1].startswith("# "), line
            assert lines[number - 1].endswith("."), line


def test_sentences_fit_the_line() -> None:
    assert [line for line in annotated().splitlines() if len(line) > 120] == []


def test_the_annotated_file_changes_nothing_and_with_all_set_neither(tmp_path: Path) -> None:
    alone = load([saved(tmp_path, annotated())], environ={})
    assert alone.config == Config()
    assert {origin.source for origin in alone.origins.values()} == {From.DEFAULT}
    whole = load([saved(tmp_path, uncommented(annotated()))], environ={})
    assert whole.config == Config()
    assert {origin.source for origin in whole.origins.values()} == {From.USER}


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_load_and_say_why(profile: str) -> None:
    loaded = load(environ={"VCD_PROFILE": profile})
    assert loaded.config.profile == profile
    if profile == "standard":
        assert loaded.config == Config()
        return
    text = (CONFIG / f"{profile}.toml").read_text(encoding="utf-8")
    changed = {name for name, origin in loaded.origins.items() if origin.source is From.PROFILE}
    assert {KEYS[name].kind.show(loaded.config.value(name)) for name in changed}
    assert all(loaded.config.value(name) != DEFAULTS[name] for name in changed), "a profile repeats no default"
    assert len(changed) == len(re.findall(r"^[a-z_]+ = ", text, re.MULTILINE)) - 1  # without the version


def test_the_private_profile_gives_nothing_away() -> None:
    network = load(environ={"VCD_PROFILE": "private"}).config.network
    assert (network.listen, network.mdns, network.allow, network.hole_punching) == ((), False, "own", False)
    assert (network.private_addresses, network.host_names, network.be_point) == (False, False, False)


# ---------------------------------------------------------------- the rooms' own defaults

ELSEWHERE = {"max_message": "max_said", "max_waiting_size": "max_waiting_bytes"}


def test_the_node_s_defaults() -> None:
    ours = Config().node
    for each in fields(ours):
        assert getattr(ours, each.name) == getattr(NodeConfig(), ELSEWHERE.get(each.name, each.name)), each.name


def test_the_suites_are_those_there_are() -> None:
    assert set(SUITES) == {int(suite) for suite in (*CipherSuite, *HybridSuite)}


def test_the_mesh_s_defaults() -> None:
    network, host = Config().network, HostSettings()
    assert network.max_connections == host.most_connections
    assert network.max_connections_per_ip == host.most_per_ip
    assert network.ping_every == host.ping_every * 1000
    assert network.sync_every == Rhythm().period * 1000


def test_the_relay_s_defaults() -> None:
    relay, limits = Config().relay, RelayLimits()
    assert (relay.reservations, relay.circuits) == (limits.reservations, limits.circuits)
    assert relay.circuits_per_peer == limits.circuits_per_peer
    assert (relay.circuit_time, relay.circuit_size) == (limits.circuit_seconds * 1000, limits.circuit_bytes)


def test_the_mailbox_s_defaults() -> None:
    mailbox, quota, settings = Config().mailbox, Quota(), MailboxSettings()
    other = {"size": "bytes", "slot_size": "slot_bytes", "package_size": "package_bytes"}
    assert {other.get(name, name) for name in QUOTAS} == {each.name for each in fields(Quota)}
    for name, kind in QUOTAS.items():
        assert getattr(mailbox, name) == getattr(quota, other.get(name, name)), name
        assert KEYS[f"mailbox.{name}"].kind == kind
    assert (mailbox.requests_per_second, mailbox.requests_at_once) == (settings.rate, settings.burst)


def test_a_device_s_name_is_as_long_as_the_account_s_list_takes() -> None:
    assert KEYS["device.name"].kind.schema()["maxLength"] == MAX_NAME


# ---------------------------------------------------------------- the schema


def valid(value: Any, rule: dict[str, Any]) -> bool:
    """The part of JSON Schema that we use, by its own text."""
    known = {"$schema", "title", "description", "default"}
    checks: dict[str, Callable[[Any], bool]] = {
        "type": lambda want: {
            "object": isinstance(value, dict),
            "array": isinstance(value, list),
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int) and not isinstance(value, bool),
        }[want],
        "const": lambda want: value == want and type(value) is type(want),
        "enum": lambda want: any(value == one and type(value) is type(one) for one in want),
        "minimum": lambda want: not isinstance(value, int) or value >= want,
        "maximum": lambda want: not isinstance(value, int) or value <= want,
        "maxLength": lambda want: not isinstance(value, str) or len(value) <= want,
        "pattern": lambda want: not isinstance(value, str) or re.search(want, value) is not None,
        "anyOf": lambda want: any(valid(value, one) for one in want),
        "items": lambda want: not isinstance(value, list) or all(valid(one, want) for one in value),
        "maxItems": lambda want: not isinstance(value, list) or len(value) <= want,
        "uniqueItems": lambda want: (
            not isinstance(value, list) or len({json.dumps(one) for one in value}) == len(value)
        ),
        "properties": lambda want: (
            not isinstance(value, dict) or all(valid(value[name], want[name]) for name in value if name in want)
        ),
        "required": lambda want: not isinstance(value, dict) or set(want) <= set(value),
        "additionalProperties": lambda want: (
            want or not isinstance(value, dict) or set(value) <= set(rule["properties"])
        ),
    }
    return all(checks[name](want) for name, want in rule.items() if name not in known)


def test_the_schema_takes_what_ships() -> None:
    for text in (annotated(), uncommented(annotated())):
        assert valid(tomllib.loads(text), schema())
    for profile in PROFILES[1:]:
        assert valid(tomllib.loads((CONFIG / f"{profile}.toml").read_text(encoding="utf-8")), schema())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "version = 2",
        "version = 1\nnetwrok = 1",
        "version = 1\n[network]\nlisten = '/ip4/127.0.0.1/tcp/1'",
        "version = 1\n[network]\nlisten = ['127.0.0.1:4001']",
        "version = 1\n[network]\nport = 1",
        "version = 1\n[logs]\nlevel = 'loud'",
        "version = 1\n[node]\nquiet = '5 fortnights'",
        "version = 1\n[node]\nmax_outbox = 15",
        "version = 1\n[mailbox]\ntenants = ['ab']",
    ],
)
def test_the_schema_and_the_loader_refuse_alike(text: str, tmp_path: Path) -> None:
    from vcd.config import ConfigError

    assert not valid(tomllib.loads(text), schema())
    with pytest.raises(ConfigError):
        load([saved(tmp_path, text)], environ={})


# ---------------------------------------------------------------- what it costs


@pytest.mark.slow
def test_loading_it_loads_no_protocol_and_no_network() -> None:
    heavy = ["mls", "transport", "trio", "libp2p", "cryptography", "msgpack", "msgspec", "vcd.core"]
    program = f"import vcd.config, sys\nvcd.config.load()\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_the_two_files_are_written_by_one_command(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "vcd.config", str(tmp_path)], cwd=ROOT, check=True)
    for name in ("vcd.toml", "vcd.schema.json"):
        assert (tmp_path / name).read_bytes() == (CONFIG / name).read_bytes()
