"""What is wrong now: a check for each thing that people can do something about.

Each check looks at the state and says nothing or a problem with a stable code. `Watch` remembers since when each has
been there, and says which are new or over, for `health.changed`: a problem is shown only when it has lasted for as long
as its row says, as many pass by themselves. One that another one explains says so (`depends_on`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from vcd.config.model import DEFAULTS
from vcd.core.policy import DAY, MINUTE, SECOND, of_group
from vcd.core.sights import sight_of
from vcd.core.state import State
from vcd.core.strand import Strand
from vcd.daemon import facts, removal
from vcd.daemon.facts import Facts

Severity = Literal["info", "warning", "error"]
_ORDER = {"error": 0, "warning": 1, "info": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Something that is wrong."""

    code: str
    severity: Severity
    title: str
    text: str
    args: dict[str, str] = field(default_factory=dict)
    after: int = 0
    """Milliseconds until it is shown."""
    depends_on: tuple[str, ...] = ()
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The same, with since when."""

    trouble: Trouble
    since: int
    visible: bool


@dataclass(slots=True)
class Watch:
    """What was there at the last look."""

    seen: dict[str, Seen] = field(default_factory=dict)
    restart: tuple[str, ...] = ()
    """Keys of the configuration that wait for a restart."""

    def look(self, troubles: Iterable[Trouble], now: int) -> list[tuple[Seen, bool]]:
        """Compare; gives what became visible (False) and what of that is over (True)."""
        found: dict[str, Seen] = {}
        news: list[tuple[Seen, bool]] = []
        for trouble in troubles:
            before = self.seen.get(trouble.code)
            since = now if before is None else before.since
            seen = Seen(trouble=trouble, since=since, visible=since + trouble.after <= now)
            found[trouble.code] = seen
            if seen.visible and not (before is not None and before.visible):
                news.append((seen, False))
        news += [(old, True) for code, old in self.seen.items() if old.visible and code not in found]
        self.seen = found
        return news

    def ordered(self, *, everything: bool = False) -> Sequence[Seen]:
        """The most severe first, then the longest there."""
        several = [each for each in self.seen.values() if everything or each.visible]
        return sorted(several, key=lambda each: (_ORDER[each.trouble.severity], each.since, each.trouble.code))


# ---------------------------------------------------------------- checks


def store(code: str, reason: str) -> list[Trouble]:
    """Of the disk: `code` as `status.get` has it."""
    known = {
        "full": ("The disk is full", "Make room: nothing is sent or taken until there is some."),
        "read-only": ("The state cannot be written", "Make its folder writable again."),
        "damaged": ("The state is damaged", "Stop the daemon, keep a copy, and look at docs/operations.md."),
        "newer": ("A newer vcd wrote this state", ""),
    }
    if code not in known:
        return []
    title, text = known[code]
    return [Trouble(code=f"store-{code}", severity="error", title=title, text=f"{text} {reason}".strip())]


def locked(state: str) -> list[Trouble]:
    if state != "locked":
        return []
    text = "Nothing is sent or received before it is opened."
    return [Trouble(code="locked", severity="warning", title="The vault is locked", text=text, command="vcd unlock")]


def vault(wanted: str, opens: str | None) -> list[Trouble]:
    """Of the settings' `vault.unlocker` and what opens the vault that is there, for which the settings come too late.

    The default says nothing of what is wanted: who changed the vault by `vault.rewrap` need not change the settings.
    """
    if opens in {None, wanted} or wanted == DEFAULTS["vault.unlocker"]:
        return []
    passphrase = " passphrase=@FILE" if wanted == "passphrase" else ""
    return [
        Trouble(
            code="unlocker-differs",
            severity="warning",
            title="The vault is not opened as the settings say",
            text=f"vault.unlocker is {wanted}, but the vault was made before: {opens} still opens it.",
            args={"wanted": wanted, "opens": str(opens)},
            command=f"vcd call vault.rewrap unlocker={wanted}{passphrase}",
        )
    ]


def restart(keys: Sequence[str]) -> list[Trouble]:
    if not keys:
        return []
    text = f"Changed since the start: {', '.join(keys[:8])}."
    title = "Settings wait for a restart"
    return [Trouble(code="restart-needed", severity="info", title=title, text=text)]


def anchors(missing: Sequence[str]) -> list[Trouble]:
    """Of the settings' `trust.anchors`: the files that hold none that can be used."""
    if not missing:
        return []
    return [
        Trouble(
            code="anchors-unreadable",
            severity="warning",
            title="A trust anchor cannot be read"
            if len(missing) == 1
            else f"{len(missing)} trust anchors cannot be read",
            text=f"Certificates that lead there are refused: {', '.join(missing[:4])}.",
            args={"files": str(len(missing))},
            command="vcd config show",
        )
    ]


def mailboxes(refusing: Mapping[str, int]) -> list[Trouble]:
    """Of those that do not do what they are asked for, by why."""
    return [
        Trouble(
            code=f"mailbox-{why.replace('_', '-')}",
            severity="warning",
            title="A mailbox refuses this account" if number == 1 else f"{number} mailboxes refuse this account",
            text=_REFUSING.get(why, "Its operator has to look at it."),
            args={"mailboxes": str(number)},
            after=30 * SECOND,
            depends_on=("peerless",),
            command="vcd account show",
        )
        for why, number in sorted(refusing.items())
    ]


_REFUSING = {
    "not_found": "Give its operator the mailbox key. There is another one after each removal of a device.",
    "full": "It has no more room for this account: its operator can give more.",
    "clock": "Its clock and ours differ by more than ten minutes.",
}


def node(state: State, peers: int, kept: Facts) -> list[Trouble]:
    """Of an open daemon."""
    if state.book.own is None and facts.removed_of(kept) is not None:
        return [_removed(kept, "Link it again, as a new device, or begin anew: vcd init.", "vcd device join CODE")]
    if state.book.own is None:
        text = "Found an account, or join the one of another device."
        return [Trouble(code="no-account", severity="info", title="No account yet", text=text, command="vcd init")]
    return [
        *_peerless(state, peers),
        *_packages(state),
        *_home(state, kept),
        *_chats(state),
        *_devices(state),
        *_contacts(state),
        *_waiting(state),
    ]


def _peerless(state: State, peers: int) -> Iterable[Trouble]:
    alone = len(_members(_at_home(state))) < 2 and not state.talks
    if peers or alone:
        return
    yield Trouble(
        code="peerless",
        severity="warning",
        title="Nobody is connected",
        text="Neither another device nor a contact is reached: messages wait here.",
        after=2 * MINUTE,
        command="vcd status",
    )


def _members(strand: Strand | None) -> Sequence[object]:
    return () if strand is None or not strand.graph.has(strand.head) else strand.graph.members(strand.head)


def _at_home(state: State) -> Strand | None:
    return None if state.home is None else state.strands.find(state.home)


def _packages(state: State) -> Iterable[Trouble]:
    left = sum(not each.given and not each.last for each in state.stock.mine.values())
    if left <= state.config.packages // 4:
        yield Trouble(
            code="keypackages-low",
            severity="warning",
            title="Few people can still write to you first",
            text=f"{left} KeyPackages are left; new ones are made as soon as that is possible.",
            args={"left": str(left)},
            after=10 * MINUTE,
        )


def _removed(kept: Facts, then: str, command: str = "") -> Trouble:
    """Before it has forgotten the account, and after."""
    return Trouble(
        code="removed",
        severity="error",
        title="This device was removed from its account",
        text=f"{removal.follows(kept)} {then}",
        command=command,
    )


def _home(state: State, kept: Facts) -> Iterable[Trouble]:
    strand = _at_home(state)
    if strand is None:
        return
    if state.household.gone:
        yield _removed(kept, "It forgets the account when that is final. Then it can be linked again, as a new device.")
    elif strand.here is None:
        asks = sight_of(state, strand.group_id).recovery.asks
        yield Trouble(
            code="out-of-sync",
            severity="warning",
            title="This device cannot follow your others",
            text="It waits for your consent to come back." if asks else "It comes back by itself when it reaches one.",
            after=5 * MINUTE,
            depends_on=("peerless",),
            command="vcd call account.come_back" if asks else "",
        )
    if state.household.listening:
        yield Trouble(
            code="restored",
            severity="info",
            title="This device was restored from an older state",
            text="It only listens until it has begun anew with another of your devices.",
            depends_on=("peerless",),
        )


def _chats(state: State) -> Iterable[Trouble]:
    forked = [name for name, talk in state.talks.items() if talk.branches > 1]
    if forked:
        yield Trouble(
            code="chat-forked",
            severity="info",
            title="A chat has branches" if len(forked) == 1 else f"{len(forked)} chats have branches",
            text="One is chosen as soon as enough members are heard; nothing is lost.",
            args={"chats": str(len(forked))},
            after=10 * MINUTE,
            depends_on=("peerless",),
        )
    lost = [name for name, strand in state.strands.items() if not strand.home and not strand.over and not strand.here]
    if lost:
        yield Trouble(
            code="chat-out-of-sync",
            severity="warning",
            title="A chat cannot be followed" if len(lost) == 1 else f"{len(lost)} chats cannot be followed",
            text="This device comes back when a member shows it the way.",
            args={"chats": str(len(lost))},
            after=10 * MINUTE,
            depends_on=("peerless",),
        )


def _devices(state: State) -> Iterable[Trouble]:
    strand, edition = _at_home(state), state.book.edition
    if strand is None or strand.here is None or edition is None:
        return
    most = min(of_group(strand.here.group).stale_after, 30 * DAY)
    for entry in edition.devices.devices:
        seen = state.household.seen.find(entry.device)
        if entry.device != state.me.device and seen is not None and seen + most < state.clock.now:
            days = (state.clock.now - seen) // DAY
            yield Trouble(
                code=f"device-stale:{entry.name}",
                severity="warning",
                title=f"{entry.name} was not heard of for {days} days",
                text="If it is lost, remove it: until then it may read along.",
                args={"device": entry.name, "days": str(days)},
                command=f"vcd device remove {entry.name}",
            )
    if state.rotation is not None and state.rotation.leaving:
        done, of = state.rotation.rotated, state.rotation.conversations
        yield Trouble(
            code="removal-incomplete",
            severity="warning",
            title="A removal is not complete",
            text=f"{done} of {of} chats have new keys; until then the device may read along in the others.",
            args={"rotated": str(done), "chats": str(of)},
            after=30 * SECOND,
            depends_on=("peerless",),
        )


def _contacts(state: State) -> Iterable[Trouble]:
    several = [each for each in state.book.contacts.values() if each.evidence is not None and each.accepted]
    if several:
        yield Trouble(
            code="contact-contradicts",
            severity="warning",
            title="A contact showed two lists of devices",
            text="Two of their devices acted without hearing of each other, or somebody has their keys: ask them.",
            args={"contacts": str(len(several))},
            command="vcd contact list",
        )


def _waiting(state: State) -> Iterable[Trouble]:
    if state.waiting.bytes > state.config.max_waiting_bytes // 2:
        yield Trouble(
            code="waiting-many",
            severity="warning",
            title="Much cannot be read yet",
            text="Messages wait for others that were not heard; the oldest give way when there is no room.",
            args={"messages": str(len(state.waiting.items))},
            after=10 * MINUTE,
            depends_on=("peerless",),
        )
