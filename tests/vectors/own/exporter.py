"""Known answers for the safe exporter, application PSKs, and groups whose commits carry application data.

`python -m tests.vectors.own.exporter` writes exporter.json, which docs/vectors.md describes. The exporter's secrets
are found here by walking a whole branch from the root, without `mls.puncture`. The groups are lives as a passive client
sees them, in the working group's format with a few fields more; an implementation that follows one has checked
AppDataUpdate, AppEphemeral, SelfRemove, SafeAAD and the exporter of every epoch. Suites that sign with ECDSA give other
bytes each time it is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from mls import group as front
from mls.codec import u16
from mls.commit import Committed
from mls.components.aad import encode_items
from mls.components.dictionary import dictionary_extension
from mls.components.lists import ComponentsList
from mls.components.logic import Components, LastWins, Said
from mls.components.numbers import ComponentId
from mls.framing import encode_message
from mls.leaf_node import Extensions, RequiredCapabilities, default_capabilities
from mls.parameters import Parameters
from mls.proposals import Add, AppDataUpdate, AppEphemeral, GroupContextExtensions, SelfRemove
from mls.psk import ApplicationPskId, ExternalPskId, PreSharedKeyId, psk_secret
from mls.puncture import Puncturable
from mls.registries import CipherSuite, HybridSuite, ProposalType, WireFormat
from mls.schedule import EXPORTER_TREE
from mls.suite import Suite
from tests.mls.clients import Client, Psks, client, environment
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")

LAST, ALL = ComponentId(0x8001), ComponentId(0x8002)
"""A component whose newest update is its data, and one whose data is all updates in their order."""
ORDER = (LAST, 0, 0xFFFF, ALL, 1)
WHOLE = 1_200
"""A longer state appears by its hash alone."""

Json = dict[str, Any]


class Appended:
    """Keeps everything that it is told."""

    def update(self, old: bytes | None, updates: Sequence[Said]) -> bytes:
        return b"".join([old or b"", *[said.data for said in updates]])

    def remove(self, old: bytes, by: Said) -> None:
        pass

    def ephemeral(self, said: Said) -> None:
        pass


PARAMETERS = Parameters(components=Components(logic={LAST: LastWins(outside=True), ALL: Appended()}))
PSK = {u16(LAST) + b"password": b"correct horse"}


def generate() -> Json:
    suites = (*CipherSuite, HybridSuite.MLKEM768X25519_AES128GCM_SHA256_ED25519)
    return {**generate_fixed(), "groups": [life(suite) for suite in suites]}


def generate_fixed() -> Json:
    """The part without signatures, which is the same each time."""
    suites = (*CipherSuite, *HybridSuite)
    return {"exporter": [_exporter(suite) for suite in suites], "psk": [_psk(suite) for suite in suites]}


def state_of(tree: Puncturable, suite: Suite) -> Json:
    data = tree.pprf_state(suite)
    shown: Json = {"length": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    return {**shown, "bytes": data.hex()} if len(data) <= WHOLE else shown


def _exporter(cipher_suite: int) -> Json:
    provider = SeededProvider(f"exporter {cipher_suite}")
    suite = provider.suite(cipher_suite)
    epoch_secret = provider.random(suite.hash_size)
    root = suite.derive_secret(epoch_secret, b"application_export")
    tree = Puncturable.of(root, 16)
    exports = []
    for component in ORDER:
        _, tree = tree.evaluate(suite, component)
        exports.append(
            {"component_id": component, "secret": leaf_secret(suite, root, component).hex()}
            | {"pprf_state": state_of(tree, suite)}
        )
    return {
        "cipher_suite": int(cipher_suite),
        "epoch_secret": epoch_secret.hex(),
        "application_export_secret": root.hex(),
        "exports": exports,
    }


def leaf_secret(suite: Suite, root: bytes, component: int) -> bytes:
    """RFC 9420 §9 from the root down, by the bits of the number."""
    secret = root
    for bit in f"{component:016b}":
        secret = suite.expand_with_label(secret, b"tree", b"right" if bit == "1" else b"left", suite.hash_size)
    return secret


def _psk(cipher_suite: int) -> Json:
    """The psk_secret of three keys, of which two have one name."""
    provider = SeededProvider(f"application psk {cipher_suite}")
    suite = provider.suite(cipher_suite)
    ids: list[PreSharedKeyId] = [
        ApplicationPskId(LAST, b"password", provider.random(suite.hash_size)),
        ExternalPskId(b"password", provider.random(suite.hash_size)),
        ApplicationPskId(ALL, b"", provider.random(suite.hash_size)),
    ]
    psks = [(psk_id, provider.random(length)) for psk_id, length in zip(ids, (32, 13, 64), strict=True)]
    return {
        "cipher_suite": int(cipher_suite),
        "psks": [{"id": psk_id.encode().hex(), "psk": psk.hex()} for psk_id, psk in psks],
        "psk_secret": psk_secret(suite, psks).raw.hex(),
    }


# ---------------------------------------------------------------- groups, as one who listens sees them

_LISTS = {1: ComponentsList.of((1, 2, LAST, ALL)).encode(), 2: ComponentsList.of((LAST, ALL)).encode()}
LEAF: Extensions = (dictionary_extension(_LISTS),)
GROUP: Extensions = (dictionary_extension({1: ComponentsList.of((LAST, ALL)).encode(), LAST: b"at first"}),)


def _client(name: str, cipher_suite: int) -> Client:
    suites = default_capabilities().cipher_suites
    listed = suites if cipher_suite in suites else (*suites, cipher_suite)
    able = default_capabilities(listed, extensions=(6,), proposals=(8, 9, 10))
    return client(name, cipher_suite, capabilities=able, parameters=PARAMETERS)


class Life:
    """Members by name; the listener is one of them, and never says anything."""

    def __init__(self, cipher_suite: int) -> None:
        self.env = environment(f"application data {cipher_suite}", psks=Psks(PSK))
        self.cipher_suite = cipher_suite
        self.groups: dict[str, front.Group] = {}
        self.proposals: list[bytes] = []

    def deliver(self, message: bytes, by: str) -> list[front.Event]:
        events = []
        for name, group in self.groups.items():
            if name != by:
                event = front.receive(group, self.env, message)
                self.groups[name] = event.group
                events.append(event)
        self.groups = {name: group for name, group in self.groups.items() if group.ended is None}
        return events

    def propose(self, by: str, proposal: Any, **options: Any) -> None:
        self.groups[by], message, _ = front.propose(self.groups[by], self.env, proposal, **options)
        self.deliver(message, by)
        self.proposals.append(message)

    def commit(self, by: str, *values: Any, **options: Any) -> Committed:
        sent = front.commit(self.groups[by], self.env, proposals=values, **options)
        self.deliver(sent.message, by)
        self.groups[by] = sent.group
        return sent

    def epoch(self, commit: bytes) -> Json:
        """What the listener must come to after these proposals and this commit."""
        group = self.groups["listener"]
        entry = {
            "proposals": [message.hex() for message in self.proposals],
            "commit": commit.hex(),
            "epoch_authenticator": group.authenticator.hex(),
            **described(group),
        }
        self.proposals = []
        return entry


def described(group: front.Group) -> Json:
    """The application data of an epoch, and what two components export in it."""
    exports = []
    for component in (LAST, ALL):
        group, secret = front.safe_export(group, component)
        exports.append({"component_id": component, "secret": secret.raw.hex()})
    return {
        "extensions": [[each.type, each.data.hex()] for each in group.public.context.extensions],
        "component_data": [[number, data.hex()] for number, data in group.public.context.dictionary.entries],
        "exports": exports,
        "pprf_state": state_of(group.trees[EXPORTER_TREE], group.suite),
    }


def life(cipher_suite: int) -> Json:
    one = Life(cipher_suite)
    env = one.env
    people = {name: _client(name, cipher_suite) for name in ("anna", "ben", "cleo", "dora", "listener")}
    packages = {name: each.package(env, leaf_extensions=LEAF) for name, each in people.items() if name != "anna"}
    one.groups["anna"] = people["anna"].create(env, b"application data", extensions=GROUP, leaf_extensions=LEAF)
    sent = one.commit("anna", *[Add(package.key_package) for package in packages.values()])
    for name, package in packages.items():
        one.groups[name] = people[name].join(env, sent.welcome, [package])
    own = packages["listener"]
    case: Json = {
        "cipher_suite": int(cipher_suite),
        "application_psks": [
            {"component_id": LAST, "psk_id": b"password".hex(), "psk": PSK[u16(LAST) + b"password"].hex()}
        ],
        "key_package": encode_message(WireFormat.KEY_PACKAGE, own.key_package.encoded).hex(),
        "signature_priv": own.signature_private.raw.hex(),
        "encryption_priv": own.leaf_private.raw.hex(),
        "init_priv": own.init_private.raw.hex(),
        "welcome": (sent.welcome or b"").hex(),
        "ratchet_tree": None,
        "initial_epoch_authenticator": one.groups["listener"].authenticator.hex(),
        **{f"initial_{name}": value for name, value in described(one.groups["listener"]).items()},
    }
    case["epochs"] = [one.epoch(commit) for commit in _steps(one, people)]
    return case


def _steps(one: Life, people: dict[str, Client]) -> Any:
    env = one.env
    # By value, without a path; the second of two updates stays.
    yield one.commit("anna", AppDataUpdate(LAST, b"once"), AppDataUpdate(LAST, b"again")).message
    # By reference, of two members, in the order of the commit; with an AppEphemeral.
    one.propose("ben", AppDataUpdate(ALL, b"b"))
    one.propose("cleo", AppDataUpdate(ALL, b"c"))
    one.propose("ben", AppEphemeral(LAST, b"heard once"))
    yield one.commit("dora", AppDataUpdate(ALL, b"d"), encrypt=False).message
    # From here on authenticated data is a SafeAAD.
    yield one.commit("ben", AppDataUpdate(ComponentId(2), ComponentsList.of((LAST,)).encode())).message
    one.propose("cleo", SelfRemove(), authenticated_data=encode_items({LAST: b"goodbye"}))
    yield one.commit("dora", authenticated_data=encode_items({LAST: b"noted", ALL: b""})).message
    yield one.commit("anna", front.application_psk(one.groups["anna"], env, LAST, b"password")).message
    # Other extensions beside a removal; after this, only AppDataUpdate changes application data.
    kept = one.groups["anna"].public.context.extensions
    required = RequiredCapabilities((6,), (ProposalType.APP_DATA_UPDATE,), ()).extension()
    yield one.commit("anna", GroupContextExtensions((required, *kept)), AppDataUpdate(LAST, None)).message
    # Somebody joins from outside, carries out a wish to leave, and brings data.
    one.propose("ben", SelfRemove())
    info = front.group_info(one.groups["anna"])
    newcomer = replace(people["cleo"], name="erik", signer=_client("erik", one.cipher_suite).signer)
    joined = newcomer.join_externally(
        env,
        info,
        leaf_extensions=LEAF,
        self_removes=one.proposals,
        app_data=[AppDataUpdate(LAST, b"from outside"), AppEphemeral(ALL, b"hello")],
    )
    one.deliver(joined.message, "erik")
    one.groups["erik"] = joined.group
    yield joined.message
    yield one.commit("erik", AppDataUpdate(ComponentId(2), None), encrypt=False).message
    yield one.commit("erik", authenticated_data=b"free text", force_path=True).message


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
