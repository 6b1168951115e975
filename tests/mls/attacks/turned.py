"""What an insider makes of somebody else's ECDSA-signed commit: the same words under the other valid signature."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mls import follow
from mls.framing import AuthenticatedContent
from mls.messages import open_message
from mls.provider import Environment
from mls.state import Group

ORDERS = {
    2: 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    7: int("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973", 16),
}
"""Of P-256 and P-384, by cipher suite."""


def turned_over(group: Group, env: Environment, message: bytes) -> AuthenticatedContent:
    """Anybody who follows a commit can compute all that depends on its signature, the confirmation tag at last."""
    opened = open_message(group, message, shared_leaf=False)
    content = opened.verified.authenticated
    r, s = decode_dss_signature(content.signature)
    other = replace(content, signature=encode_dss_signature(r, ORDERS[group.suite.cipher_suite] - s))
    with mock.patch.object(follow, "compare_digest", return_value=True):  # the liar does not check itself
        done = follow.process_commit(group, env, replace(opened.verified, authenticated=other))
    return replace(other, confirmation_tag=done.group.public.confirmation_tag)
