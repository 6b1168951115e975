"""Key packages: each once, to whom it is for, at the pace that was allowed."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given, strategies as st

from tests.transport.mailbox.model import play
from tests.transport.mailbox.rig import (
    ALICE,
    BOB,
    CAROL,
    DAY,
    HOUR,
    NOW,
    SECOND,
    SECOND_TENANT,
    TENANT,
    Clock,
    Rig,
    person,
    running,
)
from tests.transport.mailbox.test_requests import ask
from transport.access import LONGEST, peer_hash
from transport.base import AskFailed, Milliseconds
from transport.mailbox import packages
from transport.mailbox.bodies import Deposited, Stock, Take
from transport.mailbox.client import Declined, MailboxClient
from transport.mailbox.desk import Pacing
from transport.mailbox.records import Grant, grant, open_grant
from transport.mailbox.server import Settings
from transport.mailbox.tenants import Quota
from transport.mailbox.wire import Failure
from transport.signing import SigningKey

T = TENANT.public


async def refused(client: MailboxClient, credential: bytes, tenant: bytes = T) -> tuple[Failure, int]:
    with pytest.raises(Declined) as caught:
        await client.take(tenant, credential)
    return caught.value.failure, caught.value.detail


async def deposited(rig: Rig, count: int, stock: Stock = Stock.CONTACTS, prefix: str = "") -> list[bytes]:
    some = [rig.package(f"{prefix}{n}", stock=stock, life=(30 + n) * DAY) for n in range(count)]
    assert await rig.tenant.deposit(some) == [Deposited.TAKEN] * count
    return [package.data for package in some]


# ---------------------------------------------------------------- each once


async def test_each_package_is_handed_out_once(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        data = await deposited(rig, 10)
        bob, credential = rig.client(BOB), rig.grant(count=100)
        taken = [await bob.take(T, credential) for _ in range(10)]
        assert [one.data for one in taken] == data  # what expires first goes first
        assert not any(one.last_resort for one in taken)
        assert await refused(bob, credential) == (Failure.EMPTY, 0)


async def test_many_askers_at_once_get_different_ones(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        data = await deposited(rig, 30)
        got: list[bytes] = []

        async def ask(number: int) -> None:
            who = person(100 + number)
            credential = rig.grant(who, count=3)
            for _ in range(3):
                got.append((await rig.client(who).take(T, credential)).data)

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(ask, number)
        assert sorted(got) == sorted(data)


async def test_a_repeated_question_gets_the_same_package_for_a_while(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 3)
        credential = rig.grant(count=2)
        rig.town.lose_answers = 1
        first = await rig.client(BOB).take(T, credential)  # asks twice by itself
        assert (await rig.tenant.status()).for_contacts == 2
        second = await rig.client(BOB).take(T, credential)
        assert second.data != first.data
        assert await refused(rig.client(BOB), credential) == (Failure.EMPTY, 0)  # the lost answer counted once


async def test_a_lost_answer_is_a_lost_package_after_a_while(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        data = await deposited(rig, 2)
        credential, same = rig.grant(), b"r" * 16
        bob = rig.client(BOB)
        bob._random_bytes = lambda _: same
        assert (await bob.take(T, credential)).data == data[0]
        carol = rig.client(CAROL)
        carol._random_bytes = lambda _: same
        assert await refused(carol, credential) == (Failure.NOT_FOUND, 0)  # the same question, somebody else
        rig.clock.now += packages.WINDOW - 1
        assert (await bob.take(T, credential)).data == data[0]
        rig.clock.now += 1
        assert (await bob.take(T, credential)).data == data[1]
        await rig.mailbox.sweep()
        left = await rig.store.run(
            lambda db: db.execute("SELECT count(*) FROM package WHERE state = 1 AND length(data) > 0").fetchone()
        )
        assert left == (1,)  # the bytes of the first one are gone


async def test_a_package_is_known_for_ever(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        one = rig.package("one")
        assert await rig.tenant.deposit([one, one]) == [Deposited.TAKEN, Deposited.KNOWN]
        await rig.client(BOB).take(T, rig.grant())
        assert await rig.tenant.deposit([one]) == [Deposited.KNOWN]
    async with running(tmp_path / "box", clock=clock) as rig:
        clock.now += 40 * DAY
        await rig.mailbox.sweep()
        assert await rig.tenant.deposit([rig.package("one")]) == [Deposited.KNOWN]
        assert await rig.client(BOB, SECOND_TENANT).deposit([one]) == [Deposited.EXPIRED]


async def test_what_ends_too_soon_or_too_late_is_not_taken(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        lives = (packages.LEAST_LIFE, LONGEST + 1, packages.LEAST_LIFE + 1, LONGEST)
        outcomes = await rig.tenant.deposit([rig.package(str(n), life=n) for n in lives])
        assert outcomes == [Deposited.EXPIRED, Deposited.EXPIRED, Deposited.TAKEN, Deposited.TAKEN]
        rig.clock.now += 2
        taken = await rig.client(BOB).take(T, rig.grant())
        assert taken.data == rig.package(str(LONGEST)).data  # the other one expires any moment


async def test_withdrawn_packages_are_gone(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        some = [rig.package(str(n)) for n in range(4)]
        await rig.tenant.deposit(some)
        assert await rig.tenant.withdraw([some[0].id, bytes(32)]) == 1  # type: ignore[list-item]
        assert await rig.client(BOB, SECOND_TENANT).withdraw() == 0
        assert await rig.tenant.withdraw() == 3
        assert await refused(rig.client(BOB), rig.grant()) == (Failure.EMPTY, 0)
        assert await rig.tenant.deposit(some) == [Deposited.KNOWN] * 4


async def test_a_restored_file_can_be_made_to_hand_out_nothing(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 4)
        file = (await rig.tenant.status()).file
        assert (await rig.tenant.status()).file == file
        assert await rig.store.run(partial(packages.burn_all, now=rig.clock())) == 4
        assert (await rig.tenant.status()).file != file
        assert await refused(rig.client(BOB), rig.grant()) == (Failure.EMPTY, 0)


# ---------------------------------------------------------------- last resort


async def test_the_last_resort_is_given_when_nothing_else_is_left(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        lasting = rig.package("last", stock=Stock.LASTING, life=20 * DAY)
        await rig.tenant.deposit([lasting])
        (data,) = await deposited(rig, 1)
        bob, credential = rig.client(BOB), rig.grant(count=4)
        assert [(await bob.take(T, credential)).data for _ in range(3)] == [data, lasting.data, lasting.data]
        newer = rig.package("newer", stock=Stock.LASTING)
        await rig.tenant.deposit([newer])
        taken = await bob.take(T, credential)
        assert (taken.data, taken.last_resort) == (newer.data, True)
        assert await refused(bob, credential) == (Failure.EMPTY, 0)  # it counts like any other
        assert (await rig.tenant.status()).lasting == 1


async def test_the_stocks_are_apart(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 2, Stock.CONTACTS)
        assert await refused(rig.stranger, b"") == (Failure.NOT_FOUND, 0)
        await rig.tenant.deposit([rig.package("last", stock=Stock.LASTING)])
        assert await refused(rig.client(person(9)), b"") == (Failure.NOT_FOUND, 0)
        (public,) = await deposited(rig, 1, Stock.STRANGERS, "public")
        status = await rig.tenant.status()
        assert (status.for_contacts, status.for_strangers, status.lasting) == (2, 1, 1)
        assert (await rig.client(person(10)).take(T)).data == public


# ---------------------------------------------------------------- capabilities


async def test_a_capability_is_for_its_holder_until_its_end_as_often_as_it_says(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 10)
        bob, credential = rig.client(BOB), rig.grant(count=2, life=DAY)
        assert await refused(rig.client(CAROL), credential) == (Failure.NOT_FOUND, 0)
        await bob.take(T, credential)
        await bob.take(T, credential)
        assert await refused(bob, credential) == (Failure.EMPTY, 0)
        late = rig.grant(life=HOUR)
        rig.clock.now += HOUR
        assert await refused(bob, late) == (Failure.NOT_FOUND, 0)
        assert await refused(bob, rig.grant(life=LONGEST + 1)) == (Failure.NOT_FOUND, 0)
        assert await refused(bob, rig.grant(key=SECOND_TENANT)) == (Failure.NOT_FOUND, 0)
        assert await refused(bob, rig.grant(key=SigningKey(bytes(32)))) == (Failure.NOT_FOUND, 0)
        anybody = rig.grant(None, count=2)
        await bob.take(T, anybody)
        await rig.client(CAROL).take(T, anybody)
        assert await refused(rig.client(ALICE), anybody) == (Failure.EMPTY, 0)


async def test_what_a_capability_gave_is_counted_across_restarts(tmp_path: Path) -> None:
    clock = Clock()
    credential = b""
    for taken in range(3):
        async with running(tmp_path / "box", clock=clock) as rig:
            if not taken:
                await deposited(rig, 5)
                credential = rig.grant(count=2)
            if taken < 2:
                await rig.client(BOB).take(T, credential)
            else:
                assert await refused(rig.client(BOB), credential) == (Failure.EMPTY, 0)


async def test_a_capability_has_its_pace(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 5)
        bob, credential = rig.client(BOB), rig.grant(interval=60)
        await bob.take(T, credential)
        rig.clock.now += 20 * SECOND
        assert await refused(bob, credential) == (Failure.BUSY, 40 * SECOND)
        rig.clock.now -= HOUR  # a clock that was set back makes nobody wait for longer than that
        assert await refused(bob, credential) == (Failure.BUSY, 60 * SECOND)
        rig.clock.now += HOUR + 40 * SECOND
        await bob.take(T, credential)


async def test_capabilities_are_recalled(tmp_path: Path) -> None:
    clock = Clock()
    async with running(tmp_path / "box", clock=clock) as rig:
        await deposited(rig, 5)
        old, new = rig.grant(generation=1), rig.grant(generation=2)
        await rig.client(BOB).take(T, old)
        await rig.tenant.recall(2)
        await rig.tenant.recall(1)
    async with running(tmp_path / "box", clock=clock) as rig:
        assert await refused(rig.client(BOB), old) == (Failure.NOT_FOUND, 0)
        await rig.client(BOB).take(T, new)


async def test_the_number_of_capabilities_in_use_is_bounded(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(grants=2)) as rig:
        await deposited(rig, 9)
        bob, first = rig.client(BOB), rig.grant(life=HOUR)
        await bob.take(T, first)
        await bob.take(T, rig.grant(life=HOUR))
        assert await refused(bob, rig.grant()) == (Failure.FULL, 0)
        await bob.take(T, first)
        rig.clock.now += 3 * DAY
        await rig.mailbox.sweep()
        await bob.take(T, rig.grant())


@pytest.mark.slow
def test_no_changed_bit_of_a_capability_gets_through() -> None:
    record = grant(TENANT, bytes(16), holder=BOB, count=1, interval=2, expires=Milliseconds(NOW), generation=3)
    assert open_grant(record) is not None
    for bit in range(len(record) * 8):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        assert open_grant(bytes(changed)) is None


@pytest.mark.slow
@given(
    st.binary(min_size=16, max_size=16),
    st.sampled_from([None, BOB]),
    st.tuples(*[st.integers(0, (1 << 32) - 1)] * 3),
    st.integers(0, (1 << 63) - 1),
)
def test_a_capability_says_what_was_put_in(
    serial: bytes, holder: str | None, numbers: tuple[int, int, int], expires: int
) -> None:
    count, interval, generation = numbers
    record = grant(
        TENANT,
        serial,
        holder=BOB if holder else None,
        count=count,
        interval=interval,
        expires=Milliseconds(expires),
        generation=generation,
    )
    assert open_grant(record) == Grant(
        tenant=T,
        serial=serial,
        holder=peer_hash(BOB) if holder else bytes(32),
        count=count,
        interval=interval,
        expires=Milliseconds(expires),
        generation=generation,
    )


# ---------------------------------------------------------------- strangers


async def test_strangers_cannot_empty_their_stock_with_many_names(tmp_path: Path) -> None:
    pacing = Pacing(tenant_rate=1e-6, tenant_burst=3, peer_rate=1e-6, peer_burst=1)
    async with running(tmp_path / "box", settings=Settings(rate=1e6, burst=1e6, pacing=pacing)) as rig:
        await deposited(rig, 50, Stock.STRANGERS)
        outcomes: Counter[str] = Counter()
        for number in range(20):
            try:
                await rig.client(person(50 + number)).take(T)
            except Declined as declined:
                outcomes[declined.failure.name] += 1
            else:
                outcomes["taken"] += 1
        assert outcomes["taken"] == 3
        assert outcomes["taken"] + outcomes["NOT_FOUND"] == 20  # not told from a tenant that is not here
        lasting = rig.package("lasting", stock=Stock.STRANGERS | Stock.LASTING)
        await rig.tenant.deposit([lasting])
        for number in range(5):  # whom the crowd would keep out, and the crowd, get what is not used up
            taken = await rig.client(person(80 + number)).take(T)
            assert (taken.data, taken.last_resort) == (lasting.data, True)
        status = await rig.tenant.status()
        assert (status.for_strangers, status.handed_out) == (47, 3)


async def test_one_stranger_has_to_wait(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 5, Stock.STRANGERS)
        for tenant in (T, bytes(32)):  # the answers are the same, whoever is asked for
            stranger = rig.client(person(60 + tenant[0] % 100))
            failures = []
            for _ in range(4):
                try:
                    await stranger.take(tenant)
                except Declined as declined:
                    failures.append(declined.failure)
            assert failures[-1] is Failure.BUSY


# ---------------------------------------------------------------- quotas, status


async def test_deposits_stay_within_the_quota(tmp_path: Path) -> None:
    async with running(tmp_path / "box", quota=Quota(packages=3, package_bytes=100_000)) as rig:
        some = [rig.package(str(n)) for n in range(5)]
        assert await rig.tenant.deposit(some) == [Deposited.TAKEN] * 3 + [Deposited.FULL] * 2
        await rig.client(BOB).take(T, rig.grant())
        assert await rig.tenant.deposit([rig.package("large", size=60_000)]) == [Deposited.TAKEN]
        await rig.client(BOB).take(T, rig.grant())
        assert await rig.tenant.deposit([rig.package("larger", size=60_000)]) == [Deposited.FULL]


async def test_remembered_packages_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "ROWS_PER_PACKAGE", 2)
    async with running(tmp_path / "box", quota=Quota(packages=2)) as rig:
        for number in range(4):
            assert await rig.tenant.deposit([rig.package(str(number))]) == [Deposited.TAKEN]
            await rig.client(BOB).take(T, rig.grant())
        assert await rig.tenant.deposit([rig.package("more")]) == [Deposited.FULL]
        rig.clock.now += 30 * DAY + packages.REMEMBERED + 1
        await rig.mailbox.sweep()
        assert await rig.tenant.deposit([rig.package("more")]) == [Deposited.TAKEN]


async def test_a_tenant_sees_what_is_left_and_who_was_given_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "MOST_HANDOUTS", 3)
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 6)
        for who in (BOB, CAROL, BOB):
            await rig.client(who).take(T, rig.grant(who))
            rig.clock.now += SECOND
        status = await rig.tenant.status()
        assert (status.for_contacts, status.handed_out) == (3, 3)
        assert status.first_end == NOW + 33 * DAY
        rows = await rig.tenant.handouts()
        assert [row.holder for row in rows] == [peer_hash(BOB), peer_hash(CAROL), peer_hash(BOB)]
        assert [row.at for row in rows] == [NOW, NOW + SECOND, NOW + 2 * SECOND]
        assert await rig.tenant.handouts(after=rows[1].number) == rows[2:]
        await rig.client(BOB).take(T, rig.grant())
        assert len(await rig.tenant.handouts()) == 3
        assert await rig.client(BOB, SECOND_TENANT).handouts() == []


async def test_a_package_that_does_not_fit_the_answer_is_not_handed_out(tmp_path: Path) -> None:
    async with running(tmp_path / "box") as rig:
        await deposited(rig, 1)
        answer = await ask(rig, Take(tenant=T, grant=rig.grant()), BOB, room=300)
        assert (answer.failure, answer.detail) == (Failure.ROOM, 18 + 1 + 332)
        assert (await rig.tenant.status()).for_contacts == 1


async def test_a_question_that_is_never_answered_ends(tmp_path: Path, autojump_clock: trio.abc.Clock) -> None:
    async with running(tmp_path / "box") as rig:

        async def silence(peer: str, question: bytes) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

        rig.mesh.serve("/vcd/mailbox/1", silence)
        start = trio.current_time()
        with pytest.raises(AskFailed):
            await rig.client(BOB).take(T)
        with pytest.raises(AskFailed):
            await rig.tenant.status()
        assert trio.current_time() - start <= 61


# ---------------------------------------------------------------- any order


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from("dtrwxs"), st.integers(0, 5), st.integers(0, 3)), max_size=40))
def test_whatever_happens_no_package_reaches_two_questions(steps: list[tuple[str, int, int]]) -> None:
    """Deposits, takes, repeats, withdrawals, sweeps and time in any order, against a set of what was given."""
    play(steps)
