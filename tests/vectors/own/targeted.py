"""Known answers for targeted messages (draft-ietf-mls-targeted-messages-02), for every suite of RFC 9420 and ours.

`python -m tests.vectors.own.targeted` writes targeted.json. The fields that the draft's own vectors have are named as
there; the others are what is computed on the way. docs/vectors.md describes all of them. Whoever reads the file needs
no group: an epoch is its exporter secret. `targeted_draft.json` holds the draft's vectors, in the same form.

ML-KEM encapsulations and ML-DSA signatures draw randomness of their own, so a file written anew differs where those are
in it; the rest follows from the seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mls.codec import decode_exactly, opaque, u32, u64
from mls.framing import encode_message
from mls.leaf_node import LeafNode
from mls.registries import CipherSuite, Epoch, GroupId, HybridSuite, LeafIndex, WireFormat
from mls.schedule import export
from mls.secrets import ExporterSecret, HpkePrivateKey
from mls.suite import NONCE_SIZE
from mls.targeted import Channel, TargetedMessage, decode_message
from tests.mls.clients import client, environment

PATH = Path(__file__).with_suffix(".json")
DRAFT = PATH.with_name("targeted_draft.json")

MESSAGES = (
    (1, 0, 1, b"", b"a targeted message", 0),
    (5, 0, 2, b"request 42", b"another one", 64),
    (2**40, 70000, 3, b"", b"", 128),
)
"""Epoch, sender, recipient, authenticated data, data, zeros of padding."""


def generate() -> list[dict[str, Any]]:
    return [
        *[_case(suite, message) for suite in CipherSuite for message in range(3)],
        *[_case(suite, 1) for suite in HybridSuite],
    ]


def _case(cipher_suite: int, message: int) -> dict[str, Any]:
    epoch, sender, recipient, seen, data, zeros = MESSAGES[message]
    env = environment(f"targeted vector {cipher_suite} {message}")
    speaker = client("sender", cipher_suite)
    leaf = speaker.package(env).key_package.leaf_node
    suite = env.suite(cipher_suite)
    private, public = suite.generate_key_pair(env.provider.random)
    exporter = ExporterSecret(env.provider.random(suite.hash_size))
    channel = Channel(suite=suite, group_id=GroupId(env.provider.random(16)), epoch=Epoch(epoch), exporter=exporter)
    frame = channel.seal(
        env.provider.random,
        sender=LeafIndex(sender),
        signature_private=speaker.signer,
        recipient=LeafIndex(recipient),
        recipient_key=public,
        data=data,
        authenticated_data=seen,
        pad=lambda size: zeros,
    )
    return {
        "cipher_suite": int(cipher_suite),
        "group_id": channel.group_id.hex(),
        "epoch": epoch,
        "exporter_secret": exporter.raw.hex(),
        "sender_leaf_index": sender,
        "sender_leaf_node": leaf.encoded.hex(),
        "recipient_leaf_index": recipient,
        "recipient_encryption_priv": private.raw.hex(),
        "authenticated_data": seen.hex(),
        "application_data": data.hex(),
        "padding_length": zeros,
        "targeted_message": encode_message(WireFormat.TARGETED_MESSAGE, frame.encode()).hex(),
        **intermediate(channel, LeafIndex(sender), LeafIndex(recipient), frame.ciphertext),
    }


def intermediate(channel: Channel, sender: LeafIndex, recipient: LeafIndex, ciphertext: bytes) -> dict[str, str]:
    """What is computed on the way, by the text and not by `mls.targeted`."""
    suite = channel.suite
    psk = export(suite, channel.exporter, b"targeted message", b"psk", suite.hash_size)
    secret = export(suite, channel.exporter, b"targeted message", b"sender auth data secret", suite.hash_size)
    sample = ciphertext[: suite.hash_size]
    place = opaque(channel.group_id) + u64(channel.epoch)
    return {
        "targeted_message_psk": psk.hex(),
        "psk_id": (place + opaque(b"MLS 1.0 targeted message psk")).hex(),
        "hpke_context": (opaque(b"MLS 1.0 TargetedMessageData") + u32(recipient) + u32(sender)).hex(),
        "sender_auth_data_secret": secret.hex(),
        "sender_auth_data_key": suite.expand_with_label(secret, b"key", sample, suite.key_size).hex(),
        "sender_auth_data_nonce": suite.expand_with_label(secret, b"nonce", sample, NONCE_SIZE).hex(),
        "sender_auth_data_aad": (place + u32(recipient)).hex(),
        "ciphertext_hash": suite.hash(ciphertext).hex(),
    }


@dataclass(frozen=True, slots=True)
class Opened:
    """What following a vector gave."""

    message: TargetedMessage
    intermediate: dict[str, str]
    padding_length: int


def follow(case: dict[str, Any]) -> Opened:
    """What a recipient does with a vector; raises as the recipient would."""
    suite = environment("targeted vector").suite(case["cipher_suite"])
    channel = Channel(
        suite=suite,
        group_id=GroupId(bytes.fromhex(case["group_id"])),
        epoch=Epoch(case["epoch"]),
        exporter=ExporterSecret(bytes.fromhex(case["exporter_secret"])),
    )
    frame = decode_message(bytes.fromhex(case["targeted_message"]))
    sender = LeafIndex(case["sender_leaf_index"])
    leaf = decode_exactly(bytes.fromhex(case["sender_leaf_node"]), LeafNode.decode)
    private = HpkePrivateKey(bytes.fromhex(case["recipient_encryption_priv"]))
    message = channel.open(frame, private, lambda index: leaf.signature_key if index == sender else None)
    tag = 16
    return Opened(
        message,
        intermediate(channel, sender, frame.recipient, frame.ciphertext),
        len(frame.ciphertext) - tag - len(opaque(message.data)),
    )


if __name__ == "__main__":
    PATH.write_text(json.dumps(generate(), indent=1) + "\n")
