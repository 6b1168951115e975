"""mls-extensions §4.2 and §4.3: members' keys in the hands of components, who stay apart by number and label."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from mls.components.labels import operation_label, safe_open, safe_seal, safe_sign, safe_verify
from mls.errors import CallerError
from tests.mls.refusals import refused
from tests.mls.suite_variants import provider_of, variants
from tests.validation import breaks


def test_the_label() -> None:
    made = operation_label(0x8001, b"greet")
    assert made.hex() == "0d" + b"MLS Component".hex() + "8001" + "05" + b"greet".hex()


@pytest.mark.parametrize("component", [-1, 0x10000])
def test_a_component_number_has_sixteen_bits(component: int) -> None:
    with pytest.raises(CallerError):
        operation_label(component, b"")


@variants
def test_signatures_hold_for_one_component_and_label(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.scheme.generate(provider.random)
    signature = safe_sign(suite, private, 7, b"label", b"content")
    assert safe_verify(suite, public, 7, b"label", b"content", signature)
    assert suite.verify_with_label(public, operation_label(7, b"label"), b"content", signature)
    for component, label, content in ((8, b"label", b"content"), (7, b"labem", b"content"), (7, b"label", b"contents")):
        assert not safe_verify(suite, public, component, label, content, signature)
    assert not suite.verify_with_label(public, b"label", b"content", signature)
    assert not safe_verify(suite, public, 7, b"label", b"content", suite.sign_with_label(private, b"label", b"content"))


@breaks("EXT-4.2-1")
@variants
def test_what_is_sealed_opens_for_one_component_label_and_context(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    private, public = suite.generate_key_pair(provider.random)
    kem_output, sealed = safe_seal(suite, public, 7, b"label", b"context", b"plaintext", provider.random)
    assert safe_open(suite, private, 7, b"label", b"context", kem_output, sealed) == b"plaintext"
    own = suite.encryption_context(operation_label(7, b"label"), b"context")
    assert suite.open(private, own, kem_output, sealed) == b"plaintext"
    stranger, _ = suite.generate_key_pair(provider.random)
    plain = suite.seal(public, suite.encryption_context(b"label", b"context"), b"plaintext", provider.random)
    wrong: list[tuple[Any, ...]] = [
        (private, 8, b"label", b"context", kem_output, sealed),
        (private, 7, b"labem", b"context", kem_output, sealed),
        (private, 7, b"label", b"", kem_output, sealed),
        (private, 7, b"label", b"context", kem_output, sealed[:-1]),
        (private, 7, b"label", b"context", kem_output[:-1], sealed),
        (private, 7, b"label", b"context", b"", b""),
        (private, 7, b"label", b"context", *plain),
        (stranger, 7, b"label", b"context", kem_output, sealed),
    ]
    for arguments in wrong:
        refused("EXT-4.2-1", partial(safe_open, suite, *arguments))


@breaks("EXT-4.2-2")
@variants
def test_a_key_that_is_none(number: int, libsodium: bool) -> None:
    provider, suite = provider_of(number, libsodium)
    _, public = suite.generate_key_pair(provider.random)
    safe_seal(suite, public, 7, b"label", b"", b"plaintext", provider.random)
    zero = [bytes(len(public))] if number <= 7 else []  # a lattice has no such point
    for bad in (b"", public[:-1], public + b"\x00", *zero):
        refused("EXT-4.2-2", partial(safe_seal, suite, bad, 7, b"label", b"", b"plaintext", provider.random))
