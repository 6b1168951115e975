"""`vcd mailbox run`: a mailbox as one process (docs/mailbox.md).

    settings, folders, lock     as a daemon has them; refused with an exit code and a sentence if one cannot be had
    mailbox.key                 the seed of its peer id
    mailbox.db                  what it keeps, in `transport.mailbox`'s file
    mesh, mailbox               until SIGTERM or SIGINT; then it answers what it has begun to answer

It has no vault. It can read nothing of what it keeps, and the one secret that it has is the key of its peer id: with
that somebody could pose as this mailbox and withhold what is there. A vault that opens by a file beside it would change
nothing about this, and one that waits for a person would keep a server from starting by itself. So the key is a file
that only its user can read, and it is not made again if it is damaged: tenants know the mailbox by it.

`--restored` is for the first start after a copy of its file was put back: what was handed out since nobody knows, so
all KeyPackages are withdrawn before anybody is answered, and tenants learn that they have to leave new ones.

SIGHUP reads the settings again: tenants and their quotas, who may connect, and peers change at once.

At the start it says on standard output, once for each address, what tenants write into `network.mailboxes`. This does
not go through the log, which hides ids and addresses.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import resource
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trio

from transport.base import Milliseconds
from transport.discovery.book import AddressBook
from transport.discovery.finding import Finding, keep_static
from transport.live.chance import Chance
from transport.live.open import SocketMesh
from transport.mailbox import packages, tenants
from transport.mailbox.schema import FileRefused
from transport.mailbox.server import Mailbox, Settings
from transport.mailbox.store import MailboxStore
from transport.signing import SigningKey
from vcd import __version__, config, instance, logs, notify, paths
from vcd.config import Config, Loaded
from vcd.daemon import metrics, net, signals
from vcd.daemon.mesh import Gate
from vcd.daemon.program import EXIT_FAILED, Refusal, Tell, refused, say, watchdog, write_whole

log = logging.getLogger("vcd.mailbox")

KEY, DATABASE = "mailbox.key", "mailbox.db"
"""Files of the state folder."""
GRACE = 3.0
"""Seconds for what is being answered when it is stopped."""
WRITING = 0.05
"""And for the last answer to leave."""


Announce = Callable[[Sequence[str], str], None]
"""Of its addresses, each with the name behind it, and of the name alone, where it listens nowhere."""


class Unusable(Exception):
    """A file of the mailbox cannot be used; the text says why."""


@dataclass(slots=True)
class _House:
    """What the tasks share."""

    settings: Config
    paths: paths.Paths
    notifier: notify.Notifier
    read: Callable[[], Loaded]
    started: int
    restored: bool
    announce: Announce


def main(argv: Sequence[str] = (), *, tell: Tell = say, announce: Announce | None = None) -> int:
    """Run until it is stopped. Gives the exit code.

    `tell` is told why it does not start, `announce` what tenants write into `network.mailboxes`.
    """
    parser = argparse.ArgumentParser(prog="vcd mailbox run")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--restored", action="store_true")
    given = parser.parse_args(argv)

    def run() -> int:
        with signals.waiting(), contextlib.ExitStack() as stack:
            try:
                return _prepared(stack, given.config, announce or _announce, restored=given.restored)
            except Unusable as error:
                tell(Refusal(code="file", text=str(error)))
                return EXIT_FAILED

    return refused(run, tell)


def _now() -> Milliseconds:
    return Milliseconds(time.time_ns() // 1_000_000)


def _prepared(stack: contextlib.ExitStack, config_file: Path | None, announce: Announce, *, restored: bool) -> int:
    os.umask(0o077)
    found = paths.find()
    files = found.config_files if config_file is None else (config_file,)

    def read() -> Loaded:
        return config.load(files, environ=os.environ, must_exist=config_file is not None)

    settings = read().config
    notifier = stack.enter_context(notify.Notifier.from_environment())
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
    stack.enter_context(instance.sole(found.state))
    key = SigningKey(seed(found.state / KEY))
    return trio.run(_run, _House(settings, found, notifier, read, _now(), restored, announce), key)


def seed(path: Path) -> bytes:
    """What is in the key's file, which is made if there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return _made(path)
    except OSError as error:
        raise Unusable(f"{path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise Unusable(f"others can read {path}, and pose as this mailbox; if nobody did, chmod 600 {path}")
        found = file.read(net.SEED + 1)
    if len(found) != net.SEED:
        raise Unusable(f"{path} is damaged. Put a copy back; without it, tenants need this mailbox's new id")
    return found


def _made(path: Path) -> bytes:
    """A new one, on disk before it is used, whole or not at all."""
    new = path.with_suffix(".new")
    with contextlib.suppress(FileNotFoundError):
        new.unlink()
    made = os.urandom(net.SEED)
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(made)
            file.flush()
            os.fsync(descriptor)
        new.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise Unusable(f"{path} cannot be written: {error.strerror}") from None
    return made


def listed(settings: config.Mailbox) -> list[tenants.Tenant]:
    """The tenants of the settings: what one says of itself goes before what all have."""
    found = []
    for each in settings.tenants:
        own = dict(each.quota)

        def most(name: str, own: dict[str, int] = own) -> int:
            return own.get(name, int(getattr(settings, name)))

        quota = tenants.Quota(
            bytes=most("size"),
            frames=most("frames"),
            topics=most("topics"),
            retention=most("retention"),
            slots=most("slots"),
            slot_bytes=most("slot_size"),
            packages=most("packages"),
            package_bytes=most("package_size"),
            grants=most("grants"),
        )
        found.append(tenants.Tenant(key=each.key, quota=quota))
    return found


# ---------------------------------------------------------------- running


async def _run(house: _House, key: SigningKey) -> int:
    log.info("vcd %s starts as a mailbox", __version__)
    try:
        await _serve(house, key)
    except BaseExceptionGroup as group:
        refusal = _only(group)
        if refusal is None:
            log.critical("a bug: the mailbox ends here, and goes on at the next start", exc_info=group)
            return EXIT_FAILED
        log.error("the mailbox ends: %s", refusal)
        return EXIT_FAILED
    except (FileRefused, sqlite3.Error) as error:
        log.error("%s cannot be used: %s", DATABASE, error)
        return EXIT_FAILED
    log.info("the mailbox stops")
    return 0


def _only(group: BaseException) -> BaseException | None:
    """The disk's error that everything ended by, if that is all there is."""
    while isinstance(group, BaseExceptionGroup) and len(group.exceptions) == 1:
        group = group.exceptions[0]
    return group if isinstance(group, sqlite3.Error) else None


async def _serve(house: _House, key: SigningKey) -> None:
    settings = house.settings
    network, gate = settings.network, net.gate_of(settings.network)
    async with (
        MailboxStore.open(house.paths.state / DATABASE, listed(settings.mailbox), now_ms=_now) as store,
        net.sockets(
            network, settings.relay, key=key, store=store, gate=gate, now_ms=_now, random_bytes=os.urandom
        ) as mesh,
    ):
        if house.restored:
            burned = await store.run(partial(packages.burn_all, now=_now()), durable=True)
            log.warning("%d KeyPackages are withdrawn, as this state was put back: tenants leave new ones", burned)
        pace = Settings(rate=settings.mailbox.requests_per_second, burst=settings.mailbox.requests_at_once)
        mailbox = Mailbox(mesh, store, now_ms=_now, settings=pace)
        stop, reload = trio.Event(), signals.Bell()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(signals.listen, stop, reload)
            with trio.CancelScope() as life:
                async with trio.open_nursery() as inner:
                    inner.start_soon(mailbox.run)
                    await mailbox.serving.wait()
                    inner.start_soon(_find(house, mesh, key).run)
                    inner.start_soon(watchdog, house.notifier)
                    inner.start_soon(_textfile, house, mesh, mailbox, store)
                    inner.start_soon(signals.reloads, reload, partial(_reload, house, mesh, gate, mailbox))
                    house.announce([f"{each}/p2p/{mesh.me}" for each in mesh.addresses()], f"/p2p/{mesh.me}")
                    house.notifier.ready(_status(house))
                    log.info("ready, for %d tenants", len(settings.mailbox.tenants))
                    await stop.wait()
                    house.notifier.stopping("stopping")
                    with trio.move_on_after(GRACE):
                        await mailbox.answered()
                        await trio.sleep(WRITING)
                    life.cancel()
            nursery.cancel_scope.cancel()


def _find(house: _House, mesh: SocketMesh, key: SigningKey) -> Finding:
    """Where others are, and where we are said to be, as far as the settings want that."""
    network = house.settings.network
    book = AddressBook(net.policy_of(network))
    keep_static(book, net.static(network), mesh.keep)
    return Finding(
        mesh.network,
        key,
        book,
        points=tuple(net.split(network.points)),
        addresses=mesh.addresses,
        found=mesh.keep,
        now_ms=_now,
        jitter=Chance(os.urandom),
    )


def _announce(places: Sequence[str], name: str) -> None:
    lines = places or [f"{name} (nothing is listened on)"]
    with contextlib.suppress(OSError):
        sys.stdout.write("".join(f"mailbox {line}\n" for line in lines))
        sys.stdout.flush()


def _status(house: _House) -> str:
    return f"{len(house.settings.mailbox.tenants)} tenants"


async def _reload(house: _House, mesh: SocketMesh, gate: Gate, mailbox: Mailbox) -> bool:
    """Read the settings again; if they are wrong, the old ones stay. There is nothing to try again."""
    house.notifier.reloading()
    try:
        new = house.read().config
    except config.ConfigError as error:
        log.error("the settings stay as they were: %s", error)
        house.notifier.ready("settings refused")
        return True
    change = config.changes(house.settings, new)
    old, house.settings = house.settings, config.merged(house.settings, new)
    log.info("settings: %s", change.words())
    logs.set_levels(house.settings.logs.level, house.settings.logs.libraries)
    network = house.settings.network
    gate.rule, gate.named, gate.denied = network.allow, net.named(network), net.denied(network)
    before, after = net.static(old.network), net.static(network)
    for peer in before.keys() - after.keys():
        mesh.forget(peer)
    for peer in sorted(after):
        mesh.keep(peer, after[peer])
    mesh.network.recheck()
    await mailbox.list_tenants(listed(house.settings.mailbox))
    house.notifier.ready(_status(house))
    log.info("serves %d tenants", len(house.settings.mailbox.tenants))
    return True


# ---------------------------------------------------------------- numbers


async def _textfile(house: _House, mesh: SocketMesh, mailbox: Mailbox, store: MailboxStore) -> None:
    while True:
        said = house.settings.metrics.textfile
        if said:
            kept = await store.run(_kept)
            text = metrics.written(_families(house, mesh, mailbox, kept))
            await trio.to_thread.run_sync(write_whole, Path(said), text)
        await trio.sleep(house.settings.metrics.every / 1000)


def _kept(db: sqlite3.Connection) -> tuple[int, int, int, int]:
    frames, size = db.execute("SELECT coalesce(sum(frames), 0), coalesce(sum(bytes), 0) FROM usage").fetchone()
    (topics,) = db.execute("SELECT count(DISTINCT topic) FROM keep").fetchone()
    (packages,) = db.execute("SELECT count(*) FROM package WHERE state = 0 AND NOT lasting").fetchone()
    return frames, size, topics, packages


def _families(
    house: _House, mesh: SocketMesh, mailbox: Mailbox, kept: tuple[int, int, int, int]
) -> Iterator[metrics.Family]:
    frames, size, topics, packages = kept
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    yield "vcd_start_time_seconds", "gauge", "When it was started.", [({}, house.started / 1000)]
    yield "vcd_memory_peak_bytes", "gauge", "The most memory that it had.", [({}, peak)]
    yield "vcd_mailbox_tenants", "gauge", "Who may have something kept.", [({}, len(house.settings.mailbox.tenants))]
    yield "vcd_mailbox_frames", "gauge", "Frames that are kept.", [({}, frames)]
    yield "vcd_mailbox_bytes", "gauge", "The same in bytes.", [({}, size)]
    yield "vcd_mailbox_topics", "gauge", "Topics that are kept.", [({}, topics)]
    yield "vcd_mailbox_packages", "gauge", "KeyPackages that wait to be handed out, each once.", [({}, packages)]
    counted = sorted(mailbox.counters().items())
    yield "vcd_mailbox_total", "counter", "What happened in the mailbox.", [({"what": each}, n) for each, n in counted]
    mesh_counted = sorted(mesh.counters().items())
    yield "vcd_mesh_total", "counter", "What happened in the mesh.", [({"what": each}, n) for each, n in mesh_counted]
