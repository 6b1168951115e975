"""status, health, metrics, the vault, KeyPackages, and the daemon's end. These work on the whole house: some of them
also while it is locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vcd.daemon import facts, metrics, opening
from vcd.daemon.desk import Desk
from vcd.daemon.health import Seen
from vcd.daemon.house import House
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import daemon
from vcd.rpc.table import LEVEL
from vcd.rpc.values import Done
from vcd.vault.errors import VaultError
from vcd.vault.unlockers import Passphrase


async def status(house: House, call: Call, given: object) -> daemon.Status:
    del call, given
    info, opened = house.info, house.open
    progress = None
    if house.progress is not None:
        step = house.progress
        progress = daemon.Progress(what=step.name, done=step.done, total=step.total)
    store: Any = house.store
    unlocker: Any = house.unlocker
    shown = [each.trouble.code for each in house.watch.ordered()]
    common: dict[str, Any] = {
        "version": info.version,
        "api_level": LEVEL,
        "state": info.state,
        "reason": house.reason,
        "boot_id": info.boot_id,
        "started_at": house.started_at,
        "pid": house.pid,
        "store": store,
        "unlocker": unlocker,
        "vault_new": house.fresh,
        "progress": progress,
        "problems": shown,
    }
    if opened is None:
        return daemon.Status(
            **common,
            account=None,
            removed=None,
            device=None,
            device_name="",
            online=False,
            peers=0,
            peer="",
            addresses=[],
            devices=0,
            contacts=0,
            chats=0,
            backlog=None,
            log=None,
        )
    state, journal = opened.desk.state, opened.desk.store.journal
    edition, removed = state.book.edition, facts.removed_of(opened.desk.facts)
    listed = () if edition is None else edition.devices.devices
    name = next((each.name for each in listed if each.device == state.me.device), state.me.name)
    return daemon.Status(
        **common,
        account=state.book.own,
        removed=None if removed is None else removed.at,
        device=None if edition is None else state.me.device,
        device_name=name,
        online=state.clock.online,
        peers=opened.mesh.connected(),
        peer=opened.mesh.me,
        addresses=list(opened.mesh.addresses()),
        devices=len(listed),
        contacts=sum(each.accepted for each in state.book.contacts.values()),
        chats=len(state.talks),
        backlog=daemon.Backlog(
            unsent=len(state.unsent),
            queued=sum(len(each.queue) for each in state.talks.values()),
            unconfirmed=sum(len(each.unsure) for each in state.talks.values()),
            waiting=len(state.waiting.items),
            actions=sum(not each.quiet for each in state.intents.values()),
        ),
        log=daemon.Log(log_id=journal.log_id, floor=journal.floor, last=journal.last),
    )


def _problem(seen: Seen) -> daemon.Problem:
    trouble = seen.trouble
    return daemon.Problem(
        code=trouble.code,
        severity=trouble.severity,
        title=trouble.title,
        text=trouble.text,
        args=trouble.args,
        since=seen.since,
        visible=seen.visible,
        depends_on=list(trouble.depends_on),
        command=trouble.command,
    )


async def health(house: House, call: Call, given: daemon.HealthList) -> daemon.Health:
    del call
    opening.look(house)
    ok = not any(each.trouble.severity == "error" for each in house.watch.ordered(everything=True))
    shown = [_problem(each) for each in house.watch.ordered(everything=given.all)]
    return daemon.Health(ok=ok, problems=shown)


async def get_metrics(house: House, call: Call, given: object) -> daemon.Metrics:
    del call, given
    return daemon.Metrics(text=metrics.text(house), at=house.now_ms())


# ---------------------------------------------------------------- the vault


def _vault(house: House) -> daemon.VaultState:
    unlocker: Any = house.unlocker or house.config.vault.unlocker
    return daemon.VaultState(state=house.info.state, unlocker=unlocker)


async def unlock(house: House, call: Call, given: daemon.Unlock) -> daemon.VaultState:
    del call
    if house.info.state == "locked":
        await house.unlock(None if given.passphrase is None else Passphrase(given.passphrase))
    return _vault(house)


async def lock(house: House, call: Call, given: object) -> daemon.VaultState:
    """It answers when the keys are gone."""
    del call, given
    if house.info.state == "migrating":
        raise Failure("E_MIGRATING", data={"state": "migrating"})
    house.relock.set()
    await house.info.until("locked", "stopping")
    return _vault(house)


async def rewrap(house: House, call: Call, given: daemon.Rewrap) -> daemon.VaultState:
    if house.open is None:
        raise Failure("E_LOCKED", data={"state": house.info.state})
    if given.unlocker == "passphrase" and not given.passphrase:
        raise Failure("E_PASSPHRASE", "A new passphrase is needed.")
    try:
        await opening.rewrap(house, given.unlocker, given.passphrase)
    except VaultError as error:
        raise opening.vault_failure(error) from None
    made = _vault(house)
    return await house.desk().change(call, None, lambda *_: made)


# ---------------------------------------------------------------- KeyPackages, the end


async def key_packages(house: House, call: Call, given: object) -> daemon.KeyPackagesStatus:
    del call, given
    desk = house.desk()
    desk.own()
    state = desk.state
    mine = [each for each in state.stock.mine.values() if not each.given]
    once = [each for each in mine if not each.last]
    ends = [each.not_after * 1000 for each in mine]
    return daemon.KeyPackagesStatus(
        left=len(once),
        strangers=sum(each.public for each in once),
        last_resort=any(each.last for each in state.stock.mine.values()),
        given=len(state.stock.uses),
        wanted=state.config.packages,
        expires_at=min(ends, default=None),
        low=len(once) <= state.config.packages // 4,
        dispensers=[
            daemon.Dispenser(name=_own_name(desk), kind="here", left=len(once), reachable=house.info.state == "ready")
        ],
    )


def _own_name(desk: Desk) -> str:
    edition = desk.state.book.edition
    listed = () if edition is None else edition.devices.devices
    return next((each.name for each in listed if each.device == desk.state.me.device), desk.state.me.name)


async def stop(house: House, call: Call, given: object) -> Done:
    del call, given
    house.stop.set()
    return Done()


HANDLERS: Mapping[str, Any] = {
    "status.get": status,
    "health.list": health,
    "metrics.get": get_metrics,
    "vault.unlock": unlock,
    "vault.lock": lock,
    "vault.rewrap": rewrap,
    "key_packages.status": key_packages,
    "daemon.stop": stop,
}
"""They take the house, where others take the desk."""
