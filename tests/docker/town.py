"""The people of a run: their devices, their chats, what they say, and who is to hear it.

    town = Town(ring)
    town.person("alice", 3)                     # alice-1 to alice-3, linked by pairing
    town.person("bob", 1)
    tea = town.chat("tea", "alice", "bob")      # known to each other, and in one chat
    town.say(tea, "first")                      # each device says something
    town.heard(tea)                             # and all who are to hear it have

What is said is remembered with who is to hear it: all devices of members that are there then. `tests.docker.check`
compares that with what each device's own log says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.docker.ring import PATIENCE, Node, Ring, Wrong, until
from tests.docker.wires import HOME, STREET
from vcd.client import RpcError

SETTINGS = """version = 1

[network]
listen = ["/ip4/0.0.0.0/tcp/4001"]
mdns = false
ping_every = "2 s"
sync_every = "5 s"
mailboxes = [{mailboxes}]
relays = [{relays}]
points = [{points}]

[node]
quiet = "300 ms"
turn_taking = "1 s"
retry = "2 s"
retry_most = "10 s"
relay_after = "5 s"
order_wait = "1 s"
desync_after = "15 s"

[logs]
form = "json"
{more}"""
ROUNDS = 10
"""In which a mailbox may turn somebody away while one waits for it to come to rest."""
MAILBOX = """version = 1

[network]
listen = ["/ip4/0.0.0.0/tcp/4001"]
mdns = false
be_point = true

[relay]
serve = true

[mailbox]
tenants = [{tenants}]
requests_per_second = 50
requests_at_once = 500

[metrics]
textfile = "{home}/numbers.prom"
every = "1 s"

[logs]
form = "json"
"""
BOX = "box"


def quoted(texts: Iterable[str]) -> str:
    return ", ".join(f'"{each}"' for each in texts)


@dataclass(frozen=True, slots=True)
class Said:
    """A message, and by name who is to have it, and who must not."""

    text: bytes
    by: str
    audience: frozenset[str]
    hidden: frozenset[str]


@dataclass
class Chat:
    title: str
    id: bytes
    people: list[str]
    said: list[Said] = field(default_factory=list)
    may: set[bytes] = field(default_factory=set)
    """What may be heard and need not be: of a device that was removed and does not know it."""
    strangers: set[str] = field(default_factory=set)
    """Devices of those who were removed."""


@dataclass
class Person:
    name: str
    account: bytes
    words: list[str]
    devices: list[str]
    gone: list[str] = field(default_factory=list)


class Town:
    """See above."""

    def __init__(self, ring: Ring) -> None:
        self.ring = ring
        self.people: dict[str, Person] = {}
        self.chats: list[Chat] = []
        self.box: Node | None = None
        self.box_address = ""
        self.far: set[str] = set()
        """Devices that others reach through the relay only."""
        self.quirks: dict[str, str] = {}
        """More settings of one node."""
        self._numbers = 0
        self._trusted: set[str] = set()
        """Who became a delegate: only the recovery words remove one."""

    def node(self, name: str) -> Node:
        return self.ring.nodes[name]

    def living(self) -> list[Node]:
        """Devices that belong to an account."""
        return [self.node(name) for person in self.people.values() for name in person.devices]

    def tell(self, text: str) -> None:
        self.ring.story.tell("step", text)

    # ---------------------------------------------------------------- the mailbox

    def mailbox(self) -> Node:
        """It is a relay and a point as well. Before devices are made, as they are told where it is."""
        box = self.ring.add(BOX, settings="", program="mailbox")
        self.box = box
        box.settings = self._box_settings()
        self.ring.start(box)
        self._box_ready(0)
        self.box_address = f"/ip4/{box.address}/tcp/4001/p2p/{self._box_peer()}"
        return box

    def _box_settings(self) -> str:
        assert self.box is not None
        tenants = [
            self.node(person.devices[0]).call("account.get")["mailbox_key"]
            for person in self.people.values()
            if self.node(person.devices[0]).running
        ]
        return MAILBOX.format(tenants=quoted(dict.fromkeys(tenants)), home=self.ring.home_of(self.box))

    def _box_ready(self, before: int) -> None:
        box = self.box
        assert box is not None
        until(lambda: box.log.count("ready, for") > before, f"the mailbox does not start: {box.log[-2000:]}")

    def _box_peer(self) -> str:
        assert self.box is not None
        line = next(each for each in self.box.log.splitlines() if each.startswith("mailbox /"))
        return line.rpartition("/p2p/")[2]

    def start_box(self) -> None:
        assert self.box is not None
        before = self.box.log.count("ready, for")
        self.ring.start(self.box)
        self._box_ready(before)

    def admit(self) -> None:
        """Everybody is a tenant, by the keys that they have now."""
        box = self.box
        assert box is not None
        before = box.log.count("serves ")
        self.ring.reload(box, self._box_settings())
        until(lambda: box.log.count("serves ") > before, "the mailbox does not take up its tenants")

    def settings(self, name: str) -> str:
        boxes = [self.box_address] if self.box else []
        far = boxes if name in self.far else []
        return SETTINGS.format(
            mailboxes=quoted(boxes), relays=quoted(far), points=quoted(boxes), more=self.quirks.get(name, "")
        )

    # ---------------------------------------------------------------- people and devices

    def device(self, name: str, *, network: str = STREET, disk: int = 0, program: str = "device") -> Node:
        if network == HOME:
            self.far.add(name)
        return self.ring.add(name, settings=self.settings(name), network=network, disk=disk, program=program)

    def person(self, name: str, devices: int = 1, *, nodes: Sequence[Node] = ()) -> Person:
        """With so many devices; `nodes` are those that were made already."""
        made = list(nodes) + [self.device(f"{name}-{number + 1}") for number in range(len(nodes), devices)]
        self.ring.start(*made)
        first = made[0]
        account = first.call("account.create", device_name=first.name, name=name.title())
        self._has_account(first)
        self.people[name] = Person(name, account["account"], account["words"], [first.name])
        for node in made[1:]:
            self.pair(first, node)
        self.tell(f"{name} has {len(made)} device{'s' if len(made) > 1 else ''}")
        return self.people[name]

    def _has_account(self, node: Node) -> None:
        def look() -> bool:
            status = node.status()
            return status.get("state") == "ready" and status.get("account") is not None

        until(look, f"{node.name} has no account")

    def owner(self, name: str) -> Person:
        return next(each for each in self.people.values() if name in (*each.devices, *each.gone))

    def pair(self, old: Node, new: Node) -> None:
        self.paired(old, new, self.begin_pairing(old, new))

    def paired(self, old: Node, new: Node, pairing: bytes) -> None:
        """Wait until it is over."""
        self._has_account(new)
        until(lambda: old.call("pair.get", pair=pairing)["step"] == "finished", f"{old.name} does not finish linking")

    def lists(self, node: Node, name: str) -> bool:
        """Whether a device of that name is one of the account, as far as that node knows."""
        return name in [each["name"] for each in node.call("device.list")["devices"]]

    def begin_pairing(self, old: Node, new: Node) -> bytes:
        """People compared, and the old device let the new one in: the rest goes by itself."""
        offer = old.call("pair.start")
        joined = new.call("pair.join", code=offer["uri"], device_name=new.name)
        met = old.call("pair.get", pair=offer["pair"], step="waiting", wait_ms=20_000, timeout=30)
        other = new.call("pair.get", pair=joined["pair"], step="waiting", wait_ms=20_000, timeout=30)
        if not met["check"] or met["check"] != other["check"]:
            raise Wrong(f"{old.name} and {new.name} show {met['check']!r} and {other['check']!r}")
        old.call("pair.confirm", pair=offer["pair"], check=other["check"])
        self.owner(old.name).devices.append(new.name)
        pairing: bytes = offer["pair"]
        return pairing

    def delegates(self, *names: str) -> None:
        """These devices of one person may all let in others and remove them."""
        first = self.node(names[0])
        ids = [self.node(name).call("status.get")["device"] for name in names]
        words = self.owner(names[0]).words
        first.call("account.set_rules", words=words, rules={}, delegates=ids)
        self._trusted |= set(names)
        for name in names:
            until(lambda name=name: self.node(name).call("account.get")["delegate"], f"{name} is no delegate")  # type: ignore[misc]

    def remove(self, by: str, name: str) -> None:
        """A device is lost: what is said from here on is not for it."""
        device = next(each["device"] for each in self.node(by).call("device.list")["devices"] if each["name"] == name)
        self._remove(by, name, device)
        owner = self.owner(name)
        owner.devices.remove(name)
        owner.gone.append(name)
        self.ring.story.tell("fault", f"removed by {by}", name)

    def removed(self, by: str, among: Sequence[str] = ()) -> None:
        """Wait until who was removed is shut out of every chat, as far as that device and those among it know."""
        names = among or [each.name for each in self.living()]
        count = len(self.owner(by).devices)

        def look() -> bool:
            listed = self.node(by).call("device.list")
            told = self.node(by).events("device.rotation")
            done = [each for each in told if each.data["rotated"] == each.data["chats"] > 0]
            return len(listed["devices"]) == count and len(done) > 0

        until(look, f"the removal by {by} is not complete")
        for chat in self.chats:
            inside = [name for name in names if self.owner(name).name in chat.people]

            def agree(chat: Chat = chat, inside: list[str] = inside) -> bool:
                return len(self.epochs(chat, inside)) == 1

            until(agree, "several epochs after a removal")

    def remove_again(self, by: str, name: str) -> None:
        """The same on another side, which has not heard of it."""
        device = next(each["device"] for each in self.node(by).call("device.list")["devices"] if each["name"] == name)
        self._remove(by, name, device)
        self.ring.story.tell("fault", f"removed by {by} too", name)

    def _remove(self, by: str, name: str, device: bytes) -> None:
        """With the recovery words only where they are needed: typed on two sides of a cut, they say two things."""
        can = self.node(by).call("account.get")["delegate"] and name not in self._trusted
        words: dict[str, Any] = {} if can else {"words": self.owner(by).words}
        self.node(by).call("device.remove", device=device, **words)

    def expelled(self, chat: Chat, person: str) -> None:
        """Wait until somebody who was removed from a chat is out of it."""
        chat.people.remove(person)
        for name in self.audience(chat):
            self.inside(chat, name)
        gone = self.people.pop(person)
        chat.strangers |= set(gone.devices)

    # ---------------------------------------------------------------- chats

    def introduce(self, one: str, other: str) -> None:
        """They have each other's links, and compare numbers."""
        nodes = [self.node(self.people[name].devices[0]) for name in (one, other)]
        links = [node.call("contact.link")["link"] for node in nodes]
        ids = [
            nodes[0].call("contact.add", link=links[1], name=other.title())["account"],
            nodes[1].call("contact.add", link=links[0], name=one.title())["account"],
        ]
        numbers = {
            node.call("contact.get", account=account)["safety_number"] for node, account in zip(nodes, ids, strict=True)
        }
        if len(numbers) != 1:
            raise Wrong(f"the safety numbers of {one} and {other} differ")

    def chat(self, title: str, host: str, *others: str, introduced: bool = False) -> Chat:
        """Everybody knows everybody, and is in it."""
        people = [host, *others]
        if not introduced:
            for at, one in enumerate(people):
                for other in people[at + 1 :]:
                    self.introduce(one, other)
        first = self.node(self.people[host].devices[0])
        made = Chat(title, first.call("chat.create", title=title)["chat"], people)
        for other in others:
            first.call("chat.invite", chat=made.id, account=self.people[other].account)
        self.chats.append(made)
        for name in self.audience(made):
            self.inside(made, name)
        self.tell(f"{', '.join(people)} have a chat, “{title}”")
        return made

    def inside(self, chat: Chat, name: str) -> None:
        def look() -> bool:
            try:
                found = self.node(name).call("chat.get", chat=chat.id)
            except RpcError:
                return False
            return bool(found["can_speak"]) and len(found["members"]) == len(chat.people)

        until(look, f"{name} is not in “{chat.title}”")

    def audience(self, chat: Chat) -> list[str]:
        return [name for person in chat.people for name in self.people[person].devices]

    def hidden(self) -> frozenset[str]:
        return frozenset(name for person in self.people.values() for name in person.gone)

    def epochs(self, chat: Chat, names: Sequence[str] = ()) -> set[bytes]:
        return {self.node(name).call("chat.get", chat=chat.id)["epoch"] for name in names or self.audience(chat)}

    # ---------------------------------------------------------------- what is said

    def say(self, chat: Chat, about: str, names: Sequence[str] = (), *, times: int = 1) -> list[bytes]:
        """Each of these says something, or everybody. Devices that were removed must not read it."""
        fresh = []
        for _ in range(times):
            for name in names or self.audience(chat):
                self._numbers += 1
                text = f"{about}, {name} says, {self._numbers}".encode()
                self.node(name).call("msg.send", chat=chat.id, data=text, media="text/plain")
                hidden = self.hidden() | chat.strangers
                chat.said.append(Said(text, name, frozenset(self.audience(chat)), hidden))
                fresh.append(text)
                self.ring.story.tell("say", text.decode(), name)
        return fresh

    def stolen(self, chat: Chat, name: str, about: str) -> None:
        """A device that was removed says something, if it can. It may be heard where that is not known yet, once."""
        self._numbers += 1
        text = f"{about}, {self._numbers}".encode()
        try:
            self.node(name).call("msg.send", chat=chat.id, data=text, media="text/plain")
        except RpcError as error:
            self.ring.story.tell("step", f"may not speak: {error.code}", name)
            return
        chat.may.add(text)
        self.ring.story.tell("say", text.decode(), name)

    def kept(self, chat: Chat, texts: Iterable[bytes]) -> None:
        """Wait until the mailbox has what was said."""
        wanted = set(texts)
        names = list(dict.fromkeys(each.by for each in chat.said if each.text in wanted))
        for by in names:
            due = {each.text for each in chat.said if each.by == by and each.text in wanted}
            until(lambda by=by, due=due: self._gone_out(by, chat, due), f"{by} does not get rid of what it said")  # type: ignore[misc]
        for _ in range(ROUNDS):
            for by in names:
                until(lambda by=by: self._served(by), f"{by} is not served by the mailbox")  # type: ignore[misc]
            self.settled()
            if all(self._served(by) for by in names):  # asked only meanwhile, it may have said no
                return
        raise Wrong(f"the mailbox serves {', '.join(names)} now and then")

    def _gone_out(self, name: str, chat: Chat, texts: set[bytes]) -> bool:
        """Whether the mesh has it. A new device may not speak at once: until then it is a message and no frame yet."""
        node = self.node(name)
        sent = {each.data["msg"] for each in node.events("msg.sent")}
        out = {each.data["data"] for each in self.received(name, chat) if each.data["msg"] in sent}
        backlog = node.status().get("backlog") or {}
        return texts <= out and backlog.get("unsent") == backlog.get("queued") == 0

    def _served(self, name: str) -> bool:
        """Whether it is connected, and the mailbox did what it asked for last: new tenants are told no for a while."""
        node = self.node(name)
        if not node.status().get("online"):
            return False
        problems = node.call("health.list", all=True)["problems"]
        return not any(each["code"].startswith("mailbox-") for each in problems)

    def settled(self) -> None:
        """The mailbox gets no more frames for a while, by how often it said so: while all stands still, it does not."""
        box = self.box
        assert box is not None
        last, seen, same = -1, 0, 0

        def look() -> bool:
            nonlocal last, seen, same
            now = box.number("vcd_mailbox_frames")
            said = box.numbers.stat().st_mtime_ns if now >= 0 else 0
            if now != last:
                last, seen, same = now, said, 0
            elif said != seen:
                seen, same = said, same + 1
            return now > 0 and same > 3

        until(look, "the mailbox does not come to rest")

    def heard(
        self,
        chat: Chat,
        names: Sequence[str] = (),
        *,
        texts: Iterable[bytes] | None = None,
        within: float = PATIENCE,
    ) -> None:
        """Wait until each of these has what it is to have; all that was said, or some of it."""
        wanted = None if texts is None else set(texts)
        for name in names or [each for each in self.audience(chat) if self.node(each).running]:
            due = {each.text for each in chat.said if name in each.audience and (wanted is None or each.text in wanted)}

            def look(name: str = name, due: set[bytes] = due) -> bool:
                return due <= self.has(name, chat)

            def lacks(name: str = name, due: set[bytes] = due) -> str:
                missing = sorted(due - self.has(name, chat))
                return f"{name} lacks {len(missing)} of {len(due)} things said in “{chat.title}”: {missing[:5]}"

            until(look, lacks, within)

    def has(self, name: str, chat: Chat) -> set[bytes]:
        return {each.data["data"] for each in self.received(name, chat)}

    def received(self, name: str, chat: Chat) -> list[Any]:
        return [each for each in self.node(name).events("msg.received") if each.chat == chat.id]
