"""OpenMLS as a child process, and its clients as Python values to call.

The program (tests/peers/openmls) reads one JSON object a line and answers each with one. `started` runs it, `OpenMls`
is the line to it, `Member` one client there. What OpenMLS refuses to do is `RefusedError`, in OpenMLS's own words;
a call that makes no sense, and a program that is gone or silent, are errors of the test.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.peers import launch

CALL_LIMIT = 30
"""How long one call may take, in seconds."""

Entries = Sequence[tuple[int, bytes]]
Proposal = Mapping[str, object]


class RefusedError(Exception):
    """OpenMLS would not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What all members of an epoch have in common, and where this one sits."""

    group: bytes
    epoch: int
    leaf: int
    active: bool
    authenticator: bytes
    context: bytes
    tree: bytes
    members: tuple[tuple[int, bytes], ...]

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> State:
        return cls(
            group=bytes.fromhex(answer["group"]),
            epoch=answer["epoch"],
            leaf=answer["leaf"],
            active=answer["active"],
            authenticator=bytes.fromhex(answer["authenticator"]),
            context=bytes.fromhex(answer["context"]),
            tree=bytes.fromhex(answer["tree"]),
            members=tuple([(each["leaf"], bytes.fromhex(each["identity"])) for each in answer["members"]]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A commit, carried out by who made it."""

    message: bytes
    welcome: bytes | None
    group_info: bytes | None
    generation_id: bytes | None
    """Of a virtual client: what names the key of a PrivateMessage."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """What OpenMLS made of a message."""

    kind: str
    """`application`, `proposal`, `commit` or `own`."""
    sender: int | str
    """A leaf, or what kind of stranger."""
    emulator: int | None
    """The device that sealed it, by its leaf in the emulation group, for members that share the sender's leaf."""
    epoch: int
    authenticated_data: bytes
    safe_aad: tuple[tuple[int, bytes], ...] | None
    tail: bytes
    """What follows the SafeAAD in the authenticated data; all of it where there is none."""
    data: bytes | None
    proposals: tuple[tuple[int | str, bytes], ...]
    """Who proposed, and the encoded proposal: the one received, or all that were committed."""
    removed: bool
    state: State | None
    """The next epoch, after a commit that left us in."""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Received:
        if answer["kind"] == "proposal":
            proposals = [(answer["sender"], bytes.fromhex(answer["proposal"]))]
        else:
            proposals = [(each["sender"], bytes.fromhex(each["proposal"])) for each in answer.get("proposals", ())]
        return cls(
            kind=answer["kind"],
            sender=answer["sender"],
            emulator=answer["emulator"],
            epoch=answer["epoch"],
            authenticated_data=bytes.fromhex(answer["authenticated_data"]),
            safe_aad=None if answer["safe_aad"] is None else _entries(answer["safe_aad"]),
            tail=bytes.fromhex(answer["tail"]),
            data=_if_any(answer.get("data")),
            proposals=tuple(proposals),
            removed=answer.get("removed", False),
            state=State.of(answer["state"]) if answer.get("state") else None,
        )


def _if_any(value: str | None) -> bytes | None:
    return None if value is None else bytes.fromhex(value)


def _entries(value: Sequence[tuple[int, str]]) -> tuple[tuple[int, bytes], ...]:
    return tuple([(number, bytes.fromhex(data)) for number, data in value])


def _written(value: object) -> object:
    """As it goes over the line: bytes in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, Mapping):
        return {name: _written(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(each) for each in value]
    return value


class OpenMls:
    """The line to a running program."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self._rest = b""

    def _died(self, how: str) -> launch.PeerDiedError:
        said = self._log.read_text(encoding="utf-8", errors="replace").strip()[-2000:]
        return launch.PeerDiedError(f"OpenMLS {how}\n{said}")

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        deadline = time.monotonic() + CALL_LIMIT
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise self._died(f"did not answer within {CALL_LIMIT} s")
            more = os.read(self._process.stdout.fileno(), 1 << 16)
            if not more:
                raise self._died("ended")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def call(self, name: str, /, **fields: object) -> dict[str, Any]:
        """Fields that are None are not sent."""
        request = {"call": name, **{key: _written(value) for key, value in fields.items() if value is not None}}
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._died("ended") from None
        answer = json.loads(self._line())
        if "refused" in answer:
            raise RefusedError(f"{name}: {answer['refused']}")
        assert "ok" in answer, f"{name}: {answer}"
        found: dict[str, Any] = answer["ok"]
        return found

    @property
    def suites(self) -> list[int]:
        found: list[int] = self.call("about")["suites"]
        return found

    def encode(self, structure: str, *, entries: Entries | None = None, numbers: Sequence[int] | None = None) -> bytes:
        return bytes.fromhex(self.call("encode", structure=structure, entries=entries, numbers=numbers)["bytes"])

    def decode_entries(self, structure: str, data: bytes) -> tuple[tuple[int, bytes], ...]:
        return _entries(self.call("decode", structure=structure, bytes=data)["entries"])

    def decode_numbers(self, structure: str, data: bytes) -> list[int]:
        found: list[int] = self.call("decode", structure=structure, bytes=data)["numbers"]
        return found

    def member(self, name: str, suite: int = 1, *, public: bool = False, padding: int = 0, **leaf: Any) -> Member:
        """A client that sends its handshakes so, and pads to a multiple of so many bytes."""
        self.call("client", client=name, suite=suite, identity=name.encode())
        return Member(self, name, Leaf(**leaf), {"public": public, "padding": padding})


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """What a client's leaves say of it, beyond the cipher suites."""

    extension_types: tuple[int, ...] = ()
    proposal_types: tuple[int, ...] = ()
    leaf_components: Entries | None = None
    leaf_extensions: Entries = ()

    def fields(self) -> dict[str, object]:
        return {
            "extension_types": self.extension_types,
            "proposal_types": self.proposal_types,
            "leaf_components": self.leaf_components,
            "leaf_extensions": self.leaf_extensions,
        }


@dataclass(slots=True)
class Member:
    """One client at the peer. After `create` or a join, the other calls are about that group."""

    peer: OpenMls
    name: str
    leaf: Leaf
    policy: dict[str, object]
    group: bytes = field(default=b"", init=False)

    def call(self, call: str, /, **fields: object) -> dict[str, Any]:
        return self.peer.call(call, client=self.name, **fields)

    def here(self, call: str, /, **fields: object) -> dict[str, Any]:
        return self.call(call, group=self.group, **fields)

    def _entered(self, answer: Mapping[str, Any]) -> State:
        state = State.of(answer)
        self.group = state.group
        return state

    # ---------------------------------------------------------------- becoming a member

    def key_package(
        self, *, components: Entries | None = None, extensions: Entries = (), last_resort: bool = False
    ) -> bytes:
        """An MLSMessage; what it says beside its leaf."""
        answer = self.call(
            "key_package",
            **self.leaf.fields(),
            key_package_components=components,
            key_package_extensions=extensions,
            last_resort=last_resort,
        )
        return bytes.fromhex(answer["message"])

    def create(
        self, group_id: bytes = b"group", *, components: Entries | None = None, extensions: Entries = ()
    ) -> State:
        said = {**self.leaf.fields(), **self.policy}
        return self._entered(self.call("create", group=group_id, components=components, extensions=extensions, **said))

    def join(self, welcome: bytes | None, *, tree: bytes | None = None) -> State:
        assert welcome is not None
        return self._entered(self.call("join", welcome=welcome, tree=tree, **self.policy))

    def join_externally(self, group_info: bytes, **options: object) -> tuple[State, bytes]:
        """`tree`, `self_removes`, `updates`, `psks`, `authenticated_data`. The new state, and the commit."""
        said = {**self.leaf.fields(), **self.policy}
        answer = self.call("join_externally", group_info=group_info, **said, **options)
        return self._entered(answer), bytes.fromhex(answer["message"])

    def forget(self) -> None:
        """A group that it was removed from; otherwise it cannot come back."""
        self.here("forget")

    # ---------------------------------------------------------------- as a member

    @property
    def state(self) -> State:
        return State.of(self.here("state"))

    def group_info(self, *, with_tree: bool = True, components: Entries | None = None) -> bytes:
        return bytes.fromhex(self.here("group_info", with_tree=with_tree, components=components)["message"])

    def propose(self, kind: str, /, **fields: object) -> bytes:
        """A proposal by reference; `authenticated_data` and `safe_aad` are the message's."""
        outside = {name: fields.pop(name, None) for name in ("authenticated_data", "safe_aad")}
        answer = self.here("propose", proposal={"type": kind, **_present(fields)}, **outside)
        return bytes.fromhex(answer["message"])

    def prepare(self, *proposals: Proposal, **options: object) -> Sent:
        """A commit that waits for `merge`."""
        answer = self.here("commit", proposals=proposals, **options)
        return Sent(
            message=bytes.fromhex(answer["message"]),
            welcome=_if_any(answer["welcome"]),
            group_info=_if_any(answer["group_info"]),
            generation_id=_if_any(answer["generation_id"]),
        )

    def commit(self, *proposals: Proposal, **options: object) -> Sent:
        """A commit, and into the next epoch: `path`, `leave_pending`, `leaf`, `info_components`, and as in `send`."""
        sent = self.prepare(*proposals, **options)
        self.merge()
        return sent

    def merge(self) -> State:
        return State.of(self.here("merge"))

    def clear(self) -> State:
        return State.of(self.here("clear"))

    def process(self, message: bytes) -> Received:
        return Received.of(self.here("process", message=message))

    def send(self, data: bytes, **outside: object) -> bytes:
        """`authenticated_data`, `safe_aad`."""
        return bytes.fromhex(self.here("send", data=data, **outside)["message"])

    def send_targeted(self, recipient: int, data: bytes, *, authenticated_data: bytes = b"") -> bytes:
        answer = self.here("send_targeted", recipient=recipient, data=data, authenticated_data=authenticated_data)
        return bytes.fromhex(answer["message"])

    def open_targeted(self, message: bytes) -> tuple[int, bytes, bytes]:
        """Sender, data, authenticated data."""
        answer = self.here("open_targeted", message=message)
        return answer["sender"], bytes.fromhex(answer["data"]), bytes.fromhex(answer["authenticated_data"])

    # ---------------------------------------------------------------- secrets

    def export(self, label: str, context: bytes, length: int) -> bytes:
        return bytes.fromhex(self.here("export", label=label, context=context, length=length)["secret"])

    def safe_export(self, component: int, *, pending: bool = False) -> bytes:
        return bytes.fromhex(self.here("safe_export", component=component, pending=pending)["secret"])

    def export_tree(self) -> dict[tuple[int, int], bytes]:
        """What is left of the tree of exporter secrets: by depth and leading bits."""
        nodes = self.here("export_tree")["nodes"]
        return {(depth, bits): bytes.fromhex(secret) for depth, bits, secret in nodes}

    def store_psk(self, secret: bytes, **psk: object) -> None:
        self.call("store_psk", secret=secret, **psk)


def _present(fields: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in fields.items() if value is not None}


def update(component: int, data: bytes) -> Proposal:
    return {"type": "app_data_update", "component": component, "data": data}


def drop(component: int) -> Proposal:
    return {"type": "app_data_update", "component": component}


def ephemeral(component: int, data: bytes) -> Proposal:
    return {"type": "app_ephemeral", "component": component, "data": data}


def add(key_package: bytes) -> Proposal:
    return {"type": "add", "key_package": key_package}


def remove(leaf: int) -> Proposal:
    return {"type": "remove", "leaf": leaf}


def psk(kind: str, **fields: object) -> Proposal:
    return {"type": "psk", "kind": kind, **fields}


@contextmanager
def started(command: Sequence[str]) -> Iterator[OpenMls]:
    """Run the program, and end it when the block ends."""
    with tempfile.NamedTemporaryFile("wb", prefix="vcd-peer-openmls-") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
        try:
            yield OpenMls(process, Path(log.name))
        finally:
            assert process.stdin is not None
            process.stdin.close()  # it ends with its input
            try:
                process.wait(launch.STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            assert process.stdout is not None
            process.stdout.close()
