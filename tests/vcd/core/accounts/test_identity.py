from __future__ import annotations

import itertools

import pytest

from tests.providers import SeededProvider
from vcd.core.accounts import identity, shares
from vcd.core.accounts.identity import AccountKey, DelegateKey, RecoverySeed
from vcd.core.errors import Malformed, Misuse, Refused

PROVIDER = SeededProvider("identity")
SUITES = (1, 2, 4)


@pytest.mark.parametrize("number", SUITES)
def test_a_seed_gives_the_same_root_again(number: int) -> None:
    suite, seed = PROVIDER.suite(number), identity.new_seed(PROVIDER)
    private, public = identity.root_key(suite, seed)
    assert identity.root_key(suite, RecoverySeed(seed.raw))[1] == public
    content = identity.sign(suite, private, "vcd a", b"content")
    assert identity.verify(suite, public, "vcd a", b"content", content)
    assert not identity.verify(suite, public, "vcd b", b"content", content)
    assert not identity.verify(suite, public, "vcd a", b"other", content)


def test_suites_have_unrelated_roots_and_recovery_keys() -> None:
    seed = identity.new_seed(PROVIDER)
    keys = [identity.root_key(PROVIDER.suite(number), seed)[0].raw for number in (1, 3)]
    keys += [identity.recovery_key(PROVIDER.suite(number), seed)[0].raw for number in (1, 3)]
    assert len(set(keys)) == len(keys)


def test_a_seed_has_32_bytes() -> None:
    with pytest.raises(Misuse):
        identity.root_key(PROVIDER.suite(1), RecoverySeed(bytes(31)))


def test_keys_of_two_kinds_are_never_equal_and_never_shown() -> None:
    private, _ = identity.new_key(AccountKey, PROVIDER.suite(1), PROVIDER)
    assert private != DelegateKey(private.raw)
    assert repr(private) == "<AccountKey 32 bytes>"


def test_the_account_is_a_hash_of_its_root() -> None:
    assert identity.account_id(b"a") == identity.account_id(b"a") != identity.account_id(b"b")
    assert len(identity.account_id(b"a")) == 32


def test_a_fingerprint_is_sixty_digits_in_groups() -> None:
    _, public = identity.root_key(PROVIDER.suite(1), identity.new_seed(PROVIDER))
    groups = identity.fingerprint(public).split(" ")
    assert [len(group) for group in groups] == [5] * 12
    assert "".join(groups).isdecimal()
    assert identity.fingerprint(public[:-1] + bytes([public[-1] ^ 1])).split(" ")[0] != groups[0]


def test_a_suite_that_we_do_not_have_is_refused() -> None:
    with pytest.raises(Refused) as caught:
        identity.suite_of(PROVIDER, 9999)
    assert caught.value.rule == "unknown-suite"


# ---------------------------------------------------------------- parts of a secret


@pytest.mark.parametrize(("needed", "parts"), [(1, 1), (2, 2), (2, 3), (3, 5)])
def test_any_so_many_parts_give_the_secret_and_fewer_do_not(needed: int, parts: int) -> None:
    secret = PROVIDER.random(32)
    made = shares.split(secret, needed, parts, PROVIDER)
    for some in itertools.combinations(made, needed):
        assert shares.combine(some) == secret
    assert shares.combine(made) == secret
    for few in itertools.combinations(made, needed - 1) if needed > 1 else ():
        assert shares.combine(few) != secret


def test_one_part_less_leaves_every_secret_possible() -> None:
    secret = b"\x2a"
    [_, kept] = shares.split(secret, 2, 2, PROVIDER)
    others = {shares.combine([kept, shares.Share(bytes([1, value]))]) for value in range(256)}
    assert len(others) == 256


def test_multiplication_is_that_of_the_field() -> None:
    multiply, inverse = shares._multiply, shares._inverse
    assert multiply(0x57, 0x83) == 0xC1  # FIPS 197 §4.2
    assert all(multiply(value, inverse(value)) == 1 for value in range(1, 256))


@pytest.mark.parametrize(("needed", "parts"), [(0, 3), (4, 3), (2, 256)])
def test_thresholds_that_cannot_be(needed: int, parts: int) -> None:
    with pytest.raises(Misuse):
        shares.split(b"secret", needed, parts, PROVIDER)


@pytest.mark.parametrize(
    "raws", [[], [b""], [b"\x01"], [b"\x01a", b"\x01b"], [b"\x00a", b"\x01b"], [b"\x01a", b"\x02bc"]]
)
def test_parts_that_do_not_belong_together(raws: list[bytes]) -> None:
    with pytest.raises(Malformed):
        shares.combine([shares.Share(raw) for raw in raws])


def test_a_part_is_known_by_its_seal() -> None:
    one, other = shares.split(PROVIDER.random(32), 2, 2, PROVIDER)
    assert shares.seal_of(one) == shares.seal_of(shares.Share(one.raw)) != shares.seal_of(other)
