"""FF1 against the samples of those who defined it, and the small-space PRP against FF1.

No published sample has the PRP's parameters, so it takes two steps: `encrypt` gives what others computed, and
`SmallSpacePrp` gives what `encrypt` does.
"""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, strategies as st

from mls.errors import CallerError
from mls.virtual import ff1
from mls.virtual.ff1 import MAX_NUMERALS, MAX_TWEAK, BitOrder, SmallSpacePrp, decrypt, encrypt

KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3cef4359d8d580aa4f7f036d6f04fc6a94")
DIGITS = bytes.fromhex("39383736353433323130")
LETTERS = bytes.fromhex("3737373770717273373737")

NIST = {  # FF1samples.pdf beside SP 800-38G: size of the key, radix, tweak, plaintext, ciphertext
    1: (16, 10, b"", "0123456789", "2433477484"),
    2: (16, 10, DIGITS, "0123456789", "6124200773"),
    3: (16, 36, LETTERS, "0123456789abcdefghi", "a9tv40mll9kdu509eum"),
    4: (24, 10, b"", "0123456789", "2830668132"),
    5: (24, 10, DIGITS, "0123456789", "2496655549"),
    6: (24, 36, LETTERS, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"),
    7: (32, 10, b"", "0123456789", "6657667009"),
    8: (32, 10, DIGITS, "0123456789", "1001623463"),
    9: (32, 36, LETTERS, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"),
}
# Long: more than one block of the round function's output (from the tests of github.com/capitalone/fpe).
LONG = (
    "xs8a0azh2avyalyzuwd" * 7,
    "lwulibfp1ju3ksztumqomwenpv7duy9q7pg7zf3eg3rjlfy46gmgkqjfwvromfjjktmbey8meqk9zkcmgvkv4s9ll5ctozme1hf15w7xo6zsylqcr0nbx9jbf10umzok",
)
# To the base 2: three from Zcash's, 88 bits; the last from the Rust crate `fpe`, with the PRP's 32.
ALTERNATING = "01" * 44
BINARY = [
    (
        KEY,
        b"",
        "0" * 88,
        "0000100100110101011101111111110011000001101100111110011101110101011010100100010011001111",
    ),
    (
        KEY,
        b"",
        "0000100100110101011101111111110011000001101100111110011101110101011010100100010011001111",
        "1101101011010001100011110000010011001111110110011101010110100001111001000101011111011000",
    ),
    (
        KEY,
        b"",
        ALTERNATING,
        "0000111101000001111011010111011111110001100101000000001101101110100010010111001100100110",
    ),
    (
        KEY,
        bytes(range(255)),
        ALTERNATING,
        "0111110110001000000111010110000100010101101000000011100111100100100010101101111010100011",
    ),
    (bytes(32), b"", "0" * 32, "11011110100111110010000011011000"),
]

# The pair that OpenMLS pins, 01234567 to a1ba5e30, is among these.
PINNED = {
    0x00000000: (0x074A1633, 0xE05268CC),
    0x00000001: (0x215F011D, 0x7DC6D3F4),
    0x00000007: (0xF643C6AA, 0x01D3813D),
    0x01234567: (0x2A83F21D, 0xA1BA5E30),
    0x80000000: (0x660BB312, 0x4551585C),
    0xFFFFFFFF: (0x9F72D19B, 0xF94E8BD9),
}

words = st.integers(0, 2**32 - 1)
keys = st.binary(min_size=16, max_size=16)
orders = st.sampled_from(BitOrder)


def numerals(text: str) -> tuple[int, ...]:
    return tuple(int(character, 36) for character in text)


def listed(number: int, order: BitOrder) -> tuple[int, ...]:
    """The 32 numerals of a number, as the order's name says."""
    octets = [f"{octet:08b}" for octet in number.to_bytes(4, "big")]
    if order is BitOrder.LSB_FIRST_PER_BYTE:
        octets = [octet[::-1] for octet in octets]
    return numerals("".join(octets))


def both_ways(key: bytes, radix: int, tweak: bytes, plain: str, cipher: str) -> None:
    assert encrypt(key, numerals(plain), radix=radix, tweak=tweak) == numerals(cipher)
    assert decrypt(key, numerals(cipher), radix=radix, tweak=tweak) == numerals(plain)


# FF1


@pytest.mark.parametrize("sample", NIST)
def test_samples_of_nist(sample: int) -> None:
    size, radix, tweak, plain, cipher = NIST[sample]
    both_ways(KEY[:size], radix, tweak, plain, cipher)


def test_a_long_sample() -> None:
    plain, cipher = LONG
    both_ways(KEY, 36, b"", plain[: len(cipher)], cipher)


@pytest.mark.parametrize(("key", "tweak", "plain", "cipher"), BINARY)
def test_binary_samples(key: bytes, tweak: bytes, plain: str, cipher: str) -> None:
    both_ways(key, 2, tweak, plain, cipher)


@pytest.mark.parametrize(("radix", "length"), [(2, 7), (2, 8), (10, 2), (11, 2), (3, 5), (5, 3), (300, 2)])
def test_small_domains_are_permuted(radix: int, length: int) -> None:
    """Every string is a ciphertext once; of the largest domain here, a part is looked at."""
    strings = list(product(range(radix), repeat=length))[:256]
    made = [encrypt(KEY[:16], string, radix=radix, tweak=b"small") for string in strings]
    assert len(set(made)) == len(strings)
    if radix**length <= 256:
        assert set(made) == set(strings)
        assert made != strings
    assert [decrypt(KEY[:16], string, radix=radix, tweak=b"small") for string in made] == strings


@pytest.mark.slow
@given(data=st.data(), radix=st.integers(2, 1 << 16), length=st.integers(7, 40), tweak=st.binary(max_size=40), key=keys)
def test_back_again(data: st.DataObject, radix: int, length: int, tweak: bytes, key: bytes) -> None:
    plain = tuple(data.draw(st.lists(st.integers(0, radix - 1), min_size=length, max_size=length)))
    cipher = encrypt(key, plain, radix=radix, tweak=tweak)
    assert len(cipher) == length
    assert all(0 <= numeral < radix for numeral in cipher)
    assert decrypt(key, cipher, radix=radix, tweak=tweak) == plain


def test_key_and_tweak_matter() -> None:
    plain = numerals("0123456789")
    made = {
        encrypt(key, plain, radix=10, tweak=tweak)
        for key in (KEY[:16], KEY[16:], KEY)
        for tweak in (b"", b"\0", b"\0\0", DIGITS)
    }
    assert len(made) == 12


@pytest.mark.parametrize("work", [encrypt, decrypt])
def test_what_ff1_does_not_take(work: object) -> None:
    assert work in (encrypt, decrypt)
    call = encrypt if work is encrypt else decrypt
    for radix in (-2, 0, 1, (1 << 16) + 1):
        with pytest.raises(CallerError, match="radix"):
            call(KEY, [0] * 10, radix=radix)
    for length in (0, 1, MAX_NUMERALS + 1):
        with pytest.raises(CallerError, match=f"{length} numerals"):
            call(KEY, [0] * length, radix=1 << 16)
    for radix, length in ((2, 6), (9, 2), (4, 3)):
        with pytest.raises(CallerError, match="fewer than 100"):
            call(KEY, [0] * length, radix=radix)
    for wrong in ([0] * 9 + [10], [10] + [0] * 9, [0] * 9 + [-1]):
        with pytest.raises(CallerError, match="base 10"):
            call(KEY, wrong, radix=10)
    with pytest.raises(CallerError, match="tweak"):
        call(KEY, [0] * 10, radix=10, tweak=bytes(MAX_TWEAK + 1))
    for size in (0, 15, 17, 33):
        with pytest.raises(CallerError, match=f"{size} bytes are no AES key"):
            call(bytes(size), [0] * 10, radix=10)


# The PRP


@pytest.mark.parametrize("number", PINNED)
def test_known_answers_of_the_prp(number: int) -> None:
    for order, answer in zip(BitOrder, PINNED[number], strict=True):
        prp = SmallSpacePrp(bytes(range(16)), order)
        assert prp.encrypt(number) == answer
        assert prp.decrypt(answer) == number
        assert encrypt(bytes(range(16)), listed(number, order), radix=2) == listed(answer, order)


def test_the_draft_s_order_is_the_default() -> None:
    assert SmallSpacePrp(bytes(range(16))).encrypt(0x01234567) == PINNED[0x01234567][0]


@pytest.mark.slow
@given(key=keys, number=words, order=orders)
def test_the_prp_is_ff1(key: bytes, number: int, order: BitOrder) -> None:
    prp = SmallSpacePrp(key, order)
    assert listed(prp.encrypt(number), order) == encrypt(key, listed(number, order), radix=2)
    assert listed(prp.decrypt(number), order) == decrypt(key, listed(number, order), radix=2)
    assert prp.decrypt(prp.encrypt(number)) == number


@pytest.mark.slow
@given(key=keys, number=words, other=words, order=orders)
def test_different_numbers_stay_different(key: bytes, number: int, other: int, order: BitOrder) -> None:
    prp = SmallSpacePrp(key, order)
    assert (prp.encrypt(number) == prp.encrypt(other)) == (number == other)


@pytest.mark.parametrize("order", BitOrder)
def test_no_two_of_many_numbers_meet(order: BitOrder) -> None:
    """Close ones, and the ends of the range."""
    prp = SmallSpacePrp(KEY[:16], order)
    chosen = [*range(4_000), *range(1 << 31, (1 << 31) + 2_000), *range((1 << 32) - 2_000, 1 << 32)]
    made = [prp.encrypt(number) for number in chosen]
    assert len(set(made)) == len(chosen)
    assert all(0 <= number < 1 << 32 for number in made)
    assert [prp.decrypt(number) for number in made] == chosen


def test_devices_of_different_orders_can_meet() -> None:
    """Which is why the order belongs to the virtual client: of eight devices, the first and the second choose alike."""
    draft, other = (SmallSpacePrp(KEY[:16], order) for order in BitOrder)
    (guard, *_) = [guard for guard in map(draft.encrypt, range(0, 800, 8)) if other.decrypt(guard) % 8 == 1]
    assert draft.decrypt(guard) % 8 == 0
    assert other.encrypt(other.decrypt(guard)) == guard


def test_what_the_prp_does_not_take() -> None:
    for size in (0, 15, 17, 24, 32):
        with pytest.raises(CallerError, match="16 bytes"):
            SmallSpacePrp(bytes(size))
    for order in BitOrder:
        prp = SmallSpacePrp(bytes(16), order)
        for number in (-1, 1 << 32, -(1 << 40), 1 << 70):
            for call in (prp.encrypt, prp.decrypt):
                with pytest.raises(CallerError, match="32-bit"):
                    call(number)


def test_what_a_value_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block for the key, and one for each of ten rounds."""
    blocks = 0
    aes = ff1._aes

    def counted(key: bytes) -> ff1.Block:
        block = aes(key)

        def count(data: bytes) -> bytes:
            nonlocal blocks
            blocks += 1
            assert len(data) == 16
            return block(data)

        return count

    monkeypatch.setattr(ff1, "_aes", counted)
    prp = SmallSpacePrp(bytes(range(16)))
    assert blocks == 1
    made = prp.encrypt(0x01234567)
    assert blocks == 11
    assert prp.decrypt(made) == 0x01234567
    assert blocks == 21
    encrypt(bytes(range(16)), listed(0x01234567, BitOrder.MSB_FIRST), radix=2)
    assert blocks == 41
