"""Known answers for the suites of draft-ietf-mls-pq-ciphersuites, by the numbers of `mls.registries.HybridSuite`.

`python -m tests.vectors.own.hybrid` writes hybrid.json; docs/vectors.md says what is in it. Encapsulations and ML-DSA
signatures cannot be repeated, so every run writes another file with the same derived values: keys are compared, sealed
and signed things are opened and verified, and a group is followed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mls.registries import HybridSuite
from tests.providers import SeededProvider
from tests.vectors.own import passive_client

PATH = Path(__file__).with_suffix(".json")

OTHERS, EPOCHS = 1, 2


def generate() -> list[dict[str, Any]]:
    return [case(suite) for suite in HybridSuite]


def case(cipher_suite: int) -> dict[str, Any]:
    return {
        "cipher_suite": int(cipher_suite),
        "name": HybridSuite(cipher_suite).name,
        **_keys(cipher_suite),
        "passive_client": passive_client.generate(cipher_suite, 0, others=OTHERS, epochs=EPOCHS),
    }


def _keys(cipher_suite: int) -> dict[str, Any]:
    provider = SeededProvider(f"hybrid {int(cipher_suite)}")
    suite, random = provider.suite(cipher_suite), provider.random
    ikm = random(suite.hash_size)
    private, public = suite.derive_key_pair(ikm)
    info, aad, psk, psk_id, plaintext = b"info", b"aad", random(suite.hash_size), b"psk id", random(40)
    base = suite.hpke.seal(public, suite.hpke.context(info), aad, plaintext, random)
    with_psk = suite.hpke.seal_psk(public, info, aad, plaintext, psk, psk_id, random)
    export_enc, exported = suite.hpke.send_export(public, info, b"export", suite.hash_size, random)
    label, context, content = b"label", random(20), random(60)
    sealed = suite.seal(public, suite.encryption_context(label, context), plaintext, random)
    signer, verifier = suite.scheme.generate(random)
    return {
        "derive_key_pair": {"ikm": ikm.hex(), "priv": private.raw.hex(), "pub": public.hex()},
        "hpke_base": {
            "info": info.hex(),
            "aad": aad.hex(),
            "plaintext": plaintext.hex(),
            "kem_output": base[0].hex(),
            "ciphertext": base[1].hex(),
        },
        "hpke_psk": {
            "info": info.hex(),
            "aad": aad.hex(),
            "psk": psk.hex(),
            "psk_id": psk_id.hex(),
            "plaintext": plaintext.hex(),
            "kem_output": with_psk[0].hex(),
            "ciphertext": with_psk[1].hex(),
        },
        "hpke_export": {
            "info": info.hex(),
            "exporter_context": b"export".hex(),
            "length": suite.hash_size,
            "kem_output": export_enc.hex(),
            "exported": exported.hex(),
        },
        "encrypt_with_label": {
            "label": label.decode(),
            "context": context.hex(),
            "plaintext": plaintext.hex(),
            "kem_output": sealed[0].hex(),
            "ciphertext": sealed[1].hex(),
        },
        "sign_with_label": {
            "priv": signer.raw.hex(),
            "pub": verifier.hex(),
            "label": label.decode(),
            "content": content.hex(),
            "signature": suite.sign_with_label(signer, label, content).hex(),
        },
    }


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
