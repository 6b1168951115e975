"""The simulation's cryptography is held to what the real one does, and its watching to what it must notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from mls import group as front
from mls.credential import TrustBasic
from mls.errors import PeerError
from mls.group import ApplicationMessage
from mls.hpke import SMALL_ORDER, CryptoError, UnreadableKeyError
from mls.parameters import Parameters
from mls.proposals import Add
from mls.provider import Environment, Provider
from mls.secrets import HpkePrivateKey, SignaturePrivateKey
from mls.snapshot import decode, encode
from mls.state import Group
from mls.suite import Suite
from tests.mls.clients import NOW, Client
from tests.sim.hashes import OPERATIONS, Ledger, Watched, World, hash_mac, world_provider
from vcd.crypto import SystemProvider

INFO = b"info"
PSK = b"p" * 32
MAKERS: dict[str, Callable[[], Provider]] = {
    "real": lambda: world_provider("suite", real=True, watched=False)("me"),
    "real-watched": lambda: world_provider("suite", real=True)("me"),
    "hashes": lambda: world_provider("suite", real=False, watched=False)("me"),
    "hashes-watched": lambda: world_provider("suite", real=False)("me"),
    "system-watched": lambda: Watched(SystemProvider(threads=2), Ledger(), "me"),
}


@pytest.fixture(params=MAKERS)
def provider(request: pytest.FixtureRequest) -> Provider:
    return MAKERS[request.param]()


@pytest.fixture
def suite(provider: Provider) -> Suite:
    return provider.suite(1)


def flipped(data: bytes) -> list[bytes]:
    """With a bit changed in the first, the middle and the last byte; a byte shorter; a byte longer; and nothing."""
    places = (0, len(data) // 2, len(data) - 1)
    changed = [data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :] for at in places]
    return [*changed, data[:-1], data + b"\x00", b""]


# ---------------------------------------------------------------- whatever the primitives are made of


def test_signatures_hold_for_their_key_label_and_content_alone(provider: Provider, suite: Suite) -> None:
    private, public = suite.scheme.generate(provider.random)
    _, other = suite.scheme.generate(provider.random)
    signature = suite.sign_with_label(private, b"label", b"content")
    assert suite.scheme.public_key(private) == public
    assert suite.scheme.canonical(signature)
    assert (len(private.raw), len(public), len(signature)) == (32, 32, 64)
    assert suite.verify_with_label(public, b"label", b"content", signature)
    assert suite.sign_with_label(private, b"label", b"content") == signature
    assert not suite.verify_with_label(other, b"label", b"content", signature)
    assert not suite.verify_with_label(public, b"labe", b"lcontent", signature)
    for bad in flipped(public):
        assert not suite.verify_with_label(bad, b"label", b"content", signature)
    assert not suite.scheme.verify(public[1:], b"content" + public[:1], suite.scheme.sign(private, b"content"))
    for bad in flipped(b"content"):
        assert not suite.verify_with_label(public, b"label", bad, signature)
    for bad in flipped(signature):
        assert not suite.verify_with_label(public, b"label", b"content", bad)


@pytest.mark.parametrize("count", [0, 3, 20])
def test_many_signatures_hold_if_each_does(provider: Provider, suite: Suite, count: int) -> None:
    signed = []
    for number in range(count):
        private, public = suite.scheme.generate(provider.random)
        content = b"%d" % number
        signed.append((public, content, suite.sign_with_label(private, b"label", content)))
    assert suite.verify_many(b"label", signed)
    for at in range(0, count, 9):
        public, content, signature = signed[at]
        wrong = [*signed[:at], (public, content + b"!", signature), *signed[at + 1 :]]
        assert not suite.verify_many(b"label", wrong)


def test_a_signature_key_is_known_by_its_bytes_wherever_it_was_made(provider: Provider, suite: Suite) -> None:
    private, public = suite.scheme.generate(provider.random)
    stored = SignaturePrivateKey(private.raw)
    assert suite.scheme.public_key(stored) == public
    assert suite.sign_with_label(stored, b"label", b"") == suite.sign_with_label(private, b"label", b"")
    for length in (0, 31, 33):
        with pytest.raises(UnreadableKeyError):
            suite.scheme.sign(SignaturePrivateKey(bytes(length)), b"content")
        with pytest.raises(UnreadableKeyError):
            suite.scheme.public_key(SignaturePrivateKey(bytes(length)))


def test_what_is_sealed_opens_with_everything_as_it_was(provider: Provider, suite: Suite) -> None:
    private, public = suite.derive_key_pair(b"secret")
    wrong, _ = suite.derive_key_pair(b"secrets")
    context = suite.encryption_context(b"label", INFO)
    enc, ciphertext = suite.seal(public, context, b"plain", provider.random)
    stored = HpkePrivateKey(private.raw)
    assert suite.hpke.public_key(stored) == public
    assert suite.derive_key_pair(b"secret")[1] == public
    assert (len(private.raw), len(public), len(enc), len(ciphertext)) == (32, 32, 32, 5 + 16)
    assert suite.open(stored, context, enc, ciphertext) == b"plain"
    bad_cases = [
        (wrong, context, enc, ciphertext),
        (HpkePrivateKey(private.raw[1:]), context, enc, ciphertext),
        (private, suite.encryption_context(b"labels", INFO), enc, ciphertext),
        *[(private, context, bad, ciphertext) for bad in flipped(enc)],
        *[(private, context, bad, ciphertext) for bad in sorted(SMALL_ORDER)],
        *[(private, context, enc, bad) for bad in flipped(ciphertext)],
    ]
    for case in bad_cases:
        with pytest.raises(CryptoError):
            suite.open(*case)
    enc, ciphertext = suite.hpke.seal(public, context, b"aad", b"plain", provider.random)
    assert suite.hpke.open(private, enc, context, b"aad", ciphertext) == b"plain"
    with pytest.raises(CryptoError):
        suite.open(private, context, enc, ciphertext)


def test_each_sealing_is_a_fresh_one(provider: Provider, suite: Suite) -> None:
    _, public = suite.generate_key_pair(provider.random)
    context = suite.encryption_context(b"label", INFO)
    first = suite.seal(public, context, b"plain", provider.random)
    second = suite.seal(public, context, b"plain", provider.random)
    assert first[0] != second[0]
    assert first[1] != second[1]
    assert b"plain" not in first[1]


def test_keys_that_no_exchange_works_with_are_refused(provider: Provider, suite: Suite) -> None:
    private, public = suite.generate_key_pair(provider.random)
    suite.hpke.check_public(public)
    context = suite.encryption_context(b"label", INFO)
    for bad in (b"", public[1:], public + b"\x00", *sorted(SMALL_ORDER)):
        with pytest.raises(CryptoError):
            suite.hpke.check_public(bad)
        with pytest.raises(CryptoError):
            suite.seal(bad, context, b"plain", provider.random)
        with pytest.raises(CryptoError):
            suite.hpke.send_export(bad, INFO, b"label", 32, provider.random)
        with pytest.raises(CryptoError):
            suite.hpke.receive_export(private, bad, INFO, b"label", 32)
    with pytest.raises(CryptoError):
        suite.hpke.public_key(HpkePrivateKey(private.raw[1:]))


def test_a_preshared_key_is_needed_to_open_what_was_sealed_with_it(provider: Provider, suite: Suite) -> None:
    private, public = suite.generate_key_pair(provider.random)
    enc, ciphertext = suite.hpke.seal_psk(public, INFO, b"aad", b"plain", PSK, b"id", provider.random)

    def opened(info: bytes = INFO, aad: bytes = b"aad", psk: bytes = PSK, psk_id: bytes = b"id") -> bytes:
        return suite.hpke.open_psk(private, enc, info, aad, ciphertext, psk, psk_id)

    assert opened() == b"plain"
    attempts: list[dict[str, bytes]] = [
        {"psk": b"q" * 32},
        {"psk": b"p" * 31},
        {"psk_id": b"di"},
        {"psk_id": b""},
        {"info": b""},
        {"aad": b""},
    ]
    for attempt in attempts:
        with pytest.raises(CryptoError):
            opened(**attempt)
    with pytest.raises(CryptoError):
        suite.hpke.open(private, enc, suite.hpke.context(INFO), b"aad", ciphertext)
    with pytest.raises(CryptoError):
        suite.hpke.seal_psk(public, INFO, b"", b"plain", b"short", b"id", provider.random)


@pytest.mark.parametrize("length", [16, 32, 100])
def test_both_ends_export_the_same(provider: Provider, suite: Suite, length: int) -> None:
    private, public = suite.generate_key_pair(provider.random)
    enc, secret = suite.hpke.send_export(public, INFO, b"label", length, provider.random)
    assert len(secret) == length
    assert suite.hpke.receive_export(private, enc, INFO, b"label", length) == secret
    assert suite.hpke.receive_export(private, enc, INFO, b"labels", length) != secret
    assert suite.hpke.receive_export(private, enc, b"", b"label", length) != secret
    assert suite.hpke.send_export(public, INFO, b"label", length, provider.random)[1] != secret
    other, _ = suite.generate_key_pair(provider.random)
    assert suite.hpke.receive_export(other, enc, INFO, b"label", length) != secret


def test_what_a_message_key_sealed_opens_with_everything_as_it_was(suite: Suite) -> None:
    key, nonce = b"k" * 16, b"n" * 12
    ciphertext = suite.aead_seal(key, nonce, b"aad", b"plain")
    assert suite.aead_open(key, nonce, b"aad", ciphertext) == b"plain"
    assert suite.aead_seal(key, b"m" * 12, b"aad", b"plain") != ciphertext
    bad_cases = [
        (b"l" * 16, nonce, b"aad", ciphertext),
        (key, b"m" * 12, b"aad", ciphertext),
        (key, nonce, b"", ciphertext),
        *[(key, nonce, b"aad", bad) for bad in flipped(ciphertext)],
    ]
    for case in bad_cases:
        with pytest.raises(CryptoError):
            suite.aead_open(*case)


def test_derived_secrets_depend_on_secret_label_context_and_length(suite: Suite) -> None:
    secret = b"s" * 32
    made = {
        suite.expand_with_label(secret, b"label", b"context", 32),
        suite.expand_with_label(secret[1:], b"label", b"context", 32),
        suite.expand_with_label(secret, b"labelc", b"ontext", 32),
        suite.expand_with_label(secret, b"label", b"contexts", 32),
        suite.expand_with_label(secret, b"label", b"context", 100)[:32],
        suite.derive_secret(secret, b"label"),
        suite.extract(secret, b"label"),
        suite.extract(b"label", secret),
    }
    assert len(made) == 8
    assert len(suite.expand_with_label(secret, b"label", b"", 100)) == 100
    assert suite.kdf.expand(secret, b"info", 32) == suite.mac(secret, b"info\x01")
    assert suite.verify_mac(secret, b"content", suite.mac(secret, b"content"))
    assert not suite.verify_mac(secret, b"contents", suite.mac(secret, b"content"))


def test_a_suite_that_does_not_exist_is_none_here_either(provider: Provider) -> None:
    with pytest.raises(KeyError):
        provider.suite(0x4242)
    assert provider.suite(2).cipher_suite == 2


# ---------------------------------------------------------------- only the hashes


def test_a_long_key_is_not_the_same_as_its_start() -> None:
    assert len({hash_mac(b"k" * length, b"data") for length in (63, 64, 65, 128)}) == 4


def test_worlds_know_nothing_of_each_other() -> None:
    here, there = (world_provider(seed, real=False)("me") for seed in (1, 2))
    private, public = here.suite(1).scheme.generate(here.random)
    signature = here.suite(1).scheme.sign(private, b"content")
    assert here.suite(1).scheme.verify(public, b"content", signature)
    assert not there.suite(1).scheme.verify(public, b"content", signature)
    assert here.suite(1).derive_key_pair(b"secret")[1] != there.suite(1).derive_key_pair(b"secret")[1]


def test_a_signature_key_and_a_sealing_key_of_the_same_bytes_have_nothing_in_common() -> None:
    suite = world_provider(1, real=False)("me").suite(1)
    raw = b"r" * 32
    assert suite.scheme.public_key(SignaturePrivateKey(raw)) != suite.hpke.public_key(HpkePrivateKey(raw))


# ---------------------------------------------------------------- worlds


def test_randomness_follows_from_seed_and_device_whatever_the_order_and_the_primitives() -> None:
    first, second = world_provider(7, real=False), world_provider(7, real=True, watched=False)
    phone, laptop = first("phone").random(16), first("laptop").random(16)
    assert second("laptop").random(16) == laptop
    assert second("phone").random(16) == phone
    assert len({phone, laptop, first("phone").random(16), world_provider(8, real=False)("phone").random(16)}) == 4


def test_a_device_that_restarts_does_not_draw_the_same_bytes_again() -> None:
    world = world_provider(7, real=False)
    assert world("phone") is world("phone")
    assert world("phone").random(16) != world("phone").random(16)


# ---------------------------------------------------------------- watching


@pytest.mark.parametrize("real", [True, False])
def test_to_be_watched_changes_nothing(real: bool) -> None:
    plain, watched = (world_provider(1, real=real, watched=watching)("me") for watching in (False, True))
    ours, theirs = (each.suite(1) for each in (plain, watched))
    private, public = ours.derive_key_pair(b"secret")
    signer, _ = ours.scheme.generate(plain.random)
    assert theirs.scheme.generate(watched.random)[0] == signer
    assert theirs.derive_key_pair(b"secret") == (private, public)
    assert theirs.hash(b"data") == ours.hash(b"data")
    assert theirs.mac(b"key", b"data") == ours.mac(b"key", b"data")
    assert theirs.kdf.expand(b"key", b"data", 100) == ours.kdf.expand(b"key", b"data", 100)
    assert theirs.sign_with_label(signer, b"", b"data") == ours.sign_with_label(signer, b"", b"data")
    context = ours.encryption_context(b"label", INFO)
    assert theirs.seal(public, context, b"", watched.random) == ours.seal(public, context, b"", plain.random)


def test_a_nonce_that_sealed_two_things_is_noticed_whoever_did_it() -> None:
    world = world_provider(1, real=False)
    phone, laptop = world("phone").suite(1), world("laptop").suite(1)
    key, nonce = b"k" * 16, b"n" * 12
    phone.aead_seal(key, nonce, b"aad", b"plain")
    laptop.aead_seal(key, nonce, b"aad", b"plain")
    laptop.aead_seal(b"l" * 16, nonce, b"aad", b"other")
    assert world.ledger.nonces_again == world.ledger.keys_again == []
    world.ledger.require_unique_nonces()
    laptop.aead_seal(key, nonce, b"aa", b"dplain")
    [reuse] = world.ledger.nonces_again
    assert (reuse.first, reuse.second, reuse.operation, reuse.authenticated_data) == ("phone", "laptop", "seal", b"aa")
    assert not reuse.by_one_device
    with pytest.raises(AssertionError, match="laptop"):
        world.ledger.require_unique_nonces()


def test_a_key_that_sealed_two_things_under_two_nonces_is_told_apart() -> None:
    world = world_provider(1, real=False)
    phone = world("phone").suite(1)
    phone.aead_seal(b"k" * 16, b"n" * 12, b"aad", b"plain")
    phone.aead_seal(b"k" * 16, b"m" * 12, b"aad", b"plain")
    assert world.ledger.keys_again == []
    phone.aead_seal(b"k" * 16, b"o" * 12, b"aad", b"other")
    assert [reuse.by_one_device for reuse in world.ledger.keys_again] == [True]
    world.ledger.require_unique_nonces()


@pytest.mark.parametrize("real", [True, False])
def test_sealing_with_randomness_of_before_is_noticed(real: bool) -> None:
    world = world_provider(1, real=real)
    suite = world("phone").suite(1)
    _, public = suite.derive_key_pair(b"secret")
    context = suite.encryption_context(b"label", INFO)
    suite.seal(public, context, b"plain", bytes)
    suite.seal(public, suite.encryption_context(b"label", b""), b"other", bytes)
    suite.hpke.seal_psk(public, INFO, b"", b"plain", PSK, b"id", bytes)
    suite.hpke.seal_psk(public, INFO, b"", b"other", PSK, b"another", bytes)
    world.ledger.require_unique_nonces()
    suite.seal(public, context, b"other", bytes)
    suite.hpke.seal_psk(public, INFO, b"", b"other", PSK, b"id", bytes)
    assert [reuse.operation for reuse in world.ledger.nonces_again] == ["hpke_seal", "hpke_seal"]


def test_a_ledger_that_only_counts_remembers_nothing() -> None:
    ledger = Ledger(remember=False)
    suite = Watched(world_provider(1, real=False, watched=False)("me"), ledger, "me").suite(1)
    suite.aead_seal(b"k" * 16, b"n" * 12, b"", b"plain")
    suite.aead_seal(b"k" * 16, b"n" * 12, b"", b"other")
    ledger.require_unique_nonces()
    assert ledger.total()["seal"] == 2


@pytest.mark.parametrize("name", ["real-watched", "hashes-watched"])
def test_every_operation_is_counted_for_who_does_it(name: str) -> None:
    world = world_provider(1, real=name == "real-watched")
    device = world("phone")
    suite, random = device.suite(1), device.random
    signer, signer_public = suite.scheme.generate(random)
    private, public = suite.generate_key_pair(random)
    signature = suite.sign_with_label(signer, b"label", b"content")
    suite.verify_with_label(signer_public, b"label", b"content", signature)
    suite.verify_many(b"label", [(signer_public, b"content", signature)] * 3)
    suite.aead_open(b"k" * 16, b"n" * 12, b"", suite.aead_seal(b"k" * 16, b"n" * 12, b"", b"plain"))
    context = suite.encryption_context(b"label", INFO)
    suite.open(private, context, *suite.seal(public, context, b"plain", random))
    enc, ciphertext = suite.hpke.seal_psk(public, INFO, b"", b"plain", PSK, b"id", random)
    suite.hpke.open_psk(private, enc, INFO, b"", ciphertext, PSK, b"id")
    suite.hpke.receive_export(private, suite.hpke.send_export(public, INFO, b"", 32, random)[0], INFO, b"", 32)
    world("laptop").suite(1).generate_key_pair(random)
    done = {"sign": 1, "verify": 4, "seal": 1, "open": 1, "hpke_seal": 3, "hpke_open": 3, "key_pair": 2}
    assert world.ledger.by_device["phone"] == done
    assert world.ledger.by_device["laptop"] == dict.fromkeys(OPERATIONS, 0) | {"key_pair": 1}
    assert world.ledger.total() == done | {"key_pair": 3}


# ---------------------------------------------------------------- groups


class Pair:
    """Two members of a group, each a device of its own."""

    def __init__(self, world: World) -> None:
        self.env = {name: _environment(world, name) for name in ("ada", "bob")}
        ada, bob = (_client(name, env) for name, env in self.env.items())
        package = bob.package(self.env["bob"])
        sent = front.commit(ada.create(self.env["ada"]), self.env["ada"], proposals=[Add(package.key_package)])
        self.ada = sent.group
        self.bob = bob.join(self.env["bob"], sent.welcome, [package])

    def told(self, data: bytes) -> bytes:
        """Something that Ada says, without her taking note of it."""
        return front.seal(self.ada, self.env["ada"], data, reuse_guard=lambda *_: b"same")[1]


def _environment(world: World, name: str) -> Environment:
    return Environment(provider=world(name), authentication=TrustBasic(), now=NOW)


def _client(name: str, env: Environment) -> Client:
    private, _ = env.provider.suite(1).scheme.generate(env.provider.random)
    return Client(name=name, cipher_suite=1, signer=private)


def _state(group: Group) -> tuple[bytes, bytes]:
    return group.authenticator, group.public.context.encoded


@pytest.mark.parametrize("real", [True, False])
def test_a_group_lives_by_them(real: bool) -> None:
    world = world_provider("group", real=real)
    pair = Pair(world)
    sent = front.commit(pair.ada, pair.env["ada"])
    with pytest.raises(PeerError):
        front.receive(pair.bob, pair.env["bob"], sent.message[:-1] + bytes([sent.message[-1] ^ 1]))
    pair.ada, pair.bob = sent.group, front.receive(pair.bob, pair.env["bob"], sent.message).group
    assert _state(pair.ada) == _state(pair.bob)
    pair.bob = decode(pair.env["bob"].provider, Parameters(), encode(pair.bob))
    event = front.receive(pair.bob, pair.env["bob"], pair.told(b"hello"))
    assert isinstance(event, ApplicationMessage)
    assert event.data == b"hello"
    assert world.ledger.nonces_again == world.ledger.keys_again == []
    again = Pair(world_provider("group", real=real))
    assert front.commit(again.ada, again.env["ada"]).message == sent.message


def test_a_device_that_forgets_what_it_sealed_is_noticed() -> None:
    world = world_provider("group", real=False)
    pair = Pair(world)
    assert pair.told(b"one") == pair.told(b"one")
    world.ledger.require_unique_nonces()
    pair.told(b"two")
    front.seal(pair.ada, pair.env["ada"], b"three")
    assert [reuse.by_one_device for reuse in world.ledger.nonces_again] == [True]
    assert [reuse.by_one_device for reuse in world.ledger.keys_again] == [True]
