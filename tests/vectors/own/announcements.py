"""Known answers for what devices of a virtual client announce, keep and leave for recovery.

`python -m tests.vectors.own.announcements` writes announcements.json; docs/vectors.md says what is in it. All of it is
bytes of forms that are ours (mls/virtual/announcements.py, removal.py, recovery.py), from values that are written here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mls import group as front
from mls.components.dictionary import dictionary_extension
from mls.components.numbers import LAST_RESORT_KEY_PACKAGE, ComponentId, Numbers
from mls.credential import BasicCredential
from mls.psk import ResumptionPskId
from mls.registries import Epoch, Generation, GroupId, KeyPackageRef, LeafIndex, ResumptionUsage
from mls.secrets import (
    EpochEncryptionKey,
    GenerationIdSecret,
    HpkePrivateKey,
    KeyPackageSeed,
    OperationSecret,
    ReuseGuardSecret,
    SignaturePrivateKey,
)
from mls.suite import Suite
from mls.virtual.actions import Form, KeyPackageInfo, KeyPackageUpload
from mls.virtual.announcements import (
    Announcement,
    Claims,
    Created,
    ExternalJoin,
    JoinedExternally,
    Keys,
    LostEpoch,
    Operations,
    Progress,
    Renewed,
    Reserved,
    SignatureKey,
    Uploaded,
    Wanted,
    Welcomed,
    Withdrawn,
    encode_announcement,
)
from mls.virtual.generation_id import GenerationId
from mls.virtual.operations import Operation, OperationType
from mls.virtual.recovery import Claim, Entry, Roll, Writer, encode_grant, seal_roll, sign_grant
from mls.virtual.removal import Fingerprint, Removal, Step, Task, Withdrawal, begin
from tests.mls.clients import client, environment
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")
SUITES = (1, 2, 7, 5)
COMPONENT = ComponentId(0x8D03)
NUMBERS = Numbers()


def generate() -> list[dict[str, Any]]:
    return [
        *[_announced(name, each) for name, each in announcements().items()],
        {"name": "removal", "removal": removal().encode().hex()},
        *[_recovery(cipher_suite) for cipher_suite in SUITES],
    ]


def secret(name: str, size: int = 32) -> bytes:
    return SeededProvider(f"announced {name}").random(size)


def key(name: str, cipher_suite: int = 1) -> SignatureKey:
    """A pair that belongs together."""
    provider = SeededProvider(f"announced key {name}")
    private, public = provider.suite(cipher_suite).scheme.generate(provider.random)
    return SignatureKey(cipher_suite=cipher_suite, public=public, private=private)


def upload(*extensions: bool) -> KeyPackageUpload:
    """One KeyPackage for each; true for a last resort."""
    mark = dictionary_extension({LAST_RESORT_KEY_PACKAGE: b""})
    return KeyPackageUpload(
        epoch_id=secret("epoch id"),
        leaf=LeafIndex(5),
        generation=Generation(2),
        key_packages=tuple(
            [
                KeyPackageInfo(
                    reference=KeyPackageRef(secret(f"package {index}")),
                    cipher_suite=1 + index,
                    index=index,
                    extensions=(mark,) if last_resort else (),
                )
                for index, last_resort in enumerate(extensions)
            ]
        ),
    )


def operation(generation: int, context: bytes, kind: OperationType = OperationType.LEAF_NODE) -> Operation:
    return Operation(
        epoch_id=secret("epoch id"),
        leaf=LeafIndex(3),
        generation=Generation(generation),
        type=kind,
        context=context,
        secret=OperationSecret(secret(f"operation {generation}")),
    )


def announcements() -> dict[str, Announcement]:
    keys = (key("first"), key("second", 2))
    return {
        "uploaded": Uploaded(upload=upload(False, True), keys=keys, not_after=(1_800_000_000, 0)),
        "keys": Keys(keys),
        "created": Created(b"an MLSMessage with a GroupInfo"),
        "created, continuing": Created(
            b"an MLSMessage with a GroupInfo",
            ResumptionPskId(ResumptionUsage.REINIT, GroupId(b"a conversation"), Epoch(9), secret("nonce")),
        ),
        "joined externally": JoinedExternally(group_info=b"a GroupInfo", tree=b"a tree", commit=b"a commit"),
        "joined externally, tree inside": JoinedExternally(group_info=b"a GroupInfo", commit=b"a commit"),
        "welcomed": Welcomed(b"a Welcome", b"a tree"),
        "welcomed, tree inside": Welcomed(b"a Welcome"),
        "external join": ExternalJoin(GroupId(b"a conversation")),
        "operations": Operations((operation(7, b"a conversation"), operation(0, b"", OperationType.KEY_PACKAGE))),
        "claims": Claims((GenerationId(secret("claim 1")), GenerationId(secret("claim 0")))),
        "withdrawn": Withdrawn((KeyPackageRef(secret("package 1")), KeyPackageRef(secret("package 0")))),
        "reserved": Reserved(
            reference=KeyPackageRef(secret("package 9")),
            cipher_suite=2,
            seed=KeyPackageSeed(secret("seed")),
            not_after=1_800_000_000,
        ),
        "renewed": Renewed(BasicCredential(b"virtual"), keys),
        "lost epoch": LostEpoch(
            cipher_suite=1,
            epoch_id=secret("epoch id"),
            parent=secret("parent"),
            number=Epoch(77),
            leaf_count=8,
            encryption_key=EpochEncryptionKey(secret("encryption key")),
            generation_id=GenerationIdSecret(secret("generation id")),
            reuse_guard=ReuseGuardSecret(secret("reuse guard")),
        ),
        "progress": Progress(removal().encode()),
        "wanted": Wanted((GroupId(b"a conversation"), GroupId(b"another one"))),
    }


def _announced(name: str, announcement: Announcement) -> dict[str, Any]:
    written = {"name": name, "targeted": isinstance(announcement, Reserved)}
    written["announcement"] = encode_announcement(announcement).hex()
    if isinstance(announcement, Uploaded):
        plain = Uploaded(upload=upload(False, False), keys=announcement.keys, not_after=announcement.not_after)
        written["announcement_without_extensions"] = encode_announcement(plain, Form.WITHOUT_EXTENSIONS).hex()
    return written


def removal() -> Removal:
    """One that is half done, with something in every list."""
    one, two = GroupId(b"one"), GroupId(b"two")
    packages = [KeyPackageRef(b"package 1"), KeyPackageRef(b"package 0")]
    progress = begin([Fingerprint(b"lost phone")], references=packages, group_ids=[two, one], old_keys=[b"old key"])
    progress = progress.withdrawn(packages[0], Withdrawal.BOTH, epoch_id=b"epoch 0")
    progress = progress.withdrawn(packages[1], Withdrawal.ANNOUNCED, epoch_id=b"epoch 1")
    progress = progress.adopted(b"epoch 1", removes=[Fingerprint(b"lost phone")])
    progress = progress.adopted(b"epoch 2", parent=b"epoch 1").final(b"epoch 1")
    progress = progress.renewed(b"epoch 2", b"new credential").renewed(b"epoch 2", b"new key").uploaded(b"epoch 2")
    progress = progress.rotated(one, epoch=Epoch(9), leaf=b"leaf", derived_in=b"epoch 2", signature_key=b"new key")
    progress = progress.rotated(two, epoch=Epoch(5), leaf=b"leaf", derived_in=b"epoch 1", signature_key=b"new key")
    return progress.reverted(two, b"leaf").failed(Task(Step.ROTATE, two))


def recovery_keys(cipher_suite: int) -> tuple[Suite, HpkePrivateKey, bytes, SignaturePrivateKey, bytes]:
    """Those that the account's owner keeps: for reading the roll, and for consenting."""
    provider = SeededProvider(f"recovery {cipher_suite}")
    suite = provider.suite(cipher_suite)
    private, public = suite.generate_key_pair(provider.random)
    signing, verifying = suite.scheme.generate(provider.random)
    return suite, private, public, signing, verifying


def roll(cipher_suite: int = 1) -> Roll:
    second = group_info(b"second", cipher_suite, with_tree=False)
    return Roll(
        sequence=12,
        emulation=entry(b"emulation", cipher_suite),
        conversations=(
            entry(b"first", cipher_suite),
            Entry(group_info=second, own_leaf=LeafIndex(3), tree=b"tree", place=b"place"),
        ),
        references=(KeyPackageRef(secret("package 0")), KeyPackageRef(secret("package 1"))),
        settings=b"settings",
    )


def group_info(group_id: bytes, cipher_suite: int = 1, **options: Any) -> bytes:
    """Of a group of one."""
    env = environment(f"roll {group_id!r}")
    return front.group_info(client("virtual", cipher_suite).create(env, group_id), **options)


def entry(group_id: bytes, cipher_suite: int = 1) -> Entry:
    return Entry(group_info=group_info(group_id, cipher_suite), own_leaf=LeafIndex(0))


def writer(cipher_suite: int) -> Writer:
    provider = SeededProvider(f"writer {cipher_suite}")
    private, public = provider.suite(cipher_suite).scheme.generate(provider.random)
    return Writer(credential=BasicCredential(b"laptop"), signature_key=public, signature_private=private)


def _recovery(cipher_suite: int) -> dict[str, Any]:
    env = environment(f"recovery vector {cipher_suite}")
    suite, private, public, signing, verifying = recovery_keys(cipher_suite)
    listed, by = roll(cipher_suite), writer(cipher_suite)
    claim = Claim.from_group_info(listed.emulation.group_info, by.signature_key, by.credential)
    return {
        "name": f"recovery, suite {cipher_suite}",
        "cipher_suite": cipher_suite,
        "component_id": COMPONENT,
        "recovery_priv": private.raw.hex(),
        "recovery_pub": public.hex(),
        "recovery_signature_priv": signing.raw.hex(),
        "recovery_signature_pub": verifying.hex(),
        "roll": listed.encode().hex(),
        "writer_signature_pub": by.signature_key.hex(),
        "sealed_roll": seal_roll(listed, env, suite, public, by, NUMBERS, COMPONENT).hex(),
        "claim": claim.encode().hex(),
        "grant": encode_grant(sign_grant(suite, signing, claim, COMPONENT)).hex(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
