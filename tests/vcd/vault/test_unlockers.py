from __future__ import annotations

import os
import stat
import sys
import types
from pathlib import Path

import pytest

from vcd.vault.errors import KeyExposed, NotOpened, UnlockerMissing, VaultDamaged, VaultError
from vcd.vault.unlockers import Credential, KeyFile, Keyring, Passphrase, Unlocker

CHEAP = {"memory_kib": 64, "passes": 1, "lanes": 1}


def cheap(text: str) -> Passphrase:
    return Passphrase(text, memory_kib=64, passes=1, lanes=1)


# ---------------------------------------------------------------- key files


def test_a_key_file_is_made_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        _, key = KeyFile(tmp_path / "key").new()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert KeyFile(tmp_path / "key").key({}) == key


def test_a_key_file_that_is_there_is_used_and_not_replaced(tmp_path: Path) -> None:
    one = KeyFile(tmp_path / "key")
    assert one.new()[1] == one.new()[1]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620, 0o610, 0o666])
def test_a_key_file_that_others_can_touch_is_refused(tmp_path: Path, mode: int) -> None:
    one = KeyFile(tmp_path / "key")
    one.new()
    one.path.chmod(mode)
    with pytest.raises(KeyExposed, match=f"{mode:04o}") as refused:
        one.key({})
    assert "chmod 600" in refused.value.hint
    with pytest.raises(KeyExposed):
        one.new()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_attack_a_key_file_of_another_user(tmp_path: Path) -> None:
    one = KeyFile(tmp_path / "key")
    one.new()
    os.chown(one.path, 12345, 12345)
    with pytest.raises(KeyExposed, match="another user"):
        one.key({})


def test_attack_a_link_in_place_of_the_key_file(tmp_path: Path) -> None:
    KeyFile(tmp_path / "real").new()
    (tmp_path / "key").symlink_to(tmp_path / "real")
    with pytest.raises(VaultError):
        KeyFile(tmp_path / "key").key({})


def test_attack_a_pipe_in_place_of_the_key_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(KeyExposed, match="no plain file"):
        KeyFile(tmp_path / "key").key({})


@pytest.mark.parametrize("contents", [b"", b"\n", b"vcd-key-1 abcd\n", b"vcd-key-2 " + b"00" * 32, b"\xff" * 70])
def test_other_contents_are_no_key(tmp_path: Path, contents: bytes) -> None:
    (tmp_path / "key").write_bytes(contents)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(NotOpened):
        KeyFile(tmp_path / "key").key({})


def test_a_key_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnlockerMissing, match="key"):
        KeyFile(tmp_path / "key").key({})
    with pytest.raises(UnlockerMissing):
        KeyFile(tmp_path / "no" / "key").new()


# ---------------------------------------------------------------- passphrases


def test_a_passphrase_gives_the_same_key_for_the_stored_parameters() -> None:
    parameters, key = cheap("correct horse").new()
    assert parameters.keys() == {"salt", *CHEAP}
    assert Passphrase("correct horse").key(parameters) == key  # the stored cost counts, not the default
    assert Passphrase("Correct horse").key(parameters) != key
    assert cheap("correct horse").new()[1] != key  # another salt


def test_one_passphrase_in_two_ways_of_writing_it() -> None:
    parameters, key = cheap("caf\u00e9").new()
    assert cheap("cafe\u0301").key(parameters) == key


def test_the_default_costs_what_rfc_9106_asks_for() -> None:
    default = Passphrase("x")
    assert (default.memory_kib, default.passes, default.lanes) == (65536, 3, 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"memory_kib": 1 << 40},
        {"passes": 10**9},
        {"lanes": 0},
        {"memory_kib": "64"},
        {"salt": "00"},
        {"salt": "no"},
        {"salt": 7},
    ],
)
def test_attack_a_vault_that_asks_for_all_of_the_memory(wrong: dict[str, str | int]) -> None:
    with pytest.raises(VaultDamaged):
        cheap("x").key({**CHEAP, "salt": "00" * 16, **wrong})


def test_an_empty_passphrase_is_none() -> None:
    with pytest.raises(NotOpened, match="empty"):
        cheap("").new()


def test_a_passphrase_is_not_shown() -> None:
    assert "horse" not in repr(cheap("horse"))


# ---------------------------------------------------------------- systemd's credentials


def test_a_credential_is_found_where_systemd_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "vcd.key").write_bytes(os.urandom(32))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Credential().new()[1] == Credential(directory=tmp_path).key({})


def test_without_systemd_there_is_no_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(UnlockerMissing) as missing:
        Credential().key({})
    assert "LoadCredential" in missing.value.hint
    with pytest.raises(UnlockerMissing, match="not there"):
        Credential(directory=tmp_path).key({})
    with pytest.raises(UnlockerMissing):
        Credential(name="../other", directory=tmp_path).key({})


@pytest.mark.parametrize("size", [0, 31, 5000])
def test_a_credential_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "vcd.key").write_bytes(b"x" * size)
    with pytest.raises(NotOpened):
        Credential(directory=tmp_path).key({})


# ---------------------------------------------------------------- the desktop's keyring


class FakeKeyring(types.ModuleType):
    """The two functions of `keyring` that we use."""

    def __init__(self) -> None:
        super().__init__("keyring")
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, user: str) -> str | None:
        return self.kept.get((service, user))

    def set_password(self, service: str, user: str, value: str) -> None:
        self.kept[service, user] = value


def test_the_keyring_keeps_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeKeyring()
    monkeypatch.setitem(sys.modules, "keyring", fake)
    one = Keyring("anna")
    assert one.new()[1] == one.key({}) == one.new()[1]
    with pytest.raises(UnlockerMissing):
        Keyring("ben").key({})
    fake.kept["vcd", "anna"] = "something else"
    with pytest.raises(NotOpened):
        one.key({})


def test_a_machine_without_the_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UnlockerMissing, match="not installed") as missing:
        Keyring("anna").new()
    assert "key file" in missing.value.hint


def test_a_keyring_without_a_desktop_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = FakeKeyring()

    def fail(*_: str) -> str | None:
        raise RuntimeError("no backend, and some secret")

    monkeypatch.setattr(fake, "get_password", fail)
    monkeypatch.setitem(sys.modules, "keyring", fake)
    with pytest.raises(UnlockerMissing, match="RuntimeError") as missing:
        Keyring("anna").key({})
    assert "secret" not in str(missing.value)


def test_all_of_them_are_unlockers(tmp_path: Path) -> None:
    each: list[Unlocker] = [KeyFile(tmp_path / "key"), cheap("x"), Credential(), Keyring("anna")]
    assert len({one.kind for one in each}) == 4


def test_a_disk_that_is_full_leaves_no_half_of_a_key_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(UnlockerMissing, match="No space"):
            KeyFile(tmp_path / "key").new()
    assert list(tmp_path.iterdir()) == []
    KeyFile(tmp_path / "key").new()
