"""The composition root is loaded by `vcd run` and by nothing else; what it does is tested in tests/vcd/daemon."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repo.files import ROOT


@pytest.mark.slow
def test_the_command_line_loads_no_daemon() -> None:
    check = "import sys, vcd.cli\nvcd.cli.main(['--version'])\nprint('vcd.main' in sys.modules, 'trio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False False\n")


@pytest.mark.slow
def test_make_run_starts_a_daemon_on_this_machine_only(tmp_path: Path) -> None:
    """As the Makefile does, with another home."""
    line = next(
        each for each in (ROOT / "Makefile").read_text(encoding="utf-8").split("\n\n") if each.startswith("run:")
    )
    assert "127.0.0.1" in line
    assert "VCD_NETWORK_MDNS=false" in line
    environment = {**os.environ, "VCD_HOME": str(tmp_path), "VCD_NETWORK_LISTEN": '["/ip4/127.0.0.1/tcp/0"]'}
    environment |= {"VCD_NETWORK_MDNS": "false", "VCD_NETWORK_LOOPBACK_ADDRESSES": "true"}
    vcd = [sys.executable, "-m", "vcd.cli"]
    daemon = subprocess.Popen([*vcd, "run"], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL)
    try:
        waited = [*vcd, "wait", "--ready", "--timeout", "30"]
        assert subprocess.run(waited, cwd=ROOT, env=environment, check=False).returncode == 0
        shown = subprocess.run([*vcd, "status"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        assert shown.returncode == 0, shown.stdout + shown.stderr
        stopped = subprocess.run([*vcd, "call", "daemon.stop"], cwd=ROOT, env=environment, check=False)
        assert stopped.returncode == 0
        assert daemon.wait(30) == 0
    finally:
        daemon.kill()
        daemon.wait()
