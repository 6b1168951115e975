"""What can be wrong with a vault or an unlocker. The docstring is what a person reads; `hint` is what to do next."""

from __future__ import annotations


class VaultError(Exception):
    """The vault cannot be used."""

    hint = ""

    def __init__(self, text: str = "", *, hint: str = "") -> None:
        super().__init__(text or type(self).__doc__ or "")
        if hint:
            self.hint = hint


class NotOpened(VaultError):
    """This does not unlock the vault."""

    hint = "Check the passphrase, or that the key file is the one that belongs to this vault."


class VaultMissing(VaultError):
    """There is no vault here."""

    hint = "Set this device up with `vcd init`."


class VaultExists(VaultError):
    """There is a vault here already, and it is not overwritten."""

    hint = "Choose another directory, or use the one that is there."


class VaultDamaged(VaultError):
    """The vault's file is damaged, or a newer program wrote it."""

    hint = "Put a copy of the file back, or set this device up anew and link it to another one."


class KeyExposed(VaultError):
    """The key file can be read by others, so it protects nothing."""

    hint = "Take the rights away from others (chmod 600), and think about who may have read it."


class UnlockerMissing(VaultError):
    """What unlocks this vault is not here."""

    hint = "Bring it back, or unlock the vault in another way."
