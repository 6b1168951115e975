"""The check finds what it is for: a message twice or missing, a leak, an error in a log, a process that grows.

So does the wait for what a mailbox is to keep: a message that is not sealed yet has not gone out.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.docker import check
from tests.docker.ring import Node, Wrong
from tests.docker.story import Story
from tests.docker.town import Chat, Person, Said, Town
from vcd.client import Event

TEA = b"tea"


class Told(Node):
    """One that says it was told these texts."""

    texts: tuple[bytes, ...] = ()
    sent: tuple[bytes, ...] = ()
    """Those of them that are on their way."""
    unsent = 0

    def events(self, *types: str) -> list[Event]:
        told = [("msg.received", text) for text in self.texts] + [("msg.sent", text) for text in self.sent]
        return [
            Event(seq=at, log_id=b"", type=kind, at=0, chat=TEA, data={"msg": b"id of " + text, "data": text})
            for at, (kind, text) in enumerate(told)
            if kind in types
        ]

    def status(self) -> dict[str, Any]:
        return {"backlog": {"unsent": self.unsent, "queued": 0}}


def town(tmp_path: Path, **told: tuple[bytes, ...]) -> Town:
    """Alice has the device `a`, `lost` was removed; she said one thing before, and one after."""
    ring: Any = type("Still", (), {"nodes": {}, "story": Story("check", "none", said=lambda _: None)})()
    made = Town(ring)
    for name in ("a", "lost"):
        (tmp_path / name).mkdir()
        node = Told(name, tmp_path / name, "198.51.100.9", running=True)
        node.texts = told.get(name, ())
        ring.nodes[name] = node
    made.people["alice"] = Person("alice", b"A", [], ["a"], gone=["lost"])
    everybody, after = frozenset({"a", "lost"}), frozenset({"a"})
    said = [Said(b"before", "a", everybody, frozenset()), Said(b"after", "a", after, frozenset({"lost"}))]
    made.chats.append(Chat("tea", TEA, ["alice"], said))
    return made


def test_once(tmp_path: Path) -> None:
    made = town(tmp_path, a=(b"before", b"after"))
    check._once(made, made.chats[0])


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ((b"before",), "lacks"),
        ((b"before", b"after", b"after"), "more than once"),
        ((b"before", b"after", b"?"), "nobody"),
    ],
)
def test_missing_twice_and_made_up(tmp_path: Path, told: tuple[bytes, ...], words: str) -> None:
    made = town(tmp_path, a=told)
    with pytest.raises(Wrong, match=words):
        check._once(made, made.chats[0])


def test_a_device_that_was_removed_reads_nothing_that_was_said_after(tmp_path: Path) -> None:
    check._locked_out(town(tmp_path, lost=(b"before",)))


def test_a_leak(tmp_path: Path) -> None:
    with pytest.raises(Wrong, match="was removed, and could read b'after'"):
        check._locked_out(town(tmp_path, lost=(b"before", b"after")))


def test_a_line_above_a_warning(tmp_path: Path) -> None:
    made = town(tmp_path)
    nodes: list[Node] = [made.node("a")]
    (tmp_path / "a" / "log").write_text('{"level":"warning"}\n{"level":"error","message":"odd"}\n', encoding="utf-8")
    with pytest.raises(Wrong, match="a logged"):
        check._quiet(nodes, ())
    check._quiet(nodes, ("'message': 'odd'",))


@pytest.mark.parametrize(("grows", "fine"), [(0, True), (3_000_000, False)])
def test_a_process_that_grows(tmp_path: Path, grows: int, fine: bool) -> None:
    made = town(tmp_path)
    made.ring.story.memory["a"] = [(float(at), 7, 90_000_000 + grows * at) for at in range(0, 100, 2)]
    if fine:
        assert check._flat(made) == 90_000_000
        return
    with pytest.raises(Wrong, match="a grew"):
        check._flat(made)


def test_a_process_grows_while_it_starts(tmp_path: Path) -> None:
    """On a busy machine that takes long. What it has once it is ready is what counts."""
    made = town(tmp_path)
    story = made.ring.story
    story.wall = 1_790_000_000.0
    starts = [(float(at), 7, 30_000_000 + 1_700_000 * at) for at in range(0, 60, 2)]
    story.memory["a"] = starts + [(float(at), 7, 132_000_000) for at in range(60, 100, 2)]
    with pytest.raises(Wrong, match="a grew"):
        check._flat(made)
    told = datetime.fromtimestamp(story.wall + 60, UTC).isoformat().replace("+00:00", "Z")
    (tmp_path / "a" / "log").write_text(f'{{"at":"{told}","message":"ready"}}\n', encoding="utf-8")
    assert check._flat(made) == 132_000_000


@pytest.mark.parametrize(
    ("sent", "unsent", "out"),
    [((), 0, False), ((b"before",), 0, False), ((b"before", b"after"), 1, False), ((b"before", b"after"), 0, True)],
)
def test_what_is_not_sealed_yet_has_not_gone_out(
    tmp_path: Path, sent: tuple[bytes, ...], unsent: int, out: bool
) -> None:
    made = town(tmp_path, a=(b"before", b"after"))
    node = made.node("a")
    assert isinstance(node, Told)
    node.sent, node.unsent = sent, unsent
    assert made._gone_out("a", made.chats[0], {b"before", b"after"}) is out
