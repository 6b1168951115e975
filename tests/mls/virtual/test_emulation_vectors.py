"""Runs of a virtual client as emulation.json has them: made again, followed by this code, and followed without it."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature, InvalidTag

from mls import group as front
from mls.codec import decode_exactly
from mls.key_package import KeyPackage, KeyPackageSecrets
from mls.registries import LeafIndex
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.state import Group
from mls.virtual import client as vc, devices
from mls.virtual.actions import Form, KeyPackageUpload
from mls.virtual.announcements import Created, JoinedExternally
from mls.virtual.ff1 import BitOrder
from mls.virtual.membership import device_parameters
from mls.virtual.settings import Profile, Settings, SignaturePolicy
from mls.virtual.stock import take_in
from tests.mls.clients import DEFAULT, environment
from tests.mls.virtual import ladder, second_crypto, second_device, second_structs, second_writing
from tests.mls.virtual.second_device import Device
from tests.vectors.own import emulation as vectors

RUNS: list[dict[str, Any]] = json.loads(vectors.PATH.read_text())
NAMES = [f"{run['emulation_cipher_suite']}-{run['cipher_suite']}-{run['signature_keys']}" for run in RUNS]
each_run = pytest.mark.parametrize("run", RUNS, ids=NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(RUNS)), ids=NAMES)
def test_the_code_makes_the_same_run(number: int) -> None:
    assert vectors.Run(*vectors.RUNS[number]).played() == RUNS[number]


def test_what_runs_there_are() -> None:
    assert len(vectors.RUNS) == len(RUNS)
    assert {run["emulation_cipher_suite"] for run in RUNS} >= {1, 2, 3, 7}
    assert any(run["emulation_cipher_suite"] != run["cipher_suite"] for run in RUNS)
    for name in ("signature_keys", "upload_form", "bit_order"):
        assert len({run[name] for run in RUNS}) == 2


# A second writing

STUMBLES = (AssertionError, InvalidTag, InvalidSignature, LookupError, ValueError)
"""What may come up first where bytes are not what they were."""


@pytest.mark.parametrize("room", [ladder, second_crypto, second_structs, second_writing, second_device])
def test_it_has_nothing_of_the_first(room: ModuleType) -> None:
    assert room.__file__ is not None
    allowed = {"__future__", "collections", "cryptography", "dataclasses", "functools", "hashlib", "hmac", "typing"}
    for node in ast.walk(ast.parse(Path(room.__file__).read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            own = name.startswith(("tests.mls.virtual.second_", "tests.mls.virtual.ladder"))
            assert own or name.split(".")[0] in allowed


@each_run
def test_a_second_writing_follows(run: dict[str, Any]) -> None:
    Device(run).walk()


def places(value: object, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*at, key))
    elif at[-1] != "emulation_epoch":  # of which several may do: until something new is derived, they are alike
        yield at


def another(value: bool | int | str) -> bool | int | str:
    if isinstance(value, str):
        middle = len(value) // 2
        other = "1" if value[middle : middle + 1] == "0" else "0"
        return value[:middle] + other + value[middle + 1 :] if value else "00"
    return not value if isinstance(value, bool) else value + 1


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))
def test_no_value_can_be_another(part: int) -> None:
    """Every one of them is compared with something, or that the second writing follows would say little."""
    (run,) = [run for run, name in zip(RUNS, NAMES, strict=True) if name == "1-1-distributed"]
    for at in list(places(run))[part::4]:
        changed = deepcopy(run)
        holder: Any = changed
        for key in at[:-1]:
            holder = holder[key]
        holder[at[-1]] = another(holder[at[-1]])
        with pytest.raises(STUMBLES):
            Device(changed).walk()


# This code


class Listener:
    """A device of this code that has nothing but the file."""

    def __init__(self, run: dict[str, Any]) -> None:
        profile = Profile(form=Form(run["upload_form"]), bit_order=BitOrder(run["bit_order"]))
        settings = Settings(profile=profile, signatures=SignaturePolicy(run["signature_keys"]))
        self.env = environment("listener")
        self.suite = run["cipher_suite"]
        self.waiting = list(run["emulation_epochs"])
        self.groups: dict[bytes, Group] = {}
        told = run["listener"]
        package = KeyPackageSecrets(
            decode_exactly(bytes.fromhex(told["key_package"]), KeyPackage.decode),
            HpkePrivateKey(bytes.fromhex(told["init_priv"])),
            HpkePrivateKey(bytes.fromhex(told["encryption_priv"])),
            SignaturePrivateKey(bytes.fromhex(told["signature_priv"])),
        )
        parameters = device_parameters(settings, DEFAULT)
        group, _ = front.join(self.env, parameters, bytes.fromhex(told["welcome"]), [package])
        self.emulation = devices.start(settings, group)
        self._entered(self.waiting.pop(0))

    def _entered(self, told: dict[str, Any]) -> None:
        group = self.emulation.group
        assert group.authenticator.hex() == told["begins"]["epoch_authenticator"]
        if told["derives"]:
            assert self.emulation.head.newest.hex() == told["epoch_id"]

    def advance(self, epoch: int) -> None:
        while self.emulation.group.epoch < epoch:
            told = self.waiting.pop(0)
            heard = devices.receive(self.emulation, self.env, bytes.fromhex(told["commit"]))
            assert heard.derives == told["derives"]
            assert heard.actions is not None
            assert bool(heard.actions.uploads) == ("uploads" in told)
            before, self.emulation = self.emulation, heard.emulation
            assert (before.head.newest == self.emulation.head.newest) != told["derives"]
            self._entered(told)

    def act(self, told: dict[str, Any]) -> None:
        self.advance(told["emulation_epoch"])
        if told["act"] == "key_packages":
            self._take_in(told)
            return
        if "signature_priv" in told:
            self._learn(told, self.suite)
        entered: vc.Followed | vc.Joined | None = None
        if told["act"] == "welcome":
            entered = vc.join(self.emulation, self.env, DEFAULT, bytes.fromhex(told["welcome"]))
        elif told["act"] == "creation":
            announced = Created(bytes.fromhex(told["group_info"]))
            entered = vc.follow_creation(self.emulation, self.env, DEFAULT, announced)
        elif told["act"] == "external_commit":
            joined = JoinedExternally(
                group_info=bytes.fromhex(told["group_info"]), commit=bytes.fromhex(told["message"])
            )
            entered = vc.follow_external(self.emulation, self.env, DEFAULT, joined)
        if entered is None:
            group = self._receive(told)
        else:
            self.emulation, group = entered.emulation, entered.group
            if isinstance(entered, vc.Followed):
                assert entered.author is not None
                assert entered.author.leaf == told["device"]
        self.groups[group.group_id] = group
        if "begins" in told:
            assert group.public.context.encoded.hex() == told["begins"]["group_context"]
            assert group.authenticator.hex() == told["begins"]["epoch_authenticator"]

    def _take_in(self, told: dict[str, Any]) -> None:
        form = self.emulation.settings.profile.form
        upload = decode_exactly(
            bytes.fromhex(told["key_package_upload"]), lambda reader: KeyPackageUpload.decode(reader, form)
        )
        for package in told["key_packages"]:
            self._learn(package, package["cipher_suite"])
        self.emulation = take_in(self.emulation, self.env, upload, sender=LeafIndex(told["device"]))
        for package in told["key_packages"]:
            material = {reference.hex(): each for reference, each in self.emulation.stock.items()}
            assert material[package["key_package_ref"]].seed.raw.hex() == package["key_package_seed_secret"]

    def _learn(self, told: dict[str, Any], suite: int) -> None:
        if self.emulation.settings.signatures is SignaturePolicy.DISTRIBUTED:
            private = SignaturePrivateKey(bytes.fromhex(told["signature_priv"]))
            public = self.env.suite(suite).scheme.public_key(private)
            self.emulation = self.emulation.with_key(suite, public, private)

    def _receive(self, told: dict[str, Any]) -> Group:
        message = bytes.fromhex(told["message"])
        group_id = front.peek(message).group_id
        assert group_id is not None
        heard = vc.receive(self.emulation, self.groups[group_id], self.env, message)
        assert heard.ours == ("device" in told)
        if "sealing" in told:
            assert heard.author is not None
            assert heard.author.leaf == told["device"]
            made_in = told.get("operation", told["sealing"])["epoch_id"]
            assert heard.author.epoch_id.hex() == made_in
        self.emulation = heard.emulation
        return heard.event.group


@each_run
def test_this_code_follows(run: dict[str, Any]) -> None:
    listener = Listener(run)
    for told in run["acts"]:
        listener.act(told)
    listener.advance(run["acts"][-1]["emulation_epoch"])
    assert not listener.waiting
    assert len(listener.groups) == 3
