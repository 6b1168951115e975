"""A state that an older version stored is stored anew, and what people are told when it cannot be had."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.vcd.core import pinned
from tests.vcd.core.village import Village
from tests.vcd.store.disks import NAME, opened
from vcd.config import Config
from vcd.core import stored
from vcd.core.record import encode_as
from vcd.core.stored import Row, Rows
from vcd.daemon import facts, opening
from vcd.daemon.opening import sentences
from vcd.store.store import Store
from vcd.store.trouble import StoreTrouble, Trouble
from vcd.store.values import Batch, Progress
from vcd.vault.errors import NotOpened, UnlockerMissing

OLD = Path(pinned.__file__).parent / "data" / "stored-1.json.gz"
OURS: Rows = {facts.PEER: b"seed", facts.pairing(b"pair"): b"secret"}


def sealed_under(folder: Path) -> int:
    """How many keys there are in the file."""
    with sqlite3.connect(folder / NAME) as db:
        found: int = db.execute("SELECT count(*) FROM keys").fetchone()[0]
    db.close()
    return found


def names(rows: Rows) -> set[bytes | None]:
    return {stored.seal_under(*row) for row in rows} - {None}


async def loaded(store: Store) -> tuple[dict[Row, bytes], facts.Facts]:
    return facts.split(await store.load())


@pytest.mark.parametrize("restored", [False, True])
async def test_what_an_older_version_stored_is_stored_anew_before_all_else(tmp_path: Path, restored: bool) -> None:
    """In one commit, with the daemon's own rows as they were, and each row under the key of its name."""
    before = pinned.read(OLD).rows["laptop"]
    provider = Village(pinned.SEED).world("laptop")
    told: list[Progress] = []
    async with opened(tmp_path) as store:
        await store.commit(Batch(put={**before, **OURS}))
        rows, kept = await loaded(store)
        assert rows == before
        state = opening.state(Config(), rows, provider)
        await opening.renew(store, rows, state, told.append)
        assert [(step.number, step.of) for step in told] == [(0, 1)]
        rows, kept = await loaded(store)
        assert rows == stored.rows(state)
        assert dict(kept.items()) == OURS
        if restored:
            state, kept = await opening.set_back(store, state, kept)
            rows, again = await loaded(store)
            assert rows == stored.rows(state)
            assert dict(again.items()) == dict(kept.items()) == {facts.PEER: b"seed"}
    async with opened(tmp_path) as store:
        rows, kept = await loaded(store)
        assert stored.rows(opening.state(Config(), rows, provider)) == rows
        await opening.renew(store, rows, state, told.append)
        assert len(told) == 1
        await store.verify()
    assert sealed_under(tmp_path) == len(names({**rows, **dict(kept.items())})) > 10


def test_a_state_of_a_newer_version_is_no_damage() -> None:
    newer = {("version", b""): encode_as(int, stored.VERSION + 1)}
    damaged = {("version", b""): encode_as(int, stored.VERSION)}
    for rows, code in ((newer, Trouble.NEWER), (damaged, Trouble.CORRUPT)):
        with pytest.raises(StoreTrouble) as refused:
            opening.state(Config(), rows, Village().world("laptop"))
        assert refused.value.code is code


def test_a_device_without_rows_is_a_new_one() -> None:
    state = opening.state(Config(), {}, Village().world("laptop"))
    assert state.home is None
    assert state.me.name


def test_what_keeps_a_vault_shut_is_said_in_sentences() -> None:
    gone = opening.vault_failure(UnlockerMissing("/a/vault.key is not there"))
    assert (gone.code, gone.message) == (
        "E_UNLOCKER",
        "/a/vault.key is not there. Bring it back, or unlock the vault in another way.",
    )
    empty = opening.vault_failure(NotOpened("the passphrase is empty"))
    assert (empty.code, empty.message) == ("E_PASSPHRASE", "The passphrase is empty.")


@pytest.mark.parametrize(
    ("several", "said"),
    [
        (("database or disk is full", "Make room."), "Database or disk is full. Make room."),
        (("It is so.", ""), "It is so."),
        (("", ""), ""),
    ],
)
def test_sentences(several: tuple[str, str], said: str) -> None:
    assert sentences(*several) == said
