"""The formats as documented: records made from fixed keys have the hashes that docs/mailbox.md lists."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from transport.access import Right, issue, prove, raise_floor
from transport.base import Milliseconds
from transport.frames import topic_id
from transport.mailbox.bodies import Get, Package, Stock, Take
from transport.mailbox.records import grant, seal_slot, slot_name
from transport.mailbox.wire import Answer, Failure, Request, RequestId, encode_request
from transport.signing import SigningKey, peer_id

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "mailbox.md"
W, TENANT, SLOT, ASKER, MAILBOX = (SigningKey(bytes([n]) * 32) for n in range(1, 6))
ASKING, ASKED = peer_id(ASKER.public), peer_id(MAILBOX.public)
START, END = Milliseconds(1_800_000_000_000), Milliseconds(1_800_086_400_000)
GRANT = grant(TENANT, b"s" * 16, holder=ASKING, count=3, interval=60, expires=END, generation=2)

RECORDS = {
    "token": issue(W, Right.READ | Right.WRITE, holder=ASKED, not_before=START, expires=END, generation=7),
    "proof": prove(W, ASKING, ASKED),
    "floor": raise_floor(W, 7),
    "slot": seal_slot(SLOT, b"sealed", number=9, expires=END, topic=topic_id(W.public)),
    "hand-out capability": GRANT,
    "take": encode_request(
        Request(id=RequestId(b"i" * 16), body=Take(tenant=TENANT.public, grant=GRANT), sent=START), ASKING, ASKED
    ),
    "get, signed": encode_request(
        Request(id=RequestId(b"i" * 16), body=Get(name=slot_name(SLOT.public), after=8), sent=START),
        ASKING,
        ASKED,
        TENANT,
    ),
    "not found": Answer(failure=Failure.NOT_FOUND).encode(b"i" * 16),
}


@pytest.mark.parametrize("name", RECORDS)
def test_record_is_as_documented(name: str) -> None:
    record = RECORDS[name]
    line = f"| {name} | {len(record)} | `{hashlib.sha256(record).hexdigest()}` |"
    assert line in DOCUMENT.read_text(encoding="utf-8").splitlines(), line


def test_a_package_is_named_by_its_hash() -> None:
    package = Package(stock=Stock.CONTACTS, expires=END, data=b"package")
    assert package.id == hashlib.sha256(b"package").digest()
