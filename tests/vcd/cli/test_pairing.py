"""A pairing as each of the two devices sees it: shown, compared, interrupted, gone on with."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from tests.vcd.cli.house import Daemon, example, process, ran
from vcd.rpc import samples

CHECK = "otter 4821"


class Pairing:
    """What the daemon keeps: steps in order, one further with each look that waits."""

    def __init__(self, daemon: Daemon, role: str, *steps: str, reason: str = "", peer: str = "phone") -> None:
        self.steps = list(steps)
        self.role, self.reason, self.peer = role, reason, peer
        self.confirmed: list[Any] = []
        self.canceled = 0
        daemon.answers |= {
            "pair.get": self.get,
            "pair.join": lambda _: self.now(),
            "pair.confirm": self.confirm,
            "pair.cancel": self.cancel,
        }

    def now(self) -> Any:
        step = self.steps[0]
        met = step != "waiting"
        return example(
            "pair.get",
            role=self.role,
            step=step,
            check=CHECK if met else "",
            peer_name=self.peer if met else "",
            reason=self.reason if step == "failed" else "",
        )

    def get(self, params: Any) -> Any:
        if params.step == self.steps[0] and len(self.steps) > 1:
            self.steps.pop(0)
        elif params.step == self.steps[0]:
            return self.patient(params.wait_ms)
        return self.now()

    async def patient(self, wait_ms: int) -> Any:
        await trio.sleep(wait_ms / 1000)
        return self.now()

    def confirm(self, params: Any) -> Any:
        self.confirmed.append(params)
        self.steps.pop(0)
        return self.now()

    def cancel(self, _params: Any) -> Any:
        self.canceled += 1
        return example("pair.cancel", step="canceled")


def test_a_device_is_let_in(daemon: Daemon) -> None:
    pairing = Pairing(daemon, "existing", "waiting", "comparing", "linking", "finished")
    done = ran("device", "add", "--check", " OTTER  4821", "--name", "Alice's phone")
    assert done.code == 0, done.err
    assert "vcd device join 7-otter-marble" in done.out
    assert "█" in done.out
    assert "phone is one of your devices" in done.out
    [confirmed] = pairing.confirmed
    assert (confirmed.pair, confirmed.check, confirmed.name) == (samples.PAIR, CHECK, "Alice's phone")


def test_in_json_each_step_is_a_line(daemon: Daemon) -> None:
    Pairing(daemon, "existing", "waiting", "comparing", "linking", "finished")
    done = ran("device", "add", "--yes", "--json")
    assert done.code == 0
    assert done.err == ""
    assert [each.get("step", each["code"]) for each in done.lines] == [
        "7-otter-marble",
        "waiting",
        "linking",
        "finished",
    ]


def test_without_a_terminal_somebody_has_to_compare(daemon: Daemon) -> None:
    pairing = Pairing(daemon, "existing", "waiting", "comparing", "finished")
    done = ran("device", "add")
    assert done.code == 3
    assert f"vcd device confirm --check '{CHECK}'" in done.err
    assert pairing.confirmed == []
    done = ran("device", "confirm", "--check", CHECK)
    assert done.code == 0, done.err
    assert len(pairing.confirmed) == 1


def test_two_screens_that_differ(daemon: Daemon) -> None:
    pairing = Pairing(daemon, "existing", "comparing", "finished")
    done = ran("device", "confirm", "--check", "badger 1")
    assert (done.code, pairing.confirmed) == (1, [])
    assert "somebody may be in between" in done.err
    assert "vcd device cancel" in done.err


def test_the_new_device_waits_for_the_others_yes(daemon: Daemon) -> None:
    pairing = Pairing(daemon, "new", "waiting", "comparing", "confirmed", "finished", peer="laptop")
    done = ran("device", "join", "7-otter-marble", "--name", "phone")
    assert done.code == 0, done.err
    assert CHECK in done.out
    assert "confirmed: laptop lets this device in" in done.out
    assert "account of laptop" in done.out
    assert pairing.confirmed == []
    [joined] = daemon.asked_for("pair.join")
    assert (joined.code, joined.device_name) == ("7-otter-marble", "phone")
    assert ran("device", "join").code == 3


@pytest.mark.parametrize("step", ["failed", "canceled"])
def test_it_comes_to_nothing(daemon: Daemon, step: str) -> None:
    Pairing(daemon, "existing", "waiting", step, reason="The code was typed wrong.")
    done = ran("device", "add", "--json")
    assert done.code == 1
    assert done.lines[-1]["error"]["code"] == f"pair-{step}"
    assert "vcd device add" in done.lines[-1]["error"]["next"]


def test_no_dead_wait(daemon: Daemon) -> None:
    Pairing(daemon, "existing", "waiting")
    done = ran("device", "add", "--wait", "0.2", "--no-qr")
    assert done.code == 5
    assert "vcd device confirm" in done.err
    assert ran("device", "join", "x", "--wait", "0.2", "--json").code == 5


def test_ctrl_c_leaves_it_alone(daemon: Daemon) -> None:
    pairing = Pairing(daemon, "existing", "waiting")
    with process("device", "add", "--json", home=daemon.home) as adding:
        assert adding.stdout is not None
        assert json.loads(adding.stdout.readline())["code"] == "7-otter-marble"
        assert json.loads(adding.stdout.readline())["step"] == "waiting"
        adding.send_signal(2)
        _, err = adding.communicate(timeout=20)
    assert adding.returncode == 130
    assert "vcd device confirm" in err
    assert "vcd device cancel" in err
    assert "Traceback" not in err
    assert pairing.canceled == 0
    pairing.steps = ["comparing", "finished"]
    assert ran("device", "confirm", "--yes").code == 0


def test_a_name_that_would_paint_the_screen(daemon: Daemon) -> None:
    Pairing(daemon, "existing", "comparing", "finished", peer="\x1b[2Jphone")
    done = ran("device", "confirm", "--yes")
    assert "\x1b" not in done.out
    assert "\\x1b[2Jphone" in done.out


@pytest.mark.parametrize(
    ("role", "step", "said"),
    [
        ("existing", "finished", "phone was let in already, and stays"),
        ("new", "finished", "belongs to the account already"),
        ("existing", "failed", "it failed already"),
        ("existing", "canceled", "it was given up already"),
    ],
)
def test_what_is_over_is_not_given_up(daemon: Daemon, role: str, step: str, said: str) -> None:
    pairing = Pairing(daemon, role, step)
    done = ran("device", "cancel")
    assert done.code == 1
    assert said in done.err
    assert ran("device", "cancel", "--json").json["error"]["code"] == "E_PAIR_STEP"
    assert pairing.canceled == 0


def test_what_cannot_be_given_up_any_more_is_not_said_to_be(daemon: Daemon) -> None:
    """It was handed the account: it stays, whatever is canceled."""
    Pairing(daemon, "existing", "linking")
    daemon.answers["pair.cancel"] = lambda _: example("pair.cancel", step="linking", peer_name="phone")
    done = ran("device", "cancel")
    assert done.code == 1
    assert "vcd device remove" in done.err
    assert "given up" not in done.out
