"""The runner against toy peers, some of which lie: a bench that cannot fail would prove nothing.

A toy group has no cryptography. Whatever real peers derive from secrets, toys derive from the group's id, its
epoch and the path commits it has seen, all of which travel in the open in what toys call messages.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from tests.peers import runner, scenario as s, stubs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.peers.stubs import Message

BASICS = s.Scenario(
    file="toys",
    name="basics",
    steps=(
        s.CreateGroup(actor="alice", members=("bob",)),
        s.Protect(actor="alice", authenticated_data="aad", plaintext="one"),
        s.CreateKeyPackage(actor="carol"),
        s.FullCommit(
            actor="bob",
            by_value=(s.ProposalDescription(proposal_type="add", key_package=2),),
            members=("alice",),
            joiners=("carol",),
        ),
        s.Unprotect(actor="bob", ciphertext=1),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    group: str
    number: int = 0
    paths: int = 0

    def secret(self, label: str) -> bytes:
        return hashlib.sha256(f"{self.group} {self.number} {self.paths} {label}".encode()).digest()

    def pack(self, **more: str) -> bytes:
        return json.dumps([self.group, self.number, self.paths, more]).encode()


def unpack(data: bytes) -> tuple[Epoch, dict[str, str]]:
    group, number, paths, more = json.loads(data)
    return Epoch(group=group, number=number, paths=paths), more


@dataclass
class Toy:
    """An honest peer that can do what BASICS needs."""

    _states: dict[int, Epoch] = field(default_factory=dict)
    _pending: dict[int, Epoch] = field(default_factory=dict)
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def _begun(self, state: int, epoch: Epoch) -> dict[str, object]:
        self._states[state] = epoch
        return {"state_id": state, "epoch_authenticator": epoch.secret("authenticator")}

    def name(self, _request: Message) -> dict[str, object]:
        return {"name": "toy"}

    def supported_ciphersuites(self, _request: Message) -> dict[str, object]:
        return {"ciphersuites": [1]}

    def create_group(self, request: Message) -> dict[str, object]:
        return {"state_id": self._begun(next(self._ids), Epoch(group=request.group_id.hex()))["state_id"]}

    def create_key_package(self, _request: Message) -> dict[str, object]:
        return {"transaction_id": next(self._ids), "key_package": b"a key package"}

    def commit(self, request: Message) -> dict[str, object]:
        old = self._states[request.state_id]
        new = replace(old, number=old.number + 1, paths=old.paths + request.force_path)
        self._pending[request.state_id] = new
        return {"commit": new.pack(), "welcome": new.pack() if request.by_value else b""}

    def handle_pending_commit(self, request: Message) -> dict[str, object]:
        return self._begun(request.state_id, self._pending.pop(request.state_id))

    def handle_commit(self, request: Message) -> dict[str, object]:
        return self._begun(request.state_id, unpack(request.commit)[0])

    def join_group(self, request: Message) -> dict[str, object]:
        return self._begun(next(self._ids), unpack(request.welcome)[0])

    def state_auth(self, request: Message) -> dict[str, object]:
        return {"state_auth_secret": self._states[request.state_id].secret("authenticator")}

    def export(self, request: Message) -> dict[str, object]:
        secret = self._states[request.state_id].secret(f"{request.label} {request.context.hex()}")
        return {"exported_secret": secret * 2}

    def protect(self, request: Message) -> dict[str, object]:
        aad, plaintext = request.authenticated_data.hex(), request.plaintext.hex()
        return {"ciphertext": self._states[request.state_id].pack(aad=aad, plaintext=plaintext)}

    def unprotect(self, request: Message) -> dict[str, object]:
        _, more = unpack(request.ciphertext)
        aad, plaintext = bytes.fromhex(more["aad"]), bytes.fromhex(more["plaintext"])
        return {"authenticated_data": aad, "plaintext": plaintext}

    def free(self, request: Message) -> dict[str, object]:
        del self._states[request.state_id]
        return {}


class WrongAuthenticator(Toy):
    def handle_commit(self, request: Message) -> dict[str, object]:
        return {**super().handle_commit(request), "epoch_authenticator": bytes(32)}


class NoAuthenticator(Toy):
    def join_group(self, request: Message) -> dict[str, object]:
        return {**super().join_group(request), "epoch_authenticator": b""}


class WrongStateAuth(Toy):
    def state_auth(self, _request: Message) -> dict[str, object]:
        return {"state_auth_secret": bytes(32)}


class WrongExport(Toy):
    def export(self, _request: Message) -> dict[str, object]:
        return {"exported_secret": bytes(40)}


class ForgetsAad(Toy):
    def unprotect(self, request: Message) -> dict[str, object]:
        return {**super().unprotect(request), "authenticated_data": b""}


class WrongPlaintext(Toy):
    def unprotect(self, request: Message) -> dict[str, object]:
        return {**super().unprotect(request), "plaintext": b"two"}


class CannotFollowPaths(Toy):
    """Right in every step of BASICS; only the follow-up commits with a path."""

    def handle_commit(self, request: Message) -> dict[str, object]:
        if unpack(request.commit)[0].paths:
            raise RuntimeError("no private key for this path")
        return super().handle_commit(request)


class CannotOpenLater(Toy):
    """Opens what BASICS sends and nothing from an epoch after that."""

    def unprotect(self, request: Message) -> dict[str, object]:
        epoch, _ = unpack(request.ciphertext)
        if epoch.paths:
            raise RuntimeError("no ratchet for this epoch")
        return super().unprotect(request)


class Refuses(Toy):
    def join_group(self, _request: Message) -> dict[str, object]:
        raise ValueError("not for me")


class Lacks(Toy):
    def join_group(self, _request: Message) -> dict[str, object]:
        raise NotImplementedError


class CannotFree(Toy):
    def free(self, _request: Message) -> dict[str, object]:
        raise RuntimeError("I never forget")


class Sleeps(Toy):
    def commit(self, request: Message) -> dict[str, object]:
        time.sleep(5)
        return super().commit(request)


def play(*toys: Toy, cast: Sequence[int] = (0, 1, 0), deadline: float = 20.0, follow_up: bool = True) -> runner.Result:
    """BASICS with alice, bob and carol played by the toys at these places."""
    with ExitStack() as stack:
        peers = []
        for number, toy in enumerate(toys):
            server = stack.enter_context(stubs.serve(toy))
            peer = runner.connect(f"toy{number}", f"127.0.0.1:{server.port}", deadline=deadline)
            stack.enter_context(peer.client)
            peers.append(peer)
        roles = dict(zip(BASICS.actors, (peers[place] for place in cast), strict=True))
        run = runner.Assignment(scenario=BASICS, suite=1, encrypt=False, peers=roles)
        return runner.perform(run, follow_up=follow_up, keep_transcript=True)


def test_honest_peers_pass_and_are_told_to_forget() -> None:
    first, second = Toy(), Toy()
    result = play(first, second)
    assert result.passed, result
    assert not first._states
    assert not second._states
    rpcs = [(call.role, call.rpc) for call in result.transcript]
    assert rpcs[:6] == [
        ("alice", "CreateGroup"),
        ("bob", "CreateKeyPackage"),
        ("alice", "Commit"),
        ("alice", "HandlePendingCommit"),
        ("bob", "JoinGroup"),
        ("alice", "StateAuth"),
    ]
    assert rpcs.count(("carol", "JoinGroup")) == 1


@pytest.mark.parametrize(
    ("liar", "step", "why"),
    [
        (WrongAuthenticator(), 3, "alice has epoch authenticator"),
        (NoAuthenticator(), 0, "bob has epoch authenticator empty"),
        (WrongStateAuth(), 0, "epoch authenticator 0000"),
        (WrongExport(), 0, "exported secret"),
        (ForgetsAad(), 4, "another message"),
        (WrongPlaintext(), 4, "another message"),
        (CannotFollowPaths(), 5, "no private key for this path"),
        (CannotOpenLater(), 5, "no ratchet for this epoch"),
        (Refuses(), 0, "INVALID_ARGUMENT: ValueError: not for me"),
        (CannotFree(), 5, "I never forget"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Toy) else "",
)
def test_a_peer_that_is_wrong_fails_the_run(liar: Toy, step: int, why: str) -> None:
    # The liar is alice and carol in one run, bob in the other: the one that shows it must be named.
    results = [play(liar, Toy()), play(Toy(), liar)]
    failed = [result for result in results if result.failed]
    assert failed
    assert any(result.failed and result.failed.step == step and why in str(result) for result in failed), [
        str(result) for result in results
    ]
    assert all(result.lacks is None for result in results)


@pytest.mark.parametrize("liar", [CannotFollowPaths, CannotOpenLater])
def test_only_the_follow_up_tells_these(liar: type[Toy]) -> None:
    assert play(liar(), liar(), follow_up=False).passed


def test_a_call_that_is_not_there_is_neither_success_nor_failure() -> None:
    result = play(Toy(), Lacks())
    assert not result.passed
    assert result.failed is None
    assert result.lacks is not None
    assert (result.lacks.peer, result.lacks.rpc) == ("bob (toy1)", "JoinGroup")
    assert str(result).startswith("LACKS toys.basics suite 1 public alice=toy0 bob=toy1 carol=toy0")


def test_a_peer_that_hangs_is_not_waited_for() -> None:
    began = time.monotonic()
    result = play(Sleeps(), Toy(), deadline=3)
    assert result.failed is not None
    assert "DEADLINE_EXCEEDED" in result.failed.why
    assert time.monotonic() - began < 15


def test_a_scenario_that_refers_to_nothing_is_an_error_of_the_scenario() -> None:
    with stubs.serve(Toy()) as server:
        peer = runner.connect("", f"127.0.0.1:{server.port}")
        assert peer.name == "toy"
        with peer.client:
            wrong = s.Scenario(file="toys", name="wrong", steps=(s.JoinGroup(actor="alice", welcome=0),))
            run = runner.Assignment(scenario=wrong, suite=1, encrypt=True, peers={"alice": peer})
            with pytest.raises(s.ScenarioError, match="step 0"):
                runner.perform(run)


def test_the_command_line_counts_and_exits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "toys.json"
    steps = [{"action": "createGroup", "actor": "alice", "members": ["bob"]}]
    config.write_text(json.dumps({"scripts": {"small": steps}}), encoding="utf-8")
    with stubs.serve(Toy()) as honest, stubs.serve(Refuses()) as other:
        clients = ["--client", f"one=127.0.0.1:{honest.port}", "--client", f"two=127.0.0.1:{other.port}"]
        assert runner.main([*clients, "--config", str(config), "--all", "--public"]) == 1
        lines = capsys.readouterr().out.splitlines()
        # bob is played by `two` in two of the four assignments.
        assert lines[-1] == "2 passed, 2 failed, 0 skipped"
        assert len(lines) == 3
        assert lines[0].startswith("FAILED toys.small suite 1 public alice=one bob=two: step 0 createGroup: bob (two)")
        assert runner.main([*clients[:2], "--config", str(config)]) == 0
        assert capsys.readouterr().out == "2 passed, 0 failed, 0 skipped\n"
        # Nobody has suite 2: to have run nothing is no success.
        assert runner.main([*clients, "--config", str(config), "--suite", "2"]) == 1
