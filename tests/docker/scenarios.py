"""What happens: a table of functions, each played in any ring. The docstring of each is what the report says.

A scenario makes its town, does something to it, and waits for what can be waited for; what has to hold in the end is
`tests.docker.check`'s. `Scale` says how long: the short form is for every change, the full one for the long run.
"""

from __future__ import annotations

import subprocess
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.docker.ring import PATIENCE, Ring, Wrong, until
from tests.docker.town import Chat, Town
from tests.docker.wires import HOME, ROOT
from vcd.client import RpcError

Play = Callable[[Town, "Scale"], None]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much of it."""

    devices: int
    """Of the person with several."""
    contacts: int
    talk: float
    """Seconds of conversation."""
    apart: float
    """Seconds that a cut lasts, at least."""
    idle: int
    """Nodes that do nothing."""


SHORT = Scale(devices=3, contacts=1, talk=8, apart=3, idle=8)
SMALL = Scale(devices=2, contacts=1, talk=4, apart=2, idle=3)
FULL = Scale(devices=5, contacts=3, talk=600, apart=60, idle=50)
NAMES = ("bob", "carol", "dave")
OLD = "3877314"
"""A commit whose state has to be taken up, as long as no version was given out."""


@dataclass(frozen=True, slots=True)
class Scenario:
    play: Play
    short: bool
    """Whether it is played for every change."""
    expected: tuple[str, ...] = ()
    """What logs may say above a warning, as regular expressions."""

    @property
    def about(self) -> str:
        return " ".join((self.play.__doc__ or "").split())


SCENARIOS: dict[str, Scenario] = {}


def scenario(*expected: str, short: bool = False) -> Callable[[Play], Play]:
    def add(play: Play) -> Play:
        SCENARIOS[play.__name__] = Scenario(play, short, expected)
        return play

    return add


def family(town: Town, scale: Scale, *, mailbox: bool = False) -> Chat:
    """Alice with several devices, and her contacts, in one chat."""
    if mailbox:
        town.mailbox()
    town.person("alice", scale.devices)
    contacts = NAMES[: scale.contacts]
    for name in contacts:
        town.person(name)
    if mailbox:
        town.admit()
    tea = town.chat("tea", "alice", *contacts)
    town.say(tea, "first")
    town.heard(tea)
    return tea


def talk(town: Town, chat: Chat, seconds: float) -> None:
    """All of them, in turn, at the pace of people; and at the end all have heard it."""
    end = time.monotonic() + seconds
    number = 0
    names = town.audience(chat)
    while time.monotonic() < end:
        town.say(chat, "conversation", [names[number % len(names)]])
        number += 1
        time.sleep(0.5)
    town.heard(chat)


@scenario(short=True)
def three(town: Town, scale: Scale) -> None:
    """Three devices of two people: one is cut off, one is killed, one paused, one stopped; all of them come back."""
    tea = family(town, SMALL)
    ring = town.ring
    one, two, bob = (town.node(name) for name in town.audience(tea))
    apart(town, tea, [one.name, bob.name], [two.name], seconds=scale.apart)
    ring.kill(one)
    town.say(tea, "in spite of it", [bob.name])
    ring.start(one)
    together(town, tea)
    ring.pause(bob)
    town.heard(tea, [one.name, two.name], texts=town.say(tea, "one sleeps", [one.name, two.name]))
    ring.resume(bob)
    ring.stop(two)
    town.say(tea, "one is off", [one.name, bob.name])
    ring.start(two)
    town.heard(tea)


@scenario()
def converse(town: Town, scale: Scale) -> None:
    """Five devices of one person and three contacts converse."""
    tea = family(town, scale)
    talk(town, tea, scale.talk)


def apart(town: Town, chat: Chat, *sides: list[str], seconds: float) -> None:
    """These hear each other, and nobody of another side."""
    town.ring.cut(*([town.node(name) for name in side] for side in sides))
    for side in sides:
        town.heard(chat, side, texts=town.say(chat, "apart", side))
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for side in sides:
            town.say(chat, "apart still", side[:1])
        time.sleep(1)


def together(town: Town, chat: Chat) -> None:
    town.ring.join()
    town.heard(chat)
    town.say(chat, "together")
    town.heard(chat)


@scenario(short=True)
def cut_in_two(town: Town, scale: Scale) -> None:
    """The network is cut in two. Both sides talk, and each removes the same device by itself; it heals."""
    tea = family(town, scale)
    alice = town.people["alice"].devices
    lost = alice[-1]
    town.delegates(*alice[:2])
    sides = [[alice[0], "bob-1"], [name for name in town.audience(tea) if name not in {alice[0], "bob-1"}]]
    apart(town, tea, *sides, seconds=scale.apart)
    town.remove(alice[0], lost)
    town.remove_again(alice[1], lost)
    for by, side in zip(alice, sides, strict=False):
        stay = [name for name in side if name != lost]
        town.removed(by, stay)
        town.say(tea, "after the removal", stay)
    together(town, tea)


@scenario()
def cut_in_three(town: Town, scale: Scale) -> None:
    """The network is cut in three, and a side of that in two again; all of them talk, and it heals in steps."""
    tea = family(town, scale)
    names = town.audience(tea)
    sides = [names[0::3], names[1::3], names[2::3]]
    apart(town, tea, *sides, seconds=scale.apart)
    for side in sides:
        town.node(side[0]).call("chat.rotate", chat=tea.id)
    apart(town, tea, sides[0] + sides[1], sides[2], seconds=scale.apart)
    together(town, tea)


@scenario()
def ends(town: Town, scale: Scale) -> None:
    """Each device in turn is stopped, killed by kill -9, or paused for a while, and comes back; the others talk."""
    tea = family(town, scale)
    ring = town.ring
    for number, name in enumerate(town.audience(tea)):
        node = town.node(name)
        others = [each for each in town.audience(tea) if each != name]
        town.say(tea, "before it ends", [name])
        match number % 3:
            case 0:
                ring.kill(node)
            case 1:
                ring.pause(node)
            case _:
                ring.stop(node)
        town.heard(tea, others, texts=town.say(tea, "without one", others))
        time.sleep(scale.apart)
        if node.paused:
            ring.resume(node)
        else:
            ring.start(node)
        town.heard(tea)
    town.node("alice-1").call("account.rotate", chats=True)
    everybody = [town.node(name) for name in town.audience(tea)]
    ring.kill(*everybody)
    ring.start(*everybody)
    town.say(tea, "after all were killed")
    town.heard(tea)


@scenario(r"the state cannot be opened: StoreTrouble: full")
def full_disk(town: Town, scale: Scale) -> None:
    """A device's disk fills up, and it is killed. It says so, takes nothing new, and goes on once there is room."""
    small = town.device("alice-1", disk=24 << 20)
    other = town.device("alice-2")
    town.person("alice", nodes=[small, other])
    town.person("bob")
    tea = town.chat("tea", "alice", "bob")
    town.say(tea, "first")
    town.heard(tea)
    town.ring.fill(small)
    others = ["alice-2", "bob-1"]
    for _ in range(5):
        town.heard(tea, others, texts=town.say(tea, "while a disk is full", others))

    def refused() -> bool:
        try:
            small.call("chat.create", title="no room")
        except RpcError as error:
            return str(error.code) == "E_STORE_FULL"
        return False

    until(refused, "a daemon with a full disk does not say so")
    time.sleep(scale.apart)
    town.ring.kill(small)
    town.ring.fill(small)  # what it had open when it was killed is room now
    town.ring.start(small, ready=False)
    until(lambda: small.status().get("store") == "full", "a daemon that starts with a full disk does not say so")
    time.sleep(scale.apart)
    town.ring.empty(small)
    until(lambda: small.status().get("store") == "ok", "there is room, and the daemon does not see it")
    town.heard(tea)
    town.say(tea, "with room")
    town.heard(tea)


@scenario()
def clock(town: Town, scale: Scale) -> None:
    """One device's clock is a day ahead, another one's a day behind; later both are set right."""
    tea = family(town, scale)
    ring, day = town.ring, 24 * 3600 * 1000
    off = [(town.node("alice-2"), day), (town.node("bob-1"), -day)]
    for node, by in off:
        ring.stop(node)
        ring.set_clock(node, by)
        ring.start(node)
    talk(town, tea, min(scale.talk, scale.apart))
    town.node("alice-1").call("account.rotate", chats=True)
    talk(town, tea, min(scale.talk, scale.apart))
    for node, _ in off:
        ring.stop(node)
        ring.set_clock(node, 0)
        ring.start(node)
    town.say(tea, "clocks are right")
    town.heard(tea)


@scenario()
def weather(town: Town, scale: Scale) -> None:
    """Every device's packets go through bad weather: a fifth of them is lost, the rest comes 300 ms late."""
    tea = family(town, scale)
    nodes = town.living()
    town.ring.rough(*nodes, loss=0.2, delay_ms=300)
    names = town.audience(tea)
    for number in range(max(2, int(scale.talk / 20))):
        town.heard(tea, texts=town.say(tea, "in bad weather", [names[number % len(names)]]), within=300)
    town.node("alice-1").call("chat.rotate", chat=tea.id)
    town.say(tea, "through the storm")
    town.heard(tea, within=300)
    town.ring.fair(*nodes)
    town.say(tea, "fair again")
    town.heard(tea, within=180)


@scenario()
def mailbox_only(town: Town, scale: Scale) -> None:
    """No two devices are ever on at the same time: each hears the others through the mailbox alone."""
    tea = family(town, scale, mailbox=True)
    nodes = town.living()
    time.sleep(3)
    town.ring.stop(*nodes)
    for turn in range(2):
        for node in nodes:
            town.ring.start(node)
            town.heard(tea, [node.name])
            town.kept(tea, town.say(tea, f"alone, in turn {turn + 1}", [node.name]))
            town.ring.stop(node)
    town.ring.start(*nodes)
    town.heard(tea)


@scenario()
def added_alone(town: Town, scale: Scale) -> None:
    """A device is linked while its siblings are on one at a time, and then is alone with the mailbox; all find it."""
    tea = family(town, scale, mailbox=True)
    time.sleep(3)
    siblings = [town.node(name) for name in town.people["alice"].devices[1:]]
    first, bob = town.node("alice-1"), town.node("bob-1")
    town.ring.stop(*siblings, bob)
    town.kept(tea, town.say(tea, "nobody is here", [first.name]))
    new = town.device("alice-new")
    town.ring.start(new)
    pairing = town.begin_pairing(first, new)
    town.settled()
    town.ring.stop(first, new)
    for node in (*siblings, *siblings):  # each agrees, alone; and once more, to what it has heard of the others by then
        town.ring.start(node)
        until(lambda node=node: town.lists(node, new.name), f"{node.name} does not hear of the new device")  # type: ignore[misc]
        town.settled()
        town.ring.stop(node)
    town.ring.start(first, new)
    town.paired(first, new, pairing)
    town.inside(tea, new.name)
    town.ring.stop(first)
    town.kept(tea, town.say(tea, "alone with the mailbox", [new.name]))
    town.ring.stop(new)
    for node in (*siblings, bob):
        town.ring.start(node)
        town.heard(tea, [node.name])
        town.kept(tea, town.say(tea, "who are you?", [node.name]))
        town.ring.stop(node)
    town.ring.start(*siblings, bob, first, new)
    town.heard(tea)


@scenario()
def recovered_alone(town: Town, scale: Scale) -> None:
    """All of a person's devices are lost. A new one takes the account up by its words, with only the mailbox up."""
    tea = family(town, scale, mailbox=True)
    time.sleep(3)
    alice = town.people["alice"]
    old, contact = [town.node(name) for name in alice.devices], town.node("bob-1")
    others = [node for node in town.living() if node not in (*old, contact)]
    town.ring.stop(*town.living())
    new = town.device("alice-new")
    town.ring.start(new)
    new.call("account.recover", words=alice.words, device_name=new.name)
    until(lambda: new.status().get("account"), "the account is not taken up")
    alice.gone += alice.devices
    alice.devices = [new.name]
    town.ring.start(contact)
    town.admit()
    link = new.call("contact.link")["link"]
    contact.call("contact.add", link=link)
    new.call("contact.add", link=contact.call("contact.link")["link"])
    town.chats.clear()
    cake = town.chat("cake", "bob", "alice", introduced=True)
    town.ring.stop(contact)
    town.kept(cake, town.say(cake, "it is me", [new.name]))
    town.ring.stop(new)
    town.ring.start(contact, *old, *others)
    town.heard(cake, [contact.name])
    town.ring.start(new)
    town.say(cake, "there you are")
    town.heard(cake)
    until(lambda: tea.id not in [each["chat"] for each in new.call("chat.list", standing="member")["chats"]], "")


@scenario(short=True)
def stolen(town: Town, scale: Scale) -> None:
    """A stolen device is removed while it is away, and goes on talking, also when it is back among the others."""
    tea = family(town, scale)
    thief = town.people["alice"].devices[-1]
    ring = town.ring
    everybody = [node for node in town.living() if node.name != thief]
    ring.cut(everybody, [town.node(thief)])
    town.remove("alice-1", thief)
    town.removed("alice-1")
    town.stolen(tea, thief, "by the thief")
    town.say(tea, "behind its back")
    ring.join()
    for _ in range(5):
        town.stolen(tea, thief, "by the thief, among the others")
        town.heard(tea, texts=town.say(tea, "among ourselves"))
        time.sleep(scale.apart / 5)
    ring.kill(town.node(thief))
    ring.start(town.node(thief))
    town.stolen(tea, thief, "by the thief, from anew")
    town.say(tea, "still among ourselves")
    town.heard(tea)


@scenario(short=True)
def hostile(town: Town, scale: Scale) -> None:
    """A member floods the chat, replays what was said and corrupts it; the others go on talking, and then remove it."""
    program = str(Path(__file__).with_name("hostile.py"))
    evil = town.device("mallory-1", program=program)
    evil.arguments = (str(scale.talk),)
    town.person("alice", scale.devices)
    town.person("bob")
    town.person("mallory", nodes=[evil])
    tea = town.chat("tea", "alice", "bob", "mallory")
    town.say(tea, "first")
    town.heard(tea)
    (evil.home / "hostile").touch()
    town.ring.story.tell("fault", "floods, replays and corrupts", evil.name)
    good = [name for name in town.audience(tea) if name != evil.name]
    end = time.monotonic() + scale.talk + PATIENCE
    while not (evil.home / "harmed").exists() and time.monotonic() < end:
        town.heard(tea, good, texts=town.say(tea, "in spite of it", good), within=60)
    until((evil.home / "harmed").exists, "nobody does any harm", 1)
    sent = (evil.home / "harmed").read_text(encoding="ascii")
    town.ring.story.tell("mended", f"has sent {sent} frames", evil.name)
    town.ring.story.figures["hostile frames"] = int(sent)
    town.node("alice-1").call("chat.remove", chat=tea.id, account=town.people["mallory"].account)
    town.ring.kill(evil)
    town.expelled(tea, "mallory")
    town.say(tea, "without it")
    town.heard(tea)


@scenario()
def lost_mailbox(town: Town, scale: Scale) -> None:
    """The mailbox loses its disk, all but its key. It is given its topics again, and keeps what is said then."""
    tea = family(town, scale, mailbox=True)
    box = town.box
    assert box is not None
    time.sleep(3)
    town.ring.stop(box)
    town.ring.lose_disk(box, keep=("mailbox.key",))
    town.start_box()
    topics = 4
    until(lambda: box.number("vcd_mailbox_topics") >= topics, "the mailbox is not given its topics again")
    time.sleep(scale.apart)
    nodes = town.living()
    town.ring.stop(*nodes)
    for node in (nodes[0], nodes[-1]):
        town.ring.start(node)
        town.heard(tea, [node.name])
        town.kept(tea, town.say(tea, "after the mailbox was lost", [node.name]))
        town.ring.stop(node)
    town.ring.start(*nodes)
    town.heard(tea)


@scenario()
def behind_nat(town: Town, scale: Scale) -> None:
    """One device of each person is behind a NAT, and reached through the relay; the rest is on the street."""
    town.mailbox()
    town.person("alice", nodes=[town.device("alice-1"), town.device("alice-2", network=HOME)])
    town.person("bob", nodes=[town.device("bob-1", network=HOME)])
    town.admit()
    tea = town.chat("tea", "alice", "bob")
    town.say(tea, "through the NAT")
    town.heard(tea)
    town.ring.cut([town.node("alice-2"), town.node("bob-1"), town.node("box")], [town.node("alice-1")])
    names = ["alice-2", "bob-1"]
    town.heard(tea, names, texts=town.say(tea, "by ourselves", names))
    time.sleep(scale.apart)
    together(town, tea)


@scenario()
def upgrade(town: Town, scale: Scale) -> None:
    """Every device begins with an older version, and goes over to this one in turn, with its state."""
    ring = town.ring
    older = older_version(ring.folder / "older")
    names = [f"alice-{number + 1}" for number in range(scale.devices)]
    nodes = {name: town.device(name) for name in (*names, *(f"{each}-1" for each in NAMES[: scale.contacts]))}
    for node in nodes.values():
        node.source = older
    town.person("alice", nodes=[nodes[name] for name in names])
    for name in NAMES[: scale.contacts]:
        town.person(name, nodes=[nodes[f"{name}-1"]])
    tea = town.chat("tea", "alice", *NAMES[: scale.contacts])
    town.say(tea, "of old")
    town.heard(tea)
    for node in nodes.values():
        ring.stop(node)
        town.say(tea, "meanwhile", [each.name for each in nodes.values() if each is not node])
        node.source = None
        ring.start(node)
        town.heard(tea)
        town.say(tea, "of new", [node.name])
        town.heard(tea)
    nodes["alice-1"].call("account.rotate", chats=True)
    town.say(tea, "all of new")
    town.heard(tea)


def older_version(folder: Path) -> Path:
    """The packages of the last version that was given out; of `OLD` as long as there is none."""

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    which = git("describe", "--tags", "--abbrev=0") or OLD
    tarball = folder.with_suffix(".tar")
    git("archive", f"--output={tarball}", which, "mls", "transport", "vcd", "config")
    if not tarball.exists() or not tarball.stat().st_size:  # it is empty if there is no such version
        raise Wrong(f"version {which} is not in this clone")
    with tarfile.open(tarball) as packed:
        packed.extractall(folder, filter="data")
    return folder


@scenario()
def idle(town: Town, scale: Scale) -> None:
    """Many daemons do nothing: a person and her contacts, in chats of two. What that costs is measured."""
    town.person("alice", 2)
    people = [f"friend{number}" for number in range(1, scale.idle - 1)]
    for name in people:
        town.person(name)
        town.chat(f"with {name}", "alice", name)
    nodes = town.living()
    ring = town.ring
    before = {node.name: ring.cpu(node) for node in nodes}
    began = time.monotonic()
    time.sleep(max(20.0, scale.apart))
    spent = [(ring.cpu(node) - before[node.name]) / (time.monotonic() - began) for node in nodes]
    ring.story.figures |= {
        "nodes": len(nodes),
        "CPU of one at idle, %": round(100 * sum(spent) / len(spent), 2),
        "memory of one, MB": round(sum(ring.memory(node) for node in nodes) / len(nodes) / 1e6),
    }
    for chat in town.chats:
        town.say(chat, "are you there?")
    for chat in town.chats:
        town.heard(chat)


def play(name: str, ring: Ring, scale: Scale) -> Town:
    """Everything but the check."""
    town = Town(ring)
    ring.story.tell("about", SCENARIOS[name].about)
    SCENARIOS[name].play(town, scale)
    return town
