"""Everything that can be set, as types: `Config` is the one frozen value that the daemon runs on.

Each key is a field with its kind, its default and the sentences that stand above it in the annotated vcd.toml. What
reads files, what writes the annotated file and what makes the JSON Schema all go through these fields, so a key exists
in all of them or in none. `live`: a reload applies it at once; the others need a restart.

Times are milliseconds, sizes are bytes; None is "forever". Defaults of the node and of the mesh are the ones of the
rooms themselves. This module may not import those (the command line reads it too), so a test holds both equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import Field, dataclass, field, fields
from typing import Any, Final

from vcd.config.kinds import (
    DAY,
    GIB,
    HOUR,
    KIB,
    MIB,
    MINUTE,
    SECOND,
    Address,
    Choice,
    Count,
    Each,
    File,
    Kind,
    Line,
    OneNumber,
    Peer,
    Size,
    Time,
    Word,
    YesNo,
)
from vcd.config.tenants import Tenant, TenantEntry

VERSION: Final = 1
PROFILES: Final = ("standard", "private", "always-on")
SUITES: Final = (1, 2, 3, 4, 5, 6, 7, *range(0xF001, 0xF00C))


@dataclass(frozen=True, slots=True)
class Key:
    """What is known of one key besides its default."""

    kind: Kind
    words: str
    live: bool


def key(kind: Kind, default: object, words: str, *, live: bool = False) -> Any:
    return field(default=default, metadata={"key": Key(kind, words, live)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """This device, as other people and your other devices see it."""

    name: str = key(
        Line(64),
        "",
        "What the device is called when it is made. Empty: the name of the machine.\nLater: vcd device rename.",
        live=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """Where this device listens, whom it looks for and who may connect. docs/network.md says what others learn."""

    listen: tuple[str, ...] = key(
        Each(Address(listen=True), 16),
        ("/ip4/0.0.0.0/tcp/0",),
        "Where to listen. Port 0 is any free one, another one each time. Empty: nowhere, this device only dials.",
    )
    mdns: bool = key(
        YesNo(),
        True,
        "Find your other devices in the local network. Whoever listens there sees that a device is there, and the\n"
        "name that all devices of the account share.",
    )
    mdns_interfaces: tuple[str, ...] = key(
        Each(Word("the name of an interface, or one of its addresses,"), 32),
        (),
        'On which interfaces, by name ("eth0") or address. Empty: on all but loopback.',
    )
    peers: tuple[str, ...] = key(
        Each(Address(), 256),
        (),
        "Peers to stay connected to, whatever happens, each with its id at the end.",
        live=True,
    )
    mailboxes: tuple[str, ...] = key(
        Each(Address(), 16),
        (),
        "Mailboxes that keep your messages while devices are away, and hand out key packages. They must have you\n"
        "as a tenant (docs/mailbox.md).",
        live=True,
    )
    points: tuple[str, ...] = key(
        Each(Address(), 16), (), "Where this device says at which addresses it is, and asks where others are."
    )
    relays: tuple[str, ...] = key(
        Each(Address(), 16), (), "Relays through which others reach this device when it cannot be dialed."
    )
    hole_punching: bool = key(
        YesNo(),
        True,
        "Become direct with peers that came through a relay. This tells them the address of this device.",
    )
    allow: str = key(
        Choice(("everybody", "known", "own")),
        "everybody",
        "Who may connect. everybody: whoever you gave your link can come and write to you first; who has no link gets\n"
        "nothing. known: your devices, members of your chats, contacts whose link you have, and whoever this file\n"
        "names. own: your devices and whoever this file names, so others are met at mailboxes only. Who may not\n"
        "connect is not dialed either. While you pair a device, everybody may.",
        live=True,
    )
    allow_peers: tuple[str, ...] = key(Each(Peer(), 1024), (), "Further peers that may connect, by id.", live=True)
    deny_peers: tuple[str, ...] = key(
        Each(Peer(), 1024),
        (),
        "Peers to have no connection with, by id. This goes before `allow`.",
        live=True,
    )
    private_addresses: bool = key(
        YesNo(),
        False,
        "Tell contacts addresses in private networks (10.0.0.0/8 and so on), and dial those that they tell.",
    )
    loopback_addresses: bool = key(YesNo(), False, "The same for loopback: several devices on one machine.")
    host_names: bool = key(
        YesNo(),
        False,
        "Dial host names that contacts tell. Whoever runs the name server then decides where that leads.",
    )
    max_connections: int = key(
        Count(8, 65536), 256, "Connections of all peers; peers to stay connected to go before others."
    )
    max_connections_per_ip: int = key(Count(1, 65536), 64, "Of those from one address.")
    ping_every: int = key(
        Time(SECOND, 10 * MINUTE), 5 * SECOND, "How soon a silent connection is tried. Longer saves a phone's battery."
    )
    sync_every: int = key(
        Time(5 * SECOND, DAY), MINUTE, "How often to compare with a peer what both have, besides when it comes."
    )
    be_point: bool = key(
        YesNo(), False, "Keep for others at which addresses they are. Needs `listen`, best with a fixed port."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """Being a relay for others: who cannot be dialed is reached through this device. It cannot read what it passes."""

    serve: bool = key(YesNo(), False, "Needs `network.listen`, best with a fixed port.")
    reservations: int = key(Count(1, 65536), 256, "Peers that may be reached through this device.")
    circuits: int = key(Count(1, 65536), 256, "Connections through it at once.")
    circuits_per_peer: int = key(Count(1, 65536), 16, "Of those, of one peer.")
    circuit_time: int = key(Time(MINUTE, 7 * DAY), DAY, "How long one may last.")
    circuit_size: int = key(Size(64 * KIB, 1 << 50), 16 * GIB, "What may go through one, both ways together.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """For `vcd mailbox run` only: what this mailbox keeps, and for whom."""

    tenants: tuple[Tenant, ...] = key(
        Each(TenantEntry(), 10_000),
        (),
        "Who may have something kept here: the 64 digits that `vcd account show` prints as the mailbox key. A table\n"
        'gives one more or less than the rest: { key = "...", size = "8 GiB", frames = 1000000 }, with any of the\n'
        "keys from size to grants below.",
        live=True,
    )
    size: int = key(Size(0, 1 << 50), GIB, "Of frames, for one tenant. At the limit, new ones are declined.", live=True)
    frames: int = key(
        Count(0, 10**9), 500_000, "Frames of one tenant; deleted ones count until they expire.", live=True
    )
    topics: int = key(Count(0, 10**6), 1_000, "Topics of one tenant.", live=True)
    retention: int = key(
        Time(HOUR, 40 * DAY), 40 * DAY, "How long a frame is kept that does not expire earlier.", live=True
    )
    slots: int = key(Count(0, 10**6), 1_000, "Slots of one tenant.", live=True)
    slot_size: int = key(Size(0, 1 << 40), 64 * MIB, "Of all slots of one tenant.", live=True)
    packages: int = key(Count(0, 10**6), 1_000, "Key packages of one tenant that wait to be handed out.", live=True)
    package_size: int = key(Size(0, 1 << 40), 16 * MIB, "Of all key packages of one tenant.", live=True)
    grants: int = key(Count(0, 10**6), 4_096, "Capabilities to take key packages that are in use.", live=True)
    requests_per_second: int = key(Count(1, 10_000), 5, "From one peer, for long.")
    requests_at_once: int = key(Count(1, 100_000), 50, "From one peer, in a burst.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """How this device takes part in conversations. Each is this device's choice; docs/node-reference.md has more."""

    accept_contacts: bool = key(YesNo(), True, "Take invitations of contacts without asking.", live=True)
    cipher_suite: int = key(
        OneNumber(SUITES),
        1,
        "Of new conversations. 1 to 7 are RFC 9420's; 61441 to 61451 are safe against quantum computers\n"
        "(docs/hybrid.md). Everybody who is to take part must have it.",
        live=True,
    )
    frame_life: int = key(
        Time(HOUR, 30 * DAY), 30 * DAY, "How long others keep our messages for those who are away.", live=True
    )
    quiet: int = key(
        Time(100, HOUR),
        5 * SECOND,
        "How long a change must have stood before this device votes for it. Longer: fewer detours after a split.",
        live=True,
    )
    retry: int = key(
        Time(SECOND, DAY), 30 * SECOND, "Before something that lost is done again; doubled each time.", live=True
    )
    retry_most: int = key(Time(SECOND, 7 * DAY), HOUR, "Up to this.", live=True)
    turn_taking: int = key(
        Time(100, HOUR), 10 * SECOND, "How much later each next device does what any of them may do.", live=True
    )
    relay_after: int = key(
        Time(SECOND, 7 * DAY),
        5 * MINUTE,
        "How long a message that was lost waits for its device before another one of yours says it again.",
        live=True,
    )
    takeover_after: int = key(
        Time(MINUTE, 30 * DAY),
        HOUR,
        "How long a task waits for the device that does it before another one does.",
        live=True,
    )
    desync_after: int = key(
        Time(SECOND, 7 * DAY),
        2 * MINUTE,
        "How long something that cannot be followed may stand before this device comes back from outside.",
        live=True,
    )
    order_wait: int = key(
        Time(0, HOUR), 5 * SECOND, "How long a message waits for those that its author had seen before.", live=True
    )
    split_most: int = key(
        Time(0, 366 * DAY),
        14 * DAY,
        "By how much a suspected split lengthens at most how long keys are kept. Shorter: sooner forgotten.",
        live=True,
    )
    waiting_life: int = key(
        Time(HOUR, 366 * DAY), 30 * DAY, "How long a message that cannot be read yet is kept.", live=True
    )
    packages: int = key(Count(1, 1_000), 20, "Key packages in stock, for contacts who invite you.", live=True)
    package_public: int = key(Count(0, 100), 2, "In stock for strangers. 0: only contacts can invite you.", live=True)
    package_life: int = key(Time(DAY, 366 * DAY), 90 * DAY, "How long one is good.", live=True)
    max_conversations: int = key(Count(1, 100_000), 4_096, "No further one is opened or entered.", live=True)
    max_message: int = key(Size(KIB, MIB), MIB, "Of one message.", live=True)
    max_outbox: int = key(
        Count(16, 10**6), 20_000, "Messages that may have to be said again. When full, nothing more is said.", live=True
    )
    max_waiting_size: int = key(
        Size(MIB, GIB), 32 * MIB, "Of messages that cannot be read yet; the longest waiting give way.", live=True
    )
    max_kept: int = key(
        Count(8, 4_096),
        128,
        "Epochs of one conversation whose keys are kept at most. Fewer: sooner forgotten.",
        live=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """What this device keeps on its disk. What is deleted here is deleted by destroying its key."""

    events_keep: int | None = key(
        Time(DAY, 3_660 * DAY, without="forever"),
        30 * DAY,
        "How long apps can still read what happened, by cursor. Not the messages themselves: see history_keep.",
        live=True,
    )
    events_size: int | None = key(
        Size(MIB, 1 << 40, without="unlimited"), 256 * MIB, "The same in bytes; the oldest give way.", live=True
    )
    history_keep: int | None = key(
        Time(HOUR, 36_600 * DAY, without="forever"),
        None,
        "How long messages are kept for vcd chat show, where the conversation says nothing else.",
        live=True,
    )
    history_size: int | None = key(
        Size(MIB, 1 << 40, without="unlimited"),
        8 * GIB,
        "What all of them may have together, as they lie on the disk. The oldest of the largest chat give way.",
        live=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """What opens the keys on this disk after a start. This counts when the vault is made, at the first start."""

    unlocker: str = key(
        Choice(("keyfile", "passphrase", "credential", "keyring")),
        "keyfile",
        "keyfile: a file that only you can read; starts by itself. passphrase: locked until vcd unlock. credential:\n"
        "from systemd, which can bind it to this machine's TPM. keyring: of the desktop. Secrets never stand here.\n"
        "Edited later, it changes nothing (vcd doctor says so of any but keyfile): vcd call vault.rewrap changes what\n"
        "opens the vault, as by unlocker=passphrase passphrase=@FILE.",
        live=True,
    )
    key_file: str = key(File(), "", "Where the file is. Empty: vault.key, beside the state. Later: move the file, too.")
    credential: str = key(Word("the name of a credential"), "vault", "What systemd calls it: LoadCredential=vault:...")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom this device believes when contacts show certificates. These decide nothing: comparing fingerprints does."""

    anchors: tuple[str, ...] = key(
        Each(File(), 64),
        (),
        "Files with certificates of those who certify, in PEM or DER. Empty: nobody, so certificates are shown as not\n"
        "checked. The system's own are never asked.",
        live=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """The sockets on which apps and the command line talk to this daemon. Only your user may, unless this says more."""

    app_socket: str = key(
        File(socket=True), "", "To read, to send and to follow what happens. Empty: app.sock in the runtime folder."
    )
    admin_socket: str = key(
        File(socket=True), "", "To pair, to remove, to stop. Empty: admin.sock in the runtime folder."
    )
    app_users: tuple[str, ...] = key(
        Each(Word("the name or number of a user"), 64),
        (),
        "Further users who may use the first one. They can read and send everything. The socket has to be where they\n"
        "can reach it: a runtime folder is closed to them.",
        live=True,
    )
    admin_users: tuple[str, ...] = key(
        Each(Word("the name or number of a user"), 64), (), "Further users who may use both.", live=True
    )
    max_clients: int = key(Count(4, 4_096), 512, "Connected at once.")
    max_calls: int = key(Count(1, 4_096), 128, "Calls of one client that are being answered; more are refused.")
    event_queue: int = key(
        Size(64 * KIB, 64 * MIB),
        MIB,
        "Events in memory for a subscriber that reads slowly. Then its subscription ends, and says where to go on.",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """What the daemon says on standard error or to the journal. Messages and keys are never in it."""

    level: str = key(
        Choice(("debug", "info", "warning", "error")), "info", "The least important that is said.", live=True
    )
    form: str = key(
        Choice(("auto", "text", "json")), "auto", "auto: text on a terminal, JSON lines elsewhere and in the journal."
    )
    ids: str = key(
        Choice(("hidden", "shown")),
        "hidden",
        "hidden: peers, addresses and conversations stand as short codes that mean nothing on another machine, so a\n"
        "log can be sent to somebody. shown: as they are.",
    )
    libraries: str = key(
        Choice(("debug", "info", "warning", "error")),
        "warning",
        "The same level for libp2p, trio and others.",
        live=True,
    )
    repeats: int = key(
        Count(1, 10_000), 20, "How often one line may come in a minute. Then it is counted, and the count is said."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Numbers for Prometheus. `vcd call metrics.get` has them always; no port is opened."""

    textfile: str = key(
        File(),
        "",
        "Write them here, for node_exporter's textfile collector: a path that ends in .prom. Empty: not.",
        live=True,
    )
    every: int = key(Time(SECOND, HOUR), 30 * SECOND, "How often.", live=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All of it."""

    version: int = field(default=VERSION, metadata={"key": Key(OneNumber((VERSION,)), "Of this format.", live=False)})
    profile: str = key(
        Choice(PROFILES),
        "standard",
        "Other defaults, for a purpose. private: others learn as little as possible. always-on: a device or server\n"
        "that never sleeps and helps the others. What you set yourself goes before.",
    )
    device: Device = field(default_factory=Device)
    network: Network = field(default_factory=Network)
    relay: Relay = field(default_factory=Relay)
    mailbox: Mailbox = field(default_factory=Mailbox)
    node: Node = field(default_factory=Node)
    store: Store = field(default_factory=Store)
    vault: Vault = field(default_factory=Vault)
    trust: Trust = field(default_factory=Trust)
    rpc: Rpc = field(default_factory=Rpc)
    logs: Logs = field(default_factory=Logs)
    metrics: Metrics = field(default_factory=Metrics)

    def value(self, name: str) -> Any:
        """Of a key by its full name, `network.listen`."""
        section, _, last = name.rpartition(".")
        return getattr(getattr(self, section) if section else self, last)


SECTIONS: Final[dict[str, Any]] = {
    each.name: each.default_factory for each in fields(Config) if "key" not in each.metadata
}
"""The sections by name, in the order of the file."""


def described(each: Field[Any]) -> Key:
    found = each.metadata["key"]
    assert isinstance(found, Key)  # noqa: S101 - every field is made by `key`
    return found


def keys() -> Iterator[tuple[str, Key, Any]]:
    """Every key: its full name, what is known of it, its default. `version` is no key, files say it."""
    for each in fields(Config):
        if each.name in SECTIONS:
            for one in fields(SECTIONS[each.name]):
                yield f"{each.name}.{one.name}", described(one), one.default
        elif each.name != "version":
            yield each.name, described(each), each.default


KEYS: Final[dict[str, Key]] = {name: known for name, known, _ in keys()}
DEFAULTS: Final[dict[str, Any]] = {name: default for name, _, default in keys()}
