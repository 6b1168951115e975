"""What the daemon is at the moment, for its handlers: whether it is open, how it fares, and what it was asked to do.

    House       the whole: there from the first instant, also while the vault is locked
    Open        what is there only while the vault is open: the desk, the mesh, mailboxes, packages, pairing

The composition root (`vcd.main`) sets them; handlers read them, and ask it for something by `unlock`, `lock` and
`stop`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from vcd.config import Config
from vcd.daemon.boxes import Boxes
from vcd.daemon.desk import Desk
from vcd.daemon.health import Watch
from vcd.daemon.mesh import Mesh
from vcd.daemon.packages import Packages
from vcd.daemon.pairing import Pairing
from vcd.daemon.trust import Trust
from vcd.paths import Paths
from vcd.rpc.errors import Failure
from vcd.rpc.info import Info
from vcd.store.values import Progress
from vcd.vault.unlockers import Passphrase
from vcd.vault.vault import Vault

KINDS = {"keyfile": "key-file", "passphrase": "passphrase", "credential": "credential", "keyring": "keyring"}
"""What the settings and people call an unlocker, and what the vault does."""
NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(slots=True)
class Open:
    """See above."""

    desk: Desk
    mesh: Mesh
    boxes: Boxes
    packages: Packages
    pairing: Pairing
    vault: Vault


@dataclass(slots=True, eq=False)
class Unlocking:
    """Somebody who wants to open the vault."""

    passphrase: Passphrase | None = field(repr=False)
    done: trio.Event = field(default_factory=trio.Event)
    failure: Failure | None = None


@dataclass(slots=True)
class House:
    """See above."""

    paths: Paths
    config: Config
    info: Info
    now_ms: Callable[[], int]
    started_at: int
    reason: str = ""
    """Why it is not ready, or cannot write."""
    restored: bool = False
    """Whether the state is a copy that is older than what this device did last; until it was opened as one."""
    store: str = "locked"
    progress: Progress | None = None
    """Of a migration."""
    unlocker: str | None = None
    fresh: bool = False
    """Whether there is no vault yet, so that what unlocks it first is what opens it from then on."""
    open: Open | None = None
    trust: Trust = field(default_factory=Trust)
    watch: Watch = field(default_factory=Watch)
    stop: trio.Event = field(default_factory=trio.Event)
    relock: trio.Event = field(default_factory=trio.Event)
    wanted: list[Unlocking] = field(default_factory=list)
    asked: trio.Event = field(default_factory=trio.Event)

    def desk(self) -> Desk:
        if self.open is None:
            raise Failure("E_LOCKED", data={"state": self.info.state})
        return self.open.desk

    async def unlock(self, passphrase: Passphrase | None) -> None:
        """Have the composition root try; comes back when the daemon is ready, or raises what was wrong."""
        wanted = Unlocking(passphrase)
        self.wanted.append(wanted)
        self.asked.set()
        try:
            await wanted.done.wait()
        finally:
            if wanted in self.wanted:  # its caller gave up: nothing is opened for nobody, some time later
                self.wanted.remove(wanted)
        if wanted.failure is not None:
            raise wanted.failure

    @property
    def pid(self) -> int:
        return os.getpid()
