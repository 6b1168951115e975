"""What the settings mean for the vault, the node and health: functions of the house, without tasks of their own."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import trio

from mls.provider import Provider
from vcd.config import Config
from vcd.core import founding, stored
from vcd.core.config import Config as NodeConfig
from vcd.core.state import State
from vcd.daemon import facts, health
from vcd.daemon.facts import Facts
from vcd.daemon.house import KINDS, NAMES, House
from vcd.rpc.errors import Failure
from vcd.store.store import Store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import Batch, NewEntry, Progress, Row
from vcd.vault.errors import NotOpened, VaultError, VaultMissing
from vcd.vault.unlockers import Credential, KeyFile, Keyring, Passphrase, Unlocker
from vcd.vault.vault import Vault

VAULT, DATABASE, KEY = "vault.json", "vcd.db", "vault.key"
"""Files of the state folder."""

STORE = {
    Trouble.FULL: "full",
    Trouble.READ_ONLY: "read-only",
    Trouble.NEWER: "newer",
    Trouble.CLOSED: "locked",
}
"""As `status.get` has it; all else is damage."""


# ---------------------------------------------------------------- the vault


def vault_path(house: House) -> Path:
    return house.paths.state / VAULT


def unlocker(house: House, kind: str, passphrase: Passphrase | None) -> Unlocker | None:
    """What opens a vault of that kind; None if a person has to say something first."""
    match kind:
        case "key-file":
            return KeyFile(key_file(house))
        case "credential":
            return Credential(house.config.vault.credential, house.paths.credentials)
        case "keyring":
            return Keyring(getpass.getuser())
        case _:
            return passphrase


def key_file(house: House) -> Path:
    said = house.config.vault.key_file
    return Path(said) if said else house.paths.state / KEY


async def open_vault(house: House, passphrase: Passphrase | None) -> Vault | None:
    """The vault, made if there is none; None if it waits for a passphrase. Raises `VaultError`."""
    path = vault_path(house)
    try:
        kind = Vault.look(path).kind
        fresh = False
    except VaultMissing:
        kind, fresh = KINDS[house.config.vault.unlocker], True
        if (house.paths.state / DATABASE).exists():
            raise
    house.unlocker, house.fresh = NAMES.get(kind, kind), fresh
    chosen = unlocker(house, kind, passphrase)
    if chosen is None:
        return None
    # argon2 takes its time
    vault = await trio.to_thread.run_sync(Vault.create if fresh else Vault.open, path, chosen)
    house.fresh = False
    return vault


async def rewrap(house: House, name: str, passphrase: str | None) -> None:
    """Another way to open the vault, from now on."""
    assert house.open is not None  # noqa: S101 - the caller saw to it
    kind = KINDS[name]
    chosen = unlocker(house, kind, None if passphrase is None else Passphrase(passphrase))
    if chosen is None:
        raise NotOpened("A new passphrase is needed.")
    await trio.to_thread.run_sync(house.open.vault.rewrap, chosen)
    house.unlocker = name


def vault_failure(error: VaultError) -> Failure:
    """What somebody who wanted to unlock is told."""
    if isinstance(error, NotOpened):
        return Failure("E_PASSPHRASE", sentences(str(error)))
    return Failure("E_UNLOCKER", sentences(str(error), error.hint))


# ---------------------------------------------------------------- the node


def node_config(config: Config) -> NodeConfig:
    """What a person may set of the node."""
    said = config.node
    return replace(
        NodeConfig(),
        accept_contacts=said.accept_contacts,
        cipher_suite=said.cipher_suite,
        frame_life=said.frame_life,
        quiet=said.quiet,
        retry=said.retry,
        retry_most=said.retry_most,
        turn_taking=said.turn_taking,
        relay_after=said.relay_after,
        takeover_after=said.takeover_after,
        desync_after=said.desync_after,
        order_wait=said.order_wait,
        split_most=said.split_most,
        waiting_life=said.waiting_life,
        packages=said.packages,
        package_public=said.package_public,
        package_life=said.package_life,
        max_conversations=said.max_conversations,
        max_said=said.max_message,
        max_outbox=said.max_outbox,
        max_waiting_bytes=said.max_waiting_size,
        max_kept=said.max_kept,
    )


def state(config: Config, rows: Mapping[Row, bytes], provider: Provider) -> State:
    """The node's state as these rows have it, or that of a device that is new here. Raises `StoreTrouble`."""
    wanted = node_config(config)
    if not rows:
        return founding.blank(provider, config.device.name or socket.gethostname()[:64] or "device", wanted)
    try:
        return replace(stored.load(rows, provider), config=wanted)
    except stored.Newer as error:
        raise StoreTrouble(Trouble.NEWER, str(error)) from error
    except stored.Unreadable as error:
        raise StoreTrouble(Trouble.CORRUPT, str(error)) from error


async def renew(
    store: Store, rows: Mapping[Row, bytes], state: State, progress: Callable[[Progress], None] = lambda _: None
) -> None:
    """Where an older version stored the state, it is stored as this one does, before anything else is done with it."""
    put, gone = stored.renewed(rows, state)
    if put:
        progress(Progress(0, 1, "the state", 0, len(put)))
        await store.commit(Batch(put=put, gone=gone))


async def set_back(store: Store, state: State, kept: Facts) -> tuple[State, Facts]:
    """A state that is older than what its device did last: the device listens first, and its log is another one.

    That is on disk before anything else is done. What was under way when the copy was made (a pairing) is over.
    """
    after = founding.restored(state)
    put, gone = stored.changes(state, after)
    pairings = [row for row in kept if row[0] == facts.PAIRING]
    await store.commit(Batch(put=put, gone=[*gone, *pairings]))
    await store.journal.renew()
    return after, facts.changed(kept, dict.fromkeys(pairings))


# ---------------------------------------------------------------- health


def store_fares(house: House, trouble: StoreTrouble | None) -> None:
    """Note how the store is."""
    house.store = "ok" if trouble is None else STORE.get(trouble.code, "damaged")
    house.reason = "" if trouble is None else sentences(trouble.reason, trouble.hint)


def sentences(*several: str) -> str:
    """For people: each begun and ended as a sentence is, whatever the disk said."""
    said = (each.strip().rstrip(".") for each in several)
    return " ".join(f"{each[0].upper()}{each[1:]}." for each in said if each)


def look(house: House) -> list[NewEntry]:
    """Check everything; gives what is to be told."""
    opened = house.open
    if opened is not None:
        lasting = opened.desk.owner.trouble or opened.desk.store.trouble
        if lasting is not None or house.store != "damaged":
            store_fares(house, lasting)
    found = [
        *health.store(house.store, house.reason),
        *health.locked(house.info.state),
        *health.vault(house.config.vault.unlocker, house.unlocker),
        *health.restart(house.watch.restart),
        *health.anchors(house.trust.missing),
    ]
    if opened is not None:
        found += health.node(opened.desk.state, opened.mesh.connected(), opened.desk.facts)
        found += health.mailboxes(opened.boxes.troubles())
    now = house.now_ms()
    entries = []
    for seen, over in house.watch.look(found, now):
        trouble = seen.trouble
        data = {"code": trouble.code, "severity": trouble.severity, "title": trouble.title, "text": trouble.text}
        entries.append(NewEntry(at_ms=now, type="health.changed", data={**data, "over": over}))
    return entries
