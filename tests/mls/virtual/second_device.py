"""draft-ietf-mls-virtual-clients a second time: a device that reads a run of emulation.json, and nothing else.

Nothing of `mls` is imported. `Device` goes through a run in its order, as a device would that is told what each message
leads to: it derives every secret from those before it, opens every message, verifies every signature of the virtual
client, and compares. What a device could not know (path secrets of other devices' commits in the emulation group) it
takes from the file, and sees it confirmed by the epoch.

Conversations are linear in a run, so one epoch of each is kept.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.mls.virtual.ladder import Ladder, imported, number, var
from tests.mls.virtual.second_crypto import MLS, Nn, Permutation, Suite
from tests.mls.virtual.second_structs import (
    ADD,
    COMMITTED,
    EXTERNAL_INIT,
    EXTERNAL_PUB,
    KEY_PACKAGE,
    REMOVE,
    UPDATE,
    UPDATE_PROPOSAL,
    Commit,
    Context,
    KeyPackage,
    Leaf,
    Proposal,
    Reader,
    Updated,
    dictionary,
    message,
    read_commit,
)
from tests.mls.virtual.second_writing import (
    APPLICATION,
    COMMIT,
    GROUP_INFO,
    Content,
    Entry,
    Epoch,
    GroupInfo,
    Outside,
    open_message,
    open_welcome,
)

VIRTUAL_CLIENTS = 0x667A


@dataclass(frozen=True)
class Derivation:
    """An emulation epoch to derive in."""

    suite: Suite
    secret: bytes
    leaf_count: int
    bit_order: str

    def derive(self, label: bytes) -> bytes:
        return self.suite.derive(self.secret, label)

    @property
    def epoch_id(self) -> bytes:
        return self.derive(b"Epoch ID")

    def operation(self, told: Entry) -> bytes:
        ladder = Ladder(self.suite.cipher_suite, self.derive(b"Base Secret"), self.epoch_id, self.leaf_count)
        context = bytes.fromhex(told["operation_context"])
        return ladder.secret(told["leaf_index"], told["operation_type"], told["generation"], context)

    def open_info(self, encryption_key: bytes, info: bytes) -> bytes:
        reader = Reader(info)
        assert reader.var() == self.epoch_id
        sealed, suite, secret = reader.var(), self.suite, self.derive(b"Encryption Key")
        reader.finish()
        key = suite.expand(secret, b"key", var(encryption_key), suite.numbers.key_size)
        nonce = suite.expand(secret, b"nonce", var(encryption_key), Nn)
        plain = suite.open(key, nonce, self.epoch_id, sealed)
        assert suite.seal(key, nonce, self.epoch_id, plain) == sealed
        return plain


def safe_export(suite: Suite, secret: bytes, component: int) -> bytes:
    """mls-extensions §4.4: a leaf of a tree of 16 levels."""
    for bit in f"{component:016b}":
        secret = suite.expand(secret, b"tree", b"right" if bit == "1" else b"left")
    return secret


def reference(suite: Suite, label: bytes, value: bytes) -> bytes:
    return suite.hash(var(MLS + label) + var(value))


class Device:
    """What is known on the way through a run."""

    def __init__(self, run: Entry) -> None:
        self.run = run
        self.suite = Suite(run["emulation_cipher_suite"])
        self.derived = {"derived": True, "distributed": False}[run["signature_keys"]]
        self.with_extensions = {"draft": True, "without extensions": False}[run["upload_form"]]
        self.derivations: dict[str, Derivation] = {}
        self.newest: dict[int, str] = {}
        self.epochs: dict[bytes, Epoch] = {}
        self.packages: dict[str, tuple[KeyPackage, bytes]] = {}
        self.updates: dict[bytes, tuple[Updated, bytes]] = {}
        self.nonces: set[tuple[bytes, bytes]] = set()
        self.uploads: list[str] = []

    def walk(self) -> None:
        self.emulation()
        acts = {
            "key_packages": self.key_packages,
            "welcome": self.welcome,
            "creation": self.creation,
            "commit": self.commit,
            "external_commit": self.external_commit,
            "update": self.update,
            "followed": self.followed,
            "message": self.message,
        }
        for act in self.run["acts"]:
            acts[act["act"]](act)
        assert all(upload in [act.get("key_package_upload") for act in self.run["acts"]] for upload in self.uploads)

    # The emulation group

    def emulation(self) -> None:
        """From the listener's Welcome on."""
        first, *others = self.run["emulation_epochs"]
        listener = self.run["listener"]
        private = {name: bytes.fromhex(listener[f"{name}_priv"]) for name in ("init", "encryption", "signature")}
        encoded = bytes.fromhex(listener["key_package"])
        package = self._key_package(encoded, self.suite, private["init"])
        assert self.suite.public(private["encryption"]) == package.leaf.encryption_key
        assert self.suite.signature_public(private["signature"]) == package.leaf.signature_key
        named = reference(self.suite, b"KeyPackage Reference", encoded)
        epoch = self._joined(self.suite, bytes.fromhex(listener["welcome"]), named, private["init"], first["begins"])
        assert epoch.leaf.encoded == package.leaf.encoded
        self._derives(first, epoch, due=True)
        for told in others:
            content = open_message(epoch, bytes.fromhex(told["commit"]))
            assert content.sender == told["committer"]
            commit = read_commit(Reader(content.body))
            secret = bytes.fromhex(told["commit_secret"])
            assert commit.leaf is not None or secret == bytes(self.suite.size)
            entered = epoch.enter(epoch.derive(b"init"), secret, content, told["begins"], {})
            assert entered.leaf_index == epoch.leaf_index
            devices = any(isinstance(each, Proposal) and each.type in (ADD, REMOVE) for each in commit.proposals)
            marked = self._actions(content.authenticated_data, told)
            self._derives(told, entered, due=devices or marked)
            epoch = entered

    def _actions(self, authenticated_data: bytes, told: Entry) -> bool:
        """Whether the commit asks for an epoch to derive in; uploads must be those that the file says."""
        items = dict(Reader(authenticated_data).all(lambda r: (r.number(2), r.var())))
        data = items.get(VIRTUAL_CLIENTS)
        actions = [] if data is None else Reader(data).all(self._action)
        uploads = [action for action in actions if action]
        assert (data if uploads else None) == (bytes.fromhex(told["uploads"]) if "uploads" in told else None)
        self.uploads += [upload.hex() for upload in uploads]
        return b"" in actions

    def _action(self, reader: Reader) -> bytes:
        """An upload, or nothing for the mark."""
        kind = reader.number(1)
        assert kind in (1, 2)
        start = reader.at
        if kind == 1:
            reader.var()
            reader.take(8)
            reader.var()
        return reader.since(start)

    def _derives(self, told: Entry, epoch: Epoch, *, due: bool) -> None:
        assert told["derives"] == due
        number_ = epoch.context.epoch
        if not due:
            self.newest[number_] = self.newest[number_ - 1]
            return
        root = epoch.derive(b"application_export")
        assert root.hex() == told["application_export_secret"]
        secret = safe_export(self.suite, root, VIRTUAL_CLIENTS)
        assert secret.hex() == told["emulator_epoch_secret"]
        derivation = Derivation(self.suite, secret, epoch.leaf_count, self.run["bit_order"])
        assert derivation.epoch_id.hex() == told["epoch_id"]
        self.derivations[told["epoch_id"]] = derivation
        self.newest[number_] = told["epoch_id"]

    # What acts have in common

    def _key_package(self, encoded: bytes, suite: Suite, init_private: bytes) -> KeyPackage:
        reader = Reader(encoded)
        package = KeyPackage.read(reader)
        reader.finish()
        package.verify(suite)
        assert suite.public(init_private) == package.init_key
        return package

    def _joined(self, suite: Suite, welcome: bytes, named: bytes, init_private: bytes, begins: Entry) -> Epoch:
        joiner, info = open_welcome(suite, welcome, named, init_private)
        assert info.context.encoded.hex() == begins["group_context"]
        assert info.confirmation_tag.hex() == begins["confirmation_tag"]
        return Epoch.joined(info.tree, joiner, begins)

    def _imported(self, act: Entry, by: Entry, suite: Suite, leaf: Leaf, group_id: bytes) -> tuple[bytes, Reader]:
        """The secret that a leaf's keys come from, and what is left to read of its DerivationInfoTBE."""
        told = by["operation"]
        assert told["epoch_id"] == self.newest[act["emulation_epoch"]]
        assert told["leaf_index"] == act["device"]
        derivation = self.derivations[told["epoch_id"]]
        info = dictionary(leaf.extensions)[VIRTUAL_CLIENTS]
        assert info.hex() == by["derivation_info"]
        plain = derivation.open_info(leaf.encryption_key, info)
        assert plain.hex() == by["derivation_info_tbe"]
        rest = Reader(plain)
        assert (rest.number(4), rest.number(4)) == (told["leaf_index"], told["generation"])
        assert told["operation_type"] == {KEY_PACKAGE: 1, UPDATE: 2, COMMITTED: 2}[leaf.source]
        assert bytes.fromhex(told["operation_context"]) == (b"" if leaf.source == KEY_PACKAGE else group_id)
        secret = derivation.operation(told)
        assert secret.hex() == told["operation_secret"]
        if leaf.source == KEY_PACKAGE:
            name, label, context = "key_package_seed_secret", b"vc key package seed", rest.take(4)
            assert context == number(by.get("key_package_index", 0), 4)
        else:
            name, label, context = "target_operation_secret", b"vc target operation", var(group_id)
        secret = imported(suite.cipher_suite, secret, label, context)
        assert secret.hex() == by[name]
        private = suite.derive_private(suite.derive(secret, b"Encryption Key"))
        assert private.hex() == by["encryption_priv"]
        assert suite.public(private) == leaf.encryption_key
        signer = bytes.fromhex(by["signature_priv"])
        assert suite.signature_public(signer) == leaf.signature_key
        assert (suite.derived_signature_private(secret) == signer) == self.derived
        return secret, rest

    def _said(self, act: Entry, epoch: Epoch, content: Content) -> None:
        """That the virtual client said it, and this device of it."""
        assert content.sender == epoch.leaf_index
        found = content.sealing
        assert (found is not None) == ("sealing" in act)
        if found is None:
            return
        told = act["sealing"]
        info = Reader(dictionary(epoch.leaf.extensions)[VIRTUAL_CLIENTS])
        assert info.var().hex() == told["epoch_id"]
        derivation = self.derivations[told["epoch_id"]]
        suite = derivation.suite
        assert found.generation == told["generation"]
        assert found.nonce.hex() == told["key_schedule_nonce"]
        assert found.reuse_guard.hex() == told["reuse_guard"]
        key = suite.expand(derivation.derive(b"Reuse Guard"), b"reuse guard", found.nonce, 16)
        assert key.hex() == told["prp_key"]
        permutation = Permutation(key, derivation.bit_order)
        x = permutation.decrypt(int.from_bytes(found.reuse_guard, "big"))
        assert f"{x:08x}" == told["x"]
        assert permutation.encrypt(x) == int.from_bytes(found.reuse_guard, "big")
        assert x % derivation.leaf_count == act["device"]
        assert told["ratchet_type"] == (1 if content.content_type == APPLICATION else 2)
        at = number(found.generation, 4) + number(told["ratchet_type"], 1)
        context = var(epoch.context.group_id) + number(epoch.context.epoch, 8) + at
        name = suite.expand(derivation.derive(b"Generation ID Secret"), b"generation id", context)
        assert name.hex() == told["generation_id"]
        assert (found.nonce, found.reuse_guard) not in self.nonces
        self.nonces.add((found.nonce, found.reuse_guard))

    def _at(self, data: bytes) -> Epoch:
        """The epoch that a message is of."""
        return self.epochs[message(data, data[3]).var()]

    def _path(self, suite: Suite, first: bytes, commit: Commit, act: Entry) -> bytes:
        """The commit secret of a path that begins with this secret."""
        secret, secrets = first, []
        for public, _ in commit.nodes:
            assert suite.public(suite.derive_private(suite.derive(secret, b"node"))) == public
            secrets.append(secret.hex())
            secret = suite.derive(secret, b"path")
        assert secrets == act["path_secrets"]
        return secret

    # Acts

    def key_packages(self, act: Entry) -> None:
        first = act["key_packages"][0]["operation"]
        infos = b""
        for told in act["key_packages"]:
            suite = Suite(told["cipher_suite"])
            encoded, private = bytes.fromhex(told["key_package"]), bytes.fromhex(told["init_priv"])
            package = self._key_package(encoded, suite, private)
            seed, rest = self._imported(act, told, suite, package.leaf, b"")
            rest.finish()
            assert suite.derive_private(suite.derive(seed, b"Init Key")) == private
            named = reference(suite, b"KeyPackage Reference", encoded)
            assert named.hex() == told["key_package_ref"]
            assert told["operation"] == first
            self.packages[named.hex()] = (package, private)
            infos += var(named) + number(suite.cipher_suite, 2) + number(told["key_package_index"], 4)
            infos += package.extensions if self.with_extensions else b""
        head = var(bytes.fromhex(first["epoch_id"])) + number(first["leaf_index"], 4) + number(first["generation"], 4)
        assert (head + var(infos)).hex() == act["key_package_upload"]

    def welcome(self, act: Entry) -> None:
        named = act["key_package_ref"]
        package, private = self.packages.pop(named)
        suite = Suite(package.cipher_suite)
        epoch = self._joined(suite, bytes.fromhex(act["welcome"]), bytes.fromhex(named), private, act["begins"])
        assert epoch.leaf.encoded == package.leaf.encoded
        self.epochs[epoch.context.group_id] = epoch

    def creation(self, act: Entry) -> None:
        suite = Suite(self.run["cipher_suite"])
        info = GroupInfo.read(suite, message(bytes.fromhex(act["group_info"]), GROUP_INFO))
        begins = act["begins"]
        assert (info.context.encoded.hex(), info.context.epoch) == (begins["group_context"], 0)
        assert info.confirmation_tag.hex() == begins["confirmation_tag"]
        epoch = Epoch(info.tree, begins)
        assert epoch.leaf_count == 1
        seed, rest = self._imported(act, act, suite, epoch.leaf, b"")
        rest.finish()
        assert suite.derive(seed, b"Group Creation").hex() == begins["epoch_secret"]
        self.epochs[info.context.group_id] = epoch

    def commit(self, act: Entry) -> None:
        data = bytes.fromhex(act["message"])
        epoch = self._at(data)
        content = open_message(epoch, data)
        assert content.content_type == COMMIT
        self._said(act, epoch, content)
        commit = read_commit(Reader(content.body))
        secret = bytes(epoch.suite.size)
        assert (commit.leaf is not None) == ("operation" in act)
        if commit.leaf is not None:
            operation, rest = self._imported(act, act, epoch.suite, commit.leaf, epoch.context.group_id)
            assert rest.number(1) == 0
            rest.finish()
            secret = self._path(epoch.suite, epoch.suite.derive(operation, b"Path Generation"), commit, act)
        assert secret.hex() == act["commit_secret"]
        entered = epoch.enter(epoch.derive(b"init"), secret, content, act["begins"], {})
        self.epochs[entered.context.group_id] = entered

    def external_commit(self, act: Entry) -> None:
        suite = Suite(self.run["cipher_suite"])
        info = GroupInfo.read(suite, message(bytes.fromhex(act["group_info"]), GROUP_INFO))
        private = suite.derive_private(bytes.fromhex(act["external_secret"]))
        assert Reader(info.extensions[EXTERNAL_PUB]).var() == suite.public(private)
        before = Outside(info.context, info.tree, info.confirmation_tag)
        content = open_message(before, bytes.fromhex(act["message"]))
        commit = read_commit(Reader(content.body))
        assert commit.leaf is not None
        operation, rest = self._imported(act, act, suite, commit.leaf, info.context.group_id)
        assert rest.number(1) == 1
        init = rest.var()
        rest.finish()
        assert init.hex() == act["external_init_secret"]
        (proposal,) = commit.proposals
        assert isinstance(proposal, Proposal)
        assert isinstance(proposal.content, bytes)
        assert proposal.type == EXTERNAL_INIT
        assert suite.external_init(private, proposal.content) == init
        secret = self._path(suite, suite.derive(operation, b"Path Generation"), commit, act)
        assert secret.hex() == act["commit_secret"]
        entered = before.enter(init, secret, content, act["begins"], {})
        assert entered.leaf == commit.leaf
        self.epochs[entered.context.group_id] = entered

    def update(self, act: Entry) -> None:
        data = bytes.fromhex(act["message"])
        epoch = self._at(data)
        content = open_message(epoch, data)
        self._said(act, epoch, content)
        reader = Reader(content.body)
        assert reader.number(2) == UPDATE_PROPOSAL
        leaf = Leaf.read(reader)
        leaf.verify(epoch.suite, epoch.tree.place(epoch.leaf_index))
        _, rest = self._imported(act, act, epoch.suite, leaf, epoch.context.group_id)
        rest.finish()
        named = reference(epoch.suite, b"Proposal Reference", content.transcript)
        assert named.hex() == act["proposal_ref"]
        self.updates[named] = ((epoch.leaf_index, leaf), bytes.fromhex(act["encryption_priv"]))

    def followed(self, act: Entry) -> None:
        """Somebody else's commit, with our Update; its path secret is sealed to the Update's leaf first."""
        data = bytes.fromhex(act["message"])
        epoch = self._at(data)
        suite = epoch.suite
        content = open_message(epoch, data)
        commit = read_commit(Reader(content.body))
        (named,) = commit.proposals
        assert isinstance(named, bytes)
        updated, private = self.updates.pop(named)
        public, sealed = commit.nodes[-1]
        begins = act["begins"]
        context = Context.read(Reader(bytes.fromhex(begins["group_context"]))).provisional(epoch.context.confirmed)
        secret = suite.decrypt_with_label(private, b"UpdatePathNode", context, *sealed[0])
        assert secret.hex() == act["path_secret"]
        assert suite.public(suite.derive_private(suite.derive(secret, b"node"))) == public
        secret = suite.derive(secret, b"path")
        assert secret.hex() == act["commit_secret"]
        entered = epoch.enter(epoch.derive(b"init"), secret, content, begins, {named: updated})
        assert entered.leaf == updated[1]
        self.epochs[entered.context.group_id] = entered

    def message(self, act: Entry) -> None:
        data = bytes.fromhex(act["message"])
        epoch = self._at(data)
        content = open_message(epoch, data)
        self._said(act, epoch, content)
        assert content.content_type == APPLICATION
        assert Reader(content.body).var().hex() == act["application_data"]
