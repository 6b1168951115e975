"""What has to hold after every scenario, by what each node itself says.

    once           each message exactly once at each device that is to have it, and nothing that nobody said
    locked out     nothing of what was said after a device was removed is on it, it is not in the list, and every
                   removal is complete
    one            each chat has one epoch, one branch and one membership, the same on all devices; so have the accounts
    quiet          no line above warning in any log that the scenario did not expect
    flat           no process takes much more memory at its end than it took after it had settled

An epoch's name follows from its authenticator, so devices that name the same one have the same keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from statistics import median

from tests.docker.ring import Node, Wrong, until
from tests.docker.town import Chat, Town

ABOVE = {"error", "critical", "fatal"}
SETTLED = 20.0
"""Seconds after which a process that was ready has all it needs."""
GROWTH = 40 << 20
SHARE = 1.35


def check(town: Town, *, expected: Sequence[str] = (), within: float = 120.0) -> dict[str, int]:
    """Raises `Wrong`. `expected`: regular expressions of what logs may say above a warning. Gives figures."""
    for chat in town.chats:
        town.heard(chat, town.audience(chat), within=within)
        until(lambda chat=chat: _one(town, chat) == "", f"“{chat.title}” does not become one", within)  # type: ignore[misc]
        _once(town, chat)
    _accounts(town, within)
    _locked_out(town)
    _quiet(list(town.ring.nodes.values()), expected)
    said = sum(len(chat.said) for chat in town.chats)
    figures = {"messages": said, "devices": len(town.living()), "largest": _flat(town)}
    town.ring.story.figures |= figures
    town.tell(f"checked: {said} messages, each once at each of the devices that are to have it")
    return figures


def _one(town: Town, chat: Chat) -> str:
    """Empty if the chat stands the same everywhere; else how it does not."""
    found = {name: town.node(name).call("chat.get", chat=chat.id) for name in town.audience(chat)}
    epochs = {each["epoch"] for each in found.values()}
    members = {tuple(sorted(member["account"] for member in each["members"])) for each in found.values()}
    wanted = {tuple(sorted(town.people[name].account for name in chat.people))}
    if len(epochs) != 1:
        return f"{len(epochs)} epochs"
    if members != wanted:
        return "another membership"
    branches = [name for name, each in found.items() if each["branches"] != 1]
    return f"branches at {branches}" if branches else ""


def _once(town: Town, chat: Chat) -> None:
    texts = {each.text for each in chat.said} | chat.may
    for name in town.audience(chat):
        told = Counter(each.data["data"] for each in town.received(name, chat))
        due = Counter(each.text for each in chat.said if name in each.audience)
        if lacks := due - told:
            raise Wrong(f"{name} lacks {sum(lacks.values())} messages: {sorted(lacks)[:3]}")
        if twice := [text for text, count in told.items() if count > 1]:
            raise Wrong(f"{name} was told {len(twice)} messages more than once: {sorted(twice)[:3]}")
        if strange := [text for text in told if text not in texts]:
            raise Wrong(f"{name} was told what nobody said: {sorted(strange)[:3]}")


def _accounts(town: Town, within: float) -> None:
    for person in town.people.values():
        wanted = sorted(person.devices)

        def look(wanted: list[str] = wanted) -> bool:
            for name in wanted:
                listed = town.node(name).call("device.list")["devices"]
                account = town.node(name).call("account.get")
                if sorted(each["name"] for each in listed) != wanted or account["branches"] != 1:
                    return False
            return len({town.node(name).call("chat.graph")["head"] for name in wanted}) == 1

        until(look, f"{person.name}'s devices do not agree on who they are", within)

        def complete(wanted: list[str] = wanted) -> bool:
            told = [town.node(name).events("device.rotation") for name in wanted]
            return all(each[-1].data["complete"] for each in told if each)

        until(complete, f"a removal by {person.name} is not complete", within)


def _locked_out(town: Town) -> None:
    for name in sorted(town.hidden()):
        node = town.node(name)
        if not node.running:
            continue
        for chat in town.chats:
            has = town.has(name, chat)
            if leaked := [each.text for each in chat.said if name in each.hidden and each.text in has]:
                raise Wrong(f"{name} was removed, and could read {leaked[0]!r}")


def _quiet(nodes: Sequence[Node], expected: Sequence[str]) -> None:
    known = [re.compile(each) for each in expected]
    for node in nodes:
        for line in node.lines():
            if str(line.get("level", "")).lower() in ABOVE and not any(each.search(str(line)) for each in known):
                raise Wrong(f"{node.name} logged {line}")
        if "Traceback (most recent call last)" in node.log and not any(each.search(node.log) for each in known):
            at = node.log.index("Traceback (most recent call last)")
            raise Wrong(f"{node.name} has a traceback in its log: {node.log[at : at + 2000]}")


def _ready(node: Node, wall: float) -> list[float]:
    """When it said so, in seconds of the story."""
    said = [str(line["at"]) for line in node.lines() if line.get("message") == "ready" and "at" in line]
    return [datetime.fromisoformat(each).timestamp() - wall for each in said]


def _flat(town: Town) -> int:
    """The largest process, in bytes."""
    largest = 0
    for node in town.ring.nodes.values():
        samples: dict[int, list[tuple[float, int]]] = {}
        for at, process, size in town.ring.story.memory.get(node.name, ()):
            samples.setdefault(process, []).append((at, size))
            largest = max(largest, size)
        ready = _ready(node, town.ring.story.wall)
        for several in samples.values():
            first, last = several[0][0], several[-1][0]
            begun = min((at for at in ready if first <= at <= last), default=first)
            sizes = [size for at, size in several if at >= begun + SETTLED]
            third = len(sizes) // 3
            if third < 3:
                continue
            early, late = median(sizes[:third]), median(sizes[-third:])
            if late > early * SHARE and late > early + GROWTH:
                raise Wrong(f"{node.name} grew from {early / 1e6:.0f} to {late / 1e6:.0f} MB")
    return largest
