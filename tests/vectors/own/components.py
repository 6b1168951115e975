"""Known answers for the component structs and labels of mls-extensions, as its newest text has them.

`python -m tests.vectors.own.components` writes components.json, which docs/vectors.md describes: structs as values and
bytes, bytes that a reader must refuse, and for every suite a signature and a ciphertext by a component's label. It is
written without `mls.components`: values become bytes here by the text's structs alone, so that the tests compare two
ways of doing it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mls.codec import opaque, u16, u32, vector
from mls.registries import CipherSuite, HybridSuite
from tests.providers import SeededProvider

PATH = Path(__file__).with_suffix(".json")

Json = dict[str, Any]


def generate() -> Json:
    return {
        "structs": _structs(),
        "refused": _refused(),
        "labels": [_labels(suite) for suite in (*CipherSuite, *HybridSuite)],
    }


# ---------------------------------------------------------------- structs, from JSON values to bytes


def _pairs(value: list[list[Any]]) -> bytes:
    """ComponentData and SafeAADItem alike."""
    return vector([u16(component) + opaque(bytes.fromhex(data)) for component, data in value])


def _ids(value: list[int]) -> bytes:
    return vector([u16(each) for each in value])


def _media_type(value: Json) -> bytes:
    parameters = [opaque(name.encode()) + opaque(text.encode()) for name, text in value["parameters"]]
    return opaque(value["type"].encode()) + vector(parameters)


def _media_types(value: list[Json]) -> bytes:
    return vector([_media_type(each) for each in value])


def _framing(value: Json) -> bytes:
    return _media_type(value["media_type"]) + opaque(bytes.fromhex(value["inner_application_content"]))


def _app_ack(value: list[list[int]]) -> bytes:
    return vector([b"".join([u32(number) for number in each]) for each in value])


def _label(value: Json) -> bytes:
    return opaque(b"MLS Component") + u16(value["component_id"]) + opaque(bytes.fromhex(value["label"]))


WRITERS: dict[str, Callable[[Any], bytes]] = {
    "ComponentOperationLabel": _label,
    "AppDataDictionary": _pairs,
    "SafeAAD": _pairs,
    "ComponentsList": _ids,
    "WireFormats": _ids,
    "MediaType": _media_type,
    "MediaTypeList": _media_types,
    "ApplicationFraming": _framing,
    "AppAck": _app_ack,
}

_TEXT = {"type": "text/plain", "parameters": [["charset", "UTF-8"]]}
_PNG = {"type": "image/png", "parameters": []}
_QUOTED = {"type": "application/vnd.example.msgbus+cbor", "parameters": [["a", 'say "hi" \\ ;='], ["b", ""]]}
_FIRST: Json = {"type": "", "parameters": []}

_VALUES: dict[str, list[Any]] = {
    "ComponentOperationLabel": [
        {"component_id": 1, "label": ""},
        {"component_id": 0x8001, "label": b"greeting".hex()},
        {"component_id": 0xFFFF, "label": "ff" * 70},
    ],
    "AppDataDictionary": [
        [],
        [[4, ""]],
        [[1, "04000100020a0a"], [2, "00"], [0x0A0A, "cafe"], [0x8001, "00" * 100]],
        [[0, ""], [0xFFFF, "ff"]],
    ],
    "SafeAAD": [[], [[6, "01"]], [[1, ""], [0x667A, b"upload".hex()], [0xFFFF, "00" * 64]]],
    "ComponentsList": [[], [1], [3, 1, 2], [1, 1, 0x7A7A, 0xFFFF], list(range(40))],
    "WireFormats": [[], [6], [6, 0xF000]],
    "MediaType": [_TEXT, _PNG, _QUOTED, _FIRST],
    "MediaTypeList": [[_PNG], [_TEXT, _PNG, _QUOTED]],
    "ApplicationFraming": [
        {"media_type": _TEXT, "inner_application_content": b"hello".hex()},
        {"media_type": _FIRST, "inner_application_content": b"hello".hex()},
        {"media_type": _PNG, "inner_application_content": ""},
    ],
    "AppAck": [[], [[0, 0, 0]], [[1, 0, 9], [1, 11, 11], [70000, 5, 2**32 - 1]], [[2, 3, 4], [1, 0, 0], [2, 4, 5]]],
}


def _structs() -> list[Json]:
    return [
        {"struct": name, "value": value, "encoded": WRITERS[name](value).hex()}
        for name, values in _VALUES.items()
        for value in values
    ]


def _refused() -> list[Json]:
    wrong = [
        ("AppDataDictionary", "EXT-4.6-1", _pairs([[2, ""], [1, ""]])),
        ("AppDataDictionary", "EXT-4.6-1", _pairs([[1, "00"], [1, "00"]])),
        ("AppDataDictionary", "VAL-2.1-5", _pairs([[1, "00"]]) + b"\x00"),
        ("AppDataDictionary", "VAL-2.1-1", opaque(u16(1))),
        ("SafeAAD", "EXT-4.9-1", _pairs([[2, ""], [1, ""]])),
        ("SafeAAD", "EXT-4.9-1", _pairs([[1, "00"], [1, "01"]])),
        ("SafeAAD", "EXT-4.9-2", _pairs([]) + b"unsafe"),
        ("SafeAAD", "VAL-2.1-1", b""),
        ("ComponentsList", "VAL-2.1-1", b"\x03\x00\x01\x00"),
        ("ComponentsList", "VAL-2.1-2", b"\x40\x02\x00\x01"),
        ("WireFormats", "VAL-2.1-1", b"\x01\x00"),
        ("WireFormats", "VAL-2.1-5", b"\x02\x00\x06\x00"),
        ("MediaType", "EXT-6.2-2", _media_type({"type": "text", "parameters": []})),
        ("MediaType", "EXT-6.2-2", _media_type({"type": "*/*", "parameters": []})),
        ("MediaTypeList", "EXT-6.2-1", b"\x00"),
        ("MediaTypeList", "EXT-6.2-3", _media_types([_PNG, _FIRST])),
        ("ApplicationFraming", "EXT-6.2-2", _framing({"media_type": {"type": "/a", "parameters": []},
                                                     "inner_application_content": ""})),
        ("ApplicationFraming", "VAL-2.1-5", _framing({"media_type": _FIRST, "inner_application_content": ""}) + b"x"),
        ("AppAck", "EXT-6.1-1", _app_ack([[0, 0, 1], [0, 1, 0]])),
        ("AppAck", "VAL-2.1-1", opaque(bytes(13))),
    ]  # fmt: skip
    return [{"struct": name, "rule": rule, "encoded": encoded.hex()} for name, rule, encoded in wrong]


# ---------------------------------------------------------------- labels, in the form of the working group's vectors


def _labels(cipher_suite: int) -> Json:
    provider = SeededProvider(f"component labels {cipher_suite}")
    suite = provider.suite(cipher_suite)
    component, label = 0x8001, b"vector"
    operation = _label({"component_id": component, "label": label.hex()})
    signer, verifier = suite.scheme.generate(provider.random)
    private, public = suite.generate_key_pair(provider.random)
    content, context, plaintext = (provider.random(size) for size in (40, 24, 48))
    kem_output, ciphertext = suite.seal(
        public, suite.encryption_context(operation, context), plaintext, provider.random
    )
    return {
        "cipher_suite": int(cipher_suite),
        "component_id": component,
        "label": label.hex(),
        "component_operation_label": operation.hex(),
        "safe_sign_with_label": {
            "priv": signer.raw.hex(),
            "pub": verifier.hex(),
            "content": content.hex(),
            "signature": suite.sign_with_label(signer, operation, content).hex(),
        },
        "safe_encrypt_with_label": {
            "priv": private.raw.hex(),
            "pub": public.hex(),
            "context": context.hex(),
            "plaintext": plaintext.hex(),
            "kem_output": kem_output.hex(),
            "ciphertext": ciphertext.hex(),
        },
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
