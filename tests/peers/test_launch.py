"""Peers as child processes: they are waited for, named when they fail, and gone afterwards."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest

from tests.peers import launch, runner

ANSWERS = """
import subprocess, sys
from tests.peers import stubs
class Answers:
    def name(self, request):
        return {"name": "child"}
    def supported_ciphersuites(self, request):
        return {"ciphersuites": [1, 2]}
# A child of the peer's own, which must not outlive it either.
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("chatter", child.pid, flush=True)
open(sys.argv[-1], "w").write(str(child.pid))
stubs.serve_until_told(Answers(), 0)
"""


def use(monkeypatch: pytest.MonkeyPatch, *command: str) -> None:
    monkeypatch.setitem(launch._COMMANDS, "ours", lambda: list(command))


def gone(process_id: int) -> bool:
    """Whether the process has ended; an orphan that nobody waits for may stay as a zombie."""
    try:
        os.kill(process_id, 0)
        stat = Path(f"/proc/{process_id}/stat")
        return stat.parent.is_dir() and stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "Z"
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_a_peer_answers_and_is_gone_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    use(monkeypatch, sys.executable, "-c", ANSWERS)
    note = tmp_path / "child"
    with launch.started("ours", arguments=[str(note)]) as running:
        peer = runner.connect("", running.address)
        with peer.client:
            assert (peer.name, peer.suites) == ("child", (1, 2))
        child = int(note.read_text(encoding="ascii"))
        assert not gone(running.process_id)
        assert not gone(child)
    deadline = time.monotonic() + 30
    while not (gone(running.process_id) and gone(child)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gone(running.process_id)
    assert gone(child)


def test_a_peer_that_dies_at_once_is_named_with_its_last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, sys.executable, "-c", "import sys; sys.exit('no such curve')")
    with pytest.raises(launch.PeerDiedError, match=r"ours exited with 1:\nno such curve"):
        with launch.started("ours"):
            pass


def test_a_peer_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START_LIMIT", 0.3)
    use(monkeypatch, sys.executable, "-c", "import time; time.sleep(60)")
    with pytest.raises(launch.PeerDiedError, match="did not say"):
        with launch.started("ours"):
            pass


def test_a_peer_that_listens_and_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "START_LIMIT", 30)
    use(monkeypatch, sys.executable, "-c", "import time; print('listening 1', flush=True); time.sleep(60)")
    with pytest.raises(launch.PeerDiedError, match="does not answer"):
        with launch.started("ours"):
            pass


@pytest.mark.parametrize(("name", "tool"), [("js", "node"), ("rust", "cargo")])
def test_without_its_tool_a_peer_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, tool: str
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launch.UnavailableError, match=f"{tool} is not installed"):
        with launch.started(name):
            pass


def test_without_its_tool_a_node_of_the_mesh_is_unavailable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(launch.UnavailableError, match="node is not installed"):
        launch.js_libp2p()
    with pytest.raises(launch.UnavailableError, match="go is not installed"):
        launch.go_libp2p()


def test_an_installer_that_fails_makes_the_peer_unavailable(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('no network'); sys.exit(3)"]
    with pytest.raises(launch.UnavailableError, match=r"(?s)exited with 3.*no network"):
        launch._prepare(command, tmp_path, 20, {})
    with pytest.raises(launch.UnavailableError, match="longer than 0 s"):
        launch._prepare([sys.executable, "-c", "import time; time.sleep(60)"], tmp_path, 0.2, {})


@pytest.mark.parametrize("folder", [launch.JS, launch.LIBP2P_JS], ids=lambda folder: folder.name)
def test_the_js_locks_name_packages_and_no_places(folder: Path) -> None:
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    manifest = json.loads((folder / "package.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert packages
    assert all("resolved" not in entry and entry["integrity"].startswith("sha512-") for entry in packages.values())
    for name, version in manifest["dependencies"].items():
        assert packages[f"node_modules/{name}"]["version"] == version
