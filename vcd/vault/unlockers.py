"""Unlockers: where the key comes from that the data key is wrapped with.

    KeyFile      a file of 32 random bytes, which only its owner can read (the default)
    Passphrase   Argon2id; its cost is stored beside the wrapped key and can be raised by a rewrap
    Credential   a credential of systemd ($CREDENTIALS_DIRECTORY), which systemd may have sealed to a TPM
    Keyring      the keyring of the desktop, by the package `keyring` (an extra: without it this says so)

Each says which parameters it needs next time (`new`), and gives the same key for them again (`key`). Parameters are no
secrets; they are stored in the clear and authenticated with the wrapped key. A key file protects what lies on another
disk or in a copy of the state; who can read the file and the state can read everything.
"""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import ClassVar, Final, Protocol

from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from vcd.vault.errors import KeyExposed, NotOpened, UnlockerMissing, VaultDamaged
from vcd.vault.files import write_file
from vcd.vault.sealing import KEY_SIZE, SealKey

__all__ = ["Credential", "KeyFile", "Keyring", "Parameters", "Passphrase", "Unlocker"]

Parameters = Mapping[str, str | int]

_LARGEST: Final = 4096
"""Bytes of a key file or credential that are looked at."""


class Unlocker(Protocol):
    kind: ClassVar[str]

    def new(self) -> tuple[Parameters, SealKey]:
        """A key to wrap with, and the parameters to store with what it wraps. May make a file or an entry."""
        ...

    def key(self, parameters: Parameters) -> SealKey:
        """The key again."""
        ...


def _derived(secret: bytes, kind: str) -> SealKey:
    return SealKey(blake2b(secret, digest_size=KEY_SIZE, person=b"vcd " + kind.encode()[:12]).digest())


def _read(path: Path, *, owned: bool) -> bytes:
    """A small secret file, looked at through one descriptor, so that nobody changes it in between."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise UnlockerMissing(f"{path} is not there") from None
    except OSError as error:
        raise UnlockerMissing(f"{path} cannot be read: {error.strerror}") from None
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise KeyExposed(f"{path} is no plain file", hint="Name the file itself, not a link or device.")
        if owned and status.st_mode & 0o077:
            raise KeyExposed(f"{path} can be read or written by others (mode {stat.S_IMODE(status.st_mode):04o})")
        if owned and status.st_uid not in {os.geteuid(), 0}:
            raise KeyExposed(f"{path} belongs to another user", hint="Make it yours (chown), or use another key file.")
        return file.read(_LARGEST + 1)


@dataclass(frozen=True, slots=True)
class KeyFile:
    """Random bytes in a file. `new` makes the file if there is none, and uses it if there is one."""

    path: Path
    kind: ClassVar[str] = "key-file"

    def new(self) -> tuple[Parameters, SealKey]:
        secret = os.urandom(KEY_SIZE)
        try:
            write_file(self.path, b"vcd-key-1 " + secret.hex().encode() + b"\n", over=False)
        except FileExistsError:
            return {}, self.key({})
        except OSError as error:
            raise UnlockerMissing(f"{self.path} cannot be written: {error.strerror}") from None
        return {}, _derived(secret, self.kind)

    def key(self, parameters: Parameters) -> SealKey:
        del parameters
        mark, _, digits = _read(self.path, owned=True).partition(b" ")
        try:
            secret = bytes.fromhex(digits.decode("ascii").strip())
        except ValueError:
            secret = b""
        if mark != b"vcd-key-1" or len(secret) != KEY_SIZE:
            raise NotOpened(f"{self.path} is no key file of vcd")
        return _derived(secret, self.kind)


@dataclass(frozen=True, slots=True)
class Passphrase:
    """What a person types. The defaults are the second choice of RFC 9106 §4: 64 MiB, three passes."""

    text: str = field(repr=False)
    memory_kib: int = 65536
    passes: int = 3
    lanes: int = 4
    kind: ClassVar[str] = "passphrase"

    LIMITS: ClassVar[Mapping[str, tuple[int, int]]] = {
        "memory_kib": (64, 1 << 21),
        "passes": (1, 64),
        "lanes": (1, 16),
    }

    def new(self) -> tuple[Parameters, SealKey]:
        parameters: Parameters = {
            "salt": os.urandom(16).hex(),
            "memory_kib": self.memory_kib,
            "passes": self.passes,
            "lanes": self.lanes,
        }
        return parameters, self.key(parameters)

    def key(self, parameters: Parameters) -> SealKey:
        # The file may be anybody's: what it asks for must not take the machine's memory.
        cost: dict[str, int] = {}
        for name, (least, most) in self.LIMITS.items():
            value = parameters.get(name)
            if not isinstance(value, int) or not least <= value <= most:
                raise VaultDamaged(f"the vault's file asks for a {name} that is out of bounds")
            cost[name] = value
        try:
            salt = bytes.fromhex(str(parameters.get("salt", "")))
        except ValueError:
            salt = b""
        if len(salt) != 16:
            raise VaultDamaged("the vault's file has no salt")
        if not self.text:
            raise NotOpened("the passphrase is empty")
        # One passphrase typed on two keyboards may come as different code points.
        secret = unicodedata.normalize("NFC", self.text).encode()
        derive = Argon2id(
            salt=salt,
            length=KEY_SIZE,
            iterations=cost["passes"],
            lanes=cost["lanes"],
            memory_cost=cost["memory_kib"],
        )
        return SealKey(derive.derive(secret))


@dataclass(frozen=True, slots=True)
class Credential:
    """`LoadCredential=` or `LoadCredentialEncrypted=` of a unit: systemd shows it to that service alone."""

    name: str = "vcd.key"
    directory: Path | None = None
    """Where systemd put it; $CREDENTIALS_DIRECTORY when not given."""
    kind: ClassVar[str] = "credential"

    def new(self) -> tuple[Parameters, SealKey]:
        return {"name": self.name}, self.key({})

    def key(self, parameters: Parameters) -> SealKey:
        del parameters
        directory = self.directory
        if directory is None and (named := os.environ.get("CREDENTIALS_DIRECTORY")):
            directory = Path(named)
        if directory is None or "/" in self.name:
            raise UnlockerMissing(
                f"systemd gave no credential {self.name}",
                hint=f"Start vcd by a unit with LoadCredential={self.name}:FILE.",
            )
        # systemd's directory is the service's alone; the file's own mode says nothing (0440 under some versions).
        secret = _read(directory / self.name, owned=False)
        if not KEY_SIZE <= len(secret) <= _LARGEST:
            raise NotOpened(
                f"the credential {self.name} has {len(secret)} bytes: it takes {KEY_SIZE} to {_LARGEST}",
                hint=f"Make one with `head -c {KEY_SIZE} /dev/urandom`.",
            )
        return _derived(secret, self.kind)


@dataclass(frozen=True, slots=True)
class Keyring:
    """The desktop's keyring. Servers rarely have one: this is never the default."""

    user: str
    service: str = "vcd"
    kind: ClassVar[str] = "keyring"

    HINT: ClassVar[str] = (
        "Install vcd with the extra `keyring` where a keyring runs, or use a key file or a passphrase."
    )

    def new(self) -> tuple[Parameters, SealKey]:
        kept = self._ask("get_password")
        if kept is None:
            self._ask("set_password", os.urandom(KEY_SIZE).hex())
        return {"service": self.service, "user": self.user}, self.key({})

    def key(self, parameters: Parameters) -> SealKey:
        del parameters
        kept = self._ask("get_password")
        if kept is None:
            raise UnlockerMissing(f"the keyring has nothing for {self.service}, {self.user}")
        try:
            secret = bytes.fromhex(kept)
        except ValueError:
            secret = b""
        if len(secret) != KEY_SIZE:
            raise NotOpened("what the keyring has is no key of vcd")
        return _derived(secret, self.kind)

    def _ask(self, what: str, *values: str) -> str | None:
        import importlib

        try:
            keyring = importlib.import_module("keyring")
        except ImportError:
            raise UnlockerMissing("the package keyring is not installed", hint=self.HINT) from None
        try:
            answer = getattr(keyring, what)(self.service, self.user, *values)
        except Exception as error:  # noqa: BLE001 - each backend of keyring raises errors of its own
            raise UnlockerMissing(f"the keyring does not work: {type(error).__name__}", hint=self.HINT) from None
        return answer if isinstance(answer, str) else None
