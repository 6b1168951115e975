"""Adding a device, as seen from either one.

The pairing itself is an object of the daemon, with a step that it is at; this only shows it. Who is interrupted here
interrupts nothing: `vcd device confirm` goes on with whatever is under way, on either device. With `--json` each step
is a line, and the last one is how it ended.

    waiting     the code is shown, nobody has come
    comparing   the two have met; both screens show the same short text, and the device of the account says yes
    confirmed, linking   the new device is let in
    finished, failed, canceled
"""

from __future__ import annotations

import time
from typing import Any

import click

from vcd.cli import asking
from vcd.cli.talk import Talk
from vcd.cli.text import plain, until
from vcd.cli.troubles import Trouble, too_late

_OVER = {"finished", "failed", "canceled"}
_WAIT_MS = 20_000
_PATIENT_MS = 8_000
"""Until somebody whose device is not found is told what may be the matter."""
GO_ON = "The pairing goes on without this. Watch it again: vcd device confirm. Give it up: vcd device cancel"


class Watch:
    """What a person said before anything was asked, for how long, and what was shown so far."""

    def __init__(
        self,
        talk: Talk,
        *,
        check: str | None = None,
        name: str | None = None,
        yes: bool = False,
        wait: float | None = None,
        hint: str = "",
    ) -> None:
        """`hint`: what to look at if the other device is not found soon."""
        self._talk = talk
        self._check = check
        self._name = name
        self._yes = yes
        self._hint = hint
        self._until = None if wait is None else time.monotonic() + wait

    def go(self, pairing: dict[str, Any]) -> None:
        """To the end of it."""
        try:
            self._go(pairing)
        except (KeyboardInterrupt, click.Abort):  # click makes the one the other, where it asks
            raise click.Abort(GO_ON) from None

    def _go(self, pairing: dict[str, Any]) -> None:
        while pairing["step"] not in _OVER:
            if pairing["step"] == "comparing" and pairing["role"] == "existing":
                pairing = self._compared(pairing)
                if pairing["step"] != "comparing":
                    continue
            self._talk.line(pairing, _step_shown(pairing))
            pairing = self._next(pairing)
        self._end(pairing)

    def _next(self, pairing: dict[str, Any]) -> dict[str, Any]:
        """Once it is past that step."""
        what = {"waiting": "Waiting for the other device", "comparing": "Waiting for the other device's yes"}
        step = pairing["step"]
        while pairing["step"] == step:
            left = None if self._until is None else self._until - time.monotonic()
            if left is not None and left <= 0:
                raise too_late(f"The pairing is still at the step `{step}`.", GO_ON)
            most = _PATIENT_MS if self._hint else _WAIT_MS
            wait_ms = most if left is None else max(1, min(most, int(left * 1000)))
            pairing = self._talk.of_owner(
                "pair.get", pair=pairing["pair"], step=step, wait_ms=wait_ms, wait=what.get(step, "Letting it in")
            )
            if self._hint and pairing["step"] == "waiting":
                self._talk.note(self._hint)
            self._hint = ""
        return pairing

    def _compared(self, pairing: dict[str, Any]) -> dict[str, Any]:
        """The device of the account says yes, or gives it up."""
        check, peer = pairing["check"], plain(pairing["peer_name"])
        shown = f"{peer!r} is there. Both screens have to show:\n\n    {plain(check)}\n"
        if self._check is not None or self._yes or not asking.can_ask():
            self._talk.say(shown)
        if self._check is not None:
            if _bare(self._check) != _bare(check):
                raise Trouble(
                    f"This screen shows {check!r}, the other one {self._check!r}: somebody may be in between.",
                    "Give it up: vcd device cancel",
                    code="E_PAIR_CHECK",
                )
        elif not self._yes:
            if not asking.can_ask():
                self._talk.line(pairing, _step_shown(pairing))
                raise Trouble(
                    "Somebody has to compare the two screens, and there is no terminal to ask at.",
                    f"If the other one shows the same: vcd device confirm --check {check!r}",
                    code="usage",
                    status=3,
                )
            # with what to compare in the question: --json leaves out what stands around it
            if not click.confirm(f"{shown}\nDoes {peer!r} show exactly that?", err=True):
                self._talk.of_owner("pair.cancel", pair=pairing["pair"])
                raise Trouble(
                    "The two screens differ, so the pairing was given up: nothing was let in.",
                    "Begin anew, where nobody else can be in between: vcd device add",
                    code="E_PAIR_CHECK",
                )
        done = self._talk.of_owner("pair.confirm", pair=pairing["pair"], check=check, name=self._name)
        return dict(done)

    def _end(self, pairing: dict[str, Any]) -> None:
        if pairing["step"] == "finished":
            self._talk.line(pairing, _step_shown(pairing))
            return
        reason = pairing["reason"] or f"It was {pairing['step']}."
        again = "vcd device add" if pairing["role"] == "existing" else "vcd device join CODE"
        raise Trouble(
            f"No device was added. {reason}", f"Try again: {again}", code=f"pair-{pairing['step']}", data=pairing
        )


def _step_shown(pairing: dict[str, Any]) -> str:
    peer = plain(pairing["peer_name"]) or "the other device"
    new = pairing["role"] == "new"
    match pairing["step"]:
        case "waiting" if new:
            return "Looking for the other device ..."
        case "waiting":
            return f"Waiting for the new device; the code ends {until(pairing['expires_at'])}."
        case "comparing" if new:
            return f"Found {peer}. Compare, and say yes there if it shows the same:\n\n    {plain(pairing['check'])}\n"
        case "comparing":
            return f"{peer} waits for your yes: vcd device confirm"
        case "finished":
            return (
                f"Done: this device belongs to the account of {peer}."
                if new
                else f"Done: {peer} is one of your devices."
            )
        case step if new:
            return f"{step}: {peer} lets this device in; the account's other devices have to agree ..."
        case step:
            return f"{step}: {peer} is let in; your other devices have to agree ..."


def _bare(check: str) -> str:
    return "".join(check.split()).casefold()
