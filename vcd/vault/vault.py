"""The vault's file, and the data key while it is unlocked.

    {"vcd_vault": 1, "id": HEX, "unlocker": {"kind": "passphrase", ...}, "sealed": HEX}

`sealed` is the data key under the unlocker's key, at the place that the id and all of `unlocker` make: parameters that
somebody changed do not open. The file is replaced as a whole: a new one is written beside it, synced, tried, and
renamed over it, so that at every instant one of the two is there and opens.

A rewrap gives the same data key to another unlocker. Whoever has an old copy of this file *and* the old unlocker can
still open that copy, and with it whatever is sealed: after a theft of both, only a new device helps.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final

from mls.secrets import Secret
from vcd.vault.errors import NotOpened, UnlockerMissing, VaultDamaged, VaultError, VaultExists, VaultMissing
from vcd.vault.files import write_file
from vcd.vault.sealing import KEY_SIZE, Sealer, SealKey, Unopened, open_sealed, place
from vcd.vault.unlockers import Parameters, Unlocker

__all__ = ["DataKey", "Locked", "Vault"]

VERSION: Final = 1
_LARGEST: Final = 16384


class DataKey(Secret):
    """What everything that is stored hangs on."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Locked:
    """What a vault's file says without being opened: what to ask the user for."""

    id: bytes
    kind: str
    parameters: Parameters
    sealed: bytes


class Vault:
    """A vault that is unlocked. Drop it to lock: nothing else holds the data key."""

    __slots__ = ("_data_key", "id", "kind", "path")

    def __init__(self, path: Path, vault_id: bytes, kind: str, data_key: DataKey) -> None:
        self.path = path
        self.id = vault_id
        self.kind = kind
        self._data_key = data_key

    def __repr__(self) -> str:
        return f"<Vault {self.id.hex()[:8]}, unlocked by {self.kind}>"

    @classmethod
    def create(cls, path: Path, unlocker: Unlocker) -> Vault:
        """A new data key, in a file that was not there before."""
        if path.exists():
            raise VaultExists(f"{path} is there already")
        vault = cls(path, os.urandom(16), unlocker.kind, DataKey(os.urandom(KEY_SIZE)))
        vault._write(unlocker, over=False)
        return vault

    @classmethod
    def open(cls, path: Path, unlocker: Unlocker) -> Vault:
        """The data key again. `NotOpened` if this unlocker's key is not the right one."""
        locked = cls.look(path)
        return cls(path, locked.id, locked.kind, _opened(locked, unlocker))

    @staticmethod
    def look(path: Path) -> Locked:
        """What the file says without being opened."""
        return _parsed(_contents(path))

    def rewrap(self, unlocker: Unlocker) -> None:
        """From now on this unlocker opens the vault, and the one before does not."""
        self._write(unlocker, over=True)
        self.kind = unlocker.kind

    def key(self, purpose: str) -> SealKey:
        """A sealing key of its own for each purpose."""
        return SealKey(self.secret(purpose))

    def secret(self, purpose: str) -> bytes:
        """32 secret bytes of their own for each purpose."""
        return blake2b(purpose.encode(), key=self._data_key.raw, digest_size=KEY_SIZE, person=b"vcd vault 1").digest()

    def _write(self, unlocker: Unlocker, *, over: bool) -> None:
        parameters, key = unlocker.new()
        sealed = Sealer().seal(key, _place(self.id, unlocker.kind, parameters), self._data_key.raw)
        document = {
            "vcd_vault": VERSION,
            "id": self.id.hex(),
            "unlocker": {"kind": unlocker.kind, **parameters},
            "sealed": sealed.hex(),
        }
        data = json.dumps(document, indent=1).encode() + b"\n"
        # An unlocker that forgot what it was just given must not replace one that works.
        if _opened(_parsed(data), unlocker) != self._data_key:
            raise NotOpened("what was just wrapped does not open again")
        try:
            write_file(self.path, data, over=over)
        except FileExistsError:
            raise VaultExists(f"{self.path} is there already") from None
        except OSError as error:
            raise VaultError(f"{self.path} cannot be written: {error.strerror}") from None


def _contents(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST + 1)
    except FileNotFoundError:
        raise VaultMissing(f"{path} is not there") from None
    except OSError as error:
        raise VaultError(f"{path} cannot be read: {error.strerror}") from None


def _place(vault_id: bytes, kind: str, parameters: Parameters) -> bytes:
    said = json.dumps({**parameters, "kind": kind}, sort_keys=True, separators=(",", ":")).encode()
    return place("vault", vault_id + blake2b(said, digest_size=KEY_SIZE).digest(), "data key", VERSION)


def _parsed(data: bytes) -> Locked:
    try:
        document: Any = json.loads(data) if len(data) <= _LARGEST else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, Mapping):
        raise VaultDamaged
    version, unlocker = document.get("vcd_vault"), document.get("unlocker")
    if isinstance(version, int) and version > VERSION:
        raise VaultDamaged(f"the vault is of version {version}: this program reads up to {VERSION}")
    if version != VERSION or not isinstance(unlocker, Mapping):
        raise VaultDamaged
    kind = unlocker.get("kind")
    parameters = {name: value for name, value in unlocker.items() if name != "kind"}
    plain = all(isinstance(value, str | int) and not isinstance(value, bool) for value in parameters.values())
    try:
        vault_id, sealed = bytes.fromhex(document.get("id", "")), bytes.fromhex(document.get("sealed", ""))
    except (TypeError, ValueError):
        raise VaultDamaged from None
    if not isinstance(kind, str) or not plain or len(vault_id) != 16:
        raise VaultDamaged
    return Locked(id=vault_id, kind=kind, parameters=parameters, sealed=sealed)


def _opened(locked: Locked, unlocker: Unlocker) -> DataKey:
    if unlocker.kind != locked.kind:
        raise UnlockerMissing(f"this vault is unlocked by {locked.kind}, not by {unlocker.kind}")
    key = unlocker.key(locked.parameters)
    try:
        return DataKey(open_sealed(key, _place(locked.id, locked.kind, locked.parameters), locked.sealed))
    except Unopened:
        raise NotOpened from None
