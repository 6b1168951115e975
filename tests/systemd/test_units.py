"""The units that ship: systemd takes them, finds the system's ones tight, and every option says why it is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.files import ROOT
from tests.requirements import require_or_skip
from vcd.paths import find

USER = sorted((ROOT / "systemd/user").iterdir())
SYSTEM = sorted((ROOT / "systemd/system").iterdir())
UNITS = [*USER, *SYSTEM]
EXPOSURE = 20
"""Tenths: 2.0 or better."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


def name(path: Path) -> str:
    return path.name


@pytest.fixture
def analyze() -> str:
    tool = shutil.which("systemd-analyze")
    if tool is None:
        require_or_skip("systemd", "systemd-analyze is not there")
    return tool


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units with a vcd that exists; an instance of the template has a name."""
    program = tmp_path / "vcd"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for unit in UNITS:
        text = unit.read_text(encoding="utf-8").replace("ExecStart=vcd", f"ExecStart={program}")
        (tmp_path / unit.name.replace("@.", "@alice.")).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(folder), "SYSTEMD_COLORS": "0"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )


def verify(tool: str, folder: Path, unit: Path) -> subprocess.CompletedProcess[str]:
    manager = "--user" if unit in USER else "--system"
    return run(folder, tool, manager, "verify", "--man=no", "--recursive-errors=no", f"./{at(unit)}")


def at(unit: Path) -> str:
    return unit.name.replace("@.", "@alice.")


def settings(unit: Path) -> Iterator[tuple[str, str]]:
    for line in unit.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            yield key, value


def setting(unit: str, key: str) -> list[str]:
    [path] = [each for each in UNITS if each.name == unit]
    return [value for each, value in settings(path) if each == key]


# ---------------------------------------------------------------- what systemd says


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_systemd_takes_it_without_a_word(analyze: str, installed: Path, unit: Path) -> None:
    done = verify(analyze, installed, unit)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("NoNewPrivileges=yes", "NoNewPrivilegs=yes"),
        ("WatchdogSec=60", "WatchdogSec=soon"),
        ("Type=notify", "Type=notifies"),
        ("@system-service", "@system-servants"),
    ],
)
def test_a_slip_would_be_noticed(analyze: str, installed: Path, was: str, becomes: str) -> None:
    unit = installed / "vcd-mailbox.service"
    text = unit.read_text()
    assert was in text
    unit.write_text(text.replace(was, becomes))
    done = verify(analyze, installed, SYSTEM[-1])
    assert done.returncode != 0 or done.stderr


def exposure(tool: str, folder: Path, unit: str) -> tuple[int, float]:
    done = run(folder, tool, "security", "--no-pager", "--offline=true", f"--threshold={EXPOSURE}", f"./{unit}")
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return done.returncode, float(found[1])


@pytest.mark.parametrize("unit", SYSTEM, ids=name)
def test_the_system_units_are_tight(analyze: str, installed: Path, unit: Path) -> None:
    code, level = exposure(analyze, installed, at(unit))
    assert code == 0
    assert level <= EXPOSURE / 10


@pytest.mark.parametrize("lost", ["CapabilityBoundingSet", "SystemCallFilter", "DynamicUser"])
def test_a_unit_that_lost_its_protection_would_be_noticed(analyze: str, installed: Path, lost: str) -> None:
    unit = installed / "vcd-mailbox.service"
    whole = exposure(analyze, installed, unit.name)[1]
    kept = [line for line in unit.read_text().splitlines() if not line.startswith(lost)]
    unit.write_text("\n".join(kept))
    assert exposure(analyze, installed, unit.name)[1] > whole


def test_a_bare_unit_fails(analyze: str, installed: Path) -> None:
    (installed / "bare.service").write_text("[Service]\nExecStart=/bin/true\n")
    code, level = exposure(analyze, installed, "bare.service")
    assert code != 0
    assert level > 9


# ---------------------------------------------------------------- what people read


@pytest.mark.parametrize("unit", UNITS, ids=name)
def test_every_group_of_options_says_why(unit: Path) -> None:
    text = unit.read_text(encoding="utf-8")
    assert text.startswith("# ")
    sections = re.split(r"^\[(\w+)\]\n", text, flags=re.MULTILINE)[1:]
    for section, body in zip(sections[::2], sections[1::2], strict=True):
        if section == "Install":
            continue
        groups = [group for group in body.strip().split("\n\n") if "=" in group]
        for group in groups:
            first = group.strip().split("\n")[0]
            assert first.startswith(("# ", "Description=")), f"{section}: {first}"
    assert [line for line in text.splitlines() if len(line) > 120] == []


# ---------------------------------------------------------------- what has to fit vcd, and each other


def test_the_two_system_units_are_as_tight_as_each_other() -> None:
    def protection(unit: Path) -> list[tuple[str, str]]:
        found = list(settings(unit))
        begins = [key for key, _ in found].index("UMask")
        return [one for one in found[begins:] if one[0] != "IPAddressDeny"]

    device, mailbox = SYSTEM
    assert protection(device) == protection(mailbox)
    assert len(protection(device)) > 35


def test_the_sockets_are_where_clients_look() -> None:
    paths = find({"HOME": "/home/alice", "XDG_RUNTIME_DIR": "/run/user/1000"})
    for unit, name_, path in (
        ("vcd.socket", "app", paths.app_socket()),
        ("vcd-admin.socket", "admin", paths.admin_socket()),
    ):
        assert setting(unit, "ListenStream") == [str(path).replace("/run/user/1000", "%t")]
        assert setting(unit, "FileDescriptorName") == [name_]
        assert setting(unit, "SocketMode") == ["0600"]
        assert setting(unit, "DirectoryMode") == ["0700"]
    assert setting("vcd.service", "Sockets") == ["vcd.socket vcd-admin.socket"]
    assert setting("vcd-admin.socket", "Service") == ["vcd.service"]


def test_an_instance_s_folders_are_those_that_vcd_reads() -> None:
    given = {}
    for kind, base in ("State", "/var/lib"), ("Runtime", "/run"), ("Configuration", "/etc"):
        [below] = setting("vcd-device@.service", f"{kind}Directory")
        given[f"{kind.upper()}_DIRECTORY"] = f"{base}/{below}".replace("%i", "alice")
    paths = find(given)
    assert str(paths.app_socket()) == "/run/vcd/alice/app.sock"
    assert str(paths.config_files[-1]) == "/etc/vcd/alice/vcd.toml"
    assert str(paths.state) == "/var/lib/vcd/alice"


def test_the_credential_is_the_one_that_the_vault_asks_for() -> None:
    from vcd.config import Config

    [said] = setting("vcd-device@.service", "LoadCredential")
    assert said.partition(":")[0] == Config().vault.credential


@pytest.mark.parametrize("unit", [unit for unit in UNITS if unit.suffix == ".service"], ids=name)
def test_every_service_is_watched_and_stops(unit: Path) -> None:
    found = dict(settings(unit))
    assert found["Type"] == "notify"
    assert found["NotifyAccess"] == "main"
    assert int(found["WatchdogSec"]) >= 30
    assert int(found["TimeoutStopSec"]) <= 30
    assert found["Restart"] == "on-failure"
    assert found["RestartPreventExitStatus"] == "3 4"
