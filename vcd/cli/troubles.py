"""What went wrong, for a person: what it is, what to do next, and the code to exit with.

Every way in which a command can fail becomes a `Trouble`. The next step of an error of the daemon is in `NEXT`; it has
a line for every code there is, which a test sees to. METHOD in it is the function that was called,
COMMAND the command that was run. A newer daemon may have other errors: then the text of the error itself is all there
is, and `vcd doctor`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import click

from vcd.cli.text import plain
from vcd.client import NotReady, RpcError, TimedOut, Unavailable
from vcd.paths import PathError

REFUSED: Final = 1
UNREACHABLE: Final = 2
USAGE: Final = 3
NOT_READY: Final = 4
TOO_LATE: Final = 5
STOPPED: Final = 130

NEXT: Final[Mapping[str, str]] = {
    # the call
    "E_PROTOCOL": "Is that a socket of vcd? `vcd status --socket-path` says which one is used.",
    "E_TOO_LARGE": "Give less at once.",
    "E_METHOD_UNKNOWN": "`vcd api` lists all functions.",
    "E_PARAMS": "`vcd api METHOD` says what the function takes.",
    "E_PARAM_UNKNOWN": "`vcd api METHOD` says what the function takes.",
    "E_PARAM_MISSING": "`vcd api METHOD` says what the function takes.",
    "E_PARAM_INVALID": "`vcd api METHOD` says what the function takes.",
    "E_HELLO_FIRST": "Is that a socket of vcd? `vcd status --socket-path` says which one is used.",
    "E_ADMIN_ONLY": "Only who owns the daemon may do that: run this as that user.",
    "E_API_LEVEL": "This command and the daemon are of different versions: restart the daemon after an update.",
    "E_BUSY": "Try again in a moment.",
    "E_MSGID_USED": "Try again; if that does not help, `vcd bugreport`.",
    "E_CANCELED": "Call it again if it is still wanted.",
    "E_TIMEOUT": "Try again with a longer --timeout; `vcd status` says how the daemon is.",
    "E_REQUEST_REUSED": "Take another request_id.",
    "E_RESULT_TOO_LARGE": "Ask for less at once, as by `most=20`.",
    "E_OTHER_USER": "Run this as the user whom the daemon belongs to, who may list you in rpc.app_users.",
    "E_STARTING": "Wait for it: vcd wait --ready",
    "E_MIGRATING": "Wait for it: vcd wait --ready",
    "E_LOCKED": "Unlock it: vcd unlock",
    "E_STOPPING": "Start it again: vcd run, or systemctl --user start vcd",
    "E_CURSOR_EXPIRED": "Begin with what is still there: vcd events --from 0",
    "E_CURSOR_AHEAD": "Begin with what is there: vcd events --from 0",
    "E_LOG_CHANGED": "Begin anew: vcd events --from 0",
    "E_SUBSCRIPTIONS": "End another subscription first.",
    "E_SUBSCRIPTION_UNKNOWN": "Subscribe again.",
    "E_CONSUMERS": "Use one of the names that there are.",
    # chats
    "E_CHAT_UNKNOWN": "`vcd chat list` lists all chats.",
    "E_NOT_MEMBER": "Ask somebody who is in it for an invitation.",
    "E_NO_MEMBER": "`vcd chat show CHAT` lists who is in it.",
    "E_MEMBER_ALREADY": "There is nothing to do.",
    "E_FORBIDDEN": "`vcd chat show CHAT` says who may do it: ask one of them.",
    "E_RULES": "`vcd api chat.set_rules` says what rules there can be.",
    "E_OUT_OF_SYNC": "Wait for it to come back by itself; `vcd doctor` says whether it waits for you.",
    "E_IN_SYNC": "There is nothing to do.",
    "E_NOT_ASKED": "`vcd chat list` says which chats wait for an answer.",
    "E_FULL": "Remove what is not needed any more, or raise the limit: vcd config show",
    "E_MSG_UNKNOWN": "`vcd chat tail CHAT` shows the messages that are kept.",
    "E_MESSAGE": "Say less at once: a message has 1 MiB at most.",
    "E_OUTBOX_FULL": "Wait until some are confirmed; `vcd status` counts them.",
    "E_NOT_LEAD": "Open a chat for that: vcd chat new TITLE --mode lead",
    "E_EPOCH": "`vcd chat graph CHAT` shows which epochs there are.",
    "E_GROUP_UNKNOWN": "`vcd call raw.list` lists the groups of apps.",
    "E_GROUP_EXISTS": "Take another name.",
    "E_PENDING": "Give it the commit that won: vcd call raw.put",
    # account, devices, contacts
    "E_NO_ACCOUNT": "Make an account: vcd init. Or join one from another device: vcd device join CODE",
    "E_ACCOUNT_EXISTS": "`vcd account show` shows it. A second device needs another VCD_HOME.",
    "E_RESTORED": "Wait until another device or a contact is online; it goes on by itself.",
    "E_NAME": "Take another name: one line of at most 64 characters.",
    "E_WORDS": "Look at the words again: their order and spelling count, spaces do not.",
    "E_CLOCK": "Set the time of this device, and try again: `timedatectl` shows it.",
    "E_DEVICE_UNKNOWN": "`vcd device list` lists the devices.",
    "E_DEVICE_OWN": "Run `vcd device remove` on another device.",
    "E_NOT_DELEGATE": "`vcd device list` says which devices may: run it there. `device remove` also takes the"
    " recovery words: --words, or --words-fd 3 3<FILE",
    "E_ROOT_NEEDED": "Give the recovery words: add --words, or --words-fd 3 3<FILE",
    "E_OVERRULE": "`vcd call account.get` shows what was asked for.",
    "E_PAIR_UNKNOWN": "Begin one: vcd device add here, vcd device join CODE on the new device.",
    "E_PAIR_BUSY": "Go on with it: vcd device confirm. Or give it up: vcd device cancel",
    "E_PAIR_CODE": "Look at the code again. If it is too old, `vcd device add` on the other device shows a new one.",
    "E_PAIR_CHECK": "Give it up: vcd device cancel. Then begin anew, where nobody else can be in between.",
    "E_PAIR_STEP": "`vcd device confirm` says how far it is.",
    "E_CONTACT_UNKNOWN": "`vcd contact list --all` lists everybody who was met here.",
    "E_LINK": "Ask them for a new link: vcd contact link, on their device.",
    "E_NO_CARD": "Ask them for a new link, then: vcd contact add LINK",
    "E_BLOCKED": "Unblock them first: vcd contact block CONTACT --undo",
    "E_FINGERPRINT": "Do not trust this contact before you have met. `vcd contact list` shows the fingerprints.",
    "E_CONTACTS_FULL": "Remove somebody first: vcd contact remove CONTACT",
    # cryptography
    "E_MLS": "Look up the rule in docs/validation.md.",
    "E_NOT_MLS": "Is it for another chat?",
    "E_SUITE": "vcd.toml lists those that there are, at node.cipher_suite.",
    "E_CERTIFICATE": "`vcd account show` has the key that a certificate must be for.",
    # disk and vault
    "E_STORE_FULL": "Make room on the disk; then the same command again.",
    "E_STORE_READ_ONLY": "Make the state folder writable: vcd doctor says which one it is.",
    "E_STORE_DAMAGED": "Run: vcd doctor",
    "E_STORE_NEWER": "Install that version of vcd, or a newer one, and start it: vcd --version says which this is.",
    "E_PASSPHRASE": "Try again: COMMAND",
    "E_UNLOCKER": "`vcd status` says how the vault is opened; `vcd config show` has its settings.",
    "E_FILE": "Take another file, with its full path.",
    # the network
    "E_OFFLINE": "Look at the connection: vcd doctor",
    "E_UNREACHABLE": "Look at the connection: vcd doctor",
    # the daemon
    "E_INTERNAL": "Report it, with this id: vcd bugreport",
    "E_NOT_THERE": "Install vcd with that part.",
}

GIVEN: Final[Mapping[tuple[str, str], str]] = {
    ("E_LINK", "own"): "Give it to them, and ask them for theirs: vcd contact link, on their device.",
    (
        "E_LINK",
        "pair",
    ): "On the new device: vcd device join CODE. A person has a link: vcd contact link, on their device.",
    ("E_LINK", "part"): "Copy it again. From a file: vcd contact add - < FILE",
    (
        "E_PAIR_CODE",
        "contact",
    ): "To know that person: vcd contact add LINK. To bring this device into an account, give the"
    " code that `vcd device add` shows on a device of it.",
    ("E_PAIR_CODE", "words"): "Give the long code that `vcd device add` also shows, which has addresses in it:"
    " vcd device join vcd1:pair:...",
    ("E_PAIR_CODE", "uri"): "Set network.listen there, start it anew, and take another code: vcd device add",
}
"""The same where the error says what was given."""
_COMMANDS: Final = ("vcd ", "chmod ", "sudo ", "rm ")

_NUMBERS: Final = {"is not a valid float range": "is no number", "is not a valid integer range": "is no whole number"}
"""As people say what click says of numbers."""


class Trouble(Exception):
    """A command cannot be done. `code` is for programs, `text` and `then` for people."""

    def __init__(
        self,
        text: str,
        then: str,
        *,
        code: str = "refused",
        status: int = REFUSED,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(text)
        self.text = text
        self.then = then
        self.code = code
        self.status = status
        self.data = dict(data or {})

    def shown(self) -> str:
        """As people read it. What the daemon says may quote somebody."""
        return f"vcd: {plain(self.text, lines=True)}\n     {self.then}"

    def plain_json(self) -> dict[str, Any]:
        error = {"code": self.code, "message": self.text, "next": self.then, "data": self.data}
        return {"error": error, "exit": self.status}


def of(error: Exception, command: str = "the same command") -> Trouble:
    """What an exception is to a person who ran that. Others than these are bugs, and are not caught."""
    match error:
        case Trouble():
            return error
        case RpcError():
            return _of_daemon(error, command)
        case Unavailable():
            from vcd.cli.reaching import diagnosed

            return diagnosed(error)
        case click.UsageError():
            return _of_usage(error)
        case click.ClickException():
            return Trouble(error.format_message(), "Take another file.", code="file", status=USAGE)
        case PathError():
            then = advice(error.hint) or "Set VCD_HOME to a folder of your own."
            return Trouble(str(error), then, code="wrong-path", status=UNREACHABLE)
        case OSError():
            text = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
            return Trouble(text, "Take another file, or change its permissions.", code="file", status=REFUSED)
        case _:
            raise error


def advice(hint: str) -> str:
    """A hint as a next step of its own: a sentence begins with a capital, and a command as it is typed."""
    return hint if hint.startswith(_COMMANDS) else hint[:1].upper() + hint[1:]


def too_late(text: str, then: str) -> Trouble:
    return Trouble(text, then, code="E_TIMEOUT", status=TOO_LATE)


def _of_daemon(error: RpcError, command: str) -> Trouble:
    then = NEXT.get(error.code, "`vcd doctor` looks for the cause.")
    then = GIVEN.get((error.code, str(error.data.get("given"))), then).replace("COMMAND", plain(command))
    if method := error.data.get("method"):
        then = then.replace("METHOD", plain(str(method)))
    text = f"{error.message} ({error.code})" if error.message else str(error.code)
    if bug := error.data.get("bug"):
        text = f"{error.message} ({error.code}, id {plain(str(bug))})"
    status = REFUSED
    if isinstance(error, NotReady):
        status = NOT_READY
    elif isinstance(error, TimedOut):
        status = TOO_LATE
    elif error.code == "E_OTHER_USER":
        status = UNREACHABLE
    data = {"num": error.num, "retry": error.retry, **error.data}
    if error.after_ms is not None:
        data["after_ms"] = error.after_ms
    return Trouble(text, then, code=error.code, status=status, data=data)


def _of_usage(error: click.UsageError) -> Trouble:
    path = error.ctx.command_path if error.ctx is not None else "vcd"
    text = error.format_message()
    for said, meant in _NUMBERS.items():
        text = text.replace(said, meant)
    return Trouble(text, f"`{path} --help` says how it is used.", code="usage", status=USAGE)
