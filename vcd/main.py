"""The daemon as one process: what is opened in which order, and how it ends.

    config, folders, lock       refused with an exit code and a sentence if one of them cannot be had
    sockets                     served from here on; what needs the vault is refused by its state
    vault                       opened by itself, or locked until somebody unlocks it
    store, node, mesh           the open part: one nursery; it ends by lock, by stop, or with the daemon

One nursery holds all tasks. A client's task keeps what goes wrong in it to itself. What goes wrong in any other one, a
bug, takes the daemon down: it is logged with its traceback, and the next start goes on from what is stored.

An account that comes to be here (founded, or joined) begins the open part anew, as the mesh then looks for the other
devices of the account by a name that follows from its secrets.

Signals: SIGTERM and SIGINT end it, SIGHUP reads the settings again (`vcd.daemon.signals`).
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from vcd import __version__, config, instance, logs, notify, paths
from vcd.config import Config, Loaded
from vcd.core import inputs
from vcd.core.names import DeviceId, GroupId
from vcd.core.state import State
from vcd.crypto import SystemProvider
from vcd.daemon import facts, metrics, net, opening, signals
from vcd.daemon.boxes import Boxes
from vcd.daemon.deposits import Deposits
from vcd.daemon.desk import Desk, failures
from vcd.daemon.facts import Facts
from vcd.daemon.hands import Alarm, Hands, wake
from vcd.daemon.house import House, Open, Unlocking
from vcd.daemon.mesh import Mesh
from vcd.daemon.nearby import Nearby
from vcd.daemon.owner import Owner
from vcd.daemon.packages import PROTOCOL, Packages, address
from vcd.daemon.pairing import PROTOCOL as PAIRING, Pairing
from vcd.daemon.program import EXIT_FAILED, Tell, refused, say, watchdog, write_whole
from vcd.daemon.service import handlers
from vcd.rpc import server, sockets
from vcd.rpc.connection import Limits
from vcd.rpc.errors import Failure
from vcd.rpc.info import Info
from vcd.store.store import Store, open_store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import Batch, Done, Progress
from vcd.vault.errors import VaultError
from vcd.vault.vault import Vault

log = logging.getLogger("vcd.daemon")

GRACE = 5.0
"""Seconds for what is under way when the daemon is stopped."""
LOOK = 5.0
WRITTEN = 1_735_689_600_000
"""The beginning of 2025."""
HOUSEKEEPING = 3600.0
AGAIN = 10.0
"""Seconds until a store or a mesh that cannot be opened is tried again."""
ENTRY = 512
"""Bytes that an event takes on the disk, about: `events_size` is a number of bytes, the journal counts entries."""


def wall_ms() -> int:
    """A clock that nobody set yet shows a time before this program was written, and some of that could be no time."""
    return max(WRITTEN, time.time_ns() // 1_000_000)


# ---------------------------------------------------------------- before anything runs


def main(
    argv: Sequence[str] = (), *, flags: Mapping[str, str] | None = None, now_ms: Any = wall_ms, tell: Tell = say
) -> int:
    """Run until it is stopped. Gives the exit code; `tell` is told why it does not start."""
    parser = argparse.ArgumentParser(prog="vcd run")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--restored", action="store_true")
    given = parser.parse_args(argv)

    def run() -> int:
        with signals.waiting(), contextlib.ExitStack() as stack:
            return _prepared(stack, flags or {}, given.config, now_ms, restored=given.restored)

    return refused(run, tell)


def _prepared(
    stack: contextlib.ExitStack, flags: Mapping[str, str], config_file: Path | None, now_ms: Any, *, restored: bool
) -> int:
    os.umask(0o077)
    found = paths.find()
    files = found.config_files if config_file is None else (config_file,)

    def read() -> Loaded:
        return config.load(files, flags=flags, environ=os.environ, must_exist=config_file is not None)

    loaded = read()
    settings = loaded.config
    notifier = stack.enter_context(notify.Notifier.from_environment())
    passed = notify.passed_sockets()
    paths.prepare(found)
    redaction = logs.Redaction(None if settings.logs.ids == "shown" else logs.salt(found.state))
    stack.enter_context(
        logs.started(
            redaction=redaction,
            level=settings.logs.level,
            libraries=settings.logs.libraries,
            form=settings.logs.form,
            repeats=settings.logs.repeats,
        )
    )
    app, admin = found.app_socket(settings.rpc.app_socket), found.admin_socket(settings.rpc.admin_socket)
    stack.enter_context(instance.sole(found.state, socket=app))
    listeners = _listeners(passed, app, admin)
    house = House(
        paths=found,
        config=settings,
        info=Info(version=__version__, boot_id=os.urandom(16)),
        now_ms=now_ms,
        started_at=now_ms(),
        restored=restored,
    )
    house.trust.read(settings.trust.anchors)
    return trio.run(_run, house, listeners, notifier, read)


def _listeners(passed: Sequence[notify.Passed], app: Path, admin: Path) -> list[sockets.Listener]:
    """Those that the service manager opened, and the rest by ourselves."""
    found: dict[str, sockets.Listener] = {}
    for each in passed:
        kind: Any = "admin" if "admin" in each.name else "app"
        found[kind] = sockets.adopt(each.socket, kind)
    if "app" not in found:
        found["app"] = sockets.listen(app, "app")
    if "admin" not in found:
        found["admin"] = sockets.listen(admin, "admin")
    return [found["app"], found["admin"]]


def _allow_users(listeners: Sequence[sockets.Listener], settings: Config) -> None:
    both = paths.user_ids(settings.rpc.admin_users)
    for listener in listeners:
        more = paths.user_ids(settings.rpc.app_users) if listener.kind == "app" else frozenset()
        sockets.open_to(listener, both | more)


# ---------------------------------------------------------------- the whole


async def _run(house: House, listeners: Sequence[sockets.Listener], notifier: notify.Notifier, read: Any) -> int:
    log.info("vcd %s starts", __version__)
    rpc = house.config.rpc
    _allow_users(listeners, house.config)

    async def requests(name: bytes) -> Done | None:
        return None if house.open is None else await house.open.desk.store.request(name)

    serve = partial(
        server.serve,
        listeners,
        handlers(house),
        lambda: house.desk().store.journal,
        house.info,
        requests=requests,
        failures=failures,
        limits=Limits(connections=rpc.max_clients, calls=rpc.max_calls, queue=rpc.event_queue),
    )
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(serve)
            reload = signals.Bell()
            nursery.start_soon(signals.listen, house.stop, reload)
            with trio.CancelScope() as life:
                async with trio.open_nursery() as inner:
                    inner.start_soon(signals.reloads, reload, partial(_reload, house, listeners, notifier, read))
                    inner.start_soon(watchdog, notifier)
                    inner.start_soon(_health, house)
                    inner.start_soon(_textfile, house)
                    inner.start_soon(_live, house, notifier)
                    await house.stop.wait()
                    house.info.state = "stopping"
                    notifier.stopping("stopping")
                    log.info("vcd stops")
                    life.cancel()
            await trio.sleep(0.05)  # answers that are being written
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        if group.subgroup(lambda error: isinstance(error, KeyboardInterrupt)) is not None:
            return 0
        log.critical("a bug: the daemon ends here, and goes on at the next start", exc_info=group)
        return EXIT_FAILED
    return 0


async def _health(house: House) -> None:
    while True:
        entries = opening.look(house)
        if entries and house.open is not None and house.info.state == "ready":
            house.open.desk.owner.note(entries=entries)
        for entry in entries:
            over, code = entry.data["over"], str(entry.data["code"]).partition(":")[0]
            logs.event(log, logging.INFO if over else logging.WARNING, "health", code=code, over=over)
        await trio.sleep(LOOK)


async def _textfile(house: House) -> None:
    while True:
        said = house.config.metrics.textfile
        if said:
            await trio.to_thread.run_sync(write_whole, Path(said), metrics.text(house))
        await trio.sleep(house.config.metrics.every / 1000)


# ---------------------------------------------------------------- settings


async def _reload(house: House, listeners: Sequence[sockets.Listener], notifier: notify.Notifier, read: Any) -> bool:
    """Read the settings again; if they are wrong, the old ones stay. Whether all was done that there was to do."""
    notifier.reloading()
    try:
        new = read().config
        paths.user_ids((*new.rpc.app_users, *new.rpc.admin_users))
    except (config.ConfigError, paths.PathError) as error:
        log.error("the settings stay as they were: %s", error)
        notifier.ready("settings refused")
        return True
    change = config.changes(house.config, new)
    house.watch.restart = tuple(dict.fromkeys((*house.watch.restart, *change.restart)))
    old, house.config = house.config, config.merged(house.config, new)
    log.info("settings: %s", change.words())
    logs.set_levels(house.config.logs.level, house.config.logs.libraries)
    _allow_users(listeners, house.config)
    await trio.to_thread.run_sync(house.trust.read, house.config.trust.anchors)
    done = True
    if house.open is not None:
        try:
            await _apply(house.open, old, house.config)
        except StoreTrouble as trouble:
            if trouble.code is not Trouble.CLOSED:  # whoever opens it next has the new ones anyway
                log.warning("the node goes by the old settings still: %s", trouble)
                done = False
    notifier.ready("ready" if house.info.state == "ready" else house.info.state)
    return done


async def _apply(opened: Open, old: Config, new: Config) -> None:
    """Who may connect first: that takes no disk."""
    mesh = opened.mesh
    mesh.gate.rule = new.network.allow
    mesh.gate.named = net.named(new.network)
    mesh.gate.denied = net.denied(new.network)
    mesh.mailboxes = net.mailboxes(new.network)
    before, after = (
        net.split((*old.network.peers, *old.network.mailboxes)),
        net.split((*new.network.peers, *new.network.mailboxes)),
    )
    for peer in before.keys() - after.keys():
        mesh.forget(peer)
    for peer, addresses in after.items():
        mesh.keep(peer, addresses)
    mesh.recheck()
    wanted = opening.node_config(new)
    if opened.desk.state.config != wanted:
        await opened.desk.owner.become(lambda state: replace(state, config=wanted))


# ---------------------------------------------------------------- the open part


async def _live(house: House, notifier: notify.Notifier) -> None:
    """Open, locked, open again: until the daemon ends."""
    vault: Vault | None = None
    asked: list[Unlocking] = []
    by_itself = True
    while True:
        if vault is None:
            vault, asked = await _unlocked(house, notifier, by_itself=by_itself)
        house.info.state = "starting"
        again = False
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_until_locked, house.relock, nursery.cancel_scope)
                again = await _opened(house, vault, notifier, asked)
                nursery.cancel_scope.cancel()
        except* StoreTrouble as group:
            trouble = _first(group)
            assert isinstance(trouble, StoreTrouble)  # noqa: S101 - the group has no others
            opening.store_fares(house, trouble)
            log.error("the state cannot be opened: %s", trouble)
            _answer(asked, failures(trouble))
            again = await _unless_locked(house)
        except* net.NotListening as group:
            house.reason = str(_first(group))
            log.error("the mesh cannot be opened: %s", house.reason)
            _answer(
                asked, Failure("E_STARTING", f"The mesh cannot be opened: {house.reason}.", data={"state": "starting"})
            )
            again = await _unless_locked(house)
        finally:
            house.open = None
            _answer(
                asked, Failure("E_LOCKED", data={"state": "locked"})
            )  # who was not answered yet: it was locked again meanwhile
            asked = []
        if not again or house.relock.is_set():
            house.info.state = "locked"
            house.store = "locked"
            vault = None
            by_itself = False  # who locks it wants it locked


async def _unless_locked(house: House) -> bool:
    """Wait for a while; whether it is to be tried again then."""
    house.info.state, house.progress = "starting", None
    house.info.stuck()
    with trio.move_on_after(AGAIN):
        await house.relock.wait()
    return not house.relock.is_set()


def _first(group: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _answer(asked: Sequence[Unlocking], failure: Any = None) -> None:
    for each in asked:
        if not each.done.is_set():
            each.failure = failure
            each.done.set()


async def _until_locked(relock: trio.Event, scope: trio.CancelScope) -> None:
    await relock.wait()
    scope.cancel()


async def _unlocked(house: House, notifier: notify.Notifier, *, by_itself: bool) -> tuple[Vault, list[Unlocking]]:
    """Wait until the vault opens, and for whom. Who locks it from here on means what is being opened."""
    house.relock = trio.Event()
    asked: list[Unlocking] = []
    attempt = by_itself
    while True:
        if attempt:
            try:
                vault = await opening.open_vault(house, asked[0].passphrase if asked else None)
            except VaultError as error:
                house.reason = opening.sentences(str(error), error.hint)
                _answer(asked, opening.vault_failure(error))
            else:
                house.reason = ""
                if vault is not None:
                    # All who asked meanwhile have what they wanted: no wish is left to open it after the next lock.
                    asked += house.wanted
                    house.wanted.clear()
                    return vault, asked
                _answer(asked, opening.vault_failure(VaultError("It takes a passphrase.", hint="Run `vcd unlock`.")))
        house.info.state = "locked"
        notifier.ready("locked")
        while not house.wanted:
            house.asked = trio.Event()
            await house.asked.wait()
        house.relock = trio.Event()
        asked, attempt = [house.wanted.pop(0)], True


async def _opened(house: House, vault: Vault, notifier: notify.Notifier, asked: Sequence[Unlocking]) -> bool:
    """Everything that needs the vault. Comes back when it is to be begun anew."""
    path = house.paths.state / opening.DATABASE
    fresh = not path.exists()
    house.progress = None

    def progress(step: Progress) -> None:
        house.info.state = "migrating"
        house.progress = step
        notifier.extend(30)

    # a new file has its format from the first on: nothing is brought up to date
    async with open_store(path, vault, create=fresh, progress=None if fresh else progress) as store:
        rows, kept = facts.split(await store.load())
        begun = bool(rows)
        state = opening.state(house.config, rows, SystemProvider())
        if begun:
            await opening.renew(store, rows, state, progress)
        house.progress = None
        house.info.state = "starting"
        if begun and house.restored:
            state, kept = await opening.set_back(store, state, kept)
        house.restored = False
        seed = kept.find(facts.PEER)
        if seed is None:
            seed = os.urandom(net.SEED)
            kept = kept.set(facts.PEER, seed)
        inbox = state.household.inbox
        network, ports = house.config.network, facts.of(kept, "daemon.port")
        nearby = net.nearby(network, os.urandom)
        async with net.opened(
            replace(network, listen=net.on_ports(network.listen, {key.decode(): value for key, value in ports})),
            house.config.relay,
            seed=seed,
            store=store.frames(net.Frame),
            secret=None if inbox is None else inbox.raw,
            met=facts.of(kept, "daemon.met"),
            nearby=nearby,
            now_ms=lambda: net.Milliseconds(house.now_ms()),
            random_bytes=os.urandom,
        ) as mesh:
            return await _joined(house, vault, store, (mesh, nearby), (state, kept), begun, notifier, asked)


async def _joined(
    house: House,
    vault: Vault,
    store: Store,
    nets: tuple[Mesh, Nearby],
    loaded: tuple[State, Facts],
    begun: bool,
    notifier: notify.Notifier,
    asked: Sequence[Unlocking],
) -> bool:
    """Node, mesh and store as one."""
    mesh, nearby = nets
    alarm = Alarm()
    packages: Packages
    owner: Owner
    packages = Packages(
        mesh,  # type: ignore[arg-type]  # names of peers and addresses are plain text there
        look=lambda: owner.look(),  # noqa: PLW0108 - it is made below
        do=lambda given: owner.do(given),  # noqa: PLW0108 - the same
        failed=net.AskFailed,
        take=lambda *which: boxes.take(*which),  # noqa: PLW0108 - the same
    )
    later = _Later()
    hands = Hands(net=mesh, packages=packages, pairing=later, alarm=alarm)
    provider = SystemProvider()
    owner = Owner(*loaded, provider=provider, store=store, hands=hands, now_ms=house.now_ms)
    mesh.note = owner.note
    unclean = begun and loaded[1].find(facts.RUNNING) is not None
    pairing = later.it = Pairing(
        mesh,  # type: ignore[arg-type]  # names of peers and addresses are plain text there
        owner,
        provider=provider,
        now_ms=house.now_ms,
        nearby=nearby,
        failed=net.AskFailed,
        admit_strangers=mesh.admit_strangers,
    )
    if not begun:
        await owner.begin()
    packages.mailboxes = deposits = Deposits(
        mailboxes=lambda: mesh.mailboxes, kept=lambda: owner.facts, here=packages.here
    )
    boxes = Boxes(mesh, deposits, now_ms=lambda: net.Milliseconds(house.now_ms()), random_bytes=os.urandom)
    desk = Desk(
        owner=owner,
        store=store,
        now_ms=house.now_ms,
        random=os.urandom,
        dispensers=lambda: (
            address(mesh.me, mesh.told()),
            *boxes.places(owner.look(), lambda peer: net.split(house.config.network.mailboxes).get(peer, ())),
        ),
        provider=provider,
        trust=house.trust,
    )
    left = await mesh.left_over()
    mesh.serve(PROTOCOL, packages.serve)
    mesh.serve(PAIRING, pairing.serve)
    account = loaded[0].book.own
    async with _running(store), trio.open_nursery() as nursery:
        for task in (
            owner.run,
            partial(hands.work, owner),
            partial(wake, alarm, owner, house.now_ms),
            partial(mesh.listen, owner, left),
            partial(mesh.give_again, owner),
            partial(mesh.survey, owner),
            partial(mesh.announce, owner),
            partial(mesh.keep_contacts, owner),
            partial(boxes.run, owner),
            mesh.find,
            pairing.run,
            partial(_housekeeping, house, store, owner),
        ):
            nursery.start_soon(task)
        await owner.do(None, keep={facts.RUNNING: b"\1", **net.ports(mesh.addresses())})
        await owner.tell(inputs.Started())
        house.open = Open(desk=desk, mesh=mesh, boxes=boxes, packages=packages, pairing=pairing, vault=vault)
        house.info.device = None if account is None else bytes(loaded[0].me.device)
        opening.look(house)
        house.info.state = "ready"
        _answer(asked)
        notifier.ready("ready")
        log.info("ready")
        if unclean:
            nursery.start_soon(_verify, house, store)
        try:
            await _until_account(owner, account)
            house.info.open_anew()
        finally:
            house.info.state = "stopping" if house.stop.is_set() else "starting"
        nursery.cancel_scope.cancel()
    return True


@contextlib.asynccontextmanager
async def _running(store: Store) -> AsyncIterator[None]:
    """At the end, note that there was one; not if something went wrong."""
    try:
        yield
    except BaseException as error:
        if not _only_canceled(error):
            raise
        await _ended(store)
        raise
    await _ended(store)


def _only_canceled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return all(_only_canceled(each) for each in error.exceptions)
    return isinstance(error, trio.Cancelled)


async def _ended(store: Store) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + GRACE), contextlib.suppress(StoreTrouble):
        await store.commit(Batch(gone=[facts.RUNNING]))


class _Later:
    """The hands need what is made after them."""

    def __init__(self) -> None:
        self.it: Pairing | None = None

    async def hand_over(self, device: DeviceId, welcome: bytes) -> None:
        assert self.it is not None  # noqa: S101 - it is there before the hands work
        await self.it.hand_over(device, welcome)


async def _until_account(owner: Owner, account: object) -> None:
    """Until this device belongs to another account than when it was opened."""
    while owner.look().book.own == account:
        await owner.moved()


async def _verify(house: House, store: Store) -> None:
    """After an end that was none: read everything once."""
    try:
        await store.verify()
    except StoreTrouble as trouble:
        log.error("the state is damaged: %s", trouble)
        opening.store_fares(house, trouble)


async def _housekeeping(house: House, store: Store, owner: Owner) -> None:
    """What is past its time goes."""
    while True:
        keep, now = house.config.store, house.now_ms()
        before = 0 if keep.events_keep is None else now - keep.events_keep
        most = 1 << 53 if keep.events_size is None else keep.events_size // ENTRY
        try:
            await store.journal.trim(before, most)
            past = [GroupId(name) for name, _ in facts.of(owner.facts, facts.PAST)]
            for chat in sorted({*owner.look().talks, *past}):
                said = facts.number(owner.facts, facts.keep(chat))
                span = keep.history_keep if said is None else said
                if span is not None:
                    await store.history.expire(chat, now - span)
            if keep.history_size is not None:
                await store.history.trim(keep.history_size)
            await store.frames(net.Frame).expire(now)
        except StoreTrouble as trouble:
            log.warning("nothing could be cleared away: %s", trouble)
        await trio.sleep(HOUSEKEEPING)
