"""`python -m tests.demo` (or `make demo`): Alice with three devices and Bob with two, on this machine.

They link, converse, and are split: Alice's first device with Bob's first one, the other three by themselves. On both
sides they talk, and on both sides Alice's tablet is removed. Then they are together again. It ends with what every
daemon's own log of events says, read over its socket: each message once at each device that should have it, none on the
tablet after its removal was known, one chat again; and with a picture of the chat's epochs.

The split is real: each daemon is told by its settings whom to have no connection with, and closes those that there are.
Anything that is not as it should be ends this with exit code 1 and a line that says what.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.vcd.daemon.process import Daemon, home
from vcd.cli.pictures import draw
from vcd.client import RpcError

T = TypeVar("T")
SETTINGS = """version = 1

[network]
listen = ["/ip4/127.0.0.1/tcp/0"]
mdns = false
loopback_addresses = true
deny_peers = [{denied}]

[node]
quiet = "300 ms"
turn_taking = "1 s"
retry = "2 s"
retry_most = "10 s"
relay_after = "5 s"
order_wait = "1 s"
desync_after = "15 s"
"""
PATIENCE = 60.0
SIDES = (("alice-laptop", "bob-phone"), ("alice-phone", "alice-tablet", "bob-laptop"))
NAMES = ("alice-laptop", "alice-phone", "alice-tablet", "bob-phone", "bob-laptop")
STAY = tuple(name for name in NAMES if name != "alice-tablet")


class Wrong(Exception):
    """Something is not as it should be."""


class Demo:
    """All of them, and what was said."""

    def __init__(self, daemons: dict[str, Daemon]) -> None:
        self._daemons = daemons
        self._began = time.monotonic()
        self._peers: dict[str, str] = {}
        self._devices: dict[str, bytes] = {}
        self.said: list[bytes] = []
        self.chat = b""

    def tell(self, text: str) -> None:
        sys.stdout.write(f"{time.monotonic() - self._began:5.1f} s  {text}\n")
        sys.stdout.flush()

    def until(self, look: Callable[[], T | None], what: str) -> T:
        end = time.monotonic() + PATIENCE
        while True:
            found = look()
            if found is not None and found is not False:
                return found
            if time.monotonic() > end:
                raise Wrong(what)
            time.sleep(0.05)

    def call(self, name: str, method: str, /, **params: Any) -> Any:
        return self._daemons[name].call(method, **params)

    # ---------------------------------------------------------------- what happens

    def begin(self) -> None:
        """Five daemons, two accounts."""
        for daemon in self._daemons.values():
            daemon.start(ready=False)
        for name, daemon in self._daemons.items():
            daemon.until_state("ready")
            self._peers[name] = daemon.call("status.get")["peer"]
        self.tell("five daemons run")
        made = self.call("alice-laptop", "account.create", device_name="laptop", name="Alice")
        self.call("bob-phone", "account.create", device_name="phone", name="Bob")
        for name in ("alice-laptop", "bob-phone"):
            self._has_account(name)
        for old, new in (
            ("alice-laptop", "alice-phone"),
            ("alice-laptop", "alice-tablet"),
            ("bob-phone", "bob-laptop"),
        ):
            self._pair(old, new)
        for name in NAMES:
            self._devices[name] = self.call(name, "status.get")["device"]
        # Both may let in others and remove them: on either side of the split there is one that can.
        action = self.call(
            "alice-laptop",
            "account.set_rules",
            words=made["words"],
            rules={},
            delegates=[self._devices["alice-laptop"], self._devices["alice-phone"]],
        )["action"]
        self._settled("alice-laptop", action)
        self.until(lambda: self.call("alice-phone", "account.get")["delegate"], "Alice's phone may not let in others")
        self.tell("Alice has a laptop, a phone and a tablet; Bob a phone and a laptop")

    def _has_account(self, name: str) -> None:
        def look() -> bool:
            status = self._daemons[name].status()
            return status.get("state") == "ready" and status.get("account") is not None

        self.until(look, f"{name} has no account")

    def _pair(self, old: str, new: str) -> None:
        offer = self.call(old, "pair.start")
        joined = self.call(new, "pair.join", code=offer["uri"], device_name=new.partition("-")[2])
        met = self.call(old, "pair.get", pair=offer["pair"], step="waiting", wait_ms=20_000)
        other = self.call(new, "pair.get", pair=joined["pair"], step="waiting", wait_ms=20_000)
        if not met["check"] or met["check"] != other["check"]:
            raise Wrong(f"{old} and {new} show {met['check']!r} and {other['check']!r}")
        self.call(old, "pair.confirm", pair=offer["pair"], check=other["check"])
        self._has_account(new)
        self.until(
            lambda: self.call(old, "pair.get", pair=offer["pair"])["step"] == "finished", f"{new} was not linked"
        )

    def _settled(self, name: str, action: bytes) -> None:
        def look() -> bool | None:
            for event in self._daemons[name].events("action.settled"):
                if event.data["action"] == action:
                    if not event.data["stands"]:
                        raise Wrong(f"what {name} asked for does not stand: {event.data['reason']}")
                    return True
            return None

        self.until(look, f"what {name} asked for is not settled")

    def link(self) -> None:
        """Alice and Bob know each other, and have a chat."""
        links = [self.call(name, "contact.link")["link"] for name in ("alice-laptop", "bob-phone")]
        bob = self.call("alice-laptop", "contact.add", link=links[1], name="Bob")["account"]
        alice = self.call("bob-phone", "contact.add", link=links[0], name="Alice")["account"]
        numbers = {
            self.call("alice-laptop", "contact.get", account=bob)["safety_number"],
            self.call("bob-phone", "contact.get", account=alice)["safety_number"],
        }
        if len(numbers) != 1:
            raise Wrong("their safety numbers differ")
        self.chat = self.call("alice-laptop", "chat.create", title="tea")["chat"]
        self.call("alice-laptop", "chat.invite", chat=self.chat, account=bob)
        for name in NAMES:
            self.until(lambda name=name: self._in_chat(name), f"{name} is not in the chat")  # type: ignore[misc]
        self.tell("they have a chat, and in it are two members: nobody there can tell how many devices that is")

    def _in_chat(self, name: str) -> bool:
        try:
            chat = self.call(name, "chat.get", chat=self.chat)
        except RpcError:
            return False
        return chat["can_speak"] and len(chat["members"]) == 2

    def talk(self, about: str, names: Sequence[str] = NAMES, *, heard: Sequence[str] = ()) -> None:
        """Each says two things; those who are to hear them do."""
        fresh = []
        for number in (1, 2):
            for name in names:
                text = f"{about}, {name} says, {number}".encode()
                self.call(name, "msg.send", chat=self.chat, data=text, media="text/plain")
                fresh.append(text)
        self.said += fresh
        for name in heard or names:
            self.until(
                lambda name=name: set(fresh) <= set(self._daemons[name].heard(self.chat)),  # type: ignore[misc]
                f"{name} does not hear what is said {about}",
            )

    def split(self) -> None:
        """No connection between the sides any more."""
        for side, other in (SIDES, SIDES[::-1]):
            for name in side:
                self._deny(name, [self._peers[each] for each in other])
        for side in SIDES:
            for name in side:
                self.until(
                    lambda name=name, side=side: self.call(name, "status.get")["peers"] < len(side),  # type: ignore[misc]
                    f"{name} is still connected to the other side",
                )
        self.tell("split: Alice's laptop with Bob's phone, the other three by themselves; all other connections closed")

    def _deny(self, name: str, peers: Sequence[str]) -> None:
        daemon = self._daemons[name]
        denied = ", ".join(f'"{each}"' for each in peers)
        (daemon.home / "vcd.toml").write_text(SETTINGS.format(denied=denied), encoding="utf-8")
        assert daemon.process is not None
        daemon.process.send_signal(signal.SIGHUP)

    def apart(self) -> None:
        """On both sides they talk, and remove the same tablet, each without hearing of the other."""
        for side in SIDES:
            self.talk("apart", [name for name in side if name in STAY])
        for name in ("alice-laptop", "alice-phone"):
            self.call(name, "device.remove", device=self._devices["alice-tablet"])
        self.tell("on both sides Alice removes her tablet")
        for name in ("alice-laptop", "alice-phone"):
            self.until(lambda name=name: self._is_removed(name), f"the tablet is not removed, as far as {name} goes")  # type: ignore[misc]
        for side in SIDES:
            stay = [name for name in side if name in STAY]
            self.until(lambda stay=stay: len(self._epochs("epoch", stay)) == 1, "one side stands at several epochs")  # type: ignore[misc]
        for side in SIDES:
            self.talk("after the removal", [name for name in side if name in STAY])
        branches = {self.call(name, "chat.get", chat=self.chat)["epoch"] for name in ("alice-laptop", "alice-phone")}
        self.tell(f"the chat has {len(branches)} branches")

    def heal(self) -> None:
        """Together again, and one chat."""
        for name in NAMES:
            self._deny(name, [])
        self.tell("the connections come back")
        for name in STAY:
            self.until(
                lambda name=name: set(self.said) <= set(self._daemons[name].heard(self.chat)),  # type: ignore[misc]
                f"{name} lacks something that was said",
            )
        self.until(lambda: len(self._epochs("epoch")) == 1, "the chat stands at several epochs")
        self.talk("together", STAY)
        self.until(lambda: len(self._epochs("epoch")) == 1, "the chat stands at several epochs")
        self.tell("everybody heard everything, and the chat is one again")

    def _is_removed(self, name: str) -> bool:
        """Here it is shut out of the chat too; for good only when the other side was heard."""
        known = self.call(name, "device.list")
        told = self._daemons[name].events("device.rotation")
        return len(known["devices"]) == 2 and any(each.data["rotated"] == each.data["chats"] > 0 for each in told)

    def _epochs(self, which: str, names: Sequence[str] = STAY) -> set[bytes]:
        return {self.call(name, "chat.get", chat=self.chat)[which] for name in names}

    # ---------------------------------------------------------------- what is to be shown

    def check(self) -> int:
        """By each daemon's own log. How many messages there were."""
        wanted = Counter(self.said)
        for name in STAY:
            events = [each for each in self._daemons[name].events("msg.received") if each.chat == self.chat]
            told = Counter(each.data["data"] for each in events)
            if told != wanted:
                lacks, twice = wanted - told, told - wanted
                raise Wrong(f"{name}: {sum(lacks.values())} missing, {sum(twice.values())} too many: {lacks or twice}")
        tablet = {each.data["data"] for each in self._daemons["alice-tablet"].events("msg.received")}
        leaked = [text for text in self.said if text.startswith((b"after the removal", b"together")) and text in tablet]
        if leaked:
            raise Wrong(f"the removed tablet could read {leaked[0]!r}")
        for owner in ("alice", "bob"):
            lists = {
                tuple(sorted(each["device"] for each in self.call(name, "device.list")["devices"]))
                for name in STAY
                if name.startswith(owner)
            }
            if len(lists) != 1:
                raise Wrong(f"{owner}'s devices do not agree on who they are")
        self.tell("each log has each message once, and the tablet has none of what came after its removal")
        return len(self.said)

    def picture(self, path: Path) -> None:
        graph = self.call("alice-laptop", "chat.graph", chat=self.chat)
        path.write_text(draw("svg", graph, "tea", {}), encoding="utf-8")
        self.tell(f"the chat's epochs, drawn: {path}")


@contextmanager
def daemons(folder: Path) -> Iterator[dict[str, Daemon]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(home(folder / name, SETTINGS.format(denied=""))) for name in NAMES}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.demo", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--picture", type=Path, help="where to draw the chat's epochs")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vcd-demo-") as folder, daemons(Path(folder)) as several:
        demo = Demo(several)
        try:
            demo.begin()
            demo.link()
            demo.talk("first")
            demo.tell("all of them heard all of it")
            demo.split()
            demo.apart()
            demo.heal()
            count = demo.check()
            demo.picture(given.picture or Path(folder) / "tea.svg")
        except Wrong as wrong:
            sys.stdout.write(f"not shown: {wrong}\n")
            return 1
        for daemon in several.values():
            daemon.end()
    sys.stdout.write(
        f"shown: {count} messages, each once at all 4 devices that stay, through a split in which one was removed on "
        f"both sides, in {time.monotonic() - demo._began:.0f} s\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
