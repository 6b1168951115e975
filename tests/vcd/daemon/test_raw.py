"""raw.*, by real daemons: apps carry bytes between them, and the daemons never meet."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.repo.files import ROOT
from tests.vcd.daemon.process import Daemon, home, until
from vcd.client import RpcError, new_request_id

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("raw"),
]


GROUP = b"app-group"
PAGE = ROOT / "docs" / "raw.md"


@dataclass
class App:
    """One person's, with the place in the service's log up to which it was heard."""

    daemon: Daemon
    at: int = 0
    heard: list[dict[str, Any]] = field(default_factory=list)

    def put(self, data: bytes) -> dict[str, Any]:
        """As an app should: with a request id, so that an answer that was lost can be had again."""
        request = new_request_id()
        found: dict[str, Any] = self.daemon.call("raw.put", group=GROUP, data=data, request_id=request)
        assert self.daemon.call("raw.put", group=GROUP, data=data, request_id=request) == found
        self.heard.append(found)
        return found


@dataclass
class Service:
    """Orders commits by the epochs that they end."""

    apps: list[App]
    log: list[bytes] = field(default_factory=list)
    ended: set[bytes] = field(default_factory=set)
    welcomes: list[bytes] = field(default_factory=list)
    refused: int = 0

    def collect(self, app: App) -> bool:
        """Take what an app has to send."""
        page = app.daemon.call("raw.take")
        took = True
        for frame in page["frames"]:
            if frame["kind"] == "commit":
                took = frame["after"] not in self.ended
                self.ended.add(frame["after"])
                self.refused += not took
            if took and frame["kind"] == "welcome":
                self.welcomes.append(frame["data"])
            elif took and frame["kind"] != "group_info":
                self.log.append(frame["data"])
        if page["frames"]:
            app.daemon.call("raw.take", after=page["frames"][-1]["number"])
        return bool(page["frames"])

    def run(self) -> None:
        """Until everybody has everything."""
        moving = True
        while moving:
            moving = False
            for app in self.apps:
                moving |= self.collect(app)
                groups = [each["group"] for each in app.daemon.call("raw.list")["groups"]]
                while GROUP in groups and app.at < len(self.log):
                    app.put(self.log[app.at])
                    app.at += 1
                    moving = True


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("raw")
    with home(folder / "alice") as alice, home(folder / "bob") as bob:
        for daemon in (alice, bob):
            daemon.start(ready=False)
        for daemon in (alice, bob):
            daemon.until_state("ready")
            daemon.call("account.create", device_name="laptop", name="somebody")
            until(lambda daemon=daemon: daemon.until_state("ready") and daemon.call("status.get")["account"])  # type: ignore[misc]
        yield Service([App(alice), App(bob)])


def test_an_app_carries_bytes_between_two_daemons(service: Service) -> None:
    alice, bob = service.apps
    first = alice.daemon.call("raw.create", group=GROUP)
    assert (first["number"], first["members"], first["pending"]) == (0, 1, False)
    offered = bob.daemon.call("raw.offer")
    made = alice.daemon.call("raw.commit", group=GROUP, add=offered["packages"])
    assert [each["kind"] for each in made["frames"]] == ["commit", "welcome"]
    assert alice.daemon.call("raw.take")["frames"] == made["frames"]
    waiting = alice.daemon.events("raw.waiting")
    assert [each.data["number"] for each in waiting] == [made["frames"][-1]["number"]]
    with pytest.raises(RpcError, match="E_PENDING"):
        alice.daemon.call("raw.commit", group=GROUP)
    service.run()
    assert alice.heard[-1]["kind"] == "own"
    joined = bob.daemon.call("raw.join", welcome=service.welcomes[0])
    assert (joined["group"], joined["epoch"], joined["members"]) == (GROUP, made["epoch"], 2)
    bob.at = len(service.log)
    alice.daemon.call("raw.protect", group=GROUP, data=b"hello", authenticated=b"seen by all")
    service.run()
    bob.daemon.call("raw.protect", group=GROUP, data=b"hi")
    service.run()
    said = [[(each["data"], each["ours"]) for each in app.heard if each["kind"] == "message"] for app in service.apps]
    assert said == [[(b"hello", True), (b"hi", False)], [(b"hello", False), (b"hi", True)]]
    assert bob.heard[0]["authenticated"] == b"seen by all"
    members = bob.daemon.call("raw.get", group=GROUP)["members"]
    assert [each["own"] for each in members] == [False, True]
    assert [each["account"] for each in members] == [app.daemon.call("account.get")["account"] for app in service.apps]
    secrets = {app.daemon.call("raw.export", group=GROUP, label="test")["secret"] for app in service.apps}
    assert len(secrets) == 1


def test_two_commits_and_a_daemon_that_is_killed(service: Service) -> None:
    alice, bob = service.apps
    request = new_request_id()
    made = bob.daemon.call("raw.commit", group=GROUP, request_id=request)
    alice.daemon.call("raw.commit", group=GROUP)
    bob.daemon.end(signal.SIGKILL, code=-signal.SIGKILL)
    bob.daemon.start()
    assert bob.daemon.call("raw.commit", group=GROUP, request_id=request) == made
    assert bob.daemon.call("raw.get", group=GROUP)["pending"]
    service.run()
    assert service.refused == 1
    assert [each["dropped"] for each in bob.heard if each["kind"] == "commit"] == [True]
    lines = [app.daemon.call("raw.list")["groups"][0] for app in service.apps]
    assert lines[0] == lines[1]
    bob.daemon.call("raw.protect", group=GROUP, data=b"after all")
    service.run()
    assert alice.heard[-1]["data"] == b"after all"


def test_what_cannot_be_is_told(service: Service) -> None:
    alice, bob = service.apps
    with pytest.raises(RpcError, match="E_GROUP_EXISTS"):
        alice.daemon.call("raw.create", group=GROUP)
    with pytest.raises(RpcError, match="E_GROUP_UNKNOWN"):
        alice.daemon.call("raw.get", group=b"another")
    with pytest.raises(RpcError, match="E_MLS"):
        bob.daemon.call("raw.join", welcome=service.welcomes[0])
    with pytest.raises(RpcError, match="E_SUITE"):
        alice.daemon.call("raw.create", cipher_suite=65000)
    with pytest.raises(RpcError, match="E_NO_MEMBER"):
        alice.daemon.call("raw.commit", group=GROUP, remove=[7])
    with pytest.raises(RpcError) as broken:
        alice.daemon.call("raw.put", group=GROUP, data=b"\x00\x01\x00\x02")
    assert broken.value.code == "E_MLS"
    assert broken.value.data["rule"]
    assert alice.daemon.call("raw.take", wait_ms=50) == {"frames": [], "more": False}


def test_who_is_removed_is_out_and_forgets(service: Service) -> None:
    alice, bob = service.apps
    leaf = next(each["leaf"] for each in alice.daemon.call("raw.get", group=GROUP)["members"] if not each["own"])
    alice.daemon.call("raw.commit", group=GROUP, remove=[leaf])
    service.run()
    assert bob.heard[-1]["out"]
    assert bob.heard[-1]["went"] == [leaf]
    with pytest.raises(RpcError, match="E_NOT_MEMBER"):
        bob.daemon.call("raw.protect", group=GROUP, data=b"?")
    bob.daemon.call("raw.forget", group=GROUP)
    assert bob.daemon.call("raw.list")["groups"] == []
    for app in service.apps:
        assert b"Traceback" not in app.daemon.log.encode()
        assert GROUP.hex() not in app.daemon.log


def test_the_first_program_of_the_page_runs(service: Service) -> None:
    [program] = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    sockets = iter([str(app.daemon.home / "run" / "app.sock") for app in service.apps])
    placed = re.sub(r'"/run/user/[^"]*"', lambda _: repr(next(sockets)), program)
    assert next(sockets, None) is None
    names: dict[str, Any] = {}
    try:
        exec(compile(placed, str(PAGE), "exec"), names)
    finally:
        for name in ("alice", "bob"):
            names[name].close()
