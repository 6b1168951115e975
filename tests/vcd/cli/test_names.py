"""Who is meant: names and ids, and what fits more than one."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from tests.vcd.cli.house import Daemon, example, ran
from vcd.cli.names import meant
from vcd.cli.troubles import Trouble
from vcd.rpc import samples
from vcd.rpc.table import FUNCTIONS


def rows(*pairs: tuple[bytes, str]) -> list[dict[str, Any]]:
    return [{"device": name, "name": text} for name, text in pairs]


LAPTOP, PHONE, OTHER = b"\xca\xfe" * 8, b"\xca\xfd" * 8, b"\x01" * 16
ROWS = rows((LAPTOP, "laptop"), (PHONE, "Phone"), (OTHER, "phone"))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("laptop", LAPTOP),
        ("LAPTOP", LAPTOP),
        ("Phone", PHONE),
        ("phone", OTHER),
        ("cafe", LAPTOP),
        ("CAFECAFE", LAPTOP),
        (LAPTOP.hex(), LAPTOP),
        (base64.b64encode(PHONE).decode(), PHONE),
        (base64.b32encode(PHONE).decode(), PHONE),
        (base64.b32encode(OTHER).decode().lower()[:6], OTHER),
    ],
)
def test_meant(said: str, found: bytes) -> None:
    assert meant("device", said, ROWS, "device", "name")["device"] == found


@pytest.mark.parametrize("said", ["", "caf", "ca", "PHONE", "tablet", "ffff", "0"])
def test_not_clear_or_not_there(said: str) -> None:
    with pytest.raises(Trouble) as caught:
        meant("device", said, ROWS, "device", "name")
    assert caught.value.then


def test_what_fits_two_names_both() -> None:
    twice = rows((LAPTOP, "x"), (PHONE, "x"))
    with pytest.raises(Trouble) as caught:
        meant("device", "x", twice, "device", "name")
    assert caught.value.code == "ambiguous"
    assert [each["device"] for each in caught.value.data["candidates"]] == [LAPTOP, PHONE]
    assert LAPTOP.hex()[:16] in caught.value.text


def test_a_name_that_looks_like_anothers_id() -> None:
    """Whoever calls himself so gets nothing that was meant for the other one."""
    with pytest.raises(Trouble) as caught:
        meant("device", "cafecafe", rows((LAPTOP, "laptop"), (OTHER, "cafecafe")), "device", "name")
    assert caught.value.code == "ambiguous"
    evil = rows((LAPTOP, "laptop"), (OTHER, LAPTOP.hex()))
    assert meant("device", LAPTOP.hex(), evil, "device", "name")["device"] == LAPTOP


def test_strangers_go_by_id(daemon: Daemon) -> None:
    bob = FUNCTIONS["contact.list"].example[1].contacts[0]  # type: ignore[attr-defined]  # the example's
    import msgspec

    evil = msgspec.structs.replace(bob, account=b"\xee" * 32, relation="stranger")
    daemon.answers["contact.list"] = lambda _: example("contact.list", contacts=[bob, evil])
    assert ran("chat", "invite", "tea", "Bob").code == 0
    assert daemon.asked_for("chat.invite")[0].account == samples.BOB
    assert ran("chat", "invite", "tea", "eeee").code == 0
    daemon.answers["contact.list"] = lambda _: example("contact.list", contacts=[evil])
    done = ran("chat", "invite", "tea", "Bob")
    assert (done.code, "E_CONTACT_UNKNOWN" in ran("chat", "invite", "tea", "Bob", "--json").out) == (1, True)


def test_lists_are_read_to_their_end(daemon: Daemon) -> None:
    import msgspec

    tea = FUNCTIONS["chat.list"].example[1].chats[0]  # type: ignore[attr-defined]  # the example's

    def listed(params: Any) -> Any:
        if params.after is None:
            return example("chat.list", more=True)
        return example("chat.list", chats=[msgspec.structs.replace(tea, chat=b"\xff" * 32, title="coffee")])

    daemon.answers["chat.list"] = listed
    assert ran("chat", "accept", "coffee").code == 0
    assert daemon.asked_for("chat.accept")[0].chat == b"\xff" * 32
    assert len(ran("chat", "list", "--json").json["chats"]) == 2


ids = st.binary(min_size=16, max_size=16)


@given(st.dictionaries(ids, st.text(max_size=20), min_size=1, max_size=12), st.text(max_size=40), st.data())
def test_never_another_one(found: dict[bytes, str], said: str, data: st.DataObject) -> None:
    """What comes back is named so, or has that id; an id in full is always the one."""
    everything = rows(*found.items())
    chosen = data.draw(st.sampled_from(everything))
    assert meant("device", chosen["device"].hex(), everything, "device", "name") is chosen
    try:
        one = meant("device", said, everything, "device", "name")
    except Trouble:
        return
    written = (one["device"].hex(), base64.b32encode(one["device"]).decode().lower())
    whole = base64.b64encode(one["device"]).decode()
    fits = one["name"].casefold() == said.casefold() or said == whole
    assert fits or any(each.startswith(said.lower().rstrip("=")) for each in written)


@pytest.mark.parametrize("command", ["send tea hello", "tail tea", "invite tea Bob", "leave tea --yes", "rotate tea"])
def test_what_is_done_in_a_chat_that_waits_for_an_answer_takes_the_answer_first(daemon: Daemon, command: str) -> None:
    lines = example("chat.list").chats
    daemon.answers["chat.list"] = lambda _: example(
        "chat.list", chats=[msgspec.structs.replace(lines[0], title="tea", standing="invited")]
    )
    done = ran("chat", *command.split())
    assert done.code == 1
    assert f"vcd chat accept {lines[0].chat.hex()[:8]}" in done.err
    assert "no such chat" not in done.err
