"""draft-ietf-mls-virtual-clients §5.3: what a device knows that a removal has to take care of.

A removal begins with the KeyPackages, signature keys and conversations that one device knows at that moment. More comes
to light later: a device uploads KeyPackages while others still withdraw theirs, a sibling draws a key or joins a
conversation before it hears of the removal, and messages are late. `noticed` compares all that a device has with what
the removal says, and makes due what is not taken care of. It is called after whatever was heard or done; `complete` is
to be believed of a value that this function does not change.

* A KeyPackage is one to withdraw unless it was made in an epoch that the removed devices have no part in. Of a reserved
  one nothing says when it was made and who can open it, so all of these are: make new ones after the removal.
* Until there is such an epoch, all signature keys that there are may be known to the removed devices. After that, the
  removal itself knows the keys that are new (`Removal.renewed`), and all others are not.
* The leaf that counts in a conversation is the one that a device sees there, whatever it was told.
"""

from __future__ import annotations

from collections.abc import Iterable

from mls.state import Group
from mls.virtual.derivation_info import derivation_info_of
from mls.virtual.emulation import Emulation
from mls.virtual.removal import Removal
from mls.virtual.settings import SignaturePolicy


def noticed(removal: Removal, emulation: Emulation, conversations: Iterable[Group]) -> Removal:
    """The removal with all that this device knows of.

    `conversations` are those that the virtual client is in, as this device sees them. An epoch of the emulation group
    has to be `adopted` in the removal before, else what was made in it seems to be old.
    """
    groups = [group for group in conversations if group.ended is None]  # what ended has no leaf to renew
    clean = removal.clean
    old_keys: set[bytes] = set()
    if not clean:
        leaves = [group.own_leaf_node.signature_key for group in groups]
        renewed = {identity for _, identity in removal.renewals}  # on a branch that lost, and may win again
        old_keys = {*emulation.keys, *leaves} - renewed
    after = removal.also(
        references=[
            reference
            for reference, each in emulation.stock.items()
            if each.origin is None or each.origin.epoch_id not in clean
        ],
        group_ids=[group.group_id for group in groups],
        old_keys=old_keys,
    )
    for group in groups:
        after = _seen(after, emulation, group)
    return after


def _seen(removal: Removal, emulation: Emulation, group: Group) -> Removal:
    """With the present leaf of a conversation."""
    leaf = group.own_leaf_node
    info = derivation_info_of(leaf.extensions, emulation.settings.numbers)
    derived = emulation.settings.signatures is SignaturePolicy.DERIVED
    return removal.rotated(
        group.group_id,
        epoch=group.epoch,
        leaf=leaf.encryption_key,
        derived_in=b"" if info is None else info.epoch_id,
        signature_key=b"" if derived else leaf.signature_key,
    )
