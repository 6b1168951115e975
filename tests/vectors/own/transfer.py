"""Known answers for what a new device of a virtual client is given (mls/virtual): every struct, and one whole state.

`python -m tests.vectors.own.transfer` writes transfer.json; docs/vectors.md says what is in it. The conversation in it
is one of four members in which something of everything happened: messages that are still to be read, of this epoch and
of the one before, a proposal that waits, and an Update of our own leaf whose keys wait with it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mls import group as front
from mls.components.dictionary import dictionary_extension
from mls.components.numbers import LAST_RESORT_KEY_PACKAGE
from mls.registries import Epoch, Generation, GroupId, KeyPackageRef, LeafIndex
from mls.secrets import ExportedSecret
from mls.state import Group
from mls.virtual import derive
from mls.virtual.companion import Companion, HandedEpochs, PackagePart, hand_over_epochs
from mls.virtual.epoch import DerivationEpoch, derivation_epoch
from mls.virtual.handover import Handover, hand_over
from mls.virtual.operations import Operation, OperationTree, OperationType
from mls.virtual.secret_state import SecretTreeState
from mls.virtual.transfer import (
    KeyPackageDerivationInfo,
    NewEmulatorClientState,
    RetainedKeyPackageMaterial,
    SigningKey,
    TransferredGroup,
    encode_operation,
    encode_signing_keys,
)
from tests.mls.clients import NAMES, Party, party
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")
SUITES = (1, 7, 5)
"""One for each hash."""
US = NAMES[1]
LAST_RESORT = dictionary_extension({LAST_RESORT_KEY_PACKAGE: b""})


def generate() -> list[dict[str, Any]]:
    return [_case(suite) for suite in SUITES]


def emulation(cipher_suite: int) -> list[tuple[DerivationEpoch, bytes | None, list[Operation]]]:
    """Two emulation epochs in a row, and a rival of the second. In each some operations are gone and one is awaited."""
    made: list[tuple[DerivationEpoch, bytes | None, list[Operation]]] = []
    for number, leaf_count in ((77, 2), (78, 4), (78, 8)):
        provider = SeededProvider(f"transfer, suite {cipher_suite}, epoch {number} of {leaf_count}")
        suite = provider.suite(cipher_suite)
        secret = ExportedSecret(provider.random(suite.hash_size))
        epoch = derivation_epoch(suite, secret, Epoch(number), leaf_count, LeafIndex(1))
        batch, epoch = epoch.next_operation(OperationType.KEY_PACKAGE)
        leaf, epoch = epoch.operation_at(LeafIndex(0), OperationType.LEAF_NODE, Generation(1), b"group")
        made.append((epoch, made[0][0].epoch_id if made else None, [batch, leaf]))
    return made


def lost(cipher_suite: int) -> DerivationEpoch:
    """An emulation epoch of yet another branch, of which a sibling told what reads its leaves."""
    provider = SeededProvider(f"transfer, suite {cipher_suite}, lost")
    suite = provider.suite(cipher_suite)
    epoch = derivation_epoch(suite, ExportedSecret(provider.random(suite.hash_size)), Epoch(78), 2, None)
    return replace(epoch, operations=OperationTree.gone(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A conversation of ours at the moment when it is handed over."""

    party: Party
    group: Group
    past: Group
    late: bytes
    """A message of the present epoch that we have not read."""
    later: bytes
    """One of the epoch before."""


def conversation(cipher_suite: int) -> Conversation:
    ours = party(4, cipher_suite, shape="full", seed=f"transfer {cipher_suite}")
    env = ours.env
    sender = NAMES[2]

    def pass_over(data: bytes) -> bytes:
        after, late = front.seal(ours[sender], env, data)
        ours.groups[sender] = after
        return late

    later = pass_over(b"of the epoch before")
    ours.say(sender, b"read")
    ours.say(US, b"ours")
    past = ours[US]
    ours.commit(NAMES[0])
    late = pass_over(b"of this epoch")
    ours.say(sender, b"read too")
    ours.propose_update(US)
    ours.propose_update(NAMES[3])
    return Conversation(party=ours, group=ours[US], past=past, late=late, later=later)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Everything that goes to a new device."""

    state: NewEmulatorClientState
    companion: Companion
    handover: Handover
    epochs: HandedEpochs


def whole(cipher_suite: int, talk: Conversation) -> Whole:
    made = emulation(cipher_suite)
    told = (lost(cipher_suite), made[0][0].epoch_id)
    epochs = hand_over_epochs([*((epoch, parent) for epoch, parent, _ in made), told])
    handover = hand_over(talk.group, [talk.past])
    assert handover.part is not None
    batch = made[1][2][0]
    packages, material, parts = [], [], []
    for index, extensions in enumerate(((), (LAST_RESORT,))):
        suite = talk.group.suite
        seed = derive.key_package_seed(suite, batch.secret, index)
        place: dict[str, Any] = {
            "cipher_suite": cipher_suite,
            "epoch_id": batch.epoch_id,
            "leaf": batch.leaf,
            "generation": batch.generation,
            "index": index,
        }
        reference = KeyPackageRef(SeededProvider(f"reference {index}").random(suite.hash_size))
        packages.append(KeyPackageDerivationInfo(reference=reference, extensions=extensions, **place))
        material.append(RetainedKeyPackageMaterial(seed=seed, **place))
        parts.append(
            PackagePart(reference=reference, not_after=1_800_000_000 + index, signature_key=b"", used=index == 1)
        )
    leaf = talk.group.own_leaf_node
    key = SigningKey(cipher_suite=cipher_suite, public=leaf.signature_key, private=talk.group.signature_key, used=True)
    state = NewEmulatorClientState(
        signing_keys=(key,),
        key_packages=tuple(packages),
        key_package_material=tuple(material),
        operations=tuple([operations[1] for _, _, operations in made]),
        epochs=epochs.state,
        groups=(handover.state, Handover.by_external_commit(GroupId(b"another group")).state),
    )
    companion = Companion(
        settings=b"whatever the virtual client has settled",
        newest=made[1][0].epoch_id,
        epochs=epochs.parts,
        rivals=epochs.rivals,
        lost=epochs.lost,
        packages=tuple(parts),
        withdrawn=(KeyPackageRef(SeededProvider("withdrawn").random(talk.group.suite.hash_size)),),
        conversations=(handover.part,),
    )
    return Whole(state=state, companion=companion, handover=handover, epochs=epochs)


def _tree(state: SecretTreeState) -> dict[str, Any]:
    return {
        "node_secrets": [{"node_index": node.node, "node_secret": node.secret.hex()} for node in state.nodes],
        "ratchet_states": [
            {
                "leaf_index": each.leaf,
                "ratchet_type": int(each.type),
                **({} if each.operation is None else {"operation_type": int(each.operation)}),
                "generation": each.generation,
                "next_secret": each.secret.hex(),
            }
            for each in state.ratchets
        ],
        "encoded": state.encode().hex(),
    }


def _epoch(cipher_suite: int, everything: Whole) -> dict[str, Any]:
    epoch = everything.state.epochs[1]
    return {
        "emulation_group_epoch": epoch.number,
        "epoch_id": epoch.epoch_id.hex(),
        "operation_secret_tree": _tree(epoch.operations),
        "epoch_encryption_key": epoch.encryption_key.raw.hex(),
        "generation_id_secret": epoch.generation_id.raw.hex(),
        "reuse_guard_secret": epoch.reuse_guard.raw.hex(),
        "leaf_count": epoch.leaf_count,
        "encoded": epoch.encode().hex(),
        "following": [
            {
                "leaf_index": leaf,
                "operation_type": int(kind),
                "generation": generation,
                "operation_context": b"group".hex(),
                "operation_secret": epoch.derivation_epoch(SeededProvider().suite(cipher_suite))
                .operation_at(LeafIndex(leaf), kind, Generation(generation), b"group")[0]
                .secret.raw.hex(),
            }
            for leaf, kind, generation in ((0, OperationType.LEAF_NODE, 2), (3, OperationType.APPLICATION, 5))
        ],
    }


def _group(state: TransferredGroup) -> dict[str, Any]:
    return {
        "group_id": state.group_id.hex(),
        "init_secret": state.init.raw.hex(),
        "sender_data_secret": state.sender_data.raw.hex(),
        "exporter_secret": state.exporter.raw.hex(),
        "external_secret": state.external.raw.hex(),
        "confirmation_key": state.confirmation.raw.hex(),
        "membership_key": state.membership.raw.hex(),
        "resumption_psk": state.resumption.raw.hex(),
        "epoch_authenticator": state.authenticator.hex(),
        "secret_tree": _tree(state.secret_tree),
        "safe_exporter_tree": state.exporter_tree.hex(),
        "direct_path_private_keys": [key.raw.hex() for key in state.path_keys],
        "encoded": state.encode().hex(),
    }


def _case(cipher_suite: int) -> dict[str, Any]:
    talk = conversation(cipher_suite)
    everything = whole(cipher_suite, talk)
    state, group = everything.state, talk.group
    transferred = everything.handover.state
    assert isinstance(transferred, TransferredGroup)
    part = everything.handover.part
    assert part is not None
    package, material, operation = state.key_packages[1], state.key_package_material[1], state.operations[0]
    place = {
        "cipher_suite": material.cipher_suite,
        "epoch_id": material.epoch_id.hex(),
        "leaf_index": material.leaf,
        "generation": material.generation,
        "key_package_index": material.index,
    }
    return {
        "cipher_suite": cipher_suite,
        "key_package_derivation_info": {
            "key_package_ref": package.reference.hex(),
            **place,
            "encoded": package.encode().hex(),
        },
        "retained_key_package_material": {
            **place,
            "key_package_seed_secret": material.seed.raw.hex(),
            "encoded": material.encode().hex(),
        },
        "retained_operation_secret": {
            "epoch_id": operation.epoch_id.hex(),
            "operation_type": int(operation.type),
            "leaf_index": operation.leaf,
            "generation": operation.generation,
            "operation_context": operation.context.hex(),
            "operation_secret": operation.secret.raw.hex(),
            "encoded": encode_operation(operation).hex(),
        },
        "retained_vc_epoch": _epoch(cipher_suite, everything),
        "state_transfer": _group(transferred),
        "external_commit": state.groups[1].encode().hex(),
        "signing_key_material": encode_signing_keys(state.signing_keys).hex(),
        "new_emulator_client_state": state.encode().hex(),
        "epoch_part": everything.epochs.parts[1].encode().hex(),
        "lost_part": everything.epochs.lost[0].encode().hex(),
        "conversation_part": part.encode().hex(),
        "companion": everything.companion.encode().hex(),
        "conversation": {
            "ratchet_tree": everything.handover.tree.hex(),
            "leaf_index": group.own_leaf,
            "encryption_priv": group.private[2 * group.own_leaf].raw.hex(),
            "signature_priv": group.signature_key.raw.hex(),
            "epoch_authenticator": group.authenticator.hex(),
            "message": talk.late.hex(),
            "message_data": b"of this epoch".hex(),
            "past_message": talk.later.hex(),
            "past_message_data": b"of the epoch before".hex(),
        },
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
