"""mls-extensions: our own known answers, which are written without the code that they are asked of here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from mls.codec import Reader, decode_exactly
from mls.components import aad
from mls.components.ack import AppAck, MessageRange
from mls.components.dictionary import Dictionary
from mls.components.labels import operation_label, safe_open, safe_seal, safe_sign, safe_verify
from mls.components.lists import ComponentsList, WireFormats
from mls.components.media import ApplicationFraming, MediaType, MediaTypeList, Parameter
from mls.components.numbers import ComponentId
from mls.registries import CipherSuite, Generation, HybridSuite, LeafIndex
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from tests.mls.refusals import refused
from tests.providers import SeededProvider
from tests.vector_files import load
from tests.vectors.own import components as own

VECTORS: dict[str, Any] = load(own.PATH)  # type: ignore[assignment]  # an object, where the working group has lists


def pairs(value: list[list[Any]]) -> tuple[tuple[ComponentId, bytes], ...]:
    return tuple((ComponentId(component), bytes.fromhex(data)) for component, data in value)


def media_type(value: dict[str, Any]) -> MediaType:
    parameters = [Parameter(name.encode(), text.encode()) for name, text in value["parameters"]]
    return MediaType(value["type"].encode(), tuple(parameters))


def message_range(value: list[int]) -> MessageRange:
    sender, first, last = value
    return MessageRange(LeafIndex(sender), Generation(first), Generation(last))


def decode_aad(reader: Reader) -> tuple[tuple[ComponentId, bytes], ...]:
    return aad.decode_items(reader.take(reader.end - reader.pos))


Struct = tuple[Callable[[Any], Any], Callable[[Any], bytes], Callable[[Reader], Any]]

STRUCTS: dict[str, Struct] = {
    "AppDataDictionary": (lambda value: Dictionary(pairs(value)), Dictionary.encode, Dictionary.decode),
    "SafeAAD": (pairs, lambda items: aad.encode_items(dict(items)), decode_aad),
    "ComponentsList": (lambda value: ComponentsList(tuple(value)), ComponentsList.encode, ComponentsList.decode),
    "WireFormats": (lambda value: WireFormats(tuple(value)), WireFormats.encode, WireFormats.decode),
    "MediaType": (media_type, MediaType.encode, MediaType.decode),
    "MediaTypeList": (
        lambda value: MediaTypeList(tuple(media_type(each) for each in value)),
        MediaTypeList.encode,
        MediaTypeList.decode,
    ),
    "ApplicationFraming": (
        lambda value: ApplicationFraming(
            media_type(value["media_type"]), bytes.fromhex(value["inner_application_content"])
        ),
        ApplicationFraming.encode,
        ApplicationFraming.decode,
    ),
    "AppAck": (
        lambda value: AppAck(tuple(message_range(each) for each in value)),
        AppAck.encode,
        AppAck.decode,
    ),
}


def test_the_file_is_what_its_module_writes() -> None:
    made = own.generate()
    assert made["structs"] == VECTORS["structs"]
    assert made["refused"] == VECTORS["refused"]
    classical = [case for case in VECTORS["labels"] if case["cipher_suite"] <= max(CipherSuite)]
    assert made["labels"][: len(classical)] == classical  # the others draw randomness of their own


def test_structs() -> None:
    seen = set()
    for case in VECTORS["structs"]:
        encoded = bytes.fromhex(case["encoded"])
        seen.add(case["struct"])
        if case["struct"] == "ComponentOperationLabel":
            value = case["value"]
            assert operation_label(value["component_id"], bytes.fromhex(value["label"])) == encoded
        else:
            make, write, read = STRUCTS[case["struct"]]
            value = make(case["value"])
            assert write(value) == encoded
            assert decode_exactly(encoded, read) == value
    assert seen == set(own.WRITERS)


@pytest.mark.parametrize("case", VECTORS["refused"], ids=lambda case: f"{case['struct']}-{case['rule']}")
def test_what_is_refused(case: dict[str, Any]) -> None:
    _, _, read = STRUCTS[case["struct"]]
    refused(case["rule"], partial(decode_exactly, bytes.fromhex(case["encoded"]), read))


@pytest.mark.parametrize("case", VECTORS["labels"], ids=lambda case: f"suite-{case['cipher_suite']:#x}")
def test_labels(case: dict[str, Any]) -> None:
    provider = SeededProvider("component labels")
    suite = provider.suite(case["cipher_suite"])
    component, label = case["component_id"], bytes.fromhex(case["label"])
    assert operation_label(component, label).hex() == case["component_operation_label"]

    sign = {name: bytes.fromhex(value) for name, value in case["safe_sign_with_label"].items()}
    private = SignaturePrivateKey(sign["priv"])
    assert suite.scheme.public_key(private) == sign["pub"]
    assert safe_verify(suite, sign["pub"], component, label, sign["content"], sign["signature"])
    again = safe_sign(suite, private, component, label, sign["content"])
    assert safe_verify(suite, sign["pub"], component, label, sign["content"], again)

    sealed = {name: bytes.fromhex(value) for name, value in case["safe_encrypt_with_label"].items()}
    key = HpkePrivateKey(sealed["priv"])
    assert suite.hpke.public_key(key) == sealed["pub"]
    found = safe_open(suite, key, component, label, sealed["context"], sealed["kem_output"], sealed["ciphertext"])
    assert found == sealed["plaintext"]
    fresh = safe_seal(suite, sealed["pub"], component, label, sealed["context"], b"again", provider.random)
    assert safe_open(suite, key, component, label, sealed["context"], *fresh) == b"again"


def test_every_suite_has_labels() -> None:
    assert [case["cipher_suite"] for case in VECTORS["labels"]] == [*CipherSuite, *HybridSuite]
