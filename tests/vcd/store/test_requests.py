from __future__ import annotations

from pathlib import Path

import pytest

from tests.vcd.store.disks import DAY, NOW, entry, opened
from vcd.store import Batch, Done, NewRequest, RequestRepeated, Store, requests


async def ask(store: Store, name: bytes, *, at: int = NOW, size: int = 0) -> int:
    result = {"seq": 7, "id": b"bytes", "pad": bytes(size)}
    request = NewRequest(id=name, method="msg.send", digest=b"digest", result=result, at_ms=at)
    return await store.commit(Batch(entries=[entry(1)], request=request))


async def test_a_request_is_known_for_a_day_also_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        assert await store.request(b"one") is None
        await ask(store, b"one")
    async with opened(tmp_path) as store:
        done = Done("msg.send", b"digest", {"seq": 7, "id": b"bytes", "pad": b""})
        assert await store.request(b"one") == done
        with pytest.raises(RequestRepeated) as repeated:
            await ask(store, b"one")
        assert repeated.value.done == done
        assert store.journal.last == 1
        await ask(store, b"two", at=NOW + DAY - 1)
        assert await store.request(b"one") is not None
        await ask(store, b"three", at=NOW + DAY)
        assert await store.request(b"one") is None
        await ask(store, b"one", at=NOW + DAY)
        await store.verify()


async def test_there_is_a_bound_to_their_number_and_the_oldest_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "KEPT_REQUESTS", 20)
    async with opened(tmp_path) as store:
        for number in range(100):
            await ask(store, b"%d" % number)
        kept = [n for n in range(100) if await store.request(b"%d" % n) is not None]
        assert kept == list(range(80, 100))
        await store.verify()


async def test_there_is_a_bound_to_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "KEPT_BYTES", 100_000)
    async with opened(tmp_path) as store:
        for number in range(30):
            await ask(store, b"%d" % number, size=10_000)
        kept = [n for n in range(30) if await store.request(b"%d" % n) is not None]
        assert kept == list(range(30 - len(kept), 30))
        assert 5 <= len(kept) < 10
        await ask(store, b"large", size=200_000)
        assert await store.request(b"large") is not None
        await store.verify()
