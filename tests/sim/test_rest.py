"""What is demanded at rest is no more than a device can know of, and no less."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.sim.delivered import known_to_others
from tests.sim.expected import Expected
from tests.sim.invariants import Broken, Run, noting_steps
from tests.sim.people import Life
from tests.sim.plan import draw
from tests.sim.rest import old_messages_are_gone
from tests.sim.seeds import WINDOWS, come_to_rest
from tests.sim.world import World
from transport.memory.values import PERFECT
from vcd.core import inputs
from vcd.core.names import AccountId, FrameId, GroupId
from vcd.core.policy import MINUTE, Mode

TEA = GroupId(b"conversation-0")


@pytest.mark.parametrize("heard", [False, True])
def test_a_device_forgets_the_keys_of_epochs_of_which_somebody_can_tell_it_that_they_were_left(heard: bool) -> None:
    """Bert goes on where nobody hears him, and is lost with all that he has. Anna stands where she stood."""
    plan = replace(draw(1), devices=(1, 1, 1), modes=(Mode.DEMLS,), hostile=False, skew=0)
    world = World(2, conditions=PERFECT)
    expected = Expected()
    world.observers.append(expected)
    life = Life(world, plan, expected)
    found = Run(world, life, expected)
    with noting_steps(found.parents):
        life.set_up()
        world.run_for(10 * MINUTE)
        assert all(life.takes_part(device, TEA) for device in world.devices.values())
        world.split(["bert-1"])
        for _ in range(2):  # so what he says is two epochs beyond where she stands
            world.command("bert-1", inputs.Refresh(intent=life.intent(), conversation=TEA))
            world.run_for(MINUTE)
        life.say_in(world.devices["bert-1"], TEA)
        world.run_for(MINUTE)
        before = world.devices["anna-1"].disk.frames
        world.lose(world.devices["bert-1"])
        come_to_rest(found)
        world.run_for(WINDOWS)
    unheard = [frame for frame, sender in world.senders.items() if sender == "bert-1" and FrameId(frame) not in before]
    assert len(unheard) > 1
    if not heard:
        old_messages_are_gone(found)
        return
    # as if she had got it all, and had not followed
    world.devices["anna-1"].disk.frames.update({FrameId(each): None for each in unheard})
    with pytest.raises(Broken, match="can still be read with what anna-1 has stored"):
        old_messages_are_gone(found)


def test_an_account_knows_of_the_groups_of_apps_that_a_device_was_in_which_it_still_has() -> None:
    own, app = AccountId(b"bert"), GroupId(b"app")

    def device(account: AccountId, *, lost: bool) -> SimpleNamespace:
        return SimpleNamespace(
            lost=lost, disk=SimpleNamespace(state=SimpleNamespace(book=SimpleNamespace(own=account)))
        )

    devices = {
        "anna-1": device(AccountId(b"anna"), lost=False),
        "bert-1": device(own, lost=False),
        "bert-2": device(own, lost=True),
    }
    run: Any = SimpleNamespace(world=SimpleNamespace(devices=devices), life=SimpleNamespace(apps=SimpleNamespace()))
    run.life.apps.entered = {("anna-1", app): 0, ("bert-2", app): 0, ("bert-1", GroupId(b"other")): 0}
    assert not known_to_others(run, own, app)
    run.life.apps.entered["bert-1", app] = 0
    assert known_to_others(run, own, app)
