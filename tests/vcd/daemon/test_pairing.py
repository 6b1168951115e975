"""Two devices become one account over real sockets, whoever restarts on the way."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.vcd.daemon.loopback import Node, running
from transport.signing import SigningKey
from vcd.core import inputs
from vcd.core.names import GroupId
from vcd.daemon.pairing import HELLO_TAKES, Busy, HasAccount, Unknown
from vcd.daemon.service.pairing import HANDLERS
from vcd.daemon.telling import devices_of
from vcd.pairing import wire
from vcd.pairing.existing import Existing
from vcd.pairing.values import NotNow, Step, Why
from vcd.rpc.calls import Call
from vcd.rpc.errors import Failure
from vcd.rpc.nouns import device
from vcd.store.values import Batch

pytestmark = pytest.mark.slow
TEA = GroupId(b"tea")
CALL = Call(
    method="pair",
    client="test",
    pid=1,
    uid=1,
    socket="admin",
    request_id=None,
    digest=b"",
    timeout_ms=None,
)
PORT = "/ip4/127.0.0.1/tcp/0"


@asynccontextmanager
async def two(path: Path, *, lan: bool = False) -> AsyncIterator[tuple[Node, Node]]:
    """A device with an account and a chat, and one without."""
    async with running(path / "laptop", "laptop", lan=lan) as laptop:
        await laptop.owner.do(inputs.Open(conversation=TEA))
        async with running(path / "phone", "phone", account=False, lan=lan) as phone:
            yield laptop, phone


async def reach(node: Node, step: Step, *, within: float = 20) -> None:
    with trio.fail_after(within):
        while (found := node.pairing.find(None)).step is not step:
            assert not found.over, (found.step, found.why)
            await node.pairing.wait(found.pair, found.step, 1000)


async def confirm(laptop: Node, phone: Node) -> None:
    """People compare."""
    await reach(laptop, Step.COMPARING)
    await reach(phone, Step.COMPARING)
    shown = phone.pairing.find(None).check
    assert shown == laptop.pairing.find(None).check
    await laptop.pairing.confirm(laptop.pairing.find(None).pair, shown, None)


async def talk(laptop: Node, phone: Node) -> None:
    """Both are one account, and the new one reads what is said in the chat from now on."""
    assert phone.state.book.own == laptop.state.book.own
    await laptop.owner.do(inputs.Say(conversation=TEA, nonce=os.urandom(16), data=b"do you read this?"))
    entry = await phone.until("msg.received", lambda each: each.data["data"] == b"do you read this?")
    assert entry.data["ours"]


async def types(node: Node) -> list[str]:
    page = await node.store.journal.read(0, 1000)
    return [each.type for each in page.entries if each.type.startswith("pair.")]


async def test_from_a_uri_to_a_message_in_a_chat(tmp_path: Path) -> None:
    async with two(tmp_path) as (laptop, phone):
        offer = await laptop.pairing.start(60_000)
        assert offer.words is None, "there is no local network to be found in"
        visit = await phone.pairing.join(str(offer.uri), "telephone")
        await confirm(laptop, phone)
        await reach(phone, Step.FINISHED)
        await reach(laptop, Step.FINISHED)
        assert phone.state.me.device == visit.device
        assert sorted(devices_of(phone.state).values()) == ["laptop", "telephone"]
        await talk(laptop, phone)
        for node in (laptop, phone):
            assert await types(node) == ["pair.started", "pair.met", "pair.confirmed", "pair.finished"]


async def test_who_gives_up_while_what_they_said_is_stored_has_said_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the disk and the daemon would each know of another pairing."""
    async with two(tmp_path) as (laptop, phone):
        shown = await laptop.pairing.start(60_000)
        await phone.pairing.join(str(shown.uri), "phone")
        await reach(laptop, Step.COMPARING)
        await reach(phone, Step.COMPARING)
        commit, gives_up = laptop.store.commit, trio.CancelScope()

        async def slow(batch: Batch) -> int:
            gives_up.cancel()
            await trio.sleep(0.05)
            return await commit(batch)

        monkeypatch.setattr(laptop.store, "commit", slow)
        with gives_up:
            await laptop.pairing.confirm(shown.pair, phone.pairing.find(None).check, None)
        monkeypatch.undo()
        await reach(laptop, Step.FINISHED)
        await reach(phone, Step.FINISHED)
        assert (await types(laptop)).count("pair.confirmed") == 1


async def test_words_find_the_other_device_in_the_local_network(tmp_path: Path) -> None:
    async with two(tmp_path, lan=True) as (laptop, phone):
        offer = await laptop.pairing.start(60_000)
        assert offer.words is not None
        await phone.pairing.join(str(offer.words).upper().replace("-", " "), "telephone")
        await confirm(laptop, phone)
        await reach(phone, Step.FINISHED)
        await talk(laptop, phone)


async def test_a_wrong_word_burns_the_code_and_is_told_to_both(tmp_path: Path) -> None:
    async with two(tmp_path) as (laptop, phone):
        phone.mesh.keep(laptop.mesh.me, laptop.mesh.addresses())
        laptop.pairing._nearby = _There()
        offer = await laptop.pairing.start(60_000)
        assert offer.words is not None
        first = "otter" if "otter" not in str(offer.words) else "marble"
        await phone.pairing.join(f"{offer.words.plate}-{first}-{first}", "phone")
        for node in (laptop, phone):
            await node.until("pair.failed")
            assert (await node.pairing.wait(None, None, 0)).why is Why.WRONG_CODE


class _There:
    there = True

    def meet(self, plate: int | None) -> None:
        pass

    def found(self) -> dict[str, tuple[str, ...]]:
        return {}


@pytest.mark.parametrize("who", ["existing", "new", "both"])
@pytest.mark.parametrize("when", [Step.COMPARING, Step.CONFIRMED])
async def test_a_restart_on_the_way(tmp_path: Path, who: str, when: Step) -> None:
    """While people compare, and just after they did: it goes on where it was."""
    keys = [SigningKey.generate(os.urandom) for _ in range(2)]
    where = [PORT, PORT]
    for again in range(2):
        async with running(tmp_path / "laptop", "laptop", key=keys[0], listen=[where[0]]) as laptop:
            where[0] = laptop.mesh.addresses()[0]
            if again:
                await _go_on(tmp_path, laptop, keys[1], when)
                return
            await laptop.owner.do(inputs.Open(conversation=TEA))
            async with running(tmp_path / "phone", "phone", key=keys[1], account=False) as phone:
                offer = await laptop.pairing.start(60_000)
                await phone.pairing.join(str(offer.uri), "phone")
                await reach(laptop, Step.COMPARING)
                await reach(phone, Step.COMPARING)
                if when is Step.CONFIRMED:
                    await confirm(laptop, phone)
                if who == "existing":
                    continue
            if who == "new":
                await _go_on(tmp_path, laptop, keys[1], when)
                return


async def _go_on(path: Path, laptop: Node, key: SigningKey, when: Step) -> None:
    async with running(path / "phone", "phone", key=key) as phone:
        if when is Step.COMPARING:
            await confirm(laptop, phone)
        await reach(phone, Step.FINISHED)
        await reach(laptop, Step.FINISHED)
        await talk(laptop, phone)


async def test_a_new_device_that_restarts_as_soon_as_it_is_in(tmp_path: Path) -> None:
    """It still tells the other one, and finds it again, though nobody else said yet where that is."""
    key = SigningKey.generate(os.urandom)
    async with running(tmp_path / "laptop", "laptop") as laptop:
        await laptop.owner.do(inputs.Open(conversation=TEA))
        async with running(tmp_path / "phone", "phone", key=key, account=False) as phone:
            offer = await laptop.pairing.start(60_000)
            await phone.pairing.join(str(offer.uri), "phone")
            await confirm(laptop, phone)
            await reach(phone, Step.FINISHED)
        async with running(tmp_path / "phone", "phone", key=key) as phone:
            await reach(laptop, Step.FINISHED)
            assert phone.pairing.find(None).step is Step.FINISHED
            await talk(laptop, phone)


async def test_a_hello_is_answered_after_a_fixed_time(tmp_path: Path) -> None:
    """Whether anybody waits, and whatever the arithmetic took."""
    async with two(tmp_path) as (laptop, phone):
        hello = wire.question(wire.Hello(name=b"plate 7", share=b"A" + bytes(32), commitment=bytes(32)))
        for _ in range(2):
            began = trio.current_time()
            await laptop.pairing.serve(phone.mesh.me, hello)
            assert trio.current_time() - began >= HELLO_TAKES
            await laptop.pairing.start(60_000)


async def test_given_up_on_the_new_device(tmp_path: Path) -> None:
    async with two(tmp_path) as (laptop, phone):
        offer = await laptop.pairing.start(60_000)
        visit = await phone.pairing.join(str(offer.uri), "phone")
        await reach(laptop, Step.COMPARING)
        await reach(phone, Step.COMPARING)
        await phone.pairing.cancel(visit.pair)
        entry = await laptop.until("pair.canceled")
        assert entry.data["reason"] == "It was given up on the other device."
        again = await laptop.pairing.start(60_000)
        second = await phone.pairing.join(str(again.uri), "phone")
        assert second.device != visit.device
        await confirm(laptop, phone)
        await reach(phone, Step.FINISHED)


async def test_given_up_on_the_device_of_the_account(tmp_path: Path) -> None:
    async with two(tmp_path) as (laptop, phone):
        offer = await laptop.pairing.start(60_000)
        await phone.pairing.join(str(offer.uri), "phone")
        await reach(phone, Step.COMPARING)
        await reach(laptop, Step.COMPARING)
        await laptop.pairing.cancel(offer.pair)
        await phone.until("pair.canceled")
        assert phone.state.home is None


def of_nobody(offer: Existing) -> str:
    """Words that no device in the local network shows."""
    assert offer.words is not None
    return "8-otter-marble" if offer.words.plate == 7 else "7-otter-marble"


async def test_what_nobody_came_for_ends_by_itself(tmp_path: Path) -> None:
    async with two(tmp_path, lan=True) as (laptop, phone):
        phone.pairing._visits.life_ms = 300
        offer = await laptop.pairing.start(300)
        await phone.pairing.join(of_nobody(offer), "phone")
        for node in (laptop, phone):
            await node.until("pair.failed")
            assert (await node.pairing.wait(None, None, 0)).why is Why.EXPIRED
        assert laptop.pairing.find(offer.pair).over


async def test_a_dead_attempt_gives_way_and_a_living_one_does_not(tmp_path: Path) -> None:
    async with two(tmp_path, lan=True) as (laptop, phone):
        first = await laptop.pairing.start(60_000)
        second = await laptop.pairing.start(60_000)
        assert laptop.pairing.find(first.pair).why is Why.REPLACED
        await phone.pairing.join(of_nobody(second), "phone")
        await phone.pairing.join(str(second.uri), "phone")
        await reach(laptop, Step.COMPARING)
        with pytest.raises(Busy) as busy:
            await laptop.pairing.start(60_000)
        assert busy.value.pair == second.pair


async def test_what_people_are_told(tmp_path: Path) -> None:
    async with two(tmp_path) as (laptop, phone):
        with pytest.raises(Failure, match="E_PAIR_UNKNOWN"):
            await HANDLERS["pair.get"](laptop.pairing, CALL, device.PairGet())
        with pytest.raises(Failure, match="E_PAIR_CODE"):
            await HANDLERS["pair.join"](phone.pairing, CALL, device.PairJoin(code="7-otter", device_name="phone"))
        with pytest.raises(Failure, match="E_NAME"):
            await HANDLERS["pair.join"](phone.pairing, CALL, device.PairJoin(code="7-otter-oak", device_name="a\nb"))
        with pytest.raises(Failure, match="E_ACCOUNT_EXISTS"):
            await HANDLERS["pair.join"](laptop.pairing, CALL, device.PairJoin(code="7-otter-oak", device_name="x"))
        offer = await HANDLERS["pair.start"](laptop.pairing, CALL, device.PairStart())
        shown = await HANDLERS["pair.get"](laptop.pairing, CALL, device.PairGet())
        assert (shown.uri, shown.step, shown.check) == (offer.uri, "waiting", "")
        with pytest.raises(Failure, match="E_PAIR_STEP"):
            await HANDLERS["pair.confirm"](laptop.pairing, CALL, device.PairConfirm(pair=offer.pair, check="x"))
        await HANDLERS["pair.join"](phone.pairing, CALL, device.PairJoin(code=offer.uri, device_name="laptop"))
        met = await HANDLERS["pair.get"](
            laptop.pairing, CALL, device.PairGet(pair=offer.pair, step="waiting", wait_ms=10_000)
        )
        assert (met.step, met.peer_name, met.code, met.uri) == ("comparing", "laptop", "", "")
        with pytest.raises(Failure, match="E_PAIR_CHECK"):
            await HANDLERS["pair.confirm"](laptop.pairing, CALL, device.PairConfirm(pair=offer.pair, check="x"))
        with pytest.raises(Failure, match="E_NAME"):
            given = device.PairConfirm(pair=offer.pair, check=met.check, name="Laptop")
            await HANDLERS["pair.confirm"](laptop.pairing, CALL, given)
        done = await HANDLERS["pair.confirm"](
            laptop.pairing, CALL, device.PairConfirm(pair=offer.pair, check=met.check)
        )
        assert (done.step, done.peer_name) == ("confirmed", "laptop 2")
        await reach(phone, Step.FINISHED)
        here = await HANDLERS["pair.get"](phone.pairing, CALL, device.PairGet())
        assert (here.role, here.peer_name) == ("new", "laptop")
        canceled = await HANDLERS["pair.cancel"](laptop.pairing, CALL, device.PairCancel(pair=offer.pair))
        assert canceled.step in ("linking", "finished"), "a device that is in stays"


async def test_what_is_no_pairing(tmp_path: Path) -> None:
    async with two(tmp_path, lan=True) as (laptop, phone):
        for question in (b"", b"\x01", b"\x01\x03", b"\xff" * 100, os.urandom(5000)):
            await laptop.pairing.serve(phone.mesh.me, question)
        with pytest.raises(Unknown):
            await laptop.pairing.cancel(bytes(16))
        with pytest.raises(Unknown):
            await laptop.pairing.confirm(bytes(16), "otter 1234", None)
        with pytest.raises(HasAccount):
            await laptop.pairing.join("7-otter-marble", "x")
        visit = await phone.pairing.join("7-otter-marble", "x")
        with pytest.raises(NotNow):
            await phone.pairing.confirm(visit.pair, "otter 1234", None)


async def test_the_rows_of_what_is_over_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vcd.daemon.pairing.LINGER", 0.2)
    async with two(tmp_path) as (laptop, _):
        offer = await laptop.pairing.start(60_000)
        assert [row[0] for row, _ in laptop.owner.facts.items()] == ["daemon.pairing"]
        await laptop.pairing.cancel(offer.pair)
        with trio.fail_after(5):
            while len(laptop.owner.facts):  # noqa: ASYNC110 - nothing is told of it
                await trio.sleep(0.05)
