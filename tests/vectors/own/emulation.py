"""Known answers for a virtual client at work (mls/virtual): from a secret of the emulation group to bytes on the wire.

`python -m tests.vectors.own.emulation` writes emulation.json; docs/vectors.md says what is in it. Each run is a few
devices that do everything a virtual client does, once, in the conversations `invited`, `created` and `outside`, while
their own group goes through epochs to derive in and others. What the devices keep to themselves or delete at once
(operations, path secrets, the intermediate secrets of an epoch) is derived here once more and has to fit the groups.

tests/mls/virtual/test_emulation_vectors.py reads the file in two ways: with this code as one more device, and with a
second writing that has none of it (`second_writing.py`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mls import group as front
from mls.components.last_resort import mark
from mls.group import CommitMessage
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.leaf_node import LeafNode
from mls.messages import Sealing
from mls.proposals import Add
from mls.schedule import EXPORTER_TREE, enter_epoch, joiner_secret, member_secret
from mls.secret_tree import APPLICATION, HANDSHAKE
from mls.secrets import CommitSecret, EpochSecret, KeyPackageSeed, PskSecret, TargetOperationSecret
from mls.state import Group
from mls.suite import Suite
from mls.virtual import client as vc, devices
from mls.virtual.actions import CommitData
from mls.virtual.announcements import Keys, SignatureKey, Welcomed
from mls.virtual.derivation_info import (
    Derivation,
    DerivationInfo,
    KeyPackageDerivation,
    derivation_info_of,
    open_sealed,
)
from mls.virtual.derive import (
    Imported,
    group_creation_secret,
    init_key,
    key_package_seed,
    leaf_key,
    path_secret,
    target_operation_secret,
)
from mls.virtual.emulation import Emulation
from mls.virtual.ff1 import KEY_SIZE, SmallSpacePrp
from mls.virtual.generation_id import PrivateMessageContext
from mls.virtual.leaves import signer_of
from mls.virtual.operations import Operation
from mls.virtual.settings import DRAFT, OPENMLS, Profile, Settings, SignaturePolicy
from mls.virtual.stock import Batch, Offer, make_batch
from tests.mls.virtual.household import Household, offer

PATH = Path(__file__).with_suffix(".json")

RUNS = (
    (1, 1, SignaturePolicy.DISTRIBUTED, DRAFT),
    (1, 7, SignaturePolicy.DERIVED, OPENMLS),
    (2, 2, SignaturePolicy.DERIVED, DRAFT),
    (3, 3, SignaturePolicy.DISTRIBUTED, OPENMLS),
    (7, 7, SignaturePolicy.DERIVED, DRAFT),
    (7, 1, SignaturePolicy.DISTRIBUTED, DRAFT),
)
"""Cipher suite of the emulation group, that of conversations, whence signature keys come, how things are written."""

LISTENER = "device1"
INVITED, CREATED, OUTSIDE = b"invited", b"created", b"outside"

Entry = dict[str, Any]


def generate() -> list[Entry]:
    return [Run(*run).played() for run in RUNS]


@dataclass(frozen=True)
class Making:
    """One of the virtual client's leaves, with all that it was made from."""

    target: Suite
    leaf: LeafNode
    info: DerivationInfo
    derivation: Derivation
    operation: Operation
    imported: Imported

    def described(self, after: Emulation) -> Entry:
        private, public = leaf_key(self.target, self.imported)
        assert public == self.leaf.encryption_key
        of_package = isinstance(self.imported, KeyPackageSeed)
        operation = self.operation
        return {
            "operation": {
                "epoch_id": operation.epoch_id.hex(),
                "leaf_index": operation.leaf,
                "generation": operation.generation,
                "operation_type": int(operation.type),
                "operation_context": operation.context.hex(),
                "operation_secret": operation.secret.raw.hex(),
            },
            "key_package_seed_secret" if of_package else "target_operation_secret": self.imported.raw.hex(),
            "encryption_priv": private.raw.hex(),
            "signature_priv": signer_of(after, self.target, self.leaf, self.imported).raw.hex(),
            "derivation_info_tbe": self.derivation.encode().hex(),
            "derivation_info": self.info.encode().hex(),
        }

    @property
    def seed(self) -> KeyPackageSeed:
        assert isinstance(self.imported, KeyPackageSeed)
        return self.imported

    @property
    def path_secret(self) -> bytes:
        assert isinstance(self.imported, TargetOperationSecret)
        return path_secret(self.target, self.imported).raw


class Run(Household):
    """A household that writes down what happens in it."""

    def __init__(self, emulation_suite: int, target: int, policy: SignaturePolicy, profile: Profile) -> None:
        self.target = target
        self.epochs: list[Entry] = []
        self.acts: list[Entry] = []
        self.listener: Entry = {}
        settings = Settings(signatures=policy, profile=profile)
        seed = f"emulation {emulation_suite} {target} {policy.value} {profile.form.value}"
        super().__init__(3, suite=emulation_suite, settings=settings, seed=seed)

    def played(self) -> Entry:
        self.play()
        profile = self.settings.profile
        return {
            "emulation_cipher_suite": self.suite,
            "cipher_suite": self.target,
            "signature_keys": self.settings.signatures.value,
            "upload_form": profile.form.value,
            "bit_order": profile.bit_order.value,
            "listener": self.listener,
            "emulation_epochs": self.epochs,
            "acts": self.acts,
        }

    def play(self) -> None:
        suites = (self.target, self.suite if self.suite != self.target else 3, self.target)
        extensions = ((), (), mark(()) if self.settings.profile is DRAFT else ())
        offers = [offer(suite, extensions=each) for suite, each in zip(suites, extensions, strict=True)]
        batch = self.publish("device2", *offers)
        self.welcome(batch.released(announced=True)[0])
        self.act_commit("device1", INVITED, force_path=True)
        self.collide("device0", "device2", INVITED)

        self.commit_devices("device0", force_path=True)
        self.creation("device0")
        self.act_commit("device2", CREATED, force_path=True)
        people = [self.person(name, self.target) for name in ("anna", "ben")]
        packages = [person.package(self.env) for person in people]
        adds = [Add(package.key_package) for package in packages]
        added = self.act_commit("device1", CREATED, proposals=adds)
        for person, package in zip(people, packages, strict=True):
            self.others[CREATED][person.name] = person.join(self.env, added.commit.welcome, [package])

        self.commit_devices("device2", derive=True)
        self.act_commit("device0", CREATED, force_path=True)
        self.message("device1", CREATED, b"said under the new epoch")
        self.update("device2", CREATED)
        self.followed("ben", CREATED)
        self.message("device0", CREATED, b"said by another device than proposed")

        self.remove_device("device0", by="device2")
        self.external_commit("device1")
        self.message("device2", OUTSIDE, b"")
        self.act_commit("device2", CREATED, force_path=True, encrypt=False)

        self.publish("device2", offer(self.target), by_commit=True)
        self.message("device1", CREATED, bytes(range(100)))
        self.agree()

    # The emulation group

    def package(self, name: str) -> KeyPackageSecrets:
        package: KeyPackageSecrets = super().package(name)
        if name == LISTENER:
            self.listener = {
                "key_package": package.key_package.encoded.hex(),
                "init_priv": package.init_private.raw.hex(),
                "encryption_priv": package.leaf_private.raw.hex(),
                "signature_priv": package.signature_private.raw.hex(),
            }
        return package

    def commit_devices(self, by: str, **options: Any) -> devices.DeviceCommit:
        before = self[by].emulation.group
        made = super().commit_devices(by, **options)
        group = made.commit.group
        path = list(made.commit.path_secrets.values())
        secret = group.suite.derive_secret(path[-1], b"path") if path else bytes(group.suite.hash_size)
        entry: Entry = {}
        if self.epochs:
            entry = {"committer": before.own_leaf, "commit": made.commit.message.hex(), "commit_secret": secret.hex()}
        uploads = tuple(options.get("uploads", ()))
        if uploads:
            entry["uploads"] = CommitData(uploads).encode(self.settings.profile.form).hex()
        if not self.epochs:
            assert made.commit.welcome is not None
            self.listener["welcome"] = made.commit.welcome.hex()
        begins = begun(before, group, secret) | {"leaf_index": 1}  # the listener's
        entry |= {"begins": begins, "derives": made.derives}
        if made.derives:
            _, exported = front.safe_export(group, self.settings.numbers.virtual_clients)
            entry |= {
                "application_export_secret": group.trees[EXPORTER_TREE].secrets.hex(),
                "emulator_epoch_secret": exported.raw.hex(),
                "epoch_id": self[by].emulation.head.newest.hex(),
            }
        self.epochs.append(entry)
        return made

    # What each kind of act has in common

    def _note(self, act: str, by: str | None, **fields: Any) -> None:
        at = self[LISTENER].emulation.group.epoch
        device = {} if by is None else {"device": self[by].emulation.group.own_leaf}
        self.acts.append({"act": act, "emulation_epoch": at, **device, **fields})

    def _made(self, before: Emulation, target: Suite, leaf: LeafNode, group_id: bytes) -> Making:
        """What our leaf was made from; `before` is its maker's value when it had not been made."""
        info = derivation_info_of(leaf.extensions, self.settings.numbers)
        assert info is not None
        epoch = before.epoch(info.epoch_id)
        derivation = open_sealed(epoch, info, leaf)
        of_package = isinstance(derivation, KeyPackageDerivation)
        context = b"" if of_package else group_id
        operation, _ = epoch.operation_at(derivation.leaf, derivation.type, derivation.generation, context)
        imported: Imported
        if isinstance(derivation, KeyPackageDerivation):
            imported = key_package_seed(target, operation.secret, derivation.index)
        else:
            imported = target_operation_secret(target, operation.secret, group_id)
        return Making(target, leaf, info, derivation, operation, imported)

    def _sealing(self, emulation: Emulation, before: Group, sealing: Sealing | None, ratchet: int) -> Entry:
        """How one of our PrivateMessages was sealed in the epoch `before`."""
        guard = vc.guard_of(emulation, before)
        assert guard is not None
        assert sealing is not None
        key = guard.suite.expand_with_label(guard.secret.raw, b"reuse guard", sealing.nonce, KEY_SIZE)
        x = SmallSpacePrp(key, guard.bit_order).decrypt(int.from_bytes(sealing.reuse_guard, "big"))
        context = PrivateMessageContext.of(before.group_id, before.epoch, sealing.generation, ratchet)
        claim = vc.claimed(emulation, before, context)
        active = derivation_info_of(before.own_leaf_node.extensions, self.settings.numbers)
        assert claim is not None
        assert active is not None
        return {
            "epoch_id": active.epoch_id.hex(),
            "ratchet_type": int(context.ratchet_type),
            "generation": sealing.generation,
            "key_schedule_nonce": sealing.nonce.hex(),
            "x": f"{x:08x}",
            "prp_key": key.hex(),
            "reuse_guard": sealing.reuse_guard.hex(),
            "generation_id": claim.hex(),
        }

    # Acts

    def publish(self, by: str, *offers: Offer, by_commit: bool = False) -> Batch:
        before = self[by].emulation
        if by_commit:
            batch = make_batch(before, self[by].env, offers)
            self[by].emulation = batch.emulation
            if batch.announcement.keys:
                self.announce(by, [Keys(batch.announcement.keys)])
        else:
            batch = self.upload(by, *offers)
        packages = batch.released(announced=True)
        self._note(
            "key_packages",
            by,
            key_package_upload=batch.announcement.upload.encode(self.settings.profile.form).hex(),
            key_packages=[self._package(before, self[by].emulation, package) for package in packages],
        )
        if by_commit:
            self.commit_devices(by, uploads=[batch.announcement.upload])
        return batch

    def _package(self, before: Emulation, after: Emulation, package: KeyPackage) -> Entry:
        target = self.env.suite(package.cipher_suite)
        leaf = package.leaf_node
        made = self._made(before, target, leaf, b"")
        private, public = init_key(target, made.seed)
        assert public == package.init_key
        assert isinstance(made.derivation, KeyPackageDerivation)
        return {
            "cipher_suite": package.cipher_suite,
            "key_package_index": made.derivation.index,
            **made.described(after),
            "init_priv": private.raw.hex(),
            "key_package": package.encoded.hex(),
            "key_package_ref": package.reference(target).hex(),
        }

    def welcome(self, package: KeyPackage) -> None:
        """Somebody adds the virtual client."""
        anna = self.person("anna", self.target).create(self.env, INVITED)
        sent = front.commit(anna, self.env, proposals=[Add(package)])
        assert sent.welcome is not None
        self.others[INVITED] = {"anna": sent.group}
        for name in self.names:
            self.follow(name, Welcomed(sent.welcome))
        self.agree()
        self._note(
            "welcome",
            None,
            key_package_ref=package.reference(anna.suite).hex(),
            welcome=sent.welcome.hex(),
            begins=begun(anna, self[LISTENER].groups[INVITED], bytes(anna.suite.hash_size)),
        )

    def creation(self, by: str) -> None:
        before = self[by].emulation
        self.create(by, CREATED, suite=self.target)
        group = self[by].groups[CREATED]
        made = self._made(before, group.suite, group.own_leaf_node, b"")
        self._note(
            "creation",
            by,
            **made.described(self[by].emulation),
            group_info=front.group_info(group, external_join=False, with_tree=True).hex(),
            begins=described(group, None, group_creation_secret(group.suite, made.seed)),
        )

    def act_commit(self, by: str, group_id: bytes, **options: Any) -> vc.Acted:
        before, emulation = self[by].groups[group_id], self[by].emulation
        device = self[by]
        acted = vc.commit(emulation, before, device.env, **options)
        device.emulation = acted.emulation
        found = self.spread(group_id, acted.commit.message, by=by)
        device.groups[group_id] = acted.commit.group
        if acted.commit.welcome is None:
            self.agree()
        group = acted.commit.group
        fields: Entry = {}
        secret = bytes(group.suite.hash_size)
        if group.own_leaf_node is not before.own_leaf_node:
            made = self._made(emulation, group.suite, group.own_leaf_node, group_id)
            path = list(acted.commit.path_secrets.values())
            secret = group.suite.derive_secret(path[-1], b"path") if path else made.path_secret
            fields = made.described(device.emulation) | {"path_secrets": [each.hex() for each in path]}
        sealing: Entry = {}
        if options.get("encrypt", True):
            heard = next(iter(found.values())).event
            assert isinstance(heard, CommitMessage)
            sealing = {"sealing": self._sealing(emulation, before, heard.sealing, HANDSHAKE)}
        self._note(
            "commit",
            by,
            **fields,
            commit_secret=secret.hex(),
            message=acted.commit.message.hex(),
            **sealing,
            begins=begun(before, group, secret),
        )
        return acted

    def external_commit(self, by: str) -> None:
        """The virtual client comes into a conversation from outside."""
        carol = self.person("carol", self.target).create(self.env, OUTSIDE)
        self.others[OUTSIDE] = {"carol": carol}
        device = self[by]
        key = None
        if self.settings.signatures is SignaturePolicy.DISTRIBUTED:
            device.emulation, public = device.emulation.drawn_key(device.env, self.target)
            key = device.emulation.keys[public].private
            told = Keys((SignatureKey(cipher_suite=self.target, public=public, private=key),))
            self.announce(by, [told])
        before, info = device.emulation, front.group_info(carol)
        said = offer(self.target)
        entered = vc.join_externally(
            before,
            device.env,
            self.parameters,
            info,
            credential=said.credential,
            capabilities=said.capabilities,
            signature_private=key,
        )
        device.emulation = entered.emulation
        self.spread(OUTSIDE, entered.joined.message, by=by)
        group = device.groups[OUTSIDE] = entered.joined.group
        self.announce(by, entered.announcements)
        self.agree()
        made = self._made(before, group.suite, group.own_leaf_node, OUTSIDE)
        secret = group.suite.derive_secret(made.path_secret, b"path")  # of one node, Carol being alone
        self._note(
            "external_commit",
            by,
            **made.described(device.emulation),
            group_info=info.hex(),
            external_secret=carol.secrets.external.raw.hex(),
            external_init_secret=entered.joined.external_init.raw.hex(),
            path_secrets=[made.path_secret.hex()],
            commit_secret=secret.hex(),
            message=entered.joined.message.hex(),
            begins=begun(carol, group, secret, init=entered.joined.external_init.raw),
        )

    def update(self, by: str, group_id: bytes) -> None:
        device = self[by]
        before, emulation = device.groups[group_id], device.emulation
        made = vc.propose_update(emulation, before, device.env)
        device.emulation, device.groups[group_id] = made.emulation, made.group
        heard = self.spread(group_id, made.message, by=by)
        event: Any = next(iter(heard.values())).event
        leaf = event.proposal.leaf_node
        self._note(
            "update",
            by,
            **self._made(emulation, before.suite, leaf, group_id).described(device.emulation),
            message=made.message.hex(),
            proposal_ref=made.reference.hex(),
            sealing=self._sealing(emulation, before, event.sealing, HANDSHAKE),
        )

    def followed(self, by: str, group_id: bytes) -> None:
        """Somebody else commits, and the virtual client's Update with it."""
        other = self.others[group_id][by]
        sent = front.commit(other, self.env)
        self.others[group_id][by] = sent.group
        self.spread(group_id, sent.message, by=by)
        self.agree()
        path = list(sent.path_secrets.values())
        secret = other.suite.derive_secret(path[-1], b"path")
        self._note(
            "followed",
            None,
            message=sent.message.hex(),
            path_secret=path[-1].hex(),
            commit_secret=secret.hex(),
            begins=begun(other, self[LISTENER].groups[group_id], secret),
        )

    def message(self, by: str, group_id: bytes, data: bytes) -> None:
        self._said(group_id, [(by, data)])

    def collide(self, first: str, second: str, group_id: bytes) -> None:
        """Two devices that have not heard each other take one key."""
        self._said(group_id, [(first, b"first"), (second, b"second")])

    def _said(self, group_id: bytes, said: list[tuple[str, bytes]]) -> None:
        sent = []
        for by, data in said:
            device = self[by]
            before = device.groups[group_id]
            sealed = vc.seal(device.emulation, before, device.env, data)
            device.groups[group_id] = sealed.group
            sent.append((by, data, before, sealed.message))
        people = self.others[group_id]
        for by, data, before, message in sent:
            event: Any = next(iter(self.spread(group_id, message, by=by).values())).event
            self.others[group_id] = {}  # who is no device deletes the key with the first message (§6.5.3)
            sealing = self._sealing(self[by].emulation, before, event.sealing, APPLICATION)
            self._note("message", by, application_data=data.hex(), message=message.hex(), sealing=sealing)
        self.others[group_id] = people


def begun(before: Group, group: Group, commit_secret: bytes, *, init: bytes | None = None) -> Entry:
    """The epoch that a commit begins, from the one that it ends."""
    suite, context = group.suite, group.public.context.encoded
    secret = before.secrets.init if init is None else type(before.secrets.init)(init)
    joiner = joiner_secret(suite, secret, CommitSecret(commit_secret), context)
    none = PskSecret(bytes(suite.hash_size))
    assert enter_epoch(suite, joiner, none, context).secrets.authenticator == group.authenticator
    epoch = suite.expand_with_label(member_secret(suite, joiner, none), b"epoch", context, suite.hash_size)
    return described(group, joiner.raw, EpochSecret(epoch))


def described(group: Group, joiner: bytes | None, epoch_secret: EpochSecret) -> Entry:
    return {
        "leaf_index": group.own_leaf,
        "leaf_count": group.public.tree.leaf_count,
        "group_context": group.public.context.encoded.hex(),
        **({} if joiner is None else {"joiner_secret": joiner.hex()}),
        "epoch_secret": epoch_secret.raw.hex(),
        "confirmation_tag": group.public.confirmation_tag.hex(),
        "epoch_authenticator": group.authenticator.hex(),
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
