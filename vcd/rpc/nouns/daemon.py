"""The daemon: how it is, its vault, backups, and its end."""

from __future__ import annotations

from typing import Literal

from vcd.rpc import samples
from vcd.rpc.row import EventData, EventType, Function
from vcd.rpc.values import (
    AccountId,
    Change,
    Count,
    DeviceId,
    Done,
    Id16,
    Nothing,
    Params,
    Path,
    Result,
    Secret,
    Seq,
    State,
    Time,
    Words,
)

Severity = Literal["info", "warning", "error"]
Unlocker = Literal["keyfile", "passphrase", "credential", "keyring"]


# ---------------------------------------------------------------- status, health, metrics


class Progress(Result, frozen=True, kw_only=True):
    what: str
    done: Count
    total: Count


class Backlog(Result, frozen=True, kw_only=True):
    """What is under way."""

    unsent: Count
    """Frames that the mesh has not stored yet."""
    queued: Count
    """Messages of ours that are no frame yet, as this device may not speak there now."""
    unconfirmed: Count
    """Messages of ours that are not final."""
    waiting: Count
    """Messages of others that cannot be read yet."""
    actions: Count
    """What was asked for and has not been settled."""


class Log(Result, frozen=True, kw_only=True):
    """The log of events."""

    log_id: Id16
    floor: Seq
    last: Seq


class Status(Result, frozen=True, kw_only=True):
    version: str
    api_level: Count
    state: State
    reason: str
    """Why it is not ready, or cannot write; empty if all is well."""
    boot_id: Id16
    started_at: Time
    pid: Count
    store: Literal["ok", "locked", "full", "read-only", "damaged", "newer"]
    unlocker: Unlocker | None
    vault_new: bool
    """There is no vault yet: the passphrase that it is unlocked with first is the one from then on, so ask twice."""
    progress: Progress | None
    """Of a migration."""
    account: AccountId | None
    removed: Time | None
    """When this device learned that it was removed from its account, which it forgets when that is final; None again
    when it has an account again."""
    device: DeviceId | None
    device_name: str
    online: bool
    """Whether anybody is connected, and logs were compared."""
    peers: Count
    peer: str
    """How others in the mesh know this device; empty while locked."""
    addresses: list[str]
    """Where it listens."""
    devices: Count
    contacts: Count
    chats: Count
    backlog: Backlog | None
    log: Log | None
    problems: list[str]
    """Codes of `health.list`, the most severe first."""


class HealthList(Params, frozen=True, kw_only=True):
    all: bool = False
    """Also what is not shown yet, since it may pass or follows from something else."""


class Problem(Result, frozen=True, kw_only=True):
    code: str
    """Stable, as `device-stale:phone`."""
    severity: Severity
    title: str
    """One line."""
    text: str
    args: dict[str, str]
    since: Time
    visible: bool
    depends_on: list[str]
    """Codes that explain this one."""
    command: str
    """What to run about it; may be empty."""


class Health(Result, frozen=True, kw_only=True):
    ok: bool
    """Whether there is no error among them."""
    problems: list[Problem]


class Metrics(Result, frozen=True, kw_only=True):
    text: str
    """Prometheus text."""
    at: Time


# ---------------------------------------------------------------- vault


class Unlock(Params, frozen=True, kw_only=True):
    passphrase: Secret | None = None
    """Without it, the other ways that the vault knows are tried."""


class VaultState(Result, frozen=True, kw_only=True):
    state: State
    unlocker: Unlocker


class Rewrap(Change, frozen=True, kw_only=True):
    unlocker: Unlocker
    passphrase: Secret | None = None
    """The new one, for `passphrase`."""


# ---------------------------------------------------------------- key packages, backup, the end


class Dispenser(Result, frozen=True, kw_only=True):
    """Where KeyPackages of this account are handed out."""

    name: str
    kind: Literal["here", "device", "mailbox"]
    left: Count | None
    """None if it has not said."""
    reachable: bool


class KeyPackagesStatus(Result, frozen=True, kw_only=True):
    left: Count
    """Of this device's own share."""
    strangers: Count
    """Those of them that anybody may have."""
    last_resort: bool
    given: Count
    """Handed out since this device has the account."""
    wanted: Count
    """How many are kept in stock."""
    expires_at: Time | None
    """The first of them."""
    low: bool
    dispensers: list[Dispenser]


class BackupCreate(Change, frozen=True, kw_only=True):
    path: Path
    """Absolute; a new file, which only this user may read."""
    passphrase: Secret
    words: Words | None = None
    """The recovery phrase, if the backup is to hold it, sealed. No device has it otherwise."""
    history: bool = True


class BackupMade(Result, frozen=True, kw_only=True):
    path: str
    bytes: Count
    contacts: Count
    chats: Count
    messages: Count
    with_root: bool
    at: Time


class HealthChanged(EventData, frozen=True, kw_only=True):
    code: str
    severity: Severity
    title: str
    text: str
    over: bool
    """Whether it has passed."""


FUNCTIONS = (
    Function(
        name="status.get",
        params=Nothing,
        result=Status,
        unready=True,
        doc="How the daemon is, at a glance.",
        example=(
            Nothing(),
            Status(
                version="0.1.0",
                api_level=1,
                state="ready",
                reason="",
                boot_id=samples.BOOT,
                started_at=samples.AT,
                pid=4711,
                store="ok",
                unlocker="keyfile",
                vault_new=False,
                progress=None,
                account=samples.ALICE,
                removed=None,
                device=samples.LAPTOP,
                device_name="laptop",
                online=True,
                peers=3,
                peer=samples.PEER,
                addresses=["/ip4/192.0.2.7/tcp/4001"],
                devices=2,
                contacts=5,
                chats=7,
                backlog=Backlog(unsent=0, queued=0, unconfirmed=1, waiting=0, actions=0),
                log=Log(log_id=samples.LOG, floor=1, last=812),
                problems=["keypackages-low"],
            ),
        ),
    ),
    Function(
        name="health.list",
        params=HealthList,
        result=Health,
        unready=True,
        doc="What is wrong now, the most severe first, and what to do about it.",
        example=(
            HealthList(),
            Health(
                ok=True,
                problems=[
                    Problem(
                        code="keypackages-low",
                        severity="warning",
                        title="Few people can still write to you first",
                        text="3 KeyPackages are left; new ones are made as soon as somebody is connected.",
                        args={"left": "3"},
                        since=samples.AT,
                        visible=True,
                        depends_on=["peerless"],
                        command="vcd doctor",
                    )
                ],
            ),
        ),
    ),
    Function(
        name="metrics.get",
        params=Nothing,
        result=Metrics,
        unready=True,
        doc="Counters and gauges in Prometheus text; they name nobody.",
        example=(Nothing(), Metrics(text="vcd_steps_total 4096\n", at=samples.AT)),
    ),
    Function(
        name="vault.unlock",
        params=Unlock,
        result=VaultState,
        socket="admin",
        unready=True,
        errors=("E_PASSPHRASE", "E_UNLOCKER", "E_MIGRATING"),
        doc="Open the vault of a locked daemon, which then becomes ready; an open one stays as it is.",
        example=(Unlock(passphrase="correct horse"), VaultState(state="ready", unlocker="passphrase")),  # noqa: S106 - example
    ),
    Function(
        name="vault.lock",
        params=Nothing,
        result=VaultState,
        socket="admin",
        unready=True,
        errors=("E_MIGRATING",),
        doc="Forget all keys in memory, also of a daemon that starts or cannot; nothing goes before it is unlocked.",
        example=(Nothing(), VaultState(state="locked", unlocker="passphrase")),
    ),
    Function(
        name="vault.rewrap",
        params=Rewrap,
        result=VaultState,
        socket="admin",
        mutates=True,
        errors=("E_UNLOCKER", "E_PASSPHRASE"),
        doc="Change what opens the vault; nothing opens it by the old way afterwards.",
        example=(
            Rewrap(unlocker="passphrase", passphrase="correct horse"),  # noqa: S106 - example
            VaultState(state="ready", unlocker="passphrase"),
        ),
    ),
    Function(
        name="key_packages.status",
        params=Nothing,
        result=KeyPackagesStatus,
        errors=("E_NO_ACCOUNT",),
        doc="How many people can still write to us first while all our devices are asleep.",
        example=(
            Nothing(),
            KeyPackagesStatus(
                left=18,
                strangers=2,
                last_resort=True,
                given=2,
                wanted=20,
                expires_at=samples.AT,
                low=False,
                dispensers=[Dispenser(name="laptop", kind="here", left=18, reachable=True)],
            ),
        ),
    ),
    Function(
        name="backup.create",
        params=BackupCreate,
        result=BackupMade,
        socket="admin",
        mutates=True,
        errors=("E_NO_ACCOUNT", "E_FILE", "E_PASSPHRASE", "E_WORDS"),
        doc="Write contacts, the list of devices and the history to a sealed file; it never holds keys of chats.",
        example=(
            BackupCreate(path="/home/alice/vcd.backup", passphrase="correct horse", words=samples.WORDS),  # noqa: S106 - example
            BackupMade(
                path="/home/alice/vcd.backup",
                bytes=70_000,
                contacts=5,
                chats=7,
                messages=1200,
                with_root=True,
                at=samples.AT,
            ),
        ),
    ),
    Function(
        name="daemon.stop",
        params=Nothing,
        result=Done,
        socket="admin",
        unready=True,
        doc="End the daemon, after what is under way is on disk.",
        example=(Nothing(), Done()),
    ),
)

EVENTS = (
    EventType(
        type="health.changed",
        data=HealthChanged,
        doc="Something went wrong that people should know of, or is over.",
        example=HealthChanged(
            code="peerless", severity="warning", title="Nobody is connected", text="For 10 minutes now.", over=False
        ),
    ),
)
