from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, strategies as st

from tests.vcd.vault.test_unlockers import cheap
from vcd.vault.errors import NotOpened, UnlockerMissing, VaultDamaged, VaultError, VaultExists, VaultMissing
from vcd.vault.sealing import SealKey
from vcd.vault.unlockers import KeyFile, Parameters
from vcd.vault.vault import Vault


def test_a_vault_opens_to_the_same_keys(tmp_path: Path) -> None:
    unlocker = KeyFile(tmp_path / "key")
    vault = Vault.create(tmp_path / "vault", unlocker)
    again = Vault.open(tmp_path / "vault", unlocker)
    assert again.id == vault.id
    assert again.key("store") == vault.key("store")
    assert again.key("store") != again.key("other")
    assert Vault.create(tmp_path / "second", unlocker).key("store") != vault.key("store")


def test_the_file_is_its_owners_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        vault = Vault.create(tmp_path / "vault", cheap("one"))
        vault.rewrap(cheap("two"))
    finally:
        os.umask(before)
    assert [path.name for path in tmp_path.iterdir()] == ["vault"]
    assert stat.S_IMODE((tmp_path / "vault").stat().st_mode) == 0o600


def test_rewrapped_only_the_new_unlocker_opens_it(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault", cheap("one"))
    key = vault.key("store")
    vault.rewrap(KeyFile(tmp_path / "key"))
    assert vault.kind == "key-file"
    assert Vault.open(tmp_path / "vault", KeyFile(tmp_path / "key")).key("store") == key
    with pytest.raises(UnlockerMissing, match="key-file"):
        Vault.open(tmp_path / "vault", cheap("one"))
    vault.rewrap(cheap("two"))
    with pytest.raises(NotOpened):
        Vault.open(tmp_path / "vault", cheap("one"))
    assert Vault.open(tmp_path / "vault", cheap("two")).key("store") == key


class Forgetful:
    """An unlocker that does not bring the same key again."""

    kind: ClassVar[str] = "key-file"

    def new(self) -> tuple[Parameters, SealKey]:
        return {}, SealKey(os.urandom(32))

    def key(self, parameters: Parameters) -> SealKey:
        return SealKey(os.urandom(32))


def test_an_unlocker_that_forgets_replaces_nothing(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault", cheap("one"))
    before = (tmp_path / "vault").read_bytes()
    with pytest.raises(NotOpened):
        vault.rewrap(Forgetful())
    assert (tmp_path / "vault").read_bytes() == before
    assert vault.kind == "passphrase"
    with pytest.raises(NotOpened):
        Vault.create(tmp_path / "other", Forgetful())
    assert not (tmp_path / "other").exists()


def test_a_vault_is_never_overwritten_by_a_new_one(tmp_path: Path) -> None:
    Vault.create(tmp_path / "vault", cheap("one"))
    with pytest.raises(VaultExists):
        Vault.create(tmp_path / "vault", cheap("one"))
    with pytest.raises(VaultMissing) as missing:
        Vault.open(tmp_path / "none", cheap("one"))
    assert "vcd init" in missing.value.hint
    with pytest.raises(VaultError, match="cannot be written"):
        Vault.create(tmp_path / "no" / "vault", cheap("one"))


def test_one_can_see_what_it_takes_without_opening_it(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault", cheap("one"))
    locked = Vault.look(tmp_path / "vault")
    assert (locked.kind, locked.id) == ("passphrase", vault.id)
    assert locked.parameters["memory_kib"] == 64


def test_attack_parameters_of_the_file_are_changed(tmp_path: Path) -> None:
    """A cheaper derivation that somebody writes into the file must not open it."""
    path = tmp_path / "vault"
    Vault.create(path, cheap("one"))
    document: dict[str, Any] = json.loads(path.read_text())
    for change in ({"passes": 2}, {"extra": "x"}, {"salt": "00" * 16}):
        path.write_text(json.dumps({**document, "unlocker": {**document["unlocker"], **change}}))
        with pytest.raises(NotOpened):
            Vault.open(path, cheap("one"))
    path.write_text(json.dumps({**document, "id": "00" * 16}))
    with pytest.raises(NotOpened):
        Vault.open(path, cheap("one"))


def test_a_newer_vault_is_refused_by_its_version(tmp_path: Path) -> None:
    (tmp_path / "vault").write_text('{"vcd_vault": 2}')
    with pytest.raises(VaultDamaged, match="version 2"):
        Vault.look(tmp_path / "vault")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(
    document=st.fixed_dictionaries(
        {},
        optional={
            "vcd_vault": st.just(1) | JSON,
            "id": st.just("00" * 16) | JSON,
            "unlocker": st.fixed_dictionaries({"kind": st.just("passphrase") | JSON}) | JSON,
            "sealed": st.just("00") | JSON,
        },
    )
)
def test_any_document_is_opened_or_refused(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]
) -> None:
    path = tmp_path_factory.getbasetemp() / "any-vault"
    path.write_text(json.dumps(document))
    with pytest.raises(VaultError):
        Vault.open(path, cheap("one"))


@pytest.mark.parametrize("data", [b"", b"[" * 10000, b"\xff\xfe", b"null", b"{}", b" " * 20000, b"1e999"])
def test_anything_else_is_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "vault").write_bytes(data)
    with pytest.raises(VaultDamaged):
        Vault.look(tmp_path / "vault")


def test_neither_the_file_nor_a_vault_shows_the_data_key(tmp_path: Path) -> None:
    vault = Vault.create(tmp_path / "vault", KeyFile(tmp_path / "key"))
    raw = vault._data_key.raw
    shown = (tmp_path / "vault").read_bytes()
    assert raw not in shown
    assert raw.hex().encode() not in shown
    assert raw.hex() not in repr(vault)
    assert "DataKey 32 bytes" in repr(vault._data_key)
