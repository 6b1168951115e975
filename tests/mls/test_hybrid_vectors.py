"""draft-ietf-mls-pq-ciphersuites: our own pinned vectors (docs/vectors.md), read as another implementation would.

What the file holds was made once and is not repeatable, so this is also the promise that tomorrow's code opens what
today's sealed.
"""

from __future__ import annotations

from typing import Any

import pytest

from mls.hpke import CryptoError
from mls.registries import HybridSuite
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from tests.mls.suite_variants import provider_of
from tests.mls.test_vectors import passive_client
from tests.vector_files import load
from tests.vectors.own import hybrid

CASES = load(hybrid.PATH)
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def unhex(fields: dict[str, Any], *names: str) -> list[bytes]:
    return [bytes.fromhex(fields[name]) for name in names]


def check_keys(case: dict[str, Any], *, libsodium: bool) -> None:
    _, suite = provider_of(case["cipher_suite"], libsodium)
    hpke = suite.hpke
    ikm, raw, public = unhex(case["derive_key_pair"], "ikm", "priv", "pub")
    derived, derived_public = suite.derive_key_pair(ikm)
    assert (derived.raw, derived_public) == (raw, public)
    private = HpkePrivateKey(raw)
    assert hpke.public_key(private) == public

    base = case["hpke_base"]
    info, aad, plaintext, enc, ciphertext = unhex(base, "info", "aad", "plaintext", "kem_output", "ciphertext")
    assert hpke.open(private, enc, hpke.context(info), aad, ciphertext) == plaintext

    fields = case["hpke_psk"]
    info, aad, psk, psk_id, plaintext = unhex(fields, "info", "aad", "psk", "psk_id", "plaintext")
    enc, ciphertext = unhex(fields, "kem_output", "ciphertext")
    assert hpke.open_psk(private, enc, info, aad, ciphertext, psk, psk_id) == plaintext
    with pytest.raises(CryptoError):
        hpke.open_psk(private, enc, info, aad, ciphertext, psk, psk_id + b"?")

    fields = case["hpke_export"]
    info, label, enc, exported = unhex(fields, "info", "exporter_context", "kem_output", "exported")
    assert hpke.receive_export(private, enc, info, label, fields["length"]) == exported

    fields = case["encrypt_with_label"]
    context, plaintext, enc, ciphertext = unhex(fields, "context", "plaintext", "kem_output", "ciphertext")
    assert (
        suite.open(private, suite.encryption_context(fields["label"].encode(), context), enc, ciphertext) == plaintext
    )

    fields = case["sign_with_label"]
    signer, verifier, content, signature = unhex(fields, "priv", "pub", "content", "signature")
    assert suite.scheme.public_key(SignaturePrivateKey(signer)) == verifier
    assert suite.verify_with_label(verifier, fields["label"].encode(), content, signature)
    assert not suite.verify_with_label(verifier, fields["label"].encode(), content + b"?", signature)


def test_there_is_a_case_for_every_suite() -> None:
    assert [case["cipher_suite"] for case in CASES] == list(HybridSuite)
    for case in CASES:
        assert case["name"] == HybridSuite(case["cipher_suite"]).name
        assert len(case["passive_client"]["epochs"]) == hybrid.EPOCHS


@each_case
@pytest.mark.parametrize("libsodium", [True, False], ids=["libsodium", "openssl"])
def test_keys_sealed_texts_and_signatures(case: dict[str, Any], libsodium: bool) -> None:
    check_keys(case, libsodium=libsodium)


@each_case
def test_a_listener_follows_its_group(case: dict[str, Any]) -> None:
    passive_client(case["passive_client"])


@pytest.mark.parametrize("number", [HybridSuite(0xF001), HybridSuite(0xF00A)], ids=lambda suite: suite.name)
def test_the_generator_still_writes_what_was_pinned(number: HybridSuite) -> None:
    """The same fields, and the same values where they are derived; the rest is good, if not the same."""
    made = hybrid.case(number)
    pinned = next(case for case in CASES if case["cipher_suite"] == number)
    assert made.keys() == pinned.keys()
    for name in pinned:
        assert isinstance(pinned[name], dict) is isinstance(made[name], dict)
        if isinstance(pinned[name], dict):
            assert made[name].keys() == pinned[name].keys()
    assert made["derive_key_pair"] == pinned["derive_key_pair"]
    assert made["sign_with_label"]["pub"] == pinned["sign_with_label"]["pub"]
    assert made["passive_client"]["init_priv"] == pinned["passive_client"]["init_priv"]
    check_keys(made, libsodium=True)
    passive_client(made["passive_client"])
