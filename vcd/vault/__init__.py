"""The vault: one random data key, which seals everything that is stored, and what unlocks it.

    vault = Vault.create(path, KeyFile(key_path))       at the beginning
    vault = Vault.open(path, Passphrase(b"..."))        after every start, or at `vcd unlock`
    vault.rewrap(Credential())                          another unlocker from now on; the data key stays

The data key is in a small file, sealed by a key that an unlocker brings: a key file, a passphrase, a credential of
systemd, or the keyring of the desktop. Nothing else is sealed by unlockers, so changing one costs a file of a few
hundred bytes. Deriving a key from a passphrase takes a good part of a second, on purpose: call `create`, `open` and
`rewrap` in a thread.

CPython cannot wipe memory. A locked vault means that no living value holds the data key, not that its bytes were
overwritten.
"""

from __future__ import annotations

from vcd.vault.errors import KeyExposed, NotOpened, UnlockerMissing, VaultDamaged, VaultError, VaultExists, VaultMissing
from vcd.vault.sealing import Sealer, SealKey, Unopened, open_sealed, place
from vcd.vault.unlockers import Credential, KeyFile, Keyring, Passphrase, Unlocker
from vcd.vault.vault import Locked, Vault

__all__ = [
    "Credential",
    "KeyExposed",
    "KeyFile",
    "Keyring",
    "Locked",
    "NotOpened",
    "Passphrase",
    "SealKey",
    "Sealer",
    "Unlocker",
    "UnlockerMissing",
    "Unopened",
    "Vault",
    "VaultDamaged",
    "VaultError",
    "VaultExists",
    "VaultMissing",
    "open_sealed",
    "place",
]
