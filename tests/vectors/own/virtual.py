"""Known answers for virtual clients (mls/virtual): every derivation and every struct of an emulation epoch.

`python -m tests.vectors.own.virtual` writes virtual.json; docs/vectors.md says what is in it. The derivations are those
of a second writing too, tests/mls/virtual/ladder.py, which is HMAC and nothing else.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mls.components.dictionary import dictionary_extension
from mls.components.numbers import LAST_RESORT_KEY_PACKAGE
from mls.credential import BasicCredential
from mls.leaf_node import LeafNode, Lifetime, default_capabilities, sign_leaf_node
from mls.registries import Epoch, Generation, KeyPackageRef, LeafIndex, LeafNodeSource
from mls.secrets import ExportedSecret, HpkePrivateKey, InitSecret, SignaturePrivateKey
from mls.suite import Suite
from mls.virtual import derive
from mls.virtual.actions import CommitData, Form, KeyPackageInfo, KeyPackageUpload, NewDerivationEpoch, encode_action
from mls.virtual.derivation_info import (
    CommitDerivation,
    Derivation,
    KeyPackageDerivation,
    UpdateDerivation,
    seal,
)
from mls.virtual.epoch import DerivationEpoch, derivation_epoch
from mls.virtual.operations import Operation, OperationType
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")
SUITES = (1, 2, 7, 5, 0xF001)
"""Of the emulation group, and of what is derived for: all hashes, a NIST curve of each size, and a hybrid."""
SIGNING = (4, 0xF009)
"""Targets for the two kinds of signature keys that are not among these."""
LEAF_COUNT = 8
OPERATIONS = (
    (0, OperationType.KEY_PACKAGE, 0, b""),
    (5, OperationType.KEY_PACKAGE, 2, b""),
    (5, OperationType.KEY_PACKAGE, 1, b""),
    (5, OperationType.LEAF_NODE, 0, b"a conversation"),
    (7, OperationType.LEAF_NODE, 40, b""),
    (7, OperationType.APPLICATION, 3, b"whatever the application says"),
)
INDICES = (0, 1, 0xFFFFFFFF)


def generate() -> list[dict[str, Any]]:
    return [_case(suite) for suite in SUITES]


def epoch_of(cipher_suite: int) -> tuple[ExportedSecret, DerivationEpoch]:
    provider = SeededProvider(f"virtual, suite {cipher_suite}")
    suite = provider.suite(cipher_suite)
    secret = ExportedSecret(provider.random(suite.hash_size))
    return secret, derivation_epoch(suite, secret, Epoch(77), LEAF_COUNT, LeafIndex(5))


def _case(cipher_suite: int) -> dict[str, Any]:
    secret, fresh = epoch_of(cipher_suite)
    epoch = fresh
    operations = []
    made: list[Operation] = []
    for leaf, kind, generation, context in OPERATIONS:
        operation, epoch = epoch.operation_at(LeafIndex(leaf), kind, Generation(generation), context)
        made.append(operation)
        operations.append(
            {
                "leaf_index": leaf,
                "operation_type": int(kind),
                "generation": generation,
                "operation_context": context.hex(),
                "operation_secret": operation.secret.raw.hex(),
            }
        )
    suites = sorted({*SUITES, *SIGNING})
    return {
        "cipher_suite": cipher_suite,
        "emulator_epoch_secret": secret.raw.hex(),
        "epoch_id": epoch.epoch_id.hex(),
        "epoch_base_secret": fresh.operations.nodes[LEAF_COUNT - 1].hex(),
        "epoch_encryption_key": epoch.encryption_key.raw.hex(),
        "generation_id_secret": epoch.generation_id.raw.hex(),
        "reuse_guard_secret": epoch.reuse_guard.raw.hex(),
        "leaf_count": LEAF_COUNT,
        "operations": operations,
        "key_packages": [
            _key_package(SeededProvider().suite(target), made[1], index)
            for target in suites
            for index in (INDICES if target == cipher_suite else INDICES[1:2])
        ],
        "leaf_nodes": [_leaf_node(SeededProvider().suite(target), made[3]) for target in suites],
        "derivation_infos": [_derivation_info(epoch, about) for about in _derivations(cipher_suite)],
        "actions": _actions(epoch),
        "stored": epoch.encode().hex(),
    }


def _pair(name: str, pair: tuple[HpkePrivateKey | SignaturePrivateKey, bytes]) -> dict[str, str]:
    return {f"{name}_priv": pair[0].raw.hex(), f"{name}_pub": pair[1].hex()}


def _key_package(target: Suite, operation: Operation, index: int) -> dict[str, Any]:
    seed = derive.key_package_seed(target, operation.secret, index)
    return {
        "operation": 1,
        "cipher_suite": target.cipher_suite,
        "key_package_index": index,
        "key_package_seed_secret": seed.raw.hex(),
        "signature_key_secret": target.derive_secret(seed.raw, b"Signature Key").hex(),
        **_pair("init", derive.init_key(target, seed)),
        **_pair("encryption", derive.leaf_key(target, seed)),
        **_pair("signature", derive.derived_signature_key(target, seed)),
        "group_creation_epoch_secret": derive.group_creation_secret(target, seed).raw.hex(),
    }


def _leaf_node(target: Suite, operation: Operation) -> dict[str, Any]:
    secret = derive.target_operation_secret(target, operation.secret, operation.context)
    return {
        "operation": 3,
        "cipher_suite": target.cipher_suite,
        "group_id": operation.context.hex(),
        "target_operation_secret": secret.raw.hex(),
        "signature_key_secret": target.derive_secret(secret.raw, b"Signature Key").hex(),
        "init_key_secret": target.derive_secret(secret.raw, b"Init Key").hex(),
        **_pair("encryption", derive.leaf_key(target, secret)),
        **_pair("signature", derive.derived_signature_key(target, secret)),
        "path_secret": derive.path_secret(target, secret).raw.hex(),
    }


def _derivations(cipher_suite: int) -> list[Derivation]:
    init = InitSecret(SeededProvider(f"init, suite {cipher_suite}").random(Suite(cipher_suite).hash_size))
    leaf, generation = LeafIndex(5), Generation(0x01020304)
    return [
        KeyPackageDerivation(leaf, generation, 9),
        UpdateDerivation(leaf, generation),
        CommitDerivation(leaf, generation),
        CommitDerivation(leaf, generation, init),
    ]


def leaf_of(cipher_suite: int, source: int, encryption_key: bytes) -> LeafNode:
    """A leaf of that source with that key, and nothing else of interest."""
    provider = SeededProvider(f"leaf, suite {cipher_suite}")
    suite = provider.suite(cipher_suite)
    private, public = suite.scheme.generate(provider.random)
    return sign_leaf_node(
        suite,
        private,
        encryption_key=encryption_key,
        signature_key=public,
        credential=BasicCredential(b"virtual"),
        capabilities=default_capabilities(),
        lifetime=Lifetime(0, 1) if source == LeafNodeSource.KEY_PACKAGE else None,
        parent_hash=b"" if source == LeafNodeSource.COMMIT else None,
    )


def _derivation_info(epoch: DerivationEpoch, about: Derivation) -> dict[str, Any]:
    provider = SeededProvider(f"leaf key {about.source} {about.encode().hex()}")
    encryption_key = epoch.suite.generate_key_pair(provider.random)[1]
    return {
        "leaf_node_source": int(about.source),
        "encryption_key": encryption_key.hex(),
        "derivation_info_tbe": about.encode().hex(),
        "derivation_info": seal(epoch, encryption_key, about).encode().hex(),
    }


def upload_of(epoch: DerivationEpoch) -> KeyPackageUpload:
    provider = SeededProvider("upload")
    last_resort = dictionary_extension({LAST_RESORT_KEY_PACKAGE: b""})
    infos = [
        KeyPackageInfo(
            reference=KeyPackageRef(provider.random(32)), cipher_suite=cipher_suite, index=index, extensions=extensions
        )
        for index, cipher_suite, extensions in ((0, 1, ()), (7, 0xF001, (last_resort,)))
    ]
    return KeyPackageUpload(
        epoch_id=epoch.epoch_id, leaf=LeafIndex(5), generation=Generation(2), key_packages=tuple(infos)
    )


def _actions(epoch: DerivationEpoch) -> dict[str, str]:
    upload = upload_of(epoch)
    old = upload_without_extensions(upload)
    return {
        "key_package_upload": upload.encode().hex(),
        "key_package_upload_without_extensions": old.encode(Form.WITHOUT_EXTENSIONS).hex(),
        "virtual_client_action": encode_action(upload).hex(),
        "virtual_client_commit_data": CommitData((upload, NewDerivationEpoch())).encode().hex(),
        "new_derivation_epoch": CommitData((NewDerivationEpoch(),)).encode().hex(),
    }


def upload_without_extensions(upload: KeyPackageUpload) -> KeyPackageUpload:
    infos = [
        KeyPackageInfo(reference=info.reference, cipher_suite=info.cipher_suite, index=info.index)
        for info in upload.key_packages
    ]
    return KeyPackageUpload(
        epoch_id=upload.epoch_id, leaf=upload.leaf, generation=upload.generation, key_packages=tuple(infos)
    )


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
