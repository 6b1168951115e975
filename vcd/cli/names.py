"""Which device, chat or contact somebody means: by its name, or by enough of its id.

A name is what this device calls it: the title of a chat, the name of a device, the name of a contact. An id is hex as
`list` shows it, base32, or base64 as `--json` prints it; its first four letters will do where no other begins so.
Whatever fits more than one is refused with all that it fits, as a name may be chosen by somebody else: a contact who
calls himself by the first letters of another one's id must not get that one's messages. Strangers, who were only met
in chats, are meant by their ids alone, since nobody but themselves gave them their names.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from vcd.cli.talk import Talk
from vcd.cli.text import plain, removed, short
from vcd.cli.troubles import Trouble
from vcd.client import RpcError

_LEAST = 4
"""Letters of an id."""
_MOST_SHOWN = 8


def device(talk: Talk, said: str) -> dict[str, Any]:
    rows = talk.ask("device.list")["devices"]
    return meant("device", said, rows, "device", "name")


def chat(talk: Talk, said: str) -> dict[str, Any]:
    return meant("chat", said, talk.pages("chat.list", "chats", "chat"), "chat", "title")


def entered(talk: Talk, said: str) -> dict[str, Any]:
    """A chat to do something in: to one that waits for an answer, that answer is what comes next."""
    found = chat(talk, said)
    if found["standing"] == "invited":
        text = f"You are invited to {plain(found['title']) or short(found['chat'])!r} and have not answered."
        raise Trouble(text, f"Accept it first: vcd chat accept {short(found['chat'])}", code="E_NOT_MEMBER")
    return found


def contact(talk: Talk, said: str) -> dict[str, Any]:
    def named(row: dict[str, Any]) -> str:
        return "" if row["relation"] == "stranger" else str(row["name"])

    rows = [{**row, "known_as": named(row)} for row in talk.pages("contact.list", "contacts", "account")]
    return meant("contact", said, rows, "account", "known_as")


def member(talk: Talk, chat_id: bytes, said: str) -> dict[str, Any]:
    """Somebody in a chat. Accounts without a name of ours go by id; ours goes by what it suggests to be called."""
    members = [row for row in talk.ask("chat.get", chat=chat_id)["members"] if row["account"] is not None]
    known = {
        row["account"]: row["name"] for row in talk.pages("contact.list", "contacts", "account", relation="contact")
    }
    rows = [{**row, "known_as": row["name"] if row["own"] else known.get(row["account"], "")} for row in members]
    return meant("member", said, rows, "account", "known_as")


def meant(kind: str, said: str, rows: Iterable[dict[str, Any]], key: str, name: str) -> dict[str, Any]:
    """The one row that a person means."""
    everything = list(rows)
    for row in everything:
        if said in _whole(row[key]):
            return row
    by_name = [row for row in everything if said and row[name] == said]
    if not by_name:
        by_name = [row for row in everything if said and str(row[name]).casefold() == said.casefold()]
    found = by_name + [row for row in everything if row not in by_name and _begins(row[key], said)]
    if len(found) == 1:
        return found[0]
    where = {"member": "vcd chat show CHAT", "contact": "vcd contact list --all"}.get(kind, f"vcd {kind} list")
    code = {"member": "E_NO_MEMBER"}.get(kind, f"E_{kind.upper()}_UNKNOWN")
    if not found:
        near = _nearest(said, [str(row[name]) for row in everything])
        hint = f" Did you mean {near!r}?" if near else ""
        raise Trouble(f"There is no {kind} {said!r} here.{hint}", f"`{where}` lists all of them.", code=code)
    shown = ", ".join(f"{row[key].hex()[:16]} {row[name]!r}" for row in found[:_MOST_SHOWN])
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    raise Trouble(
        f"{said!r} is not clear: {shown}{more}.",
        "Give more of the id that is meant, in place of the name.",
        code="ambiguous",
        data={"candidates": [{key: row[key], "name": row[name]} for row in found[:_MOST_SHOWN]]},
    )


def _base32(name: bytes) -> str:
    return base64.b32encode(name).decode().rstrip("=").lower()


def _whole(name: bytes) -> tuple[str, ...]:
    """An id in full, however it may be written."""
    return (name.hex(), base64.b64encode(name).decode(), _base32(name))


def _begins(name: bytes, said: str) -> bool:
    lower = said.lower().rstrip("=")
    return len(lower) >= _LEAST and (name.hex().startswith(lower) or _base32(name).startswith(lower))


def _nearest(said: str, names: list[str]) -> str | None:
    import difflib

    found = difflib.get_close_matches(said, [each for each in names if each], n=1)
    return found[0] if found else None


def read_id(said: str) -> bytes | None:
    """The bytes of an id in full; None for what is none."""
    try:
        return bytes.fromhex(said)
    except ValueError:
        pass
    try:
        return base64.b64decode(said, validate=True)
    except (binascii.Error, ValueError):
        return None


class Names:
    """What to call devices, chats and people in what is shown; asked for once, when it is first needed."""

    def __init__(self, talk: Talk) -> None:
        self._talk = talk
        self._found: dict[str, dict[bytes, str]] = {}

    def chat(self, name: bytes | None) -> str:
        return self._name("chat", name, lambda: _titles(self._talk, "chat.list", "chats", "chat", "title"))

    def account(self, name: bytes | None) -> str:
        return self._name("account", name, lambda: _people(self._talk))

    def device(self, name: bytes | None) -> str:
        def read() -> dict[bytes, str]:
            return {row["device"]: row["name"] for row in self._talk.ask("device.list")["devices"]}

        return self._name("device", name, read)

    def _name(self, kind: str, name: bytes | None, read: Any) -> str:
        if name is None:
            return ""
        if kind not in self._found:
            self._found[kind] = read()
        return plain(self._found[kind].get(name, "")) or short(name)


def note_removal(talk: Talk) -> None:
    """Where chats are shown: why they are of before, if this device was removed."""
    why = "" if talk.json else removed(talk.ask("status.get"))
    if why:
        talk.note(f"{why[:1].upper()}{why[1:]}: nothing is sent or received any more. vcd doctor says what to do.")


def _people(talk: Talk) -> dict[bytes, str]:
    try:
        return _titles(talk, "contact.list", "contacts", "account", "name")
    except RpcError as error:
        if error.code != "E_NO_ACCOUNT":
            raise
    # Of an account that this device was removed from there are no contacts, but who was in its chats.
    chats = [talk.ask("chat.get", chat=each["chat"]) for each in talk.pages("chat.list", "chats", "chat")]
    return {each["account"]: each["name"] for found in chats for each in found["members"]}


def _titles(talk: Talk, method: str, key: str, name: str, title: str) -> dict[bytes, str]:
    return {row[name]: row[title] for row in talk.pages(method, key, name)}
