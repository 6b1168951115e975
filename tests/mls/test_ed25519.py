"""One rule for Ed25519 (docs/adr/0003): libsodium, OpenSSL and plain arithmetic give the same answer.

The arithmetic here is the rule itself, spelled out over Python integers. It also makes the signatures on
which libraries differ: by a key pair whose points have a part of small order, by encodings that are not
canonical, by S above the group order.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from hashlib import sha512
from typing import NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import example, given, strategies as st
from nacl.exceptions import BadSignatureError

import vcd.crypto
from mls.ed25519 import ORDER, REFUSED, well_formed
from mls.secrets import SignaturePrivateKey
from mls.signatures import OpenSslEd25519
from tests.providers import SeededProvider
from vcd.crypto import PROBES, SodiumEd25519, SystemProvider, libsodium_keeps_the_rule

# ---------------------------------------------------------------- arithmetic of RFC 8032 section 5.1

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ROOT_OF_MINUS_1 = pow(2, (P - 1) // 4, P)
SIGN = 1 << 255

Point = tuple[int, int, int, int]  # X, Y, Z, T with x = X/Z, y = Y/Z, x*y = T/Z
NEUTRAL: Point = (0, 1, 1, 0)


def add(p: Point, q: Point) -> Point:
    a = (p[1] - p[0]) * (q[1] - q[0]) % P
    b = (p[1] + p[0]) * (q[1] + q[0]) % P
    c = 2 * D * p[3] * q[3] % P
    d = 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P


def negate(p: Point) -> Point:
    return -p[0] % P, p[1], p[2], -p[3] % P


def is_neutral(p: Point) -> bool:
    return p[0] % P == 0 and (p[1] - p[2]) % P == 0


def multiply(scalar: int, p: Point) -> Point:
    result = NEUTRAL
    for bit in f"{scalar:b}":
        result = add(result, result)
        if bit == "1":
            result = add(result, p)
    return result


def encode(p: Point) -> bytes:
    inverse = pow(p[2], -1, P)
    x, y = p[0] * inverse % P, p[1] * inverse % P
    return (y | (SIGN if x & 1 else 0)).to_bytes(32, "little")


def decode(data: bytes) -> Point | None:
    """The point of a canonical encoding, or None (RFC 8032 section 5.1.3)."""
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number % SIGN
    if y >= P:
        return None
    u, v = (y * y - 1) % P, (D * y * y + 1) % P
    x = u * pow(v, 3, P) * pow(u * pow(v, 7, P), (P - 5) // 8, P) % P
    if v * x * x % P != u:
        x = x * ROOT_OF_MINUS_1 % P
    if v * x * x % P != u or (x == 0 and sign):
        return None
    if x & 1 != sign:
        x = P - x
    return x, y, 1, x * y % P


BASE_X = 15112221349535400772501151409588531511454012693041857206046113283949847762202
BASE_Y = 4 * pow(5, -1, P) % P
BASE: Point = (BASE_X, BASE_Y, 1, BASE_X * BASE_Y % P)


def find_torsion() -> tuple[Point, ...]:
    """The eight points whose order divides 8, as multiples of one of order 8."""
    for y in itertools.count(2):
        point = decode(y.to_bytes(32, "little"))
        if point is not None:
            generator = multiply(ORDER, point)
            if not is_neutral(multiply(4, generator)):
                return tuple(multiply(n, generator) for n in range(8))
    raise AssertionError


TORSION = find_torsion()


def challenge(r: bytes, public: bytes, content: bytes) -> int:
    return int.from_bytes(sha512(r + public + content).digest(), "little") % ORDER


def the_rule(public: bytes, content: bytes, signature: bytes) -> bool:
    """The four points of the rule, in order and with nothing taken from `mls.ed25519`."""
    if len(public) != 32 or len(signature) != 64:
        return False
    s = int.from_bytes(signature[32:], "little")
    if s >= 2**252 + 27742317777372353535851937790883648493:
        return False
    a, r = decode(public), decode(signature[:32])
    if a is None or r is None or is_neutral(multiply(8, a)) or is_neutral(multiply(8, r)):
        return False
    h = challenge(signature[:32], public, content)
    right = add(r, multiply(h, a))
    return is_neutral(add(multiply(s, BASE), negate(right)))


# ---------------------------------------------------------------- the libraries, bare and as we use them

SODIUM = SodiumEd25519()
OPENSSL = OpenSslEd25519()


def bare_openssl(public: bytes, content: bytes, signature: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, content)
    except (InvalidSignature, ValueError):
        return False
    return True


def answers(public: bytes, content: bytes, signature: bytes) -> tuple[bool, bool, bool]:
    return (
        SODIUM.verify(public, content, signature),
        OPENSSL.verify(public, content, signature),
        the_rule(public, content, signature),
    )


# ---------------------------------------------------------------- signatures on which libraries differ


class Case(NamedTuple):
    key: str  # what kind of point A is, and how it is written
    nonce: str  # the same of R
    equation: str
    public: bytes
    content: bytes
    signature: bytes


def spellings(point: Point) -> Iterator[tuple[str, bytes]]:
    """Every 32 bytes that a lenient decoder takes for this point."""
    number = int.from_bytes(encode(point), "little")
    sign, y = number & SIGN, number % SIGN
    yield "", number.to_bytes(32, "little")
    if y in {1, P - 1}:  # x = 0, which has no sign
        yield ", sign of zero", (y | SIGN).to_bytes(32, "little")
    if y < SIGN - P:
        yield ", y not reduced", (y + P | sign).to_bytes(32, "little")
        if y == 1:
            yield ", y not reduced, sign of zero", (y + P | SIGN).to_bytes(32, "little")


def kind(scalar: int, torsion: int) -> str:
    return "small" if scalar == 0 else "mixed" if torsion else "prime"


def build(content_of: str, a: int, i: int, n: int, j: int) -> Iterator[Case]:
    """Signatures by A = a·B + i·T with R = n·B + j·T, T of order 8.

    S = n + h·a makes the equation hold with the cofactor always, and without it when h·i + j = 0 modulo 8.
    The
    content is varied until it does, and until it does not.
    """
    key, nonce = add(multiply(a, BASE), TORSION[i]), add(multiply(n, BASE), TORSION[j])
    for (spelled, public), (spelled_r, r) in itertools.product(spellings(key), spellings(nonce)):
        for exact in (True, False):
            for attempt in range(200):
                content = f"{content_of} {attempt}".encode()
                h = challenge(r, public, content)
                if ((h * i + j) % 8 == 0) is exact:
                    s = (n + h * a) % ORDER
                    names = kind(a, i) + spelled, kind(n, j) + spelled_r
                    equation = "exact" if exact else "cofactor only"
                    yield Case(*names, equation, public, content, r + s.to_bytes(32, "little"))
                    if exact:
                        unreduced = (s + ORDER).to_bytes(32, "little")
                        yield Case(*names, "S + L", public, content, r + unreduced)
                    break


@functools.cache
def cases() -> tuple[Case, ...]:
    random = SeededProvider("edge cases of Ed25519").random
    found: list[Case] = []
    for i, j in itertools.product(range(8), repeat=2):
        a, n = (int.from_bytes(random(32), "little") % ORDER for _ in range(2))
        for scalar, nonce in itertools.product((0, a), (0, n)):
            found += build(f"{i} {j}", scalar, i, nonce, j)
    return tuple(found)


def test_the_arithmetic_knows_the_vectors_of_rfc_8032() -> None:
    # RFC 8032 section 7.1, tests 1 and 3.
    vectors = [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155",
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ),
        (
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac",
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ),
    ]
    for seed, public, content, r, s in vectors:
        text, signed = bytes.fromhex(content), bytes.fromhex(r + s)
        for scheme in (SODIUM, OPENSSL):
            private = SignaturePrivateKey(bytes.fromhex(seed))
            assert scheme.public_key(private).hex() == public
            assert scheme.sign(private, text) == signed
        assert answers(bytes.fromhex(public), text, signed) == (True, True, True)


def test_torsion_points_are_eight_and_refused_encodings_are_all_of_theirs() -> None:
    assert len({encode(point) for point in TORSION}) == 8
    assert all(is_neutral(multiply(8, point)) for point in TORSION)
    small = {data for point in TORSION for _, data in spellings(point)}
    unreduced = {(y | sign).to_bytes(32, "little") for y in range(P, SIGN) for sign in (0, SIGN)}
    assert small | unreduced == REFUSED
    assert len(REFUSED) == 48


def test_the_cases_cover_what_they_should() -> None:
    assert len(cases()) == 1077  # as docs/adr/0003 says
    seen = {case[:3] for case in cases()}
    plain = {"small", "mixed", "prime"}
    for key, nonce in itertools.product(plain, repeat=2):
        assert (key, nonce, "exact") in seen or (key, nonce) == ("prime", "mixed")  # impossible: h·0 + j != 0
        assert (key, nonce, "cofactor only") in seen or (key, nonce) == ("prime", "prime")
    spelled = {"small, sign of zero", "small, y not reduced", "small, y not reduced, sign of zero"}
    assert spelled <= {case.key for case in cases()}
    assert spelled <= {case.nonce for case in cases()}


def test_all_verifiers_agree_on_every_case_and_take_exactly_the_sound_ones() -> None:
    for case in cases():
        sound = case.equation == "exact" and case.key in {"mixed", "prime"} and case.nonce in {"mixed", "prime"}
        assert answers(case.public, case.content, case.signature) == (sound,) * 3, case


def test_openssl_alone_takes_more_so_the_precheck_is_needed() -> None:
    """The table of docs/adr/0003; without `well_formed` some members would accept what others refuse."""
    taken = {case[:3] for case in cases() if bare_openssl(case.public, case.content, case.signature)}
    only_openssl = {case for case in taken if "small" in case[0] or "small" in case[1]}
    assert {key for key, _, _ in only_openssl} >= {"small", "small, y not reduced", "small, sign of zero"}
    assert "small" in {nonce for _, nonce, _ in only_openssl}
    assert {equation for _, _, equation in taken} == {"exact"}


@pytest.mark.parametrize("encoding", sorted(REFUSED), ids=bytes.hex)
def test_a_refused_encoding_is_refused_as_key_and_as_r(encoding: bytes) -> None:
    private, public = SODIUM.generate(SeededProvider(1).random)
    signature = SODIUM.sign(private, b"content")
    assert answers(encoding, b"content", signature) == (False,) * 3
    assert answers(public, b"content", encoding + signature[32:]) == (False,) * 3
    assert not well_formed(encoding, signature)
    assert not well_formed(public, encoding + signature[32:])


def test_encodings_just_below_the_refused_ones_are_judged_by_the_equation() -> None:
    for y in (P - 2, P - 3, 2, 3, 4):
        for sign in (0, SIGN):
            data = (y | sign).to_bytes(32, "little")
            assert well_formed(data, data + bytes(32))
            assert len(set(answers(data, b"content", data + bytes(32)))) == 1


def test_s_is_refused_from_the_order_up() -> None:
    private, public = SODIUM.generate(SeededProvider(2).random)
    r = SODIUM.sign(private, b"content")[:32]
    for s in (ORDER, ORDER + 1, 2**253, 2**256 - 1):
        assert answers(public, b"content", r + s.to_bytes(32, "little")) == (False,) * 3
        assert not well_formed(public, r + s.to_bytes(32, "little"))
    assert well_formed(public, r + (ORDER - 1).to_bytes(32, "little"))


def test_s_plus_any_multiple_of_the_order_is_refused() -> None:
    private, public = SODIUM.generate(SeededProvider(3).random)
    signature = SODIUM.sign(private, b"content")
    s = int.from_bytes(signature[32:], "little")
    for k in range(1, 16):
        other = signature[:32] + ((s + k * ORDER) % 2**256).to_bytes(32, "little")
        assert answers(public, b"content", other) == (False,) * 3


@given(
    seed=st.binary(min_size=32, max_size=32),
    content=st.binary(max_size=300),
    flip=st.none() | st.integers(0, 8 * 96 - 1),
)
@example(seed=bytes(32), content=b"", flip=None)
@example(seed=bytes(32), content=b"x", flip=8 * 32 - 1)  # the sign bit of A
@example(seed=bytes(32), content=b"x", flip=8 * 64 - 1)  # the sign bit of R
@example(seed=bytes(32), content=b"x", flip=8 * 96 - 4)  # the highest bits of S
def test_random_signatures_and_any_flipped_bit(seed: bytes, content: bytes, flip: int | None) -> None:
    private = SignaturePrivateKey(seed)
    public, signature = SODIUM.public_key(private), SODIUM.sign(private, content)
    assert OPENSSL.sign(SignaturePrivateKey(seed), content) == signature
    if flip is None:
        assert answers(public, content, signature) == (True,) * 3
        return
    both = bytearray(public + signature)
    both[flip // 8] ^= 1 << flip % 8
    assert answers(bytes(both[:32]), content, bytes(both[32:])) == (False,) * 3


@given(public=st.binary(min_size=32, max_size=32), signature=st.binary(min_size=64, max_size=64))
def test_noise_is_refused_by_all(public: bytes, signature: bytes) -> None:
    assert answers(public, b"content", signature) == (False,) * 3


@given(cut=st.integers(0, 63), grow=st.binary(min_size=1, max_size=65))
def test_lengths_are_exact(cut: int, grow: bytes) -> None:
    """A signature and its content are one string for libsodium, so a moved border must not go unnoticed."""
    private, public = SODIUM.generate(SeededProvider(4).random)
    content = b"a content that is long enough to be cut in two somewhere, as an attacker might try to do it"
    signature = SODIUM.sign(private, content)
    for scheme in (SODIUM, OPENSSL):
        assert not scheme.verify(public, signature[cut:] + content, signature[:cut])
        assert not scheme.verify(public, content[len(grow) :], signature + content[: len(grow)])
        assert not scheme.verify(public, content, signature + grow)
        assert not scheme.verify(public[: cut // 2], content, signature)
        assert not scheme.verify(public + grow, content, signature)


def test_the_probes_are_what_their_comments_say() -> None:
    probes = [tuple(bytes.fromhex(field) for field in probe[:3]) for probe in PROBES]
    assert [probe[3] for probe in PROBES] == [True, False, False, False, False]
    assert [the_rule(public, b"vcd", r + s) for public, r, s in probes] == [True, False, False, False, False]
    sound, unreduced, with_cofactor, small_key, neutral = probes
    assert (unreduced[0], unreduced[1]) == (sound[0], sound[1])
    assert int.from_bytes(unreduced[2], "little") == int.from_bytes(sound[2], "little") + ORDER
    a, r = decode(with_cofactor[0]), decode(with_cofactor[1])
    assert a is not None
    assert r is not None
    h = challenge(with_cofactor[1], with_cofactor[0], b"vcd")
    left = multiply(int.from_bytes(with_cofactor[2], "little"), BASE)
    rest = add(left, negate(add(r, multiply(h, a))))
    assert not is_neutral(multiply(4, rest))
    assert is_neutral(multiply(8, rest))
    assert small_key[0] in {encode(point) for point in TORSION}
    assert neutral[1] == encode(NEUTRAL)
    for probe in (small_key, neutral):
        assert bare_openssl(probe[0], b"vcd", probe[1] + probe[2])  # nothing but the rule refuses it


def test_this_libsodium_keeps_the_rule() -> None:
    assert libsodium_keeps_the_rule()
    suite = SystemProvider(threads=1).suite(1)
    assert type(suite.scheme) is SodiumEd25519


def with_the_cofactor(signed: bytes, public: bytes) -> bytes:
    """What libsodium's development branch does since 2022, as far as the rule is concerned."""
    signature, content = signed[:64], signed[64:]
    a, r, s = decode(public), decode(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or not well_formed(public, signature):
        raise BadSignatureError
    rest = add(multiply(s, BASE), negate(add(r, multiply(challenge(signature[:32], public, content), a))))
    if not is_neutral(multiply(8, rest)):
        raise BadSignatureError
    return content


def without_checks(signed: bytes, public: bytes) -> bytes:
    """What a libsodium built for compatibility with its oldest releases would do, at worst."""
    if not bare_openssl(public, signed[64:], signed[:64]):
        raise BadSignatureError
    return signed[64:]


@pytest.mark.parametrize("other", [with_the_cofactor, without_checks])
def test_a_libsodium_with_another_rule_is_not_used(
    monkeypatch: pytest.MonkeyPatch, other: Callable[[bytes, bytes], bytes]
) -> None:
    monkeypatch.setattr(vcd.crypto, "crypto_sign_open", other)
    libsodium_keeps_the_rule.cache_clear()
    try:
        assert not libsodium_keeps_the_rule()
        provider = SystemProvider(threads=1)
        assert not provider.libsodium
        assert type(provider.suite(1).scheme) is OpenSslEd25519
    finally:
        libsodium_keeps_the_rule.cache_clear()


@pytest.mark.parametrize("limit", [vcd.crypto.LONG_TO_SIGN, vcd.crypto.LONG_TO_VERIFY])
@pytest.mark.parametrize("beyond", [0, 1])
def test_long_contents_change_libraries_and_nothing_else(limit: int, beyond: int) -> None:
    """Where the daemon's provider hands over to the library that is faster for them."""
    content = bytes(limit + beyond)
    private, public = SODIUM.generate(SeededProvider("long").random)
    signature = SODIUM.sign(private, content)
    assert signature == OPENSSL.sign(SignaturePrivateKey(private.raw), content)
    raised = (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    assert answers(public, content, signature) == (True, True, True)
    for bad in (signature[:32] + raised, bytes([signature[0] ^ 1]) + signature[1:]):
        assert answers(public, content, bad) == (False, False, False)
    assert answers(public, content[1:], signature) == (False, False, False)
